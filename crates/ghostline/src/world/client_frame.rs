//! The frame of a client world: one simulation pass, at the pace of the clocks that are synchronised with the server's.

use bevy_ecs::prelude::{Resource, World};
use std::time::Duration;

use super::frame::{FrameClock, copy_resource, mirror_time, resolved_rate};
use super::kind::WorldKind;
use crate::connection::{
    self, NetworkSnapshotAck, NetworkStreamConnection, NetworkStreamDriver, NetworkStreamInGame, live_connections,
};
use crate::ghost::LostGhosts;
use crate::schedule::{FRAME_END, FRAME_START, SIMULATION_PASS, run_steps};
use crate::time::{
    ClientFrameInput, ClientLoop, ClientServerTickRate, ClientTickRate, NetworkTime, StepTime, TimeSync, TimeSyncInput,
    UnscaledClientTime, in_process_frame_dt,
};

/// The clocks of a client world.
#[derive(Resource, Clone, Default)]
struct ClientClocks {
    sync: TimeSync,
    frames: ClientLoop,
}

/// What a client world has before any plugin is built.
pub(super) fn prepare(world: &mut World) {
    world.init_resource::<ClientClocks>();
    world.init_resource::<LostGhosts>();
    world.init_resource::<UnscaledClientTime>();
    world.init_resource::<ClientTickRate>();
    world.init_resource::<ClientServerTickRate>();
}

/// World migration: the new world's clocks go on where the old one's are.
pub(super) fn copy_clocks(from: &World, to: &mut World) {
    copy_resource::<ClientClocks>(from, to);
    copy_resource::<UnscaledClientTime>(from, to);
}

/// One pass per frame, at the pace of the synchronised clocks; none in a frame that would not advance them.
pub(super) fn run(world: &mut World, kind: WorldKind, dt: Duration) {
    world.resource_mut::<UnscaledClientTime>().advance_by(dt);
    let runs = advance_clocks(world, dt);
    run_steps(world, kind, FRAME_START);
    if runs {
        run_steps(world, kind, SIMULATION_PASS);
    } else {
        connection::pump_idle(world);
    }
    run_steps(world, kind, FRAME_END);
}

fn advance_clocks(world: &mut World, dt: Duration) -> bool {
    let rate = resolved_rate(world);
    let client_rate = world.resource::<ClientTickRate>().clone();
    let connection = live_connections(world).next();
    let handle =
        connection.and_then(|entity| world.get::<NetworkStreamConnection>(entity)).map(|connection| connection.handle);
    let is_in_process = handle.is_some_and(|handle| world.resource::<NetworkStreamDriver>().is_in_process(handle));
    let ack = connection.and_then(|entity| world.get::<NetworkSnapshotAck>(entity));
    let measured_rtt_ms = ack.and_then(|ack| ack.rtt.estimated_ms());
    let transport_rtt_ms = match (handle, measured_rtt_ms) {
        (Some(handle), None) => world.resource::<NetworkStreamDriver>().round_trip_ms(handle).unwrap_or(0.0),
        _ => 0.0,
    };
    let ack = connection.and_then(|entity| world.get::<NetworkSnapshotAck>(entity));
    let in_game = connection.is_some_and(|entity| world.get::<NetworkStreamInGame>(entity).is_some());
    let dt = if is_in_process { in_process_frame_dt(dt, &rate) } else { dt };
    let input = TimeSyncInput {
        dt,
        now_ms: world.resource::<FrameClock>().clock.ms(),
        in_game,
        latest_snapshot: ack.and_then(|ack| ack.last_received_snapshot_by_local),
        estimated_rtt_ms: measured_rtt_ms.unwrap_or(0.0),
        transport_rtt_ms,
        deviation_rtt_ms: ack.map_or(0.0, |ack| ack.rtt.deviation_ms()),
        command_age_q8: ack.map_or(0, |ack| ack.server_command_age),
        is_in_process,
        rate: &rate,
        client_rate: &client_rate,
    };
    let mut clocks = std::mem::take(&mut *world.resource_mut::<ClientClocks>());
    let output = clocks.sync.update(&input);
    if let Some(warning) = output.warning {
        tracing::error!("{warning}");
    }
    let frame_input = ClientFrameInput {
        dt,
        in_game,
        predict_target: output.predict_target,
        interpolate_target: output.interpolate_target,
        effective_input_latency_ticks: output.effective_input_latency_ticks,
        rate: &rate,
    };
    let frame = clocks.frames.advance(&frame_input, &mut world.resource_mut::<NetworkTime>());
    if let (Some(jump), None) = (frame.jump_back, output.warning) {
        tracing::error!("{jump}");
    }
    *world.resource_mut::<ClientClocks>() = clocks;
    if frame.runs {
        mirror_time(world, StepTime { delta: frame.delta, elapsed: frame.elapsed });
    }
    frame.runs
}

/// Moves the tick that a client predicts by `ticks`, from its next frame on, as a server that jumped would. For tests and tools; in other worlds, and
/// before the first snapshot, it does nothing.
pub fn shift_predict_target(world: &mut World, ticks: i32) {
    if let Some(mut clocks) = world.get_resource_mut::<ClientClocks>() {
        clocks.sync.shift_predict_target(ticks);
    }
}

//! The frame of one world: asks the loops of `time` which ticks are due, and runs the tables of `schedule` for them.
//! Also what every world gets before the game's plugin is built, and what is settled after it.

use bevy_app::{AppExit, PostStartup, PreStartup, Startup};
use bevy_ecs::change_detection::Tick;
use bevy_ecs::message::{MessageRegistry, Messages};
use bevy_ecs::prelude::{Resource, World};
use bevy_ecs::schedule::{ScheduleLabel, Schedules};
use bevy_time::Time;
use ghostline_transport::DriverStore;
use ghostline_wire::NetworkTick;
use std::time::Duration;

use super::drivers::DriverConstructionError;
use super::kind::{WorldKind, kind_of};
use super::taken::with_taken;
use super::world_commands::WorldCommands;
use crate::command::CommandRegistry;
use crate::connection::{
    self, ConnectionChanged, ConnectionEvents, ConnectionRequests, ConnectionSecrets, KnownSessions, LogLimits,
    NetworkIdAllocation, NetworkProtocolVersion, NetworkSnapshotAck, NetworkStreamConnection, NetworkStreamDriver,
    NetworkStreamInGame, WaitingRoom, live_connections, protocol_version,
};
use crate::ghost::{GhostChanges, GhostRegistry, LostGhosts, SpawnedGhostEntityMap};
use crate::rpc::{ReceivedRpcs, RpcCollection, RpcRequests};
use crate::schedule::{FRAME_END, FRAME_START, SIMULATION_PASS, run_steps};
use crate::snapshot;
use crate::stats::NetworkStats;
use crate::time::{
    BatchedTicksMonitor, ClientFrameInput, ClientLoop, ClientServerTickRate, ClientTickRate, FrameDemand, LocalClock,
    NetworkTime, ServerLoop, Stall, StallWatchdog, StepTime, TimeSync, TimeSyncInput, UnscaledClientTime,
    in_process_frame_dt,
};

/// The real time of this frame. A resource of every world.
#[derive(Resource, Clone, Debug, Default)]
pub struct FrameClock {
    /// Since the process began.
    pub now: Duration,
    /// Since the frame before.
    pub dt: Duration,
    /// Whether this frame came much later than the one before: what arrives in it lay waiting, and says nothing about the link.
    pub is_after_stall: bool,
    clock: LocalClock,
}

impl FrameClock {
    /// Milliseconds, for packets: the low 16 bits.
    pub fn now_ms_u16(&self) -> u16 {
        self.clock.ms16()
    }

    fn update(&mut self, now: Duration, dt: Duration) {
        self.now = now;
        self.dt = dt;
        self.clock.update(now);
    }
}

/// The loop of a server or local world.
#[derive(Resource, Clone, Default)]
struct FixedLoop {
    ticks: ServerLoop,
    monitor: BatchedTicksMonitor,
    /// Ticks of the newest frame.
    ticks_in_frame: u32,
    /// When merged ticks were last a line in the log.
    warned: Option<Duration>,
}

/// A server that merges ticks for good says so at most once in so long a time.
const BATCHED_TICKS_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The clocks of a client world.
#[derive(Resource, Clone, Default)]
pub(crate) struct ClientClocks {
    /// Time synchronisation.
    pub sync: TimeSync,
    frames: ClientLoop,
}

/// What every world of this kind has before any plugin is built. What is there already stays: of a migrated world that is its drivers,
/// connections and clocks.
pub(super) fn prepare(
    world: &mut World,
    kind: WorldKind,
    game_version: u32,
    now: Duration,
    drivers: impl FnOnce() -> Result<DriverStore, DriverConstructionError>,
) -> Result<(), DriverConstructionError> {
    world.insert_resource(kind);
    world.get_resource_or_init::<FrameClock>().update(now, Duration::ZERO);
    world.init_resource::<StallWatchdog>();
    world.init_resource::<WorldCommands>();
    world.init_resource::<Time>();
    world.init_resource::<NetworkTime>();
    world.init_resource::<GhostRegistry>();
    world.init_resource::<CommandRegistry>();
    if !kind.is_client() {
        world.init_resource::<FixedLoop>();
    }
    if kind.is_network() {
        if !world.contains_resource::<NetworkStreamDriver>() {
            world.insert_resource(NetworkStreamDriver::new(drivers()?, game_version));
        }
        world.init_resource::<ConnectionEvents>();
        world.init_resource::<Messages<ConnectionChanged>>();
        world.init_resource::<ConnectionRequests>();
        world.init_resource::<LogLimits>();
        world.init_resource::<NetworkStats>();
        world.init_resource::<RpcCollection>();
        world.init_resource::<RpcRequests>();
        world.init_resource::<ReceivedRpcs>();
        world.init_resource::<SpawnedGhostEntityMap>();
    }
    match kind {
        WorldKind::Server => {
            world.init_resource::<NetworkIdAllocation>();
            world.init_resource::<ConnectionSecrets>();
            world.init_resource::<KnownSessions>();
            world.init_resource::<WaitingRoom>();
            world.init_resource::<GhostChanges>();
        }
        WorldKind::Client | WorldKind::ThinClient => {
            world.init_resource::<ClientClocks>();
            world.init_resource::<LostGhosts>();
            world.init_resource::<UnscaledClientTime>();
            world.init_resource::<ClientTickRate>();
            world.init_resource::<ClientServerTickRate>();
        }
        WorldKind::Local => {}
    }
    Ok(())
}

/// Makes the loop of a new server world go on from `tick`; one that has run already keeps its own.
pub(super) fn start_at(world: &mut World, tick: NetworkTick) {
    let mut fixed = world.get_resource_or_init::<FixedLoop>();
    if fixed.ticks.is_new() {
        fixed.ticks = ServerLoop::starting_at(tick, Duration::ZERO);
    }
}

/// World migration: the new world's time goes on where the old one's is.
pub(super) fn copy_clocks(from: &World, to: &mut World) {
    copy_resource::<FrameClock>(from, to);
    copy_resource::<StallWatchdog>(from, to);
    copy_resource::<FixedLoop>(from, to);
    copy_resource::<ClientClocks>(from, to);
    copy_resource::<NetworkTime>(from, to);
    copy_resource::<UnscaledClientTime>(from, to);
    copy_resource::<Time>(from, to);
    copy_resource::<ClientServerTickRate>(from, to);
}

fn copy_resource<R: Resource + Clone>(from: &World, to: &mut World) {
    if let Some(resource) = from.get_resource::<R>() {
        to.insert_resource(resource.clone());
    }
}

/// What is settled when the game's plugins are finished: the collections are frozen, and with them the protocol version.
pub(super) fn finish(world: &mut World, kind: WorldKind) {
    world.resource_mut::<CommandRegistry>().freeze();
    if kind.is_network() {
        world.resource_mut::<RpcCollection>().freeze();
        let rpcs = world.resource::<RpcCollection>();
        let ghosts = world.resource::<GhostRegistry>();
        let commands = world.resource::<CommandRegistry>();
        let mut components = ghosts.component_hashes();
        components.extend(commands.hashes());
        let component_collection = ghostline_wire::collection_hash(&mut components);
        let mut description: Vec<String> =
            rpcs.describe().chain(ghosts.describe()).chain(commands.describe()).collect();
        description.sort();
        let game_version = world.resource::<NetworkStreamDriver>().game_version();
        let is_dynamic = rpcs.dynamic_assembly_list();
        let version = protocol_version(game_version, rpcs.hash(), component_collection, is_dynamic);
        world.insert_resource(NetworkProtocolVersion { version, description });
    }
    snapshot::prepare(world, kind);
}

/// Bevy's start-up schedules, once, before the first frame.
pub(super) fn run_startup(world: &mut World) {
    for label in [PreStartup.intern(), Startup.intern(), PostStartup.intern()] {
        if world.get_resource::<Schedules>().is_some_and(|schedules| schedules.contains(label)) {
            world.run_schedule(label);
        }
    }
}

/// One frame.
pub(super) fn run(world: &mut World, kind: WorldKind, now: Duration, dt: Duration) {
    connection::rotate_changes(world);
    world.resource_mut::<FrameClock>().update(now, dt);
    if kind.is_client() {
        run_client(world, kind, dt);
    } else {
        run_fixed(world, kind, dt);
    }
}

/// Servers and local worlds: as many passes as ticks are due, merged where they don't fit.
fn run_fixed(world: &mut World, kind: WorldKind, dt: Duration) {
    let rate = resolved_rate(world);
    let is_off_frame = !world.resource::<FixedLoop>().ticks.would_tick(dt, &rate);
    world.resource_mut::<NetworkTime>().is_off_frame = is_off_frame;
    run_steps(world, kind, FRAME_START);
    let stall = world.resource::<StallWatchdog>().current();
    let fixed = world.resource_mut::<FixedLoop>().into_inner();
    let steps = fixed.ticks.advance(dt, &rate);
    let steps_in_frame = steps.len() as u32;
    fixed.ticks_in_frame = steps.ticks();
    let skipped = fixed.ticks.take_skipped();
    if skipped > Duration::ZERO {
        tracing::warn!(
            "more time is missing than is made up for ({:?}): {:.1} s of game time are skipped",
            ServerLoop::MAX_BACKLOG,
            skipped.as_secs_f64()
        );
    }
    if stall.is_some() {
        fixed.monitor.excuse(fixed.ticks.residual(), steps.ticks());
    }
    if is_off_frame {
        connection::pump_idle(world);
    }
    for step in steps {
        let now = world.resource::<FrameClock>().now;
        let time = with_taken(world, |world, fixed: &mut FixedLoop| {
            if let Some(warning) = fixed.monitor.record(step.ticks)
                && fixed.warned.is_none_or(|then| now.saturating_sub(then) >= BATCHED_TICKS_LOG_INTERVAL)
            {
                fixed.warned = Some(now);
                warn_of_batched_ticks(warning.average, warning.is_first);
            }
            fixed.ticks.apply_step(step, steps_in_frame, &rate, &mut world.resource_mut::<NetworkTime>())
        });
        mirror_time(world, time);
        run_steps(world, kind, SIMULATION_PASS);
    }
    ServerLoop::end_frame(&mut world.resource_mut::<NetworkTime>());
    run_steps(world, kind, FRAME_END);
}

/// Takes in the length of a frame before it is run, and tells a stall that endangers the world's connections. Returns one that is worth a line in the
/// log and was not told.
pub(super) fn note_stall(world: &mut World, now: Duration, dt: Duration) -> Option<Stall> {
    let alarms = is_alarming(world, dt);
    let mut watchdog = world.resource_mut::<StallWatchdog>();
    let stall = watchdog.note_frame(now, dt);
    let logs = watchdog.logs;
    if alarms {
        watchdog.note_alarm();
        tracing::error!(
            "the application stopped ticking for {:.1} s while this {:?} world was connected; its peers soon take it for dead. Let the game run in \
             the background (or disconnect before it pauses); `StallWatchdog::alarm_after` says after how long this is an error",
            dt.as_secs_f64(),
            kind_of(world)
        );
    }
    world.resource_mut::<FrameClock>().is_after_stall = stall.is_some_and(|stall| stall.is_sudden);
    stall.filter(|stall| stall.is_news && logs && !alarms)
}

/// Whether this world tells a stall of this length by itself.
pub(super) fn is_alarming(world: &World, length: Duration) -> bool {
    world.resource::<StallWatchdog>().would_alarm(length)
        && kind_of(world).is_network()
        && live_connections(world).next().is_some()
}

/// Says that the application, or one of its worlds, stopped ticking.
pub(super) fn warn_of_stall(stall: Stall, world: Option<&str>) {
    let seconds = stall.length.as_secs_f64();
    let text = format!(
        "the application stopped ticking for {seconds:.1} s: ticks that are missing are made up for within the limits of the tick rate, \
         and nothing was sent or received meanwhile"
    );
    match world {
        Some(world) => tracing::warn!(world, "{text}"),
        None => tracing::warn!("{text}"),
    }
}

fn warn_of_batched_ticks(average: f32, is_first: bool) {
    if is_first {
        tracing::warn!(
            "the server merges ticks ({average:.1} per step on average): it can't keep up with its tick rate. Clients predict single ticks, \
             so merged ones are mispredicted. Lower the tick rate, make ticks cheaper, or allow more steps per frame"
        );
    } else {
        tracing::warn!("the server merges ticks: {average:.1} per step on average");
    }
}

/// Clients: one pass per frame, at the pace of the synchronised clocks; none in a frame that would not advance them.
fn run_client(world: &mut World, kind: WorldKind, dt: Duration) {
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
    let is_in_process = handle.is_some_and(|handle| world.resource_mut::<NetworkStreamDriver>().is_in_process(handle));
    let ack = connection.and_then(|entity| world.get::<NetworkSnapshotAck>(entity));
    let measured_rtt_ms = ack.and_then(|ack| ack.rtt.estimated_ms());
    let transport_rtt_ms = match (handle, measured_rtt_ms) {
        (Some(handle), None) => world.resource_mut::<NetworkStreamDriver>().round_trip_ms(handle).unwrap_or(0.0),
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

/// The tick rates in force in this world.
pub(crate) fn resolved_rate(world: &World) -> ClientServerTickRate {
    world.get_resource::<ClientServerTickRate>().cloned().unwrap_or_default().resolve_defaults()
}

/// Makes Bevy's `Time` show this step, so that ordinary systems are right. Prediction goes back in time, so it is made anew.
pub(crate) fn mirror_time(world: &mut World, step: StepTime) {
    let mut time = Time::<()>::default();
    // A world that is younger than the ticks it catches up with still gives each its whole length.
    time.advance_to(step.elapsed.saturating_sub(step.delta));
    time.advance_by(step.delta);
    *world.resource_mut::<Time>() = time;
}

/// In an embedded main world Bevy itself updates messages, once per frame.
#[derive(Resource)]
struct BevyUpdatesMessages;

/// Leaves the update of messages to Bevy, which runs this world's own schedules.
pub(super) fn keep_bevys_message_update(world: &mut World) {
    world.insert_resource(BevyUpdatesMessages);
}

/// The exit that systems asked for in earlier passes. A frame may have more passes than a message lives.
#[derive(Resource, Default)]
pub(super) struct AskedToExit(Option<AppExit>);

/// The exit that the systems of this world have asked for; an error goes before a success.
pub(super) fn asked_exit(world: &World) -> Option<AppExit> {
    let before = world.get_resource::<AskedToExit>().and_then(|asked| asked.0.as_ref());
    let messages = world.get_resource::<Messages<AppExit>>();
    let mut cursor = messages.map(Messages::get_cursor).unwrap_or_default();
    let mut exits: Vec<&AppExit> = before.into_iter().collect();
    if let Some(messages) = messages {
        exits.extend(cursor.read(messages));
    }
    exits.iter().find(|exit| exit.is_error()).or(exits.first()).map(|&exit| exit.clone())
}

/// Bevy's message update: what was written two passes ago is dropped.
pub(crate) fn rotate_messages(world: &mut World) {
    let exit = asked_exit(world);
    if exit.is_some() {
        world.insert_resource(AskedToExit(exit));
    }
    if world.contains_resource::<BevyUpdatesMessages>() {
        return;
    }
    if !world.contains_resource::<MessageRegistry>() {
        return;
    }
    let rotated = world.get_resource::<MessagesRotated>().map_or(world.last_change_tick(), |rotated| rotated.0);
    with_taken(world, |world, registry: &mut MessageRegistry| registry.run_updates(world, rotated));
    let now = world.increment_change_tick();
    match world.get_resource_mut::<MessagesRotated>() {
        Some(mut rotated) => rotated.0 = now,
        None => world.insert_resource(MessagesRotated(now)),
    }
}

/// Up to where writes of messages were seen. The world's own mark moves with every frame, past what the frame wrote last.
#[derive(Resource)]
struct MessagesRotated(Tick);

/// What this world wants from the stand-alone runner.
pub(super) fn frame_demand(world: &World) -> FrameDemand {
    let rate = resolved_rate(world);
    let rate_hz = match world.get_resource::<FixedLoop>() {
        Some(fixed) => fixed.ticks.requested_frame_rate_hz(&rate),
        None => rate.step().hertz(),
    };
    // Nothing else paces this runner's frames: it is what a dedicated server has.
    FrameDemand { mode: rate.target_frame_rate_mode.resolve(true), rate_hz }
}

/// How many ticks a server or local world ran in its newest frame.
pub(super) fn ticks_of_last_frame(world: &World) -> Option<u32> {
    world.get_resource::<FixedLoop>().map(|fixed| fixed.ticks_in_frame)
}

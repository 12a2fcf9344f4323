//! The frame of one world: asks the loops of `time` which ticks are due, and runs the tables of `schedule` for them (of a client `client_frame` does).
//! Also what every world gets before the game's plugin is built, and what is settled after it.

use bevy_app::{PostStartup, PreStartup, Startup};
use bevy_ecs::message::Messages;
use bevy_ecs::prelude::{Resource, World};
use bevy_ecs::schedule::{ScheduleLabel, Schedules};
use bevy_time::Time;
use ghostline_transport::DriverStore;
use ghostline_wire::NetworkTick;
use std::time::Duration;

#[cfg(feature = "client")]
use super::client_frame;
use super::drivers::DriverConstructionError;
use super::kind::WorldKind;
use super::taken::with_taken;
use super::world_commands::WorldCommands;
use crate::command::CommandRegistry;
use crate::connection::{
    self, ConnectionChanged, ConnectionEvents, ConnectionRequests, LogLimits, NetworkProtocolVersion,
    NetworkStreamDriver, protocol_version,
};
#[cfg(feature = "server")]
use crate::connection::{ConnectionSecrets, KnownSessions, NetworkIdAllocation, WaitingRoom};
#[cfg(feature = "server")]
use crate::ghost::GhostChanges;
use crate::ghost::{GhostRegistry, SpawnedGhostEntityMap};
use crate::rpc::{ReceivedRpcs, RpcCollection, RpcRequests};
use crate::schedule::{FRAME_END, FRAME_START, SIMULATION_PASS, run_steps};
use crate::snapshot;
use crate::stats::NetworkStats;
use crate::time::{
    BatchedTicksMonitor, ClientServerTickRate, FrameDemand, LocalClock, NetworkTime, ServerLoop, StallWatchdog,
    StepTime,
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
    pub(super) clock: LocalClock,
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
        if !world.contains_resource::<StallWatchdog>() {
            let timeout = world.resource::<NetworkStreamDriver>().disconnect_timeout();
            world.insert_resource(StallWatchdog::for_drivers(timeout));
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
    world.init_resource::<StallWatchdog>();
    match kind {
        #[cfg(feature = "server")]
        WorldKind::Server => {
            world.init_resource::<NetworkIdAllocation>();
            world.init_resource::<ConnectionSecrets>();
            world.init_resource::<KnownSessions>();
            world.init_resource::<WaitingRoom>();
            world.init_resource::<GhostChanges>();
        }
        #[cfg(feature = "client")]
        WorldKind::Client | WorldKind::ThinClient => client_frame::prepare(world),
        _ => {}
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
    copy_resource::<NetworkTime>(from, to);
    #[cfg(feature = "client")]
    client_frame::copy_clocks(from, to);
    copy_resource::<Time>(from, to);
    copy_resource::<ClientServerTickRate>(from, to);
}

pub(super) fn copy_resource<R: Resource + Clone>(from: &World, to: &mut World) {
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
    match kind {
        #[cfg(feature = "client")]
        WorldKind::Client | WorldKind::ThinClient => client_frame::run(world, kind, dt),
        _ => run_fixed(world, kind, dt),
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

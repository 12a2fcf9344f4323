//! The map of a frame: every schedule and every library step, in order, for every kind of world.
//! The game fills the schedules; the library's own steps are plain functions, named in the same tables.
//! A build without one of the cargo features `client` and `server` has the steps of its side alone; without clients nothing is presented.
//! (Bevy's `PreStartup`, `Startup` and `PostStartup` run once in every world, before its first frame.)

use bevy_ecs::prelude::World;
use bevy_ecs::schedule::{InternedScheduleLabel, ScheduleLabel, Schedules};

#[cfg(feature = "server")]
use crate::ghost;
use crate::world::{WorldFlags, WorldKind};
use crate::{command, connection, prediction, rpc, snapshot};

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        $($(#[$doc])*
        #[derive(ScheduleLabel, Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
        pub struct $name;)*
    };
}

labels! {
    /// First of a frame, in real frame time, before it is known how many ticks will run.
    /// Server, client and local worlds.
    Initialization,
    /// Around the receive step: before [`crate::connection::ConnectionEvents`] of this tick are filled. Server, client and local worlds.
    BeforeNetworkReceive,
    /// After the receive step: this tick's connection events are there, messages lie in the connections' buffers, nothing has consumed them.
    AfterNetworkReceive,
    /// Read devices into input components and command buffers. Once per client frame. Client and local worlds; thin clients by explicit flag.
    GhostInput,
    /// The game's rules, at the fixed rate: on the server once per step, on a client once per predicted tick. Must filter on [`crate::prediction::Simulate`].
    PredictedSimulation,
    /// Inside each predicted step, before [`PredictedSimulation`]: at the fixed rate × `predicted_fixed_step_simulation_tick_ratio`. For physics.
    PredictedFixedStepSimulation,
    /// Everything else: once per simulation pass (server: per step; client: per frame).
    Simulation,
    /// Last of a simulation pass, before RPCs and snapshots are sent.
    LateSimulation,
    /// Draw. Client and local worlds.
    Presentation,
}

/// The label under which a thin client keeps what was put into a schedule for thin clients explicitly,
/// so that a plain system can never get there.
#[derive(ScheduleLabel, Clone, PartialEq, Eq, Hash, Debug)]
pub struct ThinClientSchedule(pub InternedScheduleLabel);

/// One step of a frame.
#[derive(Clone, Copy)]
pub enum Step {
    /// A schedule that the game fills.
    Game {
        /// Its label.
        label: fn() -> InternedScheduleLabel,
        /// The kinds of worlds that have it.
        worlds: WorldFlags,
    },
    /// A step of the library.
    Library {
        /// What it does, for dumps and traces.
        name: &'static str,
        /// The kinds of worlds that do it.
        worlds: WorldFlags,
        /// The step.
        run: fn(&mut World),
        /// What it runs within itself, any number of times.
        inside: &'static [Self],
    },
}

const fn game(label: fn() -> InternedScheduleLabel, worlds: WorldFlags) -> Step {
    Step::Game { label, worlds }
}

const fn library(name: &'static str, worlds: WorldFlags, run: fn(&mut World)) -> Step {
    Step::Library { name, worlds, run, inside: &[] }
}

/// A `fn() -> InternedScheduleLabel` for a unit label.
fn label<L: ScheduleLabel + Default>() -> InternedScheduleLabel {
    L::default().intern()
}

#[cfg(feature = "server")]
const SERVER: WorldFlags = WorldFlags::SERVER;
#[cfg(feature = "client")]
const CLIENT: WorldFlags = WorldFlags::CLIENT;
#[cfg(feature = "client")]
const CLIENTS: WorldFlags = WorldFlags::ALL_CLIENTS;
const NETWORK: WorldFlags = WorldFlags::NETWORK;
/// Worlds with a player at the screen.
const PLAYED: WorldFlags = WorldFlags::CLIENT.union(WorldFlags::LOCAL);
/// Worlds with somebody, or something, that steers.
const STEERED: WorldFlags = PLAYED.union(WorldFlags::THIN_CLIENT);
/// Worlds that draw: none in a build without clients, which is a dedicated server's.
const PRESENTING: WorldFlags = if cfg!(feature = "client") { PLAYED } else { WorldFlags::empty() };
const ALL: WorldFlags = WorldFlags::ALL;

/// Once per frame, before the simulation passes. A server, whose frame may hold no pass at all, learns here whether it does.
pub const FRAME_START: &[Step] = &[game(label::<Initialization>, ALL)];

/// One simulation pass: a step of the server, a frame of a client or a local world.
pub const SIMULATION_PASS: &[Step] = &[
    library("messages of the pass before are dropped", ALL, crate::world::rotate_messages),
    library("received RPCs become entities", NETWORK, rpc::spawn_received),
    #[cfg(feature = "client")]
    library("ghosts that are due appear", CLIENT, snapshot::spawn_due_ghosts),
    game(label::<BeforeNetworkReceive>, ALL),
    library("datagrams in, connection events", NETWORK, connection::receive),
    game(label::<AfterNetworkReceive>, ALL),
    #[cfg(feature = "server")]
    library("commands into their buffers", SERVER, command::receive),
    #[cfg(feature = "client")]
    library("ghosts that are due vanish", CLIENT, snapshot::despawn_due_ghosts),
    #[cfg(feature = "client")]
    library("snapshots into the ghosts' history", CLIENTS, snapshot::receive),
    #[cfg(feature = "client")]
    library("history into components", CLIENT, snapshot::apply),
    library("input components show the input target tick", STEERED, command::restore_for_gathering),
    game(label::<GhostInput>, STEERED),
    library("input components into command buffers", STEERED, command::gather),
    #[cfg(feature = "client")]
    library("command packet out", CLIENTS, command::send),
    Step::Library {
        name: "prediction: the predicted schedules, once per tick",
        worlds: WorldFlags::DEFAULT,
        run: prediction::run,
        inside: PREDICTED_STEP,
    },
    game(label::<Simulation>, ALL),
    game(label::<LateSimulation>, ALL),
    library("RPC requests into the outgoing buffers", NETWORK, rpc::send_requests),
    library("incoming RPCs are validated and executed", NETWORK, rpc::receive),
    #[cfg(feature = "server")]
    library("changed tick rates are told, if the game wants that", SERVER, connection::tell_tick_rate),
    library("outgoing RPCs are sent", NETWORK, rpc::flush),
    #[cfg(feature = "server")]
    library("ghosts that vanished leave their slots", SERVER, ghost::note_vanished),
    #[cfg(feature = "server")]
    library("snapshots out", SERVER, snapshot::send),
    #[cfg(feature = "server")]
    library("ghosts that appeared get their ids", SERVER, ghost::assign_ids),
    library("datagrams out", NETWORK, connection::flush),
];

/// One simulated tick, or what is merged into one: inside the prediction step, which also puts inputs in place before it. The first of
/// them runs as often as its ratio says.
pub const PREDICTED_STEP: &[Step] =
    &[game(label::<PredictedFixedStepSimulation>, WorldFlags::DEFAULT), game(label::<PredictedSimulation>, ALL)];

/// Once per frame, after the simulation passes.
pub const FRAME_END: &[Step] = &[
    #[cfg(feature = "client")]
    library("smoothed components follow what is simulated", PLAYED, prediction::show_smoothed),
    game(label::<Presentation>, PRESENTING),
];

/// Whether any kind of world has one of these steps.
#[cfg(not(feature = "client"))]
const fn is_run_anywhere(steps: &[Step]) -> bool {
    let mut rest = steps;
    while let [step, after @ ..] = rest {
        let (Step::Game { worlds, .. } | Step::Library { worlds, .. }) = step;
        if !worlds.is_empty() {
            return true;
        }
        rest = after;
    }
    false
}

// A dedicated server presents nothing, not even in a local world.
#[cfg(not(feature = "client"))]
const _: () = assert!(!is_run_anywhere(FRAME_END));

/// Runs those of `steps` that this kind of world has.
pub fn run_steps(world: &mut World, kind: WorldKind, steps: &[Step]) {
    for step in steps {
        match *step {
            Step::Game { label, worlds } => {
                if worlds.contains(kind.flag()) {
                    run_game_schedule(world, kind, label());
                }
            }
            Step::Library { worlds, run, .. } => {
                if worlds.contains(kind.flag()) {
                    run(world);
                }
            }
        }
    }
}

/// Runs one schedule of the game, if this world has it.
pub fn run_game_schedule(world: &mut World, kind: WorldKind, label: InternedScheduleLabel) {
    let label = label_in(kind, label);
    if world.get_resource::<Schedules>().is_some_and(|schedules| schedules.contains(label)) {
        world.run_schedule(label);
    }
}

/// The label under which a world of this kind keeps the schedule `label`.
pub fn label_in(kind: WorldKind, label: InternedScheduleLabel) -> InternedScheduleLabel {
    if kind.is_thin_client() && schedule_worlds(label).is_some() { ThinClientSchedule(label).intern() } else { label }
}

/// The kinds of worlds that have the schedule `label`; none if it is not one of ghostline's.
pub fn schedule_worlds(wanted: InternedScheduleLabel) -> Option<WorldFlags> {
    [FRAME_START, SIMULATION_PASS, PREDICTED_STEP, FRAME_END].into_iter().flatten().find_map(|step| match *step {
        Step::Game { label, worlds } if label() == wanted => Some(worlds),
        _ => None,
    })
}

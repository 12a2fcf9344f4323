//! All worlds of a process, in the order in which they were made, and the step that runs a frame of each.
//! Worlds share nothing but the in-process link; what a world sends reaches the others at the borders between the stages.

use bevy_app::AppExit;
use ghostline_transport::InProcessNetwork;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::bootstrap::{ClientServerBootstrap, Initialized};
use super::config::AutomaticBootstrap;
use super::frame;
use super::kind::WorldKind;
use super::migration::{MigrationError, MigrationTicket, WorldMigration};
use super::net_world::{NetWorld, WorldId};
use super::parallel::run_in_parallel;
use super::prepared::PreparedWorld;
use super::stalls;
use super::thin_client::ThinClients;
use super::world_commands::WorldCommands;
use super::world_error::WorldError;
use crate::connection::{NetworkStreamDriver, WorldOverview};
use crate::time::{FrameDemand, StallWatchdog, TargetFrameRateMode};

/// In which order the worlds of a process run within a frame. In-process links deliver after each stage.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum WorldOrder {
    /// Clients, thin clients, then servers: a local command arrives in the frame that made it. The default.
    #[default]
    ClientFirst,
    /// Servers, then clients and thin clients: the order of the reference.
    ServerFirst,
}

/// The number of an application's main world for its driver: it is in no list, and no world of one has it.
pub(super) const MAIN_WORLD: WorldId = WorldId(u64::MAX);

/// The name of the local world that is there if nothing else was made.
pub const DEFAULT_WORLD_NAME: &str = "default";

/// All worlds of a process at one moment, each with its name: what listens, what connects, who is connected. Prints as lines for a log.
#[derive(Clone, PartialEq, Debug)]
pub struct WorldsOverview {
    /// The worlds, in the order in which they were made.
    pub worlds: Vec<(String, WorldOverview)>,
}

impl fmt::Display for WorldsOverview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, world)) in self.worlds.iter().enumerate() {
            let line_break = if place == 0 { "" } else { "\n" };
            write!(f, "{line_break}world `{name}`, {world}")?;
        }
        Ok(())
    }
}

/// The worlds of a process.
pub struct Worlds {
    pub(super) bootstrap: ClientServerBootstrap,
    pub(super) network: InProcessNetwork,
    pub(super) worlds: Vec<NetWorld>,
    pub(super) next_id: u64,
    pub(super) now: Duration,
    watchdog: StallWatchdog,
    migration: WorldMigration,
    pub(super) thin_clients: ThinClients,
}

impl Worlds {
    /// No worlds yet, and the recipe for making them.
    pub fn new(bootstrap: ClientServerBootstrap) -> Self {
        Self {
            network: InProcessNetwork::with_seed(bootstrap.network_seed),
            bootstrap,
            worlds: Vec::new(),
            next_id: 0,
            now: Duration::ZERO,
            watchdog: StallWatchdog::default(),
            migration: WorldMigration::new(),
            thin_clients: ThinClients::default(),
        }
    }

    /// Makes the worlds that the program begins with: by the game's own initialisation, or those of the play type, or, if automatic bootstrap
    /// is off or the initialisation declines, one local world.
    ///
    /// # Errors
    /// Invalid settings, or auto-connect failed.
    pub(super) fn initialize(&mut self) -> Result<(), WorldError> {
        let initialized = match (self.bootstrap.automatic(), self.bootstrap.initialize.clone()) {
            (AutomaticBootstrap::Disabled, _) => Initialized::NotHandled,
            (AutomaticBootstrap::Enabled, Some(initialize)) => initialize(self)?,
            (AutomaticBootstrap::Enabled, None) => {
                self.create_default_client_server_worlds()?;
                Initialized::Handled
            }
        };
        if initialized == Initialized::NotHandled {
            self.create_local_world(DEFAULT_WORLD_NAME)?;
        }
        Ok(())
    }

    /// Stores a server or client world's connections under a ticket, so that another world can go on with them. The world itself has none
    /// any more, and is to be disposed.
    ///
    /// ```
    /// # use ghostline::prelude::*;
    /// # fn game(_: &mut bevy_app::App) {}
    /// # let mut worlds = ClientServerBootstrap::new(game).auto_connect(7979).build()?;
    /// # let old = worlds.server_world().unwrap().id();
    /// let ticket = worlds.store_world(old)?;
    /// worlds.dispose(old);
    /// let prepared = worlds.load_world(ticket)?;
    /// let new = worlds.create_server_world_in("the next level", prepared)?;
    /// # assert_eq!(worlds.server_world().unwrap().id(), new);
    /// # Ok::<(), ghostline::world::WorldError>(())
    /// ```
    ///
    /// # Errors
    /// No such world, or a local one.
    pub fn store_world(&mut self, id: WorldId) -> Result<MigrationTicket, MigrationError> {
        let world = self.worlds.iter_mut().find(|world| world.id() == id).ok_or(MigrationError::UnknownWorld)?;
        self.migration.store(world)
    }

    /// What was stored under a ticket, as a world without systems, to be given to the creator of its kind.
    ///
    /// # Errors
    /// An unknown ticket, or one that was loaded already.
    pub fn load_world(&mut self, ticket: MigrationTicket) -> Result<PreparedWorld, MigrationError> {
        self.migration.load(ticket)
    }

    /// Moves what was stored under a ticket into a world that was prepared for it.
    ///
    /// # Errors
    /// As [`WorldMigration::load_into`].
    pub fn load_world_into(
        &mut self,
        ticket: MigrationTicket,
        target: &mut PreparedWorld,
    ) -> Result<(), MigrationError> {
        self.migration.load_into(ticket, target)
    }

    /// The port of auto-connect for worlds that are made from now on; 0 turns it off. Those that are there stay as they are.
    pub fn set_auto_connect_port(&mut self, port: u16) {
        self.bootstrap.auto_connect_port = port;
    }

    /// Disposes a world: its connections are closed and the other sides learn it. False if there is no such world.
    pub fn dispose(&mut self, id: WorldId) -> bool {
        let before = self.worlds.len();
        // Dropping a world drops its drivers, which close their connections.
        self.worlds.retain(|world| world.id() != id);
        self.worlds.len() < before
    }

    /// The worlds, in the order in which they were made.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &NetWorld> {
        self.worlds.iter()
    }

    /// The worlds, in the order in which they were made.
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut NetWorld> {
        self.worlds.iter_mut()
    }

    /// Which worlds there are, and who is connected to whom.
    pub fn overview(&self) -> WorldsOverview {
        let worlds = self.worlds.iter().map(|world| (world.name().to_owned(), WorldOverview::of(world.world())));
        WorldsOverview { worlds: worlds.collect() }
    }

    /// One world.
    pub fn get(&self, id: WorldId) -> Option<&NetWorld> {
        self.worlds.iter().find(|world| world.id() == id)
    }

    /// One world.
    pub fn get_mut(&mut self, id: WorldId) -> Option<&mut NetWorld> {
        self.worlds.iter_mut().find(|world| world.id() == id)
    }

    /// The worlds of one kind.
    pub fn of_kind(&self, kind: WorldKind) -> impl Iterator<Item = &NetWorld> {
        self.worlds.iter().filter(move |world| world.kind() == kind)
    }

    /// The first server world.
    pub fn server_world(&self) -> Option<&NetWorld> {
        self.of_kind(WorldKind::Server).next()
    }

    /// The first client world that is not a thin one.
    pub fn client_world(&self) -> Option<&NetWorld> {
        self.of_kind(WorldKind::Client).next()
    }

    /// The link between the worlds of this process.
    pub fn network(&self) -> &InProcessNetwork {
        &self.network
    }

    /// The thin clients that are made and disposed as requested.
    pub fn thin_clients(&mut self) -> &mut ThinClients {
        &mut self.thin_clients
    }

    /// In which order the worlds run within a frame.
    pub fn order(&self) -> WorldOrder {
        self.bootstrap.order
    }

    /// Sets the clock, for an embedding that has its own.
    #[cfg(feature = "client")]
    pub(super) fn set_now(&mut self, now: Duration) {
        self.now = now;
    }

    /// Time since the first frame.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Whether there is a server world.
    pub fn has_server_world(&self) -> bool {
        self.server_world().is_some()
    }

    /// Whether there is a client world that is not a thin one.
    pub fn has_client_worlds(&self) -> bool {
        self.client_world().is_some()
    }

    /// Whether a server world that is made now listens by itself.
    pub fn will_server_auto_listen(&self) -> bool {
        self.bootstrap.auto_listen_endpoint().is_some()
    }

    /// Advances the clock by `dt` and runs one frame of every world, stage by stage; in-process links deliver after each stage. Then what
    /// systems have put into their [`WorldCommands`] is carried out.
    pub fn run_frame(&mut self, dt: Duration) {
        self.begin_frame(dt);
        let stages: [&[WorldKind]; 4] = match self.bootstrap.order {
            WorldOrder::ClientFirst => {
                [&[WorldKind::Local], &[WorldKind::Client], &[WorldKind::ThinClient], &[WorldKind::Server]]
            }
            WorldOrder::ServerFirst => {
                [&[WorldKind::Local], &[WorldKind::Server], &[WorldKind::Client], &[WorldKind::ThinClient]]
            }
        };
        for stage in stages {
            self.run_stage(stage, dt);
        }
        self.end_frame();
    }

    /// Begins a frame: the clock advances by `dt`, and the thin clients that are managed become as many as asked for. For a runner that
    /// calls [`run_stage`](Self::run_stage) itself, once for each kind of world, and then [`end_frame`](Self::end_frame).
    pub fn begin_frame(&mut self, dt: Duration) {
        self.now += dt;
        self.note_frame(dt, false);
    }

    /// What every frame begins with, once the clock is right. A stall is told once: by the worlds that it endangers (`is_told`, if that is one beside
    /// these), or else for all of them.
    pub(super) fn note_frame(&mut self, dt: Duration, is_told: bool) {
        let stall = self.watchdog.note_frame(self.now, dt);
        if let Some(stall) = stall.filter(|stall| stall.is_news && self.watchdog.logs)
            && !is_told
            && !self.worlds.iter().any(|world| stalls::is_alarming(world.world(), dt))
        {
            stalls::warn_of_stall(stall, None);
        }
        if let Err(error) = self.update_thin_clients(dt) {
            tracing::error!("no more thin clients are made: {error}");
        }
    }

    /// Runs one frame of the worlds of these kinds at the present time, and delivers what they sent.
    pub fn run_stage(&mut self, kinds: &[WorldKind], dt: Duration) {
        let now = self.now;
        let stage = self.worlds.iter_mut().filter(|world| kinds.contains(&world.kind()));
        match self.bootstrap.parallel_worlds {
            0 | 1 => stage.for_each(|world| world.run_frame_of_process(now, dt)),
            threads => run_in_parallel(stage.collect(), threads, now, dt),
        }
        self.network.deliver();
    }

    /// Ends a frame: what systems have put into their [`WorldCommands`] is carried out, now that no world runs.
    pub fn end_frame(&mut self) {
        let mut commands = WorldCommands::default();
        for world in &mut self.worlds {
            let mut given = world.world_mut().resource_mut::<WorldCommands>();
            if !given.is_empty() {
                given.drain_into(&mut commands);
            }
        }
        commands.run(self);
    }

    /// Watches the process for stalls; to set from when on, or whether, they are told.
    pub fn stall_watchdog(&mut self) -> &mut StallWatchdog {
        &mut self.watchdog
    }

    /// Says in the log where the servers listen and how to join them.
    pub(super) fn announce(&self) {
        for world in self.worlds.iter().filter(|world| world.kind().is_server()) {
            if let Some(server) = world.world().resource::<NetworkStreamDriver>().join_string() {
                let name = world.name();
                tracing::info!("`{name}` listens; join it from elsewhere with --connect {server}");
            }
        }
    }

    /// The exit that any world has asked for; an error goes before a success.
    pub fn should_exit(&self) -> Option<AppExit> {
        let exits: Vec<AppExit> = self.worlds.iter().filter_map(NetWorld::should_exit).collect();
        exits.iter().find(|exit| exit.is_error()).or(exits.first()).cloned()
    }

    /// How the stand-alone runner is to pace frames: without a wait if any world wants that, else for the fastest of them.
    pub(super) fn frame_demand(&self) -> FrameDemand {
        let still = FrameDemand { mode: TargetFrameRateMode::Sleep, rate_hz: 1 };
        let demands = self.worlds.iter().map(|world| frame::frame_demand(world.world()));
        let demand = demands.fold(still, |all, demand| FrameDemand {
            mode: if demand.mode == TargetFrameRateMode::BusyWait { demand.mode } else { all.mode },
            rate_hz: all.rate_hz.max(demand.rate_hz),
        });
        if self.worlds.is_empty() { FrameDemand { rate_hz: 60, ..demand } } else { demand }
    }

    /// How many ticks the first server ran in the newest frame; `None` without one.
    pub(super) fn ticks_of_last_frame(&self) -> Option<u32> {
        frame::ticks_of_last_frame(self.server_world()?.world())
    }
}

/// The address on which a server listens by default: every local one.
pub(super) fn any_address(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
}

/// The address to which a client connects by default: this machine.
pub(super) fn loopback_address(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

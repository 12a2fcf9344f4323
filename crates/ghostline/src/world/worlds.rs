//! All worlds of a process, in the order in which they were made, and the step that runs a frame of each.
//! Worlds share nothing but the in-process link; what a world sends reaches the others at the borders between the stages.

use bevy_app::{App, AppExit, First, Plugin, SubApp};

use bevy_ecs::prelude::World;
use bevy_ecs::schedule::Schedules;
use ghostline_transport::InProcessNetwork;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

use super::bootstrap::ClientServerBootstrap;
use super::drivers::{DriverConstructionError, DriverContext};
use super::filter::{remove_foreign_schedules, warn_of_idle_schedules};
use super::frame;
use super::kind::WorldKind;
use super::thin_client::ThinClients;
use crate::connection::{ConnectionError, ConnectionWorldExt, NetworkStreamDriver, WorldOverview};

/// In which order the worlds of a process run within a frame. In-process links deliver after each stage.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum WorldOrder {
    /// Clients, thin clients, then servers: a local command arrives in the frame that made it. The default.
    #[default]
    ClientFirst,
    /// Servers, then clients and thin clients: the order of the reference.
    ServerFirst,
}

/// Which worlds the default bootstrap makes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum PlayType {
    /// A server and a client in one process.
    #[default]
    ClientAndServer = 0,
    /// A client alone.
    Client = 1,
    /// A server alone.
    Server = 2,
}

/// Tells the worlds of a process apart, also after some are gone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct WorldId(pub u64);

/// A game's plugin, built once in each world.
#[derive(Clone)]
pub(crate) struct SharedPlugin(pub Arc<dyn Plugin>);

impl Plugin for SharedPlugin {
    fn build(&self, app: &mut App) {
        self.0.build(app);
    }
    fn ready(&self, app: &App) -> bool {
        self.0.ready(app)
    }
    fn finish(&self, app: &mut App) {
        self.0.finish(app);
    }
    fn cleanup(&self, app: &mut App) {
        self.0.cleanup(app);
    }
    fn name(&self) -> &str {
        self.0.name()
    }
}

/// One world with its schedules.
pub struct NetWorld {
    id: WorldId,
    name: String,
    kind: WorldKind,
    app: SubApp,
    started: bool,
}

impl NetWorld {
    /// Makes a world by the recipe. It neither listens nor connects.
    ///
    /// # Errors
    /// Invalid settings, or its drivers can't be made.
    pub fn new(
        bootstrap: &ClientServerBootstrap,
        context: &DriverContext<'_>,
        name: &str,
        now: Duration,
    ) -> Result<Self, WorldError> {
        let &DriverContext { world: id, kind, .. } = context;
        let errors = bootstrap.validate();
        if !errors.is_empty() {
            return Err(WorldError::InvalidConfiguration(errors));
        }
        let mut app = SubApp::new();
        // Bevy puts its message update there, which a world of ours does once per simulation pass instead.
        app.world_mut().resource_mut::<Schedules>().remove(First);
        let drivers = match kind {
            WorldKind::Local => None,
            WorldKind::Server => Some(bootstrap.drivers.create_server_drivers(context)?),
            WorldKind::Client | WorldKind::ThinClient => Some(bootstrap.drivers.create_client_driver(context)?),
        };
        frame::prepare(app.world_mut(), kind, drivers, bootstrap.game_version, now);
        app.add_message::<AppExit>();
        bootstrap.apply_config(app.world_mut(), kind);
        app.add_plugins(SharedPlugin(Arc::clone(&bootstrap.plugin)));
        app.finish();
        app.cleanup();
        frame::finish(app.world_mut(), kind);
        remove_foreign_schedules(app.world_mut(), kind);
        warn_of_idle_schedules(app.world(), name);
        Ok(Self { id, name: name.to_owned(), kind, app, started: false })
    }

    /// Its identity within the process.
    pub fn id(&self) -> WorldId {
        self.id
    }

    /// The name given when it was made.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its kind.
    pub fn kind(&self) -> WorldKind {
        self.kind
    }

    /// The ECS world.
    pub fn world(&self) -> &World {
        self.app.world()
    }

    /// The ECS world.
    pub fn world_mut(&mut self) -> &mut World {
        self.app.world_mut()
    }

    /// The world with its plugins and schedules.
    pub fn app_mut(&mut self) -> &mut SubApp {
        &mut self.app
    }

    /// Runs one frame of this world alone. `now` is the time since the process began; what it sends waits for the next delivery.
    pub fn run_frame(&mut self, now: Duration, dt: Duration) {
        let world = self.app.world_mut();
        if !std::mem::replace(&mut self.started, true) {
            frame::run_startup(world);
        }
        frame::run(world, self.kind, now, dt);
        world.clear_trackers();
    }

    /// The `AppExit` that a system of this world has asked for, if any.
    pub fn should_exit(&self) -> Option<AppExit> {
        frame::asked_exit(self.world())
    }
}

/// Why a world could not be made.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorldError {
    /// The settings of the bootstrap contradict themselves; all of it at once.
    #[error("the settings are not valid: {}", .0.join("; "))]
    InvalidConfiguration(Vec<String>),
    /// The drivers of the world can't be made.
    #[error("the world's drivers can't be made: {0}")]
    Drivers(#[from] DriverConstructionError),
    /// Auto-connect was asked for and failed.
    #[error(transparent)]
    AutoConnect(#[from] ConnectionError),
}

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
    bootstrap: ClientServerBootstrap,
    network: InProcessNetwork,
    worlds: Vec<NetWorld>,
    next_id: u64,
    now: Duration,
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
            thin_clients: ThinClients::default(),
        }
    }

    /// Makes exactly the worlds of the requested play type, server first, and the thin clients asked for.
    ///
    /// # Errors
    /// Invalid settings, or auto-connect failed.
    pub fn create_default_client_server_worlds(&mut self) -> Result<(), WorldError> {
        let play_type = self.bootstrap.play_type;
        if play_type != PlayType::Client {
            self.create_server_world("server")?;
        }
        if play_type != PlayType::Server {
            self.create_client_world("client")?;
        }
        self.thin_clients.request(self.bootstrap.thin_clients);
        self.update_thin_clients(Duration::ZERO)
    }

    /// Makes a world without a network.
    ///
    /// # Errors
    /// Invalid settings.
    pub fn create_local_world(&mut self, name: &str) -> Result<WorldId, WorldError> {
        self.create(name, WorldKind::Local)
    }

    /// Makes a server world; with auto-connect on, it listens at once.
    ///
    /// # Errors
    /// Invalid settings, or the port can't be listened on.
    pub fn create_server_world(&mut self, name: &str) -> Result<WorldId, WorldError> {
        let id = self.create(name, WorldKind::Server)?;
        if let Some(endpoint) = self.bootstrap.auto_listen_endpoint() {
            self.auto(id, |world| world.listen(endpoint))?;
        }
        Ok(id)
    }

    /// Makes a client world; with auto-connect on, it connects at once.
    ///
    /// # Errors
    /// Invalid settings, or the address can't be connected to.
    pub fn create_client_world(&mut self, name: &str) -> Result<WorldId, WorldError> {
        self.create_connecting(name, WorldKind::Client)
    }

    /// Makes a thin client world; with auto-connect on, it connects at once.
    ///
    /// # Errors
    /// Invalid settings, or the address can't be connected to.
    pub fn create_thin_client_world(&mut self, name: &str) -> Result<WorldId, WorldError> {
        self.create_connecting(name, WorldKind::ThinClient)
    }

    fn create_connecting(&mut self, name: &str, kind: WorldKind) -> Result<WorldId, WorldError> {
        let id = self.create(name, kind)?;
        if let Some(server) = self.bootstrap.auto_connect_endpoint() {
            self.auto(id, |world| world.join(&server).map(|_| ()))?;
        }
        Ok(id)
    }

    fn auto(
        &mut self,
        id: WorldId,
        call: impl FnOnce(&mut World) -> Result<(), ConnectionError>,
    ) -> Result<(), WorldError> {
        let Some(world) = self.get_mut(id) else { return Ok(()) };
        call(world.world_mut())?;
        world.world_mut().resource_mut::<NetworkStreamDriver>().set_by_auto_connect();
        Ok(())
    }

    fn create(&mut self, name: &str, kind: WorldKind) -> Result<WorldId, WorldError> {
        let id = WorldId(self.next_id);
        let context = DriverContext {
            network: &self.network,
            world: id,
            kind,
            play_type: self.bootstrap.play_type,
            has_server_world: self.server_world().is_some(),
        };
        let world = NetWorld::new(&self.bootstrap, &context, name, self.now)?;
        self.next_id += 1;
        self.worlds.push(world);
        Ok(id)
    }

    /// Disposes a world: its connections are closed and the other sides learn it. False if there is no such world.
    pub fn dispose(&mut self, id: WorldId) -> bool {
        let before = self.worlds.len();
        // Dropping a world drops its drivers, which close their connections.
        self.worlds.retain(|world| world.id != id);
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
        let worlds = self.worlds.iter().map(|world| (world.name.clone(), WorldOverview::of(world.world())));
        WorldsOverview { worlds: worlds.collect() }
    }

    /// One world.
    pub fn get(&self, id: WorldId) -> Option<&NetWorld> {
        self.worlds.iter().find(|world| world.id == id)
    }

    /// One world.
    pub fn get_mut(&mut self, id: WorldId) -> Option<&mut NetWorld> {
        self.worlds.iter_mut().find(|world| world.id == id)
    }

    /// The worlds of one kind.
    pub fn of_kind(&self, kind: WorldKind) -> impl Iterator<Item = &NetWorld> {
        self.worlds.iter().filter(move |world| world.kind == kind)
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
    pub(super) fn set_now(&mut self, now: Duration) {
        self.now = now;
    }

    /// Time since the first frame.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Advances the clock by `dt` and runs one frame of every world, stage by stage; in-process links deliver after each stage.
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
    }

    /// Begins a frame: the clock advances by `dt`, and the thin clients that are managed become as many as asked for. For a runner that
    /// calls [`run_stage`](Self::run_stage) itself, once for each kind of world.
    pub fn begin_frame(&mut self, dt: Duration) {
        self.now += dt;
        if let Err(error) = self.update_thin_clients(dt) {
            tracing::error!("no more thin clients are made: {error}");
        }
    }

    /// Runs one frame of the worlds of these kinds at the present time, and delivers what they sent.
    pub fn run_stage(&mut self, kinds: &[WorldKind], dt: Duration) {
        let now = self.now;
        for world in self.worlds.iter_mut().filter(|world| kinds.contains(&world.kind)) {
            world.run_frame(now, dt);
        }
        self.network.deliver();
    }

    /// Says in the log where the servers listen and how to join them.
    pub(super) fn announce(&mut self) {
        for world in self.worlds.iter_mut().filter(|world| world.kind.is_server()) {
            let name = world.name.clone();
            let mut facade = world.world_mut().resource_mut::<NetworkStreamDriver>();
            if let Some(server) = facade.join_string() {
                tracing::info!("`{name}` listens; join it from elsewhere with --connect {server}");
            }
        }
    }

    /// The exit that any world has asked for; an error goes before a success.
    pub fn should_exit(&self) -> Option<AppExit> {
        let exits: Vec<AppExit> = self.worlds.iter().filter_map(NetWorld::should_exit).collect();
        exits.iter().find(|exit| exit.is_error()).or(exits.first()).cloned()
    }

    pub(super) fn frame_rate_hz(&self) -> u32 {
        self.worlds.iter().map(|world| frame::wanted_frame_rate_hz(world.world(), world.kind)).max().unwrap_or(60)
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

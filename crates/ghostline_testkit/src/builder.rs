//! How a fleet is made: the game, how many worlds, which links, which settings.

use bevy_app::Plugin;
use ghostline::time::{ClientServerTickRate, ClientTickRate};
use ghostline::transport::{DriverSettings, LinkProfile};
use ghostline::wire::NetworkTick;
use ghostline::world::{ClientServerBootstrap, ScheduleExecutor, WorldOrder};

use crate::fleet::Fleet;
#[cfg(doc)]
use crate::link::Link;
use crate::network::Transport;

/// How a fleet is made. See [`Fleet::builder`].
pub struct FleetBuilder {
    pub(crate) seed: u64,
    pub(crate) plugins: Option<Box<dyn FnOnce(BootstrapSettings) -> ClientServerBootstrap>>,
    pub(crate) clients: usize,
    pub(crate) thin_clients: usize,
    pub(crate) link: LinkProfile,
    pub(crate) order: WorldOrder,
    pub(crate) settings: BootstrapSettings,
    pub(crate) drivers: DriverSettings,
    pub(crate) transport: Transport,
}

#[derive(Clone, Default)]
pub(crate) struct BootstrapSettings {
    tick_rate: Option<ClientServerTickRate>,
    client_tick_rate: Option<ClientTickRate>,
    game_version: u32,
    start_tick: Option<NetworkTick>,
    executor: ScheduleExecutor,
}

impl BootstrapSettings {
    pub(crate) fn apply(self, mut bootstrap: ClientServerBootstrap) -> ClientServerBootstrap {
        bootstrap = bootstrap.game_version(self.game_version).schedule_executor(self.executor);
        if let Some(rate) = self.tick_rate {
            bootstrap = bootstrap.tick_rate(rate);
        }
        if let Some(rate) = self.client_tick_rate {
            bootstrap = bootstrap.client_tick_rate(rate);
        }
        if let Some(tick) = self.start_tick {
            bootstrap = bootstrap.start_tick(tick);
        }
        bootstrap
    }
}

impl Default for FleetBuilder {
    fn default() -> Self {
        Self {
            seed: 1,
            plugins: None,
            clients: 1,
            thin_clients: 0,
            link: LinkProfile::default(),
            order: WorldOrder::ServerFirst,
            settings: BootstrapSettings::default(),
            drivers: DriverSettings::default(),
            transport: Transport::default(),
        }
    }
}

impl FleetBuilder {
    /// The seed of everything random; printed when a test fails. Default 1.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The game, built once in each world.
    pub fn plugin(mut self, plugin: impl Plugin) -> Self {
        self.plugins = Some(Box::new(move |settings| settings.apply(ClientServerBootstrap::new(plugin))));
        self
    }

    /// How many client worlds. Default 1.
    pub fn clients(mut self, count: usize) -> Self {
        self.clients = count;
        self
    }

    /// How many thin client worlds. Default 0.
    pub fn thin_clients(mut self, count: usize) -> Self {
        self.thin_clients = count;
        self
    }

    /// The link of every client. Default: perfect, posing as a socket. Until [`connect_all`](Fleet::connect_all) is done it is perfect in any
    /// case; who connects in another way says so with [`Link::set`].
    pub fn link(mut self, profile: LinkProfile) -> Self {
        self.link = profile;
        self
    }

    /// Who is ticked first. Default: the server.
    pub fn order(mut self, order: WorldOrder) -> Self {
        self.order = order;
        self
    }

    /// The tick rates of the server. Default: the library's.
    pub fn tick_rate(mut self, rate: ClientServerTickRate) -> Self {
        self.settings.tick_rate = Some(rate);
        self
    }

    /// The time settings of the clients. Default: the library's.
    pub fn client_tick_rate(mut self, rate: ClientTickRate) -> Self {
        self.settings.client_tick_rate = Some(rate);
        self
    }

    /// The tick that the server has when it is made; the first that it simulates is the next. Default 0.
    pub fn start_tick(mut self, tick: NetworkTick) -> Self {
        self.settings.start_tick = Some(tick);
        self
    }

    /// The version of the game. Default 0.
    pub fn game_version(mut self, version: u32) -> Self {
        self.settings.game_version = version;
        self
    }

    /// How the systems of a schedule are run. Default: one after the other.
    pub fn schedule_executor(mut self, executor: ScheduleExecutor) -> Self {
        self.settings.executor = executor;
        self
    }

    /// The settings of all drivers, the largest message among them. Default: the transport's.
    pub fn driver_settings(mut self, settings: DriverSettings) -> Self {
        self.drivers = settings;
        self
    }

    /// Over what the worlds talk. Default: the in-process link.
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// Makes the worlds. Nobody listens or connects yet.
    ///
    /// # Panics
    /// The worlds can't be made.
    pub fn build(self) -> Fleet {
        Fleet::new(self)
    }
}

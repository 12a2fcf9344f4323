//! The bootstrap: from a game's plugin to running worlds.
//! It is the recipe for worlds: plugin, play type, addresses, drivers, configuration. `build` makes them, `run` runs them too.

use bevy_app::{AppExit, Plugin};
use bevy_ecs::prelude::World;
use ghostline_transport::ServerAddress;
use ghostline_wire::NetworkTick;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::config::{AutomaticBootstrap, ConfigError, NetCodeConfig};
use super::connect_override;
use super::drivers::{DriverConstructor, default_drivers};
use super::flavour::BUILD_FLAVOUR;
use super::frame;
use super::kind::WorldKind;
use super::play_type::{self, PlayType};
use super::runner::run_in_real_time;
use super::world_error::WorldError;
use super::worlds::{WorldOrder, Worlds, any_address, loopback_address};
use crate::time::{ClientServerTickRate, ClientTickRate};

/// What came of a game's own initialisation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Initialized {
    /// The worlds that are wanted are there; none is fine too.
    Handled,
    /// Nothing was done: one local world is made instead.
    NotHandled,
}

/// How the systems of one schedule of a world are run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum ScheduleExecutor {
    /// One after the other, in the order of the schedule. With schedules of a few short systems, as netcode has, the fastest on most machines.
    #[default]
    SingleThreaded,
    /// As Bevy's executor decides: at the same time where they touch different data. Needs the cargo feature `multi_threaded`, here or in
    /// Bevy; without it, it is the same as the other. Systems that neither an order nor their data keeps apart may run in any order.
    MultiThreaded,
}

type Initialize = dyn Fn(&mut Worlds) -> Result<Initialized, WorldError> + Send + Sync;

/// Makes and runs the worlds of a program. One value per program; nothing connects or listens unless asked.
///
/// ```
/// # use ghostline::prelude::*;
/// # use bevy_app::App;
/// # fn game(_: &mut App) {}
/// # let alone = ghostline::world::InProcessDrivers::default();
/// let mut worlds = ClientServerBootstrap::new(game).drivers(alone).auto_connect(7979).build().unwrap();
/// assert!(worlds.server_world().is_some() && worlds.client_world().is_some());
/// worlds.run_frame(std::time::Duration::from_millis(16));
/// ```
#[derive(Clone)]
pub struct ClientServerBootstrap {
    pub(super) plugin: Arc<dyn Plugin>,
    pub(super) initialize: Option<Arc<Initialize>>,
    initializations: u32,
    play_type: Option<PlayType>,
    automatic: Option<AutomaticBootstrap>,
    pub(super) thin_clients: u32,
    pub(super) order: WorldOrder,
    pub(super) parallel_worlds: usize,
    pub(super) executor: ScheduleExecutor,
    drivers: Option<Arc<dyn DriverConstructor>>,
    pub(super) game_version: u32,
    pub(super) network_seed: u64,
    pub(super) auto_connect_port: u16,
    connect_override: Option<ServerAddress>,
    default_connect_address: IpAddr,
    default_listen_address: IpAddr,
    config: NetCodeConfig,
    tick_rate: Option<ClientServerTickRate>,
    client_tick_rate: Option<ClientTickRate>,
    start_tick: Option<NetworkTick>,
}

/// At most so many thin clients are made by the bootstrap.
pub const MAX_THIN_CLIENTS: u32 = 1000;

impl ClientServerBootstrap {
    /// A server and a client in one process that neither listen nor connect.
    pub fn new(plugin: impl Plugin) -> Self {
        Self {
            plugin: Arc::new(plugin),
            initialize: None,
            initializations: 0,
            play_type: None,
            automatic: None,
            thin_clients: 0,
            order: WorldOrder::default(),
            parallel_worlds: 1,
            executor: ScheduleExecutor::default(),
            drivers: None,
            game_version: 0,
            network_seed: 0,
            auto_connect_port: 0,
            connect_override: None,
            default_connect_address: loopback_address(0).ip(),
            default_listen_address: any_address(0).ip(),
            config: NetCodeConfig::default(),
            tick_rate: None,
            client_tick_rate: None,
            start_tick: None,
        }
    }

    /// The game's own initialisation, instead of the worlds of the play type: which worlds there are when the program begins. The creators of
    /// [`Worlds`] work there as at any later time. At most one per program.
    ///
    /// ```
    /// # use ghostline::prelude::*;
    /// # fn game(_: &mut bevy_app::App) {}
    /// // A game with a menu: a local world, and nothing that connects before the player has chosen.
    /// let worlds = ClientServerBootstrap::new(game)
    ///     .initialize(|worlds| {
    ///         worlds.create_local_world("menu")?;
    ///         Ok(Initialized::Handled)
    ///     })
    ///     .build()?;
    /// assert!(!worlds.has_server_world() && !worlds.has_client_worlds());
    /// # Ok::<(), ghostline::world::WorldError>(())
    /// ```
    pub fn initialize(
        mut self,
        initialize: impl Fn(&mut Worlds) -> Result<Initialized, WorldError> + Send + Sync + 'static,
    ) -> Self {
        self.initialize = Some(Arc::new(initialize));
        self.initializations += 1;
        self
    }

    /// Everything that can be configured, as one value. What is set by a call of its own goes before it, whatever the order of the calls.
    pub fn config(mut self, config: NetCodeConfig) -> Self {
        self.config = config;
        self
    }

    /// Whether this game makes worlds when it starts, whatever its configuration says.
    pub fn automatic_bootstrap(mut self, automatic: AutomaticBootstrap) -> Self {
        self.automatic = Some(automatic);
        self
    }

    /// Servers listen on this port and clients connect to it, as soon as they are made. 0 (the default): neither.
    pub fn auto_connect(mut self, port: u16) -> Self {
        self.auto_connect_port = port;
        self
    }

    /// Where an auto-connecting program of play type [`PlayType::Client`] connects instead. Ignored with port 0, where auto-connect is off, and
    /// by other play types. Default: what [`read_command_line`](Self::read_command_line) finds.
    pub fn connect_override(mut self, server: impl Into<ServerAddress>) -> Self {
        self.connect_override = Some(server.into());
        self
    }

    /// Which worlds [`build`](Self::build) makes. Default: what [`read_command_line`](Self::read_command_line) finds, else a server and
    /// a client, or in a build with one side that side alone.
    pub fn play_type(mut self, play_type: PlayType) -> Self {
        self.play_type = Some(play_type);
        self
    }

    /// How many thin clients [`build`](Self::build) adds; at most [`MAX_THIN_CLIENTS`]. Default: none.
    pub fn thin_clients(mut self, count: u32) -> Self {
        self.thin_clients = count;
        self
    }

    /// In which order worlds run within a frame. Default: clients first.
    pub fn order(mut self, order: WorldOrder) -> Self {
        self.order = order;
        self
    }

    /// Runs the worlds of one stage (servers, clients, thin clients) on up to so many threads, each frame anew. The bytes on every link stay the
    /// same. Default 1: no thread is made. It pays for many worlds of one kind, such as hundreds of thin clients.
    pub fn parallel_worlds(mut self, threads: usize) -> Self {
        self.parallel_worlds = threads;
        self
    }

    /// How the systems of a schedule are run. Default: one after the other.
    pub fn schedule_executor(mut self, executor: ScheduleExecutor) -> Self {
        self.executor = executor;
        self
    }

    /// What makes the drivers of new worlds. Default: [`DefaultDrivers`](super::DefaultDrivers), in a build without the cargo feature `quic`
    /// [`InProcessDrivers`](super::InProcessDrivers), with the settings of the configuration.
    pub fn drivers(mut self, drivers: impl DriverConstructor) -> Self {
        self.drivers = Some(Arc::new(drivers));
        self
    }

    /// The game's own version; both sides must agree. Default 0.
    pub fn game_version(mut self, version: u32) -> Self {
        self.game_version = version;
        self
    }

    /// The seed of all chance on simulated links within the process. Default 0.
    pub fn network_seed(mut self, seed: u64) -> Self {
        self.network_seed = seed;
        self
    }

    /// Where auto-connecting clients connect to; the unspecified address: nowhere. Default: this machine.
    pub fn default_connect_address(mut self, address: IpAddr) -> Self {
        self.default_connect_address = address;
        self
    }

    /// Where auto-connecting servers listen. Default: every local address.
    pub fn default_listen_address(mut self, address: IpAddr) -> Self {
        self.default_listen_address = address;
        self
    }

    /// The tick rates that server worlds start with; clients learn them in the handshake. What a plugin sets explicitly stays.
    pub fn tick_rate(mut self, rate: ClientServerTickRate) -> Self {
        self.tick_rate = Some(rate);
        self
    }

    /// The time settings that client worlds start with. What a plugin sets explicitly stays.
    pub fn client_tick_rate(mut self, rate: ClientTickRate) -> Self {
        self.client_tick_rate = Some(rate);
        self
    }

    /// The tick that a server world has when it is made; the first that it simulates is the next. For a session that goes on, and for
    /// tests of what happens far from zero. Default 0.
    pub fn start_tick(mut self, tick: NetworkTick) -> Self {
        self.start_tick = Some(tick);
        self
    }

    /// Everything that is wrong with the settings.
    pub fn validate(&self) -> Vec<ConfigError> {
        let mut errors = self.resolved_config().validate();
        if self.thin_clients > MAX_THIN_CLIENTS {
            errors.push(ConfigError::TooManyThinClients { count: self.thin_clients });
        }
        if let Some(drivers) = &self.drivers {
            errors.extend(drivers.validate().into_iter().map(ConfigError::OfDrivers));
        }
        if self.initializations > 1 {
            errors.push(ConfigError::SeveralInitializations(self.initializations));
        }
        errors
    }

    /// Makes the worlds that the program begins with.
    ///
    /// # Errors
    /// Invalid settings, or auto-connect failed.
    pub fn build(self) -> Result<Worlds, WorldError> {
        let errors = self.validate();
        if !errors.is_empty() {
            return Err(WorldError::InvalidConfiguration(errors));
        }
        let mut worlds = Worlds::new(self);
        worlds.initialize()?;
        Ok(worlds)
    }

    /// Takes from the command line, and where that is silent from the environment, what the game's code leaves open:
    /// `--play-type client-and-server|client|server` or `GHOSTLINE_PLAY_TYPE`, and for a program that is a client alone
    /// `--connect ADDRESS` or `GHOSTLINE_CONNECT`, which is an address or a name with a port, or the join string that a server prints.
    /// [`run`](Self::run) does so; a program that builds its worlds itself, or embeds them, may.
    pub fn read_command_line(mut self) -> Self {
        let variable = |name| std::env::var(name).ok();
        if self.play_type.is_none() {
            self.play_type = play_type::read(std::env::args(), variable(play_type::PLAY_TYPE_VARIABLE));
        }
        if self.connect_override.is_none() {
            self.connect_override =
                connect_override::read(std::env::args(), variable(connect_override::CONNECT_VARIABLE));
        }
        self
    }

    /// Makes the worlds and runs them in real time until one of them writes an `AppExit`, or Ctrl-C. What the game's code leaves open is taken from
    /// outside: see [`read_command_line`](Self::read_command_line).
    pub fn run(self) -> AppExit {
        match self.read_command_line().build() {
            Ok(worlds) => {
                worlds.announce();
                run_in_real_time(worlds)
            }
            Err(error) => {
                tracing::error!("the worlds could not be made: {error}");
                AppExit::error()
            }
        }
    }

    /// The configuration with what was set by calls of their own in its place.
    fn resolved_config(&self) -> NetCodeConfig {
        let mut config = self.config.clone();
        if let Some(rate) = &self.tick_rate {
            config.client_server_tick_rate = rate.clone();
        }
        if let Some(rate) = &self.client_tick_rate {
            config.client_tick_rate = rate.clone();
        }
        config
    }

    /// Which worlds are asked for.
    pub fn requested_play_type(&self) -> PlayType {
        self.play_type.unwrap_or(BUILD_FLAVOUR.default_play_type())
    }

    pub(super) fn automatic(&self) -> AutomaticBootstrap {
        self.automatic.unwrap_or(self.config.automatic_bootstrap)
    }

    pub(super) fn driver_constructor(&self) -> Arc<dyn DriverConstructor> {
        self.drivers.clone().unwrap_or_else(|| Arc::new(default_drivers(self.config.drivers)))
    }

    pub(super) fn auto_listen_endpoint(&self) -> Option<SocketAddr> {
        (self.auto_connect_port != 0).then(|| SocketAddr::new(self.default_listen_address, self.auto_connect_port))
    }

    pub(super) fn auto_connect_endpoint(&self) -> Option<ServerAddress> {
        if self.auto_connect_port == 0 {
            return None;
        }
        let is_client_alone = self.requested_play_type() == PlayType::Client;
        if let Some(server) = self.connect_override.as_ref().filter(|server| is_client_alone && server.port() != 0) {
            return Some(server.clone());
        }
        let mut address = self.default_connect_address;
        if address.is_unspecified() {
            return None;
        }
        if !is_client_alone && !address.is_loopback() {
            let loopback = loopback_address(0).ip();
            tracing::warn!(
                "this process has a server of its own, so its clients connect to {loopback} and not to {address}; for another server set the \
                 play type to `Client`"
            );
            address = loopback;
        }
        Some(SocketAddr::new(address, self.auto_connect_port).into())
    }

    /// Puts the configured values into a new world, before the game's plugin can set its own.
    pub(super) fn apply_config(&self, world: &mut World, kind: WorldKind) {
        self.resolved_config().apply(world, kind);
        if let Some(tick) = self.start_tick.filter(|_| kind == WorldKind::Server) {
            frame::start_at(world, tick);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_app: &mut bevy_app::App) {}

    fn rate(simulation_tick_rate: i32) -> ClientServerTickRate {
        ClientServerTickRate { simulation_tick_rate, ..Default::default() }
    }

    #[test]
    fn a_setting_by_a_call_of_its_own_goes_before_the_configuration_in_any_order() {
        let config = || NetCodeConfig { client_server_tick_rate: rate(20), ..Default::default() };
        for bootstrap in [
            ClientServerBootstrap::new(nothing).config(config()).tick_rate(rate(40)),
            ClientServerBootstrap::new(nothing).tick_rate(rate(40)).config(config()),
        ] {
            let worlds = bootstrap.build().expect("the settings are valid");
            let server = worlds.server_world().expect("there is one").world();
            assert_eq!(server.resource::<ClientServerTickRate>().simulation_tick_rate, 40);
        }
    }

    #[test]
    fn a_program_has_one_initialisation() {
        let handled = |_: &mut Worlds| Ok(Initialized::Handled);
        let error =
            ClientServerBootstrap::new(nothing).initialize(handled).initialize(handled).thin_clients(1001).build();
        let errors = [ConfigError::TooManyThinClients { count: 1001 }, ConfigError::SeveralInitializations(2)];
        assert_eq!(error.err(), Some(WorldError::InvalidConfiguration(errors.into())));
    }
}

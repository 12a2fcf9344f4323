//! The bootstrap: from a game's plugin to running worlds.
//! It is the recipe for worlds (plugin, play type, addresses, drivers); `run` is the stand-alone runner around them.

use bevy_app::{AppExit, Plugin};
use bevy_ecs::prelude::World;
use ghostline_transport::ServerAddress;
use ghostline_wire::NetworkTick;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connect_override;
use super::drivers::{DriverConstructor, default_drivers};
use super::exit_signal::ExitSignal;
use super::frame;
use super::kind::WorldKind;
use super::worlds::{PlayType, WorldError, WorldOrder, Worlds, any_address, loopback_address};
use crate::time::{ClientServerTickRate, ClientTickRate};

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
    pub(super) play_type: PlayType,
    pub(super) thin_clients: u32,
    pub(super) order: WorldOrder,
    pub(super) drivers: Arc<dyn DriverConstructor>,
    pub(super) game_version: u32,
    pub(super) network_seed: u64,
    auto_connect_port: u16,
    connect_override: Option<ServerAddress>,
    default_connect_address: IpAddr,
    default_listen_address: IpAddr,
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
            play_type: PlayType::default(),
            thin_clients: 0,
            order: WorldOrder::default(),
            drivers: Arc::new(default_drivers()),
            game_version: 0,
            network_seed: 0,
            auto_connect_port: 0,
            connect_override: None,
            default_connect_address: loopback_address(0).ip(),
            default_listen_address: any_address(0).ip(),
            tick_rate: None,
            client_tick_rate: None,
            start_tick: None,
        }
    }

    /// Servers listen on this port and clients connect to it, as soon as they are made. 0 (the default): neither.
    pub fn auto_connect(mut self, port: u16) -> Self {
        self.auto_connect_port = port;
        self
    }

    /// Where an auto-connecting program of play type [`PlayType::Client`] connects instead. Ignored with port 0, where auto-connect is off, and
    /// by other play types. Default: what [`run`](Self::run) reads from the command line (`--connect ADDRESS`) or the environment
    /// (`GHOSTLINE_CONNECT`): an address or a name with a port, or the join string that a server prints.
    pub fn connect_override(mut self, server: impl Into<ServerAddress>) -> Self {
        self.connect_override = Some(server.into());
        self
    }

    /// Which worlds [`build`](Self::build) makes. Default: a server and a client.
    pub fn play_type(mut self, play_type: PlayType) -> Self {
        self.play_type = play_type;
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

    /// What makes the drivers of new worlds. Default: [`DefaultDrivers`](super::DefaultDrivers); in a build without the cargo feature `quic`
    /// [`InProcessDrivers`](super::InProcessDrivers).
    pub fn drivers(mut self, drivers: impl DriverConstructor) -> Self {
        self.drivers = Arc::new(drivers);
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
    pub fn validate(&self) -> Vec<String> {
        let mut errors = Vec::new();
        if self.thin_clients > MAX_THIN_CLIENTS {
            errors.push(format!("{} thin clients are more than {MAX_THIN_CLIENTS}", self.thin_clients));
        }
        if let Some(rate) = &self.tick_rate {
            errors.extend(rate.validate().iter().map(ToString::to_string));
        }
        if let Some(rate) = &self.client_tick_rate {
            errors.extend(rate.validate().iter().map(ToString::to_string));
        }
        errors.extend(self.drivers.validate());
        errors
    }

    /// Makes the worlds.
    ///
    /// # Errors
    /// Invalid settings, or auto-connect failed.
    pub fn build(self) -> Result<Worlds, WorldError> {
        let mut worlds = Worlds::new(self);
        worlds.create_default_client_server_worlds()?;
        Ok(worlds)
    }

    /// Makes the worlds and runs them in real time until one of them writes an `AppExit`, or Ctrl-C.
    ///
    /// `--connect ADDRESS`, or `GHOSTLINE_CONNECT`, tells a client-only program where to connect: see
    /// [`connect_override`](Self::connect_override).
    pub fn run(mut self) -> AppExit {
        if self.connect_override.is_none() {
            let variable = std::env::var(connect_override::CONNECT_VARIABLE).ok();
            self.connect_override = connect_override::read(std::env::args(), variable);
        }
        match self.build() {
            Ok(mut worlds) => {
                worlds.announce();
                run_in_real_time(worlds)
            }
            Err(error) => {
                tracing::error!("the worlds could not be made: {error}");
                AppExit::error()
            }
        }
    }

    pub(super) fn auto_listen_endpoint(&self) -> Option<SocketAddr> {
        (self.auto_connect_port != 0).then(|| SocketAddr::new(self.default_listen_address, self.auto_connect_port))
    }

    pub(super) fn auto_connect_endpoint(&self) -> Option<ServerAddress> {
        let from_outside = self
            .connect_override
            .clone()
            .filter(|server| self.play_type == PlayType::Client && self.auto_connect_port != 0 && server.port() != 0);
        if from_outside.is_some() {
            return from_outside;
        }
        let wanted = self.auto_connect_port != 0 && !self.default_connect_address.is_unspecified();
        wanted.then(|| SocketAddr::new(self.default_connect_address, self.auto_connect_port).into())
    }

    /// Puts the configured values into a new world, before the game's plugin can set its own.
    pub(super) fn apply_config(&self, world: &mut World, kind: WorldKind) {
        if let Some(rate) = self.tick_rate.clone().filter(|_| !kind.is_client()) {
            world.insert_resource(rate);
        }
        if let Some(rate) = self.client_tick_rate.clone().filter(|_| kind.is_client()) {
            world.insert_resource(rate);
        }
        if let Some(tick) = self.start_tick.filter(|_| kind == WorldKind::Server) {
            frame::start_at(world, tick);
        }
    }
}

/// The stand-alone runner: the one place where ghostline reads a wall clock. Ends when a world asks for it, or with Ctrl-C; both times the
/// other sides of all connections are told.
pub fn run_in_real_time(mut worlds: Worlds) -> AppExit {
    let exit_signal = ExitSignal::watch();
    let mut last = Instant::now();
    loop {
        let frame = Duration::from_secs(1) / worlds.frame_rate_hz().max(1);
        let elapsed = last.elapsed();
        if elapsed < frame {
            std::thread::sleep(frame - elapsed);
        }
        let now = Instant::now();
        worlds.run_frame(now - last);
        last = now;
        if let Some(exit) = worlds.should_exit() {
            return exit;
        }
        if exit_signal.is_set() {
            tracing::info!("asked to end: the other sides are told, and the worlds go");
            return AppExit::Success;
        }
    }
}

//! The drivers by default: worlds of one process reach each other in memory, everybody else through QUIC.

use ghostline_transport::{
    DriverSettings, DriverStore, Identity, IdentityError, ImpairedNetwork, ImpairedSocket, LinkProfile, QuicDriver,
    QuicSettings, Resolver, SystemResolver, Trust, UdpNetwork, UdpSocket, limits,
};
use std::path::PathBuf;
use std::sync::Arc;

use super::{DriverConstructionError, DriverConstructor, DriverContext, InProcessDrivers};
use crate::world::PlayType;

/// The drivers of a game whose players sit anywhere.
///
/// A server gets two: one in process, for clients beside it, and QUIC over UDP for everybody else, which listen on the
/// same port. A client gets exactly one: in process if there is a server world in this process, the play type isn't
/// [`PlayType::Client`] and no link is simulated; otherwise QUIC over UDP.
///
/// ```
/// use ghostline::prelude::*;
/// use ghostline::transport::{DriverSettings, LinkProfile};
/// use ghostline::world::{DefaultDrivers, ServerIdentity};
/// # use bevy_app::App;
/// # fn game(_: &mut App) {}
///
/// let drivers = DefaultDrivers {
///     settings: DriverSettings { disconnect_timeout_ms: 5_000, ..DriverSettings::default() },
///     // Kept in a file, so that join strings stay valid when the server is started again.
///     identity: ServerIdentity::File("server.pem".into()),
///     // Played over a bad link, to see what players will see.
///     simulator: Some(LinkProfile::rtt(80).with_jitter_ms(10).with_loss_percent(2.0)),
///     ..DefaultDrivers::default()
/// };
/// let bootstrap = ClientServerBootstrap::new(game).drivers(drivers).auto_connect(7979);
/// ```
#[derive(Clone, Debug)]
pub struct DefaultDrivers {
    /// Time-outs, sizes and queues of all drivers.
    pub settings: DriverSettings,
    /// How clients recognise a server. Default: a certificate made when it first listens.
    pub identity: ServerIdentity,
    /// Whom clients believe that were not told by a join string. Default: servers on this machine.
    pub trust: Trust,
    /// What looks up the names of servers. Default: the operating system.
    pub resolver: Arc<dyn Resolver>,
    /// Connections of one socket driver; further clients are refused.
    /// 1 ..= [`limits::MAX_CONNECTIONS`], which is the default.
    pub max_connections: usize,
    /// What the simulated link below the sockets of clients does at first, seen from the client. `Some` makes clients use a
    /// socket even if their server is in this process. Default `None`: nothing, and it can be switched on later with
    /// [`NetworkStreamDriver::set_simulator`](crate::connection::NetworkStreamDriver::set_simulator).
    pub simulator: Option<LinkProfile>,
    /// Where the chance of simulated links comes from; each world has its own share of it. Default 0.
    pub simulator_seed: u64,
}

impl Default for DefaultDrivers {
    fn default() -> Self {
        Self {
            settings: DriverSettings::default(),
            identity: ServerIdentity::default(),
            trust: Trust::default(),
            resolver: Arc::new(SystemResolver::default()),
            max_connections: limits::MAX_CONNECTIONS,
            simulator: None,
            simulator_seed: 0,
        }
    }
}

/// Where a server's certificate comes from.
#[derive(Clone, Debug, Default)]
pub enum ServerIdentity {
    /// Made when the server first listens: its hash differs each time. The default.
    #[default]
    Fresh,
    /// Read from this file, or made and written there if there is none.
    File(PathBuf),
    /// This one.
    Given(Identity),
}

impl ServerIdentity {
    fn load(&self) -> Result<Option<Identity>, IdentityError> {
        match self {
            Self::Fresh => Ok(None),
            Self::File(path) => Identity::load_or_create(path).map(Some),
            Self::Given(identity) => Ok(Some(identity.clone())),
        }
    }
}

impl DefaultDrivers {
    fn in_process(&self) -> InProcessDrivers {
        InProcessDrivers { posing_as_socket: false, settings: self.settings }
    }

    fn socket(
        &self,
        context: &DriverContext<'_>,
        identity: Option<Identity>,
        profile: LinkProfile,
    ) -> Result<QuicDriver<ImpairedSocket<UdpSocket>>, DriverConstructionError> {
        let seed = self.simulator_seed.wrapping_add(context.world.0.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let network = ImpairedNetwork::new(UdpNetwork, profile, seed)
            .map_err(|invalid| DriverConstructionError::Other(invalid.to_string()))?;
        let settings = QuicSettings {
            driver: self.settings,
            identity,
            trust: self.trust.clone(),
            resolver: Arc::clone(&self.resolver),
            max_connections: self.max_connections,
            seed: None,
        };
        Ok(QuicDriver::new(network, settings)?)
    }
}

impl DriverConstructor for DefaultDrivers {
    fn create_server_drivers(&self, context: &DriverContext<'_>) -> Result<DriverStore, DriverConstructionError> {
        let mut store = self.in_process().create_server_drivers(context)?;
        let identity = self.identity.load().map_err(ghostline_transport::QuicDriverError::from)?;
        store.register(Box::new(self.socket(context, identity, LinkProfile::perfect())?))?;
        Ok(store)
    }

    fn create_client_driver(&self, context: &DriverContext<'_>) -> Result<DriverStore, DriverConstructionError> {
        let server_is_here = context.has_server_world && context.play_type != PlayType::Client;
        if server_is_here && self.simulator.is_none() {
            return self.in_process().create_client_driver(context);
        }
        let mut store = DriverStore::new();
        store.register(Box::new(self.socket(context, None, self.simulator.unwrap_or_default())?))?;
        Ok(store)
    }

    fn validate(&self) -> Vec<String> {
        let mut errors = self.in_process().validate();
        errors.extend(self.simulator.and_then(|profile| profile.validate().err()).map(|error| error.to_string()));
        if !(1..=limits::MAX_CONNECTIONS).contains(&self.max_connections) {
            let (value, max) = (self.max_connections, limits::MAX_CONNECTIONS);
            errors.push(format!("max_connections is {value}, but must be in 1 ..= {max}"));
        }
        errors
    }
}

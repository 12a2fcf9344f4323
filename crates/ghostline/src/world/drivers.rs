//! What makes the drivers of new worlds: a strategy that a game may replace, and the two that are there.
//! Asked once for each network world, when it is made; the drivers go to the world's facade.

#[cfg(feature = "quic")]
mod sockets;

use ghostline_transport::{DriverSettings, DriverStore, InProcessNetwork, InvalidSettings, StoreError};
use thiserror::Error;

use super::kind::WorldKind;
use super::net_world::WorldId;
use super::play_type::PlayType;

#[cfg(feature = "quic")]
pub use sockets::{DefaultDrivers, ServerIdentity};

/// What a [`DriverConstructor`] may look at.
#[derive(Clone, Copy, Debug)]
pub struct DriverContext<'a> {
    /// What links the worlds of this process.
    pub network: &'a InProcessNetwork,
    /// The world that gets the drivers.
    pub world: WorldId,
    /// Its kind.
    pub kind: WorldKind,
    /// Which worlds this program was asked to make.
    pub play_type: PlayType,
    /// Whether there is a server world in this process, or will be when this frame begins.
    pub has_server_world: bool,
}

/// Makes the drivers of a new network world. Set before worlds are made; called once per world.
pub trait DriverConstructor: Send + Sync + 'static {
    /// The drivers of a server world.
    ///
    /// # Errors
    /// The drivers can't be made; then there is no world.
    fn create_server_drivers(&self, context: &DriverContext<'_>) -> Result<DriverStore, DriverConstructionError>;

    /// The one driver of a client or thin client world.
    ///
    /// # Errors
    /// The driver can't be made; then there is no world.
    fn create_client_driver(&self, context: &DriverContext<'_>) -> Result<DriverStore, DriverConstructionError>;

    /// Everything that is wrong with its settings; checked before a world is made.
    fn validate(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Why a world has no drivers.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum DriverConstructionError {
    /// A setting is out of its range.
    #[error(transparent)]
    Settings(#[from] InvalidSettings),
    /// The store did not take a driver.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The socket driver can't be made.
    #[cfg(feature = "quic")]
    #[error(transparent)]
    Quic(#[from] ghostline_transport::QuicDriverError),
    /// A constructor of the game's own has its own reason.
    #[error("{0}")]
    Other(String),
}

/// Drivers that link the worlds of this process with each other, and with nobody else. For tests, and for programs that are
/// alone by design.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct InProcessDrivers {
    /// Whether the link poses as a socket, so that clients keep the slack and delay that a network needs. For tests.
    pub posing_as_socket: bool,
    /// Settings of the drivers.
    pub settings: DriverSettings,
}

impl InProcessDrivers {
    fn store(&self, network: &InProcessNetwork) -> Result<DriverStore, DriverConstructionError> {
        let mut store = DriverStore::new();
        let driver = network.driver_with(self.settings)?;
        store.register(Box::new(driver.posing_as_socket(self.posing_as_socket)))?;
        Ok(store)
    }
}

impl DriverConstructor for InProcessDrivers {
    fn create_server_drivers(&self, context: &DriverContext<'_>) -> Result<DriverStore, DriverConstructionError> {
        self.store(context.network)
    }

    fn create_client_driver(&self, context: &DriverContext<'_>) -> Result<DriverStore, DriverConstructionError> {
        self.store(context.network)
    }

    fn validate(&self) -> Vec<String> {
        self.settings.validate().err().iter().map(ToString::to_string).collect()
    }
}

/// The drivers of a program that doesn't choose: with sockets where this build has them.
#[cfg(feature = "quic")]
pub(super) fn default_drivers(settings: DriverSettings) -> impl DriverConstructor {
    DefaultDrivers { settings, ..DefaultDrivers::default() }
}

/// The drivers of a program that doesn't choose: with sockets where this build has them.
#[cfg(not(feature = "quic"))]
pub(super) fn default_drivers(settings: DriverSettings) -> impl DriverConstructor {
    InProcessDrivers { settings, ..InProcessDrivers::default() }
}

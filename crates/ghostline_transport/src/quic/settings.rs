//! What a game sets on a QUIC driver, and the check of it.
//! Made by the game; read once, when the driver is made.

use std::sync::Arc;

use thiserror::Error;

use super::identity::{Identity, IdentityError};
use super::resolve::{Resolver, SystemResolver};
use super::trust::Trust;
use crate::limits::MAX_CONNECTIONS;
use crate::settings::{DriverSettings, InvalidSettings};

/// Settings of a [`QuicDriver`](super::QuicDriver). The default serves a client and a server on one machine.
#[derive(Clone, Debug)]
pub struct QuicSettings {
    /// Time-outs, sizes and queues.
    pub driver: DriverSettings,
    /// Who this driver is when it listens. Default `None`: a fresh certificate, made when it first listens.
    pub identity: Option<Identity>,
    /// Whom it believes when it connects. Default: loopback only.
    pub trust: Trust,
    /// What looks up the names of servers. Default: the operating system.
    pub resolver: Arc<dyn Resolver>,
    /// Connections in either role; further clients are refused. 1 ..= [`MAX_CONNECTIONS`], which is the default.
    pub max_connections: usize,
    /// With a seed, the sizes and times of all packets repeat. For tests: connection ids can then be guessed. Drivers
    /// that talk to each other need different seeds. Default `None`.
    pub seed: Option<u64>,
}

impl Default for QuicSettings {
    fn default() -> Self {
        Self {
            driver: DriverSettings::default(),
            identity: None,
            trust: Trust::default(),
            resolver: Arc::new(SystemResolver::default()),
            max_connections: MAX_CONNECTIONS,
            seed: None,
        }
    }
}

/// Why there is no driver.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum QuicDriverError {
    /// A setting of the driver is wrong.
    #[error(transparent)]
    Settings(#[from] InvalidSettings),
    /// `max_connections` is out of range.
    #[error("max_connections is {value}, but must be in 1 ..= {max}", max = MAX_CONNECTIONS)]
    MaxConnections {
        /// What it was set to.
        value: usize,
    },
    /// There is no certificate to listen with.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandomness,
}

impl QuicSettings {
    pub(super) fn validate(&self) -> Result<(), QuicDriverError> {
        self.driver.validate()?;
        if !(1..=MAX_CONNECTIONS).contains(&self.max_connections) {
            return Err(QuicDriverError::MaxConnections { value: self.max_connections });
        }
        Ok(())
    }
}

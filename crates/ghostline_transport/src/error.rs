//! The errors of the transport, one small enum per verb.
//! They are returned to the layer above; nothing here is ever sent to the other side.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;

use crate::simulator::InvalidProfile;
use crate::store::DriverId;

/// Why a driver does not listen.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum ListenError {
    /// This driver listens already; stop it first.
    #[error("already listening on {address}")]
    AlreadyListening {
        /// Where it listens.
        address: SocketAddr,
    },
    /// Another driver holds the port.
    #[error("{address} is in use")]
    AddressInUse {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// Port 0 was asked for, and every port of the dynamic range is taken.
    #[error("no free port in the dynamic range")]
    NoFreePort,
    /// The operating system gives no socket for the address.
    #[error("no socket for {address}: {kind}")]
    Socket {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        kind: io::ErrorKind,
    },
    /// The driver has no certificate to show to clients.
    #[error("no certificate to listen with: {text}")]
    Identity {
        /// Why.
        text: String,
    },
    /// The driver keeps as many sockets as it may for connections that were accepted earlier.
    #[error("no more than {limit} sockets per driver")]
    TooManySockets {
        /// [`MAX_SOCKETS`](crate::limits::MAX_SOCKETS).
        limit: usize,
    },
}

/// Why an attempt to connect did not even begin.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody can listen there (port 0).
    #[error("{address} is not an address to connect to")]
    InvalidAddress {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The driver's table of connections is full.
    #[error("no more than {limit} connections per driver")]
    TooManyConnections {
        /// [`MAX_CONNECTIONS`](crate::limits::MAX_CONNECTIONS).
        limit: usize,
    },
    /// The server is on another machine, and nobody said how to recognise it.
    #[error(
        "{address} is on another machine and its certificate is not known: \
         connect with the join string that the server prints (ADDRESS#HASH)"
    )]
    NotTrusted {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// This driver looks up no names.
    #[error("{name} is a name, and this driver connects to addresses only")]
    NamesNotSupported {
        /// The name that was asked for.
        name: String,
    },
    /// The operating system gives no socket to connect from.
    #[error("no socket to connect to {address} from: {kind}")]
    Socket {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        kind: io::ErrorKind,
    },
    /// The driver holds as many sockets as it may.
    #[error("no more than {limit} sockets per driver")]
    TooManySockets {
        /// [`MAX_SOCKETS`](crate::limits::MAX_SOCKETS).
        limit: usize,
    },
}

/// Why a message was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The handle is stale, or its connection is not open (yet).
    #[error("not connected")]
    NotConnected,
    /// The message does not fit into its pipeline.
    #[error("a message of {bytes} bytes is over the limit of {limit} bytes")]
    TooLarge {
        /// Largest message of this pipeline, in bytes.
        limit: usize,
        /// Size of the message, in bytes.
        bytes: usize,
    },
    /// The reliable queue of this connection is at its bound: the other side does not keep up. Try again later.
    #[error("the reliable queue is full")]
    QueueFull,
}

/// Why the link below a driver is not simulated as asked for.
#[derive(Clone, PartialEq, Debug, Error)]
#[non_exhaustive]
pub enum SimulatorError {
    /// There is no simulated link below this driver.
    #[error("this driver was made without a simulated link below it")]
    NotSupported,
    /// The profile makes no sense.
    #[error(transparent)]
    Invalid(#[from] InvalidProfile),
}

/// What goes wrong in a [`DriverStore`](crate::DriverStore).
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store holds as many drivers as it may.
    #[error("a driver store holds at most {limit} drivers")]
    Full {
        /// [`MAX_DRIVERS`](crate::limits::MAX_DRIVERS).
        limit: usize,
    },
    /// The store holds no driver at all.
    #[error("the driver store is empty")]
    Empty,
    /// No driver has this id.
    #[error("the driver store has no driver {0}")]
    UnknownDriver(DriverId),
    /// A driver did not listen; those that already did were stopped again.
    #[error("driver {driver} does not listen: {source}")]
    Listen {
        /// The driver that failed.
        driver: DriverId,
        /// Why.
        source: ListenError,
    },
    /// A driver did not begin to connect.
    #[error("driver {driver} does not connect: {source}")]
    Connect {
        /// The driver that failed.
        driver: DriverId,
        /// Why.
        source: ConnectError,
    },
}

//! The trait that every transport implements, with its handles, events and capabilities.
//! The layer above calls it with bytes and the time; bytes come back as events of `poll`.

use core::fmt;
use core::time::Duration;
use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::address::{ServerAddress, ServerHost};
use crate::certificate_hash::CertificateHash;
use crate::close::{CloseReason, DisconnectCause};
use crate::error::{ConnectError, ListenError, SendError, SimulatorError};
use crate::simulator::LinkProfile;
use crate::statistics::{ConnectionStatistics, DriverStatistics};

/// A driver's own handle to one of its connections. Slots are reused, generations are not: the handle of a closed
/// connection never reaches another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DriverConnection {
    index: u32,
    generation: u32,
}

impl DriverConnection {
    /// For implementors of [`Driver`]: the handle of slot `index` in its `generation`.
    pub const fn new(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }

    /// The slot; small, dense and reused.
    pub const fn index(self) -> u32 {
        self.index
    }

    /// How often the slot was taken.
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

impl fmt::Display for DriverConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}v{}", self.index, self.generation)
    }
}

/// The three ways in which a message can travel. Within one pipeline of one connection, messages that arrive do so
/// in the order in which they were sent, or (unreliable ones on a real network) not at all or out of order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Pipeline {
    /// One datagram, at most [`Capabilities::max_datagram_bytes`].
    Unreliable,
    /// As many datagrams as it takes, all or nothing, at most [`Capabilities::max_fragmented_bytes`].
    UnreliableFragmented,
    /// Arrives exactly once and in order, or the connection ends; at most [`Capabilities::max_reliable_bytes`].
    ReliableOrdered,
}

/// Whether a link leaves the process. Some delays and margins are only needed when it does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TransportKind {
    /// Both ends are in this process.
    InProcess,
    /// The link crosses a socket.
    Socket,
}

/// What a driver can do, so that nothing is done twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// Whether the link leaves the process.
    pub kind: TransportKind,
    /// Nobody between the two ends can read or change what travels.
    pub encrypted: bool,
    /// Nothing is ever lost, not even on the unreliable pipelines.
    pub reliable: bool,
    /// Largest message on [`Pipeline::Unreliable`], in bytes.
    pub max_datagram_bytes: usize,
    /// Largest message on [`Pipeline::UnreliableFragmented`], in bytes.
    pub max_fragmented_bytes: usize,
    /// Largest message on [`Pipeline::ReliableOrdered`], in bytes.
    pub max_reliable_bytes: usize,
}

/// What a driver has to tell. Events of one connection come in the order in which they happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DriverEvent {
    /// A client connected to this driver, which listens. Messages may be sent at once.
    Accepted {
        /// The new connection.
        connection: DriverConnection,
    },
    /// An attempt of [`Driver::connect`] succeeded.
    Connected {
        /// The handle that `connect` returned.
        connection: DriverConnection,
    },
    /// A message arrived.
    Received {
        /// Through which connection.
        connection: DriverConnection,
        /// Through which of its pipelines.
        pipeline: Pipeline,
        /// The message. Give the buffer back with [`Driver::recycle`] when it is read.
        bytes: Vec<u8>,
    },
    /// The connection, or the attempt to connect, is over and its handle stale. Raised exactly once, and never for
    /// connections that this side closed with [`Driver::disconnect`].
    Disconnected {
        /// The stale handle.
        connection: DriverConnection,
        /// Why.
        cause: DisconnectCause,
    },
}

/// A transport: endpoints, connections and three pipelines, polled with the time, never blocking.
///
/// `now` is the time since any fixed moment and must not go backwards; it is compared only with itself.
/// `Sync` is asked for so that a store of drivers can be shared read-only, for instance as a resource.
pub trait Driver: Send + Sync + 'static {
    /// What this driver can do. Constant over its life; but the kind of an in-process driver follows the profile of its
    /// link, which tests change.
    fn capabilities(&self) -> Capabilities;

    /// Whether this connection leaves the process, or is to be treated as if it did. Connections of one driver differ
    /// where their links do. A stale handle has the kind of the driver, which is the default for all.
    fn connection_kind(&self, _connection: DriverConnection) -> TransportKind {
        self.capabilities().kind
    }

    /// Begins to accept connections, and returns the address with the real port (0 asks for any free one).
    ///
    /// # Errors
    /// [`ListenError`] if this driver listens already or the address can't be had.
    fn listen(&mut self, address: SocketAddr) -> Result<SocketAddr, ListenError>;

    /// After how much silence a connection is given up; `None` if that does not happen.
    fn disconnect_timeout(&self) -> Option<Duration> {
        None
    }

    /// Accepts no further connections. Those that exist stay.
    fn stop_listening(&mut self);

    /// Whether connections are accepted.
    fn is_listening(&self) -> bool;

    /// Where this driver listens, or from where it connects; `None` if it does neither.
    fn local_address(&self) -> Option<SocketAddr>;

    /// The other side's address; `None` for a stale handle.
    fn remote_address(&self, connection: DriverConnection) -> Option<SocketAddr>;

    /// Begins to connect. The outcome is an event: [`DriverEvent::Connected`] or [`DriverEvent::Disconnected`].
    ///
    /// # Errors
    /// [`ConnectError`] if the attempt can't even begin; then there is no event.
    fn connect(&mut self, address: SocketAddr, now: Duration) -> Result<DriverConnection, ConnectError>;

    /// Like [`connect`](Driver::connect), to a server that may be given by name, and with the hash of its certificate. A
    /// hash must match, whatever the settings say. A name is looked up meanwhile; if that fails, so does the attempt.
    ///
    /// Drivers within a process know neither names nor certificates: there it means the port alone.
    ///
    /// # Errors
    /// [`ConnectError`] if the attempt can't even begin; then there is no event.
    fn join(&mut self, server: &ServerAddress, now: Duration) -> Result<DriverConnection, ConnectError> {
        match &server.host {
            ServerHost::Address(address) => self.connect(*address, now),
            ServerHost::Name { name, .. } => Err(ConnectError::NamesNotSupported { name: name.clone() }),
        }
    }

    /// What clients recognise this driver by when it listens; `None` if it needs no certificate or has none yet.
    fn certificate_hash(&self) -> Option<CertificateHash> {
        None
    }

    /// Takes a message; it leaves with the next [`flush`](Driver::flush).
    ///
    /// # Errors
    /// [`SendError`]; then nothing was taken. An unreliable message that finds its queue full is *not* an error:
    /// it is dropped and counted, as a network would.
    fn send(&mut self, connection: DriverConnection, pipeline: Pipeline, bytes: &[u8]) -> Result<(), SendError>;

    /// Closes a connection or an attempt. It is gone on this side at once, without an event; the other side gets
    /// what was sent before, then the reason. A stale handle is ignored.
    fn disconnect(&mut self, connection: DriverConnection, reason: CloseReason);

    /// Appends what happened since the last call to `events`, which is not cleared.
    fn poll(&mut self, now: Duration, events: &mut Vec<DriverEvent>);

    /// Hands what was sent, and due attempts to connect, to the link.
    fn flush(&mut self, now: Duration);

    /// What the simulated link below this driver is like, seen from this side: what leaves goes `up`, what arrives comes
    /// `down`. `None` if there can be none.
    fn link_profile(&self) -> Option<LinkProfile> {
        None
    }

    /// Makes the link below this driver as bad as `profile`, from now on.
    ///
    /// # Errors
    /// [`SimulatorError`]; then nothing changes.
    fn set_link_profile(&mut self, _profile: LinkProfile) -> Result<(), SimulatorError> {
        Err(SimulatorError::NotSupported)
    }

    /// What the driver measures on a connection; `None` for a stale handle, and from drivers that measure nothing.
    fn statistics(&self, _connection: DriverConnection) -> Option<ConnectionStatistics> {
        None
    }

    /// What the driver has counted since it was made; `None` from drivers that count nothing.
    fn driver_statistics(&self) -> Option<DriverStatistics> {
        None
    }

    /// Gives the connections that this driver began a new local address, as after a change of networks: any, or one with
    /// this `ip`. They go on. Drivers without sockets have nothing to do.
    ///
    /// # Errors
    /// The system's, if it gives no new socket; then the old one stays.
    fn rebind(&mut self, _ip: Option<IpAddr>) -> io::Result<()> {
        Ok(())
    }

    /// Takes back a buffer of [`DriverEvent::Received`], so that receiving need not allocate.
    fn recycle(&mut self, buffer: Vec<u8>) {
        drop(buffer);
    }
}

//! The QUIC driver itself: the verbs of the driver trait, over up to a few sockets.
//! Called by the store of drivers; everything that concerns one socket happens in `port.rs`.

use core::fmt;
use core::time::Duration;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use quinn_proto::Endpoint;

use super::clock::Clock;
use super::config::{self, ClientConfigs};
use super::connecting::Pending;
use super::crypto::{secret, sha256};
use super::identity::{Identity, IdentityError};
use super::port::{Core, Location, Port};
use super::resolve::Resolver;
use super::settings::{QuicDriverError, QuicSettings};
use super::socket::DatagramSocket;
use super::trust::Trust;
use crate::address::ServerAddress;
use crate::certificate_hash::CertificateHash;
use crate::close::CloseReason;
use crate::driver::{Capabilities, Driver, DriverConnection, DriverEvent, Pipeline, TransportKind};
use crate::error::{ConnectError, ListenError, SendError, SimulatorError};
use crate::limits;
use crate::settings::DriverSettings;
use crate::simulator::LinkProfile;
use crate::slots::Slots;
use crate::statistics::{ConnectionStatistics, DriverStatistics};

/// A driver whose connections are encrypted by QUIC and carried by datagrams, over UDP or a simulated network.
///
/// It listens, connects, or both. A client counts as connected once its handshake is complete; reliable messages that
/// were sent before a [`disconnect`](Driver::disconnect) are repeated for a while behind the scenes. Dropping the driver
/// tells all peers, once.
///
/// Connections that come from another address than before are followed, so a client may change networks.
pub struct QuicDriver<S: DatagramSocket> {
    network: S::Network,
    pub(super) ports: [Option<Box<Port<S>>>; limits::MAX_SOCKETS],
    pub(super) core: Core,
    /// Made when it first listens, unless it was given one.
    server: Option<Server>,
    pub(super) trust: Trust,
    pub(super) resolver: Arc<dyn Resolver>,
    /// Attempts to connect for which no try is under way.
    pub(super) pending: Vec<Pending>,
    secret: [u8; 32],
    /// Sockets bound so far.
    bound: u64,
}

/// What a driver is to its clients.
struct Server {
    identity: Identity,
    config: Arc<quinn_proto::ServerConfig>,
}

impl Server {
    fn new(identity: Identity, settings: &DriverSettings, clock: &Clock) -> Result<Self, IdentityError> {
        let config = config::server(&identity, settings, clock.shared());
        let config = config.map_err(|error| IdentityError::Unusable { text: error.to_string() })?;
        Ok(Self { identity, config: Arc::new(config) })
    }
}

impl<S: DatagramSocket> fmt::Debug for QuicDriver<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicDriver")
            .field("local_address", &self.local_address())
            .field("is_listening", &self.is_listening())
            .field("connections", &self.core.connections.len())
            .finish_non_exhaustive()
    }
}

impl<S: DatagramSocket> QuicDriver<S> {
    /// A driver that neither listens nor connects yet.
    ///
    /// # Errors
    /// [`QuicDriverError`] if a setting is wrong, or the system gives no random numbers.
    pub fn new(network: S::Network, settings: QuicSettings) -> Result<Self, QuicDriverError> {
        settings.validate()?;
        let secret = match settings.seed {
            Some(seed) => sha256(&[b"seed", &seed.to_le_bytes()]),
            None => secret().ok_or(QuicDriverError::NoRandomness)?,
        };
        let clock = Clock::new(&settings.driver);
        let server = settings.identity.map(|identity| Server::new(identity, &settings.driver, &clock)).transpose()?;
        let core = Core {
            clients: ClientConfigs::new(&settings.driver, secret),
            settings: settings.driver,
            clock,
            connections: Slots::new(settings.max_connections),
            unanswered: Vec::new(),
            stats: DriverStatistics::default(),
            spare: Vec::new(),
            packet: Vec::new(),
            handshakes_left: limits::HANDSHAKES_PER_POLL,
        };
        Ok(Self {
            network,
            ports: [const { None }; limits::MAX_SOCKETS],
            core,
            server,
            trust: settings.trust,
            resolver: settings.resolver,
            pending: Vec::new(),
            secret,
            bound: 0,
        })
    }

    /// Who this driver is when it listens, for a game that wants to stay the same after a restart; `None` before it
    /// has listened, unless it was given an identity.
    pub fn identity(&self) -> Option<&Identity> {
        self.server.as_ref().map(|server| &server.identity)
    }

    /// All that a client needs to join, which prints as the join string; `None` if it does not listen. If the address
    /// is a wildcard, the game knows better by which address it can be reached.
    pub fn join_string(&self) -> Option<ServerAddress> {
        let address = self.listener()?.socket.local_address();
        Some(ServerAddress { hash: self.certificate_hash(), ..address.into() })
    }

    /// How clients are accepted; with a certificate made now if there is none yet.
    fn server(&mut self) -> Result<Arc<quinn_proto::ServerConfig>, IdentityError> {
        let server = match self.server.take() {
            Some(server) => server,
            None => Server::new(Identity::self_signed()?, &self.core.settings, &self.core.clock)?,
        };
        Ok(Arc::clone(&self.server.insert(server).config))
    }

    fn listener(&self) -> Option<&Port<S>> {
        self.ports.iter().flatten().map(Box::as_ref).find(|port| port.is_listening)
    }

    fn locate(&mut self, connection: DriverConnection) -> Option<(&mut Port<S>, usize, &mut Core)> {
        let Location { port, link } = (*self.core.connections.get(connection)?)?;
        let port = self.ports.get_mut(port)?.as_deref_mut()?;
        Some((port, link, &mut self.core))
    }

    /// Puts a socket into a free place: to listen on with `server`, to connect from without.
    fn open(&mut self, socket: S, server: Option<Arc<quinn_proto::ServerConfig>>) -> Option<usize> {
        let number = self.ports.iter().position(Option::is_none)?;
        self.bound = self.bound.wrapping_add(1);
        let derive = |label: &[u8]| sha256(&[&self.secret, label, &self.bound.to_le_bytes()]);
        let endpoint = config::endpoint(derive(b"ids"), derive(b"endpoint"));
        let is_client = server.is_none();
        let endpoint = Endpoint::new(Arc::new(endpoint), server, !socket.may_fragment(), None);
        let slot = self.ports.get_mut(number)?;
        *slot = Some(Box::new(Port::new(socket, endpoint, number, is_client)));
        Some(number)
    }

    fn close_idle_ports(&mut self) {
        for slot in &mut self.ports {
            if slot.as_ref().is_some_and(|port| port.is_idle()) {
                *slot = None;
            }
        }
    }

    /// The socket to connect from.
    pub(super) fn client_port(&mut self, address: SocketAddr) -> Result<usize, ConnectError> {
        let fits = |port: &Port<S>| port.is_client && port.socket.local_address().is_ipv4() == address.is_ipv4();
        if let Some(number) = self.ports.iter().position(|slot| slot.as_deref().is_some_and(fits)) {
            return Ok(number);
        }
        self.close_idle_ports();
        let socket = S::bind(&self.network, wildcard(address));
        let socket = socket.map_err(|error| ConnectError::Socket { address, kind: error.kind() })?;
        self.open(socket, None).ok_or(ConnectError::TooManySockets { limit: limits::MAX_SOCKETS })
    }
}

/// Any address of the same family, and any port.
fn wildcard(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(ip, 0)
}

impl<S: DatagramSocket> Driver for QuicDriver<S> {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: TransportKind::Socket,
            encrypted: true,
            reliable: false,
            max_datagram_bytes: self.core.settings.max_message_bytes,
            max_fragmented_bytes: limits::MAX_FRAGMENTED_BYTES,
            max_reliable_bytes: limits::MAX_RELIABLE_BYTES,
        }
    }

    fn listen(&mut self, address: SocketAddr) -> Result<SocketAddr, ListenError> {
        if let Some(port) = self.listener() {
            return Err(ListenError::AlreadyListening { address: port.socket.local_address() });
        }
        let server = self.server().map_err(|error| ListenError::Identity { text: error.to_string() })?;
        // A socket that stopped listening and still has connections listens again.
        let same = |port: &&mut Box<Port<S>>| !port.is_client && port.socket.local_address() == address;
        if let Some(port) = self.ports.iter_mut().flatten().find(same) {
            port.is_listening = true;
            port.endpoint.set_server_config(Some(server));
            return Ok(address);
        }
        self.close_idle_ports();
        let socket = S::bind(&self.network, address).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => ListenError::AddressInUse { address },
            kind => ListenError::Socket { address, kind },
        })?;
        let bound = socket.local_address();
        self.open(socket, Some(server)).ok_or(ListenError::TooManySockets { limit: limits::MAX_SOCKETS })?;
        Ok(bound)
    }

    fn disconnect_timeout(&self) -> Option<Duration> {
        Some(Duration::from_millis(self.core.settings.disconnect_timeout_ms.into()))
    }

    fn stop_listening(&mut self) {
        for port in self.ports.iter_mut().flatten() {
            if core::mem::take(&mut port.is_listening) {
                port.endpoint.set_server_config(None);
            }
        }
    }

    fn is_listening(&self) -> bool {
        self.listener().is_some()
    }

    fn local_address(&self) -> Option<SocketAddr> {
        let first_client = || self.ports.iter().flatten().map(Box::as_ref).find(|port| port.handles().next().is_some());
        Some(self.listener().or_else(first_client)?.socket.local_address())
    }

    fn remote_address(&self, connection: DriverConnection) -> Option<SocketAddr> {
        let Location { port, link } = (*self.core.connections.get(connection)?)?;
        let link = self.ports.get(port)?.as_ref()?.link(link)?;
        let address = link.connection.remote_address();
        Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    fn connect(&mut self, address: SocketAddr, now: Duration) -> Result<DriverConnection, ConnectError> {
        self.begin_to_join(&address.into(), now)
    }

    fn join(&mut self, server: &ServerAddress, now: Duration) -> Result<DriverConnection, ConnectError> {
        self.begin_to_join(server, now)
    }

    fn certificate_hash(&self) -> Option<CertificateHash> {
        self.identity().map(Identity::hash)
    }

    fn send(&mut self, connection: DriverConnection, pipeline: Pipeline, bytes: &[u8]) -> Result<(), SendError> {
        let (port, index, core) = self.locate(connection).ok_or(SendError::NotConnected)?;
        let link = port.link_mut(index).filter(|link| link.is_open()).ok_or(SendError::NotConnected)?;
        let limit = match pipeline {
            Pipeline::Unreliable => core.settings.max_message_bytes,
            Pipeline::UnreliableFragmented => limits::MAX_FRAGMENTED_BYTES,
            Pipeline::ReliableOrdered => limits::MAX_RELIABLE_BYTES,
        };
        if bytes.len() > limit {
            return Err(SendError::TooLarge { limit, bytes: bytes.len() });
        }
        let buffer = core.spare.pop().unwrap_or_default();
        link.send(pipeline, bytes, buffer, &core.settings, &mut core.stats)?;
        core.stats.message_bytes_sent = core.stats.message_bytes_sent.saturating_add(bytes.len() as u64);
        Ok(())
    }

    fn disconnect(&mut self, connection: DriverConnection, reason: CloseReason) {
        if self.cancel(connection) {
            return;
        }
        if let Some((port, index, core)) = self.locate(connection) {
            port.disconnect(index, reason, core);
            core.connections.remove(connection);
        }
    }

    fn poll(&mut self, now: Duration, events: &mut Vec<DriverEvent>) {
        self.core.clock.advance(now);
        self.core.handshakes_left = limits::HANDSHAKES_PER_POLL;
        for port in self.ports.iter_mut().flatten() {
            port.poll(&mut self.core, events);
        }
        self.go_on_connecting(events);
        self.core.spare.truncate(limits::MAX_SPARE_BUFFERS);
    }

    fn flush(&mut self, now: Duration) {
        self.core.clock.advance(now);
        for port in self.ports.iter_mut().flatten() {
            port.flush(&mut self.core);
        }
        self.core.spare.truncate(limits::MAX_SPARE_BUFFERS);
        self.close_idle_ports();
    }

    fn statistics(&self, connection: DriverConnection) -> Option<ConnectionStatistics> {
        let Location { port, link } = (*self.core.connections.get(connection)?)?;
        let link = self.ports.get(port)?.as_ref()?.link(link)?;
        Some(link.statistics(self.core.clock.patience()))
    }

    fn link_profile(&self) -> Option<LinkProfile> {
        S::link_profile(&self.network)
    }

    fn set_link_profile(&mut self, profile: LinkProfile) -> Result<(), SimulatorError> {
        S::set_link_profile(&self.network, profile)
    }

    fn driver_statistics(&self) -> Option<DriverStatistics> {
        Some(self.core.stats)
    }

    fn rebind(&mut self, ip: Option<IpAddr>) -> io::Result<()> {
        for port in self.ports.iter_mut().flatten().filter(|port| port.is_client) {
            let any = wildcard(port.socket.local_address());
            let same_family = ip.filter(|ip| ip.is_ipv4() == any.is_ipv4());
            port.socket = S::bind(&self.network, same_family.map_or(any, |ip| SocketAddr::new(ip, 0)))?;
            port.moved();
        }
        Ok(())
    }

    fn recycle(&mut self, mut buffer: Vec<u8>) {
        // Buffers of the largest reliable messages are rare, and too large to keep thousands of.
        let is_common = buffer.capacity() <= limits::MAX_FRAGMENTED_BYTES;
        if is_common && self.core.spare.len() < limits::MAX_SPARE_BUFFERS {
            buffer.clear();
            self.core.spare.push(buffer);
        }
    }
}

impl<S: DatagramSocket> Drop for QuicDriver<S> {
    fn drop(&mut self) {
        for port in self.ports.iter_mut().flatten() {
            port.close_all(&mut self.core);
        }
    }
}

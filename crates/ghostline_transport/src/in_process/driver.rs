//! The in-process driver: one world's end of the network.
//! Messages are staged here until `flush` puts them on the link; `poll` fetches what was delivered and turns it into
//! events in `receive.rs`.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use std::net::SocketAddr;

use super::connection::{Connection, State};
use super::network::SharedHub;
use super::queue::{Address, Body, Destination, Direction, Parcel};
use crate::address::{ServerAddress, ServerHost};
use crate::close::{CloseReason, DisconnectCause};
use crate::driver::{Capabilities, Driver, DriverConnection, DriverEvent, Pipeline, TransportKind};
use crate::error::{ConnectError, ListenError, SendError, SimulatorError};
use crate::limits;
use crate::patience::Patience;
use crate::settings::DriverSettings;
use crate::simulator::LinkProfile;
use crate::slots::Slots;

/// Counters of one in-process driver since it was made.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct InProcessStats {
    /// Unreliable messages dropped because the other side had not read what was sent before.
    pub unreliable_dropped: u64,
    /// Clients turned away because the table of connections was full.
    pub refused: u64,
}

/// A driver whose connections lead to other drivers of the same [`InProcessNetwork`](super::InProcessNetwork).
///
/// A connection whose link counts as a socket, or is cut, times out as one over a socket does, see
/// [`DriverSettings::disconnect_timeout_ms`]; both sides are told, if anything gets through. Others never time out. An
/// attempt to connect always does, see [`DriverSettings::connect_deadline`].
/// Dropping the driver closes its connections, and the other sides are told.
pub struct InProcessDriver {
    pub(super) hub: SharedHub,
    pub(super) number: u64,
    pub(super) settings: DriverSettings,
    patience: Patience,
    pub(super) listening: Option<SocketAddr>,
    pub(super) connections: Slots<Connection>,
    /// Attempts to connect without an answer yet, in the order of `connect`.
    pub(super) attempts: Vec<DriverConnection>,
    /// Sent, not flushed yet; in order of sending.
    pub(super) staged: Vec<Parcel>,
    /// Answers to what `poll` read; they don't wait for `flush`. Empty between calls.
    pub(super) answers: Vec<Parcel>,
    /// Delivered parcels while `poll` reads them. Empty between calls.
    pub(super) arrivals: Vec<Parcel>,
    /// Connections with unreturned credit. Empty between calls.
    pub(super) credited: Vec<DriverConnection>,
    /// Free buffers at hand; they go back to the pool with every flush.
    pub(super) spare: Vec<Vec<u8>>,
    pub(super) grown: u64,
    pub(super) discarded: u64,
    pub(super) stats: InProcessStats,
}

impl fmt::Debug for InProcessDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcessDriver")
            .field("number", &self.number)
            .field("listening", &self.listening)
            .field("connections", &self.connections.len())
            .finish_non_exhaustive()
    }
}

impl InProcessDriver {
    pub(super) fn new(hub: SharedHub, settings: DriverSettings) -> Self {
        let number = hub.lock().add_driver(settings.max_message_bytes);
        Self {
            hub,
            number,
            settings,
            patience: Patience::new(&settings),
            listening: None,
            connections: Slots::new(limits::MAX_CONNECTIONS),
            attempts: Vec::new(),
            staged: Vec::new(),
            answers: Vec::new(),
            arrivals: Vec::new(),
            credited: Vec::new(),
            spare: Vec::new(),
            grown: 0,
            discarded: 0,
            stats: InProcessStats::default(),
        }
    }

    /// This driver's creation number on its network: 0 for the first.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The settings that it was made with.
    pub fn settings(&self) -> &DriverSettings {
        &self.settings
    }

    /// Its counters.
    pub fn stats(&self) -> InProcessStats {
        self.stats
    }

    /// Whether this driver's link begins with the profile that poses as a socket, so that tests run what socket links
    /// run: [`LinkProfile::perfect`](crate::LinkProfile::perfect) in place of
    /// [`LinkProfile::in_process`](crate::LinkProfile::in_process). Default off.
    /// [`InProcessNetwork::set_profile`](super::InProcessNetwork::set_profile) changes it later.
    #[must_use]
    pub fn posing_as_socket(self, posing: bool) -> Self {
        self.hub.lock().set_posing(self.number, posing);
        self
    }

    pub(super) fn address(&self, connection: DriverConnection) -> Address {
        Address { driver: self.number, connection }
    }

    fn limit_of(&self, pipeline: Pipeline) -> usize {
        match pipeline {
            Pipeline::Unreliable => self.settings.max_message_bytes,
            Pipeline::UnreliableFragmented => limits::MAX_FRAGMENTED_BYTES,
            Pipeline::ReliableOrdered => limits::MAX_RELIABLE_BYTES,
        }
    }

    /// A buffer with a copy of `bytes`.
    fn fill_buffer(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.spare.is_empty() {
            // New buffers hold any datagram, so that they need not grow later.
            let capacity = bytes.len().max(self.settings.max_message_bytes);
            let pool = &mut self.hub.lock().pool;
            pool.take_batch(limits::POOL_BATCH, capacity, &mut self.spare);
        }
        let mut buffer = self.spare.pop().unwrap_or_default();
        if buffer.capacity() < bytes.len() {
            self.grown = self.grown.saturating_add(1);
        }
        buffer.extend_from_slice(bytes);
        buffer
    }

    /// Ends an attempt that has no answer yet.
    fn give_up(&mut self, connection: DriverConnection, reason: CloseReason) {
        self.attempts.retain(|attempt| *attempt != connection);
        let Some(entry) = self.connections.get_mut(connection) else {
            return;
        };
        match entry.state {
            State::Connecting { requested: true, .. } => entry.state = State::Abandoned(reason),
            _ => {
                self.connections.remove(connection);
            }
        }
    }

    /// Ends an open connection: what was sent before goes on the link at once, and the news of the end behind it.
    fn end(&mut self, connection: DriverConnection, news: Body) {
        let Some(entry) = self.connections.remove(connection) else {
            return;
        };
        let State::Open { peer } = entry.state else {
            return;
        };
        let own = |parcel: &mut Parcel| parcel.from.connection == connection;
        let mut parcels: Vec<Parcel> = self.staged.extract_if(.., own).collect();
        parcels.push(Parcel {
            from: self.address(connection),
            to: Destination::Peer(peer),
            direction: entry.direction,
            body: news,
        });
        self.hub.lock().post(self.number, &mut parcels);
    }

    /// Gives up the connections whose other side was not heard for too long. Those over plain links of this process are
    /// heard whatever the other side does.
    fn end_silent(&mut self, now: Duration, events: &mut Vec<DriverEvent>) {
        let limit = Duration::from_millis(self.settings.disconnect_timeout_ms.into());
        let number = self.number;
        let mut silent = Vec::new();
        let mut hub = self.hub.lock();
        for (connection, entry) in self.connections.iter_mut() {
            let State::Open { peer } = entry.state else {
                continue;
            };
            let signs = match entry.direction {
                Direction::ToServer => hub.signs_of_life(Address { driver: number, connection }, Direction::ToClient),
                Direction::ToClient => hub.signs_of_life(peer, Direction::ToServer),
            };
            let is_heard = signs.is_none_or(|signs| signs != entry.signs);
            entry.signs = signs.unwrap_or(entry.signs);
            let heard = entry.heard.filter(|_| !is_heard).unwrap_or(now);
            entry.heard = Some(heard);
            if now.saturating_sub(heard) >= limit {
                silent.push(connection);
            }
        }
        drop(hub);
        for connection in silent {
            self.end(connection, Body::GivenUp);
            events.push(DriverEvent::Disconnected { connection, cause: DisconnectCause::Timeout });
        }
    }

    fn end_overdue_attempts(&mut self, now: Duration, events: &mut Vec<DriverEvent>) {
        let deadline = self.settings.connect_deadline();
        let connections = &self.connections;
        let overdue = |attempt: &mut DriverConnection| {
            let state = connections.get(*attempt).map(|entry| &entry.state);
            matches!(state, Some(State::Connecting { since, .. }) if now.saturating_sub(*since) >= deadline)
        };
        let overdue: Vec<DriverConnection> = self.attempts.extract_if(.., overdue).collect();
        for connection in overdue {
            self.give_up(connection, CloseReason::default());
            events.push(DriverEvent::Disconnected { connection, cause: DisconnectCause::MaxConnectionAttempts });
        }
    }

    /// Stages a request for every attempt that has none on its way.
    fn stage_requests(&mut self) {
        for &attempt in &self.attempts {
            let Some(entry) = self.connections.get_mut(attempt) else {
                continue;
            };
            if let State::Connecting { requested, .. } = &mut entry.state
                && !*requested
            {
                *requested = true;
                self.staged.push(Parcel {
                    from: Address { driver: self.number, connection: attempt },
                    to: Destination::Listener { port: entry.remote.port() },
                    direction: Direction::ToServer,
                    body: Body::Request,
                });
            }
        }
    }
}

impl Driver for InProcessDriver {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: self.hub.lock().kind(self.number).unwrap_or(TransportKind::InProcess),
            // What never leaves the process needs no cipher.
            encrypted: true,
            // A full queue drops unreliable messages.
            reliable: false,
            max_datagram_bytes: self.settings.max_message_bytes,
            max_fragmented_bytes: limits::MAX_FRAGMENTED_BYTES,
            max_reliable_bytes: limits::MAX_RELIABLE_BYTES,
        }
    }

    fn connection_kind(&self, connection: DriverConnection) -> TransportKind {
        // The link is the client's, also where the server sees it.
        let client = self.connections.get(connection).and_then(|entry| match (entry.direction, &entry.state) {
            (Direction::ToClient, State::Open { peer }) => Some(peer.driver),
            _ => None,
        });
        let kind = client.and_then(|client| self.hub.lock().kind(client));
        kind.unwrap_or_else(|| self.capabilities().kind)
    }

    fn listen(&mut self, address: SocketAddr) -> Result<SocketAddr, ListenError> {
        if let Some(address) = self.listening {
            return Err(ListenError::AlreadyListening { address });
        }
        let address = coerce_to_any(address);
        let preferred = dynamic_port(self.number);
        let address = self.hub.lock().open_port(self.number, address, preferred)?;
        self.listening = Some(address);
        Ok(address)
    }

    fn disconnect_timeout(&self) -> Option<Duration> {
        Some(Duration::from_millis(self.settings.disconnect_timeout_ms.into()))
    }

    fn stop_listening(&mut self) {
        if let Some(address) = self.listening.take() {
            self.hub.lock().close_port(address.port());
        }
    }

    fn is_listening(&self) -> bool {
        self.listening.is_some()
    }

    fn local_address(&self) -> Option<SocketAddr> {
        self.listening.or_else(|| {
            let is_client = |entry: &&Connection| entry.direction == Direction::ToServer;
            let mut entries = self.connections.iter().map(|(_handle, entry)| entry);
            let remote = entries.find(is_client)?.remote;
            Some(loopback_beside(remote, dynamic_port(self.number)))
        })
    }

    fn remote_address(&self, connection: DriverConnection) -> Option<SocketAddr> {
        let entry = self.connections.get(connection)?;
        match entry.state {
            State::Connecting { .. } | State::Open { .. } => Some(entry.remote),
            State::Abandoned(_) => None,
        }
    }

    fn connect(&mut self, address: SocketAddr, now: Duration) -> Result<DriverConnection, ConnectError> {
        if address.port() == 0 {
            return Err(ConnectError::InvalidAddress { address });
        }
        let state = State::Connecting { since: self.patience.advance(now), requested: false };
        let remote = coerce_to_loopback(address);
        let entry = Connection::new(Direction::ToServer, remote, state, &self.settings);
        let connection = (self.connections.insert(entry))
            .map_err(|_entry| ConnectError::TooManyConnections { limit: limits::MAX_CONNECTIONS })?;
        self.attempts.push(connection);
        Ok(connection)
    }

    fn join(&mut self, server: &ServerAddress, now: Duration) -> Result<DriverConnection, ConnectError> {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()));
        match &server.host {
            ServerHost::Address(address) => self.connect(*address, now),
            ServerHost::Name { name, .. } => {
                if !name.eq_ignore_ascii_case("localhost") {
                    tracing::warn!("an in-process driver can't connect to {name}; it connects to {loopback}");
                }
                self.connect(loopback, now)
            }
        }
    }

    fn send(&mut self, connection: DriverConnection, pipeline: Pipeline, bytes: &[u8]) -> Result<(), SendError> {
        let limit = self.limit_of(pipeline);
        let entry = self.connections.get_mut(connection);
        let entry = entry.ok_or(SendError::NotConnected)?;
        let State::Open { peer } = entry.state else {
            return Err(SendError::NotConnected);
        };
        if bytes.len() > limit {
            let bytes = bytes.len();
            return Err(SendError::TooLarge { limit, bytes });
        }
        if !entry.backlog.admit(pipeline, bytes.len()) {
            if pipeline == Pipeline::ReliableOrdered {
                return Err(SendError::QueueFull);
            }
            self.stats.unreliable_dropped = self.stats.unreliable_dropped.saturating_add(1);
            return Ok(());
        }
        let direction = entry.direction;
        let bytes = self.fill_buffer(bytes);
        self.staged.push(Parcel {
            from: self.address(connection),
            to: Destination::Peer(peer),
            direction,
            body: Body::Message { pipeline, bytes, injected: false, counted: true },
        });
        Ok(())
    }

    fn disconnect(&mut self, connection: DriverConnection, reason: CloseReason) {
        match self.connections.get(connection).map(|entry| &entry.state) {
            Some(State::Connecting { .. }) => self.give_up(connection, reason.bounded()),
            Some(State::Open { .. }) => self.end(connection, Body::Close(reason.bounded())),
            Some(State::Abandoned(_)) | None => {}
        }
    }

    fn poll(&mut self, now: Duration, events: &mut Vec<DriverEvent>) {
        let mut arrivals = core::mem::take(&mut self.arrivals);
        self.hub.lock().take_inbox(self.number, now, &mut arrivals);
        for parcel in arrivals.drain(..) {
            self.receive(parcel, events);
        }
        self.arrivals = arrivals;
        self.return_credit();
        let now = self.patience.advance(now);
        self.end_overdue_attempts(now, events);
        self.end_silent(now, events);
        if !self.answers.is_empty() {
            self.hub.lock().post(self.number, &mut self.answers);
        }
    }

    fn flush(&mut self, now: Duration) {
        self.stage_requests();
        let mut hub = self.hub.lock();
        hub.note_time(now);
        hub.note_flush(self.number);
        hub.post(self.number, &mut self.staged);
        for buffer in self.spare.drain(..) {
            hub.pool.give(buffer);
        }
        hub.pool.count(&mut self.grown, &mut self.discarded);
    }

    fn link_profile(&self) -> Option<LinkProfile> {
        self.hub.lock().profile(self.number)
    }

    /// Concerns the connections that this driver makes; those that it accepts run on their clients' links.
    fn set_link_profile(&mut self, profile: LinkProfile) -> Result<(), SimulatorError> {
        profile.validate()?;
        self.hub.lock().set_profile(self.number, profile);
        Ok(())
    }

    fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < limits::MAX_SPARE_BUFFERS {
            buffer.clear();
            self.spare.push(buffer);
        } else {
            self.discarded = self.discarded.saturating_add(1);
        }
    }
}

impl Drop for InProcessDriver {
    fn drop(&mut self) {
        let handles: Vec<_> = self.connections.iter().map(|(handle, _)| handle).collect();
        for handle in handles {
            self.end(handle, Body::Close(CloseReason::default()));
        }
        let mut hub = self.hub.lock();
        for buffer in self.spare.drain(..) {
            hub.pool.give(buffer);
        }
        hub.drop_driver(self.number);
    }
}

/// The port from which a driver connects, and from which its search for a free port begins. It depends on the creation
/// number alone, so that worlds which listen in the same stage get the same ports in any order.
pub(super) fn dynamic_port(number: u64) -> u16 {
    let offset = number.checked_rem(u64::from(limits::DYNAMIC_PORTS));
    let offset = offset.and_then(|offset| u16::try_from(offset).ok());
    limits::FIRST_DYNAMIC_PORT.saturating_add(offset.unwrap_or(0))
}

/// A loopback address of the same family as `beside`.
pub(super) fn loopback_beside(beside: SocketAddr, port: u16) -> SocketAddr {
    let ip: IpAddr = match beside {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, port)
}

/// Nobody outside this process can be reached, so every other address to listen on means "any".
fn coerce_to_any(address: SocketAddr) -> SocketAddr {
    let ip = address.ip().to_canonical();
    if ip.is_unspecified() || ip.is_loopback() {
        return address;
    }
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let coerced = SocketAddr::new(any, address.port());
    tracing::warn!("an in-process driver can't listen on {address}; it listens on {coerced}");
    coerced
}

/// Nobody outside this process can be reached, so every other address to connect to means "loopback".
fn coerce_to_loopback(address: SocketAddr) -> SocketAddr {
    if address.ip().to_canonical().is_loopback() {
        return address;
    }
    let coerced = loopback_beside(address, address.port());
    tracing::warn!("an in-process driver can't connect to {address}; it connects to {coerced}");
    coerced
}

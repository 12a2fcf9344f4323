//! A tap on the drivers of a QUIC fleet, above their encryption: what is sent is recorded, and messages are put in as if a
//! world had sent them.

use ghostline::transport::{
    Capabilities, CertificateHash, CloseReason, ConnectError, ConnectionStatistics, Direction, Driver,
    DriverConnection, DriverEvent, DriverStatistics, LinkProfile, ListenError, Pipeline, Recorded, SendError,
    ServerAddress, SimulatorError, TransportKind, limits,
};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is known of one client and direction.
#[derive(Default)]
struct Lane {
    /// Messages sent so far.
    sent: u64,
    /// Whether the side that sends in this direction has an open connection.
    is_open: bool,
    injected: VecDeque<(Pipeline, Vec<u8>)>,
}

#[derive(Default)]
struct Client {
    up: Lane,
    down: Lane,
    recorded: Option<Vec<Recorded>>,
}

impl Client {
    fn lane(&mut self, direction: Direction) -> &mut Lane {
        match direction {
            Direction::ToServer => &mut self.up,
            Direction::ToClient => &mut self.down,
        }
    }
}

/// The tap that all drivers of a fleet share. Clients are told apart by their addresses.
#[derive(Clone, Default)]
pub(crate) struct Tap(Arc<Mutex<BTreeMap<IpAddr, Client>>>);

impl Tap {
    fn clients(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Client>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message in; it leaves with the next flush of the side that sends in this direction.
    pub(crate) fn inject(
        &self,
        client: IpAddr,
        direction: Direction,
        pipeline: Pipeline,
        bytes: Vec<u8>,
    ) -> Result<(), SendError> {
        if bytes.len() > limits::MAX_RELIABLE_BYTES {
            return Err(SendError::TooLarge { limit: limits::MAX_RELIABLE_BYTES, bytes: bytes.len() });
        }
        let mut clients = self.clients();
        let lane = clients.get_mut(&client).ok_or(SendError::NotConnected)?.lane(direction);
        if !lane.is_open {
            return Err(SendError::NotConnected);
        }
        if lane.injected.len() >= limits::MAX_INJECTED_MESSAGES {
            return Err(SendError::QueueFull);
        }
        lane.injected.push_back((pipeline, bytes));
        Ok(())
    }

    pub(crate) fn record(&self, client: IpAddr) {
        self.clients().entry(client).or_default().recorded.get_or_insert_default();
    }

    pub(crate) fn take_recorded(&self, client: IpAddr) -> Vec<Recorded> {
        self.clients()
            .get_mut(&client)
            .and_then(|client| client.recorded.as_mut())
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// A side has no connection to a client any more: what was put in for it is lost.
    fn close(&self, client: IpAddr, direction: Direction) {
        if let Some(state) = self.clients().get_mut(&client) {
            let lane = state.lane(direction);
            lane.is_open = false;
            lane.injected.clear();
        }
    }

    fn note(&self, client: IpAddr, direction: Direction, pipeline: Pipeline, bytes: &[u8], injected: bool) {
        let mut clients = self.clients();
        let client = clients.entry(client).or_default();
        let lane = client.lane(direction);
        let sequence = lane.sent;
        lane.sent += 1;
        if let Some(recorded) = &mut client.recorded
            && recorded.len() < limits::MAX_RECORDED_MESSAGES
        {
            recorded.push(Recorded { direction, pipeline, bytes: bytes.to_vec(), sequence, lost: false, injected });
        }
    }
}

/// A driver with the tap on it.
pub(crate) struct TappedDriver<D> {
    inner: D,
    tap: Tap,
    /// The direction in which this side sends.
    direction: Direction,
    ip: IpAddr,
    /// Open connections and the addresses of their clients.
    open: Vec<(DriverConnection, IpAddr)>,
}

impl<D: Driver> TappedDriver<D> {
    pub(crate) fn new(inner: D, tap: Tap, direction: Direction, ip: IpAddr) -> Self {
        Self { inner, tap, direction, ip, open: Vec::new() }
    }

    fn client_of(&self, connection: DriverConnection) -> Option<IpAddr> {
        match self.direction {
            Direction::ToServer => Some(self.ip),
            Direction::ToClient => self.inner.remote_address(connection).map(|address| address.ip()),
        }
    }

    fn opened(&mut self, connection: DriverConnection) {
        if let Some(client) = self.client_of(connection) {
            self.open.push((connection, client));
            self.tap.clients().entry(client).or_default().lane(self.direction).is_open = true;
        }
    }

    fn closed(&mut self, connection: DriverConnection) {
        let Some(place) = self.open.iter().position(|(open, _)| *open == connection) else { return };
        let (_, client) = self.open.remove(place);
        if self.open.iter().all(|(_, other)| *other != client) {
            self.tap.close(client, self.direction);
        }
    }

    fn send_injected(&mut self) {
        let newest: BTreeMap<IpAddr, DriverConnection> =
            self.open.iter().map(|(connection, client)| (*client, *connection)).collect();
        for (client, connection) in newest {
            let injected = self
                .tap
                .clients()
                .get_mut(&client)
                .map(|state| std::mem::take(&mut state.lane(self.direction).injected));
            for (pipeline, bytes) in injected.into_iter().flatten() {
                // A driver takes what a peer could send; what no peer could send can't be injected either.
                match self.inner.send(connection, pipeline, &bytes) {
                    Ok(()) => self.tap.note(client, self.direction, pipeline, &bytes, true),
                    Err(error) => tracing::warn!("an injected message is not sent: {error}"),
                }
            }
        }
    }
}

impl<D: Driver> Driver for TappedDriver<D> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn connection_kind(&self, connection: DriverConnection) -> TransportKind {
        self.inner.connection_kind(connection)
    }

    fn listen(&mut self, address: SocketAddr) -> Result<SocketAddr, ListenError> {
        self.inner.listen(address)
    }

    fn disconnect_timeout(&self) -> Option<Duration> {
        self.inner.disconnect_timeout()
    }

    fn stop_listening(&mut self) {
        self.inner.stop_listening();
    }

    fn is_listening(&self) -> bool {
        self.inner.is_listening()
    }

    fn local_address(&self) -> Option<SocketAddr> {
        self.inner.local_address()
    }

    fn remote_address(&self, connection: DriverConnection) -> Option<SocketAddr> {
        self.inner.remote_address(connection)
    }

    fn connect(&mut self, address: SocketAddr, now: Duration) -> Result<DriverConnection, ConnectError> {
        self.inner.connect(address, now)
    }

    fn join(&mut self, server: &ServerAddress, now: Duration) -> Result<DriverConnection, ConnectError> {
        self.inner.join(server, now)
    }

    fn certificate_hash(&self) -> Option<CertificateHash> {
        self.inner.certificate_hash()
    }

    fn send(&mut self, connection: DriverConnection, pipeline: Pipeline, bytes: &[u8]) -> Result<(), SendError> {
        self.inner.send(connection, pipeline, bytes)?;
        if let Some(client) = self.client_of(connection) {
            self.tap.note(client, self.direction, pipeline, bytes, false);
        }
        Ok(())
    }

    fn disconnect(&mut self, connection: DriverConnection, reason: CloseReason) {
        self.inner.disconnect(connection, reason);
        self.closed(connection);
    }

    fn poll(&mut self, now: Duration, events: &mut Vec<DriverEvent>) {
        let before = events.len();
        self.inner.poll(now, events);
        for event in &events[before..] {
            match *event {
                DriverEvent::Accepted { connection } | DriverEvent::Connected { connection } => self.opened(connection),
                DriverEvent::Disconnected { connection, .. } => self.closed(connection),
                DriverEvent::Received { .. } => {}
            }
        }
    }

    fn flush(&mut self, now: Duration) {
        self.send_injected();
        self.inner.flush(now);
    }

    fn link_profile(&self) -> Option<LinkProfile> {
        self.inner.link_profile()
    }

    fn set_link_profile(&mut self, profile: LinkProfile) -> Result<(), SimulatorError> {
        self.inner.set_link_profile(profile)
    }

    fn statistics(&self, connection: DriverConnection) -> Option<ConnectionStatistics> {
        self.inner.statistics(connection)
    }

    fn driver_statistics(&self) -> Option<DriverStatistics> {
        self.inner.driver_statistics()
    }

    fn rebind(&mut self, ip: Option<IpAddr>) -> std::io::Result<()> {
        self.inner.rebind(ip)
    }

    fn recycle(&mut self, buffer: Vec<u8>) {
        self.inner.recycle(buffer);
    }
}

impl<D> Drop for TappedDriver<D> {
    fn drop(&mut self) {
        for (_, client) in &self.open {
            self.tap.close(*client, self.direction);
        }
    }
}

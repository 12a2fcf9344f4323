//! The drivers of one world, under ids from 1, and the verbs that take a connection of any of them.
//! A plain movable value outside the ECS: world migration moves it with its live connections.

use core::fmt;
use core::num::NonZeroU8;
use core::time::Duration;
use std::net::SocketAddr;

use crate::address::ServerAddress;
use crate::close::CloseReason;
use crate::driver::{Driver, DriverConnection, DriverEvent, Pipeline, TransportKind};
use crate::error::{ListenError, SendError, SimulatorError, StoreError};
use crate::limits::MAX_DRIVERS;
use crate::simulator::LinkProfile;
use crate::statistics::ConnectionStatistics;

/// The id of a driver in its store, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DriverId(NonZeroU8);

impl DriverId {
    /// The first driver of every store.
    pub const FIRST: Self = Self(NonZeroU8::MIN);

    /// The id with this number; `None` for 0.
    pub const fn new(number: u8) -> Option<Self> {
        match NonZeroU8::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Its number, from 1.
    pub const fn get(self) -> u8 {
        self.0.get()
    }

    fn index(self) -> usize {
        usize::from(self.get().saturating_sub(1))
    }

    fn from_index(index: usize) -> Option<Self> {
        Self::new(u8::try_from(index).ok()?.checked_add(1)?)
    }
}

impl fmt::Display for DriverId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A connection and the driver that it came through.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionHandle {
    /// The driver, in its store.
    pub driver: DriverId,
    /// The connection, in its driver.
    pub connection: DriverConnection,
}

impl fmt::Display for ConnectionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.driver, self.connection)
    }
}

/// Up to [`MAX_DRIVERS`] drivers. Their order is the order in which they were registered, and everything that goes
/// over all of them keeps it.
#[derive(Default)]
pub struct DriverStore {
    drivers: Vec<Box<dyn Driver>>,
    /// Scratch of `poll`, empty between calls.
    events: Vec<DriverEvent>,
}

impl fmt::Debug for DriverStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.drivers.iter().map(|driver| driver.capabilities())).finish()
    }
}

impl DriverStore {
    /// A store without drivers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a driver and returns its id: 1 for the first.
    ///
    /// # Errors
    /// [`StoreError::Full`] at [`MAX_DRIVERS`].
    pub fn register(&mut self, driver: Box<dyn Driver>) -> Result<DriverId, StoreError> {
        let full = StoreError::Full { limit: MAX_DRIVERS };
        if self.drivers.len() >= MAX_DRIVERS {
            return Err(full);
        }
        let id = DriverId::from_index(self.drivers.len()).ok_or(full)?;
        self.drivers.push(driver);
        Ok(id)
    }

    /// Number of drivers.
    pub fn len(&self) -> usize {
        self.drivers.len()
    }

    /// Whether there is no driver.
    pub fn is_empty(&self) -> bool {
        self.drivers.is_empty()
    }

    /// The driver with this id.
    ///
    /// # Errors
    /// [`StoreError::UnknownDriver`].
    pub fn get(&self, id: DriverId) -> Result<&dyn Driver, StoreError> {
        match self.drivers.get(id.index()) {
            Some(driver) => Ok(&**driver),
            None => Err(StoreError::UnknownDriver(id)),
        }
    }

    /// The driver with this id, to change it.
    ///
    /// # Errors
    /// [`StoreError::UnknownDriver`].
    pub fn get_mut(&mut self, id: DriverId) -> Result<&mut dyn Driver, StoreError> {
        match self.drivers.get_mut(id.index()) {
            Some(driver) => Ok(&mut **driver),
            None => Err(StoreError::UnknownDriver(id)),
        }
    }

    /// All drivers with their ids, in the order of ids.
    pub fn iter(&self) -> impl Iterator<Item = (DriverId, &dyn Driver)> {
        (0..).filter_map(DriverId::from_index).zip(&self.drivers).map(|(id, driver)| (id, &**driver))
    }

    /// Lets every driver listen on `address` and returns where each one does, in the order of ids.
    ///
    /// With port 0 the system chooses: drivers with sockets are asked first, and the others take the same port if they
    /// can, so that one number is enough to say where the server is. Otherwise the ports differ.
    ///
    /// # Errors
    /// [`StoreError::Empty`] without a driver; [`StoreError::Listen`] for the first driver that fails, and then none
    /// listens that did not before.
    pub fn listen_all(&mut self, address: SocketAddr) -> Result<Vec<(DriverId, SocketAddr)>, StoreError> {
        if self.drivers.is_empty() {
            return Err(StoreError::Empty);
        }
        let mut listening: Vec<(DriverId, SocketAddr)> = Vec::new();
        let ids = (0..).filter_map(DriverId::from_index);
        let mut drivers: Vec<_> = ids.zip(&mut self.drivers).collect();
        if address.port() == 0 {
            drivers.sort_by_key(|(_, driver)| driver.capabilities().kind != TransportKind::Socket);
        }
        let mut chosen = None;
        let mut failed = None;
        for (id, driver) in drivers {
            match listen(&mut **driver, address, chosen) {
                Ok(bound) => {
                    chosen = chosen.or(Some(bound.port()));
                    listening.push((id, bound));
                }
                Err(source) => {
                    failed = Some(StoreError::Listen { driver: id, source });
                    break;
                }
            }
        }
        let Some(error) = failed else {
            listening.sort_by_key(|(id, _)| *id);
            return Ok(listening);
        };
        for (id, _) in listening {
            if let Ok(driver) = self.get_mut(id) {
                driver.stop_listening();
            }
        }
        Err(error)
    }

    /// After how much silence the first of the drivers gives a connection up; `None` if none does.
    pub fn disconnect_timeout(&self) -> Option<Duration> {
        self.iter().filter_map(|(_, driver)| driver.disconnect_timeout()).min()
    }

    /// Stops every driver from accepting further connections. Those that exist stay.
    pub fn stop_listening(&mut self) {
        for driver in &mut self.drivers {
            driver.stop_listening();
        }
    }

    /// Whether any driver listens.
    pub fn is_listening(&self) -> bool {
        self.drivers.iter().any(|driver| driver.is_listening())
    }

    /// The local address of a driver, if it has one.
    ///
    /// # Errors
    /// [`StoreError::UnknownDriver`].
    pub fn local_address(&self, id: DriverId) -> Result<Option<SocketAddr>, StoreError> {
        Ok(self.get(id)?.local_address())
    }

    /// The other side's address; `None` for a stale handle.
    pub fn remote_address(&self, handle: ConnectionHandle) -> Option<SocketAddr> {
        self.get(handle.driver).ok()?.remote_address(handle.connection)
    }

    /// Whether a connection leaves the process. See [`Driver::connection_kind`]; `None` for an unknown driver.
    pub fn connection_kind(&self, handle: ConnectionHandle) -> Option<TransportKind> {
        Some(self.get(handle.driver).ok()?.connection_kind(handle.connection))
    }

    /// What is measured on a connection. See [`Driver::statistics`].
    pub fn statistics(&self, handle: ConnectionHandle) -> Option<ConnectionStatistics> {
        self.get(handle.driver).ok()?.statistics(handle.connection)
    }

    /// Begins to connect through one driver. See [`Driver::connect`].
    ///
    /// # Errors
    /// [`StoreError::UnknownDriver`], or [`StoreError::Connect`] with the driver's reason.
    pub fn connect(
        &mut self,
        id: DriverId,
        address: SocketAddr,
        now: Duration,
    ) -> Result<ConnectionHandle, StoreError> {
        let connection =
            self.get_mut(id)?.connect(address, now).map_err(|source| StoreError::Connect { driver: id, source })?;
        Ok(ConnectionHandle { driver: id, connection })
    }

    /// Begins to connect through one driver to a server that may be given by name. See [`Driver::join`].
    ///
    /// # Errors
    /// [`StoreError::UnknownDriver`], or [`StoreError::Connect`] with the driver's reason.
    pub fn join(
        &mut self,
        id: DriverId,
        server: &ServerAddress,
        now: Duration,
    ) -> Result<ConnectionHandle, StoreError> {
        let connection =
            self.get_mut(id)?.join(server, now).map_err(|source| StoreError::Connect { driver: id, source })?;
        Ok(ConnectionHandle { driver: id, connection })
    }

    /// Makes the simulated link below a driver as bad as `profile`. See [`Driver::set_link_profile`].
    ///
    /// # Errors
    /// [`SimulatorError`]; [`SimulatorError::NotSupported`] also for an unknown driver.
    pub fn set_link_profile(&mut self, id: DriverId, profile: LinkProfile) -> Result<(), SimulatorError> {
        self.get_mut(id).map_err(|_unknown| SimulatorError::NotSupported)?.set_link_profile(profile)
    }

    /// Takes a message. See [`Driver::send`].
    ///
    /// # Errors
    /// [`SendError`]; [`SendError::NotConnected`] also for an unknown driver.
    pub fn send(&mut self, handle: ConnectionHandle, pipeline: Pipeline, bytes: &[u8]) -> Result<(), SendError> {
        self.get_mut(handle.driver).map_err(|_unknown| SendError::NotConnected)?.send(
            handle.connection,
            pipeline,
            bytes,
        )
    }

    /// Closes a connection. See [`Driver::disconnect`]; an unknown driver is ignored like a stale handle.
    pub fn disconnect(&mut self, handle: ConnectionHandle, reason: CloseReason) {
        if let Ok(driver) = self.get_mut(handle.driver) {
            driver.disconnect(handle.connection, reason);
        }
    }

    /// Polls every driver, and appends its events to `events`, which is not cleared.
    pub fn poll(&mut self, now: Duration, events: &mut Vec<(DriverId, DriverEvent)>) {
        let ids = (0..).filter_map(DriverId::from_index);
        for (id, driver) in ids.zip(&mut self.drivers) {
            driver.poll(now, &mut self.events);
            events.extend(self.events.drain(..).map(|event| (id, event)));
        }
    }

    /// Flushes every driver.
    pub fn flush(&mut self, now: Duration) {
        for driver in &mut self.drivers {
            driver.flush(now);
        }
    }

    /// Gives a buffer back to the driver that it came from; an unknown driver's buffer is freed.
    pub fn recycle(&mut self, id: DriverId, buffer: Vec<u8>) {
        if let Ok(driver) = self.get_mut(id) {
            driver.recycle(buffer);
        }
    }
}

/// Lets a driver listen; where the port may be any, rather on the one that another driver got.
fn listen(driver: &mut dyn Driver, address: SocketAddr, chosen: Option<u16>) -> Result<SocketAddr, ListenError> {
    if let Some(port) = chosen.filter(|_| address.port() == 0) {
        let same = SocketAddr::new(address.ip(), port);
        match driver.listen(same) {
            Err(ListenError::AddressInUse { .. }) => {}
            other => return other,
        }
    }
    driver.listen(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::in_process::{InProcessDriver, InProcessNetwork};

    const NOW: Duration = Duration::ZERO;

    fn store(drivers: impl IntoIterator<Item = InProcessDriver>) -> DriverStore {
        let mut store = DriverStore::new();
        for driver in drivers {
            store.register(Box::new(driver)).unwrap();
        }
        store
    }

    fn port(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn ids_count_from_1_up_to_the_bound_and_unknown_ones_are_errors() {
        let network = InProcessNetwork::new();
        let mut store = DriverStore::new();
        assert!(store.is_empty());
        for number in 1..=MAX_DRIVERS {
            let id = store.register(Box::new(network.driver())).unwrap();
            assert_eq!(usize::from(id.get()), number);
            assert!(store.get(id).is_ok());
        }
        let full = store.register(Box::new(network.driver()));
        assert_eq!(full, Err(StoreError::Full { limit: MAX_DRIVERS }));
        assert_eq!(store.len(), MAX_DRIVERS);
        let ids: Vec<u8> = store.iter().map(|(id, _)| id.get()).collect();
        assert_eq!(ids, (1..=MAX_DRIVERS as u8).collect::<Vec<_>>());

        assert_eq!(DriverId::new(0), None);
        assert_eq!(DriverId::new(1), Some(DriverId::FIRST));
        let unknown = DriverId::new(200).unwrap();
        let error = StoreError::UnknownDriver(unknown);
        assert_eq!(store.get(unknown).err(), Some(error.clone()));
        assert_eq!(store.get_mut(unknown).err(), Some(error.clone()));
        assert_eq!(store.local_address(unknown), Err(error.clone()));
        assert_eq!(store.connect(unknown, port(1), NOW), Err(error));
    }

    #[test]
    fn all_drivers_listen_and_stop_together() {
        let (first, second) = (InProcessNetwork::new(), InProcessNetwork::new());
        let mut store = store([first.driver(), second.driver()]);
        assert!(!store.is_listening());
        let bound = store.listen_all(port(4_242)).unwrap();
        let addresses: Vec<SocketAddr> = bound.iter().map(|(_, address)| *address).collect();
        assert_eq!(addresses, [port(4_242); 2]);
        for (id, driver) in store.iter() {
            assert!(driver.is_listening());
            assert_eq!(store.local_address(id), Ok(Some(port(4_242))));
        }
        store.stop_listening();
        assert!(!store.is_listening());
    }

    #[test]
    fn if_one_driver_fails_to_listen_none_listens() {
        let (first, second) = (InProcessNetwork::new(), InProcessNetwork::new());
        let mut occupant = second.driver();
        occupant.listen(port(4_242)).unwrap();
        let mut store = store([first.driver(), second.driver(), second.driver()]);
        let error = StoreError::Listen {
            driver: DriverId::new(2).unwrap(),
            source: ListenError::AddressInUse { address: port(4_242) },
        };
        assert_eq!(store.listen_all(port(4_242)), Err(error));
        assert!(!store.is_listening());
        assert!(first.driver().listen(port(4_242)).is_ok(), "the port is free again");
    }

    #[test]
    fn listening_twice_is_refused_and_changes_nothing() {
        let mut store = store([InProcessNetwork::new().driver()]);
        store.listen_all(port(1)).unwrap();
        let again = store.listen_all(port(2));
        assert!(matches!(again, Err(StoreError::Listen { .. })));
        assert_eq!(store.local_address(DriverId::FIRST), Ok(Some(port(1))));
    }

    #[test]
    fn an_empty_store_can_t_listen() {
        assert_eq!(DriverStore::new().listen_all(port(1)), Err(StoreError::Empty));
    }

    #[test]
    fn port_0_gives_every_driver_a_port_of_its_own() {
        let network = InProcessNetwork::new();
        let mut store = store([network.driver(), network.driver()]);
        let bound = store.listen_all(port(0)).unwrap();
        assert_ne!(bound[0].1.port(), bound[1].1.port());
    }

    #[test]
    fn connections_of_several_drivers_are_told_apart() {
        let (first, second) = (InProcessNetwork::new(), InProcessNetwork::new());
        let mut server = store([first.driver(), second.driver()]);
        server.listen_all(port(1)).unwrap();
        let mut clients = [store([first.driver()]), store([second.driver()])];
        let mut events = Vec::new();
        for client in &mut clients {
            client.connect(DriverId::FIRST, port(1), NOW).unwrap();
            client.flush(NOW);
        }
        first.deliver();
        second.deliver();
        server.poll(NOW, &mut events);
        let handles: Vec<ConnectionHandle> = events
            .drain(..)
            .map(|(driver, event)| match event {
                DriverEvent::Accepted { connection } => ConnectionHandle { driver, connection },
                other => panic!("{other:?}"),
            })
            .collect();
        let texts: Vec<String> = handles.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["1:0v1", "2:0v1"]);

        for (handle, text) in handles.iter().zip(&texts) {
            assert!(server.remote_address(*handle).is_some());
            server.send(*handle, Pipeline::Unreliable, text.as_bytes()).unwrap();
        }
        server.flush(NOW);
        first.deliver();
        second.deliver();
        for (client, text) in clients.iter_mut().zip(&texts) {
            client.poll(NOW, &mut events);
            let Some((driver, DriverEvent::Received { bytes, .. })) = events.pop() else {
                panic!("a message arrives");
            };
            assert_eq!(bytes, text.as_bytes());
            client.recycle(driver, bytes);
        }

        server.disconnect(handles[0], CloseReason::default());
        assert_eq!(server.remote_address(handles[0]), None);
        assert!(server.remote_address(handles[1]).is_some());
    }

    #[test]
    fn verbs_with_an_unknown_driver_act_as_with_a_stale_handle() {
        let mut store = DriverStore::new();
        let handle = ConnectionHandle { driver: DriverId::FIRST, connection: DriverConnection::new(0, 1) };
        let sent = store.send(handle, Pipeline::Unreliable, b"x");
        assert_eq!(sent, Err(SendError::NotConnected));
        store.disconnect(handle, CloseReason::default());
        store.recycle(handle.driver, Vec::new());
        assert_eq!(store.remote_address(handle), None);
    }
}

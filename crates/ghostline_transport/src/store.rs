//! The drivers of one world, under ids from 1, and the verbs that take a connection of any of them.
//! A plain movable value outside the ECS: world migration moves it with its live connections.

use core::fmt;
use core::num::NonZeroU8;
use core::time::Duration;
use std::net::SocketAddr;

use crate::close::CloseReason;
use crate::driver::{Driver, DriverConnection, DriverEvent, Pipeline};
use crate::error::{SendError, StoreError};
use crate::limits::MAX_DRIVERS;

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
        f.debug_list()
            .entries(self.drivers.iter().map(|driver| driver.capabilities()))
            .finish()
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
        (0..)
            .filter_map(DriverId::from_index)
            .zip(&self.drivers)
            .map(|(id, driver)| (id, &**driver))
    }

    /// Lets every driver listen on `address` and returns where each one does; with port 0 the ports differ.
    ///
    /// # Errors
    /// [`StoreError::Empty`] without a driver; [`StoreError::Listen`] for the first driver that fails, and then none
    /// listens that did not before.
    pub fn listen_all(
        &mut self,
        address: SocketAddr,
    ) -> Result<Vec<(DriverId, SocketAddr)>, StoreError> {
        if self.drivers.is_empty() {
            return Err(StoreError::Empty);
        }
        let mut listening: Vec<(DriverId, SocketAddr)> = Vec::new();
        let mut failed = None;
        let ids = (0..).filter_map(DriverId::from_index);
        for (id, driver) in ids.zip(&mut self.drivers) {
            match driver.listen(address) {
                Ok(bound) => listening.push((id, bound)),
                Err(source) => {
                    failed = Some(StoreError::Listen { driver: id, source });
                    break;
                }
            }
        }
        let Some(error) = failed else {
            return Ok(listening);
        };
        for (id, _) in listening {
            if let Ok(driver) = self.get_mut(id) {
                driver.stop_listening();
            }
        }
        Err(error)
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
        self.get(handle.driver)
            .ok()?
            .remote_address(handle.connection)
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
        let connection = self
            .get_mut(id)?
            .connect(address, now)
            .map_err(|source| StoreError::Connect { driver: id, source })?;
        Ok(ConnectionHandle {
            driver: id,
            connection,
        })
    }

    /// Takes a message. See [`Driver::send`].
    ///
    /// # Errors
    /// [`SendError`]; [`SendError::NotConnected`] also for an unknown driver.
    pub fn send(
        &mut self,
        handle: ConnectionHandle,
        pipeline: Pipeline,
        bytes: &[u8],
    ) -> Result<(), SendError> {
        self.get_mut(handle.driver)
            .map_err(|_unknown| SendError::NotConnected)?
            .send(handle.connection, pipeline, bytes)
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

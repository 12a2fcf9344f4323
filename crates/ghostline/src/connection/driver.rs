//! The facade of the drivers: listen, connect, disconnect, and who is connected.
//! A resource of every network world, there from the world's creation; the receive step pumps it.

use bevy_ecs::prelude::{Entity, Resource, World};
use bevy_platform::cell::SyncCell;
use bevy_platform::collections::HashMap;
use ghostline_transport::{ConnectionHandle, DriverEvent, DriverId, DriverStore, TransportKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

use super::components::{
    CommandTarget, ConnectionStatus, IncomingCommandDataStreamBuffer, IncomingRpcDataStreamBuffer,
    IncomingSnapshotDataStreamBuffer, InvalidMessages, NetworkSnapshotAck, NetworkStreamConnection,
    NetworkStreamRequestDisconnect, OutgoingCommandDataStreamBuffer, OutgoingRpcDataStreamBuffer,
};
use super::reason::DisconnectReason;
use crate::world::{WorldKind, kind_of};

/// Access to the drivers of a world. See [`ConnectionWorldExt`] for the calls a game makes.
#[derive(Resource)]
pub struct NetworkStreamDriver {
    pub(super) store: SyncCell<DriverStore>,
    pub(super) polled: Vec<(DriverId, DriverEvent)>,
    /// Live connections in the order in which they were made: the order of everything that is done per connection.
    pub(super) connections: Arc<Vec<(ConnectionHandle, Entity)>>,
    /// The same by handle; only looked up, never walked.
    pub(super) by_handle: HashMap<ConnectionHandle, Entity>,
    pub(super) last_endpoint: Option<SocketAddr>,
    /// Set when auto-connect has set this world going: a manual call then says so.
    pub(super) by_auto_connect: bool,
    pub(super) game_version: u32,
}

/// Why a world could not connect or listen.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionError {
    /// Servers don't connect, clients don't listen, local worlds do neither.
    #[error("a {kind:?} world cannot {verb}; make a {needed} world for that")]
    WrongWorldKind {
        /// The kind of this world.
        kind: WorldKind,
        /// What was asked of it.
        verb: &'static str,
        /// What can do it.
        needed: &'static str,
    },
    /// A client has one connection at a time.
    #[error("this client world already has a connection{}; disconnect first", auto(*by_auto_connect))]
    AlreadyConnected {
        /// Whether auto-connect made it.
        by_auto_connect: bool,
    },
    /// The server listens already.
    #[error("this server world already listens{}; stop listening first", auto(*by_auto_connect))]
    AlreadyListening {
        /// Whether auto-connect did it.
        by_auto_connect: bool,
    },
    /// Port 0 can't be connected to.
    #[error("cannot connect to {0}: its port is 0; name the port that the server listens on")]
    InvalidEndpoint(SocketAddr),
    /// A client's store holds exactly one driver.
    #[error("a client needs exactly one driver, this one has {0}; give the client world one driver")]
    DriverCount(usize),
    /// The driver refused.
    #[error("the driver could not {verb} {endpoint}: {error}")]
    Driver {
        /// What was asked of it.
        verb: &'static str,
        /// Where.
        endpoint: SocketAddr,
        /// What it said.
        error: String,
    },
}

fn auto(by_auto_connect: bool) -> &'static str {
    if by_auto_connect { " (made by auto-connect)" } else { "" }
}

impl NetworkStreamDriver {
    /// A facade over `store`.
    pub fn new(store: DriverStore, game_version: u32) -> Self {
        Self {
            store: SyncCell::new(store),
            polled: Vec::new(),
            connections: Arc::default(),
            by_handle: HashMap::default(),
            last_endpoint: None,
            by_auto_connect: false,
            game_version,
        }
    }

    /// Remembers that auto-connect has set this world going.
    pub(crate) fn set_by_auto_connect(&mut self) {
        self.by_auto_connect = true;
    }

    /// The game's version, for the handshake.
    pub(crate) fn game_version(&self) -> u32 {
        self.game_version
    }

    /// The drivers.
    pub(crate) fn store(&mut self) -> &mut DriverStore {
        self.store.get()
    }

    /// The live connections, in the order in which they were made.
    pub fn connections(&self) -> impl ExactSizeIterator<Item = (ConnectionHandle, Entity)> + '_ {
        self.connections.iter().copied()
    }

    /// The address this world listened on or connected to last.
    pub fn last_endpoint(&self) -> Option<SocketAddr> {
        self.last_endpoint
    }

    /// Whether any driver listens.
    pub fn is_listening(&mut self) -> bool {
        self.store.get().iter().any(|(_, driver)| driver.is_listening())
    }

    /// Whether a connection runs over the in-process link: its round trip is one tick, and no slack is needed.
    pub fn is_in_process(&mut self, handle: ConnectionHandle) -> bool {
        self.store.get().get(handle.driver).is_ok_and(|driver| driver.capabilities().kind == TransportKind::InProcess)
    }

    /// The largest unreliable message on this connection, in bytes.
    pub fn max_datagram_bytes(&mut self, handle: ConnectionHandle) -> usize {
        self.store.get().get(handle.driver).map_or(0, |driver| driver.capabilities().max_datagram_bytes)
    }

    /// The largest fragmented message on this connection, in bytes.
    pub fn max_fragmented_bytes(&mut self, handle: ConnectionHandle) -> usize {
        self.store.get().get(handle.driver).map_or(0, |driver| driver.capabilities().max_fragmented_bytes)
    }

    /// The address of the other side of a connection.
    pub fn remote_endpoint(&mut self, handle: ConnectionHandle) -> Option<SocketAddr> {
        self.store.get().remote_address(handle)
    }

    /// The address of this side of a driver.
    pub fn local_endpoint(&mut self, driver: DriverId) -> Option<SocketAddr> {
        self.store.get().get(driver).ok()?.local_address()
    }

    /// Gives a buffer of a received message back to its driver.
    pub(crate) fn recycle(&mut self, handle: ConnectionHandle, bytes: Vec<u8>) {
        self.store.get().recycle(handle.driver, bytes);
    }
}

/// Listening, connecting and disconnecting.
pub trait ConnectionWorldExt {
    /// Makes this server world accept connections at `endpoint` on all its drivers; port 0 lets each choose. No event is raised.
    ///
    /// # Errors
    /// Not a server, listening already, or a driver can't bind (then none listens).
    fn listen(&mut self, endpoint: SocketAddr) -> Result<(), ConnectionError>;

    /// Stops accepting; connections that exist stay.
    fn stop_listening(&mut self);

    /// Makes this client world connect to `endpoint`, and returns the connection entity. `Connecting` is raised by the next receive step.
    ///
    /// # Errors
    /// Not a client, connected already, port 0, or the driver refuses.
    fn connect(&mut self, endpoint: SocketAddr) -> Result<Entity, ConnectionError>;

    /// Closes a connection with a reason, at the next receive step: inserts [`NetworkStreamRequestDisconnect`].
    fn disconnect(&mut self, connection: Entity, reason: DisconnectReason);
}

impl ConnectionWorldExt for World {
    fn listen(&mut self, endpoint: SocketAddr) -> Result<(), ConnectionError> {
        let kind = kind_of(self);
        let Some(mut facade) = self.get_resource_mut::<NetworkStreamDriver>().filter(|_| kind.is_server()) else {
            return Err(ConnectionError::WrongWorldKind { kind, verb: "listen", needed: "server" });
        };
        if facade.is_listening() {
            return Err(ConnectionError::AlreadyListening { by_auto_connect: facade.by_auto_connect });
        }
        facade.store.get().listen_all(endpoint).map_err(|error| ConnectionError::Driver {
            verb: "listen on",
            endpoint,
            error: error.to_string(),
        })?;
        facade.last_endpoint = Some(endpoint);
        Ok(())
    }

    fn stop_listening(&mut self) {
        if let Some(mut facade) = self.get_resource_mut::<NetworkStreamDriver>() {
            facade.store.get().stop_listening();
            facade.by_auto_connect = false;
        }
    }

    fn connect(&mut self, endpoint: SocketAddr) -> Result<Entity, ConnectionError> {
        let kind = kind_of(self);
        let now = self.get_resource::<crate::world::FrameClock>().map_or(Duration::ZERO, |clock| clock.now);
        let Some(mut facade) = self.get_resource_mut::<NetworkStreamDriver>().filter(|_| kind.is_client()) else {
            return Err(ConnectionError::WrongWorldKind { kind, verb: "connect", needed: "client" });
        };
        if !facade.connections.is_empty() {
            return Err(ConnectionError::AlreadyConnected { by_auto_connect: facade.by_auto_connect });
        }
        if endpoint.port() == 0 {
            return Err(ConnectionError::InvalidEndpoint(endpoint));
        }
        let store = facade.store.get();
        let ids: Vec<DriverId> = store.iter().map(|(id, _)| id).collect();
        let [driver] = ids[..] else { return Err(ConnectionError::DriverCount(ids.len())) };
        let handle = store.connect(driver, endpoint, now).map_err(|error| ConnectionError::Driver {
            verb: "connect to",
            endpoint,
            error: error.to_string(),
        })?;
        facade.last_endpoint = Some(endpoint);
        let entity = spawn_connection(self, handle, ConnectionStatus::Connecting, true);
        Ok(entity)
    }

    fn disconnect(&mut self, connection: Entity, reason: DisconnectReason) {
        if let Ok(mut entity) = self.get_entity_mut(connection) {
            entity.insert(NetworkStreamRequestDisconnect { reason });
        }
    }
}

/// Makes the entity of a new connection, with the buffers that this side has.
pub(super) fn spawn_connection(
    world: &mut World,
    handle: ConnectionHandle,
    state: ConnectionStatus,
    event_pending: bool,
) -> Entity {
    let connection = NetworkStreamConnection { handle, state, protocol_version_received: false, event_pending };
    let mut entity = world.spawn((
        connection,
        NetworkSnapshotAck::default(),
        CommandTarget::default(),
        IncomingRpcDataStreamBuffer::default(),
        OutgoingRpcDataStreamBuffer::default(),
        InvalidMessages::default(),
    ));
    let id = entity.id();
    if entity.get_resource::<WorldKind>().copied().unwrap_or(WorldKind::Local).is_server() {
        entity.insert(IncomingCommandDataStreamBuffer::default());
        crate::snapshot::attach_server_state(&mut entity);
    } else {
        entity.insert((IncomingSnapshotDataStreamBuffer::default(), OutgoingCommandDataStreamBuffer::default()));
    }
    let mut facade = world.resource_mut::<NetworkStreamDriver>();
    Arc::make_mut(&mut facade.connections).push((handle, id));
    facade.by_handle.insert(handle, id);
    id
}

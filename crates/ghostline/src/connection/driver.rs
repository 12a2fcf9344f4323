//! The facade of the drivers: listen, connect, disconnect, and who is connected.
//! A resource of every network world, there from the world's creation; the receive step pumps it.

use bevy_ecs::prelude::{Entity, Resource, World};
use bevy_platform::cell::SyncCell;
use bevy_platform::collections::HashMap;
use ghostline_transport::{
    ConnectionHandle, ConnectionStatistics, DriverEvent, DriverId, DriverStatistics, DriverStore, LinkProfile,
    ServerAddress, SimulatorError, StoreError, TransportKind,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

use super::components::{
    CommandTarget, ConnectionStatus, DisconnectText, IncomingCommandDataStreamBuffer, IncomingSnapshotDataStreamBuffer,
    InvalidMessages, NetworkId, NetworkSnapshotAck, NetworkStreamConnection, NetworkStreamRequestDisconnect,
    OutgoingCommandDataStreamBuffer,
};
use super::lifecycle::MAX_PENDING_CLIENTS;
use super::reason::DisconnectReason;
use super::state::{self, LinkedEntityGroup};
use crate::rpc::{IncomingRpcDataStreamBuffer, OutgoingRpcDataStreamBuffer};
use crate::stats::SnapshotPacketLossStatistics;
use crate::time::StallWatchdog;
use crate::world::{WorldKind, kind_of};

/// Access to the drivers of a world. See [`ConnectionWorldExt`] for the calls a game makes.
///
/// It hands out no driver: a connection is closed by its entity, never past it.
///
/// ```compile_fail
/// # use ghostline::prelude::*;
/// fn close_past_the_entity(mut facade: bevy_ecs::prelude::ResMut<NetworkStreamDriver>) {
///     facade.store();
/// }
/// ```
#[derive(Resource)]
pub struct NetworkStreamDriver {
    pub(super) store: SyncCell<DriverStore>,
    pub(super) polled: Vec<(DriverId, DriverEvent)>,
    /// Live connections in the order in which they were made: the order of everything that is done per connection.
    pub(super) connections: Arc<Vec<LiveConnection>>,
    /// The same by handle; only looked up, never walked.
    pub(super) by_handle: HashMap<ConnectionHandle, Entity>,
    pub(super) last_server: Option<ServerAddress>,
    /// Set when auto-connect has set this world going: a manual call then says so.
    pub(super) by_auto_connect: bool,
    pub(super) game_version: u32,
    pub(super) require_approval: bool,
    pub(super) max_clients: Option<usize>,
    pub(super) max_pending_clients: usize,
    /// Whether a client warns when it sends an approval RPC to a server that doesn't ask for approval. Default: no, because a game
    /// that always sends its credentials is right.
    pub warn_about_unasked_approval_rpcs: bool,
}

/// What the facade knows of a connection by itself, so that the entity can be checked against it.
#[derive(Clone, Copy)]
pub(super) struct LiveConnection {
    pub(super) handle: ConnectionHandle,
    pub(super) entity: Entity,
    pub(super) network_id: NetworkId,
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
    InvalidEndpoint(Box<ServerAddress>),
    /// A client's store holds exactly one driver.
    #[error("a client needs exactly one driver, this one has {0}; give the client world one driver")]
    DriverCount(usize),
    /// A setting that both sides must know before anything is on its way.
    #[error("`{setting}` was set after the world began to listen or connect{}; it is ignored. Set it before", auto(*by_auto_connect))]
    TooLate {
        /// The setting.
        setting: &'static str,
        /// Whether auto-connect set the world going.
        by_auto_connect: bool,
    },
    /// The drivers can't be replaced under living connections.
    #[error("the drivers can't be replaced while {0} connections live; disconnect them first")]
    ConnectionsAlive(usize),
    /// The entity to become the connection is not there.
    #[error("{0} doesn't exist, so it can't become a connection")]
    NoEntity(Entity),
    /// The driver refused.
    #[error("the driver could not {verb} {endpoint}: {error}")]
    Driver {
        /// What was asked of it.
        verb: &'static str,
        /// Where.
        endpoint: Box<ServerAddress>,
        /// What it said.
        error: StoreError,
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
            last_server: None,
            by_auto_connect: false,
            game_version,
            require_approval: false,
            max_clients: None,
            max_pending_clients: MAX_PENDING_CLIENTS,
            warn_about_unasked_approval_rpcs: false,
        }
    }

    /// Whether this side requires approval.
    pub fn requires_connection_approval(&self) -> bool {
        self.require_approval
    }

    /// At most so many connected clients at once; `None` (the default): as many as the drivers take. The next one is closed with
    /// [`DisconnectReason::ServerFull`], and never gets a number; those who are there stay.
    pub fn set_max_clients(&mut self, max_clients: Option<usize>) {
        self.max_clients = max_clients;
    }

    /// The bound that was set.
    pub fn max_clients(&self) -> Option<usize> {
        self.max_clients
    }

    /// So many clients may be on their way in at once, 1 ..= [`MAX_PENDING_CLIENTS`] (the default), and as many may wait at a full server; of
    /// more, the one that has waited longest is closed with [`DisconnectReason::ServerFull`].
    pub fn set_max_pending_clients(&mut self, limit: usize) {
        self.max_pending_clients = limit.clamp(1, MAX_PENDING_CLIENTS);
    }

    /// The bound that was set.
    pub fn max_pending_clients(&self) -> usize {
        self.max_pending_clients
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
        self.connections.iter().map(|live| (live.handle, live.entity))
    }

    /// Remembers the number of a connection, which its event tells even if the entity is gone by then.
    pub(super) fn set_network_id(&mut self, entity: Entity, network_id: NetworkId) {
        if let Some(live) = Arc::make_mut(&mut self.connections).iter_mut().find(|live| live.entity == entity) {
            live.network_id = network_id;
        }
    }

    pub(super) fn network_id(&self, handle: ConnectionHandle) -> NetworkId {
        self.connections.iter().find(|live| live.handle == handle).map_or(NetworkId::NONE, |live| live.network_id)
    }

    /// The address this world listened on or connected to last; `None` if it was a name.
    pub fn last_endpoint(&self) -> Option<SocketAddr> {
        self.last_server.as_ref()?.socket_address()
    }

    /// The address this world listened on or connected to last, with all that was said about it.
    pub fn last_server(&self) -> Option<&ServerAddress> {
        self.last_server.as_ref()
    }

    /// Whether any driver listens.
    pub fn is_listening(&self) -> bool {
        self.store.read().iter().any(|(_, driver)| driver.is_listening())
    }

    /// Whether a connection runs over the in-process link: its round trip is one tick, and no slack is needed.
    pub fn is_in_process(&self, handle: ConnectionHandle) -> bool {
        self.store.read().connection_kind(handle) == Some(TransportKind::InProcess)
    }

    /// The round trip of a connection as its driver measures it, in ms, waiting included; `None` if it measures none.
    pub fn round_trip_ms(&self, handle: ConnectionHandle) -> Option<f32> {
        let statistics = self.store.read().statistics(handle)?;
        Some(statistics.round_trip.as_secs_f32() * 1000.0)
    }

    /// The largest unreliable message on this connection, in bytes.
    pub fn max_datagram_bytes(&self, handle: ConnectionHandle) -> usize {
        self.store.read().get(handle.driver).map_or(0, |driver| driver.capabilities().max_datagram_bytes)
    }

    /// The largest fragmented message on this connection, in bytes.
    pub fn max_fragmented_bytes(&self, handle: ConnectionHandle) -> usize {
        self.store.read().get(handle.driver).map_or(0, |driver| driver.capabilities().max_fragmented_bytes)
    }

    /// What the transport measures on a connection: packets, losses, its budget and its brakes. `None` over the in-process link.
    pub fn statistics(&self, handle: ConnectionHandle) -> Option<ConnectionStatistics> {
        self.store.read().statistics(handle)
    }

    /// What a driver has counted since it was made; `None` for an unknown one and for the in-process link.
    pub fn driver_statistics(&self, driver: DriverId) -> Option<DriverStatistics> {
        self.store.read().get(driver).ok()?.driver_statistics()
    }

    /// Gives the connections that this world began a new local address, any or one with this `ip`, as when a machine has changed networks.
    /// They go on. (A network that changes the address behind the program's back is noticed without this.)
    ///
    /// # Errors
    /// The system's, if it gives no such socket; then nothing changes.
    pub fn rebind(&mut self, ip: Option<IpAddr>) -> std::io::Result<()> {
        let store = self.store.get();
        let ids: Vec<DriverId> = store.iter().map(|(id, _)| id).collect();
        ids.into_iter().filter_map(|id| Some(store.get_mut(id).ok()?.rebind(ip))).collect()
    }

    /// What a person needs to join this server from another machine: its address and the hash of its certificate. It prints as the join
    /// string. A server that listens on every address names the one by which its network reaches it. `None` if it listens on no
    /// socket.
    pub fn join_string(&self) -> Option<ServerAddress> {
        let (address, hash) = self.store.read().iter().find_map(|(_, driver)| {
            let hash = driver.certificate_hash().filter(|_| driver.is_listening())?;
            Some((driver.local_address()?, hash))
        })?;
        let address = SocketAddr::new(reachable_ip(address.ip()), address.port());
        Some(ServerAddress { hash: Some(hash), ..address.into() })
    }

    /// What the simulated link below a driver is like; `None` if there can be none.
    pub fn simulator(&self, driver: DriverId) -> Option<LinkProfile> {
        self.store.read().get(driver).ok()?.link_profile()
    }

    /// Makes the simulated link below a driver as bad as `profile` from now on, seen from this side: what it sends goes `up`. Over the
    /// in-process link that concerns the connections that this world makes.
    ///
    /// # Errors
    /// An unknown driver, one without a simulated link, or a profile that makes no sense. Nothing is changed then.
    pub fn set_simulator(&mut self, driver: DriverId, profile: LinkProfile) -> Result<(), SimulatorError> {
        self.store.get().set_link_profile(driver, profile)
    }

    /// After how much silence the first of this world's drivers gives a connection up; `None` if none does.
    pub fn disconnect_timeout(&self) -> Option<Duration> {
        self.store.read().disconnect_timeout()
    }

    /// The address of the other side of a connection.
    pub fn remote_endpoint(&self, handle: ConnectionHandle) -> Option<SocketAddr> {
        self.store.read().remote_address(handle)
    }

    /// The address of this side of a driver.
    pub fn local_endpoint(&self, driver: DriverId) -> Option<SocketAddr> {
        self.store.read().get(driver).ok()?.local_address()
    }

    /// The address of this side of the first driver that has one.
    pub fn default_local_endpoint(&self) -> Option<SocketAddr> {
        self.store.read().iter().find_map(|(_, driver)| driver.local_address())
    }

    /// The drivers with their ids and kinds, in the order of ids.
    pub fn drivers(&self) -> impl Iterator<Item = (DriverId, TransportKind)> {
        self.store.read().iter().map(|(id, driver)| (id, driver.capabilities().kind))
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

    /// Like [`connect`](Self::connect), to a server that may be given by name, and with the hash of its certificate: all that the join
    /// string of a server says. A name is looked up meanwhile; the connection is `Connecting` until then.
    ///
    /// # Errors
    /// As `connect`.
    fn join(&mut self, server: &ServerAddress) -> Result<Entity, ConnectionError>;

    /// Like [`join`](Self::join), with an entity of the caller's that becomes the connection entity.
    ///
    /// # Errors
    /// As `join`, or there is no such entity. Nothing is changed then.
    fn join_with(&mut self, entity: Entity, server: &ServerAddress) -> Result<(), ConnectionError>;

    /// Like [`connect`](Self::connect), with an entity of the caller's that becomes the connection entity.
    ///
    /// # Errors
    /// As `connect`, or there is no such entity. Nothing is changed then.
    fn connect_with(&mut self, entity: Entity, endpoint: SocketAddr) -> Result<(), ConnectionError>;

    /// Where a connection stands; [`ConnectionStatus::Unknown`] if it is over, or never was.
    fn connection_state(&self, handle: ConnectionHandle) -> ConnectionStatus;

    /// Closes a connection with a reason, at the next receive step: inserts [`NetworkStreamRequestDisconnect`].
    fn disconnect(&mut self, connection: Entity, reason: DisconnectReason);

    /// Like [`disconnect`](Self::disconnect), with a text for the people on the other side: see [`DisconnectText`].
    fn disconnect_with_text(&mut self, connection: Entity, reason: DisconnectReason, text: &str);

    /// Whether the server's game must approve each client, by [`ConnectionApproved`](super::ConnectionApproved). Default: no. To be set alike on
    /// both sides, before listening and connecting.
    ///
    /// # Errors
    /// A local world, or too late; then it is ignored, and logged as an error.
    fn require_connection_approval(&mut self, required: bool) -> Result<(), ConnectionError>;

    /// Replaces the drivers, and returns the old ones. The world listens no more.
    ///
    /// # Errors
    /// A local world, connections are alive, no driver, or not exactly one for a client. The old drivers stay then.
    fn reset_driver_store(&mut self, store: DriverStore) -> Result<DriverStore, ConnectionError>;
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
        let bound = facade.store.get().listen_all(endpoint).map_err(|error| ConnectionError::Driver {
            verb: "listen on",
            endpoint: Box::new(endpoint.into()),
            error,
        })?;
        for (driver, address) in bound {
            tracing::debug!("driver {driver} listens on {address}");
        }
        facade.last_server = Some(endpoint.into());
        Ok(())
    }

    fn stop_listening(&mut self) {
        if let Some(mut facade) = self.get_resource_mut::<NetworkStreamDriver>() {
            facade.store.get().stop_listening();
            facade.by_auto_connect = false;
        }
    }

    fn connect(&mut self, endpoint: SocketAddr) -> Result<Entity, ConnectionError> {
        self.join(&endpoint.into())
    }

    fn join(&mut self, server: &ServerAddress) -> Result<Entity, ConnectionError> {
        let handle = begin_to_connect(self, server)?;
        let entity = self.spawn_empty().id();
        make_connection(self, entity, handle, ConnectionStatus::Connecting);
        Ok(entity)
    }

    fn connect_with(&mut self, entity: Entity, endpoint: SocketAddr) -> Result<(), ConnectionError> {
        self.join_with(entity, &endpoint.into())
    }

    fn join_with(&mut self, entity: Entity, server: &ServerAddress) -> Result<(), ConnectionError> {
        if self.get_entity(entity).is_err() {
            return Err(ConnectionError::NoEntity(entity));
        }
        let handle = begin_to_connect(self, server)?;
        make_connection(self, entity, handle, ConnectionStatus::Connecting);
        Ok(())
    }

    fn connection_state(&self, handle: ConnectionHandle) -> ConnectionStatus {
        let entity = self.get_resource::<NetworkStreamDriver>().and_then(|facade| facade.by_handle.get(&handle));
        let connection = entity.and_then(|&entity| self.get::<NetworkStreamConnection>(entity));
        connection.map_or(ConnectionStatus::Unknown, |connection| connection.state)
    }

    fn disconnect(&mut self, connection: Entity, reason: DisconnectReason) {
        if let Ok(mut entity) = self.get_entity_mut(connection) {
            entity.insert(NetworkStreamRequestDisconnect { reason });
        }
    }

    fn disconnect_with_text(&mut self, connection: Entity, reason: DisconnectReason, text: &str) {
        if let Ok(mut entity) = self.get_entity_mut(connection) {
            entity.insert((NetworkStreamRequestDisconnect { reason }, DisconnectText(text.to_owned())));
        }
    }

    fn require_connection_approval(&mut self, required: bool) -> Result<(), ConnectionError> {
        let kind = kind_of(self);
        let Some(mut facade) = self.get_resource_mut::<NetworkStreamDriver>() else {
            return Err(ConnectionError::WrongWorldKind { kind, verb: "require approval", needed: "server or client" });
        };
        if facade.is_listening() || !facade.connections.is_empty() {
            let by_auto_connect = facade.by_auto_connect;
            let error = ConnectionError::TooLate { setting: "require_connection_approval", by_auto_connect };
            tracing::error!("{error}");
            return Err(error);
        }
        facade.require_approval = required;
        Ok(())
    }

    fn reset_driver_store(&mut self, store: DriverStore) -> Result<DriverStore, ConnectionError> {
        let kind = kind_of(self);
        let Some(mut facade) = self.get_resource_mut::<NetworkStreamDriver>() else {
            return Err(ConnectionError::WrongWorldKind { kind, verb: "have drivers", needed: "server or client" });
        };
        if !facade.connections.is_empty() {
            return Err(ConnectionError::ConnectionsAlive(facade.connections.len()));
        }
        if store.is_empty() || (kind.is_client() && store.len() != 1) {
            return Err(ConnectionError::DriverCount(store.len()));
        }
        facade.polled.clear();
        facade.by_auto_connect = false;
        let old = std::mem::replace(facade.store.get(), store);
        let timeouts = [&old, facade.store.read()].map(DriverStore::disconnect_timeout);
        adapt_alarm(self, timeouts);
        // Whoever waited there is gone with the drivers.
        #[cfg(feature = "server")]
        super::waiting_room::clear(self);
        Ok(old)
    }
}

/// The handle by which a connection is sent to: its own, whatever the game has made of the component. `None` for what is no connection, or
/// one that was damaged by hand, which the next receive step closes; until then nothing of it goes to anybody else.
pub(crate) fn own_handle(world: &World, entity: Entity) -> Option<ConnectionHandle> {
    let handle = world.get::<NetworkStreamConnection>(entity)?.handle;
    let owner = world.get_resource::<NetworkStreamDriver>()?.by_handle.get(&handle)?;
    (*owner == entity).then_some(handle)
}

/// The drivers were replaced: stalls are dangerous from another length on, unless the game has set its own.
fn adapt_alarm(world: &mut World, timeouts: [Option<Duration>; 2]) {
    let [before, now] = timeouts.map(StallWatchdog::alarm_for);
    if let Some(mut watchdog) = world.get_resource_mut::<StallWatchdog>()
        && watchdog.alarm_after == Some(before)
    {
        watchdog.alarm_after = Some(now);
    }
}

/// The address by which others reach a server that listens on `ip`, as far as this machine knows.
fn reachable_ip(ip: IpAddr) -> IpAddr {
    if !ip.is_unspecified() {
        return ip;
    }
    #[cfg(feature = "quic")]
    if let Some(ip) = ghostline_transport::lan_ip() {
        return ip;
    }
    IpAddr::V4(Ipv4Addr::LOCALHOST)
}

/// Lets the client's driver begin, if the world may connect.
fn begin_to_connect(world: &mut World, server: &ServerAddress) -> Result<ConnectionHandle, ConnectionError> {
    let kind = kind_of(world);
    let now = world.get_resource::<crate::world::FrameClock>().map_or(Duration::ZERO, |clock| clock.now);
    let Some(mut facade) = world.get_resource_mut::<NetworkStreamDriver>().filter(|_| kind.is_client()) else {
        return Err(ConnectionError::WrongWorldKind { kind, verb: "connect", needed: "client" });
    };
    if !facade.connections.is_empty() {
        return Err(ConnectionError::AlreadyConnected { by_auto_connect: facade.by_auto_connect });
    }
    if server.port() == 0 {
        return Err(ConnectionError::InvalidEndpoint(Box::new(server.clone())));
    }
    let store = facade.store.get();
    let ids: Vec<DriverId> = store.iter().map(|(id, _)| id).collect();
    let [driver] = ids[..] else { return Err(ConnectionError::DriverCount(ids.len())) };
    let handle = store.join(driver, server, now).map_err(|error| ConnectionError::Driver {
        verb: "connect to",
        endpoint: Box::new(server.clone()),
        error,
    })?;
    facade.last_server = Some(server.clone());
    Ok(handle)
}

/// Makes an entity a connection, with the buffers that this side has. What the caller has put on it stays.
pub(super) fn make_connection(world: &mut World, id: Entity, handle: ConnectionHandle, state: ConnectionStatus) {
    let mut facade = world.resource_mut::<NetworkStreamDriver>();
    Arc::make_mut(&mut facade.connections).push(LiveConnection { handle, entity: id, network_id: NetworkId::NONE });
    facade.by_handle.insert(handle, id);
    let packet_bytes = facade.max_datagram_bytes(handle);
    let mut connection = NetworkStreamConnection::new(handle, state);
    if state == ConnectionStatus::Connecting {
        connection.defer_event(state);
    }
    let is_server = kind_of(world).is_server();
    let mut entity = world.entity_mut(id);
    entity.insert((
        connection,
        NetworkSnapshotAck::default(),
        IncomingRpcDataStreamBuffer::default(),
        OutgoingRpcDataStreamBuffer::with_packet_bytes(packet_bytes),
        InvalidMessages::default(),
    ));
    entity.insert_if_new((CommandTarget::default(), LinkedEntityGroup::default()));
    if is_server {
        entity.insert(IncomingCommandDataStreamBuffer::default());
        #[cfg(feature = "server")]
        crate::snapshot::attach_server_state(&mut entity);
    } else {
        entity.insert((
            IncomingSnapshotDataStreamBuffer::default(),
            OutgoingCommandDataStreamBuffer::default(),
            SnapshotPacketLossStatistics::default(),
        ));
    }
    state::mirror(world, id);
}

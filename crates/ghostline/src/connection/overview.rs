//! Who is connected to whom: one look at a world's drivers and connections, as data and as lines for a log.
//! Read from the facade and the connection entities; changes nothing.

use bevy_ecs::prelude::{Entity, World};
use ghostline_transport::{ConnectionHandle, DriverId, LinkProfile, TransportKind};
use std::fmt;
use std::net::SocketAddr;

use super::components::{
    ConnectionStatus, NetworkId, NetworkSnapshotAck, NetworkStreamConnection, NetworkStreamInGame,
};
use super::driver::NetworkStreamDriver;
use super::identity::{ConnectionUniqueId, NetworkStreamIsReconnected};
use super::lifecycle::live_connections;
use crate::world::{WorldKind, kind_of};

/// A world's drivers and connections at one moment. Prints as a few lines.
///
/// ```
/// # use ghostline::prelude::*;
/// # use ghostline::connection::WorldOverview;
/// # use bevy_app::App;
/// # fn game(_: &mut App) {}
/// let worlds = ClientServerBootstrap::new(game).auto_connect(7979).build().unwrap();
/// let server = WorldOverview::of(worlds.server_world().unwrap().world());
/// assert!(server.is_listening() && server.connections.is_empty());
/// println!("{}", worlds.overview());
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct WorldOverview {
    /// The kind of the world.
    pub kind: WorldKind,
    /// Its drivers, in the order of their ids; none in a local world.
    pub drivers: Vec<DriverOverview>,
    /// Its connections, in the order in which they were made.
    pub connections: Vec<ConnectionOverview>,
    /// Whether it requires approval.
    pub requires_approval: bool,
}

/// One driver.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct DriverOverview {
    /// Its id in the store.
    pub id: DriverId,
    /// Whether its links leave the process.
    pub kind: TransportKind,
    /// Whether nobody between two ends can read or change what travels.
    pub is_encrypted: bool,
    /// Whether it accepts connections.
    pub is_listening: bool,
    /// Where it listens, or from where it connects.
    pub local_endpoint: Option<SocketAddr>,
    /// What the simulated link below it does; `None` if there is none.
    pub simulator: Option<LinkProfile>,
}

/// One connection.
#[derive(Clone, PartialEq, Debug)]
pub struct ConnectionOverview {
    /// Its entity.
    pub entity: Entity,
    /// Its handle; names the driver that it came through.
    pub handle: ConnectionHandle,
    /// Where it stands.
    pub state: ConnectionStatus,
    /// Whether it is in the game.
    pub is_in_game: bool,
    /// The client's number, once it has one.
    pub network_id: Option<NetworkId>,
    /// The client's number that stays when it reconnects.
    pub unique_id: Option<ConnectionUniqueId>,
    /// Whether it was here before.
    pub is_reconnected: bool,
    /// The address of the other side.
    pub remote_endpoint: Option<SocketAddr>,
    /// Smoothed round trip in ms, once it was measured.
    pub round_trip_ms: Option<f32>,
}

impl WorldOverview {
    /// Looks at a world.
    pub fn of(world: &World) -> Self {
        let kind = kind_of(world);
        let Some(facade) = world.get_resource::<NetworkStreamDriver>() else {
            return Self { kind, drivers: Vec::new(), connections: Vec::new(), requires_approval: false };
        };
        let drivers = facade.store.read().iter().map(|(id, driver)| DriverOverview {
            id,
            kind: driver.capabilities().kind,
            is_encrypted: driver.capabilities().encrypted,
            is_listening: driver.is_listening(),
            local_endpoint: driver.local_address(),
            simulator: driver.link_profile(),
        });
        let connections = live_connections(world).filter_map(|entity| connection(world, facade, entity));
        Self {
            kind,
            drivers: drivers.collect(),
            connections: connections.collect(),
            requires_approval: facade.requires_connection_approval(),
        }
    }

    /// Whether a driver accepts connections.
    pub fn is_listening(&self) -> bool {
        self.drivers.iter().any(|driver| driver.is_listening)
    }

    /// Whether a connection is on its way to be connected.
    pub fn is_connecting(&self) -> bool {
        self.connections.iter().any(|connection| connection.state < ConnectionStatus::Connected)
    }

    /// Whether a connection is connected.
    pub fn is_connected(&self) -> bool {
        self.connections.iter().any(|connection| connection.state == ConnectionStatus::Connected)
    }
}

fn connection(world: &World, facade: &NetworkStreamDriver, entity: Entity) -> Option<ConnectionOverview> {
    let entity_ref = world.get_entity(entity).ok()?;
    let connection = entity_ref.get::<NetworkStreamConnection>()?;
    Some(ConnectionOverview {
        entity,
        handle: connection.handle,
        state: connection.state,
        is_in_game: entity_ref.contains::<NetworkStreamInGame>(),
        network_id: entity_ref.get::<NetworkId>().copied(),
        unique_id: entity_ref.get::<ConnectionUniqueId>().copied(),
        is_reconnected: entity_ref.contains::<NetworkStreamIsReconnected>(),
        remote_endpoint: facade.store.read().remote_address(connection.handle),
        round_trip_ms: entity_ref.get::<NetworkSnapshotAck>().and_then(|ack| ack.rtt.estimated_ms()),
    })
}

/// `Server: listens on 0.0.0.0:7979, 2 connections`, then a line for each driver and connection.
impl fmt::Display for WorldOverview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, if self.is_listening() { "listens, " } else { "" })?;
        match &self.connections[..] {
            [] => f.write_str("no connection")?,
            [_] => f.write_str("1 connection")?,
            several => write!(f, "{} connections", several.len())?,
        }
        f.write_str(if self.requires_approval { ", requires approval" } else { "" })?;
        for driver in &self.drivers {
            write!(f, "\n  {driver}")?;
        }
        for connection in &self.connections {
            write!(f, "\n  {connection}")?;
        }
        Ok(())
    }
}

/// `driver 1 (Socket, encrypted): listens on 0.0.0.0:7979`.
impl fmt::Display for DriverOverview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encrypted = if self.is_encrypted { ", encrypted" } else { "" };
        write!(f, "driver {} ({:?}{encrypted}): ", self.id, self.kind)?;
        match self.local_endpoint {
            Some(endpoint) if self.is_listening => write!(f, "listens on {endpoint}")?,
            Some(endpoint) => write!(f, "at {endpoint}")?,
            None => f.write_str("idle")?,
        }
        let is_faulty = |profile: &LinkProfile| !profile.up.is_perfect() || !profile.down.is_perfect();
        f.write_str(if self.simulator.as_ref().is_some_and(is_faulty) { ", over a simulated network" } else { "" })
    }
}

/// `connection 1 (1:0v1): Connected, in game, 127.0.0.1:49152, unique id 77, 34.5 ms`.
impl fmt::Display for ConnectionOverview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {} ({}): {:?}", self.network_id.unwrap_or_default(), self.handle, self.state)?;
        f.write_str(if self.is_in_game { ", in game" } else { "" })?;
        if let Some(endpoint) = self.remote_endpoint {
            write!(f, ", {endpoint}")?;
        }
        if let Some(ConnectionUniqueId(unique_id)) = self.unique_id {
            write!(f, ", unique id {unique_id}")?;
        }
        f.write_str(if self.is_reconnected { ", came back" } else { "" })?;
        match self.round_trip_ms {
            Some(round_trip_ms) => write!(f, ", {round_trip_ms:.1} ms"),
            None => Ok(()),
        }
    }
}

//! The receive step: pumps the drivers, moves every connection through its states, raises this tick's events, and gathers
//! whole messages in the connections' buffers. Consumers read them later in the same pass. And its counterpart, the flush.

use bevy_ecs::prelude::{Entity, World};
use ghostline_transport::{ConnectionHandle, DisconnectCause, DriverEvent, DriverId};
use ghostline_wire::MessageKind;
use std::sync::Arc;

use super::components::{
    ConnectionStatus, IncomingCommandDataStreamBuffer, IncomingRpcDataStreamBuffer, IncomingSnapshotDataStreamBuffer,
    InvalidMessages, MAX_INCOMING_MESSAGES, NetworkId, NetworkStreamConnection, NetworkStreamRequestDisconnect,
};
use super::driver::{NetworkStreamDriver, spawn_connection};
use super::events::{ConnectionEvents, NetCodeConnectionEvent};
use super::handshake;
use super::reason::DisconnectReason;
use crate::stats::NetworkStats;
use crate::world::{FrameClock, kind_of};

/// The receive step of a simulation pass.
pub fn receive(world: &mut World) {
    world.resource_mut::<ConnectionEvents>().0.clear();
    raise_pending_events(world);
    close_requested(world);
    poll(world);
    let events = std::mem::take(&mut world.resource_mut::<NetworkStreamDriver>().polled);
    for (driver, event) in events {
        handle_event(world, driver, event);
    }
    handshake::advance(world);
}

/// Pumps the drivers in a frame without a simulation pass, so that links don't starve; what arrived waits for the next receive step.
pub fn pump_idle(world: &mut World) {
    if world.contains_resource::<NetworkStreamDriver>() {
        poll(world);
        flush(world);
    }
}

/// Sends what the drivers hold back.
pub fn flush(world: &mut World) {
    let now = world.resource::<FrameClock>().now;
    world.resource_mut::<NetworkStreamDriver>().store.get().flush(now);
}

fn poll(world: &mut World) {
    let now = world.resource::<FrameClock>().now;
    let mut facade = world.resource_mut::<NetworkStreamDriver>();
    let facade = &mut *facade;
    facade.store.get().poll(now, &mut facade.polled);
}

/// States that were entered outside the receive step get their event now: a client's `Connecting`, `Approval`, `Connected`.
fn raise_pending_events(world: &mut World) {
    for entity in live_connections(world) {
        let Some(mut connection) = world.get_mut::<NetworkStreamConnection>(entity) else { continue };
        if std::mem::take(&mut connection.event_pending) {
            let (handle, state) = (connection.handle, connection.state);
            raise(world, entity, handle, state, None);
        }
    }
}

/// Closes the connections whose closing was requested.
fn close_requested(world: &mut World) {
    for entity in live_connections(world) {
        let Some(request) = world.get::<NetworkStreamRequestDisconnect>(entity).copied() else { continue };
        let Some(handle) = world.get::<NetworkStreamConnection>(entity).map(|connection| connection.handle) else {
            continue;
        };
        let mut facade = world.resource_mut::<NetworkStreamDriver>();
        facade.store.get().disconnect(handle, request.reason.to_close());
        remove(world, handle, entity, request.reason);
    }
}

fn handle_event(world: &mut World, driver: DriverId, event: DriverEvent) {
    match event {
        DriverEvent::Accepted { connection } => {
            let handle = ConnectionHandle { driver, connection };
            let entity = spawn_connection(world, handle, ConnectionStatus::Handshake, false);
            raise(world, entity, handle, ConnectionStatus::Handshake, None);
            handshake::send_version(world, entity);
        }
        DriverEvent::Connected { connection } => {
            let handle = ConnectionHandle { driver, connection };
            let Some(entity) = entity_of(world, handle) else { return };
            if let Some(mut connection) = world.get_mut::<NetworkStreamConnection>(entity) {
                connection.state = ConnectionStatus::Handshake;
            }
            raise(world, entity, handle, ConnectionStatus::Handshake, None);
            handshake::send_version(world, entity);
        }
        DriverEvent::Received { connection, bytes, .. } => {
            let handle = ConnectionHandle { driver, connection };
            match entity_of(world, handle) {
                Some(entity) => sort_message(world, entity, bytes),
                None => world.resource_mut::<NetworkStreamDriver>().recycle(handle, bytes),
            }
        }
        DriverEvent::Disconnected { connection, cause } => {
            let handle = ConnectionHandle { driver, connection };
            if let Some(entity) = entity_of(world, handle) {
                if let DisconnectCause::ClosedByRemote(close) = &cause
                    && !close.text.is_empty()
                {
                    tracing::info!("the other side closed the connection: {}", close.text);
                }
                remove(world, handle, entity, DisconnectReason::from_cause(&cause));
            }
        }
    }
}

/// Puts a message into the buffer of its kind, by its first byte and this side.
fn sort_message(world: &mut World, entity: Entity, bytes: Vec<u8>) {
    let is_server = kind_of(world).is_server();
    world.resource_mut::<NetworkStats>().received_bytes += bytes.len() as u64;
    let kind = bytes.first().copied().and_then(MessageKind::from_byte);
    let Ok(mut entity_mut) = world.get_entity_mut(entity) else { return };
    let queue = match kind {
        Some(MessageKind::Rpc) => {
            entity_mut.get_mut::<IncomingRpcDataStreamBuffer>().map(|b| b.map_unchanged(|b| &mut b.0))
        }
        Some(MessageKind::Command) if is_server => {
            entity_mut.get_mut::<IncomingCommandDataStreamBuffer>().map(|b| b.map_unchanged(|b| &mut b.0))
        }
        Some(MessageKind::Snapshot) if !is_server => {
            entity_mut.get_mut::<IncomingSnapshotDataStreamBuffer>().map(|b| b.map_unchanged(|b| &mut b.0))
        }
        _ => None,
    };
    match queue {
        Some(mut queue) if queue.len() < MAX_INCOMING_MESSAGES => queue.push_back(bytes),
        Some(_) => world.resource_mut::<NetworkStats>().dropped_messages += 1,
        None => count_invalid(world, entity, "a message of an unknown kind or in the wrong direction"),
    }
}

/// Counts a message that could not be read; too many within the window end the connection.
pub(crate) fn count_invalid(world: &mut World, entity: Entity, what: &str) {
    let now = world.resource::<FrameClock>().now;
    world.resource_mut::<NetworkStats>().invalid_messages += 1;
    if world.get::<NetworkStreamRequestDisconnect>(entity).is_some() {
        // It is being closed already: nothing it says matters.
        return;
    }
    let id = world.get::<NetworkId>(entity).copied().unwrap_or_default();
    let Some(mut invalid) = world.get_mut::<InvalidMessages>(entity) else { return };
    let too_many = invalid.count(now);
    if too_many {
        tracing::warn!(
            "connection {id}: {} messages could not be read, the last was {what}; closing it",
            invalid.total
        );
        close(world, entity, DisconnectReason::ProtocolError);
    } else if invalid.may_log(now) {
        tracing::warn!("connection {id}: dropped {what} ({} so far)", invalid.total);
    }
}

/// Asks for the connection to be closed at the next receive step; the first reason given stays.
pub(crate) fn close(world: &mut World, entity: Entity, reason: DisconnectReason) {
    if let Ok(mut connection) = world.get_entity_mut(entity)
        && !connection.contains::<NetworkStreamRequestDisconnect>()
    {
        connection.insert(NetworkStreamRequestDisconnect { reason });
    }
}

/// The connections of this world as they are now, in the order in which they were made. The world may be changed on the way.
pub(crate) fn live_connections(world: &World) -> LiveConnections {
    LiveConnections {
        list: world.get_resource::<NetworkStreamDriver>().map(|facade| Arc::clone(&facade.connections)),
        next: 0,
    }
}

/// What [`live_connections`] gives: the list is shared, so that asking for it costs no allocation.
pub(crate) struct LiveConnections {
    list: Option<Arc<Vec<(ConnectionHandle, Entity)>>>,
    next: usize,
}

impl Iterator for LiveConnections {
    type Item = Entity;

    fn next(&mut self) -> Option<Entity> {
        let &(_, entity) = self.list.as_ref()?.get(self.next)?;
        self.next += 1;
        Some(entity)
    }
}

fn entity_of(world: &World, handle: ConnectionHandle) -> Option<Entity> {
    world.resource::<NetworkStreamDriver>().by_handle.get(&handle).copied()
}

pub(super) fn raise(
    world: &mut World,
    entity: Entity,
    handle: ConnectionHandle,
    state: ConnectionStatus,
    disconnect_reason: Option<DisconnectReason>,
) {
    let network_id = world.get::<NetworkId>(entity).copied().unwrap_or_default();
    let event = NetCodeConnectionEvent { network_id, handle, state, disconnect_reason, entity };
    tracing::debug!("{event}");
    world.resource_mut::<ConnectionEvents>().0.push(event);
}

/// The end of a connection: its event, once; its number is free again; its entity goes.
fn remove(world: &mut World, handle: ConnectionHandle, entity: Entity, reason: DisconnectReason) {
    raise(world, entity, handle, ConnectionStatus::Disconnected, Some(reason));
    handshake::release_network_id(world, entity);
    crate::rpc::forget_connection(world, entity);
    crate::snapshot::forget_connection(world, entity);
    let mut facade = world.resource_mut::<NetworkStreamDriver>();
    Arc::make_mut(&mut facade.connections).retain(|&(live, _)| live != handle);
    facade.by_handle.remove(&handle);
    if facade.connections.is_empty() && !facade.is_listening() {
        facade.by_auto_connect = false;
    }
    world.despawn(entity);
}

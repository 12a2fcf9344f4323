//! The receive step: pumps the drivers, moves every connection through its states, raises this tick's events, and gathers
//! whole messages in the connections' buffers. Consumers read them later in the same pass. And its counterpart, the flush.

use bevy_ecs::prelude::{Entity, World};
use ghostline_transport::{ConnectionHandle, DisconnectCause, DriverEvent, DriverId, Pipeline};
use ghostline_wire::MessageKind;
use std::collections::VecDeque;
use std::sync::Arc;

#[cfg(feature = "server")]
use super::admission;
use super::components::{
    ConnectionStatus, DisconnectText, IncomingCommandDataStreamBuffer, IncomingSnapshotDataStreamBuffer,
    InvalidMessages, MAX_INCOMING_MESSAGES, MAX_WAITING_DRIVER_EVENTS, NetworkId, NetworkStreamConnection,
    NetworkStreamRequestDisconnect,
};
use super::driver::{LiveConnection, NetworkStreamDriver, own_handle};
use super::events::{self, ConnectionEvents, NetCodeConnectionEvent};
use super::handshake;
use super::log_limit::LogLimits;
use super::mismatch;
use super::reason::DisconnectReason;
use super::requests;
#[cfg(feature = "server")]
use super::sessions;
use super::state;
#[cfg(feature = "server")]
use super::waiting_room;
use crate::rpc::{IncomingRpcDataStreamBuffer, RpcDelivery};
use crate::stats::NetworkStats;
use crate::time::NetworkTime;
use crate::world::{FrameClock, kind_of};

/// The receive step of a simulation pass.
pub fn receive(world: &mut World) {
    world.resource_mut::<ConnectionEvents>().clear();
    close_lost(world);
    requests::consume(world);
    raise_deferred_events(world);
    close_requested(world);
    poll(world);
    let events = std::mem::take(&mut world.resource_mut::<NetworkStreamDriver>().polled);
    for (driver, event) in events {
        handle_event(world, driver, event);
    }
    handshake::advance(world);
    #[cfg(feature = "server")]
    waiting_room::expire(world);
    state::mirror_all(world);
    events::publish(world);
}

/// Pumps the drivers in a frame without a simulation pass, so that links don't starve; what arrived waits for the next receive step.
pub fn pump_idle(world: &mut World) {
    let Some(facade) = world.get_resource::<NetworkStreamDriver>() else { return };
    if facade.polled.len() < MAX_WAITING_DRIVER_EVENTS {
        poll(world);
    }
    flush(world);
}

/// Sends what the drivers hold back. Not in a tick that another follows in the same frame: what it queued leaves with that one,
/// and acknowledgements need no packets of their own.
pub fn flush(world: &mut World) {
    if world.get_resource::<NetworkTime>().is_some_and(NetworkTime::is_catch_up_tick) {
        return;
    }
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
fn raise_deferred_events(world: &mut World) {
    for entity in live_connections(world) {
        let Some(mut connection) = world.get_mut::<NetworkStreamConnection>(entity) else { continue };
        let handle = connection.handle;
        for state in connection.take_deferred_events() {
            raise(world, entity, handle, state, None);
        }
    }
}

/// Connections whose entity the game has despawned, or whose handle it has changed, are closed properly: the peer learns it, the event is
/// raised, and the world goes on.
fn close_lost(world: &mut World) {
    let live = Arc::clone(&world.resource::<NetworkStreamDriver>().connections);
    for &LiveConnection { handle, entity, .. } in live.iter() {
        let found = world.get::<NetworkStreamConnection>(entity).map(|connection| connection.handle);
        if found == Some(handle) {
            continue;
        }
        let what = if found.is_some() { "the handle was changed" } else { "the entity was despawned or stripped" };
        tracing::error!(
            "connection {handle} on {entity} of this {:?} world was damaged by hand ({what}); it is closed. Use `disconnect` to close a connection",
            kind_of(world)
        );
        close_live(
            world,
            handle,
            entity,
            DisconnectReason::ConnectionClose,
            "the connection was damaged on the other side",
        );
    }
}

/// Closes the connections whose closing was requested.
fn close_requested(world: &mut World) {
    for entity in live_connections(world) {
        let Some(request) = world.get::<NetworkStreamRequestDisconnect>(entity).copied() else { continue };
        let text = world.get::<DisconnectText>(entity).cloned().unwrap_or_default().0;
        close_now(world, entity, request.reason, &text);
    }
}

/// Closes a connection at once. Of the receive step only.
pub(super) fn close_now(world: &mut World, entity: Entity, reason: DisconnectReason, text: &str) {
    if let Some(handle) = own_handle(world, entity) {
        close_live(world, handle, entity, reason, text);
    }
}

fn close_live(world: &mut World, handle: ConnectionHandle, entity: Entity, reason: DisconnectReason, text: &str) {
    world.resource_mut::<NetworkStreamDriver>().store.get().disconnect(handle, reason.to_close(text));
    remove(world, handle, entity, reason, text);
}

fn handle_event(world: &mut World, driver: DriverId, event: DriverEvent) {
    match event {
        #[cfg(feature = "server")]
        DriverEvent::Accepted { connection } => admission::accept(world, ConnectionHandle { driver, connection }),
        // (Nobody connects to a program without servers.)
        #[cfg(not(feature = "server"))]
        DriverEvent::Accepted { .. } => {}
        DriverEvent::Connected { connection } => {
            let handle = ConnectionHandle { driver, connection };
            let Some(entity) = entity_of(world, handle) else { return };
            begin_handshake(world, entity, handle);
        }
        DriverEvent::Received { connection, pipeline, bytes } => {
            let handle = ConnectionHandle { driver, connection };
            match entity_of(world, handle) {
                Some(entity) => sort_message(world, entity, pipeline, bytes),
                None => {
                    #[cfg(feature = "server")]
                    let Some(bytes) = waiting_room::receive(world, handle, pipeline, bytes) else { return };
                    world.resource_mut::<NetworkStreamDriver>().recycle(handle, bytes);
                }
            }
        }
        DriverEvent::Disconnected { connection, cause } => {
            let handle = ConnectionHandle { driver, connection };
            #[cfg(feature = "server")]
            waiting_room::leave(world, handle);
            if let Some(entity) = entity_of(world, handle) {
                // What the other side has said before it closed may tell why.
                crate::rpc::diagnose(world, entity);
                mismatch::finish(world, entity);
                let text = match &cause {
                    DisconnectCause::ClosedByRemote(close) => close.text.clone(),
                    cause => cause.to_string(),
                };
                remove(world, handle, entity, DisconnectReason::from_cause(&cause), &text);
            }
        }
    }
}

/// So many clients may be on their way in; of more, the one that has waited longest goes. An honest one is in after a few round trips, so a
/// crowd that connects and stays silent takes nobody's place.
pub const MAX_PENDING_CLIENTS: usize = 1024;

pub(super) fn begin_handshake(world: &mut World, entity: Entity, handle: ConnectionHandle) {
    let now = world.resource::<FrameClock>().now;
    if let Some(mut connection) = world.get_mut::<NetworkStreamConnection>(entity) {
        connection.handshake_start = Some(now);
    }
    state::enter(world, entity, ConnectionStatus::Handshake, false);
    raise(world, entity, handle, ConnectionStatus::Handshake, None);
    handshake::begin(world, entity);
}

/// Puts a message into the buffer of its kind, by its first byte, the way that it came, and this side.
pub(super) fn sort_message(world: &mut World, entity: Entity, pipeline: Pipeline, bytes: Vec<u8>) {
    let is_server = kind_of(world).is_server();
    world.resource_mut::<NetworkStats>().received_bytes += bytes.len() as u64;
    let kind = bytes.first().copied().and_then(MessageKind::from_byte);
    let is_reliable = pipeline == Pipeline::ReliableOrdered;
    let Ok(mut entity_mut) = world.get_entity_mut(entity) else { return };
    let connected = entity_mut.get::<NetworkStreamConnection>().is_some_and(|c| c.state == ConnectionStatus::Connected);
    let refused = match kind {
        Some(MessageKind::Rpc) if is_reliable => {
            entity_mut.get_mut::<IncomingRpcDataStreamBuffer>().map(|mut b| b.push(RpcDelivery::Reliable, bytes).err())
        }
        Some(MessageKind::UnreliableRpc) if !is_reliable => entity_mut
            .get_mut::<IncomingRpcDataStreamBuffer>()
            .map(|mut b| b.push(RpcDelivery::Unreliable, bytes).err()),
        Some(MessageKind::Command) if is_server && connected && !is_reliable => {
            entity_mut.get_mut::<IncomingCommandDataStreamBuffer>().map(|mut b| push_bounded(&mut b.0, bytes))
        }
        Some(MessageKind::Snapshot) if !is_server && !is_reliable => {
            entity_mut.get_mut::<IncomingSnapshotDataStreamBuffer>().map(|mut b| push_bounded(&mut b.0, bytes))
        }
        _ => {
            count_invalid(
                world,
                entity,
                "a message of an unknown kind, in the wrong direction, by the wrong way, or before its time",
            );
            return;
        }
    };
    if let Some(Some(refused)) = refused {
        drop_message(world, entity, kind, refused);
    }
}

/// Gives the oldest message back if there is no room: of commands and snapshots the latest are worth most.
fn push_bounded(queue: &mut VecDeque<Vec<u8>>, message: Vec<u8>) -> Option<Vec<u8>> {
    let oldest = if queue.len() >= MAX_INCOMING_MESSAGES { queue.pop_front() } else { None };
    queue.push_back(message);
    oldest
}

/// There is no room for a message. What is unreliable may be lost; reliable RPCs may not, so their sender has to go.
fn drop_message(world: &mut World, entity: Entity, kind: Option<MessageKind>, message: Vec<u8>) {
    world.resource_mut::<NetworkStats>().dropped_messages += 1;
    if let Some(handle) = world.get::<NetworkStreamConnection>(entity).map(|connection| connection.handle) {
        world.resource_mut::<NetworkStreamDriver>().recycle(handle, message);
    }
    if kind == Some(MessageKind::Rpc) && world.get::<NetworkStreamRequestDisconnect>(entity).is_none() {
        let text = "more RPCs than are read";
        let now = world.resource::<FrameClock>().now;
        if let Some(unlogged) = world.resource_mut::<LogLimits>().refusals.take_turn(now) {
            tracing::warn!("a connection has sent {text}; closing it{unlogged}");
        }
        close(world, entity, DisconnectReason::ProtocolError, text);
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
    let is_too_much = invalid.count(now);
    let total = invalid.total;
    let may_log = invalid.may_log(now);
    let mut limits = world.resource_mut::<LogLimits>();
    if is_too_much {
        if let Some(unlogged) = limits.refusals.take_turn(now) {
            tracing::warn!(
                "connection {id}: {total} messages could not be read, the last was {what}; closing it{unlogged}"
            );
        }
        let text = format!("too many messages could not be read, the last was {what}");
        close(world, entity, DisconnectReason::ProtocolError, text);
    } else if may_log && let Some(unlogged) = limits.unreadable.take_turn(now) {
        tracing::warn!("connection {id}: dropped {what} ({total} so far){unlogged}");
    }
}

/// Asks for the connection to be closed at the next receive step, with a line for the people on the other side; the first reason given stays.
pub(crate) fn close(world: &mut World, entity: Entity, reason: DisconnectReason, text: impl Into<String>) {
    if let Ok(mut connection) = world.get_entity_mut(entity)
        && !connection.contains::<NetworkStreamRequestDisconnect>()
    {
        connection.insert((NetworkStreamRequestDisconnect { reason }, DisconnectText(text.into())));
    }
}

/// The connections of this world as they are now, in the order in which they were made. The world may be changed on the way, and a game may
/// have despawned an entity by hand: what isn't there is to be passed over.
pub(crate) fn live_connections(world: &World) -> LiveConnections {
    LiveConnections {
        list: world.get_resource::<NetworkStreamDriver>().map(|facade| Arc::clone(&facade.connections)),
        next: 0,
    }
}

/// The number of this client, if it has one.
pub(crate) fn local_network_id(world: &World) -> Option<NetworkId> {
    live_connections(world).find_map(|connection| world.get::<NetworkId>(connection).copied())
}

/// What [`live_connections`] gives: the list is shared, so that asking for it costs no allocation.
pub(crate) struct LiveConnections {
    list: Option<Arc<Vec<LiveConnection>>>,
    next: usize,
}

impl Iterator for LiveConnections {
    type Item = Entity;

    fn next(&mut self) -> Option<Entity> {
        let entity = self.list.as_ref()?.get(self.next)?.entity;
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
    raise_with_text(world, entity, handle, state, disconnect_reason, "");
}

fn raise_with_text(
    world: &mut World,
    entity: Entity,
    handle: ConnectionHandle,
    state: ConnectionStatus,
    disconnect_reason: Option<DisconnectReason>,
    text: &str,
) {
    let network_id = world.resource::<NetworkStreamDriver>().network_id(handle);
    let event = NetCodeConnectionEvent { network_id, handle, state, disconnect_reason, entity };
    tracing::debug!("{event} {text:?}");
    world.resource_mut::<ConnectionEvents>().push(event, text);
}

/// The end of a connection: its event, once; its number is free again; its entity goes.
fn remove(world: &mut World, handle: ConnectionHandle, entity: Entity, reason: DisconnectReason, text: &str) {
    raise_with_text(world, entity, handle, ConnectionStatus::Disconnected, Some(reason), text);
    #[cfg(feature = "server")]
    {
        let network_id = world.resource::<NetworkStreamDriver>().network_id(handle);
        admission::release_network_id(world, network_id);
        sessions::forget(world, entity);
    }
    crate::rpc::forget_connection(world, entity);
    #[cfg(feature = "client")]
    crate::command::forget_server_types(world);
    crate::snapshot::forget_connection(world, entity);
    let mut facade = world.resource_mut::<NetworkStreamDriver>();
    Arc::make_mut(&mut facade.connections).retain(|live| live.handle != handle);
    facade.by_handle.remove(&handle);
    if facade.connections.is_empty() && !facade.is_listening() {
        facade.by_auto_connect = false;
    }
    state::dispose_entity(world, entity, reason, text.to_owned());
}

//! Sending RPCs: a request entity becomes frames in the outgoing buffers of its targets, in the order in which the requests
//! were made; the flush sends what the transport takes.

use bevy_ecs::lifecycle::HookContext;
use bevy_ecs::prelude::{Component, Entity, Resource, World};
use bevy_ecs::world::DeferredWorld;
use ghostline_transport::Pipeline;
use ghostline_wire::{BitWriter, begin_packet, push_frame};

use super::registry::RpcCollection;
use super::sender::SendRpcError;
use crate::connection::{
    ConnectionEvents, ConnectionStatus, MAX_RPC_PAYLOAD_BYTES, NetworkStreamConnection, NetworkStreamDriver,
    OutgoingRpcDataStreamBuffer, live_connections,
};
use crate::stats::NetworkStats;
use crate::world::kind_of;

/// Asks for the RPC on this entity to be sent; spawn both together. The entity is gone after the pass.
///
/// ```
/// # use ghostline::prelude::*;
/// # use bevy_ecs::prelude::*;
/// #[derive(Component, RpcCommand)]
/// struct Chat { line: u32 }
///
/// fn greet(mut commands: Commands) {
///     commands.spawn((Chat { line: 7 }, SendRpcCommandRequest::default()));
/// }
/// ```
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[component(on_add = note_request)]
pub struct SendRpcCommandRequest {
    /// The connection to send to. `None`: to the server (from a client), to every client (from a server).
    pub target: Option<Entity>,
}

/// Request entities in the order in which they were made, so that RPCs leave in that order whatever their types.
#[derive(Resource, Default)]
pub(crate) struct RpcRequests(Vec<Entity>);

fn note_request(mut world: DeferredWorld<'_>, context: HookContext) {
    if let Some(mut requests) = world.get_resource_mut::<RpcRequests>() {
        requests.0.push(context.entity);
    }
}

/// A connection holds at most so many bytes of RPCs that wait for the transport.
pub const MAX_WAITING_RPC_BYTES: usize = 4 * 1024 * 1024;

impl OutgoingRpcDataStreamBuffer {
    /// Bytes that wait to be sent.
    pub fn bytes(&self) -> usize {
        self.waiting_bytes + self.open.len()
    }

    /// Whether nothing waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.full.is_empty() && self.open.is_empty()
    }

    pub(crate) fn with_packet_bytes(packet_bytes: usize) -> Self {
        Self { packet_bytes, ..Self::default() }
    }

    /// Appends a frame; small ones share a packet, and none ever overtakes another.
    pub(super) fn push(&mut self, type_index: u16, payload: &BitWriter) -> Result<(), SendRpcError> {
        const FRAME_HEADER_BYTES: usize = 4;
        let bytes = payload.byte_len();
        if bytes > MAX_RPC_PAYLOAD_BYTES {
            return Err(SendRpcError::TooLarge { bytes, limit: MAX_RPC_PAYLOAD_BYTES });
        }
        if self.bytes() + FRAME_HEADER_BYTES + bytes > MAX_WAITING_RPC_BYTES {
            return Err(SendRpcError::Full { limit: MAX_WAITING_RPC_BYTES });
        }
        if !self.open.is_empty() && self.open.len() + FRAME_HEADER_BYTES + bytes > self.packet_bytes {
            self.close_open();
        }
        if self.open.is_empty() {
            begin_packet(&mut self.open);
        }
        push_frame(&mut self.open, type_index, payload.as_bytes(), payload.bit_len())
            .map_err(|error| SendRpcError::TooLarge { bytes: error.bytes, limit: error.limit })
    }

    fn close_open(&mut self) {
        let packet = std::mem::take(&mut self.open);
        self.waiting_bytes += packet.len();
        self.full.push_back(packet);
    }
}

/// Turns the request entities into frames.
pub fn send_requests(world: &mut World) {
    let mut requests = std::mem::take(&mut world.resource_mut::<RpcRequests>().0);
    for entity in requests.drain(..) {
        send_request(world, entity);
    }
    world.resource_mut::<RpcRequests>().0 = requests;
}

fn send_request(world: &mut World, entity: Entity) {
    let Ok(entity_ref) = world.get_entity(entity) else { return };
    let Some(request) = entity_ref.get::<SendRpcCommandRequest>().copied() else { return };
    let collection = world.resource::<RpcCollection>();
    let known = entity_ref.archetype().components().iter().find_map(|&component| collection.of_component(component));
    let Some((type_index, entry)) = known else {
        tracing::error!(
            "a request to send an RPC stands on an entity without a registered RPC; call `register_rpc` for its type"
        );
        world.despawn(entity);
        return;
    };
    let encode = entry.encode;
    let rpc = Outgoing { type_index, name: entry.text.clone(), is_approval: entry.is_approval };
    let mut payload = BitWriter::new();
    encode(world, entity, &mut payload);
    match request.target {
        Some(target) => rpc.send_to(world, target, &payload, true),
        None => rpc.broadcast(world, &payload),
    }
    if let Ok(entity) = world.get_entity_mut(entity) {
        entity.despawn();
    }
}

/// Whether a connection in this state may be sent such an RPC. Approval RPCs wait in the buffer until the transport is connected.
pub(super) fn may_send(state: ConnectionStatus, is_approval: bool) -> bool {
    state == ConnectionStatus::Connected || (is_approval && state >= ConnectionStatus::Connecting)
}

/// An RPC on its way into the buffers.
struct Outgoing {
    type_index: u16,
    name: String,
    is_approval: bool,
}

impl Outgoing {
    fn broadcast(&self, world: &mut World, payload: &BitWriter) {
        let mut targets = live_connections(world).peekable();
        if targets.peek().is_none() {
            if world.resource::<ConnectionEvents>().any_ended() {
                tracing::debug!("RPC `{}` was sent as the last connection ended; it is dropped", self.name);
            } else {
                tracing::warn!("RPC `{}` was sent without a connection; it is dropped", self.name);
            }
        }
        for target in targets {
            self.send_to(world, target, payload, false);
        }
    }

    fn send_to(&self, world: &mut World, target: Entity, payload: &BitWriter, targeted: bool) {
        let name = &self.name;
        let state = world.get::<NetworkStreamConnection>(target).map(|connection| connection.state);
        match state {
            Some(state) if may_send(state, self.is_approval) => {
                if self.is_approval && state == ConnectionStatus::Connected {
                    warn_if_unasked(world, target, name);
                }
                push(world, target, self.type_index, payload, name);
            }
            Some(state) if targeted || !kind_of(world).is_server() => {
                tracing::error!(
                    "RPC `{name}` was sent on a connection that is still {state:?}; it is dropped. Wait for its NetworkId"
                );
            }
            Some(_) => tracing::debug!("RPC `{name}` skips a connection that isn't connected yet"),
            None if world.resource::<ConnectionEvents>().has_ended(target) => {
                tracing::debug!("RPC `{name}` was sent on a connection that has just ended; it is dropped");
            }
            None => {
                tracing::warn!("RPC `{name}` was sent to an entity that is no connection (any more); it is dropped");
            }
        }
    }
}

/// A client may send its credentials to a server that never asks for them; who wants to know is told.
fn warn_if_unasked(world: &World, target: Entity, name: &str) {
    let facade = world.resource::<NetworkStreamDriver>();
    let asked = facade.requires_connection_approval()
        || world.get::<NetworkStreamConnection>(target).is_some_and(NetworkStreamConnection::was_asked_for_approval);
    if facade.warn_about_unasked_approval_rpcs && kind_of(world).is_client() && !asked {
        tracing::warn!(
            "approval RPC `{name}` was sent, but approval is not required; set `require_connection_approval` on both sides"
        );
    }
}

fn push(world: &mut World, target: Entity, type_index: u16, payload: &BitWriter, name: &str) {
    let Some(mut outgoing) = world.get_mut::<OutgoingRpcDataStreamBuffer>(target) else { return };
    if let Err(error) = outgoing.push(type_index, payload) {
        tracing::error!("RPC `{name}` is dropped: {error}");
    }
}

/// Queues an RPC of the library itself.
pub(crate) fn push_internal(world: &mut World, target: Entity, type_index: u16, payload: &BitWriter) {
    push(world, target, type_index, payload, "of the library");
}

/// Takes what waits on a connection, so that something can be put before it.
pub(crate) fn take_queued(world: &mut World, target: Entity) -> OutgoingRpcDataStreamBuffer {
    let Some(mut outgoing) = world.get_mut::<OutgoingRpcDataStreamBuffer>(target) else {
        return OutgoingRpcDataStreamBuffer::default();
    };
    let packet_bytes = outgoing.packet_bytes;
    std::mem::replace(&mut *outgoing, OutgoingRpcDataStreamBuffer::with_packet_bytes(packet_bytes))
}

/// Puts back what [`take_queued`] took, behind what was queued since.
pub(crate) fn put_behind(world: &mut World, target: Entity, mut queued: OutgoingRpcDataStreamBuffer) {
    if queued.is_empty() {
        return;
    }
    queued.close_open_if_any();
    let Some(mut outgoing) = world.get_mut::<OutgoingRpcDataStreamBuffer>(target) else { return };
    outgoing.close_open_if_any();
    outgoing.waiting_bytes += queued.waiting_bytes;
    outgoing.full.append(&mut queued.full);
}

/// Sends what the transport takes; the rest stays in order for the next pass.
pub fn flush(world: &mut World) {
    for entity in live_connections(world) {
        let Some(connection) = world.get::<NetworkStreamConnection>(entity).copied() else { continue };
        if connection.state < ConnectionStatus::Handshake {
            continue;
        }
        let Some(mut outgoing) = world.get_mut::<OutgoingRpcDataStreamBuffer>(entity) else { continue };
        if outgoing.is_empty() {
            continue;
        }
        let mut waiting = std::mem::take(&mut *outgoing);
        waiting.close_open_if_any();
        let mut sent_bytes = 0;
        let mut sent_packets = 0;
        let mut facade = world.resource_mut::<NetworkStreamDriver>();
        while let Some(packet) = waiting.full.front() {
            match facade.store().send(connection.handle, Pipeline::ReliableOrdered, packet) {
                Ok(()) => {
                    sent_bytes += packet.len();
                    sent_packets += 1;
                    waiting.full.pop_front();
                }
                Err(error) => {
                    tracing::debug!("RPCs wait: {error}");
                    break;
                }
            }
        }
        waiting.waiting_bytes -= sent_bytes;
        let mut stats = world.resource_mut::<NetworkStats>();
        stats.sent_bytes += sent_bytes as u64;
        stats.sent_rpc_packets += sent_packets;
        if let Some(mut outgoing) = world.get_mut::<OutgoingRpcDataStreamBuffer>(entity) {
            *outgoing = waiting;
        }
    }
}

impl OutgoingRpcDataStreamBuffer {
    fn close_open_if_any(&mut self) {
        if !self.open.is_empty() {
            self.close_open();
        }
    }
}

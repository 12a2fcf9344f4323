//! Sending RPCs: a request entity becomes frames in the outgoing buffers of its targets, in the order in which the requests
//! were made; the flush sends what the transport takes.

use bevy_ecs::lifecycle::HookContext;
use bevy_ecs::prelude::{Component, Entity, Resource, World};
use bevy_ecs::world::DeferredWorld;
use ghostline_transport::{ConnectionHandle, Pipeline};
use ghostline_wire::{BitWriter, RpcName};

use super::buffer::{OutgoingRpcDataStreamBuffer, Packets};
use super::data::RpcDelivery;
use super::registry::RpcCollection;
use super::sender::SendRpcError;
use crate::connection::{
    ConnectionEvents, ConnectionStatus, LogLimits, NetworkStreamConnection, NetworkStreamDriver, Unlogged,
    live_connections, own_handle,
};
use crate::stats::NetworkStats;
use crate::world::{FrameClock, kind_of};

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
    let Some((name, entry)) = known else {
        if let Some(unlogged) = may_complain(world) {
            tracing::error!(
                "a request to send an RPC stands on an entity without a registered RPC; call `register_rpc` for its type{unlogged}"
            );
        }
        world.despawn(entity);
        return;
    };
    let encode = entry.encode;
    let mut rpc = Outgoing {
        name,
        text: entry.text.clone(),
        is_approval: entry.is_approval,
        delivery: entry.delivery,
        payload: BitWriter::new(),
    };
    match (encode(world, entity, &mut rpc.payload), request.target) {
        (Err(error), _) => complain_of_dropped(world, &rpc.text, &error),
        (Ok(()), Some(target)) => rpc.send_to(world, target, true),
        (Ok(()), None) => rpc.broadcast(world),
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
    name: RpcName,
    text: String,
    is_approval: bool,
    delivery: RpcDelivery,
    payload: BitWriter,
}

impl Outgoing {
    fn broadcast(&self, world: &mut World) {
        let mut targets = live_connections(world).peekable();
        if targets.peek().is_none() {
            if world.resource::<ConnectionEvents>().any_ended() {
                tracing::debug!("RPC `{}` was sent as the last connection ended; it is dropped", self.text);
            } else if let Some(unlogged) = may_complain(world) {
                tracing::warn!("RPC `{}` was sent without a connection; it is dropped{unlogged}", self.text);
            }
        }
        for target in targets {
            self.send_to(world, target, false);
        }
    }

    fn send_to(&self, world: &mut World, target: Entity, targeted: bool) {
        let text = &self.text;
        let state = world.get::<NetworkStreamConnection>(target).map(|connection| connection.state);
        match state {
            Some(state) if may_send(state, self.is_approval) => {
                if self.is_approval && state == ConnectionStatus::Connected {
                    warn_if_unasked(world, target, text);
                }
                push(world, target, self.name, self.delivery, &self.payload, text);
            }
            Some(state) if targeted || !kind_of(world).is_server() => {
                if let Some(unlogged) = may_complain(world) {
                    tracing::error!(
                        "RPC `{text}` was sent on a connection that is still {state:?}; it is dropped. Wait for its NetworkId{unlogged}"
                    );
                }
            }
            Some(_) => tracing::debug!("RPC `{text}` skips a connection that isn't connected yet"),
            None if world.resource::<ConnectionEvents>().has_ended(target) => {
                tracing::debug!("RPC `{text}` was sent on a connection that has just ended; it is dropped");
            }
            None => {
                if let Some(unlogged) = may_complain(world) {
                    tracing::warn!(
                        "RPC `{text}` was sent to an entity that is no connection (any more); it is dropped{unlogged}"
                    );
                }
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

fn push(world: &mut World, target: Entity, name: RpcName, delivery: RpcDelivery, payload: &BitWriter, text: &str) {
    let Some(mut outgoing) = world.get_mut::<OutgoingRpcDataStreamBuffer>(target) else { return };
    if let Err(error) = outgoing.push(name, delivery, payload) {
        complain_of_dropped(world, text, &error);
    }
}

/// A mistake of the game may come in every tick.
fn may_complain(world: &mut World) -> Option<Unlogged> {
    let now = world.resource::<FrameClock>().now;
    world.resource_mut::<LogLimits>().unsent.take_turn(now)
}

fn complain_of_dropped(world: &mut World, text: &str, error: &SendRpcError) {
    if let Some(unlogged) = may_complain(world) {
        tracing::error!("RPC `{text}` is dropped: {error}{unlogged}");
    }
}

/// Queues an RPC of the library itself.
pub(crate) fn push_internal(world: &mut World, target: Entity, type_index: u16, payload: &BitWriter) {
    push(world, target, RpcName::Index(type_index), RpcDelivery::Reliable, payload, "of the library");
}

/// Runs `begin`, and puts what it queues before everything that waits on the connection, in packets of its own: these are read before it
/// is known how the other side names its RPCs.
pub(crate) fn queue_first(world: &mut World, target: Entity, begin: impl FnOnce(&mut World)) {
    let waiting = |world: &mut World| {
        world
            .get_mut::<OutgoingRpcDataStreamBuffer>(target)
            .map_or_else(Packets::default, |mut outgoing| std::mem::take(&mut outgoing.reliable))
    };
    let queued = waiting(world);
    begin(world);
    let mut first = waiting(world);
    first.append(queued);
    if let Some(mut outgoing) = world.get_mut::<OutgoingRpcDataStreamBuffer>(target) {
        outgoing.reliable = first;
    }
}

/// Sends what the transport takes; of the reliable RPCs the rest stays in order for the next pass.
pub fn flush(world: &mut World) {
    for entity in live_connections(world) {
        let Some(connection) = world.get::<NetworkStreamConnection>(entity).copied() else { continue };
        if connection.state < ConnectionStatus::Handshake {
            continue;
        }
        let Some(handle) = own_handle(world, entity) else { continue };
        let Some(mut outgoing) = world.get_mut::<OutgoingRpcDataStreamBuffer>(entity) else { continue };
        if outgoing.is_empty() {
            continue;
        }
        let mut waiting = std::mem::take(&mut *outgoing);
        flush_reliable(world, handle, &mut waiting.reliable);
        flush_unreliable(world, handle, &mut waiting.unreliable);
        if let Some(mut outgoing) = world.get_mut::<OutgoingRpcDataStreamBuffer>(entity) {
            *outgoing = waiting;
        }
    }
}

fn flush_reliable(world: &mut World, handle: ConnectionHandle, packets: &mut Packets) {
    packets.close_open();
    let (mut sent_packets, mut sent_bytes) = (0, 0);
    let mut facade = world.resource_mut::<NetworkStreamDriver>();
    while let Some(packet) = packets.front() {
        if let Err(error) = facade.store().send(handle, Pipeline::ReliableOrdered, packet) {
            tracing::debug!("RPCs wait: {error}");
            break;
        }
        sent_packets += 1;
        sent_bytes += packet.len() as u64;
        packets.pop_front();
    }
    let mut stats = world.resource_mut::<NetworkStats>();
    stats.sent_bytes += sent_bytes;
    stats.sent_rpc_packets += sent_packets;
}

/// What can't leave now is dropped, as it would be on the way.
fn flush_unreliable(world: &mut World, handle: ConnectionHandle, packets: &mut Packets) {
    packets.close_open();
    while let Some(packet) = packets.pop_front() {
        let mut facade = world.resource_mut::<NetworkStreamDriver>();
        let fits = packet.len() <= facade.max_datagram_bytes(handle);
        let pipeline = if fits { Pipeline::Unreliable } else { Pipeline::UnreliableFragmented };
        let result = facade.store().send(handle, pipeline, &packet);
        let mut stats = world.resource_mut::<NetworkStats>();
        match result {
            Ok(()) => {
                stats.sent_bytes += packet.len() as u64;
                stats.sent_unreliable_rpc_packets += 1;
            }
            Err(error) => {
                stats.dropped_messages += 1;
                tracing::debug!("unreliable RPCs are dropped: {error}");
            }
        }
    }
}

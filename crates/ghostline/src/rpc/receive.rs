//! Receiving RPCs: a packet is validated whole before anything of it runs; what it holds becomes entities at the start of
//! the next simulation pass, in the order in which it was sent.

use bevy_ecs::prelude::{Component, Entity, Resource, World};
use ghostline_wire::{DecodeError, frames, internal_rpc};

use super::registry::{RpcCollection, SpawnRpc};
use crate::connection::{
    ConnectionStatus, DisconnectReason, IncomingRpcDataStreamBuffer, NetworkStreamConnection, NetworkStreamDriver,
    close, execute_internal, live_connections,
};
use crate::stats::NetworkStats;

/// A received RPC; its data is a component of the same entity. Despawn the entity when it is handled.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceiveRpcCommandRequest {
    /// The connection that it came over.
    pub source_connection: Entity,
}

/// RPCs that were validated and wait for the next pass.
#[derive(Resource, Default)]
pub(crate) struct ReceivedRpcs(Vec<(Entity, SpawnRpc)>);

/// Turns the RPCs of the last pass into entities.
pub fn spawn_received(world: &mut World) {
    let received = std::mem::take(&mut world.resource_mut::<ReceivedRpcs>().0);
    for (source, spawn) in received {
        spawn(world, source);
    }
}

/// Validates and executes what arrived.
pub fn receive(world: &mut World) {
    for entity in live_connections(world) {
        while let Some(packet) = next_packet(world, entity) {
            let result = execute_packet(world, entity, &packet);
            if let Some(handle) = world.get::<NetworkStreamConnection>(entity).map(|connection| connection.handle) {
                world.resource_mut::<NetworkStreamDriver>().recycle(handle, packet);
            }
            if let Err(error) = result {
                tracing::error!("an RPC packet was refused, the connection is closed: {error}");
                world.resource_mut::<NetworkStats>().invalid_messages += 1;
                if let Some(mut incoming) = world.get_mut::<IncomingRpcDataStreamBuffer>(entity) {
                    incoming.0.clear();
                }
                close(world, entity, DisconnectReason::InvalidRpc);
                break;
            }
        }
    }
}

fn next_packet(world: &mut World, entity: Entity) -> Option<Vec<u8>> {
    world.get_mut::<IncomingRpcDataStreamBuffer>(entity)?.0.pop_front()
}

/// Decodes every frame of a packet before any of them takes effect.
fn execute_packet(world: &mut World, entity: Entity, packet: &[u8]) -> Result<(), DecodeError> {
    let state =
        world.get::<NetworkStreamConnection>(entity).map_or(ConnectionStatus::Unknown, |connection| connection.state);
    let body = packet.get(1..).unwrap_or_default();
    let mut decoded = Vec::new();
    let mut internal = Vec::new();
    for frame in frames(body)? {
        let mut payload = frame.reader();
        if frame.type_index < internal_rpc::FIRST_GAME_RPC {
            internal.push((frame.type_index, payload));
            continue;
        }
        let approved_in_this_packet = internal.iter().any(|&(index, _)| index == internal_rpc::CONNECTION_APPROVED);
        if state != ConnectionStatus::Connected && !approved_in_this_packet {
            return Err(DecodeError::BadValue { what: "an RPC before the connection was approved" });
        }
        let collection = world.resource::<RpcCollection>();
        let entry = collection.of_index(frame.type_index).ok_or(DecodeError::BadValue { what: "RPC type index" })?;
        let spawn = (entry.decode)(&mut payload)?;
        payload.expect_end()?;
        decoded.push((entity, spawn));
    }
    for (type_index, payload) in internal {
        execute_internal(world, entity, type_index, payload)?;
    }
    world.resource_mut::<ReceivedRpcs>().0.append(&mut decoded);
    Ok(())
}

/// RPCs from a connection that ended are gone: those that wait, and those that nobody consumed.
pub(crate) fn forget_connection(world: &mut World, connection: Entity) {
    world.resource_mut::<ReceivedRpcs>().0.retain(|&(source, _)| source != connection);
    let mut unconsumed = world.query::<(Entity, &ReceiveRpcCommandRequest)>();
    let gone: Vec<Entity> = unconsumed
        .iter(world)
        .filter(|(_, request)| request.source_connection == connection)
        .map(|(entity, _)| entity)
        .collect();
    for entity in gone {
        world.despawn(entity);
    }
}

//! The handshake: both sides compare protocol versions; the server then gives the client its number and the tick rates.

use bevy_ecs::prelude::{Entity, Resource, World};
use ghostline_wire::{BitReader, BitWriter, ConnectionApproved, DecodeError, ProtocolVersion, internal_rpc, limits};
use std::collections::VecDeque;

use super::components::{ConnectionStatus, LocalConnection, NetworkId, NetworkStreamConnection};
use super::lifecycle::{close, live_connections, raise};
use super::reason::DisconnectReason;
use crate::rpc;
use crate::time::ClientServerTickRate;
use crate::world::kind_of;

/// What this world's program speaks: compared with the other side's before anything else. Fixed when the world's plugins are finished.
#[derive(Resource, Clone, PartialEq, Eq, Debug)]
pub struct NetworkProtocolVersion {
    /// The numbers that are compared.
    pub version: ProtocolVersion,
    /// What they were made from, one line each, sorted: logged when they differ.
    pub description: Vec<String>,
}

/// Gives out client numbers: freed ones first, in the order in which they were freed, then new ones from 1.
#[derive(Resource, Debug, Default)]
pub struct NetworkIdAllocation {
    free: VecDeque<u32>,
    highest: u32,
}

impl NetworkIdAllocation {
    fn allocate(&mut self) -> NetworkId {
        NetworkId(self.free.pop_front().unwrap_or_else(|| {
            self.highest += 1;
            self.highest
        }))
    }

    fn release(&mut self, id: NetworkId) {
        self.free.push_back(id.0);
    }
}

/// Sends this side's version: the first message on every connection.
pub(super) fn send_version(world: &mut World, entity: Entity) {
    let version = world.resource::<NetworkProtocolVersion>().version;
    let mut payload = BitWriter::new();
    version.encode(&mut payload);
    rpc::push_internal(world, entity, internal_rpc::PROTOCOL_VERSION, &payload);
}

/// Executes an RPC of the library itself.
///
/// # Errors
/// The payload can't be read, or that side or state doesn't send it.
pub(crate) fn execute_internal(
    world: &mut World,
    entity: Entity,
    type_index: u16,
    mut payload: BitReader<'_>,
) -> Result<(), DecodeError> {
    let is_server = kind_of(world).is_server();
    match type_index {
        internal_rpc::PROTOCOL_VERSION => {
            let remote = ProtocolVersion::decode(&mut payload)?;
            payload.expect_end()?;
            compare_versions(world, entity, &remote);
            Ok(())
        }
        internal_rpc::CONNECTION_APPROVED if !is_server => {
            let approved = ConnectionApproved::decode(&mut payload)?;
            payload.expect_end()?;
            if approved.network_id == 0 {
                return Err(DecodeError::BadValue { what: "network id" });
            }
            become_connected(world, entity, &approved)
        }
        _ => Err(DecodeError::BadValue { what: "internal RPC" }),
    }
}

fn compare_versions(world: &mut World, entity: Entity, remote: &ProtocolVersion) {
    let local = world.resource::<NetworkProtocolVersion>().clone();
    if local.version == *remote {
        if let Some(mut connection) = world.get_mut::<NetworkStreamConnection>(entity) {
            connection.protocol_version_received = true;
        }
        return;
    }
    tracing::error!(
        "the two sides do not speak the same protocol: local {:?}, remote {remote:?}. Both must register the same RPCs, commands and \
         ghost components, and set the same game version. This side registered:\n{}",
        local.version,
        local.description.join("\n")
    );
    close(world, entity, DisconnectReason::BadProtocolVersion);
}

/// Client: the server has let this client in.
fn become_connected(world: &mut World, entity: Entity, approved: &ConnectionApproved) -> Result<(), DecodeError> {
    let Some(mut connection) = world.get_mut::<NetworkStreamConnection>(entity) else { return Ok(()) };
    if connection.state != ConnectionStatus::Handshake || !connection.protocol_version_received {
        return Err(DecodeError::BadValue { what: "approval outside the handshake" });
    }
    let rate = ClientServerTickRate::from_block(&approved.tick_rate)
        .map_err(|_| DecodeError::BadValue { what: "tick rates" })?;
    connection.state = ConnectionStatus::Connected;
    connection.event_pending = true;
    world.entity_mut(entity).insert((NetworkId(approved.network_id), LocalConnection));
    world.insert_resource(rate);
    Ok(())
}

/// Server: lets in who has shown an equal version.
pub(super) fn advance(world: &mut World) {
    if !kind_of(world).is_server() {
        return;
    }
    for entity in live_connections(world) {
        let Some(connection) = world.get::<NetworkStreamConnection>(entity).copied() else { continue };
        if connection.state == ConnectionStatus::Handshake && connection.protocol_version_received {
            let network_id = world.resource_mut::<NetworkIdAllocation>().allocate();
            let rate = world.get_resource::<ClientServerTickRate>().cloned().unwrap_or_default().resolve_defaults();
            let mut payload = BitWriter::new();
            ConnectionApproved { network_id: network_id.0, tick_rate: rate.to_block() }.encode(&mut payload);
            rpc::push_internal(world, entity, internal_rpc::CONNECTION_APPROVED, &payload);
            if let Some(mut connection) = world.get_mut::<NetworkStreamConnection>(entity) {
                connection.state = ConnectionStatus::Connected;
            }
            world.entity_mut(entity).insert(network_id);
            raise(world, entity, connection.handle, ConnectionStatus::Connected, None);
        }
    }
}

/// The number of a connection that ended is free again.
pub(super) fn release_network_id(world: &mut World, entity: Entity) {
    if !kind_of(world).is_server() {
        return;
    }
    if let Some(id) = world.get::<NetworkId>(entity).copied() {
        world.resource_mut::<NetworkIdAllocation>().release(id);
    }
}

/// The version of this build with these collections.
pub(crate) fn protocol_version(game_version: u32, rpc_collection: u64, component_collection: u64) -> ProtocolVersion {
    ProtocolVersion { wire: limits::WIRE_VERSION, game: game_version, rpc_collection, component_collection }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_start_at_one_and_freed_ones_come_back_in_order() {
        let mut ids = NetworkIdAllocation::default();
        assert_eq!([1, 2, 3].map(|_| ids.allocate().0), [1, 2, 3]);
        ids.release(NetworkId(2));
        ids.release(NetworkId(1));
        assert_eq!([0, 0, 0].map(|_: u32| ids.allocate().0), [2, 1, 4]);
    }
}

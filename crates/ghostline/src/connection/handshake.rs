//! The handshake: both sides compare protocol versions; the server then gives the client its number and the tick rates.

use bevy_ecs::prelude::{Entity, Resource, World};
use ghostline_wire::{
    ApprovalRequest, BitReader, BitWriter, CommandTypes, ConnectionApproved, DecodeError, ProtocolDetails,
    ProtocolVersion, ResumeClaim, SessionIdentity, TickRateBlock, internal_rpc, limits,
};
use std::collections::VecDeque;

use super::approval;
use super::components::{
    ConnectionStatus, LocalConnection, NetworkId, NetworkStreamConnection, NetworkStreamRequestDisconnect,
};
use super::driver::NetworkStreamDriver;
use super::identity;
use super::lifecycle::{close, live_connections, raise};
use super::mismatch;
use super::reason::DisconnectReason;
use super::state;
use super::tick_rate;
use crate::command;
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
    /// `None` if every number is taken.
    fn allocate(&mut self) -> Option<NetworkId> {
        if let Some(freed) = self.free.pop_front() {
            return Some(NetworkId(freed));
        }
        self.highest = self.highest.checked_add(1)?;
        Some(NetworkId(self.highest))
    }

    fn release(&mut self, id: NetworkId) {
        self.free.push_back(id.0);
    }
}

/// The transport is connected: this side's version is the first message on every connection, ahead of what was queued before.
/// A client that was here before says so behind it.
pub(super) fn begin(world: &mut World, entity: Entity) {
    rpc::queue_first(world, entity, |world| {
        let version = world.resource::<NetworkProtocolVersion>().version;
        let mut payload = BitWriter::new();
        version.encode(&mut payload);
        rpc::push_internal(world, entity, internal_rpc::PROTOCOL_VERSION, &payload);
        if kind_of(world).is_client() {
            identity::send_claim(world, entity);
        }
    });
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
            // Another wire version may say more; this one can't read it, and needn't.
            if remote.wire_version() == limits::WIRE_VERSION {
                payload.expect_empty()?;
            }
            compare_versions(world, entity, &remote)
        }
        internal_rpc::PROTOCOL_DETAILS => {
            let details = ProtocolDetails::decode(&mut payload)?;
            payload.expect_empty()?;
            mismatch::receive(world, entity, details)
        }
        internal_rpc::RESUME if is_server => {
            let claim = ResumeClaim::decode(&mut payload)?;
            payload.expect_empty()?;
            identity::receive_claim(world, entity, claim)
        }
        internal_rpc::REQUEST_APPROVAL if !is_server => {
            let request = ApprovalRequest::decode(&mut payload)?;
            payload.expect_empty()?;
            approval::receive_request(world, entity, request)
        }
        internal_rpc::COMMAND_TYPES if !is_server => {
            let types = CommandTypes::decode(&mut payload)?;
            payload.expect_empty()?;
            receive_command_types(world, entity, &types)
        }
        internal_rpc::IDENTITY if !is_server => {
            let identity = SessionIdentity::decode(&mut payload)?;
            payload.expect_empty()?;
            identity::receive_identity(world, entity, &identity)
        }
        internal_rpc::CONNECTION_APPROVED if !is_server => {
            let approved = ConnectionApproved::decode(&mut payload)?;
            payload.expect_empty()?;
            if approved.network_id == 0 {
                return Err(DecodeError::BadValue { what: "network id" });
            }
            become_connected(world, entity, &approved)
        }
        internal_rpc::TICK_RATE if !is_server => {
            let block = TickRateBlock::decode(&mut payload)?;
            payload.expect_end()?;
            tick_rate::receive_change(world, entity, &block)
        }
        _ => Err(DecodeError::BadValue { what: "internal RPC" }),
    }
}

fn compare_versions(world: &mut World, entity: Entity, remote: &ProtocolVersion) -> Result<(), DecodeError> {
    let is_compatible = world.resource::<NetworkProtocolVersion>().version.is_compatible_with(remote);
    let differed_before = mismatch::is_found(world, entity);
    let Some(mut connection) = world.get_mut::<NetworkStreamConnection>(entity) else { return Ok(()) };
    if connection.state != ConnectionStatus::Handshake || connection.protocol_version_received || differed_before {
        return Err(DecodeError::BadValue { what: "a second protocol version" });
    }
    if is_compatible {
        connection.protocol_version_received = true;
    } else {
        mismatch::begin(world, entity, remote);
    }
    Ok(())
}

/// Client: which commands the server can read.
fn receive_command_types(world: &mut World, entity: Entity, types: &CommandTypes) -> Result<(), DecodeError> {
    let is_dynamic = world.resource::<NetworkProtocolVersion>().version.has_dynamic_collections();
    let in_handshake = world.get::<NetworkStreamConnection>(entity).is_some_and(|connection| {
        matches!(connection.state, ConnectionStatus::Handshake | ConnectionStatus::Approval)
            && connection.protocol_version_received
    });
    if !is_dynamic || !in_handshake {
        return Err(DecodeError::BadValue { what: "command types" });
    }
    command::learn_server_types(world, &types.hashes);
    Ok(())
}

/// Client: the server has let this client in.
fn become_connected(world: &mut World, entity: Entity, approved: &ConnectionApproved) -> Result<(), DecodeError> {
    let Some(mut connection) = world.get_mut::<NetworkStreamConnection>(entity) else { return Ok(()) };
    let was = connection.state;
    if !matches!(was, ConnectionStatus::Handshake | ConnectionStatus::Approval) || !connection.protocol_version_received
    {
        return Err(DecodeError::BadValue { what: "approval outside the handshake" });
    }
    connection.handshake_start = None;
    tick_rate::take_over(world, &approved.tick_rate)?;
    approval::check_not_skipped(world, was);
    let network_id = NetworkId(approved.network_id);
    world.entity_mut(entity).insert((network_id, LocalConnection, approval::ConnectionApproved));
    world.resource_mut::<NetworkStreamDriver>().set_network_id(entity, network_id);
    state::enter(world, entity, ConnectionStatus::Connected, true);
    Ok(())
}

/// Takes every connection whose handshake isn't over one step further: versions, approval, time-outs.
pub(super) fn advance(world: &mut World) {
    let is_server = kind_of(world).is_server();
    for entity in live_connections(world) {
        let Some(connection) = world.get::<NetworkStreamConnection>(entity).copied() else { continue };
        let closing = world.get::<NetworkStreamRequestDisconnect>(entity).is_some();
        if connection.state == ConnectionStatus::Connected || closing {
            continue;
        }
        mismatch::check_grace(world, entity);
        let versions_agree = connection.state == ConnectionStatus::Handshake && connection.protocol_version_received;
        let approved = connection.state == ConnectionStatus::Approval
            && world.get::<approval::ConnectionApproved>(entity).is_some();
        if is_server && versions_agree && world.resource::<NetworkStreamDriver>().requires_connection_approval() {
            approval::ask(world, entity);
        } else if is_server && (versions_agree || approved) {
            let_in(world, entity, &connection);
        } else {
            approval::check_timeout(world, entity, &connection, is_server);
        }
    }
}

/// Server: gives the client its identity, its number and the tick rates.
fn let_in(world: &mut World, entity: Entity, connection: &NetworkStreamConnection) {
    // There was room when it came, but others were faster.
    if !identity::replaces_a_connection(world, entity)
        && let Some(text) = world.resource::<NetworkStreamDriver>().full()
    {
        close(world, entity, DisconnectReason::ServerFull, text);
        return;
    }
    if world.resource::<NetworkProtocolVersion>().version.has_dynamic_collections() {
        let mut payload = BitWriter::new();
        CommandTypes { hashes: command::type_hashes(world) }.encode(&mut payload);
        rpc::push_internal(world, entity, internal_rpc::COMMAND_TYPES, &payload);
    }
    identity::settle(world, entity);
    let Some(network_id) = world.resource_mut::<NetworkIdAllocation>().allocate() else {
        close(world, entity, DisconnectReason::ServerFull, "the server has given out every number that there is");
        return;
    };
    let rate = world.get_resource::<ClientServerTickRate>().cloned().unwrap_or_default().resolve_defaults();
    let mut payload = BitWriter::new();
    ConnectionApproved { network_id: network_id.0, tick_rate: rate.to_block() }.encode(&mut payload);
    rpc::push_internal(world, entity, internal_rpc::CONNECTION_APPROVED, &payload);
    world.entity_mut(entity).insert(network_id);
    world.resource_mut::<NetworkStreamDriver>().set_network_id(entity, network_id);
    state::enter(world, entity, ConnectionStatus::Connected, false);
    raise(world, entity, connection.handle, ConnectionStatus::Connected, None);
}

/// The number of a connection that ended is free again.
pub(super) fn release_network_id(world: &mut World, network_id: NetworkId) {
    if network_id != NetworkId::NONE
        && let Some(mut allocation) = world.get_resource_mut::<NetworkIdAllocation>()
    {
        allocation.release(network_id);
    }
}

/// The version of this build with these collections.
pub(crate) fn protocol_version(
    game_version: u32,
    rpc_collection: u64,
    component_collection: u64,
    is_dynamic: bool,
) -> ProtocolVersion {
    let dynamic = if is_dynamic { ProtocolVersion::DYNAMIC_COLLECTIONS } else { 0 };
    ProtocolVersion { wire: limits::WIRE_VERSION | dynamic, game: game_version, rpc_collection, component_collection }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_start_at_one_and_freed_ones_come_back_in_order() {
        let mut ids = NetworkIdAllocation::default();
        assert_eq!([1, 2, 3].map(|_| ids.allocate().unwrap().0), [1, 2, 3]);
        ids.release(NetworkId(2));
        ids.release(NetworkId(1));
        assert_eq!([0, 0, 0].map(|_: u32| ids.allocate().unwrap().0), [2, 1, 4]);
    }

    #[test]
    fn when_every_number_is_given_out_there_is_none_until_one_is_free() {
        let mut ids = NetworkIdAllocation { highest: u32::MAX - 1, ..NetworkIdAllocation::default() };
        assert_eq!(ids.allocate(), Some(NetworkId(u32::MAX)));
        assert_eq!([ids.allocate(), ids.allocate()], [None, None]);
        ids.release(NetworkId(7));
        assert_eq!([ids.allocate(), ids.allocate()], [Some(NetworkId(7)), None]);
    }
}

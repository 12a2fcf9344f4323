//! Server: how a client gets in. It connects, there is room for it, the versions agree, the game approves where that is asked for; then it is given its
//! identity, its number and the tick rates.

use bevy_ecs::prelude::{Entity, Resource, World};
use ghostline_transport::ConnectionHandle;
use ghostline_wire::{
    ApprovalRequest, BitReader, BitWriter, CommandTypes, ConnectionApproved, DecodeError, ResumeClaim, internal_rpc,
};
use std::collections::VecDeque;
use std::sync::Arc;

use super::approval;
use super::components::{ConnectionStatus, NetworkId, NetworkStreamConnection};
use super::driver::{NetworkStreamDriver, make_connection};
use super::handshake::NetworkProtocolVersion;
use super::lifecycle::{begin_handshake, close, close_now, raise};
use super::reason::DisconnectReason;
use super::sessions;
use super::state;
use super::waiting_room;
use crate::command;
use crate::rpc;
use crate::time::ClientServerTickRate;
use crate::world::resolved_rate;

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
        let next = NetworkId(self.highest.checked_add(1)?);
        if next == NetworkId::NOBODY {
            return None;
        }
        self.highest = next.0;
        Some(next)
    }

    fn release(&mut self, id: NetworkId) {
        self.free.push_back(id.0);
    }
}

impl NetworkStreamDriver {
    /// What a client is told that is one too many; `None` if there is room. Who is still on the way in takes no room.
    pub(super) fn full(&self) -> Option<String> {
        let limit = self.max_clients?;
        let connected = self.connections.iter().filter(|live| live.network_id != NetworkId::NONE).count();
        (connected >= limit).then(|| format!("the server is full: it takes at most {limit}"))
    }
}

/// A client has connected.
pub(super) fn accept(world: &mut World, handle: ConnectionHandle) {
    if world.resource::<NetworkStreamDriver>().full().is_some() {
        waiting_room::enter(world, handle);
    } else {
        admit(world, handle);
    }
}

/// A client gets its entity, and its handshake begins.
pub(super) fn admit(world: &mut World, handle: ConnectionHandle) -> Entity {
    make_room(world);
    let entity = world.spawn_empty().id();
    make_connection(world, entity, handle, ConnectionStatus::Handshake);
    begin_handshake(world, entity, handle);
    entity
}

/// Lets the oldest go of too many clients that are not connected yet.
fn make_room(world: &mut World) {
    let facade = world.resource::<NetworkStreamDriver>();
    let (live, limit) = (Arc::clone(&facade.connections), facade.max_pending_clients);
    let mut pending = live.iter().filter(|live| live.network_id == NetworkId::NONE);
    let oldest = pending.next().map(|live| live.entity);
    if pending.count() + 1 >= limit
        && let Some(oldest) = oldest
    {
        close_now(world, oldest, DisconnectReason::ServerFull, "too many clients are on their way in");
    }
}

/// What a client says in its handshake.
///
/// # Errors
/// The payload can't be read, or no client sends that, or not in this state.
pub(super) fn execute_internal(
    world: &mut World,
    entity: Entity,
    type_index: u16,
    mut payload: BitReader<'_>,
) -> Result<(), DecodeError> {
    match type_index {
        internal_rpc::RESUME => {
            let claim = ResumeClaim::decode(&mut payload)?;
            payload.expect_empty()?;
            sessions::receive_claim(world, entity, claim)
        }
        _ => Err(DecodeError::BadValue { what: "internal RPC" }),
    }
}

/// Takes a client whose handshake isn't over one step further. False: it has to wait.
pub(super) fn advance(world: &mut World, entity: Entity, connection: &NetworkStreamConnection) -> bool {
    let versions_agree = connection.state == ConnectionStatus::Handshake && connection.protocol_version_received;
    let approved =
        connection.state == ConnectionStatus::Approval && world.get::<approval::ConnectionApproved>(entity).is_some();
    if versions_agree && world.resource::<NetworkStreamDriver>().requires_connection_approval() {
        ask(world, entity);
    } else if versions_agree || approved {
        let_in(world, entity, connection);
    } else {
        return false;
    }
    true
}

/// The versions agree, now the game has to decide.
fn ask(world: &mut World, entity: Entity) {
    let Some(handle) = world.get::<NetworkStreamConnection>(entity).map(|connection| connection.handle) else { return };
    let timeout_ms = resolved_rate(world).handshake_approval_timeout_ms;
    let mut payload = BitWriter::new();
    ApprovalRequest { timeout_ms }.encode(&mut payload);
    rpc::push_internal(world, entity, internal_rpc::REQUEST_APPROVAL, &payload);
    state::enter(world, entity, ConnectionStatus::Approval, false);
    raise(world, entity, handle, ConnectionStatus::Approval, None);
}

/// Gives the client its identity, its number and the tick rates.
fn let_in(world: &mut World, entity: Entity, connection: &NetworkStreamConnection) {
    // There was room when it came, but others were faster.
    if !sessions::replaces_a_connection(world, entity)
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
    sessions::settle(world, entity);
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
        let mut ids = NetworkIdAllocation { highest: u32::MAX - 2, ..NetworkIdAllocation::default() };
        assert_eq!(ids.allocate(), Some(NetworkId(u32::MAX - 1)));
        assert_eq!([ids.allocate(), ids.allocate()], [None, None]);
        ids.release(NetworkId(7));
        assert_eq!([ids.allocate(), ids.allocate()], [Some(NetworkId(7)), None]);
    }
}

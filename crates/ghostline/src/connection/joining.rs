//! Client: how it gets in. What the server says on the way, from its request for approval to the number that it gives out, and what the client shows to be
//! known again.

use bevy_ecs::prelude::{Entity, World};
use ghostline_wire::{
    ApprovalRequest, BitReader, BitWriter, CommandTypes, ConnectionApproved, DecodeError, SessionIdentity,
    TickRateBlock, internal_rpc,
};
use std::time::Duration;

use super::approval;
use super::components::{ConnectionStatus, LocalConnection, NetworkId, NetworkStreamConnection};
use super::driver::NetworkStreamDriver;
use super::handshake::NetworkProtocolVersion;
use super::identity::{ConnectionUniqueId, NetworkStreamIsReconnected, ResumeToken};
use super::state;
use crate::command;
use crate::rpc;
use crate::time::ClientServerTickRate;
use crate::world::kind_of;

/// What a server says in a handshake, and later of its tick rates.
///
/// # Errors
/// The payload can't be read, or no server sends that, or not in this state.
pub(super) fn execute_internal(
    world: &mut World,
    entity: Entity,
    type_index: u16,
    mut payload: BitReader<'_>,
) -> Result<(), DecodeError> {
    match type_index {
        internal_rpc::REQUEST_APPROVAL => {
            let request = ApprovalRequest::decode(&mut payload)?;
            payload.expect_empty()?;
            receive_request(world, entity, request)
        }
        internal_rpc::COMMAND_TYPES => {
            let types = CommandTypes::decode(&mut payload)?;
            payload.expect_empty()?;
            receive_command_types(world, entity, &types)
        }
        internal_rpc::IDENTITY => {
            let identity = SessionIdentity::decode(&mut payload)?;
            payload.expect_empty()?;
            receive_identity(world, entity, &identity)
        }
        internal_rpc::CONNECTION_APPROVED => {
            let approved = ConnectionApproved::decode(&mut payload)?;
            payload.expect_empty()?;
            if [NetworkId::NONE, NetworkId::NOBODY].contains(&NetworkId(approved.network_id)) {
                return Err(DecodeError::BadValue { what: "network id" });
            }
            become_connected(world, entity, &approved)
        }
        internal_rpc::TICK_RATE => {
            let block = TickRateBlock::decode(&mut payload)?;
            payload.expect_end()?;
            receive_change(world, entity, &block)
        }
        _ => Err(DecodeError::BadValue { what: "internal RPC" }),
    }
}

/// Shows the token, if it is for this server. Part of the first packet.
pub(super) fn send_claim(world: &mut World, entity: Entity) {
    if !kind_of(world).is_client() {
        return;
    }
    let Some(token) = world.get_resource::<ResumeToken>().cloned() else { return };
    let Some(handle) = world.get::<NetworkStreamConnection>(entity).map(|connection| connection.handle) else { return };
    if world.resource_mut::<NetworkStreamDriver>().remote_endpoint(handle) == Some(token.endpoint) {
        let mut payload = BitWriter::new();
        token.claim.encode(&mut payload);
        rpc::push_internal(world, entity, internal_rpc::RESUME, &payload);
    }
}

/// The server's game has to decide.
fn receive_request(world: &mut World, entity: Entity, request: ApprovalRequest) -> Result<(), DecodeError> {
    let required = world.resource::<NetworkStreamDriver>().require_approval;
    let Some(mut connection) = world.get_mut::<NetworkStreamConnection>(entity) else { return Ok(()) };
    if connection.state != ConnectionStatus::Handshake || !connection.protocol_version_received {
        return Err(DecodeError::BadValue { what: "a request for approval outside the handshake" });
    }
    connection.approval_timeout = Some(Duration::from_millis(request.timeout_ms.into()));
    state::enter(world, entity, ConnectionStatus::Approval, true);
    if !required {
        tracing::warn!(
            "the server requires approval, this client does not: call `require_connection_approval(true)` on both sides. Without an approval RPC \
             the server will close the connection"
        );
    }
    Ok(())
}

/// Let in. Says so if this side expected to be asked for approval.
fn check_not_skipped(world: &World, state: ConnectionStatus) {
    if state == ConnectionStatus::Handshake && world.resource::<NetworkStreamDriver>().require_approval {
        tracing::warn!(
            "this client requires approval, the server does not: call `require_connection_approval(true)` on both sides, or on none"
        );
    }
}

/// The server says who this client is.
fn receive_identity(world: &mut World, entity: Entity, identity: &SessionIdentity) -> Result<(), DecodeError> {
    let Some(connection) = world.get::<NetworkStreamConnection>(entity).copied() else { return Ok(()) };
    let in_handshake = matches!(connection.state, ConnectionStatus::Handshake | ConnectionStatus::Approval);
    if !in_handshake || !connection.protocol_version_received || identity.claim.unique_id == 0 {
        return Err(DecodeError::BadValue { what: "identity" });
    }
    if let Some(endpoint) = world.resource_mut::<NetworkStreamDriver>().remote_endpoint(connection.handle) {
        world.insert_resource(ResumeToken { endpoint, claim: identity.claim });
    }
    let mut entity = world.entity_mut(entity);
    entity.insert(ConnectionUniqueId(identity.claim.unique_id));
    if identity.reconnected {
        entity.insert(NetworkStreamIsReconnected);
    }
    Ok(())
}

/// Which commands the server can read.
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

/// The server has let this client in.
fn become_connected(world: &mut World, entity: Entity, approved: &ConnectionApproved) -> Result<(), DecodeError> {
    let Some(mut connection) = world.get_mut::<NetworkStreamConnection>(entity) else { return Ok(()) };
    let was = connection.state;
    if !matches!(was, ConnectionStatus::Handshake | ConnectionStatus::Approval) || !connection.protocol_version_received
    {
        return Err(DecodeError::BadValue { what: "approval outside the handshake" });
    }
    connection.handshake_start = None;
    take_over(world, &approved.tick_rate)?;
    check_not_skipped(world, was);
    let network_id = NetworkId(approved.network_id);
    world.entity_mut(entity).insert((network_id, LocalConnection, approval::ConnectionApproved));
    world.resource_mut::<NetworkStreamDriver>().set_network_id(entity, network_id);
    state::enter(world, entity, ConnectionStatus::Connected, true);
    Ok(())
}

/// Takes over what the server says its rates are. What it doesn't say stays as the game has set it.
///
/// # Errors
/// A rate out of range: a peer's numbers drive our loops.
fn take_over(world: &mut World, block: &TickRateBlock) -> Result<(), DecodeError> {
    world
        .get_resource_or_init::<ClientServerTickRate>()
        .apply_block(block)
        .map_err(|_| DecodeError::BadValue { what: "tick rates" })
}

/// The server has changed its rates.
///
/// # Errors
/// Before the handshake is over, or a rate out of range.
fn receive_change(world: &mut World, entity: Entity, block: &TickRateBlock) -> Result<(), DecodeError> {
    let state = world.get::<NetworkStreamConnection>(entity).map(|connection| connection.state);
    if state != Some(ConnectionStatus::Connected) {
        return Err(DecodeError::BadValue { what: "tick rates before the handshake is over" });
    }
    take_over(world, block)
}

//! Approval: the server's game decides who gets in, in its own time; and the one timer for handshake and approval.
//! The steps are taken by `handshake::advance` and by the internal RPCs.

use bevy_ecs::lifecycle::HookContext;
use bevy_ecs::prelude::{Component, Entity, World};
use bevy_ecs::world::DeferredWorld;
use ghostline_wire::{ApprovalRequest, BitWriter, DecodeError, internal_rpc};
use std::time::Duration;

use super::components::{ConnectionStatus, NetworkStreamConnection};
use super::driver::NetworkStreamDriver;
use super::lifecycle::{close, raise};
use super::log_limit::LogLimits;
use super::reason::DisconnectReason;
use super::state;
use crate::rpc;
use crate::world::{FrameClock, WorldKind, resolved_rate};

/// Lets a client in, where approval is required: the server's game puts it on the connection entity, at once or many ticks later.
/// On a client the library adds it when the server has let it in.
///
/// To refuse, close the connection with [`DisconnectReason::ApprovalFailure`] and a text for the player:
/// [`disconnect_with_text`](super::ConnectionWorldExt::disconnect_with_text).
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[component(on_add = check_approval)]
pub struct ConnectionApproved;

fn check_approval(world: DeferredWorld<'_>, context: HookContext) {
    if !world.get_resource::<WorldKind>().is_some_and(|kind| kind.is_server()) {
        return;
    }
    let required = world.get_resource::<NetworkStreamDriver>().is_some_and(|facade| facade.require_approval);
    match world.get::<NetworkStreamConnection>(context.entity).map(|connection| connection.state) {
        None => tracing::warn!("`ConnectionApproved` was put on {}, which is no connection", context.entity),
        Some(_) if !required => tracing::warn!(
            "`ConnectionApproved` was put on a connection, but approval is not required: call `require_connection_approval(true)` before listening"
        ),
        Some(ConnectionStatus::Handshake | ConnectionStatus::Approval) => {}
        Some(state) => {
            tracing::warn!("`ConnectionApproved` was put on a connection that is {state:?}; it does nothing there");
        }
    }
}

/// Server: the versions agree, now the game has to decide.
pub(super) fn ask(world: &mut World, entity: Entity) {
    let Some(handle) = world.get::<NetworkStreamConnection>(entity).map(|connection| connection.handle) else { return };
    let timeout_ms = resolved_rate(world).handshake_approval_timeout_ms;
    let mut payload = BitWriter::new();
    ApprovalRequest { timeout_ms }.encode(&mut payload);
    rpc::push_internal(world, entity, internal_rpc::REQUEST_APPROVAL, &payload);
    state::enter(world, entity, ConnectionStatus::Approval, false);
    raise(world, entity, handle, ConnectionStatus::Approval, None);
}

/// Client: the server's game has to decide.
pub(super) fn receive_request(world: &mut World, entity: Entity, request: ApprovalRequest) -> Result<(), DecodeError> {
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

/// Client: let in. Says so if this side expected to be asked for approval.
pub(super) fn check_not_skipped(world: &World, state: ConnectionStatus) {
    if state == ConnectionStatus::Handshake && world.resource::<NetworkStreamDriver>().require_approval {
        tracing::warn!(
            "this client requires approval, the server does not: call `require_connection_approval(true)` on both sides, or on none"
        );
    }
}

/// Ends a handshake or approval that takes too long. A client in Handshake never ends it by itself, as it doesn't know the server's patience.
pub(super) fn check_timeout(world: &mut World, entity: Entity, connection: &NetworkStreamConnection, is_server: bool) {
    let Some(since) = connection.handshake_start else { return };
    let own_limit = || Duration::from_millis(resolved_rate(world).handshake_approval_timeout_ms.into());
    let limit = if is_server { own_limit() } else { connection.approval_timeout.unwrap_or(Duration::MAX) };
    let reason = match connection.state {
        ConnectionStatus::Handshake if is_server => DisconnectReason::HandshakeTimeout,
        ConnectionStatus::Approval => DisconnectReason::ApprovalTimeout,
        _ => return,
    };
    let waited = world.resource::<FrameClock>().now.saturating_sub(since);
    if waited >= limit {
        let text = format!("{:?} was not finished within {limit:?}", connection.state);
        let now = world.resource::<FrameClock>().now;
        if let Some(unlogged) = world.resource_mut::<LogLimits>().timeouts.take_turn(now) {
            tracing::error!("connection {}: {text}; closing it{unlogged}", connection.handle);
        }
        close(world, entity, reason, text);
    }
}

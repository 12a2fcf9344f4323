//! Approval: the server's game decides who gets in, in its own time; and the one timer for handshake and approval.
//! The steps are taken by `admission` and `joining`.

use bevy_ecs::lifecycle::HookContext;
use bevy_ecs::prelude::{Component, Entity, World};
use bevy_ecs::world::DeferredWorld;
use std::time::Duration;

use super::components::{ConnectionStatus, NetworkStreamConnection};
use super::driver::NetworkStreamDriver;
use super::lifecycle::close;
use super::log_limit::LogLimits;
use super::reason::DisconnectReason;
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

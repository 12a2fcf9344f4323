//! Request entities: the way to connect and listen from a system. Consumed by the receive step, in the order in which they were
//! made; what came of a request to listen can be read from its result component.

use bevy_ecs::lifecycle::HookContext;
use bevy_ecs::prelude::{Component, Entity, Resource, World};
use bevy_ecs::world::DeferredWorld;
use std::net::{Ipv4Addr, SocketAddr};

use super::components::ConnectionStatus;
use super::driver::{ConnectionError, ConnectionWorldExt};
use super::reason::DisconnectReason;
use super::state::ConnectionState;

/// Spawn it in a client world to connect at the next receive step. The entity becomes the connection entity; if that fails it is
/// despawned, but for its [`ConnectionState`] if it has one.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug)]
#[component(on_add = note_connect)]
pub struct NetworkStreamRequestConnect {
    /// The server.
    pub endpoint: SocketAddr,
}

/// Spawn it in a server world to listen at the next receive step. The entity is despawned then, but for its
/// [`NetworkStreamRequestListenResult`] if it has one.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug)]
#[component(on_add = note_listen)]
pub struct NetworkStreamRequestListen {
    /// Where to listen; port 0 lets each driver choose.
    pub endpoint: SocketAddr,
}

/// What came of a [`NetworkStreamRequestListen`]: spawn it beside the request, read it after the next receive step, despawn it.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug)]
pub struct NetworkStreamRequestListenResult {
    /// What was asked for.
    pub endpoint: SocketAddr,
    /// What came of it.
    pub state: ListenRequestState,
}

impl Default for NetworkStreamRequestListenResult {
    fn default() -> Self {
        Self { endpoint: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), state: ListenRequestState::Pending }
    }
}

/// What came of a request to listen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum ListenRequestState {
    /// The next receive step will see to it.
    #[default]
    Pending = 0,
    /// All drivers listen.
    Succeeded = 1,
    /// A driver could not; none listens. The log says why.
    Failed = 2,
    /// The world listens already, and goes on.
    RefusedAlreadyListening = 3,
    /// Another request came first in the same tick.
    RefusedMultipleRequests = 4,
}

/// Requests in the order in which they were made.
#[derive(Resource, Default)]
pub(crate) struct ConnectionRequests {
    connect: Vec<Entity>,
    listen: Vec<Entity>,
}

fn note_connect(mut world: DeferredWorld<'_>, context: HookContext) {
    if let Some(mut requests) = world.get_resource_mut::<ConnectionRequests>() {
        requests.connect.push(context.entity);
    }
}

fn note_listen(mut world: DeferredWorld<'_>, context: HookContext) {
    if let Some(mut requests) = world.get_resource_mut::<ConnectionRequests>() {
        requests.listen.push(context.entity);
    }
}

/// Does what was requested since the last receive step.
pub(super) fn consume(world: &mut World) {
    let mut requests = std::mem::take(&mut *world.resource_mut::<ConnectionRequests>());
    requests.connect.retain(|&entity| world.get::<NetworkStreamRequestConnect>(entity).is_some());
    requests.listen.retain(|&entity| world.get::<NetworkStreamRequestListen>(entity).is_some());
    if requests.connect.len() > 1 {
        tracing::error!(
            "{} requests to connect in one tick: the first is used, the others are refused",
            requests.connect.len()
        );
    }
    if requests.listen.len() > 1 {
        tracing::error!(
            "{} requests to listen in one tick: the first is used, the others are refused",
            requests.listen.len()
        );
    }
    for (place, entity) in requests.connect.into_iter().enumerate() {
        connect(world, entity, place == 0);
    }
    for (place, entity) in requests.listen.into_iter().enumerate() {
        listen(world, entity, place == 0);
    }
}

fn connect(world: &mut World, entity: Entity, is_first: bool) {
    let Some(request) = world.entity_mut(entity).take::<NetworkStreamRequestConnect>() else { return };
    if is_first {
        match world.connect_with(entity, request.endpoint) {
            Ok(()) => return,
            Err(error) => tracing::error!("a request to connect failed: {error}"),
        }
    }
    let Ok(mut entity) = world.get_entity_mut(entity) else { return };
    match entity.get_mut::<ConnectionState>() {
        Some(mut state) => {
            state.state = ConnectionStatus::Disconnected;
            state.reason = Some(DisconnectReason::ConnectionClose);
            entity.retain::<ConnectionState>();
        }
        None => entity.despawn(),
    }
}

fn listen(world: &mut World, entity: Entity, is_first: bool) {
    let Some(request) = world.entity_mut(entity).take::<NetworkStreamRequestListen>() else { return };
    let outcome = if is_first {
        let result = world.listen(request.endpoint);
        if let Err(error) = &result {
            tracing::error!("a request to listen failed: {error}");
        }
        match result {
            Ok(()) => ListenRequestState::Succeeded,
            Err(ConnectionError::AlreadyListening { .. }) => ListenRequestState::RefusedAlreadyListening,
            Err(_) => ListenRequestState::Failed,
        }
    } else {
        ListenRequestState::RefusedMultipleRequests
    };
    let mut entity = world.entity_mut(entity);
    match entity.get_mut::<NetworkStreamRequestListenResult>() {
        Some(mut result) => {
            *result = NetworkStreamRequestListenResult { endpoint: request.endpoint, state: outcome };
            entity.retain::<NetworkStreamRequestListenResult>();
        }
        None => entity.despawn(),
    }
}

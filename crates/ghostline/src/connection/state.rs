//! What a game may see of a connection's state: a component that outlives the connection, and the entities that go with it.
//! Written whenever a connection changes its state; read by the game at any time.

use bevy_ecs::lifecycle::HookContext;
use bevy_ecs::prelude::{Component, Entity, World};
use bevy_ecs::world::DeferredWorld;

use super::components::{ConnectionStatus, NetworkId, NetworkStreamConnection};
use super::lifecycle::live_connections;
use super::reason::DisconnectReason;

/// Where a connection stands, kept beyond its end: put it on a connection entity, or on the entity given to
/// [`connect_with`](super::ConnectionWorldExt::connect_with).
///
/// When the connection ends its entity stays with this component alone, until the game despawns it.
#[derive(Component, Clone, PartialEq, Eq, Debug, Default)]
#[component(on_add = begin_to_mirror)]
pub struct ConnectionState {
    /// The state that was entered last.
    pub state: ConnectionStatus,
    /// The client's number; [`NetworkId::NONE`] before it has one. Kept after the end.
    pub network_id: NetworkId,
    /// Why, if the state is [`ConnectionStatus::Disconnected`].
    pub reason: Option<DisconnectReason>,
    /// What the side that closed has written for people to read; often empty. Text from a peer: show it, don't interpret it.
    pub text: String,
}

fn begin_to_mirror(mut world: DeferredWorld<'_>, context: HookContext) {
    let Some(connection) = world.get::<NetworkStreamConnection>(context.entity).copied() else { return };
    let network_id = world.get::<NetworkId>(context.entity).copied().unwrap_or_default();
    if let Some(mut state) = world.get_mut::<ConnectionState>(context.entity) {
        state.state = connection.state;
        state.network_id = network_id;
    }
}

/// Entities that are despawned with the connection that carries this: typically a player's avatar on the server.
#[derive(Component, Clone, PartialEq, Eq, Debug, Default)]
pub struct LinkedEntityGroup(pub Vec<Entity>);

/// Moves a connection on. With `later`, its event is raised by the next receive step, because this one is over.
pub(super) fn enter(world: &mut World, entity: Entity, state: ConnectionStatus, later: bool) {
    let Some(mut connection) = world.get_mut::<NetworkStreamConnection>(entity) else { return };
    connection.state = state;
    if later {
        connection.defer_event(state);
    }
    mirror(world, entity);
}

/// Shows a connection's state and number in its [`ConnectionState`], if it has one.
pub(super) fn mirror(world: &mut World, entity: Entity) {
    let Some(connection) = world.get::<NetworkStreamConnection>(entity).copied() else { return };
    let network_id = world.get::<NetworkId>(entity).copied();
    let Some(mut state) = world.get_mut::<ConnectionState>(entity) else { return };
    let shown = (connection.state, network_id.unwrap_or(state.network_id));
    if (state.state, state.network_id) != shown {
        (state.state, state.network_id) = shown;
    }
}

/// Shows what every connection has become in this receive step.
pub(super) fn mirror_all(world: &mut World) {
    for entity in live_connections(world) {
        mirror(world, entity);
    }
}

/// The entity of a connection that ended goes, and what is linked to it; its [`ConnectionState`] stays if it has one.
pub(super) fn dispose_entity(world: &mut World, entity: Entity, reason: DisconnectReason, text: String) {
    let Ok(mut entity_mut) = world.get_entity_mut(entity) else { return };
    let linked = entity_mut.take::<LinkedEntityGroup>().unwrap_or_default().0;
    let network_id = entity_mut.get::<NetworkId>().copied();
    if let Some(mut state) = entity_mut.get_mut::<ConnectionState>() {
        state.state = ConnectionStatus::Disconnected;
        state.network_id = network_id.unwrap_or(state.network_id);
        state.reason = Some(reason);
        state.text = text;
        entity_mut.retain::<ConnectionState>();
    } else {
        entity_mut.despawn();
    }
    for linked in linked.into_iter().filter(|&linked| linked != entity) {
        if let Ok(linked) = world.get_entity_mut(linked) {
            linked.despawn();
        }
    }
}

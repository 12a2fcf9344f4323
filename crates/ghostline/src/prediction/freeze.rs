//! Which entities simulate: ghosts that sit out are [`Frozen`], and with them everything that hangs on them and is no ghost itself. A child that
//! is hung on later, or elsewhere, becomes as its parent is.

use bevy_ecs::hierarchy::{ChildOf, Children};
use bevy_ecs::lifecycle::Insert;
use bevy_ecs::observer::On;
use bevy_ecs::prelude::{Commands, Entity, Query, With, World};

use super::components::Frozen;
use crate::ghost::GhostInstance;

/// Takes an entity and its children out of the simulation.
pub(crate) fn freeze(world: &mut World, root: Entity) {
    if let Ok(mut entity) = world.get_entity_mut(root)
        && !entity.contains::<Frozen>()
    {
        entity.insert(Frozen);
        if entity.contains::<Children>() {
            for_children(world, root, freeze);
        }
    }
}

/// Lets an entity and its children simulate again.
pub(crate) fn thaw(world: &mut World, root: Entity) {
    if let Ok(mut entity) = world.get_entity_mut(root)
        && entity.contains::<Frozen>()
    {
        entity.remove::<Frozen>();
        if entity.contains::<Children>() {
            for_children(world, root, thaw);
        }
    }
}

/// Does the same to every child that is not a ghost of its own.
fn for_children(world: &mut World, parent: Entity, change: fn(&mut World, Entity)) {
    let mut index = 0;
    while let Some(child) = world.get::<Children>(parent).and_then(|children| children.get(index).copied()) {
        if world.get::<GhostInstance>(child).is_none() {
            change(world, child);
        }
        index += 1;
    }
}

/// An entity was hung on another.
pub(super) fn follow_parent(
    hung: On<Insert<ChildOf>>,
    parents: Query<&ChildOf>,
    frozen: Query<(), With<Frozen>>,
    ghosts: Query<(), With<GhostInstance>>,
    mut commands: Commands,
) {
    let child = hung.entity;
    let Ok(parent) = parents.get(child).map(ChildOf::parent) else { return };
    let (is_frozen, shall_be) = (frozen.contains(child), frozen.contains(parent));
    if is_frozen != shall_be && !ghosts.contains(child) {
        commands.queue(move |world: &mut World| if shall_be { freeze(world, child) } else { thaw(world, child) });
    }
}

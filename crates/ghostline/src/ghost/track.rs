//! Server: ghosts that vanished leave their slots; ghosts that appeared get theirs, at the end of the tick in which they appeared.

use bevy_ecs::prelude::World;

use super::identity::{GhostChanges, GhostInstance, SpawnedGhostEntityMap};
use super::owner::GhostOwner;
use super::prefab::GhostMode;
use super::registry::GhostRegistry;
use crate::connection::NetworkId;
use crate::snapshot::ServerSnapshots;
use crate::time::NetworkTime;

/// Before snapshots are made: what is gone is gone from them.
pub fn note_vanished(world: &mut World) {
    let vanished = std::mem::take(&mut world.resource_mut::<GhostChanges>().vanished);
    if vanished.is_empty() {
        return;
    }
    world.resource_scope(|world, mut snapshots: bevy_ecs::prelude::Mut<ServerSnapshots>| {
        for slot in vanished.iter().filter_map(|instance| instance.slot()) {
            snapshots.despawn(world, slot);
        }
    });
}

/// After snapshots are made: a ghost is first sent in the tick after the one in which it appeared.
pub fn assign_ids(world: &mut World) {
    let appeared = std::mem::take(&mut world.resource_mut::<GhostChanges>().appeared);
    let Some(tick) = world.resource::<NetworkTime>().server_tick else { return };
    for entity in appeared {
        let Some(instance) = world.get::<GhostInstance>(entity).copied() else { continue };
        if instance.ghost_id != 0 {
            continue;
        }
        warn_of_missing_owner(world, entity, instance.ghost_type);
        warn_of_ignored_owner(world, entity, instance.ghost_type);
        let Some(slot) = world.resource_mut::<ServerSnapshots>().store.allocate(instance.ghost_type, tick) else {
            tracing::error!("there are more ghosts than ids; a ghost is not replicated");
            continue;
        };
        let assigned = GhostInstance { ghost_id: slot.id(), ghost_type: instance.ghost_type, spawn_tick: Some(tick) };
        if let Some(mut instance) = world.get_mut::<GhostInstance>(entity) {
            *instance = assigned;
        }
        world.resource_mut::<SpawnedGhostEntityMap>().insert(assigned.ghost_id, tick, entity);
    }
}

/// An owner-predicted ghost that nobody owns is usually a mistake.
fn warn_of_missing_owner(world: &World, entity: bevy_ecs::prelude::Entity, ghost_type: u16) {
    let Some(ty) = world.resource::<GhostRegistry>().get(ghost_type) else { return };
    let unowned = world.get::<GhostOwner>(entity).is_none_or(|owner| owner.0 == NetworkId::NONE);
    if ty.prefab.mode == GhostMode::OwnerPredicted && unowned {
        tracing::error!(
            "a ghost of type `{}` was spawned without an owner, so nobody predicts it; spawn it with `GhostOwner(network_id)`, or on purpose \
             with `GhostOwner(NetworkId::NOBODY)`",
            ty.prefab.name
        );
    }
}

/// Says once per type that an owner was given to a ghost whose prefab has none: nobody else hears of it.
fn warn_of_ignored_owner(world: &mut World, entity: bevy_ecs::prelude::Entity, ghost_type: u16) {
    let Some(ty) = world.resource::<GhostRegistry>().get(ghost_type) else { return };
    if ty.prefab.has_owner || world.get::<GhostOwner>(entity).is_none() {
        return;
    }
    let name = ty.prefab.name.clone();
    let mut changes = world.resource_mut::<GhostChanges>();
    if !changes.reported_owners.contains(&ghost_type) {
        changes.reported_owners.push(ghost_type);
        tracing::error!(
            "a ghost of type `{name}` was spawned with a `GhostOwner`, but its prefab has no owner, so clients are not told; register the prefab \
             with `.owned()` or `.owner_predicted()`"
        );
    }
}

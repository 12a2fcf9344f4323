//! Client: ghosts get their entities when they are due, and lose them when their time has come.

use bevy_ecs::prelude::{Entity, Mut, World};
use ghostline_wire::NetworkTick;

use super::client::ClientSnapshots;
use crate::connection::{NetworkId, local_network_id};
use crate::ghost::{
    GhostInstance, GhostOwnerIsLocal, GhostRegistry, LostGhosts, Slot, SpawnedGhostEntityMap, insert_ghost_components,
};
use crate::prediction::{Frozen, PredictedGhost};
use crate::time::NetworkTime;
use crate::world::WorldKind;

/// Predicted ghosts appear at once, interpolated ones when the interpolation timeline reaches their first row.
pub fn spawn_due_ghosts(world: &mut World) {
    mourn_ghosts_despawned_by_hand(world);
    if world.resource::<ClientSnapshots>().waiting.is_empty() {
        return;
    }
    let Some(interpolation_tick) = world.resource::<NetworkTime>().interpolation_tick else { return };
    let own = local_network_id(world);
    world.resource_scope(|world, mut snapshots: Mut<ClientSnapshots>| {
        let waiting = std::mem::take(&mut snapshots.waiting);
        for slot in waiting {
            if !spawn_if_due(world, &mut snapshots, slot, interpolation_tick, own) {
                snapshots.waiting.push(slot);
            }
        }
    });
}

/// A ghost is the server's: one that the game has despawned here, by mistake, is made again.
fn mourn_ghosts_despawned_by_hand(world: &mut World) {
    let lost = std::mem::take(&mut world.resource_mut::<LostGhosts>().0);
    for (instance, entity) in lost {
        let mut snapshots = world.resource_mut::<ClientSnapshots>();
        let Some((slot, spawn_tick)) = instance.slot().zip(instance.spawn_tick) else { continue };
        // What the library despawns it holds no more.
        if !snapshots.lose_entity(slot, spawn_tick, entity) {
            continue;
        }
        let name = world.resource::<GhostRegistry>().get(instance.ghost_type).map_or("?", |ty| &ty.prefab.name);
        tracing::error!(
            "ghost {} of type `{name}` was despawned by this client's game; ghosts are the server's, so it is made again. Despawn it on the \
             server, or hide it here",
            instance.ghost_id
        );
    }
}

/// True if the ghost no longer waits.
fn spawn_if_due(
    world: &mut World,
    snapshots: &mut ClientSnapshots,
    slot: Slot,
    interpolation_tick: NetworkTick,
    own: Option<NetworkId>,
) -> bool {
    let Some(ghost) = snapshots.ghost(slot) else { return true };
    let Some(ty) = world.resource::<GhostRegistry>().get(ghost.ghost_type) else { return true };
    let (Some((first_tick, _)), Some((_, newest))) = (ghost.rows.oldest(), ghost.rows.newest()) else { return true };
    let owner = ty.owner_lane().and_then(|lane| newest.get(lane)).map(|&lane| NetworkId(lane));
    let is_own = owner.is_some() && owner == own;
    let predicted = ty.is_predicted(is_own);
    if !predicted && first_tick.is_newer_than(interpolation_tick) {
        return false;
    }
    let row = newest.to_vec();
    let entity = spawn_entity(world, ghost.ghost_type, slot, ghost.spawn_tick, &row, predicted, is_own);
    snapshots.note_entity(slot, entity, predicted);
    true
}

fn spawn_entity(
    world: &mut World,
    ghost_type: u16,
    slot: Slot,
    spawn_tick: NetworkTick,
    row: &[u32],
    predicted: bool,
    is_own: bool,
) -> Entity {
    let readers: Vec<_> = world.resource::<GhostRegistry>().get(ghost_type).map_or_else(Vec::new, |ty| {
        ty.components.iter().map(|(vtable, lanes)| (vtable.insert_default, vtable.read_lanes, lanes.clone())).collect()
    });
    let instance = GhostInstance { ghost_id: slot.id(), ghost_type, spawn_tick: Some(spawn_tick) };
    let mut entity = world.spawn(instance);
    for (insert_default, read_lanes, lanes) in readers {
        insert_default(&mut entity);
        read_lanes(&mut entity, row.get(lanes).unwrap_or_default());
    }
    if predicted {
        entity.insert(PredictedGhost::default());
    } else {
        entity.insert(Frozen);
    }
    if is_own {
        entity.insert(GhostOwnerIsLocal);
    }
    insert_ghost_components(&mut entity, ghost_type, WorldKind::Client);
    let id = entity.id();
    world.resource_mut::<SpawnedGhostEntityMap>().insert(slot.id(), spawn_tick, id);
    id
}

/// Despawned ghosts vanish when their own timeline reaches the despawn.
pub fn despawn_due_ghosts(world: &mut World) {
    let snapshots = world.resource::<ClientSnapshots>();
    if snapshots.dying.is_empty() && snapshots.vanished.is_empty() {
        return;
    }
    let time = world.resource::<NetworkTime>();
    let (Some(server_tick), Some(interpolation_tick)) = (time.server_tick, time.interpolation_tick) else { return };
    let mut gone = std::mem::take(&mut world.resource_mut::<ClientSnapshots>().vanished);
    world.resource_mut::<ClientSnapshots>().dying.retain(|dying| {
        let now = if dying.predicted { server_tick } else { interpolation_tick };
        let due = !dying.at.is_newer_than(now);
        if due {
            gone.push(dying.entity);
        }
        !due
    });
    for entity in gone {
        if let Ok(entity) = world.get_entity_mut(entity) {
            entity.despawn();
        }
    }
}

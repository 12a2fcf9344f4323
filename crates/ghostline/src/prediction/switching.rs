//! A ghost that changes hands: its new owner predicts it from the server's newest state on, its old owner shows it interpolated from then on.

use bevy_ecs::prelude::{Mut, World};
use ghostline_wire::NetworkTick;

use super::components::PredictedGhost;
use super::freeze::{freeze, thaw};
use super::history::PredictionSlot;
use crate::command;
use crate::connection::NetworkId;
use crate::ghost::{GhostOwnerIsLocal, GhostRegistry, GhostType};
use crate::snapshot::{ClientSnapshots, HeldGhost, RowHistory, local_network_id};

/// Makes every ghost what its newest row says: the local player's or not, and with that predicted or interpolated.
pub(crate) fn follow_owners(world: &mut World) {
    let own = local_network_id(world);
    world.resource_scope(|world, mut snapshots: Mut<ClientSnapshots>| {
        world.resource_scope(|world, registry: Mut<GhostRegistry>| {
            for ghost in snapshots.chunks.iter_mut().flatten().flat_map(|chunk| chunk.ghosts.iter_mut().flatten()) {
                if let Some(ty) = registry.get(ghost.ghost_type) {
                    follow_owner(world, ty, ghost, own);
                }
            }
        });
    });
}

fn follow_owner(world: &mut World, ty: &GhostType, ghost: &mut HeldGhost, own: Option<NetworkId>) {
    let (Some(lane), Some(id), Some((_, row))) = (ty.owner_lane(), ghost.entity, ghost.history.newest()) else {
        return;
    };
    let is_own = own.is_some() && row.get(lane).map(|&owner| NetworkId(owner)) == own;
    let predicted = ty.is_predicted(is_own);
    let Ok(mut entity) = world.get_entity_mut(id) else { return };
    if is_own && !entity.contains::<GhostOwnerIsLocal>() {
        entity.insert(GhostOwnerIsLocal);
    } else if !is_own && entity.contains::<GhostOwnerIsLocal>() {
        entity.remove::<GhostOwnerIsLocal>();
        command::lose(world, id, lost_since(&ghost.history, lane, own));
        ghost.shown = None;
    }
    if predicted == ghost.predicted {
        return;
    }
    let Ok(mut entity) = world.get_entity_mut(id) else { return };
    if predicted {
        for (vtable, lanes) in &ty.components {
            (vtable.read_lanes)(&mut entity, row.get(lanes.clone()).unwrap_or_default());
        }
        entity.insert(PredictedGhost::default());
        thaw(world, id);
    } else {
        entity.remove::<(PredictedGhost, PredictionSlot)>();
        freeze(world, id);
    }
    ghost.predicted = predicted;
    ghost.shown = None;
}

/// The tick of the oldest row since which the ghost is not the player's.
fn lost_since(history: &RowHistory, lane: usize, own: Option<NetworkId>) -> NetworkTick {
    let rows = (0..history.len()).rev().filter_map(|index| history.get(index));
    let is_others = |row: &[u32]| row.get(lane).map(|&owner| NetworkId(owner)) != own;
    rows.take_while(|(_, row)| is_others(row)).last().map_or(NetworkTick::new(0), |(tick, _)| tick)
}

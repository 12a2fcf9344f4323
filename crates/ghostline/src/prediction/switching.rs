//! A ghost that changes hands: its new owner predicts it from the server's newest state on, its old owner shows it interpolated from then on.

use bevy_ecs::prelude::{Entity, Mut, World};
use ghostline_wire::NetworkTick;

use super::components::PredictedGhost;
use super::freeze::{freeze, thaw};
use super::history::PredictionSlot;
use crate::command;
use crate::connection::{NetworkId, local_network_id};
use crate::ghost::{GhostOwnerIsLocal, GhostRegistry, GhostType};
use crate::snapshot::{ClientChunk, ClientSnapshots, GhostRows, bits};

/// Makes every ghost of which something new came what its newest row says: the local player's or not, and with that predicted or interpolated.
pub(crate) fn follow_owners(world: &mut World) {
    let own = local_network_id(world);
    world.resource_scope(|world, mut snapshots: Mut<ClientSnapshots>| {
        world.resource_scope(|world, registry: Mut<GhostRegistry>| {
            for (index, chunk) in snapshots.chunks.iter_mut().enumerate() {
                let Some(chunk) = chunk else { continue };
                let fresh = std::mem::take(&mut chunk.fresh);
                let Some(ty) = registry.get(chunk.ghost_type).filter(|ty| ty.owner_lane().is_some()) else { continue };
                for place in bits(fresh) {
                    follow_owner(world, ty, chunk, index, place, own);
                }
            }
        });
    });
}

fn follow_owner(
    world: &mut World,
    ty: &GhostType,
    chunk: &mut ClientChunk,
    index: usize,
    place: usize,
    own: Option<NetworkId>,
) {
    let Some(ghost) = chunk.ghost(index, place) else { return };
    let (Some(lane), Some(id), Some((_, row))) = (ty.owner_lane(), ghost.entity, ghost.rows.newest()) else { return };
    let is_own = own.is_some() && row.get(lane).map(|&owner| NetworkId(owner)) == own;
    let (predicted, was_predicted) = (ty.is_predicted(is_own), ghost.predicted);
    let Ok(mut entity) = world.get_entity_mut(id) else { return };
    let mut is_shown_again = false;
    if is_own && !entity.contains::<GhostOwnerIsLocal>() {
        entity.insert(GhostOwnerIsLocal);
    } else if !is_own && entity.contains::<GhostOwnerIsLocal>() {
        entity.remove::<GhostOwnerIsLocal>();
        command::lose(world, id, lost_since(ghost.rows, lane, own));
        is_shown_again = true;
    }
    if predicted != was_predicted {
        is_shown_again = true;
        switch(world, ty, id, row, predicted);
        chunk.predicted ^= 1 << place;
    }
    if is_shown_again {
        chunk.show_again(place);
    }
}

/// Makes a ghost predicted from its newest row on, or no longer predicted.
fn switch(world: &mut World, ty: &GhostType, id: Entity, row: &[u32], predicted: bool) {
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
}

/// The tick of the oldest row since which the ghost is not the player's.
fn lost_since(rows: GhostRows<'_>, lane: usize, own: Option<NetworkId>) -> NetworkTick {
    let backwards = std::iter::successors(rows.newest(), |(tick, _)| rows.before(*tick));
    let is_others = |row: &[u32]| row.get(lane).map(|&owner| NetworkId(owner)) != own;
    backwards.take_while(|(_, row)| is_others(row)).last().map_or(NetworkTick::new(0), |(tick, _)| tick)
}

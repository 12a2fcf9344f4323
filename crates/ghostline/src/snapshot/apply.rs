//! Client: from the ghosts' history into components. The first place on the way up that touches ECS storage.

use bevy_ecs::prelude::{Mut, World};
use bevy_ecs::world::EntityWorldMut;
use ghostline_wire::NetworkTick;

use super::client::{ClientSnapshots, HeldGhost};
use super::history::Coverage;
use crate::ghost::{GhostRegistry, GhostType};
use crate::interpolation::{SampleTime, sample};
use crate::prediction;
use crate::time::{ClientTickRate, NetworkTime};

/// Interpolated ghosts show their point in time. What predicted ones make of their rows is decided in the prediction step, except for what
/// is not predicted of them; here a ghost becomes one or the other, when its owner has changed.
pub fn apply(world: &mut World) {
    let time = world.resource::<NetworkTime>();
    let Some(tick) = time.interpolation_tick else { return };
    let at = SampleTime { tick, fraction: time.interpolation_tick_fraction };
    prediction::follow_owners(world);
    let max_extrapolation = world.resource::<ClientTickRate>().max_extrapolation_time_sim_ticks;
    world.resource_scope(|world, mut snapshots: Mut<ClientSnapshots>| {
        world.resource_scope(|world, registry: Mut<GhostRegistry>| {
            for chunk in snapshots.chunks.iter_mut().flatten() {
                let Some(ty) = registry.get(chunk.ghost_type) else { continue };
                for ghost in chunk.ghosts.iter_mut().flatten() {
                    if ghost.predicted {
                        show_unpredicted(world, ty, ghost);
                    } else {
                        show_interpolated(world, ty, ghost, &chunk.coverage, at, max_extrapolation);
                    }
                }
            }

            for dying in snapshots.dying.iter_mut().filter(|dying| !dying.ghost.predicted) {
                if let Some(ty) = registry.get(dying.ghost.ghost_type) {
                    show_interpolated(world, ty, &mut dying.ghost, &dying.coverage, at, max_extrapolation);
                }
            }
        });
    });
}

fn show_interpolated(
    world: &mut World,
    ty: &GhostType,
    ghost: &mut HeldGhost,
    coverage: &Coverage,
    at: SampleTime,
    max_extrapolation: u32,
) {
    let Some(mut entity) = ghost.entity.and_then(|entity| world.get_entity_mut(entity).ok()) else { return };
    let Some(shown) = sample(&ghost.history, coverage, ghost.slot.place(), at, max_extrapolation) else { return };
    let (Some((from_tick, from)), Some((to_tick, to))) = (ghost.history.get(shown.from), ghost.history.get(shown.to))
    else {
        return;
    };
    let key: (NetworkTick, NetworkTick, u32) = (from_tick, to_tick, shown.factor.to_bits());
    if ghost.shown == Some(key) {
        return;
    }
    ghost.shown = Some(key);
    blend(&mut entity, ty, from, to, shown.factor);
}

/// What of a predicted ghost is not predicted shows the newest row; and what other players did goes into its command buffers, tick by tick.
fn show_unpredicted(world: &mut World, ty: &GhostType, ghost: &mut HeldGhost) {
    ghost.has_new_input = false;
    let Some((tick, row)) = ghost.history.newest().filter(|_| ty.has_unpredicted_components()) else { return };
    let key = (tick, tick, 0);
    if ghost.shown == Some(key) {
        return;
    }
    let Some(mut entity) = ghost.entity.and_then(|entity| world.get_entity_mut(entity).ok()) else { return };
    let shown_before = ghost.shown.replace(key);
    for (vtable, lanes) in ty.components.iter().filter(|(vtable, _)| !vtable.is_predicted) {
        (vtable.read_lanes)(&mut entity, row.get(lanes.clone()).unwrap_or_default());
    }
    if ty.replicated_inputs.is_empty() {
        return;
    }
    let first = shown_before.and_then(|(tick, ..)| ghost.history.index_at_or_before(tick)).map_or(0, |index| index + 1);
    for (tick, row) in (first..).map_while(|index| ghost.history.get(index)) {
        for (receive, lanes) in &ty.replicated_inputs {
            ghost.has_new_input |= receive(&mut entity, tick, row.get(lanes.clone()).unwrap_or_default());
        }
    }
}

fn blend(entity: &mut EntityWorldMut<'_>, ty: &GhostType, from: &[u32], to: &[u32], factor: f32) {
    for (vtable, lanes) in &ty.components {
        if let (Some(from), Some(to)) = (from.get(lanes.clone()), to.get(lanes.clone())) {
            (vtable.blend)(entity, from, to, factor);
        }
    }
}

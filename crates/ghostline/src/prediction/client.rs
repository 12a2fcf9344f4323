//! The client's prediction: predicted ghosts take the newest state that the server sent, and the ticks since are simulated again, up to the
//! frame's target tick and its fraction.

use bevy_ecs::prelude::{Entity, Mut, Resource, World};
use bevy_time::Time;
use ghostline_wire::NetworkTick;

use super::components::{Frozen, PredictedGhost};
use super::step::simulate;
use crate::ghost::GhostRegistry;
use crate::snapshot::ClientSnapshots;
use crate::time::{NetworkTime, StepTime};
use crate::world::{mirror_time, resolved_rate};

/// At most so many ticks are simulated again in a frame.
pub(crate) const MAX_PREDICTED_TICKS: i32 = 64;

/// What the loop remembers from frame to frame.
#[derive(Resource, Default)]
pub(crate) struct PredictionState {
    /// The newest tick that was ever predicted in full.
    last_full_tick: Option<NetworkTick>,
}

/// Gives predicted ghosts the newest rows, as the state that the loop starts from.
pub(crate) fn restore(world: &mut World) {
    world.resource_scope(|world, snapshots: Mut<ClientSnapshots>| {
        world.resource_scope(|world, registry: Mut<GhostRegistry>| {
            for chunk in snapshots.chunks.iter().flatten() {
                let Some(ty) = registry.get(chunk.ghost_type) else { continue };
                for ghost in chunk.ghosts.iter().flatten().filter(|ghost| ghost.predicted) {
                    let Some((tick, row)) = ghost.history.newest() else { continue };
                    let known_at = chunk.coverage.newest_between(ghost.slot.place(), tick, None).unwrap_or(tick);
                    let Some(mut entity) = ghost.entity.and_then(|entity| world.get_entity_mut(entity).ok()) else {
                        continue;
                    };
                    for (vtable, lanes) in &ty.components {
                        (vtable.read_lanes)(&mut entity, row.get(lanes.clone()).unwrap_or_default());
                    }
                    if let Some(mut predicted) = entity.get_mut::<PredictedGhost>() {
                        predicted.applied_tick = Some(known_at);
                        predicted.prediction_start_tick = Some(known_at);
                    }
                }
            }
        });
    });
}

/// The loop.
pub(super) fn run(world: &mut World) {
    let time = world.resource::<NetworkTime>().clone();
    let Some(target) = time.server_tick else { return };
    let is_partial = time.is_partial_tick();
    let last_full = if is_partial { target.prev() } else { target };
    let starts: Vec<(Entity, NetworkTick)> = world
        .query::<(Entity, &PredictedGhost)>()
        .iter(world)
        .filter_map(|(entity, ghost)| Some((entity, ghost.prediction_start_tick?)))
        .collect();
    let Some(oldest) = starts.iter().map(|&(_, start)| start).reduce(NetworkTick::min) else { return };
    let oldest = oldest.max(last_full.sub(MAX_PREDICTED_TICKS as u32));
    let frame = *world.resource::<Time>();
    let rate = resolved_rate(world);
    let step = rate.step();
    let before = world.resource::<PredictionState>().last_full_tick;
    let full_ticks = u32::try_from(last_full.ticks_since(oldest)).unwrap_or(0);
    {
        let mut time = world.resource_mut::<NetworkTime>();
        time.num_predicted_ticks_expected = full_ticks + u32::from(is_partial);
        time.simulation_step_batch_size = 1;
        time.set_in_prediction_loop(true);
    }
    let end = frame.elapsed();
    let partial =
        if is_partial { step.duration(1).mul_f32(time.server_tick_fraction) } else { std::time::Duration::ZERO };
    for index in 1..=full_ticks {
        let tick = oldest.add(index);
        freeze_those_ahead(world, &starts, tick);
        let is_last = index == full_ticks;
        let first_time = before.is_none_or(|before| tick.is_newer_than(before));
        {
            let mut time = world.resource_mut::<NetworkTime>();
            time.server_tick = Some(tick);
            time.server_tick_fraction = 1.0;
            time.predicted_tick_index = index;
            time.set_first_prediction_tick(index == 1);
            time.set_final_prediction_tick(is_last && !is_partial);
            time.set_final_full_prediction_tick(is_last);
            time.set_first_time_fully_predicting_tick(first_time);
        }
        let left = step.duration(full_ticks - index) + partial;
        simulate(world, tick, 1, StepTime { delta: step.duration(1), elapsed: end.saturating_sub(left) }, true);
    }
    if is_partial {
        freeze_those_ahead(world, &starts, target);
        {
            let mut time = world.resource_mut::<NetworkTime>();
            time.server_tick = Some(target);
            time.server_tick_fraction = partial.as_secs_f32() / step.duration(1).as_secs_f32();
            time.predicted_tick_index = full_ticks + 1;
            time.set_first_prediction_tick(full_ticks == 0);
            time.set_final_prediction_tick(true);
            time.set_final_full_prediction_tick(false);
            time.set_first_time_fully_predicting_tick(false);
        }
        simulate(world, target, 1, StepTime { delta: partial, elapsed: end }, false);
    }
    for (entity, _) in starts {
        world.entity_mut(entity).remove::<Frozen>();
    }
    world.resource_mut::<PredictionState>().last_full_tick =
        Some(before.map_or(last_full, |before| if last_full.is_newer_than(before) { last_full } else { before }));
    let mut restored = time;
    restored.num_predicted_ticks_expected = full_ticks + u32::from(is_partial);
    restored.leave_prediction();
    *world.resource_mut::<NetworkTime>() = restored;
    mirror_time(world, StepTime { delta: frame.delta(), elapsed: frame.elapsed() });
}

/// Ghosts that have the state of `tick` or later already sit it out.
fn freeze_those_ahead(world: &mut World, starts: &[(Entity, NetworkTick)], tick: NetworkTick) {
    for &(entity, start) in starts {
        let Ok(mut entity) = world.get_entity_mut(entity) else { continue };
        let has_state = !tick.is_newer_than(start);
        if has_state != entity.contains::<Frozen>() {
            if has_state {
                entity.insert(Frozen);
            } else {
                entity.remove::<Frozen>();
            }
        }
    }
}

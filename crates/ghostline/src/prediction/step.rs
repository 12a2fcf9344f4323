//! One simulated step: inputs of its tick, then the fixed sub-steps, then the game's predicted systems. The same on every side.

use bevy_ecs::prelude::World;
use bevy_ecs::schedule::ScheduleLabel;
use bevy_time::Time;
use ghostline_wire::NetworkTick;
use std::time::Duration;

use crate::command;
use crate::schedule::{PredictedFixedStepSimulation, PredictedSimulation, run_game_schedule};
use crate::time::{NetworkTime, StepTime};
use crate::world::{kind_of, mirror_time, resolved_rate};

/// Server and local worlds: a single pass for the step that the fixed loop began.
pub(super) fn run_authoritative(world: &mut World) {
    let time = world.resource::<NetworkTime>();
    let Some(tick) = time.server_tick else { return };
    let batch = time.simulation_step_batch_size.max(1);
    world.resource_mut::<NetworkTime>().enter_server_prediction();
    let now = world.resource::<Time>();
    let step = StepTime { delta: now.delta(), elapsed: now.elapsed() };
    simulate(world, tick, batch, step, true);
    world.resource_mut::<NetworkTime>().leave_prediction();
}

/// Runs the rules for one step. `NetworkTime` describes it already; `is_full` is false for a partial tick.
pub(super) fn simulate(world: &mut World, tick: NetworkTick, batch: u32, step: StepTime, is_full: bool) {
    let kind = kind_of(world);
    command::apply(world, tick, batch);
    run_sub_steps(world, batch, step, is_full);
    mirror_time(world, step);
    run_game_schedule(world, kind, PredictedSimulation.intern());
}

/// As many fixed sub-steps as fit; none in a partial tick unless a whole one fits.
fn run_sub_steps(world: &mut World, batch: u32, step: StepTime, is_full: bool) {
    let kind = kind_of(world);
    let rate = resolved_rate(world);
    let ratio = u32::try_from(rate.predicted_fixed_step_simulation_tick_ratio).unwrap_or(1).max(1);
    let sub_step = rate.fixed_step();
    // Half a tick is two quarters, also when its length was cut to a whole nanosecond.
    let fitting = (step.delta.as_secs_f64() + 1e-8) / sub_step.seconds(1);
    let count = if is_full { batch * ratio } else { fitting as u32 };
    let start = step.elapsed.saturating_sub(step.delta);
    for index in 1..=count {
        let elapsed: Duration = start + sub_step.duration(index);
        mirror_time(world, StepTime { delta: sub_step.duration(1), elapsed });
        run_game_schedule(world, kind, PredictedFixedStepSimulation.intern());
    }
}

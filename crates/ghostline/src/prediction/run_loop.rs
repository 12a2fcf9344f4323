//! The client's prediction loop: from the oldest start among the predicted ghosts to the frame's target, whole ticks first, then the part of
//! the next one. Where ghosts start is decided by `rollback`; a step is simulated by `step`, and kept by `history`.
//!
//! Ghosts go back only here, not when snapshots come in, so that whoever samples input sees them where they were shown last.

use bevy_ecs::prelude::{Entity, World};
use bevy_time::Time;
use ghostline_wire::NetworkTick;
use std::time::Duration;

use super::Prediction;
use super::freeze::{freeze, thaw};
use super::history::PREDICTION_HISTORY_TICKS;
use super::news::follow_changes;
use super::rollback::{choose_starts, correct_on_the_way};
use super::settings::PredictionSettings;
use super::smoother::{remember_predictions, take_up_corrections};
use super::step::simulate;
use crate::command;
use crate::stats::PredictionStats;
use crate::time::{ClientTickRate, NetworkTime, PredictionLoopUpdateMode, StepTime, TickStep};
use crate::world::{mirror_time, resolved_rate};

/// A state that lies at most so many ticks back is replayed, however little the interpolation delay is.
const MIN_REPLAYED_TICKS: i32 = 4;

/// The prediction of a frame.
pub(super) fn run(world: &mut World) {
    let mut prediction = std::mem::take(&mut *world.resource_mut::<Prediction>());
    predict_frame(&mut prediction, world);
    *world.resource_mut::<Prediction>() = prediction;
}

fn predict_frame(prediction: &mut Prediction, world: &mut World) {
    let time = world.resource::<NetworkTime>().clone();
    follow_changes(prediction, world);
    let Some(target) = time.last_full_server_tick() else { return prediction.leave() };
    let mode = world.resource::<ClientTickRate>().prediction_loop_update_mode;
    if prediction.tracks.is_empty() && mode == PredictionLoopUpdateMode::RequirePredictedGhost {
        world.resource_mut::<NetworkTime>().num_predicted_ticks_expected = 0;
        return prediction.leave();
    }
    if prediction.last_full.is_some_and(|last| last.is_newer_than(target)) {
        // The clock was put back further than it waits out: what was predicted is of another timeline.
        prediction.restart();
    }
    choose_starts(prediction, world, target, replay_limit(&time));
    let mut frame = Frame::new(prediction, world, time, target);
    frame.run(prediction, world);
    prediction.end_frame(target, frame.time.is_partial_tick());
}

/// How far a state may lie back to be replayed (specification 8.2): twice the distance between prediction and interpolation, which is
/// what a round trip and the delays make of it; what is older comes from a ghost that is seldom sent.
fn replay_limit(time: &NetworkTime) -> i32 {
    let distance = time.server_tick.zip(time.interpolation_tick).map_or(0, |(server, shown)| server.ticks_since(shown));
    distance.saturating_mul(2).clamp(MIN_REPLAYED_TICKS, PREDICTION_HISTORY_TICKS as i32)
}

impl Prediction {
    /// Nothing is predicted now.
    fn leave(&mut self) {
        self.last_full = None;
        self.ended_partial = false;
    }

    fn restart(&mut self) {
        self.leave();
        for (_, track) in self.tracks.iter_mut() {
            track.restart();
        }
    }

    fn end_frame(&mut self, target: NetworkTick, is_partial: bool) {
        let Self { tracks, step_ends, .. } = self;
        let is_merged = step_ends.windows(2).any(|pair| matches!(pair, [one, next] if *next != one.next()));
        for (_, track) in tracks.iter_mut() {
            if is_merged {
                for &end in step_ends.iter() {
                    if end.is_newer_than(track.start) {
                        track.note(end);
                    }
                }
            } else if let Some(&end) = step_ends.last() {
                track.note_up_to(end);
            }
            track.at = Some(track.start.max(target));
        }
        self.last_full = Some(target);
        self.newest_full = Some(self.newest_full.map_or(target, |newest| newest.max(target)));
        self.ended_partial = is_partial;
    }
}

/// One frame's run through the ticks.
struct Frame {
    /// The network time as it is outside the loop.
    time: NetworkTime,
    outside: Time,
    step: TickStep,
    /// The state that there is, and the last full tick to reach.
    oldest: NetworkTick,
    target: NetworkTick,
    partial: Duration,
    max_batch_repeated: i32,
    max_batch_first_time: i32,
    tolerance_quanta: u32,
}

impl Frame {
    fn new(prediction: &mut Prediction, world: &World, time: NetworkTime, target: NetworkTick) -> Self {
        let too_old = target.sub(PREDICTION_HISTORY_TICKS as u32);
        let mut oldest = prediction.last_full.map_or(target, |last| last.max(too_old).min(target));
        for (_, track) in prediction.tracks.iter_mut() {
            track.start = track.start.max(too_old);
            oldest = oldest.min(track.start);
        }
        let step = resolved_rate(world).step();
        let partial =
            if time.is_partial_tick() { step.duration(1).mul_f32(time.server_tick_fraction) } else { Duration::ZERO };
        let rate = world.resource::<ClientTickRate>();
        let settings = world.get_resource::<PredictionSettings>().copied().unwrap_or_default();
        Self {
            outside: *world.resource::<Time>(),
            step,
            oldest,
            target,
            partial,
            max_batch_repeated: rate.max_prediction_step_batch_size_repeated_tick.max(1),
            max_batch_first_time: rate.max_prediction_step_batch_size_first_time_tick.max(1),
            tolerance_quanta: settings.tolerance_quanta,
            time,
        }
    }

    fn run(&mut self, prediction: &mut Prediction, world: &mut World) {
        let full_ticks = u32::try_from(self.target.ticks_since(self.oldest)).unwrap_or(0);
        self.time.num_predicted_ticks_expected = full_ticks + u32::from(self.time.is_partial_tick());
        self.time.predicted_tick_index = 0;
        let mut inside = self.time.clone();
        inside.set_in_prediction_loop(true);
        let mut now = self.oldest;
        prediction.step_ends.clear();
        freeze_those_ahead(prediction, world, now);
        loop {
            if prediction.last_full == Some(now) {
                take_up_corrections(world, &prediction.tracks);
            }
            if now == self.target {
                break;
            }
            let end = self.end_of_step(prediction, world, now);
            self.full_step(prediction, world, &mut inside, now, end);
            now = end;
            thaw_those_reached(&mut prediction.frozen, world, now);
        }
        remember_predictions(world);
        if self.time.is_partial_tick() {
            self.partial_step(world, &mut inside);
        }
        thaw_all(&mut prediction.frozen, world);
        if inside.predicted_tick_index > 0 {
            debug_assert!(inside.is_final_prediction_tick(), "the loop ends with the final tick");
            debug_assert_eq!(
                (inside.server_tick, inside.server_tick_fraction),
                (self.time.server_tick, self.time.server_tick_fraction),
                "the loop ends at the target"
            );
            mirror_time(world, StepTime { delta: self.outside.delta(), elapsed: self.outside.elapsed() });
        }
        self.time.leave_prediction();
        *world.resource_mut::<NetworkTime>() = self.time.clone();
    }

    /// Where the step after `from` ends: a tick further, or as many as may be merged. A merged step ends where a ghost starts, where the
    /// frame before ended, and where an input changes.
    fn end_of_step(&self, prediction: &Prediction, world: &mut World, from: NetworkTick) -> NetworkTick {
        let is_repeated = prediction.last_full.is_some_and(|last| last.is_newer_than(from));
        let limit = if is_repeated { self.max_batch_repeated } else { self.max_batch_first_time };
        let mut end = from.next();
        while end.ticks_since(from) < limit
            && end != self.target
            && Some(end) != prediction.last_full
            && !prediction.frozen.iter().any(|&(start, _)| start == end)
            && !command::input_changes_after(world, end)
        {
            end = end.next();
        }
        end
    }

    fn full_step(
        &self,
        prediction: &mut Prediction,
        world: &mut World,
        inside: &mut NetworkTime,
        from: NetworkTick,
        end: NetworkTick,
    ) {
        let ticks = u32::try_from(end.ticks_since(from)).unwrap_or(1);
        let is_last = end == self.target;
        let is_first_time = prediction.newest_full.is_none_or(|newest| end.is_newer_than(newest));
        inside.server_tick = Some(end);
        inside.server_tick_fraction = 1.0;
        inside.simulation_step_batch_size = ticks;
        inside.set_final_prediction_tick(is_last && !self.time.is_partial_tick());
        inside.set_final_full_prediction_tick(is_last);
        inside.set_first_time_fully_predicting_tick(is_first_time);
        let left = self.step.duration(u32::try_from(self.target.ticks_since(end)).unwrap_or(0)) + self.partial;
        let time = self.enter(world, inside, self.step.duration(ticks), left);
        simulate(world, end, ticks, time, true);
        for column in &mut prediction.columns {
            column.record(world, end);
        }
        prediction.step_ends.push(end);
        correct_on_the_way(prediction, world, end, self.tolerance_quanta);
        let mut stats = world.resource_mut::<PredictionStats>();
        if is_first_time {
            stats.first_time_ticks += u64::from(ticks);
        } else {
            stats.resimulated_ticks += u64::from(ticks);
        }
    }

    /// The part of the tick after the last full one. Its state is shown and thrown away.
    fn partial_step(&self, world: &mut World, inside: &mut NetworkTime) {
        let tick = self.target.next();
        inside.server_tick = Some(tick);
        inside.server_tick_fraction = self.time.server_tick_fraction;
        inside.simulation_step_batch_size = 1;
        inside.set_final_prediction_tick(true);
        inside.set_final_full_prediction_tick(false);
        inside.set_first_time_fully_predicting_tick(false);
        let time = self.enter(world, inside, self.partial, Duration::ZERO);
        simulate(world, tick, 1, time, false);
    }

    /// Makes the world's time that of a step which ends `left` before the end of the frame.
    fn enter(&self, world: &mut World, inside: &mut NetworkTime, delta: Duration, left: Duration) -> StepTime {
        inside.predicted_tick_index += 1;
        inside.set_first_prediction_tick(inside.predicted_tick_index == 1);
        inside.elapsed_network_time = (self.time.elapsed_network_time - left.as_secs_f64()).max(0.0);
        *world.resource_mut::<NetworkTime>() = inside.clone();
        StepTime { delta, elapsed: self.outside.elapsed().saturating_sub(left) }
    }
}

/// Ghosts that have a state later than `tick` sit out until it is reached.
fn freeze_those_ahead(prediction: &mut Prediction, world: &mut World, tick: NetworkTick) {
    let Prediction { tracks, frozen, .. } = prediction;
    frozen.clear();
    for (_, track) in tracks.iter() {
        if track.start.is_newer_than(tick) {
            freeze(world, track.entity);
            frozen.push((track.start, track.entity));
        }
    }
}

fn thaw_those_reached(frozen: &mut Vec<(NetworkTick, Entity)>, world: &mut World, tick: NetworkTick) {
    frozen.retain(|&(start, entity)| {
        let waits = start.is_newer_than(tick);
        if !waits {
            thaw(world, entity);
        }
        waits
    });
}

fn thaw_all(frozen: &mut Vec<(NetworkTick, Entity)>, world: &mut World) {
    for (_, entity) in frozen.drain(..) {
        thaw(world, entity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_replayed_within_twice_the_way_to_interpolation_and_64_ticks() {
        let limit = |server, shown| {
            let (server_tick, interpolation_tick) = (Some(NetworkTick::new(server)), Some(NetworkTick::new(shown)));
            replay_limit(&NetworkTime { server_tick, interpolation_tick, ..NetworkTime::default() })
        };
        assert_eq!(limit(100, 92), 16);
        assert_eq!(limit(100, 99), MIN_REPLAYED_TICKS);
        assert_eq!(limit(100, 101), MIN_REPLAYED_TICKS);
        assert_eq!(limit(100, 50), 64);
        assert_eq!(replay_limit(&NetworkTime::default()), MIN_REPLAYED_TICKS);
    }
}

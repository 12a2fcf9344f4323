//! Before the loop: where each predicted ghost starts from. News of the server are compared with what was predicted for their tick; who was
//! right goes on, who was wrong takes the server's values of the lanes that disagree and keeps its own exact value in the others.

use bevy_ecs::change_detection::DetectChangesMut;
use bevy_ecs::prelude::{Entity, World};
use ghostline_wire::NetworkTick;
use std::ops::Range;

use super::compare::Verdict;
use super::components::PredictedGhost;
use super::history::StateColumn;
use super::news::{self, News};
use super::scope::draw_along;
use super::settings::{PredictionSettings, RollbackMode};
use super::{PredictedType, Prediction};
use crate::stats::PredictionStats;

/// Lanes of a row that a ghost takes.
pub(super) struct Correction {
    slot: usize,
    tick: NetworkTick,
    row: Range<usize>,
    wrong: Range<usize>,
}

/// Rows and marks, used again in every frame.
#[derive(Default)]
pub(super) struct Scratch {
    predicted: Vec<u32>,
    wrong: Vec<bool>,
    corrections: Vec<Correction>,
    /// Which lanes of the corrections' rows are taken.
    marks: Vec<bool>,
}

/// Decides where every predicted ghost starts, and gives it its state there. `target` is the last full tick of this frame; a state that
/// lies more than `limit` ticks before it is not replayed.
pub(super) fn choose_starts(prediction: &mut Prediction, world: &mut World, target: NetworkTick, limit: i32) {
    let settings = world.get_resource::<PredictionSettings>().copied().unwrap_or_default();
    let mut stats = std::mem::take(&mut *world.resource_mut::<PredictionStats>());
    continue_all(prediction, target);
    news::gather(prediction, world, target);
    let news = std::mem::take(&mut prediction.newspaper.news);
    for news in &news {
        judge(prediction, news, settings, target, limit, &mut stats);
    }
    prediction.newspaper.news = news;
    stats.rollbacks += draw_along(prediction, world, settings.scope);
    *world.resource_mut::<PredictionStats>() = stats;
    restore(prediction, world);
    show_starts(prediction, world);
}

/// Without news a ghost goes on from the last full tick: as it is, or if it has simulated a part of the next one, from its state before
/// that.
fn continue_all(prediction: &mut Prediction, target: NetworkTick) {
    let Prediction { tracks, scratch, wanted, ended_partial, .. } = prediction;
    scratch.corrections.clear();
    scratch.marks.clear();
    wanted.clear();
    wanted.resize(tracks.slots(), None);
    for (slot, track) in tracks.iter_mut() {
        track.start = track.at.unwrap_or(target);
        track.goes_back = false;
        if let (true, Some(at), Some(wanted)) = (*ended_partial, track.at, wanted.get_mut(slot)) {
            *wanted = track.knows(at).then_some(at);
        }
    }
}

/// Compares a ghost with news of it, and puts it back if they disagree.
fn judge(
    prediction: &mut Prediction,
    news: &News,
    settings: PredictionSettings,
    target: NetworkTick,
    limit: i32,
    stats: &mut PredictionStats,
) {
    let Prediction { tracks, columns, types, scratch, newspaper, wanted, .. } = prediction;
    let Some(track) = tracks.get_mut(news.slot) else { return };
    let Some(ty) = types.get(usize::from(track.ghost_type)) else { return };
    let Some(row) = newspaper.rows.get(news.row.clone()) else { return };
    track.applied = Some(news.tick);
    let is_too_old = target.ticks_since(news.tick) > limit;
    let is_ahead = track.at.is_none_or(|at| news.tick.is_newer_than(at));
    if is_ahead || !track.knows(news.tick) {
        if !is_ahead {
            stats.unknown += 1;
            if is_too_old {
                stats.too_old += 1;
                return;
            }
        }
        scratch.wrong.clear();
        scratch.wrong.resize(row.len(), true);
    } else {
        stats.comparisons += 1;
        match scratch.compare(ty, columns, news.slot, news.tick, row, settings.tolerance_quanta) {
            Verdict::Wrong { field } => {
                note_misprediction(stats, ty, field, &scratch.predicted, row, &scratch.wrong);
                if is_too_old {
                    stats.too_old += 1;
                    tracing::debug!(
                        "a ghost was mispredicted, but the server's state is too old to be replayed ({})",
                        news.tick
                    );
                    return;
                }
            }
            verdict => {
                stats.forgiven += u64::from(verdict == Verdict::Close);
                // What was right so far will not stay right if another player does something else since.
                let goes_back = settings.rollback == RollbackMode::Always || news.has_new_input;
                if !goes_back || is_too_old {
                    return;
                }
            }
        }
        if let Some(wanted) = wanted.get_mut(news.slot) {
            *wanted = Some(news.tick);
        }
    }
    track.start = news.tick;
    track.forget_after(news.tick);
    track.goes_back = !is_ahead;
    stats.rollbacks += u64::from(!is_ahead);
    if scratch.wrong.is_empty() {
        return;
    }
    let first = scratch.marks.len();
    scratch.marks.extend_from_slice(&scratch.wrong);
    let wrong = first..scratch.marks.len();
    scratch.corrections.push(Correction { slot: news.slot, tick: news.tick, row: news.row.clone(), wrong });
}

impl Scratch {
    /// Compares what was predicted for `tick` with the server's row, and marks the lanes that disagree in `wrong`.
    fn compare(
        &mut self,
        ty: &PredictedType,
        columns: &[Box<dyn StateColumn>],
        slot: usize,
        tick: NetworkTick,
        row: &[u32],
        tolerance: u32,
    ) -> Verdict {
        self.predicted.clear();
        self.predicted.extend_from_slice(row);
        for (column, lanes) in &ty.columns {
            // A component that the game has taken away here is not compared: its lanes stay as the server's.
            if let (Some(column), Some(lanes)) = (columns.get(*column), self.predicted.get_mut(lanes.clone())) {
                column.write_lanes(slot, tick, lanes);
            }
        }
        let unrounded = |lane: usize| {
            let (column, lanes) = ty.columns.iter().find(|(_, lanes)| lanes.contains(&lane))?;
            columns.get(*column)?.unrounded_lane(slot, tick, lane - lanes.start)
        };
        ty.rules.compare(&self.predicted, row, tolerance, unrounded, &mut self.wrong)
    }
}

fn note_misprediction(
    stats: &mut PredictionStats,
    ty: &PredictedType,
    field: usize,
    predicted: &[u32],
    server: &[u32],
    wrong: &[bool],
) {
    stats.mispredictions += 1;
    let cause = ty.first_cause + ty.rules.component_of(field);
    stats.last_cause = Some(cause);
    if let Some(cause) = stats.causes.get_mut(cause) {
        cause.count += 1;
    }
    for (field, distance) in ty.rules.errors(predicted, server, wrong) {
        if let Some(error) = stats.errors.get_mut(ty.first_error + field) {
            error.note(distance);
        }
    }
}

/// Gives every ghost the state that it starts from.
fn restore(prediction: &mut Prediction, world: &mut World) {
    let Prediction { tracks, columns, types, scratch, newspaper, wanted, .. } = prediction;
    if wanted.iter().any(Option::is_some) {
        for column in columns.iter_mut() {
            column.restore(world, wanted);
        }
    }
    for correction in &scratch.corrections {
        let Some(track) = tracks.get_mut(correction.slot) else { continue };
        if track.start != correction.tick {
            // It starts earlier, with others, and is corrected on the way.
            continue;
        }
        let Some(ty) = types.get(usize::from(track.ghost_type)) else { continue };
        let row = newspaper.rows.get(correction.row.clone()).unwrap_or_default();
        let wrong = scratch.marks.get(correction.wrong.clone()).unwrap_or_default();
        ty.correct(columns, world, track.entity, row, wrong);
        for column in columns.iter_mut() {
            column.record_one(world, track.entity, correction.slot, correction.tick);
        }
        track.note(correction.tick);
        track.at = Some(track.at.map_or(correction.tick, |at| at.max(correction.tick)));
    }
}

/// Corrects the ghosts that started before the tick that the server's state is of, and have reached it: by what they have become with the others.
pub(super) fn correct_on_the_way(prediction: &mut Prediction, world: &mut World, tick: NetworkTick, tolerance: u32) {
    let Prediction { tracks, columns, types, scratch, newspaper, .. } = prediction;
    let corrections = std::mem::take(&mut scratch.corrections);
    for correction in corrections.iter().filter(|correction| correction.tick == tick) {
        let Some(track) = tracks.get(correction.slot).filter(|track| tick.is_newer_than(track.start)) else { continue };
        let Some(ty) = types.get(usize::from(track.ghost_type)) else { continue };
        let row = newspaper.rows.get(correction.row.clone()).unwrap_or_default();
        if let Verdict::Wrong { .. } = scratch.compare(ty, columns, correction.slot, tick, row, tolerance) {
            world.resource_mut::<PredictionStats>().corrected_on_the_way += 1;
            ty.correct(columns, world, track.entity, row, &scratch.wrong);
            for column in columns.iter_mut() {
                column.record_one(world, track.entity, correction.slot, tick);
            }
        }
    }
    scratch.corrections = corrections;
}

impl PredictedType {
    /// Takes the marked lanes of a row.
    fn correct(
        &self,
        columns: &[Box<dyn StateColumn>],
        world: &mut World,
        entity: Entity,
        row: &[u32],
        wrong: &[bool],
    ) {
        for (column, lanes) in &self.columns {
            let (Some(row), Some(wrong)) = (row.get(lanes.clone()), wrong.get(lanes.clone())) else { continue };
            if let (true, Some(column)) = (wrong.contains(&true), columns.get(*column)) {
                column.correct(world, entity, row, wrong);
            }
        }
    }
}

fn show_starts(prediction: &mut Prediction, world: &mut World) {
    let Prediction { tracks, shown, .. } = prediction;
    for (slot, mut shown) in shown.get_or_insert_with(|| world.query()).iter_mut(world) {
        if let Some(track) = tracks.get(slot.0 as usize) {
            shown.set_if_neq(PredictedGhost { applied_tick: track.applied, prediction_start_tick: Some(track.start) });
        }
    }
}

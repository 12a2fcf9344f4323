//! Before the loop: where each predicted ghost starts from. News of the server (rows of `snapshot`) are compared with what was predicted for
//! their tick; who was right goes on, who was wrong takes the server's values of the lanes that disagree and keeps its own exact value
//! in the others.

use bevy_ecs::prelude::{Entity, World};
use ghostline_wire::NetworkTick;
use std::ops::Range;

use super::compare::Verdict;
use super::components::PredictedGhost;
use super::history::PredictionSlot;
use super::settings::{PredictionSettings, RollbackMode, RollbackScope};
use super::{PredictedType, Prediction};
use crate::snapshot::ClientSnapshots;
use crate::stats::PredictionStats;

/// A ghost that has fallen behind by more ticks takes the server's newest state, if that lies further on.
const MAX_CATCH_UP_TICKS: i32 = 16;

/// The server's state of a ghost, newer than what it was compared with before.
struct News {
    slot: usize,
    tick: NetworkTick,
    row: Range<usize>,
}

/// Lanes of a row that a ghost takes.
struct Correction {
    slot: usize,
    tick: NetworkTick,
    row: Range<usize>,
    wrong: Range<usize>,
}

/// Buffers, used again in every frame.
#[derive(Default)]
pub(super) struct Scratch {
    arrivals: Vec<(Entity, u16)>,
    news: Vec<News>,
    rows: Vec<u32>,
    predicted: Vec<u32>,
    wrong: Vec<bool>,
    wanted: Vec<Option<NetworkTick>>,
    corrections: Vec<Correction>,
    marks: Vec<bool>,
}

/// Ghosts that are newly predicted get their place in the histories.
pub(super) fn admit_arrivals(prediction: &mut Prediction, world: &mut World) {
    let Prediction { tracks, columns, scratch, .. } = prediction;
    scratch.arrivals.clear();
    for ghost in world.resource::<ClientSnapshots>().ghosts().filter(|ghost| ghost.predicted) {
        let Some(entity) = ghost.entity else { continue };
        if world.get::<PredictedGhost>(entity).is_some() && world.get::<PredictionSlot>(entity).is_none() {
            scratch.arrivals.push((entity, ghost.ghost_type));
        }
    }
    for &(entity, ghost_type) in &scratch.arrivals {
        let slot = tracks.add(world, entity, ghost_type);
        for column in columns.iter_mut() {
            column.forget(slot);
        }
    }
}

/// Decides where every predicted ghost starts, and gives it its state there. `target` is the last full tick of this frame; a state that
/// lies more than `limit` ticks before it is not replayed.
pub(super) fn choose_starts(prediction: &mut Prediction, world: &mut World, target: NetworkTick, limit: i32) {
    let settings = world.get_resource::<PredictionSettings>().copied().unwrap_or_default();
    let mut stats = std::mem::take(&mut *world.resource_mut::<PredictionStats>());
    continue_all(prediction, target);
    gather_news(prediction, world, target);
    let news = std::mem::take(&mut prediction.scratch.news);
    let mut oldest: Option<NetworkTick> = None;
    for news in &news {
        if judge(prediction, news, settings.rollback, target, limit, &mut stats) {
            stats.rollbacks += 1;
            oldest = Some(oldest.map_or(news.tick, |oldest| oldest.min(news.tick)));
        }
    }
    prediction.scratch.news = news;
    if let (RollbackScope::AllPredicted, Some(oldest)) = (settings.scope, oldest) {
        stats.rollbacks += draw_along(prediction, oldest);
    }
    *world.resource_mut::<PredictionStats>() = stats;
    restore(prediction, world);
    show_starts(prediction, world);
}

/// Without news a ghost goes on from the last full tick: as it is, or if it has simulated a part of the next one, from its state before
/// that.
fn continue_all(prediction: &mut Prediction, target: NetworkTick) {
    let Prediction { tracks, scratch, ended_partial, .. } = prediction;
    scratch.corrections.clear();
    scratch.marks.clear();
    scratch.wanted.clear();
    scratch.wanted.resize(tracks.slots(), None);
    for (slot, track) in tracks.iter_mut() {
        track.start = track.at.unwrap_or(target);
        if let (true, Some(at), Some(wanted)) = (*ended_partial, track.at, scratch.wanted.get_mut(slot)) {
            *wanted = track.knows(at).then_some(at);
        }
    }
}

fn gather_news(prediction: &mut Prediction, world: &World, target: NetworkTick) {
    let Prediction { tracks, scratch, .. } = prediction;
    scratch.news.clear();
    scratch.rows.clear();
    for chunk in world.resource::<ClientSnapshots>().chunks.iter().flatten() {
        for ghost in chunk.ghosts.iter().flatten().filter(|ghost| ghost.predicted) {
            let Some(&PredictionSlot(slot)) = ghost.entity.and_then(|entity| world.get(entity)) else { continue };
            let slot = slot as usize;
            let Some(track) = tracks.get(slot) else { continue };
            let horizon = horizon(track.at, target);
            let Some(index) = ghost.history.index_at_or_before(horizon).or(track.at.is_none().then_some(0)) else {
                continue;
            };
            let Some((row_tick, row)) = ghost.history.get(index) else { continue };
            // A packet that covered the ghost without a row says that the row still held.
            let end = ghost.history.get(index + 1).map_or(horizon.next(), |(next, _)| next.min(horizon.next()));
            let tick = chunk.coverage.newest_between(ghost.slot.place(), row_tick, Some(end)).unwrap_or(row_tick);
            if track.applied.is_none_or(|applied| tick.is_newer_than(applied)) {
                let first = scratch.rows.len();
                scratch.rows.extend_from_slice(row);
                scratch.news.push(News { slot, tick, row: first..scratch.rows.len() });
            }
        }
    }
}

/// Up to which tick the server's states count for a ghost. With much input latency the server may be ahead of prediction; what it says of the
/// future waits until that was predicted, so that every tick is simulated, and nobody sees a ghost at another time than the rest. Only a
/// ghost that has fallen far behind skips what it missed.
fn horizon(at: Option<NetworkTick>, target: NetworkTick) -> NetworkTick {
    at.filter(|&at| target.ticks_since(at) <= MAX_CATCH_UP_TICKS).map_or(target, |at| at.min(target))
}

/// Compares a ghost with news of it. True if it goes back.
fn judge(
    prediction: &mut Prediction,
    news: &News,
    mode: RollbackMode,
    target: NetworkTick,
    limit: i32,
    stats: &mut PredictionStats,
) -> bool {
    let Prediction { tracks, columns, types, scratch, .. } = prediction;
    let Some(track) = tracks.get_mut(news.slot) else { return false };
    let Some(ty) = types.get(usize::from(track.ghost_type)) else { return false };
    let Some(row) = scratch.rows.get(news.row.clone()) else { return false };
    track.applied = Some(news.tick);
    let is_too_old = target.ticks_since(news.tick) > limit;
    let is_ahead = track.at.is_none_or(|at| news.tick.is_newer_than(at));
    if is_ahead || !track.knows(news.tick) {
        if !is_ahead {
            stats.unknown += 1;
            if is_too_old {
                stats.too_old += 1;
                return false;
            }
        }
        scratch.wrong.clear();
        scratch.wrong.resize(row.len(), true);
    } else {
        scratch.predicted.clear();
        scratch.predicted.extend_from_slice(row);
        for (column, lanes) in &ty.columns {
            // A component that the game has taken away here is not compared: its lanes stay as the server's.
            if let (Some(column), Some(lanes)) = (columns.get(*column), scratch.predicted.get_mut(lanes.clone())) {
                column.write_lanes(news.slot, news.tick, lanes);
            }
        }
        stats.comparisons += 1;
        match ty.rules.compare(&scratch.predicted, row, &mut scratch.wrong) {
            Verdict::Wrong { field } => {
                note_misprediction(stats, ty, field, &scratch.predicted, row, &scratch.wrong);
                if is_too_old {
                    stats.too_old += 1;
                    tracing::debug!(
                        "a ghost was mispredicted, but the server's state is too old to be replayed ({})",
                        news.tick
                    );
                    return false;
                }
            }
            verdict => {
                stats.forgiven += u64::from(verdict == Verdict::Close);
                if mode == RollbackMode::OnDisagreement || is_too_old {
                    return false;
                }
            }
        }
        if let Some(wanted) = scratch.wanted.get_mut(news.slot) {
            *wanted = Some(news.tick);
        }
    }
    track.start = news.tick;
    track.forget_after(news.tick);
    let first = scratch.marks.len();
    scratch.marks.extend_from_slice(&scratch.wrong);
    let wrong = first..scratch.marks.len();
    scratch.corrections.push(Correction { slot: news.slot, tick: news.tick, row: news.row.clone(), wrong });
    !is_ahead
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

/// Takes every ghost that went on back to `oldest`, if its state then is known. Returns how many.
fn draw_along(prediction: &mut Prediction, oldest: NetworkTick) -> u64 {
    let Prediction { tracks, scratch, .. } = prediction;
    let mut count = 0;
    for (slot, track) in tracks.iter_mut() {
        let goes_on = track.at == Some(track.start) && track.start.is_newer_than(oldest);
        let is_corrected = scratch.corrections.iter().any(|correction| correction.slot == slot);
        if goes_on && !is_corrected && track.knows(oldest) {
            track.start = oldest;
            track.forget_after(oldest);
            if let Some(wanted) = scratch.wanted.get_mut(slot) {
                *wanted = Some(oldest);
            }
            count += 1;
        }
    }
    count
}

fn restore(prediction: &mut Prediction, world: &mut World) {
    let Prediction { tracks, columns, types, scratch, .. } = prediction;
    if scratch.wanted.iter().any(Option::is_some) {
        for column in columns.iter_mut() {
            column.restore(world, &scratch.wanted);
        }
    }
    for correction in &scratch.corrections {
        let Some(track) = tracks.get_mut(correction.slot) else { continue };
        let Some(ty) = types.get(usize::from(track.ghost_type)) else { continue };
        let row = scratch.rows.get(correction.row.clone()).unwrap_or_default();
        let wrong = scratch.marks.get(correction.wrong.clone()).unwrap_or_default();
        for (column, lanes) in &ty.columns {
            let (Some(row), Some(wrong)) = (row.get(lanes.clone()), wrong.get(lanes.clone())) else { continue };
            if let (true, Some(column)) = (wrong.contains(&true), columns.get(*column)) {
                column.correct(world, track.entity, row, wrong);
            }
        }
        for column in columns.iter_mut() {
            column.record_one(world, track.entity, correction.slot, correction.tick);
        }
        track.note(correction.tick);
        track.at = Some(track.at.map_or(correction.tick, |at| at.max(correction.tick)));
    }
}

fn show_starts(prediction: &Prediction, world: &mut World) {
    for (_, track) in prediction.tracks.iter() {
        if let Some(mut shown) = world.get_mut::<PredictedGhost>(track.entity) {
            let now = PredictedGhost { applied_tick: track.applied, prediction_start_tick: Some(track.start) };
            if *shown != now {
                *shown = now;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_of_the_future_waits_unless_the_ghost_fell_far_behind() {
        let tick = NetworkTick::new;
        assert_eq!(horizon(None, tick(40)), tick(40));
        assert_eq!(horizon(Some(tick(38)), tick(40)), tick(38));
        assert_eq!(horizon(Some(tick(45)), tick(40)), tick(40));
        assert_eq!(horizon(Some(tick(24)), tick(40)), tick(24));
        assert_eq!(horizon(Some(tick(23)), tick(40)), tick(40));
    }
}

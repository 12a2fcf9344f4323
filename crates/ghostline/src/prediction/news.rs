//! Before the loop: which predicted ghosts are new, and what the server has said of the others since they were looked at last. Rows come
//! from `snapshot`; what follows from them is decided by `rollback`.

use bevy_ecs::prelude::World;
use ghostline_wire::NetworkTick;
use std::ops::Range;

use super::Prediction;
use crate::snapshot::ClientSnapshots;

/// A ghost that has fallen behind by more ticks takes the server's newest state, if that lies further on.
const MAX_CATCH_UP_TICKS: i32 = 16;

/// The server's state of a ghost, newer than what it was compared with before.
pub(super) struct News {
    pub slot: usize,
    pub tick: NetworkTick,
    /// Its place among the rows of this frame's news.
    pub row: Range<usize>,
    /// Whether another player's input is not what it was predicted with.
    pub has_new_input: bool,
}

/// The news of a frame. Kept from frame to frame for its memory.
#[derive(Default)]
pub(super) struct Newspaper {
    pub news: Vec<News>,
    pub rows: Vec<u32>,
}

/// Ghosts that are newly predicted get their place in the histories, those that no longer are leave it.
pub(super) fn follow_changes(prediction: &mut Prediction, world: &mut World) {
    let Prediction { tracks, columns, types, .. } = prediction;
    tracks.follow_changes(world, |slot, ghost_type| {
        let unpredicted = types.get(usize::from(ghost_type)).map_or(&[][..], |ty| &ty.unpredicted);
        for (index, column) in columns.iter_mut().enumerate() {
            column.admit(slot, !unpredicted.contains(&index));
        }
    });
}

/// Collects what the server has said of each predicted ghost up to its horizon, if that is newer than what was compared with it before.
pub(super) fn gather(prediction: &mut Prediction, world: &World, target: NetworkTick) {
    let Prediction { tracks, newspaper, .. } = prediction;
    newspaper.news.clear();
    newspaper.rows.clear();
    let snapshots = world.resource::<ClientSnapshots>();
    for (slot, track) in tracks.iter() {
        let Some(ghost) = snapshots.ghost(track.ghost).filter(|ghost| ghost.entity == Some(track.entity)) else {
            continue;
        };
        let horizon = horizon(track.at, target);
        let oldest = || ghost.rows.oldest().filter(|_| track.at.is_none());
        let Some((row_tick, row)) = ghost.rows.at_or_before(horizon).or_else(oldest) else { continue };
        // A packet that covered the ghost without a row says that the row still held.
        let end = ghost.rows.after(row_tick).map_or(horizon.next(), |(next, _)| next.min(horizon.next()));
        let tick = ghost.coverage.newest_between(ghost.slot.place(), row_tick, Some(end)).unwrap_or(row_tick);
        if track.applied.is_none_or(|applied| tick.is_newer_than(applied)) {
            let first = newspaper.rows.len();
            newspaper.rows.extend_from_slice(row);
            let row = first..newspaper.rows.len();
            newspaper.news.push(News { slot, tick, row, has_new_input: ghost.has_new_input });
        }
    }
}

/// Up to which tick the server's states count for a ghost. With much input latency the server may be ahead of prediction; what it says of the
/// future waits until that was predicted, so that every tick is simulated, and nobody sees a ghost at another time than the rest. Only a
/// ghost that has fallen far behind skips what it missed.
fn horizon(at: Option<NetworkTick>, target: NetworkTick) -> NetworkTick {
    at.filter(|&at| target.ticks_since(at) <= MAX_CATCH_UP_TICKS).map_or(target, |at| at.min(target))
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

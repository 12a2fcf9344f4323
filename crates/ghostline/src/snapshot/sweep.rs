//! Which past rows the server keeps: those that a packet under way may bring, and every client's baselines; and beyond a bound in bytes the
//! slowest client's baselines no more. Run once per tick for a part of the chunks, over the states of all connections.

use ghostline_wire::NetworkTick;

use super::connection::SnapshotSendState;
use super::store::{Chunk, RowStore};

/// A chunk is swept every so many ticks.
const SWEEP_EVERY_TICKS: u32 = 16;
/// Rows are kept for at least so many ticks, so that slopes and curves can be drawn from them; and at most so many for packets under way.
const WINDOW_TICKS: (u32, u32) = (24, 64);
/// Rows before the baseline that a curve reaches back to.
const REACH_TICKS: u32 = 16;
/// So many clients lose their baselines in one sweep, at most.
const MOST_DROPPED: usize = 64;

/// Shows the state of every connection, by number, always in the same order.
pub(super) type States<'a> = dyn FnMut(&mut dyn FnMut(usize, &mut SnapshotSendState)) + 'a;

/// Gives back rows that nobody needs. Returns how many baselines were given up for the bound.
pub(super) fn sweep(store: &mut RowStore, now: NetworkTick, most_bytes: usize, states: &mut States<'_>) -> u64 {
    let since = window_start(now, states);
    let turn = now.index() % SWEEP_EVERY_TICKS;
    let chunks = store.chunks.len();
    sweep_chunks(store, (turn as usize..chunks).step_by(SWEEP_EVERY_TICKS as usize), since, states);
    if turn != 0 || store.history_bytes() <= most_bytes {
        return 0;
    }
    let mut dropped = 0;
    for _ in 0..MOST_DROPPED {
        sweep_chunks(store, 0..chunks, since, states);
        store.trim();
        if store.history_bytes() <= most_bytes {
            return dropped;
        }
        let Some(slowest) = slowest(since, states) else { break };
        states(&mut |number, state| {
            if number == slowest {
                let lost: u64 = state.views.iter_mut().map(|view| u64::from(view.forget_baselines_before(since))).sum();
                state.stats.dropped_baselines += lost;
                dropped += lost;
            }
        });
    }
    dropped
}

/// Since when all rows are kept.
fn window_start(now: NetworkTick, states: &mut States<'_>) -> NetworkTick {
    let mut oldest = 0;
    states(&mut |_, state| {
        if let Some(tick) = state.oldest_open_tick() {
            oldest = oldest.max(now.ticks_since(tick).max(0).unsigned_abs());
        }
    });
    now.sub((oldest + REACH_TICKS).clamp(WINDOW_TICKS.0, WINDOW_TICKS.1))
}

fn sweep_chunks(
    store: &mut RowStore,
    chunks: impl Iterator<Item = usize> + Clone,
    since: NetworkTick,
    states: &mut States<'_>,
) {
    let has_past = |chunk: &&mut Chunk| chunk.slabs.has_past();
    if !chunks.clone().any(|index| store.chunks.get_mut(index).as_ref().is_some_and(has_past)) {
        return;
    }
    states(&mut |_, state| {
        for index in chunks.clone() {
            let chunk = store.chunks.get_mut(index).filter(has_past);
            if let (Some(view), Some(chunk)) = (state.views.get(index), chunk) {
                view.mark(chunk, since);
            }
        }
    });
    for index in chunks {
        store.sweep(index, since);
    }
}

/// The connection whose baselines are oldest, all together.
fn slowest(since: NetworkTick, states: &mut States<'_>) -> Option<usize> {
    let mut slowest: Option<(usize, u64)> = None;
    states(&mut |number, state| {
        let (mut count, mut ticks) = (0, 0);
        for view in &state.views {
            let (own_count, own_ticks) = view.old_baselines(since);
            count += own_count;
            ticks += own_ticks;
        }
        if count > 0 && slowest.is_none_or(|(_, most)| ticks > most) {
            slowest = Some((number, ticks));
        }
    });
    slowest.map(|(number, _)| number)
}

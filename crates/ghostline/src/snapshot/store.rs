//! The server's rows: every ghost's present row, when it last changed, and the past rows that clients may still hold.
//! Written by `collect` through a [`RowSink`], read by `encode`. Plain arrays, no ECS.

use ghostline_wire::{NetworkTick, QuantiseStats, limits};
use std::collections::VecDeque;

use crate::ghost::Slot;

const SLOTS: usize = limits::CHUNK_SLOTS as usize;

/// A past row is kept for at least so many ticks, for acknowledgements that are still under way; longer while a client's
/// newest acknowledged baseline lies in it.
pub(crate) const SLAB_WINDOW_TICKS: i32 = 64;

/// All rows of a chunk from one tick until the next change in that chunk.
struct Slab {
    from: NetworkTick,
    /// The tick of the next change; `None` while this is the newest slab.
    until: Option<NetworkTick>,
    rows: Vec<u32>,
    pins: u32,
}

/// 64 ghosts of one type.
pub(crate) struct Chunk {
    pub ghost_type: u16,
    lanes: usize,
    /// Slots that hold a ghost.
    pub live: u64,
    /// Slots whose ghost was never collected.
    fresh: u64,
    /// Slots whose row changed since the last seal.
    changed: u64,
    pub spawn_ticks: [Option<NetworkTick>; SLOTS],
    /// The tick at which the row of each slot last changed.
    pub versions: [Option<NetworkTick>; SLOTS],
    /// The tick since which the row of each slot changed with every tick.
    run_starts: [Option<NetworkTick>; SLOTS],
    /// The version before that.
    rest_versions: [Option<NetworkTick>; SLOTS],
    /// Counts everything that a client may have to be told about this chunk.
    pub revision: u64,
    current: Vec<u32>,
    slabs: VecDeque<Slab>,
}

impl Chunk {
    fn new(ghost_type: u16, lanes: usize) -> Self {
        Self {
            ghost_type,
            lanes,
            live: 0,
            fresh: 0,
            changed: 0,
            spawn_ticks: [None; SLOTS],
            versions: [None; SLOTS],
            run_starts: [None; SLOTS],
            rest_versions: [None; SLOTS],
            revision: 0,
            current: vec![0; lanes * SLOTS],
            slabs: VecDeque::new(),
        }
    }

    /// Ghosts that have been collected at least once and can be sent.
    pub(crate) fn sendable(&self) -> u64 {
        self.live & !self.fresh
    }

    /// The present row of a slot.
    pub(crate) fn row(&self, place: usize) -> &[u32] {
        row_of(&self.current, self.lanes, place)
    }

    fn slab_index(&self, tick: NetworkTick) -> Option<usize> {
        // While a chunk changes with every tick, the place is known; everything else is searched for.
        let newest = self.slabs.back()?;
        let guess =
            usize::try_from(newest.from.ticks_since(tick)).ok().and_then(|age| (self.slabs.len() - 1).checked_sub(age));
        if let Some(guess) = guess
            && self.slabs.get(guess).is_some_and(|slab| slab.from == tick)
        {
            return Some(guess);
        }
        let index = self.slabs.partition_point(|slab| !slab.from.is_newer_than(tick)).checked_sub(1)?;
        // A slab between this one and the next may have been released: then nothing is known of that time.
        let known = self.slabs.get(index)?.until.is_none_or(|until| until.is_newer_than(tick));
        known.then_some(index)
    }

    /// Whether a client that was sent the row of `held` has, whatever else it got, the row of `tick` as its newest one up to then: because
    /// it is that row, or because nothing changed between.
    pub(crate) fn names_row(&self, place: usize, held: NetworkTick, tick: NetworkTick) -> bool {
        if held == tick {
            return true;
        }
        let (Some(version), Some(run_start)) = (self.versions[place], self.run_starts[place]) else { return false };
        let unchanged_since_rest =
            self.rest_versions[place].is_some_and(|rest| !rest.is_newer_than(held)) && run_start.is_newer_than(tick);
        tick.is_newer_than(held) && (unchanged_since_rest || !version.is_newer_than(held))
    }

    /// All rows of the chunk as they were at `tick`, if they are still kept.
    pub(crate) fn rows_at(&self, tick: NetworkTick) -> Option<&[u32]> {
        Some(&self.slabs.get(self.slab_index(tick)?)?.rows)
    }

    /// One row out of [`rows_at`](Self::rows_at).
    pub(crate) fn row_in<'a>(&self, rows: &'a [u32], place: usize) -> &'a [u32] {
        row_of(rows, self.lanes, place)
    }

    /// Keeps the rows of `tick` until as many pins are taken back. False if they are gone already.
    pub(crate) fn pin(&mut self, tick: NetworkTick, count: u32) -> bool {
        let Some(index) = self.slab_index(tick) else { return false };
        self.slabs[index].pins += count;
        true
    }

    /// Takes back [pins](Self::pin) of the rows of `tick`.
    pub(crate) fn unpin(&mut self, tick: NetworkTick, count: u32) {
        if let Some(index) = self.slab_index(tick) {
            let pins = &mut self.slabs[index].pins;
            *pins = pins.saturating_sub(count);
        }
    }

    /// Ends a tick's collection: rows that changed get their version and go into a new slab.
    fn seal(&mut self, tick: NetworkTick, pool: &mut Vec<Vec<u32>>) -> bool {
        // A new ghost has a version even if it has no lanes at all.
        self.changed |= std::mem::take(&mut self.fresh);
        if self.changed == 0 {
            return false;
        }
        let before = Some(tick.prev());
        for place in bits(self.changed) {
            if self.versions[place] != before {
                self.rest_versions[place] = self.versions[place];
                self.run_starts[place] = Some(tick);
            }
            self.versions[place] = Some(tick);
        }
        self.changed = 0;
        self.revision += 1;
        if let Some(newest) = self.slabs.back_mut() {
            newest.until = Some(tick);
        }
        let mut rows = pool.pop().unwrap_or_default();
        rows.clear();
        rows.extend_from_slice(&self.current);
        self.slabs.push_back(Slab { from: tick, until: None, rows, pins: 0 });
        self.release(tick, pool);
        true
    }

    /// Gives back the slabs that nobody needs any more.
    fn release(&mut self, tick: NetworkTick, pool: &mut Vec<Vec<u32>>) {
        let is_spare =
            |slab: &Slab| slab.pins == 0 && slab.until.is_some_and(|until| tick.ticks_since(until) > SLAB_WINDOW_TICKS);
        let mut index = 0;
        while let Some(slab) = self.slabs.get(index) {
            // Slabs are in the order of time: behind the window none is spare.
            if slab.until.is_none_or(|until| tick.ticks_since(until) <= SLAB_WINDOW_TICKS) {
                break;
            }
            if is_spare(slab) {
                if let Some(slab) = self.slabs.remove(index) {
                    pool.push(slab.rows);
                }
            } else {
                index += 1;
            }
        }
    }
}

fn row_of(rows: &[u32], lanes: usize, place: usize) -> &[u32] {
    &rows[place * lanes..(place + 1) * lanes]
}

/// The places of the set bits, ascending.
pub(crate) fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (mask != 0).then(|| {
            let place = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            place
        })
    })
}

/// All chunks of a server world.
#[derive(Default)]
pub(crate) struct RowStore {
    pub chunks: Vec<Chunk>,
    /// Counts everything that any client may have to be told.
    pub revision: u64,
    /// Whether any ghost was never collected.
    any_fresh: bool,
    /// Lanes of a row by ghost type.
    lanes_of_type: Vec<usize>,
    /// Slots that are free again, by ghost type, in the order in which they became free.
    free: Vec<VecDeque<Slot>>,
    /// Slots never used, by ghost type.
    unused: Vec<VecDeque<Slot>>,
    pool: Vec<Vec<u32>>,
}

impl RowStore {
    pub(crate) fn new(lanes_of_type: Vec<usize>) -> Self {
        let types = lanes_of_type.len();
        Self {
            chunks: Vec::new(),
            revision: 0,
            any_fresh: false,
            lanes_of_type,
            free: vec![VecDeque::new(); types],
            unused: vec![VecDeque::new(); types],
            pool: Vec::new(),
        }
    }

    /// A slot for a new ghost; `None` if there are no more ids.
    pub(crate) fn allocate(&mut self, ghost_type: u16, tick: NetworkTick) -> Option<Slot> {
        let index = usize::from(ghost_type);
        let lanes = *self.lanes_of_type.get(index)?;
        let slot = match self.free[index].pop_front().or_else(|| self.unused[index].pop_front()) {
            Some(slot) => slot,
            None => {
                let chunk = self.chunks.len();
                if chunk >= limits::MAX_CHUNKS as usize {
                    return None;
                }
                self.chunks.push(Chunk::new(ghost_type, lanes));
                self.unused[index].extend((1..limits::CHUNK_SLOTS).map(|place| Slot::new(chunk, place)));
                Slot::new(chunk, 0)
            }
        };
        let chunk = &mut self.chunks[slot.chunk()];
        chunk.live |= slot.bit();
        chunk.fresh |= slot.bit();
        chunk.spawn_ticks[slot.place()] = Some(tick);
        chunk.versions[slot.place()] = None;
        chunk.run_starts[slot.place()] = None;
        chunk.rest_versions[slot.place()] = None;
        chunk.revision += 1;
        self.revision += 1;
        self.any_fresh = true;
        chunk.current[slot.place() * lanes..(slot.place() + 1) * lanes].fill(0);
        Some(slot)
    }

    /// The ghost in this slot is gone; the slot itself waits for [`free`](Self::free). False if there was none.
    pub(crate) fn despawn(&mut self, slot: Slot) -> bool {
        let Some(chunk) = self.chunks.get_mut(slot.chunk()) else { return false };
        let was_live = chunk.live & slot.bit() != 0;
        chunk.live &= !slot.bit();
        chunk.fresh &= !slot.bit();
        chunk.changed &= !slot.bit();
        chunk.spawn_ticks[slot.place()] = None;
        chunk.revision += 1;
        self.revision += 1;
        was_live
    }

    /// No client knows of the last ghost in this slot any more: it may be used again.
    pub(crate) fn free(&mut self, slot: Slot) {
        let Some(chunk) = self.chunks.get(slot.chunk()) else { return };
        self.free[usize::from(chunk.ghost_type)].push_back(slot);
    }

    /// How many ghosts there are.
    pub(crate) fn live_ghosts(&self) -> u32 {
        self.chunks.iter().map(|chunk| chunk.live.count_ones()).sum()
    }

    /// Where collected rows go.
    pub(crate) fn sink(&mut self) -> RowSink<'_> {
        RowSink { any_fresh: self.any_fresh, chunks: &mut self.chunks, quantise: QuantiseStats::default() }
    }

    /// Ends a tick's collection.
    pub(crate) fn seal(&mut self, tick: NetworkTick) {
        for chunk in &mut self.chunks {
            self.revision += u64::from(chunk.seal(tick, &mut self.pool));
        }
        self.any_fresh = false;
    }

    /// Bytes of rows kept, the present ones included.
    pub(crate) fn memory_bytes(&self) -> usize {
        let rows: usize = self.chunks.iter().map(|chunk| chunk.current.len() * (1 + chunk.slabs.len())).sum();
        rows * size_of::<u32>()
    }
}

/// Takes the lanes of one component of one ghost at a time.
pub(crate) struct RowSink<'a> {
    chunks: &'a mut [Chunk],
    any_fresh: bool,
    /// What quantising had to change.
    pub quantise: QuantiseStats,
}

impl RowSink<'_> {
    /// Whether any ghost was never collected.
    pub(crate) fn any_fresh(&self) -> bool {
        self.any_fresh
    }

    /// Whether the ghost in this slot was never collected, so that all of it is to be written.
    pub(crate) fn is_fresh(&self, slot: Slot) -> bool {
        self.chunks.get(slot.chunk()).is_some_and(|chunk| chunk.fresh & slot.bit() != 0)
    }

    /// Puts a component's lanes into the ghost's present row.
    pub(crate) fn write(&mut self, slot: Slot, first_lane: usize, lanes: &[u32]) {
        let Some(chunk) = self.chunks.get_mut(slot.chunk()) else { return };
        if chunk.live & slot.bit() == 0 {
            return;
        }
        let start = slot.place() * chunk.lanes + first_lane;
        let Some(row) = chunk.current.get_mut(start..start + lanes.len()) else { return };
        if row != lanes {
            row.copy_from_slice(lanes);
            chunk.changed |= slot.bit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(index: u32) -> NetworkTick {
        NetworkTick::new(index)
    }

    fn store_with_one_ghost() -> (RowStore, Slot) {
        let mut store = RowStore::new(vec![2]);
        let slot = store.allocate(0, tick(1)).unwrap();
        (store, slot)
    }

    fn write(store: &mut RowStore, slot: Slot, lanes: [u32; 2], at: u32) {
        store.sink().write(slot, 0, &lanes);
        store.seal(tick(at));
    }

    fn row_at(chunk: &Chunk, place: usize, tick: NetworkTick) -> Option<&[u32]> {
        chunk.rows_at(tick).map(|rows| chunk.row_in(rows, place))
    }

    #[test]
    fn a_past_row_is_found_by_any_tick_at_which_it_was_the_present_one() {
        let (mut store, slot) = store_with_one_ghost();
        write(&mut store, slot, [1, 1], 2);
        write(&mut store, slot, [1, 1], 3);
        write(&mut store, slot, [5, 5], 4);
        let chunk = &store.chunks[0];
        assert_eq!(row_at(chunk, 0, tick(1)), None);
        assert_eq!(row_at(chunk, 0, tick(3)), Some(&[1, 1][..]));
        assert_eq!(row_at(chunk, 0, tick(9)), Some(&[5, 5][..]));
        assert_eq!(chunk.versions[0], Some(tick(4)));
    }

    #[test]
    fn a_value_that_changes_back_has_a_new_version() {
        let (mut store, slot) = store_with_one_ghost();
        write(&mut store, slot, [1, 1], 2);
        write(&mut store, slot, [2, 2], 3);
        write(&mut store, slot, [1, 1], 4);
        assert_eq!(store.chunks[0].versions[0], Some(tick(4)));
    }

    #[test]
    fn a_row_is_named_by_every_tick_of_a_rest_but_only_by_its_own_while_it_moves() {
        let (mut store, slot) = store_with_one_ghost();
        write(&mut store, slot, [1, 1], 2);
        for index in 3..20 {
            store.seal(tick(index));
        }
        for index in 20..30 {
            write(&mut store, slot, [index, 1], index);
        }
        let names = |held, at| store.chunks[0].names_row(0, tick(held), tick(at));
        assert!(names(2, 2) && names(2, 19) && names(10, 15) && names(25, 25));
        assert!(!names(2, 20) && !names(2, 25) && !names(24, 25), "it moved between");
        assert!(!names(15, 10), "what was held later says nothing of before");
        assert!(!names(1, 5), "nothing was there to hold");
    }

    #[test]
    fn a_pinned_row_outlives_the_window_and_a_released_one_is_not_mistaken_for_another() {
        let (mut store, slot) = store_with_one_ghost();
        for index in 2..300 {
            write(&mut store, slot, [index, 0], index);
            if index == 10 {
                assert!(store.chunks[0].pin(tick(10), 1));
            }
        }
        let chunk = &mut store.chunks[0];
        assert_eq!(row_at(chunk, 0, tick(10)), Some(&[10, 0][..]));
        assert_eq!(row_at(chunk, 0, tick(11)), None);
        assert_eq!(row_at(chunk, 0, tick(299)), Some(&[299, 0][..]));
        chunk.unpin(tick(10), 1);
        write(&mut store, slot, [0, 0], 300);
        assert_eq!(row_at(&store.chunks[0], 0, tick(10)), None);
    }

    #[test]
    fn a_ghost_at_rest_keeps_its_row_for_ever() {
        let (mut store, slot) = store_with_one_ghost();
        write(&mut store, slot, [7, 7], 2);
        for index in 3..5000 {
            store.seal(tick(index));
        }
        assert_eq!(row_at(&store.chunks[0], 0, tick(2)), Some(&[7, 7][..]));
        assert_eq!(store.memory_bytes(), 2 * 64 * 2 * 4);
    }

    #[test]
    fn slots_come_back_in_the_order_in_which_they_were_freed() {
        let mut store = RowStore::new(vec![1, 1]);
        let slots: Vec<Slot> = (0..3).map(|_| store.allocate(0, tick(1)).unwrap()).collect();
        assert_eq!(slots.iter().map(|slot| slot.id()).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(store.despawn(slots[1]) && store.despawn(slots[0]) && !store.despawn(slots[0]));
        store.free(slots[1]);
        store.free(slots[0]);
        assert_eq!(store.allocate(0, tick(2)), Some(slots[1]));
        assert_eq!(store.allocate(0, tick(2)), Some(slots[0]));
        assert_eq!(store.allocate(1, tick(2)).map(Slot::chunk), Some(1), "types don't share chunks");
    }

    #[test]
    fn steady_change_reuses_the_same_memory() {
        let (mut store, slot) = store_with_one_ghost();
        for index in 2..200 {
            write(&mut store, slot, [index, 0], index);
        }
        let steady = store.memory_bytes();
        for index in 200..2000 {
            write(&mut store, slot, [index, 0], index);
            assert_eq!(store.memory_bytes(), steady);
        }
    }
}

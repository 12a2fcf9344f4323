//! The server's rows: every ghost's present row, when it last changed, and the past rows that clients may still hold.
//! Written by `collect` through a [`RowSink`], read by `encode`; `sweep` gives back what nobody needs. Plain arrays, no ECS.

use ghostline_wire::{NetworkTick, QuantiseStats, limits};
use std::collections::VecDeque;

use super::bits::bits;
use super::slab::{Slabs, VectorPool};
use crate::ghost::Slot;

const SLOTS: usize = limits::CHUNK_SLOTS as usize;

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
    newest_spawn: Option<NetworkTick>,
    /// The tick at which the row of each slot last changed.
    pub versions: [Option<NetworkTick>; SLOTS],
    current: Vec<u32>,
    /// Past rows.
    pub slabs: Slabs,
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
            newest_spawn: None,
            versions: [None; SLOTS],
            current: vec![0; lanes * SLOTS],
            slabs: Slabs::new(lanes),
        }
    }

    /// Ghosts that have been collected at least once and can be sent.
    pub(crate) fn sendable(&self) -> u64 {
        self.live & !self.fresh
    }

    /// Slots whose ghost was spawned after `tick`, and those without one if there are any such.
    pub(crate) fn spawned_after(&self, tick: NetworkTick) -> u64 {
        if self.newest_spawn.is_none_or(|newest| !newest.is_newer_than(tick)) {
            return 0;
        }
        let is_after = |spawn: Option<NetworkTick>| spawn.is_none_or(|spawn| spawn.is_newer_than(tick));
        self.spawn_ticks
            .iter()
            .enumerate()
            .fold(0, |slots, (place, spawn)| slots | u64::from(is_after(*spawn)) << place)
    }

    /// The present row of a slot.
    pub(crate) fn row(&self, place: usize) -> &[u32] {
        &self.current[place * self.lanes..(place + 1) * self.lanes]
    }

    /// Ticks from the spawn of the ghost in this slot to `now`.
    pub(crate) fn spawn_age(&self, place: usize, now: NetworkTick) -> u32 {
        self.spawn_ticks[place].map_or(0, |spawn| now.ticks_since(spawn).max(0).unsigned_abs())
    }

    /// Ticks since the last change of the ghost in this slot.
    pub(crate) fn version_age(&self, place: usize, now: NetworkTick) -> u32 {
        self.versions[place].map_or(0, |version| now.ticks_since(version).max(0).unsigned_abs())
    }

    /// Ends a tick's collection: rows that changed get their version and go into a new slab.
    fn seal(&mut self, tick: NetworkTick, pool: &mut VectorPool) -> bool {
        // A new ghost has a version even if it has no lanes at all.
        let changed = std::mem::take(&mut self.changed) | std::mem::take(&mut self.fresh);
        if changed == 0 {
            return false;
        }
        for place in bits(changed) {
            self.versions[place] = Some(tick);
        }
        self.slabs.push(tick, changed, &self.current, pool);
        true
    }
}

/// All chunks of a server world.
#[derive(Default)]
pub(crate) struct RowStore {
    pub chunks: Vec<Chunk>,
    /// By chunk, counts everything that a client may have to be told about it. Never 0.
    pub revisions: Vec<u32>,
    /// Counts everything that any client may have to be told.
    pub revision: u64,
    /// Ghosts that there are.
    pub live_ghosts: u32,
    /// Whether any ghost was never collected.
    any_fresh: bool,
    /// Lanes of a row by ghost type.
    lanes_of_type: Vec<usize>,
    /// Slots that are free again, by ghost type, in the order in which they became free.
    free: Vec<VecDeque<Slot>>,
    /// Slots never used, by ghost type.
    unused: Vec<VecDeque<Slot>>,
    pool: VectorPool,
}

impl RowStore {
    pub(crate) fn new(lanes_of_type: Vec<usize>) -> Self {
        let mut store = Self::default();
        lanes_of_type.into_iter().for_each(|lanes| store.add_type(lanes));
        store
    }

    /// One more ghost type.
    pub(crate) fn add_type(&mut self, lanes: usize) {
        self.lanes_of_type.push(lanes);
        self.free.push(VecDeque::new());
        self.unused.push(VecDeque::new());
    }

    fn touch(&mut self, chunk: usize) {
        self.revision += 1;
        if let Some(revision) = self.revisions.get_mut(chunk) {
            *revision = revision.wrapping_add(1).max(1);
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
                self.revisions.push(1);
                self.unused[index].extend((1..limits::CHUNK_SLOTS).map(|place| Slot::new(chunk, place)));
                Slot::new(chunk, 0)
            }
        };
        let chunk = &mut self.chunks[slot.chunk()];
        chunk.live |= slot.bit();
        chunk.fresh |= slot.bit();
        chunk.spawn_ticks[slot.place()] = Some(tick);
        chunk.newest_spawn = Some(tick);
        chunk.versions[slot.place()] = None;
        chunk.current[slot.place() * lanes..(slot.place() + 1) * lanes].fill(0);
        self.touch(slot.chunk());
        self.live_ghosts += 1;
        self.any_fresh = true;
        Some(slot)
    }

    /// The ghost in this slot is gone; the slot itself waits for [`free`](Self::free). False if there was none.
    pub(crate) fn despawn(&mut self, slot: Slot) -> bool {
        let Some(chunk) = self.chunks.get_mut(slot.chunk()) else { return false };
        if chunk.live & slot.bit() == 0 {
            return false;
        }
        chunk.live &= !slot.bit();
        chunk.fresh &= !slot.bit();
        chunk.changed &= !slot.bit();
        chunk.spawn_ticks[slot.place()] = None;
        self.touch(slot.chunk());
        self.live_ghosts -= 1;
        true
    }

    /// No client knows of the last ghost in this slot any more: it may be used again.
    pub(crate) fn free(&mut self, slot: Slot) {
        let Some(chunk) = self.chunks.get(slot.chunk()) else { return };
        self.free[usize::from(chunk.ghost_type)].push_back(slot);
    }

    /// Where collected rows go.
    pub(crate) fn sink(&mut self) -> RowSink<'_> {
        RowSink { any_fresh: self.any_fresh, chunks: &mut self.chunks, quantise: QuantiseStats::default() }
    }

    /// Ends a tick's collection.
    pub(crate) fn seal(&mut self, tick: NetworkTick) {
        for (chunk, revision) in self.chunks.iter_mut().zip(&mut self.revisions) {
            if chunk.seal(tick, &mut self.pool) {
                self.revision += 1;
                *revision = revision.wrapping_add(1).max(1);
            }
        }
        self.any_fresh = false;
    }

    /// Gives back the rows of a chunk that are older than `since`, not marked, and not the newest ones up to then. Takes back all marks.
    pub(crate) fn sweep(&mut self, chunk: usize, since: NetworkTick) {
        if let Some(chunk) = self.chunks.get_mut(chunk) {
            chunk.slabs.sweep(since, &mut self.pool);
        }
    }

    /// Every ghost's present row, in the order of ids: the id, the tick of the spawn, the tick of the last change, the lanes.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (u32, NetworkTick, NetworkTick, &[u32])> {
        self.chunks.iter().enumerate().flat_map(|(index, chunk)| {
            bits(chunk.sendable()).filter_map(move |place| {
                let (spawn, version) = (chunk.spawn_ticks[place]?, chunk.versions[place]?);
                Some((Slot::new(index, place as u32).id(), spawn, version, chunk.row(place)))
            })
        })
    }

    /// Gives back the memory that is kept for the next rows.
    pub(crate) fn trim(&mut self) {
        self.pool.trim();
    }

    /// Bytes of past rows, those kept for the next ones included.
    pub(crate) fn history_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.slabs.memory_bytes()).sum::<usize>() + self.pool.memory_bytes()
    }

    /// Bytes of all rows and of what is known of them.
    pub(crate) fn memory_bytes(&self) -> usize {
        let present: usize = self.chunks.iter().map(|chunk| size_of_val(&chunk.current[..])).sum();
        present + self.chunks.capacity() * size_of::<Chunk>() + self.history_bytes()
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

    #[test]
    fn a_value_that_changes_back_has_a_new_version() {
        let (mut store, slot) = store_with_one_ghost();
        write(&mut store, slot, [1, 1], 2);
        write(&mut store, slot, [2, 2], 3);
        write(&mut store, slot, [1, 1], 4);
        assert_eq!(store.chunks[0].versions[0], Some(tick(4)));
        write(&mut store, slot, [1, 1], 5);
        assert_eq!(store.chunks[0].versions[0], Some(tick(4)), "the same again is no change");
    }

    #[test]
    fn everything_that_a_client_may_have_to_be_told_moves_the_revision() {
        let (mut store, slot) = store_with_one_ghost();
        let mut last = (store.revision, store.revisions[0]);
        let mut moved = |store: &RowStore| {
            let now = (store.revision, store.revisions[0]);
            let both = now.0 != last.0 && now.1 != last.1;
            let none = now == last;
            last = now;
            assert!(both || none);
            both
        };
        write(&mut store, slot, [1, 1], 2);
        assert!(moved(&store));
        store.seal(tick(3));
        assert!(!moved(&store), "nothing changed");
        store.allocate(0, tick(3));
        assert!(moved(&store));
        store.despawn(slot);
        assert!(moved(&store) && store.live_ghosts == 1);
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
        let mut steady = 0;
        for index in 2..2000 {
            write(&mut store, slot, [index, 0], index);
            if index > 40 {
                store.sweep(0, tick(index - 32));
            }
            if index == 200 {
                steady = store.memory_bytes();
            }
            assert!(index < 200 || store.memory_bytes() == steady, "tick {index}");
        }
    }
}

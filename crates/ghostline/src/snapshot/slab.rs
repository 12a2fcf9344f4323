//! The past rows of a chunk: one slab per tick with changes, which holds the rows that changed then and no others. So a ghost that rests costs
//! nothing, and one row of a slab can be kept while the others go.
//! Written when the store is sealed; looked up by `encode` and `view`; thinned out by `sweep`.

use ghostline_wire::NetworkTick;
use std::collections::VecDeque;

use super::bits::bits;

/// The rows that changed at one tick.
struct Slab {
    tick: NetworkTick,
    /// Slots whose row changed at this tick.
    changed: u64,
    /// Of them, those whose row is still here, in `rows` in ascending order.
    kept: u64,
    /// Slots that also changed between the slab before and this one, in slabs that are gone; and the oldest tick of those.
    lost: u64,
    lost_from: NetworkTick,
    /// Slots whose row somebody needs, until the next sweep.
    marked: u64,
    rows: Vec<u32>,
}

/// The slabs of one chunk, oldest first.
pub(crate) struct Slabs {
    lanes: usize,
    slabs: VecDeque<Slab>,
    /// Some row may lie before a newer one of its slot: there may be something to give back, now or later.
    has_past: bool,
}

/// The number of set bits of `mask` below `place`.
fn rank(mask: u64, place: usize) -> usize {
    (mask & ((1u64 << place) - 1)).count_ones() as usize
}

impl Slabs {
    pub(crate) fn new(lanes: usize) -> Self {
        Self { lanes, slabs: VecDeque::new(), has_past: false }
    }

    /// The number of slabs up to `tick`.
    fn count_until(&self, tick: NetworkTick) -> usize {
        // While a chunk changes with every tick, the place is known; everything else is searched for.
        let Some(newest) = self.slabs.back() else { return 0 };
        let Ok(age) = usize::try_from(newest.tick.ticks_since(tick)) else { return self.slabs.len() };
        if let Some(guess) = (self.slabs.len() - 1).checked_sub(age)
            && self.slabs.get(guess).is_some_and(|slab| slab.tick == tick)
        {
            return guess + 1;
        }
        self.slabs.partition_point(|slab| !slab.tick.is_newer_than(tick))
    }

    /// Notes the rows that changed at a tick, newer than all before. `rows` are those of all slots.
    pub(super) fn push(&mut self, tick: NetworkTick, changed: u64, rows: &[u32], pool: &mut VectorPool) {
        self.has_past |= !self.slabs.is_empty();
        let mut kept = pool.take(changed.count_ones() as usize * self.lanes);
        if changed == u64::MAX {
            kept.extend_from_slice(rows);
        } else {
            for place in bits(changed) {
                kept.extend_from_slice(rows.get(place * self.lanes..(place + 1) * self.lanes).unwrap_or_default());
            }
        }
        self.slabs.push_back(Slab { tick, changed, kept: changed, lost: 0, lost_from: tick, marked: 0, rows: kept });
    }

    /// Slots of which it is not known whether they changed after the last of the first `count` slabs, up to `tick`.
    fn unknown_until(&self, count: usize, tick: NetworkTick) -> u64 {
        self.slabs.get(count).filter(|next| !next.lost_from.is_newer_than(tick)).map_or(0, |next| next.lost)
    }

    /// Slots that changed after `after` and not after `until`; more, if that is no longer known.
    pub(crate) fn changed_between(&self, after: NetworkTick, until: NetworkTick) -> u64 {
        let count = self.count_until(until);
        let newer = self.slabs.range(..count).rev().take_while(|slab| slab.tick.is_newer_than(after));
        newer.fold(self.unknown_until(count, until), |changed, slab| changed | slab.changed | slab.lost)
    }

    /// Slots that changed after `after`.
    pub(crate) fn changed_since(&self, after: NetworkTick) -> u64 {
        let newer = self.slabs.iter().rev().take_while(|slab| slab.tick.is_newer_than(after));
        newer.fold(0, |changed, slab| changed | slab.changed | slab.lost)
    }

    /// Slots that changed at exactly this tick.
    pub(crate) fn changed_at(&self, tick: NetworkTick) -> u64 {
        self.index_of(tick).and_then(|index| self.slabs.get(index)).map_or(0, |slab| slab.changed)
    }

    /// The tick of a slot's last change up to `tick`; `None` if that is no longer known.
    pub(crate) fn version_until(&self, place: usize, tick: NetworkTick) -> Option<NetworkTick> {
        let (bit, count) = (1u64 << place, self.count_until(tick));
        if self.unknown_until(count, tick) & bit != 0 {
            return None;
        }
        for slab in self.slabs.range(..count).rev() {
            if slab.changed & bit != 0 {
                return Some(slab.tick);
            }
            if slab.lost & bit != 0 {
                return None;
            }
        }
        None
    }

    /// The rows as they were at `tick`.
    pub(crate) fn at(&self, tick: NetworkTick) -> RowsAt<'_> {
        let count = self.count_until(tick);
        let newest = count.checked_sub(1).and_then(|last| self.slabs.get(last));
        RowsAt { slabs: self, newest, count, unknown: self.unknown_until(count, tick) }
    }

    fn index_of(&self, tick: NetworkTick) -> Option<usize> {
        self.count_until(tick)
            .checked_sub(1)
            .filter(|&index| self.slabs.get(index).is_some_and(|slab| slab.tick == tick))
    }

    /// Whether any row may have to be given back, now or later. If not, there is nothing to mark.
    pub(crate) fn has_past(&self) -> bool {
        self.has_past
    }

    /// Marks the rows that these slots got at `tick`: somebody needs them.
    pub(crate) fn mark(&mut self, slots: u64, tick: NetworkTick) {
        if let Some(slab) = self.index_of(tick).and_then(|index| self.slabs.get_mut(index)) {
            slab.marked |= slots;
        }
    }

    /// The row that a slot got at `tick`; `None` if it is no longer known. What was marked is known, also where [`at`](Self::at) isn't sure
    /// whether it was still in force some time later.
    pub(crate) fn version(&self, place: usize, tick: NetworkTick) -> Option<&[u32]> {
        let slab = self.slabs.get(self.index_of(tick)?)?;
        if slab.kept & (1 << place) == 0 {
            return None;
        }
        self.row_of(slab, place)
    }

    #[inline]
    fn row_of<'a>(&'a self, slab: &'a Slab, place: usize) -> Option<&'a [u32]> {
        let start = rank(slab.kept, place) * self.lanes;
        slab.rows.get(start..start + self.lanes)
    }

    /// Keeps of the slabs before `since` what is marked, and of every slot the newest row up to then. Takes back all marks.
    pub(super) fn sweep(&mut self, since: NetworkTick, pool: &mut VectorPool) {
        // Slots that have a row in a slab that is no newer than that time, and newer than the one looked at; and those that have any newer one.
        let (mut covered, mut newer) = (0, 0);
        self.has_past = false;
        for index in (0..self.slabs.len()).rev() {
            let Some(slab) = self.slabs.get_mut(index) else { return };
            let marked = std::mem::take(&mut slab.marked);
            if !slab.tick.is_newer_than(since) {
                let in_force = slab.changed & !covered;
                covered |= slab.changed;
                slab.keep(marked | in_force, self.lanes, pool);
            }
            self.has_past |= slab.kept & newer != 0;
            newer |= slab.changed;
            if slab.kept != 0 {
                continue;
            }
            pool.give(std::mem::take(&mut slab.rows));
            if let Some(gone) = self.slabs.remove(index)
                && let Some(next) = self.slabs.get_mut(index)
            {
                next.lost |= gone.changed | gone.lost;
                next.lost_from = if gone.lost == 0 { gone.tick } else { gone.lost_from };
            }
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let rows: usize = self.slabs.iter().map(|slab| slab.rows.capacity() * size_of::<u32>()).sum();
        rows + self.slabs.capacity() * size_of::<Slab>()
    }
}

impl Slab {
    /// Keeps only the rows of these slots.
    fn keep(&mut self, slots: u64, lanes: usize, pool: &mut VectorPool) {
        let kept = self.kept & slots;
        if kept == self.kept || kept == 0 {
            self.kept = kept;
            return;
        }
        let mut rows = pool.take(kept.count_ones() as usize * lanes);
        for place in bits(kept) {
            let start = rank(self.kept, place) * lanes;
            rows.extend_from_slice(self.rows.get(start..start + lanes).unwrap_or_default());
        }
        self.kept = kept;
        pool.give(std::mem::replace(&mut self.rows, rows));
    }
}

/// The rows of a chunk as they were at one tick.
#[derive(Clone, Copy)]
pub(crate) struct RowsAt<'a> {
    slabs: &'a Slabs,
    /// Slabs up to that tick, and the last of them.
    count: usize,
    newest: Option<&'a Slab>,
    /// Slots whose row of that tick is no longer known.
    unknown: u64,
}

impl<'a> RowsAt<'a> {
    /// The row of a slot; `None` if it is no longer known, or was never there.
    #[inline]
    pub(crate) fn row(&self, place: usize) -> Option<&'a [u32]> {
        let bit = 1u64 << place;
        if self.unknown & bit != 0 {
            return None;
        }
        // What moves is in the last one.
        if let Some(slab) = self.newest.filter(|slab| slab.kept & bit != 0) {
            return self.slabs.row_of(slab, place);
        }
        for slab in self.slabs.slabs.range(..self.count).rev() {
            if slab.kept & bit != 0 {
                return self.slabs.row_of(slab, place);
            }
            if (slab.changed | slab.lost) & bit != 0 {
                return None;
            }
        }
        None
    }
}

/// Vectors that are used again, by their size.
#[derive(Default)]
pub(crate) struct VectorPool {
    by_size: Vec<Vec<Vec<u32>>>,
}

impl VectorPool {
    /// An empty vector with room for `len` values.
    fn take(&mut self, len: usize) -> Vec<u32> {
        let class = len.next_power_of_two().ilog2() as usize;
        self.by_size.get_mut(class).and_then(Vec::pop).unwrap_or_else(|| Vec::with_capacity(1 << class))
    }

    fn give(&mut self, mut vector: Vec<u32>) {
        vector.clear();
        let Some(class) = vector.capacity().checked_ilog2().map(|class| class as usize) else { return };
        if self.by_size.len() <= class {
            self.by_size.resize_with(class + 1, Vec::new);
        }
        self.by_size[class].push(vector);
    }

    /// Gives all memory back.
    pub(super) fn trim(&mut self) {
        self.by_size.clear();
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.by_size.iter().flatten().map(|vector| vector.capacity() * size_of::<u32>()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tick(index: u32) -> NetworkTick {
        NetworkTick::new(index)
    }

    /// Slabs of two lanes whose rows are made of tick and slot, with changes at random; and what is true.
    struct Played {
        slabs: Slabs,
        pool: VectorPool,
        /// Ticks of changes by slot, oldest first.
        changes: Vec<Vec<u32>>,
    }

    impl Played {
        fn new() -> Self {
            Self { slabs: Slabs::new(2), pool: VectorPool::default(), changes: vec![Vec::new(); 64] }
        }

        fn change(&mut self, at: u32, slots: u64) {
            let rows: Vec<u32> = (0..64).flat_map(|slot| [at, slot]).collect();
            self.slabs.push(tick(at), slots, &rows, &mut self.pool);
            bits(slots).for_each(|slot| self.changes[slot].push(at));
        }

        fn version(&self, slot: usize, at: u32) -> Option<u32> {
            self.changes[slot].iter().rev().find(|version| **version <= at).copied()
        }

        fn row(&self, slot: usize, at: u32) -> Option<[u32; 2]> {
            self.slabs.at(tick(at)).row(slot).map(|row| row.try_into().unwrap())
        }
    }

    #[test]
    fn a_past_row_is_found_by_any_tick_at_which_it_was_the_present_one() {
        let mut played = Played::new();
        played.change(2, 0b11);
        played.change(4, 0b01);
        assert_eq!([1, 2, 3, 4, 9].map(|at| played.row(0, at).map(|row| row[0])), {
            [None, Some(2), Some(2), Some(4), Some(4)]
        });
        assert_eq!(played.row(1, 9), Some([2, 1]));
        assert_eq!(played.row(5, 9), None);
    }

    #[test]
    fn a_ghost_at_rest_keeps_its_row_for_ever_and_costs_nothing() {
        let mut played = Played::new();
        played.change(2, 0b10);
        for at in 3..5000 {
            played.change(at, 0b01);
            played.slabs.sweep(tick(at - 1), &mut played.pool);
        }
        assert_eq!(played.row(1, 4000), Some([2, 1]));
        assert_eq!(played.slabs.changed_between(tick(2), tick(4999)) & 0b10, 0);
        assert!(played.slabs.slabs.len() <= 4, "{}", played.slabs.slabs.len());
    }

    #[test]
    fn a_marked_row_outlives_the_sweep_and_one_that_is_gone_is_not_mistaken_for_another() {
        let mut played = Played::new();
        for at in 2..100 {
            played.change(at, 1);
        }
        played.slabs.mark(1, tick(10));
        played.slabs.sweep(tick(50), &mut played.pool);
        assert_eq!(played.row(0, 10), Some([10, 0]));
        assert_eq!((played.row(0, 11), played.row(0, 49)), (None, None));
        assert_eq!(played.row(0, 50), Some([50, 0]), "in force when the kept time begins");
        assert_eq!(played.slabs.changed_between(tick(10), tick(11)), 1, "what is not known may have changed");
        played.slabs.sweep(tick(50), &mut played.pool);
        assert_eq!(played.row(0, 10), None, "the mark was for one sweep");
    }

    proptest! {
        #[test]
        fn whatever_is_swept_a_row_is_the_right_one_or_none(
            steps in proptest::collection::vec((1..4u32, any::<u64>(), any::<u64>(), 0..4u8, 0..40u32), 1..60),
        ) {
            let mut played = Played::new();
            let (mut now, mut since) = (1, 0);
            let mut kept: Vec<(usize, u32)> = Vec::new();
            for (ahead, a, b, what, back) in steps {
                now += ahead;
                played.change(now, a & b | 1 << (a % 64));
                let at = now.saturating_sub(back);
                if what == 0 {
                    let more = bits(a & !b).filter_map(|slot| Some((slot, played.version(slot, at)?)));
                    kept.extend(more.filter(|&(slot, at)| played.slabs.version(slot, tick(at)).is_some()));
                    kept.iter().for_each(|&(slot, at)| played.slabs.mark(1 << slot, tick(at)));
                    since = since.max(at);
                    played.slabs.sweep(tick(since), &mut played.pool);
                }
                for slot in 0..64 {
                    for at in [at, now, since, at / 2] {
                        let truth = played.version(slot, at).map(|version| [version, slot as u32]);
                        let found = played.row(slot, at);
                        prop_assert!(found.is_none() || found == truth, "slot {slot} at {at}: {found:?}, not {truth:?}");
                        prop_assert!(at < since || found == truth, "slot {slot} at {at}, kept since {since}");
                        let changed = played.slabs.changed_between(tick(at / 2), tick(at)) >> slot & 1 == 1;
                        let truly = played.version(slot, at) != played.version(slot, at / 2);
                        prop_assert!(changed || !truly, "slot {slot} changed between {} and {at}", at / 2);
                        prop_assert!(at / 2 < since || changed == truly);
                    }
                }
                for &(slot, at) in &kept {
                    let row = played.slabs.version(slot, tick(at)).map(|row| row.to_vec());
                    prop_assert_eq!(row, Some(vec![at, slot as u32]), "marked slot {} at {}", slot, at);
                }
                if what == 1 {
                    kept.clear();
                }
            }
        }
    }
}

//! Client: the rows of a chunk over time, body by body as they came, and when its ghosts were known to be unchanged.
//! Written by `decode`; read by it for baselines, and ghost by ghost through [`GhostRows`] by `interpolation` and `prediction`.

use ghostline_wire::{NetworkTick, limits};
use std::collections::VecDeque;

use super::bits::bits;

const SLOTS: usize = limits::CHUNK_SLOTS as usize;

/// The rows of one body.
struct Body {
    tick: NetworkTick,
    slots: u64,
    /// In the order of slots.
    rows: Vec<u32>,
}

/// The number of set bits of `mask` below `place`.
fn rank(mask: u64, place: usize) -> usize {
    (mask & ((1u64 << place) - 1)).count_ones() as usize
}

/// The rows of one chunk: those of the newest ticks, and of every slot the newest one before.
pub(crate) struct ChunkRows {
    lanes: usize,
    /// Oldest first.
    bodies: VecDeque<Body>,
    /// Ticks that they are of.
    ticks: usize,
    /// What is older, slot by slot.
    before: Vec<u32>,
    before_ticks: [Option<NetworkTick>; SLOTS],
    spare: Vec<Vec<u32>>,
}

impl ChunkRows {
    pub(crate) fn new(lanes: usize) -> Self {
        Self {
            lanes,
            bodies: VecDeque::new(),
            ticks: 0,
            before: Vec::new(),
            before_ticks: [None; SLOTS],
            spare: Vec::new(),
        }
    }

    /// An empty vector for the rows of a body.
    pub(crate) fn vector(&mut self) -> Vec<u32> {
        self.spare.pop().unwrap_or_default()
    }

    /// Gives a vector back that was not needed.
    pub(crate) fn give_back(&mut self, mut rows: Vec<u32>) {
        rows.clear();
        self.spare.push(rows);
    }

    /// The number of bodies up to `tick`.
    #[inline]
    fn count_until(&self, tick: NetworkTick) -> usize {
        let Some(newest) = self.bodies.back() else { return 0 };
        // While bodies come with every tick, the place is known; everything else is searched for.
        let Ok(age) = usize::try_from(newest.tick.ticks_since(tick)) else { return self.bodies.len() };
        if age == 0 {
            return self.bodies.len();
        }
        if self.ticks == self.bodies.len()
            && let Some(guess) = (self.bodies.len() - 1).checked_sub(age)
            && self.bodies.get(guess).is_some_and(|body| body.tick == tick)
        {
            return guess + 1;
        }
        self.bodies.partition_point(|body| !body.tick.is_newer_than(tick))
    }

    /// Takes in the rows of a body.
    pub(crate) fn insert(&mut self, tick: NetworkTick, slots: u64, rows: Vec<u32>) {
        let place = self.count_until(tick);
        let is_same =
            place.checked_sub(1).and_then(|before| self.bodies.get(before)).is_some_and(|body| body.tick == tick);
        self.ticks += usize::from(!is_same);
        self.bodies.insert(place, Body { tick, slots, rows });
        while self.ticks > limits::CLIENT_TICKS {
            let Some(oldest) = self.bodies.front().map(|body| body.tick) else { break };
            while let Some(body) = self.bodies.pop_front_if(|body| body.tick == oldest) {
                self.keep_newest(&body);
                self.give_back(body.rows);
            }
            self.ticks -= 1;
        }
    }

    /// Keeps of a body that goes what is the newest of its slot.
    fn keep_newest(&mut self, body: &Body) {
        self.before.resize(self.lanes * SLOTS, 0);
        for (number, place) in bits(body.slots).enumerate() {
            if self.before_ticks[place].is_some_and(|known| !body.tick.is_newer_than(known)) {
                continue;
            }
            self.before_ticks[place] = Some(body.tick);
            let row = body.rows.get(number * self.lanes..(number + 1) * self.lanes).unwrap_or_default();
            if let Some(before) = self.before.get_mut(place * self.lanes..place * self.lanes + row.len()) {
                before.copy_from_slice(row);
            }
        }
    }

    /// The slots of the body of this tick, if there is one.
    pub(crate) fn slots_at(&self, tick: NetworkTick) -> Option<u64> {
        let body = self.bodies.get(self.count_until(tick).checked_sub(1)?)?;
        (body.tick == tick).then_some(body.slots)
    }

    /// The rows as they were known at `tick`.
    pub(crate) fn at(&self, tick: NetworkTick) -> RowsAt<'_> {
        RowsAt { rows: self, tick, count: self.count_until(tick) }
    }

    #[inline]
    fn row_of<'a>(&'a self, body: &'a Body, place: usize) -> Option<&'a [u32]> {
        let start = rank(body.slots, place) * self.lanes;
        body.rows.get(start..start + self.lanes)
    }

    fn row_before(&self, place: usize) -> Option<TimedRow<'_>> {
        let tick = (*self.before_ticks.get(place)?)?;
        Some((tick, self.before.get(place * self.lanes..(place + 1) * self.lanes)?))
    }

    /// The newest row of a slot.
    fn newest(&self, place: usize) -> Option<TimedRow<'_>> {
        match self.bodies.iter().rev().find(|body| body.slots & (1 << place) != 0) {
            Some(body) => Some((body.tick, self.row_of(body, place)?)),
            None => self.row_before(place),
        }
    }

    /// The row of a slot that came next after `tick`.
    fn after(&self, place: usize, tick: NetworkTick) -> Option<TimedRow<'_>> {
        if let Some(row) = self.row_before(place).filter(|(at, _)| at.is_newer_than(tick)) {
            return Some(row);
        }
        let mut newer = self.bodies.range(self.count_until(tick)..);
        let body = newer.find(|body| body.slots & (1 << place) != 0)?;
        Some((body.tick, self.row_of(body, place)?))
    }

    /// Bytes of everything.
    pub(crate) fn memory_bytes(&self) -> usize {
        let vectors = self.bodies.iter().map(|body| &body.rows).chain(&self.spare).chain([&self.before]);
        vectors.map(|rows| rows.capacity() * size_of::<u32>()).sum::<usize>()
            + self.bodies.capacity() * size_of::<Body>()
    }
}

/// The rows of a chunk as they were known at one tick.
#[derive(Clone, Copy)]
pub(crate) struct RowsAt<'a> {
    rows: &'a ChunkRows,
    tick: NetworkTick,
    /// Bodies up to that tick.
    count: usize,
}

impl<'a> RowsAt<'a> {
    /// The newest row of a slot up to that tick, and the tick that it is from.
    #[inline]
    pub(crate) fn get(&self, place: usize) -> Option<(NetworkTick, &'a [u32])> {
        for body in self.rows.bodies.range(..self.count).rev() {
            if body.slots & (1 << place) != 0 {
                return Some((body.tick, self.rows.row_of(body, place)?));
            }
        }
        self.rows.row_before(place).filter(|(tick, _)| !tick.is_newer_than(self.tick))
    }

    /// The newest row of a slot up to that tick.
    #[inline]
    pub(crate) fn row(&self, place: usize) -> Option<&'a [u32]> {
        self.get(place).map(|(_, row)| row)
    }
}

/// What is held of one ghost: the rows of its slot from its spawn to its end.
#[derive(Clone, Copy)]
pub(crate) struct GhostRows<'a> {
    rows: &'a ChunkRows,
    place: usize,
    spawn: NetworkTick,
    /// From here on the slot may be another's.
    end: Option<NetworkTick>,
}

/// A row and its tick.
pub(crate) type TimedRow<'a> = (NetworkTick, &'a [u32]);

impl<'a> GhostRows<'a> {
    pub(crate) fn new(rows: &'a ChunkRows, place: usize, spawn: NetworkTick, end: Option<NetworkTick>) -> Self {
        Self { rows, place, spawn, end }
    }

    /// Its slot's place in the chunk.
    pub(crate) fn place(&self) -> usize {
        self.place
    }

    fn own(&self, row: TimedRow<'a>) -> Option<TimedRow<'a>> {
        let (tick, _) = row;
        let is_over = self.end.is_some_and(|end| !end.is_newer_than(tick));
        (!self.spawn.is_newer_than(tick) && !is_over).then_some(row)
    }

    /// The newest row at or before `tick`.
    pub(crate) fn at_or_before(&self, tick: NetworkTick) -> Option<TimedRow<'a>> {
        let tick = self.end.map_or(tick, |end| tick.min(end.prev()));
        self.own(self.rows.at(tick).get(self.place)?)
    }

    /// The newest row before `tick`.
    pub(crate) fn before(&self, tick: NetworkTick) -> Option<TimedRow<'a>> {
        self.at_or_before(tick.prev())
    }

    /// The row that came next after `tick`.
    pub(crate) fn after(&self, tick: NetworkTick) -> Option<TimedRow<'a>> {
        let tick = tick.max(self.spawn.prev());
        self.own(self.rows.after(self.place, tick)?)
    }

    /// The newest row.
    pub(crate) fn newest(&self) -> Option<TimedRow<'a>> {
        match self.end {
            Some(end) => self.before(end),
            None => self.own(self.rows.newest(self.place)?),
        }
    }

    /// The oldest row.
    pub(crate) fn oldest(&self) -> Option<TimedRow<'a>> {
        self.after(self.spawn.prev())
    }
}

/// When the ghosts of a chunk were told to be unchanged: the ticks of packets that covered them without a row.
#[derive(Default, Clone, Debug)]
pub(crate) struct Coverage {
    /// Tick and the slots covered, oldest first.
    entries: VecDeque<(NetworkTick, u64)>,
}

impl Coverage {
    /// Notes that at `tick` these slots were unchanged.
    pub(crate) fn insert(&mut self, tick: NetworkTick, slots: u64) {
        if let Some((newest, mask)) = self.entries.back_mut()
            && tick.is_newer_than(*newest)
            && *mask == slots
        {
            // What was unchanged for all this time is unchanged still: the newest tick says as much.
            *newest = tick;
            return;
        }
        let position = self.entries.partition_point(|(known, _)| !known.is_newer_than(tick));
        if let Some((known, mask)) = position.checked_sub(1).and_then(|before| self.entries.get_mut(before))
            && *known == tick
        {
            *mask |= slots;
            return;
        }
        self.entries.insert(position, (tick, slots));
        if self.entries.len() > limits::CLIENT_TICKS {
            self.entries.pop_front();
        }
    }

    /// The newest tick after `after` and before `before` (if given) at which the slot was unchanged.
    pub(crate) fn newest_between(
        &self,
        place: usize,
        after: NetworkTick,
        before: Option<NetworkTick>,
    ) -> Option<NetworkTick> {
        self.entries
            .iter()
            .rev()
            .skip_while(|(tick, _)| before.is_some_and(|before| !before.is_newer_than(*tick)))
            .take_while(|(tick, _)| tick.is_newer_than(after))
            .find(|(_, slots)| slots & (1 << place) != 0)
            .map(|&(tick, _)| tick)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn tick(index: u32) -> NetworkTick {
        NetworkTick::new(index)
    }

    /// The rows of one ghost in slot 3, one lane each, at these ticks, whose row is the tick's number.
    pub(crate) fn rows(ticks: &[u32]) -> ChunkRows {
        let mut rows = ChunkRows::new(1);
        ticks.iter().for_each(|&index| rows.insert(tick(index), 1 << 3, vec![index]));
        rows
    }

    pub(crate) fn ghost(rows: &ChunkRows) -> GhostRows<'_> {
        GhostRows::new(rows, 3, tick(0), None)
    }

    #[test]
    fn rows_are_found_by_tick_in_whatever_order_they_came() {
        let rows = rows(&[5, 2, 9, 7]);
        let ghost = ghost(&rows);
        assert_eq!(ghost.at_or_before(tick(1)), None);
        assert_eq!(ghost.at_or_before(tick(6)), Some((tick(5), &[5][..])));
        assert_eq!(ghost.after(tick(5)), Some((tick(7), &[7][..])));
        assert_eq!((ghost.before(tick(2)), ghost.after(tick(9))), (None, None));
        assert_eq!(ghost.oldest(), Some((tick(2), &[2][..])));
        assert_eq!(ghost.newest(), Some((tick(9), &[9][..])));
    }

    #[test]
    fn the_rows_of_the_newest_64_ticks_are_kept_across_the_wrap_of_ticks() {
        let mut rows = ChunkRows::new(1);
        let start = tick(NetworkTick::MAX_INDEX - 100);
        for offset in 0..200 {
            rows.insert(start.add(offset), 1 << 3, vec![offset]);
        }
        let ghost = GhostRows::new(&rows, 3, start, None);
        for offset in 136..200 {
            assert_eq!(ghost.at_or_before(start.add(offset)), Some((start.add(offset), &[offset][..])));
        }
        assert_eq!(ghost.oldest(), Some((start.add(135), &[135][..])), "and the newest one before");
        assert_eq!(ghost.at_or_before(start.add(134)), None);
        rows.insert(start, 1 << 3, vec![0]);
        let ghost = GhostRows::new(&rows, 3, start, None);
        assert_eq!(ghost.oldest(), Some((start.add(135), &[135][..])), "a row older than all is not taken");
    }

    #[test]
    fn a_ghost_at_rest_keeps_its_row_while_others_of_its_chunk_move() {
        let mut rows = ChunkRows::new(2);
        rows.insert(tick(1), 0b1001, vec![1, 10, 4, 40]);
        for index in 2..500 {
            rows.insert(tick(index), 0b0001, vec![index, 0]);
        }
        let ghost = GhostRows::new(&rows, 3, tick(1), None);
        assert_eq!((ghost.newest(), ghost.oldest()), (Some((tick(1), &[4, 40][..])), Some((tick(1), &[4, 40][..]))));
        assert_eq!(ghost.at_or_before(tick(499)), Some((tick(1), &[4, 40][..])));
        assert_eq!(rows.at(tick(300)).row(3), Some(&[4, 40][..]));
        assert_eq!(rows.at(tick(300)).row(0), None, "nothing is as old as that");
    }

    #[test]
    fn several_bodies_of_a_tick_count_as_one() {
        let mut rows = ChunkRows::new(1);
        for index in 0..100 {
            rows.insert(tick(index), 0b01, vec![index]);
            rows.insert(tick(index), 0b10, vec![1000 + index]);
        }
        assert_eq!((rows.at(tick(36)).row(0), rows.at(tick(36)).row(1)), (Some(&[36][..]), Some(&[1036][..])));
        assert_eq!(rows.at(tick(99)).row(1), Some(&[1099][..]));
    }

    #[test]
    fn a_slot_that_is_used_again_shows_each_ghost_its_own_rows() {
        let rows = rows(&[5, 6, 7, 20, 21]);
        let (old, new) = (GhostRows::new(&rows, 3, tick(4), Some(tick(10))), GhostRows::new(&rows, 3, tick(20), None));
        assert_eq!((old.newest(), old.after(tick(7))), (Some((tick(7), &[7][..])), None));
        assert_eq!(old.at_or_before(tick(30)), Some((tick(7), &[7][..])));
        assert_eq!((new.oldest(), new.at_or_before(tick(19))), (Some((tick(20), &[20][..])), None));
    }

    #[test]
    fn steady_motion_reuses_the_same_memory() {
        let mut rows = ChunkRows::new(4);
        let mut steady = 0;
        for index in 0..1000 {
            let mut body = rows.vector();
            body.resize(64 * 4, index);
            rows.insert(tick(index), u64::MAX, body);
            if index == 200 {
                steady = rows.memory_bytes();
            }
            assert!(index < 200 || rows.memory_bytes() == steady);
        }
    }

    #[test]
    fn coverage_is_found_between_two_rows_only() {
        let mut coverage = Coverage::default();
        for index in [3, 5, 4, 9] {
            coverage.insert(tick(index), 0b10);
            coverage.insert(tick(index), 0b100 << index);
        }
        assert_eq!(coverage.newest_between(1, tick(2), Some(tick(9))), Some(tick(5)));
        assert_eq!(coverage.newest_between(1, tick(5), Some(tick(9))), None);
        assert_eq!(coverage.newest_between(1, tick(5), None), Some(tick(9)));
        assert_eq!(coverage.newest_between(0, tick(2), None), None);
    }

    #[test]
    fn a_long_rest_takes_one_entry() {
        let mut coverage = Coverage::default();
        (0..10_000).for_each(|index| coverage.insert(tick(index), u64::MAX));
        assert_eq!((coverage.entries.len(), coverage.newest_between(7, tick(0), None)), (1, Some(tick(9_999))));
    }
}

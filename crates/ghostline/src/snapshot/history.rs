//! Client: what is known of one ghost over time, and when a chunk's ghosts were known to be unchanged.
//! Written by `decode`, read by `interpolation` and `prediction`.

use ghostline_wire::{NetworkTick, limits};
use std::collections::VecDeque;
use std::ops::Range;

/// The newest rows of one ghost, in the order of their ticks.
#[derive(Default, Debug)]
pub(crate) struct RowHistory {
    /// Tick and the place of its row in `rows`, oldest first.
    entries: VecDeque<(NetworkTick, u32)>,
    rows: Vec<u32>,
    lanes: usize,
}

impl RowHistory {
    pub(crate) fn new(lanes: usize) -> Self {
        Self { entries: VecDeque::new(), rows: Vec::new(), lanes }
    }

    /// Adds the row of `tick`, wherever it belongs; the oldest goes when there are more than the wire format promises.
    pub(crate) fn insert(&mut self, tick: NetworkTick, row: &[u32]) {
        let position = self.index_at_or_before(tick).map_or(0, |before| before + 1);
        if position.checked_sub(1).and_then(|before| self.entries.get(before)).is_some_and(|(known, _)| *known == tick)
        {
            return;
        }
        let full = self.entries.len() >= limits::CLIENT_ROW_HISTORY;
        if full && position == 0 {
            return;
        }
        let place = if full {
            self.entries.pop_front().map_or(0, |(_, place)| place)
        } else {
            let place = self.entries.len();
            // All at once as soon as there is more than one: a ghost that moves fills its history.
            let rows = if place == 0 { 1 } else { limits::CLIENT_ROW_HISTORY };
            if self.rows.len() < rows * self.lanes {
                self.rows.resize(rows * self.lanes, 0);
                self.entries.reserve(rows.saturating_sub(place));
            }
            place as u32
        };
        let range = self.range(place);
        if let Some(target) = self.rows.get_mut(range)
            && row.len() == self.lanes
        {
            target.copy_from_slice(row);
        }
        self.entries.insert(position - usize::from(full), (tick, place));
    }

    fn range(&self, place: u32) -> Range<usize> {
        let start = place as usize * self.lanes;
        start..start + self.lanes
    }

    /// The newest row at or before `tick`.
    pub(crate) fn at_or_before(&self, tick: NetworkTick) -> Option<(NetworkTick, &[u32])> {
        self.get(self.index_at_or_before(tick)?)
    }

    /// The number, counted from the oldest, of the newest row at or before `tick`.
    pub(crate) fn index_at_or_before(&self, tick: NetworkTick) -> Option<usize> {
        // While rows come with every tick, the place is known; everything else is searched for.
        let last = self.entries.len().checked_sub(1)?;
        let (newest, _) = self.entries.get(last)?;
        let Ok(age) = usize::try_from(newest.ticks_since(tick)) else { return Some(last) };
        if let Some(guess) = last.checked_sub(age)
            && self.entries.get(guess).is_some_and(|(known, _)| *known == tick)
        {
            return Some(guess);
        }
        self.entries.partition_point(|(known, _)| !known.is_newer_than(tick)).checked_sub(1)
    }

    /// A row by its number, counted from the oldest.
    pub(crate) fn get(&self, index: usize) -> Option<(NetworkTick, &[u32])> {
        let &(tick, place) = self.entries.get(index)?;
        Some((tick, self.rows.get(self.range(place))?))
    }

    /// The newest row.
    pub(crate) fn newest(&self) -> Option<(NetworkTick, &[u32])> {
        self.get(self.entries.len().checked_sub(1)?)
    }

    /// The oldest row.
    pub(crate) fn oldest(&self) -> Option<(NetworkTick, &[u32])> {
        self.get(0)
    }

    /// How many rows are held.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
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
        let position = self.entries.partition_point(|(known, _)| !known.is_newer_than(tick));
        if let Some((known, mask)) = position.checked_sub(1).and_then(|before| self.entries.get_mut(before))
            && *known == tick
        {
            *mask |= slots;
            return;
        }
        self.entries.insert(position, (tick, slots));
        if self.entries.len() > limits::CLIENT_ROW_HISTORY {
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
mod tests {
    use super::*;

    fn tick(index: u32) -> NetworkTick {
        NetworkTick::new(index)
    }

    #[test]
    fn rows_are_found_by_tick_in_whatever_order_they_came() {
        let mut history = RowHistory::new(1);
        for index in [5, 2, 9, 7] {
            history.insert(tick(index), &[index]);
        }
        assert_eq!(history.at_or_before(tick(1)), None);
        assert_eq!(history.at_or_before(tick(6)), Some((tick(5), &[5][..])));
        assert_eq!(history.oldest(), Some((tick(2), &[2][..])));
        assert_eq!(history.newest(), Some((tick(9), &[9][..])));
    }

    #[test]
    fn the_newest_64_rows_are_kept_across_the_wrap_of_ticks() {
        let mut history = RowHistory::new(1);
        let start = tick(NetworkTick::MAX_INDEX - 100);
        for offset in 0..200 {
            history.insert(start.add(offset), &[offset]);
        }
        assert_eq!(history.len(), limits::CLIENT_ROW_HISTORY);
        for offset in 136..200 {
            assert_eq!(history.at_or_before(start.add(offset)), Some((start.add(offset), &[offset][..])));
        }
        assert_eq!(history.at_or_before(start.add(135)), None);
        history.insert(start, &[0]);
        assert_eq!(history.oldest(), Some((start.add(136), &[136][..])), "a row older than all is not taken");
    }

    #[test]
    fn coverage_is_found_between_two_rows_only() {
        let mut coverage = Coverage::default();
        for index in [3, 5, 4, 9] {
            coverage.insert(tick(index), 0b10);
        }
        assert_eq!(coverage.newest_between(1, tick(2), Some(tick(9))), Some(tick(5)));
        assert_eq!(coverage.newest_between(1, tick(5), Some(tick(9))), None);
        assert_eq!(coverage.newest_between(1, tick(5), None), Some(tick(9)));
        assert_eq!(coverage.newest_between(0, tick(2), None), None);
    }
}

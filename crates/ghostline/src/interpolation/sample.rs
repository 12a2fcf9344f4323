//! Finds the two rows around a point in time, and how far between them it lies. Plain history in, indices out.

use ghostline_wire::NetworkTick;

use crate::snapshot::{Coverage, RowHistory};

/// A point on the interpolation timeline: `fraction` of the way from the tick before to `tick`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SampleTime {
    pub tick: NetworkTick,
    /// Above 0, up to 1.
    pub fraction: f32,
}

/// Two rows by their number in the history, and the factor between them: 0 is `from`, 1 is `to`, above 1 is extrapolated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    pub from: usize,
    pub to: usize,
    pub factor: f32,
}

impl Sample {
    const fn hold(row: usize) -> Self {
        Self { from: row, to: row, factor: 0.0 }
    }
}

/// What the ghost in `place` of its chunk shows at `time`. `None` if nothing is held of it.
///
/// Between two rows a ghost was at rest as long as packets covered it without a row; the blend begins where that ended. Past the newest row it
/// is extrapolated from the last two for at most `max_extrapolation_ticks`, unless it was known to be at rest.
pub(crate) fn sample(
    history: &RowHistory,
    coverage: &Coverage,
    place: usize,
    time: SampleTime,
    max_extrapolation_ticks: u32,
) -> Option<Sample> {
    let partial = time.fraction < 1.0;
    let floor = if partial { time.tick.prev() } else { time.tick };
    let beyond_floor = if partial { time.fraction } else { 0.0 };
    let Some(before) = history.index_at_or_before(floor) else {
        // Nothing that old: the oldest is the nearest.
        return (history.len() > 0).then(|| Sample::hold(0));
    };
    let (before_tick, _) = history.get(before)?;
    if let Some((after_tick, _)) = history.get(before + 1) {
        let start = coverage.newest_between(place, before_tick, Some(after_tick)).unwrap_or(before_tick);
        return Some(Sample { from: before, to: before + 1, factor: factor(start, after_tick, floor, beyond_floor) });
    }
    let at_rest = coverage.newest_between(place, before_tick, None).is_some();
    if at_rest || (floor == before_tick && !partial) || before == 0 {
        return Some(Sample::hold(before));
    }
    let (previous_tick, _) = history.get(before - 1)?;
    let start = coverage.newest_between(place, previous_tick, Some(before_tick)).unwrap_or(previous_tick);
    let latest = before_tick.add(max_extrapolation_ticks);
    let (floor, beyond_floor) =
        if floor.is_newer_than(latest) || floor == latest { (latest, 0.0) } else { (floor, beyond_floor) };
    Some(Sample { from: before - 1, to: before, factor: factor(start, before_tick, floor, beyond_floor) })
}

/// How far `floor + beyond` lies from `start` to `end`; 0 before the start.
fn factor(start: NetworkTick, end: NetworkTick, floor: NetworkTick, beyond: f32) -> f32 {
    let length = end.ticks_since(start).max(1) as f32;
    let position = floor.ticks_since(start) as f32 + beyond;
    (position / length).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(index: u32) -> NetworkTick {
        NetworkTick::new(index)
    }

    fn history(ticks: &[u32]) -> RowHistory {
        let mut history = RowHistory::new(1);
        for &index in ticks {
            history.insert(tick(index), &[index]);
        }
        history
    }

    fn at(history: &RowHistory, coverage: &Coverage, index: u32, fraction: f32) -> Option<Sample> {
        sample(history, coverage, 0, SampleTime { tick: tick(index), fraction }, 20)
    }

    #[test]
    fn between_two_rows_the_factor_is_the_share_of_the_way() {
        let (history, none) = (history(&[10, 14]), Coverage::default());
        assert_eq!(at(&history, &none, 12, 1.0), Some(Sample { from: 0, to: 1, factor: 0.5 }));
        assert_eq!(at(&history, &none, 11, 0.5), Some(Sample { from: 0, to: 1, factor: 0.125 }));
        assert_eq!(at(&history, &none, 10, 1.0), Some(Sample { from: 0, to: 1, factor: 0.0 }));
    }

    #[test]
    fn a_ghost_that_rested_moves_from_where_the_rest_ended() {
        let (history, mut coverage) = (history(&[10, 20]), Coverage::default());
        coverage.insert(tick(18), 1);
        assert_eq!(at(&history, &coverage, 18, 1.0).map(|s| s.factor), Some(0.0));
        assert_eq!(at(&history, &coverage, 15, 1.0).map(|s| s.factor), Some(0.0));
        assert_eq!(at(&history, &coverage, 19, 1.0).map(|s| s.factor), Some(0.5));
    }

    #[test]
    fn beyond_the_newest_row_it_goes_on_for_a_bounded_time() {
        let (history, none) = (history(&[8, 10]), Coverage::default());
        assert_eq!(at(&history, &none, 10, 1.0), Some(Sample { from: 1, to: 1, factor: 0.0 }));
        assert_eq!(at(&history, &none, 12, 1.0), Some(Sample { from: 0, to: 1, factor: 2.0 }));
        assert_eq!(at(&history, &none, 30, 1.0).map(|s| s.factor), Some(11.0));
        assert_eq!(at(&history, &none, 90, 0.5).map(|s| s.factor), Some(11.0));
    }

    #[test]
    fn beyond_the_newest_row_a_ghost_at_rest_stays() {
        let (history, mut coverage) = (history(&[8, 10]), Coverage::default());
        coverage.insert(tick(11), 1);
        assert_eq!(at(&history, &coverage, 15, 1.0), Some(Sample { from: 1, to: 1, factor: 0.0 }));
    }

    #[test]
    fn before_the_oldest_row_the_oldest_is_shown() {
        let history = history(&[10, 14]);
        assert_eq!(at(&history, &Coverage::default(), 3, 1.0), Some(Sample { from: 0, to: 0, factor: 0.0 }));
        assert_eq!(at(&RowHistory::new(1), &Coverage::default(), 3, 1.0), None);
    }
}

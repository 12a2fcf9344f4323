//! Finds the two rows around a point in time, and how far between them it lies. Plain history in, rows out.

use ghostline_wire::NetworkTick;

use crate::snapshot::{Coverage, GhostRows, TimedRow};

/// A point on the interpolation timeline: `fraction` of the way from the tick before to `tick`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SampleTime {
    pub tick: NetworkTick,
    /// Above 0, up to 1.
    pub fraction: f32,
}

/// Two rows, and the factor between them: 0 is `from`, 1 is `to`, above 1 is extrapolated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample<'a> {
    pub from: TimedRow<'a>,
    pub to: TimedRow<'a>,
    pub factor: f32,
    /// Nothing more will be shown until something new arrives.
    pub is_final: bool,
}

impl<'a> Sample<'a> {
    const fn hold(row: TimedRow<'a>, is_final: bool) -> Self {
        Self { from: row, to: row, factor: 0.0, is_final }
    }
}

/// What a ghost shows at `time`. `None` if nothing is held of it.
///
/// Between two rows a ghost was at rest as long as packets covered it without a row; the blend begins where that ended. Past the newest row it
/// is extrapolated from the last two for at most `max_extrapolation_ticks`, unless it was known to be at rest.
pub(crate) fn sample<'a>(
    rows: GhostRows<'a>,
    coverage: &Coverage,
    time: SampleTime,
    max_extrapolation_ticks: u32,
) -> Option<Sample<'a>> {
    let place = rows.place();
    let partial = time.fraction < 1.0;
    let floor = if partial { time.tick.prev() } else { time.tick };
    let beyond_floor = if partial { time.fraction } else { 0.0 };
    let Some(before) = rows.at_or_before(floor) else {
        // Nothing that old: the oldest is the nearest.
        return Some(Sample::hold(rows.oldest()?, false));
    };
    let (before_tick, _) = before;
    if let Some(after) = rows.after(before_tick) {
        let start = coverage.newest_between(place, before_tick, Some(after.0)).unwrap_or(before_tick);
        let factor = factor(start, after.0, floor, beyond_floor);
        return Some(Sample { from: before, to: after, factor, is_final: false });
    }
    let at_rest = coverage.newest_between(place, before_tick, None).is_some();
    let previous = rows.before(before_tick).filter(|_| !at_rest && max_extrapolation_ticks > 0);
    let Some(previous) = previous else { return Some(Sample::hold(before, true)) };
    if floor == before_tick && !partial {
        return Some(Sample::hold(before, false));
    }
    let start = coverage.newest_between(place, previous.0, Some(before_tick)).unwrap_or(previous.0);
    let latest = before_tick.add(max_extrapolation_ticks);
    let (floor, beyond_floor) =
        if floor.is_newer_than(latest) || floor == latest { (latest, 0.0) } else { (floor, beyond_floor) };
    let factor = factor(start, before_tick, floor, beyond_floor);
    Some(Sample { from: previous, to: before, factor, is_final: false })
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
    use crate::snapshot::ChunkRows;

    const PLACE: usize = 3;

    fn tick(index: u32) -> NetworkTick {
        NetworkTick::new(index)
    }

    fn rows(ticks: &[u32]) -> ChunkRows {
        let mut rows = ChunkRows::new(1);
        ticks.iter().for_each(|&index| rows.insert(tick(index), 1 << PLACE, vec![index]));
        rows
    }

    /// Ticks of the two rows, and the factor.
    fn at(rows: &ChunkRows, coverage: &Coverage, index: u32, fraction: f32) -> Option<(u32, u32, f32)> {
        let ghost = GhostRows::new(rows, PLACE, tick(0), None);
        let sample = sample(ghost, coverage, SampleTime { tick: tick(index), fraction }, 20)?;
        Some((sample.from.0.index(), sample.to.0.index(), sample.factor))
    }

    #[test]
    fn between_two_rows_the_factor_is_the_share_of_the_way() {
        let (rows, none) = (rows(&[10, 14]), Coverage::default());
        assert_eq!(at(&rows, &none, 12, 1.0), Some((10, 14, 0.5)));
        assert_eq!(at(&rows, &none, 11, 0.5), Some((10, 14, 0.125)));
        assert_eq!(at(&rows, &none, 10, 1.0), Some((10, 14, 0.0)));
    }

    #[test]
    fn a_ghost_that_rested_moves_from_where_the_rest_ended() {
        let (rows, mut coverage) = (rows(&[10, 20]), Coverage::default());
        coverage.insert(tick(18), 1 << PLACE);
        assert_eq!(at(&rows, &coverage, 18, 1.0), Some((10, 20, 0.0)));
        assert_eq!(at(&rows, &coverage, 15, 1.0), Some((10, 20, 0.0)));
        assert_eq!(at(&rows, &coverage, 19, 1.0), Some((10, 20, 0.5)));
    }

    #[test]
    fn beyond_the_newest_row_it_goes_on_for_a_bounded_time() {
        let (rows, none) = (rows(&[8, 10]), Coverage::default());
        assert_eq!(at(&rows, &none, 10, 1.0), Some((10, 10, 0.0)));
        assert_eq!(at(&rows, &none, 12, 1.0), Some((8, 10, 2.0)));
        assert_eq!(at(&rows, &none, 30, 1.0), Some((8, 10, 11.0)));
        assert_eq!(at(&rows, &none, 90, 0.5), Some((8, 10, 11.0)));
    }

    #[test]
    fn beyond_the_newest_row_a_ghost_at_rest_stays() {
        let (rows, mut coverage) = (rows(&[8, 10]), Coverage::default());
        coverage.insert(tick(11), 1 << PLACE);
        assert_eq!(at(&rows, &coverage, 15, 1.0), Some((10, 10, 0.0)));
    }

    #[test]
    fn before_the_oldest_row_the_oldest_is_shown() {
        assert_eq!(at(&rows(&[10, 14]), &Coverage::default(), 3, 1.0), Some((10, 10, 0.0)));
        assert_eq!(at(&ChunkRows::new(1), &Coverage::default(), 3, 1.0), None);
    }

    #[test]
    fn what_rests_or_has_one_row_is_final_and_what_may_go_on_is_not() {
        let (rows, mut coverage) = (rows(&[8, 10]), Coverage::default());
        let is_final = |coverage: &Coverage, index, most| {
            let ghost = GhostRows::new(&rows, PLACE, tick(0), None);
            sample(ghost, coverage, SampleTime { tick: tick(index), fraction: 1.0 }, most).unwrap().is_final
        };
        assert!(!is_final(&coverage, 9, 20) && !is_final(&coverage, 10, 20) && !is_final(&coverage, 12, 20));
        assert!(is_final(&coverage, 12, 0), "nothing is extrapolated");
        coverage.insert(tick(11), 1 << PLACE);
        assert!(is_final(&coverage, 12, 20));
    }
}

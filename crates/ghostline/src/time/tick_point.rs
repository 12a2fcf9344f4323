//! Points and spans on the tick axis, in fixed point with 32 bits below the tick.
//! Time synchronisation moves such points; the client loop reads them. Integers, so that an hour of small steps loses nothing and a
//! wrap of the tick number changes nothing.

use std::time::Duration;

use ghostline_wire::NetworkTick;

use super::step::{NANOS_PER_SECOND, TickStep};

/// A signed distance on the tick axis in units of 2⁻³² tick, at most half the tick range (2³⁰ ticks) either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TickSpan(i64);

impl TickSpan {
    /// No distance.
    pub const ZERO: Self = Self(0);
    /// Bits below the tick.
    pub(super) const FRACTION_BITS: u32 = 32;
    /// One tick.
    pub const ONE: Self = Self(1 << Self::FRACTION_BITS);
    /// Half the range of tick numbers: beyond it "newer" and "older" lose their meaning.
    const LIMIT: i64 = 1 << 62;

    /// A whole number of ticks.
    pub const fn from_ticks(ticks: i32) -> Self {
        Self::from_q32((ticks as i64) << Self::FRACTION_BITS)
    }

    /// A number of 2⁻³² ticks; beyond ±2³⁰ ticks it is cut.
    pub const fn from_q32(q32: i64) -> Self {
        if q32 > Self::LIMIT {
            Self(Self::LIMIT)
        } else if q32 < -Self::LIMIT {
            Self(-Self::LIMIT)
        } else {
            Self(q32)
        }
    }

    /// A number of ticks, rounded to the nearest 2⁻³² tick; not a number counts as 0, beyond ±2³⁰ ticks it is cut.
    pub fn from_f64(ticks: f64) -> Self {
        // A cast from float to integer saturates and maps NaN to 0.
        Self::from_q32((ticks * Self::ONE.0 as f64).round() as i64)
    }

    /// The ticks that go into `dt` at the rate of `step`, rounded down to 2⁻³² tick.
    pub fn from_duration(dt: Duration, step: TickStep) -> Self {
        let nanos = u128::from(u64::try_from(dt.as_nanos()).unwrap_or(u64::MAX));
        let hertz = u128::from(step.hertz().min(i32::MAX.unsigned_abs()));
        let q32 = ((nanos * hertz) << Self::FRACTION_BITS) / u128::from(NANOS_PER_SECOND);
        Self::from_q32(i64::try_from(q32).unwrap_or(i64::MAX))
    }

    /// In units of 2⁻³² tick.
    pub const fn to_q32(self) -> i64 {
        self.0
    }

    /// In ticks.
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / Self::ONE.0 as f64
    }

    /// The time that this span takes, to the nearest nanosecond; `None` if it is negative.
    pub fn duration(self, step: TickStep) -> Option<Duration> {
        let q32 = u128::try_from(self.0).ok()?;
        let units_per_nano = u128::from(step.hertz()) << Self::FRACTION_BITS;
        let nanos = (q32 * u128::from(NANOS_PER_SECOND) + units_per_nano / 2) / units_per_nano;
        Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// The sum, cut at ±2³⁰ ticks.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self::from_q32(self.0.saturating_add(other.0))
    }

    /// The difference, cut at ±2³⁰ ticks.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self::from_q32(self.0.saturating_sub(other.0))
    }
}

/// A point on the tick axis: `fraction` of the way from `tick` to the tick after it.
///
/// This is the clock's own reading. [`NetworkTime`](super::NetworkTime) holds the *target tick* form of it: half-way between 10 and 11 is
/// `(10, 0.5)` here and `(11, 0.5)` there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TickPoint {
    tick: NetworkTick,
    fraction: u32,
}

impl TickPoint {
    /// The beginning of `tick`.
    pub const fn at(tick: NetworkTick) -> Self {
        Self { tick, fraction: 0 }
    }

    /// `fraction` in units of 2⁻³² tick after `tick`.
    pub const fn new(tick: NetworkTick, fraction: u32) -> Self {
        Self { tick, fraction }
    }

    /// The whole tick at or before this point.
    pub const fn tick(self) -> NetworkTick {
        self.tick
    }

    /// How far the point lies behind [`Self::tick`], in units of 2⁻³² tick.
    pub const fn fraction_q32(self) -> u32 {
        self.fraction
    }

    /// How far the point lies behind [`Self::tick`], in `0.0..1.0` ticks. Rounded down, so that it never reads 1.
    pub fn fraction(self) -> f32 {
        const BITS_KEPT: u32 = f32::MANTISSA_DIGITS;
        (self.fraction >> (u32::BITS - BITS_KEPT)) as f32 / (1_u32 << BITS_KEPT) as f32
    }

    /// This point moved along the axis; ticks wrap at 2³¹.
    #[must_use]
    pub const fn moved_by(self, span: TickSpan) -> Self {
        // `fraction` is below 2³² and a span at most 2⁶², so the sum fits.
        let q32 = self.fraction as i64 + span.0;
        let ticks = q32 >> TickSpan::FRACTION_BITS;
        let tick = if ticks < 0 { self.tick.sub(ticks.unsigned_abs() as u32) } else { self.tick.add(ticks as u32) };
        Self { tick, fraction: q32 as u32 }
    }

    /// The way from `older` to this point; negative if `older` is in fact the newer one.
    pub const fn since(self, older: Self) -> TickSpan {
        let ticks = self.tick.ticks_since(older.tick) as i64;
        TickSpan::from_q32((ticks << TickSpan::FRACTION_BITS) + self.fraction as i64 - older.fraction as i64)
    }

    /// The newer of two points.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        if other.since(self) > TickSpan::ZERO { other } else { self }
    }

    /// The older of two points.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        if other.since(self) < TickSpan::ZERO { other } else { self }
    }

    /// The first whole tick at or after this point, and how far the way to it is done, in `(0.0, 1.0]`.
    pub fn target(self) -> (NetworkTick, f32) {
        if self.fraction == 0 {
            (self.tick, 1.0)
        } else {
            // A fraction too small for the float must still be more than nothing.
            (self.tick.next(), self.fraction().max(f32::EPSILON))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point(index: u32, fraction: f64) -> TickPoint {
        TickPoint::at(NetworkTick::new(index)).moved_by(TickSpan::from_f64(fraction))
    }

    #[test]
    fn half_way_from_ten_to_eleven_targets_eleven() {
        assert_eq!(point(10, 0.5).target(), (NetworkTick::new(11), 0.5));
        assert_eq!(point(10, 0.0).target(), (NetworkTick::new(10), 1.0));
    }

    #[test]
    fn the_smallest_fraction_is_more_than_nothing_and_the_largest_less_than_one() {
        let (tick, fraction) = TickPoint::new(NetworkTick::new(10), 1).target();
        assert_eq!(tick, NetworkTick::new(11));
        assert!(fraction > 0.0);
        assert!(TickPoint::new(NetworkTick::new(10), u32::MAX).fraction() < 1.0);
    }

    #[test]
    fn points_move_over_the_wrap_of_the_tick_number() {
        let last = point(NetworkTick::MAX_INDEX, 0.75);
        let moved = last.moved_by(TickSpan::from_f64(0.5));
        assert_eq!(moved, point(0, 0.25));
        assert_eq!(moved.since(last), TickSpan::from_f64(0.5));
        assert_eq!(last.since(moved), TickSpan::from_f64(-0.5));
        assert_eq!(moved.moved_by(TickSpan::from_f64(-0.5)), last);
        assert_eq!(last.max(moved), moved);
        assert_eq!(last.min(moved), last);
    }

    #[test]
    fn durations_become_ticks_and_ticks_durations() {
        let step = TickStep::from_hertz(60);
        assert_eq!(TickSpan::from_duration(Duration::from_millis(50), step), TickSpan::from_ticks(3));
        assert_eq!(TickSpan::from_ticks(3).duration(step), Some(Duration::from_millis(50)));
        assert_eq!(TickSpan::from_ticks(-1).duration(step), None);
    }

    #[test]
    fn absurd_lengths_saturate() {
        let step = TickStep::from_hertz(u32::MAX);
        assert_eq!(TickSpan::from_duration(Duration::MAX, step), TickSpan::from_q32(i64::MAX));
        assert_eq!(TickSpan::from_f64(f64::NAN), TickSpan::ZERO);
        assert_eq!(TickSpan::from_f64(f64::INFINITY), TickSpan::from_q32(i64::MAX));
        assert!(TickSpan::from_q32(i64::MAX).plus(TickSpan::ONE) > TickSpan::ZERO);
        assert!(TickSpan::from_q32(i64::MIN).minus(TickSpan::ONE) < TickSpan::ZERO);
    }

    proptest! {
        #[test]
        fn moving_and_measuring_are_inverse(index in 0..=NetworkTick::MAX_INDEX, fraction: u32, span in -(1_i64 << 60)..(1_i64 << 60)) {
            let start = TickPoint::new(NetworkTick::new(index), fraction);
            let span = TickSpan::from_q32(span);
            prop_assert_eq!(start.moved_by(span).since(start), span);
            prop_assert_eq!(start.moved_by(span).moved_by(TickSpan::ZERO.minus(span)), start);
        }
    }
}

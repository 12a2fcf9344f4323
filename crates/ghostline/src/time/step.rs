//! Step lengths as exact rationals, and elapsed time summed up without rounding.
//! The rate comes from the resolved tick-rate settings; durations go to the loops and from there into `Time`.
//! `1/60 s` is neither a float nor a whole number of nanoseconds, so nobody may add up rounded steps for an hour.

use std::num::NonZeroU32;
use std::time::Duration;

use super::tick_point::TickSpan;

/// Nanoseconds in a second.
pub(super) const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// The length of one simulation step: exactly `1 / hertz` seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TickStep {
    hertz: NonZeroU32,
}

impl TickStep {
    /// The step of a loop that runs `hertz` times per second.
    pub const fn new(hertz: NonZeroU32) -> Self {
        Self { hertz }
    }

    /// Like [`Self::new`] for a plain number; 0 is read as 1 Hz, so that no division by it can happen.
    pub const fn from_hertz(hertz: u32) -> Self {
        match NonZeroU32::new(hertz) {
            Some(hertz) => Self { hertz },
            None => Self { hertz: NonZeroU32::MIN },
        }
    }

    /// Steps per second.
    pub const fn hertz(self) -> u32 {
        self.hertz.get()
    }

    /// The length of `ticks` steps, rounded to the nearest nanosecond. The same number for the same `ticks` on every peer and in
    /// every frame, as the simulation of a tick must get. Adding these up drifts; elapsed times in this module are summed exactly.
    pub const fn duration(self, ticks: u32) -> Duration {
        let hertz = self.hertz.get() as u64;
        let nanos = (ticks as u64 * NANOS_PER_SECOND as u64 + hertz / 2) / hertz;
        Duration::from_nanos(nanos)
    }

    /// The length of `ticks` steps in seconds.
    pub fn seconds(self, ticks: u32) -> f64 {
        f64::from(ticks) / f64::from(self.hertz.get())
    }

    /// The length of `ticks` steps in seconds, rounded once from the exact value.
    pub fn seconds_f32(self, ticks: u32) -> f32 {
        self.seconds(ticks) as f32
    }
}

/// Time elapsed, added up from steps and parts of steps with the remainder below a nanosecond carried along.
#[derive(Clone, Debug, Default)]
pub(super) struct ExactElapsed {
    elapsed: Duration,
    /// What `elapsed` lacks, in units of `1 / (hertz × 2³²)` nanoseconds.
    remainder: u64,
    /// The rate that `remainder` is measured in.
    hertz: u32,
}

impl ExactElapsed {
    pub(super) fn starting_at(elapsed: Duration) -> Self {
        Self { elapsed, ..Self::default() }
    }

    pub(super) fn get(&self) -> Duration {
        self.elapsed
    }

    /// Adds a time that is not counted in ticks.
    pub(super) fn add_duration(&mut self, dt: Duration) {
        self.elapsed = self.elapsed.saturating_add(dt);
    }

    /// Goes on, by less than a tick, to the next time that is a whole number of ticks and `fraction_q32`.
    pub(super) fn align(&mut self, fraction_q32: u32, step: TickStep) {
        let now = TickSpan::from_duration(self.elapsed, step).to_q32();
        // The lower half of the fixed-point number, which is all that is cut to.
        let missing = fraction_q32.wrapping_sub(now as u32);
        self.add_ticks(TickSpan::from_q32(missing.into()), step);
    }

    /// Adds whole and partial ticks. Negative spans are ignored: elapsed time does not run backwards.
    pub(super) fn add_ticks(&mut self, span: TickSpan, step: TickStep) {
        let Ok(ticks_q32) = u64::try_from(span.to_q32()) else {
            return;
        };
        if self.hertz != step.hertz() {
            // A fraction of a nanosecond, lost once per change of the tick rate.
            self.remainder = 0;
            self.hertz = step.hertz();
        }
        let units_per_nano = u128::from(step.hertz()) << TickSpan::FRACTION_BITS;
        let units = u128::from(ticks_q32) * u128::from(NANOS_PER_SECOND) + u128::from(self.remainder);
        let nanos = u64::try_from(units / units_per_nano).unwrap_or(u64::MAX);
        self.remainder = u64::try_from(units % units_per_nano).unwrap_or(0);
        self.elapsed = self.elapsed.saturating_add(Duration::from_nanos(nanos));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_the_rational_that_was_asked_for() {
        let step = TickStep::from_hertz(60);
        assert_eq!(step.duration(1), Duration::from_nanos(16_666_667));
        assert_eq!(step.duration(3), Duration::from_millis(50));
        assert_eq!(step.seconds_f32(1), 1.0_f32 / 60.0);
        assert_eq!(step.seconds(60), 1.0);
        assert_eq!(TickStep::from_hertz(0).hertz(), 1);
        assert_eq!(TickStep::from_hertz(1).duration(u32::MAX), Duration::from_secs(u64::from(u32::MAX)));
    }

    #[test]
    fn an_hour_of_thirds_of_a_nanosecond_adds_up_exactly() {
        let step = TickStep::from_hertz(60);
        let mut elapsed = ExactElapsed::default();
        for _ in 0..60 * 3600 {
            elapsed.add_ticks(TickSpan::from_ticks(1), step);
        }
        assert_eq!(elapsed.get(), Duration::from_secs(3600));
    }

    #[test]
    fn parts_of_ticks_add_up_to_the_whole() {
        let step = TickStep::from_hertz(7);
        let mut elapsed = ExactElapsed::starting_at(Duration::from_secs(42));
        for _ in 0..7 {
            elapsed.add_ticks(TickSpan::from_q32(0x4000_0000), step);
            elapsed.add_ticks(TickSpan::from_q32(0xC000_0000), step);
        }
        assert_eq!(elapsed.get(), Duration::from_secs(43));
    }

    #[test]
    fn time_can_be_brought_in_line_with_ticks() {
        let step = TickStep::from_hertz(50);
        for (start_ms, quarters, expected_ms) in [(0, 0, 0), (7, 0, 20), (20, 1, 25), (26, 1, 45), (44, 1, 45)] {
            let mut elapsed = ExactElapsed::starting_at(Duration::from_millis(start_ms));
            elapsed.align(quarters << 30, step);
            assert!(
                elapsed.get().abs_diff(Duration::from_millis(expected_ms)) <= Duration::from_nanos(2),
                "{start_ms}"
            );
        }
    }

    #[test]
    fn elapsed_time_does_not_run_backwards() {
        let mut elapsed = ExactElapsed::starting_at(Duration::from_secs(1));
        elapsed.add_ticks(TickSpan::from_ticks(-5), TickStep::from_hertz(60));
        assert_eq!(elapsed.get(), Duration::from_secs(1));
    }
}

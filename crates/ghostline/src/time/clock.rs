//! The local millisecond clock of a world: milliseconds since its start, wrapping.
//! It is told the time (`now` of the frame) and never reads one; its 16-bit view goes into packet headers, the 32-bit view to
//! time synchronisation.

use std::time::Duration;

/// Milliseconds since start, from the frame times that the runner passes in.
///
/// With the gap cap on, a pause between two readings of more than 100 ms counts as 100 ms: a process that was stopped in a debugger
/// does not report a round trip of minutes. Off by default, because a real stall must be measured.
#[derive(Clone, Debug, Default)]
pub struct LocalClock {
    /// The newest `now` that was passed in; `None` before the first.
    last_now: Option<Duration>,
    /// What the clock shows.
    shown: Duration,
    caps_gaps: bool,
}

impl LocalClock {
    /// The longest gap between two readings that a clock with the gap cap shows.
    pub const MAX_GAP: Duration = Duration::from_millis(100);

    /// A clock that shows `now` as it is.
    pub fn new() -> Self {
        Self::default()
    }

    /// A clock that shows every gap above [`Self::MAX_GAP`] as that length. For development builds.
    pub fn with_capped_gaps() -> Self {
        Self { caps_gaps: true, ..Self::default() }
    }

    /// Turns the gap cap on or off, from the next reading on.
    pub fn set_caps_gaps(&mut self, caps_gaps: bool) {
        self.caps_gaps = caps_gaps;
    }

    /// Moves the clock to `now`, the time since the process or run began. A `now` before the newest one is ignored.
    pub fn update(&mut self, now: Duration) {
        let Some(last) = self.last_now.replace(now) else {
            self.shown = now;
            return;
        };
        let gap = now.saturating_sub(last);
        self.last_now = Some(now.max(last));
        self.shown = self.shown.saturating_add(if self.caps_gaps { gap.min(Self::MAX_GAP) } else { gap });
    }

    /// What the clock shows, in full.
    pub fn elapsed(&self) -> Duration {
        self.shown
    }

    /// Milliseconds, wrapping after 49.7 days.
    pub fn ms(&self) -> u32 {
        // Truncation is the wrap.
        self.shown.as_millis() as u32
    }

    /// The low 16 bits of [`Self::ms`], wrapping after 65.5 seconds: the form on the wire.
    pub fn ms16(&self) -> u16 {
        self.ms() as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_views_wrap_at_their_width() {
        let mut clock = LocalClock::new();
        clock.update(Duration::from_millis(70_000));
        assert_eq!((clock.ms(), clock.ms16()), (70_000, 4_464));
        clock.update(Duration::from_millis(u64::from(u32::MAX) + 3));
        assert_eq!((clock.ms(), clock.ms16()), (2, 2));
    }

    #[test]
    fn a_debugger_pause_of_five_seconds_counts_as_a_tenth() {
        let mut clock = LocalClock::with_capped_gaps();
        clock.update(Duration::from_secs(10));
        clock.update(Duration::from_millis(10_016));
        clock.update(Duration::from_millis(15_016));
        assert_eq!(clock.ms(), 10_116);
        clock.update(Duration::from_millis(15_116));
        assert_eq!(clock.ms(), 10_216);
    }

    #[test]
    fn without_the_cap_a_stall_is_shown_as_it_was() {
        let mut clock = LocalClock::new();
        clock.update(Duration::from_secs(10));
        clock.update(Duration::from_secs(15));
        assert_eq!(clock.ms(), 15_000);
    }

    #[test]
    fn time_does_not_go_backwards() {
        let mut clock = LocalClock::new();
        clock.update(Duration::from_millis(500));
        clock.update(Duration::from_millis(400));
        assert_eq!(clock.ms(), 500);
        clock.update(Duration::from_millis(600));
        assert_eq!(clock.ms(), 600);
    }
}

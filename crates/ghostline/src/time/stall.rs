//! Notices that an application stopped ticking: a frame that comes much later than frames do.
//! Told the length of every frame, by the frame of each world and by the process for all of its worlds; what it finds goes to the log, and is
//! there to be asked for by whoever has to know.

use bevy_ecs::resource::Resource;
use std::time::Duration;

/// A frame came late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// From the frame before to this one.
    pub length: Duration,
    /// Whether it is worth a line in the log: the first one is, and then at most one in [`StallWatchdog::QUIET`], unless it was twice as
    /// long as the one before. An application that is slow for good must not fill the log.
    pub is_news: bool,
    /// Whether the frame before was much shorter: then what arrives in this one lay waiting, and says nothing about the link.
    pub is_sudden: bool,
}

/// Watches the length of frames. A resource of every world, and one more for the process; a game may change its settings at any time.
///
/// It tells stalls from outside (a suspended laptop, a debugger, a window that its system no longer draws, a level that loads for seconds) and
/// changes nothing: how the loops make up for the time is theirs.
#[derive(Resource, Clone, Debug, PartialEq, Eq)]
pub struct StallWatchdog {
    /// Frames of this length and longer are stalls. Default [`Self::DEFAULT_THRESHOLD`].
    pub threshold: Duration,
    /// Whether stalls are logged. Default `true`.
    pub logs: bool,
    /// A stall this long, or longer, of a world that is connected is an error and not only a warning, once per world: its peers are about to take it
    /// for dead. `None`: never. A world with drivers begins with half of the shortest time after which one of them gives a silent peer up
    /// ([`disconnect_timeout_ms`](crate::transport::DriverSettings::disconnect_timeout_ms)), others with [`Self::DEFAULT_ALARM`].
    pub alarm_after: Option<Duration>,
    alarmed: bool,
    current: Option<Stall>,
    previous: Duration,
    longest: Duration,
    count: u64,
    /// When a line was due last, and how long that stall was.
    last_news: Option<(Duration, Duration)>,
}

impl Default for StallWatchdog {
    fn default() -> Self {
        Self {
            threshold: Self::DEFAULT_THRESHOLD,
            logs: true,
            alarm_after: Some(Self::DEFAULT_ALARM),
            alarmed: false,
            current: None,
            previous: Duration::ZERO,
            longest: Duration::ZERO,
            count: 0,
            last_news: None,
        }
    }
}

impl StallWatchdog {
    /// Default of [`Self::threshold`]: six ticks at the default rate, and longer than any frame that a player would call one.
    pub const DEFAULT_THRESHOLD: Duration = Duration::from_millis(100);
    /// What [`Self::alarm_after`] is where no driver has its time: half of the default.
    pub const DEFAULT_ALARM: Duration = Duration::from_secs(5);
    /// Stalls within this time of one that was told are told only if they are twice as long.
    pub const QUIET: Duration = Duration::from_secs(10);

    /// A stall is sudden if it is so many times as long as the frame before.
    const SUDDEN: u32 = 4;

    /// Takes in a frame that begins at `now`, `dt` after the one before. Returns the stall that it ends, if it ends one.
    pub fn note_frame(&mut self, now: Duration, dt: Duration) -> Option<Stall> {
        self.current = None;
        let previous = std::mem::replace(&mut self.previous, dt);
        if dt < self.threshold {
            return None;
        }
        self.count += 1;
        self.longest = self.longest.max(dt);
        // What happened before the stall began is long ago for whoever reads the log.
        let began = now.saturating_sub(dt);
        let is_news = self
            .last_news
            .is_none_or(|(then, length)| began.saturating_sub(then) >= Self::QUIET || dt >= length.saturating_mul(2));
        if is_news {
            self.last_news = Some((now, dt));
        }
        self.current = Some(Stall { length: dt, is_news, is_sudden: dt >= previous.saturating_mul(Self::SUDDEN) });
        self.current
    }

    /// The time after which a world with these drivers endangers its connections by standing still.
    pub(crate) fn alarm_for(disconnect_timeout: Option<Duration>) -> Duration {
        disconnect_timeout.map_or(Self::DEFAULT_ALARM, |timeout| timeout / 2)
    }

    /// For a world with such drivers.
    pub(crate) fn for_drivers(disconnect_timeout: Option<Duration>) -> Self {
        Self { alarm_after: Some(Self::alarm_for(disconnect_timeout)), ..Self::default() }
    }

    /// Whether a stall of this length is an error, if the world is connected.
    pub(crate) fn would_alarm(&self, length: Duration) -> bool {
        self.logs && !self.alarmed && self.alarm_after.is_some_and(|limit| length >= limit)
    }

    /// The error was told.
    pub(crate) fn note_alarm(&mut self) {
        self.alarmed = true;
    }

    /// The stall that this frame ended; `None` in an ordinary frame.
    pub fn current(&self) -> Option<Stall> {
        self.current
    }

    /// The longest stall so far; zero if there was none.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(16);

    #[test]
    fn a_frame_of_a_tenth_of_a_second_is_a_stall_and_a_shorter_one_is_not() {
        let mut watchdog = StallWatchdog::default();
        assert_eq!(watchdog.note_frame(Duration::from_secs(1), Duration::from_millis(99)), None);
        assert_eq!(watchdog.note_frame(Duration::from_secs(1), FRAME), None);
        let length = Duration::from_millis(100);
        let stall = Some(Stall { length, is_news: true, is_sudden: true });
        assert_eq!(watchdog.note_frame(Duration::from_secs(2), length), stall);
        assert_eq!(watchdog.current(), stall);
        assert_eq!(watchdog.note_frame(Duration::from_secs(2) + FRAME, FRAME), None);
        assert_eq!((watchdog.current(), watchdog.longest(), watchdog.count()), (None, length, 1));
    }

    #[test]
    fn an_application_that_is_slow_for_good_is_told_once_in_ten_seconds() {
        let mut watchdog = StallWatchdog::default();
        let frame = Duration::from_millis(125);
        let stalls: Vec<Stall> = (1..=8 * 60).filter_map(|index| watchdog.note_frame(frame * index, frame)).collect();
        assert_eq!(stalls.iter().filter(|stall| stall.is_news).count(), 6);
        assert!(!stalls[1..].iter().any(|stall| stall.is_sudden), "its frames are as long as they always are");
        assert_eq!(watchdog.count(), 8 * 60);
    }

    #[test]
    fn a_much_longer_stall_is_told_at_once() {
        let mut watchdog = StallWatchdog::default();
        let mut now = Duration::from_secs(1);
        let told: Vec<bool> = [120, 130, 2_100, 2_200, 4_200]
            .into_iter()
            .map(|ms| {
                now += Duration::from_millis(ms);
                watchdog.note_frame(now, Duration::from_millis(ms)).is_some_and(|stall| stall.is_news)
            })
            .collect();
        assert_eq!(told, [true, false, true, false, true]);
        // Ten seconds after the last one began, the next is news again whatever its length.
        now += Duration::from_secs(15);
        assert!(watchdog.note_frame(now, Duration::from_millis(150)).is_some_and(|stall| stall.is_news));
    }
}

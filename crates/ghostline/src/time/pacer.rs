//! When the stand-alone runner begins its next frame: at once, or after a sleep that leaves one tick for each frame.
//! Told the time by the runner, which is the one that reads a clock and sleeps; what the worlds want comes from their loops.

use std::time::Duration;

use super::tick_rate::TargetFrameRateMode;

/// What the worlds of a process want from their runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameDemand {
    /// How the runner waits; `Auto` is decided before.
    pub mode: TargetFrameRateMode,
    /// Frames per second while it sleeps; at least 1. See [`ServerLoop::requested_frame_rate_hz`](super::ServerLoop::requested_frame_rate_hz).
    pub rate_hz: u32,
}

/// Sleeping between frames does not work: too many of them had no tick, or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SleepWarning {
    /// Frames that did not have exactly one tick.
    pub uneven: u32,
    /// Out of so many.
    pub frames: u32,
}

/// The pace of the stand-alone runner.
///
/// ```
/// # use ghostline::time::{FrameDemand, FramePacer, TargetFrameRateMode};
/// # use std::time::Duration;
/// let mut pacer = FramePacer::new();
/// let demand = FrameDemand { mode: TargetFrameRateMode::Sleep, rate_hz: 50 };
/// assert_eq!(pacer.wait(Duration::ZERO, demand), Duration::ZERO, "the first frame begins at once");
/// pacer.begin_frame(Duration::ZERO);
/// assert_eq!(pacer.wait(Duration::from_millis(5), demand), Duration::from_millis(15));
/// ```
#[derive(Clone, Debug, Default)]
pub struct FramePacer {
    /// When the newest frame began.
    begun: Option<Duration>,
    frames: u32,
    uneven: u32,
    /// When the frames above began to be counted.
    counted_since: Duration,
}

impl FramePacer {
    /// Over so long a time uneven frames are counted before they are judged.
    pub const WARNING_WINDOW: Duration = Duration::from_secs(10);
    /// One uneven frame in so many is what any system's scheduler makes.
    pub const TOLERATED_ONE_IN: u32 = 20;

    /// Nothing has begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long the runner has to wait at `now` for the next frame; zero: it begins now.
    pub fn wait(&self, now: Duration, demand: FrameDemand) -> Duration {
        match (demand.mode, self.begun) {
            (TargetFrameRateMode::Sleep, Some(begun)) => {
                let due = begun.saturating_add(Duration::from_secs(1) / demand.rate_hz.max(1));
                due.saturating_sub(now)
            }
            _ => Duration::ZERO,
        }
    }

    /// A frame begins at `now`. Returns its length: the time since the frame before, zero for the first.
    pub fn begin_frame(&mut self, now: Duration) -> Duration {
        let begun = self.begun.replace(now);
        begun.map_or(Duration::ZERO, |begun| now.saturating_sub(begun))
    }

    /// Takes in how many ticks the server ran in the frame that began last. While the runner sleeps there is to be exactly one in
    /// each; a warning is due if that fails more often than chance explains.
    pub fn note_ticks(&mut self, ticks: u32, demand: FrameDemand) -> Option<SleepWarning> {
        let now = self.begun.unwrap_or_default();
        if demand.mode != TargetFrameRateMode::Sleep {
            (self.frames, self.uneven, self.counted_since) = (0, 0, now);
            return None;
        }
        if self.frames == 0 && self.uneven == 0 {
            self.counted_since = now;
        }
        self.frames += 1;
        self.uneven += u32::from(ticks != 1);
        if now.saturating_sub(self.counted_since) < Self::WARNING_WINDOW {
            return None;
        }
        let warning = SleepWarning { uneven: self.uneven, frames: self.frames };
        (self.frames, self.uneven) = (0, 0);
        (warning.uneven.saturating_mul(Self::TOLERATED_ONE_IN) > warning.frames).then_some(warning)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ClientServerTickRate, ServerLoop};
    use super::*;

    fn sleep(rate_hz: u32) -> FrameDemand {
        FrameDemand { mode: TargetFrameRateMode::Sleep, rate_hz }
    }

    const BUSY: FrameDemand = FrameDemand { mode: TargetFrameRateMode::BusyWait, rate_hz: 60 };

    #[test]
    fn a_busy_wait_never_waits() {
        let mut pacer = FramePacer::new();
        for frame in 0..100 {
            let now = Duration::from_micros(frame * 3);
            assert_eq!(pacer.wait(now, BUSY), Duration::ZERO);
            pacer.begin_frame(now);
        }
    }

    #[test]
    fn a_sleeping_runner_waits_for_what_is_left_of_the_frame() {
        let mut pacer = FramePacer::new();
        assert_eq!(pacer.begin_frame(Duration::from_secs(5)), Duration::ZERO);
        assert_eq!(pacer.wait(Duration::from_millis(5_004), sleep(100)), Duration::from_millis(6));
        assert_eq!(pacer.wait(Duration::from_millis(5_010), sleep(100)), Duration::ZERO);
        assert_eq!(pacer.begin_frame(Duration::from_millis(5_013)), Duration::from_millis(13));
        // A frame that came late does not make the next one come early.
        assert_eq!(pacer.wait(Duration::from_millis(5_014), sleep(100)), Duration::from_millis(9));
        assert_eq!(pacer.wait(Duration::from_secs(50), sleep(0)), Duration::ZERO);
    }

    /// Runs a server for ten seconds of virtual time with sleeps that take `late` longer than asked for, and frames that take `work`.
    fn run(late: Duration, work: Duration, mode: TargetFrameRateMode) -> (u32, u32, Option<SleepWarning>) {
        let rate = ClientServerTickRate::default().resolve_defaults();
        let (mut server, mut pacer, mut now) = (ServerLoop::new(), FramePacer::new(), Duration::ZERO);
        let (mut frames, mut ticks, mut warning) = (0, 0, None);
        while now < Duration::from_secs(21) {
            let demand = FrameDemand { mode, rate_hz: server.requested_frame_rate_hz(&rate) };
            let wait = pacer.wait(now, demand);
            now += if wait.is_zero() { Duration::ZERO } else { wait + late };
            let steps = server.advance(pacer.begin_frame(now), &rate);
            warning = pacer.note_ticks(steps.ticks(), demand).or(warning);
            ticks += steps.ticks();
            frames += 1;
            now += work;
        }
        (frames, ticks, warning)
    }

    #[test]
    fn a_sleeping_server_has_one_tick_per_frame_at_sixty_frames_a_second() {
        let (frames, ticks, warning) =
            run(Duration::from_micros(80), Duration::from_millis(2), TargetFrameRateMode::Sleep);
        assert!((1255..=1265).contains(&frames), "{frames}");
        assert!((1255..=1260).contains(&ticks), "{ticks}");
        assert_eq!(warning, None);
    }

    #[test]
    fn a_busy_server_keeps_the_rate_and_has_many_frames() {
        let (frames, ticks, warning) = run(Duration::ZERO, Duration::from_micros(500), TargetFrameRateMode::BusyWait);
        assert_eq!(frames, 42_000);
        assert!((1258..=1260).contains(&ticks), "{ticks}");
        assert_eq!(warning, None);
    }

    #[test]
    fn sleeps_that_last_too_long_are_reported() {
        let (_, ticks, warning) = run(Duration::from_millis(10), Duration::from_millis(2), TargetFrameRateMode::Sleep);
        let warning = warning.expect("every second frame has two ticks merged or none");
        assert!(warning.uneven * 20 > warning.frames, "{warning:?}");
        assert!((1255..=1260).contains(&ticks), "and yet the ticks match the clock: {ticks}");
    }
}

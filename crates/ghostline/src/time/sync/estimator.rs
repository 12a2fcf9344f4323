//! Estimates which tick the newest snapshot would be of right now, and how regularly snapshots come.
//! Fed with the tick of the newest snapshot and the length of each frame; read by the two controllers.

use ghostline_wire::NetworkTick;

use super::super::tick_point::TickSpan;
use super::super::tick_rate::ClientServerTickRate;

/// Follows the snapshots' ticks smoothly.
#[derive(Clone, Debug)]
pub(super) struct SnapshotEstimator {
    /// The newest snapshot; `None` while the connection has lost track of them.
    latest: Option<NetworkTick>,
    latest_at_ms: u32,
    estimate: NetworkTick,
    /// Ticks by which `estimate` is ahead: smoothed error and the part below a tick in one.
    age: TickSpan,
    average_delta: f64,
    delta_deviation: f64,
    average_interval_ms: f64,
}

impl SnapshotEstimator {
    /// Weight of a new snapshot in the averages.
    const AVERAGE_WEIGHT: f64 = 0.25;
    /// A snapshot this many ticks from the estimate means a stall or another server: begin again there, don't drift there.
    const RESTART_TICKS: i32 = 64;
    /// The buffer for irregular snapshots is at most this many send intervals.
    const MAX_PERCEIVED_INTERVALS: f64 = 6.0;

    pub(super) fn new(snapshot: NetworkTick, now_ms: u32, rtt_deviation_ms: f64, rate: &ClientServerTickRate) -> Self {
        let interval = f64::from(rate.send_interval());
        Self {
            latest: Some(snapshot),
            latest_at_ms: now_ms,
            estimate: snapshot,
            age: TickSpan::ZERO,
            average_delta: interval,
            delta_deviation: rtt_deviation_ms * f64::from(rate.simulation_hertz()) / 1000.0,
            average_interval_ms: interval * 1000.0 / f64::from(rate.simulation_hertz()),
        }
    }

    pub(super) fn latest(&self) -> Option<NetworkTick> {
        self.latest
    }

    pub(super) fn estimate(&self) -> NetworkTick {
        self.estimate
    }

    /// Ticks by which snapshots deviate from their usual distance.
    pub(super) fn delta_deviation(&self) -> f64 {
        self.delta_deviation
    }

    /// Takes in a frame: its newest snapshot and the ticks that have passed.
    pub(super) fn update(&mut self, snapshot: Option<NetworkTick>, now_ms: u32, frame: TickSpan) {
        match snapshot {
            // Snapshots are lost track of: that is no news about when they come.
            None => self.latest = None,
            Some(snapshot) => {
                if self.latest.is_none_or(|latest| snapshot.is_newer_than(latest)) {
                    self.take_snapshot(snapshot, now_ms);
                }
            }
        }
        self.pass_time(frame);
    }

    fn take_snapshot(&mut self, snapshot: NetworkTick, now_ms: u32) {
        let error = self.estimate.ticks_since(snapshot);
        if error.unsigned_abs() > Self::RESTART_TICKS.unsigned_abs() {
            self.estimate = snapshot;
            self.age = TickSpan::ZERO;
        } else {
            // The error is at most 64 ticks and the age at most a few, so nothing overflows.
            let sum = self.age.to_q32() * 7 + TickSpan::from_ticks(error).to_q32();
            self.age = TickSpan::from_q32(sum / 8);
        }
        if let Some(latest) = self.latest {
            let delta = f64::from(snapshot.ticks_since(latest));
            let interval_ms = f64::from(now_ms.wrapping_sub(self.latest_at_ms));
            self.average_delta += (delta - self.average_delta) * Self::AVERAGE_WEIGHT;
            self.delta_deviation += ((delta - self.average_delta).abs() - self.delta_deviation) * Self::AVERAGE_WEIGHT;
            self.average_interval_ms += (interval_ms - self.average_interval_ms) * Self::AVERAGE_WEIGHT;
        }
        self.latest = Some(snapshot);
        self.latest_at_ms = now_ms;
    }

    fn pass_time(&mut self, frame: TickSpan) {
        self.age = self.age.minus(frame);
        let whole = self.age.to_q32() / TickSpan::ONE.to_q32();
        // Going back takes one tick more, so that an estimate between two ticks does not flicker.
        let ticks = if whole > 0 { whole + 1 } else { whole };
        // The age is a span of at most 2³⁰ ticks.
        let magnitude = ticks.unsigned_abs() as u32;
        self.estimate = if ticks < 0 { self.estimate.add(magnitude) } else { self.estimate.sub(magnitude) };
        self.age = self.age.minus(TickSpan::from_q32(ticks * TickSpan::ONE.to_q32()));
    }

    /// The delay in ticks that the snapshots' irregularity asks for.
    pub(super) fn perceived_delay(&self, jitter_scale: f64, rate: &ClientServerTickRate) -> f64 {
        let interval_ticks = self.average_interval_ms * f64::from(rate.simulation_hertz()) / 1000.0;
        let delta_ticks = self.average_delta + jitter_scale * self.delta_deviation;
        interval_ticks.max(delta_ticks).min(Self::longest_perceived_delay(rate))
    }

    /// The longest delay that irregularity may ask for.
    pub(super) fn longest_perceived_delay(rate: &ClientServerTickRate) -> f64 {
        Self::MAX_PERCEIVED_INTERVALS * f64::from(rate.send_interval())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(index: u32) -> NetworkTick {
        NetworkTick::new(index)
    }

    fn started(index: u32) -> (SnapshotEstimator, ClientServerTickRate) {
        let rate = ClientServerTickRate::default().resolve_defaults();
        (SnapshotEstimator::new(tick(index), 0, 0.0, &rate), rate)
    }

    #[test]
    fn regular_snapshots_are_followed_tick_by_tick() {
        let (mut estimator, rate) = started(100);
        for frame in 1..=200_u32 {
            estimator.update(Some(tick(100 + frame)), frame * 1000 / 60, TickSpan::ONE);
            let ahead = estimator.estimate().ticks_since(tick(100 + frame));
            assert!((0..=1).contains(&ahead), "{ahead}");
        }
        assert!((estimator.perceived_delay(1.25, &rate) - 1.0).abs() < 0.05);
    }

    #[test]
    fn without_snapshots_the_estimate_moves_on_with_time() {
        let (mut estimator, _) = started(100);
        for _ in 0..30 {
            estimator.update(Some(tick(100)), 0, TickSpan::from_f64(0.5));
        }
        assert_eq!(estimator.estimate(), tick(115));
    }

    #[test]
    fn small_frames_lose_nothing() {
        let (mut estimator, _) = started(0);
        // 500 frames per second for a minute at 60 Hz, without a single snapshot.
        for _ in 0..30_000 {
            estimator.update(Some(tick(0)), 0, TickSpan::from_f64(60.0 / 500.0));
        }
        assert!((3599..=3600).contains(&estimator.estimate().index()));
    }

    #[test]
    fn lost_track_feeds_nothing() {
        let (mut estimator, rate) = started(100);
        estimator.update(None, 5000, TickSpan::ZERO);
        assert_eq!((estimator.latest(), estimator.estimate()), (None, tick(100)));
        estimator.update(Some(tick(101)), 9000, TickSpan::ZERO);
        assert_eq!(estimator.latest(), Some(tick(101)));
        assert!((estimator.perceived_delay(1.25, &rate) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn irregular_snapshots_ask_for_at_most_six_intervals() {
        let rate = ClientServerTickRate { network_tick_rate: 20, ..Default::default() }.resolve_defaults();
        let mut estimator = SnapshotEstimator::new(tick(0), 0, 0.0, &rate);
        for step in 1..50 {
            estimator.update(Some(tick(step * 40)), step * 40_000 / 60, TickSpan::from_ticks(40));
        }
        assert_eq!(estimator.perceived_delay(1.25, &rate), 18.0);
    }

    #[test]
    fn snapshots_that_come_every_other_tick_ask_for_two() {
        let (mut estimator, rate) = started(100);
        for step in 1..50 {
            estimator.update(Some(tick(100 + step * 2)), step * 2000 / 60, TickSpan::from_ticks(2));
        }
        assert!((estimator.perceived_delay(1.25, &rate) - 2.0).abs() < 0.1);
    }

    #[test]
    fn a_snapshot_far_away_restarts_the_estimate() {
        let (mut estimator, _) = started(100);
        estimator.update(Some(tick(500)), 16, TickSpan::ZERO);
        assert_eq!(estimator.estimate(), tick(500));
        // Nearby it drifts.
        estimator.update(Some(tick(540)), 32, TickSpan::ZERO);
        assert_eq!(estimator.estimate(), tick(505));
    }

    #[test]
    fn the_estimate_goes_over_the_wrap() {
        let (mut estimator, _) = started(NetworkTick::MAX_INDEX - 2);
        for frame in 1..=10_u32 {
            estimator.update(Some(tick(NetworkTick::MAX_INDEX - 2).add(frame)), frame * 16, TickSpan::ONE);
        }
        assert!((0..=1).contains(&estimator.estimate().ticks_since(tick(7))));
    }
}

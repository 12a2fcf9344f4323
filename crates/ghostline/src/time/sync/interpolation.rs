//! The controller of the interpolation clock: how long snapshots are buffered, and the speed that keeps that delay.
//! Takes the estimate of the newest snapshot; its target is where interpolated ghosts are shown. It never runs backwards.

use ghostline_wire::NetworkTick;

use super::super::client_tick_rate::ClientTickRate;
use super::super::tick_point::{TickPoint, TickSpan};
use super::super::tick_rate::ClientServerTickRate;
use super::bounded;
use super::estimator::SnapshotEstimator;

/// Keeps interpolation behind the snapshots.
#[derive(Clone, Debug)]
pub(super) struct InterpolationController {
    target: TickPoint,
    /// Ticks between the estimated snapshot and the target.
    delay: f64,
}

impl InterpolationController {
    /// A delay that is off by more than this many ticks is taken over at once.
    const DELAY_RESET_TICKS: f64 = 10.0;
    /// A target this many ticks ahead is jumped to.
    const JUMP_TICKS: f64 = 10.0;

    /// `predict` is where prediction begins: interpolation is never ahead of it.
    pub(super) fn new(
        estimator: &SnapshotEstimator,
        predict: TickPoint,
        rate: &ClientServerTickRate,
        client_rate: &ClientTickRate,
    ) -> Self {
        let wanted = configured_delay(rate, client_rate);
        let longest = wanted.max(SnapshotEstimator::longest_perceived_delay(rate));
        let delay = (wanted + 2.0 * estimator.delta_deviation()).min(longest);
        Self { target: behind(estimator.estimate(), delay).min(predict), delay }
    }

    pub(super) fn target(&self) -> TickPoint {
        self.target
    }

    pub(super) fn delay(&self) -> f64 {
        self.delay
    }

    /// Takes in a frame of `frame` ticks and `seconds`; returns the speed of the clock. `predict` is where prediction is now.
    pub(super) fn advance(
        &mut self,
        frame: TickSpan,
        seconds: f64,
        estimator: &SnapshotEstimator,
        predict: TickPoint,
        input_latency: u32,
        rate: &ClientServerTickRate,
        client_rate: &ClientTickRate,
    ) -> f64 {
        self.adapt_delay(frame, seconds, estimator, rate, client_rate);
        let mut wanted = behind(estimator.estimate(), self.delay);
        if input_latency > 0 {
            wanted = wanted.min(TickPoint::at(predict.tick()));
        }
        let before = self.target;
        let behind_by = wanted.since(before).minus(frame).to_f64();
        let mut time_scale = 1.0;
        let next = if behind_by < Self::JUMP_TICKS {
            let gain = f64::from(client_rate.interpolation_delay_correction_fraction);
            let (slowest, fastest) =
                (client_rate.interpolation_time_scale_min.into(), client_rate.interpolation_time_scale_max.into());
            let ticks = frame.to_f64();
            let wanted_scale = bounded(1.0 + gain * behind_by, slowest, fastest);
            // A long frame must not correct more than there is to correct.
            let correction = bounded(ticks * (wanted_scale - 1.0), -behind_by.abs(), behind_by.abs());
            if ticks > 0.0 {
                time_scale = 1.0 + correction / ticks;
            }
            before.moved_by(frame.plus(TickSpan::from_f64(correction)))
        } else {
            wanted
        };
        // What is shown from the past may not be newer than what is predicted, nor go back.
        self.target = next.min(predict).max(before);
        time_scale
    }

    fn adapt_delay(
        &mut self,
        frame: TickSpan,
        seconds: f64,
        estimator: &SnapshotEstimator,
        rate: &ClientServerTickRate,
        client_rate: &ClientTickRate,
    ) {
        let perceived = estimator.perceived_delay(client_rate.interpolation_delay_jitter_scale.into(), rate);
        let wanted = configured_delay(rate, client_rate).max(perceived);
        if (wanted - self.delay).abs() > Self::DELAY_RESET_TICKS {
            self.delay = wanted;
        } else {
            let largest_change = frame.to_f64() * f64::from(client_rate.interpolation_delay_max_delta_ticks_fraction);
            self.delay += bounded((wanted - self.delay) * seconds.min(1.0), -largest_change, largest_change);
        }
    }
}

/// The delay that the settings ask for, in simulation ticks.
fn configured_delay(rate: &ClientServerTickRate, client_rate: &ClientTickRate) -> f64 {
    f64::from(client_rate.interpolation_net_ticks(rate.network_hertz())) * f64::from(rate.send_interval())
}

fn behind(snapshot: NetworkTick, delay: f64) -> TickPoint {
    // The cast saturates; a delay is never negative.
    TickPoint::at(snapshot.sub(delay.floor() as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Setup {
        rate: ClientServerTickRate,
        client_rate: ClientTickRate,
        estimator: SnapshotEstimator,
        controller: InterpolationController,
        snapshot: NetworkTick,
        now_ms: u32,
    }

    impl Setup {
        fn new(network_tick_rate: i32, client_rate: ClientTickRate) -> Self {
            let rate = ClientServerTickRate { network_tick_rate, ..Default::default() }.resolve_defaults();
            let snapshot = NetworkTick::new(1000);
            let estimator = SnapshotEstimator::new(snapshot, 0, 0.0, &rate);
            let controller = InterpolationController::new(&estimator, TickPoint::at(snapshot), &rate, &client_rate);
            Self { rate, client_rate, estimator, controller, snapshot, now_ms: 0 }
        }

        /// One tick in one frame, with the next snapshot if `arrives`.
        fn frame(&mut self, arrives: bool, predict_ahead: i32, input_latency: u32) -> f64 {
            self.now_ms += 17;
            let newest = if arrives { self.snapshot.next() } else { self.snapshot };
            self.snapshot = newest;
            self.estimator.update(Some(newest), self.now_ms, TickSpan::ONE);
            let predict = TickPoint::at(self.estimator.estimate()).moved_by(TickSpan::from_ticks(predict_ahead));
            self.controller.advance(
                TickSpan::ONE,
                1.0 / 60.0,
                &self.estimator,
                predict,
                input_latency,
                &self.rate,
                &self.client_rate,
            )
        }

        fn behind_estimate(&self) -> f64 {
            TickPoint::at(self.estimator.estimate()).since(self.controller.target()).to_f64()
        }
    }

    #[test]
    fn it_begins_at_the_configured_delay() {
        assert_eq!(Setup::new(60, ClientTickRate::default()).behind_estimate(), 2.0);
        assert_eq!(Setup::new(20, ClientTickRate::default()).behind_estimate(), 6.0);
        let in_ms = ClientTickRate { interpolation_time_ms: 100, ..Default::default() };
        assert_eq!(Setup::new(60, in_ms.clone()).behind_estimate(), 6.0);
        assert_eq!(Setup::new(20, in_ms).behind_estimate(), 6.0);
    }

    #[test]
    fn a_jittery_round_trip_begins_with_more_but_at_most_six_intervals() {
        let rate = ClientServerTickRate::default().resolve_defaults();
        let client_rate = ClientTickRate::default();
        let delay = |deviation_ms| {
            let estimator = SnapshotEstimator::new(NetworkTick::new(9), 0, deviation_ms, &rate);
            InterpolationController::new(&estimator, TickPoint::at(NetworkTick::new(9)), &rate, &client_rate).delay()
        };
        assert!((delay(10.0) - 3.2).abs() < 1e-9);
        assert_eq!(delay(500.0), 6.0);
    }

    #[test]
    fn on_a_perfect_network_the_delay_stays_at_two() {
        let mut setup = Setup::new(60, ClientTickRate::default());
        for _ in 0..600 {
            setup.frame(true, 4, 0);
        }
        assert!((setup.controller.delay() - 2.0).abs() < 0.1);
        assert!((setup.behind_estimate() - 2.0).abs() < 0.6, "{}", setup.behind_estimate());
    }

    #[test]
    fn missing_snapshots_enlarge_the_delay_and_it_shrinks_again() {
        let mut setup = Setup::new(60, ClientTickRate::default());
        for frame in 0..300 {
            // The same number of ticks in bunches of five.
            setup.snapshot = setup.snapshot.add(if frame % 5 == 0 { 4 } else { 0 });
            setup.frame(frame % 5 == 0, 4, 0);
        }
        assert!((4.0..=6.0).contains(&setup.controller.delay()), "{}", setup.controller.delay());
        for _ in 0..600 {
            setup.frame(true, 4, 0);
        }
        assert!(setup.controller.delay() < 2.1);
    }

    #[test]
    fn it_never_goes_back_and_slows_to_85_percent_at_most() {
        let mut setup = Setup::new(60, ClientTickRate::default());
        let mut last = setup.controller.target();
        for frame in 0..400 {
            let scale = setup.frame(!(100..200).contains(&frame), 4, 0);
            assert!((0.85 - 1e-6..=1.1 + 1e-6).contains(&scale), "{scale}");
            assert!(setup.controller.target().since(last) >= TickSpan::ZERO);
            last = setup.controller.target();
        }
    }

    #[test]
    fn a_target_far_ahead_is_jumped_to() {
        let mut setup = Setup::new(60, ClientTickRate::default());
        setup.snapshot = setup.snapshot.add(200);
        setup.frame(true, 4, 0);
        assert_eq!(setup.behind_estimate(), 2.0);
    }

    #[test]
    fn under_input_latency_it_does_not_pass_prediction() {
        let mut setup = Setup::new(60, ClientTickRate::default());
        for _ in 0..300 {
            setup.frame(true, -5, 9);
            let predict = TickPoint::at(setup.estimator.estimate()).moved_by(TickSpan::from_ticks(-5));
            let over = setup.controller.target().since(predict).to_f64();
            assert!(over <= 0.0 || setup.now_ms < 1000, "{over}");
        }
    }
}

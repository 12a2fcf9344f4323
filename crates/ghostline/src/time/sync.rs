//! Time synchronisation of a client: where prediction and interpolation are to be in this frame.
//! Fed each frame with the newest snapshot's tick, the round trip and the command age that the server reports; its targets go to the
//! client's loop.
//!
//! From the oldest to the newest: interpolation, newest snapshot, the server's present (unknown), prediction, the tick that inputs are
//! for.

mod estimator;
mod interpolation;
mod prediction;

use std::time::Duration;

use ghostline_wire::NetworkTick;

use self::estimator::SnapshotEstimator;
use self::interpolation::InterpolationController;
pub use self::prediction::PredictionRolledBack;
use self::prediction::{Lead, PredictionController};
use super::client_loop::in_process_frame_dt;
use super::client_tick_rate::ClientTickRate;
use super::tick_point::{TickPoint, TickSpan};
use super::tick_rate::ClientServerTickRate;

/// Everything that time synchronisation needs to know about a frame.
#[derive(Clone, Debug)]
pub struct TimeSyncInput<'a> {
    /// Real length of the frame. If a server runs in the same process but isn't reached in process, pass it through
    /// [`in_process_frame_dt`] first.
    pub dt: Duration,
    /// The local clock in ms, wrapping.
    pub now_ms: u32,
    /// Whether the connection is in the game. Leaving it forgets everything.
    pub in_game: bool,
    /// The newest snapshot that was received; `None` before the first, and while the connection has lost track of them.
    pub latest_snapshot: Option<NetworkTick>,
    /// Smoothed round trip in ms, as measured with our own packets; 0 before the first measurement.
    pub estimated_rtt_ms: f32,
    /// What the transport takes for the round trip, in ms, until there is a measurement; 0 if it does not say. Prediction begins by it, so that the first
    /// commands aren't late.
    pub transport_rtt_ms: f32,
    /// Deviation of the round trip in ms.
    pub deviation_rtt_ms: f32,
    /// How late commands reach the server, as the newest snapshot says: 1/256 tick, negative if they are early.
    pub command_age_q8: i32,
    /// Whether the link is in process: then the round trip is taken for one tick and there is no slack, so that prediction is the newest
    /// snapshot plus one.
    pub is_in_process: bool,
    /// The resolved rates.
    pub rate: &'a ClientServerTickRate,
    /// The client's settings.
    pub client_rate: &'a ClientTickRate,
}

impl TimeSyncInput<'_> {
    /// The round trip as far as it is known.
    fn round_trip_ms(&self) -> f32 {
        if self.estimated_rtt_ms > 0.0 { self.estimated_rtt_ms } else { self.transport_rtt_ms }
    }
}

/// Where the client is to be in this frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimeSyncOutput {
    /// Where prediction is to be. `None` outside the game and before the first snapshot. Goes back by a hard reset only.
    pub predict_target: Option<TickPoint>,
    /// Where interpolation is to be; `None` together with [`Self::predict_target`]. Never goes back.
    pub interpolate_target: Option<TickPoint>,
    /// Ticks from the sampling of an input to its prediction: configured, or forced by the round trip.
    pub effective_input_latency_ticks: u32,
    /// Ticks that interpolation is to be behind the newest snapshot.
    pub current_interpolation_delay_ticks: f32,
    /// The newest snapshot.
    pub latest_snapshot: Option<NetworkTick>,
    /// The tick that the newest snapshot would be of right now.
    pub latest_snapshot_estimate: Option<NetworkTick>,
    /// Set in the frame of a hard reset that put prediction back: an error to log.
    pub warning: Option<PredictionRolledBack>,
}

/// How the clocks ran, for debugging.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeSyncStatistics {
    /// Mean speed of the prediction clock over the frames since the last query; 1 without a frame.
    pub prediction_time_scale: f32,
    /// Mean speed of the interpolation clock over the same frames.
    pub interpolation_time_scale: f32,
    /// Interpolation delay in ticks, now.
    pub interpolation_delay_ticks: f32,
}

/// The state of time synchronisation.
///
/// Until the first snapshot in the game there is nothing to go by. From then on three things are kept:
/// * an estimate of the newest snapshot's tick, moved by time and pulled to each snapshot by 1/8 of its error;
/// * prediction, a round trip and a slack ahead of it. Its clock runs at 0.9 to 1.1 so that commands arrive early by the slack, as the
///   server reports; corrections that no report can show yet count as done. If that is off by more than 10 ticks, it jumps;
/// * interpolation, behind it by the configured delay or by what the snapshots' irregularity asks for, up to six of their intervals. Its
///   clock runs at 0.85 to 1.1 and jumps only forward.
#[derive(Clone, Debug, Default)]
pub struct TimeSync {
    running: Option<Running>,
    frames: u32,
    prediction_scale_sum: f64,
    interpolation_scale_sum: f64,
}

/// What exists from the first snapshot on.
#[derive(Clone, Debug)]
struct Running {
    estimator: SnapshotEstimator,
    prediction: PredictionController,
    interpolation: InterpolationController,
    /// Whether prediction was put ahead by a round trip that was measured.
    knows_rtt: bool,
}

impl TimeSync {
    /// Synchronisation that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a frame. To be called once per frame, before the simulation.
    pub fn update(&mut self, input: &TimeSyncInput<'_>) -> TimeSyncOutput {
        if !input.in_game {
            self.running = None;
            return TimeSyncOutput::default();
        }
        let lead = Lead::new(
            input.round_trip_ms().into(),
            input.deviation_rtt_ms.into(),
            input.is_in_process,
            input.rate,
            input.client_rate,
        );
        let mut warning = None;
        if let Some(running) = &mut self.running {
            let step = running.advance(input, lead);
            self.frames = self.frames.saturating_add(1);
            self.prediction_scale_sum += step.prediction_time_scale;
            self.interpolation_scale_sum += step.interpolation_time_scale;
            warning = step.rolled_back;
        } else if let Some(snapshot) = input.latest_snapshot {
            self.running = Some(Running::new(snapshot, input, lead));
        }
        let Some(running) = &self.running else {
            return TimeSyncOutput::default();
        };
        TimeSyncOutput {
            predict_target: Some(running.prediction.target()),
            interpolate_target: Some(running.interpolation.target()),
            effective_input_latency_ticks: lead.effective_input_latency,
            current_interpolation_delay_ticks: running.interpolation.delay() as f32,
            latest_snapshot: running.estimator.latest(),
            latest_snapshot_estimate: Some(running.estimator.estimate()),
            warning,
        }
    }

    /// Moves the prediction target by `ticks`, from the next frame on, as a server that jumped would; nothing before the first snapshot.
    /// For tests and tools: the controller does not know, and works against it.
    pub fn shift_predict_target(&mut self, ticks: i32) {
        if let Some(running) = &mut self.running {
            running.prediction.shift(TickSpan::from_ticks(ticks));
        }
    }

    /// What happened since the last query.
    pub fn take_statistics(&mut self) -> TimeSyncStatistics {
        let mean = |sum: f64, frames: u32| if frames == 0 { 1.0 } else { (sum / f64::from(frames)) as f32 };
        let statistics = TimeSyncStatistics {
            prediction_time_scale: mean(self.prediction_scale_sum, self.frames),
            interpolation_time_scale: mean(self.interpolation_scale_sum, self.frames),
            interpolation_delay_ticks: self
                .running
                .as_ref()
                .map_or(0.0, |running| running.interpolation.delay() as f32),
        };
        self.frames = 0;
        self.prediction_scale_sum = 0.0;
        self.interpolation_scale_sum = 0.0;
        statistics
    }
}

struct RunningStep {
    prediction_time_scale: f64,
    interpolation_time_scale: f64,
    rolled_back: Option<PredictionRolledBack>,
}

impl Running {
    fn new(snapshot: NetworkTick, input: &TimeSyncInput<'_>, lead: Lead) -> Self {
        let deviation_ms =
            if input.is_in_process { 0.0 } else { bounded(input.deviation_rtt_ms.into(), 0.0, f64::from(u16::MAX)) };
        let estimator = SnapshotEstimator::new(snapshot, input.now_ms, deviation_ms, input.rate);
        let mut prediction = PredictionController::new(lead.predict_from(snapshot), snapshot);
        let knows_rtt = input.is_in_process || input.estimated_rtt_ms > 0.0;
        if input.is_in_process || input.round_trip_ms() == 0.0 {
            // A snapshot comes in after the clocks were read, so this one is a frame old. Over a network with a known round trip the
            // slack covers that; otherwise it would make the first commands late.
            let dt = if input.is_in_process { in_process_frame_dt(input.dt, input.rate) } else { input.dt };
            prediction.shift(TickSpan::from_duration(dt, input.rate.step()));
        }
        let interpolation =
            InterpolationController::new(&estimator, prediction.target(), input.rate, input.client_rate);
        Self { estimator, prediction, interpolation, knows_rtt }
    }

    fn advance(&mut self, input: &TimeSyncInput<'_>, lead: Lead) -> RunningStep {
        let dt = if input.is_in_process { in_process_frame_dt(input.dt, input.rate) } else { input.dt };
        let frame = TickSpan::from_duration(dt, input.rate.step());
        self.estimator.update(input.latest_snapshot, input.now_ms, frame);
        if !self.knows_rtt && input.estimated_rtt_ms > 0.0 {
            // The first snapshots came before the round trip was measured. Now that it is, nobody has to wait for late commands to tell.
            self.knows_rtt = true;
            self.prediction.make_up(lead.predict_from(self.estimator.estimate()));
        }
        let command_age = f64::from(input.command_age_q8) / 256.0;
        let prediction = self.prediction.advance(
            frame,
            command_age,
            lead,
            self.estimator.estimate(),
            self.estimator.latest(),
            input.client_rate,
        );
        let interpolation_time_scale = self.interpolation.advance(
            frame,
            dt.as_secs_f64(),
            &self.estimator,
            self.prediction.target(),
            lead.effective_input_latency,
            input.rate,
            input.client_rate,
        );
        RunningStep {
            prediction_time_scale: prediction.time_scale,
            interpolation_time_scale,
            rolled_back: prediction.rolled_back,
        }
    }
}

/// `value` within `min..=max`, without the panics of `clamp`: settings may be wrong. Not a number becomes `min`.
fn bounded(value: f64, min: f64, max: f64) -> f64 {
    value.max(min).min(max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn input<'a>(
        rate: &'a ClientServerTickRate,
        client_rate: &'a ClientTickRate,
        snapshot: Option<u32>,
    ) -> TimeSyncInput<'a> {
        TimeSyncInput {
            dt: rate.step().duration(1),
            now_ms: 0,
            in_game: true,
            latest_snapshot: snapshot.map(NetworkTick::new),
            estimated_rtt_ms: 100.0,
            transport_rtt_ms: 0.0,
            deviation_rtt_ms: 0.0,
            command_age_q8: -512,
            is_in_process: false,
            rate,
            client_rate,
        }
    }

    fn at(index: u32) -> Option<TickPoint> {
        Some(TickPoint::at(NetworkTick::new(index)))
    }

    #[test]
    fn there_are_no_ticks_before_the_first_snapshot_and_outside_the_game() {
        let (rate, client_rate) = (ClientServerTickRate::default().resolve_defaults(), ClientTickRate::default());
        let mut sync = TimeSync::new();
        assert_eq!(sync.update(&input(&rate, &client_rate, None)), TimeSyncOutput::default());
        let outside = TimeSyncInput { in_game: false, ..input(&rate, &client_rate, Some(9)) };
        assert_eq!(sync.update(&outside), TimeSyncOutput::default());
        assert!(sync.update(&input(&rate, &client_rate, Some(9))).predict_target.is_some());
        assert_eq!(sync.update(&outside), TimeSyncOutput::default());
        // The next game begins afresh, also at an older tick.
        assert_eq!(sync.update(&input(&rate, &client_rate, Some(5))).predict_target, at(13));
    }

    #[test]
    fn the_first_snapshot_sets_both_targets() {
        let (rate, client_rate) = (ClientServerTickRate::default().resolve_defaults(), ClientTickRate::default());
        let mut sync = TimeSync::new();
        let output = sync.update(&input(&rate, &client_rate, Some(1000)));
        // 100 ms are 6 ticks, and 2 of slack.
        assert_eq!((output.predict_target, output.interpolate_target), (at(1008), at(998)));
        assert_eq!(output.latest_snapshot_estimate, Some(NetworkTick::new(1000)));
        assert_eq!(output.current_interpolation_delay_ticks, 2.0);
        assert_eq!(output.warning, None);
    }

    #[test]
    fn in_process_prediction_begins_one_tick_ahead_whatever_the_clocks_say() {
        let (rate, client_rate) = (ClientServerTickRate::default().resolve_defaults(), ClientTickRate::default());
        let mut sync = TimeSync::new();
        let in_process =
            TimeSyncInput { is_in_process: true, deviation_rtt_ms: 90.0, ..input(&rate, &client_rate, Some(1000)) };
        let output = sync.update(&TimeSyncInput { dt: Duration::ZERO, ..in_process.clone() });
        assert_eq!((output.predict_target, output.interpolate_target), (at(1001), at(998)));
        // The time since the snapshot came in counts.
        sync = TimeSync::new();
        assert_eq!(sync.update(&in_process).predict_target.map(TickPoint::tick), Some(NetworkTick::new(1002)));
    }

    #[test]
    fn until_a_round_trip_is_measured_the_transports_word_counts() {
        let (rate, client_rate) = (ClientServerTickRate::default().resolve_defaults(), ClientTickRate::default());
        let unmeasured =
            TimeSyncInput { estimated_rtt_ms: 0.0, transport_rtt_ms: 100.0, ..input(&rate, &client_rate, Some(1000)) };
        let mut sync = TimeSync::new();
        assert_eq!(sync.update(&unmeasured).predict_target, at(1008));
        // What was measured is longer: prediction makes up for it at once.
        let measured = TimeSyncInput { estimated_rtt_ms: 150.0, ..input(&rate, &client_rate, Some(1001)) };
        assert_eq!(sync.update(&measured).predict_target.map(TickPoint::tick), Some(NetworkTick::new(1012)));
    }

    #[test]
    fn a_shift_of_the_target_shows_in_the_next_frame() {
        let (rate, client_rate) = (ClientServerTickRate::default().resolve_defaults(), ClientTickRate::default());
        let mut sync = TimeSync::new();
        sync.shift_predict_target(-10);
        sync.update(&input(&rate, &client_rate, Some(1000)));
        sync.shift_predict_target(-10);
        let output = sync.update(&input(&rate, &client_rate, Some(1001)));
        assert_eq!(output.predict_target.unwrap().tick(), NetworkTick::new(999));
        assert_eq!(output.warning, None);
    }

    #[test]
    fn statistics_are_means_since_the_last_query() {
        let (rate, client_rate) = (ClientServerTickRate::default().resolve_defaults(), ClientTickRate::default());
        let mut sync = TimeSync::new();
        assert_eq!(sync.take_statistics().prediction_time_scale, 1.0);
        sync.update(&input(&rate, &client_rate, Some(1000)));
        let late = TimeSyncInput { command_age_q8: 256, ..input(&rate, &client_rate, Some(1001)) };
        sync.update(&late);
        let statistics = sync.take_statistics();
        assert!((statistics.prediction_time_scale - 1.1).abs() < 1e-6);
        assert!((statistics.interpolation_delay_ticks - 2.0).abs() < 1e-6);
        assert_eq!(sync.take_statistics().prediction_time_scale, 1.0);
    }

    /// What a frame can bring, however absurd.
    #[derive(Clone, Debug)]
    struct AnyFrame {
        dt_ms: u64,
        snapshot_step: Option<i32>,
        rtt_ms: f32,
        deviation_ms: f32,
        command_age_q8: i32,
        is_in_process: bool,
    }

    fn any_frame() -> impl Strategy<Value = AnyFrame> {
        let step = prop_oneof![8 => (0..4_i32).prop_map(Some), 1 => any::<i32>().prop_map(Some), 1 => Just(None)];
        let age = prop_oneof![4 => -2000..2000_i32, 1 => any::<i32>()];
        let ms = prop_oneof![8 => 0.0..500.0_f32, 1 => any::<f32>()];
        (prop_oneof![8 => 0..50_u64, 1 => any::<u64>()], step, ms.clone(), ms, age, any::<bool>()).prop_map(
            |(dt_ms, snapshot_step, rtt_ms, deviation_ms, command_age_q8, is_in_process)| AnyFrame {
                dt_ms,
                snapshot_step,
                rtt_ms,
                deviation_ms,
                command_age_q8,
                is_in_process,
            },
        )
    }

    proptest! {
        #[test]
        fn whatever_a_server_says_interpolation_does_not_go_back(frames in prop::collection::vec(any_frame(), 1..200), start: u32) {
            let (rate, client_rate) = (ClientServerTickRate::default().resolve_defaults(), ClientTickRate::default());
            let mut sync = TimeSync::new();
            let mut snapshot = NetworkTick::new(start);
            let mut now_ms = start;
            let mut last: Option<TickPoint> = None;
            for frame in frames {
                if let Some(step) = frame.snapshot_step {
                    snapshot = NetworkTick::new(snapshot.index().wrapping_add_signed(step));
                }
                now_ms = now_ms.wrapping_add(frame.dt_ms as u32);
                let output = sync.update(&TimeSyncInput {
                    dt: Duration::from_millis(frame.dt_ms),
                    now_ms,
                    in_game: true,
                    latest_snapshot: frame.snapshot_step.map(|_| snapshot),
                    estimated_rtt_ms: frame.rtt_ms,
                    transport_rtt_ms: frame.deviation_ms,
                    deviation_rtt_ms: frame.deviation_ms,
                    command_age_q8: frame.command_age_q8,
                    is_in_process: frame.is_in_process,
                    rate: &rate,
                    client_rate: &client_rate,
                });
                prop_assert_eq!(output.predict_target.is_some(), output.interpolate_target.is_some());
                prop_assert!((2.0..=10.0).contains(&output.current_interpolation_delay_ticks) || output.predict_target.is_none());
                if let (Some(now), Some(last)) = (output.interpolate_target, last) {
                    prop_assert!(now.since(last) >= TickSpan::ZERO);
                }
                if let Some(warning) = output.warning {
                    prop_assert!(warning.ticks < 0);
                }
                last = output.interpolate_target.or(last);
            }
        }
    }
}

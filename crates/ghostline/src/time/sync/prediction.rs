//! How far ahead prediction runs, and the controller that keeps it there.
//! Commands are to reach the server a little before their tick. The server reports how late they come (the command age); the clock
//! that stamps them runs up to 10 % faster or slower to bring that to the wanted slack.

use ghostline_wire::NetworkTick;
use thiserror::Error;

use super::super::client_tick_rate::ClientTickRate;
use super::super::tick_point::{TickPoint, TickSpan};
use super::super::tick_rate::ClientServerTickRate;
use super::bounded;

/// The distances that follow from the round trip and the settings, in ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Lead {
    /// The round trip, rounded up.
    pub rtt_ticks: u32,
    /// How early commands are to arrive.
    pub slack: u32,
    /// From the sampling of an input to its prediction.
    pub effective_input_latency: u32,
    /// From the newest snapshot to prediction; negative if the input latency is larger than the round trip.
    pub predict_ahead_by: i32,
    /// Ticks by which the round trip may be longer than it is known to be: its average follows a change slowly, the deviation at once.
    pub uncertainty: f64,
}

impl Lead {
    /// Round trips beyond what 16-bit clocks can measure are not believed.
    const MAX_RTT_MS: f64 = 65_535.0;

    pub(super) fn new(
        rtt_ms: f64,
        deviation_ms: f64,
        is_in_process: bool,
        rate: &ClientServerTickRate,
        client_rate: &ClientTickRate,
    ) -> Self {
        let hertz = u64::from(rate.simulation_hertz());
        // In process a command is there in the next frame, whatever the millisecond clocks say.
        let (rtt_ticks, slack, uncertainty) = if is_in_process {
            (1, 0, 0.0)
        } else {
            let scaled = (bounded(rtt_ms, 0.0, Self::MAX_RTT_MS) * hertz as f64).floor() as u64;
            let uncertainty = bounded(deviation_ms, 0.0, Self::MAX_RTT_MS) * hertz as f64 / 1000.0;
            (scaled.div_ceil(1000), u64::from(client_rate.target_command_slack), uncertainty)
        };
        let input_target = rtt_ticks + slack;
        let longest_prediction = (u64::from(client_rate.max_predict_ahead_time_ms) * hertz).div_ceil(1000);
        let forced_by_rtt = input_target.saturating_sub(longest_prediction);
        let effective_input_latency = forced_by_rtt.max(u64::from(client_rate.forced_input_latency_ticks));
        // All of these are far below 2³¹ except with settings that fail validation; then they are cut.
        let small = |ticks: u64| i32::try_from(ticks).unwrap_or(i32::MAX);
        Self {
            rtt_ticks: small(rtt_ticks).unsigned_abs(),
            slack: small(slack).unsigned_abs(),
            effective_input_latency: small(effective_input_latency).unsigned_abs(),
            predict_ahead_by: small(input_target).saturating_sub(small(effective_input_latency)),
            uncertainty,
        }
    }

    /// The round trip if it is as long as it may be.
    fn longest_rtt_ticks(self) -> u32 {
        // The cast saturates, and the uncertainty is never negative.
        self.rtt_ticks.saturating_add(self.uncertainty.ceil() as u32)
    }

    /// Where prediction belongs if the newest snapshot is of tick `snapshot`.
    pub(super) fn predict_from(self, snapshot: NetworkTick) -> TickPoint {
        TickPoint::at(snapshot).moved_by(TickSpan::from_ticks(self.predict_ahead_by))
    }
}

/// Prediction was put back by a hard reset of its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the predicted server tick jumped back by {ticks} ticks, from {from} to {to}; usual causes: frames that take too long, an unstable \
     network, an application that was paused in the background"
)]
pub struct PredictionRolledBack {
    /// Whole ticks from `from` to `to`, negative.
    pub ticks: i32,
    /// Where prediction was.
    pub from: NetworkTick,
    /// Where it is now.
    pub to: NetworkTick,
}

/// What the controller did in a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct PredictionStep {
    /// Speed of the clock in this frame.
    pub time_scale: f64,
    pub rolled_back: Option<PredictionRolledBack>,
}

/// Keeps prediction at its distance.
#[derive(Clone, Debug)]
pub(super) struct PredictionController {
    target: TickPoint,
    /// Ticks by which we ran ahead or stayed behind, by the snapshot that was the newest at the time (tick mod 64).
    corrections: [f64; Self::CORRECTION_SLOTS],
    newest_slot: NetworkTick,
}

impl PredictionController {
    const CORRECTION_SLOTS: usize = 64;
    /// Errors up to this many ticks are corrected by the speed of the clock, larger ones by a reset.
    const RESET_TICKS: f64 = 10.0;
    /// From here on, in ticks, late commands are a reason to look whether a reset is due. The reports lag behind and show less than
    /// there is. There is no such thing for early ones: they are harmless, and going back costs frames.
    const SUSPICION_TICKS: f64 = 5.0;
    /// Weight of the past in the server's average of the command age, per tick.
    const SERVER_SMOOTHING: f64 = 7.0 / 8.0;

    pub(super) fn new(target: TickPoint, snapshot: NetworkTick) -> Self {
        Self { target, corrections: [0.0; Self::CORRECTION_SLOTS], newest_slot: snapshot }
    }

    pub(super) fn target(&self) -> TickPoint {
        self.target
    }

    /// Moves the target without telling the controller.
    pub(super) fn shift(&mut self, span: TickSpan) {
        self.target = self.target.moved_by(span);
    }

    /// Puts the target where it belongs, if that is ahead. What was read of the link is a frame old, as the target still is. A correction
    /// like any other: reports don't show it yet.
    pub(super) fn make_up(&mut self, wanted: TickPoint) {
        let missing = wanted.since(self.target);
        if missing > TickSpan::ZERO {
            self.shift(missing);
            self.note_correction(missing.to_f64());
        }
    }

    /// Takes in a frame of `frame` ticks. `command_age` is what the server reported, in ticks, positive if commands come late.
    pub(super) fn advance(
        &mut self,
        frame: TickSpan,
        command_age: f64,
        lead: Lead,
        estimate: NetworkTick,
        newest_snapshot: Option<NetworkTick>,
        client_rate: &ClientTickRate,
    ) -> PredictionStep {
        if let Some(snapshot) = newest_snapshot {
            self.open_slot(snapshot);
        }
        let late_by = command_age + f64::from(lead.slack) - self.unreported_corrections(lead.longest_rtt_ticks());
        let is_off_the_scale = late_by.abs() >= Self::RESET_TICKS;
        if late_by < Self::SUSPICION_TICKS && !is_off_the_scale {
            return self.run_at_speed(frame, late_by, client_rate);
        }
        // Commands are far off: what do the snapshots and the round trip say? If commands are late the link has become slower, and
        // the average of the round trip is the last to know.
        let uncertainty = if late_by > 0.0 { lead.uncertainty } else { 0.0 };
        let wanted = lead.predict_from(estimate).moved_by(TickSpan::from_f64(uncertainty));
        let behind_by = wanted.since(self.target).minus(frame).to_f64();
        if behind_by.abs() > Self::RESET_TICKS {
            return self.reset(wanted, behind_by);
        }
        self.run_at_speed(frame, if is_off_the_scale { behind_by } else { late_by }, client_rate)
    }

    fn run_at_speed(&mut self, frame: TickSpan, behind_by: f64, client_rate: &ClientTickRate) -> PredictionStep {
        let gain = f64::from(client_rate.command_age_correction_fraction);
        let (slowest, fastest) =
            (client_rate.prediction_time_scale_min.into(), client_rate.prediction_time_scale_max.into());
        let ticks = frame.to_f64();
        let time_scale = bounded(1.0 + gain * behind_by, slowest, fastest);
        // A long frame must not correct more than there is to correct.
        let correction = bounded(ticks * (time_scale - 1.0), -behind_by.abs(), behind_by.abs());
        self.target = self.target.moved_by(frame.plus(TickSpan::from_f64(correction)));
        self.note_correction(correction);
        PredictionStep { time_scale: if ticks > 0.0 { 1.0 + correction / ticks } else { 1.0 }, rolled_back: None }
    }

    /// The jump is a correction like any other: until the server reports its effect, the reports count as if it did.
    fn reset(&mut self, wanted: TickPoint, behind_by: f64) -> PredictionStep {
        let (from, to) = (self.target.tick(), wanted.tick());
        self.target = wanted;
        self.note_correction(behind_by);
        let ticks = to.ticks_since(from);
        let rolled_back = (ticks < 0).then_some(PredictionRolledBack { ticks, from, to });
        PredictionStep { time_scale: 1.0, rolled_back }
    }

    fn note_correction(&mut self, ticks: f64) {
        if let Some(correction) = self.corrections.get_mut(slot(self.newest_slot)) {
            *correction += ticks;
        }
    }

    /// Makes `snapshot` the newest slot and empties those between.
    fn open_slot(&mut self, snapshot: NetworkTick) {
        let new_slots = usize::try_from(snapshot.ticks_since(self.newest_slot)).unwrap_or(0);
        for offset in 0..new_slots.min(Self::CORRECTION_SLOTS) {
            if let Some(correction) = self.corrections.get_mut(slot(snapshot.sub(offset as u32))) {
                *correction = 0.0;
            }
        }
        if new_slots > 0 {
            self.newest_slot = snapshot;
        }
    }

    /// The part of our own corrections that the reported command age does not show yet. For a round trip it shows nothing of a
    /// correction, then 1/8 of the rest with each tick, because the server reports a running average.
    fn unreported_corrections(&self, rtt_ticks: u32) -> f64 {
        let mut sum = 0.0;
        let mut unreported = 1.0;
        for offset in 0..Self::CORRECTION_SLOTS as u32 {
            if offset >= rtt_ticks {
                unreported *= Self::SERVER_SMOOTHING;
            }
            let correction = self.corrections.get(slot(self.newest_slot.sub(offset)));
            sum += correction.copied().unwrap_or(0.0) * unreported;
        }
        sum
    }
}

fn slot(tick: NetworkTick) -> usize {
    tick.index() as usize % PredictionController::CORRECTION_SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(rtt_ms: f64, client_rate: &ClientTickRate) -> Lead {
        Lead::new(rtt_ms, 0.0, false, &ClientServerTickRate::default().resolve_defaults(), client_rate)
    }

    fn tick(index: u32) -> NetworkTick {
        NetworkTick::new(index)
    }

    #[test]
    fn the_lead_is_the_round_trip_rounded_up_plus_slack() {
        let defaults = ClientTickRate::default();
        let ticks = |rtt_ms| (lead(rtt_ms, &defaults).rtt_ticks, lead(rtt_ms, &defaults).predict_ahead_by);
        assert_eq!(ticks(0.0), (0, 2));
        assert_eq!(ticks(16.0), (1, 3));
        assert_eq!(ticks(17.0), (2, 4));
        assert_eq!(ticks(100.0), (6, 8));
        assert_eq!(ticks(150.0), (9, 11));
        assert_eq!(ticks(f64::NAN), (0, 2));
    }

    #[test]
    fn a_round_trip_of_800_ms_becomes_input_latency() {
        let lead = lead(800.0, &ClientTickRate::default());
        // 48 ticks of round trip and 2 of slack, of which 30 (500 ms) are predicted.
        assert_eq!(
            lead,
            Lead { rtt_ticks: 48, slack: 2, effective_input_latency: 20, predict_ahead_by: 30, uncertainty: 0.0 }
        );
    }

    #[test]
    fn the_larger_of_configured_and_forced_latency_counts() {
        let with = |max_predict_ahead_time_ms, forced_input_latency_ticks| {
            let client_rate =
                ClientTickRate { max_predict_ahead_time_ms, forced_input_latency_ticks, ..Default::default() };
            lead(300.0, &client_rate)
        };
        assert_eq!((with(200, 0).effective_input_latency, with(200, 0).predict_ahead_by), (8, 12));
        assert_eq!(with(200, 6).effective_input_latency, 8);
        assert_eq!((with(500, 3).effective_input_latency, with(500, 3).predict_ahead_by), (3, 17));
        let only_latency = ClientTickRate { forced_input_latency_ticks: 10, ..Default::default() };
        assert_eq!(lead(20.0, &only_latency).predict_ahead_by, -6);
    }

    #[test]
    fn in_process_prediction_is_the_newest_snapshot_plus_one() {
        for hertz in [7, 30, 60, 90, 1000] {
            let rate = ClientServerTickRate { simulation_tick_rate: hertz, ..Default::default() }.resolve_defaults();
            let lead = Lead::new(250.0, 99.0, true, &rate, &ClientTickRate::default());
            assert_eq!((lead.rtt_ticks, lead.slack, lead.effective_input_latency), (1, 0, 0));
            assert_eq!(lead.predict_from(tick(9)), TickPoint::at(tick(10)));
        }
    }

    #[test]
    fn speed_follows_the_command_age_within_ten_percent() {
        let rate = ClientTickRate::default();
        let lead = lead(100.0, &rate);
        let speed = |age: f64| {
            let mut controller = PredictionController::new(lead.predict_from(tick(100)), tick(100));
            let frame = TickSpan::from_f64(0.5);
            controller.advance(frame, age, lead, tick(100), Some(tick(100)), &rate).time_scale
        };
        for (age, expected) in [(-2.0, 1.0), (-1.5, 1.05), (-2.5, 0.95), (3.0, 1.1), (-9.0, 0.9), (7.9, 1.1)] {
            assert!((speed(age) - expected).abs() < 1e-6, "{age}");
        }
    }

    #[test]
    fn corrections_of_the_last_round_trip_count_as_done() {
        let rate = ClientTickRate::default();
        let lead = lead(100.0, &rate);
        let mut controller = PredictionController::new(lead.predict_from(tick(100)), tick(100));
        // A tick late, reported unchanged for a whole round trip: it is corrected once, not six times.
        let start = controller.target();
        for frame in 1..=6 {
            controller.advance(TickSpan::ONE, -1.0, lead, tick(100 + frame), Some(tick(100 + frame)), &rate);
        }
        let gained = controller.target().since(start).to_f64() - 6.0;
        assert!((0.4..0.5).contains(&gained), "{gained}");
    }

    #[test]
    fn slots_between_two_snapshots_are_emptied() {
        let mut controller = PredictionController::new(TickPoint::at(tick(0)), tick(0));
        controller.corrections = [1.0; PredictionController::CORRECTION_SLOTS];
        controller.open_slot(tick(3));
        // Slots 1 to 3 are empty; all others are as old as the round trip, or older.
        let expected: f64 = (0..61).map(|ticks| 0.875_f64.powi(ticks)).sum();
        assert!((controller.unreported_corrections(4) - expected).abs() < 1e-9);
        controller.open_slot(tick(2));
        assert_eq!(controller.newest_slot, tick(3));
        controller.open_slot(tick(1000));
        assert_eq!(controller.unreported_corrections(u32::MAX), 0.0);
    }

    #[test]
    fn an_error_beyond_ten_ticks_is_reset_at_once_and_only_backwards_reported() {
        let rate = ClientTickRate::default();
        let lead = lead(100.0, &rate);
        let mut controller = PredictionController::new(TickPoint::at(tick(100)), tick(100));
        let step = controller.advance(TickSpan::ONE, 20.0, lead, tick(130), Some(tick(130)), &rate);
        assert_eq!((controller.target(), step.rolled_back), (TickPoint::at(tick(138)), None));
        let step = controller.advance(TickSpan::ONE, -20.0, lead, tick(110), Some(tick(130)), &rate);
        assert_eq!(controller.target(), TickPoint::at(tick(118)));
        let back = step.rolled_back.unwrap();
        assert_eq!((back.ticks, back.from, back.to), (-20, tick(138), tick(118)));
        assert!(
            back.to_string()
                .starts_with("the predicted server tick jumped back by -20 ticks, from 138 to 118; usual causes:")
        );
    }

    #[test]
    fn stale_feedback_does_not_reset_what_the_snapshots_confirm() {
        let rate = ClientTickRate::default();
        let lead = lead(100.0, &rate);
        let mut controller = PredictionController::new(TickPoint::at(tick(108)), tick(100));
        let step = controller.advance(TickSpan::ONE, 30.0, lead, tick(101), Some(tick(101)), &rate);
        assert_eq!((controller.target(), step.time_scale), (TickPoint::at(tick(109)), 1.0));
    }

    #[test]
    fn a_long_frame_corrects_no_more_than_the_error() {
        let rate = ClientTickRate::default();
        let lead = lead(100.0, &rate);
        let mut controller = PredictionController::new(TickPoint::at(tick(100)), tick(100));
        controller.advance(TickSpan::from_ticks(300), -2.5, lead, tick(400), Some(tick(400)), &rate);
        assert!((controller.target().since(TickPoint::at(tick(400))).to_f64() + 0.5).abs() < 1e-6);
    }

    #[test]
    fn settings_that_fail_validation_do_not_panic() {
        let rate = ClientTickRate {
            prediction_time_scale_min: f32::NAN,
            prediction_time_scale_max: 0.0,
            command_age_correction_fraction: f32::NAN,
            target_command_slack: u32::MAX,
            max_predict_ahead_time_ms: u32::MAX,
            ..Default::default()
        };
        let lead = lead(1e30, &rate);
        let mut controller = PredictionController::new(TickPoint::at(tick(100)), tick(100));
        controller.advance(TickSpan::from_q32(i64::MAX), f64::NAN, lead, tick(0), None, &rate);
    }
}

//! The client's loop: one simulation pass per frame, with the length that the synchronised clock has moved.
//! Takes the targets of time synchronisation, writes [`NetworkTime`] in target-tick form, and says whether the frame runs and how long
//! its step is.

use std::time::Duration;

use ghostline_wire::NetworkTick;
use thiserror::Error;

use super::network_time::NetworkTime;
use super::step::ExactElapsed;
use super::tick_point::{TickPoint, TickSpan};
use super::tick_rate::ClientServerTickRate;

/// What the client's loop needs to know about a frame.
#[derive(Clone, Debug)]
pub struct ClientFrameInput<'a> {
    /// Real length of the frame.
    pub dt: Duration,
    /// Whether the connection is in the game.
    pub in_game: bool,
    /// Where prediction is to be, from time synchronisation; `None` before the first snapshot.
    pub predict_target: Option<TickPoint>,
    /// Where interpolation is to be, from time synchronisation; `None` before the first snapshot.
    pub interpolate_target: Option<TickPoint>,
    /// From time synchronisation.
    pub effective_input_latency_ticks: u32,
    /// The resolved rates.
    pub rate: &'a ClientServerTickRate,
}

/// What the client's loop decided for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientFrame {
    /// Whether the simulation runs in this frame. If not, [`NetworkTime`] was left as the last frame that ran had it.
    pub runs: bool,
    /// Length of the step: scaled in the game, real outside; zero if the frame doesn't run.
    pub delta: Duration,
    /// Simulated time at the end of the step; never goes back.
    pub elapsed: Duration,
    /// Set once for a jump back of the prediction target by more than [`ClientLoop::JUMP_BACK_TICKS`]: an error to log.
    pub jump_back: Option<TickJumpBack>,
}

/// The prediction target went back further than a correction of the clock explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the predicted server tick jumped back by {ticks} ticks, from {from} to {to}")]
pub struct TickJumpBack {
    /// Whole ticks from `from` to `to`, negative.
    pub ticks: i32,
    /// Where prediction was.
    pub from: NetworkTick,
    /// Where it is now.
    pub to: NetworkTick,
}

/// Turns the targets of time synchronisation into frames.
///
/// A frame whose target does not lie after that of the last frame that ran is skipped, so that no tick is simulated twice: when the target
/// is put back 10 ticks, frames are skipped until it has passed the old place. If that would take longer than the histories of
/// inputs and states reach ([`Self::RESTART_TICKS`]), the loop starts over at the new place instead.
#[derive(Clone, Debug, Default)]
pub struct ClientLoop {
    /// Where the last frame that ran was; `None` outside the game.
    previous: Option<TickPoint>,
    /// The target of the last frame, whether it ran or not.
    last_target: Option<TickPoint>,
    elapsed: ExactElapsed,
}

impl ClientLoop {
    /// The largest step back of the target, in ticks, that is not reported.
    pub const JUMP_BACK_TICKS: i32 = 10;
    /// The longest way back, in ticks, that is waited out.
    pub const RESTART_TICKS: i32 = 64;

    /// A loop outside the game.
    pub fn new() -> Self {
        Self::default()
    }

    /// Simulated time so far.
    pub fn elapsed(&self) -> Duration {
        self.elapsed.get()
    }

    /// Decides about a frame, and describes it in `time` if it runs.
    ///
    /// Outside the game and before the first snapshot every frame runs, at its real length and without ticks. What belongs to
    /// the prediction loop in `time` (index, number of ticks, flags) is not touched.
    pub fn advance(&mut self, input: &ClientFrameInput<'_>, time: &mut NetworkTime) -> ClientFrame {
        let (true, Some(predict), Some(interpolate)) = (input.in_game, input.predict_target, input.interpolate_target)
        else {
            return self.advance_outside_the_game(input.dt, time);
        };
        let step = input.rate.step();
        let clamp_percent = input.rate.clamp_percent();
        let jump_back = self.notice_jump_back(predict);
        let previous = self.previous.filter(|&previous| !lies_too_far_back(predict, previous));
        let position = position(predict, previous, clamp_percent);

        let (delta, batch_size) = match previous {
            Some(previous) => {
                let span = position.since(previous);
                if span <= TickSpan::ZERO {
                    return ClientFrame { runs: false, delta: Duration::ZERO, elapsed: self.elapsed.get(), jump_back };
                }
                self.elapsed.add_ticks(span, step);
                (span.duration(step).unwrap_or_default(), batch_size(previous, position))
            }
            // The first frame with a tick has no distance to go by. From here on time is a whole number of steps at every whole tick, so that fixed
            // sub-steps lie on multiples of their length.
            None => {
                let before = self.elapsed.get();
                self.elapsed.add_duration(input.dt);
                self.elapsed.align(position.fraction_q32(), step);
                (self.elapsed.get().saturating_sub(before), 1)
            }
        };
        self.previous = Some(position);

        let (server_tick, server_tick_fraction) = position.target();
        let (interpolation_tick, interpolation_tick_fraction) = clamp_partial(interpolate, clamp_percent).target();
        time.server_tick = Some(server_tick);
        time.server_tick_fraction = server_tick_fraction;
        time.interpolation_tick = Some(interpolation_tick);
        time.interpolation_tick_fraction = interpolation_tick_fraction;
        time.simulation_step_batch_size = batch_size;
        time.is_off_frame = false;
        time.effective_input_latency_ticks = input.effective_input_latency_ticks;
        time.elapsed_network_time = self.elapsed.get().as_secs_f64();
        ClientFrame { runs: true, delta, elapsed: self.elapsed.get(), jump_back }
    }

    fn advance_outside_the_game(&mut self, dt: Duration, time: &mut NetworkTime) -> ClientFrame {
        self.previous = None;
        self.last_target = None;
        self.elapsed.add_duration(dt);
        time.server_tick = None;
        time.server_tick_fraction = 1.0;
        time.interpolation_tick = None;
        time.interpolation_tick_fraction = 1.0;
        time.simulation_step_batch_size = 1;
        time.is_off_frame = false;
        time.effective_input_latency_ticks = 0;
        time.elapsed_network_time = self.elapsed.get().as_secs_f64();
        ClientFrame { runs: true, delta: dt, elapsed: self.elapsed.get(), jump_back: None }
    }

    fn notice_jump_back(&mut self, target: TickPoint) -> Option<TickJumpBack> {
        let last = self.last_target.replace(target)?;
        let ticks = target.tick().ticks_since(last.tick());
        (ticks < -Self::JUMP_BACK_TICKS).then(|| TickJumpBack { ticks, from: last.tick(), to: target.tick() })
    }
}

/// The length of a client's frame as time synchronisation must see it when a server runs in the same process: no longer than what
/// that server can simulate in one frame, so that the client does not outrun it after a hitch.
pub fn in_process_frame_dt(dt: Duration, rate: &ClientServerTickRate) -> Duration {
    dt.min(rate.step().duration(rate.max_steps() * rate.max_batch()))
}

fn lies_too_far_back(target: TickPoint, previous: TickPoint) -> bool {
    target.since(previous) < TickSpan::from_ticks(-ClientLoop::RESTART_TICKS)
}

/// Where this frame is. Usually the clamped target; but rounding must not cost a frame, so if the clamped target is where the
/// previous frame was already, the exact one is taken. Whoever sets the clamp to half a tick asks for whole ticks and gets nothing else.
fn position(target: TickPoint, previous: Option<TickPoint>, clamp_percent: u32) -> TickPoint {
    let clamped = clamp_partial(target, clamp_percent);
    let wants_whole_ticks = clamp_percent >= ClientServerTickRate::CLAMP_TO_WHOLE_TICKS.unsigned_abs();
    match previous {
        Some(previous) if !wants_whole_ticks && clamped.since(previous) <= TickSpan::ZERO => target,
        _ => clamped,
    }
}

/// Moves a point that is within `percent` of a whole tick to that tick.
fn clamp_partial(point: TickPoint, percent: u32) -> TickPoint {
    const WHOLE: u64 = 1 << u32::BITS;
    let width = WHOLE * u64::from(percent) / 100;
    let fraction = u64::from(point.fraction_q32());
    if fraction < width {
        TickPoint::at(point.tick())
    } else if fraction > WHOLE - width {
        TickPoint::at(point.tick().next())
    } else {
        point
    }
}

/// How many ticks this frame simulates, counting the one that the previous frame simulated in part.
fn batch_size(previous: TickPoint, position: TickPoint) -> u32 {
    let (previous_target, previous_fraction) = previous.target();
    let (target, _) = position.target();
    let was_partial = previous_fraction < 1.0;
    u32::try_from(target.ticks_since(previous_target)).unwrap_or(0).saturating_add(u32::from(was_partial)).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point(ticks: f64) -> TickPoint {
        TickPoint::at(NetworkTick::new(0)).moved_by(TickSpan::from_f64(ticks))
    }

    struct Frames {
        client: ClientLoop,
        time: NetworkTime,
        rate: ClientServerTickRate,
    }

    impl Frames {
        fn with_clamp(clamp_partial_ticks_threshold: i32) -> Self {
            let rate = ClientServerTickRate { clamp_partial_ticks_threshold, ..Default::default() }.resolve_defaults();
            Self { client: ClientLoop::new(), time: NetworkTime::default(), rate }
        }

        fn new() -> Self {
            Self::with_clamp(0)
        }

        /// A frame of 10 ms whose prediction target is `ticks` and whose interpolation target is four ticks before it.
        fn frame(&mut self, ticks: f64) -> ClientFrame {
            let input = ClientFrameInput {
                dt: Duration::from_millis(10),
                in_game: true,
                predict_target: Some(point(ticks)),
                interpolate_target: Some(point(ticks - 4.0)),
                effective_input_latency_ticks: 3,
                rate: &self.rate,
            };
            self.client.advance(&input, &mut self.time)
        }

        fn outside(&mut self) -> ClientFrame {
            let input = ClientFrameInput {
                dt: Duration::from_millis(10),
                in_game: false,
                predict_target: Some(point(1.0)),
                interpolate_target: Some(point(1.0)),
                effective_input_latency_ticks: 3,
                rate: &self.rate,
            };
            self.client.advance(&input, &mut self.time)
        }

        /// Tick and fraction that a frame at `ticks` reads after one at `before`.
        fn reads(before: f64, ticks: f64) -> (u32, f32) {
            let mut frames = Self::new();
            frames.frame(before);
            assert!(frames.frame(ticks).runs);
            (frames.time.server_tick.unwrap().index(), frames.time.server_tick_fraction)
        }
    }

    #[test]
    fn half_way_from_10_to_11_reads_11_and_a_half() {
        assert_eq!(Frames::reads(10.0, 10.5), (11, 0.5));
    }

    #[test]
    fn a_fraction_of_4_percent_is_a_full_tick() {
        assert_eq!(Frames::reads(9.0, 10.04), (10, 1.0));
        assert_eq!(Frames::reads(9.0, 10.96), (11, 1.0));
        assert_eq!(Frames::reads(9.0, 10.0), (10, 1.0));
        assert_eq!(Frames::reads(9.0, 10.0625), (11, 0.0625));
    }

    #[test]
    fn with_the_clamp_off_only_whole_ticks_are_full() {
        let mut frames = Frames::with_clamp(ClientServerTickRate::CLAMP_OFF);
        frames.frame(9.0);
        frames.frame(10.0);
        assert_eq!((frames.time.server_tick, frames.time.server_tick_fraction), (Some(NetworkTick::new(10)), 1.0));
        frames.frame(10.015625);
        assert_eq!((frames.time.server_tick, frames.time.server_tick_fraction), (Some(NetworkTick::new(11)), 0.015625));
    }

    #[test]
    fn interpolation_is_told_in_the_same_convention() {
        let mut frames = Frames::new();
        frames.frame(10.5);
        assert_eq!(
            (frames.time.interpolation_tick, frames.time.interpolation_tick_fraction),
            (Some(NetworkTick::new(7)), 0.5)
        );
        frames.frame(10.97);
        assert_eq!(
            (frames.time.interpolation_tick, frames.time.interpolation_tick_fraction),
            (Some(NetworkTick::new(7)), 1.0)
        );
    }

    #[test]
    fn the_step_is_what_the_clock_moved_and_the_batch_counts_the_partial_tick_again() {
        let mut frames = Frames::new();
        let first = frames.frame(10.0);
        let tick = Duration::from_nanos(16_666_667);
        assert!(first.delta.abs_diff(tick).as_nanos() <= 2, "10 ms, and on to a whole tick: {:?}", first.delta);
        assert_eq!(frames.time.simulation_step_batch_size, 1);
        assert_eq!(frames.time.effective_input_latency_ticks, 3);
        // (delta in 1/60 ticks, batch) of a frame at each target.
        let expected =
            [(10.5, 0.5, 1), (10.75, 0.25, 1), (13.25, 2.5, 4), (14.0, 0.75, 1), (15.0, 1.0, 1), (17.0, 2.0, 2)];
        for (target, ticks, batch_size) in expected {
            let frame = frames.frame(target);
            assert_eq!(frame.delta, Duration::from_secs_f64(ticks / 60.0));
            assert_eq!(frames.time.simulation_step_batch_size, batch_size, "{target}");
        }
        assert!(frames.client.elapsed().abs_diff(Duration::from_nanos(8_000_000_000 / 60)).as_nanos() <= 2);
        assert_eq!(frames.time.elapsed_network_time, frames.client.elapsed().as_secs_f64());
    }

    #[test]
    fn a_frame_whose_target_stands_still_or_goes_back_is_skipped_and_changes_nothing() {
        let mut frames = Frames::new();
        frames.frame(10.5);
        let before = frames.time.clone();
        for target in [10.5, 10.25, 9.0] {
            let frame = frames.frame(target);
            assert_eq!((frame.runs, frame.delta), (false, Duration::ZERO));
        }
        assert_eq!(frames.time, before);
        assert!(frames.frame(10.75).runs);
    }

    #[test]
    fn a_target_put_back_ten_ticks_skips_nine_frames_and_runs_on_the_tenth() {
        let mut frames = Frames::new();
        frames.frame(29.1);
        // The frame in which the target is put back had taken its target before, and runs.
        assert!(frames.frame(30.1).runs);
        let mut forced = 20.1;
        let mut ran = Vec::new();
        for _ in 0..10 {
            // A tick per frame, and a little more, as the server misses commands.
            forced += 1.01;
            let frame = frames.frame(forced);
            assert_eq!(frame.jump_back, None);
            ran.push(frame.runs);
        }
        assert_eq!(ran, [false, false, false, false, false, false, false, false, false, true]);
        // Nothing that was done is done again: it goes on inside the tick that was in progress.
        assert_eq!(frames.time.last_full_server_tick(), Some(NetworkTick::new(30)));
    }

    #[test]
    fn a_jump_back_of_more_than_ten_ticks_is_reported_once() {
        let mut frames = Frames::new();
        frames.frame(30.0);
        assert_eq!(frames.frame(20.0).jump_back, None);
        frames.frame(40.0);
        let jump = frames.frame(28.5).jump_back.unwrap();
        assert_eq!(jump, TickJumpBack { ticks: -12, from: NetworkTick::new(40), to: NetworkTick::new(28) });
        assert_eq!(jump.to_string(), "the predicted server tick jumped back by -12 ticks, from 40 to 28");
        assert_eq!(frames.frame(29.5).jump_back, None);
    }

    #[test]
    fn a_jump_back_beyond_the_histories_starts_over_instead_of_freezing() {
        let mut frames = Frames::new();
        frames.frame(1000.5);
        assert!(!frames.frame(936.5).runs);
        let frame = frames.frame(900.5);
        assert!(frame.runs);
        assert!(
            (10..27).contains(&frame.delta.as_millis()),
            "its own length, and on to the ticks' time: {:?}",
            frame.delta
        );
        assert_eq!((frames.time.server_tick, frames.time.simulation_step_batch_size), (Some(NetworkTick::new(901)), 1));
        assert!(frames.frame(901.5).runs);
    }

    #[test]
    fn rounding_never_costs_a_frame() {
        // 0.0625 of a tick per frame: two neighbours may both lie within 5 % of a whole tick.
        let mut frames = Frames::new();
        let mut last = 0.0;
        for frame in 0..1000 {
            assert!(frames.frame(10.0 + f64::from(frame) * 0.0625).runs);
            let reading =
                f64::from(frames.time.server_tick.unwrap().index()) + f64::from(frames.time.server_tick_fraction);
            assert!(reading > last);
            last = reading;
        }
    }

    #[test]
    fn a_clamp_of_half_a_tick_leaves_whole_ticks_only() {
        let mut frames = Frames::with_clamp(50);
        let mut ran = 0;
        for frame in 0..144 {
            ran += u32::from(frames.frame(10.1 + f64::from(frame) * 60.0 / 144.0).runs);
            assert!(!frames.time.is_partial_tick());
        }
        assert_eq!(ran, 61);
    }

    #[test]
    fn outside_the_game_time_is_real_and_there_is_no_tick() {
        let mut frames = Frames::new();
        let frame = frames.outside();
        assert!(frame.runs);
        assert_eq!((frame.delta, frame.elapsed), (Duration::from_millis(10), Duration::from_millis(10)));
        assert_eq!((frames.time.server_tick, frames.time.interpolation_tick), (None, None));
        frames.frame(30.0);
        frames.frame(31.0);
        frames.outside();
        assert_eq!(frames.time.server_tick, None);
        assert_eq!(frames.time.effective_input_latency_ticks, 0);
        // A new game may begin at an older tick.
        let frame = frames.frame(5.0);
        assert_eq!((frame.runs, frame.jump_back), (true, None));
    }

    #[test]
    fn a_hitch_lets_an_in_process_client_go_no_further_than_its_server() {
        let rate = ClientServerTickRate { max_simulation_steps_per_frame: 2, ..Default::default() }.resolve_defaults();
        assert_eq!(in_process_frame_dt(Duration::from_secs(5), &rate), rate.step().duration(8));
        assert_eq!(in_process_frame_dt(Duration::from_millis(16), &rate), Duration::from_millis(16));
    }

    proptest! {
        #[test]
        fn what_runs_only_moves_forward_and_adds_up(moves in prop::collection::vec(-3.0_f64..5.0, 1..200), clamp in -1_i32..=50, start: u32) {
            let mut frames = Frames::with_clamp(clamp);
            let mut target = TickPoint::at(NetworkTick::new(start));
            let mut last: Option<TickPoint> = None;
            let mut sum = TickSpan::ZERO;
            let mut aligned = Duration::ZERO;
            for ticks in moves {
                target = target.moved_by(TickSpan::from_f64(ticks));
                let input = ClientFrameInput {
                    dt: Duration::ZERO,
                    in_game: true,
                    predict_target: Some(target),
                    interpolate_target: Some(target),
                    effective_input_latency_ticks: 0,
                    rate: &frames.rate,
                };
                let frame = frames.client.advance(&input, &mut frames.time);
                let now = frames.client.previous.unwrap();
                prop_assert!(frames.time.server_tick_fraction > 0.0 && frames.time.server_tick_fraction <= 1.0);
                prop_assert!(frames.time.simulation_step_batch_size >= 1);
                if frame.runs && let Some(last) = last && !lies_too_far_back(target, last) {
                    prop_assert!(now.since(last) > TickSpan::ZERO);
                    sum = sum.plus(now.since(last));
                    prop_assert!(frame.delta > Duration::ZERO);
                } else if frame.runs {
                    aligned += frame.delta;
                }
                if !frame.runs {
                    prop_assert_eq!(Some(now), last);
                }
                last = Some(now);
            }
            let exact = sum.to_f64() / 60.0 + aligned.as_secs_f64();
            prop_assert!((frames.client.elapsed().as_secs_f64() - exact).abs() < 2e-9);
            // At a whole tick, time is a whole number of steps.
            let ticks = frames.client.elapsed().as_secs_f64() * 60.0;
            let fraction = last.map_or(0.0, |last| f64::from(last.fraction_q32()) / f64::from(u32::MAX));
            let off = (ticks - fraction).rem_euclid(1.0);
            prop_assert!(off.min(1.0 - off) < 1e-6, "{ticks} ticks at a fraction of {fraction}");
        }
    }
}

//! The server's fixed-step loop: frame lengths go in, whole ticks come out.
//! Fed by the runner with the frame's `dt`; its steps go to the simulation schedule, their numbers to [`NetworkTime`]. All in integers
//! (nanoseconds × Hz), so that ticks match the time passed in after any number of frames.

use std::time::Duration;

use ghostline_wire::NetworkTick;

use super::network_time::NetworkTime;
use super::step::{ExactElapsed, NANOS_PER_SECOND};
use super::tick_point::TickSpan;
use super::tick_rate::ClientServerTickRate;

/// One pass of the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerStep {
    /// Ticks merged into this step, at least 1.
    pub ticks: u32,
    /// Whether more steps follow in this frame.
    pub is_catch_up: bool,
}

/// The steps of one frame, longest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerSteps {
    long_steps: u32,
    short_steps: u32,
    /// Ticks in a long step; a short one has one less.
    long_ticks: u32,
}

impl ServerSteps {
    fn even(steps: u32, ticks: u32) -> Self {
        Self { long_steps: steps, short_steps: 0, long_ticks: ticks }
    }

    /// Ticks in all remaining steps together.
    pub fn ticks(&self) -> u32 {
        self.long_steps * self.long_ticks + self.short_steps * self.long_ticks.saturating_sub(1)
    }
}

impl Iterator for ServerSteps {
    type Item = ServerStep;

    fn next(&mut self) -> Option<ServerStep> {
        let ticks = if self.long_steps > 0 {
            self.long_steps -= 1;
            self.long_ticks
        } else if self.short_steps > 0 {
            self.short_steps -= 1;
            self.long_ticks.saturating_sub(1)
        } else {
            return None;
        };
        Some(ServerStep { ticks, is_catch_up: self.long_steps + self.short_steps > 0 })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let steps = (self.long_steps + self.short_steps) as usize;
        (steps, Some(steps))
    }
}

impl ExactSizeIterator for ServerSteps {}

/// What `Time` must show during a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepTime {
    /// The length of the step: always the same for the same number of ticks.
    pub delta: Duration,
    /// Simulated time at the end of the step, exact to the nanosecond. Because both are rounded, `elapsed` may differ by a nanosecond
    /// from the previous step's plus `delta`.
    pub elapsed: Duration,
}

/// The accumulator of the fixed-step loop, with the tick and the simulated time that it has reached.
#[derive(Clone, Debug)]
pub struct ServerLoop {
    /// Time not yet simulated, in nanoseconds × Hz: a tick is a thousand million. Slightly negative after a tick that was run a hair
    /// early.
    accumulator: i128,
    /// The rate that `accumulator` is measured in.
    hertz: u32,
    tick: NetworkTick,
    elapsed: ExactElapsed,
    /// Time that was given up, and not told yet.
    skipped: Duration,
}

impl Default for ServerLoop {
    fn default() -> Self {
        Self::starting_at(NetworkTick::new(0), Duration::ZERO)
    }
}

impl ServerLoop {
    /// One tick in the units of the accumulator.
    const TICK: i128 = NANOS_PER_SECOND as i128;
    /// A tick is due when less than this is missing. Frame lengths are cut to whole nanoseconds, so two halves of a step are a
    /// nanosecond short of it, and a thousand frames a microsecond; a frame must not lose its tick to that. The part that
    /// was missing is owed, so that nothing adds up.
    const TOLERANCE: i128 = Self::TICK / 1000;

    /// At most so much time is made up for. A process that was suspended for an hour must not simulate it.
    pub const MAX_BACKLOG: Duration = Duration::from_secs(60);

    /// A loop that has run nothing. Tick 0 is never simulated: the first step ends at tick 1.
    pub fn new() -> Self {
        Self::default()
    }

    /// A loop that goes on from `tick` and `elapsed`, as after a migration.
    pub fn starting_at(tick: NetworkTick, elapsed: Duration) -> Self {
        Self { accumulator: 0, hertz: 0, tick, elapsed: ExactElapsed::starting_at(elapsed), skipped: Duration::ZERO }
    }

    /// Whether it has neither run a tick nor taken in a frame.
    pub fn is_new(&self) -> bool {
        self.hertz == 0 && self.tick == NetworkTick::new(0)
    }

    /// The newest tick that was begun with [`Self::apply_step`].
    pub fn tick(&self) -> NetworkTick {
        self.tick
    }

    /// The simulated time at [`Self::tick`].
    pub fn elapsed(&self) -> Duration {
        self.elapsed.get()
    }

    /// Takes in a frame of length `dt` and returns its steps: none if no tick is due; single ticks as long as they fit into the
    /// step limit, else ticks merged as evenly as possible. What doesn't fit into steps of the largest batch stays for later frames, up to
    /// [`Self::MAX_BACKLOG`].
    ///
    /// Every returned step must be run, and begun with [`Self::apply_step`]. `rate` should be resolved.
    pub fn advance(&mut self, dt: Duration, rate: &ClientServerTickRate) -> ServerSteps {
        self.accumulator = self.accumulated(dt, rate);
        self.hertz = rate.simulation_hertz();
        self.give_up_backlog();
        let steps = Self::split(self.due_ticks(), rate);
        self.accumulator -= i128::from(steps.ticks()) * Self::TICK;
        steps
    }

    /// Whether [`Self::advance`] with the same arguments would return a step. Changes nothing.
    pub fn would_tick(&self, dt: Duration, rate: &ClientServerTickRate) -> bool {
        self.accumulated(dt, rate) >= Self::TICK - Self::TOLERANCE
    }

    /// Time not yet simulated, in ticks: below 1, unless the step limits left more. A tick that was run a hair early leaves a
    /// value slightly below 0.
    pub fn residual(&self) -> f64 {
        self.accumulator as f64 / Self::TICK as f64
    }

    /// The frame rate that a sleeping main loop should ask for in its next frame, in Hz: the tick rate, 2 more if over 3/4 of
    /// a tick is left over, 2 less if under 1/4 is, so that frames come when one tick is safely due.
    pub fn requested_frame_rate_hz(&self, rate: &ClientServerTickRate) -> u32 {
        const NUDGE_HZ: u32 = 2;
        let hertz = rate.simulation_hertz();
        if self.accumulator * 4 > Self::TICK * 3 {
            hertz.saturating_add(NUDGE_HZ)
        } else if self.accumulator * 4 < Self::TICK {
            hertz.saturating_sub(NUDGE_HZ).max(1)
        } else {
            hertz
        }
    }

    /// Begins a step: moves tick and time on, and describes the step in `time`. `steps_in_frame` is the length of what
    /// [`Self::advance`] returned for this frame. The flags of the prediction loop are not touched.
    pub fn apply_step(
        &mut self,
        step: ServerStep,
        steps_in_frame: u32,
        rate: &ClientServerTickRate,
        time: &mut NetworkTime,
    ) -> StepTime {
        let length = rate.step();
        self.tick = self.tick.add(step.ticks);
        self.elapsed.add_ticks(TickSpan::from_ticks(i32::try_from(step.ticks).unwrap_or(i32::MAX)), length);

        time.server_tick = Some(self.tick);
        time.server_tick_fraction = 1.0;
        time.interpolation_tick = Some(self.tick);
        time.interpolation_tick_fraction = 1.0;
        time.simulation_step_batch_size = step.ticks;
        time.num_predicted_ticks_expected = steps_in_frame;
        time.is_off_frame = false;
        time.effective_input_latency_ticks = 0;
        time.elapsed_network_time = self.elapsed.get().as_secs_f64();
        time.set_catch_up_tick(step.is_catch_up);
        StepTime { delta: length.duration(step.ticks), elapsed: self.elapsed.get() }
    }

    /// Ends the simulation of a frame in `time`.
    pub fn end_frame(time: &mut NetworkTime) {
        time.num_predicted_ticks_expected = 0;
        time.set_catch_up_tick(false);
    }

    /// The accumulator after a frame of length `dt`, in the units of `rate`.
    fn accumulated(&self, dt: Duration, rate: &ClientServerTickRate) -> i128 {
        let hertz = i128::from(rate.simulation_hertz());
        // After a change of the rate the same time left over is another number of ticks.
        let carried = match self.hertz {
            0 => self.accumulator,
            old if i128::from(old) == hertz => self.accumulator,
            old => self.accumulator.saturating_mul(hertz) / i128::from(old),
        };
        let nanos = i128::from(u64::try_from(dt.as_nanos()).unwrap_or(u64::MAX));
        carried.saturating_add(nanos * hertz)
    }

    /// Drops what is beyond [`Self::MAX_BACKLOG`].
    fn give_up_backlog(&mut self) {
        let hertz = i128::from(self.hertz.max(1));
        let most = i128::try_from(Self::MAX_BACKLOG.as_nanos()).unwrap_or(i128::MAX).saturating_mul(hertz);
        let beyond = self.accumulator.saturating_sub(most);
        if beyond > 0 {
            self.accumulator = most;
            self.skipped += Duration::from_nanos(u64::try_from(beyond / hertz).unwrap_or(u64::MAX));
        }
    }

    /// Time that was given up since the last call, because more than [`Self::MAX_BACKLOG`] was missing.
    pub fn take_skipped(&mut self) -> Duration {
        std::mem::take(&mut self.skipped)
    }

    fn due_ticks(&self) -> u64 {
        u64::try_from((self.accumulator + Self::TOLERANCE) / Self::TICK).unwrap_or(if self.accumulator < 0 {
            0
        } else {
            u64::MAX
        })
    }

    fn split(due: u64, rate: &ClientServerTickRate) -> ServerSteps {
        let (max_steps, max_batch) = (rate.max_steps(), rate.max_batch());
        if let Ok(steps) = u32::try_from(due)
            && steps <= max_steps
        {
            return ServerSteps::even(steps, 1);
        }
        let long_ticks = due.div_ceil(u64::from(max_steps));
        if long_ticks > u64::from(max_batch) {
            return ServerSteps::even(max_steps, max_batch);
        }
        // Both fit: the batch is at most `max_batch`, and fewer than `max_steps` ticks are missing from full batches.
        let short_steps = (long_ticks * u64::from(max_steps) - due) as u32;
        ServerSteps { long_steps: max_steps - short_steps, short_steps, long_ticks: long_ticks as u32 }
    }
}

/// The server merges ticks more often than it should.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchedTicksWarning {
    /// Recent ticks per step.
    pub average: f32,
    /// Whether this is the first such warning of this monitor, the one to give advice in.
    pub is_first: bool,
}

/// Watches how many ticks a server merges per step, over about the last [`Self::WINDOW`] steps.
#[derive(Clone, Debug)]
pub struct BatchedTicksMonitor {
    average: f32,
    has_warned: bool,
    /// Ticks that may be merged without a warning.
    excused: u32,
}

impl Default for BatchedTicksMonitor {
    fn default() -> Self {
        Self { average: 1.0, has_warned: false, excused: 0 }
    }
}

impl BatchedTicksMonitor {
    /// Steps that the running average looks back.
    pub const WINDOW: u32 = 4;
    /// Ticks per step from which a warning is due.
    pub const THRESHOLD: f32 = 1.2;

    /// A monitor that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The application stalled, which was reported: that the ticks which are missing are merged now is no news. `residual` of them are
    /// left after this frame, which has `due`.
    pub fn excuse(&mut self, residual: f64, due: u32) {
        // While the server catches up time goes on: with the smallest batch, of two, it simulates twice what was missing. The cast saturates.
        let missing = residual.max(0.0) as u32;
        self.excused = missing.saturating_add(due).saturating_mul(2);
    }

    /// Takes in a step of `ticks` merged ticks. Returns a warning if the average has reached the threshold, and then starts over.
    pub fn record(&mut self, ticks: u32) -> Option<BatchedTicksWarning> {
        if self.excused > 0 {
            self.excused = self.excused.saturating_sub(ticks);
            return None;
        }
        self.average += (ticks as f32 - self.average) / Self::WINDOW as f32;
        if self.average < Self::THRESHOLD {
            return None;
        }
        let warning = BatchedTicksWarning { average: self.average, is_first: !self.has_warned };
        *self = Self { average: 1.0, has_warned: true, excused: 0 };
        Some(warning)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(max_steps: i32, max_batch: i32) -> ClientServerTickRate {
        ClientServerTickRate {
            max_simulation_steps_per_frame: max_steps,
            max_simulation_step_batch_size: max_batch,
            ..Default::default()
        }
        .resolve_defaults()
    }

    fn lengths(steps: ServerSteps) -> Vec<u32> {
        steps.map(|step| step.ticks).collect()
    }

    /// A length of `ticks` ticks at 60 Hz.
    fn ticks(ticks: u32) -> Duration {
        ClientServerTickRate::default().step().duration(ticks)
    }

    #[test]
    fn a_frame_of_50_ms_is_one_step_of_three_ticks_by_default() {
        let mut server = ServerLoop::new();
        let mut time = NetworkTime::default();
        let rate = rate(0, 0);
        let mut steps = server.advance(Duration::from_millis(50), &rate);
        assert_eq!((steps.len(), steps.ticks()), (1, 3));
        let step = steps.next().unwrap();
        assert_eq!(step, ServerStep { ticks: 3, is_catch_up: false });
        let step_time = server.apply_step(step, 1, &rate, &mut time);
        assert_eq!(step_time, StepTime { delta: Duration::from_millis(50), elapsed: Duration::from_millis(50) });
        assert_eq!(time.server_tick, Some(NetworkTick::new(3)));
        assert_eq!((time.simulation_step_batch_size, time.is_catch_up_tick()), (3, false));
        assert_eq!(time.elapsed_network_time, 0.05);
    }

    #[test]
    fn a_frame_of_50_ms_is_three_steps_if_four_are_allowed() {
        let mut server = ServerLoop::new();
        let steps = server.advance(Duration::from_millis(50), &rate(4, 4));
        let flags: Vec<_> = steps.map(|step| (step.ticks, step.is_catch_up)).collect();
        assert_eq!(flags, [(1, true), (1, true), (1, false)]);
    }

    #[test]
    fn ten_ticks_in_four_steps_are_three_three_two_two() {
        assert_eq!(lengths(ServerLoop::new().advance(ticks(10), &rate(4, 4))), [3, 3, 2, 2]);
        assert_eq!(lengths(ServerLoop::new().advance(ticks(5), &rate(4, 4))), [2, 1, 1, 1]);
        assert_eq!(lengths(ServerLoop::new().advance(ticks(8), &rate(4, 4))), [2, 2, 2, 2]);
        assert_eq!(lengths(ServerLoop::new().advance(ticks(16), &rate(4, 4))), [4, 4, 4, 4]);
        assert_eq!(lengths(ServerLoop::new().advance(ticks(4), &rate(4, 4))), [1, 1, 1, 1]);
    }

    #[test]
    fn what_exceeds_the_limits_stays_for_later() {
        let mut server = ServerLoop::new();
        let rate = rate(4, 4);
        assert_eq!(lengths(server.advance(ticks(18), &rate)), [4, 4, 4, 4]);
        assert!((server.residual() - 2.0).abs() < 1e-6);
        assert_eq!(lengths(server.advance(Duration::ZERO, &rate)), [1, 1]);
        assert_eq!(server.advance(Duration::ZERO, &rate).len(), 0);
    }

    #[test]
    fn a_stall_of_a_second_is_made_up_for() {
        let mut server = ServerLoop::new();
        let rate = rate(0, 0);
        let mut total = server.advance(Duration::from_secs(1), &rate).ticks();
        assert_eq!(total, 4);
        for _ in 0..60 {
            total += server.advance(ticks(1), &rate).ticks();
        }
        assert_eq!(total, 120);
    }

    #[test]
    fn frames_of_half_a_tick_alternate_and_the_dry_run_knows_it() {
        let mut server = ServerLoop::new();
        let rate = rate(4, 4);
        let half = Duration::from_nanos(8_333_333);
        let mut pattern = Vec::new();
        for _ in 0..1000 {
            let foreseen = server.would_tick(half, &rate);
            assert_eq!(server.would_tick(half, &rate), foreseen);
            let steps = server.advance(half, &rate);
            assert_eq!(steps.len() == 1, foreseen);
            pattern.push(foreseen);
        }
        assert!(pattern.chunks(2).all(|pair| pair == [false, true]));
    }

    #[test]
    fn frames_cut_to_nanoseconds_have_one_tick_each_from_the_first_on() {
        let mut server = ServerLoop::new();
        for _ in 0..10_000 {
            assert_eq!(server.advance(Duration::from_secs(1) / 60, &rate(4, 4)).ticks(), 1);
        }
        // The clock did run slow by 2/3 ns per frame, and the loop remembers it.
        assert!((server.residual() * 1e9 + 400_000.0).abs() < 1.0);
    }

    #[test]
    fn the_first_frame_may_be_long_and_time_is_never_negative() {
        let mut server = ServerLoop::new();
        let rate = rate(4, 4);
        let mut time = NetworkTime::default();
        let steps = server.advance(ticks(4), &rate);
        let steps_in_frame = steps.len() as u32;
        let mut seen = Vec::new();
        for step in steps {
            let step_time = server.apply_step(step, steps_in_frame, &rate, &mut time);
            assert!(time.elapsed_network_time >= 0.0);
            assert_eq!(time.num_predicted_ticks_expected, 4);
            assert_eq!((time.server_tick_fraction, time.interpolation_tick), (1.0, time.server_tick));
            seen.push((time.server_tick.unwrap().index(), step_time.elapsed.as_nanos(), time.is_catch_up_tick()));
        }
        assert_eq!(seen, [(1, 16_666_666, true), (2, 33_333_333, true), (3, 50_000_000, true), (4, 66_666_666, false)]);
        ServerLoop::end_frame(&mut time);
        assert_eq!((time.num_predicted_ticks_expected, time.is_catch_up_tick()), (0, false));
    }

    #[test]
    fn a_migrated_loop_goes_on_where_it_was() {
        let mut server = ServerLoop::starting_at(NetworkTick::new(NetworkTick::MAX_INDEX), Duration::from_secs(100));
        let rate = rate(1, 4);
        let mut time = NetworkTime::default();
        let step = server.advance(ticks(3), &rate).next().unwrap();
        server.apply_step(step, 1, &rate, &mut time);
        assert_eq!(server.tick(), NetworkTick::new(2));
        assert_eq!(server.elapsed(), Duration::from_millis(100_050));
    }

    #[test]
    fn a_change_of_the_rate_keeps_the_time_that_is_left_over() {
        let mut server = ServerLoop::new();
        let slow = ClientServerTickRate { simulation_tick_rate: 30, ..rate(4, 4) };
        let fast = ClientServerTickRate { simulation_tick_rate: 60, ..rate(4, 4) };
        assert_eq!(server.advance(Duration::from_millis(25), &slow).len(), 0);
        assert!((server.residual() - 0.75).abs() < 1e-9);
        // 25 ms are a tick and a half at 60 Hz.
        assert!(server.would_tick(Duration::ZERO, &fast));
        assert_eq!(server.advance(Duration::ZERO, &fast).ticks(), 1);
        assert!((server.residual() - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_sleeping_loop_is_nudged_by_two_hertz() {
        let rate = rate(0, 0);
        let asked = |left_over: f64| {
            let mut server = ServerLoop::new();
            let _ = server.advance(Duration::from_secs_f64(left_over / 60.0), &rate);
            server.requested_frame_rate_hz(&rate)
        };
        assert_eq!([asked(0.8), asked(0.5), asked(0.2), asked(0.7), asked(0.3)], [62, 60, 58, 60, 60]);
        let slowest = ClientServerTickRate { simulation_tick_rate: 1, ..rate.clone() };
        assert_eq!(ServerLoop::new().requested_frame_rate_hz(&slowest), 1);
    }

    #[test]
    fn nudging_finds_the_middle_of_the_tick_and_stays_there() {
        let rate = rate(0, 0);
        let mut server = ServerLoop::new();
        let mut exact = 0;
        for frame in 0..600 {
            let dt = Duration::from_secs(1) / server.requested_frame_rate_hz(&rate);
            let ticks = server.advance(dt, &rate).ticks();
            if frame >= 60 {
                exact += u32::from(ticks == 1);
                assert!((0.2..0.8).contains(&server.residual()));
            }
        }
        assert_eq!(exact, 540);
    }

    #[test]
    fn an_hour_that_was_slept_through_is_given_up_but_for_a_minute() {
        let mut server = ServerLoop::new();
        let rate = rate(16, 16);
        let mut total = server.advance(Duration::from_secs(3600), &rate).ticks();
        assert_eq!(server.take_skipped(), Duration::from_secs(3540));
        assert_eq!(server.take_skipped(), Duration::ZERO);
        for _ in 0..60 {
            total += server.advance(Duration::ZERO, &rate).ticks();
        }
        assert_eq!(total, 3600);
    }

    #[test]
    fn absurd_frames_and_rates_neither_panic_nor_run_away() {
        let mut server = ServerLoop::new();
        let unresolved = ClientServerTickRate { simulation_tick_rate: i32::MAX, ..Default::default() };
        for _ in 0..10 {
            assert_eq!(lengths(server.advance(Duration::MAX, &unresolved)), [4]);
        }
        assert_eq!(lengths(server.advance(Duration::ZERO, &rate(16, 16))), [16; 16]);
    }

    #[test]
    fn batching_twice_on_average_warns_within_the_window() {
        let mut monitor = BatchedTicksMonitor::new();
        assert_eq!(monitor.record(1), None);
        assert_eq!(monitor.record(2), Some(BatchedTicksWarning { average: 1.25, is_first: true }));
        // It began again at 1.
        assert_eq!(monitor.record(1), None);
        assert_eq!(monitor.record(2), Some(BatchedTicksWarning { average: 1.25, is_first: false }));
    }

    #[test]
    fn what_a_stall_has_left_to_do_is_merged_without_a_warning_and_no_more() {
        let rate = rate(1, 4);
        for stall_ticks in [6, 60, 600] {
            let (mut server, mut monitor) = (ServerLoop::new(), BatchedTicksMonitor::new());
            let mut steps = server.advance(ticks(stall_ticks), &rate);
            monitor.excuse(server.residual(), steps.ticks());
            let mut warnings = steps.by_ref().filter_map(|step| monitor.record(step.ticks)).count();
            while server.residual() >= 1.0 {
                warnings += server.advance(ticks(1), &rate).filter_map(|step| monitor.record(step.ticks)).count();
            }
            assert_eq!(warnings, 0, "{stall_ticks}");
            // A server that goes on merging is told in the end.
            let merging = (0..stall_ticks).filter_map(|_| monitor.record(4)).count();
            assert!(merging > 0, "{stall_ticks}");
        }
    }

    #[test]
    fn a_warning_is_due_again_and_again_while_ticks_are_merged() {
        let mut monitor = BatchedTicksMonitor::new();
        let warnings = (0..10).filter_map(|_| monitor.record(4)).filter(|warning| warning.average == 1.75).count();
        assert_eq!(warnings, 10);
        assert!((0..100).all(|_| monitor.record(1).is_none()));
    }

    proptest! {
        #[test]
        fn ticks_always_match_the_time_passed_in(
            frames in prop::collection::vec(0_u64..190_000_000, 1..300),
            hertz in 1_i32..=1000,
            max_steps in 1_i32..=16,
            max_batch in 1_i32..=16,
        ) {
            let rate = ClientServerTickRate { simulation_tick_rate: hertz, ..rate(max_steps, max_batch) }.resolve_defaults();
            let mut server = ServerLoop::new();
            let mut time = NetworkTime::default();
            let (mut nanos, mut run) = (0_u128, 0_u128);
            for frame in frames {
                nanos += u128::from(frame);
                let foreseen = server.would_tick(Duration::from_nanos(frame), &rate);
                let steps = server.advance(Duration::from_nanos(frame), &rate);
                prop_assert_eq!(foreseen, steps.len() > 0);
                prop_assert!(steps.ticks() <= (max_steps * max_batch).unsigned_abs());
                prop_assert!(steps.len() <= max_steps.unsigned_abs() as usize);
                let (count, mut last) = (steps.len(), u32::MAX);
                for (index, step) in steps.enumerate() {
                    prop_assert!((1..=max_batch.unsigned_abs()).contains(&step.ticks) && step.ticks <= last);
                    prop_assert_eq!(step.is_catch_up, index + 1 < count);
                    last = step.ticks;
                    run += u128::from(step.ticks);
                    server.apply_step(step, count as u32, &rate, &mut time);
                    prop_assert_eq!(time.server_tick, Some(NetworkTick::new(run as u32)));
                }
                // Exactly what passed, apart from what the limits put off and the tolerance brought forward.
                let passed = nanos * u128::from(hertz.unsigned_abs());
                prop_assert_eq!(passed as i128 - (run * 1_000_000_000) as i128, server.accumulator);
                prop_assert!(server.accumulator >= -ServerLoop::TOLERANCE);
                prop_assert_eq!(server.elapsed().as_nanos(), run * 1_000_000_000 / u128::from(hertz.unsigned_abs()));
            }
        }
    }
}

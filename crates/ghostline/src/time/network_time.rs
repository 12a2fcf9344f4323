//! The resource that tells every system which tick this is.
//! Written by the server loop, the client loop and the prediction loop, and read by everything else.

use std::time::Duration;

use bevy_ecs::resource::Resource;
use bitflags::bitflags;
use ghostline_wire::NetworkTick;

bitflags! {
    /// What kind of step the current one is. Read and written through the methods of [`NetworkTime`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct NetworkTimeFlags: u8 {
        /// The prediction group is running.
        const IN_PREDICTION_LOOP = 1 << 0;
        /// First iteration of the prediction loop in this frame.
        const FIRST_PREDICTION_TICK = 1 << 1;
        /// The tick is the frame's target, full or partial.
        const FINAL_PREDICTION_TICK = 1 << 2;
        /// The tick is the last full one of the frame.
        const FINAL_FULL_PREDICTION_TICK = 1 << 3;
        /// The tick is full and newer than any full tick that was predicted in an earlier frame.
        const FIRST_TIME_FULLY_PREDICTING_TICK = 1 << 4;
        /// The server runs more steps in this frame.
        const CATCH_UP_TICK = 1 << 5;
        /// All that belong to the prediction loop, which a server's single pass sets together.
        const PREDICTION = Self::IN_PREDICTION_LOOP.bits()
            | Self::FIRST_PREDICTION_TICK.bits()
            | Self::FINAL_PREDICTION_TICK.bits()
            | Self::FINAL_FULL_PREDICTION_TICK.bits()
            | Self::FIRST_TIME_FULLY_PREDICTING_TICK.bits();
    }
}

/// The current tick and everything about it.
///
/// Ticks come with a fraction in `(0, 1]` that says how much of the way *to* that tick is done: `(11, 0.5)` is half-way from 10 to 11.
#[derive(Resource, Clone, Debug, PartialEq)]
pub struct NetworkTime {
    /// Server: the tick being simulated, strictly increasing. Client: the prediction's target; inside the prediction loop the tick being
    /// predicted. `None` outside the game and before the first snapshot.
    pub server_tick: Option<NetworkTick>,
    /// Part of the way to [`Self::server_tick`] that is done, in `(0, 1]`; 1 on a server.
    pub server_tick_fraction: f32,
    /// Server: the same as [`Self::server_tick`]. Client: the target of interpolation.
    pub interpolation_tick: Option<NetworkTick>,
    /// Part of the way to [`Self::interpolation_tick`] that is done, in `(0, 1]`; 1 on a server.
    pub interpolation_tick_fraction: f32,
    /// Ticks merged into this step, at least 1. In a prediction loop 1 for partial ticks.
    pub simulation_step_batch_size: u32,
    /// Which iteration of the prediction loop this is, from 1; 0 outside.
    pub predicted_tick_index: u32,
    /// Server: steps of this frame, 0 outside the simulation. Client: ticks to predict in this frame, not counting batching.
    pub num_predicted_ticks_expected: u32,
    /// Whether a server will not run a tick in this frame, known before the simulation phase. Always `false` on clients.
    pub is_off_frame: bool,
    /// Ticks between the sampling of an input and its prediction: what is configured, or more if the round trip forces it. 0 on a
    /// server.
    pub effective_input_latency_ticks: u32,
    /// Simulated time in seconds, at least 0. In a prediction loop it goes back with the tick.
    pub elapsed_network_time: f64,
    /// What kind of step this is.
    pub flags: NetworkTimeFlags,
}

impl Default for NetworkTime {
    fn default() -> Self {
        Self {
            server_tick: None,
            server_tick_fraction: 1.0,
            interpolation_tick: None,
            interpolation_tick_fraction: 1.0,
            simulation_step_batch_size: 1,
            predicted_tick_index: 0,
            num_predicted_ticks_expected: 0,
            is_off_frame: false,
            effective_input_latency_ticks: 0,
            elapsed_network_time: 0.0,
            flags: NetworkTimeFlags::empty(),
        }
    }
}

impl NetworkTime {
    /// The tick that inputs sampled now belong to; tag commands with it, never with [`Self::server_tick`].
    pub fn input_target_tick(&self) -> Option<NetworkTick> {
        // On a frame that runs no tick, what is sampled can only go into the next one.
        let off_frame_tick = u32::from(self.is_off_frame);
        Some(self.server_tick?.add(self.effective_input_latency_ticks.saturating_add(off_frame_tick)))
    }

    /// Whether only a part of the way to [`Self::server_tick`] is done.
    pub fn is_partial_tick(&self) -> bool {
        self.server_tick_fraction < 1.0
    }

    /// [`Self::server_tick`], or the tick before it if it is partial.
    pub fn last_full_server_tick(&self) -> Option<NetworkTick> {
        self.server_tick.map(|tick| if self.is_partial_tick() { tick.prev() } else { tick })
    }

    /// [`Self::input_target_tick`], or the tick before it if [`Self::server_tick`] is partial.
    pub fn last_full_input_target_tick(&self) -> Option<NetworkTick> {
        self.input_target_tick().map(|tick| if self.is_partial_tick() { tick.prev() } else { tick })
    }

    /// Whether the prediction group is running. Always so in a server's prediction group.
    pub fn is_in_prediction_loop(&self) -> bool {
        self.flags.contains(NetworkTimeFlags::IN_PREDICTION_LOOP)
    }

    /// Sets [`Self::is_in_prediction_loop`].
    pub fn set_in_prediction_loop(&mut self, value: bool) {
        self.flags.set(NetworkTimeFlags::IN_PREDICTION_LOOP, value);
    }

    /// Whether this is the first iteration of the prediction loop in this frame.
    pub fn is_first_prediction_tick(&self) -> bool {
        self.flags.contains(NetworkTimeFlags::FIRST_PREDICTION_TICK)
    }

    /// Sets [`Self::is_first_prediction_tick`].
    pub fn set_first_prediction_tick(&mut self, value: bool) {
        self.flags.set(NetworkTimeFlags::FIRST_PREDICTION_TICK, value);
    }

    /// Whether the tick being predicted is the frame's target, full or partial.
    pub fn is_final_prediction_tick(&self) -> bool {
        self.flags.contains(NetworkTimeFlags::FINAL_PREDICTION_TICK)
    }

    /// Sets [`Self::is_final_prediction_tick`].
    pub fn set_final_prediction_tick(&mut self, value: bool) {
        self.flags.set(NetworkTimeFlags::FINAL_PREDICTION_TICK, value);
    }

    /// Whether the tick being predicted is the last full one of this frame.
    pub fn is_final_full_prediction_tick(&self) -> bool {
        self.flags.contains(NetworkTimeFlags::FINAL_FULL_PREDICTION_TICK)
    }

    /// Sets [`Self::is_final_full_prediction_tick`].
    pub fn set_final_full_prediction_tick(&mut self, value: bool) {
        self.flags.set(NetworkTimeFlags::FINAL_FULL_PREDICTION_TICK, value);
    }

    /// Whether this full tick was never predicted in full before: the condition for effects that must happen once.
    pub fn is_first_time_fully_predicting_tick(&self) -> bool {
        self.flags.contains(NetworkTimeFlags::FIRST_TIME_FULLY_PREDICTING_TICK)
    }

    /// Sets [`Self::is_first_time_fully_predicting_tick`].
    pub fn set_first_time_fully_predicting_tick(&mut self, value: bool) {
        self.flags.set(NetworkTimeFlags::FIRST_TIME_FULLY_PREDICTING_TICK, value);
    }

    /// Whether the server runs more steps in this frame. A single step is never one, however many ticks it merges.
    pub fn is_catch_up_tick(&self) -> bool {
        self.flags.contains(NetworkTimeFlags::CATCH_UP_TICK)
    }

    /// Sets [`Self::is_catch_up_tick`].
    pub fn set_catch_up_tick(&mut self, value: bool) {
        self.flags.set(NetworkTimeFlags::CATCH_UP_TICK, value);
    }

    /// Sets all flags of the prediction loop, as a server's single pass does, so that code for both sides reads the same.
    pub fn enter_server_prediction(&mut self) {
        self.flags.insert(NetworkTimeFlags::PREDICTION);
    }

    /// Clears all flags of the prediction loop, on either side.
    pub fn leave_prediction(&mut self) {
        self.flags.remove(NetworkTimeFlags::PREDICTION);
    }
}

/// Wall-clock time of a client's frames. The time that its simulation sees is scaled to follow the server; use this for effects that
/// must not be.
#[derive(Resource, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnscaledClientTime {
    /// Sum of all frames.
    pub elapsed: Duration,
    /// Length of this frame.
    pub delta: Duration,
}

impl UnscaledClientTime {
    /// Begins a frame that is `dt` long.
    pub fn advance_by(&mut self, dt: Duration) {
        self.delta = dt;
        self.elapsed = self.elapsed.saturating_add(dt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(index: u32, fraction: f32) -> NetworkTime {
        NetworkTime { server_tick: Some(NetworkTick::new(index)), server_tick_fraction: fraction, ..Default::default() }
    }

    #[test]
    fn nothing_has_a_tick_before_the_first_snapshot() {
        let time = NetworkTime { effective_input_latency_ticks: 4, ..Default::default() };
        assert_eq!(time.input_target_tick(), None);
        assert_eq!(time.last_full_server_tick(), None);
        assert_eq!(time.last_full_input_target_tick(), None);
        assert!(!time.is_partial_tick());
    }

    #[test]
    fn the_last_full_tick_is_the_one_before_a_partial_one() {
        assert_eq!(at(11, 0.5).last_full_server_tick(), Some(NetworkTick::new(10)));
        assert!(at(11, 0.5).is_partial_tick());
        assert_eq!(at(11, 1.0).last_full_server_tick(), Some(NetworkTick::new(11)));
        assert_eq!(at(0, 0.5).last_full_server_tick(), Some(NetworkTick::new(NetworkTick::MAX_INDEX)));
    }

    #[test]
    fn inputs_go_to_the_target_tick_plus_latency() {
        let time = NetworkTime { effective_input_latency_ticks: 4, ..at(11, 0.5) };
        assert_eq!(time.input_target_tick(), Some(NetworkTick::new(15)));
        assert_eq!(time.last_full_input_target_tick(), Some(NetworkTick::new(14)));
    }

    #[test]
    fn inputs_of_an_off_frame_go_to_the_next_tick() {
        let time = NetworkTime { is_off_frame: true, ..at(11, 1.0) };
        assert_eq!(time.input_target_tick(), Some(NetworkTick::new(12)));
    }

    #[test]
    fn a_server_sets_the_five_prediction_flags_and_keeps_the_catch_up_flag() {
        let mut time = at(1, 1.0);
        time.set_catch_up_tick(true);
        time.enter_server_prediction();
        assert!(time.is_in_prediction_loop() && time.is_first_prediction_tick() && time.is_final_prediction_tick());
        assert!(time.is_final_full_prediction_tick() && time.is_first_time_fully_predicting_tick());
        time.leave_prediction();
        assert_eq!(time.flags, NetworkTimeFlags::CATCH_UP_TICK);
    }

    #[test]
    fn unscaled_time_adds_up_the_frames() {
        let mut time = UnscaledClientTime::default();
        time.advance_by(Duration::from_millis(16));
        time.advance_by(Duration::from_millis(7));
        assert_eq!(time, UnscaledClientTime { elapsed: Duration::from_millis(23), delta: Duration::from_millis(7) });
    }
}

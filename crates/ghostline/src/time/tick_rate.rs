//! The rates of the simulation, shared by both sides of a connection.
//! The game sets them on the server; the handshake carries most of them to clients; both loops, the snapshot sender and time
//! synchronisation read the resolved values.

use bevy_ecs::resource::Resource;
use ghostline_wire::TickRateBlock;
use thiserror::Error;

use super::step::TickStep;

/// A setting outside its allowed range.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum TickRateError {
    /// A whole number is too small or too large.
    #[error("{field} is {value}, allowed is {min} to {max}")]
    Integer {
        /// The setting, as `Type::field`.
        field: &'static str,
        /// What it is.
        value: i64,
        /// The smallest allowed value.
        min: i64,
        /// The largest allowed value.
        max: i64,
    },
    /// A fraction is outside its interval, or not a number.
    #[error("{field} is {value}, allowed is {allowed}")]
    Fraction {
        /// The setting, as `Type::field`.
        field: &'static str,
        /// What it is.
        value: f32,
        /// The interval, with `(` and `)` where the end itself is excluded.
        allowed: &'static str,
    },
}

/// How a server's main loop waits for its next tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TargetFrameRateMode {
    /// `Sleep` in a dedicated server, else `BusyWait`.
    #[default]
    Auto,
    /// Frames come as fast as they can; frames without a tick are off frames.
    BusyWait,
    /// The loop sleeps between frames, so that each has exactly one tick.
    Sleep,
}

impl TargetFrameRateMode {
    /// Decides `Auto`; the result is `BusyWait` or `Sleep`.
    #[must_use]
    pub fn resolve(self, is_dedicated_server: bool) -> Self {
        match self {
            Self::Auto if is_dedicated_server => Self::Sleep,
            Self::Auto => Self::BusyWait,
            decided => decided,
        }
    }
}

/// Rates and step limits of a world, with the same meaning on server and client.
///
/// In most fields 0 or less stands for the default, and [`Default`] is all zeros: every consumer works on the result of
/// [`Self::resolve_defaults`]. The one in a server's world drives that server, and the handshake carries it to the clients (see
/// [`Self::to_block`] for the fields); later changes must be made on both sides.
#[derive(Resource, Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientServerTickRate {
    /// Simulation and prediction frequency in Hz, 1 to [`Self::MAX_SIMULATION_TICK_RATE`]. Default 60.
    pub simulation_tick_rate: i32,
    /// Steps of the fixed-step group (physics) per simulation tick, 1 to [`Self::MAX_FIXED_STEP_RATIO`]. Default 1.
    pub predicted_fixed_step_simulation_tick_ratio: i32,
    /// Snapshots per second and connection in Hz, at most the simulation rate and cut to it. Commands and RPCs don't depend on it.
    /// Default: the simulation rate.
    pub network_tick_rate: i32,
    /// How many separate steps a server may run in one frame, 1 to [`Self::MAX_STEPS_PER_FRAME`]. Default 1.
    pub max_simulation_steps_per_frame: i32,
    /// How many ticks a server may merge into one longer step, 1 to [`Self::MAX_STEP_BATCH_SIZE`]. Default 4.
    pub max_simulation_step_batch_size: i32,
    /// How the server's main loop waits. Default `Auto`.
    pub target_frame_rate_mode: TargetFrameRateMode,
    /// Whether a server sends snapshots after every step of a frame, or only after the last. Default `false`.
    pub send_snapshots_for_catch_up_ticks: bool,
    /// How many snapshots back a server remembers a connection's acknowledgements, at least 1024. Default 4096.
    pub snapshot_ack_mask_capacity: u32,
    /// Distance in percent of a tick within which a client takes a partial tick for a full one, on either side; 1 to 50, or −1 for
    /// off. At 50 a client has no partial ticks at all, and frames without a new tick are skipped. Default 5.
    pub clamp_partial_ticks_threshold: i32,
    /// Time for handshake and approval together in ms, at least 1000. Default 5000.
    pub handshake_approval_timeout_ms: u32,
}

impl ClientServerTickRate {
    /// Default of [`Self::simulation_tick_rate`], in Hz.
    pub const DEFAULT_SIMULATION_TICK_RATE: i32 = 60;
    /// Largest [`Self::simulation_tick_rate`] in Hz: the clocks in packets count milliseconds, and can't see shorter ticks.
    pub const MAX_SIMULATION_TICK_RATE: i32 = 1000;
    /// Largest [`Self::predicted_fixed_step_simulation_tick_ratio`]; a client is told it by its server and must not be kept busy.
    pub const MAX_FIXED_STEP_RATIO: i32 = 8;
    /// Largest [`Self::max_simulation_steps_per_frame`].
    pub const MAX_STEPS_PER_FRAME: i32 = 16;
    /// Largest [`Self::max_simulation_step_batch_size`], as snapshots can say.
    pub const MAX_STEP_BATCH_SIZE: i32 = 16;
    /// Value of [`Self::clamp_partial_ticks_threshold`] that turns it off.
    pub const CLAMP_OFF: i32 = -1;
    /// Largest [`Self::clamp_partial_ticks_threshold`] in percent: all ticks are full.
    pub const CLAMP_TO_WHOLE_TICKS: i32 = 50;

    /// The same settings with every "use the default" replaced, and the network rate cut to the simulation rate. Idempotent.
    #[must_use]
    pub fn resolve_defaults(&self) -> Self {
        let simulation_tick_rate = positive_or(self.simulation_tick_rate, Self::DEFAULT_SIMULATION_TICK_RATE);
        Self {
            simulation_tick_rate,
            predicted_fixed_step_simulation_tick_ratio: positive_or(self.predicted_fixed_step_simulation_tick_ratio, 1),
            network_tick_rate: positive_or(self.network_tick_rate, simulation_tick_rate).min(simulation_tick_rate),
            max_simulation_steps_per_frame: positive_or(self.max_simulation_steps_per_frame, 1),
            max_simulation_step_batch_size: positive_or(self.max_simulation_step_batch_size, 4),
            target_frame_rate_mode: self.target_frame_rate_mode,
            send_snapshots_for_catch_up_ticks: self.send_snapshots_for_catch_up_ticks,
            snapshot_ack_mask_capacity: if self.snapshot_ack_mask_capacity == 0 {
                4096
            } else {
                self.snapshot_ack_mask_capacity
            },
            clamp_partial_ticks_threshold: if self.clamp_partial_ticks_threshold == 0 {
                5
            } else {
                self.clamp_partial_ticks_threshold
            },
            handshake_approval_timeout_ms: if self.handshake_approval_timeout_ms == 0 {
                5000
            } else {
                self.handshake_approval_timeout_ms
            },
        }
    }

    /// Every setting that is out of range once the defaults are filled in; empty if all is well.
    pub fn validate(&self) -> Vec<TickRateError> {
        let resolved = self.resolve_defaults();
        let mut errors = Vec::new();
        let mut check = |field, value: i64, min: i64, max: i64| {
            if !(min..=max).contains(&value) {
                errors.push(TickRateError::Integer { field, value, min, max });
            }
        };
        check(
            "ClientServerTickRate::simulation_tick_rate",
            resolved.simulation_tick_rate.into(),
            1,
            Self::MAX_SIMULATION_TICK_RATE.into(),
        );
        check(
            "ClientServerTickRate::predicted_fixed_step_simulation_tick_ratio",
            resolved.predicted_fixed_step_simulation_tick_ratio.into(),
            1,
            Self::MAX_FIXED_STEP_RATIO.into(),
        );
        check(
            "ClientServerTickRate::max_simulation_steps_per_frame",
            resolved.max_simulation_steps_per_frame.into(),
            1,
            Self::MAX_STEPS_PER_FRAME.into(),
        );
        check(
            "ClientServerTickRate::max_simulation_step_batch_size",
            resolved.max_simulation_step_batch_size.into(),
            1,
            Self::MAX_STEP_BATCH_SIZE.into(),
        );
        check(
            "ClientServerTickRate::snapshot_ack_mask_capacity",
            resolved.snapshot_ack_mask_capacity.into(),
            1024,
            u32::MAX.into(),
        );
        check(
            "ClientServerTickRate::clamp_partial_ticks_threshold",
            resolved.clamp_partial_ticks_threshold.into(),
            Self::CLAMP_OFF.into(),
            Self::CLAMP_TO_WHOLE_TICKS.into(),
        );
        check(
            "ClientServerTickRate::handshake_approval_timeout_ms",
            resolved.handshake_approval_timeout_ms.into(),
            1000,
            u32::MAX.into(),
        );
        errors
    }

    /// The length of a simulation step.
    pub fn step(&self) -> TickStep {
        TickStep::from_hertz(self.simulation_hertz())
    }

    /// The length of a step of the fixed-step group.
    pub fn fixed_step(&self) -> TickStep {
        let ratio = positive_or(self.predicted_fixed_step_simulation_tick_ratio, 1).unsigned_abs();
        TickStep::from_hertz(self.simulation_hertz().saturating_mul(ratio))
    }

    /// Simulation ticks from one snapshot of a connection to the next: 1 at the full rate, 2 at half of it, and so on. At least 1.
    pub fn send_interval(&self) -> u32 {
        self.simulation_hertz().div_ceil(self.network_hertz()).max(1)
    }

    /// What the handshake tells a client: both rates, batch size, steps per frame, fixed-step ratio and handshake timeout, resolved.
    pub fn to_block(&self) -> TickRateBlock {
        let resolved = self.resolve_defaults();
        TickRateBlock {
            simulation_tick_rate: resolved.simulation_tick_rate,
            network_tick_rate: resolved.network_tick_rate,
            max_simulation_step_batch_size: resolved.max_simulation_step_batch_size,
            max_simulation_steps_per_frame: resolved.max_simulation_steps_per_frame,
            predicted_fixed_step_simulation_tick_ratio: resolved.predicted_fixed_step_simulation_tick_ratio,
            handshake_approval_timeout_ms: resolved.handshake_approval_timeout_ms,
        }
    }

    /// The settings that a server sent, with the fields that are not sent at their defaults, all resolved.
    ///
    /// # Errors
    /// The first setting that is out of range: a peer's numbers drive our loops.
    pub fn from_block(block: &TickRateBlock) -> Result<Self, TickRateError> {
        let mut rate = Self::default().resolve_defaults();
        rate.apply_block(block)?;
        Ok(rate)
    }

    /// Takes over the settings that a server sent, and keeps the others.
    ///
    /// # Errors
    /// The first setting that is out of range; then nothing was changed.
    pub fn apply_block(&mut self, block: &TickRateBlock) -> Result<(), TickRateError> {
        let received = Self {
            simulation_tick_rate: block.simulation_tick_rate,
            network_tick_rate: block.network_tick_rate,
            max_simulation_step_batch_size: block.max_simulation_step_batch_size,
            max_simulation_steps_per_frame: block.max_simulation_steps_per_frame,
            predicted_fixed_step_simulation_tick_ratio: block.predicted_fixed_step_simulation_tick_ratio,
            handshake_approval_timeout_ms: block.handshake_approval_timeout_ms,
            ..self.clone()
        }
        .resolve_defaults();
        match received.validate().into_iter().next() {
            Some(error) => Err(error),
            None => {
                *self = received;
                Ok(())
            }
        }
    }

    /// Simulation rate in Hz, at least 1 also if nobody resolved the defaults.
    pub(super) fn simulation_hertz(&self) -> u32 {
        positive_or(self.simulation_tick_rate, Self::DEFAULT_SIMULATION_TICK_RATE).unsigned_abs()
    }

    /// Network rate in Hz, at least 1 and at most the simulation rate.
    pub(super) fn network_hertz(&self) -> u32 {
        let simulation = self.simulation_hertz();
        match u32::try_from(self.network_tick_rate) {
            Ok(rate @ 1..) => rate.min(simulation),
            _ => simulation,
        }
    }

    /// Step limit, within its range also if nobody validated it.
    pub(super) fn max_steps(&self) -> u32 {
        positive_or(self.max_simulation_steps_per_frame, 1).min(Self::MAX_STEPS_PER_FRAME).unsigned_abs()
    }

    /// Batch limit, within its range also if nobody validated it.
    pub(super) fn max_batch(&self) -> u32 {
        positive_or(self.max_simulation_step_batch_size, 4).min(Self::MAX_STEP_BATCH_SIZE).unsigned_abs()
    }

    /// The clamp threshold in percent, 0 to 50; 0 if it is off.
    pub(super) fn clamp_percent(&self) -> u32 {
        let threshold = if self.clamp_partial_ticks_threshold == 0 { 5 } else { self.clamp_partial_ticks_threshold };
        threshold.clamp(0, Self::CLAMP_TO_WHOLE_TICKS).unsigned_abs()
    }
}

/// The interval, in network ticks, at which a ghost that wants to be sent at most `max_send_rate_hz` times per second is sent.
///
/// 0 means no limit, that is every network tick. `network_tick_rate` is in Hz. At 60 Hz a limit of 9 Hz is an interval of 7.
pub fn max_send_rate_interval(max_send_rate_hz: u8, network_tick_rate: u32) -> u32 {
    if max_send_rate_hz == 0 {
        return 1;
    }
    // ceil((1000 ms / hz - 0.001 ms) / (1000 ms / network rate)) without floats. The microsecond keeps an exact divisor (10 Hz at 60)
    // from being rounded up.
    const MILLION: u64 = 1_000_000;
    let hz = u64::from(max_send_rate_hz);
    let interval = (u64::from(network_tick_rate) * (MILLION - hz)).div_ceil(MILLION * hz);
    u32::try_from(interval).unwrap_or(u32::MAX).max(1)
}

fn positive_or(value: i32, default: i32) -> i32 {
    if value > 0 { value } else { default }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn zeros_and_negatives_resolve_to_the_defaults() {
        let expected = ClientServerTickRate {
            simulation_tick_rate: 60,
            predicted_fixed_step_simulation_tick_ratio: 1,
            network_tick_rate: 60,
            max_simulation_steps_per_frame: 1,
            max_simulation_step_batch_size: 4,
            target_frame_rate_mode: TargetFrameRateMode::Auto,
            send_snapshots_for_catch_up_ticks: false,
            snapshot_ack_mask_capacity: 4096,
            clamp_partial_ticks_threshold: 5,
            handshake_approval_timeout_ms: 5000,
        };
        assert_eq!(ClientServerTickRate::default().resolve_defaults(), expected);
        assert_eq!(expected.resolve_defaults(), expected);
        let negative = ClientServerTickRate { simulation_tick_rate: -1, network_tick_rate: -5, ..Default::default() };
        assert_eq!(negative.resolve_defaults(), expected);
        assert_eq!(negative.validate(), []);
    }

    #[test]
    fn the_network_rate_follows_the_simulation_rate_and_never_passes_it() {
        let resolve = |simulation_tick_rate, network_tick_rate| {
            ClientServerTickRate { simulation_tick_rate, network_tick_rate, ..Default::default() }
                .resolve_defaults()
                .network_tick_rate
        };
        assert_eq!(resolve(30, 0), 30);
        assert_eq!(resolve(60, 90), 60);
        assert_eq!(resolve(60, 20), 20);
    }

    #[test]
    fn errors_name_the_field_the_value_and_the_range() {
        let rate = ClientServerTickRate {
            snapshot_ack_mask_capacity: 100,
            clamp_partial_ticks_threshold: 51,
            handshake_approval_timeout_ms: 999,
            max_simulation_step_batch_size: 17,
            ..Default::default()
        };
        let texts: Vec<String> = rate.validate().iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "ClientServerTickRate::max_simulation_step_batch_size is 17, allowed is 1 to 16",
                "ClientServerTickRate::snapshot_ack_mask_capacity is 100, allowed is 1024 to 4294967295",
                "ClientServerTickRate::clamp_partial_ticks_threshold is 51, allowed is -1 to 50",
                "ClientServerTickRate::handshake_approval_timeout_ms is 999, allowed is 1000 to 4294967295",
            ]
        );
        let off = ClientServerTickRate {
            clamp_partial_ticks_threshold: ClientServerTickRate::CLAMP_OFF,
            ..Default::default()
        };
        assert_eq!(off.validate(), []);
        let below_off = ClientServerTickRate { clamp_partial_ticks_threshold: -2, ..Default::default() };
        assert_eq!(below_off.validate().len(), 1);
        assert_eq!((off.clamp_percent(), below_off.clamp_percent()), (0, 0));
    }

    #[test]
    fn send_intervals_are_whole_ticks_rounded_up() {
        let interval = |simulation_tick_rate, network_tick_rate| {
            ClientServerTickRate { simulation_tick_rate, network_tick_rate, ..Default::default() }.send_interval()
        };
        assert_eq!([interval(60, 60), interval(60, 30), interval(60, 20), interval(60, 15)], [1, 2, 3, 4]);
        assert_eq!([interval(60, 40), interval(60, 59), interval(0, 0), interval(60, 1)], [2, 2, 1, 60]);
    }

    #[test]
    fn steps_follow_rate_and_ratio() {
        let rate = ClientServerTickRate {
            simulation_tick_rate: 40,
            predicted_fixed_step_simulation_tick_ratio: 2,
            ..Default::default()
        };
        assert_eq!(rate.step().duration(1), Duration::from_millis(25));
        assert_eq!(rate.fixed_step().duration(1), Duration::from_micros(12_500));
    }

    #[test]
    fn a_send_rate_of_9_hz_at_60_is_every_seventh_tick() {
        assert_eq!(max_send_rate_interval(9, 60), 7);
        assert_eq!(max_send_rate_interval(0, 60), 1);
        assert_eq!(max_send_rate_interval(10, 60), 6);
        assert_eq!(max_send_rate_interval(30, 60), 2);
        assert_eq!(max_send_rate_interval(60, 60), 1);
        assert_eq!(max_send_rate_interval(100, 60), 1);
        assert_eq!(max_send_rate_interval(1, 60), 60);
        assert_eq!(max_send_rate_interval(7, 60), 9);
        assert_eq!(max_send_rate_interval(255, 0), 1);
    }

    #[test]
    fn a_client_takes_over_what_the_handshake_tells() {
        let server = ClientServerTickRate {
            simulation_tick_rate: 40,
            network_tick_rate: 20,
            predicted_fixed_step_simulation_tick_ratio: 2,
            max_simulation_step_batch_size: 3,
            max_simulation_steps_per_frame: 5,
            handshake_approval_timeout_ms: 7000,
            ..Default::default()
        };
        let mut client = ClientServerTickRate { clamp_partial_ticks_threshold: 10, ..Default::default() };
        client.apply_block(&server.to_block()).unwrap();
        assert_eq!(client, ClientServerTickRate { clamp_partial_ticks_threshold: 10, ..server.resolve_defaults() });
        assert_eq!(ClientServerTickRate::from_block(&server.to_block()), Ok(server.resolve_defaults()));
        assert_eq!(ClientServerTickRate::default().to_block(), TickRateBlock::default());
    }

    #[test]
    fn a_block_out_of_range_changes_nothing() {
        let hostile = TickRateBlock { predicted_fixed_step_simulation_tick_ratio: i32::MAX, ..Default::default() };
        let mut client = ClientServerTickRate::default();
        let error = client.apply_block(&hostile).unwrap_err();
        assert!(error.to_string().contains("predicted_fixed_step_simulation_tick_ratio is 2147483647"));
        assert_eq!(client, ClientServerTickRate::default());
        assert!(ClientServerTickRate::from_block(&hostile).is_err());
    }

    #[test]
    fn auto_sleeps_in_a_dedicated_server_alone() {
        assert_eq!(TargetFrameRateMode::Auto.resolve(true), TargetFrameRateMode::Sleep);
        assert_eq!(TargetFrameRateMode::Auto.resolve(false), TargetFrameRateMode::BusyWait);
        assert_eq!(TargetFrameRateMode::BusyWait.resolve(true), TargetFrameRateMode::BusyWait);
    }
}

//! A client's settings for prediction, interpolation, input and time synchronisation.
//! The game sets them in the client's world; time synchronisation, the prediction loop and the command sender read them.

use bevy_ecs::resource::Resource;

use super::tick_rate::TickRateError;

/// Whether the prediction loop runs without anything predicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PredictionLoopUpdateMode {
    /// Only while there is at least one predicted ghost.
    #[default]
    RequirePredictedGhost,
    /// In every frame in the game.
    AlwaysRun,
}

/// Client-only settings. Start from [`Default`]: all zeros would not be valid.
#[derive(Resource, Clone, Debug, PartialEq)]
pub struct ClientTickRate {
    /// Interpolation delay in network ticks. Default 2.
    pub interpolation_time_net_ticks: u32,
    /// Interpolation delay in ms, rounded up to network ticks; 0 leaves it to [`Self::interpolation_time_net_ticks`]. Default 0.
    pub interpolation_time_ms: u32,
    /// How far past the newest snapshot extrapolation may go, in simulation ticks. Default 20.
    pub max_extrapolation_time_sim_ticks: u32,
    /// Ticks between the sampling of an input and its local prediction. Default 0.
    pub forced_input_latency_ticks: u8,
    /// Longest prediction ahead of the snapshots in ms; a longer round trip becomes input latency. At most 500, the default.
    pub max_predict_ahead_time_ms: u32,
    /// Ticks that an unmatched predicted spawn outlives its time. Default 0.
    pub num_additional_client_predicted_ghost_lifetime_ticks: u16,
    /// Distance in ticks within which a predicted spawn is matched with a ghost. Default 5.
    pub default_classification_allowable_tick_period: u16,
    /// How many ticks before its use a command is to arrive on the server; 0 to 16 is sensible. Default 2.
    pub target_command_slack: u32,
    /// Commands sent beyond the slack, against loss; 1 to 32 is sensible. Default 2.
    pub num_additional_commands_to_send: u32,
    /// Whether a packet carries more commands than that while many packets get lost: so many that hardly a command is lost with all packets that
    /// hold it. Default no.
    pub redundancy_follows_loss: bool,
    /// How many ticks that were predicted before may be merged into one step, 0 to 16; 0 counts as 1. Default 0.
    pub max_prediction_step_batch_size_repeated_tick: i32,
    /// How many ticks that are predicted for the first time may be merged into one step, 0 to 16; 0 counts as 1. Default 0.
    pub max_prediction_step_batch_size_first_time_tick: i32,
    /// Whether prediction runs without predicted ghosts. Default `RequirePredictedGhost`.
    pub prediction_loop_update_mode: PredictionLoopUpdateMode,
    /// Weight of the arrival jitter in the interpolation delay, above 0 and at most 3. Default 1.25.
    pub interpolation_delay_jitter_scale: f32,
    /// Largest change of the interpolation delay in a frame, as a fraction of the frame's ticks, between 0 and 1. Default 0.1.
    pub interpolation_delay_max_delta_ticks_fraction: f32,
    /// How much of its error the interpolation clock corrects per tick, between 0 and 1. Default 0.1.
    pub interpolation_delay_correction_fraction: f32,
    /// Slowest interpolation clock, 0.01 to below 1. Default 0.85.
    pub interpolation_time_scale_min: f32,
    /// Fastest interpolation clock, above 1 to 2. Default 1.1.
    pub interpolation_time_scale_max: f32,
    /// How much of its error the prediction clock corrects per tick. Default 0.1.
    pub command_age_correction_fraction: f32,
    /// Slowest prediction clock, 0.01 to below 1. Default 0.9.
    pub prediction_time_scale_min: f32,
    /// Fastest prediction clock, above 1 to 2. Default 1.1.
    pub prediction_time_scale_max: f32,
}

impl Default for ClientTickRate {
    fn default() -> Self {
        Self {
            interpolation_time_net_ticks: 2,
            interpolation_time_ms: 0,
            max_extrapolation_time_sim_ticks: 20,
            forced_input_latency_ticks: 0,
            max_predict_ahead_time_ms: 500,
            num_additional_client_predicted_ghost_lifetime_ticks: 0,
            default_classification_allowable_tick_period: 5,
            target_command_slack: 2,
            num_additional_commands_to_send: 2,
            redundancy_follows_loss: false,
            max_prediction_step_batch_size_repeated_tick: 0,
            max_prediction_step_batch_size_first_time_tick: 0,
            prediction_loop_update_mode: PredictionLoopUpdateMode::RequirePredictedGhost,
            interpolation_delay_jitter_scale: 1.25,
            interpolation_delay_max_delta_ticks_fraction: 0.1,
            interpolation_delay_correction_fraction: 0.1,
            interpolation_time_scale_min: 0.85,
            interpolation_time_scale_max: 1.1,
            command_age_correction_fraction: 0.1,
            prediction_time_scale_min: 0.9,
            prediction_time_scale_max: 1.1,
        }
    }
}

impl ClientTickRate {
    /// Largest [`Self::max_predict_ahead_time_ms`].
    pub const MAX_PREDICT_AHEAD_TIME_MS: u32 = 500;
    /// Most commands in one packet.
    pub const MAX_COMMANDS_PER_PACKET: u32 = 32;
    /// Largest prediction batch.
    pub const MAX_PREDICTION_BATCH_SIZE: i32 = 16;

    /// Every setting that is out of range; empty if all is well.
    pub fn validate(&self) -> Vec<TickRateError> {
        let mut errors = Vec::new();
        let mut integer = |field, value: i64, max: i64| {
            if !(0..=max).contains(&value) {
                errors.push(TickRateError::Integer { field, value, min: 0, max });
            }
        };
        integer(
            "ClientTickRate::max_predict_ahead_time_ms",
            self.max_predict_ahead_time_ms.into(),
            Self::MAX_PREDICT_AHEAD_TIME_MS.into(),
        );
        integer(
            "ClientTickRate::max_prediction_step_batch_size_repeated_tick",
            self.max_prediction_step_batch_size_repeated_tick.into(),
            Self::MAX_PREDICTION_BATCH_SIZE.into(),
        );
        integer(
            "ClientTickRate::max_prediction_step_batch_size_first_time_tick",
            self.max_prediction_step_batch_size_first_time_tick.into(),
            Self::MAX_PREDICTION_BATCH_SIZE.into(),
        );

        // Comparisons with a NaN are false, so it is an error everywhere.
        let mut fraction = |field, value: f32, is_allowed: bool, allowed| {
            if !is_allowed {
                errors.push(TickRateError::Fraction { field, value, allowed });
            }
        };
        let jitter = self.interpolation_delay_jitter_scale;
        fraction("ClientTickRate::interpolation_delay_jitter_scale", jitter, jitter > 0.0 && jitter <= 3.0, "(0, 3]");
        let delta = self.interpolation_delay_max_delta_ticks_fraction;
        fraction(
            "ClientTickRate::interpolation_delay_max_delta_ticks_fraction",
            delta,
            delta > 0.0 && delta < 1.0,
            "(0, 1)",
        );
        let correction = self.interpolation_delay_correction_fraction;
        fraction(
            "ClientTickRate::interpolation_delay_correction_fraction",
            correction,
            correction > 0.0 && correction < 1.0,
            "(0, 1)",
        );
        let gain = self.command_age_correction_fraction;
        fraction("ClientTickRate::command_age_correction_fraction", gain, gain.is_finite(), "finite");
        let minima = [
            ("ClientTickRate::interpolation_time_scale_min", self.interpolation_time_scale_min),
            ("ClientTickRate::prediction_time_scale_min", self.prediction_time_scale_min),
        ];
        for (field, value) in minima {
            fraction(field, value, (0.01..1.0).contains(&value), "[0.01, 1)");
        }
        let maxima = [
            ("ClientTickRate::interpolation_time_scale_max", self.interpolation_time_scale_max),
            ("ClientTickRate::prediction_time_scale_max", self.prediction_time_scale_max),
        ];
        for (field, value) in maxima {
            fraction(field, value, value > 1.0 && value <= 2.0, "(1, 2]");
        }
        errors
    }

    /// The configured interpolation delay in network ticks of `network_tick_rate` Hz. 100 ms at 60 Hz are 6.
    pub fn interpolation_net_ticks(&self, network_tick_rate: u32) -> u32 {
        if self.interpolation_time_ms == 0 {
            return self.interpolation_time_net_ticks;
        }
        let ticks = (u64::from(self.interpolation_time_ms) * u64::from(network_tick_rate)).div_ceil(1000);
        u32::try_from(ticks).unwrap_or(u32::MAX)
    }

    /// How many commands a packet carries: slack plus additional ones, 1 to [`Self::MAX_COMMANDS_PER_PACKET`]. Default 4.
    pub fn commands_per_packet(&self) -> u32 {
        self.target_command_slack
            .saturating_add(self.num_additional_commands_to_send)
            .clamp(1, Self::MAX_COMMANDS_PER_PACKET)
    }

    /// How many commands a packet carries if this share of packets is lost (0 to 1): at least [`commands_per_packet`](Self::commands_per_packet), at most
    /// [`Self::MAX_COMMANDS_PER_PACKET`]; between them, so many that one command in a thousand is lost with every packet that held it.
    pub fn commands_per_packet_at_loss(&self, loss: f32) -> u32 {
        const LOST_COMMANDS: f32 = 1e-3;
        let loss = if loss.is_finite() { loss.clamp(0.0, 0.99) } else { 0.0 };
        if loss == 0.0 {
            return self.commands_per_packet();
        }
        // The cast saturates, and the quotient of two negative logarithms is positive.
        let needed = (LOST_COMMANDS.ln() / loss.ln()).ceil() as u32;
        self.commands_per_packet().max(needed).min(Self::MAX_COMMANDS_PER_PACKET)
    }

    /// Batch size for ticks that were predicted before, 1 to [`Self::MAX_PREDICTION_BATCH_SIZE`].
    pub fn repeated_tick_batch_size(&self) -> u32 {
        self.max_prediction_step_batch_size_repeated_tick.clamp(1, Self::MAX_PREDICTION_BATCH_SIZE).unsigned_abs()
    }

    /// Batch size for ticks that are predicted for the first time, 1 to [`Self::MAX_PREDICTION_BATCH_SIZE`].
    pub fn first_time_tick_batch_size(&self) -> u32 {
        self.max_prediction_step_batch_size_first_time_tick.clamp(1, Self::MAX_PREDICTION_BATCH_SIZE).unsigned_abs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(ClientTickRate::default().validate(), []);
    }

    #[test]
    fn every_value_out_of_range_is_named() {
        let rate = ClientTickRate {
            max_predict_ahead_time_ms: 501,
            max_prediction_step_batch_size_repeated_tick: -1,
            max_prediction_step_batch_size_first_time_tick: 17,
            interpolation_delay_jitter_scale: 0.0,
            interpolation_delay_max_delta_ticks_fraction: 1.0,
            interpolation_delay_correction_fraction: f32::NAN,
            interpolation_time_scale_min: 1.0,
            interpolation_time_scale_max: 1.0,
            command_age_correction_fraction: f32::INFINITY,
            prediction_time_scale_min: 0.0,
            prediction_time_scale_max: 2.5,
            ..Default::default()
        };
        let errors = rate.validate();
        assert_eq!(errors.len(), 11);
        assert_eq!(errors[0].to_string(), "ClientTickRate::max_predict_ahead_time_ms is 501, allowed is 0 to 500");
        assert!(errors.iter().any(|error| error.to_string() == "ClientTickRate::prediction_time_scale_max is 2.5, allowed is (1, 2]"));
    }

    #[test]
    fn the_ends_of_the_ranges_are_valid() {
        let rate = ClientTickRate {
            interpolation_delay_jitter_scale: 3.0,
            interpolation_time_scale_min: 0.01,
            interpolation_time_scale_max: 2.0,
            prediction_time_scale_min: 0.01,
            prediction_time_scale_max: 2.0,
            max_prediction_step_batch_size_repeated_tick: 16,
            max_predict_ahead_time_ms: 0,
            ..Default::default()
        };
        assert_eq!(rate.validate(), []);
    }

    #[test]
    fn an_interpolation_time_of_100_ms_is_six_ticks_at_60_hz() {
        let rate = ClientTickRate { interpolation_time_ms: 100, ..Default::default() };
        assert_eq!(rate.interpolation_net_ticks(60), 6);
        assert_eq!(rate.interpolation_net_ticks(20), 2);
        assert_eq!(ClientTickRate { interpolation_time_ms: 1, ..Default::default() }.interpolation_net_ticks(60), 1);
        assert_eq!(ClientTickRate::default().interpolation_net_ticks(60), 2);
    }

    #[test]
    fn a_packet_carries_the_current_command_and_the_three_before_it() {
        assert_eq!(ClientTickRate::default().commands_per_packet(), 4);
        let none = ClientTickRate { target_command_slack: 0, num_additional_commands_to_send: 0, ..Default::default() };
        assert_eq!(none.commands_per_packet(), 1);
        let many = ClientTickRate { target_command_slack: u32::MAX, ..Default::default() };
        assert_eq!(many.commands_per_packet(), 32);
    }

    #[test]
    fn the_more_is_lost_the_more_commands_a_packet_carries_within_the_bounds() {
        let rate = ClientTickRate::default();
        let at = |loss| rate.commands_per_packet_at_loss(loss);
        assert_eq!([0.0, 0.05, 0.1, 0.2, 1.0 / 3.0, 0.5].map(at), [4, 4, 4, 5, 7, 10]);
        assert_eq!([0.9, 1.0, f32::NAN, -1.0, f32::INFINITY].map(at), [32, 32, 4, 4, 4]);
    }

    #[test]
    fn a_batch_size_of_zero_counts_as_one() {
        let rate = ClientTickRate { max_prediction_step_batch_size_repeated_tick: 4, ..Default::default() };
        assert_eq!((rate.first_time_tick_batch_size(), rate.repeated_tick_batch_size()), (1, 4));
    }
}

//! How bad one direction of a link is, and the check that the numbers make sense.
//! Set by tests, tools and games; read by the model for every packet.

use core::fmt;

use thiserror::Error;

use crate::limits;

/// Which packets get lost.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
pub enum Loss {
    /// None.
    #[default]
    None,
    /// Each one with the same chance.
    Random {
        /// In percent, 0 ..= 100.
        percent: f32,
    },
    /// Every nth one, counted from when this pattern was set: exact, for tests.
    Periodic {
        /// From 1; 1 loses everything.
        every: u32,
    },
    /// Several in a row, as the model of Gilbert has it: a link is either well or in a burst, and loses everything
    /// while it is in one.
    Bursts {
        /// How many packets are lost in the long run, in percent. From 0 to as many as bursts of that length with at
        /// least one packet between them can make up: 100 × `mean_length` ÷ (`mean_length` + 1).
        percent: f32,
        /// Packets in a burst on average, 1 ..= [`limits::MAX_BURST_LENGTH`].
        mean_length: f32,
    },
}

/// What one direction of a link does to packets. The default is a perfect one.
///
/// Each fault draws from the seeded chance of its own: at the same seed, the same packets are lost whether there is
/// jitter or not.
#[derive(Clone, Copy, PartialEq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct LinkConditions {
    /// Time on the way, in milliseconds. 0 ..= [`limits::MAX_SIMULATED_DELAY_MS`], default 0.
    pub delay_ms: u32,
    /// Largest deviation from `delay_ms`, in milliseconds, either way, evenly spread; never below no delay at all.
    /// Above the distance between two packets it reorders them. 0 ..= [`limits::MAX_SIMULATED_DELAY_MS`], default 0.
    pub jitter_ms: u32,
    /// Which packets get lost. Default none.
    pub loss: Loss,
    /// How many packets arrive twice, in percent, 0 ..= 100. The copy has a jitter of its own, and takes its share of
    /// the bandwidth. Default 0.
    pub duplicate_percent: f32,
    /// How many packets are late by [`limits::REORDER_DELAY_MS`] more, so that later ones overtake them, in percent,
    /// 0 ..= 100. Default 0.
    pub reorder_percent: f32,
    /// How many packets have some of their bits flipped, in percent, 0 ..= 100. Default 0.
    pub corrupt_percent: f32,
    /// How much the link carries, in bytes per second, at least 1; `None` (the default) is without limit. Packets wait
    /// in a queue of [`limits::SIMULATED_QUEUE_BYTES`]; those that find it full are dropped.
    pub bandwidth_bytes_per_second: Option<u32>,
    /// Packets that may be on their way at once; further ones are dropped.
    /// 1 ..= [`limits::MAX_SIMULATED_PACKETS`], default [`limits::DEFAULT_SIMULATED_PACKETS`].
    pub max_packets: u32,
}

impl Default for LinkConditions {
    fn default() -> Self {
        Self::PERFECT
    }
}

impl LinkConditions {
    /// Everything arrives at once, once, whole and in order.
    pub const PERFECT: Self = Self {
        delay_ms: 0,
        jitter_ms: 0,
        loss: Loss::None,
        duplicate_percent: 0.0,
        reorder_percent: 0.0,
        corrupt_percent: 0.0,
        bandwidth_bytes_per_second: None,
        max_packets: limits::DEFAULT_SIMULATED_PACKETS,
    };

    /// A delay and nothing else.
    pub const fn delayed(delay_ms: u32) -> Self {
        Self { delay_ms, ..Self::PERFECT }
    }

    /// Whether nothing is ever delayed, lost, copied or changed. `max_packets` does not matter then, because nothing is
    /// ever on its way.
    pub fn is_perfect(&self) -> bool {
        let Self { max_packets, .. } = *self;
        *self == Self { max_packets, ..Self::PERFECT }
    }

    /// Whether nothing ever arrives.
    pub(crate) fn loses_everything(&self) -> bool {
        match self.loss {
            Loss::Random { percent } => percent >= 100.0,
            Loss::Periodic { every } => every == 1,
            Loss::None | Loss::Bursts { .. } => false,
        }
    }

    /// Checks every number.
    ///
    /// # Errors
    /// All that is wrong, not just the first mistake.
    pub fn validate(&self) -> Result<(), InvalidConditions> {
        let errors = self.errors();
        if errors.is_empty() { Ok(()) } else { Err(InvalidConditions { errors }) }
    }

    /// All that is wrong, in the order of the fields.
    pub(super) fn errors(&self) -> Vec<ConditionsError> {
        let mut errors = Vec::new();
        let mut check = |setting, value: f64, min: f64, max: f64| {
            // So written that "not a number" is out of range.
            let is_inside = (min..=max).contains(&value);
            if !is_inside {
                errors.push(ConditionsError::OutOfRange { setting, value, min, max });
            }
            is_inside
        };
        let delay_max = f64::from(limits::MAX_SIMULATED_DELAY_MS);
        check("delay_ms", self.delay_ms.into(), 0.0, delay_max);
        check("jitter_ms", self.jitter_ms.into(), 0.0, delay_max);
        match self.loss {
            Loss::None => {}
            Loss::Random { percent } => {
                check("loss.percent", percent.into(), 0.0, 100.0);
            }
            Loss::Periodic { every } => {
                check("loss.every", every.into(), 1.0, u32::MAX.into());
            }
            Loss::Bursts { percent, mean_length } => {
                let max = f64::from(limits::MAX_BURST_LENGTH);
                let densest = if check("loss.mean_length", mean_length.into(), 1.0, max) {
                    let length = f64::from(mean_length);
                    100.0 * length / (length + 1.0)
                } else {
                    100.0
                };
                check("loss.percent", percent.into(), 0.0, densest);
            }
        }
        check("duplicate_percent", self.duplicate_percent.into(), 0.0, 100.0);
        check("reorder_percent", self.reorder_percent.into(), 0.0, 100.0);
        check("corrupt_percent", self.corrupt_percent.into(), 0.0, 100.0);
        let bandwidth = self.bandwidth_bytes_per_second.unwrap_or(1);
        check("bandwidth_bytes_per_second", bandwidth.into(), 1.0, u32::MAX.into());
        check("max_packets", self.max_packets.into(), 1.0, limits::MAX_SIMULATED_PACKETS.into());
        errors
    }
}

/// One mistake in [`LinkConditions`].
#[derive(Clone, PartialEq, Debug, Error)]
#[non_exhaustive]
pub enum ConditionsError {
    /// A value is outside its range, or not a number.
    #[error("{setting} is {value}, but must be in {min} ..= {max}")]
    OutOfRange {
        /// The field's name.
        setting: &'static str,
        /// What it was set to.
        value: f64,
        /// Smallest permitted value.
        min: f64,
        /// Largest permitted value.
        max: f64,
    },
}

/// Everything that is wrong with some [`LinkConditions`]; never empty.
#[derive(Clone, PartialEq, Debug, Error)]
#[non_exhaustive]
pub struct InvalidConditions {
    /// The mistakes, in the order of the fields.
    pub errors: Vec<ConditionsError>,
}

impl fmt::Display for InvalidConditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid link conditions: ")?;
        write_list(f, &self.errors)
    }
}

/// Writes mistakes with semicolons between them.
pub(super) fn write_list(f: &mut fmt::Formatter<'_>, errors: &[ConditionsError]) -> fmt::Result {
    for (index, error) in errors.iter().enumerate() {
        if index > 0 {
            f.write_str("; ")?;
        }
        write!(f, "{error}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_perfect_and_valid() {
        let conditions = LinkConditions::default();
        assert!(conditions.is_perfect());
        assert_eq!(conditions.validate(), Ok(()));
        assert!(LinkConditions { max_packets: 1, ..conditions }.is_perfect());
        assert!(!LinkConditions::delayed(1).is_perfect());
        assert!(!LinkConditions { bandwidth_bytes_per_second: Some(u32::MAX), ..conditions }.is_perfect());
    }

    #[test]
    fn every_mistake_is_listed() {
        let conditions = LinkConditions {
            delay_ms: 60_001,
            jitter_ms: u32::MAX,
            loss: Loss::Bursts { percent: -1.0, mean_length: 0.5 },
            duplicate_percent: 100.5,
            reorder_percent: f32::NAN,
            corrupt_percent: f32::INFINITY,
            bandwidth_bytes_per_second: Some(0),
            max_packets: 0,
        };
        let invalid = conditions.validate().unwrap_err();
        let named: Vec<&str> = (invalid.errors.iter())
            .map(|error| {
                let ConditionsError::OutOfRange { setting, .. } = error;
                *setting
            })
            .collect();
        let expected = [
            "delay_ms",
            "jitter_ms",
            "loss.mean_length",
            "loss.percent",
            "duplicate_percent",
            "reorder_percent",
            "corrupt_percent",
            "bandwidth_bytes_per_second",
            "max_packets",
        ];
        assert_eq!(named, expected);
        let text = invalid.to_string();
        assert!(text.starts_with("invalid link conditions: delay_ms is 60001, but must be in 0 ..= 60000; "), "{text}");
        assert!(text.contains("reorder_percent is NaN"), "{text}");
    }

    #[test]
    fn bursts_can_t_lose_more_than_leaves_a_packet_between_them() {
        for (percent, mean_length, valid) in [(50.0, 1.0, true), (51.0, 1.0, false), (75.0, 3.0, true)] {
            let loss = Loss::Bursts { percent, mean_length };
            let conditions = LinkConditions { loss, ..LinkConditions::PERFECT };
            assert_eq!(conditions.validate().is_ok(), valid, "{loss:?}");
        }
    }

    #[test]
    fn periodic_loss_needs_a_period() {
        for (every, valid) in [(0, false), (1, true), (u32::MAX, true)] {
            let conditions = LinkConditions { loss: Loss::Periodic { every }, ..LinkConditions::PERFECT };
            assert_eq!(conditions.validate().is_ok(), valid, "{every}");
        }
    }
}

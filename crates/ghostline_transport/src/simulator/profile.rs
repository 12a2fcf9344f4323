//! Both directions of a link, and whether it counts as a socket.
//! Made by tests and games from numbers or presets; set on the link of a client.

use core::fmt;

use thiserror::Error;

use super::conditions::{ConditionsError, LinkConditions, Loss, write_list};

/// What a client's link is like. Plain data.
///
/// The default is [`perfect`](Self::perfect).
#[derive(Clone, Copy, PartialEq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct LinkProfile {
    /// From the client to the server.
    pub up: LinkConditions,
    /// From the server to the client.
    pub down: LinkConditions,
    /// Whether an in-process link counts as a socket even if it is perfect: command slack and interpolation delay as on
    /// a network. Default true.
    pub poses_as_socket: bool,
}

impl Default for LinkProfile {
    fn default() -> Self {
        Self::perfect()
    }
}

impl LinkProfile {
    /// The link of two worlds in one process: perfect, and no socket.
    pub const fn in_process() -> Self {
        Self { poses_as_socket: false, ..Self::perfect() }
    }

    /// A perfect link that counts as a socket.
    pub const fn perfect() -> Self {
        Self::symmetric(LinkConditions::PERFECT)
    }

    /// The same conditions in both directions.
    pub const fn symmetric(conditions: LinkConditions) -> Self {
        Self { up: conditions, down: conditions, poses_as_socket: true }
    }

    /// A link with this round trip and no other fault.
    pub const fn rtt(round_trip_ms: u32) -> Self {
        Self::perfect().with_rtt_ms(round_trip_ms)
    }

    /// Half of the round trip in each direction; of an odd number, the way up gets the larger half.
    #[must_use]
    pub const fn with_rtt_ms(mut self, round_trip_ms: u32) -> Self {
        self.down.delay_ms = round_trip_ms / 2;
        self.up.delay_ms = round_trip_ms.div_ceil(2);
        self
    }

    /// So much jitter in each direction.
    #[must_use]
    pub const fn with_jitter_ms(mut self, jitter_ms: u32) -> Self {
        self.up.jitter_ms = jitter_ms;
        self.down.jitter_ms = jitter_ms;
        self
    }

    /// Random loss in each direction, in percent.
    #[must_use]
    pub const fn with_loss_percent(self, percent: f32) -> Self {
        self.with_loss(Loss::Random { percent })
    }

    /// The loss of every nth packet in each direction.
    #[must_use]
    pub const fn with_periodic_loss(self, every: u32) -> Self {
        self.with_loss(Loss::Periodic { every })
    }

    /// A pattern of loss in each direction.
    #[must_use]
    pub const fn with_loss(mut self, loss: Loss) -> Self {
        self.up.loss = loss;
        self.down.loss = loss;
        self
    }

    /// Whether an in-process link of this profile counts as a socket: unless it is [`in_process`](Self::in_process).
    pub fn counts_as_socket(&self) -> bool {
        self.poses_as_socket || !self.up.is_perfect() || !self.down.is_perfect()
    }

    /// Checks every number of both directions.
    ///
    /// # Errors
    /// All that is wrong, not just the first mistake.
    pub fn validate(&self) -> Result<(), InvalidProfile> {
        let (up, down) = (self.up.errors(), self.down.errors());
        if up.is_empty() && down.is_empty() { Ok(()) } else { Err(InvalidProfile { up, down }) }
    }
}

/// Everything that is wrong with a [`LinkProfile`]; at least one list is not empty.
#[derive(Clone, PartialEq, Debug, Error)]
#[non_exhaustive]
pub struct InvalidProfile {
    /// The mistakes in the direction to the server.
    pub up: Vec<ConditionsError>,
    /// The mistakes in the direction to the client.
    pub down: Vec<ConditionsError>,
}

impl fmt::Display for InvalidProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid link profile")?;
        for (direction, errors) in [("up", &self.up), ("down", &self.down)] {
            if !errors.is_empty() {
                write!(f, "; {direction}: ")?;
                write_list(f, errors)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_in_process_profile_is_no_socket() {
        assert!(!LinkProfile::in_process().counts_as_socket());
        assert!(LinkProfile::perfect().counts_as_socket());
        assert_eq!(LinkProfile::default(), LinkProfile::perfect());
        let mut faulty = LinkProfile::in_process();
        faulty.down.delay_ms = 1;
        assert!(faulty.counts_as_socket());
        assert!(LinkProfile::in_process().with_loss_percent(1.0).counts_as_socket());
    }

    #[test]
    fn a_round_trip_is_split_without_losing_a_millisecond() {
        for round_trip in [0, 1, 60, 61, u32::MAX] {
            let profile = LinkProfile::rtt(round_trip);
            let sum = u64::from(profile.up.delay_ms) + u64::from(profile.down.delay_ms);
            assert_eq!(sum, u64::from(round_trip));
            assert!(profile.up.delay_ms - profile.down.delay_ms <= 1);
        }
    }

    #[test]
    fn builders_change_both_directions_and_nothing_else() {
        let profile = LinkProfile::in_process().with_rtt_ms(40).with_jitter_ms(3).with_periodic_loss(4);
        let conditions =
            LinkConditions { delay_ms: 20, jitter_ms: 3, loss: Loss::Periodic { every: 4 }, ..LinkConditions::PERFECT };
        assert_eq!((profile.up, profile.down), (conditions, conditions));
        assert!(!profile.poses_as_socket);
        assert_eq!(profile.with_loss_percent(2.5).up.loss, Loss::Random { percent: 2.5 });
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_profile_reads_as_it_was_written_and_what_is_left_out_is_perfect() {
        let mut profile = LinkProfile::rtt(81).with_jitter_ms(7).with_periodic_loss(20);
        profile.down.loss = Loss::Bursts { percent: 3.5, mean_length: 4.0 };
        profile.down.bandwidth_bytes_per_second = Some(100_000);
        let text = serde_json::to_string_pretty(&profile).unwrap();
        assert_eq!(serde_json::from_str::<LinkProfile>(&text).unwrap(), profile);
        let short = r#"{ "up": { "delay_ms": 50, "loss": { "random": { "percent": 2.0 } } } }"#;
        let mut expected = LinkProfile::perfect();
        expected.up = LinkConditions { delay_ms: 50, loss: Loss::Random { percent: 2.0 }, ..LinkConditions::PERFECT };
        assert_eq!(serde_json::from_str::<LinkProfile>(short).unwrap(), expected);
        assert!(serde_json::from_str::<LinkProfile>(r#"{ "up": { "dealy_ms": 50 } }"#).is_err(), "a mistyped name");
    }

    #[test]
    fn mistakes_are_listed_by_direction() {
        let mut profile = LinkProfile::perfect();
        assert_eq!(profile.validate(), Ok(()));
        profile.up.max_packets = 0;
        profile.down.loss = Loss::Random { percent: 101.0 };
        profile.down.corrupt_percent = -1.0;
        let invalid = profile.validate().unwrap_err();
        assert_eq!((invalid.up.len(), invalid.down.len()), (1, 2));
        let text = invalid.to_string();
        assert!(text.contains("; up: max_packets is 0"), "{text}");
        assert!(
            text.contains("; down: loss.percent is 101, but must be in 0 ..= 100; corrupt_percent is -1"),
            "{text}"
        );
    }
}

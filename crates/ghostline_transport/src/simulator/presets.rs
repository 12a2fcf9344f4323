//! Link conditions with names: what kinds of connections do to packets, and the profiles that tests ask for by name.
//! The numbers are those of the reference; each holds for one direction. Picked by tools, settings and tests.
//!
//! A medium adds what the last mile does to what the distance to the server does. A game adds its own to a list of
//! [`Presets`], for the players and testers who choose by name.

use thiserror::Error;

use super::conditions::{InvalidConditions, LinkConditions, Loss};
use super::profile::LinkProfile;
use crate::limits;

const fn conditions(delay_ms: u32, jitter_ms: u32, loss_percent: u16) -> LinkConditions {
    // Lossless, and `f32::from` is not const.
    let percent = loss_percent as f32;
    LinkConditions { delay_ms, jitter_ms, loss: Loss::Random { percent }, ..LinkConditions::PERFECT }
}

/// What a simulator does that was switched on without being told more: 100 ms and 10 ms of jitter, 1 % lost, 1 % twice,
/// 200 packets on their way.
pub const DEFAULT: LinkConditions =
    LinkConditions { duplicate_percent: 1.0, max_packets: 200, ..conditions(100, 10, 1) };

/// A local network.
pub const LAN: LinkConditions = conditions(1, 1, 1);

/// No network at all.
pub const NO_INTERNET: LinkConditions = conditions(1_000, 1_000, 100);

/// Connecting works at times, playing does not.
pub const UNPLAYABLE: LinkConditions = conditions(300, 400, 30);

/// Somebody on the way changes packets.
pub const MAN_IN_THE_MIDDLE: LinkConditions = LinkConditions { corrupt_percent: 1.0, ..conditions(200, 400, 2) };

/// A round trip of 60 ms, 30 in each direction.
pub const RTT60: LinkProfile = LinkProfile::rtt(60);

/// Every third packet is lost in each direction.
pub const PL33: LinkProfile = LinkProfile::perfect().with_periodic_loss(3);

/// 16 ms in each direction, in which every twentieth packet is lost. (The reference's name has it that this is the
/// round trip; its numbers don't.)
pub const RTT16_PL5: LinkProfile = LinkProfile::rtt(32).with_periodic_loss(20);

/// A name and what it stands for in each direction.
pub type Preset = (&'static str, LinkConditions);

/// The special presets, then every medium at every distance. What a distance adds stands here, once for all media.
macro_rules! presets {
    (
        [$($special:expr),* $(,)?],
        [$(($name:literal, $delay:literal, $jitter:literal, $loss:literal)),* $(,)?]
    ) => {
        &[
            $($special,)*
            $(
                (concat!($name, ", regional, 5th percentile"), conditions($delay + 9, $jitter + 1, $loss + 1)),
                (concat!($name, ", regional, 25th percentile"), conditions($delay + 15, $jitter + 5, $loss + 1)),
                (concat!($name, ", regional, 50th percentile"), conditions($delay + 65, $jitter + 10, $loss + 2)),
                (concat!($name, ", regional, 95th percentile"), conditions($delay + 150, $jitter + 10, $loss + 3)),
                (concat!($name, ", international, 25th percentile"), conditions($delay + 60, $jitter + 5, $loss + 2)),
                (concat!($name, ", international, 50th percentile"), conditions($delay + 120, $jitter + 10, $loss + 2)),
                (concat!($name, ", international, 95th percentile"), conditions($delay + 200, $jitter + 15, $loss + 5)),
            )*
        ]
    };
}

static ALL: &[Preset] = presets!(
    [
        ("Default", DEFAULT),
        ("LAN", LAN),
        ("No internet", NO_INTERNET),
        ("Unplayable", UNPLAYABLE),
        ("Man in the middle", MAN_IN_THE_MIDDLE),
    ],
    [
        ("Broadband", 1, 1, 1),
        ("5G", 0, 5, 3),
        ("4.5G", 25, 5, 3),
        ("4G", 35, 5, 3),
        ("3.75G", 50, 10, 5),
        ("3.5G", 65, 10, 5),
        ("3G", 120, 10, 5),
        ("2.75G", 160, 15, 5),
        ("2.5G", 180, 15, 5),
        ("2G", 200, 20, 5),
    ]
);

/// Every preset of this module, with its name: the special ones, then the media from the best to the worst, each at every distance.
/// Names are unique.
pub fn all() -> &'static [Preset] {
    ALL
}

/// The preset of this module with this name, upper and lower case alike.
pub fn find(name: &str) -> Option<LinkConditions> {
    all().iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, conditions)| *conditions)
}

/// The presets that a program offers: those of this module, and its own behind them. Names are unique, upper and lower
/// case alike.
///
/// ```
/// use ghostline_transport::{LinkConditions, presets::Presets};
///
/// let mut presets = Presets::default();
/// presets.register("Train", LinkConditions { jitter_ms: 80, ..LinkConditions::delayed(60) })?;
/// assert!(presets.find("train").is_some() && presets.find("lan").is_some());
/// # Ok::<(), ghostline_transport::presets::PresetError>(())
/// ```
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Presets {
    own: Vec<(String, LinkConditions)>,
}

/// Why a preset was not registered.
#[derive(Clone, PartialEq, Debug, Error)]
#[non_exhaustive]
pub enum PresetError {
    /// It has no name.
    #[error("a preset needs a name, by which it is chosen")]
    NoName,
    /// There is one of this name.
    #[error("there is a preset named `{name}` already; choose another name")]
    NameTaken {
        /// The name that is there.
        name: String,
    },
    /// The conditions make no sense.
    #[error("the preset `{name}` can't be: {error}")]
    Conditions {
        /// Its name.
        name: String,
        /// What is wrong with them.
        error: InvalidConditions,
    },
    /// There are enough.
    #[error("there are {limit} presets of this program already; that is the limit")]
    TooMany {
        /// [`limits::MAX_OWN_PRESETS`].
        limit: usize,
    },
}

impl Presets {
    /// Adds a preset of the program's own, behind those that are there.
    ///
    /// # Errors
    /// [`PresetError`]; then nothing changes.
    pub fn register(&mut self, name: &str, conditions: LinkConditions) -> Result<(), PresetError> {
        if name.trim().is_empty() {
            return Err(PresetError::NoName);
        }
        if let Some((name, _)) = self.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            return Err(PresetError::NameTaken { name: name.to_owned() });
        }
        if let Err(error) = conditions.validate() {
            return Err(PresetError::Conditions { name: name.to_owned(), error });
        }
        if self.own.len() >= limits::MAX_OWN_PRESETS {
            return Err(PresetError::TooMany { limit: limits::MAX_OWN_PRESETS });
        }
        self.own.push((name.to_owned(), conditions));
        Ok(())
    }

    /// Every preset with its name: those of this module, then the program's own in the order in which they were
    /// registered.
    pub fn iter(&self) -> impl Iterator<Item = (&str, LinkConditions)> {
        let built_in = all().iter().map(|&(name, conditions)| (name, conditions));
        built_in.chain(self.own.iter().map(|(name, conditions)| (name.as_str(), *conditions)))
    }

    /// The preset with this name, upper and lower case alike.
    pub fn find(&self, name: &str) -> Option<LinkConditions> {
        self.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, conditions)| conditions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_valid_and_its_name_unique() {
        assert_eq!(all().len(), 75);
        for (index, (name, conditions)) in all().iter().enumerate() {
            assert!(!name.is_empty());
            assert_eq!(conditions.validate(), Ok(()), "{name}");
            assert_eq!(find(&name.to_uppercase()), Some(*conditions), "{name} at {index} has its name for itself");
        }
        assert_eq!(find("Carrier pigeon"), None);
    }

    #[test]
    fn a_programs_own_presets_stand_behind_the_others_and_are_found_by_name() {
        let mut presets = Presets::default();
        let train = LinkConditions { jitter_ms: 80, ..LinkConditions::delayed(60) };
        assert_eq!(presets.register("Train", train), Ok(()));
        assert_eq!(presets.find("TRAIN"), Some(train));
        assert_eq!(presets.find("lan"), Some(LAN));
        assert_eq!(presets.iter().count(), all().len() + 1);
        assert_eq!(presets.iter().last(), Some(("Train", train)));
        for (taken, known) in [("train", "Train"), ("lan", "LAN")] {
            let error = PresetError::NameTaken { name: known.into() };
            assert_eq!(presets.register(taken, train), Err(error));
        }
        assert_eq!(presets.register(" ", train), Err(PresetError::NoName));
        let nonsense = LinkConditions { duplicate_percent: 101.0, ..train };
        assert!(matches!(presets.register("Nonsense", nonsense), Err(PresetError::Conditions { .. })));
        for number in 1..limits::MAX_OWN_PRESETS {
            assert_eq!(presets.register(&format!("{number}"), train), Ok(()));
        }
        let limit = limits::MAX_OWN_PRESETS;
        assert_eq!(presets.register("one more", train), Err(PresetError::TooMany { limit }));
        assert_eq!(presets.iter().count(), all().len() + limit);
    }

    #[test]
    fn a_medium_adds_to_the_distance() {
        let expected = [
            ("Broadband, regional, 5th percentile", 10, 2, 2.0),
            ("4G, regional, 25th percentile", 50, 10, 4.0),
            ("4G, regional, 50th percentile", 100, 15, 5.0),
            ("3.5G, regional, 95th percentile", 215, 20, 8.0),
            ("5G, international, 25th percentile", 60, 10, 5.0),
            ("2G, international, 50th percentile", 320, 30, 7.0),
            ("2G, international, 95th percentile", 400, 35, 10.0),
        ];
        for (name, delay_ms, jitter_ms, percent) in expected {
            let loss = Loss::Random { percent };
            let conditions = LinkConditions { delay_ms, jitter_ms, loss, ..LinkConditions::PERFECT };
            assert_eq!(find(name), Some(conditions), "{name}");
        }
    }

    #[test]
    fn the_named_test_profiles_are_valid_and_count_as_sockets() {
        for profile in [RTT60, PL33, RTT16_PL5] {
            assert_eq!(profile.validate(), Ok(()));
            assert!(profile.counts_as_socket());
        }
        assert_eq!((RTT60.up.delay_ms, RTT60.down.delay_ms), (30, 30));
        assert_eq!(PL33.down.loss, Loss::Periodic { every: 3 });
        assert_eq!((RTT16_PL5.up.delay_ms, RTT16_PL5.up.loss), (16, Loss::Periodic { every: 20 }));
    }
}

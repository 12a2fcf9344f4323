//! Link conditions with names: what kinds of connections do to packets, and the profiles that tests ask for by name.
//! The numbers are those of the reference; each holds for one direction. Picked by tools, settings and tests.
//!
//! A medium adds what the last mile does to what the distance to the server does. A game's own presets are values of
//! the same types; nothing needs to be registered.

use super::conditions::{LinkConditions, Loss};
use super::profile::LinkProfile;

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

/// Every preset, with its name: the special ones, then the media from the best to the worst, each at every distance.
/// Names are unique.
pub fn all() -> &'static [Preset] {
    ALL
}

/// The preset with this name, upper and lower case alike.
pub fn find(name: &str) -> Option<LinkConditions> {
    all().iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, conditions)| *conditions)
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

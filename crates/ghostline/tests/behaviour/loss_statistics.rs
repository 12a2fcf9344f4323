//! What became of snapshot packets, as the client counts it: SEQ-02, SEQ-04.

use crate::common::*;
use ghostline::stats::SnapshotPacketLossStatistics;
use ghostline_testkit::LinkProfile;

/// 25 seconds on such a link, after a second to settle.
fn count_packets(profile: LinkProfile) -> SnapshotPacketLossStatistics {
    let mut fleet = Fleet::builder().plugin(Game).link(profile).seed(3).build();
    fleet.logs().tolerate("tick jumped");
    fleet.connect_all();
    fleet.go_in_game_all();
    fleet.ticks(60);
    let counted = |fleet: &mut Fleet| {
        let connection = fleet.client(0).connections()[0];
        *fleet.client(0).world().get::<SnapshotPacketLossStatistics>(connection).unwrap()
    };
    let before = counted(&mut fleet);
    fleet.ticks(25 * 60);
    counted(&mut fleet) - before
}

// SEQ-02, G-75, O-09
#[test]
fn every_twentieth_packet_lost_is_counted_as_five_percent_and_nothing_else() {
    let counted = count_packets(LinkProfile::rtt(100).with_periodic_loss(20));
    assert_eq!((counted.reordered, counted.repeated), (0, 0));
    assert!((4.0..=6.0).contains(&counted.lost_percent()), "{counted:?}");
    assert_eq!(counted.sent(), 1500, "{counted:?}");
}

// SEQ-04, G-75
#[test]
fn losses_and_overtaken_packets_are_told_apart_on_a_link_that_does_both() {
    let counted = count_packets(LinkProfile::rtt(100).with_periodic_loss(20).with_jitter_ms(70));
    assert!((4.0..=8.0).contains(&counted.lost_percent()), "{counted:?}");
    assert!((30.0..=50.0).contains(&counted.reordered_percent()), "{counted:?}");
    assert_eq!(counted.repeated, 0);
    let sent = counted.sent();
    assert!((1490..=1510).contains(&sent), "{sent}");
}

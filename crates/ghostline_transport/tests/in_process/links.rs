//! In-process links under a profile: when things are seen, what happens to unreliable messages, and how links change
//! while they run.

use std::time::Duration;

use ghostline_transport::{
    CloseReason, Direction, Driver, DriverEvent, DriverSettings, InProcessNetwork, LinkConditions, LinkProfile,
    LinkStats, Loss, Pipeline, ProfileError, SendError, TransportKind, limits, presets,
};

use crate::harness::{address, poll};
use crate::links_harness::{FRAME, Linked, contents, messages, ms};

const ALL: [Pipeline; 3] = [Pipeline::Unreliable, Pipeline::UnreliableFragmented, Pipeline::ReliableOrdered];

fn conditions(loss: Loss) -> LinkProfile {
    LinkProfile::symmetric(LinkConditions { loss, ..LinkConditions::PERFECT })
}

#[test]
fn a_message_is_seen_by_the_first_poll_at_or_after_its_delay() {
    for pipeline in ALL {
        let mut linked = Linked::connected(1, presets::RTT60);
        linked.send_to_server(pipeline, b"up");
        linked.send_to_client(pipeline, b"down");
        let start = linked.now;
        let (at_server, at_client) = linked.run_frames(5);
        // 16.7 ms is too early, 33.3 ms is late enough.
        assert_eq!(messages(&at_server), [(start + 2 * FRAME, b"up".as_slice())]);
        assert_eq!(messages(&at_client), [(start + 2 * FRAME, b"down".as_slice())]);
    }
}

#[test]
fn a_poll_exactly_at_the_delay_is_not_too_early() {
    let mut linked = Linked::connected(1, presets::RTT60);
    linked.frame = ms(10);
    let start = linked.now;
    linked.send_to_server(Pipeline::Unreliable, b"x");
    let (at_server, _) = linked.run_frames(4);
    assert_eq!(messages(&at_server), [(start + ms(30), b"x".as_slice())]);
}

#[test]
fn a_round_trip_takes_both_delays_and_the_frames_between() {
    let mut linked = Linked::connected(1, LinkProfile::rtt(60));
    let start = linked.now;
    linked.send_to_server(Pipeline::Unreliable, b"ping");
    for _ in 0..10 {
        linked.now += FRAME;
        if !contents(&linked.server_stage()).is_empty() {
            assert_eq!(linked.now, start + 2 * FRAME);
            linked.send_to_client(Pipeline::Unreliable, b"pong");
        }
        if !contents(&linked.client_stage()).is_empty() {
            assert_eq!(linked.now, start + 4 * FRAME, "33.3 ms and 30 ms are 63.3 ms");
            return;
        }
    }
    panic!("no answer");
}

#[test]
fn directions_have_conditions_of_their_own() {
    let profile = LinkProfile { up: LinkConditions::delayed(40), ..LinkProfile::perfect() };
    let mut linked = Linked::connected(1, profile);
    let start = linked.now;
    linked.send_to_client(Pipeline::Unreliable, b"down");
    assert_eq!(contents(&linked.client_stage()), [b"down"], "in the same frame");
    linked.send_to_server(Pipeline::Unreliable, b"up");
    let (at_server, _) = linked.run_frames(4);
    assert_eq!(messages(&at_server), [(start + 3 * FRAME, b"up".as_slice())]);
}

#[test]
fn a_delivery_that_is_not_told_the_time_knows_it_from_the_drivers() {
    let mut linked = Linked::connected(1, presets::RTT60);
    linked.now += ms(1_000);
    linked.client.send(linked.to_server, Pipeline::Unreliable, b"x").unwrap();
    linked.client.flush(linked.now);
    linked.network.deliver();
    assert_eq!(poll(&mut linked.server, linked.now + ms(29)), []);
    assert_eq!(poll(&mut linked.server, linked.now + ms(30)).len(), 1);
}

#[test]
fn a_reader_whose_clock_is_behind_reads_by_the_networks() {
    let mut linked = Linked::connected(1, presets::RTT60);
    linked.send_to_server(Pipeline::Unreliable, b"x");
    let behind = Duration::ZERO;
    linked.network.deliver_at(linked.now + ms(29));
    assert_eq!(poll(&mut linked.server, behind), []);
    linked.network.deliver_at(linked.now + ms(30));
    assert_eq!(poll(&mut linked.server, behind).len(), 1);
    linked.network.deliver_at(linked.now);
    linked.send_to_server(Pipeline::Unreliable, b"x");
    assert_eq!(poll(&mut linked.server, linked.now + ms(59)), [], "the network's time never goes back");
}

#[test]
fn every_third_unreliable_message_is_lost_under_pl33() {
    let mut linked = Linked::connected(1, presets::PL33);
    for number in 0..9 {
        linked.send_to_server(Pipeline::Unreliable, &[number]);
        linked.send_to_client(Pipeline::Unreliable, &[number]);
    }
    let (at_server, at_client) = linked.run_frame();
    let arrived: [&[u8]; 6] = [&[0], &[1], &[3], &[4], &[6], &[7]];
    assert_eq!(contents(&at_server), arrived);
    assert_eq!(contents(&at_client), arrived);
    let stats = LinkStats { sent: 9, delivered: 6, lost: 3, ..LinkStats::default() };
    assert_eq!(linked.network.link_stats(linked.client.number(), Direction::ToServer), Some(stats));
}

#[test]
fn copies_jitter_and_reordering_reach_the_receiver() {
    let conditions =
        LinkConditions { jitter_ms: 10, duplicate_percent: 20.0, reorder_percent: 10.0, ..LinkConditions::delayed(40) };
    let mut linked = Linked::connected(3, LinkProfile::symmetric(conditions));
    let mut seen = Vec::new();
    for number in 0..200_u8 {
        linked.send_to_server(Pipeline::Unreliable, &[number]);
        seen.extend(linked.run_frame().0);
    }
    seen.extend(linked.run_frames(20).0);
    let arrived = contents(&seen);
    let distinct: std::collections::BTreeSet<_> = arrived.iter().collect();
    assert_eq!(distinct.len(), 200, "nothing is lost");
    assert!((20..80).contains(&(arrived.len() - 200)), "{} copies", arrived.len() - 200);
    assert!(!arrived.is_sorted());
    let stats = linked.network.link_stats(linked.client.number(), Direction::ToServer).unwrap();
    assert_eq!(stats.delivered, arrived.len() as u64);
    assert!(stats.reordered > 10, "{stats:?}");
}

#[test]
fn corrupted_messages_arrive_with_flipped_bits_and_reliable_ones_whole() {
    let conditions = LinkConditions { corrupt_percent: 100.0, ..LinkConditions::PERFECT };
    let profile = LinkProfile { up: conditions, ..LinkProfile::perfect() };
    let mut linked = Linked::connected(1, profile);
    for pipeline in [Pipeline::Unreliable, Pipeline::UnreliableFragmented] {
        linked.send_to_server(pipeline, &[0; 40]);
        let (at_server, _) = linked.run_frame();
        let [bytes] = contents(&at_server)[..] else { panic!("one message") };
        let flipped: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
        assert!((1..=limits::MAX_CORRUPTED_BITS as u32).contains(&flipped));
    }
    linked.send_to_server(Pipeline::ReliableOrdered, &[0; 40]);
    let (at_server, _) = linked.run_frames(20);
    assert!(at_server.is_empty(), "no packet of it arrives whole");
    linked.set_profile(LinkProfile::perfect());
    let (at_server, _) = linked.run_frames(2);
    assert_eq!(contents(&at_server), [[0; 40]]);
}

#[test]
fn a_fragmented_message_is_lost_with_any_of_its_packets_and_as_late_as_the_last() {
    let three_packets = vec![7; 3_000];
    let mut linked = Linked::connected(1, presets::PL33);
    for _ in 0..5 {
        linked.send_to_server(Pipeline::UnreliableFragmented, &three_packets);
    }
    assert!(linked.run_frames(5).0.is_empty(), "each of them loses one of its three packets");
    let one_in_five = conditions(Loss::Periodic { every: 5 });
    linked.set_profile(one_in_five);
    for _ in 0..5 {
        linked.send_to_server(Pipeline::UnreliableFragmented, &three_packets);
    }
    let (at_server, _) = linked.run_frame();
    assert_eq!(contents(&at_server).len(), 2, "packets 5, 10 and 15 are lost, of the messages 2, 4 and 5");

    let bandwidth = LinkConditions { bandwidth_bytes_per_second: Some(100_000), ..LinkConditions::PERFECT };
    linked.set_profile(LinkProfile::symmetric(bandwidth));
    linked.frame = ms(1);
    let start = linked.now;
    linked.send_to_server(Pipeline::UnreliableFragmented, &three_packets);
    let (at_server, _) = linked.run_frames(60);
    let bytes = three_packets.len() + 3 * limits::SIMULATED_HEADER_BYTES;
    assert_eq!(messages(&at_server)[0].0, start + ms(bytes as u64 / 100 + 1), "30.84 ms, at the next poll");
}

#[test]
fn copies_of_fragments_are_noticed_by_whoever_joins_them() {
    let conditions = LinkConditions { duplicate_percent: 100.0, ..LinkConditions::PERFECT };
    let mut linked = Linked::connected(1, LinkProfile::symmetric(conditions));
    linked.send_to_server(Pipeline::UnreliableFragmented, &[1; 2_000]);
    linked.send_to_server(Pipeline::Unreliable, &[2]);
    let (at_server, _) = linked.run_frame();
    let lengths: Vec<usize> = contents(&at_server).iter().map(|bytes| bytes.len()).collect();
    assert_eq!(lengths, [2_000, 1, 1]);
}

#[test]
fn unreliable_messages_on_a_slow_link_don_t_fill_the_senders_queue() {
    let settings = DriverSettings { queue_messages: 4, ..DriverSettings::default() };
    let mut linked = Linked::connected_with(1, LinkProfile::rtt(1_000), settings);
    for number in 0..100 {
        linked.send_to_server(Pipeline::Unreliable, &[number]);
        linked.run_frame();
    }
    assert_eq!(linked.client.stats().unreliable_dropped, 0);
    let stats = linked.network.link_stats(linked.client.number(), Direction::ToServer).unwrap();
    assert_eq!((stats.sent, stats.dropped_by_queue), (100, 0));
}

#[test]
fn what_is_on_its_way_is_bounded_even_if_nobody_reads() {
    let conditions = LinkConditions { max_packets: 10, ..LinkConditions::delayed(5) };
    let mut linked = Linked::connected(1, LinkProfile::symmetric(conditions));
    for number in 0..50 {
        linked.now += FRAME;
        linked.client_stage();
        linked.send_to_server(Pipeline::Unreliable, &[number]);
    }
    let stats = linked.network.link_stats(linked.client.number(), Direction::ToServer).unwrap();
    assert_eq!((stats.sent, stats.delivered, stats.dropped_by_queue), (50, 0, 40));
    let (at_server, _) = linked.run_frame();
    assert_eq!(contents(&at_server).len(), 10);
    linked.send_to_server(Pipeline::Unreliable, &[50]);
    assert_eq!(contents(&linked.run_frame().0), [[50]], "there is room again");
}

#[test]
fn a_profile_can_change_while_messages_are_on_their_way() {
    let mut linked = Linked::connected(1, LinkProfile::rtt(200));
    let start = linked.now;
    linked.send_to_server(Pipeline::Unreliable, b"slow");
    linked.set_profile(LinkProfile::rtt(20));
    linked.send_to_server(Pipeline::Unreliable, b"fast");
    linked.set_profile(LinkProfile::perfect());
    linked.send_to_server(Pipeline::Unreliable, b"now");
    let (at_server, _) = linked.run_frames(10);
    let expected: [(Duration, &[u8]); 3] =
        [(start + FRAME, b"now"), (start + FRAME, b"fast"), (start + 6 * FRAME, b"slow")];
    assert_eq!(messages(&at_server), expected);
}

#[test]
fn injected_bytes_cross_the_same_link() {
    let mut linked = Linked::connected(1, presets::RTT60);
    let number = linked.client.number();
    let start = linked.now;
    linked.network.inject(number, Direction::ToClient, Pipeline::Unreliable, b"forged".to_vec()).unwrap();
    linked.network.deliver();
    let (_, at_client) = linked.run_frames(3);
    assert_eq!(messages(&at_client), [(start + 2 * FRAME, b"forged".as_slice())]);
}

#[test]
fn bytes_can_be_injected_from_when_the_client_is_connected_until_the_close_has_arrived() {
    let mut linked = Linked::connecting(1, presets::RTT60);
    let (network, number) = (linked.network.clone(), linked.client.number());
    let inject = || network.inject(number, Direction::ToClient, Pipeline::Unreliable, vec![1]);
    while !linked.is_connected {
        assert_eq!(inject(), Err(SendError::NotConnected));
        linked.run_frame();
    }
    assert_eq!(inject(), Ok(()));
    linked.client.disconnect(linked.to_server, CloseReason::default());
    linked.run_frame();
    assert_eq!(inject(), Ok(()), "the close is on its way");
    linked.run_frames(3);
    assert_eq!(inject(), Err(SendError::NotConnected));
}

#[test]
fn a_recorder_sees_what_arrives_and_what_is_lost() {
    let conditions = LinkConditions {
        loss: Loss::Periodic { every: 2 },
        duplicate_percent: 100.0,
        corrupt_percent: 100.0,
        ..LinkConditions::PERFECT
    };
    let mut linked = Linked::connected(1, LinkProfile::symmetric(conditions));
    linked.network.record(linked.client.number(), true);
    linked.send_to_server(Pipeline::Unreliable, &[0; 16]);
    linked.send_to_server(Pipeline::Unreliable, &[0; 16]);
    let recorded = linked.network.take_recorded(linked.client.number());
    let lost: Vec<bool> = recorded.iter().map(|entry| entry.lost).collect();
    assert_eq!(lost, [false, false, true], "the first, its copy, and the second");
    let (at_server, _) = linked.run_frame();
    assert_eq!(contents(&at_server), [recorded[0].bytes.as_slice(), &recorded[1].bytes]);
    assert_ne!(recorded[0].bytes, [0; 16]);
    assert_ne!(recorded[1].bytes, recorded[0].bytes, "each copy takes damage of its own");
    assert_eq!(recorded[2].bytes, [0; 16]);
}

#[test]
fn steady_traffic_over_a_bad_link_allocates_nothing() {
    let mut linked = Linked::connected(1, LinkProfile::rtt(60).with_jitter_ms(10).with_loss_percent(10.0));
    let frame = |linked: &mut Linked| {
        linked.now += FRAME;
        for event in poll(&mut linked.server, linked.now) {
            if let DriverEvent::Received { bytes, .. } = event {
                linked.server.recycle(bytes);
            }
        }
        linked.server.flush(linked.now);
        for pipeline in ALL {
            linked.client.send(linked.to_server, pipeline, &[1; 900]).unwrap();
        }
        linked.client_stage();
    };
    for _ in 0..200 {
        frame(&mut linked);
    }
    let before = linked.network.pool_stats();
    for _ in 0..500 {
        frame(&mut linked);
    }
    let after = linked.network.pool_stats();
    assert!(after.allocated - before.allocated <= 10, "only if more is on its way than ever before: {after:?}");
    assert_eq!(after.grown, before.grown);
    assert!(after.reused > before.reused + 1_000);
}

#[test]
fn the_kind_of_a_connection_follows_the_profile_of_its_client_on_both_sides() {
    let network = InProcessNetwork::new();
    let mut server = network.driver();
    server.listen(address()).unwrap();
    let mut clients = [network.driver(), network.driver()];
    let now = Duration::ZERO;
    let to_server = clients.each_mut().map(|client| {
        let connection = client.connect(address(), now).unwrap();
        client.flush(now);
        connection
    });
    network.deliver();
    let accepted: Vec<_> = poll(&mut server, now)
        .into_iter()
        .map(|event| match event {
            DriverEvent::Accepted { connection } => connection,
            other => panic!("{other:?}"),
        })
        .collect();
    let kinds = |clients: &[ghostline_transport::InProcessDriver; 2]| {
        [
            clients[0].capabilities().kind,
            clients[0].connection_kind(to_server[0]),
            server.connection_kind(accepted[0]),
            clients[1].capabilities().kind,
            server.connection_kind(accepted[1]),
        ]
    };
    let (near, far) = (TransportKind::InProcess, TransportKind::Socket);
    assert_eq!(kinds(&clients), [near; 5]);
    network.set_profile(clients[0].number(), LinkProfile::perfect()).unwrap();
    assert_eq!(kinds(&clients), [far, far, far, near, near]);
    network.set_profile(clients[1].number(), LinkProfile::in_process().with_rtt_ms(1)).unwrap();
    assert_eq!(kinds(&clients), [far; 5], "a link with faults is no in-process link, whatever it says");
    network.set_profile(clients[0].number(), LinkProfile::in_process()).unwrap();
    assert_eq!(kinds(&clients), [near, near, near, far, far]);
    assert_eq!(server.capabilities().kind, near, "the server's own link is another one");
}

#[test]
fn posing_as_a_socket_is_the_first_profiles_flag() {
    let network = InProcessNetwork::new();
    let posing = network.driver().posing_as_socket(true);
    assert_eq!(network.profile(posing.number()), Some(LinkProfile::perfect()));
    let plain = network.driver();
    assert_eq!(network.profile(plain.number()), Some(LinkProfile::in_process()));
    network.set_profile(plain.number(), presets::RTT60).unwrap();
    assert_eq!(network.profile(plain.number()), Some(presets::RTT60));
}

#[test]
fn a_profile_that_makes_no_sense_or_has_no_driver_is_refused() {
    let network = InProcessNetwork::new();
    let client = 0;
    assert_eq!(network.set_profile(client, LinkProfile::perfect()), Err(ProfileError::NoSuchDriver { client }));
    assert_eq!(network.profile(client), None);
    assert_eq!(network.link_stats(client, Direction::ToServer), None);
    let driver = network.driver();
    let refused = network.set_profile(client, conditions(Loss::Periodic { every: 0 }));
    assert!(matches!(refused, Err(ProfileError::Invalid(_))), "{refused:?}");
    assert_eq!(network.profile(driver.number()), Some(LinkProfile::in_process()));
}

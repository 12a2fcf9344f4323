//! What must not get lost on a bad link: reliable messages, and the news of connecting, accepting and closing.

use std::time::Duration;

use ghostline_transport::{
    CloseReason, Direction, DisconnectCause, Driver, DriverEvent, DriverSettings, InProcessNetwork, LinkConditions,
    LinkProfile, Loss, Pipeline, SendError, limits, presets,
};

use crate::harness::{address, poll, received};
use crate::links_harness::{FRAME, Linked, contents, messages, ms};

const RELIABLE: Pipeline = Pipeline::ReliableOrdered;

/// What a lost packet costs on a link without delay.
const MARGIN: Duration = Duration::from_millis(limits::RETRANSMIT_MARGIN_MS as u64);

#[test]
fn connecting_over_30_ms_takes_a_round_trip() {
    let mut linked = Linked::connecting(1, presets::RTT60);
    let start = linked.now;
    let (at_server, at_client) = linked.run_frames(6);
    assert!(matches!(at_server[..], [(at, DriverEvent::Accepted { .. })] if at == start + 2 * FRAME));
    let connected = DriverEvent::Connected { connection: linked.to_server };
    assert_eq!(at_client, [(start + 4 * FRAME, connected)]);
}

#[test]
fn every_client_connects_at_33_percent_loss_whatever_the_seed() {
    for profile in [presets::PL33, presets::PL33.with_rtt_ms(60), LinkProfile::rtt(60).with_loss_percent(33.0)] {
        for seed in 0..100 {
            let mut linked = Linked::connecting(seed, profile);
            for _ in 0..100 {
                linked.run_frame();
            }
            assert!(linked.is_connected, "seed {seed} over {profile:?}");
        }
    }
}

#[test]
fn a_client_gives_up_without_internet_and_connects_when_it_is_back() {
    let mut linked = Linked::connecting(1, LinkProfile::symmetric(presets::NO_INTERNET));
    linked.frame = ms(100);
    let deadline = linked.client.settings().connect_deadline();
    let (at_server, at_client) = linked.run_frames(101);
    assert_eq!(at_server, []);
    let [(at, event)] = &at_client[..] else { panic!("{at_client:?}") };
    let cause = DisconnectCause::MaxConnectionAttempts;
    assert_eq!(*event, DriverEvent::Disconnected { connection: linked.to_server, cause });
    assert_eq!(*at, Duration::from_secs(1) + deadline);
    linked.set_profile(LinkProfile::perfect());
    linked.to_server = linked.client.connect(address(), linked.now).unwrap();
    linked.client.flush(linked.now);
    linked.run_frames(60);
    assert!(linked.is_connected);
}

#[test]
fn a_lost_packet_costs_a_round_trip_and_a_bit_and_all_behind_it_wait() {
    let mut linked = Linked::connected(1, LinkProfile::rtt(60).with_periodic_loss(3));
    linked.frame = ms(1);
    let start = linked.now;
    for number in 1..=4 {
        linked.send_to_server(RELIABLE, &[number]);
    }
    let (at_server, _) = linked.run_frames(200);
    let on_time = start + ms(30);
    let late = on_time + ms(60) + MARGIN;
    let expected: [(Duration, &[u8]); 4] = [(on_time, &[1]), (on_time, &[2]), (late, &[3]), (late, &[4])];
    assert_eq!(messages(&at_server), expected);
}

#[test]
fn a_packet_that_is_lost_again_is_sent_again_and_again() {
    let profile = LinkProfile {
        up: LinkConditions { loss: Loss::Periodic { every: 1 }, ..LinkConditions::PERFECT },
        ..LinkProfile::perfect()
    };
    let mut linked = Linked::connected(1, profile);
    linked.frame = MARGIN;
    linked.send_to_server(RELIABLE, b"x");
    assert_eq!(linked.run_frames(50).0, []);
    let stats = linked.network.link_stats(linked.client.number(), Direction::ToServer).unwrap();
    assert_eq!((stats.sent, stats.lost), (51, 51), "one more each {MARGIN:?}");
    linked.set_profile(LinkProfile::perfect());
    assert_eq!(contents(&linked.run_frames(2).0), [b"x"]);
}

#[test]
fn a_time_that_jumps_over_an_hour_of_retransmissions_is_no_trouble() {
    let profile = LinkProfile { up: presets::NO_INTERNET, ..LinkProfile::perfect() };
    let mut linked = Linked::connected(1, profile);
    linked.send_to_server(RELIABLE, b"x");
    linked.now += Duration::from_secs(3_600 * 24 * 365);
    linked.run_frame();
    let stats = linked.network.link_stats(linked.client.number(), Direction::ToServer).unwrap();
    assert!(stats.sent <= 2 + 2 * limits::MAX_RETRANSMISSIONS_PER_DELIVERY as u64, "{stats:?}");
    // The last attempt without internet was just now, and the next one comes two seconds later.
    linked.set_profile(LinkProfile::perfect());
    assert_eq!(contents(&linked.run_frames(130).0), [b"x"]);
}

#[test]
fn reliable_messages_arrive_once_and_in_order_over_the_worst_link() {
    let conditions = LinkConditions {
        delay_ms: 80,
        jitter_ms: 60,
        loss: Loss::Bursts { percent: 30.0, mean_length: 4.0 },
        duplicate_percent: 20.0,
        reorder_percent: 20.0,
        corrupt_percent: 10.0,
        bandwidth_bytes_per_second: Some(40_000),
        max_packets: 5,
    };
    for seed in 0..20 {
        let mut linked = Linked::connecting(seed, LinkProfile::symmetric(conditions));
        while !linked.is_connected {
            linked.run_frame();
        }
        let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
        for number in 0..100_u8 {
            // Some of them take several packets.
            let message = vec![number; 1 + usize::from(number % 7) * 400];
            linked.send_to_server(RELIABLE, &message);
            linked.send_to_client(RELIABLE, &message);
            let (up, down) = linked.run_frame();
            at_server.extend(up);
            at_client.extend(down);
        }
        let (up, down) = linked.run_frames(3_000);
        at_server.extend(up);
        at_client.extend(down);
        for seen in [at_server, at_client] {
            let contents = contents(&seen);
            assert_eq!(contents.len(), 100, "seed {seed}");
            for (bytes, number) in contents.into_iter().zip(0..) {
                assert_eq!(bytes, vec![number; 1 + usize::from(number % 7) * 400], "seed {seed}");
            }
        }
    }
}

#[test]
fn reliable_messages_keep_their_order_when_the_link_gets_better_and_worse() {
    let profiles = [LinkProfile::rtt(300), LinkProfile::perfect(), LinkProfile::rtt(40), LinkProfile::in_process()];
    let mut linked = Linked::connected(1, LinkProfile::perfect());
    let mut seen = Vec::new();
    for number in 0..200_u8 {
        if number % 5 == 0 {
            linked.set_profile(profiles[usize::from(number / 5) % profiles.len()]);
        }
        linked.send_to_server(RELIABLE, &[number]);
        // Now and then nobody reads for a while, so that what was delivered meets what is on its way.
        if number % 3 == 0 {
            seen.extend(linked.run_frame().0);
        } else {
            linked.now += FRAME;
            linked.client_stage();
        }
    }
    seen.extend(linked.run_frames(40).0);
    let expected: Vec<[u8; 1]> = (0..200).map(|number| [number]).collect();
    assert_eq!(contents(&seen), expected);
}

#[test]
fn reliable_messages_on_their_way_fill_the_queue() {
    let settings = DriverSettings { queue_messages: 3, ..DriverSettings::default() };
    let mut linked = Linked::connected_with(1, presets::RTT60, settings);
    for _ in 0..3 {
        linked.send_to_server(RELIABLE, b"x");
    }
    let send = |linked: &mut Linked| linked.client.send(linked.to_server, RELIABLE, b"x");
    linked.run_frame();
    assert_eq!(send(&mut linked), Err(SendError::QueueFull), "on their way");
    let (at_server, _) = linked.run_frame();
    assert_eq!(contents(&at_server).len(), 3);
    assert_eq!(send(&mut linked), Ok(()), "read, and the client has heard so");
}

#[test]
fn a_close_comes_after_everything_reliable_that_was_sent_before() {
    let mut linked = Linked::connected(5, LinkProfile::rtt(60).with_loss_percent(50.0));
    for number in 0..10 {
        linked.send_to_client(RELIABLE, &[number]);
    }
    let reason = CloseReason::new(7, "over");
    linked.server.disconnect(linked.to_client.unwrap(), reason.clone());
    linked.network.deliver_at(linked.now);
    let (_, at_client) = linked.run_frames(200);
    let connection = linked.to_server;
    let mut expected: Vec<_> = (0..10).map(|number| received(connection, RELIABLE, &[number])).collect();
    expected.push(DriverEvent::Disconnected { connection, cause: DisconnectCause::ClosedByRemote(reason) });
    assert!(at_client.into_iter().map(|(_, event)| event).eq(expected));
}

#[test]
fn an_unreliable_message_that_overtakes_the_acceptance_is_lost() {
    let slow = LinkProfile { down: LinkConditions::delayed(30), ..LinkProfile::perfect() };
    let deaf = LinkConditions { loss: Loss::Periodic { every: 1 }, ..slow.down };
    let mut linked = Linked::connecting(1, LinkProfile { down: deaf, ..slow });
    linked.now += FRAME;
    assert!(matches!(linked.server_stage()[..], [(_, DriverEvent::Accepted { .. })]));
    linked.set_profile(slow);
    linked.send_to_client(Pipeline::Unreliable, b"early");
    linked.send_to_client(RELIABLE, b"in order");
    let (_, at_client) = linked.run_frames(20);
    let events: Vec<_> = at_client.into_iter().map(|(_, event)| event).collect();
    let connected = DriverEvent::Connected { connection: linked.to_server };
    assert_eq!(events, [connected, received(linked.to_server, RELIABLE, b"in order")]);
    // It still left its sender's queue.
    for _ in 0..2_000 {
        linked.send_to_client(Pipeline::Unreliable, b"later");
        linked.run_frame();
    }
    assert_eq!(linked.server.stats().unreliable_dropped, 0);
}

#[test]
fn room_taken_by_a_message_that_overtook_the_acceptance_is_given_back() {
    let settings = DriverSettings { queue_messages: 1, ..DriverSettings::default() };
    let slow = LinkProfile { down: LinkConditions::delayed(30), ..LinkProfile::perfect() };
    let mut linked = Linked::connecting_with(1, slow, settings);
    linked.now += FRAME;
    linked.server_stage();
    // On a link that has become perfect, the message is in its sender's queue until it is read.
    linked.set_profile(LinkProfile::perfect());
    linked.send_to_client(Pipeline::Unreliable, b"early");
    let (_, at_client) = linked.run_frames(3);
    assert!(linked.is_connected);
    assert_eq!(contents(&at_client).len(), 0);
    linked.run_frame();
    linked.send_to_client(Pipeline::Unreliable, b"later");
    assert_eq!(linked.server.stats().unreliable_dropped, 0);
    assert_eq!(contents(&linked.run_frame().1), [b"later"]);
}

#[test]
fn a_cut_stops_retransmissions_until_it_ends() {
    let mut linked = Linked::connected(1, LinkProfile::perfect().with_periodic_loss(1));
    linked.send_to_server(RELIABLE, b"lost");
    linked.network.cut(linked.client.number(), Direction::ToServer, true);
    linked.set_profile(presets::RTT60);
    linked.send_to_server(RELIABLE, b"held");
    assert_eq!(linked.run_frames(100).0, []);
    linked.network.cut(linked.client.number(), Direction::ToServer, false);
    let (at_server, _) = linked.run_frames(20);
    assert_eq!(contents(&at_server), [b"lost", b"held"]);
}

#[test]
fn what_is_on_its_way_when_a_cut_begins_arrives() {
    let mut linked = Linked::connected(1, presets::RTT60);
    linked.send_to_server(Pipeline::Unreliable, b"before");
    linked.network.cut(linked.client.number(), Direction::ToServer, true);
    linked.send_to_server(Pipeline::Unreliable, b"after");
    assert_eq!(contents(&linked.run_frames(10).0), [b"before"]);
}

#[test]
fn a_request_on_its_way_to_a_server_that_goes_away_is_repeated_elsewhere() {
    let mut linked = Linked::connecting(1, presets::RTT60);
    drop(std::mem::replace(&mut linked.server, linked.network.driver()));
    linked.server.listen(address()).unwrap();
    linked.run_frames(20);
    assert!(linked.is_connected);
}

#[test]
fn a_client_that_is_dropped_while_its_last_words_are_lost_is_heard_in_the_end() {
    let mut linked = Linked::connected(1, LinkProfile::rtt(60).with_periodic_loss(1));
    linked.send_to_server(RELIABLE, b"last words");
    let number = linked.client.number();
    linked.client = linked.network.driver();
    for _ in 0..50 {
        assert_eq!(linked.run_frame().0, []);
    }
    linked.network.set_profile(number, presets::RTT60).unwrap();
    let (at_server, _) = linked.run_frames(30);
    let connection = linked.to_client.unwrap();
    let cause = DisconnectCause::ClosedByRemote(CloseReason::default());
    let events: Vec<_> = at_server.into_iter().map(|(_, event)| event).collect();
    assert_eq!(
        events,
        [received(connection, RELIABLE, b"last words"), DriverEvent::Disconnected { connection, cause }]
    );
    assert_eq!(linked.network.profile(number), None, "and forgotten");
}

#[test]
fn a_server_hears_that_the_client_it_accepts_is_gone() {
    let network = InProcessNetwork::new();
    let (mut server, mut client) = (network.driver(), network.driver());
    server.listen(address()).unwrap();
    network.set_profile(client.number(), presets::RTT60).unwrap();
    let mut now = Duration::ZERO;
    client.connect(address(), now).unwrap();
    client.flush(now);
    network.deliver();
    drop(client);
    let mut events = Vec::new();
    for _ in 0..10 {
        now += FRAME;
        events.extend(poll(&mut server, now));
        server.flush(now);
        network.deliver();
    }
    let [DriverEvent::Accepted { connection }, DriverEvent::Disconnected { connection: closed, .. }] = events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!(connection, closed);
}

#[test]
fn injecting_into_a_stream_that_is_stuck_is_bounded() {
    let linked = Linked::connected(1, LinkProfile::perfect().with_periodic_loss(1));
    let inject = || {
        let injected = linked.network.inject(linked.client.number(), Direction::ToServer, RELIABLE, vec![1]);
        linked.network.deliver();
        injected
    };
    for _ in 0..limits::MAX_INJECTED_MESSAGES {
        assert_eq!(inject(), Ok(()));
    }
    assert_eq!(inject(), Err(SendError::QueueFull));
}

//! Messages on the three pipelines: sizes, order, loss, narrow links.

use ghostline_transport::{
    DisconnectCause, Driver, DriverEvent, LinkConditions, LinkProfile, Pipeline, QuicSettings, SendError, limits,
};

use crate::harness::{World, number_of, numbered};

const PIPELINES: [Pipeline; 3] = [Pipeline::Unreliable, Pipeline::UnreliableFragmented, Pipeline::ReliableOrdered];

#[test]
fn messages_of_every_size_travel_both_ways_on_every_pipeline() {
    let (mut world, to_client, to_server) = World::connected();
    for pipeline in PIPELINES {
        let limit = match pipeline {
            Pipeline::Unreliable => limits::DEFAULT_MESSAGE_BYTES,
            Pipeline::UnreliableFragmented => limits::MAX_FRAGMENTED_BYTES,
            Pipeline::ReliableOrdered => limits::MAX_RELIABLE_BYTES,
        };
        for length in [0, 1, 200, limit - 1, limit] {
            let message = numbered(7, length);
            world.server.driver.send(to_client, pipeline, &message).unwrap();
            world.clients[0].driver.send(to_server, pipeline, &message).unwrap();
            world.ticks(60);
            assert_eq!(world.clients[0].received(), [(pipeline, &message[..])], "{length}");
            assert_eq!(world.server.received(), [(pipeline, &message[..])], "{length}");
            world.clients[0].take();
            world.server.take();
        }
        let too_large = Err(SendError::TooLarge { limit, bytes: limit + 1 });
        assert_eq!(world.server.driver.send(to_client, pipeline, &vec![0; limit + 1]), too_large);
    }
}

#[test]
fn a_datagram_of_the_default_size_is_one_packet_from_the_first_tick_on() {
    let (mut world, to_client, _) = World::connected();
    world.network.record(true);
    world.server.driver.send(to_client, Pipeline::Unreliable, &[1; limits::DEFAULT_MESSAGE_BYTES]).unwrap();
    world.server.driver.flush(world.now);
    let sent = world.network.take_recorded();
    assert_eq!(sent.len(), 1);
    assert!(sent[0].bytes.len() <= usize::from(limits::MIN_MTU_BYTES));
}

#[test]
fn a_message_larger_than_the_path_carries_travels_in_fragments() {
    let mut settings = QuicSettings::default();
    settings.driver.max_message_bytes = limits::MAX_MESSAGE_BYTES;
    let (mut world, to_client, _) = World::connected_with(settings);
    let message = numbered(3, limits::MAX_MESSAGE_BYTES);
    world.server.driver.send(to_client, Pipeline::Unreliable, &message).unwrap();
    world.ticks(3);
    assert_eq!(world.clients[0].received(), [(Pipeline::Unreliable, &message[..])]);
}

#[test]
fn order_is_kept_and_nothing_reliable_is_lost_at_33_percent_loss() {
    let (mut world, to_client, to_server) = World::connected();
    world.profile(LinkProfile::rtt(60).with_loss_percent(33.0).with_jitter_ms(20));
    let (mut received, mut unreliable) = (Vec::new(), 0);
    for number in 0..600 {
        world.server.driver.send(to_client, Pipeline::ReliableOrdered, &numbered(number, 40)).unwrap();
        world.server.driver.send(to_client, Pipeline::Unreliable, &numbered(number, 300)).unwrap();
        world.clients[0].driver.send(to_server, Pipeline::Unreliable, &numbered(number, 60)).unwrap();
        world.tick();
    }
    world.ticks(300);
    for (pipeline, bytes) in world.clients[0].received() {
        match pipeline {
            Pipeline::ReliableOrdered => received.push(number_of(bytes)),
            _ => unreliable += 1,
        }
    }
    assert_eq!(received, (0..600).collect::<Vec<_>>());
    assert!((330..=470).contains(&unreliable), "two of three datagrams arrive: {unreliable}");
    let up = world.server.received().len();
    assert!((330..=470).contains(&up), "in both directions: {up}");
}

#[test]
fn a_large_fragmented_message_arrives_whole_or_not_at_all() {
    let (mut world, to_client, _) = World::connected();
    world.profile(LinkProfile::rtt(20).with_loss_percent(5.0));
    for number in 0..200 {
        world.server.driver.send(to_client, Pipeline::UnreliableFragmented, &numbered(number, 5_000)).unwrap();
        world.tick();
    }
    world.ticks(20);
    let received = world.clients[0].received();
    assert!((100..200).contains(&received.len()), "five fragments each at 5 %: {}", received.len());
    for (pipeline, bytes) in received {
        assert_eq!(pipeline, Pipeline::UnreliableFragmented);
        assert_eq!(bytes, numbered(number_of(bytes), 5_000));
    }
}

#[test]
fn half_a_megabyte_of_reliable_messages_leaves_the_snapshots_their_rate() {
    let (mut world, to_client, _) = World::connected();
    world.profile(LinkProfile::rtt(60));
    for number in 0..62 {
        world.server.driver.send(to_client, Pipeline::ReliableOrdered, &numbered(number, 8_191)).unwrap();
    }
    let mut reliable = 0;
    for tick in 0..240 {
        world.server.driver.send(to_client, Pipeline::Unreliable, &numbered(tick, 1_000)).unwrap();
        world.tick();
        let events = world.clients[0].take();
        let datagrams = events
            .iter()
            .filter(|event| matches!(event, DriverEvent::Received { pipeline: Pipeline::Unreliable, .. }))
            .count();
        reliable += events.len() - datagrams;
        assert!(tick < 6 || datagrams == 1, "a snapshot in every tick, also in tick {tick}");
    }
    assert_eq!(reliable, 62, "and the reliable ones have all arrived");
}

#[test]
fn on_half_the_bandwidth_neither_commands_nor_reliable_messages_starve() {
    let (mut world, to_client, to_server) = World::connected();
    let mut profile = LinkProfile::rtt(60);
    // 60 snapshots of 1,000 bytes a second are wanted.
    profile.down = LinkConditions { bandwidth_bytes_per_second: Some(32_000), ..LinkConditions::delayed(30) };
    profile.up = profile.down;
    world.profile(profile);
    let seconds = 20;
    for tick in 0..60 * seconds {
        world.server.driver.send(to_client, Pipeline::Unreliable, &numbered(tick, 1_000)).unwrap();
        if tick % 30 == 0 {
            world.server.driver.send(to_client, Pipeline::ReliableOrdered, &numbered(tick, 100)).unwrap();
        }
        world.clients[0].driver.send(to_server, Pipeline::Unreliable, &numbered(tick, 40)).unwrap();
        world.tick();
    }
    let statistics = world.server.driver.statistics(to_client).unwrap();
    world.ticks(120);
    let down = world.clients[0].received();
    let reliable = down.iter().filter(|(pipeline, _)| *pipeline == Pipeline::ReliableOrdered).count();
    assert_eq!(reliable, seconds * 2, "{statistics:?}");
    let snapshots = down.len() - reliable;
    assert!(snapshots > 12 * seconds, "{snapshots} snapshots, {statistics:?}");
    let commands = world.server.received().len();
    assert!(commands > 40 * seconds, "{commands} commands");
    assert!(statistics.brakes_for_delay + statistics.brakes_for_loss > 0);
    assert!(!world.server.events.iter().any(|event| matches!(event, DriverEvent::Disconnected { .. })));
}

#[test]
fn a_full_reliable_queue_says_so_and_a_full_unreliable_one_drops() {
    let mut settings = QuicSettings::default();
    settings.driver.queue_messages = 10;
    let (mut world, to_client, _) = World::connected_with(settings);
    let driver = &mut world.server.driver;
    for _ in 0..10 {
        assert_eq!(driver.send(to_client, Pipeline::ReliableOrdered, b"x"), Ok(()));
        assert_eq!(driver.send(to_client, Pipeline::Unreliable, b"x"), Ok(()));
    }
    assert_eq!(driver.send(to_client, Pipeline::ReliableOrdered, b"x"), Err(SendError::QueueFull));
    assert_eq!(driver.send(to_client, Pipeline::Unreliable, b"x"), Ok(()));
    assert_eq!(driver.driver_statistics().unwrap().unreliable_dropped.by_queue, 1);
    world.tick();
    assert_eq!(world.server.driver.send(to_client, Pipeline::ReliableOrdered, b"x"), Ok(()));
}

#[test]
fn corrupted_and_duplicated_packets_are_dropped_and_counted() {
    let (mut world, to_client, _) = World::connected();
    let bad = LinkConditions { corrupt_percent: 20.0, duplicate_percent: 20.0, ..LinkConditions::delayed(10) };
    world.profile(LinkProfile::symmetric(bad));
    for number in 0..300 {
        world.server.driver.send(to_client, Pipeline::ReliableOrdered, &numbered(number, 50)).unwrap();
        world.server.driver.send(to_client, Pipeline::Unreliable, &numbered(number, 50)).unwrap();
        world.tick();
    }
    world.ticks(120);
    let received = world.clients[0].received();
    let of =
        |wanted| received.iter().filter(move |(pipeline, _)| *pipeline == wanted).map(|(_, bytes)| number_of(bytes));
    assert_eq!(of(Pipeline::ReliableOrdered).collect::<Vec<_>>(), (0..300).collect::<Vec<_>>());
    let mut unreliable: Vec<_> = of(Pipeline::Unreliable).collect();
    let count = unreliable.len();
    unreliable.dedup();
    assert_eq!(unreliable.len(), count, "none comes twice");
    assert!(count < 300);
    for (_, bytes) in &received {
        assert_eq!(*bytes, numbered(number_of(bytes), 50));
    }
    let stats = world.clients[0].driver.driver_statistics().unwrap();
    assert!(stats.packets_discarded + stats.packets_stray > 50, "{stats:?}");
}

#[test]
fn a_link_that_is_cut_for_three_seconds_goes_on_where_it_was() {
    let (mut world, to_client, _) = World::connected();
    let ip = crate::harness::client_ip(0);
    let cut = |world: &World, is_cut| {
        for direction in [ghostline_transport::Direction::ToServer, ghostline_transport::Direction::ToClient] {
            world.network.cut(ip, direction, is_cut);
        }
    };
    for number in 0..360 {
        match number {
            60 => cut(&world, true),
            240 => cut(&world, false),
            _ => {}
        }
        world.server.driver.send(to_client, Pipeline::ReliableOrdered, &numbered(number, 50)).unwrap();
        world.server.driver.send(to_client, Pipeline::Unreliable, &numbered(number, 500)).unwrap();
        world.tick();
        if number == 200 {
            assert!(world.server.driver.statistics(to_client).unwrap().is_silent);
            assert!(world.server.driver.driver_statistics().unwrap().unreliable_dropped.by_silence > 0);
        }
    }
    world.ticks(300);
    let received = world.clients[0].received();
    let reliable: Vec<_> = received
        .iter()
        .filter(|(pipeline, _)| *pipeline == Pipeline::ReliableOrdered)
        .map(|(_, bytes)| number_of(bytes))
        .collect();
    assert_eq!(reliable, (0..360).collect::<Vec<_>>());
    assert!(
        !world.clients[0]
            .events
            .iter()
            .any(|event| { matches!(event, DriverEvent::Disconnected { cause: DisconnectCause::Timeout, .. }) })
    );
}

#[test]
fn sides_that_both_send_in_each_tick_send_no_packets_for_acknowledgements_alone() {
    let (mut world, to_client, to_server) = World::connected();
    world.profile(LinkProfile::rtt(60));
    let talk = |world: &mut World, messages: usize| {
        for number in 0..messages {
            world.server.driver.send(to_client, Pipeline::Unreliable, &numbered(number, 300)).unwrap();
            world.clients[0].driver.send(to_server, Pipeline::Unreliable, &numbered(number, 60)).unwrap();
            world.tick();
        }
    };
    // By then probes for the size of the path and fresh connection ids are over, and the round trip is known.
    talk(&mut world, 120);
    let counts =
        |world: &World| [&world.server, &world.clients[0]].map(|side| side.driver.driver_statistics().unwrap());
    let before = counts(&world);
    talk(&mut world, 600);
    for (before, after) in before.into_iter().zip(counts(&world)) {
        let packets = after.packets_sent - before.packets_sent;
        assert!((600..=606).contains(&packets), "{packets} packets for 600 messages");
        assert_eq!(after.packets_of_acks_alone, before.packets_of_acks_alone);
    }
    // A side that has nothing to say does acknowledge, and that is counted.
    let before = counts(&world);
    for number in 0..60 {
        world.server.driver.send(to_client, Pipeline::Unreliable, &numbered(number, 300)).unwrap();
        world.tick();
    }
    let [server, client] = counts(&world);
    assert_eq!(server.packets_of_acks_alone, before[0].packets_of_acks_alone);
    assert!(client.packets_of_acks_alone > before[1].packets_of_acks_alone + 10);
    let statistics = world.clients[0].driver.statistics(to_server).unwrap();
    assert_eq!(statistics.packets_of_acks_alone, client.packets_of_acks_alone);
}

#[test]
fn acknowledgements_wait_over_frames_without_a_tick_for_the_packet_of_the_next() {
    let (mut world, to_client, to_server) = World::connected();
    world.profile(LinkProfile::rtt(60));
    let talk = |world: &mut World, frames: usize| {
        for frame in 0..frames {
            // Both sides tick in every second frame, never in the same one.
            if frame % 2 == 0 {
                world.server.driver.send(to_client, Pipeline::Unreliable, &numbered(frame, 300)).unwrap();
            } else {
                world.clients[0].driver.send(to_server, Pipeline::Unreliable, &numbered(frame, 60)).unwrap();
            }
            world.tick();
        }
    };
    talk(&mut world, 240);
    let counts =
        |world: &World| [&world.server, &world.clients[0]].map(|side| side.driver.driver_statistics().unwrap());
    let before = counts(&world);
    talk(&mut world, 600);
    for (before, after) in before.into_iter().zip(counts(&world)) {
        assert_eq!(after.packets_of_acks_alone, before.packets_of_acks_alone);
        let packets = after.packets_sent - before.packets_sent;
        assert!((300..=306).contains(&packets), "{packets} packets for 300 messages");
    }
}

#[test]
fn every_number_of_the_budget_can_be_read() {
    let (mut world, to_client, _) = World::connected();
    world.profile(LinkProfile::rtt(60));
    for number in 0..120 {
        for _ in 0..40 {
            world.server.driver.send(to_client, Pipeline::Unreliable, &numbered(number, 1_000)).unwrap();
        }
        world.server.driver.send(to_client, Pipeline::ReliableOrdered, &numbered(number, 60_000)).ok();
        world.tick();
    }
    let statistics = world.server.driver.statistics(to_client).unwrap();
    let all = world.server.driver.driver_statistics().unwrap();
    assert!((60..140).contains(&statistics.round_trip.as_millis()), "{statistics:?}");
    assert!((60..140).contains(&statistics.usual_round_trip.as_millis()), "{statistics:?}");
    assert!(statistics.budget_bytes_per_second >= limits::MIN_RATE, "{statistics:?}");
    assert!((limits::MIN_BURST_BYTES..=limits::MAX_BURST_BYTES).contains(&statistics.budget_burst_bytes));
    assert!(statistics.budget_unreliable_bytes <= statistics.budget_burst_bytes, "{statistics:?}");
    assert!(statistics.budget_reliable_bytes <= statistics.budget_burst_bytes, "{statistics:?}");
    assert!(statistics.arriving_bytes_per_second > limits::MIN_RATE, "{statistics:?}");
    assert!(statistics.bytes_acknowledged > 0 && statistics.bytes_acknowledged <= statistics.bytes_sent);
    assert!(statistics.largest_packet_bytes >= limits::MIN_MTU_BYTES, "{statistics:?}");
    assert!(statistics.unreliable_dropped.by_budget > 100, "{statistics:?}");
    assert_eq!(statistics.unreliable_dropped, all.unreliable_dropped, "of one connection and of all");
    assert!(statistics.reliable_waiting_bytes > 100_000, "{statistics:?}");
    assert!(all.message_bytes_sent > 120 * 40_000 && all.bytes_sent >= statistics.bytes_sent, "{all:?}");
    assert!(!statistics.is_silent && statistics.keep_alives_sent == 0, "{statistics:?}");
    for direction in [ghostline_transport::Direction::ToServer, ghostline_transport::Direction::ToClient] {
        world.network.cut(crate::harness::client_ip(0), direction, true);
    }
    for number in 0..180 {
        world.server.driver.send(to_client, Pipeline::Unreliable, &numbered(number, 1_000)).unwrap();
        world.tick();
    }
    let statistics = world.server.driver.statistics(to_client).unwrap();
    assert!(statistics.is_silent && statistics.silent_for.as_millis() > 1_000, "{statistics:?}");
    assert!(statistics.keep_alives_sent > 0 && statistics.unreliable_dropped.by_silence > 60, "{statistics:?}");
}

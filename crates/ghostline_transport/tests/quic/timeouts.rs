//! How connections end by themselves.

use std::time::Duration;

use ghostline_transport::{
    Direction, DisconnectCause, Driver, DriverEvent, LinkProfile, Pipeline, QuicSettings, limits,
};

use crate::harness::{TICK, World, client_ip};

fn ticks(duration: Duration) -> usize {
    duration.as_nanos().div_ceil(TICK.as_nanos()) as usize
}

#[test]
fn a_server_that_is_not_there_fails_at_the_deadline_and_not_before() {
    let mut world = World::new(1);
    let connection = world.clients[0].driver.connect("127.0.0.9:1".parse().unwrap(), world.now).unwrap();
    world.ticks(ticks(Duration::from_millis(9_900)));
    assert_eq!(world.clients[0].events, []);
    world.ticks(ticks(Duration::from_millis(200)));
    let cause = DisconnectCause::MaxConnectionAttempts;
    assert_eq!(world.clients[0].events, [DriverEvent::Disconnected { connection, cause }]);
    assert!(world.network.undelivered() > 10, "it was tried more than once");
}

#[test]
fn the_deadline_is_the_product_of_two_settings() {
    let mut settings = QuicSettings::default();
    settings.driver.connect_timeout_ms = 200;
    settings.driver.max_connect_attempts = 3;
    let mut world = World::with(1, settings);
    world.clients[0].driver.connect("127.0.0.9:1".parse().unwrap(), world.now).unwrap();
    world.ticks(ticks(Duration::from_millis(590)));
    assert_eq!(world.clients[0].events, []);
    world.ticks(3);
    assert_eq!(world.clients[0].events.len(), 1);
}

#[test]
fn attempts_go_on_until_the_deadline_even_if_connections_time_out_sooner() {
    let mut settings = QuicSettings::default();
    settings.driver.connect_timeout_ms = 20_000;
    settings.driver.max_connect_attempts = 1;
    settings.driver.disconnect_timeout_ms = 1_000;
    let mut world = World::with(1, settings);
    let connection = world.clients[0].driver.connect("127.0.0.9:1".parse().unwrap(), world.now).unwrap();
    world.ticks(ticks(Duration::from_millis(19_900)));
    assert_eq!(world.clients[0].events, []);
    assert!(world.network.undelivered() > 5, "{}", world.network.undelivered());
    world.ticks(ticks(Duration::from_millis(200)));
    let cause = DisconnectCause::MaxConnectionAttempts;
    assert_eq!(world.clients[0].events, [DriverEvent::Disconnected { connection, cause }]);
}

#[test]
fn a_peer_that_vanishes_times_out() {
    let (mut world, to_client, _) = World::connected();
    world.clients.clear();
    // The driver said goodbye when it was dropped; that is not heard here.
    let (mut silent, _, to_server) = World::connected();
    silent.network.cut(client_ip(0), Direction::ToServer, true);
    silent.network.cut(client_ip(0), Direction::ToClient, true);
    silent.ticks(ticks(Duration::from_millis(9_400)));
    assert_eq!(silent.clients[0].events, []);
    silent.ticks(ticks(Duration::from_millis(620)));
    let timeout = |connection| DriverEvent::Disconnected { connection, cause: DisconnectCause::Timeout };
    assert_eq!(silent.clients[0].events, [timeout(to_server)]);
    assert_eq!(silent.server.events.len(), 1);
    world.ticks(3);
    assert!(
        matches!(world.server.events[..], [DriverEvent::Disconnected { connection, .. }] if connection == to_client)
    );
}

#[test]
fn an_idle_connection_stays_open_for_an_hour() {
    let (mut world, _, _) = World::connected();
    world.network.record(true);
    for _ in 0..3_600 * 4 {
        world.now += Duration::from_millis(250) - TICK;
        world.tick();
    }
    assert_eq!(world.server.events, []);
    assert_eq!(world.clients[0].events, []);
    let packets = world.network.take_recorded().len();
    assert!((3_600..20 * 3_600).contains(&packets), "signs of life, and no more: {packets}");
}

#[test]
fn a_peer_that_talks_and_acknowledges_nothing_gets_keep_alives_only_and_is_closed() {
    let (mut world, to_client, to_server) = World::connected();
    world.network.cut(client_ip(0), Direction::ToClient, true);
    let begin = world.now;
    let (mut sent_while_silent, mut keep_alives) = (0, 0);
    while world.server.events.iter().all(|event| matches!(event, DriverEvent::Received { .. })) {
        let _queue_full = world.server.driver.send(to_client, Pipeline::ReliableOrdered, &[1; 5_000]);
        world.server.driver.send(to_client, Pipeline::Unreliable, &[2; 1_000]).unwrap();
        let _over = world.clients[0].driver.send(to_server, Pipeline::Unreliable, &[3; 50]);
        let silent = world.now - begin > Duration::from_millis(limits::SILENCE_MS + 100);
        let before = world.server.driver.driver_statistics().unwrap().packets_sent;
        let statistics = world.server.driver.statistics(to_client);
        keep_alives = statistics.map_or(keep_alives, |statistics| statistics.keep_alives_sent);
        world.tick();
        sent_while_silent +=
            if silent { world.server.driver.driver_statistics().unwrap().packets_sent - before } else { 0 };
        assert!(world.now - begin < Duration::from_secs(11), "it is closed at the idle time-out");
    }
    assert!(world.now - begin > Duration::from_millis(9_900));
    let timeout = DriverEvent::Disconnected { connection: to_client, cause: DisconnectCause::Timeout };
    assert_eq!(world.server.events.last(), Some(&timeout));
    // What the client sends is acknowledged, half of it in packets of their own; and there are two signs of life per second.
    assert!(sent_while_silent < 350, "acknowledgements and signs of life in nine seconds: {sent_while_silent}");
    assert!((14..=20).contains(&keep_alives), "{keep_alives} signs of life in nine seconds");
    assert!(world.server.driver.driver_statistics().unwrap().unreliable_dropped.by_silence > 400);
}

#[test]
fn a_round_trip_of_a_second_and_a_half_is_no_silence() {
    let (mut world, to_client, _) = World::connected();
    world.profile(LinkProfile::rtt(900));
    for _ in 0..600 {
        world.server.driver.send(to_client, Pipeline::Unreliable, &[2; 100]).unwrap();
        world.tick();
    }
    world.ticks(60);
    let received = world.clients[0].received().len();
    assert!(received > 590, "{received}");
}

/// When and why each side's connection ended, in ticks from now on: the server's, and the first client's.
fn ends(world: &mut World, limit: usize) -> [Option<(usize, DisconnectCause)>; 2] {
    let mut ends = [None, None];
    for tick in 1..=limit {
        world.tick();
        for (end, side) in ends.iter_mut().zip([&mut world.server, &mut world.clients[0]]) {
            for event in side.take() {
                if let DriverEvent::Disconnected { cause, .. } = event {
                    assert!(end.is_none(), "an end is told once");
                    *end = Some((tick, cause));
                }
            }
        }
    }
    ends
}

#[test]
fn silence_counts_from_what_was_heard_last_and_is_told_where_the_way_is_open() {
    for dead in [Direction::ToServer, Direction::ToClient] {
        let (mut world, ..) = World::connected();
        world.ticks(100);
        world.network.cut(client_ip(0), dead, true);
        // Both say nothing but signs of life, two per second, so that only the side that hears nothing knows.
        let [at_server, at_client] = ends(&mut world, 620).map(Option::unwrap);
        for (tick, cause) in [&at_server, &at_client] {
            assert_eq!(*cause, DisconnectCause::Timeout, "{dead:?}");
            assert!((565..=604).contains(tick), "{dead:?}: after {tick} ticks");
        }
        assert!(at_server.0.abs_diff(at_client.0) <= 2, "{dead:?}: {at_server:?}, {at_client:?}");
    }
}

#[test]
fn a_program_that_stood_still_for_a_minute_keeps_its_connections_if_long_frames_count_for_little() {
    for (max_frame_time_ms, is_kept) in [(100, true), (0, false)] {
        let mut settings = QuicSettings::default();
        settings.driver.max_frame_time_ms = max_frame_time_ms;
        let (mut world, ..) = World::connected_with(settings);
        world.now += Duration::from_secs(60);
        let ends = ends(&mut world, 700);
        assert_eq!(ends == [None, None], is_kept, "{ends:?}");
    }
}

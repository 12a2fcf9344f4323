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
    assert!(world.network.undelivered() > 20, "{}", world.network.undelivered());
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
    silent.ticks(ticks(Duration::from_millis(1_700)));
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

//! Two runs with one seed: the same events, and packets of the same sizes at the same times.

use std::net::SocketAddr;
use std::time::Duration;

use ghostline_transport::{CloseReason, Driver, DriverEvent, LinkProfile, Pipeline, QuicSettings};

use crate::harness::{World, client_ip, numbered};

type Packets = Vec<(Duration, SocketAddr, SocketAddr, usize)>;

/// Four clients come, talk through loss, and one goes.
fn run(seed: u64) -> (Packets, Vec<String>, Vec<Vec<u8>>) {
    let mut world = World::with(4, QuicSettings { seed: Some(seed), ..QuicSettings::default() });
    world.network.record(true);
    world.profile(LinkProfile::rtt(60).with_loss_percent(5.0).with_jitter_ms(10));
    for client in 0..4 {
        world.connect(client);
        world.ticks(7);
    }
    world.ticks(60);
    for number in 0..120 {
        for to_client in world.server.accepted() {
            let size = 100 + number * 37 % 900;
            let _closed = world.server.driver.send(to_client, Pipeline::Unreliable, &numbered(number, size));
            if number % 20 == 0 {
                let fragmented = Pipeline::UnreliableFragmented;
                let _closed = world.server.driver.send(to_client, fragmented, &numbered(number, 6_000));
                let reliable = Pipeline::ReliableOrdered;
                let _closed = world.server.driver.send(to_client, reliable, &numbered(number, 3_000));
            }
        }
        if number == 80 {
            let first = world.server.accepted()[0];
            world.server.driver.disconnect(first, CloseReason::new(4, "enough"));
        }
        if number == 40 {
            world.network.set_profile(client_ip(2), LinkProfile::rtt(200).with_loss_percent(33.0)).unwrap();
        }
        world.tick();
    }
    let packets = world.network.take_recorded();
    let bytes = packets.iter().map(|packet| packet.bytes.clone()).collect();
    let packets = packets.into_iter().map(|packet| (packet.at, packet.from, packet.to, packet.bytes.len()));
    let sides = world.clients.iter().chain([&world.server]);
    let events = sides.flat_map(|side| &side.events).map(|event| match event {
        DriverEvent::Received { connection, pipeline, bytes } => format!("{connection} {pipeline:?} {bytes:?}"),
        other => format!("{other:?}"),
    });
    (packets.collect(), events.collect(), bytes)
}

#[test]
fn runs_with_one_seed_have_packets_of_equal_sizes_at_equal_times() {
    let (packets, events, bytes) = run(1);
    assert!(packets.len() > 500 && events.len() > 300, "{} {}", packets.len(), events.len());
    let again = run(1);
    for (place, (one, other)) in packets.iter().zip(&again.0).enumerate() {
        assert_eq!(one, other, "packet {place}");
    }
    assert_eq!(packets.len(), again.0.len());
    assert_eq!(events, again.1);
    assert_ne!(bytes, again.2, "keys are never the same");
}

#[test]
fn runs_with_different_seeds_differ() {
    assert_ne!(run(1).0, run(2).0);
}

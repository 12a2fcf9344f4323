//! Floods: what a stranger can make a server do and keep. Counted, never timed.

use std::net::SocketAddr;

use ghostline_transport::{Driver, DriverEvent, Pipeline, limits};

use crate::harness::{SERVER, World, server_address};

/// The first packet of a real client, with its connection id changed to be another client's. Its encryption no longer
/// fits, which nobody finds out before the handshake begins.
fn first_packets(count: usize) -> Vec<Vec<u8>> {
    let mut world = World::new(1);
    world.network.record(true);
    world.connect(0);
    world.clients[0].driver.flush(world.now);
    let first = world.network.take_recorded().remove(0).bytes;
    assert_eq!(first.len(), 1_200);
    let renumbered = (0..count).map(|number| {
        let mut bytes = first.clone();
        // Flags, version, length of the id: the id begins at 6.
        bytes[6..10].copy_from_slice(&(number as u32).to_le_bytes());
        bytes
    });
    renumbered.collect()
}

fn stranger(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 1, (number / 250) as u8, (number % 250) as u8], 1_000))
}

#[test]
fn a_flood_of_first_packets_costs_no_more_than_the_bound_per_poll_and_hurts_nobody() {
    let (mut world, to_client, _) = World::connected();
    let flood = first_packets(2_000);
    let before = world.server.driver.driver_statistics().unwrap();
    for tick in 0..10 {
        for (number, packet) in flood.iter().enumerate() {
            world.network.inject(world.now, stranger(number), server_address(), packet);
        }
        let begun = world.server.driver.driver_statistics().unwrap().handshakes;
        world.server.driver.send(to_client, Pipeline::Unreliable, &[tick]).unwrap();
        world.tick();
        let begun = world.server.driver.driver_statistics().unwrap().handshakes - begun;
        assert!(begun <= limits::HANDSHAKES_PER_POLL as u64, "{begun} handshakes in a poll");
    }
    world.ticks(2);
    let stats = world.server.driver.driver_statistics().unwrap();
    assert!(stats.packets_stray - before.packets_stray > 10_000, "most are not even looked at: {stats:?}");
    assert_eq!(stats.accepted, 1);
    assert_eq!(world.clients[0].received().len(), 10, "the connection that exists goes on");
    assert_eq!(world.server.events, []);
}

#[test]
fn strangers_never_get_more_bytes_than_they_sent_times_three() {
    let mut world = World::new(1);
    let mut first = World::new(1);
    first.network.record(true);
    first.connect(0);
    first.clients[0].driver.flush(first.now);
    // A whole valid first packet, from an address that never answers.
    let packet = first.network.take_recorded().remove(0).bytes;
    world.network.record(true);
    world.network.inject(world.now, stranger(0), server_address(), &packet);
    world.ticks(1_200);
    let recorded = world.network.take_recorded();
    let sent: usize =
        recorded.iter().filter(|packet| packet.from == server_address()).map(|packet| packet.bytes.len()).sum();
    assert!(sent > 0, "it was answered");
    assert!(sent <= 3 * packet.len(), "{sent} bytes for {}", packet.len());
    let stats = world.server.driver.driver_statistics().unwrap();
    assert_eq!((stats.handshakes, stats.handshakes_failed, stats.accepted), (1, 1, 0), "and forgotten");
}

#[test]
fn a_flood_of_finished_handshakes_is_let_in_at_a_bounded_pace() {
    let mut world = World::new(200);
    for client in 0..200 {
        world.connect(client);
    }
    let mut most = 0;
    for _ in 0..600 {
        let before = world.server.accepted().len();
        world.tick();
        most = most.max(world.server.accepted().len() - before);
    }
    assert_eq!(world.server.accepted().len(), 200);
    // What begins in one poll may end together with what began in others, but not by much.
    assert!(most <= 2 * limits::HANDSHAKES_PER_POLL, "{most} in one poll");
    assert!(world.clients.iter().all(|client| matches!(client.events[..], [DriverEvent::Connected { .. }])));
}

#[test]
fn ten_thousand_datagrams_in_a_tick_stay_within_the_buffers() {
    let (mut world, _, to_server) = World::connected();
    let mut sent = 0;
    for _ in 0..10_000 {
        sent += usize::from(world.clients[0].driver.send(to_server, Pipeline::Unreliable, &[7; 100]).is_ok());
    }
    assert_eq!(sent, 10_000, "dropping is no error");
    world.ticks(3);
    let received = world.server.received();
    assert!(received.len() * 100 <= limits::DATAGRAM_RECEIVE_BYTES, "{}", received.len());
    let stats = world.clients[0].driver.driver_statistics().unwrap();
    assert_eq!(stats.unreliable_dropped.total() + received.len() as u64, 10_000, "{stats:?}");
}

#[test]
fn garbage_from_strangers_is_counted_and_nothing_else() {
    let (mut world, to_client, _) = World::connected();
    let to_server = SocketAddr::new(SERVER, 7_979);
    let mut state = 1_u32;
    for number in 0..2_000 {
        let mut bytes = vec![0; number % 1_300];
        for byte in &mut bytes {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        }
        world.network.inject(world.now, stranger(number), to_server, &bytes);
    }
    world.server.driver.send(to_client, Pipeline::Unreliable, b"fine").unwrap();
    world.ticks(5);
    assert_eq!(world.server.events, []);
    assert_eq!(world.clients[0].received(), [(Pipeline::Unreliable, &b"fine"[..])]);
    assert!(world.server.driver.driver_statistics().unwrap().packets_stray > 1_500);
}

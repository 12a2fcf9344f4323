//! What connections leave behind when they are gone, and what strangers make a server keep. In bytes, by the allocator of this binary.

use bevy_app::App;
use bevy_ecs::prelude::*;
use ghostline::connection::ResumeToken;
use ghostline::prelude::*;
use ghostline::transport::{
    Driver, DriverEvent, DriverStore, QuicDriver, QuicSettings, SimulatedNetwork, SimulatedSocket,
};
use ghostline_testkit::{FLEET_PORT, FRAME, Fleet, Transport};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::live_bytes;

#[derive(Component, RpcCommand, Clone, Copy)]
struct Ping(u32);

fn game(app: &mut App) {
    app.register_rpc::<Ping>().go_in_game_when_connected().add_systems(
        Simulation,
        |mut commands: Commands, pings: Query<Entity, (With<Ping>, With<ReceiveRpcCommandRequest>)>| {
            for ping in &pings {
                commands.entity(ping).despawn();
            }
        },
    );
}

/// Connects, says something, and leaves, `cycles` times, at every tick of a connection's life.
fn come_and_go(fleet: &mut Fleet, cycles: u32) {
    for cycle in 0..cycles {
        let connection = fleet.connect(0);
        for tick in 0..cycle % 16 {
            if fleet.client(0).network_id().is_some() {
                fleet.client(0).world_mut().spawn((Ping(tick), SendRpcCommandRequest::default()));
                fleet.server().world_mut().spawn((Ping(tick), SendRpcCommandRequest::default()));
            }
            fleet.tick();
        }
        fleet.client(0).world_mut().disconnect(connection, DisconnectReason::ConnectionClose);
        fleet.ticks(12);
        // Every time somebody new.
        fleet.client(0).world_mut().remove_resource::<ResumeToken>();
        assert!(fleet.server().connections().is_empty() && fleet.client(0).connections().is_empty());
    }
}

#[test]
fn connections_that_come_and_go_keep_memory_flat() {
    let soak = std::env::var("GHOSTLINE_SOAK").ok().and_then(|cycles| cycles.parse().ok());
    let cycles = soak.map_or(160, |cycles| if cycles == 1 { 10_000 } else { cycles });
    for transport in [Transport::InProcess, Transport::Quic] {
        let mut fleet = Fleet::builder().plugin(game).transport(transport).build();
        fleet.listen();
        // Buffers grow to what they are used for, and closed sockets are forgotten after a while.
        come_and_go(&mut fleet, 160);
        fleet.ticks(200);
        let before = live_bytes();
        come_and_go(&mut fleet, cycles);
        fleet.ticks(200);
        let grown = live_bytes() - before;
        // Who left is remembered, up to 4,096 of them, in about forty bytes.
        let remembered = i64::from(cycles.min(4_096)) * 64;
        assert!(grown <= remembered, "{transport:?}: {grown} bytes after {cycles} connections");
    }
}

fn driver(network: &SimulatedNetwork, ip: Ipv4Addr, seed: u64) -> QuicDriver<SimulatedSocket> {
    let settings = QuicSettings { seed: Some(seed), ..QuicSettings::default() };
    QuicDriver::new(network.host(IpAddr::V4(ip)), settings).unwrap()
}

/// First packets of a real client, with connection ids of their own.
fn first_packets(to: SocketAddr, count: usize) -> Vec<Vec<u8>> {
    let network = SimulatedNetwork::new(9);
    network.record(true);
    let mut client = driver(&network, Ipv4Addr::new(127, 0, 0, 9), 9);
    client.connect(to, Duration::ZERO).unwrap();
    client.flush(Duration::ZERO);
    let first = network.take_recorded().remove(0).bytes;
    let renumbered = (0..count).map(|number| {
        let mut bytes = first.clone();
        bytes[6..10].copy_from_slice(&(number as u32).to_le_bytes());
        bytes
    });
    renumbered.collect()
}

/// A server whose driver is at hand, and a network on which anybody can speak to it.
fn server_on(network: &SimulatedNetwork) -> Fleet {
    let mut fleet = Fleet::builder().plugin(game).clients(0).build();
    let mut store = DriverStore::new();
    store.register(Box::new(driver(network, Ipv4Addr::LOCALHOST, 1))).unwrap();
    fleet.server().world_mut().reset_driver_store(store).unwrap();
    fleet.server().world_mut().listen(SocketAddr::from((Ipv4Addr::LOCALHOST, FLEET_PORT))).unwrap();
    fleet
}

/// The most that addresses nobody has proven make a server keep, in bytes: stated in `docs/security.md`.
const STATED_BYTES: i64 = 2 << 20;

#[test]
fn addresses_that_nobody_has_proven_make_a_server_keep_no_more_than_is_stated() {
    let endpoint = SocketAddr::from((Ipv4Addr::LOCALHOST, FLEET_PORT));
    let network = SimulatedNetwork::new(5);
    let mut fleet = server_on(&network);
    let strangers: Vec<SocketAddr> =
        (0..200).map(|number| SocketAddr::from(([10, 0, 1, number as u8], 1_000))).collect();
    let flood = first_packets(endpoint, 4_000);
    let mut now = Duration::ZERO;
    // What the network itself keeps of addresses is there before it counts.
    for stranger in &strangers {
        network.inject(now, *stranger, endpoint, &[0]);
    }
    for _ in 0..10 {
        now += FRAME;
        fleet.tick_server(FRAME);
    }
    let before = live_bytes();
    let (mut most, mut sent) = (0, 0);
    for packets in flood.chunks(500).cycle().take(240) {
        for (packet, stranger) in packets.iter().zip(strangers.iter().cycle()) {
            network.inject(now, *stranger, endpoint, packet);
            sent += packet.len();
        }
        now += FRAME;
        fleet.tick_server(FRAME);
        most = most.max(live_bytes() - before);
    }
    assert!(fleet.server().connections().is_empty());
    assert!(sent > 100 << 20, "{sent} bytes");
    assert!(most > 100 << 10, "the flood was read: {most} bytes");
    assert!(most < STATED_BYTES, "{most} bytes are kept");
    // And forgotten.
    for _ in 0..1_300 {
        fleet.tick_server(FRAME);
    }
    let left = live_bytes() - before;
    assert!(left < most / 4, "{left} bytes of {most} are left");
}

/// What a finished handshake makes a server keep at most, in bytes, if nothing is ever said: stated in `docs/security.md`.
const STATED_BYTES_PER_HANDSHAKE: i64 = 96 << 10;

#[test]
fn finished_handshakes_make_a_server_keep_no_more_than_is_stated_for_each() {
    const STRANGERS: usize = 48;
    let endpoint = SocketAddr::from((Ipv4Addr::LOCALHOST, FLEET_PORT));
    let network = SimulatedNetwork::new(5);
    let mut fleet = server_on(&network);
    let mut now = Duration::ZERO;
    // Two rounds: in the first everything grows that is kept for reuse, such as the network's own queues.
    let mut kept = 0;
    for round in 0..2_u8 {
        let before = live_bytes();
        let ip = |number: usize| Ipv4Addr::new(127, 5, round, number as u8);
        let mut strangers: Vec<_> =
            (0..STRANGERS).map(|number| driver(&network, ip(number), number as u64 + 2)).collect();
        for stranger in &mut strangers {
            stranger.connect(endpoint, now).unwrap();
        }
        let mut events = Vec::new();
        for _ in 0..20 {
            now += FRAME;
            for stranger in &mut strangers {
                stranger.poll(now, &mut events);
                stranger.flush(now);
            }
            fleet.tick_server(FRAME);
        }
        let connected = events.iter().filter(|event| matches!(event, DriverEvent::Connected { .. })).count();
        assert_eq!(connected, STRANGERS);
        // With their side gone, and before the server hears of it.
        drop((strangers, events));
        kept = live_bytes() - before;
        for _ in 0..400 {
            fleet.tick_server(FRAME);
            now += FRAME;
        }
        assert!(fleet.server().connections().is_empty(), "whoever says nothing is let go");
    }
    let each = kept / STRANGERS as i64;
    assert!((1 << 10..STATED_BYTES_PER_HANDSHAKE).contains(&each), "{each} bytes are kept for each of {STRANGERS}");
}

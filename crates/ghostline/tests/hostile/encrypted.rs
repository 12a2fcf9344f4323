//! The same attacks inside QUIC's encryption, by a peer with a valid connection; and what somebody outside of it can try.
//! `GHOSTLINE_SOAK` is the number of damaged messages of each kind, 1 stands for 10,000.

use std::time::Duration;

use ghostline::connection::DisconnectReason;
use ghostline::prelude::*;
use ghostline::stats::NetworkStats;
use ghostline_testkit::{LinkConditions, LinkProfile};

use crate::game::*;

/// Damaged messages of each kind.
fn damaged_messages() -> u32 {
    let soak = std::env::var("GHOSTLINE_SOAK").ok().and_then(|messages| messages.parse().ok());
    soak.map_or(200, |messages| if messages == 1 { 10_000 } else { messages })
}

#[test]
fn damaged_messages_of_every_kind_cost_only_their_sender() {
    let mut dice = Dice::new(40);
    let mut arena = Arena::over(SHAPES[2], 40);
    arena.fleet.logs().tolerate("could not be read|dropped a|RPC|messages|decoded|lacks or knows");
    arena.fleet.logs().tolerate(JUMP);
    let (up, down) = (Direction::ToServer, Direction::ToClient);
    let mut ends = 0;
    for (direction, kind) in [(up, MessageKind::Command), (up, MessageKind::Rpc), (down, MessageKind::Snapshot)] {
        let honest = arena.record(direction, kind, 20);
        for number in 0..damaged_messages() {
            let message = if dice.one_in(3) {
                garbage(kind, &mut dice)
            } else {
                damage(&honest[dice.below(honest.len())], &mut dice)
            };
            arena.inject(direction, kind, message);
            if number % 4 == 3 {
                arena.ticks(2);
            }
            if !arena.is_attacker_connected() {
                ends += 1;
                arena.ticks(3);
                arena.assert_honest_client_is_well(&format!("{kind:?}, after message {number}"));
                arena.reconnect();
            }
        }
    }
    arena.ticks(2);
    arena.assert_honest_client_is_well("at the end");
    assert!(ends > 10, "{ends} ends: a malformed RPC ends the connection each time");
}

#[test]
fn a_kind_in_the_wrong_direction_is_dropped_and_counted_and_a_forbidden_rpc_ends_the_connection() {
    let mut arena = Arena::over(SHAPES[2], 41);
    arena.fleet.logs().expect("dropped a message of an unknown kind");
    arena.inject(Direction::ToServer, MessageKind::Snapshot, vec![MessageKind::Snapshot.byte(), 1, 2, 3]);
    arena.inject(Direction::ToServer, MessageKind::Command, vec![250, 1, 2, 3]);
    arena.ticks(3);
    assert_eq!(arena.fleet.server().world().resource::<NetworkStats>().invalid_messages, 2);
    assert!(arena.is_attacker_connected());
    // What the server tells clients, told by one.
    let told = arena.record(Direction::ToClient, MessageKind::Rpc, 20);
    arena.fleet.logs().expect("RPC");
    let mut forged = told[0].clone();
    forged[1..3].copy_from_slice(&[2, 0]);
    arena.inject(Direction::ToServer, MessageKind::Rpc, forged);
    arena.ticks(5);
    assert_eq!(arena.reason_on_server(), Some(DisconnectReason::InvalidRpc));
    arena.assert_honest_client_is_well("after a forged RPC");
}

#[test]
fn packets_of_an_old_session_reach_nobody_after_a_reconnect() {
    let mut arena = Arena::over(SHAPES[2], 42);
    arena.fleet.record_packets();
    arena.record(Direction::ToServer, MessageKind::Rpc, 60);
    let old = arena.fleet.packets();
    assert!(old.len() > 200, "{}", old.len());
    let connection = arena.fleet.client(ATTACKER).connections()[0];
    arena.fleet.client(ATTACKER).world_mut().disconnect(connection, DisconnectReason::ConnectionClose);
    arena.ticks(5);
    arena.reconnect();
    let heard = arena.fleet.server().world().resource::<Heard>().0;
    for packets in old.chunks(20) {
        for packet in packets {
            arena.fleet.inject_packet(packet);
        }
        arena.tick();
    }
    arena.ticks(30);
    assert_eq!(arena.fleet.server().world().resource::<Heard>().0, heard, "nothing of it runs");
    assert_eq!(arena.fleet.server().world().resource::<NetworkStats>().invalid_messages, 0);
    assert!(arena.is_attacker_connected());
    arena.assert_honest_client_is_well("after the replay");
}

#[test]
fn packets_that_come_twice_late_out_of_order_or_damaged_leave_the_worlds_as_they_would_be() {
    let bad = LinkConditions {
        jitter_ms: 40,
        duplicate_percent: 20.0,
        reorder_percent: 20.0,
        corrupt_percent: 5.0,
        ..LinkConditions::delayed(40)
    };
    let mut arena = Arena::over(SHAPES[2], 43);
    for client in [ATTACKER, HONEST] {
        arena.fleet.link(client).set(LinkProfile::symmetric(bad));
    }
    arena.fleet.logs().tolerate(JUMP);
    let before = arena.fleet.server().world().resource::<Heard>().0;
    for _ in 0..60 {
        let chat = (Chat { number: 3, loud: false }, SendRpcCommandRequest::default());
        arena.fleet.client(HONEST).world_mut().spawn(chat);
        arena.ticks(3);
    }
    for client in [ATTACKER, HONEST] {
        arena.fleet.link(client).set(LinkProfile::perfect());
    }
    arena.ticks(60);
    assert_eq!(arena.fleet.server().world().resource::<Heard>().0, before + 60 * 3, "each once");
    arena.fleet.ticks(20);
    for client in [ATTACKER, HONEST] {
        let [held, truth] = arena.rows(client);
        assert_eq!(held, truth);
    }
    let stats = arena.fleet.link(HONEST).stats(Direction::ToServer);
    assert!(stats.duplicated > 20 && stats.reordered > 20 && stats.corrupted > 5, "{stats:?}");
}

#[test]
fn a_flood_of_strangers_costs_the_players_nothing() {
    let mut arena = Arena::over(SHAPES[2], 44);
    arena.fleet.record_packets();
    let strangers = arena.fleet.add_client("stranger");
    arena.fleet.connect(strangers);
    arena.fleet.tick_client(strangers, Duration::from_millis(1));
    let server = arena.fleet.endpoint();
    let first = arena.fleet.packets().into_iter().find(|packet| packet.to == server && packet.bytes.len() == 1_200);
    let mut first = first.expect("a first packet");
    let tick = arena.fleet.server().server_tick().unwrap();
    for round in 0..20_u32 {
        for number in 0..500_u32 {
            // Another address each time, and another connection id.
            first.from =
                std::net::SocketAddr::from(([10, round as u8, (number / 250) as u8, (number % 250) as u8], 1_000));
            first.bytes[6..10].copy_from_slice(&(round * 1_000 + number).to_le_bytes());
            arena.fleet.inject_packet(&first);
        }
        arena.tick();
    }
    assert_eq!(arena.fleet.server().server_tick().unwrap(), tick.add(20), "no tick was lost");
    arena.assert_honest_client_is_well("after the flood");
    assert!(arena.fleet.server().connections().len() >= 2, "nobody who is there is cut off");
}

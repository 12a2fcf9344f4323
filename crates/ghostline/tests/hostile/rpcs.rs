//! Floods, repetitions and wrong ways of RPCs, in process and over QUIC: what the server does, counted, and that the honest client feels nothing.

use crate::game::*;
use ghostline::connection::{DisconnectReason, MAX_INCOMING_RPC_MESSAGES};
use ghostline::ghost::SpawnedGhostEntityMap;
use ghostline::prelude::*;
use ghostline::rpc::{MAX_INCOMING_RPC_BYTES, MAX_RPCS_PER_TICK};
use ghostline::stats::NetworkStats;
use ghostline::wire::limits::MAX_RPC_FRAMES_PER_PACKET;
use ghostline::wire::{BitWriter, begin_packet, push_frame};

const SERVER: Direction = Direction::ToServer;

/// The frame of one RPC as the attacker's client writes it.
fn frame_of<T: bevy_ecs::prelude::Component>(arena: &mut Arena, rpc: T) -> Vec<u8> {
    arena.fleet.link(ATTACKER).record();
    arena.fleet.client(ATTACKER).world_mut().spawn((rpc, SendRpcCommandRequest::default()));
    arena.ticks(2);
    let sent = arena.fleet.link(ATTACKER).recorded();
    let message = sent.into_iter().find(|message| {
        message.direction == SERVER
            && [MessageKind::Rpc, MessageKind::UnreliableRpc].map(MessageKind::byte).contains(&message.bytes[0])
    });
    let bytes = message.expect("the RPC was sent").bytes;
    // The kind, and of an unreliable one the sequence number.
    let header = if bytes[0] == MessageKind::Rpc.byte() { 1 } else { 3 };
    bytes[header..].to_vec()
}

fn packet(frames: &[u8], count: usize) -> Vec<u8> {
    std::iter::once(MessageKind::Rpc.byte()).chain(frames.repeat(count)).collect()
}

fn pings(arena: &mut Arena) -> usize {
    arena.fleet.server().world().resource::<Pings>().0
}

/// How many ticks pass until the server has heard what the honest client says now.
fn ticks_until_heard(arena: &mut Arena) -> usize {
    let before = arena.fleet.server().world().resource::<Heard>().0;
    let said = (Chat { number: 1_000, loud: false }, SendRpcCommandRequest::default());
    arena.fleet.client(HONEST).world_mut().spawn(said);
    for tick in 1..20 {
        arena.tick();
        if arena.fleet.server().world().resource::<Heard>().0.wrapping_sub(before) >= 1_000 {
            return tick;
        }
    }
    panic!("the honest client is not heard");
}

#[test]
fn a_flood_of_the_smallest_rpcs_is_executed_at_a_bounded_pace_and_delays_nobody() {
    for shape in SHAPES {
        let mut arena = Arena::over(shape, 40);
        // A socket's link carries less than the attacker would like.
        arena.fleet.logs().tolerate("an injected message is not sent");
        let ping = frame_of(&mut arena, Ping);
        let usual = ticks_until_heard(&mut arena);
        let flood = packet(&ping, MAX_RPC_FRAMES_PER_PACKET);
        let tick_before = arena.fleet.server().server_tick().unwrap();
        let (mut sent, mut most, mut ticks) = (0, 0, 0);
        for _ in 0..5 {
            while sent < 200 * (ticks / 4 + 1)
                && arena.fleet.link(ATTACKER).try_inject(SERVER, Pipeline::ReliableOrdered, flood.clone())
            {
                sent += 1;
            }
            for _ in 0..4 {
                let before = pings(&mut arena);
                arena.tick();
                most = most.max(pings(&mut arena) - before);
                ticks += 1;
            }
            let delay = ticks_until_heard(&mut arena);
            ticks += delay;
            assert_eq!(delay, usual, "{shape:?}");
        }
        assert!(sent >= 200, "{sent} packets");
        assert!(
            most > MAX_RPCS_PER_TICK / 2 && most < MAX_RPCS_PER_TICK + MAX_RPC_FRAMES_PER_PACKET,
            "{most} in a tick"
        );
        let passed = arena.fleet.server().server_tick().unwrap().ticks_since(tick_before);
        assert_eq!(passed as usize, ticks, "no tick was lost");
        assert!(arena.is_attacker_connected(), "as long as what waits is within its bounds");
        arena.assert_honest_client_is_well("in the flood");
    }
}

#[test]
fn more_rpcs_than_are_read_in_the_long_run_end_the_connection() {
    for order in ORDERS {
        let mut arena = Arena::in_process(order, 41);
        arena.fleet.logs().expect("a connection has sent more RPCs than are read; closing it");
        let ping = frame_of(&mut arena, Ping);
        let flood = packet(&ping, MAX_RPC_FRAMES_PER_PACKET);
        let mut sent = 0;
        for _ in 0..20 {
            for _ in 0..1_000 {
                sent += usize::from(arena.fleet.link(ATTACKER).try_inject(
                    SERVER,
                    Pipeline::ReliableOrdered,
                    flood.clone(),
                ));
            }
            arena.tick();
            if !arena.is_attacker_connected() {
                break;
            }
        }
        arena.ticks(3);
        assert_eq!(arena.reason_on_server(), Some(DisconnectReason::ProtocolError));
        assert!(sent * flood.len() >= MAX_INCOMING_RPC_BYTES || sent >= MAX_INCOMING_RPC_MESSAGES);
        let left = pings(&mut arena);
        arena.ticks(10);
        assert_eq!(pings(&mut arena), left, "nothing of it runs any more");
        arena.assert_honest_client_is_well("after the flood");
        arena.reconnect();
    }
}

#[test]
fn rpcs_by_the_wrong_way_run_nothing() {
    for shape in SHAPES {
        // A kind on another pipeline is dropped; an RPC in a packet that is not for its type ends the connection.
        let mut arena = Arena::over(shape, 42);
        arena.fleet.logs().expect("by the wrong way");
        let (ping, spot) = (frame_of(&mut arena, Ping), frame_of(&mut arena, Spot { number: 5 }));
        arena.ticks(4);
        let before = (pings(&mut arena), arena.fleet.server().world().resource::<Heard>().0);
        let unreliable = |frames: &[u8]| [&[MessageKind::UnreliableRpc.byte(), 99, 0][..], frames].concat();
        for (pipeline, message) in [
            (Pipeline::Unreliable, packet(&ping, 1)),
            (Pipeline::UnreliableFragmented, packet(&ping, 1)),
            (Pipeline::ReliableOrdered, unreliable(&spot)),
            (Pipeline::ReliableOrdered, vec![MessageKind::Command.byte(); 20]),
            // Without a sequence number.
            (Pipeline::Unreliable, vec![MessageKind::UnreliableRpc.byte(), 1]),
        ] {
            arena.fleet.link(ATTACKER).inject_raw(SERVER, pipeline, message);
        }
        arena.ticks(5);
        assert_eq!((pings(&mut arena), arena.fleet.server().world().resource::<Heard>().0), before, "{shape:?}");
        assert_eq!(arena.fleet.server().world().resource::<NetworkStats>().invalid_messages, 5, "dropped and counted");
        assert!(arena.is_attacker_connected());
        arena.assert_honest_client_is_well("after wrong ways");

        arena.fleet.logs().expect("came by another way than its type says");
        for (pipeline, message) in [
            (Pipeline::Unreliable, unreliable(&ping)),
            (Pipeline::ReliableOrdered, packet(&[spot, ping.clone()].concat(), 1)),
        ] {
            arena.fleet.link(ATTACKER).inject_raw(SERVER, pipeline, message);
            arena.ticks(8);
            assert_eq!(arena.reason_on_server(), Some(DisconnectReason::InvalidRpc), "{shape:?}");
            assert_eq!(pings(&mut arena), before.0);
            arena.reconnect();
        }
        arena.assert_honest_client_is_well("at the end");
    }
}

#[test]
fn unreliable_packets_that_are_repeated_run_once() {
    for shape in SHAPES {
        let mut arena = Arena::over(shape, 43);
        let spot = frame_of(&mut arena, Spot { number: 5 });
        arena.ticks(4);
        let heard = arena.fleet.server().world().resource::<Heard>().0;
        for sequence in [7u16, 9, 8, 7, 9, 300, 7, 44, 45, 44, 300] {
            let mut message = vec![MessageKind::UnreliableRpc.byte()];
            message.extend_from_slice(&sequence.to_le_bytes());
            message.extend_from_slice(&spot);
            arena.fleet.link(ATTACKER).inject_raw(SERVER, Pipeline::Unreliable, message);
            arena.tick();
        }
        arena.ticks(4);
        // 7, 9, 8, 300; 7 and 44 are older than can be told by then, 45 is not.
        let ran = (arena.fleet.server().world().resource::<Heard>().0 - heard) / 5;
        assert_eq!(ran, 5, "{shape:?}");
        let stats = arena.fleet.server().world().resource::<NetworkStats>();
        assert_eq!(stats.repeated_rpc_packets, 6, "{shape:?}");
        assert!(arena.is_attacker_connected());
    }
}

#[test]
fn a_session_that_is_played_back_into_the_next_one_ends_it_and_moves_nobody() {
    for shape in SHAPES {
        let mut arena = Arena::over(shape, 44);
        arena
            .fleet
            .logs()
            .expect("an RPC packet was refused, the connection is closed: internal RPC|a second protocol version");
        // The first session, from its first word on.
        let connection = arena.fleet.client(ATTACKER).connections()[0];
        arena.fleet.client(ATTACKER).world_mut().disconnect(connection, DisconnectReason::ConnectionClose);
        arena.ticks(8);
        arena.fleet.link(ATTACKER).record();
        arena.reconnect();
        for _ in 0..30 {
            let said = (Chat { number: 1, loud: true }, SendRpcCommandRequest::default());
            arena.fleet.client(ATTACKER).world_mut().spawn(said);
            arena.tick();
        }
        arena.ticks(6);
        let recorded: Vec<_> =
            arena.fleet.link(ATTACKER).recorded().into_iter().filter(|message| message.direction == SERVER).collect();
        assert!(recorded.len() > 40);
        let connection = arena.fleet.client(ATTACKER).connections()[0];
        arena.fleet.client(ATTACKER).world_mut().disconnect(connection, DisconnectReason::ConnectionClose);
        arena.ticks(8);
        arena.reconnect();
        let heard = arena.fleet.server().world().resource::<Heard>().0;
        let commands = arena.fleet.server().world().resource::<NetworkStats>().stored_commands;
        // Its commands are for ticks that are over.
        for message in recorded.iter().filter(|message| message.bytes[0] == MessageKind::Command.byte()) {
            arena.fleet.link(ATTACKER).inject_raw(SERVER, message.pipeline, message.bytes.clone());
        }
        arena.ticks(6);
        let stats = *arena.fleet.server().world().resource::<NetworkStats>();
        // Four each tick and client are stored for the first time; what is played back adds nothing that counts.
        assert!(stats.stored_commands - commands <= 6 * 2 * 4 + 64, "{}", stats.stored_commands - commands);
        assert!(arena.is_attacker_connected());
        // Its first words are a second protocol version.
        for message in recorded.iter().filter(|message| message.bytes[0] == MessageKind::Rpc.byte()) {
            arena.fleet.link(ATTACKER).try_inject(SERVER, message.pipeline, message.bytes.clone());
        }
        arena.ticks(8);
        assert_eq!(arena.reason_on_server(), Some(DisconnectReason::InvalidRpc), "{shape:?}");
        assert_eq!(arena.fleet.server().world().resource::<Heard>().0, heard, "none of its RPCs ran again");
        arena.assert_honest_client_is_well("after the session was played back");
    }
}

/// NEW-12: what a reference names was never there, is another ghost by now, or can't be.
#[test]
fn forged_references_to_ghosts_come_as_none_and_the_connection_lives() {
    for shape in SHAPES {
        let mut arena = Arena::over(shape, 45);
        let genuine = arena.crates[0];
        let instance = *arena.fleet.server().world().get::<GhostInstance>(genuine).unwrap();
        let (id, spawn_tick) = (instance.ghost_id, instance.spawn_tick.unwrap());
        let named = [
            (id, spawn_tick),
            (id, spawn_tick.add(1)),
            (id, spawn_tick.sub(1)),
            (id, spawn_tick.add(1 << 30)),
            (0, spawn_tick),
            // Of a ghost that this side was never told of, as far as it can tell.
            (9_999, spawn_tick),
            (u32::MAX, spawn_tick),
            (u32::MAX, spawn_tick.add(1 << 30)),
        ];
        let honest = frame_of(&mut arena, Point { at: GhostRef::NONE });
        arena.ticks(4);
        let number = u16::from_le_bytes([honest[0], honest[1]]);
        let mut forged = Vec::new();
        begin_packet(&mut forged);
        for (id, spawn_tick) in named {
            let mut payload = BitWriter::new();
            payload.write_bool(true);
            payload.write_packed(id);
            payload.write_tick(spawn_tick);
            let bits = payload.bit_len();
            push_frame(&mut forged, number, &payload.finish(), bits).unwrap();
        }
        for direction in [SERVER, Direction::ToClient] {
            arena.inject(direction, MessageKind::Rpc, forged.clone());
            arena.ticks(6);
            let receiver = if direction == SERVER { arena.fleet.server() } else { arena.fleet.client(ATTACKER) };
            let expected = receiver.world().resource::<SpawnedGhostEntityMap>().get(id, spawn_tick);
            assert!(expected.is_some(), "{shape:?}, {direction:?}: the genuine one is there");
            let mut pointed = std::mem::take(&mut receiver.world_mut().resource_mut::<Pointed>().0);
            // In front of them came the honest one, which names none.
            pointed.drain(..usize::from(direction == SERVER));
            let forgeries = vec![None; named.len() - 1];
            assert_eq!(pointed, [vec![expected], forgeries].concat(), "{shape:?}, {direction:?}");
            assert!(arena.is_attacker_connected(), "{shape:?}, {direction:?}");
        }
        arena.assert_honest_client_is_well("after forged references");
    }
}

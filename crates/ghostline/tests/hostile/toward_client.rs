//! A malicious server: it may show a client any world, but not bring it down.

use crate::game::*;
use bevy_ecs::prelude::*;
use ghostline::connection::{DisconnectReason, NetworkStreamConnection};
use ghostline::prelude::*;
use ghostline::snapshot::newest_rows;
use ghostline::stats::NetworkStats;
use ghostline::wire::{
    BitReader, BitWriter, BodyForm, ChunkCover, ChunkGap, ChunkStep, DespawnEntry, DespawnReason, GhostBody,
    PacketSequence, SnapshotHeader, begin_packet, internal_rpc, push_frame, write_despawns, write_ghost_body,
    write_mask, write_prefabs,
};

const CLIENT: Direction = Direction::ToClient;

/// What a client may say when it is lied to.
const COMPLAINTS: &str =
    "could not be decoded|can't be decoded|the server has a ghost type|tick jumped|refused|could not be read|dropped a";

fn reason_on_attacked(arena: &Arena) -> Option<DisconnectReason> {
    arena.ends_on_attacked.first().and_then(|event| event.disconnect_reason)
}

fn is_attacked_connected(arena: &mut Arena) -> bool {
    count::<NetworkStreamConnection>(arena.fleet.client(ATTACKER).world_mut()) == 1
}

fn count<T: Component>(world: &mut World) -> usize {
    world.query::<&T>().iter(world).count()
}

fn honest_header(packet: &[u8]) -> SnapshotHeader {
    SnapshotHeader::decode(&mut BitReader::new(&packet[1..])).unwrap()
}

/// The newest snapshot's header, for the next packet of the same epoch.
fn next_header(arena: &mut Arena) -> SnapshotHeader {
    let header = honest_header(arena.record(CLIENT, MessageKind::Snapshot, 5).last().unwrap());
    SnapshotHeader { sequence: PacketSequence(header.sequence.0.wrapping_add(200)), ..header }
}

#[test]
fn a_thousand_damaged_snapshots_end_in_fresh_starts_or_the_end_and_nobody_else_notices() {
    for order in ORDERS {
        let mut dice = Dice::new(101);
        let mut arena = Arena::in_process(order, 101);
        arena.fleet.logs().tolerate(COMPLAINTS);
        let mut ends = 0;
        for round in 0..50 {
            let honest = arena.record(CLIENT, MessageKind::Snapshot, 5);
            for _ in 0..10 {
                let message = damage(&honest[dice.below(honest.len())], &mut dice);
                arena.inject(CLIENT, MessageKind::Snapshot, message);
            }
            arena.ticks(3);
            if !is_attacked_connected(&mut arena) {
                let reason = reason_on_attacked(&arena);
                let allowed = [Some(DisconnectReason::ProtocolError), Some(DisconnectReason::BadProtocolVersion)];
                assert!(allowed.contains(&reason), "round {round}: {reason:?}");
                ends += 1;
                arena.ticks(2);
                arena.reconnect();
            }
            if round % 10 == 9 {
                arena.assert_honest_client_is_well(&format!("round {round}"));
            }
        }
        assert!(ends > 0, "the third error within 10 s ends it");
    }
}

#[test]
fn a_snapshot_that_can_not_be_decoded_leads_to_a_fresh_start_and_the_third_ends_the_connection() {
    for order in ORDERS {
        let mut arena = Arena::in_process(order, 102);
        arena.fleet.logs().expect("a snapshot could not be decoded.*fresh start");
        arena.fleet.logs().expect("snapshots can't be decoded.*closing the connection");
        for error in 1..=2 {
            arena.inject(CLIENT, MessageKind::Snapshot, vec![MessageKind::Snapshot.byte(), 0xFF]);
            arena.ticks(20);
            assert!(is_attacked_connected(&mut arena), "{error} errors are forgiven");
            assert_eq!(
                arena.fleet.server().world().resource::<NetworkStats>().fresh_starts,
                error,
                "the server began anew"
            );
            arena.fleet.ticks(5);
            let [held, truth] = arena.rows(ATTACKER);
            assert_eq!(held, truth, "and everything came again");
            let ghosts = count::<GhostInstance>(arena.fleet.client(ATTACKER).world_mut());
            assert_eq!(ghosts, count::<GhostInstance>(arena.fleet.server().world_mut()), "once");
        }
        arena.inject(CLIENT, MessageKind::Snapshot, vec![MessageKind::Snapshot.byte(), 0xFF]);
        arena.ticks(4);
        assert!(!is_attacked_connected(&mut arena));
        assert_eq!(reason_on_attacked(&arena), Some(DisconnectReason::ProtocolError));
        assert_eq!(count::<GhostInstance>(arena.fleet.client(ATTACKER).world_mut()), 0, "its ghosts went with it");
        arena.assert_honest_client_is_well("afterwards");
    }
}

#[test]
fn three_undecodable_snapshots_in_more_than_ten_seconds_are_forgiven() {
    for order in ORDERS {
        let mut arena = Arena::in_process(order, 103);
        arena.fleet.logs().expect("a snapshot could not be decoded.*fresh start");
        for _ in 0..4 {
            arena.inject(CLIENT, MessageKind::Snapshot, vec![MessageKind::Snapshot.byte(), 0xFF]);
            arena.ticks(6 * 60);
        }
        assert!(is_attacked_connected(&mut arena));
        arena.fleet.ticks(5);
        let [held, truth] = arena.rows(ATTACKER);
        assert_eq!(held, truth);
    }
}

#[test]
fn random_bytes_of_every_kind_never_make_a_client_panic() {
    for order in ORDERS {
        for seed in 110..112 {
            let mut dice = Dice::new(seed);
            let mut arena = Arena::in_process(order, seed);
            arena.fleet.logs().tolerate(COMPLAINTS);
            for _ in 0..400 {
                let kind = [MessageKind::Command, MessageKind::Snapshot, MessageKind::Rpc][dice.below(3)];
                let message = garbage(kind, &mut dice);
                arena.inject(CLIENT, kind, message);
                arena.ticks(2);
                if !is_attacked_connected(&mut arena) || !arena.is_attacker_connected() {
                    arena.ticks(3);
                    arena.reconnect();
                }
            }
            arena.assert_honest_client_is_well("after garbage");
        }
    }
}

#[test]
fn damaged_rpcs_towards_a_client_end_its_connection_with_a_reason() {
    for order in ORDERS {
        let mut dice = Dice::new(120);
        let mut arena = Arena::in_process(order, 120);
        arena.fleet.logs().expect("an RPC packet was refused");
        let honest = arena.record(CLIENT, MessageKind::Rpc, 20);
        let mut ends = 0;
        for number in 0..300 {
            let message = damage(&honest[dice.below(honest.len())], &mut dice);
            arena.inject(CLIENT, MessageKind::Rpc, message);
            arena.ticks(3);
            if !is_attacked_connected(&mut arena) {
                assert_eq!(reason_on_attacked(&arena), Some(DisconnectReason::InvalidRpc), "message {number}");
                ends += 1;
                arena.ticks(2);
                arena.reconnect();
            }
        }
        assert!(ends > 50, "only {ends} were refused");
        arena.assert_honest_client_is_well("at the end");
    }
}

#[test]
fn a_second_approval_is_refused() {
    for order in ORDERS {
        let mut arena = Arena::in_process(order, 121);
        arena.fleet.logs().expect("an RPC packet was refused");
        let mut packet = Vec::new();
        begin_packet(&mut packet);
        push_frame(&mut packet, internal_rpc::CONNECTION_APPROVED, &[0b0111; 8], 64).unwrap();
        arena.inject(CLIENT, MessageKind::Rpc, packet);
        arena.ticks(4);
        assert_eq!(reason_on_attacked(&arena), Some(DisconnectReason::InvalidRpc));
        arena.assert_honest_client_is_well("afterwards");
    }
}

#[test]
fn commands_towards_a_client_are_dropped_and_counted() {
    for order in ORDERS {
        let mut arena = Arena::in_process(order, 122);
        arena.fleet.logs().expect("unknown kind, in the wrong direction");
        let commands = arena.record(Direction::ToServer, MessageKind::Command, 6);
        arena.inject(CLIENT, MessageKind::Command, commands[0].clone());
        arena.ticks(3);
        assert_eq!(arena.fleet.client(ATTACKER).world().resource::<NetworkStats>().invalid_messages, 1);
        assert!(is_attacked_connected(&mut arena));
    }
}

/// A snapshot packet with these despawns, and one ghost of 64 in each of `chunks`.
fn forged_snapshot(
    header: &SnapshotHeader,
    despawns: &[DespawnEntry],
    chunks: std::ops::Range<u32>,
    spawn_age: u32,
) -> Vec<u8> {
    let mut out = BitWriter::new();
    SnapshotHeader { has_lists: true, ..*header }.encode(&mut out);
    write_prefabs(&mut out, 0, &[]);
    write_despawns(&mut out, despawns);
    ChunkStep::Gap(ChunkGap { skipped: chunks.start, quiet: 0 }).write(&mut out);
    for _ in chunks {
        ChunkStep::Body.write(&mut out);
        BodyForm::Full.write(&mut out);
        // No base, ghosts of the first type.
        out.write_bool(false);
        out.write_packed(0);
        ChunkCover::default().write(&mut out);
        write_mask(u64::MAX, &mut out);
        let mut age = None;
        for _ in 0..64 {
            write_ghost_body(&mut out, GhostBody::Absolute { spawn_age }, &mut age);
            // Two components, both as the zero row.
            out.write_bits(0, 2);
        }
    }
    ChunkStep::End { quiet: true }.write(&mut out);
    out.finish()
}

#[test]
fn forged_spawns_and_despawns_are_bounded_by_the_ids_there_are() {
    for order in ORDERS {
        let mut arena = Arena::in_process(order, 130);
        arena.fleet.logs().tolerate(COMPLAINTS);
        let mut header = next_header(&mut arena);
        let base = header.server_tick;
        // The same ids, born and dead again and again, far ahead of any clock.
        for round in 0..400u32 {
            header.sequence = header.sequence.next();
            header.server_tick = base.add(1_000_000 + 10 * round);
            let despawns: Vec<DespawnEntry> = (0..256)
                .map(|number| DespawnEntry { ghost_id: 6_401 + number, reason: DespawnReason::Destroyed })
                .collect();
            let packet = forged_snapshot(&header, &despawns, 100..104, 0);
            arena.inject(CLIENT, MessageKind::Snapshot, packet);
            if round % 10 == 9 {
                arena.tick();
            }
            let world = arena.fleet.client(ATTACKER).world_mut();
            let held = newest_rows(world).len();
            assert!(held <= 42 + 4 * 64, "round {round}: {held} ghosts are held");
            assert!(count::<GhostInstance>(world) <= 42 + 4 * 64 + 4 * 64 * 40, "round {round}");
        }
        arena.assert_honest_client_is_well("afterwards");
        assert!(
            arena.fleet.client(ATTACKER).world().resource::<NetworkStats>().decoded_rows > 10_000,
            "the forged packets were read"
        );
    }
}

#[test]
fn a_forged_tick_of_the_far_future_or_past_stalls_no_frame() {
    for order in ORDERS {
        for offset in [1_000u32, 1 << 20, (1 << 30) - 10, 1 << 30, 0x7FFF_FF00] {
            let mut arena = Arena::in_process(order, 131);
            arena.fleet.logs().tolerate(COMPLAINTS);
            let mut header = next_header(&mut arena);
            header.server_tick = header.server_tick.add(offset);
            let packet = forged_snapshot(&header, &[], 0..0, 0);
            arena.inject(CLIENT, MessageKind::Snapshot, packet);
            arena.ticks(60);
            arena.assert_honest_client_is_well(&format!("after a jump of {offset}"));
        }
    }
}

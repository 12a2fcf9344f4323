//! A malicious client: what it sends costs itself, and nobody else.

use crate::game::*;
use ghostline::command::{CommandBuffer, MAX_COMMAND_BYTES_PER_TICK, MAX_COMMAND_PACKETS_PER_TICK};
use ghostline::connection::{DisconnectReason, InvalidMessages, MAX_INVALID_MESSAGES, NetworkSnapshotAck};
use ghostline::stats::NetworkStats;
use ghostline::wire::{
    BitReader, BitWriter, CommandHeader, PacketSequence, ReceivedPackets, begin_packet, internal_rpc, push_frame,
    write_blocks_end,
};

const SERVER: Direction = Direction::ToServer;

/// The header of an honest packet of the attacker.
fn honest_header(packet: &[u8]) -> CommandHeader {
    CommandHeader::decode(&mut BitReader::new(&packet[1..])).unwrap()
}

fn command_packet(header: &CommandHeader) -> Vec<u8> {
    let mut out = BitWriter::new();
    header.encode(&mut out);
    write_blocks_end(&mut out);
    out.finish()
}

#[test]
fn a_thousand_damaged_command_packets_cost_only_their_sender() {
    for order in ORDERS {
        let mut dice = Dice::new(1);
        let mut arena = Arena::in_process(order, 1);
        let honest = arena.record(SERVER, MessageKind::Command, 20);
        arena.fleet.logs().tolerate("could not be read|dropped a");
        // Who lies about his ticks is told how early he is, and believes it.
        arena.fleet.logs().tolerate("predicted server tick jumped");
        let mut ends = 0;
        for number in 0..500 {
            let message = damage(&honest[dice.below(honest.len())], &mut dice);
            arena.inject(SERVER, MessageKind::Command, message);
            if number % 4 == 3 {
                arena.tick();
            }
            if !arena.is_attacker_connected() {
                arena.ticks(2);
                assert_eq!(arena.reason_on_server(), Some(DisconnectReason::ProtocolError), "message {number}");
                ends += 1;
                arena.assert_honest_client_is_well(&format!("after message {number}"));
                arena.reconnect();
            }
        }
        arena.ticks(2);
        arena.assert_honest_client_is_well("at the end");
        let stats = arena.fleet.server().world().resource::<NetworkStats>();
        assert!(stats.invalid_messages > 50, "only {} were found to be damaged", stats.invalid_messages);
        assert!(ends >= 1, "64 in 10 s end the connection");
    }
}

#[test]
fn the_sixty_fifth_unreadable_message_within_ten_seconds_ends_the_connection() {
    for order in ORDERS {
        let mut arena = Arena::in_process(order, 2);
        arena.fleet.logs().expect("dropped a command packet with a bad header");
        arena.fleet.logs().expect("messages could not be read.*closing it");
        for _ in 0..MAX_INVALID_MESSAGES {
            arena.inject(SERVER, MessageKind::Command, vec![MessageKind::Command.byte(), 1]);
            arena.tick();
        }
        arena.ticks(2);
        assert!(arena.is_attacker_connected(), "64 are forgiven");
        let connection = arena.fleet.server().connections()[0];
        assert_eq!(arena.fleet.server().world().get::<InvalidMessages>(connection).unwrap().total, 64);
        let lines = arena.fleet.logs().count("dropped a command packet");
        assert!((1..=3).contains(&lines), "{lines} lines in a little more than a second");
        for _ in 0..200 {
            arena.inject(SERVER, MessageKind::Command, vec![MessageKind::Command.byte(), 1]);
        }
        arena.ticks(3);
        assert!(!arena.is_attacker_connected());
        assert_eq!(arena.reason_on_server(), Some(DisconnectReason::ProtocolError));
        assert_eq!(arena.fleet.logs().count("closing it"), 1, "said once");
        assert_eq!(
            arena.ends_on_attacked.first().and_then(|event| event.disconnect_reason),
            Some(DisconnectReason::ProtocolError)
        );
        arena.assert_honest_client_is_well("after the end");
    }
}

#[test]
fn a_crowd_that_talks_nonsense_writes_few_lines() {
    const CROWD: usize = 24;
    let mut fleet = Fleet::builder().plugin(Game).clients(CROWD).build();
    fleet.logs().expect("dropped a message of an unknown kind");
    fleet.logs().expect("messages could not be read.*closing it");
    fleet.connect_all();
    for _ in 0..2 {
        for client in 0..CROWD {
            for _ in 0..=MAX_INVALID_MESSAGES / 2 {
                fleet.link(client).inject_raw(SERVER, Pipeline::Unreliable, vec![9, 9, 9]);
            }
        }
        fleet.ticks(70);
    }
    assert!(fleet.server().connections().is_empty());
    // One more is sent off in the second after, and tells how many there were.
    fleet.connect(0);
    fleet.ticks(60);
    for _ in 0..=MAX_INVALID_MESSAGES {
        fleet.link(0).inject_raw(SERVER, Pipeline::Unreliable, vec![9, 9, 9]);
    }
    fleet.ticks(5);
    assert!(fleet.server().connections().is_empty());
    assert_eq!(
        fleet.logs().count("dropped a message"),
        3 * 8 - 7,
        "eight in a second of a crowd, one of a single peer"
    );
    assert_eq!(fleet.logs().count("closing it"), 4 + 1);
    assert_eq!(fleet.logs().count("closing it \\(and 20 more like it\\)"), 1);
}

#[test]
fn unreadable_messages_that_are_rare_are_forgiven_for_ever() {
    for order in ORDERS {
        let mut arena = Arena::in_process(order, 3);
        arena.fleet.logs().expect("dropped a message of an unknown kind");
        for _ in 0..100 {
            arena.inject(SERVER, MessageKind::Command, vec![9, 9, 9]);
            arena.ticks(12);
        }
        assert!(arena.is_attacker_connected());
        arena.assert_honest_client_is_well("after 100 in 20 s");
    }
}

#[test]
fn kinds_that_are_unknown_or_in_the_wrong_direction_are_dropped_and_counted() {
    for order in ORDERS {
        let mut arena = Arena::in_process(order, 4);
        arena.fleet.logs().expect("unknown kind, in the wrong direction");
        let snapshots = arena.record(Direction::ToClient, MessageKind::Snapshot, 10);
        let before = arena.fleet.server().world().resource::<NetworkStats>().invalid_messages;
        arena.inject(SERVER, MessageKind::Snapshot, snapshots[0].clone());
        arena.inject(SERVER, MessageKind::Command, vec![3]);
        arena.inject(SERVER, MessageKind::Command, vec![255; 100]);
        arena.inject(SERVER, MessageKind::Command, Vec::new());
        arena.ticks(3);
        assert_eq!(arena.fleet.server().world().resource::<NetworkStats>().invalid_messages - before, 4);
        assert!(arena.is_attacker_connected());
        arena.assert_honest_client_is_well("after wrong kinds");
    }
}

#[test]
fn a_thousand_damaged_rpc_packets_run_nothing_and_end_the_connection_each_time() {
    for order in ORDERS {
        let mut dice = Dice::new(5);
        let mut arena = Arena::in_process(order, 5);
        let honest = arena.record(SERVER, MessageKind::Rpc, 20);
        arena.fleet.logs().expect("an RPC packet was refused");
        let mut ends = 0;
        for number in 0..500 {
            let message = damage(&honest[dice.below(honest.len())], &mut dice);
            arena.inject(SERVER, MessageKind::Rpc, message);
            arena.ticks(2);
            if !arena.is_attacker_connected() {
                assert_eq!(arena.reason_on_server(), Some(DisconnectReason::InvalidRpc), "message {number}");
                ends += 1;
                arena.reconnect();
            }
        }
        assert!(ends > 150, "only {ends} were refused");
        arena.assert_honest_client_is_well("at the end");
    }
}

#[test]
fn an_rpc_packet_with_one_bad_frame_runs_nothing_at_all() {
    for order in ORDERS {
        let mut arena = Arena::in_process(order, 6);
        arena.fleet.logs().expect("an RPC packet was refused");
        let honest = arena.record(SERVER, MessageKind::Rpc, 20);
        arena.ticks(4);
        let heard = arena.fleet.server().world().resource::<Heard>().0;
        let mut packet = honest[0].clone();
        packet.extend_from_slice(&[0xFF, 0xFF, 8, 0, 1]);
        arena.inject(SERVER, MessageKind::Rpc, packet);
        arena.inject(SERVER, MessageKind::Rpc, honest[0].clone());
        arena.ticks(5);
        assert_eq!(
            arena.fleet.server().world().resource::<Heard>().0,
            heard,
            "neither the good frame nor what waited behind it ran"
        );
        assert_eq!(arena.reason_on_server(), Some(DisconnectReason::InvalidRpc));
        arena.assert_honest_client_is_well("afterwards");
    }
}

#[test]
fn internal_rpcs_of_the_other_side_are_forbidden() {
    for order in ORDERS {
        let late = [internal_rpc::PROTOCOL_VERSION, internal_rpc::PROTOCOL_DETAILS, internal_rpc::RESUME];
        let of_servers = [
            internal_rpc::CONNECTION_APPROVED,
            internal_rpc::REQUEST_APPROVAL,
            internal_rpc::IDENTITY,
            internal_rpc::COMMAND_TYPES,
        ];
        for index in late.into_iter().chain(of_servers).chain([7, 15]) {
            let mut arena = Arena::in_process(order, 7);
            arena.fleet.logs().expect("an RPC packet was refused");
            let mut packet = Vec::new();
            begin_packet(&mut packet);
            push_frame(&mut packet, index, &[1, 2, 3, 4], 32).unwrap();
            arena.inject(SERVER, MessageKind::Rpc, packet);
            arena.ticks(3);
            assert_eq!(arena.reason_on_server(), Some(DisconnectReason::InvalidRpc), "internal RPC {index}");
            arena.assert_honest_client_is_well("afterwards");
        }
    }
}

#[test]
fn random_bytes_of_every_kind_harm_nobody_else() {
    for order in ORDERS {
        for seed in 10..12 {
            let mut dice = Dice::new(seed);
            let mut arena = Arena::in_process(order, seed);
            // A tick that it never simulated may be believed to be its newest, to the harm of its own clock.
            arena.fleet.logs().tolerate("could not be read|dropped a|refused|predicted server tick jumped");
            for _ in 0..600 {
                let kind = [MessageKind::Command, MessageKind::Snapshot, MessageKind::Rpc][dice.below(3)];
                let message = garbage(kind, &mut dice);
                arena.inject(SERVER, kind, message);
                arena.tick();
                if !arena.is_attacker_connected() {
                    arena.reconnect();
                }
            }
            arena.assert_honest_client_is_well("after garbage");
        }
    }
}

#[test]
fn acknowledgements_of_packets_never_sent_are_counted_and_ignored() {
    for order in ORDERS {
        let mut arena = Arena::in_process(order, 20);
        let header = honest_header(arena.record(SERVER, MessageKind::Command, 6).last().unwrap());
        for offset in [100u16, 5_000, 30_000, 32_767, 32_768, 60_000] {
            let newest = header.acks.as_ref().unwrap().newest.0.wrapping_add(offset);
            let mut received = ReceivedPackets::new();
            for back in (0..200u16).rev() {
                received.receive(PacketSequence(newest.wrapping_sub(back)));
            }
            let forged = CommandHeader { acks: received.acks(), ..header };
            arena.inject(SERVER, MessageKind::Command, command_packet(&forged));
            arena.ticks(2);
        }
        assert!(arena.fleet.server().world().resource::<NetworkStats>().bad_acks > 100);
        assert!(arena.is_attacker_connected());
        arena.assert_honest_client_is_well("after forged acks");
        // The liar itself gets on as soon as it tells the truth.
        arena.fleet.ticks(10);
        let [held, truth] = arena.rows(ATTACKER);
        assert_eq!(held, truth);
    }
}

#[test]
fn ticks_of_the_far_past_and_future_reach_nobody_else_and_displace_no_genuine_command() {
    for order in ORDERS {
        let mut arena = Arena::in_process(order, 21);
        let honest = arena.record(SERVER, MessageKind::Command, 6);
        let header = honest_header(honest.last().unwrap());
        let far = [64, 65, 1 << 10, 1 << 20, 1 << 29, (1 << 30) - 1, 1 << 30, 3 << 29];
        for distance in far {
            for tick in [header.input_target_tick.add(distance), header.input_target_tick.sub(distance)] {
                // The entries' ticks are relative to the header's: the whole block moves.
                let mut input = BitReader::new(&honest.last().unwrap()[1..]);
                CommandHeader::decode(&mut input).unwrap();
                let forged = CommandHeader {
                    input_target_tick: tick,
                    interpolation_delay: u32::MAX,
                    prefabs_known: ghostline::wire::limits::MAX_PREFABS,
                    ..header
                };
                let mut out = BitWriter::new();
                forged.encode(&mut out);
                while input.remaining_bits() > 0 {
                    let bits = input.remaining_bits().min(32) as u32;
                    out.write_bits(input.read_bits(bits).unwrap(), bits);
                }
                arena.inject(SERVER, MessageKind::Command, out.finish());
                arena.ticks(2);
            }
        }
        let server_tick = arena.fleet.server().server_tick().unwrap();
        let player = arena.players[ATTACKER];
        let buffer = arena.fleet.server().world().get::<CommandBuffer<PlayerInput>>(player).unwrap();
        assert!(
            buffer.iter().all(|(tick, _)| tick.ticks_since(server_tick) <= 64),
            "nothing of the far future is kept"
        );
        assert!(buffer.len() <= 64);
        let connection = arena.fleet.server().connections()[0];
        let age = arena.fleet.server().world().get::<NetworkSnapshotAck>(connection).unwrap().server_command_age;
        assert!(age.abs() <= 256 << 16, "the age is bounded: {age}");
        assert!(arena.is_attacker_connected());
        arena.fleet.logs().tolerate("the predicted server tick jumped");
        arena.assert_honest_client_is_well("after far ticks");
    }
}

#[test]
fn ten_thousand_command_packets_in_a_tick_are_cut_short_and_delay_nobody() {
    for order in ORDERS {
        let mut arena = Arena::in_process(order, 22);
        let honest = arena.record(SERVER, MessageKind::Command, 6);
        let stats = |arena: &mut Arena| *arena.fleet.server().world().resource::<NetworkStats>();
        let before = stats(&mut arena);
        for number in 0..10_000 {
            let message = honest[number % honest.len()].clone();
            assert!(arena.fleet.link(ATTACKER).try_inject(SERVER, Pipeline::Unreliable, message));
        }
        arena.ticks(3);
        let after = stats(&mut arena);
        let read = after.received_command_packets - before.received_command_packets;
        let dropped = after.dropped_messages - before.dropped_messages;
        // Those of the honest client are among what is read.
        assert!(read <= 3 * (MAX_COMMAND_PACKETS_PER_TICK as u64 + 1), "{read} were read in three ticks");
        assert!((10_000..10_010).contains(&(read + dropped)), "{read} read, {dropped} dropped: each is counted");
        arena.assert_honest_client_is_well("after the flood");
        assert!(arena.is_attacker_connected(), "a flood of valid packets is only cut short");
    }
}

#[test]
fn a_client_that_asks_for_a_fresh_start_with_every_packet_pays_for_it_alone() {
    for order in ORDERS {
        let mut arena = Arena::in_process(order, 23);
        for _ in 0..60 {
            let header = honest_header(arena.record(SERVER, MessageKind::Command, 5).last().unwrap());
            for _ in 0..20 {
                let forged = CommandHeader { fresh_start: true, ..header };
                arena.inject(SERVER, MessageKind::Command, command_packet(&forged));
            }
            arena.tick();
        }
        assert!(arena.fleet.server().world().resource::<NetworkStats>().fresh_starts >= 30);
        arena.assert_honest_client_is_well("after fresh starts");
        arena.fleet.ticks(20);
        let [held, truth] = arena.rows(ATTACKER);
        assert_eq!(held, truth);
    }
}

#[test]
fn large_command_packets_are_read_up_to_a_number_of_bytes_per_tick() {
    for order in ORDERS {
        let mut arena = Arena::in_process(order, 24);
        let header = honest_header(arena.record(SERVER, MessageKind::Command, 5).last().unwrap());
        let mut out = BitWriter::new();
        header.encode(&mut out);
        // Blocks of a type that nobody knows: stepped over, one by one.
        while out.byte_len() < 15_000 {
            out.write_bool(true);
            out.write_packed(4_000);
            out.write_packed(8_000);
            (0..1_000).for_each(|_| out.write_u8(0));
        }
        write_blocks_end(&mut out);
        let packet = out.finish();
        let stats = |arena: &mut Arena| *arena.fleet.server().world().resource::<NetworkStats>();
        let before = stats(&mut arena);
        for _ in 0..20 {
            arena.fleet.link(ATTACKER).inject_raw(SERVER, Pipeline::UnreliableFragmented, packet.clone());
        }
        arena.ticks(2);
        let after = stats(&mut arena);
        let dropped = (after.dropped_messages - before.dropped_messages) as usize;
        let fitting = MAX_COMMAND_BYTES_PER_TICK / packet.len();
        assert!(
            (20 - fitting - 1..=20 - fitting + 1).contains(&dropped),
            "{dropped} of 20 were dropped, {fitting} fit"
        );
        assert!(arena.is_attacker_connected());
        arena.assert_honest_client_is_well("after large packets");
    }
}

#[test]
fn a_client_that_claims_to_see_the_distant_past_is_believed_for_its_round_trip_and_a_buffer() {
    for order in ORDERS {
        let mut arena = Arena::in_process(order, 25);
        for claimed in [100, 100_000, u32::MAX] {
            let header = honest_header(arena.record(SERVER, MessageKind::Command, 5).last().unwrap());
            let tick = header.input_target_tick.add(1);
            let forged = CommandHeader { interpolation_delay: claimed, input_target_tick: tick, ..header };
            arena.inject(SERVER, MessageKind::Command, command_packet(&forged));
            arena.fleet.tick_server(ghostline_testkit::FRAME);
            let connection = arena.fleet.server().connections()[ATTACKER];
            let ack = arena.fleet.server().world().get::<NetworkSnapshotAck>(connection).unwrap();
            assert!((1..30).contains(&ack.interpolation_delay_ticks), "{claimed}: {}", ack.interpolation_delay_ticks);
        }
        arena.assert_honest_client_is_well("after false claims");
    }
}

//! What a client that is in the game can make a server keep: one that sends commands without end, and one that acknowledges nothing. In bytes, by
//! the allocator of this binary, links and clients of the same process included. The bounds are stated in `docs/security.md`.

use ghostline::prelude::*;
use ghostline_testkit::{Direction, FRAME, Fleet, LinkProfile, Pipeline, Recorded, Transport};

use crate::{Game, Position, Walker, live_bytes};

/// What a flood of commands makes a server keep at most.
const STATED_FLOOD_BYTES: i64 = 1 << 20;
/// What a client that acknowledges nothing makes a server keep at most, beside the rows that all clients share.
const STATED_SILENCE_BYTES: i64 = 512 << 10;

/// Two clients in the game, among ghosts that move, for long enough that buffers have their size.
fn fleet(transport: Transport, link: LinkProfile) -> Fleet {
    let mut fleet =
        Fleet::builder().plugin(Game { is_quiet: false }).clients(2).transport(transport).link(link).build();
    for _ in 0..200 {
        fleet.server().world_mut().spawn_ghost::<Walker>(Position::default());
    }
    fleet.connect_all();
    fleet.go_in_game_all();
    fleet.ticks(400);
    fleet
}

/// Runs the server for a tick, with whoever is honest. Returns how much more it keeps than before.
fn server_tick(fleet: &mut Fleet) -> i64 {
    let before = live_bytes();
    fleet.tick_server(FRAME);
    let kept = live_bytes() - before;
    fleet.tick_client(1, FRAME);
    kept
}

#[test]
fn ten_thousand_command_packets_in_a_tick_make_a_server_keep_no_more_than_is_stated() {
    for transport in [Transport::InProcess, Transport::Quic] {
        let mut fleet = fleet(transport, LinkProfile::perfect());
        fleet.link(0).record();
        fleet.ticks(4);
        let recorded = fleet.link(0).recorded();
        let is_command =
            |message: &&Recorded| message.direction == Direction::ToServer && message.pipeline == Pipeline::Unreliable;
        let command = recorded.iter().rev().find(is_command).expect("a client sends commands").bytes.clone();
        let mut most = 0;
        for _round in 0..3 {
            let mut sent = 0;
            for _ in 0..10_000 {
                sent +=
                    usize::from(fleet.link(0).try_inject(Direction::ToServer, Pipeline::Unreliable, command.clone()));
            }
            assert_eq!(sent, 10_000, "the client takes them all");
            fleet.tick_client(0, FRAME);
            for _ in 0..10 {
                most = most.max(server_tick(&mut fleet));
            }
        }
        assert!(most > 10 << 10, "{transport:?}: the flood was read, {most} bytes");
        assert!(most < STATED_FLOOD_BYTES, "{transport:?}: {most} bytes are kept");
    }
}

#[test]
fn a_client_that_acknowledges_nothing_makes_a_server_keep_no_more_than_is_stated() {
    for transport in [Transport::InProcess, Transport::Quic] {
        let mut fleet = fleet(transport, LinkProfile::rtt(60));
        let before = live_bytes();
        fleet.link(0).cut(Direction::ToServer);
        let mut most = 0;
        for _ in 0..560 {
            fleet.tick();
            most = most.max(live_bytes() - before);
        }
        assert_eq!(fleet.server().connections().len(), 2, "both are still connected");
        assert!(most > 10 << 10, "{transport:?}: it was sent something, {most} bytes");
        assert!(most < STATED_SILENCE_BYTES, "{transport:?}: {most} bytes are kept");
    }
}

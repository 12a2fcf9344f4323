//! Snapshots allocate nothing once everything is warm: from collecting rows to handing packets to the driver, and from packets to components.

use ghostline::prelude::*;
use ghostline::schedule::SIMULATION_PASS;
use ghostline::snapshot::GhostSendSystemData;
use ghostline::stats::{NetworkStats, SnapshotBits};
use ghostline_testkit::{FRAME, Fleet, LinkProfile};

use crate::{Game, Position, Walker, client_frame, run_watched};

/// The steps of a frame that must not allocate, by the beginnings of their names.
const OUT: &[&str] = &["snapshots out", "ghosts that vanished", "ghosts that appeared"];
const IN: &[&str] = &["snapshots into", "history into", "ghosts that are due"];

fn fleet(clients: usize) -> Fleet {
    let mut fleet =
        Fleet::builder().plugin(Game { is_quiet: false }).clients(clients).link(LinkProfile::rtt(100)).build();
    let world = fleet.server().world_mut();
    world.insert_resource(GhostSendSystemData {
        default_snapshot_packet_size: 32 * 1024,
        ..GhostSendSystemData::default()
    });
    for _ in 0..500 {
        world.spawn_ghost::<Walker>(Position::default());
    }
    fleet.connect_all();
    fleet.go_in_game_all();
    fleet.ticks(300);
    fleet
}

#[test]
fn snapshots_are_collected_encoded_and_handed_over_without_an_allocation() {
    watch_sending(fleet(4));
}

#[test]
fn it_is_counted_what_the_bits_are_for_without_an_allocation() {
    let mut fleet = fleet(4);
    fleet.server().world_mut().insert_resource(SnapshotBits::default());
    let mut fleet = watch_sending(fleet);
    let bits = fleet.server().world().resource::<SnapshotBits>();
    assert!(bits.of("walker", "Position").is_some_and(|bits| bits > 2_000 * 200), "{bits}");
}

/// A server's ticks with 500 ghosts that move, and four clients.
fn watch_sending(mut fleet: Fleet) -> Fleet {
    let mut all = 0;
    for frame in 0..200 {
        for client in 0..4 {
            fleet.tick_client(client, FRAME);
        }
        let world = fleet.server().world_mut();
        let mut time = world.resource_mut::<NetworkTime>();
        time.server_tick = time.server_tick.map(NetworkTick::next);
        let before = world.resource::<NetworkStats>().sent_rows;
        let allocations = run_watched(world, WorldKind::Server, SIMULATION_PASS, OUT);
        let rows = world.resource::<NetworkStats>().sent_rows - before;
        world.clear_trackers();
        if frame >= 100 {
            assert!(rows >= 1_900, "all ghosts move: {rows} rows");
            all += allocations;
        }
    }
    assert_eq!(all, 0);
    fleet
}

#[test]
fn snapshots_are_read_and_applied_without_an_allocation() {
    let mut fleet = fleet(1);
    let mut all = 0;
    for frame in 0..200 {
        fleet.tick_server(FRAME);
        let before = fleet.client(0).world().resource::<NetworkStats>().received_snapshot_packets;
        let allocations = client_frame(fleet.client(0).world_mut(), IN);
        let received = fleet.client(0).world().resource::<NetworkStats>().received_snapshot_packets - before;
        if frame >= 100 {
            assert!(received > 0, "frame {frame}");
            all += allocations;
        }
    }
    assert_eq!(all, 0);
}

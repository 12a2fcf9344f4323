//! When ghosts appear and vanish, for whom, and to the tick: SPWN-01, SPWN-03, JOIN-01, and the rows of the feature table about spawns and despawns.

use crate::common::*;
use bevy_ecs::prelude::*;
use bevy_math::Vec3;
use ghostline::prelude::*;
use ghostline::snapshot::newest_rows;
use ghostline::stats::NetworkStats;
use ghostline_testkit::LinkProfile;

// JOIN-01, G-72
#[test]
fn a_late_joiner_has_all_ghosts_and_their_number_after_four_ticks() {
    let mut fleet = Fleet::builder().plugin(Game).build();
    let spawn = |fleet: &mut Fleet| {
        for number in 0..8 {
            fleet.server().world_mut().spawn_ghost::<Crate>(Health { points: number });
        }
    };
    spawn(&mut fleet);
    fleet.connect_all();
    fleet.ticks(8);
    fleet.go_in_game_all();
    for expected in [8, 16] {
        fleet.ticks(4);
        let count = *fleet.client(0).world().resource::<GhostCount>();
        assert_eq!((count.on_server, count.received), (expected, expected));
        spawn(&mut fleet);
    }
    fleet.ticks(30);
    assert_eq!(newest_rows(fleet.client(0).world()), newest_rows(fleet.server().world()));
}

// SPWN-01
#[test]
fn one_predicted_ghost_is_one_ghost_of_the_same_id_on_both_sides_however_long_one_waits() {
    for wait in [4, 10, 100] {
        let mut fleet = Fleet::builder().plugin(Game).build();
        fleet.connect_all();
        fleet.go_in_game_all();
        fleet.server().world_mut().spawn_ghost::<Walker>(Position::default());
        for ticks in [wait, 100] {
            fleet.ticks(ticks);
            let ids = |world: &mut World| -> Vec<u32> {
                let mut walkers = world.query_filtered::<&GhostInstance, With<Walker>>();
                walkers.iter(world).map(|ghost| ghost.ghost_id).collect()
            };
            let on_server = ids(fleet.server().world_mut());
            assert_eq!(on_server.len(), 1, "after {wait} ticks");
            assert_eq!(ids(fleet.client(0).world_mut()), on_server, "after {wait} ticks");
        }
    }
}

// SPWN-03
#[test]
fn at_a_low_network_rate_a_despawned_ghost_lives_on_until_its_time_has_come() {
    let rate = ClientServerTickRate { network_tick_rate: 15, ..ClientServerTickRate::default() };
    let mut fleet = Fleet::builder().plugin(Game).tick_rate(rate).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    let ghost = fleet.server().world_mut().spawn_ghost::<Walker>(Position::default());
    fleet.ticks(64);
    assert_eq!(count::<Walker>(fleet.client(0).world_mut()), 1);
    // Right after a snapshot, so that the next is four ticks away.
    let received = |fleet: &mut Fleet| fleet.client(0).world().resource::<NetworkStats>().received_snapshot_packets;
    let before = received(&mut fleet);
    while received(&mut fleet) == before {
        fleet.tick();
    }
    fleet.server().world_mut().despawn(ghost);
    fleet.ticks(2);
    assert_eq!(count::<Walker>(fleet.client(0).world_mut()), 1, "the next snapshot is still to come");
    fleet.ticks(5);
    assert_eq!(count::<Walker>(fleet.client(0).world_mut()), 0);
}

// G-58
#[test]
fn a_predicted_ghost_appears_in_the_frame_after_it_was_received_an_interpolated_one_later() {
    let mut fleet = fleet_in_game(1);
    fleet.ticks(60);
    let world = fleet.server().world_mut();
    world.spawn_ghost::<Walker>(Position::default());
    world.spawn_ghost::<Crate>(Position::default());
    let (mut received, mut predicted, mut interpolated) = (None, None, None);
    for tick in 0..20 {
        fleet.tick();
        let client = fleet.client(0);
        let note = |seen: &mut Option<usize>, is_there: bool| {
            if is_there && seen.is_none() {
                *seen = Some(tick);
            }
        };
        note(&mut received, newest_rows(client.world()).len() == 2);
        note(&mut predicted, count::<Walker>(client.world_mut()) == 1);
        note(&mut interpolated, count::<Crate>(client.world_mut()) == 1);
    }
    let (received, predicted) = (received.unwrap(), predicted.unwrap());
    assert!(predicted <= received + 1, "received in {received}, there in {predicted}");
    assert!(interpolated.unwrap() > predicted);
}

// G-59
#[test]
fn a_ghost_that_lives_for_one_tick_only_is_never_sent() {
    let mut fleet = fleet_in_game(1);
    fleet.ticks(10);
    let rows = |fleet: &mut Fleet| fleet.server().world().resource::<NetworkStats>().sent_rows;
    let before = rows(&mut fleet);
    for _ in 0..10 {
        let ghost = fleet.server().world_mut().spawn_ghost::<Crate>(Position { value: Vec3::ONE });
        fleet.tick();
        fleet.server().world_mut().despawn(ghost);
        fleet.ticks(3);
    }
    assert_eq!(rows(&mut fleet), before);
    assert_eq!(count::<GhostInstance>(fleet.client(0).world_mut()), 0);
}

// G-61
#[test]
fn a_predicted_ghost_vanishes_when_prediction_reaches_its_despawn_an_interpolated_one_when_interpolation_does() {
    for profile in [LinkProfile::in_process(), LinkProfile::rtt(100)] {
        let mut fleet = Fleet::builder().plugin(Game).link(profile).build();
        fleet.connect_all();
        fleet.go_in_game_all();
        let world = fleet.server().world_mut();
        let (walker, crate_) =
            (world.spawn_ghost::<Walker>(Position::default()), world.spawn_ghost::<Crate>(Position::default()));
        fleet.ticks(120);
        let world = fleet.server().world_mut();
        world.despawn(walker);
        world.despawn(crate_);
        fleet.tick();
        let gone_at = fleet.server().server_tick().unwrap();
        let (mut walker_gone, mut crate_gone) = (None, None);
        for _ in 0..40 {
            fleet.tick();
            let client = fleet.client(0);
            let time = client.network_time().clone();
            if walker_gone.is_none() && count::<Walker>(client.world_mut()) == 0 {
                walker_gone = time.server_tick;
            }
            if crate_gone.is_none() && count::<Crate>(client.world_mut()) == 0 {
                crate_gone = time.interpolation_tick;
            }
        }
        let (walker_gone, crate_gone) = (walker_gone.unwrap(), crate_gone.unwrap());
        assert!(!gone_at.is_newer_than(walker_gone), "{profile:?}: predicted at {walker_gone}, gone at {gone_at}");
        let late = crate_gone.ticks_since(gone_at);
        assert!((0..=2).contains(&late), "{profile:?}: interpolated {late} ticks after");
    }
}

// G-60, G-62
#[test]
fn despawns_get_through_a_link_that_loses_a_third_and_free_their_slots() {
    let mut fleet = Fleet::builder().plugin(Game).link(LinkProfile::rtt(60).with_loss_percent(30.0)).seed(5).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    let mut highest = 0;
    for _ in 0..20 {
        let world = fleet.server().world_mut();
        let ghosts: Vec<Entity> = (0..50).map(|_| world.spawn_ghost::<Crate>(Position::default())).collect();
        fleet.ticks(30);
        let rows = newest_rows(fleet.server().world());
        highest = highest.max(rows.iter().map(|row| row.ghost_id).max().unwrap());
        let world = fleet.server().world_mut();
        ghosts.into_iter().for_each(|ghost| assert!(world.despawn(ghost)));
        fleet.ticks(30);
    }
    fleet.ticks(60);
    assert_eq!(count::<GhostInstance>(fleet.client(0).world_mut()), 0);
    assert_eq!(*fleet.client(0).world().resource::<GhostCount>(), GhostCount::default());
    assert!(highest <= 3 * 64, "slots are used again: the highest id was {highest}");
}

// G-63
#[test]
fn five_thousand_despawns_do_not_starve_updates() {
    let mut fleet = fleet_in_game(1);
    let world = fleet.server().world_mut();
    let crowd: Vec<Entity> = (0..5_000).map(|_| world.spawn_ghost::<Crate>(Health { points: 1 })).collect();
    let ghost = fleet.server().world_mut().spawn_ghost::<Walker>(Position::default());
    for _ in 0..600 {
        fleet.tick();
        if newest_rows(fleet.client(0).world()).len() == 5_001 {
            break;
        }
    }
    fleet.ticks(20);
    let world = fleet.server().world_mut();
    crowd.into_iter().for_each(|ghost| assert!(world.despawn(ghost)));
    let mut ticks = 0;
    while newest_rows(fleet.client(0).world()).len() > 1 {
        ticks += 1;
        assert!(ticks < 200, "{} are left", newest_rows(fleet.client(0).world()).len());
        fleet.server().world_mut().get_mut::<Position>(ghost).unwrap().value.x = ticks as f32;
        fleet.tick();
        let walker = newest_rows(fleet.client(0).world());
        assert_eq!(walker.last(), newest_rows(fleet.server().world()).last(), "the walker is never late");
    }
    assert!(ticks > 10, "a snapshot holds a bounded share of them");
}

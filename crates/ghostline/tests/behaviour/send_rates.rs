//! How often a ghost is sent: as its type allows, as it changes, and as the network rate lets connections take turns. SER-04, STAT-01, STAT-02, STAT-04.

use crate::common::*;
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use ghostline::prelude::*;
use ghostline::snapshot::visit_newest_rows;
use ghostline::stats::NetworkStats;
use ghostline_testkit::{Direction, LinkProfile, MessageKind};

/// A ghost type that is sent at most so many times per second.
#[derive(Component, Default)]
struct Rated<const HZ: u8, const STATIC: bool>;

struct Rates;

impl Plugin for Rates {
    fn build(&self, app: &mut App) {
        fn register<const HZ: u8, const STATIC: bool>(app: &mut App) {
            let mode = if STATIC { GhostOptimizationMode::Static } else { GhostOptimizationMode::Dynamic };
            let prefab = GhostPrefab::new(&format!("{mode:?} at {HZ} Hz")).component::<Health>();
            app.register_ghost::<Rated<HZ, STATIC>>(prefab.max_send_rate(HZ).optimization_mode(mode));
        }
        register::<0, false>(app);
        register::<1, false>(app);
        register::<20, false>(app);
        register::<100, false>(app);
        register::<0, true>(app);
        register::<1, true>(app);
        register::<20, true>(app);
        register::<100, true>(app);
    }
}

fn sent_rows(fleet: &mut Fleet) -> u64 {
    fleet.server().world().resource::<NetworkStats>().sent_rows
}

/// The newest row's tick and the value that it holds, of the only ghost of a client.
fn held(fleet: &mut Fleet) -> (NetworkTick, i32) {
    let mut held = None;
    visit_newest_rows(fleet.client(0).world(), |_, tick, row| held = Some((tick, row[0].cast_signed())));
    held.unwrap()
}

/// What came of 25 ticks of changes.
struct Outcome {
    sent: u64,
    received: usize,
    distinct: usize,
}

fn change_for_25_ticks<const HZ: u8, const STATIC: bool>(changes_always: bool) -> Outcome {
    let context = format!("{HZ} Hz, static: {STATIC}, always: {changes_always}");
    let mut fleet = Fleet::builder().plugin(Rates).link(LinkProfile::rtt(60)).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    let ghost = fleet.server().world_mut().spawn_ghost::<Rated<HZ, STATIC>>(Health { points: 1 });
    fleet.ticks(150);
    let before = sent_rows(&mut fleet);
    let (mut told, mut values) = (std::collections::BTreeMap::new(), Vec::new());
    let mut last = held(&mut fleet);
    let mut note = |fleet: &mut Fleet, told: &std::collections::BTreeMap<u32, i32>| {
        let now = held(fleet);
        if now.0 != last.0 {
            assert_eq!(told.get(&now.0.index()), Some(&now.1), "{context}: what the server had at that tick");
            values.push(now.1);
            last = now;
        }
    };
    let mut points = 1;
    for tick in 0..25 {
        if changes_always || tick == 0 {
            points += 1;
            fleet.server().world_mut().get_mut::<Health>(ghost).unwrap().points = points;
        }
        fleet.tick();
        told.insert(fleet.server().server_tick().unwrap().index(), points);
        note(&mut fleet, &told);
    }
    let sent = sent_rows(&mut fleet) - before;
    // What is still under way; what the rate held back comes later.
    for _ in 0..2 {
        fleet.tick();
        told.insert(fleet.server().server_tick().unwrap().index(), points);
        note(&mut fleet, &told);
    }
    let received = values.len();
    values.dedup();
    Outcome { sent, received, distinct: values.len() }
}

// SER-04, G-37
#[test]
fn a_ghost_is_sent_as_often_as_its_rate_allows_and_a_single_change_hardly_more_than_once() {
    macro_rules! for_each_rate {
        ($is_static:literal) => {
            for (outcome, expected) in [
                (change_for_25_ticks::<0, $is_static>(true), 25),
                (change_for_25_ticks::<100, $is_static>(true), 25),
                (change_for_25_ticks::<20, $is_static>(true), 9),
                (change_for_25_ticks::<1, $is_static>(true), 1),
            ] {
                assert_eq!(outcome.sent, expected);
                let expected = expected as usize;
                assert!((expected..=expected + 1).contains(&outcome.received), "{expected}: {}", outcome.received);
                assert!(outcome.distinct + 2 >= outcome.received && outcome.distinct <= outcome.received);
            }
            for outcome in [
                change_for_25_ticks::<0, $is_static>(false),
                change_for_25_ticks::<100, $is_static>(false),
                change_for_25_ticks::<20, $is_static>(false),
                change_for_25_ticks::<1, $is_static>(false),
            ] {
                assert!((1..=3).contains(&outcome.sent), "{} times", outcome.sent);
                assert_eq!(outcome.distinct, 1);
            }
        };
    }
    for_each_rate!(true);
    for_each_rate!(false);
}

/// None; 30 ms each way; every third packet lost; 16 ms each way and every twentieth lost.
fn four_profiles() -> [LinkProfile; 4] {
    [
        LinkProfile::in_process(),
        LinkProfile::rtt(60),
        LinkProfile::perfect().with_periodic_loss(3),
        LinkProfile::rtt(32).with_periodic_loss(20),
    ]
}

/// Sixteen static ghosts that a client has, and time for all of it to settle.
fn sixteen_static_ghosts(profile: LinkProfile) -> (Fleet, Vec<Entity>) {
    let mut fleet = Fleet::builder().plugin(Rates).link(profile).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    fleet.ticks(16);
    let world = fleet.server().world_mut();
    let ghosts = (0..16).map(|points| world.spawn_ghost::<Rated<0, true>>(Health { points })).collect();
    fleet.ticks(16);
    (fleet, ghosts)
}

/// The newest row of each ghost of the client, with its tick.
fn rows(fleet: &mut Fleet) -> Vec<(u32, NetworkTick, Vec<u32>)> {
    let mut rows = Vec::new();
    visit_newest_rows(fleet.client(0).world(), |id, tick, row| rows.push((id, tick, row.to_vec())));
    rows
}

// STAT-01, STAT-02
#[test]
fn static_ghosts_are_not_sent_while_nothing_changes_whoever_touches_them() {
    for profile in four_profiles() {
        for touches in [false, true] {
            let (mut fleet, ghosts) = sixteen_static_ghosts(profile);
            let (before, held) = (sent_rows(&mut fleet), rows(&mut fleet));
            assert_eq!(held.len(), 16);
            for _ in 0..16 {
                for &ghost in ghosts.iter().filter(|_| touches) {
                    fleet.server().world_mut().get_mut::<Health>(ghost).unwrap().set_changed();
                }
                fleet.tick();
            }
            assert_eq!(sent_rows(&mut fleet), before, "{profile:?}, touched: {touches}");
            assert_eq!(rows(&mut fleet), held, "{profile:?}, touched: {touches}");
        }
    }
}

// STAT-04
#[test]
fn a_static_ghost_that_changes_is_sent_and_then_silent_again() {
    for profile in four_profiles() {
        let (mut fleet, ghosts) = sixteen_static_ghosts(profile);
        for round in 1..=3 {
            let held = rows(&mut fleet);
            fleet.server().world_mut().get_mut::<Health>(ghosts[5]).unwrap().points = 100 * round;
            fleet.ticks(16);
            let now = rows(&mut fleet);
            let differ: Vec<usize> = (0..16).filter(|&index| now[index] != held[index]).collect();
            assert_eq!(differ.len(), 1, "{profile:?}: {now:?}, before {held:?}");
            assert_eq!(now[differ[0]].2, [100 * round as u32]);
            let before = sent_rows(&mut fleet);
            fleet.ticks(16);
            assert_eq!(sent_rows(&mut fleet), before, "{profile:?}");
            assert_eq!(rows(&mut fleet), now, "{profile:?}");
        }
    }
}

// G-38
#[test]
fn ghosts_below_the_least_importance_wait_but_never_the_first_time() {
    let mut fleet = fleet_in_game(1);
    fleet.server().world_mut().resource_mut::<GhostSendSystemData>().min_send_importance = 10;
    fleet.ticks(10);
    let before = sent_rows(&mut fleet);
    let ghost = fleet.server().world_mut().spawn_ghost::<Crate>(Health { points: 0 });
    fleet.ticks(2);
    assert_eq!(sent_rows(&mut fleet), before + 1, "a new one is sent at once");
    let before = sent_rows(&mut fleet);
    for points in 1..=100 {
        fleet.server().world_mut().get_mut::<Health>(ghost).unwrap().points = points;
        fleet.tick();
    }
    let updates = sent_rows(&mut fleet) - before;
    assert!((9..=11).contains(&updates), "every tenth tick: {updates} times in a hundred");
}

// G-47, G-80
#[test]
fn below_the_full_network_rate_connections_take_turns_and_each_hears_at_every_interval() {
    let rate = ClientServerTickRate { network_tick_rate: 30, ..ClientServerTickRate::default() };
    let mut fleet = Fleet::builder().plugin(Game).clients(4).tick_rate(rate).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    fleet.ticks(10);
    (0..4).for_each(|client| fleet.link(client).record());
    let mut turns = Vec::new();
    for _ in 0..8 {
        fleet.tick();
        let is_snapshot = |message: &ghostline_testkit::Recorded| {
            message.direction == Direction::ToClient && message.bytes.first() == Some(&MessageKind::Snapshot.byte())
        };
        let heard =
            (0..4).map(|client| fleet.link(client).recorded().iter().filter(|message| is_snapshot(message)).count());
        turns.push(heard.collect::<Vec<_>>());
    }
    for (tick, turn) in turns.iter().enumerate() {
        assert_eq!(turn.iter().sum::<usize>(), 2, "half of them at a time: {turns:?}");
        let before = &turns[tick.saturating_sub(1)];
        assert!(tick == 0 || turn.iter().zip(before).all(|(now, before)| now + before == 1), "in turn: {turns:?}");
    }
}

//! Snapshots: whatever is lost, late, too large or out of the game for a while, after the last change every client holds what the server holds.

use crate::common::*;
use crate::dice::Dice;
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_math::Vec3;
use ghostline::prelude::*;
use ghostline::snapshot::{newest_rows, snapshot_memory_bytes};
use ghostline::stats::NetworkStats;
use ghostline_testkit::{Direction, DriverSettings, MessageKind};
use std::collections::BTreeMap;

/// What every ghost was born with, by id and spawn tick: its number, in `Health`, never changes.
type Births = BTreeMap<(u32, u32), i32>;

/// The server's ghosts, changed at random; and what is known of them.
struct Zoo {
    ghosts: Vec<Entity>,
    next_number: i32,
    births: Births,
}

impl Zoo {
    fn new() -> Self {
        Self { ghosts: Vec::new(), next_number: 1, births: Births::new() }
    }

    fn spawn(&mut self, fleet: &mut Fleet, dice: &mut Dice) {
        let position = Position { value: random_place(dice) };
        let health = Health { points: self.next_number };
        self.next_number += 1;
        let world = fleet.server().world_mut();
        let ghost = if dice.one_in(3) {
            world.spawn_ghost::<Hound>((position, health))
        } else {
            world.spawn_ghost::<Crate>((position, health))
        };
        self.ghosts.push(ghost);
    }

    fn change_some(&mut self, fleet: &mut Fleet, dice: &mut Dice, rate: usize) {
        for &ghost in &self.ghosts {
            if dice.one_in(rate) {
                fleet.server().world_mut().get_mut::<Position>(ghost).unwrap().value = random_place(dice);
            }
        }
    }

    fn despawn_one(&mut self, fleet: &mut Fleet, dice: &mut Dice) {
        if !self.ghosts.is_empty() {
            let ghost = self.ghosts.swap_remove(dice.below(self.ghosts.len()));
            fleet.server().world_mut().despawn(ghost);
        }
    }

    /// Notes who was born, and checks that no client takes one ghost for another.
    fn check(&mut self, fleet: &mut Fleet, context: &str) {
        let world = fleet.server().world_mut();
        for (instance, health) in world.query::<(&GhostInstance, &Health)>().iter(world) {
            if let Some(spawn_tick) = instance.spawn_tick {
                let known = self.births.insert((instance.ghost_id, spawn_tick.index()), health.points);
                assert!(known.is_none_or(|known| known == health.points), "{context}: an identity was given twice");
            }
        }
        for client in 0..fleet.client_count() {
            let world = fleet.client(client).world_mut();
            for (instance, health) in world.query::<(&GhostInstance, &Health)>().iter(world) {
                let born = self.births.get(&(instance.ghost_id, instance.spawn_tick.unwrap().index()));
                assert_eq!(
                    born,
                    Some(&health.points),
                    "{context}: client {client} shows the wrong ghost for {instance:?}"
                );
            }
        }
    }
}

fn random_place(dice: &mut Dice) -> Vec3 {
    Vec3::new(dice.between(-500.0, 500.0) as f32, dice.between(-500.0, 500.0) as f32, dice.between(0.0, 20.0) as f32)
}

#[derive(Component, Default)]
struct Hound;

struct ZooGame;

impl Plugin for ZooGame {
    fn build(&self, app: &mut App) {
        app.add_plugins(Game).register_ghost::<Hound>(
            GhostPrefab::new("hound").component::<Position>().component::<Health>().predicted().importance(3),
        );
    }
}

fn set_target_size(fleet: &mut Fleet, bytes: usize) {
    let world = fleet.server();
    for connection in world.connections() {
        world.world_mut().entity_mut(connection).insert(NetworkStreamSnapshotTargetSize { value: bytes });
    }
}

/// After the last change: ticks until every client holds the server's rows, and checks that nothing is left over.
pub(crate) fn converge(fleet: &mut Fleet, context: &str) {
    const PATIENCE_TICKS: usize = 1500;
    for _ in 0..PATIENCE_TICKS {
        if (0..fleet.client_count())
            .all(|client| newest_rows(fleet.client(client).world()) == newest_rows(fleet.server().world()))
        {
            break;
        }
        fleet.tick();
    }
    // Those that are still due to appear or to vanish do so.
    fleet.ticks(60);
    let truth = newest_rows(fleet.server().world());
    let ghosts = count::<GhostInstance>(fleet.server().world_mut());
    for client in 0..fleet.client_count() {
        let rows = newest_rows(fleet.client(client).world());
        assert_eq!(rows.len(), truth.len(), "{context}: client {client}");
        assert_eq!(rows, truth, "{context}: client {client}");
        assert_eq!(
            count::<GhostInstance>(fleet.client(client).world_mut()),
            ghosts,
            "{context}: entities of client {client}"
        );
        let connection = fleet.client(client).connections().len();
        assert_eq!(connection, 1, "{context}: client {client} is connected");
        let stats = fleet.client(client).world().resource::<GhostCount>();
        assert_eq!(
            (stats.on_server, stats.received, stats.instantiated),
            (ghosts as u32, ghosts as u32, ghosts as u32),
            "{context}"
        );
    }
}

fn play_at_random(seed: u64, ticks: usize, target_bytes: Option<usize>) {
    let context = format!("seed {seed}, {target_bytes:?} bytes");
    let mut dice = Dice::new(seed);
    let mut fleet = Fleet::builder().plugin(ZooGame).clients(3).seed(seed).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    let mut zoo = Zoo::new();
    let mut cuts: Vec<(usize, Direction, usize)> = Vec::new();
    let mut away: Vec<(usize, usize)> = Vec::new();
    let late_joiner_at = ticks / 2;
    for tick in 0..ticks {
        for _ in 0..dice.below(if zoo.ghosts.len() < 150 { 6 } else { 2 }) {
            zoo.spawn(&mut fleet, &mut dice);
        }
        zoo.change_some(&mut fleet, &mut dice, 10);
        for _ in 0..dice.below(3) {
            zoo.despawn_one(&mut fleet, &mut dice);
        }
        if dice.one_in(25) {
            let (client, span) = (dice.below(3), 1 + dice.below(50));
            let direction = if dice.one_in(2) { Direction::ToServer } else { Direction::ToClient };
            fleet.link(client).cut(direction);
            cuts.push((client, direction, tick + span));
        }
        cuts.retain(|&(client, direction, until)| {
            if until <= tick {
                fleet.link(client).mend(direction);
            }
            until > tick
        });
        if dice.one_in(40) {
            leave_game(&mut fleet, dice.below(3), dice.below(3));
            away.push((0, tick + 1 + dice.below(20)));
        }
        away.retain(|&(_, until)| {
            if until <= tick {
                fleet.go_in_game_all();
            }
            until > tick
        });
        if tick == late_joiner_at {
            let late = fleet.add_client("late joiner");
            fleet.connect(late);
        }
        if tick == late_joiner_at + 20 {
            fleet.go_in_game_all();
        }
        if let Some(bytes) = target_bytes {
            set_target_size(&mut fleet, bytes);
        }
        fleet.tick();
        zoo.check(&mut fleet, &context);
    }
    for client in 0..3 {
        fleet.link(client).mend(Direction::ToServer);
        fleet.link(client).mend(Direction::ToClient);
    }
    fleet.go_in_game_all();
    converge(&mut fleet, &context);
    zoo.check(&mut fleet, &context);
    assert!(zoo.births.len() > 100, "{context}: only {} ghosts", zoo.births.len());
    let ids = zoo.births.keys().map(|(id, _)| id).collect::<std::collections::BTreeSet<_>>().len();
    assert!(ids < zoo.births.len(), "{context}: no id was used twice, so the test shows less than it should");
}

/// A client leaves the game on its own side, on the server's, or on both.
fn leave_game(fleet: &mut Fleet, client: usize, side: usize) {
    if side != 1 {
        let world = fleet.client(client);
        if let Some(&connection) = world.connections().first() {
            world.world_mut().entity_mut(connection).remove::<NetworkStreamInGame>();
        }
    }
    if side != 0 {
        let world = fleet.server();
        if let Some(&connection) = world.connections().get(client) {
            world.world_mut().entity_mut(connection).remove::<NetworkStreamInGame>();
        }
    }
}

#[test]
fn clients_converge_whatever_was_lost_left_or_joined_late() {
    for seed in 1..=6 {
        play_at_random(seed, 300, None);
    }
}

#[test]
fn clients_converge_with_100_bytes_per_tick() {
    for seed in 11..=14 {
        play_at_random(seed, 200, Some(100));
    }
}

#[test]
fn clients_converge_with_other_small_budgets() {
    for (seed, bytes) in [(21, 150), (22, 300), (23, 600), (24, 3000)] {
        play_at_random(seed, 200, Some(bytes));
    }
}

/// The snapshots that left for a client since it is recorded.
pub(crate) fn snapshot_sizes(fleet: &mut Fleet, client: usize) -> Vec<usize> {
    let recorded = fleet.link(client).recorded();
    let snapshots = recorded.iter().filter(|message| {
        message.direction == Direction::ToClient && message.bytes.first() == Some(&MessageKind::Snapshot.byte())
    });
    snapshots.map(|message| message.bytes.len()).collect()
}

#[test]
fn a_snapshot_is_never_larger_than_its_target() {
    for bytes in [100, 140, 333, 1162] {
        let mut dice = Dice::new(bytes as u64);
        let mut fleet = Fleet::builder().plugin(ZooGame).build();
        fleet.connect_all();
        set_target_size(&mut fleet, bytes);
        fleet.link(0).record();
        fleet.go_in_game_all();
        let mut zoo = Zoo::new();
        for _ in 0..200 {
            for _ in 0..3 {
                zoo.spawn(&mut fleet, &mut dice);
            }
            zoo.change_some(&mut fleet, &mut dice, 2);
            zoo.despawn_one(&mut fleet, &mut dice);
            zoo.despawn_one(&mut fleet, &mut dice);
            fleet.tick();
            let sizes = snapshot_sizes(&mut fleet, 0);
            assert_eq!(sizes.len(), 1, "one packet per tick");
            assert!(sizes[0] <= bytes, "{} bytes, allowed are {bytes}", sizes[0]);
        }
        converge(&mut fleet, &format!("{bytes} bytes"));
    }
}

#[test]
fn several_packets_of_a_tick_hold_each_ghost_once_and_no_more_than_the_target() {
    let mut dice = Dice::new(9);
    let mut fleet = Fleet::builder().plugin(ZooGame).build();
    fleet.connect_all();
    set_target_size(&mut fleet, 5000);
    fleet.go_in_game_all();
    fleet.ticks(10);
    let mut zoo = Zoo::new();
    for _ in 0..200 {
        zoo.spawn(&mut fleet, &mut dice);
    }
    fleet.link(0).record();
    let rows = |fleet: &mut Fleet| fleet.server().world().resource::<NetworkStats>().sent_rows;
    let before = rows(&mut fleet);
    fleet.ticks(2);
    let sizes = snapshot_sizes(&mut fleet, 0);
    assert!(sizes.len() > 3, "{sizes:?}");
    assert!(sizes.iter().sum::<usize>() <= 2 * 5000, "{sizes:?}");
    assert_eq!(newest_rows(fleet.client(0).world()).len(), 200);
    assert_eq!(rows(&mut fleet) - before, 200, "each row was sent once");
    converge(&mut fleet, "several packets");
}

#[test]
fn forty_ghost_types_become_known_also_over_packets_of_120_bytes() {
    struct Many;
    impl Plugin for Many {
        fn build(&self, app: &mut App) {
            app.add_plugins(Game);
            register_types::<40>(app);
        }
    }
    #[derive(Component, Default)]
    struct Kind<const N: usize>;
    fn register_types<const COUNT: usize>(app: &mut App) {
        macro_rules! kinds {
            ($($n:literal)*) => { $(
                app.register_ghost::<Kind<$n>>(GhostPrefab::new(concat!("kind ", $n)).component::<Health>());
            )* };
        }
        kinds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39);
    }
    for bytes in [64, 120, 1162] {
        let settings = DriverSettings { max_message_bytes: bytes, ..DriverSettings::default() };
        let mut fleet = Fleet::builder().plugin(Many).driver_settings(settings).build();
        fleet.connect_all();
        fleet.go_in_game_all();
        fleet.server().world_mut().spawn_ghost::<Kind<0>>(Health { points: 1 });
        fleet.server().world_mut().spawn_ghost::<Kind<39>>(Health { points: 2 });
        fleet.ticks(300);
        converge(&mut fleet, &format!("{bytes} bytes"));
    }
}

#[test]
fn a_ghost_that_moved_all_through_a_silence_of_the_client_is_not_lost() {
    // Acknowledgements stop while rows go on: the server may not name a row that the client no longer keeps.
    let mut fleet = fleet_in_game(1);
    let ghost = fleet.server().world_mut().spawn_ghost::<Crate>(Position::default());
    fleet.ticks(30);
    for silence in [10, 47, 48, 63, 64, 65, 130, 300] {
        fleet.link(0).cut(Direction::ToServer);
        for step in 0..silence {
            fleet.server().world_mut().get_mut::<Position>(ghost).unwrap().value.x = step as f32;
            fleet.tick();
        }
        fleet.link(0).mend(Direction::ToServer);
        for step in 0..30 {
            fleet.server().world_mut().get_mut::<Position>(ghost).unwrap().value.y = step as f32;
            fleet.tick();
        }
        assert_eq!(newest_rows(fleet.client(0).world()), newest_rows(fleet.server().world()), "after {silence} ticks");
    }
    assert_eq!(fleet.client(0).world().resource::<NetworkStats>().invalid_messages, 0);
}

#[test]
fn a_world_at_rest_costs_only_headers() {
    let mut dice = Dice::new(3);
    let mut fleet = Fleet::builder().plugin(ZooGame).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    let mut zoo = Zoo::new();
    for _ in 0..500 {
        zoo.spawn(&mut fleet, &mut dice);
    }
    converge(&mut fleet, "at rest");
    fleet.link(0).record();
    fleet.ticks(10);
    let sizes = snapshot_sizes(&mut fleet, 0);
    assert_eq!(sizes.len(), 10, "a snapshot goes out at every interval");
    assert!(sizes.iter().all(|&size| size < 24), "{sizes:?}");
}

#[test]
fn a_ghost_that_rested_for_a_minute_is_sent_as_a_difference() {
    let mut fleet = fleet_in_game(1);
    let ghost = fleet.server().world_mut().spawn_ghost::<Crate>(Position { value: Vec3::splat(123.456) });
    fleet.ticks(60 * 60);
    let absolute = |fleet: &mut Fleet| fleet.server().world().resource::<NetworkStats>().absolute_rows;
    let before = absolute(&mut fleet);
    fleet.server().world_mut().get_mut::<Position>(ghost).unwrap().value.x += 0.001;
    fleet.ticks(3);
    assert_eq!(absolute(&mut fleet), before);
    assert_eq!(newest_rows(fleet.client(0).world()), newest_rows(fleet.server().world()));
}

#[test]
fn a_world_tells_what_it_keeps_for_its_snapshots() {
    let mut fleet = Fleet::builder().plugin(Game).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    let bytes = |fleet: &mut Fleet| {
        [snapshot_memory_bytes(fleet.server().world()), snapshot_memory_bytes(fleet.client(0).world())]
    };
    let before = bytes(&mut fleet);
    for _ in 0..640 {
        fleet.server().world_mut().spawn_ghost::<Crate>(Position::default());
    }
    fleet.ticks(60);
    for (now, before) in bytes(&mut fleet).into_iter().zip(before) {
        // Four lanes and more of 640 ghosts, on either side.
        assert!(now > before + 640 * 16 && now < before + (4 << 20), "{now} bytes, {before} before");
    }
    assert_eq!(snapshot_memory_bytes(&World::new()), 0);
}

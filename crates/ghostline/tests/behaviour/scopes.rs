//! What goes back with a ghost that was wrong, and what does not: alone, with its group, with everybody; its children; and what only the server
//! decides. The game is in `race.rs`.

use bevy_ecs::hierarchy::ChildOf;
use bevy_ecs::prelude::*;
use bevy_math::Vec3;
use ghostline::prediction::{Frozen, RollbackScope};
use ghostline::prelude::*;
use ghostline_testkit::{FRAME, LinkProfile};

use crate::prediction::stats;
use crate::race::*;

/// A race with a car and three balls; on the client the car and the first ball are of one group, the second is of another, the third of none.
fn race_with_groups(scope: RollbackScope) -> Race {
    let mut race = Race::new(RaceOptions { profile: LinkProfile::rtt(60), ..RaceOptions::default() });
    for _ in 0..3 {
        race.fleet.server().world_mut().spawn_ghost::<Ball>(Position::default());
    }
    race.fleet.ticks(60);
    let car = race.client_cars(0)[0];
    let world = race.fleet.client(0).world_mut();
    let mut balls: Vec<(u32, Entity)> = world
        .query_filtered::<(&GhostInstance, Entity), With<Ball>>()
        .iter(world)
        .map(|(ghost, ball)| (ghost.ghost_id, ball))
        .collect();
    balls.sort_unstable();
    world.entity_mut(car).insert(RollbackGroup(7));
    world.entity_mut(balls[0].1).insert(RollbackGroup(7));
    world.entity_mut(balls[1].1).insert(RollbackGroup(9));
    world.insert_resource(PredictionSettings { scope, ..PredictionSettings::default() });
    race
}

#[test]
fn only_the_ghost_that_was_wrong_is_simulated_again_or_its_group_or_all() {
    for (scope, with_it) in [(RollbackScope::Ghost, 0), (RollbackScope::Group, 1), (RollbackScope::AllPredicted, 3)] {
        let mut race = race_with_groups(scope);
        race.nudge_client(Vec3::X);
        let before = race.simulated();
        race.fleet.ticks(30);
        let after = race.simulated();
        let new_ticks = after.first_times - before.first_times;
        let (cars, balls) = (after.cars - before.cars, after.balls - before.balls);
        let again = cars - new_ticks;
        assert!(again > 3, "{scope:?}: in {new_ticks} ticks the car was simulated {cars} times");
        assert_eq!(balls, 3 * new_ticks + with_it * again, "{scope:?}");
        let stats = stats(race.fleet.client(0).world());
        assert_eq!((stats.mispredictions, stats.rollbacks), (1, 1 + with_it as u64), "{scope:?}");
        let world = race.fleet.client(0).world_mut();
        assert_eq!(world.query::<&Frozen>().iter(world).count(), 0, "nobody is frozen outside the loop");
    }
}

/// How often an entity was simulated in full ticks.
#[derive(Component, Default)]
struct Turns(usize);

fn count_turns(time: Res<NetworkTime>, mut all: Query<&mut Turns, Simulate>) {
    for mut turns in &mut all {
        turns.0 += usize::from(!time.is_partial_tick());
    }
}

#[test]
fn children_sit_out_and_simulate_with_the_ghost_that_they_hang_on() {
    let mut race = race_with_groups(RollbackScope::Ghost);
    race.fleet.server().world_mut().spawn_ghost::<Car>(GhostOwner(NetworkId(77)));
    race.fleet.ticks(30);
    let own = race.fleet.client(0).world_mut();
    let (mut predicted, mut foreign) = (None, None);
    for (car, is_own) in own.query_filtered::<(Entity, Has<GhostOwnerIsLocal>), With<Car>>().iter(own) {
        *(if is_own { &mut predicted } else { &mut foreign }) = Some(car);
    }
    let (predicted, foreign) = (predicted.unwrap(), foreign.unwrap());
    let ball = own.query_filtered::<Entity, With<Ball>>().iter(own).next().unwrap();
    own.schedule_scope(PredictedSimulation, |_, schedule| {
        schedule.add_systems(count_turns);
    });
    let hang = |world: &mut World, parent: Entity| {
        let child = world.spawn((Turns::default(), ChildOf(parent))).id();
        (child, world.spawn((Turns::default(), ChildOf(child))).id())
    };
    let on_predicted = hang(own, predicted);
    let on_ball = hang(own, ball);
    let on_foreign = hang(own, foreign);
    let before = race.simulated();
    race.nudge_client(Vec3::Y);
    race.fleet.ticks(30);
    let after = race.simulated();
    let new_ticks = after.first_times - before.first_times;
    let cars = after.cars - before.cars;
    let world = race.fleet.client(0).world_mut();
    let turns = |world: &World, child: Entity| world.get::<Turns>(child).unwrap().0;
    for child in [on_predicted.0, on_predicted.1] {
        assert_eq!(turns(world, child), cars, "as often as the car that was wrong");
    }
    for child in [on_ball.0, on_ball.1] {
        assert_eq!(turns(world, child), new_ticks, "as often as the ball that was right");
    }
    for child in [on_foreign.0, on_foreign.1] {
        assert_eq!(turns(world, child), 0, "an interpolated ghost's children never simulate");
    }
    // Hung elsewhere, they become as their new parent is.
    world.entity_mut(on_foreign.0).insert(ChildOf(predicted));
    world.entity_mut(on_predicted.0).insert(ChildOf(foreign));
    world.flush();
    assert!(!world.entity(on_foreign.0).contains::<Frozen>() && !world.entity(on_foreign.1).contains::<Frozen>());
    assert!(world.entity(on_predicted.0).contains::<Frozen>() && world.entity(on_predicted.1).contains::<Frozen>());
}

#[test]
fn what_only_the_server_changes_rolls_nobody_back_and_is_left_alone_by_rollbacks() {
    let mut race = Race::started(LinkProfile::rtt(100));
    for lap in 1..=20 {
        race.server_car::<Laps>().count = lap;
        race.fleet.ticks(7);
    }
    race.fleet.ticks(20);
    let before = stats(race.fleet.client(0).world());
    assert_eq!((before.mispredictions, before.rollbacks), (0, 0), "{before:?}");
    assert_eq!(race.client_car::<Laps>(0).count, 20);
    // A lap is counted while the client is wrong: the rollback goes behind it, and leaves it.
    race.nudge_client(Vec3::Y);
    race.fleet.ticks(3);
    race.server_car::<Laps>().count = 21;
    let mut seen = Vec::new();
    for _ in 0..30 {
        race.fleet.tick();
        seen.push(race.client_car::<Laps>(0).count);
    }
    assert!(seen.is_sorted() && seen.ends_with(&[21]), "{seen:?}");
    assert_eq!(stats(race.fleet.client(0).world()).rollbacks, 1);
}

#[test]
fn ghosts_that_were_wrong_at_different_ticks_go_back_together_and_end_up_right() {
    let mut race = race_with_groups(RollbackScope::AllPredicted);
    // So little room that a packet holds the rows of one ghost type: the newest states of car and balls are of different ticks.
    let connection = race.fleet.server().connections()[0];
    race.fleet.server().world_mut().entity_mut(connection).insert(NetworkStreamSnapshotTargetSize { value: 100 });
    for _ in 0..60 {
        race.fleet.server().world_mut().spawn_ghost::<Ball>(Position::default());
    }
    race.start_engines();
    race.set_ball_speed(0.01);
    race.fleet.ticks(60);
    for push in 0..40_u32 {
        race.nudge_client(Vec3::Y);
        race.server_car::<Position>().value.z += 0.5;
        let world = race.fleet.server().world_mut();
        for mut ball in world.query_filtered::<&mut Position, With<Ball>>().iter_mut(world) {
            ball.value.y += 0.25;
        }
        // The client reads several packets at once, with the newest state of each.
        let frames = 2 + push % 3;
        for _ in 0..frames {
            race.fleet.tick_server(FRAME);
        }
        race.fleet.tick_client(0, FRAME * frames);
    }
    race.stop_engines();
    race.set_ball_speed(0.0);
    race.fleet.ticks(200);
    assert!(race.quanta_from_the_row() <= 1.0 + FLOAT_NOISE);
    let stats = stats(race.fleet.client(0).world());
    assert!(stats.corrected_on_the_way > 0, "{stats:?}");
    let positions = |world: &mut World| {
        let mut all: Vec<(u32, Vec3)> = world
            .query_filtered::<(&GhostInstance, &Position), With<Ball>>()
            .iter(world)
            .map(|(ghost, position)| (ghost.ghost_id, position.value))
            .collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    };
    let (client, server) = (positions(race.fleet.client(0).world_mut()), positions(race.fleet.server().world_mut()));
    for ((_, client), (_, server)) in client.iter().zip(&server) {
        assert!((*client - *server).abs().max_element() <= 1.6 * QUANTUM, "{client} {server}");
    }
}

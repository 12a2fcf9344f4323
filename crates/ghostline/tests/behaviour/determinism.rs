//! The same seed gives the same application bytes on every link.

use crate::common::*;
use crate::dice::Dice;
use crate::race::{Race, RaceOptions};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_math::Vec3;
use ghostline::connection::ConnectionSecrets;
use ghostline::prelude::*;
use ghostline::world::{InProcessDrivers, ScheduleExecutor};
use ghostline_testkit::{Direction, FRAME, LinkProfile, Recorded, WorldOrder};

/// Players that press and run at random, by a seed of their own.
struct Runners;

#[derive(Resource)]
struct Will(Dice);

impl Plugin for Runners {
    fn build(&self, app: &mut App) {
        app.add_plugins(Game)
            .insert_resource(Will(Dice::new(42)))
            .add_systems_in(WorldFlags::CLIENT, GhostInput, decide)
            .add_systems(PredictedSimulation, run);
    }
}

fn decide(mut will: ResMut<Will>, mut players: Query<&mut PlayerInput, With<GhostOwnerIsLocal>>) {
    for mut input in &mut players {
        input.horizontal = will.0.below(3) as i8 - 1;
        if will.0.one_in(5) {
            input.jump.set();
        }
    }
}

fn run(mut players: Query<(&PlayerInput, &mut Position), Simulate>) {
    for (input, mut position) in &mut players {
        position.value.x += f32::from(input.horizontal) * 0.1;
        position.value.y += input.jump.count() as f32;
    }
}

const CLIENTS: usize = 3;

/// How the frames of the clients are run; it must make no difference.
#[derive(Clone, Copy, PartialEq)]
enum Stages {
    Together,
    OneByOne,
}

fn record_a_run(seed: u64, order: WorldOrder, stages: Stages) -> Vec<Vec<Recorded>> {
    record_with(seed, order, stages, ScheduleExecutor::SingleThreaded)
}

fn record_with(seed: u64, order: WorldOrder, stages: Stages, executor: ScheduleExecutor) -> Vec<Vec<Recorded>> {
    let mut dice = Dice::new(seed);
    let builder = Fleet::builder().plugin(Runners).clients(CLIENTS).seed(seed).order(order).tick_rate(unmerged());
    let mut fleet = builder.schedule_executor(executor).build();
    for client in 0..CLIENTS {
        fleet.link(client).record();
    }
    fleet.connect_all();
    fleet.go_in_game_all();
    let mut ghosts: Vec<Entity> = Vec::new();
    for client in 0..CLIENTS {
        let id = fleet.client(client).network_id().unwrap();
        fleet.server().world_mut().spawn_ghost::<Player>(GhostOwner(id));
    }
    for _ in 0..200 {
        for _ in 0..dice.below(4) {
            let place = Position { value: Vec3::new(dice.between(-9.0, 9.0) as f32, 0.0, 0.0) };
            ghosts.push(fleet.server().world_mut().spawn_ghost::<Crate>(place));
        }
        for &ghost in &ghosts {
            if dice.one_in(5) {
                // Moving between tables changes the order in which the server's queries meet the ghosts.
                fleet.server().world_mut().entity_mut(ghost).insert(Tag);
                fleet.server().world_mut().get_mut::<Position>(ghost).unwrap().value.z += 0.5;
            }
        }
        if ghosts.len() > 20 && dice.one_in(2) {
            let gone = ghosts.swap_remove(dice.below(ghosts.len()));
            fleet.server().world_mut().despawn(gone);
        }
        if dice.one_in(10) {
            let client = dice.below(CLIENTS);
            fleet.link(client).cut(Direction::ToClient);
        }
        if dice.one_in(3) {
            for client in 0..CLIENTS {
                fleet.link(client).mend(Direction::ToClient);
            }
        }
        let dt = FRAME.mul_f64(dice.between(0.5, 1.5));
        match stages {
            Stages::Together => fleet.tick_by(dt),
            Stages::OneByOne => {
                let clients = |fleet: &mut Fleet| (0..CLIENTS).for_each(|client| fleet.tick_client(client, dt));
                if order == WorldOrder::ClientFirst {
                    clients(&mut fleet);
                    fleet.tick_server(dt);
                } else {
                    fleet.tick_server(dt);
                    clients(&mut fleet);
                }
            }
        }
    }
    (0..CLIENTS).map(|client| fleet.link(client).recorded()).collect()
}

#[derive(Component)]
struct Tag;

#[test]
fn the_same_seed_gives_the_same_bytes_on_every_link() {
    for order in [WorldOrder::ServerFirst, WorldOrder::ClientFirst] {
        for seed in 1..=3 {
            let first = record_a_run(seed, order, Stages::Together);
            let second = record_a_run(seed, order, Stages::Together);
            let bytes: usize = first.iter().flatten().map(|message| message.bytes.len()).sum();
            assert!(bytes > 50_000, "{bytes} bytes are too few to show much");
            for client in 0..CLIENTS {
                let place = first[client].iter().zip(&second[client]).position(|(a, b)| a != b);
                assert_eq!(place, None, "seed {seed}, {order:?}: client {client}");
                assert_eq!(first[client].len(), second[client].len(), "seed {seed}, {order:?}: client {client}");
            }
        }
    }
}

/// Every predicted position of a run, tick by tick, bit by bit; and the packets of the link.
fn predict_a_run(seed: u64) -> (Vec<(u32, [u32; 3])>, Vec<Recorded>) {
    let mut race = Race::new(RaceOptions {
        profile: LinkProfile::rtt(60).with_loss_percent(10.0).with_jitter_ms(15),
        seed,
        with_turbo: true,
        ..RaceOptions::default()
    });
    race.fleet.link(0).record();
    race.fleet.ticks(60);
    race.start_engines();
    let mut dice = Dice::new(seed);
    let mut states = Vec::new();
    for frame in 0..300 {
        if frame % 40 == 20 {
            race.server_car::<Position>().value.y += 0.5;
            race.nudge_client(Vec3::X * 0.25);
        }
        race.fleet.tick_by(FRAME.mul_f64(dice.between(0.4, 1.8)));
        let tick = race.fleet.client(0).server_tick().map_or(0, NetworkTick::index);
        states.push((tick, race.client_car::<Position>(0).value.to_array().map(f32::to_bits)));
    }
    (states, race.fleet.link(0).recorded())
}

// NEW-50
#[test]
fn the_same_seed_predicts_rolls_back_and_sends_the_same_bit_by_bit() {
    for seed in [1, 2] {
        let (first, second) = (predict_a_run(seed), predict_a_run(seed));
        assert_eq!(first.0, second.0, "seed {seed}");
        assert!(first.1 == second.1, "seed {seed}: packets differ");
        assert!(first.0.windows(2).filter(|pair| pair[0].1 != pair[1].1).count() > 100, "the car moves");
    }
}

#[test]
fn clients_run_one_by_one_give_the_same_bytes_as_in_one_stage() {
    for order in [WorldOrder::ServerFirst, WorldOrder::ClientFirst] {
        let together = record_a_run(7, order, Stages::Together);
        let one_by_one = record_a_run(7, order, Stages::OneByOne);
        assert!(together == one_by_one, "{order:?}");
    }
}

#[test]
fn another_seed_gives_other_bytes() {
    let bytes = |seed| record_a_run(seed, WorldOrder::ServerFirst, Stages::Together);
    assert!(bytes(1) != bytes(2), "or the comparison compares nothing");
}

/// NEW-74. What the game's systems do is settled by their order and their data, so whoever runs them makes the same of it.
#[test]
fn systems_on_several_threads_give_the_same_bytes_as_one_after_the_other() {
    for order in [WorldOrder::ServerFirst, WorldOrder::ClientFirst] {
        let one_by_one = record_with(9, order, Stages::Together, ScheduleExecutor::SingleThreaded);
        let at_once = record_with(9, order, Stages::Together, ScheduleExecutor::MultiThreaded);
        assert!(one_by_one == at_once, "{order:?}");
    }
}

/// A server, clients and thin clients in one process, whose stages run on so many threads.
fn record_worlds(threads: usize, order: WorldOrder) -> Vec<Vec<Recorded>> {
    fn game(app: &mut App) {
        app.add_plugins(Runners).go_in_game_when_connected().add_systems_in(WorldFlags::SERVER, Simulation, spawn);
    }
    fn spawn(mut commands: Commands, newcomers: Query<&NetworkId, Added<NetworkStreamInGame>>) {
        let mut ids: Vec<_> = newcomers.iter().copied().collect();
        ids.sort_unstable();
        for id in ids {
            commands.spawn_ghost::<Player>(GhostOwner(id));
        }
    }
    let bootstrap = ClientServerBootstrap::new(game)
        .drivers(InProcessDrivers::default())
        .order(order)
        .parallel_worlds(threads)
        .network_seed(3)
        .tick_rate(unmerged());
    let mut worlds = Worlds::new(bootstrap);
    worlds.set_auto_connect_port(7979);
    // Two servers would not get one port: of worlds that listen there is one.
    let server = worlds.create_server_world("server").unwrap();
    let secrets = ConnectionSecrets::seeded(3);
    worlds.get_mut(server).unwrap().world_mut().insert_resource(secrets);
    for number in 0..6 {
        worlds.create_client_world(&format!("client {number}")).unwrap();
        worlds.create_thin_client_world(&format!("thin client {number}")).unwrap();
    }
    let drivers = 1..=12;
    drivers.clone().for_each(|driver| assert!(worlds.network().record(driver, true)));
    let mut dice = Dice::new(4);
    for frame in 0..150 {
        if frame % 20 == 7 {
            let client = 1 + dice.below(12) as u64;
            worlds.network().cut(client, Direction::ToClient, frame % 40 == 7);
        }
        worlds.run_frame(FRAME.mul_f64(dice.between(0.5, 1.5)));
    }
    drivers.map(|driver| worlds.network().take_recorded(driver)).collect()
}

#[test]
fn worlds_of_a_stage_in_parallel_give_the_same_bytes_as_in_a_row() {
    for order in [WorldOrder::ServerFirst, WorldOrder::ClientFirst] {
        let in_a_row = record_worlds(1, order);
        assert!(in_a_row.iter().flatten().map(|message| message.bytes.len()).sum::<usize>() > 50_000);
        for threads in [2, 3, 16] {
            assert!(record_worlds(threads, order) == in_a_row, "{order:?}, {threads} threads");
        }
    }
}

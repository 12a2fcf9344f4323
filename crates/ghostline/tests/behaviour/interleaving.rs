//! NEW-20, NEW-21, NEW-26: worlds in any order and at any pace, slower network rates, and everything across the wrap of the tick number.

use std::time::Duration;

use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use ghostline::connection::NetworkSnapshotAck;
use ghostline::prelude::*;
use ghostline::stats::{NetworkStats, PredictionStats};
use ghostline_testkit::{Direction, LinkProfile, WorldOrder};

use crate::common::*;
use crate::dice::Dice;
use crate::finger::{Finger, Fingers, Seen};

/// Optimised for rest; kicked now and then.
#[derive(Component, Default)]
struct Stone;

#[derive(Component, RpcCommand)]
struct Note {
    number: u32,
}

/// Numbers of the notes that arrived, with the tick that they arrived in.
#[derive(Resource, Default)]
struct Notes(Vec<u32>);

struct Playing;

impl Plugin for Playing {
    fn build(&self, app: &mut App) {
        let stone = GhostPrefab::new("stone").component::<Position>().optimization_mode(GhostOptimizationMode::Static);
        app.add_plugins((Game, Fingers))
            .register_ghost::<Stone>(stone)
            .register_rpc::<Note>()
            .init_resource::<Notes>()
            .add_systems_in(WorldFlags::CLIENT, GhostInput, steer)
            .add_systems(PredictedSimulation, run)
            .add_systems_in(WorldFlags::SERVER, Simulation, (wander, kick))
            .add_systems(Simulation, note);
    }
}

fn steer(time: Res<NetworkTime>, mut players: Query<&mut PlayerInput, With<GhostOwnerIsLocal>>) {
    for mut input in &mut players {
        input.horizontal = if time.server_tick.is_some_and(|tick| tick.index() % 60 < 30) { 1 } else { -1 };
    }
}

fn run(mut players: Query<(&PlayerInput, &mut Position), Simulate>) {
    for (input, mut position) in &mut players {
        position.value.x += f32::from(input.horizontal) * 0.01;
        position.value.y += input.jump.count() as f32;
    }
}

const STONES: usize = 3;

/// Some crates move all the time, the others rest: what a game calls static.
fn wander(mut crates: Query<(&Health, &mut Position), With<Crate>>) {
    for (_, mut position) in crates.iter_mut().filter(|(health, _)| health.points > 0) {
        position.value.z += 0.02;
    }
}

/// Once per second a stone is somewhere else, until everything rests.
fn kick(time: Res<NetworkTime>, mut stones: Query<&mut Position, With<Stone>>, crates: Query<&Health, With<Crate>>) {
    let is_over = crates.iter().all(|health| health.points == 0);
    if !is_over && time.server_tick.is_some_and(|tick| tick.index().is_multiple_of(60)) {
        stones.iter_mut().for_each(|mut position| position.value.z += 1.0);
    }
}

fn note(mut commands: Commands, mut notes: ResMut<Notes>, arrived: Query<(Entity, &Note, &ReceiveRpcCommandRequest)>) {
    let mut sorted: Vec<_> = arrived.iter().collect();
    sorted.sort_by_key(|(_, _, request)| request.sequence());
    for (entity, note, _) in sorted {
        notes.0.push(note.number);
        commands.entity(entity).despawn();
    }
}

fn spawn_everything(fleet: &mut Fleet) {
    for client in 0..fleet.client_count() {
        let id = fleet.client(client).network_id().unwrap();
        fleet.server().world_mut().spawn_ghost::<Player>(GhostOwner(id));
    }
    for points in 0..6 {
        fleet.server().world_mut().spawn_ghost::<Crate>(Health { points: points % 2 });
    }
    for x in 0..STONES {
        fleet.server().world_mut().spawn_ghost::<Stone>(Position { value: bevy_math::Vec3::X * x as f32 });
    }
}

/// Positions by ghost id.
fn positions<F: bevy_ecs::query::QueryFilter>(world: &mut World) -> Vec<(u32, bevy_math::Vec3)> {
    let mut found: Vec<_> = world
        .query_filtered::<(&GhostInstance, &Position), F>()
        .iter(world)
        .map(|(g, p)| (g.ghost_id, p.value))
        .collect();
    found.sort_by_key(|(id, _)| *id);
    found
}

/// Nobody moves and nobody presses any more.
fn come_to_rest(fleet: &mut Fleet) {
    let server = fleet.server().world_mut();
    for mut health in server.query::<&mut Health>().iter_mut(server) {
        health.points = 0;
    }
    for client in 0..fleet.client_count() {
        fleet.client(client).world_mut().resource_mut::<Finger>().press = false;
    }
}

/// Clients of any pace and phase beside the server, in an order that is new in every frame.
#[test]
fn worlds_at_any_pace_and_in_any_order_agree_in_the_end() {
    for (seed, link) in [LinkProfile::perfect(), LinkProfile::rtt(60), LinkProfile::perfect().with_periodic_loss(3)]
        .into_iter()
        .enumerate()
    {
        let mut dice = Dice::new(seed as u64 + 11);
        let mut fleet =
            Fleet::builder().plugin(Playing).clients(3).link(link).seed(seed as u64).tick_rate(unmerged()).build();
        fleet.logs().tolerate("predicted server tick jumped");
        fleet.connect_all();
        fleet.go_in_game_all();
        spawn_everything(&mut fleet);
        fleet.ticks(30);
        // The server at 60 Hz, clients at 144, 20 and anything between.
        let mut due = [0.0, 0.003, 0.007, 0.011];
        let mut now = 0.0;
        while now < 10.0 {
            let next = (0..4).min_by(|a, b| f64::total_cmp(&due[*a], &due[*b])).unwrap();
            now = due[next];
            let dt = match next {
                0 => 1.0 / 60.0,
                1 => 1.0 / 144.0,
                2 => 1.0 / 20.0,
                _ => dice.between(1.0 / 200.0, 1.0 / 25.0),
            };
            due[next] += dt;
            let dt = Duration::from_secs_f64(dt);
            if next == 0 {
                fleet.tick_server(dt);
            } else {
                fleet.client(next - 1).world_mut().resource_mut::<Finger>().press = dice.one_in(6);
                fleet.tick_client(next - 1, dt);
            }
        }
        for client in 0..3 {
            let server = fleet.server().server_tick().unwrap();
            let ahead = fleet.client(client).server_tick().unwrap().ticks_since(server);
            assert!((0..=12).contains(&ahead), "link {seed}: client {client} is {ahead} ticks ahead");
        }
        come_to_rest(&mut fleet);
        fleet.ticks(90);
        check_presses(&mut fleet, &format!("link {seed}"));
    }
}

/// What must be true once crates rest and nobody presses: each press counted once, and all see crates and stones where they are.
fn check_presses(fleet: &mut Fleet, case: &str) {
    for client in 0..fleet.client_count() {
        let pressed = fleet.client(client).world().resource::<Finger>().pressed;
        assert!(pressed > 20, "{case}: client {client} pressed {pressed} times");
        let id = fleet.client(client).network_id().unwrap();
        let seen = fleet.server().world().resource::<Seen>().0[id.0 as usize];
        assert_eq!(seen, pressed, "{case}: presses of client {client}");
    }
    let server = positions::<Or<(With<Crate>, With<Stone>)>>(fleet.server().world_mut());
    for client in 0..fleet.client_count() {
        let seen = positions::<Or<(With<Crate>, With<Stone>)>>(fleet.client(client).world_mut());
        assert_eq!(seen.len(), server.len(), "{case}: client {client}");
        for ((id, of_server), (_, of_client)) in server.iter().zip(&seen) {
            assert!(
                (*of_server - *of_client).abs().max_element() < 0.0021,
                "{case}: ghost {id}: {of_server}, {of_client}"
            );
        }
    }
}

#[test]
fn slower_network_rates_carry_prediction_inputs_and_what_rests() {
    for network_tick_rate in [20, 15] {
        for order in [WorldOrder::ServerFirst, WorldOrder::ClientFirst] {
            for link in [LinkProfile::perfect(), LinkProfile::rtt(60), LinkProfile::perfect().with_periodic_loss(3)] {
                let case = format!("{network_tick_rate} Hz, {order:?}");
                let rate = ClientServerTickRate { network_tick_rate, ..unmerged() };
                let mut fleet =
                    Fleet::builder().plugin(Playing).clients(2).link(link).order(order).tick_rate(rate).build();
                fleet.connect_all();
                fleet.go_in_game_all();
                spawn_everything(&mut fleet);
                fleet.ticks(120);
                let sent = fleet.server().world().resource::<NetworkStats>().sent_snapshot_packets;
                for frame in 0..300 {
                    for client in 0..2 {
                        fleet.client(client).world_mut().resource_mut::<Finger>().press = frame % 7 == client;
                    }
                    fleet.tick();
                }
                let sent = fleet.server().world().resource::<NetworkStats>().sent_snapshot_packets - sent;
                let wanted = 2 * 5 * network_tick_rate as u64;
                assert!((wanted - 2..=wanted + 2).contains(&sent), "{case}: {sent} packets in five seconds");
                come_to_rest(&mut fleet);
                fleet.ticks(90);
                check_presses(&mut fleet, &case);
                let stats = fleet.client(0).world().resource::<PredictionStats>();
                assert!(stats.comparisons > 50 && stats.first_time_ticks > 300, "{case}: {stats:?}");
                if link == LinkProfile::perfect() {
                    assert_eq!(stats.mispredictions, 0, "{case}: {stats:?}");
                }
            }
        }
    }
}

/// Inputs, RPCs, spawns and despawns, connections that come and go, and a long burst of loss: all across the wrap.
#[test]
fn everything_goes_across_the_wrap_of_the_tick_number() {
    for before_wrap in [3, 40, 75, 130] {
        let start = NetworkTick::new(NetworkTick::MAX_INDEX - before_wrap);
        let mut fleet = Fleet::builder()
            .plugin(Playing)
            .clients(2)
            .link(LinkProfile::rtt(60))
            .start_tick(start)
            .tick_rate(unmerged())
            .build();
        let case = format!("{before_wrap} ticks before the wrap");
        fleet.connect_all();
        fleet.go_in_game_all();
        spawn_everything(&mut fleet);
        let mut doomed = Vec::new();
        let mut number = 0;
        for frame in 0..240 {
            for client in 0..2 {
                fleet.client(client).world_mut().resource_mut::<Finger>().press = frame % 7 == client;
            }
            if frame % 3 == 0 {
                number += 1;
                fleet.server().world_mut().spawn((Note { number }, SendRpcCommandRequest::default()));
                fleet.client(0).world_mut().spawn((Note { number }, SendRpcCommandRequest::default()));
                doomed.push(fleet.server().world_mut().spawn_ghost::<Crate>(Health { points: 1 }));
                if doomed.len() > 4 {
                    fleet.server().world_mut().despawn(doomed.remove(0));
                }
            }
            fleet.tick();
            let map = positions::<With<GhostInstance>>(fleet.server().world_mut()).len();
            assert_eq!(map, 2 + 6 + STONES + doomed.len(), "{case}");
        }
        come_to_rest(&mut fleet);
        fleet.ticks(60);
        check_presses(&mut fleet, &case);
        let sent: Vec<u32> = (1..=number).collect();
        assert_eq!(fleet.client(0).world().resource::<Notes>().0, sent, "{case}");
        assert_eq!(fleet.server().world().resource::<Notes>().0, sent, "{case}");
        let tick = fleet.server().server_tick().unwrap();
        assert!(tick.index() < 400 && tick.is_newer_than(start), "{case}: it did wrap: {tick}");
        for client in 0..2 {
            let connection = fleet.client(client).connections()[0];
            let ack = fleet.client(client).world().get::<NetworkSnapshotAck>(connection).unwrap();
            assert!(tick.ticks_since(ack.last_received_snapshot_by_local.unwrap()) < 8, "{case}");
        }
    }
}

/// More packets than the acknowledgements reach back are lost in a row, while the tick number wraps.
#[test]
fn a_burst_of_loss_longer_than_the_acknowledgements_reach_is_survived_across_the_wrap() {
    let start = NetworkTick::new(NetworkTick::MAX_INDEX - 200);
    let mut fleet = Fleet::builder().plugin(Playing).clients(1).start_tick(start).tick_rate(unmerged()).build();
    fleet.logs().tolerate("predicted server tick jumped");
    fleet.connect_all();
    fleet.go_in_game_all();
    spawn_everything(&mut fleet);
    fleet.ticks(60);
    fleet.link(0).cut(Direction::ToClient);
    fleet.ticks(400);
    fleet.link(0).mend(Direction::ToClient);
    for frame in 0..150 {
        fleet.client(0).world_mut().resource_mut::<Finger>().press = frame % 5 == 0;
        fleet.tick();
    }
    come_to_rest(&mut fleet);
    fleet.ticks(60);
    check_presses(&mut fleet, "after the burst");
}

/// A connection that ends and comes back while the tick number wraps: its events are raised in their ticks.
#[test]
fn connection_events_come_in_their_ticks_across_the_wrap() {
    let events = |start: u32| -> Vec<(usize, usize, ConnectionStatus)> {
        let mut fleet = Fleet::builder().plugin(Playing).start_tick(NetworkTick::new(start)).build();
        fleet.listen();
        fleet.connect(0);
        let mut seen = Vec::new();
        for tick in 0..30 {
            fleet.tick();
            seen.extend(fleet.server().events().iter().map(|event| (tick, 0, event.state)));
            seen.extend(fleet.client(0).events().iter().map(|event| (tick, 1, event.state)));
            if tick == 14 {
                let connection = fleet.client(0).connections()[0];
                fleet.client(0).world_mut().disconnect(connection, DisconnectReason::ConnectionClose);
            } else if tick == 18 {
                fleet.connect(0);
            }
        }
        seen
    };
    let far_away = events(1000);
    assert_eq!(far_away.len(), 12, "{far_away:?}");
    for before_wrap in 0..30 {
        assert_eq!(events(NetworkTick::MAX_INDEX - before_wrap), far_away, "{before_wrap} ticks before the wrap");
    }
}

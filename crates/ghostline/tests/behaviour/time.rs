//! Time: RATE-01, RATE-03, RATE-05, TIME-01, TIME-02, PRED-06 and NEW-25, on whole worlds.

use crate::common::*;
use crate::dice::Dice;
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_time::Time;
use ghostline::connection::NetworkSnapshotAck;
use ghostline::prelude::*;
use ghostline::time::TargetFrameRateMode;
use ghostline_testkit::{FRAME, LinkProfile, WorldOrder};

/// What the schedules of a world saw.
#[derive(Resource, Default)]
struct Notes {
    predicted_elapsed: Vec<f64>,
    initialization_off_frame: Vec<bool>,
    ticks: Vec<u32>,
}

struct Watch;

impl Plugin for Watch {
    fn build(&self, app: &mut App) {
        app.add_plugins(Game)
            .init_resource::<Notes>()
            .add_systems_in(WorldFlags::SERVER, Initialization, |time: Res<NetworkTime>, mut notes: ResMut<Notes>| {
                notes.initialization_off_frame.push(time.is_off_frame);
            })
            .add_systems_in(
                WorldFlags::SERVER,
                PredictedSimulation,
                |time: Res<Time>, net: Res<NetworkTime>, mut notes: ResMut<Notes>| {
                    notes.predicted_elapsed.push(time.elapsed_secs_f64() - time.delta_secs_f64());
                    notes.predicted_elapsed.push(net.elapsed_network_time);
                    notes.ticks.push(net.server_tick.unwrap().index());
                },
            );
    }
}

#[test]
fn elapsed_time_is_never_negative_also_when_the_first_frame_holds_four_ticks() {
    for steps in [1, 4] {
        let rate = ClientServerTickRate {
            max_simulation_steps_per_frame: steps,
            max_simulation_step_batch_size: 4,
            target_frame_rate_mode: TargetFrameRateMode::BusyWait,
            ..ClientServerTickRate::default()
        };
        let mut fleet = Fleet::builder().plugin(Watch).tick_rate(rate).build();
        if steps == 1 {
            fleet.logs().expect("the server merges ticks");
        }
        fleet.tick_server(FRAME * 4);
        fleet.ticks(3);
        let notes = fleet.server().world().resource::<Notes>();
        assert!(notes.ticks.len() >= 2, "{:?}", notes.ticks);
        assert!(notes.predicted_elapsed.iter().all(|&elapsed| elapsed >= 0.0), "{:?}", notes.predicted_elapsed);
    }
}

#[test]
fn a_server_knows_before_its_simulation_whether_it_will_tick() {
    for (mode, expected) in [
        (TargetFrameRateMode::Sleep, [true, true, true, true]),
        (TargetFrameRateMode::BusyWait, [false, true, false, true]),
    ] {
        let rate = ClientServerTickRate { target_frame_rate_mode: mode, ..ClientServerTickRate::default() };
        let mut fleet = Fleet::builder().plugin(Watch).tick_rate(rate).build();
        fleet.tick_server(FRAME);
        for (frame, ticks) in expected.into_iter().enumerate() {
            let before = fleet.server().world().resource::<Notes>().ticks.len();
            let dt =
                if mode == TargetFrameRateMode::Sleep { FRAME } else { FRAME / 2 + std::time::Duration::from_nanos(1) };
            fleet.tick_server(dt);
            let notes = fleet.server().world().resource::<Notes>();
            assert_eq!(notes.ticks.len() > before, ticks, "{mode:?}, frame {frame}");
            assert_eq!(notes.initialization_off_frame.last(), Some(&!ticks), "{mode:?}, frame {frame}: told before");
            let time = fleet.server().network_time();
            assert_eq!(time.is_off_frame, !ticks, "{mode:?}, frame {frame}: told after");
        }
    }
}

#[test]
fn in_process_a_client_predicts_one_tick_ahead_only() {
    for order in [WorldOrder::ServerFirst, WorldOrder::ClientFirst] {
        let mut fleet = Fleet::builder().plugin(Game).link(LinkProfile::in_process()).order(order).build();
        fleet.connect_all();
        fleet.go_in_game_all();
        fleet.ticks(16);
        let mut age = 0;
        for frame in 0..51 {
            fleet.tick_by(FRAME.mul_f64(0.75));
            let server_tick = fleet.server().server_tick().unwrap();
            let connection = fleet.client(0).connections()[0];
            let ack = fleet.client(0).world().get::<NetworkSnapshotAck>(connection).unwrap();
            let behind = server_tick.ticks_since(ack.last_received_snapshot_by_local.unwrap());
            age = ack.server_command_age;
            assert!((0..=2).contains(&behind), "{order:?}, frame {frame}: the newest snapshot is {behind} ticks old");
            assert!(age <= 128, "{order:?}, frame {frame}: the command age is {age}/256");
        }
        if order == WorldOrder::ServerFirst {
            assert_eq!(age, 0, "at the end");
        }
    }
}

/// A walker that goes on and on.
struct Marching;

impl Plugin for Marching {
    fn build(&self, app: &mut App) {
        app.add_plugins(Game).add_systems_in(
            WorldFlags::SERVER,
            Simulation,
            |mut crates: Query<&mut Position, With<Crate>>| {
                for mut position in &mut crates {
                    position.value.x += 0.5;
                }
            },
        );
    }
}

#[test]
fn prediction_and_interpolation_never_go_back() {
    for seed in 1..=5 {
        for order in [WorldOrder::ServerFirst, WorldOrder::ClientFirst] {
            let mut dice = Dice::new(seed);
            let mut fleet = Fleet::builder().plugin(Marching).order(order).seed(seed).tick_rate(unmerged()).build();
            fleet.connect_all();
            fleet.go_in_game_all();
            fleet.server().world_mut().spawn_ghost::<Crate>(Position::default());
            fleet.ticks(30);
            let mut before: Option<(NetworkTime, f32)> = None;
            for frame in 0..50 {
                fleet.tick_by(FRAME.mul_f64(dice.between(0.75, 1.25)));
                let time = fleet.client(0).network_time().clone();
                let world = fleet.client(0).world_mut();
                let x = world.query::<&Position>().single(world).unwrap().value.x;
                if let Some((then, x_then)) = &before {
                    let moved = |now: Option<NetworkTick>, f: f32, then: Option<NetworkTick>, then_f: f32| {
                        now.unwrap().ticks_since(then.unwrap()) as f32 + f - then_f
                    };
                    let predicted =
                        moved(time.server_tick, time.server_tick_fraction, then.server_tick, then.server_tick_fraction);
                    let interpolated = moved(
                        time.interpolation_tick,
                        time.interpolation_tick_fraction,
                        then.interpolation_tick,
                        then.interpolation_tick_fraction,
                    );
                    assert!(predicted >= 0.0, "seed {seed}, {order:?}, frame {frame}: prediction went {predicted}");
                    assert!(
                        interpolated >= 0.0,
                        "seed {seed}, {order:?}, frame {frame}: interpolation went {interpolated}"
                    );
                    assert!(x >= *x_then, "seed {seed}, {order:?}, frame {frame}: from {x_then} back to {x}");
                }
                before = Some((time, x));
            }
            let connection = fleet.client(0).connections()[0];
            let age = fleet.client(0).world().get::<NetworkSnapshotAck>(connection).unwrap().server_command_age;
            assert!((-4 * 256..=0).contains(&age), "seed {seed}, {order:?}: commands come {age}/256 ticks late");
        }
    }
}

/// NEW-25: a minute, or as many as `GHOSTLINE_DRIFT_MINUTES` says.
#[test]
fn clocks_that_drift_and_frames_of_any_length_add_up_to_nothing() {
    let minutes: f64 = std::env::var("GHOSTLINE_DRIFT_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    // (drift of the client's clock, its frames per second, the server's)
    for (drift, client_hz, server_hz) in
        [(0.01, 60.0, 60.0), (-0.01, 20.0, 60.0), (0.01, 500.0, 144.0), (-0.01, 144.0, 20.0)]
    {
        let case = format!("{drift:+}, {client_hz} and {server_hz} frames per second");
        let mut fleet =
            Fleet::builder().plugin(Marching).link(LinkProfile::rtt(60)).tick_rate(unmerged()).seed(25).build();
        fleet.connect_all();
        fleet.go_in_game_all();
        fleet.server().world_mut().spawn_ghost::<Crate>(Position::default());
        fleet.ticks(60);
        let start = fleet.server().network_time().clone();
        let (mut true_time, mut client_next, mut server_next) = (0.0, 0.0, 0.0);
        let mut dice = Dice::new(25);
        let mut leads: Option<(f64, f64)> = None;
        while true_time < minutes * 60.0 {
            if server_next <= client_next {
                let frame = dice.between(0.9, 1.1) / server_hz;
                (true_time, server_next) = (server_next, server_next + frame);
                fleet.tick_server(std::time::Duration::from_secs_f64(frame));
            } else {
                let frame = dice.between(0.9, 1.1) / client_hz;
                (true_time, client_next) = (client_next, client_next + frame);
                fleet.tick_client(0, std::time::Duration::from_secs_f64(frame * (1.0 + drift)));
                let server = fleet.server().server_tick().unwrap();
                let time = fleet.client(0).network_time();
                let lead = f64::from(time.server_tick.unwrap().ticks_since(server)) - 1.0
                    + f64::from(time.server_tick_fraction);
                if true_time > 5.0 {
                    let (low, high) = leads.unwrap_or((lead, lead));
                    leads = Some((low.min(lead), high.max(lead)));
                }
            }
        }
        let (low, high) = leads.unwrap();
        assert!(low > 0.0 && high < 13.0, "{case}: prediction is {low} to {high} ticks ahead");
        let server = fleet.server().network_time().clone();
        let ticks = server.server_tick.unwrap().ticks_since(start.server_tick.unwrap());
        assert!((f64::from(ticks) - minutes * 3600.0).abs() < 8.0, "{case}: {ticks} ticks");
        let elapsed = server.elapsed_network_time - start.elapsed_network_time;
        assert!((elapsed - f64::from(ticks) / 60.0).abs() < 1e-6, "{case}: {elapsed} s for {ticks} ticks");
    }
}

/// Frames in which a client's simulation ran, and the times that its fixed sub-steps saw.
#[derive(Resource, Default)]
struct Passes {
    simulations: usize,
    sub_steps: Vec<f64>,
}

struct Counting;

impl Plugin for Counting {
    fn build(&self, app: &mut App) {
        app.add_plugins(Game)
            .init_resource::<Passes>()
            .add_systems(Simulation, |mut passes: ResMut<Passes>| passes.simulations += 1)
            .add_systems(PredictedFixedStepSimulation, |time: Res<Time>, mut passes: ResMut<Passes>| {
                passes.sub_steps.push(time.elapsed_secs_f64());
            });
    }
}

// RATE-05
#[test]
fn a_prediction_that_is_put_back_ten_ticks_skips_nine_frames_and_simulates_nothing_twice() {
    let mut fleet = Fleet::builder().plugin(Counting).tick_rate(unmerged()).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    let owner = fleet.client(0).network_id().unwrap();
    fleet.server().world_mut().spawn_ghost::<Player>(GhostOwner(owner));
    fleet.ticks(120);
    let simulations = |fleet: &mut Fleet| fleet.client(0).world().resource::<Passes>().simulations;
    let before = simulations(&mut fleet);
    fleet.tick();
    assert_eq!(simulations(&mut fleet) - before, 1, "the frame in which it happens runs");
    ghostline::world::shift_predict_target(fleet.client(0).world_mut(), -10);
    let predicted = fleet.client(0).network_time().last_full_server_tick().unwrap();
    let ran: Vec<usize> = (0..10)
        .map(|_| {
            let before = simulations(&mut fleet);
            fleet.tick();
            simulations(&mut fleet) - before
        })
        .collect();
    assert_eq!(ran, [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert!(!fleet.client(0).network_time().last_full_server_tick().unwrap().is_older_than(predicted));
}

// PRED-06
#[test]
fn the_time_of_fixed_sub_steps_only_grows_and_is_a_multiple_of_their_length() {
    for ratio in [1, 2, 3] {
        for frames_per_second in [60, 30, 45, 117] {
            let rate = ClientServerTickRate { predicted_fixed_step_simulation_tick_ratio: ratio, ..unmerged() };
            let mut fleet = Fleet::builder().plugin(Counting).tick_rate(rate).build();
            fleet.connect_all();
            fleet.go_in_game_all();
            let owner = fleet.client(0).network_id().unwrap();
            fleet.server().world_mut().spawn_ghost::<Player>(GhostOwner(owner));
            fleet.ticks(60);
            fleet.client(0).world_mut().resource_mut::<Passes>().sub_steps.clear();
            for _ in 0..16 {
                fleet.tick_by(std::time::Duration::from_secs(1) / frames_per_second);
            }
            let length = 1.0 / (60.0 * f64::from(ratio));
            for on_client in [false, true] {
                let world = if on_client { fleet.client(0).world() } else { fleet.server().world() };
                let times = &world.resource::<Passes>().sub_steps;
                let context = format!("ratio {ratio}, {frames_per_second} fps, on the client: {on_client}");
                assert!(times.len() > 6, "{context}: {}", times.len());
                for pair in times.windows(2) {
                    // (A partial tick with whole sub-steps in it is simulated again when it is full.)
                    assert!(pair[1] > pair[0] || (on_client && ratio > 1), "{context}: {pair:?}");
                }
                for time in times {
                    let steps = time / length;
                    assert!((steps - steps.round()).abs() * length < 1e-6, "{context}: {time} is {steps} sub-steps");
                }
            }
        }
    }
}

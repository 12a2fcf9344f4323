//! Prediction: what a client simulates ahead is what the server will say; what was wrong is corrected, what was right is left alone.
//! The ground on which these tests stand (game, logs, fleets) is in `race.rs`.

use bevy_ecs::prelude::*;
use bevy_math::Vec3;
use bevy_time::Time;
use ghostline::prediction::{Frozen, RollbackMode};
use ghostline::prelude::*;
use ghostline::stats::PredictionStats;
use ghostline::time::PredictionLoopUpdateMode;
use ghostline_testkit::{FRAME, LinkProfile};

use crate::race::*;

pub(crate) fn stats(world: &World) -> PredictionStats {
    world.resource::<PredictionStats>().clone()
}

#[test]
fn a_corrected_ghost_keeps_its_exact_value_in_the_lanes_that_were_right() {
    let mut race = Race::started(LinkProfile::rtt(60));
    race.server_car::<Position>().value.y += 1.0;
    race.fleet.ticks(60);
    assert_eq!(stats(race.fleet.client(0).world()).mispredictions, 1);
    race.stop_engines();
    race.fleet.ticks(30);
    let now = race.client_car::<Position>(0).value;
    let rounded = |value: f32| (value * 1000.0).round() / 1000.0;
    // The server's value is a whole number of quanta at the moment of the correction, its own is not.
    assert_ne!(now.x, rounded(now.x), "{now}");
    assert_ne!(now.z, rounded(now.z), "{now}");
}

#[test]
fn state_that_is_predicted_but_not_sent_goes_back_with_the_ghost() {
    let mut race =
        Race::new(RaceOptions { profile: LinkProfile::rtt(100), with_turbo: true, ..RaceOptions::default() });
    race.fleet.ticks(100);
    race.start_engines();
    race.fleet.ticks(60);
    for push in 1..=8 {
        race.server_car::<Position>().value.y += 1.0;
        race.fleet.ticks(37);
        let stats = stats(race.fleet.client(0).world());
        // One for each push: were charge or boost wrong after a rollback, the ghost would be wrong again and again.
        assert_eq!(stats.mispredictions, push, "{stats:?}");
    }
    let boosts = race.fleet.client(0).world().resource::<Boosts>().0;
    assert!(boosts > 3, "the boost comes and goes: {boosts}");
    assert!(race.last_wrong_frame(2.0 * QUANTUM).is_some());
}

#[test]
fn rolling_back_always_costs_time_and_changes_nothing() {
    let mut race = Race::new(RaceOptions { profile: LinkProfile::rtt(60), ..RaceOptions::default() });
    race.fleet.ticks(100);
    race.fleet.client(0).world_mut().resource_mut::<PredictionSettings>().rollback = RollbackMode::Always;
    race.start_engines();
    race.fleet.ticks(200);
    let stats = stats(race.fleet.client(0).world());
    assert_eq!(stats.mispredictions, 0);
    assert!(stats.rollbacks > 190 && stats.resimulated_ticks > 3 * 190, "{stats:?}");
    assert!(race.ticks_within_a_quantum_of_the_row() > 150);
}

#[test]
fn ticks_are_simulated_for_the_first_time_once_and_flags_mark_the_ends_of_the_loop() {
    let mut race = Race::started(LinkProfile::rtt(60));
    for frame in 0..120_u32 {
        if frame % 40 == 20 {
            race.nudge_client(Vec3::X);
        }
        race.fleet.client(0).world_mut().resource_mut::<Steps>().0.clear();
        let elapsed = race.fleet.client(0).world().resource::<Time>().elapsed();
        race.fleet.tick_by(FRAME.mul_f64([0.4, 1.0, 0.7, 2.3][frame as usize % 4]));
        let world = race.fleet.client(0).world();
        let outside = world.resource::<Time>();
        let off = outside.elapsed().saturating_sub(elapsed).abs_diff(outside.delta());
        assert!(off.as_nanos() <= 1, "time is the frame's own again after the loop: {off:?}");
        let (steps, time) = (&world.resource::<Steps>().0, world.resource::<NetworkTime>());
        assert!(!time.is_in_prediction_loop() && !time.is_final_prediction_tick() && time.predicted_tick_index == 0);
        for (index, step) in steps.iter().enumerate() {
            let is_last = index + 1 == steps.len();
            assert!(step.is_in_prediction_loop());
            assert_eq!(step.predicted_tick_index as usize, index + 1);
            assert_eq!(step.num_predicted_ticks_expected as usize, steps.len());
            assert_eq!(step.is_first_prediction_tick(), index == 0);
            assert_eq!(step.is_final_prediction_tick(), is_last);
            assert_eq!(step.is_partial_tick(), is_last && time.is_partial_tick());
            assert_eq!(
                step.is_final_full_prediction_tick(),
                !step.is_partial_tick() && step.server_tick == time.last_full_server_tick()
            );
            assert!(!(step.is_partial_tick() && step.is_first_time_fully_predicting_tick()));
            assert_eq!(step.simulation_step_batch_size, 1);
        }
        if let Some(last) = steps.last() {
            assert_eq!((last.server_tick, last.server_tick_fraction), (time.server_tick, time.server_tick_fraction));
        }
    }
    let world = race.fleet.client(0).world();
    let first_times = &world.resource::<FirstTimes>().0;
    assert!(first_times.len() > 100 && first_times.windows(2).all(|pair| pair[1] == pair[0].next()), "{first_times:?}");
    assert!(stats(world).resimulated_ticks > 5);
}

#[test]
fn the_server_sets_every_prediction_flag() {
    let mut race = Race::started(LinkProfile::perfect());
    race.fleet.server().world_mut().resource_mut::<Steps>().0.clear();
    race.fleet.ticks(10);
    let steps = &race.fleet.server().world().resource::<Steps>().0;
    assert_eq!(steps.len(), 10);
    for step in steps {
        assert!(step.is_in_prediction_loop() && step.is_first_prediction_tick() && step.is_final_prediction_tick());
        assert!(step.is_final_full_prediction_tick() && step.is_first_time_fully_predicting_tick());
    }
    let world = race.fleet.server().world_mut();
    assert_eq!(world.query_filtered::<(), (With<Car>, With<PredictedGhost>, Without<Frozen>)>().iter(world).count(), 1);
}

#[test]
fn sub_steps_are_whole_and_as_many_as_fit() {
    for sub_steps in [1, 2, 3] {
        let mut race = Race::new(RaceOptions { sub_steps, profile: LinkProfile::rtt(60), ..RaceOptions::default() });
        race.fleet.ticks(60);
        for frame in 0..60 {
            let world = race.fleet.client(0).world_mut();
            world.resource_mut::<Steps>().0.clear();
            world.resource_mut::<SubSteps>().0.clear();
            race.fleet.tick_by(FRAME.mul_f64([0.4, 0.6, 0.5, 1.5][frame % 4]));
            let world = race.fleet.client(0).world();
            for step in &world.resource::<Steps>().0 {
                let lengths =
                    world.resource::<SubSteps>().0.iter().filter(|(index, _)| *index == step.predicted_tick_index);
                let expected = (step.server_tick_fraction * sub_steps as f32 + 1e-4) as usize;
                assert_eq!(lengths.clone().count(), expected, "{sub_steps}: {}", step.server_tick_fraction);
                for (_, length) in lengths {
                    assert!((length * 60.0 * sub_steps as f32 - 1.0).abs() < 1e-5);
                }
            }
        }
        let world = race.fleet.server().world_mut();
        let (steps, sub) = (world.resource::<Steps>().0.len(), world.resource::<SubSteps>().0.len());
        assert_eq!(sub, steps * sub_steps as usize);
    }
}

#[test]
fn after_a_stall_a_frame_predicts_at_most_64_ticks_and_ends_up_right() {
    let mut race = Race::started(LinkProfile::rtt(60));
    race.fleet.logs().expect("predicted server tick jumped");
    race.fleet.logs().expect("stopped ticking for 0.1 s.*client 0");
    for _ in 0..150 {
        race.fleet.tick_server(FRAME);
    }
    for _ in 0..20 {
        race.fleet.client(0).world_mut().resource_mut::<Steps>().0.clear();
        race.fleet.tick_client(0, FRAME * 8);
        let steps = race.fleet.client(0).world().resource::<Steps>().0.len();
        assert!(steps <= 65, "{steps} steps in a frame");
    }
    race.stop_engines();
    race.fleet.ticks(200);
    assert!(race.quanta_from_the_row() <= 1.0 + FLOAT_NOISE);
}

#[test]
fn merged_steps_never_reach_across_a_change_of_input() {
    let rate = ClientTickRate { max_prediction_step_batch_size_repeated_tick: 4, ..ClientTickRate::default() };
    let mut race =
        Race::new(RaceOptions { profile: LinkProfile::rtt(200), client_tick_rate: rate, ..RaceOptions::default() });
    race.fleet.ticks(100);
    race.start_engines();
    race.fleet.ticks(60);
    let mut longest = 0;
    for _ in 0..6 {
        race.nudge_client(Vec3::Y);
        for _ in 0..23 {
            race.fleet.client(0).world_mut().resource_mut::<Steps>().0.clear();
            race.fleet.tick();
            let steps = race.fleet.client(0).world().resource::<Steps>().0.clone();
            for step in &steps {
                let (end, length) = (step.server_tick.unwrap(), step.simulation_step_batch_size);
                longest = longest.max(length);
                assert!(length <= 4);
                let commands = race.client_car::<CommandBuffer<Wheel>>(0).clone();
                for merged in 1..length {
                    let input = |tick| commands.get_at_tick(tick).map(|(_, wheel)| *wheel);
                    assert_eq!(input(end), input(end.sub(merged)), "a step of {length} ending at {end}");
                }
            }
            if let Some(step) = steps.first() {
                let ticks: u32 = steps.iter().map(|step| step.simulation_step_batch_size).sum();
                assert_eq!(step.num_predicted_ticks_expected, ticks);
            }
        }
    }
    assert!(longest > 1, "some ticks are merged");
}

#[test]
fn the_loop_runs_without_predicted_ghosts_only_if_asked_to() {
    for (mode, runs) in
        [(PredictionLoopUpdateMode::RequirePredictedGhost, false), (PredictionLoopUpdateMode::AlwaysRun, true)]
    {
        let rate = ClientTickRate { prediction_loop_update_mode: mode, ..ClientTickRate::default() };
        let mut race = Race::new(RaceOptions { client_tick_rate: rate, without_cars: true, ..RaceOptions::default() });
        race.fleet.ticks(40);
        race.fleet.client(0).world_mut().resource_mut::<Steps>().0.clear();
        race.fleet.ticks(20);
        let steps = &race.fleet.client(0).world().resource::<Steps>().0;
        let full_ticks = steps.iter().filter(|step| !step.is_partial_tick()).count();
        assert!(if runs { (18..=22).contains(&full_ticks) } else { full_ticks == 0 }, "{mode:?}: {full_ticks}");
    }
}

#[test]
fn a_ghost_that_changes_hands_is_predicted_by_its_new_owner() {
    let mut race = Race::new(RaceOptions { clients: 2, profile: LinkProfile::rtt(60), ..RaceOptions::default() });
    race.fleet.ticks(60);
    race.start_engines();
    race.fleet.ticks(30);
    for new_owner in [1, 0] {
        let id = race.fleet.client(new_owner).network_id().unwrap();
        race.server_car::<GhostOwner>().0 = id;
        race.fleet.ticks(40);
        for client in 0..2 {
            let is_owner = client == new_owner;
            let car = race.client_cars(client)[0];
            let car = race.fleet.client(client).world().entity(car);
            assert_eq!(car.contains::<PredictedGhost>(), is_owner);
            assert_eq!(car.contains::<GhostOwnerIsLocal>(), is_owner);
            assert_eq!(car.contains::<Frozen>(), !is_owner);
        }
        let before = stats(race.fleet.client(new_owner).world()).mispredictions;
        race.fleet.ticks(60);
        assert_eq!(stats(race.fleet.client(new_owner).world()).mispredictions, before, "the new owner is right");
    }
}

// PRED-01
#[test]
fn prediction_and_server_agree_from_any_starting_tick() {
    for start in [0x0022_9321, 100, 0x7FFF_011F, 0x7FFF_FF00, 0x7FFF_FFF0, 0x7FFF_F1F0, 0x7FFF_FF80] {
        let start_tick = Some(NetworkTick::new(start));
        let mut race = Race::new(RaceOptions { start_tick, profile: LinkProfile::rtt(60), ..RaceOptions::default() });
        race.fleet.ticks(40);
        race.start_engines();
        race.fleet.ticks(256);
        let end = race.fleet.server().server_tick().unwrap();
        assert!(end.ticks_since(NetworkTick::new(start)) > 290, "{start:#x}");
        let stats = stats(race.fleet.client(0).world());
        assert_eq!((stats.mispredictions, stats.rollbacks), (0, 0), "{start:#x} {stats:?}");
        assert!(race.ticks_within_a_quantum_of_the_row() > 200, "{start:#x}");
    }
}

// PRED-02
#[test]
fn partial_ticks_start_from_the_last_full_one() {
    for order in [WorldOrder::ServerFirst, WorldOrder::ClientFirst] {
        let mut race = Race::new(RaceOptions { order, with_ball: true, ..RaceOptions::default() });
        race.fleet.ticks(40);
        race.set_ball_speed(1.0);
        race.fleet.ticks(20);
        let (mut client_before, mut server_before) = (f32::MIN, f32::MIN);
        for _ in 0..64 {
            race.fleet.tick_by(FRAME / 4);
            let (client, server) = (race.ball(true), race.ball(false));
            assert!(client > client_before, "{order:?}: {client} after {client_before}");
            assert!(server >= server_before);
            (client_before, server_before) = (client, server);
        }
        race.set_ball_speed(0.0);
        race.fleet.ticks(16);
        assert!((race.ball(true) - race.ball(false)).abs() < 0.01);
    }
}

// PRED-08
#[test]
fn in_one_process_every_command_arrives_for_the_tick_that_comes() {
    let options = RaceOptions { profile: LinkProfile::in_process(), ..RaceOptions::default() };
    let mut race = Race::new(options);
    race.fleet.ticks(20);
    for _ in 0..2048 {
        race.fleet.tick();
        let tick = race.fleet.server().server_tick().unwrap();
        let world = race.fleet.server().world_mut();
        let ack = world.query::<&ghostline::connection::NetworkSnapshotAck>().single(world).unwrap().clone();
        assert_eq!(ack.most_recent_full_command_tick, Some(tick));
        let snapshot = ack.last_received_snapshot_by_remote.unwrap();
        assert!(!snapshot.is_newer_than(tick));
        // What the server has simulated is never beyond what the client has predicted.
        assert!(!tick.is_newer_than(race.fleet.client(0).server_tick().unwrap()));
    }
}

// PRED-09
#[test]
fn a_client_is_always_ahead_and_predicts_in_every_frame() {
    let profile = LinkProfile::in_process();
    let mut race = Race::new(RaceOptions { profile, simulation_tick_rate: 30, ..RaceOptions::default() });
    race.fleet.ticks(60);
    let mut chance = 12345_u32;
    for frame in 0..2048 {
        chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = 0.1 + 0.3 * f64::from(chance >> 8) / f64::from(1 << 24);
        race.fleet.client(0).world_mut().resource_mut::<Steps>().0.clear();
        race.fleet.tick_by(FRAME.mul_f64(length));
        let (server, client) =
            (race.fleet.server().server_tick().unwrap(), race.fleet.client(0).server_tick().unwrap());
        assert!(client.is_newer_than(server), "frame {frame}: client {client}, server {server}");
        assert!(!race.fleet.client(0).world().resource::<Steps>().0.is_empty(), "frame {frame}");
    }
}

// RATE-06
#[test]
fn a_prediction_that_must_go_back_says_so_and_does_nothing_twice() {
    let mut race = Race::started(LinkProfile::perfect());
    race.fleet.logs().expect("predicted server tick jumped back by -[0-9]+ ticks");
    race.fleet.ticks(3);
    for _ in 0..20 {
        race.fleet.tick_client(0, FRAME);
    }
    race.fleet.ticks(10);
    let first_times = &race.fleet.client(0).world().resource::<FirstTimes>().0;
    assert!(first_times.windows(2).all(|pair| pair[1].is_newer_than(pair[0])), "{first_times:?}");
    race.fleet.ticks(60);
    race.stop_engines();
    race.fleet.ticks(30);
    assert!(race.quanta_from_the_row() <= 1.0 + FLOAT_NOISE);
}

// INP-01, INP-05: on a ghost that every client predicts, none of which has any other input.
#[test]
fn every_press_is_seen_once_with_the_input_of_its_tick_at_any_latency() {
    let profiles = [
        LinkProfile::perfect(),
        LinkProfile::rtt(60),
        LinkProfile::perfect().with_periodic_loss(3),
        LinkProfile::rtt(32).with_periodic_loss(20),
    ];
    for profile in profiles {
        for forced in [0, 1, 2, 8] {
            let rate = ClientTickRate { forced_input_latency_ticks: forced, ..ClientTickRate::default() };
            let options = RaceOptions {
                profile,
                client_tick_rate: rate,
                with_bike: true,
                without_cars: true,
                ..RaceOptions::default()
            };
            let mut race = Race::new(options);
            race.fleet.ticks(60);
            for frame in 0..64 {
                if frame % 12 == 2 && frame < 60 {
                    race.fleet.client(0).world_mut().resource_mut::<BlowHorn>().0 = true;
                }
                race.fleet.tick();
                let time = race.fleet.client(0).network_time();
                assert_eq!(time.effective_input_latency_ticks, u32::from(forced));
                let latency = time.input_target_tick().unwrap().ticks_since(time.server_tick.unwrap());
                assert_eq!(latency, i32::from(forced));
            }
            race.fleet.ticks(20);
            let what = format!("{profile:?}, {forced} ticks of latency");
            for on_client in [false, true] {
                let world = if on_client { race.fleet.client(0).world() } else { race.fleet.server().world() };
                let heard = world.resource::<Heard>();
                assert_eq!(heard.blows, 5, "{what}");
                let end = world.resource::<NetworkTime>().last_full_server_tick().unwrap();
                let read = |age: &u32| heard.sentinels.get(&end.sub(*age).raw()) == Some(&sentinel_of(end.sub(*age)));
                // Where the client's clock caught up, a tick has no sample of its own, and repeats the one before.
                let own = (1..=64).filter(read).count();
                assert!(own > 54, "{what}: {own} of 64 ticks had their own input");
            }
            assert_eq!(stats(race.fleet.client(0).world()).mispredictions, 0, "{what}");
        }
    }
}

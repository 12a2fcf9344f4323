//! Slow, lossy and changing links: PRED-03, TIME-04, NEW-24. How far a client predicts, how far in the past it shows the others, and how many commands
//! come late while that settles.

use crate::common::*;
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use ghostline::connection::NetworkSnapshotAck;
use ghostline::prediction::RollbackMode;
use ghostline::prelude::*;
use ghostline::stats::NetworkStats;
use ghostline_testkit::{Direction, LinkProfile, Transport};

/// A player of each client, and crates that move.
struct Yard;

impl Plugin for Yard {
    fn build(&self, app: &mut App) {
        app.add_plugins(Game)
            .add_systems_in(WorldFlags::CLIENT, GhostInput, |mut inputs: Query<&mut PlayerInput>| {
                inputs.iter_mut().for_each(|mut input| input.horizontal = 1);
            })
            .add_systems(PredictedSimulation, |mut players: Query<(&PlayerInput, &mut Position), Simulate>| {
                for (input, mut position) in &mut players {
                    position.value.x += f32::from(input.horizontal) * 0.05;
                }
            })
            .add_systems_in(WorldFlags::SERVER, Simulation, |mut crates: Query<&mut Position, With<Crate>>| {
                crates.iter_mut().for_each(|mut position| position.value.z += 0.1);
            });
    }
}

fn yard(profile: LinkProfile, clients: usize, seed: u64) -> Fleet {
    let mut fleet =
        Fleet::builder().plugin(Yard).clients(clients).link(profile).seed(seed).tick_rate(unmerged()).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    for client in 0..clients {
        let owner = fleet.client(client).network_id().unwrap();
        fleet.server().world_mut().spawn_ghost::<Player>(GhostOwner(owner));
    }
    fleet.server().world_mut().spawn_ghost::<Crate>(Position::default());
    fleet
}

fn late_commands(fleet: &mut Fleet) -> u64 {
    fleet.server().world().resource::<NetworkStats>().late_commands
}

/// Ticks from what interpolated ghosts show to the newest snapshot.
fn interpolation_delay(fleet: &mut Fleet) -> i32 {
    let connection = fleet.client(0).connections()[0];
    let ack = fleet.client(0).world().get::<NetworkSnapshotAck>(connection).unwrap();
    let newest = ack.last_received_snapshot_by_local.unwrap();
    newest.ticks_since(fleet.client(0).network_time().interpolation_tick.unwrap())
}

/// Ticks from the newest snapshot to what is predicted.
fn lead(fleet: &mut Fleet) -> i32 {
    let connection = fleet.client(0).connections()[0];
    let ack = fleet.client(0).world().get::<NetworkSnapshotAck>(connection).unwrap();
    let newest = ack.last_received_snapshot_by_local.unwrap();
    fleet.client(0).network_time().server_tick.unwrap().ticks_since(newest)
}

/// Ticks so often and checks on the way that no clock goes back.
fn run_forward(fleet: &mut Fleet, ticks: usize) {
    let clocks = |fleet: &mut Fleet| {
        let time = fleet.client(0).network_time().clone();
        (time.server_tick.unwrap(), time.interpolation_tick.unwrap())
    };
    let mut before = clocks(fleet);
    for _ in 0..ticks {
        fleet.tick();
        let now = clocks(fleet);
        assert!(!now.0.is_older_than(before.0) && !now.1.is_older_than(before.1), "{before:?}, then {now:?}");
        before = now;
    }
}

// PRED-03
#[test]
fn a_round_trip_beyond_the_budget_of_prediction_becomes_input_latency() {
    // Nine frames each way.
    let profile = LinkProfile::rtt(268);
    let mut fleet = yard(profile, 3, 1);
    for (client, (ahead_ms, latency)) in [(200, 0), (200, 6), (500, 3)].into_iter().enumerate() {
        let world = fleet.client(client).world_mut();
        let mut rate = world.resource_mut::<ClientTickRate>();
        rate.max_predict_ahead_time_ms = ahead_ms;
        rate.forced_input_latency_ticks = latency;
        // So that each frame predicts from the newest snapshot on.
        world.resource_mut::<PredictionSettings>().rollback = RollbackMode::Always;
    }
    fleet.ticks(512);
    for (client, (latency, at_least, at_most)) in [(9, 12, 16), (9, 12, 16), (3, 16, 31)].into_iter().enumerate() {
        let connection = fleet.client(client).connections()[0];
        let ack = fleet.client(client).world().get::<NetworkSnapshotAck>(connection).unwrap();
        let rtt_ms = ack.rtt.estimated_ms().unwrap();
        assert!((280.0..=320.0).contains(&rtt_ms), "client {client}: {rtt_ms}");
        for _ in 0..20 {
            fleet.tick();
            let time = fleet.client(client).network_time();
            let effective = time.effective_input_latency_ticks;
            assert!(effective.abs_diff(latency) <= 2, "client {client}: {effective} ticks of latency");
            let target = time.input_target_tick().unwrap().ticks_since(time.server_tick.unwrap());
            assert_eq!(target, effective as i32);
            // The budget, and what lies between two snapshots and a part of a tick.
            let predicted = time.num_predicted_ticks_expected;
            assert!((at_least..=at_most).contains(&predicted), "client {client} predicts {predicted} ticks");
        }
    }
}

// TIME-04
#[test]
fn a_third_of_lost_snapshots_makes_the_delay_of_interpolation_two_to_four_ticks() {
    for profile in [LinkProfile::rtt(10).with_periodic_loss(3), LinkProfile::rtt(10).with_loss_percent(33.0)] {
        let mut fleet = yard(profile, 1, 3);
        fleet.ticks(20);
        run_forward(&mut fleet, 100);
        // The newest snapshot may be one of those that got lost.
        let mut delays: Vec<i32> = (0..30)
            .map(|_| {
                fleet.tick();
                interpolation_delay(&mut fleet)
            })
            .collect();
        delays.sort_unstable();
        let median = delays[15];
        assert!((2..=4).contains(&median), "{profile:?}: {delays:?}");
    }
}

// NEW-24
#[test]
fn a_round_trip_that_steps_up_and_down_is_followed_with_a_bounded_number_of_late_commands() {
    let mut fleet = yard(LinkProfile::rtt(20), 1, 5);
    fleet.logs().tolerate("predicted server tick jumped");
    fleet.ticks(200);
    let (before, usual_lead) = (late_commands(&mut fleet), lead(&mut fleet));
    assert!((3..=5).contains(&usual_lead), "{usual_lead}");
    fleet.link(0).set(LinkProfile::rtt(400));
    fleet.ticks(120);
    let after_step = late_commands(&mut fleet);
    // A round trip of them can't be avoided: nobody knows yet.
    let round_trip = 24;
    assert!(after_step - before <= 3 * round_trip, "{} commands came late", after_step - before);
    fleet.ticks(120);
    assert!(late_commands(&mut fleet) - after_step <= 2, "then they are in time again");
    assert!((25..=29).contains(&lead(&mut fleet)), "{}", lead(&mut fleet));
    fleet.link(0).set(LinkProfile::rtt(20));
    fleet.ticks(600);
    assert!(lead(&mut fleet).abs_diff(usual_lead) <= 1, "{} as before", lead(&mut fleet));
    assert!(interpolation_delay(&mut fleet) <= 4);
}

// NEW-24, N-06
#[test]
fn lasting_jitter_widens_the_interpolation_buffer_and_an_end_of_it_narrows_it_again() {
    let mut fleet = yard(LinkProfile::rtt(60), 1, 7);
    fleet.ticks(200);
    let usual = interpolation_delay(&mut fleet);
    assert!((1..=3).contains(&usual), "{usual}");
    fleet.link(0).set(LinkProfile::rtt(60).with_jitter_ms(60));
    fleet.ticks(300);
    run_forward(&mut fleet, 60);
    let shown = |fleet: &mut Fleet| {
        let world = fleet.client(0).world_mut();
        world.query_filtered::<&Position, With<Crate>>().single(world).unwrap().value.z
    };
    let mut widest = 0;
    let mut steps = Vec::new();
    let mut before = shown(&mut fleet);
    for _ in 0..200 {
        fleet.tick();
        widest = widest.max(interpolation_delay(&mut fleet));
        let now = shown(&mut fleet);
        steps.push(now - before);
        before = now;
    }
    assert!(widest > usual + 1 && widest <= 8, "{widest} ticks, {usual} before");
    let smooth = steps.iter().filter(|step| (0.05..=0.15).contains(*step)).count();
    assert!(smooth > 180, "most frames show smooth motion: {smooth} of 200, {steps:?}");
    fleet.link(0).set(LinkProfile::rtt(60));
    fleet.ticks(600);
    let after = interpolation_delay(&mut fleet);
    assert!(after <= usual + 1, "{after}, {usual} before the jitter");
}

// N-06
#[test]
fn twenty_milliseconds_of_jitter_are_not_seen() {
    let mut fleet = yard(LinkProfile::rtt(60).with_jitter_ms(20), 1, 9);
    fleet.ticks(300);
    let shown = |fleet: &mut Fleet| {
        let world = fleet.client(0).world_mut();
        world.query_filtered::<&Position, With<Crate>>().single(world).unwrap().value.z
    };
    let mut before = shown(&mut fleet);
    for frame in 0..300 {
        fleet.tick();
        let now = shown(&mut fleet);
        // A tick is a tenth; the clock may run at 0.85 to 1.1.
        assert!((0.08..=0.115).contains(&(now - before)), "frame {frame}: {}", now - before);
        before = now;
    }
}

// NEW-24
#[test]
fn a_link_that_loses_a_third_at_random_and_one_that_breaks_off_for_half_a_second_are_survived() {
    let mut fleet = yard(LinkProfile::rtt(80).with_loss_percent(30.0), 1, 11);
    fleet.logs().tolerate("predicted server tick jumped");
    fleet.ticks(200);
    let before = late_commands(&mut fleet);
    fleet.ticks(600);
    let late = late_commands(&mut fleet) - before;
    // Four in a row are lost about once in a hundred commands.
    assert!(late <= 40, "{late} of 600 commands came late");
    fleet.link(0).set(LinkProfile::rtt(80));
    fleet.ticks(120);
    let before = late_commands(&mut fleet);
    for direction in [Direction::ToServer, Direction::ToClient] {
        fleet.link(0).cut(direction);
    }
    fleet.ticks(30);
    for direction in [Direction::ToServer, Direction::ToClient] {
        fleet.link(0).mend(direction);
    }
    fleet.ticks(60);
    let late = late_commands(&mut fleet) - before;
    assert!(late <= 30, "{late} commands came late");
    let before = late_commands(&mut fleet);
    fleet.ticks(120);
    assert!(late_commands(&mut fleet) - before <= 1, "a second later all is as before");
}

#[test]
fn over_a_socket_the_first_commands_of_a_player_who_is_far_away_are_in_time() {
    for round_trip_ms in [80, 200] {
        let profile = LinkProfile::rtt(round_trip_ms).with_jitter_ms(10).with_loss_percent(2.0);
        let mut fleet = Fleet::builder()
            .plugin(Yard)
            .link(profile)
            .seed(13)
            .tick_rate(unmerged())
            .transport(Transport::Quic)
            .build();
        fleet.listen();
        // The link is slow while the client connects, too.
        fleet.link(0).set(profile);
        fleet.connect(0);
        let mut ticks = 0;
        while fleet.client(0).network_id().is_none() {
            fleet.tick();
            ticks += 1;
            assert!(ticks < 300);
        }
        fleet.go_in_game_all();
        let owner = fleet.client(0).network_id().unwrap();
        fleet.server().world_mut().spawn_ghost::<Player>(GhostOwner(owner));
        fleet.ticks(60);
        let late = late_commands(&mut fleet);
        assert!(late <= 3, "{round_trip_ms} ms: {late} commands came late in the first second");
    }
}

//! The time model on whole worlds: every T row of the feature table that a state machine alone can't show. Step lengths, flags and `dt`
//! as systems see them.

use std::time::Duration;

use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_time::{Fixed, Time};
use ghostline::prelude::*;
use ghostline::stats::NetworkStats;
use ghostline::time::ReplicateTickRate;
use ghostline_testkit::{FRAME, LinkProfile};

use crate::common::*;

/// One simulated step as its systems saw it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    tick: u32,
    batch: u32,
    dt: Duration,
    is_catch_up: bool,
    expected: u32,
}

/// What the schedules of a world saw, in order.
#[derive(Resource, Default)]
struct Diary {
    predicted: Vec<Seen>,
    simulated: Vec<Seen>,
    sub_steps: Vec<Duration>,
    /// Whether each frame was an off frame, as `Initialization` read it.
    off_frames: Vec<bool>,
    presented: u32,
}

fn seen(time: &Time, net: &NetworkTime) -> Seen {
    Seen {
        tick: net.server_tick.map_or(0, NetworkTick::index),
        batch: net.simulation_step_batch_size,
        dt: time.delta(),
        is_catch_up: net.is_catch_up_tick(),
        expected: net.num_predicted_ticks_expected,
    }
}

struct Watched;

impl Plugin for Watched {
    fn build(&self, app: &mut App) {
        app.add_plugins(Game)
            .init_resource::<Diary>()
            .add_systems(Initialization, |net: Res<NetworkTime>, mut diary: ResMut<Diary>| {
                diary.off_frames.push(net.is_off_frame);
            })
            .add_systems(PredictedSimulation, |time: Res<Time>, net: Res<NetworkTime>, mut diary: ResMut<Diary>| {
                diary.predicted.push(seen(&time, &net));
            })
            .add_systems(PredictedFixedStepSimulation, |time: Res<Time>, mut diary: ResMut<Diary>| {
                diary.sub_steps.push(time.delta());
            })
            .add_systems(Simulation, |time: Res<Time>, net: Res<NetworkTime>, mut diary: ResMut<Diary>| {
                diary.simulated.push(seen(&time, &net));
            })
            .add_systems(Presentation, |mut diary: ResMut<Diary>| diary.presented += 1);
    }
}

fn limits(max_steps: i32, max_batch: i32) -> ClientServerTickRate {
    ClientServerTickRate {
        max_simulation_steps_per_frame: max_steps,
        max_simulation_step_batch_size: max_batch,
        ..ClientServerTickRate::default()
    }
}

fn watched(rate: ClientServerTickRate) -> Fleet {
    Fleet::builder().plugin(Watched).tick_rate(rate).build()
}

/// The steps of one frame of this length, on a server that has run none.
fn steps_of(rate: ClientServerTickRate, frame: Duration) -> Vec<Seen> {
    let mut fleet = watched(rate);
    fleet.logs().tolerate("stopped ticking|merges ticks");
    fleet.tick_server(frame);
    let diary = fleet.server().world_mut().remove_resource::<Diary>().unwrap();
    assert_eq!(diary.predicted, diary.simulated, "both schedules see the same steps");
    diary.simulated
}

const MS_50: Duration = Duration::from_millis(50);

#[test]
fn a_frame_of_50_ms_is_one_step_of_three_ticks_or_three_steps_of_one() {
    let merged = Seen { tick: 3, batch: 3, dt: MS_50, is_catch_up: false, expected: 1 };
    assert_eq!(steps_of(ClientServerTickRate::default(), MS_50), [merged]);
    let single = |tick, is_catch_up| Seen { tick, batch: 1, dt: FRAME, is_catch_up, expected: 3 };
    assert_eq!(steps_of(limits(4, 4), MS_50), [single(1, true), single(2, true), single(3, false)]);
}

#[test]
fn ten_ticks_in_four_steps_are_three_three_two_two_as_systems_see_them() {
    let steps = steps_of(limits(4, 4), FRAME * 10);
    let lengths: Vec<(u32, u32, bool)> = steps.iter().map(|step| (step.tick, step.batch, step.is_catch_up)).collect();
    assert_eq!(lengths, [(3, 3, true), (6, 3, true), (8, 2, true), (10, 2, false)]);
    for step in &steps {
        assert_eq!(step.dt, ClientServerTickRate::default().step().duration(step.batch), "{step:?}");
    }
}

#[test]
fn the_step_that_the_simulation_sees_is_always_a_multiple_of_a_tick() {
    for hertz in [20, 24, 60, 144, 500] {
        let mut fleet = watched(limits(2, 4));
        fleet.logs().tolerate("merges ticks");
        for _ in 0..hertz {
            fleet.tick_server(Duration::from_secs(1) / hertz);
        }
        let diary = fleet.server().world().resource::<Diary>();
        for step in &diary.simulated {
            assert!((step.dt.as_secs_f64() * 60.0 - f64::from(step.batch)).abs() < 1e-6, "{hertz} Hz: {step:?}");
        }
        let ticks: u32 = diary.simulated.iter().map(|step| step.batch).sum();
        assert!((59..=61).contains(&ticks), "{hertz} Hz: {ticks} ticks in a second");
    }
}

#[test]
fn without_a_setting_a_second_has_sixty_ticks_and_with_30_hz_thirty() {
    for (rate, hertz) in [(None, 60), (Some(30), 30)] {
        let mut builder = Fleet::builder().plugin(Watched);
        if let Some(simulation_tick_rate) = rate {
            builder = builder.tick_rate(ClientServerTickRate { simulation_tick_rate, ..Default::default() });
        }
        let mut fleet = builder.build();
        fleet.ticks(60);
        let diary = fleet.server().world().resource::<Diary>();
        assert!((hertz - 1..=hertz + 1).contains(&(diary.simulated.len() as i32)), "{}", diary.simulated.len());
        for step in &diary.simulated {
            assert!((step.dt.as_secs_f64() * f64::from(hertz) - 1.0).abs() < 1e-6, "{step:?}");
        }
    }
}

#[test]
fn bevys_own_fixed_step_changes_nothing() {
    let mut fleet = watched(ClientServerTickRate::default());
    fleet.server().world_mut().insert_resource(Time::<Fixed>::from_hz(7.0));
    fleet.ticks(60);
    let diary = fleet.server().world().resource::<Diary>();
    assert_eq!(diary.simulated.len(), 60);
    assert!(diary.simulated.iter().all(|step| step.dt == FRAME && step.batch == 1));
}

#[test]
fn the_first_tick_is_1_and_ticks_only_grow() {
    let mut fleet = watched(limits(1, 4));
    fleet.logs().tolerate("merges ticks");
    for frame in [1.0, 1.0, 0.4, 0.4, 3.0, 0.0, 1.0, 2.2, 0.1] {
        fleet.tick_server(FRAME.mul_f64(frame));
    }
    let ticks: Vec<u32> = fleet.server().world().resource::<Diary>().simulated.iter().map(|step| step.tick).collect();
    assert_eq!(ticks[0], 1);
    assert!(ticks.windows(2).all(|pair| pair[1] > pair[0]), "{ticks:?}");
}

#[test]
fn after_a_stall_of_a_second_the_ticks_match_the_clock_again() {
    let mut fleet = watched(ClientServerTickRate::default());
    fleet.logs().expect("stopped ticking for 1.0 s");
    fleet.tick_server(Duration::from_secs(1));
    let in_one_frame: u32 = fleet.server().world().resource::<Diary>().simulated.iter().map(|step| step.batch).sum();
    assert_eq!(in_one_frame, 4, "no frame has more than steps times batch ticks");
    for _ in 0..60 {
        fleet.tick_server(FRAME);
        let diary = &fleet.server().world().resource::<Diary>().simulated;
        assert!(diary.last().unwrap().batch <= 4);
    }
    assert_eq!(fleet.server().server_tick(), Some(NetworkTick::new(120)));
}

#[test]
fn off_frames_alternate_at_120_frames_a_second_and_are_known_in_initialization() {
    let mut fleet = watched(ClientServerTickRate::default());
    for _ in 0..120 {
        fleet.tick_server(Duration::from_nanos(8_333_334));
    }
    let diary = fleet.server().world().resource::<Diary>();
    assert!(diary.off_frames.chunks(2).all(|pair| pair == [true, false]), "{:?}", diary.off_frames);
    assert_eq!(diary.simulated.len(), 60);
}

/// Snapshot packets that the server has sent to all clients.
fn sent_snapshots(fleet: &mut Fleet) -> u64 {
    fleet.server().world().resource::<NetworkStats>().sent_snapshot_packets
}

#[test]
fn snapshots_are_sent_once_per_frame_or_for_every_step_if_that_is_wanted() {
    for (every_step, expected) in [(false, 1), (true, 3)] {
        let rate = ClientServerTickRate { send_snapshots_for_catch_up_ticks: every_step, ..limits(4, 4) };
        let mut fleet = watched(rate);
        fleet.connect_all();
        fleet.go_in_game_all();
        fleet.ticks(10);
        let before = sent_snapshots(&mut fleet);
        for frame in 1..=5 {
            fleet.tick_by(MS_50);
            assert_eq!(sent_snapshots(&mut fleet) - before, frame * expected, "catch-up ticks: {every_step}");
        }
        // One that is merged has one snapshot in either case.
        let mut fleet = watched(ClientServerTickRate { send_snapshots_for_catch_up_ticks: every_step, ..limits(1, 4) });
        fleet.logs().expect("merges ticks");
        fleet.connect_all();
        fleet.go_in_game_all();
        fleet.ticks(10);
        let before = sent_snapshots(&mut fleet);
        fleet.tick_by(MS_50);
        assert_eq!(sent_snapshots(&mut fleet) - before, 1, "catch-up ticks: {every_step}");
    }
}

#[test]
fn the_network_rate_says_how_often_each_client_gets_a_snapshot_and_nothing_else() {
    for network_tick_rate in [20, 15, 60] {
        let rate = ClientServerTickRate { network_tick_rate, ..Default::default() };
        let mut fleet = Fleet::builder().plugin(Watched).clients(3).tick_rate(rate).build();
        fleet.connect_all();
        fleet.go_in_game_all();
        fleet.ticks(30);
        let received = |fleet: &mut Fleet| -> Vec<u64> {
            (0..3)
                .map(|client| fleet.client(client).world().resource::<NetworkStats>().received_snapshot_packets)
                .collect()
        };
        let (before, steps) = (received(&mut fleet), fleet.server().world().resource::<Diary>().simulated.len());
        fleet.ticks(60);
        assert_eq!(fleet.server().world().resource::<Diary>().simulated.len() - steps, 60, "ticks per second");
        for (now, before) in received(&mut fleet).into_iter().zip(before) {
            let wanted = network_tick_rate as u64;
            assert!((wanted - 1..=wanted + 1).contains(&(now - before)), "{network_tick_rate} Hz: {}", now - before);
        }
    }
}

#[test]
fn a_clients_simulation_runs_once_per_frame_and_is_presented_once_at_any_frame_rate() {
    for hertz in [20, 60, 144, 500] {
        let mut fleet = watched(unmerged());
        fleet.connect_all();
        fleet.go_in_game_all();
        fleet.ticks(60);
        fleet.client(0).world_mut().insert_resource(Diary::default());
        for _ in 0..hertz {
            fleet.tick_by(Duration::from_secs(1) / hertz);
        }
        let diary = fleet.client(0).world().resource::<Diary>();
        // A frame or two may be skipped while the clocks find each other at the new rate, and none is run twice.
        assert!(
            (hertz as usize - 2..=hertz as usize).contains(&diary.simulated.len()),
            "{hertz}: {}",
            diary.simulated.len()
        );
        assert_eq!(diary.presented, hertz);
        assert!(diary.off_frames.iter().all(|off| !off), "a client has no off frames");
        let scaled: f64 = diary.simulated.iter().map(|step| step.dt.as_secs_f64()).sum();
        assert!((scaled - 1.0).abs() < 0.12, "{hertz} Hz: a second is {scaled} s for its simulation");
        let unscaled = fleet.client(0).world().resource::<UnscaledClientTime>();
        assert_eq!(unscaled.delta, Duration::from_secs(1) / hertz, "the real time is the frame's");
    }
}

#[test]
fn predicted_steps_are_whole_ticks_except_a_last_part() {
    let mut fleet = watched(unmerged());
    fleet.connect_all();
    fleet.go_in_game_all();
    let id = fleet.client(0).network_id().unwrap();
    fleet.server().world_mut().spawn_ghost::<Player>(GhostOwner(id));
    fleet.ticks(30);
    let (mut whole, mut parts) = (0, 0);
    for frame in 0..120 {
        fleet.client(0).world_mut().insert_resource(Diary::default());
        fleet.tick_by(FRAME.mul_f64([0.4, 1.0, 1.7, 0.3][frame % 4]));
        let fraction = fleet.client(0).network_time().server_tick_fraction;
        let steps = &fleet.client(0).world().resource::<Diary>().predicted;
        for (index, step) in steps.iter().enumerate() {
            if index + 1 == steps.len() && fraction < 1.0 {
                parts += 1;
                assert!((step.dt.as_secs_f32() * 60.0 - fraction).abs() < 1e-4, "{step:?} at {fraction}");
            } else {
                whole += 1;
                assert_eq!(step.dt, FRAME, "{step:?}");
            }
        }
    }
    assert!(whole > 60 && parts > 60, "{whole} whole steps, {parts} parts");
}

#[derive(Component)]
struct Spark;

#[derive(Resource, Default)]
struct Sparks(Vec<usize>);

#[test]
fn what_a_sub_step_spawns_is_there_in_the_next_one() {
    fn game(app: &mut App) {
        app.init_resource::<Sparks>().add_systems(
            PredictedFixedStepSimulation,
            |mut commands: Commands, mut sparks: ResMut<Sparks>, there: Query<&Spark>| {
                sparks.0.push(there.iter().count());
                commands.spawn(Spark);
            },
        );
    }
    let rate = ClientServerTickRate { predicted_fixed_step_simulation_tick_ratio: 3, ..Default::default() };
    let mut fleet = Fleet::builder().plugin(game).tick_rate(rate).build();
    fleet.tick_server(FRAME);
    assert_eq!(fleet.server().world().resource::<Sparks>().0, [0, 1, 2]);
}

#[test]
fn two_sub_steps_per_tick_are_half_a_tick_long() {
    let rate = ClientServerTickRate { predicted_fixed_step_simulation_tick_ratio: 2, ..Default::default() };
    let mut fleet = watched(rate);
    fleet.ticks(10);
    let diary = fleet.server().world().resource::<Diary>();
    assert_eq!((diary.simulated.len(), diary.sub_steps.len()), (10, 20));
    assert!(diary.sub_steps.iter().all(|dt| *dt == Duration::from_nanos(8_333_333)), "{:?}", diary.sub_steps);
}

/// RATE-04: (simulation rate, network rate, ratio).
#[test]
fn a_client_shares_its_servers_rates_after_the_handshake() {
    for (simulation_tick_rate, network_tick_rate, ratio) in [(60, 60, 1), (40, 20, 2), (30, 30, 1)] {
        let rate = ClientServerTickRate {
            simulation_tick_rate,
            network_tick_rate,
            predicted_fixed_step_simulation_tick_ratio: ratio,
            ..Default::default()
        };
        let mut fleet = watched(rate.clone());
        fleet.connect_all();
        let of_client = fleet.client(0).world().resource::<ClientServerTickRate>().clone();
        assert_eq!(of_client.simulation_tick_rate, simulation_tick_rate);
        assert_eq!(of_client.network_tick_rate, network_tick_rate);
        assert_eq!(of_client.predicted_fixed_step_simulation_tick_ratio, ratio);
        assert_eq!(of_client.fixed_step(), rate.fixed_step(), "the sub-step is equally long on both sides");
    }
}

#[test]
fn what_the_server_does_not_say_a_client_keeps_as_its_game_has_set_it() {
    let mut fleet = watched(ClientServerTickRate { simulation_tick_rate: 30, ..Default::default() });
    let own = ClientServerTickRate { clamp_partial_ticks_threshold: 17, ..Default::default() };
    fleet.client(0).world_mut().insert_resource(own);
    fleet.connect_all();
    let rate = fleet.client(0).world().resource::<ClientServerTickRate>();
    assert_eq!((rate.simulation_tick_rate, rate.clamp_partial_ticks_threshold), (30, 17));
}

#[test]
fn a_later_change_of_the_rates_reaches_clients_only_if_the_game_wants_that() {
    for opted_in in [false, true] {
        let mut fleet =
            Fleet::builder().plugin(Watched).clients(2).link(LinkProfile::rtt(60)).tick_rate(limits(4, 4)).build();
        fleet.connect_all();
        fleet.go_in_game_all();
        fleet.ticks(60);
        // Clocks have to find each other again, which may take a jump.
        fleet.logs().tolerate("predicted server tick jumped");
        let server = fleet.server().world_mut();
        if opted_in {
            server.init_resource::<ReplicateTickRate>();
        }
        fleet.ticks(2);
        fleet.server().world_mut().resource_mut::<ClientServerTickRate>().simulation_tick_rate = 30;
        fleet.ticks(120);
        for client in 0..2 {
            let rate = fleet.client(client).world().resource::<ClientServerTickRate>().simulation_tick_rate;
            assert_eq!(rate, if opted_in { 30 } else { 60 }, "opted in: {opted_in}");
        }
        if opted_in {
            let (client, server) = (fleet.client(0).server_tick().unwrap(), fleet.server().server_tick().unwrap());
            assert!((1..=8).contains(&client.ticks_since(server)), "{client} beside {server}");
        }
    }
}

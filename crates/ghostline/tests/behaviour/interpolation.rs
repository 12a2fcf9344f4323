//! Interpolation: INT-01, INT-02, and that what a client shows is the blend of the server's true values at its point in time.

use crate::common::*;
use crate::dice::Dice;
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use ghostline::prelude::*;
use ghostline_testkit::{Direction, FRAME, LinkProfile, WorldOrder};
use std::collections::BTreeMap;
use std::time::Duration;

/// Two fields with the same truth, and a third that teleports.
#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq, Debug)]
struct Track {
    #[ghost(smoothing = interpolate)]
    blended: f32,
    #[ghost(smoothing = extrapolate)]
    extended: f32,
    #[ghost]
    stepped: f32,
    #[ghost(smoothing = interpolate, max_smoothing_distance = 5.0)]
    jumping: f32,
}

#[derive(Component, Default)]
struct Train;

/// When trains move, by the server's tick: `period` ticks moving, `period` ticks at rest. 0: always.
#[derive(Resource, Clone, Copy)]
struct Timetable {
    period: u32,
    stopped: bool,
}

/// What the server's train was like after each tick.
#[derive(Resource, Default)]
struct Truth(BTreeMap<u32, Track>);

#[derive(Clone, Copy)]
struct Trains(Timetable);

const SPEED: f32 = 0.25;

impl Plugin for Trains {
    fn build(&self, app: &mut App) {
        app.insert_resource(self.0)
            .init_resource::<Truth>()
            .register_ghost::<Train>(GhostPrefab::new("train").component::<Track>())
            .add_systems_in(WorldFlags::SERVER, Simulation, move_trains);
    }
}

fn move_trains(
    time: Res<NetworkTime>,
    timetable: Res<Timetable>,
    mut truth: ResMut<Truth>,
    mut trains: Query<&mut Track>,
) {
    let tick = time.server_tick.unwrap().index();
    for mut track in &mut trains {
        if !timetable.stopped && (timetable.period == 0 || (tick / timetable.period).is_multiple_of(2)) {
            track.blended += SPEED;
            track.extended += SPEED;
            track.stepped += SPEED;
            track.jumping += if tick.is_multiple_of(8) { 100.0 } else { SPEED };
        }
        truth.0.insert(tick, *track);
    }
}

fn train_fleet(period: u32, link: LinkProfile, order: WorldOrder, rate: ClientServerTickRate) -> Fleet {
    // Every tick is sent, also when a frame holds several: what is compared is what was sent.
    let rate = ClientServerTickRate { send_snapshots_for_catch_up_ticks: true, ..rate };
    let mut fleet = Fleet::builder()
        .plugin(Trains(Timetable { period, stopped: false }))
        .link(link)
        .order(order)
        .tick_rate(rate)
        .build();
    fleet.connect_all();
    fleet.go_in_game_all();
    fleet.server().world_mut().spawn_ghost::<Train>(());
    fleet.ticks(60);
    fleet
}

fn shown(fleet: &mut Fleet) -> Track {
    let world = fleet.client(0).world_mut();
    *world.query::<&Track>().single(world).unwrap()
}

/// The client's point in time: the whole tick before it, and how far behind that.
fn point(fleet: &mut Fleet) -> (u32, f32) {
    let time = fleet.client(0).network_time().clone();
    let tick = time.interpolation_tick.unwrap();
    if time.interpolation_tick_fraction < 1.0 {
        (tick.prev().index(), time.interpolation_tick_fraction)
    } else {
        (tick.index(), 0.0)
    }
}

/// The server's true values around the client's point in time.
fn truth(fleet: &mut Fleet) -> (Track, Track, f32) {
    let (tick, fraction) = point(fleet);
    let truth = &fleet.server().world().resource::<Truth>().0;
    let from = truth[&tick];
    (from, truth.get(&(tick + 1)).copied().unwrap_or(from), fraction)
}

fn blend(from: f32, to: f32, fraction: f32) -> f32 {
    from + (to - from) * fraction
}

const EXACT: f32 = 1e-3;

fn assert_shows_the_truth(fleet: &mut Fleet, context: &str) {
    let (from, to, fraction) = truth(fleet);
    let shown = shown(fleet);
    let expected = blend(from.blended, to.blended, fraction);
    assert!((shown.blended - expected).abs() < EXACT, "{context}: {} instead of {expected}", shown.blended);
    assert!((shown.extended - expected).abs() < EXACT, "{context}: {} instead of {expected}", shown.extended);
    assert_eq!(shown.stepped, from.stepped, "{context}: a field without smoothing steps");
    let jumps = (to.jumping - from.jumping).abs() > 5.0;
    let expected = if jumps { from.jumping } else { blend(from.jumping, to.jumping, fraction) };
    assert!((shown.jumping - expected).abs() < EXACT, "{context}: {} instead of {expected}", shown.jumping);
}

fn links_and_orders() -> impl Iterator<Item = (LinkProfile, WorldOrder)> {
    [LinkProfile::default(), LinkProfile::in_process()]
        .into_iter()
        .flat_map(|link| [WorldOrder::ServerFirst, WorldOrder::ClientFirst].map(|order| (link, order)))
}

#[test]
fn a_ghost_that_stops_and_goes_each_ten_ticks_is_shown_as_it_truly_was() {
    for (link, order) in links_and_orders() {
        let mut fleet = train_fleet(10, link, order, unmerged());
        for frame in 0..200 {
            fleet.tick();
            assert_shows_the_truth(&mut fleet, &format!("{link:?}, {order:?}, frame {frame}"));
        }
    }
}

#[test]
fn at_any_frame_rate_a_ghost_shows_the_blend_of_its_true_values() {
    for (link, order) in links_and_orders() {
        for fps in [30, 59, 61, 75, 144, 240] {
            let mut fleet = train_fleet(10, link, order, unmerged());
            for _ in 0..fps {
                fleet.tick_by(Duration::from_secs(1) / fps);
            }
            for frame in 0..fps {
                fleet.tick_by(Duration::from_secs(1) / fps);
                assert_shows_the_truth(&mut fleet, &format!("{link:?}, {order:?}, {fps} fps, frame {frame}"));
            }
        }
    }
}

#[test]
fn at_random_frame_times_a_ghost_shows_the_blend_of_its_true_values() {
    let seed = 77;
    let mut dice = Dice::new(seed);
    let mut fleet = train_fleet(7, LinkProfile::default(), WorldOrder::ServerFirst, unmerged());
    for frame in 0..600 {
        fleet.tick_by(FRAME.mul_f64(dice.between(0.3, 1.7)));
        assert_shows_the_truth(&mut fleet, &format!("seed {seed}, frame {frame}"));
    }
}

#[test]
fn at_half_the_network_rate_steady_motion_is_shown_exactly() {
    let rate = ClientServerTickRate { network_tick_rate: 30, ..unmerged() };
    let mut fleet = train_fleet(0, LinkProfile::default(), WorldOrder::ServerFirst, rate);
    fleet.ticks(60);
    let mut positions = Vec::new();
    for frame in 0..200 {
        fleet.tick();
        let (from, to, fraction) = truth(&mut fleet);
        let expected = blend(from.blended, to.blended, fraction);
        let shown = shown(&mut fleet).blended;
        assert!((shown - expected).abs() < EXACT, "frame {frame}: {shown} instead of {expected}");
        positions.push(shown);
    }
    assert!(positions.is_sorted(), "it never goes back");
}

// INT-02
#[test]
fn with_half_of_the_ticks_sent_a_ghost_that_stops_and_goes_is_never_off_by_more_than_a_snapshot_nor_ahead_of_the_truth()
{
    let rate = ClientServerTickRate { simulation_tick_rate: 30, network_tick_rate: 15, ..unmerged() };
    let mut fleet = Fleet::builder().plugin(Trains(Timetable { period: 7, stopped: false })).tick_rate(rate).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    fleet.server().world_mut().spawn_ghost::<Train>(());
    fleet.ticks(120);
    let mut exact = 0;
    for frame in 0..200 {
        // Two frames per tick of the server.
        fleet.tick();
        let (from, to, fraction) = truth(&mut fleet);
        let (tick, _) = point(&mut fleet);
        let shown = shown(&mut fleet);
        let expected = blend(from.blended, to.blended, fraction);
        // Moving or standing from one snapshot to the next, and in the ticks beside them.
        let is_moving = |tick: u32| (tick / 7).is_multiple_of(2);
        let is_steady = (tick.saturating_sub(2)..=tick + 3).all(|near| is_moving(near) == is_moving(tick));
        for (what, value) in [("interpolated", shown.blended), ("extrapolated", shown.extended)] {
            let off = value - expected;
            if is_steady {
                assert!(off.abs() < EXACT, "frame {frame}, {what}: {value} instead of {expected}");
            } else {
                assert!(off.abs() <= 2.0 * SPEED + EXACT, "frame {frame}, {what}: {value} instead of {expected}");
            }
            let truth = &fleet.server().world().resource::<Truth>().0;
            let newest = truth.last_key_value().unwrap().1.blended;
            assert!(value <= newest + EXACT, "frame {frame}, {what}: {value} is ahead of {newest}");
        }
        exact += u32::from(is_steady);
    }
    assert!(exact > 20, "{exact} frames without a transition");
}

// N-08
#[test]
fn what_is_not_blended_changes_exactly_when_the_clock_passes_its_snapshot() {
    let mut fleet = train_fleet(0, LinkProfile::rtt(60).with_periodic_loss(4), WorldOrder::ServerFirst, unmerged());
    let mut changes = 0;
    let mut before = shown(&mut fleet).stepped;
    for frame in 0..300 {
        fleet.tick_by(FRAME / 3);
        let (tick, _) = point(&mut fleet);
        let now = shown(&mut fleet).stepped;
        let truth = &fleet.server().world().resource::<Truth>().0;
        // A value of the truth, of this tick or, if that snapshot got lost, of the one before.
        let is_of = |tick: u32| truth[&tick].stepped == now;
        assert!(is_of(tick) || is_of(tick - 1) || is_of(tick - 2), "frame {frame}: {now} at tick {tick}");
        assert!(now >= before);
        changes += u32::from(now != before);
        before = now;
    }
    assert!(changes > 60, "{changes} changes");
}

// N-07
#[test]
fn a_predicted_ghost_is_what_it_was_simulated_to_be_and_never_between_two_snapshots() {
    let mut fleet = fleet_in_game(1);
    let walker = fleet.server().world_mut().spawn_ghost::<Walker>(Position::default());
    fleet.ticks(60);
    for step in 1..=20 {
        fleet.server().world_mut().get_mut::<Position>(walker).unwrap().value.x = step as f32;
        for _ in 0..12 {
            fleet.tick_by(FRAME.mul_f64(0.3));
            let world = fleet.client(0).world_mut();
            let x = world.query_filtered::<&Position, With<Walker>>().single(world).unwrap().value.x;
            assert!((x - x.round()).abs() < EXACT, "{x} lies between {} and {step}", step - 1);
        }
    }
}

#[test]
fn without_snapshots_only_marked_fields_go_on_and_only_for_twenty_ticks() {
    let mut fleet = train_fleet(0, LinkProfile::default(), WorldOrder::ServerFirst, unmerged());
    fleet.link(0).cut(Direction::ToClient);
    fleet.ticks(1);
    let newest = {
        let connection = fleet.client(0).connections()[0];
        let ack = fleet.client(0).world().get::<ghostline::connection::NetworkSnapshotAck>(connection).unwrap();
        ack.last_received_snapshot_by_local.unwrap().index()
    };
    let last = fleet.server().world().resource::<Truth>().0[&newest];
    for frame in 0..60 {
        let (tick, fraction) = point(&mut fleet);
        let beyond = (tick as f32 + fraction - newest as f32).max(0.0);
        let shown = shown(&mut fleet);
        if beyond > 0.0 {
            assert!(
                (shown.blended - last.blended).abs() < EXACT,
                "frame {frame}: interpolation ends at the newest snapshot"
            );
            let expected = last.extended + beyond.min(20.0) * SPEED;
            assert!(
                (shown.extended - expected).abs() < EXACT,
                "frame {frame}: {} instead of {expected}",
                shown.extended
            );
        }
        fleet.tick();
    }
    assert!(point(&mut fleet).0 > newest + 25, "the clock went on, or this shows nothing");
    // Sight returns: after a moment everything is exact again.
    fleet.link(0).mend(Direction::ToClient);
    fleet.ticks(120);
    for frame in 0..60 {
        fleet.tick();
        assert_shows_the_truth(&mut fleet, &format!("after the cut, frame {frame}"));
    }
}

#[test]
fn a_ghost_at_rest_is_not_extrapolated_not_even_while_it_is_about_to_vanish() {
    let mut fleet = train_fleet(0, LinkProfile::default(), WorldOrder::ServerFirst, unmerged());
    // From now on it stands still.
    fleet.server().world_mut().resource_mut::<Timetable>().stopped = true;
    fleet.ticks(40);
    let at_rest = shown(&mut fleet);
    fleet.ticks(40);
    assert_eq!(shown(&mut fleet), at_rest);
    let world = fleet.server().world_mut();
    let train = world.query_filtered::<Entity, With<Train>>().single(world).unwrap();
    // One last step, and gone: until its time has come it rests, makes the step, and vanishes.
    world.get_mut::<Track>(train).unwrap().blended += 4.0;
    world.get_mut::<Track>(train).unwrap().extended += 4.0;
    fleet.tick();
    fleet.server().world_mut().despawn(train);
    let (mut frames_shown, mut frames_between) = (0, 0);
    for frame in 0..30 {
        fleet.tick();
        let world = fleet.client(0).world_mut();
        let Ok(track) = world.query::<&Track>().single(world).copied() else { break };
        frames_shown += 1;
        let is_between = track.blended == at_rest.blended || (track.blended - at_rest.blended - 4.0).abs() < EXACT;
        frames_between += u32::from(!is_between);
        assert!(
            frames_between <= 1,
            "frame {frame}: {} is neither before the step of one tick nor behind it",
            track.blended
        );
        assert!(
            track.extended <= at_rest.extended + 4.0 + EXACT,
            "frame {frame}: {} is beyond the step",
            track.extended
        );
    }
    assert!(frames_shown > 0, "it did not vanish before its time");
    assert_eq!(count::<Train>(fleet.client(0).world_mut()), 0);
}

#[test]
fn an_interpolated_ghost_appears_and_vanishes_at_its_own_time() {
    let mut fleet = fleet_in_game(1);
    fleet.ticks(60);
    let ghost = fleet.server().world_mut().spawn_ghost::<Crate>(Position::default());
    fleet.tick();
    let spawned = fleet.server().world().get::<GhostInstance>(ghost).unwrap().spawn_tick.unwrap();
    let mut frames = 0;
    while count::<Crate>(fleet.client(0).world_mut()) == 0 {
        let now = fleet.client(0).network_time().interpolation_tick.unwrap();
        assert!(frames < 30 && now.ticks_since(spawned) <= 2, "it is due: born at {spawned}, the clock shows {now}");
        fleet.tick();
        frames += 1;
    }
    let now = fleet.client(0).network_time().interpolation_tick.unwrap();
    assert!(!now.is_older_than(spawned), "born at {spawned}, shown at {now}");
    fleet.ticks(20);
    fleet.server().world_mut().despawn(ghost);
    fleet.tick();
    let died = fleet.server().server_tick().unwrap();
    while count::<Crate>(fleet.client(0).world_mut()) == 1 {
        fleet.tick();
    }
    let now = fleet.client(0).network_time().interpolation_tick.unwrap();
    assert!((0..=1).contains(&now.ticks_since(died)), "died at {died}, gone at {now}");
}

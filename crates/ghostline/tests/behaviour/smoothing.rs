//! Corrections are hidden from the eye and from nothing else: what is shown runs on, what is simulated is exact. The game is in `race.rs`.

use bevy_math::Vec3;
use ghostline::prelude::*;
use ghostline_testkit::{FRAME, LinkProfile};
use std::time::Duration;

use crate::prediction::stats;
use crate::race::*;

const HALF_LIFE_FRAMES: f64 = 6.0;

fn smoothing() -> ErrorSmoothing {
    ErrorSmoothing { half_life: FRAME.mul_f64(HALF_LIFE_FRAMES), min_distance: 0.1, max_distance: 5.0 }
}

fn smoothed_race(profile: LinkProfile) -> Race {
    let mut race = Race::new(RaceOptions { profile, smoothing: Some(smoothing()), ..RaceOptions::default() });
    race.fleet.ticks(100);
    race
}

/// What is simulated, what is shown, and the error between.
fn look(race: &mut Race) -> (Vec3, Vec3, Vec3) {
    let car = race.client_cars(0)[0];
    let world = race.fleet.client(0).world();
    let (now, smoothed) = (world.get::<Position>(car).unwrap(), world.get::<Smoothed<Position>>(car).unwrap());
    (now.value, smoothed.value, smoothed.error().value)
}

/// Ticks until the server's answer to a push is there; returns how far what is simulated has jumped then.
fn tick_until_corrected(race: &mut Race) -> f32 {
    let mut before = look(race).0;
    for _ in 0..40 {
        race.fleet.tick();
        let now = look(race).0;
        let jump = (now - before).length();
        if jump > 0.01 {
            return jump;
        }
        before = now;
    }
    panic!("nothing was corrected");
}

#[test]
fn what_is_shown_does_not_jump_with_a_correction_and_the_error_halves_in_its_time() {
    for profile in [LinkProfile::in_process(), LinkProfile::perfect(), LinkProfile::rtt(100)] {
        let mut race = smoothed_race(profile);
        let (at_rest, shown_at_rest, _) = look(&mut race);
        assert_eq!(at_rest, shown_at_rest, "without an error both are the same");
        race.server_car::<Position>().value.y += 2.0;
        let jump = tick_until_corrected(&mut race);
        assert!((jump - 2.0).abs() < 2.0 * QUANTUM, "the simulation is corrected at once: {jump}");
        let decay = |frames: f64| 2.0 * 0.5_f64.powf(frames / HALF_LIFE_FRAMES) as f32;
        for frame in 1..60 {
            let (now, shown, error) = look(&mut race);
            let expected = Vec3::new(0.0, -decay(f64::from(frame)), 0.0);
            assert!((error - expected).length() < 3.0 * QUANTUM, "{profile:?}, frame {frame}: {error}, not {expected}");
            assert!((shown - now - error).length() < 1e-5, "{profile:?}, frame {frame}");
            assert!((now.y - at_rest.y - 2.0).abs() < 2.0 * QUANTUM, "the simulation stays exact");
            race.fleet.tick();
        }
        race.fleet.ticks(200);
        let (now, shown, _) = look(&mut race);
        assert_eq!(now, shown, "the error ends");
        assert_eq!(stats(race.fleet.client(0).world()).rollbacks, 1);
    }
}

#[test]
fn while_it_drives_a_corrected_car_is_shown_without_a_jump() {
    let mut race = smoothed_race(LinkProfile::rtt(60));
    race.start_engines();
    race.fleet.ticks(40);
    // A tick of driving, and what an error of a metre and a half loses in a frame.
    let (tick, decay) = (2.237 * 1.8 / 60.0, 1.5 * (1.0 - 0.5_f32.powf(1.0 / HALF_LIFE_FRAMES as f32)));
    let mut before = look(&mut race).1;
    let mut furthest: f32 = 0.0;
    for frame in 0..200 {
        if frame % 50 == 10 {
            race.nudge_client(Vec3::new(0.0, 1.5, 0.0));
            // The car itself is moved by the game here, and that shows.
            race.fleet.ticks(2);
            before = look(&mut race).1;
        }
        race.fleet.tick_by(FRAME.mul_f64([1.0, 0.6, 1.3][frame % 3]));
        let (now, shown, error) = look(&mut race);
        furthest = furthest.max(error.length());
        let step = (shown - before).length();
        assert!(step < (tick + decay) * 1.4, "frame {frame}: shown {before}, then {shown}, simulated {now}");
        before = shown;
    }
    assert!(furthest > 1.0, "errors were hidden: {furthest}");
    assert!(stats(race.fleet.client(0).world()).rollbacks >= 4);
}

#[test]
fn small_errors_are_left_alone_and_a_teleport_is_shown_as_one() {
    for (push, hidden) in [(0.05, false), (0.5, true), (4.9, true), (50.0, false)] {
        let mut race = smoothed_race(LinkProfile::rtt(60));
        race.server_car::<Position>().value.x += push;
        tick_until_corrected(&mut race);
        let (now, shown, error) = look(&mut race);
        assert_eq!(error.length() > 0.0, hidden, "a push by {push}");
        assert_eq!(shown == now, !hidden, "a push by {push}");
    }
}

#[test]
fn a_second_correction_adds_to_what_is_left_of_the_first() {
    let mut race = smoothed_race(LinkProfile::rtt(60));
    race.server_car::<Position>().value.y += 2.0;
    tick_until_corrected(&mut race);
    race.server_car::<Position>().value.y += 2.0;
    let mut before = look(&mut race).1;
    for _ in 0..60 {
        race.fleet.tick();
        let shown = look(&mut race).1;
        let step = shown.y - before.y;
        assert!((-0.001..0.5).contains(&step), "it goes up, and never jumps: {step}");
        before = shown;
    }
    assert_eq!(stats(race.fleet.client(0).world()).rollbacks, 2);
}

#[test]
fn a_ghost_that_becomes_interpolated_is_shown_on_its_way_there() {
    let mut race = smoothed_race(LinkProfile::rtt(100));
    race.start_engines();
    race.fleet.ticks(60);
    let mut before = look(&mut race).1;
    race.server_car::<GhostOwner>().0 = NetworkId::NONE;
    race.server_car::<AutoCommandTarget>().enabled = false;
    let mut switched = None;
    for frame in 0..40 {
        race.fleet.tick();
        let car = race.client_cars(0)[0];
        let (now, shown, error) = look(&mut race);
        if race.fleet.client(0).world().get::<PredictedGhost>(car).is_none() && switched.is_none() {
            switched = Some((frame, (now - before).length(), error.length()));
        }
        assert!((shown - before).length() < 0.2, "frame {frame}: shown {before}, then {shown}");
        before = shown;
    }
    let (_, jump, error) = switched.expect("it is interpolated by now");
    assert!(jump > 0.05 && error > 0.0, "what is simulated jumped by {jump}, the error was {error}");
    let left = look(&mut race).2;
    assert!(left.length() < error, "and the error goes: {left}");
}

#[test]
fn smoothing_what_is_not_smoothed_or_twice_is_reported() {
    use bevy_app::{App, Plugin};

    struct Confused;
    impl Plugin for Confused {
        fn build(&self, app: &mut App) {
            app.add_plugins(crate::common::Game)
                .smooth_errors::<crate::common::Health>(ErrorSmoothing::default())
                .smooth_errors::<Position>(ErrorSmoothing { half_life: Duration::ZERO, ..ErrorSmoothing::default() })
                .smooth_errors::<Position>(ErrorSmoothing::default());
        }
    }
    let mut fleet = ghostline_testkit::Fleet::builder().plugin(Confused).build();
    fleet.logs().expect("no field of `.*Health` is smoothed");
    fleet.logs().expect("the smoothing of `.*Position` was registered already");
    fleet.ticks(2);
}

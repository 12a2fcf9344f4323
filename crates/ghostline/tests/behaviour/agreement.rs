//! Client and server agree: what a client predicted for a tick is what the server says of it, to a quantum; what was wrong is right again after a round
//! trip; and nothing else is ever rolled back. The ground on which these tests stand (game, logs, fleets) is in `race.rs`.

use bevy_math::Vec3;
use ghostline::prelude::*;
use ghostline_testkit::{FRAME, LinkProfile, Loss};
use proptest::prelude::*;

use crate::prediction::stats;
use crate::race::*;

/// {0, 60, 200} ms round trip × {0, 5, 33} % loss, and the link of worlds in one process. Every third packet is the most that the redundancy of
/// commands surely covers; of random loss it covers three in a row.
fn profiles() -> Vec<LinkProfile> {
    let mut profiles = vec![LinkProfile::in_process()];
    for round_trip_ms in [0, 60, 200] {
        for every in [0, 20, 3] {
            let profile = LinkProfile::rtt(round_trip_ms);
            profiles.push(if every == 0 { profile } else { profile.with_periodic_loss(every) });
        }
        profiles.push(LinkProfile::rtt(round_trip_ms).with_loss_percent(5.0));
    }
    profiles
}

fn orders_and_profiles() -> impl Iterator<Item = (WorldOrder, LinkProfile)> {
    [WorldOrder::ServerFirst, WorldOrder::ClientFirst]
        .into_iter()
        .flat_map(|order| profiles().into_iter().map(move |profile| (order, profile)))
}

#[test]
fn without_outside_influence_nothing_is_ever_rolled_back() {
    for (order, profile) in orders_and_profiles() {
        let mut race = Race::new(RaceOptions { profile, order, ..RaceOptions::default() });
        race.fleet.ticks(100);
        race.start_engines();
        race.fleet.ticks(400);
        let stats = stats(race.fleet.client(0).world());
        let wrong = (stats.mispredictions, stats.rollbacks, stats.unknown);
        assert_eq!(wrong, (0, 0, 0), "{profile:?} {order:?} {stats:?}");
        assert!(stats.comparisons > 200, "{profile:?} {order:?} {stats:?}");
        // Without the tolerance of a quantum each of these would have been a rollback.
        assert!(stats.forgiven > 20, "{profile:?} {order:?} {stats:?}");
        assert!(race.ticks_within_a_quantum_of_the_row() > 300, "{profile:?} {order:?}");
    }
}

#[test]
fn without_tolerance_rounding_alone_rolls_back_what_nobody_mispredicted() {
    for profile in [LinkProfile::in_process(), LinkProfile::rtt(60)] {
        let mut race = Race::new(RaceOptions { profile, ..RaceOptions::default() });
        race.fleet.ticks(100);
        race.fleet.client(0).world_mut().resource_mut::<PredictionSettings>().tolerance_quanta = 0;
        race.start_engines();
        race.fleet.ticks(400);
        let stats = stats(race.fleet.client(0).world());
        assert_eq!((stats.forgiven, stats.rollbacks), (0, stats.mispredictions));
        // That what moves in three axes, and begins beside the server's exact value, disagrees in more than half of its rows, is known by calculation.
        let share = stats.rollbacks as f64 / stats.comparisons as f64;
        assert!(share > 0.3, "{profile:?}: {share} {stats:?}");
    }
}

/// A client that is wrong by a metre from now on is right again after so many frames: a round trip and two ticks. The shortest round trip is a tick:
/// what a client sends in a frame is read in the next.
fn frames_to_correct(profile: LinkProfile) -> usize {
    let round_trip_ms = profile.up.delay_ms + profile.down.delay_ms;
    let ticks = (round_trip_ms * 60).div_ceil(1000).max(1) as usize;
    let commands_are_early_by = if profile.counts_as_socket() { 2 } else { 0 };
    ticks + commands_are_early_by
}

#[test]
fn a_divergence_is_corrected_within_a_round_trip_and_two_ticks() {
    for (order, profile) in orders_and_profiles() {
        let mut race = Race::new(RaceOptions { profile, order, ..RaceOptions::default() });
        race.fleet.ticks(200);
        race.start_engines();
        race.fleet.ticks(60);
        for _ in 0..3 {
            let before = stats(race.fleet.client(0).world());
            race.watch_from_now();
            race.nudge_client(Vec3::Y);
            race.fleet.ticks(50);
            let wrong = race.last_wrong_frame(2.0 * QUANTUM).expect("the divergence shows");
            // The row that corrects may be the one that is lost; then it is the next. And commands that get lost make the client send them a tick earlier.
            let lost = match profile.down.loss {
                Loss::None | Loss::Periodic { every: 20 } => 0,
                _ => 2,
            };
            let bound = frames_to_correct(profile) + lost;
            assert!(wrong <= bound, "{profile:?} {order:?}: wrong until frame {wrong}, not {bound}");
            let stats = stats(race.fleet.client(0).world());
            assert_eq!(stats.mispredictions - before.mispredictions, 1, "{profile:?} {order:?} {stats:?}");
            assert_eq!(stats.rollbacks - before.rollbacks, 1, "{profile:?} {order:?} {stats:?}");
            race.fleet.ticks(13);
        }
        let stats = stats(race.fleet.client(0).world());
        let cause = &stats.causes[stats.last_cause.unwrap()];
        assert_eq!((cause.ghost_type.as_str(), cause.component.as_str(), cause.count), ("car", "Position", 3));
        let error = stats.errors.iter().find(|error| error.count > 0).unwrap();
        assert_eq!((error.field.as_str(), error.count), ("Position.value", 3));
        assert!((error.last - 1.0).abs() < 0.01 && (error.max - 1.0).abs() < 0.01, "{error:?}");
        assert!((error.sum - 3.0).abs() < 0.03, "{error:?}");
        assert!(stats.resimulated_ticks > 0 || !profile.counts_as_socket());
    }
}

/// Loss that no redundancy covers makes both sides disagree for a while, and never for good.
#[test]
fn with_a_third_of_all_packets_lost_at_random_the_client_ends_on_the_servers_row() {
    for (seed, round_trip_ms) in [(1, 0), (2, 60), (3, 200)] {
        for order in [WorldOrder::ServerFirst, WorldOrder::ClientFirst] {
            let profile = LinkProfile::rtt(round_trip_ms).with_loss_percent(33.0);
            let mut race = Race::new(RaceOptions { profile, order, seed, ..RaceOptions::default() });
            race.fleet.ticks(100);
            race.start_engines();
            race.fleet.ticks(400);
            race.stop_engines();
            race.fleet.ticks(60);
            let quanta = race.quanta_from_the_row();
            assert!(quanta <= 1.0 + FLOAT_NOISE, "{profile:?} {order:?}: {quanta} quanta from the row");
        }
    }
}

#[test]
fn a_push_by_the_server_reaches_the_client_within_a_round_trip_and_two_ticks() {
    for profile in [LinkProfile::perfect(), LinkProfile::rtt(60), LinkProfile::rtt(200)] {
        let mut race = Race::started(profile);
        race.server_car::<Position>().value += Vec3::new(0.0, 0.0, -2.0);
        race.fleet.ticks(100);
        let wrong = race.last_wrong_frame(2.0 * QUANTUM).unwrap_or(0);
        assert!(wrong <= frames_to_correct(profile), "{profile:?}: wrong until frame {wrong}");
        let stats = stats(race.fleet.client(0).world());
        assert_eq!((stats.mispredictions, stats.rollbacks), (1, 1), "{profile:?} {stats:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    // Random inputs, random frame lengths, partial ticks, pushes on both sides, and state that the server does not send.
    #[test]
    fn whatever_happens_the_client_ends_within_a_quantum_of_the_servers_row(
        seed in any::<u64>(),
        frames in prop::collection::vec(0.15_f64..2.2, 60..160),
        round_trip_ms in 0_u32..120,
        pushes in prop::collection::vec((0_usize..160, -1.0_f32..1.0), 0..4),
    ) {
        let mut race = Race::new(RaceOptions {
            profile: LinkProfile::rtt(round_trip_ms).with_loss_percent(10.0),
            seed: seed | 1,
            with_turbo: true,
            ..RaceOptions::default()
        });
        race.fleet.ticks(60);
        race.start_engines();
        for (index, length) in frames.iter().enumerate() {
            for (_, by) in pushes.iter().filter(|(at, _)| *at == index) {
                race.nudge_client(Vec3::X * *by);
                race.server_car::<Position>().value.z -= by;
            }
            race.fleet.tick_by(FRAME.mul_f64(*length));
        }
        race.stop_engines();
        race.fleet.ticks(60);
        let quanta = race.quanta_from_the_row();
        prop_assert!(quanta <= 1.0 + FLOAT_NOISE, "{quanta} quanta from the row");
    }
}

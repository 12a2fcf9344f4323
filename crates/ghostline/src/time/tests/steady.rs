//! What holds on a link that stays as it is: distances, speeds, and that no clock goes back.

use std::time::Duration;

use super::super::{ClientTickRate, TickPoint, TickSpan};
use super::session::{Random, Session};

/// Asserts in every frame that both targets move forward and interpolation stays behind prediction.
struct Monotone {
    last: Option<(TickPoint, TickPoint)>,
}

impl Monotone {
    fn new() -> Self {
        Self { last: None }
    }

    fn check(&mut self, session: &Session) {
        let output = &session.client.output;
        let (Some(predict), Some(interpolate)) = (output.predict_target, output.interpolate_target) else {
            return;
        };
        assert!(interpolate.since(predict) <= TickSpan::ZERO);
        let time = &session.client.time;
        assert!(time.interpolation_tick.unwrap().ticks_since(time.server_tick.unwrap()) <= 0);
        if let Some((last_predict, last_interpolate)) = self.last.replace((predict, interpolate)) {
            assert!(predict.since(last_predict) >= TickSpan::ZERO);
            assert!(interpolate.since(last_interpolate) >= TickSpan::ZERO);
        }
    }
}

#[test]
fn prediction_leads_the_snapshots_by_the_round_trip_plus_slack() {
    for rtt_ms in [50.0, 150.0, 300.0] {
        let mut session = Session::new(1);
        session.set_link(rtt_ms / 2.0, 0.0, 0.0);
        session.settle();
        let expected = (rtt_ms * 60.0 / 1000.0) as i32 + 2;
        session.run(10.0, |session, _| {
            let ahead = session.ahead_of_snapshot();
            // A snapshot is used in the frame after that in which it came: one tick more.
            assert!((expected - 2..=expected + 2).contains(&(ahead - 1)), "{ahead} at {rtt_ms} ms");
        });
    }
}

#[test]
fn commands_arrive_about_two_ticks_early() {
    for (one_way_ms, jitter_ms, loss) in [(0.0, 0.0, 0.0), (25.0, 5.0, 0.0), (75.0, 20.0, 0.05), (150.0, 30.0, 0.3)] {
        let mut session = Session::new(2);
        session.set_link(one_way_ms, jitter_ms, loss);
        session.settle();
        session.run(20.0, |_, _| {});
        // A command is sent at the beginning of its tick, and the age counts whole ticks: hence one more.
        let margins: Vec<f64> = session.server.margins.iter().map(|&margin| f64::from(margin) - 1.0).collect();
        let mean = margins.iter().sum::<f64>() / margins.len() as f64;
        assert!((1.0..=3.0).contains(&mean), "{mean} at {one_way_ms} ms");
        assert!(margins.iter().all(|&margin| margin >= 0.0));
    }
}

#[test]
fn clocks_stay_within_their_speeds() {
    let mut session = Session::new(3);
    session.set_link(40.0, 60.0, 0.2);
    session.settle();
    let mut last: Option<(TickPoint, TickPoint)> = None;
    session.run(60.0, |session, _| {
        let output = &session.client.output;
        let (Some(predict), Some(interpolate)) = (output.predict_target, output.interpolate_target) else {
            return;
        };
        if let Some((last_predict, last_interpolate)) = last.replace((predict, interpolate)) {
            let frame = 1.0 + 2e-8;
            let (predicted, interpolated) =
                (predict.since(last_predict).to_f64(), interpolate.since(last_interpolate).to_f64());
            assert!((0.9 - 1e-6..=1.1 + 1e-6).contains(&(predicted / frame)), "{predicted}");
            assert!((0.85 - 1e-6..=1.1 + 1e-6).contains(&(interpolated / frame)), "{interpolated}");
        }
    });
}

#[test]
fn no_clock_goes_back_under_irregular_frames_and_jitter() {
    for seed in 0..20 {
        let mut session = Session::new(seed);
        session.set_link(10.0, 5.0 * seed as f64, 0.02 * seed as f64);
        let mut random = Random(seed);
        let mut monotone = Monotone::new();
        for _ in 0..3000 {
            session.frame(Duration::from_secs_f64(random.between(0.75, 1.25) / 60.0));
            monotone.check(&session);
        }
        assert!(monotone.last.is_some());
    }
}

#[test]
fn on_a_perfect_network_interpolation_buffers_two_ticks() {
    let mut session = Session::new(4);
    session.settle();
    session.run(10.0, |session, _| {
        assert!((1.9..=2.1).contains(&session.client.output.current_interpolation_delay_ticks));
        assert!((1.5..=2.5).contains(&session.interpolation_delay()), "{}", session.interpolation_delay());
    });
    assert!((session.client.sync.take_statistics().interpolation_time_scale - 1.0).abs() < 0.01);
}

#[test]
fn an_interpolation_time_of_100_ms_buffers_six_ticks() {
    let mut session = Session::new(5);
    session.client_rate.interpolation_time_ms = 100;
    session.settle();
    session.run(10.0, |session, _| assert!((5.5..=6.5).contains(&session.interpolation_delay())));
}

#[test]
fn jitter_enlarges_the_buffer_to_at_most_six_intervals() {
    let delay_at = |jitter_ms, loss| {
        let mut session = Session::new(6);
        session.set_link(20.0, jitter_ms, loss);
        session.settle();
        session.run(20.0, |session, _| assert!(session.client.output.current_interpolation_delay_ticks <= 6.0));
        session.client.output.current_interpolation_delay_ticks
    };
    assert!(delay_at(0.0, 0.0) < 2.1);
    assert!(delay_at(150.0, 0.3) > 3.0);
    assert!(delay_at(0.0, 0.95) > 5.9);
}

#[test]
fn every_third_snapshot_lost_buffers_two_to_four_ticks_and_nothing_goes_back() {
    let mut session = Session::new(7);
    session.set_link(5.0, 0.0, 0.0);
    (session.up.drop_every, session.down.drop_every) = (3, 3);
    let mut monotone = Monotone::new();
    for _ in 0..100 {
        session.frame(session.rate.step().duration(1));
        monotone.check(&session);
    }
    assert!((2.0..=4.0).contains(&session.client.output.current_interpolation_delay_ticks));
}

#[test]
fn a_round_trip_of_800_ms_is_predicted_for_500_and_the_rest_is_latency() {
    let mut session = Session::new(8);
    session.set_link(400.0, 0.0, 0.0);
    session.settle();
    let mut monotone = Monotone::new();
    session.run(10.0, |session, _| {
        assert_eq!(session.client.output.effective_input_latency_ticks, 20);
        assert!(session.ahead_of_snapshot() <= 32, "{}", session.ahead_of_snapshot());
        monotone.check(session);
    });
    assert!(session.server.margins.iter().all(|&margin| margin >= 1));
}

#[test]
fn three_budgets_for_a_round_trip_of_300_ms() {
    for (max_predict_ahead_time_ms, forced_input_latency_ticks, expected) in [(200, 0, 9), (200, 6, 9), (500, 3, 3)] {
        let mut session = Session::new(9);
        session.client_rate =
            ClientTickRate { max_predict_ahead_time_ms, forced_input_latency_ticks, ..ClientTickRate::default() };
        session.set_link(150.0, 0.0, 0.0);
        session.run(512.0 / 60.0, |_, _| {});
        let time = &session.client.time;
        let latency = i32::try_from(time.effective_input_latency_ticks).unwrap();
        assert!((latency - expected).abs() <= 2, "{latency}");
        assert_eq!(time.input_target_tick().unwrap().ticks_since(time.server_tick.unwrap()), latency);
        assert!((280.0..=320.0).contains(&session.client.rtt.estimated_ms().unwrap()));
        let predicted = session.ahead_of_snapshot();
        assert!(predicted > if expected == 3 { 15 } else { 12 }, "{predicted}");
    }
}

#[test]
fn a_latency_of_four_ticks_puts_inputs_four_ticks_later() {
    let mut session = Session::new(10);
    session.client_rate.forced_input_latency_ticks = 4;
    session.settle();
    let mut monotone = Monotone::new();
    session.run(5.0, |session, _| {
        let time = &session.client.time;
        assert_eq!(time.input_target_tick().unwrap().ticks_since(time.server_tick.unwrap()), 4);
        monotone.check(session);
    });
    assert!(session.server.margins.iter().all(|&margin| (1..=4).contains(&margin)));
}

#[test]
fn a_latency_above_the_round_trip_shows_the_past_and_keeps_interpolation_behind_it() {
    let mut session = Session::new(11);
    session.client_rate.forced_input_latency_ticks = 12;
    let mut monotone = Monotone::new();
    session.run(20.0, |session, _| monotone.check(session));
    assert!(session.lead() < 0.0);
}

#[test]
fn a_server_at_30_frames_per_second_starves_nobody() {
    let mut session = Session::new(12);
    session.set_link(20.0, 0.0, 0.0);
    let dt = session.rate.step().duration(1);
    for frame in 0..1200_u32 {
        session.now += dt.as_nanos() as u64;
        if frame % 2 == 0 {
            session.server_frame();
        }
        session.client_frame();
        if frame > 300 {
            let snapshot = TickPoint::at(session.client.latest_snapshot.unwrap());
            assert!(session.client.output.interpolate_target.unwrap().since(snapshot) <= TickSpan::ZERO);
        }
    }
}

#[test]
fn any_pair_of_frame_rates_keeps_its_distances() {
    for (client_hz, server_hz) in
        [(20.0, 60.0), (60.0, 15.0), (144.0, 60.0), (500.0, 60.0), (20.0, 500.0), (59.0, 61.0), (60.0, 20.0)]
    {
        let mut session = Session::new(13);
        session.set_link(50.0, 10.0, 0.05);
        let (client_dt, server_dt) = ((1e9 / client_hz) as u64, (1e9 / server_hz) as u64);
        let (mut next_client, mut next_server) = (client_dt, server_dt);
        while session.now < 20_000_000_000 {
            session.now = next_client.min(next_server);
            if next_server <= next_client {
                next_server += server_dt;
                session.server_frame();
                continue;
            }
            next_client += client_dt;
            let frame = session.client_frame();
            if session.now > 5_000_000_000 {
                assert!(frame.runs);
                assert!(session.client.output.warning.is_none());
                assert!((4.0..=10.0).contains(&session.lead()), "{} at {client_hz} and {server_hz} Hz", session.lead());
            } else {
                session.server.margins.clear();
            }
        }
        // Ticks that the server merges are simulated as one, and a command for the first of them counts as that much too late.
        let merged = (60.0_f64 / server_hz).max(1.0) as i32;
        assert!(session.server.margins.iter().all(|&margin| margin > -merged));
    }
}

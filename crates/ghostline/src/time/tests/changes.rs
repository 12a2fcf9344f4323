//! What happens when the link or one of the ends changes suddenly.

use std::time::Duration;

use super::super::{ClientLoop, TickSpan};
use super::session::Session;

/// Seconds from now until the lead is within `tolerance` ticks of where it ends and stays there, in a run of ten seconds.
fn seconds_to_settle(session: &mut Session, tolerance: f64) -> f64 {
    let mut leads = Vec::new();
    session.run(10.0, |session, _| leads.push(session.lead()));
    let end = leads[leads.len() - 1];
    let unsettled = leads.iter().rposition(|lead| (lead - end).abs() > tolerance);
    unsettled.map_or(0.0, |frame| (frame + 1) as f64 / 60.0)
}

#[test]
fn a_round_trip_that_goes_from_40_to_140_and_back_settles_without_a_backward_tick() {
    let mut session = Session::new(1);
    session.set_link(20.0, 0.0, 0.0);
    session.settle();
    let mut last = None;
    for one_way_ms in [70.0, 20.0] {
        session.set_link(one_way_ms, 0.0, 0.0);
        session.run(3.0, |session, frame| {
            assert!(frame.runs);
            assert_eq!((session.client.output.warning, frame.jump_back), (None, None));
            let now =
                (session.client.output.predict_target.unwrap(), session.client.output.interpolate_target.unwrap());
            if let Some((predict, interpolate)) = last.replace(now) {
                assert!(now.0.since(predict) > TickSpan::ZERO);
                assert!(now.1.since(interpolate) >= TickSpan::ZERO);
            }
        });
        session.server.margins.clear();
        session.run(3.0, |_, _| {});
        assert!(session.server.margins.iter().all(|margin| (2..=4).contains(margin)));
    }
}

#[test]
fn a_round_trip_that_goes_from_50_to_500_is_caught_up_with_within_a_second() {
    let mut session = Session::new(2);
    session.set_link(25.0, 0.0, 0.0);
    session.settle();
    session.set_link(250.0, 0.0, 0.0);
    let settled = seconds_to_settle(&mut session, 2.0);
    assert!(settled < 1.0, "{settled}");
    session.server.margins.clear();
    session.run(2.0, |_, _| {});
    assert!(session.server.margins.iter().all(|&margin| margin >= 2));
}

#[test]
fn a_step_is_followed_without_oscillation() {
    for (from_ms, to_ms) in [(10.0, 60.0), (60.0, 10.0), (50.0, 150.0), (150.0, 50.0), (10.0, 110.0)] {
        let mut session = Session::new(3);
        session.set_link(from_ms, 0.0, 0.0);
        session.settle();
        let start = session.lead();
        session.set_link(to_ms, 0.0, 0.0);
        let mut leads = Vec::new();
        session.run(10.0, |session, _| leads.push(session.lead()));
        let end = leads[leads.len() - 1];
        let (low, high) = (start.min(end), start.max(end));
        // Less than half a tick beyond either end.
        assert!(leads.iter().all(|lead| (low - 0.5..=high + 0.5).contains(lead)), "{from_ms} to {to_ms}: {leads:?}");
    }
}

#[test]
fn a_round_trip_of_20_400_and_20_ms_makes_a_bounded_number_of_commands_late() {
    let mut session = Session::new(4);
    session.set_link(10.0, 0.0, 0.0);
    session.settle();
    session.set_link(200.0, 0.0, 0.0);
    session.run(10.0, |_, _| {});
    session.set_link(10.0, 0.0, 0.0);
    session.run(10.0, |_, _| {});
    let late = session.server.margins.iter().filter(|&&margin| margin < 0).count();
    // What was on its way for the longer time, and little more.
    assert!(late <= 40, "{late}");
    assert!(session.server.margins.iter().rev().take(300).all(|margin| (2..=4).contains(margin)));
}

#[test]
fn jitter_above_the_interpolation_delay_makes_few_commands_late_and_the_buffer_shrinks_afterwards() {
    let mut session = Session::new(5);
    session.set_link(20.0, 0.0, 0.0);
    session.settle();
    session.set_link(20.0, 80.0, 0.0);
    let mut largest = 0.0_f32;
    session.run(30.0, |session, _| largest = largest.max(session.client.output.current_interpolation_delay_ticks));
    let late = session.server.margins.iter().filter(|&&margin| margin < 0).count();
    assert!(late * 50 <= session.server.margins.len(), "{late} of {}", session.server.margins.len());
    assert!((2.3..=6.0).contains(&largest), "{largest}");
    session.set_link(20.0, 0.0, 0.0);
    session.run(10.0, |_, _| {});
    assert!(session.client.output.current_interpolation_delay_ticks < 2.1);
}

#[test]
fn thirty_percent_loss_makes_no_command_late() {
    let mut session = Session::new(6);
    session.set_link(20.0, 0.0, 0.3);
    session.settle();
    session.run(60.0, |session, frame| assert!(frame.runs && session.client.output.warning.is_none()));
    assert!(session.server.margins.iter().all(|&margin| margin >= 0));
}

#[test]
fn bursts_of_loss_of_half_a_second_move_no_clock_far() {
    for (cut_up, cut_down) in [(true, true), (true, false), (false, true)] {
        let mut session = Session::new(7);
        session.set_link(10.0, 0.0, 0.0);
        session.settle();
        let before = session.lead();
        for frame in 0..3000_u32 {
            let is_burst = frame % 300 < 30;
            (session.up.is_cut, session.down.is_cut) = (is_burst && cut_up, is_burst && cut_down);
            let ran = session.frame(session.rate.step().duration(1));
            assert!(ran.runs && session.client.output.warning.is_none());
            assert!((session.lead() - before).abs() < 3.0, "{} after {before}", session.lead());
        }
        assert!(session.server.margins.iter().all(|&margin| margin >= 0));
    }
}

#[test]
fn after_a_stall_the_client_is_back_in_time_within_a_second() {
    for stall_ms in [200, 1000, 5000, 60_000] {
        let mut session = Session::new(8);
        session.set_link(30.0, 5.0, 0.0);
        session.settle();
        // The server goes on; snapshots pile up in the socket.
        for _ in 0..stall_ms * 60 / 1000 {
            session.now += session.rate.step().duration(1).as_nanos() as u64;
            session.server_frame();
        }
        let settled = seconds_to_settle(&mut session, 2.0);
        assert!(settled < 1.0, "{settled} after {stall_ms} ms");
        assert!((4.0..=7.0).contains(&session.lead()), "{}", session.lead());
    }
}

#[test]
fn after_a_stall_of_the_server_the_client_finds_it_again() {
    for stall_frames in [20, 60, 300, 3600] {
        let mut session = Session::new(9);
        session.set_link(10.0, 0.0, 0.0);
        session.settle();
        let ahead = session.ahead_of_snapshot();
        session.run_client_alone(stall_frames);
        let mut errors = 0;
        let mut skipped = 0;
        session.run(10.0, |session, frame| {
            errors += u32::from(session.client.output.warning.is_some());
            skipped += u32::from(!frame.runs);
        });
        assert!((ahead - 1..=ahead + 1).contains(&session.ahead_of_snapshot()));
        assert!((1..=20).contains(&errors), "{errors} after {stall_frames} frames");
        assert!(skipped <= 2 * ClientLoop::RESTART_TICKS as u32, "{skipped} after {stall_frames} frames");
    }
}

#[test]
fn a_client_that_ran_20_ticks_alone_reports_that_prediction_jumped_back() {
    let mut session = Session::new(10);
    session.run(0.5, |_, _| {});
    session.run_client_alone(20);
    let mut reports = Vec::new();
    session.run(10.0 / 60.0, |session, _| reports.extend(session.client.output.warning));
    assert_eq!(reports.len(), 1);
    assert!(reports[0].ticks < 0);
    assert!(reports[0].to_string().starts_with("the predicted server tick jumped back by -"));
}

#[test]
fn a_target_forced_ten_ticks_back_skips_nine_frames_and_nothing_is_simulated_twice() {
    for warm_up in 120..180 {
        for receives_in_skipped_frames in [true, false] {
            let mut session = Session::new(11);
            session.receives_in_skipped_frames = receives_in_skipped_frames;
            // The last of these frames runs, and while it runs the target is forced.
            session.run(f64::from(warm_up) / 60.0, |_, _| {});
            let done = session.client.time.last_full_server_tick().unwrap();
            session.client.sync.shift_predict_target(-10);
            let mut ran = Vec::new();
            session.run(10.0 / 60.0, |session, frame| {
                assert_eq!((session.client.output.warning, frame.jump_back), (None, None));
                ran.push(frame.runs);
            });
            assert_eq!(ran, [false, false, false, false, false, false, false, false, false, true]);
            assert!(!session.client.time.last_full_server_tick().unwrap().is_older_than(done));
        }
    }
}

#[test]
fn leaving_and_entering_the_game_begins_afresh() {
    let mut session = Session::new(12);
    session.settle();
    session.client.in_game = false;
    session.run(1.0, |session, frame| {
        assert!(frame.runs);
        assert_eq!(frame.delta, Duration::from_nanos(16_666_667));
        assert_eq!(session.client.time.server_tick, None);
    });
    session.client.in_game = true;
    session.run(5.0, |_, frame| assert!(frame.runs));
    assert!((3..=5).contains(&session.ahead_of_snapshot()));
}

//! A client and its server in one process: one tick ahead, never late, never outrunning it.

use std::time::Duration;

use super::super::ClientServerTickRate;
use super::session::{Random, Session};

fn rate(simulation_tick_rate: i32) -> ClientServerTickRate {
    ClientServerTickRate { simulation_tick_rate, ..Default::default() }
}

#[test]
fn at_three_quarters_of_a_tick_per_frame_commands_are_never_half_a_tick_late_and_then_exactly_on_time() {
    let mut session = Session::in_process(1, rate(60));
    let frame = Duration::from_secs_f64(0.75 / 60.0);
    for _ in 0..16 {
        session.frame(frame);
    }
    for _ in 0..51 {
        session.frame(frame);
        let behind = session.server.server_loop.tick().ticks_since(session.client.latest_snapshot.unwrap());
        assert!((0..=2).contains(&behind), "{behind}");
        assert!((0..=2).contains(&session.ahead_of_snapshot()));
        assert!(session.server.command_age_q8.abs() <= 128, "{}", session.server.command_age_q8);
    }
    assert_eq!(session.server.command_age_q8, 0);
}

#[test]
fn with_whole_frames_the_servers_newest_full_command_is_for_its_own_tick_from_the_first_on() {
    let mut session = Session::in_process(2, rate(60));
    let frame = session.rate.step().duration(1);
    let mut checked = 0;
    for _ in 0..2048 {
        session.frame(frame);
        if session.server.newest_full_command.is_some() {
            checked += 1;
            assert_eq!(session.server.newest_full_command, Some(session.server.server_loop.tick()));
            assert_eq!(session.server.command_age_q8, 0);
        }
    }
    assert!(checked > 2040);
}

#[test]
fn with_many_small_frames_the_client_is_ahead_in_each_and_misses_none() {
    let mut session = Session::in_process(3, rate(30));
    let mut random = Random(9);
    let mut checked = 0;
    for _ in 0..2048 {
        let frame = session.frame(Duration::from_secs_f64(random.between(0.1, 0.4) / 60.0));
        if let Some(tick) = session.client.time.server_tick {
            checked += 1;
            assert!(frame.runs);
            assert!(tick.is_newer_than(session.server.server_loop.tick()));
        }
    }
    assert!(checked > 2000);
}

#[test]
fn with_the_client_first_its_commands_are_used_in_the_frame_that_made_them() {
    let mut session = Session::in_process(4, rate(60));
    let frame = session.rate.step().duration(1);
    let mut on_time = 0;
    for _ in 0..600 {
        session.now += frame.as_nanos() as u64;
        session.client_frame();
        session.server_frame();
        if session.client.time.server_tick.is_some() {
            assert_eq!(session.client.time.server_tick, Some(session.server.server_loop.tick()));
            assert_eq!(session.server.newest_full_command, Some(session.server.server_loop.tick()));
            on_time += 1;
        }
    }
    assert!(on_time > 590);
}

#[test]
fn after_a_hitch_the_client_is_not_ahead_of_what_its_server_can_do() {
    for stall_ms in [200, 1000, 5000] {
        let mut session = Session::in_process(5, rate(60));
        let frame = session.rate.step().duration(1);
        for _ in 0..120 {
            session.frame(frame);
        }
        session.frame(Duration::from_millis(stall_ms));
        for _ in 0..240 {
            session.frame(frame);
            assert!(ahead_of_server(&session) <= 4);
        }
        // What the server put off it has made up for, and the client with it.
        for _ in 0..60 {
            session.frame(frame);
            assert!((1..=2).contains(&ahead_of_server(&session)), "{} after {stall_ms} ms", ahead_of_server(&session));
        }
    }
}

fn ahead_of_server(session: &Session) -> i32 {
    session.client.time.server_tick.unwrap().ticks_since(session.server.server_loop.tick())
}

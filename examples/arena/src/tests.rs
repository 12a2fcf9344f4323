//! The arena as a test: short runs in virtual time keep every promise, and a broken promise is found.

use clap::Parser;
use ghostline::prelude::*;
use ghostline::world::ExitSignal;

use crate::args::Args;
use crate::bots::RaisedPresses;
use crate::game::Position;
use crate::headless;
use crate::report::Report;
use crate::session::Session;

fn play(arguments: &str) -> (Session, Report, String) {
    let args = Args::parse_from(["arena", "--headless", "--virtual"].into_iter().chain(arguments.split_whitespace()));
    let mut session = Session::new(&args).expect("worlds");
    let mut out = Vec::new();
    let exit = ExitSignal::default();
    let report = headless::play(&args, &mut session, &exit, &mut out).expect("memory can be written to");
    (session, report, String::from_utf8(out).expect("text"))
}

fn failed(report: &Report) -> Vec<&str> {
    report.invariants.iter().filter(|i| !i.complaints.is_empty()).map(|i| i.promise).collect()
}

#[test]
fn a_short_run_keeps_every_promise_at_any_tick_rate_and_on_any_link() {
    for arguments in [
        "--seconds 3",
        "--seconds 3 --rtt 0 --jitter 0 --loss 0",
        "--seconds 3 --tick-rate 20",
        "--seconds 2 --tick-rate 250 --thin-clients 1",
        "--seconds 4 --thin-clients 2 --rtt 200 --loss 33",
        "--seconds 3 --thin-clients 0",
    ] {
        let (_, report, _) = play(arguments);
        assert!(report.is_good(), "{arguments}: {report}");
    }
}

#[test]
fn equal_seeds_play_equal_games_and_others_do_not() {
    let rows = |seed: u32| {
        let (session, ..) = play(&format!("--seconds 2 --seed {seed}"));
        ghostline::snapshot::newest_rows(session.worlds.server_world().expect("a server").world())
    };
    assert_eq!(rows(5), rows(5));
    assert_ne!(rows(5), rows(6));
}

#[test]
fn the_report_says_what_the_bits_of_snapshots_are_for_if_asked_to() {
    let (.., asked, _) = play("--seconds 2 --bits");
    let asked = asked.to_string();
    for line in ["player ", "  Position ", "before each row", "headers "] {
        assert!(asked.contains(line), "{line:?} is not in: {asked}");
    }
    let (.., report, _) = play("--seconds 2");
    assert!(!report.to_string().contains("before each row"), "{report}");
}

#[test]
fn progress_is_told_once_per_second() {
    let (.., out) = play("--seconds 3");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 5, "{out}");
    assert!(lines[4].contains("in game    9"), "{out}");
}

#[test]
fn a_press_that_the_server_did_not_see_is_found() {
    let (mut session, ..) = play("--seconds 2");
    let client = session.worlds.iter_mut().find(|world| world.kind() == WorldKind::ThinClient).expect("a thin client");
    client.world_mut().resource_mut::<RaisedPresses>().0.jumps += 1;
    let report = Report::of(&mut session, std::time::Duration::ZERO);
    assert_eq!(failed(&report), ["every press was seen by the server exactly once"]);
}

#[test]
fn a_client_that_holds_something_else_is_found() {
    let (mut session, ..) = play("--seconds 2");
    let server = session.worlds.iter_mut().find(|world| world.kind() == WorldKind::Server).expect("a server");
    let world = server.world_mut();
    world.query::<&mut Position>().iter_mut(world).next().expect("a ghost").value.x += 1.0;
    // The server alone runs on: it collects the change, and no client hears of it.
    let tick = std::time::Duration::from_millis(17);
    session.worlds.begin_frame(tick);
    session.worlds.run_stage(&[WorldKind::Server], tick);
    let report = Report::of(&mut session, tick);
    assert_eq!(failed(&report), ["after the still moment every client holds the server's rows"]);
}

#[test]
fn a_client_that_left_is_found() {
    let (mut session, ..) = play("--seconds 2");
    let client = session.worlds.iter_mut().find(|world| world.kind() == WorldKind::ThinClient).expect("a thin client");
    let connection = client.world().resource::<NetworkStreamDriver>().connections().next().expect("a connection").1;
    client.world_mut().disconnect(connection, DisconnectReason::ConnectionClose);
    for _ in 0..4 {
        session.frame(std::time::Duration::from_millis(17)).expect("the client stays");
    }
    let report = Report::of(&mut session, std::time::Duration::ZERO);
    assert!(failed(&report).contains(&"every client is connected and in the game"), "{report}");
}

//! What must hold in every run, whatever the link is like. Looked at when a run is over; what does not hold is told, and makes the
//! exit status.

use ghostline::prelude::*;
use ghostline::snapshot::newest_rows;
use ghostline::stats::NetworkStats;

use super::PlayerLine;
use crate::bots::Presses;
use crate::session::{Session, is_in_game};

/// The server may be so many ticks beside the clock: one that is due and not begun, one for rounding.
const TICK_TOLERANCE: f64 = 2.0;

/// Something that must hold in every run.
#[derive(Clone, Debug, PartialEq)]
pub struct Invariant {
    /// What must hold.
    pub promise: &'static str,
    /// What is wrong; empty if it holds.
    pub complaints: Vec<String>,
}

/// Those that can be checked with the worlds of this process.
pub fn all(session: &Session, players: &[PlayerLine]) -> Vec<Invariant> {
    let mut invariants = Vec::new();
    if session.clients().next().is_some() {
        invariants.push(everybody_is_connected(session));
    }
    if session.is_at_rest() {
        invariants.push(presses_arrived_once(players));
        invariants.push(rows_are_equal(session));
    }
    invariants.push(nothing_was_unreadable(session));
    if session.worlds.server_world().is_some() {
        invariants.push(ticks_were_kept(session));
    }
    invariants
}

fn everybody_is_connected(session: &Session) -> Invariant {
    let missing = session.clients().filter(|client| !is_in_game(client.world()));
    let complaints = missing.map(|client| format!("{} is not in the game", client.name())).collect();
    Invariant { promise: "every client is connected and in the game", complaints }
}

fn presses_arrived_once(players: &[PlayerLine]) -> Invariant {
    let differing = players.iter().filter(|player| player.raised != player.seen.presses);
    let mut complaints: Vec<String> = differing
        .map(|player| {
            let (raised, seen) = (player.raised, player.seen.presses);
            format!(
                "{}: {} jumps and {} shots raised, {} and {} seen",
                player.name, raised.jumps, raised.shots, seen.jumps, seen.shots
            )
        })
        .collect();
    if players.iter().all(|player| player.raised == Presses::default()) {
        complaints.push("nobody pressed anything, so nothing is shown".to_owned());
    }
    Invariant { promise: "every press was seen by the server exactly once", complaints }
}

fn rows_are_equal(session: &Session) -> Invariant {
    let mut complaints = Vec::new();
    let truth = session.worlds.server_world().map(|server| newest_rows(server.world())).unwrap_or_default();
    if truth.is_empty() {
        complaints.push("the server has no ghosts".to_owned());
    }
    // Thin clients hold no rows.
    for client in session.worlds.of_kind(WorldKind::Client) {
        let held = newest_rows(client.world());
        let wrong = truth.iter().filter(|&row| !held.contains(row)).count();
        let extra = held.iter().filter(|row| !truth.iter().any(|known| known.ghost_id == row.ghost_id)).count();
        if wrong + extra > 0 {
            complaints.push(format!(
                "{}: {wrong} of {} rows differ from the server's or are missing, {extra} are not on the server",
                client.name(),
                truth.len()
            ));
        }
    }
    Invariant { promise: "after the still moment every client holds the server's rows", complaints }
}

fn nothing_was_unreadable(session: &Session) -> Invariant {
    let mut complaints = Vec::new();
    for world in session.worlds.iter() {
        let Some(stats) = world.world().get_resource::<NetworkStats>() else { continue };
        let bad = [
            (stats.invalid_messages, "messages could not be read"),
            (stats.dropped_messages, "messages found their buffer full"),
            (stats.bad_acks, "packets were acknowledged that were never sent"),
            (stats.fresh_starts, "fresh starts"),
            (stats.quantised_nan, "values were no numbers"),
        ];
        complaints.extend(
            bad.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{}: {count} {what}", world.name())),
        );
    }
    Invariant { promise: "every message could be read and was used", complaints }
}

fn ticks_were_kept(session: &Session) -> Invariant {
    let rate = session.worlds.server_world().and_then(|server| server.world().get_resource::<ClientServerTickRate>());
    let hertz = rate.cloned().unwrap_or_default().resolve_defaults().simulation_tick_rate;
    let due = session.worlds.now().as_secs_f64() * f64::from(hertz);
    let ticks = session.server_ticks();
    let kept = (f64::from(ticks) - due).abs() <= TICK_TOLERANCE;
    let complaints = if kept { Vec::new() } else { vec![format!("{ticks} ticks were simulated, {due:.1} were due")] };
    Invariant { promise: "the server kept its tick rate", complaints }
}

//! The report at the end of a run: figures from the worlds' counters and the samples, and the invariants, which decide about the
//! exit status. Made from a finished session; printed by `Display`.

use bevy_ecs::prelude::{Entity, With, World};
use ghostline::prelude::*;
use ghostline::snapshot::newest_rows;
use ghostline::stats::{NetworkStats, PredictionStats};
use ghostline::world::NetWorld;
use std::fmt;
use std::time::Duration;

use crate::bots::{Presses, RaisedPresses};
use crate::game::{Bolt, Player, Score, Wanderer};
use crate::rules::{Seen, SeenPresses};
use crate::samples::Samples;
use crate::session::Session;

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

/// A player in the table.
#[derive(Clone, Debug, PartialEq)]
struct PlayerLine {
    name: String,
    id: u32,
    raised: Presses,
    seen: Seen,
    hits: u32,
}

/// The figures of a run.
#[derive(Debug)]
pub struct Report {
    simulated: Duration,
    took: Duration,
    ticks: u32,
    clients: usize,
    connected: usize,
    ghosts: (usize, usize, usize),
    server: NetworkStats,
    sent_command_packets: u64,
    received_snapshot_packets: u64,
    prediction: PredictionStats,
    samples: Samples,
    tick_ms: f32,
    players: Vec<PlayerLine>,
    /// What must hold, and whether it did.
    pub invariants: Vec<Invariant>,
}

impl Report {
    /// Looks at the worlds of a finished run. `took` is what the run took on the clock on the wall.
    pub fn of(session: &mut Session, took: Duration) -> Self {
        let players = player_lines(session);
        let invariants = vec![
            everybody_is_connected(session),
            presses_arrived_once(&players),
            rows_are_equal(session),
            nothing_was_unreadable(session),
            ticks_were_kept(session),
        ];
        let stats: Vec<NetworkStats> =
            session.clients().map(|client| *client.world().resource::<NetworkStats>()).collect();
        let connected =
            session.worlds.iter_mut().filter(|world| world.kind().is_client()).filter_map(network_id).count();
        let prediction =
            session.worlds.client_world().map(|client| client.world().resource::<PredictionStats>().clone());
        let simulated = session.worlds.now();
        let ticks = session.server_ticks();
        let samples = session.samples.clone();
        let Some(server) = session.worlds.iter_mut().find(|world| world.kind().is_server()).map(NetWorld::world_mut)
        else {
            unreachable!("a session has a server");
        };
        Self {
            simulated,
            took,
            ticks,
            clients: stats.len(),
            connected,
            ghosts: (count::<Player>(server), count::<Wanderer>(server), count::<Bolt>(server)),
            server: *server.resource::<NetworkStats>(),
            sent_command_packets: stats.iter().map(|stats| stats.sent_command_packets).sum(),
            received_snapshot_packets: stats.iter().map(|stats| stats.received_snapshot_packets).sum(),
            prediction: prediction.unwrap_or_default(),
            samples,
            tick_ms: server.resource::<ClientServerTickRate>().resolve_defaults().step().duration(1).as_secs_f32()
                * 1e3,
            players,
            invariants,
        }
    }

    /// Whether every invariant held.
    pub fn is_good(&self) -> bool {
        self.invariants.iter().all(|invariant| invariant.complaints.is_empty())
    }
}

fn count<T: bevy_ecs::component::Component>(world: &mut World) -> usize {
    world.query_filtered::<Entity, With<T>>().iter(world).count()
}

fn network_id(world: &mut NetWorld) -> Option<NetworkId> {
    let world = world.world_mut();
    world.query_filtered::<&NetworkId, With<NetworkStreamInGame>>().iter(world).next().copied()
}

/// One line per client, from its own world and the server's.
fn player_lines(session: &mut Session) -> Vec<PlayerLine> {
    let Some(server) = session.worlds.iter_mut().find(|world| world.kind().is_server()).map(NetWorld::world_mut) else {
        return Vec::new();
    };
    let seen = server.resource::<SeenPresses>().0.clone();
    let hits: Vec<(NetworkId, u32)> =
        server.query::<(&GhostOwner, &Score)>().iter(server).map(|(owner, score)| (owner.0, score.hits)).collect();
    let clients = session.worlds.iter_mut().filter(|world| world.kind().is_client());
    clients
        .filter_map(|client| {
            let id = network_id(client)?;
            Some(PlayerLine {
                name: client.name().to_owned(),
                id: id.0,
                raised: client.world().resource::<RaisedPresses>().0,
                seen: seen.get(&id).copied().unwrap_or_default(),
                hits: hits.iter().find(|(owner, _)| *owner == id).map_or(0, |&(_, hits)| hits),
            })
        })
        .collect()
}

fn everybody_is_connected(session: &mut Session) -> Invariant {
    let missing = session.worlds.iter_mut().filter(|world| world.kind().is_client()).filter_map(|client| {
        let missing = network_id(client).is_none();
        missing.then(|| format!("{} is not in the game", client.name()))
    });
    Invariant { promise: "every client is connected and in the game", complaints: missing.collect() }
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

impl Report {
    fn fmt_prediction(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = &self.prediction;
        writeln!(
            f,
            "  prediction        {} states compared, {} mispredicted; {} rollbacks, {} ticks simulated again (client)",
            stats.comparisons, stats.mispredictions, stats.rollbacks, stats.resimulated_ticks
        )?;
        let causes = stats.causes.iter().filter(|cause| cause.count > 0);
        let causes: Vec<String> =
            causes.map(|cause| format!("{} of a {}'s {}", cause.count, cause.ghost_type, cause.component)).collect();
        if !causes.is_empty() {
            writeln!(f, "  mispredicted      {}", causes.join(", "))?;
        }
        let error = &self.samples.prediction_error_m;
        writeln!(
            f,
            "  prediction error  {:.3} m median, {:.3} m p99, {:.3} m at most, where it was corrected",
            error.quantile(0.5),
            error.quantile(0.99),
            error.quantile(1.0)
        )
    }
}

fn kilo(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 / 1e3 / seconds
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.simulated.as_secs_f64().max(1e-9);
        let (server, samples) = (&self.server, &self.samples);
        let (players, wanderers, bolts) = self.ghosts;
        writeln!(f, "\nreport")?;
        writeln!(f, "  time              {seconds:.1} s of the game in {:.1} s", self.took.as_secs_f64())?;
        writeln!(
            f,
            "  ticks             {}, {:.1} per second; {} frames ran several",
            self.ticks,
            f64::from(self.ticks) / seconds,
            samples.frames_with_several_ticks
        )?;
        writeln!(f, "  clients           {} of {} in the game", self.connected, self.clients)?;
        writeln!(f, "  ghosts            {players} players, {wanderers} wanderers, {bolts} bolts at the end")?;
        writeln!(
            f,
            "  round trip        {:.1} ms median, {:.1} ms p99 (client)",
            samples.rtt_ms.quantile(0.5),
            samples.rtt_ms.quantile(0.99)
        )?;
        let delay = samples.interpolation_delay_ticks.quantile(0.5);
        writeln!(
            f,
            "  interpolation     {delay:.1} ticks, {:.1} ms behind prediction (client, median)",
            delay * self.tick_ms
        )?;
        self.fmt_prediction(f)?;
        let snapshots = kilo(server.sent_snapshot_bytes, seconds);
        writeln!(
            f,
            "  snapshots         {snapshots:.1} kB/s, {:.2} kB/s per client; {} packets sent, {} received",
            snapshots / self.clients.max(1) as f64,
            server.sent_snapshot_packets,
            self.received_snapshot_packets
        )?;
        writeln!(
            f,
            "  rows              {} delta, {} absolute; {:.1} bits per row",
            server.encoded_rows - server.absolute_rows,
            server.absolute_rows,
            server.row_bits as f64 / server.encoded_rows.max(1) as f64
        )?;
        let ticks: u64 = self.players.iter().map(|player| player.seen.ticks).sum();
        let without: u64 = self.players.iter().map(|player| player.seen.without_command).sum();
        writeln!(
            f,
            "  commands          {} packets sent, {} received; {} late; {without} of {ticks} ticks without",
            self.sent_command_packets, server.received_command_packets, server.late_commands
        )?;
        writeln!(
            f,
            "  server            {:.3} ms per tick median, {:.3} ms p99, of {:.1} ms",
            samples.server_tick_ms.quantile(0.5),
            samples.server_tick_ms.quantile(0.99),
            self.tick_ms
        )?;
        writeln!(
            f,
            "  clients           {:.3} ms per frame median, {:.3} ms p99, all {} together",
            samples.clients_frame_ms.quantile(0.5),
            samples.clients_frame_ms.quantile(0.99),
            self.clients
        )?;
        writeln!(f, "\n  player             id   jumps raised/seen   shots raised/seen   hits")?;
        for player in &self.players {
            writeln!(
                f,
                "  {:<16} {:>4}   {:>8}/{:<8}   {:>8}/{:<8}   {:>4}",
                player.name,
                player.id,
                player.raised.jumps,
                player.seen.presses.jumps,
                player.raised.shots,
                player.seen.presses.shots,
                player.hits
            )?;
        }
        writeln!(f, "\ninvariants")?;
        for invariant in &self.invariants {
            let verdict = if invariant.complaints.is_empty() { "ok    " } else { "FAILED" };
            writeln!(f, "  {verdict}  {}", invariant.promise)?;
            for complaint in &invariant.complaints {
                writeln!(f, "          {complaint}")?;
            }
        }
        Ok(())
    }
}

//! The report at the end of a run: figures from the worlds' counters and the samples, and the invariants, which decide about the
//! exit status. Made from a finished session; printed by `Display`. Of a server or a client alone it has what that one knows.

mod invariants;
mod print;
pub mod traffic;

use bevy_ecs::prelude::{Entity, With, World};
use ghostline::prelude::*;
use ghostline::stats::{NetworkStats, PredictionStats, SnapshotBits};
use ghostline::world::NetWorld;
use std::time::Duration;

use crate::bots::{Presses, RaisedPresses};
use crate::game::{Bolt, Player, Score, Wanderer};
use crate::rules::{Seen, SeenPresses};
use crate::samples::Samples;
use crate::session::{Session, is_in_game};

pub use self::invariants::Invariant;
pub use self::traffic::{Baseline, Traffic};

/// A player in the table.
#[derive(Clone, Debug, PartialEq)]
struct PlayerLine {
    name: String,
    id: u32,
    raised: Presses,
    seen: Seen,
    hits: u32,
}

/// What is known of a server in this process.
#[derive(Clone, Debug)]
struct ServerFigures {
    ticks: u32,
    ghosts: (usize, usize, usize),
    stats: NetworkStats,
    /// If they were to be counted.
    bits: Option<SnapshotBits>,
}

/// What is known of the client that is no thin one.
#[derive(Clone, Debug)]
struct ClientFigures {
    prediction: PredictionStats,
}

/// The figures of a run.
#[derive(Debug)]
pub struct Report {
    simulated: Duration,
    behind: Duration,
    took: Duration,
    tick_ms: f32,
    clients: usize,
    connected: usize,
    server: Option<ServerFigures>,
    client: Option<ClientFigures>,
    /// Of all clients of this process together.
    sent_command_packets: u64,
    received_snapshot_packets: u64,
    traffic: Traffic,
    samples: Samples,
    players: Vec<PlayerLine>,
    /// What must hold, and whether it did.
    pub invariants: Vec<Invariant>,
}

impl Report {
    /// Looks at the worlds of a finished run. `took` is what the game took on the clock on the wall.
    pub fn of(session: &mut Session, took: Duration) -> Self {
        let players = player_lines(session);
        let invariants = invariants::all(session, &players);
        let stats: Vec<NetworkStats> =
            session.clients().map(|client| *client.world().resource::<NetworkStats>()).collect();
        let sum = |of: fn(&NetworkStats) -> u64| stats.iter().map(of).sum();
        let client = session.worlds.client_world().is_some();
        let client = client.then(|| ClientFigures { prediction: session.baseline().prediction_since(session) });
        let rate = session.worlds.iter().find_map(|world| world.world().get_resource::<ClientServerTickRate>());
        let step = rate.cloned().unwrap_or_default().resolve_defaults().step().duration(1);
        Self {
            simulated: session.worlds.now().saturating_sub(session.baseline().at),
            behind: session.behind,
            took,
            tick_ms: step.as_secs_f32() * 1e3,
            clients: stats.len(),
            connected: session.clients().filter(|client| is_in_game(client.world())).count(),
            sent_command_packets: sum(|stats| stats.sent_command_packets),
            received_snapshot_packets: sum(|stats| stats.received_snapshot_packets),
            client,
            traffic: Traffic::since(session),
            samples: session.samples.clone(),
            players,
            invariants,
            server: server_figures(session),
        }
    }

    /// Whether every invariant held.
    pub fn is_good(&self) -> bool {
        self.invariants.iter().all(|invariant| invariant.complaints.is_empty())
    }
}

fn server_figures(session: &mut Session) -> Option<ServerFigures> {
    let (ticks, begin) = (session.server_ticks(), session.baseline().clone());
    let server = session.worlds.iter_mut().find(|world| world.kind().is_server()).map(NetWorld::world_mut)?;
    Some(ServerFigures {
        ticks: ticks.saturating_sub(begin.ticks),
        ghosts: (count::<Player>(server), count::<Wanderer>(server), count::<Bolt>(server)),
        stats: begin.since(server.resource::<NetworkStats>()),
        bits: server.get_resource::<SnapshotBits>().cloned(),
    })
}

fn count<T: bevy_ecs::component::Component>(world: &mut World) -> usize {
    world.query_filtered::<Entity, With<T>>().iter(world).count()
}

fn network_id(world: &mut NetWorld) -> Option<NetworkId> {
    let world = world.world_mut();
    world.query_filtered::<&NetworkId, With<NetworkStreamInGame>>().iter(world).next().copied()
}

/// One line per client of this process, from its own world and, if that is here, the server's.
fn player_lines(session: &mut Session) -> Vec<PlayerLine> {
    let server = session.worlds.iter_mut().find(|world| world.kind().is_server()).map(NetWorld::world_mut);
    let (seen, hits): (_, Vec<(NetworkId, u32)>) = match server {
        Some(server) => (
            server.resource::<SeenPresses>().0.clone(),
            server.query::<(&GhostOwner, &Score)>().iter(server).map(|(owner, score)| (owner.0, score.hits)).collect(),
        ),
        None => (std::collections::BTreeMap::new(), Vec::new()),
    };
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

//! What crossed the sockets of this process while the game was on, and where its counters stood when that began.

use ghostline::prelude::*;
use ghostline::stats::{NetworkStats, PredictionStats};
use ghostline::transport::{ConnectionStatistics, DriverId, DriverStatistics, UnreliableDrops};
use ghostline::world::NetWorld;
use std::time::Duration;

use crate::session::Session;

/// UDP and IPv4 headers around each packet, in bytes.
const HEADER_BYTES: u64 = 28;

/// Where everything stood when everybody was in the game. What came before is joining, and counts for nothing.
#[derive(Clone, Debug, Default)]
pub struct Baseline {
    /// The time of the game.
    pub at: Duration,
    /// Ticks of the server.
    pub ticks: u32,
    server: NetworkStats,
    prediction: PredictionStats,
    sockets: Sides,
}

impl Baseline {
    /// As it is now.
    pub fn of(session: &mut Session) -> Self {
        let server = session.worlds.server_world().map(|server| *server.world().resource::<NetworkStats>());
        Self {
            at: session.worlds.now(),
            ticks: session.server_ticks(),
            server: server.unwrap_or_default(),
            prediction: prediction(session),
            sockets: Sides::of(session),
        }
    }

    /// The counters of the server since then; those that should stay at zero are told whole.
    pub fn since(&self, now: &NetworkStats) -> NetworkStats {
        let before = &self.server;
        NetworkStats {
            sent_bytes: now.sent_bytes - before.sent_bytes,
            received_bytes: now.received_bytes - before.received_bytes,
            sent_snapshot_packets: now.sent_snapshot_packets - before.sent_snapshot_packets,
            sent_snapshot_bytes: now.sent_snapshot_bytes - before.sent_snapshot_bytes,
            received_command_packets: now.received_command_packets - before.received_command_packets,
            sent_rows: now.sent_rows - before.sent_rows,
            absolute_rows: now.absolute_rows - before.absolute_rows,
            row_bits: now.row_bits - before.row_bits,
            late_commands: now.late_commands - before.late_commands,
            ..*now
        }
    }

    /// What the client's prediction has come to since then.
    pub fn prediction_since(&self, session: &Session) -> PredictionStats {
        let (before, mut now) = (&self.prediction, prediction(session));
        now.comparisons -= before.comparisons;
        now.mispredictions -= before.mispredictions;
        now.rollbacks -= before.rollbacks;
        now.resimulated_ticks -= before.resimulated_ticks;
        for (cause, before) in now.causes.iter_mut().zip(&before.causes) {
            cause.count -= before.count;
        }
        now
    }
}

fn prediction(session: &Session) -> PredictionStats {
    let client = session.worlds.client_world();
    client.map(|client| client.world().resource::<PredictionStats>().clone()).unwrap_or_default()
}

/// Counters of the server's sockets, and of those of all clients together.
#[derive(Clone, Copy, Debug, Default)]
struct Sides {
    server: Counters,
    clients: Counters,
}

/// What is counted of sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counters {
    pub packets: u64,
    /// UDP and IP headers included.
    pub bytes: u64,
    /// Of what the library wanted to send.
    pub message_bytes: u64,
    pub acks_alone: u64,
    pub dropped: UnreliableDrops,
}

impl Counters {
    fn add(&mut self, statistics: &DriverStatistics) {
        self.packets += statistics.packets_sent;
        self.bytes += statistics.bytes_sent + HEADER_BYTES * statistics.packets_sent;
        self.message_bytes += statistics.message_bytes_sent;
        self.acks_alone += statistics.packets_of_acks_alone;
        let dropped = &statistics.unreliable_dropped;
        self.dropped.by_queue += dropped.by_queue;
        self.dropped.by_budget += dropped.by_budget;
        self.dropped.by_silence += dropped.by_silence;
        self.dropped.by_size += dropped.by_size;
    }

    fn since(self, before: Self) -> Self {
        Self {
            packets: self.packets - before.packets,
            bytes: self.bytes - before.bytes,
            message_bytes: self.message_bytes - before.message_bytes,
            acks_alone: self.acks_alone - before.acks_alone,
            dropped: UnreliableDrops {
                by_queue: self.dropped.by_queue - before.dropped.by_queue,
                by_budget: self.dropped.by_budget - before.dropped.by_budget,
                by_silence: self.dropped.by_silence - before.dropped.by_silence,
                by_size: self.dropped.by_size - before.dropped.by_size,
            },
        }
    }

    /// Bytes around the messages of each packet, headers and acknowledgements.
    pub fn overhead_per_packet(&self) -> f64 {
        self.bytes.saturating_sub(self.message_bytes) as f64 / self.packets.max(1) as f64
    }
}

impl Sides {
    fn of(session: &mut Session) -> Self {
        let mut sides = Self::default();
        for world in session.worlds.iter_mut() {
            let side = if world.kind().is_server() { &mut sides.server } else { &mut sides.clients };
            for statistics in driver_statistics(world) {
                side.add(&statistics);
            }
        }
        sides
    }
}

fn driver_statistics(world: &NetWorld) -> Vec<DriverStatistics> {
    let Some(facade) = world.world().get_resource::<NetworkStreamDriver>() else { return Vec::new() };
    let ids: Vec<DriverId> = facade.drivers().map(|(id, _)| id).collect();
    ids.into_iter().filter_map(|id| facade.driver_statistics(id)).collect()
}

/// Bytes that have come down the sockets since they were made, headers included: sent by the server if that is here, else received by
/// the client that is no thin one.
pub fn bytes_down(session: &mut Session) -> u64 {
    let is_here = session.worlds.server_world().is_some();
    let kind = if is_here { WorldKind::Server } else { WorldKind::Client };
    let Some(world) = session.worlds.iter_mut().find(|world| world.kind() == kind) else { return 0 };
    let bytes = |statistics: &DriverStatistics| match is_here {
        true => statistics.bytes_sent + HEADER_BYTES * statistics.packets_sent,
        false => statistics.bytes_received + HEADER_BYTES * statistics.packets_received,
    };
    driver_statistics(world).iter().map(bytes).sum()
}

/// What crossed the sockets since the game began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    pub server: Counters,
    pub clients: Counters,
    /// Of the connection of the client that is no thin one, as it is at the end.
    pub connection: Option<ConnectionStatistics>,
}

impl Traffic {
    /// From what the counters say now.
    pub fn since(session: &mut Session) -> Self {
        let Sides { server, clients } = Sides::of(session);
        let before = session.baseline().sockets;
        let connection = session.worlds.iter_mut().find(|world| world.kind() == WorldKind::Client).and_then(|client| {
            let facade = client.world().resource::<NetworkStreamDriver>();
            let (handle, _) = facade.connections().next()?;
            facade.statistics(handle)
        });
        Self { server: server.since(before.server), clients: clients.since(before.clients), connection }
    }
}

//! One server and many clients below the ECS, each client on a path of its own: round trip, jitter, loss, and frames between the server's.
//! `keys` plays several of them in step. What a path does to a packet follows from the seed and the packet's number alone, so that crowds compare.

use ghostline::snapshot::plain::{RowClient, RowServer, SendLimits};
use ghostline::wire::{BitReader, Epoch, GhostSchema, NetworkTick, ReceivedPackets, SnapshotAcks, SnapshotHeader};
use std::collections::VecDeque;

use crate::measure::{Cost, Stretch};
use crate::motion::Rng;

/// A tick, in µs.
const TICK_US: u64 = 16_667;
/// Of a packet to a client that only counts it no more than this is kept: its header lies within.
const HEADER_BYTES: usize = 48;

/// How a client is reached.
#[derive(Clone, Copy, Debug, Default)]
pub struct Path {
    /// Of packets that don't wait, in ms; half of it each way.
    pub round_trip_ms: f32,
    /// Any packet takes up to so much longer, in ms.
    pub jitter_ms: f32,
    /// Share of packets that is lost, each way.
    pub loss: f32,
    /// The client's frames come so much later than the server's, in ms.
    pub phase_ms: f32,
}

fn micros(ms: f32) -> u64 {
    (ms * 1e3) as u64
}

/// Something on its way.
struct Late<T> {
    due_us: u64,
    what: T,
}

/// Takes out what is due, in the order in which it arrives.
fn arrived<T>(late: &mut Vec<Late<T>>, now_us: u64) -> impl Iterator<Item = T> + '_ {
    late.sort_by_key(|late| late.due_us);
    let due = late.partition_point(|late| late.due_us <= now_us);
    late.drain(..due).map(|late| late.what)
}

/// What a client does with its packets.
enum Receiver {
    /// Reads them.
    Reading(Box<RowClient>),
    /// Acknowledges them, no more: the server can't tell, and reading costs more than what is measured.
    Counting { epoch: Option<Epoch>, packets: ReceivedPackets },
}

impl Receiver {
    /// Takes in a packet. False: it could not be read.
    fn receive(&mut self, packet: &[u8]) -> bool {
        match self {
            Self::Reading(client) => client.decode(packet).is_ok(),
            Self::Counting { epoch, packets } => {
                let mut input = BitReader::new(packet.get(1..).unwrap_or_default());
                let Ok(header) = SnapshotHeader::decode(&mut input) else { return false };
                *epoch = Some(header.epoch);
                packets.receive(header.sequence);
                true
            }
        }
    }

    fn acks(&self) -> Option<(Epoch, SnapshotAcks)> {
        match self {
            Self::Reading(client) => client.acks(),
            Self::Counting { epoch, packets } => (*epoch).zip(packets.acks()),
        }
    }
}

struct Client {
    path: Path,
    receiver: Receiver,
    down: Vec<Late<Vec<u8>>>,
    up: Vec<Late<(Epoch, SnapshotAcks)>>,
}

/// The server's rows of the last ticks: what clients hold must be among them.
pub struct Truths {
    lanes: usize,
    /// Of each tick the lanes of all ghosts, oldest first.
    ticks: VecDeque<Vec<u32>>,
    newest: u32,
}

impl Truths {
    const TICKS: usize = 128;

    /// None yet, of ghosts of so many lanes.
    pub fn new(lanes: usize) -> Self {
        Self { lanes, ticks: VecDeque::new(), newest: 0 }
    }

    /// Keeps the rows of the next tick; the first is 1.
    pub fn keep(&mut self, rows: &[u32]) {
        let oldest = if self.ticks.len() == Self::TICKS { self.ticks.pop_front() } else { None };
        let mut kept = oldest.unwrap_or_default();
        kept.clear();
        kept.extend_from_slice(rows);
        self.ticks.push_back(kept);
        self.newest += 1;
    }

    /// Whether a ghost had another row at that tick; `None`: it is not known any more.
    fn differs(&self, tick: NetworkTick, ghost: usize, row: &[u32]) -> Option<bool> {
        let age = self.newest.checked_sub(tick.index())? as usize;
        let rows = self.ticks.get(self.ticks.len().checked_sub(age + 1)?)?;
        Some(rows.get(ghost * self.lanes..(ghost + 1) * self.lanes) != Some(row))
    }
}

/// A server, its clients and their paths.
pub struct Crowd {
    /// For settings before the first tick, and for its counts.
    pub server: RowServer,
    clients: Vec<Client>,
    ghosts: Vec<u32>,
    lanes: usize,
    seed: u64,
    tick: u32,
    spare: Vec<Vec<u8>>,
    /// Packets that could not be read.
    pub unreadable: u64,
}

impl Crowd {
    /// `ghosts` ghosts of one type and a client for each path; every `reads_every`th of them reads what it gets.
    pub fn new(schema: &GhostSchema, ghosts: usize, paths: &[Path], reads_every: usize, seed: u64) -> Self {
        let schemas = std::slice::from_ref(schema);
        let mut server = RowServer::new(schemas);
        let ghosts: Vec<u32> = (0..ghosts).filter_map(|_| server.spawn(0)).collect();
        let client = |(number, &path): (usize, &Path)| {
            server.add_client();
            let receiver = if number.is_multiple_of(reads_every.max(1)) {
                Receiver::Reading(Box::new(RowClient::new(schemas)))
            } else {
                Receiver::Counting { epoch: None, packets: ReceivedPackets::new() }
            };
            Client { path, receiver, down: Vec::new(), up: Vec::new() }
        };
        let clients = paths.iter().enumerate().map(client).collect();
        Self { server, clients, ghosts, lanes: schema.lanes(), seed, tick: 0, spare: Vec::new(), unreadable: 0 }
    }

    /// Sets all rows, lane by lane, ghost by ghost.
    pub fn set_rows(&mut self, rows: &[u32]) {
        for (ghost, row) in self.ghosts.iter().zip(rows.chunks_exact(self.lanes)) {
            self.server.set_lanes(*ghost, 0, row);
        }
    }

    /// A tick with the rows that are set: the server takes in acknowledgements and makes packets for everybody, then the clients have their frames.
    /// Returns what it cost the server.
    pub fn tick(&mut self) -> Cost {
        self.tick += 1;
        let now_us = u64::from(self.tick) * TICK_US;
        let stretch = Stretch::begin();
        self.server.seal(NetworkTick::new(self.tick));
        for (number, client) in self.clients.iter_mut().enumerate() {
            for (epoch, acks) in arrived(&mut client.up, now_us) {
                self.server.acknowledge(number, epoch, &acks);
            }
        }
        for number in 0..self.clients.len() {
            self.send(number, now_us);
        }
        let cost = stretch.end();
        for number in 0..self.clients.len() {
            self.receive(number, now_us);
        }
        cost
    }

    fn send(&mut self, number: usize, now_us: u64) {
        let Self { server, clients, spare, seed, tick, .. } = self;
        let Client { path, receiver, down, .. } = &mut clients[number];
        let kept_bytes = if matches!(receiver, Receiver::Reading(_)) { usize::MAX } else { HEADER_BYTES };
        let mut packets = 0;
        server.encode(number, SendLimits::default(), &mut |packet| {
            packets += 1;
            if let Some(due_us) = due_us(*path, *seed, number, *tick, packets, now_us) {
                let mut what = spare.pop().unwrap_or_default();
                what.clear();
                what.extend_from_slice(&packet[..packet.len().min(kept_bytes)]);
                down.push(Late { due_us, what });
            }
            true
        });
    }

    /// A client's frame: it takes in what arrived, and acknowledges.
    fn receive(&mut self, number: usize, now_us: u64) {
        let Self { clients, spare, seed, tick, unreadable, .. } = self;
        let Client { path, receiver, down, up } = &mut clients[number];
        let now_us = now_us + micros(path.phase_ms);
        for packet in arrived(down, now_us) {
            *unreadable += u64::from(!receiver.receive(&packet));
            spare.push(packet);
        }
        if let (Some(what), Some(due_us)) = (receiver.acks(), due_us(*path, *seed, number, *tick, 0, now_us)) {
            up.push(Late { due_us, what });
        }
    }

    /// Compares what the reading clients hold with the rows of the ticks that it is from: how many rows differ, of how many.
    pub fn compare(&self, truths: &Truths) -> (u64, u64) {
        let (mut differing, mut compared) = (0, 0);
        for client in &self.clients {
            let Receiver::Reading(client) = &client.receiver else { continue };
            for (number, ghost) in self.ghosts.iter().enumerate() {
                let held = client.row(*ghost);
                if let Some(differs) = held.and_then(|(tick, row)| truths.differs(tick, number, row)) {
                    compared += 1;
                    differing += u64::from(differs);
                }
            }
        }
        (differing, compared)
    }
}

/// When a packet arrives, or the acknowledgement, which is packet 0. `None`: never.
fn due_us(path: Path, seed: u64, client: usize, tick: u32, packet: u64, now_us: u64) -> Option<u64> {
    let mut rng = Rng(seed ^ (client as u64) << 48 ^ u64::from(tick) << 16 ^ packet);
    let is_lost = rng.unit() < path.loss;
    let one_way_ms = path.round_trip_ms / 2.0 + rng.unit() * path.jitter_ms;
    (!is_lost).then_some(now_us + micros(one_way_ms))
}

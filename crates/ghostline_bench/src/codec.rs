//! The snapshot codec below the ECS: rows of a schema of integers, a server and its clients without worlds, acknowledgements that are late.
//! What `cubes` and `asteroids` replay through, and what the benches of encode and decode measure.

use ghostline::snapshot::plain::{RowClient, RowServer, SendLimits};
use ghostline::stats::SnapshotBits;
use ghostline::wire::{
    ComponentSchema, Epoch, FieldKind, FieldSchema, GhostSchema, NetworkTick, Smoothing, SnapshotAcks,
};
use std::collections::VecDeque;

use crate::motion::Rng;

/// A component of integer lanes.
pub fn component(name: &str, fields: &[(&str, FieldKind, u32)]) -> ComponentSchema {
    let fields = fields
        .iter()
        .map(|&(name, kind, quantization)| FieldSchema {
            name: name.to_owned(),
            kind,
            quantization,
            smoothing: Smoothing::Clamp,
            max_smoothing_distance: None,
        })
        .collect();
    ComponentSchema { name: name.to_owned(), fields }
}

/// Packets on their way: due at a tick, to or from a client.
struct Late<T> {
    due: u32,
    client: usize,
    what: T,
}

/// A server, its clients, and the link between them.
pub struct Session {
    server: RowServer,
    clients: Vec<RowClient>,
    ghosts: Vec<u32>,
    rows: Vec<Vec<u32>>,
    tick: u32,
    sealed: bool,
    /// Ticks from a packet to the tick whose baseline it is.
    lag: u32,
    loss: f32,
    rng: Rng,
    packets: Vec<Late<Vec<u8>>>,
    acks: VecDeque<Late<(Epoch, SnapshotAcks)>>,
    spare: Vec<Vec<u8>>,
}

impl Session {
    /// `ghosts` ghosts of one type and `clients` clients, whose acknowledgements are `lag` ticks old (1 or more).
    pub fn new(schema: &GhostSchema, ghosts: usize, clients: usize, lag: u32) -> Self {
        let schemas = std::slice::from_ref(schema);
        let mut server = RowServer::new(schemas);
        let ghosts: Vec<u32> = (0..ghosts).filter_map(|_| server.spawn(0)).collect();
        for _ in 0..clients {
            server.add_client();
        }
        let rows = vec![vec![0; schema.lanes()]; ghosts.len()];
        Self {
            server,
            clients: (0..clients).map(|_| RowClient::new(schemas)).collect(),
            ghosts,
            rows,
            tick: 0,
            sealed: false,
            lag: lag.max(1),
            loss: 0.0,
            rng: Rng(1),
            packets: Vec::new(),
            acks: VecDeque::new(),
            spare: Vec::new(),
        }
    }

    /// From now on this share of packets and acknowledgements is lost, each for itself.
    pub fn lose(&mut self, share: f32, seed: u64) {
        self.loss = share;
        self.rng = Rng(seed);
    }

    /// From now on it is counted what the bits of packets are spent on.
    pub fn count_bits(&mut self) {
        self.server.count_bits();
    }

    /// What the bits of packets were spent on, if that was counted.
    pub fn bits(&self) -> Option<&SnapshotBits> {
        self.server.bits()
    }

    /// Sets the row of every ghost, by its number.
    pub fn set_rows(&mut self, mut fill: impl FnMut(usize, &mut [u32])) {
        for (number, (row, &ghost)) in self.rows.iter_mut().zip(&self.ghosts).enumerate() {
            fill(number, row);
            self.server.set_lanes(ghost, 0, row);
        }
        self.sealed = false;
    }

    /// Ends the setting of rows for this tick.
    pub fn seal(&mut self) {
        if !std::mem::replace(&mut self.sealed, true) {
            self.tick += 1;
            self.server.seal(NetworkTick::new(self.tick));
        }
    }

    /// Takes in the acknowledgements that are due, and makes this tick's packets; returns their bytes.
    pub fn encode(&mut self, limits: SendLimits) -> u64 {
        self.seal();
        while let Some(late) = self.acks.pop_front_if(|late| late.due <= self.tick) {
            let (epoch, acks) = &late.what;
            self.server.acknowledge(late.client, *epoch, acks);
        }
        let mut bytes = 0;
        for client in 0..self.clients.len() {
            let (packets, spare, due) = (&mut self.packets, &mut self.spare, self.tick);
            bytes += self.server.encode(client, limits, &mut |packet| {
                let mut what = spare.pop().unwrap_or_default();
                what.clear();
                what.extend_from_slice(packet);
                packets.push(Late { due, client, what });
                true
            });
        }
        bytes
    }

    /// Gives the clients their packets, and sends their acknowledgements on the way. Returns packets that could not be read.
    pub fn deliver(&mut self) -> u64 {
        let mut unreadable = 0;
        for late in self.packets.drain(..) {
            if self.loss == 0.0 || self.rng.unit() >= self.loss {
                unreadable += u64::from(self.clients[late.client].decode(&late.what).is_err());
            }
            self.spare.push(late.what);
        }
        for (client, receiver) in self.clients.iter().enumerate() {
            let lost = self.loss > 0.0 && self.rng.unit() < self.loss;
            if let Some(what) = receiver.acks().filter(|_| !lost) {
                self.acks.push_back(Late { due: self.tick + self.lag, client, what });
            }
        }
        unreadable
    }

    /// One tick of the link: packets to the clients, acknowledgements back. Returns the bytes of all packets.
    pub fn exchange(&mut self) -> u64 {
        let bytes = self.encode(SendLimits::default());
        self.deliver();
        bytes
    }

    /// Ghosts whose row a client holds otherwise than the server has it now. With loss a row may be old without being wrong, so call it then
    /// only when everything has arrived.
    pub fn mismatches(&self) -> u64 {
        let wrong = |client: &RowClient| {
            let differs = |&&ghost: &&u32| client.row(ghost).map(|(_, row)| row) != self.server.row(ghost);
            self.ghosts.iter().filter(differs).count() as u64
        };
        self.clients.iter().map(wrong).sum()
    }

    /// Rows of this very tick that a client holds otherwise than the server: what loss can't excuse.
    pub fn wrong_rows(&self) -> u64 {
        let now = NetworkTick::new(self.tick);
        let wrong = |client: &RowClient| {
            let differs = |&&ghost: &&u32| {
                client.row(ghost).is_some_and(|(tick, row)| tick == now && Some(row) != self.server.row(ghost))
            };
            self.ghosts.iter().filter(differs).count() as u64
        };
        self.clients.iter().map(wrong).sum()
    }
}

/// The common workload's agents as rows.
pub mod agents {
    use super::component;
    use crate::motion::Motion;
    use ghostline::wire::{FieldKind, GhostSchema};

    /// Position, rotation, health.
    pub fn schema() -> GhostSchema {
        GhostSchema {
            name: "agent".to_owned(),
            options: String::new(),
            components: vec![
                component("Position", &[("value", FieldKind::Vec3, 1000)]),
                component("Rotation", &[("value", FieldKind::Quat, 1000)]),
                component("Health", &[("points", FieldKind::U16, 0)]),
            ],
        }
    }

    /// The row of one agent.
    pub fn row(motion: &Motion, agent: usize, row: &mut [u32]) {
        let quantised = motion.positions[agent].iter().chain(&motion.rotations[agent]);
        for (lane, value) in row.iter_mut().zip(quantised) {
            *lane = ((value * 1000.0).round() as i32).cast_unsigned();
        }
        row[7] = u32::from(motion.health[agent]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::motion::Motion;

    #[test]
    fn clients_hold_the_rows_of_every_tick_bit_for_bit() {
        let mut motion = Motion::new(100, 0.5);
        let mut session = Session::new(&agents::schema(), 100, 3, 6);
        for tick in 0..100 {
            motion.step();
            session.set_rows(|ghost, row| agents::row(&motion, ghost, row));
            assert!(session.exchange() > 0);
            // No ghost is sent before the client is known to have learned its type.
            assert!(tick < 6 || session.mismatches() == 0, "tick {tick}");
        }
    }

    #[test]
    fn rows_that_arrive_over_a_lossy_link_are_right_and_all_arrive_at_last() {
        let mut motion = Motion::new(100, 0.5);
        let mut session = Session::new(&agents::schema(), 100, 2, 4);
        session.lose(0.3, 7);
        for _ in 0..300 {
            motion.step();
            session.set_rows(|ghost, row| agents::row(&motion, ghost, row));
            session.exchange();
            assert_eq!(session.wrong_rows(), 0);
        }
        session.lose(0.0, 7);
        for _ in 0..10 {
            session.set_rows(|ghost, row| agents::row(&motion, ghost, row));
            session.exchange();
        }
        assert_eq!(session.mismatches(), 0);
    }
}

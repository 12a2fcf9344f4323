//! Damaged snapshots and forged acknowledgements by the ten thousand, against the engine without worlds: nothing panics, memory stays bounded, a
//! fresh start heals, and whoever shares the server with the attacker has every row.

use crate::dice::Dice;
use crate::game::damage;
use ghostline::snapshot::plain::{RowClient, RowServer, SendLimits};
use ghostline::wire::{
    BitReader, ComponentSchema, Epoch, FieldKind, FieldSchema, GhostSchema, NetworkTick, Smoothing, SnapshotAcks,
};

const ATTACKER: usize = 0;
const HONEST: usize = 1;
const GHOSTS: u32 = 150;
const LIMITS: SendLimits = SendLimits { packet_bytes: 400, max_packets: 3 };

fn schemas() -> [GhostSchema; 2] {
    ["slow", "fast"].map(|name| {
        let kinds = [("place", FieldKind::Vec3), ("alive", FieldKind::Bool), ("points", FieldKind::I64)];
        let fields = kinds.map(|(name, kind)| FieldSchema {
            name: name.to_owned(),
            kind,
            quantization: 100,
            smoothing: Smoothing::Clamp,
            max_smoothing_distance: None,
        });
        let component = ComponentSchema { name: "Thing".to_owned(), fields: fields.into() };
        GhostSchema { name: name.to_owned(), options: String::new(), components: vec![component] }
    })
}

/// A server with ghosts that move, and come and go, and two clients.
struct Duel {
    server: RowServer,
    clients: [RowClient; 2],
    ghosts: Vec<(u32, [u32; 6])>,
    now: u32,
    dice: Dice,
}

impl Duel {
    fn new(seed: u64) -> Self {
        let mut server = RowServer::new(&schemas());
        let clients = [ATTACKER, HONEST].map(|number| {
            assert_eq!(server.add_client(), number);
            RowClient::new(&schemas())
        });
        server.set_max_history_bytes(1 << 20);
        Self { server, clients, ghosts: Vec::new(), now: 0, dice: Dice::new(seed) }
    }

    /// A tick of the game.
    fn step(&mut self, is_moving: bool) {
        if is_moving && self.dice.one_in(4) && !self.ghosts.is_empty() {
            let (id, _) = self.ghosts.swap_remove(self.dice.below(self.ghosts.len()));
            self.server.despawn(id);
        }
        while is_moving && self.ghosts.len() < GHOSTS as usize {
            let Some(id) = self.server.spawn(self.dice.below(2) as u16) else { break };
            self.ghosts.push((id, [0; 6]));
        }
        for (number, (id, row)) in self.ghosts.iter_mut().enumerate() {
            if is_moving {
                row[number % 3] = row[number % 3].wrapping_add(number as u32 + self.dice.below(3) as u32);
                row[3] ^= u32::from(self.dice.one_in(50));
                row[4] = row[4].wrapping_add(u32::from(self.dice.one_in(20)));
            }
            self.server.set_lanes(*id, 0, row);
        }
        self.now += 1;
        self.server.seal(NetworkTick::new(self.now));
    }

    fn packets(&mut self, client: usize) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        self.server.encode(client, LIMITS, &mut |packet| {
            packets.push(packet.to_vec());
            true
        });
        packets
    }

    /// Snapshots to a client and what it answers, as it should be.
    fn exchange(&mut self, client: usize) {
        for packet in self.packets(client) {
            if self.clients[client].decode(&packet).is_err() {
                assert_eq!(client, ATTACKER, "tick {}", self.now);
                return self.start_anew();
            }
        }
        self.answer(client);
    }

    fn answer(&mut self, client: usize) {
        if let Some((epoch, acks)) = self.clients[client].acks() {
            self.server.acknowledge(client, epoch, &acks);
        }
    }

    /// What a client does after an error: it drops everything and asks for a fresh start.
    fn start_anew(&mut self) {
        self.clients[ATTACKER] = RowClient::new(&schemas());
        self.server.restart(ATTACKER);
    }

    /// In the calm both have every row.
    fn assert_heals(&mut self) {
        self.start_anew();
        for _ in 0..60 {
            self.step(false);
            self.exchange(ATTACKER);
            self.exchange(HONEST);
        }
        for client in &self.clients {
            assert_eq!(client.ghosts(), self.ghosts.len());
            for (id, row) in &self.ghosts {
                assert_eq!(client.row(*id).map(|(_, row)| row), Some(&row[..]));
            }
        }
    }
}

#[test]
fn ten_thousand_damaged_snapshots_cost_their_client_a_fresh_start_and_bounded_memory() {
    let mut duel = Duel::new(61);
    let (mut damaged, mut errors) = (0, 0);
    while damaged < 10_000 {
        duel.step(true);
        duel.exchange(HONEST);
        let packets = duel.packets(ATTACKER);
        // What the decoder must cope with is in what it holds: so most packets arrive, and each is damaged several times before.
        for packet in packets {
            for _ in 0..4 {
                // The head stays: of another epoch a client would take nothing in.
                let body = damage(&packet[7..], &mut duel.dice);
                let forged = [&packet[..7], &body[..]].concat();
                damaged += 1;
                if duel.clients[ATTACKER].decode(&forged).is_err() {
                    errors += 1;
                }
            }
            if duel.clients[ATTACKER].decode(&packet).is_err() {
                duel.start_anew();
                break;
            }
        }
        duel.answer(ATTACKER);
        let (held, kept) = (duel.clients[ATTACKER].memory_bytes(), duel.server.memory_bytes());
        assert!(held < 64 << 20 && kept < 8 << 20, "{held} bytes on the client, {kept} on the server");
    }
    assert!(errors > 1_000, "{errors}");
    duel.assert_heals();
}

#[test]
fn ten_thousand_forged_acknowledgements_harm_nobody_but_the_forger() {
    let mut duel = Duel::new(62);
    let mut forged = 0;
    let mut fresh_starts = 0;
    while forged < 10_000 {
        duel.step(true);
        duel.exchange(HONEST);
        let mut is_lost = false;
        for packet in duel.packets(ATTACKER) {
            is_lost |= !duel.dice.one_in(3) && duel.clients[ATTACKER].decode(&packet).is_err();
        }
        if is_lost {
            fresh_starts += 1;
            duel.start_anew();
        }
        let epoch = duel.clients[ATTACKER].acks().map_or(Epoch(0), |(epoch, _)| epoch);
        for _ in 0..8 {
            let bytes: Vec<u8> = (0..40).map(|_| duel.dice.next() as u8).collect();
            let Ok(mut acks) = SnapshotAcks::decode(&mut BitReader::new(&bytes)) else { continue };
            if let Some((_, honest)) = duel.clients[ATTACKER].acks().filter(|_| !duel.dice.one_in(4)) {
                // Near what was sent, or it would all be about packets that never were.
                acks.newest.0 = honest.newest.0.wrapping_add(duel.dice.below(8) as u16);
            }
            forged += 1;
            duel.server.acknowledge(ATTACKER, epoch, &acks);
        }
        assert!(duel.server.memory_bytes() < 8 << 20, "{} bytes", duel.server.memory_bytes());
    }
    assert!(fresh_starts > 10, "{fresh_starts}: what the server believes is not what the client holds");
    duel.assert_heals();
}

//! The snapshot engine below the ECS, with any schema of integers, any history of rows and any link: what a client holds is the server's row of
//! its tick, bit for bit, and in the end it is the present one. No packet is larger than rows without baselines would make it. And it is known of
//! every bit what it is for.

use crate::dice::Dice;
use ghostline::snapshot::plain::{RowClient, RowServer, SendLimits, TypeSettings};
use ghostline::wire::{
    BitWriter, ComponentSchema, Epoch, FieldKind, FieldSchema, GhostSchema, NetworkTick, RowLayout, RowModel,
    Smoothing, SnapshotAcks, encode_row,
};
use proptest::prelude::*;
use std::collections::HashMap;

/// Bits of a row for itself.
fn absolute_row_bits(layout: &RowLayout, row: &[u32]) -> usize {
    let mut out = BitWriter::new();
    encode_row(layout, row, None, &mut out);
    out.bit_len()
}

const KINDS: [FieldKind; 10] = [
    FieldKind::Bool,
    FieldKind::U8,
    FieldKind::I16,
    FieldKind::U32,
    FieldKind::I32,
    FieldKind::U64,
    FieldKind::I64,
    FieldKind::Vec2,
    FieldKind::Vec3,
    FieldKind::Quat,
];

/// Ghost types of a few components with a few fields of whole numbers.
fn any_schemas(dice: &mut Dice) -> Vec<GhostSchema> {
    let component = |dice: &mut Dice, number: usize| ComponentSchema {
        name: format!("component {number}"),
        fields: (0..1 + dice.below(3))
            .map(|field| FieldSchema {
                name: format!("field {field}"),
                kind: KINDS[dice.below(KINDS.len())],
                quantization: 100,
                smoothing: Smoothing::Clamp,
                max_smoothing_distance: None,
            })
            .collect(),
    };
    (0..1 + dice.below(3))
        .map(|number| GhostSchema {
            name: format!("type {number}"),
            options: String::new(),
            components: (0..1 + dice.below(4)).map(|number| component(dice, number)).collect(),
        })
        .collect()
}

/// Which lanes of a type are single bits.
fn bit_lanes(schema: &GhostSchema) -> Vec<bool> {
    let fields = schema.components.iter().flat_map(|component| &component.fields);
    fields.flat_map(|field| std::iter::repeat_n(field.kind == FieldKind::Bool, field.kind.lanes())).collect()
}

/// How a ghost's lanes change.
#[derive(Clone, Copy, Debug)]
enum Motion {
    Rest,
    Steady,
    Jitter,
    Wild,
}

struct Thing {
    id: u32,
    ghost_type: usize,
    row: Vec<u32>,
    speeds: Vec<u32>,
    motion: Motion,
}

impl Thing {
    fn step(&mut self, bits: &[bool], moving_percent: usize, dice: &mut Dice) {
        if dice.one_in(20) {
            self.motion = if dice.below(100) < moving_percent {
                [Motion::Steady, Motion::Steady, Motion::Jitter, Motion::Wild][dice.below(4)]
            } else {
                Motion::Rest
            };
            for speed in &mut self.speeds {
                let size = dice.below(24);
                *speed = if dice.one_in(3) { 0 } else { (dice.next() as i32 >> (8 + size)).cast_unsigned() };
            }
        }
        for ((lane, speed), is_bit) in self.row.iter_mut().zip(&self.speeds).zip(bits) {
            *lane = match self.motion {
                Motion::Rest => continue,
                Motion::Steady => lane.wrapping_add(*speed),
                Motion::Jitter if *speed == 0 => continue,
                Motion::Jitter => lane.wrapping_add(*speed).wrapping_add(dice.below(7) as u32).wrapping_sub(3),
                Motion::Wild if dice.one_in(4) => dice.next() as u32,
                Motion::Wild => continue,
            };
            *lane &= if *is_bit { 1 } else { u32::MAX };
        }
    }
}

/// What the link and the game do, all from one seed.
#[derive(Debug, Clone, Copy)]
struct Weather {
    seed: u64,
    clients: usize,
    ghosts: usize,
    moving_percent: usize,
    despawn_percent: usize,
    loss_percent: usize,
    repeat_percent: usize,
    silence_percent: usize,
    restart_percent: usize,
    max_delay: usize,
    limits: SendLimits,
    history_bytes: usize,
}

/// One client and its link.
struct Peer {
    client: RowClient,
    packets: Vec<(u32, Vec<u8>)>,
    acks: Vec<(u32, (Epoch, SnapshotAcks))>,
    silent_down: u32,
    silent_up: u32,
}

/// A server, its clients, and the rows of all ticks.
struct Game {
    schemas: Vec<GhostSchema>,
    bits: Vec<Vec<bool>>,
    server: RowServer,
    peers: Vec<Peer>,
    things: Vec<Thing>,
    /// By id: the ticks at which its row changed (also to nothing), oldest first.
    truth: HashMap<u32, Vec<(u32, Option<Vec<u32>>)>>,
    now: u32,
}

impl Game {
    fn new(clients: usize, dice: &mut Dice) -> Self {
        let schemas = any_schemas(dice);
        let mut server = RowServer::new(&schemas);
        server.count_bits();
        for ghost_type in 0..schemas.len() {
            let send_interval_ticks = 1 + dice.below(8).saturating_sub(5) as u32;
            let settings = TypeSettings {
                importance: 1 + dice.below(10) as u32,
                send_interval_ticks,
                single_baseline: dice.one_in(5),
            };
            server.set_type(ghost_type as u16, settings);
        }
        let peers = (0..clients).map(|_| {
            server.add_client();
            let client = RowClient::new(&schemas);
            Peer { client, packets: Vec::new(), acks: Vec::new(), silent_down: 0, silent_up: 0 }
        });
        let peers = peers.collect();
        let bits = schemas.iter().map(bit_lanes).collect();
        Self { schemas, bits, server, peers, things: Vec::new(), truth: HashMap::new(), now: 0 }
    }

    fn note(&mut self, id: u32, row: Option<&[u32]>) {
        let versions = self.truth.entry(id).or_default();
        if versions.last().is_none_or(|(_, last)| last.as_deref() != row) {
            versions.push((self.now, row.map(<[u32]>::to_vec)));
        }
    }

    /// The row that the ghost with this id had at a tick.
    fn truth(&self, id: u32, tick: u32) -> Option<&[u32]> {
        let versions = self.truth.get(&id)?;
        versions.iter().rev().find(|(at, _)| *at <= tick)?.1.as_deref()
    }

    /// The next tick of the game.
    fn step(&mut self, weather: &Weather, is_stormy: bool, dice: &mut Dice) {
        self.now += 1;
        if is_stormy && dice.below(100) < weather.despawn_percent && !self.things.is_empty() {
            let thing = self.things.swap_remove(dice.below(self.things.len()));
            self.server.despawn(thing.id);
            self.note(thing.id, None);
        }
        while self.things.len() < weather.ghosts && (self.now == 1 || is_stormy) {
            let ghost_type = dice.below(self.schemas.len());
            let Some(id) = self.server.spawn(ghost_type as u16) else {
                break;
            };
            let lanes = self.schemas[ghost_type].lanes();
            let (row, speeds) = (vec![0; lanes], vec![0; lanes]);
            self.things.push(Thing { id, ghost_type, row, speeds, motion: Motion::Rest });
        }
        let mut things = std::mem::take(&mut self.things);
        for thing in &mut things {
            if is_stormy {
                thing.step(&self.bits[thing.ghost_type], weather.moving_percent, dice);
            }
            self.server.set_lanes(thing.id, 0, &thing.row);
            self.note(thing.id, Some(&thing.row));
        }
        self.things = things;
        self.server.seal(NetworkTick::new(self.now));
    }

    /// Everything that a client holds or concludes is true.
    fn check(&self, peer: &Peer, context: &str) {
        for &id in self.truth.keys() {
            let Some((tick, row)) = peer.client.row(id) else {
                continue;
            };
            assert_eq!(Some(row), self.truth(id, tick.index()), "{context}: ghost {id} at {tick}");
            let until = peer.client.known_until(id).map(NetworkTick::index);
            // That it is gone is another thing to know.
            if let Some(truth) = until.and_then(|until| self.truth(id, until)) {
                assert_eq!(row, truth, "{context}: ghost {id} at {tick}, said to be unchanged until {until:?}");
            }
        }
    }

    fn is_settled(&self) -> bool {
        self.peers.iter().all(|peer| {
            let is_present = |thing: &Thing| peer.client.row(thing.id).is_some_and(|(_, row)| row == thing.row);
            peer.client.ghosts() == self.things.len() && self.things.iter().all(is_present)
        })
    }

    fn exchange(&mut self, weather: &Weather, is_stormy: bool, dice: &mut Dice) {
        let mut peers = std::mem::take(&mut self.peers);
        for (number, peer) in peers.iter_mut().enumerate() {
            let now = self.now;
            let percent = |share: usize, dice: &mut Dice| is_stormy && dice.below(100) < share;
            if percent(weather.restart_percent, dice) {
                self.server.restart(number);
            }
            if percent(weather.silence_percent, dice) {
                *[&mut peer.silent_down, &mut peer.silent_up][dice.below(2)] = now + 1 + dice.below(90) as u32;
            }
            peer.acks.retain(|(due, (epoch, acks))| {
                if *due <= now {
                    self.server.acknowledge(number, *epoch, acks);
                }
                *due > now
            });
            let delay = |dice: &mut Dice| now + if is_stormy { dice.below(weather.max_delay) as u32 } else { 1 };
            let (packets, is_silent) = (&mut peer.packets, is_stormy && now < peer.silent_down);
            self.server.encode(number, weather.limits, &mut |packet| {
                assert!(packet.len() <= weather.limits.packet_bytes, "{weather:?}: {} bytes", packet.len());
                let lost = percent(weather.loss_percent, dice) || is_silent;
                let copies = usize::from(!lost) + usize::from(percent(weather.repeat_percent, dice));
                (0..copies).for_each(|_| packets.push((delay(dice), packet.to_vec())));
                true
            });
            let bits = self.server.bits().expect("they are counted");
            assert_eq!((bits.total_bits(), bits.unknown_bits), (8 * self.server.totals().bytes, 0), "{weather:?}");
            let client = &mut peer.client;
            peer.packets.retain(|(due, packet)| {
                if *due <= now {
                    assert_eq!(client.decode(packet), Ok(()), "{weather:?}: a packet at tick {now}");
                }
                *due > now
            });
            self.check(peer, &format!("{weather:?}: client {number}, tick {now}"));
            let is_heard = !percent(weather.loss_percent, dice) && (!is_stormy || now >= peer.silent_up);
            if let Some(acks) = peer.client.acks().filter(|_| is_heard) {
                peer.acks.push((delay(dice), acks));
            }
        }
        self.peers = peers;
    }
}

fn play(weather: Weather) {
    const STORMY: u32 = 200;
    let dice = &mut Dice::new(weather.seed);
    let mut game = Game::new(weather.clients, dice);
    game.server.set_max_history_bytes(weather.history_bytes);
    for now in 1..STORMY + 800 {
        let is_stormy = now < STORMY;
        game.step(&weather, is_stormy, dice);
        game.exchange(&weather, is_stormy, dice);
        if !is_stormy && game.is_settled() {
            return;
        }
    }
    panic!("{weather:?}: not everything arrived in the calm after the storm");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_the_link_does_a_row_is_the_servers_bit_for_bit_and_the_last_ones_arrive(
        seed in any::<u64>(),
        clients in 1..4usize,
        ghosts in 1..150usize,
        moving_percent in 0..=100usize,
        despawn_percent in prop_oneof![Just(0), 0..60usize],
        loss_percent in prop_oneof![Just(0), 0..60usize],
        repeat_percent in 0..10usize,
        silence_percent in prop_oneof![Just(0), 0..4usize],
        restart_percent in prop_oneof![Just(0), 0..3usize],
        max_delay in prop_oneof![Just(1), 1..20usize, 20..60usize],
        (packet_bytes, max_packets) in (250..1_200usize, 1..4u32),
        history_bytes in prop_oneof![Just(usize::MAX), 2_000..200_000usize],
    ) {
        play(Weather {
            seed, clients, ghosts, moving_percent, despawn_percent, loss_percent, repeat_percent, silence_percent,
            restart_percent, max_delay, limits: SendLimits { packet_bytes, max_packets }, history_bytes,
        });
    }

    #[test]
    fn a_packet_is_never_larger_than_rows_without_baselines_and_headers(
        seed in any::<u64>(),
        ghosts in 1..200usize,
        moving_percent in 0..=100usize,
        loss_percent in 0..40usize,
        max_delay in 1..30usize,
    ) {
        let limits = SendLimits { packet_bytes: 60_000, max_packets: 1 };
        let weather = Weather {
            seed, clients: 1, ghosts, moving_percent, despawn_percent: 0, loss_percent, repeat_percent: 0,
            silence_percent: 1, restart_percent: 0, max_delay, limits, history_bytes: usize::MAX,
        };
        let dice = &mut Dice::new(seed);
        let mut game = Game::new(1, dice);
        let layouts: Vec<RowLayout> = game.schemas.iter().map(|schema| RowLayout::new(&schema.components)).collect();
        let model_bits = layouts.iter().map(RowModel::most_bits).max().unwrap_or(0);
        let chunks: usize = ghosts.div_ceil(64) + game.schemas.len();
        for _ in 0..150 {
            game.step(&weather, true, dice);
            let (before, sent) = (game.server.totals(), game.peers[0].packets.len());
            game.exchange(&Weather { loss_percent: 0, max_delay: 1, ..weather }, true, dice);
            let after = game.server.totals();
            prop_assert_eq!(sent, 0);
            if game.now < game.peers[0].silent_down {
                continue;
            }
            let mut rows_bits = 0;
            for thing in &game.things {
                let row = game.peers[0].client.row(thing.id);
                if row.is_some_and(|(tick, _)| tick.index() == game.now) {
                    // Its form, that it is absolute, and the age of the ghost.
                    let before = 3 + 1 + 10 + 2 * (game.now as usize).ilog2() as usize;
                    rows_bits += before + absolute_row_bits(&layouts[thing.ghost_type], &thing.row);
                }
            }
            // What names types, bases, masks and gaps, and defines models; and in every packet clock and prefabs.
            let heads_bits = chunks * (300 + model_bits) + 400 + 128 * layouts.len();
            prop_assert!((after.bytes - before.bytes) as usize * 8 <= rows_bits + heads_bits);
            prop_assert!((after.row_bits - before.row_bits) as usize <= rows_bits);
        }
    }
}

//! A model of the snapshot protocol, the rules of `docs/wire-format.md` section 5 and nothing else: no bits, no ECS, no code of the library.
//! A server that says anything the rules allow, chosen at random, over a link that loses, repeats, delays and falls silent; and a client that
//! believes what it is told. What the client concludes must be the server's truth, at every tick.

use crate::dice::Dice;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One chunk of ghosts.
const SLOTS: usize = 6;
/// Ticks with rows that a client keeps; few, so that the model forgets often.
const CLIENT_TICKS: usize = 8;
/// The server names a tick only while rows were sent at fewer ticks than this after it.
const NAMED_TICKS: usize = 6;

type Tick = u32;
type Identity = (usize, Tick);

/// What a body says of a slot. Of slots without an entry it says nothing.
#[derive(Clone, Debug)]
enum Say {
    /// A row for itself, and when the ghost was spawned.
    Absolute { spawn: Tick, value: i64 },
    /// A row as the difference from the newest one that the client holds at or before a tick.
    Delta { base: Tick, difference: i64 },
    /// Unchanged since the version that the client acknowledged.
    Unchanged,
    /// Unchanged for so many ticks; whether the client has that row is not known.
    Settled { age: Tick },
}

#[derive(Clone, Debug)]
struct Packet {
    epoch: u32,
    sequence: u32,
    tick: Tick,
    despawns: Vec<usize>,
    says: BTreeMap<usize, Say>,
}

/// What the server has of a ghost.
struct Ghost {
    spawn: Tick,
    /// Tick and value of every change, oldest first.
    versions: Vec<(Tick, i64)>,
}

impl Ghost {
    fn version_at(&self, tick: Tick) -> Option<(Tick, i64)> {
        self.versions.iter().rev().find(|(at, _)| *at <= tick).copied()
    }

    fn changed_between(&self, after: Tick, until: Tick) -> bool {
        self.versions.iter().any(|(at, _)| *at > after && *at <= until)
    }
}

/// What the server knows of a client and a slot.
#[derive(Clone, Default)]
struct Known {
    sent: bool,
    /// Ticks of acknowledged packets with a row of this ghost.
    acked: Vec<Tick>,
    /// The newest tick at which a row of it was sent.
    last_sent: Tick,
}

#[derive(Default)]
struct Server {
    epoch: u32,
    sequence: u32,
    /// Ticks at which rows were sent.
    sent_at: BTreeSet<Tick>,
    known: Vec<Known>,
    /// Packets whose fate is open: number, tick, slots with rows, despawns.
    open: BTreeMap<u32, (Tick, Vec<usize>, Vec<usize>)>,
    /// Slots whose ghost is gone, and since when: an acknowledgement of an older packet is about another ghost.
    despawns: BTreeMap<usize, Tick>,
}

impl Server {
    fn begin_epoch(&mut self) -> BTreeMap<usize, Tick> {
        let (epoch, freed) = (self.epoch + 1, std::mem::take(&mut self.despawns));
        *self = Self { epoch, known: vec![Known::default(); SLOTS], ..Self::default() };
        freed
    }

    /// The ticks that may be named as a base of this slot: the client holds the row of one of them for sure.
    fn nameable(&self, slot: usize, ghost: &Ghost, now: Tick) -> Vec<Tick> {
        let known = &self.known[slot];
        let holds = |tick: Tick| {
            known.acked.iter().any(|&acked| {
                let sent_since = self.sent_at.range(tick + 1..).take(NAMED_TICKS).count();
                let is_kept = sent_since < NAMED_TICKS || known.last_sent <= acked;
                acked <= tick && is_kept && !ghost.changed_between(acked, tick)
            })
        };
        (ghost.spawn..now).filter(|tick| holds(*tick)).collect()
    }

    fn packet(&mut self, ghosts: &[Option<Ghost>], now: Tick, budget: usize, dice: &mut Dice) -> Packet {
        let mut says = BTreeMap::new();
        let mut rows = Vec::new();
        let first = dice.below(SLOTS);
        for slot in (first..SLOTS).chain(0..first) {
            let Some(ghost) = &ghosts[slot] else { continue };
            let Some((version, value)) = ghost.version_at(now).filter(|_| !self.despawns.contains_key(&slot)) else {
                continue;
            };
            let has_it = self.known[slot].acked.iter().any(|acked| *acked >= version);
            let say = if has_it && !dice.one_in(8) {
                Say::Unchanged
            } else if dice.one_in(4) {
                Say::Settled { age: dice.below((now - version) as usize + 1) as Tick }
            } else if rows.len() < budget {
                rows.push(slot);
                let bases = self.nameable(slot, ghost, now);
                if bases.is_empty() || dice.one_in(6) {
                    Say::Absolute { spawn: ghost.spawn, value }
                } else {
                    let base = bases[dice.below(bases.len())];
                    Say::Delta { base, difference: value - ghost.version_at(base).unwrap().1 }
                }
            } else {
                continue;
            };
            says.insert(slot, say);
        }
        if !rows.is_empty() {
            self.sent_at.insert(now);
        }
        for &slot in &rows {
            self.known[slot].sent = true;
            self.known[slot].last_sent = now;
        }
        let despawns: Vec<usize> = self.despawns.keys().copied().filter(|_| !dice.one_in(3)).collect();
        let packet = Packet { epoch: self.epoch, sequence: self.sequence, tick: now, despawns: despawns.clone(), says };
        self.open.insert(self.sequence, (now, rows, despawns));
        self.sequence += 1;
        packet
    }

    /// Takes in which packets arrived; returns slots whose despawn is known to the client.
    fn acknowledge(&mut self, epoch: u32, arrived: &BTreeSet<u32>, ghosts: &[Option<Ghost>]) -> Vec<usize> {
        let mut freed = Vec::new();
        if epoch != self.epoch {
            return freed;
        }
        for sequence in arrived {
            let Some((tick, rows, despawns)) = self.open.remove(sequence) else { continue };
            for slot in rows {
                let is_same = ghosts[slot].as_ref().is_some_and(|ghost| ghost.spawn <= tick);
                if self.known[slot].sent && is_same {
                    self.known[slot].acked.push(tick);
                }
            }
            for slot in despawns {
                if self.despawns.get(&slot).is_some_and(|since| *since <= tick) {
                    self.despawns.remove(&slot);
                    freed.push(slot);
                }
            }
        }
        freed
    }
}

#[derive(Default)]
struct Held {
    spawn: Tick,
    rows: BTreeMap<Tick, i64>,
    /// The newest row that was forgotten but for its being the newest: older ones are not taken in any more.
    floor: Tick,
    covered: BTreeSet<Tick>,
}

impl Held {
    fn insert(&mut self, tick: Tick, value: i64) {
        if tick >= self.floor {
            self.rows.insert(tick, value);
        }
    }

    fn forget_before(&mut self, tick: Tick) {
        self.floor = self.floor.max(tick);
        self.rows = self.rows.split_off(&self.floor);
    }
}

#[derive(Default)]
struct Client {
    epoch: u32,
    arrived: BTreeSet<u32>,
    newest: Option<Tick>,
    held: BTreeMap<usize, Held>,
    tombstones: BTreeMap<usize, Tick>,
    /// Ticks whose rows are kept, and the slots that have rows then.
    ticks: BTreeMap<Tick, Vec<usize>>,
}

impl Client {
    fn despawn(&mut self, slot: usize, tick: Tick) {
        let tombstone = self.tombstones.entry(slot).or_default();
        *tombstone = tick.max(*tombstone);
        if self.held.get(&slot).is_some_and(|held| held.spawn < tick) {
            self.held.remove(&slot);
        }
    }

    fn take(&mut self, packet: &Packet) {
        if packet.epoch > self.epoch {
            *self = Self { epoch: packet.epoch, ..Self::default() };
        }
        if packet.epoch < self.epoch || self.arrived.contains(&packet.sequence) {
            return;
        }
        let tick = packet.tick;
        let is_late = self.newest.is_some_and(|newest| newest > tick);
        for &slot in &packet.despawns {
            self.despawn(slot, tick);
        }
        let mut rows = Vec::new();
        for (&slot, say) in &packet.says {
            match *say {
                Say::Absolute { spawn, value } => {
                    if self.tombstones.get(&slot).is_some_and(|despawned| *despawned > spawn) {
                        continue;
                    }
                    if self.held.get(&slot).is_some_and(|held| held.spawn < spawn) {
                        self.despawn(slot, spawn);
                    }
                    let held = self.held.entry(slot).or_insert_with(|| Held { spawn, ..Held::default() });
                    if held.spawn == spawn {
                        held.insert(tick, value);
                        rows.push(slot);
                    }
                }
                Say::Delta { base, difference } => {
                    if self.tombstones.get(&slot).is_some_and(|despawned| *despawned > tick) {
                        continue;
                    }
                    let held = self.held.get_mut(&slot).expect("a base is named of a ghost that the client holds");
                    let Some((_, value)) = held.rows.range(..=base).next_back() else {
                        assert!(is_late, "the base that the newest packet names is there");
                        // It was overtaken by so much that it counts as lost.
                        return;
                    };
                    let value = value + difference;
                    held.insert(tick, value);
                    rows.push(slot);
                }
                Say::Unchanged => {
                    if let Some(held) = self.held.get_mut(&slot).filter(|held| held.spawn <= tick) {
                        held.covered.insert(tick);
                    }
                }
                Say::Settled { age } => {
                    if let Some(held) = self.held.get_mut(&slot)
                        && held.rows.range(..=tick).next_back().is_some_and(|(row, _)| *row + age >= tick)
                    {
                        held.covered.insert(tick);
                    }
                }
            }
        }
        if !rows.is_empty() {
            self.ticks.entry(tick).or_default().extend(rows);
        }
        self.arrived.insert(packet.sequence);
        self.newest = Some(self.newest.map_or(tick, |newest| newest.max(tick)));
        self.forget();
    }

    /// Beyond the newest ticks only the newest row of each ghost is kept.
    fn forget(&mut self) {
        while self.ticks.len() > CLIENT_TICKS {
            let Some((tick, slots)) = self.ticks.pop_first() else { break };
            for slot in slots {
                if let Some(held) = self.held.get_mut(&slot).filter(|held| held.rows.contains_key(&tick)) {
                    held.forget_before(tick);
                }
            }
        }
    }
}

/// What the game and the link do.
#[derive(Debug, Clone, Copy)]
struct Weather {
    seed: u64,
    loss_percent: usize,
    repeat_percent: usize,
    max_delay: usize,
    change_percent: usize,
    respawn_percent: usize,
    epoch_percent: usize,
    silence_percent: usize,
    budget: usize,
}

struct World {
    ghosts: Vec<Option<Ghost>>,
    /// Slots whose last ghost the client may still hold.
    waiting: BTreeSet<usize>,
    truth: BTreeMap<Identity, Vec<(Tick, i64)>>,
}

impl World {
    /// The value that a ghost had at a tick, as the server remembers it.
    fn truth(&self, slot: usize, spawn: Tick, tick: Tick) -> Option<i64> {
        let known = self.ghosts[slot].as_ref().filter(|ghost| ghost.spawn == spawn).map(|ghost| &ghost.versions);
        let versions = known.or_else(|| self.truth.get(&(slot, spawn)))?;
        versions.iter().rev().find(|(at, _)| *at <= tick).map(|(_, value)| *value)
    }

    fn despawn(&mut self, server: &mut Server, slot: usize, now: Tick) {
        let Some(ghost) = self.ghosts[slot].take() else { return };
        self.truth.insert((slot, ghost.spawn), ghost.versions);
        if std::mem::take(&mut server.known[slot]).sent {
            server.despawns.insert(slot, now);
            self.waiting.insert(slot);
        }
    }

    fn step(&mut self, server: &mut Server, now: Tick, weather: Weather, dice: &mut Dice) {
        for slot in 0..SLOTS {
            if dice.below(100) < weather.respawn_percent {
                self.despawn(server, slot, now);
            }
            let is_free = self.ghosts[slot].is_none() && !self.waiting.contains(&slot);
            if is_free && dice.one_in(3) {
                self.ghosts[slot] = Some(Ghost { spawn: now, versions: vec![(now, dice.below(1000) as i64)] });
            }
            if let Some(ghost) = &mut self.ghosts[slot]
                && dice.below(100) < weather.change_percent
                && ghost.spawn < now
            {
                // Also to a value that it had before.
                ghost.versions.push((now, dice.below(4) as i64));
            }
        }
    }

    /// Everything that the client holds or concludes is true.
    fn check(&self, client: &Client, context: &str) {
        for (&slot, held) in &client.held {
            for (&tick, &value) in &held.rows {
                assert_eq!(Some(value), self.truth(slot, held.spawn, tick), "{context}: row of slot {slot} at {tick}");
            }
            for &tick in &held.covered {
                let Some((_, &value)) = held.rows.range(..=tick).next_back() else { continue };
                let truth = self.truth(slot, held.spawn, tick);
                assert_eq!(Some(value), truth, "{context}: slot {slot}, said to be unchanged at {tick}");
            }
        }
    }
}

fn play(weather: Weather) {
    const STORMY: Tick = 250;
    let mut dice = Dice::new(weather.seed);
    let mut world =
        World { ghosts: (0..SLOTS).map(|_| None).collect(), waiting: BTreeSet::new(), truth: BTreeMap::new() };
    let mut server = Server { known: vec![Known::default(); SLOTS], ..Server::default() };
    let mut client = Client::default();
    let mut packets: VecDeque<(Tick, Packet)> = VecDeque::new();
    let mut acks: VecDeque<(Tick, u32, BTreeSet<u32>)> = VecDeque::new();
    let (mut silent_down, mut silent_up) = (0, 0);
    for now in 1..STORMY + 60 {
        let is_stormy = now < STORMY;
        let percent = |share: usize, dice: &mut Dice| is_stormy && dice.below(100) < share;
        if is_stormy {
            world.step(&mut server, now, weather, &mut dice);
        }
        if percent(weather.epoch_percent, &mut dice) {
            server.begin_epoch().into_iter().for_each(|(slot, _)| _ = world.waiting.remove(&slot));
        }
        if percent(weather.silence_percent, &mut dice) {
            *[&mut silent_down, &mut silent_up][dice.below(2)] = now + 1 + dice.below(40) as Tick;
        }
        let delay = |dice: &mut Dice| now + if is_stormy { dice.below(weather.max_delay) as Tick } else { 1 };
        for _ in 0..1 + dice.below(2) {
            let budget = if is_stormy { weather.budget } else { SLOTS };
            let packet = server.packet(&world.ghosts, now, budget, &mut dice);
            let lost = percent(weather.loss_percent, &mut dice) || is_stormy && now < silent_down;
            let copies = usize::from(!lost) + usize::from(percent(weather.repeat_percent, &mut dice));
            (0..copies).for_each(|_| packets.push_back((delay(&mut dice), packet.clone())));
        }
        packets.retain(|(due, packet)| {
            if *due <= now {
                client.take(packet);
                world.check(&client, &format!("{weather:?}, tick {now}"));
            }
            *due > now
        });
        if !percent(weather.loss_percent, &mut dice) && (!is_stormy || now >= silent_up) {
            acks.push_back((delay(&mut dice), client.epoch, client.arrived.clone()));
        }
        acks.retain(|(due, epoch, arrived)| {
            if *due <= now {
                let freed = server.acknowledge(*epoch, arrived, &world.ghosts);
                freed.iter().for_each(|slot| _ = world.waiting.remove(slot));
            }
            *due > now
        });
    }
    let held: Vec<(usize, Tick, i64)> =
        client.held.iter().map(|(&slot, held)| (slot, held.spawn, *held.rows.last_key_value().unwrap().1)).collect();
    let there: Vec<(usize, Tick, i64)> = (0..SLOTS)
        .filter_map(|slot| {
            world.ghosts[slot].as_ref().map(|ghost| (slot, ghost.spawn, ghost.versions.last().unwrap().1))
        })
        .collect();
    assert_eq!(held, there, "{weather:?}: what the client ends with");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_a_client_concludes_from_the_protocol_is_true(
        seed in any::<u64>(),
        loss_percent in prop_oneof![Just(0), 0..70usize],
        repeat_percent in 0..20usize,
        max_delay in 1..25usize,
        change_percent in 0..100usize,
        respawn_percent in 0..8usize,
        epoch_percent in prop_oneof![Just(0), 0..4usize],
        silence_percent in prop_oneof![Just(0), 0..4usize],
        budget in 1..=SLOTS,
    ) {
        play(Weather {
            seed, loss_percent, repeat_percent, max_delay, change_percent, respawn_percent, epoch_percent, silence_percent, budget,
        });
    }
}

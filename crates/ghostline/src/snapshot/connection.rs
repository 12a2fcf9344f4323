//! What the server knows of one client: what it holds chunk by chunk (`view`), which packets are under way, which ghosts it must still learn
//! to be gone. Changed by `encode` (what is sent) and by `acks` (what arrived).

use bevy_ecs::prelude::Component;
use ghostline_wire::{DespawnReason, Epoch, NetworkTick, PacketSequence, SnapshotAcks, limits};
use std::collections::VecDeque;

use super::named::NamedModels;
use super::store::RowStore;
use super::view::{ChunkView, SentBody};
use crate::ghost::Slot;
use crate::stats::SnapshotConnectionStats;

const ACK_WINDOW: i16 = limits::ACK_WINDOW as i16;

/// So many packets are remembered until their fate is known; the ack window is smaller, so none is forgotten while it can be acknowledged.
pub(crate) const MAX_IN_FLIGHT_PACKETS: usize = 2 * limits::ACK_WINDOW as usize;

/// A despawn travels in at most so many packets whose fate is unknown.
pub(crate) const MAX_IN_FLIGHT_DESPAWNS: u8 = 2;

/// A packet may be overtaken by so many ticks before it counts as lost, on a link that was seen to reorder that much.
const MAX_REORDERING_TICKS: i32 = 8;
/// After so many packets that arrived in order a link is trusted again by a tick more.
const TRUST_AFTER_PACKETS: u32 = 256;

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Fate {
    #[default]
    Open,
    /// Something newer was acknowledged and this was not. It may still turn up.
    Lost,
    Arrived,
}

/// A packet that was sent, and what is known of its fate.
struct SentPacket {
    sequence: PacketSequence,
    tick: NetworkTick,
    fate: Fate,
    /// How many of the bodies are its own; they follow those of the packet before.
    bodies: usize,
    /// Models that it defined, a bit each.
    defined: u16,
    /// It said how many ghosts there are.
    told_ghosts: Option<u32>,
    despawns: Vec<Slot>,
}

impl Default for SentPacket {
    fn default() -> Self {
        Self {
            sequence: PacketSequence(0),
            tick: NetworkTick::new(0),
            fate: Fate::Open,
            bodies: 0,
            defined: 0,
            told_ghosts: None,
            despawns: Vec::new(),
        }
    }
}

/// What a packet holds, to be remembered.
#[derive(Clone, Copy, Default)]
pub(crate) struct PacketContent<'a> {
    /// By chunk, the slots with rows.
    pub bodies: &'a [(u32, u64)],
    pub despawns: &'a [Slot],
    /// Models that it defines, a bit each.
    pub defined: u16,
    pub told_ghosts: Option<u32>,
}

/// A ghost that this client must be told is gone.
struct PendingDespawn {
    slot: Slot,
    reason: DespawnReason,
    in_flight: u8,
    /// The newest packet's tick when it went: what older packets say of the slot is about a ghost before it.
    after: Option<NetworkTick>,
}

impl PendingDespawn {
    fn is_told_by(&self, packet: &SentPacket) -> bool {
        self.after.is_none_or(|after| packet.tick.is_newer_than(after)) && packet.despawns.contains(&self.slot)
    }
}

/// The server's side of the snapshots of one connection.
#[derive(Component, Default)]
#[component(on_remove = super::server::release_removed)]
pub(crate) struct SnapshotSendState {
    pub epoch: Epoch,
    next_sequence: PacketSequence,
    /// Packets whose fate may still be told, in order; what is settled in between stays until all before it is.
    sent: VecDeque<SentPacket>,
    bodies: VecDeque<SentBody>,
    spare: Vec<SentPacket>,
    pub views: Vec<ChunkView>,
    /// By chunk, the revision at which this client had everything; 0: it lacks something.
    pub settled: Vec<u32>,
    /// The store's revision at which this client had everything.
    pub settled_revision: Option<u64>,
    despawns: Vec<PendingDespawn>,
    pub models: NamedModels,
    /// Whether the connection was in game when snapshots were last made.
    pub in_game: bool,
    /// Bytes that may still be sent; refilled each tick.
    pub budget_bytes: f64,
    /// Packets sent in this epoch; what is acknowledged beyond was never sent.
    packets_sent: u64,
    newest_sent_tick: Option<NetworkTick>,
    /// The newest tick of which any packet has arrived.
    pub newest_acked_tick: Option<NetworkTick>,
    /// Despawns took the room of a ghost: the next packet goes without them.
    pub hold_despawns: bool,
    /// The number of ghosts that the client was told last, since when, and whether it knows.
    told_ghosts: Option<(u32, NetworkTick)>,
    knows_ghosts: bool,
    /// By how many ticks packets are overtaken on this link, and how many came in order since that was seen.
    reordering_ticks: i32,
    in_order: u32,
    /// The priority that was needed to be sent when last not everything fitted; 0: everything did.
    pub needed_priority: u64,
    pub stats: SnapshotConnectionStats,
}

/// What an ack block changed.
#[derive(Default, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AckOutcome {
    /// The newest snapshot tick acknowledged by it.
    pub newest_tick: Option<NetworkTick>,
    /// Acknowledgements of packets that were never sent.
    pub bad: u32,
}

impl SnapshotSendState {
    /// Makes views for so many chunks.
    pub(crate) fn hold_views(&mut self, chunks: usize) {
        if self.views.len() < chunks {
            self.views.resize_with(chunks, ChunkView::default);
            self.settled.resize(chunks, 0);
        }
    }

    /// Forgets everything about the client: it starts anew, in a new epoch. `on_released` hears of slots that its despawns no longer hold.
    pub(crate) fn begin_epoch(&mut self, on_released: impl FnMut(Slot)) {
        self.release(on_released);
        let (in_game, budget_bytes) = (self.in_game, self.budget_bytes);
        let stats = std::mem::take(&mut self.stats);
        *self = Self { epoch: self.epoch.next(), in_game, budget_bytes, stats, ..Self::default() };
    }

    /// Lets go of every slot that waited for this client.
    pub(crate) fn release(&mut self, mut on_released: impl FnMut(Slot)) {
        for despawn in self.despawns.drain(..) {
            on_released(despawn.slot);
        }
    }

    /// A ghost is gone. True: this client may hold it and has to be told; the slot waits for that.
    pub(crate) fn despawn(&mut self, slot: Slot, reason: DespawnReason) -> bool {
        let known = self.views.get_mut(slot.chunk()).is_some_and(|view| view.forget(slot));
        if known {
            self.despawns.push(PendingDespawn { slot, reason, in_flight: 0, after: self.newest_sent_tick });
        }
        known
    }

    /// Whether this client must still learn that the ghost of a slot is gone.
    #[cfg(feature = "client")]
    pub(crate) fn awaits_despawn(&self, slot: Slot) -> bool {
        self.despawns.iter().any(|despawn| despawn.slot == slot)
    }

    /// Despawns that may go into the next packet.
    pub(crate) fn due_despawns(&self) -> impl Iterator<Item = (Slot, DespawnReason)> + '_ {
        self.despawns
            .iter()
            .filter(|despawn| despawn.in_flight < MAX_IN_FLIGHT_DESPAWNS)
            .map(|despawn| (despawn.slot, despawn.reason))
    }

    /// The sequence number of the next packet.
    pub(crate) fn next_sequence(&self) -> PacketSequence {
        self.next_sequence
    }

    /// What the next packet is to say of the number of ghosts; `None`: the client knows it.
    pub(crate) fn ghosts_to_tell(&self, ghosts: u32) -> Option<u32> {
        let is_known = self.knows_ghosts && self.told_ghosts.is_some_and(|(told, _)| told == ghosts);
        (!is_known).then_some(ghosts)
    }

    /// Packets sent in this epoch.
    pub(crate) fn packets_sent(&self) -> u64 {
        self.packets_sent
    }

    /// The tick of the oldest packet that may still be acknowledged as the first to bring something.
    pub(crate) fn oldest_open_tick(&self) -> Option<NetworkTick> {
        self.sent.iter().find(|packet| packet.fate == Fate::Open).map(|packet| packet.tick)
    }

    /// Notes a packet that was sent.
    pub(crate) fn note_sent(&mut self, tick: NetworkTick, content: PacketContent<'_>) {
        if self.sent.len() >= MAX_IN_FLIGHT_PACKETS {
            self.lose(0);
            self.forget_oldest();
        }
        for &(chunk, slots) in content.bodies {
            let Some(view) = self.views.get_mut(chunk as usize) else { continue };
            let body = view.note_sent(chunk, slots, tick);
            if body.is_split {
                // Those before it were not alone either; they are among the newest.
                let of_this_tick = self.sent.iter().rev().take_while(|packet| packet.tick == tick);
                let count = of_this_tick.map(|packet| packet.bodies).sum::<usize>();
                let same = |body: &&mut SentBody| body.chunk == chunk;
                self.bodies
                    .iter_mut()
                    .rev()
                    .take(count + content.bodies.len())
                    .filter(same)
                    .for_each(|body| body.is_split = true);
            }
            self.bodies.push_back(body);
        }
        if let Some(ghosts) = content.told_ghosts
            && self.told_ghosts.is_none_or(|(told, _)| told != ghosts)
        {
            self.told_ghosts = Some((ghosts, tick));
            self.knows_ghosts = false;
        }
        let mut packet = self.spare.pop().unwrap_or_default();
        packet.sequence = self.next_sequence;
        packet.tick = tick;
        packet.fate = Fate::Open;
        packet.bodies = content.bodies.len();
        packet.defined = content.defined;
        packet.told_ghosts = content.told_ghosts;
        packet.despawns.clear();
        packet.despawns.extend_from_slice(content.despawns);
        self.sent.push_back(packet);
        self.next_sequence = self.next_sequence.next();
        self.packets_sent += 1;
        self.stats.packets += 1;
        self.newest_sent_tick = Some(tick);
        if content.despawns.is_empty() {
            return;
        }
        for despawn in &mut self.despawns {
            if content.despawns.contains(&despawn.slot) {
                despawn.in_flight += 1;
            }
        }
    }

    /// The bodies of a packet by its place; the first of them is the `first`.
    fn bodies_of(&self, index: usize) -> std::ops::Range<usize> {
        let first: usize = self.sent.range(..index).map(|packet| packet.bodies).sum();
        first..first + self.sent.get(index).map_or(0, |packet| packet.bodies)
    }

    /// A packet is taken as lost: its despawns may be sent again, and its rows.
    fn lose(&mut self, index: usize) {
        let bodies = self.bodies_of(index);
        self.lose_with(index, bodies);
    }

    fn lose_with(&mut self, index: usize, bodies: std::ops::Range<usize>) {
        let Some(packet) = self.sent.get_mut(index) else { return };
        if packet.fate != Fate::Open {
            return;
        }
        packet.fate = Fate::Lost;
        self.stats.lost += 1;
        for body in self.bodies.range(bodies) {
            if let Some(view) = self.views.get_mut(body.chunk as usize) {
                view.note_lost(body.slots, packet.tick);
            }
        }
        if packet.despawns.is_empty() {
            return;
        }
        for despawn in self.despawns.iter_mut().filter(|despawn| despawn.is_told_by(packet)) {
            despawn.in_flight = despawn.in_flight.saturating_sub(1);
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(packet) = self.sent.pop_front() {
            self.bodies.drain(..packet.bodies.min(self.bodies.len()));
            self.spare.push(packet);
        }
    }

    /// Takes in what the client acknowledged. `on_released` hears of slots that this client's despawn no longer holds.
    pub(crate) fn acknowledge(
        &mut self,
        store: &RowStore,
        acks: &SnapshotAcks,
        mut on_released: impl FnMut(Slot),
    ) -> AckOutcome {
        let mut outcome = AckOutcome { newest_tick: None, bad: self.never_sent(acks) };
        let mut bodies = 0..0;
        for index in 0..self.sent.len() {
            let Some(packet) = self.sent.get(index) else { break };
            bodies = bodies.end..bodies.end + packet.bodies;
            if acks.received(packet.sequence) != Some(true) {
                continue;
            }
            if packet.sequence == acks.newest {
                outcome.newest_tick = Some(packet.tick);
            }
            if packet.fate != Fate::Arrived {
                self.arrive(store, index, bodies.clone(), &mut on_released);
            }
        }
        self.lose_overtaken(acks);
        // What arrived needs no memory, and neither does what no acknowledgement can name any more.
        while let Some(packet) = self.sent.front()
            && self.sent.len() > 1
        {
            let is_out_of_reach = acks.newest.since(packet.sequence) >= ACK_WINDOW;
            if packet.fate == Fate::Open && is_out_of_reach {
                self.lose(0);
            } else if packet.fate == Fate::Open || packet.fate == Fate::Lost && !is_out_of_reach {
                break;
            }
            self.forget_oldest();
        }
        outcome
    }

    /// How many packets of an ack block were never sent.
    fn never_sent(&self, acks: &SnapshotAcks) -> u32 {
        let age = i64::from(self.next_sequence.since(acks.newest));
        let oldest = age.saturating_add(i64::from(acks.count()) - 1);
        if age > 0 && oldest.unsigned_abs() <= self.packets_sent {
            return 0;
        }
        let was_sent = |sequence: PacketSequence| {
            let age = i64::from(self.next_sequence.since(sequence));
            age > 0 && age.unsigned_abs() <= self.packets_sent
        };
        acks.iter().filter(|(sequence, received)| *received && !was_sent(*sequence)).count() as u32
    }

    /// Packets that are missing although newer ones arrived: lost, or so late that they count as lost.
    fn lose_overtaken(&mut self, acks: &SnapshotAcks) {
        let Some(newest) = self.newest_acked_tick else { return };
        let mut bodies = 0..0;
        for index in 0..self.sent.len() {
            let Some(packet) = self.sent.get(index) else { return };
            bodies = bodies.end..bodies.end + packet.bodies;
            if newest.ticks_since(packet.tick) <= self.reordering_ticks {
                return;
            }
            if packet.fate == Fate::Open && acks.received(packet.sequence) == Some(false) {
                self.lose_with(index, bodies.clone());
            }
        }
    }

    fn arrive(
        &mut self,
        store: &RowStore,
        index: usize,
        bodies: std::ops::Range<usize>,
        on_released: &mut impl FnMut(Slot),
    ) {
        let Some(packet) = self.sent.get_mut(index) else { return };
        let tick = packet.tick;
        let sent_before =
            self.packets_sent.saturating_sub(u64::from(self.next_sequence.since(packet.sequence).unsigned_abs()));
        self.stats.acknowledged += 1;
        let behind = self.newest_acked_tick.map_or(0, |newest| newest.ticks_since(tick));
        if std::mem::replace(&mut packet.fate, Fate::Arrived) == Fate::Lost {
            // Overtaken, not lost.
            self.stats.lost -= 1;
            self.stats.reordered += 1;
            self.reordering_ticks = behind.clamp(self.reordering_ticks, MAX_REORDERING_TICKS);
            self.in_order = 0;
        } else if self.in_order < TRUST_AFTER_PACKETS {
            self.in_order += 1;
        } else {
            self.in_order = 0;
            self.reordering_ticks = (self.reordering_ticks - 1).max(0);
        }
        self.newest_acked_tick = Some(self.newest_acked_tick.map_or(tick, |newest| newest.max(tick)));
        self.models.acknowledge(packet.defined, sent_before);
        self.knows_ghosts |=
            packet.told_ghosts.is_some() && self.told_ghosts.is_some_and(|(_, since)| !since.is_newer_than(tick));
        for body in self.bodies.range(bodies) {
            let (view, chunk) = (self.views.get_mut(body.chunk as usize), store.chunks.get(body.chunk as usize));
            if let (Some(view), Some(chunk)) = (view, chunk) {
                view.note_arrived(chunk, *body, tick);
            }
        }
        if !packet.despawns.is_empty() {
            self.despawns.retain(|despawn| {
                let told = despawn.is_told_by(packet);
                if told {
                    on_released(despawn.slot);
                }
                !told
            });
        }
    }

    /// Bytes of everything that is remembered of this client.
    pub(crate) fn memory_bytes(&self) -> usize {
        let views: usize = self.views.iter().map(ChunkView::memory_bytes).sum();
        let despawns: usize = self.sent.iter().chain(&self.spare).map(|packet| packet.despawns.capacity()).sum();
        self.views.capacity() * size_of::<ChunkView>()
            + views
            + self.settled.capacity() * size_of::<u32>()
            + (self.sent.capacity() + self.spare.capacity()) * size_of::<SentPacket>()
            + despawns * size_of::<Slot>()
            + self.bodies.capacity() * size_of::<SentBody>()
    }
}

//! What the server knows of one client: which ghosts it holds, the newest row of each that it acknowledged, which packets are
//! under way. Flat arrays by slot; changed by `encode` (what is sent) and by `acks` (what arrived).

use bevy_ecs::prelude::Component;
use ghostline_wire::{DespawnReason, Epoch, NetworkTick, PacketSequence, limits};
use std::collections::VecDeque;

use super::store::{Chunk, RowStore, bits};
use crate::ghost::Slot;

const SLOTS: usize = limits::CHUNK_SLOTS as usize;
const ACK_WINDOW: i16 = limits::ACK_WINDOW as i16;

/// So many packets are remembered until their fate is known; the ack window is smaller, so none is forgotten while it can be acknowledged.
pub(crate) const MAX_IN_FLIGHT_PACKETS: usize = 2 * limits::ACK_WINDOW as usize;

/// A despawn travels in at most so many packets whose fate is unknown.
pub(crate) const MAX_IN_FLIGHT_DESPAWNS: u8 = 2;

/// So many ticks are kept with whose rows arrived: as far back as a slope may reach.
const ACKED_ROWS: usize = 16;
/// A row that was the newest for longer than this was one of a ghost at rest.
const REST_TICKS: i32 = 2;

/// What a client knows of one chunk.
#[derive(Clone)]
pub(crate) struct ChunkView {
    /// Ghosts that were sent at least once.
    pub known: u64,
    /// Ghosts with an acknowledged row.
    pub acked: u64,
    /// The newest acknowledged tick of each.
    pub acked_ticks: [Option<NetworkTick>; SLOTS],
    /// Rows sent since that row at most, up to 255.
    pub sends_since_ack: [u8; SLOTS],
    /// The newest ticks with acknowledged rows, and whose; the oldest is overwritten.
    acked_rows: [(Option<NetworkTick>, u64); ACKED_ROWS],
    next_acked_rows: usize,
    /// The acknowledged tick before the newest few: what a ghost rested at before it began to move.
    pub rest_ticks: [Option<NetworkTick>; SLOTS],
    /// The tick at which this chunk was last in a packet.
    pub last_sent: Option<NetworkTick>,
    /// The chunk's revision at which this client had everything.
    pub settled_revision: Option<u64>,
    /// Where to go on when not all of the chunk fitted.
    pub resume: usize,
}

impl Default for ChunkView {
    fn default() -> Self {
        Self {
            known: 0,
            acked: 0,
            acked_ticks: [None; SLOTS],
            sends_since_ack: [0; SLOTS],
            acked_rows: [(None, 0); ACKED_ROWS],
            next_acked_rows: 0,
            rest_ticks: [None; SLOTS],
            last_sent: None,
            settled_revision: None,
            resume: 0,
        }
    }
}

/// A packet that was sent, and what is known of its fate.
#[derive(Default)]
struct SentPacket {
    sequence: PacketSequence,
    tick: Option<NetworkTick>,
    /// Something newer was acknowledged and this was not. It may still turn up.
    lost: bool,
    arrived: bool,
    /// Rows of these ghosts were in it.
    rows: Vec<(u32, u64)>,
    despawns: Vec<Slot>,
}

/// A ghost that this client must be told is gone.
struct PendingDespawn {
    slot: Slot,
    reason: DespawnReason,
    in_flight: u8,
    /// The newest packet's tick when it went: what older packets say of the slot is about a ghost before it.
    after: Option<NetworkTick>,
}

/// The server's side of the snapshots of one connection.
#[derive(Component)]
#[component(on_remove = super::server::release_removed)]
pub(crate) struct SnapshotSendState {
    pub epoch: Epoch,
    next_sequence: PacketSequence,
    sent: VecDeque<SentPacket>,
    spare: Vec<SentPacket>,
    pub views: Vec<ChunkView>,
    despawns: Vec<PendingDespawn>,
    /// Whether the connection was in game when snapshots were last made.
    pub in_game: bool,
    /// Bytes that may still be sent; refilled each tick.
    pub budget_bytes: f64,
    /// The store's revision at which this client had everything.
    pub settled_revision: Option<u64>,
    /// Packets sent in this epoch; what is acknowledged beyond was never sent.
    packets_sent: u64,
    newest_sent_tick: Option<NetworkTick>,
    /// Despawns took the room of a ghost: the next packet goes without them.
    pub hold_despawns: bool,
    /// The newest tick of which any packet has arrived.
    pub newest_acked_tick: Option<NetworkTick>,
}

impl Default for SnapshotSendState {
    fn default() -> Self {
        Self {
            epoch: Epoch(0),
            next_sequence: PacketSequence(0),
            sent: VecDeque::new(),
            spare: Vec::new(),
            views: Vec::new(),
            despawns: Vec::new(),
            in_game: false,
            budget_bytes: 0.0,
            settled_revision: None,
            packets_sent: 0,
            newest_sent_tick: None,
            hold_despawns: false,
            newest_acked_tick: None,
        }
    }
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
        }
    }

    /// Forgets everything about the client: it starts anew, in a new epoch.
    pub(crate) fn begin_epoch(&mut self, store: &mut RowStore, on_released: impl FnMut(Slot)) {
        self.release(store, on_released);
        self.epoch = self.epoch.next();
        self.next_sequence = PacketSequence(0);
        self.packets_sent = 0;
        self.newest_acked_tick = None;
        self.settled_revision = None;
    }

    /// Lets go of every row that was kept for this client, and of every slot that waited for it.
    pub(crate) fn release(&mut self, store: &mut RowStore, mut on_released: impl FnMut(Slot)) {
        for (index, view) in self.views.iter().enumerate() {
            if let Some(chunk) = store.chunks.get_mut(index) {
                for place in bits(view.acked) {
                    if let Some(tick) = view.acked_ticks[place] {
                        chunk.unpin(tick, 1);
                    }
                }
            }
        }
        self.views.clear();
        self.sent.clear();
        for despawn in self.despawns.drain(..) {
            on_released(despawn.slot);
        }
    }

    /// A ghost is gone. True: this client may hold it and has to be told; the slot waits for that.
    pub(crate) fn despawn(&mut self, store: &mut RowStore, slot: Slot, reason: DespawnReason) -> bool {
        let Some(view) = self.views.get_mut(slot.chunk()) else { return false };
        let known = view.known & slot.bit() != 0;
        if view.acked & slot.bit() != 0
            && let (Some(chunk), Some(tick)) =
                (store.chunks.get_mut(slot.chunk()), view.acked_ticks[slot.place()].take())
        {
            chunk.unpin(tick, 1);
        }
        view.known &= !slot.bit();
        view.acked &= !slot.bit();
        view.forget_rows(slot);
        if known {
            self.despawns.push(PendingDespawn { slot, reason, in_flight: 0, after: self.newest_sent_tick });
        }
        known
    }

    /// Whether this client must still learn that the ghost of a slot is gone.
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

    /// Notes a packet that was sent.
    pub(crate) fn note_sent(&mut self, tick: NetworkTick, rows: &[(u32, u64)], despawns: &[Slot]) {
        if self.sent.len() >= MAX_IN_FLIGHT_PACKETS
            && let Some(mut old) = self.sent.pop_front()
        {
            self.lose(&mut old);
            self.spare.push(old);
        }
        let mut packet = self.spare.pop().unwrap_or_default();
        packet.sequence = self.next_sequence;
        packet.tick = Some(tick);
        packet.lost = false;
        packet.arrived = false;
        packet.rows.clear();
        packet.rows.extend_from_slice(rows);
        packet.despawns.clear();
        packet.despawns.extend_from_slice(despawns);
        self.sent.push_back(packet);
        self.next_sequence = self.next_sequence.next();
        self.packets_sent += 1;
        self.newest_sent_tick = Some(tick);
        if despawns.is_empty() {
            return;
        }
        for despawn in &mut self.despawns {
            if despawns.contains(&despawn.slot) {
                despawn.in_flight += 1;
            }
        }
    }

    /// A packet is taken as lost: its despawns may be sent again.
    fn lose(&mut self, packet: &mut SentPacket) {
        if packet.arrived || std::mem::replace(&mut packet.lost, true) || packet.despawns.is_empty() {
            return;
        }
        for despawn in &mut self.despawns {
            let is_about_it =
                despawn.after.is_none_or(|after| packet.tick.is_some_and(|tick| tick.is_newer_than(after)));
            if is_about_it && packet.despawns.contains(&despawn.slot) {
                despawn.in_flight = despawn.in_flight.saturating_sub(1);
            }
        }
    }

    /// Takes in what the client acknowledged. `on_released` hears of slots that this client's despawn no longer holds.
    pub(crate) fn acknowledge(
        &mut self,
        store: &mut RowStore,
        acks: impl Iterator<Item = (PacketSequence, bool)>,
        mut on_released: impl FnMut(Slot),
    ) -> AckOutcome {
        let mut outcome = AckOutcome::default();
        let mut sent = std::mem::take(&mut self.sent);
        let oldest = sent.front().map(|packet| packet.sequence);
        let mut is_newest = true;
        for (sequence, received) in acks {
            let age = i64::from(self.next_sequence.since(sequence));
            if age <= 0 || age.unsigned_abs() > self.packets_sent {
                outcome.bad += u32::from(received);
                continue;
            }
            let was_newest = received && std::mem::take(&mut is_newest);
            // What is older than the oldest whose fate is open was settled before, and so was all that follows.
            let Some(index) = oldest.and_then(|oldest| usize::try_from(i32::from(sequence.since(oldest))).ok()) else {
                break;
            };
            let Some(packet) = sent.get_mut(index) else { continue };
            if received {
                if was_newest {
                    outcome.newest_tick = packet.tick;
                }
                if !std::mem::replace(&mut packet.arrived, true) {
                    self.arrived(store, packet, &mut on_released);
                }
            } else {
                // Something newer arrived and this one did not: lost, or so late that it counts as lost.
                self.lose(packet);
            }
        }
        // What arrived needs no memory, and neither does what no acknowledgement can name any more.
        while let Some(packet) = sent.front()
            && (packet.arrived || self.next_sequence.since(packet.sequence) > 2 * ACK_WINDOW)
            && sent.len() > 1
        {
            if let Some(mut packet) = sent.pop_front() {
                self.lose(&mut packet);
                self.spare.push(packet);
            }
        }
        self.sent = sent;
        outcome
    }

    fn arrived(&mut self, store: &mut RowStore, packet: &SentPacket, on_released: &mut impl FnMut(Slot)) {
        let Some(tick) = packet.tick else { return };
        self.newest_acked_tick = Some(self.newest_acked_tick.map_or(tick, |newest| newest.max(tick)));
        // A client gets a row of a ghost at most once per tick.
        let sends =
            self.newest_sent_tick.map_or(u8::MAX, |newest| u8::try_from(newest.ticks_since(tick)).unwrap_or(u8::MAX));
        for &(index, mask) in &packet.rows {
            let (Some(view), Some(chunk)) = (self.views.get_mut(index as usize), store.chunks.get_mut(index as usize))
            else {
                continue;
            };
            view.take_ack(chunk, mask, tick, sends);
        }
        if packet.despawns.is_empty() {
            return;
        }
        self.despawns.retain(|despawn| {
            let is_about_it = despawn.after.is_none_or(|after| tick.is_newer_than(after));
            let told = is_about_it && packet.despawns.contains(&despawn.slot);
            if told {
                on_released(despawn.slot);
            }
            !told
        });
    }
}

impl ChunkView {
    /// Rows of these ghosts went out.
    pub(crate) fn note_sent(&mut self, mask: u64, tick: NetworkTick) {
        self.known |= mask;
        self.last_sent = Some(tick);
        for (place, sends) in self.sends_since_ack.iter_mut().enumerate() {
            *sends = sends.saturating_add((mask >> place & 1) as u8);
        }
    }

    /// The rows of these ghosts at `tick` have arrived: they are the newest baselines, unless newer ones have.
    fn take_ack(&mut self, chunk: &mut Chunk, mask: u64, tick: NetworkTick, sends: u8) {
        // Of ghosts that are gone since, or whose slot has a new ghost, the acknowledgement says nothing.
        let mut arrived = 0u64;
        for place in bits(mask & self.known) {
            let spawned_before = chunk.spawn_ticks[place].is_some_and(|spawn| !spawn.is_newer_than(tick));
            let newer = self.acked_ticks[place].is_none_or(|acked| tick.is_newer_than(acked));
            arrived |= u64::from(spawned_before && newer) << place;
        }
        if arrived == 0 || !chunk.pin(tick, arrived.count_ones()) {
            return;
        }
        // Most of them had the same baseline before: its pins go together.
        let mut before = None;
        let mut count = 0;
        for place in bits(arrived) {
            let old = self.acked_ticks[place].replace(tick);
            if old.is_some_and(|old| tick.ticks_since(old) > REST_TICKS) {
                self.rest_ticks[place] = old;
            }
            if old != before {
                if let Some(before) = before {
                    chunk.unpin(before, count);
                }
                before = old;
                count = 0;
            }
            count += 1;
            self.sends_since_ack[place] = self.sends_since_ack[place].min(sends);
        }
        if let Some(before) = before {
            chunk.unpin(before, count);
        }
        self.acked |= arrived;
        let newest = &mut self.acked_rows[self.next_acked_rows % ACKED_ROWS];
        if newest.0 == Some(tick) {
            newest.1 |= arrived;
        } else {
            self.next_acked_rows = (self.next_acked_rows + 1) % ACKED_ROWS;
            self.acked_rows[self.next_acked_rows] = (Some(tick), arrived);
        }
    }

    /// The ghost of a slot is gone: what arrived of it says nothing of the next one.
    fn forget_rows(&mut self, slot: Slot) {
        self.acked_ticks[slot.place()] = None;
        self.rest_ticks[slot.place()] = None;
        self.acked_rows.iter_mut().for_each(|(_, rows)| *rows &= !slot.bit());
    }

    /// The ghosts whose row of exactly this tick has arrived, as far as that is remembered.
    pub(crate) fn acked_at(&self, tick: NetworkTick) -> u64 {
        self.acked_rows.iter().filter(|(at, _)| *at == Some(tick)).fold(0, |mask, (_, rows)| mask | rows)
    }

    /// The newest tick with an acknowledged row of this chunk.
    pub(crate) fn newest_acked(&self) -> Option<NetworkTick> {
        self.acked_rows[self.next_acked_rows % ACKED_ROWS].0
    }

    /// The ghosts that certainly have the row of this tick as the newest one up to then.
    pub(crate) fn hold_at(&self, chunk: &Chunk, tick: NetworkTick, among: u64) -> u64 {
        let mut held = self.acked_at(tick) & among;
        for place in bits(among & !held) {
            let names = |held: Option<NetworkTick>| held.is_some_and(|held| chunk.names_row(place, held, tick));
            held |= u64::from(names(self.acked_ticks[place]) || names(self.rest_ticks[place])) << place;
        }
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(index: u32) -> NetworkTick {
        NetworkTick::new(index)
    }

    fn store_with_one_ghost() -> (RowStore, Slot) {
        let mut store = RowStore::new(vec![1]);
        let slot = store.allocate(0, tick(1)).unwrap();
        store.sink().write(slot, 0, &[5]);
        store.seal(tick(2));
        (store, slot)
    }

    #[test]
    fn an_acknowledged_row_becomes_the_baseline_and_is_kept() {
        let (mut store, slot) = store_with_one_ghost();
        let mut state = SnapshotSendState::default();
        state.hold_views(1);
        state.views[0].known |= slot.bit();
        state.note_sent(tick(2), &[(0, slot.bit())], &[]);
        let outcome = state.acknowledge(&mut store, [(PacketSequence(0), true)].into_iter(), |_| {});
        assert_eq!(outcome, AckOutcome { newest_tick: Some(tick(2)), bad: 0 });
        assert_eq!(state.views[0].acked_ticks[0], Some(tick(2)));
        for index in 3..500 {
            store.sink().write(slot, 0, &[index]);
            store.seal(tick(index));
        }
        let chunk = &store.chunks[0];
        assert_eq!(chunk.rows_at(tick(2)).map(|rows| chunk.row_in(rows, 0)), Some(&[5][..]));
    }

    #[test]
    fn acknowledging_a_packet_that_was_never_sent_is_counted_and_changes_nothing() {
        let (mut store, slot) = store_with_one_ghost();
        let mut state = SnapshotSendState::default();
        state.hold_views(1);
        state.views[0].known |= slot.bit();
        state.note_sent(tick(2), &[(0, slot.bit())], &[]);
        let forged = [(PacketSequence(9), true), (PacketSequence(1), true)];
        assert_eq!(state.acknowledge(&mut store, forged.into_iter(), |_| {}).bad, 2);
        assert_eq!(state.views[0].acked, 0);
    }

    #[test]
    fn a_despawn_is_repeated_until_a_packet_with_it_arrives_and_then_frees_its_slot() {
        let (mut store, slot) = store_with_one_ghost();
        let mut state = SnapshotSendState::default();
        state.hold_views(1);
        state.views[0].known |= slot.bit();
        store.despawn(slot);
        assert!(state.despawn(&mut store, slot, DespawnReason::Destroyed));
        for index in 0..2 {
            assert_eq!(state.due_despawns().count(), 1);
            state.note_sent(tick(3 + index), &[], &[slot]);
        }
        assert_eq!(state.due_despawns().count(), 0, "two are under way");
        let mut released = Vec::new();
        state.acknowledge(&mut store, [(PacketSequence(1), false), (PacketSequence(0), false)].into_iter(), |slot| {
            released.push(slot);
        });
        assert_eq!((state.due_despawns().count(), released.len()), (1, 0));
        state.note_sent(tick(6), &[], &[slot]);
        state.acknowledge(&mut store, [(PacketSequence(2), true)].into_iter(), |slot| released.push(slot));
        assert_eq!((released, state.despawns.len()), (vec![slot], 0));
    }

    #[test]
    fn an_acknowledgement_from_before_a_slot_was_used_again_says_nothing_of_the_new_ghost() {
        let (mut store, slot) = store_with_one_ghost();
        let mut state = SnapshotSendState::default();
        state.hold_views(1);
        state.views[0].known |= slot.bit();
        state.note_sent(tick(2), &[(0, slot.bit())], &[]);
        store.despawn(slot);
        state.despawn(&mut store, slot, DespawnReason::Destroyed);
        store.free(slot);
        assert_eq!(store.allocate(0, tick(8)), Some(slot));
        store.seal(tick(9));
        state.hold_views(1);
        state.views[0].known |= slot.bit();
        state.acknowledge(&mut store, [(PacketSequence(0), true)].into_iter(), |_| {});
        assert_eq!(state.views[0].acked, 0);
    }

    #[test]
    fn an_acknowledgement_from_before_a_slot_was_used_again_does_not_settle_the_next_ghosts_despawn() {
        let (mut store, slot) = store_with_one_ghost();
        let mut state = SnapshotSendState::default();
        state.hold_views(1);
        state.views[0].known |= slot.bit();
        for generation in 0..2 {
            store.despawn(slot);
            assert!(state.despawn(&mut store, slot, DespawnReason::Destroyed));
            if generation == 0 {
                state.note_sent(tick(3), &[], &[slot]);
                state.note_sent(tick(4), &[], &[slot]);
                // The first of the two is late.
                let acks = [(PacketSequence(1), true), (PacketSequence(0), false)];
                state.acknowledge(&mut store, acks.into_iter(), |_| {});
                store.free(slot);
                assert_eq!(store.allocate(0, tick(5)), Some(slot));
                store.seal(tick(6));
                state.note_sent(tick(6), &[(0, slot.bit())], &[]);
                state.views[0].known |= slot.bit();
            }
        }
        let mut released = Vec::new();
        let acks = [(PacketSequence(1), true), (PacketSequence(0), true)];
        state.acknowledge(&mut store, acks.into_iter(), |slot| released.push(slot));
        assert!(released.is_empty() && state.awaits_despawn(slot));
        state.note_sent(tick(7), &[], &[slot]);
        state.acknowledge(&mut store, [(PacketSequence(3), true)].into_iter(), |slot| released.push(slot));
        assert_eq!(released, [slot]);
    }
}

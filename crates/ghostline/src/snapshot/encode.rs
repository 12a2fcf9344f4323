//! From rows to packets, for one client: which chunks, which ghosts of them, in which form. Plain arrays in, bytes out.
//! The layout is `docs/wire-format.md`, section 5.

use ghostline_wire::{
    BitWriter, ChunkGap, ChunkHeader, DespawnEntry, GhostBody, NetworkTick, PredictionBase, PrefabEntry, RowForm,
    RowLayout, RowModel, SnapshotHeader, limits, packed_bits, write_despawns, write_ghost_body, write_prefabs,
};
use std::ops::Range;

use super::cache::{Choice, DELTA_BITS, RowCache};
use super::connection::{ChunkView, SnapshotSendState};
use super::store::{Chunk, RowStore, bits};
use crate::ghost::Slot;

/// What the encoder must know of a ghost type.
pub(crate) struct EncodeType {
    pub layout: RowLayout,
    pub importance: u32,
    pub prefab: PrefabEntry,
}

/// Counts of one call, for the statistics.
#[derive(Default, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EncodeCounts {
    pub packets: u32,
    pub bytes: u64,
    pub rows: u64,
    pub absolute_rows: u64,
    pub row_bits: u64,
}

/// What one client's snapshot of one tick starts from.
pub(crate) struct EncodeRequest<'a> {
    pub types: &'a [EncodeType],
    pub tick: NetworkTick,
    pub batch_length: u32,
    pub local_time_ms: u16,
    pub return_time_ms: Option<u16>,
    pub command_age: i32,
    pub relevant_ghosts: u32,
    /// The newest tick of which any packet has arrived.
    pub newest_acked: Option<NetworkTick>,
    /// Ghost types that the client knows: none beyond is sent.
    pub prefabs_known: u32,
    /// Bytes of one packet.
    pub packet_bytes: usize,
    /// Packets of this tick, at most; bytes are the state's budget.
    pub max_packets: u32,
    /// The largest message that the fragmented pipeline takes, for a ghost that fills more than a packet alone.
    pub fragmented_bytes: usize,
}

/// Where the packets go. True: sent.
pub(crate) type Transmit<'a> = dyn FnMut(&[u8]) -> bool + 'a;

/// Buffers of the encoder, used again for every client and tick.
#[derive(Default)]
pub(crate) struct Encoder {
    packet: BitWriter,
    rows: RowCache,
    candidates: Vec<Candidate>,
    chosen: Vec<Chosen>,
    pieces: Vec<Piece>,
    record: Vec<(u32, u64)>,
    despawns: Vec<DespawnEntry>,
    despawn_slots: Vec<Slot>,
    /// Whether the packet holds prefabs or despawns.
    has_lists: bool,
    pub counts: EncodeCounts,
}

/// A chunk with something to say.
struct Candidate {
    chunk: usize,
    priority: u64,
    /// Ghosts that need bits. Those that don't get them in a packet are not covered by it.
    wanted: u64,
    /// Of them, those that no packet of this tick holds yet.
    left: u64,
}

/// A chunk of the packet that is being made, with its rows in `Encoder::pieces`.
struct Chosen {
    chunk: usize,
    header: ChunkHeader,
    pieces: Range<usize>,
    /// What its predicted rows start from, if it has any.
    base: Option<PredictionBase>,
}

/// Bits of the cache that are copied together: one row, or several that lie one behind the other.
struct Piece {
    /// A plain row in a predicted chunk, which has to be said.
    is_exception: bool,
    /// If not 0: the first row is against another baseline than the one before it, which has to be named.
    new_age: u32,
    start: usize,
    len: usize,
}

/// Bits of one entry of the prefab list.
const PREFAB_BITS: usize = 128;
/// Bits of one despawn, at most.
const DESPAWN_BITS: usize = 40;
/// Padding of the last byte, at most.
const PADDING_BITS: usize = 7;
/// The counts of both lists, the first prefab's number, and an empty chunk section, at most.
const LIST_ENDS_BITS: usize = 64;
/// A share of the packet that despawns may take, at most.
const DESPAWN_SHARE: f32 = 0.33;

/// Bits of the gap before a chunk, at most.
fn gap_bits(store: &RowStore) -> usize {
    2 * packed_bits(store.chunks.len() as u32) as usize
}

/// Bits that a chunk takes besides its rows and its gap, at most: type, width, two masks, one more name of a baseline.
fn header_bits(chunk: &Chunk, wanted: u64) -> usize {
    const BASELINE_BITS: usize = 38;
    // Whether rows are predicted, and whether from the same base.
    const PREDICTION_FLAGS: usize = 2;
    let width = (u64::BITS - wanted.leading_zeros()) as usize;
    packed_bits(u32::from(chunk.ghost_type)) as usize + 6 + 2 * (1 + width) + PREDICTION_FLAGS + BASELINE_BITS
}

impl Encoder {
    /// Makes and sends the packets of one client for one tick.
    pub(crate) fn encode(
        &mut self,
        request: &EncodeRequest<'_>,
        store: &RowStore,
        state: &mut SnapshotSendState,
        transmit: &mut Transmit<'_>,
    ) {
        self.counts = EncodeCounts::default();
        self.rows.begin(request.tick, store);
        self.gather_candidates(request, store, state);
        let mut first = true;
        let mut next_candidate = 0;
        while first
            || (next_candidate < self.candidates.len()
                && state.budget_bytes > 0.0
                && self.counts.packets < request.max_packets)
        {
            let before = next_candidate;
            let sent = self.encode_packet(request, store, state, first, &mut next_candidate, transmit);
            if !sent || (before == next_candidate && self.chosen.is_empty()) {
                break;
            }
            first = false;
        }
    }

    /// Every chunk that holds something new for this client, most urgent first.
    fn gather_candidates(&mut self, request: &EncodeRequest<'_>, store: &RowStore, state: &mut SnapshotSendState) {
        self.candidates.clear();
        if state.settled_revision == Some(store.revision) {
            return;
        }
        let mut settled = true;
        state.hold_views(store.chunks.len());
        for (index, (chunk, view)) in store.chunks.iter().zip(&mut state.views).enumerate() {
            if u32::from(chunk.ghost_type) >= request.prefabs_known {
                settled = false;
                continue;
            }
            if view.settled_revision == Some(chunk.revision) {
                continue;
            }
            let wanted = wanted_ghosts(chunk, view);
            if wanted == 0 {
                view.settled_revision = Some(chunk.revision);
                continue;
            }
            settled = false;
            let age = view.last_sent.map_or(1, |sent| u64::try_from(request.tick.ticks_since(sent)).unwrap_or(0)) + 1;
            let importance = request.types.get(usize::from(chunk.ghost_type)).map_or(1, |ty| u64::from(ty.importance));
            self.candidates.push(Candidate { chunk: index, priority: importance * age, wanted, left: wanted });
        }
        if settled {
            state.settled_revision = Some(store.revision);
        }
        self.candidates.sort_unstable_by(|a, b| b.priority.cmp(&a.priority).then(a.chunk.cmp(&b.chunk)));
    }

    fn encode_packet(
        &mut self,
        request: &EncodeRequest<'_>,
        store: &RowStore,
        state: &mut SnapshotSendState,
        first: bool,
        next_candidate: &mut usize,
        transmit: &mut Transmit<'_>,
    ) -> bool {
        self.begin_packet(request, state, first);
        self.chosen.clear();
        self.pieces.clear();
        let capacity_bits = request.packet_bytes * 8;
        let gap_bits = gap_bits(store);
        // Besides what lies there already: the number of chunks, the last gap.
        let tail_bits = packed_bits(self.candidates.len() as u32) as usize + gap_bits + PADDING_BITS;
        let mut used_bits = self.packet.bit_len() + tail_bits;
        // What was sent beyond a tick's share is saved up for before more is sent.
        while state.budget_bytes > 0.0
            && let Some(candidate) = self.candidates.get_mut(*next_candidate)
        {
            let (index, wanted, left) = (candidate.chunk, candidate.wanted, candidate.left);
            let chunk = &store.chunks[index];
            let overhead_bits = gap_bits + header_bits(chunk, wanted);
            let free_bits = capacity_bits.saturating_sub(used_bits + overhead_bits);
            let Some(view) = state.views.get_mut(index) else { break };
            let choice = self.rows.choose(request, store, index, view, left, free_bits);
            if choice.placed == 0 {
                if !self.chosen.is_empty() {
                    break;
                }
                if self.has_lists {
                    // It may be the lists that leave no room: the next packet does without despawns.
                    state.hold_despawns = true;
                    break;
                }
                // Not even one ghost fits into an empty packet: it must be fragmented.
                let fragment_bits = (request.fragmented_bytes * 8).saturating_sub(used_bits + overhead_bits);
                let alone = first_from(left, view.resume);
                let choice = self.rows.choose(request, store, index, view, alone, fragment_bits);
                view.resume = alone.trailing_zeros() as usize + 1;
                if choice.placed != 0 {
                    self.place(chunk, index, wanted & !choice.placed, choice);
                }
                *next_candidate += 1;
                break;
            }
            candidate.left &= !choice.placed;
            let missing = candidate.left;
            view.resume = if missing == 0 { 0 } else { next_place(missing, choice.placed) };
            self.place(chunk, index, wanted & !choice.placed, choice);
            used_bits += overhead_bits + choice.bits + self.base_bits(request, index, store, choice.base);
            if missing != 0 {
                break;
            }
            *next_candidate += 1;
        }
        if !first && self.chosen.is_empty() {
            return false;
        }
        self.write_chunks(request, store, state, first);
        self.send_packet(request, state, transmit)
    }

    /// Header, prefabs and despawns.
    fn begin_packet(&mut self, request: &EncodeRequest<'_>, state: &mut SnapshotSendState, first: bool) {
        self.packet.clear();
        SnapshotHeader {
            sequence: state.next_sequence(),
            epoch: state.epoch,
            server_tick: request.tick,
            batch_length: request.batch_length,
            local_time_ms: request.local_time_ms,
            return_time_ms: request.return_time_ms,
            command_age: request.command_age,
            relevant_ghosts: request.relevant_ghosts,
        }
        .encode(&mut self.packet);
        let known = request.prefabs_known as usize;
        let mut prefabs = [PrefabEntry { type_id: 0, schema_hash: 0 }; limits::MAX_PREFABS_PER_PACKET as usize];
        let new = if first { request.types.get(known..).unwrap_or_default() } else { &[] };
        // The lists leave room for their own ends and for those of the chunks.
        let room_bits =
            |packet: &BitWriter| (request.packet_bytes * 8).saturating_sub(packet.bit_len() + LIST_ENDS_BITS);
        let count = new.len().min(prefabs.len()).min((room_bits(&self.packet) / PREFAB_BITS).max(1));
        for (entry, ty) in prefabs.iter_mut().zip(new) {
            *entry = ty.prefab;
        }
        write_prefabs(&mut self.packet, request.prefabs_known, &prefabs[..count]);
        self.despawns.clear();
        self.despawn_slots.clear();
        if first && !std::mem::take(&mut state.hold_despawns) {
            let share_bits = (request.packet_bytes as f32 * 8.0 * DESPAWN_SHARE) as usize;
            let most = share_bits.min(room_bits(&self.packet)) / DESPAWN_BITS;
            for (slot, reason) in state.due_despawns().take(most.min(limits::MAX_DESPAWNS_PER_PACKET as usize)) {
                self.despawns.push(DespawnEntry { ghost_id: slot.id(), reason });
                self.despawn_slots.push(slot);
            }
        }
        write_despawns(&mut self.packet, &self.despawns);
        self.has_lists = count > 0 || !self.despawns.is_empty();
    }

    /// Puts the rows of the last choice into the packet's list, in ascending order; what lies together is copied together.
    fn place(&mut self, chunk: &Chunk, index: usize, uncovered: u64, choice: Choice) {
        let Choice { placed, base, .. } = choice;
        let begin = self.pieces.len();
        let mut age = 0;
        for place in bits(placed) {
            let row = self.rows.chosen[place];
            let is_delta = row.age != 0;
            let new_age = if is_delta && row.age != age { row.age } else { 0 };
            if is_delta {
                age = row.age;
            } else {
                self.counts.absolute_rows += u64::from(!row.has_form);
            }
            let is_exception = base.is_some() && !row.has_form;
            match self.pieces[begin..].last_mut() {
                Some(last) if new_age == 0 && !is_exception && last.start + last.len == row.start => {
                    last.len += row.len;
                }
                _ => self.pieces.push(Piece { is_exception, new_age, start: row.start, len: row.len }),
            }
        }
        self.counts.rows += u64::from(placed.count_ones());
        let width = 64 - (placed | uncovered).leading_zeros();
        self.chosen.push(Chosen {
            chunk: index,
            header: ChunkHeader { type_index: u32::from(chunk.ghost_type), width, uncovered, changed: placed },
            pieces: begin..self.pieces.len(),
            base,
        });
    }

    /// The chunk section: what was chosen, in ascending order, and (in the tick's first packet) what is at rest between.
    fn write_chunks(&mut self, request: &EncodeRequest<'_>, store: &RowStore, state: &SnapshotSendState, first: bool) {
        self.chosen.sort_unstable_by_key(|chosen| chosen.chunk);
        self.packet.write_packed(self.chosen.len() as u32);
        let rows = self.rows.bits.as_bytes();
        let mut position = 0;
        let mut previous = None;
        for chosen in &self.chosen {
            let gap = gap_before(store, state, first, position, chosen.chunk);
            gap.write(&mut self.packet);
            chosen.header.encode(&mut self.packet);
            let begin = self.packet.bit_len();
            self.packet.write_bool(chosen.base.is_some());
            if let Some(base) = chosen.base {
                let named = Some((chosen.header.type_index, base));
                self.packet.write_bool(named == previous);
                if named != previous {
                    base.write(&mut self.packet);
                    let ghost_type = chosen.header.type_index as u16;
                    if let Some(layout) = request.types.get(usize::from(ghost_type)).map(|ty| &ty.layout)
                        && let Some(model) = self.rows.models.get(ghost_type, base.age, layout, request.tick)
                    {
                        model.write(layout, &mut self.packet);
                    }
                }
                previous = named;
            }
            for piece in self.pieces.get(chosen.pieces.clone()).unwrap_or_default() {
                if piece.is_exception {
                    RowForm::Plain.write(&mut self.packet);
                }
                if piece.new_age == 0 {
                    self.packet.append_range(rows, piece.start, piece.len);
                } else {
                    write_ghost_body(&mut self.packet, GhostBody::Delta { baseline_age: piece.new_age }, &mut None);
                    self.packet.append_range(rows, piece.start + DELTA_BITS, piece.len - DELTA_BITS);
                }
            }
            self.counts.row_bits += (self.packet.bit_len() - begin) as u64;
            position = chosen.chunk + 1;
        }
        let end = gap_before(store, state, first, position, store.chunks.len());
        end.write(&mut self.packet);
    }

    /// Bits that name a base and its model, at most.
    fn base_bits(
        &self,
        request: &EncodeRequest<'_>,
        index: usize,
        store: &RowStore,
        base: Option<PredictionBase>,
    ) -> usize {
        let Some(base) = base else { return 0 };
        let ghost_type = store.chunks.get(index).map_or(0, |chunk| chunk.ghost_type);
        let known = |chosen: &Chosen| {
            chosen.chunk != index && (chosen.header.type_index, chosen.base) == (u32::from(ghost_type), Some(base))
        };
        // Chunks come in the order of their numbers: if all are alike, only the first names it.
        let alike = self.chosen.iter().all(|chosen| known(chosen) || chosen.chunk == index) && self.chosen.len() > 1;
        let model = request.types.get(usize::from(ghost_type)).map_or(0, |ty| RowModel::bit_len(&ty.layout));
        if alike { 0 } else { 2 * model + (2 * (packed_bits(base.age) + packed_bits(base.span))) as usize }
    }

    fn send_packet(
        &mut self,
        request: &EncodeRequest<'_>,
        state: &mut SnapshotSendState,
        transmit: &mut Transmit<'_>,
    ) -> bool {
        let bytes = self.packet.as_bytes();
        if !transmit(bytes) {
            return false;
        }
        state.budget_bytes -= bytes.len() as f64;
        self.counts.packets += 1;
        self.counts.bytes += bytes.len() as u64;
        self.record.clear();
        for chosen in &self.chosen {
            self.record.push((chosen.chunk as u32, chosen.header.changed));
            if let Some(view) = state.views.get_mut(chosen.chunk) {
                view.note_sent(chosen.header.changed, request.tick);
            }
        }
        state.note_sent(request.tick, &self.record, &self.despawn_slots);
        true
    }
}

/// The ghosts of a chunk that this client lacks the present version of.
fn wanted_ghosts(chunk: &Chunk, view: &ChunkView) -> u64 {
    let sendable = chunk.sendable();
    // For all slots at once, without a branch; raw ticks keep the order of ticks.
    let raw = |tick: Option<NetworkTick>| tick.map_or(0, NetworkTick::raw);
    let mut newer = 0u64;
    for (place, (version, acked)) in chunk.versions.iter().zip(&view.acked_ticks).enumerate() {
        newer |= u64::from(raw(*version).wrapping_sub(raw(*acked)).cast_signed() > 0) << place;
    }
    sendable & (newer | !view.acked)
}

/// The first of `mask` at `place` or behind it, else the first of all.
fn first_from(mask: u64, place: usize) -> u64 {
    let from = 1u64.checked_shl(place as u32).map_or(0, |bit| mask & !(bit - 1));
    let pick = if from == 0 { mask } else { from };
    pick & pick.wrapping_neg()
}

/// Where to go on: the first missing place behind the last one that was placed, or the first missing one.
fn next_place(missing: u64, placed: u64) -> usize {
    let last = 63 - placed.leading_zeros().min(63);
    let behind = missing & !((2u64 << last).wrapping_sub(1));
    (if behind != 0 { behind } else { missing }).trailing_zeros() as usize
}

/// What a packet says of the chunks from `position` to `end`: the longest run directly before `end` that is at rest for this
/// client is quiet, everything before it is skipped.
fn gap_before(store: &RowStore, state: &SnapshotSendState, first: bool, position: usize, end: usize) -> ChunkGap {
    if first && position < end && state.settled_revision == Some(store.revision) {
        return ChunkGap { skipped: 0, quiet: (end - position) as u32 };
    }
    let at_rest = |index: usize| {
        let revision = store.chunks.get(index).map(|chunk| chunk.revision);
        first && revision.is_some() && state.views.get(index).is_some_and(|view| view.settled_revision == revision)
    };
    let mut quiet = 0;
    while quiet < end - position && at_rest(end - quiet - 1) {
        quiet += 1;
    }
    ChunkGap { skipped: (end - position - quiet) as u32, quiet: quiet as u32 }
}

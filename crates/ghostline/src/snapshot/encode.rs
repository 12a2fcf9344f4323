//! From rows to packets, for one client: which chunks, which ghosts of them, in which form. Plain arrays in, bytes out.
//! The layout is `docs/wire-format.md`, section 5.

use ghostline_wire::{
    BitWriter, ChunkGap, ChunkHeader, DespawnEntry, GhostBody, NetworkTick, PrefabEntry, RowLayout, SnapshotHeader,
    encode_row, limits, write_despawns, write_ghost_body, write_prefabs,
};
use std::ops::Range;

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
    /// Ghost types that the client knows: none beyond is sent.
    pub prefabs_known: u32,
    /// Bytes of one packet.
    pub packet_bytes: usize,
    /// Packets of this tick, at most; bytes are the state's budget.
    pub max_packets: u32,
    /// The largest message that the fragmented pipeline takes, for a ghost that fills more than a packet alone.
    pub fragmented_bytes: usize,
}

/// Where the packets go. True: sent. The flag says whether it needs the fragmented pipeline.
pub(crate) type Transmit<'a> = dyn FnMut(&[u8], bool) -> bool + 'a;

/// Buffers of the encoder, used again for every client and tick.
#[derive(Default)]
pub(crate) struct Encoder {
    packet: BitWriter,
    rows: BitWriter,
    candidates: Vec<Candidate>,
    chosen: Vec<Chosen>,
    record: Vec<(u32, u64)>,
    despawns: Vec<DespawnEntry>,
    despawn_slots: Vec<Slot>,
    pub counts: EncodeCounts,
}

/// A chunk with something to say.
struct Candidate {
    chunk: usize,
    priority: u64,
    /// Ghosts that need bits.
    wanted: u64,
}

/// A chunk whose rows lie in `Encoder::rows`.
struct Chosen {
    chunk: usize,
    header: ChunkHeader,
    bits: Range<usize>,
}

/// Bits that a chunk takes besides its rows, at most: gap, header with two masks.
const CHUNK_OVERHEAD_BITS: usize = 2 * 38 + 38 + 7 + 1 + 64 + 1 + 64;
/// Bits after the last chunk, at most.
const TRAILER_BITS: usize = 2 * 38 + 7;
/// A share of the packet that despawns may take, at most.
const DESPAWN_SHARE: f32 = 0.33;

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
            if !sent || (!first && before == next_candidate) {
                break;
            }
            first = false;
        }
    }

    /// Every chunk that holds something new for this client, most urgent first.
    fn gather_candidates(&mut self, request: &EncodeRequest<'_>, store: &RowStore, state: &mut SnapshotSendState) {
        self.candidates.clear();
        for (index, chunk) in store.chunks.iter().enumerate() {
            if u32::from(chunk.ghost_type) >= request.prefabs_known {
                continue;
            }
            let view = state.view_mut(index);
            if view.settled_revision == Some(chunk.revision) {
                continue;
            }
            let wanted = wanted_ghosts(chunk, view);
            if wanted == 0 {
                view.settled_revision = Some(chunk.revision);
                continue;
            }
            let age = view.last_sent.map_or(1, |sent| u64::try_from(request.tick.ticks_since(sent)).unwrap_or(0)) + 1;
            let importance = request.types.get(usize::from(chunk.ghost_type)).map_or(1, |ty| u64::from(ty.importance));
            self.candidates.push(Candidate { chunk: index, priority: importance * age, wanted });
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
        let capacity_bits = request.packet_bytes * 8 - TRAILER_BITS.min(request.packet_bytes * 8);
        self.rows.clear();
        self.chosen.clear();
        let mut used_bits = self.packet.bit_len();
        let mut oversize = false;
        while let Some(candidate) = self.candidates.get(*next_candidate) {
            let (chunk_index, wanted) = (candidate.chunk, candidate.wanted);
            let Some(free_bits) = capacity_bits.checked_sub(used_bits + CHUNK_OVERHEAD_BITS) else { break };
            // On a byte, so that the packet can copy from there.
            self.rows.align();
            let start = self.rows.bit_len();
            let placed =
                self.encode_chunk(request, &store.chunks[chunk_index], state.view_mut(chunk_index), wanted, free_bits);
            if placed == 0 {
                // Not even one ghost fits. In an empty packet that means: none ever will, it must be fragmented.
                if self.chosen.is_empty() {
                    let fragment_bits = request.fragmented_bytes * 8 - used_bits - CHUNK_OVERHEAD_BITS - TRAILER_BITS;
                    let first_wanted = wanted & wanted.wrapping_neg();
                    let placed = self.encode_chunk(
                        request,
                        &store.chunks[chunk_index],
                        state.view_mut(chunk_index),
                        first_wanted,
                        fragment_bits,
                    );
                    self.choose(&store.chunks[chunk_index], chunk_index, wanted, placed, start);
                    oversize = placed != 0;
                    *next_candidate += 1;
                }
                break;
            }
            self.choose(&store.chunks[chunk_index], chunk_index, wanted, placed, start);
            used_bits += CHUNK_OVERHEAD_BITS + (self.rows.bit_len() - start);
            if placed != wanted {
                break;
            }
            *next_candidate += 1;
        }
        if !first && self.chosen.is_empty() {
            return false;
        }
        self.write_chunks(store, state, first);
        self.send_packet(request, state, oversize, transmit)
    }

    /// Header, prefabs and despawns.
    fn begin_packet(&mut self, request: &EncodeRequest<'_>, state: &SnapshotSendState, first: bool) {
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
        let count = new.len().min(prefabs.len());
        for (entry, ty) in prefabs.iter_mut().zip(new) {
            *entry = ty.prefab;
        }
        write_prefabs(&mut self.packet, request.prefabs_known, &prefabs[..count]);
        self.despawns.clear();
        self.despawn_slots.clear();
        if first {
            const DESPAWN_BITS: usize = 40;
            let most = (request.packet_bytes as f32 * 8.0 * DESPAWN_SHARE) as usize / DESPAWN_BITS;
            for (slot, reason) in state.due_despawns().take(most.clamp(1, limits::MAX_DESPAWNS_PER_PACKET as usize)) {
                self.despawns.push(DespawnEntry { ghost_id: slot.id(), reason });
                self.despawn_slots.push(slot);
            }
        }
        write_despawns(&mut self.packet, &self.despawns);
    }

    /// Writes the rows of as many of the wanted ghosts as fit; returns which.
    fn encode_chunk(
        &mut self,
        request: &EncodeRequest<'_>,
        chunk: &Chunk,
        view: &mut ChunkView,
        wanted: u64,
        free_bits: usize,
    ) -> u64 {
        let Some(ty) = request.types.get(usize::from(chunk.ghost_type)) else { return 0 };
        let start = self.rows.bit_len();
        // What didn't fit last time goes first; places are written in ascending order all the same.
        let from = 1u64.checked_shl(view.resume as u32).map_or(0, |bit| wanted & !(bit - 1));
        let mut chosen = from;
        let mut placed = self.write_rows(request, ty, chunk, view, chosen, start, free_bits);
        if placed == chosen && chosen != wanted {
            self.rows.truncate(start);
            chosen = wanted;
            placed = self.write_rows(request, ty, chunk, view, chosen, start, free_bits);
            if placed & from != from {
                // Going on from where it stopped is what keeps every ghost's age bounded.
                self.rows.truncate(start);
                placed = self.write_rows(request, ty, chunk, view, from, start, free_bits);
            }
        }
        let missing = wanted & !placed;
        view.resume = if missing == 0 { 0 } else { next_place(missing, placed) };
        placed
    }

    fn write_rows(
        &mut self,
        request: &EncodeRequest<'_>,
        ty: &EncodeType,
        chunk: &Chunk,
        view: &ChunkView,
        chosen: u64,
        start: usize,
        free_bits: usize,
    ) -> u64 {
        let mut placed = 0;
        let mut previous_age = None;
        for place in bits(chosen) {
            let before = self.rows.bit_len();
            let absolute = self.write_ghost(request, ty, chunk, view, place, &mut previous_age);
            if self.rows.bit_len() - start > free_bits {
                self.rows.truncate(before);
                break;
            }
            placed |= 1 << place;
            self.counts.rows += 1;
            self.counts.absolute_rows += u64::from(absolute);
        }
        placed
    }

    /// Writes one ghost; true if against no baseline.
    fn write_ghost(
        &mut self,
        request: &EncodeRequest<'_>,
        ty: &EncodeType,
        chunk: &Chunk,
        view: &ChunkView,
        place: usize,
        previous_age: &mut Option<u32>,
    ) -> bool {
        let row = chunk.row(place);
        let baseline = (view.acked & (1 << place) != 0
            && u32::from(view.sends_since_ack[place]) < limits::MAX_BASELINE_SENDS)
            .then(|| {
                let tick = view.acked_ticks[place]?;
                let age = u32::try_from(request.tick.ticks_since(tick)).ok().filter(|&age| age > 0)?;
                Some((age, chunk.row_at(place, tick)?))
            })
            .flatten();
        match baseline {
            Some((baseline_age, base)) => {
                write_ghost_body(&mut self.rows, GhostBody::Delta { baseline_age }, previous_age);
                encode_row(&ty.layout, row, Some(base), &mut self.rows);
                false
            }
            None => {
                let spawn_age =
                    chunk.spawn_ticks[place].map_or(0, |spawn| request.tick.ticks_since(spawn).max(0) as u32);
                write_ghost_body(&mut self.rows, GhostBody::Absolute { spawn_age }, previous_age);
                encode_row(&ty.layout, row, None, &mut self.rows);
                true
            }
        }
    }

    fn choose(&mut self, chunk: &Chunk, index: usize, wanted: u64, placed: u64, start: usize) {
        if placed == 0 {
            return;
        }
        let uncovered = wanted & !placed;
        let width = 64 - (placed | uncovered).leading_zeros();
        self.chosen.push(Chosen {
            chunk: index,
            header: ChunkHeader { type_index: u32::from(chunk.ghost_type), width, uncovered, changed: placed },
            bits: start..self.rows.bit_len(),
        });
    }

    /// The chunk section: what was chosen, in ascending order, and (in the tick's first packet) what is at rest between.
    fn write_chunks(&mut self, store: &RowStore, state: &SnapshotSendState, first: bool) {
        self.chosen.sort_unstable_by_key(|chosen| chosen.chunk);
        self.packet.write_packed(self.chosen.len() as u32);
        let mut position = 0;
        for chosen in &self.chosen {
            let gap = gap_before(store, state, first, position, chosen.chunk);
            gap.write(&mut self.packet);
            chosen.header.encode(&mut self.packet);
            let rows = self.rows.as_bytes().get(chosen.bits.start / 8..).unwrap_or_default();
            self.packet.append_bits(rows, chosen.bits.len());
            position = chosen.chunk + 1;
        }
        let end = gap_before(store, state, first, position, store.chunks.len());
        end.write(&mut self.packet);
    }

    fn send_packet(
        &mut self,
        request: &EncodeRequest<'_>,
        state: &mut SnapshotSendState,
        oversize: bool,
        transmit: &mut Transmit<'_>,
    ) -> bool {
        let bytes = self.packet.as_bytes();
        if !transmit(bytes, oversize) {
            return false;
        }
        state.budget_bytes -= bytes.len() as f64;
        self.counts.packets += 1;
        self.counts.bytes += bytes.len() as u64;
        self.record.clear();
        for chosen in &self.chosen {
            self.counts.row_bits += chosen.bits.len() as u64;
            self.record.push((chosen.chunk as u32, chosen.header.changed));
            let view = state.view_mut(chosen.chunk);
            view.known |= chosen.header.changed;
            view.last_sent = Some(request.tick);
            for place in bits(chosen.header.changed) {
                view.sends_since_ack[place] = view.sends_since_ack[place].saturating_add(1);
            }
        }
        state.note_sent(request.tick, &self.record, &self.despawn_slots);
        true
    }
}

/// The ghosts of a chunk that this client lacks the present version of.
fn wanted_ghosts(chunk: &Chunk, view: &ChunkView) -> u64 {
    let sendable = chunk.sendable();
    let mut wanted = sendable & !view.acked;
    for place in bits(sendable & view.acked) {
        if let (Some(version), Some(acked)) = (chunk.versions[place], view.acked_ticks[place])
            && version.is_newer_than(acked)
        {
            wanted |= 1 << place;
        }
    }
    wanted
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

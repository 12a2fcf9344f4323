//! One snapshot packet: header, lists, and the bodies of the chunks that were chosen for it, in the order of their numbers.
//! Filled by `encode`, which keeps within the size that is reckoned here. The layout is `docs/wire-format.md`, section 5.

use ghostline_wire::{
    BitWriter, BodyForm, ChunkCover, ChunkGap, ChunkStep, DespawnEntry, GhostBody, MOST_MASK_BITS, PredictionBase,
    PrefabEntry, RowForm, SnapshotClock, SnapshotHeader, limits, mask_bits, packed_bits, write_despawns,
    write_ghost_body, write_mask, write_prefabs,
};
use std::ops::Range;

use super::base::ChosenBase;
use super::bits::bits;
use super::cache::{CachedRow, Choice, DELTA_BITS, RowCache, SLOTS, Source};
use super::connection::{PacketContent, SnapshotSendState};
use super::encode::{EncodeCounts, EncodeRequest, EncodeType};
use super::models::ModelId;
use super::priority::RowSizes;
use super::store::RowStore;
use crate::ghost::Slot;

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
/// Bits that name a base and the number of its model, at most.
const BASE_BITS: usize = 10 + 10 + 1 + 5;

/// What the partial form of a body costs beside its mask, at least, more than a mask told as a difference.
const PARTIAL_BITS: u32 = 3;

/// What rows of a chunk are predicted from, and with which model.
type Named = (u16, PredictionBase, ModelId);

/// A chunk of the packet, with its rows in `pieces`.
pub(super) struct Chosen {
    chunk: usize,
    ghost_type: u16,
    cover: ChunkCover,
    pub changed: u64,
    pieces: Range<usize>,
    base: Option<(PredictionBase, ModelId)>,
    /// How the slots differ from those of a body that the client has.
    difference: Option<u64>,
    /// Bits of the masks of `changed` and of the difference.
    changed_bits: u32,
    difference_bits: u32,
    /// Bits of it, without what names its base; and rows that stand for themselves.
    bits: usize,
    absolute: u32,
}

/// Bits of the cache that are copied together: one row, or several that lie one behind the other.
struct Piece {
    /// A plain row in a chunk with a base, which has to be said.
    is_exception: bool,
    /// If not 0: the first row is against another baseline than the one before it, which has to be named.
    new_age: u32,
    start: usize,
    len: usize,
}

/// The body of a chunk, for those who want to know what became of it.
pub(super) struct PlacedBody {
    pub chunk: usize,
    /// The slots whose rows are there.
    pub changed: u64,
    /// Begin and length of its rows in the cache, if they lie there as they are here.
    pub copied: Option<(usize, usize)>,
}

/// A packet in the making, and its buffers, used again for the next.
#[derive(Default)]
pub(super) struct Packet {
    bits: BitWriter,
    chosen: Vec<Chosen>,
    pieces: Vec<Piece>,
    record: Vec<(u32, u64)>,
    despawns: Vec<DespawnEntry>,
    despawn_slots: Vec<Slot>,
    /// Whether it holds prefabs or despawns.
    pub has_lists: bool,
    /// Bits that are taken for sure, the end included.
    used_bits: usize,
    /// How often a base must be named at most, and whether all bodies have the same.
    names: usize,
    named: Option<Named>,
    are_alike: bool,
    /// Models that this packet defines, a bit each; and those that are to be.
    defined: u16,
    to_define: Vec<ModelId>,
    told_ghosts: Option<u32>,
}

impl Packet {
    /// Begins it: header, prefabs and despawns.
    pub(super) fn begin(&mut self, request: &EncodeRequest<'_>, state: &mut SnapshotSendState, is_first: bool) {
        self.bits.clear();
        self.chosen.clear();
        self.pieces.clear();
        self.to_define.clear();
        (self.names, self.named, self.are_alike, self.defined) = (0, None, true, 0);
        let known = request.prefabs_known as usize;
        let new = if is_first { request.types.get(known..).unwrap_or_default() } else { &[] };
        let are_due = is_first && !state.hold_despawns && state.due_despawns().next().is_some();
        self.has_lists = !new.is_empty() || are_due;
        self.told_ghosts = state.ghosts_to_tell(request.relevant_ghosts).filter(|_| is_first);
        let clock = is_first.then_some(SnapshotClock {
            local_time_ms: request.local_time_ms,
            return_time_ms: request.return_time_ms,
            command_age: request.command_age,
            relevant_ghosts: self.told_ghosts,
        });
        SnapshotHeader {
            sequence: state.next_sequence(),
            epoch: state.epoch,
            server_tick: request.tick,
            batch_length: request.batch_length,
            clock,
            has_lists: self.has_lists,
        }
        .encode(&mut self.bits);
        self.despawns.clear();
        self.despawn_slots.clear();
        if self.has_lists {
            self.write_lists(request, state, are_due);
        }
        if is_first {
            state.hold_despawns = false;
        }
        self.used_bits = self.bits.bit_len() + ChunkStep::END_BITS + PADDING_BITS;
    }

    fn write_lists(&mut self, request: &EncodeRequest<'_>, state: &SnapshotSendState, with_despawns: bool) {
        // The lists leave room for their own ends and for those of the chunks.
        let room_bits = |bits: &BitWriter| (request.packet_bytes * 8).saturating_sub(bits.bit_len() + LIST_ENDS_BITS);
        let new = request.types.get(request.prefabs_known as usize..).unwrap_or_default();
        let mut prefabs = [PrefabEntry { type_id: 0, schema_hash: 0 }; limits::MAX_PREFABS_PER_PACKET as usize];
        let count = new.len().min(prefabs.len()).min((room_bits(&self.bits) / PREFAB_BITS).max(1));
        for (entry, ty) in prefabs.iter_mut().zip(new) {
            *entry = ty.prefab;
        }
        write_prefabs(&mut self.bits, request.prefabs_known, &prefabs[..count]);
        if with_despawns {
            let share_bits = (request.packet_bytes as f32 * 8.0 * DESPAWN_SHARE) as usize;
            let most = share_bits.min(room_bits(&self.bits)) / DESPAWN_BITS;
            for (slot, reason) in state.due_despawns().take(most.min(limits::MAX_DESPAWNS_PER_PACKET as usize)) {
                self.despawns.push(DespawnEntry { ghost_id: slot.id(), reason });
                self.despawn_slots.push(slot);
            }
        }
        write_despawns(&mut self.bits, &self.despawns);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chosen.is_empty()
    }

    /// Bits that are left for the rows of a body in a packet of so many bits, whatever the body's masks will be.
    pub(super) fn room_bits(
        &self,
        state: &SnapshotSendState,
        store: &RowStore,
        ty: &EncodeType,
        ghost_type: u16,
        base: Option<ChosenBase>,
        capacity_bits: usize,
    ) -> usize {
        const MOST_HEAD_BITS: usize = BodyForm::MOST_BITS + 3 + MOST_MASK_BITS as usize + ChunkCover::MOST_BITS;
        let type_bits = packed_bits(u32::from(ghost_type)) as usize;
        let naming = self.naming_bits(state, ty, base.map(|base| (ghost_type, base.base, base.model)));
        capacity_bits.saturating_sub(
            self.used_bits + gap_bits(store) + ChunkStep::BODY_BITS + MOST_HEAD_BITS + type_bits + naming,
        )
    }

    /// Bits that a body with this base adds to what names bases and models.
    fn naming_bits(&self, state: &SnapshotSendState, ty: &EncodeType, base: Option<Named>) -> usize {
        let Some(base) = base else { return 0 };
        let is_same = self.named.is_none_or(|named| named == base);
        // Bodies lie in the order of chunks: if their bases differ, any of them may have to name its own.
        let names = if is_same && self.are_alike {
            usize::from(self.named.is_none())
        } else {
            1 + if self.are_alike { self.names } else { 0 }
        };
        let (_, _, model) = base;
        let defines = state.models.must_define(model) && !self.to_define.contains(&model);
        names * BASE_BITS + if defines { ty.model_bits } else { 0 }
    }

    /// Puts the rows of a choice into it.
    pub(super) fn place(
        &mut self,
        request: &EncodeRequest<'_>,
        store: &RowStore,
        state: &mut SnapshotSendState,
        index: usize,
        base: Option<ChosenBase>,
        choice: Choice,
        cache: &RowCache,
    ) {
        let (Some(chunk), Some(view)) = (store.chunks.get(index), state.views.get(index)) else { return };
        let Some(ty) = request.types.get(usize::from(chunk.ghost_type)) else { return };
        let begin = self.pieces.len();
        let absolute = match choice.source {
            Source::Run { start, len, absolute } => {
                self.pieces.push(Piece { is_exception: false, new_age: 0, start, len });
                absolute
            }
            Source::Entry(entry) => self.place_rows(choice.placed, base.is_some(), cache.rows(entry)),
            Source::Scattered => self.place_rows(choice.placed, base.is_some(), &cache.chosen),
        };
        let uncovered = view.uncertain() & !choice.placed;
        let settled_ticks = bits(uncovered).map(|place| chunk.version_age(place, request.tick)).min().unwrap_or(0);
        let reference = base.and_then(|chosen| view.reference(request.tick.sub(chosen.base.age)));
        let difference = reference.map(|reference| choice.placed ^ reference);
        let named = base.map(|base| (chunk.ghost_type, base.base, base.model));
        let mut chosen = Chosen {
            chunk: index,
            ghost_type: chunk.ghost_type,
            cover: ChunkCover { uncovered, settled_ticks },
            changed: choice.placed,
            pieces: begin..self.pieces.len(),
            base: base.map(|base| (base.base, base.model)),
            difference,
            changed_bits: mask_bits(choice.placed),
            difference_bits: difference.map_or(u32::MAX, mask_bits),
            bits: 0,
            absolute,
        };
        chosen.bits = gap_bits(store) + chosen.head_bits() + choice.bits;
        self.used_bits += chosen.bits + self.naming_bits(state, ty, named);
        if let Some(named) = named {
            self.are_alike &= self.named.is_none_or(|before| before == named);
            self.named.get_or_insert(named);
            self.names += 1;
            state.models.reserve(named.2, state.packets_sent());
            if !self.to_define.contains(&named.2) {
                self.to_define.push(named.2);
            }
        }
        self.chosen.push(chosen);
    }

    /// Takes the body of a chunk out again, if there is one.
    pub(super) fn take(&mut self, index: usize) -> Option<Chosen> {
        let place = self.chosen.iter().position(|chosen| chosen.chunk == index)?;
        let chosen = self.chosen.swap_remove(place);
        self.used_bits -= chosen.bits;
        Some(chosen)
    }

    /// Puts back what was taken out.
    pub(super) fn put_back(&mut self, chosen: Chosen) {
        self.used_bits += chosen.bits;
        self.chosen.push(chosen);
    }

    /// One piece for rows that lie one behind the other. Returns how many stand for themselves.
    fn place_rows(&mut self, placed: u64, has_base: bool, rows: &[CachedRow; SLOTS]) -> u32 {
        let begin = self.pieces.len();
        let (mut age, mut absolute) = (0, 0);
        for place in bits(placed) {
            let row = &rows[place];
            let new_age = if row.age != 0 && row.age != age { row.age } else { 0 };
            if row.age != 0 {
                age = row.age;
            }
            absolute += u32::from(row.is_absolute);
            let is_exception = has_base && !row.has_form;
            let (start, len) = (row.start as usize, row.len as usize);
            match self.pieces[begin..].last_mut() {
                Some(last) if new_age == 0 && !is_exception && last.start + last.len == start => last.len += len,
                _ => self.pieces.push(Piece { is_exception, new_age, start, len }),
            }
        }
        absolute
    }

    /// Writes the chunk section: what was chosen, in ascending order, and (in the tick's first packet) what is at rest between.
    pub(super) fn finish(
        &mut self,
        request: &EncodeRequest<'_>,
        store: &RowStore,
        state: &SnapshotSendState,
        is_first: bool,
        cache: &RowCache,
        sizes: &mut RowSizes,
        counts: &mut EncodeCounts,
    ) -> &[u8] {
        self.chosen.sort_unstable_by_key(|chosen| chosen.chunk);
        let chosen = std::mem::take(&mut self.chosen);
        let mut position = 0;
        let mut named: Option<Named> = None;
        for body in &chosen {
            self.write_gap(store, state, is_first, position, body.chunk);
            let begin = self.bits.bit_len();
            ChunkStep::Body.write(&mut self.bits);
            self.write_head(request, state, body, &mut named, cache);
            let rows = self.bits.bit_len();
            self.write_rows(body, cache);
            counts.head_bits += (rows - begin) as u64;
            let row_bits = self.bits.bit_len() - rows;
            counts.row_bits += row_bits as u64;
            counts.rows += u64::from(body.changed.count_ones());
            counts.absolute_rows += u64::from(body.absolute);
            sizes.note(body.ghost_type, body.changed.count_ones(), row_bits);
            position = body.chunk + 1;
        }
        self.chosen = chosen;
        let rest = position..store.chunks.len();
        let quiet = is_first
            && (state.settled_revision == Some(store.revision)
                || rest.clone().all(|index| is_quiet(store, state, index)));
        if !quiet && is_first {
            self.write_gap(store, state, is_first, position, store.chunks.len());
        }
        ChunkStep::End { quiet }.write(&mut self.bits);
        self.bits.as_bytes()
    }

    /// What a packet says of the chunks from `position` to `end`: the longest run directly before `end` that is at rest for this client is quiet,
    /// everything before it is skipped.
    fn write_gap(&mut self, store: &RowStore, state: &SnapshotSendState, is_first: bool, position: usize, end: usize) {
        if position >= end {
            return;
        }
        let mut quiet = 0;
        while is_first && quiet < end - position && is_quiet(store, state, end - quiet - 1) {
            quiet += 1;
        }
        let gap = ChunkGap { skipped: (end - position - quiet) as u32, quiet: quiet as u32 };
        ChunkStep::Gap(gap).write(&mut self.bits);
    }

    fn write_head(
        &mut self,
        request: &EncodeRequest<'_>,
        state: &SnapshotSendState,
        body: &Chosen,
        named: &mut Option<Named>,
        cache: &RowCache,
    ) {
        let own = body.base.map(|(base, model)| (body.ghost_type, base, model));
        let is_named = own.is_some() && *named == own;
        match (is_named, body.difference) {
            (true, Some(0)) if body.cover.uncovered == 0 => return BodyForm::Repeated.write(&mut self.bits),
            (true, Some(difference))
                if body.cover.uncovered == 0 && body.difference_bits <= body.changed_bits + PARTIAL_BITS =>
            {
                BodyForm::Same.write(&mut self.bits);
                return write_mask(difference, &mut self.bits);
            }
            (true, _) => BodyForm::Partial.write(&mut self.bits),
            (false, _) => {
                BodyForm::Full.write(&mut self.bits);
                self.bits.write_bool(own.is_some());
                match own {
                    Some(own) => {
                        self.write_base(request, state, own, cache);
                        *named = Some(own);
                    }
                    None => self.bits.write_packed(u32::from(body.ghost_type)),
                }
            }
        }
        body.cover.write(&mut self.bits);
        let difference = body.difference.filter(|_| body.difference_bits < body.changed_bits);
        if own.is_some() {
            self.bits.write_bool(difference.is_some());
        }
        write_mask(difference.unwrap_or(body.changed), &mut self.bits);
    }

    fn write_base(&mut self, request: &EncodeRequest<'_>, state: &SnapshotSendState, named: Named, cache: &RowCache) {
        let (ghost_type, base, model) = named;
        base.write(&mut self.bits);
        let Some(mut name) = state.models.name(model) else { return };
        let bit = 1u16 << name.number;
        name.is_defined &= self.defined & bit == 0;
        name.write(&mut self.bits);
        let layout = request.types.get(usize::from(ghost_type)).map(|ty| &ty.layout);
        if let (true, Some(layout), Some(published)) = (name.is_defined, layout, cache.models.get(ghost_type, base)) {
            published.model.write(layout, &mut self.bits);
            self.defined |= bit;
        }
    }

    fn write_rows(&mut self, body: &Chosen, cache: &RowCache) {
        let rows = cache.bits.as_bytes();
        for piece in self.pieces.get(body.pieces.clone()).unwrap_or_default() {
            if piece.is_exception {
                RowForm::Plain.write(&mut self.bits);
            }
            if piece.new_age == 0 {
                self.bits.append_range(rows, piece.start, piece.len);
            } else {
                write_ghost_body(&mut self.bits, GhostBody::Delta { baseline_age: piece.new_age }, &mut None);
                self.bits.append_range(rows, piece.start + DELTA_BITS, piece.len - DELTA_BITS);
            }
        }
    }

    /// Notes that it was sent.
    pub(super) fn note_sent(&mut self, request: &EncodeRequest<'_>, state: &mut SnapshotSendState) {
        self.record.clear();
        let with_rows = self.chosen.iter().filter(|chosen| chosen.changed != 0);
        self.record.extend(with_rows.map(|chosen| (chosen.chunk as u32, chosen.changed)));
        let content = PacketContent {
            bodies: &self.record,
            despawns: &self.despawn_slots,
            defined: self.defined,
            told_ghosts: self.told_ghosts,
        };
        state.note_sent(request.tick, content);
    }

    /// What was written.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bits.as_bytes()
    }

    /// The bodies that it holds, in their order.
    pub(super) fn bodies(&self) -> impl Iterator<Item = PlacedBody> {
        self.chosen.iter().map(|chosen| PlacedBody {
            chunk: chosen.chunk,
            changed: chosen.changed,
            copied: match self.pieces.get(chosen.pieces.clone()) {
                Some([Piece { is_exception: false, new_age: 0, start, len }]) => Some((*start, *len)),
                _ => None,
            },
        })
    }

    /// Bytes of its buffers.
    pub(super) fn memory_bytes(&self) -> usize {
        self.pieces.capacity() * size_of::<Piece>() + self.chosen.capacity() * size_of::<Chosen>()
    }
}

impl Chosen {
    /// Bits before its rows, without the gap and what names its base.
    fn head_bits(&self) -> usize {
        let type_bits = if self.base.is_none() { packed_bits(u32::from(self.ghost_type)) as usize } else { 0 };
        // Whether it has a base, whether the mask is a difference.
        let flags = 2;
        let mask = self.changed_bits.min(self.difference_bits) as usize;
        ChunkStep::BODY_BITS + BodyForm::MOST_BITS + flags + type_bits + self.cover.bit_len() + mask
    }
}

/// Whether everything that the client holds of a chunk is known to be the present state.
fn is_quiet(store: &RowStore, state: &SnapshotSendState, index: usize) -> bool {
    let Some(view) = state.views.get(index) else { return true };
    store.revisions.get(index) == state.settled.get(index) || view.uncertain() == 0
}

/// Bits of the gap before a chunk, at most.
fn gap_bits(store: &RowStore) -> usize {
    2 + 2 * packed_bits(store.chunks.len() as u32) as usize
}

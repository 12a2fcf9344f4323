//! The rows of one tick as bits: each is encoded once per baseline, whatever the number of clients, and copied into their packets.
//! Filled and read by `encode`; emptied when the next tick begins.

use ghostline_wire::{
    BaseRows, BitWriter, GhostBody, NetworkTick, PredictionBase, RowCoder, RowForm, encode_row, is_absolute_row_below,
    limits, packed_bits, write_ghost_body,
};

use super::base::{AgeCounts, ChosenBase};
use super::bits::bits;
use super::encode::{EncodeRequest, EncodeType};
use super::models::{ModelId, Models};
use super::store::{Chunk, RowStore};
use super::view::ChunkView;

pub(super) const SLOTS: usize = limits::CHUNK_SLOTS as usize;

/// Every cached delta begins with the bits that say: against the same baseline as the row before. Where that is not so, they are replaced.
pub(super) const DELTA_BITS: usize = 2;

/// Where a row lies in the cache.
#[derive(Clone, Copy, Default)]
pub(super) struct CachedRow {
    pub start: u32,
    pub len: u32,
    /// Age of its baseline, if it names one itself; else 0.
    pub age: u32,
    /// It stands for itself.
    pub is_absolute: bool,
    /// Its bits begin with a form: they are of a chunk with a base.
    pub has_form: bool,
}

/// What rows are coded against.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    /// Each for itself (`None`), or against its own baseline.
    Plain(Option<NetworkTick>),
    Predicted(PredictionBase),
}

/// The rows of one chunk against one baseline.
struct Entry {
    key: Key,
    /// The next entry of the same chunk, plus 1.
    next: usize,
    /// Rows that are there.
    filled: u64,
    /// Rows that can't be had: their baseline is no longer known.
    missing: u64,
    rows: [CachedRow; SLOTS],
    /// Rows that lie one behind the other, and where.
    run: u64,
    run_start: usize,
    run_len: usize,
    run_absolute: u32,
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            key: Key::Plain(None),
            next: 0,
            filled: 0,
            missing: 0,
            rows: [CachedRow::default(); SLOTS],
            run: 0,
            run_start: 0,
            run_len: 0,
            run_absolute: 0,
        }
    }
}

impl Entry {
    /// Rows were put one behind the other. The first run stays: most clients want the same ghosts.
    fn note_run(&mut self, slots: u64, start: usize, end: usize, absolute: u32) {
        if self.run == 0 {
            (self.run, self.run_start, self.run_len, self.run_absolute) = (slots, start, end - start, absolute);
        }
    }
}

/// Where the rows of one body lie.
#[derive(Clone, Copy)]
pub(super) enum Source {
    /// All in one piece.
    Run { start: usize, len: usize, absolute: u32 },
    /// In one entry, all predicted.
    Entry(usize),
    /// As [`RowCache::chosen`] says.
    Scattered,
}

/// What was taken of a chunk.
#[derive(Clone, Copy)]
pub(super) struct Choice {
    /// These ghosts.
    pub placed: u64,
    /// Their bits.
    pub bits: usize,
    pub source: Source,
}

/// The rows of one tick.
pub(super) struct RowCache {
    pub bits: BitWriter,
    /// The first entry of each chunk, plus 1.
    heads: Vec<usize>,
    entries: Vec<Entry>,
    /// Entries in use; those behind are kept for their memory.
    used: usize,
    /// The tick and the store's revision that the rows are of.
    of: Option<(NetworkTick, u64)>,
    /// The rows of the last choice, by slot.
    pub chosen: [CachedRow; SLOTS],
    /// Rows encoded since the world began.
    pub encoded: u64,
    pub models: Models,
    /// How old the clients' newest ticks are.
    pub ages: AgeCounts,
    coder: RowCoder,
    /// What the coder is prepared for.
    coder_of: Option<(u16, PredictionBase, ModelId)>,
}

impl Default for RowCache {
    fn default() -> Self {
        Self {
            bits: BitWriter::new(),
            heads: Vec::new(),
            entries: Vec::new(),
            used: 0,
            of: None,
            chosen: [CachedRow::default(); SLOTS],
            encoded: 0,
            models: Models::default(),
            ages: AgeCounts::default(),
            coder: RowCoder::default(),
            coder_of: None,
        }
    }
}

impl RowCache {
    /// Forgets the rows of another tick.
    pub(super) fn begin(&mut self, request: &EncodeRequest<'_>, store: &RowStore) {
        let of = Some((request.tick, store.revision));
        if self.of == of {
            return;
        }
        self.of = of;
        self.bits.clear();
        self.heads.clear();
        self.heads.resize(store.chunks.len(), 0);
        self.used = 0;
        self.ages.begin();
        self.models.begin(request.tick, |index| request.types.get(index).map(|ty| &ty.layout));
    }

    /// Takes as many of the wanted ghosts of a chunk as fit; where they lie is in the choice's source.
    pub(super) fn choose(
        &mut self,
        request: &EncodeRequest<'_>,
        ty: &EncodeType,
        chunk: &Chunk,
        index: usize,
        view: &ChunkView,
        base: Option<ChosenBase>,
        wanted: u64,
        free_bits: usize,
    ) -> Choice {
        let mut choice = Choice { placed: 0, bits: 0, source: Source::Scattered };
        if wanted == 0 {
            return choice;
        }
        if let Some(base) = base {
            self.fill_predicted(request, ty, chunk, base, wanted);
            // The rows may be there for another client, who has what this one lacks.
            if wanted & (!base.usable | self.entries[base.entry].missing) == 0 {
                return self.choose_predicted(base.entry, wanted, free_bits);
            }
        } else if let Some(choice) = self.whole_plain(request, ty, chunk, index, view, wanted, free_bits) {
            return choice;
        }
        let mut age = 0;
        for place in bits(wanted) {
            let predicted = base.filter(|base| base.usable & !self.entries[base.entry].missing & (1 << place) != 0);
            let row = match predicted {
                Some(base) => self.entries[base.entry].rows[place],
                None => self.plain_row(request, ty, chunk, index, view, wanted, place),
            };
            let naming = if row.age != 0 && row.age != age { packed_bits(row.age) as usize } else { 0 };
            let form = if base.is_some() && !row.has_form { RowForm::PLAIN_BITS } else { 0 };
            let len = row.len as usize + naming + form;
            if choice.bits + len > free_bits {
                return choice;
            }
            if row.age != 0 {
                age = row.age;
            }
            choice.bits += len;
            choice.placed |= 1 << place;
            self.chosen[place] = row;
        }
        choice
    }

    /// Takes as many rows of an entry as fit; it has all of them.
    fn choose_predicted(&self, index: usize, wanted: u64, free_bits: usize) -> Choice {
        if let Some(choice) = self.whole_run(index, wanted, free_bits) {
            return choice;
        }
        let mut choice = Choice { placed: 0, bits: 0, source: Source::Entry(index) };
        let rows = &self.entries[index].rows;
        for place in bits(wanted) {
            let len = rows[place].len as usize;
            if choice.bits + len > free_bits {
                break;
            }
            choice.bits += len;
            choice.placed |= 1 << place;
        }
        choice
    }

    /// The rows of an entry, by slot.
    pub(super) fn rows(&self, entry: usize) -> &[CachedRow; SLOTS] {
        &self.entries[entry].rows
    }

    fn whole_run(&self, entry: usize, wanted: u64, free_bits: usize) -> Option<Choice> {
        let entry = &self.entries[entry];
        let fits = entry.run == wanted && entry.run_len <= free_bits;
        let source = Source::Run { start: entry.run_start, len: entry.run_len, absolute: entry.run_absolute };
        fits.then_some(Choice { placed: wanted, bits: entry.run_len, source })
    }

    /// New ghosts all at once, for clients that join.
    fn whole_plain(
        &mut self,
        request: &EncodeRequest<'_>,
        ty: &EncodeType,
        chunk: &Chunk,
        index: usize,
        view: &ChunkView,
        wanted: u64,
        free_bits: usize,
    ) -> Option<Choice> {
        if view.acked() & wanted != 0 {
            return None;
        }
        let entry = self.entry(index, Key::Plain(None));
        self.fill_plain(request, ty, chunk, view, entry, wanted);
        self.whole_run(entry, wanted, free_bits)
    }

    /// The row of a ghost for itself, or against its own baseline.
    fn plain_row(
        &mut self,
        request: &EncodeRequest<'_>,
        ty: &EncodeType,
        chunk: &Chunk,
        index: usize,
        view: &ChunkView,
        wanted: u64,
        place: usize,
    ) -> CachedRow {
        let bit = 1u64 << place;
        if let Some((tick, alike)) = view.baseline(place).filter(|(tick, _)| request.tick.is_newer_than(*tick)) {
            let entry = self.entry(index, Key::Plain(Some(tick)));
            if (self.entries[entry].filled | self.entries[entry].missing) & bit == 0 {
                self.fill_plain(request, ty, chunk, view, entry, wanted & alike | bit);
            }
            if self.entries[entry].missing & bit == 0 {
                return self.entries[entry].rows[place];
            }
        }
        let entry = self.entry(index, Key::Plain(None));
        if self.entries[entry].filled & bit == 0 {
            self.fill_plain(request, ty, chunk, view, entry, bit);
        }
        self.entries[entry].rows[place]
    }

    /// The entries of a chunk, the newest first, by their places.
    fn entries_of(&self, chunk: usize) -> impl Iterator<Item = (usize, &Entry)> {
        let mut next = self.heads.get(chunk).copied().unwrap_or(0);
        std::iter::from_fn(move || {
            let index = next.checked_sub(1)?;
            let entry = self.entries.get(index)?;
            next = entry.next;
            Some((index, entry))
        })
    }

    /// What rows of a chunk were predicted from in this tick.
    pub(super) fn bases_of(&self, chunk: usize) -> impl Iterator<Item = PredictionBase> {
        self.entries_of(chunk).filter_map(|(_, entry)| match entry.key {
            Key::Predicted(base) => Some(base),
            Key::Plain(_) => None,
        })
    }

    /// The entry of a chunk for rows that are predicted from a base.
    pub(super) fn predicted_entry(&mut self, chunk: usize, base: PredictionBase) -> usize {
        self.entry(chunk, Key::Predicted(base))
    }

    /// The entry of a chunk and a key, made at its first use.
    fn entry(&mut self, chunk: usize, key: Key) -> usize {
        if let Some((index, _)) = self.entries_of(chunk).find(|(_, entry)| entry.key == key) {
            return index;
        }
        let index = self.used;
        self.used += 1;
        if self.entries.len() <= index {
            self.entries.push(Entry::default());
        }
        let entry = &mut self.entries[index];
        (entry.key, entry.next) = (key, self.heads[chunk]);
        (entry.filled, entry.missing, entry.run) = (0, 0, 0);
        self.heads[chunk] = index + 1;
        index
    }

    /// Encodes the rows of these ghosts that the entry lacks, against their prediction.
    fn fill_predicted(
        &mut self,
        request: &EncodeRequest<'_>,
        ty: &EncodeType,
        chunk: &Chunk,
        chosen: ChosenBase,
        wanted: u64,
    ) {
        let entry = &mut self.entries[chosen.entry];
        let lacking = wanted & chosen.usable & !entry.filled & !entry.missing;
        if lacking == 0 {
            return;
        }
        let base = chosen.base;
        let key = Some((chunk.ghost_type, base, chosen.model));
        if self.coder_of != key {
            let Some(published) = self.models.get(chunk.ghost_type, base) else { return };
            self.coder.prepare(&ty.layout, base, &published.model);
            self.coder_of = key;
        }
        let at = |back: u32| chunk.slabs.at(request.tick.sub(base.age + back * base.span));
        let (newest, near, far) = (at(0), at(1), at(2));
        // On a byte, so that whole chunks are copied fast.
        self.bits.align();
        let (run_start, mut absolute) = (self.bits.bit_len(), 0);
        for place in bits(lacking) {
            let start = self.bits.bit_len();
            let Some(rows) = base_rows(base, place, newest, near, far) else {
                entry.missing |= 1 << place;
                continue;
            };
            let row = chunk.row(place);
            self.coder.encode(rows, row, &mut self.bits);
            let len = self.bits.bit_len() - start;
            let spawn_age = chunk.spawn_age(place, request.tick);
            let is_absolute = is_longer_than_absolute(ty, row, spawn_age, len, RowForm::PLAIN_BITS);
            if is_absolute {
                self.bits.truncate(start);
                RowForm::Plain.write(&mut self.bits);
                write_ghost_body(&mut self.bits, GhostBody::Absolute { spawn_age }, &mut None);
                encode_row(&ty.layout, row, None, &mut self.bits);
            }
            absolute += u32::from(is_absolute);
            let len = (self.bits.bit_len() - start) as u32;
            entry.rows[place] = CachedRow { start: start as u32, len, age: 0, is_absolute, has_form: true };
            entry.filled |= 1 << place;
            self.encoded += 1;
        }
        entry.note_run(lacking & !entry.missing, run_start, self.bits.bit_len(), absolute);
        self.models.observe(&ty.layout, chunk, lacking & !entry.missing, base.age, request.tick);
    }

    /// Encodes the rows of these ghosts that the entry lacks, each for itself or against its own baseline.
    fn fill_plain(
        &mut self,
        request: &EncodeRequest<'_>,
        ty: &EncodeType,
        chunk: &Chunk,
        view: &ChunkView,
        entry: usize,
        wanted: u64,
    ) {
        let entry = &mut self.entries[entry];
        let lacking = wanted & !entry.filled & !entry.missing;
        let Key::Plain(baseline) = entry.key else { return };
        if lacking == 0 {
            return;
        }
        let age = baseline.map_or(0, |tick| request.tick.ticks_since(tick).unsigned_abs());
        self.bits.align();
        let (run_start, mut absolute) = (self.bits.bit_len(), 0);
        for place in bits(lacking) {
            let (start, row) = (self.bits.bit_len(), chunk.row(place));
            let spawn_age = chunk.spawn_age(place, request.tick);
            let mut own_age = age;
            if let Some(tick) = baseline {
                let version = view.version_of(place, tick);
                let known = version.and_then(|version| chunk.slabs.version(place, version));
                let Some(base) = known.or_else(|| chunk.slabs.at(tick).row(place)) else {
                    entry.missing |= 1 << place;
                    continue;
                };
                write_ghost_body(&mut self.bits, GhostBody::Delta { baseline_age: age }, &mut Some(age));
                encode_row(&ty.layout, row, Some(base), &mut self.bits);
                // The smaller of the two forms; a baseline that must be named first doesn't change that by much.
                let len = self.bits.bit_len() - start;
                if is_longer_than_absolute(ty, row, spawn_age, len, 0) {
                    self.bits.truncate(start);
                    own_age = 0;
                }
            }
            if own_age == 0 {
                write_ghost_body(&mut self.bits, GhostBody::Absolute { spawn_age }, &mut None);
                encode_row(&ty.layout, row, None, &mut self.bits);
                absolute += 1;
            }
            let len = (self.bits.bit_len() - start) as u32;
            let is_absolute = own_age == 0;
            entry.rows[place] = CachedRow { start: start as u32, len, age: own_age, is_absolute, has_form: false };
            entry.filled |= 1 << place;
            self.encoded += 1;
        }
        if age == 0 {
            entry.note_run(lacking, run_start, self.bits.bit_len(), absolute);
        }
        // Whoever has no model yet gets one from these rows.
        if (1..=limits::MAX_SLOPE_TICKS).contains(&age) {
            self.models.observe(&ty.layout, chunk, lacking & !entry.missing, age, request.tick);
        }
    }

    /// Bytes of the cache and of what is learned.
    pub(super) fn memory_bytes(&self) -> usize {
        self.bits.as_bytes().len()
            + self.entries.capacity() * size_of::<Entry>()
            + self.heads.capacity() * size_of::<usize>()
            + self.models.memory_bytes()
    }
}

/// The rows that a slot is predicted from, as far as the server still has them.
pub(super) fn base_rows<'a>(
    base: PredictionBase,
    place: usize,
    newest: super::slab::RowsAt<'a>,
    near: super::slab::RowsAt<'a>,
    far: super::slab::RowsAt<'a>,
) -> Option<BaseRows<'a>> {
    let row = newest.row(place)?;
    let earlier = if base.span == 0 { row } else { near.row(place)? };
    let earliest = if base.curved { far.row(place)? } else { earlier };
    Some(BaseRows { base: row, earlier, earliest })
}

/// Whether a row of so many bits is longer than it would be for itself, with so many bits before that.
fn is_longer_than_absolute(ty: &EncodeType, row: &[u32], spawn_age: u32, len: usize, before: usize) -> bool {
    let rest = before + 1 + packed_bits(spawn_age) as usize;
    len > rest && is_absolute_row_below(&ty.layout, row, len - rest)
}

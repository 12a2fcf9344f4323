//! The rows of one tick as bits: each is encoded once per baseline, whatever the number of clients, and copied into their packets.
//! Filled and read by `encode`; emptied when the next tick begins.

use ghostline_wire::{
    BitWriter, GhostBody, NetworkTick, PredictionBase, RowForm, RowModel, absolute_row_bits, encode_predicted_row,
    encode_row, extrapolate_row, limits, packed_bits, predict_row, write_ghost_body,
};

use super::connection::ChunkView;
use super::encode::{EncodeRequest, EncodeType};
use super::models::Models;
use super::store::{Chunk, RowStore, bits};

const SLOTS: usize = limits::CHUNK_SLOTS as usize;

/// Every cached delta begins with the bits that say: against the same baseline as the row before. Where that is not so, they are replaced.
pub(super) const DELTA_BITS: usize = 2;

/// A slope is drawn over as many ticks as the baseline is old, up to this: longer ones lag behind what turns, shorter ones see the rounding.
const MAX_SPAN: u32 = 3;
/// Rows older than this are not predicted from: the client keeps more of them, and the store keeps all of them.
const MAX_PREDICTION_TICKS: u32 = 56;
/// Every so many rows the models learn from one.
const LEARN_EVERY: u64 = 4;

/// Where a row lies in the cache.
#[derive(Clone, Copy, Default)]
pub(super) struct CachedRow {
    /// Age of its baseline, if it names one itself; else 0.
    pub age: u32,
    /// Its bits begin with a form: they are of a predicted chunk.
    pub has_form: bool,
    pub start: usize,
    pub len: usize,
}

/// The rows of one chunk against one baseline.
struct Entry {
    /// `None`: absolute.
    baseline: Option<NetworkTick>,
    /// The next entry of the same chunk, plus 1.
    next: usize,
    /// Rows that are there.
    filled: u64,
    rows: [CachedRow; SLOTS],
    /// Rows against a prediction from this baseline that are there.
    predicted: u64,
    predicted_rows: [CachedRow; SLOTS],
}

/// Bits of the form of a plain row in a predicted chunk.
pub(super) const FORM_BITS: usize = 2;

/// What was taken of a chunk.
#[derive(Clone, Copy, Default)]
pub(super) struct Choice {
    /// These ghosts.
    pub placed: u64,
    /// Their bits.
    pub bits: usize,
    /// What their predicted rows start from; `None`: none is predicted.
    pub base: Option<PredictionBase>,
}

/// What the predicted rows of a chunk start from, for one client.
#[derive(Clone, Copy)]
struct Prediction {
    entry: usize,
    base: PredictionBase,
    /// The ghosts whose rows this client surely has.
    usable: u64,
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
    encoded: u64,
    pub models: Models,
    scratch: Vec<u32>,
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
            scratch: Vec::new(),
        }
    }
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            baseline: None,
            next: 0,
            filled: 0,
            rows: [CachedRow::default(); SLOTS],
            predicted: 0,
            predicted_rows: [CachedRow::default(); SLOTS],
        }
    }
}

impl RowCache {
    /// Forgets the rows of another tick.
    pub(super) fn begin(&mut self, tick: NetworkTick, store: &RowStore) {
        let of = Some((tick, store.revision));
        if self.of == of {
            return;
        }
        self.of = of;
        self.bits.clear();
        self.heads.clear();
        self.heads.resize(store.chunks.len(), 0);
        self.used = 0;
    }

    /// Takes as many of the wanted ghosts of a chunk as fit, beginning where the last packet stopped; where they lie is in `chosen`.
    pub(super) fn choose(
        &mut self,
        request: &EncodeRequest<'_>,
        store: &RowStore,
        index: usize,
        view: &ChunkView,
        wanted: u64,
        free_bits: usize,
    ) -> Choice {
        let mut choice = Choice::default();
        let Some(chunk) = store.chunks.get(index) else { return choice };
        let Some(ty) = request.types.get(usize::from(chunk.ghost_type)) else { return choice };
        let mut free_bits = free_bits;
        let prediction = self.prediction(request, ty, chunk, index, view, wanted);
        if let Some(prediction) = prediction {
            choice.base = Some(prediction.base);
            let Some(left) = free_bits.checked_sub(RowModel::bit_len(&ty.layout) + 2 * 38) else { return choice };
            free_bits = left;
            self.fill_predicted(request, ty, chunk, prediction, wanted);
        }
        let before_resume = 1u64.checked_shl(view.resume as u32).map_or(0, |bit| bit - 1);
        let (mut entry, mut age) = (None, 0);
        for part in [wanted & !before_resume, wanted & before_resume] {
            for place in bits(part) {
                let row = match prediction {
                    Some(prediction) if prediction.usable & (1 << place) != 0 => {
                        self.entries[prediction.entry].predicted_rows[place]
                    }
                    _ => {
                        let baseline = baseline_of(view, place, request.tick);
                        let found = match entry {
                            Some((known, found)) if known == baseline => found,
                            _ => self.entry(index, baseline),
                        };
                        entry = Some((baseline, found));
                        if self.entries[found].filled & (1 << place) == 0 {
                            self.fill(request, ty, chunk, found, wanted_alike(view, wanted, baseline) | 1 << place);
                        }
                        self.entries[found].rows[place]
                    }
                };
                let naming = if row.age != 0 && row.age != age { packed_bits(row.age) as usize } else { 0 };
                let len = row.len + naming + if prediction.is_some() && !row.has_form { FORM_BITS } else { 0 };
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
        }
        choice
    }

    /// What a client's rows of a chunk can be predicted from: the newest tick that arrived, if most of the ghosts have a row of it.
    fn prediction(
        &mut self,
        request: &EncodeRequest<'_>,
        ty: &EncodeType,
        chunk: &Chunk,
        index: usize,
        view: &ChunkView,
        wanted: u64,
    ) -> Option<Prediction> {
        let newest = request.newest_acked?;
        let among = wanted & view.acked;
        let mut tick = newest;
        let mut usable = view.hold_at(chunk, tick, among);
        if usable.count_ones() * 2 < among.count_ones() {
            tick = view.newest_acked()?;
            usable = view.hold_at(chunk, tick, among);
        }
        let age = u32::try_from(request.tick.ticks_since(tick)).ok().filter(|&age| age > 0)?;
        let span = age.min(MAX_SPAN);
        if usable == 0 || age + span > MAX_PREDICTION_TICKS {
            return None;
        }
        let is_linear = |model: &RowModel| model.fields.iter().any(|field| field.linear);
        let linear = is_linear(self.models.get(chunk.ghost_type, age, &ty.layout, request.tick)?);
        if linear {
            usable = view.hold_at(chunk, tick.sub(span), usable);
        }
        // A chunk may be younger than the rows that would be looked at.
        chunk.rows_at(tick)?;
        chunk.rows_at(tick.sub(span))?;
        let entry = self.entry(index, Some(tick));
        let base = PredictionBase { age, span: if linear { span } else { 0 } };
        (usable != 0).then_some(Prediction { entry, base, usable })
    }

    /// The entry of a chunk and a baseline, made at its first use.
    fn entry(&mut self, chunk: usize, baseline: Option<NetworkTick>) -> usize {
        let head = self.heads.get(chunk).copied().unwrap_or(0);
        let mut next = head;
        while let Some(index) = next.checked_sub(1) {
            let Some(entry) = self.entries.get(index) else { break };
            if entry.baseline == baseline {
                return index;
            }
            next = entry.next;
        }
        let index = self.used;
        self.used += 1;
        if self.entries.len() <= index {
            self.entries.push(Entry::default());
        }
        let entry = &mut self.entries[index];
        entry.baseline = baseline;
        entry.filled = 0;
        entry.predicted = 0;
        entry.next = head;
        self.heads[chunk] = index + 1;
        index
    }

    /// Encodes the rows of these ghosts that the entry lacks, against their prediction.
    fn fill_predicted(
        &mut self,
        request: &EncodeRequest<'_>,
        ty: &EncodeType,
        chunk: &Chunk,
        prediction: Prediction,
        wanted: u64,
    ) {
        let entry = &mut self.entries[prediction.entry];
        let missing = wanted & prediction.usable & !entry.predicted;
        let Some(tick) = entry.baseline.filter(|_| missing != 0) else { return };
        let age = prediction.base.age;
        // What is learned from may be more than what is used: a model without a slope learns when one pays.
        let learning = PredictionBase { age, span: age.min(MAX_SPAN) };
        let (Some(rows), Some(earlier_rows)) = (chunk.rows_at(tick), chunk.rows_at(tick.sub(learning.span))) else {
            return;
        };
        // On a byte, so that whole chunks are copied fast.
        self.bits.align();
        for place in bits(missing) {
            let start = self.bits.bit_len();
            let (row, base, earlier) = (chunk.row(place), chunk.row_in(rows, place), chunk.row_in(earlier_rows, place));
            self.encoded += 1;
            if self.encoded.is_multiple_of(LEARN_EVERY) {
                extrapolate_row(learning, base, earlier, &mut self.scratch);
                self.models.observe(chunk.ghost_type, age, &ty.layout, row, base, &self.scratch);
            }
            let Some(model) = self.models.get(chunk.ghost_type, age, &ty.layout, request.tick) else { return };
            predict_row(&ty.layout, model, prediction.base, base, Some(earlier), &mut self.scratch);
            encode_predicted_row(&ty.layout, model, row, &self.scratch, &mut self.bits);
            let spawn_age = spawn_age(chunk, place, request.tick);
            let absolute_bits = FORM_BITS + 1 + (packed_bits(spawn_age) + absolute_row_bits(&ty.layout, row)) as usize;
            if self.bits.bit_len() - start > absolute_bits {
                self.bits.truncate(start);
                RowForm::Plain.write(&mut self.bits);
                write_ghost_body(&mut self.bits, GhostBody::Absolute { spawn_age }, &mut None);
                encode_row(&ty.layout, row, None, &mut self.bits);
            }
            let len = self.bits.bit_len() - start;
            entry.predicted_rows[place] = CachedRow { age: 0, has_form: true, start, len };
            entry.predicted |= 1 << place;
        }
    }

    /// Encodes the rows of these ghosts that the entry lacks.
    fn fill(&mut self, request: &EncodeRequest<'_>, ty: &EncodeType, chunk: &Chunk, index: usize, wanted: u64) {
        let entry = &mut self.entries[index];
        let base = entry.baseline.and_then(|tick| {
            let age = u32::try_from(request.tick.ticks_since(tick)).ok().filter(|&age| age > 0)?;
            Some((age, chunk.rows_at(tick)?))
        });
        // Whoever has no model yet gets one from these rows.
        let earlier = base.and_then(|(age, _)| {
            let span = age.min(MAX_SPAN);
            Some((span, chunk.rows_at(request.tick.sub(age + span))?))
        });
        // On a byte, so that whole chunks are copied fast.
        self.bits.align();
        for place in bits(wanted & !entry.filled) {
            let start = self.bits.bit_len();
            let row = chunk.row(place);
            let spawn_age =
                chunk.spawn_ticks[place].map_or(0, |spawn| request.tick.ticks_since(spawn).max(0).unsigned_abs());
            let mut age = 0;
            if let Some((baseline_age, rows)) = base {
                age = baseline_age;
                write_ghost_body(&mut self.bits, GhostBody::Delta { baseline_age: age }, &mut Some(age));
                let base = chunk.row_in(rows, place);
                encode_row(&ty.layout, row, Some(base), &mut self.bits);
                if let Some((span, earlier)) = earlier {
                    extrapolate_row(
                        PredictionBase { age, span },
                        base,
                        chunk.row_in(earlier, place),
                        &mut self.scratch,
                    );
                    self.models.observe(chunk.ghost_type, age, &ty.layout, row, base, &self.scratch);
                }
                // The smaller of the two forms; a baseline that must be named first doesn't change that by much.
                let absolute_bits = 1 + packed_bits(spawn_age) + absolute_row_bits(&ty.layout, row);
                if self.bits.bit_len() - start > absolute_bits as usize {
                    self.bits.truncate(start);
                    age = 0;
                }
            }
            if age == 0 {
                write_ghost_body(&mut self.bits, GhostBody::Absolute { spawn_age }, &mut None);
                encode_row(&ty.layout, row, None, &mut self.bits);
            }
            entry.rows[place] = CachedRow { age, has_form: false, start, len: self.bits.bit_len() - start };
            entry.filled |= 1 << place;
        }
    }
}

fn spawn_age(chunk: &Chunk, place: usize, now: NetworkTick) -> u32 {
    chunk.spawn_ticks[place].map_or(0, |spawn| now.ticks_since(spawn).max(0).unsigned_abs())
}

/// The baseline that a client surely holds of a ghost.
fn baseline_of(view: &ChunkView, place: usize, now: NetworkTick) -> Option<NetworkTick> {
    if view.acked & (1 << place) == 0 || u32::from(view.sends_since_ack[place]) >= limits::MAX_BASELINE_SENDS {
        return None;
    }
    view.acked_ticks[place].filter(|tick| now.is_newer_than(*tick))
}

/// Those of the wanted ghosts that this client has the same baseline of.
fn wanted_alike(view: &ChunkView, wanted: u64, baseline: Option<NetworkTick>) -> u64 {
    let Some(baseline) = baseline else { return wanted & !view.acked };
    let mut alike = 0;
    for (place, acked) in view.acked_ticks.iter().enumerate() {
        alike |= u64::from(*acked == Some(baseline)) << place;
    }
    alike & wanted
}

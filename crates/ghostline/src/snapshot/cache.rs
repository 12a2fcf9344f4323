//! The rows of one tick as bits: each is encoded once per baseline, whatever the number of clients, and copied into their packets.
//! Filled and read by `encode`; emptied when the next tick begins.

use ghostline_wire::{
    BitWriter, GhostBody, NetworkTick, absolute_row_bits, encode_row, limits, packed_bits, write_ghost_body,
};

use super::connection::ChunkView;
use super::encode::{EncodeRequest, EncodeType};
use super::store::{Chunk, RowStore, bits};

const SLOTS: usize = limits::CHUNK_SLOTS as usize;

/// Every cached delta begins with the bits that say: against the same baseline as the row before. Where that is not so, they are replaced.
pub(super) const DELTA_BITS: usize = 2;

/// Where a row lies in the cache.
#[derive(Clone, Copy, Default)]
pub(super) struct CachedRow {
    /// Age of its baseline; 0: absolute.
    pub age: u32,
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
    /// Rows encoded, and rows taken, since the tick began.
    pub encoded: u64,
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
        }
    }
}

impl Default for Entry {
    fn default() -> Self {
        Self { baseline: None, next: 0, filled: 0, rows: [CachedRow::default(); SLOTS] }
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
        self.encoded = 0;
    }

    /// Takes as many of the wanted ghosts of a chunk as fit, beginning where the last packet stopped. Returns which, and their bits;
    /// where they lie is in `chosen`.
    pub(super) fn choose(
        &mut self,
        request: &EncodeRequest<'_>,
        store: &RowStore,
        index: usize,
        view: &ChunkView,
        wanted: u64,
        free_bits: usize,
    ) -> (u64, usize) {
        let Some(chunk) = store.chunks.get(index) else { return (0, 0) };
        let Some(ty) = request.types.get(usize::from(chunk.ghost_type)) else { return (0, 0) };
        let before_resume = 1u64.checked_shl(view.resume as u32).map_or(0, |bit| bit - 1);
        let (mut placed, mut used) = (0, 0);
        let (mut entry, mut age) = (None, 0);
        for part in [wanted & !before_resume, wanted & before_resume] {
            for place in bits(part) {
                let baseline = baseline_of(view, place, request.tick);
                let found = match entry {
                    Some((known, found)) if known == baseline => found,
                    _ => self.entry(index, baseline),
                };
                entry = Some((baseline, found));
                if self.entries[found].filled & (1 << place) == 0 {
                    self.fill(request, ty, chunk, found, wanted_alike(view, wanted, baseline) | 1 << place);
                }
                let row = self.entries[found].rows[place];
                let naming = if row.age != 0 && row.age != age { packed_bits(row.age) as usize } else { 0 };
                if used + row.len + naming > free_bits {
                    return (placed, used);
                }
                if row.age != 0 {
                    age = row.age;
                }
                used += row.len + naming;
                placed |= 1 << place;
                self.chosen[place] = row;
            }
        }
        (placed, used)
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
        entry.next = head;
        self.heads[chunk] = index + 1;
        index
    }

    /// Encodes the rows of these ghosts that the entry lacks.
    fn fill(&mut self, request: &EncodeRequest<'_>, ty: &EncodeType, chunk: &Chunk, index: usize, wanted: u64) {
        let entry = &mut self.entries[index];
        let base = entry.baseline.and_then(|tick| {
            let age = u32::try_from(request.tick.ticks_since(tick)).ok().filter(|&age| age > 0)?;
            Some((age, chunk.rows_at(tick)?))
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
                encode_row(&ty.layout, row, Some(chunk.row_in(rows, place)), &mut self.bits);
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
            entry.rows[place] = CachedRow { age, start, len: self.bits.bit_len() - start };
            entry.filled |= 1 << place;
            self.encoded += 1;
        }
    }
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

//! From rows to packets, for one client: what it lacks (`priority`), in which form (`cache`), and packet by packet (`packet`) within its
//! budget. Plain arrays in, bytes out.

use ghostline_wire::{NetworkTick, PrefabEntry, RowLayout, RowModel, limits};

use super::base::BaselineKeys;
use super::cache::RowCache;
use super::connection::SnapshotSendState;
use super::meter::{BitMeter, Origin};
use super::packet::Packet;
use super::priority::{Candidate, Candidates, RowSizes};
use super::store::{Chunk, RowStore};
use super::view::ChunkView;

/// What the encoder must know of a ghost type.
pub(crate) struct EncodeType {
    pub layout: RowLayout,
    pub prefab: PrefabEntry,
    pub importance: u32,
    /// Times per second that a ghost is sent at most, 0 for no limit; and what that means now: every so many ticks.
    pub max_send_rate_hz: u8,
    pub send_interval_ticks: u32,
    /// Rows are predicted from the baseline alone.
    pub single_baseline: bool,
    /// Clients go on showing motion after the last row, or predict: that it ended is told while the last row is under way.
    pub tells_rest: bool,
    /// Bits of a model, at most.
    pub model_bits: usize,
}

impl EncodeType {
    /// A type that is sent as often as it fits.
    pub(crate) fn new(layout: RowLayout, prefab: PrefabEntry) -> Self {
        let model_bits = RowModel::most_bits(&layout);
        Self {
            layout,
            prefab,
            importance: 1,
            max_send_rate_hz: 0,
            send_interval_ticks: 1,
            single_baseline: false,
            tells_rest: false,
            model_bits,
        }
    }
}

/// Counts of one call, for the statistics.
#[derive(Default, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EncodeCounts {
    pub packets: u32,
    pub bytes: u64,
    /// Rows in packets, and those that were encoded for it: the others were copied.
    pub rows: u64,
    pub encoded: u64,
    pub absolute_rows: u64,
    /// Bits of rows, and of what stands before the rows of a chunk.
    pub row_bits: u64,
    pub head_bits: u64,
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
    /// Bytes that the budget grows by with each network tick, and the ticks between two of them.
    pub target_bytes: usize,
    pub interval_ticks: u32,
    /// The largest message that the fragmented pipeline takes, for a ghost that fills more than a packet alone.
    pub fragmented_bytes: usize,
    /// No row is predicted from more than its baseline.
    pub single_baseline: bool,
    /// Which baselines rows are told against.
    pub keys: BaselineKeys,
    /// Ghosts below this priority wait, but for the first time.
    pub min_send_importance: u32,
    pub first_send_importance_multiplier: u32,
}

/// Where the packets go. True: sent.
pub(crate) type Transmit<'a> = dyn FnMut(&[u8]) -> bool + 'a;

/// Bits of a lane with the flags before it, at most; and what stands in a packet beside a ghost, prefab list included.
const MOST_LANE_BITS: usize = 38 + 2;
const MOST_HEAD_BYTES: usize = 1024;
// Any ghost that can be registered fits the fragmented pipeline of our drivers, alone.
const _: () = assert!(
    limits::MAX_ROW_LANES * MOST_LANE_BITS / 8 + MOST_HEAD_BYTES <= ghostline_transport::limits::MAX_FRAGMENTED_BYTES
);

/// What became of a candidate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fill {
    /// The next one may follow into the same packet.
    GoOn,
    /// The packet is full.
    Full,
}

/// Buffers of the encoder, used again for every client and tick.
#[derive(Default)]
pub(crate) struct Encoder {
    packet: Packet,
    cache: RowCache,
    candidates: Candidates,
    sizes: RowSizes,
    /// Where the bits of packets are counted.
    pub meter: BitMeter,
    pub counts: EncodeCounts,
    /// A type with a ghost that the driver's largest message can't hold.
    pub too_large: Option<u16>,
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
        self.cache.begin(request, store);
        self.cache.ages.note(state.newest_acked_tick, request.tick);
        let encoded = self.cache.encoded;
        self.candidates.gather(request, store, state, &self.sizes);
        let budget_bytes = state.budget_bytes.min(request.packet_bytes as f64 * f64::from(request.max_packets));
        // What got no place in the last tick is first in this one, however much room there seems to be.
        let fits = self.candidates.expected_bits as f64 <= budget_bytes * 8.0 && state.needed_priority == 0;
        if !fits {
            self.candidates.prioritise(request, store, state);
        }
        let mut next = 0;
        for number in 0..request.max_packets.max(1) {
            let is_first = number == 0;
            if !is_first && (next >= self.candidates.list.len() || state.budget_bytes <= 0.0) {
                break;
            }
            let before = next;
            let sent = self.encode_packet(request, store, state, is_first, &mut next, transmit);
            if !sent || (before == next && self.packet.is_empty()) {
                break;
            }
        }
        self.counts.encoded = self.cache.encoded - encoded;
        self.note(request, state, next);
    }

    /// What the connection's statistics say of this tick.
    fn note(&self, request: &EncodeRequest<'_>, state: &mut SnapshotSendState, next: usize) {
        let rest = self.candidates.list.get(next..).unwrap_or_default();
        state.needed_priority =
            rest.iter().find(|candidate| candidate.left != 0).map_or(0, |left| left.priority.max(1));
        let (unsent, oldest) = self.candidates.left_over();
        let stats = &mut state.stats;
        stats.rows += self.counts.rows;
        stats.absolute_rows += self.counts.absolute_rows;
        stats.bytes += self.counts.bytes;
        (stats.unsent_ghosts, stats.oldest_unsent_ticks) = (unsent, oldest);
        stats.wanted_ghosts = self.candidates.wanted as u32;
        stats.pressure_ticks = pressure_ticks(request, self.candidates.pressure);
    }

    fn encode_packet(
        &mut self,
        request: &EncodeRequest<'_>,
        store: &RowStore,
        state: &mut SnapshotSendState,
        is_first: bool,
        next: &mut usize,
        transmit: &mut Transmit<'_>,
    ) -> bool {
        self.packet.begin(request, state, is_first);
        // What was sent beyond a tick's share is saved up for before more is sent.
        while state.budget_bytes > 0.0 && *next < self.candidates.list.len() {
            if self.fill(request, store, state, next) == Fill::Full {
                break;
            }
        }
        if !is_first && self.packet.is_empty() {
            return false;
        }
        let Self { packet, cache, sizes, meter, counts, .. } = self;
        let bytes = packet.finish(request, store, state, is_first, cache, sizes, counts);
        if !transmit(bytes) {
            return false;
        }
        state.budget_bytes -= bytes.len() as f64;
        counts.packets += 1;
        counts.bytes += bytes.len() as u64;
        packet.note_sent(request, state);
        if meter.counted.is_some() {
            meter.count(packet.bytes(), packet.bodies(), Origin { request, store, models: &cache.models });
        }
        true
    }

    /// Puts as much of the next candidate into the packet as fits.
    fn fill(
        &mut self,
        request: &EncodeRequest<'_>,
        store: &RowStore,
        state: &mut SnapshotSendState,
        next: &mut usize,
    ) -> Fill {
        let Self { packet, cache, candidates, .. } = self;
        let Some(candidate) = candidates.list.get_mut(*next) else { return Fill::Full };
        let Some((index, chunk, view, ty)) = looked_at(request, store, state, candidate) else { return Fill::Full };
        let capacity_bits = request.packet_bytes * 8;
        let base = cache.choose_base(request, ty, chunk, index, state, view, candidate.left);
        let room_bits = packet.room_bits(state, store, ty, chunk.ghost_type, base, capacity_bits);
        let choice = cache.choose(request, ty, chunk, index, view, base, candidate.left, room_bits);
        if candidate.is_rest
            && let Some(earlier) = packet.take(index)
        {
            // Nothing is said twice of a chunk in one packet: the rows of both parts become one body.
            let both = earlier.changed | choice.placed;
            let base = cache.choose_base(request, ty, chunk, index, state, view, both);
            let room_bits = packet.room_bits(state, store, ty, chunk.ghost_type, base, capacity_bits);
            let union = cache.choose(request, ty, chunk, index, view, base, both, room_bits);
            if choice.placed == 0 || union.placed != both {
                packet.put_back(earlier);
                return Fill::Full;
            }
            packet.place(request, store, state, index, base, union, cache);
            candidate.left &= !both;
        } else if candidate.is_settling && room_bits > 0 || choice.placed != 0 {
            packet.place(request, store, state, index, base, choice, cache);
            candidate.left &= !choice.placed;
        } else if candidate.is_settling || !packet.is_empty() {
            return Fill::Full;
        } else {
            return self.fill_alone(request, store, state, next);
        }
        if candidate.left != 0 {
            return Fill::Full;
        }
        *next += 1;
        Fill::GoOn
    }

    /// Not even one ghost of the next candidate fits into an empty packet.
    fn fill_alone(
        &mut self,
        request: &EncodeRequest<'_>,
        store: &RowStore,
        state: &mut SnapshotSendState,
        next: &mut usize,
    ) -> Fill {
        let Self { packet, cache, candidates, .. } = self;
        let Some(candidate) = candidates.list.get_mut(*next) else { return Fill::Full };
        let Some((index, chunk, view, ty)) = looked_at(request, store, state, candidate) else { return Fill::Full };
        if packet.has_lists {
            // It may be the lists that leave no room: the next packet does without despawns.
            state.hold_despawns = true;
            return Fill::Full;
        }
        // It must be fragmented.
        let alone = candidate.left & candidate.left.wrapping_neg();
        let base = cache.choose_base(request, ty, chunk, index, state, view, alone);
        let room_bits = packet.room_bits(state, store, ty, chunk.ghost_type, base, request.fragmented_bytes * 8);
        let choice = cache.choose(request, ty, chunk, index, view, base, alone, room_bits);
        if choice.placed != 0 {
            packet.place(request, store, state, index, base, choice, cache);
        } else {
            self.too_large = Some(chunk.ghost_type);
        }
        candidate.left &= !alone;
        *next += usize::from(candidate.left == 0);
        Fill::Full
    }

    /// Bytes of all buffers and of what was learned.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.cache.memory_bytes() + self.packet.memory_bytes()
    }
}

/// The chunk of a candidate with its number, what the client holds of it, and its ghost type.
fn looked_at<'a>(
    request: &'a EncodeRequest<'_>,
    store: &'a RowStore,
    state: &'a SnapshotSendState,
    candidate: &Candidate,
) -> Option<(usize, &'a Chunk, &'a ChunkView, &'a EncodeType)> {
    let index = candidate.chunk as usize;
    let (chunk, view) = (store.chunks.get(index)?, state.views.get(index)?);
    Some((index, chunk, view, request.types.get(usize::from(chunk.ghost_type))?))
}

/// Within how many ticks everything that is wanted can be sent once, weighed by importance: a ghost of importance 1 is never older than this, one
/// of importance 2 than half of it.
fn pressure_ticks(request: &EncodeRequest<'_>, pressure: u64) -> u32 {
    let bits_per_tick = request.target_bytes as u64 * 8 / u64::from(request.interval_ticks.max(1));
    u32::try_from(pressure / bits_per_tick.max(1)).unwrap_or(u32::MAX)
}

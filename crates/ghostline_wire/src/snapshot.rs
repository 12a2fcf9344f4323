//! The parts of a snapshot packet, `docs/wire-format.md` section 5: header, prefabs, despawns, chunks, ghost bodies.
//! The server's encoder puts them together for each connection; the client's decoder takes them apart.
//! Rows stand between these parts, see `row.rs`; which ghosts and baselines is the callers' to know.

use core::ops::Range;

use crate::ack::{Epoch, PacketSequence};
use crate::bits::{BitReader, BitWriter};
use crate::error::DecodeError;
use crate::limits::{
    CHUNK_SLOTS, MAX_BATCH_LENGTH, MAX_CHUNKS, MAX_DESPAWNS_PER_PACKET, MAX_GHOST_ID, MAX_PREFABS,
    MAX_PREFABS_PER_PACKET,
};
use crate::packed::packed_bits;
use crate::packet::MessageKind;
use crate::tick::NetworkTick;

/// What stands at the begin of every snapshot packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The packet's number in its epoch.
    pub sequence: PacketSequence,
    /// The epoch that everything in the packet belongs to.
    pub epoch: Epoch,
    /// The tick whose state this is.
    pub server_tick: NetworkTick,
    /// Ticks merged into the step that ended with this tick, 1 to 16.
    pub batch_length: u32,
    /// The server's clock, in ms, the low 16 bits.
    pub local_time_ms: u16,
    /// The newest time that the server has from the client, plus the ms it was held; `None` before the first.
    pub return_time_ms: Option<u16>,
    /// How late commands come, in 1/256 tick; negative if they come early.
    pub command_age: i32,
    /// Ghosts that the client is to have, for showing progress.
    pub relevant_ghosts: u32,
}

impl SnapshotHeader {
    /// Writes the kind of the message and the header. A batch length out of its range is brought into it.
    pub fn encode(&self, out: &mut BitWriter) {
        out.write_u8(MessageKind::Snapshot.byte());
        out.write_u16(self.sequence.0);
        out.write_u8(self.epoch.0);
        out.write_tick(self.server_tick);
        let batch_length = self.batch_length.clamp(1, MAX_BATCH_LENGTH);
        out.write_packed(batch_length.saturating_sub(1));
        out.write_u16(self.local_time_ms);
        write_return_time(self.return_time_ms, out);
        out.write_packed_signed(self.command_age);
        out.write_packed(self.relevant_ghosts);
    }

    /// Reads a header; the kind of the message was read before.
    ///
    /// # Errors
    /// [`DecodeError::LimitExceeded`] for a batch of more than 16 ticks, and what reading bits can end in.
    pub fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            sequence: PacketSequence(input.read_u16()?),
            epoch: Epoch(input.read_u8()?),
            server_tick: input.read_tick()?,
            batch_length: DecodeError::check_limit(
                "batch length",
                MAX_BATCH_LENGTH,
                input.read_packed()?.saturating_add(1),
            )?,
            local_time_ms: input.read_u16()?,
            return_time_ms: read_return_time(input)?,
            command_age: input.read_packed_signed()?,
            relevant_ghosts: input.read_packed()?,
        })
    }
}

/// Writes the return time of either header: a bit, and the time if there is one.
pub(crate) fn write_return_time(return_time_ms: Option<u16>, out: &mut BitWriter) {
    out.write_bool(return_time_ms.is_some());
    if let Some(time) = return_time_ms {
        out.write_u16(time);
    }
}

/// Reads what [`write_return_time`] wrote.
pub(crate) fn read_return_time(input: &mut BitReader<'_>) -> Result<Option<u16>, DecodeError> {
    Ok(if input.read_bool()? { Some(input.read_u16()?) } else { None })
}

/// A ghost type, as the server announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefabEntry {
    /// The hash of its name.
    pub type_id: u64,
    /// The hash of its schema.
    pub schema_hash: u64,
}

/// Writes the prefab section: the types from index `first` on. Only the first 32 entries are written.
pub fn write_prefabs(out: &mut BitWriter, first: u32, entries: &[PrefabEntry]) {
    let entries = entries.get(..MAX_PREFABS_PER_PACKET as usize).unwrap_or(entries);
    out.write_packed(entries.len() as u32);
    if entries.is_empty() {
        return;
    }
    out.write_packed(first);
    for entry in entries {
        out.write_u64(entry.type_id);
        out.write_u64(entry.schema_hash);
    }
}

/// Reads the prefab section into `into`, which is emptied before, and returns the index of the first entry
/// (0 if there is none).
///
/// # Errors
/// [`DecodeError::LimitExceeded`] for more than 32 entries or an index from 4,096 on, and what reading bits can end in.
pub fn read_prefabs(input: &mut BitReader<'_>, into: &mut Vec<PrefabEntry>) -> Result<u32, DecodeError> {
    into.clear();
    let count = input.read_packed()?;
    let count = DecodeError::check_limit("prefabs in a packet", MAX_PREFABS_PER_PACKET, count)?;
    if count == 0 {
        return Ok(0);
    }
    let first = input.read_packed()?;
    DecodeError::check_limit("prefabs", MAX_PREFABS, first.saturating_add(count))?;
    for _ in 0..count {
        into.push(PrefabEntry { type_id: input.read_u64()?, schema_hash: input.read_u64()? });
    }
    Ok(first)
}

/// Why a client shall drop a ghost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DespawnReason {
    /// The server destroyed it.
    Destroyed,
    /// It still is, but no longer for this client.
    NoLongerRelevant,
}

/// A ghost that a client shall drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DespawnEntry {
    /// Its id, 1 to 4,194,304.
    pub ghost_id: u32,
    /// Why.
    pub reason: DespawnReason,
}

/// Writes the despawn section. Only the first 256 entries are written; ascending ids are smallest.
pub fn write_despawns(out: &mut BitWriter, entries: &[DespawnEntry]) {
    let entries = entries.get(..MAX_DESPAWNS_PER_PACKET as usize).unwrap_or(entries);
    out.write_packed(entries.len() as u32);
    let mut previous = 0u32;
    for entry in entries {
        out.write_delta(entry.ghost_id, previous.wrapping_add(1));
        out.write_bits(
            match entry.reason {
                DespawnReason::Destroyed => 0,
                DespawnReason::NoLongerRelevant => 1,
            },
            2,
        );
        previous = entry.ghost_id;
    }
}

/// Reads the despawn section into `into`, which is emptied before.
///
/// # Errors
/// [`DecodeError::LimitExceeded`] for more than 256 entries or an id beyond the last chunk, [`DecodeError::BadValue`] for
/// ghost 0 and for an unknown reason, and what reading bits can end in.
pub fn read_despawns(input: &mut BitReader<'_>, into: &mut Vec<DespawnEntry>) -> Result<(), DecodeError> {
    into.clear();
    let count = input.read_packed()?;
    let count = DecodeError::check_limit("despawns in a packet", MAX_DESPAWNS_PER_PACKET, count)?;
    let mut previous = 0u32;
    for _ in 0..count {
        let ghost_id = check_ghost_id(input.read_delta(previous.wrapping_add(1))?)?;
        let reason = match input.read_bits(2)? {
            0 => DespawnReason::Destroyed,
            1 => DespawnReason::NoLongerRelevant,
            _ => {
                return Err(DecodeError::BadValue { what: "despawn reason" });
            }
        };
        into.push(DespawnEntry { ghost_id, reason });
        previous = ghost_id;
    }
    Ok(())
}

/// The id if a ghost can have it.
pub(crate) fn check_ghost_id(ghost_id: u32) -> Result<u32, DecodeError> {
    if ghost_id == 0 {
        return Err(DecodeError::BadValue { what: "ghost id" });
    }
    DecodeError::check_limit("ghost id", MAX_GHOST_ID, ghost_id)
}

/// What lies before a chunk body, or after the last: chunks that nothing is said of, then chunks without news.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkGap {
    /// Chunks that are not covered.
    pub skipped: u32,
    /// Then chunks that are covered and in which nothing changed.
    pub quiet: u32,
}

impl ChunkGap {
    /// Writes the two numbers.
    pub fn write(self, out: &mut BitWriter) {
        out.write_packed(self.skipped);
        out.write_packed(self.quiet);
    }

    /// Reads the two numbers.
    ///
    /// # Errors
    /// [`DecodeError::LimitExceeded`] if one is above the number of chunks that a world can have, and what reading bits
    /// can end in.
    pub fn read(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        let chunks = "chunks";
        Ok(Self {
            skipped: DecodeError::check_limit(chunks, MAX_CHUNKS, input.read_packed()?)?,
            quiet: DecodeError::check_limit(chunks, MAX_CHUNKS, input.read_packed()?)?,
        })
    }

    /// The quiet chunks, if this gap begins with chunk `from`. A chunk body that follows is of the chunk where they end.
    ///
    /// # Errors
    /// [`DecodeError::LimitExceeded`] if they end beyond the last chunk that a world can have.
    pub fn quiet_chunks(self, from: u32) -> Result<Range<u32>, DecodeError> {
        let begin = from.saturating_add(self.skipped);
        let end = begin.saturating_add(self.quiet);
        DecodeError::check_limit("chunks", MAX_CHUNKS, end)?;
        Ok(begin..end)
    }
}

/// The begin of a chunk body: the type, and which slots the packet speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHeader {
    /// The ghost type, by the server's order of types.
    pub type_index: u32,
    /// The masks speak of slots 0 to `width − 1`; slots from there on are covered. 1 to 64.
    pub width: u32,
    /// Bit i: nothing is said of slot i.
    pub uncovered: u64,
    /// Bit i: a row of slot i follows.
    pub changed: u64,
}

impl ChunkHeader {
    /// Writes the type and the masks, `changed` in the smaller of its two forms.
    ///
    /// A width out of its range is brought into it, mask bits from the width on are dropped.
    pub fn encode(&self, out: &mut BitWriter) {
        let width = self.width.clamp(1, CHUNK_SLOTS);
        let slots = slots_below(width);
        let (uncovered, changed) = (self.uncovered & slots, self.changed & slots);
        debug_assert_eq!(uncovered & changed, 0, "a changed slot is covered");

        out.write_packed(self.type_index);
        out.write_bits(width.saturating_sub(1), 6);
        out.write_bool(uncovered == 0);
        if uncovered != 0 {
            out.write_bits64(uncovered, width);
        }
        let mut sparse_bits = packed_bits(changed.count_ones());
        for_each_gap(changed, |gap| {
            sparse_bits = sparse_bits.saturating_add(packed_bits(gap));
        });
        let dense = width <= sparse_bits;
        out.write_bool(dense);
        if dense {
            out.write_bits64(changed, width);
        } else {
            out.write_packed(changed.count_ones());
            for_each_gap(changed, |gap| out.write_packed(gap));
        }
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`DecodeError::LimitExceeded`] for a type index from 4,096 on or more changes than slots,
    /// [`DecodeError::BadValue`] for a changed slot that is past the width or uncovered, and what reading bits can end in.
    pub fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        let last_type = MAX_PREFABS.saturating_sub(1);
        let type_index = DecodeError::check_limit("ghost type", last_type, input.read_packed()?)?;
        let width = input.read_bits(6)?.saturating_add(1);
        let uncovered = if input.read_bool()? { 0 } else { input.read_bits64(width)? };
        let changed = if input.read_bool()? { input.read_bits64(width)? } else { read_sparse(width, input)? };
        if changed & uncovered != 0 {
            return Err(DecodeError::BadValue { what: "changed slot" });
        }
        Ok(Self { type_index, width, uncovered, changed })
    }
}

/// The mask of the first `width` slots; `width` is 1 to 64.
const fn slots_below(width: u32) -> u64 {
    u64::MAX.wrapping_shr(CHUNK_SLOTS.wrapping_sub(width))
}

/// The numbers of zeros before each set bit, counted from the set bit before it.
#[inline]
fn for_each_gap(mut mask: u64, mut visit: impl FnMut(u32)) {
    while mask != 0 {
        let gap = mask.trailing_zeros();
        visit(gap);
        // Two shifts, because a gap of 63 would make one by 64, which is one by 0.
        mask = mask.wrapping_shr(gap) >> 1;
    }
}

/// Reads the mask of changed slots as a count and gaps.
fn read_sparse(width: u32, input: &mut BitReader<'_>) -> Result<u64, DecodeError> {
    let count = DecodeError::check_limit("changed slots", width, input.read_packed()?)?;
    let mut mask = 0u64;
    let mut next = 0u32;
    for _ in 0..count {
        let slot = next.saturating_add(input.read_packed()?);
        if slot >= width {
            return Err(DecodeError::BadValue { what: "changed slot" });
        }
        mask |= 1u64.wrapping_shl(slot);
        next = slot.saturating_add(1);
    }
    Ok(mask)
}

/// What the row of a changed slot is coded against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GhostBody {
    /// Zeros: the row stands for itself.
    Absolute {
        /// Ticks from the ghost's spawn to the packet's tick.
        spawn_age: u32,
    },
    /// A row that the client holds.
    Delta {
        /// Ticks from the baseline to the packet's tick, 1 or more.
        baseline_age: u32,
    },
}

/// Writes what stands before a row. `previous_age` is the baseline age of the last delta of this chunk;
/// begin every chunk with `None`.
pub fn write_ghost_body(out: &mut BitWriter, body: GhostBody, previous_age: &mut Option<u32>) {
    match body {
        GhostBody::Absolute { spawn_age } => {
            out.write_bool(false);
            out.write_packed(spawn_age);
        }
        GhostBody::Delta { baseline_age } => {
            let same = *previous_age == Some(baseline_age);
            out.write_bool(true);
            out.write_bool(same);
            if !same {
                out.write_packed(baseline_age);
                *previous_age = Some(baseline_age);
            }
        }
    }
}

/// Reads what stands before a row. `previous_age` as for [`write_ghost_body`].
///
/// # Errors
/// [`DecodeError::BadValue`] for an age that no tick can have, a baseline age of 0, and a reference to a previous delta
/// where there is none, and what reading bits can end in.
pub fn read_ghost_body(input: &mut BitReader<'_>, previous_age: &mut Option<u32>) -> Result<GhostBody, DecodeError> {
    if !input.read_bool()? {
        let spawn_age = check_age(input.read_packed()?, "spawn age")?;
        return Ok(GhostBody::Absolute { spawn_age });
    }
    let what = "baseline age";
    let baseline_age = if input.read_bool()? {
        previous_age.ok_or(DecodeError::BadValue { what })?
    } else {
        check_age(input.read_packed()?, what)?
    };
    if baseline_age == 0 {
        return Err(DecodeError::BadValue { what });
    }
    *previous_age = Some(baseline_age);
    Ok(GhostBody::Delta { baseline_age })
}

/// The age if two ticks can be that far apart.
fn check_age(age: u32, what: &'static str) -> Result<u32, DecodeError> {
    if age <= NetworkTick::MAX_INDEX { Ok(age) } else { Err(DecodeError::BadValue { what }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T>(
        write: impl FnOnce(&mut BitWriter),
        read: impl FnOnce(&mut BitReader<'_>) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let mut out = BitWriter::new();
        write(&mut out);
        let mut input = BitReader::with_bits(out.as_bytes(), out.bit_len());
        let result = read(&mut input);
        assert!(result.is_err() || input.is_empty(), "everything was read");
        result
    }

    fn header() -> SnapshotHeader {
        SnapshotHeader {
            sequence: PacketSequence(65_535),
            epoch: Epoch(3),
            server_tick: NetworkTick::new(1_000),
            batch_length: 4,
            local_time_ms: 12_345,
            return_time_ms: Some(54_321),
            command_age: -384,
            relevant_ghosts: 10_000,
        }
    }

    #[test]
    fn a_header_comes_back_after_its_kind() {
        for header in [header(), SnapshotHeader { return_time_ms: None, batch_length: 16, ..header() }] {
            let result = read(
                |out| header.encode(out),
                |input| {
                    assert_eq!(input.read_u8(), Ok(MessageKind::Snapshot.byte()));
                    SnapshotHeader::decode(input)
                },
            );
            assert_eq!(result, Ok(header));
        }
    }

    #[test]
    fn a_batch_beyond_the_bound_is_malformed() {
        let result = read(
            |out| {
                out.write_bits(0, 24);
                out.write_tick(NetworkTick::new(1));
                out.write_packed(16);
            },
            SnapshotHeader::decode,
        );
        assert_eq!(result, Err(DecodeError::LimitExceeded { what: "batch length", limit: 16, got: 17 }));
    }

    #[test]
    fn prefabs_come_back_with_their_first_index() {
        let entries = [PrefabEntry { type_id: 1, schema_hash: u64::MAX }, PrefabEntry { type_id: 2, schema_hash: 3 }];
        let mut into = vec![entries[0]; 5];
        assert_eq!(read(|out| write_prefabs(out, 77, &entries), |input| read_prefabs(input, &mut into)), Ok(77));
        assert_eq!(into, entries);
        assert_eq!(read(|out| write_prefabs(out, 77, &[]), |input| read_prefabs(input, &mut into)), Ok(0));
        assert_eq!(into, []);
    }

    #[test]
    fn more_prefabs_than_a_packet_takes_wait_for_the_next() {
        let entries: Vec<PrefabEntry> = (0..40).map(|type_id| PrefabEntry { type_id, schema_hash: 0 }).collect();
        let mut into = Vec::new();
        assert_eq!(read(|out| write_prefabs(out, 0, &entries), |input| read_prefabs(input, &mut into)), Ok(0));
        assert_eq!(into, entries[..32]);
        let result = read(|out| out.write_packed(33), |input| read_prefabs(input, &mut into));
        assert!(matches!(result, Err(DecodeError::LimitExceeded { limit: 32, got: 33, .. })));
        let beyond = |first| {
            let one = entries[0];
            move |out: &mut BitWriter| write_prefabs(out, first, &[one])
        };
        assert_eq!(read(beyond(4_095), |input| read_prefabs(input, &mut into)), Ok(4_095));
        for first in [4_096, u32::MAX] {
            let result = read(beyond(first), |input| read_prefabs(input, &mut into));
            assert!(matches!(result, Err(DecodeError::LimitExceeded { limit: 4_096, .. })));
        }
    }

    #[test]
    fn despawns_come_back_in_any_order() {
        let entries: Vec<DespawnEntry> = [1, 2, 70, 69, 4_194_304, 5]
            .map(|ghost_id| DespawnEntry {
                ghost_id,
                reason: if ghost_id % 2 == 0 { DespawnReason::Destroyed } else { DespawnReason::NoLongerRelevant },
            })
            .to_vec();
        let mut into = vec![entries[0]];
        assert_eq!(read(|out| write_despawns(out, &entries), |input| read_despawns(input, &mut into)), Ok(()));
        assert_eq!(into, entries);
    }

    #[test]
    fn neighbours_are_despawned_for_four_bits_each() {
        let entries: Vec<DespawnEntry> =
            (1..=256).map(|ghost_id| DespawnEntry { ghost_id, reason: DespawnReason::Destroyed }).collect();
        let mut out = BitWriter::new();
        write_despawns(&mut out, &entries);
        assert_eq!(out.bit_len(), packed_bits(256) as usize + 256 * 4);
    }

    #[test]
    fn a_despawn_of_nobody_or_of_a_ghost_that_cannot_be_is_malformed() {
        let one = |ghost_id: u32, reason| {
            move |out: &mut BitWriter| {
                out.write_packed(1);
                out.write_delta(ghost_id, 1);
                out.write_bits(reason, 2);
            }
        };
        let mut into = Vec::new();
        let mut decode = |ghost_id, reason| read(one(ghost_id, reason), |input| read_despawns(input, &mut into));
        assert_eq!(decode(1, 1), Ok(()));
        assert_eq!(decode(0, 0), Err(DecodeError::BadValue { what: "ghost id" }));
        assert_eq!(decode(4_194_305, 0), {
            Err(DecodeError::LimitExceeded { what: "ghost id", limit: 4_194_304, got: 4_194_305 })
        });
        for reason in [2, 3] {
            assert_eq!(decode(1, reason), Err(DecodeError::BadValue { what: "despawn reason" }));
        }
        let result = read(|out| out.write_packed(257), |input| read_despawns(input, &mut into));
        assert!(matches!(result, Err(DecodeError::LimitExceeded { limit: 256, got: 257, .. })));
    }

    #[test]
    fn a_gap_tells_which_chunks_are_quiet() {
        let gap = ChunkGap { skipped: 3, quiet: 10 };
        assert_eq!(read(|out| gap.write(out), ChunkGap::read), Ok(gap));
        assert_eq!(gap.quiet_chunks(5), Ok(8..18));
        assert_eq!(gap.quiet_chunks(65_523), Ok(65_526..65_536));
        for from in [65_524, u32::MAX] {
            assert!(matches!(gap.quiet_chunks(from), Err(DecodeError::LimitExceeded { limit: 65_536, .. })));
        }
        let far = ChunkGap { skipped: 0, quiet: 65_537 };
        assert!(matches!(read(|out| far.write(out), ChunkGap::read), Err(DecodeError::LimitExceeded { .. })));
    }

    fn chunk(width: u32, uncovered: u64, changed: u64) -> ChunkHeader {
        ChunkHeader { type_index: 12, width, uncovered, changed }
    }

    #[test]
    fn chunk_headers_come_back_at_every_width() {
        for width in 1..=64 {
            let all = slots_below(width);
            for (uncovered, changed) in
                [(0, 0), (0, all), (all, 0), (1, all & !1), (all & 0x5555_5555_5555_5555, 0), (0, 1 << (width - 1))]
            {
                let header = chunk(width, uncovered, changed);
                assert_eq!(read(|out| header.encode(out), ChunkHeader::decode), Ok(header));
            }
        }
    }

    #[test]
    fn few_changes_are_coded_as_gaps_and_many_as_a_mask() {
        let bits = |header: ChunkHeader| {
            let mut out = BitWriter::new();
            header.encode(&mut out);
            // Without type, width, coverage and form.
            out.bit_len() - 7 - 6 - 1 - 1
        };
        assert_eq!(bits(chunk(64, 0, 1 << 63)), 3 + 10);
        assert_eq!(bits(chunk(64, 0, u64::MAX)), 64);
        assert_eq!(bits(chunk(64, 0, 0)), 2);
        assert_eq!(bits(chunk(2, 0, 0b11)), 2);
        // Two bits in either form: dense it is.
        let mut out = BitWriter::new();
        chunk(2, 0, 0).encode(&mut out);
        assert_eq!(out.as_bytes()[1] >> 6 & 1, 1);
    }

    #[test]
    fn a_changed_slot_must_be_covered_and_lie_within_the_width() {
        let decode = |write: &dyn Fn(&mut BitWriter)| {
            read(
                |out| {
                    out.write_packed(0);
                    write(out);
                },
                ChunkHeader::decode,
            )
        };
        let bad_slot = Err(DecodeError::BadValue { what: "changed slot" });
        let overlap = decode(&|out| {
            out.write_bits(3, 6);
            out.write_bool(false);
            out.write_bits(0b0100, 4);
            out.write_bool(true);
            out.write_bits(0b0110, 4);
        });
        assert_eq!(overlap, bad_slot);
        for gap in [4, u32::MAX] {
            let beyond = decode(&|out| {
                out.write_bits(3, 6);
                out.write_bits(0b01, 2);
                out.write_packed(1);
                out.write_packed(gap);
            });
            assert_eq!(beyond, bad_slot);
        }
        let too_many = decode(&|out| {
            out.write_bits(3, 6);
            out.write_bits(0b01, 2);
            out.write_packed(5);
        });
        assert_eq!(too_many, Err(DecodeError::LimitExceeded { what: "changed slots", limit: 4, got: 5 }));
        let unknown = read(|out| out.write_packed(4_096), ChunkHeader::decode);
        assert_eq!(unknown, Err(DecodeError::LimitExceeded { what: "ghost type", limit: 4_095, got: 4_096 }));
    }

    #[test]
    fn a_baseline_is_named_once_while_it_stays_the_same() {
        let bodies = [
            GhostBody::Delta { baseline_age: 6 },
            GhostBody::Delta { baseline_age: 6 },
            GhostBody::Absolute { spawn_age: 0 },
            GhostBody::Delta { baseline_age: 6 },
            GhostBody::Delta { baseline_age: 7 },
        ];
        let mut out = BitWriter::new();
        let mut previous = None;
        let sizes: Vec<usize> = bodies
            .iter()
            .map(|body| {
                let before = out.bit_len();
                write_ghost_body(&mut out, *body, &mut previous);
                out.bit_len() - before
            })
            .collect();
        assert_eq!(sizes, [7, 2, 3, 2, 7]);
        let mut input = BitReader::with_bits(out.as_bytes(), out.bit_len());
        let mut previous = None;
        for body in bodies {
            assert_eq!(read_ghost_body(&mut input, &mut previous), Ok(body));
        }
        assert!(input.is_empty());
    }

    #[test]
    fn an_age_that_no_tick_can_have_is_malformed() {
        let decode = |bits: u32, age: Option<u32>| {
            read(
                |out| {
                    out.write_bits(bits, if bits == 0 { 1 } else { 2 });
                    if let Some(age) = age {
                        out.write_packed(age);
                    }
                },
                |input| read_ghost_body(input, &mut None),
            )
        };
        let bad_baseline = Err(DecodeError::BadValue { what: "baseline age" });
        assert_eq!(decode(0b11, None), bad_baseline, "the same as none");
        assert_eq!(decode(0b01, Some(0)), bad_baseline);
        assert_eq!(decode(0b01, Some(1 << 31)), bad_baseline);
        assert_eq!(decode(0b01, Some((1 << 31) - 1)), Ok(GhostBody::Delta { baseline_age: (1 << 31) - 1 }));
        assert_eq!(decode(0, Some(1 << 31)), Err(DecodeError::BadValue { what: "spawn age" }));
    }
}

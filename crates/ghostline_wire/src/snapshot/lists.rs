//! The lists of a snapshot packet, `docs/wire-format.md` sections 5.2 and 5.3: ghost types that the client doesn't know yet, and ghosts
//! that are gone. In few packets; a bit of the header says whether they are there.

use crate::bits::{BitReader, BitWriter};
use crate::error::DecodeError;
use crate::limits::{MAX_DESPAWNS_PER_PACKET, MAX_GHOST_ID, MAX_PREFABS, MAX_PREFABS_PER_PACKET};

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

#[cfg(test)]
mod tests {
    use super::super::read_back;
    use super::*;
    use crate::packed::packed_bits;

    #[test]
    fn prefabs_come_back_with_their_first_index() {
        let entries = [PrefabEntry { type_id: 1, schema_hash: u64::MAX }, PrefabEntry { type_id: 2, schema_hash: 3 }];
        let mut into = vec![entries[0]; 5];
        assert_eq!(read_back(|out| write_prefabs(out, 77, &entries), |input| read_prefabs(input, &mut into)), Ok(77));
        assert_eq!(into, entries);
        assert_eq!(read_back(|out| write_prefabs(out, 77, &[]), |input| read_prefabs(input, &mut into)), Ok(0));
        assert_eq!(into, []);
    }

    #[test]
    fn more_prefabs_than_a_packet_takes_wait_for_the_next() {
        let entries: Vec<PrefabEntry> = (0..40).map(|type_id| PrefabEntry { type_id, schema_hash: 0 }).collect();
        let mut into = Vec::new();
        assert_eq!(read_back(|out| write_prefabs(out, 0, &entries), |input| read_prefabs(input, &mut into)), Ok(0));
        assert_eq!(into, entries[..32]);
        let result = read_back(|out| out.write_packed(33), |input| read_prefabs(input, &mut into));
        assert!(matches!(result, Err(DecodeError::LimitExceeded { limit: 32, got: 33, .. })));
        let beyond = |first| {
            let one = entries[0];
            move |out: &mut BitWriter| write_prefabs(out, first, &[one])
        };
        assert_eq!(read_back(beyond(4_095), |input| read_prefabs(input, &mut into)), Ok(4_095));
        for first in [4_096, u32::MAX] {
            let result = read_back(beyond(first), |input| read_prefabs(input, &mut into));
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
        assert_eq!(read_back(|out| write_despawns(out, &entries), |input| read_despawns(input, &mut into)), Ok(()));
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
        let mut decode = |ghost_id, reason| read_back(one(ghost_id, reason), |input| read_despawns(input, &mut into));
        assert_eq!(decode(1, 1), Ok(()));
        assert_eq!(decode(0, 0), Err(DecodeError::BadValue { what: "ghost id" }));
        assert_eq!(decode(4_194_305, 0), {
            Err(DecodeError::LimitExceeded { what: "ghost id", limit: 4_194_304, got: 4_194_305 })
        });
        for reason in [2, 3] {
            assert_eq!(decode(1, reason), Err(DecodeError::BadValue { what: "despawn reason" }));
        }
        let result = read_back(|out| out.write_packed(257), |input| read_despawns(input, &mut into));
        assert!(matches!(result, Err(DecodeError::LimitExceeded { limit: 256, got: 257, .. })));
    }
}

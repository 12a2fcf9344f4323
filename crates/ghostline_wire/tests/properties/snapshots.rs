//! Section 5: what stands around the rows of a snapshot.

use ghostline_wire::*;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::strategies::{despawn, number, tick};
use crate::{config, round_trip};

proptest! {
    #![proptest_config(config())]

    #[test]
    fn snapshot_headers_come_back(
        numbers in (any::<u16>(), any::<u8>(), 1..=MAX_BATCH_LENGTH, any::<u16>(), number()),
        return_time_ms in proptest::option::of(any::<u16>()),
        command_age in number(),
        server_tick in tick(),
        has in any::<(bool, bool, bool)>(),
    ) {
        let header = SnapshotHeader {
            sequence: PacketSequence(numbers.0),
            epoch: Epoch(numbers.1),
            server_tick,
            batch_length: numbers.2,
            clock: has.0.then_some(SnapshotClock {
                local_time_ms: numbers.3,
                return_time_ms,
                command_age: command_age.cast_signed(),
                relevant_ghosts: has.1.then_some(numbers.4),
            }),
            has_lists: has.2,
        };
        let read = round_trip(|out| header.encode(out), |input| {
            assert_eq!(input.read_u8().map(MessageKind::from_byte), Ok(Some(MessageKind::Snapshot)));
            SnapshotHeader::decode(input)
        })?;
        prop_assert_eq!(read, header);
    }

    #[test]
    fn prefabs_come_back(first in 0..=(MAX_PREFABS - 32), hashes in vec((any::<u64>(), any::<u64>()), 0..=32)) {
        let entries: Vec<PrefabEntry> =
            hashes.iter().map(|(type_id, hash)| PrefabEntry { type_id: *type_id, schema_hash: *hash }).collect();
        let mut read = Vec::new();
        let read_first = round_trip(|out| write_prefabs(out, first, &entries), |input| read_prefabs(input, &mut read))?;
        prop_assert_eq!(&read, &entries);
        prop_assert_eq!(read_first, if entries.is_empty() { 0 } else { first });
    }

    #[test]
    fn despawns_come_back(entries in vec(despawn(), 0..=256)) {
        let mut read = Vec::new();
        round_trip(|out| write_despawns(out, &entries), |input| read_despawns(input, &mut read))?;
        prop_assert_eq!(read, entries);
    }

    #[test]
    fn masks_and_covers_come_back_in_the_smaller_form(
        masks in (any::<u64>(), any::<u64>(), any::<u64>()),
        width in 1..=64u32,
        how in 0..4u8,
        settled_ticks in number(),
    ) {
        // Masks from empty to full.
        let mask = [0, masks.0 & masks.1 & masks.2, masks.0, u64::MAX][usize::from(how)] & u64::MAX >> (64 - width);
        prop_assert_eq!(round_trip(|out| write_mask(mask, out), read_mask)?, mask);
        let cover = ChunkCover { uncovered: mask, settled_ticks: if mask == 0 { 0 } else { settled_ticks } };
        prop_assert_eq!(round_trip(|out| cover.write(out), ChunkCover::read)?, cover);

        let count = mask.count_ones();
        let parameter = (0..7).rev().find(|k| (1u64 << (6 - k)) > u64::from(count)).unwrap_or(0);
        let (mut sparse, mut next) = (packed_bits(count), 0);
        for slot in (0..64).filter(|slot| mask >> slot & 1 == 1) {
            sparse += ((slot - next) >> parameter) + 1 + parameter;
            next = slot + 1;
        }
        let dense = 6 + (64 - mask.leading_zeros()).max(1);
        prop_assert_eq!(mask_bits(mask), 1 + sparse.min(dense));
    }

    #[test]
    fn ghost_bodies_come_back(bodies in vec((any::<bool>(), prop_oneof![1..4u32, 1..=NetworkTick::MAX_INDEX]), 0..40)) {
        let bodies: Vec<GhostBody> = bodies
            .iter()
            .map(|(delta, age)| match delta {
                true => GhostBody::Delta { baseline_age: *age },
                false => GhostBody::Absolute { spawn_age: age - 1 },
            })
            .collect();
        let read = round_trip(
            |out| {
                let mut previous = None;
                bodies.iter().for_each(|body| write_ghost_body(out, *body, &mut previous));
            },
            |input| {
                let mut previous = None;
                bodies.iter().map(|_| read_ghost_body(input, &mut previous)).collect::<Result<Vec<_>, _>>()
            },
        )?;
        prop_assert_eq!(read, bodies);
    }

    #[test]
    fn chunk_gaps_come_back(skipped in 0..=MAX_CHUNKS, quiet in 0..=MAX_CHUNKS, from in 0..=MAX_CHUNKS) {
        let gap = ChunkGap { skipped, quiet };
        let step = ChunkStep::Gap(gap);
        prop_assert_eq!(round_trip(|out| step.write(out), ChunkStep::read)?, step);
        match gap.quiet_chunks(from) {
            Ok(quiet_chunks) => {
                prop_assert_eq!(quiet_chunks.len() as u32, quiet);
                prop_assert_eq!(quiet_chunks.start, from + skipped);
                prop_assert!(quiet_chunks.end <= MAX_CHUNKS);
            }
            Err(_) => prop_assert!(from + skipped + quiet > MAX_CHUNKS),
        }
    }
}

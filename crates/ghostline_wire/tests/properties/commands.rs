//! Section 4: commands.

use ghostline_wire::*;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::strategies::{acks, number, schema_and_rows, tick};
use crate::{config, round_trip};

proptest! {
    #![proptest_config(config())]

    #[test]
    fn command_headers_come_back(
        numbers in (any::<u8>(), any::<u16>(), number(), 0..=MAX_PREFABS),
        flags in (any::<bool>(), any::<bool>()),
        acks in proptest::option::of(acks()),
        return_time_ms in proptest::option::of(any::<u16>()),
        input_target_tick in tick(),
    ) {
        let header = CommandHeader {
            epoch: Epoch(numbers.0),
            acks,
            fresh_start: flags.0,
            local_time_ms: numbers.1,
            return_time_ms,
            interpolation_delay: numbers.2,
            prefabs_known: numbers.3,
            is_full_tick: flags.1,
            input_target_tick,
        };
        let read = round_trip(|out| header.encode(out), |input| {
            assert_eq!(input.read_u8().map(MessageKind::from_byte), Ok(Some(MessageKind::Command)));
            CommandHeader::decode(input)
        })?;
        prop_assert_eq!(read, header);
    }

    #[test]
    fn command_blocks_come_back(
        (schema, base, row) in schema_and_rows(),
        target_tick in tick(),
        ahead in -1_000..1_000i32,
        gaps in vec((prop_oneof![1..6u32, 1..100_000u32], any::<bool>()), 0..32),
        ghost in proptest::option::of((1..=MAX_GHOST_ID, tick())),
        type_index in number(),
    ) {
        let layout = RowLayout::new(&schema);
        let newest = target_tick.add(ahead.cast_unsigned());
        let mut ticks = vec![(newest, false)];
        for (gap, other) in gaps.iter().take(31) {
            ticks.push((ticks[ticks.len() - 1].0.sub(*gap), *other));
        }
        let entries: Vec<CommandEntry<'_>> =
            ticks.iter().map(|(tick, other)| CommandEntry { tick: *tick, lanes: if *other { &base } else { &row } }).collect();
        let target = match ghost {
            Some((ghost_id, spawn_tick)) => BlockTarget::Ghost { ghost_id, spawn_tick },
            None => BlockTarget::ConnectionTarget,
        };
        let (mut scratch, mut out) = (BitWriter::new(), BitWriter::new());
        let written = write_block(type_index, target, &layout, target_tick, &entries, &mut scratch, &mut out);
        if let Err(error) = written {
            prop_assert!(error.bytes > MAX_COMMAND_BLOCK_BYTES && out.bit_len() == 0);
            return Ok(());
        }
        write_blocks_end(&mut out);
        let mut input = BitReader::new(out.as_bytes());
        let mut blocks = BlockReader::new();
        let block = blocks.next_block(&mut input).expect("valid").expect("one block");
        prop_assert_eq!(block.type_index, type_index);
        let mut into = DecodedBlock::default();
        prop_assert_eq!(read_block(block.body, &layout, target_tick, &mut into), Ok(()));
        prop_assert_eq!(into.target, target);
        prop_assert_eq!(&into.entries, &ticks.iter().map(|(tick, _)| *tick).collect::<Vec<_>>());
        prop_assert_eq!(&into.lanes, &entries.iter().flat_map(|entry| entry.lanes.to_vec()).collect::<Vec<_>>());
        prop_assert!(matches!(blocks.next_block(&mut input), Ok(None)));
    }
}

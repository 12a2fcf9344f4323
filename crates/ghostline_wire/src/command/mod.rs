//! The parts of a command packet, `docs/wire-format.md` section 4: header, and blocks of commands with their redundancy.
//! The client writes one packet per tick; the server reads the header, then block by block.
//! A block knows its length, so that a reader steps over types it does not know and over malformed ones.

mod header;
mod read;
mod write;

use crate::limits::MAX_COMMAND_BLOCK_BYTES;
use crate::tick::NetworkTick;

pub use header::CommandHeader;
pub use read::{BlockReader, DecodedBlock, EntryForm, RawBlock, read_block, read_block_of};
pub use write::{BlockEntries, BlockTooLarge, CommandEntry, write_block, write_block_of, write_blocks_end};

/// Whom the commands of a block are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BlockTarget {
    /// What the connection's `CommandTarget` points to.
    #[default]
    ConnectionTarget,
    /// A ghost.
    Ghost {
        /// Its id, 1 to 4,194,304.
        ghost_id: u32,
        /// When it was spawned: an id alone may have been another's before.
        spawn_tick: NetworkTick,
    },
}

/// The most bits of a block's body.
const MAX_BODY_BITS: usize = MAX_COMMAND_BLOCK_BYTES * 8;

/// Ticks further apart than this have no order.
const MAX_AGE: u32 = (1 << 30) - 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::{BitReader, BitWriter};
    use crate::error::DecodeError;
    use crate::schema::{ComponentSchema, FieldKind, FieldSchema, RowLayout, Smoothing};

    const NOW: NetworkTick = NetworkTick::new(1);

    fn layout() -> RowLayout {
        let fields = ["horizontal", "vertical", "jump"].map(|name| FieldSchema {
            name: name.into(),
            kind: FieldKind::I32,
            quantization: 0,
            smoothing: Smoothing::Clamp,
            max_smoothing_distance: None,
        });
        RowLayout::new(&[ComponentSchema { name: "PlayerInput".into(), fields: fields.to_vec() }])
    }

    fn entry(ticks_ago: u32, lanes: &[u32]) -> CommandEntry<'_> {
        CommandEntry { tick: NOW.sub(ticks_ago), lanes }
    }

    fn write(target: BlockTarget, entries: &[CommandEntry<'_>]) -> BitWriter {
        let mut out = BitWriter::new();
        write_block(5, target, &layout(), NOW, entries, &mut BitWriter::new(), &mut out).unwrap();
        out
    }

    fn read(out: &BitWriter) -> DecodedBlock {
        let mut input = BitReader::with_bits(out.as_bytes(), out.bit_len());
        let block = BlockReader::new().next_block(&mut input).unwrap().unwrap();
        assert_eq!(block.type_index, 5);
        let mut into = DecodedBlock::default();
        read_block(block.body, &layout(), NOW, &mut into).unwrap();
        into
    }

    #[test]
    fn commands_come_back_newest_first_across_the_wrap() {
        let (a, b) = ([1, 2, 3], [1, u32::MAX, 3]);
        let ghost = BlockTarget::Ghost { ghost_id: 4_194_304, spawn_tick: NOW.sub(100) };
        for target in [BlockTarget::ConnectionTarget, ghost] {
            let entries =
                [entry(0, &a), entry(1, &a), entry(4, &b), entry(8, &a), entry(100, &a), entry(1_000_000, &b)];
            let block = read(&write(target, &entries));
            assert_eq!(block.target, target);
            assert_eq!(block.entries, entries.map(|entry| entry.tick));
            assert_eq!(block.lanes, [a, a, b, a, a, b].concat());
        }
    }

    #[test]
    fn commands_may_be_for_ticks_ahead_of_the_target() {
        let future = [CommandEntry { tick: NOW.add(7), lanes: &[0, 0, 0] }];
        assert_eq!(read(&write(BlockTarget::ConnectionTarget, &future)).entries, [NOW.add(7)]);
    }

    #[test]
    fn a_held_key_costs_three_bits_per_repetition() {
        let held = [1, 0, 0];
        let entries = [0, 1, 2, 3].map(|ago| entry(ago, &held));
        let body_bits = |entries: &[CommandEntry<'_>]| {
            let out = write(BlockTarget::ConnectionTarget, entries);
            let block = BlockReader::new().next_block(&mut BitReader::new(out.as_bytes())).unwrap().unwrap();
            block.body.remaining_bits()
        };
        assert_eq!(body_bits(&entries) - body_bits(&entries[..1]), 3 * 3);
    }

    #[test]
    fn all_32_entries_fit_and_no_more() {
        let lanes = [0, 0, 0];
        let entries: Vec<CommandEntry<'_>> = (0..40).map(|ago| entry(ago, &lanes)).collect();
        let block = read(&write(BlockTarget::ConnectionTarget, &entries));
        assert_eq!(block.entries.len(), 32);
        assert_eq!(block.lanes.len(), 32 * 3);
        assert_eq!(write(BlockTarget::ConnectionTarget, &[]).bit_len(), 0);
    }

    #[test]
    fn a_block_beyond_the_bound_writes_nothing() {
        let fields = (0..300)
            .map(|i| FieldSchema {
                name: i.to_string(),
                kind: FieldKind::F32,
                quantization: 0,
                smoothing: Smoothing::Clamp,
                max_smoothing_distance: None,
            })
            .collect();
        let layout = RowLayout::new(&[ComponentSchema { name: "Large".into(), fields }]);
        let lanes = vec![1; 300];
        let mut out = BitWriter::new();
        out.write_bits(5, 3);
        let (mut scratch, target) = (BitWriter::new(), BlockTarget::ConnectionTarget);
        let result = write_block(0, target, &layout, NOW, &[entry(0, &lanes)], &mut scratch, &mut out);
        assert_eq!(result, Err(BlockTooLarge { bytes: (8 + 300 * 33usize).div_ceil(8), limit: 1_024 }));
        assert_eq!(out.bit_len(), 3);
        let small = vec![0; 300];
        assert_eq!(write_block(0, target, &layout, NOW, &[entry(0, &small)], &mut scratch, &mut out), Ok(()));
    }

    #[test]
    fn a_block_of_exactly_the_bound_passes_both_ways() {
        let schema = |name: &str, kind, count: usize| ComponentSchema {
            name: name.into(),
            fields: vec![
                FieldSchema {
                    name: "f".into(),
                    kind,
                    quantization: 0,
                    smoothing: Smoothing::Clamp,
                    max_smoothing_distance: None,
                };
                count
            ],
        };
        // Body: 1 + 5 + 2 bits before the row; a flag for each component; 33 bits per float, 2 per bool.
        let components = |bools| [schema("Floats", FieldKind::F32, 246), schema("Bools", FieldKind::Bool, bools)];
        for (bools, fits) in [(32, true), (33, false)] {
            let layout = RowLayout::new(&components(bools));
            let lanes = vec![1; 246 + bools];
            let bits = 8 + 2 + 246 * 33 + bools * 2;
            assert_eq!(bits, if fits { MAX_BODY_BITS } else { MAX_BODY_BITS + 2 });
            let (mut scratch, mut out) = (BitWriter::new(), BitWriter::new());
            let target = BlockTarget::ConnectionTarget;
            let written = write_block(5, target, &layout, NOW, &[entry(0, &lanes)], &mut scratch, &mut out);
            assert_eq!(scratch.bit_len(), bits);
            assert_eq!(written.is_ok(), fits);
            if fits {
                let block = BlockReader::new().next_block(&mut BitReader::new(out.as_bytes())).unwrap().unwrap();
                let mut into = DecodedBlock::default();
                assert_eq!(read_block(block.body, &layout, NOW, &mut into), Ok(()));
                assert_eq!(into.lanes, lanes);
            }
        }
    }

    #[test]
    fn a_block_of_an_unknown_type_is_stepped_over() {
        let lanes = [1, 2, 3];
        let mut out = write(BlockTarget::ConnectionTarget, &[entry(0, &lanes)]);
        let mut scratch = BitWriter::new();
        let target = BlockTarget::ConnectionTarget;
        write_block(6, target, &layout(), NOW, &[entry(2, &lanes)], &mut scratch, &mut out).unwrap();
        write_blocks_end(&mut out);
        let mut input = BitReader::new(out.as_bytes());
        let mut blocks = BlockReader::new();
        assert_eq!(blocks.next_block(&mut input).unwrap().unwrap().type_index, 5);
        let second = blocks.next_block(&mut input).unwrap().unwrap();
        assert_eq!(second.type_index, 6);
        let mut into = DecodedBlock::default();
        read_block(second.body, &layout(), NOW, &mut into).unwrap();
        assert_eq!(into.entries, [NOW.sub(2)]);
        assert!(blocks.next_block(&mut input).unwrap().is_none());
        assert!(blocks.next_block(&mut input).unwrap().is_none(), "and stays at the end");
    }

    #[test]
    fn what_follows_the_last_block_is_malformed() {
        let mut input = BitReader::new(&[0b0000_0010]);
        assert_eq!(BlockReader::new().next_block(&mut input).unwrap_err(), DecodeError::BadPadding);
        let mut input = BitReader::new(&[0, 0]);
        let mut blocks = BlockReader::new();
        assert_eq!(blocks.next_block(&mut input).unwrap_err(), DecodeError::TrailingBits);
        assert!(blocks.next_block(&mut input).unwrap().is_none(), "an error ends the packet");
    }

    #[test]
    fn a_body_that_claims_too_much_is_malformed() {
        for (bits, expected) in [
            (8_193, DecodeError::LimitExceeded { what: "bits of a command block", limit: 8_192, got: 8_193 }),
            (8_192, DecodeError::UnexpectedEnd),
        ] {
            let mut out = BitWriter::new();
            out.write_bool(true);
            out.write_packed(5);
            out.write_packed(bits);
            let mut input = BitReader::new(out.as_bytes());
            assert_eq!(BlockReader::new().next_block(&mut input).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_malformed_body_leaves_nothing_behind() {
        let decode = |write: &dyn Fn(&mut BitWriter)| {
            let mut out = BitWriter::new();
            write(&mut out);
            let mut into = DecodedBlock { entries: vec![NOW], lanes: vec![1], ..DecodedBlock::default() };
            let body = BitReader::with_bits(out.as_bytes(), out.bit_len());
            let result = read_block(body, &layout(), NOW, &mut into);
            assert!(into.entries.is_empty() && into.lanes.is_empty());
            result
        };
        let bad_tick = Err(DecodeError::BadValue { what: "command tick" });
        let far_ahead = decode(&|out| {
            out.write_bits(0, 6);
            out.write_packed_signed(i32::MIN);
        });
        assert_eq!(far_ahead, bad_tick);
        for further in [1 << 30, u32::MAX] {
            let far_behind = decode(&|out| {
                out.write_bits(1 << 1, 6);
                out.write_packed_signed(0);
                out.write_bits(0, 3);
                out.write_bits(3, 2);
                out.write_packed(further);
            });
            assert_eq!(far_behind, bad_tick);
        }
        let nobody = decode(&|out| {
            out.write_bool(true);
            out.write_packed(0);
        });
        assert_eq!(nobody, Err(DecodeError::BadValue { what: "ghost id" }));
        let longer = decode(&|out| {
            out.write_bits(0, 6);
            out.write_packed_signed(0);
            out.write_bits(0, 4);
        });
        assert_eq!(longer, Err(DecodeError::TrailingBits));
        assert_eq!(decode(&|_| ()), Err(DecodeError::UnexpectedEnd));
    }
}

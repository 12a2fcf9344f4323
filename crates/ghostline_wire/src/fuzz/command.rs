//! The entry point for command packets: header, acks and blocks with their rows.
//! Every block is read with the layout that the first bytes describe, whatever its type.
//! What was read is written again and must be the same.

use super::{check_round_trip, layout_from};
use crate::{
    BitReader, BitWriter, BlockReader, CommandEntry, CommandHeader, DecodeError, DecodedBlock, MessageKind, RowLayout,
    read_block, write_block, write_blocks_end,
};

/// A command packet as its decoder sees it.
#[derive(Debug, PartialEq)]
struct Packet {
    header: CommandHeader,
    blocks: Vec<(u32, DecodedBlock)>,
}

/// A layout, then a command packet after its kind. Valid if a block in it is.
pub fn command_packet(data: &[u8]) -> bool {
    let (layout, rest) = layout_from(data);
    // Malformed blocks are left out, as a server does, and what was read before a malformed end stays good.
    let Some(packet) = decode(&layout, &mut BitReader::new(rest), |_| true) else {
        return false;
    };
    check_round_trip(
        &packet,
        |packet, out| encode(packet, &layout, out),
        |input| {
            assert_eq!(input.read_u8(), Ok(MessageKind::Command.byte()));
            decode(&layout, input, |_| false).ok_or(DecodeError::BadValue { what: "packet" })
        },
    );
    !packet.blocks.is_empty()
}

fn decode(layout: &RowLayout, input: &mut BitReader<'_>, forgive: impl Fn(DecodeError) -> bool) -> Option<Packet> {
    let header = CommandHeader::decode(input).ok()?;
    let mut blocks = Vec::new();
    let mut reader = BlockReader::new();
    loop {
        match reader.next_block(input) {
            Ok(Some(block)) => {
                let mut into = DecodedBlock::default();
                match read_block(block.body, layout, header.input_target_tick, &mut into) {
                    Ok(()) => blocks.push((block.type_index, into)),
                    Err(error) => {
                        assert!(into.entries.is_empty() && into.lanes.is_empty());
                        assert!(forgive(error), "a block that was read before is malformed: {error}");
                    }
                }
            }
            Ok(None) => return Some(Packet { header, blocks }),
            Err(error) => {
                assert!(forgive(error), "a packet that was read before is malformed: {error}");
                return Some(Packet { header, blocks });
            }
        }
    }
}

fn encode(packet: &Packet, layout: &RowLayout, out: &mut BitWriter) {
    packet.header.encode(out);
    let mut scratch = BitWriter::new();
    for (type_index, block) in &packet.blocks {
        let mut lanes = block.lanes.as_slice();
        let entries: Vec<CommandEntry<'_>> = block
            .entries
            .iter()
            .map(|tick| CommandEntry { tick: *tick, lanes: lanes.split_off(..layout.lanes()).unwrap_or(&[]) })
            .collect();
        assert!((1..=32).contains(&entries.len()) && lanes.is_empty());
        let target = packet.header.input_target_tick;
        let written = write_block(*type_index, block.target, layout, target, &entries, &mut scratch, out);
        // The writer's choices are the smallest ones, so that what fitted once fits again.
        assert_eq!(written, Ok(()));
    }
    write_blocks_end(out);
}

//! The client's half: blocks of commands, the newest whole and the others against it.

use core::error::Error;
use core::fmt;

use super::{BlockTarget, MAX_BODY_BITS};
use crate::bits::BitWriter;
use crate::limits::{MAX_COMMAND_BLOCK_BYTES, MAX_COMMAND_ENTRIES};
use crate::row::encode_row;
use crate::schema::RowLayout;
use crate::tick::NetworkTick;

/// One command of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandEntry<'a> {
    /// The tick that it is for.
    pub tick: NetworkTick,
    /// Its lanes.
    pub lanes: &'a [u32],
}

/// The body of a command block is larger than one may be. Nothing of it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockTooLarge {
    /// Bytes of the body.
    pub bytes: usize,
    /// Bytes that a body may have, [`MAX_COMMAND_BLOCK_BYTES`].
    pub limit: usize,
}

impl fmt::Display for BlockTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a command block of {} bytes is above the limit of {}", self.bytes, self.limit)
    }
}

impl Error for BlockTooLarge {}

/// The commands of a block, as their writer has them: 1 to 32, newest first, at different ticks.
pub trait BlockEntries {
    /// How many there are.
    fn count(&self) -> usize;

    /// The tick of the entry with this number.
    fn tick(&self, index: usize) -> NetworkTick;

    /// Writes the newest entry.
    fn write_newest(&self, out: &mut BitWriter);

    /// Whether two entries are the same.
    fn are_same(&self, index: usize, other: usize) -> bool;

    /// Writes an older entry, against the newest.
    fn write_older(&self, index: usize, out: &mut BitWriter);
}

/// Commands that are rows.
struct Rows<'a> {
    layout: &'a RowLayout,
    entries: &'a [CommandEntry<'a>],
}

impl Rows<'_> {
    fn lanes(&self, index: usize) -> &[u32] {
        self.entries.get(index).map_or(&[], |entry| entry.lanes)
    }
}

impl BlockEntries for Rows<'_> {
    fn count(&self) -> usize {
        self.entries.len()
    }

    fn tick(&self, index: usize) -> NetworkTick {
        self.entries.get(index).map_or(NetworkTick::new(0), |entry| entry.tick)
    }

    fn write_newest(&self, out: &mut BitWriter) {
        encode_row(self.layout, self.lanes(0), None, out);
    }

    fn are_same(&self, index: usize, other: usize) -> bool {
        self.lanes(index) == self.lanes(other)
    }

    fn write_older(&self, index: usize, out: &mut BitWriter) {
        encode_row(self.layout, self.lanes(index), Some(self.lanes(0)), out);
    }
}

/// Writes a block of rows, with the bit before it: 1 to 32 entries, newest first, at different ticks.
///
/// `scratch` is overwritten. No entries write nothing; those after the 32nd are left out.
///
/// # Errors
/// [`BlockTooLarge`] if the body has more than 1,024 bytes. Nothing is written then.
pub fn write_block(
    type_index: u32,
    target: BlockTarget,
    layout: &RowLayout,
    input_target_tick: NetworkTick,
    entries: &[CommandEntry<'_>],
    scratch: &mut BitWriter,
    out: &mut BitWriter,
) -> Result<(), BlockTooLarge> {
    write_block_of(type_index, target, input_target_tick, &Rows { layout, entries }, scratch, out)
}

/// Writes a block of commands of any kind, as [`write_block`] does with rows.
///
/// # Errors
/// [`BlockTooLarge`] if the body has more than 1,024 bytes. Nothing is written then.
pub fn write_block_of(
    type_index: u32,
    target: BlockTarget,
    input_target_tick: NetworkTick,
    entries: &impl BlockEntries,
    scratch: &mut BitWriter,
    out: &mut BitWriter,
) -> Result<(), BlockTooLarge> {
    let count = entries.count().min(MAX_COMMAND_ENTRIES as usize);
    let Some(older) = count.checked_sub(1) else {
        return Ok(());
    };
    scratch.clear();
    write_target(target, scratch);
    scratch.write_bits(older as u32, 5);
    scratch.write_packed_signed(entries.tick(0).ticks_since(input_target_tick));
    entries.write_newest(scratch);

    for index in 1..count {
        let newer = index.saturating_sub(1);
        write_tick_before(entries.tick(newer), entries.tick(index), scratch);
        let changed = !entries.are_same(index, newer);
        scratch.write_bool(changed);
        if changed {
            entries.write_older(index, scratch);
        }
    }

    if scratch.bit_len() > MAX_BODY_BITS {
        return Err(BlockTooLarge { bytes: scratch.byte_len(), limit: MAX_COMMAND_BLOCK_BYTES });
    }
    out.write_bool(true);
    out.write_packed(type_index);
    out.write_packed(scratch.bit_len() as u32);
    out.append_bits(scratch.as_bytes(), scratch.bit_len());
    Ok(())
}

/// Writes the bit after the last block, which ends the packet.
pub fn write_blocks_end(out: &mut BitWriter) {
    out.write_bool(false);
}

fn write_target(target: BlockTarget, out: &mut BitWriter) {
    match target {
        BlockTarget::ConnectionTarget => out.write_bool(false),
        BlockTarget::Ghost { ghost_id, spawn_tick } => {
            out.write_bool(true);
            out.write_packed(ghost_id);
            out.write_tick(spawn_tick);
        }
    }
}

/// Writes a tick by its distance to the one of the entry before: mostly one tick.
fn write_tick_before(previous: NetworkTick, tick: NetworkTick, out: &mut BitWriter) {
    debug_assert!(tick.is_older_than(previous), "entries go newest to oldest");
    let age = previous.sub(tick.index()).index();
    match age.checked_sub(4) {
        Some(further) => {
            out.write_bits(3, 2);
            out.write_packed(further);
        }
        None => out.write_bits(age.saturating_sub(1), 2),
    }
}

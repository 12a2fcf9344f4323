//! The server's half: block by block, and the commands of those whose type is known. Total: any bytes end in commands or an error.

use super::{BlockTarget, MAX_AGE, MAX_BODY_BITS};
use crate::bits::BitReader;
use crate::error::DecodeError;
use crate::row::decode_row;
use crate::schema::RowLayout;
use crate::snapshot::check_ghost_id;
use crate::tick::NetworkTick;

/// A block whose body was not looked at yet.
#[derive(Clone, Debug)]
pub struct RawBlock<'a> {
    /// The type of its commands.
    pub type_index: u32,
    /// Its body, for [`read_block`].
    pub body: BitReader<'a>,
}

/// Steps through the blocks of a command packet. What is in them does not matter for that.
#[derive(Clone, Copy, Debug, Default)]
pub struct BlockReader {
    ended: bool,
}

impl BlockReader {
    /// Begins after the header.
    #[must_use]
    pub const fn new() -> Self {
        Self { ended: false }
    }

    /// The next block; `None` at the end of the packet, and after an error.
    ///
    /// # Errors
    /// [`DecodeError::LimitExceeded`] for a body of more than 1,024 bytes, [`DecodeError::TrailingBits`] or
    /// [`DecodeError::BadPadding`] if something follows the last block, and what reading bits can end in.
    /// Blocks read before remain good.
    pub fn next_block<'a>(&mut self, input: &mut BitReader<'a>) -> Result<Option<RawBlock<'a>>, DecodeError> {
        if self.ended {
            return Ok(None);
        }
        // Only a whole block leaves this off.
        self.ended = true;
        if !input.read_bool()? {
            input.expect_end()?;
            return Ok(None);
        }
        let type_index = input.read_packed()?;
        let bits = input.read_packed()?;
        let bits = DecodeError::check_limit("bits of a command block", MAX_BODY_BITS as u32, bits)?;
        let body = input.read_sub(bits as usize)?;
        self.ended = false;
        Ok(Some(RawBlock { type_index, body }))
    }
}

/// The commands of a block. Kept and reused by the reader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DecodedBlock {
    /// Whom they are for.
    pub target: BlockTarget,
    /// Their ticks, newest to oldest, each older than the one before; 1 to 32.
    pub entries: Vec<NetworkTick>,
    /// Their lanes, one row after the other, in the same order.
    pub lanes: Vec<u32>,
}

/// Reads the body of a block into `into`, which is emptied before.
///
/// # Errors
/// [`DecodeError::BadValue`] for ghost 0 and for ticks that are too far apart to have an order,
/// [`DecodeError::LimitExceeded`] for a ghost id beyond the last chunk, [`DecodeError::TrailingBits`] if the body is longer
/// than its entries, and what rows and reading bits can end in. `into` is empty then.
pub fn read_block(
    body: BitReader<'_>,
    layout: &RowLayout,
    input_target_tick: NetworkTick,
    into: &mut DecodedBlock,
) -> Result<(), DecodeError> {
    let DecodedBlock { target, entries, lanes } = into;
    entries.clear();
    lanes.clear();
    let count = layout.lanes();
    let result = read_block_of(body, input_target_tick, |form, tick, input| {
        entries.push(tick);
        let end = lanes.len();
        lanes.resize(end.saturating_add(count), 0);
        let Some((before, row)) = lanes.split_at_mut_checked(end) else {
            return Ok(());
        };
        match form {
            EntryForm::Newest => decode_row(layout, None, row, input)?,
            EntryForm::Older => decode_row(layout, before.get(..count), row, input)?,
            EntryForm::SameAsNewer => {
                if let Some(newer) = before.get(end.saturating_sub(count)..) {
                    row.copy_from_slice(newer);
                }
            }
        }
        Ok(())
    });
    match result {
        Ok(found) => {
            *target = found;
            Ok(())
        }
        Err(error) => {
            entries.clear();
            lanes.clear();
            Err(error)
        }
    }
}

/// How an entry of a block is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryForm {
    /// The first, for itself.
    Newest,
    /// Against the newest.
    Older,
    /// Not at all: it is the same as the entry before it.
    SameAsNewer,
}

/// Reads the body of a block of commands of any kind: `entry` is called for each, newest to oldest, with its tick and the reader that stands where its
/// bits begin. Returns whom they are for.
///
/// # Errors
/// As [`read_block`], and what `entry` ends in. Entries were seen before an error then: they are not to be used.
pub fn read_block_of(
    mut body: BitReader<'_>,
    input_target_tick: NetworkTick,
    mut entry: impl FnMut(EntryForm, NetworkTick, &mut BitReader<'_>) -> Result<(), DecodeError>,
) -> Result<BlockTarget, DecodeError> {
    let body = &mut body;
    let target = read_target(body)?;
    let older = body.read_bits(5)?;
    let ahead = body.read_packed_signed()?;
    if ahead.unsigned_abs() > MAX_AGE {
        return Err(DecodeError::BadValue { what: "command tick" });
    }
    let newest = input_target_tick.add(ahead.cast_unsigned());
    entry(EntryForm::Newest, newest, body)?;

    let mut age = 0u32;
    for _ in 0..older {
        age = age.saturating_add(read_tick_distance(body)?);
        if age > MAX_AGE {
            return Err(DecodeError::BadValue { what: "command tick" });
        }
        let form = if body.read_bool()? { EntryForm::Older } else { EntryForm::SameAsNewer };
        entry(form, newest.sub(age), body)?;
    }
    if body.is_empty() { Ok(target) } else { Err(DecodeError::TrailingBits) }
}

fn read_target(input: &mut BitReader<'_>) -> Result<BlockTarget, DecodeError> {
    Ok(if input.read_bool()? {
        BlockTarget::Ghost { ghost_id: check_ghost_id(input.read_packed()?)?, spawn_tick: input.read_tick()? }
    } else {
        BlockTarget::ConnectionTarget
    })
}

/// Reads how many ticks an entry is older than the one before, 1 or more.
fn read_tick_distance(input: &mut BitReader<'_>) -> Result<u32, DecodeError> {
    Ok(match input.read_bits(2)? {
        3 => input.read_packed()?.saturating_add(4),
        distance => distance.saturating_add(1),
    })
}

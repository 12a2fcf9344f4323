//! The parts of a command packet, `docs/wire-format.md` section 4: header, and blocks of commands with their redundancy.
//! The client writes one packet per tick; the server reads the header, then block by block.
//! A block knows its length, so that a reader steps over types it does not know and over malformed ones.

use core::error::Error;
use core::fmt;

use crate::ack::{Epoch, SnapshotAcks};
use crate::bits::{BitReader, BitWriter};
use crate::error::DecodeError;
use crate::limits::{MAX_COMMAND_BLOCK_BYTES, MAX_COMMAND_ENTRIES, MAX_PREFABS};
use crate::packet::MessageKind;
use crate::row::{decode_row, encode_row};
use crate::schema::RowLayout;
use crate::snapshot::{check_ghost_id, read_return_time, write_return_time};
use crate::tick::NetworkTick;

/// What stands at the begin of every command packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandHeader {
    /// The epoch of the snapshots acknowledged.
    pub epoch: Epoch,
    /// Which snapshot packets arrived; `None` until the first of the epoch.
    pub acks: Option<SnapshotAcks>,
    /// The client's state is unusable; the server shall begin a new epoch.
    pub fresh_start: bool,
    /// The client's clock, in ms, the low 16 bits.
    pub local_time_ms: u16,
    /// The newest time that the client has from the server, plus the ms it was held; `None` before the first.
    pub return_time_ms: Option<u16>,
    /// How far behind the newest snapshot the client shows interpolated ghosts, in ticks.
    pub interpolation_delay: u32,
    /// How many ghost types the client knows, without a hole from the first on; at most 4,096.
    pub prefabs_known: u32,
    /// Whether the tick below is simulated in full; if not, it has only begun.
    pub is_full_tick: bool,
    /// The tick that the newest commands are for.
    pub input_target_tick: NetworkTick,
}

impl CommandHeader {
    /// Writes the kind of the message and the header.
    pub fn encode(&self, out: &mut BitWriter) {
        out.write_u8(MessageKind::Command.byte());
        out.write_u8(self.epoch.0);
        out.write_bool(self.acks.is_some());
        if let Some(acks) = &self.acks {
            acks.encode(out);
        }
        out.write_bool(self.fresh_start);
        out.write_u16(self.local_time_ms);
        write_return_time(self.return_time_ms, out);
        out.write_packed(self.interpolation_delay);
        out.write_packed(self.prefabs_known);
        out.write_bool(self.is_full_tick);
        out.write_tick(self.input_target_tick);
    }

    /// Reads a header; the kind of the message was read before.
    ///
    /// # Errors
    /// [`DecodeError::LimitExceeded`] for more than 4,096 known prefabs, and what the ack block and reading bits can
    /// end in.
    pub fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            epoch: Epoch(input.read_u8()?),
            acks: if input.read_bool()? { Some(SnapshotAcks::decode(input)?) } else { None },
            fresh_start: input.read_bool()?,
            local_time_ms: input.read_u16()?,
            return_time_ms: read_return_time(input)?,
            interpolation_delay: input.read_packed()?,
            prefabs_known: DecodeError::check_limit("prefabs known", MAX_PREFABS, input.read_packed()?)?,
            is_full_tick: input.read_bool()?,
            input_target_tick: input.read_tick()?,
        })
    }
}

/// One command of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandEntry<'a> {
    /// The tick that it is for.
    pub tick: NetworkTick,
    /// Its lanes.
    pub lanes: &'a [u32],
}

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

/// The most bits of a block's body.
const MAX_BODY_BITS: usize = MAX_COMMAND_BLOCK_BYTES * 8;

/// Ticks further apart than this have no order.
const MAX_AGE: u32 = (1 << 30) - 1;

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

fn read_target(input: &mut BitReader<'_>) -> Result<BlockTarget, DecodeError> {
    Ok(if input.read_bool()? {
        BlockTarget::Ghost { ghost_id: check_ghost_id(input.read_packed()?)?, spawn_tick: input.read_tick()? }
    } else {
        BlockTarget::ConnectionTarget
    })
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

/// Reads how many ticks an entry is older than the one before, 1 or more.
fn read_tick_distance(input: &mut BitReader<'_>) -> Result<u32, DecodeError> {
    Ok(match input.read_bits(2)? {
        3 => input.read_packed()?.saturating_add(4),
        distance => distance.saturating_add(1),
    })
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ack::{PacketSequence, ReceivedPackets};
    use crate::schema::{ComponentSchema, FieldKind, FieldSchema, Smoothing};

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
    fn a_header_comes_back_after_its_kind() {
        let mut packets = ReceivedPackets::new();
        packets.receive(PacketSequence(4));
        let header = CommandHeader {
            epoch: Epoch(9),
            acks: packets.acks(),
            fresh_start: false,
            local_time_ms: 1,
            return_time_ms: Some(65_535),
            interpolation_delay: 2,
            prefabs_known: 4_096,
            is_full_tick: true,
            input_target_tick: NOW,
        };
        for header in [header, CommandHeader { acks: None, fresh_start: true, return_time_ms: None, ..header }] {
            let mut out = BitWriter::new();
            header.encode(&mut out);
            let mut input = BitReader::with_bits(out.as_bytes(), out.bit_len());
            assert_eq!(input.read_u8(), Ok(MessageKind::Command.byte()));
            assert_eq!(CommandHeader::decode(&mut input), Ok(header));
            assert!(input.is_empty());
        }
        let mut out = BitWriter::new();
        CommandHeader { prefabs_known: 4_097, ..header }.encode(&mut out);
        let result = CommandHeader::decode(&mut BitReader::new(&out.as_bytes()[1..]));
        assert_eq!(result, Err(DecodeError::LimitExceeded { what: "prefabs known", limit: 4_096, got: 4_097 }));
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

//! How the commands of a buffer become a block of a packet, and come back: as rows of lanes, or in bits that the type brings itself.

use ghostline_wire::{
    BitReader, BitWriter, BlockEntries, BlockTarget, BlockTooLarge, CommandEntry, DecodeError, DecodedBlock, EntryForm,
    NetworkTick, RowLayout, limits, read_block, read_block_of, write_block, write_block_of,
};

use super::buffer::CommandBuffer;
use super::data::{CommandCodec, CommandData, CommandValue};
use super::registry::BlockRequest;

/// A command that has lain for so long was sent often enough.
const STALE_TICKS: i32 = 64;

/// Writes and reads the commands of a type.
pub(super) trait CommandCoder<T: CommandValue>: Send + Sync + 'static {
    /// Appends a block; nothing, if there is nothing to send.
    fn write(
        &mut self,
        buffer: &CommandBuffer<T>,
        request: &BlockRequest,
        scratch: &mut BitWriter,
        out: &mut BitWriter,
    ) -> Result<(), BlockTooLarge>;

    /// Reads a block, newest first, into `commands`, which is emptied before. They are not to be used after an error.
    fn read(
        &mut self,
        body: BitReader<'_>,
        input_target_tick: NetworkTick,
        commands: &mut Vec<(NetworkTick, T)>,
    ) -> Result<BlockTarget, DecodeError>;
}

/// The commands to send: the newest and its predecessors, without holes; none, if the newest is old.
fn to_send<'a, T: CommandValue>(
    buffer: &'a CommandBuffer<T>,
    request: &BlockRequest,
) -> impl Iterator<Item = (NetworkTick, &'a T)> {
    let newest = buffer.get_at_tick(request.input_target_tick);
    let target = request.input_target_tick;
    let newest = newest.filter(|(tick, _)| target.ticks_since(*tick) < STALE_TICKS);
    std::iter::successors(newest, |(tick, _)| buffer.get_at_tick(tick.prev())).take(request.count as usize)
}

/// Commands as rows.
pub(super) struct RowCoder {
    layout: RowLayout,
    ticks: Vec<NetworkTick>,
    lanes: Vec<u32>,
    block: DecodedBlock,
}

impl RowCoder {
    pub(super) fn of<T: CommandData>() -> Self {
        let layout = RowLayout::new(&[T::schema()]);
        Self { layout, ticks: Vec::new(), lanes: Vec::new(), block: DecodedBlock::default() }
    }
}

impl<T: CommandData> CommandCoder<T> for RowCoder {
    fn write(
        &mut self,
        buffer: &CommandBuffer<T>,
        request: &BlockRequest,
        scratch: &mut BitWriter,
        out: &mut BitWriter,
    ) -> Result<(), BlockTooLarge> {
        self.ticks.clear();
        self.lanes.clear();
        for (tick, command) in to_send(buffer, request) {
            self.ticks.push(tick);
            let start = self.lanes.len();
            self.lanes.resize(start + T::LANES, 0);
            command.write_lanes(self.lanes.get_mut(start..).unwrap_or_default());
        }
        let mut entries =
            [CommandEntry { tick: request.input_target_tick, lanes: &[] }; limits::MAX_COMMAND_ENTRIES as usize];
        let used = self.ticks.len().min(entries.len());
        for (place, (&tick, entry)) in self.ticks.iter().zip(&mut entries).enumerate() {
            let lanes = self.lanes.get(place * T::LANES..(place + 1) * T::LANES).unwrap_or_default();
            *entry = CommandEntry { tick, lanes };
        }
        write_block(
            request.type_index,
            request.target,
            &self.layout,
            request.input_target_tick,
            entries.get(..used).unwrap_or_default(),
            scratch,
            out,
        )
    }

    fn read(
        &mut self,
        body: BitReader<'_>,
        input_target_tick: NetworkTick,
        commands: &mut Vec<(NetworkTick, T)>,
    ) -> Result<BlockTarget, DecodeError> {
        commands.clear();
        read_block(body, &self.layout, input_target_tick, &mut self.block)?;
        for (index, &tick) in self.block.entries.iter().enumerate() {
            let lanes = self.block.lanes.get(index * T::LANES..(index + 1) * T::LANES).unwrap_or_default();
            commands.push((tick, T::read_lanes(lanes)));
        }
        Ok(self.block.target)
    }
}

/// Commands in their own bits.
pub(super) struct OwnCoder<T> {
    entries: Entries<T>,
}

struct Entries<T>(Vec<(NetworkTick, T)>);

impl<T> Default for OwnCoder<T> {
    fn default() -> Self {
        Self { entries: Entries(Vec::new()) }
    }
}

impl<T: CommandCodec> Entries<T> {
    fn pair(&self, index: usize) -> Option<(&T, &T)> {
        Some((&self.0.get(index)?.1, &self.0.first()?.1))
    }
}

impl<T: CommandCodec> BlockEntries for Entries<T> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn tick(&self, index: usize) -> NetworkTick {
        self.0.get(index).map_or(NetworkTick::new(0), |(tick, _)| *tick)
    }

    fn write_newest(&self, out: &mut BitWriter) {
        if let Some((_, newest)) = self.0.first() {
            newest.encode(out);
        }
    }

    fn are_same(&self, index: usize, other: usize) -> bool {
        self.0.get(index).map(|(_, command)| command) == self.0.get(other).map(|(_, command)| command)
    }

    fn write_older(&self, index: usize, out: &mut BitWriter) {
        if let Some((command, newest)) = self.pair(index) {
            command.encode_delta(newest, out);
        }
    }
}

impl<T: CommandCodec> CommandCoder<T> for OwnCoder<T> {
    fn write(
        &mut self,
        buffer: &CommandBuffer<T>,
        request: &BlockRequest,
        scratch: &mut BitWriter,
        out: &mut BitWriter,
    ) -> Result<(), BlockTooLarge> {
        self.entries.0.clear();
        self.entries.0.extend(to_send(buffer, request).map(|(tick, command)| (tick, command.clone())));
        write_block_of(request.type_index, request.target, request.input_target_tick, &self.entries, scratch, out)
    }

    fn read(
        &mut self,
        body: BitReader<'_>,
        input_target_tick: NetworkTick,
        commands: &mut Vec<(NetworkTick, T)>,
    ) -> Result<BlockTarget, DecodeError> {
        commands.clear();
        read_block_of(body, input_target_tick, |form, tick, input| {
            let command = match (form, commands.first(), commands.last()) {
                (EntryForm::Older, Some((_, newest)), _) => T::decode_delta(newest, input)?,
                (EntryForm::SameAsNewer, _, Some((_, newer))) => newer.clone(),
                _ => T::decode(input)?,
            };
            commands.push((tick, command));
            Ok(())
        })
    }
}

//! Client: the newest commands of a buffer, with their predecessors, as a block of a packet.

use ghostline_wire::{
    BitWriter, BlockEntries, BlockTooLarge, CommandEntry, NetworkTick, limits, write_block, write_block_of,
};

use super::super::buffer::CommandBuffer;
use super::super::data::{CommandCodec, CommandData, CommandValue};
use super::super::registry::BlockRequest;
use super::{OwnCoder, RowCoder};

/// Writes the commands of a type.
pub(in crate::command) trait CommandWriter<T: CommandValue> {
    /// Appends a block; nothing, if there is nothing to send.
    fn write(
        &mut self,
        buffer: &CommandBuffer<T>,
        request: &BlockRequest,
        scratch: &mut BitWriter,
        out: &mut BitWriter,
    ) -> Result<(), BlockTooLarge>;
}

/// A command that has lain for so long was sent often enough.
const STALE_TICKS: i32 = 64;

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

/// The rows of a block, newest first.
#[derive(Default)]
pub(super) struct WrittenRows {
    ticks: Vec<NetworkTick>,
    lanes: Vec<u32>,
}

impl<T: CommandData> CommandWriter<T> for RowCoder {
    fn write(
        &mut self,
        buffer: &CommandBuffer<T>,
        request: &BlockRequest,
        scratch: &mut BitWriter,
        out: &mut BitWriter,
    ) -> Result<(), BlockTooLarge> {
        self.written.ticks.clear();
        self.written.lanes.clear();
        for (tick, command) in to_send(buffer, request) {
            self.written.ticks.push(tick);
            let start = self.written.lanes.len();
            self.written.lanes.resize(start + T::LANES, 0);
            command.write_lanes(self.written.lanes.get_mut(start..).unwrap_or_default());
        }
        let mut entries =
            [CommandEntry { tick: request.input_target_tick, lanes: &[] }; limits::MAX_COMMAND_ENTRIES as usize];
        let used = self.written.ticks.len().min(entries.len());
        for (place, (&tick, entry)) in self.written.ticks.iter().zip(&mut entries).enumerate() {
            let lanes = self.written.lanes.get(place * T::LANES..(place + 1) * T::LANES).unwrap_or_default();
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
}

/// The commands of a block, newest first.
pub(super) struct Entries<T>(Vec<(NetworkTick, T)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
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

impl<T: CommandCodec> CommandWriter<T> for OwnCoder<T> {
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
}

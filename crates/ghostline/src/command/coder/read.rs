//! Server: the commands in a block of a packet.

use ghostline_wire::{BitReader, BlockTarget, DecodeError, EntryForm, NetworkTick, read_block, read_block_of};

use super::super::data::{CommandCodec, CommandData, CommandValue};
use super::{OwnCoder, RowCoder};

/// Reads the commands of a type.
pub(in crate::command) trait CommandReader<T: CommandValue> {
    /// Reads a block, newest first, into `commands`, which is emptied before. They are not to be used after an error.
    fn read(
        &mut self,
        body: BitReader<'_>,
        input_target_tick: NetworkTick,
        commands: &mut Vec<(NetworkTick, T)>,
    ) -> Result<BlockTarget, DecodeError>;
}

impl<T: CommandData> CommandReader<T> for RowCoder {
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

impl<T: CommandCodec> CommandReader<T> for OwnCoder<T> {
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

//! The header of a command packet: what the client acknowledges and has, and the tick that its commands are for.

use crate::ack::{Epoch, SnapshotAcks};
use crate::bits::{BitReader, BitWriter};
use crate::error::DecodeError;
use crate::limits::MAX_PREFABS;
use crate::packet::MessageKind;
use crate::snapshot::{read_return_time, write_return_time};
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ack::{PacketSequence, ReceivedPackets};

    const NOW: NetworkTick = NetworkTick::new(1);

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
}

//! The header of a snapshot packet, `docs/wire-format.md` section 5: whose state this is, and the clock that rides along.
//! Written by the server's encoder ahead of everything else, read by the client before it decides what to do with the rest.

use crate::ack::{Epoch, PacketSequence};
use crate::bits::{BitReader, BitWriter};
use crate::error::DecodeError;
use crate::limits::MAX_BATCH_LENGTH;
use crate::packet::MessageKind;
use crate::tick::NetworkTick;

/// What stands at the begin of every snapshot packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The packet's number in its epoch.
    pub sequence: PacketSequence,
    /// The epoch that everything in the packet belongs to.
    pub epoch: Epoch,
    /// The tick whose state this is.
    pub server_tick: NetworkTick,
    /// Ticks merged into the step that ended with this tick, 1 to 16.
    pub batch_length: u32,
    /// What is said once per tick: in its first packet.
    pub clock: Option<SnapshotClock>,
    /// Whether prefabs and despawns follow.
    pub has_lists: bool,
}

/// What the first packet of a tick says besides the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotClock {
    /// The server's clock, in ms, the low 16 bits.
    pub local_time_ms: u16,
    /// The newest time that the server has from the client, plus the ms it was held; `None` before the first.
    pub return_time_ms: Option<u16>,
    /// How late commands come, in 1/256 tick; negative if they come early.
    pub command_age: i32,
    /// Ghosts that the client is to have, for showing progress; `None`: as many as it was told.
    pub relevant_ghosts: Option<u32>,
}

impl SnapshotHeader {
    /// Writes the kind of the message and the header. A batch length out of its range is brought into it.
    pub fn encode(&self, out: &mut BitWriter) {
        out.write_u8(MessageKind::Snapshot.byte());
        out.write_u16(self.sequence.0);
        out.write_u8(self.epoch.0);
        out.write_tick(self.server_tick);
        let batch_length = self.batch_length.clamp(1, MAX_BATCH_LENGTH);
        out.write_packed(batch_length.saturating_sub(1));
        out.write_bool(self.clock.is_some());
        if let Some(clock) = &self.clock {
            clock.encode(out);
        }
        out.write_bool(self.has_lists);
    }

    /// Reads a header; the kind of the message was read before.
    ///
    /// # Errors
    /// [`DecodeError::LimitExceeded`] for a batch of more than 16 ticks, and what reading bits can end in.
    pub fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            sequence: PacketSequence(input.read_u16()?),
            epoch: Epoch(input.read_u8()?),
            server_tick: input.read_tick()?,
            batch_length: DecodeError::check_limit(
                "batch length",
                MAX_BATCH_LENGTH,
                input.read_packed()?.saturating_add(1),
            )?,
            clock: if input.read_bool()? { Some(SnapshotClock::decode(input)?) } else { None },
            has_lists: input.read_bool()?,
        })
    }
}

impl SnapshotClock {
    fn encode(&self, out: &mut BitWriter) {
        out.write_u16(self.local_time_ms);
        write_return_time(self.return_time_ms, out);
        out.write_packed_signed(self.command_age);
        out.write_bool(self.relevant_ghosts.is_some());
        if let Some(ghosts) = self.relevant_ghosts {
            out.write_packed(ghosts);
        }
    }

    fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            local_time_ms: input.read_u16()?,
            return_time_ms: read_return_time(input)?,
            command_age: input.read_packed_signed()?,
            relevant_ghosts: if input.read_bool()? { Some(input.read_packed()?) } else { None },
        })
    }
}

/// Writes the return time of either header: a bit, and the time if there is one.
pub(crate) fn write_return_time(return_time_ms: Option<u16>, out: &mut BitWriter) {
    out.write_bool(return_time_ms.is_some());
    if let Some(time) = return_time_ms {
        out.write_u16(time);
    }
}

/// Reads what [`write_return_time`] wrote.
pub(crate) fn read_return_time(input: &mut BitReader<'_>) -> Result<Option<u16>, DecodeError> {
    Ok(if input.read_bool()? { Some(input.read_u16()?) } else { None })
}

#[cfg(test)]
mod tests {
    use super::super::read_back;
    use super::*;

    fn clock() -> SnapshotClock {
        SnapshotClock {
            local_time_ms: 12_345,
            return_time_ms: Some(54_321),
            command_age: -384,
            relevant_ghosts: Some(10_000),
        }
    }

    fn header() -> SnapshotHeader {
        SnapshotHeader {
            sequence: PacketSequence(65_535),
            epoch: Epoch(3),
            server_tick: NetworkTick::new(1_000),
            batch_length: 4,
            clock: Some(clock()),
            has_lists: true,
        }
    }

    #[test]
    fn a_header_comes_back_after_its_kind() {
        let bare = SnapshotClock { return_time_ms: None, relevant_ghosts: None, ..clock() };
        for header in [
            header(),
            SnapshotHeader { batch_length: 16, clock: Some(bare), ..header() },
            SnapshotHeader { clock: None, has_lists: false, ..header() },
        ] {
            let result = read_back(
                |out| header.encode(out),
                |input| {
                    assert_eq!(input.read_u8(), Ok(MessageKind::Snapshot.byte()));
                    SnapshotHeader::decode(input)
                },
            );
            assert_eq!(result, Ok(header));
        }
    }

    #[test]
    fn a_batch_beyond_the_bound_is_malformed() {
        let result = read_back(
            |out| {
                out.write_bits(0, 24);
                out.write_tick(NetworkTick::new(1));
                out.write_packed(16);
            },
            SnapshotHeader::decode,
        );
        assert_eq!(result, Err(DecodeError::LimitExceeded { what: "batch length", limit: 16, got: 17 }));
    }
}

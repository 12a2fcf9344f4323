//! RPC packets, `docs/wire-format.md` section 3: frames of a type and a payload, one after the other.
//! The send queue appends frames until a packet is full; the receiver validates a packet whole before anything in it runs.
//! Payloads begin on a byte; what is in them the RPC's own codec knows.

use core::error::Error;
use core::fmt;

use crate::ack::PacketSequence;
use crate::bits::BitReader;
use crate::error::DecodeError;
use crate::handshake::internal_rpc::FIRST_GAME_RPC;
use crate::limits::{MAX_RPC_FRAMES_PER_PACKET, MAX_RPC_PAYLOAD_BYTES};
use crate::packet::MessageKind;

/// The most bits of a payload. They fit into the frame's `u16`.
const MAX_PAYLOAD_BITS: usize = MAX_RPC_PAYLOAD_BYTES * 8;

/// Bytes of an unreliable RPC packet before its frames.
pub const UNRELIABLE_RPC_HEADER_BYTES: usize = 3;

/// How a frame names its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RpcName {
    /// Its number: 0 to 15 internal, from 16 on the game's.
    Index(u16),
    /// Its id, for collections that are not the same on both sides: see [`id_of`](Self::id_of).
    Id(u64),
}

impl RpcName {
    /// No number of an internal RPC begins as an id does.
    const ID_BIT: u64 = 1 << 15;

    /// The id of the RPC whose text has this hash.
    #[must_use]
    pub const fn id_of(hash: u64) -> Self {
        Self::Id(hash | Self::ID_BIT)
    }

    /// Bytes of a frame with this name before its payload: 4, or 10.
    #[must_use]
    pub const fn header_bytes(self) -> usize {
        match self {
            Self::Index(_) => 4,
            Self::Id(_) => 10,
        }
    }

    /// The name at the beginning of a frame, and what follows it. The game's RPCs are named as `naming` says.
    fn read(bytes: &[u8], naming: RpcNaming) -> Result<(Self, &[u8]), DecodeError> {
        let (index, rest) = bytes.split_first_chunk().ok_or(DecodeError::UnexpectedEnd)?;
        let index = u16::from_le_bytes(*index);
        if naming == RpcNaming::Index || index < FIRST_GAME_RPC {
            return Ok((Self::Index(index), rest));
        }
        let (id, rest) = bytes.split_first_chunk().ok_or(DecodeError::UnexpectedEnd)?;
        let id = u64::from_le_bytes(*id);
        if id & Self::ID_BIT == 0 {
            return Err(DecodeError::BadValue { what: "RPC id" });
        }
        Ok((Self::Id(id), rest))
    }

    fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Index(index) => out.extend_from_slice(&index.to_le_bytes()),
            Self::Id(id) => out.extend_from_slice(&id.to_le_bytes()),
        }
    }
}

impl fmt::Display for RpcName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(f, "number {index}"),
            Self::Id(id) => write!(f, "{id:016x}"),
        }
    }
}

impl From<u16> for RpcName {
    fn from(index: u16) -> Self {
        Self::Index(index)
    }
}

/// How the game's RPCs are named on a connection. Internal ones have their number either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RpcNaming {
    /// By number: both sides have the same collection.
    #[default]
    Index,
    /// By id.
    Id,
}

/// One RPC of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RpcFrame<'a> {
    /// The type.
    pub name: RpcName,
    /// Bits of the payload.
    pub payload_bits: u16,
    /// The payload; unused bits of the last byte are 0.
    pub payload: &'a [u8],
}

impl<'a> RpcFrame<'a> {
    /// Reads the payload, to the bit. What its codec leaves over makes the packet malformed.
    #[must_use]
    pub fn reader(&self) -> BitReader<'a> {
        BitReader::with_bits(self.payload, usize::from(self.payload_bits))
    }
}

/// The payload of an RPC is larger than one may be. Nothing of it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameTooLarge {
    /// Bytes of the payload.
    pub bytes: usize,
    /// Bytes that a payload may have, [`MAX_RPC_PAYLOAD_BYTES`].
    pub limit: usize,
}

impl fmt::Display for FrameTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an RPC payload of {} bytes is above the limit of {}", self.bytes, self.limit)
    }
}

impl Error for FrameTooLarge {}

/// Empties `out` and writes the kind of the message.
pub fn begin_packet(out: &mut Vec<u8>) {
    out.clear();
    out.push(MessageKind::Rpc.byte());
}

/// Empties `out` and writes the kind of an unreliable RPC packet, and its sequence number.
pub fn begin_unreliable_packet(out: &mut Vec<u8>, sequence: PacketSequence) {
    out.clear();
    out.push(MessageKind::UnreliableRpc.byte());
    out.extend_from_slice(&sequence.0.to_le_bytes());
}

/// The sequence number of an unreliable RPC packet, of which `after_kind` is all but the first byte, and its frames' bytes.
///
/// # Errors
/// [`DecodeError::UnexpectedEnd`] if there is no sequence number.
pub fn split_unreliable_packet(after_kind: &[u8]) -> Result<(PacketSequence, &[u8]), DecodeError> {
    let (sequence, frames) = after_kind.split_first_chunk().ok_or(DecodeError::UnexpectedEnd)?;
    Ok((PacketSequence(u16::from_le_bytes(*sequence)), frames))
}

/// Appends a frame: the first `payload_bits` of `payload`, or all of its bits if those are fewer.
///
/// # Errors
/// [`FrameTooLarge`] if they are more than 8,191 bytes. Nothing is written then.
pub fn push_frame(
    out: &mut Vec<u8>,
    name: impl Into<RpcName>,
    payload: &[u8],
    payload_bits: usize,
) -> Result<(), FrameTooLarge> {
    let bits = payload_bits.min(payload.len().saturating_mul(8));
    debug_assert_eq!(bits, payload_bits, "the payload has as many bits as it says");
    let bytes = bits.div_ceil(8);
    let (Ok(frame_bits), true) = (u16::try_from(bits), bits <= MAX_PAYLOAD_BITS) else {
        return Err(FrameTooLarge { bytes, limit: MAX_RPC_PAYLOAD_BYTES });
    };
    name.into().write(out);
    out.extend_from_slice(&frame_bits.to_le_bytes());
    out.extend_from_slice(payload.get(..bytes).unwrap_or(payload));
    if let (1.., Some(last)) = (bits % 8, out.last_mut()) {
        *last &= !u8::MAX.wrapping_shl((bits % 8) as u32);
    }
    Ok(())
}

/// The frames of an RPC packet with numbered types, of which `after_kind` is all but the first byte. Validates every frame first.
///
/// # Errors
/// As [`named_frames`].
pub fn frames(after_kind: &[u8]) -> Result<FrameIter<'_>, DecodeError> {
    named_frames(after_kind, RpcNaming::Index)
}

/// The frames of a packet's bytes behind its header. Validates every frame first.
///
/// # Errors
/// [`DecodeError::UnexpectedEnd`] if the packet ends inside a frame, [`DecodeError::LimitExceeded`] for a payload of more
/// than 8,191 bytes and for more than 512 frames, [`DecodeError::BadPadding`] if the bits after a payload are not 0,
/// [`DecodeError::BadValue`] for an id that none can have.
pub fn named_frames(bytes: &[u8], naming: RpcNaming) -> Result<FrameIter<'_>, DecodeError> {
    let mut rest = bytes;
    let mut count = 0u32;
    while !rest.is_empty() {
        count = count.saturating_add(1);
        DecodeError::check_limit("frames of an RPC packet", MAX_RPC_FRAMES_PER_PACKET as u32, count)?;
        (_, rest) = split_frame(rest, naming)?;
    }
    Ok(FrameIter { rest: bytes, naming })
}

/// Iterates over the frames of a packet that [`named_frames`] found to be valid.
#[derive(Clone, Debug)]
pub struct FrameIter<'a> {
    rest: &'a [u8],
    naming: RpcNaming,
}

impl<'a> Iterator for FrameIter<'a> {
    type Item = RpcFrame<'a>;

    fn next(&mut self) -> Option<RpcFrame<'a>> {
        let (frame, rest) = split_frame(self.rest, self.naming).ok()?;
        self.rest = rest;
        Some(frame)
    }
}

/// The first frame and what follows it.
fn split_frame(bytes: &[u8], naming: RpcNaming) -> Result<(RpcFrame<'_>, &[u8]), DecodeError> {
    let (name, rest) = RpcName::read(bytes, naming)?;
    let (payload_bits, rest) = rest.split_first_chunk().ok_or(DecodeError::UnexpectedEnd)?;
    let payload_bits = u16::from_le_bytes(*payload_bits);
    DecodeError::check_limit("bits of an RPC payload", MAX_PAYLOAD_BITS as u32, u32::from(payload_bits))?;
    let (payload, rest) =
        rest.split_at_checked(usize::from(payload_bits.div_ceil(8))).ok_or(DecodeError::UnexpectedEnd)?;
    let used = u32::from(payload_bits % 8);
    if let (1.., Some(last)) = (used, payload.last())
        && last.wrapping_shr(used) != 0
    {
        return Err(DecodeError::BadPadding);
    }
    Ok((RpcFrame { name, payload_bits, payload }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(payloads: &[(u16, &[u8], usize)]) -> Vec<u8> {
        let mut out = vec![9, 9, 9];
        begin_packet(&mut out);
        for (type_index, payload, bits) in payloads {
            push_frame(&mut out, *type_index, payload, *bits).unwrap();
        }
        out
    }

    #[test]
    fn frames_come_back_in_order() {
        let out = packet(&[(16, &[1, 2, 3], 24), (0, &[], 0), (17, &[0xFF, 0xFF], 11)]);
        assert_eq!(out[0], 2);
        let read: Vec<RpcFrame<'_>> = frames(&out[1..]).unwrap().collect();
        assert_eq!(
            read,
            [
                RpcFrame { name: RpcName::Index(16), payload_bits: 24, payload: &[1, 2, 3] },
                RpcFrame { name: RpcName::Index(0), payload_bits: 0, payload: &[] },
                RpcFrame { name: RpcName::Index(17), payload_bits: 11, payload: &[0xFF, 0x07] },
            ]
        );
        assert_eq!(read[2].reader().remaining_bits(), 11);
    }

    #[test]
    fn a_packet_without_frames_is_valid() {
        assert_eq!(frames(&packet(&[])[1..]).unwrap().count(), 0);
    }

    #[test]
    fn the_largest_payload_passes_and_one_byte_more_does_not() {
        let payload = vec![0xAB; MAX_RPC_PAYLOAD_BYTES + 1];
        let mut out = packet(&[(16, &payload[1..], MAX_PAYLOAD_BITS)]);
        assert_eq!(frames(&out[1..]).unwrap().next().unwrap().payload, &payload[1..]);
        let before = out.clone();
        for bits in [MAX_PAYLOAD_BITS + 1, MAX_PAYLOAD_BITS + 8] {
            let error = push_frame(&mut out, 16, &payload, bits).unwrap_err();
            assert_eq!(error, FrameTooLarge { bytes: 8_192, limit: 8_191 });
        }
        assert_eq!(out, before, "nothing was written");
        assert_eq!(frames(&[0, 0, 0xFF, 0xFF]).unwrap_err(), {
            let what = "bits of an RPC payload";
            DecodeError::LimitExceeded { what, limit: 65_528, got: 65_535 }
        });
    }

    #[test]
    fn a_packet_of_too_many_frames_is_refused() {
        let frame = [16, 0, 0, 0];
        assert_eq!(frames(&frame.repeat(512)).unwrap().count(), 512);
        assert!(matches!(frames(&frame.repeat(513)), Err(DecodeError::LimitExceeded { limit: 512, got: 513, .. })));
    }

    #[test]
    fn one_bad_frame_refuses_the_whole_packet() {
        let out = packet(&[(16, &[1], 8), (17, &[0b0000_0111], 3)]);
        for cut in 2..out.len() {
            // After the first frame, the packet ends well.
            let expected = if cut == 6 { Ok(1) } else { Err(DecodeError::UnexpectedEnd) };
            assert_eq!(frames(&out[1..cut]).map(Iterator::count), expected, "{cut} bytes");
        }
        let mut dirty = out;
        *dirty.last_mut().unwrap() = 0b0000_1111;
        assert_eq!(frames(&dirty[1..]).map(Iterator::count), Err(DecodeError::BadPadding));
    }

    #[test]
    fn the_game_s_rpcs_are_named_by_id_where_collections_differ_and_internal_ones_by_number() {
        let mut out = Vec::new();
        begin_packet(&mut out);
        push_frame(&mut out, RpcName::id_of(0xFFFF_0000_1234_0005), &[1], 8).unwrap();
        push_frame(&mut out, 2, &[2], 8).unwrap();
        assert_eq!(out.len(), 1 + (10 + 1) + (4 + 1), "6 bytes more than with a number");
        let read: Vec<_> = named_frames(&out[1..], RpcNaming::Id).unwrap().map(|frame| frame.name).collect();
        assert_eq!(read, [RpcName::Id(0xFFFF_0000_1234_8005), RpcName::Index(2)]);
        for cut in 2..12 {
            assert_eq!(
                named_frames(&out[1..cut], RpcNaming::Id).map(Iterator::count),
                Err(DecodeError::UnexpectedEnd),
                "{cut} bytes"
            );
        }
        let no_id = [16, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(
            named_frames(&no_id, RpcNaming::Id).map(Iterator::count),
            Err(DecodeError::BadValue { what: "RPC id" })
        );
    }

    #[test]
    fn an_unreliable_packet_has_a_sequence_number() {
        let mut out = vec![9; 9];
        begin_unreliable_packet(&mut out, PacketSequence(300));
        assert_eq!(out.len(), UNRELIABLE_RPC_HEADER_BYTES);
        push_frame(&mut out, 16, &[], 0).unwrap();
        let (sequence, body) = split_unreliable_packet(&out[1..]).unwrap();
        assert_eq!((sequence, frames(body).unwrap().count()), (PacketSequence(300), 1));
        assert_eq!(split_unreliable_packet(&[1]), Err(DecodeError::UnexpectedEnd));
    }
}

//! RPC packets, `docs/wire-format.md` section 3: frames of a type number and a payload, one after the other.
//! The send queue appends frames until a packet is full; the receiver validates a packet whole before anything in it runs.
//! Payloads begin on a byte; what is in them the RPC's own codec knows.

use core::error::Error;
use core::fmt;

use crate::bits::BitReader;
use crate::error::DecodeError;
use crate::limits::MAX_RPC_PAYLOAD_BYTES;
use crate::packet::MessageKind;

/// The most bits of a payload. They fit into the frame's `u16`.
const MAX_PAYLOAD_BITS: usize = MAX_RPC_PAYLOAD_BYTES * 8;

/// Bytes of a frame before its payload.
const FRAME_HEADER_BYTES: usize = 4;

/// One RPC of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RpcFrame<'a> {
    /// The type: 0 to 15 internal, from 16 on the game's.
    pub type_index: u16,
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

/// Appends a frame: the first `payload_bits` of `payload`, or all of its bits if those are fewer.
///
/// # Errors
/// [`FrameTooLarge`] if they are more than 8,191 bytes. Nothing is written then.
pub fn push_frame(
    out: &mut Vec<u8>,
    type_index: u16,
    payload: &[u8],
    payload_bits: usize,
) -> Result<(), FrameTooLarge> {
    let bits = payload_bits.min(payload.len().saturating_mul(8));
    debug_assert_eq!(bits, payload_bits, "the payload has as many bits as it says");
    let bytes = bits.div_ceil(8);
    let (Ok(frame_bits), true) = (u16::try_from(bits), bits <= MAX_PAYLOAD_BITS) else {
        return Err(FrameTooLarge { bytes, limit: MAX_RPC_PAYLOAD_BYTES });
    };
    out.extend_from_slice(&type_index.to_le_bytes());
    out.extend_from_slice(&frame_bits.to_le_bytes());
    out.extend_from_slice(payload.get(..bytes).unwrap_or(payload));
    if let (1.., Some(last)) = (bits % 8, out.last_mut()) {
        *last &= !u8::MAX.wrapping_shl((bits % 8) as u32);
    }
    Ok(())
}

/// The frames of an RPC packet, of which `after_kind` is all but the first byte. Validates every frame first.
///
/// # Errors
/// [`DecodeError::UnexpectedEnd`] if the packet ends inside a frame, [`DecodeError::LimitExceeded`] for a payload of more
/// than 8,191 bytes, [`DecodeError::BadPadding`] if the bits after a payload are not 0.
pub fn frames(after_kind: &[u8]) -> Result<FrameIter<'_>, DecodeError> {
    let mut rest = after_kind;
    while !rest.is_empty() {
        (_, rest) = split_frame(rest)?;
    }
    Ok(FrameIter { rest: after_kind })
}

/// Iterates over the frames of a packet that [`frames`] found to be valid.
#[derive(Clone, Debug)]
pub struct FrameIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for FrameIter<'a> {
    type Item = RpcFrame<'a>;

    fn next(&mut self) -> Option<RpcFrame<'a>> {
        let (frame, rest) = split_frame(self.rest).ok()?;
        self.rest = rest;
        Some(frame)
    }
}

/// The first frame and what follows it.
fn split_frame(bytes: &[u8]) -> Result<(RpcFrame<'_>, &[u8]), DecodeError> {
    let (header, rest) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>().ok_or(DecodeError::UnexpectedEnd)?;
    let [type_low, type_high, bits_low, bits_high] = *header;
    let payload_bits = u16::from_le_bytes([bits_low, bits_high]);
    DecodeError::check_limit("bits of an RPC payload", MAX_PAYLOAD_BITS as u32, u32::from(payload_bits))?;
    let (payload, rest) =
        rest.split_at_checked(usize::from(payload_bits.div_ceil(8))).ok_or(DecodeError::UnexpectedEnd)?;
    let used = u32::from(payload_bits % 8);
    if let (1.., Some(last)) = (used, payload.last())
        && last.wrapping_shr(used) != 0
    {
        return Err(DecodeError::BadPadding);
    }
    let frame = RpcFrame { type_index: u16::from_le_bytes([type_low, type_high]), payload_bits, payload };
    Ok((frame, rest))
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
                RpcFrame { type_index: 16, payload_bits: 24, payload: &[1, 2, 3] },
                RpcFrame { type_index: 0, payload_bits: 0, payload: &[] },
                RpcFrame { type_index: 17, payload_bits: 11, payload: &[0xFF, 0x07] },
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
}

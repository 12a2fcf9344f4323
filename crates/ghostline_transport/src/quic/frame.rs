//! Reliable messages on a stream of bytes: a length, then the message. Written whole, read in pieces of any size.
//! Bytes come from and go to QUIC's stream; a length over the bound is an error before anything is kept.
//!
//! The stream begins with one byte, [`STREAM_VERSION`]; each length is a LEB128 number of at most three bytes.

use thiserror::Error;

use crate::limits::MAX_RELIABLE_BYTES;

/// First byte of the stream. The client sends it as soon as it is connected, so that the stream exists for both.
pub(super) const STREAM_VERSION: u8 = 1;

/// Most bytes of a length.
const MAX_LENGTH_BYTES: u32 = 3;
const _: () = assert!(MAX_RELIABLE_BYTES < 1 << (7 * MAX_LENGTH_BYTES));

/// Why a stream is malformed. Nothing after it can be understood, so the connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(super) enum FrameError {
    #[error("unknown version of the stream")]
    UnknownVersion,
    #[error("a length is over the limit of a reliable message")]
    TooLarge,
    #[error("a length is written with more bytes than it needs")]
    NotShortest,
}

/// A message with its length before it.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(message.len().saturating_add(MAX_LENGTH_BYTES as usize));
    let mut length = message.len();
    while length > 0x7F {
        bytes.push((length & 0x7F) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push((length & 0x7F) as u8);
    bytes.extend_from_slice(message);
    bytes
}

/// Where a reader of the stream stands.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Version,
    Length { value: usize, shift: u32 },
    Message { missing: usize },
}

/// Finds the messages in the pieces of a stream.
pub(super) struct FrameReader {
    stage: Stage,
    message: Vec<u8>,
}

impl FrameReader {
    /// A reader at the beginning of a stream; `expects_version` on the side that did not open it.
    pub(super) fn new(expects_version: bool) -> Self {
        let stage = if expects_version { Stage::Version } else { Stage::Length { value: 0, shift: 0 } };
        Self { stage, message: Vec::new() }
    }

    /// Takes the next piece, and hands each message that it completes to `receive`.
    ///
    /// # Errors
    /// [`FrameError`] at the first byte that can't be; messages before it were handed over.
    pub(super) fn read(&mut self, mut piece: &[u8], mut receive: impl FnMut(&[u8])) -> Result<(), FrameError> {
        loop {
            match self.stage {
                Stage::Message { missing } => {
                    let (taken, rest) = piece.split_at_checked(missing).unwrap_or((piece, &[]));
                    piece = rest;
                    let missing = missing.saturating_sub(taken.len());
                    if missing > 0 {
                        self.message.extend_from_slice(taken);
                        self.stage = Stage::Message { missing };
                        return Ok(());
                    }
                    if self.message.is_empty() {
                        receive(taken);
                    } else {
                        self.message.extend_from_slice(taken);
                        receive(&self.message);
                        self.message.clear();
                    }
                    self.stage = Stage::Length { value: 0, shift: 0 };
                }
                Stage::Version => {
                    let Some((version, rest)) = piece.split_first() else {
                        return Ok(());
                    };
                    if *version != STREAM_VERSION {
                        return Err(FrameError::UnknownVersion);
                    }
                    piece = rest;
                    self.stage = Stage::Length { value: 0, shift: 0 };
                }
                Stage::Length { value, shift } => {
                    let Some((byte, rest)) = piece.split_first() else {
                        return Ok(());
                    };
                    piece = rest;
                    self.stage = next_length_stage(value, shift, *byte)?;
                }
            }
        }
    }
}

fn next_length_stage(value: usize, shift: u32, byte: u8) -> Result<Stage, FrameError> {
    let bits = usize::from(byte & 0x7F).checked_shl(shift).unwrap_or(usize::MAX);
    let value = value | bits;
    if value > MAX_RELIABLE_BYTES {
        return Err(FrameError::TooLarge);
    }
    if byte & 0x80 == 0 {
        if byte == 0 && shift > 0 {
            return Err(FrameError::NotShortest);
        }
        return Ok(Stage::Message { missing: value });
    }
    let shift = shift.saturating_add(7);
    if shift >= MAX_LENGTH_BYTES.saturating_mul(7) {
        return Err(FrameError::TooLarge);
    }
    Ok(Stage::Length { value, shift })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(reader: &mut FrameReader, piece: &[u8]) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut messages = Vec::new();
        reader.read(piece, |message| messages.push(message.to_vec()))?;
        Ok(messages)
    }

    #[test]
    fn messages_of_every_size_up_to_the_bound_arrive() {
        for length in [0, 1, 127, 128, 16_383, 16_384, MAX_RELIABLE_BYTES] {
            let message = vec![9; length];
            let mut reader = FrameReader::new(false);
            assert_eq!(read(&mut reader, &framed(&message)), Ok(vec![message]), "{length}");
        }
    }

    #[test]
    fn a_length_over_the_bound_is_refused_before_its_bytes_come() {
        let over = framed(&vec![0; MAX_RELIABLE_BYTES + 1]);
        assert_eq!(read(&mut FrameReader::new(false), &over[..3]), Err(FrameError::TooLarge));
        assert_eq!(read(&mut FrameReader::new(false), &[0xFF, 0xFF, 0xFF]), Err(FrameError::TooLarge));
        assert_eq!(read(&mut FrameReader::new(false), &[0x80, 0x80, 0x80]), Err(FrameError::TooLarge));
        assert_eq!(read(&mut FrameReader::new(false), &[0x85, 0x00]), Err(FrameError::NotShortest));
    }

    #[test]
    fn a_stream_begins_with_its_version() {
        let mut stream = vec![STREAM_VERSION];
        stream.extend(framed(b"hello"));
        assert_eq!(read(&mut FrameReader::new(true), &stream), Ok(vec![b"hello".to_vec()]));
        assert_eq!(read(&mut FrameReader::new(true), &[2]), Err(FrameError::UnknownVersion));
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same_messages(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..10),
            sizes in prop::collection::vec(1..50_usize, 1..100),
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(|message| framed(message)).collect();
            let mut reader = FrameReader::new(false);
            let mut received = Vec::new();
            let mut rest = &stream[..];
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, tail) = rest.split_at((*size).min(rest.len()));
                rest = tail;
                received.extend(read(&mut reader, piece).unwrap());
            }
            prop_assert_eq!(received, messages);
        }

        #[test]
        fn any_bytes_are_read_or_refused_within_the_bound(stream in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let mut reader = FrameReader::new(false);
            for piece in stream.chunks(37) {
                let outcome = reader.read(piece, |message| assert!(message.len() <= MAX_RELIABLE_BYTES));
                if outcome.is_err() {
                    break;
                }
            }
            prop_assert!(reader.message.len() <= stream.len());
        }
    }
}

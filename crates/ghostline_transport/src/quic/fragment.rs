//! The kinds of a datagram, and messages in fragments: cut on the way out, put together on the way in.
//! Bytes come from and go to QUIC's datagrams; everything received is checked, and what waits is bounded.
//!
//! ```text
//! whole message:  kind u8 (0 unreliable, 1 fragmented pipeline) | message
//! fragment:       kind u8 (2 unreliable, 3 fragmented pipeline) | message number u16 LE | index u8 | count u8 | part
//! ```
//!
//! A message of the unreliable pipeline travels in fragments only if the path carries less than `max_message_bytes`.

use thiserror::Error;

use crate::driver::Pipeline;
use crate::limits::{MAX_FRAGMENTED_BYTES, MAX_FRAGMENTS, MAX_REASSEMBLIES};

/// Bytes before a whole message.
pub(super) const WHOLE_HEADER_BYTES: usize = 1;
/// Bytes before the part of a fragment.
pub(super) const FRAGMENT_HEADER_BYTES: usize = 5;

/// Why a datagram is malformed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(super) enum DatagramError {
    #[error("empty datagram")]
    Empty,
    #[error("unknown kind of datagram")]
    UnknownKind,
    #[error("the header of a fragment is cut off")]
    Truncated,
    #[error("a fragment without bytes")]
    EmptyFragment,
    #[error("a fragment is not one of its message")]
    BadIndex,
    #[error("two fragments of one message contradict each other")]
    Contradiction,
    #[error("a message is larger than its pipeline permits")]
    TooLarge,
}

/// A message that does not fit into as many fragments as it may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TooManyFragments;

/// The kinds of a pipeline: whole, fragment.
const fn kinds(pipeline: Pipeline) -> Option<(u8, u8)> {
    match pipeline {
        Pipeline::Unreliable => Some((0, 2)),
        Pipeline::UnreliableFragmented => Some((1, 3)),
        Pipeline::ReliableOrdered => None,
    }
}

/// Cuts a message into datagrams of at most `max_datagram` bytes, and hands each to `send`.
pub(super) fn datagrams(
    pipeline: Pipeline,
    message: &[u8],
    number: u16,
    max_datagram: usize,
    mut send: impl FnMut(Vec<u8>),
) -> Result<(), TooManyFragments> {
    let (whole, fragment) = kinds(pipeline).ok_or(TooManyFragments)?;
    if message.len().saturating_add(WHOLE_HEADER_BYTES) <= max_datagram {
        let mut datagram = Vec::with_capacity(message.len().saturating_add(WHOLE_HEADER_BYTES));
        datagram.push(whole);
        datagram.extend_from_slice(message);
        send(datagram);
        return Ok(());
    }
    let part = max_datagram.saturating_sub(FRAGMENT_HEADER_BYTES);
    if part == 0 {
        return Err(TooManyFragments);
    }
    let count = message.len().div_ceil(part);
    if count > MAX_FRAGMENTS {
        return Err(TooManyFragments);
    }
    let count = u8::try_from(count).map_err(|_many| TooManyFragments)?;
    for (index, part) in (0..count).zip(message.chunks(part)) {
        let mut datagram = Vec::with_capacity(part.len().saturating_add(FRAGMENT_HEADER_BYTES));
        datagram.push(fragment);
        datagram.extend_from_slice(&number.to_le_bytes());
        datagram.extend_from_slice(&[index, count]);
        datagram.extend_from_slice(part);
        send(datagram);
    }
    Ok(())
}

/// A message of which some fragments have arrived.
struct Reassembly {
    pipeline: Pipeline,
    number: u16,
    parts: Vec<Option<Vec<u8>>>,
    bytes: usize,
}

/// The half received messages of one connection, oldest first. At most
/// [`MAX_REASSEMBLIES`] × ([`MAX_FRAGMENTED_BYTES`] and the headers of the parts).
#[derive(Default)]
pub(super) struct Reassembler {
    waiting: Vec<Reassembly>,
    /// Messages given up for newer ones.
    displaced: u64,
}

impl Reassembler {
    /// Messages that were given up because newer ones came before all their fragments had.
    pub(super) fn displaced(&self) -> u64 {
        self.displaced
    }

    /// Bytes that wait for the rest of their messages.
    #[cfg(test)]
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting.iter().map(|message| message.bytes).sum()
    }

    /// Takes a datagram. If it completes a message, that is written to `message` (which is cleared), and its pipeline
    /// returned. `max_message` is the largest message of the unreliable pipeline.
    pub(super) fn receive(
        &mut self,
        datagram: &[u8],
        max_message: usize,
        message: &mut Vec<u8>,
    ) -> Result<Option<Pipeline>, DatagramError> {
        let (kind, rest) = datagram.split_first().ok_or(DatagramError::Empty)?;
        let (pipeline, is_whole) = match kind {
            0 => (Pipeline::Unreliable, true),
            1 => (Pipeline::UnreliableFragmented, true),
            2 => (Pipeline::Unreliable, false),
            3 => (Pipeline::UnreliableFragmented, false),
            _ => return Err(DatagramError::UnknownKind),
        };
        let limit = if pipeline == Pipeline::Unreliable { max_message } else { MAX_FRAGMENTED_BYTES };
        if is_whole {
            if rest.len() > limit {
                return Err(DatagramError::TooLarge);
            }
            message.clear();
            message.extend_from_slice(rest);
            return Ok(Some(pipeline));
        }
        let (header, part) = rest.split_first_chunk::<4>().ok_or(DatagramError::Truncated)?;
        let [low, high, index, count] = *header;
        self.receive_part(pipeline, u16::from_le_bytes([low, high]), (index, count), part, limit, message)
    }

    fn receive_part(
        &mut self,
        pipeline: Pipeline,
        number: u16,
        (index, count): (u8, u8),
        part: &[u8],
        limit: usize,
        message: &mut Vec<u8>,
    ) -> Result<Option<Pipeline>, DatagramError> {
        let (index, count) = (usize::from(index), usize::from(count));
        if part.is_empty() {
            return Err(DatagramError::EmptyFragment);
        }
        // A message of one fragment would be a whole one.
        if !(2..=MAX_FRAGMENTS).contains(&count) || index >= count {
            return Err(DatagramError::BadIndex);
        }
        let is_same = |waiting: &Reassembly| waiting.number == number && waiting.pipeline == pipeline;
        let place = match self.waiting.iter().position(is_same) {
            Some(place) => place,
            None => {
                if self.waiting.len() >= MAX_REASSEMBLIES {
                    self.waiting.remove(0);
                    self.displaced = self.displaced.saturating_add(1);
                }
                self.waiting.push(Reassembly { pipeline, number, parts: vec![None; count], bytes: 0 });
                self.waiting.len().saturating_sub(1)
            }
        };
        let outcome = self.waiting.get_mut(place).map_or(Err(DatagramError::BadIndex), |waiting| {
            if waiting.parts.len() != count {
                return Err(DatagramError::Contradiction);
            }
            let bytes = waiting.bytes.saturating_add(part.len());
            if bytes > limit {
                return Err(DatagramError::TooLarge);
            }
            match waiting.parts.get_mut(index) {
                Some(slot @ None) => *slot = Some(part.to_vec()),
                _ => return Err(DatagramError::Contradiction),
            }
            waiting.bytes = bytes;
            Ok(waiting.parts.iter().all(Option::is_some))
        });
        match outcome {
            Ok(false) => Ok(None),
            Ok(true) => {
                message.clear();
                let complete = self.waiting.remove(place);
                for part in complete.parts.iter().flatten() {
                    message.extend_from_slice(part);
                }
                Ok(Some(pipeline))
            }
            Err(error) => {
                // Which of the fragments is the wrong one can't be known.
                self.waiting.remove(place);
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(pipeline: Pipeline, message: &[u8], number: u16, max: usize) -> Vec<Vec<u8>> {
        let mut parts = Vec::new();
        datagrams(pipeline, message, number, max, |part| parts.push(part)).unwrap();
        parts
    }

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|place| (place * 7 % 251) as u8).collect()
    }

    #[test]
    fn messages_arrive_whole_whatever_the_order_of_their_fragments() {
        let mut reassembler = Reassembler::default();
        let mut message = Vec::new();
        for length in [0, 1, 1_161, 1_162, 1_163, 2_000, 16_383, 16_384] {
            let sent = bytes(length);
            for reversed in [false, true] {
                let mut parts = cut(Pipeline::UnreliableFragmented, &sent, length as u16, 1_163);
                assert!(parts.iter().all(|part| part.len() <= 1_163));
                if reversed {
                    parts.reverse();
                }
                let last = parts.pop().unwrap();
                for part in parts {
                    assert_eq!(reassembler.receive(&part, 1_162, &mut message), Ok(None));
                }
                let complete = reassembler.receive(&last, 1_162, &mut message);
                assert_eq!(complete, Ok(Some(Pipeline::UnreliableFragmented)), "{length}");
                assert_eq!(message, sent);
            }
        }
        assert_eq!(reassembler.waiting_bytes(), 0);
    }

    #[test]
    fn a_message_that_needs_too_many_fragments_is_not_cut() {
        let mut count = 0;
        let sent = datagrams(Pipeline::UnreliableFragmented, &bytes(16_384), 0, 1_000, |_part| count += 1);
        assert_eq!((sent, count), (Err(TooManyFragments), 0));
        assert_eq!(datagrams(Pipeline::Unreliable, &bytes(64), 0, 5, |_part| ()), Err(TooManyFragments));
    }

    #[test]
    fn newer_messages_displace_the_oldest_half_received_one() {
        let mut reassembler = Reassembler::default();
        let mut message = Vec::new();
        let sent = bytes(3_000);
        let all: Vec<_> = (0..5_u16).map(|number| cut(Pipeline::UnreliableFragmented, &sent, number, 1_163)).collect();
        for parts in &all {
            assert_eq!(reassembler.receive(&parts[0], 1_162, &mut message), Ok(None));
        }
        assert_eq!(reassembler.displaced(), 1);
        for (number, parts) in all.iter().enumerate().skip(1) {
            assert_eq!(reassembler.receive(&parts[1], 1_162, &mut message), Ok(None));
            let complete = reassembler.receive(&parts[2], 1_162, &mut message);
            assert_eq!(complete, Ok(Some(Pipeline::UnreliableFragmented)), "{number}");
        }
    }

    #[test]
    fn each_way_to_be_malformed_has_its_error() {
        let mut message = Vec::new();
        let cases: [(&[u8], DatagramError); 9] = [
            (&[], DatagramError::Empty),
            (&[4, 1, 2], DatagramError::UnknownKind),
            (&[255], DatagramError::UnknownKind),
            (&[2, 0, 0, 0], DatagramError::Truncated),
            (&[3, 0, 0, 0, 2], DatagramError::EmptyFragment),
            (&[3, 0, 0, 0, 1, 9], DatagramError::BadIndex),
            (&[3, 0, 0, 0, 17, 9], DatagramError::BadIndex),
            (&[3, 0, 0, 2, 2, 9], DatagramError::BadIndex),
            (&[0, 1, 2, 3], DatagramError::TooLarge),
        ];
        for (datagram, error) in cases {
            let mut reassembler = Reassembler::default();
            assert_eq!(reassembler.receive(datagram, 2, &mut message), Err(error), "{datagram:?}");
            assert_eq!(reassembler.waiting_bytes(), 0);
        }
    }

    #[test]
    fn fragments_that_contradict_each_other_end_their_message() {
        for second in [&[3, 7, 0, 0, 3, 1][..], &[3, 7, 0, 1, 2, 1]] {
            let mut reassembler = Reassembler::default();
            let mut message = Vec::new();
            assert_eq!(reassembler.receive(&[3, 7, 0, 0, 3, 1], 64, &mut message), Ok(None));
            assert_eq!(reassembler.receive(second, 64, &mut message), Err(DatagramError::Contradiction));
            assert_eq!(reassembler.waiting_bytes(), 0);
        }
    }

    #[test]
    fn fragments_can_t_add_up_to_more_than_a_message_may_have() {
        let mut reassembler = Reassembler::default();
        let mut message = Vec::new();
        let mut outcomes = Vec::new();
        for index in 0..16_u8 {
            let mut part = vec![3, 0, 0, index, 16];
            part.extend(bytes(1_100));
            outcomes.push(reassembler.receive(&part, 64, &mut message));
            assert!(reassembler.waiting_bytes() <= MAX_FRAGMENTED_BYTES);
        }
        assert_eq!(outcomes[14], Err(DatagramError::TooLarge));
        let mut reassembler = Reassembler::default();
        assert_eq!(reassembler.receive(&[2, 0, 0, 0, 2, 1, 2, 3], 2, &mut message), Err(DatagramError::TooLarge));
    }

    proptest! {
        #[test]
        fn any_bytes_are_either_taken_or_refused_within_the_bounds(
            input in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..60),
            kinds in prop::collection::vec(0..5_u8, 60),
        ) {
            let mut reassembler = Reassembler::default();
            let mut message = Vec::new();
            for (mut datagram, kind) in input.into_iter().zip(kinds) {
                if let Some(first) = datagram.first_mut() {
                    *first = kind;
                }
                if let Some(count) = datagram.get_mut(4) {
                    *count %= 20;
                }
                if let Ok(Some(_)) = reassembler.receive(&datagram, 16, &mut message) {
                    prop_assert!(message.len() <= MAX_FRAGMENTED_BYTES);
                }
                prop_assert!(reassembler.waiting.len() <= MAX_REASSEMBLIES);
                prop_assert!(reassembler.waiting_bytes() <= MAX_REASSEMBLIES * MAX_FRAGMENTED_BYTES);
            }
        }

        #[test]
        fn a_flipped_bit_or_a_cut_never_gives_a_longer_message(
            length in 1..6_000_usize,
            place in any::<prop::sample::Index>(),
            bit in 0..8_u32,
            cut_at in any::<prop::sample::Index>(),
            flip in any::<bool>(),
        ) {
            let mut parts = cut(Pipeline::UnreliableFragmented, &bytes(length), 3, 1_163);
            let which = place.index(parts.len());
            let part = &mut parts[which];
            if flip {
                let at = cut_at.index(part.len());
                part[at] ^= 1_u8.rotate_left(bit);
            } else {
                let to = cut_at.index(part.len());
                part.truncate(to);
            }
            let mut reassembler = Reassembler::default();
            let mut message = Vec::new();
            for part in &parts {
                if let Ok(Some(_)) = reassembler.receive(part, 1_162, &mut message) {
                    prop_assert!(message.len() <= length.max(1_162));
                }
            }
        }
    }
}

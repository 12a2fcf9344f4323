//! Reads bits of a received message, checked against its end.
//! Every decoder reads from one of these; it borrows the message and never allocates.
//! A word of the next bits is kept, and filled up by eight bytes at a time while that many are left.

use super::low_mask;
use crate::error::DecodeError;
use crate::packed::{bucket_of_prefix, un_zig_zag};
use crate::tick::NetworkTick;

/// Reads bits of a message. Every read is checked against the end; after an error, where it stands says nothing.
#[derive(Clone, Debug)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    /// The end of what may be read, in bits from the begin of `bytes`.
    end: usize,
    /// Bits that may still be read.
    remaining: usize,
    /// The next bits of the message. Those from `available` on are either 0 or right.
    word: u64,
    /// Bits of `word` that surely are right, or lie past the end of `bytes`.
    available: u32,
    /// The first byte of the message that is not wholly counted in `available`.
    next: usize,
}

impl<'a> BitReader<'a> {
    /// Reads all of these bytes.
    #[must_use]
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::between(bytes, 0, bytes.len().saturating_mul(8))
    }

    /// Reads the first `bits` of these bytes; of fewer bytes, all of their bits.
    #[must_use]
    #[inline]
    pub fn with_bits(bytes: &'a [u8], bits: usize) -> Self {
        Self::between(bytes, 0, bits.min(bytes.len().saturating_mul(8)))
    }

    /// Reads from bit `from` to bit `end`, which both lie in `bytes`.
    #[inline]
    fn between(bytes: &'a [u8], from: usize, end: usize) -> Self {
        let mut reader = Self { bytes, end, remaining: end.saturating_sub(from), word: 0, available: 0, next: 0 };
        reader.seek(from);
        reader
    }

    /// Moves the word to bit `position`, without a look at the end.
    #[inline]
    fn seek(&mut self, position: usize) {
        self.next = position / 8;
        self.word = 0;
        self.available = 0;
        self.refill();
        self.drop_bits((position % 8) as u32);
    }

    /// Takes bits that are in the word off it.
    #[inline]
    fn drop_bits(&mut self, count: u32) {
        self.word = self.word.wrapping_shr(count);
        self.available = self.available.wrapping_sub(count);
    }

    /// Fills the word to at least 56 bits.
    #[inline]
    fn refill(&mut self) {
        match self.bytes.get(self.next..).and_then(|rest| rest.first_chunk::<8>()) {
            Some(bytes) => {
                // Bits above the counted ones are those of the next byte already; setting them again changes nothing.
                self.word |= u64::from_le_bytes(*bytes).wrapping_shl(self.available);
                let taken = 63u32.wrapping_sub(self.available) >> 3;
                self.next = self.next.wrapping_add(taken as usize);
                self.available |= 56;
            }
            None => {
                let rest = self.bytes.get(self.next..).unwrap_or(&[]);
                let (word, available, taken) = refill_from_tail(self.word, self.available, rest);
                self.word = word;
                self.available = available;
                self.next = self.next.wrapping_add(taken);
            }
        }
    }

    /// Reads `count` bits; 0 to 32, more counts as 32.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedEnd`] if fewer are left.
    #[inline]
    pub fn read_bits(&mut self, count: u32) -> Result<u32, DecodeError> {
        let count = count.min(32);
        let Some(remaining) = self.remaining.checked_sub(count as usize) else {
            return Err(DecodeError::UnexpectedEnd);
        };
        if self.available < count {
            self.refill();
        }
        let value = (self.word & low_mask(count)) as u32;
        self.drop_bits(count);
        self.remaining = remaining;
        Ok(value)
    }

    /// Reads `count` bits; 0 to 64.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedEnd`] if fewer are left.
    #[inline]
    pub(crate) fn read_bits64(&mut self, count: u32) -> Result<u64, DecodeError> {
        let low = self.read_bits(count.min(32))?;
        let high = self.read_bits(count.saturating_sub(32))?;
        Ok(u64::from(low) | (u64::from(high) << 32))
    }

    /// The next bits, 56 at least, as far as the message has so many; what lies beyond is no part of it.
    #[inline]
    pub(crate) fn peek(&mut self) -> u64 {
        self.refill();
        self.word
    }

    /// Takes bits that were looked at, 56 at most.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedEnd`] if there are fewer.
    #[inline]
    pub(crate) fn skip(&mut self, count: u32) -> Result<(), DecodeError> {
        let Some(remaining) = self.remaining.checked_sub(count as usize) else {
            return Err(DecodeError::UnexpectedEnd);
        };
        self.drop_bits(count);
        self.remaining = remaining;
        Ok(())
    }

    /// Reads zeros up to the one behind them, which is read too; or `limit` (at most 33) zeros. Returns how many.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedEnd`] if the message ends before.
    #[inline]
    pub(crate) fn read_zeros(&mut self, limit: u32) -> Result<u32, DecodeError> {
        if self.available < 33 {
            self.refill();
        }
        let zeros = self.word.trailing_zeros().min(limit);
        let count = zeros.wrapping_add(1).min(limit);
        let Some(remaining) = self.remaining.checked_sub(count as usize) else {
            return Err(DecodeError::UnexpectedEnd);
        };
        self.drop_bits(count);
        self.remaining = remaining;
        Ok(zeros)
    }

    /// Reads one bit.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedEnd`] if none is left.
    #[inline]
    pub fn read_bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.read_bits(1)? != 0)
    }

    /// Reads 8 bits.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedEnd`] if fewer are left.
    #[inline]
    pub fn read_u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.read_bits(8)? as u8)
    }

    /// Reads 16 bits.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedEnd`] if fewer are left.
    #[inline]
    pub fn read_u16(&mut self) -> Result<u16, DecodeError> {
        Ok(self.read_bits(16)? as u16)
    }

    /// Reads 32 bits.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedEnd`] if fewer are left.
    #[inline]
    pub fn read_u32(&mut self) -> Result<u32, DecodeError> {
        self.read_bits(32)
    }

    /// Reads 64 bits.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedEnd`] if fewer are left.
    #[inline]
    pub fn read_u64(&mut self) -> Result<u64, DecodeError> {
        self.read_bits64(64)
    }

    /// Reads the index of a tick, 31 bits.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedEnd`] if fewer are left.
    #[inline]
    pub fn read_tick(&mut self) -> Result<NetworkTick, DecodeError> {
        Ok(NetworkTick::new(self.read_bits(31)?))
    }

    /// Reads a packed integer.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedEnd`] if it is cut off, [`DecodeError::BadPackedInteger`] if it is beyond 2³²−1.
    #[inline]
    pub fn read_packed(&mut self) -> Result<u32, DecodeError> {
        // Always, because whether it has to be is as good as random.
        self.refill();
        let bucket = bucket_of_prefix(self.word);
        let total = bucket.total_bits();
        let Some(remaining) = self.remaining.checked_sub(total as usize) else {
            return Err(DecodeError::UnexpectedEnd);
        };
        let raw = self.word.wrapping_shr(bucket.prefix_bits()) & low_mask(bucket.raw_bits());
        let Some(value) = bucket.offset().checked_add(raw as u32) else {
            return Err(DecodeError::BadPackedInteger);
        };
        self.drop_bits(total);
        self.remaining = remaining;
        Ok(value)
    }

    /// Reads a packed integer with a sign.
    ///
    /// # Errors
    /// As [`read_packed`](Self::read_packed).
    #[inline]
    pub fn read_packed_signed(&mut self) -> Result<i32, DecodeError> {
        Ok(un_zig_zag(self.read_packed()?))
    }

    /// Reads a number as two packed halves, the low one first.
    ///
    /// # Errors
    /// As [`read_packed`](Self::read_packed).
    #[inline]
    pub fn read_packed_u64(&mut self) -> Result<u64, DecodeError> {
        let low = self.read_packed()?;
        let high = self.read_packed()?;
        Ok(u64::from(low) | (u64::from(high) << 32))
    }

    /// Reads a difference from `base` and returns the value it leads to.
    ///
    /// # Errors
    /// As [`read_packed`](Self::read_packed).
    #[inline]
    pub fn read_delta(&mut self, base: u32) -> Result<u32, DecodeError> {
        Ok(base.wrapping_add(self.read_packed_signed()?.cast_unsigned()))
    }

    /// Moves on to the next byte of the message.
    ///
    /// # Errors
    /// [`DecodeError::BadPadding`] if the bits on the way are not 0, [`DecodeError::UnexpectedEnd`] if it lies past the end.
    #[inline]
    pub fn align(&mut self) -> Result<(), DecodeError> {
        let position = self.end.wrapping_sub(self.remaining);
        let padding = position.wrapping_neg() & 7;
        if self.read_bits(padding as u32)? == 0 { Ok(()) } else { Err(DecodeError::BadPadding) }
    }

    /// Splits off a reader of the next `bits` and moves past them.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedEnd`] if fewer are left.
    pub fn read_sub(&mut self, bits: usize) -> Result<Self, DecodeError> {
        let Some(remaining) = self.remaining.checked_sub(bits) else {
            return Err(DecodeError::UnexpectedEnd);
        };
        let end = self.end.wrapping_sub(remaining);
        let mut sub = self.clone();
        sub.end = end;
        sub.remaining = bits;
        self.remaining = remaining;
        self.seek(end);
        Ok(sub)
    }

    /// Fills `into` with bytes, wherever the stream stands.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedEnd`] if fewer are left; then nothing is written.
    pub fn read_bytes_into(&mut self, into: &mut [u8]) -> Result<(), DecodeError> {
        if self.remaining / 8 < into.len() {
            return Err(DecodeError::UnexpectedEnd);
        }
        let (words, tail) = into.as_chunks_mut::<4>();
        for word in words {
            *word = self.read_u32()?.to_le_bytes();
        }
        for byte in tail {
            *byte = self.read_u8()?;
        }
        Ok(())
    }

    /// Bits that may still be read.
    #[must_use]
    #[inline]
    pub const fn remaining_bits(&self) -> usize {
        self.remaining
    }

    /// Whether no bit is left.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.remaining == 0
    }

    /// Checks that not a single bit is left: for what says its length in bits.
    ///
    /// # Errors
    /// [`DecodeError::TrailingBits`].
    pub const fn expect_empty(&self) -> Result<(), DecodeError> {
        if self.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBits) }
    }

    /// Checks that the message ends here: only bits that fill up the last byte are left, and they are 0.
    ///
    /// # Errors
    /// [`DecodeError::TrailingBits`] if 8 or more bits are left, [`DecodeError::BadPadding`] if those left are not 0.
    pub fn expect_end(&self) -> Result<(), DecodeError> {
        if self.remaining >= 8 {
            return Err(DecodeError::TrailingBits);
        }
        if self.clone().read_bits(self.remaining as u32)? == 0 { Ok(()) } else { Err(DecodeError::BadPadding) }
    }
}

/// Fills a word to at least 56 bits from less than 8 bytes, and with zeros from their end on.
/// Returns the word, its bits and the bytes taken: values, so that the reader itself can stay in registers.
#[cold]
#[inline(never)]
fn refill_from_tail(mut word: u64, mut available: u32, rest: &[u8]) -> (u64, u32, usize) {
    let mut taken: usize = 0;
    while available < 56 {
        if let Some(byte) = rest.get(taken) {
            word |= u64::from(*byte).wrapping_shl(available);
            taken = taken.wrapping_add(1);
        }
        available = available.wrapping_add(8);
    }
    (word, available, taken)
}

//! Bit streams: least significant bit first into bytes of increasing address.
//! Writers fill a buffer that the caller may reuse; readers look into a received message.
//! Both move 64 bits at a time; a reader checks every read against its end and never panics.

use crate::error::DecodeError;
use crate::packed::{bucket_of, bucket_of_prefix, un_zig_zag, zig_zag};
use crate::tick::NetworkTick;

/// The lowest `count` bits set; `count` is 0 to 63.
#[inline]
const fn low_mask(count: u32) -> u64 {
    !u64::MAX.wrapping_shl(count)
}

/// The smallest buffer that a writer makes: a header and a few values.
const FIRST_BUFFER_BYTES: usize = 64;

/// The most bits that are pushed at once: with the up to 7 bits of a begun byte, they fit into a word.
const MAX_PUSH_BITS: u32 = 56;

/// The bits of a packed integer, and how many they are.
#[inline]
fn packed_code(value: u32) -> (u64, u32) {
    let bucket = bucket_of(value);
    let raw = u64::from(value.wrapping_sub(bucket.offset()));
    let code = bucket.prefix() | raw.wrapping_shl(bucket.prefix_bits());
    (code, bucket.total_bits())
}

/// The packed form of the wrapping difference of `value` and `base`.
#[inline]
fn delta_code(value: u32, base: u32) -> (u64, u32) {
    packed_code(zig_zag(value.wrapping_sub(base).cast_signed()))
}

/// Writes bits into a growing byte buffer.
///
/// Every write stores the begun byte too, so that [`as_bytes`](Self::as_bytes) is free, and takes no branch on how much
/// fits: where bytes end is as good as random, and a branch that is guessed wrongly costs more than the store.
#[derive(Clone, Debug, Default)]
pub struct BitWriter {
    /// Bytes before `byte` are final, the one at `byte` mirrors `begun`; what follows is left over from earlier use.
    buffer: Vec<u8>,
    /// Whole bytes written.
    byte: usize,
    /// The begun byte; bits from `used` on are 0.
    begun: u64,
    /// Bits used of the begun byte, 0 to 7.
    used: u32,
}

impl BitWriter {
    /// An empty writer; the first write allocates.
    #[must_use]
    #[inline]
    pub const fn new() -> Self {
        Self::with_buffer(Vec::new())
    }

    /// An empty writer that uses this buffer's memory. What the buffer held is overwritten.
    #[must_use]
    #[inline]
    pub const fn with_buffer(buffer: Vec<u8>) -> Self {
        Self { buffer, byte: 0, begun: 0, used: 0 }
    }

    /// Forgets what was written and keeps the memory.
    #[inline]
    pub const fn clear(&mut self) {
        self.byte = 0;
        self.begun = 0;
        self.used = 0;
    }

    /// Bits written.
    #[must_use]
    #[inline]
    pub const fn bit_len(&self) -> usize {
        self.byte.wrapping_mul(8).wrapping_add(self.used as usize)
    }

    /// Bytes that hold them: the last one may be in part unused.
    #[must_use]
    #[inline]
    pub const fn byte_len(&self) -> usize {
        self.byte.wrapping_add((self.used > 0) as usize)
    }

    /// Stores a word at the begun byte.
    #[inline]
    fn store(&mut self, word: u64) {
        let bytes = word.to_le_bytes();
        match self.buffer.get_mut(self.byte..).and_then(|rest| rest.first_chunk_mut::<8>()) {
            Some(place) => *place = bytes,
            None => self.grow_and_store(bytes),
        }
    }

    #[cold]
    #[inline(never)]
    fn grow_and_store(&mut self, bytes: [u8; 8]) {
        self.reserve_bytes(bytes.len());
        if let Some(place) = self.buffer.get_mut(self.byte..).and_then(|rest| rest.first_chunk_mut::<8>()) {
            *place = bytes;
        }
    }

    /// Makes room for `bytes` from the begun byte on.
    fn reserve_bytes(&mut self, bytes: usize) {
        let needed = self.byte.saturating_add(bytes);
        if self.buffer.len() < needed {
            let length =
                needed.max(self.buffer.len().saturating_mul(2)).max(self.buffer.capacity()).max(FIRST_BUFFER_BYTES);
            self.buffer.resize(length, 0);
        }
    }

    /// Appends the lowest `count` bits (0 to 56) of `value`, whose other bits must be 0.
    #[inline]
    fn push(&mut self, value: u64, count: u32) {
        debug_assert!(count <= MAX_PUSH_BITS && value & !low_mask(count) == 0);
        let word = self.begun | value.wrapping_shl(self.used);
        self.store(word);
        let total = self.used.wrapping_add(count);
        self.byte = self.byte.wrapping_add((total / 8) as usize);
        self.begun = word.wrapping_shr(total & !7);
        self.used = total & 7;
    }

    /// Writes the lowest `count` bits of `value`; `count` is 0 to 32, more counts as 32.
    #[inline]
    pub fn write_bits(&mut self, value: u32, count: u32) {
        let count = count.min(32);
        self.push(u64::from(value) & low_mask(count), count);
    }

    /// Writes the lowest `count` bits of `value`; `count` is 0 to 64.
    #[inline]
    pub(crate) fn write_bits64(&mut self, value: u64, count: u32) {
        let mask = if count >= 64 { u64::MAX } else { low_mask(count) };
        self.push(value & mask, count.min(64));
    }

    /// Writes one bit.
    #[inline]
    pub fn write_bool(&mut self, value: bool) {
        self.push(u64::from(value), 1);
    }

    /// Writes 8 bits.
    #[inline]
    pub fn write_u8(&mut self, value: u8) {
        self.push(u64::from(value), 8);
    }

    /// Writes 16 bits.
    #[inline]
    pub fn write_u16(&mut self, value: u16) {
        self.push(u64::from(value), 16);
    }

    /// Writes 32 bits.
    #[inline]
    pub fn write_u32(&mut self, value: u32) {
        self.push(u64::from(value), 32);
    }

    /// Writes 64 bits.
    #[inline]
    pub fn write_u64(&mut self, value: u64) {
        self.write_bits64(value, 64);
    }

    /// Writes the index of a tick, 31 bits.
    #[inline]
    pub fn write_tick(&mut self, tick: NetworkTick) {
        self.push(u64::from(tick.index()), 31);
    }

    /// Writes a packed integer: 2 bits for 0, at most 38.
    #[inline]
    pub fn write_packed(&mut self, value: u32) {
        let (code, bits) = packed_code(value);
        self.push(code, bits);
    }

    /// Writes a packed integer with a sign, zig-zag coded.
    #[inline]
    pub fn write_packed_signed(&mut self, value: i32) {
        self.write_packed(zig_zag(value));
    }

    /// Writes the low, then the high half of a number as packed integers.
    #[inline]
    pub fn write_packed_u64(&mut self, value: u64) {
        self.write_packed(value as u32);
        self.write_packed((value >> 32) as u32);
    }

    /// Writes the wrapping difference of `value` and `base`, zig-zag coded and packed.
    #[inline]
    pub fn write_delta(&mut self, value: u32, base: u32) {
        let (code, bits) = delta_code(value, base);
        self.push(code, bits);
    }

    /// Writes zeros up to the next byte.
    #[inline]
    pub fn align(&mut self) {
        let padding = self.used.wrapping_neg() & 7;
        self.push(0, padding);
    }

    /// Writes bytes, wherever the stream stands.
    #[inline]
    pub fn write_bytes(&mut self, bytes: &[u8]) {
        self.append_bits(bytes, bytes.len().saturating_mul(8));
    }

    /// Copies the first `bit_len` bits of another writer's bytes. Of fewer bytes, all of their bits.
    pub fn append_bits(&mut self, bytes: &[u8], bit_len: usize) {
        let bit_len = bit_len.min(bytes.len().saturating_mul(8));
        let (words, _) = bytes.as_chunks::<8>();
        let whole = words.get(..bit_len / 64).unwrap_or(words);
        self.append_words(whole);

        let tail_bits = (bit_len % 64) as u32;
        let copied = whole.len().wrapping_mul(8);
        let tail = match bytes.get(copied..).and_then(|rest| rest.first_chunk::<8>()) {
            Some(tail) => *tail,
            None => {
                let mut tail = [0u8; 8];
                let rest = bytes.get(copied..).unwrap_or(&[]);
                for (to, from) in tail.iter_mut().zip(rest) {
                    *to = *from;
                }
                tail
            }
        };
        self.write_bits64(u64::from_le_bytes(tail) & low_mask(tail_bits), tail_bits);
    }

    /// Copies whole words: each completes the begun byte, and begins another.
    fn append_words(&mut self, words: &[[u8; 8]]) {
        let bytes = words.len().saturating_mul(8);
        self.reserve_bytes(bytes.saturating_add(8));
        let (used, mut carry) = (self.used, self.begun);
        let (places, _) = self.buffer.get_mut(self.byte..).unwrap_or(&mut []).as_chunks_mut::<8>();
        for (place, word) in places.iter_mut().zip(words) {
            let value = u64::from_le_bytes(*word);
            *place = (carry | value.wrapping_shl(used)).to_le_bytes();
            // Two shifts, because one by 64 would be one by 0.
            carry = (value >> 1).wrapping_shr(63u32.wrapping_sub(used));
        }
        self.byte = self.byte.wrapping_add(bytes);
        self.begun = carry;
        self.store(carry);
    }

    /// What was written. The unused bits of the last byte are 0.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.buffer.get(..self.byte_len()).unwrap_or(&[])
    }

    /// What was written, as the buffer itself. The unused bits of the last byte are 0.
    #[must_use]
    #[inline]
    pub fn finish(mut self) -> Vec<u8> {
        self.buffer.truncate(self.byte_len());
        self.buffer
    }

    /// Takes back what was written after the first `bit_len` bits. Without effect if there are no more.
    pub fn truncate(&mut self, bit_len: usize) {
        if bit_len >= self.bit_len() {
            return;
        }
        self.byte = bit_len / 8;
        self.used = (bit_len % 8) as u32;
        let byte = self.buffer.get(self.byte).copied().unwrap_or(0);
        self.begun = u64::from(byte) & low_mask(self.used);
        // Clears the bits of the begun byte that were taken back.
        self.store(self.begun);
    }
}

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

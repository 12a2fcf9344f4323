//! Writes bits into a growing byte buffer that the caller may take back and reuse.
//! Every encoder writes into one of these; the send systems hand its bytes to the transport.
//! Rows go through here lane by lane, so a write is a few instructions without a branch.

use super::low_mask;
use crate::packed::{bucket_of, zig_zag};
use crate::tick::NetworkTick;

/// The smallest buffer that a writer makes: a header and a few values.
const FIRST_BUFFER_BYTES: usize = 64;

/// The most bits that are pushed at once: with the up to 7 bits of a begun byte, they fit into a word.
const MAX_PUSH_BITS: u32 = 56;

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
    pub(crate) fn push(&mut self, value: u64, count: u32) {
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
        self.write_bits(value as u32, count.min(32));
        self.write_bits((value >> 32) as u32, count.saturating_sub(32));
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
        let bucket = bucket_of(value);
        let raw = u64::from(value.wrapping_sub(bucket.offset()));
        let code = bucket.prefix() | raw.wrapping_shl(bucket.prefix_bits());
        self.push(code, bucket.total_bits());
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
        self.write_packed_signed(value.wrapping_sub(base).cast_signed());
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
        // Also without a tail: this stores what the words have begun.
        self.write_bits64(u64::from_le_bytes(tail) & low_mask(tail_bits), tail_bits);
    }

    /// Copies `bit_len` bits of another writer's bytes, from bit `from` on. Of fewer bytes, what there is.
    pub fn append_range(&mut self, bytes: &[u8], from: usize, bit_len: usize) {
        let begun = (from % 8) as u32;
        let mut rest = bytes.get(from / 8..).unwrap_or(&[]);
        let mut left = bit_len.min(rest.len().saturating_mul(8).saturating_sub(begun as usize));
        if begun != 0 {
            let count = left.min(8usize.saturating_sub(begun as usize)) as u32;
            let first = rest.first().copied().unwrap_or(0);
            self.write_bits(u32::from(first).wrapping_shr(begun), count);
            left = left.saturating_sub(count as usize);
            rest = rest.get(1..).unwrap_or(&[]);
        }
        self.append_bits(rest, left);
    }

    /// Copies whole words: each completes the begun byte, and begins another, which the next push stores.
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

//! The packed integer code of `docs/wire-format.md` section 1: tables and costs.
//! Used by the bit stream for every `p` and `z`, and by writers that choose the smaller of two forms.
//! Tables are computed from the bucket widths at compile time, so that there is one source of truth.

use core::hint::select_unpredictable;

/// Buckets of the code.
const BUCKETS: usize = 16;

/// Bits of the longest prefix: what a reader looks at to know the bucket.
const PREFIX_BITS: u32 = 6;

/// Bits that place a value in its bucket. The offsets follow: each bucket begins where the one before it ends.
const RAW_BITS: [u8; BUCKETS] = [0, 0, 1, 2, 3, 4, 6, 8, 10, 12, 15, 18, 21, 24, 27, 32];

/// Lengths of the prefixes. They fill the code space, so that any six bits begin with exactly one prefix.
const PREFIX_LENGTHS: [u8; BUCKETS] = [2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6, 6, 6, 6];

/// One bucket, packed into a word: bits 0–31 the offset, 32–39 the prefix, 40–47 its bits, 48–55 the bits after it,
/// 56–63 both together. One load, and a choice between two of them is no branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket(u64);

impl Bucket {
    /// The smallest value of the bucket.
    #[inline]
    pub(crate) const fn offset(self) -> u32 {
        self.0 as u32
    }

    /// The prefix, its first bit in bit 0: the order in which the stream takes bits.
    #[inline]
    pub(crate) const fn prefix(self) -> u64 {
        (self.0 >> 32) & 0xFF
    }

    /// Bits of the prefix.
    #[inline]
    pub(crate) const fn prefix_bits(self) -> u32 {
        ((self.0 >> 40) & 0xFF) as u32
    }

    /// Bits after the prefix.
    #[inline]
    pub(crate) const fn raw_bits(self) -> u32 {
        ((self.0 >> 48) & 0xFF) as u32
    }

    /// Bits of both.
    #[inline]
    pub(crate) const fn total_bits(self) -> u32 {
        (self.0 >> 56) as u32
    }
}

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "runs at compile time, where a mistake is a compile error"
)]
const fn build_buckets() -> [Bucket; BUCKETS] {
    let mut buckets = [Bucket(0); BUCKETS];
    let mut offset: u64 = 0;
    // Lengths ascend with the bucket number, so the canonical order is the order of the table.
    let mut code: u32 = 0;
    let mut i = 0;
    while i < BUCKETS {
        let length = PREFIX_LENGTHS[i] as u32;
        if i > 0 {
            code = (code + 1) << (length - PREFIX_LENGTHS[i - 1] as u32);
        }
        let prefix = code.reverse_bits() >> (32 - length);
        let raw = RAW_BITS[i] as u32;
        buckets[i] = Bucket(
            offset
                | ((prefix as u64) << 32)
                | ((length as u64) << 40)
                | ((raw as u64) << 48)
                | (((length + raw) as u64) << 56),
        );
        offset += 1 << RAW_BITS[i];
        i += 1;
    }
    assert!(code + 1 == 1 << PREFIX_BITS, "the prefixes fill the code space");
    buckets
}

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "runs at compile time, where a mistake is a compile error"
)]
const fn build_by_prefix() -> [Bucket; 1 << PREFIX_BITS] {
    let buckets = build_buckets();
    let mut table = [Bucket(0); 1 << PREFIX_BITS];
    let mut next_bits = 0;
    while next_bits < table.len() {
        let mut i = 0;
        while i < BUCKETS {
            let mask = (1 << buckets[i].prefix_bits()) - 1;
            if next_bits & mask == buckets[i].prefix() as usize {
                table[next_bits] = buckets[i];
            }
            i += 1;
        }
        next_bits += 1;
    }
    table
}

/// For each number of significant bits: the bucket of the largest such value, and the one before it.
/// Between two powers of two lies at most one border of buckets, so one comparison with the offset decides.
#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "runs at compile time, where a mistake is a compile error"
)]
const fn build_by_size() -> [[Bucket; 2]; 64] {
    let buckets = build_buckets();
    let mut table = [[Bucket(0); 2]; 64];
    let mut bits = 0;
    while bits <= 32 {
        let largest = (1u64 << bits) - 1;
        let mut i = BUCKETS - 1;
        while buckets[i].offset() as u64 > largest {
            i -= 1;
        }
        let before = if i == 0 { 0 } else { i - 1 };
        table[bits] = [buckets[before], buckets[i]];
        bits += 1;
    }
    table
}

static BY_PREFIX: [Bucket; 1 << PREFIX_BITS] = build_by_prefix();
// 64 entries for 33 sizes: a masked index needs no check.
static BY_SIZE: [[Bucket; 2]; 64] = build_by_size();

/// The bucket of a value.
#[inline]
#[expect(clippy::indexing_slicing, reason = "the index is masked to the length of the table")]
pub(crate) fn bucket_of(value: u32) -> Bucket {
    let size = 32u32.wrapping_sub(value.leading_zeros());
    let [below, bucket] = &BY_SIZE[(size & 63) as usize];
    // Which of the two is as good as random: a wrongly guessed branch would cost more than both loads.
    select_unpredictable(value < bucket.offset(), *below, *bucket)
}

/// The bucket whose prefix the next bits of a stream begin with.
#[inline]
#[expect(clippy::indexing_slicing, reason = "the index is masked to the length of the table")]
pub(crate) fn bucket_of_prefix(next_bits: u64) -> Bucket {
    BY_PREFIX[(next_bits & 63) as usize]
}

/// Bits of the longest packed integer.
pub(crate) const MOST_PACKED_BITS: u32 = 38;

/// How many bits [`BitWriter::write_packed`](crate::BitWriter::write_packed) takes for a value: 2 to 38.
#[must_use]
#[inline]
pub fn packed_bits(value: u32) -> u32 {
    bucket_of(value).total_bits()
}

/// Maps small numbers of either sign to small numbers: 0, −1, 1, −2 … become 0, 1, 2, 3 …
#[inline]
pub(crate) const fn zig_zag(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)).cast_unsigned()
}

/// The inverse of [`zig_zag`].
#[inline]
pub(crate) const fn un_zig_zag(value: u32) -> i32 {
    ((value >> 1) ^ (value & 1).wrapping_neg()).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buckets_are_those_of_the_document() {
        let offsets: Vec<u32> = build_buckets().iter().map(|b| b.offset()).collect();
        assert_eq!(
            offsets,
            [0, 1, 2, 4, 8, 16, 32, 96, 352, 1376, 5472, 38240, 300_384, 2_397_536, 19_174_752, 153_392_480]
        );
    }

    #[test]
    fn known_values_have_known_costs() {
        for (value, bits) in [(0, 2), (1, 3), (12, 7), (123, 13), (153_392_479, 33), (153_392_480, 38), (u32::MAX, 38)]
        {
            assert_eq!(packed_bits(value), bits, "{value}");
        }
    }

    #[test]
    fn every_border_of_a_bucket_falls_into_the_right_one() {
        for bucket in build_buckets() {
            assert_eq!(bucket_of(bucket.offset()), bucket);
            let last = u64::from(bucket.offset()) + (1u64 << bucket.raw_bits()) - 1;
            assert_eq!(bucket_of(last.min(u64::from(u32::MAX)) as u32), bucket);
        }
    }

    #[test]
    fn no_prefix_begins_another() {
        let buckets = build_buckets();
        for (i, a) in buckets.iter().enumerate() {
            for b in &buckets[i + 1..] {
                let mask = (1 << a.prefix_bits().min(b.prefix_bits())) - 1;
                assert_ne!(a.prefix() & mask, b.prefix() & mask);
            }
        }
    }

    #[test]
    fn zig_zag_is_undone() {
        for value in [0, 1, -1, 2, -2, i32::MAX, i32::MIN] {
            assert_eq!(un_zig_zag(zig_zag(value)), value);
        }
        assert_eq!([0, -1, 1, -2].map(zig_zag), [0, 1, 2, 3]);
    }
}

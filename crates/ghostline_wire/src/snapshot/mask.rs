//! A mask of a chunk's slots, `docs/wire-format.md` section 5.4: dense up to a width, or the gaps between the set bits.
//! Used for the slots that changed, or those in which they differ from a reference, and for those that a body does not cover.

use crate::bits::{BitReader, BitWriter};
use crate::error::DecodeError;
use crate::limits::CHUNK_SLOTS;
use crate::packed::packed_bits;

/// Zeros of a gap's quotient, at most: 32 set bits leave gaps of 32 in all, and fewer have a parameter.
const MAX_ZEROS: u32 = 33;

/// Low bits of a gap that are written as they are, if so many bits are set.
const fn gap_parameter(count: u32) -> u32 {
    6u32.saturating_sub(u32::BITS.saturating_sub(count.leading_zeros()))
}

/// The numbers of zeros before each set bit, counted from the set bit before it.
#[inline]
fn for_each_gap(mut mask: u64, mut visit: impl FnMut(u32)) {
    while mask != 0 {
        let gap = mask.trailing_zeros();
        visit(gap);
        // Two shifts, because a gap of 63 would make one by 64, which is one by 0.
        mask = mask.wrapping_shr(gap) >> 1;
    }
}

const fn width_of(mask: u64) -> u32 {
    let width = u64::BITS.saturating_sub(mask.leading_zeros());
    if width == 0 { 1 } else { width }
}

/// Bits of the sparse form, if that is smaller than `dense`.
fn sparse_bits_below(mask: u64, dense: u32) -> Option<u32> {
    let count = mask.count_ones();
    let parameter = gap_parameter(count);
    let mut bits = count.saturating_mul(parameter.saturating_add(1)).saturating_add(packed_bits(count));
    // For most masks that is enough to know.
    if bits >= dense {
        return None;
    }
    for_each_gap(mask, |gap| bits = bits.saturating_add(gap.wrapping_shr(parameter)));
    (bits < dense).then_some(bits)
}

fn dense_bits(mask: u64) -> u32 {
    width_of(mask).saturating_add(6)
}

/// Bits that [`write_mask`] takes, at most.
pub const MOST_MASK_BITS: u32 = 1 + 6 + CHUNK_SLOTS;

/// Bits that [`write_mask`] takes.
#[must_use]
pub fn mask_bits(mask: u64) -> u32 {
    let dense = dense_bits(mask);
    sparse_bits_below(mask, dense).unwrap_or(dense).saturating_add(1)
}

/// Writes a mask in the smaller of its two forms.
pub fn write_mask(mask: u64, out: &mut BitWriter) {
    let is_dense = sparse_bits_below(mask, dense_bits(mask)).is_none();
    out.write_bool(is_dense);
    if is_dense {
        let width = width_of(mask);
        out.write_bits(width.saturating_sub(1), 6);
        out.write_bits64(mask, width);
        return;
    }
    let count = mask.count_ones();
    let parameter = gap_parameter(count);
    out.write_packed(count);
    for_each_gap(mask, |gap| {
        let zeros = gap.wrapping_shr(parameter).min(MAX_ZEROS);
        let low = gap & 1u32.wrapping_shl(parameter).wrapping_sub(1);
        // The quotient, a one, the low bits: 40 bits at most.
        let code = u64::from(low).wrapping_shl(1) | 1;
        out.push(code.wrapping_shl(zeros), zeros.saturating_add(1).saturating_add(parameter));
    });
}

/// Reads what [`write_mask`] wrote.
///
/// # Errors
/// [`DecodeError::LimitExceeded`] for more set bits than slots, [`DecodeError::BadValue`] for a slot beyond the last, and what reading bits
/// can end in.
pub fn read_mask(input: &mut BitReader<'_>) -> Result<u64, DecodeError> {
    if input.read_bool()? {
        let width = input.read_bits(6)?.saturating_add(1);
        return input.read_bits64(width);
    }
    let count = DecodeError::check_limit("changed slots", CHUNK_SLOTS, input.read_packed()?)?;
    let parameter = gap_parameter(count);
    let (mut mask, mut next) = (0u64, 0u32);
    for _ in 0..count {
        let zeros = input.read_zeros(MAX_ZEROS)?;
        let gap = zeros.wrapping_shl(parameter) | input.read_bits(parameter)?;
        let slot = next.saturating_add(gap);
        if zeros == MAX_ZEROS || slot >= CHUNK_SLOTS {
            return Err(DecodeError::BadValue { what: "changed slot" });
        }
        mask |= 1u64.wrapping_shl(slot);
        next = slot.saturating_add(1);
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use super::super::read_back;
    use super::*;
    use proptest::prelude::*;

    fn bits(mask: u64) -> usize {
        let mut out = BitWriter::new();
        write_mask(mask, &mut out);
        assert_eq!(out.bit_len(), mask_bits(mask) as usize, "{mask:x}");
        out.bit_len()
    }

    #[test]
    fn every_width_and_every_lone_slot_comes_back() {
        for slot in 0..64 {
            for mask in [1 << slot, u64::MAX >> slot, u64::MAX << slot, 0x5555_5555_5555_5555 >> slot] {
                assert_eq!(read_back(|out| write_mask(mask, out), read_mask), Ok(mask));
            }
        }
        assert_eq!(read_back(|out| write_mask(0, out), read_mask), Ok(0));
    }

    #[test]
    fn few_slots_are_coded_as_gaps_and_many_as_they_are() {
        assert_eq!(bits(0), 3);
        assert_eq!((bits(1 << 63), bits(1 << 31)), (1 + 3 + 7, 1 + 3 + 6));
        assert_eq!(bits(u64::MAX), 1 + 6 + 64);
        assert_eq!(bits(0b111), 1 + 6 + 3, "a small world is as wide as it is");
        assert!(bits(1 << 5 | 1 << 20 | 1 << 44 | 1 << 63) < 36);
    }

    #[test]
    fn a_slot_beyond_the_last_and_more_slots_than_there_are_are_malformed() {
        let bad_slot = Err(DecodeError::BadValue { what: "changed slot" });
        let sparse = |count: u32, zeros: u32, low: u32, low_bits: u32| {
            read_back(
                |out| {
                    out.write_bool(false);
                    out.write_packed(count);
                    out.write_bits64(1 << zeros, zeros + 1);
                    out.write_bits(low, low_bits);
                },
                read_mask,
            )
        };
        assert_eq!(sparse(1, 1, 31, 5), Ok(1 << 63));
        assert_eq!(sparse(1, 2, 0, 5), bad_slot);
        assert_eq!(sparse(1, 40, 0, 5), bad_slot);
        assert_eq!(sparse(65, 0, 0, 0), {
            Err(DecodeError::LimitExceeded { what: "changed slots", limit: 64, got: 65 })
        });
    }

    proptest! {
        #[test]
        fn masks_come_back(a in any::<u64>(), b in any::<u64>(), c in any::<u64>()) {
            for mask in [a, a & b, a & b & c, a | b, a | b | c] {
                prop_assert_eq!(read_back(|out| write_mask(mask, out), read_mask), Ok(mask));
                prop_assert!(bits(mask) <= 71);
            }
        }
    }
}

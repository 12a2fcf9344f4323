//! The code of what a prediction leaves over: zeros for the quotient, a one, the low bits. Short for numbers around two to the power of its
//! parameter; from 12 zeros on the rest of the quotient is a packed integer.

use crate::bits::{BitReader, BitWriter};
use crate::error::DecodeError;

/// Quotients from here on are written as packed integers.
const ESCAPE: u32 = 12;
/// Bits of a code without an escape, at most.
const MOST_BITS: u32 = ESCAPE + 14;

/// Collects short codes and hands them on several at a time.
pub(super) struct RiceWriter<'a> {
    out: &'a mut BitWriter,
    bits: u64,
    count: u32,
}

impl<'a> RiceWriter<'a> {
    #[inline]
    pub(super) const fn new(out: &'a mut BitWriter) -> Self {
        Self { out, bits: 0, count: 0 }
    }

    /// Writes a number; the parameter is 0 to 14.
    #[inline]
    pub(super) fn write(&mut self, value: u32, parameter: u32) {
        let quotient = value.wrapping_shr(parameter);
        let low = value & 1u32.wrapping_shl(parameter).wrapping_sub(1);
        if quotient >= ESCAPE {
            return self.escape(quotient, low, parameter);
        }
        // The low bits, shifted behind the one.
        let code = (low.wrapping_shl(1) | 1).wrapping_shl(quotient);
        if self.count > u64::BITS - 8 - MOST_BITS {
            self.flush();
        }
        self.bits |= u64::from(code).wrapping_shl(self.count);
        self.count = self.count.wrapping_add(quotient).wrapping_add(parameter).wrapping_add(1);
    }

    #[cold]
    fn escape(&mut self, quotient: u32, low: u32, parameter: u32) {
        self.flush();
        self.out.write_bits(0, ESCAPE);
        self.out.write_packed(quotient.wrapping_sub(ESCAPE));
        self.out.write_bits(low, parameter);
    }

    /// The stream behind what was collected, for what has no such code.
    #[inline]
    pub(super) fn out(&mut self) -> &mut BitWriter {
        self.flush();
        self.out
    }

    /// Hands on what was collected.
    #[inline]
    pub(super) fn flush(&mut self) {
        self.out.push(self.bits, self.count);
        self.bits = 0;
        self.count = 0;
    }
}

/// Reads a number.
///
/// # Errors
/// [`DecodeError::BadValue`] for one beyond 32 bits, and what reading bits can end in.
#[inline]
pub(super) fn read_rice(parameter: u32, input: &mut BitReader<'_>) -> Result<u32, DecodeError> {
    let word = input.peek();
    let zeros = word.trailing_zeros();
    if zeros >= ESCAPE {
        return read_escaped(parameter, input);
    }
    input.skip(zeros.wrapping_add(1).wrapping_add(parameter))?;
    let low = (word.wrapping_shr(zeros) >> 1) as u32 & 1u32.wrapping_shl(parameter).wrapping_sub(1);
    Ok(zeros.wrapping_shl(parameter) | low)
}

#[cold]
fn read_escaped(parameter: u32, input: &mut BitReader<'_>) -> Result<u32, DecodeError> {
    input.skip(ESCAPE)?;
    let quotient = input.read_packed()?.saturating_add(ESCAPE);
    let low = input.read_bits(parameter)?;
    if quotient > u32::MAX.wrapping_shr(parameter) {
        return Err(DecodeError::BadValue { what: "residual" });
    }
    Ok(quotient.wrapping_shl(parameter) | low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back_whatever_their_parameters(
            numbers in proptest::collection::vec((0..33u32, any::<u32>(), 0..15u32), 0..40),
        ) {
            let mut out = BitWriter::new();
            let mut writer = RiceWriter::new(&mut out);
            let value = |bits: u32, value: u32| (u64::from(value) & ((1 << bits) - 1)) as u32;
            for &(bits, number, parameter) in &numbers {
                writer.write(value(bits, number), parameter);
            }
            writer.flush();
            let mut input = BitReader::with_bits(out.as_bytes(), out.bit_len());
            for &(bits, number, parameter) in &numbers {
                prop_assert_eq!(read_rice(parameter, &mut input), Ok(value(bits, number)));
            }
            prop_assert!(input.is_empty());
        }
    }

    #[test]
    fn a_number_costs_its_quotient_its_low_bits_and_one() {
        let bits = |value, parameter| {
            let mut out = BitWriter::new();
            let mut writer = RiceWriter::new(&mut out);
            writer.write(value, parameter);
            writer.flush();
            out.bit_len()
        };
        assert_eq!((bits(0, 0), bits(3, 0), bits(40, 4), bits(11, 0)), (1, 4, 7, 12));
        assert_eq!(bits(12, 0), 12 + 2, "the escape, and a packed 0");
    }

    #[test]
    fn what_is_cut_off_or_too_large_is_malformed() {
        let mut out = BitWriter::new();
        out.write_bits(0, ESCAPE);
        out.write_packed(u32::MAX);
        out.write_bits(0, 14);
        assert_eq!(read_rice(14, &mut BitReader::new(out.as_bytes())), Err(DecodeError::BadValue { what: "residual" }));
        for bits in 0..12 {
            assert_eq!(read_rice(7, &mut BitReader::with_bits(&[0x10, 0xFF], bits)), Err(DecodeError::UnexpectedEnd));
        }
        assert_eq!(read_rice(7, &mut BitReader::with_bits(&[0x10, 0xFF], 12)), Ok(4 << 7 | 0x78));
    }
}

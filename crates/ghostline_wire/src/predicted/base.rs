//! What predicted rows start from: how old the baseline and the earlier rows are, and where that lets a lane be expected.

use super::model::Order;
use crate::bits::{BitReader, BitWriter};
use crate::error::DecodeError;
use crate::limits::{MAX_MODELS, MAX_SLOPE_TICKS};

/// What a chunk's predicted rows start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PredictionBase {
    /// Ticks from the baseline to the packet's tick, 1 or more.
    pub age: u32,
    /// Ticks from the earlier row to the baseline; 0: there is none, and no slope.
    pub span: u32,
    /// There is one more row, a span before the earlier one.
    pub curved: bool,
}

impl PredictionBase {
    /// Writes it.
    pub fn write(self, out: &mut BitWriter) {
        out.write_packed(self.age);
        out.write_packed(self.span);
        if self.span != 0 {
            out.write_bool(self.curved);
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`DecodeError::BadValue`] for age 0, [`DecodeError::LimitExceeded`] beyond 255 ticks, and what reading bits can end in.
    pub fn read(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        let age = DecodeError::check_limit("baseline age", MAX_SLOPE_TICKS, input.read_packed()?)?;
        let span = DecodeError::check_limit("slope span", MAX_SLOPE_TICKS, input.read_packed()?)?;
        if age == 0 {
            return Err(DecodeError::BadValue { what: "baseline age" });
        }
        Ok(Self { age, span, curved: span != 0 && input.read_bool()? })
    }

    /// How far a lane of this order is moved on, as far as the base's rows allow.
    #[must_use]
    pub fn steps(self, order: Order) -> Steps {
        let (age, span) = (i64::from(self.age), i64::from(self.span));
        let slope = age.wrapping_shl(16).checked_div(span).unwrap_or(0);
        let bend = age.wrapping_mul(age.wrapping_add(span)).wrapping_shl(15).checked_div(span.wrapping_mul(span));
        match order {
            Order::Stay => Steps::default(),
            Order::Curve if self.curved => Steps { slope, bend: bend.unwrap_or(0) },
            Order::Slope | Order::Curve => Steps { slope, bend: 0 },
        }
    }
}

/// How far a lane is moved on, in 1/65536 of its last differences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    slope: i64,
    bend: i64,
}

impl Steps {
    /// Where a lane is expected to be that was `base`, a span before `earlier`, and another span before `earliest`. Rounded half up; all of it
    /// wraps.
    #[must_use]
    #[inline]
    pub fn expect(self, base: u32, earlier: u32, earliest: u32) -> u32 {
        let [_, curve] = self.expect_both(base, earlier, earliest);
        curve
    }

    /// As [`expect`](Self::expect): along the slope alone, and with the bend.
    #[must_use]
    #[inline]
    pub fn expect_both(self, base: u32, earlier: u32, earliest: u32) -> [u32; 2] {
        let last = base.wrapping_sub(earlier).cast_signed();
        let before = earlier.wrapping_sub(earliest).cast_signed();
        let slope = i64::from(last).wrapping_mul(self.slope).wrapping_add(1 << 15);
        let bend = i64::from(last.wrapping_sub(before)).wrapping_mul(self.bend);
        [slope, slope.wrapping_add(bend)].map(|ahead| base.wrapping_add((ahead >> 16) as u32))
    }
}

/// The rows that a row is predicted from. Where the base names none, the one after it stands in.
#[derive(Clone, Copy, Debug)]
pub struct BaseRows<'a> {
    /// The baseline.
    pub base: &'a [u32],
    /// A span before it.
    pub earlier: &'a [u32],
    /// A span before that.
    pub earliest: &'a [u32],
}

/// Which model's parameters rows are coded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelName {
    /// 0 to 15.
    pub number: u8,
    /// The model follows.
    pub is_defined: bool,
}

impl ModelName {
    /// Writes it.
    pub fn write(self, out: &mut BitWriter) {
        out.write_bits(u32::from(self.number), MAX_MODELS.ilog2());
        out.write_bool(self.is_defined);
    }

    /// Reads it.
    ///
    /// # Errors
    /// What reading bits can end in.
    pub fn read(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { number: input.read_bits(MAX_MODELS.ilog2())? as u8, is_defined: input.read_bool()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_comes_back_and_has_two_earlier_rows_only_with_a_span() {
        for (span, curved) in [(0, false), (1, false), (1, true), (255, true)] {
            let base = PredictionBase { age: 7, span, curved };
            let mut out = BitWriter::new();
            base.write(&mut out);
            ModelName { number: 15, is_defined: curved }.write(&mut out);
            let mut input = BitReader::with_bits(out.as_bytes(), out.bit_len());
            assert_eq!(PredictionBase::read(&mut input), Ok(base));
            assert_eq!(ModelName::read(&mut input), Ok(ModelName { number: 15, is_defined: curved }));
            assert!(input.is_empty());
        }
    }

    #[test]
    fn what_no_server_writes_is_malformed() {
        let read = |age: u32, span: u32| {
            let mut out = BitWriter::new();
            out.write_packed(age);
            out.write_packed(span);
            PredictionBase::read(&mut BitReader::new(out.as_bytes()))
        };
        assert_eq!(read(0, 1), Err(DecodeError::BadValue { what: "baseline age" }));
        assert_eq!(read(256, 1), Err(DecodeError::LimitExceeded { what: "baseline age", limit: 255, got: 256 }));
        assert_eq!(read(1, 256), Err(DecodeError::LimitExceeded { what: "slope span", limit: 255, got: 256 }));
    }

    #[test]
    fn straight_and_bent_motion_is_met_exactly() {
        let base = PredictionBase { age: 6, span: 3, curved: true };
        let at = |t: i32| (5 * t * t - 7 * t + 100).cast_unsigned();
        assert_eq!(base.steps(Order::Curve).expect(at(0), at(-3), at(-6)), at(6));
        let straight = |t: i32| (100 - 20 * t).cast_unsigned();
        for order in [Order::Slope, Order::Curve] {
            assert_eq!(base.steps(order).expect(straight(0), straight(-3), straight(-6)), straight(6));
        }
        assert_eq!(base.steps(Order::Stay).expect(9, 5, 1), 9);
        assert_eq!(PredictionBase { span: 0, ..base }.steps(Order::Slope).expect(9, 5, 1), 9, "nothing to draw from");
        let straight_only = PredictionBase { curved: false, ..base };
        assert_eq!(straight_only.steps(Order::Curve), straight_only.steps(Order::Slope));
    }

    #[test]
    fn the_longest_steps_over_the_longest_lanes_wrap() {
        for span in [1, 2, 255] {
            let steps = PredictionBase { age: 255, span, curved: true }.steps(Order::Curve);
            for lane in [0, 1, u32::MAX, 1 << 31, (1 << 31) - 1] {
                let _ = steps.expect(lane, lane ^ (1 << 31), !lane);
                let _ = steps.expect(lane, !lane, lane);
            }
        }
    }
}

//! Floats to integers and back: `round(value × scale)`, saturated to 32 bits.
//! Used when rows are collected from components and when they are applied.
//! Computed in double precision with a rounding that every machine does alike.

/// What quantisation had to bend, counted since the caller last reset it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuantiseStats {
    /// Values that were not numbers; they became 0.
    pub nan: u64,
    /// Values beyond 32 bits after scaling; they became the nearest end of the range.
    pub saturated: u64,
}

/// The lane of a float: `round(value × scale)`, halves away from zero, saturated to 32 bits signed; 0 for NaN.
///
/// `scale` is in steps per unit, 1 or more; 0 counts as 1. Within the range, `lane / scale` is at most half a step off.
#[inline]
pub fn quantise(value: f32, scale: u32, stats: &mut QuantiseStats) -> i32 {
    // Exact up to a scale of 2²⁹: 24 bits of the value times those of the scale fit into a double.
    let scaled = f64::from(value) * f64::from(scale.max(1));
    // `f64::round` is a function call on the baseline x86-64. A cast truncates and saturates, and takes NaN to 0.
    let truncated = scaled as i64;
    // Exact, as both are below 2⁵³ where the fraction can matter at all.
    let fraction = scaled - truncated as f64;
    let away = i64::from(fraction >= 0.5).wrapping_sub(i64::from(fraction <= -0.5));
    let rounded = truncated.saturating_add(away);
    match i32::try_from(rounded) {
        Ok(lane) => {
            if value.is_nan() {
                stats.nan = stats.nan.saturating_add(1);
            }
            lane
        }
        Err(_) => {
            stats.saturated = stats.saturated.saturating_add(1);
            if rounded < 0 { i32::MIN } else { i32::MAX }
        }
    }
}

/// The float of a lane: `lane / scale`, rounded to the nearest float. A scale of 0 counts as 1.
#[must_use]
#[inline]
pub fn dequantise(lane: i32, scale: u32) -> f32 {
    (f64::from(lane) / f64::from(scale.max(1))) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(value: f32, scale: u32) -> (i32, QuantiseStats) {
        let mut stats = QuantiseStats::default();
        (quantise(value, scale, &mut stats), stats)
    }

    #[test]
    fn halves_are_rounded_away_from_zero() {
        for (value, expected) in
            [(0.5, 1), (-0.5, -1), (1.5, 2), (-1.5, -2), (2.5, 3), (0.499_999_97, 0), (-0.499_999_97, 0)]
        {
            assert_eq!(lane(value, 1).0, expected, "{value}");
        }
        assert_eq!(lane(1.2345, 1000).0, 1235);
    }

    #[test]
    fn what_is_no_number_becomes_zero_and_is_counted() {
        for scale in [1, 1000, u32::MAX] {
            assert_eq!(lane(f32::NAN, scale), (0, QuantiseStats { nan: 1, saturated: 0 }));
        }
    }

    #[test]
    fn what_is_too_large_saturates_and_is_counted() {
        let counted = QuantiseStats { nan: 0, saturated: 1 };
        for value in [f32::INFINITY, f32::MAX, 2_147_483_648.0] {
            assert_eq!(lane(value, 1), (i32::MAX, counted));
        }
        for value in [f32::NEG_INFINITY, f32::MIN, -2_147_483_904.0] {
            assert_eq!(lane(value, 1), (i32::MIN, counted));
        }
        assert_eq!(lane(2_200_000.0, 1000), (i32::MAX, counted));
    }

    #[test]
    fn the_ends_of_the_range_are_not_saturation() {
        let none = QuantiseStats::default();
        assert_eq!(lane(-2_147_483_648.0, 1), (i32::MIN, none));
        assert_eq!(lane(2_147_483_520.0, 1), (2_147_483_520, none));
    }

    #[test]
    fn tiny_values_and_negative_zero_are_zero() {
        for value in [-0.0, f32::MIN_POSITIVE, f32::from_bits(1), -f32::from_bits(1)] {
            assert_eq!(lane(value, 1000), (0, QuantiseStats::default()));
        }
        assert_eq!(dequantise(0, 1000).to_bits(), 0);
    }

    #[test]
    fn a_scale_of_zero_counts_as_one() {
        assert_eq!(lane(7.0, 0).0, 7);
        assert_eq!(dequantise(7, 0), 7.0);
    }
}

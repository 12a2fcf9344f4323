//! Quantisation.

use ghostline_wire::*;
use proptest::prelude::*;
use proptest::sample::select;

use crate::config;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn quantising_is_off_by_half_a_step_at_most(value in any::<f32>(), scale in select(vec![1u32, 10, 100, 1_000, 65_536])) {
        let mut stats = QuantiseStats::default();
        let lane = quantise(value, scale, &mut stats);
        let exact = f64::from(value) * f64::from(scale);
        if value.is_nan() {
            prop_assert_eq!((lane, stats), (0, QuantiseStats { nan: 1, saturated: 0 }));
        } else if exact.round() > f64::from(i32::MAX) {
            prop_assert_eq!((lane, stats), (i32::MAX, QuantiseStats { nan: 0, saturated: 1 }));
        } else if exact.round() < f64::from(i32::MIN) {
            prop_assert_eq!((lane, stats), (i32::MIN, QuantiseStats { nan: 0, saturated: 1 }));
        } else {
            prop_assert_eq!(stats, QuantiseStats::default());
            prop_assert_eq!(f64::from(lane), exact.round(), "halves go away from zero");
            prop_assert!((f64::from(lane) - exact).abs() <= 0.5);
        }
    }

    #[test]
    fn what_players_see_is_off_by_half_a_step_at_most(value in -100_000.0..100_000.0f32, scale in 1..1_000u32) {
        let mut stats = QuantiseStats::default();
        let shown = dequantise(quantise(value, scale, &mut stats), scale);
        let step = 0.5 / f64::from(scale);
        // Half a step, and half of the last place of the float that shows it.
        let rounding = f64::from(shown.abs().max(f32::MIN_POSITIVE) * f32::EPSILON);
        prop_assert!((f64::from(shown) - f64::from(value)).abs() <= step + rounding);
    }

    #[test]
    fn a_value_that_was_rounded_once_stays(lane in -8_000_000..8_000_000i32, scale in 1..100_000u32) {
        let mut stats = QuantiseStats::default();
        prop_assert_eq!(quantise(dequantise(lane, scale), scale, &mut stats), lane);
        prop_assert_eq!(stats, QuantiseStats::default());
    }

    #[test]
    fn quantising_keeps_the_order(a in any::<f32>(), b in any::<f32>(), scale in any::<u32>()) {
        prop_assume!(a <= b);
        let mut stats = QuantiseStats::default();
        prop_assert!(quantise(a, scale, &mut stats) <= quantise(b, scale, &mut stats));
        prop_assert_eq!(quantise(-a, 1, &mut stats).saturating_neg().max(-i32::MAX), quantise(a, 1, &mut stats).max(-i32::MAX));
    }
}

//! The arithmetic of showing a value between two others. At the ends it is exact, beyond the second one it goes on, and what can't be blended (no
//! number, too large, no direction) is held.

use bevy_math::{Quat, Vec4};

/// Along the line, and beyond it if `factor` is above 1.
pub(super) fn lerp(from: f32, to: f32, factor: f32) -> f32 {
    match blending(factor) {
        Blending::From => from,
        Blending::To => to,
        Blending::Between => {
            // In this form a value that does not change stays exactly as it is, whatever the factor. A factor that is
            // not a number makes a value that is none.
            let value = from + (to - from) * factor;
            match (value.is_finite(), factor >= 1.0) {
                (true, _) => value,
                (false, true) => to,
                (false, false) => from,
            }
        }
    }
}

/// Along the shorter arc at constant speed, and beyond it if `factor` is above 1.
pub(super) fn slerp(from: Quat, to: Quat, factor: f32) -> Quat {
    /// Below this sine the arc is as good as straight, and dividing by it loses more than it gains.
    const STRAIGHT: f32 = 1e-3;
    match blending(factor) {
        Blending::From => return from,
        Blending::To => return to,
        Blending::Between => {}
    }
    let held = if factor >= 1.0 { to } else { from };
    let (Some(start), Some(end)) = (unit(from.into()), unit(to.into())) else {
        return held;
    };
    // A quaternion and its negative are the same rotation; the nearer of the two gives the shorter arc, of 90° at most.
    let end = if start.dot(end) < 0.0 { -end } else { end };
    // Exact for small angles too, where the arc cosine of the dot product is not.
    let angle = 2.0 * (start - end).length().atan2((start + end).length());
    let sine = angle.sin();
    let value = if sine < STRAIGHT {
        start + (end - start) * factor
    } else {
        (start * ((1.0 - factor) * angle).sin() + end * (factor * angle).sin()) / sine
    };
    unit(value).map_or(held, Quat::from_vec4)
}

/// The vector at length 1, or `None` if it has no direction: too short, too long for a float, or not a number.
pub(super) fn unit(vector: Vec4) -> Option<Vec4> {
    let squared = vector.length_squared();
    (squared.is_finite() && squared > f32::MIN_POSITIVE).then(|| vector / squared.sqrt())
}

enum Blending {
    From,
    To,
    Between,
}

fn blending(factor: f32) -> Blending {
    if factor <= 0.0 {
        Blending::From
    } else if factor == 1.0 {
        Blending::To
    } else {
        Blending::Between
    }
}

#[cfg(test)]
mod tests {
    use std::f32::consts::FRAC_PI_2;

    use bevy_math::{Vec2, Vec3};
    use proptest::prelude::*;

    use super::*;
    use crate::ghost::field::GhostField;
    use crate::ghost::field::tests::{assert_near, lanes, turn};

    fn blend<T: GhostField>(from: T, to: T, factor: f32) -> T {
        T::blend(&lanes(&from, 0), &lanes(&to, 0), 0, factor)
    }

    fn assert_near_up_to_sign(left: Quat, right: Quat) {
        assert_near(if left.dot(right) < 0.0 { -left } else { left }, right);
    }

    proptest! {
        #[test]
        fn both_ends_of_a_blend_are_exact(from: [u32; 4], to: [u32; 4], quantization in prop_oneof![Just(0u32), Just(1), Just(1000)]) {
            fn check<T: GhostField>(from: &[u32], to: &[u32], quantization: u32) {
                let bits = |value: T| lanes(&value, 0);
                let (start, end) = (T::blend(from, to, quantization, 0.0), T::blend(from, to, quantization, 1.0));
                assert_eq!(bits(start), bits(T::read_lanes(from, quantization)));
                assert_eq!(bits(end), bits(T::read_lanes(to, quantization)));
            }
            check::<u64>(&from, &to, quantization);
            check::<i8>(&from, &to, quantization);
            check::<bool>(&from, &to, quantization);
            check::<f32>(&from, &to, quantization);
            check::<Vec2>(&from, &to, quantization);
            check::<Vec3>(&from, &to, quantization);
            check::<Quat>(&from, &to, quantization);
        }

        #[test]
        fn finite_values_blend_to_finite_values(from: [i32; 4], to: [i32; 4], factor in -2f32..40.0) {
            let (from, to) = (from.map(i32::cast_unsigned), to.map(i32::cast_unsigned));
            prop_assert!(Vec3::blend(&from, &to, 1000, factor).is_finite());
            let rotation = Quat::blend(&from, &to, 1000, factor);
            prop_assert!((rotation.length() - 1.0).abs() < 1e-5, "{} has length {}", rotation, rotation.length());
        }

        #[test]
        fn any_bits_blend_and_compare_without_a_panic(from: [u32; 4], to: [u32; 4], factor: f32) {
            let _ = Vec3::blend(&from, &to, 0, factor);
            let _ = Quat::blend(&from, &to, 0, factor);
            let _ = <Vec3 as GhostField>::distance(&from, &to, 0);
            let distance = Quat::distance(&from, &to, 0);
            prop_assert!(distance == f32::INFINITY || (0.0..=1.0).contains(&distance));
            prop_assert!((0.0..=1.0).contains(&Quat::distance(&from, &to, 1)));
        }

        #[test]
        fn what_stands_still_does_not_tremble(value: [i32; 4], factor in -2f32..40.0) {
            let lanes = value.map(i32::cast_unsigned);
            prop_assert_eq!(f32::blend(&lanes, &lanes, 1000, factor), f32::read_lanes(&lanes, 1000));
            prop_assert_eq!(Vec3::blend(&lanes, &lanes, 1000, factor), Vec3::read_lanes(&lanes, 1000));
        }

        #[test]
        fn a_rotation_turns_at_constant_speed(start in -3f32..3.0, angle in -3.1f32..3.1, factor in 0f32..3.0) {
            assert_near_up_to_sign(blend(turn(start), turn(start + angle), factor), turn(start + angle * factor));
        }
    }

    #[test]
    fn integers_hold_until_the_next_value_is_reached() {
        for factor in [-1.0, 0.0, 0.5, 0.999, f32::NAN] {
            assert_eq!(blend(10u32, 20, factor), 10);
            assert!(!blend(false, true, factor));
        }
        for factor in [1.0, 1.5] {
            assert_eq!(blend(10u32, 20, factor), 20);
            assert!(blend(false, true, factor));
        }
    }

    #[test]
    fn floats_blend_their_real_values_and_beyond() {
        assert_eq!(f32::blend(&lanes(&1.0f32, 10), &lanes(&2.0f32, 10), 10, 0.25), 1.25);
        assert_eq!(blend(Vec2::ZERO, Vec2::new(2.0, -4.0), 0.5), Vec2::new(1.0, -2.0));
        assert_eq!(blend(1.0f32, 2.0, 3.0), 4.0);
        assert_eq!(blend(1.0f32, 2.0, -1.0), 1.0);
        assert_eq!(blend(1.0f32, 2.0, f32::NAN), 1.0);
    }

    #[test]
    fn a_float_that_can_not_be_blended_is_held() {
        assert_eq!(blend(1.0f32, f32::INFINITY, 0.5), 1.0);
        assert_eq!(blend(1.0f32, f32::NAN, 0.5), 1.0);
        assert_eq!(blend(f32::MIN, f32::MAX, 0.5), f32::MIN);
        assert_eq!(blend(f32::MIN, f32::MAX, 2.0), f32::MAX);
        assert_eq!(blend(1.0f32, 2.0, f32::INFINITY), 2.0);
    }

    #[test]
    fn a_rotation_takes_the_shorter_way_whatever_the_signs() {
        assert_near_up_to_sign(blend(turn(0.0), turn(FRAC_PI_2), 0.5), turn(FRAC_PI_2 / 2.0));
        assert_near_up_to_sign(blend(turn(0.0), -turn(FRAC_PI_2), 0.5), turn(FRAC_PI_2 / 2.0));
        assert_near_up_to_sign(blend(turn(1.0), -turn(1.0), 0.5), turn(1.0));
        assert_near_up_to_sign(blend(turn(0.0), turn(FRAC_PI_2), 1.5), turn(FRAC_PI_2 * 1.5));
    }

    #[test]
    fn a_rotation_with_a_factor_that_is_no_number_is_held() {
        assert_eq!(blend(turn(0.0), turn(1.0), f32::NAN), turn(0.0));
        assert_eq!(blend(turn(0.0), turn(1.0), f32::INFINITY), turn(1.0));
    }

    #[test]
    fn a_half_turn_goes_one_of_its_two_ways() {
        let half = blend(Quat::IDENTITY, Quat::from_xyzw(1.0, 0.0, 0.0, 0.0), 0.5);
        assert!((half.length() - 1.0).abs() < 1e-6);
        assert!((half.angle_between(Quat::IDENTITY) - FRAC_PI_2).abs() < 1e-5);
    }

    #[test]
    fn a_quaternion_that_is_no_rotation_is_not_blended() {
        let zero = Quat::from_xyzw(0.0, 0.0, 0.0, 0.0);
        let nan = Quat::from_xyzw(f32::NAN, 0.0, 0.0, 1.0);
        let huge = Quat::from_xyzw(f32::MAX, f32::MAX, 0.0, 0.0);
        for broken in [zero, nan, huge] {
            assert_eq!(blend(turn(1.0), broken, 0.5), turn(1.0));
            assert_eq!(blend(broken, turn(1.0), 1.5), turn(1.0));
        }
    }
}

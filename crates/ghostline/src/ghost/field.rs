//! How the value of one field becomes lanes, comes back, and is blended between two snapshots (by the arithmetic of `blend`).
//! Called by the code that the derives write; lanes go to and come from rows.

use bevy_math::{Quat, Vec2, Vec3, Vec4};
use ghostline_wire::{FieldKind, QuantiseStats, Smoothing, dequantise, quantise};

use super::blend::{lerp, slerp, unit};

/// A type that a field of a ghost component, a command or an input can have.
///
/// Lanes are 32-bit integers, [`KIND.lanes()`](FieldKind::lanes) of them per field. `quantization` is steps per unit;
/// 0 is off. Types that are not floats ignore it. Missing lanes count as 0 when read, and are left out when written:
/// no impl panics for a short slice.
#[diagnostic::on_unimplemented(
    message = "a field of type `{Self}` can't be sent",
    label = "no ghost field type",
    note = "fields can be bool, u8 to u64, i8 to i64, f32, Vec2, Vec3, Quat, InputEvent, or a type with its own impl of `GhostField`"
)]
pub trait GhostField: Sized {
    /// The kind that the schema names and that decides how lanes are coded.
    const KIND: FieldKind;

    /// Writes the value into the first lanes.
    fn write_lanes(&self, quantization: u32, lanes: &mut [u32], stats: &mut QuantiseStats);

    /// The value of the first lanes.
    fn read_lanes(lanes: &[u32], quantization: u32) -> Self;

    /// Takes from `lanes` those that `wrong` marks; the others keep their exact value. A value that makes sense only as a whole, such as a
    /// rotation or a wide integer, is taken whole if any lane is wrong.
    fn correct_lanes(&mut self, lanes: &[u32], wrong: &[bool], quantization: u32) {
        if wrong.contains(&true) {
            *self = Self::read_lanes(lanes, quantization);
        }
    }

    /// What `lane` of the value is before it is rounded, in steps of the quantisation. `None` for lanes that aren't rounded: those
    /// of integers, and of floats without quantisation.
    fn unrounded_lane(&self, _lane: usize, _quantization: u32) -> Option<f64> {
        None
    }

    /// Makes `self` the offset that leads from `now` to `shown`; none, if one of them is not finite. Offsets are what a correction by the server is
    /// hidden with. A type that can't be blended has none, and this and the three methods below do nothing.
    fn set_offset(&mut self, _shown: &Self, _now: &Self) {}

    /// Moves the value by an offset.
    fn add_offset(&mut self, _offset: &Self) {}

    /// Makes the offset `factor` times as long.
    fn scale_offset(&mut self, _factor: f32) {}

    /// How long the offset is, measured as [`distance`](Self::distance).
    fn offset_length(&self) -> f32 {
        0.0
    }

    /// The value `factor` of the way from `from` to `to`: 0 or less (or NaN) is exactly `from`, 1 exactly `to`, more
    /// is extrapolated. What can't be blended, such as an integer or a float that is not finite, is held at `from`
    /// until `to` is reached.
    fn blend(from: &[u32], to: &[u32], quantization: u32, factor: f32) -> Self {
        Self::read_lanes(if factor >= 1.0 { to } else { from }, quantization)
    }

    /// How far apart two values are, in units of the field, for `max_smoothing_distance`: the length of the
    /// difference. Of quaternions it is the sine of half the angle between them (0 … 1), and infinite if one of them
    /// is no rotation.
    fn distance(from: &[u32], to: &[u32], quantization: u32) -> f32;

    /// What an interpolated ghost shows of a field with this smoothing, `factor` of the way from `from` to `to`.
    ///
    /// A field that isn't blended, because it is clamped or changed by more than `max_distance`, shows the newest of
    /// the two values that has been reached. Beyond `to` that is `to`: when extrapolating, both snapshots lie in the
    /// past, and to show the older one would be a step backwards.
    #[inline]
    fn smooth(
        from: &[u32],
        to: &[u32],
        quantization: u32,
        smoothing: Smoothing,
        max_distance: Option<f32>,
        factor: f32,
    ) -> Self {
        let reached = if factor >= 1.0 { to } else { from };
        // Most fields of most ghosts stand still: nothing to blend, and nothing that could tremble.
        let moves = smoothing != Smoothing::Clamp && from != to;
        // Written so that a distance that is not a number is a jump.
        if !moves || !max_distance.is_none_or(|max| Self::distance(from, to, quantization) <= max) {
            return Self::read_lanes(reached, quantization);
        }
        let factor = if smoothing == Smoothing::Interpolate { factor.min(1.0) } else { factor };
        Self::blend(from, to, quantization, factor)
    }
}

fn lane(lanes: &[u32], index: usize) -> u32 {
    lanes.get(index).copied().unwrap_or(0)
}

macro_rules! integer_fields {
    ($($integer:ty => $kind:ident),*) => { $(
        impl GhostField for $integer {
            const KIND: FieldKind = FieldKind::$kind;

            // The casts extend by zeros or by the sign into the lane, and cut back: an unexpected lane wraps.
            #[inline]
            fn write_lanes(&self, _: u32, lanes: &mut [u32], _: &mut QuantiseStats) {
                if let Some(first) = lanes.first_mut() {
                    *first = *self as u32;
                }
            }

            #[inline]
            fn read_lanes(lanes: &[u32], _: u32) -> Self {
                lane(lanes, 0) as $integer
            }

            fn distance(from: &[u32], to: &[u32], _: u32) -> f32 {
                Self::read_lanes(from, 0).abs_diff(Self::read_lanes(to, 0)) as f32
            }
        }
    )* };
}
integer_fields!(u8 => U8, u16 => U16, u32 => U32, i8 => I8, i16 => I16, i32 => I32);

macro_rules! wide_integer_fields {
    ($($integer:ty => $kind:ident),*) => { $(
        impl GhostField for $integer {
            const KIND: FieldKind = FieldKind::$kind;

            #[inline]
            fn write_lanes(&self, _: u32, lanes: &mut [u32], _: &mut QuantiseStats) {
                for (lane, half) in lanes.iter_mut().zip([*self as u32, (*self >> 32) as u32]) {
                    *lane = half;
                }
            }

            #[inline]
            fn read_lanes(lanes: &[u32], _: u32) -> Self {
                (u64::from(lane(lanes, 0)) | u64::from(lane(lanes, 1)) << 32) as $integer
            }

            fn distance(from: &[u32], to: &[u32], _: u32) -> f32 {
                Self::read_lanes(from, 0).abs_diff(Self::read_lanes(to, 0)) as f32
            }
        }
    )* };
}
wide_integer_fields!(u64 => U64, i64 => I64);

impl GhostField for bool {
    const KIND: FieldKind = FieldKind::Bool;

    #[inline]
    fn write_lanes(&self, _: u32, lanes: &mut [u32], _: &mut QuantiseStats) {
        if let Some(first) = lanes.first_mut() {
            *first = u32::from(*self);
        }
    }

    #[inline]
    fn read_lanes(lanes: &[u32], _: u32) -> Self {
        lane(lanes, 0) != 0
    }

    fn distance(from: &[u32], to: &[u32], _: u32) -> f32 {
        if Self::read_lanes(from, 0) == Self::read_lanes(to, 0) { 0.0 } else { 1.0 }
    }
}

impl GhostField for f32 {
    const KIND: FieldKind = FieldKind::F32;

    #[inline]
    fn write_lanes(&self, quantization: u32, lanes: &mut [u32], stats: &mut QuantiseStats) {
        write_floats([*self], quantization, lanes, stats);
    }

    #[inline]
    fn read_lanes(lanes: &[u32], quantization: u32) -> Self {
        read_float(lanes, 0, quantization)
    }

    fn unrounded_lane(&self, lane: usize, quantization: u32) -> Option<f64> {
        unrounded([*self], lane, quantization)
    }

    fn set_offset(&mut self, shown: &Self, now: &Self) {
        *self = finite(shown - now);
    }

    fn add_offset(&mut self, offset: &Self) {
        *self += offset;
    }

    fn scale_offset(&mut self, factor: f32) {
        *self *= factor;
    }

    fn offset_length(&self) -> f32 {
        self.abs()
    }

    fn blend(from: &[u32], to: &[u32], quantization: u32, factor: f32) -> Self {
        lerp(Self::read_lanes(from, quantization), Self::read_lanes(to, quantization), factor)
    }

    fn distance(from: &[u32], to: &[u32], quantization: u32) -> f32 {
        (Self::read_lanes(from, quantization) - Self::read_lanes(to, quantization)).abs()
    }
}

impl GhostField for Vec2 {
    const KIND: FieldKind = FieldKind::Vec2;

    #[inline]
    fn write_lanes(&self, quantization: u32, lanes: &mut [u32], stats: &mut QuantiseStats) {
        write_floats(self.to_array(), quantization, lanes, stats);
    }

    #[inline]
    fn read_lanes(lanes: &[u32], quantization: u32) -> Self {
        Self::new(read_float(lanes, 0, quantization), read_float(lanes, 1, quantization))
    }

    fn correct_lanes(&mut self, lanes: &[u32], wrong: &[bool], quantization: u32) {
        correct_floats([&mut self.x, &mut self.y], lanes, wrong, quantization);
    }

    fn unrounded_lane(&self, lane: usize, quantization: u32) -> Option<f64> {
        unrounded(self.to_array(), lane, quantization)
    }

    fn set_offset(&mut self, shown: &Self, now: &Self) {
        *self = (*shown - *now).map(finite);
    }

    fn add_offset(&mut self, offset: &Self) {
        *self += *offset;
    }

    fn scale_offset(&mut self, factor: f32) {
        *self *= factor;
    }

    fn offset_length(&self) -> f32 {
        self.length()
    }

    fn blend(from: &[u32], to: &[u32], quantization: u32, factor: f32) -> Self {
        let (from, to) = (Self::read_lanes(from, quantization), Self::read_lanes(to, quantization));
        Self::new(lerp(from.x, to.x, factor), lerp(from.y, to.y, factor))
    }

    fn distance(from: &[u32], to: &[u32], quantization: u32) -> f32 {
        (Self::read_lanes(from, quantization) - Self::read_lanes(to, quantization)).length()
    }
}

impl GhostField for Vec3 {
    const KIND: FieldKind = FieldKind::Vec3;

    #[inline]
    fn write_lanes(&self, quantization: u32, lanes: &mut [u32], stats: &mut QuantiseStats) {
        write_floats(self.to_array(), quantization, lanes, stats);
    }

    #[inline]
    fn read_lanes(lanes: &[u32], quantization: u32) -> Self {
        Self::new(
            read_float(lanes, 0, quantization),
            read_float(lanes, 1, quantization),
            read_float(lanes, 2, quantization),
        )
    }

    fn correct_lanes(&mut self, lanes: &[u32], wrong: &[bool], quantization: u32) {
        correct_floats([&mut self.x, &mut self.y, &mut self.z], lanes, wrong, quantization);
    }

    fn unrounded_lane(&self, lane: usize, quantization: u32) -> Option<f64> {
        unrounded(self.to_array(), lane, quantization)
    }

    fn set_offset(&mut self, shown: &Self, now: &Self) {
        *self = (*shown - *now).map(finite);
    }

    fn add_offset(&mut self, offset: &Self) {
        *self += *offset;
    }

    fn scale_offset(&mut self, factor: f32) {
        *self *= factor;
    }

    fn offset_length(&self) -> f32 {
        self.length()
    }

    fn blend(from: &[u32], to: &[u32], quantization: u32, factor: f32) -> Self {
        let (from, to) = (Self::read_lanes(from, quantization), Self::read_lanes(to, quantization));
        Self::new(lerp(from.x, to.x, factor), lerp(from.y, to.y, factor), lerp(from.z, to.z, factor))
    }

    fn distance(from: &[u32], to: &[u32], quantization: u32) -> f32 {
        (Self::read_lanes(from, quantization) - Self::read_lanes(to, quantization)).length()
    }
}

/// A quantised quaternion is normalised when it is read (the identity, if it has no length), because rounding leaves
/// its length off by up to one step, and code that rotates may rely on 1. One that is not quantised is read bit by
/// bit.
impl GhostField for Quat {
    const KIND: FieldKind = FieldKind::Quat;

    #[inline]
    fn write_lanes(&self, quantization: u32, lanes: &mut [u32], stats: &mut QuantiseStats) {
        write_floats(self.to_array(), quantization, lanes, stats);
    }

    #[inline]
    fn read_lanes(lanes: &[u32], quantization: u32) -> Self {
        let read = |index| read_float(lanes, index, quantization);
        let raw = Vec4::new(read(0), read(1), read(2), read(3));
        if quantization == 0 { Self::from_vec4(raw) } else { unit(raw).map_or(Self::IDENTITY, Self::from_vec4) }
    }

    fn unrounded_lane(&self, lane: usize, quantization: u32) -> Option<f64> {
        unrounded(self.to_array(), lane, quantization)
    }

    /// The turn from `now` to `shown`, along the shorter arc.
    fn set_offset(&mut self, shown: &Self, now: &Self) {
        *self = match (unit((*shown).into()), unit((*now).into())) {
            (Some(shown), Some(now)) => {
                let turn = Self::from_vec4(shown) * Self::from_vec4(now).conjugate();
                if turn.w < 0.0 { -turn } else { turn }
            }
            _ => Self::IDENTITY,
        };
    }

    fn add_offset(&mut self, offset: &Self) {
        *self = *offset * *self;
    }

    fn scale_offset(&mut self, factor: f32) {
        *self = slerp(Self::IDENTITY, *self, factor);
    }

    fn offset_length(&self) -> f32 {
        self.xyz().length().min(1.0)
    }

    fn blend(from: &[u32], to: &[u32], quantization: u32, factor: f32) -> Self {
        slerp(Self::read_lanes(from, quantization), Self::read_lanes(to, quantization), factor)
    }

    fn distance(from: &[u32], to: &[u32], quantization: u32) -> f32 {
        let (from, to) = (Self::read_lanes(from, quantization), Self::read_lanes(to, quantization));
        match (unit(from.into()), unit(to.into())) {
            // The part of `to` that is perpendicular to `from`; the angle between rotations is twice that between
            // quaternions.
            (Some(from), Some(to)) => (to - from * from.dot(to)).length().min(1.0),
            _ => f32::INFINITY,
        }
    }
}

fn write_floats<const N: usize>(values: [f32; N], quantization: u32, lanes: &mut [u32], stats: &mut QuantiseStats) {
    for (lane, value) in lanes.iter_mut().zip(values) {
        *lane = if quantization == 0 { value.to_bits() } else { quantise(value, quantization, stats).cast_unsigned() };
    }
}

fn read_float(lanes: &[u32], index: usize, quantization: u32) -> f32 {
    let lane = lane(lanes, index);
    if quantization == 0 { f32::from_bits(lane) } else { dequantise(lane.cast_signed(), quantization) }
}

fn finite(value: f32) -> f32 {
    if value.is_finite() { value } else { 0.0 }
}

fn unrounded<const N: usize>(values: [f32; N], lane: usize, quantization: u32) -> Option<f64> {
    values.get(lane).filter(|_| quantization > 0).map(|&value| f64::from(value) * f64::from(quantization))
}

fn correct_floats<const N: usize>(values: [&mut f32; N], lanes: &[u32], wrong: &[bool], quantization: u32) {
    for (index, (value, &wrong)) in values.into_iter().zip(wrong).enumerate() {
        if wrong {
            *value = read_float(lanes, index, quantization);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::f32::consts::FRAC_PI_2;

    use proptest::prelude::*;

    use super::*;

    pub(in crate::ghost) fn lanes<T: GhostField>(value: &T, quantization: u32) -> Vec<u32> {
        let mut lanes = vec![0; T::KIND.lanes()];
        value.write_lanes(quantization, &mut lanes, &mut QuantiseStats::default());
        lanes
    }

    fn there_and_back<T: GhostField>(value: &T, quantization: u32) -> T {
        T::read_lanes(&lanes(value, quantization), quantization)
    }

    fn distance<T: GhostField>(from: T, to: T) -> f32 {
        T::distance(&lanes(&from, 0), &lanes(&to, 0), 0)
    }

    /// About the z axis.
    pub(in crate::ghost) fn turn(radians: f32) -> Quat {
        Quat::from_rotation_z(radians)
    }

    pub(in crate::ghost) fn assert_near(left: Quat, right: Quat) {
        assert!((left - right).length() < 1e-5, "{left} is not {right}");
    }

    #[test]
    fn an_offset_leads_from_what_is_to_what_is_shown_and_can_be_shortened() {
        let (now, shown) = (Vec3::new(1.0, 2.0, 3.0), Vec3::new(4.0, 2.0, 7.0));
        let mut offset = Vec3::ONE;
        offset.set_offset(&shown, &now);
        assert_eq!(offset.offset_length(), 5.0);
        let mut moved = now;
        moved.add_offset(&offset);
        assert_eq!(moved, shown);
        offset.scale_offset(0.5);
        assert_eq!(offset, Vec3::new(1.5, 0.0, 2.0));
        offset.set_offset(&Vec3::NAN, &now);
        assert_eq!(offset, Vec3::ZERO);
        let mut none = 5_u32;
        none.set_offset(&9, &2);
        none.add_offset(&3);
        assert_eq!((none, none.offset_length()), (5, 0.0));
    }

    #[test]
    fn the_offset_of_a_rotation_is_the_shorter_turn() {
        let (now, shown) = (turn(0.2), -turn(1.2));
        let mut offset = Quat::IDENTITY;
        offset.set_offset(&shown, &now);
        assert_near(offset, turn(1.0));
        assert!((offset.offset_length() - 0.5_f32.sin()).abs() < 1e-6);
        let mut moved = now;
        moved.add_offset(&offset);
        assert_near(moved, turn(1.2));
        offset.scale_offset(0.25);
        assert_near(offset, turn(0.25));
    }

    #[test]
    fn a_float_knows_what_it_was_before_rounding_and_an_integer_was_never_rounded() {
        assert_eq!(Vec2::new(0.25, -1.0).unrounded_lane(1, 1000), Some(-1000.0));
        assert_eq!((0.0004_f32.unrounded_lane(0, 0), 7_u8.unrounded_lane(0, 10)), (None, None));
        assert_eq!(Vec2::ONE.unrounded_lane(2, 1000), None);
    }

    proptest! {
        #[test]
        fn every_integer_comes_back(a: u8, b: u16, c: u32, d: u64, e: i8, f: i16, g: i32, h: i64, i: bool) {
            prop_assert_eq!(there_and_back(&a, 0), a);
            prop_assert_eq!(there_and_back(&b, 0), b);
            prop_assert_eq!(there_and_back(&c, 0), c);
            prop_assert_eq!(there_and_back(&d, 0), d);
            prop_assert_eq!(there_and_back(&e, 0), e);
            prop_assert_eq!(there_and_back(&f, 0), f);
            prop_assert_eq!(there_and_back(&g, 0), g);
            prop_assert_eq!(there_and_back(&h, 0), h);
            prop_assert_eq!(there_and_back(&i, 0), i);
        }

        #[test]
        fn a_narrow_signed_integer_fills_its_lane_with_its_sign(value: i8, wider: i16) {
            prop_assert_eq!(lanes(&value, 0), vec![i32::from(value).cast_unsigned()]);
            prop_assert_eq!(lanes(&wider, 0), vec![i32::from(wider).cast_unsigned()]);
        }

        #[test]
        fn a_lane_that_no_value_makes_wraps(lane: u32) {
            prop_assert_eq!(u8::read_lanes(&[lane], 0), (lane & 0xFF) as u8);
            prop_assert_eq!(u16::read_lanes(&[lane], 0), (lane & 0xFFFF) as u16);
            prop_assert_eq!(i8::read_lanes(&[lane], 0), ((lane & 0xFF) as u8).cast_signed());
            prop_assert_eq!(bool::read_lanes(&[lane], 0), lane != 0);
        }

        #[test]
        fn floats_without_quantisation_keep_every_bit(bits: [u32; 4]) {
            prop_assert_eq!(lanes(&f32::read_lanes(&bits, 0), 0), &bits[..1]);
            prop_assert_eq!(lanes(&Vec2::read_lanes(&bits, 0), 0), &bits[..2]);
            prop_assert_eq!(lanes(&Vec3::read_lanes(&bits, 0), 0), &bits[..3]);
            prop_assert_eq!(lanes(&Quat::read_lanes(&bits, 0), 0), &bits[..]);
        }

        #[test]
        fn quantised_floats_are_off_by_half_a_step_at_most(x in -1e3f32..1e3, y in -1e3f32..1e3, z in -1e3f32..1e3) {
            let value = Vec3::new(x, y, z);
            // Half a step, and what rounding to a float of this size adds.
            let allowed = 0.000_5 + 0.000_1;
            prop_assert!((there_and_back(&value, 1000) - value).abs().max_element() <= allowed);
            prop_assert!((there_and_back(&x, 1000) - x).abs() <= allowed);
        }

        #[test]
        fn a_quantised_rotation_comes_back_with_length_one(a in -1f32..1.0, b in -1f32..1.0, c in -1f32..1.0, d in -1f32..1.0) {
            prop_assume!(Vec4::new(a, b, c, d).length() > 0.01);
            let value = Quat::from_xyzw(a, b, c, d).normalize();
            let back = there_and_back(&value, 1000);
            prop_assert!((back.length() - 1.0).abs() < 1e-6);
            prop_assert!(Vec4::from(back - value).abs().max_element() < 0.001);
        }

    }

    #[test]
    fn short_slices_read_as_zeros_and_take_what_fits() {
        fn check<T: GhostField>(value: T) {
            for count in 0..T::KIND.lanes() {
                let mut short = vec![0; count];
                value.write_lanes(1000, &mut short, &mut QuantiseStats::default());
                let padded: Vec<u32> = short.iter().copied().chain(std::iter::repeat_n(0, 4)).collect();
                assert_eq!(lanes(&T::read_lanes(&short, 1000), 0), lanes(&T::read_lanes(&padded, 1000), 0));
                let _ = (T::blend(&short, &short, 1000, 0.5), T::distance(&short, &short, 1000));
            }
        }
        check(true);
        check(7u8);
        check(-7i16);
        check(u64::MAX);
        check(-7.5f32);
        check(Vec2::ONE);
        check(Vec3::NEG_ONE);
        check(turn(1.0));
    }

    #[test]
    fn what_quantisation_had_to_change_is_counted() {
        let mut stats = QuantiseStats::default();
        Vec3::new(f32::NAN, f32::INFINITY, 1.0).write_lanes(1000, &mut [0; 3], &mut stats);
        assert_eq!(stats, QuantiseStats { nan: 1, saturated: 1 });
    }

    #[test]
    fn a_quaternion_that_is_no_rotation_is_never_near() {
        let zero = Quat::from_xyzw(0.0, 0.0, 0.0, 0.0);
        let nan = Quat::from_xyzw(f32::NAN, 0.0, 0.0, 1.0);
        let huge = Quat::from_xyzw(f32::MAX, f32::MAX, 0.0, 0.0);
        for broken in [zero, nan, huge] {
            assert_eq!(distance(turn(1.0), broken), f32::INFINITY);
        }
        assert_eq!(there_and_back(&zero, 1000), Quat::IDENTITY);
        assert_eq!(there_and_back(&Quat::from_xyzw(f32::NAN, 0.0, 0.0, 0.0), 1000), Quat::IDENTITY);
    }

    #[test]
    fn distances_are_in_units_of_the_field() {
        assert_eq!(distance(250u8, 5), 245.0);
        assert_eq!(distance(i8::MIN, i8::MAX), 255.0);
        assert_eq!(distance(-3i64, 4), 7.0);
        assert_eq!(distance(false, true), 1.0);
        assert_eq!(distance(-1.5f32, 1.0), 2.5);
        assert_eq!(distance(Vec2::ZERO, Vec2::new(3.0, 4.0)), 5.0);
        assert_eq!(
            <Vec3 as GhostField>::distance(&lanes(&Vec3::ZERO, 10), &lanes(&Vec3::new(0.0, 3.0, 4.0), 10), 10),
            5.0
        );
    }

    #[test]
    fn the_distance_of_rotations_is_the_sine_of_half_the_angle() {
        for angle in [0.0f32, 0.001, 0.5, FRAC_PI_2, 3.0] {
            let expected = (angle / 2.0).sin();
            assert!((distance(turn(0.3), turn(0.3 + angle)) - expected).abs() < 1e-6);
            assert!((distance(turn(0.3), -turn(0.3 + angle)) - expected).abs() < 1e-6);
        }
    }
}

//! How the types that RPC fields can have become bits, and come back: numbers, vectors, arrays, options.
//! Called by the code that `#[derive(RpcCommand)]` writes. Text is in `fixed_string`.

use bevy_math::{Quat, Vec2, Vec3};
use ghostline_wire::{BitReader, BitWriter, DecodeError, NetworkTick};

use crate::rpc::{GhostMapping, RpcField, RpcValueError};

/// Largest number of elements of an array in an RPC. A payload has at most 8,191 bytes, so larger ones could rarely
/// be sent. To use a larger one (or one without elements) is an error when the game is built:
///
/// ```compile_fail
/// use bevy_ecs::component::Component;
/// use ghostline::RpcCommand;
///
/// #[derive(Component, RpcCommand)]
/// struct Heights {
///     heights: [u8; 1025],
/// }
///
/// Heights::canonical_text();
/// ```
pub const MAX_RPC_ARRAY_ELEMENTS: usize = 1024;

/// 1 bit.
impl RpcField for bool {
    fn type_text() -> String {
        "bool".into()
    }

    fn encode(&self, out: &mut BitWriter) {
        out.write_bool(*self);
    }

    fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        input.read_bool()
    }
}

/// 8 bits: packed, most bytes would be longer.
impl RpcField for u8 {
    fn type_text() -> String {
        "u8".into()
    }

    fn encode(&self, out: &mut BitWriter) {
        out.write_u8(*self);
    }

    fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        input.read_u8()
    }
}

/// Fields that are coded by one pair of methods of the bit stream, converted to and from its type.
macro_rules! packed_fields {
    ($($integer:ty as $wide:ty: $write:ident, $read:ident;)*) => { $(
        impl RpcField for $integer {
            fn type_text() -> String {
                stringify!($integer).into()
            }

            fn encode(&self, out: &mut BitWriter) {
                out.$write(<$wide>::from(*self));
            }

            fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
                let wide: $wide = input.$read()?;
                <$integer>::try_from(wide).map_err(|_| DecodeError::BadValue { what: stringify!($integer) })
            }
        }
    )* };
}
packed_fields! {
    u16 as u32: write_packed, read_packed;
    i8 as i32: write_packed_signed, read_packed_signed;
    i16 as i32: write_packed_signed, read_packed_signed;
}

macro_rules! whole_fields {
    ($($type:ty: $write:ident, $read:ident;)*) => { $(
        impl RpcField for $type {
            fn type_text() -> String {
                stringify!($type).into()
            }

            fn encode(&self, out: &mut BitWriter) {
                out.$write(*self);
            }

            fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
                input.$read()
            }
        }
    )* };
}
whole_fields! {
    u32: write_packed, read_packed;
    i32: write_packed_signed, read_packed_signed;
    u64: write_packed_u64, read_packed_u64;
}

/// Zig-zag, as 32-bit integers are: small numbers of either sign are short.
impl RpcField for i64 {
    fn type_text() -> String {
        "i64".into()
    }

    fn encode(&self, out: &mut BitWriter) {
        out.write_packed_u64(((self << 1) ^ (self >> 63)).cast_unsigned());
    }

    fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        let zig_zag = input.read_packed_u64()?;
        Ok((zig_zag >> 1).cast_signed() ^ (zig_zag & 1).cast_signed().wrapping_neg())
    }
}

/// 32 raw bits.
impl RpcField for f32 {
    fn type_text() -> String {
        "f32".into()
    }

    fn encode(&self, out: &mut BitWriter) {
        out.write_u32(self.to_bits());
    }

    fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        input.read_u32().map(Self::from_bits)
    }
}

/// 64 raw bits.
impl RpcField for f64 {
    fn type_text() -> String {
        "f64".into()
    }

    fn encode(&self, out: &mut BitWriter) {
        out.write_u64(self.to_bits());
    }

    fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        input.read_u64().map(Self::from_bits)
    }
}

/// 31 bits.
impl RpcField for NetworkTick {
    fn type_text() -> String {
        "tick".into()
    }

    fn encode(&self, out: &mut BitWriter) {
        out.write_tick(*self);
    }

    fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        input.read_tick()
    }
}

/// Types that are coded as an array of floats.
macro_rules! vector_fields {
    ($($vector:ty => $text:literal;)*) => { $(
        impl RpcField for $vector {
            fn type_text() -> String {
                $text.into()
            }

            fn encode(&self, out: &mut BitWriter) {
                self.to_array().encode(out);
            }

            fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
                RpcField::decode(input).map(Self::from_array)
            }
        }
    )* };
}
vector_fields! {
    Vec2 => "vec2";
    Vec3 => "vec3";
    Quat => "quat";
}

/// The elements one after another; 1 … [`MAX_RPC_ARRAY_ELEMENTS`] of them.
impl<T: RpcField, const N: usize> RpcField for [T; N] {
    fn type_text() -> String {
        const {
            assert!(N >= 1, "an array in an RPC has at least one element: one without carries nothing");
            assert!(N <= MAX_RPC_ARRAY_ELEMENTS, "an array in an RPC has at most 1024 elements; send several RPCs");
        }
        format!("[{};{N}]", T::type_text())
    }

    fn check(&self) -> Result<(), RpcValueError> {
        self.iter().try_for_each(T::check)
    }

    fn encode(&self, out: &mut BitWriter) {
        for element in self {
            element.encode(out);
        }
    }

    fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        // Grows with what is really there: no memory is taken for elements that the message does not hold.
        let elements: Vec<T> = (0..N).map(|_| T::decode(input)).collect::<Result<_, _>>()?;
        elements.try_into().map_err(|_| DecodeError::UnexpectedEnd)
    }

    fn map_ghosts(&mut self, mapping: &GhostMapping<'_>) {
        for element in self {
            element.map_ghosts(mapping);
        }
    }
}

/// 1 bit, then the value if there is one.
impl<T: RpcField> RpcField for Option<T> {
    fn type_text() -> String {
        format!("option<{}>", T::type_text())
    }

    fn check(&self) -> Result<(), RpcValueError> {
        self.as_ref().map_or(Ok(()), T::check)
    }

    fn encode(&self, out: &mut BitWriter) {
        out.write_bool(self.is_some());
        if let Some(value) = self {
            value.encode(out);
        }
    }

    fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        if input.read_bool()? { T::decode(input).map(Some) } else { Ok(None) }
    }

    fn map_ghosts(&mut self, mapping: &GhostMapping<'_>) {
        if let Some(value) = self {
            value.map_ghosts(mapping);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use proptest::prelude::*;

    use super::*;

    fn encoded<T: RpcField>(value: &T) -> (Vec<u8>, usize) {
        let mut out = BitWriter::new();
        value.encode(&mut out);
        let bits = out.bit_len();
        (out.finish(), bits)
    }

    fn decoded<T: RpcField>(bytes: &[u8], bits: usize) -> Result<T, DecodeError> {
        let mut input = BitReader::with_bits(bytes, bits);
        let value = T::decode(&mut input)?;
        assert_eq!(input.remaining_bits(), 0);
        Ok(value)
    }

    fn check<T: RpcField + PartialEq + Debug>(value: &T) {
        let (bytes, bits) = encoded(value);
        assert_eq!(decoded::<T>(&bytes, bits).as_ref(), Ok(value));
        assert!(decoded::<T>(&bytes, bits - 1).is_err(), "{value:?} came from too few bits");
    }

    proptest! {
        #[test]
        fn numbers_travel(a: u8, b: u16, c: u32, d: u64, e: i8, f: i16, g: i32, h: i64, i: bool) {
            check(&a);
            check(&b);
            check(&c);
            check(&d);
            check(&e);
            check(&f);
            check(&g);
            check(&h);
            check(&i);
        }

        #[test]
        fn floats_keep_every_bit(single: u32, double: u64) {
            let (bytes, bits) = encoded(&f32::from_bits(single));
            prop_assert_eq!(decoded::<f32>(&bytes, bits).map(f32::to_bits), Ok(single));
            let (bytes, bits) = encoded(&f64::from_bits(double));
            prop_assert_eq!(decoded::<f64>(&bytes, bits).map(f64::to_bits), Ok(double));
        }

        #[test]
        fn vectors_ticks_arrays_and_options_travel(x in -1e9f32..1e9, y: i16, index in 0u32..NetworkTick::MAX_INDEX, inner: [Option<u16>; 3]) {
            let y = f32::from(y);
            check(&Vec2::new(x, y));
            check(&Vec3::new(x, y, 1.0));
            check(&Quat::from_xyzw(x, y, 0.0, 1.0));
            check(&NetworkTick::new(index));
            check(&inner);
            check(&Some([y; 2]));
            check(&None::<u64>);
        }

        #[test]
        fn any_bits_are_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let all = bytes.len() * 8;
            let _ = BitReader::with_bits(&bytes, all);
            let _ = <[Option<i64>; 5] as RpcField>::decode(&mut BitReader::new(&bytes));
            let _ = <[[u16; 3]; 3] as RpcField>::decode(&mut BitReader::new(&bytes));
            let _ = Option::<[f64; 2]>::decode(&mut BitReader::new(&bytes));
        }
    }

    #[test]
    fn numbers_too_large_for_the_field_are_rejected() {
        let (bytes, bits) = encoded(&65_536u32);
        assert_eq!(decoded::<u16>(&bytes, bits), Err(DecodeError::BadValue { what: "u16" }));
        let (bytes, bits) = encoded(&-129i32);
        assert_eq!(decoded::<i8>(&bytes, bits), Err(DecodeError::BadValue { what: "i8" }));
        let (bytes, bits) = encoded(&32_768i32);
        assert_eq!(decoded::<i16>(&bytes, bits), Err(DecodeError::BadValue { what: "i16" }));
    }

    #[test]
    fn small_numbers_are_short_whatever_their_sign() {
        assert_eq!(encoded(&true).1, 1);
        assert_eq!(encoded(&200u8).1, 8);
        assert_eq!(encoded(&1u32).1, 3);
        assert_eq!(encoded(&-1i32).1, 3);
        assert!(encoded(&-1i64).1 <= 8);
        assert_eq!(encoded(&None::<f64>).1, 1);
        assert_eq!(encoded(&NetworkTick::new(5)).1, 31);
    }

    #[test]
    fn type_texts_are_what_the_wire_format_calls_them() {
        let texts = [
            bool::type_text(),
            u8::type_text(),
            u16::type_text(),
            u32::type_text(),
            u64::type_text(),
            i8::type_text(),
            i16::type_text(),
            i32::type_text(),
            i64::type_text(),
            f32::type_text(),
            f64::type_text(),
            Vec2::type_text(),
            Vec3::type_text(),
            Quat::type_text(),
            NetworkTick::type_text(),
            <[Option<u8>; 4]>::type_text(),
        ];
        assert_eq!(texts.join(" "), "bool u8 u16 u32 u64 i8 i16 i32 i64 f32 f64 vec2 vec3 quat tick [option<u8>;4]");
    }
}

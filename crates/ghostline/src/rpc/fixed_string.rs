//! Text of bounded length, for RPCs: a `String` has no bound that both sides could rely on.
//! Made by the game from a `&str`; read from bits, where only valid text of at most that length passes.

use std::fmt::{self, Debug, Display, Formatter};
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use ghostline_wire::{BitReader, BitWriter, DecodeError};

use crate::rpc::RpcField;

/// Largest capacity of a [`FixedString`], in bytes: half of what an RPC carries.
pub const MAX_FIXED_STRING_BYTES: usize = 4096;

/// UTF-8 text of at most `N` bytes (1 … [`MAX_FIXED_STRING_BYTES`]), stored in place, so that what holds it can be
/// `Copy`.
///
/// Derefs to `str`. Two are equal if their texts are, whatever their capacities.
///
/// ```
/// use ghostline::FixedString;
///
/// let name = FixedString::<32>::new("Zoë");
/// assert_eq!(name, "Zoë");
/// assert_eq!(FixedString::<3>::new("Zoë"), "Zo"); // 4 bytes: the last character doesn't fit
/// ```
#[derive(Clone, Copy)]
pub struct FixedString<const N: usize> {
    /// The first `len` bytes are valid UTF-8; nothing else writes them.
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> FixedString<N> {
    /// Bytes of the longest text.
    pub const CAPACITY: usize = {
        assert!(N >= 1, "a FixedString has room for at least one byte");
        assert!(
            N <= MAX_FIXED_STRING_BYTES,
            "a FixedString has room for at most 4096 bytes; send longer text in parts"
        );
        N
    };

    /// The text; if it is longer than `N` bytes, as many whole characters from its beginning as fit.
    pub fn new(text: &str) -> Self {
        let kept = text.get(..text.floor_char_boundary(Self::CAPACITY)).unwrap_or_default().as_bytes();
        let mut bytes = [0; N];
        for (byte, kept) in bytes.iter_mut().zip(kept) {
            *byte = *kept;
        }
        Self { bytes, len: kept.len() }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Checked again because code without `unsafe` can't skip it; it is fast, and never fails.
        self.bytes.get(..self.len).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl<const N: usize> Default for FixedString<N> {
    fn default() -> Self {
        Self::new("")
    }
}

impl<const N: usize> From<&str> for FixedString<N> {
    /// Cuts like [`FixedString::new`].
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl<const N: usize> Deref for FixedString<N> {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl<const N: usize> AsRef<str> for FixedString<N> {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl<const N: usize> Display for FixedString<N> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self.as_str(), f)
    }
}

impl<const N: usize> Debug for FixedString<N> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Debug::fmt(self.as_str(), f)
    }
}

impl<const N: usize, const M: usize> PartialEq<FixedString<M>> for FixedString<N> {
    fn eq(&self, other: &FixedString<M>) -> bool {
        self.as_str() == other.as_str()
    }
}

impl<const N: usize> Eq for FixedString<N> {}

impl<const N: usize> PartialEq<str> for FixedString<N> {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl<const N: usize> PartialEq<&str> for FixedString<N> {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl<const N: usize> Hash for FixedString<N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

/// Packed number of bytes, then the bytes.
impl<const N: usize> RpcField for FixedString<N> {
    fn type_text() -> String {
        format!("string{}", Self::CAPACITY)
    }

    fn encode(&self, out: &mut BitWriter) {
        let bytes = self.as_str().as_bytes();
        // At most 4,096, see `CAPACITY`.
        out.write_packed(bytes.len() as u32);
        out.write_bytes(bytes);
    }

    fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        let got = input.read_packed()?;
        let limit = Self::CAPACITY as u32;
        let mut bytes = [0; N];
        let len = got as usize;
        let too_long = DecodeError::LimitExceeded { what: "bytes of a fixed string", limit, got };
        let text = bytes.get_mut(..len).ok_or(too_long)?;
        input.read_bytes_into(text)?;
        if str::from_utf8(text).is_err() {
            return Err(DecodeError::BadValue { what: "fixed string: not UTF-8" });
        }
        Ok(Self { bytes, len })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode<const N: usize>(bytes: &[u8]) -> Result<FixedString<N>, DecodeError> {
        FixedString::decode(&mut BitReader::new(bytes))
    }

    /// A length and bytes as a peer could write them, whatever they are.
    fn written(len: u32, bytes: &[u8]) -> Vec<u8> {
        let mut out = BitWriter::new();
        out.write_packed(len);
        out.write_bytes(bytes);
        out.finish()
    }

    proptest! {
        #[test]
        fn text_is_cut_between_characters(text in ".{0,20}") {
            let cut = FixedString::<16>::new(&text);
            prop_assert!(text.starts_with(cut.as_str()));
            prop_assert!(cut.len() <= 16);
            // No further character would have fitted.
            let next = text.get(cut.len()..).and_then(|rest| rest.chars().next());
            prop_assert!(next.is_none_or(|next| cut.len() + next.len_utf8() > 16));
        }

        #[test]
        fn text_travels(text in ".{0,40}") {
            let value = FixedString::<160>::new(&text);
            let mut out = BitWriter::new();
            value.encode(&mut out);
            let bytes = out.finish();
            prop_assert_eq!(decode::<160>(&bytes), Ok(value));
            prop_assert_eq!(value, text.as_str());
        }

        #[test]
        fn any_bytes_are_text_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(text) = decode::<8>(&bytes) {
                prop_assert!(text.len() <= 8);
            }
        }
    }

    #[test]
    fn an_empty_and_a_full_string_travel() {
        for text in [FixedString::<3>::new(""), FixedString::new("abc")] {
            let mut out = BitWriter::new();
            text.encode(&mut out);
            assert_eq!(decode::<3>(&out.finish()), Ok(text));
        }
    }

    #[test]
    fn what_is_too_long_is_rejected() {
        let too_long = DecodeError::LimitExceeded { what: "bytes of a fixed string", limit: 3, got: 4 };
        assert_eq!(decode::<3>(&written(4, b"abcd")), Err(too_long));
        assert!(decode::<3>(&written(u32::MAX, b"")).is_err());
    }

    #[test]
    fn what_is_cut_off_is_rejected() {
        assert_eq!(decode::<8>(&written(5, b"ab")), Err(DecodeError::UnexpectedEnd));
    }

    #[test]
    fn what_is_not_text_is_rejected() {
        assert_eq!(
            decode::<8>(&written(2, &[b'a', 0xFF])),
            Err(DecodeError::BadValue { what: "fixed string: not UTF-8" })
        );
    }

    #[test]
    fn strings_of_different_capacity_compare_by_text() {
        assert_eq!(FixedString::<4>::new("ab"), FixedString::<8>::new("ab"));
        assert_ne!(FixedString::<4>::new("ab"), FixedString::<8>::new("abc"));
        assert_eq!(FixedString::<4>::default(), "");
        assert_eq!(FixedString::<512>::from("secret").to_string(), "secret");
        assert_eq!(format!("{:?}", FixedString::<4>::new("a\"b")), r#""a\"b""#);
    }
}

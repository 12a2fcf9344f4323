//! Lists of bounded length, for RPCs: a `Vec` has no bound that both sides could rely on.
//! Made by the game; read from bits, where only lists within the bound pass.

use std::fmt::{self, Debug, Formatter};
use std::ops::{Deref, DerefMut};

use ghostline_wire::{BitReader, BitWriter, DecodeError};

use super::data::{RpcField, RpcValueError};
use super::ghost_ref::GhostMapping;

/// Largest capacity of a [`FixedList`], in elements.
pub const MAX_FIXED_LIST_CAPACITY: usize = 4096;

/// A list in an RPC has at most so many elements, whatever its capacity; a longer one is an error when it is sent.
pub const MAX_RPC_LIST_ELEMENTS: usize = 1024;

/// At most `N` elements (1 … [`MAX_FIXED_LIST_CAPACITY`]), stored in place, so that what holds it can be `Copy`.
///
/// Derefs to a slice. In an RPC at most [`MAX_RPC_LIST_ELEMENTS`] are sent.
///
/// ```
/// use ghostline::FixedList;
///
/// let mut path = FixedList::<u8, 4>::new();
/// assert_eq!(path.push(7), Ok(()));
/// path.extend_from_slice(&[8, 9, 10, 11]); // the last one doesn't fit
/// assert_eq!(path, [7, 8, 9, 10]);
/// assert_eq!(path.push(12), Err(12));
/// ```
#[derive(Clone, Copy)]
pub struct FixedList<T, const N: usize> {
    elements: [T; N],
    len: usize,
}

impl<T: Copy + Default, const N: usize> FixedList<T, N> {
    /// Elements of the longest list.
    pub const CAPACITY: usize = {
        assert!(N >= 1, "a FixedList has room for at least one element");
        assert!(
            N <= MAX_FIXED_LIST_CAPACITY,
            "a FixedList has room for at most 4096 elements; send longer lists in parts"
        );
        N
    };

    /// An empty list.
    pub fn new() -> Self {
        let _ = Self::CAPACITY;
        Self { elements: [T::default(); N], len: 0 }
    }

    /// Appends an element; gives it back if the list is full.
    ///
    /// # Errors
    /// The element.
    pub fn push(&mut self, element: T) -> Result<(), T> {
        match self.elements.get_mut(self.len) {
            Some(place) => {
                *place = element;
                self.len += 1;
                Ok(())
            }
            None => Err(element),
        }
    }

    /// Appends as many elements as fit, and returns how many those were.
    pub fn extend_from_slice(&mut self, elements: &[T]) -> usize {
        elements.iter().map_while(|&element| self.push(element).ok()).count()
    }

    /// Removes all elements.
    pub fn clear(&mut self) {
        self.len = 0;
    }
}

impl<T, const N: usize> FixedList<T, N> {
    /// The elements.
    pub fn as_slice(&self) -> &[T] {
        self.elements.get(..self.len).unwrap_or_default()
    }

    /// The elements.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        self.elements.get_mut(..self.len).unwrap_or_default()
    }
}

impl<T: Copy + Default, const N: usize> Default for FixedList<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Copy + Default, const N: usize> FromIterator<T> for FixedList<T, N> {
    /// Takes as many elements as fit.
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let mut list = Self::new();
        for element in elements.into_iter().take(N) {
            // It fits: no more than the capacity is taken.
            let _ = list.push(element);
        }
        list
    }
}

impl<T, const N: usize> Deref for FixedList<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.as_slice()
    }
}

impl<T, const N: usize> DerefMut for FixedList<T, N> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.as_mut_slice()
    }
}

impl<T: Debug, const N: usize> Debug for FixedList<T, N> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Debug::fmt(self.as_slice(), f)
    }
}

impl<T: PartialEq, const N: usize, const M: usize> PartialEq<FixedList<T, M>> for FixedList<T, N> {
    fn eq(&self, other: &FixedList<T, M>) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl<T: Eq, const N: usize> Eq for FixedList<T, N> {}

impl<T: PartialEq, const N: usize, const M: usize> PartialEq<[T; M]> for FixedList<T, N> {
    fn eq(&self, other: &[T; M]) -> bool {
        self.as_slice() == other
    }
}

/// Packed number of elements, then the elements one after another.
impl<T: RpcField + Copy + Default, const N: usize> RpcField for FixedList<T, N> {
    fn type_text() -> String {
        format!("list<{};{}>", T::type_text(), Self::CAPACITY)
    }

    fn check(&self) -> Result<(), RpcValueError> {
        if self.len > MAX_RPC_LIST_ELEMENTS {
            return Err(RpcValueError::TooManyElements { elements: self.len, limit: MAX_RPC_LIST_ELEMENTS });
        }
        self.iter().try_for_each(T::check)
    }

    fn encode(&self, out: &mut BitWriter) {
        // At most 1,024, see `check`.
        out.write_packed(self.len as u32);
        for element in self.iter() {
            element.encode(out);
        }
    }

    fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        let got = input.read_packed()?;
        let limit = Self::CAPACITY.min(MAX_RPC_LIST_ELEMENTS) as u32;
        if got > limit {
            return Err(DecodeError::LimitExceeded { what: "elements of a list", limit, got });
        }
        let mut list = Self::new();
        for _ in 0..got {
            // It fits: the number was checked against the capacity.
            let _ = list.push(T::decode(input)?);
        }
        Ok(list)
    }

    fn map_ghosts(&mut self, mapping: &GhostMapping<'_>) {
        for element in self.as_mut_slice() {
            element.map_ghosts(mapping);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded<T: RpcField>(value: &T) -> (Vec<u8>, usize) {
        let mut out = BitWriter::new();
        value.encode(&mut out);
        let bits = out.bit_len();
        (out.finish(), bits)
    }

    proptest! {
        #[test]
        fn lists_travel(elements in prop::collection::vec(any::<i32>(), 0..100)) {
            let list: FixedList<i32, 100> = elements.iter().copied().collect();
            let (bytes, bits) = encoded(&list);
            let mut input = BitReader::with_bits(&bytes, bits);
            let back = FixedList::<i32, 100>::decode(&mut input).unwrap();
            prop_assert_eq!(back.as_slice(), elements.as_slice());
            prop_assert_eq!(input.remaining_bits(), 0);
            prop_assert!(FixedList::<i32, 100>::decode(&mut BitReader::with_bits(&bytes, bits - 1)).is_err());
        }

        #[test]
        fn any_bits_are_a_list_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(list) = FixedList::<Option<u16>, 20>::decode(&mut BitReader::new(&bytes)) {
                prop_assert!(list.len() <= 20);
            }
        }
    }

    #[test]
    fn a_list_in_an_rpc_has_at_most_1024_elements_whatever_its_capacity() {
        let list = |len: usize| -> FixedList<u8, 2000> { (0..len).map(|element| element as u8).collect() };
        assert_eq!(list(1024).check(), Ok(()));
        for elements in [1025, 1029] {
            assert_eq!(list(elements).check(), Err(RpcValueError::TooManyElements { elements, limit: 1024 }));
        }
        let (bytes, bits) = encoded(&list(1025));
        let got = FixedList::<u8, 2000>::decode(&mut BitReader::with_bits(&bytes, bits)).unwrap_err();
        assert_eq!(got, DecodeError::LimitExceeded { what: "elements of a list", limit: 1024, got: 1025 });
        let (bytes, bits) = encoded(&list(9));
        let small = FixedList::<u8, 8>::decode(&mut BitReader::with_bits(&bytes, bits)).unwrap_err();
        assert_eq!(small, DecodeError::LimitExceeded { what: "elements of a list", limit: 8, got: 9 });
    }

    #[test]
    fn its_text_names_the_element_and_the_capacity() {
        assert_eq!(FixedList::<Option<i8>, 32>::type_text(), "list<option<i8>;32>");
    }
}

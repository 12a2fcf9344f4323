//! The number of a simulation tick, 31 bits that wrap.
//! Made by the server's loop, carried by every packet, compared everywhere.
//! Always valid: "no tick" is `None` of an `Option<NetworkTick>`, which is as small as the tick itself.

use core::fmt;
use core::num::NonZeroU32;

/// A simulation tick: an index from 0 to 2³¹−1 that wraps around.
///
/// The raw form is `index << 1 | 1`, so that 0 is free for "no tick": `Option<NetworkTick>` has four bytes.
/// Ticks have no `<`, because an order that wraps is none; use [`is_newer_than`](Self::is_newer_than):
///
/// ```compile_fail
/// use ghostline_wire::NetworkTick;
/// let _ = NetworkTick::new(1) < NetworkTick::new(2);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NetworkTick(NonZeroU32);

impl NetworkTick {
    /// The highest index, 2³¹−1; the tick after it has index 0.
    pub const MAX_INDEX: u32 = 0x7FFF_FFFF;

    /// The tick of this index, modulo 2³¹.
    #[must_use]
    #[inline]
    pub const fn new(index: u32) -> Self {
        // Bit 0 is always set, so this never is zero; `|` on `NonZeroU32` is not `const`.
        match NonZeroU32::new((index << 1) | 1) {
            Some(raw) => Self(raw),
            None => Self(NonZeroU32::MIN),
        }
    }

    /// The tick of this raw form; `None` for even numbers, of which 0 stands for "no tick".
    #[must_use]
    #[inline]
    pub const fn from_raw(raw: u32) -> Option<Self> {
        if raw & 1 == 1 { Some(Self::new(raw >> 1)) } else { None }
    }

    /// The raw form, `index << 1 | 1`.
    #[must_use]
    #[inline]
    pub const fn raw(self) -> u32 {
        self.0.get()
    }

    /// The index, 0 to [`MAX_INDEX`](Self::MAX_INDEX).
    #[must_use]
    #[inline]
    pub const fn index(self) -> u32 {
        self.0.get() >> 1
    }

    /// The tick that comes `ticks` later, wrapping.
    #[must_use]
    #[inline]
    pub const fn add(self, ticks: u32) -> Self {
        Self::new(self.index().wrapping_add(ticks))
    }

    /// The tick that came `ticks` earlier, wrapping.
    #[must_use]
    #[inline]
    pub const fn sub(self, ticks: u32) -> Self {
        Self::new(self.index().wrapping_sub(ticks))
    }

    /// The tick after this one.
    #[must_use]
    #[inline]
    pub const fn next(self) -> Self {
        self.add(1)
    }

    /// The tick before this one.
    #[must_use]
    #[inline]
    pub const fn prev(self) -> Self {
        self.sub(1)
    }

    /// How many ticks lie between `older` and this one; negative if `older` is in fact newer.
    /// −2³⁰ to 2³⁰−1: half the range counts as newer, half as older.
    #[must_use]
    #[inline]
    pub const fn ticks_since(self, older: Self) -> i32 {
        // Both raw forms end in a 1, so the difference is even, and halving it extends the sign of 31 bits.
        self.raw().wrapping_sub(older.raw()).cast_signed() >> 1
    }

    /// Whether this tick comes after `other`. Never of a tick and itself, nor of two ticks exactly half the range apart.
    #[must_use]
    #[inline]
    pub const fn is_newer_than(self, other: Self) -> bool {
        self.ticks_since(other) > 0
    }

    /// Whether this tick comes before `other`: the converse of [`is_newer_than`](Self::is_newer_than).
    #[must_use]
    #[inline]
    pub const fn is_older_than(self, other: Self) -> bool {
        other.is_newer_than(self)
    }

    /// The newer of the two.
    #[must_use]
    #[inline]
    pub const fn max(self, other: Self) -> Self {
        if other.is_newer_than(self) { other } else { self }
    }

    /// The older of the two.
    #[must_use]
    #[inline]
    pub const fn min(self, other: Self) -> Self {
        if other.is_older_than(self) { other } else { self }
    }
}

impl fmt::Display for NetworkTick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.index(), f)
    }
}

impl fmt::Debug for NetworkTick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NetworkTick({})", self.index())
    }
}

/// Shows a tick that may be absent: its index, or `Invalid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DisplayTick(pub Option<NetworkTick>);

impl fmt::Display for DisplayTick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(tick) => fmt::Display::fmt(&tick, f),
            None => f.pad("Invalid"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_tick_takes_no_extra_space() {
        assert_eq!(size_of::<Option<NetworkTick>>(), 4);
    }

    #[test]
    fn ticks_half_the_range_apart_are_neither_newer_nor_older() {
        let (a, b) = (NetworkTick::new(5), NetworkTick::new(5 + (1 << 30)));
        assert_eq!(a.ticks_since(b), -(1 << 30));
        assert_eq!(b.ticks_since(a), -(1 << 30));
        for (x, y) in [(a, b), (b, a)] {
            assert!(!x.is_newer_than(y) && !x.is_older_than(y));
            assert_eq!(x.max(y), x);
            assert_eq!(x.min(y), x);
        }
    }

    #[test]
    fn newest_and_oldest_are_found_across_the_wrap() {
        let (before, after) = (NetworkTick::new(NetworkTick::MAX_INDEX), NetworkTick::new(3));
        assert_eq!(before.max(after), after);
        assert_eq!(after.max(before), after);
        assert_eq!(before.min(after), before);
        assert_eq!(after.min(before), before);
        assert_eq!(after.ticks_since(before), 4);
    }

    #[test]
    fn debug_shows_the_index() {
        assert_eq!(format!("{:?}", NetworkTick::new(42)), "NetworkTick(42)");
        assert_eq!(format!("{:>9}", DisplayTick(None)), "  Invalid");
    }
}

//! What a network tick promises: scenarios NTICK-01 to NTICK-09 of the behaviour catalogue.
//! An invalid tick is `None` here: whatever asks for a valid one does not compile with it, and `?` or a match decides.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use ghostline_wire::{BitReader, BitWriter, DisplayTick, NetworkTick};

fn hash_of(tick: NetworkTick) -> u64 {
    let mut hasher = DefaultHasher::new();
    tick.hash(&mut hasher);
    hasher.finish()
}

/// NTICK-01.
#[test]
fn ticks_are_equal_newer_or_older() {
    let (earlier, later) = (NetworkTick::new(100), NetworkTick::new(200));
    assert_eq!(earlier, NetworkTick::new(100));
    assert_ne!(earlier, later);
    assert!(earlier.is_older_than(later) && later.is_newer_than(earlier));
    assert!(!later.is_older_than(earlier) && !earlier.is_newer_than(later));
    assert!(!earlier.is_newer_than(earlier) && !earlier.is_older_than(earlier));
}

/// NTICK-02: that ordering an invalid tick is an error is the compiler's to say; equality is allowed.
#[test]
fn an_invalid_tick_equals_no_valid_one() {
    let invalid: Option<NetworkTick> = NetworkTick::from_raw(0);
    assert_eq!(invalid, None);
    assert_eq!(invalid, Option::default(), "invalid is the default");
    assert_ne!(invalid, Some(NetworkTick::new(0)));
    assert_ne!(invalid, Some(NetworkTick::new(NetworkTick::MAX_INDEX)));
}

/// NTICK-03.
#[test]
fn ticks_are_added_and_subtracted() {
    let mut tick = NetworkTick::new(10).add(5);
    assert_eq!(tick.index(), 15);
    tick = tick.sub(3);
    assert_eq!(tick.index(), 12);
    tick = tick.next();
    assert_eq!(tick.index(), 13);
    tick = tick.prev();
    assert_eq!(tick.index(), 12);
}

/// NTICK-04.
#[test]
fn ticks_since_an_older_one_are_positive() {
    let (older, newer) = (NetworkTick::new(100), NetworkTick::new(110));
    assert_eq!(newer.ticks_since(older), 10);
    assert_eq!(older.ticks_since(newer), -10);
    assert_eq!(newer.ticks_since(newer), 0);
}

/// NTICK-05.
#[test]
fn the_serialised_form_is_one_u32_and_comes_back() {
    for index in [0, 1, 123, NetworkTick::MAX_INDEX] {
        let tick = NetworkTick::new(index);
        assert_eq!(tick.raw(), index << 1 | 1);
        let mut out = BitWriter::new();
        out.write_u32(tick.raw());
        let raw = BitReader::new(out.as_bytes()).read_u32().unwrap();
        assert_eq!(NetworkTick::from_raw(raw), Some(tick));
    }
    for raw in [0, 2, 0xFFFF_FFFE] {
        assert_eq!(NetworkTick::from_raw(raw), None, "the validity bit is missing");
    }
}

/// NTICK-06.
#[test]
fn a_tick_shows_its_index_or_that_it_is_invalid() {
    assert_eq!(NetworkTick::new(42).to_string(), "42");
    assert_eq!(DisplayTick(Some(NetworkTick::new(42))).to_string(), "42");
    assert_eq!(DisplayTick(None).to_string(), "Invalid");
}

/// NTICK-07: of an invalid tick there is no index to ask for.
#[test]
fn the_index_of_a_valid_tick_is_its_value() {
    assert_eq!(NetworkTick::new(77).index(), 77);
    assert_eq!(NetworkTick::from_raw(0).map(NetworkTick::index), None);
}

/// NTICK-08.
#[test]
fn equality_and_hash_agree() {
    let (a, b, c) = (NetworkTick::new(5), NetworkTick::new(5), NetworkTick::new(6));
    assert_eq!((a, hash_of(a)), (b, hash_of(b)));
    assert_ne!(a, c);
    let hashes: BTreeSet<u64> = (0..1_000).map(|index| hash_of(NetworkTick::new(index))).collect();
    assert_eq!(hashes.len(), 1_000, "different ticks have different hashes");
}

/// NTICK-09.
#[test]
fn the_range_is_31_bits_and_wraps() {
    let (first, last) = (NetworkTick::new(0), NetworkTick::new((1 << 31) - 1));
    assert_eq!((first.index(), last.index()), (0, NetworkTick::MAX_INDEX));
    assert_eq!(last.next(), first);
    assert_eq!(first.prev(), last);
    assert_eq!(NetworkTick::new(1 << 31), first);
    assert_eq!(last.add(5).ticks_since(last), 5);
    assert!(first.is_newer_than(last) && last.is_older_than(first));
    assert_eq!(NetworkTick::new(7).add(u32::MAX), NetworkTick::new(6));
    assert_eq!(NetworkTick::new(7).sub(u32::MAX), NetworkTick::new(8));
}

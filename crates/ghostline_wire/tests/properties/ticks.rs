//! Ticks, sequence numbers and epochs.

use ghostline_wire::*;
use proptest::prelude::*;

use crate::strategies::tick;
use crate::{config, round_trip};

proptest! {
    #![proptest_config(config())]

    #[test]
    fn tick_arithmetic_holds_across_the_wrap(tick in tick(), ticks in 0..(1u32 << 30)) {
        let later = tick.add(ticks);
        prop_assert_eq!(later.sub(ticks), tick);
        prop_assert_eq!(later.ticks_since(tick), ticks.cast_signed());
        prop_assert_eq!(tick.ticks_since(later), -ticks.cast_signed());
        prop_assert_eq!(later.is_newer_than(tick), ticks > 0);
        prop_assert_eq!(tick.is_older_than(later), ticks > 0);
        prop_assert_eq!((tick.max(later), tick.min(later)), (later, tick));
        prop_assert_eq!(NetworkTick::from_raw(tick.raw()), Some(tick));
        prop_assert_eq!(round_trip(|out| out.write_tick(tick), |input| input.read_tick())?, tick);
    }

    #[test]
    fn sequences_and_epochs_hold_across_the_wrap(from in any::<u16>(), steps in 1..0x8000u16, epoch in any::<u8>()) {
        let (older, newer) = (PacketSequence(from), PacketSequence(from.wrapping_add(steps)));
        prop_assert_eq!(newer.since(older), steps.cast_signed());
        prop_assert!(newer.is_newer_than(older) && !older.is_newer_than(newer));
        let ahead = (steps % 127) as u8 + 1;
        let (older, newer) = (Epoch(epoch), Epoch(epoch.wrapping_add(ahead)));
        prop_assert!(newer.is_newer_than(older) && !older.is_newer_than(newer));
    }
}

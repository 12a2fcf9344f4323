//! Section 1: bits and packed integers.

use ghostline_wire::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::strategies::number;
use crate::{config, round_trip};

proptest! {
    #![proptest_config(config())]

    #[test]
    fn bits_come_back(parts in vec((any::<u32>(), 0..=32u32), 0..100)) {
        let read = round_trip(
            |out| parts.iter().for_each(|(value, count)| out.write_bits(*value, *count)),
            |input| parts.iter().map(|(_, count)| input.read_bits(*count)).collect::<Result<Vec<_>, _>>(),
        )?;
        let written: Vec<u32> = parts.iter().map(|(v, count)| (u64::from(*v) & ((1 << count) - 1)) as u32).collect();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn numbers_come_back_and_cost_what_is_said(values in vec(number(), 0..60), base in any::<u32>()) {
        let mut out = BitWriter::new();
        for value in &values {
            let before = out.bit_len();
            out.write_packed(*value);
            prop_assert_eq!(out.bit_len() - before, packed_bits(*value) as usize);
            out.write_packed_signed(value.cast_signed());
            out.write_packed_u64(u64::from(*value) << 13);
            out.write_delta(*value, base);
        }
        let mut input = BitReader::with_bits(out.as_bytes(), out.bit_len());
        for value in &values {
            prop_assert_eq!(input.read_packed(), Ok(*value));
            prop_assert_eq!(input.read_packed_signed(), Ok(value.cast_signed()));
            prop_assert_eq!(input.read_packed_u64(), Ok(u64::from(*value) << 13));
            prop_assert_eq!(input.read_delta(base), Ok(*value));
        }
        prop_assert!(input.is_empty());
    }

    #[test]
    fn a_smaller_number_never_costs_more(a in number(), b in number()) {
        prop_assert!(packed_bits(a.min(b)) <= packed_bits(a.max(b)));
        prop_assert!((2..=38).contains(&packed_bits(a)));
    }

    #[test]
    fn copied_bits_are_the_same_as_written_ones(
        before in 0..80usize,
        values in vec(number(), 0..60),
        after in number(),
    ) {
        let write = |out: &mut BitWriter| values.iter().for_each(|value| out.write_packed(*value));
        let (mut direct, mut copied, mut other) = (BitWriter::new(), BitWriter::new(), BitWriter::new());
        for out in [&mut direct, &mut copied] {
            (0..before).for_each(|i| out.write_bool(i % 3 == 0));
        }
        write(&mut direct);
        write(&mut other);
        copied.append_bits(other.as_bytes(), other.bit_len());
        for out in [&mut direct, &mut copied] {
            out.write_packed(after);
        }
        prop_assert_eq!(direct.finish(), copied.finish());
    }

    #[test]
    fn taking_back_is_as_if_nothing_was_written(
        kept in vec(number(), 0..30),
        taken in vec(number(), 0..30),
        after in vec(number(), 0..5),
    ) {
        let (mut plain, mut rewound) = (BitWriter::new(), BitWriter::new());
        for out in [&mut plain, &mut rewound] {
            kept.iter().for_each(|value| out.write_packed(*value));
        }
        taken.iter().for_each(|value| rewound.write_packed(*value));
        rewound.truncate(plain.bit_len());
        prop_assert_eq!(plain.as_bytes(), rewound.as_bytes());
        for out in [&mut plain, &mut rewound] {
            after.iter().for_each(|value| out.write_packed(*value));
        }
        prop_assert_eq!(plain.finish(), rewound.finish());
    }

    #[test]
    fn a_part_reads_what_the_whole_would(bytes in vec(any::<u8>(), 0..60), skip in 0..64u32, bits in any::<Index>()) {
        let mut whole = BitReader::new(&bytes);
        prop_assume!(whole.read_bits(skip.min(32)).is_ok() && whole.read_bits(skip.saturating_sub(32)).is_ok());
        let bits = bits.index(whole.remaining_bits() + 1);
        let mut expected = whole.clone();
        let mut part = whole.read_sub(bits).expect("there are as many");
        for _ in 0..bits {
            prop_assert_eq!(part.read_bool(), expected.read_bool());
        }
        prop_assert_eq!(part.read_bool(), Err(DecodeError::UnexpectedEnd));
        prop_assert_eq!(whole.remaining_bits(), expected.remaining_bits());
        while !whole.is_empty() {
            prop_assert_eq!(whole.read_bool(), expected.read_bool());
        }
    }
}

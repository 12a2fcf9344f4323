//! Bit streams: least significant bit first into bytes of increasing address.
//! Encoders fill a writer whose buffer the caller may reuse; decoders read from a received message.
//! `docs/wire-format.md` section 1 has the notation of what they write and read.

mod reader;
mod writer;

pub use reader::BitReader;
pub use writer::BitWriter;

/// The lowest `count` bits set; `count` is 0 to 63.
#[inline]
const fn low_mask(count: u32) -> u64 {
    !u64::MAX.wrapping_shl(count)
}

#[cfg(test)]
mod tests {
    use super::{BitReader, BitWriter};
    use crate::error::DecodeError;
    use crate::packed::packed_bits;
    use crate::tick::NetworkTick;

    /// The slowest possible bit stream, as the document describes it.
    #[derive(Default)]
    struct NaiveWriter(Vec<bool>);

    impl NaiveWriter {
        fn push(&mut self, value: u64, count: u32) {
            self.0.extend((0..count).map(|bit| value >> bit & 1 == 1));
        }

        fn bytes(&self) -> Vec<u8> {
            self.0.chunks(8).map(|bits| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit))).collect()
        }
    }

    #[test]
    fn bits_lie_least_significant_first() {
        let mut out = BitWriter::new();
        out.write_bool(true);
        out.write_bits(0b10, 2);
        out.write_u8(0xFF);
        assert_eq!(out.as_bytes(), [0b1111_1101, 0b0000_0111]);
        assert_eq!((out.bit_len(), out.byte_len()), (11, 2));
    }

    #[test]
    fn every_width_at_every_place_is_what_the_slow_way_writes() {
        for offset in 0..32 {
            for count in 0..=32 {
                let (mut out, mut naive) = (BitWriter::new(), NaiveWriter::default());
                for (value, count) in [(0x5555_5555, offset), (0xDEAD_BEEF, count), (0xFFFF_FFFF, 5), (0, 32), (1, 1)] {
                    out.write_bits(value, count);
                    naive.push(u64::from(value), count);
                }
                assert_eq!(out.as_bytes(), naive.bytes(), "{count} bits at {offset}");
                assert_eq!(out.bit_len(), naive.0.len());
                let mut input = BitReader::with_bits(out.as_bytes(), out.bit_len());
                assert_eq!(input.read_bits(offset), Ok((0x5555_5555u64 & ((1 << offset) - 1)) as u32));
                assert_eq!(input.read_bits(count), Ok((0xDEAD_BEEFu64 & ((1 << count) - 1)) as u32));
                assert_eq!((input.read_bits(5), input.read_u32(), input.read_bool()), (Ok(31), Ok(0), Ok(true)));
                assert!(input.is_empty());
            }
        }
    }

    #[test]
    fn sixty_four_bits_pass_whole_at_any_place() {
        for offset in 0..64 {
            let mut out = BitWriter::new();
            out.write_bits64(u64::MAX, offset);
            out.write_u64(0x0123_4567_89AB_CDEF);
            let mut input = BitReader::new(out.as_bytes());
            assert_eq!(input.read_bits64(offset), Ok(((1u128 << offset) - 1) as u64));
            assert_eq!(input.read_u64(), Ok(0x0123_4567_89AB_CDEF));
            assert_eq!(input.expect_end(), Ok(()));
        }
    }

    #[test]
    fn packed_integers_come_back_at_every_border() {
        let values = (0..33u32).flat_map(|bits| {
            let power = 1u64 << bits;
            [power.saturating_sub(1), power, power + 1].map(|v| v.min(u64::from(u32::MAX)) as u32)
        });
        for value in values {
            let mut out = BitWriter::new();
            out.write_bool(true);
            out.write_packed(value);
            assert_eq!(out.bit_len(), 1 + packed_bits(value) as usize);
            let mut input = BitReader::with_bits(out.as_bytes(), out.bit_len());
            assert_eq!(input.read_bool(), Ok(true));
            assert_eq!(input.read_packed(), Ok(value));
            assert!(input.is_empty());
        }
    }

    #[test]
    fn a_packed_integer_beyond_32_bits_is_malformed() {
        // Bucket 15: prefix 111111, then 32 bits of which the offset leaves room for fewer.
        for (raw, expected) in [
            (u32::MAX - 153_392_480, Ok(u32::MAX)),
            (u32::MAX - 153_392_479, Err(DecodeError::BadPackedInteger)),
            (u32::MAX, Err(DecodeError::BadPackedInteger)),
        ] {
            let mut out = BitWriter::new();
            out.write_bits(0b11_1111, 6);
            out.write_u32(raw);
            assert_eq!(BitReader::new(out.as_bytes()).read_packed(), expected);
        }
    }

    #[test]
    fn differences_wrap_around() {
        for (value, base) in [(5, 7), (0, u32::MAX), (u32::MAX, 0), (1 << 31, 0)] {
            let mut out = BitWriter::new();
            out.write_delta(value, base);
            assert_eq!(BitReader::new(out.as_bytes()).read_delta(base), Ok(value));
        }
        let mut out = BitWriter::new();
        out.write_delta(0, u32::MAX);
        assert_eq!(out.bit_len() as u32, packed_bits(2), "a step of one across the wrap is small");
    }

    #[test]
    fn wide_numbers_are_packed_low_half_first() {
        let mut out = BitWriter::new();
        out.write_packed_u64(7 << 32 | 9);
        out.write_packed_u64(u64::MAX);
        let mut input = BitReader::new(out.as_bytes());
        assert_eq!((input.read_packed(), input.read_packed()), (Ok(9), Ok(7)));
        assert_eq!(input.read_packed_u64(), Ok(u64::MAX));
    }

    #[test]
    fn a_tick_takes_31_bits() {
        let mut out = BitWriter::new();
        out.write_tick(NetworkTick::new(NetworkTick::MAX_INDEX));
        assert_eq!(out.bit_len(), 31);
        let mut input = BitReader::with_bits(out.as_bytes(), 31);
        assert_eq!(input.read_tick(), Ok(NetworkTick::new(NetworkTick::MAX_INDEX)));
    }

    #[test]
    fn appended_bits_are_those_that_were_written() {
        let bytes: Vec<u8> = (0..40u8).map(|i| i.wrapping_mul(73) ^ 0x5A).collect();
        for before in 0..70 {
            for bit_len in [0, 1, 7, 8, 31, 63, 64, 65, 127, 128, 200, 319, 320] {
                let (mut out, mut naive) = (BitWriter::new(), NaiveWriter::default());
                for i in 0..before {
                    out.write_bool(i % 3 == 0);
                    naive.push(u64::from(i % 3 == 0), 1);
                }
                out.append_bits(&bytes, bit_len);
                (0..bit_len).for_each(|i| naive.push(u64::from(bytes[i / 8] >> (i % 8)), 1));
                out.write_bits(0b101, 3);
                naive.push(0b101, 3);
                assert_eq!(out.as_bytes(), naive.bytes(), "{bit_len} bits after {before}");
            }
        }
    }

    #[test]
    fn appending_more_bits_than_there_are_appends_those_there_are() {
        let mut out = BitWriter::new();
        out.append_bits(&[0xAB, 0xCD], 100);
        assert_eq!(out.as_bytes(), [0xAB, 0xCD]);
        assert_eq!(out.bit_len(), 16);
    }

    #[test]
    fn what_is_taken_back_leaves_no_trace() {
        for keep in 0..130 {
            let (mut out, mut expected) = (BitWriter::new(), BitWriter::new());
            for i in 0..130 {
                out.write_bool(i % 2 == 0);
                if i < keep {
                    expected.write_bool(i % 2 == 0);
                }
            }
            out.truncate(keep);
            assert_eq!(out.as_bytes(), expected.as_bytes(), "{keep}");
            for writer in [&mut out, &mut expected] {
                writer.write_bits(0x35, 6);
            }
            assert_eq!(out.finish(), expected.finish());
        }
        let mut short = BitWriter::new();
        short.write_u8(1);
        short.truncate(9);
        assert_eq!(short.bit_len(), 8, "there is nothing to take back");
    }

    #[test]
    fn a_reused_buffer_shows_nothing_of_its_past() {
        let mut out = BitWriter::with_buffer(vec![0xFF; 100]);
        assert!(out.as_bytes().is_empty());
        out.write_bool(false);
        assert_eq!(out.as_bytes(), [0]);
        out.write_bytes(&[0xFF; 20]);
        out.clear();
        out.write_bits(0, 12);
        assert_eq!(out.finish(), [0, 0]);
    }

    #[test]
    fn padding_is_zero_and_checked() {
        let mut out = BitWriter::new();
        out.write_bool(true);
        out.align();
        out.align();
        out.write_u8(7);
        assert_eq!(out.as_bytes(), [1, 7]);
        let mut input = BitReader::new(out.as_bytes());
        assert_eq!(input.read_bool(), Ok(true));
        assert_eq!((input.align(), input.align(), input.read_u8()), (Ok(()), Ok(()), Ok(7)));
        let mut dirty = BitReader::new(&[0b11]);
        assert_eq!(dirty.read_bool(), Ok(true));
        assert_eq!(dirty.align(), Err(DecodeError::BadPadding));
    }

    #[test]
    fn reading_past_the_end_is_an_error_and_takes_nothing() {
        let mut input = BitReader::new(&[0xFF]);
        assert_eq!(input.read_bits(9), Err(DecodeError::UnexpectedEnd));
        assert_eq!(input.read_packed(), Err(DecodeError::UnexpectedEnd));
        assert_eq!(input.read_u64(), Err(DecodeError::UnexpectedEnd));
        assert_eq!(input.read_u8(), Ok(0xFF));
        assert_eq!(input.read_bool(), Err(DecodeError::UnexpectedEnd));
        assert_eq!(input.read_bits(0), Ok(0));
        assert_eq!(BitReader::new(&[]).read_packed(), Err(DecodeError::UnexpectedEnd));
        let mut short = BitReader::with_bits(&[0xFF], 9);
        assert_eq!(short.remaining_bits(), 8, "more bits than there are");
        assert_eq!(short.read_bits(9), Err(DecodeError::UnexpectedEnd));
    }

    #[test]
    fn a_part_ends_where_it_is_said_to() {
        let bytes: Vec<u8> = (0..32).collect();
        let mut input = BitReader::new(&bytes);
        assert_eq!(input.read_bits(3), Ok(0));
        let mut part = input.read_sub(77).unwrap();
        assert_eq!((part.remaining_bits(), input.remaining_bits()), (77, 256 - 80));
        assert_eq!(input.read_u8(), Ok(10), "the whole goes on after the part");
        for _ in 0..77 {
            part.read_bool().unwrap();
        }
        assert_eq!(part.read_bool(), Err(DecodeError::UnexpectedEnd));
        assert_eq!(input.read_sub(1000).unwrap_err(), DecodeError::UnexpectedEnd);
        let rest = input.remaining_bits();
        assert_eq!(input.read_sub(rest).unwrap().remaining_bits(), rest);
        assert!(input.is_empty());
    }

    #[test]
    fn bytes_are_read_at_any_place_or_not_at_all() {
        let mut out = BitWriter::new();
        out.write_bits(1, 3);
        out.write_bytes(&[1, 2, 3, 4, 5, 6, 7]);
        let mut input = BitReader::new(out.as_bytes());
        assert_eq!(input.read_bits(3), Ok(1));
        let mut into = [0; 7];
        assert_eq!(input.read_bytes_into(&mut into), Ok(()));
        assert_eq!(into, [1, 2, 3, 4, 5, 6, 7]);
        let mut input = BitReader::new(&[9; 6]);
        assert_eq!(input.read_bytes_into(&mut into), Err(DecodeError::UnexpectedEnd));
        assert_eq!(into, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(input.remaining_bits(), 48);
    }

    #[test]
    fn any_range_of_bits_is_copied_to_any_place() {
        let bytes: Vec<u8> = (0..40u32).map(|i| (i.wrapping_mul(167) ^ 0x5A) as u8).collect();
        for from in 0..40 {
            for len in [0, 1, 3, 7, 8, 9, 63, 64, 65, 200] {
                for before in 0..9 {
                    let mut out = BitWriter::new();
                    out.write_bits(0, before);
                    out.append_range(&bytes, from, len);
                    assert_eq!(out.bit_len(), before as usize + len);
                    let mut copy = BitReader::with_bits(out.as_bytes(), out.bit_len());
                    let mut original = BitReader::new(&bytes);
                    copy.read_bits(before).unwrap();
                    for _ in 0..from {
                        original.read_bool().unwrap();
                    }
                    for _ in 0..len {
                        assert_eq!(copy.read_bool(), original.read_bool());
                    }
                }
            }
        }
        let mut out = BitWriter::new();
        out.append_range(&bytes, 316, 100);
        assert_eq!(out.bit_len(), 4, "no more than there is");
    }

    #[test]
    fn the_end_is_less_than_a_byte_of_zeros() {
        let mut input = BitReader::new(&[0b0000_0001, 0]);
        assert_eq!(input.expect_end(), Err(DecodeError::TrailingBits));
        assert_eq!(input.read_u8(), Ok(1));
        assert_eq!(input.expect_end(), Err(DecodeError::TrailingBits));
        assert_eq!(input.read_bool(), Ok(false));
        assert_eq!(input.expect_end(), Ok(()));
        assert_eq!(BitReader::with_bits(&[0x80], 8).read_sub(7).unwrap().expect_end(), Ok(()));
        assert_eq!(BitReader::with_bits(&[0x40], 7).expect_end(), Err(DecodeError::BadPadding));
    }
}

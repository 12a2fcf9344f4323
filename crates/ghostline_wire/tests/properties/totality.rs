//! Any bytes end in a value or an error.

use ghostline_wire::fuzz::TARGETS;
use ghostline_wire::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::config;
use crate::strategies::{acks, despawn, schema_and_rows};

/// One message or part, and how long its bytes must be to be valid.
fn damaged(bytes: &[u8], cut: Index, flips: &[Index]) -> Vec<u8> {
    let mut bytes = bytes[..cut.index(bytes.len() + 1)].to_vec();
    for flip in flips {
        if !bytes.is_empty() {
            let bit = flip.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
    bytes
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_bytes_end_in_a_value_or_an_error(bytes in vec(any::<u8>(), 0..400)) {
        for (_, run) in TARGETS {
            run(&bytes);
        }
    }

    #[test]
    fn repeated_bytes_end_in_a_value_or_an_error(byte in any::<u8>(), len in 0..1_500usize, first in vec(any::<u8>(), 0..30)) {
        // Long runs of the same choice are what random bytes never hold.
        let bytes: Vec<u8> = first.into_iter().chain(std::iter::repeat_n(byte, len)).collect();
        for (_, run) in TARGETS {
            run(&bytes);
        }
    }

    #[test]
    fn a_damaged_row_ends_in_a_row_or_an_error(
        (schema, base, row) in schema_and_rows(),
        cut in any::<Index>(),
        flips in vec(any::<Index>(), 0..4),
    ) {
        let layout = RowLayout::new(&schema);
        let mut out = BitWriter::new();
        encode_row(&layout, &row, Some(&base), &mut out);
        let bytes = damaged(out.as_bytes(), cut, &flips);
        let mut read = vec![0; layout.lanes()];
        let result = decode_row(&layout, Some(&base), &mut read, &mut BitReader::new(&bytes));
        if flips.is_empty() {
            prop_assert_eq!(result.is_ok(), bytes.len() * 8 >= out.bit_len());
        }
    }

    #[test]
    fn a_truncated_part_is_an_error(acks in acks(), entries in vec(despawn(), 1..20), cut in any::<Index>()) {
        let mut out = BitWriter::new();
        acks.encode(&mut out);
        let bits = cut.index(out.bit_len());
        let result = SnapshotAcks::decode(&mut BitReader::with_bits(out.as_bytes(), bits));
        prop_assert_eq!(result, Err(DecodeError::UnexpectedEnd));
        out.clear();
        write_despawns(&mut out, &entries);
        let bits = cut.index(out.bit_len());
        let result = read_despawns(&mut BitReader::with_bits(out.as_bytes(), bits), &mut Vec::new());
        prop_assert_eq!(result, Err(DecodeError::UnexpectedEnd));
    }
}

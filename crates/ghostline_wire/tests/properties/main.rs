//! Properties of the codecs, over values and bytes that nobody thought of, one module per chapter of the format.
//! What is written comes back; whatever is read ends in a value or an error; fast code does what slow code does.
//! Failing cases are shrunk by proptest and worth a test of their own beside the code.

mod acks;
mod bits;
mod commands;
mod quantisation;
mod rows;
mod rpc;
mod snapshots;
mod strategies;
mod ticks;
mod totality;

use ghostline_wire::*;
use proptest::prelude::*;

/// How many cases each property has.
fn config() -> ProptestConfig {
    ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() }
}

/// Writes, then reads the same bits; everything must be read.
fn round_trip<T>(
    write: impl FnOnce(&mut BitWriter),
    read: impl FnOnce(&mut BitReader<'_>) -> Result<T, DecodeError>,
) -> Result<T, TestCaseError> {
    let mut out = BitWriter::new();
    write(&mut out);
    let mut input = BitReader::with_bits(out.as_bytes(), out.bit_len());
    let value = read(&mut input).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert!(input.is_empty(), "{} bits are left", input.remaining_bits());
    Ok(value)
}

/// The check values of the document.
#[test]
fn check_values_cost_what_the_document_says() {
    assert_eq!([1, 12, 123].map(packed_bits), [3, 7, 13]);
}

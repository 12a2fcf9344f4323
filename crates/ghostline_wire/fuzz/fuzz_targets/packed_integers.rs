//! Fuzzes packed integers.
//! Fed by libFuzzer, which begins with `corpus/packed_integers`; what is checked stands in `ghostline_wire::fuzz`.
//! `cargo +nightly fuzz run packed_integers` in the folder of the crate.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ghostline_wire::fuzz::packed_integers(data);
});

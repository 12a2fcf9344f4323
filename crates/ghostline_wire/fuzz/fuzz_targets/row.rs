//! Fuzzes rows against a base.
//! Fed by libFuzzer, which begins with `corpus/row`; what is checked stands in `ghostline_wire::fuzz`.
//! `cargo +nightly fuzz run row` in the folder of the crate.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ghostline_wire::fuzz::row(data);
});

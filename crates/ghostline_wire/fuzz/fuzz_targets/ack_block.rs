//! Fuzzes ack blocks.
//! Fed by libFuzzer, which begins with `corpus/ack_block`; what is checked stands in `ghostline_wire::fuzz`.
//! `cargo +nightly fuzz run ack_block` in the folder of the crate.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ghostline_wire::fuzz::ack_block(data);
});

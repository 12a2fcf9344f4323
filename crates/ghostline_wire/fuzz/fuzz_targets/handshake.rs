//! Fuzzes the payloads of the handshake.
//! Fed by libFuzzer, which begins with `corpus/handshake`; what is checked stands in `ghostline_wire::fuzz`.
//! `cargo +nightly fuzz run handshake` in the folder of the crate.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ghostline_wire::fuzz::handshake(data);
});

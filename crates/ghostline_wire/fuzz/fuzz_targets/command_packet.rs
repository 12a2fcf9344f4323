//! Fuzzes command packets with acks, blocks and rows.
//! Fed by libFuzzer, which begins with `corpus/command_packet`; what is checked stands in `ghostline_wire::fuzz`.
//! `cargo +nightly fuzz run command_packet` in the folder of the crate.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ghostline_wire::fuzz::command_packet(data);
});

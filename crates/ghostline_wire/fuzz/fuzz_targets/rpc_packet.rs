//! Fuzzes RPC packets.
//! Fed by libFuzzer, which begins with `corpus/rpc_packet`; what is checked stands in `ghostline_wire::fuzz`.
//! `cargo +nightly fuzz run rpc_packet` in the folder of the crate.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ghostline_wire::fuzz::rpc_packet(data);
});

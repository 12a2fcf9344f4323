//! Fuzzes snapshot packets with prefabs, despawns, chunks and rows.
//! Fed by libFuzzer, which begins with `corpus/snapshot_packet`; what is checked stands in `ghostline_wire::fuzz`.
//! `cargo +nightly fuzz run snapshot_packet` in the folder of the crate.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ghostline_wire::fuzz::snapshot_packet(data);
});

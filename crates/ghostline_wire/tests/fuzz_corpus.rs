//! Runs every fuzz entry point over the committed seeds and over mutations of them, in the ordinary tests.
//! The seeds in `fuzz/corpus` are written by the real encoders below; they are locked here, so that a change of bytes shows.
//! `GHOSTLINE_WRITE_CORPUS=1 cargo test -p ghostline_wire --test fuzz_corpus` writes them anew.

use std::fs;
use std::path::PathBuf;

use ghostline_wire::fuzz::TARGETS;
use ghostline_wire::*;

/// The first bytes of a seed with rows: two components, `{vec3 q, bool}` and `{f32, u64, i8}`.
const SCHEMA: [u8; 8] = [2, 2, 0x80 | 11, 0, 3, 9, 4, 5];
/// A lone quantised quaternion.
const LONE: [u8; 3] = [1, 1, 0x80 | 12];

fn field(kind: FieldKind, quantization: u32) -> FieldSchema {
    FieldSchema { name: String::new(), kind, quantization, smoothing: Smoothing::Clamp, max_smoothing_distance: None }
}

fn layout() -> RowLayout {
    let component = |fields: &[FieldSchema]| ComponentSchema { name: String::new(), fields: fields.to_vec() };
    RowLayout::new(&[
        component(&[field(FieldKind::Vec3, 1), field(FieldKind::Bool, 0)]),
        component(&[field(FieldKind::F32, 0), field(FieldKind::U64, 0), field(FieldKind::I8, 0)]),
    ])
}

/// A seed: its first bytes as they are, then what `write` writes.
fn seed(prefix: &[u8], write: impl FnOnce(&mut BitWriter)) -> Vec<u8> {
    let mut out = BitWriter::new();
    write(&mut out);
    [prefix, out.as_bytes()].concat()
}

/// The same without the kind of the message, which the entry points don't read.
fn seed_after_kind(prefix: &[u8], write: impl FnOnce(&mut BitWriter)) -> Vec<u8> {
    let mut bytes = seed(prefix, write);
    bytes.remove(prefix.len());
    bytes
}

fn header() -> SnapshotHeader {
    SnapshotHeader {
        sequence: PacketSequence(300),
        epoch: Epoch(1),
        server_tick: NetworkTick::new(1_234),
        batch_length: 1,
        clock: Some(SnapshotClock {
            local_time_ms: 20_566,
            return_time_ms: Some(20_540),
            command_age: -300,
            relevant_ghosts: Some(65),
        }),
        has_lists: false,
    }
}

/// A packet after its kind: the header, then what `write` writes.
fn snapshot_seed(prefix: &[u8], header: SnapshotHeader, write: impl FnOnce(&mut BitWriter)) -> Vec<u8> {
    seed_after_kind(prefix, |out| {
        header.encode(out);
        write(out);
    })
}

fn moving_row(ghost: u32) -> [u32; 8] {
    [ghost * 100, 5, 0u32.wrapping_sub(ghost), ghost % 2, 1.5f32.to_bits(), ghost, 0, 7]
}

/// Two chunks of `count` ghosts that are not predicted.
fn plain_seed(count: u32, delta: bool) -> Vec<u8> {
    snapshot_seed(&SCHEMA, header(), |out| {
        let mut previous = None;
        for chunk in 0..2u32 {
            ChunkStep::Gap(ChunkGap { skipped: chunk, quiet: 3 }).write(out);
            ChunkStep::Body.write(out);
            BodyForm::Full.write(out);
            out.write_bool(false);
            out.write_packed(chunk);
            ChunkCover { uncovered: u64::from(chunk) << 40, settled_ticks: 9 * chunk }.write(out);
            write_mask((1u64 << count) - 1, out);
            for ghost in 0..count {
                let body = if delta {
                    GhostBody::Delta { baseline_age: 6 + ghost / 2 }
                } else {
                    GhostBody::Absolute { spawn_age: ghost }
                };
                write_ghost_body(out, body, &mut previous);
                encode_row(&layout(), &moving_row(ghost), None, out);
            }
        }
        ChunkStep::End { quiet: true }.write(out);
    })
}

/// Two chunks of ghosts that are predicted but for the last one, the second chunk from the base of the first.
fn predicted_seed() -> Vec<u8> {
    snapshot_seed(&SCHEMA, SnapshotHeader { clock: None, ..header() }, |out| {
        let (layout, base) = (layout(), PredictionBase { age: 6, span: 3, curved: true });
        let mut model = RowModel::new(&layout);
        for (number, field) in (0..).zip(&mut model.fields) {
            *field = FieldModel { usual: number % 2 == 0, order: Order::Curve, border: (number == 0).then_some(7) };
        }
        model.fields[1].order = Order::Stay;
        model.fields[2].order = Order::Stay;
        model.parameters[..3].fill([5, 2, 6]);
        let mut coder = RowCoder::default();
        coder.prepare(&layout, base, &model);
        // The rows that the entry point makes up for this base.
        let made_up = |age: u32| (0..8).map(|lane| (age + lane).wrapping_mul(0x9E37_79B9)).collect::<Vec<u32>>();
        let (newest, earlier, earliest) = (made_up(6), made_up(9), made_up(12));
        let rows = BaseRows { base: &newest, earlier: &earlier, earliest: &earliest };
        for chunk in 0..2u32 {
            ChunkStep::Body.write(out);
            if chunk == 0 {
                BodyForm::Full.write(out);
                out.write_bool(true);
                base.write(out);
                ModelName { number: 3, is_defined: true }.write(out);
                model.write(&layout, out);
                ChunkCover::default().write(out);
                out.write_bool(false);
                write_mask(0b1111, out);
            } else {
                // The entry point makes its references up: of chunk 1 at age 6.
                BodyForm::Same.write(out);
                write_mask(2u64.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(6) ^ 0b1111, out);
            }
            for ghost in 0..3 {
                coder.encode(rows, &moving_row(ghost), out);
            }
            RowForm::Plain.write(out);
            write_ghost_body(out, GhostBody::Absolute { spawn_age: 1 }, &mut None);
            encode_row(&layout, &vec![1; layout.lanes()], None, out);
        }
        ChunkStep::End { quiet: false }.write(out);
    })
}

fn snapshot_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let end = |quiet| move |out: &mut BitWriter| ChunkStep::End { quiet }.write(out);
    let bare = SnapshotClock { local_time_ms: 1, return_time_ms: None, command_age: 0, relevant_ghosts: None };
    let lists = SnapshotHeader { has_lists: true, ..header() };
    let prefabs = snapshot_seed(&[0], lists, |out| {
        let entries = [1u64, 2, 3].map(|i| PrefabEntry { type_id: fnv1a64(&[i as u8]), schema_hash: i });
        write_prefabs(out, 4, &entries);
        write_despawns(out, &[]);
        end(false)(out);
    });
    let despawns = snapshot_seed(&[0], lists, |out| {
        write_prefabs(out, 0, &[]);
        let reasons = [DespawnReason::Destroyed, DespawnReason::NoLongerRelevant];
        let entries: Vec<DespawnEntry> =
            (0..20u32).map(|i| DespawnEntry { ghost_id: 1 + i * i, reason: reasons[(i % 2) as usize] }).collect();
        write_despawns(out, &entries);
        ChunkStep::Gap(ChunkGap { skipped: 2, quiet: 1 }).write(out);
        end(false)(out);
    });
    vec![
        ("predicted", predicted_seed()),
        ("empty", snapshot_seed(&SCHEMA, SnapshotHeader { clock: Some(bare), ..header() }, end(false))),
        ("quiet", snapshot_seed(&SCHEMA, header(), end(true))),
        ("prefabs", prefabs),
        ("despawns", despawns),
        ("spawns", plain_seed(3, false)),
        ("deltas", plain_seed(5, true)),
        ("many_deltas", plain_seed(30, true)),
    ]
}

fn acks(received: impl IntoIterator<Item = u16>) -> SnapshotAcks {
    let mut packets = ReceivedPackets::new();
    for sequence in received {
        packets.receive(PacketSequence(sequence));
    }
    packets.acks().expect("at least one packet")
}

fn command_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let header = CommandHeader {
        epoch: Epoch(1),
        acks: Some(acks([1, 2, 3, 5, 6])),
        fresh_start: false,
        local_time_ms: 7,
        return_time_ms: Some(9),
        interpolation_delay: 2,
        prefabs_known: 3,
        is_full_tick: false,
        input_target_tick: NetworkTick::new(2),
    };
    let rows = [[1, 0, 0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 9, 1, u32::MAX], [1, 0, 0, 1, 0, 0, 0, 0]];
    let entry = |ago: u32, row: usize| CommandEntry { tick: header.input_target_tick.sub(ago), lanes: &rows[row] };
    let ghost = BlockTarget::Ghost { ghost_id: 65, spawn_tick: NetworkTick::new(1) };
    let packet = |header: CommandHeader, blocks: &[(BlockTarget, &[CommandEntry<'_>])]| {
        seed_after_kind(&SCHEMA, |out| {
            header.encode(out);
            let mut scratch = BitWriter::new();
            for (index, (target, entries)) in (0..).zip(blocks) {
                let tick = header.input_target_tick;
                write_block(index, *target, &layout(), tick, entries, &mut scratch, out).expect("small enough");
            }
            write_blocks_end(out);
        })
    };
    let four = [entry(0, 0), entry(1, 0), entry(2, 1), entry(3, 2)];
    let sparse = [entry(0, 1), entry(3, 1), entry(7, 0), entry(500_000, 2)];
    let many: Vec<CommandEntry<'_>> = (0..32).map(|ago| entry(ago, (ago % 3) as usize)).collect();
    let first = CommandHeader { acks: None, return_time_ms: None, fresh_start: true, ..header };
    vec![
        ("one_command", packet(first, &[(BlockTarget::ConnectionTarget, &four[..1])])),
        ("four_commands", packet(header, &[(BlockTarget::ConnectionTarget, &four)])),
        ("two_blocks", packet(header, &[(BlockTarget::ConnectionTarget, &four), (ghost, &sparse)])),
        ("all_entries", packet(header, &[(ghost, &many)])),
    ]
}

fn ack_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let block = |acks: SnapshotAcks| seed(&[], |out| acks.encode(out));
    vec![
        ("first", block(acks([0]))),
        ("all", block(acks(0..1_000))),
        ("five_percent_lost", block(acks((0..1_000).filter(|i| i % 20 != 7)))),
        ("every_second", block(acks((0..1_000).step_by(2)))),
        ("wrapped", block(acks((0..=u16::MAX).chain(0..9)))),
    ]
}

fn rpc_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let packet = |payloads: &[(u16, &[u8], usize)]| {
        let mut out = Vec::new();
        begin_packet(&mut out);
        for (type_index, payload, bits) in payloads {
            push_frame(&mut out, *type_index, payload, *bits).expect("small enough");
        }
        out.remove(0);
        out
    };
    vec![
        ("one", packet(&[(16, &[1, 2, 3], 24)])),
        ("odd_bits", packet(&[(17, &[0xFF, 0xFF], 13), (65_535, &[1], 1)])),
        ("without_payload", packet(&[(1, &[], 0), (1, &[], 0)])),
        ("large", packet(&[(18, &[0xA5; 700], 5_597)])),
        ("named_by_id", {
            let mut out = Vec::new();
            begin_packet(&mut out);
            push_frame(&mut out, RpcName::id_of(fnv1a64(b"Chat()")), &[1, 2, 3], 21).expect("small enough");
            push_frame(&mut out, 2, &[4], 8).expect("small enough");
            out.remove(0);
            out
        }),
    ]
}

fn handshake_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let version =
        ProtocolVersion { wire: 1, game: 7, rpc_collection: fnv1a64(b"a"), component_collection: fnv1a64(b"b") };
    let approved = |tick_rate| ConnectionApproved { network_id: 1, tick_rate };
    let rates = TickRateBlock { simulation_tick_rate: 30, network_tick_rate: 20, ..TickRateBlock::default() };
    vec![
        ("version", seed(&[], |out| version.encode(out))),
        ("default_rates", seed(&[], |out| approved(TickRateBlock::default()).encode(out))),
        ("other_rates", seed(&[], |out| approved(rates).encode(out))),
    ]
}

fn row_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let row =
        |base: u8, row: [u32; 8]| seed(&[&SCHEMA[..], &[base]].concat(), |out| encode_row(&layout(), &row, None, out));
    let lone = RowLayout::new(&[ComponentSchema { name: String::new(), fields: vec![field(FieldKind::Quat, 1)] }]);
    vec![
        ("zeros", row(0, [0; 8])),
        ("all_changed", row(0, [5, 0u32.wrapping_sub(70_000), 3, 1, f32::NAN.to_bits(), 1, 2, 3])),
        ("against_a_base", row(9, [5, 6, 7, 0, 0, 0, 9, 0])),
        ("lone_field", seed(&[&LONE[..], &[3]].concat(), |out| encode_row(&lone, &[1, 2, 3, 4], None, out))),
    ]
}

fn packed_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let numbers = |values: &[u32]| {
        seed(&[], |out| {
            for (i, value) in values.iter().enumerate() {
                let choice = (i % 4) as u32;
                out.write_bits(choice, 2);
                match choice {
                    0 => out.write_packed(*value),
                    1 => out.write_packed_signed(value.cast_signed()),
                    2 => out.write_packed_u64(u64::from(*value) << 16),
                    _ => out.write_delta(*value, 0x8000_0001),
                }
            }
        })
    };
    let borders: Vec<u32> = (0..32).flat_map(|bits| [1u32 << bits, (1u32 << bits) - 1]).collect();
    vec![
        ("small", numbers(&[0, 1, 2, 3, 12, 123, 8, 9])),
        ("borders", numbers(&borders)),
        ("largest", numbers(&[u32::MAX; 8])),
    ]
}

/// Every seed: its target, its name, its bytes.
fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let all = [
        ("snapshot_packet", snapshot_seeds()),
        ("command_packet", command_seeds()),
        ("ack_block", ack_seeds()),
        ("rpc_packet", rpc_seeds()),
        ("handshake", handshake_seeds()),
        ("row", row_seeds()),
        ("packed_integers", packed_seeds()),
    ];
    all.into_iter()
        .flat_map(|(target, seeds)| seeds.into_iter().map(move |(name, bytes)| (target, name, bytes)))
        .collect()
}

fn corpus(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fuzz", "corpus", target].iter().collect()
}

/// The committed files of a target, in the order of their names.
fn committed(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(corpus(target))
        .expect("every target has a corpus")
        .map(|entry| {
            let path = entry.expect("a readable directory").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, fs::read(path).expect("a readable file"))
        })
        .collect();
    files.sort();
    files
}

#[test]
fn the_committed_seeds_are_what_the_encoders_write() {
    let write = std::env::var_os("GHOSTLINE_WRITE_CORPUS").is_some();
    for (target, name, bytes) in seeds() {
        let path = corpus(target).join(name);
        if write {
            fs::create_dir_all(corpus(target)).expect("a writable directory");
            fs::write(&path, &bytes).expect("a writable file");
        }
        assert_eq!(fs::read(&path).expect("a committed seed"), bytes, "{target}/{name}");
    }
}

#[test]
fn every_target_has_seeds_that_it_takes_for_valid() {
    let seeds = seeds();
    for (target, run) in TARGETS {
        let own: Vec<_> = seeds.iter().filter(|(of, ..)| *of == target).collect();
        assert!(own.len() >= 3, "{target}");
        for (_, name, bytes) in own {
            // Of the handshake, validity is that of the approval.
            assert!(run(bytes) || *name == "version", "{target}/{name}");
        }
    }
}

#[test]
fn no_committed_input_breaks_a_promise() {
    for (target, run) in TARGETS {
        for (_, bytes) in committed(target) {
            run(&bytes);
        }
    }
}

#[test]
fn no_mutation_of_the_corpus_breaks_a_promise() {
    for (target, run) in TARGETS {
        let corpus = committed(target);
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let mut valid = 0;
        for _ in 0..2_000 {
            let (_, bytes) = &corpus[random.below(corpus.len())];
            let (_, other) = &corpus[random.below(corpus.len())];
            valid += usize::from(run(&mutated(bytes, other, &mut random)));
        }
        assert!(valid > 100, "{target}: only {valid} mutations got through");
        assert!(valid < 2_000, "{target}: no mutation was refused");
    }
}

/// A xorshift generator: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// 0 to `bound − 1`; 0 for a bound of 0.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 16) as usize % bound.max(1)
    }
}

fn mutated(bytes: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at.min(bytes.len()), random.next() as u8),
            2 => {
                let from = random.below(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from.min(other.len())..]);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    bytes
}

//! Locks `docs/wire-format.md` and the code to each other: its worked packets and the bounds that it names.
//! A worked packet stands in the page three times over: field by field, as bytes, and here as what the encoders write.
//! When one of these tests fails, bytes have changed: raise the wire version and say so in the changelog.

use ghostline_wire::limits::MAX_RPC_FRAMES_PER_PACKET;
use ghostline_wire::*;

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/wire-format.md"));

/// A worked packet of the page: the bits of its lines, and its bytes.
struct Worked {
    bits: Vec<bool>,
    bytes: Vec<u8>,
}

/// The code block under this heading of section 7. A line is codes, two or more spaces, a remark; codes are bits in the
/// order of the stream, or `u16=300`, `tick=5` for raw numbers. Lines that begin with `=` are the bytes.
fn worked(heading: &str) -> Worked {
    let (_, section) = PAGE.split_once(&format!("\n### {heading}\n")).expect("a section with this heading");
    let block = section.split("```").nth(1).expect("a code block");
    let (mut bits, mut bytes) = (Vec::new(), Vec::new());
    for line in block.lines().filter(|line| !line.is_empty()) {
        if let Some(hex) = line.strip_prefix("= ") {
            bytes.extend(hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).expect("two hex digits")));
            continue;
        }
        let (codes, remark) = line.split_once("  ").expect("codes and a remark");
        assert!(!remark.trim().is_empty(), "{line}");
        for code in codes.split(' ') {
            match code.split_once('=') {
                Some((kind, value)) => {
                    let width = match kind {
                        "tick" => 31,
                        _ => kind.strip_prefix('u').expect("u8 to u64").parse().expect("a width"),
                    };
                    let value = match value.strip_prefix("0x") {
                        Some(hex) => u64::from_str_radix(hex, 16),
                        None => value.parse(),
                    };
                    let value: u64 = value.expect("a number");
                    bits.extend((0..width).map(|bit: u32| value >> bit & 1 == 1));
                }
                None => bits.extend(code.chars().map(|bit| {
                    assert!(bit == '0' || bit == '1', "{line}");
                    bit == '1'
                })),
            }
        }
    }
    Worked { bits, bytes }
}

/// Checks that the page's fields are the page's bytes, and both what the encoder wrote.
fn check(heading: &str, encoded: &[u8], expected: &str) {
    let hex: Vec<String> = encoded.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex.join(" "), expected, "what the encoder writes has changed");
    let worked = worked(heading);
    assert_eq!(worked.bytes, encoded, "the bytes of the page are others");
    let mut bits: Vec<bool> = (0..encoded.len() * 8).map(|i| encoded[i / 8] >> (i % 8) & 1 == 1).collect();
    let padding = bits.split_off(worked.bits.len());
    assert!(padding.len() < 8 && !padding.contains(&true), "all but the padding is explained");
    assert_eq!(worked.bits, bits, "the fields of the page are others");
}

fn field(name: &str, kind: FieldKind, quantization: u32, smoothing: Smoothing) -> FieldSchema {
    FieldSchema { name: name.into(), kind, quantization, smoothing, max_smoothing_distance: None }
}

fn player_input() -> ComponentSchema {
    let plain = |name, kind| field(name, kind, 0, Smoothing::Clamp);
    let fields =
        vec![plain("horizontal", FieldKind::I8), plain("vertical", FieldKind::I8), plain("jump", FieldKind::U32)];
    ComponentSchema { name: "PlayerInput".into(), fields }
}

fn player() -> GhostSchema {
    let position = field("value", FieldKind::Vec3, 1000, Smoothing::Interpolate);
    let points = field("points", FieldKind::I16, 0, Smoothing::Clamp);
    let alive = field("alive", FieldKind::Bool, 0, Smoothing::Clamp);
    GhostSchema {
        name: "player".into(),
        options: "owner_predicted".into(),
        components: vec![
            ComponentSchema { name: "Position".into(), fields: vec![position] },
            ComponentSchema { name: "Health".into(), fields: vec![points, alive] },
        ],
    }
}

const COMMAND: &str = "00 01 29 00 98 d1 00 7d a0 f7 80 a9 34 01 00 20 ed 04 ad 80 05";

#[test]
fn the_command_packet_is_the_one_of_the_page() {
    let mut received = ReceivedPackets::new();
    for sequence in (0..=20).filter(|sequence| *sequence != 17) {
        received.receive(PacketSequence(sequence));
    }
    let now = NetworkTick::new(1_234);
    let header = CommandHeader {
        epoch: Epoch(1),
        acks: received.acks(),
        fresh_start: false,
        local_time_ms: 1_000,
        return_time_ms: Some(990),
        interpolation_delay: 2,
        prefabs_known: 1,
        is_full_tick: true,
        input_target_tick: now,
    };
    let minus_one = (-1i32).cast_unsigned();
    let (held, before) = ([1, minus_one, 0], [0, minus_one, 0]);
    let entries = [
        CommandEntry { tick: now, lanes: &held },
        CommandEntry { tick: now.sub(1), lanes: &held },
        CommandEntry { tick: now.sub(2), lanes: &before },
    ];
    let layout = RowLayout::new(&[player_input()]);
    let (mut out, mut scratch) = (BitWriter::new(), BitWriter::new());
    header.encode(&mut out);
    write_block(0, BlockTarget::ConnectionTarget, &layout, now, &entries, &mut scratch, &mut out).expect("small");
    write_blocks_end(&mut out);
    check("7.1 Command packet", out.as_bytes(), COMMAND);

    let mut input = BitReader::new(out.as_bytes());
    assert_eq!(input.read_u8().map(MessageKind::from_byte), Ok(Some(MessageKind::Command)));
    assert_eq!(CommandHeader::decode(&mut input), Ok(header));
    let mut blocks = BlockReader::new();
    let block = blocks.next_block(&mut input).expect("valid").expect("a block");
    let mut decoded = DecodedBlock::default();
    assert_eq!(read_block(block.body, &layout, now, &mut decoded), Ok(()));
    assert_eq!(decoded.entries, entries.map(|entry| entry.tick));
    assert_eq!(decoded.lanes, [held, held, before].concat());
    assert!(blocks.next_block(&mut input).expect("valid").is_none());
}

const SNAPSHOT: &str = "\
    01 07 00 01 d8 04 00 00 e2 0f 5c 1f d8 9f f5 02 38 d7 6f 07 56 1f b0 88 2a 94 d1 4d 7d 73 7d 40 \
    4b 14 51 e0 e0 e2 41 10 3c 70 b2 0f e5 85 36 00";

#[test]
fn the_snapshot_packet_is_the_one_of_the_page() {
    let header = SnapshotHeader {
        sequence: PacketSequence(7),
        epoch: Epoch(1),
        server_tick: NetworkTick::new(1_240),
        batch_length: 1,
        clock: Some(SnapshotClock {
            local_time_ms: 1_016,
            return_time_ms: Some(1_003),
            command_age: -384,
            relevant_ghosts: Some(3),
        }),
        has_lists: true,
    };
    let player = player();
    let prefabs = [PrefabEntry { type_id: player.type_id(), schema_hash: player.hash() }];
    let despawns = [DespawnEntry { ghost_id: 130, reason: DespawnReason::Destroyed }];
    let gap = ChunkStep::Gap(ChunkGap { skipped: 0, quiet: 1 });
    let layout = RowLayout::new(&player.components);
    let base = [5_000, 0, 7_000, 100, 1];
    let (moved, spawned) = ([5_020, 0, 6_999, 100, 1], [1_000, (-500i32).cast_unsigned(), 0, 100, 1]);
    let ghosts = [
        (GhostBody::Delta { baseline_age: 6 }, moved, Some(&base[..])),
        (GhostBody::Absolute { spawn_age: 0 }, spawned, None),
    ];

    let mut out = BitWriter::new();
    header.encode(&mut out);
    write_prefabs(&mut out, 0, &prefabs);
    write_despawns(&mut out, &despawns);
    gap.write(&mut out);
    ChunkStep::Body.write(&mut out);
    BodyForm::Full.write(&mut out);
    out.write_bool(false);
    out.write_packed(0);
    ChunkCover::default().write(&mut out);
    write_mask(0b11, &mut out);
    let mut previous = None;
    for (body, row, base) in ghosts {
        write_ghost_body(&mut out, body, &mut previous);
        encode_row(&layout, &row, base, &mut out);
    }
    ChunkStep::End { quiet: false }.write(&mut out);
    check("7.2 Snapshot packet", out.as_bytes(), SNAPSHOT);

    let mut input = BitReader::new(out.as_bytes());
    assert_eq!(input.read_u8().map(MessageKind::from_byte), Ok(Some(MessageKind::Snapshot)));
    assert_eq!(SnapshotHeader::decode(&mut input), Ok(header));
    let (mut read_prefab, mut read_despawn) = (Vec::new(), Vec::new());
    assert_eq!(read_prefabs(&mut input, &mut read_prefab), Ok(0));
    assert_eq!(read_prefab, prefabs);
    assert_eq!(read_despawns(&mut input, &mut read_despawn), Ok(()));
    assert_eq!(read_despawn, despawns);
    assert_eq!(ChunkStep::read(&mut input), Ok(gap));
    assert_eq!(ChunkStep::read(&mut input), Ok(ChunkStep::Body));
    assert_eq!(BodyForm::read(&mut input), Ok(BodyForm::Full));
    assert_eq!((input.read_bool(), input.read_packed()), (Ok(false), Ok(0)));
    assert_eq!(ChunkCover::read(&mut input), Ok(ChunkCover::default()));
    assert_eq!(read_mask(&mut input), Ok(0b11));
    let mut previous = None;
    for (body, row, base) in ghosts {
        assert_eq!(read_ghost_body(&mut input, &mut previous), Ok(body));
        let mut read = [0; 5];
        assert_eq!(decode_row(&layout, base, &mut read, &mut input), Ok(()));
        assert_eq!(read, row);
    }
    assert_eq!(ChunkStep::read(&mut input), Ok(ChunkStep::End { quiet: false }));
    assert_eq!(input.expect_end(), Ok(()));
}

const PREDICTED: &str = "18 dd dc 52 13 60 d8 80 34 78 3f f0 c0 c9 3e 94 17 da";

#[test]
fn the_predicted_chunk_body_is_the_one_of_the_page() {
    let layout = RowLayout::new(&player().components);
    let base = PredictionBase { age: 6, span: 3, curved: false };
    let name = ModelName { number: 3, is_defined: true };
    let mut model = RowModel::new(&layout);
    model.fields[0] = FieldModel { usual: true, order: Order::Slope, border: Some(7) };
    model.parameters[..4].copy_from_slice(&[[5, 2, 6], [5, 0, 6], [5, 3, 6], [4, 4, 4]]);
    let (newest, earlier) = ([5_000, 0, 7_000, 100, 1], [4_990, 0, 7_003, 100, 1]);
    let rows = BaseRows { base: &newest, earlier: &earlier, earliest: &earlier };
    let (moved, spawned) = ([5_021, 0, 6_990, 100, 1], [1_000, (-500i32).cast_unsigned(), 0, 100, 1]);
    let mut coder = RowCoder::default();
    coder.prepare(&layout, base, &model);

    let mut out = BitWriter::new();
    BodyForm::Full.write(&mut out);
    out.write_bool(true);
    base.write(&mut out);
    name.write(&mut out);
    model.write(&layout, &mut out);
    ChunkCover::default().write(&mut out);
    out.write_bool(false);
    write_mask(0b11, &mut out);
    coder.encode(rows, &moved, &mut out);
    RowForm::Plain.write(&mut out);
    write_ghost_body(&mut out, GhostBody::Absolute { spawn_age: 0 }, &mut None);
    encode_row(&layout, &spawned, None, &mut out);
    check("7.5 Predicted chunk body", out.as_bytes(), PREDICTED);

    let mut input = BitReader::new(out.as_bytes());
    assert_eq!((BodyForm::read(&mut input), input.read_bool()), (Ok(BodyForm::Full), Ok(true)));
    assert_eq!(PredictionBase::read(&mut input), Ok(base));
    assert_eq!(ModelName::read(&mut input), Ok(name));
    let mut read = RowModel::default();
    assert_eq!(read.read(&layout, &mut input), Ok(()));
    assert_eq!(read, model);
    assert_eq!(ChunkCover::read(&mut input), Ok(ChunkCover::default()));
    assert_eq!((input.read_bool(), read_mask(&mut input)), (Ok(false), Ok(0b11)));
    assert_eq!(RowForm::read(&mut input), Ok(RowForm::Usual));
    let mut row = [0; 5];
    assert_eq!(coder.decode(RowForm::Usual, rows, &mut row, &mut input), Ok(()));
    assert_eq!(row, moved);
    assert_eq!(RowForm::read(&mut input), Ok(RowForm::Plain));
    assert_eq!(read_ghost_body(&mut input, &mut None), Ok(GhostBody::Absolute { spawn_age: 0 }));
    assert_eq!(decode_row(&layout, None, &mut row, &mut input), Ok(()));
    assert_eq!(row, spawned);
    assert_eq!(input.expect_end(), Ok(()));
}

const RPC: &str = "\
    02 00 00 c0 00 04 00 00 00 07 00 00 00 ef cd ab 89 67 45 23 01 10 32 54 76 98 ba dc fe 10 00 03 \
    00 05";

fn version() -> ProtocolVersion {
    ProtocolVersion {
        wire: WIRE_VERSION,
        game: 7,
        rpc_collection: 0x0123_4567_89AB_CDEF,
        component_collection: 0xFEDC_BA98_7654_3210,
    }
}

#[test]
fn the_rpc_packet_is_the_one_of_the_page() {
    let mut payload = BitWriter::new();
    version().encode(&mut payload);
    let mut out = Vec::new();
    begin_packet(&mut out);
    push_frame(&mut out, internal_rpc::PROTOCOL_VERSION, payload.as_bytes(), payload.bit_len()).expect("small");
    push_frame(&mut out, internal_rpc::FIRST_GAME_RPC, &[0b101], 3).expect("small");
    check("7.3 RPC packet", &out, RPC);

    let read: Vec<RpcFrame<'_>> = frames(&out[1..]).expect("valid").collect();
    assert_eq!(ProtocolVersion::decode(&mut read[0].reader()), Ok(version()));
    assert_eq!((read[1].name, read[1].reader().read_bits(3)), (RpcName::Index(16), Ok(0b101)));
}

const UNRELIABLE_RPC: &str = "03 2c 01 ef 8d ab 89 67 45 23 01 03 00 05";

#[test]
fn the_unreliable_rpc_packet_is_the_one_of_the_page() {
    let name = RpcName::id_of(0x0123_4567_89AB_0DEF);
    let mut out = Vec::new();
    begin_unreliable_packet(&mut out, PacketSequence(300));
    push_frame(&mut out, name, &[0b101], 3).expect("small");
    check("7.6 Unreliable RPC packet", &out, UNRELIABLE_RPC);

    let (sequence, body) = split_unreliable_packet(&out[1..]).expect("a header");
    let read: Vec<RpcFrame<'_>> = named_frames(body, RpcNaming::Id).expect("valid").collect();
    assert_eq!((sequence, read.len(), read[0].name), (PacketSequence(300), 1, name));
}

const APPROVED: &str = "3e db e4 00";

#[test]
fn the_approval_is_the_one_of_the_page() {
    let rates = TickRateBlock { simulation_tick_rate: 30, network_tick_rate: 15, ..TickRateBlock::default() };
    let approved = ConnectionApproved { network_id: 3, tick_rate: rates };
    let mut out = BitWriter::new();
    approved.encode(&mut out);
    check("7.4 `ConnectionApproved`", out.as_bytes(), APPROVED);
    assert_eq!(ConnectionApproved::decode(&mut BitReader::new(out.as_bytes())), Ok(approved));
}

#[test]
fn the_canonical_texts_are_those_of_the_page() {
    for text in [player_input().canonical_text(), player().canonical_text()] {
        assert!(PAGE.contains(&format!("`{text}`")), "{text}");
    }
}

/// A number as the page writes it: 65536 is 65,536.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).expect("digits")).collect();
    groups.join(",")
}

#[test]
fn the_bounds_of_the_page_are_those_of_the_code() {
    let n = |number: u32| grouped(u64::from(number));
    for phrase in [
        format!("Wire version **{WIRE_VERSION}**"),
        format!("At most {} bytes of payload each", grouped(MAX_RPC_PAYLOAD_BYTES as u64)),
        format!("They tell of at most {} packets", n(ACK_WINDOW)),
        format!("previous three by default (1 … {})", n(MAX_COMMAND_ENTRIES)),
        format!("A block whose body exceeds {} bytes is not sent", grouped(MAX_COMMAND_BLOCK_BYTES as u64)),
        format!("step that ended with this tick (1 … {})", n(MAX_BATCH_LENGTH)),
        format!("= {} × chunk + slot + 1", n(CHUNK_SLOTS)),
        format!("live in chunks of {} stable slots", n(CHUNK_SLOTS)),
        format!("only while bodies of the chunk were sent at fewer than {} ticks after it", n(MAX_NAMED_TICKS)),
        format!("at least the newest {} ticks with bodies of every chunk", grouped(CLIENT_TICKS as u64)),
        format!("p    tick − baseline tick              1 … {}\n", n(MAX_SLOPE_TICKS)),
        format!("only when {} packets were sent since", n(ACK_WINDOW)),
        format!("p    count                0 … {}\n", n(MAX_PREFABS_PER_PACKET)),
        format!("p    count                at most {}\n", n(MAX_DESPAWNS_PER_PACKET)),
        format!("at most {} chunks", n(MAX_CHUNKS)),
        format!("ghost ids up to {}", n(MAX_GHOST_ID)),
        format!("at most {} ghost types", n(MAX_PREFABS)),
        format!("at most {} lanes", grouped(MAX_ROW_LANES as u64)),
        format!("at most {} frames", MAX_RPC_FRAMES_PER_PACKET),
        format!("`p` count (at most {})", n(limits::MAX_COMMAND_TYPES)),
        format!("{}…{} internal, {}…", 0, internal_rpc::FIRST_GAME_RPC - 1, internal_rpc::FIRST_GAME_RPC),
    ] {
        assert!(PAGE.contains(&phrase), "the page does not say: {phrase}");
    }
}

#[test]
fn the_default_rates_of_the_page_are_those_of_the_code() {
    let rates = TickRateBlock::default();
    let (_, order) = PAGE.split_once("in this order: ").expect("the tick-rate block");
    let order = order.split_once('.').expect("a sentence").0.replace('\n', " ");
    let expected = format!(
        "simulation rate ({}), network rate ({}), batch size ({}), steps per frame ({}), fixed-step ratio ({}), \
         handshake and approval time-out in ms ({})",
        rates.simulation_tick_rate,
        rates.network_tick_rate,
        rates.max_simulation_step_batch_size,
        rates.max_simulation_steps_per_frame,
        rates.predicted_fixed_step_simulation_tick_ratio,
        rates.handshake_approval_timeout_ms,
    );
    assert_eq!(order, expected);
}

#[test]
fn the_buckets_of_the_page_are_those_of_the_code() {
    let section = PAGE.split("**Packed integers.**").nth(1).expect("a section on packed integers");
    let rows = section.lines().filter(|line| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit());
    let numbers = |cell: &str| -> Vec<u64> { cell.split(", ").map(|n| n.trim().parse().expect("a number")).collect() };
    let mut buckets = 0;
    for row in rows.take(5) {
        let cells: Vec<Vec<u64>> = row.trim_matches('|').split('|').map(numbers).collect();
        for (i, offset) in cells[1].iter().enumerate() {
            let cost = (cells[2][i] + cells[3][i]) as u32;
            let last = (offset + (1u64 << cells[2][i]) - 1).min(u64::from(u32::MAX));
            assert_eq!(cells[0][i], buckets);
            assert_eq!([packed_bits(*offset as u32), packed_bits(last as u32)], [cost; 2], "bucket {buckets}");
            buckets += 1;
        }
    }
    assert_eq!(buckets, 16);
}

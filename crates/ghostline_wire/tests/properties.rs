//! Properties of the codecs, over values and bytes that nobody thought of.
//! What is written comes back; whatever is read ends in a value or an error; fast code does what slow code does.
//! Failing cases are shrunk by proptest and worth a test of their own beside the code.

use ghostline_wire::fuzz::TARGETS;
use ghostline_wire::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

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

fn tick() -> impl Strategy<Value = NetworkTick> {
    // Often near the wrap.
    prop_oneof![any::<u32>(), 0..4u32, (NetworkTick::MAX_INDEX - 4)..=NetworkTick::MAX_INDEX].prop_map(NetworkTick::new)
}

/// Numbers of every size with about the same chance.
fn number() -> impl Strategy<Value = u32> {
    (any::<u32>(), 0..=32u32).prop_map(|(value, bits)| (u64::from(value) & ((1 << bits) - 1)) as u32)
}

fn field() -> impl Strategy<Value = FieldSchema> {
    use FieldKind::{Bool, F32, I8, I16, I32, I64, Quat, U8, U16, U32, U64, Vec2, Vec3};
    let kinds = vec![Bool, U8, U16, U32, U64, I8, I16, I32, I64, F32, Vec2, Vec3, Quat];
    (select(kinds), select(vec![0, 1, 1000])).prop_map(|(kind, quantization)| FieldSchema {
        name: "field".into(),
        kind,
        quantization,
        smoothing: Smoothing::Clamp,
        max_smoothing_distance: None,
    })
}

fn schema() -> impl Strategy<Value = Vec<ComponentSchema>> {
    let component = vec(field(), 0..5).prop_map(|fields| ComponentSchema { name: "Component".into(), fields });
    vec(component, 0..5)
}

/// A row of a schema from any numbers: bools are 0 or 1, everything else is any 32 bits.
fn row_of(schema: &[ComponentSchema], numbers: &[u32]) -> Vec<u32> {
    let bools = schema
        .iter()
        .flat_map(|component| &component.fields)
        .flat_map(|field| std::iter::repeat_n(field.kind == FieldKind::Bool, field.kind.lanes()));
    bools.zip(numbers.iter().cycle()).map(|(is_bool, number)| if is_bool { number & 1 } else { *number }).collect()
}

/// A schema, a base and a row that is often the same in part.
fn schema_and_rows() -> impl Strategy<Value = (Vec<ComponentSchema>, Vec<u32>, Vec<u32>)> {
    (schema(), vec(number(), 1..80), vec((number(), 0..3u8), 1..80)).prop_map(|(schema, numbers, changes)| {
        let base = row_of(&schema, &numbers);
        let changed: Vec<u32> = base
            .iter()
            .zip(changes.iter().cycle())
            .map(|(lane, (change, how))| match how {
                0 => *lane,
                1 => lane.wrapping_add(change % 64).wrapping_sub(32),
                _ => *change,
            })
            .collect();
        let row = if changed.is_empty() { changed } else { row_of(&schema, &changed) };
        (schema, base, row)
    })
}

fn acks() -> impl Strategy<Value = SnapshotAcks> {
    (any::<u16>(), vec(0..600u16, 1..200)).prop_map(|(from, steps)| {
        let mut packets = ReceivedPackets::new();
        for step in steps {
            packets.receive(PacketSequence(from.wrapping_add(step)));
        }
        packets.acks().expect("at least one packet")
    })
}

fn despawn() -> impl Strategy<Value = DespawnEntry> {
    let ids = prop_oneof![1..200u32, 1..=MAX_GHOST_ID];
    (ids, select(vec![DespawnReason::Destroyed, DespawnReason::NoLongerRelevant]))
        .prop_map(|(ghost_id, reason)| DespawnEntry { ghost_id, reason })
}

/// What the document says of section 4.1, packet by packet.
#[derive(Default)]
struct NaiveWindow {
    /// Full numbers, not wrapped, of what was received.
    received: Vec<i64>,
}

impl NaiveWindow {
    fn newest(&self) -> Option<i64> {
        self.received.iter().copied().max()
    }

    fn receive(&mut self, sequence: i64) -> Reception {
        let newest = self.newest();
        let seen = self.received.contains(&sequence);
        let reception = match newest {
            None => Reception::New,
            Some(newest) if sequence > newest => Reception::New,
            Some(newest) if sequence <= newest - i64::from(ACK_WINDOW) || sequence < 0 => Reception::TooOld,
            Some(_) if seen => Reception::Duplicate,
            Some(_) => Reception::Late,
        };
        if reception != Reception::TooOld {
            self.received.push(sequence);
        }
        reception
    }

    fn told(&self) -> Vec<(PacketSequence, bool)> {
        let Some(newest) = self.newest() else {
            return Vec::new();
        };
        (0..i64::from(ACK_WINDOW))
            .map(|age| newest - age)
            .filter(|sequence| *sequence >= 0)
            .map(|sequence| (PacketSequence(sequence as u16), self.received.contains(&sequence)))
            .collect()
    }
}

/// One message or part, and how long its bytes must be to be valid.
fn damaged(bytes: &[u8], cut: Index, flips: &[Index]) -> Vec<u8> {
    let mut bytes = bytes[..cut.index(bytes.len() + 1)].to_vec();
    for flip in flips {
        if !bytes.is_empty() {
            let bit = flip.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    // ---- section 1: bits and packed integers

    #[test]
    fn bits_come_back(parts in vec((any::<u32>(), 0..=32u32), 0..100)) {
        let read = round_trip(
            |out| parts.iter().for_each(|(value, count)| out.write_bits(*value, *count)),
            |input| parts.iter().map(|(_, count)| input.read_bits(*count)).collect::<Result<Vec<_>, _>>(),
        )?;
        let written: Vec<u32> = parts.iter().map(|(v, count)| (u64::from(*v) & ((1 << count) - 1)) as u32).collect();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn numbers_come_back_and_cost_what_is_said(values in vec(number(), 0..60), base in any::<u32>()) {
        let mut out = BitWriter::new();
        for value in &values {
            let before = out.bit_len();
            out.write_packed(*value);
            prop_assert_eq!(out.bit_len() - before, packed_bits(*value) as usize);
            out.write_packed_signed(value.cast_signed());
            out.write_packed_u64(u64::from(*value) << 13);
            out.write_delta(*value, base);
        }
        let mut input = BitReader::with_bits(out.as_bytes(), out.bit_len());
        for value in &values {
            prop_assert_eq!(input.read_packed(), Ok(*value));
            prop_assert_eq!(input.read_packed_signed(), Ok(value.cast_signed()));
            prop_assert_eq!(input.read_packed_u64(), Ok(u64::from(*value) << 13));
            prop_assert_eq!(input.read_delta(base), Ok(*value));
        }
        prop_assert!(input.is_empty());
    }

    #[test]
    fn a_smaller_number_never_costs_more(a in number(), b in number()) {
        prop_assert!(packed_bits(a.min(b)) <= packed_bits(a.max(b)));
        prop_assert!((2..=38).contains(&packed_bits(a)));
    }

    #[test]
    fn copied_bits_are_the_same_as_written_ones(
        before in 0..80usize,
        values in vec(number(), 0..60),
        after in number(),
    ) {
        let write = |out: &mut BitWriter| values.iter().for_each(|value| out.write_packed(*value));
        let (mut direct, mut copied, mut other) = (BitWriter::new(), BitWriter::new(), BitWriter::new());
        for out in [&mut direct, &mut copied] {
            (0..before).for_each(|i| out.write_bool(i % 3 == 0));
        }
        write(&mut direct);
        write(&mut other);
        copied.append_bits(other.as_bytes(), other.bit_len());
        for out in [&mut direct, &mut copied] {
            out.write_packed(after);
        }
        prop_assert_eq!(direct.finish(), copied.finish());
    }

    #[test]
    fn taking_back_is_as_if_nothing_was_written(
        kept in vec(number(), 0..30),
        taken in vec(number(), 0..30),
        after in vec(number(), 0..5),
    ) {
        let (mut plain, mut rewound) = (BitWriter::new(), BitWriter::new());
        for out in [&mut plain, &mut rewound] {
            kept.iter().for_each(|value| out.write_packed(*value));
        }
        taken.iter().for_each(|value| rewound.write_packed(*value));
        rewound.truncate(plain.bit_len());
        prop_assert_eq!(plain.as_bytes(), rewound.as_bytes());
        for out in [&mut plain, &mut rewound] {
            after.iter().for_each(|value| out.write_packed(*value));
        }
        prop_assert_eq!(plain.finish(), rewound.finish());
    }

    #[test]
    fn a_part_reads_what_the_whole_would(bytes in vec(any::<u8>(), 0..60), skip in 0..64u32, bits in any::<Index>()) {
        let mut whole = BitReader::new(&bytes);
        prop_assume!(whole.read_bits(skip.min(32)).is_ok() && whole.read_bits(skip.saturating_sub(32)).is_ok());
        let bits = bits.index(whole.remaining_bits() + 1);
        let mut expected = whole.clone();
        let mut part = whole.read_sub(bits).expect("there are as many");
        for _ in 0..bits {
            prop_assert_eq!(part.read_bool(), expected.read_bool());
        }
        prop_assert_eq!(part.read_bool(), Err(DecodeError::UnexpectedEnd));
        prop_assert_eq!(whole.remaining_bits(), expected.remaining_bits());
        while !whole.is_empty() {
            prop_assert_eq!(whole.read_bool(), expected.read_bool());
        }
    }

    // ---- ticks

    #[test]
    fn tick_arithmetic_holds_across_the_wrap(tick in tick(), ticks in 0..(1u32 << 30)) {
        let later = tick.add(ticks);
        prop_assert_eq!(later.sub(ticks), tick);
        prop_assert_eq!(later.ticks_since(tick), ticks.cast_signed());
        prop_assert_eq!(tick.ticks_since(later), -ticks.cast_signed());
        prop_assert_eq!(later.is_newer_than(tick), ticks > 0);
        prop_assert_eq!(tick.is_older_than(later), ticks > 0);
        prop_assert_eq!((tick.max(later), tick.min(later)), (later, tick));
        prop_assert_eq!(NetworkTick::from_raw(tick.raw()), Some(tick));
        prop_assert_eq!(round_trip(|out| out.write_tick(tick), |input| input.read_tick())?, tick);
    }

    #[test]
    fn sequences_and_epochs_hold_across_the_wrap(from in any::<u16>(), steps in 1..0x8000u16, epoch in any::<u8>()) {
        let (older, newer) = (PacketSequence(from), PacketSequence(from.wrapping_add(steps)));
        prop_assert_eq!(newer.since(older), steps.cast_signed());
        prop_assert!(newer.is_newer_than(older) && !older.is_newer_than(newer));
        let ahead = (steps % 127) as u8 + 1;
        let (older, newer) = (Epoch(epoch), Epoch(epoch.wrapping_add(ahead)));
        prop_assert!(newer.is_newer_than(older) && !older.is_newer_than(newer));
    }

    // ---- section 4.1: acks

    #[test]
    fn the_window_is_that_of_the_naive_model(steps in vec((-300..300i64, any::<bool>()), 1..400)) {
        let (mut window, mut naive) = (ReceivedPackets::new(), NaiveWindow::default());
        for (step, near) in steps {
            let step = if near { step % 8 } else { step };
            let sequence = (naive.newest().unwrap_or(0) + step).max(0);
            prop_assert_eq!(window.receive(PacketSequence(sequence as u16)), naive.receive(sequence));
        }
        let acks = window.acks().expect("at least one packet");
        prop_assert_eq!(acks.iter().collect::<Vec<_>>(), naive.told());
        prop_assert_eq!(acks.count() as usize, naive.told().len());
        let decoded = round_trip(|out| acks.encode(out), SnapshotAcks::decode)?;
        prop_assert_eq!(decoded, acks);
        for (sequence, received) in naive.told() {
            prop_assert_eq!(decoded.received(sequence), Some(received));
        }
    }

    #[test]
    fn the_window_wraps_like_the_naive_model(begin in 60_000..140_000i64, steps in vec(-40..60i64, 1..200)) {
        // A window that has run for a while: every packet up to the begin arrived.
        let (mut window, mut naive) = (ReceivedPackets::new(), NaiveWindow::default());
        for sequence in 0..=begin {
            window.receive(PacketSequence(sequence as u16));
        }
        naive.received = (begin - 300..=begin).collect();
        for step in steps {
            let sequence = naive.newest().unwrap_or(0) + step;
            prop_assert_eq!(window.receive(PacketSequence(sequence as u16)), naive.receive(sequence));
        }
        let told: Vec<_> = window.acks().expect("at least one packet").iter().collect();
        prop_assert_eq!(told, naive.told());
    }

    #[test]
    fn an_ack_block_is_never_larger_than_its_mask(acks in acks()) {
        let mut out = BitWriter::new();
        acks.encode(&mut out);
        let mask = 16 + 1 + packed_bits(acks.count() - 1) + acks.count();
        prop_assert!(out.bit_len() <= mask as usize);
    }

    // ---- section 4: commands

    #[test]
    fn command_headers_come_back(
        numbers in (any::<u8>(), any::<u16>(), number(), 0..=MAX_PREFABS),
        flags in (any::<bool>(), any::<bool>()),
        acks in proptest::option::of(acks()),
        return_time_ms in proptest::option::of(any::<u16>()),
        input_target_tick in tick(),
    ) {
        let header = CommandHeader {
            epoch: Epoch(numbers.0),
            acks,
            fresh_start: flags.0,
            local_time_ms: numbers.1,
            return_time_ms,
            interpolation_delay: numbers.2,
            prefabs_known: numbers.3,
            is_full_tick: flags.1,
            input_target_tick,
        };
        let read = round_trip(|out| header.encode(out), |input| {
            assert_eq!(input.read_u8().map(MessageKind::from_byte), Ok(Some(MessageKind::Command)));
            CommandHeader::decode(input)
        })?;
        prop_assert_eq!(read, header);
    }

    #[test]
    fn command_blocks_come_back(
        (schema, base, row) in schema_and_rows(),
        target_tick in tick(),
        ahead in -1_000..1_000i32,
        gaps in vec((prop_oneof![1..6u32, 1..100_000u32], any::<bool>()), 0..32),
        ghost in proptest::option::of((1..=MAX_GHOST_ID, tick())),
        type_index in number(),
    ) {
        let layout = RowLayout::new(&schema);
        let newest = target_tick.add(ahead.cast_unsigned());
        let mut ticks = vec![(newest, false)];
        for (gap, other) in gaps.iter().take(31) {
            ticks.push((ticks[ticks.len() - 1].0.sub(*gap), *other));
        }
        let entries: Vec<CommandEntry<'_>> =
            ticks.iter().map(|(tick, other)| CommandEntry { tick: *tick, lanes: if *other { &base } else { &row } }).collect();
        let target = match ghost {
            Some((ghost_id, spawn_tick)) => BlockTarget::Ghost { ghost_id, spawn_tick },
            None => BlockTarget::ConnectionTarget,
        };
        let (mut scratch, mut out) = (BitWriter::new(), BitWriter::new());
        let written = write_block(type_index, target, &layout, target_tick, &entries, &mut scratch, &mut out);
        if let Err(error) = written {
            prop_assert!(error.bytes > MAX_COMMAND_BLOCK_BYTES && out.bit_len() == 0);
            return Ok(());
        }
        write_blocks_end(&mut out);
        let mut input = BitReader::new(out.as_bytes());
        let mut blocks = BlockReader::new();
        let block = blocks.next_block(&mut input).expect("valid").expect("one block");
        prop_assert_eq!(block.type_index, type_index);
        let mut into = DecodedBlock::default();
        prop_assert_eq!(read_block(block.body, &layout, target_tick, &mut into), Ok(()));
        prop_assert_eq!(into.target, target);
        prop_assert_eq!(&into.entries, &ticks.iter().map(|(tick, _)| *tick).collect::<Vec<_>>());
        prop_assert_eq!(&into.lanes, &entries.iter().flat_map(|entry| entry.lanes.to_vec()).collect::<Vec<_>>());
        prop_assert!(matches!(blocks.next_block(&mut input), Ok(None)));
    }

    // ---- section 5: snapshots

    #[test]
    fn snapshot_headers_come_back(
        numbers in (any::<u16>(), any::<u8>(), 1..=MAX_BATCH_LENGTH, any::<u16>(), number()),
        return_time_ms in proptest::option::of(any::<u16>()),
        command_age in number(),
        server_tick in tick(),
        has in any::<(bool, bool, bool)>(),
    ) {
        let header = SnapshotHeader {
            sequence: PacketSequence(numbers.0),
            epoch: Epoch(numbers.1),
            server_tick,
            batch_length: numbers.2,
            clock: has.0.then_some(SnapshotClock {
                local_time_ms: numbers.3,
                return_time_ms,
                command_age: command_age.cast_signed(),
                relevant_ghosts: has.1.then_some(numbers.4),
            }),
            has_lists: has.2,
        };
        let read = round_trip(|out| header.encode(out), |input| {
            assert_eq!(input.read_u8().map(MessageKind::from_byte), Ok(Some(MessageKind::Snapshot)));
            SnapshotHeader::decode(input)
        })?;
        prop_assert_eq!(read, header);
    }

    #[test]
    fn prefabs_come_back(first in 0..=(MAX_PREFABS - 32), hashes in vec((any::<u64>(), any::<u64>()), 0..=32)) {
        let entries: Vec<PrefabEntry> =
            hashes.iter().map(|(type_id, hash)| PrefabEntry { type_id: *type_id, schema_hash: *hash }).collect();
        let mut read = Vec::new();
        let read_first = round_trip(|out| write_prefabs(out, first, &entries), |input| read_prefabs(input, &mut read))?;
        prop_assert_eq!(&read, &entries);
        prop_assert_eq!(read_first, if entries.is_empty() { 0 } else { first });
    }

    #[test]
    fn despawns_come_back(entries in vec(despawn(), 0..=256)) {
        let mut read = Vec::new();
        round_trip(|out| write_despawns(out, &entries), |input| read_despawns(input, &mut read))?;
        prop_assert_eq!(read, entries);
    }

    #[test]
    fn masks_and_covers_come_back_in_the_smaller_form(
        masks in (any::<u64>(), any::<u64>(), any::<u64>()),
        width in 1..=64u32,
        how in 0..4u8,
        settled_ticks in number(),
    ) {
        // Masks from empty to full.
        let mask = [0, masks.0 & masks.1 & masks.2, masks.0, u64::MAX][usize::from(how)] & u64::MAX >> (64 - width);
        prop_assert_eq!(round_trip(|out| write_mask(mask, out), read_mask)?, mask);
        let cover = ChunkCover { uncovered: mask, settled_ticks: if mask == 0 { 0 } else { settled_ticks } };
        prop_assert_eq!(round_trip(|out| cover.write(out), ChunkCover::read)?, cover);

        let count = mask.count_ones();
        let parameter = (0..7).rev().find(|k| (1u64 << (6 - k)) > u64::from(count)).unwrap_or(0);
        let (mut sparse, mut next) = (packed_bits(count), 0);
        for slot in (0..64).filter(|slot| mask >> slot & 1 == 1) {
            sparse += ((slot - next) >> parameter) + 1 + parameter;
            next = slot + 1;
        }
        let dense = 6 + (64 - mask.leading_zeros()).max(1);
        prop_assert_eq!(mask_bits(mask), 1 + sparse.min(dense));
    }

    #[test]
    fn ghost_bodies_come_back(bodies in vec((any::<bool>(), prop_oneof![1..4u32, 1..=NetworkTick::MAX_INDEX]), 0..40)) {
        let bodies: Vec<GhostBody> = bodies
            .iter()
            .map(|(delta, age)| match delta {
                true => GhostBody::Delta { baseline_age: *age },
                false => GhostBody::Absolute { spawn_age: age - 1 },
            })
            .collect();
        let read = round_trip(
            |out| {
                let mut previous = None;
                bodies.iter().for_each(|body| write_ghost_body(out, *body, &mut previous));
            },
            |input| {
                let mut previous = None;
                bodies.iter().map(|_| read_ghost_body(input, &mut previous)).collect::<Result<Vec<_>, _>>()
            },
        )?;
        prop_assert_eq!(read, bodies);
    }

    #[test]
    fn chunk_gaps_come_back(skipped in 0..=MAX_CHUNKS, quiet in 0..=MAX_CHUNKS, from in 0..=MAX_CHUNKS) {
        let gap = ChunkGap { skipped, quiet };
        let step = ChunkStep::Gap(gap);
        prop_assert_eq!(round_trip(|out| step.write(out), ChunkStep::read)?, step);
        match gap.quiet_chunks(from) {
            Ok(quiet_chunks) => {
                prop_assert_eq!(quiet_chunks.len() as u32, quiet);
                prop_assert_eq!(quiet_chunks.start, from + skipped);
                prop_assert!(quiet_chunks.end <= MAX_CHUNKS);
            }
            Err(_) => prop_assert!(from + skipped + quiet > MAX_CHUNKS),
        }
    }

    #[test]
    fn rows_come_back_bit_for_bit((schema, base, row) in schema_and_rows()) {
        let layout = RowLayout::new(&schema);
        prop_assert_eq!(layout.lanes(), row.len());
        for base in [None, Some(&base[..])] {
            let read = round_trip(
                |out| encode_row(&layout, &row, base, out),
                |input| {
                    let mut read = vec![0xDEAD_BEEF; row.len()];
                    decode_row(&layout, base, &mut read, input).map(|()| read)
                },
            )?;
            prop_assert_eq!(&read, &row);
        }
    }

    #[test]
    fn a_row_costs_what_the_document_says((schema, base, row) in schema_and_rows()) {
        let mut bits = 0;
        let mut lane = 0;
        for component in &schema {
            let end = lane + component.lanes();
            bits += usize::from(schema.len() > 1);
            if schema.len() > 1 && row[lane..end] == base[lane..end] {
                lane = end;
                continue;
            }
            for field in &component.fields {
                let lanes = lane..lane + field.kind.lanes();
                lane = lanes.end;
                bits += usize::from(component.fields.len() > 1);
                if component.fields.len() > 1 && row[lanes.clone()] == base[lanes.clone()] {
                    continue;
                }
                for i in lanes {
                    let difference = row[i].wrapping_sub(base[i]).cast_signed();
                    bits += match field.kind {
                        FieldKind::Bool => 1,
                        kind if kind.is_float() && field.quantization == 0 => 32,
                        _ => packed_bits(((difference << 1) ^ (difference >> 31)).cast_unsigned()) as usize,
                    };
                }
            }
        }
        let mut out = BitWriter::new();
        let layout = RowLayout::new(&schema);
        encode_row(&layout, &row, Some(&base), &mut out);
        prop_assert_eq!(out.bit_len(), bits);
        let mut absolute = BitWriter::new();
        encode_row(&layout, &row, None, &mut absolute);
        prop_assert!(is_absolute_row_below(&layout, &row, absolute.bit_len() + 1));
        for fewer in 0..=absolute.bit_len() {
            prop_assert!(!is_absolute_row_below(&layout, &row, fewer));
        }
    }

    // ---- section 3: RPCs and handshake

    #[test]
    fn rpc_frames_come_back(
        payloads in vec((any::<u64>(), vec(any::<u8>(), 0..40), any::<Index>()), 0..10),
        by_id: bool,
    ) {
        let naming = if by_id { RpcNaming::Id } else { RpcNaming::Index };
        let name = |number: u64| match (by_id, number.is_multiple_of(3)) {
            (true, false) => RpcName::id_of(number),
            (true, true) => RpcName::Index(number as u16 % 16),
            (false, _) => RpcName::Index(number as u16),
        };
        let mut out = Vec::new();
        begin_packet(&mut out);
        for (number, payload, bits) in &payloads {
            let written = push_frame(&mut out, name(*number), payload, bits.index(payload.len() * 8 + 1));
            prop_assert_eq!(written, Ok(()));
        }
        prop_assert_eq!(MessageKind::from_byte(out[0]), Some(MessageKind::Rpc));
        let read: Vec<RpcFrame<'_>> = named_frames(&out[1..], naming).expect("valid").collect();
        prop_assert_eq!(read.len(), payloads.len());
        for (frame, (number, payload, bits)) in read.iter().zip(&payloads) {
            prop_assert_eq!(frame.name, name(*number));
            let bits = bits.index(payload.len() * 8 + 1);
            let (mut reader, mut expected) = (frame.reader(), BitReader::with_bits(payload, bits));
            prop_assert_eq!(reader.remaining_bits(), bits);
            while !expected.is_empty() {
                prop_assert_eq!(reader.read_bool(), expected.read_bool());
            }
        }
    }

    #[test]
    fn the_handshake_comes_back(
        version in (any::<u32>(), any::<u32>(), any::<u64>(), any::<u64>()),
        network_id in number(),
        rates in any::<[i32; 5]>(),
        handshake_approval_timeout_ms in any::<u32>(),
    ) {
        let (wire, game, rpc_collection, component_collection) = version;
        let version = ProtocolVersion { wire, game, rpc_collection, component_collection };
        prop_assert_eq!(round_trip(|out| version.encode(out), ProtocolVersion::decode)?, version);
        let tick_rate = TickRateBlock {
            simulation_tick_rate: rates[0],
            network_tick_rate: rates[1],
            max_simulation_step_batch_size: rates[2],
            max_simulation_steps_per_frame: rates[3],
            predicted_fixed_step_simulation_tick_ratio: rates[4],
            handshake_approval_timeout_ms,
        };
        let approved = ConnectionApproved { network_id, tick_rate };
        prop_assert_eq!(round_trip(|out| approved.encode(out), ConnectionApproved::decode)?, approved);
    }

    // ---- totality

    #[test]
    fn any_bytes_end_in_a_value_or_an_error(bytes in vec(any::<u8>(), 0..400)) {
        for (_, run) in TARGETS {
            run(&bytes);
        }
    }

    #[test]
    fn repeated_bytes_end_in_a_value_or_an_error(byte in any::<u8>(), len in 0..1_500usize, first in vec(any::<u8>(), 0..30)) {
        // Long runs of the same choice are what random bytes never hold.
        let bytes: Vec<u8> = first.into_iter().chain(std::iter::repeat_n(byte, len)).collect();
        for (_, run) in TARGETS {
            run(&bytes);
        }
    }

    #[test]
    fn a_damaged_row_ends_in_a_row_or_an_error(
        (schema, base, row) in schema_and_rows(),
        cut in any::<Index>(),
        flips in vec(any::<Index>(), 0..4),
    ) {
        let layout = RowLayout::new(&schema);
        let mut out = BitWriter::new();
        encode_row(&layout, &row, Some(&base), &mut out);
        let bytes = damaged(out.as_bytes(), cut, &flips);
        let mut read = vec![0; layout.lanes()];
        let result = decode_row(&layout, Some(&base), &mut read, &mut BitReader::new(&bytes));
        if flips.is_empty() {
            prop_assert_eq!(result.is_ok(), bytes.len() * 8 >= out.bit_len());
        }
    }

    #[test]
    fn a_truncated_part_is_an_error(acks in acks(), entries in vec(despawn(), 1..20), cut in any::<Index>()) {
        let mut out = BitWriter::new();
        acks.encode(&mut out);
        let bits = cut.index(out.bit_len());
        let result = SnapshotAcks::decode(&mut BitReader::with_bits(out.as_bytes(), bits));
        prop_assert_eq!(result, Err(DecodeError::UnexpectedEnd));
        out.clear();
        write_despawns(&mut out, &entries);
        let bits = cut.index(out.bit_len());
        let result = read_despawns(&mut BitReader::with_bits(out.as_bytes(), bits), &mut Vec::new());
        prop_assert_eq!(result, Err(DecodeError::UnexpectedEnd));
    }

    // ---- quantisation

    #[test]
    fn quantising_is_off_by_half_a_step_at_most(value in any::<f32>(), scale in select(vec![1u32, 10, 100, 1_000, 65_536])) {
        let mut stats = QuantiseStats::default();
        let lane = quantise(value, scale, &mut stats);
        let exact = f64::from(value) * f64::from(scale);
        if value.is_nan() {
            prop_assert_eq!((lane, stats), (0, QuantiseStats { nan: 1, saturated: 0 }));
        } else if exact.round() > f64::from(i32::MAX) {
            prop_assert_eq!((lane, stats), (i32::MAX, QuantiseStats { nan: 0, saturated: 1 }));
        } else if exact.round() < f64::from(i32::MIN) {
            prop_assert_eq!((lane, stats), (i32::MIN, QuantiseStats { nan: 0, saturated: 1 }));
        } else {
            prop_assert_eq!(stats, QuantiseStats::default());
            prop_assert_eq!(f64::from(lane), exact.round(), "halves go away from zero");
            prop_assert!((f64::from(lane) - exact).abs() <= 0.5);
        }
    }

    #[test]
    fn what_players_see_is_off_by_half_a_step_at_most(value in -100_000.0..100_000.0f32, scale in 1..1_000u32) {
        let mut stats = QuantiseStats::default();
        let shown = dequantise(quantise(value, scale, &mut stats), scale);
        let step = 0.5 / f64::from(scale);
        // Half a step, and half of the last place of the float that shows it.
        let rounding = f64::from(shown.abs().max(f32::MIN_POSITIVE) * f32::EPSILON);
        prop_assert!((f64::from(shown) - f64::from(value)).abs() <= step + rounding);
    }

    #[test]
    fn a_value_that_was_rounded_once_stays(lane in -8_000_000..8_000_000i32, scale in 1..100_000u32) {
        let mut stats = QuantiseStats::default();
        prop_assert_eq!(quantise(dequantise(lane, scale), scale, &mut stats), lane);
        prop_assert_eq!(stats, QuantiseStats::default());
    }

    #[test]
    fn quantising_keeps_the_order(a in any::<f32>(), b in any::<f32>(), scale in any::<u32>()) {
        prop_assume!(a <= b);
        let mut stats = QuantiseStats::default();
        prop_assert!(quantise(a, scale, &mut stats) <= quantise(b, scale, &mut stats));
        prop_assert_eq!(quantise(-a, 1, &mut stats).saturating_neg().max(-i32::MAX), quantise(a, 1, &mut stats).max(-i32::MAX));
    }
}

/// The check values of the document.
#[test]
fn check_values_cost_what_the_document_says() {
    assert_eq!([1, 12, 123].map(packed_bits), [3, 7, 13]);
}

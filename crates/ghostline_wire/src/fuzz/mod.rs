//! Entry points for fuzzing: one function per decoder, fed with any bytes; each panics if a promise of the crate is broken.
//! Called by the targets of `fuzz/` with what libFuzzer thinks of, and by `tests/fuzz_corpus.rs` with the committed seeds.
//! The promises: decoders end in a value or an error, and a value that is encoded again decodes to itself.

mod command;
mod snapshot;

pub use command::command_packet;
pub use snapshot::snapshot_packet;

use core::fmt::Debug;

use crate::{
    ApprovalRequest, BitReader, BitWriter, CommandTypes, ComponentSchema, ConnectionApproved, DecodeError, FieldKind,
    FieldSchema, ProtocolDetails, ProtocolVersion, RowLayout, RpcFrame, RpcNaming, SessionIdentity, Smoothing,
    SnapshotAcks, TickRateBlock, begin_packet, begin_unreliable_packet, decode_row, encode_row, named_frames,
    packed_bits, push_frame, split_unreliable_packet,
};

/// An entry point and its name, which is that of its corpus too. It returns whether the bytes are valid, so that a test
/// can see that seeds reach what they are meant to reach.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// All entry points.
pub const TARGETS: [Target; 7] = [
    ("snapshot_packet", snapshot_packet),
    ("command_packet", command_packet),
    ("ack_block", ack_block),
    ("rpc_packet", rpc_packet),
    ("handshake", handshake),
    ("row", row),
    ("packed_integers", packed_integers),
];

/// Fields of every kind, for [`layout_from`].
const KINDS: [FieldKind; 13] = [
    FieldKind::Bool,
    FieldKind::U8,
    FieldKind::U16,
    FieldKind::U32,
    FieldKind::U64,
    FieldKind::I8,
    FieldKind::I16,
    FieldKind::I32,
    FieldKind::I64,
    FieldKind::F32,
    FieldKind::Vec2,
    FieldKind::Vec3,
    FieldKind::Quat,
];

/// A layout of up to three components with up to three fields each, from the first bytes: the number of components, then
/// for each the number of fields, then for each a kind and, in the highest bit, whether it is quantised.
fn layout_from(data: &[u8]) -> (RowLayout, &[u8]) {
    let mut bytes = data.iter().copied();
    let components: Vec<ComponentSchema> = (0..bytes.next().unwrap_or(0) & 3)
        .map(|_| ComponentSchema {
            name: String::new(),
            fields: (0..bytes.next().unwrap_or(0) & 3)
                .map(|_| {
                    let byte = bytes.next().unwrap_or(0);
                    FieldSchema {
                        name: String::new(),
                        kind: KINDS.get(usize::from(byte & 0x0F)).copied().unwrap_or(FieldKind::I32),
                        quantization: u32::from(byte >> 7),
                        smoothing: Smoothing::Clamp,
                        max_smoothing_distance: None,
                    }
                })
                .collect(),
        })
        .collect();
    let used = data.len().saturating_sub(bytes.len());
    (RowLayout::new(&components), data.get(used..).unwrap_or(&[]))
}

/// Some row of a layout, to be a base; the same for the same seed.
fn row_from(layout: &RowLayout, seed: u32) -> Vec<u32> {
    (0..layout.lanes() as u32).map(|lane| seed.wrapping_add(lane).wrapping_mul(0x9E37_79B9)).collect()
}

/// Checks that what was decoded is read back from what is written of it, to the bit, and that this form is stable.
fn check_round_trip<T: PartialEq + Debug>(
    value: &T,
    encode: impl Fn(&T, &mut BitWriter),
    decode: impl Fn(&mut BitReader<'_>) -> Result<T, DecodeError>,
) {
    let mut out = BitWriter::new();
    encode(value, &mut out);
    let mut input = BitReader::with_bits(out.as_bytes(), out.bit_len());
    let again = decode(&mut input);
    assert_eq!(again.as_ref(), Ok(value));
    assert!(input.is_empty(), "{} bits were not read back", input.remaining_bits());
}

/// An ack block.
pub fn ack_block(data: &[u8]) -> bool {
    let mut input = BitReader::new(data);
    let Ok(acks) = SnapshotAcks::decode(&mut input) else {
        return false;
    };
    check_round_trip(&acks, SnapshotAcks::encode, SnapshotAcks::decode);
    let mut out = BitWriter::new();
    acks.encode(&mut out);
    let read = data.len().saturating_mul(8).saturating_sub(input.remaining_bits());
    assert!(out.bit_len() <= read, "the writer picks the smaller form");
    assert_eq!(acks.iter().next(), Some((acks.newest, true)));
    assert_eq!(acks.iter().count(), acks.count() as usize);
    assert!(acks.iter().all(|(sequence, received)| acks.received(sequence) == Some(received)));
    true
}

/// An RPC packet after its kind, with RPCs named by number and by id, and an unreliable one. Valid if one of the first two is.
pub fn rpc_packet(data: &[u8]) -> bool {
    if let Ok((sequence, body)) = split_unreliable_packet(data) {
        let mut out = Vec::new();
        begin_unreliable_packet(&mut out, sequence);
        out.extend_from_slice(body);
        assert_eq!(out.get(1..), Some(data));
    }
    [RpcNaming::Index, RpcNaming::Id].map(|naming| rpc_frames(data, naming)).contains(&true)
}

fn rpc_frames(data: &[u8], naming: RpcNaming) -> bool {
    let Ok(iter) = named_frames(data, naming) else {
        return false;
    };
    let read: Vec<RpcFrame<'_>> = iter.collect();
    let mut out = Vec::new();
    begin_packet(&mut out);
    for frame in &read {
        assert_eq!(frame.reader().remaining_bits(), usize::from(frame.payload_bits));
        assert!(push_frame(&mut out, frame.name, frame.payload, usize::from(frame.payload_bits)).is_ok());
    }
    assert_eq!(out.get(1..), Some(data), "there is one way to write an RPC packet");
    true
}

/// The payloads of the handshake, each from the same bytes. Valid if the last, `ConnectionApproved`, is.
pub fn handshake(data: &[u8]) -> bool {
    if let Ok(version) = ProtocolVersion::decode(&mut BitReader::new(data)) {
        check_round_trip(&version, ProtocolVersion::encode, ProtocolVersion::decode);
    }
    if let Ok(rates) = TickRateBlock::decode(&mut BitReader::new(data)) {
        check_round_trip(&rates, TickRateBlock::encode, TickRateBlock::decode);
    }
    if let Ok(details) = ProtocolDetails::decode(&mut BitReader::new(data)) {
        check_round_trip(&details, ProtocolDetails::encode, ProtocolDetails::decode);
    }
    if let Ok(request) = ApprovalRequest::decode(&mut BitReader::new(data)) {
        check_round_trip(&request, ApprovalRequest::encode, ApprovalRequest::decode);
    }
    if let Ok(identity) = SessionIdentity::decode(&mut BitReader::new(data)) {
        check_round_trip(&identity, SessionIdentity::encode, SessionIdentity::decode);
    }
    if let Ok(types) = CommandTypes::decode(&mut BitReader::new(data)) {
        check_round_trip(&types, CommandTypes::encode, CommandTypes::decode);
    }
    let approved = ConnectionApproved::decode(&mut BitReader::new(data));
    if let Ok(approved) = &approved {
        check_round_trip(approved, ConnectionApproved::encode, ConnectionApproved::decode);
    }
    approved.is_ok()
}

/// A layout, a seed for the base (0: none), then a row.
pub fn row(data: &[u8]) -> bool {
    let (layout, rest) = layout_from(data);
    let Some((seed, rest)) = rest.split_first() else {
        return false;
    };
    let base = (*seed != 0).then(|| row_from(&layout, u32::from(*seed)));
    let decode = |input: &mut BitReader<'_>| {
        let mut row = vec![0; layout.lanes()];
        decode_row(&layout, base.as_deref(), &mut row, input).map(|()| row)
    };
    let row = decode(&mut BitReader::new(rest));
    if let Ok(row) = &row {
        check_round_trip(row, |row, out| encode_row(&layout, row, base.as_deref(), out), decode);
    }
    row.is_ok()
}

/// Packed integers one after the other, with what is next chosen by two bits before each, until one is malformed or cut off.
/// Valid if there is one at all.
pub fn packed_integers(data: &[u8]) -> bool {
    let mut input = BitReader::new(data);
    let mut out = BitWriter::new();
    loop {
        let before = input.remaining_bits();
        let start = out.bit_len();
        let Ok(choice) = input.read_bits(2) else {
            break;
        };
        out.write_bits(choice, 2);
        let written = match choice {
            0 => input.read_packed().map(|value| {
                out.write_packed(value);
                assert_eq!(out.bit_len(), start.saturating_add(2).saturating_add(packed_bits(value) as usize));
            }),
            1 => input.read_packed_signed().map(|value| out.write_packed_signed(value)),
            2 => input.read_packed_u64().map(|value| out.write_packed_u64(value)),
            _ => input.read_delta(0x8000_0001).map(|value| out.write_delta(value, 0x8000_0001)),
        };
        if written.is_err() {
            out.truncate(start);
            break;
        }
        let read = before.saturating_sub(input.remaining_bits());
        assert_eq!(out.bit_len(), start.saturating_add(read), "there is one way to write a number");
    }
    let whole = out.bit_len() / 8;
    assert_eq!(out.as_bytes().get(..whole), data.get(..whole));
    whole > 0
}

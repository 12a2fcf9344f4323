//! The values that properties are tried with.

use ghostline_wire::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

pub(crate) fn tick() -> impl Strategy<Value = NetworkTick> {
    // Often near the wrap.
    prop_oneof![any::<u32>(), 0..4u32, (NetworkTick::MAX_INDEX - 4)..=NetworkTick::MAX_INDEX].prop_map(NetworkTick::new)
}

/// Numbers of every size with about the same chance.
pub(crate) fn number() -> impl Strategy<Value = u32> {
    (any::<u32>(), 0..=32u32).prop_map(|(value, bits)| (u64::from(value) & ((1 << bits) - 1)) as u32)
}

pub(crate) fn field() -> impl Strategy<Value = FieldSchema> {
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

pub(crate) fn schema() -> impl Strategy<Value = Vec<ComponentSchema>> {
    let component = vec(field(), 0..5).prop_map(|fields| ComponentSchema { name: "Component".into(), fields });
    vec(component, 0..5)
}

/// A row of a schema from any numbers: bools are 0 or 1, everything else is any 32 bits.
pub(crate) fn row_of(schema: &[ComponentSchema], numbers: &[u32]) -> Vec<u32> {
    let bools = schema
        .iter()
        .flat_map(|component| &component.fields)
        .flat_map(|field| std::iter::repeat_n(field.kind == FieldKind::Bool, field.kind.lanes()));
    bools.zip(numbers.iter().cycle()).map(|(is_bool, number)| if is_bool { number & 1 } else { *number }).collect()
}

/// A schema, a base and a row that is often the same in part.
pub(crate) fn schema_and_rows() -> impl Strategy<Value = (Vec<ComponentSchema>, Vec<u32>, Vec<u32>)> {
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

pub(crate) fn acks() -> impl Strategy<Value = SnapshotAcks> {
    (any::<u16>(), vec(0..600u16, 1..200)).prop_map(|(from, steps)| {
        let mut packets = ReceivedPackets::new();
        for step in steps {
            packets.receive(PacketSequence(from.wrapping_add(step)));
        }
        packets.acks().expect("at least one packet")
    })
}

pub(crate) fn despawn() -> impl Strategy<Value = DespawnEntry> {
    let ids = prop_oneof![1..200u32, 1..=MAX_GHOST_ID];
    (ids, select(vec![DespawnReason::Destroyed, DespawnReason::NoLongerRelevant]))
        .prop_map(|(ghost_id, reason)| DespawnEntry { ghost_id, reason })
}

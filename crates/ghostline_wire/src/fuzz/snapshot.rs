//! The entry point for snapshot packets: header, prefabs, despawns, chunks, and rows of a layout that the bytes describe.
//! Stands in for the client: it walks the chunks as the client does, with made-up baselines.
//! What was read is written again and must be the same.

use super::{check_round_trip, layout_from, row_from};
use crate::{
    BitReader, BitWriter, ChunkGap, ChunkHeader, DecodeError, DespawnEntry, GhostBody, MessageKind, PredictionBase,
    PrefabEntry, RowForm, RowLayout, RowModel, SnapshotHeader, decode_predicted_row, decode_row, encode_predicted_row,
    encode_row, limits, predict_row, read_despawns, read_ghost_body, read_prefabs, write_despawns, write_ghost_body,
    write_prefabs,
};

/// A snapshot packet as its decoder sees it.
#[derive(Debug, PartialEq)]
struct Packet {
    header: SnapshotHeader,
    first_prefab: u32,
    prefabs: Vec<PrefabEntry>,
    despawns: Vec<DespawnEntry>,
    chunks: Vec<Chunk>,
    tail: ChunkGap,
}

#[derive(Debug, PartialEq)]
struct Chunk {
    gap: ChunkGap,
    header: ChunkHeader,
    base: Option<(PredictionBase, RowModel)>,
    ghosts: Vec<(Option<GhostBody>, Vec<u32>)>,
}

/// A layout, then a snapshot packet after its kind.
pub fn snapshot_packet(data: &[u8]) -> bool {
    let (layout, rest) = layout_from(data);
    let mut input = BitReader::new(rest);
    let Ok(packet) = decode(&layout, &mut input) else {
        return false;
    };
    check_round_trip(
        &packet,
        |packet, out| encode(packet, &layout, out),
        |input| {
            assert_eq!(input.read_u8(), Ok(MessageKind::Snapshot.byte()));
            decode(&layout, input)
        },
    );
    true
}

/// The made-up baseline of an age.
fn base(layout: &RowLayout, body: GhostBody) -> Option<Vec<u32>> {
    match body {
        GhostBody::Absolute { .. } => None,
        GhostBody::Delta { baseline_age } => Some(row_from(layout, baseline_age)),
    }
}

/// The made-up prediction from a base.
fn prediction(layout: &RowLayout, at: PredictionBase, model: &RowModel) -> Vec<u32> {
    let mut row = Vec::new();
    let earlier = row_from(layout, at.age.wrapping_add(at.span));
    predict_row(layout, model, at, &row_from(layout, at.age), Some(&earlier), &mut row);
    row
}

fn decode(layout: &RowLayout, input: &mut BitReader<'_>) -> Result<Packet, DecodeError> {
    let header = SnapshotHeader::decode(input)?;
    let mut prefabs = Vec::new();
    let first_prefab = read_prefabs(input, &mut prefabs)?;
    assert!(prefabs.len() <= limits::MAX_PREFABS_PER_PACKET as usize);
    let mut despawns = Vec::new();
    read_despawns(input, &mut despawns)?;
    assert!(despawns.len() <= limits::MAX_DESPAWNS_PER_PACKET as usize);

    let busy = DecodeError::check_limit("busy chunks", limits::MAX_CHUNKS, input.read_packed()?)?;
    let mut chunks = Vec::new();
    let mut next_chunk = 0;
    let mut named = None;
    let mut previous_age = None;
    for _ in 0..busy {
        let gap = ChunkGap::read(input)?;
        let chunk = gap.quiet_chunks(next_chunk)?.end;
        DecodeError::check_limit("chunk", limits::MAX_CHUNKS.saturating_sub(1), chunk)?;
        next_chunk = chunk.saturating_add(1);
        let header = ChunkHeader::decode(input)?;
        assert!(header.changed & header.uncovered == 0 && (1..=64).contains(&header.width));
        let mut own_base = None;
        if input.read_bool()? {
            if !input.read_bool()? {
                let at = PredictionBase::read(input)?;
                let mut model = RowModel::default();
                model.read(layout, input)?;
                named = Some((at, model));
            }
            own_base = Some(named.clone().ok_or(DecodeError::BadValue { what: "prediction base" })?);
        }
        let mut ghosts = Vec::new();
        for _ in 0..header.changed.count_ones() {
            let form = if own_base.is_some() { RowForm::read(input)? } else { RowForm::Plain };
            if let (Some((at, model)), true) = (&own_base, form != RowForm::Plain) {
                let mut row = prediction(layout, *at, model);
                decode_predicted_row(layout, model, form, &mut row, input)?;
                ghosts.push((None, row));
                continue;
            }
            let body = read_ghost_body(input, &mut previous_age)?;
            let mut row = vec![0; layout.lanes()];
            decode_row(layout, base(layout, body).as_deref(), &mut row, input)?;
            ghosts.push((Some(body), row));
        }
        chunks.push(Chunk { gap, header, base: own_base, ghosts });
    }
    let tail = ChunkGap::read(input)?;
    tail.quiet_chunks(next_chunk)?;
    input.expect_end()?;
    // So that the end of a message counts as read.
    input.read_bits(input.remaining_bits() as u32)?;
    Ok(Packet { header, first_prefab, prefabs, despawns, chunks, tail })
}

fn encode(packet: &Packet, layout: &RowLayout, out: &mut BitWriter) {
    packet.header.encode(out);
    write_prefabs(out, packet.first_prefab, &packet.prefabs);
    write_despawns(out, &packet.despawns);
    out.write_packed(packet.chunks.len() as u32);
    let mut previous_age = None;
    for chunk in &packet.chunks {
        chunk.gap.write(out);
        chunk.header.encode(out);
        out.write_bool(chunk.base.is_some());
        if let Some((at, model)) = &chunk.base {
            out.write_bool(false);
            at.write(out);
            model.write(layout, out);
        }
        for (body, row) in &chunk.ghosts {
            if let Some((at, model)) = &chunk.base {
                match body {
                    None => encode_predicted_row(layout, model, row, &prediction(layout, *at, model), out),
                    Some(_) => RowForm::Plain.write(out),
                }
            }
            if let Some(body) = body {
                write_ghost_body(out, *body, &mut previous_age);
                encode_row(layout, row, base(layout, *body).as_deref(), out);
            }
        }
    }
    packet.tail.write(out);
}

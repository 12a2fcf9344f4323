//! Client: one snapshot packet, from bytes into the ghosts' history. Total: any bytes end in rows or in an error, never in a panic.
//! The layout is `docs/wire-format.md`, section 5.

use ghostline_wire::{
    BitReader, ChunkGap, ChunkHeader, DecodeError, DespawnEntry, GhostBody, NetworkTick, PredictionBase, PrefabEntry,
    RowForm, RowLayout, RowModel, SnapshotHeader, decode_predicted_row, decode_row, limits, predict_row, read_despawns,
    read_ghost_body, read_prefabs,
};

use super::client::{ClientSnapshots, HeldGhost};
use super::history::RowHistory;
use super::store::bits;
use crate::ghost::Slot;

/// Why a packet could not be taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SnapshotError {
    /// The bytes are not a snapshot, or not one for what this client holds.
    Malformed(DecodeError),
    /// The server has a ghost type that this client lacks or knows otherwise.
    UnknownPrefab(PrefabEntry),
}

impl From<DecodeError> for SnapshotError {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error)
    }
}

/// A local ghost type as the decoder sees it.
pub(crate) struct DecodeType {
    pub layout: RowLayout,
    pub prefab: PrefabEntry,
}

/// Buffers of the decoder, used again for every packet.
#[derive(Default)]
pub(crate) struct Decoder {
    prefabs: Vec<PrefabEntry>,
    despawns: Vec<DespawnEntry>,
    row: Vec<u32>,
    /// The type and base that this packet named last, and its parameters.
    base: Option<(u32, PredictionBase)>,
    model: RowModel,
    pub decoded_rows: u64,
}

impl Decoder {
    /// Reads prefab list and despawns; all that a thin client wants to know.
    pub(crate) fn decode_lists(
        &mut self,
        input: &mut BitReader<'_>,
        types: &[DecodeType],
        snapshots: &mut ClientSnapshots,
    ) -> Result<(), SnapshotError> {
        self.prefabs.clear();
        let first = read_prefabs(input, &mut self.prefabs)? as usize;
        for (offset, entry) in self.prefabs.iter().enumerate() {
            let local = types.iter().position(|ty| ty.prefab == *entry).ok_or(SnapshotError::UnknownPrefab(*entry))?;
            let local = u16::try_from(local).map_err(|_| DecodeError::BadValue { what: "ghost type" })?;
            let index = first.saturating_add(offset);
            match snapshots.prefabs.get(index) {
                Some(&known) if known != local => return Err(SnapshotError::UnknownPrefab(*entry)),
                Some(_) => {}
                None if index == snapshots.prefabs.len() && index < limits::MAX_PREFABS as usize => {
                    snapshots.prefabs.push(local);
                }
                None => {}
            }
        }
        self.despawns.clear();
        read_despawns(input, &mut self.despawns)?;
        Ok(())
    }

    /// Reads the rest: despawns take effect, rows go into the ghosts' history.
    pub(crate) fn decode_chunks(
        &mut self,
        header: &SnapshotHeader,
        input: &mut BitReader<'_>,
        types: &[DecodeType],
        snapshots: &mut ClientSnapshots,
    ) -> Result<(), SnapshotError> {
        for despawn in &self.despawns {
            if let Some(slot) = Slot::from_id(despawn.ghost_id) {
                snapshots.despawn(slot, header.server_tick);
            }
        }
        self.base = None;
        let busy = input.read_packed()?;
        if busy > limits::MAX_CHUNKS {
            return Err(DecodeError::LimitExceeded { what: "chunks", limit: limits::MAX_CHUNKS, got: busy }.into());
        }
        let mut position = 0;
        for _ in 0..busy {
            position = cover_quiet(input, header.server_tick, position, snapshots)?;
            self.decode_chunk(header, input, types, snapshots, position)?;
            position = position.saturating_add(1);
        }
        cover_quiet(input, header.server_tick, position, snapshots)?;
        input.expect_end()?;
        Ok(())
    }

    fn decode_chunk(
        &mut self,
        header: &SnapshotHeader,
        input: &mut BitReader<'_>,
        types: &[DecodeType],
        snapshots: &mut ClientSnapshots,
        index: u32,
    ) -> Result<(), SnapshotError> {
        if index >= limits::MAX_CHUNKS {
            return Err(DecodeError::LimitExceeded { what: "chunk", limit: limits::MAX_CHUNKS, got: index }.into());
        }
        let chunk_header = ChunkHeader::decode(input)?;
        let wrong_type = DecodeError::BadValue { what: "ghost type" };
        let local = *snapshots.prefabs.get(chunk_header.type_index as usize).ok_or(wrong_type)?;
        let layout = &types.get(usize::from(local)).ok_or(wrong_type)?.layout;
        let chunk = snapshots.chunk_or_new(index as usize, local).ok_or(wrong_type)?;
        if chunk.ghost_type != local {
            return Err(wrong_type.into());
        }
        chunk.coverage.insert(header.server_tick, !chunk_header.uncovered & !chunk_header.changed);
        let base = self.decode_base(chunk_header.type_index, layout, input)?;
        let mut previous_age = None;
        for place in bits(chunk_header.changed) {
            let slot = Slot::new(index as usize, place as u32);
            if let Some(base) = base {
                let form = RowForm::read(input)?;
                if form != RowForm::Plain {
                    self.decode_predicted(header.server_tick, base, form, input, layout, snapshots, slot)?;
                    self.decoded_rows += 1;
                    continue;
                }
            }
            match read_ghost_body(input, &mut previous_age)? {
                GhostBody::Absolute { spawn_age } => {
                    self.decode_absolute(header.server_tick, spawn_age, input, layout, snapshots, local, slot)?;
                }
                GhostBody::Delta { baseline_age } => {
                    self.decode_delta(header.server_tick, baseline_age, input, layout, snapshots, slot)?;
                }
            }
            self.decoded_rows += 1;
        }
        Ok(())
    }

    /// What the chunk's predicted rows start from; `None` if it has none.
    fn decode_base(
        &mut self,
        type_index: u32,
        layout: &RowLayout,
        input: &mut BitReader<'_>,
    ) -> Result<Option<PredictionBase>, DecodeError> {
        if !input.read_bool()? {
            return Ok(None);
        }
        if !input.read_bool()? {
            self.base = Some((type_index, PredictionBase::read(input)?));
            self.model.read(layout, input)?;
        }
        match self.base {
            Some((of, base)) if of == type_index => Ok(Some(base)),
            _ => Err(DecodeError::BadValue { what: "prediction base" }),
        }
    }

    fn decode_predicted(
        &mut self,
        tick: NetworkTick,
        at: PredictionBase,
        form: RowForm,
        input: &mut BitReader<'_>,
        layout: &RowLayout,
        snapshots: &mut ClientSnapshots,
        slot: Slot,
    ) -> Result<(), DecodeError> {
        if snapshots.is_despawned_since(slot, tick) {
            // The ghost is gone; the bits are read past, whatever they start from.
            self.row.clear();
            self.row.resize(layout.lanes(), 0);
            return decode_predicted_row(layout, &self.model, form, &mut self.row, input);
        }
        let held = snapshots.ghost_mut(slot).ok_or(DecodeError::MissingBaseline)?;
        let base_tick = tick.sub(at.age);
        let row_at = |tick| held.history.at_or_before(tick).map(|(_, row)| row).ok_or(DecodeError::MissingBaseline);
        let base = row_at(base_tick)?;
        let earlier = if at.span == 0 { None } else { Some(row_at(base_tick.sub(at.span))?) };
        predict_row(layout, &self.model, at, base, earlier, &mut self.row);
        decode_predicted_row(layout, &self.model, form, &mut self.row, input)?;
        held.history.insert(tick, &self.row);
        Ok(())
    }

    fn decode_absolute(
        &mut self,
        tick: NetworkTick,
        spawn_age: u32,
        input: &mut BitReader<'_>,
        layout: &RowLayout,
        snapshots: &mut ClientSnapshots,
        ghost_type: u16,
        slot: Slot,
    ) -> Result<(), DecodeError> {
        self.row.clear();
        self.row.resize(layout.lanes(), 0);
        decode_row(layout, None, &mut self.row, input)?;
        let spawn_tick = tick.sub(spawn_age & NetworkTick::MAX_INDEX);
        if snapshots.is_despawned_since(slot, spawn_tick) {
            return Ok(());
        }
        if snapshots.ghost(slot).is_some_and(|held| spawn_tick.is_newer_than(held.spawn_tick)) {
            // The slot has a new ghost already: the old one's despawn is in a packet that is still to come.
            snapshots.despawn(slot, spawn_tick);
        }
        let lanes = layout.lanes();
        let Some(chunk) = snapshots.chunk_or_new(slot.chunk(), ghost_type) else { return Ok(()) };
        let Some(place) = chunk.ghosts.get_mut(slot.place()) else { return Ok(()) };
        match place {
            Some(held) if held.spawn_tick == spawn_tick => held.history.insert(tick, &self.row),
            Some(_) => {}
            None => {
                let mut history = RowHistory::new(lanes);
                history.insert(tick, &self.row);
                *place = Some(Box::new(HeldGhost {
                    ghost_type,
                    slot,
                    spawn_tick,
                    entity: None,
                    history,
                    predicted: false,
                    has_new_input: false,
                    shown: None,
                }));
                snapshots.waiting.push(slot);
            }
        }
        Ok(())
    }

    fn decode_delta(
        &mut self,
        tick: NetworkTick,
        baseline_age: u32,
        input: &mut BitReader<'_>,
        layout: &RowLayout,
        snapshots: &mut ClientSnapshots,
        slot: Slot,
    ) -> Result<(), DecodeError> {
        self.row.clear();
        self.row.resize(layout.lanes(), 0);
        if snapshots.is_despawned_since(slot, tick) {
            // The ghost is gone; the bits are read past, whatever their base.
            return decode_row(layout, None, &mut self.row, input);
        }
        let held = snapshots.ghost_mut(slot).ok_or(DecodeError::MissingBaseline)?;
        let baseline_tick = tick.sub(baseline_age & NetworkTick::MAX_INDEX);
        let (_, base) = held.history.at_or_before(baseline_tick).ok_or(DecodeError::MissingBaseline)?;
        decode_row(layout, Some(base), &mut self.row, input)?;
        held.history.insert(tick, &self.row);
        Ok(())
    }
}

/// Reads a gap and notes its quiet chunks; returns the chunk behind it.
fn cover_quiet(
    input: &mut BitReader<'_>,
    tick: NetworkTick,
    position: u32,
    snapshots: &mut ClientSnapshots,
) -> Result<u32, DecodeError> {
    let quiet = ChunkGap::read(input)?.quiet_chunks(position)?;
    for index in quiet.clone() {
        match snapshots.chunks.get_mut(index as usize) {
            Some(Some(chunk)) => chunk.coverage.insert(tick, u64::MAX),
            Some(None) => {}
            // Beyond what this client holds there is nothing to note.
            None => break,
        }
    }
    Ok(quiet.end)
}

//! Client: one snapshot packet, from bytes into the ghosts' history. Total: any bytes end in rows or in an error, never in a panic.
//! The layout is `docs/wire-format.md`, section 5.

use ghostline_wire::{
    BaseRows, BitReader, BodyForm, ChunkCover, ChunkStep, DecodeError, DespawnEntry, GhostBody, ModelName, NetworkTick,
    PredictionBase, PrefabEntry, RowCoder, RowForm, RowLayout, RowModel, SnapshotHeader, decode_row, limits,
    read_despawns, read_ghost_body, read_mask, read_prefabs,
};

use super::bits::bits;
use super::client::{ClientChunk, ClientSnapshots};
use crate::ghost::Slot;

/// Why a packet could not be taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SnapshotError {
    /// The bytes are not a snapshot, or not one for what this client holds.
    Malformed(DecodeError),
    /// The packet was overtaken by so much that what it builds on is forgotten: it counts as lost.
    Overtaken,
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

/// The models that the server has defined, by number, and the local type that each is of.
#[derive(Default)]
pub(crate) struct Models {
    numbers: [Option<(u16, RowModel)>; limits::MAX_MODELS as usize],
}

/// Buffers of the decoder, used again for every packet.
#[derive(Default)]
pub(crate) struct Decoder {
    prefabs: Vec<PrefabEntry>,
    despawns: Vec<DespawnEntry>,
    /// What the packet's rows are predicted from now, and the local type of their model.
    base: Option<(PredictionBase, u16)>,
    coder: RowCoder,
    /// Ghosts that a body's rows say to be there, and since when.
    spawns: Vec<(Slot, NetworkTick)>,
    pub decoded_rows: u64,
}

const WRONG_TYPE: DecodeError = DecodeError::BadValue { what: "ghost type" };

/// The head of a body.
struct Head {
    local_type: u16,
    base: Option<PredictionBase>,
    cover: ChunkCover,
    changed: u64,
}

impl Decoder {
    /// Reads prefab list and despawns; all that a thin client wants to know.
    pub(crate) fn decode_lists(
        &mut self,
        header: &SnapshotHeader,
        input: &mut BitReader<'_>,
        types: &[DecodeType],
        snapshots: &mut ClientSnapshots,
    ) -> Result<(), SnapshotError> {
        self.prefabs.clear();
        self.despawns.clear();
        if !header.has_lists {
            return Ok(());
        }
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
        let decoded = self.decode_steps(header.server_tick, input, types, snapshots);
        let is_late = snapshots.newest_tick.is_some_and(|newest| newest.is_newer_than(header.server_tick));
        match decoded {
            Err(DecodeError::MissingBaseline) if is_late => Err(SnapshotError::Overtaken),
            other => Ok(other?),
        }
    }

    fn decode_steps(
        &mut self,
        tick: NetworkTick,
        input: &mut BitReader<'_>,
        types: &[DecodeType],
        snapshots: &mut ClientSnapshots,
    ) -> Result<(), DecodeError> {
        self.base = None;
        let mut position = 0u32;
        loop {
            match ChunkStep::read(input)? {
                ChunkStep::Body => {
                    self.decode_body(tick, input, types, snapshots, position)?;
                    position = position.saturating_add(1);
                }
                ChunkStep::Gap(gap) => {
                    let quiet = gap.quiet_chunks(position)?;
                    cover_quiet(snapshots, quiet.start as usize..quiet.end as usize, tick);
                    position = quiet.end;
                }
                ChunkStep::End { quiet } => {
                    if quiet {
                        cover_quiet(snapshots, position as usize..snapshots.chunks.len(), tick);
                    }
                    return input.expect_end();
                }
            }
        }
    }

    fn decode_body(
        &mut self,
        tick: NetworkTick,
        input: &mut BitReader<'_>,
        types: &[DecodeType],
        snapshots: &mut ClientSnapshots,
        index: u32,
    ) -> Result<(), DecodeError> {
        if index >= limits::MAX_CHUNKS {
            return Err(DecodeError::LimitExceeded { what: "chunk", limit: limits::MAX_CHUNKS, got: index });
        }
        let head = self.decode_head(tick, input, types, snapshots, index)?;
        self.spawns.clear();
        let layout = &types.get(usize::from(head.local_type)).ok_or(WRONG_TYPE)?.layout;
        if head.changed != 0 {
            let chunk = snapshots.chunk_or_new(index as usize, head.local_type, layout.lanes()).ok_or(WRONG_TYPE)?;
            let mut rows = chunk.rows.vector();
            rows.resize(head.changed.count_ones() as usize * layout.lanes(), 0);
            if let Err(error) = self.decode_rows(tick, input, layout, chunk, index, &head, &mut rows) {
                chunk.rows.give_back(rows);
                return Err(error);
            }
            chunk.rows.insert(tick, head.changed, rows);
            chunk.active |= chunk.held & head.changed;
            chunk.fresh |= chunk.held & head.changed;
            self.decoded_rows += u64::from(head.changed.count_ones());
        }
        if let Some(chunk) = snapshots.chunk_mut(index as usize) {
            let unchanged = !head.cover.uncovered & !head.changed;
            chunk.coverage.insert(tick, unchanged | settled(chunk, index, head.cover, tick));
        }
        for (slot, spawn_tick) in self.spawns.drain(..) {
            snapshots.appear(slot, spawn_tick);
        }
        Ok(())
    }

    /// Reads what stands before the rows.
    fn decode_head(
        &mut self,
        tick: NetworkTick,
        input: &mut BitReader<'_>,
        types: &[DecodeType],
        snapshots: &mut ClientSnapshots,
        index: u32,
    ) -> Result<Head, DecodeError> {
        let form = BodyForm::read(input)?;
        let known = snapshots.chunk(index as usize).map(|chunk| chunk.ghost_type);
        let mut has_base = true;
        let mut local_type = known;
        if form == BodyForm::Full {
            has_base = input.read_bool()?;
            if has_base {
                let local = known.ok_or(DecodeError::MissingBaseline)?;
                let layout = &types.get(usize::from(local)).ok_or(WRONG_TYPE)?.layout;
                self.decode_base(input, &mut snapshots.models, layout, local)?;
            } else {
                let type_index = input.read_packed()? as usize;
                local_type = Some(*snapshots.prefabs.get(type_index).ok_or(WRONG_TYPE)?);
            }
        }
        let local_type = local_type.ok_or(DecodeError::MissingBaseline)?;
        if known.is_some_and(|known| known != local_type) {
            return Err(WRONG_TYPE);
        }
        let base = match self.base.filter(|_| has_base) {
            Some((base, local)) if local == local_type => Some(base),
            None if !has_base => None,
            _ => return Err(DecodeError::BadValue { what: "prediction base" }),
        };
        let mut cover = ChunkCover::default();
        let mut is_difference = has_base;
        if matches!(form, BodyForm::Full | BodyForm::Partial) {
            cover = ChunkCover::read(input)?;
            is_difference = has_base && input.read_bool()?;
        }
        let mut changed = if form == BodyForm::Repeated { 0 } else { read_mask(input)? };
        if let Some(base) = base.filter(|_| is_difference) {
            let rows = snapshots.chunk(index as usize).map(|chunk| &chunk.rows);
            let reference = rows.and_then(|rows| rows.slots_at(tick.sub(base.age)));
            changed ^= reference.ok_or(DecodeError::MissingBaseline)?;
        }
        if changed & cover.uncovered != 0 {
            return Err(DecodeError::BadValue { what: "changed slot" });
        }
        Ok(Head { local_type, base, cover, changed })
    }

    /// What rows are predicted from, from here on.
    fn decode_base(
        &mut self,
        input: &mut BitReader<'_>,
        models: &mut Models,
        layout: &RowLayout,
        local: u16,
    ) -> Result<(), DecodeError> {
        let base = PredictionBase::read(input)?;
        let name = ModelName::read(input)?;
        let wrong_model = DecodeError::BadValue { what: "model" };
        let model = models.numbers.get_mut(usize::from(name.number)).ok_or(wrong_model)?;
        if name.is_defined {
            let (of, parameters) = model.get_or_insert_default();
            parameters.read(layout, input)?;
            *of = local;
        }
        let Some((_, parameters)) = model.as_ref().filter(|(of, _)| *of == local) else { return Err(wrong_model) };
        self.coder.prepare(layout, base, parameters);
        self.base = Some((base, local));
        Ok(())
    }

    fn decode_rows(
        &mut self,
        tick: NetworkTick,
        input: &mut BitReader<'_>,
        layout: &RowLayout,
        chunk: &ClientChunk,
        index: u32,
        head: &Head,
        rows: &mut [u32],
    ) -> Result<(), DecodeError> {
        let mut rest = rows;
        let mut previous_age = None;
        let at =
            |base: PredictionBase, back: u32| chunk.rows.at(tick.sub(base.age).sub(back.saturating_mul(base.span)));
        let from = head.base.map(|base| (base, at(base, 0), at(base, 1), at(base, 2)));
        for place in bits(head.changed) {
            let row = rest.split_off_mut(..layout.lanes()).unwrap_or_default();
            if let Some((base, newest, near, far)) = &from {
                let form = RowForm::read(input)?;
                if form != RowForm::Plain {
                    let missing = DecodeError::MissingBaseline;
                    let newest = newest.row(place).ok_or(missing)?;
                    let earlier = if base.span == 0 { newest } else { near.row(place).ok_or(missing)? };
                    let earliest = if base.curved { far.row(place).ok_or(missing)? } else { earlier };
                    self.coder.decode(form, BaseRows { base: newest, earlier, earliest }, row, input)?;
                    continue;
                }
            }
            match read_ghost_body(input, &mut previous_age)? {
                GhostBody::Absolute { spawn_age } => {
                    decode_row(layout, None, row, input)?;
                    self.spawns.push((Slot::new(index as usize, place as u32), tick.sub(spawn_age)));
                }
                GhostBody::Delta { baseline_age } => {
                    let base = chunk.rows.at(tick.sub(baseline_age)).row(place).ok_or(DecodeError::MissingBaseline)?;
                    decode_row(layout, Some(base), row, input)?;
                }
            }
        }
        Ok(())
    }
}

/// Of the slots that a body says to be settled, those whose newest row is no older than that.
fn settled(chunk: &ClientChunk, index: u32, cover: ChunkCover, tick: NetworkTick) -> u64 {
    if cover.settled_ticks == 0 {
        return 0;
    }
    let since = tick.sub(cover.settled_ticks.min(NetworkTick::MAX_INDEX / 2));
    let is_settled = |place: &usize| {
        let ghost = chunk.ghost(index as usize, *place);
        ghost.and_then(|ghost| ghost.rows.at_or_before(tick)).is_some_and(|(row, _)| !since.is_newer_than(row))
    };
    bits(cover.uncovered).filter(is_settled).fold(0, |slots, place| slots | 1 << place)
}

/// Notes that nothing changed in these chunks.
fn cover_quiet(snapshots: &mut ClientSnapshots, chunks: std::ops::Range<usize>, tick: NetworkTick) {
    // Beyond what this client holds there is nothing to note.
    let end = chunks.end.min(snapshots.chunks.len());
    for chunk in snapshots.chunks.get_mut(chunks.start.min(end)..end).unwrap_or_default().iter_mut().flatten() {
        chunk.coverage.insert(tick, u64::MAX);
    }
}

//! The entry point for snapshot packets: header, lists, chunks, and rows of a layout that the bytes describe.
//! Stands in for the client: it walks the chunks as the client does, with made-up rows and references.
//! What was read is written again and must be the same.

use super::{check_round_trip, layout_from, row_from};
use crate::{
    BaseRows, BitReader, BitWriter, BodyForm, ChunkCover, ChunkStep, DecodeError, DespawnEntry, GhostBody, MessageKind,
    ModelName, PredictionBase, PrefabEntry, RowCoder, RowForm, RowLayout, RowModel, SnapshotHeader, decode_row,
    encode_row, limits, read_despawns, read_ghost_body, read_mask, read_prefabs, write_despawns, write_ghost_body,
    write_mask, write_prefabs,
};

#[derive(Debug, PartialEq)]
struct Packet {
    header: SnapshotHeader,
    first_prefab: u32,
    prefabs: Vec<PrefabEntry>,
    despawns: Vec<DespawnEntry>,
    steps: Vec<(ChunkStep, Option<Body>)>,
}

#[derive(Debug, PartialEq)]
struct Body {
    form: BodyForm,
    /// Of the full form.
    named: Option<(PredictionBase, ModelName, RowModel)>,
    type_index: u32,
    cover: ChunkCover,
    is_difference: bool,
    mask: u64,
    /// `None`: predicted.
    ghosts: Vec<(Option<GhostBody>, Vec<u32>)>,
}

/// A layout, then a snapshot packet after its kind.
pub fn snapshot_packet(data: &[u8]) -> bool {
    let (layout, rest) = layout_from(data);
    let mut input = BitReader::new(rest);
    let Ok(packet) = Walk::new(&layout).decode(&mut input) else {
        return false;
    };
    check_round_trip(
        &packet,
        |packet, out| Walk::new(&layout).encode(packet, out),
        |input| {
            assert_eq!(input.read_u8(), Ok(MessageKind::Snapshot.byte()));
            Walk::new(&layout).decode(input)
        },
    );
    true
}

/// The made-up reference of a chunk.
const fn reference(chunk: u32, age: u32) -> u64 {
    (chunk.wrapping_add(1) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(age)
}

/// What a client remembers within a packet.
struct Walk<'a> {
    layout: &'a RowLayout,
    models: [Option<RowModel>; limits::MAX_MODELS as usize],
    base: Option<PredictionBase>,
    coder: RowCoder,
}

impl<'a> Walk<'a> {
    fn new(layout: &'a RowLayout) -> Self {
        Self { layout, models: [const { None }; 16], base: None, coder: RowCoder::default() }
    }

    /// The made-up baseline of a ghost that is not predicted.
    fn plain_base(&self, body: GhostBody) -> Option<Vec<u32>> {
        match body {
            GhostBody::Absolute { .. } => None,
            GhostBody::Delta { baseline_age } => Some(row_from(self.layout, baseline_age)),
        }
    }

    /// The made-up rows of a base.
    fn with_rows<T>(&mut self, base: PredictionBase, run: impl FnOnce(&mut RowCoder, BaseRows<'_>) -> T) -> T {
        let at = |back: u32| row_from(self.layout, base.age.wrapping_add(base.span.wrapping_mul(back)));
        let (newest, earlier, earliest) = (at(0), at(1), at(2));
        run(&mut self.coder, BaseRows { base: &newest, earlier: &earlier, earliest: &earliest })
    }

    fn decode(&mut self, input: &mut BitReader<'_>) -> Result<Packet, DecodeError> {
        let header = SnapshotHeader::decode(input)?;
        let (mut prefabs, mut despawns, mut first_prefab) = (Vec::new(), Vec::new(), 0);
        if header.has_lists {
            first_prefab = read_prefabs(input, &mut prefabs)?;
            assert!(prefabs.len() <= limits::MAX_PREFABS_PER_PACKET as usize);
            read_despawns(input, &mut despawns)?;
            assert!(despawns.len() <= limits::MAX_DESPAWNS_PER_PACKET as usize);
        }
        let mut steps = Vec::new();
        let mut position = 0u32;
        loop {
            let step = ChunkStep::read(input)?;
            let mut body = None;
            match step {
                ChunkStep::Body => {
                    DecodeError::check_limit("chunk", limits::MAX_CHUNKS.saturating_sub(1), position)?;
                    body = Some(self.decode_body(position, input)?);
                    position = position.saturating_add(1);
                }
                ChunkStep::Gap(gap) => position = gap.quiet_chunks(position)?.end,
                ChunkStep::End { .. } => {}
            }
            steps.push((step, body));
            if matches!(step, ChunkStep::End { .. }) {
                break;
            }
        }
        input.expect_end()?;
        // So that the end of a message counts as read.
        input.read_bits(input.remaining_bits() as u32)?;
        Ok(Packet { header, first_prefab, prefabs, despawns, steps })
    }

    fn decode_body(&mut self, chunk: u32, input: &mut BitReader<'_>) -> Result<Body, DecodeError> {
        let form = BodyForm::read(input)?;
        let mut body = Body {
            form,
            named: None,
            type_index: 0,
            cover: ChunkCover::default(),
            is_difference: true,
            mask: 0,
            ghosts: Vec::new(),
        };
        let mut has_base = true;
        if form == BodyForm::Full {
            has_base = input.read_bool()?;
            if has_base {
                let base = PredictionBase::read(input)?;
                body.named = Some(self.decode_model(base, input)?);
                self.base = Some(base);
            } else {
                let last_type = limits::MAX_PREFABS.saturating_sub(1);
                body.type_index = DecodeError::check_limit("ghost type", last_type, input.read_packed()?)?;
            }
        }
        if matches!(form, BodyForm::Full | BodyForm::Partial) {
            body.cover = ChunkCover::read(input)?;
            body.is_difference = has_base && input.read_bool()?;
        }
        let base = if has_base { Some(self.base.ok_or(DecodeError::MissingBaseline)?) } else { None };
        body.mask = if form == BodyForm::Repeated { 0 } else { read_mask(input)? };
        let changed = body.changed(chunk, base);
        if changed & body.cover.uncovered != 0 {
            return Err(DecodeError::BadValue { what: "changed slot" });
        }
        let mut previous_age = None;
        for _ in 0..changed.count_ones() {
            if let Some(base) = base {
                let form = RowForm::read(input)?;
                if form != RowForm::Plain {
                    let mut row = vec![0; self.layout.lanes()];
                    self.with_rows(base, |coder, rows| coder.decode(form, rows, &mut row, input))?;
                    body.ghosts.push((None, row));
                    continue;
                }
            }
            let ghost = read_ghost_body(input, &mut previous_age)?;
            let mut row = vec![0; self.layout.lanes()];
            decode_row(self.layout, self.plain_base(ghost).as_deref(), &mut row, input)?;
            body.ghosts.push((Some(ghost), row));
        }
        Ok(body)
    }

    fn decode_model(
        &mut self,
        base: PredictionBase,
        input: &mut BitReader<'_>,
    ) -> Result<(PredictionBase, ModelName, RowModel), DecodeError> {
        let name = ModelName::read(input)?;
        let model = self.models.get_mut(usize::from(name.number)).ok_or(DecodeError::MissingBaseline)?;
        if name.is_defined {
            let mut read = RowModel::default();
            read.read(self.layout, input)?;
            *model = Some(read);
        }
        let model = model.clone().ok_or(DecodeError::BadValue { what: "model" })?;
        self.coder.prepare(self.layout, base, &model);
        Ok((base, name, model))
    }

    fn encode(&mut self, packet: &Packet, out: &mut BitWriter) {
        packet.header.encode(out);
        if packet.header.has_lists {
            write_prefabs(out, packet.first_prefab, &packet.prefabs);
            write_despawns(out, &packet.despawns);
        }
        let mut position = 0u32;
        for (step, body) in &packet.steps {
            step.write(out);
            if let ChunkStep::Gap(gap) = step {
                position = gap.quiet_chunks(position).map_or(position, |quiet| quiet.end);
            }
            if let Some(body) = body {
                self.encode_body(body, out);
                position = position.saturating_add(1);
            }
        }
    }

    fn encode_body(&mut self, body: &Body, out: &mut BitWriter) {
        body.form.write(out);
        if body.form == BodyForm::Full {
            out.write_bool(body.named.is_some());
            if let Some((base, name, model)) = &body.named {
                base.write(out);
                name.write(out);
                if name.is_defined {
                    model.write(self.layout, out);
                }
                self.base = Some(*base);
                self.coder.prepare(self.layout, *base, model);
            } else {
                out.write_packed(body.type_index);
            }
        }
        if matches!(body.form, BodyForm::Full | BodyForm::Partial) {
            body.cover.write(out);
            if body.form == BodyForm::Partial || body.named.is_some() {
                out.write_bool(body.is_difference);
            }
        }
        if body.form != BodyForm::Repeated {
            write_mask(body.mask, out);
        }
        let base = if body.form == BodyForm::Full { body.named.as_ref().map(|(base, ..)| *base) } else { self.base };
        let mut previous_age = None;
        for (ghost, row) in &body.ghosts {
            match (ghost, base) {
                (None, Some(base)) => self.with_rows(base, |coder, rows| coder.encode(rows, row, out)),
                (None, None) => {}
                (Some(ghost), _) => {
                    if base.is_some() {
                        RowForm::Plain.write(out);
                    }
                    write_ghost_body(out, *ghost, &mut previous_age);
                    encode_row(self.layout, row, self.plain_base(*ghost).as_deref(), out);
                }
            }
        }
    }
}

impl Body {
    fn changed(&self, chunk: u32, base: Option<PredictionBase>) -> u64 {
        let reference = if self.is_difference { base.map_or(0, |base| reference(chunk, base.age)) } else { 0 };
        self.mask ^ reference
    }
}

//! What the bits of packets are spent on, in worlds that want to know it (`SnapshotBits`): each packet that was sent is read once more, as a
//! client reads it, and every part goes to its account; but rows that were copied for several clients are read once. Nothing here takes part in the
//! making of packets.

use ghostline_wire::{
    BitReader, BodyForm, ChunkCover, ChunkStep, DecodeError, DespawnEntry, GhostBody, ModelName, NetworkTick,
    PredictionBase, PrefabEntry, RowCoder, RowForm, RowLayout, RowModel, SnapshotHeader, decode_row_by_component,
    read_despawns, read_ghost_body, read_mask, read_prefabs,
};

use super::bits::bits;
use super::cache::base_rows;
use super::encode::EncodeRequest;
use super::models::{ModelId, Models};
use super::packet::PlacedBody;
use super::store::{Chunk, RowStore};
use crate::stats::{GhostTypeBits, SnapshotBits};

/// Where the packet's rows come from.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    pub request: &'a EncodeRequest<'a>,
    pub store: &'a RowStore,
    pub models: &'a Models,
}

/// Reads packets and keeps the accounts.
#[derive(Default)]
pub(crate) struct BitMeter {
    /// The accounts; `None`: nobody wants to know.
    pub counted: Option<SnapshotBits>,
    rows: RowMeter,
    prefabs: Vec<PrefabEntry>,
    despawns: Vec<DespawnEntry>,
}

/// Bits since the last look.
struct Laps {
    remaining: usize,
}

impl Laps {
    fn lap(&mut self, input: &BitReader<'_>) -> u64 {
        let before = std::mem::replace(&mut self.remaining, input.remaining_bits());
        (before - self.remaining) as u64
    }
}

impl BitMeter {
    /// Counts a packet that was sent; `bodies` are its chunks in order.
    pub(super) fn count(&mut self, packet: &[u8], bodies: impl Iterator<Item = PlacedBody>, origin: Origin<'_>) {
        let Some(mut counted) = self.counted.take() else { return };
        counted.packets += 1;
        self.rows.begin(origin);
        let mut input = BitReader::new(packet);
        let mut laps = Laps { remaining: input.remaining_bits() };
        let read = self.read(&mut counted, &mut input, &mut laps, bodies, origin);
        debug_assert_eq!(read, Ok(()), "what was written can be read");
        counted.unknown_bits += laps.remaining as u64;
        self.counted = Some(counted);
    }

    fn read(
        &mut self,
        counted: &mut SnapshotBits,
        input: &mut BitReader<'_>,
        laps: &mut Laps,
        mut bodies: impl Iterator<Item = PlacedBody>,
        origin: Origin<'_>,
    ) -> Result<(), DecodeError> {
        input.read_u8()?;
        let header = SnapshotHeader::decode(input)?;
        counted.header_bits += laps.lap(input);
        if header.has_lists {
            read_prefabs(input, &mut self.prefabs)?;
            counted.prefab_bits += laps.lap(input);
            read_despawns(input, &mut self.despawns)?;
            counted.despawn_bits += laps.lap(input);
        }
        loop {
            match ChunkStep::read(input)? {
                ChunkStep::Body => {
                    let body = bodies.next().ok_or(DecodeError::BadValue { what: "chunk" })?;
                    self.rows.body(input, laps, &mut counted.types, &body, origin)?;
                }
                ChunkStep::Gap(_) => counted.gap_bits += laps.lap(input),
                ChunkStep::End { .. } => {
                    counted.gap_bits += laps.lap(input);
                    input.expect_end()?;
                    counted.padding_bits += std::mem::take(&mut laps.remaining) as u64;
                    return Ok(());
                }
            }
        }
    }
}

/// What the rows of a body are made of, one number after the other: rows without a baseline, bits before rows, and the bits of each component.
const ABSOLUTE_ROWS: usize = 0;
const FORM_BITS: usize = 1;
const COMPONENTS: usize = 2;

/// Reads the bodies of chunks.
#[derive(Default)]
struct RowMeter {
    /// What the rows are predicted from, as named last in this packet.
    named: Option<PredictionBase>,
    coder: RowCoder,
    /// What the coder is prepared for.
    coder_of: Option<(u16, PredictionBase, ModelId)>,
    model: RowModel,
    row: Vec<u32>,
    /// The numbers of bodies, kept within a tick for those that are known.
    numbers: Vec<u64>,
    /// Where the numbers of those rows lie that were copied from a place in the cache. Whoever has them from there, too, has the same bits.
    known: Vec<((usize, usize), usize)>,
    /// The tick and the store's revision that they are of.
    of: Option<(NetworkTick, u64)>,
}

impl RowMeter {
    /// Begins a packet.
    fn begin(&mut self, origin: Origin<'_>) {
        self.named = None;
        let of = Some((origin.request.tick, origin.store.revision));
        if self.of != of {
            self.of = of;
            self.numbers.clear();
            self.known.clear();
        }
    }

    /// Reads what follows on the step to a chunk with a body.
    fn body(
        &mut self,
        input: &mut BitReader<'_>,
        laps: &mut Laps,
        types: &mut [GhostTypeBits],
        body: &PlacedBody,
        origin: Origin<'_>,
    ) -> Result<(), DecodeError> {
        let chunk = origin.store.chunks.get(body.chunk).ok_or(DecodeError::BadValue { what: "chunk" })?;
        let ghost_type = usize::from(chunk.ghost_type);
        let (Some(ty), Some(account)) = (origin.request.types.get(ghost_type), types.get_mut(ghost_type)) else {
            return Err(DecodeError::BadValue { what: "ghost type" });
        };
        let has_base = self.head(input, laps, account, &ty.layout)?;
        account.chunk_bits += laps.lap(input);
        account.rows += u64::from(body.changed.count_ones());
        let base = self.named.filter(|_| has_base);
        let known = body.copied.map(|copied| (copied, self.known.binary_search_by_key(&copied, |(key, _)| *key)));
        if let Some(((_, len), Ok(place))) = known {
            input.read_sub(len)?;
            laps.lap(input);
            add(account, &self.numbers[self.known[place].1..]);
            return Ok(());
        }
        let begin = self.numbers.len();
        self.numbers.resize(begin + COMPONENTS + account.components.len(), 0);
        let read = self.read_rows(input, laps, begin, &ty.layout, chunk, body.changed, base, origin);
        add(account, &self.numbers[begin..]);
        match known {
            Some((copied, Err(place))) if read.is_ok() => self.known.insert(place, (copied, begin)),
            _ => self.numbers.truncate(begin),
        }
        read
    }

    /// Reads what stands before the rows; returns whether they have a base.
    fn head(
        &mut self,
        input: &mut BitReader<'_>,
        laps: &mut Laps,
        account: &mut GhostTypeBits,
        layout: &RowLayout,
    ) -> Result<bool, DecodeError> {
        let form = BodyForm::read(input)?;
        let mut has_base = true;
        if form == BodyForm::Full {
            has_base = input.read_bool()?;
            if has_base {
                self.named = Some(PredictionBase::read(input)?);
                if ModelName::read(input)?.is_defined {
                    account.chunk_bits += laps.lap(input);
                    self.model.read(layout, input)?;
                    account.model_bits += laps.lap(input);
                }
            } else {
                input.read_packed()?;
            }
        }
        if matches!(form, BodyForm::Full | BodyForm::Partial) {
            ChunkCover::read(input)?;
            if has_base {
                input.read_bool()?;
            }
        }
        if form != BodyForm::Repeated {
            read_mask(input)?;
        }
        Ok(has_base)
    }

    /// Reads the rows and puts down their numbers.
    fn read_rows(
        &mut self,
        input: &mut BitReader<'_>,
        laps: &mut Laps,
        begin: usize,
        layout: &RowLayout,
        chunk: &Chunk,
        changed: u64,
        base: Option<PredictionBase>,
        origin: Origin<'_>,
    ) -> Result<(), DecodeError> {
        if let Some(base) = base {
            self.prepare(chunk.ghost_type, layout, base, origin.models)?;
        }
        self.row.resize(layout.lanes(), 0);
        let numbers = &mut self.numbers[begin..];
        let from = base.map(|base| {
            let at = |back: u32| chunk.slabs.at(origin.request.tick.sub(base.age + back * base.span));
            (base, at(0), at(1), at(2))
        });
        let mut previous_age = None;
        for place in bits(changed) {
            if let Some((base, newest, near, far)) = from {
                let form = RowForm::read(input)?;
                if form != RowForm::Plain {
                    numbers[FORM_BITS] += laps.lap(input);
                    let from = base_rows(base, place, newest, near, far).ok_or(DecodeError::MissingBaseline)?;
                    let after = to_components(&mut numbers[COMPONENTS..], laps);
                    self.coder.decode_by_component(form, from, &mut self.row, input, after)?;
                    continue;
                }
            }
            let body = read_ghost_body(input, &mut previous_age)?;
            numbers[ABSOLUTE_ROWS] += u64::from(matches!(body, GhostBody::Absolute { .. }));
            numbers[FORM_BITS] += laps.lap(input);
            let after = to_components(&mut numbers[COMPONENTS..], laps);
            // Against which baseline makes a difference to the values, and none to the bits.
            decode_row_by_component(layout, None, &mut self.row, input, after)?;
        }
        Ok(())
    }

    /// The packet's model is the one in force: models don't change within a tick.
    fn prepare(
        &mut self,
        ghost_type: u16,
        layout: &RowLayout,
        base: PredictionBase,
        models: &Models,
    ) -> Result<(), DecodeError> {
        let published = models.get(ghost_type, base).ok_or(DecodeError::BadValue { what: "model" })?;
        let key = Some((ghost_type, base, published.id));
        if self.coder_of != key {
            self.coder.prepare(layout, base, &published.model);
            self.coder_of = key;
        }
        Ok(())
    }
}

/// Puts the numbers of a body's rows to the account of their type.
fn add(account: &mut GhostTypeBits, numbers: &[u64]) {
    account.absolute_rows += numbers[ABSOLUTE_ROWS];
    account.form_bits += numbers[FORM_BITS];
    for (component, bits) in account.components.iter_mut().zip(&numbers[COMPONENTS..]) {
        component.bits += bits;
    }
}

/// Gives each component of a row its bits, one after the other.
fn to_components(components: &mut [u64], laps: &mut Laps) -> impl FnMut(&BitReader<'_>) {
    let mut components = components.iter_mut();
    move |input| {
        if let Some(bits) = components.next() {
            *bits += laps.lap(input);
        }
    }
}

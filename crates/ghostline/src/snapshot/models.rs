//! Which models rows are coded with: learned on the server from some of the rows that it encodes, by ghost type and age of the baseline.
//! Fixed within a tick, so that all clients share the bits; named to clients by number (`named`).

use ghostline_wire::{NetworkTick, PredictionBase, RowLayout, RowModel};

use super::bits::bits;
use super::learning::{Kind, Residuals, SPANS, Sample, Scratch, Search};
use super::store::Chunk;

/// So many rows are looked at before anything is learned from them.
const ENOUGH_ROWS: u32 = 16;
/// After so many rows more a model is looked at again; before, whenever they have doubled.
const LOOK_AGAIN_ROWS: u64 = 2048;
/// Rows that are learned from per tick, type and age, about.
const ROWS_PER_TICK: u64 = 64;
/// While little is known one of so many rows is learned from, later one of so many.
const LEARN_EVERY: (u64, u64) = (2, 16);
const LITTLE_KNOWN_ROWS: u64 = 2048;

/// A model that clients are told of; never used again for another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(crate) struct ModelId(pub u32);

/// A model in force.
pub(crate) struct Published {
    pub id: ModelId,
    pub model: RowModel,
    span: u32,
}

/// Ages of baselines that are one class; older ones are of the last.
const AGE_CLASSES: [u32; 14] = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 24, 40, u32::MAX];

fn age_class(age: u32) -> usize {
    AGE_CLASSES.partition_point(|most| *most < age)
}

/// What is known of one ghost type's rows with baselines of one age.
#[derive(Default)]
struct Class {
    search: Search,
    kinds: [Learned; 3],
    /// Whether two earlier rows are worth it.
    prefers_curve: bool,
    /// Rows that came by, those of the tick before, and at the beginning of this one.
    seen: u64,
    seen_last_tick: u64,
    seen_before: u64,
    /// Rows that were learned from.
    learned: u64,
    /// What was learned is looked at when so many rows were.
    next_look: u64,
}

#[derive(Default)]
struct Learned {
    residuals: Residuals,
    published: Option<Published>,
}

/// The models of all ghost types.
#[derive(Default)]
pub(crate) struct Models {
    types: Vec<[Option<Box<Class>>; AGE_CLASSES.len()]>,
    next_id: u32,
    tick: Option<NetworkTick>,
    scratch: Scratch,
}

impl Models {
    /// Begins a tick: what was learned until now comes into force.
    pub(super) fn begin<'a>(&mut self, tick: NetworkTick, layout: impl Fn(usize) -> Option<&'a RowLayout>) {
        if self.tick.replace(tick) == Some(tick) {
            return;
        }
        for (index, classes) in self.types.iter_mut().enumerate() {
            let Some(layout) = layout(index) else { continue };
            for class in classes.iter_mut().flatten() {
                class.seen_last_tick = class.seen - std::mem::replace(&mut class.seen_before, class.seen);
                if class.learned >= class.next_look.max(u64::from(ENOUGH_ROWS)) {
                    class.look(layout, &mut self.next_id, &mut self.scratch);
                }
            }
        }
    }

    /// Bytes of what is known.
    pub(super) fn memory_bytes(&self) -> usize {
        let classes = self.types.iter().flatten().flatten();
        let learned: usize = classes.map(|class| size_of::<Class>() + class.memory_bytes()).sum();
        learned + self.types.capacity() * size_of::<[Option<Box<Class>>; AGE_CLASSES.len()]>()
    }

    fn class(&self, ghost_type: u16, age: u32) -> Option<&Class> {
        self.types.get(usize::from(ghost_type))?.get(age_class(age))?.as_deref()
    }

    /// What rows of this type and age are best predicted from, if the client has those rows; `None` as long as too little is known.
    pub(super) fn preferred(&self, ghost_type: u16, age: u32) -> Option<PredictionBase> {
        let class = self.class(ghost_type, age)?;
        let kind = if class.prefers_curve { Kind::Curve } else { Kind::Slope };
        let published = class.kinds[kind as usize].published.as_ref();
        let span = published.map(|published| published.span);
        // With the baseline alone something is always known first.
        class.kinds[Kind::Hold as usize].published.as_ref()?;
        Some(PredictionBase { age, span: span.unwrap_or(0), curved: span.is_some() && kind == Kind::Curve })
    }

    /// The model for rows that are predicted from this base.
    pub(super) fn get(&self, ghost_type: u16, base: PredictionBase) -> Option<&Published> {
        let kind = match base {
            PredictionBase { span: 0, .. } => Kind::Hold,
            PredictionBase { curved: true, .. } => Kind::Curve,
            _ => Kind::Slope,
        };
        self.class(ghost_type, base.age)?.kinds[kind as usize].published.as_ref()
    }

    /// Learns from the rows of those slots whose turn it is.
    pub(super) fn observe(&mut self, layout: &RowLayout, chunk: &Chunk, slots: u64, age: u32, now: NetworkTick) {
        if slots == 0 {
            return;
        }
        let index = usize::from(chunk.ghost_type);
        if self.types.len() <= index {
            self.types.resize_with(index + 1, || [const { None }; AGE_CLASSES.len()]);
        }
        let class = self.types[index][age_class(age)].get_or_insert_default();
        let turns = class.turns();
        for place in bits(slots) {
            class.seen += 1;
            if turns.contains(class.seen)
                && let Some(sample) = sample(chunk, place, age, now)
            {
                class.learn(layout, sample);
            }
        }
    }
}

/// A slot's row with those that it may be predicted from, if the oldest of them is still known.
fn sample(chunk: &Chunk, place: usize, age: u32, now: NetworkTick) -> Option<Sample<'_>> {
    let at = |back: u32| chunk.slabs.at(now.sub(back)).row(place);
    let base = at(age)?;
    let mut earlier = [(base, base); SPANS.len()];
    let mut are_known = true;
    for (pair, span) in earlier.iter_mut().zip(SPANS) {
        match (at(age + span), at(age + 2 * span)) {
            (Some(near), Some(far)) => *pair = (near, far),
            _ => are_known = false,
        }
    }
    Some(Sample { age, row: chunk.row(place), base, earlier: are_known.then_some(earlier) })
}

/// Which rows are learned from: one of so many, scattered, because at regular intervals it would be the same ghosts in every tick.
#[derive(Clone, Copy)]
struct Turns {
    below: u64,
}

impl Turns {
    /// Whether it is the turn of the row with this number. The mixer is that of SplitMix64, cut short.
    fn contains(self, seen: u64) -> bool {
        let mixed = seen.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed >> 32 < self.below
    }
}

impl Class {
    fn turns(&self) -> Turns {
        let every = if self.learned < LITTLE_KNOWN_ROWS { LEARN_EVERY.0 } else { LEARN_EVERY.1 };
        Turns { below: (1 << 32) / every.max(self.seen_last_tick / ROWS_PER_TICK) }
    }

    fn memory_bytes(&self) -> usize {
        self.kinds.iter().map(|learned| learned.residuals.memory_bytes()).sum()
    }

    fn learn(&mut self, layout: &RowLayout, sample: Sample<'_>) {
        self.learned += 1;
        self.search.observe(layout, sample);
        for kind in Kind::ALL {
            let residuals = &mut self.kinds[kind as usize].residuals;
            if residuals.span == 0 {
                let stay = vec![ghostline_wire::Order::Stay; layout.fields().len()];
                residuals.count_for(layout, SPANS[0], &stay);
            }
            if kind == Kind::Hold {
                residuals.observe(layout, kind, sample, sample.base, sample.base);
            } else if let Some(earlier) = sample.earlier {
                let place = SPANS.iter().position(|span| *span == residuals.span).unwrap_or(0);
                let (near, far) = earlier[place];
                residuals.observe(layout, kind, sample, near, far);
            }
        }
    }

    /// Looks at what was learned: which rows to predict from from now on, and whether another model is better than the one in force.
    fn look(&mut self, layout: &RowLayout, next_id: &mut u32, scratch: &mut Scratch) {
        self.next_look = self.learned + self.learned.min(LOOK_AGAIN_ROWS);
        let mut left = [0; 3];
        for kind in Kind::ALL {
            let learned = &mut self.kinds[kind as usize];
            // From what was counted until now, before the search begins to count something else: a model that is wrong must not stay in force for
            // as long as the search has not settled.
            learned.publish(layout, next_id, scratch);
            if kind != Kind::Hold && self.search.rows() >= ENOUGH_ROWS {
                let (span, bits) = self.search.best(kind, learned.residuals.span, &mut scratch.orders);
                left[kind as usize] = bits;
                learned.residuals.count_for(layout, span, &scratch.orders);
            }
        }
        let [_, slope, curve] = left;
        // Two earlier rows are known less often than one, and their bits shared less often.
        self.prefers_curve = curve + slope / 25 < slope;
    }
}

impl Learned {
    fn publish(&mut self, layout: &RowLayout, next_id: &mut u32, scratch: &mut Scratch) {
        if self.residuals.rows() < ENOUGH_ROWS {
            return;
        }
        let bits = self.residuals.best_model(layout, scratch);
        let model = &scratch.model;
        let is_better = self.published.as_ref().is_none_or(|published| {
            let before = if published.span == self.residuals.span {
                self.residuals.cost_of(layout, &published.model)
            } else {
                u64::MAX
            };
            published.model != *model && bits + bits / 64 < before
        });
        if is_better {
            *next_id += 1;
            self.published = Some(Published { id: ModelId(*next_id), model: model.clone(), span: self.residuals.span });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ghostline_wire::{ComponentSchema, FieldKind, FieldSchema, Order, Smoothing};

    /// A component of one integer.
    fn layout() -> RowLayout {
        let (kind, smoothing) = (FieldKind::I32, Smoothing::Clamp);
        let field = FieldSchema { name: "x".into(), kind, quantization: 0, smoothing, max_smoothing_distance: None };
        RowLayout::new(&[ComponentSchema { name: "X".into(), fields: vec![field] }])
    }

    /// Learns from a row that had moved by `speed` in each tick, and then by `jump` beyond that.
    fn learn(class: &mut Class, layout: &RowLayout, speed: u32, jump: u32) {
        let age = 6;
        let at = |ticks_before_base: u32| [1_000_000_u32.wrapping_sub(ticks_before_base.wrapping_mul(speed))];
        let row = [at(0)[0].wrapping_add(age * speed).wrapping_add(jump)];
        let base = at(0);
        let pairs = SPANS.map(|span| (at(span), at(2 * span)));
        let mut earlier = [(&base[..], &base[..]); SPANS.len()];
        for (slot, (near, far)) in earlier.iter_mut().zip(&pairs) {
            *slot = (near, far);
        }
        class.learn(layout, Sample { age, row: &row, base: &base, earlier: Some(earlier) });
    }

    #[test]
    fn a_model_that_the_first_rows_made_is_replaced_while_the_search_has_not_settled() {
        let layout = layout();
        let (mut class, mut next_id, mut scratch) = (Class::default(), 0, Scratch::default());
        let mut model = |class: &mut Class, rows: std::ops::Range<u32>, jump: &dyn Fn(u32) -> u32| {
            for row in rows {
                learn(class, &layout, row % 50, jump(row));
            }
            class.look(&layout, &mut next_id, &mut scratch);
            class.kinds[Kind::Slope as usize].published.as_ref().map(|published| published.model.clone())
        };
        // At first nothing moves but by large jumps, then everything along its slope.
        let first = model(&mut class, 0..16, &|row| if row == 3 { 0 } else { 40_000 }).expect("enough rows");
        assert!(first.parameters[0].iter().any(|parameter| *parameter > 10), "{first:?}");
        let second = model(&mut class, 0..600, &|_| 1).expect("it stays in force, or another does");
        assert_ne!(second, first, "what was counted is used at the first look");
        let third = model(&mut class, 0..600, &|_| 1).expect("as before");
        assert_eq!(third.fields[0].order, Order::Slope);
        assert!(third.parameters[0].iter().all(|parameter| *parameter < 4), "{third:?}");
    }

    #[test]
    fn rows_that_are_learned_from_are_of_all_ghosts() {
        // A tick is a hundred rows in the same order; over some ticks each of them has its turn.
        for ghosts in [64_u64, 100, 128, 160, 900] {
            let mut class = Class { learned: LITTLE_KNOWN_ROWS, ..Class::default() };
            let (mut turns, ticks) = (vec![0; ghosts as usize], 500);
            for _tick in 0..ticks {
                class.seen_last_tick = ghosts;
                let due = class.turns();
                for turn in &mut turns {
                    class.seen += 1;
                    *turn += u32::from(due.contains(class.seen));
                }
            }
            let per_tick = f64::from(turns.iter().sum::<u32>()) / f64::from(ticks);
            let expected = ghosts as f64 / LEARN_EVERY.1.max(ghosts / ROWS_PER_TICK) as f64;
            assert!((per_tick / expected - 1.0).abs() < 0.1, "{ghosts} ghosts: {per_tick} per tick, not {expected}");
            assert!(turns.iter().all(|turns| *turns > 5), "{ghosts} ghosts: {turns:?}");
        }
    }
}

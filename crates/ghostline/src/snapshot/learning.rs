//! Statistics of how rows go on from their baselines, of one ghost type and age: which rows to predict a field from, and with which parameters
//! what is left over is short. Fed by `models` with some of the rows that are encoded. Nothing but integers: the same rows, the same models.

use ghostline_wire::{CLASSES, LaneCodec, Order, PredictionBase, RowLayout, RowModel, SILENT};

/// The spans that are tried, in ticks.
pub(super) const SPANS: [u32; 6] = [1, 2, 3, 4, 6, 8];
/// Ways of expecting a field: to stay, and along a slope or a curve of each span.
const WAYS: usize = 1 + 2 * SPANS.len();
/// Bits of a residual, and of a speed, that are told apart.
const SIZES: usize = 18;
/// Rows wider than this have one class for all speeds, so that statistics stay small.
const MOST_CLASSED_LANES: usize = 64;
/// Counts beyond this are halved.
const MOST_ROWS: u32 = 16_384;
/// Parameters that are tried.
const PARAMETERS: usize = 15;
/// One lane in this many rows may speak and still be silent.
const SILENT_SHARE: u32 = 16;

/// How large a number is, as its bits.
const fn size(value: u32) -> usize {
    let size = (u32::BITS - value.leading_zeros()) as usize;
    if size < SIZES { size } else { SIZES - 1 }
}

const fn zig_zag(difference: u32) -> u32 {
    let difference = difference.cast_signed();
    ((difference << 1) ^ (difference >> 31)).cast_unsigned()
}

/// Bits of a residual of this size with this parameter, in eighths, on average.
const fn cost(size: usize, parameter: usize) -> u32 {
    let fixed = 8 * (1 + parameter as u32);
    if size <= parameter {
        return fixed;
    }
    let beyond = (size - 1 - parameter) as u32;
    // Half way through its range, less the half that is cut off; far beyond the quotient is packed.
    if beyond < 4 { fixed + (12 << beyond) - 4 } else { fixed + 8 * (16 + beyond) }
}

const fn cost_table() -> [[u32; PARAMETERS]; SIZES] {
    let mut table = [[0; PARAMETERS]; SIZES];
    let mut size = 0;
    while size < SIZES {
        let mut parameter = 0;
        while parameter < PARAMETERS {
            table[size][parameter] = cost(size, parameter);
            parameter += 1;
        }
        size += 1;
    }
    table
}

static COSTS: [[u32; PARAMETERS]; SIZES] = cost_table();

/// Which rows there are to predict from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(super) enum Kind {
    /// The baseline alone.
    Hold,
    /// An earlier one.
    Slope,
    /// Two earlier ones.
    Curve,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Hold, Self::Slope, Self::Curve];

    fn base(self, age: u32, span: u32) -> PredictionBase {
        PredictionBase { age, span: if self == Self::Hold { 0 } else { span }, curved: self == Self::Curve }
    }
}

/// A row, and those that it may be predicted from.
#[derive(Clone, Copy)]
pub(super) struct Sample<'a> {
    pub age: u32,
    pub row: &'a [u32],
    pub base: &'a [u32],
    /// By span, the rows one and two spans before the base.
    pub earlier: Option<[(&'a [u32], &'a [u32]); SPANS.len()]>,
}

/// What is known of how fields go on.
#[derive(Clone, Default)]
pub(super) struct Search {
    rows: u32,
    /// By field, what each way leaves over, in bits.
    fields: Vec<[u32; WAYS]>,
}

impl Search {
    pub(super) fn observe(&mut self, layout: &RowLayout, sample: Sample<'_>) {
        let Some(earlier) = sample.earlier else { return };
        self.fields.resize(layout.fields().len(), [0; WAYS]);
        self.rows += 1;
        let steps = SPANS.map(|span| PredictionBase { age: sample.age, span, curved: true }.steps(Order::Curve));
        let mut first = 0;
        for ((count, codec), costs) in layout.fields().zip(&mut self.fields) {
            let lanes = first..first + count;
            first = lanes.end;
            if codec != LaneCodec::Integer {
                continue;
            }
            for lane in lanes {
                let (row, base) = (sample.row[lane], sample.base[lane]);
                costs[0] += size(zig_zag(row.wrapping_sub(base))) as u32;
                let left = |expected: u32| size(zig_zag(row.wrapping_sub(expected))) as u32;
                for (place, (steps, (near, far))) in steps.iter().zip(&earlier).enumerate() {
                    let [slope, curve] = steps.expect_both(base, near[lane], far[lane]);
                    costs[1 + place] += left(slope);
                    costs[1 + SPANS.len() + place] += left(curve);
                }
            }
        }
        if self.rows > MOST_ROWS {
            self.rows /= 2;
            self.fields.iter_mut().flatten().for_each(|cost| *cost /= 2);
        }
    }

    /// The best way of each field with rows of this kind and span, and the bits that it leaves over.
    fn ways(&self, kind: Kind, place: usize) -> impl Iterator<Item = (Order, u32)> {
        self.fields.iter().map(move |costs| {
            let mut best = (Order::Stay, costs[0]);
            // What needs more rows must be worth it.
            let mut try_order = |order, cost: u32| {
                if cost + cost / 32 < best.1 {
                    best = (order, cost);
                }
            };
            if kind != Kind::Hold {
                try_order(Order::Slope, costs[1 + place]);
            }
            if kind == Kind::Curve {
                try_order(Order::Curve, costs[1 + SPANS.len() + place]);
            }
            best
        })
    }

    /// The best span of this kind, with its order for each field in `orders`, and the bits per row that it leaves over, in hundredths.
    pub(super) fn best(&self, kind: Kind, now: u32, orders: &mut Vec<Order>) -> (u32, u64) {
        let mut best = (0, u64::MAX);
        for (place, span) in SPANS.into_iter().enumerate() {
            let bits: u64 = self.ways(kind, place).map(|(_, bits)| u64::from(bits)).sum();
            // The present span stays unless another is better by some.
            let weighed = if span == now { bits - bits / 64 } else { bits };
            if weighed < best.1 {
                best = (place, weighed);
            }
        }
        let (place, bits) = best;
        orders.clear();
        orders.extend(self.ways(kind, place).map(|(order, _)| order));
        (SPANS[place], bits * 100 / u64::from(self.rows.max(1)))
    }

    pub(super) fn rows(&self) -> u32 {
        self.rows
    }
}

/// What is left over with rows of one kind, one span and one order per field.
#[derive(Clone, Default)]
pub(super) struct Residuals {
    pub span: u32,
    pub orders: Vec<Order>,
    rows: u32,
    /// By field, rows in which anything is left over.
    differing: Vec<u32>,
    /// By lane, how often a residual of a size came with a speed of a size.
    lanes: Vec<Counts>,
}

/// Sizes of residuals by size of the speed.
type Counts = Vec<[u16; SIZES]>;

impl Residuals {
    /// Begins anew if something else is to be counted. Keeps its memory.
    pub(super) fn count_for(&mut self, layout: &RowLayout, span: u32, orders: &[Order]) {
        if self.span == span && self.orders == orders {
            return;
        }
        let speeds = if layout.lanes() <= MOST_CLASSED_LANES { SIZES } else { 1 };
        (self.span, self.rows) = (span, 0);
        self.orders.clear();
        self.orders.extend_from_slice(orders);
        self.differing.clear();
        self.differing.resize(layout.fields().len(), 0);
        self.lanes.resize_with(layout.lanes(), Vec::new);
        for counts in &mut self.lanes {
            counts.clear();
            counts.resize(speeds, [0; SIZES]);
        }
    }

    pub(super) fn rows(&self) -> u32 {
        self.rows
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.lanes.iter().map(|counts| size_of_val(&counts[..])).sum()
    }

    /// Counts a row. `earlier` are the rows one and two spans before the base.
    pub(super) fn observe(&mut self, layout: &RowLayout, kind: Kind, sample: Sample<'_>, near: &[u32], far: &[u32]) {
        let base_of = kind.base(sample.age, self.span);
        self.rows += 1;
        let mut first = 0;
        let fields = layout.fields().zip(&self.orders).zip(&mut self.differing);
        for (((count, codec), order), differing) in fields {
            let lanes = first..first + count;
            first = lanes.end;
            let is_integer = codec == LaneCodec::Integer;
            let steps = base_of.steps(if is_integer { *order } else { Order::Stay });
            let speed =
                lanes.clone().map(|lane| sample.base[lane].wrapping_sub(near[lane]).cast_signed().unsigned_abs());
            let speed = size(speed.max().unwrap_or(0));
            let mut differs = false;
            for lane in lanes {
                let expected = steps.expect(sample.base[lane], near[lane], far[lane]);
                let residual = zig_zag(sample.row[lane].wrapping_sub(expected));
                differs |= residual != 0;
                let counts = &mut self.lanes[lane];
                let speed = speed.min(counts.len() - 1);
                counts[speed][size(residual)] += 1;
            }
            *differing += u32::from(differs);
        }
        if self.rows > MOST_ROWS {
            self.rows /= 2;
            self.differing.iter_mut().for_each(|count| *count /= 2);
            self.lanes.iter_mut().flatten().flatten().for_each(|count| *count /= 2);
        }
    }

    /// The model that makes these rows shortest, in `scratch`, and eighths of bits of all of them.
    pub(super) fn best_model(&self, layout: &RowLayout, scratch: &mut Scratch) -> u64 {
        let Scratch { model, costs, .. } = scratch;
        model.fit(layout);
        let (mut first, mut bits) = (0, 0);
        let fields = layout.fields().zip(&self.orders).zip(&self.differing).zip(&mut model.fields);
        for ((((count, codec), order), differing), field) in fields {
            let lanes = first..first + count;
            first = lanes.end;
            field.usual = *differing * 5 > self.rows * 2;
            if codec != LaneCodec::Integer {
                continue;
            }
            field.order = *order;
            costs.clear();
            costs.extend(self.lanes[lanes.clone()].iter().map(|counts| SpeedCosts::of(counts)));
            let (border, field_bits) = best_border(costs);
            field.border = border;
            bits += if field.usual { field_bits } else { u64::from(self.rows) * 8 };
            for (lane, costs) in lanes.zip(costs.iter()) {
                model.parameters[lane] = classes_of(costs, border).map(|(parameter, _)| parameter);
                if field.usual && self.is_silent(lane) {
                    model.parameters[lane] = [SILENT; CLASSES];
                }
            }
        }
        bits
    }

    /// Eighths of bits of all rows with a model.
    pub(super) fn cost_of(&self, layout: &RowLayout, model: &RowModel) -> u64 {
        let (mut first, mut bits) = (0, 0);
        for (((count, codec), field), order) in layout.fields().zip(&model.fields).zip(&self.orders) {
            let lanes = first..first + count;
            first = lanes.end;
            if codec != LaneCodec::Integer {
                continue;
            }
            if field.order != *order {
                return u64::MAX;
            }
            if !field.usual {
                bits += u64::from(self.rows) * 8;
                continue;
            }
            for lane in lanes {
                let costs = SpeedCosts::of(&self.lanes[lane]);
                let sums = segments(&costs, field.border);
                for (sum, parameter) in sums.iter().zip(model.parameters[lane]) {
                    bits += sum.get(usize::from(parameter)).copied().unwrap_or(0);
                }
            }
        }
        bits
    }

    fn is_silent(&self, lane: usize) -> bool {
        let counts = &self.lanes[lane];
        let all: u32 = counts.iter().flatten().map(|count| u32::from(*count)).sum();
        let zeros: u32 = counts.iter().map(|sizes| u32::from(sizes[0])).sum();
        (all - zeros) * SILENT_SHARE < all
    }
}

/// What a look at what was learned needs for a while; kept, so that looking allocates nothing.
#[derive(Default)]
pub(super) struct Scratch {
    pub model: RowModel,
    pub orders: Vec<Order>,
    costs: Vec<SpeedCosts>,
}

/// By speed, eighths of bits with each parameter.
#[derive(Clone, Copy)]
struct SpeedCosts {
    by_speed: [[u64; PARAMETERS]; SIZES],
    speeds: usize,
}

impl SpeedCosts {
    fn of(counts: &[[u16; SIZES]]) -> Self {
        let mut by_speed = [[0; PARAMETERS]; SIZES];
        for (costs, sizes) in by_speed.iter_mut().zip(counts) {
            for (count, size_costs) in sizes.iter().zip(&COSTS).filter(|(count, _)| **count != 0) {
                for (sum, cost) in costs.iter_mut().zip(size_costs) {
                    *sum += u64::from(*count) * u64::from(*cost);
                }
            }
        }
        Self { by_speed, speeds: counts.len() }
    }
}

/// The costs of each class: at rest, slow, fast. Without a border everything is slow.
fn segments(costs: &SpeedCosts, border: Option<u8>) -> [[u64; PARAMETERS]; CLASSES] {
    let mut sums = [[0; PARAMETERS]; CLASSES];
    for (speed, own) in costs.by_speed[..costs.speeds].iter().enumerate() {
        let class = match border {
            Some(_) if speed == 0 => 0,
            Some(border) if speed >= usize::from(border) => 2,
            _ => 1,
        };
        for (sum, cost) in sums[class].iter_mut().zip(own) {
            *sum += cost;
        }
    }
    sums
}

fn least(costs: &[u64; PARAMETERS]) -> (u8, u64) {
    let least = costs.iter().enumerate().min_by_key(|(_, cost)| **cost);
    least.map_or((0, 0), |(parameter, cost)| (parameter as u8, *cost))
}

/// The best parameter of each class, and what it costs.
fn classes_of(costs: &SpeedCosts, border: Option<u8>) -> [(u8, u64); CLASSES] {
    let mut best = segments(costs, border).map(|sums| if sums == [0; PARAMETERS] { None } else { Some(least(&sums)) });
    // Of what was never seen nothing is known but its neighbours.
    let any = best.iter().flatten().next().copied().unwrap_or((0, 0));
    if border.is_none() {
        return [best[1].unwrap_or(any); CLASSES];
    }
    best[1] = best[1].or(best[2]).or(best[0]);
    best.map(|class| class.unwrap_or((any.0, 0)))
}

/// The border that makes a field's lanes shortest together; `None` if it is not worth its bits.
fn best_border(costs: &[SpeedCosts]) -> (Option<u8>, u64) {
    let bits = |border: Option<u8>| -> u64 {
        costs.iter().flat_map(|lane| segments(lane, border)).map(|sums| least(&sums).1).sum()
    };
    let mut best = (None, bits(None));
    if costs.first().is_some_and(|lane| lane.speeds > 1) {
        let plain = best.1;
        for border in 2..SIZES as u8 {
            let with = bits(Some(border));
            // It takes bits where the model is defined: at least a hundredth must come back.
            if with + plain / 100 < best.1 || best.0.is_some() && with < best.1 {
                best = (Some(border), with);
            }
        }
    }
    best
}

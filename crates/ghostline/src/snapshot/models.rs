//! Which parameters rows are coded with: learned on the server from the rows that it encodes, by ghost type and age of the baseline.
//! Fixed within a tick, so that all clients share the bits; told to clients in the packets.

use ghostline_wire::{FieldModel, NetworkTick, RowLayout, RowModel};

/// Baselines of this age and older are one class.
const AGE_CLASSES: usize = 16;
/// So many rows are looked at before anything is learned from them.
const ENOUGH_ROWS: u32 = 16;
/// Beyond so many rows the older ones count half.
const MEMORY_ROWS: u32 = 1024;
/// What a lane counts at most, so that one leap doesn't spoil the mean.
const MOST: u32 = 1 << 16;

/// The parameters of all ghost types.
#[derive(Default)]
pub(super) struct Models {
    types: Vec<Vec<Class>>,
}

/// Of one type and age.
#[derive(Default, Clone)]
struct Class {
    model: Option<RowModel>,
    /// The tick that the model is fixed in.
    fixed: Option<NetworkTick>,
    rows: u32,
    /// By lane: sums of what is left over if the baseline stays, and if it moves on.
    lanes: Vec<[u32; 2]>,
    /// By field: rows in which anything is left over, likewise.
    fields: Vec<[u32; 2]>,
}

fn zig_zag(difference: u32) -> u32 {
    let difference = difference.cast_signed();
    ((difference << 1) ^ (difference >> 31)).cast_unsigned()
}

impl Models {
    fn class(&mut self, ghost_type: u16, age: u32) -> &mut Class {
        let index = usize::from(ghost_type);
        if self.types.len() <= index {
            self.types.resize_with(index + 1, || vec![Class::default(); AGE_CLASSES]);
        }
        &mut self.types[index][(age as usize).min(AGE_CLASSES - 1)]
    }

    /// The parameters in force at this tick; `None` as long as too little is known.
    pub(super) fn get(
        &mut self,
        ghost_type: u16,
        age: u32,
        layout: &RowLayout,
        tick: NetworkTick,
    ) -> Option<&RowModel> {
        let class = self.class(ghost_type, age);
        if class.fixed != Some(tick) {
            class.fixed = Some(tick);
            class.learn(layout);
        }
        class.model.as_ref()
    }

    /// Learns from a row, what it was expected to be if it stayed, and if it moved on.
    pub(super) fn observe(
        &mut self,
        ghost_type: u16,
        age: u32,
        layout: &RowLayout,
        row: &[u32],
        stay: &[u32],
        move_on: &[u32],
    ) {
        let class = self.class(ghost_type, age);
        class.lanes.resize(layout.lanes(), [0; 2]);
        class.fields.resize(layout.field_lanes().len(), [0; 2]);
        class.rows += 1;
        let mut lanes = row.iter().zip(stay).zip(move_on).zip(&mut class.lanes);
        for (field, count) in class.fields.iter_mut().zip(layout.field_lanes()) {
            let mut left = [0; 2];
            for (((lane, stay), move_on), sums) in lanes.by_ref().take(count) {
                for (way, expected) in [stay, move_on].into_iter().enumerate() {
                    let over = zig_zag(lane.wrapping_sub(*expected)).min(MOST);
                    left[way] |= over;
                    sums[way] += over;
                }
            }
            field[0] += u32::from(left[0] != 0);
            field[1] += u32::from(left[1] != 0);
        }
    }
}

impl Class {
    fn learn(&mut self, layout: &RowLayout) {
        if self.rows < ENOUGH_ROWS {
            return;
        }
        let rows = self.rows;
        let model = self.model.get_or_insert_with(|| RowModel::new(layout));
        let mut lanes = self.lanes.iter().zip(&mut model.parameters);
        let mut first = 0;
        for ((field, seen), count) in model.fields.iter_mut().zip(&self.fields).zip(layout.field_lanes()) {
            let sums = self.lanes.get(first..first + count).unwrap_or_default();
            first += count;
            let total = |way: usize| sums.iter().map(|sum| u64::from(sum[way])).sum::<u64>();
            let linear = total(1) < total(0);
            let differing = seen[usize::from(linear)];
            let usual = differing * 2 > rows;
            *field = FieldModel { usual, linear };
            // A field without flags is written by every row, one with flags only when it differs.
            let written = if usual { rows } else { differing.max(1) };
            for (sum, parameter) in lanes.by_ref().take(count) {
                *parameter = parameter_for(sum[usize::from(linear)] / written);
            }
        }
        if self.rows > MEMORY_ROWS {
            self.rows /= 2;
            self.lanes.iter_mut().flatten().chain(self.fields.iter_mut().flatten()).for_each(|sum| *sum /= 2);
        }
    }
}

/// The number of low bits that is best for numbers of this mean: those of the median.
fn parameter_for(mean: u32) -> u8 {
    (mean * 11 / 16).checked_ilog2().unwrap_or(0).min(15) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use ghostline_wire::{ComponentSchema, FieldKind, FieldSchema, Smoothing};

    fn layout() -> RowLayout {
        let field = |name: &str, kind| FieldSchema {
            name: name.to_owned(),
            kind,
            quantization: 0,
            smoothing: Smoothing::Clamp,
            max_smoothing_distance: None,
        };
        let fields = vec![field("a", FieldKind::I32), field("b", FieldKind::I32)];
        RowLayout::new(&[ComponentSchema { name: "C".to_owned(), fields }])
    }

    #[test]
    fn steady_motion_is_learned_as_a_slope_and_rest_as_rest() {
        let (layout, mut models, tick) = (layout(), Models::default(), NetworkTick::new(1));
        assert_eq!(models.get(0, 6, &layout, tick), None);
        for index in 0..64 {
            models.observe(0, 6, &layout, &[index * 50 + index % 3, 7], &[index * 50 - index, 7], &[index * 50, 9]);
        }
        assert_eq!(models.get(0, 6, &layout, tick), None, "nothing changes within a tick");
        let model = models.get(0, 6, &layout, tick.next()).unwrap();
        assert_eq!(model.fields, [FieldModel { usual: true, linear: true }, FieldModel::default()]);
        assert_eq!(model.parameters, [0, 0]);
        assert_eq!(models.get(0, 7, &layout, tick.next()), None, "every age for itself");
    }

    #[test]
    fn parameters_grow_with_what_is_left_over() {
        assert_eq!([0, 1, 3, 10, 100, 65_536].map(parameter_for), [0, 0, 1, 2, 6, 15]);
    }
}

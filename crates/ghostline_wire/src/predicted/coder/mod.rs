//! Rows of one ghost type against predictions from one base, coded with one model: the hot path of snapshots on both ends.
//! A coder is prepared once per base and used for all rows of it: it writes (`encode`) and reads (`decode`).

mod decode;
mod encode;
mod form;

use super::base::{PredictionBase, Steps};
use super::model::{FieldModel, Order, RowModel, SILENT};
use crate::schema::{LaneCodec, RowLayout};

pub use form::RowForm;

/// A lane, prepared.
#[derive(Clone, Copy, Debug)]
struct LanePlan {
    steps: Steps,
    /// Parameters by class, a byte each.
    parameters: u32,
    /// Its field is not a usual one.
    is_other: bool,
}

impl LanePlan {
    #[inline]
    const fn parameter(self, class: u32) -> u32 {
        self.parameters.wrapping_shr(class.wrapping_mul(8)) & 0xFF
    }
}

/// A lane of the row at hand.
#[derive(Clone, Copy, Debug, Default)]
struct LaneWork {
    /// What the prediction leaves over, zig-zag.
    residual: u32,
    /// How far the lane moved from the earlier row to the baseline.
    speed: u32,
}

/// A field, prepared.
#[derive(Clone, Copy, Debug)]
struct FieldPlan {
    first_lane: usize,
    lanes: u8,
    codec: LaneCodec,
    usual: bool,
    /// Some lane may be silent.
    may_be_silent: bool,
    /// Bits of the speed from which on it is fast. 0: it has one class, which is class 1.
    border: u8,
}

/// A component, prepared.
#[derive(Clone, Copy, Debug)]
struct ComponentPlan {
    fields: u32,
    /// How many fields are not usual.
    others: u32,
}

/// Codes rows of one layout, base and model.
#[derive(Clone, Debug, Default)]
pub struct RowCoder {
    lanes: Vec<LanePlan>,
    fields: Vec<FieldPlan>,
    components: Vec<ComponentPlan>,
    /// The usual fields.
    usual: Vec<FieldPlan>,
    /// Some usual field may have a silent lane.
    may_be_silent: bool,
    work: Vec<LaneWork>,
}

impl RowCoder {
    /// Prepares it for a layout, base and model that belong together. Keeps its memory.
    pub fn prepare(&mut self, layout: &RowLayout, base: PredictionBase, model: &RowModel) {
        self.lanes.clear();
        self.fields.clear();
        self.components.clear();
        self.work.clear();
        self.work.resize(layout.lanes(), LaneWork::default());
        let mut parameters = model.parameters.as_slice();
        for (field, model) in layout.fields.iter().zip(&model.fields) {
            let own = parameters.split_off(..usize::from(field.lanes)).unwrap_or_default();
            let is_integer = field.codec == LaneCodec::Integer;
            let steps = base.steps(if is_integer { model.order } else { Order::Stay });
            let packed = |[rest, slow, fast]: [u8; 3]| u32::from(rest) | u32::from(slow) << 8 | u32::from(fast) << 16;
            let first_lane = self.lanes.len();
            let is_other = !model.usual;
            self.lanes.extend(own.iter().map(|classes| LanePlan { steps, parameters: packed(*classes), is_other }));
            self.fields.push(FieldPlan {
                first_lane,
                lanes: field.lanes,
                codec: field.codec,
                usual: model.usual,
                may_be_silent: is_integer && own.as_flattened().contains(&SILENT),
                border: if base.span == 0 { 0 } else { model.border.unwrap_or(0) },
            });
        }
        self.prepare_components(layout, &model.fields);
        self.usual.clear();
        self.usual.extend(self.fields.iter().filter(|field| field.usual));
        self.may_be_silent = self.usual.iter().any(|field| field.may_be_silent);
    }

    fn prepare_components(&mut self, layout: &RowLayout, mut models: &[FieldModel]) {
        for component in &layout.components {
            let own = models.split_off(..component.fields as usize).unwrap_or_default();
            let others = own.iter().filter(|model| !model.usual).count() as u32;
            self.components.push(ComponentPlan { fields: component.fields, others });
        }
    }
}

/// How far a lane moved.
#[inline]
const fn speed(base: u32, earlier: u32) -> u32 {
    base.wrapping_sub(earlier).cast_signed().unsigned_abs()
}

impl FieldPlan {
    /// The field's lanes of a row of any kind.
    #[inline]
    fn of<T>(self, row: &[T]) -> &[T] {
        row.get(self.first_lane..self.first_lane.wrapping_add(usize::from(self.lanes))).unwrap_or_default()
    }

    /// The class of a field that was so fast: the byte of the parameters that counts.
    #[inline]
    const fn class(self, speed: u32) -> u32 {
        if self.border == 0 {
            return 1;
        }
        let bits = u32::BITS.wrapping_sub(speed.leading_zeros());
        if bits == 0 { 0 } else { 1u32.wrapping_add((bits >= self.border as u32) as u32) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::base::BaseRows;
    use super::super::model::CLASSES;
    use super::super::model::tests::{any_layout, layout, model};
    use super::*;
    use crate::bits::{BitReader, BitWriter};
    use crate::error::DecodeError;
    use crate::limits::MAX_SLOPE_TICKS;
    use crate::schema::FieldKind;
    use proptest::prelude::*;

    fn lane() -> impl Strategy<Value = u32> {
        prop_oneof![Just(0), 0..40u32, any::<u32>(), Just(u32::MAX), (-300..300i32).prop_map(i32::cast_unsigned)]
    }

    /// Makes the lanes of booleans booleans.
    fn clean(layout: &RowLayout, row: &mut [u32]) {
        let mut rest = row;
        for (count, codec) in layout.fields() {
            let own = rest.split_off_mut(..count).unwrap();
            if codec == LaneCodec::Bit {
                own.iter_mut().for_each(|lane| *lane &= 1);
            }
        }
    }

    proptest! {
        #[test]
        fn any_row_comes_back_from_any_base_with_any_model(
            layout in any_layout(),
            lanes in proptest::collection::vec(lane(), 256),
            seed in proptest::collection::vec(any::<u8>(), 1..40),
            at in (1..=MAX_SLOPE_TICKS, 0..=MAX_SLOPE_TICKS, any::<bool>()),
            keep in proptest::collection::vec(any::<bool>(), 64),
        ) {
            let count = layout.lanes();
            let base = PredictionBase { age: at.0, span: at.1, curved: at.1 != 0 && at.2 };
            let from = BaseRows {
                base: &lanes[64..64 + count],
                earlier: &lanes[128..128 + count],
                earliest: &lanes[192..192 + count],
            };
            let mut coder = RowCoder::default();
            coder.prepare(&layout, base, &model(&layout, &seed));
            // Some lanes as they are expected, so that every form is met.
            let mut row: Vec<u32> = (0..count)
                .map(|i| {
                    let expected = coder.lanes[i].steps.expect(from.base[i], from.earlier[i], from.earliest[i]);
                    if keep[i] { expected } else { lanes[i] }
                })
                .collect();
            clean(&layout, &mut row);
            let mut out = BitWriter::new();
            coder.encode(from, &row, &mut out);
            let mut input = BitReader::with_bits(out.as_bytes(), out.bit_len());
            let form = RowForm::read(&mut input).unwrap();
            let mut decoded = vec![9; count];
            prop_assert_eq!(coder.decode(form, from, &mut decoded, &mut input), Ok(()));
            prop_assert_eq!(decoded, row);
            prop_assert!(input.is_empty());
        }

        #[test]
        fn every_bit_of_a_row_belongs_to_its_form_or_to_the_component_that_it_tells_of(
            layout in any_layout(),
            lanes in proptest::collection::vec(lane(), 192),
            seed in proptest::collection::vec(any::<u8>(), 1..40),
            other in (0..4usize, proptest::collection::vec(lane(), 64)),
        ) {
            let count = layout.lanes();
            let from = BaseRows { base: &lanes[..count], earlier: &lanes[64..][..count], earliest: &lanes[128..][..count] };
            let mut coder = RowCoder::default();
            coder.prepare(&layout, PredictionBase { age: 6, span: 3, curved: true }, &model(&layout, &seed));
            let mut row: Vec<u32> =
                (0..count).map(|i| coder.lanes[i].steps.expect(from.base[i], from.earlier[i], from.earliest[i])).collect();
            clean(&layout, &mut row);
            let (form, before) = bits_by_component(&mut coder, from, &row);
            // Whatever becomes of one component, the others take the same bits, unless the row gets another form.
            let (which, values) = other;
            let mut begin = 0;
            for (number, component) in layout.components.iter().enumerate() {
                let end = begin + component.lanes as usize;
                if number == which {
                    row[begin..end].copy_from_slice(&values[begin..end]);
                }
                begin = end;
            }
            clean(&layout, &mut row);
            let (new_form, after) = bits_by_component(&mut coder, from, &row);
            for (number, (before, after)) in before.iter().zip(&after).enumerate() {
                prop_assert!(number == which || new_form != form || before == after, "{number}: {before} then {after} bits");
            }
        }

        #[test]
        fn any_bits_end_in_a_row_or_an_error(
            layout in any_layout(),
            seed in proptest::collection::vec(any::<u8>(), 1..40),
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut coder = RowCoder::default();
            coder.prepare(&layout, PredictionBase { age: 6, span: 3, curved: true }, &model(&layout, &seed));
            let mut input = BitReader::new(&bytes);
            let rows = vec![7; layout.lanes()];
            let from = BaseRows { base: &rows, earlier: &rows, earliest: &rows };
            let mut row = vec![7; layout.lanes()];
            while let Ok(form) = RowForm::read(&mut input) {
                if coder.decode(form, from, &mut row, &mut input).is_err() {
                    break;
                }
            }
        }
    }

    /// The form of a row and the bits of each component; all of them together are what was written.
    fn bits_by_component(coder: &mut RowCoder, from: BaseRows<'_>, row: &[u32]) -> (RowForm, Vec<usize>) {
        let mut out = BitWriter::new();
        coder.encode(from, row, &mut out);
        let mut input = BitReader::with_bits(out.as_bytes(), out.bit_len());
        let form = RowForm::read(&mut input).unwrap();
        let mut ends = vec![input.remaining_bits()];
        let mut decoded = vec![9; row.len()];
        let after = |input: &BitReader<'_>| ends.push(input.remaining_bits());
        assert_eq!(coder.decode_by_component(form, from, &mut decoded, &mut input, after), Ok(()));
        assert_eq!((decoded.as_slice(), input.remaining_bits()), (row, 0));
        assert_eq!(ends.len(), coder.components.len() + 1);
        // Layouts without a component have no bits.
        assert_eq!(ends.last(), Some(&0));
        (form, ends.windows(2).map(|pair| pair[0] - pair[1]).collect())
    }

    fn coder(layout: &RowLayout, edit: impl FnOnce(&mut RowModel)) -> RowCoder {
        let mut model = RowModel::new(layout);
        edit(&mut model);
        let mut coder = RowCoder::default();
        coder.prepare(layout, PredictionBase { age: 6, span: 3, curved: false }, &model);
        coder
    }

    fn encode(coder: &mut RowCoder, base: &[u32], earlier: &[u32], row: &[u32]) -> (usize, Vec<u8>) {
        let mut out = BitWriter::new();
        coder.encode(BaseRows { base, earlier, earliest: earlier }, row, &mut out);
        (out.bit_len(), out.as_bytes().to_vec())
    }

    const USUAL_SLOPE: FieldModel = FieldModel { usual: true, order: Order::Slope, border: None };

    #[test]
    fn a_steady_motion_costs_a_bit_a_lane_and_one_for_the_form() {
        let layout = layout(&[&[FieldKind::Vec3], &[FieldKind::U8]]);
        let mut coder = coder(&layout, |model| model.fields[0] = USUAL_SLOPE);
        let (base, earlier) = ([100, 50, 7, 9], [70, 80, 7, 8]);
        let expected = [160, 10u32.wrapping_neg(), 7, 9];
        assert_eq!(encode(&mut coder, &base, &earlier, &expected), (4, vec![0b1111]));
        // 01, the usual lanes, 1 and the code of a difference of 1.
        let (bits, bytes) = encode(&mut coder, &base, &earlier, &[160, 10u32.wrapping_neg(), 7, 10]);
        assert_eq!((bits, bytes), (2 + 3 + 1 + 3, vec![0b0011_1110, 1]));
    }

    #[test]
    fn each_component_has_the_bits_of_its_flags_and_of_its_lanes() {
        let layout = layout(&[&[FieldKind::Vec3], &[FieldKind::U8, FieldKind::Bool], &[FieldKind::U8]]);
        let mut coder = coder(&layout, |model| model.fields[0] = USUAL_SLOPE);
        let (base, earlier) = ([100, 50, 7, 9, 0, 3], [70, 80, 7, 8, 0, 3]);
        let from = BaseRows { base: &base, earlier: &earlier, earliest: &earlier };
        let expected = [160, 10u32.wrapping_neg(), 7, 9, 0, 3];
        assert_eq!(bits_by_component(&mut coder, from, &expected), (RowForm::Usual, vec![3, 0, 0]));
        let mut row = expected;
        row[4] = 1;
        // The second: one of two differs, the first does not, the second does and is 1. The third: it does not differ.
        assert_eq!(bits_by_component(&mut coder, from, &row), (RowForm::Mixed, vec![3, 1 + 1 + 1 + 1, 1]));
    }

    #[test]
    fn a_silent_lane_costs_nothing_until_it_speaks() {
        let layout = layout(&[&[FieldKind::Vec3]]);
        let mut coder = coder(&layout, |model| {
            model.fields[0] = USUAL_SLOPE;
            model.parameters[1] = [SILENT; CLASSES];
        });
        let (base, earlier) = ([100, 50, 7], [70, 50, 7]);
        assert_eq!(encode(&mut coder, &base, &earlier, &[160, 50, 7]), (3, vec![0b111]));
        // 001, then every lane: 1, a packed 2 (0111 without raw bits of its own: 011 1 0), 1.
        let (bits, _) = encode(&mut coder, &base, &earlier, &[160, 51, 7]);
        assert_eq!(bits, 3 + 1 + 4 + 1);
    }

    #[test]
    fn how_fast_a_field_was_chooses_its_parameter() {
        let layout = layout(&[&[FieldKind::I32]]);
        let mut coder = coder(&layout, |model| {
            model.fields[0] = FieldModel { usual: true, order: Order::Stay, border: Some(5) };
            model.parameters[0] = [7, 0, 3];
        });
        let bits = |coder: &mut RowCoder, speed: u32| {
            let base = 1000u32.wrapping_add(speed);
            encode(coder, &[base], &[1000], &[base]).0 - 1
        };
        assert_eq!([0, 1, 15, 16, 1 << 30].map(|speed| bits(&mut coder, speed)), [8, 1, 1, 4, 4]);
        assert_eq!(bits(&mut coder, 1u32.wrapping_neg()), 1, "backwards is as fast");
    }

    #[test]
    fn rows_of_another_length_and_the_plain_form_are_refused() {
        let layout = layout(&[&[FieldKind::Vec3]]);
        let coder = coder(&layout, |_| ());
        let refused = Err(DecodeError::BadValue { what: "row length" });
        let decode = |form, base: &[u32], count: usize| {
            let from = BaseRows { base, earlier: base, earliest: base };
            coder.decode(form, from, &mut vec![0; count], &mut BitReader::new(&[0xFF; 8]))
        };
        assert_eq!(decode(RowForm::Usual, &[1, 2, 3], 3), Ok(()));
        assert_eq!(decode(RowForm::Usual, &[1, 2], 3), refused);
        assert_eq!(decode(RowForm::Usual, &[1, 2, 3], 2), refused);
        assert_eq!(decode(RowForm::Plain, &[1, 2, 3], 3), refused);
    }
}

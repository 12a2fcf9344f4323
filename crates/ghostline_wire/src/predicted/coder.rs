//! Rows of one ghost type against predictions from one base, coded with one model: the hot path of snapshots on both ends.
//! A coder is prepared once per base and used for all rows of it.

use super::base::{BaseRows, PredictionBase, Steps};
use super::model::{FieldModel, Order, RowModel, SILENT};
use super::rice::{RiceWriter, read_rice};
use crate::bits::{BitReader, BitWriter};
use crate::error::DecodeError;
use crate::packed::{un_zig_zag, zig_zag};
use crate::schema::{LaneCodec, RowLayout};

/// How a row of a chunk with a base is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowForm {
    /// `1`: the model's usual fields, without flags.
    Usual,
    /// `01`: the usual fields, and others as flagged.
    Mixed,
    /// `001`: against the prediction, with flags as in section 5.5.
    Flagged,
    /// `000`: a ghost body and a row of section 5.5.
    Plain,
}

impl RowForm {
    /// Bits of the plain form.
    pub const PLAIN_BITS: usize = 3;

    /// Writes the form's code.
    #[inline]
    pub fn write(self, out: &mut BitWriter) {
        match self {
            Self::Usual => out.write_bits(1, 1),
            Self::Mixed => out.write_bits(0b10, 2),
            Self::Flagged => out.write_bits(0b100, 3),
            Self::Plain => out.write_bits(0, 3),
        }
    }

    /// Reads a form's code.
    ///
    /// # Errors
    /// What reading bits can end in.
    #[inline]
    pub fn read(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        if input.read_bool()? {
            return Ok(Self::Usual);
        }
        if input.read_bool()? {
            return Ok(Self::Mixed);
        }
        Ok(if input.read_bool()? { Self::Flagged } else { Self::Plain })
    }
}

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

    /// Writes a row, form included, in the shortest form that can say it. All rows have the layout's lanes; a row of another length is
    /// the caller's mistake and written as far as it goes.
    pub fn encode(&mut self, from: BaseRows<'_>, row: &[u32], out: &mut BitWriter) {
        let others = self.take_in(from, row);
        let form = self.form(others);
        form.write(out);
        match form {
            RowForm::Usual => self.encode_usual(row, out),
            RowForm::Mixed => self.encode_mixed(row, out),
            RowForm::Flagged | RowForm::Plain => self.encode_flagged(row, out),
        }
    }

    /// Compares the row with what is expected. Not 0: a field that isn't usual differs.
    fn take_in(&mut self, from: BaseRows<'_>, row: &[u32]) -> u32 {
        let mut others = 0;
        let before = self.lanes.iter().zip(from.base).zip(from.earlier).zip(from.earliest);
        for ((work, row), (((lane, base), earlier), earliest)) in self.work.iter_mut().zip(row).zip(before) {
            let expected = lane.steps.expect(*base, *earlier, *earliest);
            let residual = zig_zag(row.wrapping_sub(expected).cast_signed());
            *work = LaneWork { residual, speed: speed(*base, *earlier) };
            others |= if lane.is_other { residual } else { 0 };
        }
        others
    }

    /// The shortest form that can say the residuals.
    fn form(&self, others: u32) -> RowForm {
        if self.may_be_silent && self.usual.iter().any(|field| self.is_silenced(*field)) {
            RowForm::Flagged
        } else if others != 0 {
            RowForm::Mixed
        } else {
            RowForm::Usual
        }
    }

    /// Whether a lane differs that the usual form says nothing of.
    fn is_silenced(&self, field: FieldPlan) -> bool {
        let (work, plans) = (field.of(&self.work), field.of(&self.lanes));
        let class = field.class_of(work);
        let mut pairs = work.iter().zip(plans);
        field.may_be_silent
            && pairs.any(|(lane, plan)| lane.residual != 0 && plan.parameter(class) == u32::from(SILENT))
    }

    /// Writes the lanes of all usual fields, as many to a write as fit.
    fn encode_usual(&self, row: &[u32], out: &mut BitWriter) {
        let mut writer = RiceWriter::new(out);
        for field in &self.usual {
            if field.codec != LaneCodec::Integer {
                self.encode_field(*field, row, false, writer.out());
                continue;
            }
            let work = field.of(&self.work);
            let class = field.class_of(work);
            for (lane, plan) in work.iter().zip(field.of(&self.lanes)) {
                let parameter = plan.parameter(class);
                if parameter != u32::from(SILENT) {
                    writer.write(lane.residual, parameter);
                }
            }
        }
        writer.flush();
    }

    fn encode_mixed(&self, row: &[u32], out: &mut BitWriter) {
        let mut fields = self.fields.as_slice();
        for component in &self.components {
            let own_fields = fields.split_off(..component.fields as usize).unwrap_or_default();
            let mut differs = component.others == 1;
            if component.others > 1 {
                differs = own_fields.iter().any(|field| !field.usual && self.differs(*field));
                out.write_bool(differs);
            }
            for field in own_fields {
                if !field.usual {
                    if !differs {
                        continue;
                    }
                    let changed = self.differs(*field);
                    out.write_bool(changed);
                    if !changed {
                        continue;
                    }
                }
                self.encode_field(*field, row, !field.usual, out);
            }
        }
    }

    fn encode_flagged(&self, row: &[u32], out: &mut BitWriter) {
        let mut fields = self.fields.as_slice();
        for component in &self.components {
            let own_fields = fields.split_off(..component.fields as usize).unwrap_or_default();
            if self.components.len() != 1 {
                let changed = own_fields.iter().any(|field| self.differs(*field));
                out.write_bool(changed);
                if !changed {
                    continue;
                }
            }
            for field in own_fields {
                if own_fields.len() != 1 {
                    let changed = self.differs(*field);
                    out.write_bool(changed);
                    if !changed {
                        continue;
                    }
                }
                self.encode_field(*field, row, true, out);
            }
        }
    }

    /// Whether a lane of the field is not as expected.
    fn differs(&self, field: FieldPlan) -> bool {
        field.of(&self.work).iter().any(|lane| lane.residual != 0)
    }

    /// Writes the lanes of a field; silent ones only if all are asked for.
    fn encode_field(&self, field: FieldPlan, row: &[u32], with_silent: bool, out: &mut BitWriter) {
        match field.codec {
            LaneCodec::Integer => {
                let work = field.of(&self.work);
                let class = field.class_of(work);
                for (lane, plan) in work.iter().zip(field.of(&self.lanes)) {
                    let parameter = plan.parameter(class);
                    if parameter != u32::from(SILENT) {
                        let mut writer = RiceWriter::new(out);
                        writer.write(lane.residual, parameter);
                        writer.flush();
                    } else if with_silent {
                        out.write_packed(lane.residual);
                    }
                }
            }
            LaneCodec::Float => field.of(row).iter().for_each(|lane| out.write_u32(*lane)),
            LaneCodec::Bit => field.of(row).iter().for_each(|lane| out.write_bool(*lane != 0)),
        }
    }

    /// Reads a row of any form but the plain one into `row`, which is overwritten; in part, if that ends in an error.
    ///
    /// # Errors
    /// [`DecodeError::BadValue`] for the plain form and for rows of another length than the layout's, and what reading bits can end in.
    pub fn decode(
        &self,
        form: RowForm,
        from: BaseRows<'_>,
        row: &mut [u32],
        input: &mut BitReader<'_>,
    ) -> Result<(), DecodeError> {
        let lanes = self.expect(form, from, row)?;
        match form {
            RowForm::Usual => decode_usual(&self.fields, lanes, row, input),
            RowForm::Mixed => self.decode_mixed(lanes, row, input, |_| ()),
            RowForm::Flagged | RowForm::Plain => self.decode_flagged(lanes, row, input, |_| ()),
        }
    }

    /// Reads a row as [`decode`](Self::decode) does, and calls `after` behind the bits of each component, which begin with its flags: to see what
    /// a row's bits are spent on.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_by_component(
        &self,
        form: RowForm,
        from: BaseRows<'_>,
        row: &mut [u32],
        input: &mut BitReader<'_>,
        after: impl FnMut(&BitReader<'_>),
    ) -> Result<(), DecodeError> {
        let lanes = self.expect(form, from, row)?;
        match form {
            RowForm::Usual => self.decode_usual_by_component(lanes, row, input, after),
            RowForm::Mixed => self.decode_mixed(lanes, row, input, after),
            RowForm::Flagged | RowForm::Plain => self.decode_flagged(lanes, row, input, after),
        }
    }

    /// Makes the row what it is expected to be.
    #[inline]
    fn expect<'a>(&'a self, form: RowForm, from: BaseRows<'a>, row: &mut [u32]) -> Result<Lanes<'a>, DecodeError> {
        let count = self.lanes.len();
        let lengths = [row.len(), from.base.len(), from.earlier.len(), from.earliest.len()];
        if lengths != [count; 4] || form == RowForm::Plain {
            return Err(DecodeError::BadValue { what: "row length" });
        }
        let before = self.lanes.iter().zip(from.base).zip(from.earlier).zip(from.earliest);
        for (lane, (((plan, base), earlier), earliest)) in row.iter_mut().zip(before) {
            *lane = plan.steps.expect(*base, *earlier, *earliest);
        }
        Ok(Lanes { plans: &self.lanes, base: from.base, earlier: from.earlier })
    }

    /// As [`decode_usual`], which knows of no components because it is faster so.
    fn decode_usual_by_component(
        &self,
        mut lanes: Lanes<'_>,
        mut row: &mut [u32],
        input: &mut BitReader<'_>,
        mut after: impl FnMut(&BitReader<'_>),
    ) -> Result<(), DecodeError> {
        let mut fields = self.fields.as_slice();
        for component in &self.components {
            for field in fields.split_off(..component.fields as usize).unwrap_or_default() {
                let own = row.split_off_mut(..usize::from(field.lanes)).unwrap_or_default();
                let own_lanes = lanes.take(field.lanes);
                if field.usual {
                    field.decode(own_lanes, own, false, input)?;
                }
            }
            after(input);
        }
        Ok(())
    }

    fn decode_mixed(
        &self,
        mut lanes: Lanes<'_>,
        mut row: &mut [u32],
        input: &mut BitReader<'_>,
        mut after: impl FnMut(&BitReader<'_>),
    ) -> Result<(), DecodeError> {
        let mut fields = self.fields.as_slice();
        for component in &self.components {
            let own_fields = fields.split_off(..component.fields as usize).unwrap_or_default();
            let differs = component.others == 1 || component.others > 1 && input.read_bool()?;
            for field in own_fields {
                let own = row.split_off_mut(..usize::from(field.lanes)).unwrap_or_default();
                let own_lanes = lanes.take(field.lanes);
                if field.usual || differs && input.read_bool()? {
                    field.decode(own_lanes, own, !field.usual, input)?;
                }
            }
            after(input);
        }
        Ok(())
    }

    fn decode_flagged(
        &self,
        mut lanes: Lanes<'_>,
        mut row: &mut [u32],
        input: &mut BitReader<'_>,
        mut after: impl FnMut(&BitReader<'_>),
    ) -> Result<(), DecodeError> {
        let mut fields = self.fields.as_slice();
        for component in &self.components {
            let own_fields = fields.split_off(..component.fields as usize).unwrap_or_default();
            let changed = self.components.len() == 1 || input.read_bool()?;
            for field in own_fields {
                let own = row.split_off_mut(..usize::from(field.lanes)).unwrap_or_default();
                let own_lanes = lanes.take(field.lanes);
                if changed && (own_fields.len() == 1 || input.read_bool()?) {
                    field.decode(own_lanes, own, true, input)?;
                }
            }
            after(input);
        }
        Ok(())
    }
}

/// How far a lane moved.
#[inline]
const fn speed(base: u32, earlier: u32) -> u32 {
    base.wrapping_sub(earlier).cast_signed().unsigned_abs()
}

/// A run of lanes with what they were before.
#[derive(Clone, Copy)]
struct Lanes<'a> {
    plans: &'a [LanePlan],
    base: &'a [u32],
    earlier: &'a [u32],
}

impl Lanes<'_> {
    #[inline]
    fn take(&mut self, count: u8) -> Self {
        let count = usize::from(count);
        Self {
            plans: self.plans.split_off(..count).unwrap_or_default(),
            base: self.base.split_off(..count).unwrap_or_default(),
            earlier: self.earlier.split_off(..count).unwrap_or_default(),
        }
    }
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

    #[inline]
    fn class_of(self, lanes: &[LaneWork]) -> u32 {
        self.class(lanes.iter().fold(0, |most, lane| most.max(lane.speed)))
    }

    #[inline]
    fn class_before(self, lanes: Lanes<'_>) -> u32 {
        let speeds = lanes.base.iter().zip(lanes.earlier).map(|(base, earlier)| speed(*base, *earlier));
        self.class(speeds.fold(0, u32::max))
    }

    /// Reads the lanes of the field over what was expected of them.
    #[inline]
    fn decode(
        self,
        lanes: Lanes<'_>,
        row: &mut [u32],
        with_silent: bool,
        input: &mut BitReader<'_>,
    ) -> Result<(), DecodeError> {
        match self.codec {
            LaneCodec::Integer => {
                let class = self.class_before(lanes);
                for (lane, plan) in row.iter_mut().zip(lanes.plans) {
                    let parameter = plan.parameter(class);
                    let residual = if parameter != u32::from(SILENT) {
                        read_rice(parameter, input)?
                    } else if with_silent {
                        input.read_packed()?
                    } else {
                        continue;
                    };
                    *lane = lane.wrapping_add(un_zig_zag(residual).cast_unsigned());
                }
            }
            LaneCodec::Float => {
                for lane in row {
                    *lane = input.read_u32()?;
                }
            }
            LaneCodec::Bit => {
                for lane in row {
                    *lane = u32::from(input.read_bool()?);
                }
            }
        }
        Ok(())
    }
}

fn decode_usual(
    fields: &[FieldPlan],
    mut lanes: Lanes<'_>,
    mut row: &mut [u32],
    input: &mut BitReader<'_>,
) -> Result<(), DecodeError> {
    for field in fields {
        let own = row.split_off_mut(..usize::from(field.lanes)).unwrap_or_default();
        let own_lanes = lanes.take(field.lanes);
        if field.usual {
            field.decode(own_lanes, own, false, input)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::model::CLASSES;
    use super::super::model::tests::{any_layout, layout, model};
    use super::*;
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

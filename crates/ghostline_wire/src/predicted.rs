//! A row against a prediction, `docs/wire-format.md` section 5.6: what snapshots are mostly made of.
//! Both ends predict a row from two rows that both surely hold; what is left over is coded with parameters that the packet names.
//! Which baselines and which parameters is the server's choice; the same bits go to all clients that share them.

use crate::bits::{BitReader, BitWriter};
use crate::error::DecodeError;
use crate::packed::{un_zig_zag, zig_zag};
use crate::schema::{FieldLayout, LaneCodec, RowLayout};

/// The longest age of a baseline, and the longest span to the earlier row, that a slope is drawn over.
pub const MAX_SLOPE_TICKS: u32 = 255;
/// Quotients from here on are written as packed integers.
const ESCAPE: u32 = 12;
/// Bits of a lane's parameter.
const PARAMETER_BITS: u32 = 4;

/// How a field is predicted and flagged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FieldModel {
    /// Rows of the usual form carry it, whether it differs or not.
    pub usual: bool,
    /// Predicted along the slope; else it is expected to stay as in the baseline.
    pub linear: bool,
}

/// The parameters of one ghost type for one baseline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowModel {
    /// One per field.
    pub fields: Vec<FieldModel>,
    /// One per lane, 0 to 15: so many low bits are written as they are. Of integers; others have none.
    pub parameters: Vec<u8>,
}

impl RowModel {
    /// The model with all parameters 0, nothing usual, nothing along a slope.
    #[must_use]
    pub fn new(layout: &RowLayout) -> Self {
        let mut model = Self::default();
        model.fit(layout);
        model
    }

    /// Gives it the sizes of a layout.
    fn fit(&mut self, layout: &RowLayout) {
        self.fields.resize(layout.fields.len(), FieldModel::default());
        self.parameters.resize(layout.lanes(), 0);
    }

    /// Bits of [`write`](Self::write).
    #[must_use]
    pub fn bit_len(layout: &RowLayout) -> usize {
        layout.lanes().saturating_mul(PARAMETER_BITS as usize).saturating_add(layout.fields.len().saturating_mul(2))
    }

    /// Writes it: per field two flags, then the parameters of its integer lanes.
    pub fn write(&self, layout: &RowLayout, out: &mut BitWriter) {
        let mut parameters = self.parameters.iter();
        for (field, model) in layout.fields.iter().zip(&self.fields) {
            out.write_bool(model.usual);
            out.write_bool(model.linear);
            for parameter in parameters.by_ref().take(usize::from(field.lanes)) {
                if field.codec == LaneCodec::Integer {
                    out.write_bits(u32::from(*parameter), PARAMETER_BITS);
                }
            }
        }
    }

    /// Reads what [`write`](Self::write) wrote, for the same layout.
    ///
    /// # Errors
    /// What reading bits can end in.
    pub fn read(&mut self, layout: &RowLayout, input: &mut BitReader<'_>) -> Result<(), DecodeError> {
        self.fit(layout);
        let mut parameters = self.parameters.iter_mut();
        for (field, model) in layout.fields.iter().zip(&mut self.fields) {
            *model = FieldModel { usual: input.read_bool()?, linear: input.read_bool()? };
            for parameter in parameters.by_ref().take(usize::from(field.lanes)) {
                *parameter = if field.codec == LaneCodec::Integer { input.read_bits(PARAMETER_BITS)? as u8 } else { 0 };
            }
        }
        Ok(())
    }
}

/// What a chunk's predicted rows start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PredictionBase {
    /// Ticks from the baseline to the packet's tick, 1 or more.
    pub age: u32,
    /// Ticks from the earlier row to the baseline; 0: there is none, and no slope.
    pub span: u32,
}

impl PredictionBase {
    /// Writes the two numbers.
    pub fn write(self, out: &mut BitWriter) {
        out.write_packed(self.age);
        out.write_packed(self.span);
    }

    /// Reads the two numbers.
    ///
    /// # Errors
    /// [`DecodeError::BadValue`] for age 0, [`DecodeError::LimitExceeded`] beyond 255 ticks, and what reading bits can end in.
    pub fn read(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        let age = DecodeError::check_limit("baseline age", MAX_SLOPE_TICKS, input.read_packed()?)?;
        let span = DecodeError::check_limit("slope span", MAX_SLOPE_TICKS, input.read_packed()?)?;
        if age == 0 {
            return Err(DecodeError::BadValue { what: "baseline age" });
        }
        Ok(Self { age, span })
    }
}

/// Where a lane is expected to be: `base + (base − earlier) × age / span`, in steps of 1/65536, rounded half up; all of it wraps.
#[inline]
fn extrapolate(base: u32, earlier: u32, ratio: i64) -> u32 {
    let step = i64::from(base.wrapping_sub(earlier).cast_signed());
    let ahead = step.wrapping_mul(ratio).wrapping_add(1 << 15) >> 16;
    base.wrapping_add(ahead as u32)
}

/// Predicts a row from its baseline and an earlier row. `into` is overwritten.
///
/// Without an earlier row, or with a span of 0, the prediction is the baseline.
pub fn predict_row(
    layout: &RowLayout,
    model: &RowModel,
    at: PredictionBase,
    base: &[u32],
    earlier: Option<&[u32]>,
    into: &mut Vec<u32>,
) {
    into.clear();
    into.extend_from_slice(base);
    let Some(ratio) = (i64::from(at.age) << 16).checked_div(i64::from(at.span)) else { return };
    let Some(earlier) = earlier else { return };
    let mut lanes = into.iter_mut().zip(earlier);
    for (field, model) in layout.fields.iter().zip(&model.fields) {
        let own = lanes.by_ref().take(usize::from(field.lanes));
        if model.linear && field.codec == LaneCodec::Integer {
            own.for_each(|(lane, earlier)| *lane = extrapolate(*lane, *earlier, ratio));
        } else {
            own.for_each(drop);
        }
    }
}

/// Every lane of a row moved on along its slope, whatever its field; `at.span` of 0 leaves the baseline. For learning what to predict.
pub fn extrapolate_row(at: PredictionBase, base: &[u32], earlier: &[u32], into: &mut Vec<u32>) {
    let ratio = (i64::from(at.age) << 16).checked_div(i64::from(at.span)).unwrap_or(0);
    into.clear();
    into.extend(base.iter().zip(earlier).map(|(base, earlier)| extrapolate(*base, *earlier, ratio)));
}

/// How a row of a predicted chunk is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowForm {
    /// `1`: the model's usual fields, without flags.
    Usual,
    /// `01`: against the prediction, with flags as in section 5.5.
    Flagged,
    /// `00`: a ghost body and a row of section 5.5.
    Plain,
}

impl RowForm {
    /// Writes the form's code.
    pub fn write(self, out: &mut BitWriter) {
        match self {
            Self::Usual => out.write_bits(1, 1),
            Self::Flagged => out.write_bits(0b10, 2),
            Self::Plain => out.write_bits(0, 2),
        }
    }

    /// Reads a form's code.
    ///
    /// # Errors
    /// What reading bits can end in.
    pub fn read(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        if input.read_bool()? {
            return Ok(Self::Usual);
        }
        Ok(if input.read_bool()? { Self::Flagged } else { Self::Plain })
    }
}

/// Writes a row against its prediction, form code included: the usual form if it can say all, else the flagged one.
pub fn encode_predicted_row(
    layout: &RowLayout,
    model: &RowModel,
    row: &[u32],
    prediction: &[u32],
    out: &mut BitWriter,
) {
    let lanes = || row.iter().zip(prediction);
    let mut rest = lanes();
    let is_usual = layout.fields.iter().zip(&model.fields).all(|(field, model)| {
        let differs = rest.by_ref().take(usize::from(field.lanes)).fold(false, |any, (lane, p)| any | (lane != p));
        model.usual || !differs
    });
    let form = if is_usual { RowForm::Usual } else { RowForm::Flagged };
    form.write(out);
    let mut rest = Lanes { row, prediction, parameters: &model.parameters };
    if is_usual {
        for (field, model) in layout.fields.iter().zip(&model.fields) {
            let own = rest.take(usize::from(field.lanes));
            if model.usual {
                own.encode(field.codec, out);
            }
        }
        return;
    }
    let mut fields = layout.fields.as_slice();
    for component in &layout.components {
        let Some(own_fields) = fields.split_off(..component.fields as usize) else { return };
        let mut own = rest.take(component.lanes as usize);
        if layout.components.len() != 1 {
            out.write_bool(own.differ());
            if !own.differ() {
                continue;
            }
        }
        for field in own_fields {
            let lanes = own.take(usize::from(field.lanes));
            if own_fields.len() != 1 {
                out.write_bool(lanes.differ());
                if !lanes.differ() {
                    continue;
                }
            }
            lanes.encode(field.codec, out);
        }
    }
}

/// A run of lanes with what they were predicted as.
#[derive(Clone, Copy)]
struct Lanes<'a> {
    row: &'a [u32],
    prediction: &'a [u32],
    parameters: &'a [u8],
}

impl Lanes<'_> {
    #[inline]
    fn take(&mut self, count: usize) -> Self {
        Self {
            row: self.row.split_off(..count).unwrap_or(&[]),
            prediction: self.prediction.split_off(..count).unwrap_or(&[]),
            parameters: self.parameters.split_off(..count).unwrap_or(&[]),
        }
    }

    #[inline]
    fn differ(&self) -> bool {
        self.row.iter().zip(self.prediction).any(|(lane, prediction)| lane != prediction)
    }

    #[inline]
    fn encode(self, codec: LaneCodec, out: &mut BitWriter) {
        match codec {
            LaneCodec::Integer => {
                for ((lane, prediction), parameter) in self.row.iter().zip(self.prediction).zip(self.parameters) {
                    write_rice(zig_zag(lane.wrapping_sub(*prediction).cast_signed()), *parameter, out);
                }
            }
            LaneCodec::Float => self.row.iter().for_each(|lane| out.write_u32(*lane)),
            LaneCodec::Bit => self.row.iter().for_each(|lane| out.write_bool(*lane != 0)),
        }
    }
}

/// Reads a row of the usual or the flagged form. `row` holds the prediction and is overwritten with the row.
///
/// # Errors
/// [`DecodeError::BadValue`] if `row` has not [`layout.lanes()`](RowLayout::lanes) lanes or the form is another, and what reading bits can end
/// in. `row` is in part overwritten then.
pub fn decode_predicted_row(
    layout: &RowLayout,
    model: &RowModel,
    form: RowForm,
    row: &mut [u32],
    input: &mut BitReader<'_>,
) -> Result<(), DecodeError> {
    if row.len() != layout.lanes() || model.parameters.len() != row.len() || form == RowForm::Plain {
        return Err(DecodeError::BadValue { what: "row length" });
    }
    let mut lanes = row;
    let mut parameters = model.parameters.as_slice();
    if form == RowForm::Usual {
        for (field, model) in layout.fields.iter().zip(&model.fields) {
            let (own, own_parameters) = take_lanes(&mut lanes, &mut parameters, usize::from(field.lanes))?;
            if model.usual {
                decode_lanes(field, own, own_parameters, input)?;
            }
        }
        return Ok(());
    }
    let mut fields = layout.fields.as_slice();
    for component in &layout.components {
        let Some(own_fields) = fields.split_off(..component.fields as usize) else { return Ok(()) };
        let (mut own, mut own_parameters) = take_lanes(&mut lanes, &mut parameters, component.lanes as usize)?;
        if layout.components.len() != 1 && !input.read_bool()? {
            continue;
        }
        for field in own_fields {
            let (lanes, parameters) = take_lanes(&mut own, &mut own_parameters, usize::from(field.lanes))?;
            if own_fields.len() == 1 || input.read_bool()? {
                decode_lanes(field, lanes, parameters, input)?;
            }
        }
    }
    Ok(())
}

#[inline]
fn take_lanes<'a, 'b>(
    lanes: &mut &'a mut [u32],
    parameters: &mut &'b [u8],
    count: usize,
) -> Result<(&'a mut [u32], &'b [u8]), DecodeError> {
    lanes.split_off_mut(..count).zip(parameters.split_off(..count)).ok_or(DecodeError::BadValue { what: "row length" })
}

#[inline]
fn decode_lanes(
    field: &FieldLayout,
    lanes: &mut [u32],
    parameters: &[u8],
    input: &mut BitReader<'_>,
) -> Result<(), DecodeError> {
    for (lane, parameter) in lanes.iter_mut().zip(parameters) {
        match field.codec {
            LaneCodec::Integer => {
                *lane = lane.wrapping_add(un_zig_zag(read_rice(*parameter, input)?).cast_unsigned());
            }
            LaneCodec::Float => *lane = input.read_u32()?,
            LaneCodec::Bit => *lane = u32::from(input.read_bool()?),
        }
    }
    Ok(())
}

/// Zeros for the quotient, a one, the low bits; from 12 zeros on the rest of the quotient as a packed integer.
#[inline]
fn write_rice(value: u32, parameter: u8, out: &mut BitWriter) {
    let parameter = u32::from(parameter & 15);
    let quotient = value.wrapping_shr(parameter);
    let low = value & 1u32.wrapping_shl(parameter).wrapping_sub(1);
    if quotient < ESCAPE {
        let code = 1u32.wrapping_shl(quotient) | low.wrapping_shl(quotient.wrapping_add(1));
        out.write_bits(code, quotient.wrapping_add(1).wrapping_add(parameter));
    } else {
        out.write_bits(0, ESCAPE);
        out.write_packed(quotient.wrapping_sub(ESCAPE));
        out.write_bits(low, parameter);
    }
}

#[inline]
fn read_rice(parameter: u8, input: &mut BitReader<'_>) -> Result<u32, DecodeError> {
    let parameter = u32::from(parameter & 15);
    let zeros = input.read_zeros(ESCAPE)?;
    let quotient = if zeros < ESCAPE { zeros } else { input.read_packed()?.saturating_add(ESCAPE) };
    let low = input.read_bits(parameter)?;
    if quotient > u32::MAX.wrapping_shr(parameter) {
        return Err(DecodeError::BadValue { what: "residual" });
    }
    Ok(quotient.wrapping_shl(parameter) | low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{ComponentSchema, FieldKind, FieldSchema, Smoothing};
    use proptest::prelude::*;

    fn layout(components: &[&[FieldKind]]) -> RowLayout {
        let field = |kind: &FieldKind| FieldSchema {
            name: "f".into(),
            kind: *kind,
            quantization: if kind.is_float() { 1 } else { 0 },
            smoothing: Smoothing::Clamp,
            max_smoothing_distance: None,
        };
        let schemas: Vec<ComponentSchema> = components
            .iter()
            .map(|fields| ComponentSchema { name: "C".into(), fields: fields.iter().map(field).collect() })
            .collect();
        RowLayout::new(&schemas)
    }

    fn any_layout() -> impl Strategy<Value = RowLayout> {
        use FieldKind::{Bool, I32, Quat, U8, U64, Vec3};
        let kind = proptest::sample::select(vec![Bool, I32, Quat, U8, U64, Vec3]);
        let component = proptest::collection::vec(kind, 0..4);
        proptest::collection::vec(component, 0..4).prop_map(|components| {
            let slices: Vec<&[FieldKind]> = components.iter().map(Vec::as_slice).collect();
            layout(&slices)
        })
    }

    fn lane() -> impl Strategy<Value = u32> {
        prop_oneof![Just(0), 0..40u32, any::<u32>(), Just(u32::MAX), (-300..300i32).prop_map(i32::cast_unsigned)]
    }

    fn model(layout: &RowLayout, seed: &[u8]) -> RowModel {
        let mut model = RowModel::new(layout);
        let mut seed = seed.iter().copied().cycle();
        for field in &mut model.fields {
            let next = seed.next().unwrap();
            *field = FieldModel { usual: next & 1 == 1, linear: next & 2 == 2 };
        }
        let codecs = layout.fields.iter().flat_map(|field| vec![field.codec; usize::from(field.lanes)]);
        for (parameter, codec) in model.parameters.iter_mut().zip(codecs) {
            *parameter = if codec == LaneCodec::Integer { seed.next().unwrap() & 15 } else { 0 };
        }
        model
    }

    proptest! {
        #[test]
        fn any_row_comes_back_from_any_prediction_with_any_model(
            layout in any_layout(),
            lanes in proptest::collection::vec(lane(), 192),
            seed in proptest::collection::vec(any::<u8>(), 1..40),
            at in (1..=MAX_SLOPE_TICKS, 0..=MAX_SLOPE_TICKS),
        ) {
            let count = layout.lanes();
            let mut row = lanes[..count].to_vec();
            let mut place = 0;
            for field in &layout.fields {
                for lane in &mut row[place..place + usize::from(field.lanes)] {
                    if field.codec == LaneCodec::Bit {
                        *lane &= 1;
                    }
                }
                place += usize::from(field.lanes);
            }
            let (base, earlier) = (&lanes[64..64 + count], &lanes[128..128 + count]);
            let (model, at) = (model(&layout, &seed), PredictionBase { age: at.0, span: at.1 });
            let mut out = BitWriter::new();
            at.write(&mut out);
            model.write(&layout, &mut out);
            let mut prediction = Vec::new();
            predict_row(&layout, &model, at, base, Some(earlier), &mut prediction);
            encode_predicted_row(&layout, &model, &row, &prediction, &mut out);

            let mut input = BitReader::with_bits(out.as_bytes(), out.bit_len());
            prop_assert_eq!(PredictionBase::read(&mut input), Ok(at));
            let mut read = RowModel::default();
            prop_assert_eq!(read.read(&layout, &mut input), Ok(()));
            prop_assert_eq!(&read, &model);
            let form = RowForm::read(&mut input).unwrap();
            let mut decoded = prediction.clone();
            prop_assert_eq!(decode_predicted_row(&layout, &read, form, &mut decoded, &mut input), Ok(()));
            prop_assert_eq!(decoded, row);
            prop_assert!(input.is_empty());
        }

        #[test]
        fn any_bits_end_in_a_row_or_an_error(
            layout in any_layout(),
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut input = BitReader::new(&bytes);
            let mut model = RowModel::default();
            let _ = PredictionBase::read(&mut input);
            if model.read(&layout, &mut input).is_ok() {
                let mut row = vec![7; layout.lanes()];
                while let Ok(form) = RowForm::read(&mut input) {
                    if decode_predicted_row(&layout, &model, form, &mut row, &mut input).is_err() || layout.lanes() == 0 {
                        break;
                    }
                }
            }
        }
    }

    #[test]
    fn a_steady_motion_costs_two_bits_a_lane_and_one_for_the_form() {
        let layout = layout(&[&[FieldKind::Vec3], &[FieldKind::U8]]);
        let mut model = RowModel::new(&layout);
        model.fields[0] = FieldModel { usual: true, linear: true };
        let at = PredictionBase { age: 6, span: 3 };
        let mut prediction = Vec::new();
        predict_row(&layout, &model, at, &[100, 50, 7, 9], Some(&[70, 80, 7, 8]), &mut prediction);
        assert_eq!(prediction, [160, 10u32.wrapping_neg(), 7, 9], "the last field stays as it is");
        let mut out = BitWriter::new();
        encode_predicted_row(&layout, &model, &[160, 10u32.wrapping_neg(), 7, 9], &prediction, &mut out);
        assert_eq!((out.bit_len(), out.as_bytes()), (4, &[0b1111][..]));
        out.clear();
        encode_predicted_row(&layout, &model, &[160, 10u32.wrapping_neg(), 7, 10], &prediction, &mut out);
        // 01; 0 for the first component; 1 and the code of a difference of 1 for the second.
        assert_eq!((out.bit_len(), out.as_bytes()), (7, &[0b100_1010][..]));
    }

    #[test]
    fn what_no_server_writes_is_malformed() {
        let read = |age: u32, span: u32| {
            let mut out = BitWriter::new();
            out.write_packed(age);
            out.write_packed(span);
            PredictionBase::read(&mut BitReader::new(out.as_bytes()))
        };
        assert_eq!(read(0, 1), Err(DecodeError::BadValue { what: "baseline age" }));
        assert_eq!(read(256, 1), Err(DecodeError::LimitExceeded { what: "baseline age", limit: 255, got: 256 }));
        assert_eq!(read(1, 256), Err(DecodeError::LimitExceeded { what: "slope span", limit: 255, got: 256 }));
        let mut out = BitWriter::new();
        out.write_bits(0, ESCAPE);
        out.write_packed(u32::MAX);
        out.write_bits(0, 15);
        assert_eq!(read_rice(15, &mut BitReader::new(out.as_bytes())), Err(DecodeError::BadValue { what: "residual" }));
    }
}

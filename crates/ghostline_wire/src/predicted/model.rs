//! The parameters of a ghost type's rows: which fields usually change, how they are predicted, and how large what is left over is.
//! Learned by the server; told to clients by number, defined in packets until one that defined it is acknowledged.

use crate::bits::{BitReader, BitWriter};
use crate::error::DecodeError;
use crate::schema::{LaneCodec, RowLayout};

/// Classes of a field by its speed: at rest, slow, fast.
pub const CLASSES: usize = 3;
/// The parameter of a lane that takes no bits.
pub const SILENT: u8 = 15;
/// The parameter before the first one.
const FIRST_PARAMETER: u8 = 4;
const PARAMETER_BITS: u32 = 4;
const BORDER_BITS: u32 = 4;
/// The lowest border that can be told.
const LEAST_BORDER: u8 = 2;

/// How the lanes of a field are expected to go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// As they were.
    #[default]
    Stay,
    /// Along the slope between two rows.
    Slope,
    /// Along the curve through three rows.
    Curve,
}

impl Order {
    const fn code(self) -> u32 {
        match self {
            Self::Stay => 0,
            Self::Slope => 1,
            Self::Curve => 2,
        }
    }

    const fn from_code(code: u32) -> Result<Self, DecodeError> {
        match code {
            0 => Ok(Self::Stay),
            1 => Ok(Self::Slope),
            2 => Ok(Self::Curve),
            _ => Err(DecodeError::BadValue { what: "order of a prediction" }),
        }
    }
}

/// How a field is predicted and flagged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FieldModel {
    /// Rows of the usual form carry it, whether it differs or not.
    pub usual: bool,
    /// How its integer lanes are predicted.
    pub order: Order,
    /// Bits of the speed from which on the field counts as fast, 2 to 17; `None`: one class for all speeds.
    pub border: Option<u8>,
}

/// The parameters of one ghost type for baselines of one age.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowModel {
    /// One per field.
    pub fields: Vec<FieldModel>,
    /// By lane and class, 0 to 14: so many low bits are written as they are; 15: [`SILENT`]. Of integers; others have none. All classes of a
    /// field without a border are alike.
    pub parameters: Vec<[u8; CLASSES]>,
}

impl RowModel {
    /// The model with all parameters 0, nothing usual, everything expected to stay.
    #[must_use]
    pub fn new(layout: &RowLayout) -> Self {
        let mut model = Self::default();
        model.fit(layout);
        model
    }

    /// Makes it [`new`](Self::new) again, for this layout. Keeps its memory.
    pub fn fit(&mut self, layout: &RowLayout) {
        self.fields.clear();
        self.fields.resize(layout.fields.len(), FieldModel::default());
        self.parameters.clear();
        self.parameters.resize(layout.lanes(), [0; CLASSES]);
    }

    /// Bits of [`write`](Self::write), at most.
    #[must_use]
    pub fn most_bits(layout: &RowLayout) -> usize {
        const FIELD_BITS: usize = 1 + 2 + 1 + BORDER_BITS as usize;
        const LANE_BITS: usize = CLASSES * (1 + PARAMETER_BITS as usize);
        layout.fields.len().saturating_mul(FIELD_BITS).saturating_add(layout.lanes().saturating_mul(LANE_BITS))
    }

    /// Writes it for its layout.
    pub fn write(&self, layout: &RowLayout, out: &mut BitWriter) {
        let mut before = FIRST_PARAMETER;
        let mut parameters = self.parameters.as_slice();
        for (field, model) in layout.fields.iter().zip(&self.fields) {
            let own = parameters.split_off(..usize::from(field.lanes)).unwrap_or_default();
            out.write_bool(model.usual);
            if field.codec != LaneCodec::Integer {
                continue;
            }
            out.write_bits(model.order.code(), 2);
            out.write_bool(model.border.is_some());
            if let Some(border) = model.border {
                out.write_bits(u32::from(border.saturating_sub(LEAST_BORDER)), BORDER_BITS);
            }
            for class in 0..model.classes() {
                for parameter in own.iter().filter_map(|classes| classes.get(class)) {
                    let same = *parameter == before;
                    out.write_bool(same);
                    if !same {
                        out.write_bits(u32::from(*parameter), PARAMETER_BITS);
                    }
                    before = *parameter;
                }
            }
        }
    }

    /// Reads what [`write`](Self::write) wrote, for the same layout.
    ///
    /// # Errors
    /// [`DecodeError::BadValue`] for an order that there isn't, and what reading bits can end in.
    pub fn read(&mut self, layout: &RowLayout, input: &mut BitReader<'_>) -> Result<(), DecodeError> {
        self.fit(layout);
        let mut before = FIRST_PARAMETER;
        let mut parameters = self.parameters.as_mut_slice();
        for (field, model) in layout.fields.iter().zip(&mut self.fields) {
            let own = parameters.split_off_mut(..usize::from(field.lanes)).unwrap_or_default();
            model.usual = input.read_bool()?;
            if field.codec != LaneCodec::Integer {
                continue;
            }
            model.order = Order::from_code(input.read_bits(2)?)?;
            if input.read_bool()? {
                model.border = Some((input.read_bits(BORDER_BITS)? as u8).saturating_add(LEAST_BORDER));
            }
            for class in 0..model.classes() {
                for parameter in own.iter_mut().filter_map(|classes| classes.get_mut(class)) {
                    if !input.read_bool()? {
                        before = input.read_bits(PARAMETER_BITS)? as u8;
                    }
                    *parameter = before;
                }
            }
            if model.border.is_none() {
                own.iter_mut().for_each(|[first, rest @ ..]| *rest = [*first; CLASSES - 1]);
            }
        }
        Ok(())
    }
}

impl FieldModel {
    const fn classes(&self) -> usize {
        if self.border.is_some() { CLASSES } else { 1 }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::schema::{ComponentSchema, FieldKind, FieldSchema, Smoothing};
    use proptest::prelude::*;

    pub(crate) fn layout(components: &[&[FieldKind]]) -> RowLayout {
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

    pub(crate) fn any_layout() -> impl Strategy<Value = RowLayout> {
        use FieldKind::{Bool, I32, Quat, U8, U64, Vec3};
        let kind = proptest::sample::select(vec![Bool, I32, Quat, U8, U64, Vec3]);
        let component = proptest::collection::vec(kind, 0..4);
        proptest::collection::vec(component, 0..4).prop_map(|components| {
            let slices: Vec<&[FieldKind]> = components.iter().map(Vec::as_slice).collect();
            layout(&slices)
        })
    }

    /// A model out of random bytes.
    pub(crate) fn model(layout: &RowLayout, seed: &[u8]) -> RowModel {
        let mut model = RowModel::new(layout);
        let mut seed = seed.iter().copied().cycle();
        let mut next = || seed.next().unwrap_or(0);
        let mut parameters = model.parameters.as_mut_slice();
        for (field, model) in layout.fields.iter().zip(&mut model.fields) {
            let own = parameters.split_off_mut(..usize::from(field.lanes)).unwrap();
            model.usual = next() & 1 == 1;
            if field.codec == LaneCodec::Integer {
                model.order = [Order::Stay, Order::Slope, Order::Curve][usize::from(next() % 3)];
                model.border = (next() & 1 == 1).then(|| LEAST_BORDER + (next() & 15));
                for classes in own {
                    let first = next() & 15;
                    *classes = if model.border.is_some() { [first, next() & 15, next() & 15] } else { [first; 3] };
                }
            }
        }
        model
    }

    proptest! {
        #[test]
        fn any_model_comes_back_within_the_bits_that_are_promised(
            layout in any_layout(),
            seed in proptest::collection::vec(any::<u8>(), 1..40),
        ) {
            let model = model(&layout, &seed);
            let mut out = BitWriter::new();
            model.write(&layout, &mut out);
            prop_assert!(out.bit_len() <= RowModel::most_bits(&layout));
            let mut read = RowModel::default();
            let mut input = BitReader::with_bits(out.as_bytes(), out.bit_len());
            prop_assert_eq!(read.read(&layout, &mut input), Ok(()));
            prop_assert!(input.is_empty());
            prop_assert_eq!(read, model);
        }
    }

    #[test]
    fn equal_parameters_cost_a_bit_each() {
        let layout = layout(&[&[FieldKind::Vec3]]);
        let mut model = RowModel::new(&layout);
        model.parameters.fill([4; 3]);
        let mut out = BitWriter::new();
        model.write(&layout, &mut out);
        assert_eq!(out.bit_len(), 1 + 2 + 1 + 3);
    }

    #[test]
    fn an_order_that_there_is_not_is_malformed() {
        let layout = layout(&[&[FieldKind::I32]]);
        let error = Err(DecodeError::BadValue { what: "order of a prediction" });
        assert_eq!(RowModel::default().read(&layout, &mut BitReader::new(&[0b110])), error);
    }
}

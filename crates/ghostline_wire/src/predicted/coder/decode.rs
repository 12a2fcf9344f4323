//! The client's half: rows out of bits. Total: any bits end in a row or an error.

use super::super::base::BaseRows;
use super::super::model::SILENT;
use super::super::rice::read_rice;
use super::{ComponentPlan, FieldPlan, LanePlan, RowCoder, RowForm, speed};
use crate::bits::BitReader;
use crate::error::DecodeError;
use crate::packed::un_zig_zag;
use crate::schema::LaneCodec;

impl RowCoder {
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
        lanes: Lanes<'_>,
        row: &mut [u32],
        input: &mut BitReader<'_>,
        after: impl FnMut(&BitReader<'_>),
    ) -> Result<(), DecodeError> {
        self.walk(lanes, row, input, after, |_, _| Ok(true), |_, field, _, _| Ok(field.usual.then_some(false)))
    }

    fn decode_mixed(
        &self,
        lanes: Lanes<'_>,
        row: &mut [u32],
        input: &mut BitReader<'_>,
        after: impl FnMut(&BitReader<'_>),
    ) -> Result<(), DecodeError> {
        self.walk(
            lanes,
            row,
            input,
            after,
            |component, input| Ok(component.others == 1 || component.others > 1 && input.read_bool()?),
            |_, field, differs, input| Ok((field.usual || differs && input.read_bool()?).then_some(!field.usual)),
        )
    }

    fn decode_flagged(
        &self,
        lanes: Lanes<'_>,
        row: &mut [u32],
        input: &mut BitReader<'_>,
        after: impl FnMut(&BitReader<'_>),
    ) -> Result<(), DecodeError> {
        self.walk(
            lanes,
            row,
            input,
            after,
            |_, input| Ok(self.components.len() == 1 || input.read_bool()?),
            |component, _, changed, input| {
                Ok((changed && (component.fields == 1 || input.read_bool()?)).then_some(true))
            },
        )
    }

    /// Goes through a row component by component. `component_flag` reads what stands before its fields; `field_flag`, which is told of that, what stands
    /// before a field, and says whether the field follows, and if so whether with its silent lanes.
    #[inline]
    fn walk(
        &self,
        mut lanes: Lanes<'_>,
        mut row: &mut [u32],
        input: &mut BitReader<'_>,
        mut after: impl FnMut(&BitReader<'_>),
        component_flag: impl Fn(&ComponentPlan, &mut BitReader<'_>) -> Result<bool, DecodeError>,
        field_flag: impl Fn(&ComponentPlan, FieldPlan, bool, &mut BitReader<'_>) -> Result<Option<bool>, DecodeError>,
    ) -> Result<(), DecodeError> {
        let mut fields = self.fields.as_slice();
        for component in &self.components {
            let flag = component_flag(component, input)?;
            for field in fields.split_off(..component.fields as usize).unwrap_or_default() {
                let own = row.split_off_mut(..usize::from(field.lanes)).unwrap_or_default();
                let own_lanes = lanes.take(field.lanes);
                if let Some(with_silent) = field_flag(component, *field, flag, input)? {
                    field.decode(own_lanes, own, with_silent, input)?;
                }
            }
            after(input);
        }
        Ok(())
    }
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

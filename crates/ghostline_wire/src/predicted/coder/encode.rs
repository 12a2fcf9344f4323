//! The server's half: the shortest form that can say a row, and its bits.

use super::super::base::BaseRows;
use super::super::model::SILENT;
use super::super::rice::RiceWriter;
use super::{FieldPlan, LaneWork, RowCoder, RowForm, speed};
use crate::bits::BitWriter;
use crate::packed::zig_zag;
use crate::schema::LaneCodec;

impl RowCoder {
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
}

impl FieldPlan {
    #[inline]
    fn class_of(self, lanes: &[LaneWork]) -> u32 {
        self.class(lanes.iter().fold(0, |most, lane| most.max(lane.speed)))
    }
}

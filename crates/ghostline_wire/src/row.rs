//! A row against a base, `docs/wire-format.md` section 5.5: the hot path of snapshots, and the body of commands.
//! Rows are plain lanes that the ECS side collected; the base is a row that the other end surely holds, or zeros.
//! Three levels: components that did not change cost a bit, fields of those that did cost a bit, lanes their codec.

use crate::bits::{BitReader, BitWriter};
use crate::error::DecodeError;
use crate::schema::{FieldLayout, LaneCodec, RowLayout};

/// Whether two short runs of lanes differ. A plain loop with an early end: the runs are of one to a few lanes, for which
/// a call of `memcmp` or a vectorised loop costs more than it saves.
#[inline]
fn differs(row: &[u32], base: &[u32]) -> bool {
    row.iter().zip(base).any(|(lane, base)| lane != base)
}

/// Writes `row` as its difference from `base`; no base is a row of zeros.
///
/// Both have [`layout.lanes()`](RowLayout::lanes) lanes. One of another length is the caller's mistake; it is taken for zeros.
pub fn encode_row(layout: &RowLayout, row: &[u32], base: Option<&[u32]>, out: &mut BitWriter) {
    let lanes = layout.lanes();
    debug_assert_eq!(row.len(), lanes, "a row has the lanes of its layout");
    let zero = layout.zero.as_slice();
    let mut row = if row.len() == lanes { row } else { zero };
    let mut base = base.filter(|base| base.len() == lanes).unwrap_or(zero);

    let one_component = layout.components.len() == 1;
    let mut fields = layout.fields.as_slice();
    for component in &layout.components {
        let Some((new, old)) = take_lanes(&mut row, &mut base, component.lanes as usize) else {
            return;
        };
        let Some(own_fields) = fields.split_off(..component.fields as usize) else {
            return;
        };
        if !one_component {
            let changed = differs(new, old);
            out.write_bool(changed);
            if !changed {
                continue;
            }
        }
        encode_fields(own_fields, new, old, out);
    }
}

#[inline]
fn encode_fields(fields: &[FieldLayout], mut row: &[u32], mut base: &[u32], out: &mut BitWriter) {
    let one_field = fields.len() == 1;
    for field in fields {
        let Some((new, old)) = take_lanes(&mut row, &mut base, usize::from(field.lanes)) else {
            return;
        };
        if !one_field {
            let changed = differs(new, old);
            out.write_bool(changed);
            if !changed {
                continue;
            }
        }
        encode_field(field, new, old, out);
    }
}

/// Splits the first `count` lanes off a row and its base.
#[inline]
fn take_lanes<'a, 'b>(row: &mut &'a [u32], base: &mut &'b [u32], count: usize) -> Option<(&'a [u32], &'b [u32])> {
    Some((row.split_off(..count)?, base.split_off(..count)?))
}

#[inline]
fn encode_field(field: &FieldLayout, row: &[u32], base: &[u32], out: &mut BitWriter) {
    match field.codec {
        LaneCodec::Integer => {
            for (lane, base) in row.iter().zip(base) {
                out.write_delta(*lane, *base);
            }
        }
        LaneCodec::Float => {
            for lane in row {
                out.write_u32(*lane);
            }
        }
        LaneCodec::Bit => {
            for lane in row {
                out.write_bool(*lane != 0);
            }
        }
    }
}

/// Reads a row that was written against `base`; no base is a row of zeros. `row` is overwritten.
///
/// # Errors
/// [`DecodeError::BadValue`] if `row` or `base` has not [`layout.lanes()`](RowLayout::lanes) lanes, and what reading bits
/// can end in. `row` is in part overwritten then.
pub fn decode_row(
    layout: &RowLayout,
    base: Option<&[u32]>,
    row: &mut [u32],
    input: &mut BitReader<'_>,
) -> Result<(), DecodeError> {
    let lanes = layout.lanes();
    let base = base.unwrap_or(&layout.zero);
    if row.len() != lanes || base.len() != lanes {
        return Err(DecodeError::BadValue { what: "row length" });
    }
    row.copy_from_slice(base);
    let one_component = layout.components.len() == 1;
    let mut fields = layout.fields.as_slice();
    let mut rest = row;
    for component in &layout.components {
        let (Some(own_fields), Some(mut lanes)) =
            (fields.split_off(..component.fields as usize), rest.split_off_mut(..component.lanes as usize))
        else {
            return Ok(());
        };
        if !one_component && !input.read_bool()? {
            continue;
        }
        let one_field = own_fields.len() == 1;
        for field in own_fields {
            let Some(lanes) = lanes.split_off_mut(..usize::from(field.lanes)) else {
                return Ok(());
            };
            if one_field || input.read_bool()? {
                decode_field(field, lanes, input)?;
            }
        }
    }
    Ok(())
}

/// Reads the lanes of a field over those of the base.
#[inline]
fn decode_field(field: &FieldLayout, lanes: &mut [u32], input: &mut BitReader<'_>) -> Result<(), DecodeError> {
    match field.codec {
        LaneCodec::Integer => {
            for lane in lanes {
                *lane = input.read_delta(*lane)?;
            }
        }
        LaneCodec::Float => {
            for lane in lanes {
                *lane = input.read_u32()?;
            }
        }
        LaneCodec::Bit => {
            for lane in lanes {
                *lane = u32::from(input.read_bool()?);
            }
        }
    }
    Ok(())
}

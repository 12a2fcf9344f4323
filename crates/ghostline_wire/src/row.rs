//! A row against a base, `docs/wire-format.md` section 5.5: the hot path of snapshots, and the body of commands.
//! Rows are plain lanes that the ECS side collected; the base is a row that the other end surely holds, or zeros.
//! Three levels: components that did not change cost a bit, fields of those that did cost a bit, lanes their codec.

use crate::bits::{BitReader, BitWriter};
use crate::error::DecodeError;
use crate::packed::{packed_bits, zig_zag};
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

/// Whether [`encode_row`] takes fewer than so many bits for `row` against no base: to see whether a base pays, without writing. Looks at
/// no more of the row than it takes.
#[must_use]
pub fn is_absolute_row_below(layout: &RowLayout, row: &[u32], bits: usize) -> bool {
    let mut left = i64::try_from(bits).unwrap_or(i64::MAX);
    let mut take = |bits: u32| {
        left = left.saturating_sub(i64::from(bits));
        left > 0
    };
    let mut rest = row;
    let mut fields = layout.fields.as_slice();
    for component in &layout.components {
        let own_fields = fields.split_off(..component.fields as usize).unwrap_or_default();
        let mut lanes = rest.split_off(..component.lanes as usize).unwrap_or_default();
        if layout.components.len() != 1 {
            if !take(1) {
                return false;
            }
            if lanes.iter().all(|lane| *lane == 0) {
                continue;
            }
        }
        for field in own_fields {
            let lanes = lanes.split_off(..usize::from(field.lanes)).unwrap_or_default();
            if own_fields.len() != 1 {
                if !take(1) {
                    return false;
                }
                if lanes.iter().all(|lane| *lane == 0) {
                    continue;
                }
            }
            for lane in lanes {
                let enough = take(match field.codec {
                    LaneCodec::Integer => packed_bits(zig_zag(lane.cast_signed())),
                    LaneCodec::Float => 32,
                    LaneCodec::Bit => 1,
                });
                if !enough {
                    return false;
                }
            }
        }
    }
    take(0)
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
    decode_row_by_component(layout, base, row, input, |_| ())
}

/// Reads a row as [`decode_row`] does, and calls `after` behind the bits of each component, which begin with its flags: to see what a row's bits
/// are spent on.
///
/// # Errors
/// As [`decode_row`].
#[inline]
pub fn decode_row_by_component(
    layout: &RowLayout,
    base: Option<&[u32]>,
    row: &mut [u32],
    input: &mut BitReader<'_>,
    mut after: impl FnMut(&BitReader<'_>),
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
        let (Some(own_fields), Some(lanes)) =
            (fields.split_off(..component.fields as usize), rest.split_off_mut(..component.lanes as usize))
        else {
            return Ok(());
        };
        if one_component || input.read_bool()? {
            decode_fields(own_fields, lanes, input)?;
        }
        after(input);
    }
    Ok(())
}

#[inline]
fn decode_fields(fields: &[FieldLayout], mut lanes: &mut [u32], input: &mut BitReader<'_>) -> Result<(), DecodeError> {
    let one_field = fields.len() == 1;
    for field in fields {
        let Some(lanes) = lanes.split_off_mut(..usize::from(field.lanes)) else {
            return Ok(());
        };
        if one_field || input.read_bool()? {
            decode_field(field, lanes, input)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{ComponentSchema, FieldKind, FieldSchema, Smoothing};

    fn field(kind: FieldKind, quantization: u32) -> FieldSchema {
        FieldSchema { name: "f".into(), kind, quantization, smoothing: Smoothing::Clamp, max_smoothing_distance: None }
    }

    fn layout(components: &[&[FieldSchema]]) -> RowLayout {
        let schemas: Vec<ComponentSchema> =
            components.iter().map(|fields| ComponentSchema { name: "C".into(), fields: fields.to_vec() }).collect();
        RowLayout::new(&schemas)
    }

    fn encode(layout: &RowLayout, row: &[u32], base: Option<&[u32]>) -> BitWriter {
        let mut out = BitWriter::new();
        encode_row(layout, row, base, &mut out);
        let mut decoded = vec![0xAAAA_AAAA; layout.lanes()];
        let mut input = BitReader::with_bits(out.as_bytes(), out.bit_len());
        assert_eq!(decode_row(layout, base, &mut decoded, &mut input), Ok(()));
        assert_eq!(decoded, row);
        assert!(input.is_empty());
        if base.is_none() {
            assert!(!is_absolute_row_below(layout, row, out.bit_len()));
            assert!(is_absolute_row_below(layout, row, out.bit_len() + 1));
        }
        out
    }

    #[test]
    fn an_unchanged_component_costs_one_bit() {
        let layout = layout(&[&[field(FieldKind::Vec3, 100)], &[field(FieldKind::I32, 0)]]);
        let base = [1, 2, 3, 4];
        assert_eq!(encode(&layout, &base, Some(&base)).bit_len(), 2);
        encode(&layout, &base, None);
        encode(&layout, &[0, 0, 0, 4], None);
        // 1, 1 with a zig-zag of 2 (4 bits) and two zeros (2 bits each); 0.
        assert_eq!(encode(&layout, &[2, 2, 3, 4], Some(&base)).bit_len(), 1 + 4 + 2 + 2 + 1);
    }

    #[test]
    fn every_bit_belongs_to_a_component() {
        let layout =
            layout(&[&[field(FieldKind::Vec3, 100)], &[], &[field(FieldKind::U8, 0), field(FieldKind::F32, 0)]]);
        let base = [1, 2, 3, 4, 5];
        let bits_of = |row: &[u32]| {
            let out = encode(&layout, row, Some(&base));
            let mut input = BitReader::with_bits(out.as_bytes(), out.bit_len());
            let (mut ends, mut read) = (vec![out.bit_len()], [0; 5]);
            let after = |input: &BitReader<'_>| ends.push(input.remaining_bits());
            assert_eq!(decode_row_by_component(&layout, Some(&base), &mut read, &mut input, after), Ok(()));
            assert_eq!(read, row);
            ends.windows(2).map(|pair| pair[0] - pair[1]).collect::<Vec<_>>()
        };
        assert_eq!(bits_of(&base), [1, 1, 1]);
        // A difference of 1 is a zig-zag of 2: 4 bits.
        assert_eq!(bits_of(&[1, 3, 3, 4, 5]), [1 + 2 + 4 + 2, 1, 1]);
        assert_eq!(bits_of(&[1, 2, 3, 5, 5]), [1, 1, 1 + 1 + 4 + 1]);
        assert_eq!(bits_of(&[1, 2, 3, 4, 6]), [1, 1, 1 + 1 + 1 + 32]);
    }

    #[test]
    fn an_unchanged_field_costs_one_bit() {
        let layout = layout(&[&[field(FieldKind::U8, 0), field(FieldKind::F32, 0), field(FieldKind::Bool, 0)]]);
        let base = [7, 1.5f32.to_bits(), 1];
        assert_eq!(encode(&layout, &base, Some(&base)).as_bytes(), [0]);
        let changed = encode(&layout, &[7, 1.5f32.to_bits(), 0], Some(&base));
        assert_eq!((changed.bit_len(), changed.as_bytes()), (4, &[0b0100][..]));
        let float = encode(&layout, &[7, 0.0f32.to_bits(), 1], Some(&base));
        assert_eq!(float.bit_len(), 1 + 1 + 32 + 1);
    }

    #[test]
    fn a_lone_field_of_a_lone_component_has_no_flags() {
        let layout = layout(&[&[field(FieldKind::Bool, 0)]]);
        assert_eq!(encode(&layout, &[1], None).bit_len(), 1);
        assert_eq!(encode(&layout, &[0], Some(&[0])).bit_len(), 1);
    }

    #[test]
    fn components_without_fields_are_told_apart_too() {
        let with_fields = layout(&[&[], &[field(FieldKind::U64, 0)], &[]]);
        assert_eq!(encode(&with_fields, &[0, 0], None).bit_len(), 3);
        encode(&with_fields, &[u32::MAX, 1], Some(&[0, 9]));
        assert_eq!(encode(&layout(&[]), &[], None).bit_len(), 0);
        assert_eq!(encode(&layout(&[&[]]), &[], None).bit_len(), 0);
    }

    #[test]
    fn floats_keep_every_bit() {
        let layout = layout(&[&[field(FieldKind::Quat, 0)]]);
        let row = [f32::NAN.to_bits() | 1, (-0.0f32).to_bits(), f32::INFINITY.to_bits(), 1];
        encode(&layout, &row, Some(&[0, 0, 0, 0]));
    }

    #[test]
    fn a_row_of_another_length_is_refused() {
        let layout = layout(&[&[field(FieldKind::Vec2, 1)]]);
        let bytes = [0xFF; 16];
        let refused = Err(DecodeError::BadValue { what: "row length" });
        for (base, lanes) in [(None, 1), (None, 3), (Some(&[0, 0, 0][..]), 2), (Some(&[][..]), 2)] {
            let mut row = vec![5; lanes];
            assert_eq!(decode_row(&layout, base, &mut row, &mut BitReader::new(&bytes)), refused);
            assert_eq!(row, vec![5; lanes]);
        }
    }

    #[test]
    fn a_row_that_is_cut_off_is_an_error_at_every_bit() {
        let layout = layout(&[&[field(FieldKind::Vec3, 10)], &[field(FieldKind::F32, 0), field(FieldKind::Bool, 0)]]);
        let out = encode(&layout, &[1000, 2, 3, 4, 1], None);
        for bits in 0..out.bit_len() {
            let mut input = BitReader::with_bits(out.as_bytes(), bits);
            let result = decode_row(&layout, None, &mut [0; 5], &mut input);
            assert_eq!(result, Err(DecodeError::UnexpectedEnd), "{bits} bits");
        }
    }
}

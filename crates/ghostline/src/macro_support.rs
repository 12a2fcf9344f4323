//! What the code that the derives write calls by name: types of the wire, and small functions that keep that code
//! short. Lanes come from `ghost` and `command`; nothing here is part of the API of a game.

pub use std::string::String;

pub use ghostline_wire::{
    BitReader, BitWriter, ComponentSchema, DecodeError, FieldSchema, QuantiseStats, Smoothing,
};

use crate::ghost::GhostField;

/// Lanes that a field of this type takes in a row.
pub const fn lanes_of<T: GhostField>() -> usize {
    T::KIND.lanes()
}

/// Whether a field of this type is made of floats, and can be quantised.
pub const fn is_float<T: GhostField>() -> bool {
    T::KIND.is_float()
}

/// The first `count` lanes; `rest` moves past them. None, if there are fewer.
#[inline]
pub fn take<'a>(rest: &mut &'a [u32], count: usize) -> &'a [u32] {
    let (taken, after) = rest.split_at_checked(count).unwrap_or_default();
    *rest = after;
    taken
}

/// The first `count` lanes, to be written; `rest` moves past them. None, if there are fewer.
#[inline]
pub fn take_mut<'a>(rest: &mut &'a mut [u32], count: usize) -> &'a mut [u32] {
    let (taken, after) = std::mem::take(rest)
        .split_at_mut_checked(count)
        .unwrap_or_default();
    *rest = after;
    taken
}

/// What an interpolated ghost shows of a field: `factor` 0 is `from`, 1 is `to`, beyond 1 is extrapolated.
///
/// A field that isn't blended shows the newest of the two values that has been reached. Past `to` that is `to`: at
/// extrapolation both snapshots lie in the past, and falling back to the older one would be a step backwards.
#[inline]
pub fn blend_field<T: GhostField>(
    from: &[u32],
    to: &[u32],
    quantization: u32,
    smoothing: Smoothing,
    max_distance: Option<f32>,
    factor: f32,
) -> T {
    let reached = if factor >= 1.0 { to } else { from };
    // Most fields of most ghosts stand still: nothing to blend, and nothing that could tremble.
    let moves = smoothing != Smoothing::Clamp && from != to;
    // Written so that a distance that is not a number is a jump.
    if !moves || !max_distance.is_none_or(|max| T::distance(from, to, quantization) <= max) {
        return T::read_lanes(reached, quantization);
    }
    let factor = if smoothing == Smoothing::Interpolate {
        factor.min(1.0)
    } else {
        factor
    };
    T::blend(from, to, quantization, factor)
}

/// The schema of a field of type `T`.
pub fn field_schema<T: GhostField>(
    name: &str,
    quantization: u32,
    smoothing: Smoothing,
    max_smoothing_distance: Option<f32>,
) -> FieldSchema {
    FieldSchema {
        name: name.into(),
        kind: T::KIND,
        quantization,
        smoothing,
        max_smoothing_distance,
    }
}

/// The schema of a component.
pub fn component_schema<const N: usize>(name: &str, fields: [FieldSchema; N]) -> ComponentSchema {
    ComponentSchema {
        name: name.into(),
        fields: fields.into(),
    }
}

/// The canonical text of an RPC, which its hash is made of: `Name(field:type,…)`.
pub fn rpc_text(name: &str, fields: &[(&str, String)]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|(field, ty)| format!("{field}:{ty}"))
        .collect();
    format!("{name}({})", fields.join(","))
}

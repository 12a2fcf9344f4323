//! What the code that the derives write calls by name: types of the wire, and small functions that keep that code
//! short. Lanes come from `ghost` and `command`; nothing here is part of the API of a game.

pub use std::string::String;

pub use crate::rpc::{GhostMapping, RpcDelivery, RpcValueError};
pub use ghostline_wire::{BitReader, BitWriter, ComponentSchema, DecodeError, FieldSchema, QuantiseStats, Smoothing};

/// The first `count` lanes; `rest` moves past them. None, if there are fewer.
#[inline]
pub fn take<'a, T>(rest: &mut &'a [T], count: usize) -> &'a [T] {
    let (taken, after) = rest.split_at_checked(count).unwrap_or_default();
    *rest = after;
    taken
}

/// The first `count` lanes, to be written; `rest` moves past them. None, if there are fewer.
#[inline]
pub fn take_mut<'a>(rest: &mut &'a mut [u32], count: usize) -> &'a mut [u32] {
    let (taken, after) = std::mem::take(rest).split_at_mut_checked(count).unwrap_or_default();
    *rest = after;
    taken
}

/// The schema of a component.
pub fn component_schema<const N: usize>(name: &str, fields: [FieldSchema; N]) -> ComponentSchema {
    ComponentSchema { name: name.into(), fields: fields.into() }
}

/// The canonical text of an RPC, which its hash is made of: `Name(field:type,…)`.
pub fn rpc_text(name: &str, fields: &[(&str, String)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(field, ty)| format!("{field}:{ty}")).collect();
    format!("{name}({})", fields.join(","))
}

//! What a struct and its fields must be able to do to be sent as an RPC: become bits, and come back from any bits or
//! fail. Written by `#[derive(RpcCommand)]`; called where RPCs are registered, sent and received.

use bevy_ecs::component::Component;
use ghostline_wire::{BitReader, BitWriter, DecodeError};
use thiserror::Error;

use super::ghost_ref::GhostMapping;

/// How an RPC travels.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum RpcDelivery {
    /// It arrives, once, behind what was sent before it; or the connection ends.
    #[default]
    Reliable,
    /// It arrives once or not at all, and may be overtaken: for what is worthless when it comes late, such as a ping on a map.
    Unreliable,
}

/// A value that can't be sent. Found on the side that sends, before anything of it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum RpcValueError {
    /// A list is too long.
    #[error("a list of {elements} elements is above the limit of {limit}; send it in parts")]
    TooManyElements {
        /// Elements of the list.
        elements: usize,
        /// How many it may have.
        limit: usize,
    },
}

/// A message that is sent once, reliably: an RPC. Derive it; an example is at the derive of the same name.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an RPC",
    label = "can't be sent",
    note = "put `#[derive(Component, RpcCommand)]` on it"
)]
pub trait RpcCommand: Component + Sized {
    /// How it travels: reliable unless overridden. The derive overrides it for `#[rpc(unreliable)]`.
    const DELIVERY: RpcDelivery = RpcDelivery::Reliable;

    /// The name by which both sides know it.
    fn name() -> &'static str;

    /// `Name(field:type,…)`. Its hash identifies the RPC, so both sides must agree on it.
    fn canonical_text() -> String;

    /// Whether the value can be sent. Any can, unless overridden; the derive asks every field.
    ///
    /// # Errors
    /// [`RpcValueError`].
    fn check(&self) -> Result<(), RpcValueError> {
        Ok(())
    }

    /// Appends the payload.
    fn encode(&self, out: &mut BitWriter);

    /// Reads what [`encode`](Self::encode) wrote, and not a bit more.
    ///
    /// # Errors
    ///
    /// For bits that no value encodes to, and if the bits end too early.
    fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError>;

    /// Hands `mapping` to every field that refers to a ghost. Does nothing unless overridden; the derive does it.
    fn map_ghosts(&mut self, mapping: &GhostMapping<'_>) {
        let _ = mapping;
    }
}

/// An RPC that may be sent before the connection is approved: credentials. Derive it in place of [`RpcCommand`], and register it with
/// [`register_approval_rpc`](super::RpcAppExt::register_approval_rpc).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an approval RPC",
    label = "can't be sent before approval",
    note = "put `#[derive(Component, ApprovalRpcCommand)]` on it"
)]
pub trait ApprovalRpcCommand: RpcCommand {}

/// A type that a field of an RPC can have.
///
/// An own impl reads any bits without a panic, and takes at least one bit, so that what a peer can make this side do
/// is bounded by what it sends.
#[diagnostic::on_unimplemented(
    message = "a field of type `{Self}` can't be sent in an RPC",
    label = "no RPC field type",
    note = "fields can be bool, u8 to u64, i8 to i64, f32, f64, Vec2, Vec3, Quat, NetworkTick, GhostRef, FixedString<N> for text, \
            FixedList<T, N>, [T; N] and Option<T> of these, or a type with its own impl of `RpcField`"
)]
pub trait RpcField: Sized {
    /// The name of the type in the canonical text of an RPC, the same on every machine. It changes when the encoding
    /// does.
    fn type_text() -> String;

    /// Whether the value can be sent. Any can, unless overridden by types with a bound that the type itself doesn't keep.
    ///
    /// # Errors
    /// [`RpcValueError`].
    fn check(&self) -> Result<(), RpcValueError> {
        Ok(())
    }

    /// Appends the value.
    fn encode(&self, out: &mut BitWriter);

    /// Reads what [`encode`](Self::encode) wrote, and not a bit more.
    ///
    /// # Errors
    ///
    /// For bits that no value encodes to, and if the bits end too early.
    fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError>;

    /// Turns a reference to a ghost into what the link carries, or back. Only references, and types that hold some, override it.
    fn map_ghosts(&mut self, mapping: &GhostMapping<'_>) {
        let _ = mapping;
    }
}

#[cfg(test)]
mod tests {
    use bevy_math::Vec3;
    use proptest::prelude::*;

    use super::*;
    use crate::{FixedString, RpcCommand};

    #[derive(Component, RpcCommand, Clone, PartialEq, Debug)]
    struct Chat {
        channel: u8,
        at: Option<Vec3>,
        text: FixedString<64>,
        history: [i16; 3],
    }

    #[derive(Component, RpcCommand, PartialEq, Debug)]
    struct Loaded;

    #[derive(Component, RpcCommand, PartialEq, Debug)]
    #[rpc(name = "vote")]
    struct Vote(u32, bool);

    fn there_and_back<T: RpcCommand>(value: &T) -> T {
        let mut out = BitWriter::new();
        value.encode(&mut out);
        let mut input = BitReader::with_bits(out.as_bytes(), out.bit_len());
        let back = T::decode(&mut input).unwrap();
        assert_eq!(input.remaining_bits(), 0);
        back
    }

    proptest! {
        #[test]
        fn every_field_of_an_rpc_travels(channel: u8, at: Option<[i16; 3]>, text in ".{0,30}", history: [i16; 3]) {
            let at = at.map(|at| Vec3::from_array(at.map(f32::from)));
            let chat = Chat { channel, at, text: FixedString::new(&text), history };
            prop_assert_eq!(there_and_back(&chat), chat);
        }

        #[test]
        fn any_bytes_are_an_rpc_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut input = BitReader::new(&bytes);
            if let Ok(chat) = Chat::decode(&mut input) {
                prop_assert!(chat.text.len() <= 64);
            }
        }
    }

    #[test]
    fn an_rpc_without_fields_takes_no_bits() {
        let mut out = BitWriter::new();
        Loaded.encode(&mut out);
        assert_eq!(out.bit_len(), 0);
        assert_eq!(there_and_back(&Loaded), Loaded);
    }

    #[test]
    fn a_cut_payload_is_an_error() {
        let mut out = BitWriter::new();
        Vote(70_000, true).encode(&mut out);
        for bits in 0..out.bit_len() {
            assert!(Vote::decode(&mut BitReader::with_bits(out.as_bytes(), bits)).is_err(), "{bits} bits were enough");
        }
    }

    #[test]
    fn an_unreliable_rpc_is_one_by_its_type() {
        #[derive(Component, RpcCommand)]
        #[rpc(unreliable, name = "spot")]
        struct Spot {
            at: Vec3,
        }
        assert_eq!((Spot::DELIVERY, Chat::DELIVERY), (RpcDelivery::Unreliable, RpcDelivery::Reliable));
        assert_eq!(Spot::name(), "spot");
        assert_eq!(there_and_back(&Vote(1, true)), Vote(1, true));
        let _ = Spot { at: Vec3::ZERO }.at;
    }

    #[test]
    fn the_canonical_text_names_all_fields_and_types() {
        assert_eq!(Chat::canonical_text(), "Chat(channel:u8,at:option<vec3>,text:string64,history:[i16;3])");
        assert_eq!(Loaded::canonical_text(), "Loaded()");
        assert_eq!((Vote::name(), Vote::canonical_text().as_str()), ("vote", "vote(0:u32,1:bool)"));
    }
}

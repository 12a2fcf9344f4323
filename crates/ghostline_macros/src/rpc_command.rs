//! `#[derive(RpcCommand)]`: writes all fields of a struct as bits, and reads them back or says what is wrong with them.
//! Takes a `Structure`; the impl goes to the game's code.

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use syn::{DeriveInput, Error, Result};

use crate::attributes::{RpcOptions, no_rpc_options, rpc_options};
use crate::structure::{Structure, all};

/// The same, and the mark that it may be sent before approval.
pub(crate) fn derive_approval(input: &DeriveInput) -> Result<TokenStream> {
    if let Some(span) = rpc_options(&Structure::of(input, "RpcCommand")?)?.unreliable {
        return Err(Error::new(
            span,
            "an approval RPC is never unreliable: without it the player waits until the server gives up; remove `unreliable`",
        ));
    }
    let rpc = derive(input)?;
    let ident = &input.ident;
    Ok(quote_spanned! {Span::mixed_site()=>
        #rpc

        #[automatically_derived]
        impl ::ghostline::ApprovalRpcCommand for #ident {}
    })
}

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let structure = Structure::of(input, "RpcCommand")?;
    let ident = structure.ident;
    let RpcOptions { name, unreliable } = rpc_options(&structure)?;
    all(&structure.fields, no_rpc_options)?;

    let texts = structure.fields.iter().map(|field| {
        let (ty, name) = (field.ty, &field.name);
        quote_spanned!(field.site()=> (#name, <#ty as ::ghostline::RpcField>::type_text()))
    });
    let delivery = unreliable.map(|_| {
        quote_spanned! {Span::mixed_site()=>
            const DELIVERY: ::ghostline::__macro::RpcDelivery = ::ghostline::__macro::RpcDelivery::Unreliable;
        }
    });
    let checks = structure.fields.iter().map(|field| {
        let (ty, member) = (field.ty, &field.member);
        quote_spanned!(field.site()=> <#ty as ::ghostline::RpcField>::check(&self.#member)?;)
    });
    let encodes = structure.fields.iter().map(|field| {
        let (ty, member) = (field.ty, &field.member);
        quote_spanned!(field.site()=> <#ty as ::ghostline::RpcField>::encode(&self.#member, out);)
    });
    // The fields of a struct expression are evaluated in the order written, which is that of the bits.
    let decodes = structure.fields.iter().map(|field| {
        let (ty, member) = (field.ty, &field.member);
        quote_spanned!(field.site()=> #member: <#ty as ::ghostline::RpcField>::decode(input)?)
    });
    let maps = structure.fields.iter().map(|field| {
        let (ty, member) = (field.ty, &field.member);
        quote_spanned!(field.site()=> <#ty as ::ghostline::RpcField>::map_ghosts(&mut self.#member, mapping);)
    });
    Ok(quote_spanned! {Span::mixed_site()=>
        #[automatically_derived]
        impl ::ghostline::RpcCommand for #ident {
            #delivery

            fn name() -> &'static ::core::primitive::str {
                #name
            }

            fn canonical_text() -> ::ghostline::__macro::String {
                ::ghostline::__macro::rpc_text(#name, &[#(#texts),*])
            }

            fn check(&self) -> ::core::result::Result<(), ::ghostline::__macro::RpcValueError> {
                #(#checks)*
                ::core::result::Result::Ok(())
            }

            fn encode(&self, out: &mut ::ghostline::__macro::BitWriter) {
                // A struct without fields writes nothing.
                let _ = &out;
                #(#encodes)*
            }

            fn decode(
                input: &mut ::ghostline::__macro::BitReader<'_>,
            ) -> ::core::result::Result<Self, ::ghostline::__macro::DecodeError> {
                let _ = &input;
                ::core::result::Result::Ok(Self { #(#decodes),* })
            }

            fn map_ghosts(&mut self, mapping: &::ghostline::__macro::GhostMapping<'_>) {
                let _ = &mapping;
                #(#maps)*
            }
        }
    })
}

//! `#[derive(GhostComponent)]`: writes the marked fields of a component into lanes, and back.
//! Takes a `Structure` and the options of its fields; the impl goes to the game's code.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{DeriveInput, Error, Result};

use crate::attributes::{ghost_options, type_name};
use crate::sent_field::{SentField, lanes, schema};
use crate::structure::{Structure, all};

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let structure = Structure::of(input, "GhostComponent")?;
    let name = type_name(&structure, "ghost")?;
    let options = all(&structure.fields, ghost_options)?;
    let fields: Vec<SentField<'_>> = structure
        .fields
        .iter()
        .zip(options)
        .filter_map(|(field, options)| options.map(|options| SentField { field, options }))
        .collect();
    let ident = structure.ident;
    if fields.is_empty() {
        return Err(Error::new(
            ident.span(),
            "a ghost component replicates at least one field, and none is marked; \
             write `#[ghost]` before each field that clients shall see",
        ));
    }

    let lanes = lanes(&fields);
    let schema = schema(&name, &fields);
    let checks = fields.iter().map(SentField::check);
    let writes = fields.iter().map(|field| field.write(&quote_spanned!(Span::mixed_site()=> stats)));
    let reads = fields.iter().map(|field| {
        let (member, value) = (&field.field.member, field.read());
        quote_spanned!(field.field.site()=> self.#member = #value;)
    });
    let corrections = fields.iter().map(SentField::correct);
    let blends = fields.iter().map(SentField::blend);
    let unrounded = fields.iter().map(SentField::unrounded);
    let offsets = offsets(&fields);
    let size = quote!(<Self as ::ghostline::GhostComponent>::LANES);
    Ok(quote_spanned! {Span::mixed_site()=>
        #[automatically_derived]
        impl ::ghostline::GhostComponent for #ident {
            const LANES: ::core::primitive::usize = #lanes;

            fn schema() -> ::ghostline::__macro::ComponentSchema {
                #schema
            }

            fn write_lanes(
                &self,
                lanes: &mut [::core::primitive::u32],
                stats: &mut ::ghostline::__macro::QuantiseStats,
            ) {
                let ::core::option::Option::Some((mut lanes, _)) = lanes.split_at_mut_checked(#size) else {
                    return;
                };
                #(#writes)*
            }

            fn read_lanes(&mut self, lanes: &[::core::primitive::u32]) {
                let ::core::option::Option::Some((mut lanes, _)) = lanes.split_at_checked(#size) else {
                    return;
                };
                #(#reads)*
            }

            fn correct_lanes(
                &mut self,
                lanes: &[::core::primitive::u32],
                wrong: &[::core::primitive::bool],
            ) {
                let ::core::option::Option::Some((mut lanes, _)) = lanes.split_at_checked(#size) else {
                    return;
                };
                let ::core::option::Option::Some((mut wrong, _)) = wrong.split_at_checked(#size) else {
                    return;
                };
                #(#corrections)*
            }

            fn unrounded_lane(&self, mut lane: ::core::primitive::usize) -> ::core::option::Option<::core::primitive::f64> {
                #(#unrounded)*
                // Behind the last field there is nothing.
                let _ = lane;
                ::core::option::Option::None
            }

            #offsets

            fn blend(
                &mut self,
                from: &[::core::primitive::u32],
                to: &[::core::primitive::u32],
                factor: ::core::primitive::f32,
            ) {
                let ::core::option::Option::Some((mut from, _)) = from.split_at_checked(#size) else {
                    return;
                };
                let ::core::option::Option::Some((mut to, _)) = to.split_at_checked(#size) else {
                    return;
                };
                #(#blends)*
            }
        }
        #(#checks)*
    })
}

/// The methods about offsets, if any field has them.
fn offsets(fields: &[SentField<'_>]) -> TokenStream {
    let smoothed: Vec<&SentField<'_>> = fields.iter().filter(|field| field.is_smoothed()).collect();
    if smoothed.is_empty() {
        return TokenStream::new();
    }
    let sets = smoothed.iter().map(|field| field.set_offset());
    let adds = smoothed.iter().map(|field| field.add_offset());
    let scales = smoothed.iter().map(|field| field.scale_offset());
    let lengths = smoothed.iter().map(|field| field.offset_length());
    quote_spanned! {Span::mixed_site()=>
        fn set_offset(&mut self, shown: &Self, now: &Self) {
            #(#sets)*
        }

        fn add_offset(&mut self, offset: &Self) {
            #(#adds)*
        }

        fn scale_offset(&mut self, factor: ::core::primitive::f32) {
            #(#scales)*
        }

        fn offset_length(&self) -> ::core::primitive::f32 {
            let mut longest = 0.0_f32;
            #(#lengths)*
            longest
        }
    }
}

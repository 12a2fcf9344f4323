//! `#[derive(CommandData)]` and `#[derive(InputComponentData)]`: writes all fields of a struct into lanes, and back, and
//! counts the events among them. Takes a `Structure` and the options of its fields; the impls go to the game's code.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{DeriveInput, Error, Result};

use crate::attributes::{batch_predict, ghost_options, input_options, type_name};
use crate::sent_field::{SentField, lanes, schema};
use crate::structure::{Structure, all};

pub(crate) fn derive_command(input: &DeriveInput) -> Result<TokenStream> {
    command_data(&Structure::of(input, "CommandData")?)
}

pub(crate) fn derive_input_component(input: &DeriveInput) -> Result<TokenStream> {
    let structure = Structure::of(input, "InputComponentData")?;
    let command_data = command_data(&structure)?;
    let ident = structure.ident;
    // Every field, not only those that are written as `InputEvent`: a type alias or an own type counts as well.
    let each = |method: TokenStream| -> TokenStream {
        let calls = structure.fields.iter().map(|field| {
            let (ty, member) = (field.ty, &field.member);
            quote_spanned!(field.site()=> <#ty as ::ghostline::InputField>::#method(&mut self.#member, &before.#member);)
        });
        quote!(#(#calls)*)
    };
    let (adds, subtracts) = (each(quote!(add_event)), each(quote!(subtract_event)));
    let breaks_batches = !batch_predict(&structure)?;
    let replicated = replicated(&structure)?;
    Ok(quote_spanned! {Span::mixed_site()=>
        #command_data

        #[automatically_derived]
        impl ::ghostline::InputComponentData for #ident {
            const BREAKS_BATCHES: ::core::primitive::bool = #breaks_batches;

            #replicated

            fn add_events(&mut self, before: &Self) {
                #adds
            }

            fn subtract_events(&mut self, before: &Self) {
                #subtracts
            }
        }
    })
}

/// What `InputComponentData` has for the fields that are replicated, if there are any.
fn replicated(structure: &Structure<'_>) -> Result<TokenStream> {
    let options = all(&structure.fields, ghost_options)?;
    let fields: Vec<SentField<'_>> = structure
        .fields
        .iter()
        .zip(options)
        .filter_map(|(field, options)| options.map(|options| SentField { field, options }))
        .collect();
    if fields.is_empty() {
        return Ok(TokenStream::new());
    }
    let (lanes, schema) = (lanes(&fields), schema(&type_name(structure, "input")?, &fields));
    let writes = fields.iter().map(|field| field.write(&quote_spanned!(Span::mixed_site()=> stats)));
    let reads = fields.iter().map(|field| {
        let (member, value) = (&field.field.member, field.read());
        quote_spanned!(field.field.site()=> self.#member = #value;)
    });
    let size = quote!(<Self as ::ghostline::InputComponentData>::GHOST_LANES);
    Ok(quote_spanned! {Span::mixed_site()=>
        const GHOST_LANES: ::core::primitive::usize = #lanes;

        fn ghost_schema() -> ::core::option::Option<::ghostline::__macro::ComponentSchema> {
            ::core::option::Option::Some(#schema)
        }

        fn write_ghost_lanes(
            &self,
            lanes: &mut [::core::primitive::u32],
            stats: &mut ::ghostline::__macro::QuantiseStats,
        ) {
            let ::core::option::Option::Some((mut lanes, _)) = lanes.split_at_mut_checked(#size) else {
                return;
            };
            #(#writes)*
        }

        fn read_ghost_lanes(&mut self, lanes: &[::core::primitive::u32]) {
            let ::core::option::Option::Some((mut lanes, _)) = lanes.split_at_checked(#size) else {
                return;
            };
            #(#reads)*
        }
    })
}

fn command_data(structure: &Structure<'_>) -> Result<TokenStream> {
    let ident = structure.ident;
    let name = type_name(structure, "input")?;
    let options = all(&structure.fields, input_options)?;
    let fields: Vec<SentField<'_>> =
        structure.fields.iter().zip(options).map(|(field, options)| SentField { field, options }).collect();
    if fields.is_empty() {
        return Err(Error::new(
            ident.span(),
            "a command without fields carries nothing; \
             give it a field: an integer, a float, a vector, or an `InputEvent` for a press",
        ));
    }

    let lanes = lanes(&fields);
    let schema = schema(&name, &fields);
    let checks = fields.iter().map(SentField::check);
    let writes = fields.iter().map(|field| field.write(&quote_spanned!(Span::mixed_site()=> &mut stats)));
    // The fields of a struct expression are evaluated in the order written, which is that of the lanes.
    let reads = fields.iter().map(|field| {
        let (member, value) = (&field.field.member, field.read());
        quote_spanned!(field.field.site()=> #member: #value)
    });
    let size = quote!(<Self as ::ghostline::CommandData>::LANES);
    Ok(quote_spanned! {Span::mixed_site()=>
        #[automatically_derived]
        impl ::ghostline::CommandData for #ident {
            const LANES: ::core::primitive::usize = #lanes;

            fn schema() -> ::ghostline::__macro::ComponentSchema {
                #schema
            }

            fn write_lanes(&self, lanes: &mut [::core::primitive::u32]) {
                let ::core::option::Option::Some((mut lanes, _)) = lanes.split_at_mut_checked(#size) else {
                    return;
                };
                let mut stats = <::ghostline::__macro::QuantiseStats as ::core::default::Default>::default();
                #(#writes)*
            }

            fn read_lanes(lanes: &[::core::primitive::u32]) -> Self {
                let ::core::option::Option::Some((mut lanes, _)) = lanes.split_at_checked(#size) else {
                    return <Self as ::core::default::Default>::default();
                };
                Self { #(#reads),* }
            }
        }
        #(#checks)*
    })
}

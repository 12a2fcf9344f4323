//! `#[derive(GhostComponent)]`: writes the marked fields of a component into lanes, and back.
//! Takes a `Structure` and the options of its fields; the impl goes to the game's code.

use proc_macro2::{Literal, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{DeriveInput, Error, Result};

use crate::attributes::{FieldOptions, Smoothing, ghost_options, type_name};
use crate::structure::{Field, Structure, all};

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
    let writes = fields
        .iter()
        .map(|field| field.write(&quote_spanned!(Span::mixed_site()=> stats)));
    let reads = fields.iter().map(|field| {
        let (member, value) = (
            &field.field.member,
            field.read(&quote_spanned!(field.field.site()=> lanes)),
        );
        quote_spanned!(field.field.site()=> self.#member = #value;)
    });
    let blends = fields.iter().map(SentField::blend);
    Ok(quote_spanned! {Span::mixed_site()=>
        #[automatically_derived]
        impl ::ghostline::GhostComponent for #ident {
            const LANES: ::core::primitive::usize = #lanes;

            fn schema() -> ::ghostline::__macro::ComponentSchema {
                #schema
            }

            fn write_lanes(&self, lanes: &mut [::core::primitive::u32], stats: &mut ::ghostline::__macro::QuantiseStats) {
                let ::core::option::Option::Some((mut lanes, _)) = lanes.split_at_mut_checked(<Self as ::ghostline::GhostComponent>::LANES) else {
                    return;
                };
                #(#writes)*
            }

            fn read_lanes(&mut self, lanes: &[::core::primitive::u32]) {
                let ::core::option::Option::Some((mut lanes, _)) = lanes.split_at_checked(<Self as ::ghostline::GhostComponent>::LANES) else {
                    return;
                };
                #(#reads)*
            }

            fn blend(&mut self, from: &[::core::primitive::u32], to: &[::core::primitive::u32], factor: ::core::primitive::f32) {
                let ::core::option::Option::Some((mut from, _)) = from.split_at_checked(<Self as ::ghostline::GhostComponent>::LANES) else {
                    return;
                };
                let ::core::option::Option::Some((mut to, _)) = to.split_at_checked(<Self as ::ghostline::GhostComponent>::LANES) else {
                    return;
                };
                #(#blends)*
            }
        }
        #(#checks)*
    })
}

/// A field that goes into lanes. Commands use it too: a command is a row like any other.
pub(crate) struct SentField<'a> {
    pub(crate) field: &'a Field<'a>,
    pub(crate) options: FieldOptions,
}

impl SentField<'_> {
    fn quantization(&self) -> Literal {
        Literal::u32_suffixed(self.options.quantization)
    }

    fn lanes(&self) -> TokenStream {
        let ty = self.field.ty;
        quote_spanned!(self.field.site()=> ::ghostline::__macro::lanes_of::<#ty>())
    }

    /// Writes the field into the front of `lanes`, and moves `lanes` past it.
    pub(crate) fn write(&self, stats: &TokenStream) -> TokenStream {
        let (ty, member, quantization, count) = (
            self.field.ty,
            &self.field.member,
            self.quantization(),
            self.lanes(),
        );
        quote_spanned! {self.field.site()=>
            <#ty as ::ghostline::GhostField>::write_lanes(&self.#member, #quantization, ::ghostline::__macro::take_mut(&mut lanes, #count), #stats);
        }
    }

    /// The value at the front of `lanes`, which move past it.
    pub(crate) fn read(&self, lanes: &TokenStream) -> TokenStream {
        let (ty, quantization, count) = (self.field.ty, self.quantization(), self.lanes());
        quote_spanned! {self.field.site()=>
            <#ty as ::ghostline::GhostField>::read_lanes(::ghostline::__macro::take(&mut #lanes, #count), #quantization)
        }
    }

    fn blend(&self) -> TokenStream {
        let (ty, member, quantization, count) = (
            self.field.ty,
            &self.field.member,
            self.quantization(),
            self.lanes(),
        );
        let (smoothing, distance) = (self.smoothing(), self.max_smoothing_distance());
        quote_spanned! {self.field.site()=>
            self.#member = ::ghostline::__macro::blend_field::<#ty>(
                ::ghostline::__macro::take(&mut from, #count),
                ::ghostline::__macro::take(&mut to, #count),
                #quantization,
                #smoothing,
                #distance,
                factor,
            );
        }
    }

    /// An error of the compiler where a type that isn't written as an integer turns out to be one.
    pub(crate) fn check(&self) -> TokenStream {
        if self.options.quantization == 0 {
            return TokenStream::new();
        }
        let ty = self.field.ty;
        let message = format!(
            "field `{}` can't be quantised: quantisation rounds floats to integers, and its type is none of f32, Vec2, Vec3, Quat; remove `quantization`",
            self.field.name
        );
        quote_spanned! {self.field.site()=>
            const _: () = ::core::assert!(::ghostline::__macro::is_float::<#ty>(), #message);
        }
    }

    fn schema(&self) -> TokenStream {
        let (ty, name, quantization) = (self.field.ty, &self.field.name, self.quantization());
        let (smoothing, distance) = (self.smoothing(), self.max_smoothing_distance());
        quote_spanned! {self.field.site()=>
            ::ghostline::__macro::field_schema::<#ty>(#name, #quantization, #smoothing, #distance)
        }
    }

    fn smoothing(&self) -> TokenStream {
        match self.options.smoothing {
            Smoothing::Clamp => quote!(::ghostline::__macro::Smoothing::Clamp),
            Smoothing::Interpolate => quote!(::ghostline::__macro::Smoothing::Interpolate),
            Smoothing::InterpolateAndExtrapolate => {
                quote!(::ghostline::__macro::Smoothing::InterpolateAndExtrapolate)
            }
        }
    }

    fn max_smoothing_distance(&self) -> TokenStream {
        match self
            .options
            .max_smoothing_distance
            .map(Literal::f32_suffixed)
        {
            Some(distance) => quote!(::core::option::Option::Some(#distance)),
            None => quote!(::core::option::Option::None),
        }
    }
}

/// The constant `LANES` of a struct with these fields.
pub(crate) fn lanes(fields: &[SentField<'_>]) -> TokenStream {
    let lanes = fields.iter().map(SentField::lanes);
    quote!(#(#lanes)+*)
}

/// The body of `schema()` of a struct with these fields.
pub(crate) fn schema(name: &str, fields: &[SentField<'_>]) -> TokenStream {
    let fields = fields.iter().map(SentField::schema);
    quote!(::ghostline::__macro::component_schema(#name, [#(#fields),*]))
}

//! The code for one field that goes into lanes, of a ghost component or of a command: a command is a row like any other.
//! Takes a field and its options; the pieces go into the impls that the file of each derive writes.

use proc_macro2::{Literal, TokenStream};
use quote::{quote, quote_spanned};

use crate::attributes::{FieldOptions, Smoothing};
use crate::structure::Field;

/// A field that goes into lanes.
pub(crate) struct SentField<'a> {
    pub(crate) field: &'a Field<'a>,
    pub(crate) options: FieldOptions,
}

// Every use of the type is written `<T as GhostField>::…`: then the compiler words all errors about a type that is no
// field in the same way, and shows them once.
impl SentField<'_> {
    fn quantization(&self) -> Literal {
        Literal::u32_suffixed(self.options.quantization)
    }

    fn lanes(&self) -> TokenStream {
        let ty = self.field.ty;
        quote_spanned!(self.field.site()=> <#ty as ::ghostline::GhostField>::KIND.lanes())
    }

    /// Writes the field into the front of `lanes`, and moves `lanes` past it.
    pub(crate) fn write(&self, stats: &TokenStream) -> TokenStream {
        let (ty, member, quantization, count) = (self.field.ty, &self.field.member, self.quantization(), self.lanes());
        quote_spanned! {self.field.site()=>
            <#ty as ::ghostline::GhostField>::write_lanes(
                &self.#member,
                #quantization,
                ::ghostline::__macro::take_mut(&mut lanes, #count),
                #stats,
            );
        }
    }

    /// The value at the front of `lanes`, which move past it.
    pub(crate) fn read(&self) -> TokenStream {
        let (ty, quantization, count) = (self.field.ty, self.quantization(), self.lanes());
        quote_spanned! {self.field.site()=>
            <#ty as ::ghostline::GhostField>::read_lanes(
                ::ghostline::__macro::take(&mut lanes, #count),
                #quantization,
            )
        }
    }

    /// Takes from the front of `lanes` what the front of `wrong` marks; both move past it.
    pub(crate) fn correct(&self) -> TokenStream {
        let (ty, member, quantization, count) = (self.field.ty, &self.field.member, self.quantization(), self.lanes());
        quote_spanned! {self.field.site()=>
            <#ty as ::ghostline::GhostField>::correct_lanes(
                &mut self.#member,
                ::ghostline::__macro::take(&mut lanes, #count),
                ::ghostline::__macro::take(&mut wrong, #count),
                #quantization,
            );
        }
    }

    /// Returns what `lane` is before rounding if it is one of the field's, and else counts past them.
    pub(crate) fn unrounded(&self) -> TokenStream {
        let (ty, member, quantization, count) = (self.field.ty, &self.field.member, self.quantization(), self.lanes());
        quote_spanned! {self.field.site()=>
            if lane < #count {
                return <#ty as ::ghostline::GhostField>::unrounded_lane(&self.#member, lane, #quantization);
            }
            lane -= #count;
        }
    }

    /// Sets the field to what is shown between the fronts of `from` and `to`, which move past it.
    pub(crate) fn blend(&self) -> TokenStream {
        let (ty, member, quantization, count) = (self.field.ty, &self.field.member, self.quantization(), self.lanes());
        let (smoothing, distance) = (self.smoothing(), self.max_smoothing_distance());
        quote_spanned! {self.field.site()=>
            self.#member = <#ty as ::ghostline::GhostField>::smooth(
                ::ghostline::__macro::take(&mut from, #count),
                ::ghostline::__macro::take(&mut to, #count),
                #quantization,
                #smoothing,
                #distance,
                factor,
            );
        }
    }

    /// Whether an interpolated ghost blends the field, and a predicted one hides its corrections.
    pub(crate) fn is_smoothed(&self) -> bool {
        self.options.smoothing != Smoothing::Clamp
    }

    /// Makes the field the offset from `now` to `shown`, unless that is too long.
    pub(crate) fn set_offset(&self) -> TokenStream {
        let (ty, member) = (self.field.ty, &self.field.member);
        let set = quote_spanned! {self.field.site()=>
            <#ty as ::ghostline::GhostField>::set_offset(&mut self.#member, &shown.#member, &now.#member);
        };
        let Some(distance) = self.options.max_smoothing_distance.map(Literal::f32_suffixed) else { return set };
        quote_spanned! {self.field.site()=>
            #set
            if <#ty as ::ghostline::GhostField>::offset_length(&self.#member) > #distance {
                <#ty as ::ghostline::GhostField>::set_offset(&mut self.#member, &now.#member, &now.#member);
            }
        }
    }

    /// Moves the field by that of `offset`.
    pub(crate) fn add_offset(&self) -> TokenStream {
        let (ty, member) = (self.field.ty, &self.field.member);
        quote_spanned!(self.field.site()=> <#ty as ::ghostline::GhostField>::add_offset(&mut self.#member, &offset.#member);)
    }

    /// Shortens the field's offset.
    pub(crate) fn scale_offset(&self) -> TokenStream {
        let (ty, member) = (self.field.ty, &self.field.member);
        quote_spanned!(self.field.site()=> <#ty as ::ghostline::GhostField>::scale_offset(&mut self.#member, factor);)
    }

    /// Raises `longest` to the length of the field's offset.
    pub(crate) fn offset_length(&self) -> TokenStream {
        let (ty, member) = (self.field.ty, &self.field.member);
        quote_spanned! {self.field.site()=>
            longest = ::core::primitive::f32::max(
                longest,
                <#ty as ::ghostline::GhostField>::offset_length(&self.#member),
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
            "field `{}` can't be quantised: quantisation rounds floats to integers, \
             and its type is none of f32, Vec2, Vec3, Quat; remove `quantization`",
            self.field.name
        );
        quote_spanned! {self.field.site()=>
            const _: () = ::core::assert!(<#ty as ::ghostline::GhostField>::KIND.is_float(), #message);
        }
    }

    fn schema(&self) -> TokenStream {
        let (ty, name, quantization) = (self.field.ty, &self.field.name, self.quantization());
        let (smoothing, distance) = (self.smoothing(), self.max_smoothing_distance());
        quote_spanned! {self.field.site()=>
            ::ghostline::__macro::FieldSchema {
                name: ::core::convert::Into::into(#name),
                kind: <#ty as ::ghostline::GhostField>::KIND,
                quantization: #quantization,
                smoothing: #smoothing,
                max_smoothing_distance: #distance,
            }
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
        match self.options.max_smoothing_distance.map(Literal::f32_suffixed) {
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

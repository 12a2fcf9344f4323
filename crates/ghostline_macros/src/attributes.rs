//! The attributes `#[ghost(…)]`, `#[input(…)]` and `#[rpc(…)]`: parsed, checked, and turned into options.
//! Comes from the fields of a `Structure`; goes to the file of each derive. Errors say what, why, and what to do.

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{Attribute, Error, Ident, Lit, LitInt, LitStr, Meta, Result, Type};

use crate::structure::{Field, Structure};

/// What an interpolated ghost shows of a field between two snapshots.
#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) enum Smoothing {
    #[default]
    Clamp,
    Interpolate,
    InterpolateAndExtrapolate,
}

/// The options of one field that is sent.
#[derive(Clone, Copy, Default)]
pub(crate) struct FieldOptions {
    /// Steps per unit; 0 is off, as in the schema.
    pub(crate) quantization: u32,
    pub(crate) smoothing: Smoothing,
    pub(crate) max_smoothing_distance: Option<f32>,
}

/// The options of a ghost field, or `None` for a field that isn't replicated.
pub(crate) fn ghost_options(field: &Field<'_>) -> Result<Option<FieldOptions>> {
    const KNOWN: &[&str] = &["quantization", "smoothing", "max_smoothing_distance"];
    let Some(attribute) = only_one(field.attributes, "ghost")? else {
        return Ok(None);
    };
    let mut options = FieldOptions::default();
    let mut distance_key = None;
    keys(attribute, KNOWN, |key, meta| {
        match key {
            "quantization" => options.quantization = quantization(&meta, field.ty)?,
            "smoothing" => options.smoothing = smoothing(&meta)?,
            _ => {
                options.max_smoothing_distance = Some(distance(&meta)?);
                distance_key = Some(meta.path.span());
            }
        }
        Ok(())
    })?;
    match distance_key {
        Some(span) if options.smoothing == Smoothing::Clamp => Err(Error::new(
            span,
            "`max_smoothing_distance` does nothing here, because the field isn't smoothed; \
             add `smoothing = interpolate` or `smoothing = extrapolate`, or leave it out",
        )),
        _ => Ok(Some(options)),
    }
}

/// The options of a field of a command or input.
pub(crate) fn input_options(field: &Field<'_>) -> Result<FieldOptions> {
    let mut options = FieldOptions::default();
    if let Some(attribute) = only_one(field.attributes, "input")? {
        keys(attribute, &["quantization"], |_, meta| {
            options.quantization = quantization(&meta, field.ty)?;
            Ok(())
        })?;
    }
    Ok(options)
}

/// Rejects `#[rpc]` on a field: there is nothing to choose.
pub(crate) fn no_rpc_options(field: &Field<'_>) -> Result<()> {
    match field.attributes.iter().find(|attribute| attribute.path().is_ident("rpc")) {
        None => Ok(()),
        Some(attribute) => Err(Error::new_spanned(
            attribute,
            "`#[rpc]` has no keys for fields: all fields of an RPC are sent as they are; remove it",
        )),
    }
}

/// The options of an RPC.
pub(crate) struct RpcOptions {
    /// The name by which both sides know it.
    pub(crate) name: String,
    /// Where it says that it may be lost.
    pub(crate) unreliable: Option<Span>,
}

/// What `#[rpc(…)]` on a struct says.
pub(crate) fn rpc_options(structure: &Structure<'_>) -> Result<RpcOptions> {
    let mut options = RpcOptions { name: structure.ident.unraw().to_string(), unreliable: None };
    if let Some(found) = only_one(structure.attributes, "rpc")? {
        keys(found, &["name", "unreliable"], |key, meta| {
            match key {
                "name" => options.name = name(&meta)?,
                _ => options.unreliable = Some(meta.path.span()),
            }
            Ok(())
        })?;
    }
    Ok(options)
}

/// The name by which both sides know the type: that of the struct, or what `#[attribute(name = "…")]` on it says.
pub(crate) fn type_name(structure: &Structure<'_>, attribute: &str) -> Result<String> {
    let mut found_name = structure.ident.unraw().to_string();
    if let Some(found) = only_one(structure.attributes, attribute)? {
        keys(found, type_keys(attribute), |key, meta| {
            if key == "name" {
                found_name = name(&meta)?;
            }
            Ok(())
        })?;
    }
    Ok(found_name)
}

fn name(meta: &ParseNestedMeta<'_>) -> Result<String> {
    let text: LitStr = meta.value()?.parse()?;
    let name = text.value();
    if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':')) {
        return Err(Error::new(
            text.span(),
            "a name is made of letters, digits and `_ - . :`, \
             because it is part of the text that both sides compare",
        ));
    }
    Ok(name)
}

/// What may be said about a type.
fn type_keys(attribute: &str) -> &'static [&'static str] {
    if attribute == "input" { &["name", "batch_predict"] } else { &["name"] }
}

/// Whether a change of this input does not end a merged step of prediction.
pub(crate) fn batch_predict(structure: &Structure<'_>) -> Result<bool> {
    let mut found = false;
    if let Some(attribute) = only_one(structure.attributes, "input")? {
        keys(attribute, type_keys("input"), |key, meta| {
            if key == "name" {
                name(&meta)?;
            } else if meta.input.peek(syn::Token![=]) {
                return Err(meta.error("`batch_predict` stands alone, without a value"));
            } else {
                found = true;
            }
            Ok(())
        })?;
    }
    Ok(found)
}

/// Two attributes on one thing would leave open which of them counts.
fn only_one<'a>(attributes: &'a [Attribute], name: &str) -> Result<Option<&'a Attribute>> {
    let mut found = attributes.iter().filter(|attribute| attribute.path().is_ident(name));
    let first = found.next();
    match found.next() {
        None => Ok(first),
        Some(second) => Err(Error::new_spanned(
            second,
            format!("`#[{name}]` is written twice here; write all keys into one `#[{name}(…)]`"),
        )),
    }
}

/// Calls `take` with each key of the attribute; keys that are unknown, or there twice, are errors.
fn keys(
    attribute: &Attribute,
    known: &[&str],
    mut take: impl FnMut(&str, ParseNestedMeta<'_>) -> Result<()>,
) -> Result<()> {
    match &attribute.meta {
        Meta::Path(_) => return Ok(()),
        Meta::List(_) => {}
        Meta::NameValue(pair) => {
            let example = known.first().copied().unwrap_or_default();
            return Err(Error::new(pair.eq_token.span(), format!("keys stand in parentheses: `({example} = …)`")));
        }
    }
    let mut seen: Vec<String> = Vec::new();
    attribute.parse_nested_meta(|meta| {
        let key = meta.path.get_ident().map(|ident| ident.unraw().to_string()).unwrap_or_default();
        if !known.contains(&key.as_str()) {
            return Err(meta.error(format!("unknown key; known here: {}", list(known))));
        }
        if seen.contains(&key) {
            return Err(meta.error(format!("`{key}` is written twice; which one should count?")));
        }
        let result = take(&key, meta);
        seen.push(key);
        result
    })
}

fn list(known: &[&str]) -> String {
    known.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

fn quantization(meta: &ParseNestedMeta<'_>, ty: &Type) -> Result<u32> {
    const WHAT: &str = "`quantization` is a whole number of steps per unit, 1 or more (1000 keeps three decimals); \
        leave it out to send floats as they are";
    if let Some(integer) = integer_type(ty) {
        return Err(meta.error(format!(
            "`{integer}` can't be quantised: quantisation rounds floats to integers, and this has no fraction to round; \
             remove `quantization`"
        )));
    }
    let (value, span) = value(meta, WHAT)?;
    match value {
        Lit::Int(literal) => {
            literal.base10_parse().ok().filter(|steps| *steps >= 1).ok_or_else(|| Error::new(span, WHAT))
        }
        _ => Err(Error::new(span, WHAT)),
    }
}

fn distance(meta: &ParseNestedMeta<'_>) -> Result<f32> {
    const WHAT: &str = "`max_smoothing_distance` is a number greater than 0, in units of the field \
        (of a quaternion: the sine of half the angle); leave it out for no limit";
    let (value, span) = value(meta, WHAT)?;
    let distance: Option<f32> = match value {
        Lit::Float(literal) => literal.base10_parse().ok(),
        Lit::Int(literal) => integer_as_float(&literal),
        _ => None,
    };
    distance.filter(|distance| distance.is_finite() && *distance > 0.0).ok_or_else(|| Error::new(span, WHAT))
}

fn integer_as_float(literal: &LitInt) -> Option<f32> {
    literal.base10_digits().parse().ok()
}

fn smoothing(meta: &ParseNestedMeta<'_>) -> Result<Smoothing> {
    const WHAT: &str = "`smoothing` is one of `clamp`, `interpolate`, `extrapolate` \
        (or, longer, `interpolate_and_extrapolate`), without quotes";
    let ident: Ident = meta.value().and_then(|input| input.parse()).map_err(|error| Error::new(error.span(), WHAT))?;
    match ident.to_string().as_str() {
        "clamp" => Ok(Smoothing::Clamp),
        "interpolate" => Ok(Smoothing::Interpolate),
        "extrapolate" | "interpolate_and_extrapolate" => Ok(Smoothing::InterpolateAndExtrapolate),
        _ => Err(Error::new(ident.span(), WHAT)),
    }
}

/// A literal after `=`. A sign is not part of a literal, and no key takes a negative number.
fn value(meta: &ParseNestedMeta<'_>, what: &str) -> Result<(Lit, Span)> {
    let literal: Lit = meta.value().and_then(|input| input.parse()).map_err(|error| Error::new(error.span(), what))?;
    let span = literal.span();
    Ok((literal, span))
}

/// The name of a type that is written as an integer or `bool`. Other types are checked by the compiler, in `KIND`.
fn integer_type(ty: &Type) -> Option<String> {
    const INTEGERS: [&str; 9] = ["bool", "u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64"];
    let Type::Path(path) = ty else {
        return None;
    };
    let name = path.path.get_ident()?.to_string();
    INTEGERS.contains(&name.as_str()).then_some(name)
}

//! What the derives have in common: a struct as a list of fields, or an error that says why this type can't be derived.
//! Comes from the parsed input of the derive; goes to the file of each derive.

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Error, Fields, Ident, Index, Member, Result, Type};

/// One field of the struct.
pub(crate) struct Field<'a> {
    /// How code names it: `position` or `0`.
    pub(crate) member: Member,
    /// How the schema names it: without `r#`.
    pub(crate) name: String,
    pub(crate) ty: &'a Type,
    pub(crate) attributes: &'a [Attribute],
}

impl Field<'_> {
    /// A span that points at the field's type, for errors about it, and resolves names as the rest of the generated
    /// code.
    pub(crate) fn site(&self) -> Span {
        self.ty.span().resolved_at(Span::mixed_site())
    }
}

/// A struct that can be derived.
pub(crate) struct Structure<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) attributes: &'a [Attribute],
    pub(crate) fields: Vec<Field<'a>>,
}

impl<'a> Structure<'a> {
    /// Takes the input of `#[derive(derive)]` apart.
    pub(crate) fn of(input: &'a DeriveInput, derive: &str) -> Result<Self> {
        let fields = match &input.data {
            Data::Struct(data) => &data.fields,
            Data::Enum(data) => return Err(not_a_struct(data.enum_token.span, derive, "an enum")),
            Data::Union(data) => {
                return Err(not_a_struct(data.union_token.span, derive, "a union"));
            }
        };
        if !input.generics.params.is_empty() {
            return Err(Error::new_spanned(
                &input.generics,
                format!(
                    "`{derive}` can't be derived for a generic type: both sides know a type by one name and one list of fields; \
                     write a struct per concrete type, or implement the trait by hand"
                ),
            ));
        }
        let fields = match fields {
            Fields::Named(fields) => fields.named.iter().collect(),
            Fields::Unnamed(fields) => fields.unnamed.iter().collect(),
            Fields::Unit => Vec::new(),
        };
        let fields = fields.into_iter().zip(0u32..).map(field).collect();
        Ok(Self { ident: &input.ident, attributes: &input.attrs, fields })
    }
}

fn field((field, index): (&syn::Field, u32)) -> Field<'_> {
    let (member, name) = match &field.ident {
        Some(ident) => (Member::Named(ident.clone()), ident.unraw().to_string()),
        None => (Member::Unnamed(Index { index, span: field.ty.span() }), index.to_string()),
    };
    Field { member, name, ty: &field.ty, attributes: &field.attrs }
}

fn not_a_struct(span: Span, derive: &str, what: &str) -> Error {
    Error::new(
        span,
        format!(
            "`{derive}` can't be derived for {what}: what is sent must have the same fields whatever the value; \
             use a struct, with an integer for the variant"
        ),
    )
}

/// Runs `check` on every item and returns all results, or all errors as one, so that a game sees them in one
/// compilation.
pub(crate) fn all<T, R>(items: &[T], check: impl Fn(&T) -> Result<R>) -> Result<Vec<R>> {
    let mut results = Vec::with_capacity(items.len());
    let mut failed: Option<Error> = None;
    for item in items {
        match (check(item), &mut failed) {
            (Ok(result), _) => results.push(result),
            (Err(error), Some(first)) => first.combine(error),
            (Err(error), None) => failed = Some(error),
        }
    }
    match failed {
        None => Ok(results),
        Some(error) => Err(error),
    }
}

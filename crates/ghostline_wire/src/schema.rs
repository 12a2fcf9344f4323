//! What is on the wire, described: fields, components, ghost types, their canonical texts and hashes.
//! Written by the derives and the registration; compiled here into the flat layout that the row codec walks.
//! Two peers with the same hashes read each other's rows; the handshake compares them.

use core::fmt::Write;
use core::ops::Range;

/// The type of a replicated field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FieldKind {
    /// One bit.
    Bool,
    /// Unsigned, 8 bits.
    U8,
    /// Unsigned, 16 bits.
    U16,
    /// Unsigned, 32 bits.
    U32,
    /// Unsigned, 64 bits: two lanes, the low one first.
    U64,
    /// Signed, 8 bits.
    I8,
    /// Signed, 16 bits.
    I16,
    /// Signed, 32 bits.
    I32,
    /// Signed, 64 bits: two lanes, the low one first.
    I64,
    /// A float.
    F32,
    /// Two floats.
    Vec2,
    /// Three floats.
    Vec3,
    /// Four floats: x, y, z, w.
    Quat,
}

impl FieldKind {
    /// Lanes (32-bit words of a row) that a field of this kind takes, 1 to 4.
    #[must_use]
    #[inline]
    pub const fn lanes(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::U16 | Self::U32 | Self::I8 | Self::I16 | Self::I32 | Self::F32 => 1,
            Self::U64 | Self::I64 | Self::Vec2 => 2,
            Self::Vec3 => 3,
            Self::Quat => 4,
        }
    }

    /// The name in canonical texts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::Vec2 => "vec2",
            Self::Vec3 => "vec3",
            Self::Quat => "quat",
        }
    }

    /// Whether its lanes are floats, which a quantisation turns into integers.
    #[must_use]
    #[inline]
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::Vec2 | Self::Vec3 | Self::Quat)
    }
}

/// What an interpolated ghost shows between and after two received values of a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Smoothing {
    /// The older value, until the newer one is due.
    #[default]
    Clamp,
    /// A blend of the two.
    Interpolate,
    /// A blend of the two, continued past the newer one while nothing newer arrives.
    InterpolateAndExtrapolate,
}

impl Smoothing {
    /// The word in canonical texts; empty for the default.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clamp => "",
            Self::Interpolate => "interpolate",
            Self::InterpolateAndExtrapolate => "extrapolate",
        }
    }
}

/// A replicated field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldSchema {
    /// Its name in the source, part of the hash.
    pub name: String,
    /// Its type.
    pub kind: FieldKind,
    /// Steps per unit that a float is rounded to; 0 is off: floats are sent whole.
    pub quantization: u32,
    /// How an interpolated ghost shows it.
    pub smoothing: Smoothing,
    /// Two values further apart than this, in units of the field, are not blended; `None` blends always.
    pub max_smoothing_distance: Option<f32>,
}

impl FieldSchema {
    /// How its lanes are coded.
    #[must_use]
    pub const fn codec(&self) -> LaneCodec {
        match self.kind {
            FieldKind::Bool => LaneCodec::Bit,
            kind if kind.is_float() && self.quantization == 0 => LaneCodec::Float,
            _ => LaneCodec::Integer,
        }
    }

    fn write_canonical_text(&self, text: &mut String) {
        text.push_str(&self.name);
        text.push(':');
        text.push_str(self.kind.name());
        // Writing into a String can't fail.
        if self.quantization != 0 {
            let _ = write!(text, " q={}", self.quantization);
        }
        if !self.smoothing.name().is_empty() {
            text.push(' ');
            text.push_str(self.smoothing.name());
        }
        if let Some(distance) = self.max_smoothing_distance {
            let _ = write!(text, " max={distance}");
        }
    }
}

/// A replicated component, a command or an input: a name and its fields in order.
#[derive(Clone, Debug, PartialEq)]
pub struct ComponentSchema {
    /// Its name, part of the hash.
    pub name: String,
    /// Its replicated fields, in the order of their lanes.
    pub fields: Vec<FieldSchema>,
}

impl ComponentSchema {
    /// Lanes of all fields together.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.fields.iter().map(|field| field.kind.lanes()).fold(0, usize::saturating_add)
    }

    /// `Name{field:kind[ q=N][ smoothing][ max=D],…}`, floats in their shortest decimal form.
    #[must_use]
    pub fn canonical_text(&self) -> String {
        let mut text = String::new();
        self.write_canonical_text(&mut text);
        text
    }

    fn write_canonical_text(&self, text: &mut String) {
        text.push_str(&self.name);
        text.push('{');
        for (i, field) in self.fields.iter().enumerate() {
            if i > 0 {
                text.push(',');
            }
            field.write_canonical_text(text);
        }
        text.push('}');
    }

    /// FNV-1a-64 of the canonical text.
    #[must_use]
    pub fn hash(&self) -> u64 {
        fnv1a64(self.canonical_text().as_bytes())
    }
}

/// A ghost type: a name, options and components in the order of their lanes.
#[derive(Clone, Debug, PartialEq)]
pub struct GhostSchema {
    /// Its name; the type id is the name's hash.
    pub name: String,
    /// Options of the prefab that both ends must agree on, as text, such as `owner_predicted`.
    pub options: String,
    /// Its components, in the order of their lanes.
    pub components: Vec<ComponentSchema>,
}

impl GhostSchema {
    /// Lanes of all components together.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.components.iter().map(ComponentSchema::lanes).fold(0, usize::saturating_add)
    }

    /// `Name[options](component,component,…)`, with the canonical text of each component.
    #[must_use]
    pub fn canonical_text(&self) -> String {
        let mut text = String::new();
        let _ = write!(text, "{}[{}](", self.name, self.options);
        for (i, component) in self.components.iter().enumerate() {
            if i > 0 {
                text.push(',');
            }
            component.write_canonical_text(&mut text);
        }
        text.push(')');
        text
    }

    /// FNV-1a-64 of the canonical text.
    #[must_use]
    pub fn hash(&self) -> u64 {
        fnv1a64(self.canonical_text().as_bytes())
    }

    /// FNV-1a-64 of the name: what the type is found by at the other end.
    #[must_use]
    pub fn type_id(&self) -> u64 {
        fnv1a64(self.name.as_bytes())
    }
}

/// FNV-1a with 64 bits: the hash of every name and schema. It guards against mistakes, not against malice.
#[must_use]
pub fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(FNV_OFFSET, |hash, byte| fnv_step(hash, *byte))
}

const FNV_OFFSET: u64 = 0xCBF2_9CE4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01B3;

#[inline]
const fn fnv_step(hash: u64, byte: u8) -> u64 {
    (hash ^ byte as u64).wrapping_mul(FNV_PRIME)
}

/// The hash of a collection: FNV-1a-64 over its members' hashes, little endian, in ascending order.
/// Sorts the members, so that the order of registration does not matter.
#[must_use]
pub fn collection_hash(members: &mut [u64]) -> u64 {
    members.sort_unstable();
    members.iter().flat_map(|member| member.to_le_bytes()).fold(FNV_OFFSET, fnv_step)
}

/// How the lanes of a field are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LaneCodec {
    /// `bool`: one bit, the value.
    Bit,
    /// Integers and quantised floats: the wrapping difference from the base lane, packed with its sign.
    Integer,
    /// Unquantised floats: 32 bits, the value.
    Float,
}

/// A field as the row codec sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FieldLayout {
    /// Its lanes, which follow those of the field before.
    pub(crate) lanes: u8,
    /// How they are coded.
    pub(crate) codec: LaneCodec,
}

/// A component as the row codec sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ComponentLayout {
    /// Its lanes, which follow those of the component before.
    pub(crate) lanes: u32,
    /// Its fields, which follow those of the component before.
    pub(crate) fields: u32,
}

/// The lanes of a list of components, compiled into flat arrays for [`encode_row`](crate::encode_row).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowLayout {
    pub(crate) components: Vec<ComponentLayout>,
    pub(crate) fields: Vec<FieldLayout>,
    /// As many zeros as there are lanes: the base of absolute rows.
    pub(crate) zero: Vec<u32>,
}

impl RowLayout {
    /// Lays the components' lanes out one after the other.
    ///
    /// Registration checks [`MAX_ROW_LANES`](crate::limits::MAX_ROW_LANES) before; this works for any number.
    #[must_use]
    pub fn new(components: &[ComponentSchema]) -> Self {
        let mut layout =
            Self { components: Vec::with_capacity(components.len()), fields: Vec::new(), zero: Vec::new() };
        let mut lanes: usize = 0;
        for component in components {
            layout
                .components
                .push(ComponentLayout { lanes: component.lanes() as u32, fields: component.fields.len() as u32 });
            layout.fields.extend(
                component
                    .fields
                    .iter()
                    .map(|field| FieldLayout { lanes: field.kind.lanes() as u8, codec: field.codec() }),
            );
            lanes = lanes.saturating_add(component.lanes());
        }
        layout.zero.resize(lanes, 0);
        layout
    }

    /// Lanes of a row.
    #[must_use]
    #[inline]
    pub fn lanes(&self) -> usize {
        self.zero.len()
    }

    /// How many lanes each field has, in order, and how they are coded.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (usize, LaneCodec)> + '_ {
        self.fields.iter().map(|field| (usize::from(field.lanes), field.codec))
    }

    /// The lanes of a component, by its place in the list; an empty range past the end if there is none.
    #[must_use]
    pub fn component_range(&self, component: usize) -> Range<usize> {
        let mut lanes = self.components.iter().map(|c| c.lanes as usize);
        let begin = lanes.by_ref().take(component).fold(0, usize::saturating_add);
        begin..begin.saturating_add(lanes.next().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, kind: FieldKind) -> FieldSchema {
        FieldSchema {
            name: name.into(),
            kind,
            quantization: 0,
            smoothing: Smoothing::Clamp,
            max_smoothing_distance: None,
        }
    }

    fn position() -> ComponentSchema {
        ComponentSchema {
            name: "Position".into(),
            fields: vec![FieldSchema {
                quantization: 1000,
                smoothing: Smoothing::Interpolate,
                max_smoothing_distance: Some(2.5),
                ..field("value", FieldKind::Vec3)
            }],
        }
    }

    fn health() -> ComponentSchema {
        ComponentSchema {
            name: "Health".into(),
            fields: vec![
                field("alive", FieldKind::Bool),
                field("points", FieldKind::U64),
                field("speed", FieldKind::F32),
            ],
        }
    }

    #[test]
    fn the_canonical_text_names_everything_that_both_ends_must_share() {
        assert_eq!(position().canonical_text(), "Position{value:vec3 q=1000 interpolate max=2.5}");
        assert_eq!(health().canonical_text(), "Health{alive:bool,points:u64,speed:f32}");
        let ghost = GhostSchema {
            name: "player".into(),
            options: "owner_predicted".into(),
            components: vec![position(), health()],
        };
        assert_eq!(
            ghost.canonical_text(),
            "player[owner_predicted](Position{value:vec3 q=1000 interpolate max=2.5},\
             Health{alive:bool,points:u64,speed:f32})"
        );
        assert_eq!(ghost.hash(), fnv1a64(ghost.canonical_text().as_bytes()));
        assert_eq!(ghost.type_id(), fnv1a64(b"player"));
        assert_eq!(ghost.lanes(), 7);
    }

    #[test]
    fn the_hash_is_the_published_fnv1a() {
        assert_eq!(fnv1a64(b""), 0xCBF2_9CE4_8422_2325);
        assert_eq!(fnv1a64(b"a"), 0xAF63_DC4C_8601_EC8C);
        assert_eq!(fnv1a64(b"foobar"), 0x8594_4171_F739_67E8);
    }

    #[test]
    fn the_order_of_registration_does_not_change_the_collection() {
        let forwards = collection_hash(&mut [1, 2, u64::MAX]);
        let backwards = collection_hash(&mut [u64::MAX, 2, 1]);
        assert_eq!(forwards, backwards);
        assert_ne!(forwards, collection_hash(&mut [1, 2]));
        assert_eq!(collection_hash(&mut []), fnv1a64(b""));
        assert_eq!(collection_hash(&mut [7]), fnv1a64(&7u64.to_le_bytes()));
    }

    #[test]
    fn any_change_of_a_field_changes_the_hash() {
        let hash = position().hash();
        let change = |edit: fn(&mut FieldSchema)| {
            let mut changed = position();
            edit(&mut changed.fields[0]);
            changed.hash()
        };
        assert_ne!(hash, change(|f| f.name = "other".into()));
        assert_ne!(hash, change(|f| f.kind = FieldKind::Vec2));
        assert_ne!(hash, change(|f| f.quantization = 100));
        assert_ne!(hash, change(|f| f.smoothing = Smoothing::Clamp));
        assert_ne!(hash, change(|f| f.max_smoothing_distance = None));
    }

    #[test]
    fn a_layout_puts_the_components_one_after_the_other() {
        let layout = RowLayout::new(&[position(), health()]);
        assert_eq!(layout.lanes(), 7);
        assert_eq!(layout.component_range(0), 0..3);
        assert_eq!(layout.component_range(1), 3..7);
        assert_eq!(layout.component_range(2), 7..7);
        let codecs: Vec<LaneCodec> = layout.fields.iter().map(|f| f.codec).collect();
        use LaneCodec::{Bit, Float, Integer};
        assert_eq!(codecs, [Integer, Bit, Integer, Float]);
    }

    #[test]
    fn quantisation_of_an_integer_changes_nothing_in_its_coding() {
        let quantised = FieldSchema { quantization: 10, ..field("n", FieldKind::I32) };
        assert_eq!(quantised.codec(), LaneCodec::Integer);
    }
}

//! Whether a predicted row agrees with the server's, and if not, which lanes don't and how far off their fields are. Plain rows in, marks
//! out; no world.

use ghostline_wire::{ComponentSchema, FieldKind, dequantise};
use std::ops::Range;

/// One field of a ghost type.
struct Field {
    lanes: Range<usize>,
    kind: FieldKind,
    quantization: u32,
    /// The component that it belongs to, counted within the ghost type.
    component: usize,
}

/// How rows of one ghost type are compared.
pub(super) struct RowRules {
    fields: Vec<Field>,
    /// By lane: the largest difference that counts as agreement.
    tolerances: Vec<u32>,
}

/// What a comparison found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Lane by lane the same.
    Equal,
    /// Differences within the tolerance only: two almost equal values on different sides of a rounding border.
    Close,
    /// The field with this number is the first that is wrong.
    Wrong { field: usize },
}

impl RowRules {
    pub(super) fn new(components: &[ComponentSchema]) -> Self {
        let (mut fields, mut tolerances) = (Vec::new(), Vec::new());
        for (component, schema) in components.iter().enumerate() {
            for field in &schema.fields {
                let first = tolerances.len();
                let is_rounded = field.kind.is_float() && field.quantization > 0;
                tolerances.resize(first + field.kind.lanes(), u32::from(is_rounded));
                let lanes = first..tolerances.len();
                fields.push(Field { lanes, kind: field.kind, quantization: field.quantization, component });
            }
        }
        Self { fields, tolerances }
    }

    /// The component of a field.
    pub(super) fn component_of(&self, field: usize) -> usize {
        self.fields.get(field).map_or(0, |field| field.component)
    }

    /// Compares two rows, and marks in `wrong` the lanes that disagree.
    pub(super) fn compare(&self, predicted: &[u32], server: &[u32], wrong: &mut Vec<bool>) -> Verdict {
        wrong.clear();
        let mut differs = false;
        wrong.extend(self.tolerances.iter().zip(predicted.iter().zip(server)).map(
            |(&tolerance, (&predicted, &server))| {
                differs |= predicted != server;
                // As signed numbers, which is what rounded floats are: no difference overflows.
                predicted.cast_signed().abs_diff(server.cast_signed()) > tolerance
            },
        ));
        match wrong.iter().position(|&wrong| wrong) {
            Some(lane) => {
                Verdict::Wrong { field: self.fields.iter().position(|field| field.lanes.contains(&lane)).unwrap_or(0) }
            }
            None if differs => Verdict::Close,
            None => Verdict::Equal,
        }
    }

    /// The fields with a marked lane, each with its distance between the two rows: of numbers the difference, of vectors the length
    /// of the difference, of rotations the angle in radians.
    pub(super) fn errors<'a>(
        &'a self,
        predicted: &'a [u32],
        server: &'a [u32],
        wrong: &'a [bool],
    ) -> impl Iterator<Item = (usize, f32)> + 'a {
        self.fields.iter().enumerate().filter_map(move |(index, field)| {
            let marks = wrong.get(field.lanes.clone())?;
            let (from, to) = (predicted.get(field.lanes.clone())?, server.get(field.lanes.clone())?);
            marks.contains(&true).then(|| (index, field.distance(from, to)))
        })
    }
}

impl Field {
    fn distance(&self, from: &[u32], to: &[u32]) -> f32 {
        let float = |lanes: &[u32], index: usize| {
            let lane = lanes.get(index).copied().unwrap_or(0);
            if self.quantization == 0 {
                f32::from_bits(lane)
            } else {
                dequantise(lane.cast_signed(), self.quantization)
            }
        };
        let word = |lanes: &[u32], index: usize| lanes.get(index).copied().unwrap_or(0);
        let wide = |lanes: &[u32]| u64::from(word(lanes, 0)) | u64::from(word(lanes, 1)) << 32;
        match self.kind {
            FieldKind::U64 => wide(from).abs_diff(wide(to)) as f32,
            FieldKind::I64 => wide(from).cast_signed().abs_diff(wide(to).cast_signed()) as f32,
            FieldKind::I8 | FieldKind::I16 | FieldKind::I32 => {
                word(from, 0).cast_signed().abs_diff(word(to, 0).cast_signed()) as f32
            }
            FieldKind::Quat => {
                let dot: f32 = (0..4).map(|axis| float(from, axis) * float(to, axis)).sum();
                2.0 * dot.abs().min(1.0).acos()
            }
            kind if kind.is_float() => {
                (0..kind.lanes()).map(|axis| (float(from, axis) - float(to, axis)).powi(2)).sum::<f32>().sqrt()
            }
            _ => word(from, 0).abs_diff(word(to, 0)) as f32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ghostline_wire::{FieldSchema, Smoothing};

    fn field(kind: FieldKind, quantization: u32) -> FieldSchema {
        FieldSchema {
            name: "field".into(),
            kind,
            quantization,
            smoothing: Smoothing::Clamp,
            max_smoothing_distance: None,
        }
    }

    /// Position (three rounded lanes), heat (a whole float), health (an integer) in two components.
    fn rules() -> RowRules {
        RowRules::new(&[
            ComponentSchema { name: "A".into(), fields: vec![field(FieldKind::Vec3, 1000), field(FieldKind::F32, 0)] },
            ComponentSchema { name: "B".into(), fields: vec![field(FieldKind::I32, 0)] },
        ])
    }

    fn verdict(predicted: [u32; 5], server: [u32; 5]) -> Verdict {
        rules().compare(&predicted, &server, &mut Vec::new())
    }

    #[test]
    fn one_quantum_of_a_rounded_float_is_agreement_and_two_are_not() {
        assert_eq!(verdict([5, 0, 0, 1, 1], [5, 0, 0, 1, 1]), Verdict::Equal);
        assert_eq!(verdict([5, 0, 0, 1, 1], [6, u32::MAX, 0, 1, 1]), Verdict::Close);
        assert_eq!(verdict([5, 0, 0, 1, 1], [7, 0, 0, 1, 1]), Verdict::Wrong { field: 0 });
    }

    #[test]
    fn whole_floats_and_integers_have_no_tolerance() {
        assert_eq!(verdict([0, 0, 0, 1, 1], [0, 0, 0, 2, 1]), Verdict::Wrong { field: 1 });
        assert_eq!(verdict([0, 0, 0, 1, 1], [0, 0, 0, 1, 2]), Verdict::Wrong { field: 2 });
        assert_eq!((rules().component_of(1), rules().component_of(2)), (0, 1));
    }

    #[test]
    fn the_two_ends_of_a_lane_are_far_apart() {
        assert_eq!(verdict([i32::MAX as u32, 0, 0, 0, 0], [i32::MIN as u32, 0, 0, 0, 0]), Verdict::Wrong { field: 0 });
    }

    #[test]
    fn the_error_of_a_field_is_its_distance_in_its_own_units() {
        let (rules, mut wrong) = (rules(), Vec::new());
        let (predicted, server) = ([3000, 0, 0, 1f32.to_bits(), 10], [0, 4000, 0, 1f32.to_bits(), 7]);
        rules.compare(&predicted, &server, &mut wrong);
        assert_eq!(wrong, [true, true, false, false, true]);
        assert_eq!(rules.errors(&predicted, &server, &wrong).collect::<Vec<_>>(), [(0, 5.0), (2, 3.0)]);
    }
}

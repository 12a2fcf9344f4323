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

/// How one lane is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LaneRule {
    /// The server's alone: whatever it is, it is right.
    Unpredicted,
    /// Bit by bit.
    Equal,
    /// A rounded float.
    Rounded,
    /// A rounded float of a rotation, which is made one of length 1 again when it is read: that moves it by up to half a quantum more.
    RoundedRotation,
}

/// How rows of one ghost type are compared.
pub(super) struct RowRules {
    fields: Vec<Field>,
    lanes: Vec<LaneRule>,
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
    /// `is_predicted` says of each component, by its number in the ghost type, whether it is compared at all.
    pub(super) fn new(components: &[ComponentSchema], is_predicted: impl Fn(usize) -> bool) -> Self {
        let (mut fields, mut lanes) = (Vec::new(), Vec::new());
        for (component, schema) in components.iter().enumerate() {
            for field in &schema.fields {
                let rule = match field.kind {
                    _ if !is_predicted(component) => LaneRule::Unpredicted,
                    FieldKind::Quat if field.quantization > 0 => LaneRule::RoundedRotation,
                    kind if kind.is_float() && field.quantization > 0 => LaneRule::Rounded,
                    _ => LaneRule::Equal,
                };
                let first = lanes.len();
                lanes.resize(first + field.kind.lanes(), rule);
                let lanes = first..lanes.len();
                fields.push(Field { lanes, kind: field.kind, quantization: field.quantization, component });
            }
        }
        Self { fields, lanes }
    }

    /// The component of a field.
    pub(super) fn component_of(&self, field: usize) -> usize {
        self.fields.get(field).map_or(0, |field| field.component)
    }

    /// Compares two rows, and marks in `wrong` the lanes that disagree; if none does it is left empty. Rounded floats agree if the server's lies within
    /// `tolerance` quanta of the predicted value as it was before rounding, which `unrounded` knows by lane; with a tolerance of 0, if both round to
    /// the same.
    pub(super) fn compare(
        &self,
        predicted: &[u32],
        server: &[u32],
        tolerance: u32,
        unrounded: impl Fn(usize) -> Option<f64>,
        wrong: &mut Vec<bool>,
    ) -> Verdict {
        wrong.clear();
        let mut differs = false;
        // Most lanes of most ghosts are the same on both sides: the loop has little to do with them.
        for (lane, ((&predicted, &server), rule)) in predicted.iter().zip(server).zip(&self.lanes).enumerate() {
            if predicted == server || *rule == LaneRule::Unpredicted {
                continue;
            }
            differs = true;
            if !rule.forgives(predicted, server, tolerance, || unrounded(lane)) {
                wrong.resize(self.lanes.len(), false);
                if let Some(wrong) = wrong.get_mut(lane) {
                    *wrong = true;
                }
            }
        }
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

impl LaneRule {
    /// Whether two lanes that differ agree nevertheless.
    fn forgives(self, predicted: u32, server: u32, tolerance: u32, unrounded: impl FnOnce() -> Option<f64>) -> bool {
        let beyond = match self {
            Self::Unpredicted => return true,
            Self::Equal => return false,
            Self::Rounded => 0.0,
            Self::RoundedRotation => 0.5,
        };
        if tolerance == 0 {
            return false;
        }
        // As signed numbers, which is what rounded floats are: no difference overflows.
        let difference = predicted.cast_signed().abs_diff(server.cast_signed());
        let tolerated = f64::from(tolerance) + beyond;
        // Rounding has moved the predicted value by half a quantum at most.
        f64::from(difference) + 0.5 <= tolerated
            || unrounded().map_or(difference <= tolerance, |exact| {
                (exact - f64::from(server.cast_signed())).abs() <= tolerated + noise(exact)
            })
    }
}

/// What the arithmetic of two machines makes of the same motion after some thousand ticks, in quanta: it grows with the size of the value, which
/// floats hold to so many digits only.
fn noise(quanta: f64) -> f64 {
    const LAST_DIGITS: f64 = 64.0;
    const ANY_SIZE: f64 = 1.0 / 32.0;
    ANY_SIZE + quanta.abs() * f64::from(f32::EPSILON) * LAST_DIGITS
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
        RowRules::new(&components(), |_| true)
    }

    fn components() -> [ComponentSchema; 2] {
        [
            ComponentSchema { name: "A".into(), fields: vec![field(FieldKind::Vec3, 1000), field(FieldKind::F32, 0)] },
            ComponentSchema { name: "B".into(), fields: vec![field(FieldKind::I32, 0)] },
        ]
    }

    /// The verdict about values that lie `beyond` quanta beyond what they were rounded to.
    fn verdict(predicted: [u32; 5], beyond: f64, server: [u32; 5], tolerance: u32) -> Verdict {
        let unrounded = |lane: usize| Some(f64::from(predicted[lane].cast_signed()) + beyond);
        rules().compare(&predicted, &server, tolerance, unrounded, &mut Vec::new())
    }

    #[test]
    fn within_a_quantum_of_the_servers_row_a_rounded_float_agrees_and_beyond_it_does_not() {
        assert_eq!(verdict([5, 0, 0, 1, 1], 0.5, [5, 0, 0, 1, 1], 1), Verdict::Equal);
        assert_eq!(verdict([5, 0, 0, 1, 1], 0.0, [6, u32::MAX, 0, 1, 1], 1), Verdict::Close);
        assert_eq!(verdict([5, 0, 0, 1, 1], 0.3, [6, 0, 0, 1, 1], 1), Verdict::Close);
        // 4.7 was rounded to 5 here, the server says 6.
        assert_eq!(verdict([5, 0, 0, 1, 1], -0.3, [6, 0, 0, 1, 1], 1), Verdict::Wrong { field: 0 });
        assert_eq!(verdict([5, 0, 0, 1, 1], 0.4, [7, 0, 0, 1, 1], 1), Verdict::Wrong { field: 0 });
        assert_eq!(verdict([5, 0, 0, 1, 1], 0.4, [7, 0, 0, 1, 1], 2), Verdict::Close);
    }

    #[test]
    fn without_tolerance_rows_must_be_the_same() {
        assert_eq!(verdict([5, 0, 0, 1, 1], 0.4, [5, 0, 0, 1, 1], 0), Verdict::Equal);
        assert_eq!(verdict([5, 0, 0, 1, 1], 0.49, [6, 0, 0, 1, 1], 0), Verdict::Wrong { field: 0 });
    }

    #[test]
    fn far_from_the_origin_a_quantum_is_what_floats_can_hold() {
        let far = 20_000_000;
        let exact = |_: usize| Some(f64::from(far));
        let server = [far as u32 + 40, 0, 0, 0, 0];
        let verdict = rules().compare(&[far as u32, 0, 0, 0, 0], &server, 1, exact, &mut Vec::new());
        assert_eq!(verdict, Verdict::Close, "40 mm at 20 km, where a float's steps are 2 mm");
    }

    #[test]
    fn a_rotation_may_be_off_by_half_a_quantum_more() {
        let rotation = ComponentSchema { name: "R".into(), fields: vec![field(FieldKind::Quat, 1000)] };
        let rules = RowRules::new(&[rotation], |_| true);
        let verdict = |beyond: f64| {
            let unrounded = |_: usize| Some(5.0 + beyond);
            rules.compare(&[5, 0, 0, 0], &[6, 0, 0, 0], 1, unrounded, &mut Vec::new())
        };
        assert_eq!((verdict(-0.5), verdict(0.5)), (Verdict::Close, Verdict::Close));
    }

    #[test]
    fn a_component_that_is_not_predicted_is_never_wrong() {
        let rules = RowRules::new(&components(), |component| component == 0);
        let mut wrong = Vec::new();
        assert_eq!(rules.compare(&[0, 0, 0, 1, 1], &[0, 0, 0, 1, 9], 1, |_| None, &mut wrong), Verdict::Equal);
        assert_eq!(
            rules.compare(&[0, 0, 0, 1, 1], &[0, 0, 0, 2, 9], 1, |_| None, &mut wrong),
            Verdict::Wrong { field: 1 }
        );
        assert_eq!(wrong, [false, false, false, true, false]);
    }

    #[test]
    fn who_does_not_know_the_unrounded_value_is_compared_rounded() {
        let verdict = |server| rules().compare(&[5, 0, 0, 1, 1], &[server, 0, 0, 1, 1], 1, |_| None, &mut Vec::new());
        assert_eq!((verdict(6), verdict(7)), (Verdict::Close, Verdict::Wrong { field: 0 }));
    }

    #[test]
    fn whole_floats_and_integers_have_no_tolerance() {
        assert_eq!(verdict([0, 0, 0, 1, 1], 0.0, [0, 0, 0, 2, 1], 1), Verdict::Wrong { field: 1 });
        assert_eq!(verdict([0, 0, 0, 1, 1], 0.0, [0, 0, 0, 1, 2], 1), Verdict::Wrong { field: 2 });
        assert_eq!((rules().component_of(1), rules().component_of(2)), (0, 1));
    }

    #[test]
    fn the_two_ends_of_a_lane_are_far_apart() {
        let (low, high) = (i32::MIN as u32, i32::MAX as u32);
        assert_eq!(verdict([high, 0, 0, 0, 0], 0.0, [low, 0, 0, 0, 0], 1), Verdict::Wrong { field: 0 });
    }

    #[test]
    fn the_error_of_a_field_is_its_distance_in_its_own_units() {
        let (rules, mut wrong) = (rules(), Vec::new());
        let (predicted, server) = ([3000, 0, 0, 1f32.to_bits(), 10], [0, 4000, 0, 1f32.to_bits(), 7]);
        rules.compare(&predicted, &server, 1, |_| None, &mut wrong);
        assert_eq!(wrong, [true, true, false, false, true]);
        assert_eq!(rules.errors(&predicted, &server, &wrong).collect::<Vec<_>>(), [(0, 5.0), (2, 3.0)]);
    }
}

//! What a component must be able to do to be replicated: become lanes, and come back from them.
//! Written by `#[derive(GhostComponent)]`; called by `snapshot` on the server, by `snapshot`, `prediction` and
//! `interpolation` on clients.

use bevy_ecs::component::{Component, Mutable};
use ghostline_wire::{ComponentSchema, QuantiseStats};

/// A component that the server replicates to clients. Derive it; an example is at the derive of the same name.
///
/// Lanes are the 32-bit integers that the wire carries. Slices that are passed here have [`LANES`](Self::LANES)
/// lanes, in the order of the schema's fields. An impl ignores lanes beyond those, and does nothing if there are
/// fewer.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a ghost component",
    label = "not replicated",
    note = "put `#[derive(Component, GhostComponent, Clone, Default)]` on it, and `#[ghost]` on each field that clients shall see"
)]
pub trait GhostComponent: Component<Mutability = Mutable> + Clone + Default {
    /// How many lanes all ghost fields take together.
    const LANES: usize;

    /// The name by which both sides know the component, and its ghost fields. Both sides must agree on it.
    fn schema() -> ComponentSchema;

    /// Writes the ghost fields into `lanes`. Counts in `stats` what had to be changed to fit (NaN, saturated).
    fn write_lanes(&self, lanes: &mut [u32], stats: &mut QuantiseStats);

    /// Takes the ghost fields from `lanes`. All other fields stay as they are.
    fn read_lanes(&mut self, lanes: &[u32]);

    /// Takes from `lanes` those that `wrong` marks, as far as the fields can tell them apart; the rest keeps its own, exact value.
    /// What prediction does with a ghost that was wrong. An impl without it takes all lanes if any is wrong.
    fn correct_lanes(&mut self, lanes: &[u32], wrong: &[bool]) {
        if wrong.contains(&true) {
            self.read_lanes(lanes);
        }
    }

    /// What `lane` is before it is rounded, in steps of its quantisation; `None` for lanes that aren't rounded. What prediction compares with
    /// the server's row where rounding alone could have made the difference. An impl without it is compared rounded.
    fn unrounded_lane(&self, _lane: usize) -> Option<f64> {
        None
    }

    /// Makes `self` the offset that leads from `now` to `shown`, in the fields that are smoothed: those marked with `smoothing = interpolate` or
    /// `extrapolate`. A field that is off by more than its `max_smoothing_distance` has none. An impl without it and the three methods below hides
    /// no correction.
    fn set_offset(&mut self, _shown: &Self, _now: &Self) {}

    /// Moves the smoothed fields by an offset.
    fn add_offset(&mut self, _offset: &Self) {}

    /// Makes the offset `factor` times as long.
    fn scale_offset(&mut self, _factor: f32) {}

    /// How long the offset of the field with the longest one is, in units of that field.
    fn offset_length(&self) -> f32 {
        0.0
    }

    /// Sets the ghost fields to what an interpolated ghost shows between two snapshots, each by its smoothing.
    ///
    /// `factor` 0 or less is exactly `from`, 1 exactly `to`; above 1 is extrapolated beyond `to`. An interpolated field stops at
    /// `to`. A clamped field, and one that changed by more than its `max_smoothing_distance`, shows `from` until `to` is reached.
    fn blend(&mut self, from: &[u32], to: &[u32], factor: f32);
}

#[cfg(test)]
mod tests {
    use bevy_math::{Quat, Vec3};
    use ghostline_wire::{FieldKind, Smoothing};

    use super::*;
    use crate::{CommandData, GhostComponent, InputComponentData, InputEvent};

    #[derive(Component, GhostComponent, Clone, Default, PartialEq, Debug)]
    struct Body {
        #[ghost(quantization = 1000, smoothing = interpolate, max_smoothing_distance = 5)]
        position: Vec3,
        local: String,
        #[ghost(quantization = 1000, smoothing = interpolate_and_extrapolate)]
        rotation: Quat,
        #[ghost(smoothing = extrapolate, max_smoothing_distance = 2.5)]
        speed: f32,
        #[ghost]
        health: i16,
        #[ghost(smoothing = clamp)]
        heat: f32,
    }

    impl Body {
        fn lanes(&self) -> [u32; Self::LANES] {
            let mut lanes = [0; Self::LANES];
            self.write_lanes(&mut lanes, &mut QuantiseStats::default());
            lanes
        }

        fn blended(from: &Self, to: &Self, factor: f32) -> Self {
            let mut body = Self { local: "mine".into(), ..Self::default() };
            body.blend(&from.lanes(), &to.lanes(), factor);
            body
        }
    }

    fn body(x: f32) -> Body {
        Body {
            position: Vec3::new(x, 0.0, 0.0),
            local: "theirs".into(),
            rotation: Quat::from_rotation_z(x),
            speed: x,
            health: -7,
            heat: x,
        }
    }

    #[test]
    fn marked_fields_travel_and_the_others_stay() {
        let mut received = Body { local: "mine".into(), ..Body::default() };
        received.read_lanes(&body(1.25).lanes());
        assert_eq!(received.position, Vec3::new(1.25, 0.0, 0.0));
        assert!((received.rotation - Quat::from_rotation_z(1.25)).length() < 0.001);
        assert_eq!((received.speed, received.health, received.heat), (1.25, -7, 1.25));
        assert_eq!(received.local, "mine");
    }

    #[test]
    fn a_correction_takes_the_wrong_lanes_and_leaves_the_exact_rest() {
        let (mut own, server) = (body(1.23456), body(7.0));
        own.position = Vec3::new(0.123_456_7, 0.234_567_8, 0.345_678_9);
        let before = own.clone();
        let mut wrong = [false; Body::LANES];
        own.correct_lanes(&server.lanes(), &wrong);
        assert_eq!(own, before);
        wrong[1] = true; // position.y
        wrong[9] = true; // heat
        own.correct_lanes(&server.lanes(), &wrong);
        assert_eq!(own.position, Vec3::new(0.123_456_7, 0.0, 0.345_678_9));
        assert_eq!((own.heat, own.speed, own.rotation), (7.0, before.speed, before.rotation));
        wrong[3] = true; // a lane of the rotation: a rotation is right or wrong as a whole
        own.correct_lanes(&server.lanes(), &wrong);
        assert!((own.rotation - Quat::from_rotation_z(7.0)).length() < 0.002);
        own.correct_lanes(&[], &wrong);
        assert_eq!(own.heat, 7.0);
    }

    #[test]
    fn the_schema_names_what_is_sent_in_order() {
        let schema = Body::schema();
        assert_eq!(schema.name, "Body");
        let fields: Vec<_> = schema
            .fields
            .iter()
            .map(|field| {
                (field.name.as_str(), field.kind, field.quantization, field.smoothing, field.max_smoothing_distance)
            })
            .collect();
        assert_eq!(
            fields,
            [
                ("position", FieldKind::Vec3, 1000, Smoothing::Interpolate, Some(5.0)),
                ("rotation", FieldKind::Quat, 1000, Smoothing::InterpolateAndExtrapolate, None),
                ("speed", FieldKind::F32, 0, Smoothing::InterpolateAndExtrapolate, Some(2.5)),
                ("health", FieldKind::I16, 0, Smoothing::Clamp, None),
                ("heat", FieldKind::F32, 0, Smoothing::Clamp, None),
            ]
        );
        assert_eq!(Body::LANES, schema.lanes());
    }

    #[test]
    fn between_snapshots_each_field_follows_its_smoothing() {
        let shown = Body::blended(&body(1.0), &body(2.0), 0.5);
        assert_eq!(shown.position.x, 1.5);
        assert!((shown.rotation - Quat::from_rotation_z(1.5)).length() < 0.001);
        assert_eq!((shown.speed, shown.heat), (1.5, 1.0));
        assert_eq!(shown.local, "mine");
    }

    #[test]
    fn past_the_newest_snapshot_only_extrapolated_fields_go_on() {
        let shown = Body::blended(&body(1.0), &body(2.0), 1.5);
        assert_eq!(shown.position.x, 2.0);
        assert!((shown.rotation - Quat::from_rotation_z(2.5)).length() < 0.002);
        assert_eq!((shown.speed, shown.heat), (2.5, 2.0));
    }

    #[test]
    fn a_jump_has_nothing_in_between() {
        let (from, to) = (body(1.0), Body { speed: 3.6, ..body(6.125) });
        let shown = Body::blended(&from, &to, 0.9);
        assert_eq!((shown.position.x, shown.speed), (1.0, 1.0));
        let arrived = Body::blended(&from, &to, 1.5);
        assert_eq!((arrived.position.x, arrived.speed), (6.125, 3.6));
    }

    #[test]
    fn a_change_of_just_the_distance_is_still_smoothed() {
        assert_eq!(Body::blended(&body(1.0), &Body { speed: 3.5, ..body(6.0) }, 0.5).position.x, 3.5);
        assert_eq!(Body::blended(&body(1.0), &Body { speed: 3.5, ..body(6.0) }, 0.5).speed, 2.25);
    }

    #[test]
    fn a_speed_that_is_not_a_number_jumps() {
        let shown = Body::blended(&body(1.0), &Body { speed: f32::NAN, ..body(2.0) }, 0.5);
        assert_eq!(shown.speed, 1.0);
    }

    #[test]
    fn short_lanes_change_nothing() {
        let lanes = body(1.0).lanes();
        for count in 0..Body::LANES {
            let mut received = body(2.0);
            received.read_lanes(&lanes[..count]);
            received.blend(&lanes[..count], &lanes, 0.5);
            received.blend(&lanes, &lanes[..count], 0.5);
            assert_eq!(received, body(2.0));
            let mut short = vec![7; count];
            received.write_lanes(&mut short, &mut QuantiseStats::default());
            assert_eq!(short, vec![7; count]);
        }
    }

    #[test]
    fn lanes_beyond_the_component_are_left_alone() {
        let mut lanes = [9; Body::LANES + 2];
        body(1.0).write_lanes(&mut lanes, &mut QuantiseStats::default());
        assert_eq!(lanes[Body::LANES..], [9, 9]);
        assert_eq!(lanes[..Body::LANES], body(1.0).lanes());
    }

    #[derive(Component, GhostComponent, Clone, Default)]
    #[ghost(name = "combat::Score")]
    struct Score(#[ghost] u64, bool, #[ghost(quantization = 10)] f32);

    #[test]
    fn fields_of_a_tuple_struct_are_named_by_position() {
        let schema = Score::schema();
        assert_eq!(schema.name, "combat::Score");
        assert_eq!(schema.fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), ["0", "2"]);
        let mut lanes = [0; Score::LANES];
        Score(1 << 40, true, 0.5).write_lanes(&mut lanes, &mut QuantiseStats::default());
        assert_eq!(lanes, [0, 256, 5]);
        let mut score = Score(0, true, 0.0);
        score.read_lanes(&lanes);
        assert!((score.0, score.1, score.2) == (1 << 40, true, 0.5));
    }

    #[derive(Component, GhostComponent, InputComponentData, Clone, Default, PartialEq)]
    struct ShownInput {
        #[ghost(quantization = 10)]
        #[input(quantization = 100)]
        r#move: f32,
        #[ghost]
        jump: InputEvent,
        private: u8,
    }

    #[test]
    fn an_input_can_be_a_ghost_component_as_well() {
        assert_eq!((<ShownInput as GhostComponent>::LANES, <ShownInput as CommandData>::LANES), (2, 3));
        let ghost = <ShownInput as GhostComponent>::schema();
        let input = <ShownInput as CommandData>::schema();
        assert_eq!((ghost.fields[0].name.as_str(), ghost.fields[0].quantization), ("move", 10));
        assert_eq!((input.fields[0].name.as_str(), input.fields[0].quantization), ("move", 100));
        assert_eq!(ghost.fields[1].kind, FieldKind::U32);
    }

    /// Names that the generated code would find first if it used any of them without its path.
    mod shadowed {
        #![expect(non_camel_case_types, dead_code, reason = "these names are the point")]

        use bevy_ecs::component::Component;

        struct Option;
        struct Some;
        struct None;
        struct Result;
        struct Ok;
        struct String;
        struct Default;
        struct usize;
        struct u32;
        struct f32;
        struct str;
        struct Smoothing;
        trait GhostField {}
        trait GhostComponent {}
        mod core {}
        mod std {}

        #[derive(Component, ghostline::GhostComponent, ghostline::InputComponentData, Clone, Default, PartialEq)]
        pub(super) struct Field {
            #[ghost(quantization = 10, smoothing = interpolate, max_smoothing_distance = 1.0)]
            lanes: ::core::primitive::f32,
            #[ghost]
            stats: bool,
            #[ghost]
            before: ghostline::InputEvent,
        }

        #[derive(Component, ghostline::RpcCommand)]
        pub(super) struct Message {
            pub(super) input: bool,
            pub(super) out: ::core::primitive::u32,
        }
    }

    #[test]
    fn names_of_the_game_do_not_get_into_the_generated_code() {
        assert_eq!(<shadowed::Field as GhostComponent>::LANES, 3);
        let message = shadowed::Message { input: true, out: 3 };
        let mut out = ghostline_wire::BitWriter::new();
        crate::RpcCommand::encode(&message, &mut out);
        let decoded: shadowed::Message =
            crate::RpcCommand::decode(&mut ghostline_wire::BitReader::new(out.as_bytes())).unwrap();
        assert_eq!((decoded.input, decoded.out), (true, 3));
    }
}

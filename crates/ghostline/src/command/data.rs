//! What a struct must be able to do to be streamed from a client to the server, one value per tick. Written by
//! `#[derive(CommandData)]` and `#[derive(InputComponentData)]`; called where commands are stored, sent, received,
//! applied.

use bevy_ecs::component::{Component, Mutable};
use bevy_math::{Quat, Vec2, Vec3};
use ghostline_wire::{BitReader, BitWriter, ComponentSchema, DecodeError, QuantiseStats};

use crate::ghost::GhostField;

/// What a [`CommandBuffer`](super::CommandBuffer) can hold. Every type that can is one.
pub trait CommandValue: Clone + Default + PartialEq + Send + Sync + 'static {}

impl<T: Clone + Default + PartialEq + Send + Sync + 'static> CommandValue for T {}

/// A command with bits of its own, for what rows of lanes can't say: a list of any length, a rare field. Registered with
/// [`register_command_with_codec`](super::CommandAppExt::register_command_with_codec).
///
/// A packet holds the newest command and the ones before it. The newest is written for itself, each of the others against the newest, or with a single
/// bit if it is the same as the one after it. All of them together may have 1,024 bytes. Reading must end after the same number of bits, and must be
/// total: the bits come from a peer.
pub trait CommandCodec: CommandValue {
    /// The name by which both sides know the command. Change it when the bits change, so that two versions don't misread each other.
    const NAME: &'static str;

    /// Writes the command for itself.
    fn encode(&self, out: &mut BitWriter);

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// The bits are no such command.
    fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError>;

    /// Writes the command as its difference from a newer one.
    fn encode_delta(&self, newest: &Self, out: &mut BitWriter);

    /// Reads what [`encode_delta`](Self::encode_delta) wrote.
    ///
    /// # Errors
    /// The bits are no such difference.
    fn decode_delta(newest: &Self, input: &mut BitReader<'_>) -> Result<Self, DecodeError>;
}

/// A command: what a player asks for in one tick. Derive it; an example is at the derive of the same name.
///
/// Lanes are the 32-bit integers that the wire carries, [`LANES`](Self::LANES) of them in the order of the schema's
/// fields. They come from a peer: any lanes make a value.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a command",
    label = "can't be streamed to the server",
    note = "put `#[derive(CommandData, Clone, Default, PartialEq)]` on it; \
            on an input component `#[derive(Component, InputComponentData, Clone, Default, PartialEq)]`, which includes it"
)]
pub trait CommandData: CommandValue {
    /// How many lanes all fields take together.
    const LANES: usize;

    /// The name by which both sides know the command, and its fields. Both sides must agree on it.
    fn schema() -> ComponentSchema;

    /// Writes all fields into `lanes`. Does nothing if there are fewer than [`LANES`](Self::LANES).
    fn write_lanes(&self, lanes: &mut [u32]);

    /// The command that `lanes` hold; the default one if there are fewer than [`LANES`](Self::LANES).
    fn read_lanes(lanes: &[u32]) -> Self;
}

/// A component that holds a player's input of one tick. Derive it; an example is at the derive of the same name.
///
/// The game writes it in input systems and reads it in prediction; the command buffer between the two is not the
/// game's concern.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an input component",
    label = "can't be filled from commands",
    note = "put `#[derive(Component, InputComponentData, Clone, Default, PartialEq)]` on it"
)]
pub trait InputComponentData: CommandData + Component<Mutability = Mutable> {
    /// Whether a prediction step that merges ticks must end where this input changes. `#[input(batch_predict)]` on the struct says that it need not: an
    /// input whose change may be felt a few ticks late.
    const BREAKS_BATCHES: bool = true;

    /// How many lanes the fields marked with `#[ghost]` take together: those that the server replicates to players who predict somebody else's ghost.
    const GHOST_LANES: usize = 0;

    /// The replicated fields, under the name of the input; `None` without such.
    fn ghost_schema() -> Option<ComponentSchema> {
        None
    }

    /// Writes the replicated fields into `lanes`.
    fn write_ghost_lanes(&self, _lanes: &mut [u32], _stats: &mut QuantiseStats) {}

    /// Takes the replicated fields from `lanes`; the others stay as they are.
    fn read_ghost_lanes(&mut self, _lanes: &[u32]) {}

    /// Adds the counts of all events of `before`, the buffer's element so far, so that counts grow from tick to tick.
    fn add_events(&mut self, before: &Self);

    /// Subtracts the counts of all events of `before`, the element before this step, so that those of this step are
    /// left.
    fn subtract_events(&mut self, before: &Self);
}

/// A field of an input component. All but events do nothing here.
#[diagnostic::on_unimplemented(
    message = "a field of type `{Self}` can't be part of an input",
    label = "no input field type",
    note = "write `impl InputField for {Self} {{}}` beside its impl of `GhostField`; the methods have defaults"
)]
pub trait InputField: GhostField {
    /// Adds the count of `before`, wrapping, if this is an event.
    fn add_event(&mut self, _before: &Self) {}

    /// Subtracts the count of `before`, wrapping, if this is an event.
    fn subtract_event(&mut self, _before: &Self) {}
}

macro_rules! fields_without_events {
    ($($field:ty),*) => { $( impl InputField for $field {} )* };
}
fields_without_events!(bool, u8, u16, u32, u64, i8, i16, i32, i64, f32, Vec2, Vec3, Quat);

#[cfg(test)]
mod tests {
    use ghostline_wire::FieldKind;
    use proptest::prelude::*;

    use super::*;
    use crate::{CommandData, InputComponentData, InputEvent};

    #[derive(Component, InputComponentData, Clone, Copy, Default, PartialEq, Debug)]
    struct PlayerInput {
        horizontal: i8,
        #[input(quantization = 100)]
        aim: Vec2,
        jump: InputEvent,
        fire: Press,
    }

    /// The derive must count it under any name.
    type Press = InputEvent;

    #[derive(CommandData, Clone, Default, PartialEq, Debug)]
    #[input(name = "drive")]
    struct Drive(u64, bool);

    fn presses(jump: u32, fire: u32) -> PlayerInput {
        PlayerInput { jump: InputEvent { count: jump }, fire: InputEvent { count: fire }, ..PlayerInput::default() }
    }

    proptest! {
        #[test]
        fn every_field_of_a_command_travels(horizontal: i8, x in -100i32..100, jump: u32, number: u64, flag: bool) {
            let input = PlayerInput { horizontal, aim: Vec2::new(x as f32 / 4.0, -0.25), ..presses(jump, 1) };
            let mut lanes = [0; PlayerInput::LANES];
            input.write_lanes(&mut lanes);
            prop_assert_eq!(PlayerInput::read_lanes(&lanes), input);

            let mut lanes = [0; Drive::LANES];
            Drive(number, flag).write_lanes(&mut lanes);
            prop_assert_eq!(Drive::read_lanes(&lanes), Drive(number, flag));
        }

        #[test]
        fn any_lanes_make_a_command(lanes: [u32; PlayerInput::LANES]) {
            let input = PlayerInput::read_lanes(&lanes);
            prop_assert_eq!(input.horizontal, (lanes[0] & 0xFF) as i8);
            prop_assert_eq!(input.jump.count, lanes[3]);
        }

        #[test]
        fn what_was_added_to_events_can_be_subtracted_over_the_wrap(
            before: [u32; 2],
            jumps in 0..=InputEvent::MAX_PRESSES,
            shots in 0..=InputEvent::MAX_PRESSES,
        ) {
            let (before, now) = (presses(before[0], before[1]), presses(jumps, shots));
            let mut input = now;
            input.add_events(&before);
            prop_assert_eq!(input.jump.count, now.jump.count.wrapping_add(before.jump.count));
            input.subtract_events(&before);
            prop_assert_eq!(input, now);
        }
    }

    #[test]
    fn only_events_are_counted() {
        let mut input = PlayerInput { horizontal: 1, aim: Vec2::ONE, ..presses(2, 3) };
        let before = PlayerInput { horizontal: 5, aim: Vec2::new(7.0, 7.0), ..presses(10, 20) };
        input.add_events(&before);
        assert_eq!(input, PlayerInput { horizontal: 1, aim: Vec2::ONE, ..presses(12, 23) });
    }

    #[test]
    fn the_schema_of_a_command_names_all_fields() {
        let schema = PlayerInput::schema();
        let fields: Vec<_> =
            schema.fields.iter().map(|field| (field.name.as_str(), field.kind, field.quantization)).collect();
        assert_eq!(
            fields,
            [
                ("horizontal", FieldKind::I8, 0),
                ("aim", FieldKind::Vec2, 100),
                ("jump", FieldKind::U32, 0),
                ("fire", FieldKind::U32, 0)
            ]
        );
        assert_eq!((schema.name.as_str(), Drive::schema().name.as_str()), ("PlayerInput", "drive"));
        assert_eq!(PlayerInput::LANES, schema.lanes());
    }

    #[test]
    fn short_lanes_are_the_default_command() {
        for count in 0..PlayerInput::LANES {
            let mut lanes = vec![3; count];
            assert_eq!(PlayerInput::read_lanes(&lanes), PlayerInput::default());
            presses(1, 1).write_lanes(&mut lanes);
            assert_eq!(lanes, vec![3; count]);
        }
    }
}

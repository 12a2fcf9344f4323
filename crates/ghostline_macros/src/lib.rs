//! The derive macros of ghostline. They read a struct and its attributes, and write impls of the traits that
//! `ghostline` defines; a game uses them through `ghostline`, which re-exports each beside the trait of its name. The
//! generated code names everything by absolute path (`::ghostline::…`), and can't panic for any lanes or bytes.

mod attributes;
mod command;
mod ghost_component;
mod rpc_command;
mod sent_field;
mod structure;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Derives `ghostline::GhostComponent`: a component whose marked fields are replicated from the server to clients.
///
/// Only fields with `#[ghost]` or `#[ghost(…)]` are replicated, and at least one must be; all others keep the value
/// that they have on that side. The struct must also be `Component` (mutable), `Clone` and `Default`.
///
/// | key | value | default | meaning |
/// |---|---|---|---|
/// | `quantization` | integer, 1 or more | off | floats only: send `round(value × quantization)` as an integer |
/// | `smoothing` | `clamp`, `interpolate`, `extrapolate` (or `interpolate_and_extrapolate`) | `clamp` | what an interpolated ghost shows between two snapshots, and past the newest |
/// | `max_smoothing_distance` | number above 0, in units of the field | none | a change larger than this is a jump: nothing between is shown. Of quaternions, the sine of half the angle |
///
/// Fields may be `bool`, `u8`–`u64`, `i8`–`i64`, `f32`, `Vec2`, `Vec3`, `Quat`, `InputEvent`, or a type with an own
/// impl of `GhostField`. Smoothing blends floats, vectors and quaternions; the others hold their value until the next
/// snapshot.
///
/// `#[ghost(name = "…")]` on the struct replaces the name by which both sides know it, where two structs share one.
///
/// # Errors
///
/// Does not compile on enums, unions, generic structs, structs without a marked field, unknown keys, and values out
/// of range.
///
/// # Examples
///
/// ```
/// use bevy_ecs::component::Component;
/// use bevy_math::{Quat, Vec3};
/// use ghostline::GhostComponent;
///
/// #[derive(Component, GhostComponent, Clone, Default)]
/// struct Body {
///     #[ghost(quantization = 1000, smoothing = interpolate, max_smoothing_distance = 5.0)]
///     position: Vec3,
///     #[ghost(quantization = 1000, smoothing = extrapolate)]
///     rotation: Quat,
///     #[ghost]
///     team: u8,
///     /// Not replicated.
///     footstep_timer: f32,
/// }
///
/// assert_eq!(Body::LANES, 3 + 4 + 1);
/// assert_eq!(Body::schema().name, "Body");
/// ```
#[proc_macro_derive(GhostComponent, attributes(ghost))]
pub fn derive_ghost_component(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    finish(ghost_component::derive(&input))
}

/// Derives `ghostline::CommandData`: a struct that a client streams to the server, one value per tick.
///
/// Every field is sent. The struct must also be `Clone`, `Default` and `PartialEq`. `#[input(quantization = n)]` on a
/// float, vector or quaternion sends `round(value × n)`; `#[input(name = "…")]` on the struct replaces the name by
/// which both sides know it. An input that is a component is better derived with
/// [`InputComponentData`](macro@InputComponentData), which includes this derive.
///
/// # Errors
///
/// Does not compile on enums, unions, generic structs, structs without fields, unknown keys, and values out of range.
///
/// # Examples
///
/// ```
/// use bevy_math::Vec2;
/// use ghostline::CommandData;
///
/// #[derive(CommandData, Clone, Default, PartialEq)]
/// struct Drive {
///     #[input(quantization = 100)]
///     stick: Vec2,
///     gear: i8,
/// }
///
/// let mut lanes = [0; Drive::LANES];
/// Drive { stick: Vec2::new(0.5, -1.0), gear: -1 }.write_lanes(&mut lanes);
/// assert!(Drive::read_lanes(&lanes) == Drive { stick: Vec2::new(0.5, -1.0), gear: -1 });
/// ```
#[proc_macro_derive(CommandData, attributes(input))]
pub fn derive_command_data(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    finish(command::derive_command(&input))
}

/// Derives `ghostline::InputComponentData`, and `ghostline::CommandData` with it: a component that holds a player's
/// input.
///
/// Every field is sent, as with [`CommandData`](macro@CommandData) and with the same attributes. Fields of type
/// `InputEvent` are counted, so that each press is seen exactly once. The struct must also be `Component` (mutable),
/// `Clone`, `Default` and `PartialEq`.
///
/// A field with `#[ghost]` is also replicated from the server to the players who predict somebody else's ghost, so that they
/// predict with what its owner did last; `#[ghost(quantization = n)]` is its precision there. The owner's own input is never
/// overwritten by it. `#[input(batch_predict)]` on the struct lets prediction merge ticks although this input changes between
/// them.
///
/// # Errors
///
/// Does not compile on enums, unions, generic structs, structs without fields, unknown keys, and values out of range.
///
/// # Examples
///
/// ```
/// use bevy_ecs::component::Component;
/// use ghostline::{InputComponentData, InputEvent};
///
/// #[derive(Component, InputComponentData, Clone, Copy, Default, PartialEq)]
/// struct PlayerInput {
///     #[ghost]
///     horizontal: i8,
///     vertical: i8,
///     jump: InputEvent,
/// }
///
/// let mut input = PlayerInput::default();
/// input.jump.set();
/// assert!(input.jump.is_set());
/// ```
#[proc_macro_derive(InputComponentData, attributes(input, ghost))]
pub fn derive_input_component_data(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    finish(command::derive_input_component(&input))
}

/// Derives `ghostline::RpcCommand`: a message that is sent once, reliably, from the server to clients or the other way.
///
/// Every field is sent, in the order written; a struct without fields is a message that says all by its type. The
/// struct must also be `Component`. Fields may be `bool`, integers, `f32`, `f64`, `Vec2`, `Vec3`, `Quat`,
/// `NetworkTick`, `GhostRef`, `FixedString<N>`, `FixedList<T, N>`, arrays and `Option`s of these, or a type with an own impl of `RpcField`.
///
/// | key, on the struct | meaning |
/// |---|---|
/// | `name = "…"` | replaces the name by which both sides know it |
/// | `unreliable` | may be lost and overtaken, and never holds anything back; else it arrives, once and in order |
///
/// # Errors
///
/// Does not compile on enums, unions, generic structs, and unknown keys.
///
/// # Examples
///
/// ```
/// use bevy_ecs::component::Component;
/// use ghostline::{FixedString, RpcCommand};
///
/// #[derive(Component, RpcCommand)]
/// struct ChatMessage {
///     channel: u8,
///     text: FixedString<128>,
/// }
///
/// #[derive(Component, RpcCommand)]
/// struct LevelLoaded;
///
/// assert_eq!(ChatMessage::canonical_text(), "ChatMessage(channel:u8,text:string128)");
/// assert_eq!(LevelLoaded::canonical_text(), "LevelLoaded()");
/// ```
#[proc_macro_derive(RpcCommand, attributes(rpc))]
pub fn derive_rpc_command(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    finish(rpc_command::derive(&input))
}

/// Derives `ghostline::ApprovalRpcCommand`, and `ghostline::RpcCommand` with it: a message that may be sent before the
/// connection is approved, such as a password or a ticket.
///
/// Everything else is as with [`RpcCommand`](macro@RpcCommand). Register it with `register_approval_rpc`.
///
/// # Errors
///
/// Does not compile on enums, unions, generic structs, and unknown keys.
///
/// # Examples
///
/// ```
/// use bevy_ecs::component::Component;
/// use ghostline::{ApprovalRpcCommand, FixedString};
///
/// #[derive(Component, ApprovalRpcCommand)]
/// struct Password {
///     text: FixedString<64>,
/// }
/// ```
#[proc_macro_derive(ApprovalRpcCommand, attributes(rpc))]
pub fn derive_approval_rpc_command(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    finish(rpc_command::derive_approval(&input))
}

fn finish(result: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    result.unwrap_or_else(|error| error.into_compile_error()).into()
}

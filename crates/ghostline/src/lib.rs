//! ghostline: server-authoritative netcode for games on Bevy's ECS.

#![forbid(unsafe_code)]

extern crate self as ghostline;

pub mod command;
pub mod connection;
pub mod ghost;
mod interpolation;
pub mod prediction;
pub mod prelude;
pub mod rpc;
pub mod schedule;
pub mod snapshot;
pub mod stats;
pub mod time;
pub mod world;

pub use ghostline_transport as transport;
pub use ghostline_wire as wire;

#[doc(hidden)]
#[path = "macro_support.rs"]
pub mod __macro;

// Each derive has the name of the trait that it implements, as with serde.
pub use command::{CommandData, InputComponentData, InputEvent, InputField};
pub use ghost::{GhostComponent, GhostField};
pub use ghostline_macros::{CommandData, GhostComponent, InputComponentData, RpcCommand};
pub use rpc::{FixedString, RpcCommand, RpcField};

//! ghostline: server-authoritative netcode for games on Bevy's ECS.

extern crate self as ghostline;

pub mod command;
pub mod ghost;
pub mod rpc;
pub mod time;

pub use ghostline_wire as wire;
pub use ghostline_transport as transport;

#[doc(hidden)]
#[path = "macro_support.rs"]
pub mod __macro;

// Each derive has the name of the trait that it implements, as with serde.
pub use command::{CommandData, InputComponentData, InputEvent, InputField};
pub use ghost::{GhostComponent, GhostField};
pub use ghostline_macros::{CommandData, GhostComponent, InputComponentData, RpcCommand};
pub use rpc::{FixedString, RpcCommand, RpcField};

//! ghostline: server-authoritative netcode for games on Bevy's ECS.

extern crate self as ghostline;

pub mod command;
pub mod ghost;
pub mod rpc;
pub mod time;

pub use ghostline_wire as wire;
pub use ghostline_transport as transport;

//! RPCs: reliable one-off messages between a client and the server.

mod data;
mod field;
mod fixed_string;

pub use data::{RpcCommand, RpcField};
pub use field::MAX_RPC_ARRAY_ELEMENTS;
pub use fixed_string::{FixedString, MAX_FIXED_STRING_BYTES};

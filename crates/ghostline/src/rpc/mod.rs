//! RPCs: reliable one-off messages between a client and the server, in order.

mod data;
mod field;
mod fixed_string;
mod receive;
mod registry;
mod send;

pub use data::{RpcCommand, RpcField};
pub use field::MAX_RPC_ARRAY_ELEMENTS;
pub use fixed_string::{FixedString, MAX_FIXED_STRING_BYTES};
pub use receive::{ReceiveRpcCommandRequest, receive, spawn_received};
pub(crate) use receive::{ReceivedRpcs, forget_connection};
pub use registry::{MAX_RPC_TYPES, RegisterRpcError, RpcAppExt, RpcCollection};
pub use send::{MAX_WAITING_RPC_BYTES, SendRpcCommandRequest, flush, send_requests};
pub(crate) use send::{RpcRequests, push_internal};

//! RPCs: reliable one-off messages between a client and the server, in order.

mod data;
mod field;
mod fixed_string;
mod ghost_ref;
mod receive;
mod registry;
mod send;
mod sender;

pub use data::{ApprovalRpcCommand, RpcCommand, RpcField};
pub use field::MAX_RPC_ARRAY_ELEMENTS;
pub use fixed_string::{FixedString, MAX_FIXED_STRING_BYTES};
pub use ghost_ref::{GhostMapping, GhostRef};
pub use receive::{MaxRpcAgeFrames, ReceiveRpcCommandRequest, receive, spawn_received};
pub(crate) use receive::{ReceivedRpcs, diagnose, forget_connection, move_received};
pub use registry::{MAX_RPC_TYPES, RegisterRpcError, RpcAppExt, RpcCollection};
pub use send::{MAX_WAITING_RPC_BYTES, SendRpcCommandRequest, flush, send_requests};
pub(crate) use send::{RpcRequests, push_internal, put_behind, take_queued};
pub use sender::{RpcSender, SendRpcError};

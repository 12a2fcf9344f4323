//! RPCs: reliable one-off messages between a client and the server, in order.

mod buffer;
mod data;
mod field;
mod fixed_list;
mod fixed_string;
mod ghost_ref;
mod receive;
mod registry;
mod send;
mod sender;

pub use buffer::{
    IncomingRpcDataStreamBuffer, MAX_INCOMING_RPC_BYTES, MAX_WAITING_RPC_BYTES, MAX_WAITING_UNRELIABLE_RPC_BYTES,
    OutgoingRpcDataStreamBuffer,
};
pub use data::{ApprovalRpcCommand, RpcCommand, RpcDelivery, RpcField, RpcValueError};
pub use field::MAX_RPC_ARRAY_ELEMENTS;
pub use fixed_list::{FixedList, MAX_FIXED_LIST_CAPACITY, MAX_RPC_LIST_ELEMENTS};
pub use fixed_string::{FixedString, MAX_FIXED_STRING_BYTES};
pub use ghost_ref::{GhostMapping, GhostRef};
pub use receive::{MAX_RPCS_PER_TICK, MaxRpcAgeFrames, ReceiveRpcCommandRequest, receive, spawn_received};
pub(crate) use receive::{ReceivedRpcs, diagnose, forget_connection, move_received};
pub use registry::{MAX_RPC_TYPES, RegisterRpcError, RpcAppExt, RpcCollection};
pub(crate) use send::{RpcRequests, push_internal, queue_first};
pub use send::{SendRpcCommandRequest, flush, send_requests};
pub use sender::{RpcSender, SendRpcError};

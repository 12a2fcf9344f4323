//! Connections: entities with a state machine, buffers, events for the tick, and a reason for every end.

mod components;
mod driver;
mod events;
mod handshake;
mod in_game;
mod lifecycle;
mod reason;

pub use components::{
    CommandTarget, ConnectionStatus, INVALID_MESSAGE_WINDOW, IncomingCommandDataStreamBuffer,
    IncomingRpcDataStreamBuffer, IncomingSnapshotDataStreamBuffer, InvalidMessages, LocalConnection,
    MAX_INCOMING_MESSAGES, MAX_INVALID_MESSAGES, MAX_RPC_PAYLOAD_BYTES, NetworkId, NetworkSnapshotAck,
    NetworkStreamConnection, NetworkStreamInGame, NetworkStreamRequestDisconnect, OutgoingCommandDataStreamBuffer,
    OutgoingRpcDataStreamBuffer,
};
pub use driver::{ConnectionError, ConnectionWorldExt, NetworkStreamDriver};
pub use events::{ConnectionEvents, NetCodeConnectionEvent};
pub use handshake::{NetworkIdAllocation, NetworkProtocolVersion};
pub(crate) use handshake::{execute_internal, protocol_version};
pub use in_game::InGameAppExt;
pub(crate) use lifecycle::{close, count_invalid, live_connections};
pub use lifecycle::{flush, pump_idle, receive};
pub use reason::DisconnectReason;

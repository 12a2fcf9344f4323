//! Connections: entities with a state machine, buffers, events for the tick, and a reason for every end.

mod approval;
mod components;
mod driver;
mod events;
mod handshake;
mod identity;
mod in_game;
mod lifecycle;
mod log_limit;
mod migration;
mod mismatch;
mod overview;
mod reason;
mod requests;
mod state;
mod tick_rate;
mod waiting_room;

pub use approval::ConnectionApproved;

pub use components::{
    CommandTarget, ConnectionStatus, DisconnectText, INVALID_MESSAGE_WINDOW, IncomingCommandDataStreamBuffer,
    IncomingSnapshotDataStreamBuffer, InvalidMessages, LocalConnection, MAX_INCOMING_MESSAGES,
    MAX_INCOMING_RPC_MESSAGES, MAX_INVALID_MESSAGES, MAX_RPC_PAYLOAD_BYTES, MAX_WAITING_DRIVER_EVENTS, NetworkId,
    NetworkSnapshotAck, NetworkStreamConnection, NetworkStreamInGame, NetworkStreamRequestDisconnect,
    OutgoingCommandDataStreamBuffer,
};
pub(crate) use driver::own_handle;
pub use driver::{ConnectionError, ConnectionWorldExt, NetworkStreamDriver};
pub(crate) use events::rotate_changes;
pub use events::{ConnectionChanged, ConnectionEvents, NetCodeConnectionEvent};
pub use handshake::{NetworkIdAllocation, NetworkProtocolVersion};
pub(crate) use handshake::{execute_internal, protocol_version};
pub(crate) use identity::KnownSessions;
pub use identity::{
    ConnectionSecrets, ConnectionUniqueId, MAX_KNOWN_SESSIONS, NetworkStreamIsReconnected, ResumeToken,
};
pub use in_game::InGameAppExt;
pub use lifecycle::{MAX_PENDING_CLIENTS, flush, pump_idle, receive};
pub(crate) use lifecycle::{close, count_invalid, live_connections};
pub(crate) use log_limit::{LogLimits, Unlogged};
pub(crate) use migration::{MIGRATED, move_resources};
pub(crate) use mismatch::is_ending;
pub use mismatch::{MAX_PROTOCOL_LINES, MISMATCH_GRACE};
pub use overview::{ConnectionOverview, DriverOverview, WorldOverview};
pub use reason::DisconnectReason;
pub(crate) use requests::ConnectionRequests;
pub use requests::{
    ListenRequestState, NetworkStreamRequestConnect, NetworkStreamRequestListen, NetworkStreamRequestListenResult,
};
pub use state::{ConnectionState, LinkedEntityGroup};
pub(crate) use waiting_room::WaitingRoom;
// Parts of a connection entity, kept where they are filled and emptied.
pub use crate::rpc::{IncomingRpcDataStreamBuffer, OutgoingRpcDataStreamBuffer};
pub use tick_rate::tell_tick_rate;

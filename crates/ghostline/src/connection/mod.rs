//! Connections: entities with a state machine, buffers, events for the tick, and a reason for every end.

#[cfg(feature = "server")]
mod admission;
mod approval;
mod components;
mod driver;
mod events;
mod handshake;
mod identity;
mod in_game;
#[cfg(feature = "client")]
mod joining;
mod lifecycle;
mod log_limit;
mod migration;
mod mismatch;
mod overview;
mod reason;
mod requests;
#[cfg(feature = "server")]
mod sessions;
mod state;
#[cfg(feature = "server")]
mod tick_rate;
#[cfg(feature = "server")]
mod waiting_room;

#[cfg(feature = "server")]
pub use admission::NetworkIdAllocation;
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
pub use handshake::NetworkProtocolVersion;
pub(crate) use handshake::{execute_internal, protocol_version};
pub use identity::{ConnectionUniqueId, NetworkStreamIsReconnected, ResumeToken};
pub use in_game::InGameAppExt;
pub use lifecycle::{MAX_PENDING_CLIENTS, flush, pump_idle, receive};
pub(crate) use lifecycle::{close, count_invalid, live_connections, local_network_id};
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
#[cfg(feature = "server")]
pub(crate) use sessions::KnownSessions;
#[cfg(feature = "server")]
pub use sessions::{ConnectionSecrets, MAX_KNOWN_SESSIONS};
pub use state::{ConnectionState, LinkedEntityGroup};
#[cfg(feature = "server")]
pub(crate) use waiting_room::WaitingRoom;
// Parts of a connection entity, kept where they are filled and emptied.
pub use crate::rpc::{IncomingRpcDataStreamBuffer, OutgoingRpcDataStreamBuffer};
#[cfg(feature = "server")]
pub use tick_rate::tell_tick_rate;

//! What a connection entity carries: its state, its identity, its message buffers and its statistics.

use bevy_ecs::prelude::{Component, Entity};
use ghostline_transport::{ConnectionHandle, DriverId};
use ghostline_wire::{NetworkTick, limits};
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::reason::DisconnectReason;
use crate::time::RttEstimator;

/// Where a connection stands. Ordered by progress.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum ConnectionStatus {
    /// Never seen on a connection; the zero of the enumeration.
    #[default]
    Unknown = 0,
    /// Over. The entity is gone when this is read; only events say it.
    Disconnected = 1,
    /// The client has called, the server hasn't answered.
    Connecting = 2,
    /// The transport is connected; the protocol versions are being compared.
    Handshake = 3,
    /// The server waits for the game's approval.
    Approval = 4,
    /// Connected, with a [`NetworkId`].
    Connected = 5,
}

/// The connection itself: transport handle and state. One entity per connection and side.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug)]
pub struct NetworkStreamConnection {
    /// The transport's handle; names the driver it came through. Not to be changed.
    pub handle: ConnectionHandle,
    /// Where the connection stands.
    pub state: ConnectionStatus,
    /// Whether the other side's protocol version was received and found equal.
    pub protocol_version_received: bool,
    /// States that were entered outside the receive step, one bit each; the next receive step raises their events.
    deferred_events: u8,
    /// When the transport was connected: handshake and approval are timed from there.
    pub(super) handshake_start: Option<Duration>,
    /// Client: how long the server allows for that, once it has said so.
    pub(super) approval_timeout: Option<Duration>,
}

impl NetworkStreamConnection {
    pub(super) const fn new(handle: ConnectionHandle, state: ConnectionStatus) -> Self {
        let (handshake_start, approval_timeout) = (None, None);
        Self { handle, state, protocol_version_received: false, deferred_events: 0, handshake_start, approval_timeout }
    }

    /// The driver that it came through.
    pub const fn driver_id(&self) -> DriverId {
        self.handle.driver
    }

    /// Client: whether the server has asked for approval.
    pub(crate) fn was_asked_for_approval(&self) -> bool {
        self.approval_timeout.is_some()
    }

    /// The event of this state is due in the next receive step.
    pub(super) const fn defer_event(&mut self, state: ConnectionStatus) {
        self.deferred_events |= 1 << state as u8;
    }

    /// The states whose events are due, in the order in which a connection passes through them.
    pub(super) fn take_deferred_events(&mut self) -> impl Iterator<Item = ConnectionStatus> + use<> {
        use ConnectionStatus::{Approval, Connected, Connecting, Handshake};
        let due = std::mem::take(&mut self.deferred_events);
        [Connecting, Handshake, Approval, Connected].into_iter().filter(move |&state| due & (1 << state as u8) != 0)
    }
}

/// The number of a connected client, given by the server: from 1, reused after a client has left. Never a player's identity.
#[derive(Component, Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub struct NetworkId(pub u32);

impl NetworkId {
    /// Not known, or not given yet. As the owner of a ghost, a mistake that is reported.
    pub const NONE: Self = Self(0);

    /// Nobody, on purpose: the owner of a ghost that none of the clients has. It is never given to a client.
    pub const NOBODY: Self = Self(u32::MAX);
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Set and removed by the game, on either side: commands and snapshots flow only while it is there. RPCs flow without it.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NetworkStreamInGame;

/// Closes the connection at the next receive step; the other side learns the reason, and the [`DisconnectText`] beside it. The way to close one.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NetworkStreamRequestDisconnect {
    /// What the other side is told.
    pub reason: DisconnectReason,
}

/// Beside a [`NetworkStreamRequestDisconnect`]: one line for the people on the other side, at most
/// [`MAX_CLOSE_TEXT_BYTES`](crate::transport::limits::MAX_CLOSE_TEXT_BYTES) bytes; longer ones are cut.
#[derive(Component, Clone, PartialEq, Eq, Debug, Default)]
pub struct DisconnectText(pub String);

/// On a client: this connection is the world's own.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LocalConnection;

/// Where commands come from (client) and go to (server) that no ghost is the automatic target of. Kept by the game alone.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CommandTarget {
    /// The entity with the command buffers; `None`: nothing is sent or stored.
    pub entity: Option<Entity>,
}

/// Acknowledgements, clocks and command age of a connection.
#[derive(Component, Clone, Debug, Default)]
pub struct NetworkSnapshotAck {
    /// Client: the newest snapshot tick received. `None` before the first.
    pub last_received_snapshot_by_local: Option<NetworkTick>,
    /// Server: the newest tick of a snapshot that this client acknowledged.
    pub last_received_snapshot_by_remote: Option<NetworkTick>,
    /// Server: the newest tick of a full-tick command packet; `None` before the first.
    pub most_recent_full_command_tick: Option<NetworkTick>,
    /// Server: the newest tick of any command packet.
    pub most_recent_command_tick: Option<NetworkTick>,
    /// How late commands come, in 1/256 ticks; negative: early. Measured by the server, told to the client in snapshots.
    pub server_command_age: i32,
    /// Server: the same in 1/65536 ticks, so that rounding does not add up in the average.
    #[cfg(feature = "server")]
    pub(crate) command_age_q16: i64,
    /// Server: the interpolation delay that the client reported last, in ticks.
    pub interpolation_delay_ticks: u32,
    /// Server: how many ghost types, counted from 0 without a gap, this client knows.
    pub prefabs_known: u32,
    /// Round trip and clock of the other side.
    pub rtt: RttEstimator,
}

/// Command packets that arrived and were not read yet. Server only.
#[derive(Component, Debug, Default)]
pub struct IncomingCommandDataStreamBuffer(pub(crate) VecDeque<Vec<u8>>);

/// Snapshot packets that arrived and were not decoded yet. Clients only.
#[derive(Component, Debug, Default)]
pub struct IncomingSnapshotDataStreamBuffer(pub(crate) VecDeque<Vec<u8>>);

/// The command packet of this tick, until it is sent. Clients only.
#[derive(Component, Debug, Default)]
pub struct OutgoingCommandDataStreamBuffer(pub(crate) Vec<u8>);

macro_rules! incoming {
    ($($buffer:ident),*) => { $(impl $buffer {
        /// Messages that wait.
        pub fn len(&self) -> usize { self.0.len() }
        /// Whether nothing waits.
        pub fn is_empty(&self) -> bool { self.0.is_empty() }
        /// Bytes that wait.
        pub fn bytes(&self) -> usize { self.0.iter().map(Vec::len).sum() }
    })* };
}
incoming!(IncomingCommandDataStreamBuffer, IncomingSnapshotDataStreamBuffer);

impl OutgoingCommandDataStreamBuffer {
    /// Whether nothing waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What arrived on a connection and could not be read, and how much of it is forgiven.
#[derive(Component, Debug, Default)]
pub struct InvalidMessages {
    /// All of them, since the connection was made.
    pub total: u64,
    recent: VecDeque<Duration>,
    last_logged: Option<Duration>,
}

/// So many unreadable messages within [`INVALID_MESSAGE_WINDOW`] are forgiven.
pub const MAX_INVALID_MESSAGES: usize = 64;
/// The time within which [`MAX_INVALID_MESSAGES`] counts.
pub const INVALID_MESSAGE_WINDOW: Duration = Duration::from_secs(10);
const LOG_INTERVAL: Duration = Duration::from_secs(1);

impl InvalidMessages {
    /// Counts one. True: there were too many, the connection is to be closed with `ProtocolError`.
    pub(crate) fn count(&mut self, now: Duration) -> bool {
        self.total += 1;
        while self.recent.front().is_some_and(|&then| now.saturating_sub(then) > INVALID_MESSAGE_WINDOW) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        if self.recent.len() > MAX_INVALID_MESSAGES + 1 {
            self.recent.pop_front();
        }
        self.recent.len() > MAX_INVALID_MESSAGES
    }

    /// Whether a line may be logged now: at most one per second and connection.
    pub(crate) fn may_log(&mut self, now: Duration) -> bool {
        let due = self.last_logged.is_none_or(|then| now.saturating_sub(then) >= LOG_INTERVAL);
        if due {
            self.last_logged = Some(now);
        }
        due
    }
}

/// A connection holds at most so many commands or snapshots between two ticks; more are dropped.
pub const MAX_INCOMING_MESSAGES: usize = 1024;

/// A connection holds at most so many messages with RPCs between two ticks. No honest peer gets there, as its send queue is shorter,
/// and none may be lost: one more closes the connection with `ProtocolError`.
pub const MAX_INCOMING_RPC_MESSAGES: usize = 8192;

/// In frames without a tick, drivers are polled until so many of their events wait for the next tick; the rest waits in the drivers.
pub const MAX_WAITING_DRIVER_EVENTS: usize = 4096;

/// The largest payload of one RPC, in bytes.
pub const MAX_RPC_PAYLOAD_BYTES: usize = limits::MAX_RPC_PAYLOAD_BYTES;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixty_fifth_unreadable_message_within_ten_seconds_is_one_too_many() {
        let mut invalid = InvalidMessages::default();
        for _ in 0..MAX_INVALID_MESSAGES {
            assert!(!invalid.count(Duration::from_secs(1)));
        }
        assert!(invalid.count(Duration::from_secs(11)));
    }

    #[test]
    fn unreadable_messages_are_forgiven_when_they_are_rare() {
        let mut invalid = InvalidMessages::default();
        for second in 0..1000 {
            assert!(!invalid.count(Duration::from_secs(second)));
        }
        assert_eq!(invalid.total, 1000);
    }

    #[test]
    fn at_most_one_line_is_logged_per_second() {
        let mut invalid = InvalidMessages::default();
        let lines = (0..5000).filter(|&ms| invalid.may_log(Duration::from_millis(ms))).count();
        assert_eq!(lines, 5);
    }
}

//! One entry of an in-process driver's table of connections: its state, and what waits in either direction.
//! Made by `connect` or by a request that was accepted; changed by what `poll` reads.

use core::time::Duration;
use std::net::SocketAddr;

use super::queue::{Address, Backlog, Direction, Load};
use crate::close::CloseReason;
use crate::settings::DriverSettings;

pub(super) struct Connection {
    /// The direction in which this side sends.
    pub(super) direction: Direction,
    pub(super) remote: SocketAddr,
    pub(super) state: State,
    /// What the other side has not read yet.
    pub(super) backlog: Backlog,
    /// What this side has read and not told the other yet.
    pub(super) read: Load,
    /// When the other side was heard last; `None` until the first poll.
    pub(super) heard: Option<Duration>,
    /// Its signs of life by then.
    pub(super) signs: u64,
}

pub(super) enum State {
    Connecting {
        since: Duration,
        /// A request is on its way. It is always answered, and not repeated before.
        requested: bool,
    },
    /// Closed while a request was on its way. The slot stays taken until the answer comes, so that the answer finds no
    /// other connection there; an acceptance is answered with this reason.
    Abandoned(CloseReason),
    Open {
        peer: Address,
    },
}

impl Connection {
    pub(super) fn new(direction: Direction, remote: SocketAddr, state: State, settings: &DriverSettings) -> Self {
        Self {
            direction,
            remote,
            state,
            backlog: Backlog::new(settings.queue_messages, settings.queue_bytes),
            read: Load::default(),
            heard: None,
            signs: 0,
        }
    }
}

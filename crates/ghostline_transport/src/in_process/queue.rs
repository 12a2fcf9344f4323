//! What travels between two in-process drivers, and how much of it may wait. Parcels go from a driver's outbox to
//! another's inbox; a sender's backlog shrinks when the receiver's credit comes back.

use crate::close::CloseReason;
use crate::driver::{DriverConnection, Pipeline};

/// The two directions of a connection; the client is the side that connected.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// One end of a connection: a driver, by its creation number, and its handle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Address {
    pub(super) driver: u64,
    pub(super) connection: DriverConnection,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Destination {
    /// Whoever listens on this port when the parcel is delivered.
    Listener {
        port: u16,
    },
    Peer(Address),
}

#[derive(Debug)]
pub(super) enum Body {
    /// A client asks to be let in. Always answered, by one of the next three.
    Request,
    /// The server let the client in; the sender's address is the server's end.
    Accept,
    /// The server is full.
    Refuse,
    /// Nobody read the request; ask again.
    Unanswered,
    Message {
        pipeline: Pipeline,
        bytes: Vec<u8>,
        /// Put there by a test.
        injected: bool,
        /// The sender's backlog counts it until it hears otherwise.
        counted: bool,
    },
    Close(CloseReason),
    /// The sender has heard nothing for too long, and gives the connection up.
    GivenUp,
    /// The receiver read this much, or it was lost on the way.
    Credit(Load),
}

#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) from: Address,
    pub(super) to: Destination,
    pub(super) direction: Direction,
    pub(super) body: Body,
}

impl Parcel {
    /// The creation number of the client's driver; `None` only for a parcel to a client that names no peer.
    pub(super) fn client(&self) -> Option<u64> {
        match (self.direction, self.to) {
            (Direction::ToServer, _) => Some(self.from.driver),
            (Direction::ToClient, Destination::Peer(peer)) => Some(peer.driver),
            (Direction::ToClient, Destination::Listener { .. }) => None,
        }
    }

    /// What the link says to the sender in place of the receiver.
    pub(super) fn reply(&self, body: Body) -> Self {
        Self {
            from: match self.to {
                Destination::Peer(receiver) => receiver,
                Destination::Listener { .. } => self.from,
            },
            to: Destination::Peer(self.from),
            direction: match self.direction {
                Direction::ToServer => Direction::ToClient,
                Direction::ToClient => Direction::ToServer,
            },
            body,
        }
    }
}

/// Messages of one class.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Count {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

/// Messages and bytes of both classes. Unreliable messages never take the place of reliable ones, nor the reverse.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Load {
    unreliable: Count,
    reliable: Count,
}

impl Load {
    /// The load of one message.
    pub(super) fn of(pipeline: Pipeline, bytes: usize) -> Self {
        let mut load = Self::default();
        *load.class(pipeline) = Count { messages: 1, bytes };
        load
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (own, other) in [(&mut self.unreliable, other.unreliable), (&mut self.reliable, other.reliable)] {
            own.messages = own.messages.saturating_add(other.messages);
            own.bytes = own.bytes.saturating_add(other.bytes);
        }
    }

    pub(super) fn subtract(&mut self, other: &Self) {
        for (own, other) in [(&mut self.unreliable, other.unreliable), (&mut self.reliable, other.reliable)] {
            own.messages = own.messages.saturating_sub(other.messages);
            own.bytes = own.bytes.saturating_sub(other.bytes);
        }
    }

    fn class(&mut self, pipeline: Pipeline) -> &mut Count {
        match pipeline {
            Pipeline::Unreliable | Pipeline::UnreliableFragmented => &mut self.unreliable,
            Pipeline::ReliableOrdered => &mut self.reliable,
        }
    }
}

/// What one side of a connection has sent and the other side has not read yet, under its bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backlog {
    waiting: Load,
    bound: Count,
}

impl Backlog {
    pub(super) fn new(messages: usize, bytes: usize) -> Self {
        Self { waiting: Load::default(), bound: Count { messages, bytes } }
    }

    /// Counts a message in, unless that would break a bound of its class.
    pub(super) fn admit(&mut self, pipeline: Pipeline, bytes: usize) -> bool {
        let bound = self.bound;
        let class = self.waiting.class(pipeline);
        let after = Count { messages: class.messages.saturating_add(1), bytes: class.bytes.saturating_add(bytes) };
        let fits = after.messages <= bound.messages && after.bytes <= bound.bytes;
        if fits {
            *class = after;
        }
        fits
    }

    pub(super) fn credit(&mut self, load: &Load) {
        self.waiting.subtract(load);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_takes_messages_up_to_its_bounds_and_again_after_credit() {
        let mut backlog = Backlog::new(3, 100);
        assert!(backlog.admit(Pipeline::ReliableOrdered, 60));
        assert!(!backlog.admit(Pipeline::ReliableOrdered, 41), "bytes");
        assert!(backlog.admit(Pipeline::ReliableOrdered, 40));
        assert!(backlog.admit(Pipeline::ReliableOrdered, 0));
        assert!(!backlog.admit(Pipeline::ReliableOrdered, 0), "messages");
        backlog.credit(&Load::of(Pipeline::ReliableOrdered, 60));
        assert!(backlog.admit(Pipeline::ReliableOrdered, 60));
        assert!(!backlog.admit(Pipeline::ReliableOrdered, 0));
    }

    #[test]
    fn unreliable_messages_leave_the_room_of_reliable_ones_alone() {
        let mut backlog = Backlog::new(1, 100);
        assert!(backlog.admit(Pipeline::Unreliable, 10));
        assert!(!backlog.admit(Pipeline::UnreliableFragmented, 10));
        assert!(backlog.admit(Pipeline::ReliableOrdered, 10));
    }

    #[test]
    fn credit_for_more_than_waits_leaves_an_empty_backlog() {
        let mut backlog = Backlog::new(1, 100);
        backlog.credit(&Load::of(Pipeline::Unreliable, 1));
        assert!(backlog.admit(Pipeline::Unreliable, 100));
        assert!(!backlog.admit(Pipeline::Unreliable, 0));
    }
}

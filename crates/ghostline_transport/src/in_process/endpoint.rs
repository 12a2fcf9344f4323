//! What the hub of an in-process network knows of one driver: its outbox, its inbox, what is on the way to it, and the
//! links of the connections that it makes.

use core::time::Duration;

use super::link::Link;
use super::network::Recorded;
use super::queue::{Address, Direction, Parcel};
use crate::driver::{DriverConnection, TransportKind};
use crate::limits::RETRANSMIT_MARGIN_MS;
use crate::simulator::{DueQueue, LinkProfile, mix};

/// A parcel on its way over a simulated link.
pub(super) struct Flight {
    pub(super) parcel: Parcel,
    /// The datagrams that carry it; 0 for what travels in order, which its link counts by parcels.
    pub(super) datagrams: usize,
}

/// An open connection as its client's endpoint knows it.
#[derive(Clone, Copy)]
pub(super) struct OpenConnection {
    /// The client's handle.
    pub(super) client: DriverConnection,
    /// The server's end.
    pub(super) server: Address,
    /// By direction, how often its sender had flushed when it was last heard.
    signs: [u64; 2],
}

impl OpenConnection {
    pub(super) fn new(client: DriverConnection, server: Address) -> Self {
        Self { client, server, signs: [0; 2] }
    }

    /// Both sides are heard where the way is open: the client toward the server, and the server, if there is one, back.
    pub(super) fn hear(&mut self, is_open: [bool; 2], client_flushes: u64, server_flushes: Option<u64>) {
        let flushes = [Some(client_flushes), server_flushes];
        for ((signs, is_open), flushes) in self.signs.iter_mut().zip(is_open).zip(flushes) {
            *signs = flushes.filter(|_| is_open).unwrap_or(*signs);
        }
    }

    pub(super) fn signs(&self, direction: Direction) -> u64 {
        let [up, down] = self.signs;
        match direction {
            Direction::ToServer => up,
            Direction::ToClient => down,
        }
    }
}

pub(super) struct Endpoint {
    /// On the link, in the order in which they were put there.
    pub(super) outbox: Vec<Parcel>,
    /// Delivered, not polled yet.
    pub(super) inbox: Vec<Parcel>,
    /// On their way here, over simulated links.
    pub(super) flights: DueQueue<Flight>,
    /// The driver is gone; the endpoint stays until its last parcels are.
    pub(super) dropped: bool,
    /// Size of the datagrams into which larger messages of this driver are cut.
    pub(super) datagram_bytes: usize,
    /// Open connections that this driver made, oldest first.
    pub(super) connections: Vec<OpenConnection>,
    /// How often the driver has flushed.
    pub(super) flushes: u64,
    /// Of the connections that this driver makes.
    pub(super) profile: LinkProfile,
    /// The same by direction.
    links: [Link; 2],
    /// By direction, for the connections that this driver makes.
    cut: [bool; 2],
    /// Messages that left the link so far, by direction.
    sequence: [u64; 2],
    pub(super) recording: bool,
    pub(super) recorded: Vec<Recorded>,
}

impl Endpoint {
    /// The endpoint of the driver with this creation number. The chance on its links depends on nothing but the
    /// network's seed, this number and the direction.
    pub(super) fn new(network_seed: u64, number: u64, datagram_bytes: usize) -> Self {
        let seed = mix(network_seed, number);
        Self {
            outbox: Vec::new(),
            inbox: Vec::new(),
            flights: DueQueue::default(),
            dropped: false,
            datagram_bytes,
            connections: Vec::new(),
            flushes: 0,
            profile: LinkProfile::in_process(),
            links: [Link::new(mix(seed, 0)), Link::new(mix(seed, 1))],
            cut: [false; 2],
            sequence: [0; 2],
            recording: false,
            recorded: Vec::new(),
        }
    }

    /// The driver is gone, and so is all that it sent; nobody asks for its record any more.
    pub(super) fn is_done(&self) -> bool {
        let is_quiet = self.links.iter().all(|link| link.waiting() == 0);
        self.dropped && self.outbox.is_empty() && is_quiet && !self.recording
    }

    pub(super) fn kind(&self) -> TransportKind {
        if self.profile.counts_as_socket() { TransportKind::Socket } else { TransportKind::InProcess }
    }

    pub(super) fn set_profile(&mut self, profile: LinkProfile) {
        self.profile = profile;
        let [up, down] = &mut self.links;
        up.set_conditions(profile.up);
        down.set_conditions(profile.down);
    }

    /// How long a reliable sender waits before it sends again what was not acknowledged: a round trip at its worst, and
    /// [`RETRANSMIT_MARGIN_MS`].
    pub(super) fn retransmit_after(&self) -> Duration {
        let LinkProfile { up, down, .. } = &self.profile;
        let parts = [up.delay_ms, up.jitter_ms, down.delay_ms, down.jitter_ms, RETRANSMIT_MARGIN_MS];
        Duration::from_millis(parts.into_iter().map(u64::from).fold(0, u64::saturating_add))
    }

    pub(super) fn link(&self, direction: Direction) -> &Link {
        let [up, down] = &self.links;
        match direction {
            Direction::ToServer => up,
            Direction::ToClient => down,
        }
    }

    pub(super) fn link_mut(&mut self, direction: Direction) -> &mut Link {
        let [up, down] = &mut self.links;
        match direction {
            Direction::ToServer => up,
            Direction::ToClient => down,
        }
    }

    pub(super) fn is_cut(&self, direction: Direction) -> bool {
        let [up, down] = self.cut;
        match direction {
            Direction::ToServer => up,
            Direction::ToClient => down,
        }
    }

    /// Whether nothing gets through in this direction.
    pub(super) fn is_dead(&self, direction: Direction) -> bool {
        let conditions = match direction {
            Direction::ToServer => &self.profile.up,
            Direction::ToClient => &self.profile.down,
        };
        self.is_cut(direction) || conditions.loses_everything()
    }

    /// Whether connections over this link are given up after a silence, as over a socket. Two worlds of one process wait
    /// for each other for ever.
    pub(super) fn is_watched(&self) -> bool {
        self.profile.counts_as_socket() || self.cut.contains(&true)
    }

    pub(super) fn set_cut(&mut self, direction: Direction, is_cut: bool) {
        let [up, down] = &mut self.cut;
        match direction {
            Direction::ToServer => *up = is_cut,
            Direction::ToClient => *down = is_cut,
        }
    }

    /// The place of the next message that leaves the link in this direction.
    pub(super) fn next_sequence(&mut self, direction: Direction) -> u64 {
        let [up, down] = &mut self.sequence;
        let next = match direction {
            Direction::ToServer => up,
            Direction::ToClient => down,
        };
        let sequence = *next;
        *next = next.saturating_add(1);
        sequence
    }
}

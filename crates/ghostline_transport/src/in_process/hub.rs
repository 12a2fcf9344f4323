//! The shared state of an in-process network: an outbox and an inbox per driver, the listeners and the buffer pool.
//! Parcels come in through `post`, move in `deliver` in canonical order, and leave through `take_inbox`.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::endpoint::{Endpoint, OpenConnection};
use super::network::Recorded;
use super::pool::BufferPool;
use super::queue::{Address, Body, Destination, Direction, Load, Parcel};
use crate::close::CloseReason;
use crate::driver::Pipeline;
use crate::error::{ListenError, SendError};
use crate::limits;

#[derive(Default)]
pub(super) struct Hub {
    /// By creation number; `None` for drivers that are gone, whose numbers are never used again.
    pub(super) endpoints: Vec<Option<Box<Endpoint>>>,
    /// Ports, and the creation numbers of the drivers that listen on them.
    listeners: BTreeMap<u16, u64>,
    pub(super) pool: BufferPool,
    /// Scratch of `deliver`, empty between calls.
    moving: Vec<Parcel>,
    /// From which the chance of every link comes.
    seed: u64,
    /// The network's time: the newest that anybody had told it when it delivered last.
    pub(super) time: Duration,
    /// The newest time that anybody has told it.
    newest_time: Duration,
}

/// What a cut link does with a parcel.
enum WhenCut {
    /// Book-keeping of the link itself, which the network it stands for would not carry.
    Pass,
    /// Delivered when the cut ends, in order.
    Hold,
    Lose,
}

fn when_cut(body: &Body) -> WhenCut {
    match body {
        Body::Credit(_) | Body::Unanswered => WhenCut::Pass,
        Body::Accept | Body::Refuse | Body::Close(_) | Body::GivenUp => WhenCut::Hold,
        Body::Message { pipeline, .. } => match pipeline {
            Pipeline::ReliableOrdered => WhenCut::Hold,
            Pipeline::Unreliable | Pipeline::UnreliableFragmented => WhenCut::Lose,
        },
        Body::Request => WhenCut::Lose,
    }
}

impl Hub {
    pub(super) fn with_seed(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// A new driver's creation number.
    pub(super) fn add_driver(&mut self, datagram_bytes: usize) -> u64 {
        let number = self.endpoints.len() as u64;
        self.endpoints.push(Some(Box::new(Endpoint::new(self.seed, number, datagram_bytes))));
        number
    }

    /// Takes note of a time. It counts from the next delivery on, so that it does not matter which world of a stage
    /// tells its time first.
    pub(super) fn note_time(&mut self, now: Duration) {
        self.newest_time = self.newest_time.max(now);
    }

    pub(super) fn endpoint(&mut self, number: u64) -> Option<&mut Endpoint> {
        let index = usize::try_from(number).ok()?;
        self.endpoints.get_mut(index)?.as_deref_mut()
    }

    pub(super) fn has_driver(&mut self, number: u64) -> bool {
        self.endpoint(number).is_some_and(|endpoint| !endpoint.dropped)
    }

    /// Gives a port to a driver; port 0 means the first free one of the dynamic range from `preferred`.
    pub(super) fn open_port(
        &mut self,
        number: u64,
        address: SocketAddr,
        preferred: u16,
    ) -> Result<SocketAddr, ListenError> {
        let port = match address.port() {
            0 => self.free_port(preferred).ok_or(ListenError::NoFreePort)?,
            port if self.listeners.contains_key(&port) => {
                return Err(ListenError::AddressInUse { address });
            }
            port => port,
        };
        self.listeners.insert(port, number);
        Ok(SocketAddr::new(address.ip(), port))
    }

    fn free_port(&self, preferred: u16) -> Option<u16> {
        let last = limits::FIRST_DYNAMIC_PORT.saturating_add(limits::DYNAMIC_PORTS.saturating_sub(1));
        (preferred..=last).chain(limits::FIRST_DYNAMIC_PORT..preferred).find(|port| !self.listeners.contains_key(port))
    }

    pub(super) fn close_port(&mut self, port: u16) {
        self.listeners.remove(&port);
    }

    /// Puts a driver's parcels on the link, in order.
    pub(super) fn post(&mut self, number: u64, parcels: &mut Vec<Parcel>) {
        if let Some(endpoint) = self.endpoint(number) {
            endpoint.outbox.append(parcels);
        }
    }

    /// Swaps the delivered parcels of a driver for the empty `inbox`, and adds what has arrived over simulated links.
    pub(super) fn take_inbox(&mut self, number: u64, now: Duration, inbox: &mut Vec<Parcel>) {
        self.note_time(now);
        if let Some(endpoint) = self.endpoint(number) {
            core::mem::swap(&mut endpoint.inbox, inbox);
        }
        // A reader whose clock is behind gets what has arrived by the network's.
        let now = now.max(self.time);
        while let Some(parcel) = self.next_landing(number, now) {
            inbox.push(parcel);
        }
    }

    /// A driver is gone. What it has put on the link still arrives, and requests that it did not read are answered.
    pub(super) fn drop_driver(&mut self, number: u64) {
        self.listeners.retain(|_port, owner| *owner != number);
        let Some(endpoint) = self.endpoint(number) else {
            return;
        };
        endpoint.dropped = true;
        let mut unread = core::mem::take(&mut endpoint.inbox);
        while let Some(parcel) = self.next_landing(number, Duration::MAX) {
            unread.push(parcel);
        }
        for parcel in unread {
            // Not to the other side's inbox: that changes in `deliver` alone.
            let answer = self.answer_for(parcel);
            if let Some(endpoint) = self.endpoint(number) {
                endpoint.outbox.extend(answer);
            }
        }
    }

    /// Moves everything on the link to the inboxes: drivers in order of creation, each one's parcels in the order in
    /// which it put them there.
    pub(super) fn deliver(&mut self) {
        self.time = self.newest_time;
        self.retransmit();
        let mut moving = core::mem::take(&mut self.moving);
        for index in 0..self.endpoints.len() {
            let Some(Some(sender)) = self.endpoints.get_mut(index) else {
                continue;
            };
            core::mem::swap(&mut sender.outbox, &mut moving);
            for parcel in moving.drain(..) {
                self.hand_over(parcel);
            }
            if let Some(slot) = self.endpoints.get_mut(index)
                && slot.as_ref().is_some_and(|endpoint| endpoint.is_done())
            {
                *slot = None;
            }
        }
        self.moving = moving;
        self.carry_signs_of_life();
    }

    /// A side that has flushed since the last delivery is alive, and is heard where its way is open. A socket's driver
    /// sends packets to say so; here that costs nothing and is drawn from no chance.
    fn carry_signs_of_life(&mut self) {
        for index in 0..self.endpoints.len() {
            let client = index as u64;
            let Some(endpoint) = self.endpoint(client).filter(|endpoint| endpoint.is_watched()) else {
                continue;
            };
            let own = endpoint.flushes;
            let is_open = [Direction::ToServer, Direction::ToClient].map(|direction| !endpoint.is_dead(direction));
            let mut connections = core::mem::take(&mut endpoint.connections);
            for connection in &mut connections {
                let server = self.endpoint(connection.server.driver).map(|server| server.flushes);
                connection.hear(is_open, own, server);
            }
            if let Some(endpoint) = self.endpoint(client) {
                endpoint.connections = connections;
            }
        }
    }

    /// The signs of life that have come to the side that receives in this direction, of a client's connection; `None`
    /// where nobody waits for any.
    pub(super) fn signs_of_life(&mut self, client: Address, direction: Direction) -> Option<u64> {
        let endpoint = self.endpoint(client.driver).filter(|endpoint| endpoint.is_watched())?;
        let known = endpoint.connections.iter().find(|known| known.client == client.connection);
        Some(known.map_or(0, |known| known.signs(direction)))
    }

    /// A driver has flushed.
    pub(super) fn note_flush(&mut self, number: u64) {
        if let Some(endpoint) = self.endpoint(number) {
            endpoint.flushes = endpoint.flushes.saturating_add(1);
        }
    }

    fn hand_over(&mut self, parcel: Parcel) {
        let client = parcel.client().and_then(|client| self.endpoint(client));
        let is_cut = client.is_some_and(|client| client.is_cut(parcel.direction));
        if is_cut {
            match when_cut(&parcel.body) {
                WhenCut::Pass => {}
                WhenCut::Hold => {
                    // The outbox was emptied before this round, so what is held keeps its order and its place in
                    // front of what comes later.
                    if let Some(sender) = self.endpoint(parcel.from.driver) {
                        sender.outbox.push(parcel);
                    }
                    return;
                }
                WhenCut::Lose => {
                    self.record(&parcel, true);
                    self.bounce(parcel);
                    return;
                }
            }
        }
        let Some(parcel) = self.enter_link(parcel) else {
            return;
        };
        self.note_connections(&parcel);
        let receiver = self.receiver_of(&parcel);
        self.record(&parcel, receiver.is_none());
        match receiver.and_then(|number| self.endpoint(number)) {
            Some(endpoint) => endpoint.inbox.push(parcel),
            None => self.bounce(parcel),
        }
    }

    /// The driver that gets a parcel if it arrives now.
    pub(super) fn receiver_of(&mut self, parcel: &Parcel) -> Option<u64> {
        let number = match parcel.to {
            Destination::Peer(peer) => peer.driver,
            Destination::Listener { port } => self.listeners.get(&port).copied()?,
        };
        self.has_driver(number).then_some(number)
    }

    /// Gives a sender the answer for a receiver that did not get its parcel.
    pub(super) fn bounce(&mut self, parcel: Parcel) {
        let number = parcel.from.driver;
        if let Some(answer) = self.answer_for(parcel) {
            self.give_to_sender(number, answer);
        }
    }

    pub(super) fn give_to_sender(&mut self, number: u64, answer: Parcel) {
        if let Some(sender) = self.endpoint(number)
            && !sender.dropped
        {
            sender.inbox.push(answer);
        }
    }

    /// What to say to the sender of a parcel that nobody will read, so that it does not wait for ever.
    fn answer_for(&mut self, mut parcel: Parcel) -> Option<Parcel> {
        let body = match &mut parcel.body {
            Body::Request => Body::Unanswered,
            Body::Accept => Body::Close(CloseReason::default()),
            Body::Message { pipeline, bytes, counted, .. } => {
                let load = Load::of(*pipeline, bytes.len());
                self.pool.give(core::mem::take(bytes));
                if !*counted {
                    return None;
                }
                Body::Credit(load)
            }
            Body::Refuse | Body::Unanswered | Body::Close(_) | Body::GivenUp | Body::Credit(_) => return None,
        };
        Some(parcel.reply(body))
    }

    /// Keeps the client's list of open connections, which `inject` needs.
    pub(super) fn note_connections(&mut self, parcel: &Parcel) {
        let Destination::Peer(peer) = parcel.to else {
            return;
        };
        if !matches!(parcel.body, Body::Accept | Body::Close(_) | Body::GivenUp) {
            return;
        }
        let (client, server) = match parcel.direction {
            Direction::ToServer => (parcel.from, peer),
            Direction::ToClient => (peer, parcel.from),
        };
        let Some(endpoint) = self.endpoint(client.driver) else {
            return;
        };
        if matches!(parcel.body, Body::Accept) {
            endpoint.connections.push(OpenConnection::new(client.connection, server));
        } else {
            endpoint.connections.retain(|known| known.client != client.connection);
        }
    }

    /// Numbers a message that leaves the link, and keeps a copy if its client is recorded.
    pub(super) fn record(&mut self, parcel: &Parcel, lost: bool) {
        let Body::Message { pipeline, bytes, injected, .. } = &parcel.body else {
            return;
        };
        let Some(endpoint) = parcel.client().and_then(|client| self.endpoint(client)) else {
            return;
        };
        let sequence = endpoint.next_sequence(parcel.direction);
        if endpoint.recording && endpoint.recorded.len() < limits::MAX_RECORDED_MESSAGES {
            endpoint.recorded.push(Recorded {
                direction: parcel.direction,
                pipeline: *pipeline,
                bytes: bytes.clone(),
                sequence,
                lost,
                injected: *injected,
            });
        }
    }

    pub(super) fn set_cut(&mut self, client: u64, direction: Direction, cut: bool) -> bool {
        let endpoint = self.endpoint(client);
        endpoint.map(|endpoint| endpoint.set_cut(direction, cut)).is_some()
    }

    pub(super) fn set_recording(&mut self, client: u64, recording: bool) -> bool {
        let endpoint = self.endpoint(client);
        endpoint.map(|endpoint| endpoint.recording = recording).is_some()
    }

    pub(super) fn take_recorded(&mut self, client: u64) -> Vec<Recorded> {
        self.endpoint(client).map(|endpoint| core::mem::take(&mut endpoint.recorded)).unwrap_or_default()
    }

    /// Puts raw bytes on the newest open connection of a client, as if the side that sends in this direction had.
    pub(super) fn inject(
        &mut self,
        client: u64,
        direction: Direction,
        pipeline: Pipeline,
        bytes: Vec<u8>,
    ) -> Result<(), SendError> {
        let limit = limits::MAX_RELIABLE_BYTES;
        if bytes.len() > limit {
            let bytes = bytes.len();
            return Err(SendError::TooLarge { limit, bytes });
        }
        let is_injected = |parcel: &&Parcel| matches!(parcel.body, Body::Message { injected: true, .. });
        let endpoint = self.endpoint(client).ok_or(SendError::NotConnected)?;
        let OpenConnection { client: connection, server, .. } =
            endpoint.connections.last().copied().ok_or(SendError::NotConnected)?;
        let in_stream = endpoint.link(direction).waiting_parcels().filter(is_injected).count();
        let client = Address { driver: client, connection };
        let (from, to) = match direction {
            Direction::ToServer => (client, server),
            Direction::ToClient => (server, client),
        };
        let sender = self.endpoint(from.driver).ok_or(SendError::NotConnected)?;
        let in_outbox = sender.outbox.iter().filter(is_injected).filter(|parcel| parcel.from == from).count();
        if in_outbox.saturating_add(in_stream) >= limits::MAX_INJECTED_MESSAGES {
            return Err(SendError::QueueFull);
        }
        sender.outbox.push(Parcel {
            from,
            to: Destination::Peer(to),
            direction,
            body: Body::Message { pipeline, bytes, injected: true, counted: false },
        });
        Ok(())
    }
}

//! The hub's part in simulated links: parcels get onto a client's link when they are delivered, are on their way until
//! they are due, and land in the receiver's poll.
//!
//! All chance is drawn in `deliver`, in canonical order, and each link has its own. What a poll takes is decided by its
//! own time and what was delivered before. So the order of the worlds of a stage still makes no difference.

use core::time::Duration;

use super::endpoint::{Endpoint, Flight};
use super::hub::Hub;
use super::link::{Crossing, Link};
use super::queue::{Body, Destination, Direction, Load, Parcel};
use crate::driver::{Pipeline, TransportKind};
use crate::simulator::{LinkProfile, LinkStats};

/// How a parcel crosses a simulated link.
enum Class {
    /// Book-keeping of the in-process link itself, which the network it stands for would not carry: not at all.
    BookKeeping,
    /// As datagrams, of which any may be lost.
    Datagrams,
    /// In the reliable stream.
    InOrder,
}

fn class_of(body: &Body) -> Class {
    match body {
        Body::Credit(_) | Body::Unanswered => Class::BookKeeping,
        Body::Request | Body::Accept | Body::Refuse | Body::Close(_) | Body::GivenUp => Class::InOrder,
        Body::Message { pipeline: Pipeline::ReliableOrdered, .. } => Class::InOrder,
        Body::Message { pipeline: Pipeline::Unreliable | Pipeline::UnreliableFragmented, .. } => Class::Datagrams,
    }
}

/// Sizes of the datagrams that carry a parcel: full ones, and one for the rest.
fn datagram_sizes(body: &Body, datagram_bytes: usize) -> impl Iterator<Item = usize> + use<> {
    let (bytes, may_be_cut) = match body {
        Body::Message { pipeline, bytes, .. } => (bytes.len(), *pipeline != Pipeline::Unreliable),
        Body::Close(reason) => (reason.text.len(), true),
        _ => (0, true),
    };
    let largest = if may_be_cut { datagram_bytes.max(1) } else { usize::MAX };
    let full = bytes.checked_div(largest).unwrap_or(0);
    let rest = bytes.checked_rem(largest).unwrap_or(0);
    let rest = (rest > 0 || full == 0).then_some(rest);
    core::iter::repeat_n(largest, full).chain(rest)
}

impl Hub {
    /// Puts a parcel on its client's link, if that is a simulated one and the parcel is for it; else gives it back.
    pub(super) fn enter_link(&mut self, parcel: Parcel) -> Option<Parcel> {
        let class = class_of(&parcel.body);
        let Some(client) = parcel.client() else {
            return Some(parcel);
        };
        let Some(link) = self.link_mut(client, parcel.direction) else {
            return Some(parcel);
        };
        match class {
            Class::Datagrams if !link.is_open() => self.send_datagrams(parcel, client),
            Class::InOrder if !link.is_open_in_order() => {
                self.send_in_order(parcel, client);
                None
            }
            Class::BookKeeping | Class::Datagrams | Class::InOrder => Some(parcel),
        }
    }

    fn link_mut(&mut self, client: u64, direction: Direction) -> Option<&mut Link> {
        self.endpoint(client).map(|endpoint| endpoint.link_mut(direction))
    }

    /// The size of a driver's datagrams. The rest of a driver that is gone travels in one.
    fn datagram_bytes(&mut self, number: u64) -> usize {
        self.endpoint(number).map_or(usize::MAX, |endpoint| endpoint.datagram_bytes)
    }

    /// Gives the message back if nobody is there to receive it.
    fn send_datagrams(&mut self, mut parcel: Parcel, client: u64) -> Option<Parcel> {
        let Destination::Peer(receiver) = parcel.to else {
            return Some(parcel);
        };
        if !self.has_driver(receiver.driver) {
            return Some(parcel);
        }
        self.settle(&mut parcel);
        let now = self.time;
        let sizes = datagram_sizes(&parcel.body, self.datagram_bytes(parcel.from.driver));
        let crossing = match self.link_mut(client, parcel.direction) {
            Some(link) => link.send(now, sizes),
            None => Crossing::Lost,
        };
        let Crossing::Arrives { first, copy, datagrams } = crossing else {
            self.record(&parcel, true);
            self.bounce(parcel);
            return None;
        };
        let copy = copy.and_then(|arrival| Some((self.copy_of(&parcel)?, arrival)));
        for (mut parcel, arrival) in [Some((parcel, first)), copy].into_iter().flatten() {
            if let (Some(corruption), Body::Message { bytes, .. }) = (arrival.corruption, &mut parcel.body) {
                corruption.apply(bytes);
            }
            self.record(&parcel, false);
            if let Some(endpoint) = self.endpoint(receiver.driver) {
                endpoint.flights.push(arrival.at, Flight { parcel, datagrams });
            }
        }
        None
    }

    /// Takes an unreliable message out of its sender's queue, which ends where the simulated link begins: from there on
    /// the link has bounds of its own.
    fn settle(&mut self, parcel: &mut Parcel) {
        let Body::Message { pipeline, bytes, counted, .. } = &mut parcel.body else {
            return;
        };
        if core::mem::take(counted) {
            let load = Load::of(*pipeline, bytes.len());
            let credit = parcel.reply(Body::Credit(load));
            self.give_to_sender(parcel.from.driver, credit);
        }
    }

    fn copy_of(&mut self, parcel: &Parcel) -> Option<Parcel> {
        let Body::Message { pipeline, bytes, injected, .. } = &parcel.body else {
            return None;
        };
        let bytes = self.pool.copy_of(bytes);
        let body = Body::Message { pipeline: *pipeline, bytes, injected: *injected, counted: false };
        Some(Parcel { body, ..*parcel })
    }

    fn send_in_order(&mut self, parcel: Parcel, client: u64) {
        let now = self.time;
        let direction = parcel.direction;
        let sizes = datagram_sizes(&parcel.body, self.datagram_bytes(parcel.from.driver));
        if let Some(endpoint) = self.endpoint(client) {
            let retransmit_after = endpoint.retransmit_after();
            endpoint.link_mut(direction).send_in_order(now, parcel, sizes, retransmit_after);
        }
        self.forward(client, direction);
    }

    /// Sends again what was lost on any link and is due, clients in order of creation.
    pub(super) fn retransmit(&mut self) {
        let now = self.time;
        for index in 0..self.endpoints.len() {
            for direction in [Direction::ToServer, Direction::ToClient] {
                let client = index as u64;
                let Some(endpoint) = self.endpoint(client).filter(|endpoint| endpoint.link(direction).waiting() > 0)
                else {
                    continue;
                };
                let retransmit_after = endpoint.retransmit_after();
                let is_cut = endpoint.is_cut(direction);
                endpoint.link_mut(direction).retransmit(now, retransmit_after, is_cut);
                self.forward(client, direction);
            }
        }
    }

    /// Sends what the reliable stream of a link has complete and in order on its way to the receiver.
    fn forward(&mut self, client: u64, direction: Direction) {
        while let Some((due, parcel)) = self.link_mut(client, direction).and_then(Link::next_in_order) {
            let receiver = self.receiver_of(&parcel);
            self.record(&parcel, receiver.is_none());
            let flight = Flight { parcel, datagrams: 0 };
            match receiver.and_then(|number| self.endpoint(number)) {
                Some(endpoint) => endpoint.flights.push(due, flight),
                None => {
                    self.land(&flight);
                    self.bounce(flight.parcel);
                }
            }
        }
    }

    /// Changes the link of a client; what is on its way arrives as decided. Returns whether there is such a driver.
    pub(super) fn set_profile(&mut self, client: u64, profile: LinkProfile) -> bool {
        self.endpoint(client).map(|endpoint| endpoint.set_profile(profile)).is_some()
    }

    pub(super) fn profile(&mut self, client: u64) -> Option<LinkProfile> {
        self.endpoint(client).map(|endpoint| endpoint.profile)
    }

    pub(super) fn set_posing(&mut self, client: u64, posing: bool) {
        if let Some(endpoint) = self.endpoint(client) {
            endpoint.profile.poses_as_socket = posing;
        }
    }

    /// What the link of a client counts as.
    pub(super) fn kind(&mut self, client: u64) -> Option<TransportKind> {
        self.endpoint(client).map(|endpoint| endpoint.kind())
    }

    pub(super) fn link_stats(&mut self, client: u64, direction: Direction) -> Option<LinkStats> {
        self.endpoint(client).map(|endpoint| endpoint.link(direction).stats())
    }

    /// The next parcel on its way to a driver that has arrived by `now`.
    pub(super) fn next_landing(&mut self, number: u64, now: Duration) -> Option<Parcel> {
        let pop = |endpoint: &mut Endpoint| endpoint.flights.pop_due(now);
        let flight = self.endpoint(number).and_then(pop)?;
        self.land(&flight);
        Some(flight.parcel)
    }

    fn land(&mut self, flight: &Flight) {
        self.note_connections(&flight.parcel);
        let link = flight.parcel.client().and_then(|client| self.link_mut(client, flight.parcel.direction));
        if let Some(link) = link {
            link.land(flight.datagrams);
        }
    }
}

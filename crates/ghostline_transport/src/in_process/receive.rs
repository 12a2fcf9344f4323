//! The receiving half of an in-process driver: what each delivered parcel means.
//! Called by `poll` with parcels from the inbox; makes events, and answers that go back on the link at once.

use super::connection::{Connection, State};
use super::driver::{InProcessDriver, dynamic_port, loopback_beside};
use super::queue::{Address, Body, Destination, Direction, Load, Parcel};
use crate::close::{CloseReason, DisconnectCause};
use crate::driver::{Driver, DriverConnection, DriverEvent, Pipeline};

impl InProcessDriver {
    pub(super) fn receive(&mut self, parcel: Parcel, events: &mut Vec<DriverEvent>) {
        let own = match parcel.to {
            Destination::Listener { port } => {
                return self.receive_request(port, parcel.from, events);
            }
            Destination::Peer(own) => own.connection,
        };
        match parcel.body {
            Body::Accept => self.receive_accept(own, parcel.from, events),
            Body::Refuse => self.receive_refusal(own, events),
            Body::Unanswered => self.receive_unanswered(own),
            Body::Message {
                pipeline,
                bytes,
                injected,
            } => self.receive_message(own, pipeline, bytes, injected, events),
            Body::Close(reason) => self.receive_close(own, reason, events),
            Body::Credit(load) => {
                if let Some(entry) = self.connections.get_mut(own) {
                    entry.backlog.credit(&load);
                }
            }
            // Requests go to listeners, never to a connection.
            Body::Request => {}
        }
    }

    fn receive_request(&mut self, port: u16, client: Address, events: &mut Vec<DriverEvent>) {
        // Only an acceptance has an end on this side; the other answers name the client's.
        let nobody = client.connection;
        let Some(listening) = self.listening.filter(|address| address.port() == port) else {
            return self.answer(nobody, client, Direction::ToClient, Body::Unanswered);
        };
        let remote = loopback_beside(listening, dynamic_port(client.driver));
        let state = State::Open { peer: client };
        let entry = Connection::new(Direction::ToClient, remote, state, self.settings());
        match self.connections.insert(entry) {
            Ok(connection) => {
                self.answer(connection, client, Direction::ToClient, Body::Accept);
                events.push(DriverEvent::Accepted { connection });
            }
            Err(_entry) => {
                self.stats.refused = self.stats.refused.saturating_add(1);
                self.answer(nobody, client, Direction::ToClient, Body::Refuse);
            }
        }
    }

    fn receive_accept(
        &mut self,
        connection: DriverConnection,
        peer: Address,
        events: &mut Vec<DriverEvent>,
    ) {
        let reason = match self.connections.get_mut(connection) {
            Some(entry) if matches!(entry.state, State::Connecting { .. }) => {
                entry.state = State::Open { peer };
                self.attempts.retain(|attempt| *attempt != connection);
                events.push(DriverEvent::Connected { connection });
                return;
            }
            Some(entry) => match &entry.state {
                State::Abandoned(reason) => reason.clone(),
                // A second acceptance: nobody asked for it.
                _ => return,
            },
            None => CloseReason::default(),
        };
        self.connections.remove(connection);
        self.answer(connection, peer, Direction::ToServer, Body::Close(reason));
    }

    fn receive_refusal(&mut self, connection: DriverConnection, events: &mut Vec<DriverEvent>) {
        let Some(entry) = self.connections.remove(connection) else {
            return;
        };
        if matches!(entry.state, State::Connecting { .. }) {
            self.attempts.retain(|attempt| *attempt != connection);
            events.push(DriverEvent::Disconnected {
                connection,
                cause: DisconnectCause::Refused,
            });
        }
    }

    fn receive_unanswered(&mut self, connection: DriverConnection) {
        let Some(entry) = self.connections.get_mut(connection) else {
            return;
        };
        match &mut entry.state {
            State::Connecting { requested, .. } => *requested = false,
            State::Abandoned(_) => {
                self.connections.remove(connection);
            }
            State::Open { .. } => {}
        }
    }

    fn receive_message(
        &mut self,
        connection: DriverConnection,
        pipeline: Pipeline,
        bytes: Vec<u8>,
        injected: bool,
        events: &mut Vec<DriverEvent>,
    ) {
        let Some(entry) = self.connections.get_mut(connection) else {
            return self.recycle(bytes);
        };
        if !injected {
            if entry.read.is_empty() {
                self.credited.push(connection);
            }
            entry.read.add(&Load::of(pipeline, bytes.len()));
        }
        events.push(DriverEvent::Received {
            connection,
            pipeline,
            bytes,
        });
    }

    fn receive_close(
        &mut self,
        connection: DriverConnection,
        reason: CloseReason,
        events: &mut Vec<DriverEvent>,
    ) {
        if self.connections.remove(connection).is_some() {
            let cause = DisconnectCause::ClosedByRemote(reason);
            events.push(DriverEvent::Disconnected { connection, cause });
        }
    }

    /// Tells the other sides what was read in this poll, which makes room in their backlogs.
    pub(super) fn return_credit(&mut self) {
        while let Some(connection) = self.credited.pop() {
            let Some(entry) = self.connections.get_mut(connection) else {
                continue;
            };
            let read = core::mem::take(&mut entry.read);
            if let State::Open { peer } = entry.state {
                let direction = entry.direction;
                self.answer(connection, peer, direction, Body::Credit(read));
            }
        }
    }

    fn answer(&mut self, from: DriverConnection, to: Address, direction: Direction, body: Body) {
        self.answers.push(Parcel {
            from: self.address(from),
            to: Destination::Peer(to),
            direction,
            body,
        });
    }
}

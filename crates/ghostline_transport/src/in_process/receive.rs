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
            Body::Message { pipeline, bytes, counted, .. } => {
                self.receive_message(own, pipeline, bytes, counted, events);
            }
            Body::Close(reason) => self.receive_end(own, DisconnectCause::ClosedByRemote(reason), events),
            Body::GivenUp => self.receive_end(own, DisconnectCause::Timeout, events),
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

    fn receive_accept(&mut self, connection: DriverConnection, peer: Address, events: &mut Vec<DriverEvent>) {
        let reason = match self.connections.get_mut(connection) {
            Some(entry) if matches!(entry.state, State::Connecting { .. }) => {
                entry.state = State::Open { peer };
                if !entry.read.is_empty() {
                    self.credited.push(connection);
                }
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
            events.push(DriverEvent::Disconnected { connection, cause: DisconnectCause::Refused });
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
        counted: bool,
        events: &mut Vec<DriverEvent>,
    ) {
        let Some(entry) = self.connections.get_mut(connection) else {
            return self.recycle(bytes);
        };
        if counted {
            if entry.read.is_empty() {
                self.credited.push(connection);
            }
            entry.read.add(&Load::of(pipeline, bytes.len()));
        }
        if !matches!(entry.state, State::Open { .. }) {
            // It has overtaken the news that the server accepts.
            return self.recycle(bytes);
        }
        events.push(DriverEvent::Received { connection, pipeline, bytes });
    }

    fn receive_end(&mut self, connection: DriverConnection, cause: DisconnectCause, events: &mut Vec<DriverEvent>) {
        if self.connections.remove(connection).is_some() {
            events.push(DriverEvent::Disconnected { connection, cause });
        }
    }

    /// Tells the other sides what was read in this poll, which makes room in their backlogs.
    pub(super) fn return_credit(&mut self) {
        while let Some(connection) = self.credited.pop() {
            let Some(entry) = self.connections.get_mut(connection) else {
                continue;
            };
            if let State::Open { peer } = entry.state {
                let read = core::mem::take(&mut entry.read);
                let direction = entry.direction;
                self.answer(connection, peer, direction, Body::Credit(read));
            }
        }
    }

    fn answer(&mut self, from: DriverConnection, to: Address, direction: Direction, body: Body) {
        self.answers.push(Parcel { from: self.address(from), to: Destination::Peer(to), direction, body });
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::error::{ConnectError, SendError};
    use crate::in_process::InProcessNetwork;
    use crate::slots::Slots;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn a_full_server_refuses_and_the_client_is_told_so() {
        let network = InProcessNetwork::new();
        let mut server = network.driver();
        server.connections = Slots::new(1);
        let address = server.listen(([127, 0, 0, 1], 1).into()).unwrap();
        let (mut first, mut second) = (network.driver(), network.driver());
        first.connect(address, NOW).unwrap();
        first.flush(NOW);
        let connection = second.connect(address, NOW).unwrap();
        second.flush(NOW);
        network.deliver();
        let mut events = Vec::new();
        server.poll(NOW, &mut events);
        assert!(matches!(events[..], [DriverEvent::Accepted { .. }]));
        assert_eq!(server.stats().refused, 1);
        network.deliver();
        events.clear();
        second.poll(NOW, &mut events);
        let cause = DisconnectCause::Refused;
        assert_eq!(events, [DriverEvent::Disconnected { connection, cause }]);
        let sent = second.send(connection, Pipeline::Unreliable, b"x");
        assert_eq!(sent, Err(SendError::NotConnected));
        events.clear();
        second.poll(Duration::from_secs(60), &mut events);
        assert_eq!(events, [], "the attempt is over");
    }

    #[test]
    fn a_full_client_says_so_and_makes_no_attempt() {
        let mut client = InProcessNetwork::new().driver();
        client.connections = Slots::new(1);
        let address = ([127, 0, 0, 1], 1).into();
        client.connect(address, NOW).unwrap();
        let full = client.connect(address, NOW);
        assert!(matches!(full, Err(ConnectError::TooManyConnections { .. })));
        assert_eq!(client.attempts.len(), 1);
    }

    #[test]
    fn parcels_that_nobody_asked_for_change_nothing() {
        let network = InProcessNetwork::new();
        let (mut server, mut client) = (network.driver(), network.driver());
        let address = server.listen(([127, 0, 0, 1], 1).into()).unwrap();
        let connection = client.connect(address, NOW).unwrap();
        client.flush(NOW);
        network.deliver();
        let mut events = Vec::new();
        server.poll(NOW, &mut events);
        network.deliver();
        events.clear();
        client.poll(NOW, &mut events);
        events.clear();
        let stray = |body| Parcel {
            from: Address { driver: 0, connection: DriverConnection::new(7, 7) },
            to: Destination::Peer(client.address(connection)),
            direction: Direction::ToClient,
            body,
        };
        let strays = [stray(Body::Accept), stray(Body::Unanswered), stray(Body::Request)];
        for parcel in strays {
            client.receive(parcel, &mut events);
        }
        assert_eq!(events, []);
        assert_eq!(client.answers.len(), 0);
        assert_eq!(client.send(connection, Pipeline::Unreliable, b"x"), Ok(()));
    }
}

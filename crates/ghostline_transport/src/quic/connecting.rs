//! The way to a connection, as a client: a name is looked up, its addresses are tried one after another, until one
//! answers or time is up. Begun by the driver's `join`; gone on with at each poll.

use core::time::Duration;
use std::net::SocketAddr;

use super::driver::QuicDriver;
use super::link::Target;
use super::port::Location;
use super::resolve::Lookup;
use super::socket::DatagramSocket;
use crate::address::{ServerAddress, ServerHost};
use crate::certificate_hash::CertificateHash;
use crate::close::DisconnectCause;
use crate::driver::{DriverConnection, DriverEvent};
use crate::error::ConnectError;
use crate::limits;

/// An attempt for which no try is under way.
pub(super) struct Pending {
    handle: DriverConnection,
    /// When `connect` was called, by the clock of patience.
    first: Duration,
    stage: Stage,
}

enum Stage {
    /// The name is being looked up.
    LookingUp { lookup: Lookup, name: String, hash: Option<CertificateHash> },
    /// The system gave no socket for the last try; another one may do.
    Waiting { target: Target, since: Duration },
}

impl Stage {
    /// What the end of the time means in this stage.
    fn overdue(&self) -> DisconnectCause {
        match self {
            Self::LookingUp { .. } => DisconnectCause::NameNotResolved { text: "no answer in time".to_owned() },
            Self::Waiting { .. } => DisconnectCause::MaxConnectionAttempts,
        }
    }
}

impl<S: DatagramSocket> QuicDriver<S> {
    /// See [`Driver::join`](crate::Driver::join).
    pub(super) fn begin_to_join(
        &mut self,
        server: &ServerAddress,
        now: Duration,
    ) -> Result<DriverConnection, ConnectError> {
        let limit = self.core.connections.limit();
        if self.core.connections.len() >= limit {
            return Err(ConnectError::TooManyConnections { limit });
        }
        match &server.host {
            ServerHost::Address(address) => self.join_address(canonical(*address), server.hash, now),
            ServerHost::Name { name, port } => {
                self.core.clock.advance(now);
                let first = self.core.clock.patience();
                let handle = self.core.connections.insert(None);
                let handle = handle.map_err(|_full| ConnectError::TooManyConnections { limit })?;
                let lookup = Lookup::begin(&*self.resolver, name, *port);
                let stage = Stage::LookingUp { lookup, name: name.clone(), hash: server.hash };
                self.pending.push(Pending { handle, first, stage });
                Ok(handle)
            }
        }
    }

    fn join_address(
        &mut self,
        address: SocketAddr,
        hash: Option<CertificateHash>,
        now: Duration,
    ) -> Result<DriverConnection, ConnectError> {
        if !can_be_connected_to(&address) {
            return Err(ConnectError::InvalidAddress { address });
        }
        let expectation = self.trust.expectation(address, None, hash).ok_or(ConnectError::NotTrusted { address })?;
        self.core.clock.advance(now);
        let first = self.core.clock.patience();
        let limit = self.core.connections.limit();
        let handle = self.core.connections.insert(None);
        let handle = handle.map_err(|_full| ConnectError::TooManyConnections { limit })?;
        let target = Target { handle, first, candidates: vec![(address, expectation)], tries: 0 };
        match self.try_next(target) {
            Ok(()) => Ok(handle),
            Err((_target, error)) => {
                self.core.connections.remove(handle);
                Err(error)
            }
        }
    }

    /// Begins a try with the next address of a target. Gives the target back, with the reason, if that can't be.
    fn try_next(&mut self, mut target: Target) -> Result<(), (Target, ConnectError)> {
        let Some((address, expectation)) = target.next() else {
            let address = SocketAddr::from(([0, 0, 0, 0], 0));
            return Err((target, ConnectError::InvalidAddress { address }));
        };
        let port = match self.client_port(address) {
            Ok(port) => port,
            Err(error) => return Err((target, error)),
        };
        let Some(Some(entry)) = self.ports.get_mut(port) else {
            return Err((target, ConnectError::TooManySockets { limit: limits::MAX_SOCKETS }));
        };
        let handle = target.handle;
        let link = entry.connect(target, address, expectation, &self.core);
        let link = link.map_err(|target| (target, ConnectError::InvalidAddress { address }))?;
        if let Some(location) = self.core.connections.get_mut(handle) {
            *location = Some(Location { port, link });
        }
        Ok(())
    }

    /// Goes on with every attempt for which no try is under way.
    pub(super) fn go_on_connecting(&mut self, events: &mut Vec<DriverEvent>) {
        let now = self.core.clock.patience();
        let deadline = self.core.settings.connect_deadline();
        let is_overdue = |first: Duration| now.saturating_sub(first) >= deadline;
        for target in core::mem::take(&mut self.core.unanswered) {
            if is_overdue(target.first) {
                self.give_up(target.handle, DisconnectCause::MaxConnectionAttempts, events);
            } else {
                self.go_on(target);
            }
        }
        for pending in core::mem::take(&mut self.pending) {
            let Pending { handle, first, stage } = pending;
            match stage {
                _ if is_overdue(first) => self.give_up(handle, stage.overdue(), events),
                Stage::LookingUp { mut lookup, name, hash } => match lookup.take() {
                    None => {
                        let stage = Stage::LookingUp { lookup, name, hash };
                        self.pending.push(Pending { handle, first, stage });
                    }
                    Some(Err(text)) => self.give_up(handle, DisconnectCause::NameNotResolved { text }, events),
                    Some(Ok(addresses)) => self.resolved((handle, first), &name, addresses, hash, events),
                },
                Stage::Waiting { target, since }
                    if now.saturating_sub(since) < target.patience(&self.core.settings) =>
                {
                    self.pending.push(Pending { handle, first, stage: Stage::Waiting { target, since } });
                }
                Stage::Waiting { target, .. } => self.go_on(target),
            }
        }
    }

    /// A name has led to addresses: those that may be trusted are tried.
    fn resolved(
        &mut self,
        (handle, first): (DriverConnection, Duration),
        name: &str,
        addresses: Vec<SocketAddr>,
        hash: Option<CertificateHash>,
        events: &mut Vec<DriverEvent>,
    ) {
        let mut candidates = Vec::new();
        let mut refused = None;
        for address in addresses.into_iter().map(canonical).filter(can_be_connected_to) {
            match self.trust.expectation(address, Some(name), hash) {
                Some(expectation) => candidates.push((address, expectation)),
                None => refused = refused.or(Some(address)),
            }
        }
        let cause = match refused {
            _ if !candidates.is_empty() => {
                self.go_on(Target { handle, first, candidates, tries: 0 });
                return;
            }
            Some(address) => DisconnectCause::NotTrusted { address },
            None => DisconnectCause::NameNotResolved { text: "no address that can be connected to".to_owned() },
        };
        self.give_up(handle, cause, events);
    }

    fn go_on(&mut self, target: Target) {
        let (handle, first) = (target.handle, target.first);
        if let Err((target, error)) = self.try_next(target) {
            tracing::debug!("an attempt to connect waits: {error}");
            let since = self.core.clock.patience();
            self.pending.push(Pending { handle, first, stage: Stage::Waiting { target, since } });
        }
    }

    fn give_up(&mut self, connection: DriverConnection, cause: DisconnectCause, events: &mut Vec<DriverEvent>) {
        if self.core.connections.remove(connection).is_some() {
            events.push(DriverEvent::Disconnected { connection, cause });
        }
    }

    /// Forgets an attempt for which no try is under way. Returns whether there was one.
    pub(super) fn cancel(&mut self, connection: DriverConnection) -> bool {
        let before = self.pending.len();
        self.pending.retain(|pending| pending.handle != connection);
        before != self.pending.len() && self.core.connections.remove(connection).is_some()
    }
}

/// One kind of socket for each family, also for addresses of one written as the other.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        // An address of IPv6 keeps its scope.
        ip if ip == address.ip() => address,
        ip => SocketAddr::new(ip, address.port()),
    }
}

fn can_be_connected_to(address: &SocketAddr) -> bool {
    address.port() != 0 && !address.ip().is_unspecified()
}

//! One socket with its QUIC endpoint and the connections on it.
//! `poll` brings packets from the socket to the connections and events up; `flush` brings messages down to the socket.

use core::time::Duration;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use quinn_proto::{ConnectionHandle, Endpoint, EndpointEvent, Transmit};

use super::cause;
use super::clock::Clock;
use super::config::ClientConfigs;
use super::link::{Attempt, Link, Phase, Target};
use super::receive::frames;
use super::socket::{DatagramSocket, Outgoing};
use super::trust::Expectation;
use crate::close::{CloseReason, DisconnectCause};
use crate::driver::{DriverConnection, DriverEvent};
use crate::limits;
use crate::settings::DriverSettings;
use crate::slots::Slots;
use crate::statistics::{DriverStatistics, count};

/// Where a connection lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Location {
    pub(super) port: usize,
    pub(super) link: usize,
}

/// What all ports of a driver share.
pub(super) struct Core {
    pub(super) settings: DriverSettings,
    pub(super) clock: Clock,
    pub(super) clients: ClientConfigs,
    /// Where each connection lives; nowhere while an attempt is between two tries.
    pub(super) connections: Slots<Option<Location>>,
    /// Attempts to connect whose last try led to nothing.
    pub(super) unanswered: Vec<Target>,
    pub(super) stats: DriverStatistics,
    /// Free buffers.
    pub(super) spare: Vec<Vec<u8>>,
    /// Scratch for packets, empty between calls.
    pub(super) packet: Vec<u8>,
    /// Handshakes that may still begin in this poll.
    pub(super) handshakes_left: usize,
}

pub(super) struct Port<S> {
    pub(super) socket: S,
    pub(super) endpoint: Endpoint,
    /// Its place in the driver.
    pub(super) number: usize,
    pub(super) is_listening: bool,
    /// Made to connect from, not to listen.
    pub(super) is_client: bool,
    /// By quinn-proto's handles, which are small, dense and reused.
    pub(super) links: Vec<Option<Box<Link>>>,
    /// Clients whose first packet has come; quinn-proto bounds their number.
    pub(super) incoming: VecDeque<quinn_proto::Incoming>,
    /// Links in [`Phase::Handshaking`].
    pub(super) handshaking: usize,
    /// Links that nobody above knows any more.
    closing: usize,
}

impl<S> Drop for Port<S> {
    fn drop(&mut self) {
        for incoming in self.incoming.drain(..) {
            self.endpoint.ignore(incoming);
        }
    }
}

pub(super) fn send<S: DatagramSocket>(
    socket: &mut S,
    now: Duration,
    transmit: &Transmit,
    packet: &[u8],
    stats: &mut DriverStatistics,
) -> usize {
    let bytes = packet.get(..transmit.size).unwrap_or(packet);
    let segment_bytes = transmit.segment_size.unwrap_or(bytes.len()).max(1);
    let packets = bytes.len().div_ceil(segment_bytes);
    let outgoing = Outgoing {
        to: transmit.destination,
        from_ip: transmit.src_ip,
        ecn: transmit.ecn.map_or(0, |ecn| ecn as u8),
        bytes,
        segment_bytes,
    };
    let counter = match socket.send(now, outgoing) {
        Ok(()) => &mut stats.packets_sent,
        Err(_lost) => &mut stats.packets_unsent,
    };
    *counter = counter.saturating_add(packets as u64);
    stats.bytes_sent = stats.bytes_sent.saturating_add(bytes.len() as u64);
    bytes.len().saturating_add(packets.saturating_mul(limits::UDP_HEADER_BYTES))
}

/// Frames sent that are more than acknowledgements.
fn frames_but_acks(link: &Link) -> u64 {
    let sent = link.connection.stats().frame_tx;
    frames(&sent).saturating_sub(sent.acks)
}

/// Nobody answered this try: the driver decides on the next one, which may need another socket.
fn try_again(link: Option<Box<Link>>, core: &mut Core) {
    if let Some(link) = link
        && let (Phase::Connecting(attempt), Some(handle)) = (link.phase, link.handle)
    {
        if let Some(location) = core.connections.get_mut(handle) {
            *location = None;
        }
        core.unanswered.push(attempt.target);
    }
}

impl<S: DatagramSocket> Port<S> {
    pub(super) fn new(socket: S, endpoint: Endpoint, number: usize, is_client: bool) -> Self {
        Self {
            socket,
            endpoint,
            number,
            is_listening: !is_client,
            is_client,
            links: Vec::new(),
            incoming: VecDeque::new(),
            handshaking: 0,
            closing: 0,
        }
    }

    /// Whether nobody needs it any more.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_listening && self.incoming.is_empty() && self.links.iter().all(Option::is_none)
    }

    pub(super) fn link(&self, index: usize) -> Option<&Link> {
        self.links.get(index)?.as_deref()
    }

    pub(super) fn link_mut(&mut self, index: usize) -> Option<&mut Link> {
        self.links.get_mut(index)?.as_deref_mut()
    }

    /// The connections' local address has changed.
    pub(super) fn moved(&mut self) {
        for link in self.links.iter_mut().flatten() {
            link.connection.local_address_changed();
        }
    }

    pub(super) fn insert(&mut self, handle: ConnectionHandle, link: Link) {
        let index = handle.0;
        if self.links.len() <= index {
            self.links.resize_with(index.saturating_add(1), || None);
        }
        if let Some(slot) = self.links.get_mut(index) {
            *slot = Some(Box::new(link));
        }
    }

    fn remove(&mut self, index: usize) -> Option<Box<Link>> {
        let link = self.links.get_mut(index)?.take()?;
        match link.phase {
            Phase::Handshaking { .. } => self.handshaking = self.handshaking.saturating_sub(1),
            Phase::Lingering { .. } | Phase::Closing { .. } => self.closing = self.closing.saturating_sub(1),
            Phase::Connecting(_) | Phase::Open => {}
        }
        Some(link)
    }

    /// Removes a connection of which the other side never heard, or need not hear any more.
    fn forget(&mut self, index: usize) -> Option<Box<Link>> {
        let link = self.remove(index)?;
        let _none = self.endpoint.handle_event(ConnectionHandle(index), EndpointEvent::drained());
        Some(link)
    }

    /// Begins a try to connect, to the target's next address. Gives the target back if that can't be.
    pub(super) fn connect(
        &mut self,
        target: Target,
        address: SocketAddr,
        expectation: Expectation,
        core: &Core,
    ) -> Result<usize, Target> {
        let Ok((config, verdict)) = core.clients.attempt(&expectation) else {
            return Err(target);
        };
        let connected = self.endpoint.connect(core.clock.instant(), config, address, expectation.server_name());
        let Ok((handle, connection)) = connected else {
            return Err(target);
        };
        let above = target.handle;
        let attempt = Attempt { target, since: core.clock.patience(), verdict };
        let mut link = Link::new(connection, Phase::Connecting(attempt), &core.clock);
        link.handle = Some(above);
        self.insert(handle, link);
        Ok(handle.0)
    }

    /// Packets in, clients in, timers, events up.
    pub(super) fn poll(&mut self, core: &mut Core, events: &mut Vec<DriverEvent>) {
        self.receive(core);
        self.admit(core);
        for index in 0..self.links.len() {
            self.service(index, core, events);
        }
        self.bound_closing();
    }

    /// Passes on what a connection has to tell its endpoint. Returns whether the connection is over for QUIC, too.
    fn route(&mut self, index: usize) -> bool {
        let Some(link) = self.links.get_mut(index).and_then(Option::as_deref_mut) else {
            return false;
        };
        let mut is_drained = false;
        while let Some(event) = link.connection.poll_endpoint_events() {
            is_drained |= event.is_drained();
            if let Some(event) = self.endpoint.handle_event(ConnectionHandle(index), event) {
                link.connection.handle_event(event);
            }
        }
        is_drained
    }

    /// Timers and events of one connection.
    fn service(&mut self, index: usize, core: &mut Core, events: &mut Vec<DriverEvent>) {
        let (now, instant) = (core.clock.now(), core.clock.instant());
        let Some(link) = self.links.get_mut(index).and_then(Option::as_deref_mut) else {
            return;
        };
        if link.connection.poll_timeout().is_some_and(|due| due <= instant) {
            link.connection.handle_timeout(instant);
            link.is_due = true;
        }
        if core::mem::take(&mut link.is_due) {
            let is_drained = self.route(index);
            self.take_news(index, core, events);
            if is_drained {
                if self.link(index).is_some_and(|link| matches!(link.phase, Phase::Connecting(_))) {
                    // QUIC lost patience before the deadline did.
                    let link = self.remove(index);
                    try_again(link, core);
                } else if let Some(link) = self.remove(index)
                    && let Some(handle) = link.handle
                {
                    // Never without news of a loss; if so, it is lost.
                    core.connections.remove(handle);
                    events.push(DriverEvent::Disconnected { connection: handle, cause: DisconnectCause::Timeout });
                }
                return;
            }
        }
        self.watch_deadlines(index, core, now, instant, events);
    }

    fn take_news(&mut self, index: usize, core: &mut Core, events: &mut Vec<DriverEvent>) {
        let (now, instant) = (core.clock.now(), core.clock.instant());
        let Some(link) = self.links.get_mut(index).and_then(Option::as_deref_mut) else {
            return;
        };
        let news = link.news();
        if news.is_connected {
            match link.phase {
                Phase::Handshaking { .. } => {
                    self.handshaking = self.handshaking.saturating_sub(1);
                    match core.connections.insert(Some(Location { port: self.number, link: index })) {
                        Ok(handle) => {
                            link.phase = Phase::Open;
                            link.handle = Some(handle);
                            count(&mut core.stats.accepted);
                            events.push(DriverEvent::Accepted { connection: handle });
                        }
                        Err(_full) => {
                            count(&mut core.stats.refused);
                            link.abort(now, instant, cause::REFUSED);
                            self.closing = self.closing.saturating_add(1);
                        }
                    }
                }
                Phase::Connecting(_) => {
                    link.phase = Phase::Open;
                    link.open_stream();
                    if let Some(connection) = link.handle {
                        events.push(DriverEvent::Connected { connection });
                    }
                }
                Phase::Open | Phase::Lingering { .. } | Phase::Closing { .. } => {}
            }
        }
        let Some(handle) = link.handle.filter(|_| link.is_open()) else {
            link.discard();
            if let Some(error) = news.lost {
                self.end_unopened(index, &error, core, events);
            }
            return;
        };
        let Core { settings, stats, spare, .. } = core;
        let read = link.read(handle, now, settings, stats, spare, events);
        if let Some(error) = news.lost {
            let cause = cause::of(&error);
            self.end(index, cause, core, events);
        } else if read.is_err() || news.is_stream_broken {
            link.abort(now, instant, cause::PROTOCOL_ERROR);
            self.closing = self.closing.saturating_add(1);
            core.connections.remove(handle);
            let cause = DisconnectCause::ProtocolError;
            events.push(DriverEvent::Disconnected { connection: handle, cause });
        }
    }

    /// QUIC lost an open connection, or one that was being opened: tells of it.
    fn end(&mut self, index: usize, cause: DisconnectCause, core: &mut Core, events: &mut Vec<DriverEvent>) {
        let now = core.clock.now();
        if let Some(link) = self.links.get_mut(index).and_then(Option::as_deref_mut) {
            if let Some(handle) = link.handle.take() {
                core.connections.remove(handle);
                events.push(DriverEvent::Disconnected { connection: handle, cause });
            }
            link.phase = Phase::Closing { since: now };
            self.closing = self.closing.saturating_add(1);
        }
    }

    fn end_unopened(
        &mut self,
        index: usize,
        error: &quinn_proto::ConnectionError,
        core: &mut Core,
        events: &mut Vec<DriverEvent>,
    ) {
        let now = core.clock.now();
        let Some(link) = self.links.get_mut(index).and_then(Option::as_deref_mut) else {
            return;
        };
        match &link.phase {
            Phase::Handshaking { .. } => {
                count(&mut core.stats.handshakes_failed);
                self.handshaking = self.handshaking.saturating_sub(1);
                self.closing = self.closing.saturating_add(1);
                link.phase = Phase::Closing { since: now };
            }
            Phase::Connecting(attempt) => {
                let cause = match cause::of(error) {
                    _ if attempt.verdict.is_untrusted() => DisconnectCause::Untrusted,
                    // The deadline decides when it is over; until then it is tried again.
                    DisconnectCause::Timeout => return,
                    cause => cause,
                };
                self.end(index, cause, core, events);
            }
            Phase::Open | Phase::Lingering { .. } | Phase::Closing { .. } => {}
        }
    }

    fn watch_deadlines(
        &mut self,
        index: usize,
        core: &mut Core,
        now: Duration,
        instant: Instant,
        events: &mut Vec<DriverEvent>,
    ) {
        let deadline = core.settings.connect_deadline();
        let patience = core.clock.patience();
        let Some(link) = self.links.get_mut(index).and_then(Option::as_deref_mut) else {
            return;
        };
        match &link.phase {
            Phase::Handshaking { since } if patience.saturating_sub(*since) >= deadline => {
                count(&mut core.stats.handshakes_failed);
                self.forget(index);
            }
            Phase::Connecting(attempt) => {
                let is_over = patience.saturating_sub(attempt.target.first) >= deadline;
                let is_unheard = link.connection.stats().udp_rx.datagrams == 0;
                let is_tried = patience.saturating_sub(attempt.since) >= attempt.target.patience(&core.settings);
                if is_over || (is_unheard && is_tried) {
                    let link = self.forget(index);
                    try_again(link, core);
                }
            }
            Phase::Open => {
                let limit = Duration::from_millis(core.settings.disconnect_timeout_ms.into());
                if link.silence(patience) >= limit
                    && let Some(connection) = link.handle
                {
                    link.abort(now, instant, cause::SILENT);
                    self.closing = self.closing.saturating_add(1);
                    core.connections.remove(connection);
                    events.push(DriverEvent::Disconnected { connection, cause: DisconnectCause::Timeout });
                }
            }
            Phase::Closing { since } if now.saturating_sub(*since) >= Duration::from_millis(limits::CLOSING_MS) => {
                self.forget(index);
            }
            Phase::Handshaking { .. } | Phase::Lingering { .. } | Phase::Closing { .. } => {}
        }
    }

    /// Closes a connection or an attempt from above.
    pub(super) fn disconnect(&mut self, index: usize, reason: CloseReason, core: &Core) {
        let (now, instant) = (core.clock.now(), core.clock.instant());
        let Some(link) = self.links.get_mut(index).and_then(Option::as_deref_mut) else {
            return;
        };
        self.closing = self.closing.saturating_add(1);
        link.begin_closing(now, reason.bounded());
        if let Phase::Closing { .. } = link.phase {
            // Before the handshake is complete, reasons don't travel.
            link.connection.close(instant, 0_u32.into(), bytes::Bytes::new());
        }
    }

    /// Of more closed connections than may be, forgets those that closed first.
    fn bound_closing(&mut self) {
        while self.closing > limits::MAX_CLOSING {
            let since = |link: &Link| match link.phase {
                Phase::Lingering { since, .. } | Phase::Closing { since } => Some(since),
                _ => None,
            };
            let closing =
                self.links.iter().enumerate().filter_map(|(index, link)| Some((since(link.as_ref()?)?, index)));
            let Some((_since, oldest)) = closing.min() else {
                return;
            };
            self.forget(oldest);
        }
    }

    /// Messages down, packets out.
    pub(super) fn flush(&mut self, core: &mut Core) {
        for index in 0..self.links.len() {
            self.flush_link(index, core);
        }
    }

    fn flush_link(&mut self, index: usize, core: &mut Core) {
        let (now, instant) = (core.clock.now(), core.clock.instant());
        let Core { settings, clock, stats, spare, packet, .. } = core;
        let Some(link) = self.links.get_mut(index).and_then(Option::as_deref_mut) else {
            return;
        };
        let mut paid = 0;
        match link.phase {
            Phase::Open => {
                paid = link.hand_over(clock, settings, stats, spare);
                if link.holds_acks(now) {
                    return;
                }
            }
            Phase::Lingering { .. } => link.linger(now, instant, stats, spare),
            Phase::Handshaking { .. } | Phase::Connecting(_) | Phase::Closing { .. } => {}
        }
        // What QUIC repeats on its own is bounded, too: the rest waits for the next flush.
        let burst = usize::try_from(link.budget.burst()).unwrap_or(usize::MAX);
        let limit = burst.saturating_add(paid).saturating_add(limits::MAX_FRAGMENTED_BYTES);
        let mut sent = 0_usize;
        let mut told = frames_but_acks(link);
        while sent < limit {
            packet.clear();
            let Some(transmit) = link.connection.poll_transmit(instant, self.socket.max_segments(), packet) else {
                break;
            };
            sent = sent.saturating_add(send(&mut self.socket, now, &transmit, packet, stats));
            let before = core::mem::replace(&mut told, frames_but_acks(link));
            if told == before {
                count(&mut link.acks_alone);
                count(&mut stats.packets_of_acks_alone);
            }
        }
        packet.clear();
        link.budget.settle(sent.saturating_sub(paid));
        link.is_due |= sent > 0;
    }

    /// The driver goes away: tells everybody, once.
    pub(super) fn close_all(&mut self, core: &mut Core) {
        let (now, instant) = (core.clock.now(), core.clock.instant());
        let Core { settings, clock, stats, spare, packet, .. } = core;
        let mut transmit = |link: &mut Link, stats: &mut DriverStatistics| {
            packet.clear();
            let transmit = link.connection.poll_transmit(instant, 1, packet);
            transmit.is_some_and(|transmit| send(&mut self.socket, now, &transmit, packet, stats) > 0)
        };
        for link in self.links.iter_mut().flatten() {
            if !matches!(link.phase, Phase::Closing { .. }) {
                if link.is_open() {
                    // What waits leaves first, as far as the budget goes; nothing is repeated any more.
                    link.hand_over(clock, settings, stats, spare);
                    while transmit(link, stats) {}
                }
                let reason = match &link.phase {
                    Phase::Lingering { reason, .. } => reason.clone(),
                    _ => CloseReason::default(),
                };
                link.connection.close(instant, cause::code(&reason), reason.text.into_bytes().into());
            }
            transmit(link, stats);
        }
        packet.clear();
    }

    /// The connections that are known above.
    pub(super) fn handles(&self) -> impl Iterator<Item = DriverConnection> {
        self.links.iter().flatten().filter_map(|link| link.handle)
    }
}

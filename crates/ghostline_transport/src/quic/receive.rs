//! Packets of known connections, and first packets of new clients: who gets in, and who has to wait.
//! Called by the port's poll; packets come from its socket, connections go into its table.

use bytes::BytesMut;
use quinn_proto::{DatagramEvent, EcnCodepoint, FrameStats, Transmit};

use super::link::{Link, Phase};
use super::port::{Core, Port, send};
use super::socket::DatagramSocket;
use crate::limits;
use crate::statistics::count;

impl<S: DatagramSocket> Port<S> {
    /// Packets from the socket to the connections that they belong to.
    pub(super) fn receive(&mut self, core: &mut Core) {
        let (now, instant, patience) = (core.clock.now(), core.clock.instant(), core.clock.patience());
        let Self { socket, endpoint, links, incoming: waiting, .. } = self;
        // Answers are sent when the packets are read: the socket is busy till then.
        let mut answers: Vec<(Transmit, Vec<u8>)> = Vec::new();
        let stats = &mut core.stats;
        socket.receive(now, limits::RECEIVE_PACKETS_PER_POLL, &mut |packet| {
            count(&mut stats.packets_received);
            stats.bytes_received = stats.bytes_received.saturating_add(packet.bytes.len() as u64);
            let mut answer = Vec::new();
            let ecn = EcnCodepoint::from_bits(packet.ecn);
            let bytes = BytesMut::from(packet.bytes);
            match endpoint.handle(instant, packet.from, packet.to_ip, ecn, bytes, &mut answer) {
                Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                    if let Some(link) = links.get_mut(handle.0).and_then(Option::as_deref_mut) {
                        let before = frames(&link.connection.stats().frame_rx);
                        link.connection.handle_event(event);
                        link.is_due = true;
                        if frames(&link.connection.stats().frame_rx) == before {
                            count(&mut stats.packets_discarded);
                        } else {
                            link.heard = patience;
                        }
                    }
                }
                Some(DatagramEvent::NewConnection(incoming)) => waiting.push_back(incoming),
                Some(DatagramEvent::Response(transmit)) => answers.push((transmit, answer)),
                None => count(&mut stats.packets_stray),
            }
        });
        for (transmit, answer) in answers {
            send(&mut self.socket, now, &transmit, &answer, &mut core.stats);
        }
    }

    /// Decides on the clients whose first packet has come.
    pub(super) fn admit(&mut self, core: &mut Core) {
        let (now, instant, since) = (core.clock.now(), core.clock.instant(), core.clock.patience());
        while let Some(incoming) = self.incoming.pop_front() {
            let packet = &mut core.packet;
            packet.clear();
            let is_full = core.connections.len().saturating_add(self.handshaking) >= core.connections.limit();
            if !self.is_listening || is_full {
                let transmit = self.endpoint.refuse(incoming, packet);
                send(&mut self.socket, now, &transmit, packet, &mut core.stats);
                count(&mut core.stats.refused);
            } else if self.handshaking >= limits::MAX_HANDSHAKES {
                self.endpoint.ignore(incoming);
                count(&mut core.stats.unanswered);
            } else if self.handshaking >= limits::RETRY_ABOVE_HANDSHAKES && !incoming.remote_address_validated() {
                // Not validated implies that a Retry is possible.
                if let Ok(transmit) = self.endpoint.retry(incoming, packet) {
                    send(&mut self.socket, now, &transmit, packet, &mut core.stats);
                    count(&mut core.stats.retries);
                }
            } else if core.handshakes_left == 0 {
                self.incoming.push_front(incoming);
                break;
            } else {
                core.handshakes_left = core.handshakes_left.saturating_sub(1);
                count(&mut core.stats.handshakes);
                match self.endpoint.accept(incoming, instant, packet, None) {
                    Ok((handle, connection)) => {
                        self.insert(handle, Link::new(connection, Phase::Handshaking { since }, &core.clock));
                        self.handshaking = self.handshaking.saturating_add(1);
                    }
                    Err(error) => {
                        count(&mut core.stats.handshakes_failed);
                        if let Some(transmit) = error.response {
                            send(&mut self.socket, now, &transmit, packet, &mut core.stats);
                        }
                    }
                }
            }
        }
        core.packet.clear();
    }
}

/// Frames of any kind. Every packet that is taken has at least one.
pub(super) fn frames(stats: &FrameStats) -> u64 {
    [
        stats.acks,
        stats.ack_frequency,
        stats.crypto,
        stats.connection_close,
        stats.data_blocked,
        stats.datagram,
        stats.handshake_done.into(),
        stats.immediate_ack,
        stats.max_data,
        stats.max_stream_data,
        stats.max_streams_bidi,
        stats.max_streams_uni,
        stats.new_connection_id,
        stats.new_token,
        stats.path_challenge,
        stats.path_response,
        stats.ping,
        stats.reset_stream,
        stats.retire_connection_id,
        stats.stream_data_blocked,
        stats.streams_blocked_bidi,
        stats.streams_blocked_uni,
        stats.stop_sending,
        stats.stream,
    ]
    .into_iter()
    .fold(0, u64::wrapping_add)
}

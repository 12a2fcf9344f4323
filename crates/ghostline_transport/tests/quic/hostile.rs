//! A peer with a valid connection that sends what no driver of ours would: a client made of quinn-proto alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use ghostline_transport::{
    DatagramSocket, DisconnectCause, Driver, DriverConnection, DriverEvent, Outgoing, Pipeline, SimulatedSocket, limits,
};
use quinn_proto::congestion::NewRenoConfig;
use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{
    ClientConfig, Connection, ConnectionError, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig, Event,
    StreamId, TransportConfig, VarInt,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

use crate::harness::{TICK, World, client_ip, server_address};

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// A server of ours, and the hostile client.
struct Attack {
    world: World,
    socket: SimulatedSocket,
    endpoint: Endpoint,
    handle: ConnectionHandle,
    connection: Connection,
    epoch: Instant,
    lost: Option<ConnectionError>,
}

impl Attack {
    fn begin(alpn: &[u8]) -> Self {
        Self::begin_in(World::new(0), alpn)
    }

    /// Somebody without any brake.
    #[expect(clippy::disallowed_methods, reason = "quinn-proto counts in `Instant`s")]
    fn begin_in(world: World, alpn: &[u8]) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_no_client_auth();
        tls.alpn_protocols = vec![alpn.to_vec()];
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        let mut unbraked = NewRenoConfig::default();
        unbraked.initial_window(1 << 40);
        let mut transport = TransportConfig::default();
        transport.congestion_controller_factory(Arc::new(unbraked)).datagram_send_buffer_size(64 * 1024 * 1024);
        config.transport_config(Arc::new(transport));
        let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None, true, None);
        let epoch = Instant::now();
        let (handle, connection) = endpoint.connect(epoch, config, server_address(), "anybody").unwrap();
        let any: SocketAddr = "0.0.0.0:0".parse().unwrap();
        let socket = SimulatedSocket::bind(&world.network.host(client_ip(100)), any).unwrap();
        Self { world, socket, endpoint, handle, connection, epoch, lost: None }
    }

    fn connected() -> (Self, DriverConnection) {
        let mut attack = Self::begin(b"ghostline/1");
        attack.ticks(10);
        let [DriverEvent::Accepted { connection }] = attack.world.server.take()[..] else { panic!("accepted") };
        (attack, connection)
    }

    fn ticks(&mut self, count: usize) {
        for _ in 0..count {
            let (now, instant) = (self.world.now, self.epoch + self.world.now);
            let Self { socket, endpoint, connection, .. } = self;
            socket.receive(now, usize::MAX, &mut |packet| {
                let bytes = BytesMut::from(packet.bytes);
                let event = endpoint.handle(instant, packet.from, None, None, bytes, &mut Vec::new());
                if let Some(DatagramEvent::ConnectionEvent(_, event)) = event {
                    connection.handle_event(event);
                }
            });
            self.connection.handle_timeout(instant);
            while let Some(event) = self.connection.poll_endpoint_events() {
                if let Some(event) = self.endpoint.handle_event(self.handle, event) {
                    self.connection.handle_event(event);
                }
            }
            while let Some(event) = self.connection.poll() {
                if let Event::ConnectionLost { reason } = event {
                    self.lost = Some(reason);
                }
            }
            let mut packet = Vec::new();
            while let Some(transmit) = self.connection.poll_transmit(instant, 1, &mut packet) {
                let outgoing = Outgoing {
                    to: transmit.destination,
                    from_ip: None,
                    ecn: 0,
                    bytes: &packet,
                    segment_bytes: packet.len(),
                };
                self.socket.send(now, outgoing).unwrap();
                packet.clear();
            }
            self.world.tick();
        }
    }

    fn datagram(&mut self, bytes: &[u8]) {
        self.connection.datagrams().send(Bytes::copy_from_slice(bytes), true).unwrap();
    }

    fn stream(&mut self, bytes: &[u8]) -> StreamId {
        let id = self.connection.streams().open(Dir::Bi).unwrap();
        assert_eq!(self.connection.send_stream(id).write(bytes).unwrap(), bytes.len());
        id
    }

    /// The server has ended the connection for breaking the rules, and the client knows.
    fn expect_protocol_error(&mut self, connection: DriverConnection) {
        self.ticks(5);
        let cause = DisconnectCause::ProtocolError;
        assert_eq!(self.world.server.events.last(), Some(&DriverEvent::Disconnected { connection, cause }));
        assert!(self.lost.is_some());
    }
}

#[test]
fn malformed_datagrams_are_dropped_and_counted_until_they_are_too_many() {
    let (mut attack, connection) = Attack::connected();
    for _ in 0..limits::MAX_MALFORMED {
        attack.datagram(&[9, 9, 9]);
        attack.ticks(1);
    }
    attack.datagram(b"\0fine");
    attack.ticks(3);
    assert_eq!(attack.world.server.received(), [(Pipeline::Unreliable, &b"fine"[..])]);
    assert_eq!(attack.world.server.driver.driver_statistics().unwrap().malformed, u64::from(limits::MAX_MALFORMED));
    attack.datagram(&[]);
    attack.expect_protocol_error(connection);
}

#[test]
fn truncated_and_flipped_fragments_never_become_a_message_that_was_not_sent() {
    let (mut attack, connection) = Attack::connected();
    let mut state = 7_u64;
    for round in 0..200_u16 {
        let mut fragments: Vec<Vec<u8>> = (0..3_u8)
            .map(|index| {
                let mut part = vec![3, round as u8, (round >> 8) as u8, index, 3];
                part.extend([round as u8; 400]);
                part
            })
            .collect();
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let which = (state >> 33) as usize % 3;
        let place = (state >> 40) as usize % 5;
        if round % 2 == 0 {
            fragments[which].truncate(place);
        } else {
            fragments[which][place] ^= 1 << ((state >> 50) % 8);
        }
        for fragment in &fragments {
            attack.datagram(fragment);
        }
        attack.ticks(1);
        // Ten seconds later it is forgiven.
        if round % 20 == 19 {
            for _ in 0..=limits::MALFORMED_WINDOW_MS / 250 {
                attack.world.now += Duration::from_millis(250) - TICK;
                attack.ticks(1);
            }
        }
    }
    for (_, bytes) in attack.world.server.received() {
        assert!(bytes.len() <= 1_200 && bytes.len() % 400 < 8, "{}", bytes.len());
    }
    assert!(attack.lost.is_none(), "each round in its time is forgiven: {:?}", attack.lost);
    assert!(attack.world.server.driver.driver_statistics().unwrap().malformed > 50);
    assert!(attack.world.server.driver.remote_address(connection).is_some());
}

#[test]
fn a_stream_of_another_version_or_with_a_length_over_the_bound_ends_the_connection() {
    for bytes in [&[2, 0][..], &[1, 0xFF, 0xFF, 0xFF], &[1, 0x81, 0x80, 0x04], &[1, 0x80, 0x00]] {
        let (mut attack, connection) = Attack::connected();
        attack.stream(bytes);
        attack.expect_protocol_error(connection);
    }
}

#[test]
fn a_client_that_cuts_its_stream_off_ends_the_connection() {
    let (mut attack, connection) = Attack::connected();
    let id = attack.stream(&[1]);
    attack.ticks(2);
    attack.connection.send_stream(id).reset(VarInt::from_u32(0)).unwrap();
    attack.expect_protocol_error(connection);

    let (mut attack, connection) = Attack::connected();
    let id = attack.stream(&[1]);
    attack.ticks(2);
    attack.connection.recv_stream(id).stop(VarInt::from_u32(0)).unwrap();
    attack.expect_protocol_error(connection);
}

#[test]
fn a_client_gets_one_stream_and_no_more() {
    let (mut attack, _) = Attack::connected();
    attack.stream(&[1]);
    assert_eq!(attack.connection.streams().open(Dir::Bi), None);
    assert_eq!(attack.connection.streams().open(Dir::Uni), None);
    attack.ticks(60);
    assert_eq!(attack.connection.streams().open(Dir::Bi), None);
}

#[test]
fn messages_before_the_first_byte_of_the_stream_wait_for_it() {
    let (mut attack, connection) = Attack::connected();
    attack.world.server.driver.send(connection, Pipeline::ReliableOrdered, b"waits").unwrap();
    attack.ticks(20);
    let statistics = attack.world.server.driver.statistics(connection).unwrap();
    assert_eq!(statistics.reliable_waiting_bytes, 6);
    attack.stream(&[1]);
    attack.ticks(5);
    assert_eq!(attack.world.server.driver.statistics(connection).unwrap().reliable_waiting_bytes, 0);
}

#[test]
fn a_client_of_another_protocol_gets_no_connection() {
    let mut attack = Attack::begin(b"h3");
    attack.ticks(30);
    assert!(matches!(attack.lost, Some(ConnectionError::ConnectionClosed(_))), "{:?}", attack.lost);
    assert_eq!(attack.world.server.events, []);
    assert_eq!(attack.world.server.driver.driver_statistics().unwrap().handshakes_failed, 1);
}

#[test]
fn a_close_with_a_strange_code_or_text_is_told_without_harm() {
    for (code, cause) in
        [(VarInt::from_u32(0x1_0000), DisconnectCause::ProtocolError), (VarInt::MAX, DisconnectCause::ProtocolError)]
    {
        let (mut attack, connection) = Attack::connected();
        let instant = attack.epoch + attack.world.now;
        attack.connection.close(instant, code, Bytes::from(vec![0xFF; 1_000]));
        attack.ticks(3);
        assert_eq!(attack.world.server.events, [DriverEvent::Disconnected { connection, cause }]);
    }
}

#[test]
fn ten_thousand_messages_of_a_hostile_peer_in_a_tick_cost_the_peer_its_own_and_nobody_else() {
    let mut world = World::new(1);
    let honest = world.connect(0);
    world.ticks(10);
    let to_honest = world.server.accepted()[0];
    world.server.take();
    let mut attack = Attack::begin_in(world, b"ghostline/1");
    attack.ticks(10);
    let hostile = attack.world.server.accepted()[0];
    attack.world.server.take();
    attack.world.clients[0].take();
    for round in 0..5_u8 {
        for number in 0..10_000_u32 {
            // The header of a whole unreliable message, then a payload.
            let mut message = vec![0; 100];
            message[1..5].copy_from_slice(&number.to_le_bytes());
            attack.datagram(&message);
        }
        attack.world.clients[0].driver.send(honest, Pipeline::Unreliable, &[round]).unwrap();
        attack.world.server.driver.send(to_honest, Pipeline::Unreliable, &[round]).unwrap();
        attack.ticks(1);
        let of =
            |wanted: DriverConnection| {
                attack.world.server.events.iter().filter(
                    move |event| matches!(event, DriverEvent::Received { connection, .. } if *connection == wanted),
                )
            };
        let taken = of(hostile).count();
        assert!(taken * 100 <= limits::DATAGRAM_RECEIVE_BYTES, "{taken} messages in a poll");
        attack.ticks(3);
        let heard = attack.world.clients[0].received();
        assert_eq!(heard.last(), Some(&(Pipeline::Unreliable, &[round][..])), "the honest client hears of every tick");
        let from_honest = attack
            .world
            .server
            .events
            .iter()
            .filter(|event| matches!(event, DriverEvent::Received { connection, .. } if *connection == to_honest));
        assert_eq!(from_honest.count(), 1, "and is heard");
        attack.world.server.take();
        attack.world.clients[0].take();
    }
}

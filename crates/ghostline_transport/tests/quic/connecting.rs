//! Connecting, refusing, and who is called what.

use std::time::Duration;

use ghostline_transport::{
    ConnectError, DisconnectCause, Driver, DriverEvent, LinkProfile, ListenError, Pipeline, QuicDriverError,
    QuicSettings, SendError, TransportKind, limits,
};

use crate::harness::{SERVER, SimulatedDriver, World, client_ip, server_address};

#[test]
fn a_client_is_connected_within_a_few_polls() {
    let (mut world, to_client, to_server) = World::connected();
    let client = &mut world.clients[0].driver;
    assert_eq!(client.remote_address(to_server), Some(server_address()));
    assert_eq!(client.local_address().map(|address| address.ip()), Some(client_ip(0)));
    let server = &mut world.server.driver;
    assert_eq!(server.remote_address(to_client).map(|address| address.ip()), Some(client_ip(0)));
    assert_eq!(server.local_address(), Some(server_address()));
    assert_eq!(server.driver_statistics().unwrap().accepted, 1);
    let capabilities = server.capabilities();
    assert_eq!(capabilities.kind, TransportKind::Socket);
    assert!(capabilities.encrypted && !capabilities.reliable);
    assert_eq!(capabilities.max_datagram_bytes, limits::DEFAULT_MESSAGE_BYTES);
}

#[test]
fn many_clients_connect_at_once_and_are_told_apart() {
    let mut world = World::new(100);
    for client in 0..100 {
        world.connect(client);
    }
    world.until(600, |world| world.server.accepted().len() == 100);
    world.ticks(10);
    let stats = world.server.driver.driver_statistics().unwrap();
    assert!(stats.retries > 0, "so many had to prove their address: {stats:?}");
    for (number, client) in world.clients.iter_mut().enumerate() {
        let [DriverEvent::Connected { connection }] = client.take()[..] else { panic!("client {number}") };
        client.driver.send(connection, Pipeline::ReliableOrdered, &[number as u8]).unwrap();
    }
    let accepted = world.server.accepted();
    world.server.take();
    world.ticks(10);
    for event in world.server.take() {
        let DriverEvent::Received { connection, bytes, .. } = event else { panic!("{event:?}") };
        assert!(accepted.contains(&connection));
        let ip = world.server.driver.remote_address(connection).unwrap().ip();
        assert_eq!(ip, client_ip(bytes[0].into()));
    }
}

#[test]
fn a_client_connects_through_33_percent_loss_within_its_deadline() {
    for seed in 1..=10 {
        let mut world = World::with(1, QuicSettings { seed: Some(seed), ..QuicSettings::default() });
        world.profile(LinkProfile::rtt(60).with_loss_percent(33.0));
        let connection = world.connect(0);
        let ticks = world.until(600, |world| !world.clients[0].events.is_empty());
        assert_eq!(world.clients[0].events[0], DriverEvent::Connected { connection }, "seed {seed}, {ticks} ticks");
    }
}

#[test]
fn a_server_that_starts_late_is_found() {
    let mut world = World::new(1);
    world.server.driver.stop_listening();
    let connection = world.connect(0);
    world.ticks(180);
    assert_eq!(world.clients[0].events, []);
    world.server.driver.listen(server_address()).unwrap();
    world.until(120, |world| world.clients[0].events == [DriverEvent::Connected { connection }]);
}

#[test]
fn a_full_server_refuses_and_says_so() {
    let mut world = World::with(3, QuicSettings { max_connections: 2, ..QuicSettings::default() });
    for client in 0..2 {
        world.connect(client);
    }
    world.ticks(10);
    let connection = world.connect(2);
    world.ticks(10);
    let cause = DisconnectCause::Refused;
    assert_eq!(world.clients[2].events, [DriverEvent::Disconnected { connection, cause }]);
    assert_eq!(world.server.accepted().len(), 2);
    assert_eq!(world.server.driver.driver_statistics().unwrap().refused, 1);
    // A place that becomes free is given away again.
    let first = world.server.accepted()[0];
    world.server.driver.disconnect(first, Default::default());
    world.clients[2].take();
    let connection = world.connect(2);
    world.ticks(10);
    assert_eq!(world.clients[2].events, [DriverEvent::Connected { connection }]);
}

#[test]
fn whoever_stops_listening_keeps_its_connections_and_accepts_no_more() {
    let (mut world, to_client, _) = World::connected();
    world.server.driver.stop_listening();
    assert!(!world.server.driver.is_listening());
    assert_eq!(world.server.driver.join_string(), None);
    world.server.driver.send(to_client, Pipeline::Unreliable, b"still here").unwrap();
    let second = world.clients[0].driver.connect(server_address(), world.now).unwrap();
    world.ticks(30);
    assert_eq!(world.clients[0].received(), [(Pipeline::Unreliable, &b"still here"[..])]);
    assert_eq!(world.server.events, []);
    assert_eq!(world.server.driver.listen(server_address()), Ok(server_address()));
    world.ticks(120);
    assert!(world.clients[0].events.contains(&DriverEvent::Connected { connection: second }));
}

#[test]
fn listening_and_connecting_where_it_can_t_be_are_errors() {
    let mut world = World::new(2);
    let address = server_address();
    assert_eq!(world.server.driver.listen(address), Err(ListenError::AlreadyListening { address }));
    let host = world.network.host(SERVER);
    let mut second = SimulatedDriver::new(host, QuicSettings::default()).unwrap();
    assert_eq!(second.listen(address), Err(ListenError::AddressInUse { address }));
    let elsewhere = "10.0.0.1:1".parse().unwrap();
    assert!(matches!(second.listen(elsewhere), Err(ListenError::Socket { .. })));
    let bound = second.listen("0.0.0.0:0".parse().unwrap()).unwrap();
    assert_eq!((bound.ip(), bound.port() > 0), (SERVER, true));
    for text in ["127.0.0.1:0", "0.0.0.0:1"] {
        let address = text.parse().unwrap();
        let connected = world.clients[0].driver.connect(address, Duration::ZERO);
        assert_eq!(connected, Err(ConnectError::InvalidAddress { address }));
    }
    let address = "10.0.0.1:1".parse().unwrap();
    let connected = world.clients[0].driver.connect(address, Duration::ZERO);
    assert_eq!(connected, Err(ConnectError::NotTrusted { address }));
}

#[test]
fn settings_out_of_range_make_no_driver() {
    let network = World::new(0).network;
    for max_connections in [0, limits::MAX_CONNECTIONS + 1] {
        let settings = QuicSettings { max_connections, ..QuicSettings::default() };
        let driver = SimulatedDriver::new(network.host(client_ip(0)), settings);
        assert_eq!(driver.unwrap_err(), QuicDriverError::MaxConnections { value: max_connections });
    }
    let mut settings = QuicSettings::default();
    settings.driver.heartbeat_timeout_ms = 0;
    let driver = SimulatedDriver::new(network.host(client_ip(0)), settings);
    assert!(matches!(driver.unwrap_err(), QuicDriverError::Settings(_)));
}

#[test]
fn a_driver_may_listen_and_connect() {
    let mut world = World::new(2);
    let address = world.clients[0].driver.listen("0.0.0.0:0".parse().unwrap()).unwrap();
    let up = world.connect(0);
    let down = world.clients[1].driver.connect(address, world.now).unwrap();
    world.ticks(10);
    assert!(world.clients[0].events.contains(&DriverEvent::Connected { connection: up }));
    assert_eq!(world.clients[0].accepted().len(), 1);
    assert_eq!(world.clients[1].events, [DriverEvent::Connected { connection: down }]);
}

#[test]
fn the_table_of_a_client_has_a_bound_too() {
    let mut world = World::with(1, QuicSettings { max_connections: 1, ..QuicSettings::default() });
    let first = world.connect(0);
    let second = world.clients[0].driver.connect(server_address(), world.now);
    assert_eq!(second, Err(ConnectError::TooManyConnections { limit: 1 }));
    world.clients[0].driver.disconnect(first, Default::default());
    assert!(world.clients[0].driver.connect(server_address(), world.now).is_ok());
}

#[test]
fn nothing_can_be_sent_before_the_connection_is_there() {
    let mut world = World::new(1);
    let connection = world.connect(0);
    let sent = world.clients[0].driver.send(connection, Pipeline::Unreliable, b"early");
    assert_eq!(sent, Err(SendError::NotConnected));
}

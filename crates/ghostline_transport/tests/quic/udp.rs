//! The same over real UDP on loopback: few tests, bounded waits, nothing measured.

use std::time::{Duration, Instant};

use ghostline_transport::{
    CloseReason, DisconnectCause, Driver, DriverConnection, DriverEvent, ImpairedNetwork, ImpairedSocket, LinkProfile,
    ListenError, Pipeline, QuicDriver, QuicSettings, UdpNetwork, UdpSocket,
};

type UdpDriver = QuicDriver<UdpSocket>;

/// Far longer than anything here takes, and short enough for a test that hangs.
const PATIENCE: Duration = Duration::from_secs(20);

#[expect(clippy::disallowed_methods, reason = "a real socket needs real time")]
fn until<A: Driver, B: Driver>(
    server: &mut A,
    client: &mut B,
    mut is_done: impl FnMut(&[DriverEvent], &[DriverEvent]) -> bool,
) -> (Vec<DriverEvent>, Vec<DriverEvent>) {
    let begin = Instant::now();
    let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
    while !is_done(&at_server, &at_client) {
        assert!(begin.elapsed() < PATIENCE, "{at_server:?} {at_client:?}");
        client.poll(begin.elapsed(), &mut at_client);
        client.flush(begin.elapsed());
        server.poll(begin.elapsed(), &mut at_server);
        server.flush(begin.elapsed());
        std::thread::sleep(Duration::from_millis(1));
    }
    (at_server, at_client)
}

/// A small message in each pass, so that only the link can lose one. Returns how many were sent, and how many have come.
#[expect(clippy::disallowed_methods, reason = "a real socket needs real time")]
fn trickle(server: &mut impl Driver, client: &mut impl Driver, to_server: DriverConnection) -> (usize, usize) {
    const MESSAGES: usize = 200;
    let begin = Instant::now();
    let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
    for pass in 0..MESSAGES + 100 {
        client.poll(begin.elapsed(), &mut at_client);
        if pass < MESSAGES {
            client.send(to_server, Pipeline::Unreliable, &[1; 20]).unwrap();
        }
        client.flush(begin.elapsed());
        server.poll(begin.elapsed(), &mut at_server);
        server.flush(begin.elapsed());
        std::thread::sleep(Duration::from_millis(2));
    }
    (MESSAGES, at_server.iter().filter(|event| matches!(event, DriverEvent::Received { .. })).count())
}

fn driver() -> UdpDriver {
    UdpDriver::new(UdpNetwork, QuicSettings::default()).unwrap()
}

fn connect(server: &mut UdpDriver, client: &mut UdpDriver, address: &str) -> (DriverConnection, DriverConnection) {
    let address = server.listen(address.parse().unwrap()).unwrap();
    let to_server = client.connect(address, Duration::ZERO).unwrap();
    let (at_server, at_client) = until(server, client, |server, client| !server.is_empty() && !client.is_empty());
    assert_eq!(at_client, [DriverEvent::Connected { connection: to_server }]);
    let [DriverEvent::Accepted { connection: to_client }] = at_server[..] else { panic!("{at_server:?}") };
    (to_client, to_server)
}

fn exchange(address: &str) {
    let (mut server, mut client) = (driver(), driver());
    let (to_client, to_server) = connect(&mut server, &mut client, address);
    assert!(server.remote_address(to_client).unwrap().ip().is_loopback());
    for (pipeline, length) in
        [(Pipeline::Unreliable, 1_162), (Pipeline::UnreliableFragmented, 9_000), (Pipeline::ReliableOrdered, 65_536)]
    {
        let message = vec![5; length];
        server.send(to_client, pipeline, &message).unwrap();
        client.send(to_server, pipeline, &message).unwrap();
        let (at_server, at_client) =
            until(&mut server, &mut client, |server, client| !server.is_empty() && !client.is_empty());
        assert_eq!(at_server, [DriverEvent::Received { connection: to_client, pipeline, bytes: message.clone() }]);
        assert_eq!(at_client, [DriverEvent::Received { connection: to_server, pipeline, bytes: message }]);
    }
    let reason = CloseReason::new(5, "bye");
    server.disconnect(to_client, reason.clone());
    let (_, at_client) = until(&mut server, &mut client, |_, client| !client.is_empty());
    let cause = DisconnectCause::ClosedByRemote(reason);
    assert_eq!(at_client, [DriverEvent::Disconnected { connection: to_server, cause }]);
}

#[test]
fn every_pipeline_works_over_ipv4() {
    exchange("127.0.0.1:0");
}

#[test]
fn every_pipeline_works_over_ipv6_where_the_machine_has_it() {
    if std::net::UdpSocket::bind("[::1]:0").is_ok() {
        exchange("[::1]:0");
    }
}

#[test]
fn a_taken_port_is_an_error_of_its_own() {
    let (mut first, mut second) = (driver(), driver());
    let address = first.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    assert_eq!(second.listen(address), Err(ListenError::AddressInUse { address }));
}

#[test]
fn a_client_that_rebinds_its_socket_keeps_its_connection() {
    let (mut server, mut client) = (driver(), driver());
    let (to_client, to_server) = connect(&mut server, &mut client, "127.0.0.1:0");
    let before = server.remote_address(to_client);
    client.rebind(None).unwrap();
    client.send(to_server, Pipeline::ReliableOrdered, b"moved").unwrap();
    until(&mut server, &mut client, |server, _| !server.is_empty());
    assert_ne!(server.remote_address(to_client), before);
}

#[test]
fn a_simulated_link_below_a_real_socket_loses_what_it_is_told_to() {
    let mut server = driver();
    let address = server.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let network = ImpairedNetwork::new(UdpNetwork, LinkProfile::rtt(20), 3).unwrap();
    let settings = QuicSettings::default();
    let mut client: QuicDriver<ImpairedSocket<UdpSocket>> = QuicDriver::new(network.clone(), settings).unwrap();
    let to_server = client.connect(address, Duration::ZERO).unwrap();
    until(&mut server, &mut client, |_, client| !client.is_empty());
    network.set_profile(LinkProfile::rtt(80).with_periodic_loss(2)).unwrap();
    let (sent, received) = trickle(&mut server, &mut client, to_server);
    // Acknowledgements and signs of life are among what gets lost.
    assert!((60..140).contains(&received), "{received} of {sent} arrived");
    let round_trip = client.statistics(to_server).unwrap().round_trip;
    assert!(round_trip >= Duration::from_millis(80), "{round_trip:?}");
}

#[test]
fn a_wildcard_of_ipv6_takes_clients_of_both_families_where_the_machine_has_both() {
    let mut server = driver();
    let Ok(bound) = server.listen("[::]:0".parse().unwrap()) else {
        // A machine without IPv6.
        return;
    };
    let mut taken = 0;
    for ip in ["127.0.0.1", "::1"] {
        if std::net::UdpSocket::bind((ip, 0)).is_err() {
            continue;
        }
        let mut client = driver();
        let address = std::net::SocketAddr::new(ip.parse().unwrap(), bound.port());
        client.connect(address, Duration::ZERO).unwrap();
        let accepted = |event: &DriverEvent| match event {
            DriverEvent::Accepted { connection } => Some(*connection),
            _ => None,
        };
        // The client before this one says goodbye in between.
        let (at_server, _) = until(&mut server, &mut client, |server, _| server.iter().any(|e| accepted(e).is_some()));
        let connection = at_server.iter().find_map(accepted).unwrap();
        let remote = server.remote_address(connection).unwrap();
        assert_eq!(remote.ip(), address.ip(), "an address of IPv4 is told as one");
        taken += 1;
    }
    assert!(taken > 0);
}

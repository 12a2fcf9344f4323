//! How a connection comes about, frame by frame, and how attempts fail.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ghostline_transport::{
    CloseReason, ConnectError, Direction, DisconnectCause, Driver, DriverConnection, DriverEvent, DriverSettings,
    InProcessNetwork, LinkProfile, ListenError, Pipeline, SendError, TransportKind,
};

use crate::harness::{Pair, address, by_the_clock, connect, poll, received};

const NOW: Duration = Duration::ZERO;

#[test]
fn a_client_is_accepted_and_connected_in_the_frame_after_its_request() {
    let network = InProcessNetwork::new();
    let (mut server, mut client) = (network.driver(), network.driver());
    server.listen(address()).unwrap();
    let to_server = client.connect(address(), NOW).unwrap();

    // Frame 1: server, then client.
    assert_eq!(poll(&mut server, NOW), []);
    server.flush(NOW);
    network.deliver();
    assert_eq!(poll(&mut client, NOW), []);
    client.flush(NOW);
    network.deliver();

    // Frame 2.
    let [DriverEvent::Accepted { connection }] = poll(&mut server, NOW)[..] else {
        panic!("accepted in frame 2");
    };
    server.send(connection, Pipeline::ReliableOrdered, b"first").unwrap();
    server.send(connection, Pipeline::Unreliable, b"second").unwrap();
    server.flush(NOW);
    network.deliver();
    let connected = DriverEvent::Connected { connection: to_server };
    assert_eq!(
        poll(&mut client, NOW),
        [
            connected,
            received(to_server, Pipeline::ReliableOrdered, b"first"),
            received(to_server, Pipeline::Unreliable, b"second"),
        ]
    );
}

#[test]
fn a_request_waits_for_the_flush_and_for_the_delivery() {
    let network = InProcessNetwork::new();
    let (mut server, mut client) = (network.driver(), network.driver());
    server.listen(address()).unwrap();
    client.connect(address(), NOW).unwrap();
    network.deliver();
    assert_eq!(poll(&mut server, NOW), [], "not flushed");
    client.flush(NOW);
    assert_eq!(poll(&mut server, NOW), [], "not delivered");
    network.deliver();
    assert_eq!(poll(&mut server, NOW).len(), 1);
}

#[test]
fn a_client_can_send_only_once_it_is_connected() {
    let network = InProcessNetwork::new();
    let (mut server, mut client) = (network.driver(), network.driver());
    server.listen(address()).unwrap();
    let to_server = client.connect(address(), NOW).unwrap();
    let early = client.send(to_server, Pipeline::Unreliable, b"x");
    assert_eq!(early, Err(SendError::NotConnected));
    client.flush(NOW);
    network.deliver();
    poll(&mut server, NOW);
    server.flush(NOW);
    network.deliver();
    poll(&mut client, NOW);
    assert_eq!(client.send(to_server, Pipeline::Unreliable, b"x"), Ok(()));
}

#[test]
fn new_connections_come_in_the_order_of_creation_not_of_flushing() {
    let network = InProcessNetwork::new();
    let mut server = network.driver();
    server.listen(address()).unwrap();
    let mut clients = [network.driver(), network.driver(), network.driver()];
    for client in clients.iter_mut().rev() {
        client.connect(address(), NOW).unwrap();
        client.flush(NOW);
    }
    network.deliver();
    let ports: Vec<u16> = poll(&mut server, NOW)
        .into_iter()
        .map(|event| match event {
            DriverEvent::Accepted { connection } => server.remote_address(connection).unwrap().port(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ports, [49_153, 49_154, 49_155], "the port tells the number of the client's driver");
}

#[test]
fn drivers_are_numbered_in_the_order_of_creation() {
    let network = InProcessNetwork::new();
    let numbers = [network.driver(), network.driver(), network.clone().driver()];
    assert_eq!(numbers.map(|driver| driver.number()), [0, 1, 2]);
    assert_eq!(network.driver().number(), 3, "numbers of dropped drivers are not used again");
}

#[test]
fn an_attempt_where_nobody_listens_fails_at_the_deadline_and_not_before() {
    let network = InProcessNetwork::new();
    let settings = DriverSettings { connect_timeout_ms: 200, max_connect_attempts: 3, ..DriverSettings::default() };
    let mut client = network.driver_with(settings).unwrap();
    let begin = Duration::from_secs(5);
    let connection = client.connect(address(), begin).unwrap();
    for ms in (0..600).step_by(50) {
        let now = begin + Duration::from_millis(ms);
        assert_eq!(poll(&mut client, now), [], "after {ms} ms");
        client.flush(now);
        network.deliver();
    }
    let cause = DisconnectCause::MaxConnectionAttempts;
    let end = begin + Duration::from_millis(600);
    assert_eq!(poll(&mut client, end), [DriverEvent::Disconnected { connection, cause }]);
    assert_eq!(poll(&mut client, end * 2), [], "exactly once");
    assert_eq!(client.remote_address(connection), None);
}

#[test]
fn an_attempt_is_repeated_until_somebody_listens() {
    let network = InProcessNetwork::new();
    let (mut server, mut client) = (network.driver(), network.driver());
    let connection = client.connect(address(), NOW).unwrap();
    for _ in 0..20 {
        assert_eq!(poll(&mut client, NOW), []);
        client.flush(NOW);
        network.deliver();
    }
    server.listen(address()).unwrap();
    poll(&mut client, NOW);
    client.flush(NOW);
    network.deliver();
    assert_eq!(poll(&mut server, NOW).len(), 1, "one attempt, one connection");
    server.flush(NOW);
    network.deliver();
    assert_eq!(poll(&mut client, NOW), [DriverEvent::Connected { connection }]);
}

#[test]
fn a_server_that_polls_late_accepts_an_attempt_once() {
    let network = InProcessNetwork::new();
    let (mut server, mut client) = (network.driver(), network.driver());
    server.listen(address()).unwrap();
    client.connect(address(), NOW).unwrap();
    for _ in 0..10 {
        poll(&mut client, NOW);
        client.flush(NOW);
        network.deliver();
    }
    assert_eq!(poll(&mut server, NOW).len(), 1);
}

#[test]
fn a_server_accepted_after_the_deadline_hears_that_the_client_is_gone() {
    let network = InProcessNetwork::new();
    let [mut server, mut client] = [0, 1].map(|_| network.driver_with(by_the_clock()).unwrap());
    server.listen(address()).unwrap();
    client.connect(address(), NOW).unwrap();
    client.flush(NOW);
    network.deliver();
    let late = Duration::from_secs(11);
    assert_eq!(poll(&mut client, late).len(), 1, "MaxConnectionAttempts");
    let [DriverEvent::Accepted { connection }] = poll(&mut server, late)[..] else {
        panic!("the request was delivered in time");
    };
    network.deliver();
    assert_eq!(poll(&mut client, late), []);
    network.deliver();
    let cause = DisconnectCause::ClosedByRemote(CloseReason::default());
    assert_eq!(poll(&mut server, late), [DriverEvent::Disconnected { connection, cause }]);
}

#[test]
fn a_server_that_stops_listening_keeps_its_connections_and_takes_no_more() {
    let mut pair = Pair::connected();
    pair.server.stop_listening();
    assert!(!pair.server.is_listening());
    let mut late = pair.network.driver();
    late.connect(address(), NOW).unwrap();
    late.flush(NOW);
    pair.network.deliver();
    assert_eq!(pair.server_stage(), []);
    pair.send_to_client(Pipeline::Unreliable, b"still here");
    pair.server_stage();
    assert_eq!(pair.client_stage(), [received(pair.to_server, Pipeline::Unreliable, b"still here")]);
}

#[test]
fn a_request_that_was_delivered_when_the_server_stopped_is_repeated_elsewhere() {
    let network = InProcessNetwork::new();
    let (mut old, mut client, mut new) = (network.driver(), network.driver(), network.driver());
    old.listen(address()).unwrap();
    let connection = client.connect(address(), NOW).unwrap();
    client.flush(NOW);
    network.deliver();
    old.stop_listening();
    new.listen(address()).unwrap();
    assert_eq!(poll(&mut old, NOW), [], "it no longer listens");
    network.deliver();
    poll(&mut client, NOW);
    client.flush(NOW);
    network.deliver();
    assert_eq!(poll(&mut new, NOW).len(), 1);
    network.deliver();
    assert_eq!(poll(&mut client, NOW), [DriverEvent::Connected { connection }]);
}

#[test]
fn a_request_for_the_port_that_a_server_has_left_is_not_accepted_on_its_new_one() {
    let network = InProcessNetwork::new();
    let (mut server, mut client) = (network.driver(), network.driver());
    server.listen(address()).unwrap();
    client.connect(address(), NOW).unwrap();
    client.flush(NOW);
    network.deliver();
    server.stop_listening();
    server.listen(SocketAddr::from(([127, 0, 0, 1], 1))).unwrap();
    assert_eq!(poll(&mut server, NOW), []);
}

#[test]
fn a_request_that_was_delivered_when_the_server_was_dropped_is_repeated_elsewhere() {
    let network = InProcessNetwork::new();
    let (mut old, mut client, mut new) = (network.driver(), network.driver(), network.driver());
    old.listen(address()).unwrap();
    let connection = client.connect(address(), NOW).unwrap();
    client.flush(NOW);
    network.deliver();
    drop(old);
    new.listen(address()).unwrap();
    network.deliver();
    poll(&mut client, NOW);
    client.flush(NOW);
    network.deliver();
    assert_eq!(poll(&mut new, NOW).len(), 1);
    network.deliver();
    assert_eq!(poll(&mut client, NOW), [DriverEvent::Connected { connection }]);
}

#[test]
fn an_idle_connection_never_times_out() {
    let mut pair = Pair::connected();
    pair.now = Duration::from_secs(10 * 3_600);
    assert_eq!(pair.server_stage(), []);
    assert_eq!(pair.client_stage(), []);
    pair.send_to_server(Pipeline::Unreliable, b"awake");
    pair.client_stage();
    assert_eq!(pair.server_stage(), [received(pair.to_client, Pipeline::Unreliable, b"awake")]);
}

fn timeout(connection: DriverConnection) -> DriverEvent {
    DriverEvent::Disconnected { connection, cause: DisconnectCause::Timeout }
}

const TIMEOUT: Duration = Duration::from_secs(10);

#[test]
fn a_cut_connection_times_out_on_both_sides_after_so_much_silence() {
    let mut pair = Pair::connected();
    pair.now = Duration::from_secs(3_600);
    pair.server_stage();
    pair.client_stage();
    // Here a plain link was heard last.
    for direction in [Direction::ToServer, Direction::ToClient] {
        pair.network.cut(pair.number(), direction, true);
    }
    pair.now += TIMEOUT - Duration::from_millis(1);
    assert_eq!((pair.server_stage(), pair.client_stage()), (vec![], vec![]));
    pair.now += Duration::from_millis(1);
    let expected = (vec![timeout(pair.to_client)], vec![timeout(pair.to_server)]);
    assert_eq!((pair.server_stage(), pair.client_stage()), expected);
    let sent = pair.client.send(pair.to_server, Pipeline::ReliableOrdered, b"late");
    assert_eq!(sent, Err(SendError::NotConnected));
    for direction in [Direction::ToServer, Direction::ToClient] {
        pair.network.cut(pair.number(), direction, false);
    }
    pair.now += Duration::from_secs(1);
    assert_eq!((pair.server_stage(), pair.client_stage()), (vec![], vec![]), "what was held back is late");
    let (server, client) = (&mut pair.server, &mut pair.client);
    connect(&pair.network, server, client);
}

#[test]
fn a_side_that_is_cut_off_gives_up_and_the_other_is_told_why() {
    for profile in [LinkProfile::in_process(), LinkProfile::perfect()] {
        let mut pair = Pair::connected();
        pair.network.set_profile(pair.number(), profile).unwrap();
        pair.network.cut(pair.number(), Direction::ToServer, true);
        let (mut on_server, mut on_client) = (Vec::new(), Vec::new());
        for _ in 0..=10 {
            on_server.extend(pair.server_stage());
            on_client.extend(pair.client_stage());
            pair.now += Duration::from_secs(1);
        }
        assert_eq!((on_server, on_client), (vec![timeout(pair.to_client)], vec![timeout(pair.to_server)]));
    }
}

#[test]
fn over_a_link_that_counts_as_a_socket_flushes_are_signs_of_life_and_a_peer_that_stands_still_has_none() {
    let lossy = LinkProfile::perfect().with_loss_percent(100.0);
    for (profile, client_runs, ends) in
        [(LinkProfile::perfect(), true, false), (LinkProfile::perfect(), false, true), (lossy, true, true)]
    {
        let mut pair = Pair::connected();
        pair.network.set_profile(pair.number(), profile).unwrap();
        let mut on_server = Vec::new();
        for _ in 0..30 {
            pair.now += Duration::from_secs(1);
            if client_runs {
                pair.client_stage();
            }
            on_server.extend(pair.server_stage());
        }
        let expected = if ends { vec![timeout(pair.to_client)] } else { Vec::new() };
        assert_eq!(on_server, expected, "{profile:?}, {client_runs}");
    }
}

#[test]
fn a_port_belongs_to_one_listener_until_it_stops_or_is_dropped() {
    let network = InProcessNetwork::new();
    let (mut first, mut second) = (network.driver(), network.driver());
    assert_eq!(first.listen(address()), Ok(address()));
    assert_eq!(first.local_address(), Some(address()));
    let again = first.listen(address());
    assert_eq!(again, Err(ListenError::AlreadyListening { address: address() }));
    let in_use = Err(ListenError::AddressInUse { address: address() });
    assert_eq!(second.listen(address()), in_use);
    assert!(!second.is_listening());
    first.stop_listening();
    assert_eq!(second.listen(address()), Ok(address()));
    assert_eq!(first.listen(address()), in_use);
    drop(second);
    assert_eq!(first.listen(address()), Ok(address()));
}

#[test]
fn port_0_gets_a_free_port_that_clients_can_reach() {
    let network = InProcessNetwork::new();
    let (mut first, mut second, mut client) = (network.driver(), network.driver(), network.driver());
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    let one = first.listen(any).unwrap();
    let other = second.listen(any).unwrap();
    assert_ne!(one.port(), 0);
    assert_ne!(one.port(), other.port());
    assert!(one.ip().is_unspecified());
    client.connect(SocketAddr::from(([127, 0, 0, 1], other.port())), NOW).unwrap();
    client.flush(NOW);
    network.deliver();
    assert_eq!(poll(&mut first, NOW), []);
    assert_eq!(poll(&mut second, NOW).len(), 1);
}

#[test]
fn port_0_passes_over_ports_that_are_taken() {
    let network = InProcessNetwork::new();
    let (mut first, mut second) = (network.driver(), network.driver());
    // The port that the second driver would be given first.
    first.listen(SocketAddr::from(([127, 0, 0, 1], 49_153))).unwrap();
    let bound = second.listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    assert_eq!(bound.port(), 49_154);
}

#[test]
fn connecting_to_port_0_is_an_error() {
    let mut client = InProcessNetwork::new().driver();
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let error = Err(ConnectError::InvalidAddress { address });
    assert_eq!(client.connect(address, NOW), error);
}

#[test]
fn both_sides_know_their_addresses() {
    let pair = Pair::connected();
    assert_eq!(pair.server.local_address(), Some(address()));
    assert_eq!(pair.client.remote_address(pair.to_server), Some(address()));
    let client = pair.client.local_address();
    assert!(client.is_some_and(|client| client.ip().is_loopback()));
    assert_eq!(pair.server.remote_address(pair.to_client), client);
    assert_eq!(pair.network.driver().local_address(), None);
}

/// Counts warnings, and nothing else.
struct Warnings(Arc<AtomicUsize>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }
    fn new_span(&self, _span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _span: &tracing::span::Id, _values: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _span: &tracing::span::Id, _follows: &tracing::span::Id) {}
    fn event(&self, _event: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn enter(&self, _span: &tracing::span::Id) {}
    fn exit(&self, _span: &tracing::span::Id) {}
}

#[test]
fn addresses_outside_this_machine_are_coerced_with_one_warning_each() {
    let warnings = Arc::new(AtomicUsize::new(0));
    tracing::subscriber::with_default(Warnings(warnings.clone()), || {
        let count = || warnings.load(Ordering::Relaxed);
        let network = InProcessNetwork::new();
        let (mut server, mut client) = (network.driver(), network.driver());
        let foreign = SocketAddr::from(([192, 0, 2, 1], 4_242));
        let bound = server.listen(foreign).unwrap();
        assert_eq!(bound, SocketAddr::from(([0, 0, 0, 0], 4_242)));
        assert_eq!(count(), 1);
        let connection = client.connect(foreign, NOW).unwrap();
        let loopback = SocketAddr::from(([127, 0, 0, 1], 4_242));
        assert_eq!(client.remote_address(connection), Some(loopback));
        assert_eq!(count(), 2);
        for _ in 0..5 {
            client.flush(NOW);
            network.deliver();
            poll(&mut client, NOW);
        }
        assert_eq!(poll(&mut server, NOW).len(), 1);
        assert_eq!(count(), 2, "attempts don't repeat the warning");
        let _harmless = network.driver().listen(SocketAddr::from(([0, 0, 0, 0], 1)));
        let _harmless = network.driver().connect(loopback, NOW);
        assert_eq!(count(), 2, "any and loopback need no warning");
    });
}

#[test]
fn of_a_long_frame_no_more_counts_toward_time_outs_than_the_settings_say() {
    for (max_frame_time_ms, is_kept) in [(100, true), (0, false)] {
        let settings = DriverSettings { max_frame_time_ms, ..DriverSettings::default() };
        let mut pair = Pair::with(settings);
        let mut waiting = pair.network.driver_with(settings).unwrap();
        waiting.connect(SocketAddr::from(([127, 0, 0, 1], 1)), pair.now).unwrap();
        pair.network.cut(pair.number(), Direction::ToServer, true);
        pair.network.cut(pair.number(), Direction::ToClient, true);
        let mut events = Vec::new();
        for step in [16, 60_000, 16] {
            pair.now += Duration::from_millis(step);
            events.extend(pair.server_stage());
            events.extend(pair.client_stage());
            events.extend(poll(&mut waiting, pair.now));
        }
        assert_eq!(events.len(), if is_kept { 0 } else { 3 }, "{events:?}");
    }
}

#[test]
fn one_driver_can_hold_connections_to_several_servers() {
    let network = InProcessNetwork::new();
    let (mut near, mut far, mut client) = (network.driver(), network.driver(), network.driver());
    near.listen(address()).unwrap();
    let (near_end, to_near) = connect(&network, &mut near, &mut client);
    near.stop_listening();
    far.listen(address()).unwrap();
    let (far_end, to_far) = connect(&network, &mut far, &mut client);
    client.send(to_near, Pipeline::Unreliable, b"near").unwrap();
    client.send(to_far, Pipeline::Unreliable, b"far").unwrap();
    client.flush(NOW);
    network.deliver();
    assert_eq!(poll(&mut near, NOW), [received(near_end, Pipeline::Unreliable, b"near")]);
    assert_eq!(poll(&mut far, NOW), [received(far_end, Pipeline::Unreliable, b"far")]);
}

#[test]
fn a_driver_says_what_it_is_unless_it_poses_as_a_socket() {
    let network = InProcessNetwork::new();
    let plain = network.driver().capabilities();
    assert_eq!(plain.kind, TransportKind::InProcess);
    let posing = network.driver().posing_as_socket(true);
    assert_eq!(posing.capabilities().kind, TransportKind::Socket);
    let honest = posing.posing_as_socket(false).capabilities();
    assert_eq!(honest, plain, "nothing but the kind changes");
}

#[test]
fn invalid_settings_make_no_driver() {
    let network = InProcessNetwork::new();
    let settings = DriverSettings { max_message_bytes: 1, queue_messages: 0, ..DriverSettings::default() };
    assert_eq!(network.driver_with(settings).unwrap_err().errors.len(), 2);
    assert_eq!(network.driver().number(), 0, "no number was used up");
}

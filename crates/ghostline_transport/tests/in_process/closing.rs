//! How connections end: what each side is told, in which order, and that old handles reach nobody.

use std::time::Duration;

use ghostline_transport::{
    CloseReason, DisconnectCause, Driver, DriverConnection, DriverEvent, InProcessNetwork, Pipeline, SendError, limits,
};

use crate::harness::{Pair, address, connect, poll, received};

const NOW: Duration = Duration::ZERO;

fn closed_by_remote(connection: DriverConnection, reason: CloseReason) -> DriverEvent {
    DriverEvent::Disconnected { connection, cause: DisconnectCause::ClosedByRemote(reason) }
}

#[test]
fn the_other_side_sees_everything_sent_before_and_then_the_reason() {
    let mut pair = Pair::connected();
    pair.send_to_client(Pipeline::Unreliable, b"flushed");
    pair.server.flush(NOW);
    pair.send_to_client(Pipeline::ReliableOrdered, b"staged");
    let reason = CloseReason::new(42, "kicked");
    pair.server.disconnect(pair.to_client, reason.clone());
    pair.network.deliver();
    assert_eq!(
        poll(&mut pair.client, NOW),
        [
            received(pair.to_server, Pipeline::Unreliable, b"flushed"),
            received(pair.to_server, Pipeline::ReliableOrdered, b"staged"),
            closed_by_remote(pair.to_server, reason),
        ]
    );
}

#[test]
fn a_client_can_close_as_well() {
    let mut pair = Pair::connected();
    pair.send_to_server(Pipeline::Unreliable, b"bye");
    let reason = CloseReason::from_code(9);
    pair.client.disconnect(pair.to_server, reason.clone());
    pair.network.deliver();
    assert_eq!(
        poll(&mut pair.server, NOW),
        [received(pair.to_client, Pipeline::Unreliable, b"bye"), closed_by_remote(pair.to_client, reason),]
    );
    let answer = pair.server.send(pair.to_client, Pipeline::Unreliable, b"x");
    assert_eq!(answer, Err(SendError::NotConnected));
}

#[test]
fn the_side_that_closes_is_rid_of_the_connection_at_once_and_hears_nothing() {
    let mut pair = Pair::connected();
    pair.send_to_server(Pipeline::ReliableOrdered, b"too late");
    pair.client.flush(NOW);
    pair.network.deliver();
    pair.server.disconnect(pair.to_client, CloseReason::default());
    let sent = pair.server.send(pair.to_client, Pipeline::ReliableOrdered, b"x");
    assert_eq!(sent, Err(SendError::NotConnected));
    assert_eq!(pair.server.remote_address(pair.to_client), None);
    for _ in 0..3 {
        assert_eq!(pair.server_stage(), []);
        pair.client_stage();
    }
    pair.server.disconnect(pair.to_client, CloseReason::from_code(1));
    assert_eq!(pair.server_stage(), [], "closing twice changes nothing");
    assert_eq!(pair.client_stage(), []);
}

#[test]
fn when_both_sides_close_at_once_neither_hears_of_the_other() {
    let mut pair = Pair::connected();
    pair.server.disconnect(pair.to_client, CloseReason::from_code(1));
    pair.client.disconnect(pair.to_server, CloseReason::from_code(2));
    for _ in 0..3 {
        assert_eq!(pair.server_stage(), []);
        assert_eq!(pair.client_stage(), []);
    }
}

#[test]
fn a_reason_with_too_long_a_text_arrives_cut() {
    let mut pair = Pair::connected();
    let reason = CloseReason { code: 1, text: "\u{E9}".repeat(limits::MAX_CLOSE_TEXT_BYTES) };
    pair.server.disconnect(pair.to_client, reason);
    pair.network.deliver();
    let cut = CloseReason { code: 1, text: "\u{E9}".repeat(limits::MAX_CLOSE_TEXT_BYTES / 2) };
    assert_eq!(poll(&mut pair.client, NOW), [closed_by_remote(pair.to_server, cut)]);
}

#[test]
fn an_attempt_closed_before_its_request_left_is_never_heard_of() {
    let network = InProcessNetwork::new();
    let (mut server, mut client) = (network.driver(), network.driver());
    server.listen(address()).unwrap();
    let attempt = client.connect(address(), NOW).unwrap();
    client.disconnect(attempt, CloseReason::default());
    client.flush(NOW);
    network.deliver();
    assert_eq!(poll(&mut server, NOW), []);
    assert_eq!(poll(&mut client, Duration::from_secs(60)), []);
}

#[test]
fn an_attempt_closed_after_its_request_left_reaches_the_server_as_a_close_with_the_reason() {
    let network = InProcessNetwork::new();
    let (mut server, mut client) = (network.driver(), network.driver());
    server.listen(address()).unwrap();
    let attempt = client.connect(address(), NOW).unwrap();
    client.flush(NOW);
    let reason = CloseReason::new(5, "changed my mind");
    client.disconnect(attempt, reason.clone());
    assert_eq!(client.remote_address(attempt), None);
    network.deliver();
    let [DriverEvent::Accepted { connection }] = poll(&mut server, NOW)[..] else {
        panic!("the request had left");
    };
    // A new attempt in the meantime must not be taken for the old one.
    let second = client.connect(address(), NOW).unwrap();
    assert_ne!(second, attempt);
    network.deliver();
    assert_eq!(poll(&mut client, NOW), []);
    client.flush(NOW);
    network.deliver();
    let events = poll(&mut server, NOW);
    assert_eq!(events[0], closed_by_remote(connection, reason));
    assert!(matches!(events[1..], [DriverEvent::Accepted { .. }]));
    network.deliver();
    let connected = DriverEvent::Connected { connection: second };
    assert_eq!(poll(&mut client, NOW), [connected]);
}

#[test]
fn an_attempt_closed_while_nobody_listens_frees_its_slot() {
    let network = InProcessNetwork::new();
    let mut client = network.driver();
    let attempt = client.connect(address(), NOW).unwrap();
    client.flush(NOW);
    network.deliver();
    client.disconnect(attempt, CloseReason::default());
    assert_eq!(poll(&mut client, NOW), []);
    let next = client.connect(address(), NOW).unwrap();
    assert_eq!(next.index(), attempt.index());
    assert_ne!(next.generation(), attempt.generation());
}

#[test]
fn a_dropped_server_closes_all_its_connections() {
    let network = InProcessNetwork::new();
    let mut server = network.driver();
    server.listen(address()).unwrap();
    let (mut first, mut second) = (network.driver(), network.driver());
    let (to_first, first_end) = connect(&network, &mut server, &mut first);
    let (_, second_end) = connect(&network, &mut server, &mut second);
    server.send(to_first, Pipeline::Unreliable, b"last words").unwrap();
    drop(server);
    network.deliver();
    assert_eq!(
        poll(&mut first, NOW),
        [received(first_end, Pipeline::Unreliable, b"last words"), closed_by_remote(first_end, CloseReason::default()),]
    );
    let closed = closed_by_remote(second_end, CloseReason::default());
    assert_eq!(poll(&mut second, NOW), [closed]);
}

#[test]
fn a_client_dropped_while_it_connects_leaves_no_connection_behind() {
    let network = InProcessNetwork::new();
    let (mut server, mut client) = (network.driver(), network.driver());
    server.listen(address()).unwrap();
    client.connect(address(), NOW).unwrap();
    client.flush(NOW);
    network.deliver();
    drop(client);
    let [DriverEvent::Accepted { connection }] = poll(&mut server, NOW)[..] else {
        panic!("the request was delivered");
    };
    server.flush(NOW);
    network.deliver();
    let closed = closed_by_remote(connection, CloseReason::default());
    assert_eq!(poll(&mut server, NOW), [closed]);
}

#[test]
fn an_old_handle_never_reaches_the_next_connection_in_its_slot() {
    let mut pair = Pair::connected();
    pair.server.disconnect(pair.to_client, CloseReason::default());
    pair.network.deliver();
    poll(&mut pair.client, NOW);
    let (new_to_client, new_to_server) = connect(&pair.network, &mut pair.server, &mut pair.client);
    assert_eq!(new_to_client.index(), pair.to_client.index());
    assert_eq!(new_to_server.index(), pair.to_server.index());

    let (old_to_client, old_to_server) = (pair.to_client, pair.to_server);
    for pipeline in [Pipeline::Unreliable, Pipeline::ReliableOrdered] {
        let from_server = pair.server.send(old_to_client, pipeline, b"stray");
        let from_client = pair.client.send(old_to_server, pipeline, b"stray");
        assert_eq!(from_server, Err(SendError::NotConnected));
        assert_eq!(from_client, Err(SendError::NotConnected));
    }
    pair.server.disconnect(old_to_client, CloseReason::default());
    pair.client.disconnect(old_to_server, CloseReason::default());
    assert_eq!(pair.server.remote_address(old_to_client), None);
    pair.server_stage();
    assert_eq!(pair.client_stage(), []);
    assert_eq!(pair.server_stage(), []);
    pair.server.send(new_to_client, Pipeline::Unreliable, b"new").unwrap();
    pair.server_stage();
    assert_eq!(pair.client_stage(), [received(new_to_server, Pipeline::Unreliable, b"new")]);
}

#[test]
fn messages_on_their_way_to_a_closed_connection_don_t_reach_its_successor() {
    let mut pair = Pair::connected();
    pair.send_to_server(Pipeline::ReliableOrdered, b"for the old one");
    pair.client.flush(NOW);
    pair.network.deliver();
    pair.server.disconnect(pair.to_client, CloseReason::default());
    let mut other = pair.network.driver();
    other.connect(address(), NOW).unwrap();
    other.flush(NOW);
    pair.network.deliver();
    let events = poll(&mut pair.server, NOW);
    let [DriverEvent::Accepted { connection }] = events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(connection.index(), pair.to_client.index());
}

//! The test instruments of the network: cutting a direction, injecting bytes and recording messages.

use std::time::Duration;

use ghostline_transport::{
    CloseReason, Direction, DisconnectCause, Driver, DriverEvent, DriverSettings, InProcessNetwork, Pipeline, Recorded,
    SendError, limits,
};

use crate::harness::{Pair, address, by_the_clock, connect, poll, received};

const NOW: Duration = Duration::ZERO;

#[test]
fn a_cut_loses_unreliable_messages_and_delivers_reliable_ones_in_order_when_it_ends() {
    let mut pair = Pair::connected();
    assert!(pair.network.cut(pair.number(), Direction::ToClient, true));
    for i in 0..6 {
        pair.send_to_client(Pipeline::ReliableOrdered, &[i, 0]);
        pair.send_to_client(Pipeline::Unreliable, &[i, 1]);
        pair.server_stage();
        assert_eq!(pair.client_stage(), []);
    }
    assert!(pair.network.cut(pair.number(), Direction::ToClient, false));
    pair.send_to_client(Pipeline::Unreliable, b"after");
    pair.server_stage();
    let mut expected: Vec<_> = (0..6).map(|i| received(pair.to_server, Pipeline::ReliableOrdered, &[i, 0])).collect();
    expected.push(received(pair.to_server, Pipeline::Unreliable, b"after"));
    assert_eq!(pair.client_stage(), expected);
}

#[test]
fn a_cut_concerns_one_client_and_one_direction() {
    let mut pair = Pair::connected();
    let mut other = pair.network.driver();
    let (to_other, other_end) = connect(&pair.network, &mut pair.server, &mut other);
    pair.network.cut(pair.number(), Direction::ToClient, true);
    // Longer than the queues would last if news of reading did not get through.
    for _ in 0..2_000 {
        pair.send_to_client(Pipeline::Unreliable, b"lost");
        pair.server.send(to_other, Pipeline::Unreliable, b"whole").unwrap();
        pair.send_to_server(Pipeline::Unreliable, b"up");
        pair.client.flush(NOW);
        pair.server.flush(NOW);
        pair.network.deliver();
        assert_eq!(poll(&mut pair.client, NOW), []);
        let whole = received(other_end, Pipeline::Unreliable, b"whole");
        assert_eq!(poll(&mut other, NOW), [whole]);
        let up = received(pair.to_client, Pipeline::Unreliable, b"up");
        assert_eq!(poll(&mut pair.server, NOW), [up]);
    }
    assert_eq!(pair.server.stats().unreliable_dropped, 0);
    assert_eq!(pair.client.stats().unreliable_dropped, 0);
}

#[test]
fn reliable_messages_held_by_a_cut_fill_the_queue() {
    let mut pair = Pair::with(DriverSettings { queue_messages: 3, ..DriverSettings::default() });
    pair.network.cut(pair.number(), Direction::ToServer, true);
    for _ in 0..3 {
        pair.send_to_server(Pipeline::ReliableOrdered, b"held");
        pair.client_stage();
    }
    let sent = pair.client.send(pair.to_server, Pipeline::ReliableOrdered, b"x");
    assert_eq!(sent, Err(SendError::QueueFull));
}

#[test]
fn a_close_is_held_by_a_cut_behind_what_was_sent_before() {
    let mut pair = Pair::connected();
    pair.network.cut(pair.number(), Direction::ToClient, true);
    pair.send_to_client(Pipeline::ReliableOrdered, b"last");
    pair.server.disconnect(pair.to_client, CloseReason::from_code(3));
    pair.server_stage();
    assert_eq!(pair.client_stage(), []);
    pair.network.cut(pair.number(), Direction::ToClient, false);
    pair.network.deliver();
    let closed = DriverEvent::Disconnected {
        connection: pair.to_server,
        cause: DisconnectCause::ClosedByRemote(CloseReason::from_code(3)),
    };
    assert_eq!(pair.client_stage(), [received(pair.to_server, Pipeline::ReliableOrdered, b"last"), closed]);
}

#[test]
fn a_request_lost_to_a_cut_is_repeated_when_it_ends() {
    let network = InProcessNetwork::new();
    let (mut server, mut client) = (network.driver(), network.driver());
    server.listen(address()).unwrap();
    network.cut(client.number(), Direction::ToServer, true);
    client.connect(address(), NOW).unwrap();
    for _ in 0..10 {
        poll(&mut client, NOW);
        client.flush(NOW);
        network.deliver();
        assert_eq!(poll(&mut server, NOW), []);
    }
    network.cut(client.number(), Direction::ToServer, false);
    poll(&mut client, NOW);
    client.flush(NOW);
    network.deliver();
    assert_eq!(poll(&mut server, NOW).len(), 1);
}

#[test]
fn an_attempt_over_a_cut_link_fails_at_the_deadline() {
    let network = InProcessNetwork::new();
    let [mut server, mut client] = [0, 1].map(|_| network.driver_with(by_the_clock()).unwrap());
    server.listen(address()).unwrap();
    network.cut(client.number(), Direction::ToClient, true);
    let attempt = client.connect(address(), NOW).unwrap();
    client.flush(NOW);
    network.deliver();
    let [DriverEvent::Accepted { connection }] = poll(&mut server, NOW)[..] else {
        panic!("requests get through");
    };
    network.deliver();
    let late = client.settings().connect_deadline();
    assert_eq!(poll(&mut client, late - Duration::from_millis(1)), []);
    let failed = DriverEvent::Disconnected { connection: attempt, cause: DisconnectCause::MaxConnectionAttempts };
    assert_eq!(poll(&mut client, late), [failed]);
    // When the cut ends, the acceptance finds nobody, and the server hears so.
    network.cut(client.number(), Direction::ToClient, false);
    network.deliver();
    assert_eq!(poll(&mut client, late), []);
    network.deliver();
    let gone = DriverEvent::Disconnected { connection, cause: DisconnectCause::ClosedByRemote(CloseReason::default()) };
    assert_eq!(poll(&mut server, late), [gone]);
}

#[test]
fn instruments_tell_when_there_is_no_such_driver() {
    let network = InProcessNetwork::new();
    assert!(!network.cut(0, Direction::ToServer, true));
    assert!(!network.record(0, true));
    let injected = network.inject(0, Direction::ToServer, Pipeline::Unreliable, vec![1]);
    assert_eq!(injected, Err(SendError::NotConnected));
    let client = network.driver();
    let injected = network.inject(client.number(), Direction::ToServer, Pipeline::Unreliable, vec![1]);
    assert_eq!(injected, Err(SendError::NotConnected), "not connected yet");
    assert!(network.cut(client.number(), Direction::ToServer, true));
}

#[test]
fn injected_bytes_arrive_as_if_the_side_had_sent_them() {
    let mut pair = Pair::connected();
    let number = pair.number();
    let network = pair.network.clone();
    let oversized = vec![0xFF; 5_000];
    pair.send_to_server(Pipeline::Unreliable, b"own");
    pair.client.flush(NOW);
    network.inject(number, Direction::ToServer, Pipeline::Unreliable, oversized.clone()).unwrap();
    network.inject(number, Direction::ToClient, Pipeline::ReliableOrdered, vec![1, 2]).unwrap();
    assert_eq!(poll(&mut pair.server, NOW), [], "not before the delivery");
    network.deliver();
    assert_eq!(
        poll(&mut pair.server, NOW),
        [
            received(pair.to_client, Pipeline::Unreliable, b"own"),
            received(pair.to_client, Pipeline::Unreliable, &oversized),
        ]
    );
    assert_eq!(poll(&mut pair.client, NOW), [received(pair.to_server, Pipeline::ReliableOrdered, &[1, 2])]);
}

#[test]
fn injected_messages_don_t_make_room_in_the_senders_queue() {
    let mut pair = Pair::with(DriverSettings { queue_messages: 2, ..DriverSettings::default() });
    pair.send_to_server(Pipeline::ReliableOrdered, b"1");
    pair.client_stage();
    pair.network.cut(pair.number(), Direction::ToServer, true);
    // Read by the server: one message of the client's own, and one injected one that it never counted.
    pair.send_to_server(Pipeline::ReliableOrdered, b"2");
    pair.client_stage();
    assert_eq!(pair.server_stage().len(), 1);
    pair.network.cut(pair.number(), Direction::ToServer, false);
    pair.client_stage();
    pair.network.inject(pair.number(), Direction::ToServer, Pipeline::ReliableOrdered, vec![0]).unwrap();
    pair.network.deliver();
    // "2" and the injected one were delivered and not read; "1" was. So one message waits, and one fits.
    pair.send_to_server(Pipeline::ReliableOrdered, b"3");
    let sent = pair.client.send(pair.to_server, Pipeline::ReliableOrdered, b"4");
    assert_eq!(sent, Err(SendError::QueueFull));
    assert_eq!(pair.server_stage().len(), 2);
    pair.client_stage();
    // Now "2" is read as well: "3" waits.
    pair.send_to_server(Pipeline::ReliableOrdered, b"4");
    let sent = pair.client.send(pair.to_server, Pipeline::ReliableOrdered, b"5");
    assert_eq!(sent, Err(SendError::QueueFull));
}

#[test]
fn an_injected_message_lost_to_a_cut_makes_no_room_either() {
    let mut pair = Pair::with(DriverSettings { queue_messages: 1, ..DriverSettings::default() });
    let number = pair.number();
    pair.send_to_server(Pipeline::Unreliable, b"delivered, not read");
    pair.client_stage();
    pair.network.cut(number, Direction::ToServer, true);
    pair.network.inject(number, Direction::ToServer, Pipeline::Unreliable, vec![0; 64]).unwrap();
    pair.network.deliver();
    pair.client_stage();
    pair.send_to_server(Pipeline::Unreliable, b"one too many");
    assert_eq!(pair.client.stats().unreliable_dropped, 1);
}

#[test]
fn injecting_is_bounded_in_number_and_size() {
    let pair = Pair::connected();
    let inject = |bytes: usize| {
        let bytes = vec![0; bytes];
        let (number, pipeline) = (pair.number(), Pipeline::Unreliable);
        pair.network.inject(number, Direction::ToServer, pipeline, bytes)
    };
    let limit = limits::MAX_RELIABLE_BYTES;
    let bytes = limit + 1;
    assert_eq!(inject(bytes), Err(SendError::TooLarge { limit, bytes }));
    for _ in 0..limits::MAX_INJECTED_MESSAGES {
        inject(1).unwrap();
    }
    assert_eq!(inject(1), Err(SendError::QueueFull));
    pair.network.deliver();
    assert_eq!(inject(1), Ok(()));
}

#[test]
fn nothing_can_be_injected_after_the_connection_was_closed() {
    let mut pair = Pair::connected();
    pair.server.disconnect(pair.to_client, CloseReason::default());
    pair.network.deliver();
    for direction in [Direction::ToServer, Direction::ToClient] {
        let injected = pair.network.inject(pair.number(), direction, Pipeline::Unreliable, vec![1]);
        assert_eq!(injected, Err(SendError::NotConnected));
    }
}

#[test]
fn a_recorder_sees_every_message_of_its_client_and_what_became_of_it() {
    let mut pair = Pair::connected();
    let number = pair.number();
    pair.send_to_client(Pipeline::Unreliable, b"before");
    pair.server_stage();
    assert!(pair.network.record(number, true));
    pair.send_to_client(Pipeline::Unreliable, b"a");
    pair.send_to_server(Pipeline::ReliableOrdered, b"b");
    pair.client_stage();
    pair.server_stage();
    pair.network.cut(number, Direction::ToClient, true);
    pair.send_to_client(Pipeline::Unreliable, b"c");
    pair.server_stage();
    pair.network.cut(number, Direction::ToClient, false);
    pair.network.inject(number, Direction::ToClient, Pipeline::Unreliable, b"d".to_vec()).unwrap();
    pair.network.deliver();

    let entry = |direction, pipeline, bytes: &[u8], sequence| Recorded {
        direction,
        pipeline,
        bytes: bytes.to_vec(),
        sequence,
        lost: false,
        injected: false,
    };
    let (up, down) = (Direction::ToServer, Direction::ToClient);
    let expected = [
        entry(up, Pipeline::ReliableOrdered, b"b", 0),
        entry(down, Pipeline::Unreliable, b"a", 1),
        Recorded { lost: true, ..entry(down, Pipeline::Unreliable, b"c", 2) },
        Recorded { injected: true, ..entry(down, Pipeline::Unreliable, b"d", 3) },
    ];
    assert_eq!(pair.network.take_recorded(number), expected);
    assert_eq!(pair.network.take_recorded(number), [], "taken");

    pair.network.record(number, false);
    pair.send_to_client(Pipeline::Unreliable, b"unseen");
    pair.server_stage();
    assert_eq!(pair.network.take_recorded(number), []);
}

#[test]
fn a_record_outlives_its_client() {
    let mut pair = Pair::connected();
    let number = pair.number();
    pair.network.record(number, true);
    pair.send_to_server(Pipeline::Unreliable, b"x");
    drop(pair.client);
    pair.network.deliver();
    pair.network.deliver();
    assert_eq!(pair.network.take_recorded(number).len(), 1);
    pair.network.record(number, false);
    pair.network.deliver();
    assert!(!pair.network.record(number, true), "forgotten at last");
}

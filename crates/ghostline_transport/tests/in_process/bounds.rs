//! What happens when the other side does not read: reliable sends are refused, unreliable ones dropped and counted.

use ghostline_transport::{Driver, DriverSettings, Pipeline, SendError, limits};

use crate::harness::{Pair, address, connect, poll};

fn small_queue() -> DriverSettings {
    DriverSettings { queue_messages: 4, ..DriverSettings::default() }
}

#[test]
fn a_full_reliable_queue_refuses_until_the_other_side_has_read() {
    let mut pair = Pair::with(small_queue());
    for i in 0..4 {
        pair.send_to_client(Pipeline::ReliableOrdered, &[i]);
    }
    let sent = |pair: &mut Pair| pair.server.send(pair.to_client, Pipeline::ReliableOrdered, &[9]);
    assert_eq!(sent(&mut pair), Err(SendError::QueueFull), "staged");
    pair.server_stage();
    assert_eq!(sent(&mut pair), Err(SendError::QueueFull), "delivered, not read");
    assert_eq!(pair.client_stage().len(), 4);
    assert_eq!(sent(&mut pair), Err(SendError::QueueFull), "read, not heard of");
    pair.server_stage();
    assert_eq!(sent(&mut pair), Ok(()));
}

#[test]
fn a_full_unreliable_queue_drops_the_newest_and_counts() {
    let mut pair = Pair::with(small_queue());
    for i in 0..7 {
        pair.send_to_client(Pipeline::Unreliable, &[i]);
    }
    assert_eq!(pair.server.stats().unreliable_dropped, 3);
    pair.server_stage();
    assert_eq!(pair.client_stage().len(), 4);
    pair.server_stage();
    pair.send_to_client(Pipeline::Unreliable, &[7]);
    assert_eq!(pair.server.stats().unreliable_dropped, 3);
    pair.server_stage();
    assert_eq!(pair.client_stage().len(), 1);
}

#[test]
fn a_flood_of_unreliable_messages_leaves_room_for_reliable_ones() {
    let mut pair = Pair::with(small_queue());
    for _ in 0..100 {
        pair.send_to_client(Pipeline::Unreliable, b"flood");
    }
    pair.send_to_client(Pipeline::ReliableOrdered, b"still fits");
}

#[test]
fn the_bytes_that_wait_are_bounded_too() {
    let mut pair = Pair::with(DriverSettings { queue_bytes: limits::MIN_QUEUE_BYTES, ..DriverSettings::default() });
    pair.send_to_client(Pipeline::ReliableOrdered, &[0; 40 * 1024]);
    let second = vec![0; 40 * 1024];
    let sent = pair.server.send(pair.to_client, Pipeline::ReliableOrdered, &second);
    assert_eq!(sent, Err(SendError::QueueFull));
    pair.send_to_client(Pipeline::ReliableOrdered, &[0; 24 * 1024]);
}

#[test]
fn a_slow_reader_holds_up_nobody_else() {
    let mut pair = Pair::with(small_queue());
    let mut other = pair.network.driver();
    let (to_other, _) = connect(&pair.network, &mut pair.server, &mut other);
    assert_eq!(pair.server.remote_address(to_other).unwrap().ip(), address().ip());
    for frame in 0..50 {
        for _ in 0..2 {
            let to_slow = pair.server.send(pair.to_client, Pipeline::ReliableOrdered, b"x");
            assert_eq!(to_slow.is_ok(), frame < 2);
            assert_eq!(pair.server.send(to_other, Pipeline::ReliableOrdered, b"x"), Ok(()));
        }
        pair.server_stage();
        assert_eq!(poll(&mut other, pair.now).len(), 2);
        pair.network.deliver();
    }
}

#[test]
fn traffic_in_one_direction_runs_for_ever_without_filling_a_queue() {
    let mut pair = Pair::with(small_queue());
    for _ in 0..1_000 {
        pair.send_to_client(Pipeline::Unreliable, b"snapshot");
        pair.send_to_client(Pipeline::ReliableOrdered, b"event");
        pair.server_stage();
        assert_eq!(pair.client_stage().len(), 2);
    }
    assert_eq!(pair.server.stats().unreliable_dropped, 0);
}

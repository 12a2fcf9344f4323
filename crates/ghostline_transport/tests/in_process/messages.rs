//! What travels over an open connection: visibility, order, sizes, and the buffers it travels in.

use std::time::Duration;

use ghostline_transport::{Driver, DriverEvent, DriverSettings, InProcessNetwork, Pipeline, SendError, limits};

use crate::harness::{Pair, address, connect, poll, received};

const ALL: [Pipeline; 3] = [Pipeline::Unreliable, Pipeline::UnreliableFragmented, Pipeline::ReliableOrdered];

#[test]
fn a_message_waits_for_the_flush_and_for_the_delivery() {
    let mut pair = Pair::connected();
    pair.send_to_client(Pipeline::ReliableOrdered, b"x");
    pair.network.deliver();
    assert_eq!(poll(&mut pair.client, pair.now), [], "not flushed");
    pair.server.flush(pair.now);
    assert_eq!(poll(&mut pair.client, pair.now), [], "not delivered");
    pair.network.deliver();
    assert_eq!(poll(&mut pair.client, pair.now), [received(pair.to_server, Pipeline::ReliableOrdered, b"x")]);
    pair.network.deliver();
    assert_eq!(poll(&mut pair.client, pair.now), [], "only once");
}

#[test]
fn all_pipelines_of_a_connection_keep_one_order_in_both_directions() {
    let mut pair = Pair::connected();
    let sent: Vec<(Pipeline, [u8; 1])> = (0..30).map(|i| (ALL[usize::from(i) % 3], [i])).collect();
    for (index, (pipeline, bytes)) in sent.iter().enumerate() {
        pair.send_to_client(*pipeline, bytes);
        pair.send_to_server(*pipeline, bytes);
        if index % 7 == 0 {
            pair.server.flush(pair.now);
            pair.client.flush(pair.now);
        }
        if index % 11 == 0 {
            pair.network.deliver();
        }
    }
    pair.server.flush(pair.now);
    pair.client.flush(pair.now);
    pair.network.deliver();
    let expected = |connection| -> Vec<DriverEvent> {
        sent.iter().map(|(pipeline, bytes)| received(connection, *pipeline, bytes)).collect()
    };
    assert_eq!(poll(&mut pair.server, pair.now), expected(pair.to_client));
    assert_eq!(poll(&mut pair.client, pair.now), expected(pair.to_server));
}

#[test]
fn every_pipeline_takes_messages_up_to_its_limit_and_none_above() {
    let mut pair = Pair::connected();
    for (pipeline, limit) in [
        (Pipeline::Unreliable, 1_162),
        (Pipeline::UnreliableFragmented, 16 * 1024),
        (Pipeline::ReliableOrdered, 64 * 1024),
    ] {
        let message = vec![7; limit + 1];
        let (server, to_client) = (&mut pair.server, pair.to_client);
        assert_eq!(server.send(to_client, pipeline, &message[..limit]), Ok(()));
        let bytes = limit + 1;
        let too_large = Err(SendError::TooLarge { limit, bytes });
        assert_eq!(server.send(to_client, pipeline, &message), too_large);
        pair.server_stage();
        assert_eq!(pair.client_stage(), [received(pair.to_server, pipeline, &message[..limit])]);
    }
    let capabilities = pair.server.capabilities();
    assert_eq!(capabilities.max_datagram_bytes, 1_162);
    assert_eq!(capabilities.max_fragmented_bytes, limits::MAX_FRAGMENTED_BYTES);
    assert_eq!(capabilities.max_reliable_bytes, limits::MAX_RELIABLE_BYTES);
}

#[test]
fn the_size_of_a_datagram_is_a_setting() {
    let mut pair = Pair::with(DriverSettings { max_message_bytes: 120, ..DriverSettings::default() });
    assert_eq!(pair.server.capabilities().max_datagram_bytes, 120);
    let too_large = SendError::TooLarge { limit: 120, bytes: 121 };
    let sent = pair.server.send(pair.to_client, Pipeline::Unreliable, &[0; 121]);
    assert_eq!(sent, Err(too_large));
    pair.send_to_client(Pipeline::Unreliable, &[0; 120]);
    pair.send_to_client(Pipeline::UnreliableFragmented, &[0; 121]);
}

#[test]
fn an_empty_message_is_a_message() {
    let mut pair = Pair::connected();
    pair.send_to_client(Pipeline::Unreliable, b"");
    pair.server_stage();
    assert_eq!(pair.client_stage(), [received(pair.to_server, Pipeline::Unreliable, b"")]);
}

#[test]
fn steady_traffic_allocates_nothing() {
    let network = InProcessNetwork::new();
    let mut server = network.driver();
    server.listen(address()).unwrap();
    let mut clients: Vec<_> = (0..8).map(|_| network.driver()).collect();
    let handles: Vec<_> = clients.iter_mut().map(|client| connect(&network, &mut server, client)).collect();
    let now = Duration::ZERO;
    let mut events = Vec::new();
    // Far more goes down than up, so buffers must find their way back to the server.
    let mut frame = |number: usize| {
        server.poll(now, &mut events);
        for event in events.drain(..) {
            if let DriverEvent::Received { bytes, .. } = event {
                server.recycle(bytes);
            }
        }
        for (to_client, _) in &handles {
            for part in 0..3 {
                let snapshot = vec![part; 300 + (number * 37) % 800];
                server.send(*to_client, Pipeline::Unreliable, &snapshot).unwrap();
            }
            server.send(*to_client, Pipeline::ReliableOrdered, &[1; 40]).unwrap();
        }
        server.flush(now);
        network.deliver();
        for (client, (_, to_server)) in clients.iter_mut().zip(&handles) {
            client.poll(now, &mut events);
            assert!(number == 0 || events.len() == 4);
            for event in events.drain(..) {
                if let DriverEvent::Received { bytes, .. } = event {
                    client.recycle(bytes);
                }
            }
            client.send(*to_server, Pipeline::Unreliable, &[2; 90]).unwrap();
            client.flush(now);
        }
        network.deliver();
    };
    for number in 0..10 {
        frame(number);
    }
    let before = network.pool_stats();
    for number in 10..500 {
        frame(number);
    }
    let after = network.pool_stats();
    assert_eq!(after.allocated, before.allocated);
    assert_eq!(after.grown, before.grown);
    assert_eq!(after.discarded, 0);
    assert!(after.reused > before.reused, "the counters do count");
}

#[test]
fn buffers_that_are_not_given_back_are_allocated_anew() {
    let mut pair = Pair::connected();
    for _ in 0..50 {
        pair.send_to_client(Pipeline::Unreliable, b"kept");
        pair.server_stage();
        assert_eq!(pair.client_stage().len(), 1);
    }
    assert_eq!(pair.network.pool_stats().allocated, 50);
}

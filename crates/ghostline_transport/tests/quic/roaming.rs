//! A client that changes its address keeps its connection.

use std::net::SocketAddr;

use ghostline_transport::{Driver, DriverEvent, Pipeline};

use crate::harness::{World, client_ip};

fn talk(world: &mut World, to_client: ghostline_transport::DriverConnection, ticks: usize) -> usize {
    world.clients[0].take();
    for _ in 0..ticks {
        world.server.driver.send(to_client, Pipeline::Unreliable, b"state").unwrap();
        world.server.driver.send(to_client, Pipeline::ReliableOrdered, b"event").unwrap();
        world.tick();
    }
    world.ticks(60);
    let received = world.clients[0].received();
    received.iter().filter(|(pipeline, _)| *pipeline == Pipeline::ReliableOrdered).count()
}

#[test]
fn a_client_that_rebinds_its_socket_keeps_its_connection() {
    let (mut world, to_client, to_server) = World::connected();
    let before = world.server.driver.remote_address(to_client);
    world.clients[0].driver.rebind(None).unwrap();
    world.clients[0].driver.send(to_server, Pipeline::Unreliable, b"here").unwrap();
    assert_eq!(talk(&mut world, to_client, 30), 30);
    let after = world.server.driver.remote_address(to_client);
    assert_ne!(before, after);
    assert_eq!(after, world.clients[0].driver.local_address());
    assert!(!world.server.events.iter().any(|event| matches!(event, DriverEvent::Disconnected { .. })));
    assert_eq!(world.server.received(), [(Pipeline::Unreliable, &b"here"[..])]);
}

#[test]
fn a_router_that_forgets_a_client_does_not_end_its_connection() {
    let (mut world, to_client, to_server) = World::connected();
    let old = world.clients[0].driver.local_address().unwrap();
    // Another port, then another address altogether.
    for new in [SocketAddr::new(client_ip(0), 4_000), SocketAddr::new(client_ip(9), 4_001)] {
        let old = world.server.driver.remote_address(to_client).unwrap_or(old);
        assert!(world.network.renumber(old, new));
        world.clients[0].driver.send(to_server, Pipeline::Unreliable, b"here").unwrap();
        assert_eq!(talk(&mut world, to_client, 30), 30);
        assert_eq!(world.server.driver.remote_address(to_client), Some(new));
    }
}

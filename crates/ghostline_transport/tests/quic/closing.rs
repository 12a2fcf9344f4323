//! How connections end on purpose, and what the other side hears of it.

use ghostline_transport::{
    CloseReason, DisconnectCause, Driver, DriverConnection, DriverEvent, LinkProfile, Pipeline, QuicSettings,
    SendError, limits,
};

use crate::harness::{SERVER, SimulatedDriver, World, number_of, numbered, server_address};

fn closed(connection: DriverConnection, reason: CloseReason) -> DriverEvent {
    DriverEvent::Disconnected { connection, cause: DisconnectCause::ClosedByRemote(reason) }
}

#[test]
fn a_reason_reaches_the_other_side_in_both_directions() {
    for code in [0, 7, 255] {
        let reason = CloseReason::new(code, "because \u{20AC}");
        let (mut world, to_client, to_server) = World::connected();
        world.server.driver.disconnect(to_client, reason.clone());
        world.ticks(3);
        assert_eq!(world.clients[0].events, [closed(to_server, reason.clone())]);
        assert_eq!(world.server.events, [], "whoever closes gets no event");

        let (mut world, to_client, to_server) = World::connected();
        world.clients[0].driver.disconnect(to_server, reason.clone());
        world.ticks(3);
        assert_eq!(world.server.events, [closed(to_client, reason)]);
        assert_eq!(world.clients[0].events, []);
    }
}

#[test]
fn a_text_is_cut_to_its_bound() {
    let (mut world, to_client, to_server) = World::connected();
    let reason = CloseReason { code: 1, text: "x".repeat(5_000) };
    world.server.driver.disconnect(to_client, reason.clone());
    world.ticks(3);
    let bounded = reason.bounded();
    assert_eq!(bounded.text.len(), limits::MAX_CLOSE_TEXT_BYTES);
    assert_eq!(world.clients[0].events, [closed(to_server, bounded)]);
}

#[test]
fn what_was_sent_before_the_close_arrives_before_it_even_through_loss() {
    let (mut world, to_client, to_server) = World::connected();
    world.profile(LinkProfile::rtt(60).with_loss_percent(20.0));
    for number in 0..40 {
        world.server.driver.send(to_client, Pipeline::ReliableOrdered, &numbered(number, 500)).unwrap();
    }
    let reason = CloseReason::new(9, "the end");
    world.server.driver.disconnect(to_client, reason.clone());
    assert_eq!(world.server.driver.remote_address(to_client), None, "it is gone on this side at once");
    world.ticks(300);
    let received: Vec<usize> = world.clients[0].received().iter().map(|(_, bytes)| number_of(bytes)).collect();
    assert_eq!(received, (0..40).collect::<Vec<_>>());
    assert_eq!(world.clients[0].events.last(), Some(&closed(to_server, reason)));
}

#[test]
fn a_dropped_driver_tells_everybody() {
    let (mut world, _, to_server) = World::connected();
    let World { server, .. } = &mut world;
    let other = World::new(0).server.driver;
    drop(std::mem::replace(&mut server.driver, other));
    let client = &mut world.clients[0];
    client.driver.poll(world.now, &mut client.events);
    assert_eq!(client.events, [closed(to_server, CloseReason::default())]);
}

#[test]
fn a_stale_handle_reaches_nobody() {
    let (mut world, to_client, to_server) = World::connected();
    world.server.driver.disconnect(to_client, CloseReason::default());
    world.ticks(3);
    let server = &mut world.server.driver;
    assert_eq!(server.send(to_client, Pipeline::Unreliable, b"x"), Err(SendError::NotConnected));
    assert_eq!(server.statistics(to_client), None);
    server.disconnect(to_client, CloseReason::from_code(3));
    world.clients[0].take();
    let again = world.connect(0);
    world.ticks(10);
    assert_ne!(again, to_server);
    let accepted = world.server.accepted()[0];
    assert_eq!(accepted.index(), to_client.index(), "the slot is used again");
    assert_ne!(accepted.generation(), to_client.generation());
    let client = &mut world.clients[0].driver;
    assert_eq!(client.send(to_server, Pipeline::Unreliable, b"x"), Err(SendError::NotConnected));
    assert_eq!(client.remote_address(to_server), None);
}

#[test]
fn an_attempt_can_be_given_up_at_any_moment() {
    for ticks in 0..6 {
        let mut world = World::new(1);
        world.profile(LinkProfile::rtt(30));
        let connection = world.connect(0);
        world.ticks(ticks);
        let was_connected = !world.clients[0].take().is_empty();
        world.clients[0].driver.disconnect(connection, CloseReason::from_code(1));
        world.ticks(60);
        assert_eq!(world.clients[0].events, [], "after {ticks} ticks");
        let accepted = world.server.accepted().len();
        let ended = world.server.events.iter().filter(|event| matches!(event, DriverEvent::Disconnected { .. }));
        assert_eq!(accepted, ended.count(), "after {ticks} ticks");
        assert!(accepted == 1 || !was_connected);
    }
}

#[test]
fn both_sides_may_close_at_the_same_time() {
    let (mut world, to_client, to_server) = World::connected();
    world.profile(LinkProfile::rtt(60));
    world.server.driver.disconnect(to_client, CloseReason::from_code(1));
    world.clients[0].driver.disconnect(to_server, CloseReason::from_code(2));
    world.ticks(60);
    assert_eq!(world.server.events, []);
    assert_eq!(world.clients[0].events, []);
}

#[test]
fn of_a_client_that_changes_its_mind_at_any_moment_nothing_is_left() {
    for ticks in 0..8 {
        let mut world = World::new(1);
        let connection = world.connect(0);
        world.ticks(ticks);
        world.clients[0].driver.disconnect(connection, CloseReason::default());
        world.ticks(3);
        world.server.driver.stop_listening();
        // A socket is given back when nothing is left of its connections, and others can have its address.
        world.ticks(1_250);
        let settings = QuicSettings { seed: Some(99), ..QuicSettings::default() };
        let mut next = SimulatedDriver::new(world.network.host(SERVER), settings).unwrap();
        assert_eq!(next.listen(server_address()), Ok(server_address()), "after {ticks} ticks");
    }
}

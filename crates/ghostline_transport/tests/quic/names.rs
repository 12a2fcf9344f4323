//! Servers that are called by name: the name is looked up meanwhile, and its addresses are tried until one answers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ghostline_transport::{
    Answer, DisconnectCause, Driver, DriverConnection, DriverEvent, QuicSettings, Resolver, ServerAddress,
    SimulatedNetwork,
};

use crate::harness::{SERVER, SimulatedDriver, TICK, World, server_address};

/// Owes its answers until a test gives them.
#[derive(Clone, Default, Debug)]
struct Slow(Arc<Mutex<Vec<(String, Answer)>>>);

impl Resolver for Slow {
    fn resolve(&self, name: &str, port: u16, answer: Answer) {
        self.0.lock().unwrap().push((format!("{name}:{port}"), answer));
    }
}

impl Slow {
    fn answer(&self, outcome: Result<Vec<SocketAddr>, String>) {
        let (name, answer) = self.0.lock().unwrap().pop().expect("somebody asked");
        assert_eq!(name, "play.example.org:7979");
        answer.give(outcome);
    }
}

/// A server, and a client that has begun to connect to it by name.
fn called(name: &str) -> (World, Slow, DriverConnection) {
    let resolver = Slow::default();
    let settings = QuicSettings { resolver: Arc::new(resolver.clone()), ..QuicSettings::default() };
    let mut world = World::with(1, settings);
    let server: ServerAddress = name.parse().unwrap();
    let connection = world.clients[0].driver.join(&server, world.now).unwrap();
    world.ticks(5);
    assert_eq!(world.clients[0].events, [], "nobody waits");
    assert_eq!(world.clients[0].driver.remote_address(connection), None);
    (world, resolver, connection)
}

const NAME: &str = "play.example.org:7979";

fn lost(connection: DriverConnection, cause: DisconnectCause) -> [DriverEvent; 1] {
    [DriverEvent::Disconnected { connection, cause }]
}

#[test]
fn a_name_that_leads_to_a_server_connects_to_it() {
    let (mut world, resolver, connection) = called(NAME);
    resolver.answer(Ok(vec![server_address()]));
    world.ticks(10);
    assert_eq!(world.clients[0].take(), [DriverEvent::Connected { connection }]);
    assert_eq!(world.clients[0].driver.remote_address(connection), Some(server_address()));
}

#[test]
fn of_several_addresses_the_next_is_tried_soon_and_all_of_them_again() {
    let (mut world, resolver, connection) = called(NAME);
    world.server.driver.stop_listening();
    let nobody = |port| SocketAddr::new(SERVER, port);
    resolver.answer(Ok(vec![nobody(1), nobody(2), server_address(), nobody(3)]));
    // Nobody answers anywhere at first; in the second round one of them does.
    world.ticks(120);
    assert_eq!(world.clients[0].events, []);
    world.server.driver.listen(server_address()).unwrap();
    let ticks = world.until(400, |world| !world.clients[0].events.is_empty());
    assert_eq!(world.clients[0].take(), [DriverEvent::Connected { connection }], "after {ticks} ticks");

    let (mut world, resolver, connection) = called(NAME);
    resolver.answer(Ok(vec![nobody(1), server_address()]));
    let ticks = world.until(60, |world| !world.clients[0].events.is_empty());
    assert_eq!(world.clients[0].take(), [DriverEvent::Connected { connection }]);
    assert!((15..25).contains(&ticks), "a quarter of a second for the first address: {ticks} ticks");
}

#[test]
fn a_name_that_leads_nowhere_ends_the_attempt_with_the_resolvers_words() {
    let (mut world, resolver, connection) = called(NAME);
    resolver.answer(Err("no such name".to_owned()));
    world.tick();
    let cause = DisconnectCause::NameNotResolved { text: "no such name".to_owned() };
    assert!(cause.to_string().contains("no such name"));
    assert_eq!(world.clients[0].take(), lost(connection, cause));

    let (mut world, resolver, connection) = called(NAME);
    resolver.answer(Ok(vec!["0.0.0.0:7979".parse().unwrap()]));
    world.tick();
    let cause = DisconnectCause::NameNotResolved { text: "no address that can be connected to".to_owned() };
    assert_eq!(world.clients[0].take(), lost(connection, cause));
}

#[test]
fn the_time_for_looking_up_counts_toward_the_deadline() {
    let (mut world, resolver, connection) = called(NAME);
    let deadline = Duration::from_secs(10);
    world.until(620, |world| !world.clients[0].events.is_empty());
    assert!(world.now > deadline && world.now < deadline + 3 * TICK, "{:?}", world.now);
    let cause = DisconnectCause::NameNotResolved { text: "no answer in time".to_owned() };
    assert_eq!(world.clients[0].take(), lost(connection, cause));
    resolver.answer(Ok(vec![server_address()]));
    world.ticks(10);
    assert_eq!(world.clients[0].take(), [], "too late");

    // The look-up takes nine seconds of ten, and nobody answers.
    let (mut world, resolver, connection) = called(NAME);
    world.ticks(540);
    resolver.answer(Ok(vec![SocketAddr::new(SERVER, 1)]));
    world.until(70, |world| !world.clients[0].events.is_empty());
    assert!(world.now > deadline && world.now < deadline + 3 * TICK, "{:?}", world.now);
    assert_eq!(world.clients[0].take(), lost(connection, DisconnectCause::MaxConnectionAttempts));
}

#[test]
fn an_attempt_can_be_given_up_while_its_name_is_looked_up() {
    let (mut world, resolver, connection) = called(NAME);
    world.clients[0].driver.disconnect(connection, Default::default());
    resolver.answer(Ok(vec![server_address()]));
    world.ticks(30);
    assert_eq!((world.clients[0].take(), world.server.take()), (vec![], vec![]));
}

#[test]
fn a_name_is_no_reason_to_believe_a_machine() {
    let network = SimulatedNetwork::new(1);
    let resolver = Slow::default();
    let settings = QuicSettings { resolver: Arc::new(resolver.clone()), ..QuicSettings::default() };
    let host = |text: &str| network.host(text.parse().unwrap());
    let mut server = SimulatedDriver::new(host("10.0.0.1"), QuicSettings::default()).unwrap();
    let address = server.listen("10.0.0.1:7979".parse().unwrap()).unwrap();
    let mut client = SimulatedDriver::new(host("10.0.0.2"), settings).unwrap();
    let hash = server.certificate_hash();
    let mut run = |join: ServerAddress| {
        let connection = client.join(&join, Duration::ZERO).unwrap();
        resolver.answer(Ok(vec![address]));
        let (mut seen, mut ignored) = (Vec::new(), Vec::new());
        for tick in 1..20 {
            client.poll(TICK * tick, &mut seen);
            client.flush(TICK * tick);
            server.poll(TICK * tick, &mut ignored);
            server.flush(TICK * tick);
        }
        (connection, seen)
    };
    let (connection, seen) = run(NAME.parse().unwrap());
    let cause = DisconnectCause::NotTrusted { address };
    assert!(cause.to_string().contains("ADDRESS#HASH"), "it tells how");
    assert_eq!(seen, lost(connection, cause));
    let (connection, seen) = run(ServerAddress { hash, ..NAME.parse().unwrap() });
    assert_eq!(seen, [DriverEvent::Connected { connection }]);
}

#[test]
fn within_the_process_the_port_of_any_name_is_enough() {
    let network = ghostline_transport::InProcessNetwork::new();
    let (mut server, mut client) = (network.driver(), network.driver());
    server.listen(server_address()).unwrap();
    let connection = client.join(&"localhost:7979".parse().unwrap(), Duration::ZERO).unwrap();
    let mut events = Vec::new();
    for tick in 1..4 {
        client.poll(TICK * tick, &mut events);
        client.flush(TICK * tick);
        network.deliver();
        server.poll(TICK * tick, &mut Vec::new());
        server.flush(TICK * tick);
        network.deliver();
    }
    assert_eq!(events, [DriverEvent::Connected { connection }]);
}

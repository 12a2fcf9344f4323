//! Drivers, worlds and what connects them: C-08, C-10, C-12, C-18, C-21 to C-24, C-52, C-56, C-60, C-61, C-73, C-75, C-82 and O-13.

use crate::common::*;
use bevy_app::App;
use bevy_ecs::prelude::*;
use ghostline::connection::{
    ConnectionError, ConnectionStatus, NetworkSnapshotAck, NetworkStreamDriver, WorldOverview,
};
use ghostline::prelude::*;
use ghostline::transport::{
    CertificateHash, DisconnectCause, Driver, DriverEvent, DriverId, DriverStore, InProcessNetwork, Pipeline,
    QuicDriver, QuicSettings, SimulatedNetwork, SimulatedSocket, TransportKind, Trust,
};
use ghostline::world::{DriverConstructionError, DriverConstructor, DriverContext, InProcessDrivers};
use ghostline_testkit::{Direction, FLEET_PORT, FRAME, LinkProfile};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn nothing(_app: &mut App) {}

/// Worlds that reach each other and nobody else.
fn bootstrap() -> ClientServerBootstrap {
    ClientServerBootstrap::new(nothing).drivers(InProcessDrivers::default())
}

/// A QUIC driver on a host of a network in memory.
fn quic(network: &SimulatedNetwork, ip: Ipv4Addr, settings: QuicSettings) -> QuicDriver<SimulatedSocket> {
    QuicDriver::new(network.host(ip.into()), settings).unwrap()
}

fn seeded(seed: u64) -> QuicSettings {
    QuicSettings { seed: Some(seed), ..QuicSettings::default() }
}

fn store(driver: impl Driver) -> DriverStore {
    let mut store = DriverStore::new();
    store.register(Box::new(driver)).unwrap();
    store
}

/// Notes which drivers it was asked for.
struct Noting(Arc<Mutex<Vec<&'static str>>>);

impl DriverConstructor for Noting {
    fn create_server_drivers(&self, context: &DriverContext<'_>) -> Result<DriverStore, DriverConstructionError> {
        self.0.lock().unwrap().push("server");
        let mut store = InProcessDrivers::default().create_server_drivers(context)?;
        store.register(Box::new(InProcessNetwork::new().driver()))?;
        Ok(store)
    }

    fn create_client_driver(&self, context: &DriverContext<'_>) -> Result<DriverStore, DriverConstructionError> {
        self.0.lock().unwrap().push("client");
        InProcessDrivers::default().create_client_driver(context)
    }
}

#[test]
fn the_drivers_of_a_world_are_made_by_the_constructor_when_the_world_is_made() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let mut worlds = Worlds::new(bootstrap().drivers(Noting(Arc::clone(&asked))));
    assert!(asked.lock().unwrap().is_empty(), "not before");
    let server = worlds.create_server_world("server").unwrap();
    assert_eq!(*asked.lock().unwrap(), ["server"]);
    worlds.create_client_world("client").unwrap();
    worlds.create_thin_client_world("thin").unwrap();
    let local = worlds.create_local_world("local").unwrap();
    assert_eq!(*asked.lock().unwrap(), ["server", "client", "client"]);
    // Facade and drivers are there at once, in every kind of world that has a network.
    for world in worlds.iter() {
        let overview = WorldOverview::of(world.world());
        let drivers = if world.id() == server { 2 } else { usize::from(world.id() != local) };
        assert_eq!(overview.drivers.len(), drivers, "{}", world.name());
        assert_eq!(world.world().contains_resource::<NetworkStreamDriver>(), drivers > 0);
        assert!(!overview.is_listening() && overview.connections.is_empty());
    }
}

#[test]
fn the_port_of_auto_connect_counts_when_a_world_is_made() {
    // What is set is part of the recipe for worlds: the worlds made before keep to theirs.
    let silent = bootstrap();
    let mut worlds = silent.clone().build().unwrap();
    let _loud = silent.auto_connect(7979);
    for _ in 0..30 {
        worlds.run_frame(FRAME);
    }
    for world in worlds.iter() {
        let overview = WorldOverview::of(world.world());
        assert!(!overview.is_listening() && overview.connections.is_empty(), "{overview}");
    }
    let mut worlds = Worlds::new(bootstrap().auto_connect(7979));
    let server = worlds.create_server_world("server").unwrap();
    assert!(WorldOverview::of(worlds.get(server).unwrap().world()).is_listening());
    let client = worlds.create_client_world("client").unwrap();
    let overview = WorldOverview::of(worlds.get(client).unwrap().world());
    assert_eq!(overview.connections[0].state, ConnectionStatus::Connecting);
}

#[test]
fn auto_connect_listens_on_any_address_and_connects_to_loopback_unless_told_otherwise() {
    let facade = |world: &World| world.resource::<NetworkStreamDriver>().last_endpoint();
    let endpoints = |bootstrap: ClientServerBootstrap| {
        let worlds = bootstrap.build().unwrap();
        let server = facade(worlds.server_world().unwrap().world());
        (server.unwrap(), facade(worlds.client_world().unwrap().world()).unwrap())
    };
    let plain = bootstrap().auto_connect(7979);
    assert_eq!(endpoints(plain.clone()), ((Ipv4Addr::UNSPECIFIED, 7979).into(), loopback(7979)));
    let changed = plain
        .default_listen_address(Ipv4Addr::LOCALHOST.into())
        .default_connect_address(Ipv4Addr::new(127, 0, 0, 5).into());
    assert_eq!(endpoints(changed), (loopback(7979), (Ipv4Addr::new(127, 0, 0, 5), 7979).into()));
}

#[test]
fn with_port_0_the_manual_way_works_and_without_it_the_error_names_auto_connect() {
    let mut worlds = bootstrap().auto_connect(0).build().unwrap();
    for world in worlds.iter_mut() {
        let is_server = world.kind() == WorldKind::Server;
        let world = world.world_mut();
        let result = if is_server { world.listen(loopback(7979)) } else { world.connect(loopback(7979)).map(|_| ()) };
        assert_eq!(result, Ok(()));
    }
    for _ in 0..20 {
        worlds.run_frame(FRAME);
    }
    for world in worlds.iter() {
        assert!(WorldOverview::of(world.world()).is_connected());
    }
}

#[test]
fn if_one_driver_can_not_listen_the_world_does_not() {
    // Two drivers of either kind, in either order: the second has its port taken.
    let in_process = InProcessNetwork::new();
    let simulated = SimulatedNetwork::new(3);
    let make = |is_socket: bool, seed: u64| -> Box<dyn Driver> {
        if is_socket {
            Box::new(quic(&simulated, Ipv4Addr::LOCALHOST, seeded(seed)))
        } else {
            Box::new(in_process.driver())
        }
    };
    let mut seeds = 0..;
    let mut next = || seeds.next().unwrap();
    for order in [WorldOrder::ServerFirst, WorldOrder::ClientFirst] {
        for [first, second] in [[false, true], [true, false]] {
            let mut fleet = Fleet::builder().plugin(Game).order(order).build();
            let mut occupant = make(second, next());
            occupant.listen(loopback(FLEET_PORT)).unwrap();
            let mut both = DriverStore::new();
            both.register(make(first, next())).unwrap();
            both.register(make(second, next())).unwrap();
            fleet.server().world_mut().reset_driver_store(both).unwrap();
            let error = fleet.server().world_mut().listen(loopback(FLEET_PORT)).unwrap_err();
            assert!(matches!(error, ConnectionError::Driver { verb: "listen on", .. }), "{error}");
            assert!(error.to_string().contains("in use"), "{error}");
            fleet.tick();
            assert!(!WorldOverview::of(fleet.server().world()).is_listening());
            drop(occupant);
            fleet.tick();
            assert_eq!(fleet.server().world_mut().listen(loopback(FLEET_PORT)), Ok(()));
        }
    }
}

#[test]
fn the_in_process_driver_turns_foreign_addresses_into_its_own_and_says_so() {
    let foreign = SocketAddr::from(([192, 168, 1, 7], FLEET_PORT));
    for order in [WorldOrder::ServerFirst, WorldOrder::ClientFirst] {
        let mut fleet = Fleet::builder().plugin(Game).order(order).build();
        fleet.logs().expect("can't listen on 192.168.1.7:7979; it listens on 0.0.0.0:7979");
        fleet.logs().expect("can't connect to 192.168.1.7:7979; it connects to 127.0.0.1:7979");
        fleet.server().world_mut().listen(foreign).unwrap();
        fleet.client(0).world_mut().connect(foreign).unwrap();
        assert_eq!(fleet.logs().lines().len(), 2, "one warning each");
        fleet.ticks(8);
        assert_eq!(fleet.client(0).network_id(), Some(NetworkId(1)));
    }
}

#[test]
fn clients_of_several_drivers_see_and_steer_their_ghosts_in_one_game() {
    for order in [WorldOrder::ServerFirst, WorldOrder::ClientFirst] {
        let mut fleet = Fleet::builder().plugin(Game).clients(3).order(order).build();
        let in_process = [InProcessNetwork::new(), InProcessNetwork::new()];
        let simulated = SimulatedNetwork::new(3);
        let mut three = store(in_process[0].driver());
        three.register(Box::new(quic(&simulated, Ipv4Addr::LOCALHOST, seeded(1)))).unwrap();
        three.register(Box::new(in_process[1].driver())).unwrap();
        fleet.server().world_mut().reset_driver_store(three).unwrap();
        fleet.listen();
        let stores = [
            store(in_process[0].driver()),
            store(quic(&simulated, Ipv4Addr::new(127, 0, 0, 9), seeded(2))),
            store(in_process[1].driver()),
        ];
        for (client, store) in stores.into_iter().enumerate() {
            fleet.client(client).world_mut().reset_driver_store(store).unwrap();
            fleet.connect(client);
        }
        let ticks = |fleet: &mut Fleet, count: usize| {
            for _ in 0..count {
                fleet.tick();
                in_process.iter().for_each(InProcessNetwork::deliver);
            }
        };
        ticks(&mut fleet, 16);
        let overview = WorldOverview::of(fleet.server().world());
        let kinds: Vec<TransportKind> = overview.drivers.iter().map(|driver| driver.kind).collect();
        assert_eq!(kinds, [TransportKind::InProcess, TransportKind::Socket, TransportKind::InProcess]);
        assert!(overview.drivers.iter().all(|driver| driver.local_endpoint == Some(loopback(FLEET_PORT))));
        assert_eq!(overview.connections.len(), 3, "{overview}");
        let world = fleet.server().world_mut();
        let mut drivers: Vec<u8> = world
            .query::<&NetworkStreamConnection>()
            .iter(world)
            .map(|connection| connection.driver_id().get())
            .collect();
        drivers.sort_unstable();
        assert_eq!(drivers, [1, 2, 3], "each connection names its driver");
        let facade = world.resource::<NetworkStreamDriver>();
        assert_eq!(facade.default_local_endpoint(), Some(loopback(FLEET_PORT)));
        assert_eq!(facade.local_endpoint(DriverId::new(2).unwrap()), Some(loopback(FLEET_PORT)));

        fleet.go_in_game_all();
        ticks(&mut fleet, 16);
        assert_eq!(count::<NetworkStreamInGame>(fleet.server().world_mut()), 3);
        let ids = [1, 2, 3].map(NetworkId);
        let ghosts = ids.map(|id| fleet.server().world_mut().spawn_ghost::<Player>(GhostOwner(id)));
        ticks(&mut fleet, 16);
        for client in 0..3 {
            assert_eq!(count::<NetworkStreamInGame>(fleet.client(client).world_mut()), 1);
            assert_eq!(count::<Player>(fleet.client(client).world_mut()), 3);
        }
        ticks(&mut fleet, 16);
        for ghost in ghosts {
            let commands = fleet.server().world().get::<CommandBuffer<PlayerInput>>(ghost).unwrap();
            assert!(!commands.is_empty(), "commands of every client arrive");
        }
    }
}

#[test]
fn a_server_with_another_certificate_is_an_authentication_failure() {
    let mut fleet = Fleet::builder().plugin(Game).clients(2).build();
    let network = SimulatedNetwork::new(3);
    let server = quic(&network, Ipv4Addr::LOCALHOST, seeded(1));
    fleet.server().world_mut().reset_driver_store(store(server)).unwrap();
    for client in 0..2 {
        let wrong = Trust::Pinned(vec![CertificateHash::from_bytes([7; 32])]);
        let trust = if client == 0 { wrong } else { Trust::default() };
        let settings = QuicSettings { trust, ..seeded(2 + client as u64) };
        let driver = quic(&network, Ipv4Addr::new(127, 0, 0, 2 + client as u8), settings);
        fleet.client(client).world_mut().reset_driver_store(store(driver)).unwrap();
    }
    fleet.server().world_mut().listen(loopback(FLEET_PORT)).unwrap();
    for client in 0..2 {
        let world = fleet.client(client).world_mut();
        let entity = world.spawn(ConnectionState::default()).id();
        world.connect_with(entity, loopback(FLEET_PORT)).unwrap();
    }
    fleet.ticks(40);
    let state = |fleet: &mut Fleet, client: usize| {
        let world = fleet.client(client).world_mut();
        world.query::<&ConnectionState>().single(world).unwrap().clone()
    };
    let refused = state(&mut fleet, 0);
    assert_eq!(refused.reason, Some(DisconnectReason::AuthenticationFailure));
    assert!(refused.text.contains("ask the server for its present join string"), "{refused:?}");
    assert_eq!(state(&mut fleet, 1).state, ConnectionStatus::Connected);
    assert_eq!(fleet.server().connections().len(), 1, "of the other one the server heard nothing");
}

#[test]
fn a_stranger_that_only_connects_is_dropped_after_five_seconds_and_told_so() {
    let mut fleet = Fleet::builder().plugin(Game).clients(0).build();
    fleet.logs().expect("Handshake was not finished within 5s");
    let network = SimulatedNetwork::new(3);
    fleet.server().world_mut().reset_driver_store(store(quic(&network, Ipv4Addr::LOCALHOST, seeded(1)))).unwrap();
    fleet.server().world_mut().listen(loopback(FLEET_PORT)).unwrap();
    let mut stranger = quic(&network, Ipv4Addr::new(127, 0, 0, 2), seeded(2));
    let connection = stranger.connect(loopback(FLEET_PORT), Duration::ZERO).unwrap();
    let (mut accepted, mut ended) = (None, None);
    let mut events = Vec::new();
    for frame in 1..400 {
        let now = FRAME * frame;
        stranger.poll(now, &mut events);
        stranger.flush(now);
        fleet.tick_server(FRAME);
        for event in fleet.server().events() {
            match event.state {
                ConnectionStatus::Handshake => accepted = Some(now),
                state => {
                    assert_eq!((state, event.network_id), (ConnectionStatus::Disconnected, NetworkId::NONE));
                    ended = event.disconnect_reason.map(|reason| (reason, now));
                }
            }
        }
    }
    let (reason, at) = ended.unwrap();
    assert_eq!(reason, DisconnectReason::HandshakeTimeout);
    let waited = (at - accepted.unwrap()).as_secs_f64();
    assert!((4.9..=5.1).contains(&waited), "{waited} s");
    let close = DisconnectReason::HandshakeTimeout.to_close("Handshake was not finished within 5s");
    let cause = DisconnectCause::ClosedByRemote(close);
    assert_eq!(events.last(), Some(&DriverEvent::Disconnected { connection, cause }));
}

#[test]
fn ten_kilobytes_arrive_over_the_fragmented_pipeline_of_every_driver() {
    let message: Vec<u8> = (0..10 * 1024).map(|byte| (byte % 251) as u8).collect();
    let in_process = InProcessNetwork::new();
    let simulated = SimulatedNetwork::new(5);
    let pairs: [[Box<dyn Driver>; 2]; 2] = [
        [Box::new(in_process.driver()), Box::new(in_process.driver())],
        [
            Box::new(quic(&simulated, Ipv4Addr::LOCALHOST, seeded(1))),
            Box::new(quic(&simulated, Ipv4Addr::new(127, 0, 0, 2), seeded(2))),
        ],
    ];
    for [mut server, mut client] in pairs {
        server.listen(loopback(FLEET_PORT)).unwrap();
        let connection = client.connect(loopback(FLEET_PORT), Duration::ZERO).unwrap();
        let mut events = Vec::new();
        let mut is_sent = false;
        let mut received = None;
        for tick in 0..60 {
            let now = FRAME * tick;
            for driver in [&mut server, &mut client] {
                driver.poll(now, &mut events);
                driver.flush(now);
                in_process.deliver();
            }
            for event in events.drain(..) {
                match event {
                    DriverEvent::Connected { .. } => {
                        let sent = client.send(connection, Pipeline::UnreliableFragmented, &message);
                        assert_eq!(sent, Ok(()));
                        is_sent = true;
                    }
                    DriverEvent::Received { pipeline, bytes, .. } => received = Some((pipeline, bytes)),
                    _ => {}
                }
            }
        }
        assert!(is_sent);
        let (pipeline, bytes) = received.expect("it arrives");
        assert!(pipeline == Pipeline::UnreliableFragmented && bytes == message);
    }
}

#[test]
fn the_round_trip_is_measured() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Game).link(LinkProfile::rtt(200)).build();
        fleet.connect_all();
        fleet.go_in_game_all();
        fleet.ticks(180);
        for on_server in [true, false] {
            let side = if on_server { fleet.server() } else { fleet.client(0) };
            let connection = side.connections()[0];
            let rtt = &side.world().get::<NetworkSnapshotAck>(connection).unwrap().rtt;
            let estimate = rtt.estimated_ms().unwrap();
            assert!((185.0..=215.0).contains(&estimate), "{shape:?}: {estimate} ms");
            assert!(rtt.deviation_ms() < 17.0, "{}", rtt.deviation_ms());
        }
    }
}

#[test]
fn over_the_in_process_link_the_round_trip_is_a_tick_and_prediction_is_one_ahead() {
    for order in [WorldOrder::ServerFirst, WorldOrder::ClientFirst] {
        let mut fleet = Fleet::builder().plugin(Game).link(LinkProfile::in_process()).order(order).build();
        fleet.connect_all();
        fleet.go_in_game_all();
        let server = fleet.server().world_mut();
        server.spawn_ghost::<Player>(GhostOwner(NetworkId(1)));
        fleet.ticks(60);
        let mut last = fleet.client(0).server_tick().unwrap();
        for _ in 0..60 {
            fleet.tick();
            let connection = fleet.client(0).connections()[0];
            let ack = fleet.client(0).world().get::<NetworkSnapshotAck>(connection).unwrap();
            let estimate = ack.rtt.estimated_ms().unwrap();
            assert!((0.0..=17.0).contains(&estimate), "{order:?}: {estimate} ms");
            assert!(ack.rtt.deviation_ms() <= 1.0, "{order:?}: {} ms", ack.rtt.deviation_ms());
            let snapshot = ack.last_received_snapshot_by_local.unwrap();
            let predicted = fleet.client(0).server_tick().unwrap();
            assert_eq!(predicted.ticks_since(snapshot), 1, "{order:?}");
            assert_eq!(predicted.ticks_since(last), 1, "{order:?}: one new tick per frame");
            last = predicted;
            // With the client first, what it predicts is simulated by the server later in the same frame.
            let ahead = predicted.ticks_since(fleet.server().server_tick().unwrap());
            assert_eq!(ahead, if order == WorldOrder::ServerFirst { 1 } else { 0 }, "{order:?}");
            assert!(!fleet.client(0).network_time().is_partial_tick());
        }
    }
}

#[test]
fn a_simulated_network_can_be_put_under_a_link_and_taken_away() {
    let mut fleet = Fleet::builder().plugin(Game).link(LinkProfile::in_process()).build();
    fleet.connect_all();
    let driver = |fleet: &mut Fleet| WorldOverview::of(fleet.client(0).world()).drivers[0];
    let kind = |fleet: &mut Fleet| driver(fleet).kind;
    assert_eq!(kind(&mut fleet), TransportKind::InProcess);
    let profile = LinkProfile::rtt(100).with_loss_percent(10.0);
    fleet.link(0).set(profile);
    assert_eq!(driver(&mut fleet).simulator, Some(profile));
    assert!(driver(&mut fleet).to_string().ends_with(", over a simulated network"));
    fleet.go_in_game_all();
    fleet.ticks(120);
    assert_eq!(kind(&mut fleet), TransportKind::Socket, "with a simulator below it, it counts as a socket");
    for direction in [Direction::ToServer, Direction::ToClient] {
        let stats = fleet.link(0).stats(direction);
        assert!(stats.lost > 0, "{stats:?}");
    }
    fleet.link(0).set(LinkProfile::in_process());
    fleet.ticks(30);
    assert_eq!(kind(&mut fleet), TransportKind::InProcess);
}

#[test]
fn the_overview_shows_every_world_with_what_it_listens_on_and_whom_it_is_connected_to() {
    let mut worlds = bootstrap().auto_connect(7979).thin_clients(1).build().unwrap();
    worlds.create_local_world("menu").unwrap();
    let overview = worlds.overview();
    let kinds: Vec<WorldKind> = overview.worlds.iter().map(|(_, world)| world.kind).collect();
    assert_eq!(kinds, [WorldKind::Server, WorldKind::Client, WorldKind::ThinClient, WorldKind::Local]);
    assert!(overview.worlds[0].1.is_listening());
    assert!(overview.worlds[1].1.is_connecting() && !overview.worlds[1].1.is_connected());
    for _ in 0..20 {
        worlds.run_frame(FRAME);
    }
    let overview = worlds.overview();
    let text = overview.to_string();
    let (_, server) = &overview.worlds[0];
    assert!(server.is_connected() && server.connections.len() == 2);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "world `server`, Server: listens, 2 connections");
    assert_eq!(lines[1], "  driver 1 (InProcess, encrypted): listens on 0.0.0.0:7979");
    assert!(lines[2].starts_with("  connection 1 (1:0v1): Connected, 127.0.0.1:"), "{text}");
    assert!(lines[2].contains("unique id "), "{text}");
    assert_eq!(lines[4], "world `client`, Client: 1 connection");
    assert!(lines[6].starts_with("  connection 1 (1:0v1): Connected, 127.0.0.1:7979"), "{text}");
    assert_eq!(*lines.last().unwrap(), "world `menu`, Local: no connection");
    assert_eq!(server.connections[0].network_id, Some(NetworkId(1)));
    let (_, client) = &overview.worlds[1];
    assert_eq!(client.connections[0].unique_id, server.connections[0].unique_id);
    assert_eq!(client.connections[0].remote_endpoint, Some(loopback(7979)));
}

//! How a session is built on connections: requests, reconnecting, capacity, drivers, accidents. CONN-05 to CONN-07, NEW-01 to NEW-05,
//! and the rows of the feature table about them.

use crate::common::*;
use bevy_app::App;
use bevy_ecs::prelude::*;
use ghostline::connection::{
    ConnectionError, ConnectionStatus, ListenRequestState, NetworkStreamRequestListenResult, ResumeToken,
};
use ghostline::prelude::*;
use ghostline::transport::{DriverStore, InProcessNetwork};
use ghostline_testkit::FLEET_PORT;
use std::net::SocketAddr;

fn endpoint(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

#[test]
fn request_entities_listen_and_connect_in_the_next_receive_step() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Game).build();
        let listen = fleet
            .server()
            .world_mut()
            .spawn((
                NetworkStreamRequestListen { endpoint: endpoint(FLEET_PORT) },
                NetworkStreamRequestListenResult::default(),
            ))
            .id();
        let client = fleet.client(0).world_mut();
        let connect = client
            .spawn((NetworkStreamRequestConnect { endpoint: endpoint(FLEET_PORT) }, ConnectionState::default()))
            .id();
        assert!(fleet.client(0).connections().is_empty());
        fleet.tick();
        assert!(fleet.server().world_mut().resource::<NetworkStreamDriver>().is_listening());
        assert!(fleet.server().events().is_empty(), "listening raises no event");
        let result = *fleet.server().world().get::<NetworkStreamRequestListenResult>(listen).unwrap();
        assert_eq!((result.state, result.endpoint), (ListenRequestState::Succeeded, endpoint(FLEET_PORT)));
        assert!(fleet.server().world().get::<NetworkStreamRequestListen>(listen).is_none());
        assert_eq!(fleet.client(0).connections(), [connect], "the request becomes the connection");
        assert_eq!(fleet.client(0).events()[0].state, ConnectionStatus::Connecting);
        // A packet to a socket that does not listen yet is lost, and sent again.
        fleet.ticks(40);
        let state = fleet.client(0).world().get::<ConnectionState>(connect).unwrap();
        assert_eq!((state.state, state.network_id), (ConnectionStatus::Connected, NetworkId(1)));
        assert!(fleet.client(0).world().get::<NetworkStreamRequestConnect>(connect).is_none());
    }
}

#[test]
fn of_several_requests_the_first_wins_and_the_others_are_told() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Game).build();
        fleet.logs().expect("2 requests to connect in one tick");
        fleet.logs().expect("3 requests to listen in one tick");
        fleet.logs().expect("already listens");
        fleet.logs().expect("already has a connection");
        fleet.logs().expect("its port is 0");
        let result = NetworkStreamRequestListenResult::default();
        let listen = |fleet: &mut Fleet, port| {
            fleet.server().world_mut().spawn((NetworkStreamRequestListen { endpoint: endpoint(port) }, result)).id()
        };
        let connect = |fleet: &mut Fleet, port| {
            let request = NetworkStreamRequestConnect { endpoint: endpoint(port) };
            fleet.client(0).world_mut().spawn((request, ConnectionState::default())).id()
        };
        let failed = connect(&mut fleet, 0);
        fleet.tick();
        let state = |fleet: &mut Fleet, entity| fleet.client(0).world().get::<ConnectionState>(entity).unwrap().clone();
        assert_eq!(state(&mut fleet, failed).state, ConnectionStatus::Disconnected);
        let listens: Vec<Entity> = (0..3).map(|port| listen(&mut fleet, FLEET_PORT + port)).collect();
        let (first, second) = (connect(&mut fleet, FLEET_PORT), connect(&mut fleet, FLEET_PORT + 1));
        fleet.tick();
        let late = listen(&mut fleet, FLEET_PORT);
        let third = connect(&mut fleet, FLEET_PORT);
        fleet.ticks(40);
        for line in ["2 requests to connect", "3 requests to listen", "already listens", "already has a connection"] {
            assert_eq!(fleet.logs().count(line), 1, "{line}");
        }
        let outcome = |fleet: &mut Fleet, entity| {
            fleet.server().world().get::<NetworkStreamRequestListenResult>(entity).unwrap().state
        };
        assert_eq!(outcome(&mut fleet, listens[0]), ListenRequestState::Succeeded);
        assert_eq!(outcome(&mut fleet, listens[1]), ListenRequestState::RefusedMultipleRequests);
        assert_eq!(outcome(&mut fleet, listens[2]), ListenRequestState::RefusedMultipleRequests);
        assert_eq!(outcome(&mut fleet, late), ListenRequestState::RefusedAlreadyListening);
        assert_eq!(fleet.client(0).connections(), [first]);
        assert_eq!(state(&mut fleet, first).state, ConnectionStatus::Connected);
        for refused in [second, third] {
            let refused = state(&mut fleet, refused);
            assert_eq!(
                (refused.state, refused.reason),
                (ConnectionStatus::Disconnected, Some(DisconnectReason::ConnectionClose))
            );
        }
    }
}

#[test]
fn a_client_that_comes_back_is_known_again_on_both_sides() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Game).clients(2).build();
        fleet.connect_all();
        let unique = |fleet: &mut Fleet| {
            let world = fleet.client(0).world_mut();
            world.query::<&ConnectionUniqueId>().single(world).copied().unwrap()
        };
        let before = unique(&mut fleet);
        assert_eq!(count::<NetworkStreamIsReconnected>(fleet.server().world_mut()), 0);
        let server = fleet.client(0).connections()[0];
        fleet.client(0).world_mut().disconnect(server, DisconnectReason::ConnectionClose);
        fleet.ticks(4);
        fleet.connect_all();
        fleet.ticks(2);
        assert_eq!(unique(&mut fleet), before);
        assert_eq!(count::<NetworkStreamIsReconnected>(fleet.server().world_mut()), 1);
        assert_eq!(count::<NetworkStreamIsReconnected>(fleet.client(0).world_mut()), 1);
        assert_eq!(count::<NetworkStreamIsReconnected>(fleet.client(1).world_mut()), 0);
        let world = fleet.server().world_mut();
        let ids: Vec<_> = world.query::<&ConnectionUniqueId>().iter(world).copied().collect();
        assert!(ids.contains(&before) && ids[0] != ids[1]);
    }
}

#[test]
fn a_resume_replaces_the_connection_that_is_still_open() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Game).clients(2).build();
        fleet.listen();
        fleet.connect(0);
        fleet.ticks(8);
        let open = fleet.server().connections()[0];
        // The second client has what the first was given: the same machine, after a crash that the server has not noticed.
        let token = fleet.client(0).world().resource::<ResumeToken>().clone();
        fleet.client(1).world_mut().insert_resource(token);
        fleet.connect(1);
        fleet.ticks(8);
        assert_eq!(fleet.server().connections().len(), 1);
        assert_ne!(fleet.server().connections()[0], open);
        assert!(fleet.client(0).connections().is_empty());
        assert_eq!(count::<NetworkStreamIsReconnected>(fleet.client(1).world_mut()), 1);
        assert_eq!(fleet.client(1).network_id(), Some(NetworkId(1)), "the number is free again before it is given out");
    }
}

#[test]
fn a_wrong_secret_makes_a_stranger_and_a_secret_is_shown_to_its_server_alone() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Game).clients(3).build();
        fleet.listen();
        fleet.connect(0);
        fleet.ticks(8);
        let token = fleet.client(0).world().resource::<ResumeToken>().clone();
        let mut wrong = token.clone();
        wrong.claim.secret[0] ^= 1;
        fleet.client(1).world_mut().insert_resource(wrong);
        fleet.client(2).world_mut().insert_resource(ResumeToken { endpoint: endpoint(FLEET_PORT + 1), ..token });
        fleet.connect(1);
        fleet.connect(2);
        fleet.ticks(8);
        assert_eq!(fleet.server().connections().len(), 3);
        assert_eq!(count::<NetworkStreamIsReconnected>(fleet.server().world_mut()), 0);
        let world = fleet.server().world_mut();
        let mut ids: Vec<_> = world.query::<&ConnectionUniqueId>().iter(world).copied().collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 3);
    }
}

#[test]
fn a_full_server_refuses_with_a_reason_and_never_gives_a_number() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Game).clients(3).build();
        fleet.server().world_mut().resource_mut::<NetworkStreamDriver>().set_max_clients(Some(2));
        fleet.listen();
        fleet.connect(0);
        fleet.connect(1);
        fleet.ticks(8);
        let refused = fleet.connect(2);
        fleet.client(2).world_mut().entity_mut(refused).insert(ConnectionState::default());
        let mut on_server = 0;
        for _ in 0..8 {
            fleet.tick();
            on_server += fleet.server().events().len();
        }
        let state = fleet.client(2).world().get::<ConnectionState>(refused).unwrap();
        assert_eq!((state.reason, state.network_id), (Some(DisconnectReason::ServerFull), NetworkId::NONE));
        assert_eq!(state.text, "the server is full: it takes at most 2");
        assert_eq!(on_server, 0, "who is refused was never there");
        let first = fleet.client(0).connections()[0];
        fleet.client(0).world_mut().disconnect(first, DisconnectReason::ConnectionClose);
        fleet.ticks(3);
        fleet.connect(2);
        fleet.ticks(8);
        assert_eq!(fleet.client(2).network_id(), Some(NetworkId(1)));
    }
}

#[test]
fn of_too_many_clients_on_their_way_in_the_one_that_waited_longest_goes() {
    use ghostline_testkit::Direction;
    // Whether the server is full, so that they wait before they have a connection entity.
    for is_full in [false, true] {
        let mut fleet = Fleet::builder().plugin(Game).clients(5).build();
        let mut facade = fleet.server().world_mut().resource_mut::<NetworkStreamDriver>();
        facade.set_max_pending_clients(0);
        assert_eq!(facade.max_pending_clients(), 1, "one at least");
        facade.set_max_pending_clients(3);
        facade.set_max_clients(is_full.then_some(1));
        fleet.listen();
        fleet.connect(0);
        fleet.ticks(8);
        for client in 1..5 {
            let connection = fleet.connect(client);
            fleet.client(client).world_mut().entity_mut(connection).insert(ConnectionState::default());
            fleet.tick();
            fleet.tick_server(ghostline_testkit::FRAME);
            // It is there, and says nothing any more.
            fleet.link(client).cut(Direction::ToServer);
        }
        fleet.ticks(4);
        let left: Vec<bool> = (1..5).map(|client| !fleet.client(client).connections().is_empty()).collect();
        assert_eq!(left, [false, true, true, true], "full: {is_full}");
        let world = fleet.client(1).world_mut();
        let state = world.query::<&ConnectionState>().single(world).unwrap();
        assert_eq!(state.reason, Some(DisconnectReason::ServerFull));
        assert!(fleet.client(0).network_id().is_some(), "who is in stays");
    }
}

#[test]
fn what_is_linked_to_a_connection_goes_with_it() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Game).build();
        fleet.connect_all();
        let connection = fleet.server().connections()[0];
        let server = fleet.server().world_mut();
        let avatar = server.spawn_ghost::<Player>(GhostOwner(NetworkId(1)));
        let unlinked = server.spawn_ghost::<Crate>(Position::default());
        server.get_mut::<LinkedEntityGroup>(connection).unwrap().0.extend([avatar, connection]);
        fleet.ticks(3);
        fleet.drop_client(0);
        fleet.ticks(3);
        assert!(fleet.server().world().get_entity(avatar).is_err());
        assert!(fleet.server().world().get_entity(unlinked).is_ok());
    }
}

#[test]
fn readers_outside_the_tick_see_each_event_once() {
    #[derive(Resource, Default)]
    struct Seen {
        messages: Vec<ConnectionStatus>,
        observed: Vec<ConnectionStatus>,
        before_ticks: Vec<ConnectionStatus>,
        after_ticks: Vec<ConnectionStatus>,
    }
    use ConnectionStatus::{Connected, Connecting, Disconnected, Handshake};
    let plugin = |app: &mut App| {
        app.init_resource::<Seen>();
        for flags in [WorldFlags::SERVER, WorldFlags::CLIENT] {
            app.add_systems_in(
                flags,
                Initialization,
                |mut seen: ResMut<Seen>,
                 events: Res<ConnectionEvents>,
                 mut reader: MessageReader<ConnectionChanged>| {
                    seen.messages.extend(reader.read().map(|change| change.event.state));
                    seen.before_ticks.extend(events.iter().map(|event| event.state));
                },
            );
            app.add_systems_in(flags, Presentation, |mut seen: ResMut<Seen>, events: Res<ConnectionEvents>| {
                seen.after_ticks.extend(events.iter().map(|event| event.state));
            });
        }
        app.add_observer(|change: On<ConnectionChanged>, mut seen: ResMut<Seen>| {
            seen.observed.push(change.event.state);
        });
    };
    let rate = ClientServerTickRate { max_simulation_steps_per_frame: 4, ..Default::default() };
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(plugin).tick_rate(rate.clone()).build();
        fleet.logs().tolerate("merges ticks");
        fleet.listen();
        fleet.connect(0);
        let frame = ghostline_testkit::FRAME;
        for round in 0..40usize {
            // Frames without a tick, with one, and with several, on either side; as much time on both.
            fleet.tick_client(0, frame * [1, 0, 2, 3, 2][round % 5]);
            fleet.tick_server(frame * [0, 1, 4, 0, 3][round % 5]);
            if round == 20 {
                let connection = fleet.server().connections()[0];
                fleet.server().world_mut().disconnect(connection, DisconnectReason::ConnectionClose);
            }
        }
        for is_server in [true, false] {
            let all: &[ConnectionStatus] = if is_server {
                &[Handshake, Connected, Disconnected]
            } else {
                &[Connecting, Handshake, Connected, Disconnected]
            };
            let world = if is_server { fleet.server() } else { fleet.client(0) };
            let seen = world.world().resource::<Seen>();
            assert_eq!(seen.messages, all, "{shape:?}, server: {is_server}");
            assert_eq!(seen.observed, all, "{shape:?}, server: {is_server}");
            if is_server {
                let missed_or_repeated = |told: &Vec<ConnectionStatus>| told != all;
                assert!([&seen.before_ticks, &seen.after_ticks].into_iter().any(missed_or_repeated), "{shape:?}");
            }
        }
    }
}

#[test]
fn drivers_can_be_replaced_only_without_connections() {
    let mut fleet = Fleet::builder().plugin(Game).build();
    let network = InProcessNetwork::new();
    let store = |drivers: usize| {
        let mut store = DriverStore::new();
        for _ in 0..drivers {
            store.register(Box::new(network.driver())).unwrap();
        }
        store
    };
    fleet.connect_all();
    let refused = fleet.server().world_mut().reset_driver_store(store(1)).err();
    assert_eq!(refused, Some(ConnectionError::ConnectionsAlive(1)));
    let refused = fleet.client(0).world_mut().reset_driver_store(store(1)).err();
    assert_eq!(refused, Some(ConnectionError::ConnectionsAlive(1)), "on the client, too");
    let connection = fleet.server().connections()[0];
    fleet.server().world_mut().disconnect(connection, DisconnectReason::ConnectionClose);
    fleet.ticks(3);
    assert_eq!(fleet.client(0).world_mut().reset_driver_store(store(2)).err(), Some(ConnectionError::DriverCount(2)));
    assert_eq!(fleet.server().world_mut().reset_driver_store(store(0)).err(), Some(ConnectionError::DriverCount(0)));
    fleet.server().world_mut().reset_driver_store(store(1)).unwrap();
    fleet.client(0).world_mut().reset_driver_store(store(1)).unwrap();
    assert!(!fleet.server().world_mut().resource::<NetworkStreamDriver>().is_listening());
    fleet.listen();
    fleet.connect(0);
    for _ in 0..8 {
        fleet.tick();
        network.deliver();
    }
    assert!(fleet.client(0).network_id().is_some());
}

#[test]
fn a_server_that_stops_listening_keeps_who_is_there() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Game).clients(2).build();
        fleet.listen();
        fleet.connect(0);
        fleet.ticks(8);
        fleet.server().world_mut().stop_listening();
        let late = fleet.connect(1);
        fleet.client(1).world_mut().entity_mut(late).insert(ConnectionState::default());
        fleet.ticks(590);
        assert_eq!(fleet.server().connections().len(), 1);
        assert_eq!(fleet.client(1).world().get::<ConnectionState>(late).unwrap().state, ConnectionStatus::Connecting);
        fleet.ticks(20);
        let state = fleet.client(1).world().get::<ConnectionState>(late).unwrap();
        assert_eq!(state.reason, Some(DisconnectReason::MaxConnectionAttempts), "10 attempts of a second each");
        assert!(fleet.client(0).network_id().is_some());
    }
}

#[test]
fn an_attempt_can_be_cancelled_while_connecting() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Game).build();
        let attempt = fleet.connect(0);
        fleet.ticks(3);
        fleet.client(0).world_mut().disconnect(attempt, DisconnectReason::ConnectionClose);
        fleet.tick();
        assert_eq!(fleet.client(0).events()[0].disconnect_reason, Some(DisconnectReason::ConnectionClose));
        assert!(fleet.client(0).world().get_entity(attempt).is_err());
        fleet.connect_all();
    }
}

#[test]
fn a_silent_client_is_dropped_with_handshake_timeout_and_told_so() {
    use ghostline_testkit::Direction;
    let mut fleet = Fleet::builder().plugin(Game).build();
    fleet.logs().expect("Handshake was not finished within 5s");
    fleet.listen();
    let client = fleet.connect(0);
    fleet.client(0).world_mut().entity_mut(client).insert(ConnectionState::default());
    fleet.ticks(1);
    fleet.tick_server(ghostline_testkit::FRAME);
    fleet.link(0).cut(Direction::ToServer);
    fleet.ticks(294);
    assert_eq!(fleet.server().connections().len(), 1);
    let state = fleet.client(0).world().get::<ConnectionState>(client).unwrap().state;
    assert_eq!(state, ConnectionStatus::Handshake, "a client never gives its handshake up by itself");
    fleet.ticks(10);
    assert!(fleet.server().connections().is_empty());
    let reason = fleet.client(0).world().get::<ConnectionState>(client).unwrap().reason;
    assert_eq!(reason, Some(DisconnectReason::HandshakeTimeout));
}

#[test]
fn the_limit_of_the_handshake_is_the_servers() {
    use ghostline_testkit::Direction;
    let rate = ClientServerTickRate { handshake_approval_timeout_ms: 10_000, ..Default::default() };
    let mut fleet = Fleet::builder().plugin(Game).tick_rate(rate).build();
    fleet.listen();
    fleet.connect(0);
    fleet.tick();
    fleet.tick_server(ghostline_testkit::FRAME);
    fleet.link(0).cut(Direction::ToServer);
    fleet.ticks(480);
    fleet.link(0).mend(Direction::ToServer);
    fleet.ticks(6);
    assert!(fleet.client(0).network_id().is_some(), "after 8 seconds");
}

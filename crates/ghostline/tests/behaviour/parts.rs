//! What a connection is made of, on each side and in each state: the rows of the feature table about components, buffers, events,
//! endpoints and auto-connect.

use crate::common::*;
use bevy_app::App;
use bevy_ecs::prelude::*;
use ghostline::connection::{
    ConnectionError, ConnectionStatus, IncomingCommandDataStreamBuffer, IncomingRpcDataStreamBuffer,
    IncomingSnapshotDataStreamBuffer, InvalidMessages, OutgoingCommandDataStreamBuffer, OutgoingRpcDataStreamBuffer,
};
use ghostline::prelude::*;
use ghostline::rpc::RpcCollection;
use ghostline::stats::NetworkStats;
use ghostline_testkit::{Direction, FLEET_PORT, Pipeline};
use std::net::{Ipv4Addr, SocketAddr};

#[test]
fn a_connection_has_the_parts_of_its_side() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Game).thin_clients(1).build();
        fleet.connect_all();
        fleet.ticks(2);
        let server = fleet.server().world_mut();
        let server_counts = [
            count::<NetworkStreamConnection>(server),
            count::<CommandTarget>(server),
            count::<LinkedEntityGroup>(server),
            count::<IncomingRpcDataStreamBuffer>(server),
            count::<OutgoingRpcDataStreamBuffer>(server),
            count::<IncomingCommandDataStreamBuffer>(server),
        ];
        assert_eq!(server_counts, [2; 6]);
        let absent = [
            count::<IncomingSnapshotDataStreamBuffer>(server),
            count::<OutgoingCommandDataStreamBuffer>(server),
            count::<LocalConnection>(server),
            count::<NetworkStreamInGame>(server),
        ];
        assert_eq!(absent, [0; 4]);
        for thin in [false, true] {
            let world = if thin { fleet.thin_client(0).world_mut() } else { fleet.client(0).world_mut() };
            let counts = [
                count::<NetworkStreamConnection>(world),
                count::<NetworkId>(world),
                count::<LocalConnection>(world),
                count::<CommandTarget>(world),
                count::<IncomingRpcDataStreamBuffer>(world),
                count::<OutgoingRpcDataStreamBuffer>(world),
                count::<IncomingSnapshotDataStreamBuffer>(world),
                count::<OutgoingCommandDataStreamBuffer>(world),
            ];
            assert_eq!(counts, [1; 8]);
            assert_eq!(count::<IncomingCommandDataStreamBuffer>(world) + count::<NetworkStreamInGame>(world), 0);
            assert!(world.contains_resource::<RpcCollection>());
            let target = world.query::<&CommandTarget>().single(world).unwrap();
            assert_eq!(target.entity, None);
        }
    }
}

#[test]
fn a_network_id_is_there_only_once_connected_and_equal_on_both_sides() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Game).build();
        fleet.listen();
        let entity = fleet.connect(0);
        loop {
            let state = fleet.client(0).world().get::<NetworkStreamConnection>(entity).unwrap().state;
            let id = fleet.client(0).world().get::<NetworkId>(entity).copied();
            assert_eq!(id.is_some(), state == ConnectionStatus::Connected, "{state:?}");
            if let Some(id) = id {
                let server = fleet.server().world_mut();
                assert_eq!(server.query::<&NetworkId>().single(server).copied().ok(), Some(id));
                break;
            }
            fleet.tick();
        }
    }
}

#[test]
fn numbers_are_given_out_again_oldest_first() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Game).clients(3).build();
        fleet.connect_all();
        let leave = |fleet: &mut Fleet, client: usize| {
            let connection = fleet.client(client).connections()[0];
            fleet.client(client).world_mut().disconnect(connection, DisconnectReason::ConnectionClose);
            fleet.ticks(3);
        };
        leave(&mut fleet, 1);
        leave(&mut fleet, 0);
        for (client, expected) in [(0, 2), (1, 1)] {
            fleet.connect(client);
            fleet.ticks(8);
            assert_eq!(fleet.client(client).network_id(), Some(NetworkId(expected)));
        }
    }
}

#[test]
fn misuse_of_listen_and_connect_is_an_error_and_changes_nothing() {
    let mut fleet = Fleet::builder().plugin(Game).build();
    let endpoint = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let client = fleet.client(0).world_mut();
    assert_eq!(client.connect(endpoint(0)), Err(ConnectionError::InvalidEndpoint(Box::new(endpoint(0).into()))));
    let nobody = client.spawn_empty().id();
    client.despawn(nobody);
    assert_eq!(client.connect_with(nobody, endpoint(1)), Err(ConnectionError::NoEntity(nobody)));
    assert!(matches!(client.listen(endpoint(1)), Err(ConnectionError::WrongWorldKind { .. })));
    assert!(fleet.client(0).connections().is_empty());
    assert!(matches!(fleet.server().world_mut().connect(endpoint(1)), Err(ConnectionError::WrongWorldKind { .. })));
    fleet.connect_all();
    let connected = fleet.client(0).connections();
    let again = fleet.client(0).world_mut().connect(endpoint(FLEET_PORT));
    assert_eq!(again, Err(ConnectionError::AlreadyConnected { by_auto_connect: false }));
    let again = fleet.server().world_mut().listen(endpoint(FLEET_PORT + 1));
    assert_eq!(again, Err(ConnectionError::AlreadyListening { by_auto_connect: false }));
    fleet.ticks(4);
    assert_eq!(fleet.client(0).connections(), connected);
}

#[test]
fn both_ends_of_a_connection_have_an_address() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Game).build();
        fleet.connect_all();
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, FLEET_PORT));
        let connection = |world: &mut World| world.query::<&NetworkStreamConnection>().single(world).unwrap().handle;
        let handle = connection(fleet.client(0).world_mut());
        let client = fleet.client(0).world().resource::<NetworkStreamDriver>();
        assert_eq!(client.remote_endpoint(handle), Some(server));
        let own = client.local_endpoint(handle.driver);
        assert!(own.is_some() && own == client.default_local_endpoint());
        let handle = connection(fleet.server().world_mut());
        let facade = fleet.server().world().resource::<NetworkStreamDriver>();
        assert_eq!((facade.default_local_endpoint(), facade.remote_endpoint(handle)), (Some(server), own));
    }
}

#[test]
fn a_message_of_an_unknown_kind_is_dropped_and_counted() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Game).build();
        fleet.logs().expect("a message of an unknown kind");
        fleet.connect_all();
        // An unknown kind, and a snapshot for a server.
        for kind in [9, 1] {
            fleet.link(0).inject_raw(Direction::ToServer, Pipeline::Unreliable, vec![kind, 1, 2, 3]);
        }
        fleet.ticks(3);
        assert_eq!(fleet.server().world().resource::<NetworkStats>().invalid_messages, 2);
        let server = fleet.server().world_mut();
        assert_eq!(server.query::<&InvalidMessages>().single(server).unwrap().total, 2);
        assert_eq!(fleet.logs().lines().len(), 1, "one line per second");
        assert_eq!(fleet.server().connections().len(), 1);
    }
}

#[test]
fn too_many_unreadable_messages_end_the_connection_with_protocol_error() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Game).clients(2).build();
        fleet.logs().expect("dropped a message of an unknown kind");
        fleet.logs().expect("messages could not be read");
        fleet.connect_all();
        let entity = fleet.client(0).connections()[0];
        fleet.client(0).world_mut().entity_mut(entity).insert(ConnectionState::default());
        for _ in 0..65 {
            fleet.link(0).inject_raw(Direction::ToServer, Pipeline::Unreliable, vec![77]);
        }
        fleet.ticks(10);
        assert_eq!(fleet.server().connections().len(), 1);
        let state = fleet.client(0).world().get::<ConnectionState>(entity).unwrap();
        assert_eq!(state.reason, Some(DisconnectReason::ProtocolError));
    }
}

#[test]
fn an_event_prints_as_one_line_that_says_all() {
    let mut fleet = Fleet::builder().plugin(Game).build();
    fleet.connect_all();
    let connection = fleet.server().connections()[0];
    fleet.server().world_mut().disconnect_with_text(connection, DisconnectReason::ConnectionClose, "good night");
    fleet.tick();
    let event = *fleet.client(0).events().last().unwrap();
    let line = event.to_string();
    for part in ["connection 1 (1:0v1)", "Disconnected", "ClosedByRemote"] {
        assert!(line.contains(part), "{part} is missing in {line}");
    }
    let events = fleet.client(0).world().resource::<ConnectionEvents>();
    assert_eq!(events.disconnect_text(event.handle), "good night");
}

#[test]
fn a_world_that_is_dropped_closes_its_connections() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Game).build();
        fleet.connect_all();
        fleet.drop_client(0);
        fleet.ticks(2);
        assert!(fleet.server().connections().is_empty());
    }
}

#[test]
fn readers_before_the_receive_step_see_the_events_of_the_tick_before() {
    for shape in SHAPES {
        #[derive(Resource, Default)]
        struct Seen {
            before: Vec<Vec<ConnectionStatus>>,
            after: Vec<Vec<ConnectionStatus>>,
        }
        let plugin = |app: &mut App| {
            app.init_resource::<Seen>();
            let states = |events: &ConnectionEvents| events.iter().map(|event| event.state).collect::<Vec<_>>();
            app.add_systems_in(
                WorldFlags::SERVER,
                BeforeNetworkReceive,
                move |mut seen: ResMut<Seen>, events: Res<ConnectionEvents>| seen.before.push(states(&events)),
            );
            app.add_systems_in(
                WorldFlags::SERVER,
                AfterNetworkReceive,
                move |mut seen: ResMut<Seen>, events: Res<ConnectionEvents>| seen.after.push(states(&events)),
            );
        };
        let mut fleet = shape.fleet().plugin(plugin).build();
        fleet.connect_all();
        fleet.ticks(3);
        let seen = fleet.server().world().resource::<Seen>();
        assert_eq!(seen.before[1..], seen.after[..seen.after.len() - 1]);
        let raised: Vec<_> = seen.after.concat();
        assert_eq!(raised, [ConnectionStatus::Handshake, ConnectionStatus::Connected]);
    }
}

fn nothing(_app: &mut App) {}

/// A program whose worlds reach only each other.
fn alone() -> ClientServerBootstrap {
    ClientServerBootstrap::new(nothing).drivers(ghostline::world::InProcessDrivers::default())
}

#[test]
fn auto_connect_is_made_once_and_says_so_when_it_is_repeated_by_hand() {
    let mut worlds = alone().auto_connect(7979).build().unwrap();
    let frame = std::time::Duration::from_nanos(16_666_667);
    for _ in 0..60 {
        worlds.run_frame(frame);
    }
    let endpoint = SocketAddr::from((Ipv4Addr::LOCALHOST, 7979));
    for world in worlds.iter_mut() {
        let is_server = world.kind() == WorldKind::Server;
        let world = world.world_mut();
        assert_eq!(count::<NetworkId>(world), 1, "connected within a second, without any other code");
        let error = if is_server { world.listen(endpoint).err() } else { world.connect(endpoint).err() };
        assert!(error.unwrap().to_string().contains("auto-connect"));
        assert_eq!(count::<NetworkId>(world), 1);
    }
}

#[test]
fn nothing_listens_or_connects_without_a_port_or_to_any_address() {
    let any = std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    for (bootstrap, listens) in [
        (alone(), false),
        (ClientServerBootstrap::new(nothing), false),
        (alone().auto_connect(0), false),
        (alone().auto_connect(7979).default_connect_address(any), true),
    ] {
        let worlds = bootstrap.build().unwrap();
        for world in worlds.iter() {
            let is_server = world.kind() == WorldKind::Server;
            let facade = world.world().resource::<NetworkStreamDriver>();
            assert_eq!(facade.is_listening(), is_server && listens);
            assert_eq!(facade.connections().len(), 0);
            let driver = facade.drivers().last().map(|(id, _)| id).unwrap();
            assert_eq!(facade.local_endpoint(driver).is_some(), is_server && listens, "no socket is bound before");
        }
    }
}

#[test]
fn an_override_from_outside_is_used_by_clients_with_auto_connect_and_a_port() {
    let outside = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let target = |play_type, auto: u16, from_outside: u16| {
        let bootstrap = alone().play_type(play_type).auto_connect(auto);
        let worlds = bootstrap.connect_override(outside(from_outside)).build().unwrap();
        let client = worlds.client_world().unwrap();
        client.world().resource::<NetworkStreamDriver>().last_endpoint().map(|endpoint| endpoint.port())
    };
    assert_eq!(target(PlayType::Client, 7979, 8000), Some(8000));
    assert_eq!(target(PlayType::Client, 7979, 0), Some(7979));
    assert_eq!(target(PlayType::Client, 0, 8000), None);
    assert_eq!(target(PlayType::ClientAndServer, 7979, 8000), Some(7979));
}

//! Approval: APPR-01 to APPR-05, CONN-03's variants with approval, DISC-04, and the rows of the feature table about it.

use crate::common::*;
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use ghostline::connection::{ConnectionError, ConnectionStatus};
use ghostline::prelude::*;
use ghostline_testkit::{Direction, MessageKind};

#[derive(Component, ApprovalRpcCommand, Clone, Copy, PartialEq, Debug)]
struct Ticket {
    number: i32,
}

#[derive(Component, RpcCommand, Clone, Copy, PartialEq, Debug)]
struct Chat {
    line: u32,
}

struct Guarded;

impl Plugin for Guarded {
    fn build(&self, app: &mut App) {
        app.add_plugins(Game);
        app.register_approval_rpc::<Ticket>().register_rpc::<Chat>();
    }
}

/// A fleet that listens, with approval required on both sides.
fn guarded_fleet(clients: usize, shape: Shape) -> Fleet {
    let mut fleet = shape.fleet().plugin(Guarded).clients(clients).build();
    fleet.server().world_mut().require_connection_approval(true).unwrap();
    for client in 0..clients {
        fleet.client(client).world_mut().require_connection_approval(true).unwrap();
    }
    fleet.listen();
    fleet
}

fn show_ticket(world: &mut World, number: i32) {
    world.spawn((Ticket { number }, SendRpcCommandRequest::default()));
}

/// The tickets on the server with the connections that they came over, in the order of arrival. They are taken.
fn tickets(world: &mut World) -> Vec<(i32, Entity)> {
    let mut found: Vec<_> = world
        .query::<(Entity, &Ticket, &ReceiveRpcCommandRequest)>()
        .iter(world)
        .map(|(entity, ticket, request)| (request.sequence(), entity, ticket.number, request.source_connection))
        .collect();
    found.sort();
    for (_, entity, ..) in &found {
        world.despawn(*entity);
    }
    found.into_iter().map(|(.., number, source)| (number, source)).collect()
}

fn server_states(fleet: &mut Fleet) -> Vec<ConnectionStatus> {
    let world = fleet.server().world_mut();
    world.query::<&NetworkStreamConnection>().iter(world).map(|connection| connection.state).collect()
}

fn client_state(fleet: &mut Fleet, client: usize) -> Option<ConnectionStatus> {
    let world = fleet.client(client).world_mut();
    world.query::<&NetworkStreamConnection>().iter(world).next().map(|connection| connection.state)
}

fn event_states(fleet: &mut Fleet) -> (Vec<ConnectionStatus>, Vec<Vec<ConnectionStatus>>) {
    let server = fleet.server().events().iter().map(|event| event.state).collect();
    let clients = (0..fleet.client_count())
        .map(|client| fleet.client(client).events().iter().map(|event| event.state).collect())
        .collect();
    (server, clients)
}

#[test]
fn the_approval_flow_takes_its_exact_ticks() {
    let mut fleet = guarded_fleet(1, SHAPES[0]);
    fleet.connect(0);
    assert_eq!(client_state(&mut fleet, 0), Some(ConnectionStatus::Connecting));
    fleet.ticks(2);
    assert_eq!(client_state(&mut fleet, 0), Some(ConnectionStatus::Handshake));
    assert_eq!(server_states(&mut fleet), [ConnectionStatus::Handshake]);
    fleet.ticks(2);
    assert_eq!(client_state(&mut fleet, 0), Some(ConnectionStatus::Approval));
    assert_eq!(server_states(&mut fleet), [ConnectionStatus::Approval]);
    assert_eq!(count::<NetworkId>(fleet.server().world_mut()), 0);
    show_ticket(fleet.client(0).world_mut(), 1234);
    for _ in 0..2 {
        fleet.tick();
        assert_eq!(tickets(fleet.server().world_mut()), []);
    }
    fleet.tick();
    let shown = tickets(fleet.server().world_mut());
    assert_eq!((shown.len(), shown[0].0), (1, 1234));
    fleet.server().world_mut().entity_mut(shown[0].1).insert(ConnectionApproved);
    fleet.tick();
    assert_eq!(client_state(&mut fleet, 0), Some(ConnectionStatus::Connected));
    assert_eq!(server_states(&mut fleet), [ConnectionStatus::Connected]);
    let client = fleet.client(0).world_mut();
    assert_eq!(
        (count::<NetworkId>(client), count::<ConnectionApproved>(client), count::<LocalConnection>(client)),
        (1, 1, 1)
    );
}

#[test]
fn connection_events_with_approval_are_raised_at_their_exact_ticks() {
    use ConnectionStatus::{Approval, Connected, Connecting, Disconnected, Handshake};
    for watched in [false, true] {
        let mut fleet = guarded_fleet(3, SHAPES[0]);
        let endpoint = ([127, 0, 0, 1], ghostline_testkit::FLEET_PORT).into();
        let entities: Vec<Entity> = (0..3)
            .map(|client| {
                let world = fleet.client(client).world_mut();
                let entity = world.spawn_empty().id();
                if watched {
                    world.entity_mut(entity).insert(ConnectionState::default());
                }
                world.connect_with(entity, endpoint).unwrap();
                entity
            })
            .collect();
        if watched {
            assert_eq!(fleet.client(0).world().get::<ConnectionState>(entities[0]).unwrap().state, Connecting);
        }
        let silent = (vec![], vec![vec![]; 3]);
        let all = |state| (vec![], vec![vec![state]; 3]);
        assert_eq!(event_states(&mut fleet), silent);
        fleet.tick();
        assert_eq!(event_states(&mut fleet), all(Connecting));
        fleet.tick();
        assert_eq!(event_states(&mut fleet), (vec![Handshake; 3], vec![vec![Handshake]; 3]));
        fleet.tick();
        assert_eq!(event_states(&mut fleet), silent);
        fleet.tick();
        assert_eq!(event_states(&mut fleet), (vec![Approval; 3], vec![vec![]; 3]));
        fleet.tick();
        assert_eq!(event_states(&mut fleet), all(Approval));
        for client in 0..3 {
            show_ticket(fleet.client(client).world_mut(), 1234);
        }
        for tick in 6..=8 {
            assert_eq!(tickets(fleet.server().world_mut()), [], "before tick {tick}");
            fleet.tick();
            assert_eq!(event_states(&mut fleet), silent);
        }
        let shown = tickets(fleet.server().world_mut());
        assert_eq!(shown.len(), 3);
        for (number, connection) in shown {
            assert_eq!(number, 1234);
            fleet.server().world_mut().entity_mut(connection).insert(ConnectionApproved);
        }
        fleet.tick();
        assert_eq!(event_states(&mut fleet), (vec![Connected; 3], vec![vec![]; 3]));
        fleet.tick();
        assert_eq!(event_states(&mut fleet), all(Connected));
        for _ in 0..3 {
            fleet.tick();
            assert_eq!(event_states(&mut fleet), silent);
        }
        let last = fleet.server().connections()[2];
        if watched {
            fleet.server().world_mut().entity_mut(last).insert(ConnectionState::default());
        }
        fleet.server().world_mut().disconnect(last, DisconnectReason::ConnectionClose);
        fleet.tick();
        assert_eq!(event_states(&mut fleet), (vec![Disconnected], vec![vec![], vec![], vec![Disconnected]]));
        let kicked = fleet.server().events()[0];
        assert_eq!(kicked.disconnect_reason, Some(DisconnectReason::ConnectionClose));
        assert_ne!(kicked.network_id, NetworkId::NONE);
        if watched {
            let seen = fleet.server().world().get::<ConnectionState>(last).unwrap().clone();
            assert_eq!((seen.state, seen.reason), (Disconnected, Some(DisconnectReason::ConnectionClose)));
            assert_eq!(seen.network_id, kicked.network_id);
            let seen = fleet.client(2).world().get::<ConnectionState>(entities[2]).unwrap().clone();
            assert_eq!((seen.state, seen.reason), (Disconnected, Some(DisconnectReason::ClosedByRemote)));
            assert_eq!(seen.network_id, kicked.network_id);
            assert!(fleet.client(2).world().get::<NetworkStreamConnection>(entities[2]).is_none());
        } else {
            assert!(fleet.server().world().get_entity(last).is_err());
            assert!(fleet.client(2).world().get_entity(entities[2]).is_err());
        }
        for _ in 0..3 {
            fleet.tick();
            assert_eq!(event_states(&mut fleet), silent);
        }
    }
}

#[test]
fn a_decision_may_take_many_ticks_and_come_in_any_state() {
    for shape in SHAPES {
        for wait in [0, 1, 2, 3, 5, 200] {
            let mut fleet = guarded_fleet(1, shape);
            fleet.connect(0);
            while fleet.server().connections().is_empty() {
                fleet.tick();
            }
            fleet.ticks(wait);
            assert_eq!(count::<NetworkId>(fleet.client(0).world_mut()), 0);
            let connection = fleet.server().connections()[0];
            fleet.server().world_mut().entity_mut(connection).insert(ConnectionApproved);
            fleet.ticks(8);
            assert_eq!(count::<NetworkId>(fleet.client(0).world_mut()), 1, "{shape:?}, approved after {wait} ticks");
        }
    }
}

#[test]
fn tickets_shown_while_connecting_arrive_all_and_in_order() {
    for shape in SHAPES {
        let mut fleet = guarded_fleet(1, shape);
        fleet.connect(0);
        for number in 0..3 {
            show_ticket(fleet.client(0).world_mut(), number);
        }
        let mut seen = Vec::new();
        for _ in 0..10 {
            fleet.tick();
            seen.extend(tickets(fleet.server().world_mut()).into_iter().map(|(number, _)| number));
        }
        assert_eq!(seen, [0, 1, 2], "{shape:?}");
        assert_eq!(client_state(&mut fleet, 0), Some(ConnectionStatus::Approval));
    }
}

#[test]
fn a_refusal_reaches_the_player_with_its_text() {
    for shape in SHAPES {
        let mut fleet = guarded_fleet(1, shape);
        let entity = fleet.connect(0);
        fleet.client(0).world_mut().entity_mut(entity).insert(ConnectionState::default());
        fleet.ticks(6);
        let connection = fleet.server().connections()[0];
        let server = fleet.server().world_mut();
        server.disconnect_with_text(connection, DisconnectReason::ApprovalFailure, "the password is wrong");
        fleet.ticks(8);
        let state = fleet.client(0).world().get::<ConnectionState>(entity).unwrap().clone();
        assert_eq!(state.state, ConnectionStatus::Disconnected);
        assert_eq!(state.reason, Some(DisconnectReason::ApprovalFailure));
        assert_eq!((state.text.as_str(), state.network_id), ("the password is wrong", NetworkId::NONE));
        assert_eq!(server_states(&mut fleet), []);
    }
}

#[test]
fn a_refusal_without_a_reason_closes_all_the_same_and_takes_the_ticket_along() {
    for shape in SHAPES {
        let mut fleet = guarded_fleet(1, shape);
        fleet.connect(0);
        fleet.ticks(6);
        show_ticket(fleet.client(0).world_mut(), 7);
        fleet.ticks(4);
        assert_eq!(count::<Ticket>(fleet.server().world_mut()), 1, "{shape:?}");
        let connection = fleet.server().connections()[0];
        fleet.server().world_mut().entity_mut(connection).insert(NetworkStreamRequestDisconnect::default());
        let mut told = Vec::new();
        for _ in 0..8 {
            fleet.tick();
            assert_eq!(count::<Ticket>(fleet.server().world_mut()), 0, "{shape:?}: nothing of it is handled twice");
            told.extend(fleet.client(0).events().iter().filter_map(|event| event.disconnect_reason));
        }
        assert_eq!(told, [DisconnectReason::ClosedByRemote], "{shape:?}");
    }
}

#[test]
fn approval_that_does_not_come_ends_with_approval_timeout_on_both_sides() {
    for shape in SHAPES {
        let mut fleet = guarded_fleet(1, shape);
        fleet.logs().expect("Approval was not finished within 5s");
        let entity = fleet.connect(0);
        fleet.client(0).world_mut().entity_mut(entity).insert(ConnectionState::default());
        fleet.ticks(300);
        assert_eq!(client_state(&mut fleet, 0), Some(ConnectionStatus::Approval));
        fleet.ticks(8);
        assert_eq!(server_states(&mut fleet), []);
        let state = fleet.client(0).world().get::<ConnectionState>(entity).unwrap();
        assert_eq!(state.reason, Some(DisconnectReason::ApprovalTimeout), "{shape:?}");
    }
}

#[test]
fn an_ordinary_rpc_before_approval_ends_the_connection() {
    for shape in SHAPES {
        let mut fleet = guarded_fleet(1, shape);
        fleet.logs().expect(r"RPC `Chat\(line:u32\)` is not allowed on a connection in Approval");
        let entity = fleet.connect(0);
        fleet.ticks(8);
        assert_eq!(client_state(&mut fleet, 0), Some(ConnectionStatus::Approval));
        // The client is hacked to believe that it is connected.
        let client = fleet.client(0).world_mut();
        client.get_mut::<NetworkStreamConnection>(entity).unwrap().state = ConnectionStatus::Connected;
        client.spawn((Chat { line: 1 }, SendRpcCommandRequest::default()));
        fleet.ticks(6);
        assert_eq!(fleet.logs().lines().len(), 1, "{shape:?}");
        assert_eq!(server_states(&mut fleet), []);
        assert_eq!(client_state(&mut fleet, 0), None);
        assert_eq!(count::<Chat>(fleet.server().world_mut()), 0);
    }
}

#[test]
fn requiring_approval_too_late_is_refused() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Guarded).build();
        fleet.logs().expect("`require_connection_approval` was set after the world began to listen or connect");
        fleet.listen();
        fleet.connect(0);
        let late = |world: &mut World| world.require_connection_approval(true);
        assert!(matches!(late(fleet.server().world_mut()), Err(ConnectionError::TooLate { .. })));
        assert!(matches!(late(fleet.client(0).world_mut()), Err(ConnectionError::TooLate { .. })));
        fleet.ticks(16);
        assert_eq!(count::<NetworkId>(fleet.client(0).world_mut()), 1, "the setting was ignored");
    }
}

#[test]
fn approval_required_by_the_server_alone_is_said_once_and_ends_with_a_reason() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Guarded).build();
        fleet.server().world_mut().require_connection_approval(true).unwrap();
        fleet.logs().expect("the server requires approval, this client does not: call `require_connection_approval");
        fleet.logs().expect("was not finished within 5s");
        fleet.listen();
        let entity = fleet.connect(0);
        fleet.client(0).world_mut().entity_mut(entity).insert(ConnectionState::default());
        fleet.ticks(310);
        assert_eq!(fleet.logs().count("require_connection_approval"), 1);
        let state = fleet.client(0).world().get::<ConnectionState>(entity).unwrap();
        assert_eq!(state.reason, Some(DisconnectReason::ApprovalTimeout));
    }
}

#[test]
fn approval_required_by_the_client_alone_is_said_once_and_it_connects() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Guarded).build();
        fleet.client(0).world_mut().require_connection_approval(true).unwrap();
        fleet.logs().expect("this client requires approval, the server does not");
        fleet.listen();
        fleet.connect(0);
        fleet.ticks(16);
        assert_eq!(fleet.logs().count("require_connection_approval"), 1);
        assert_eq!(count::<NetworkId>(fleet.client(0).world_mut()), 1);
    }
}

#[test]
fn an_approval_rpc_that_nobody_asked_for_is_sent_and_warned_about_on_request() {
    for shape in SHAPES {
        for warned in [false, true] {
            let mut fleet = shape.fleet().plugin(Guarded).build();
            if warned {
                fleet.logs().expect("approval RPC `.*` was sent, but approval is not required");
            }
            fleet.connect_all();
            let mut facade = fleet.client(0).world_mut().resource_mut::<NetworkStreamDriver>();
            facade.warn_about_unasked_approval_rpcs = warned;
            show_ticket(fleet.client(0).world_mut(), 5);
            fleet.tick();
            assert_eq!(fleet.logs().count("approval is not required"), usize::from(warned), "{shape:?}");
            fleet.ticks(3);
            assert_eq!(tickets(fleet.server().world_mut()).len(), 1, "{shape:?}");
        }
    }
}

#[test]
fn approving_where_it_does_nothing_is_warned_about() {
    for shape in SHAPES {
        let mut fleet = guarded_fleet(1, shape);
        fleet.logs().expect("which is no connection");
        fleet.logs().expect("a connection that is Connected");
        fleet.server().world_mut().spawn(ConnectionApproved);
        fleet.connect(0);
        fleet.ticks(6);
        let connection = fleet.server().connections()[0];
        for _ in 0..2 {
            fleet.server().world_mut().entity_mut(connection).insert(ConnectionApproved);
            fleet.ticks(4);
            fleet.server().world_mut().entity_mut(connection).remove::<ConnectionApproved>();
        }
        assert_eq!(server_states(&mut fleet), [ConnectionStatus::Connected]);
    }
}

#[test]
fn forged_approval_messages_end_the_connection_of_their_sender_alone() {
    for shape in SHAPES {
        // Numbers of the library's RPCs that only a server sends, and a second version.
        for (forged, payload) in [(1, vec![0]), (2, vec![1; 8]), (5, vec![7; 21]), (0, vec![0; 24]), (15, vec![])] {
            let mut fleet = guarded_fleet(2, shape);
            fleet.logs().expect("an RPC packet was refused");
            fleet.connect(1);
            fleet.tick();
            fleet.connect(0);
            fleet.ticks(7);
            let honest = fleet.server().connections()[0];
            let mut frame = vec![forged, 0, (payload.len() * 8) as u8, 0];
            frame.extend(payload);
            fleet.link(0).inject(Direction::ToServer, MessageKind::Rpc, &frame);
            fleet.ticks(8);
            assert_eq!(fleet.server().connections(), [honest], "{shape:?}: message {forged}");
            assert_eq!(client_state(&mut fleet, 0), None);
            fleet.server().world_mut().entity_mut(honest).insert(ConnectionApproved);
            fleet.ticks(5);
            assert_eq!(client_state(&mut fleet, 1), Some(ConnectionStatus::Connected), "{shape:?}");
        }
    }
}

#[test]
fn thin_clients_are_approved_like_others() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Guarded).clients(0).thin_clients(1).build();
        fleet.server().world_mut().require_connection_approval(true).unwrap();
        fleet.thin_client(0).world_mut().require_connection_approval(true).unwrap();
        fleet.listen();
        let endpoint = ([127, 0, 0, 1], ghostline_testkit::FLEET_PORT).into();
        fleet.thin_client(0).world_mut().connect(endpoint).unwrap();
        show_ticket(fleet.thin_client(0).world_mut(), 3);
        fleet.ticks(6);
        let shown = tickets(fleet.server().world_mut());
        assert_eq!(shown.len(), 1);
        fleet.server().world_mut().entity_mut(shown[0].1).insert(ConnectionApproved);
        fleet.ticks(4);
        assert!(fleet.thin_client(0).network_id().is_some());
    }
}

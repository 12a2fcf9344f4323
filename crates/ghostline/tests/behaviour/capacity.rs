//! How many clients a server takes, and what becomes of those that are one too many: NEW-04, and NEW-05 where it meets a full server.

use crate::common::*;
use bevy_ecs::prelude::*;
use ghostline::connection::{ConnectionStatus, NetCodeConnectionEvent, ResumeToken};
use ghostline::prelude::*;

/// A listening fleet whose server takes so many clients, each of which notes how it fares.
fn fleet(shape: Shape, clients: usize, max_clients: usize) -> Fleet {
    let mut fleet = shape.fleet().plugin(Game).clients(clients).build();
    fleet.server().world_mut().resource_mut::<NetworkStreamDriver>().set_max_clients(Some(max_clients));
    fleet.listen();
    fleet
}

fn connect(fleet: &mut Fleet, client: usize) -> Entity {
    let entity = fleet.connect(client);
    fleet.client(client).world_mut().entity_mut(entity).insert(ConnectionState::default());
    entity
}

fn state(fleet: &mut Fleet, client: usize, entity: Entity) -> ConnectionState {
    fleet.client(client).world().get::<ConnectionState>(entity).unwrap().clone()
}

/// Ticks, and returns what the server heard of connections.
fn watch(fleet: &mut Fleet, ticks: usize) -> Vec<NetCodeConnectionEvent> {
    let mut events = Vec::new();
    for _ in 0..ticks {
        fleet.tick();
        events.extend(fleet.server().events());
    }
    events
}

#[test]
fn of_more_clients_at_once_than_there_is_room_exactly_so_many_get_in() {
    for shape in SHAPES {
        let mut fleet = fleet(shape, 7, 3);
        let entities: Vec<Entity> = (0..7).map(|client| connect(&mut fleet, client)).collect();
        fleet.ticks(16);
        let mut numbers = Vec::new();
        for (client, &entity) in entities.iter().enumerate() {
            let state = state(&mut fleet, client, entity);
            match state.state {
                ConnectionStatus::Connected => numbers.push(state.network_id.0),
                ended => {
                    assert_eq!(
                        (ended, state.reason),
                        (ConnectionStatus::Disconnected, Some(DisconnectReason::ServerFull))
                    );
                    assert_eq!(
                        (state.network_id, &*state.text),
                        (NetworkId::NONE, "the server is full: it takes at most 3")
                    );
                }
            }
        }
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3], "{shape:?}");
        assert_eq!(fleet.server().connections().len(), 3);
    }
}

#[test]
fn a_place_that_was_left_is_given_to_the_next_with_its_number() {
    for shape in SHAPES {
        let mut fleet = fleet(shape, 3, 2);
        for client in 0..2 {
            connect(&mut fleet, client);
            fleet.ticks(12);
        }
        for leaving in [0, 1] {
            let refused = connect(&mut fleet, 2);
            assert_eq!(watch(&mut fleet, 12), [], "{shape:?}: of who is refused the game hears nothing");
            assert_eq!(state(&mut fleet, 2, refused).reason, Some(DisconnectReason::ServerFull));
            let connection = fleet.client(leaving).connections()[0];
            let number = fleet.client(leaving).network_id();
            fleet.client(leaving).world_mut().disconnect(connection, DisconnectReason::ConnectionClose);
            fleet.ticks(12);
            let let_in = connect(&mut fleet, 2);
            fleet.ticks(12);
            assert_eq!(fleet.client(2).network_id(), number, "{shape:?}");
            fleet.client(2).world_mut().disconnect(let_in, DisconnectReason::ConnectionClose);
            fleet.ticks(12);
            connect(&mut fleet, leaving);
            fleet.ticks(12);
            assert_eq!(fleet.client(leaving).network_id(), number);
        }
    }
}

#[test]
fn a_client_comes_back_to_its_own_place_on_a_full_server_and_a_stranger_does_not() {
    for shape in SHAPES {
        let mut fleet = fleet(shape, 4, 2);
        for client in 0..2 {
            connect(&mut fleet, client);
            fleet.ticks(12);
        }
        let lost = fleet.server().connections()[0];
        // The third client is the first one's machine after a crash that the server has not noticed; the fourth only says so.
        let token = fleet.client(0).world().resource::<ResumeToken>().clone();
        let mut guess = token.clone();
        guess.claim.secret[1] ^= 1;
        fleet.client(2).world_mut().insert_resource(token);
        fleet.client(3).world_mut().insert_resource(guess);
        let stranger = connect(&mut fleet, 3);
        assert_eq!(watch(&mut fleet, 12), [], "{shape:?}");
        assert_eq!(state(&mut fleet, 3, stranger).reason, Some(DisconnectReason::ServerFull));
        connect(&mut fleet, 2);
        let heard: Vec<ConnectionStatus> = watch(&mut fleet, 12).iter().map(|event| event.state).collect();
        use ConnectionStatus::{Connected, Disconnected, Handshake};
        assert_eq!(heard, [Handshake, Disconnected, Connected], "{shape:?}");
        assert_eq!(fleet.client(2).network_id(), Some(NetworkId(1)));
        assert_eq!(count::<NetworkStreamIsReconnected>(fleet.client(2).world_mut()), 1);
        assert_eq!(fleet.server().connections().len(), 2);
        assert!(fleet.server().world().get_entity(lost).is_err());
    }
}

//! Connections: CONN-01 and CONN-03.

use crate::common::*;
use ghostline::connection::{ConnectionStatus, DisconnectReason, NetworkStreamRequestDisconnect};
use ghostline::prelude::*;

#[test]
fn one_client_connects_and_enters_the_game() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Game).build();
        fleet.listen();
        fleet.connect(0);
        fleet.ticks(16);
        assert_eq!(count::<NetworkId>(fleet.server().world_mut()), 1);
        assert_eq!(count::<NetworkId>(fleet.client(0).world_mut()), 1);
        fleet.go_in_game_all();
        fleet.ticks(16);
        assert_eq!(count::<NetworkStreamInGame>(fleet.server().world_mut()), 1);
        assert_eq!(count::<NetworkStreamInGame>(fleet.client(0).world_mut()), 1);
    }
}

#[test]
fn connection_events_are_raised_at_their_exact_ticks() {
    for watched in [false, true] {
        exact_ticks(watched);
    }
}

/// CONN-03, with or without a `ConnectionState` on the connections.
fn exact_ticks(watched: bool) {
    use ConnectionStatus::{Connected, Connecting, Disconnected, Handshake};
    let mut fleet = Fleet::builder().plugin(Game).clients(3).build();
    fleet.listen();
    let entities: Vec<_> = (0..3).map(|client| fleet.connect(client)).collect();
    if watched {
        for (client, &entity) in entities.iter().enumerate() {
            fleet.client(client).world_mut().entity_mut(entity).insert(ConnectionState::default());
            let state = fleet.client(client).world().get::<ConnectionState>(entity).unwrap().state;
            assert_eq!(state, Connecting);
        }
    }
    let states = |fleet: &mut Fleet| {
        let server: Vec<_> = fleet.server().events().iter().map(|event| event.state).collect();
        let clients: Vec<Vec<_>> =
            (0..3).map(|client| fleet.client(client).events().iter().map(|event| event.state).collect()).collect();
        (server, clients)
    };
    assert_eq!(states(&mut fleet), (vec![], vec![vec![]; 3]));
    fleet.tick();
    assert_eq!(states(&mut fleet), (vec![], vec![vec![Connecting]; 3]));
    fleet.tick();
    assert_eq!(states(&mut fleet), (vec![Handshake; 3], vec![vec![Handshake]; 3]));
    assert!(fleet.server().events().iter().all(|event| event.network_id == NetworkId::NONE));
    fleet.tick();
    assert_eq!(states(&mut fleet), (vec![], vec![vec![]; 3]));
    fleet.tick();
    assert_eq!(states(&mut fleet), (vec![Connected; 3], vec![vec![]; 3]));
    fleet.tick();
    assert_eq!(states(&mut fleet), (vec![], vec![vec![Connected]; 3]));
    for (client, &entity) in entities.iter().enumerate() {
        let id = fleet.client(client).events()[0].network_id;
        assert_ne!(id, NetworkId::NONE);
        assert_eq!(fleet.client(client).world().get::<NetworkId>(entity), Some(&id));
    }
    for _ in 0..3 {
        fleet.tick();
        assert_eq!(states(&mut fleet), (vec![], vec![vec![]; 3]));
    }
    let last = fleet.server().connections()[2];
    let handles = (
        fleet.server().world().get::<NetworkStreamConnection>(last).unwrap().handle,
        fleet.client(2).world().get::<NetworkStreamConnection>(entities[2]).unwrap().handle,
    );
    assert_eq!(fleet.server().world().connection_state(handles.0), Connected);
    if watched {
        fleet.server().world_mut().entity_mut(last).insert(ConnectionState::default());
    }
    fleet.server().world_mut().entity_mut(last).insert(NetworkStreamRequestDisconnect::default());
    fleet.tick();
    assert_eq!(states(&mut fleet), (vec![Disconnected], vec![vec![], vec![], vec![Disconnected]]));
    let kicked = fleet.server().events()[0];
    assert_eq!(kicked.disconnect_reason, Some(DisconnectReason::ConnectionClose));
    assert_ne!(kicked.network_id, NetworkId::NONE);
    assert_eq!((kicked.handle, kicked.entity), (handles.0, last));
    let told = fleet.client(2).events()[0];
    assert_eq!(told.disconnect_reason, Some(DisconnectReason::ClosedByRemote));
    assert_eq!((told.network_id, told.handle, told.entity), (kicked.network_id, handles.1, entities[2]));
    assert_eq!(fleet.server().world().connection_state(handles.0), ConnectionStatus::Unknown, "it is over");
    if watched {
        let on_server = fleet.server().world().get::<ConnectionState>(last).unwrap().clone();
        let on_client = fleet.client(2).world().get::<ConnectionState>(entities[2]).unwrap().clone();
        assert_eq!((on_server.state, on_server.reason), (Disconnected, kicked.disconnect_reason));
        assert_eq!((on_client.state, on_client.reason), (Disconnected, told.disconnect_reason));
        assert_eq!((on_server.network_id, on_client.network_id), (kicked.network_id, kicked.network_id));
        assert!(fleet.server().world().get::<NetworkStreamConnection>(last).is_none());
    } else {
        assert!(fleet.server().world().get_entity(last).is_err());
        assert!(fleet.client(2).world().get_entity(entities[2]).is_err());
    }
    for _ in 0..3 {
        fleet.tick();
        assert_eq!(states(&mut fleet), (vec![], vec![vec![]; 3]));
    }
}

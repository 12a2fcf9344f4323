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
    use ConnectionStatus::{Connected, Connecting, Disconnected, Handshake};
    let mut fleet = Fleet::builder().plugin(Game).clients(3).build();
    fleet.listen();
    let entities: Vec<_> = (0..3).map(|client| fleet.connect(client)).collect();
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
    fleet.server().world_mut().entity_mut(last).insert(NetworkStreamRequestDisconnect::default());
    fleet.tick();
    assert_eq!(states(&mut fleet), (vec![Disconnected], vec![vec![], vec![], vec![Disconnected]]));
    let kicked = fleet.server().events()[0];
    assert_eq!(kicked.disconnect_reason, Some(DisconnectReason::ConnectionClose));
    assert_ne!(kicked.network_id, NetworkId::NONE);
    assert_eq!(fleet.client(2).events()[0].disconnect_reason, Some(DisconnectReason::ClosedByRemote));
    assert!(fleet.server().world().get_entity(last).is_err());
    assert!(fleet.client(2).world().get_entity(entities[2]).is_err());
    for _ in 0..3 {
        fleet.tick();
        assert_eq!(states(&mut fleet), (vec![], vec![vec![]; 3]));
    }
}

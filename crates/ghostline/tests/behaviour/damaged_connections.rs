//! C-59: connection entities that a game has despawned, or whose handle it has changed, by mistake. It is survived and said once, the peer gets a
//! reason, and nobody else notices.

use crate::common::*;
use bevy_app::App;
use bevy_ecs::prelude::*;
use ghostline::connection::{ConnectionStatus, NetCodeConnectionEvent};
use ghostline::prelude::*;

#[test]
fn a_connection_entity_despawned_by_hand_is_survived_and_reported_once() {
    for shape in SHAPES {
        for on_server in [true, false] {
            let mut fleet = shape.fleet().plugin(Game).clients(2).build();
            fleet.logs().expect("was damaged by hand");
            fleet.connect_all();
            fleet.go_in_game_all();
            fleet.server().world_mut().spawn_ghost::<Walker>(Position::default());
            fleet.ticks(16);
            let honest = fleet.server().connections()[1];
            if on_server {
                let connection = fleet.server().connections()[0];
                fleet.server().world_mut().despawn(connection);
            } else {
                let connection = fleet.client(0).connections()[0];
                fleet.client(0).world_mut().despawn(connection);
            }
            let (mut server_events, mut client_events) = (Vec::new(), Vec::new());
            for _ in 0..20 {
                fleet.tick();
                server_events.extend(fleet.server().events());
                client_events.extend(fleet.client(0).events());
            }
            assert_eq!(fleet.logs().count("damaged by hand"), 1);
            let reasons = |events: &[NetCodeConnectionEvent]| {
                events.iter().map(|event| (event.state, event.disconnect_reason, event.network_id)).collect::<Vec<_>>()
            };
            let (own, other) = (Some(DisconnectReason::ConnectionClose), Some(DisconnectReason::ClosedByRemote));
            let (on_server, on_client) = if on_server { (own, other) } else { (other, own) };
            assert_eq!(reasons(&server_events), [(ConnectionStatus::Disconnected, on_server, NetworkId(1))]);
            assert_eq!(reasons(&client_events), [(ConnectionStatus::Disconnected, on_client, NetworkId(1))]);
            assert_eq!(fleet.server().connections(), [honest]);
            // The world goes on, and the slots of a ghost that dies now are free again.
            let world = fleet.server().world_mut();
            let ghost = world.query_filtered::<Entity, With<Walker>>().single(world).unwrap();
            world.despawn(ghost);
            fleet.connect_all();
            fleet.go_in_game_all();
            fleet.ticks(16);
            assert_eq!(count::<Walker>(fleet.client(1).world_mut()), 0);
            assert_eq!(fleet.client(0).network_id(), Some(NetworkId(1)));
        }
    }
}

#[test]
fn a_changed_handle_is_survived_and_reported_once() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Game).clients(2).build();
        fleet.logs().expect("the handle was changed");
        fleet.connect_all();
        let [first, second] = fleet.server().connections()[..] else { panic!("two clients") };
        let server = fleet.server().world_mut();
        let handle = server.get::<NetworkStreamConnection>(second).unwrap().handle;
        server.get_mut::<NetworkStreamConnection>(first).unwrap().handle = handle;
        let ends = ends_of_first(&mut fleet, 8);
        assert_eq!(fleet.logs().count("the handle was changed"), 1);
        let (own, other) = (DisconnectReason::ConnectionClose, DisconnectReason::ClosedByRemote);
        assert_eq!(ends, [vec![(own, NetworkId(1))], vec![(other, NetworkId(1))]], "{shape:?}");
        assert_eq!(fleet.server().connections(), [second]);
        assert!(fleet.client(0).connections().is_empty());
        assert_eq!(fleet.client(1).connections().len(), 1);
    }
}

/// The ends that server and first client are told of in so many ticks. The second client is told of none.
fn ends_of_first(fleet: &mut Fleet, ticks: usize) -> [Vec<(DisconnectReason, NetworkId)>; 2] {
    let mut ends = [Vec::new(), Vec::new()];
    for _ in 0..ticks {
        fleet.tick();
        for (ends, events) in ends.iter_mut().zip([fleet.server().events(), fleet.client(0).events()]) {
            ends.extend(events.iter().filter_map(|event| Some((event.disconnect_reason?, event.network_id))));
        }
        assert!(fleet.client(1).events().iter().all(|event| event.disconnect_reason.is_none()));
    }
    ends
}

/// C-59: a system changes a handle in the middle of a tick, and what the connection has to send in that tick goes to nobody else.
#[test]
fn a_handle_changed_inside_the_simulation_sends_nothing_to_another_client() {
    #[derive(Component, RpcCommand, Clone, Copy)]
    struct Secret;
    #[derive(Resource, Default)]
    struct Damage(bool);
    #[derive(Resource, Default)]
    struct Heard(usize);
    fn damage(
        mut due: ResMut<Damage>,
        mut commands: Commands,
        connections: Query<(Entity, &NetworkId, &mut NetworkStreamConnection)>,
        kind: Res<WorldKind>,
    ) {
        if !std::mem::take(&mut due.0) {
            return;
        }
        let mut connections: Vec<_> = connections.into_iter().collect();
        connections.sort_by_key(|(_, id, _)| **id);
        commands.spawn((Secret, SendRpcCommandRequest { target: Some(connections[0].0) }));
        let other = if kind.is_server() {
            connections[1].2.handle
        } else {
            // A client has but one; the handle is made up.
            let handle = connections[0].2.handle;
            let connection = ghostline::transport::DriverConnection::new(77, 77);
            ghostline::transport::ConnectionHandle { connection, ..handle }
        };
        connections[0].2.handle = other;
    }
    fn hear(
        mut commands: Commands,
        mut heard: ResMut<Heard>,
        secrets: Query<Entity, (With<Secret>, With<ReceiveRpcCommandRequest>)>,
    ) {
        for secret in &secrets {
            heard.0 += 1;
            commands.entity(secret).despawn();
        }
    }
    let plugin = |app: &mut App| {
        app.add_plugins(Game).register_rpc::<Secret>().init_resource::<Damage>().init_resource::<Heard>();
        app.add_systems(Simulation, (damage, hear));
    };
    for shape in SHAPES {
        for on_server in [true, false] {
            let mut fleet = shape.fleet().plugin(plugin).clients(2).build();
            fleet.logs().expect("the handle was changed");
            fleet.connect_all();
            fleet.go_in_game_all();
            fleet.server().world_mut().spawn_ghost::<Crate>(Position::default());
            fleet.ticks(20);
            let damaged = if on_server { fleet.server() } else { fleet.client(0) };
            damaged.world_mut().resource_mut::<Damage>().0 = true;
            fleet.link(1).record();
            fleet.tick();
            let to_second = fleet.link(1).recorded();
            let to_second =
                to_second.iter().filter(|message| message.direction == ghostline_testkit::Direction::ToClient);
            assert_eq!(to_second.count(), 1, "{shape:?}: its own snapshot, and not the other's");
            let ends = ends_of_first(&mut fleet, 8);
            assert_eq!(fleet.logs().count("the handle was changed"), 1);
            let (own, other) = (DisconnectReason::ConnectionClose, DisconnectReason::ClosedByRemote);
            let expected = if on_server { [own, other] } else { [other, own] };
            assert_eq!(ends, expected.map(|reason| vec![(reason, NetworkId(1))]), "{shape:?}");
            assert_eq!(fleet.client(1).world().resource::<Heard>().0, 0, "{shape:?}: a secret of another");
            fleet.connect_all();
            assert_eq!(fleet.server().connections().len(), 2);
        }
    }
}

//! Who comes late, leaves the game, comes back, or is not let in, over QUIC and on every link: {0, 60, 200} ms round trip × {0, 5, 33} % loss.

use crate::common::*;
use crate::remote::{RemoteGame, Standing, fleet, fleet_in_game, profiles, reasons, truth, until};
use bevy_ecs::prelude::*;
use bevy_math::Vec3;
use ghostline::connection::{
    ConnectionUniqueId, NetworkProtocolVersion, NetworkSnapshotAck, NetworkStreamIsReconnected,
};
use ghostline::prelude::*;
use ghostline::stats::NetworkStats;
use ghostline::transport::Loss;
use ghostline_testkit::{Direction, Transport};

/// Crates that walk, of which some have gone when the rest is asked for.
fn spawn_crates(fleet: &mut Fleet) -> Vec<Entity> {
    let server = fleet.server().world_mut();
    let place = |number: i32| Position { value: Vec3::new(number as f32, 0.0, 0.0) };
    (0..40).map(|number| server.spawn_ghost::<Crate>((place(number), Health { points: number }))).collect()
}

/// What stands still from now on, and the client that must come to hold it.
fn assert_converges(fleet: &mut Fleet, client: usize, context: &str) {
    fleet.server().world_mut().resource_mut::<Standing>().0 = true;
    let expected = truth(fleet.server().world_mut());
    assert!(!expected.is_empty(), "{context}");
    until(fleet, 600, |fleet| truth(fleet.client(client).world_mut()) == expected);
}

fn set_in_game(world: &mut World, in_game: bool) {
    let entity = world.query_filtered::<Entity, With<NetworkId>>().single(world).unwrap();
    if in_game {
        world.entity_mut(entity).insert(NetworkStreamInGame);
    } else {
        world.entity_mut(entity).remove::<NetworkStreamInGame>();
    }
}

#[test]
fn who_comes_late_gets_the_whole_world_on_every_link() {
    for profile in profiles() {
        let mut fleet = fleet_in_game(1, profile);
        let crates = spawn_crates(&mut fleet);
        fleet.ticks(60);
        for gone in crates.into_iter().step_by(3) {
            fleet.server().world_mut().despawn(gone);
        }
        let late = fleet.add_client("late");
        fleet.link(late).set(profile);
        fleet.connect(late);
        until(&mut fleet, 600, |fleet| fleet.client(late).network_id().is_some());
        assert_eq!(fleet.client(late).network_id(), Some(NetworkId(2)));
        fleet.go_in_game_all();
        fleet.ticks(30);
        assert_converges(&mut fleet, late, &format!("{profile:?}"));
    }
}

#[test]
fn the_game_can_be_left_and_entered_again_on_every_link() {
    for profile in profiles() {
        let mut fleet = fleet_in_game(1, profile);
        spawn_crates(&mut fleet);
        until(&mut fleet, 600, |fleet| truth(fleet.client(0).world_mut()).len() == 40);
        set_in_game(fleet.client(0).world_mut(), false);
        fleet.ticks(7);
        assert_eq!(truth(fleet.client(0).world_mut()), [], "{profile:?}");
        set_in_game(fleet.server().world_mut(), false);
        fleet.ticks(30);
        set_in_game(fleet.server().world_mut(), true);
        fleet.ticks(7);
        assert_eq!(truth(fleet.client(0).world_mut()), [], "{profile:?}: the server alone is in the game");
        set_in_game(fleet.client(0).world_mut(), true);
        fleet.ticks(30);
        assert_converges(&mut fleet, 0, &format!("{profile:?}"));
    }
}

#[test]
fn who_was_cut_off_comes_back_as_the_same_on_every_link() {
    for profile in profiles() {
        let mut fleet = fleet_in_game(1, profile);
        spawn_crates(&mut fleet);
        if matches!(profile.up.loss, Loss::Random { percent } if percent > 0.0) {
            // The clock of a new connection begins by QUIC's first round trip, which is too long if an acknowledgement is lost in the handshake.
            fleet.logs().tolerate("the predicted server tick jumped");
        }
        fleet.ticks(60);
        let unique = |world: &mut World| world.query::<&ConnectionUniqueId>().single(world).copied().unwrap();
        let before = unique(fleet.client(0).world_mut());
        let directions = [Direction::ToServer, Direction::ToClient];
        for direction in directions {
            fleet.link(0).cut(direction);
        }
        assert_eq!(reasons(&mut fleet, 700), [Some(DisconnectReason::Timeout); 2], "{profile:?}");
        assert_eq!(truth(fleet.client(0).world_mut()), [], "{profile:?}");
        for direction in directions {
            fleet.link(0).mend(direction);
        }
        fleet.connect(0);
        until(&mut fleet, 600, |fleet| fleet.client(0).network_id().is_some());
        assert_eq!(unique(fleet.client(0).world_mut()), before, "{profile:?}");
        assert_eq!(unique(fleet.server().world_mut()), before, "{profile:?}");
        assert_eq!(count::<NetworkStreamIsReconnected>(fleet.server().world_mut()), 1);
        assert_eq!(count::<NetworkStreamIsReconnected>(fleet.client(0).world_mut()), 1);
        fleet.go_in_game_all();
        fleet.ticks(30);
        assert_converges(&mut fleet, 0, &format!("{profile:?}"));
    }
}

#[test]
fn thin_clients_command_and_acknowledge_on_every_link() {
    for profile in profiles() {
        let builder = Fleet::builder().plugin(RemoteGame).clients(1).thin_clients(2).link(profile);
        let mut fleet = builder.tick_rate(unmerged()).transport(Transport::Quic).build();
        fleet.connect_all();
        fleet.go_in_game_all();
        spawn_crates(&mut fleet);
        fleet.ticks(240);
        let tick = fleet.server().server_tick().unwrap();
        for thin in 0..2 {
            let number = fleet.thin_client(thin).network_id().unwrap();
            let server = fleet.server().world_mut();
            let mut acks = server.query::<(&NetworkId, &NetworkSnapshotAck)>();
            let (_, ack) = acks.iter(server).find(|(id, _)| **id == number).unwrap();
            // No older than the round trip and the losses that are likely.
            let acknowledged = ack.last_received_snapshot_by_remote.expect("it acknowledges");
            assert!(tick.ticks_since(acknowledged) < 40, "{profile:?}: {acknowledged:?} at {tick:?}");
            let commanded = ack.most_recent_command_tick.expect("it sends commands");
            assert!(tick.ticks_since(commanded).abs() < 30, "{profile:?}: {commanded:?} at {tick:?}");
            assert_eq!(count::<Crate>(fleet.thin_client(thin).world_mut()), 0, "a thin client has no ghosts");
        }
        assert_eq!(fleet.server().world().resource::<NetworkStats>().invalid_messages, 0, "{profile:?}");
        assert_converges(&mut fleet, 0, &format!("{profile:?}"));
    }
}

#[test]
fn who_is_not_let_in_is_told_why_on_every_link() {
    for profile in profiles() {
        for expected in [DisconnectReason::ServerFull, DisconnectReason::BadProtocolVersion] {
            let mut fleet = fleet(1, profile);
            fleet.link(0).set(profile);
            if expected == DisconnectReason::ServerFull {
                fleet.server().world_mut().resource_mut::<NetworkStreamDriver>().set_max_clients(Some(0));
            } else {
                fleet.logs().expect("the game version differs");
                fleet.client(0).world_mut().resource_mut::<NetworkProtocolVersion>().version.game = 9000;
            }
            fleet.listen();
            let entity = fleet.connect(0);
            fleet.client(0).world_mut().entity_mut(entity).insert(ConnectionState::default());
            let state = |fleet: &mut Fleet| fleet.client(0).world().get::<ConnectionState>(entity).unwrap().clone();
            until(&mut fleet, 900, |fleet| state(fleet).reason.is_some());
            let state = state(&mut fleet);
            assert_eq!((state.reason, state.network_id), (Some(expected), NetworkId::NONE), "{profile:?}");
            fleet.ticks(60);
            assert!(fleet.server().connections().is_empty(), "{profile:?}");
        }
    }
}

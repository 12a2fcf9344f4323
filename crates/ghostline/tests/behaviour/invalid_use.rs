//! Mistakes that a game can make with ghosts, and that cost it a line in the log: INV-01 and INV-02.

use crate::common::*;
use bevy_ecs::prelude::*;
use ghostline::prelude::*;

#[test]
fn a_ghost_that_a_client_despawns_by_mistake_is_made_again_and_goes_when_the_server_says() {
    for shape in SHAPES {
        for predicted in [false, true] {
            let mut fleet = shape.fleet().plugin(Game).tick_rate(unmerged()).build();
            fleet.logs().expect("was despawned by this client's game; ghosts are the server's, so it is made again");
            fleet.connect_all();
            fleet.go_in_game_all();
            let owner = if predicted { NetworkId(1) } else { NetworkId(42) };
            let server = fleet.server().world_mut();
            let ghost = server.spawn_ghost::<Player>((GhostOwner(owner), Health { points: 7 }));
            fleet.ticks(40);
            let client = fleet.client(0).world_mut();
            let shown = client.query_filtered::<Entity, With<Player>>().single(client).unwrap();
            client.despawn(shown);
            for _ in 0..64 {
                fleet.tick();
            }
            let client = fleet.client(0).world_mut();
            let (again, instance, health, owned) =
                client.query::<(Entity, &GhostInstance, &Health, &GhostOwner)>().single(client).unwrap();
            assert_ne!(again, shown);
            assert_eq!((health.points, owned.0), (7, owner), "{shape:?}");
            let (id, spawn_tick) = (instance.ghost_id, instance.spawn_tick.unwrap());
            let map = client.resource::<ghostline::ghost::SpawnedGhostEntityMap>();
            assert_eq!((map.get(id, spawn_tick), map.len()), (Some(again), 1));
            assert_eq!(fleet.logs().lines().len(), 1, "said once");
            // It goes on as if nothing had been.
            fleet.server().world_mut().get_mut::<Health>(ghost).unwrap().points = 8;
            fleet.ticks(16);
            let client = fleet.client(0).world_mut();
            assert_eq!(client.query::<&Health>().single(client).unwrap().points, 8);
            fleet.server().world_mut().despawn(ghost);
            fleet.ticks(5);
            assert_eq!(count::<GhostInstance>(fleet.client(0).world_mut()), 0, "{shape:?}, predicted: {predicted}");
        }
    }
}

#[test]
fn an_owner_that_a_prefab_does_not_have_is_reported_once_per_type() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Game).build();
        fleet.connect_all();
        fleet.go_in_game_all();
        let ignored = "a ghost of type `crate` was spawned with a `GhostOwner`, but its prefab has no owner";
        fleet.logs().expect(ignored);
        let owner = GhostOwner(fleet.client(0).network_id().unwrap());
        for _ in 0..3 {
            fleet.server().world_mut().spawn_ghost::<Crate>((Position::default(), owner));
            fleet.server().world_mut().spawn_ghost::<Player>((Position::default(), owner));
            fleet.tick();
        }
        assert_eq!(fleet.logs().count(ignored), 1, "{shape:?}");
        fleet.ticks(16);
        assert_eq!(count::<Crate>(fleet.client(0).world_mut()), 3, "they are there all the same");
        assert_eq!(
            count::<GhostOwner>(fleet.client(0).world_mut()),
            3,
            "the players have their owner, the crates none"
        );
    }
}

#[test]
fn an_owner_predicted_ghost_without_an_owner_is_reported_and_one_of_nobody_is_not() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Game).build();
        fleet.connect_all();
        fleet.go_in_game_all();
        fleet.logs().expect("a ghost of type `player` was spawned without an owner, so nobody predicts it");
        let server = fleet.server().world_mut();
        let forgotten = server.spawn_ghost::<Player>(Health { points: 5 });
        let zero = server.spawn_ghost::<Player>((Health { points: 6 }, GhostOwner(NetworkId(0))));
        fleet.tick();
        assert_eq!(fleet.logs().lines().len(), 2, "{shape:?}: one each");
        let of_nobody = (Health { points: 7 }, GhostOwner(NetworkId::NOBODY));
        let nobodys = fleet.server().world_mut().spawn_ghost::<Player>(of_nobody);
        fleet.ticks(16);
        assert_eq!(fleet.logs().lines().len(), 2, "{shape:?}: nobody on purpose is no mistake");
        let client = fleet.client(0).world_mut();
        let mut shown: Vec<(i32, NetworkId)> = client
            .query::<(&Health, &GhostOwner)>()
            .iter(client)
            .map(|(health, owner)| (health.points, owner.0))
            .collect();
        shown.sort_unstable();
        assert_eq!(shown, [(5, NetworkId::NONE), (6, NetworkId::NONE), (7, NetworkId::NOBODY)], "{shape:?}");
        assert_eq!(count::<GhostOwnerIsLocal>(client), 0);
        // And from nobody to somebody.
        for ghost in [forgotten, zero, nobodys] {
            fleet.server().world_mut().get_mut::<GhostOwner>(ghost).unwrap().0 = NetworkId(1);
        }
        fleet.ticks(16);
        assert_eq!(count::<GhostOwnerIsLocal>(fleet.client(0).world_mut()), 3, "{shape:?}");
    }
}

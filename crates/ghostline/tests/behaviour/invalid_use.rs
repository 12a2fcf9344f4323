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
fn an_owner_predicted_ghost_that_nobody_owns_is_reported_and_replicated() {
    let mut fleet = fleet_in_game(1);
    fleet.logs().expect("a ghost of type `player` was spawned without an owner, so nobody predicts it");
    fleet.server().world_mut().spawn_ghost::<Player>(Health { points: 5 });
    fleet.ticks(16);
    let client = fleet.client(0).world_mut();
    assert_eq!(client.query::<&Health>().single(client).unwrap().points, 5);
    assert_eq!(fleet.logs().lines().len(), 1);
}

//! Ghosts: they appear, change and vanish on clients as on the server.

use crate::common::*;
use bevy_math::Vec3;
use ghostline::prelude::*;
use ghostline::snapshot::newest_rows;

#[test]
fn a_ghost_appears_once_on_each_side_and_stays() {
    for ticks in [4, 10, 100] {
        let mut fleet = fleet_in_game(1);
        fleet.ticks(16);
        fleet.server().world_mut().spawn_ghost::<Walker>(Position { value: Vec3::new(1.0, 2.0, 3.0) });
        for more in [ticks, 100] {
            fleet.ticks(more);
            assert_eq!(count::<Walker>(fleet.server().world_mut()), 1);
            assert_eq!(count::<Walker>(fleet.client(0).world_mut()), 1, "after {more} ticks");
            assert_eq!(newest_rows(fleet.server().world()), newest_rows(fleet.client(0).world()));
        }
    }
}

#[test]
fn a_predicted_ghost_is_there_after_four_ticks_and_a_change_after_one() {
    let mut fleet = Fleet::builder().plugin(Game).build();
    let ghost = fleet.server().world_mut().spawn_ghost::<Walker>(Position { value: Vec3::X });
    fleet.connect_all();
    fleet.ticks(4);
    fleet.go_in_game_all();
    for tick in 1..=4 {
        assert_eq!(count::<Walker>(fleet.client(0).world_mut()), 0, "before tick {tick}");
        fleet.tick();
    }
    assert_eq!(count::<Walker>(fleet.client(0).world_mut()), 1);
    fleet.server().world_mut().get_mut::<Position>(ghost).unwrap().value = Vec3::Y;
    fleet.tick();
    let world = fleet.client(0).world_mut();
    assert_eq!(world.query::<&Position>().single(world).unwrap().value, Vec3::Y);
}

//! Rows told against one earlier row or predicted from several: exact in every tick, and what prediction saves. BASE-01, BASE-02.

use crate::common::*;
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use ghostline::prelude::*;
use ghostline::snapshot::newest_rows;
use ghostline::stats::NetworkStats;

/// Ten numbers that grow.
#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq, Debug)]
struct Counters {
    #[ghost]
    a: i32,
    #[ghost]
    b: i32,
    #[ghost]
    c: i32,
    #[ghost]
    d: i32,
    #[ghost]
    e: i32,
    #[ghost]
    f: i32,
    #[ghost]
    g: i32,
    #[ghost]
    h: i32,
    #[ghost]
    i: i32,
    #[ghost]
    j: i32,
}

impl Counters {
    fn add(&mut self, step: i32) {
        let Self { a, b, c, d, e, f, g, h, i, j } = self;
        [a, b, c, d, e, f, g, h, i, j].into_iter().for_each(|counter| *counter += step);
    }
}

#[derive(Component, Default)]
struct Predicted;

#[derive(Component, Default)]
struct Single;

struct Counting;

impl Plugin for Counting {
    fn build(&self, app: &mut App) {
        let prefab =
            |name| GhostPrefab::new(name).component::<Counters>().component::<Position>().component::<Health>();
        app.register_ghost::<Predicted>(prefab("predicted from several"))
            .register_ghost::<Single>(prefab("against one").single_baseline(true));
    }
}

fn row_bits(fleet: &mut Fleet) -> u64 {
    fleet.server().world().resource::<NetworkStats>().row_bits
}

/// A tick in which everything grows by so much, and arrives.
fn grow(fleet: &mut Fleet, step: i32) {
    let world = fleet.server().world_mut();
    for (mut counters, mut position, mut health) in
        world.query::<(&mut Counters, &mut Position, &mut Health)>().iter_mut(world)
    {
        counters.add(step);
        position.value += step as f32;
        health.points += step;
    }
    fleet.tick();
    assert_eq!(newest_rows(fleet.client(0).world()), newest_rows(fleet.server().world()));
}

// BASE-01, G-33
#[test]
fn client_and_server_agree_in_every_tick_whether_rows_have_one_baseline_or_several() {
    let mut fleet = Fleet::builder().plugin(Counting).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    for _ in 0..4 {
        fleet.server().world_mut().spawn_ghost::<Predicted>(Counters::default());
        fleet.server().world_mut().spawn_ghost::<Single>(Counters::default());
    }
    fleet.ticks(10);
    for forced in [false, true, false] {
        fleet.server().world_mut().resource_mut::<GhostSendSystemData>().force_single_baseline = forced;
        (0..64).for_each(|_| grow(&mut fleet, 5));
    }
}

// BASE-02, G-31, G-32
#[test]
fn steady_growth_costs_far_less_when_predicted_from_several_rows() {
    let bits_of = |forced: bool, is_single: bool| {
        let mut fleet = Fleet::builder().plugin(Counting).build();
        fleet.server().world_mut().resource_mut::<GhostSendSystemData>().force_single_baseline = forced;
        fleet.connect_all();
        fleet.go_in_game_all();
        for _ in 0..30 {
            let world = fleet.server().world_mut();
            if is_single {
                world.spawn_ghost::<Single>(Counters::default());
            } else {
                world.spawn_ghost::<Predicted>(Counters::default());
            }
        }
        fleet.ticks(10);
        (0..64).for_each(|_| grow(&mut fleet, 1));
        let before = row_bits(&mut fleet);
        (0..64).for_each(|_| grow(&mut fleet, 1));
        (row_bits(&mut fleet) - before) as f64 / (64.0 * 30.0)
    };
    let [several, forced, single] = [(false, false), (true, false), (false, true)].map(|(f, s)| bits_of(f, s));
    assert!(several * 4.0 < forced && several * 4.0 < single, "{several}, {forced}, {single}");
    assert!(several < 4.0, "{several} bits for 14 lanes that grow steadily");
}

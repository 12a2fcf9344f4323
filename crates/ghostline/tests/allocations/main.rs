//! Memory, counted by the allocator of this test binary. Prediction allocates nothing once it is warm, while 200 ghosts that are wrong in every
//! tick go back and are simulated again; what connections leave behind is in `connections.rs`.

mod connections;

use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_math::Vec3;
use bevy_time::Time;
use ghostline::prelude::*;
use ghostline::schedule::{SIMULATION_PASS, Step, run_steps};
use ghostline::stats::PredictionStats;
use ghostline_testkit::{FRAME, Fleet, LinkProfile};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static COUNTS: Cell<bool> = const { Cell::new(false) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<i64> = const { Cell::new(0) };
}

/// What this thread has allocated and not freed, in bytes. Only differences mean anything.
fn live_bytes() -> i64 {
    LIVE_BYTES.get()
}

struct CountingAllocator;

impl CountingAllocator {
    fn note() {
        if COUNTS.get() {
            ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        }
    }

    fn grow(bytes: usize) {
        LIVE_BYTES.set(LIVE_BYTES.get().wrapping_add(bytes as i64));
    }

    fn shrink(bytes: usize) {
        LIVE_BYTES.set(LIVE_BYTES.get().wrapping_sub(bytes as i64));
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[expect(unsafe_code, reason = "an allocator can't be written without; this one only counts")]
// SAFETY: every call is handed on to the system's allocator as it is; counting touches constant-initialised cells without drops.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::note();
        Self::grow(layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::shrink(layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`; all memory comes from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::note();
        Self::shrink(layout.size());
        Self::grow(size);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`; all memory comes from `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq, Debug)]
struct Position {
    #[ghost(quantization = 1000)]
    value: Vec3,
}

#[derive(Component, Clone, Copy, Default, PartialEq)]
struct Heat(f32);

#[derive(Component, Default)]
struct Walker;

const GHOSTS: usize = 200;

struct Game;

impl Plugin for Game {
    fn build(&self, app: &mut App) {
        app.register_ghost::<Walker>(GhostPrefab::new("walker").component::<Position>().predicted())
            .register_predicted_state::<Heat>()
            .add_systems(PredictedSimulation, walk)
            .add_systems_in(WorldFlags::SERVER, PredictedSimulation, (push, shake).after(walk));
    }
}

fn walk(time: Res<Time>, mut walkers: Query<(&mut Position, Option<&mut Heat>), (With<Walker>, Simulate)>) {
    for (mut position, heat) in &mut walkers {
        position.value.x += time.delta_secs();
        if let Some(mut heat) = heat {
            heat.0 += 0.5;
        }
    }
}

/// What no client can know.
fn push(mut walkers: Query<&mut Position, With<Walker>>) {
    for mut position in &mut walkers {
        position.value.y += 0.01;
    }
}

fn shake(time: Res<NetworkTime>, mut walkers: Query<&mut Position, With<Walker>>) {
    let Some(tick) = time.server_tick else { return };
    for mut position in &mut walkers {
        position.value.z = (tick.index() % 2) as f32;
    }
}

/// A client's frame of one tick, step by step, as `FleetWorld` would run it. Returns the allocations of the prediction step.
fn client_frame(world: &mut World) -> u64 {
    let mut time = world.resource_mut::<NetworkTime>();
    time.server_tick = time.server_tick.map(NetworkTick::next);
    time.interpolation_tick = time.interpolation_tick.map(NetworkTick::next);
    (time.server_tick_fraction, time.interpolation_tick_fraction) = (1.0, 1.0);
    let mut allocations = 0;
    for step in SIMULATION_PASS {
        let is_prediction = matches!(step, Step::Library { name, .. } if name.starts_with("prediction"));
        ALLOCATIONS.set(0);
        COUNTS.set(is_prediction);
        run_steps(world, WorldKind::Client, std::slice::from_ref(step));
        COUNTS.set(false);
        allocations += ALLOCATIONS.get();
    }
    world.clear_trackers();
    allocations
}

#[test]
fn two_hundred_ghosts_are_predicted_again_without_an_allocation() {
    COUNTS.set(true);
    drop(Box::new(1));
    COUNTS.set(false);
    assert!(ALLOCATIONS.get() > 0, "the allocator counts");
    let mut fleet = Fleet::builder().plugin(Game).link(LinkProfile::rtt(60)).build();
    for _ in 0..GHOSTS {
        fleet.server().world_mut().spawn_ghost::<Walker>(Position::default());
    }
    fleet.connect_all();
    fleet.go_in_game_all();
    fleet.ticks(60);
    let world = fleet.client(0).world_mut();
    let walkers: Vec<Entity> = world.query_filtered::<Entity, With<Walker>>().iter(world).collect();
    assert_eq!(walkers.len(), GHOSTS);
    for &walker in walkers.iter().step_by(2) {
        world.entity_mut(walker).insert(Heat::default());
    }
    for frame in 0..300 {
        fleet.tick_server(FRAME);
        let before = fleet.client(0).world().resource::<PredictionStats>().clone();
        let allocations = client_frame(fleet.client(0).world_mut());
        let after = fleet.client(0).world().resource::<PredictionStats>().clone();
        if frame >= 150 {
            assert!(
                after.rollbacks - before.rollbacks > 10 && after.resimulated_ticks > before.resimulated_ticks,
                "{after:?}"
            );
            assert_eq!(allocations, 0, "frame {frame}");
        }
    }
    let stats = fleet.client(0).world().resource::<PredictionStats>();
    assert!(stats.mispredictions > 10_000, "{stats:?}");
}

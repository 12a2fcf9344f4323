//! Memory, counted by the allocator of this test binary. Prediction and commands allocate nothing once they are warm: step by step of a frame, while
//! 500 ghosts are wrong in every tick, go back and are simulated again, and while nothing is wrong at all. What connections leave behind is in
//! `connections.rs`, what worlds leave behind in `worlds.rs`, what clients can make a server keep in `floods.rs`.

mod connections;
mod floods;
mod snapshots;
mod worlds;

use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_math::Vec3;
use bevy_time::Time;
use ghostline::prelude::*;
use ghostline::schedule::{FRAME_END, SIMULATION_PASS, Step, run_steps};
use ghostline::snapshot::GhostSendSystemData;
use ghostline::stats::{NetworkStats, PredictionStats};
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
    #[ghost(quantization = 1000, smoothing = interpolate)]
    value: Vec3,
}

#[derive(Component, Clone, Copy, Default, PartialEq)]
struct Heat(f32);

#[derive(Component, InputComponentData, Clone, Copy, Default, PartialEq, Debug)]
struct Pad {
    #[ghost]
    horizontal: i8,
    jump: InputEvent,
}

#[derive(Component, Default)]
struct Walker;

#[derive(Component, Default)]
struct Player;

const GHOSTS: usize = 500;

/// Ten ticks from the newest snapshot to prediction.
const TEN_TICKS: LinkProfile = LinkProfile::rtt(120);

struct Game {
    is_quiet: bool,
}

impl Plugin for Game {
    fn build(&self, app: &mut App) {
        let player = GhostPrefab::new("player").component::<Position>().predicted().owned();
        app.register_ghost::<Walker>(GhostPrefab::new("walker").component::<Position>().predicted())
            .register_ghost::<Player>(player.input::<Pad>())
            .register_predicted_state::<Heat>()
            .smooth_errors::<Position>(ErrorSmoothing::default())
            .add_systems(PredictedSimulation, (walk, drive))
            .add_systems_in(WorldFlags::CLIENT, GhostInput, press);
        if !self.is_quiet {
            app.add_systems_in(WorldFlags::SERVER, PredictedSimulation, (push, shake).after(walk));
        }
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

fn press(time: Res<NetworkTime>, mut pads: Query<&mut Pad, With<GhostOwnerIsLocal>>) {
    let tick = time.input_target_tick().map_or(0, NetworkTick::index);
    for mut pad in &mut pads {
        pad.horizontal = (tick / 3 % 3) as i8 - 1;
        if tick.is_multiple_of(5) {
            pad.jump.set();
        }
    }
}

fn drive(mut players: Query<(&Pad, &mut Position), Simulate>) {
    for (pad, mut position) in &mut players {
        position.value.z += f32::from(pad.horizontal) * 0.1;
        position.value.y += pad.jump.count() as f32;
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

/// The steps of a frame that must not allocate, by the beginnings of their names.
const PREDICTION: &[&str] = &["prediction", "smoothed components"];
const COMMANDS: &[&str] = &["input components", "command packet", "commands into"];

/// Runs steps one by one, as a frame would. Returns the allocations of those that are watched.
fn run_watched(world: &mut World, kind: WorldKind, steps: &[Step], watched: &[&str]) -> u64 {
    let mut allocations = 0;
    for step in steps {
        let is_watched =
            matches!(step, Step::Library { name, .. } if watched.iter().any(|begin| name.starts_with(begin)));
        ALLOCATIONS.set(0);
        COUNTS.set(is_watched);
        run_steps(world, kind, std::slice::from_ref(step));
        COUNTS.set(false);
        allocations += ALLOCATIONS.get();
    }
    allocations
}

/// A client's frame of one tick, step by step.
fn client_frame(world: &mut World, watched: &[&str]) -> u64 {
    let mut time = world.resource_mut::<NetworkTime>();
    time.server_tick = time.server_tick.map(NetworkTick::next);
    time.interpolation_tick = time.interpolation_tick.map(NetworkTick::next);
    (time.server_tick_fraction, time.interpolation_tick_fraction) = (1.0, 1.0);
    let allocations = run_watched(world, WorldKind::Client, SIMULATION_PASS, watched)
        + run_watched(world, WorldKind::Client, FRAME_END, watched);
    world.clear_trackers();
    allocations
}

fn fleet(is_quiet: bool, ghosts: usize, link: LinkProfile) -> Fleet {
    COUNTS.set(true);
    drop(Box::new(1));
    COUNTS.set(false);
    assert!(ALLOCATIONS.get() > 0, "the allocator counts");
    let mut fleet = Fleet::builder().plugin(Game { is_quiet }).link(link).build();
    let world = fleet.server().world_mut();
    world.insert_resource(GhostSendSystemData {
        default_snapshot_packet_size: 32 * 1024,
        ..GhostSendSystemData::default()
    });
    for _ in 0..ghosts {
        world.spawn_ghost::<Walker>(Position::default());
    }
    fleet.connect_all();
    fleet.go_in_game_all();
    let owner = fleet.client(0).network_id().unwrap();
    fleet.server().world_mut().spawn_ghost::<Player>(GhostOwner(owner));
    fleet.ticks(60);
    let world = fleet.client(0).world_mut();
    let walkers: Vec<Entity> = world.query_filtered::<Entity, With<Walker>>().iter(world).collect();
    assert_eq!(walkers.len(), ghosts);
    for &walker in walkers.iter().step_by(2) {
        world.entity_mut(walker).insert(Heat::default());
    }
    fleet
}

fn stats(fleet: &mut Fleet) -> PredictionStats {
    fleet.client(0).world().resource::<PredictionStats>().clone()
}

#[test]
fn five_hundred_ghosts_are_predicted_again_over_ten_ticks_without_an_allocation() {
    let mut fleet = fleet(false, GHOSTS, TEN_TICKS);
    for frame in 0..200 {
        fleet.tick_server(FRAME);
        let before = stats(&mut fleet);
        let allocations = client_frame(fleet.client(0).world_mut(), PREDICTION);
        let after = stats(&mut fleet);
        if frame >= 100 {
            assert_eq!(after.rollbacks - before.rollbacks, GHOSTS as u64, "{after:?}");
            assert!(after.resimulated_ticks - before.resimulated_ticks >= 9, "{after:?}");
            assert_eq!(allocations, 0, "frame {frame}");
        }
    }
}

#[test]
fn a_quiet_world_is_predicted_without_an_allocation() {
    let mut fleet = fleet(true, GHOSTS, TEN_TICKS);
    for frame in 0..200 {
        fleet.tick_server(FRAME);
        let before = stats(&mut fleet).rollbacks;
        let allocations = client_frame(fleet.client(0).world_mut(), PREDICTION);
        if frame >= 100 {
            assert_eq!(stats(&mut fleet).rollbacks, before);
            assert_eq!(allocations, 0, "frame {frame}");
        }
    }
}

#[test]
fn commands_are_sampled_sent_and_received_without_an_allocation() {
    let mut fleet = fleet(true, 1, LinkProfile::perfect());
    for frame in 0..200 {
        fleet.tick_server(FRAME);
        let on_client = client_frame(fleet.client(0).world_mut(), COMMANDS);
        if frame >= 100 {
            assert_eq!(on_client, 0, "frame {frame}, on the client");
        }
    }
    let world = fleet.server().world_mut();
    let received = world.resource::<NetworkStats>().received_command_packets;
    for frame in 0..50 {
        fleet.tick_client(0, FRAME);
        let world = fleet.server().world_mut();
        let mut time = world.resource_mut::<NetworkTime>();
        time.server_tick = time.server_tick.map(NetworkTick::next);
        let on_server = run_watched(world, WorldKind::Server, SIMULATION_PASS, COMMANDS);
        world.clear_trackers();
        if frame >= 20 {
            assert_eq!(on_server, 0, "frame {frame}, on the server");
        }
    }
    assert!(fleet.server().world().resource::<NetworkStats>().received_command_packets > received + 20);
}

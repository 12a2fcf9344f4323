//! The second embedding: an ordinary Bevy app whose main world is the presenting client.

use std::time::Duration;

use bevy_app::{App, AppExit, PreUpdate, Update};
use bevy_ecs::prelude::*;
use bevy_math::Vec3;
use bevy_time::{Real, Time, TimeUpdateStrategy};
use ghostline::prelude::*;
use ghostline::world::{EmbeddedWorlds, InProcessDrivers};

use crate::common::{Game, Position, Walker, count};

fn app() -> App {
    let mut app = App::new();
    app.insert_resource(TimeUpdateStrategy::ManualDuration(Duration::from_nanos(16_666_667)));
    app.add_plugins(|app: &mut App| {
        let bootstrap = ClientServerBootstrap::new(whole_game).drivers(InProcessDrivers::default());
        app.add_plugins(bootstrap.auto_connect(7979).embedded());
    });
    app.finish();
    app.cleanup();
    app
}

fn whole_game(app: &mut App) {
    app.add_plugins(Game).go_in_game_when_connected().add_systems_in(WorldFlags::SERVER, Simulation, spawn_once);
}

fn spawn_once(mut commands: Commands, mut done: Local<bool>) {
    if !std::mem::replace(&mut *done, true) {
        commands.spawn_ghost::<Walker>(Position { value: Vec3::X });
    }
}

#[test]
fn the_main_world_of_an_app_is_a_client_that_sees_the_ghosts_of_the_server_beside_it() {
    let mut app = app();
    for _ in 0..60 {
        app.update();
    }
    assert!(is_client(app.world()));
    assert_eq!(count::<Walker>(app.world_mut()), 1);
    let mut beside = app.world_mut().resource_mut::<EmbeddedWorlds>();
    assert_eq!(beside.worlds().iter().map(|world| world.kind()).collect::<Vec<_>>(), [WorldKind::Server]);
}

#[derive(Resource, Default)]
struct Frames(u32, Duration);

#[test]
fn the_apps_own_schedules_run_with_their_own_time() {
    let mut app = app();
    app.init_resource::<Frames>().add_systems(Update, |mut frames: ResMut<Frames>, time: Res<Time>| {
        frames.0 += 1;
        frames.1 += time.delta();
    });
    for _ in 0..120 {
        app.update();
    }
    let frames = app.world().resource::<Frames>();
    assert_eq!(frames.0, 120);
    assert_eq!(frames.1, app.world().resource::<Time<Real>>().elapsed());
}

#[test]
fn an_exit_written_in_a_world_beside_ends_the_app() {
    let mut app = app();
    app.update();
    let mut beside = app.world_mut().resource_mut::<EmbeddedWorlds>();
    let server = beside.worlds().iter_mut().next().expect("there is a server");
    server.world_mut().write_message(AppExit::error());
    app.update();
    assert!(app.should_exit().is_some_and(|exit| exit.is_error()));
}

/// How often the app has read its devices, and what the client's input saw of that last.
#[derive(Resource, Default)]
struct Devices {
    read: u32,
    sampled: u32,
}

#[test]
fn what_the_app_reads_from_its_devices_is_sampled_in_the_same_frame() {
    let mut app = app();
    app.init_resource::<Devices>()
        .add_systems(PreUpdate, |mut devices: ResMut<Devices>| devices.read += 1)
        .add_systems(GhostInput, |mut devices: ResMut<Devices>| devices.sampled = devices.read);
    for frame in 1..=20 {
        app.update();
        let devices = app.world().resource::<Devices>();
        assert_eq!(devices.read, frame);
        // (Frames in which the clocks stand still sample nothing.)
        assert!(frame < 10 || devices.sampled == frame, "frame {frame} sampled what was read in {}", devices.sampled);
    }
}

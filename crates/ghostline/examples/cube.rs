//! A predicted cube: a server and a client in one process, until Ctrl-C.

use bevy_app::prelude::*;
use bevy_ecs::prelude::*;
use bevy_math::Vec3;
use bevy_time::Time;
use ghostline::prelude::*;

/// Marks the cube of a player.
#[derive(Component, Default)]
pub struct Player;

/// What the server sends: in millimetres, and blended between two snapshots where it isn't predicted.
#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq)]
pub struct Position {
    /// In metres.
    #[ghost(quantization = 1000, smoothing = interpolate)]
    pub value: Vec3,
}

/// What a player wants in a tick.
#[derive(Component, InputComponentData, Clone, Copy, Default, PartialEq)]
pub struct PlayerInput {
    horizontal: i8,
    vertical: i8,
    jump: InputEvent,
}

/// Built once in each world: in the server's and in the client's.
pub struct Game;

impl Plugin for Game {
    fn build(&self, app: &mut App) {
        let player = GhostPrefab::new("player").component::<Position>().owner_predicted();
        app.register_ghost::<Player>(player.input::<PlayerInput>())
            .go_in_game_when_connected()
            .add_systems_in(WorldFlags::SERVER, Simulation, spawn_players)
            .add_systems_in(WorldFlags::CLIENT, GhostInput, sample_keyboard)
            .add_systems(PredictedSimulation, drive)
            .add_systems(Presentation, draw);
    }
}

/// Server: whoever enters the game gets a cube, and owns it.
fn spawn_players(mut commands: Commands, newcomers: Query<&NetworkId, Added<NetworkStreamInGame>>) {
    for &id in &newcomers {
        commands.spawn_ghost::<Player>((GhostOwner(id), Position::default()));
    }
}

/// Client: fills the input of its own cube, once per frame. A real game reads its devices here.
fn sample_keyboard(mut own: Query<&mut PlayerInput, With<GhostOwnerIsLocal>>, mut frame: Local<u32>) {
    for mut input in &mut own {
        *frame += 1;
        input.horizontal = if *frame % 240 < 120 { 1 } else { -1 };
        if frame.is_multiple_of(60) {
            input.jump.set();
        }
    }
}

/// Both sides: one tick. The client runs it ahead of time for its own cube, the server for all cubes.
fn drive(time: Res<Time>, mut cubes: Query<(&PlayerInput, &mut Position), Simulate>) {
    for (input, mut position) in &mut cubes {
        let step = Vec3::new(input.horizontal.into(), -2.0, input.vertical.into()) * time.delta_secs();
        let jump = if input.jump.is_set() { Vec3::Y } else { Vec3::ZERO };
        position.value = (position.value + step + jump).max(Vec3::new(-10.0, 0.0, -10.0));
    }
}

/// Client: a real game moves a mesh here.
fn draw(cubes: Query<(&GhostOwner, &Position), Changed<Position>>) {
    for (owner, position) in &cubes {
        eprintln!("the cube of player {} is at {:.2}", owner.0, position.value);
    }
}

fn main() -> AppExit {
    ClientServerBootstrap::new(Game).auto_connect(7979).run()
}

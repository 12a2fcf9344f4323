//! The game that the behaviour tests play: ghosts that move, players that press.

use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_math::Vec3;
use ghostline::prelude::*;
pub use ghostline_testkit::Fleet;

#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq, Debug)]
pub struct Position {
    #[ghost(quantization = 1000, smoothing = interpolate)]
    pub value: Vec3,
}

#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq, Debug)]
pub struct Health {
    #[ghost]
    pub points: i32,
}

#[derive(Component, InputComponentData, Clone, Copy, Default, PartialEq, Debug)]
pub struct PlayerInput {
    pub horizontal: i8,
    pub jump: InputEvent,
}

#[derive(Component, Default)]
pub struct Crate;

#[derive(Component, Default)]
pub struct Walker;

#[derive(Component, Default)]
pub struct Player;

/// What every test of this binary registers; a test adds its own systems beside it.
pub struct Game;

impl Plugin for Game {
    fn build(&self, app: &mut App) {
        app.register_ghost::<Crate>(GhostPrefab::new("crate").component::<Position>().component::<Health>())
            .register_ghost::<Walker>(GhostPrefab::new("walker").component::<Position>().predicted())
            .register_ghost::<Player>(
                GhostPrefab::new("player").component::<Position>().component::<Health>().owner_predicted().input::<PlayerInput>(),
            );
    }
}

/// A fleet with the game, connected and in game.
pub fn fleet_in_game(clients: usize) -> Fleet {
    let mut fleet = Fleet::builder().plugin(Game).clients(clients).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    fleet
}

/// How many entities of a client or server have `T`.
pub fn count<T: Component>(world: &mut World) -> usize {
    world.query::<&T>().iter(world).count()
}

//! The game that the behaviour tests play: ghosts that move, players that press.

use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_math::Vec3;
use ghostline::prelude::*;
pub(crate) use ghostline_testkit::{Fleet, FleetBuilder};
use ghostline_testkit::{Transport, WorldOrder};

/// Host shape (in process) and remote shape (QUIC on a simulated network), in both orders.
pub(crate) const SHAPES: [Shape; 4] = [
    Shape { transport: Transport::InProcess, order: WorldOrder::ServerFirst },
    Shape { transport: Transport::InProcess, order: WorldOrder::ClientFirst },
    Shape { transport: Transport::Quic, order: WorldOrder::ServerFirst },
    Shape { transport: Transport::Quic, order: WorldOrder::ClientFirst },
];

/// Over what the worlds of a test talk, and who is ticked first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shape {
    pub(crate) transport: Transport,
    pub(crate) order: WorldOrder,
}

impl Shape {
    /// A fleet of this shape.
    pub(crate) fn fleet(self) -> FleetBuilder {
        Fleet::builder().transport(self.transport).order(self.order)
    }
}

#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq, Debug)]
pub(crate) struct Position {
    #[ghost(quantization = 1000, smoothing = interpolate)]
    pub(crate) value: Vec3,
}

#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq, Debug)]
pub(crate) struct Health {
    #[ghost]
    pub(crate) points: i32,
}

#[derive(Component, InputComponentData, Clone, Copy, Default, PartialEq, Debug)]
pub(crate) struct PlayerInput {
    pub(crate) horizontal: i8,
    pub(crate) jump: InputEvent,
}

#[derive(Component, Default)]
pub(crate) struct Crate;

#[derive(Component, Default)]
pub(crate) struct Walker;

#[derive(Component, Default)]
pub(crate) struct Player;

/// What every test of this binary registers; a test adds its own systems beside it.
pub(crate) struct Game;

impl Plugin for Game {
    fn build(&self, app: &mut App) {
        app.register_ghost::<Crate>(GhostPrefab::new("crate").component::<Position>().component::<Health>())
            .register_ghost::<Walker>(GhostPrefab::new("walker").component::<Position>().predicted())
            .register_ghost::<Player>(
                GhostPrefab::new("player")
                    .component::<Position>()
                    .component::<Health>()
                    .owner_predicted()
                    .input::<PlayerInput>(),
            );
    }
}

/// A fleet with the game, connected and in game.
pub(crate) fn fleet_in_game(clients: usize) -> Fleet {
    let mut fleet = Fleet::builder().plugin(Game).clients(clients).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    fleet
}

/// How many entities of a client or server have `T`.
pub(crate) fn count<T: Component>(world: &mut World) -> usize {
    world.query::<&T>().iter(world).count()
}

/// Rates with which a server makes up to eight steps in a frame before it merges ticks: for frames of any length.
pub(crate) fn unmerged() -> ClientServerTickRate {
    ClientServerTickRate { max_simulation_steps_per_frame: 8, ..ClientServerTickRate::default() }
}

//! The game as both sides know it: what ghosts are made of, and the plugin that is built once in each world.
//! The rules are beside it: `movement` on both sides, `rules` on the server, `bots` on the players' side.

use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_math::{Vec2, Vec3};
use ghostline::prelude::*;

use crate::random::Chance;
use crate::{bots, movement, rules};

/// Half the width and half the depth of the arena, in metres; `y` is up and has no bound.
pub const HALF_EXTENT: Vec2 = Vec2::new(24.0, 12.0);

/// Where a ghost is, in metres; clients hold it to a millimetre.
#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq, Debug)]
pub struct Position {
    #[ghost(quantization = 1000, smoothing = interpolate, max_smoothing_distance = 4.0)]
    pub value: Vec3,
}

/// What a player's next step depends on, besides its position.
#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq, Debug)]
pub struct Motion {
    /// Upwards, in metres per second.
    #[ghost(quantization = 1000)]
    pub rise: f32,
    /// Where the player looks: the direction that it moved in last.
    #[ghost(quantization = 1000)]
    pub facing: Vec2,
}

/// What a player has hit so far.
#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Score {
    #[ghost]
    pub hits: u32,
}

/// What a player wants in a tick.
#[derive(Component, InputComponentData, Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct PlayerInput {
    /// −1, 0 or 1.
    pub right: i8,
    /// −1, 0 or 1.
    pub forward: i8,
    pub jump: InputEvent,
    pub fire: InputEvent,
}

/// A player: predicted by whoever owns it, interpolated by everybody else.
#[derive(Component, Default)]
pub struct Player;

/// A ghost that wanders about by itself; clients interpolate it.
#[derive(Component, Default)]
pub struct Wanderer;

/// What a player has fired: it flies straight on, hits the first wanderer in its way, and vanishes.
#[derive(Component, Default)]
pub struct Bolt;

/// Set in every world for the still moment at the end of a run: nothing moves any more, so that what clients hold can be compared
/// with the server's truth.
#[derive(Resource, Default, Clone, Copy, PartialEq, Eq, Debug)]
pub struct Still(pub bool);

/// The game. One value is shared by all worlds of a run.
#[derive(Clone, Copy, Debug)]
pub struct Arena {
    /// Of everything that chance decides.
    pub seed: u64,
    /// How many ghosts wander about.
    pub wanderers: u32,
}

impl Plugin for Arena {
    fn build(&self, app: &mut App) {
        app.init_resource::<Still>()
            .insert_resource(Chance::new(self.seed, 0))
            .register_ghost::<Player>(
                GhostPrefab::new("player")
                    .component::<Position>()
                    .component::<Motion>()
                    // What only the server can know is shown as it says, not predicted.
                    .unpredicted_component::<Score>()
                    .owner_predicted()
                    .input::<PlayerInput>()
                    .importance(10),
            )
            .register_ghost::<Wanderer>(GhostPrefab::new("wanderer").component::<Position>())
            // A bolt knows whose it is, but takes nobody's commands.
            .register_ghost::<Bolt>(
                GhostPrefab::new("bolt").component::<Position>().owned().auto_command_target(false).importance(5),
            )
            .go_in_game_when_connected()
            .add_systems(PredictedSimulation, movement::move_players)
            .add_plugins((rules::ServerRules { wanderers: self.wanderers }, bots::Players { seed: self.seed }));
    }
}

//! What a game can choose about rollbacks. Set by the game in client worlds, read by `rollback`.

use bevy_ecs::prelude::Resource;

/// When and what is rolled back. A resource of client worlds; may be changed at any time.
#[derive(Resource, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PredictionSettings {
    /// When a ghost is put back to a state of the server.
    pub rollback: RollbackMode,
    /// What goes back with it.
    pub scope: RollbackScope,
}

/// When a ghost is put back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum RollbackMode {
    /// Only if the server's state of a tick differs from what was predicted for that tick. The default.
    #[default]
    OnDisagreement,
    /// Whenever the server's state of a newer tick has arrived, as the reference does. What was right goes back to its own exact
    /// value of that tick. Costs the simulation of a round trip in every frame; for rules that don't repeat exactly.
    Always,
}

/// What goes back together with a ghost.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum RollbackScope {
    /// The ghost alone; the others are [`Frozen`](super::Frozen) in ticks that they have simulated already. The default.
    #[default]
    Ghost,
    /// Every predicted ghost, to the state of the same tick. For ghosts that push each other.
    AllPredicted,
}

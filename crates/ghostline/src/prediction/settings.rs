//! What a game can choose about rollbacks. Set by the game in client worlds, read by `rollback`.

use bevy_ecs::prelude::{Component, Resource};

/// When and what is rolled back. A resource of client worlds; may be changed at any time.
#[derive(Resource, Clone, Copy, PartialEq, Eq, Debug)]
pub struct PredictionSettings {
    /// When a ghost is put back to a state of the server.
    pub rollback: RollbackMode,
    /// What goes back with it.
    pub scope: RollbackScope,
    /// So far may the server's value of a rounded float lie from the predicted one, as it was before rounding, for both to agree: in steps of
    /// the field's quantisation. Default 1: what rounding does to a value that both sides move alike. With 0 both must round to the same, and two
    /// almost equal values on different sides of a rounding border roll back with nothing mispredicted. All other fields agree if
    /// they are equal.
    pub tolerance_quanta: u32,
}

impl Default for PredictionSettings {
    fn default() -> Self {
        Self { rollback: RollbackMode::default(), scope: RollbackScope::default(), tolerance_quanta: 1 }
    }
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
    /// Every predicted ghost with the same [`RollbackGroup`], to the state of the same tick; a ghost without one goes alone.
    Group,
    /// Every predicted ghost, to the state of the same tick. For ghosts that push each other.
    AllPredicted,
}

/// Which ghosts touch each other, as only the game can know: under [`RollbackScope::Group`] those with an equal number go back together. Set, changed
/// and removed by the game on ghosts of a client world; anywhere else it means nothing.
#[derive(Component, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct RollbackGroup(pub u32);

//! What marks a ghost as predicted, and what keeps it out of ticks that it does not simulate.

use bevy_ecs::prelude::{Component, Without};
use ghostline_wire::NetworkTick;

/// On predicted ghosts of clients, and on every ghost of a server.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PredictedGhost {
    /// Client: the snapshot tick that this ghost was last restored from. `None` on a server.
    pub applied_tick: Option<NetworkTick>,
    /// Client: the tick whose state it has at the start of this frame's prediction. `None` on a server.
    pub prediction_start_tick: Option<NetworkTick>,
}

impl PredictedGhost {
    /// Whether this ghost simulates `tick`: always on a server; on a client if it has no state of that tick or later already.
    pub fn should_predict(&self, tick: NetworkTick) -> bool {
        self.prediction_start_tick.is_none_or(|start| tick.is_newer_than(start))
    }
}

/// This entity does not simulate now. On clients interpolated ghosts always have it, predicted ones while ticks are simulated that they have state
/// of already. Nobody has it on a server or in a local world.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[component(storage = "SparseSet")]
pub struct Frozen;

/// The filter that every query of a predicted system needs: only what simulates now.
///
/// ```
/// # use ghostline::prelude::*;
/// # use bevy_ecs::prelude::*;
/// # #[derive(Component)] struct Position(f32);
/// fn fall(mut bodies: Query<&mut Position, Simulate>) {
///     for mut position in &mut bodies {
///         position.0 -= 0.1;
///     }
/// }
/// ```
pub type Simulate = Without<Frozen>;

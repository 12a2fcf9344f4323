//! What marks a ghost as predicted, what keeps it out of ticks that it does not simulate, and the condition for what happens once.

use bevy_ecs::prelude::{Component, Res, Without};
use ghostline_wire::NetworkTick;

#[cfg(feature = "client")]
use super::tracks::note_arrival;
use crate::time::NetworkTime;

/// On predicted ghosts of clients, and on every ghost of a server.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "client", component(on_add = note_arrival))]
pub struct PredictedGhost {
    /// Client: the newest tick of which this ghost's prediction was compared with the server. `None` on a server.
    pub applied_tick: Option<NetworkTick>,
    /// Client: the tick whose state it had at the start of this frame's prediction. `None` on a server.
    pub prediction_start_tick: Option<NetworkTick>,
}

impl PredictedGhost {
    /// Whether this ghost simulates `tick`: always on a server; on a client if it has no state of that tick or later already.
    pub fn should_predict(&self, tick: NetworkTick) -> bool {
        self.prediction_start_tick.is_none_or(|start| tick.is_newer_than(start))
    }
}

/// This entity does not simulate now. On clients interpolated ghosts always have it, predicted ones while ticks are simulated that they
/// have state of already. Nobody has it on a server or in a local world.
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

/// Run condition for effects that must happen once per tick, however often the tick is simulated: sounds, sparks, spawns. True on a
/// client in full ticks that it predicts for the first time, and on a server always.
///
/// ```
/// # use ghostline::prelude::*;
/// # use bevy_app::App;
/// # use bevy_ecs::prelude::*;
/// # fn play_shot_sounds() {}
/// # let mut app = App::new();
/// app.add_systems(PredictedSimulation, play_shot_sounds.run_if(first_time_predicted));
/// ```
pub fn first_time_predicted(time: Res<NetworkTime>) -> bool {
    time.is_first_time_fully_predicting_tick()
}

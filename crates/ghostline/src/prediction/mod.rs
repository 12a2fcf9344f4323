//! Prediction: the game's rules run ahead of the server on clients, once per tick on the server, and offline in local worlds.
//! On a client `rollback` compares what arrived with what was predicted (`compare`, `history`) and decides where each ghost starts;
//! `run_loop` simulates from there to the present, `step` by step. A build without clients has `step` alone.

mod components;
mod settings;
mod smoothing;
mod state;
mod step;

#[cfg(feature = "client")]
mod compare;
#[cfg(feature = "client")]
mod freeze;
#[cfg(feature = "client")]
mod history;
#[cfg(feature = "client")]
mod memory;
#[cfg(feature = "client")]
mod news;
#[cfg(feature = "client")]
mod rollback;
#[cfg(feature = "client")]
mod run_loop;
#[cfg(feature = "client")]
mod scope;
#[cfg(feature = "client")]
mod smoother;
#[cfg(feature = "client")]
mod switching;
#[cfg(feature = "client")]
mod tracks;

use bevy_ecs::prelude::World;

use crate::world::{WorldKind, kind_of};

pub use components::{Frozen, PredictedGhost, Simulate, first_time_predicted};
pub use settings::{PredictionSettings, RollbackGroup, RollbackMode, RollbackScope};
pub use smoothing::{ErrorSmoothing, Smoothed, SmoothingAction, SmoothingAppExt, SmoothingContext};
pub use state::PredictionAppExt;

#[cfg(feature = "client")]
pub use history::PREDICTION_HISTORY_TICKS;
#[cfg(feature = "client")]
pub(crate) use history::{StateColumn, ghost_column};
#[cfg(feature = "client")]
pub(crate) use memory::prepare;
#[cfg(feature = "client")]
use memory::{PredictedType, Prediction};
#[cfg(feature = "client")]
pub use smoother::show_smoothed;
#[cfg(feature = "client")]
pub(crate) use switching::follow_owners;

/// The prediction step of a pass.
pub fn run(world: &mut World) {
    match kind_of(world) {
        #[cfg(feature = "client")]
        WorldKind::Client => run_loop::run(world),
        WorldKind::Server | WorldKind::Local => step::run_authoritative(world),
        _ => {}
    }
}

//! Prediction: the game's rules run ahead of the server on clients, once per tick on the server, and offline in local worlds.
//! Clients start from the newest state that the server sent, and simulate the ticks since again.

mod client;
mod components;
mod step;

use bevy_ecs::prelude::World;

use crate::world::{WorldKind, kind_of};

pub(crate) use client::{PredictionState, restore};
pub use components::{Frozen, PredictedGhost, Simulate};

/// The prediction step of a pass.
pub fn run(world: &mut World) {
    match kind_of(world) {
        WorldKind::Client => client::run(world),
        WorldKind::Server | WorldKind::Local => step::run_authoritative(world),
        WorldKind::ThinClient => {}
    }
}

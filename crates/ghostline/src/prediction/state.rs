//! Registering state that is predicted but not sent: kept in the history of predicted ghosts, and restored with them.

use bevy_app::App;
use bevy_ecs::component::Mutable;
use bevy_ecs::prelude::Component;
use std::any::TypeId;

use super::Prediction;
use super::history::{PredictedStates, state_column};

/// Registering predicted state.
pub trait PredictionAppExt {
    /// Makes `C` part of what prediction keeps and restores, on every predicted ghost that has it: cooldowns, charge, whatever a predicted
    /// system reads and writes and the server doesn't send. It is cloned after every full tick. Whether a ghost has it is restored too.
    ///
    /// Components of ghost types need no registration. Call it while plugins are built; later it logs an error.
    fn register_predicted_state<C: Component<Mutability = Mutable> + Clone + PartialEq>(&mut self) -> &mut Self;
}

impl PredictionAppExt for App {
    fn register_predicted_state<C: Component<Mutability = Mutable> + Clone + PartialEq>(&mut self) -> &mut Self {
        let world = self.world_mut();
        if world.contains_resource::<Prediction>() {
            let name = std::any::type_name::<C>();
            tracing::error!(
                "predicted state `{name}` was registered after the world's plugins were finished; register it while they are built"
            );
            return self;
        }
        let mut states = world.get_resource_or_init::<PredictedStates>();
        let id = TypeId::of::<C>();
        if !states.columns.iter().any(|(known, _)| *known == id) {
            states.columns.push((id, state_column::<C>));
        }
        self
    }
}

//! Registering state that is predicted but not sent: kept in the history of predicted ghosts, and restored with them.

use bevy_app::App;
use bevy_ecs::component::Mutable;
use bevy_ecs::prelude::Component;

/// Registering predicted state.
pub trait PredictionAppExt {
    /// Makes `C` part of what prediction keeps and restores, on every predicted ghost that has it: cooldowns, charge, whatever a predicted
    /// system reads and writes and the server doesn't send. It is cloned after every full tick. Whether a ghost has it is restored too.
    ///
    /// Components of ghost types need no registration. Call it while plugins are built; later it logs an error. A build without clients predicts
    /// nothing and ignores it.
    fn register_predicted_state<C: Component<Mutability = Mutable> + Clone + PartialEq>(&mut self) -> &mut Self;
}

impl PredictionAppExt for App {
    fn register_predicted_state<C: Component<Mutability = Mutable> + Clone + PartialEq>(&mut self) -> &mut Self {
        #[cfg(feature = "client")]
        super::history::keep_state::<C>(self.world_mut());
        self
    }
}

//! The part of a player's input that the others need to predict his ghost: what the server simulated each tick with, as a hidden component that is
//! replicated like any other, and on clients put into the ghost's command buffer (`others`). Fields take part that are marked with `#[ghost]`.
//!
//! Its events count all presses of the ghost so far, whoever made them, so that none is seen twice or lost with a row.

use bevy_ecs::change_detection::{DetectChangesMut, Mut};
use bevy_ecs::component::{Component, StorageType};
use ghostline_wire::{ComponentSchema, QuantiseStats};

use super::data::InputComponentData;
use crate::ghost::GhostComponent;

/// The input that a ghost was simulated with last, its events summed up.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ReplicatedInput<I>(I);

impl<I: InputComponentData> Component for ReplicatedInput<I> {
    const STORAGE_TYPE: StorageType = StorageType::Table;
    type Mutability = bevy_ecs::component::Mutable;
}

impl<I: InputComponentData> Default for ReplicatedInput<I> {
    fn default() -> Self {
        Self(I::default())
    }
}

impl<I: InputComponentData> GhostComponent for ReplicatedInput<I> {
    const LANES: usize = I::GHOST_LANES;

    fn schema() -> ComponentSchema {
        let mut schema =
            I::ghost_schema().unwrap_or_else(|| ComponentSchema { name: String::new(), fields: Vec::new() });
        schema.name.push_str(".replicated");
        schema
    }

    fn write_lanes(&self, lanes: &mut [u32], stats: &mut QuantiseStats) {
        self.0.write_ghost_lanes(lanes, stats);
    }

    fn read_lanes(&mut self, lanes: &[u32]) {
        self.0.read_ghost_lanes(lanes);
    }

    fn blend(&mut self, from: &[u32], to: &[u32], factor: f32) {
        self.read_lanes(if factor < 1.0 { from } else { to });
    }
}

/// Server: a tick is simulated with `input`. Takes it over, and adds its events to those there were.
pub(super) fn grow<I: InputComponentData>(replicated: &mut Mut<'_, ReplicatedInput<I>>, input: &I) {
    let mut grown = input.clone();
    grown.add_events(&replicated.0);
    replicated.set_if_neq(ReplicatedInput(grown));
}

//! Bringing rows into one component of all ghosts of a client: a whole table column at a time, one call per column. The way up of `columns`.

use bevy_ecs::prelude::{Mut, QueryState, World};

use super::component::GhostComponent;
use super::identity::GhostInstance;
use crate::snapshot::ShownRows;

/// Writes one component type. One per type and client world.
pub(crate) trait ColumnWriter: Send + Sync {
    /// Shows what is new. `lane_of_type` is the component's first lane by ghost type, if the type has it.
    fn write(&mut self, world: &mut World, lane_of_type: &[Option<usize>], shown: &ShownRows);
}

pub(crate) struct Writer<C: GhostComponent> {
    query: QueryState<(&'static GhostInstance, Mut<'static, C>)>,
}

impl<C: GhostComponent> Writer<C> {
    pub(crate) fn new(world: &mut World) -> Self {
        Self { query: world.query() }
    }
}

impl<C: GhostComponent + PartialEq> ColumnWriter for Writer<C> {
    fn write(&mut self, world: &mut World, lane_of_type: &[Option<usize>], shown: &ShownRows) {
        for (instance, mut component) in self.query.iter_mut(world) {
            let Some(first_lane) = lane_of_type.get(usize::from(instance.ghost_type)).copied().flatten() else {
                continue;
            };
            let Some(blend) = shown.get(instance, first_lane, C::LANES) else { continue };
            let mut edited = component.clone();
            edited.blend(blend.from, blend.to, blend.factor);
            // Change detection sees real changes only.
            if edited != *component {
                *component = edited;
            }
        }
    }
}

//! Collecting one component of all ghosts: a whole table column at a time, one call per column, into the rows of the
//! snapshot store. What did not change since the last collection is skipped by its change tick.

use bevy_ecs::change_detection::{DetectChanges, Tick};
use bevy_ecs::prelude::{QueryState, Ref, World};

use super::component::GhostComponent;
use super::identity::GhostInstance;
use crate::snapshot::RowSink;

/// Collects one component type. One per type and server world.
pub(crate) trait ColumnCollector: Send + Sync {
    /// Writes the lanes of every ghost whose component changed after `last_run` into `rows`. `lane_of_type` is the component's first lane by
    /// ghost type, if the type has it.
    fn collect(
        &mut self,
        world: &World,
        lane_of_type: &[Option<usize>],
        last_run: Tick,
        this_run: Tick,
        rows: &mut RowSink<'_>,
    );
}

pub(crate) struct Column<C: GhostComponent> {
    query: QueryState<(&'static GhostInstance, Ref<'static, C>)>,
    lanes: Vec<u32>,
}

impl<C: GhostComponent> Column<C> {
    pub(crate) fn new(world: &mut World) -> Self {
        Self { query: world.query(), lanes: vec![0; C::LANES] }
    }
}

impl<C: GhostComponent> ColumnCollector for Column<C> {
    fn collect(
        &mut self,
        world: &World,
        lane_of_type: &[Option<usize>],
        last_run: Tick,
        this_run: Tick,
        rows: &mut RowSink<'_>,
    ) {
        self.query.update_archetypes(world);
        let lanes = &mut self.lanes;
        let mut write = |instance: &GhostInstance, component: &C, changed: bool| {
            let Some(slot) = instance.slot() else { return };
            let Some(first_lane) = lane_of_type.get(usize::from(instance.ghost_type)).copied().flatten() else {
                return;
            };
            if changed || rows.is_fresh(slot) {
                component.write_lanes(lanes, &mut rows.quantise);
                rows.write(slot, first_lane, lanes);
            }
        };
        match self.query.contiguous_iter(world) {
            Ok(tables) => {
                for (instances, components) in tables {
                    let changed = components.changed_ticks_slice();
                    let values = components.into_inner();
                    for ((instance, component), tick) in instances.iter().zip(values).zip(changed) {
                        write(instance, component, tick.is_newer_than(last_run, this_run));
                    }
                }
            }
            // Sparse-set components lie in no table: the slow way.
            Err(_) => {
                for (instance, component) in self.query.iter_manual(world) {
                    let changed = component.last_changed().is_newer_than(last_run, this_run);
                    write(instance, &component, changed);
                }
            }
        }
    }
}

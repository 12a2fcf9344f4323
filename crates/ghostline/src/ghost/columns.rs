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

/// Rows whose change ticks are looked at together.
const STRETCH: usize = 64;

/// The time since the last collection, in change ticks.
#[derive(Clone, Copy)]
struct Since {
    this_run: u32,
    /// Change ticks since then.
    window: u32,
    /// An age with any of these bits is beyond the window.
    far: u32,
}

impl Since {
    fn new(last_run: Tick, this_run: Tick) -> Self {
        let window = this_run.get().wrapping_sub(last_run.get());
        let far = window.checked_next_power_of_two().map_or(0, |power| !(power - 1));
        Self { this_run: this_run.get(), window, far }
    }

    fn age(self, tick: Tick) -> u32 {
        self.this_run.wrapping_sub(tick.get())
    }

    /// As [`Tick::is_newer_than`]. Both agree because no tick here is older than Bevy's bound on ages: it keeps ticks within it.
    fn contains(self, tick: Tick) -> bool {
        self.age(tick) < self.window
    }

    /// Whether any of them may lie in it; no is certain. In a form that works for many at once, on any machine.
    fn may_contain_any(self, ticks: &[Tick]) -> bool {
        ticks.iter().fold(false, |any, tick| any | (self.age(*tick) & self.far == 0))
    }
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
        let any_fresh = rows.any_fresh();
        let since = Since::new(last_run, this_run);
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
                    let ticks = components.changed_ticks_slice();
                    let values = components.into_inner();
                    // A stretch at a time: where nothing changed, only the ticks are looked at, many at once.
                    for ((instances, values), ticks) in
                        instances.chunks(STRETCH).zip(values.chunks(STRETCH)).zip(ticks.chunks(STRETCH))
                    {
                        if !any_fresh && !since.may_contain_any(ticks) {
                            continue;
                        }
                        for ((instance, component), tick) in instances.iter().zip(values).zip(ticks) {
                            let changed = since.contains(*tick);
                            if changed || any_fresh {
                                write(instance, component, changed);
                            }
                        }
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

//! Client: from the ghosts' history into components. The first place on the way up that touches ECS storage.

use bevy_ecs::prelude::{Entity, Mut, Resource, World};
use ghostline_wire::NetworkTick;

use super::client::{ClientChunk, ClientSnapshots, DyingGhost, Shown};
use super::history::GhostRows;
use super::shown::ShownRows;
use crate::ghost::{ColumnWriter, GhostRegistry, GhostType, columns_of};
use crate::interpolation::{Sample, SampleTime, sample};
use crate::prediction;
use crate::time::{ClientTickRate, NetworkTime};

/// If fewer ghosts than one in this many show something new, each is looked up by itself.
const FEW: usize = 64;

/// One component type of all ghosts.
struct ShownColumn {
    writer: Box<dyn ColumnWriter>,
    /// The component's first lane in the rows of each ghost type that has it.
    lane_of_type: Vec<Option<usize>>,
}

/// What brings rows into components in a client world.
#[derive(Resource, Default)]
pub(crate) struct SnapshotApplier {
    shown: ShownRows,
    columns: Vec<ShownColumn>,
}

impl SnapshotApplier {
    pub(crate) fn for_world(world: &mut World) -> Self {
        let columns = columns_of(world.get_resource_or_init::<GhostRegistry>().as_ref());
        let columns = columns
            .into_iter()
            .map(|(vtable, lane_of_type)| ShownColumn { writer: (vtable.new_writer)(world), lane_of_type })
            .collect();
        Self { shown: ShownRows::default(), columns }
    }
}

/// Interpolated ghosts show their point in time. What predicted ones make of their rows is decided in the prediction step, except for what
/// is not predicted of them; here a ghost becomes one or the other, when its owner has changed.
pub fn apply(world: &mut World) {
    let time = world.resource::<NetworkTime>();
    let Some(tick) = time.interpolation_tick else { return };
    let at = SampleTime { tick, fraction: time.interpolation_tick_fraction };
    prediction::follow_owners(world);
    let max_extrapolation = world.resource::<ClientTickRate>().max_extrapolation_time_sim_ticks;
    world.resource_scope(|world, mut applier: Mut<SnapshotApplier>| {
        world.resource_scope(|world, mut snapshots: Mut<ClientSnapshots>| {
            world.resource_scope(|world, registry: Mut<GhostRegistry>| {
                let mut frame = Frame { world, registry: &registry, at, max_extrapolation };
                frame.show_all(&mut snapshots, &mut applier);
                frame.show_dying(&mut snapshots);
            });
        });
    });
}

/// What is needed to show ghosts in a frame.
struct Frame<'a> {
    world: &'a mut World,
    registry: &'a GhostRegistry,
    at: SampleTime,
    max_extrapolation: u32,
}

impl Frame<'_> {
    fn show_all(&mut self, snapshots: &mut ClientSnapshots, applier: &mut SnapshotApplier) {
        let SnapshotApplier { shown, columns } = applier;
        shown.clear(snapshots.chunks.len());
        for (index, chunk) in snapshots.chunks.iter_mut().enumerate() {
            let Some(chunk) = chunk.as_deref_mut() else { continue };
            chunk.has_new_input = 0;
            if chunk.active == 0 {
                continue;
            }
            if let Some(ty) = self.registry.get(chunk.ghost_type) {
                self.sample_chunk(ty, chunk, index, shown);
            }
        }
        if shown.len() * FEW < snapshots.count.instantiated as usize {
            return self.show_few(snapshots, shown);
        }
        if shown.len() > 0 {
            for column in columns {
                column.writer.write(self.world, &column.lane_of_type, shown);
            }
        }
    }

    /// Finds out what the active ghosts of a chunk show.
    fn sample_chunk(&mut self, ty: &GhostType, chunk: &mut ClientChunk, index: usize, shown: &mut ShownRows) {
        let most = if ty.extrapolates() { self.max_extrapolation } else { 0 };
        let (at, mut with_new_input) = (self.at, 0);
        chunk.look_at_active(index, |ghost, last| {
            // One that has no entity yet is looked at again when it appears.
            let Some(entity) = ghost.entity else { return true };
            if ghost.predicted {
                if self.show_unpredicted(ty, entity, ghost.rows, last) {
                    with_new_input |= ghost.slot.bit();
                }
                return true;
            }
            let Some(sample) = sample(ghost.rows, ghost.coverage, at, most) else { return false };
            let key = key_of(&sample);
            if last.replace(key) != Some(key) {
                shown.push(ghost.slot, ghost.spawn_tick, &sample);
            }
            sample.is_final
        });
        chunk.has_new_input = with_new_input;
    }

    /// What of a predicted ghost is not predicted shows the newest row; and what other players did goes into its command buffers, tick by tick.
    /// True if that is not what prediction expected.
    fn show_unpredicted(
        &mut self,
        ty: &GhostType,
        entity: Entity,
        rows: GhostRows<'_>,
        last: &mut Option<Shown>,
    ) -> bool {
        let Some((tick, row)) = rows.newest().filter(|_| ty.has_unpredicted_components()) else { return false };
        let key = (tick, tick, 0);
        if *last == Some(key) {
            return false;
        }
        let Ok(mut entity) = self.world.get_entity_mut(entity) else { return false };
        let shown_before = last.replace(key);
        for (vtable, lanes) in ty.components.iter().filter(|(vtable, _)| !vtable.is_predicted) {
            (vtable.read_lanes)(&mut entity, row.get(lanes.clone()).unwrap_or_default());
        }
        if ty.replicated_inputs.is_empty() {
            return false;
        }
        let first = shown_before.map_or_else(|| rows.oldest(), |(tick, ..)| rows.after(tick));
        let mut is_unexpected = false;
        for (tick, row) in std::iter::successors(first, |(tick, _)| rows.after(*tick)) {
            for (receive, lanes) in &ty.replicated_inputs {
                is_unexpected |= receive(&mut entity, tick, row.get(lanes.clone()).unwrap_or_default());
            }
        }
        is_unexpected
    }

    /// Few of many ghosts show something new: each is looked up.
    fn show_few(&mut self, snapshots: &ClientSnapshots, shown: &ShownRows) {
        for ghost in shown.slots().filter_map(|slot| snapshots.ghost(slot)) {
            let (Some(ty), Some(entity)) = (self.registry.get(ghost.ghost_type), ghost.entity) else { continue };
            let Ok(mut entity) = self.world.get_entity_mut(entity) else { continue };
            for (vtable, lanes) in &ty.components {
                if let Some(blend) = shown.of(ghost.slot, ghost.spawn_tick, lanes.start, lanes.len()) {
                    (vtable.blend)(&mut entity, blend.from, blend.to, blend.factor);
                }
            }
        }
    }

    /// Ghosts that are about to vanish are shown on until then.
    fn show_dying(&mut self, snapshots: &mut ClientSnapshots) {
        let ClientSnapshots { dying, chunks, .. } = snapshots;
        for ghost in dying.iter_mut().filter(|dying| !dying.predicted) {
            if let Some(chunk) = chunks.get(ghost.slot.chunk()).and_then(Option::as_deref) {
                self.show_one(chunk, ghost);
            }
        }
    }

    fn show_one(&mut self, chunk: &ClientChunk, ghost: &mut DyingGhost) {
        let Some(ty) = self.registry.get(chunk.ghost_type) else { return };
        let most = if ty.extrapolates() { self.max_extrapolation } else { 0 };
        let rows = GhostRows::new(&chunk.rows, ghost.slot.place(), ghost.spawn_tick, Some(ghost.at));
        let Some(sample) = sample(rows, &chunk.coverage, self.at, most) else { return };
        let key = key_of(&sample);
        if ghost.shown.replace(key) == Some(key) {
            return;
        }
        let Ok(mut entity) = self.world.get_entity_mut(ghost.entity) else { return };
        for (vtable, lanes) in &ty.components {
            if let (Some(from), Some(to)) = (sample.from.1.get(lanes.clone()), sample.to.1.get(lanes.clone())) {
                (vtable.blend)(&mut entity, from, to, sample.factor);
            }
        }
    }
}

fn key_of(sample: &Sample<'_>) -> Shown {
    let (from, to): (NetworkTick, NetworkTick) = (sample.from.0, sample.to.0);
    (from, to, sample.factor.to_bits())
}

//! The server's snapshot state of a world, and the collecting of rows: once per network tick, whatever the number of clients.
//! The last place on the way down that touches ECS storage.

use bevy_ecs::change_detection::Tick;
use bevy_ecs::lifecycle::HookContext;
use bevy_ecs::prelude::{Entity, Resource, World};
use bevy_ecs::world::{DeferredWorld, EntityWorldMut};
use ghostline_wire::{DespawnReason, NetworkTick, PrefabEntry};

use super::connection::SnapshotSendState;
use super::encode::{EncodeType, Encoder};
use super::store::RowStore;
use crate::connection::live_connections;
use crate::ghost::{ColumnCollector, GhostMode, GhostOptimizationMode, GhostRegistry, GhostType, Slot, columns_of};
use crate::stats::{NetworkStats, SnapshotConnectionStats};

/// One component type of all ghosts.
struct CollectedColumn {
    collector: Box<dyn ColumnCollector>,
    /// The component's first lane in the rows of each ghost type that has it.
    lane_of_type: Vec<Option<usize>>,
}

/// Everything that a server world's snapshots are made from.
#[derive(Resource, Default)]
pub(crate) struct ServerSnapshots {
    pub store: RowStore,
    pub types: Vec<EncodeType>,
    pub encoder: Encoder,
    columns: Vec<CollectedColumn>,
    /// Writes up to here are in the rows.
    collected_until: Option<Tick>,
    /// How many connections must still learn that the ghost of a slot is gone, by slot.
    waiting_for: Vec<u32>,
    /// Counts the ticks at which snapshots are made, for the round robin of slower network rates.
    pub send_counter: u32,
    /// The connections of this tick, for the memory.
    pub in_game: Vec<Entity>,
    /// Ghost types that were said to be too large for a driver.
    pub reported_too_large: Vec<u16>,
}

impl ServerSnapshots {
    /// The state for the ghost types of this world.
    pub(crate) fn for_world(world: &mut World) -> Self {
        let registry = world.get_resource_or_init::<GhostRegistry>();
        let types: Vec<EncodeType> = registry.types.iter().map(encode_type).collect();
        let columns = columns_of(&registry);
        let lanes = types.iter().map(|ty| ty.layout.lanes()).collect();
        let columns = columns
            .into_iter()
            .map(|(vtable, lane_of_type)| CollectedColumn { collector: (vtable.new_column)(world), lane_of_type })
            .collect();
        Self { store: RowStore::new(lanes), types, columns, ..Self::default() }
    }

    /// Brings the rows up to the present tick.
    pub(crate) fn collect(&mut self, world: &mut World, tick: NetworkTick) {
        let this_run = world.increment_change_tick();
        let last_run = self
            .collected_until
            .unwrap_or_else(|| Tick::new(this_run.get().wrapping_sub(bevy_ecs::change_detection::MAX_CHANGE_AGE)));
        let mut rows = self.store.sink();
        for column in &mut self.columns {
            column.collector.collect(world, &column.lane_of_type, last_run, this_run, &mut rows);
        }
        let quantise = rows.quantise;
        self.store.seal(tick);
        self.collected_until = Some(this_run);
        if quantise.nan + quantise.saturated > 0 {
            let mut stats = world.resource_mut::<NetworkStats>();
            if stats.quantised_nan + stats.quantised_saturated == 0 {
                tracing::warn!(
                    "a ghost's value was not a number or beyond what its quantisation can hold; it was replaced or clamped"
                );
            }
            stats.quantised_nan += quantise.nan;
            stats.quantised_saturated += quantise.saturated;
        }
    }

    /// The ghost in this slot is gone: clients that may hold it are told.
    pub(crate) fn despawn(&mut self, world: &mut World, slot: Slot) {
        if !self.store.despawn(slot) {
            return;
        }
        let mut waiting = 0;
        for entity in live_connections(world) {
            if let Some(mut state) = world.get_mut::<SnapshotSendState>(entity) {
                waiting += u32::from(state.despawn(slot, DespawnReason::Destroyed));
            }
        }
        if waiting == 0 {
            self.store.free(slot);
        } else {
            let index = slot.0 as usize;
            if self.waiting_for.len() <= index {
                self.waiting_for.resize(index + 1, 0);
            }
            self.waiting_for[index] = waiting;
        }
    }

    /// One connection less has to learn that the ghost of this slot is gone.
    pub(crate) fn released_by_one(&mut self, slot: Slot) {
        let Some(waiting) = self.waiting_for.get_mut(slot.0 as usize) else { return };
        if *waiting > 0 {
            *waiting -= 1;
            if *waiting == 0 {
                self.store.free(slot);
            }
        }
    }
}

/// A ghost type as the encoder sees it. How often it is sent follows from the tick rates, each time.
fn encode_type(ty: &GhostType) -> EncodeType {
    let prefab = PrefabEntry { type_id: ty.schema.type_id(), schema_hash: ty.schema.hash() };
    EncodeType {
        importance: ty.prefab.importance,
        max_send_rate_hz: ty.prefab.max_send_rate_hz,
        single_baseline: ty.prefab.single_baseline || ty.prefab.optimization_mode == GhostOptimizationMode::Static,
        tells_rest: ty.prefab.mode != GhostMode::Interpolated || ty.extrapolates(),
        ..EncodeType::new(ty.layout.clone(), prefab)
    }
}

/// Gives a new connection entity its snapshot state.
pub(crate) fn attach_server_state(entity: &mut EntityWorldMut<'_>) {
    entity.insert((SnapshotSendState::default(), SnapshotConnectionStats::default()));
}

/// Bytes of rows, of what clients have of them, and of what is encoded anew in every tick. 0 in a world that is no server.
pub(super) fn memory_bytes(world: &World) -> usize {
    let Some(snapshots) = world.get_resource::<ServerSnapshots>() else { return 0 };
    let states = live_connections(world).filter_map(|entity| world.get::<SnapshotSendState>(entity));
    let of_clients: usize = states.map(SnapshotSendState::memory_bytes).sum();
    snapshots.store.memory_bytes() + snapshots.encoder.memory_bytes() + of_clients
}

/// A client that is gone holds no rows and no slots.
pub(super) fn forget_client(world: &mut World, connection: Entity) {
    let state = world.get_mut::<SnapshotSendState>(connection).map(|mut state| std::mem::take(&mut *state));
    if let Some(mut state) = state {
        release(&mut world.resource_mut::<ServerSnapshots>(), &mut state);
    }
}

/// World migration: a connection keeps its epoch and its counters alone. A client that is in the game gets the next epoch with the new world's first
/// snapshot, and drops what it had.
pub(crate) fn move_send_state(from: &mut EntityWorldMut<'_>, to: &mut EntityWorldMut<'_>) {
    if let Some((epoch, stats)) = from.get::<SnapshotSendState>().map(|state| (state.epoch, state.stats)) {
        from.remove::<SnapshotSendState>();
        let mut state = SnapshotSendState::default();
        (state.epoch, state.stats) = (epoch, stats);
        to.insert(state);
    }
}

/// The state is gone with an entity that a game despawned by hand: its rows and slots must not stay.
pub(super) fn release_removed(mut world: DeferredWorld<'_>, context: HookContext) {
    let state = world.get_mut::<SnapshotSendState>(context.entity).map(|mut state| std::mem::take(&mut *state));
    if let (Some(mut state), Some(mut snapshots)) = (state, world.get_resource_mut::<ServerSnapshots>()) {
        release(&mut snapshots, &mut state);
    }
}

fn release(snapshots: &mut ServerSnapshots, state: &mut SnapshotSendState) {
    let mut released = Vec::new();
    state.release(|slot| released.push(slot));
    for slot in released {
        snapshots.released_by_one(slot);
    }
}

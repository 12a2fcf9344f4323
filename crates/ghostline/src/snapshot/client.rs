//! What a client holds of the server's ghosts: rows over time by chunk, who is due to appear or to vanish, and which packets arrived.

use bevy_ecs::prelude::{Entity, Resource, World};
use ghostline_wire::{Epoch, NetworkTick, ReceivedPackets, limits};
use std::collections::VecDeque;
use std::time::Duration;

use super::bits::bits;
use super::decode::Models;
use super::history::{ChunkRows, Coverage, GhostRows};
use super::receive::LeftEpoch;
use super::settings::GhostCount;
use crate::ghost::Slot;

const SLOTS: usize = limits::CHUNK_SLOTS as usize;

/// So many undecodable snapshots within [`DECODE_ERROR_WINDOW`] end the connection.
pub const MAX_DECODE_ERRORS: usize = 3;
/// The time within which [`MAX_DECODE_ERRORS`] counts.
pub const DECODE_ERROR_WINDOW: Duration = Duration::from_secs(10);

/// So many despawned ghosts are shown on until their time has come; what comes on top vanishes at once.
pub const MAX_DYING_GHOSTS: usize = 65_536;

/// The rows and the factor that a ghost shows.
pub(crate) type Shown = (NetworkTick, NetworkTick, u32);

/// 64 slots of one ghost type.
pub(crate) struct ClientChunk {
    pub ghost_type: u16,
    /// Slots with a ghost.
    pub held: u64,
    /// Of them, those that this client predicts.
    pub predicted: u64,
    /// Of them, those that may have something new to show.
    pub active: u64,
    /// Of them, those whose owner may have changed.
    pub fresh: u64,
    /// Of them, those for which another player's input was not what prediction expected: told in this pass.
    pub has_new_input: u64,
    spawn_ticks: [Option<NetworkTick>; SLOTS],
    /// `None` until it is due to appear.
    entities: [Option<Entity>; SLOTS],
    /// What each shows now, to leave components alone when nothing moved.
    pub shown: [Option<Shown>; SLOTS],
    pub rows: ChunkRows,
    pub coverage: Coverage,
}

/// One ghost that the client holds, with or without an entity.
#[derive(Clone, Copy)]
pub(crate) struct HeldGhost<'a> {
    pub ghost_type: u16,
    pub slot: Slot,
    pub spawn_tick: NetworkTick,
    /// `None` until it is due to appear.
    pub entity: Option<Entity>,
    pub predicted: bool,
    /// Whether another player's input was not what prediction expected: told in this pass.
    pub has_new_input: bool,
    pub rows: GhostRows<'a>,
    pub coverage: &'a Coverage,
}

/// A ghost that the server has despawned, shown until its time has come.
pub(crate) struct DyingGhost {
    pub slot: Slot,
    pub entity: Entity,
    pub spawn_tick: NetworkTick,
    pub at: NetworkTick,
    pub predicted: bool,
    pub shown: Option<Shown>,
}

/// The client's side of the snapshots.
#[derive(Resource, Default)]
pub(crate) struct ClientSnapshots {
    pub epoch: Option<Epoch>,
    pub received: ReceivedPackets,
    pub newest_tick: Option<NetworkTick>,
    /// What was held is unusable; the server is asked to begin anew.
    pub fresh_start: bool,
    errors: VecDeque<Duration>,
    /// Local ghost types in the server's order.
    pub prefabs: Vec<u16>,
    pub models: Models,
    pub chunks: Vec<Option<Box<ClientChunk>>>,
    /// The newest despawn of each slot: what was spawned before it is not to appear (again). Raw ticks, 0 is none.
    tombstones: Vec<u32>,
    pub waiting: Vec<Slot>,
    pub dying: Vec<DyingGhost>,
    /// Entities that go without being shown on.
    pub vanished: Vec<Entity>,
    pub count: GhostCount,
}

impl ClientChunk {
    pub(crate) fn new(ghost_type: u16, lanes: usize) -> Self {
        Self {
            ghost_type,
            held: 0,
            predicted: 0,
            active: 0,
            fresh: 0,
            has_new_input: 0,
            spawn_ticks: [None; SLOTS],
            entities: [None; SLOTS],
            shown: [None; SLOTS],
            rows: ChunkRows::new(lanes),
            coverage: Coverage::default(),
        }
    }

    /// The ghost in the slot at this place of chunk `index`.
    pub(crate) fn ghost(&self, index: usize, place: usize) -> Option<HeldGhost<'_>> {
        if self.held & 1u64.checked_shl(place as u32)? == 0 {
            return None;
        }
        let spawn_tick = (*self.spawn_ticks.get(place)?)?;
        Some(HeldGhost {
            ghost_type: self.ghost_type,
            slot: Slot::new(index, place as u32),
            spawn_tick,
            entity: self.entities.get(place).copied().flatten(),
            predicted: self.predicted >> place & 1 == 1,
            has_new_input: self.has_new_input >> place & 1 == 1,
            rows: GhostRows::new(&self.rows, place, spawn_tick, None),
            coverage: &self.coverage,
        })
    }

    /// What a ghost shows is to be looked at again, whatever it shows now.
    pub(crate) fn show_again(&mut self, place: usize) {
        self.active |= 1 << place;
        if let Some(shown) = self.shown.get_mut(place) {
            *shown = None;
        }
    }

    /// Shows every active ghost with what it shows to `look`, in the order of slots. Those for which that says so are active no longer.
    pub(crate) fn look_at_active(
        &mut self,
        index: usize,
        mut look: impl FnMut(HeldGhost<'_>, &mut Option<Shown>) -> bool,
    ) {
        let Self { shown, rows, coverage, spawn_ticks, entities, .. } = self;
        let mut idle = 0;
        let slots = spawn_ticks.iter().zip(entities.iter()).zip(shown);
        for (place, ((spawn_tick, entity), shown)) in slots.enumerate() {
            let bit = 1u64 << place;
            let Some(spawn_tick) = spawn_tick.filter(|_| self.active & bit != 0) else { continue };
            let ghost = HeldGhost {
                ghost_type: self.ghost_type,
                slot: Slot::new(index, place as u32),
                spawn_tick,
                entity: *entity,
                predicted: self.predicted & bit != 0,
                has_new_input: self.has_new_input & bit != 0,
                rows: GhostRows::new(rows, place, spawn_tick, None),
                coverage,
            };
            idle |= u64::from(look(ghost, shown)) << place;
        }
        self.active &= !idle;
    }

    /// Takes the ghost out of its slot. `None`: there is none, or it was spawned at `before` or later.
    fn take(&mut self, place: usize, before: NetworkTick) -> Option<(NetworkTick, Option<Entity>, bool)> {
        let bit = 1u64.checked_shl(place as u32)?;
        let spawn = (*self.spawn_ticks.get(place)?)?;
        if self.held & bit == 0 || !before.is_newer_than(spawn) {
            return None;
        }
        let predicted = self.predicted & bit != 0;
        for mask in [&mut self.held, &mut self.predicted, &mut self.active, &mut self.fresh, &mut self.has_new_input] {
            *mask &= !bit;
        }
        Some((spawn, self.entities.get_mut(place)?.take(), predicted))
    }
}

impl ClientSnapshots {
    /// By how many ticks a packet of this tick is newer than the newest so far; 0 if it is the first.
    pub(crate) fn ticks_ahead(&self, tick: NetworkTick) -> i32 {
        self.newest_tick.map_or(0, |newest| tick.ticks_since(newest))
    }

    /// Drops everything; returns the entities that go with it.
    pub(crate) fn reset(&mut self, epoch: Option<Epoch>) -> Vec<Entity> {
        let held = self
            .chunks
            .iter()
            .flatten()
            .flat_map(|chunk| bits(chunk.held).filter_map(|place| chunk.entities.get(place).copied().flatten()));
        let dying = self.dying.iter().map(|dying| dying.entity).chain(self.vanished.iter().copied());
        let entities = held.chain(dying).collect();
        let errors = std::mem::take(&mut self.errors);
        *self = Self { epoch, errors, ..Self::default() };
        entities
    }

    pub(crate) fn chunk(&self, index: usize) -> Option<&ClientChunk> {
        self.chunks.get(index)?.as_deref()
    }

    pub(crate) fn chunk_mut(&mut self, index: usize) -> Option<&mut ClientChunk> {
        self.chunks.get_mut(index)?.as_deref_mut()
    }

    /// The chunk at `index`, made at its first use.
    pub(crate) fn chunk_or_new(&mut self, index: usize, ghost_type: u16, lanes: usize) -> Option<&mut ClientChunk> {
        if self.chunks.len() <= index {
            self.chunks.resize_with(index + 1, || None);
        }
        Some(self.chunks.get_mut(index)?.get_or_insert_with(|| Box::new(ClientChunk::new(ghost_type, lanes))))
    }

    pub(crate) fn ghost(&self, slot: Slot) -> Option<HeldGhost<'_>> {
        self.chunk(slot.chunk())?.ghost(slot.chunk(), slot.place())
    }

    /// Every held ghost, in the order of ids.
    pub(crate) fn ghosts(&self) -> impl Iterator<Item = HeldGhost<'_>> {
        let chunks = self.chunks.iter().enumerate().filter_map(|(index, chunk)| Some((index, chunk.as_deref()?)));
        chunks.flat_map(|(index, chunk)| bits(chunk.held).filter_map(move |place| chunk.ghost(index, place)))
    }

    /// Whether the server has despawned the ghost of this slot after `tick`.
    fn is_despawned_since(&self, slot: Slot, tick: NetworkTick) -> bool {
        let raw = self.tombstones.get(slot.0 as usize).copied().unwrap_or_default();
        NetworkTick::from_raw(raw).is_some_and(|despawned| despawned.is_newer_than(tick))
    }

    /// Whether the server has despawned this ghost, which may be shown yet.
    pub(crate) fn is_over(&self, ghost_id: u32, spawn_tick: NetworkTick) -> bool {
        Slot::from_id(ghost_id).is_some_and(|slot| self.is_despawned_since(slot, spawn_tick))
    }

    /// A row says that a ghost is in this slot since `spawn_tick`.
    pub(crate) fn appear(&mut self, slot: Slot, spawn_tick: NetworkTick) {
        if self.is_despawned_since(slot, spawn_tick) {
            return;
        }
        let held = self.ghost(slot).map(|ghost| ghost.spawn_tick);
        if held.is_some_and(|known| !spawn_tick.is_newer_than(known)) {
            return;
        }
        if held.is_some() {
            // The slot has another ghost still: its despawn is in a packet that is yet to come.
            self.despawn(slot, spawn_tick);
        }
        let Some(chunk) = self.chunk_mut(slot.chunk()) else { return };
        let Some(place) = chunk.spawn_ticks.get_mut(slot.place()) else { return };
        *place = Some(spawn_tick);
        chunk.held |= slot.bit();
        chunk.show_again(slot.place());
        self.count.received += 1;
        self.waiting.push(slot);
    }

    /// A ghost that was waited for has its entity.
    pub(crate) fn note_entity(&mut self, slot: Slot, entity: Entity, predicted: bool) {
        let Some(chunk) = self.chunk_mut(slot.chunk()) else { return };
        if let Some(place) = chunk.entities.get_mut(slot.place()) {
            *place = Some(entity);
        }
        if predicted {
            chunk.predicted |= slot.bit();
        }
        chunk.show_again(slot.place());
        self.count.instantiated += 1;
    }

    /// The entity of a ghost is gone, but not by the server's doing: it is to be made again. False: this client holds no such ghost.
    pub(crate) fn lose_entity(&mut self, slot: Slot, spawn_tick: NetworkTick, entity: Entity) -> bool {
        let held = self.ghost(slot).filter(|ghost| ghost.spawn_tick == spawn_tick && ghost.entity == Some(entity));
        let Some(chunk) = held.is_some().then(|| self.chunk_mut(slot.chunk())).flatten() else { return false };
        if let Some(place) = chunk.entities.get_mut(slot.place()) {
            *place = None;
        }
        chunk.predicted &= !slot.bit();
        chunk.show_again(slot.place());
        self.count.instantiated = self.count.instantiated.saturating_sub(1);
        self.waiting.push(slot);
        true
    }

    /// The ghost in this slot is gone from `tick` on.
    pub(crate) fn despawn(&mut self, slot: Slot, tick: NetworkTick) {
        let index = slot.0 as usize;
        if self.tombstones.len() <= index {
            self.tombstones.resize(index + 1, 0);
        }
        if let Some(tombstone) = self.tombstones.get_mut(index)
            && NetworkTick::from_raw(*tombstone).is_none_or(|known| tick.is_newer_than(known))
        {
            *tombstone = tick.raw();
        }
        let Some(chunk) = self.chunk_mut(slot.chunk()) else { return };
        let Some((spawn_tick, entity, predicted)) = chunk.take(slot.place(), tick) else { return };
        self.count.received = self.count.received.saturating_sub(1);
        let Some(entity) = entity else {
            // It was never shown, and waits no longer.
            self.waiting.retain(|&waiting| waiting != slot);
            return;
        };
        self.count.instantiated = self.count.instantiated.saturating_sub(1);
        if self.dying.len() < MAX_DYING_GHOSTS {
            self.dying.push(DyingGhost { slot, entity, spawn_tick, at: tick, predicted, shown: None });
        } else {
            self.vanished.push(entity);
        }
    }

    /// Counts an undecodable snapshot. True: too many, the connection is to end.
    pub(crate) fn count_error(&mut self, now: Duration) -> bool {
        while self.errors.front().is_some_and(|&then| now.saturating_sub(then) > DECODE_ERROR_WINDOW) {
            self.errors.pop_front();
        }
        self.errors.push_back(now);
        self.fresh_start = true;
        self.errors.len() >= MAX_DECODE_ERRORS
    }

    /// Bytes of rows.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.chunks.iter().flatten().map(|chunk| size_of::<ClientChunk>() + chunk.rows.memory_bytes()).sum()
    }
}

/// The connection to the server ended: its ghosts go.
pub(super) fn forget_server(world: &mut World) {
    if !world.contains_resource::<ClientSnapshots>() {
        return;
    }
    drop_ghosts(world, None);
    // The next connection counts its epochs anew.
    world.insert_resource(LeftEpoch(None));
    crate::command::forget_carried(world);
}

/// Drops every ghost of the server, and begins with `epoch`.
pub(crate) fn drop_ghosts(world: &mut World, epoch: Option<Epoch>) {
    let Some(mut snapshots) = world.get_resource_mut::<ClientSnapshots>() else { return };
    let dropped = snapshots.reset(epoch);
    crate::command::carry_over(world, &dropped);
    for entity in dropped {
        if let Ok(entity) = world.get_entity_mut(entity) {
            entity.despawn();
        }
    }
}

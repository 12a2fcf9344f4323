//! What a client holds of the server's ghosts: rows over time by slot, who is due to appear or to vanish, and which packets arrived.

use bevy_ecs::prelude::{Entity, Resource, World};
use ghostline_wire::{Epoch, NetworkTick, ReceivedPackets, limits};
use std::collections::VecDeque;
use std::time::Duration;

use super::history::{Coverage, RowHistory};
use super::receive::LeftEpoch;
use crate::ghost::Slot;

const SLOTS: usize = limits::CHUNK_SLOTS as usize;

/// So many undecodable snapshots within [`DECODE_ERROR_WINDOW`] end the connection.
pub const MAX_DECODE_ERRORS: usize = 3;
/// The time within which [`MAX_DECODE_ERRORS`] counts.
pub const DECODE_ERROR_WINDOW: Duration = Duration::from_secs(10);

/// One ghost that the client holds, with or without an entity.
pub(crate) struct HeldGhost {
    pub ghost_type: u16,
    pub slot: Slot,
    pub spawn_tick: NetworkTick,
    /// `None` until it is due to appear.
    pub entity: Option<Entity>,
    pub history: RowHistory,
    pub predicted: bool,
    /// Whether another player's input was not what prediction expected: told in this pass.
    pub has_new_input: bool,
    /// The rows and factor shown last, to leave components alone when nothing moved.
    pub shown: Option<(NetworkTick, NetworkTick, u32)>,
}

/// 64 slots of one ghost type.
pub(crate) struct ClientChunk {
    pub ghost_type: u16,
    pub ghosts: [Option<Box<HeldGhost>>; SLOTS],
    pub coverage: Coverage,
}

/// A ghost that the server has despawned, shown until its time has come.
pub(crate) struct DyingGhost {
    pub ghost: Box<HeldGhost>,
    pub at: NetworkTick,
    /// What was known of its chunk, so that a ghost that rested goes on resting.
    pub coverage: Coverage,
}

/// So many despawned ghosts are shown on until their time has come; what comes on top vanishes at once.
pub const MAX_DYING_GHOSTS: usize = 65_536;

/// How many ghosts there are, for progress bars. A resource of client worlds.
#[derive(Resource, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GhostCount {
    /// Ghosts on the server that are relevant to this client.
    pub on_server: u32,
    /// Ghosts whose state this client has received.
    pub received: u32,
    /// Ghosts that have an entity in this world.
    pub instantiated: u32,
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
    pub chunks: Vec<Option<Box<ClientChunk>>>,
    /// The newest despawn of each slot: what was spawned before it is not to appear (again). Raw ticks, 0 is none.
    tombstones: Vec<u32>,
    pub waiting: Vec<Slot>,
    pub dying: Vec<DyingGhost>,
    /// Entities that go without being shown on.
    pub vanished: Vec<Entity>,
    pub relevant_on_server: u32,
}

impl ClientSnapshots {
    /// Drops everything; returns the entities that go with it.
    pub(crate) fn reset(&mut self, epoch: Option<Epoch>) -> Vec<Entity> {
        let held = self
            .chunks
            .iter()
            .flatten()
            .flat_map(|chunk| chunk.ghosts.iter().flatten())
            .filter_map(|ghost| ghost.entity);
        let dying = self.dying.iter().filter_map(|dying| dying.ghost.entity).chain(self.vanished.iter().copied());
        let entities = held.chain(dying).collect();
        let errors = std::mem::take(&mut self.errors);
        *self = Self { epoch, errors, ..Self::default() };
        entities
    }

    pub(crate) fn chunk(&self, index: usize) -> Option<&ClientChunk> {
        self.chunks.get(index)?.as_deref()
    }

    /// The chunk at `index`, made at its first use.
    pub(crate) fn chunk_or_new(&mut self, index: usize, ghost_type: u16) -> Option<&mut ClientChunk> {
        if self.chunks.len() <= index {
            self.chunks.resize_with(index + 1, || None);
        }
        let chunk = self.chunks.get_mut(index)?.get_or_insert_with(|| {
            Box::new(ClientChunk { ghost_type, ghosts: [const { None }; SLOTS], coverage: Coverage::default() })
        });
        Some(chunk)
    }

    pub(crate) fn ghost(&self, slot: Slot) -> Option<&HeldGhost> {
        self.chunk(slot.chunk())?.ghosts.get(slot.place())?.as_deref()
    }

    pub(crate) fn ghost_mut(&mut self, slot: Slot) -> Option<&mut HeldGhost> {
        self.chunks.get_mut(slot.chunk())?.as_deref_mut()?.ghosts.get_mut(slot.place())?.as_deref_mut()
    }

    /// Whether the server has despawned the ghost of this slot after `tick`.
    pub(crate) fn is_despawned_since(&self, slot: Slot, tick: NetworkTick) -> bool {
        let raw = self.tombstones.get(slot.0 as usize).copied().unwrap_or_default();
        NetworkTick::from_raw(raw).is_some_and(|despawned| despawned.is_newer_than(tick))
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
        let Some(chunk) = self.chunks.get_mut(slot.chunk()).and_then(|chunk| chunk.as_deref_mut()) else { return };
        let Some(place) = chunk.ghosts.get_mut(slot.place()) else { return };
        let Some(ghost) = place.take_if(|ghost| tick.is_newer_than(ghost.spawn_tick)) else { return };
        match ghost.entity {
            // It was never shown; it waits no longer (`spawn_due_ghosts` finds its place empty).
            None => self.waiting.retain(|&waiting| waiting != slot),
            Some(_) if self.dying.len() < MAX_DYING_GHOSTS => {
                self.dying.push(DyingGhost { ghost, at: tick, coverage: chunk.coverage.clone() });
            }
            Some(entity) => self.vanished.push(entity),
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

    /// Every held ghost, in the order of ids.
    pub(crate) fn ghosts(&self) -> impl Iterator<Item = &HeldGhost> {
        self.chunks.iter().flatten().flat_map(|chunk| chunk.ghosts.iter().flatten()).map(|ghost| &**ghost)
    }

    pub(crate) fn count(&self) -> GhostCount {
        let mut count = GhostCount { on_server: self.relevant_on_server, ..GhostCount::default() };
        for ghost in self.ghosts() {
            count.received += 1;
            count.instantiated += u32::from(ghost.entity.is_some());
        }
        count
    }
}

/// The connection to the server ended: its ghosts go.
pub(crate) fn forget_server(world: &mut World) {
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

//! Who a ghost is: its id on the wire, its type, the tick of its spawn, and the way from there to its entity.

use bevy_ecs::lifecycle::HookContext;
use bevy_ecs::prelude::{Component, Entity, Resource};
use bevy_ecs::world::DeferredWorld;
use bevy_platform::collections::HashMap;
use ghostline_wire::{NetworkTick, limits};

/// On every ghost, on the server and on clients.
///
/// `ghost_id` and `spawn_tick` together are unique; ids alone are used again.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug)]
#[component(on_add = note_new_ghost, on_remove = note_lost_ghost)]
pub struct GhostInstance {
    /// 0: not assigned yet. The server assigns it at the end of the tick in which the ghost appeared.
    pub ghost_id: u32,
    /// Index of the ghost's type in this world's registry.
    pub ghost_type: u16,
    /// The server tick at whose end the id was assigned.
    pub spawn_tick: Option<NetworkTick>,
}

impl GhostInstance {
    /// The instance of a ghost that has no id yet.
    pub const fn unassigned(ghost_type: u16) -> Self {
        Self { ghost_id: 0, ghost_type, spawn_tick: None }
    }

    /// The slot behind the id.
    pub(crate) const fn slot(self) -> Option<Slot> {
        Slot::from_id(self.ghost_id)
    }
}

/// A place for one ghost: 64 × chunk + place in the chunk. The ghost id is one more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(crate) struct Slot(pub u32);

impl Slot {
    pub(crate) const fn from_id(ghost_id: u32) -> Option<Self> {
        match ghost_id.checked_sub(1) {
            Some(slot) if slot / limits::CHUNK_SLOTS < limits::MAX_CHUNKS => Some(Self(slot)),
            _ => None,
        }
    }

    pub(crate) const fn new(chunk: usize, place: u32) -> Self {
        Self(chunk as u32 * limits::CHUNK_SLOTS + place)
    }

    pub(crate) const fn id(self) -> u32 {
        self.0 + 1
    }

    pub(crate) const fn chunk(self) -> usize {
        (self.0 / limits::CHUNK_SLOTS) as usize
    }

    pub(crate) const fn place(self) -> usize {
        (self.0 % limits::CHUNK_SLOTS) as usize
    }

    pub(crate) const fn bit(self) -> u64 {
        1 << (self.0 % limits::CHUNK_SLOTS)
    }
}

/// Ghosts that appeared or vanished in a server world since the library looked last.
#[derive(Resource, Default, Debug)]
pub(crate) struct GhostChanges {
    pub appeared: Vec<Entity>,
    pub vanished: Vec<GhostInstance>,
    /// Ghost types of which it was said that the owner of a ghost is not replicated.
    #[cfg(feature = "server")]
    pub reported_owners: Vec<u16>,
}

/// Client: ghosts whose entities went since the library looked last, by its own doing or by the game's.
#[derive(Resource, Default, Debug)]
pub(crate) struct LostGhosts(pub Vec<(GhostInstance, Entity)>);

fn note_new_ghost(mut world: DeferredWorld<'_>, context: HookContext) {
    if let Some(mut changes) = world.get_resource_mut::<GhostChanges>() {
        changes.appeared.push(context.entity);
    }
}

fn note_lost_ghost(mut world: DeferredWorld<'_>, context: HookContext) {
    let Some(instance) = world.get::<GhostInstance>(context.entity).copied() else { return };
    if let Some(mut map) = world.get_resource_mut::<SpawnedGhostEntityMap>() {
        map.remove(instance);
    }
    if let Some(mut changes) = world.get_resource_mut::<GhostChanges>() {
        changes.vanished.push(instance);
    }
    if let Some(mut lost) = world.get_resource_mut::<LostGhosts>() {
        lost.0.push((instance, context.entity));
    }
}

/// From (ghost id, spawn tick) to the entity of this world. On both sides.
#[derive(Resource, Default, Debug)]
pub struct SpawnedGhostEntityMap {
    by_id: HashMap<u32, (NetworkTick, Entity)>,
}

impl SpawnedGhostEntityMap {
    /// The entity of a ghost; `None` if this world doesn't hold it.
    pub fn get(&self, ghost_id: u32, spawn_tick: NetworkTick) -> Option<Entity> {
        self.by_id.get(&ghost_id).filter(|(tick, _)| *tick == spawn_tick).map(|&(_, entity)| entity)
    }

    /// How many ghosts this world holds.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether this world holds no ghost.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(crate) fn insert(&mut self, ghost_id: u32, spawn_tick: NetworkTick, entity: Entity) {
        self.by_id.insert(ghost_id, (spawn_tick, entity));
    }

    fn remove(&mut self, instance: GhostInstance) {
        if let Some((tick, _)) = self.by_id.get(&instance.ghost_id)
            && Some(*tick) == instance.spawn_tick
        {
            self.by_id.remove(&instance.ghost_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_more_than_its_slot() {
        let slot = Slot::new(3, 5);
        assert_eq!((slot.id(), slot.chunk(), slot.place(), slot.bit()), (3 * 64 + 6, 3, 5, 1 << 5));
        assert_eq!(Slot::from_id(slot.id()), Some(slot));
        assert_eq!(Slot::from_id(0), None);
    }

    #[test]
    fn an_id_beyond_the_last_chunk_has_no_slot() {
        let last = limits::MAX_CHUNKS * limits::CHUNK_SLOTS;
        assert!(Slot::from_id(last).is_some());
        assert_eq!(Slot::from_id(last + 1), None);
        assert_eq!(Slot::from_id(u32::MAX), None);
    }
}

//! What is remembered of each predicted ghost: how far it is predicted, how far it was compared with the server, and of which ticks its
//! state is in the columns of `history`.

use bevy_ecs::prelude::{Entity, World};
use ghostline_wire::NetworkTick;

use super::history::{PREDICTION_HISTORY_TICKS, PredictionSlot, place};

/// One predicted ghost.
pub(super) struct Track {
    pub entity: Entity,
    pub ghost_type: u16,
    /// The newest tick of the server that was compared with the prediction.
    pub applied: Option<NetworkTick>,
    /// The full tick that it is predicted to. `None`: it has nothing but what it was spawned with.
    pub at: Option<NetworkTick>,
    /// The tick that it starts from in this frame.
    pub start: NetworkTick,
    /// Whether it is put back in this frame, to simulate ticks again.
    pub goes_back: bool,
    recorded: [Option<NetworkTick>; PREDICTION_HISTORY_TICKS],
}

impl Track {
    fn new(entity: Entity, ghost_type: u16) -> Self {
        let recorded = [None; PREDICTION_HISTORY_TICKS];
        Self { entity, ghost_type, applied: None, at: None, start: NetworkTick::new(0), goes_back: false, recorded }
    }

    /// Whether its state after `tick` is known.
    pub(super) fn knows(&self, tick: NetworkTick) -> bool {
        self.recorded.get(place(tick)).copied().flatten() == Some(tick)
    }

    /// Its state after `tick` is in the columns.
    pub(super) fn note(&mut self, tick: NetworkTick) {
        if let Some(recorded) = self.recorded.get_mut(place(tick)) {
            *recorded = Some(tick);
        }
    }

    /// What was predicted after `tick` no longer counts.
    pub(super) fn forget_after(&mut self, tick: NetworkTick) {
        for recorded in &mut self.recorded {
            if recorded.is_some_and(|known| known.is_newer_than(tick)) {
                *recorded = None;
            }
        }
    }

    /// Begins anew, from whatever the server said last.
    pub(super) fn restart(&mut self) {
        *self = Self::new(self.entity, self.ghost_type);
    }
}

/// All predicted ghosts of a world, by slot.
#[derive(Default)]
pub(super) struct Tracks {
    slots: Vec<Option<Track>>,
    free: Vec<u32>,
    count: usize,
}

impl Tracks {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many slots there are, used or not.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn get(&self, slot: usize) -> Option<&Track> {
        self.slots.get(slot)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: usize) -> Option<&mut Track> {
        self.slots.get_mut(slot)?.as_mut()
    }

    /// The slots in use with their ghosts.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Track)> {
        self.slots.iter().enumerate().filter_map(|(slot, track)| Some((slot, track.as_ref()?)))
    }

    /// The slots in use with their ghosts.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Track)> {
        self.slots.iter_mut().enumerate().filter_map(|(slot, track)| Some((slot, track.as_mut()?)))
    }

    /// Gives a ghost a slot. What the columns know of the slot is of another ghost, and must be forgotten.
    pub(super) fn add(&mut self, world: &mut World, entity: Entity, ghost_type: u16) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(Track::new(entity, ghost_type));
            self.count += 1;
        }
        if let Ok(mut entity) = world.get_entity_mut(entity) {
            entity.insert(PredictionSlot(slot));
        }
        slot as usize
    }

    /// Ghosts that are gone, or no longer predicted, leave their slots.
    pub(super) fn sweep(&mut self, world: &World) {
        for (slot, place) in self.slots.iter_mut().enumerate() {
            let Some(track) = place else { continue };
            if world.get::<PredictionSlot>(track.entity) != Some(&PredictionSlot(slot as u32)) {
                *place = None;
                self.free.push(slot as u32);
                self.count -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(index: u32) -> NetworkTick {
        NetworkTick::new(index)
    }

    #[test]
    fn a_state_is_known_for_64_ticks_also_across_the_wrap() {
        let mut track = Track::new(Entity::PLACEHOLDER, 0);
        let start = tick(NetworkTick::MAX_INDEX - 20);
        for offset in 0..100 {
            track.note(start.add(offset));
        }
        assert!(!track.knows(start.add(35)) && track.knows(start.add(36)) && track.knows(start.add(99)));
        track.forget_after(start.add(50));
        assert!(track.knows(start.add(50)) && !track.knows(start.add(51)) && !track.knows(start.add(99)));
    }

    #[test]
    fn a_ghost_that_is_gone_leaves_its_slot_to_the_next() {
        let mut world = World::new();
        let mut tracks = Tracks::default();
        let ghosts: Vec<Entity> = (0..3).map(|_| world.spawn_empty().id()).collect();
        for &ghost in &ghosts {
            tracks.add(&mut world, ghost, 0);
        }
        world.despawn(ghosts[1]);
        world.entity_mut(ghosts[2]).remove::<PredictionSlot>();
        tracks.sweep(&world);
        assert_eq!(tracks.iter().map(|(slot, track)| (slot, track.entity)).collect::<Vec<_>>(), [(0, ghosts[0])]);
        assert_eq!(tracks.add(&mut world, ghosts[2], 0), 2);
        assert_eq!(tracks.slots(), 3);
    }
}

//! What is remembered of each predicted ghost: how far it is predicted, how far it was compared with the server, and of which ticks its
//! state is in the columns of `history`. Who becomes predicted, and who no longer is, is noted by the components' hooks and taken in once per frame.

use bevy_ecs::lifecycle::HookContext;
use bevy_ecs::prelude::{Entity, Resource, World};
use bevy_ecs::world::DeferredWorld;
use ghostline_wire::NetworkTick;

use super::components::PredictedGhost;
use super::history::{PREDICTION_HISTORY_TICKS, PredictionSlot};
use crate::ghost::{GhostInstance, Slot};

/// One predicted ghost.
pub(super) struct Track {
    pub entity: Entity,
    pub ghost_type: u16,
    /// Its place among the ghosts that the client holds.
    pub ghost: Slot,
    /// The newest tick of the server that was compared with the prediction.
    pub applied: Option<NetworkTick>,
    /// The full tick that it is predicted to. `None`: it has nothing but what it was spawned with.
    pub at: Option<NetworkTick>,
    /// The tick that it starts from in this frame.
    pub start: NetworkTick,
    /// Whether it is put back in this frame, to simulate ticks again.
    pub goes_back: bool,
    known: KnownTicks,
}

/// Of which ticks a ghost's exact state is known: one bit for each of the last 64, the newest in bit 0.
#[derive(Clone, Copy)]
struct KnownTicks {
    newest: NetworkTick,
    mask: u64,
}

const WIDTH: i32 = PREDICTION_HISTORY_TICKS as i32;

impl KnownTicks {
    const NONE: Self = Self { newest: NetworkTick::new(0), mask: 0 };

    fn contains(self, tick: NetworkTick) -> bool {
        let age = self.newest.ticks_since(tick);
        (0..WIDTH).contains(&age) && self.mask >> age & 1 == 1
    }

    /// Adds `count` ticks, the last of them `tick`; 1 or more.
    fn add(&mut self, tick: NetworkTick, count: u32) {
        let added = u64::MAX >> u64::BITS.saturating_sub(count).min(u64::BITS - 1);
        if self.mask == 0 {
            *self = Self { newest: tick, mask: added };
            return;
        }
        match tick.ticks_since(self.newest) {
            ahead @ 0.. => {
                self.mask = if ahead < WIDTH { self.mask << ahead | added } else { added };
                self.newest = tick;
            }
            behind if behind > -WIDTH => self.mask |= added << -behind,
            _ => {}
        }
    }

    /// Nothing after `tick` is known any more.
    fn cut(&mut self, tick: NetworkTick) {
        let ahead = self.newest.ticks_since(tick);
        if ahead > 0 {
            self.mask = if ahead < WIDTH { self.mask >> ahead } else { 0 };
            self.newest = tick;
        }
    }
}

impl Track {
    fn new(entity: Entity, ghost_type: u16, ghost: Slot) -> Self {
        let (applied, at, start) = (None, None, NetworkTick::new(0));
        Self { entity, ghost_type, ghost, applied, at, start, goes_back: false, known: KnownTicks::NONE }
    }

    /// Whether its state after `tick` is known.
    pub(super) fn knows(&self, tick: NetworkTick) -> bool {
        self.known.contains(tick)
    }

    /// Its state after `tick` is in the columns.
    pub(super) fn note(&mut self, tick: NetworkTick) {
        self.known.add(tick, 1);
    }

    /// Its states after all ticks from its start up to `end` are in the columns.
    pub(super) fn note_up_to(&mut self, end: NetworkTick) {
        if let Ok(count @ 1..) = u32::try_from(end.ticks_since(self.start)) {
            self.known.add(end, count);
        }
    }

    /// What was predicted after `tick` no longer counts.
    pub(super) fn forget_after(&mut self, tick: NetworkTick) {
        self.known.cut(tick);
    }

    /// Begins anew, from whatever the server said last.
    pub(super) fn restart(&mut self) {
        *self = Self::new(self.entity, self.ghost_type, self.ghost);
    }
}

/// Who has become predicted, and which slots were left, since the last frame. A resource of client worlds.
#[derive(Resource, Default)]
pub(crate) struct TrackChanges {
    arrived: Vec<Entity>,
    left: Vec<u32>,
}

/// A ghost became predicted.
pub(super) fn note_arrival(mut world: DeferredWorld<'_>, context: HookContext) {
    if let Some(mut changes) = world.get_resource_mut::<TrackChanges>() {
        changes.arrived.push(context.entity);
    }
}

/// A ghost is gone, or no longer predicted.
pub(super) fn note_leaving(mut world: DeferredWorld<'_>, context: HookContext) {
    let slot = world.get::<PredictionSlot>(context.entity).map(|slot| slot.0);
    if let (Some(slot), Some(mut changes)) = (slot, world.get_resource_mut::<TrackChanges>()) {
        changes.left.push(slot);
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

    /// Takes in who has come and gone. `admit` is told of every slot that a ghost was given, with the ghost's type: what the columns know of it is of
    /// another ghost, and must be forgotten.
    pub(super) fn follow_changes(&mut self, world: &mut World, mut admit: impl FnMut(usize, u16)) {
        let mut changes = std::mem::take(&mut *world.resource_mut::<TrackChanges>());
        for slot in changes.left.drain(..) {
            if let Some(place) = self.slots.get_mut(slot as usize)
                && place.take().is_some()
            {
                self.free.push(slot);
                self.count -= 1;
            }
        }
        for entity in changes.arrived.drain(..) {
            let Ok(mut ghost) = world.get_entity_mut(entity) else { continue };
            let Some(&instance) = ghost.get::<GhostInstance>() else { continue };
            let Some(place) = instance.slot() else { continue };
            if ghost.contains::<PredictedGhost>() && !ghost.contains::<PredictionSlot>() {
                let slot = self.add(Track::new(entity, instance.ghost_type, place));
                ghost.insert(PredictionSlot(slot));
                admit(slot as usize, instance.ghost_type);
            }
        }
        // Nothing was noted meanwhile: slots are only given here.
        *world.resource_mut::<TrackChanges>() = changes;
    }

    fn add(&mut self, track: Track) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(track);
            self.count += 1;
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn tick(index: u32) -> NetworkTick {
        NetworkTick::new(index)
    }

    fn track() -> Track {
        Track::new(Entity::PLACEHOLDER, 0, Slot(0))
    }

    #[test]
    fn a_state_is_known_for_64_ticks_also_across_the_wrap() {
        let mut track = track();
        let start = tick(NetworkTick::MAX_INDEX - 10);
        for offset in 0..100 {
            track.note(start.add(offset));
        }
        assert!(!track.knows(start.add(35)) && track.knows(start.add(36)) && track.knows(start.add(99)));
        assert!(!track.knows(start.add(100)));
        track.forget_after(start.add(50));
        assert!(track.knows(start.add(50)) && !track.knows(start.add(51)) && !track.knows(start.add(99)));
    }

    proptest! {
        /// Against a set of ticks: what is noted, run by run, is known for 64 ticks, unless it was forgotten.
        #[test]
        fn what_is_known_is_what_was_noted_and_not_forgotten(
            start: u32,
            steps in prop::collection::vec((0_u32..70, any::<bool>(), 0_u32..80), 1..40),
        ) {
            let mut track = track();
            let mut model: HashSet<NetworkTick> = HashSet::new();
            let mut now = tick(start);
            for (ahead, forgets, back) in steps {
                if forgets {
                    now = now.sub(back);
                    track.forget_after(now);
                    model.retain(|known| !known.is_newer_than(now));
                }
                track.start = now;
                track.note_up_to(now.add(ahead));
                model.extend((1..=ahead).map(|offset| now.add(offset)));
                now = now.add(ahead);
                model.retain(|known| now.ticks_since(*known) < WIDTH);
                for age in 0..WIDTH as u32 {
                    prop_assert_eq!(track.knows(now.sub(age)), model.contains(&now.sub(age)), "{} ticks ago", age);
                }
                prop_assert!(!track.knows(now.next()) && !track.knows(now.sub(64)));
            }
        }
    }

    #[test]
    fn a_ghost_that_is_gone_leaves_its_slot_to_the_next() {
        let mut world = World::new();
        world.init_resource::<TrackChanges>();
        let mut tracks = Tracks::default();
        let instance = |id| GhostInstance { ghost_id: id, ..GhostInstance::unassigned(7) };
        let ghosts: Vec<Entity> =
            (1..=3).map(|id| world.spawn((instance(id), PredictedGhost::default())).id()).collect();
        let mut admitted = Vec::new();
        tracks.follow_changes(&mut world, |slot, ghost_type| admitted.push((slot, ghost_type)));
        assert_eq!(admitted, [(0, 7), (1, 7), (2, 7)]);
        world.despawn(ghosts[1]);
        world.entity_mut(ghosts[2]).remove::<(PredictedGhost, PredictionSlot)>();
        tracks.follow_changes(&mut world, |_, _| panic!("nobody came"));
        assert_eq!(tracks.iter().map(|(slot, track)| (slot, track.entity)).collect::<Vec<_>>(), [(0, ghosts[0])]);
        world.entity_mut(ghosts[2]).insert(PredictedGhost::default());
        admitted.clear();
        tracks.follow_changes(&mut world, |slot, ghost_type| admitted.push((slot, ghost_type)));
        assert_eq!((admitted, tracks.slots()), (vec![(2, 7)], 3));
        assert_eq!(tracks.get(2).map(|track| (track.entity, track.ghost)), Some((ghosts[2], Slot(2))));
    }
}

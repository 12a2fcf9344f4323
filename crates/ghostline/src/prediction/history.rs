//! The exact values of everything predicted after each of the last 64 full ticks: one column per component type, one ring of ticks per
//! column, one place per predicted ghost in it. Written after every full tick, read to restore a ghost and to make the row that is
//! compared with the server's. Rows are made only when there is something to compare, so keeping exact values is all that a tick costs.

use bevy_ecs::component::Mutable;
use bevy_ecs::prelude::{Component, Entity, QueryState, Resource, With, Without, World};
use ghostline_wire::{NetworkTick, QuantiseStats};
use std::any::TypeId;

use super::Prediction;
use super::components::Frozen;
use super::tracks::note_leaving;
use crate::ghost::GhostComponent;

/// So many full ticks are kept, and at most so many are simulated again in a frame.
pub const PREDICTION_HISTORY_TICKS: usize = 64;

/// The place of a tick in a ring. 64 divides the number of ticks, so this is right across their wrap.
pub(super) fn place(tick: NetworkTick) -> usize {
    tick.index() as usize % PREDICTION_HISTORY_TICKS
}

/// Where the histories keep a predicted ghost. On predicted ghosts of clients.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug)]
#[component(on_remove = note_leaving)]
pub(crate) struct PredictionSlot(pub u32);

/// The history of one component type, whatever it is.
pub(crate) trait StateColumn: Send + Sync {
    /// Keeps the value of every ghost that simulates now as its state after `tick`.
    fn record(&mut self, world: &World, tick: NetworkTick);
    /// Keeps the value of one ghost as its state after `tick`.
    fn record_one(&mut self, world: &World, entity: Entity, slot: usize, tick: NetworkTick);
    /// Gives ghosts their value after the tick that is wanted for their slot. A component that was not there then is removed, one that
    /// is not there now is inserted.
    fn restore(&mut self, world: &mut World, wanted: &[Option<NetworkTick>]);
    /// Writes the lanes of a ghost after `tick`. Lanes of a component that it did not have then stay as they are.
    fn write_lanes(&self, slot: usize, tick: NetworkTick, lanes: &mut [u32]);
    /// What a lane of a ghost was after `tick` before it was rounded; see [`GhostComponent::unrounded_lane`].
    fn unrounded_lane(&self, slot: usize, tick: NetworkTick, lane: usize) -> Option<f64>;
    /// Takes the lanes that are marked from the server's row.
    fn correct(&self, world: &mut World, entity: Entity, lanes: &[u32], wrong: &[bool]);
    /// A ghost takes this slot, of which nothing is known yet. Whether the component is predicted on it, or left to the server.
    fn admit(&mut self, slot: usize, is_predicted: bool);
}

/// The values of a tick, by slot. Of which ghosts they still hold is known by `tracks`: nobody asks for a tick that a ghost wasn't recorded at.
struct Values<C> {
    /// Where there was no component, anything.
    values: Vec<C>,
    is_there: Vec<bool>,
}

impl<C: Clone> Values<C> {
    const NONE: Self = Self { values: Vec::new(), is_there: Vec::new() };

    fn get(&self, slot: usize) -> Option<&C> {
        self.values.get(slot).filter(|_| self.is_there.get(slot) == Some(&true))
    }

    /// Keeps a value, in the memory of the one that it replaces. (That one is not looked at: most of the time goes into waiting for memory.)
    #[inline]
    fn keep(&mut self, slot: usize, component: &C) {
        if self.values.len() <= slot {
            self.values.resize(slot + 1, component.clone());
            self.is_there.resize(slot + 1, false);
        }
        if let (Some(value), Some(is_there)) = (self.values.get_mut(slot), self.is_there.get_mut(slot)) {
            value.clone_from(component);
            *is_there = true;
        }
    }

    /// The component was not there.
    fn keep_none(&mut self, slot: usize) {
        if let Some(is_there) = self.is_there.get_mut(slot) {
            *is_there = false;
        }
    }
}

struct LaneOps<C> {
    write: fn(&C, &mut [u32]),
    unrounded: fn(&C, usize) -> Option<f64>,
    correct: fn(&mut C, &[u32], &[bool]),
}

struct Column<C: Component<Mutability = Mutable>> {
    simulating: QueryState<(&'static PredictionSlot, &'static C), Without<Frozen>>,
    simulating_without: QueryState<&'static PredictionSlot, (Without<C>, Without<Frozen>)>,
    predicted: QueryState<(Entity, &'static PredictionSlot, Option<&'static mut C>), With<PredictionSlot>>,
    /// By place of the tick. Grows to the highest slot that ever had the component, and keeps its memory and that of the values in it.
    ring: Vec<Values<C>>,
    /// By slot: this is left to the server.
    unpredicted: Vec<bool>,
    lanes: Option<LaneOps<C>>,
    to_insert: Vec<(Entity, C)>,
    to_remove: Vec<Entity>,
}

/// A column of a component that is replicated.
pub(crate) fn ghost_column<C: GhostComponent + PartialEq>(world: &mut World) -> Box<dyn StateColumn> {
    let write = |component: &C, lanes: &mut [u32]| component.write_lanes(lanes, &mut QuantiseStats::default());
    let lanes = LaneOps { write, unrounded: C::unrounded_lane, correct: C::correct_lanes };
    Box::new(Column::<C>::new(world, Some(lanes)))
}

/// A column of a component that is predicted but not sent.
fn state_column<C: Component<Mutability = Mutable> + Clone + PartialEq>(world: &mut World) -> Box<dyn StateColumn> {
    Box::new(Column::<C>::new(world, None))
}

impl<C: Component<Mutability = Mutable> + Clone + PartialEq> Column<C> {
    fn new(world: &mut World, lanes: Option<LaneOps<C>>) -> Self {
        let mut ring = Vec::with_capacity(PREDICTION_HISTORY_TICKS);
        ring.resize_with(PREDICTION_HISTORY_TICKS, || Values::NONE);
        let (simulating, simulating_without) = (world.query_filtered(), world.query_filtered());
        let predicted = world.query_filtered();
        let (unpredicted, to_insert, to_remove) = (Vec::new(), Vec::new(), Vec::new());
        Self { simulating, simulating_without, predicted, ring, unpredicted, lanes, to_insert, to_remove }
    }

    fn known(&self, slot: usize, tick: NetworkTick) -> Option<&C> {
        self.ring.get(place(tick))?.get(slot)
    }
}

impl<C: Component<Mutability = Mutable> + Clone + PartialEq> StateColumn for Column<C> {
    fn record(&mut self, world: &World, tick: NetworkTick) {
        let Some(values) = self.ring.get_mut(place(tick)) else { return };
        for (slot, component) in self.simulating.iter(world) {
            values.keep(slot.0 as usize, component);
        }
        for slot in self.simulating_without.iter(world) {
            values.keep_none(slot.0 as usize);
        }
    }

    fn record_one(&mut self, world: &World, entity: Entity, slot: usize, tick: NetworkTick) {
        let Some(values) = self.ring.get_mut(place(tick)) else { return };
        match world.get::<C>(entity) {
            Some(component) => values.keep(slot, component),
            None => values.keep_none(slot),
        }
    }

    fn restore(&mut self, world: &mut World, wanted: &[Option<NetworkTick>]) {
        for (entity, slot, component) in self.predicted.iter_mut(world) {
            let slot = slot.0 as usize;
            let Some(tick) = wanted.get(slot).copied().flatten() else { continue };
            if self.unpredicted.get(slot) == Some(&true) {
                continue;
            }
            let known = self.ring.get(place(tick)).and_then(|values| values.get(slot));
            match (known, component) {
                // Only real changes are to be seen by change detection.
                (Some(known), Some(mut component)) => {
                    if *component != *known {
                        component.clone_from(known);
                    }
                }
                (Some(known), None) => self.to_insert.push((entity, known.clone())),
                (None, Some(_)) => self.to_remove.push(entity),
                (None, None) => {}
            }
        }
        for (entity, component) in self.to_insert.drain(..) {
            if let Ok(mut entity) = world.get_entity_mut(entity) {
                entity.insert(component);
            }
        }
        for entity in self.to_remove.drain(..) {
            if let Ok(mut entity) = world.get_entity_mut(entity) {
                entity.remove::<C>();
            }
        }
    }

    fn write_lanes(&self, slot: usize, tick: NetworkTick, lanes: &mut [u32]) {
        if let (Some(ops), Some(known)) = (&self.lanes, self.known(slot, tick)) {
            (ops.write)(known, lanes);
        }
    }

    fn unrounded_lane(&self, slot: usize, tick: NetworkTick, lane: usize) -> Option<f64> {
        (self.lanes.as_ref()?.unrounded)(self.known(slot, tick)?, lane)
    }

    fn correct(&self, world: &mut World, entity: Entity, lanes: &[u32], wrong: &[bool]) {
        let Some(ops) = &self.lanes else { return };
        let Some(mut component) = world.get_mut::<C>(entity) else { return };
        let mut corrected = component.clone();
        (ops.correct)(&mut corrected, lanes, wrong);
        if corrected != *component {
            *component = corrected;
        }
    }

    fn admit(&mut self, slot: usize, is_predicted: bool) {
        for values in &mut self.ring {
            values.keep_none(slot);
        }
        if self.unpredicted.len() <= slot {
            self.unpredicted.resize(slot + 1, false);
        }
        if let Some(unpredicted) = self.unpredicted.get_mut(slot) {
            *unpredicted = !is_predicted;
        }
    }
}

/// The components of a program that are predicted but not sent. A resource of every world that registered one.
#[derive(Resource, Default)]
pub(super) struct PredictedStates {
    pub columns: Vec<(TypeId, fn(&mut World) -> Box<dyn StateColumn>)>,
}

/// Adds to them.
pub(super) fn keep_state<C: Component<Mutability = Mutable> + Clone + PartialEq>(world: &mut World) {
    if world.contains_resource::<Prediction>() {
        let name = std::any::type_name::<C>();
        tracing::error!(
            "predicted state `{name}` was registered after the world's plugins were finished; register it while they are built"
        );
        return;
    }
    let mut states = world.get_resource_or_init::<PredictedStates>();
    let id = TypeId::of::<C>();
    if !states.columns.iter().any(|(known, _)| *known == id) {
        states.columns.push((id, state_column::<C>));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Component, Clone, PartialEq, Debug)]
    struct Charge(String);

    fn tick(index: u32) -> NetworkTick {
        NetworkTick::new(index)
    }

    fn charge(world: &World, ghost: Entity) -> Option<&str> {
        world.get::<Charge>(ghost).map(|charge| charge.0.as_str())
    }

    #[test]
    fn what_a_ghost_had_after_a_tick_comes_back_as_it_was() {
        let mut world = World::new();
        let ghosts = [0, 1].map(|slot| world.spawn((PredictionSlot(slot), Charge(format!("first {slot}")))).id());
        let mut column = state_column::<Charge>(&mut world);
        column.record(&world, tick(5));
        for ghost in ghosts {
            world.entity_mut(ghost).insert(Charge("later".into()));
        }
        column.restore(&mut world, &[Some(tick(5)), None]);
        assert_eq!(ghosts.map(|ghost| charge(&world, ghost)), [Some("first 0"), Some("later")]);
    }

    #[test]
    fn whether_a_ghost_had_a_component_comes_back_too() {
        let mut world = World::new();
        let ghost = world.spawn((PredictionSlot(0), Charge("early".into()))).id();
        let mut column = state_column::<Charge>(&mut world);
        column.record(&world, tick(1));
        world.entity_mut(ghost).remove::<Charge>();
        column.record(&world, tick(2));
        column.restore(&mut world, &[Some(tick(1))]);
        assert_eq!(charge(&world, ghost), Some("early"));
        column.restore(&mut world, &[Some(tick(2))]);
        assert_eq!(charge(&world, ghost), None);
        // Simulated again, the ghost loses the component a tick earlier.
        column.record(&world, tick(1));
        column.restore(&mut world, &[Some(tick(1))]);
        assert_eq!(charge(&world, ghost), None);
    }

    #[test]
    fn who_is_frozen_keeps_what_was_known_of_later_ticks() {
        let mut world = World::new();
        let ghost = world.spawn((PredictionSlot(0), Charge("of tick 9".into()))).id();
        let mut column = state_column::<Charge>(&mut world);
        column.record(&world, tick(9));
        world.entity_mut(ghost).insert((Frozen, Charge("of another".into())));
        column.record(&world, tick(9));
        column.restore(&mut world, &[Some(tick(9))]);
        assert_eq!(charge(&world, ghost), Some("of tick 9"));
        column.admit(0, true);
        column.restore(&mut world, &[Some(tick(9))]);
        assert_eq!(charge(&world, ghost), None, "the slot belongs to a ghost that never had it");
    }

    #[test]
    fn what_is_left_to_the_server_is_not_restored() {
        let mut world = World::new();
        let ghost = world.spawn((PredictionSlot(0), Charge("of tick 1".into()))).id();
        let mut column = state_column::<Charge>(&mut world);
        column.admit(0, false);
        column.record(&world, tick(1));
        world.entity_mut(ghost).insert(Charge("the server's".into()));
        column.restore(&mut world, &[Some(tick(1))]);
        column.restore(&mut world, &[Some(tick(2))]);
        assert_eq!(charge(&world, ghost), Some("the server's"));
    }
}

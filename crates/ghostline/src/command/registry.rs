//! The command types of a program, and the typed work on each: the rest of the module sees lanes and entities only.

use bevy_app::App;
use bevy_ecs::change_detection::DetectChangesMut;
use bevy_ecs::prelude::{Component, Entity, QueryState, Resource, With, Without, World};
use ghostline_wire::{ComponentSchema, DecodedBlock, NetworkTick, RowLayout};
use std::marker::PhantomData;

use super::buffer::{CommandBuffer, Stored};
use super::data::{CommandData, InputComponentData};
use crate::connection::NetworkId;
use crate::ghost::{GhostInstance, GhostOwner};
use crate::prediction::{Frozen, PredictedGhost};
use crate::world::WorldKind;

/// Entries of a buffer as lanes, newest first.
#[derive(Default)]
pub(super) struct EntryScratch {
    pub ticks: Vec<NetworkTick>,
    pub lanes: Vec<u32>,
}

/// What became of the commands of a block.
#[derive(Default, Clone, Copy)]
pub(super) struct StoreCounts {
    pub stored: u64,
    pub repeated: u64,
    pub late: u64,
    pub refused: u64,
}

/// The typed work on one command type.
pub(super) trait CommandOps: Send + Sync {
    fn has_buffer(&self, world: &World, entity: Entity) -> bool;
    /// The newest `count` commands up to `newest`, if the newest is not older than `oldest_of_interest`.
    fn read_entries(&self, world: &World, entity: Entity, newest: NetworkTick, count: u32, into: &mut EntryScratch);
    fn store(&self, world: &mut World, entity: Entity, block: &DecodedBlock, server_tick: NetworkTick) -> StoreCounts;
    /// Inputs: the component shows what the buffer holds for `target`, without its events.
    fn restore_for_gathering(&mut self, _world: &mut World, _own: Option<NetworkId>, _target: NetworkTick) {}
    /// Inputs: the component goes into the buffer at `target`.
    fn gather(&mut self, _world: &mut World, _own: Option<NetworkId>, _target: NetworkTick) {}
    /// Inputs: the events counted so far for this ghost of the player go on being counted when it comes back.
    fn carry_over(&mut self, _world: &World, _ghost: Entity) {}
    /// Inputs: the server is gone, and with it all ghosts.
    fn forget_carried(&mut self) {}
    /// Inputs: the component shows what the buffer holds for `tick`, with the events of the last `batch` ticks.
    fn apply(&mut self, _world: &mut World, _tick: NetworkTick, _batch: u32) {}
    /// Inputs: whether any predicted ghost has another input in the tick after `tick` than in `tick`.
    fn changes_after(&mut self, _world: &World, _tick: NetworkTick) -> bool {
        false
    }
}

pub(super) struct CommandType {
    pub schema: ComponentSchema,
    pub hash: u64,
    pub layout: RowLayout,
    pub ops: Box<dyn CommandOps>,
}

/// The command types of a world, numbered by their hashes.
#[derive(Resource, Default)]
pub(crate) struct CommandRegistry {
    pub(super) types: Vec<CommandType>,
    frozen: bool,
    /// Client: the server's numbers of these types, if they may be others. `None` of a type that the server lacks.
    server_numbers: Option<Vec<Option<u32>>>,
}

impl CommandRegistry {
    fn register(&mut self, schema: ComponentSchema, ops: Box<dyn CommandOps>) {
        let hash = schema.hash();
        if self.types.iter().any(|known| known.hash == hash) {
            return;
        }
        if self.frozen {
            tracing::error!(
                "command `{}` was registered after the world's plugins were finished; register it while they are built",
                schema.name
            );
            return;
        }
        let layout = RowLayout::new(std::slice::from_ref(&schema));
        self.types.push(CommandType { schema, hash, layout, ops });
    }

    /// Numbers the types.
    pub(crate) fn freeze(&mut self) {
        self.types.sort_by_key(|ty| ty.hash);
        self.frozen = true;
    }

    /// The number under which the server knows the type with this number here.
    pub(super) fn number_on_server(&self, number: usize) -> Option<u32> {
        match &self.server_numbers {
            Some(numbers) => *numbers.get(number)?,
            None => Some(number as u32),
        }
    }

    /// The hashes of all types, for the handshake.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = u64> + '_ {
        self.types.iter().map(|ty| ty.hash)
    }

    /// One line per type, for the log of a version mismatch.
    pub(crate) fn describe(&self) -> impl Iterator<Item = String> + '_ {
        self.types.iter().map(|ty| format!("command {:016x} {}", ty.hash, ty.schema.canonical_text()))
    }
}

/// The hashes of all command types, in the order of their numbers.
pub(crate) fn type_hashes(world: &World) -> Vec<u64> {
    world.resource::<CommandRegistry>().hashes().collect()
}

/// Client: the server knows these types, in this order. Commands of other types are not sent.
pub(crate) fn learn_server_types(world: &mut World, hashes: &[u64]) {
    let mut registry = world.resource_mut::<CommandRegistry>();
    let number_of = |ty: &CommandType| hashes.iter().position(|&hash| hash == ty.hash).map(|number| number as u32);
    let numbers: Vec<Option<u32>> = registry.types.iter().map(number_of).collect();
    for ty in registry.types.iter().zip(&numbers).filter(|(_, number)| number.is_none()).map(|(ty, _)| ty) {
        tracing::debug!("the server has no command `{}`; it is not sent", ty.schema.canonical_text());
    }
    registry.server_numbers = Some(numbers);
}

/// Client: the server is gone; the next one may know other types.
pub(crate) fn forget_server_types(world: &mut World) {
    world.resource_mut::<CommandRegistry>().server_numbers = None;
}

/// Registering command types.
pub trait CommandAppExt {
    /// Makes `T` a command of this program, on every side alike. Input components of ghost prefabs are registered with the prefab.
    fn register_command<T: CommandData>(&mut self) -> &mut Self;
}

impl CommandAppExt for App {
    fn register_command<T: CommandData>(&mut self) -> &mut Self {
        let ops = Box::new(BufferOps::<T>(PhantomData));
        self.world_mut().get_resource_or_init::<CommandRegistry>().register(T::schema(), ops);
        self
    }
}

/// Makes the hidden command buffer of an input component known.
pub(crate) fn register_input<I: InputComponentData + Component>(world: &mut World) {
    let kind = crate::world::kind_of(world);
    let (sampled, driven, predicted) = (world.query(), world.query_filtered(), world.query_filtered());
    let ops = Box::new(InputOps::<I> { sampled, driven, predicted, carried: Vec::new(), kind });
    world.get_resource_or_init::<CommandRegistry>().register(I::schema(), ops);
}

/// A command type whose buffers the game fills itself.
struct BufferOps<T>(PhantomData<fn() -> T>);

impl<T: CommandData> CommandOps for BufferOps<T> {
    fn has_buffer(&self, world: &World, entity: Entity) -> bool {
        world.get::<CommandBuffer<T>>(entity).is_some()
    }

    fn read_entries(&self, world: &World, entity: Entity, newest: NetworkTick, count: u32, into: &mut EntryScratch) {
        into.ticks.clear();
        into.lanes.clear();
        let Some(buffer) = world.get::<CommandBuffer<T>>(entity) else { return };
        let mut tick = newest;
        while (into.ticks.len() as u32) < count
            && let Some((found, data)) = buffer.get_at_tick(tick)
        {
            into.ticks.push(found);
            let start = into.lanes.len();
            into.lanes.resize(start + T::LANES, 0);
            data.write_lanes(into.lanes.get_mut(start..).unwrap_or_default());
            tick = found.prev();
        }
    }

    fn store(&self, world: &mut World, entity: Entity, block: &DecodedBlock, server_tick: NetworkTick) -> StoreCounts {
        let mut counts = StoreCounts::default();
        let Some(mut buffer) = world.get_mut::<CommandBuffer<T>>(entity) else { return counts };
        // Oldest first, so that of several late ones the newest stays.
        for (index, &tick) in block.entries.iter().enumerate().rev() {
            let lanes = block.lanes.get(index * T::LANES..(index + 1) * T::LANES).unwrap_or_default();
            match buffer.store_received(tick, T::read_lanes(lanes), server_tick) {
                Stored::InTime => counts.stored += 1,
                Stored::Repeated => counts.repeated += 1,
                Stored::Late => counts.late += 1,
                Stored::TooFarAhead => counts.refused += 1,
            }
        }
        counts
    }
}

/// An input component with its hidden command buffer.
struct InputOps<I: InputComponentData + Component> {
    /// Sampled on the side of the player.
    sampled: QueryState<(
        Option<&'static GhostInstance>,
        Option<&'static GhostOwner>,
        &'static mut I,
        &'static mut CommandBuffer<I>,
    )>,
    /// Driven by the simulation.
    driven: QueryState<(&'static CommandBuffer<I>, &'static mut I), (With<CommandBuffer<I>>, Without<Frozen>)>,
    /// What merged steps of prediction must look at.
    predicted: QueryState<&'static CommandBuffer<I>, With<PredictedGhost>>,
    /// The newest commands for ghosts that this client had to drop and that may come back, by id and spawn tick.
    carried: Vec<(u32, NetworkTick, I)>,
    kind: WorldKind,
}

/// The commands of so many dropped ghosts are kept per input type; the oldest go.
const MAX_CARRIED_INPUTS: usize = 256;

impl<I: InputComponentData + Component> InputOps<I> {
    /// Whether the local player fills this entity's input. In a local world everything is the player's.
    fn is_sampled(kind: WorldKind, owner: Option<&GhostOwner>, own: Option<NetworkId>) -> bool {
        kind == WorldKind::Local || (own.is_some() && owner.map(|owner| owner.0) == own)
    }
}

impl<I: InputComponentData + Component> CommandOps for InputOps<I> {
    fn has_buffer(&self, world: &World, entity: Entity) -> bool {
        BufferOps::<I>(PhantomData).has_buffer(world, entity)
    }

    fn read_entries(&self, world: &World, entity: Entity, newest: NetworkTick, count: u32, into: &mut EntryScratch) {
        BufferOps::<I>(PhantomData).read_entries(world, entity, newest, count, into);
    }

    fn store(&self, world: &mut World, entity: Entity, block: &DecodedBlock, server_tick: NetworkTick) -> StoreCounts {
        BufferOps::<I>(PhantomData).store(world, entity, block, server_tick)
    }

    fn restore_for_gathering(&mut self, world: &mut World, own: Option<NetworkId>, target: NetworkTick) {
        for (_, owner, mut input, buffer) in self.sampled.iter_mut(world) {
            if !Self::is_sampled(self.kind, owner, own) {
                continue;
            }
            if let Some((_, newest)) = buffer.get_at_tick(target) {
                let mut shown = newest.clone();
                shown.subtract_events(newest);
                input.set_if_neq(shown);
            }
        }
    }

    fn gather(&mut self, world: &mut World, own: Option<NetworkId>, target: NetworkTick) {
        for (instance, owner, input, mut buffer) in self.sampled.iter_mut(world) {
            if !Self::is_sampled(self.kind, owner, own) {
                continue;
            }
            let mut command = input.clone();
            if let Some((_, before)) = buffer.get_at_tick(target) {
                command.add_events(before);
            } else if let Some(instance) = instance
                && let Some(place) = self
                    .carried
                    .iter()
                    .position(|&(id, spawn_tick, _)| id == instance.ghost_id && Some(spawn_tick) == instance.spawn_tick)
            {
                // The server goes on counting from what it has seen of this ghost.
                command.add_events(&self.carried.swap_remove(place).2);
            }
            buffer.add(target, command);
        }
    }

    fn carry_over(&mut self, world: &World, ghost: Entity) {
        let (Some(instance), Some(buffer)) = (world.get::<GhostInstance>(ghost), world.get::<CommandBuffer<I>>(ghost))
        else {
            return;
        };
        let newest = buffer.iter().reduce(|newest, entry| if entry.0.is_newer_than(newest.0) { entry } else { newest });
        let (Some(spawn_tick), Some((_, command))) = (instance.spawn_tick, newest) else { return };
        self.carried.retain(|&(id, tick, _)| (id, tick) != (instance.ghost_id, spawn_tick));
        if self.carried.len() >= MAX_CARRIED_INPUTS {
            self.carried.remove(0);
        }
        self.carried.push((instance.ghost_id, spawn_tick, command.clone()));
    }

    fn forget_carried(&mut self) {
        self.carried.clear();
    }

    fn apply(&mut self, world: &mut World, tick: NetworkTick, batch: u32) {
        for (buffer, mut input) in self.driven.iter_mut(world) {
            if buffer.is_empty() {
                // Nobody commands this one: its input is what the game makes it.
                continue;
            }
            let mut shown = buffer.get_at_tick(tick).map(|(_, now)| now.clone()).unwrap_or_default();
            if let Some((_, before)) = buffer.get_at_tick(tick.sub(batch.max(1))) {
                shown.subtract_events(before);
            }
            input.set_if_neq(shown);
        }
    }

    fn changes_after(&mut self, world: &World, tick: NetworkTick) -> bool {
        let data = |buffer: &CommandBuffer<I>, tick| buffer.get_at_tick(tick).map(|(_, data)| data.clone());
        self.predicted.iter(world).any(|buffer| data(buffer, tick) != data(buffer, tick.next()))
    }
}

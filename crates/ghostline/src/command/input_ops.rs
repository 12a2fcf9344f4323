//! The typed work on one input component and its hidden buffer: sampled on the side of the player, shown for every simulated tick on both
//! sides, and replicated to players who predict somebody else's ghost.

use bevy_ecs::change_detection::DetectChangesMut;
use bevy_ecs::prelude::{Component, QueryState, Without, World};
#[cfg(feature = "client")]
use bevy_ecs::prelude::{Entity, With};
use ghostline_wire::NetworkTick;
#[cfg(feature = "server")]
use ghostline_wire::{BitReader, DecodeError};
#[cfg(feature = "client")]
use ghostline_wire::{BitWriter, BlockTooLarge};

#[cfg(feature = "server")]
use super::arrival::StoreCounts;
use super::buffer::{CommandBuffer, Commander};
use super::buffer_ops::BufferOps;
use super::coder::RowCoder;
use super::data::InputComponentData;
#[cfg(feature = "client")]
use super::migration::Carried;
use super::registry::CommandOps;
#[cfg(feature = "server")]
use super::registry::{Arrival, ReceivingOps, ResolveTarget};
#[cfg(feature = "client")]
use super::registry::{BlockRequest, SendingOps};
use super::replicated::{ReplicatedInput, grow};
use crate::connection::NetworkId;
use crate::ghost::{GhostInstance, GhostOwner};
use crate::prediction::Frozen;
#[cfg(feature = "client")]
use crate::prediction::PredictedGhost;
use crate::world::{WorldKind, kind_of};

/// The commands of so many dropped ghosts are kept per input type; the oldest go.
#[cfg(feature = "client")]
const MAX_CARRIED_INPUTS: usize = 256;

/// What is sampled on the side of the player.
type Sampled<I> =
    (Option<&'static GhostInstance>, Option<&'static GhostOwner>, &'static mut I, &'static mut CommandBuffer<I>);

/// What is driven by the simulation.
type Driven<I> = (&'static mut CommandBuffer<I>, &'static mut I, Option<&'static mut ReplicatedInput<I>>);

/// Commands with the id and the spawn tick of their ghosts.
type CarriedCommands<I> = Vec<(u32, NetworkTick, I)>;

/// What changes hands.
#[cfg(feature = "server")]
type Owned<I> = (&'static GhostOwner, &'static mut CommandBuffer<I>, &'static mut I);

/// An input component with its hidden command buffer.
pub(super) struct InputOps<I: InputComponentData + Component> {
    commands: BufferOps<I, RowCoder>,
    #[cfg(feature = "server")]
    owned: QueryState<Owned<I>>,
    sampled: QueryState<Sampled<I>>,
    driven: QueryState<Driven<I>, Without<Frozen>>,
    /// What merged steps of prediction must look at.
    #[cfg(feature = "client")]
    predicted: QueryState<&'static CommandBuffer<I>, With<PredictedGhost>>,
    /// The newest commands for ghosts that this client had to drop and that may come back, by id and spawn tick.
    carried: CarriedCommands<I>,
    kind: WorldKind,
}

impl<I: InputComponentData + Component> InputOps<I> {
    pub(super) fn new(world: &mut World) -> Self {
        Self {
            commands: BufferOps::new(world, RowCoder::of::<I>(), Some(presses_of::<I>)),
            #[cfg(feature = "server")]
            owned: world.query(),
            sampled: world.query(),
            driven: world.query_filtered(),
            #[cfg(feature = "client")]
            predicted: world.query_filtered(),
            carried: Vec::new(),
            kind: kind_of(world),
        }
    }

    /// Whether the local player fills this entity's input. In a local world everything is the player's.
    fn is_sampled(kind: WorldKind, owner: Option<&GhostOwner>, own: Option<NetworkId>) -> bool {
        kind == WorldKind::Local || (own.is_some() && owner.map(|owner| owner.0) == own)
    }

    /// Takes out what was counted for a ghost that was dropped.
    fn resume(carried: &mut CarriedCommands<I>, ghost: &GhostInstance) -> Option<I> {
        let is_it =
            |&(id, spawn_tick, _): &(u32, NetworkTick, I)| (id, Some(spawn_tick)) == (ghost.ghost_id, ghost.spawn_tick);
        let place = carried.iter().position(is_it)?;
        Some(carried.swap_remove(place).2)
    }
}

/// An input with the presses counted in `last`, and nothing else.
fn presses_of<I: InputComponentData>(last: &I) -> I {
    let mut presses = I::default();
    presses.subtract_events(&I::default());
    presses.add_events(last);
    presses
}

impl<I: InputComponentData + Component> CommandOps for InputOps<I> {
    fn restore_for_gathering(&mut self, world: &mut World, own: Option<NetworkId>, target: NetworkTick) {
        for (_, owner, mut input, buffer) in self.sampled.iter_mut(world) {
            if !Self::is_sampled(self.kind, owner, own) {
                continue;
            }
            let last = buffer.get_at_tick(target).map(|(_, last)| last).or_else(|| buffer.newest());
            if let Some(last) = last {
                let mut shown = last.clone();
                shown.subtract_events(last);
                input.set_if_neq(shown);
            }
        }
    }

    fn gather(&mut self, world: &mut World, own: Option<NetworkId>, target: NetworkTick) {
        for (ghost, owner, input, mut buffer) in self.sampled.iter_mut(world) {
            if !Self::is_sampled(self.kind, owner, own) {
                continue;
            }
            if buffer.commander() != Some(Commander::Player) {
                if let Some(last) = ghost.and_then(|ghost| Self::resume(&mut self.carried, ghost)) {
                    buffer.remember_player(last);
                }
                buffer.hand_over(Some(Commander::Player), target, Some(presses_of::<I>));
            }
            let given_up = buffer.begin_anew_before(target);
            // With less latency than before the target goes back; counts must grow from tick to tick nevertheless.
            buffer.change_after(target, |later| later.add_events(&input));
            let mut command = input.clone();
            if let Some(before) = given_up.as_ref().or(buffer.get_at_tick(target).map(|(_, before)| before)) {
                command.add_events(before);
            }
            buffer.add(target, command);
        }
    }

    fn apply(&mut self, world: &mut World, tick: NetworkTick, batch: u32) {
        for (mut buffer, mut input, replicated) in self.driven.iter_mut(world) {
            if !buffer.is_empty() {
                let mut shown = buffer.get_at_tick(tick).map(|(_, now)| now.clone()).unwrap_or_default();
                if self.kind == WorldKind::Server {
                    buffer.bypass_change_detection().take_new_events(&mut shown);
                } else if let Some((_, before)) = buffer.get_at_tick(tick.sub(batch.max(1))) {
                    shown.subtract_events(before);
                }
                input.set_if_neq(shown);
            }
            // (An input that nobody commands is what the game makes it.)
            if let (Some(mut replicated), WorldKind::Server) = (replicated, self.kind) {
                grow(&mut replicated, &input);
            }
        }
    }
}

#[cfg(feature = "client")]
impl<I: InputComponentData + Component> SendingOps for InputOps<I> {
    fn write(
        &mut self,
        world: &World,
        entity: Entity,
        request: &BlockRequest,
        scratch: &mut BitWriter,
        out: &mut BitWriter,
    ) -> Result<(), BlockTooLarge> {
        self.commands.write(world, entity, request, scratch, out)
    }

    fn lose(&mut self, world: &mut World, ghost: Entity, tick: NetworkTick) {
        self.commands.lose(world, ghost, tick);
        if let Some(mut input) = world.get_mut::<I>(ghost) {
            input.set_if_neq(I::default());
        }
    }

    fn carry_over(&mut self, world: &World, ghost: Entity) {
        let (Some(instance), Some(buffer)) = (world.get::<GhostInstance>(ghost), world.get::<CommandBuffer<I>>(ghost))
        else {
            return;
        };
        let (Some(spawn_tick), Some(last)) = (instance.spawn_tick, buffer.last_of_player()) else { return };
        Self::resume(&mut self.carried, instance);
        if self.carried.len() >= MAX_CARRIED_INPUTS {
            self.carried.remove(0);
        }
        self.carried.push((instance.ghost_id, spawn_tick, last.clone()));
    }

    fn forget_carried(&mut self) {
        self.carried.clear();
    }

    fn take_carried(&mut self) -> Option<Carried> {
        Some(Box::new(std::mem::take(&mut self.carried)))
    }

    fn put_carried(&mut self, carried: Carried) {
        if let Ok(carried) = carried.downcast::<CarriedCommands<I>>() {
            self.carried = *carried;
        }
    }

    fn changes_after(&mut self, world: &World, tick: NetworkTick) -> bool {
        let data = |buffer: &CommandBuffer<I>, tick| buffer.get_at_tick(tick).map(|(_, data)| data.clone());
        I::BREAKS_BATCHES && self.predicted.iter(world).any(|buffer| data(buffer, tick) != data(buffer, tick.next()))
    }
}

#[cfg(feature = "server")]
impl<I: InputComponentData + Component> ReceivingOps for InputOps<I> {
    fn receive(
        &mut self,
        world: &mut World,
        body: BitReader<'_>,
        arrival: &Arrival,
        resolve: ResolveTarget,
    ) -> Result<StoreCounts, DecodeError> {
        self.commands.receive(world, body, arrival, resolve)
    }

    fn note_owners(&mut self, world: &mut World, tick: NetworkTick) {
        for (owner, mut buffer, mut input) in self.owned.iter_mut(world) {
            if buffer.note_owner(owner.0) {
                buffer.hand_over(None, tick, None);
                input.set_if_neq(I::default());
            }
        }
    }
}

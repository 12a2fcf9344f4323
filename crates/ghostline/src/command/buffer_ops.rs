//! The typed work on the buffers of one command type: into packets on a client, out of packets on the server.

use bevy_ecs::prelude::{Entity, QueryState, World};
use ghostline_wire::{BitReader, BitWriter, BlockTooLarge, DecodeError, NetworkTick};

use super::buffer::{CommandBuffer, Commander, Stored};
use super::coder::CommandCoder;
use super::data::CommandValue;
use super::registry::{Arrival, BlockRequest, CommandOps, ResolveTarget, StoreCounts};
use crate::ghost::GhostOwner;

/// The buffers of one type.
pub(super) struct BufferOps<T: CommandValue, C> {
    coder: C,
    received: Vec<(NetworkTick, T)>,
    owned: QueryState<(&'static GhostOwner, &'static mut CommandBuffer<T>)>,
    /// What is left of a command for a player who comes back; see [`CommandBuffer::hand_over`].
    baseline: Option<fn(&T) -> T>,
}

impl<T: CommandValue, C: CommandCoder<T>> BufferOps<T, C> {
    pub(super) fn new(world: &mut World, coder: C) -> Self {
        Self { coder, received: Vec::new(), owned: world.query(), baseline: None }
    }

    /// With something to go on from for a player who comes back.
    pub(super) fn with_baseline(mut self, baseline: fn(&T) -> T) -> Self {
        self.baseline = Some(baseline);
        self
    }

    fn store(&self, world: &mut World, entity: Entity, arrival: &Arrival) -> StoreCounts {
        let mut counts = StoreCounts::default();
        let owner = world.get::<GhostOwner>(entity).copied();
        let Some(mut buffer) = world.get_mut::<CommandBuffer<T>>(entity) else { return counts };
        if let Some(owner) = owner {
            buffer.note_owner(owner.0);
        }
        buffer.hand_over(Some(Commander::Connection(arrival.connection)), arrival.server_tick, self.baseline);
        // Oldest first, so that of several late ones the newest stays.
        for (tick, command) in self.received.iter().rev() {
            match buffer.store_received(*tick, command.clone(), arrival.interpolation_delay, arrival.server_tick) {
                Stored::InTime => counts.stored += 1,
                Stored::Repeated => counts.repeated += 1,
                Stored::Late => counts.late += 1,
                Stored::TooFarAhead => counts.refused += 1,
            }
        }
        buffer.give_up_after(arrival.newest_target_tick);
        counts
    }
}

impl<T: CommandValue, C: CommandCoder<T>> CommandOps for BufferOps<T, C> {
    fn write(
        &mut self,
        world: &World,
        entity: Entity,
        request: &BlockRequest,
        scratch: &mut BitWriter,
        out: &mut BitWriter,
    ) -> Result<(), BlockTooLarge> {
        match world.get::<CommandBuffer<T>>(entity) {
            Some(buffer) => self.coder.write(buffer, request, scratch, out),
            None => Ok(()),
        }
    }

    fn receive(
        &mut self,
        world: &mut World,
        body: BitReader<'_>,
        arrival: &Arrival,
        resolve: ResolveTarget,
    ) -> Result<StoreCounts, DecodeError> {
        let target = self.coder.read(body, arrival.input_target_tick, &mut self.received)?;
        Ok(match resolve(world, arrival.connection, target) {
            Some(entity) => self.store(world, entity, arrival),
            None => StoreCounts::default(),
        })
    }

    fn note_owners(&mut self, world: &mut World, tick: NetworkTick) {
        for (owner, mut buffer) in self.owned.iter_mut(world) {
            if buffer.note_owner(owner.0) {
                buffer.hand_over(None, tick, None);
            }
        }
    }

    fn lose(&mut self, world: &mut World, ghost: Entity, tick: NetworkTick) {
        if let Some(mut buffer) = world.get_mut::<CommandBuffer<T>>(ghost) {
            buffer.hand_over(None, tick, None);
        }
    }
}

//! Server: the commands of one type out of packets into the buffers of their entities.

use bevy_ecs::prelude::{Entity, QueryState, World};
use ghostline_wire::{BitReader, DecodeError, NetworkTick};

use super::arrival::StoreCounts;
use super::buffer::{CommandBuffer, Commander, Stored};
use super::buffer_ops::BufferOps;
use super::coder::CommandCoder;
use super::data::CommandValue;
use super::registry::{Arrival, ReceivingOps, ResolveTarget};
use crate::ghost::GhostOwner;

/// What receiving a type needs.
pub(super) struct Store<T: CommandValue> {
    received: Vec<(NetworkTick, T)>,
    owned: QueryState<(&'static GhostOwner, &'static mut CommandBuffer<T>)>,
    baseline: Option<fn(&T) -> T>,
}

impl<T: CommandValue> Store<T> {
    pub(super) fn new(world: &mut World, baseline: Option<fn(&T) -> T>) -> Self {
        Self { received: Vec::new(), owned: world.query(), baseline }
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

impl<T: CommandValue, C: CommandCoder<T>> ReceivingOps for BufferOps<T, C> {
    fn receive(
        &mut self,
        world: &mut World,
        body: BitReader<'_>,
        arrival: &Arrival,
        resolve: ResolveTarget,
    ) -> Result<StoreCounts, DecodeError> {
        let target = self.coder.read(body, arrival.input_target_tick, &mut self.store.received)?;
        Ok(match resolve(world, arrival.connection, target) {
            Some(entity) => self.store.store(world, entity, arrival),
            None => StoreCounts::default(),
        })
    }

    fn note_owners(&mut self, world: &mut World, tick: NetworkTick) {
        for (owner, mut buffer) in self.store.owned.iter_mut(world) {
            if buffer.note_owner(owner.0) {
                buffer.hand_over(None, tick, None);
            }
        }
    }
}

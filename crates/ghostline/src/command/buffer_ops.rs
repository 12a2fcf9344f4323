//! The typed work on the buffers of one command type: into packets on a client, out of packets on the server.

#[cfg(feature = "client")]
use bevy_ecs::prelude::Entity;
use bevy_ecs::prelude::World;
#[cfg(feature = "client")]
use ghostline_wire::{BitWriter, BlockTooLarge, NetworkTick};
use std::marker::PhantomData;

#[cfg(feature = "client")]
use super::buffer::CommandBuffer;
use super::coder::CommandCoder;
use super::data::CommandValue;
use super::registry::CommandOps;
#[cfg(feature = "client")]
use super::registry::{BlockRequest, SendingOps};
#[cfg(feature = "server")]
use super::store::Store;

/// The buffers of one type.
pub(super) struct BufferOps<T: CommandValue, C> {
    pub(super) coder: C,
    #[cfg(feature = "server")]
    pub(super) store: Store<T>,
    value: PhantomData<fn() -> T>,
}

impl<T: CommandValue, C: CommandCoder<T>> BufferOps<T, C> {
    /// `baseline`: what is left of a command for a player who comes back; see [`CommandBuffer::hand_over`](super::CommandBuffer::hand_over).
    pub(super) fn new(world: &mut World, coder: C, baseline: Option<fn(&T) -> T>) -> Self {
        #[cfg(not(feature = "server"))]
        let _ = (world, baseline);
        Self {
            coder,
            #[cfg(feature = "server")]
            store: Store::new(world, baseline),
            value: PhantomData,
        }
    }
}

impl<T: CommandValue, C: CommandCoder<T>> CommandOps for BufferOps<T, C> {}

#[cfg(feature = "client")]
impl<T: CommandValue, C: CommandCoder<T>> SendingOps for BufferOps<T, C> {
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

    fn lose(&mut self, world: &mut World, ghost: Entity, tick: NetworkTick) {
        if let Some(mut buffer) = world.get_mut::<CommandBuffer<T>>(ghost) {
            buffer.hand_over(None, tick, None);
        }
    }
}

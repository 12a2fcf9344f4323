//! The command types of a program: the list that both sides number alike, and how a game adds to it. What is done with a type's buffers is in
//! `buffer_ops` and `input_ops`.

use bevy_app::App;
use bevy_ecs::prelude::{Component, Entity, Resource, World};
#[cfg(feature = "server")]
use ghostline_wire::{BitReader, DecodeError};
#[cfg(feature = "client")]
use ghostline_wire::{BitWriter, BlockTooLarge};
use ghostline_wire::{BlockTarget, ComponentSchema, NetworkTick};

#[cfg(feature = "server")]
use super::arrival::StoreCounts;
use super::buffer_ops::BufferOps;
use super::coder::{OwnCoder, RowCoder};
use super::data::{CommandCodec, CommandData, InputComponentData};
use super::input_ops::InputOps;
#[cfg(feature = "client")]
use super::migration::Carried;
use crate::connection::NetworkId;

/// Which commands of a buffer go into a packet.
#[cfg(feature = "client")]
pub(super) struct BlockRequest {
    pub type_index: u32,
    pub target: BlockTarget,
    pub input_target_tick: NetworkTick,
    /// So many at most.
    pub count: u32,
}

/// Where a block of commands came from.
#[cfg(feature = "server")]
pub(super) struct Arrival {
    pub connection: Entity,
    pub input_target_tick: NetworkTick,
    /// What the packet that the client has sent last is for. It has given up what it sent for later ticks before.
    pub newest_target_tick: NetworkTick,
    pub server_tick: NetworkTick,
    /// As the client says, within what is plausible.
    pub interpolation_delay: u16,
}

/// Finds the entity that a block is for, if it is there and the sender may command it.
#[cfg(feature = "server")]
pub(super) type ResolveTarget = fn(&World, Entity, BlockTarget) -> Option<Entity>;

/// The typed work on one command type, whatever the side: inputs that are sampled, and shown for each simulated tick. A build does the work of its
/// sides, too.
pub(super) trait CommandOps: SendingOps + ReceivingOps + Send + Sync {
    /// Inputs: the component shows what the buffer holds for `target`, without its events.
    fn restore_for_gathering(&mut self, _world: &mut World, _own: Option<NetworkId>, _target: NetworkTick) {}
    /// Inputs: the component goes into the buffer at `target`.
    fn gather(&mut self, _world: &mut World, _own: Option<NetworkId>, _target: NetworkTick) {}
    /// Inputs: the component shows what the buffer holds for `tick`, with the events of the last `batch` ticks.
    fn apply(&mut self, _world: &mut World, _tick: NetworkTick, _batch: u32) {}
}

/// What only a client does: sending, and keeping what it has sent.
#[cfg(feature = "client")]
pub(super) trait SendingOps {
    /// Writes the commands of an entity's buffer into the packet, if it has one and there is something to say.
    fn write(
        &mut self,
        world: &World,
        entity: Entity,
        request: &BlockRequest,
        scratch: &mut BitWriter,
        out: &mut BitWriter,
    ) -> Result<(), BlockTooLarge>;
    /// A ghost is no longer the player's, since `tick`.
    fn lose(&mut self, world: &mut World, ghost: Entity, tick: NetworkTick);
    /// Inputs: the events counted so far for this ghost of the player go on being counted when it comes back.
    fn carry_over(&mut self, _world: &World, _ghost: Entity) {}
    /// Inputs: the server is gone, and with it all ghosts.
    fn forget_carried(&mut self) {}
    /// Inputs: what was carried over, for another world.
    fn take_carried(&mut self) -> Option<Carried> {
        None
    }
    /// Inputs: what another world's [`take_carried`](Self::take_carried) gave.
    fn put_carried(&mut self, _carried: Carried) {}
    /// Inputs: whether any predicted ghost has another input in the tick after `tick` than in `tick`, and that matters to merged steps.
    fn changes_after(&mut self, _world: &World, _tick: NetworkTick) -> bool {
        false
    }
}

/// What only a server does: receiving.
#[cfg(feature = "server")]
pub(super) trait ReceivingOps {
    /// Takes in a block.
    fn receive(
        &mut self,
        world: &mut World,
        body: BitReader<'_>,
        arrival: &Arrival,
        resolve: ResolveTarget,
    ) -> Result<StoreCounts, DecodeError>;
    /// What the players of ghosts that have changed hands have sent for later does not count any more.
    fn note_owners(&mut self, world: &mut World, tick: NetworkTick);
}

/// No client, nothing to send.
#[cfg(not(feature = "client"))]
pub(super) trait SendingOps {}
#[cfg(not(feature = "client"))]
impl<T> SendingOps for T {}

/// No server, nothing to receive.
#[cfg(not(feature = "server"))]
pub(super) trait ReceivingOps {}
#[cfg(not(feature = "server"))]
impl<T> ReceivingOps for T {}

pub(super) struct CommandType {
    pub schema: ComponentSchema,
    pub hash: u64,
    pub ops: Box<dyn CommandOps>,
}

/// The command types of a world, numbered by their hashes.
#[derive(Resource, Default)]
pub(crate) struct CommandRegistry {
    pub(super) types: Vec<CommandType>,
    frozen: bool,
    /// Client: the server's numbers of these types, if they may be others. `None` of a type that the server lacks.
    #[cfg(feature = "client")]
    pub(super) server_numbers: Option<Vec<Option<u32>>>,
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
        self.types.push(CommandType { schema, hash, ops });
    }

    /// Numbers the types.
    pub(crate) fn freeze(&mut self) {
        self.types.sort_by_key(|ty| ty.hash);
        self.frozen = true;
    }

    /// The number under which the server knows the type with this number here.
    #[cfg(feature = "client")]
    pub(super) fn number_on_server(server_numbers: Option<&[Option<u32>]>, number: usize) -> Option<u32> {
        match server_numbers {
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
#[cfg(feature = "server")]
pub(crate) fn type_hashes(world: &World) -> Vec<u64> {
    world.resource::<CommandRegistry>().hashes().collect()
}

/// Client: the server knows these types, in this order. Commands of other types are not sent.
#[cfg(feature = "client")]
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
#[cfg(feature = "client")]
pub(crate) fn forget_server_types(world: &mut World) {
    world.resource_mut::<CommandRegistry>().server_numbers = None;
}

/// Registering command types.
pub trait CommandAppExt {
    /// Makes `T` a command of this program, on every side alike. Input components of ghost prefabs are registered with the prefab.
    fn register_command<T: CommandData>(&mut self) -> &mut Self;

    /// Like [`register_command`](Self::register_command), for a command that brings its own bits.
    fn register_command_with_codec<T: CommandCodec>(&mut self) -> &mut Self;
}

impl CommandAppExt for App {
    fn register_command<T: CommandData>(&mut self) -> &mut Self {
        let ops = BufferOps::<T, RowCoder>::new(self.world_mut(), RowCoder::of::<T>(), None);
        self.world_mut().get_resource_or_init::<CommandRegistry>().register(T::schema(), Box::new(ops));
        self
    }

    fn register_command_with_codec<T: CommandCodec>(&mut self) -> &mut Self {
        let ops = BufferOps::<T, OwnCoder<T>>::new(self.world_mut(), OwnCoder::default(), None);
        let schema = ComponentSchema { name: T::NAME.to_owned(), fields: Vec::new() };
        self.world_mut().get_resource_or_init::<CommandRegistry>().register(schema, Box::new(ops));
        self
    }
}

/// Makes the hidden command buffer of an input component known.
pub(crate) fn register_input<I: InputComponentData + Component>(world: &mut World) {
    let ops = InputOps::<I>::new(world);
    world.get_resource_or_init::<CommandRegistry>().register(I::schema(), Box::new(ops));
}

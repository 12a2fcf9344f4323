//! The RPCs that a program knows: registered while its plugins are built, frozen and numbered when they are finished.

use bevy_app::App;
use bevy_ecs::component::ComponentId;
use bevy_ecs::prelude::{Entity, Resource, World};
use bevy_platform::collections::HashMap;
use ghostline_wire::{BitReader, BitWriter, DecodeError, collection_hash, fnv1a64, internal_rpc};
use std::any::TypeId;
use thiserror::Error;

use super::data::{ApprovalRpcCommand, RpcCommand};
use super::ghost_ref::GhostMapping;
use super::receive::ReceiveRpcCommandRequest;
use super::sender::identity;
use crate::ghost::{GhostInstance, SpawnedGhostEntityMap};
use crate::world::kind_of;

/// What a received RPC does when its turn comes: spawns its entity.
pub(super) type SpawnRpc = Box<dyn FnOnce(&mut World, ReceiveRpcCommandRequest) + Send + Sync>;

/// One kind of RPC.
pub(super) struct RpcEntry {
    pub hash: u64,
    pub text: String,
    pub component: ComponentId,
    pub type_id: TypeId,
    /// May be sent before the connection is approved.
    pub is_approval: bool,
    /// Takes the RPC from an entity and writes its payload; false if it isn't there.
    pub encode: fn(&mut World, Entity, &mut BitWriter) -> bool,
    pub decode: fn(&mut BitReader<'_>) -> Result<SpawnRpc, DecodeError>,
    /// Takes a received RPC back from its entity, as if it had just arrived; `None` if it isn't there.
    pub take_back: fn(&mut World, Entity) -> Option<SpawnRpc>,
}

/// The kinds of RPCs of a network world. A resource, there from the world's creation.
#[derive(Resource, Default)]
pub struct RpcCollection {
    entries: Vec<RpcEntry>,
    by_component: HashMap<ComponentId, usize>,
    by_type: HashMap<TypeId, usize>,
    frozen: bool,
}

/// Why an RPC could not be registered.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterRpcError {
    /// The collection is part of the handshake and frozen once the world runs.
    #[error("RPC `{0}` was registered after the world's plugins were finished; register it while they are built")]
    Frozen(String),
    /// The same name and fields twice.
    #[error("RPC `{0}` is registered twice, or two RPCs share their name and fields")]
    Duplicate(String),
    /// More kinds than a type index can name.
    #[error("more than {limit} kinds of RPCs; `{name}` doesn't fit")]
    TooMany {
        /// The one that doesn't fit.
        name: String,
        /// The bound.
        limit: usize,
    },
}

/// At most so many kinds of RPCs.
pub const MAX_RPC_TYPES: usize = u16::MAX as usize - internal_rpc::FIRST_GAME_RPC as usize;

impl RpcCollection {
    fn register(&mut self, entry: RpcEntry) -> Result<(), RegisterRpcError> {
        if self.frozen {
            return Err(RegisterRpcError::Frozen(entry.text));
        }
        if self.entries.iter().any(|known| known.hash == entry.hash) {
            return Err(RegisterRpcError::Duplicate(entry.text));
        }
        if self.entries.len() >= MAX_RPC_TYPES {
            return Err(RegisterRpcError::TooMany { name: entry.text, limit: MAX_RPC_TYPES });
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Numbers the kinds by hash, and closes the collection.
    pub(crate) fn freeze(&mut self) {
        self.entries.sort_by_key(|entry| entry.hash);
        self.by_component = self.entries.iter().enumerate().map(|(index, entry)| (entry.component, index)).collect();
        self.by_type = self.entries.iter().enumerate().map(|(index, entry)| (entry.type_id, index)).collect();
        self.frozen = true;
    }

    /// The hash that the handshake compares; independent of the order of registration.
    pub(crate) fn hash(&self) -> u64 {
        collection_hash(&mut self.entries.iter().map(|entry| entry.hash).collect::<Vec<u64>>())
    }

    /// One line per kind, for the log of a version mismatch.
    pub(crate) fn describe(&self) -> impl Iterator<Item = String> + '_ {
        self.entries.iter().map(|entry| format!("rpc {:016x} {}", entry.hash, entry.text))
    }

    /// How many kinds there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the game registered none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn of_component(&self, component: ComponentId) -> Option<(u16, &RpcEntry)> {
        self.numbered(*self.by_component.get(&component)?)
    }

    pub(super) fn of_type<T: RpcCommand>(&self) -> Option<(u16, &RpcEntry)> {
        self.numbered(*self.by_type.get(&TypeId::of::<T>())?)
    }

    fn numbered(&self, index: usize) -> Option<(u16, &RpcEntry)> {
        let entry = self.entries.get(index)?;
        Some((u16::try_from(index).ok()? + internal_rpc::FIRST_GAME_RPC, entry))
    }

    pub(super) fn of_index(&self, type_index: u16) -> Option<&RpcEntry> {
        self.entries.get(usize::from(type_index.checked_sub(internal_rpc::FIRST_GAME_RPC)?))
    }
}

/// Registering RPCs.
pub trait RpcAppExt {
    /// Makes `T` an RPC of this program: to be called on every side, in any order, while plugins are built. A mistake is logged as an error.
    fn register_rpc<T: RpcCommand>(&mut self) -> &mut Self;

    /// Makes `T` an approval RPC of this program, as [`register_rpc`](Self::register_rpc) does for others.
    fn register_approval_rpc<T: ApprovalRpcCommand>(&mut self) -> &mut Self;

    /// Like [`register_rpc`](Self::register_rpc), with the mistake as a value.
    ///
    /// # Errors
    /// Too late, twice, or too many.
    fn try_register_rpc<T: RpcCommand>(&mut self) -> Result<(), RegisterRpcError>;
}

impl RpcAppExt for App {
    fn register_rpc<T: RpcCommand>(&mut self) -> &mut Self {
        if let Err(error) = self.try_register_rpc::<T>() {
            tracing::error!("{error}");
        }
        self
    }

    fn register_approval_rpc<T: ApprovalRpcCommand>(&mut self) -> &mut Self {
        if let Err(error) = register::<T>(self, true) {
            tracing::error!("{error}");
        }
        self
    }

    fn try_register_rpc<T: RpcCommand>(&mut self) -> Result<(), RegisterRpcError> {
        register::<T>(self, false)
    }
}

fn register<T: RpcCommand>(app: &mut App, is_approval: bool) -> Result<(), RegisterRpcError> {
    let world = app.world_mut();
    if !kind_of(world).is_network() {
        return Ok(());
    }
    let component = world.register_component::<T>();
    // Both sides must agree on which RPCs may come early.
    let text = if is_approval { format!("approval {}", T::canonical_text()) } else { T::canonical_text() };
    let entry = RpcEntry {
        hash: fnv1a64(text.as_bytes()),
        text,
        component,
        type_id: TypeId::of::<T>(),
        is_approval,
        encode: |world, entity, out| match take_for_sending::<T>(world, entity) {
            Some(rpc) => {
                rpc.encode(out);
                true
            }
            None => false,
        },
        decode: |input| Ok(spawner(T::decode(input)?)),
        take_back: |world, entity| Some(spawner(take_for_sending::<T>(world, entity)?)),
    };
    world.get_resource_or_init::<RpcCollection>().register(entry)
}

/// Takes an RPC from an entity, with its ghosts named as the link does.
fn take_for_sending<T: RpcCommand>(world: &mut World, entity: Entity) -> Option<T> {
    let mut rpc = world.get_entity_mut(entity).ok()?.take::<T>()?;
    let identity_of = |entity| identity(world.get::<GhostInstance>(entity)?);
    rpc.map_ghosts(&GhostMapping::sending(&identity_of));
    Some(rpc)
}

/// What a received RPC does when its turn comes.
fn spawner<T: RpcCommand>(mut rpc: T) -> SpawnRpc {
    Box::new(move |world: &mut World, request| {
        rpc.map_ghosts(&GhostMapping::received(world.resource::<SpawnedGhostEntityMap>()));
        world.spawn((rpc, request));
    })
}

#[cfg(test)]
mod tests {
    use bevy_ecs::component::Component;

    use super::*;
    use crate::world::WorldKind;

    #[derive(Component, crate::RpcCommand)]
    struct Early;

    #[derive(Component, crate::RpcCommand)]
    struct Late;

    #[derive(Component, crate::ApprovalRpcCommand)]
    #[rpc(name = "Early")]
    struct EarlyApproval;

    #[test]
    fn what_is_registered_too_late_or_twice_is_an_error() {
        let mut app = App::empty();
        app.insert_resource(WorldKind::Server);
        assert_eq!(app.try_register_rpc::<Early>(), Ok(()));
        assert_eq!(app.try_register_rpc::<Early>(), Err(RegisterRpcError::Duplicate("Early()".into())));
        app.world_mut().resource_mut::<RpcCollection>().freeze();
        assert_eq!(app.try_register_rpc::<Late>(), Err(RegisterRpcError::Frozen("Late()".into())));
        assert_eq!(app.world().resource::<RpcCollection>().len(), 1);
    }

    #[test]
    fn whether_an_rpc_may_come_before_approval_is_part_of_its_hash() {
        let hash = |register: fn(&mut App)| {
            let mut app = App::empty();
            app.insert_resource(WorldKind::Client);
            register(&mut app);
            app.world().resource::<RpcCollection>().hash()
        };
        let ordinary = hash(|app| {
            app.register_rpc::<Early>();
        });
        assert_ne!(
            ordinary,
            hash(|app| {
                app.register_approval_rpc::<EarlyApproval>();
            })
        );
        assert_eq!(
            ordinary,
            hash(|app| {
                app.register_rpc::<Early>();
            })
        );
    }
}

//! The RPCs that a program knows: registered while its plugins are built, frozen and numbered when they are finished.

use bevy_app::App;
use bevy_ecs::component::ComponentId;
use bevy_ecs::prelude::{Entity, Resource, World};
use bevy_platform::collections::HashMap;
use ghostline_wire::{BitReader, BitWriter, DecodeError, RpcName, RpcNaming, collection_hash, fnv1a64, internal_rpc};
use std::any::TypeId;
use thiserror::Error;

use super::data::{ApprovalRpcCommand, RpcCommand, RpcDelivery};
use super::ghost_ref::GhostMapping;
use super::receive::ReceiveRpcCommandRequest;
use super::sender::{SendRpcError, identity};
use crate::ghost::GhostInstance;
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
    pub delivery: RpcDelivery,
    /// Takes the RPC from an entity and writes its payload.
    pub encode: fn(&mut World, Entity, &mut BitWriter) -> Result<(), SendRpcError>,
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
    by_id: HashMap<RpcName, usize>,
    naming: RpcNaming,
    frozen: bool,
}

/// Why an RPC could not be registered.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterRpcError {
    /// The collection is part of the handshake and frozen once the world runs.
    #[error("RPC `{0}` was registered after the world's plugins were finished; register it while they are built")]
    Frozen(String),
    /// What is settled with the collection, too late.
    #[error("`{0}` was set after the world's plugins were finished; set it while they are built")]
    SetTooLate(&'static str),
    /// The same name and fields twice.
    #[error("RPC `{0}` is registered twice, or two RPCs share their name and fields")]
    Duplicate(String),
    /// One type in two ways: ordinary and for approval.
    #[error("RPC `{0}` is registered already, in another way; a type is an ordinary or an approval RPC, never both")]
    TwoWays(String),
    /// Credentials must arrive.
    #[error("`{0}` is an approval RPC, so it can't be unreliable; leave one of the two out")]
    UnreliableApproval(String),
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
        if self.entries.iter().any(|known| RpcName::id_of(known.hash) == RpcName::id_of(entry.hash)) {
            return Err(RegisterRpcError::Duplicate(entry.text));
        }
        if self.entries.iter().any(|known| known.type_id == entry.type_id) {
            return Err(RegisterRpcError::TwoWays(entry.text));
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
        self.by_id =
            self.entries.iter().enumerate().map(|(index, entry)| (RpcName::id_of(entry.hash), index)).collect();
        self.frozen = true;
    }

    /// Whether the peer may know other RPCs, commands and ghost types than this program: see
    /// [`RpcAppExt::set_dynamic_assembly_list`]. Default: no.
    pub fn dynamic_assembly_list(&self) -> bool {
        self.naming == RpcNaming::Id
    }

    /// See [`RpcAppExt::set_dynamic_assembly_list`].
    ///
    /// # Errors
    /// [`RegisterRpcError::SetTooLate`]; then nothing changes.
    pub fn set_dynamic_assembly_list(&mut self, dynamic: bool) -> Result<(), RegisterRpcError> {
        if self.frozen {
            return Err(RegisterRpcError::SetTooLate("dynamic_assembly_list"));
        }
        self.naming = if dynamic { RpcNaming::Id } else { RpcNaming::Index };
        Ok(())
    }

    /// How RPCs are named on the link.
    pub(super) fn naming(&self) -> RpcNaming {
        self.naming
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

    pub(super) fn of_component(&self, component: ComponentId) -> Option<(RpcName, &RpcEntry)> {
        self.named(*self.by_component.get(&component)?)
    }

    pub(super) fn of_type<T: RpcCommand>(&self) -> Option<(RpcName, &RpcEntry)> {
        self.named(*self.by_type.get(&TypeId::of::<T>())?)
    }

    fn named(&self, index: usize) -> Option<(RpcName, &RpcEntry)> {
        let entry = self.entries.get(index)?;
        let name = match self.naming {
            RpcNaming::Index => RpcName::Index(u16::try_from(index).ok()? + internal_rpc::FIRST_GAME_RPC),
            RpcNaming::Id => RpcName::id_of(entry.hash),
        };
        Some((name, entry))
    }

    /// The RPC that a peer has named.
    pub(super) fn of_name(&self, name: RpcName) -> Option<&RpcEntry> {
        let place = match name {
            RpcName::Index(index) => usize::from(index.checked_sub(internal_rpc::FIRST_GAME_RPC)?),
            RpcName::Id(_) => *self.by_id.get(&name)?,
        };
        self.entries.get(place)
    }
}

/// Registering RPCs.
pub trait RpcAppExt {
    /// Makes `T` an RPC of this program: to be called on every side, in any order, while plugins are built. A mistake is logged as an error.
    ///
    /// An [`ApprovalRpcCommand`] registered here is an ordinary RPC, not allowed before the connection is approved; see
    /// [`register_approval_rpc`](Self::register_approval_rpc).
    fn register_rpc<T: RpcCommand>(&mut self) -> &mut Self;

    /// Makes `T` an approval RPC of this program, as [`register_rpc`](Self::register_rpc) does for others.
    fn register_approval_rpc<T: ApprovalRpcCommand>(&mut self) -> &mut Self;

    /// Like [`register_rpc`](Self::register_rpc), with the mistake as a value.
    ///
    /// # Errors
    /// Too late, twice, or too many.
    fn try_register_rpc<T: RpcCommand>(&mut self) -> Result<(), RegisterRpcError>;

    /// Like [`register_approval_rpc`](Self::register_approval_rpc), with the mistake as a value.
    ///
    /// # Errors
    /// Too late, twice, too many, or an unreliable one.
    fn try_register_approval_rpc<T: ApprovalRpcCommand>(&mut self) -> Result<(), RegisterRpcError>;

    /// With `true`, the other side may have been built with other RPCs, commands and ghost types than this one; what it doesn't know is found
    /// when it is used, and ends the connection with [`InvalidRpc`](crate::connection::DisconnectReason::InvalidRpc) (an RPC) or
    /// [`BadProtocolVersion`](crate::connection::DisconnectReason::BadProtocolVersion) (a ghost type). Both sides must say so alike, while
    /// plugins are built; each RPC costs 6 bytes more. Default: no, and sides that differ part in the handshake.
    ///
    /// A mistake is logged as an error.
    fn set_dynamic_assembly_list(&mut self, dynamic: bool) -> &mut Self;
}

impl RpcAppExt for App {
    fn register_rpc<T: RpcCommand>(&mut self) -> &mut Self {
        if let Err(error) = self.try_register_rpc::<T>() {
            tracing::error!("{error}");
        }
        self
    }

    fn register_approval_rpc<T: ApprovalRpcCommand>(&mut self) -> &mut Self {
        if let Err(error) = self.try_register_approval_rpc::<T>() {
            tracing::error!("{error}");
        }
        self
    }

    fn try_register_rpc<T: RpcCommand>(&mut self) -> Result<(), RegisterRpcError> {
        register::<T>(self, false)
    }

    fn try_register_approval_rpc<T: ApprovalRpcCommand>(&mut self) -> Result<(), RegisterRpcError> {
        register::<T>(self, true)
    }

    fn set_dynamic_assembly_list(&mut self, dynamic: bool) -> &mut Self {
        if let Some(mut collection) = self.world_mut().get_resource_mut::<RpcCollection>()
            && let Err(error) = collection.set_dynamic_assembly_list(dynamic)
        {
            tracing::error!("{error}");
        }
        self
    }
}

fn register<T: RpcCommand>(app: &mut App, is_approval: bool) -> Result<(), RegisterRpcError> {
    let world = app.world_mut();
    if !kind_of(world).is_network() {
        return Ok(());
    }
    let component = world.register_component::<T>();
    // Both sides must agree on which RPCs may come early, and which may get lost.
    let text = match (is_approval, T::DELIVERY) {
        (false, RpcDelivery::Reliable) => T::canonical_text(),
        (true, RpcDelivery::Reliable) => format!("approval {}", T::canonical_text()),
        (false, RpcDelivery::Unreliable) => format!("unreliable {}", T::canonical_text()),
        (true, RpcDelivery::Unreliable) => return Err(RegisterRpcError::UnreliableApproval(T::canonical_text())),
    };
    let entry = RpcEntry {
        hash: fnv1a64(text.as_bytes()),
        text,
        component,
        type_id: TypeId::of::<T>(),
        is_approval,
        delivery: T::DELIVERY,
        encode: |world, entity, out| {
            let Some(mut rpc) = world.get_entity_mut(entity).ok().and_then(|mut entity| entity.take::<T>()) else {
                return Err(SendRpcError::NotRegistered(T::name()));
            };
            rpc.check()?;
            name_ghosts(world, &mut rpc);
            rpc.encode(out);
            Ok(())
        },
        decode: |input| Ok(spawner(T::decode(input)?)),
        take_back: |world, entity| {
            let mut rpc = world.get_entity_mut(entity).ok()?.take::<T>()?;
            name_ghosts(world, &mut rpc);
            Some(spawner(rpc))
        },
    };
    world.get_resource_or_init::<RpcCollection>().register(entry)
}

/// Names the ghosts of an RPC as the link does.
fn name_ghosts<T: RpcCommand>(world: &World, rpc: &mut T) {
    let identity_of = |entity| identity(world.get::<GhostInstance>(entity)?);
    rpc.map_ghosts(&GhostMapping::sending(&identity_of));
}

/// What a received RPC does when its turn comes.
fn spawner<T: RpcCommand>(mut rpc: T) -> SpawnRpc {
    Box::new(move |world: &mut World, request| {
        rpc.map_ghosts(&GhostMapping::received(world));
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
    fn a_type_is_an_ordinary_or_an_approval_rpc_and_never_both() {
        for approval_first in [true, false] {
            let mut app = App::empty();
            app.insert_resource(WorldKind::Server);
            let mut results =
                [approval_first, !approval_first].map(|is_approval| register::<EarlyApproval>(&mut app, is_approval));
            results.sort_by_key(|result| result.is_err());
            assert_eq!(results[0], Ok(()));
            assert!(matches!(results[1], Err(RegisterRpcError::TwoWays(_))), "{results:?}");
            assert_eq!(app.world().resource::<RpcCollection>().len(), 1);
        }
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

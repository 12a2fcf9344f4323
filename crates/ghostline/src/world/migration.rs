//! World migration: a world goes, another one takes its place, and no connection notices more than a new start of the ghosts.
//!
//! [`WorldMigration::store`] takes out of a world everything that belongs to its connections and not to its game: drivers, connection
//! entities, ids, clocks, RPCs under way. It waits under a ticket, outside every world, until [`WorldMigration::load`] gives it out as a
//! [`PreparedWorld`] that a creator populates. Ghosts stay behind: the new world sends in a new epoch, at which clients drop what they had.

use bevy_app::App;
use bevy_ecs::entity::EntityHashMap;
use bevy_ecs::prelude::{Component, Entity, Resource, With, World};
use bevy_ecs::world::EntityWorldMut;
use std::collections::BTreeMap;
use thiserror::Error;

use super::frame;
use super::kind::{WorldKind, kind_of};
use super::net_world::NetWorld;
use super::prepared::PreparedWorld;
#[cfg(feature = "client")]
use crate::command;
use crate::connection::{self, NetworkProtocolVersion, NetworkStreamConnection};
use crate::rpc;
#[cfg(feature = "client")]
use crate::snapshot;

/// What a stored world is known by. Also a resource of the world that it was loaded into.
#[derive(Resource, Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct MigrationTicket {
    /// Its number, from 1.
    pub value: i32,
}

impl std::fmt::Display for MigrationTicket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "migration ticket {}", self.value)
    }
}

/// Why a world could not be stored, loaded or populated.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MigrationError {
    /// There is no such world.
    #[error("there is no world with this id; it was disposed, or never made")]
    UnknownWorld,
    /// Local worlds have no connections.
    #[error("a {0:?} world has no connections that could migrate; make a new one instead")]
    NoNetwork(WorldKind),
    /// This ticket was never given out.
    #[error("{0} is unknown: it was given out by another `WorldMigration`, or made up")]
    UnknownTicket(MigrationTicket),
    /// A ticket is good for one world.
    #[error("{0} was loaded already; a ticket is good for one world")]
    UsedTicket(MigrationTicket),
    /// The target runs already, or is about to.
    #[error(
        "the target has systems in `{schedule}` already; load the ticket first, then let `create_server_world_in` or `create_client_world_in` \
         add them"
    )]
    TargetHasSystems {
        /// The first of its schedules that has systems.
        schedule: String,
    },
    /// The target holds another migrated world.
    #[error("the target holds {0} already; load each ticket into a world of its own")]
    TargetIsMigrated(MigrationTicket),
    /// The target was prepared for another kind of world.
    #[error(
        "{ticket} is of a {stored:?} world, the target is to become a {target:?} world; a world never changes its kind"
    )]
    KindDiffers {
        /// The ticket.
        ticket: MigrationTicket,
        /// What was stored.
        stored: WorldKind,
        /// What the target is.
        target: WorldKind,
    },
    /// The new plugin registers other RPCs, ghosts or commands than the peers were told.
    #[error(
        "the new world speaks another protocol than the one that its connections were made with: register the same RPCs, ghost types and \
         commands in both, or disconnect and connect again"
    )]
    ProtocolDiffers,
}

/// Moves one component from one entity to another, if it is there.
pub(crate) type MoveComponent = fn(&mut EntityWorldMut<'_>, &mut EntityWorldMut<'_>);

/// See [`MoveComponent`].
pub(crate) fn move_component<C: Component>(from: &mut EntityWorldMut<'_>, to: &mut EntityWorldMut<'_>) {
    if let Some(component) = from.take::<C>() {
        to.insert(component);
    }
}

/// The components of connection entities that the game wants to keep.
#[derive(Resource, Clone, Default)]
struct MigratedComponents(Vec<MoveComponent>);

/// Saying what of the game's own travels with a connection.
pub trait MigrationAppExt {
    /// Makes `C`, where it is on a connection entity, travel with it in a world migration. Without this only the library's own components do.
    /// Entities that it names are of the old world, and mean nothing in the new one.
    fn migrate_component<C: Component>(&mut self) -> &mut Self;
}

impl MigrationAppExt for App {
    fn migrate_component<C: Component>(&mut self) -> &mut Self {
        let mut migrated = self.world_mut().get_resource_or_init::<MigratedComponents>();
        migrated.0.push(move_component::<C>);
        self
    }
}

/// What a prepared world holds back until its plugins are finished and the registries are there.
#[derive(Resource)]
struct Carried {
    protocol: NetworkProtocolVersion,
    /// The game's own components move once more if the ticket is loaded into another world.
    components: MigratedComponents,
    #[cfg(feature = "client")]
    inputs: command::CarriedInputs,
    #[cfg(feature = "client")]
    snapshots: snapshot::CarriedSnapshots,
}

/// Stored worlds under their tickets: a value outside every world, so that it outlives them. [`Worlds`](super::Worlds) has one; who runs
/// [`NetWorld`]s by hand makes one.
///
/// Dropping it drops what was not loaded: those connections are closed, and the other sides are told.
#[derive(Default)]
pub struct WorldMigration {
    given_out: i32,
    stored: BTreeMap<MigrationTicket, PreparedWorld>,
}

impl WorldMigration {
    /// No worlds stored.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes drivers, connections, ids and clocks out of a server or client world. What is left has no connections, neither listens nor
    /// connects, and is to be disposed.
    ///
    /// # Errors
    /// A local world.
    pub fn store(&mut self, source: &mut NetWorld) -> Result<MigrationTicket, MigrationError> {
        let kind = source.kind();
        if !kind.is_network() {
            return Err(MigrationError::NoNetwork(kind));
        }
        let mut prepared = PreparedWorld::of_kind(source.name(), kind);
        let (from, to) = (source.world_mut(), prepared.world_mut());
        // What the game has asked for is done: requests become frames, which travel.
        rpc::send_requests(from);
        let carried = Carried {
            protocol: from.resource::<NetworkProtocolVersion>().clone(),
            components: from.get_resource::<MigratedComponents>().cloned().unwrap_or_default(),
            #[cfg(feature = "client")]
            inputs: command::take_inputs(from),
            #[cfg(feature = "client")]
            snapshots: snapshot::take_carried(from),
        };
        move_connections(from, to, &carried.components.0);
        frame::copy_clocks(from, to);
        to.insert_resource(carried);
        self.given_out += 1;
        let ticket = MigrationTicket { value: self.given_out };
        to.insert_resource(ticket);
        // Last, so that no hook of a component takes what is moved for something new.
        to.insert_resource(kind);
        self.stored.insert(ticket, prepared);
        Ok(ticket)
    }

    /// What was stored, as a world with the name and the kind of the old one, its connections, and no systems yet.
    ///
    /// # Errors
    /// An unknown ticket, or one that was loaded already.
    pub fn load(&mut self, ticket: MigrationTicket) -> Result<PreparedWorld, MigrationError> {
        self.stored.remove(&ticket).ok_or_else(|| self.missing(ticket))
    }

    /// Moves what was stored into a world that the game has prepared; to be done before its systems are added.
    ///
    /// # Errors
    /// An unknown or used ticket; a target that has systems, was migrated itself, or is to become a world of another kind. The ticket stays good.
    pub fn load_into(&mut self, ticket: MigrationTicket, target: &mut PreparedWorld) -> Result<(), MigrationError> {
        let stored = self.stored.get(&ticket).ok_or_else(|| self.missing(ticket))?;
        let kind = kind_of(stored.world());
        if let Some(schedule) = target.schedule_with_systems() {
            return Err(MigrationError::TargetHasSystems { schedule });
        }
        if let Some(&other) = target.world().get_resource::<MigrationTicket>() {
            return Err(MigrationError::TargetIsMigrated(other));
        }
        if let Some(target) = target.kind().filter(|&target| target != kind) {
            return Err(MigrationError::KindDiffers { ticket, stored: kind, target });
        }
        let mut stored = self.load(ticket)?;
        let (from, to) = (stored.world_mut(), target.world_mut());
        if let Some(carried) = from.remove_resource::<Carried>() {
            move_connections(from, to, &carried.components.0);
            frame::copy_clocks(from, to);
            to.insert_resource(carried);
        }
        to.insert_resource(ticket);
        to.insert_resource(kind);
        target.set_kind(kind);
        Ok(())
    }

    /// The tickets that were not loaded yet, oldest first.
    pub fn tickets(&self) -> impl Iterator<Item = MigrationTicket> + '_ {
        self.stored.keys().copied()
    }

    fn missing(&self, ticket: MigrationTicket) -> MigrationError {
        if (1..=self.given_out).contains(&ticket.value) {
            MigrationError::UsedTicket(ticket)
        } else {
            MigrationError::UnknownTicket(ticket)
        }
    }
}

/// Connection entities with the library's components and the game's, and everything that names them.
fn move_connections(from: &mut World, to: &mut World, of_the_game: &[MoveComponent]) {
    let connections: Vec<Entity> = from.query_filtered::<Entity, With<NetworkStreamConnection>>().iter(from).collect();
    // In the order in which they were made, so that the new world meets them as the old one did.
    let ordered = connection::live_connections(from).filter(|entity| connections.contains(entity)).collect::<Vec<_>>();
    let mut moved = EntityHashMap::default();
    for old in ordered {
        let new = to.spawn_empty().id();
        moved.insert(old, new);
        let (Ok(mut source), Ok(mut target)) = (from.get_entity_mut(old), to.get_entity_mut(new)) else { continue };
        for move_component in connection::MIGRATED.iter().chain(of_the_game) {
            move_component(&mut source, &mut target);
        }
    }
    rpc::move_received(from, to, &moved);
    connection::move_resources(from, to, &moved);
    for &old in moved.keys() {
        from.despawn(old);
    }
}

/// Gives a populated world what had to wait for its registries. Nothing for a world that was not migrated.
pub(super) fn finish(world: &mut World) -> Result<(), MigrationError> {
    let Some(carried) = world.remove_resource::<Carried>() else { return Ok(()) };
    if world.resource::<NetworkProtocolVersion>().version != carried.protocol.version {
        return Err(MigrationError::ProtocolDiffers);
    }
    #[cfg(feature = "client")]
    {
        command::put_inputs(world, carried.inputs);
        snapshot::put_carried(world, carried.snapshots);
    }
    Ok(())
}

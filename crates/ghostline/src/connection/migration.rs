//! World migration: what of a world's connections moves to the world that takes its place. The entities are new there, so whatever
//! names them is told.

use bevy_ecs::entity::EntityHashMap;
use bevy_ecs::prelude::{Entity, FromWorld, Resource, World};
use ghostline_transport::DriverStore;
use std::sync::Arc;

use super::approval::ConnectionApproved;
use super::components::{
    CommandTarget, DisconnectText, IncomingCommandDataStreamBuffer, IncomingSnapshotDataStreamBuffer, InvalidMessages,
    LocalConnection, NetworkId, NetworkSnapshotAck, NetworkStreamConnection, NetworkStreamInGame,
    NetworkStreamRequestDisconnect, OutgoingCommandDataStreamBuffer,
};
use super::driver::NetworkStreamDriver;
use super::identity::{ConnectionUniqueId, NetworkStreamIsReconnected, ResumeToken};
use super::log_limit::LogLimits;
use super::mismatch::ProtocolMismatch;
#[cfg(feature = "server")]
use super::sessions::{self, PendingResume};
use super::state::{ConnectionState, LinkedEntityGroup};
#[cfg(feature = "server")]
use super::waiting_room::WaitingRoom;
#[cfg(feature = "server")]
use crate::command::CommandArrivalStatistics;
use crate::rpc::{IncomingRpcDataStreamBuffer, OutgoingRpcDataStreamBuffer};
use crate::stats::{SnapshotConnectionStats, SnapshotPacketLossStatistics};
use crate::world::{MoveComponent, move_component};

/// The components of a connection entity that move. A command target and linked entities are of the game that stays behind, and begin empty.
pub(crate) const MIGRATED: &[MoveComponent] = &[
    move_component::<ConnectionApproved>,
    move_component::<NetworkStreamConnection>,
    move_component::<NetworkId>,
    move_component::<ConnectionUniqueId>,
    move_component::<NetworkStreamIsReconnected>,
    move_component::<LocalConnection>,
    move_component::<NetworkStreamInGame>,
    move_component::<NetworkStreamRequestDisconnect>,
    move_component::<DisconnectText>,
    move_component::<ConnectionState>,
    move_component::<NetworkSnapshotAck>,
    move_component::<InvalidMessages>,
    #[cfg(feature = "server")]
    move_component::<CommandArrivalStatistics>,
    move_component::<SnapshotConnectionStats>,
    move_component::<SnapshotPacketLossStatistics>,
    #[cfg(feature = "server")]
    move_component::<PendingResume>,
    move_component::<ProtocolMismatch>,
    move_component::<IncomingRpcDataStreamBuffer>,
    move_component::<OutgoingRpcDataStreamBuffer>,
    move_component::<IncomingCommandDataStreamBuffer>,
    move_component::<OutgoingCommandDataStreamBuffer>,
    move_component::<IncomingSnapshotDataStreamBuffer>,
    #[cfg(feature = "server")]
    crate::snapshot::move_send_state,
    |_, to| {
        to.insert((CommandTarget::default(), LinkedEntityGroup::default()));
    },
];

/// Drivers, ids and secrets. The old world is left with none, and goes on without connections.
pub(crate) fn move_resources(from: &mut World, to: &mut World, moved: &EntityHashMap<Entity>) {
    let game_version = from.resource::<NetworkStreamDriver>().game_version;
    let left_behind = NetworkStreamDriver::new(DriverStore::new(), game_version);
    let mut facade = std::mem::replace(&mut *from.resource_mut::<NetworkStreamDriver>(), left_behind);
    facade.follow(moved);
    to.insert_resource(facade);
    move_resource::<LogLimits>(from, to);
    #[cfg(feature = "server")]
    move_server_resources(from, to, moved);
    if let Some(token) = from.remove_resource::<ResumeToken>() {
        to.insert_resource(token);
    }
}

#[cfg(feature = "server")]
fn move_server_resources(from: &mut World, to: &mut World, moved: &EntityHashMap<Entity>) {
    move_resource::<super::NetworkIdAllocation>(from, to);
    move_resource::<WaitingRoom>(from, to);
    move_resource::<sessions::ConnectionSecrets>(from, to);
    move_resource::<sessions::KnownSessions>(from, to);
    if let Some(mut sessions) = to.get_resource_mut::<sessions::KnownSessions>() {
        sessions.follow(moved);
    }
}

/// The old world keeps an empty one.
fn move_resource<R: Resource + FromWorld>(from: &mut World, to: &mut World) {
    if let Some(resource) = from.remove_resource::<R>() {
        to.insert_resource(resource);
        from.init_resource::<R>();
    }
}

impl NetworkStreamDriver {
    /// The connection entities have become others. One that was despawned by hand has no successor, and is found missing as it would have been.
    fn follow(&mut self, moved: &EntityHashMap<Entity>) {
        let successor = |entity: Entity| moved.get(&entity).copied().unwrap_or(Entity::PLACEHOLDER);
        for live in Arc::make_mut(&mut self.connections) {
            live.entity = successor(live.entity);
        }
        for entity in self.by_handle.values_mut() {
            *entity = successor(*entity);
        }
    }
}

//! Snapshots. Down the server: collect (`server`) → what a client needs, and in which form (`encode`) → `send`; up the client: `receive`
//! → `decode` → `spawn` → `apply`. `acks` closes the circle. A build has the modules of its sides.

mod bits;
mod inspect;
mod settings;

#[cfg(feature = "server")]
mod acks;
#[cfg(feature = "server")]
mod base;
#[cfg(feature = "server")]
mod cache;
#[cfg(feature = "server")]
mod connection;
#[cfg(feature = "server")]
mod encode;
#[cfg(feature = "server")]
mod learning;
#[cfg(feature = "server")]
mod meter;
#[cfg(feature = "server")]
mod models;
#[cfg(feature = "server")]
mod named;
#[cfg(feature = "server")]
mod packet;
#[cfg(feature = "server")]
mod priority;
#[cfg(feature = "server")]
mod send;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "server")]
mod slab;
#[cfg(feature = "server")]
mod store;
#[cfg(feature = "server")]
mod sweep;
#[cfg(feature = "server")]
mod view;

#[cfg(feature = "client")]
mod apply;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "client")]
mod decode;
#[cfg(feature = "client")]
mod history;
#[cfg(feature = "client")]
mod migration;
#[cfg(feature = "client")]
mod receive;
#[cfg(feature = "client")]
mod shown;
#[cfg(feature = "client")]
mod spawn;

#[cfg(all(feature = "client", feature = "server"))]
pub mod plain;

use bevy_ecs::prelude::{Entity, World};

use crate::world::WorldKind;

pub use inspect::{GhostRow, newest_rows, row_memory_bytes, snapshot_memory_bytes, visit_newest_rows};
pub use settings::{GhostCount, GhostSendSystemData, MIN_SNAPSHOT_BYTES, NetworkStreamSnapshotTargetSize};

#[cfg(feature = "server")]
pub(crate) use acks::acknowledge;
#[cfg(feature = "server")]
pub use send::send;
#[cfg(feature = "server")]
pub(crate) use server::{ServerSnapshots, attach_server_state, move_send_state};
#[cfg(feature = "server")]
pub(crate) use store::RowSink;

#[cfg(feature = "client")]
pub use apply::apply;
#[cfg(feature = "client")]
pub(crate) use bits::bits;
#[cfg(feature = "client")]
pub(crate) use client::{ClientChunk, ClientSnapshots};
#[cfg(feature = "client")]
pub use client::{DECODE_ERROR_WINDOW, MAX_DECODE_ERRORS, MAX_DYING_GHOSTS};
#[cfg(all(test, feature = "client"))]
pub(crate) use history::ChunkRows;
#[cfg(feature = "client")]
pub(crate) use history::{Coverage, GhostRows, TimedRow};
#[cfg(feature = "client")]
pub(crate) use migration::{CarriedSnapshots, put_carried, take_carried};
#[cfg(feature = "client")]
pub use receive::receive;
#[cfg(feature = "client")]
pub(crate) use shown::ShownRows;
#[cfg(feature = "client")]
pub use spawn::{despawn_due_ghosts, spawn_due_ghosts};

/// What a world needs for snapshots, once its ghost types are known.
pub(crate) fn prepare(world: &mut World, kind: WorldKind) {
    match kind {
        #[cfg(feature = "server")]
        WorldKind::Server => {
            let snapshots = ServerSnapshots::for_world(world);
            world.insert_resource(snapshots);
        }
        #[cfg(feature = "client")]
        WorldKind::Client | WorldKind::ThinClient => {
            world.init_resource::<ClientSnapshots>();
            world.init_resource::<GhostCount>();
            world.init_resource::<receive::LeftEpoch>();
            world.init_resource::<crate::command::CommandSender>();
            crate::prediction::prepare(world);
            let decoder = receive::SnapshotDecoder::for_world(world);
            world.insert_resource(decoder);
            let applier = apply::SnapshotApplier::for_world(world);
            world.insert_resource(applier);
        }
        _ => {}
    }
}

/// A connection that ended holds nothing any more: on a server no rows and no slots, on a client no ghosts.
pub(crate) fn forget_connection(world: &mut World, entity: Entity) {
    #[cfg(feature = "server")]
    server::forget_client(world, entity);
    #[cfg(feature = "client")]
    client::forget_server(world);
    #[cfg(not(feature = "server"))]
    let _ = entity;
}

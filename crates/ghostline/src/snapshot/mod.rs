//! Snapshots. Down the server: collect (`server`) → what a client needs, and in which form (`encode`) → `send`; up the client: `receive`
//! → `decode` → `spawn` → `apply`. `acks` closes the circle.

mod acks;
mod apply;
mod cache;
mod client;
mod connection;
mod decode;
mod encode;
mod history;
mod inspect;
mod learning;
mod migration;
mod models;
mod named;
mod packet;
pub mod plain;
mod priority;
mod receive;
mod send;
mod server;
mod shown;
mod slab;
mod spawn;
mod store;
mod sweep;
mod view;

use bevy_ecs::prelude::World;

use crate::world::WorldKind;

pub(crate) use acks::acknowledge;
pub use apply::apply;
pub(crate) use client::{ClientChunk, ClientSnapshots};
pub use client::{DECODE_ERROR_WINDOW, GhostCount, MAX_DECODE_ERRORS, MAX_DYING_GHOSTS};
#[cfg(test)]
pub(crate) use history::ChunkRows;
pub(crate) use history::{Coverage, GhostRows, TimedRow};
pub use inspect::{GhostRow, newest_rows, row_memory_bytes, visit_newest_rows};
pub(crate) use migration::{CarriedSnapshots, move_send_state, put_carried, take_carried};
pub use receive::receive;
pub use send::{GhostSendSystemData, MIN_SNAPSHOT_BYTES, NetworkStreamSnapshotTargetSize, send};
pub(crate) use server::{ServerSnapshots, attach_server_state, forget_connection};
pub(crate) use shown::ShownRows;
pub(crate) use spawn::local_network_id;
pub use spawn::{despawn_due_ghosts, spawn_due_ghosts};
pub(crate) use store::{RowSink, bits};

/// What a world needs for snapshots, once its ghost types are known.
pub(crate) fn prepare(world: &mut World, kind: WorldKind) {
    match kind {
        WorldKind::Server => {
            let snapshots = ServerSnapshots::for_world(world);
            world.insert_resource(snapshots);
        }
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
        WorldKind::Local => {}
    }
}

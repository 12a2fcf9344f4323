//! Looking at rows from outside: for tests that compare what a client holds with the server's truth, and for tools.

use bevy_ecs::prelude::World;
use ghostline_wire::NetworkTick;

use super::client::ClientSnapshots;
use super::server::ServerSnapshots;
use super::store::bits;
use crate::ghost::Slot;

/// The newest row of one ghost: its quantised state, lane by lane.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GhostRow {
    /// The ghost's id.
    pub ghost_id: u32,
    /// The tick of its spawn.
    pub spawn_tick: NetworkTick,
    /// Its lanes.
    pub lanes: Vec<u32>,
}

/// Every ghost's present row, in the order of ids: of a server what was collected last, of a client what was received last. Empty in
/// other worlds.
pub fn newest_rows(world: &World) -> Vec<GhostRow> {
    if let Some(snapshots) = world.get_resource::<ServerSnapshots>() {
        return server_rows(snapshots);
    }
    let Some(snapshots) = world.get_resource::<ClientSnapshots>() else { return Vec::new() };
    snapshots
        .ghosts()
        .filter_map(|ghost| {
            let (_, lanes) = ghost.rows.newest()?;
            Some(GhostRow { ghost_id: ghost.slot.id(), spawn_tick: ghost.spawn_tick, lanes: lanes.to_vec() })
        })
        .collect()
}

/// Shows every ghost's newest row to `visit`, in the order of ids, without copying: its id, on a client the tick at which the server had that row
/// (on a server the tick of its last change), its lanes.
pub fn visit_newest_rows(world: &World, mut visit: impl FnMut(u32, NetworkTick, &[u32])) {
    if let Some(snapshots) = world.get_resource::<ServerSnapshots>() {
        for (index, chunk) in snapshots.store.chunks.iter().enumerate() {
            for place in bits(chunk.sendable()) {
                if let Some(version) = chunk.versions[place] {
                    visit(Slot::new(index, place as u32).id(), version, chunk.row(place));
                }
            }
        }
    } else if let Some(snapshots) = world.get_resource::<ClientSnapshots>() {
        for ghost in snapshots.ghosts() {
            if let Some((tick, lanes)) = ghost.rows.newest() {
                visit(ghost.slot.id(), tick, lanes);
            }
        }
    }
}

fn server_rows(snapshots: &ServerSnapshots) -> Vec<GhostRow> {
    let mut rows = Vec::new();
    for (index, chunk) in snapshots.store.chunks.iter().enumerate() {
        for place in bits(chunk.sendable()) {
            if let Some(spawn_tick) = chunk.spawn_ticks[place] {
                let ghost_id = Slot::new(index, place as u32).id();
                rows.push(GhostRow { ghost_id, spawn_tick, lanes: chunk.row(place).to_vec() });
            }
        }
    }
    rows
}

/// Bytes that a server world keeps for rows, present and past. 0 in other worlds.
pub fn row_memory_bytes(world: &World) -> usize {
    world.get_resource::<ServerSnapshots>().map_or(0, |snapshots| snapshots.store.memory_bytes())
}

//! Looking at rows from outside: for tests that compare what a client holds with the server's truth, and for tools.

use bevy_ecs::prelude::World;
use ghostline_wire::NetworkTick;

#[cfg(feature = "client")]
use super::ClientSnapshots;
#[cfg(feature = "server")]
use super::ServerSnapshots;

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

/// A row as it lies in a world: the id of its ghost, the tick of the spawn, its own tick, its lanes.
type HeldRow<'a> = (u32, NetworkTick, NetworkTick, &'a [u32]);

/// Every ghost's present row, in the order of ids: of a server what was collected last, of a client what was received last. Empty in
/// other worlds.
pub fn newest_rows(world: &World) -> Vec<GhostRow> {
    let mut rows = Vec::new();
    visit(world, |(ghost_id, spawn_tick, _, lanes)| {
        rows.push(GhostRow { ghost_id, spawn_tick, lanes: lanes.to_vec() });
    });
    rows
}

/// Shows every ghost's newest row to `visit`, in the order of ids, without copying: its id, on a client the tick at which the server had that row
/// (on a server the tick of its last change), its lanes.
pub fn visit_newest_rows(world: &World, mut show: impl FnMut(u32, NetworkTick, &[u32])) {
    visit(world, |(ghost_id, _, tick, lanes)| show(ghost_id, tick, lanes));
}

fn visit(world: &World, mut show: impl FnMut(HeldRow<'_>)) {
    #[cfg(feature = "server")]
    if let Some(snapshots) = world.get_resource::<ServerSnapshots>() {
        snapshots.store.rows().for_each(&mut show);
    }
    #[cfg(feature = "client")]
    if let Some(snapshots) = world.get_resource::<ClientSnapshots>() {
        for ghost in snapshots.ghosts() {
            if let Some((tick, lanes)) = ghost.rows.newest() {
                show((ghost.slot.id(), ghost.spawn_tick, tick, lanes));
            }
        }
    }
}

/// Bytes that a server world keeps for rows, present and past. 0 in other worlds.
pub fn row_memory_bytes(world: &World) -> usize {
    #[cfg(feature = "server")]
    if let Some(snapshots) = world.get_resource::<ServerSnapshots>() {
        return snapshots.store.memory_bytes();
    }
    let _ = world;
    0
}

/// Bytes that a world keeps for its snapshots: rows, and what is known of the clients or of the server. 0 in a local world.
pub fn snapshot_memory_bytes(world: &World) -> usize {
    let bytes = 0;
    #[cfg(feature = "server")]
    let bytes = bytes + super::server::memory_bytes(world);
    #[cfg(feature = "client")]
    let bytes = bytes + world.get_resource::<ClientSnapshots>().map_or(0, ClientSnapshots::memory_bytes);
    bytes
}

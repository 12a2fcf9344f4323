//! The end of a server's tick: which connections get a snapshot now, and their packets on their way.

use bevy_ecs::prelude::{Component, Entity, Mut, Resource, World};
use ghostline_transport::Pipeline;

use super::connection::SnapshotSendState;
use super::encode::EncodeRequest;
use super::server::ServerSnapshots;
use crate::connection::{NetworkSnapshotAck, NetworkStreamDriver, NetworkStreamInGame, live_connections, own_handle};
use crate::stats::NetworkStats;
use crate::time::{ClientServerTickRate, NetworkTime};
use crate::world::FrameClock;

/// How much is sent in snapshots. A resource of server worlds.
#[derive(Resource, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GhostSendSystemData {
    /// Bytes of snapshots per client and network tick; 0 (the default): one datagram. At least [`MIN_SNAPSHOT_BYTES`].
    pub default_snapshot_packet_size: usize,
}

/// Bytes of snapshots per network tick for this connection, instead of the default. Set by the game on the server.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug)]
pub struct NetworkStreamSnapshotTargetSize {
    /// Bytes; at least [`MIN_SNAPSHOT_BYTES`].
    pub value: usize,
}

/// The least that can be asked of a snapshot per tick, in bytes.
pub const MIN_SNAPSHOT_BYTES: usize = 100;
/// A connection may save up so many ticks' worth of bytes.
const MAX_SAVED_TICKS: f64 = 2.0;

/// Makes and sends this tick's snapshots.
pub fn send(world: &mut World) {
    let time = world.resource::<NetworkTime>();
    let Some(tick) = time.server_tick else { return };
    let batch_length = time.simulation_step_batch_size.max(1);
    let is_catch_up = time.is_catch_up_tick();
    let rate = world.get_resource::<ClientServerTickRate>().cloned().unwrap_or_default().resolve_defaults();
    world.resource_scope(|world, mut snapshots: Mut<ServerSnapshots>| {
        let mut in_game = std::mem::take(&mut snapshots.in_game);
        in_game.clear();
        in_game.extend(live_connections(world).filter(|&entity| world.get::<NetworkStreamInGame>(entity).is_some()));
        follow_in_game(world, &mut snapshots);
        if !is_catch_up || rate.send_snapshots_for_catch_up_ticks {
            snapshots.collect(world, tick);
            let interval = rate.send_interval().max(1) as usize;
            let share = in_game.len().div_ceil(interval);
            let start = share * (snapshots.send_counter as usize % interval);
            snapshots.send_counter = snapshots.send_counter.wrapping_add(1);
            let relevant_ghosts = snapshots.store.live_ghosts();
            for &entity in in_game.iter().skip(start).take(share) {
                send_to(world, &mut snapshots, entity, tick, batch_length, relevant_ghosts);
            }
        }
        snapshots.in_game = in_game;
    });
}

/// A connection that enters the game starts anew, in a new epoch; one that leaves it holds nothing.
fn follow_in_game(world: &mut World, snapshots: &mut ServerSnapshots) {
    for entity in live_connections(world) {
        let now_in_game = world.get::<NetworkStreamInGame>(entity).is_some();
        let Some(mut state) = world.get_mut::<SnapshotSendState>(entity) else { continue };
        if state.in_game == now_in_game {
            continue;
        }
        state.in_game = now_in_game;
        restart(&mut state, snapshots);
        if let Some(mut ack) = world.get_mut::<NetworkSnapshotAck>(entity) {
            let rtt = std::mem::take(&mut ack.rtt);
            *ack = NetworkSnapshotAck { rtt, ..NetworkSnapshotAck::default() };
        }
    }
}

/// Begins a new epoch for a connection.
pub(super) fn restart(state: &mut SnapshotSendState, snapshots: &mut ServerSnapshots) {
    let mut released = Vec::new();
    state.begin_epoch(&mut snapshots.store, |slot| released.push(slot));
    for slot in released {
        snapshots.released_by_one(slot);
    }
}

fn send_to(
    world: &mut World,
    snapshots: &mut ServerSnapshots,
    entity: Entity,
    tick: ghostline_wire::NetworkTick,
    batch_length: u32,
    relevant_ghosts: u32,
) {
    let Some(handle) = own_handle(world, entity) else { return };
    let now_ms = world.resource::<FrameClock>().now_ms_u16();
    let Some(ack) = world.get::<NetworkSnapshotAck>(entity) else { return };
    let (prefabs_known, command_age) = (ack.prefabs_known, ack.server_command_age);
    let return_time_ms = ack.rtt.return_time(now_ms);
    let mut facade = world.resource_mut::<NetworkStreamDriver>();
    let datagram = facade.max_datagram_bytes(handle);
    let fragmented_bytes = facade.max_fragmented_bytes(handle);
    let target = target_bytes(world, entity, datagram);
    let Some(mut state) = world.get_mut::<SnapshotSendState>(entity).map(|mut state| std::mem::take(&mut *state))
    else {
        return;
    };
    state.budget_bytes = (state.budget_bytes + target as f64).min(target as f64 * MAX_SAVED_TICKS);
    let types_len = snapshots.types.len() as u32;
    let ServerSnapshots { store, types, encoder, .. } = snapshots;
    let request = EncodeRequest {
        types,
        tick,
        batch_length,
        local_time_ms: now_ms,
        return_time_ms,
        command_age,
        relevant_ghosts,
        newest_acked: state.newest_acked_tick,
        // A client that claims to know more than there is knows nothing.
        prefabs_known: if prefabs_known > types_len { 0 } else { prefabs_known },
        packet_bytes: target.min(datagram),
        max_packets: target.div_ceil(datagram.max(1)).max(1) as u32,
        fragmented_bytes,
    };
    let mut facade = world.resource_mut::<NetworkStreamDriver>();
    encoder.encode(&request, store, &mut state, &mut |bytes| {
        let pipeline = if bytes.len() > datagram { Pipeline::UnreliableFragmented } else { Pipeline::Unreliable };
        match facade.store().send(handle, pipeline, bytes) {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!("a snapshot could not be sent: {error}");
                false
            }
        }
    });
    let counts = encoder.counts;
    if let Some(mut slot) = world.get_mut::<SnapshotSendState>(entity) {
        *slot = state;
    }
    let mut stats = world.resource_mut::<NetworkStats>();
    stats.sent_snapshot_packets += u64::from(counts.packets);
    stats.sent_snapshot_bytes += counts.bytes;
    stats.sent_bytes += counts.bytes;
    stats.encoded_rows += counts.rows;
    stats.absolute_rows += counts.absolute_rows;
    stats.row_bits += counts.row_bits;
}

fn target_bytes(world: &World, entity: Entity, datagram: usize) -> usize {
    let own = world.get::<NetworkStreamSnapshotTargetSize>(entity).map(|size| size.value);
    let default = world
        .get_resource::<GhostSendSystemData>()
        .map(|data| data.default_snapshot_packet_size)
        .filter(|&size| size > 0);
    own.or(default).unwrap_or(datagram).max(MIN_SNAPSHOT_BYTES.min(datagram))
}

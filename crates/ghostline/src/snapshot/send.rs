//! The end of a server's tick: which connections get a snapshot now, and their packets on their way.

use bevy_ecs::prelude::{Entity, Mut, World};
use ghostline_transport::Pipeline;
use ghostline_wire::NetworkTick;

use super::base::BaselineKeys;
use super::connection::SnapshotSendState;
use super::encode::EncodeRequest;
use super::server::ServerSnapshots;
use super::settings::{GhostSendSystemData, MIN_SNAPSHOT_BYTES, NetworkStreamSnapshotTargetSize};
use super::sweep::sweep;
use crate::connection::{NetworkSnapshotAck, NetworkStreamDriver, NetworkStreamInGame, live_connections, own_handle};
use crate::ghost::GhostRegistry;
use crate::stats::{NetworkStats, SnapshotBits, SnapshotConnectionStats};
use crate::time::{ClientServerTickRate, NetworkTime, max_send_rate_interval};
use crate::world::FrameClock;

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
            begin_counting(world, &mut snapshots);
            snapshots.collect(world, tick);
            let interval = rate.send_interval().max(1);
            for ty in &mut snapshots.types {
                let network_ticks =
                    max_send_rate_interval(ty.max_send_rate_hz, rate.network_tick_rate.max(1).unsigned_abs());
                ty.send_interval_ticks = network_ticks.saturating_mul(interval);
            }
            let share = in_game.len().div_ceil(interval as usize);
            let start = share * (snapshots.send_counter % interval) as usize;
            snapshots.send_counter = snapshots.send_counter.wrapping_add(1);
            let now = SendTime { tick, batch_length, interval };
            for &entity in in_game.iter().skip(start).take(share) {
                send_to(world, &mut snapshots, entity, now);
            }
            end_counting(world, &mut snapshots);
            sweep_rows(world, &mut snapshots, tick, &in_game);
        }
        snapshots.in_game = in_game;
    });
}

/// The bits of what is sent now are counted, if the world wants to know them.
fn begin_counting(world: &mut World, snapshots: &mut ServerSnapshots) {
    let counted = world.get_resource_mut::<SnapshotBits>().map(|mut bits| std::mem::take(&mut *bits));
    snapshots.encoder.meter.counted = counted.map(|mut bits| {
        bits.name_types(world.resource::<GhostRegistry>().types.iter().map(|ty| &ty.schema));
        bits
    });
}

fn end_counting(world: &mut World, snapshots: &mut ServerSnapshots) {
    if let Some(counted) = snapshots.encoder.meter.counted.take() {
        *world.resource_mut::<SnapshotBits>() = counted;
    }
}

/// When a snapshot is made.
#[derive(Clone, Copy)]
struct SendTime {
    tick: NetworkTick,
    batch_length: u32,
    /// Ticks from one snapshot of a connection to the next.
    interval: u32,
}

/// Gives back the past rows that no client needs.
fn sweep_rows(world: &mut World, snapshots: &mut ServerSnapshots, tick: NetworkTick, in_game: &[Entity]) {
    let most_bytes = send_data(world).max_history_bytes;
    let dropped = sweep(&mut snapshots.store, tick, most_bytes, &mut |look| {
        for (number, &entity) in in_game.iter().enumerate() {
            if let Some(mut state) = world.get_mut::<SnapshotSendState>(entity) {
                look(number, &mut state);
            }
        }
    });
    if dropped > 0 {
        world.resource_mut::<NetworkStats>().dropped_baselines += dropped;
        tracing::warn!(
            "past rows take more than {most_bytes} bytes: {dropped} baselines of the slowest client were given up, it gets whole rows instead; \
             raise `GhostSendSystemData::max_history_bytes`, or replicate less"
        );
    }
}

fn send_data(world: &World) -> GhostSendSystemData {
    world.get_resource::<GhostSendSystemData>().copied().unwrap_or_default()
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
    state.begin_epoch(|slot| released.push(slot));
    for slot in released {
        snapshots.released_by_one(slot);
    }
}

fn send_to(world: &mut World, snapshots: &mut ServerSnapshots, entity: Entity, now: SendTime) {
    let Some(handle) = own_handle(world, entity) else { return };
    let now_ms = world.resource::<FrameClock>().now_ms_u16();
    let Some(ack) = world.get::<NetworkSnapshotAck>(entity) else { return };
    let (prefabs_known, command_age) = (ack.prefabs_known, ack.server_command_age);
    let return_time_ms = ack.rtt.return_time(now_ms);
    let facade = world.resource::<NetworkStreamDriver>();
    let datagram = facade.max_datagram_bytes(handle);
    let fragmented_bytes = facade.max_fragmented_bytes(handle);
    let data = send_data(world);
    let target = target_bytes(world, entity, data, datagram);
    let Some(mut state) = world.get_mut::<SnapshotSendState>(entity).map(|mut state| std::mem::take(&mut *state))
    else {
        return;
    };
    state.budget_bytes = (state.budget_bytes + target as f64).min(target as f64 * MAX_SAVED_TICKS);
    let types_len = snapshots.types.len() as u32;
    let ServerSnapshots { store, types, encoder, .. } = snapshots;
    let request = EncodeRequest {
        types,
        tick: now.tick,
        batch_length: now.batch_length,
        local_time_ms: now_ms,
        return_time_ms,
        command_age,
        relevant_ghosts: store.live_ghosts,
        // A client that claims to know more than there is knows nothing.
        prefabs_known: if prefabs_known > types_len { 0 } else { prefabs_known },
        packet_bytes: target.min(datagram),
        max_packets: target.div_ceil(datagram.max(1)).max(1) as u32,
        target_bytes: target,
        interval_ticks: now.interval,
        fragmented_bytes,
        single_baseline: data.force_single_baseline,
        keys: BaselineKeys::default(),
        min_send_importance: data.min_send_importance,
        first_send_importance_multiplier: data.first_send_importance_multiplier,
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
    if let Some(ghost_type) = encoder.too_large.take() {
        report_too_large(world, snapshots, ghost_type, fragmented_bytes);
    }
    if let Some(mut stats) = world.get_mut::<SnapshotConnectionStats>(entity) {
        *stats = state.stats;
    }
    if let Some(mut slot) = world.get_mut::<SnapshotSendState>(entity) {
        *slot = state;
    }
    let mut stats = world.resource_mut::<NetworkStats>();
    stats.sent_snapshot_packets += u64::from(counts.packets);
    stats.sent_snapshot_bytes += counts.bytes;
    stats.sent_bytes += counts.bytes;
    stats.sent_rows += counts.rows;
    stats.encoded_rows += counts.encoded;
    stats.absolute_rows += counts.absolute_rows;
    stats.row_bits += counts.row_bits;
}

/// Says once per type that a ghost can't be sent.
fn report_too_large(world: &World, snapshots: &mut ServerSnapshots, ghost_type: u16, most_bytes: usize) {
    if snapshots.reported_too_large.contains(&ghost_type) {
        return;
    }
    snapshots.reported_too_large.push(ghost_type);
    let name = world.resource::<GhostRegistry>().get(ghost_type).map_or("?", |ty| &ty.prefab.name);
    tracing::error!(
        "a ghost of type `{name}` is larger than the {most_bytes} bytes that this connection's driver carries in one message; it is not sent. \
         Replicate less of it, or use a driver with larger messages"
    );
}

fn target_bytes(world: &World, entity: Entity, data: GhostSendSystemData, datagram: usize) -> usize {
    let own = world.get::<NetworkStreamSnapshotTargetSize>(entity).map(|size| size.value);
    let default = Some(data.default_snapshot_packet_size).filter(|&size| size > 0);
    own.or(default).unwrap_or(datagram).max(MIN_SNAPSHOT_BYTES.min(datagram))
}

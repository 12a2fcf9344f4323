//! Server: what a client's command packet says about the snapshots it received.

use bevy_ecs::prelude::{Entity, World};
use ghostline_wire::CommandHeader;

use super::connection::SnapshotSendState;
use super::send::restart;
use super::server::ServerSnapshots;
use crate::connection::NetworkSnapshotAck;
use crate::stats::NetworkStats;

/// Takes in the acknowledgements of a command packet, and a request for a fresh start.
pub(crate) fn acknowledge(world: &mut World, entity: Entity, header: &CommandHeader) {
    let Some(mut state) = world.get_mut::<SnapshotSendState>(entity).map(|mut state| std::mem::take(&mut *state))
    else {
        return;
    };
    let mut bad_acks = 0;
    let mut restarted = false;
    let mut newest_tick = None;
    let mut prefabs_known = None;
    // Of an epoch that is over an acknowledgement says nothing, and a request for a fresh start was met.
    if header.epoch == state.epoch && state.in_game {
        let snapshots = world.resource_mut::<ServerSnapshots>().into_inner();
        prefabs_known = Some(if header.fresh_start { 0 } else { header.prefabs_known });
        if header.fresh_start {
            restart(&mut state, snapshots);
            restarted = true;
        } else if let Some(acks) = &header.acks {
            let mut released = Vec::new();
            let outcome = state.acknowledge(&snapshots.store, acks, |slot| released.push(slot));
            for slot in released {
                snapshots.released_by_one(slot);
            }
            bad_acks = outcome.bad;
            newest_tick = outcome.newest_tick;
        }
    }
    if let Some(mut slot) = world.get_mut::<SnapshotSendState>(entity) {
        *slot = state;
    }
    if let Some(mut ack) = world.get_mut::<NetworkSnapshotAck>(entity) {
        ack.last_received_snapshot_by_remote = newest_tick.or(ack.last_received_snapshot_by_remote);
        ack.prefabs_known = prefabs_known.unwrap_or(ack.prefabs_known);
    }
    let mut stats = world.resource_mut::<NetworkStats>();
    stats.bad_acks += u64::from(bad_acks);
    stats.fresh_starts += u64::from(restarted);
}

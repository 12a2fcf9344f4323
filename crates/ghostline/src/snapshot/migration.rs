//! World migration: what of a world's snapshots must outlive it, so that the other side begins anew instead of being confused. Rows and
//! ghosts don't.

use bevy_ecs::prelude::World;
use bevy_ecs::world::EntityWorldMut;
use ghostline_wire::Epoch;

use super::client::ClientSnapshots;
use super::connection::SnapshotSendState;
use super::receive::LeftEpoch;

/// A client's place among the server's epochs.
#[derive(Default)]
pub(crate) struct CarriedSnapshots {
    held: Option<Epoch>,
    left: Option<Epoch>,
}

/// Client: where it was. The new world has none of the ghosts, so it asks for a fresh start.
pub(crate) fn take_carried(world: &World) -> CarriedSnapshots {
    CarriedSnapshots {
        held: world.get_resource::<ClientSnapshots>().and_then(|snapshots| snapshots.epoch),
        left: world.get_resource::<LeftEpoch>().and_then(|left| left.0),
    }
}

/// Client: goes on from there.
pub(crate) fn put_carried(world: &mut World, carried: CarriedSnapshots) {
    if let Some(mut left) = world.get_resource_mut::<LeftEpoch>() {
        left.0 = carried.left;
    }
    if let (Some(epoch), Some(mut snapshots)) = (carried.held, world.get_resource_mut::<ClientSnapshots>()) {
        snapshots.epoch = Some(epoch);
        snapshots.fresh_start = true;
    }
}

/// Server: a connection keeps its epoch and its counters alone. A client that is in the game gets the next one with the new world's first snapshot, and drops
/// what it had.
pub(crate) fn move_send_state(from: &mut EntityWorldMut<'_>, to: &mut EntityWorldMut<'_>) {
    if let Some((epoch, stats)) = from.get::<SnapshotSendState>().map(|state| (state.epoch, state.stats)) {
        from.remove::<SnapshotSendState>();
        let mut state = SnapshotSendState::default();
        (state.epoch, state.stats) = (epoch, stats);
        to.insert(state);
    }
}

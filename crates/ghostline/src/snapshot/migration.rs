//! World migration of a client: what of its snapshots must outlive the world, so that the server begins anew instead of being confused. Rows
//! and ghosts don't.

use bevy_ecs::prelude::World;
use ghostline_wire::Epoch;

use super::client::ClientSnapshots;
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

//! Input components and their hidden buffers: shown for sampling, taken into the buffer, and shown again for every simulated tick.

#[cfg(feature = "client")]
use bevy_ecs::prelude::Entity;
use bevy_ecs::prelude::World;
use ghostline_wire::NetworkTick;

use super::registry::CommandRegistry;
use crate::connection::{NetworkId, local_network_id};
use crate::time::NetworkTime;
use crate::world::with_taken;

/// Before sampling: input components show the player's last sample, without its events, so that a game may change only what changed.
pub fn restore_for_gathering(world: &mut World) {
    with_target(world, |types, world, own, target| {
        for ty in &mut types.types {
            ty.ops.restore_for_gathering(world, own, target);
        }
    });
}

/// After sampling: input components go into their buffers, for the input target tick.
pub fn gather(world: &mut World) {
    with_target(world, |types, world, own, target| {
        for ty in &mut types.types {
            ty.ops.gather(world, own, target);
        }
    });
}

/// Before a simulated step: input components show the commands of this tick. `batch` ticks are merged in the step; their events are all in it.
pub(crate) fn apply(world: &mut World, tick: NetworkTick, batch: u32) {
    with_taken(world, |world, types: &mut CommandRegistry| {
        for ty in &mut types.types {
            ty.ops.apply(world, tick, batch);
        }
    });
}

/// Whether any predicted ghost has another input in the tick after `tick` than in `tick`: there a merged step of prediction ends.
#[cfg(feature = "client")]
pub(crate) fn input_changes_after(world: &mut World, tick: NetworkTick) -> bool {
    with_taken(world, |world, types: &mut CommandRegistry| {
        let world: &World = world;
        types.types.iter_mut().any(|ty| ty.ops.changes_after(world, tick))
    })
}

/// Client: these ghosts are dropped, and may come back when the server begins anew. Presses counted for them must not begin anew with them.
#[cfg(feature = "client")]
pub(crate) fn carry_over(world: &mut World, ghosts: &[Entity]) {
    with_taken(world, |world, types: &mut CommandRegistry| {
        for ty in &mut types.types {
            for &ghost in ghosts {
                ty.ops.carry_over(world, ghost);
            }
        }
    });
}

/// Client: a ghost is another's since `tick`. What the player wanted from it after that does not count, and its input is nobody's.
#[cfg(feature = "client")]
pub(crate) fn lose(world: &mut World, ghost: Entity, tick: NetworkTick) {
    with_taken(world, |world, types: &mut CommandRegistry| {
        for ty in &mut types.types {
            ty.ops.lose(world, ghost, tick);
        }
    });
}

/// Client: the server of all ghosts is gone.
#[cfg(feature = "client")]
pub(crate) fn forget_carried(world: &mut World) {
    for ty in &mut world.resource_mut::<CommandRegistry>().types {
        ty.ops.forget_carried();
    }
}

fn with_target(world: &mut World, work: impl FnOnce(&mut CommandRegistry, &mut World, Option<NetworkId>, NetworkTick)) {
    let Some(target) = world.resource::<NetworkTime>().input_target_tick() else { return };
    let own = local_network_id(world);
    with_taken(world, |world, types: &mut CommandRegistry| work(types, world, own, target));
}

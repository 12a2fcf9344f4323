//! World migration: what a client has counted of its player's presses goes on being counted in the new world, for ghosts that are on the
//! server still and come back.

use bevy_ecs::prelude::{Entity, With, World};
use std::any::Any;

use super::input::carry_over;
use super::registry::CommandRegistry;
use super::send::CommandSender;
use crate::ghost::GhostInstance;

/// What one input type carries over, as only that type knows it.
pub(super) type Carried = Box<dyn Any + Send + Sync>;

/// The counts by the hash of their input type, which tick was sent last, and what the server calls the types.
#[derive(Default)]
pub(crate) struct CarriedInputs {
    counts: Vec<(u64, Carried)>,
    sender: Option<CommandSender>,
    server_numbers: Option<Vec<Option<u32>>>,
}

/// Takes the counts out of a client world.
pub(crate) fn take_inputs(world: &mut World) -> CarriedInputs {
    let Some(sender) = world.get_resource_mut::<CommandSender>() else { return CarriedInputs::default() };
    let sender = Some(sender.into_inner().move_to_another_world());
    let ghosts: Vec<Entity> = world.query_filtered::<Entity, With<GhostInstance>>().iter(world).collect();
    carry_over(world, &ghosts);
    let mut registry = world.resource_mut::<CommandRegistry>();
    CarriedInputs {
        server_numbers: registry.server_numbers.take(),
        counts: registry.types.iter_mut().filter_map(|ty| Some((ty.hash, ty.ops.take_carried()?))).collect(),
        sender,
    }
}

/// Gives them to the world that takes its place.
pub(crate) fn put_inputs(world: &mut World, carried: CarriedInputs) {
    let Some(sender) = carried.sender else { return };
    world.insert_resource(sender);
    let mut registry = world.resource_mut::<CommandRegistry>();
    registry.server_numbers = carried.server_numbers;
    for (hash, counts) in carried.counts {
        if let Some(ty) = registry.types.iter_mut().find(|ty| ty.hash == hash) {
            ty.ops.put_carried(counts);
        }
    }
}

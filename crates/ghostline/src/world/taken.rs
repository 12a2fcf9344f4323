//! A resource beside its world, for a while. Bevy's own scope moves the resource's entity between archetypes twice, which hundreds of small worlds in
//! one process feel; this one leaves an empty one behind.

use bevy_ecs::component::Mutable;
use bevy_ecs::prelude::{Resource, World};

/// Takes the resource out, works with it and the world, and puts it back. Meanwhile the world has a default one in its place.
pub(crate) fn with_taken<R, T>(world: &mut World, work: impl FnOnce(&mut World, &mut R) -> T) -> T
where
    R: Resource<Mutability = Mutable> + Default,
{
    let mut taken = std::mem::take(&mut *world.resource_mut::<R>());
    let result = work(world, &mut taken);
    *world.resource_mut::<R>() = taken;
    result
}

//! Server: a change of the tick rates is told to the clients, if the game has opted in. (What the handshake tells, and what a client makes of both, is in `admission`
//! and `joining`.)

use bevy_ecs::prelude::{Entity, World};
use ghostline_wire::{BitWriter, internal_rpc};

use super::components::{ConnectionStatus, NetworkStreamConnection};
use super::lifecycle::live_connections;
use crate::rpc;
use crate::time::ReplicateTickRate;
use crate::world::resolved_rate;

/// At the end of a tick: tells every client rates that have changed, if the game has opted in to that.
pub fn tell_tick_rate(world: &mut World) {
    if !world.contains_resource::<ReplicateTickRate>() {
        return;
    }
    let rate = resolved_rate(world);
    let Some(block) = world.resource_mut::<ReplicateTickRate>().note(&rate) else { return };
    let mut payload = BitWriter::new();
    block.encode(&mut payload);
    for entity in live_connections(world) {
        if is_connected(world, entity) {
            rpc::push_internal(world, entity, internal_rpc::TICK_RATE, &payload);
        }
    }
}

fn is_connected(world: &World, entity: Entity) -> bool {
    world
        .get::<NetworkStreamConnection>(entity)
        .is_some_and(|connection| connection.state == ConnectionStatus::Connected)
}

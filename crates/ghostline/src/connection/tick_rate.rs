//! Tick rates on the wire: what the handshake told is taken over by a client, and a later change told by a server that opted in.

use bevy_ecs::prelude::{Entity, World};
use ghostline_wire::{BitWriter, DecodeError, TickRateBlock, internal_rpc};

use super::components::{ConnectionStatus, NetworkStreamConnection};
use super::lifecycle::live_connections;
use crate::rpc;
use crate::time::{ClientServerTickRate, ReplicateTickRate};
use crate::world::resolved_rate;

/// Server, at the end of a tick: tells every client rates that have changed, if the game has opted in to that.
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

/// Client: takes over what the server says its rates are. What it doesn't say stays as the game has set it.
///
/// # Errors
/// A rate out of range: a peer's numbers drive our loops.
pub(super) fn take_over(world: &mut World, block: &TickRateBlock) -> Result<(), DecodeError> {
    world
        .get_resource_or_init::<ClientServerTickRate>()
        .apply_block(block)
        .map_err(|_| DecodeError::BadValue { what: "tick rates" })
}

/// Client: the server has changed its rates.
///
/// # Errors
/// Before the handshake is over, or a rate out of range.
pub(super) fn receive_change(world: &mut World, entity: Entity, block: &TickRateBlock) -> Result<(), DecodeError> {
    if !is_connected(world, entity) {
        return Err(DecodeError::BadValue { what: "tick rates before the handshake is over" });
    }
    take_over(world, block)
}

fn is_connected(world: &World, entity: Entity) -> bool {
    world
        .get::<NetworkStreamConnection>(entity)
        .is_some_and(|connection| connection.state == ConnectionStatus::Connected)
}

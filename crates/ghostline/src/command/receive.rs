//! Server: command packets of this tick, into the buffers of their targets. Every packet that arrived is used; ownership is always checked.

use bevy_ecs::prelude::{Entity, Mut, World};
use ghostline_wire::{BitReader, BlockReader, BlockTarget, CommandHeader, DecodedBlock, NetworkTick, read_block};

use super::buffer::COMMAND_BUFFER_CAPACITY;
use super::registry::CommandRegistry;
use crate::connection::{
    CommandTarget, IncomingCommandDataStreamBuffer, NetworkId, NetworkSnapshotAck, NetworkStreamConnection,
    NetworkStreamDriver, NetworkStreamInGame, count_invalid, live_connections,
};
use crate::ghost::{AutoCommandTarget, GhostOwner, SpawnedGhostEntityMap};
use crate::snapshot;
use crate::stats::NetworkStats;
use crate::time::NetworkTime;
use crate::world::FrameClock;

/// So many command packets of a connection are read per tick, the latest; older ones are dropped and counted. One per tick is usual; a burst
/// after a stall is not yet hostile.
pub const MAX_COMMAND_PACKETS_PER_TICK: usize = 64;

/// Takes in the command packets that arrived.
pub fn receive(world: &mut World) {
    let Some(server_tick) = world.resource::<NetworkTime>().server_tick else { return };
    for entity in live_connections(world) {
        let Some(mut incoming) = world.get_mut::<IncomingCommandDataStreamBuffer>(entity) else { continue };
        let mut packets = std::mem::take(&mut incoming.0);
        while let Some(packet) = packets.pop_front() {
            if packets.len() < MAX_COMMAND_PACKETS_PER_TICK {
                take_in(world, entity, &packet, server_tick);
            } else {
                world.resource_mut::<NetworkStats>().dropped_messages += 1;
            }
            if let Some(handle) = world.get::<NetworkStreamConnection>(entity).map(|connection| connection.handle) {
                world.resource_mut::<NetworkStreamDriver>().recycle(handle, packet);
            }
        }
        if let Some(mut incoming) = world.get_mut::<IncomingCommandDataStreamBuffer>(entity) {
            incoming.0 = packets;
        }
        measure_command_age(world, entity, server_tick);
    }
}

/// How late commands come, smoothed over about eight ticks.
fn measure_command_age(world: &mut World, entity: Entity, server_tick: NetworkTick) {
    let Some(mut ack) = world.get_mut::<NetworkSnapshotAck>(entity) else { return };
    if let Some(newest) = ack.most_recent_full_command_tick {
        let late = server_tick.ticks_since(newest).clamp(-MAX_AGE_TICKS, MAX_AGE_TICKS);
        ack.command_age_q16 = (7 * ack.command_age_q16 + (i64::from(late) << 16)) / 8;
        ack.server_command_age = shown_age(ack.command_age_q16);
    }
}

/// The average as clients are told it, in 1/256 ticks. What is less than 1/32 tick is nothing: an average never quite gets there.
pub(crate) fn shown_age(age_q16: i64) -> i32 {
    const NOTHING: i64 = (1 << 16) / 32;
    // It fits: what is averaged is bounded.
    if age_q16.abs() < NOTHING { 0 } else { (age_q16 / 256) as i32 }
}

/// An age beyond this says only that something is very wrong.
const MAX_AGE_TICKS: i32 = 1 << 16;

fn take_in(world: &mut World, entity: Entity, packet: &[u8], server_tick: NetworkTick) {
    let mut input = BitReader::new(packet.get(1..).unwrap_or_default());
    let header = match CommandHeader::decode(&mut input) {
        Ok(header) => header,
        Err(_) => return count_invalid(world, entity, "a command packet with a bad header"),
    };
    world.resource_mut::<NetworkStats>().received_command_packets += 1;
    note_header(world, entity, &header, server_tick);
    if world.get::<NetworkStreamInGame>(entity).is_none() {
        return;
    }
    snapshot::acknowledge(world, entity, &header);
    for _ in 0..read_blocks(world, entity, &mut input, header.input_target_tick, server_tick) {
        count_invalid(world, entity, "a malformed command block");
    }
}

/// A packet for a tick so far behind the newest was not overtaken: the client has put its clock back.
const PUT_BACK_TICKS: i32 = COMMAND_BUFFER_CAPACITY as i32;

fn note_header(world: &mut World, entity: Entity, header: &CommandHeader, server_tick: NetworkTick) {
    let clock = world.resource::<FrameClock>();
    let (now_ms, waited) = (clock.now_ms_u16(), clock.is_after_stall);
    let in_game = world.get::<NetworkStreamInGame>(entity).is_some();
    let Some(mut ack) = world.get_mut::<NetworkSnapshotAck>(entity) else { return };
    if !waited {
        ack.rtt.on_packet(now_ms, header.local_time_ms, header.return_time_ms);
    }
    if !in_game {
        return;
    }
    let tick = header.input_target_tick;
    if ack.most_recent_command_tick.is_some_and(|newest| newest.ticks_since(tick) > PUT_BACK_TICKS) {
        ack.most_recent_command_tick = None;
        ack.most_recent_full_command_tick = None;
        // How early the old ticks came says nothing of the new ones.
        ack.command_age_q16 = i64::from(server_tick.ticks_since(tick).clamp(-MAX_AGE_TICKS, MAX_AGE_TICKS)) << 16;
    }
    let is_newest = ack.most_recent_command_tick.is_none_or(|newest| tick.is_newer_than(newest));
    if is_newest {
        ack.most_recent_command_tick = Some(tick);
        ack.interpolation_delay_ticks = header.interpolation_delay;
    }
    // A packet of a partial tick says that the tick before it is done.
    let full = if header.is_full_tick { tick } else { tick.prev() };
    if ack.most_recent_full_command_tick.is_none_or(|newest| full.is_newer_than(newest)) {
        ack.most_recent_full_command_tick = Some(full);
    }
}

/// Reads the blocks one by one: a bad one costs itself, and what follows it only if its length can't be trusted. Returns how many
/// were bad.
fn read_blocks(
    world: &mut World,
    connection: Entity,
    input: &mut BitReader<'_>,
    input_target_tick: NetworkTick,
    server_tick: NetworkTick,
) -> u32 {
    world.resource_scope(|world, types: Mut<CommandRegistry>| {
        let mut reader = BlockReader::new();
        let mut block = DecodedBlock::default();
        let mut bad = 0;
        loop {
            let raw = match reader.next_block(input) {
                Ok(Some(raw)) => raw,
                Ok(None) => return bad,
                Err(_) => return bad + 1,
            };
            let Some(ty) = types.types.get(raw.type_index as usize) else { continue };
            if read_block(raw.body, &ty.layout, input_target_tick, &mut block).is_err() {
                bad += 1;
                continue;
            }
            let Some(entity) = target_entity(world, connection, block.target) else { continue };
            let counts = ty.ops.store(world, entity, &block, server_tick);
            let mut stats = world.resource_mut::<NetworkStats>();
            stats.stored_commands += counts.stored + counts.late;
            stats.late_commands += counts.late;
        }
    })
}

/// The entity that a block is for; `None` if there is none, or it isn't the sender's.
fn target_entity(world: &World, connection: Entity, target: BlockTarget) -> Option<Entity> {
    match target {
        BlockTarget::ConnectionTarget => world.get::<CommandTarget>(connection)?.entity,
        BlockTarget::Ghost { ghost_id, spawn_tick } => {
            let entity = world.resource::<SpawnedGhostEntityMap>().get(ghost_id, spawn_tick)?;
            let sender = *world.get::<NetworkId>(connection)?;
            let is_own = world.get::<GhostOwner>(entity)?.0 == sender;
            let takes_commands = world.get::<AutoCommandTarget>(entity)?.enabled;
            (is_own && takes_commands).then_some(entity)
        }
    }
}

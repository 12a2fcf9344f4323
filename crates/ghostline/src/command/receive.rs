//! Server: command packets of this tick, into the buffers of their targets. Every packet that arrived is used; ownership is always checked.

use bevy_ecs::prelude::{Entity, World};
use ghostline_wire::{BitReader, BlockReader, BlockTarget, CommandHeader, NetworkTick};

use super::arrival::CommandArrivalStatistics;
use super::buffer::COMMAND_BUFFER_CAPACITY;
use super::registry::{Arrival, CommandRegistry};
use crate::connection::{
    CommandTarget, IncomingCommandDataStreamBuffer, NetworkId, NetworkSnapshotAck, NetworkStreamConnection,
    NetworkStreamDriver, NetworkStreamInGame, count_invalid, live_connections,
};
use crate::ghost::{AutoCommandTarget, GhostOwner, SpawnedGhostEntityMap};
use crate::snapshot;
use crate::stats::NetworkStats;
use crate::time::{NetworkTime, RttEstimator};
use crate::world::{FrameClock, resolved_rate, with_taken};

/// So many command packets of a connection are read per tick, the latest; older ones are dropped and counted. One per tick is usual; a burst
/// after a stall is not yet hostile.
pub const MAX_COMMAND_PACKETS_PER_TICK: usize = 64;

/// So many bytes of a connection's command packets are read per tick, of the latest; older packets are dropped and counted. Four of the largest.
pub const MAX_COMMAND_BYTES_PER_TICK: usize = 64 * 1024;

/// Takes in the command packets that arrived.
pub fn receive(world: &mut World) {
    let Some(server_tick) = world.resource::<NetworkTime>().server_tick else { return };
    for entity in live_connections(world) {
        let Some(mut incoming) = world.get_mut::<IncomingCommandDataStreamBuffer>(entity) else { continue };
        let mut packets = std::mem::take(&mut incoming.0);
        let worth_reading = latest_within_bounds(packets.iter().rev().map(Vec::len));
        while let Some(packet) = packets.pop_front() {
            if packets.len() < worth_reading {
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
    with_taken(world, |world, types: &mut CommandRegistry| {
        for ty in &mut types.types {
            ty.ops.note_owners(world, server_tick);
        }
    });
}

/// How many of the latest packets are read, by their lengths, the latest first.
fn latest_within_bounds(lengths: impl Iterator<Item = usize>) -> usize {
    let mut bytes = 0;
    lengths
        .take(MAX_COMMAND_PACKETS_PER_TICK)
        .take_while(|length| {
            bytes += length;
            bytes <= MAX_COMMAND_BYTES_PER_TICK
        })
        .count()
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
    let statistics = world.get::<CommandArrivalStatistics>(entity).copied();
    let mut statistics = statistics.unwrap_or_default();
    statistics.note_packet(input.remaining_bits());
    let arrival = Arrival {
        connection: entity,
        input_target_tick: header.input_target_tick,
        newest_target_tick: statistics.newest_target_tick(header.local_time_ms, header.input_target_tick),
        server_tick,
        interpolation_delay: plausible_delay(world, entity, header.interpolation_delay),
    };
    for _ in 0..read_blocks(world, &arrival, &mut input, &mut statistics) {
        count_invalid(world, entity, "a malformed command block");
    }
    if let Some(mut known) = world.get_mut::<CommandArrivalStatistics>(entity) {
        *known = statistics;
    } else if let Ok(mut connection) = world.get_entity_mut(entity) {
        connection.insert(statistics);
    }
}

/// A packet for a tick so far behind the newest was not overtaken: the client has put its clock back. To where ours is, or it is a lie.
const PUT_BACK_TICKS: i32 = COMMAND_BUFFER_CAPACITY as i32;

fn note_header(world: &mut World, entity: Entity, header: &CommandHeader, server_tick: NetworkTick) {
    let clock = world.resource::<FrameClock>();
    let (now_ms, waited) = (clock.now_ms_u16(), clock.is_after_stall);
    let in_game = world.get::<NetworkStreamInGame>(entity).is_some();
    let delay = plausible_delay(world, entity, header.interpolation_delay);
    let Some(mut ack) = world.get_mut::<NetworkSnapshotAck>(entity) else { return };
    if !waited {
        ack.rtt.on_packet(now_ms, header.local_time_ms, header.return_time_ms);
    }
    if !in_game {
        return;
    }
    let tick = header.input_target_tick;
    let is_behind = ack.most_recent_command_tick.is_some_and(|newest| newest.ticks_since(tick) > PUT_BACK_TICKS);
    if is_behind && tick.ticks_since(server_tick).abs() <= PUT_BACK_TICKS {
        ack.most_recent_command_tick = None;
        ack.most_recent_full_command_tick = None;
        // How early the old ticks came says nothing of the new ones.
        ack.command_age_q16 = i64::from(server_tick.ticks_since(tick)) << 16;
    }
    let is_newest = ack.most_recent_command_tick.is_none_or(|newest| tick.is_newer_than(newest));
    if is_newest {
        ack.most_recent_command_tick = Some(tick);
        ack.interpolation_delay_ticks = delay.into();
    }
    // A packet of a partial tick says that the tick before it is done.
    let full = if header.is_full_tick { tick } else { tick.prev() };
    if ack.most_recent_full_command_tick.is_none_or(|newest| full.is_newer_than(newest)) {
        ack.most_recent_full_command_tick = Some(full);
    }
}

/// The interpolation delay of a client as far as it is believed: what lies between prediction and interpolation is the round trip, the slack, and the
/// buffer of snapshots, none of them larger than it may be.
fn plausible_delay(world: &World, connection: Entity, claimed_ticks: u32) -> u16 {
    let rate = resolved_rate(world);
    let ack = world.get::<NetworkSnapshotAck>(connection);
    let round_trip = ack.map_or(0.0, |ack| longest_rtt_ms(&ack.rtt)) * f64::from(rate.step().hertz()) / 1000.0;
    // The cast saturates.
    let longest = (round_trip.ceil() as u32)
        .saturating_add(MAX_SLACK_TICKS)
        .saturating_add(rate.send_interval().saturating_mul(MAX_BUFFERED_SNAPSHOTS));
    u16::try_from(claimed_ticks.min(longest)).unwrap_or(u16::MAX)
}

/// The round trip when it is long.
fn longest_rtt_ms(rtt: &RttEstimator) -> f64 {
    f64::from(rtt.estimated_ms().unwrap_or(0.0)) + 4.0 * f64::from(rtt.deviation_ms())
}

/// More slack than a client may sensibly have.
const MAX_SLACK_TICKS: u32 = 16;
/// More snapshots than a client's interpolation buffers, whatever the jitter.
const MAX_BUFFERED_SNAPSHOTS: u32 = 8;

/// Reads the blocks one by one: a bad one costs itself, and what follows it only if its length can't be trusted. Returns how many
/// were bad.
fn read_blocks(
    world: &mut World,
    arrival: &Arrival,
    input: &mut BitReader<'_>,
    statistics: &mut CommandArrivalStatistics,
) -> u32 {
    with_taken(world, |world, types: &mut CommandRegistry| {
        let mut reader = BlockReader::new();
        let mut bad = 0;
        loop {
            let raw = match reader.next_block(input) {
                Ok(Some(raw)) => raw,
                Ok(None) => return bad,
                Err(_) => return bad + 1,
            };
            let Some(ty) = types.types.get_mut(raw.type_index as usize) else { continue };
            let Ok(counts) = ty.ops.receive(world, raw.body, arrival, target_entity) else {
                bad += 1;
                continue;
            };
            statistics.note_commands(counts);
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

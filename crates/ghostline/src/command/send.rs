//! Client: one command packet per new tick, with or without commands: acknowledgements, clocks, and the newest commands of every target,
//! each with its predecessors.

use bevy_ecs::prelude::{Entity, Mut, Resource, World};
use ghostline_transport::Pipeline;
use ghostline_wire::{
    BitWriter, BlockTarget, CommandEntry, CommandHeader, Epoch, NetworkTick, write_block, write_blocks_end,
};

use super::registry::{CommandRegistry, CommandType, EntryScratch};
use crate::connection::{
    CommandTarget, NetworkId, NetworkSnapshotAck, NetworkStreamConnection, NetworkStreamDriver, NetworkStreamInGame,
    OutgoingCommandDataStreamBuffer, live_connections,
};
use crate::ghost::{AutoCommandTarget, GhostInstance, GhostOwner, GhostOwnerIsLocal, GhostRegistry};
use crate::prediction::PredictedGhost;
use crate::snapshot::ClientSnapshots;
use crate::stats::NetworkStats;
use crate::time::{ClientTickRate, NetworkTime};
use crate::world::FrameClock;

/// The state of sending: which tick was sent last, and buffers that are used again.
#[derive(Resource, Default)]
pub(crate) struct CommandSender {
    last_tick: Option<NetworkTick>,
    packet: BitWriter,
    scratch: BitWriter,
    entries: EntryScratch,
    /// A misuse that was reported already.
    warned_of_interpolated: bool,
}

/// Sends the command packet of this tick, if it wasn't sent yet.
pub fn send(world: &mut World) {
    let in_game = live_connections(world).find(|&entity| world.get::<NetworkStreamInGame>(entity).is_some());
    let (Some(connection), Some(target)) = (in_game, world.resource::<NetworkTime>().input_target_tick()) else {
        world.resource_mut::<CommandSender>().last_tick = None;
        return;
    };
    let mut sender = std::mem::take(&mut *world.resource_mut::<CommandSender>());
    // Only a tick that is new is sent; after a hard reset of the clock the ticks begin anew.
    const RESET_TICKS: i32 = -64;
    let is_new = sender.last_tick.is_none_or(|last| {
        let ahead = target.ticks_since(last);
        !(RESET_TICKS..=0).contains(&ahead)
    });
    if is_new {
        sender.last_tick = Some(target);
        write_packet(world, connection, target, &mut sender);
        transmit(world, connection, &sender.packet);
    }
    *world.resource_mut::<CommandSender>() = sender;
}

fn write_packet(world: &mut World, connection: Entity, target: NetworkTick, sender: &mut CommandSender) {
    let header = header(world, connection, target);
    sender.packet.clear();
    header.encode(&mut sender.packet);
    let auto = auto_targets(world, sender);
    let explicit = world.get::<CommandTarget>(connection).and_then(|target| target.entity);
    let count = world.resource::<ClientTickRate>().commands_per_packet();
    world.resource_scope(|world, types: Mut<CommandRegistry>| {
        for (number, ty) in types.types.iter().enumerate() {
            let Some(number) = types.number_on_server(number) else { continue };
            for &(entity, target_ghost) in &auto {
                write_type(world, sender, number, ty, entity, target_ghost, target, count);
            }
            if let Some(entity) = explicit.filter(|&entity| !auto.iter().any(|&(known, _)| known == entity)) {
                write_type(world, sender, number, ty, entity, BlockTarget::ConnectionTarget, target, count);
            }
        }
    });
    write_blocks_end(&mut sender.packet);
}

fn header(world: &World, connection: Entity, target: NetworkTick) -> CommandHeader {
    let time = world.resource::<NetworkTime>();
    let now_ms = world.resource::<FrameClock>().now_ms_u16();
    let snapshots = world.resource::<ClientSnapshots>();
    CommandHeader {
        epoch: snapshots.epoch.unwrap_or(Epoch(0)),
        acks: snapshots.received.acks(),
        fresh_start: snapshots.fresh_start,
        local_time_ms: now_ms,
        return_time_ms: world.get::<NetworkSnapshotAck>(connection).and_then(|ack| ack.rtt.return_time(now_ms)),
        interpolation_delay: interpolation_delay_ticks(time),
        prefabs_known: snapshots.prefabs.len() as u32,
        is_full_tick: !time.is_partial_tick(),
        input_target_tick: target,
    }
}

/// How far interpolation lies behind prediction, in whole ticks.
fn interpolation_delay_ticks(time: &NetworkTime) -> u32 {
    let (Some(server), Some(interpolation)) = (time.server_tick, time.interpolation_tick) else { return 0 };
    let adjustment = (1.0 - time.interpolation_tick_fraction) - (1.0 - time.server_tick_fraction);
    let ticks = server.ticks_since(interpolation) + i32::from(adjustment >= 1.0) - i32::from(adjustment < 0.0);
    ticks.max(0).unsigned_abs()
}

/// The player's ghosts that take commands by themselves, in the order of ids.
fn auto_targets(world: &mut World, sender: &mut CommandSender) -> Vec<(Entity, BlockTarget)> {
    let own = crate::snapshot::local_network_id(world).unwrap_or(NetworkId::NONE);
    let mut query = world.query_filtered::<
        (Entity, &GhostInstance, &GhostOwner, &AutoCommandTarget, Option<&PredictedGhost>),
        bevy_ecs::prelude::With<GhostOwnerIsLocal>,
    >();
    let registry = world.resource::<GhostRegistry>();
    let mut targets = Vec::new();
    for (entity, instance, owner, auto, predicted) in query.iter(world) {
        let Some(spawn_tick) = instance.spawn_tick.filter(|_| auto.enabled && owner.0 == own && own != NetworkId::NONE)
        else {
            continue;
        };
        let prefab = registry.get(instance.ghost_type).map(|ty| &ty.prefab);
        if predicted.is_none() && !prefab.is_some_and(|prefab| prefab.commands_when_interpolated) {
            if !std::mem::replace(&mut sender.warned_of_interpolated, true) {
                tracing::warn!(
                    "a ghost of type `{}` is owned by this client but interpolated here, so no commands are sent for it; make it \
                     `.owner_predicted()`, or allow it with `.commands_when_interpolated(true)`",
                    prefab.map_or("?", |prefab| &prefab.name)
                );
            }
            continue;
        }
        targets.push((entity, BlockTarget::Ghost { ghost_id: instance.ghost_id, spawn_tick }, instance.ghost_id));
    }
    targets.sort_by_key(|&(_, _, ghost_id)| ghost_id);
    targets.into_iter().map(|(entity, target, _)| (entity, target)).collect()
}

fn write_type(
    world: &World,
    sender: &mut CommandSender,
    index: u32,
    ty: &CommandType,
    entity: Entity,
    block_target: BlockTarget,
    target: NetworkTick,
    count: u32,
) {
    if !ty.ops.has_buffer(world, entity) {
        return;
    }
    ty.ops.read_entries(world, entity, target, count, &mut sender.entries);
    // A command that has lain for so long was sent often enough.
    const STALE_TICKS: i32 = 64;
    let Some(&newest) = sender.entries.ticks.first() else { return };
    if target.ticks_since(newest) >= STALE_TICKS {
        return;
    }
    let lanes = ty.layout.lanes();
    let mut entries = [CommandEntry { tick: target, lanes: &[] }; ghostline_wire::limits::MAX_COMMAND_ENTRIES as usize];
    let used = sender.entries.ticks.len().min(entries.len());
    for (place, (&tick, entry)) in sender.entries.ticks.iter().zip(&mut entries).enumerate() {
        *entry = CommandEntry {
            tick,
            lanes: sender.entries.lanes.get(place * lanes..(place + 1) * lanes).unwrap_or_default(),
        };
    }
    let result =
        write_block(index, block_target, &ty.layout, target, &entries[..used], &mut sender.scratch, &mut sender.packet);
    if let Err(error) = result {
        tracing::error!("the commands of type `{}` are not sent: {error}; make the command smaller", ty.schema.name);
    }
}

fn transmit(world: &mut World, connection: Entity, packet: &BitWriter) {
    let Some(handle) = world.get::<NetworkStreamConnection>(connection).map(|connection| connection.handle) else {
        return;
    };
    if let Some(mut outgoing) = world.get_mut::<OutgoingCommandDataStreamBuffer>(connection) {
        outgoing.0.clear();
        outgoing.0.extend_from_slice(packet.as_bytes());
    }
    let bytes = packet.as_bytes();
    let mut facade = world.resource_mut::<NetworkStreamDriver>();
    let pipeline = if bytes.len() > facade.max_datagram_bytes(handle) {
        Pipeline::UnreliableFragmented
    } else {
        Pipeline::Unreliable
    };
    match facade.store().send(handle, pipeline, bytes) {
        Ok(()) => {
            let mut stats = world.resource_mut::<NetworkStats>();
            stats.sent_command_packets += 1;
            stats.sent_bytes += bytes.len() as u64;
        }
        Err(error) => tracing::debug!("a command packet could not be sent: {error}"),
    }
    if let Some(mut outgoing) = world.get_mut::<OutgoingCommandDataStreamBuffer>(connection) {
        outgoing.0.clear();
    }
}

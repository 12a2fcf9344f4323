//! Client: one command packet per new tick, with or without commands: acknowledgements, clocks, and the newest commands of every target,
//! each with its predecessors.

use bevy_ecs::prelude::{Entity, Has, QueryState, Resource, With, World};
use ghostline_transport::Pipeline;
use ghostline_wire::{BitWriter, BlockTarget, CommandHeader, Epoch, NetworkTick, SnapshotAcks, write_blocks_end};

use super::registry::{BlockRequest, CommandRegistry, CommandType};
use crate::connection::{
    CommandTarget, NetworkId, NetworkSnapshotAck, NetworkStreamDriver, NetworkStreamInGame,
    OutgoingCommandDataStreamBuffer, live_connections, own_handle,
};
use crate::ghost::{AutoCommandTarget, GhostInstance, GhostOwner, GhostOwnerIsLocal, GhostRegistry};
use crate::prediction::PredictedGhost;
use crate::snapshot::ClientSnapshots;
use crate::stats::NetworkStats;
use crate::time::{ClientTickRate, NetworkTime};
use crate::world::{FrameClock, with_taken};

/// What is looked at of the player's ghosts.
type OwnGhost = (Entity, &'static GhostInstance, &'static GhostOwner, &'static AutoCommandTarget, Has<PredictedGhost>);

/// The state of sending: which tick was sent last, and buffers that are used again.
#[derive(Resource, Default)]
pub(crate) struct CommandSender {
    last_tick: Option<NetworkTick>,
    packet: BitWriter,
    scratch: BitWriter,
    own_ghosts: Option<QueryState<OwnGhost, With<GhostOwnerIsLocal>>>,
    /// The player's ghosts that take commands by themselves, in the order of ids.
    targets: Vec<(u32, Entity, BlockTarget)>,
    /// A misuse that was reported already.
    warned_of_interpolated: bool,
}

impl CommandSender {
    /// World migration: what is known of no particular world.
    pub(super) fn move_to_another_world(&mut self) -> Self {
        Self { own_ghosts: None, targets: Vec::new(), ..std::mem::take(self) }
    }
}

/// Sends the command packet of this tick, if it wasn't sent yet.
pub fn send(world: &mut World) {
    let in_game = live_connections(world).find(|&entity| world.get::<NetworkStreamInGame>(entity).is_some());
    let (Some(connection), Some(target)) = (in_game, world.resource::<NetworkTime>().input_target_tick()) else {
        world.resource_mut::<CommandSender>().last_tick = None;
        return;
    };
    let mut sender = std::mem::take(&mut *world.resource_mut::<CommandSender>());
    // Once for every tick: also for one that comes again because the input latency was made shorter.
    if sender.last_tick != Some(target) {
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
    find_targets(world, sender);
    let explicit = world.get::<CommandTarget>(connection).and_then(|target| target.entity);
    let explicit = explicit.filter(|&entity| !sender.targets.iter().any(|&(_, known, _)| known == entity));
    let rate = world.resource::<ClientTickRate>();
    let count = match header.acks {
        Some(acks) if rate.redundancy_follows_loss => rate.commands_per_packet_at_loss(lost_share(&acks)),
        _ => rate.commands_per_packet(),
    };
    let targets = std::mem::take(&mut sender.targets);
    with_taken(world, |world, types: &mut CommandRegistry| {
        let CommandRegistry { types, server_numbers, .. } = types;
        for (number, ty) in types.iter_mut().enumerate() {
            let Some(type_index) = CommandRegistry::number_on_server(server_numbers.as_deref(), number) else {
                continue;
            };
            let of_ghosts = targets.iter().map(|&(_, entity, target)| (entity, target));
            let of_connection = explicit.map(|entity| (entity, BlockTarget::ConnectionTarget));
            for (entity, block_target) in of_ghosts.chain(of_connection) {
                let request = BlockRequest { type_index, target: block_target, input_target_tick: target, count };
                write_block(world, sender, ty, entity, &request);
            }
        }
    });
    sender.targets = targets;
    write_blocks_end(&mut sender.packet);
}

/// The share of the newest packets from the server that got lost: the best that a client knows of its link. 0 while there are too few to tell.
fn lost_share(acks: &SnapshotAcks) -> f32 {
    const ENOUGH_PACKETS: u32 = 32;
    let count = acks.count();
    if count < ENOUGH_PACKETS {
        return 0.0;
    }
    acks.iter().filter(|(_, received)| !received).count() as f32 / count as f32
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

/// Finds the player's ghosts that take commands by themselves.
fn find_targets(world: &mut World, sender: &mut CommandSender) {
    let CommandSender { own_ghosts, targets, warned_of_interpolated, .. } = sender;
    targets.clear();
    let own = crate::connection::local_network_id(world).unwrap_or(NetworkId::NONE);
    let query = own_ghosts.get_or_insert_with(|| world.query_filtered());
    query.update_archetypes(world);
    let registry = world.resource::<GhostRegistry>();
    for (entity, instance, owner, auto, is_predicted) in query.iter_manual(world) {
        let Some(spawn_tick) = instance.spawn_tick.filter(|_| auto.enabled && owner.0 == own && own != NetworkId::NONE)
        else {
            continue;
        };
        let prefab = registry.get(instance.ghost_type).map(|ty| &ty.prefab);
        if !is_predicted && !prefab.is_some_and(|prefab| prefab.commands_when_interpolated) {
            if !std::mem::replace(warned_of_interpolated, true) {
                tracing::warn!(
                    "a ghost of type `{}` is owned by this client but interpolated here, so no commands are sent for it; make it \
                     `.owner_predicted()`, or allow it with `.commands_when_interpolated(true)`",
                    prefab.map_or("?", |prefab| &prefab.name)
                );
            }
            continue;
        }
        let target = BlockTarget::Ghost { ghost_id: instance.ghost_id, spawn_tick };
        targets.push((instance.ghost_id, entity, target));
    }
    targets.sort_unstable_by_key(|&(ghost_id, ..)| ghost_id);
}

fn write_block(
    world: &World,
    sender: &mut CommandSender,
    ty: &mut CommandType,
    entity: Entity,
    request: &BlockRequest,
) {
    let CommandSender { scratch, packet, .. } = sender;
    if let Err(error) = ty.ops.write(world, entity, request, scratch, packet) {
        tracing::error!("the commands of type `{}` are not sent: {error}; make the command smaller", ty.schema.name);
    }
}

fn transmit(world: &mut World, connection: Entity, packet: &BitWriter) {
    let Some(handle) = own_handle(world, connection) else { return };
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

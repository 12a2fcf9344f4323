//! Client: the packets of this pass, in the order in which they arrived, into the ghosts' history; errors lead to a fresh start.

use bevy_ecs::prelude::{Entity, Resource, World};
use ghostline_wire::{BitReader, PrefabEntry, Reception, SnapshotHeader};

use super::client::{ClientSnapshots, drop_ghosts};
use super::decode::{DecodeType, Decoder, SnapshotError};
use super::settings::GhostCount;
use crate::connection::{
    DisconnectReason, IncomingSnapshotDataStreamBuffer, NetworkSnapshotAck, NetworkStreamConnection,
    NetworkStreamDriver, NetworkStreamInGame, close, live_connections,
};
use crate::ghost::GhostRegistry;
use crate::stats::{NetworkStats, SnapshotPacketLossStatistics};
use crate::world::{FrameClock, kind_of, with_taken};

/// The decoder of a client world with the ghost types that it knows.
#[derive(Resource, Default)]
pub(crate) struct SnapshotDecoder {
    decoder: Decoder,
    types: Vec<DecodeType>,
}

impl SnapshotDecoder {
    pub(crate) fn for_world(world: &mut World) -> Self {
        let registry = world.get_resource_or_init::<GhostRegistry>();
        let types = registry
            .types
            .iter()
            .map(|ty| DecodeType {
                layout: ty.layout.clone(),
                prefab: PrefabEntry { type_id: ty.schema.type_id(), schema_hash: ty.schema.hash() },
            })
            .collect();
        Self { decoder: Decoder::default(), types }
    }
}

/// Takes in the snapshots that arrived.
pub fn receive(world: &mut World) {
    for entity in live_connections(world) {
        let in_game = world.get::<NetworkStreamInGame>(entity).is_some();
        if !in_game && world.resource::<ClientSnapshots>().epoch.is_some() {
            // Leaving the game drops everything; entering it again starts from nothing.
            let epoch = world.resource::<ClientSnapshots>().epoch;
            leave_game(world, entity);
            world.resource_mut::<LeftEpoch>().0 = epoch;
        }
        while let Some(packet) =
            world.get_mut::<IncomingSnapshotDataStreamBuffer>(entity).and_then(|mut incoming| incoming.0.pop_front())
        {
            if in_game {
                take_in(world, entity, &packet);
            }
            if let Some(handle) = world.get::<NetworkStreamConnection>(entity).map(|connection| connection.handle) {
                world.resource_mut::<NetworkStreamDriver>().recycle(handle, packet);
            }
        }
    }
    let count = world.resource::<ClientSnapshots>().count;
    let mut shown = world.resource_mut::<GhostCount>();
    if *shown != count {
        *shown = count;
    }
}

/// The epoch that this client left the game in: packets of it are not of the next stay.
#[derive(Resource, Default)]
pub(crate) struct LeftEpoch(pub Option<ghostline_wire::Epoch>);

fn leave_game(world: &mut World, entity: Entity) {
    drop_ghosts(world, None);
    if let Some(mut ack) = world.get_mut::<NetworkSnapshotAck>(entity) {
        let rtt = std::mem::take(&mut ack.rtt);
        *ack = NetworkSnapshotAck { rtt, ..NetworkSnapshotAck::default() };
    }
}

fn take_in(world: &mut World, entity: Entity, packet: &[u8]) {
    if let Err(error) = decode(world, entity, packet) {
        if error == SnapshotError::Overtaken {
            world.resource_mut::<NetworkStats>().overtaken_snapshot_packets += 1;
            return;
        }
        world.resource_mut::<NetworkStats>().invalid_messages += 1;
        match error {
            SnapshotError::Overtaken => {}
            SnapshotError::UnknownPrefab(entry) => {
                tracing::error!(
                    "the server has a ghost type that this program lacks or knows with other components (type {:016x}, schema {:016x}); \
                     register the same ghost types on both sides",
                    entry.type_id,
                    entry.schema_hash
                );
                let text = "a ghost type is unknown here, or has other components";
                close(world, entity, DisconnectReason::BadProtocolVersion, text);
            }
            SnapshotError::Malformed(error) => {
                let now = world.resource::<FrameClock>().now;
                if world.resource_mut::<ClientSnapshots>().count_error(now) {
                    tracing::error!("snapshots can't be decoded ({error}), again and again; closing the connection");
                    close(world, entity, DisconnectReason::ProtocolError, "snapshots can't be decoded");
                } else {
                    tracing::warn!("a snapshot could not be decoded ({error}); asking the server for a fresh start");
                }
            }
        }
    }
}

fn decode(world: &mut World, entity: Entity, packet: &[u8]) -> Result<(), SnapshotError> {
    let mut input = BitReader::new(packet.get(1..).unwrap_or_default());
    let header = SnapshotHeader::decode(&mut input)?;
    let held = world.resource::<ClientSnapshots>().epoch;
    let left = world.resource::<LeftEpoch>().0;
    if held.or(left).is_none_or(|known| header.epoch.is_newer_than(known)) {
        drop_ghosts(world, Some(header.epoch));
    } else if held.is_none() && left == Some(header.epoch) {
        // This client left the game and is back before the server noticed: what it had is gone, so it needs a new epoch.
        let mut snapshots = world.resource_mut::<ClientSnapshots>();
        snapshots.epoch = Some(header.epoch);
        snapshots.fresh_start = true;
        return with_taken(world, |world, snapshots: &mut ClientSnapshots| {
            note_header(world, entity, &header, snapshots);
            Ok(())
        });
    } else if held != Some(header.epoch) {
        return Ok(());
    }
    with_taken(world, |world, snapshots: &mut ClientSnapshots| {
        if snapshots.fresh_start {
            return Ok(());
        }
        let mut received = snapshots.received.clone();
        let ticks = snapshots.ticks_ahead(header.server_tick);
        let before = received.acks().map(|acks| acks.newest);
        let reception = received.receive_by_tick(header.sequence, ticks);
        if let Some(mut statistics) = world.get_mut::<SnapshotPacketLossStatistics>(entity) {
            let ahead = before.map(|before| header.sequence.since_by_tick(before, ticks).unsigned_abs());
            // Numbers begin at 0, so this is how many there were before the first.
            statistics.note(ahead.unwrap_or(u32::from(header.sequence.0) + 1), reception);
        }
        if !matches!(reception, Reception::New | Reception::Late) {
            return Ok(());
        }
        with_taken(world, |world, state: &mut SnapshotDecoder| {
            let SnapshotDecoder { decoder, types } = state;
            decoder.decode_lists(&header, &mut input, types, snapshots)?;
            if !kind_of(world).is_thin_client() {
                decoder.decode_chunks(&header, &mut input, types, snapshots)?;
            }
            world.resource_mut::<NetworkStats>().decoded_rows += std::mem::take(&mut decoder.decoded_rows);
            Ok::<(), SnapshotError>(())
        })?;
        // Only what was understood is acknowledged.
        snapshots.received = received;
        note_header(world, entity, &header, snapshots);
        Ok(())
    })
}

fn note_header(world: &mut World, entity: Entity, header: &SnapshotHeader, snapshots: &mut ClientSnapshots) {
    world.resource_mut::<NetworkStats>().received_snapshot_packets += 1;
    let clock = world.resource::<FrameClock>();
    let (now_ms, waited) = (clock.now_ms_u16(), clock.is_after_stall);
    let is_newest = snapshots.newest_tick.is_none_or(|newest| header.server_tick.is_newer_than(newest));
    if is_newest {
        snapshots.newest_tick = Some(header.server_tick);
    }
    let Some(mut ack) = world.get_mut::<NetworkSnapshotAck>(entity) else { return };
    if let Some(clock) = header.clock.as_ref().filter(|_| !waited) {
        ack.rtt.on_packet(now_ms, clock.local_time_ms, clock.return_time_ms);
    }
    if !is_newest {
        return;
    }
    ack.last_received_snapshot_by_local = Some(header.server_tick);
    if let Some(clock) = &header.clock {
        ack.server_command_age = clock.command_age;
        snapshots.count.on_server = clock.relevant_ghosts.unwrap_or(snapshots.count.on_server);
    }
}

//! Receiving RPCs: a packet is validated whole before anything of it runs; what it holds becomes entities at the start of
//! the next simulation pass, in the order in which it was sent.

use bevy_ecs::entity::EntityHashMap;
use bevy_ecs::prelude::{Component, Entity, QueryState, Resource, World};
use ghostline_wire::{
    BitReader, DecodeError, FrameIter, ProtocolVersion, Reception, RpcFrame, RpcName, internal_rpc, named_frames,
    split_unreliable_packet,
};
use thiserror::Error;

use super::buffer::IncomingRpcDataStreamBuffer;
use super::data::RpcDelivery;
use super::registry::{RpcCollection, RpcEntry, SpawnRpc};
use crate::connection::{
    ConnectionStatus, DisconnectReason, LogLimits, NetworkProtocolVersion, NetworkStreamConnection,
    NetworkStreamDriver, NetworkStreamRequestDisconnect, close, count_invalid, execute_internal, is_ending,
    live_connections,
};
use crate::stats::NetworkStats;
use crate::world::{FrameClock, kind_of};

/// A received RPC; its data is a component of the same entity. Despawn the entity when it is handled.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceiveRpcCommandRequest {
    /// The connection that it came over.
    pub source_connection: Entity,
    sequence: u64,
    age_frames: u32,
    consumed: bool,
    /// Its age was told.
    warned: bool,
}

impl ReceiveRpcCommandRequest {
    /// Its place among all RPCs that this world has received: those of one connection are numbered in the order in which they were
    /// sent. To handle them in that order, sort by it; a query has no order of its own.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Marks the RPC as handled, so that keeping its entity is no mistake. Not needed if the entity is despawned.
    pub fn consume(&mut self) {
        self.consumed = true;
    }

    /// Whether it was marked as handled.
    pub fn is_consumed(&self) -> bool {
        self.consumed
    }
}

/// A received RPC that nobody has consumed after so many simulation passes is named in one warning: a leak. 0: never. Default 4.
#[derive(Resource, Clone, Copy, PartialEq, Eq, Debug)]
pub struct MaxRpcAgeFrames(pub u32);

impl Default for MaxRpcAgeFrames {
    fn default() -> Self {
        Self(4)
    }
}

/// RPCs that were validated and wait for the next pass.
#[derive(Resource, Default)]
pub(crate) struct ReceivedRpcs {
    waiting: Vec<(Entity, SpawnRpc)>,
    spawned: u64,
    /// Those that were spawned, in this world.
    query: Option<QueryState<(Entity, &'static mut ReceiveRpcCommandRequest)>>,
}

/// World migration: RPCs that wait, and those that nobody has consumed, come to the new world's game. Their connections have become others.
pub(crate) fn move_received(from: &mut World, to: &mut World, moved: &EntityHashMap<Entity>) {
    let mut unconsumed: Vec<(u64, Entity, Entity)> = from
        .query::<(Entity, &ReceiveRpcCommandRequest)>()
        .iter(from)
        .filter(|(_, request)| !request.consumed)
        .map(|(entity, request)| (request.sequence, entity, request.source_connection))
        .collect();
    unconsumed.sort_unstable();
    let mut waiting = Vec::new();
    for (_, entity, source) in unconsumed {
        if let Some(rpc) = take_back(from, entity) {
            waiting.push((source, rpc));
        }
        from.despawn(entity);
    }
    let mut received = std::mem::take(&mut *from.resource_mut::<ReceivedRpcs>());
    received.query = None;
    waiting.append(&mut received.waiting);
    received.waiting =
        waiting.into_iter().filter_map(|(source, rpc)| Some((moved.get(&source).copied()?, rpc))).collect();
    to.insert_resource(received);
}

fn take_back(world: &mut World, entity: Entity) -> Option<SpawnRpc> {
    let components = world.get_entity(entity).ok()?.archetype().components().to_vec();
    let collection = world.resource::<RpcCollection>();
    let take_back = components.iter().find_map(|&component| collection.of_component(component))?.1.take_back;
    take_back(world, entity)
}

/// Turns the RPCs of the last pass into entities.
pub fn spawn_received(world: &mut World) {
    warn_of_unconsumed(world);
    let mut received = world.resource_mut::<ReceivedRpcs>();
    let first = received.spawned;
    let waiting = std::mem::take(&mut received.waiting);
    received.spawned += waiting.len() as u64;
    for (sequence, (source_connection, spawn)) in (first..).zip(waiting) {
        spawn(
            world,
            ReceiveRpcCommandRequest { source_connection, sequence, age_frames: 0, consumed: false, warned: false },
        );
    }
}

fn warn_of_unconsumed(world: &mut World) {
    let limit = world.get_resource::<MaxRpcAgeFrames>().copied().unwrap_or_default().0;
    if limit == 0 {
        return;
    }
    let mut received = world.resource_mut::<ReceivedRpcs>();
    if received.spawned == 0 {
        return;
    }
    let mut spawned = received.query.take().unwrap_or_else(|| world.query());
    let mut forgotten = Vec::new();
    for (entity, mut request) in spawned.iter_mut(world) {
        if !request.consumed && !request.warned {
            request.age_frames = request.age_frames.saturating_add(1);
            if request.age_frames >= limit {
                request.warned = true;
                forgotten.push((request.sequence, entity));
            }
        }
    }
    world.resource_mut::<ReceivedRpcs>().query = Some(spawned);
    forgotten.sort_unstable();
    let mut named: Vec<(String, Entity, usize)> = Vec::new();
    for (_, entity) in forgotten {
        let collection = world.resource::<RpcCollection>();
        let entry = world.get_entity(entity).ok().and_then(|entity| {
            entity.archetype().components().iter().find_map(|&component| collection.of_component(component))
        });
        let name = entry.map_or("?", |(_, entry)| &entry.text);
        match named.iter_mut().find(|(known, ..)| known == name) {
            Some((.., count)) => *count += 1,
            None => named.push((name.to_owned(), entity, 1)),
        }
    }
    // One line per type and pass, so that a flood of RPCs is none of lines.
    for (name, entity, count) in named {
        let others = if count == 1 { String::new() } else { format!(" (and {} more)", count - 1) };
        tracing::warn!(
            "RPC `{name}`{others} was received {limit} frames ago and nobody has consumed it in this {:?} world: despawn {entity} when it is handled, or call `consume()`",
            kind_of(world)
        );
    }
}

/// So many RPCs of one connection are executed in one tick; what exceeds them waits for the next. One packet is not divided.
pub const MAX_RPCS_PER_TICK: usize = 2048;

/// Validates and executes what arrived.
pub fn receive(world: &mut World) {
    for entity in live_connections(world) {
        if let Err(refusal) = receive_reliable(world, entity).and_then(|()| receive_unreliable(world, entity)) {
            refuse(world, entity, &refusal);
        }
    }
}

/// Nothing of the offending packet ran, and nothing that came behind it will.
fn refuse(world: &mut World, entity: Entity, refusal: &Refusal) {
    let now = world.resource::<FrameClock>().now;
    if let Some(unlogged) = world.resource_mut::<LogLimits>().refusals.take_turn(now) {
        tracing::error!("an RPC packet was refused, the connection is closed: {refusal}{unlogged}");
    }
    world.resource_mut::<NetworkStats>().invalid_messages += 1;
    if let Some(mut incoming) = world.get_mut::<IncomingRpcDataStreamBuffer>(entity) {
        incoming.clear();
    }
    close(world, entity, DisconnectReason::InvalidRpc, refusal.to_string());
}

fn receive_reliable(world: &mut World, entity: Entity) -> Result<(), Refusal> {
    let mut executed = 0;
    while executed < MAX_RPCS_PER_TICK
        && let Some(packet) = next_packet(world, entity, RpcDelivery::Reliable)
    {
        let result = execute_packet(world, entity, packet.get(1..).unwrap_or_default());
        recycle(world, entity, packet);
        executed += result?;
    }
    Ok(())
}

/// Packets that may have been lost or overtaken: what comes out of turn is ignored, what can't be read is refused.
fn receive_unreliable(world: &mut World, entity: Entity) -> Result<(), Refusal> {
    let mut executed = 0;
    while executed < MAX_RPCS_PER_TICK
        && let Some(packet) = next_packet(world, entity, RpcDelivery::Unreliable)
    {
        let result = execute_unreliable_packet(world, entity, packet.get(1..).unwrap_or_default());
        recycle(world, entity, packet);
        executed += result?;
    }
    Ok(())
}

fn recycle(world: &mut World, entity: Entity, packet: Vec<u8>) {
    if let Some(handle) = world.get::<NetworkStreamConnection>(entity).map(|connection| connection.handle) {
        world.resource_mut::<NetworkStreamDriver>().recycle(handle, packet);
    }
}

fn next_packet(world: &mut World, entity: Entity, delivery: RpcDelivery) -> Option<Vec<u8>> {
    world.get_mut::<IncomingRpcDataStreamBuffer>(entity)?.pop(delivery)
}

/// An RPC that was decoded to its last bit, and from which connection it came.
type Decoded = (Entity, SpawnRpc);

/// Decodes every frame of a packet before any of them takes effect. Returns how many there were.
fn execute_packet(world: &mut World, entity: Entity, body: &[u8]) -> Result<usize, Refusal> {
    let Some(connection) = world.get::<NetworkStreamConnection>(entity).copied() else { return Ok(0) };
    if world.get::<NetworkStreamRequestDisconnect>(entity).is_some() {
        // It is being closed: nothing that it says counts any more.
        return Ok(0);
    }
    let mut decoded: Vec<Decoded> = Vec::new();
    let mut internal = Vec::new();
    // What the internal RPCs of this packet will have changed by the time the game's are executed.
    let mut state = connection.state;
    let mut has_version = connection.protocol_version_received;
    let mut is_ending = is_ending(world, entity);
    let frames = match frames_of(world, body) {
        Ok(frames) => frames,
        // A peer with another protocol may name its RPCs in another way.
        Err(_) if is_ending => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    for frame in frames {
        if let Some(index) = internal_index(&frame) {
            if index == internal_rpc::PROTOCOL_VERSION {
                has_version = true;
                is_ending |= !speaks_our_protocol(world, frame.reader());
            } else if index == internal_rpc::CONNECTION_APPROVED {
                state = ConnectionStatus::Connected;
            }
            internal.push((index, frame.reader()));
            continue;
        }
        if is_ending {
            continue;
        }
        if !has_version {
            return Err(Refusal::BeforeVersion);
        }
        let entry = entry_of(world, &frame, RpcDelivery::Reliable)?;
        let early = matches!(state, ConnectionStatus::Handshake | ConnectionStatus::Approval);
        if state != ConnectionStatus::Connected && !(early && entry.is_approval) {
            return Err(Refusal::Forbidden { name: entry.text.clone(), state });
        }
        decoded.push((entity, decode(entry, &frame)?));
    }
    let count = decoded.len() + internal.len();
    for (type_index, payload) in internal {
        execute_internal(world, entity, type_index, payload)?;
    }
    world.resource_mut::<ReceivedRpcs>().waiting.append(&mut decoded);
    Ok(count)
}

fn execute_unreliable_packet(world: &mut World, entity: Entity, body: &[u8]) -> Result<usize, Refusal> {
    let connected = world
        .get::<NetworkStreamConnection>(entity)
        .is_some_and(|connection| connection.state == ConnectionStatus::Connected);
    let Ok((sequence, body)) = split_unreliable_packet(body) else {
        count_invalid(world, entity, "an unreliable RPC packet without a sequence number");
        return Ok(0);
    };
    // It may have overtaken the news that this connection is connected, or come behind the news of its end.
    if !connected || is_ending(world, entity) {
        return Ok(0);
    }
    let reception =
        world.get_mut::<IncomingRpcDataStreamBuffer>(entity).map(|mut buffer| buffer.received.receive(sequence));
    if !matches!(reception, Some(Reception::New | Reception::Late)) {
        world.resource_mut::<NetworkStats>().repeated_rpc_packets += 1;
        return Ok(0);
    }
    let mut decoded: Vec<Decoded> = Vec::new();
    for frame in frames_of(world, body)? {
        let entry = entry_of(world, &frame, RpcDelivery::Unreliable)?;
        decoded.push((entity, decode(entry, &frame)?));
    }
    let count = decoded.len();
    world.resource_mut::<ReceivedRpcs>().waiting.append(&mut decoded);
    Ok(count)
}

fn frames_of<'a>(world: &World, body: &'a [u8]) -> Result<FrameIter<'a>, DecodeError> {
    named_frames(body, world.resource::<RpcCollection>().naming())
}

/// The number of an RPC of the library itself.
fn internal_index(frame: &RpcFrame<'_>) -> Option<u16> {
    match frame.name {
        RpcName::Index(index) if index < internal_rpc::FIRST_GAME_RPC => Some(index),
        _ => None,
    }
}

fn entry_of<'w>(world: &'w World, frame: &RpcFrame<'_>, delivery: RpcDelivery) -> Result<&'w RpcEntry, Refusal> {
    let entry = world.resource::<RpcCollection>().of_name(frame.name).ok_or(Refusal::UnknownType(frame.name))?;
    if entry.delivery == delivery { Ok(entry) } else { Err(Refusal::WrongDelivery { name: entry.text.clone() }) }
}

fn decode(entry: &RpcEntry, frame: &RpcFrame<'_>) -> Result<SpawnRpc, Refusal> {
    let malformed = |error| Refusal::Malformed { name: entry.text.clone(), error };
    let mut payload = frame.reader();
    let spawn = (entry.decode)(&mut payload).map_err(malformed)?;
    payload.expect_empty().map_err(malformed)?;
    Ok(spawn)
}

/// Whether the names of the game's RPCs mean the same here. What can't be read is refused when it is executed.
fn speaks_our_protocol(world: &World, mut payload: BitReader<'_>) -> bool {
    ProtocolVersion::decode(&mut payload)
        .is_ok_and(|remote| remote.is_compatible_with(&world.resource::<NetworkProtocolVersion>().version))
}

/// Why a packet with RPCs was refused.
#[derive(Debug, Error)]
enum Refusal {
    #[error("{0}")]
    Packet(#[from] DecodeError),
    #[error("RPC `{name}` could not be read to its last bit: {error}")]
    Malformed { name: String, error: DecodeError },
    #[error("RPC {0} is unknown here")]
    UnknownType(RpcName),
    #[error("RPC `{name}` is not allowed on a connection in {state:?}")]
    Forbidden { name: String, state: ConnectionStatus },
    #[error("RPC `{name}` came by another way than its type says")]
    WrongDelivery { name: String },
    #[error("an RPC came before the protocol version")]
    BeforeVersion,
}

/// A connection ended with messages unread: what they say about the protocol is still worth knowing.
pub(crate) fn diagnose(world: &mut World, entity: Entity) {
    while let Some(packet) = next_packet(world, entity, RpcDelivery::Reliable) {
        let Ok(frames) = frames_of(world, packet.get(1..).unwrap_or_default()) else { return };
        for frame in frames {
            let about_protocol = internal_index(&frame)
                .filter(|index| [internal_rpc::PROTOCOL_VERSION, internal_rpc::PROTOCOL_DETAILS].contains(index));
            if let Some(index) = about_protocol
                && execute_internal(world, entity, index, frame.reader()).is_err()
            {
                return;
            }
        }
    }
}

/// RPCs from a connection that ended are gone: those that wait, and those that nobody consumed.
pub(crate) fn forget_connection(world: &mut World, connection: Entity) {
    world.resource_mut::<ReceivedRpcs>().waiting.retain(|&(source, _)| source != connection);
    let mut unconsumed = world.query::<(Entity, &ReceiveRpcCommandRequest)>();
    let gone: Vec<Entity> = unconsumed
        .iter(world)
        .filter(|(_, request)| request.source_connection == connection)
        .map(|(entity, _)| entity)
        .collect();
    for entity in gone {
        world.despawn(entity);
    }
}

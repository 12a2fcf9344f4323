//! The snapshot engine without worlds: rows in, packets out, rows again. The same store, encoder, acknowledgements and decoder that worlds
//! use; for measurements and tests that bring their own rows.

use ghostline_wire::{
    BitReader, DecodeError, DespawnReason, Epoch, GhostSchema, NetworkTick, PrefabEntry, Reception, RowLayout,
    SnapshotAcks, SnapshotHeader,
};

pub use super::base::BaselineKeys;
use super::client::ClientSnapshots;
use super::connection::SnapshotSendState;
use super::decode::{DecodeType, Decoder, SnapshotError};
use super::encode::{EncodeRequest, EncodeType, Encoder};
use super::store::RowStore;
use super::sweep::sweep;
use crate::ghost::Slot;
use crate::stats::{SnapshotBits, SnapshotConnectionStats};

/// How much one client is sent in one tick.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SendLimits {
    /// Bytes of one packet, at most.
    pub packet_bytes: usize,
    /// Packets of one tick, at most.
    pub max_packets: u32,
}

impl Default for SendLimits {
    /// Datagrams of the usual size, as many as it takes.
    fn default() -> Self {
        Self { packet_bytes: 1_162, max_packets: 1_024 }
    }
}

/// How a ghost type is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TypeSettings {
    /// How urgent it is, against others when not everything fits; 1 or more.
    pub importance: u32,
    /// A ghost is sent at most every so many ticks; 1: with every snapshot.
    pub send_interval_ticks: u32,
    /// Rows are told against one earlier row only.
    pub single_baseline: bool,
}

impl Default for TypeSettings {
    fn default() -> Self {
        Self { importance: 1, send_interval_ticks: 1, single_baseline: false }
    }
}

/// Counts of everything that a server has encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EncodeTotals {
    /// Rows in packets.
    pub rows: u64,
    /// Rows that were encoded for that; the others were copied.
    pub encoded_rows: u64,
    /// Rows against no baseline.
    pub absolute_rows: u64,
    /// Bits of rows.
    pub row_bits: u64,
    /// Bits of what stands before the rows of a chunk.
    pub head_bits: u64,
    /// Packets.
    pub packets: u64,
    /// Bytes of packets.
    pub bytes: u64,
    /// Baselines given up for the bound on memory.
    pub dropped_baselines: u64,
}

/// The server's side: the rows of all ghosts, and what each client is known to hold.
pub struct RowServer {
    store: RowStore,
    schemas: Vec<GhostSchema>,
    types: Vec<EncodeType>,
    encoder: Encoder,
    clients: Vec<Peer>,
    tick: NetworkTick,
    totals: EncodeTotals,
    max_history_bytes: usize,
    keys: BaselineKeys,
}

/// What the server knows of a client.
struct Peer {
    state: SnapshotSendState,
    /// Types that the client has been told of.
    prefabs_known: u32,
    /// The limits that it was last sent within.
    limits: Option<SendLimits>,
}

fn prefab(schema: &GhostSchema) -> PrefabEntry {
    PrefabEntry { type_id: schema.type_id(), schema_hash: schema.hash() }
}

impl RowServer {
    /// A server without ghosts that knows these types.
    pub fn new(schemas: &[GhostSchema]) -> Self {
        let new_type = |schema: &GhostSchema| EncodeType::new(RowLayout::new(&schema.components), prefab(schema));
        let types: Vec<EncodeType> = schemas.iter().map(new_type).collect();
        let lanes = types.iter().map(|ty| ty.layout.lanes()).collect();
        Self {
            store: RowStore::new(lanes),
            schemas: schemas.to_vec(),
            types,
            encoder: Encoder::default(),
            clients: Vec::new(),
            tick: NetworkTick::new(0),
            totals: EncodeTotals::default(),
            max_history_bytes: usize::MAX,
            keys: BaselineKeys::default(),
        }
    }

    /// Sets how a type is sent, by its place in the list of schemas.
    pub fn set_type(&mut self, ghost_type: u16, settings: TypeSettings) {
        if let Some(ty) = self.types.get_mut(usize::from(ghost_type)) {
            ty.importance = settings.importance.max(1);
            ty.send_interval_ticks = settings.send_interval_ticks.max(1);
            ty.single_baseline = settings.single_baseline;
        }
    }

    /// Sets which baselines rows are told against, for all clients.
    pub fn set_baseline_keys(&mut self, keys: BaselineKeys) {
        self.keys = keys;
    }

    /// Past rows take at most so many bytes; beyond, the slowest client loses its baselines. No bound at first.
    pub fn set_max_history_bytes(&mut self, bytes: usize) {
        self.max_history_bytes = bytes;
    }

    /// A new ghost of a type, by its place in the list of schemas, from the present tick on. `None`: there is no such type, or no id is left.
    pub fn spawn(&mut self, ghost_type: u16) -> Option<u32> {
        self.store.allocate(ghost_type, self.tick).map(Slot::id)
    }

    /// A ghost is gone; its id is used again when all clients know.
    pub fn despawn(&mut self, ghost_id: u32) {
        let Some(slot) = Slot::from_id(ghost_id) else { return };
        if !self.store.despawn(slot) {
            return;
        }
        let mut waiting = false;
        for client in &mut self.clients {
            waiting |= client.state.despawn(slot, DespawnReason::Destroyed);
        }
        if !waiting {
            self.store.free(slot);
        }
    }

    /// Sets lanes of a ghost's present row, from `first_lane` on. Ghosts and lanes that aren't there are ignored.
    pub fn set_lanes(&mut self, ghost_id: u32, first_lane: usize, lanes: &[u32]) {
        if let Some(slot) = Slot::from_id(ghost_id) {
            self.store.sink().write(slot, first_lane, lanes);
        }
    }

    /// Ends the setting of rows for `tick`, which must be newer than the one before. Rows that no client needs any more are given back.
    pub fn seal(&mut self, tick: NetworkTick) {
        self.tick = tick;
        self.store.seal(tick);
        let clients = &mut self.clients;
        self.totals.dropped_baselines += sweep(&mut self.store, tick, self.max_history_bytes, &mut |look| {
            clients.iter_mut().enumerate().for_each(|(number, peer)| look(number, &mut peer.state));
        });
    }

    /// A client that holds nothing yet; returns its number.
    pub fn add_client(&mut self) -> usize {
        self.clients.push(Peer { state: SnapshotSendState::default(), prefabs_known: 0, limits: None });
        self.clients.len() - 1
    }

    /// A client starts anew, in a new epoch: it holds nothing.
    pub fn restart(&mut self, client: usize) {
        let Some(peer) = self.clients.get_mut(client) else { return };
        let mut released = Vec::new();
        peer.state.begin_epoch(|slot| released.push(slot));
        peer.prefabs_known = 0;
        self.free(&released);
    }

    fn free(&mut self, released: &[Slot]) {
        for slot in released {
            if self.clients.iter().all(|peer| !peer.state.awaits_despawn(*slot)) {
                self.store.free(*slot);
            }
        }
    }

    /// Makes the packets of the tick sealed last for a client and hands them to `transmit`, which says whether a packet was sent. Returns the
    /// bytes of them; 0 for a client that isn't there.
    pub fn encode(&mut self, client: usize, limits: SendLimits, transmit: &mut dyn FnMut(&[u8]) -> bool) -> u64 {
        let Some(Peer { state, prefabs_known, limits: last }) = self.clients.get_mut(client) else { return 0 };
        let target_bytes = limits.packet_bytes.saturating_mul(limits.max_packets as usize);
        // What a tick didn't need may be used in the next.
        state.budget_bytes = match last.replace(limits) {
            Some(_) => (state.budget_bytes + target_bytes as f64).min(target_bytes as f64 * 2.0),
            None => target_bytes as f64,
        };
        let request = EncodeRequest {
            types: &self.types,
            tick: self.tick,
            batch_length: 1,
            local_time_ms: 0,
            return_time_ms: Some(0),
            command_age: 0,
            relevant_ghosts: self.store.live_ghosts,
            prefabs_known: *prefabs_known,
            packet_bytes: limits.packet_bytes,
            max_packets: limits.max_packets,
            target_bytes,
            interval_ticks: 1,
            fragmented_bytes: ghostline_transport::limits::MAX_FRAGMENTED_BYTES,
            single_baseline: false,
            keys: self.keys,
            min_send_importance: 0,
            first_send_importance_multiplier: 1,
        };
        self.encoder.encode(&request, &self.store, state, &mut |bytes| transmit(bytes));
        let counts = self.encoder.counts;
        self.totals.rows += counts.rows;
        self.totals.encoded_rows += counts.encoded;
        self.totals.absolute_rows += counts.absolute_rows;
        self.totals.row_bits += counts.row_bits;
        self.totals.head_bits += counts.head_bits;
        self.totals.packets += u64::from(counts.packets);
        self.totals.bytes += counts.bytes;
        counts.bytes
    }

    /// Takes in what a client acknowledged in its epoch.
    pub fn acknowledge(&mut self, client: usize, epoch: Epoch, acks: &SnapshotAcks) {
        let Some(peer) = self.clients.get_mut(client).filter(|peer| peer.state.epoch == epoch) else { return };
        let mut released = Vec::new();
        peer.state.acknowledge(&self.store, acks, |slot| released.push(slot));
        peer.prefabs_known = self.types.len() as u32;
        self.free(&released);
    }

    /// The present row of a ghost.
    pub fn row(&self, ghost_id: u32) -> Option<&[u32]> {
        let slot = Slot::from_id(ghost_id)?;
        let chunk = self.store.chunks.get(slot.chunk())?;
        (chunk.live & slot.bit() != 0).then(|| chunk.row(slot.place()))
    }

    /// Counts since the server was made.
    pub fn totals(&self) -> EncodeTotals {
        self.totals
    }

    /// From now on it is counted what the bits of packets are spent on.
    pub fn count_bits(&mut self) {
        let mut bits = SnapshotBits::default();
        bits.name_types(self.schemas.iter());
        self.encoder.meter.counted = Some(bits);
    }

    /// What the bits of packets were spent on; `None` if that is not counted.
    pub fn bits(&self) -> Option<&SnapshotBits> {
        self.encoder.meter.counted.as_ref()
    }

    /// Counters of one client's snapshots.
    pub fn connection_stats(&self, client: usize) -> Option<SnapshotConnectionStats> {
        Some(self.clients.get(client)?.state.stats)
    }

    /// Bytes of everything: rows present and past, what is known of clients, buffers.
    pub fn memory_bytes(&self) -> usize {
        let clients: usize = self.clients.iter().map(|peer| peer.state.memory_bytes()).sum();
        self.store.memory_bytes() + self.encoder.memory_bytes() + clients
    }

    /// Bytes of past rows.
    pub fn history_bytes(&self) -> usize {
        self.store.history_bytes()
    }
}

/// A client's side: the rows that it holds, and the packets that it received.
pub struct RowClient {
    decoder: Decoder,
    types: Vec<DecodeType>,
    snapshots: ClientSnapshots,
}

impl RowClient {
    /// A client that holds nothing and knows these types.
    pub fn new(schemas: &[GhostSchema]) -> Self {
        let types = schemas
            .iter()
            .map(|schema| DecodeType { layout: RowLayout::new(&schema.components), prefab: prefab(schema) })
            .collect();
        Self { decoder: Decoder::default(), types, snapshots: ClientSnapshots::default() }
    }

    /// Takes in one packet. A duplicate changes nothing, one of an older epoch neither, nor one that was overtaken by too much; a newer epoch
    /// drops everything.
    ///
    /// # Errors
    /// The bytes are not a packet for what this client holds.
    pub fn decode(&mut self, packet: &[u8]) -> Result<(), DecodeError> {
        match self.try_decode(packet) {
            Ok(()) | Err(SnapshotError::Overtaken) => Ok(()),
            Err(SnapshotError::Malformed(error)) => Err(error),
            Err(SnapshotError::UnknownPrefab(_)) => Err(DecodeError::BadValue { what: "ghost type" }),
        }
    }

    fn try_decode(&mut self, packet: &[u8]) -> Result<(), SnapshotError> {
        let mut input = BitReader::new(packet.get(1..).unwrap_or_default());
        let header = SnapshotHeader::decode(&mut input)?;
        if self.snapshots.epoch.is_none_or(|known| header.epoch.is_newer_than(known)) {
            self.snapshots.reset(Some(header.epoch));
        }
        if self.snapshots.epoch != Some(header.epoch) {
            return Ok(());
        }
        let mut received = self.snapshots.received.clone();
        let ticks = self.snapshots.ticks_ahead(header.server_tick);
        if !matches!(received.receive_by_tick(header.sequence, ticks), Reception::New | Reception::Late) {
            return Ok(());
        }
        self.decoder.decode_lists(&header, &mut input, &self.types, &mut self.snapshots)?;
        self.decoder.decode_chunks(&header, &mut input, &self.types, &mut self.snapshots)?;
        self.snapshots.received = received;
        let newest = self.snapshots.newest_tick;
        self.snapshots.newest_tick = Some(newest.map_or(header.server_tick, |newest| newest.max(header.server_tick)));
        Ok(())
    }

    /// What to tell the server, and of which epoch; `None` before the first packet.
    pub fn acks(&self) -> Option<(Epoch, SnapshotAcks)> {
        self.snapshots.epoch.zip(self.snapshots.received.acks())
    }

    /// The newest row of a ghost and the tick that it is from.
    pub fn row(&self, ghost_id: u32) -> Option<(NetworkTick, &[u32])> {
        self.snapshots.ghost(Slot::from_id(ghost_id)?)?.rows.newest()
    }

    /// The newest tick at which a ghost's newest row is known to have been the present one.
    pub fn known_until(&self, ghost_id: u32) -> Option<NetworkTick> {
        let ghost = self.snapshots.ghost(Slot::from_id(ghost_id)?)?;
        let (tick, _) = ghost.rows.newest()?;
        Some(ghost.coverage.newest_between(ghost.slot.place(), tick, None).unwrap_or(tick))
    }

    /// How many ghosts it holds.
    pub fn ghosts(&self) -> usize {
        self.snapshots.ghosts().count()
    }

    /// Bytes of rows.
    pub fn memory_bytes(&self) -> usize {
        self.snapshots.memory_bytes()
    }
}

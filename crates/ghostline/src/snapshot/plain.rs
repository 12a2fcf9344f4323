//! The snapshot engine without worlds: rows in, packets out, rows again. The same store, encoder, acknowledgements and decoder that worlds
//! use; for measurements and tests that bring their own rows.

use ghostline_wire::{
    BitReader, DespawnReason, GhostSchema, NetworkTick, PacketSequence, PrefabEntry, Reception, RowLayout,
    SnapshotAcks, SnapshotHeader,
};

use super::client::ClientSnapshots;
use super::connection::SnapshotSendState;
use super::decode::{DecodeType, Decoder, SnapshotError};
use super::encode::{EncodeRequest, EncodeType, Encoder};
use super::store::RowStore;
use crate::ghost::Slot;

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

/// The server's side: the rows of all ghosts, and what each client is known to hold.
pub struct RowServer {
    store: RowStore,
    types: Vec<EncodeType>,
    encoder: Encoder,
    clients: Vec<Peer>,
    tick: NetworkTick,
}

/// What the server knows of a client.
struct Peer {
    state: SnapshotSendState,
    /// Types that the client has been told of.
    prefabs_known: u32,
}

fn prefab(schema: &GhostSchema) -> PrefabEntry {
    PrefabEntry { type_id: schema.type_id(), schema_hash: schema.hash() }
}

impl RowServer {
    /// A server without ghosts that knows these types.
    pub fn new(schemas: &[GhostSchema]) -> Self {
        let types: Vec<EncodeType> = schemas
            .iter()
            .map(|schema| EncodeType {
                layout: RowLayout::new(&schema.components),
                importance: 1,
                prefab: prefab(schema),
            })
            .collect();
        let lanes = types.iter().map(|ty| ty.layout.lanes()).collect();
        Self {
            store: RowStore::new(lanes),
            types,
            encoder: Encoder::default(),
            clients: Vec::new(),
            tick: NetworkTick::new(0),
        }
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
            waiting |= client.state.despawn(&mut self.store, slot, DespawnReason::Destroyed);
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

    /// Ends the setting of rows for `tick`, which must be newer than the one before.
    pub fn seal(&mut self, tick: NetworkTick) {
        self.tick = tick;
        self.store.seal(tick);
    }

    /// A client that holds nothing yet; returns its number.
    pub fn add_client(&mut self) -> usize {
        self.clients.push(Peer { state: SnapshotSendState::default(), prefabs_known: 0 });
        self.clients.len() - 1
    }

    /// Makes the packets of the tick sealed last for a client and hands them to `transmit`, which says whether a packet was sent. Returns the
    /// bytes of them; 0 for a client that isn't there.
    pub fn encode(&mut self, client: usize, limits: SendLimits, transmit: &mut dyn FnMut(&[u8]) -> bool) -> u64 {
        let Some(Peer { state, prefabs_known }) = self.clients.get_mut(client) else { return 0 };
        state.budget_bytes = limits.packet_bytes as f64 * f64::from(limits.max_packets);
        let request = EncodeRequest {
            types: &self.types,
            tick: self.tick,
            batch_length: 1,
            local_time_ms: 0,
            return_time_ms: Some(0),
            command_age: 0,
            relevant_ghosts: self.store.live_ghosts(),
            prefabs_known: *prefabs_known,
            packet_bytes: limits.packet_bytes,
            max_packets: limits.max_packets,
            fragmented_bytes: ghostline_transport::limits::MAX_FRAGMENTED_BYTES,
        };
        self.encoder.encode(&request, &self.store, state, &mut |bytes| transmit(bytes));
        self.encoder.counts.bytes
    }

    /// Takes in what a client acknowledged.
    pub fn acknowledge(&mut self, client: usize, acks: &SnapshotAcks) {
        let Self { store, clients, types, .. } = self;
        let Some(peer) = clients.get_mut(client) else { return };
        let mut released = Vec::new();
        peer.state.acknowledge(store, acks.iter(), |slot| released.push(slot));
        peer.prefabs_known = types.len() as u32;
        for slot in released {
            if clients.iter().all(|peer| !peer.state.awaits_despawn(slot)) {
                store.free(slot);
            }
        }
    }

    /// The present row of a ghost.
    pub fn row(&self, ghost_id: u32) -> Option<&[u32]> {
        let slot = Slot::from_id(ghost_id)?;
        let chunk = self.store.chunks.get(slot.chunk())?;
        (chunk.live & slot.bit() != 0).then(|| chunk.row(slot.place()))
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

    /// Takes in one packet; a duplicate changes nothing. False: the bytes are not a packet for what this client holds.
    pub fn decode(&mut self, packet: &[u8]) -> bool {
        self.try_decode(packet).is_ok()
    }

    fn try_decode(&mut self, packet: &[u8]) -> Result<(), SnapshotError> {
        let mut input = BitReader::new(packet.get(1..).unwrap_or_default());
        let header = SnapshotHeader::decode(&mut input)?;
        let mut received = self.snapshots.received.clone();
        if !matches!(received.receive(header.sequence), Reception::New | Reception::Late) {
            return Ok(());
        }
        self.decoder.decode_lists(&mut input, &self.types, &mut self.snapshots)?;
        self.decoder.decode_chunks(&header, &mut input, &self.types, &mut self.snapshots)?;
        self.snapshots.received = received;
        Ok(())
    }

    /// What to tell the server; `None` before the first packet.
    pub fn acks(&self) -> Option<SnapshotAcks> {
        self.snapshots.received.acks()
    }

    /// The newest row of a ghost and the tick that it is from.
    pub fn row(&self, ghost_id: u32) -> Option<(NetworkTick, &[u32])> {
        self.snapshots.ghost(Slot::from_id(ghost_id)?)?.history.newest()
    }

    /// The sequence number of the newest packet.
    pub fn newest_packet(&self) -> Option<PacketSequence> {
        self.acks().map(|acks| acks.newest)
    }
}

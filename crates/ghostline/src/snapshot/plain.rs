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
            newest_acked: state.newest_acked_tick,
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

#[cfg(test)]
mod tests {
    use super::*;
    use ghostline_wire::{ComponentSchema, FieldKind, FieldSchema, Smoothing};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn schema() -> GhostSchema {
        let field = |name: &str, kind| FieldSchema {
            name: name.to_owned(),
            kind,
            quantization: 1,
            smoothing: Smoothing::Clamp,
            max_smoothing_distance: None,
        };
        let component = |name: &str, fields| ComponentSchema { name: name.to_owned(), fields };
        GhostSchema {
            name: "thing".to_owned(),
            options: String::new(),
            components: vec![
                component("Place", vec![field("value", FieldKind::Vec3), field("level", FieldKind::U8)]),
                component("Lit", vec![field("value", FieldKind::Bool)]),
            ],
        }
    }

    /// What the link and the game do, all from one seed.
    #[derive(Debug, Clone, Copy)]
    struct Weather {
        seed: u64,
        loss_percent: u64,
        max_delay: u64,
        ghosts: usize,
        packet_bytes: usize,
        moving_percent: u64,
        despawn_percent: u64,
    }

    struct Dice(u64);

    impl Dice {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % n.max(1)
        }
    }

    fn play(weather: Weather) {
        let schemas = [schema()];
        let (mut server, mut client) = (RowServer::new(&schemas), RowClient::new(&schemas));
        server.add_client();
        let mut dice = Dice(weather.seed);
        let mut ghosts: Vec<(u32, [u32; 5], bool)> = Vec::new();
        let mut truth: BTreeMap<(u32, u32), [u32; 5]> = BTreeMap::new();
        let (mut packets, mut acks) = (Vec::new(), Vec::new());
        let limits = SendLimits { packet_bytes: weather.packet_bytes, max_packets: 3 };
        const STORMY: u32 = 150;
        for index in 1..STORMY + 100 {
            let (tick, is_stormy) = (NetworkTick::new(index), index < STORMY);
            while ghosts.len() < weather.ghosts {
                let Some(id) = server.spawn(0) else { break };
                ghosts.push((id, [0; 5], false));
            }
            for (id, row, moving) in &mut ghosts {
                if is_stormy && dice.below(20) == 0 {
                    *moving = dice.below(100) < weather.moving_percent;
                }
                if is_stormy && *moving {
                    row[0] = row[0].wrapping_add(40 + dice.below(5) as u32);
                    row[1] = row[1].wrapping_sub(7);
                    row[4] = dice.below(2) as u32;
                    if dice.below(40) == 0 {
                        row[2] = (dice.below(1 << 32)) as u32;
                    }
                }
                server.set_lanes(*id, 0, row);
                truth.insert((index, *id), *row);
            }
            server.seal(tick);
            acks.retain(|(due, heard)| {
                let due = *due <= u64::from(index);
                if due {
                    server.acknowledge(0, heard);
                }
                !due
            });
            server.encode(0, limits, &mut |packet| {
                assert!(packet.len() <= weather.packet_bytes, "{} bytes", packet.len());
                let copies = if is_stormy {
                    u64::from(dice.below(100) >= weather.loss_percent) + u64::from(dice.below(30) == 0)
                } else {
                    1
                };
                for _ in 0..copies {
                    let delay = if is_stormy { dice.below(weather.max_delay) } else { 1 };
                    packets.push((u64::from(index) + delay, packet.to_vec()));
                }
                true
            });
            packets.retain(|(due, packet)| {
                let due = *due <= u64::from(index);
                if due {
                    assert!(client.decode(packet), "tick {index}");
                }
                !due
            });
            for (id, ..) in &ghosts {
                if let Some((tick, row)) = client.row(*id) {
                    assert_eq!(Some(row), truth.get(&(tick.index(), *id)).map(|row| &row[..]), "ghost {id} at {tick}");
                }
            }
            if let Some(heard) = client.acks().filter(|_| !is_stormy || dice.below(100) >= weather.loss_percent) {
                acks.push((u64::from(index) + 1 + if is_stormy { dice.below(weather.max_delay) } else { 0 }, heard));
            }
            if is_stormy && dice.below(100) < weather.despawn_percent && !ghosts.is_empty() {
                let (id, ..) = ghosts.swap_remove(dice.below(ghosts.len() as u64) as usize);
                server.despawn(id);
            }
        }
        for (id, row, _) in &ghosts {
            assert_eq!(client.row(*id).map(|(_, row)| row), Some(&row[..]), "ghost {id} in the end");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn whatever_the_link_does_a_row_is_the_servers_of_its_tick_and_the_last_ones_arrive(
            seed in any::<u64>(),
            loss_percent in prop_oneof![Just(0), 0..60u64],
            max_delay in 1..20u64,
            ghosts in 1..150usize,
            packet_bytes in 150..1_200usize,
            moving_percent in 0..=100u64,
            despawn_percent in prop_oneof![Just(0), 0..40u64],
        ) {
            play(Weather { seed, loss_percent, max_delay, ghosts, packet_bytes, moving_percent, despawn_percent });
        }
    }
}

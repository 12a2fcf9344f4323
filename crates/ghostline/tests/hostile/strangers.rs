//! Who has no connection yet, or only the transport's: floods of first packets, crowds that connect and stay silent, first words of any bytes,
//! and datagrams that somebody on the path has kept. A server and an honest client over QUIC on a network in memory, with the attacker's own
//! drivers and packets beside them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bevy_ecs::prelude::*;
use ghostline::connection::{DisconnectReason, NetworkProtocolVersion, NetworkStreamConnection};
use ghostline::prelude::*;
use ghostline::snapshot::newest_rows;
use ghostline::stats::NetworkStats;
use ghostline::transport::{
    DisconnectCause, Driver, DriverConnection, DriverEvent, DriverStore, QuicDriver, QuicSettings, SimulatedNetwork,
    SimulatedSocket,
};
use ghostline::wire::{BitWriter, begin_packet, internal_rpc, push_frame};
use ghostline_testkit::{FLEET_PORT, FRAME};

use crate::game::*;

fn server_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, FLEET_PORT).into()
}

fn driver(network: &SimulatedNetwork, ip: IpAddr, seed: u64) -> QuicDriver<SimulatedSocket> {
    let settings = QuicSettings { seed: Some(seed), ..QuicSettings::default() };
    QuicDriver::new(network.host(ip), settings).expect("valid settings")
}

fn store(driver: QuicDriver<SimulatedSocket>) -> DriverStore {
    let mut store = DriverStore::new();
    store.register(Box::new(driver)).expect("the first driver");
    store
}

/// Somebody who speaks the transport's protocol, and beyond that what he likes.
struct Stranger {
    driver: QuicDriver<SimulatedSocket>,
    connection: DriverConnection,
    events: Vec<DriverEvent>,
}

impl Stranger {
    fn is_connected(&self) -> bool {
        self.events.iter().any(|event| matches!(event, DriverEvent::Connected { .. }))
    }

    /// Why he was thrown out.
    fn end(&self) -> Option<DisconnectReason> {
        self.events.iter().find_map(|event| match event {
            DriverEvent::Disconnected { cause: DisconnectCause::ClosedByRemote(close), .. } => {
                DisconnectReason::from_code(close.code)
            }
            DriverEvent::Disconnected { cause, .. } => Some(DisconnectReason::from_cause(cause)),
            _ => None,
        })
    }

    fn say(&mut self, bytes: &[u8]) {
        // After the end there is nobody to listen.
        let _ = self.driver.send(self.connection, Pipeline::ReliableOrdered, bytes);
    }
}

struct Town {
    fleet: Fleet,
    network: SimulatedNetwork,
    now: Duration,
    strangers: Vec<Stranger>,
    made: u64,
}

impl Town {
    /// A server with an honest client in the game.
    fn new() -> Self {
        let mut fleet = Fleet::builder().plugin(Game).clients(1).build();
        let network = SimulatedNetwork::new(5);
        let replace = |world: &mut World, ip, seed| {
            world.reset_driver_store(store(driver(&network, IpAddr::V4(ip), seed))).expect("nobody is connected");
        };
        replace(fleet.server().world_mut(), Ipv4Addr::LOCALHOST, 1);
        replace(fleet.client(0).world_mut(), Ipv4Addr::new(127, 0, 0, 2), 2);
        fleet.server().world_mut().listen(server_address()).unwrap();
        fleet.client(0).world_mut().connect(server_address()).unwrap();
        let mut town = Self { fleet, network, now: Duration::ZERO, strangers: Vec::new(), made: 0 };
        town.ticks(10);
        town.fleet.go_in_game_all();
        let owner = town.fleet.client(0).network_id().expect("it is connected");
        town.fleet.server().world_mut().spawn_ghost::<Player>(GhostOwner(owner));
        town.ticks(40);
        town
    }

    fn tick(&mut self) {
        self.now += FRAME;
        for stranger in &mut self.strangers {
            stranger.driver.poll(self.now, &mut stranger.events);
            stranger.driver.flush(self.now);
        }
        self.fleet.tick();
        assert!(self.fleet.client(0).events().is_empty() || self.made == 0, "the honest client hears of nothing");
    }

    fn ticks(&mut self, count: usize) {
        for _ in 0..count {
            self.tick();
        }
    }

    /// A stranger from an address of his own begins to connect.
    fn stranger(&mut self) -> &mut Stranger {
        self.made += 1;
        let [.., high, low] = self.made.to_be_bytes();
        let mut driver = driver(&self.network, IpAddr::V4(Ipv4Addr::new(127, 9, high, low)), 100 + self.made);
        let connection = driver.connect(server_address(), self.now).unwrap();
        self.strangers.push(Stranger { driver, connection, events: Vec::new() });
        self.strangers.last_mut().unwrap()
    }

    fn connections(&mut self) -> usize {
        let world = self.fleet.server().world_mut();
        world.query::<&NetworkStreamConnection>().iter(world).count()
    }

    fn stats(&mut self) -> NetworkStats {
        *self.fleet.server().world().resource::<NetworkStats>()
    }

    /// A packet that begins a handshake, as the server's own would.
    fn version(&mut self) -> Vec<u8> {
        let mut payload = BitWriter::new();
        self.fleet.server().world().resource::<NetworkProtocolVersion>().version.encode(&mut payload);
        let mut packet = Vec::new();
        begin_packet(&mut packet);
        push_frame(&mut packet, internal_rpc::PROTOCOL_VERSION, payload.as_bytes(), payload.bit_len()).unwrap();
        packet
    }

    /// In the ticks of `disturbance` the honest client gets a snapshot each, its commands are in time, and no tick is lost.
    fn assert_nobody_notices(&mut self, ticks: usize, mut disturbance: impl FnMut(&mut Self, usize)) {
        let tick = self.fleet.server().server_tick().unwrap();
        let before = (*self.fleet.client(0).world().resource::<NetworkStats>(), self.stats());
        for number in 0..ticks {
            disturbance(self, number);
            self.tick();
        }
        let after = (*self.fleet.client(0).world().resource::<NetworkStats>(), self.stats());
        let snapshots = after.0.received_snapshot_packets - before.0.received_snapshot_packets;
        assert!(snapshots as usize >= ticks - 1, "{snapshots} snapshots in {ticks} ticks");
        let commands = after.1.received_command_packets - before.1.received_command_packets;
        assert!(commands as usize >= ticks - 1, "{commands} command packets in {ticks} ticks");
        assert_eq!(after.1.late_commands, before.1.late_commands);
        assert_eq!(self.fleet.server().server_tick().unwrap().ticks_since(tick) as usize, ticks);
        self.fleet.ticks(0);
        let held = newest_rows(self.fleet.client(0).world()).len();
        assert_eq!(held, newest_rows(self.fleet.server().world()).len());
    }
}

/// First packets of a real client, with connection ids of their own: what a flood costs is found out by the one who reads them.
fn first_packets(count: usize) -> Vec<Vec<u8>> {
    let network = SimulatedNetwork::new(9);
    network.record(true);
    let mut client = driver(&network, IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9)), 9);
    client.connect(server_address(), Duration::ZERO).unwrap();
    client.flush(Duration::ZERO);
    let first = network.take_recorded().remove(0).bytes;
    let renumbered = (0..count).map(|number| {
        let mut bytes = first.clone();
        bytes[6..10].copy_from_slice(&(number as u32).to_le_bytes());
        bytes
    });
    renumbered.collect()
}

fn flooder(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 1, (number / 250) as u8, (number % 250) as u8], 1_000))
}

#[test]
fn a_flood_of_first_packets_makes_no_connection_and_nobody_notices() {
    let mut town = Town::new();
    let flood = first_packets(2_000);
    let entities = town.fleet.server().world().entities().len();
    town.assert_nobody_notices(120, |town, _| {
        for (number, packet) in flood.iter().enumerate() {
            town.network.inject(town.now + FRAME, flooder(number), server_address(), packet);
        }
    });
    assert_eq!(town.connections(), 1);
    assert_eq!(town.fleet.server().world().entities().len(), entities, "not an entity more");
}

#[test]
fn a_crowd_that_connects_and_stays_silent_takes_nobodys_place_and_is_told_why_it_goes() {
    let mut town = Town::new();
    town.fleet.logs().expect("Handshake was not finished within 5s");
    town.fleet.server().world_mut().resource_mut::<NetworkStreamDriver>().set_max_clients(Some(2));
    for _ in 0..60 {
        town.stranger();
    }
    town.assert_nobody_notices(30, |_, _| {});
    assert!(town.strangers.iter().all(Stranger::is_connected));
    assert_eq!(town.connections(), 61);
    // There is room for one more honest client.
    let again = town.fleet.add_client("honest, too");
    let late = driver(&town.network, IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3)), 3);
    town.fleet.client(again).world_mut().reset_driver_store(store(late)).unwrap();
    town.fleet.client(again).world_mut().connect(server_address()).unwrap();
    town.ticks(20);
    assert_eq!(town.fleet.client(again).network_id(), Some(NetworkId(2)));
    town.assert_nobody_notices(300, |_, _| {});
    assert_eq!(town.connections(), 2);
    assert!(town.strangers.iter().all(|stranger| stranger.end() == Some(DisconnectReason::HandshakeTimeout)));
    assert!(town.fleet.logs().lines().len() <= 12, "some lines, not sixty: {}", town.fleet.logs().lines().len());
}

#[test]
fn first_words_of_any_bytes_end_with_a_reason_and_nobody_notices() {
    let mut dice = Dice::new(7);
    let mut town = Town::new();
    town.fleet.logs().tolerate("refused|same protocol|dropped a message|could not be read|was not finished within 5s");
    let version = town.version();
    let (mut by_reason, mut ended) = (std::collections::BTreeMap::new(), 0);
    for round in 0..12 {
        for _ in 0..25 {
            town.stranger();
        }
        town.ticks(16);
        for stranger in &mut town.strangers {
            let words = match dice.below(4) {
                0 => damage(&version, &mut dice),
                1 => garbage(MessageKind::Rpc, &mut dice),
                2 => [version.clone(), garbage(MessageKind::Rpc, &mut dice)].concat(),
                // True, and twice.
                _ => version.clone(),
            };
            stranger.say(&words);
            stranger.say(&version);
        }
        town.assert_nobody_notices(20, |_, _| {});
        town.ticks(310);
        // Who said nothing wrong, such as a packet of nothing, has become a client. He goes now.
        for connection in town.fleet.server().connections().into_iter().skip(1) {
            town.fleet.server().world_mut().disconnect(connection, DisconnectReason::ConnectionClose);
        }
        town.ticks(4);
        for stranger in town.strangers.drain(..) {
            let reason = stranger.end().unwrap_or_else(|| panic!("round {round}: {:?}", stranger.events));
            *by_reason.entry(reason.code()).or_insert(0) += 1;
            ended += 1;
        }
        town.ticks(10);
        assert_eq!(town.connections(), 1, "round {round}");
    }
    assert_eq!(ended, 300);
    let of = |reason: DisconnectReason| by_reason.get(&reason.code()).copied().unwrap_or(0);
    let refused = of(DisconnectReason::InvalidRpc) + of(DisconnectReason::BadProtocolVersion);
    assert_eq!(refused + of(DisconnectReason::ConnectionClose), 300, "{by_reason:?}");
    assert!(refused > 290 && of(DisconnectReason::BadProtocolVersion) > 10, "{by_reason:?}");
}

#[test]
fn datagrams_that_somebody_has_kept_open_close_and_change_nothing() {
    let mut town = Town::new();
    // A whole session of the honest client is recorded, the end of it included.
    town.network.record(true);
    let connection = town.fleet.client(0).connections()[0];
    town.fleet.client(0).world_mut().disconnect(connection, DisconnectReason::ConnectionClose);
    town.ticks(10);
    town.fleet.client(0).world_mut().connect(server_address()).unwrap();
    town.ticks(20);
    town.fleet.go_in_game_all();
    town.ticks(60);
    let connection = town.fleet.client(0).connections()[0];
    town.fleet.client(0).world_mut().disconnect(connection, DisconnectReason::ConnectionClose);
    town.ticks(10);
    let recorded = town.network.take_recorded();
    town.network.record(false);
    let to_server = recorded.iter().filter(|packet| packet.to == server_address()).count();
    assert!(to_server > 60 && recorded.len() > 2 * to_server - 20);
    // The same client, from the same address, once more.
    town.fleet.client(0).world_mut().connect(server_address()).unwrap();
    town.ticks(20);
    town.fleet.go_in_game_all();
    town.ticks(30);
    let events = town.fleet.server().events().len();
    assert_eq!((events, town.connections()), (0, 1));
    town.made = 1;
    let mut packets = recorded.chunks(5);
    town.assert_nobody_notices(recorded.len().div_ceil(5), |town, _| {
        for packet in packets.next().unwrap_or_default() {
            town.network.inject(town.now + FRAME, packet.from, packet.to, &packet.bytes);
            // And as if it came from elsewhere.
            town.network.inject(town.now + FRAME, flooder(7), packet.to, &packet.bytes);
        }
    });
    town.ticks(30);
    assert_eq!((town.connections(), town.fleet.client(0).connections().len()), (1, 1));
    assert_eq!(town.stats().invalid_messages, 0, "nothing of it reaches the world");
}

#[test]
fn datagrams_in_the_honest_clients_name_are_dropped() {
    let mut dice = Dice::new(11);
    let mut town = Town::new();
    town.network.record(true);
    town.ticks(20);
    let genuine = town.network.take_recorded();
    town.network.record(false);
    let client = genuine.iter().find(|packet| packet.to == server_address()).unwrap().from;
    town.made = 1;
    town.assert_nobody_notices(120, |town, _| {
        for _ in 0..30 {
            let packet = &genuine[dice.below(genuine.len())];
            let mut bytes = packet.bytes.clone();
            let (from, to) =
                if packet.to == server_address() { (client, server_address()) } else { (server_address(), client) };
            for _ in 0..1 + dice.below(4) {
                let bit = dice.below(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            town.network.inject(town.now + FRAME, from, to, &bytes);
        }
    });
    assert_eq!((town.connections(), town.fleet.client(0).connections().len()), (1, 1));
    assert_eq!(town.stats().invalid_messages, 0, "nothing of it reaches the world");
}

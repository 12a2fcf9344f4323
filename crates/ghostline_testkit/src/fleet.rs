//! The fleet: a server world and its clients under virtual time, ticked together or one by one.

use bevy_ecs::prelude::{Entity, With};
use ghostline::connection::{
    ConnectionSecrets, ConnectionWorldExt, NetworkId, NetworkStreamConnection, NetworkStreamDriver, NetworkStreamInGame,
};
use ghostline::transport::{Direction, LinkProfile, RecordedPacket};
use ghostline::world::{
    ClientServerBootstrap, DriverContext, InProcessDrivers, NetWorld, PlayType, PreparedWorld, WorldId, WorldKind,
    WorldMigration, WorldOrder,
};
use std::net::SocketAddr;
use std::time::Duration;

use crate::builder::FleetBuilder;
use crate::checks::{self, Memory};
use crate::fleet_world::FleetWorld;
use crate::link::Link;
use crate::logs::Logs;
use crate::network::Network;

/// Where the fleet's server listens.
pub const FLEET_PORT: u16 = 7979;
/// Worlds that take a link over are numbered from here, so that their numbers are nobody's link.
const FIRST_MIGRATED: u64 = 1 << 32;
/// A frame of a fleet, unless a test says otherwise: one tick at the default rate.
pub const FRAME: Duration = Duration::from_nanos(16_666_667);
/// Connecting takes at most so many ticks on a clean link.
const CONNECT_TICKS: usize = 16;

/// A server and its clients in one process, in virtual time. Dropping it fails the test on an unexpected warning, a broken invariant,
/// or an expected log line that did not come.
///
/// ```
/// use ghostline_testkit::Fleet;
///
/// let mut fleet = Fleet::builder().clients(2).build();
/// fleet.connect_all();
/// fleet.go_in_game_all();
/// fleet.ticks(10);
/// assert_eq!(fleet.server().connections().len(), 2);
/// ```
pub struct Fleet {
    seed: u64,
    bootstrap: ClientServerBootstrap,
    network: Network,
    worlds: Vec<FleetWorld>,
    /// Worlds made so far that got a link.
    made: u64,
    /// Worlds made so far that took one over.
    migrated: u64,
    migration: WorldMigration,
    clients: Vec<usize>,
    thin_clients: Vec<usize>,
    profile: LinkProfile,
    order: WorldOrder,
    logs: Logs,
    complaints: Vec<String>,
}

impl Fleet {
    /// A fleet of one server and one client on a perfect link, unless told otherwise.
    pub fn builder() -> FleetBuilder {
        FleetBuilder::default()
    }

    pub(crate) fn new(builder: FleetBuilder) -> Self {
        let logs = Logs::capture();
        let make =
            builder.plugins.unwrap_or_else(|| Box::new(|settings| settings.apply(ClientServerBootstrap::new(no_game))));
        let drivers = InProcessDrivers { posing_as_socket: builder.link.counts_as_socket(), settings: builder.drivers };
        let network = Network::new(builder.transport, builder.seed, builder.drivers);
        let bootstrap = make(builder.settings).drivers(network.constructor(drivers));
        let mut fleet = Self {
            seed: builder.seed,
            bootstrap,
            network,
            worlds: Vec::new(),
            made: 0,
            migrated: 0,
            migration: WorldMigration::new(),
            clients: Vec::new(),
            thin_clients: Vec::new(),
            profile: builder.link,
            order: builder.order,
            logs,
            complaints: Vec::new(),
        };
        fleet.add_world("server", WorldKind::Server);
        for index in 0..builder.clients {
            fleet.add_client(&format!("client {index}"));
        }
        for index in 0..builder.thin_clients {
            let place = fleet.add_world(&format!("thin client {index}"), WorldKind::ThinClient);
            fleet.thin_clients.push(place);
        }
        fleet
    }

    fn add_world(&mut self, name: &str, kind: WorldKind) -> usize {
        let clock = self.worlds.first().map_or(Duration::ZERO, |server| server.clock);
        let world = self.new_world(name, kind, self.made, clock);
        self.worlds.push(world);
        self.worlds.len() - 1
    }

    /// A world with drivers of its own, at home on the machine of the world with the number `home`.
    fn new_world(&mut self, name: &str, kind: WorldKind, home: u64, clock: Duration) -> FleetWorld {
        self.network.settle(self.made, home);
        let mut world = self.make_world(PreparedWorld::new(), WorldId(self.made), name, kind, clock);
        if kind == WorldKind::Server {
            world.world_mut().insert_resource(ConnectionSecrets::seeded(self.seed));
        }
        let number = self.network.number_of(self.made);
        self.made += 1;
        FleetWorld { world, clock, memory: Memory::default(), number }
    }

    fn make_world(
        &self,
        prepared: PreparedWorld,
        id: WorldId,
        name: &str,
        kind: WorldKind,
        clock: Duration,
    ) -> NetWorld {
        let context = DriverContext {
            network: self.network.in_process(),
            world: id,
            kind,
            play_type: PlayType::ClientAndServer,
            has_server_world: true,
        };
        NetWorld::populate(prepared, &self.bootstrap, &context, name, clock)
            .unwrap_or_else(|error| panic!("the world `{name}` could not be made: {error}"))
    }

    /// Puts a new server world in the place of the one that is there, with its connections: a world migration. Its game begins anew.
    ///
    /// # Panics
    /// It can't be done.
    pub fn migrate_server(&mut self) {
        self.migrate(0);
    }

    /// Puts a new client world in the place of the one that is there, with its connection: a world migration. Its game begins anew.
    ///
    /// # Panics
    /// It can't be done.
    pub fn migrate_client(&mut self, index: usize) {
        self.migrate(self.clients[index]);
    }

    fn migrate(&mut self, place: usize) {
        let FleetWorld { world, clock, .. } = &mut self.worlds[place];
        let (name, kind, clock) = (world.name().to_owned(), world.kind(), *clock);
        let migrated = self.migration.store(world).and_then(|ticket| self.migration.load(ticket));
        let prepared = migrated.unwrap_or_else(|error| panic!("the world `{name}` could not migrate: {error}"));
        self.migrated += 1;
        let id = WorldId(FIRST_MIGRATED + self.migrated);
        self.worlds[place].world = self.make_world(prepared, id, &name, kind, clock);
    }

    /// Adds a client world; it does not connect by itself. Returns its number.
    pub fn add_client(&mut self, name: &str) -> usize {
        let place = self.add_world(name, WorldKind::Client);
        self.clients.push(place);
        self.clients.len() - 1
    }

    /// The server.
    pub fn server(&mut self) -> &mut FleetWorld {
        &mut self.worlds[0]
    }

    /// A client.
    pub fn client(&mut self, index: usize) -> &mut FleetWorld {
        let place = self.clients[index];
        &mut self.worlds[place]
    }

    /// A thin client.
    pub fn thin_client(&mut self, index: usize) -> &mut FleetWorld {
        let place = self.thin_clients[index];
        &mut self.worlds[place]
    }

    /// How many clients there are, thin ones not counted.
    pub fn client_count(&self) -> usize {
        self.clients.len()
    }

    /// The link of a client.
    pub fn link(&mut self, client: usize) -> Link<'_> {
        let number = self.worlds[self.clients[client]].number;
        Link::new(&self.network, number)
    }

    /// The link of a thin client.
    pub fn thin_link(&mut self, thin_client: usize) -> Link<'_> {
        let number = self.worlds[self.thin_clients[thin_client]].number;
        Link::new(&self.network, number)
    }

    /// The captured logs.
    pub fn logs(&mut self) -> &mut Logs {
        &mut self.logs
    }

    /// One frame of [`FRAME`] for everybody, in the fleet's order.
    pub fn tick(&mut self) {
        self.tick_by(FRAME);
    }

    /// One frame of length `dt` for everybody, in the fleet's order.
    pub fn tick_by(&mut self, dt: Duration) {
        match self.order {
            WorldOrder::ServerFirst => {
                self.tick_server(dt);
                self.tick_clients(dt);
            }
            WorldOrder::ClientFirst => {
                self.tick_clients(dt);
                self.tick_server(dt);
            }
        }
    }

    /// `count` frames of [`FRAME`].
    pub fn ticks(&mut self, count: usize) {
        for _ in 0..count {
            self.tick();
        }
    }

    /// One frame of the server alone; what it sent is delivered.
    pub fn tick_server(&mut self, dt: Duration) {
        self.tick_places(&[0], dt);
    }

    /// One frame of one client alone; what it sent is delivered.
    pub fn tick_client(&mut self, index: usize, dt: Duration) {
        let place = self.clients[index];
        self.tick_places(&[place], dt);
    }

    fn tick_clients(&mut self, dt: Duration) {
        let places: Vec<usize> = self.clients.iter().chain(&self.thin_clients).copied().collect();
        self.tick_places(&places, dt);
    }

    fn tick_places(&mut self, places: &[usize], dt: Duration) {
        for &place in places {
            let world = &mut self.worlds[place];
            world.tick(dt);
            self.complaints.extend(checks::check(&mut world.world, &mut world.memory));
        }
        self.network.deliver();
    }

    /// Where the server listens, and the clients connect.
    pub fn endpoint(&self) -> SocketAddr {
        SocketAddr::new(self.network.server_ip(), FLEET_PORT)
    }

    /// Makes the server listen.
    ///
    /// # Panics
    /// It can't.
    pub fn listen(&mut self) {
        let endpoint = self.endpoint();
        if let Err(error) = self.server().world_mut().listen(endpoint) {
            panic!("the server can't listen: {error}");
        }
    }

    /// Makes a client connect; returns its connection entity.
    ///
    /// # Panics
    /// It can't.
    pub fn connect(&mut self, client: usize) -> Entity {
        let place = self.clients[client];
        self.connect_place(place)
    }

    fn connect_place(&mut self, place: usize) -> Entity {
        let endpoint = self.endpoint();
        match self.worlds[place].world_mut().connect(endpoint) {
            Ok(entity) => entity,
            Err(error) => panic!("`{}` can't connect: {error}", self.worlds[place].world.name()),
        }
    }

    /// Listens if nobody does, connects every client and thin client that isn't, and ticks until all have their number. Then their links get the
    /// profile that the fleet was built with.
    ///
    /// # Panics
    /// It takes too long.
    pub fn connect_all(&mut self) {
        if !self.server().world().resource::<NetworkStreamDriver>().is_listening() {
            self.listen();
        }
        let places: Vec<usize> = self.clients.iter().chain(&self.thin_clients).copied().collect();
        for &place in &places {
            if self.worlds[place].connections().is_empty() {
                self.connect_place(place);
            }
        }
        for _ in 0..CONNECT_TICKS {
            if places.iter().all(|&place| self.worlds[place].network_id().is_some()) {
                break;
            }
            self.tick();
        }
        for &place in &places {
            let number = self.worlds[place].number;
            Link::new(&self.network, number).set(self.profile);
            let world = self.worlds[place].world.world_mut();
            let states: Vec<_> = world.query::<&NetworkStreamConnection>().iter(world).map(|c| c.state).collect();
            assert!(
                world.query::<&NetworkId>().iter(world).next().is_some(),
                "`{}` is not connected after {CONNECT_TICKS} ticks: {states:?}",
                self.worlds[place].world.name()
            );
        }
    }

    /// Puts every connection that has a number into the game, on both sides.
    pub fn go_in_game_all(&mut self) {
        for world in &mut self.worlds {
            let world = world.world_mut();
            let connected: Vec<Entity> = world.query_filtered::<Entity, With<NetworkId>>().iter(world).collect();
            for entity in connected {
                world.entity_mut(entity).insert(NetworkStreamInGame);
            }
        }
    }

    /// Drops a client's world, as a crash or a quit does.
    pub fn drop_client(&mut self, index: usize) {
        let place = self.clients.remove(index);
        self.worlds.remove(place);
        for other in self.clients.iter_mut().chain(&mut self.thin_clients) {
            if *other > place {
                *other -= 1;
            }
        }
    }

    /// A client's program dies without a word, and is started again on the same machine: in its place is a world that knows nothing, not
    /// even how to come back, and does not connect by itself. The others hear nothing of it.
    pub fn crash_client(&mut self, index: usize) {
        let place = self.clients[index];
        let (number, name) = (self.worlds[place].number, self.worlds[place].world.name().to_owned());
        for direction in [Direction::ToServer, Direction::ToClient] {
            self.network.cut(number, direction, true);
        }
        // What it says when it is dropped is lost.
        drop(self.worlds.remove(place));
        let world = self.new_world(&name, WorldKind::Client, number, self.worlds[0].clock);
        for direction in [Direction::ToServer, Direction::ToClient] {
            self.network.cut(world.number, direction, false);
        }
        self.worlds.insert(place, world);
    }

    /// Like [`connect`](Self::connect), from this address and port of the client's machine. In process there are none, and any will do.
    ///
    /// # Panics
    /// It can't connect, or not from there.
    pub fn connect_from(&mut self, client: usize, address: SocketAddr) -> Entity {
        let entity = self.connect(client);
        let given = self.client(client).world().resource::<NetworkStreamDriver>().default_local_endpoint();
        assert!(given.is_some_and(|given| self.network.renumber(given, address)), "{address} is not free");
        entity
    }

    /// The server's world is disposed of, and another is in its place, which does not listen by itself.
    pub fn restart_server(&mut self) {
        let name = self.worlds[0].world.name().to_owned();
        let clock = self.worlds[0].clock;
        drop(self.worlds.remove(0));
        let world = self.new_world(&name, WorldKind::Server, 0, clock);
        self.worlds.insert(0, world);
    }

    /// Starts keeping the packets of all worlds of a fleet over QUIC, encrypted as they are.
    pub fn record_packets(&mut self) {
        self.network.record_packets();
    }

    /// The packets that were sent since [`record_packets`](Self::record_packets) or the last call. None from a fleet in process.
    pub fn packets(&mut self) -> Vec<RecordedPacket> {
        self.network.take_packets()
    }

    /// Puts a packet on the way once more, as anybody can who has seen it; over QUIC only.
    pub fn inject_packet(&mut self, packet: &RecordedPacket) {
        let now = self.worlds[0].clock;
        self.network.inject_packet(now, packet);
    }

    /// The profile that links were made with.
    pub fn profile(&self) -> &LinkProfile {
        &self.profile
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::debug!("a fleet with seed {} ends in a panic", self.seed);
            eprintln_seed(self.seed);
            return;
        }
        let mut complaints = std::mem::take(&mut self.complaints);
        complaints.extend(self.logs.complaints());
        assert!(complaints.is_empty(), "seed {}:\n{}", self.seed, complaints.join("\n"));
    }
}

#[expect(clippy::print_stderr, reason = "a failing test must tell its seed")]
fn eprintln_seed(seed: u64) {
    eprintln!("the fleet's seed was {seed}");
}

fn no_game(_app: &mut bevy_app::App) {}

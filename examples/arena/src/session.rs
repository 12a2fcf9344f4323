//! One run of the arena: the worlds of this process, a frame of all of them, the still moment at the end. What happens is told to the
//! samples; whoever drives a session (`headless`, `view`, the tests) decides how time passes.

use bevy_ecs::prelude::{Entity, World};
use cpu_time::ThreadTime;
use ghostline::connection::{ConnectionState, NetworkSnapshotAck};
use ghostline::prelude::*;
use ghostline::stats::{PredictionStats, SnapshotBits};
use ghostline::transport::{DriverId, DriverSettings, LinkProfile, ServerAddress};
use ghostline::world::{DefaultDrivers, InProcessDrivers, NetWorld, ServerIdentity};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::args::{Args, Role};
use crate::game::{Arena, Still};
use crate::keys::Hands;
use crate::link::Links;
use crate::pace::Pace;
use crate::report::Baseline;
use crate::samples::Samples;
use crate::trouble::Trouble;

/// The still moment: bolts fly out, players land, interpolation catches up.
const STILL: Duration = Duration::from_secs(2);
/// A frame is never longer than this for the game: a machine that stalled is not to be caught up with at once. What is cut off is counted.
const LONGEST_FRAME: Duration = Duration::from_millis(60);
/// Attempts to connect, half a second each: who is not there within eight seconds won't come.
const CONNECT_ATTEMPTS: u32 = 16;
const CONNECT_TIMEOUT_MS: u32 = 500;
/// A player doesn't look at a standing picture for longer.
const DISCONNECT_TIMEOUT_MS: u32 = 5_000;

/// The worlds of a run, and what was measured of them.
pub struct Session {
    pub worlds: Worlds,
    pub samples: Samples,
    /// The simulated link, and those that can be chosen instead.
    pub links: Links,
    /// What the simulator was told last, and how many worlds were told.
    applied: Option<(LinkProfile, usize)>,
    /// Where the clients of this process join.
    server: ServerAddress,
    /// What a person needs to join from elsewhere, if the server is open to that.
    pub join_string: Option<ServerAddress>,
    /// The connection of the client that is no thin one.
    connection: Option<Entity>,
    was_connected: bool,
    is_virtual: bool,
    thin_clients: u32,
    counts_bits: bool,
    baseline: Baseline,
    is_at_rest: bool,
    /// How far the game has fallen behind the clock on the wall since it began.
    pub behind: Duration,
}

impl Session {
    /// Makes the worlds of this process; they meet in the first frames.
    pub fn new(args: &Args) -> Result<Self, Trouble> {
        if args.virtual_time && !args.is_whole() {
            return Err(Trouble::Usage(
                "--virtual plays within the process; a server or a client alone needs the real time",
            ));
        }
        let links = Links::new(args)?;
        let mut worlds = Worlds::new(bootstrap(args, &links));
        let server = match &args.role {
            Some(Role::Client { server }) => server.clone(),
            Some(Role::Server { listen, .. }) => make_server(&mut worlds, *listen)?,
            // Port 0: any number of arenas can be played beside each other.
            None => make_server(&mut worlds, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?,
        };
        let join_string = worlds
            .iter()
            .find(|world| world.kind().is_server())
            .and_then(|world| world.world().resource::<NetworkStreamDriver>().join_string());
        let connection = if args.is_server() { None } else { Some(make_client(&mut worlds, &server)?) };
        worlds.thin_clients().set_creation_frequency_hz(if args.virtual_time { 0.0 } else { args.join_rate });
        worlds.thin_clients().request(args.thin_clients());
        let mut session = Self {
            worlds,
            samples: Samples::default(),
            links,
            applied: None,
            server,
            join_string,
            connection,
            was_connected: false,
            is_virtual: args.virtual_time,
            thin_clients: args.thin_clients(),
            counts_bits: args.bits,
            baseline: Baseline::default(),
            is_at_rest: false,
            behind: Duration::ZERO,
        };
        session.apply_link();
        Ok(session)
    }

    /// One frame of every world: clients, thin clients, then the server.
    ///
    /// # Errors
    /// The client has lost its server.
    pub fn frame(&mut self, dt: Duration) -> Result<(), Trouble> {
        let cut_off = dt.saturating_sub(LONGEST_FRAME);
        self.behind += cut_off;
        let dt = dt - cut_off;
        let tick_before = self.server_ticks();
        self.worlds.begin_frame(dt);
        self.join_newcomers();
        self.apply_link();
        let started = ThreadTime::now();
        self.worlds.run_stage(&[WorldKind::Client, WorldKind::ThinClient], dt);
        let clients = started.elapsed();
        let started = ThreadTime::now();
        self.worlds.run_stage(&[WorldKind::Server], dt);
        let server = started.elapsed();
        self.samples.add_frame(clients, server, self.server_ticks() - tick_before, self.served());
        if let Some(client) = self.worlds.client_world() {
            let rtt = only_connection(client.world()).and_then(|ack| ack.rtt.estimated_ms());
            self.samples.add_client(rtt, client.world().resource::<NetworkTime>());
            self.samples.add_prediction(client.world().resource::<PredictionStats>());
        }
        self.watch_connection()
    }

    /// Thin clients that came into being since the frame before join, too.
    fn join_newcomers(&mut self) {
        let Self { worlds, server, .. } = self;
        for world in worlds.iter_mut().filter(|world| world.kind().is_thin_client()) {
            let world = world.world_mut();
            if world.resource::<NetworkStreamDriver>().last_server().is_none()
                && let Err(error) = world.join(server)
            {
                tracing::warn!("a thin client can't join: {error}");
            }
        }
    }

    /// Tells the simulator below every link what it is to do, if that changed or somebody came.
    fn apply_link(&mut self) {
        let wanted = (self.links.profile(), self.worlds.iter().count());
        if self.applied == Some(wanted) {
            return;
        }
        self.applied = Some(wanted);
        // Between two worlds of this process one end is enough.
        let at_clients = self.connection.is_some() || self.thin_clients > 0;
        let (wanted, is_virtual) = (wanted.0, self.is_virtual);
        // A virtual link that is perfect is what it is in one process, and known to be so.
        let profile = LinkProfile { poses_as_socket: !is_virtual, ..wanted };
        for world in self.worlds.iter_mut().filter(|world| world.kind().is_client() == at_clients) {
            let mut facade = world.world_mut().resource_mut::<NetworkStreamDriver>();
            let drivers: Vec<DriverId> = facade.drivers().map(|(id, _)| id).collect();
            for driver in drivers {
                if let Err(error) = facade.set_simulator(driver, profile) {
                    tracing::warn!("the link is not simulated: {error}");
                }
            }
        }
    }

    /// Everybody is in the game: what was measured so far was joining, and is forgotten.
    pub fn begin(&mut self) {
        self.samples = self.samples.begun_anew();
        self.baseline = Baseline::of(self);
        self.behind = Duration::ZERO;
        let server = self.worlds.iter_mut().find(|world| world.kind().is_server());
        if let Some(server) = server.filter(|_| self.counts_bits) {
            server.world_mut().insert_resource(SnapshotBits::default());
        }
    }

    /// Where everything stood when the game began.
    pub fn baseline(&self) -> &Baseline {
        &self.baseline
    }

    fn watch_connection(&mut self) -> Result<(), Trouble> {
        let (Some(connection), Some(client)) = (self.connection, self.worlds.client_world()) else { return Ok(()) };
        let Some(state) = client.world().get::<ConnectionState>(connection) else { return Ok(()) };
        self.was_connected |= state.state == ConnectionStatus::Connected;
        match state.reason {
            Some(_) => Err(Trouble::lost(&self.server, self.was_connected, state)),
            None => Ok(()),
        }
    }

    /// Ticks that the server has simulated.
    pub fn server_ticks(&self) -> u32 {
        let tick = self.worlds.server_world().and_then(|server| server.world().resource::<NetworkTime>().server_tick);
        tick.map_or(0, NetworkTick::index)
    }

    /// The still moment: nothing moves in any world, until what is on its way has arrived everywhere. Only then both sides can be compared.
    ///
    /// # Errors
    /// The client has lost its server.
    pub fn come_to_rest(&mut self, pace: &mut Pace) -> Result<(), Trouble> {
        self.be_still();
        let end = self.worlds.now() + STILL;
        while self.worlds.now() < end {
            self.frame(pace.next())?;
        }
        self.is_at_rest = true;
        Ok(())
    }

    /// Whether the still moment is over.
    pub fn is_at_rest(&self) -> bool {
        self.is_at_rest
    }

    fn be_still(&mut self) {
        for world in self.worlds.iter_mut() {
            world.world_mut().insert_resource(Still(true));
        }
    }

    /// Tells the client's world what the player's hands do.
    pub fn set_hands(&mut self, hands: Hands) {
        if let Some(client) = self.worlds.iter_mut().find(|world| world.kind() == WorldKind::Client) {
            client.world_mut().insert_resource(hands);
        }
    }

    /// The number of the client that is no thin one.
    pub fn client_network_id(&self) -> Option<NetworkId> {
        let world = self.worlds.client_world()?.world();
        let (_, connection) = world.resource::<NetworkStreamDriver>().connections().next()?;
        world.get::<NetworkId>(connection).copied()
    }

    /// The clients, thin ones too.
    pub fn clients(&self) -> impl Iterator<Item = &NetWorld> {
        self.worlds.iter().filter(|world| world.kind().is_client())
    }

    /// How many clients of this process are in the game, and how many are to be.
    pub fn joined(&self) -> (usize, usize) {
        let joined = self.clients().filter(|client| is_in_game(client.world())).count();
        (joined, self.thin_clients as usize + usize::from(self.connection.is_some()))
    }

    /// How many clients are in the game on the server of this process, wherever they come from.
    pub fn served(&self) -> usize {
        let Some(server) = self.worlds.server_world().map(NetWorld::world) else { return 0 };
        let connections = server.resource::<NetworkStreamDriver>().connections();
        connections.filter(|(_, entity)| server.get::<NetworkStreamInGame>(*entity).is_some()).count()
    }

    /// Whether the server of this process plays with clients of its own alone, so that a run can end in a still moment and be compared.
    pub fn is_whole(&self) -> bool {
        self.connection.is_some() && self.worlds.server_world().is_some()
    }

    /// Where the clients of this process join, for a reader: without the hash.
    pub fn server_place(&self) -> ServerAddress {
        ServerAddress { hash: None, ..self.server.clone() }
    }
}

fn bootstrap(args: &Args, links: &Links) -> ClientServerBootstrap {
    // Several ticks of a frame run one by one: merged ones would be mispredicted.
    let rate = ClientServerTickRate {
        simulation_tick_rate: args.tick_rate as i32,
        max_simulation_steps_per_frame: ClientServerTickRate::MAX_STEPS_PER_FRAME,
        ..ClientServerTickRate::default()
    };
    let bootstrap = ClientServerBootstrap::new(Arena { seed: args.seed, wanderers: args.wanderers })
        .game_version(args.game_version)
        .play_type(match args.role {
            None => PlayType::ClientAndServer,
            Some(Role::Server { .. }) => PlayType::Server,
            Some(Role::Client { .. }) => PlayType::Client,
        })
        .network_seed(args.seed)
        .tick_rate(rate);
    if args.virtual_time {
        return bootstrap.drivers(InProcessDrivers::default());
    }
    let identity = match &args.role {
        Some(Role::Server { identity: Some(path), .. }) => ServerIdentity::File(path.clone()),
        _ => ServerIdentity::Fresh,
    };
    bootstrap.drivers(DefaultDrivers {
        settings: DriverSettings {
            connect_timeout_ms: CONNECT_TIMEOUT_MS,
            max_connect_attempts: CONNECT_ATTEMPTS,
            disconnect_timeout_ms: DISCONNECT_TIMEOUT_MS,
            ..DriverSettings::default()
        },
        identity,
        // Also a perfect link: the clients of this process shall go through the socket.
        simulator: args.is_whole().then(|| links.profile()),
        simulator_seed: args.seed,
        ..DefaultDrivers::default()
    })
}

/// Makes a server world that listens. Returns where clients of this process find it.
fn make_server(worlds: &mut Worlds, listen: SocketAddr) -> Result<ServerAddress, Trouble> {
    let id = worlds.create_server_world("server")?;
    let Some(world) = worlds.get_mut(id).map(NetWorld::world_mut) else { unreachable!("it was made a moment ago") };
    world.listen(listen).map_err(|error| Trouble::listen(listen, &error))?;
    let bound = world.resource::<NetworkStreamDriver>().default_local_endpoint().unwrap_or(listen);
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let server = SocketAddr::new(ip, bound.port());
    // On an address that is not loopback it is recognised like by everybody else.
    let hash = world.resource::<NetworkStreamDriver>().join_string().and_then(|join| join.hash);
    Ok(ServerAddress { hash, ..server.into() })
}

/// Makes a client world that connects; returns its connection.
fn make_client(worlds: &mut Worlds, server: &ServerAddress) -> Result<Entity, Trouble> {
    let id = worlds.create_client_world("client")?;
    let Some(world) = worlds.get_mut(id).map(NetWorld::world_mut) else { unreachable!("it was made a moment ago") };
    let connection = world.spawn(ConnectionState::default()).id();
    world.join_with(connection, server).map_err(|error| Trouble::connect(server, &error))?;
    Ok(connection)
}

/// Whether a client's world has a connection that is in the game.
pub fn is_in_game(world: &World) -> bool {
    let mut connections = world.resource::<NetworkStreamDriver>().connections();
    connections.any(|(_, entity)| {
        world.get::<NetworkStreamInGame>(entity).is_some() && world.get::<NetworkId>(entity).is_some()
    })
}

/// Acknowledgements and clocks of a client's connection.
fn only_connection(world: &World) -> Option<&NetworkSnapshotAck> {
    let (_, connection) = world.resource::<NetworkStreamDriver>().connections().next()?;
    world.get::<NetworkSnapshotAck>(connection)
}

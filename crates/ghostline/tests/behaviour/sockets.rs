//! Worlds of different programs meet over real UDP, by the bootstrap's code alone. Few tests, bounded waits, nothing measured;
//! what has to be exact is tested in virtual time.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bevy_ecs::prelude::*;
use ghostline::connection::{ConnectionError, ConnectionState};
use ghostline::prelude::*;
use ghostline::transport::{
    CertificateHash, DriverId, DriverStore, Identity, LinkProfile, ListenError, QuicDriver, QuicSettings,
    ServerAddress, StoreError, TransportKind, UdpNetwork, UdpSocket,
};
use ghostline::world::{
    DefaultDrivers, DriverConstructionError, DriverConstructor, DriverContext, ServerIdentity, WorldError,
};

use crate::common::{Game, Position, Walker, count};

/// Far longer than anything here takes, and short enough for a test that hangs.
const PATIENCE: Duration = Duration::from_secs(20);

fn game(app: &mut bevy_app::App) {
    app.add_plugins(Game).go_in_game_when_connected();
}

fn bootstrap(play_type: PlayType) -> ClientServerBootstrap {
    ClientServerBootstrap::new(game).play_type(play_type)
}

/// Programs, each with its worlds, run in real time until `is_done`.
fn until<const N: usize>(mut programs: [&mut Worlds; N], mut is_done: impl FnMut(&mut [&mut Worlds; N]) -> bool) {
    let began = Instant::now();
    let mut last = began;
    while !is_done(&mut programs) {
        assert!(began.elapsed() < PATIENCE, "it takes too long");
        std::thread::sleep(Duration::from_millis(2));
        let now = Instant::now();
        for program in &mut programs {
            program.run_frame(now - last);
        }
        last = now;
    }
}

fn world_of(program: &mut Worlds, kind: WorldKind) -> &mut World {
    program.iter_mut().find(|world| world.kind() == kind).expect("the program has such a world").world_mut()
}

fn connected(program: &mut Worlds, kind: WorldKind) -> usize {
    count::<NetworkId>(world_of(program, kind))
}

fn facade(program: &mut Worlds, kind: WorldKind) -> Mut<'_, NetworkStreamDriver> {
    world_of(program, kind).resource_mut::<NetworkStreamDriver>()
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("the system has ports");
    socket.local_addr().expect("it is bound").port()
}

/// A server that listens on a port of the system's choice, by hand.
fn server_by_hand() -> (Worlds, SocketAddr) {
    let mut server = bootstrap(PlayType::Server).build().unwrap();
    let world = world_of(&mut server, WorldKind::Server);
    world.listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let bound = world.resource::<NetworkStreamDriver>().default_local_endpoint().unwrap();
    assert_ne!(bound.port(), 0);
    (server, bound)
}

#[test]
fn a_client_program_and_a_server_program_meet_and_play() {
    let port = free_port();
    let mut server = bootstrap(PlayType::Server).auto_connect(port).build().unwrap();
    let mut client = bootstrap(PlayType::Client).auto_connect(port).build().unwrap();
    world_of(&mut server, WorldKind::Server).spawn_ghost::<Walker>(Position { value: bevy_math::Vec3::X });
    until([&mut server, &mut client], |[_, client]| count::<Walker>(world_of(client, WorldKind::Client)) == 1);

    let at_client = facade(&mut client, WorldKind::Client);
    let (to_server, _) = at_client.connections().next().unwrap();
    assert_eq!(at_client.drivers().map(|(_, kind)| kind).collect::<Vec<_>>(), [TransportKind::Socket]);
    assert_eq!(at_client.remote_endpoint(to_server), Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
    let local = at_client.default_local_endpoint().unwrap();
    let at_server = facade(&mut server, WorldKind::Server);
    assert_eq!(
        at_server.drivers().map(|(_, kind)| kind).collect::<Vec<_>>(),
        [TransportKind::InProcess, TransportKind::Socket]
    );
    let (to_client, _) = at_server.connections().next().unwrap();
    assert_eq!(to_client.driver.get(), 2, "a connection names the driver that it came through");
    assert_eq!(at_server.remote_endpoint(to_client).map(|address| address.port()), Some(local.port()));
    let anywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    assert_eq!(at_server.local_endpoint(to_client.driver), Some(anywhere));
    assert!(at_server.statistics(to_client).is_some_and(|statistics| statistics.packets_sent > 0));

    // The end of one program is told to the other at once.
    drop(client);
    let began = Instant::now();
    until([&mut server], |[server]| connected(server, WorldKind::Server) == 0);
    assert!(began.elapsed() < Duration::from_secs(5), "long before any time-out");
}

#[test]
fn a_server_serves_a_client_beside_it_and_one_from_elsewhere_through_two_drivers() {
    let port = free_port();
    let mut host = bootstrap(PlayType::ClientAndServer).auto_connect(port).build().unwrap();
    let mut guest = bootstrap(PlayType::Client).auto_connect(port).build().unwrap();
    until([&mut host, &mut guest], |[host, _]| count::<NetworkStreamInGame>(world_of(host, WorldKind::Server)) == 2);
    let at_server = facade(&mut host, WorldKind::Server);
    let mut drivers: Vec<u8> = at_server.connections().map(|(handle, _)| handle.driver.get()).collect();
    drivers.sort_unstable();
    assert_eq!(drivers, [1, 2]);
    let kinds = at_server.drivers().map(|(_, kind)| kind).collect::<Vec<_>>();
    assert_eq!(kinds, [TransportKind::InProcess, TransportKind::Socket]);
    let beside = facade(&mut host, WorldKind::Client);
    assert_eq!(beside.drivers().map(|(_, kind)| kind).collect::<Vec<_>>(), [TransportKind::InProcess]);
}

#[test]
fn a_simulated_link_makes_the_client_beside_the_server_use_a_socket() {
    let simulator = Some(LinkProfile::rtt(40));
    let drivers = DefaultDrivers { simulator, ..DefaultDrivers::default() };
    let mut program = bootstrap(PlayType::ClientAndServer).drivers(drivers).auto_connect(free_port()).build().unwrap();
    until([&mut program], |[program]| connected(program, WorldKind::Client) == 1);
    let mut client = facade(&mut program, WorldKind::Client);
    assert_eq!(client.drivers().map(|(_, kind)| kind).collect::<Vec<_>>(), [TransportKind::Socket]);
    assert_eq!(client.simulator(DriverId::FIRST), simulator);
    client.set_simulator(DriverId::FIRST, LinkProfile::perfect()).unwrap();
    assert_eq!(client.simulator(DriverId::FIRST), Some(LinkProfile::perfect()));
}

#[test]
fn the_join_string_is_all_that_a_client_needs_and_a_wrong_one_says_what_is_wrong() {
    let mut server = bootstrap(PlayType::Server).auto_connect(free_port()).build().unwrap();
    let text = facade(&mut server, WorldKind::Server).join_string().unwrap().to_string();
    assert!(!text.starts_with("0.0.0.0"), "an address to connect to: {text}");
    let join: ServerAddress = text.parse().unwrap();
    let mut client = bootstrap(PlayType::Client).auto_connect(1).connect_override(join.clone()).build().unwrap();
    until([&mut server, &mut client], |[_, client]| connected(client, WorldKind::Client) == 1);

    let hash = Some(CertificateHash::from_bytes([7; 32]));
    let mut deceived = bootstrap(PlayType::Client).build().unwrap();
    let world = world_of(&mut deceived, WorldKind::Client);
    let entity = world.spawn(ConnectionState::default()).id();
    world.join_with(entity, &ServerAddress { hash, ..join }).unwrap();
    let state =
        |program: &mut Worlds| world_of(program, WorldKind::Client).get::<ConnectionState>(entity).unwrap().clone();
    until([&mut server, &mut deceived], |[_, client]| state(client).reason.is_some());
    assert_eq!(state(&mut deceived).reason, Some(DisconnectReason::AuthenticationFailure));
    assert!(state(&mut deceived).text.contains("join string"), "{:?}", state(&mut deceived).text);
}

#[test]
fn a_client_that_changes_its_address_keeps_its_connection() {
    let (mut server, bound) = server_by_hand();
    let mut client = bootstrap(PlayType::Client).build().unwrap();
    world_of(&mut client, WorldKind::Client).connect(bound).unwrap();
    until([&mut server, &mut client], |[_, client]| {
        count::<NetworkStreamInGame>(world_of(client, WorldKind::Client)) == 1
    });
    let seen_from = |server: &mut Worlds| {
        let facade = facade(server, WorldKind::Server);
        let (to_client, _) = facade.connections().next().expect("it stays connected");
        facade.remote_endpoint(to_client).unwrap()
    };
    let id = |client: &mut Worlds| {
        let world = world_of(client, WorldKind::Client);
        *world.query::<&NetworkId>().single(world).unwrap()
    };
    let before_moving = id(&mut client);
    // Another port, then, where the system has it, another address.
    let mut before = seen_from(&mut server);
    for ip in [None, Some(Ipv4Addr::new(127, 0, 0, 2).into())] {
        if let Err(error) = facade(&mut client, WorldKind::Client).rebind(ip) {
            assert!(ip.is_some(), "any system has another port: {error}");
            continue;
        }
        until([&mut server, &mut client], |[server, _]| seen_from(server) != before);
        before = seen_from(&mut server);
        assert!(ip.is_none_or(|ip| before.ip() == ip));
        // Both ways go on: the server still hears what the client says, and is acknowledged.
        let heard = |server: &mut Worlds| {
            let facade = facade(server, WorldKind::Server);
            let (to_client, _) = facade.connections().next().expect("it stays connected");
            let statistics = facade.statistics(to_client).unwrap();
            (statistics.bytes_received, statistics.bytes_acknowledged)
        };
        let (received, acknowledged) = heard(&mut server);
        until([&mut server, &mut client], |[server, _]| {
            let now = heard(server);
            now.0 > received + 1_000 && now.1 > acknowledged
        });
    }
    assert_eq!(id(&mut client), before_moving);
}

#[test]
fn a_server_can_be_called_by_name() {
    let (mut server, bound) = server_by_hand();
    let mut client = bootstrap(PlayType::Client).build().unwrap();
    let name: ServerAddress = format!("localhost:{}", bound.port()).parse().unwrap();
    world_of(&mut client, WorldKind::Client).join(&name).unwrap();
    until([&mut server, &mut client], |[_, client]| connected(client, WorldKind::Client) == 1);
    assert_eq!(facade(&mut client, WorldKind::Client).last_server(), Some(&name));

    let mut lost = bootstrap(PlayType::Client).build().unwrap();
    let world = world_of(&mut lost, WorldKind::Client);
    let entity = world.spawn(ConnectionState::default()).id();
    world.join_with(entity, &"nobody.invalid:7979".parse().unwrap()).unwrap();
    until([&mut lost], |[lost]| {
        let state = world_of(lost, WorldKind::Client).get::<ConnectionState>(entity).unwrap();
        state.reason == Some(DisconnectReason::NameNotResolved) && state.text.contains("name")
    });
}

/// A strategy of a game's own: servers in process and on two sockets, clients on what leads to them.
#[derive(Clone, Default)]
struct ThreeWays {
    asked: Arc<Mutex<Vec<WorldKind>>>,
}

impl ThreeWays {
    fn socket() -> Result<Box<QuicDriver<UdpSocket>>, DriverConstructionError> {
        Ok(Box::new(QuicDriver::new(UdpNetwork, QuicSettings::default())?))
    }
}

impl DriverConstructor for ThreeWays {
    fn create_server_drivers(&self, context: &DriverContext<'_>) -> Result<DriverStore, DriverConstructionError> {
        self.asked.lock().unwrap().push(context.kind);
        let mut store = DriverStore::new();
        store.register(Box::new(context.network.driver()))?;
        store.register(Self::socket()?)?;
        store.register(Self::socket()?)?;
        Ok(store)
    }

    fn create_client_driver(&self, context: &DriverContext<'_>) -> Result<DriverStore, DriverConstructionError> {
        self.asked.lock().unwrap().push(context.kind);
        let mut store = DriverStore::new();
        store.register(if context.has_server_world { Box::new(context.network.driver()) } else { Self::socket()? })?;
        Ok(store)
    }
}

#[test]
fn drivers_of_three_kinds_accept_clients_at_once_and_each_connection_names_its_own() {
    let strategy = ThreeWays::default();
    let program = |play_type| bootstrap(play_type).drivers(strategy.clone()).build().unwrap();
    let mut host = program(PlayType::ClientAndServer);
    let mut guests = [program(PlayType::Client), program(PlayType::Client)];
    use WorldKind::{Client, Server};
    assert_eq!(*strategy.asked.lock().unwrap(), [Server, Client, Client, Client], "asked when a world is made");

    world_of(&mut host, Server).listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let at_server = facade(&mut host, Server);
    let kinds: Vec<_> = at_server.drivers().map(|(_, kind)| kind).collect();
    assert_eq!(kinds, [TransportKind::InProcess, TransportKind::Socket, TransportKind::Socket]);
    let bound = [1, 2, 3].map(|number| at_server.local_endpoint(DriverId::new(number).unwrap()).unwrap());
    assert!(bound[1].port() != bound[2].port());
    world_of(&mut host, Client).connect(bound[0]).unwrap();
    for (guest, endpoint) in guests.iter_mut().zip(&bound[1..]) {
        world_of(guest, Client).connect(*endpoint).unwrap();
    }
    let [first, second] = &mut guests;
    until([&mut host, first, second], |[host, ..]| count::<NetworkStreamInGame>(world_of(host, Server)) == 3);
    let at_server = facade(&mut host, Server);
    let mut through: Vec<u8> = at_server.connections().map(|(handle, _)| handle.driver.get()).collect();
    through.sort_unstable();
    assert_eq!(through, [1, 2, 3]);
    let simulators = [1, 2, 3].map(|number| at_server.simulator(DriverId::new(number).unwrap()).is_some());
    assert_eq!(simulators, [true, false, false], "each tells whether its link can be simulated");

    // Who is there stays when the server stops listening; nobody else gets in.
    world_of(&mut host, Server).stop_listening();
    let mut late = program(PlayType::Client);
    world_of(&mut late, Client).connect(bound[1]).unwrap();
    let began = Instant::now();
    until([&mut host, first, second, &mut late], |_| began.elapsed() > Duration::from_millis(700));
    assert_eq!((connected(&mut host, Server), connected(&mut late, Client)), (3, 0));
}

#[test]
fn drivers_that_are_replaced_listen_no_more_and_the_new_ones_go_by_their_own_settings() {
    let (mut server, bound) = server_by_hand();
    let mut client = bootstrap(PlayType::Client).build().unwrap();
    world_of(&mut client, WorldKind::Client).connect(bound).unwrap();
    until([&mut server, &mut client], |[server, _]| connected(server, WorldKind::Server) == 1);
    let identity = Identity::self_signed().unwrap();
    let store = || {
        let settings = QuicSettings { identity: Some(identity.clone()), ..QuicSettings::default() };
        let mut store = DriverStore::new();
        store.register(Box::new(QuicDriver::<UdpSocket>::new(UdpNetwork, settings).unwrap())).unwrap();
        store
    };
    let refused = world_of(&mut server, WorldKind::Server).reset_driver_store(store()).err();
    assert_eq!(refused, Some(ConnectionError::ConnectionsAlive(1)));
    drop(client);
    until([&mut server], |[server]| connected(server, WorldKind::Server) == 0);
    let world = world_of(&mut server, WorldKind::Server);
    drop(world.reset_driver_store(store()).unwrap());
    assert!(!world.resource::<NetworkStreamDriver>().is_listening());
    assert!(std::net::UdpSocket::bind(bound).is_ok(), "the port is free");
    world.listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let join = world.resource::<NetworkStreamDriver>().join_string().unwrap();
    assert_eq!(join.hash, Some(identity.hash()));
    let mut client = bootstrap(PlayType::Client).build().unwrap();
    world_of(&mut client, WorldKind::Client).join(&join).unwrap();
    until([&mut server, &mut client], |[server, _]| connected(server, WorldKind::Server) == 1);
}

#[test]
fn a_port_that_is_taken_is_an_error_of_its_own_and_leaves_nobody_listening() {
    let taken = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let error = bootstrap(PlayType::Server).auto_connect(port).build().err().unwrap();
    let driver = DriverId::new(2).unwrap();
    let in_use = StoreError::Listen { driver, source: ListenError::AddressInUse { address } };
    let endpoint = Box::new(address.into());
    let expected = ConnectionError::Driver { verb: "listen on", endpoint, error: in_use };
    assert_eq!(error, WorldError::AutoConnect(expected));
    assert!(error.to_string().contains("in use"), "{error}");

    let mut server = bootstrap(PlayType::Server).build().unwrap();
    let world = world_of(&mut server, WorldKind::Server);
    assert!(world.listen(address).is_err());
    let request = (NetworkStreamRequestListen { endpoint: address }, NetworkStreamRequestListenResult::default());
    let request = world.spawn(request).id();
    until([&mut server], |[server]| {
        let result = world_of(server, WorldKind::Server).get::<NetworkStreamRequestListenResult>(request).unwrap();
        result.state == ListenRequestState::Failed
    });
    assert!(!facade(&mut server, WorldKind::Server).is_listening());
}

#[test]
fn both_drivers_of_a_server_take_the_port_that_the_system_chose() {
    let (mut server, bound) = server_by_hand();
    let facade = facade(&mut server, WorldKind::Server);
    for number in [1, 2] {
        assert_eq!(facade.local_endpoint(DriverId::new(number).unwrap()), Some(bound));
    }
}

#[test]
fn a_server_keeps_its_identity_in_a_file_or_is_given_one() {
    let folder = std::env::temp_dir().join(format!("ghostline-server-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let hash = |identity| {
        let drivers = DefaultDrivers { identity, ..DefaultDrivers::default() };
        let mut server = bootstrap(PlayType::Server).drivers(drivers).build()?;
        world_of(&mut server, WorldKind::Server).listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Ok::<_, WorldError>(facade(&mut server, WorldKind::Server).join_string().unwrap().hash)
    };
    let path = folder.join("server.pem");
    let first = hash(ServerIdentity::File(path.clone())).unwrap();
    assert_eq!(hash(ServerIdentity::File(path.clone())).unwrap(), first);
    assert_ne!(hash(ServerIdentity::Fresh).unwrap(), first);
    let given = Identity::self_signed().unwrap();
    assert_eq!(hash(ServerIdentity::Given(given.clone())).unwrap(), Some(given.hash()));
    std::fs::write(&path, "not an identity").unwrap();
    let error = hash(ServerIdentity::File(path)).unwrap_err();
    assert!(matches!(error, WorldError::Drivers(_)), "{error}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn settings_of_the_drivers_are_checked_with_the_others() {
    let mut drivers = DefaultDrivers { max_connections: 0, ..DefaultDrivers::default() };
    drivers.settings.connect_timeout_ms = 0;
    drivers.simulator = Some(LinkProfile::perfect().with_loss_percent(101.0));
    let Err(WorldError::InvalidConfiguration(errors)) = bootstrap(PlayType::Client).drivers(drivers).build() else {
        panic!("three mistakes");
    };
    let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    for name in ["max_connections", "connect_timeout_ms", "loss"] {
        assert!(text.contains(name), "{text}");
    }
}

//! Two processes over real UDP: a server program that is started, asked to end, or killed, and a client that must know which.
//! The server is this very test binary, told by the environment to be one.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use bevy_app::AppExit;
use bevy_ecs::prelude::*;
use ghostline::connection::ConnectionState;
use ghostline::prelude::*;
use ghostline::transport::{DriverSettings, ServerAddress};
use ghostline::world::DefaultDrivers;

use crate::common::{Game, Position, Walker, count};

/// Where the server's process learns that it is one.
const VARIABLE: &str = "GHOSTLINE_TEST_SERVER";
/// What that process runs.
const SERVER_TEST: &str = "processes::the_server_of_the_other_process";
/// Where a client's process learns that it is one: the port of auto-connect.
const CLIENT_VARIABLE: &str = "GHOSTLINE_TEST_CLIENT";
/// Far longer than anything here takes, and short enough for a test that hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// Short, so that a killed server is missed soon.
const DISCONNECT_TIMEOUT_MS: u32 = 2_000;

fn game(app: &mut bevy_app::App) {
    app.add_plugins(Game).go_in_game_when_connected().add_systems_in(WorldFlags::SERVER, Simulation, (announce, greet));
}

/// The server's process: one line with the join string, once.
#[expect(clippy::print_stdout, reason = "it is how the test learns where the server is")]
fn announce(driver: Res<NetworkStreamDriver>, mut done: Local<bool>) {
    if !std::mem::replace(&mut *done, true)
        && let Some(server) = driver.join_string()
    {
        println!("\njoin: {server}");
    }
}

fn greet(mut commands: Commands, newcomers: Query<(), Added<NetworkStreamInGame>>) {
    for () in &newcomers {
        commands.spawn_ghost::<Walker>(Position { value: bevy_math::Vec3::Y });
    }
}

fn drivers() -> DefaultDrivers {
    let settings = DriverSettings { disconnect_timeout_ms: DISCONNECT_TIMEOUT_MS, ..DriverSettings::default() };
    DefaultDrivers { settings, ..DefaultDrivers::default() }
}

/// Not a test of its own: what the other process runs. Without the variable it does nothing.
#[test]
fn the_server_of_the_other_process() {
    let Ok(port) = std::env::var(VARIABLE) else { return };
    let port = port.parse().expect("a port");
    ClientServerBootstrap::new(game).play_type(PlayType::Server).drivers(drivers()).auto_connect(port).run();
}

/// Not a test of its own: what a client's process runs, by the library's own reading of its command line and environment. It says where it
/// is when it is connected, and ends.
#[test]
fn the_client_of_the_other_process() {
    #[expect(clippy::print_stdout, reason = "it is how the test learns of it")]
    fn say(facade: Res<NetworkStreamDriver>, connected: Query<(), With<NetworkId>>, mut exit: MessageWriter<AppExit>) {
        if let (false, Some(endpoint)) = (connected.is_empty(), facade.last_endpoint()) {
            println!("\nconnected: {endpoint}");
            exit.write(AppExit::Success);
        }
    }
    let Ok(port) = std::env::var(CLIENT_VARIABLE) else { return };
    let plugin = |app: &mut bevy_app::App| {
        app.add_plugins(game).add_systems_in(WorldFlags::CLIENT, Simulation, say);
    };
    let port = port.parse().expect("a port");
    ClientServerBootstrap::new(plugin).play_type(PlayType::Client).drivers(drivers()).auto_connect(port).run();
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("the system has ports");
    socket.local_addr().expect("it is bound").port()
}

/// This program once more, to run one of its tests.
fn itself(test: &str) -> Command {
    let mut program = Command::new(std::env::current_exe().expect("this program has a file"));
    program.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    program
}

/// C-74: the programs of four players, whose auto-connect is overridden from outside in each way, with a port and with none.
#[test]
fn where_a_client_program_connects_can_be_said_by_its_environment_and_its_command_line() {
    let mut worlds = ClientServerBootstrap::new(game).play_type(PlayType::Server).drivers(drivers()).build().unwrap();
    let world = worlds.iter_mut().next().unwrap().world_mut();
    world.listen(([127, 0, 0, 1], 0).into()).unwrap();
    let server = world.resource::<NetworkStreamDriver>().default_local_endpoint().unwrap();
    let port = server.port();
    let dead = free_port();
    let nowhere = "127.0.0.1:0".to_owned();
    // The port of auto-connect, and the override: with port 0 it is none, and the client goes where its code says.
    let cases = [(dead, server.to_string()), (port, nowhere)];
    let mut clients = Vec::new();
    for (auto, place) in &cases {
        for by_command_line in [false, true] {
            let mut program = itself("processes::the_client_of_the_other_process");
            program.env(CLIENT_VARIABLE, auto.to_string());
            if by_command_line {
                // Behind `--`, so that the test harness takes it for names of tests.
                program.args(["--", "--connect", place]);
            } else {
                program.env("GHOSTLINE_CONNECT", place);
            }
            let client = program.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it can be started");
            clients.push((client, by_command_line));
        }
    }
    let mut server_program = Client { worlds, entity: Entity::PLACEHOLDER };
    server_program.until(|_| clients.iter_mut().all(|(client, _)| client.try_wait().unwrap().is_some()));
    for (client, by_command_line) in clients {
        let output = client.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(&format!("connected: {server}")), "by command line: {by_command_line}: {said}");
        assert!(output.status.success());
    }
}

/// Another process with a server; killed if a test ends early.
struct Server {
    process: Child,
    join: ServerAddress,
    /// Kept open, so that the process may go on to write.
    _output: BufReader<ChildStdout>,
}

impl Server {
    fn start() -> Self {
        Self::start_as(itself(SERVER_TEST))
    }

    /// As a script starts what it puts into the background, or `nohup`: without ears for these signals.
    #[cfg(unix)]
    fn start_deaf_to(signals: &str) -> Self {
        let program = itself(SERVER_TEST);
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!("trap '' {signals}; exec \"$0\" \"$@\"")])
            .arg(program.get_program())
            .args(program.get_args());
        Self::start_as(shell)
    }

    fn start_as(mut program: Command) -> Self {
        let mut process = program
            .env(VARIABLE, free_port().to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("this program can be started twice");
        let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
        let lines = output.by_ref().lines().map_while(Result::ok);
        let join = { lines }.find_map(|line| line.strip_prefix("join: ").map(str::to_owned));
        let join = join.expect("the server says where it is").parse().expect("a join string");
        Self { process, join, _output: output }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone_already = self.process.kill();
        let _gone_already = self.process.wait();
    }
}

struct Client {
    worlds: Worlds,
    entity: Entity,
}

impl Client {
    /// A client that has joined and sees what the server shows.
    fn join(server: &Server) -> Self {
        let bootstrap = ClientServerBootstrap::new(game).play_type(PlayType::Client).drivers(drivers());
        let mut worlds = bootstrap.build().unwrap();
        let world = worlds.iter_mut().next().unwrap().world_mut();
        let entity = world.spawn(ConnectionState::default()).id();
        world.join_with(entity, &server.join).unwrap();
        let mut client = Self { worlds, entity };
        client.until(|world| count::<Walker>(world) == 1);
        client
    }

    /// Runs in real time until `is_done`; returns how long it took.
    fn until(&mut self, mut is_done: impl FnMut(&mut World) -> bool) -> Duration {
        let began = Instant::now();
        let mut last = began;
        while !is_done(self.worlds.iter_mut().next().unwrap().world_mut()) {
            assert!(began.elapsed() < PATIENCE, "it takes too long");
            std::thread::sleep(Duration::from_millis(2));
            let now = Instant::now();
            self.worlds.run_frame(now - last);
            last = now;
        }
        began.elapsed()
    }

    /// Runs until the connection has ended; returns why, and how long it took.
    fn end(&mut self) -> (DisconnectReason, Duration) {
        let entity = self.entity;
        let mut reason = None;
        let took = self.until(|world| {
            reason = world.get::<ConnectionState>(entity).and_then(|state| state.reason);
            reason.is_some()
        });
        (reason.unwrap(), took)
    }
}

#[test]
fn a_client_plays_with_a_server_of_another_process_until_that_is_killed() {
    let mut server = Server::start();
    let mut client = Client::join(&server);
    server.process.kill().unwrap();
    let (reason, took) = client.end();
    assert_eq!(reason, DisconnectReason::Timeout);
    let timeout = Duration::from_millis(DISCONNECT_TIMEOUT_MS.into());
    assert!(took > timeout / 2 && took < timeout * 3, "{took:?}");
}

#[cfg(unix)]
#[test]
fn a_server_that_is_asked_to_end_tells_its_clients_and_ends_well() {
    for signal in ["-INT", "-TERM"] {
        let mut server = Server::start();
        let mut client = Client::join(&server);
        let sent = Command::new("kill").args([signal, &server.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let (reason, took) = client.end();
        assert_eq!(reason, DisconnectReason::ClosedByRemote, "{signal}");
        assert!(took < Duration::from_millis(u64::from(DISCONNECT_TIMEOUT_MS) / 2), "{took:?}");
        assert!(server.process.wait().unwrap().success(), "{signal} is no failure");
    }
}

#[cfg(unix)]
#[test]
fn a_server_that_a_script_started_hears_who_asks_it_to_end_but_not_that_the_terminal_closed() {
    for signal in ["-INT", "-TERM"] {
        let mut server = Server::start_deaf_to("INT HUP");
        let mut client = Client::join(&server);
        let id = server.process.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
        let until = Instant::now() + Duration::from_millis(300);
        client.until(|_| Instant::now() > until);
        assert!(server.process.try_wait().unwrap().is_none(), "it was started to outlive its terminal");
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        assert_eq!(client.end().0, DisconnectReason::ClosedByRemote, "{signal}");
        assert!(server.process.wait().unwrap().success(), "{signal} is no failure");
    }
}

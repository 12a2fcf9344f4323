//! A host: a player's program that is also the server for others. It is a server world and a client world side by side; the host's own client
//! reaches its server in memory, everybody else over UDP, and none of the game's code makes a difference.
//!
//! `cargo run -p ghostline --example host` hosts for five seconds, and plays a guest from elsewhere too, in worlds of his own. To be that guest by
//! hand: `cargo run -p ghostline --example host -- --play-type client --connect ADDRESS`, with the line that the host prints.

use bevy_app::prelude::*;
use bevy_ecs::prelude::*;
use bevy_time::Time;
use ghostline::prelude::*;
use ghostline::transport::ServerAddress;
use ghostline::world::run_in_real_time;
use std::thread;
use std::time::Duration;

const PORT: u16 = 7986;
/// So long does the guest stay; the host stays a second longer.
const VISIT: Duration = Duration::from_secs(4);

/// Marks the box of a player.
#[derive(Component, Default)]
pub struct Player;

/// Where a box is, in millimetres on the link.
#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq)]
pub struct Position {
    #[ghost(quantization = 1000, smoothing = interpolate)]
    x: f32,
}

/// What a player wants.
#[derive(Component, InputComponentData, Clone, Copy, Default, PartialEq)]
pub struct Drive {
    x: i8,
}

/// The game, the same for the host and for the guest.
pub struct Game {
    visit: Duration,
}

impl Plugin for Game {
    fn build(&self, app: &mut App) {
        let player = GhostPrefab::new("player").component::<Position>().owner_predicted().input::<Drive>();
        app.register_ghost::<Player>(player)
            .go_in_game_when_connected()
            .insert_resource(Visit(self.visit))
            .add_systems_in(WorldFlags::SERVER, Simulation, spawn_players)
            .add_systems_in(WorldFlags::CLIENT, GhostInput, sample)
            .add_systems(PredictedSimulation, drive)
            .add_systems_in(WorldFlags::CLIENT, Simulation, tell);
    }
}

#[derive(Resource)]
struct Visit(Duration);

/// Server: whoever enters the game gets a box, which goes when its connection does.
fn spawn_players(mut commands: Commands, newcomers: Query<(Entity, &NetworkId), Added<NetworkStreamInGame>>) {
    for (connection, &id) in &newcomers {
        let player = commands.spawn_ghost::<Player>((GhostOwner(id), Position::default()));
        commands.entity(connection).insert(LinkedEntityGroup(vec![player]));
    }
}

/// Client: a real game reads its devices here.
fn sample(mut own: Query<&mut Drive, With<GhostOwnerIsLocal>>) {
    for mut drive in &mut own {
        drive.x = 1;
    }
}

/// Both sides: one tick.
fn drive(time: Res<Time>, mut boxes: Query<(&Drive, &mut Position), Simulate>) {
    for (drive, mut position) in &mut boxes {
        position.x += f32::from(drive.x) * time.delta_secs();
    }
}

/// Client: once per second, how it reaches its server and who is there; at the end of the visit it leaves.
fn tell(
    unscaled: Res<UnscaledClientTime>,
    id: Query<&NetworkId, With<LocalConnection>>,
    boxes: Query<(&GhostOwner, &Position)>,
    visit: Res<Visit>,
    driver: Res<NetworkStreamDriver>,
    mut exit: MessageWriter<AppExit>,
    mut told: Local<u64>,
) {
    let seconds = unscaled.elapsed.as_secs();
    let Ok(id) = id.single() else { return };
    if seconds > *told {
        *told = seconds;
        let handle = driver.connections().next().map(|(handle, _)| handle);
        let way = match handle.is_some_and(|handle| driver.is_in_process(handle)) {
            true => "in memory",
            false => "over UDP",
        };
        let mut places: Vec<_> = boxes.iter().map(|(owner, position)| (owner.0, position.x)).collect();
        places.sort_by_key(|&(owner, _)| owner);
        let places: Vec<String> = places.iter().map(|(owner, x)| format!("player {owner} at {x:.1} m")).collect();
        eprintln!("player {id}, {way}: {}", places.join(", "));
    }
    if unscaled.elapsed >= visit.0 {
        exit.write(AppExit::Success);
    }
}

/// The guest's program.
fn be_a_guest(server: ServerAddress) -> AppExit {
    ClientServerBootstrap::new(Game { visit: VISIT })
        .play_type(PlayType::Client)
        .auto_connect(server.port())
        .connect_override(server)
        .run()
}

/// The host's program. Its worlds are made here rather than by `run`, because the address is wanted first.
fn main() -> AppExit {
    let bootstrap = ClientServerBootstrap::new(Game { visit: VISIT + Duration::from_secs(1) })
        .auto_connect(PORT)
        .read_command_line();
    let mut worlds = match bootstrap.build() {
        Ok(worlds) => worlds,
        Err(error) => {
            eprintln!("{error}");
            return AppExit::error();
        }
    };
    let guest = address(&mut worlds).map(|server| {
        eprintln!("join from elsewhere with --play-type client --connect {server}");
        thread::spawn(move || be_a_guest(server))
    });
    let exit = run_in_real_time(worlds);
    match guest.map(thread::JoinHandle::join) {
        Some(Ok(AppExit::Success)) | None => exit,
        Some(_) => AppExit::error(),
    }
}

/// Where the server of these worlds can be joined; `None` if there is none.
fn address(worlds: &mut Worlds) -> Option<ServerAddress> {
    let server = worlds.iter_mut().find(|world| world.kind().is_server())?;
    server.world_mut().resource_mut::<NetworkStreamDriver>().join_string()
}

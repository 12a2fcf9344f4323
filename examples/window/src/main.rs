//! A window: ghostline in an ordinary Bevy app, with Bevy's own renderer.
//!
//! The app's main world is the client from the start, and its menu is that client before it connects. Whoever hosts gets a server world beside
//! it, and bots if wanted: thin client worlds. Nothing of the game knows which of these it runs in.
//!
//! ```text
//! cd examples/window
//! cargo run --ignore-rust-version                                # H hosts, J joins, B adds a bot, arrows drive, Escape leaves
//! cargo run --ignore-rust-version -- --host                      # H and five bots at once
//! cargo run --ignore-rust-version -- --connect 'ADDRESS#HASH'    # whom J joins: the line that the host prints
//! ```
//!
//! (Bevy's shader crates declare a newer compiler than the one that builds them, hence the flag.) It needs a GPU, or a software one: on a
//! machine without a screen, `apt-get install xvfb mesa-vulkan-drivers libxkbcommon-x11-0` and
//! `xvfb-run -s '-screen 0 960x540x24' cargo run --ignore-rust-version -- --host` draw it all the same.

use bevy::prelude::*;
use ghostline::prelude::*;
use ghostline::transport::ServerAddress;
use ghostline::world::{AutomaticBootstrap, CONNECT_ARGUMENT, EmbeddedWorlds, WorldError};
use std::net::{Ipv4Addr, SocketAddr};

const PORT: u16 = 7979;
/// Half of the board, in metres and in pixels.
const BOARD: Vec2 = Vec2::new(460.0, 230.0);
/// Where the middle of the board is on the screen, below the caption.
const MIDDLE: Vec2 = Vec2::new(0.0, -20.0);
/// Metres per second.
const SPEED: f32 = 220.0;
const BOX: f32 = 36.0;
const COINS: u32 = 12;

/// Marks the box of a player.
#[derive(Component, Default)]
struct Player;

/// Marks something of the server's: nobody steers it, everybody sees it interpolated.
#[derive(Component, Default)]
struct Coin;

/// Where something is, in hundredths of a metre on the link.
#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq)]
struct Position {
    #[ghost(quantization = 100, smoothing = interpolate)]
    value: Vec2,
}

/// What a player wants in a tick.
#[derive(Component, InputComponentData, Clone, Copy, Default, PartialEq)]
struct Drive {
    x: i8,
    y: i8,
}

/// The game: built once in each world, the app's main one among them.
struct Game;

impl Plugin for Game {
    fn build(&self, app: &mut App) {
        app.register_ghost::<Player>(
            GhostPrefab::new("player").component::<Position>().owner_predicted().input::<Drive>(),
        )
        .register_ghost::<Coin>(GhostPrefab::new("coin").component::<Position>())
        .smooth_errors::<Position>(ErrorSmoothing { max_distance: 100.0, ..ErrorSmoothing::default() })
        .go_in_game_when_connected()
        .add_systems_in(WorldFlags::SERVER, Startup, spawn_coins)
        .add_systems_in(WorldFlags::SERVER, Simulation, (spawn_players, circle))
        .add_systems_in(WorldFlags::CLIENT, GhostInput, read_keys)
        .add_systems_in(WorldFlags::THIN_CLIENT, GhostInput, wander)
        .add_systems(PredictedSimulation, drive)
        .add_observer_in(WorldFlags::CLIENT, dress_player)
        .add_observer_in(WorldFlags::CLIENT, dress_coin)
        .add_systems_in(WorldFlags::CLIENT, Presentation, (place, caption));
    }
}

fn spawn_coins(mut commands: Commands) {
    for _ in 0..COINS {
        commands.spawn_ghost::<Coin>(());
    }
}

/// Server: the coins go round.
fn circle(time: Res<Time>, mut coins: Query<&mut Position, With<Coin>>) {
    for (index, mut position) in coins.iter_mut().enumerate() {
        let angle = time.elapsed_secs() * 0.5 + index as f32 * std::f32::consts::TAU / COINS as f32;
        position.value = Vec2::from_angle(angle) * BOARD * 0.8;
    }
}

/// Server: whoever enters the game gets a box, which goes when its connection does. A bot, which has no ghosts, commands it as the target of its connection.
fn spawn_players(
    mut commands: Commands,
    mut newcomers: Query<(Entity, &NetworkId, &mut CommandTarget), Added<NetworkStreamInGame>>,
) {
    for (connection, &id, mut target) in &mut newcomers {
        let start = Vec2::from_angle(id.0 as f32 * 2.4) * 140.0;
        let player = commands.spawn_ghost::<Player>((GhostOwner(id), Position { value: start }));
        target.entity = Some(player);
        commands.entity(connection).insert(LinkedEntityGroup(vec![player]));
    }
}

/// Client: arrows or WASD into the input of the own box.
fn read_keys(keys: Res<ButtonInput<KeyCode>>, mut own: Query<&mut Drive, With<GhostOwnerIsLocal>>) {
    let axis =
        |less: [KeyCode; 2], more: [KeyCode; 2]| i8::from(keys.any_pressed(more)) - i8::from(keys.any_pressed(less));
    for mut drive in &mut own {
        drive.x = axis([KeyCode::ArrowLeft, KeyCode::KeyA], [KeyCode::ArrowRight, KeyCode::KeyD]);
        drive.y = axis([KeyCode::ArrowDown, KeyCode::KeyS], [KeyCode::ArrowUp, KeyCode::KeyW]);
    }
}

/// Bot: a thin client has no ghosts, so its input stands on a dummy that its connection points at.
fn wander(
    mut commands: Commands,
    time: Res<NetworkTime>,
    mut connection: Query<(&NetworkId, &mut CommandTarget)>,
    mut dummy: Query<&mut Drive>,
) {
    let Ok((id, mut target)) = connection.single_mut() else { return };
    if target.entity.is_none() {
        let dummy = (Drive::default(), CommandBuffer::<Drive>::default(), GhostOwner(*id));
        target.entity = Some(commands.spawn(dummy).id());
    }
    let turn = time.server_tick.map_or(0, NetworkTick::index) / 40 + id.0;
    if let Ok(mut drive) = dummy.single_mut() {
        (drive.x, drive.y) = [(1, 0), (0, 1), (-1, 0), (0, -1), (1, 1), (-1, -1)][turn as usize % 6];
    }
}

/// Everywhere: one tick, predicted by the owner and decided by the server.
fn drive(time: Res<Time>, mut players: Query<(&Drive, &mut Position), Simulate>) {
    for (drive, mut position) in &mut players {
        let step = Vec2::new(drive.x.into(), drive.y.into()).normalize_or_zero() * SPEED * time.delta_secs();
        let limit = BOARD - BOX / 2.0;
        position.value = (position.value + step).clamp(-limit, limit);
    }
}

/// Client: what a player looks like. One's own box has a frame.
fn dress_player(added: On<Add<Player>>, players: Query<(&GhostOwner, Has<GhostOwnerIsLocal>)>, mut commands: Commands) {
    let Ok((owner, is_own)) = players.get(added.entity) else { return };
    let color = Color::hsl((owner.0.0 as f32 * 77.0 + 120.0) % 360.0, 0.75, 0.6);
    commands.entity(added.entity).insert((Sprite::from_color(color, Vec2::splat(BOX)), Visibility::default()));
    commands.entity(added.entity).with_children(|parts| {
        let label = Text2d::new(owner.0.to_string());
        parts.spawn((label, TextColor(Color::BLACK), Transform::from_xyz(0.0, 0.0, 0.2)));
        if is_own {
            let frame = Sprite::from_color(Color::WHITE, Vec2::splat(BOX + 8.0));
            parts.spawn((frame, Transform::from_xyz(0.0, 0.0, -0.2)));
        }
    });
}

/// Client: what a coin looks like.
fn dress_coin(added: On<Add<Coin>>, mut commands: Commands) {
    let gold = Sprite::from_color(Color::srgb(0.95, 0.8, 0.3), Vec2::splat(12.0));
    commands.entity(added.entity).insert((gold, Transform::from_rotation(Quat::from_rotation_z(0.785))));
}

/// Client: everything is drawn where it is simulated or interpolated, plus what is left of the last correction.
fn place(mut ghosts: Query<(&Smoothed<Position>, &mut Transform, Has<Player>)>) {
    for (position, mut transform, is_player) in &mut ghosts {
        transform.translation = (MIDDLE + position.value).extend(if is_player { 1.0 } else { 0.5 });
    }
}

#[derive(Component)]
struct Caption;

fn caption(
    mut caption: Query<&mut Text2d, With<Caption>>,
    connection: Query<(&NetworkStreamConnection, Option<&NetworkId>)>,
    time: Res<NetworkTime>,
    players: Query<(), With<Player>>,
) {
    let Ok(mut text) = caption.single_mut() else { return };
    let shown = match connection.single() {
        Err(_) => "H: host    J: join    B: a bot".to_owned(),
        Ok((_, Some(id))) => {
            let tick = time.server_tick.map_or("none".to_owned(), |tick| tick.to_string());
            let count = players.iter().count();
            format!("player {id} of {count}    tick {tick}    arrows: drive    B: a bot    Escape: leave")
        }
        Ok((connection, None)) => format!("{:?} ...", connection.state),
    };
    if text.0 != shown {
        text.0 = shown;
    }
}

/// The screen: of the app's main world alone.
fn set_up(mut commands: Commands) {
    commands.spawn(Camera2d);
    commands.insert_resource(ClearColor(Color::srgb(0.05, 0.06, 0.08)));
    let floor = Sprite::from_color(Color::srgb(0.1, 0.12, 0.16), BOARD * 2.0);
    commands.spawn((floor, Transform::from_translation(MIDDLE.extend(-2.0))));
    commands.spawn((Caption, Text2d::new(""), TextFont::from_font_size(18.0), Transform::from_xyz(0.0, 240.0, 2.0)));
}

/// The menu: this client before it connects, and the way back.
fn menu(world: &mut World) {
    let keys = world.resource::<ButtonInput<KeyCode>>();
    let pressed = |key| keys.just_pressed(key);
    let result = match () {
        () if pressed(KeyCode::KeyH) => host(world),
        () if pressed(KeyCode::KeyJ) => join(world),
        () if pressed(KeyCode::KeyB) => add_bots(world, 1),
        () if pressed(KeyCode::Escape) => leave(world),
        () => Ok(()),
    };
    if let Err(error) = result {
        error!("{error}");
    }
}

/// A server beside the main world, which connects to it in memory.
fn host(world: &mut World) -> Result<(), WorldError> {
    world.resource_scope(|world, mut beside: Mut<EmbeddedWorlds>| {
        let worlds = beside.worlds();
        if worlds.has_server_world() {
            return Ok(());
        }
        // It listens as soon as it is made, or there is none.
        worlds.set_auto_connect_port(PORT);
        let id = worlds.create_server_world("server")?;
        let server = worlds.get_mut(id).map(|server| server.world_mut().resource_mut::<NetworkStreamDriver>());
        if let Some(address) = server.and_then(|mut server| server.join_string()) {
            info!("others join with {CONNECT_ARGUMENT} '{address}'");
        }
        connect_to(world, worlds, &SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)).into())
    })
}

/// The server of somebody else: the one of the command line, or one on this machine.
fn join(world: &mut World) -> Result<(), WorldError> {
    let named = std::env::args().skip_while(|argument| argument != CONNECT_ARGUMENT).nth(1);
    let server: ServerAddress = named
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)).into());
    world.resource_scope(|world, mut beside: Mut<EmbeddedWorlds>| connect_to(world, beside.worlds(), &server))
}

/// The main world gets the driver that leads there: in memory to a server beside it, else a socket.
fn connect_to(world: &mut World, worlds: &mut Worlds, server: &ServerAddress) -> Result<(), WorldError> {
    world.reset_driver_store(worlds.create_client_driver()?)?;
    world.join(server)?;
    Ok(())
}

fn add_bots(world: &mut World, count: u32) -> Result<(), WorldError> {
    let mut beside = world.resource_mut::<EmbeddedWorlds>();
    let bots = beside.worlds().thin_clients();
    bots.request(bots.requested() + count);
    Ok(())
}

/// The main world can't be disposed: it leaves the game. What is beside it can.
fn leave(world: &mut World) -> Result<(), WorldError> {
    let connections: Vec<Entity> =
        world.resource::<NetworkStreamDriver>().connections().map(|(_, entity)| entity).collect();
    for connection in connections {
        world.disconnect(connection, DisconnectReason::ConnectionClose);
    }
    world.resource_mut::<WorldCommands>().push(|worlds| {
        worlds.thin_clients().request(0);
        if let Some(server) = worlds.server_world().map(|server| server.id()) {
            worlds.dispose(server);
        }
        Ok(())
    });
    Ok(())
}

/// `--host`: the key H, and some bots, for whoever has no keyboard.
fn host_at_once(world: &mut World) {
    if std::env::args().any(|argument| argument == "--host") {
        let result = host(world).and_then(|()| add_bots(world, 5));
        if let Err(error) = result {
            error!("{error}");
        }
    }
}

fn main() -> AppExit {
    let window = Window { title: "ghostline".into(), resolution: (960, 540).into(), ..Window::default() };
    App::new()
        .add_plugins(DefaultPlugins.set(WindowPlugin { primary_window: Some(window), ..WindowPlugin::default() }))
        .add_plugins(ClientServerBootstrap::new(Game).automatic_bootstrap(AutomaticBootstrap::Disabled).embedded())
        .add_systems(Startup, (set_up, host_at_once))
        .add_systems(Update, menu)
        .run()
}

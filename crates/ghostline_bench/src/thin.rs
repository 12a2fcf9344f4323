//! A load test in one process: a server with ghosts that walk, and hundreds of thin clients that press at random, in real time. Says whether
//! the server keeps its ticks, what a thin client costs beside a full one, and what a world of each takes in memory.

use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_math::Vec3;
use bevy_time::Time;
use ghostline::prelude::*;
use ghostline::stats::NetworkStats;
use ghostline::time::{FrameDemand, FramePacer, TargetFrameRateMode};
use ghostline::world::{DefaultDrivers, InProcessDrivers, WorldError};
use std::time::{Duration, Instant};

use crate::measure::{live_bytes, process_cpu_ns};
use crate::report::Report;

const FRAME: Duration = Duration::from_nanos(16_666_667);
const PORT: u16 = 7980;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Thin clients.
    pub thin: u32,
    /// Full clients beside them.
    pub full: u32,
    /// Ghosts that walk, besides one player for each client.
    pub ghosts: usize,
    /// Seconds that are measured.
    pub seconds: u64,
    /// Threads that the worlds of a stage share.
    pub threads: usize,
    /// Over UDP on this machine instead of in memory.
    pub udp: bool,
}

#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq, Debug)]
struct Position {
    #[ghost(quantization = 1000, smoothing = interpolate)]
    value: Vec3,
}

#[derive(Component, InputComponentData, Clone, Copy, Default, PartialEq, Debug)]
struct Walk {
    x: i8,
    jump: InputEvent,
}

#[derive(Component, Default)]
struct Walker;

#[derive(Component, Default)]
struct Player;

/// Built in every world, as any game is.
struct Game;

impl Plugin for Game {
    fn build(&self, app: &mut App) {
        let player = GhostPrefab::new("player").component::<Position>().owner_predicted().input::<Walk>();
        app.register_ghost::<Walker>(GhostPrefab::new("walker").component::<Position>())
            .register_ghost::<Player>(player)
            .go_in_game_when_connected()
            .add_systems_in(WorldFlags::SERVER, Simulation, (spawn_players, wander))
            .add_systems_in(WorldFlags::CLIENT, GhostInput, press)
            .add_systems_in(WorldFlags::THIN_CLIENT, GhostInput, press_thin)
            .add_systems(PredictedSimulation, walk);
    }
}

fn spawn_players(mut commands: Commands, newcomers: Query<(Entity, &NetworkId), Added<NetworkStreamInGame>>) {
    for (connection, &id) in &newcomers {
        let player = commands.spawn_ghost::<Player>(GhostOwner(id));
        commands.entity(connection).insert(CommandTarget { entity: Some(player) });
    }
}

fn wander(time: Res<NetworkTime>, mut walkers: Query<&mut Position, With<Walker>>) {
    let Some(tick) = time.server_tick else { return };
    for (number, mut position) in walkers.iter_mut().enumerate() {
        let turn = (tick.index() / 30).wrapping_add(number as u32) % 4;
        position.value += [Vec3::X, Vec3::Y, -Vec3::X, -Vec3::Y][turn as usize] * 0.05;
    }
}

/// What a player wants in this tick.
fn wanted(tick: u32, id: u32) -> (i8, bool) {
    let dice = (tick / 20).wrapping_add(id).wrapping_mul(0x9E37_79B9) >> 16;
    ((dice % 3) as i8 - 1, tick.wrapping_add(id).is_multiple_of(40))
}

fn press(time: Res<NetworkTime>, mut own: Query<(&mut Walk, &GhostOwner), With<GhostOwnerIsLocal>>) {
    let Some(tick) = time.server_tick else { return };
    for (mut input, owner) in &mut own {
        let (x, jumps) = wanted(tick.index(), owner.0.0);
        input.x = x;
        if jumps {
            input.jump.set();
        }
    }
}

fn press_thin(
    mut commands: Commands,
    time: Res<NetworkTime>,
    mut connection: Query<(&NetworkId, &mut CommandTarget)>,
    mut dummy: Query<&mut Walk>,
) {
    let (Some(tick), Ok((id, mut target))) = (time.server_tick, connection.single_mut()) else { return };
    if target.entity.is_none() {
        target.entity = Some(commands.spawn((Walk::default(), CommandBuffer::<Walk>::default(), GhostOwner(*id))).id());
    }
    if let Ok(mut input) = dummy.single_mut() {
        let (x, jumps) = wanted(tick.index(), id.0);
        input.x = x;
        if jumps {
            input.jump.set();
        }
    }
}

fn walk(time: Res<Time>, mut players: Query<(&Walk, &mut Position), Simulate>) {
    for (input, mut position) in &mut players {
        position.value.x += f32::from(input.x) * time.delta_secs();
        position.value.y += input.jump.count() as f32;
    }
}

/// CPU time of the process and of the wall, stage by stage.
#[derive(Default)]
struct Stages {
    server_ns: u64,
    full_ns: u64,
    thin_ns: u64,
    frames: u64,
    ticks: i32,
    longest: Duration,
    busy: Duration,
    length: Duration,
}

/// Runs it.
///
/// # Errors
/// The worlds can't be made, or not everybody gets in.
pub fn run(setup: Setup) -> Result<Report, String> {
    let mut worlds = make_worlds(setup).map_err(|error| error.to_string())?;
    let server = worlds.create_server_world("server").map_err(|error| error.to_string())?;
    let world = worlds.get_mut(server).ok_or("the server is gone")?.world_mut();
    for number in 0..setup.ghosts {
        world.spawn_ghost::<Walker>(Position { value: Vec3::new(number as f32, 0.0, 0.0) });
    }
    let full_bytes = add_clients(&mut worlds, setup.full, WorldKind::Client)?;
    let thin_bytes = add_clients(&mut worlds, setup.thin, WorldKind::ThinClient)?;
    let before = server_stats(&worlds)?;
    let stages = play(&mut worlds, Duration::from_secs(setup.seconds));
    let stats = server_stats(&worlds)?;
    let per = |ns: u64, worlds: u32| ns as f64 / 1000.0 / stages.frames.max(1) as f64 / f64::from(worlds.max(1));
    let frames = stages.frames as f64;
    let kib = |bytes: i64, worlds: u32| bytes as f64 / 1024.0 / f64::from(worlds.max(1));
    Ok(Report::new("thin")
        .count("thin_clients", setup.thin.into())
        .count("full_clients", setup.full.into())
        .number("ticks_per_second", stages.ticks as f64 / stages.length.as_secs_f64())
        .number("frames_per_second", frames / stages.length.as_secs_f64())
        .number("frame_ms", stages.busy.as_secs_f64() * 1000.0 / frames)
        .number("longest_frame_ms", stages.longest.as_secs_f64() * 1000.0)
        .number("thin_us", per(stages.thin_ns, setup.thin))
        .number("full_us", per(stages.full_ns, setup.full))
        .number("server_us_per_client", per(stages.server_ns, setup.thin + setup.full))
        .number("thin_kib", kib(thin_bytes, setup.thin))
        .number("full_kib", kib(full_bytes, setup.full))
        .count("late_commands", stats.late_commands - before.late_commands)
        .count("stored_commands", stats.stored_commands - before.stored_commands))
}

fn server_stats(worlds: &Worlds) -> Result<NetworkStats, String> {
    let server = worlds.server_world().ok_or("the server is gone")?;
    Ok(*server.world().resource::<NetworkStats>())
}

fn make_worlds(setup: Setup) -> Result<Worlds, WorldError> {
    let bootstrap = ClientServerBootstrap::new(Game).auto_connect(PORT).parallel_worlds(setup.threads);
    let bootstrap = if setup.udp {
        bootstrap.play_type(PlayType::Client).drivers(DefaultDrivers::default())
    } else {
        bootstrap.drivers(InProcessDrivers::default())
    };
    Ok(Worlds::new(bootstrap))
}

/// Adds clients, a few per frame, and waits until all are in the game and warm. Returns what they take in memory, the server's share included.
fn add_clients(worlds: &mut Worlds, count: u32, kind: WorldKind) -> Result<i64, String> {
    const PER_FRAME: u32 = 10;
    let before = live_bytes();
    for number in 0..count {
        let name = format!("{kind:?} {number}");
        let made = match kind {
            WorldKind::ThinClient => worlds.create_thin_client_world(&name),
            _ => worlds.create_client_world(&name),
        };
        made.map_err(|error| error.to_string())?;
        if number % PER_FRAME == 0 {
            worlds.run_frame(FRAME);
        }
    }
    for _ in 0..180 {
        worlds.run_frame(FRAME);
    }
    let in_game = worlds
        .iter_mut()
        .filter(|world| world.kind() == kind)
        .filter(|world| world.world().get_resource::<NetworkTime>().is_some_and(|time| time.server_tick.is_some()))
        .count();
    if in_game < count as usize {
        return Err(format!("only {in_game} of {count} clients ({kind:?}) are in the game"));
    }
    Ok(live_bytes() - before)
}

/// Real time, as the stand-alone runner has it.
fn play(worlds: &mut Worlds, length: Duration) -> Stages {
    let start = Instant::now();
    let mut pacer = FramePacer::new();
    let mut stages = Stages::default();
    let demand = FrameDemand { mode: TargetFrameRateMode::Sleep, rate_hz: 60 };
    pacer.begin_frame(Duration::ZERO);
    let tick = |worlds: &Worlds| worlds.server_world()?.world().resource::<NetworkTime>().server_tick;
    let first = tick(worlds);
    while start.elapsed() < length {
        std::thread::sleep(pacer.wait(start.elapsed(), demand));
        let dt = pacer.begin_frame(start.elapsed());
        let begun = Instant::now();
        worlds.begin_frame(dt);
        let mut marks = [process_cpu_ns(); 4];
        worlds.run_stage(&[WorldKind::Client], dt);
        marks[1] = process_cpu_ns();
        worlds.run_stage(&[WorldKind::ThinClient], dt);
        marks[2] = process_cpu_ns();
        worlds.run_stage(&[WorldKind::Server], dt);
        marks[3] = process_cpu_ns();
        worlds.end_frame();
        let took = begun.elapsed();
        stages.full_ns += marks[1] - marks[0];
        stages.thin_ns += marks[2] - marks[1];
        stages.server_ns += marks[3] - marks[2];
        stages.frames += 1;
        stages.busy += took;
        stages.longest = stages.longest.max(took);
    }
    stages.length = start.elapsed();
    stages.ticks = tick(worlds).zip(first).map_or(0, |(last, first)| last.ticks_since(first));
    stages
}

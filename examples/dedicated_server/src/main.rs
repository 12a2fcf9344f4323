//! A dedicated server: one server world, no client, no window. Its `Cargo.toml` takes ghostline with the cargo feature `server` and without `client`, so
//! none of the library's client code is in the program. Between ticks it sleeps, and an idle one costs next to nothing: it says how much.
//!
//! ```text
//! cargo run --release -p dedicated_server          # five seconds, to have a look
//! cargo run --release -p dedicated_server -- 0     # until Ctrl-C
//! ```

use bevy_app::prelude::*;
use bevy_ecs::prelude::*;
use ghostline::prelude::*;
use ghostline::time::TargetFrameRateMode;
use ghostline::world::BUILD_FLAVOUR;
use std::time::{Duration, Instant};

const PORT: u16 = 7985;

/// Something that players will find here.
#[derive(Component, Default)]
pub struct Crate;

/// Where it lies.
#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq)]
pub struct Place {
    #[ghost]
    x: u32,
}

/// The server's half of a game.
pub struct Game {
    seconds: u32,
}

impl Plugin for Game {
    fn build(&self, app: &mut App) {
        app.register_ghost::<Crate>(GhostPrefab::new("crate").component::<Place>())
            .go_in_game_when_connected()
            .insert_resource(Remaining(self.seconds))
            .add_systems_in(WorldFlags::SERVER, Startup, spawn_crates)
            .add_systems_in(WorldFlags::SERVER, Simulation, tell);
    }
}

fn spawn_crates(mut commands: Commands) {
    for x in 0..100 {
        commands.spawn_ghost::<Crate>(Place { x });
    }
}

/// How many seconds are left; 0 at the beginning: no end.
#[derive(Resource)]
struct Remaining(u32);

/// Once per second: what the server did, and what that cost.
fn tell(
    time: Res<NetworkTime>,
    players: Query<(), With<NetworkStreamInGame>>,
    mut remaining: ResMut<Remaining>,
    mut exit: MessageWriter<AppExit>,
    mut last: Local<Option<(Instant, Option<Duration>)>>,
) {
    let Some(tick) = time.server_tick.filter(|tick| tick.index().is_multiple_of(60)) else { return };
    let now = (Instant::now(), cpu_time());
    if let Some((then, before)) = last.replace(now) {
        let cost = now.1.zip(before).map(|(now, before)| now.saturating_sub(before).as_secs_f64());
        let share = cost.map_or("unknown".to_owned(), |cost| {
            format!("{:.1} %", 100.0 * cost / now.0.duration_since(then).as_secs_f64())
        });
        eprintln!("tick {tick}, {} players, CPU {share} of one core", players.iter().count());
        if remaining.0 == 1 {
            exit.write(AppExit::Success);
        }
        remaining.0 = remaining.0.saturating_sub(1);
    }
}

/// CPU time of this process so far, where the system has a Linux kernel; it counts in hundredths of a second.
fn cpu_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the name, which may hold anything, the 12th and 13th fields: of the program and of the kernel for it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let hundredths = |field: usize| fields.get(field)?.parse::<u64>().ok();
    Some(Duration::from_millis(10 * (hundredths(11)? + hundredths(12)?)))
}

fn main() -> AppExit {
    eprintln!("a build of ghostline for {BUILD_FLAVOUR:?}");
    let seconds = std::env::args().nth(1).and_then(|argument| argument.parse().ok()).unwrap_or(5);
    let rate = ClientServerTickRate {
        // What a server without a window does by default, too.
        target_frame_rate_mode: TargetFrameRateMode::Sleep,
        ..ClientServerTickRate::default()
    };
    ClientServerBootstrap::new(Game { seconds }).play_type(PlayType::Server).tick_rate(rate).auto_connect(PORT).run()
}

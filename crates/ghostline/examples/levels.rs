//! World migration: the server goes from one level to the next, which is another world, and its clients stay connected.
//!
//! What belongs to the connections moves: drivers, ids, ticks, RPCs under way. What belongs to the level stays behind and goes with the old world:
//! entities, resources, systems. Clients drop the old level's ghosts and get the new one's. Run it with `cargo run -p ghostline --example levels`; it
//! ends by itself.

use bevy_app::prelude::*;
use bevy_ecs::prelude::*;
use ghostline::prelude::*;

/// A level lasts so many ticks.
const LEVEL_TICKS: u32 = 90;
const LAST_LEVEL: u32 = 3;

/// Which level a server's world is. In a resource, because everything in the world is of this level.
#[derive(Resource, Clone, Copy)]
pub struct Level(u32);

/// Marks what stands in a level.
#[derive(Component, Default)]
pub struct Crate;

/// In which level it stands.
#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq)]
pub struct Stands {
    #[ghost]
    level: u32,
}

/// What a player has won so far. On the connection's entity, and it is to travel with it.
#[derive(Component, Clone, Copy, Default)]
pub struct Score(u32);

/// The game, the same in each level.
pub struct Game;

impl Plugin for Game {
    fn build(&self, app: &mut App) {
        app.register_ghost::<Crate>(GhostPrefab::new("crate").component::<Stands>())
            .migrate_component::<Score>()
            .go_in_game_when_connected()
            .add_systems_in(WorldFlags::SERVER, Startup, build_level)
            .add_systems_in(WorldFlags::SERVER, Simulation, (give_scores, end_level).chain())
            .add_systems_in(WorldFlags::CLIENT, Simulation, look_around);
    }
}

/// Server: the first level was made without saying which; the others were prepared with their number.
fn build_level(mut commands: Commands, level: Option<Res<Level>>) {
    let level = level.map_or(1, |level| level.0);
    commands.insert_resource(Level(level));
    for _ in 0..3 * level {
        commands.spawn_ghost::<Crate>(Stands { level });
    }
}

/// Server: newcomers begin with nothing. Those who come from the level before are in the game already, with what they had.
fn give_scores(mut commands: Commands, newcomers: Query<Entity, (With<NetworkStreamInGame>, Without<Score>)>) {
    for connection in &newcomers {
        commands.entity(connection).insert(Score::default());
    }
}

/// Server: the level is over, everybody wins a point, and the next world takes this one's place.
fn end_level(
    level: Res<Level>,
    server: Res<WorldId>,
    mut players: Query<(&NetworkId, &mut Score)>,
    mut commands: ResMut<WorldCommands>,
    mut ticks: Local<u32>,
) {
    *ticks += u32::from(!players.is_empty());
    if *ticks != LEVEL_TICKS || level.0 == LAST_LEVEL {
        return;
    }
    for (id, mut score) in &mut players {
        score.0 += 1;
        eprintln!("server: level {} is over; player {id} has {} points", level.0, score.0);
    }
    let (server, next) = (*server, Level(level.0 + 1));
    commands.push(move |worlds| {
        let ticket = worlds.store_world(server)?;
        worlds.dispose(server);
        let mut prepared = worlds.load_world(ticket)?;
        // What the systems will find, before there are any.
        prepared.world_mut().insert_resource(next);
        worlds.create_server_world_in(&format!("level {}", next.0), prepared)?;
        Ok(())
    });
}

/// Client: says when it is somewhere else, and who it is there. It has noticed nothing but other ghosts.
fn look_around(
    id: Query<&NetworkId, With<LocalConnection>>,
    crates: Query<&Stands>,
    time: Res<NetworkTime>,
    mut exit: MessageWriter<AppExit>,
    mut known: Local<u32>,
) {
    let (Ok(id), Some(level)) = (id.single(), crates.iter().map(|stands| stands.level).max()) else { return };
    let is_complete = crates.iter().filter(|stands| stands.level == level).count() == 3 * level as usize;
    if level == *known || !is_complete {
        return;
    }
    *known = level;
    let old = crates.iter().filter(|stands| stands.level != level).count();
    let tick = time.server_tick.map_or("no tick".to_owned(), |tick| tick.to_string());
    eprintln!("client: level {level} with {} crates, {old} of older ones; still player {id}, tick {tick}", 3 * level);
    if level == LAST_LEVEL {
        exit.write(AppExit::Success);
    }
}

fn main() -> AppExit {
    ClientServerBootstrap::new(Game).auto_connect(7987).run()
}

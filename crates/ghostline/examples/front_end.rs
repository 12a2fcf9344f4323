//! A game with a front end: one program begins with a menu, hosts, comes back to its menu, and joins others, as the player chooses.
//!
//! Nothing connects before the player has chosen, worlds come and go while the program runs, and no code asks in which role it is. The player is
//! played by the command line: `cargo run -p ghostline --example front_end -- host host quit` makes these choices, one whenever the menu is
//! there; `join ADDRESS` is the third choice. Without arguments it hosts twice and quits.

use bevy_app::prelude::*;
use bevy_ecs::prelude::*;
use ghostline::prelude::*;
use ghostline::transport::ServerAddress;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

const PORT: u16 = 7984;
/// A visit to the game lasts so many ticks.
const VISIT: u32 = 120;

/// What the player will choose, the next first. It outlives every world, so it is part of the program and in no world.
type Choices = Arc<Mutex<VecDeque<String>>>;

/// Marks the box of a player.
#[derive(Component, Default)]
pub struct Player;

/// How far a box has come.
#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq)]
pub struct Distance {
    #[ghost]
    metres: u32,
}

/// Both in one plugin: the menu, which runs in local worlds, and the game, which runs in the others.
pub struct Game {
    choices: Choices,
}

impl Plugin for Game {
    fn build(&self, app: &mut App) {
        let choices = self.choices.clone();
        app.register_ghost::<Player>(GhostPrefab::new("player").component::<Distance>().owned())
            .go_in_game_when_connected()
            .add_systems_in(
                WorldFlags::LOCAL,
                Simulation,
                move |menu: Res<WorldId>, commands: ResMut<WorldCommands>, exit: MessageWriter<AppExit>| {
                    let choice = choices.lock().ok().and_then(|mut choices| choices.pop_front());
                    choose(choice, *menu, commands, exit);
                },
            )
            .add_systems_in(WorldFlags::SERVER, Simulation, (spawn_players, drive))
            .add_systems_in(WorldFlags::CLIENT, Simulation, (leave, give_up));
    }
}

/// The menu: carries out one choice. Worlds are made and disposed when no world runs, by commands.
fn choose(
    choice: Option<String>,
    menu: WorldId,
    mut commands: ResMut<WorldCommands>,
    mut exit: MessageWriter<AppExit>,
) {
    let choice = choice.unwrap_or_else(|| "quit".to_owned());
    eprintln!("menu: {choice}");
    match choice.as_str() {
        "host" => commands.push(move |worlds| {
            worlds.dispose(menu);
            worlds.set_auto_connect_port(PORT);
            worlds.create_server_world("server")?;
            worlds.create_client_world("client")?;
            Ok(())
        }),
        "quit" => {
            exit.write(AppExit::Success);
        }
        elsewhere => match elsewhere.parse::<ServerAddress>() {
            Ok(server) => commands.push(move |worlds| {
                worlds.dispose(menu);
                worlds.set_auto_connect_port(0);
                let client = worlds.create_client_world("client")?;
                if let Some(client) = worlds.get_mut(client) {
                    client.world_mut().join(&server)?;
                }
                Ok(())
            }),
            Err(error) => eprintln!("menu: `{elsewhere}` is neither a choice nor an address: {error}"),
        },
    }
}

/// Back to the menu, from whatever this is: all worlds of the game go, and their connections are closed.
fn go_to_menu(commands: &mut WorldCommands) {
    commands.push(|worlds| {
        let game: Vec<WorldId> = worlds.iter().map(|world| world.id()).collect();
        for world in game {
            worlds.dispose(world);
        }
        worlds.create_local_world("menu")?;
        Ok(())
    });
}

/// Server: whoever enters the game gets a box.
fn spawn_players(mut commands: Commands, newcomers: Query<&NetworkId, Added<NetworkStreamInGame>>) {
    for &id in &newcomers {
        commands.spawn_ghost::<Player>((GhostOwner(id), Distance::default()));
    }
}

/// Server: boxes move.
fn drive(mut boxes: Query<&mut Distance, With<Player>>) {
    for mut distance in &mut boxes {
        distance.metres += 1;
    }
}

/// Client: whoever has played long enough goes back to the menu.
fn leave(mut commands: ResMut<WorldCommands>, own: Query<&Distance, With<GhostOwnerIsLocal>>, mut ticks: Local<u32>) {
    let Ok(distance) = own.single() else { return };
    *ticks += 1;
    if *ticks == VISIT {
        eprintln!("client: {} m were enough", distance.metres);
        go_to_menu(&mut commands);
    }
}

/// Client: a game that ended, or never began, is no reason to stay.
fn give_up(mut commands: ResMut<WorldCommands>, events: Res<ConnectionEvents>) {
    for event in events.iter().filter(|event| event.state == ConnectionStatus::Disconnected) {
        if let Some(reason) = event.disconnect_reason {
            eprintln!("client: {reason}");
        }
        go_to_menu(&mut commands);
    }
}

fn main() -> AppExit {
    let mut chosen: VecDeque<String> = std::env::args().skip(1).filter(|argument| argument != "join").collect();
    if chosen.is_empty() {
        chosen = ["host", "host", "quit"].map(str::to_owned).into();
    }
    let game = Game { choices: Arc::new(Mutex::new(chosen)) };
    ClientServerBootstrap::new(game)
        .initialize(|worlds| {
            worlds.create_local_world("menu")?;
            Ok(Initialized::Handled)
        })
        .run()
}

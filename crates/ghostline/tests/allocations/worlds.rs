//! A program that goes from its menu into a session and back again and again holds no more memory after than before.

use bevy_app::App;
use ghostline::prelude::*;
use ghostline::world::InProcessDrivers;
use ghostline_testkit::FRAME;

use super::{Game, Position, Walker, live_bytes};

fn game(app: &mut App) {
    app.add_plugins(Game { is_quiet: true }).go_in_game_when_connected();
}

/// Menu, host, menu, guest without a host; with a level change on the way.
fn one_evening(worlds: &mut Worlds) {
    let menu = worlds.create_local_world("menu").expect("nothing can fail");
    worlds.run_frame(FRAME);
    let server = worlds.create_server_world("server").expect("the port is free");
    let client = worlds.create_client_world("client").expect("there is a server");
    worlds.dispose(menu);
    let world = worlds.get_mut(server).expect("it was made").world_mut();
    for _ in 0..20 {
        world.spawn_ghost::<Walker>(Position::default());
    }
    for _ in 0..40 {
        worlds.run_frame(FRAME);
    }
    let ticket = worlds.store_world(server).expect("it has a network");
    worlds.dispose(server);
    let prepared = worlds.load_world(ticket).expect("it was stored");
    let server = worlds.create_server_world_in("the next level", prepared).expect("it is a server's");
    for _ in 0..20 {
        worlds.run_frame(FRAME);
    }
    worlds.dispose(client);
    worlds.dispose(server);
    let menu = worlds.create_local_world("menu").expect("nothing can fail");
    worlds.run_frame(FRAME);
    let guest = worlds.create_client_world("guest").expect("nobody has to answer");
    worlds.dispose(menu);
    worlds.run_frame(FRAME);
    worlds.dispose(guest);
    worlds.run_frame(FRAME);
}

#[test]
fn menus_and_sessions_in_turn_leave_no_memory_behind() {
    let bootstrap = ClientServerBootstrap::new(game).drivers(InProcessDrivers::default()).auto_connect(7979);
    let mut worlds = Worlds::new(bootstrap);
    let after = |worlds: &mut Worlds, evenings: usize| {
        (0..evenings).for_each(|_| one_evening(worlds));
        live_bytes()
    };
    let warm = after(&mut worlds, 4);
    let grown = after(&mut worlds, 16) - warm;
    // The network keeps a number for each driver that it ever had.
    assert!(grown < 16 * 256, "{grown} bytes in 16 evenings");
}

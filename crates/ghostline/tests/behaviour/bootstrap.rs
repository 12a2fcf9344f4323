//! Bootstrap: which worlds there are and when, in every role and in both embeddings; configuration; a front end. The W rows of the
//! feature table about how worlds are made.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bevy_app::{App, Startup};
use bevy_ecs::prelude::*;
use bevy_time::TimeUpdateStrategy;
use ghostline::connection::ConnectionError;
use ghostline::prelude::*;
use ghostline::snapshot::GhostSendSystemData;
use ghostline::world::{
    AutomaticBootstrap, ConfigError, DEFAULT_WORLD_NAME, EmbeddedWorlds, InProcessDrivers, NetCodeConfig,
    PreparedWorld, WorldError,
};
use ghostline_testkit::FRAME;

use crate::common::*;

fn nothing(_app: &mut App) {}

/// A program whose worlds reach each other and nobody else.
fn alone(game: impl bevy_app::Plugin) -> ClientServerBootstrap {
    ClientServerBootstrap::new(game).drivers(InProcessDrivers::default())
}

fn kinds(worlds: &Worlds) -> Vec<WorldKind> {
    worlds.iter().map(|world| world.kind()).collect()
}

#[test]
fn an_initialisation_that_handled_everything_and_made_nothing_leaves_no_world() {
    let worlds = alone(nothing).initialize(|_| Ok(Initialized::Handled)).build().unwrap();
    assert_eq!(kinds(&worlds), []);
    assert!(!worlds.has_server_world() && !worlds.has_client_worlds());
}

#[test]
fn an_initialisation_that_declines_leaves_one_local_world() {
    let worlds = alone(nothing).initialize(|_| Ok(Initialized::NotHandled)).build().unwrap();
    assert_eq!(kinds(&worlds), [WorldKind::Local]);
    assert_eq!(worlds.iter().next().unwrap().name(), DEFAULT_WORLD_NAME);
}

#[test]
fn an_initialisation_may_make_any_worlds_and_its_errors_reach_whoever_builds() {
    let worlds = alone(nothing)
        .initialize(|worlds| {
            worlds.create_client_world("left")?;
            worlds.create_client_world("right")?;
            worlds.create_server_world("host")?;
            Ok(Initialized::Handled)
        })
        .build()
        .unwrap();
    assert_eq!(kinds(&worlds), [WorldKind::Client, WorldKind::Client, WorldKind::Server]);
    assert_eq!(worlds.client_world().unwrap().name(), "left", "the first of its kind");
    let error = alone(nothing)
        .auto_connect(7979)
        .initialize(|worlds| {
            worlds.create_server_world("one")?;
            worlds.create_server_world("two")?;
            Ok(Initialized::Handled)
        })
        .build();
    assert!(
        matches!(error.err(), Some(WorldError::AutoConnect(ConnectionError::Driver { .. }))),
        "one port, two servers"
    );
}

#[test]
fn the_helper_for_the_default_worlds_makes_exactly_those_of_the_play_type() {
    for (play_type, expected) in [
        (PlayType::ClientAndServer, vec![WorldKind::Server, WorldKind::Client, WorldKind::ThinClient]),
        (PlayType::Client, vec![WorldKind::Client, WorldKind::ThinClient]),
        (PlayType::Server, vec![WorldKind::Server, WorldKind::ThinClient]),
    ] {
        let bootstrap = alone(nothing).play_type(play_type).thin_clients(1).initialize(|worlds| {
            worlds.create_default_client_server_worlds()?;
            Ok(Initialized::Handled)
        });
        assert_eq!(kinds(&bootstrap.build().unwrap()), expected, "{play_type:?}");
    }
}

#[test]
fn automatic_bootstrap_can_be_off_for_all_games_and_one_game_can_decide_otherwise() {
    let with = |global: AutomaticBootstrap| NetCodeConfig { automatic_bootstrap: global, ..Default::default() };
    let build = |bootstrap: ClientServerBootstrap| kinds(&bootstrap.build().unwrap());
    let off = || alone(nothing).config(with(AutomaticBootstrap::Disabled));
    let both = [WorldKind::Server, WorldKind::Client];
    assert_eq!(build(alone(nothing)), both);
    assert_eq!(build(off()), [WorldKind::Local]);
    assert_eq!(build(off().initialize(|_| panic!("nobody asks"))), [WorldKind::Local]);
    assert_eq!(build(off().automatic_bootstrap(AutomaticBootstrap::Enabled)), both);
    assert_eq!(build(alone(nothing).automatic_bootstrap(AutomaticBootstrap::Disabled)), [WorldKind::Local]);
}

#[test]
fn each_helper_gives_a_named_world_of_its_kind_that_is_in_the_lists() {
    let mut worlds = Worlds::new(alone(nothing));
    let ids = [
        worlds.create_local_world("menu").unwrap(),
        worlds.create_server_world("host").unwrap(),
        worlds.create_client_world("me").unwrap(),
        worlds.create_thin_client_world("bot").unwrap(),
    ];
    let expected = [
        ("menu", WorldKind::Local, [false, false, false, false]),
        ("host", WorldKind::Server, [true, false, false, false]),
        ("me", WorldKind::Client, [false, true, false, false]),
        ("bot", WorldKind::ThinClient, [false, true, true, false]),
    ];
    for (id, (name, kind, flags)) in ids.into_iter().zip(expected) {
        let world = worlds.get(id).unwrap();
        assert_eq!((world.name(), world.kind()), (name, kind));
        assert_eq!(*world.world().resource::<WorldId>(), id, "a world knows which it is");
        let world = world.world();
        let asked = [is_server(world), is_client(world), is_thin_client(world), ghostline::world::is_host(world)];
        assert_eq!(asked, flags, "{name}, asked from outside any system");
        assert_eq!(worlds.of_kind(kind).count(), 1);
    }
    assert!(worlds.dispose(ids[2]));
    assert_eq!(worlds.of_kind(WorldKind::Client).count(), 0);
    assert!(!worlds.has_client_worlds() && worlds.has_server_world());
}

/// What a game finds in its world before the first tick.
#[derive(Resource, Default)]
struct Found {
    rate: Option<ClientServerTickRate>,
    client_rate: Option<ClientTickRate>,
    send: Option<GhostSendSystemData>,
}

fn configured() -> NetCodeConfig {
    NetCodeConfig {
        client_server_tick_rate: ClientServerTickRate { simulation_tick_rate: 40, ..Default::default() },
        client_tick_rate: ClientTickRate { target_command_slack: 5, ..Default::default() },
        ghost_send: GhostSendSystemData { default_snapshot_packet_size: 777, ..GhostSendSystemData::default() },
        replicate_tick_rate: true,
        ..Default::default()
    }
}

#[test]
fn the_configuration_is_there_before_the_first_tick() {
    fn game(app: &mut App) {
        app.init_resource::<Found>().add_systems(
            Startup,
            |mut found: ResMut<Found>,
             rate: Option<Res<ClientServerTickRate>>,
             client_rate: Option<Res<ClientTickRate>>,
             send: Option<Res<GhostSendSystemData>>| {
                found.rate = rate.map(|rate| rate.clone());
                found.client_rate = client_rate.map(|rate| rate.clone());
                found.send = send.map(|send| *send);
            },
        );
    }
    let mut worlds = alone(game).config(configured()).build().unwrap();
    worlds.run_frame(Duration::ZERO);
    let server = worlds.server_world().unwrap().world();
    let found = server.resource::<Found>();
    assert_eq!(found.rate.as_ref().unwrap().simulation_tick_rate, 40);
    assert_eq!(found.send.unwrap().default_snapshot_packet_size, 777);
    assert!(server.contains_resource::<ghostline::time::ReplicateTickRate>());
    let found = worlds.client_world().unwrap().world().resource::<Found>();
    assert_eq!(found.client_rate.as_ref().unwrap().target_command_slack, 5);
    assert_eq!(found.send, None, "clients send no snapshots");
}

#[test]
fn the_configuration_overwrites_nothing_that_was_set_explicitly() {
    fn game(app: &mut App) {
        if is_server(app.world()) {
            app.insert_resource(ClientServerTickRate { simulation_tick_rate: 25, ..Default::default() });
        }
    }
    // By the game's plugin.
    let mut worlds = alone(game).config(configured()).build().unwrap();
    let rate_of = |worlds: &Worlds| {
        worlds.server_world().unwrap().world().resource::<ClientServerTickRate>().simulation_tick_rate
    };
    assert_eq!(rate_of(&worlds), 25);
    // While it runs.
    worlds.run_frame(FRAME);
    let server = worlds.iter_mut().next().unwrap().world_mut();
    server.resource_mut::<ClientServerTickRate>().simulation_tick_rate = 26;
    worlds.run_frame(FRAME);
    assert_eq!(rate_of(&worlds), 26);
    // In a world that was there before.
    let mut prepared = PreparedWorld::new();
    prepared
        .world_mut()
        .insert_resource(GhostSendSystemData { default_snapshot_packet_size: 333, ..GhostSendSystemData::default() });
    let mut worlds = Worlds::new(alone(nothing).config(configured()));
    let id = worlds.create_server_world_in("server", prepared).unwrap();
    let world = worlds.get(id).unwrap().world();
    assert_eq!(world.resource::<GhostSendSystemData>().default_snapshot_packet_size, 333);
    assert_eq!(world.resource::<ClientServerTickRate>().simulation_tick_rate, 40, "and what was open is filled");
}

#[test]
fn a_configuration_that_is_wrong_makes_no_world_and_every_mistake_is_told() {
    let config = NetCodeConfig {
        client_server_tick_rate: ClientServerTickRate { snapshot_ack_mask_capacity: 100, ..Default::default() },
        client_tick_rate: ClientTickRate { max_predict_ahead_time_ms: 900, ..Default::default() },
        ..Default::default()
    };
    let bootstrap = alone(nothing).config(config).thin_clients(5000);
    let Err(WorldError::InvalidConfiguration(errors)) = bootstrap.build() else { panic!("it is wrong three times") };
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(errors.contains(&ConfigError::TooManyThinClients { count: 5000 }));
    let text = WorldError::InvalidConfiguration(errors).to_string();
    for named in ["snapshot_ack_mask_capacity is 100", "max_predict_ahead_time_ms is 900", "5000 thin clients"] {
        assert!(text.contains(named), "{text}");
    }
}

#[derive(Resource)]
struct Level(u32);

#[derive(Component)]
struct Tree;

#[test]
fn a_creator_populates_an_existing_world_of_any_kind() {
    fn game(app: &mut App) {
        let level = app.world().resource::<Level>().0;
        app.insert_resource(Level(level + 100));
    }
    let mut worlds = Worlds::new(alone(game).auto_connect(7979));
    let mut ids = Vec::new();
    for (number, kind) in
        [WorldKind::Server, WorldKind::Client, WorldKind::ThinClient, WorldKind::Local].into_iter().enumerate()
    {
        let mut world = World::new();
        world.insert_resource(Level(number as u32));
        world.spawn(Tree);
        let prepared = PreparedWorld::from(world);
        ids.push(match kind {
            WorldKind::Server => worlds.create_server_world_in("server", prepared).unwrap(),
            WorldKind::Client => worlds.create_client_world_in("client", prepared).unwrap(),
            WorldKind::ThinClient => worlds.create_thin_client_world_in("thin", prepared).unwrap(),
            WorldKind::Local => worlds.create_local_world_in("local", prepared).unwrap(),
        });
        assert_eq!(worlds.iter().next_back().unwrap().kind(), kind);
    }
    for _ in 0..30 {
        worlds.run_frame(FRAME);
    }
    for (number, id) in ids.into_iter().enumerate() {
        let world = worlds.get_mut(id).unwrap().world_mut();
        assert_eq!(world.resource::<Level>().0, 100 + number as u32, "the plugin found the level");
        assert_eq!(count::<Tree>(world), 1);
        let connections = count::<NetworkId>(world);
        assert_eq!(connections, [2, 1, 1, 0][number], "and it plays like any other world");
    }
}

#[test]
fn a_world_that_has_systems_cannot_be_populated() {
    let mut app = bevy_app::SubApp::new();
    app.add_systems(Simulation, || {});
    let mut prepared = PreparedWorld::new();
    *prepared.world_mut() = std::mem::take(app.world_mut());
    let mut worlds = Worlds::new(alone(nothing));
    let error = worlds.create_server_world_in("server", prepared).unwrap_err();
    assert_eq!(error, WorldError::HasSystems { schedule: "Simulation".into() });
}

/// What the player chose in the menu.
#[derive(Resource, Default)]
struct Choice(Option<PlayType>);

/// A menu in the local world. In the session's client world the same key leads back.
fn front_end(app: &mut App) {
    app.add_plugins(Game)
        .init_resource::<Choice>()
        .go_in_game_when_connected()
        .add_systems_in(WorldFlags::LOCAL, Presentation, choose)
        .add_systems_in(WorldFlags::CLIENT, Presentation, leave);
}

fn choose(mut choice: ResMut<Choice>, mut commands: ResMut<WorldCommands>, menu: Res<WorldId>) {
    let (Some(choice), menu) = (choice.0.take(), *menu) else { return };
    commands.push(move |worlds| {
        if choice == PlayType::ClientAndServer {
            worlds.create_server_world("server")?;
        }
        worlds.create_client_world("client")?;
        worlds.dispose(menu);
        Ok(())
    });
}

fn leave(mut choice: ResMut<Choice>, mut commands: ResMut<WorldCommands>) {
    if choice.0.take().is_some() {
        commands.push(|worlds| {
            let session: Vec<WorldId> = worlds.iter().map(|world| world.id()).collect();
            worlds.create_local_world("menu")?;
            session.into_iter().for_each(|id| assert!(worlds.dispose(id)));
            Ok(())
        });
    }
}

/// Presses the key in whatever world shows something.
fn press(worlds: &mut Worlds, choice: PlayType) {
    let shown = worlds.iter_mut().find(|world| world.kind() != WorldKind::Server).unwrap();
    shown.world_mut().resource_mut::<Choice>().0 = Some(choice);
}

#[test]
fn one_program_is_a_menu_a_host_a_menu_and_a_guest_again_and_again() {
    let mut worlds = alone(front_end)
        .auto_connect(7979)
        .initialize(|worlds| {
            worlds.create_local_world("menu")?;
            Ok(Initialized::Handled)
        })
        .build()
        .unwrap();
    assert!(worlds.will_server_auto_listen());
    for round in 0..5 {
        worlds.run_frame(FRAME);
        assert_eq!(kinds(&worlds), [WorldKind::Local], "round {round}: only the menu");
        press(&mut worlds, PlayType::ClientAndServer);
        worlds.run_frame(FRAME);
        assert_eq!(kinds(&worlds), [WorldKind::Server, WorldKind::Client], "round {round}: host");
        for _ in 0..30 {
            worlds.run_frame(FRAME);
        }
        for world in worlds.iter_mut() {
            assert_eq!(count::<NetworkStreamInGame>(world.world_mut()), 1, "round {round}, {}", world.name());
        }
        press(&mut worlds, PlayType::ClientAndServer);
        worlds.run_frame(FRAME);
        assert_eq!(kinds(&worlds), [WorldKind::Local], "round {round}: back in the menu");
        press(&mut worlds, PlayType::Client);
        worlds.run_frame(FRAME);
        assert_eq!(kinds(&worlds), [WorldKind::Client], "round {round}: guest, whose host is elsewhere");
        worlds.run_frame(FRAME);
        press(&mut worlds, PlayType::Client);
        worlds.run_frame(FRAME);
    }
}

#[test]
fn worlds_may_be_disposed_in_any_order_the_driving_one_first() {
    let endpoint = SocketAddr::from((Ipv4Addr::LOCALHOST, 7979));
    for first in 0..3 {
        let mut worlds = Worlds::new(alone(nothing).auto_connect(endpoint.port()));
        let ids = [
            worlds.create_local_world("driving").unwrap(),
            worlds.create_server_world("server").unwrap(),
            worlds.create_client_world("client").unwrap(),
        ];
        for _ in 0..20 {
            worlds.run_frame(FRAME);
        }
        for step in 0..3 {
            assert!(worlds.dispose(ids[(first + step) % 3]));
            worlds.run_frame(FRAME);
        }
        assert_eq!(worlds.iter().count(), 0);
    }
}

#[test]
fn with_a_server_in_the_process_clients_connect_to_it_whatever_address_is_set() {
    let elsewhere = std::net::IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));
    for (play_type, expected) in [(PlayType::ClientAndServer, true), (PlayType::Client, false)] {
        let worlds =
            alone(nothing).play_type(play_type).auto_connect(7979).default_connect_address(elsewhere).build().unwrap();
        let client = worlds.client_world().unwrap().world();
        let endpoint = client.resource::<NetworkStreamDriver>().last_endpoint().unwrap();
        assert_eq!(endpoint.ip().is_loopback(), expected, "{play_type:?}");
    }
}

#[test]
fn the_port_of_auto_connect_is_read_when_a_world_is_made() {
    let mut worlds = Worlds::new(alone(nothing));
    let before = worlds.create_server_world("before").unwrap();
    worlds.set_auto_connect_port(7979);
    let after = worlds.create_server_world("after").unwrap();
    worlds.set_auto_connect_port(0);
    for (id, listens) in [(before, false), (after, true)] {
        let world = worlds.get_mut(id).unwrap().world_mut();
        assert_eq!(world.resource::<NetworkStreamDriver>().is_listening(), listens);
    }
}

fn embedded(bootstrap: ClientServerBootstrap) -> App {
    let mut app = App::new();
    app.insert_resource(TimeUpdateStrategy::ManualDuration(FRAME)).add_plugins(bootstrap.embedded());
    app.finish();
    app.cleanup();
    app
}

#[test]
fn an_embedded_menu_hosts_leaves_and_hosts_again() {
    fn game(app: &mut App) {
        app.add_plugins(Game).go_in_game_when_connected();
    }
    let mut app = embedded(alone(game).automatic_bootstrap(AutomaticBootstrap::Disabled));
    for round in 0..3 {
        app.update();
        assert_eq!(app.world_mut().resource_mut::<EmbeddedWorlds>().worlds().iter().count(), 0, "round {round}");
        let endpoint = SocketAddr::from((Ipv4Addr::LOCALHOST, 7979));
        app.world_mut().resource_mut::<WorldCommands>().push(move |worlds| {
            let server = worlds.create_server_world("server")?;
            worlds.get_mut(server).unwrap().world_mut().listen(endpoint)?;
            worlds.thin_clients().request(2);
            Ok(())
        });
        app.update();
        let connection = app.world_mut().connect(endpoint).unwrap();
        for _ in 0..30 {
            app.update();
        }
        assert_eq!(count::<NetworkStreamInGame>(app.world_mut()), 1, "round {round}");
        let mut beside = app.world_mut().resource_mut::<EmbeddedWorlds>();
        let server = beside.worlds().iter_mut().next().unwrap();
        assert_eq!(count::<NetworkStreamInGame>(server.world_mut()), 3, "round {round}: the thin clients followed");
        // Leaving the game is what ends a session: the main world can't be disposed.
        app.world_mut().disconnect(connection, DisconnectReason::ConnectionClose);
        app.world_mut().resource_mut::<WorldCommands>().push(|worlds| {
            worlds.thin_clients().request(0);
            let server = worlds.server_world().unwrap().id();
            worlds.dispose(server);
            Ok(())
        });
        app.update();
        app.update();
    }
}

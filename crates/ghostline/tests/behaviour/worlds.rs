//! Worlds: which systems run where, what a frame holds, and that nothing piles up.

use crate::common::*;
use bevy_app::{App, AppExit, Plugin, Startup, Update};
use bevy_ecs::prelude::*;
use ghostline::prelude::*;
use ghostline::world::{InProcessDrivers, build_schedules, describe_frame};
use ghostline_testkit::{FRAME, LinkProfile};

/// Which systems ran, how often.
#[derive(Resource, Default)]
struct Ran {
    local: u32,
    client: u32,
    server: u32,
    both: u32,
    plain: u32,
    thin: u32,
    plain_input: u32,
    presentation: u32,
    startup: u32,
}

struct Filters;

impl Plugin for Filters {
    fn build(&self, app: &mut App) {
        app.init_resource::<Ran>()
            .add_systems_in(WorldFlags::LOCAL, Simulation, |mut ran: ResMut<Ran>| ran.local += 1)
            .add_systems_in(WorldFlags::CLIENT, Simulation, |mut ran: ResMut<Ran>| ran.client += 1)
            .add_systems_in(WorldFlags::SERVER, Simulation, |mut ran: ResMut<Ran>| ran.server += 1)
            .add_systems_in(WorldFlags::CLIENT | WorldFlags::SERVER, Simulation, |mut ran: ResMut<Ran>| ran.both += 1)
            .add_systems_in(WorldFlags::THIN_CLIENT, Simulation, |mut ran: ResMut<Ran>| ran.thin += 1)
            .add_systems_in(WorldFlags::SERVER, Presentation, |mut ran: ResMut<Ran>| ran.presentation += 100)
            .add_systems(Startup, |mut ran: ResMut<Ran>| ran.startup += 1)
            .add_systems(Simulation, |mut ran: ResMut<Ran>| ran.plain += 1)
            .add_systems(GhostInput, |mut ran: ResMut<Ran>| ran.plain_input += 1)
            .add_systems(Presentation, |mut ran: ResMut<Ran>| ran.presentation += 1);
    }
}

fn connected(plugin: impl Plugin) -> Fleet {
    let mut fleet = Fleet::builder().plugin(plugin).thin_clients(1).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    fleet.ticks(20);
    fleet
}

#[test]
fn a_system_runs_in_the_worlds_that_it_is_meant_for() {
    let mut fleet = connected(Filters);
    let server = fleet.server().world().resource::<Ran>();
    assert!(server.server > 0 && server.both > 0 && server.plain > 0);
    assert_eq!((server.local, server.client, server.thin), (0, 0, 0));
    assert_eq!((server.plain_input, server.presentation), (0, 0), "a server has no such schedules");
    assert_eq!(server.startup, 1);
    let client = fleet.client(0).world().resource::<Ran>();
    assert!(
        client.client > 0 && client.both > 0 && client.plain > 0 && client.plain_input > 0 && client.presentation > 0
    );
    assert_eq!((client.local, client.server, client.thin, client.startup), (0, 0, 0, 1));
    assert_eq!(
        client.presentation % 100,
        client.presentation,
        "a flag brings no system into a world that it does not name"
    );
}

#[test]
fn a_plain_system_never_runs_in_a_thin_client() {
    let mut fleet = connected(Filters);
    let thin = fleet.thin_client(0).world().resource::<Ran>();
    assert!(thin.thin > 0);
    assert_eq!((thin.plain, thin.plain_input, thin.presentation, thin.client, thin.both), (0, 0, 0, 0, 0));
    let frame = describe_frame(fleet.thin_client(0).world());
    assert!(!frame.contains("GhostInput") && !frame.contains("Presentation"), "{frame}");
    assert!(frame.contains("schedule Simulation: 1 systems"), "{frame}");
}

#[test]
fn the_description_of_a_frame_lists_what_runs_there_in_order() {
    let mut fleet = connected(Filters);
    let server = describe_frame(fleet.server().world());
    let order = [
        "datagrams in",
        "commands into their buffers",
        "prediction",
        "schedule Simulation: 3 systems",
        "snapshots out",
        "datagrams out",
    ];
    let places: Vec<Option<usize>> = order.iter().map(|step| server.find(step)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} in\n{server}");
    assert!(!server.contains("GhostInput") && !server.contains("Presentation"), "{server}");
    let client = describe_frame(fleet.client(0).world());
    let order = [
        "datagrams in",
        "snapshots into",
        "schedule GhostInput: 1 systems",
        "command packet out",
        "prediction",
        "schedule Presentation: 1 systems",
    ];
    let places: Vec<Option<usize>> = order.iter().map(|step| client.find(step)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} in\n{client}");
    assert!(!client.contains("snapshots out"), "{client}");
}

/// What ran, in order: the schedules of one frame.
#[derive(Resource, Default)]
struct Trace(Vec<&'static str>);

struct Traced;

macro_rules! trace {
    ($app:ident, $($schedule:ident),*) => { $(
        $app.add_systems($schedule, |mut trace: ResMut<Trace>| trace.0.push(stringify!($schedule)));
        $app.add_systems_in(WorldFlags::THIN_CLIENT, $schedule, |mut trace: ResMut<Trace>| trace.0.push(stringify!($schedule)));
    )* };
}

impl Plugin for Traced {
    fn build(&self, app: &mut App) {
        app.add_plugins(Game).init_resource::<Trace>();
        // In no order of their own.
        trace!(
            app,
            Presentation,
            PredictedSimulation,
            Simulation,
            GhostInput,
            LateSimulation,
            BeforeNetworkReceive,
            Initialization,
            PredictedFixedStepSimulation,
            AfterNetworkReceive
        );
    }
}

#[test]
fn the_schedules_of_a_frame_run_in_the_order_of_the_table_in_every_kind_of_world() {
    let rate = ClientServerTickRate { predicted_fixed_step_simulation_tick_ratio: 2, ..unmerged() };
    let mut fleet = Fleet::builder().plugin(Traced).thin_clients(1).tick_rate(rate).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    let id = fleet.client(0).network_id().unwrap();
    fleet.server().world_mut().spawn_ghost::<Player>(GhostOwner(id));
    fleet.ticks(40);
    fleet.server().world_mut().insert_resource(Trace::default());
    fleet.client(0).world_mut().insert_resource(Trace::default());
    fleet.thin_client(0).world_mut().insert_resource(Trace::default());
    fleet.tick();
    const PASS_BEGINS: [&str; 2] = ["BeforeNetworkReceive", "AfterNetworkReceive"];
    const TICK: [&str; 3] = ["PredictedFixedStepSimulation", "PredictedFixedStepSimulation", "PredictedSimulation"];
    const PASS_ENDS: [&str; 2] = ["Simulation", "LateSimulation"];
    let server: Vec<&str> = [&["Initialization"][..], &PASS_BEGINS, &TICK, &PASS_ENDS].concat();
    assert_eq!(fleet.server().world().resource::<Trace>().0, server);
    // A part of a tick has no sub-step, unless a whole one fits.
    let part: &[&str] = if fleet.client(0).network_time().is_partial_tick() { &["PredictedSimulation"] } else { &[] };
    let client: Vec<&str> =
        [&["Initialization"][..], &PASS_BEGINS, &["GhostInput"], &TICK, part, &PASS_ENDS, &["Presentation"]].concat();
    assert_eq!(fleet.client(0).world().resource::<Trace>().0, client);
    let thin: Vec<&str> = [&["Initialization"][..], &PASS_BEGINS, &["GhostInput"], &PASS_ENDS].concat();
    assert_eq!(fleet.thin_client(0).world().resource::<Trace>().0, thin);
    // A server that catches up repeats the pass; the frame's own schedules run once.
    fleet.server().world_mut().insert_resource(Trace::default());
    fleet.tick_server(FRAME * 3);
    let pass = [&PASS_BEGINS[..], &TICK, &PASS_ENDS].concat();
    let expected = [&["Initialization"][..], &pass, &pass, &pass].concat();
    assert_eq!(fleet.server().world().resource::<Trace>().0, expected);
}

#[test]
fn the_description_names_the_systems_of_a_schedule_in_their_order() {
    fn first() {}
    fn second() {}
    fn third() {}
    fn game(app: &mut App) {
        app.add_systems(Simulation, (third.after(second), second.after(first), first)).add_systems_in(
            WorldFlags::CLIENT,
            PredictedSimulation,
            second,
        );
    }
    let mut fleet = Fleet::builder().plugin(game).build();
    let describe = |world: &mut World| {
        build_schedules(world);
        describe_frame(world)
    };
    let server = describe(fleet.server().world_mut());
    let client = describe(fleet.client(0).world_mut());
    for text in [&server, &client] {
        let places: Vec<usize> =
            ["first", "second", "third"].iter().map(|name| text.rfind(&format!("::{name}")).unwrap()).collect();
        assert!(places.is_sorted(), "{places:?} in\n{text}");
    }
    let prediction = client.find("schedule PredictedSimulation: 1 systems").unwrap();
    assert!(client[prediction..].lines().nth(1).unwrap().ends_with("::second"), "{client}");
    assert!(server.contains("schedule PredictedSimulation: 0 systems"), "{server}");
}

/// Which worlds ran, in order: shared by all worlds of a test.
#[derive(Resource, Clone, Default)]
struct Order(std::sync::Arc<std::sync::Mutex<Vec<String>>>);

#[test]
fn worlds_run_in_the_configured_order_in_every_frame() {
    for (order, expected) in [
        (WorldOrder::ClientFirst, ["client a", "client b", "thin", "server"]),
        (WorldOrder::ServerFirst, ["server", "client a", "client b", "thin"]),
    ] {
        let log = Order::default();
        let shared = log.clone();
        let game = move |app: &mut App| {
            app.insert_resource(shared.clone()).add_systems_in(
                WorldFlags::ALL,
                Initialization,
                |log: Res<Order>, name: Res<Name>| log.0.lock().unwrap().push(name.0.clone()),
            );
        };
        let mut worlds =
            Worlds::new(ClientServerBootstrap::new(game).drivers(InProcessDrivers::default()).order(order));
        worlds.create_server_world("server").unwrap();
        worlds.create_client_world("client a").unwrap();
        worlds.create_thin_client_world("thin").unwrap();
        worlds.create_client_world("client b").unwrap();
        for world in worlds.iter_mut() {
            let name = Name(world.name().to_owned());
            world.world_mut().insert_resource(name);
        }
        for frame in 0..20 {
            worlds.run_frame(FRAME);
            let ran = std::mem::take(&mut *log.0.lock().unwrap());
            assert_eq!(ran, expected, "{order:?}, frame {frame}");
        }
    }
}

#[derive(Resource)]
struct Name(String);

#[test]
fn a_thin_client_has_no_ghost_after_five_seconds_in_the_game_and_decodes_no_row() {
    let mut fleet = Fleet::builder().plugin(Game).thin_clients(1).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    for _ in 0..20 {
        fleet.server().world_mut().spawn_ghost::<Crate>(Position::default());
    }
    fleet.ticks(300);
    assert!(fleet.thin_client(0).network_id().is_some());
    let world = fleet.thin_client(0).world_mut();
    assert_eq!(count::<GhostInstance>(world), 0);
    let stats = world.resource::<ghostline::stats::NetworkStats>();
    assert!(stats.received_snapshot_packets > 280 && stats.decoded_rows == 0, "{stats:?}");
    assert!(stats.sent_command_packets > 280, "and it sends commands, and with them acknowledgements");
    assert_eq!(count::<GhostInstance>(fleet.client(0).world_mut()), 20);
}

#[test]
fn a_thin_clients_schedules_hold_what_opted_in_and_nothing_else() {
    fn opted_in() {}
    fn plain() {}
    fn game(app: &mut App) {
        app.add_plugins(Game)
            .add_systems(Simulation, plain)
            .add_systems(GhostInput, plain)
            .add_systems(PredictedSimulation, plain)
            .add_systems(AfterNetworkReceive, plain)
            .add_systems_in(WorldFlags::CLIENT | WorldFlags::SERVER, Simulation, plain)
            .add_systems_in(WorldFlags::THIN_CLIENT, GhostInput, opted_in);
    }
    let mut fleet = Fleet::builder().plugin(game).thin_clients(1).build();
    let world = fleet.thin_client(0).world_mut();
    build_schedules(world);
    let text = describe_frame(world);
    let of_the_game: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.starts_with("library")).collect();
    let [start, pass, schedule, system, end] = of_the_game[..] else { panic!("{text}") };
    assert_eq!(
        [start, pass, schedule, end],
        ["frame start", "simulation pass", "schedule GhostInput: 1 systems", "frame end"]
    );
    assert!(system.ends_with("::opted_in"), "{text}");
    let schedules = world.resource::<Schedules>();
    let systems: usize = schedules.iter().map(|(_, schedule)| schedule.graph().systems.len()).sum();
    assert_eq!(systems, 1, "in no schedule at all");
}

#[test]
fn a_system_in_a_schedule_that_never_runs_is_reported_once_per_world() {
    fn game(app: &mut App) {
        app.add_systems(Update, || {});
    }
    let mut fleet = Fleet::builder().plugin(game).build();
    fleet.logs().expect("systems in Update never run in this world.*Simulation");
    fleet.ticks(20);
    assert_eq!(fleet.logs().count("Update never run"), 2, "once on the server, once on the client");
}

#[derive(Message, Clone)]
struct Noise;

#[test]
fn messages_are_dropped_after_two_passes_in_every_kind_of_world() {
    fn noisy(app: &mut App) {
        app.add_message::<Noise>()
            .add_systems(Simulation, |mut out: MessageWriter<Noise>| {
                out.write(Noise);
            })
            .add_systems_in(WorldFlags::THIN_CLIENT, Simulation, |mut out: MessageWriter<Noise>| {
                out.write(Noise);
            });
    }
    let mut fleet = connected(noisy);
    for _ in 0..100 {
        fleet.tick();
        for held in [
            fleet.server().world().resource::<Messages<Noise>>().len(),
            fleet.client(0).world().resource::<Messages<Noise>>().len(),
            fleet.thin_client(0).world().resource::<Messages<Noise>>().len(),
        ] {
            assert!((1..=2).contains(&held), "{held} messages are held");
        }
    }
}

#[derive(Resource, Default)]
struct ExitAt(Option<u32>);

struct Exiting;

impl Plugin for Exiting {
    fn build(&self, app: &mut App) {
        app.init_resource::<ExitAt>().add_systems(
            Simulation,
            |time: Res<NetworkTime>, at: Res<ExitAt>, mut exit: MessageWriter<AppExit>| {
                if at.0.is_some() && time.server_tick.map(NetworkTick::index) == at.0 {
                    exit.write(AppExit::from_code(3));
                }
            },
        );
    }
}

#[test]
fn an_exit_asked_for_in_any_pass_of_a_frame_ends_the_run() {
    let rate = ClientServerTickRate { max_simulation_steps_per_frame: 8, ..ClientServerTickRate::default() };
    let mut worlds = ClientServerBootstrap::new(Exiting).tick_rate(rate).play_type(PlayType::Server).build().unwrap();
    worlds.run_frame(FRAME);
    assert_eq!(worlds.should_exit(), None);
    let server = worlds.iter_mut().next().unwrap().world_mut();
    let now = server.resource::<NetworkTime>().server_tick.unwrap().index();
    server.resource_mut::<ExitAt>().0 = Some(now + 1);
    // Six passes in one frame: the first of them asks.
    worlds.run_frame(FRAME * 6);
    assert!(worlds.server_world().unwrap().world().resource::<NetworkTime>().server_tick.unwrap().index() >= now + 5);
    assert_eq!(worlds.should_exit(), Some(AppExit::from_code(3)));
}

#[test]
fn an_error_of_one_world_goes_before_the_success_of_another() {
    let mut worlds = ClientServerBootstrap::new(Exiting).build().unwrap();
    worlds.run_frame(FRAME);
    worlds.iter_mut().next().unwrap().world_mut().write_message(AppExit::Success);
    assert_eq!(worlds.should_exit(), Some(AppExit::Success));
    worlds.iter_mut().last().unwrap().world_mut().write_message(AppExit::error());
    assert_eq!(worlds.should_exit(), Some(AppExit::error()));
}

#[test]
fn the_play_type_decides_which_worlds_are_made_and_a_disposed_one_is_gone() {
    for (play_type, kinds) in [
        (PlayType::ClientAndServer, vec![WorldKind::Server, WorldKind::Client, WorldKind::ThinClient]),
        (PlayType::Client, vec![WorldKind::Client, WorldKind::ThinClient]),
        (PlayType::Server, vec![WorldKind::Server, WorldKind::ThinClient]),
    ] {
        let mut worlds = ClientServerBootstrap::new(Game).play_type(play_type).thin_clients(1).build().unwrap();
        assert_eq!(worlds.iter().map(|world| world.kind()).collect::<Vec<_>>(), kinds);
        let ids: Vec<WorldId> = worlds.iter().map(|world| world.id()).collect();
        for id in ids {
            assert!(worlds.dispose(id) && !worlds.dispose(id) && worlds.get(id).is_none());
        }
        assert_eq!(worlds.iter().count(), 0);
    }
}

#[test]
fn two_lines_of_set_up_connect_a_client_with_its_server() {
    let mut worlds = ClientServerBootstrap::new(|app: &mut App| {
        app.add_plugins(Game).go_in_game_when_connected();
    })
    .drivers(InProcessDrivers::default())
    .auto_connect(7979)
    .thin_clients(2)
    .build()
    .unwrap();
    for _ in 0..60 {
        worlds.run_frame(FRAME);
    }
    for world in worlds.iter_mut() {
        let in_game = count::<NetworkStreamInGame>(world.world_mut());
        assert_eq!(in_game, if world.kind() == WorldKind::Server { 3 } else { 1 }, "{}", world.name());
    }
}

#[test]
fn a_local_world_runs_input_and_prediction_without_a_network() {
    #[derive(Resource, Default)]
    struct Predicted(u32);
    fn game(app: &mut App) {
        app.add_plugins(Filters)
            .init_resource::<Predicted>()
            .add_systems(PredictedSimulation, |mut predicted: ResMut<Predicted>| predicted.0 += 1);
    }
    let mut worlds = Worlds::new(ClientServerBootstrap::new(game));
    let id = worlds.create_local_world("menu").unwrap();
    for _ in 0..10 {
        worlds.run_frame(FRAME);
    }
    let world = worlds.get(id).unwrap().world();
    let ran = world.resource::<Ran>();
    assert!(ran.local > 0 && ran.plain > 0 && ran.plain_input > 0 && ran.presentation > 0);
    assert_eq!((ran.client, ran.server, ran.both, ran.thin), (0, 0, 0, 0));
    assert!(world.resource::<Predicted>().0 > 0);
    assert!(
        world.get_resource::<NetworkStreamDriver>().is_none() && world.get_resource::<ConnectionEvents>().is_none()
    );
}

#[test]
fn what_is_put_into_one_world_is_in_no_other() {
    let mut fleet = Fleet::builder().plugin(Game).clients(2).link(LinkProfile::in_process()).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    fleet.ticks(20);
    fleet.server().world_mut().spawn(Health { points: 1 });
    fleet.client(0).world_mut().spawn(Health { points: 2 });
    fleet.ticks(20);
    assert_eq!(count::<Health>(fleet.server().world_mut()), 1);
    assert_eq!(count::<Health>(fleet.client(0).world_mut()), 1);
    assert_eq!(count::<Health>(fleet.client(1).world_mut()), 0);
}

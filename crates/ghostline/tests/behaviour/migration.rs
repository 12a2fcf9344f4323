//! World migration: WMIG-01, NEW-71, and the W rows of the feature table about it. A world goes, another takes its place, and the peers
//! notice nothing but a new start of the ghosts.

use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use ghostline::prelude::*;
use ghostline::rpc::FixedString;
use ghostline::time::NetworkTime;
use ghostline::world::{InProcessDrivers, MigrationError, MigrationTicket, PreparedWorld, WorldError, WorldMigration};
use ghostline_testkit::{FRAME, LinkProfile, WorldOrder};

use crate::common::*;
use crate::finger::{Finger, Fingers, Seen};

/// A numbered message, padded so that some need several datagrams.
#[derive(Component, RpcCommand, Clone)]
struct Numbered {
    number: u32,
    padding: FixedString<4000>,
}

/// What a client shows before it is let in.
#[derive(Component, ApprovalRpcCommand)]
struct Password {
    word: u32,
}

/// The game's own, on connection entities: one that is to travel, one that is not.
#[derive(Component, Clone, PartialEq, Debug)]
struct Score(u32);

#[derive(Component)]
struct LocalNote;

/// Numbers of the RPCs that arrived in this world, in order.
#[derive(Resource, Default)]
struct Arrived(Vec<u32>);

/// Whether the server lets in who knows the password.
#[derive(Resource)]
struct LetsIn(bool);

struct Levels;

impl Plugin for Levels {
    fn build(&self, app: &mut App) {
        app.add_plugins((Game, Fingers))
            .register_rpc::<Numbered>()
            .register_approval_rpc::<Password>()
            .migrate_component::<Score>()
            .init_resource::<Arrived>()
            .insert_resource(LetsIn(true))
            .add_systems(Simulation, note_arrivals)
            .add_systems_in(WorldFlags::SERVER, Simulation, (spawn_players, let_in));
    }
}

fn note_arrivals(
    mut commands: Commands,
    mut arrived: ResMut<Arrived>,
    rpcs: Query<(Entity, &Numbered, &ReceiveRpcCommandRequest)>,
) {
    let mut sorted: Vec<_> = rpcs.iter().collect();
    sorted.sort_by_key(|(_, _, request)| request.sequence());
    for (entity, rpc, _) in sorted {
        arrived.0.push(rpc.number);
        commands.entity(entity).despawn();
    }
}

fn spawn_players(mut commands: Commands, newcomers: Query<&NetworkId, Added<NetworkStreamInGame>>) {
    for &id in &newcomers {
        commands.spawn_ghost::<Player>(GhostOwner(id));
    }
}

fn let_in(mut commands: Commands, lets_in: Res<LetsIn>, words: Query<(Entity, &Password, &ReceiveRpcCommandRequest)>) {
    for (entity, password, request) in words.iter().filter(|_| lets_in.0) {
        assert_eq!(password.word, 7);
        commands.entity(request.source_connection).insert(ConnectionApproved);
        commands.entity(entity).despawn();
    }
}

fn fleet(link: LinkProfile, clients: usize, order: WorldOrder) -> Fleet {
    let mut fleet =
        Fleet::builder().plugin(Levels).clients(clients).link(link).order(order).seed(5).tick_rate(unmerged()).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    fleet.ticks(60);
    fleet
}

fn numbered(number: u32, bytes: usize) -> Numbered {
    Numbered { number, padding: "x".repeat(bytes).as_str().into() }
}

/// Sends a numbered RPC from every side to every other.
fn send_everywhere(fleet: &mut Fleet, number: u32, bytes: usize) {
    fleet.server().world_mut().spawn((numbered(number, bytes), SendRpcCommandRequest::default()));
    for client in 0..fleet.client_count() {
        fleet.client(client).world_mut().spawn((numbered(number, bytes), SendRpcCommandRequest::default()));
    }
}

fn arrived(world: &World) -> &[u32] {
    &world.resource::<Arrived>().0
}

fn owned_player(fleet: &mut Fleet, client: usize) -> usize {
    let world = fleet.client(client).world_mut();
    world.query_filtered::<(), (With<Player>, With<GhostOwnerIsLocal>)>().iter(world).count()
}

const LINKS: [fn() -> LinkProfile; 4] = [
    LinkProfile::in_process,
    LinkProfile::perfect,
    || LinkProfile::rtt(60),
    || LinkProfile::perfect().with_periodic_loss(3),
];

const ORDERS: [WorldOrder; 2] = [WorldOrder::ServerFirst, WorldOrder::ClientFirst];

#[test]
fn rpcs_work_each_way_before_and_after_both_worlds_were_replaced() {
    for order in ORDERS {
        let mut fleet = fleet(LinkProfile::perfect(), 1, order);
        send_everywhere(&mut fleet, 1, 0);
        fleet.ticks(15);
        assert_eq!(arrived(fleet.server().world()), [1]);
        assert_eq!(arrived(fleet.client(0).world()), [1]);
        let before = (*fleet.server().world().resource::<WorldId>(), *fleet.client(0).world().resource::<WorldId>());
        fleet.migrate_server();
        fleet.migrate_client(0);
        let after = (*fleet.server().world().resource::<WorldId>(), *fleet.client(0).world().resource::<WorldId>());
        assert!(before.0 != after.0 && before.1 != after.1, "they are other worlds");
        assert!(arrived(fleet.server().world()).is_empty(), "with a game that begins anew");
        fleet.ticks(15);
        send_everywhere(&mut fleet, 2, 0);
        fleet.ticks(15);
        assert_eq!(arrived(fleet.server().world()), [2]);
        assert_eq!(arrived(fleet.client(0).world()), [2]);
    }
}

/// Who a client is, as both sides know it.
fn identity(world: &mut World) -> Vec<(NetworkId, ConnectionUniqueId)> {
    let mut found: Vec<_> =
        world.query::<(&NetworkId, &ConnectionUniqueId)>().iter(world).map(|(a, b)| (*a, *b)).collect();
    found.sort_unstable();
    found
}

#[test]
fn clients_of_a_server_that_migrates_notice_a_new_start_of_the_ghosts_and_nothing_else() {
    for link in LINKS {
        for order in ORDERS {
            let mut fleet = fleet(link(), 2, order);
            let tick = fleet.server().server_tick().unwrap();
            let elapsed = fleet.server().network_time().elapsed_network_time;
            let ids = identity(fleet.server().world_mut());
            assert_eq!((ids.len(), owned_player(&mut fleet, 0)), (2, 1));
            fleet.migrate_server();
            assert_eq!(identity(fleet.server().world_mut()), ids);
            assert_eq!(count::<NetworkStreamInGame>(fleet.server().world_mut()), 2, "the tag travels");
            assert_eq!(count::<Player>(fleet.server().world_mut()), 0, "ghosts stay behind");
            let mut events = Vec::new();
            for _ in 0..90 {
                fleet.tick();
                events.extend(fleet.server().events());
                (0..2).for_each(|client| events.extend(fleet.client(client).events()));
            }
            assert_eq!(events, [], "{order:?}");
            let now = fleet.server().network_time().clone();
            assert_eq!(now.server_tick.unwrap().ticks_since(tick), 90, "ticks go on");
            assert!((now.elapsed_network_time - elapsed - 1.5).abs() < 1e-6, "and so does time");
            for (client, &id) in ids.iter().enumerate() {
                assert_eq!(owned_player(&mut fleet, client), 1, "the new world's player, and not the old one's");
                assert_eq!(count::<Player>(fleet.client(client).world_mut()), 2);
                assert_eq!(identity(fleet.client(client).world_mut()), [id]);
            }
        }
    }
}

#[test]
fn the_server_of_a_client_that_migrates_notices_nothing_and_the_ghosts_come_again() {
    for link in LINKS {
        for order in ORDERS {
            let mut fleet = fleet(link(), 2, order);
            let ids = identity(fleet.client(0).world_mut());
            let before = fleet.client(0).network_time().clone();
            fleet.migrate_client(0);
            assert_eq!(count::<Player>(fleet.client(0).world_mut()), 0);
            let mut last = before.server_tick.unwrap();
            let mut events = Vec::new();
            for _ in 0..90 {
                fleet.tick();
                events.extend(fleet.server().events());
                events.extend(fleet.client(0).events());
                let now = fleet.client(0).server_tick().unwrap();
                assert!(!now.is_older_than(last), "the prediction clock goes on");
                last = now;
            }
            assert_eq!(events, [], "{order:?}");
            assert_eq!((owned_player(&mut fleet, 0), count::<Player>(fleet.client(0).world_mut())), (1, 2));
            assert_eq!(identity(fleet.client(0).world_mut()), ids);
            let time: &NetworkTime = fleet.client(0).network_time();
            assert!(time.elapsed_network_time > before.elapsed_network_time + 1.3);
        }
    }
}

#[test]
fn rpcs_under_way_survive_twice_in_a_row_in_order_and_once_under_loss() {
    for (seed, link) in LINKS.into_iter().enumerate() {
        for rests in [0, 1, 3] {
            let mut fleet = fleet(link(), 2, ORDERS[seed % 2]);
            let mut server_got = Vec::new();
            let mut client_got = [Vec::new(), Vec::new()];
            let mut number = 0;
            for round in 0..6 {
                for _ in 0..4 {
                    number += 1;
                    // Some are larger than a datagram, and so several parts under way.
                    send_everywhere(&mut fleet, number, if number % 3 == 0 { 3900 } else { 10 });
                    fleet.ticks(rests);
                }
                server_got.extend_from_slice(arrived(fleet.server().world()));
                (0..2).for_each(|client| client_got[client].extend_from_slice(arrived(fleet.client(client).world())));
                for _ in 0..=round % 2 {
                    fleet.migrate_server();
                    fleet.migrate_client(0);
                    fleet.migrate_client(1);
                }
            }
            fleet.ticks(150);
            server_got.extend_from_slice(arrived(fleet.server().world()));
            let expected: Vec<u32> = (1..=number).collect();
            for (client, got) in client_got.iter_mut().enumerate() {
                got.extend_from_slice(arrived(fleet.client(client).world()));
                assert_eq!(*got, expected, "link {seed}, {rests} ticks between");
            }
            // Two clients have sent each number, each of them in order.
            let mut sorted = server_got.clone();
            sorted.sort_unstable();
            let twice: Vec<u32> = expected.iter().flat_map(|&number| [number, number]).collect();
            assert_eq!(sorted, twice, "link {seed}, {rests} ticks between");
        }
    }
}

#[test]
fn a_press_is_seen_exactly_once_however_often_the_client_migrates() {
    for (seed, link) in LINKS.into_iter().enumerate() {
        let mut fleet = fleet(link(), 1, ORDERS[seed % 2]);
        let mut pressed = 0;
        for frame in 0..600 {
            fleet.client(0).world_mut().resource_mut::<Finger>().press = frame % 5 == 0;
            if frame % 90 == 50 {
                pressed += fleet.client(0).world().resource::<Finger>().pressed;
                fleet.migrate_client(0);
            }
            fleet.tick();
            let total = pressed + fleet.client(0).world().resource::<Finger>().pressed;
            assert!(
                fleet.server().world().resource::<Seen>().total() <= total,
                "seen twice at frame {frame}, link {seed}"
            );
        }
        fleet.client(0).world_mut().resource_mut::<Finger>().press = false;
        fleet.ticks(60);
        pressed += fleet.client(0).world().resource::<Finger>().pressed;
        assert!(pressed > 60, "{pressed}");
        assert_eq!(fleet.server().world().resource::<Seen>().total(), pressed, "link {seed}");
    }
}

#[test]
fn a_client_that_waits_for_approval_is_let_in_by_the_new_world() {
    for (seed, link) in LINKS.into_iter().enumerate() {
        for migrations in [1, 2] {
            let case = format!("link {seed}, {migrations} migrations");
            let mut fleet = Fleet::builder().plugin(Levels).clients(1).link(link()).seed(seed as u64).build();
            fleet.server().world_mut().require_connection_approval(true).unwrap();
            fleet.client(0).world_mut().require_connection_approval(true).unwrap();
            fleet.listen();
            fleet.server().world_mut().resource_mut::<LetsIn>().0 = false;
            fleet.connect(0);
            fleet.client(0).world_mut().spawn((Password { word: 7 }, SendRpcCommandRequest::default()));
            fleet.ticks(30);
            let state = |fleet: &mut Fleet| {
                let world = fleet.server().world_mut();
                world.query::<&NetworkStreamConnection>().single(world).unwrap().state
            };
            assert_eq!(state(&mut fleet), ConnectionStatus::Approval, "{case}");
            fleet.logs().tolerate("nobody has consumed it");
            // The password lies unconsumed in the old world; the new one's game finds it again, and lets the client in.
            for _ in 0..migrations {
                fleet.migrate_server();
                fleet.migrate_client(0);
                assert_eq!(state(&mut fleet), ConnectionStatus::Approval, "{case}");
            }
            fleet.ticks(20);
            assert_eq!(state(&mut fleet), ConnectionStatus::Connected, "{case}");
            assert!(fleet.client(0).network_id().is_some(), "{case}");
        }
    }
}

#[test]
fn a_client_that_still_connects_or_shakes_hands_goes_on_in_its_new_world() {
    for ticks in 0..5 {
        let mut fleet = Fleet::builder().plugin(Levels).clients(1).build();
        fleet.listen();
        fleet.connect(0);
        fleet.ticks(ticks);
        fleet.migrate_client(0);
        fleet.migrate_server();
        fleet.ticks(8);
        assert!(fleet.client(0).network_id().is_some(), "migrated after {ticks} ticks");
        assert_eq!(identity(fleet.client(0).world_mut()), identity(fleet.server().world_mut()));
    }
}

#[test]
fn free_ids_and_sessions_are_remembered_by_the_new_server() {
    let mut fleet = fleet(LinkProfile::perfect(), 3, WorldOrder::ServerFirst);
    let second = fleet.client(1).connections()[0];
    let before = identity(fleet.client(1).world_mut());
    fleet.client(1).world_mut().disconnect(second, DisconnectReason::ConnectionClose);
    fleet.ticks(4);
    fleet.migrate_server();
    fleet.connect(1);
    fleet.ticks(8);
    assert_eq!(identity(fleet.client(1).world_mut()), before, "the freed id, and the unique id that it proved");
    assert_eq!(count::<NetworkStreamIsReconnected>(fleet.server().world_mut()), 1);
    let next = fleet.add_client("late");
    fleet.connect(next);
    fleet.ticks(8);
    assert_eq!(fleet.client(next).network_id(), Some(NetworkId(4)), "and never one that is taken");
}

#[test]
fn a_component_of_the_game_travels_if_it_is_registered() {
    let mut fleet = fleet(LinkProfile::perfect(), 1, WorldOrder::ServerFirst);
    let connection = fleet.server().connections()[0];
    fleet.server().world_mut().entity_mut(connection).insert((Score(12), LocalNote));
    fleet.migrate_server();
    let world = fleet.server().world_mut();
    assert_eq!(world.query::<&Score>().single(world).unwrap(), &Score(12));
    assert_eq!(count::<LocalNote>(world), 0);
    let connection = fleet.server().connections()[0];
    assert!(fleet.server().world().get::<Score>(connection).is_some(), "on the connection");
}

#[test]
fn rates_that_were_changed_go_on_in_the_new_server() {
    let mut fleet = fleet(LinkProfile::perfect(), 1, WorldOrder::ServerFirst);
    fleet.server().world_mut().resource_mut::<ClientServerTickRate>().network_tick_rate = 20;
    fleet.migrate_server();
    assert_eq!(fleet.server().world().resource::<ClientServerTickRate>().network_tick_rate, 20);
}

/// A server and a client in `Worlds`, connected and in the game.
fn worlds() -> Worlds {
    fn game(app: &mut App) {
        app.add_plugins(Levels).go_in_game_when_connected();
    }
    let mut worlds =
        ClientServerBootstrap::new(game).drivers(InProcessDrivers::default()).auto_connect(7979).build().unwrap();
    run(&mut worlds, 30);
    worlds
}

fn run(worlds: &mut Worlds, frames: usize) {
    for _ in 0..frames {
        worlds.run_frame(FRAME);
    }
}

fn in_game(worlds: &mut Worlds) -> Vec<usize> {
    worlds.iter_mut().map(|world| count::<NetworkStreamInGame>(world.world_mut())).collect()
}

#[test]
fn a_ticket_without_a_target_gives_the_world_back_without_systems_and_a_creator_makes_it_serve_on() {
    let mut worlds = worlds();
    let old = worlds.server_world().unwrap().id();
    let ticket = worlds.store_world(old).unwrap();
    assert!(worlds.dispose(old));
    run(&mut worlds, 3);
    let mut prepared = worlds.load_world(ticket).unwrap();
    assert_eq!((prepared.name(), prepared.kind()), ("server", Some(WorldKind::Server)));
    assert!(is_server(prepared.world()));
    assert_eq!(prepared.world().get_resource::<MigrationTicket>(), Some(&ticket));
    assert!(prepared.world().get_resource::<Arrived>().is_none(), "nothing of the game");
    assert_eq!(count::<NetworkStreamConnection>(prepared.world_mut()), 1);
    let schedules = prepared.world().resource::<Schedules>();
    let own = schedules.iter().filter(|(_, schedule)| !format!("{:?}", schedule.label()).contains("First"));
    assert_eq!(own.count(), 0, "no systems");
    let new = worlds.create_server_world_in("the next level", prepared).unwrap();
    assert_eq!(worlds.server_world().unwrap().id(), new);
    run(&mut worlds, 60);
    assert_eq!(in_game(&mut worlds), [1, 1]);
    let world = worlds.get_mut(new).unwrap();
    assert!(world.world_mut().resource::<NetworkStreamDriver>().is_listening(), "it goes on listening");
    assert_eq!(count::<Player>(world.world_mut()), 1);
}

#[test]
fn a_ticket_can_be_loaded_into_a_world_that_the_game_has_prepared() {
    let mut worlds = worlds();
    let old = worlds.client_world().unwrap().id();
    let ticket = worlds.store_world(old).unwrap();
    worlds.dispose(old);
    let mut target = PreparedWorld::new();
    target.world_mut().spawn(LocalNote);
    worlds.load_world_into(ticket, &mut target).unwrap();
    assert_eq!(target.kind(), Some(WorldKind::Client));
    let new = worlds.create_client_world_in("client", target).unwrap();
    run(&mut worlds, 60);
    assert_eq!(in_game(&mut worlds), [1, 1]);
    assert_eq!(count::<LocalNote>(worlds.get_mut(new).unwrap().world_mut()), 1);
}

#[test]
fn wrong_used_and_late_tickets_are_errors() {
    let mut worlds = worlds();
    let made_up = MigrationTicket { value: 17 };
    assert_eq!(worlds.load_world(made_up).err(), Some(MigrationError::UnknownTicket(made_up)));
    assert_eq!(worlds.store_world(WorldId(99)), Err(MigrationError::UnknownWorld));
    let menu = worlds.create_local_world("menu").unwrap();
    assert_eq!(worlds.store_world(menu), Err(MigrationError::NoNetwork(WorldKind::Local)));

    let server = worlds.server_world().unwrap().id();
    let ticket = worlds.store_world(server).unwrap();
    worlds.dispose(server);
    let mut late = PreparedWorld::new();
    late.world_mut().init_resource::<Schedules>();
    late.world_mut().resource_mut::<Schedules>().add_systems(Simulation, || {});
    let error = worlds.load_world_into(ticket, &mut late);
    assert_eq!(error, Err(MigrationError::TargetHasSystems { schedule: "Simulation".into() }));

    let prepared = worlds.load_world(ticket).unwrap();
    assert_eq!(worlds.load_world(ticket).err(), Some(MigrationError::UsedTicket(ticket)));
    assert_eq!(worlds.load_world_into(ticket, &mut PreparedWorld::new()), Err(MigrationError::UsedTicket(ticket)));
    let error = worlds.create_client_world_in("client", prepared).unwrap_err();
    let (prepared, wanted) = (WorldKind::Server, WorldKind::Client);
    assert_eq!(error, WorldError::PreparedForAnotherKind { prepared, wanted });
}

#[test]
fn a_target_takes_one_ticket_of_its_own_kind() {
    let mut worlds = worlds();
    let (server, client) = (worlds.server_world().unwrap().id(), worlds.client_world().unwrap().id());
    let (first, second) = (worlds.store_world(server).unwrap(), worlds.store_world(client).unwrap());
    let mut target = PreparedWorld::new();
    worlds.load_world_into(first, &mut target).unwrap();
    assert_eq!(worlds.load_world_into(second, &mut target), Err(MigrationError::TargetIsMigrated(first)));
    assert_eq!(worlds.load_world(second).unwrap().kind(), Some(WorldKind::Client), "the ticket stayed good");
}

#[test]
fn a_world_that_speaks_another_protocol_cannot_take_over() {
    fn other(app: &mut App) {
        app.add_plugins(Game);
    }
    let mut old = worlds();
    let server = old.server_world().unwrap().id();
    let mut migration = WorldMigration::new();
    let stored = old.iter_mut().find(|world| world.id() == server).unwrap();
    let ticket = migration.store(stored).unwrap();
    let prepared = migration.load(ticket).unwrap();
    let mut new = Worlds::new(ClientServerBootstrap::new(other).drivers(InProcessDrivers::default()));
    let error = new.create_server_world_in("server", prepared).unwrap_err();
    assert_eq!(error, WorldError::Migration(MigrationError::ProtocolDiffers));
}

#[test]
fn a_ticket_that_nobody_loads_closes_its_connections_when_it_is_dropped() {
    let mut worlds = worlds();
    let server = worlds.server_world().unwrap().id();
    let mut migration = WorldMigration::new();
    migration.store(worlds.get_mut(server).unwrap()).unwrap();
    assert_eq!(migration.tickets().count(), 1);
    run(&mut worlds, 10);
    assert_eq!(in_game(&mut worlds), [0, 1], "the old world goes on without connections, and its peer waits");
    drop(migration);
    run(&mut worlds, 3);
    assert_eq!(in_game(&mut worlds), [0, 0]);
}

#[test]
fn a_thin_client_migrates_too() {
    let mut fleet = Fleet::builder().plugin(Levels).clients(0).thin_clients(1).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    fleet.ticks(30);
    let mut migration = WorldMigration::new();
    let ticket = migration.store(fleet.thin_client(0).net_world()).unwrap();
    let prepared = migration.load(ticket).unwrap();
    assert_eq!(prepared.kind(), Some(WorldKind::ThinClient));
    assert_eq!(count::<NetworkStreamInGame>(fleet.server().world_mut()), 1);
}

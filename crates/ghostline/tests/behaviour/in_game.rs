//! In the game or not, on each side by itself: C-05, C-53, C-54, C-69, C-71, C-72, C-81 and NEW-07.

use crate::common::*;
use bevy_app::App;
use bevy_ecs::prelude::*;
use ghostline::command::CommandBuffer;
use ghostline::connection::{
    IncomingCommandDataStreamBuffer, IncomingSnapshotDataStreamBuffer, NetworkSnapshotAck, NetworkStreamInGame,
};
use ghostline::prelude::*;
use ghostline::snapshot::newest_rows;
use ghostline::stats::NetworkStats;
use ghostline_testkit::{Direction, LinkProfile, MessageKind};

#[derive(Component, RpcCommand, Clone, Copy)]
struct Hello;

/// Hellos that this world has received.
#[derive(Resource, Default)]
struct Greeted(usize);

/// The game with players that hold a key, and a greeting for whoever says hello.
fn game(app: &mut App) {
    app.add_plugins(Game)
        .register_rpc::<Hello>()
        .init_resource::<Greeted>()
        .add_systems_in(WorldFlags::CLIENT, GhostInput, |mut inputs: Query<&mut PlayerInput>| {
            for mut input in &mut inputs {
                input.horizontal = 1;
            }
        })
        .add_systems(Simulation, count_hellos);
}

fn count_hellos(
    mut commands: Commands,
    mut greeted: ResMut<Greeted>,
    hellos: Query<Entity, (With<Hello>, With<ReceiveRpcCommandRequest>)>,
) {
    for hello in &hellos {
        greeted.0 += 1;
        commands.entity(hello).despawn();
    }
}

fn stats(world: &World) -> NetworkStats {
    *world.resource::<NetworkStats>()
}

/// A connected fleet that is not in the game, with a player's ghost and five crates at rest.
fn fleet(shape: Shape, link: LinkProfile) -> Fleet {
    let mut fleet = shape.fleet().plugin(game).link(link).build();
    fleet.connect_all();
    let server = fleet.server().world_mut();
    server.spawn_ghost::<Player>(GhostOwner(NetworkId(1)));
    for points in 0..5 {
        server.spawn_ghost::<Crate>((Position::default(), Health { points }));
    }
    fleet
}

fn set_in_game(fleet: &mut Fleet, on_server: bool, in_game: bool) {
    let side = if on_server { fleet.server() } else { fleet.client(0) };
    let connection = side.connections()[0];
    let mut connection = side.world_mut().entity_mut(connection);
    if in_game {
        connection.insert(NetworkStreamInGame);
    } else {
        connection.remove::<NetworkStreamInGame>();
    }
}

/// Says hello both ways and gives it so many ticks; whatever else flows, RPCs do.
fn assert_rpcs_flow(fleet: &mut Fleet, ticks: usize, context: &str) {
    let greeted = |fleet: &mut Fleet| {
        let on_server = fleet.server().world().resource::<Greeted>().0;
        (on_server, fleet.client(0).world().resource::<Greeted>().0)
    };
    let before = greeted(fleet);
    fleet.server().world_mut().spawn((Hello, SendRpcCommandRequest::default()));
    fleet.client(0).world_mut().spawn((Hello, SendRpcCommandRequest::default()));
    fleet.ticks(ticks);
    assert_eq!(greeted(fleet), (before.0 + 1, before.1 + 1), "{context}");
}

fn ghosts_on_client(fleet: &mut Fleet) -> usize {
    count::<GhostInstance>(fleet.client(0).world_mut())
}

#[test]
fn before_the_game_nothing_flows_but_rpcs() {
    for shape in SHAPES {
        let mut fleet = fleet(shape, LinkProfile::perfect());
        fleet.link(0).record();
        assert_rpcs_flow(&mut fleet, 30, "before the game");
        let kinds: Vec<u8> = fleet.link(0).recorded().iter().map(|message| message.bytes[0]).collect();
        assert!(kinds.len() >= 2 && kinds.iter().all(|&kind| kind == MessageKind::Rpc.byte()), "{kinds:?}");
        assert_eq!(stats(fleet.server().world()).sent_snapshot_packets, 0);
        assert_eq!(stats(fleet.client(0).world()).sent_command_packets, 0);
        fleet.go_in_game_all();
        fleet.ticks(16);
        let recorded = fleet.link(0).recorded();
        for (direction, kind) in
            [(Direction::ToServer, MessageKind::Command), (Direction::ToClient, MessageKind::Snapshot)]
        {
            let is_one = |message: &&ghostline_testkit::Recorded| {
                message.direction == direction && message.bytes[0] == kind.byte()
            };
            assert!(recorded.iter().filter(is_one).count() > 8, "{shape:?}: {kind:?}");
        }
    }
}

#[test]
fn a_client_that_is_not_in_the_game_drops_snapshots_in_silence() {
    for shape in SHAPES {
        let mut fleet = fleet(shape, LinkProfile::perfect());
        set_in_game(&mut fleet, true, true);
        fleet.ticks(30);
        assert!(stats(fleet.server().world()).sent_snapshot_packets > 20);
        let client = stats(fleet.client(0).world());
        assert_eq!((client.received_snapshot_packets, client.invalid_messages, client.dropped_messages), (0, 0, 0));
        assert_eq!(ghosts_on_client(&mut fleet), 0);
        assert_rpcs_flow(&mut fleet, 6, "only the server is in the game");
        set_in_game(&mut fleet, false, true);
        fleet.ticks(16);
        assert_eq!(ghosts_on_client(&mut fleet), 6, "{shape:?}: what was missed comes anew");
    }
}

#[test]
fn a_server_that_is_not_in_the_game_with_a_client_drops_its_commands_in_silence() {
    for shape in SHAPES {
        let mut fleet = fleet(shape, LinkProfile::perfect());
        fleet.go_in_game_all();
        fleet.ticks(30);
        set_in_game(&mut fleet, true, false);
        fleet.ticks(4);
        let before = stats(fleet.server().world());
        assert!(before.stored_commands > 0);
        fleet.ticks(20);
        let after = stats(fleet.server().world());
        assert!(after.received_command_packets > before.received_command_packets, "the client goes on sending");
        assert_eq!(
            (after.stored_commands, after.invalid_messages, after.sent_snapshot_packets),
            (before.stored_commands, 0, before.sent_snapshot_packets),
            "{shape:?}"
        );
        assert_eq!(ghosts_on_client(&mut fleet), 6, "a client keeps what it has until it leaves itself");
        assert_rpcs_flow(&mut fleet, 6, "only the client is in the game");
    }
}

/// Toggles both sides at different ticks, again and again: `lag` ticks lie between the client's change and the server's, who is
/// first if `lag` is negative.
fn toggle(shape: Shape, link: LinkProfile, lag: i32) {
    let mut fleet = fleet(shape, link);
    let lossy = link != LinkProfile::perfect();
    fleet.go_in_game_all();
    fleet.ticks(if lossy { 60 } else { 20 });
    let (id, connection) = (fleet.client(0).network_id(), fleet.client(0).connections());
    let mut events = 0;
    for round in 0..3 {
        let context = format!("{shape:?}, {link:?}, lag {lag}, round {round}");
        for in_game in [false, true] {
            for side in 0..2 {
                let on_server = (side == 0) == (lag < 0);
                set_in_game(&mut fleet, on_server, in_game);
                for _ in 0..lag.unsigned_abs() {
                    fleet.tick();
                    events += fleet.server().events().len() + fleet.client(0).events().len();
                }
            }
            if in_game {
                continue;
            }
            // What was sent before is still under way.
            fleet.ticks(20);
            assert_eq!(ghosts_on_client(&mut fleet), 0, "{context}");
            let before = (stats(fleet.server().world()), stats(fleet.client(0).world()));
            assert_rpcs_flow(&mut fleet, if lossy { 90 } else { 6 }, &context);
            let after = (stats(fleet.server().world()), stats(fleet.client(0).world()));
            assert_eq!(after.0.sent_snapshot_packets, before.0.sent_snapshot_packets, "{context}: snapshots stop");
            assert_eq!(after.1.sent_command_packets, before.1.sent_command_packets, "{context}: commands stop");
        }
        let stored = stats(fleet.server().world()).stored_commands;
        fleet.ticks(if lossy { 150 } else { 40 });
        events += fleet.server().events().len() + fleet.client(0).events().len();
        assert!(stats(fleet.server().world()).stored_commands > stored, "{context}: commands flow again");
        assert_eq!(ghosts_on_client(&mut fleet), 6, "{context}: every ghost, once");
        assert_eq!(
            (fleet.client(0).network_id(), fleet.client(0).connections()),
            (id, connection.clone()),
            "{context}"
        );
    }
    assert_eq!(events, 0, "entering and leaving is no event of the connection");
    // Without new inputs nothing moves, and both hold the same.
    assert_eq!(newest_rows(fleet.client(0).world()), newest_rows(fleet.server().world()));
    let (server, client) = (stats(fleet.server().world()), stats(fleet.client(0).world()));
    assert_eq!((server.invalid_messages, client.invalid_messages), (0, 0));
}

#[test]
fn the_game_can_be_left_and_entered_again_at_different_ticks_on_each_side() {
    for shape in SHAPES {
        for lag in [-7, -1, 0, 1, 2, 5] {
            toggle(shape, LinkProfile::perfect(), lag);
        }
    }
}

#[test]
fn the_game_can_be_left_and_entered_again_under_loss() {
    let link = LinkProfile::rtt(60).with_loss_percent(20.0);
    for (shape, lag) in SHAPES.into_iter().zip([0, 3, -4, 2]) {
        toggle(shape, link, lag);
    }
}

#[test]
fn a_client_that_leaves_the_game_has_no_ghosts_in_the_next_frame_and_gets_whole_rows_when_it_returns() {
    for shape in SHAPES {
        let mut fleet = fleet(shape, LinkProfile::perfect());
        fleet.go_in_game_all();
        fleet.ticks(30);
        assert_eq!(ghosts_on_client(&mut fleet), 6);
        let settled = stats(fleet.server().world()).absolute_rows;
        fleet.ticks(30);
        assert_eq!(stats(fleet.server().world()).absolute_rows, settled, "what rests is not sent");
        set_in_game(&mut fleet, false, false);
        set_in_game(&mut fleet, true, false);
        fleet.tick();
        assert_eq!(ghosts_on_client(&mut fleet), 0);
        let connection = fleet.server().connections()[0];
        let ack = fleet.server().world().get::<NetworkSnapshotAck>(connection).unwrap();
        assert_eq!((ack.last_received_snapshot_by_remote, ack.most_recent_command_tick), (None, None));
        assert!(ack.rtt.estimated_ms().is_some(), "the clocks stay");
        fleet.go_in_game_all();
        fleet.ticks(20);
        assert_eq!(ghosts_on_client(&mut fleet), 6);
        assert!(stats(fleet.server().world()).absolute_rows >= settled + 6, "{shape:?}: every ghost comes whole");
    }
}

#[test]
fn the_command_target_is_the_games_alone() {
    #[derive(CommandData, Clone, Default, PartialEq, Debug)]
    struct Drive {
        speed: i8,
    }
    let plugin = |app: &mut App| {
        app.add_plugins(game).register_command::<Drive>();
        // The game fills the buffer of its target, if that has one.
        app.add_systems_in(
            WorldFlags::CLIENT,
            GhostInput,
            |time: Res<NetworkTime>, mut buffers: Query<&mut CommandBuffer<Drive>>| {
                for mut buffer in &mut buffers {
                    if let Some(tick) = time.input_target_tick() {
                        buffer.add(tick, Drive { speed: 1 });
                    }
                }
            },
        );
    };
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(plugin).build();
        fleet.connect_all();
        fleet.go_in_game_all();
        let (on_server, on_client) = (fleet.server().connections()[0], fleet.client(0).connections()[0]);
        assert_eq!(fleet.server().world().get::<CommandTarget>(on_server).unwrap().entity, None);
        assert_eq!(fleet.client(0).world().get::<CommandTarget>(on_client).unwrap().entity, None);
        let target = |world: &mut World, connection: Entity, with_buffer: bool| {
            let target = world.spawn_empty().id();
            if with_buffer {
                world.entity_mut(target).insert(CommandBuffer::<Drive>::default());
            }
            world.get_mut::<CommandTarget>(connection).unwrap().entity = Some(target);
            target
        };
        let own = target(fleet.client(0).world_mut(), on_client, true);
        let commanded = target(fleet.server().world_mut(), on_server, true);
        fleet.ticks(20);
        let stored = |fleet: &mut Fleet| stats(fleet.server().world()).stored_commands;
        let filled = |fleet: &mut Fleet, target| {
            fleet.server().world().get::<CommandBuffer<Drive>>(target).is_some_and(|buffer| !buffer.is_empty())
        };
        assert!(filled(&mut fleet, commanded), "{shape:?}");
        // Gone, without a buffer, or gone on the client: skipped, and nobody complains.
        fleet.server().world_mut().despawn(commanded);
        fleet.tick();
        let before = stored(&mut fleet);
        fleet.ticks(10);
        assert_eq!(stored(&mut fleet), before);
        target(fleet.server().world_mut(), on_server, false);
        fleet.ticks(10);
        assert_eq!(stored(&mut fleet), before);
        let commanded = target(fleet.server().world_mut(), on_server, true);
        fleet.ticks(10);
        assert!(filled(&mut fleet, commanded), "{shape:?}: pointed at another, they arrive again");
        fleet.client(0).world_mut().despawn(own);
        fleet.ticks(8);
        let before = stored(&mut fleet);
        fleet.ticks(10);
        assert_eq!(stored(&mut fleet), before);
        target(fleet.client(0).world_mut(), on_client, true);
        fleet.ticks(10);
        assert!(stored(&mut fleet) > before, "{shape:?}");
        assert_eq!(stats(fleet.server().world()).invalid_messages, 0);
        assert_eq!(fleet.server().world().get::<CommandTarget>(on_server).unwrap().entity, Some(commanded));
    }
}

#[test]
fn received_snapshots_and_commands_lie_in_their_buffers_until_their_turn() {
    #[derive(Resource, Default)]
    struct Seen {
        after_receive: Vec<usize>,
        in_simulation: Vec<usize>,
        ghosts_after_receive: usize,
    }
    let plugin = |app: &mut App| {
        app.add_plugins(game).init_resource::<Seen>();
        app.add_systems_in(
            WorldFlags::CLIENT,
            AfterNetworkReceive,
            |mut seen: ResMut<Seen>,
             buffers: Query<&IncomingSnapshotDataStreamBuffer>,
             ghosts: Query<(), With<Crate>>| {
                seen.after_receive.extend(buffers.iter().map(IncomingSnapshotDataStreamBuffer::len));
                seen.ghosts_after_receive = ghosts.iter().count();
            },
        );
        app.add_systems_in(
            WorldFlags::CLIENT,
            Simulation,
            |mut seen: ResMut<Seen>, buffers: Query<&IncomingSnapshotDataStreamBuffer>| {
                seen.in_simulation.extend(buffers.iter().map(IncomingSnapshotDataStreamBuffer::len));
            },
        );
        app.add_systems_in(
            WorldFlags::SERVER,
            AfterNetworkReceive,
            |mut seen: ResMut<Seen>, buffers: Query<&IncomingCommandDataStreamBuffer>| {
                seen.after_receive.extend(buffers.iter().map(IncomingCommandDataStreamBuffer::len));
            },
        );
        app.add_systems_in(
            WorldFlags::SERVER,
            Simulation,
            |mut seen: ResMut<Seen>, buffers: Query<&IncomingCommandDataStreamBuffer>| {
                seen.in_simulation.extend(buffers.iter().map(IncomingCommandDataStreamBuffer::len));
            },
        );
    };
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(plugin).build();
        fleet.connect_all();
        fleet.go_in_game_all();
        fleet.server().world_mut().spawn_ghost::<Crate>(Position::default());
        fleet.ticks(40);
        for on_server in [true, false] {
            let side = if on_server { fleet.server() } else { fleet.client(0) };
            let seen = side.world().resource::<Seen>();
            assert!(seen.after_receive.iter().rev().take(16).all(|&count| count == 1), "{:?}", seen.after_receive);
            assert!(seen.in_simulation.iter().all(|&count| count == 0), "{:?}", seen.in_simulation);
        }
        // A crate moves: right after the receive step the client still shows what it showed before.
        let server = fleet.server().world_mut();
        server.query::<&mut Position>().single_mut(server).unwrap().value.x = 3.0;
        let shown = |fleet: &mut Fleet| {
            let world = fleet.client(0).world_mut();
            world.query_filtered::<&Position, With<Crate>>().single(world).unwrap().value.x
        };
        assert_eq!(shown(&mut fleet), 0.0);
        fleet.ticks(16);
        assert_eq!(shown(&mut fleet), 3.0);
        assert_eq!(fleet.client(0).world().resource::<Seen>().ghosts_after_receive, 1);
    }
}

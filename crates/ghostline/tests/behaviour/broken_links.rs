//! Links that break half or whole, peers that crash or stop reading, and packets that come twice, late or in another order: NEW-01,
//! NEW-05, NEW-06, NEW-10 and NEW-13.

use crate::common::*;
use bevy_app::App;
use bevy_ecs::prelude::*;
use ghostline::connection::{ConnectionStatus, OutgoingRpcDataStreamBuffer, ResumeToken};
use ghostline::prelude::*;
use ghostline::rpc::MAX_WAITING_RPC_BYTES;
use ghostline::snapshot::newest_rows;
use ghostline_testkit::{Direction, DriverSettings, FRAME, LinkConditions, LinkProfile, Transport};

#[derive(Component, RpcCommand, Clone, Copy, PartialEq, Eq, Debug)]
struct Line(u32);

#[derive(Component, RpcCommand, Clone)]
struct Page {
    number: u32,
    words: [u64; 800],
}

/// Larger than a datagram, and not sent again if a part of it is lost.
#[derive(Component, RpcCommand, Clone)]
#[rpc(unreliable)]
struct Map {
    number: u32,
    words: [u64; 400],
}

#[derive(Component, ApprovalRpcCommand, Clone, Copy)]
struct Ticket;

/// What this world has read, in order.
#[derive(Resource, Default)]
struct Read {
    lines: Vec<u32>,
    pages: Vec<u32>,
    maps: Vec<u32>,
}

fn game(app: &mut App) {
    app.add_plugins(Game)
        .register_rpc::<Line>()
        .register_rpc::<Page>()
        .register_rpc::<Map>()
        .register_approval_rpc::<Ticket>()
        .init_resource::<Read>()
        .add_systems(Simulation, read);
}

fn read(
    mut commands: Commands,
    mut read: ResMut<Read>,
    arrived: Query<(Entity, &ReceiveRpcCommandRequest, Option<&Line>, Option<&Page>, Option<&Map>)>,
) {
    let mut arrived: Vec<_> = arrived.iter().collect();
    arrived.sort_by_key(|(_, request, ..)| request.sequence());
    for (entity, request, line, page, map) in arrived {
        read.lines.extend(line.map(|line| line.0));
        read.pages.extend(page.map(|page| page.number));
        read.maps.extend(map.filter(|map| map.words == [u64::MAX; 400]).map(|map| map.number));
        if line.is_none() && page.is_none() && map.is_none() {
            // A ticket: everybody who has one is let in.
            commands.entity(request.source_connection).insert(ConnectionApproved);
        }
        commands.entity(entity).despawn();
    }
}

/// Two clients in the game, and a ghost.
fn fleet(shape: Shape) -> Fleet {
    let mut fleet = shape.fleet().plugin(game).clients(2).tick_rate(unmerged()).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    fleet.server().world_mut().spawn_ghost::<Crate>(Position::default());
    fleet.ticks(20);
    fleet
}

/// Ticks until the first client's connection has ended on both sides, at most so often. Returns after how many ticks that was, and why:
/// on the server, on the client. The other client's connection must not end.
fn until_ended(fleet: &mut Fleet, limit: usize) -> [Option<(usize, DisconnectReason)>; 2] {
    let mut ends = [None, None];
    for tick in 1..=limit {
        fleet.tick();
        for (end, events) in ends.iter_mut().zip([fleet.server().events(), fleet.client(0).events()]) {
            for event in events {
                if let Some(reason) = event.disconnect_reason {
                    assert!(end.is_none(), "it ends once");
                    *end = Some((tick, reason));
                }
            }
        }
        assert!(fleet.client(1).events().iter().all(|event| event.disconnect_reason.is_none()));
    }
    ends
}

#[test]
fn a_link_that_dies_in_one_direction_times_out_on_both_sides_and_the_other_client_plays_on() {
    for shape in SHAPES {
        for direction in [Direction::ToServer, Direction::ToClient] {
            let mut fleet = fleet(shape);
            fleet.link(0).cut(direction);
            let ends = until_ended(&mut fleet, 700);
            for end in ends {
                let (tick, reason) = end.unwrap();
                assert_eq!(reason, DisconnectReason::Timeout, "{shape:?}, {direction:?}");
                assert!((600..=602).contains(&tick), "{shape:?}, {direction:?}: after {tick} ticks");
            }
            assert_eq!(newest_rows(fleet.client(1).world()), newest_rows(fleet.server().world()));
            fleet.link(0).mend(direction);
            fleet.connect_all();
            assert_eq!(fleet.client(0).network_id(), Some(NetworkId(1)), "everything is free again");
        }
    }
}

/// NEW-01: the clock of each side starts with the last packet that it heard. Both ways are cut, so neither can tell the other.
#[test]
fn silence_ends_a_connection_after_the_configured_time_to_the_tick() {
    for shape in SHAPES {
        for (disconnect_timeout_ms, ticks) in [(2_000, 120), (10_000, 600)] {
            let drivers = DriverSettings { disconnect_timeout_ms, ..DriverSettings::default() };
            let mut fleet = shape.fleet().plugin(game).clients(2).driver_settings(drivers).build();
            fleet.connect_all();
            fleet.go_in_game_all();
            fleet.ticks(20);
            for direction in [Direction::ToServer, Direction::ToClient] {
                fleet.link(0).cut(direction);
            }
            let ends = until_ended(&mut fleet, ticks + 10).map(Option::unwrap);
            assert!(ends.iter().all(|(_, reason)| *reason == DisconnectReason::Timeout), "{shape:?}: {ends:?}");
            // Who is ticked first still hears in the next tick what was on its way.
            let expected = match shape.order {
                WorldOrder::ServerFirst => [ticks + 1, ticks],
                WorldOrder::ClientFirst => [ticks, ticks + 1],
            };
            assert_eq!(ends.map(|(tick, _)| tick), expected, "{shape:?}: on the server, on the client");
            for direction in [Direction::ToServer, Direction::ToClient] {
                fleet.link(0).mend(direction);
            }
            fleet.connect_all();
            assert_eq!(
                fleet.client(0).network_id(),
                Some(NetworkId(1)),
                "{shape:?}: all is forgotten, all is free again"
            );
        }
    }
}

#[test]
fn a_link_that_dies_in_one_direction_during_the_handshake_ends_the_connection_on_both_sides() {
    for shape in SHAPES {
        for direction in [Direction::ToServer, Direction::ToClient] {
            let mut fleet = shape.fleet().plugin(game).clients(2).build();
            fleet.logs().tolerate("Handshake was not finished within 5s");
            fleet.listen();
            fleet.connect(1);
            fleet.ticks(10);
            fleet.connect(0);
            while fleet.server().connections().len() == 1 {
                fleet.tick_client(0, FRAME);
                fleet.tick_server(FRAME);
                fleet.tick_client(1, FRAME);
            }
            fleet.link(0).cut(direction);
            let ends = until_ended(&mut fleet, 640);
            assert!(ends.iter().all(Option::is_some), "{shape:?}, {direction:?}: {ends:?}");
            let [on_server, on_client] = ends.map(Option::unwrap);
            // Who has not heard the other's version ends by the time limit of the handshake, if it is the server. Otherwise it is silence.
            let is_in_time = shape.transport == Transport::InProcess && direction == Direction::ToServer;
            let (expected, ticks) = if is_in_time {
                (DisconnectReason::HandshakeTimeout, 290..=310)
            } else {
                // Both say little in a handshake: the last sign of life may be half a second old when the link dies.
                (DisconnectReason::Timeout, 570..=604)
            };
            for (tick, reason) in [on_server, on_client] {
                assert_eq!(reason, expected, "{shape:?}, {direction:?}");
                assert!(ticks.contains(&tick), "{shape:?}, {direction:?}: after {tick} ticks");
            }
            fleet.link(0).mend(direction);
            fleet.connect_all();
            assert_eq!(fleet.client(0).network_id(), Some(NetworkId(2)), "{shape:?}, {direction:?}");
        }
    }
}

#[test]
fn a_link_that_dies_in_one_direction_during_the_approval_ends_with_its_time_limit() {
    for shape in SHAPES {
        for direction in [Direction::ToServer, Direction::ToClient] {
            let mut fleet = shape.fleet().plugin(game).clients(2).build();
            fleet.logs().expect("Approval was not finished within 5s");
            for world in 0..3 {
                let world = if world == 0 { fleet.server() } else { fleet.client(world - 1) };
                world.world_mut().require_connection_approval(true).unwrap();
            }
            fleet.listen();
            fleet.connect(1);
            fleet.client(1).world_mut().spawn((Ticket, SendRpcCommandRequest::default()));
            fleet.connect(0);
            fleet.ticks(10);
            assert_eq!(fleet.client(1).network_id(), Some(NetworkId(1)));
            fleet.link(0).cut(direction);
            // From here on nothing gets through: a ticket from the client, an approval from the server.
            if direction == Direction::ToServer {
                fleet.client(0).world_mut().spawn((Ticket, SendRpcCommandRequest::default()));
            }
            let ends = until_ended(&mut fleet, 330);
            for end in ends {
                let (tick, reason) = end.unwrap();
                assert_eq!(reason, DisconnectReason::ApprovalTimeout, "{shape:?}, {direction:?}");
                assert!((285..=310).contains(&tick), "{shape:?}, {direction:?}: after {tick} ticks");
            }
        }
    }
}

/// The client's program dies without a word, is started again, and connects from the same address and port.
fn crash(fleet: &mut Fleet, remembers: bool) {
    let token = fleet.client(0).world().resource::<ResumeToken>().clone();
    let facade = fleet.server().world().resource::<NetworkStreamDriver>();
    let (handle, _) = facade.connections().next().unwrap();
    let address = facade.remote_endpoint(handle).unwrap();
    fleet.crash_client(0);
    if remembers {
        fleet.client(0).world_mut().insert_resource(token);
    }
    fleet.connect_from(0, address);
}

#[test]
fn a_client_that_crashed_replaces_its_connection_or_waits_for_its_end() {
    for shape in SHAPES {
        for remembers in [true, false] {
            let mut fleet = fleet(shape);
            let (lost, other) = (fleet.server().connections()[0], fleet.server().connections()[1]);
            crash(&mut fleet, remembers);
            fleet.ticks(30);
            let connected = fleet.server().connections();
            if remembers {
                assert_eq!(
                    (connected.len(), connected[0]),
                    (2, other),
                    "{shape:?}: the lost connection is replaced at once"
                );
                assert_eq!(fleet.client(0).network_id(), Some(NetworkId(1)));
                assert_eq!(count::<NetworkStreamIsReconnected>(fleet.server().world_mut()), 1);
            } else {
                assert_eq!(connected[..2], [lost, other], "{shape:?}: who says nothing is somebody else");
                assert_eq!(fleet.client(0).network_id(), Some(NetworkId(3)));
                let facade = fleet.server().world().resource::<NetworkStreamDriver>();
                let handles: Vec<_> = facade.connections().map(|(handle, _)| handle).collect();
                let addresses: Vec<_> = handles.iter().map(|&handle| facade.remote_endpoint(handle)).collect();
                let is_the_same = addresses[0] == addresses[2];
                assert_eq!(is_the_same, shape.transport == Transport::Quic, "{addresses:?}");
                let mut reasons = Vec::new();
                for _ in 0..640 {
                    fleet.tick();
                    reasons.extend(fleet.server().events().iter().filter_map(|event| event.disconnect_reason));
                }
                assert_eq!(reasons, [DisconnectReason::Timeout], "{shape:?}");
                assert_eq!(fleet.server().connections().len(), 2);
            }
            fleet.go_in_game_all();
            fleet.ticks(30);
            assert_eq!(newest_rows(fleet.client(0).world()), newest_rows(fleet.server().world()), "and it plays");
        }
    }
}

#[test]
fn a_client_that_reads_nothing_costs_a_bounded_buffer_and_the_others_nothing() {
    for shape in SHAPES {
        // The driver's own queue is small, so that RPCs wait in the world.
        let drivers = DriverSettings { queue_bytes: 256 * 1024, ..DriverSettings::default() };
        let mut fleet = shape.fleet().plugin(game).clients(2).driver_settings(drivers).build();
        fleet.connect_all();
        fleet.logs().tolerate(r"RPC `Page.*` is dropped: 4194304 bytes of RPCs wait on this connection already");
        let stalled = fleet.server().connections()[0];
        let mut most = 0;
        let mut reason = None;
        let began = fleet.server().server_tick().unwrap();
        for number in 0..700 {
            fleet
                .server()
                .world_mut()
                .spawn((Page { number, words: [u64::MAX; 800] }, SendRpcCommandRequest::default()));
            fleet.tick_server(FRAME);
            fleet.tick_client(1, FRAME);
            if let Some(outgoing) = fleet.server().world().get::<OutgoingRpcDataStreamBuffer>(stalled) {
                most = most.max(outgoing.bytes());
            }
            reason = reason.or(fleet.server().events().iter().find_map(|event| event.disconnect_reason));
        }
        assert_eq!(reason, Some(DisconnectReason::Timeout), "{shape:?}");
        assert!(most > 3 << 20 && most <= MAX_WAITING_RPC_BYTES, "{most} bytes waited");
        assert_eq!(fleet.server().server_tick().unwrap().ticks_since(began), 700, "no tick was lost");
        for _ in 0..900 {
            fleet.tick_server(FRAME);
            fleet.tick_client(1, FRAME);
        }
        let pages = &fleet.client(1).world().resource::<Read>().pages;
        assert_eq!(*pages, (0..700).collect::<Vec<_>>(), "{shape:?}: the other client has read every page");
    }
}

/// What a session leads to.
#[derive(PartialEq, Debug)]
struct Outcome {
    events_on_server: Vec<ConnectionStatus>,
    events_on_client: Vec<ConnectionStatus>,
    read_by_server: Vec<u32>,
    read_by_client: Vec<u32>,
    points_on_client: Vec<i32>,
    /// In the order of their numbers: they are unreliable, so they may come in any.
    maps_read_by_server: Vec<u32>,
    maps_read_by_client: Vec<u32>,
}

/// A way that is as it is from the first packet on, with spikes of half a second that begin in these ticks.
#[derive(Clone, Copy, Debug)]
struct Way {
    link: LinkProfile,
    spikes: &'static [usize],
}

/// How long a spike of half a second lasts.
const SPIKE_TICKS: usize = 12;

/// Approval, RPCs both ways and some that are fragmented, snapshots that are fragmented at first, and ghosts that move and come to rest.
fn session(shape: Shape, way: Way) -> Outcome {
    let mut fleet = shape.fleet().plugin(game).link(way.link).tick_rate(unmerged()).build();
    fleet.link(0).set(way.link);
    if !way.spikes.is_empty() {
        // A clock that was set by a spike is put right at once.
        fleet.logs().tolerate("the predicted server tick jumped");
    }
    for server in [true, false] {
        let world = if server { fleet.server() } else { fleet.client(0) };
        world.world_mut().require_connection_approval(true).unwrap();
    }
    fleet.listen();
    fleet.connect(0);
    fleet.client(0).world_mut().spawn((Ticket, SendRpcCommandRequest::default()));
    let (mut events_on_server, mut events_on_client) = (Vec::new(), Vec::new());
    let mut sent = 0;
    for tick in 0..420 {
        if way.spikes.contains(&tick) {
            fleet.link(0).set(LinkProfile::rtt(1_000));
        } else if way.spikes.iter().any(|spike| spike + SPIKE_TICKS == tick) {
            fleet.link(0).set(way.link);
        }
        fleet.tick();
        events_on_server.extend(fleet.server().events().iter().map(|event| event.state));
        events_on_client.extend(fleet.client(0).events().iter().map(|event| event.state));
        if fleet.client(0).network_id().is_none() {
            continue;
        }
        if sent == 0 {
            fleet.go_in_game_all();
            let connection = fleet.server().connections()[0];
            fleet.server().world_mut().entity_mut(connection).insert(NetworkStreamSnapshotTargetSize { value: 6_000 });
            for points in 0..400 {
                fleet
                    .server()
                    .world_mut()
                    .spawn_ghost::<Crate>((Position::default(), Health { points: points * 7_919 }));
            }
        }
        if sent < 100 {
            for server in [true, false] {
                let world = if server { fleet.server() } else { fleet.client(0) }.world_mut();
                world.spawn((Line(sent), SendRpcCommandRequest::default()));
                if sent % 10 == 0 {
                    world.spawn((Map { number: sent, words: [u64::MAX; 400] }, SendRpcCommandRequest::default()));
                }
            }
            sent += 1;
        }
        if tick < 300 {
            let world = fleet.server().world_mut();
            world.query::<&mut Position>().iter_mut(world).take(20).for_each(|mut position| position.value.x += 0.1);
        }
    }
    assert_eq!(newest_rows(fleet.client(0).world()), newest_rows(fleet.server().world()), "{shape:?}, {way:?}");
    let world = fleet.client(0).world_mut();
    let mut points_on_client: Vec<i32> = world.query::<&Health>().iter(world).map(|health| health.points).collect();
    points_on_client.sort_unstable();
    let maps = |world: &World| {
        let mut maps = world.resource::<Read>().maps.clone();
        maps.sort_unstable();
        maps
    };
    Outcome {
        events_on_server,
        events_on_client,
        read_by_server: fleet.server().world().resource::<Read>().lines.clone(),
        read_by_client: fleet.client(0).world().resource::<Read>().lines.clone(),
        points_on_client,
        maps_read_by_server: maps(fleet.server().world()),
        maps_read_by_client: maps(fleet.client(0).world()),
    }
}

#[test]
fn packets_that_come_twice_late_damaged_or_in_another_order_change_nothing_in_a_session() {
    let with = |fault: fn(&mut LinkConditions)| {
        let mut link = LinkProfile::rtt(40);
        fault(&mut link.up);
        fault(&mut link.down);
        Way { link, spikes: &[] }
    };
    for shape in SHAPES {
        let clean = session(shape, Way { link: LinkProfile::perfect(), spikes: &[] });
        let all: Vec<u32> = (0..100).collect();
        let maps: Vec<u32> = (0..100).step_by(10).collect();
        assert_eq!((&clean.read_by_server, &clean.read_by_client), (&all, &all), "{shape:?}");
        assert_eq!((&clean.maps_read_by_server, &clean.maps_read_by_client), (&maps, &maps), "{shape:?}");
        assert_eq!(clean.points_on_client, (0..400).map(|points| points * 7_919).collect::<Vec<_>>());
        let mut ways = vec![
            with(|conditions| conditions.duplicate_percent = 50.0),
            with(|conditions| conditions.reorder_percent = 50.0),
            with(|conditions| conditions.jitter_ms = 80),
            // Spikes in the handshake, in the approval (which a spike makes longer), and in the game.
            Way { link: LinkProfile::rtt(40), spikes: &[1, 20, 60, 140] },
            Way { link: LinkProfile::perfect(), spikes: &[3, 18, 100] },
        ];
        // In process nothing protects what is unreliable.
        if shape.transport == Transport::Quic {
            ways.push(with(|conditions| conditions.corrupt_percent = 10.0));
        }
        for way in ways {
            let mut outcome = session(shape, way);
            if shape.transport == Transport::Quic {
                // A datagram is not sent again when it is damaged, and waits for nothing when the path is spared; but none comes twice or changed.
                for read in [&mut outcome.maps_read_by_server, &mut outcome.maps_read_by_client] {
                    let is_subset = read.iter().all(|map| maps.contains(map)) && read.is_sorted_by(|a, b| a < b);
                    assert!(is_subset && read.len() >= 5, "{shape:?}, {way:?}: {read:?}");
                    read.clone_from(&maps);
                }
            }
            assert_eq!(outcome, clean, "{shape:?}, {way:?}");
        }
    }
}

#[test]
fn a_spike_of_half_a_second_loses_no_rpc_and_no_connection() {
    for shape in SHAPES {
        let mut fleet = fleet(shape);
        for number in 0..200 {
            if number == 50 {
                fleet.link(0).set(LinkProfile::rtt(1_000));
            } else if number == 80 {
                fleet.link(0).set(LinkProfile::perfect());
            }
            fleet.client(0).world_mut().spawn((Line(number), SendRpcCommandRequest::default()));
            fleet.tick();
        }
        fleet.ticks(120);
        assert_eq!(fleet.server().world().resource::<Read>().lines, (0..200).collect::<Vec<_>>(), "{shape:?}");
        assert_eq!(fleet.server().connections().len(), 2);
    }
}

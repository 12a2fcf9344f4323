//! The bones in remote shape: what holds in process holds over QUIC too, at {0, 60, 200} ms round trip and {0, 5, 33} % loss. The whole stack
//! that players use but the socket, in virtual time. Order and counts are exact here, ticks are those of the link.

use crate::common::*;
use crate::dice::Dice;
use crate::race::{Race, RaceOptions};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_math::Vec3;
use ghostline::connection::ConnectionState;
use ghostline::prelude::*;
use ghostline::stats::{NetworkStats, PredictionStats};
use ghostline_testkit::{
    Direction, FRAME, LinkProfile, MessageKind, Pipeline, Recorded, RecordedPacket, Transport, WorldOrder,
};
use std::time::Duration;

#[derive(Component, RpcCommand, Clone, Copy, PartialEq, Eq, Debug)]
struct Line {
    number: u32,
}

#[derive(Component, ApprovalRpcCommand, Clone, Copy, PartialEq, Debug)]
struct Ticket {
    number: u32,
}

/// Presses and numbers of one side, in the order in which they were made or seen.
#[derive(Resource, Default)]
struct Presses {
    next: bool,
    count: u64,
}

/// From whom, with which number on that connection, and what.
#[derive(Resource, Default)]
struct Lines(Vec<(Entity, u64, u32)>);

impl Lines {
    /// What came on one connection, in the order in which it counts.
    fn of(&self, connection: Entity) -> Vec<u32> {
        let mut lines: Vec<_> = self.0.iter().filter(|(from, ..)| *from == connection).collect();
        lines.sort_by_key(|(_, sequence, _)| *sequence);
        lines.into_iter().map(|(.., number)| *number).collect()
    }
}

/// Ghosts that move until they are told to stand.
#[derive(Resource, Default)]
pub(crate) struct Standing(pub bool);

pub(crate) struct RemoteGame;

impl Plugin for RemoteGame {
    fn build(&self, app: &mut App) {
        app.add_plugins(Game)
            .init_resource::<Presses>()
            .init_resource::<Lines>()
            .init_resource::<Standing>()
            .register_rpc::<Line>()
            .register_approval_rpc::<Ticket>()
            .add_systems_in(WorldFlags::CLIENT, GhostInput, press)
            .add_systems_in(WorldFlags::SERVER, PredictedSimulation, see)
            .add_systems_in(WorldFlags::SERVER, Simulation, walk)
            .add_systems_in(WorldFlags::NETWORK, Simulation, read_lines);
    }
}

fn press(mut presses: ResMut<Presses>, mut players: Query<&mut PlayerInput, With<GhostOwnerIsLocal>>) {
    for mut input in &mut players {
        if std::mem::take(&mut presses.next) {
            input.jump.set();
            presses.count += 1;
        }
    }
}

fn see(mut presses: ResMut<Presses>, players: Query<&PlayerInput, Simulate>) {
    presses.count += players.iter().map(|input| u64::from(input.jump.count())).sum::<u64>();
}

fn walk(standing: Res<Standing>, mut crates: Query<(&GhostInstance, &mut Position), With<Crate>>) {
    for (ghost, mut position) in crates.iter_mut().filter(|_| !standing.0) {
        position.value.x += 0.05 * (1 + ghost.ghost_id % 3) as f32;
        position.value.y = (position.value.x * 0.7).sin();
    }
}

fn read_lines(
    mut commands: Commands,
    mut lines: ResMut<Lines>,
    new: Query<(Entity, &Line, &ReceiveRpcCommandRequest)>,
) {
    for (entity, line, request) in &new {
        lines.0.push((request.source_connection, request.sequence(), line.number));
        commands.entity(entity).despawn();
    }
}

/// {0, 60, 200} ms round trip × {0, 5, 33} % loss.
pub(crate) fn profiles() -> impl Iterator<Item = LinkProfile> {
    [0, 60, 200].into_iter().flat_map(|round_trip_ms| {
        [0.0, 5.0, 33.0].map(|percent| LinkProfile::rtt(round_trip_ms).with_loss_percent(percent))
    })
}

pub(crate) fn fleet(clients: usize, link: LinkProfile) -> Fleet {
    let builder = Fleet::builder().plugin(RemoteGame).clients(clients).link(link);
    builder.tick_rate(unmerged()).transport(Transport::Quic).build()
}

pub(crate) fn fleet_in_game(clients: usize, link: LinkProfile) -> Fleet {
    let mut fleet = fleet(clients, link);
    fleet.connect_all();
    fleet.go_in_game_all();
    fleet
}

/// The crates of a world, in quanta.
pub(crate) fn truth(world: &mut World) -> Vec<(i32, [i64; 2])> {
    let quanta = |metres: f32| (f64::from(metres) * 1000.0).round() as i64;
    let mut crates = world.query_filtered::<(&Health, &Position), With<Crate>>();
    let rows = crates.iter(world).map(|(health, at)| (health.points, [quanta(at.value.x), quanta(at.value.y)]));
    let mut all: Vec<_> = rows.collect();
    all.sort_unstable();
    all
}

/// Ticks until `is_done`; panics after `limit` ticks. Returns how many it took.
pub(crate) fn until(fleet: &mut Fleet, limit: usize, mut is_done: impl FnMut(&mut Fleet) -> bool) -> usize {
    for tick in 0..limit {
        if is_done(fleet) {
            return tick;
        }
        fleet.tick();
    }
    panic!("not done after {limit} ticks, profile {:?}", fleet.profile());
}

/// Every event that a world raises from now on, tick by tick, while `until` says.
fn watch(fleet: &mut Fleet, limit: usize, mut is_done: impl FnMut(&mut Fleet) -> bool) -> [Vec<ConnectionStatus>; 2] {
    let (mut server, mut client) = (Vec::new(), Vec::new());
    for _ in 0..limit {
        fleet.tick();
        server.extend(fleet.server().events().iter().map(|event| event.state));
        client.extend(fleet.client(0).events().iter().map(|event| event.state));
        if is_done(fleet) {
            return [server, client];
        }
    }
    panic!("not done after {limit} ticks: {server:?} {client:?}");
}

#[test]
fn connection_events_come_in_order_and_once_on_every_link() {
    use ConnectionStatus::{Connected, Connecting, Disconnected, Handshake};
    for profile in profiles() {
        let mut fleet = fleet(1, profile);
        // Connecting, too, is done on the bad link.
        fleet.link(0).set(profile);
        fleet.listen();
        fleet.connect(0);
        let [server, client] = watch(&mut fleet, 500, |fleet| fleet.client(0).network_id().is_some());
        assert_eq!(server, [Handshake, Connected], "{profile:?}");
        // The client's own event is raised in its next receive step.
        assert_eq!(client, [Connecting, Handshake], "{profile:?}");
        fleet.tick();
        assert_eq!(fleet.client(0).events().iter().map(|event| event.state).collect::<Vec<_>>(), [Connected]);
        fleet.ticks(30);
        let connection = fleet.server().connections()[0];
        fleet.server().world_mut().disconnect(connection, DisconnectReason::ApprovalFailure);
        let mut ends = Vec::new();
        until(&mut fleet, 500, |fleet| {
            ends.extend(fleet.server().events());
            ends.extend(fleet.client(0).events());
            ends.len() >= 2
        });
        let reasons: Vec<_> = ends.iter().map(|event| (event.state, event.disconnect_reason)).collect();
        assert_eq!(reasons, [(Disconnected, Some(DisconnectReason::ApprovalFailure)); 2], "{profile:?}");
        fleet.ticks(30);
        assert!(fleet.server().connections().is_empty() && fleet.client(0).connections().is_empty());
    }
}

#[test]
fn rpcs_arrive_all_and_in_order_on_every_link() {
    for profile in profiles() {
        let mut fleet = fleet_in_game(2, profile);
        for number in 0..60 {
            for world in 0..3 {
                let world = match world {
                    0 => fleet.server().world_mut(),
                    client => fleet.client(client - 1).world_mut(),
                };
                world.spawn((Line { number }, SendRpcCommandRequest::default()));
            }
            fleet.tick();
        }
        let expected: Vec<u32> = (0..60).collect();
        until(&mut fleet, 900, |fleet| {
            let lines = |world: &World| world.resource::<Lines>().0.len();
            lines(fleet.server().world()) == 120 && (0..2).all(|client| lines(fleet.client(client).world()) == 60)
        });
        let connections = fleet.server().connections();
        assert_eq!(connections.len(), 2);
        for connection in connections {
            assert_eq!(fleet.server().world().resource::<Lines>().of(connection), expected, "{profile:?}");
        }
        for client in 0..2 {
            let connection = fleet.client(client).connections()[0];
            assert_eq!(fleet.client(client).world().resource::<Lines>().of(connection), expected, "{profile:?}");
        }
    }
}

#[test]
fn ghosts_converge_on_every_link() {
    for profile in profiles() {
        let mut fleet = fleet_in_game(2, profile);
        let mut crates: Vec<Entity> = (0..40)
            .map(|place| {
                let position = Position { value: Vec3::new(place as f32, 0.0, 0.0) };
                fleet.server().world_mut().spawn_ghost::<Crate>((position, Health { points: place }))
            })
            .collect();
        fleet.ticks(60);
        for gone in crates.drain(..10) {
            fleet.server().world_mut().despawn(gone);
        }
        fleet.ticks(30);
        fleet.server().world_mut().resource_mut::<Standing>().0 = true;
        let expected = truth(fleet.server().world_mut());
        assert_eq!(expected.len(), 30);
        until(&mut fleet, 600, |fleet| (0..2).all(|client| truth(fleet.client(client).world_mut()) == expected));
    }
}

#[test]
fn every_press_is_seen_exactly_once_on_every_link() {
    for (number, profile) in profiles().enumerate() {
        let mut dice = Dice::new(number as u64 + 1);
        let mut fleet = fleet_in_game(1, profile);
        let owner = fleet.client(0).network_id().unwrap();
        fleet.server().world_mut().spawn_ghost::<Player>(GhostOwner(owner));
        fleet.ticks(120);
        for _ in 0..300 {
            fleet.client(0).world_mut().resource_mut::<Presses>().next = dice.one_in(4);
            fleet.tick_by(FRAME.mul_f64(dice.between(0.5, 1.5)));
        }
        fleet.ticks(90);
        let pressed = fleet.client(0).world().resource::<Presses>().count;
        let seen = fleet.server().world().resource::<Presses>().count;
        assert!(pressed > 40, "{pressed}");
        assert_eq!(seen, pressed, "{profile:?}");
    }
}

#[test]
fn prediction_equals_the_server_on_every_link_and_nothing_is_rolled_back() {
    // What the redundancy of commands covers: never more than a few packets lost in a row.
    let profiles = [0, 60, 200].into_iter().flat_map(|round_trip_ms| {
        let clean = LinkProfile::rtt(round_trip_ms);
        [clean, clean.with_periodic_loss(20), clean.with_periodic_loss(3)]
    });
    for profile in profiles {
        let options = RaceOptions { profile, transport: Transport::Quic, ..RaceOptions::default() };
        let mut race = Race::new(options);
        race.fleet.ticks(200);
        race.start_engines();
        race.fleet.ticks(300);
        let stats = race.fleet.client(0).world().resource::<PredictionStats>().clone();
        assert_eq!((stats.mispredictions, stats.rollbacks), (0, 0), "{profile:?} {stats:?}");
        assert!(race.ticks_within_a_quantum_of_the_row() > 200, "{profile:?}");
    }
}

#[test]
fn a_divergence_is_corrected_within_a_round_trip_and_some_ticks_on_every_link() {
    for round_trip_ms in [0, 60, 200] {
        for every in [0, 20] {
            let clean = LinkProfile::rtt(round_trip_ms);
            let profile = if every == 0 { clean } else { clean.with_periodic_loss(every) };
            let mut race = Race::new(RaceOptions { profile, transport: Transport::Quic, ..RaceOptions::default() });
            race.fleet.ticks(200);
            race.start_engines();
            race.fleet.ticks(60);
            race.watch_from_now();
            race.nudge_client(Vec3::Y);
            race.fleet.ticks(50);
            let wrong = race.last_wrong_frame(0.01).expect("the divergence shows");
            let ticks = (round_trip_ms as usize * 60).div_ceil(1000).max(1);
            assert!(wrong <= ticks + 3, "{profile:?}: wrong until frame {wrong}");
            assert_eq!(race.fleet.client(0).world().resource::<PredictionStats>().rollbacks, 1, "{profile:?}");
        }
    }
}

#[test]
fn approval_lets_in_or_refuses_with_its_text_on_every_link() {
    use ConnectionStatus::{Approval, Connected, Connecting, Handshake};
    for profile in profiles() {
        for is_let_in in [true, false] {
            let mut fleet = fleet(1, profile);
            fleet.link(0).set(profile);
            fleet.server().world_mut().require_connection_approval(true).unwrap();
            fleet.client(0).world_mut().require_connection_approval(true).unwrap();
            fleet.listen();
            let entity = fleet.connect(0);
            fleet.client(0).world_mut().entity_mut(entity).insert(ConnectionState::default());
            fleet.client(0).world_mut().spawn((Ticket { number: 7 }, SendRpcCommandRequest::default()));
            let ticket = |fleet: &mut Fleet| {
                let world = fleet.server().world_mut();
                let mut query = world.query::<(Entity, &Ticket, &ReceiveRpcCommandRequest)>();
                query.iter(world).next().map(|(entity, ticket, request)| (entity, *ticket, request.source_connection))
            };
            let [server, client] = watch(&mut fleet, 600, |fleet| ticket(fleet).is_some());
            let (rpc, shown, connection) = ticket(&mut fleet).unwrap();
            assert_eq!(shown, Ticket { number: 7 });
            fleet.server().world_mut().despawn(rpc);
            assert_eq!((&server[..], &client[..2]), (&[Handshake, Approval][..], &[Connecting, Handshake][..]));
            if is_let_in {
                fleet.server().world_mut().entity_mut(connection).insert(ConnectionApproved);
                let [server, client] = watch(&mut fleet, 600, |fleet| {
                    fleet.client(0).events().iter().any(|event| event.state == Connected)
                });
                assert_eq!(server, [Connected], "{profile:?}");
                assert_eq!(client.last(), Some(&Connected), "{profile:?}");
            } else {
                let reason = DisconnectReason::ApprovalFailure;
                fleet.server().world_mut().disconnect_with_text(connection, reason, "not on the list");
                let state = |fleet: &mut Fleet| {
                    fleet.client(0).world().get::<ConnectionState>(entity).expect("it outlives the connection").clone()
                };
                until(&mut fleet, 600, |fleet| state(fleet).reason.is_some());
                let state = state(&mut fleet);
                assert_eq!((state.reason, state.text.as_str()), (Some(reason), "not on the list"), "{profile:?}");
            }
        }
    }
}

/// How a session ends, with the reasons that each side gets: server, then client.
pub(crate) fn reasons(fleet: &mut Fleet, limit: usize) -> [Option<DisconnectReason>; 2] {
    let mut reasons = [None, None];
    for _ in 0..limit {
        fleet.tick();
        let seen = [fleet.server().events(), fleet.client(0).events()];
        for (reason, events) in reasons.iter_mut().zip(seen) {
            let end = events.iter().find(|event| event.state == ConnectionStatus::Disconnected);
            *reason = reason.or(end.and_then(|event| event.disconnect_reason));
        }
        if reasons.iter().all(Option::is_some) {
            break;
        }
    }
    reasons
}

#[test]
fn either_side_may_end_a_connection_and_both_know_why_on_every_link() {
    use DisconnectReason::{ClosedByRemote, ConnectionClose, Timeout};
    for profile in profiles() {
        let mut fleet = fleet_in_game(1, profile);
        fleet.ticks(30);
        let connection = fleet.client(0).connections()[0];
        fleet.client(0).world_mut().disconnect(connection, ConnectionClose);
        assert_eq!(reasons(&mut fleet, 500), [Some(ClosedByRemote), Some(ConnectionClose)], "{profile:?}");

        let mut fleet = fleet_in_game(1, profile);
        fleet.ticks(30);
        fleet.link(0).cut(Direction::ToServer);
        fleet.link(0).cut(Direction::ToClient);
        assert_eq!(reasons(&mut fleet, 700), [Some(Timeout); 2], "{profile:?}");
        // Everything is free again.
        fleet.link(0).mend(Direction::ToServer);
        fleet.link(0).mend(Direction::ToClient);
        fleet.connect(0);
        until(&mut fleet, 500, |fleet| fleet.client(0).network_id().is_some());
    }
}

#[test]
fn a_client_world_that_goes_away_is_missed_at_once() {
    let mut fleet = fleet_in_game(2, LinkProfile::rtt(60));
    fleet.ticks(30);
    fleet.drop_client(0);
    let mut seen = Vec::new();
    until(&mut fleet, 10, |fleet| {
        seen.extend(fleet.server().events());
        !seen.is_empty()
    });
    assert_eq!(seen[0].disconnect_reason, Some(DisconnectReason::ClosedByRemote));
    fleet.ticks(30);
    assert_eq!(fleet.server().connections().len(), 1);
}

#[test]
fn a_server_whose_frames_hold_several_ticks_sends_no_packets_for_acknowledgements_alone() {
    let mut fleet = fleet_in_game(2, LinkProfile::rtt(60));
    for number in 0..20 {
        let position = Position { value: Vec3::new(number as f32, 0.0, 0.0) };
        fleet.server().world_mut().spawn_ghost::<Crate>((position, Health { points: number }));
    }
    // Three ticks in a frame of the server's, of which the last one sends; clients go on at their pace.
    let play = |fleet: &mut Fleet, rounds: usize| {
        for _ in 0..rounds {
            fleet.tick_server(3 * FRAME);
            for client in [0, 0, 0, 1, 1, 1] {
                fleet.tick_client(client, FRAME);
            }
        }
        let connections = fleet.server().connections();
        let world = fleet.server().world();
        let driver = world.resource::<NetworkStreamDriver>();
        let of = |connection: &Entity| {
            let handle = world.get::<NetworkStreamConnection>(*connection).unwrap().handle;
            let statistics = driver.statistics(handle).unwrap();
            (statistics.packets_sent, statistics.packets_of_acks_alone)
        };
        connections.iter().map(of).fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    };
    let before = play(&mut fleet, 60);
    let after = play(&mut fleet, 60);
    assert!(after.0 - before.0 >= 120, "{} packets in 60 frames for two clients", after.0 - before.0);
    assert_eq!(after.1, before.1);
}

// What the testkit itself promises in this shape.

#[test]
fn what_is_injected_travels_inside_the_encryption() {
    let mut fleet = fleet_in_game(2, LinkProfile::rtt(60));
    fleet.ticks(30);
    fleet.logs().expect("a message of an unknown kind, in the wrong direction");
    fleet.link(0).inject(Direction::ToServer, MessageKind::Snapshot, &[1, 2, 3]);
    fleet.link(1).inject(Direction::ToClient, MessageKind::Command, &[1, 2, 3]);
    fleet.ticks(10);
    let invalid = |world: &World| world.resource::<NetworkStats>().invalid_messages;
    assert_eq!(invalid(fleet.server().world()), 1);
    assert_eq!((invalid(fleet.client(0).world()), invalid(fleet.client(1).world())), (0, 1));
    assert!(!fleet.link(0).try_inject(Direction::ToServer, Pipeline::ReliableOrdered, vec![0; 1_000_000]));
}

#[test]
fn a_link_can_be_cut_mended_recorded_and_counted() {
    let mut fleet = fleet_in_game(1, LinkProfile::rtt(60).with_loss_percent(20.0));
    fleet.link(0).record();
    fleet.ticks(60);
    let recorded = fleet.link(0).recorded();
    let of = |direction| recorded.iter().filter(|message| message.direction == direction).count();
    assert!(of(Direction::ToServer) >= 50 && of(Direction::ToClient) >= 50, "{}", recorded.len());
    let before = fleet.link(0).stats(Direction::ToServer);
    assert!(before.sent >= 60 && before.lost > 3, "{before:?}");

    let received = |fleet: &mut Fleet| fleet.server().world().resource::<NetworkStats>().received_bytes;
    fleet.link(0).cut(Direction::ToServer);
    fleet.ticks(10);
    let at_the_cut = received(&mut fleet);
    fleet.ticks(60);
    assert_eq!(received(&mut fleet), at_the_cut);
    fleet.link(0).mend(Direction::ToServer);
    fleet.ticks(60);
    assert!(received(&mut fleet) > at_the_cut);
}

/// A minute of everything, with faults: application bytes, and when packets of which size were sent from where to where.
type Run = (Vec<Recorded>, Vec<(Duration, std::net::SocketAddr, std::net::SocketAddr, usize)>, Vec<Vec<u8>>);

fn run(seed: u64, order: WorldOrder) -> Run {
    const CLIENTS: usize = 3;
    let mut dice = Dice::new(seed);
    let profile = LinkProfile::rtt(60).with_jitter_ms(15).with_loss_percent(5.0);
    let builder = Fleet::builder().plugin(RemoteGame).clients(CLIENTS).seed(seed).order(order).link(profile);
    let mut fleet = builder.tick_rate(unmerged()).transport(Transport::Quic).build();
    fleet.record_packets();
    for client in 0..CLIENTS {
        fleet.link(client).record();
    }
    fleet.connect_all();
    fleet.go_in_game_all();
    for client in 0..CLIENTS {
        let owner = fleet.client(client).network_id().unwrap();
        fleet.server().world_mut().spawn_ghost::<Player>(GhostOwner(owner));
    }
    for number in 0..200 {
        if dice.one_in(8) {
            fleet.server().world_mut().spawn_ghost::<Crate>(Position { value: Vec3::X * number as f32 });
        }
        let client = dice.below(CLIENTS);
        fleet.client(client).world_mut().resource_mut::<Presses>().next = dice.one_in(3);
        if dice.one_in(10) {
            fleet.client(client).world_mut().spawn((Line { number }, SendRpcCommandRequest::default()));
            fleet.server().world_mut().spawn((Line { number }, SendRpcCommandRequest::default()));
        }
        match dice.below(60) {
            0 => fleet.link(client).cut(Direction::ToClient),
            1..4 => fleet.link(client).mend(Direction::ToClient),
            4 => fleet.link(client).set(LinkProfile::rtt(200).with_loss_percent(33.0)),
            _ => {}
        }
        fleet.tick_by(FRAME.mul_f64(dice.between(0.5, 1.5)));
    }
    let messages = (0..CLIENTS).flat_map(|client| fleet.link(client).recorded()).collect();
    let packets = fleet.packets();
    let shapes = packets.iter().map(|packet| (packet.at, packet.from, packet.to, packet.bytes.len())).collect();
    (messages, shapes, packets.into_iter().map(|RecordedPacket { bytes, .. }| bytes).collect())
}

#[test]
fn equal_seeds_give_equal_bytes_and_packets_of_equal_sizes_at_equal_times() {
    for order in [WorldOrder::ServerFirst, WorldOrder::ClientFirst] {
        let (messages, shapes, packets) = run(1, order);
        let again = run(1, order);
        assert!(messages.len() > 1_000 && shapes.len() > 1_000, "{} {}", messages.len(), shapes.len());
        for (place, (one, other)) in messages.iter().zip(&again.0).enumerate() {
            assert_eq!(one, other, "{order:?}: message {place}");
        }
        for (place, (one, other)) in shapes.iter().zip(&again.1).enumerate() {
            assert_eq!(one, other, "{order:?}: packet {place}");
        }
        assert_eq!((messages.len(), shapes.len()), (again.0.len(), again.1.len()));
        assert_ne!(packets, again.2, "keys are never the same");
    }
    assert!(
        run(1, WorldOrder::ServerFirst).1 != run(2, WorldOrder::ServerFirst).1,
        "or the comparison compares nothing"
    );
}

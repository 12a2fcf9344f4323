//! RPCs: RPC-01 to RPC-17, NEW-11 and NEW-12 as far as they concern RPCs, and the rows of the feature table about them.

use crate::common::*;
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_ecs::system::RunSystemOnce;
use ghostline::connection::{ConnectionStatus, IncomingRpcDataStreamBuffer, OutgoingRpcDataStreamBuffer};
use ghostline::prelude::*;
use ghostline::rpc::{MaxRpcAgeFrames, RpcAppExt, SendRpcError};
use ghostline::stats::NetworkStats;
use ghostline::wire::{BitReader, BitWriter, DecodeError};
use ghostline_testkit::{Direction, MessageKind, Pipeline, Transport};

#[derive(Component, RpcCommand, Clone, Copy, PartialEq, Debug)]
struct Numbers {
    a: i32,
    b: i16,
    c: f32,
}

#[derive(Component, RpcCommand, Clone, Copy, PartialEq, Debug)]
struct Signal;

#[derive(Component, RpcCommand, Clone, Copy, PartialEq, Debug)]
struct Point {
    at: GhostRef,
}

#[derive(Component, RpcCommand, Clone, PartialEq, Debug)]
struct Block {
    bytes: [u64; 512],
    index: u32,
}

/// Written by hand, and not a whole number of bytes: 1 bit, three packed differences, 1 bit.
#[derive(Component, Clone, Copy, PartialEq, Debug)]
struct ByHand {
    values: [i32; 3],
}

impl RpcCommand for ByHand {
    fn name() -> &'static str {
        "ByHand"
    }
    fn canonical_text() -> String {
        "ByHand(values:delta)".into()
    }
    fn encode(&self, out: &mut BitWriter) {
        out.write_bool(true);
        for value in self.values {
            out.write_packed_signed(value);
        }
        out.write_bool(false);
    }
    fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        input.read_bool()?;
        let values = [input.read_packed_signed()?, input.read_packed_signed()?, input.read_packed_signed()?];
        input.read_bool()?;
        Ok(Self { values })
    }
}

/// Reads one bit more, or one less, than it wrote.
#[derive(Component, Clone, Copy)]
struct Crooked<const MORE: bool>;

impl<const MORE: bool> RpcCommand for Crooked<MORE> {
    fn name() -> &'static str {
        if MORE { "ReadsTooMuch" } else { "ReadsTooLittle" }
    }
    fn canonical_text() -> String {
        format!("{}()", Self::name())
    }
    fn encode(&self, out: &mut BitWriter) {
        out.write_u8(255);
    }
    fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        input.read_bits(if MORE { 9 } else { 7 }).map(|_| Self)
    }
}

struct Rpcs;

impl Plugin for Rpcs {
    fn build(&self, app: &mut App) {
        app.add_plugins(Game);
        app.register_rpc::<Numbers>()
            .register_rpc::<Signal>()
            .register_rpc::<Point>()
            .register_rpc::<Block>()
            .register_rpc::<ByHand>()
            .register_rpc::<Crooked<true>>()
            .register_rpc::<Crooked<false>>();
    }
}

fn fleet(clients: usize, shape: Shape) -> Fleet {
    let mut fleet = shape.fleet().plugin(Rpcs).clients(clients).build();
    fleet.connect_all();
    fleet.ticks(2);
    fleet
}

fn request<T: Component>(world: &mut World, rpc: T, target: Option<Entity>) {
    world.spawn((rpc, SendRpcCommandRequest { target }));
}

/// Takes the received RPCs of one type, in the order of arrival.
fn take<T: Component + Clone>(world: &mut World) -> Vec<T> {
    let mut found: Vec<(u64, Entity, T)> = world
        .query::<(Entity, &ReceiveRpcCommandRequest, &T)>()
        .iter(world)
        .map(|(entity, request, rpc)| (request.sequence(), entity, rpc.clone()))
        .collect();
    found.sort_by_key(|(sequence, ..)| *sequence);
    for (_, entity, _) in &found {
        world.despawn(*entity);
    }
    found.into_iter().map(|(.., rpc)| rpc).collect()
}

#[test]
fn every_request_arrives_once_with_and_without_a_target() {
    for shape in SHAPES {
        for targeted in [false, true] {
            let mut fleet = fleet(1, shape);
            let server = fleet.client(0).connections()[0];
            let mut received = Vec::new();
            for tick in 0..22 {
                if tick < 10 {
                    let rpc = Numbers { a: tick, b: 1, c: 0.5 };
                    request(fleet.client(0).world_mut(), rpc, targeted.then_some(server));
                }
                fleet.tick();
                received.extend(take::<Numbers>(fleet.server().world_mut()).into_iter().map(|rpc| rpc.a));
            }
            assert_eq!(received, (0..10).collect::<Vec<_>>(), "{shape:?}, targeted: {targeted}");
            assert_eq!(count::<SendRpcCommandRequest>(fleet.client(0).world_mut()), 0);
        }
    }
}

#[test]
fn an_rpc_arrives_intact_within_four_ticks_and_names_its_source() {
    let mut fleet = fleet(2, SHAPES[0]);
    let sent = Numbers { a: 123_456, b: 32_154, c: 12_345.67 };
    request(fleet.client(1).world_mut(), sent, None);
    fleet.ticks(2);
    assert_eq!(count::<Numbers>(fleet.server().world_mut()), 0, "invisible for two ticks");
    fleet.tick();
    let source = fleet.server().connections()[1];
    let world = fleet.server().world_mut();
    let (rpc, request) = world.query::<(&Numbers, &ReceiveRpcCommandRequest)>().single(world).unwrap();
    assert_eq!((*rpc, request.source_connection), (sent, source));
    take::<Numbers>(world);
}

#[test]
fn a_broadcast_reaches_every_client_and_a_targeted_rpc_one() {
    for shape in SHAPES {
        let mut fleet = fleet(2, shape);
        let second = fleet.server().connections()[1];
        for _ in 0..5 {
            request(fleet.server().world_mut(), Signal, None);
        }
        request(fleet.server().world_mut(), Numbers { a: 1, b: 2, c: 3.0 }, Some(second));
        fleet.ticks(4);
        for client in 0..2 {
            assert_eq!(take::<Signal>(fleet.client(client).world_mut()).len(), 5);
            assert_eq!(take::<Numbers>(fleet.client(client).world_mut()).len(), client);
        }
    }
}

#[test]
fn fifty_small_rpcs_share_a_packet_and_thousands_arrive_in_order() {
    let mut fleet = fleet(1, SHAPES[0]);
    let packets = |fleet: &mut Fleet| fleet.client(0).world().resource::<NetworkStats>().sent_rpc_packets;
    let before = packets(&mut fleet);
    for _ in 0..50 {
        request(fleet.client(0).world_mut(), Signal, None);
    }
    fleet.tick();
    assert_eq!(packets(&mut fleet) - before, 1);
    for index in 0..5000 {
        request(fleet.client(0).world_mut(), Numbers { a: index, b: 0, c: 0.0 }, None);
        if index % 100 == 0 {
            request(fleet.client(0).world_mut(), Block { bytes: [u64::MAX; 512], index: index as u32 }, None);
        }
    }
    let (mut numbers, mut blocks) = (Vec::new(), Vec::new());
    for _ in 0..16 {
        fleet.tick();
        numbers.extend(take::<Numbers>(fleet.server().world_mut()).into_iter().map(|rpc| rpc.a));
        blocks.extend(take::<Block>(fleet.server().world_mut()).into_iter().map(|rpc| rpc.index));
        take::<Signal>(fleet.server().world_mut());
    }
    assert_eq!(numbers, (0..5000).collect::<Vec<_>>());
    assert_eq!(blocks, (0..5000).step_by(100).collect::<Vec<_>>());
}

#[test]
fn rpcs_of_different_types_arrive_in_the_order_in_which_they_were_sent() {
    let mut fleet = fleet(1, SHAPES[0]);
    for index in 0..20 {
        request(fleet.client(0).world_mut(), Numbers { a: index, b: 0, c: 0.0 }, None);
        request(fleet.client(0).world_mut(), ByHand { values: [index; 3] }, None);
    }
    fleet.ticks(4);
    let world = fleet.server().world_mut();
    let mut received: Vec<(u64, i32)> = world
        .query::<(&ReceiveRpcCommandRequest, Option<&Numbers>, Option<&ByHand>)>()
        .iter(world)
        .map(|(request, numbers, by_hand)| match (numbers, by_hand) {
            (Some(numbers), None) => (request.sequence(), 2 * numbers.a),
            (None, Some(by_hand)) => (request.sequence(), 2 * by_hand.values[0] + 1),
            _ => panic!("one RPC per entity"),
        })
        .collect();
    received.sort();
    assert_eq!(received.into_iter().map(|(_, index)| index).collect::<Vec<_>>(), (0..40).collect::<Vec<_>>());
    take::<Numbers>(world);
    take::<ByHand>(world);
}

#[test]
fn rpcs_written_by_hand_travel_through_the_sender_in_order() {
    for shape in SHAPES {
        let mut fleet = fleet(1, shape);
        let send = |mut rpcs: RpcSender| {
            for i in 0..35 {
                rpcs.send_to_server(ByHand { values: [86 * i, 1000 * i, -152 * i] }).unwrap();
            }
        };
        fleet.client(0).world_mut().run_system_once(send).unwrap();
        fleet.ticks(4);
        let received: Vec<[i32; 3]> =
            take::<ByHand>(fleet.server().world_mut()).into_iter().map(|rpc| rpc.values).collect();
        assert_eq!(received, (0..35).map(|i| [86 * i, 1000 * i, -152 * i]).collect::<Vec<_>>());
    }
}

#[test]
fn the_sender_says_what_is_wrong() {
    #[derive(Component, RpcCommand)]
    struct Unknown;
    #[derive(Component, RpcCommand)]
    struct Huge {
        text: [[u64; 1024]; 2],
    }
    let plugin = |app: &mut App| {
        app.add_plugins(Rpcs);
        app.register_rpc::<Huge>();
    };
    let mut fleet = Fleet::builder().plugin(plugin).build();
    fleet
        .client(0)
        .world_mut()
        .run_system_once(|mut rpcs: RpcSender| {
            assert_eq!(rpcs.send_to_server(Signal), Err(SendRpcError::NoConnection));
            assert_eq!(rpcs.broadcast(Signal), Err(SendRpcError::NoConnection));
        })
        .unwrap();
    fleet.listen();
    let server = fleet.connect(0);
    let connecting = move |mut rpcs: RpcSender| {
        assert_eq!(rpcs.send(server, Signal), Err(SendRpcError::NotReady(ConnectionStatus::Connecting)));
    };
    fleet.client(0).world_mut().run_system_once(connecting).unwrap();
    fleet.connect_all();
    fleet.ticks(2);
    let stray = fleet.client(0).world_mut().spawn_empty().id();
    let connected = move |mut rpcs: RpcSender| {
        assert_eq!(rpcs.send(stray, Signal), Err(SendRpcError::NotAConnection(stray)));
        assert_eq!(rpcs.send(server, Unknown), Err(SendRpcError::NotRegistered("Unknown")));
        let huge = rpcs.send(server, Huge { text: [[u64::MAX; 1024]; 2] });
        assert!(matches!(huge, Err(SendRpcError::TooLarge { limit: 8191, .. })), "{huge:?}");
        assert_eq!(rpcs.broadcast(Signal), Ok(1));
        let mut blocks = 0;
        let full = loop {
            match rpcs.send(server, Block { bytes: [u64::MAX; 512], index: 0 }) {
                Ok(()) => blocks += 1,
                Err(error) => break error,
            }
        };
        assert!(blocks > 500, "{blocks}");
        assert!(matches!(full, SendRpcError::Full { .. }));
    };
    fleet.client(0).world_mut().run_system_once(connected).unwrap();
    let mut received = 0;
    for _ in 0..30 {
        fleet.tick();
        received += take::<Block>(fleet.server().world_mut()).len();
        take::<Signal>(fleet.server().world_mut());
    }
    assert!(received > 500, "what was taken arrives: {received}");
    assert!(fleet.client(0).world().get::<OutgoingRpcDataStreamBuffer>(server).unwrap().is_empty());
}

#[test]
fn a_codec_that_reads_too_much_or_too_little_ends_the_connection() {
    fn check<const MORE: bool>(shape: Shape) {
        let mut fleet = fleet(2, shape);
        fleet.logs().expect(r"RPC `Reads.*\(\)` could not be read to its last bit");
        let honest = fleet.server().connections()[1];
        request(fleet.client(0).world_mut(), Signal, None);
        request(fleet.client(0).world_mut(), Crooked::<MORE>, None);
        fleet.ticks(8);
        assert_eq!(fleet.server().connections(), [honest]);
        assert!(fleet.client(0).connections().is_empty());
        let server = fleet.server().world_mut();
        assert_eq!((count::<Crooked<MORE>>(server), count::<Signal>(server)), (0, 0), "nothing of its packet runs");
    }
    for shape in SHAPES {
        check::<true>(shape);
        check::<false>(shape);
    }
}

#[test]
fn an_rpc_goes_with_its_connection() {
    let mut fleet = fleet(1, SHAPES[0]);
    request(fleet.client(0).world_mut(), Signal, None);
    for _ in 0..2 {
        fleet.tick();
        assert_eq!(count::<Signal>(fleet.server().world_mut()), 0);
    }
    fleet.tick();
    assert_eq!(count::<Signal>(fleet.server().world_mut()), 1);
    let connection = fleet.server().connections()[0];
    fleet.server().world_mut().disconnect(connection, DisconnectReason::ConnectionClose);
    fleet.tick();
    assert_eq!(count::<Signal>(fleet.server().world_mut()), 0);
}

#[test]
fn an_rpc_of_a_client_that_disconnects_before_it_is_processed_is_not_processed() {
    for shape in SHAPES {
        let mut fleet = fleet(1, shape);
        let server = fleet.client(0).connections()[0];
        request(fleet.client(0).world_mut(), Signal, None);
        fleet.client(0).world_mut().disconnect(server, DisconnectReason::ConnectionClose);
        for _ in 0..if shape.transport == Transport::InProcess { 4 } else { 8 } {
            fleet.tick();
            assert_eq!(count::<Signal>(fleet.server().world_mut()), 0);
        }
        assert!(fleet.client(0).connections().is_empty() && fleet.server().connections().is_empty());
    }
}

#[test]
fn references_to_ghosts_resolve_on_either_side_or_come_as_none() {
    let mut fleet = fleet(1, SHAPES[0]);
    fleet.go_in_game_all();
    let on_server = fleet.server().world_mut().spawn_ghost::<Walker>(Position::default());
    fleet.ticks(16);
    let client = fleet.client(0).world_mut();
    let on_client = client.query_filtered::<Entity, With<Walker>>().single(client).unwrap();
    let only_here = client.spawn_empty().id();
    let received = |fleet: &mut Fleet, at: Entity| {
        request(fleet.client(0).world_mut(), Point { at: at.into() }, None);
        fleet.ticks(4);
        take::<Point>(fleet.server().world_mut())[0].at.entity()
    };
    assert_eq!(received(&mut fleet, on_client), Some(on_server));
    assert_eq!(received(&mut fleet, only_here), None);
    request(fleet.server().world_mut(), Point { at: on_server.into() }, None);
    fleet.ticks(4);
    assert_eq!(take::<Point>(fleet.client(0).world_mut())[0].at.entity(), Some(on_client));
    // Gone while the RPC is under way, then a stale handle.
    request(fleet.client(0).world_mut(), Point { at: on_client.into() }, None);
    request(fleet.server().world_mut(), Point { at: on_server.into() }, None);
    fleet.tick();
    fleet.server().world_mut().despawn(on_server);
    fleet.ticks(4);
    assert_eq!(take::<Point>(fleet.server().world_mut())[0].at.entity(), None);
    // The client has heard the RPC before it hears of the death: it names the ghost that is still there.
    assert_eq!(take::<Point>(fleet.client(0).world_mut())[0].at.entity(), Some(on_client));
    fleet.ticks(8);
    assert_eq!(received(&mut fleet, on_client), None);
}

#[test]
fn an_rpc_that_cannot_be_sent_is_reported_and_hurts_nobody() {
    let mut fleet = Fleet::builder().plugin(Rpcs).build();
    fleet.logs().expect("sent without a connection");
    fleet.logs().expect("still Connecting");
    fleet.logs().expect("still Handshake");
    fleet.logs().expect("to an entity that is no connection");
    request(fleet.client(0).world_mut(), Signal, None);
    request(fleet.server().world_mut(), Signal, None);
    fleet.tick();
    assert_eq!(fleet.logs().count("sent without a connection"), 2);
    fleet.listen();
    let server = fleet.connect(0);
    request(fleet.client(0).world_mut(), Signal, None);
    request(fleet.client(0).world_mut(), Signal, Some(server));
    fleet.tick();
    assert_eq!(fleet.logs().count("still Connecting"), 2);
    fleet.tick();
    request(fleet.client(0).world_mut(), Signal, Some(server));
    let on_server = fleet.server().connections()[0];
    request(fleet.server().world_mut(), Signal, Some(on_server));
    request(fleet.server().world_mut(), Signal, None);
    fleet.tick();
    assert_eq!(fleet.logs().count("still Handshake"), 2, "a broadcast skips in silence");
    fleet.ticks(3);
    assert_eq!(count::<NetworkId>(fleet.client(0).world_mut()), 1);
    let stray = fleet.client(0).world_mut().spawn_empty().id();
    request(fleet.client(0).world_mut(), Signal, Some(stray));
    fleet.tick();
    assert_eq!(fleet.logs().count("no connection \\(any more\\)"), 1);
}

#[test]
fn an_rpc_that_nobody_consumes_is_named_once_after_four_frames() {
    for (limit, consumed, expected) in [(None, false, 1), (Some(0), false, 0), (Some(9), false, 1), (None, true, 0)] {
        let mut fleet = fleet(1, SHAPES[0]);
        if let Some(limit) = limit {
            fleet.server().world_mut().insert_resource(MaxRpcAgeFrames(limit));
        }
        if expected > 0 {
            fleet.logs().expect("nobody has consumed it");
        }
        request(fleet.client(0).world_mut(), Signal, None);
        fleet.ticks(3);
        let world = fleet.server().world_mut();
        let mut request = world.query::<&mut ReceiveRpcCommandRequest>().single_mut(world).unwrap();
        if consumed {
            request.consume();
        }
        fleet.ticks(limit.unwrap_or(4).max(1) as usize - 1);
        assert_eq!(fleet.logs().count("nobody has consumed it"), 0);
        fleet.ticks(20);
        assert_eq!(fleet.logs().count(r"RPC `Signal\(\)` .* nobody has consumed it"), expected);
        assert_eq!(count::<Signal>(fleet.server().world_mut()), 1, "it is not despawned for the game");
    }
}

#[test]
fn unknown_numbers_and_oversized_claims_end_the_connection_of_their_sender_alone() {
    let oversized = [16, 0, 255, 255];
    let unknown = [255, 255, 0, 0];
    let cut = [16, 0, 64];
    for frame in [&oversized[..], &unknown[..], &cut[..]] {
        let mut fleet = fleet(2, SHAPES[0]);
        fleet.logs().expect("an RPC packet was refused");
        let honest = fleet.server().connections()[1];
        fleet.link(0).inject(Direction::ToServer, MessageKind::Rpc, frame);
        fleet.ticks(4);
        assert_eq!(fleet.server().connections(), [honest]);
        assert_eq!(fleet.client(0).connections(), []);
        request(fleet.client(1).world_mut(), Signal, None);
        fleet.ticks(3);
        assert_eq!(take::<Signal>(fleet.server().world_mut()).len(), 1);
    }
}

#[test]
fn flipped_bits_cost_nobody_but_their_sender() {
    let mut fleet = fleet(2, SHAPES[0]);
    fleet.logs().expect("an RPC packet was refused|dropped a message");
    fleet.link(0).record();
    for index in 0..15 {
        request(fleet.client(0).world_mut(), Numbers { a: index, b: 0, c: 0.0 }, None);
        request(fleet.client(1).world_mut(), Numbers { a: 100 + index, b: 0, c: 0.0 }, None);
    }
    fleet.tick();
    let packet = fleet.link(0).recorded().pop().unwrap().bytes;
    let mut state = 1u64;
    let mut honest = Vec::new();
    for _ in 0..40 {
        if !fleet.client(0).connections().is_empty() {
            let mut bytes = packet.clone();
            for _ in 0..10 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let bit = (state >> 33) as usize % (bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            fleet.link(0).inject_raw(Direction::ToServer, Pipeline::ReliableOrdered, bytes);
        }
        fleet.tick();
        let received = take::<Numbers>(fleet.server().world_mut());
        honest.extend(received.into_iter().map(|rpc| rpc.a).filter(|a| (100..115).contains(a)));
        take::<ByHand>(fleet.server().world_mut());
        take::<Signal>(fleet.server().world_mut());
        take::<Point>(fleet.server().world_mut());
        take::<Block>(fleet.server().world_mut());
    }
    assert!((100..115).all(|a| honest.contains(&a)), "{honest:?}");
    assert!(fleet.client(0).connections().is_empty(), "who sends this is sent away");
    assert_eq!(fleet.server().connections().len(), 1);
}

#[test]
fn registering_twice_or_too_late_is_an_error() {
    let plugin = |app: &mut App| {
        assert_eq!(app.try_register_rpc::<Signal>(), Ok(()));
        assert!(app.try_register_rpc::<Signal>().is_err());
    };
    let mut fleet = Fleet::builder().plugin(plugin).build();
    assert_eq!(fleet.server().world().resource::<RpcCollection>().len(), 1);
    assert_eq!(fleet.client(0).world().resource::<RpcCollection>().len(), 1);
}

#[test]
fn received_rpcs_lie_in_the_buffer_between_the_receive_step_and_their_turn() {
    for shape in SHAPES {
        #[derive(Resource, Default)]
        struct Seen(Vec<usize>);
        let plugin = |app: &mut App| {
            app.add_plugins(Rpcs);
            app.init_resource::<Seen>();
            app.add_systems_in(
                WorldFlags::SERVER,
                AfterNetworkReceive,
                |mut seen: ResMut<Seen>, buffers: Query<&IncomingRpcDataStreamBuffer>| {
                    seen.0.push(buffers.iter().map(IncomingRpcDataStreamBuffer::len).sum());
                },
            );
        };
        let mut fleet = shape.fleet().plugin(plugin).build();
        fleet.connect_all();
        fleet.ticks(4);
        fleet.server().world_mut().resource_mut::<Seen>().0.clear();
        request(fleet.client(0).world_mut(), Signal, None);
        fleet.ticks(3);
        let seen: Vec<usize> = fleet.server().world().resource::<Seen>().0.iter().copied().filter(|&n| n > 0).collect();
        assert_eq!(seen, [1], "in one tick after the receive step, and gone in the next");
        take::<Signal>(fleet.server().world_mut());
    }
}

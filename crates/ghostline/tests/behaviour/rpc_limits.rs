//! RPCs in numbers, over bad links, at their bounds, and without a guarantee: R-06, R-26, RPC-05 to RPC-10, RPC-15 to RPC-17, FIX-06, and
//! unreliable RPCs.

use crate::common::*;
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_ecs::system::RunSystemOnce;
use ghostline::FixedString;
use ghostline::connection::{ConnectionStatus, OutgoingRpcDataStreamBuffer};
use ghostline::ghost::SpawnedGhostEntityMap;
use ghostline::prelude::*;
use ghostline::rpc::{FixedList, MAX_RPCS_PER_TICK, MaxRpcAgeFrames, RpcValueError, SendRpcError};
use ghostline::stats::NetworkStats;
use ghostline::wire::{BitReader, BitWriter, DecodeError};
use ghostline_testkit::{Direction, LinkConditions, LinkProfile, MessageKind, Pipeline, Transport};

#[derive(Component, RpcCommand, Clone, Copy, PartialEq, Debug)]
struct Number(u32);

#[derive(Component, RpcCommand, Clone, PartialEq, Debug)]
struct Point {
    at: GhostRef,
}

#[derive(Component, RpcCommand, Clone, PartialEq, Debug)]
struct Path {
    before: u32,
    steps: FixedList<u8, 2000>,
    after: u32,
}

#[derive(Component, RpcCommand, Clone, PartialEq, Debug)]
struct Bytes {
    bytes: FixedList<u64, 1024>,
}

#[derive(Component, ApprovalRpcCommand, Clone, PartialEq, Debug)]
struct Ticket {
    token: FixedString<512>,
}

/// A place on a map that somebody points at: worthless when it comes late.
#[derive(Component, RpcCommand, Clone, Copy, PartialEq, Debug)]
#[rpc(unreliable)]
struct Spot {
    number: u32,
}

/// Unreliable, and larger than a datagram.
#[derive(Component, RpcCommand, Clone, PartialEq, Debug)]
#[rpc(unreliable)]
struct Map {
    cells: FixedList<u64, 900>,
}

/// 1 bit, three packed differences, 1 bit. `READ` bits of the last one are read: 1 is right.
#[derive(Component, Clone, Copy, PartialEq, Debug)]
struct Packed<const READ: u32>([i32; 3]);

impl<const READ: u32> RpcCommand for Packed<READ> {
    fn name() -> &'static str {
        ["PackedReadsTooFew", "Packed", "PackedReadsTooMany"][READ as usize]
    }
    fn canonical_text() -> String {
        format!("{}(values:delta)", Self::name())
    }
    fn encode(&self, out: &mut BitWriter) {
        out.write_bool(true);
        for value in self.0 {
            out.write_packed_signed(value);
        }
        out.write_bool(false);
    }
    fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        input.read_bool()?;
        let values = [input.read_packed_signed()?, input.read_packed_signed()?, input.read_packed_signed()?];
        input.read_bits(READ)?;
        Ok(Self(values))
    }
}

/// With RPCs that are named by number or by hash.
#[derive(Clone, Copy)]
struct Rpcs {
    dynamic: bool,
}

impl Plugin for Rpcs {
    fn build(&self, app: &mut App) {
        app.add_plugins(Game);
        app.set_dynamic_assembly_list(self.dynamic)
            .register_rpc::<Number>()
            .register_rpc::<Point>()
            .register_rpc::<Path>()
            .register_rpc::<Bytes>()
            .register_rpc::<Spot>()
            .register_rpc::<Map>()
            .register_rpc::<Packed<0>>()
            .register_rpc::<Packed<1>>()
            .register_rpc::<Packed<2>>()
            .register_approval_rpc::<Ticket>();
    }
}

const NUMBERED: Rpcs = Rpcs { dynamic: false };

fn fleet(rpcs: Rpcs, clients: usize, shape: Shape, link: LinkProfile) -> Fleet {
    let mut fleet = shape.fleet().plugin(rpcs).clients(clients).link(link).build();
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

fn numbers(world: &mut World) -> Vec<u32> {
    take::<Number>(world).into_iter().map(|number| number.0).collect()
}

fn stats(world: &World) -> NetworkStats {
    *world.resource::<NetworkStats>()
}

#[test]
fn every_rpc_arrives_in_order_under_20_percent_loss() {
    for shape in SHAPES {
        let link = LinkProfile::rtt(60).with_loss_percent(20.0);
        let mut fleet = fleet(NUMBERED, 1, shape, link);
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for tick in 0..1_200 {
            if tick < 500 {
                for number in [2 * tick, 2 * tick + 1] {
                    request(fleet.client(0).world_mut(), Number(number), None);
                    request(fleet.server().world_mut(), Number(number), None);
                }
            }
            fleet.tick();
            up.extend(numbers(fleet.server().world_mut()));
            down.extend(numbers(fleet.client(0).world_mut()));
        }
        let all: Vec<u32> = (0..1_000).collect();
        assert!(up == all && down == all, "{shape:?}: {} and {} of 1000", up.len(), down.len());
        assert!(fleet.link(0).stats(Direction::ToServer).lost > 20, "the link was lossy");
    }
}

#[test]
fn a_thousand_rpcs_in_a_frame_arrive_together() {
    for shape in SHAPES {
        let mut fleet = fleet(NUMBERED, 1, shape, LinkProfile::perfect());
        for number in 0..1_000 {
            request(fleet.client(0).world_mut(), Number(number), None);
        }
        let mut per_tick = Vec::new();
        for _ in 0..6 {
            fleet.tick();
            per_tick.push(numbers(fleet.server().world_mut()));
        }
        per_tick.retain(|received| !received.is_empty());
        assert_eq!(per_tick, [(0..1_000).collect::<Vec<u32>>()], "{shape:?}");
    }
}

#[test]
fn a_burst_of_52_kilobytes_arrives_whole() {
    for rpcs in [NUMBERED, Rpcs { dynamic: true }] {
        for link in [LinkProfile::perfect(), LinkProfile::rtt(60), LinkProfile::rtt(60).with_periodic_loss(3)] {
            let mut fleet = fleet(rpcs, 1, SHAPES[0], link);
            let block = |seed: u64| Bytes { bytes: (0..500).map(|word| u64::MAX - word * seed).collect() };
            let blocks: Vec<Bytes> = (0..13).map(block).collect();
            let bytes: usize = blocks
                .iter()
                .map(|block| {
                    let mut out = BitWriter::new();
                    block.encode(&mut out);
                    out.byte_len()
                })
                .sum();
            assert!(bytes >= 52_000, "{bytes}");
            for block in &blocks {
                request(fleet.client(0).world_mut(), block.clone(), None);
            }
            let mut received = Vec::new();
            for _ in 0..300 {
                fleet.tick();
                received.extend(take::<Bytes>(fleet.server().world_mut()));
            }
            assert!(received == blocks, "{link:?}: {} of 13", received.len());
        }
    }
}

#[test]
fn more_than_a_tick_takes_waits_for_the_next_and_keeps_its_order() {
    let mut fleet = fleet(NUMBERED, 1, SHAPES[0], LinkProfile::perfect());
    let count = 3 * MAX_RPCS_PER_TICK as u32;
    for number in 0..count {
        request(fleet.client(0).world_mut(), Number(number), None);
    }
    let mut received = Vec::new();
    for _ in 0..8 {
        fleet.tick();
        let now = numbers(fleet.server().world_mut());
        assert!(now.len() < MAX_RPCS_PER_TICK + ghostline::wire::limits::MAX_RPC_FRAMES_PER_PACKET, "{}", now.len());
        received.extend(now);
    }
    assert_eq!(received, (0..count).collect::<Vec<_>>());
}

#[test]
fn a_list_of_1024_elements_travels_and_one_of_1029_is_an_error_of_the_sender() {
    for shape in SHAPES {
        let mut fleet = fleet(NUMBERED, 1, shape, LinkProfile::perfect());
        fleet.logs().expect("a list of 1029 elements is above the limit of 1024");
        let path = |len: usize| Path { before: 77, steps: (0..len).map(|step| step as u8).collect(), after: 88 };
        let send = move |mut rpcs: RpcSender| {
            assert_eq!(rpcs.send_to_server(path(1024)), Ok(()));
            let error = RpcValueError::TooManyElements { elements: 1029, limit: 1024 };
            assert_eq!(rpcs.send_to_server(path(1029)), Err(SendRpcError::Value(error)));
        };
        fleet.client(0).world_mut().run_system_once(send).unwrap();
        request(fleet.client(0).world_mut(), path(1029), None);
        request(fleet.client(0).world_mut(), path(0), None);
        fleet.ticks(4);
        assert_eq!(take::<Path>(fleet.server().world_mut()), [path(1024), path(0)], "{shape:?}");
        assert_eq!(fleet.logs().count("RPC `Path.*` is dropped: a list of 1029"), 1);
        assert_eq!(fleet.client(0).connections().len(), 1);
    }
}

#[test]
fn a_large_rpc_is_refused_and_the_next_one_arrives() {
    #[derive(Component, RpcCommand, Clone)]
    struct NineKilobytes {
        words: [u64; 1000],
    }
    let plugin = |app: &mut App| {
        app.add_plugins(NUMBERED).register_rpc::<NineKilobytes>();
    };
    let mut fleet = Fleet::builder().plugin(plugin).build();
    fleet.connect_all();
    fleet.ticks(2);
    fleet.logs().expect("its payload of 9500 bytes is above the limit of 8191");
    request(fleet.client(0).world_mut(), Number(1), None);
    request(fleet.client(0).world_mut(), NineKilobytes { words: [u64::MAX; 1000] }, None);
    request(fleet.client(0).world_mut(), Number(2), None);
    fleet.ticks(4);
    assert_eq!(numbers(fleet.server().world_mut()), [1, 2], "what was queued before and behind it is untouched");
}

#[test]
fn thirty_five_packed_rpcs_keep_their_bits_and_order() {
    for rpcs in [NUMBERED, Rpcs { dynamic: true }] {
        for shape in SHAPES {
            let mut fleet = fleet(rpcs, 1, shape, LinkProfile::perfect());
            let send = |mut rpcs: RpcSender| {
                for i in 0..35 {
                    rpcs.send_to_server(Packed::<1>([86 * i, 1000 * i, -152 * i])).unwrap();
                }
            };
            fleet.client(0).world_mut().run_system_once(send).unwrap();
            let mut received = Vec::new();
            for _ in 0..8 {
                fleet.tick();
                received.extend(take::<Packed<1>>(fleet.server().world_mut()));
            }
            let expected: Vec<Packed<1>> = (0..35).map(|i| Packed([86 * i, 1000 * i, -152 * i])).collect();
            assert_eq!(received, expected, "{shape:?}");
        }
    }
}

#[test]
fn a_codec_that_reads_too_many_or_too_few_bits_ends_the_connection_on_both_sides() {
    fn check<const READ: u32>(rpcs: Rpcs, shape: Shape) {
        let mut fleet = fleet(rpcs, 1, shape, LinkProfile::perfect());
        fleet.logs().expect("could not be read to its last bit");
        request(fleet.client(0).world_mut(), Packed::<READ>([1, 2, 3]), None);
        fleet.ticks(8);
        assert!(fleet.server().connections().is_empty() && fleet.client(0).connections().is_empty());
        assert_eq!(count::<Packed<READ>>(fleet.server().world_mut()), 0, "it was not executed");
    }
    for rpcs in [NUMBERED, Rpcs { dynamic: true }] {
        for shape in SHAPES {
            check::<0>(rpcs, shape);
            check::<2>(rpcs, shape);
        }
    }
}

/// RPC-06: what upstream leaves open is asserted here.
#[test]
fn a_client_that_damages_every_packet_is_thrown_out_and_the_other_one_loses_nothing() {
    for shape in SHAPES {
        let mut fleet = fleet(NUMBERED, 2, shape, LinkProfile::perfect());
        fleet.logs().expect("an RPC packet was refused|dropped a message");
        // Ten per cent of the bits of each of its packets are wrong.
        fleet.link(0).record();
        for number in 0..15 {
            request(fleet.client(0).world_mut(), Number(number), None);
        }
        fleet.tick();
        let honest = fleet.link(0).recorded().pop().unwrap().bytes;
        fleet.ticks(3);
        assert_eq!(numbers(fleet.server().world_mut()).len(), 15);
        let mut damaged = honest;
        for (place, byte) in damaged.iter_mut().enumerate().skip(1) {
            *byte ^= (1 << (place % 8)) * u8::from(place % 2 == 1);
        }
        let mut good = Vec::new();
        let mut reason = None;
        for number in 0..15 {
            request(fleet.client(1).world_mut(), Number(100 + number), None);
            fleet.link(0).try_inject(Direction::ToServer, Pipeline::ReliableOrdered, damaged.clone());
            fleet.tick();
            good.extend(numbers(fleet.server().world_mut()));
            reason = reason.or(fleet.client(0).events().iter().find_map(|event| event.disconnect_reason));
        }
        fleet.ticks(3);
        good.extend(numbers(fleet.server().world_mut()));
        assert_eq!(
            good,
            (100..115).collect::<Vec<_>>(),
            "{shape:?}: the good client's all arrive, the bad one's don't run"
        );
        assert_eq!(reason, Some(DisconnectReason::InvalidRpc));
        assert_eq!(fleet.server().connections().len(), 1);
        assert_eq!(fleet.client(1).connections().len(), 1);
    }
}

/// The same with a link that flips bits below RPCs which nothing protects.
#[test]
fn a_link_that_flips_bits_costs_its_own_client_alone() {
    let mut link = LinkProfile::perfect();
    link.up = LinkConditions { corrupt_percent: 100.0, ..link.up };
    let mut fleet = fleet(NUMBERED, 2, SHAPES[0], LinkProfile::perfect());
    fleet.logs().tolerate("an RPC packet was refused|dropped a|could not be read");
    fleet.link(0).set(link);
    let mut good = Vec::new();
    for number in 0..120 {
        request(fleet.client(1).world_mut(), Spot { number }, None);
        if !fleet.client(0).connections().is_empty() {
            request(fleet.client(0).world_mut(), Spot { number: 1_000_000 }, None);
        }
        fleet.tick();
        good.extend(take::<Spot>(fleet.server().world_mut()).into_iter().map(|spot| spot.number));
        take::<Number>(fleet.server().world_mut());
    }
    fleet.ticks(3);
    good.extend(take::<Spot>(fleet.server().world_mut()).into_iter().map(|spot| spot.number));
    good.retain(|number| *number < 120);
    assert_eq!(good, (0..120).collect::<Vec<_>>());
    assert!(fleet.client(0).connections().is_empty(), "who sends this is sent away");
    assert_eq!(fleet.client(1).connections().len(), 1);
}

#[test]
fn references_to_ghosts_resolve_both_ways_and_become_none_when_the_ghost_is_gone() {
    for shape in SHAPES {
        let mut fleet = fleet(NUMBERED, 1, shape, LinkProfile::perfect());
        fleet.go_in_game_all();
        let on_server = fleet.server().world_mut().spawn_ghost::<Walker>(Position::default());
        fleet.ticks(20);
        let client = fleet.client(0).world_mut();
        let on_client = client.query_filtered::<Entity, With<Walker>>().single(client).unwrap();
        let instance = *client.get::<GhostInstance>(on_client).unwrap();
        let only_here = client.spawn_empty().id();
        let up = |fleet: &mut Fleet, at: Entity| {
            request(fleet.client(0).world_mut(), Point { at: at.into() }, None);
            fleet.ticks(4);
            take::<Point>(fleet.server().world_mut()).remove(0).at.entity()
        };
        let down = |fleet: &mut Fleet, at: Entity| {
            request(fleet.server().world_mut(), Point { at: at.into() }, None);
            fleet.ticks(4);
            take::<Point>(fleet.client(0).world_mut()).remove(0).at.entity()
        };
        assert_eq!(up(&mut fleet, on_client), Some(on_server), "{shape:?}");
        assert_eq!(down(&mut fleet, on_server), Some(on_client), "{shape:?}");
        assert_eq!(up(&mut fleet, only_here), None, "an entity that only the client has");
        // Both are sent in the tick in which the ghost dies: when they arrive it is gone.
        request(fleet.client(0).world_mut(), Point { at: on_client.into() }, None);
        request(fleet.server().world_mut(), Point { at: on_server.into() }, None);
        fleet.server().world_mut().despawn(on_server);
        fleet.ticks(4);
        assert_eq!(take::<Point>(fleet.server().world_mut()).remove(0).at.entity(), None, "{shape:?}");
        assert_eq!(take::<Point>(fleet.client(0).world_mut()).remove(0).at.entity(), None, "{shape:?}");
        let spawn_tick = instance.spawn_tick.unwrap();
        for on_server in [true, false] {
            let world = if on_server { fleet.server().world() } else { fleet.client(0).world() };
            let map = world.resource::<SpawnedGhostEntityMap>();
            assert_eq!(
                map.get(instance.ghost_id, spawn_tick),
                None,
                "{shape:?}: the mapping is gone within four ticks"
            );
        }
        // The client shows an interpolated ghost until its time has come.
        fleet.ticks(4);
        assert_eq!(up(&mut fleet, on_client), None, "a stale handle");
        assert_eq!(down(&mut fleet, on_server), None, "a stale handle");
    }
}

fn large() -> Bytes {
    let mut bytes = FixedList::new();
    (0..1_000).for_each(|word| bytes.push(word).unwrap());
    Bytes { bytes }
}

#[test]
fn a_broadcast_reaches_who_has_room_and_says_how_many_have_none() {
    for shape in SHAPES {
        let mut fleet = fleet(NUMBERED, 2, shape, LinkProfile::perfect());
        let stalled = fleet.server().connections()[0];
        // All in one tick, so nothing leaves meanwhile.
        let fill = move |mut rpcs: RpcSender| (0..10_000).find_map(|_| rpcs.send(stalled, large()).err());
        let refused = fleet.server().world_mut().run_system_once(fill).unwrap();
        let Some(SendRpcError::Full { limit }) = refused else { panic!("{refused:?}") };
        let broadcast = |mut rpcs: RpcSender| rpcs.broadcast(large());
        let result = fleet.server().world_mut().run_system_once(broadcast).unwrap();
        assert_eq!(result, Err(SendRpcError::FullForSome { sent: 1, full: 1, limit }));
        let mut arrived = 0;
        for _ in 0..6 {
            fleet.tick();
            arrived += take::<Bytes>(fleet.client(1).world_mut()).len();
            take::<Bytes>(fleet.client(0).world_mut());
        }
        assert_eq!(arrived, 1, "{shape:?}");
    }
}

#[test]
fn sending_before_there_is_a_connection_is_reported_and_hinders_nothing() {
    for approval in [false, true] {
        let mut fleet = Fleet::builder().plugin(NUMBERED).build();
        for line in ["was sent without a connection", "still Connecting", "to an entity that is no connection"] {
            fleet.logs().expect(line);
        }
        if approval {
            fleet.logs().expect("still Handshake");
            for server in [true, false] {
                let world = if server { fleet.server() } else { fleet.client(0) };
                world.world_mut().require_connection_approval(true).unwrap();
            }
        }
        // Not connected: a warning.
        request(fleet.client(0).world_mut(), Number(1), None);
        fleet.tick();
        assert_eq!(fleet.logs().count("was sent without a connection"), 1);
        // Connecting: an error, and it is dropped.
        fleet.listen();
        let server = fleet.connect(0);
        request(fleet.client(0).world_mut(), Number(2), None);
        request(fleet.client(0).world_mut(), Number(3), Some(server));
        fleet.tick();
        assert_eq!(fleet.logs().count("still Connecting"), 2);
        let mut received = Vec::new();
        if approval {
            // Handshake: an error, with a target and without.
            fleet.tick();
            request(fleet.client(0).world_mut(), Number(4), None);
            request(fleet.client(0).world_mut(), Number(5), Some(server));
            fleet.tick();
            assert_eq!(fleet.logs().count("still Handshake"), 2);
            let connection = fleet.server().connections()[0];
            fleet.server().world_mut().entity_mut(connection).insert(ConnectionApproved);
        }
        for _ in 0..5 {
            fleet.tick();
            received.extend(numbers(fleet.server().world_mut()));
        }
        assert_eq!(fleet.client(0).network_id(), Some(NetworkId(1)), "connected all the same, in five ticks");
        assert!(received.is_empty(), "{received:?}");
        // To what is no connection, and to what was one: a warning.
        let stray = fleet.client(0).world_mut().spawn_empty().id();
        request(fleet.client(0).world_mut(), Number(6), Some(stray));
        fleet.tick();
        assert_eq!(fleet.logs().count("to an entity that is no connection"), 1);
        fleet.client(0).world_mut().disconnect(server, DisconnectReason::ConnectionClose);
        fleet.ticks(3);
        request(fleet.client(0).world_mut(), Number(7), Some(server));
        fleet.tick();
        assert_eq!(fleet.logs().count("to an entity that is no connection"), 2);
        // Connecting again works, and RPCs flow.
        fleet.connect(0);
        fleet.ticks(5);
        if let (true, [connection]) = (approval, &fleet.server().connections()[..]) {
            fleet.server().world_mut().entity_mut(*connection).insert(ConnectionApproved);
        }
        fleet.ticks(4);
        request(fleet.client(0).world_mut(), Number(8), None);
        fleet.ticks(4);
        assert_eq!(numbers(fleet.server().world_mut()), [8]);
    }
}

#[test]
fn one_warning_per_world_names_what_nobody_consumes_however_much_it_is() {
    for (limit, expected) in [(4, 1), (0, 0)] {
        let mut fleet = fleet(NUMBERED, 1, SHAPES[0], LinkProfile::perfect());
        fleet.server().world_mut().insert_resource(MaxRpcAgeFrames(limit));
        fleet.client(0).world_mut().insert_resource(MaxRpcAgeFrames(limit));
        if expected > 0 {
            fleet.logs().expect("nobody has consumed it");
        }
        request(fleet.client(0).world_mut(), Number(1), None);
        request(fleet.server().world_mut(), Number(2), None);
        fleet.ticks(30);
        for kind in ["Server", "Client"] {
            let line = format!(
                r"RPC `Number\(0:u32\)` was received 4 frames ago and nobody has consumed it in this {kind} world"
            );
            assert_eq!(fleet.logs().count(&line), expected);
        }
        for number in 0..500 {
            request(fleet.client(0).world_mut(), Number(number), None);
        }
        fleet.ticks(10);
        assert_eq!(
            fleet.logs().count(r"RPC `Number\(0:u32\)` \(and 499 more\)"),
            expected,
            "a flood of RPCs is none of lines"
        );
        assert_eq!(fleet.logs().lines().len(), 3 * expected);
    }
}

#[test]
fn an_approval_rpc_with_512_bytes_of_text_arrives_equal() {
    for text in [String::new(), "a token".into(), "\u{1F511}".repeat(128), "x".repeat(512)] {
        let mut fleet = Fleet::builder().plugin(NUMBERED).build();
        for server in [true, false] {
            let world = if server { fleet.server() } else { fleet.client(0) };
            world.world_mut().require_connection_approval(true).unwrap();
        }
        fleet.listen();
        fleet.connect(0);
        request(fleet.client(0).world_mut(), Ticket { token: FixedString::new(&text) }, None);
        fleet.ticks(6);
        let tickets = take::<Ticket>(fleet.server().world_mut());
        assert_eq!(tickets.len(), 1);
        assert!(tickets[0].token == text.as_str() && tickets[0].token.len() == text.len());
    }
}

#[test]
fn unreliable_rpcs_arrive_once_or_not_at_all_and_hold_nothing_back() {
    for shape in SHAPES {
        let mut link = LinkProfile::rtt(60).with_loss_percent(20.0);
        link.up.duplicate_percent = 20.0;
        link.down.duplicate_percent = 20.0;
        let mut fleet = fleet(NUMBERED, 1, shape, link);
        let (mut up, mut down, mut reliable) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..600 {
            if number < 500 {
                request(fleet.client(0).world_mut(), Spot { number }, None);
                request(fleet.server().world_mut(), Spot { number }, None);
                request(fleet.client(0).world_mut(), Number(number), None);
            }
            fleet.tick();
            up.extend(take::<Spot>(fleet.server().world_mut()).into_iter().map(|spot| spot.number));
            down.extend(take::<Spot>(fleet.client(0).world_mut()).into_iter().map(|spot| spot.number));
            reliable.extend(numbers(fleet.server().world_mut()));
        }
        for received in [up, down] {
            assert!((320..480).contains(&received.len()), "{} of 500 at 20 % loss", received.len());
            let mut once = received.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), received.len(), "none came twice");
        }
        assert_eq!(reliable, (0..500).collect::<Vec<_>>(), "the others are as reliable as ever");
        // QUIC knows copies of its packets by itself.
        let repeated = stats(fleet.server().world()).repeated_rpc_packets;
        assert_eq!(repeated > 20, shape.transport == Transport::InProcess, "{repeated}");
    }
}

#[test]
fn unreliable_rpcs_share_datagrams_and_large_ones_are_fragmented() {
    let mut fleet = fleet(NUMBERED, 1, SHAPES[0], LinkProfile::perfect());
    fleet.link(0).record();
    for number in 0..100 {
        request(fleet.client(0).world_mut(), Spot { number }, None);
    }
    let map = Map { cells: (0..800).map(|cell| u64::MAX - cell).collect() };
    request(fleet.client(0).world_mut(), map.clone(), None);
    fleet.ticks(4);
    let received: Vec<u32> = take::<Spot>(fleet.server().world_mut()).into_iter().map(|spot| spot.number).collect();
    assert_eq!(received, (0..100).collect::<Vec<_>>());
    assert!(take::<Map>(fleet.server().world_mut()) == [map]);
    let sent: Vec<(Pipeline, u8)> =
        fleet.link(0).recorded().iter().map(|message| (message.pipeline, message.bytes[0])).collect();
    let kind = MessageKind::UnreliableRpc.byte();
    assert_eq!(sent, [(Pipeline::Unreliable, kind), (Pipeline::UnreliableFragmented, kind)]);
    assert_eq!(stats(fleet.client(0).world()).sent_unreliable_rpc_packets, 2);
}

#[test]
fn an_unreliable_rpc_follows_the_same_rules_before_it_is_sent() {
    let mut fleet = Fleet::builder().plugin(NUMBERED).build();
    fleet.listen();
    let server = fleet.connect(0);
    let connecting = move |mut rpcs: RpcSender| {
        assert_eq!(rpcs.send(server, Spot { number: 1 }), Err(SendRpcError::NotReady(ConnectionStatus::Connecting)));
    };
    fleet.client(0).world_mut().run_system_once(connecting).unwrap();
    fleet.ticks(8);
    let too_many = move |mut rpcs: RpcSender| {
        let map = Map { cells: (0..800).map(|cell| u64::MAX - cell).collect() };
        let mut sent = 0;
        let full = loop {
            match rpcs.send(server, map.clone()) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(full, SendRpcError::Full { limit: 64 * 1024 });
        assert_eq!(sent, 8, "64 KiB in a tick");
        rpcs.send(server, Number(1)).unwrap();
    };
    fleet.client(0).world_mut().run_system_once(too_many).unwrap();
    fleet.ticks(4);
    assert_eq!(take::<Map>(fleet.server().world_mut()).len(), 8);
    assert_eq!(numbers(fleet.server().world_mut()), [1]);
    let outgoing = fleet.client(0).world().get::<OutgoingRpcDataStreamBuffer>(server).unwrap();
    assert!(outgoing.is_empty() && outgoing.bytes() == 0);
}

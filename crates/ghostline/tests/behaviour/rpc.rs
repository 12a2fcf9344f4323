//! RPCs: RPC-01 to RPC-05, RPC-11, RPC-12 and RPC-15, and the rows of the feature table about who gets what, whole and in order.

use crate::common::*;
use crate::rpc_game::*;
use bevy_app::App;
use bevy_ecs::prelude::*;
use bevy_ecs::system::RunSystemOnce;
use ghostline::FixedString;
use ghostline::connection::IncomingRpcDataStreamBuffer;
use ghostline::ghost::SpawnedGhostEntityMap;
use ghostline::prelude::*;
use ghostline::stats::NetworkStats;
use ghostline_testkit::{Direction, LinkProfile, Transport};

#[test]
fn every_request_arrives_once_with_and_without_a_target() {
    for shape in SHAPES {
        for targeted in [false, true] {
            let mut fleet = fleet(1, shape);
            let server = fleet.client(0).connections()[0];
            let mut received = Vec::new();
            // The last of ten, sent in the tenth tick, is there after twelve.
            for tick in 0..if shape == SHAPES[0] { 12 } else { 22 } {
                if tick < 10 {
                    request(fleet.client(0).world_mut(), Number(tick), targeted.then_some(server));
                }
                fleet.tick();
                received.extend(numbers(fleet.server().world_mut()));
            }
            assert_eq!(received, (0..10).collect::<Vec<_>>(), "{shape:?}, targeted: {targeted}");
            assert_eq!(count::<SendRpcCommandRequest>(fleet.client(0).world_mut()), 0);
        }
    }
}

#[test]
fn an_rpc_arrives_intact_within_four_ticks_and_names_its_source() {
    for shape in SHAPES {
        let mut fleet = fleet(2, shape);
        let sent = Numbers { a: 123_456, b: 32_154, c: 12_345.67 };
        request(fleet.client(1).world_mut(), sent, None);
        if shape == SHAPES[0] {
            fleet.ticks(2);
            assert_eq!(count::<Numbers>(fleet.server().world_mut()), 0, "invisible for two ticks");
            fleet.tick();
        } else {
            fleet.ticks(4);
        }
        let source = fleet.server().connections()[1];
        let world = fleet.server().world_mut();
        let (received, rpc, request) =
            world.query::<(Entity, &Numbers, &ReceiveRpcCommandRequest)>().single(world).unwrap();
        assert_eq!((*rpc, request.source_connection), (sent, source), "{shape:?}");
        world.despawn(received);
        fleet.ticks(8);
        assert_eq!(count::<Numbers>(fleet.server().world_mut()), 0, "{shape:?}: despawned, it is gone for good");
    }
}

#[test]
fn a_broadcast_reaches_every_client_and_a_targeted_rpc_one() {
    for shape in SHAPES {
        let mut fleet = fleet(2, shape);
        let second = fleet.server().connections()[1];
        for _ in 0..5 {
            request(fleet.server().world_mut(), Signal, None);
        }
        request(fleet.server().world_mut(), Number(1), Some(second));
        let mut received = [[0; 2]; 2];
        for _ in 0..8 {
            fleet.tick();
            for (client, [signals, numbered]) in received.iter_mut().enumerate() {
                let world = fleet.client(client).world_mut();
                *signals += take::<Signal>(world).len();
                *numbered += numbers(world).len();
            }
        }
        assert_eq!(received, [[5, 0], [5, 1]], "{shape:?}");
    }
}

#[test]
fn fifty_small_rpcs_share_a_packet_and_thousands_arrive_in_order() {
    for shape in SHAPES {
        let mut fleet = fleet(1, shape);
        let packets = |fleet: &mut Fleet| fleet.client(0).world().resource::<NetworkStats>().sent_rpc_packets;
        let before = packets(&mut fleet);
        for _ in 0..50 {
            request(fleet.client(0).world_mut(), Signal, None);
        }
        fleet.tick();
        assert_eq!(packets(&mut fleet) - before, 1, "{shape:?}");
        for number in 0..5000 {
            request(fleet.client(0).world_mut(), Number(number), None);
            if number % 100 == 0 {
                request(fleet.client(0).world_mut(), large(number.into()), None);
            }
        }
        let (mut small, mut blocks, mut signals) = (Vec::new(), Vec::new(), 0);
        // A socket's link takes its time for 250 kB.
        for _ in 0..if shape.transport == Transport::InProcess { 16 } else { 240 } {
            fleet.tick();
            let server = fleet.server().world_mut();
            small.extend(numbers(server));
            blocks.extend(take::<Bytes>(server));
            signals += take::<Signal>(server).len();
        }
        assert_eq!(signals, 50, "{shape:?}");
        assert_eq!(small, (0..5000).collect::<Vec<_>>(), "{shape:?}");
        assert_eq!(blocks, (0..5000).step_by(100).map(large).collect::<Vec<_>>(), "{shape:?}");
    }
}

/// Four kilobytes and more that don't pack.
fn large(seed: u64) -> Bytes {
    Bytes { bytes: (0..512).map(|word| u64::MAX - word * seed).collect() }
}

#[test]
fn rpcs_of_different_types_arrive_in_the_order_in_which_they_were_sent() {
    for shape in SHAPES {
        let mut fleet = fleet(1, shape);
        for index in 0..20 {
            request(fleet.client(0).world_mut(), Number(2 * index), None);
            request(fleet.client(0).world_mut(), Packed::<1>([2 * index as i32 + 1; 3]), None);
        }
        fleet.ticks(4);
        let world = fleet.server().world_mut();
        let mut received: Vec<(u64, u32)> = world
            .query::<(&ReceiveRpcCommandRequest, Option<&Number>, Option<&Packed<1>>)>()
            .iter(world)
            .map(|(request, number, packed)| match (number, packed) {
                (Some(number), None) => (request.sequence(), number.0),
                (None, Some(packed)) => (request.sequence(), packed.0[0] as u32),
                _ => panic!("one RPC per entity"),
            })
            .collect();
        received.sort_unstable();
        let order: Vec<u32> = received.into_iter().map(|(_, index)| index).collect();
        assert_eq!(order, (0..40).collect::<Vec<_>>(), "{shape:?}");
        numbers(world);
        take::<Packed<1>>(world);
    }
}

#[test]
fn thirty_five_packed_rpcs_keep_their_bits_and_order() {
    for rpcs in [NUMBERED, HASHED] {
        for shape in SHAPES {
            let mut fleet = fleet_with(rpcs, 1, shape, LinkProfile::perfect());
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
fn an_rpc_goes_with_its_connection() {
    for shape in SHAPES {
        let mut fleet = fleet(1, shape);
        request(fleet.client(0).world_mut(), Signal, None);
        let mut ticks = 0;
        while count::<Signal>(fleet.server().world_mut()) == 0 {
            assert!(ticks < 8, "{shape:?}: it does not arrive");
            fleet.tick();
            ticks += 1;
        }
        assert!(shape != SHAPES[0] || ticks == 3, "invisible for two ticks, visible at the third, not at {ticks}");
        let connection = fleet.server().connections()[0];
        fleet.server().world_mut().disconnect(connection, DisconnectReason::ConnectionClose);
        fleet.tick();
        assert_eq!(count::<Signal>(fleet.server().world_mut()), 0, "{shape:?}");
    }
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

/// A client in the game that shows a ghost of the server's: the fleet, the ghost there, and here.
fn with_a_ghost(shape: Shape) -> (Fleet, Entity, Entity) {
    let mut fleet = fleet(1, shape);
    fleet.go_in_game_all();
    let on_server = fleet.server().world_mut().spawn_ghost::<Walker>(Position::default());
    fleet.ticks(20);
    let client = fleet.client(0).world_mut();
    let on_client = client.query_filtered::<Entity, With<Walker>>().single(client).unwrap();
    (fleet, on_server, on_client)
}

/// What a reference of the client's is on the server, or the other way round.
fn told(fleet: &mut Fleet, to_server: bool, at: Entity) -> Option<Entity> {
    let sender = if to_server { fleet.client(0) } else { fleet.server() };
    request(sender.world_mut(), Point { at: at.into() }, None);
    fleet.ticks(4);
    let receiver = if to_server { fleet.server() } else { fleet.client(0) };
    take::<Point>(receiver.world_mut()).remove(0).at.entity()
}

#[test]
fn references_to_ghosts_resolve_both_ways_and_become_none_when_the_ghost_is_gone() {
    for shape in SHAPES {
        let (mut fleet, on_server, on_client) = with_a_ghost(shape);
        let instance = *fleet.client(0).world().get::<GhostInstance>(on_client).unwrap();
        let only_here = fleet.client(0).world_mut().spawn_empty().id();
        assert_eq!(told(&mut fleet, true, on_client), Some(on_server), "{shape:?}");
        assert_eq!(told(&mut fleet, false, on_server), Some(on_client), "{shape:?}");
        assert_eq!(told(&mut fleet, true, only_here), None, "an entity that only the client has");
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
            assert_eq!(map.get(instance.ghost_id, spawn_tick), None, "{shape:?}: unmapped within four ticks");
        }
        // The client shows an interpolated ghost until its time has come.
        fleet.ticks(4);
        assert_eq!(told(&mut fleet, true, on_client), None, "a stale handle");
        assert_eq!(told(&mut fleet, false, on_server), None, "a stale handle");
    }
}

/// RPCs that were sent a tick before the ghost died, and held up: they and the news of the death arrive together.
#[test]
fn a_reference_that_is_under_way_when_its_ghost_dies_comes_as_none_on_both_sides() {
    for shape in SHAPES {
        let (mut fleet, on_server, on_client) = with_a_ghost(shape);
        for direction in [Direction::ToServer, Direction::ToClient] {
            fleet.link(0).cut(direction);
        }
        request(fleet.client(0).world_mut(), Point { at: on_client.into() }, None);
        request(fleet.server().world_mut(), Point { at: on_server.into() }, None);
        fleet.tick();
        fleet.server().world_mut().despawn(on_server);
        for direction in [Direction::ToServer, Direction::ToClient] {
            fleet.link(0).mend(direction);
        }
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for _ in 0..60 {
            fleet.tick();
            up.extend(take::<Point>(fleet.server().world_mut()));
            down.extend(take::<Point>(fleet.client(0).world_mut()));
        }
        assert_eq!((up.len(), down.len()), (1, 1), "{shape:?}");
        assert_eq!(up[0].at.entity(), None, "{shape:?}: on the server");
        assert_eq!(down[0].at.entity(), None, "{shape:?}: on the client");
    }
}

#[test]
fn an_approval_rpc_with_512_bytes_of_text_arrives_equal() {
    for shape in SHAPES {
        for text in [String::new(), "a token".into(), "\u{1F511}".repeat(128), "x".repeat(512)] {
            let mut fleet = shape.fleet().plugin(NUMBERED).build();
            for server in [true, false] {
                let world = if server { fleet.server() } else { fleet.client(0) };
                world.world_mut().require_connection_approval(true).unwrap();
            }
            fleet.listen();
            fleet.connect(0);
            request(fleet.client(0).world_mut(), Ticket { token: FixedString::new(&text) }, None);
            let mut tickets = Vec::new();
            for _ in 0..10 {
                fleet.tick();
                tickets.extend(take::<Ticket>(fleet.server().world_mut()));
            }
            assert_eq!(tickets.len(), 1, "{shape:?}");
            assert!(tickets[0].token == text.as_str() && tickets[0].token.len() == text.len());
        }
    }
}

#[test]
fn received_rpcs_lie_in_the_buffer_between_the_receive_step_and_their_turn() {
    for shape in SHAPES {
        #[derive(Resource, Default)]
        struct Seen(Vec<usize>);
        let plugin = |app: &mut App| {
            app.add_plugins(NUMBERED);
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

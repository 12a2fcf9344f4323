//! RPCs that should not have been sent, can't be read, or are read by nobody: RPC-06, RPC-08, RPC-16 and RPC-17.

use crate::common::*;
use crate::rpc_game::*;
use bevy_app::App;
use bevy_ecs::prelude::*;
use bevy_ecs::system::RunSystemOnce;
use ghostline::connection::{ConnectionStatus, OutgoingRpcDataStreamBuffer};
use ghostline::prelude::*;
use ghostline::rpc::{MaxRpcAgeFrames, RpcAppExt, SendRpcError};
use ghostline_testkit::{Direction, LinkProfile, MessageKind, Pipeline};

#[test]
fn the_sender_says_what_is_wrong() {
    #[derive(Component, RpcCommand)]
    struct Unknown;
    #[derive(Component, RpcCommand)]
    struct Huge {
        text: [[u64; 1024]; 2],
    }
    let plugin = |app: &mut App| {
        app.add_plugins(NUMBERED);
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
        let block = Bytes { bytes: (0..512).map(|_| u64::MAX).collect() };
        let mut blocks = 0;
        let full = loop {
            match rpcs.send(server, block.clone()) {
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
        received += take::<Bytes>(fleet.server().world_mut()).len();
        take::<Signal>(fleet.server().world_mut());
    }
    assert!(received > 500, "what was taken arrives: {received}");
    assert!(fleet.client(0).world().get::<OutgoingRpcDataStreamBuffer>(server).unwrap().is_empty());
}

#[test]
fn a_codec_that_reads_too_many_or_too_few_bits_ends_the_connection_on_both_sides() {
    fn check<const READ: u32>(rpcs: Rpcs, shape: Shape) {
        let mut fleet = fleet_with(rpcs, 2, shape, LinkProfile::perfect());
        fleet.logs().expect(r"RPC `PackedReads.*` could not be read to its last bit");
        let honest = fleet.server().connections()[1];
        request(fleet.client(0).world_mut(), Signal, None);
        request(fleet.client(0).world_mut(), Packed::<READ>([1, 2, 3]), None);
        fleet.ticks(8);
        assert_eq!(fleet.server().connections(), [honest]);
        assert!(fleet.client(0).connections().is_empty());
        let server = fleet.server().world_mut();
        assert_eq!((count::<Packed<READ>>(server), count::<Signal>(server)), (0, 0), "nothing of its packet runs");
    }
    for rpcs in [NUMBERED, HASHED] {
        for shape in SHAPES {
            check::<0>(rpcs, shape);
            check::<2>(rpcs, shape);
        }
    }
}

#[test]
fn sending_before_there_is_a_connection_is_reported_and_hinders_nothing() {
    for shape in SHAPES {
        for approval in [false, true] {
            let mut fleet = shape.fleet().plugin(NUMBERED).build();
            for line in ["was sent without a connection", "still Connecting", "to an entity that is no connection"] {
                fleet.logs().expect(line);
            }
            if approval {
                fleet.logs().expect("still (Handshake|Approval)");
                for server in [true, false] {
                    let world = if server { fleet.server() } else { fleet.client(0) };
                    world.world_mut().require_connection_approval(true).unwrap();
                }
            }
            // Not connected: a warning on each side.
            request(fleet.client(0).world_mut(), Number(1), None);
            request(fleet.server().world_mut(), Number(1), None);
            fleet.tick();
            assert_eq!(fleet.logs().count("was sent without a connection"), 2);
            // Connecting: an error, and it is dropped.
            fleet.listen();
            let server = fleet.connect(0);
            request(fleet.client(0).world_mut(), Number(2), None);
            request(fleet.client(0).world_mut(), Number(3), Some(server));
            fleet.tick();
            assert_eq!(fleet.logs().count("still Connecting"), 2);
            if approval {
                // Handshake: an error, with a target and without; a server's broadcast skips in silence.
                until(&mut fleet, ConnectionStatus::Handshake);
                request(fleet.client(0).world_mut(), Number(4), None);
                request(fleet.client(0).world_mut(), Number(5), Some(server));
                let on_server = fleet.server().connections().first().copied();
                request(fleet.server().world_mut(), Number(5), None);
                if let Some(connection) = on_server {
                    request(fleet.server().world_mut(), Number(5), Some(connection));
                }
                fleet.tick();
                let expected = 2 + usize::from(on_server.is_some());
                assert_eq!(fleet.logs().count("still (Handshake|Approval)"), expected, "{shape:?}");
                assert!(shape != SHAPES[0] || fleet.logs().count("still Handshake") == 3);
                let connection = fleet.server().connections()[0];
                fleet.server().world_mut().entity_mut(connection).insert(ConnectionApproved);
            }
            fleet.ticks(if shape == SHAPES[0] { 5 } else { 8 });
            assert_eq!(fleet.client(0).network_id(), Some(NetworkId(1)), "{shape:?}: connected all the same");
            assert_eq!(numbers(fleet.server().world_mut()), [], "{shape:?}");
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
            if approval {
                until(&mut fleet, ConnectionStatus::Approval);
                let connection = fleet.server().connections()[0];
                fleet.server().world_mut().entity_mut(connection).insert(ConnectionApproved);
            }
            until(&mut fleet, ConnectionStatus::Connected);
            request(fleet.client(0).world_mut(), Number(8), None);
            fleet.ticks(4);
            assert_eq!(numbers(fleet.server().world_mut()), [8], "{shape:?}");
            assert_eq!(numbers(fleet.client(0).world_mut()), [], "{shape:?}");
        }
    }
}

#[test]
fn one_warning_per_world_names_what_nobody_consumes_however_much_it_is() {
    for shape in SHAPES {
        for (limit, consumed) in [(None, false), (Some(0), false), (Some(9), false), (None, true)] {
            let mut fleet = fleet(1, shape);
            if let Some(limit) = limit {
                fleet.server().world_mut().insert_resource(MaxRpcAgeFrames(limit));
                fleet.client(0).world_mut().insert_resource(MaxRpcAgeFrames(limit));
            }
            let (limit, is_named) = (limit.unwrap_or(4), limit != Some(0) && !consumed);
            if is_named {
                fleet.logs().expect("nobody has consumed it");
            }
            request(fleet.client(0).world_mut(), Number(1), None);
            request(fleet.server().world_mut(), Number(2), None);
            // By world: when it was there first, and when it was named.
            let (mut seen, mut named) = ([None; 2], [None; 2]);
            for tick in 0..30 {
                fleet.tick();
                for (side, kind) in ["Server", "Client"].into_iter().enumerate() {
                    let world = if side == 0 { fleet.server() } else { fleet.client(0) }.world_mut();
                    if let Some(mut request) = world.query::<&mut ReceiveRpcCommandRequest>().iter_mut(world).next() {
                        seen[side] = seen[side].or(Some(tick));
                        if consumed {
                            request.consume();
                        }
                    }
                    let line = format!(
                        r"RPC `Number\(0:u32\)` was received {limit} frames ago and nobody has consumed it in this {kind} world"
                    );
                    let lines = fleet.logs().count(&line);
                    assert!(lines <= 1, "{shape:?}: once per world");
                    named[side] = named[side].or((lines == 1).then_some(tick));
                }
            }
            for side in 0..2 {
                let expected = if is_named { seen[side].map(|seen: u32| seen + limit) } else { None };
                assert_eq!(named[side], expected, "{shape:?}, limit {limit}, consumed: {consumed}");
            }
            assert_eq!(fleet.logs().lines().len(), if is_named { 2 } else { 0 });
            assert_eq!(count::<Number>(fleet.server().world_mut()), 1, "it is not despawned for the game");
            if limit == 4 && !consumed {
                for number in 0..500 {
                    request(fleet.client(0).world_mut(), Number(number), None);
                }
                fleet.ticks(10);
                let line = r"RPC `Number\(0:u32\)` \(and 499 more\)";
                assert_eq!(fleet.logs().count(line), 1, "{shape:?}: a flood of RPCs is none of lines");
                assert_eq!(fleet.logs().lines().len(), 3);
            }
        }
    }
}

#[test]
fn unknown_numbers_and_oversized_claims_end_the_connection_of_their_sender_alone() {
    let oversized = [16, 0, 255, 255];
    let unknown = [255, 255, 0, 0];
    let cut = [16, 0, 64];
    for shape in SHAPES {
        for frame in [&oversized[..], &unknown[..], &cut[..]] {
            let mut fleet = fleet(2, shape);
            fleet.logs().expect("an RPC packet was refused");
            let honest = fleet.server().connections()[1];
            fleet.link(0).inject(Direction::ToServer, MessageKind::Rpc, frame);
            fleet.ticks(6);
            assert_eq!(fleet.server().connections(), [honest], "{shape:?}");
            assert_eq!(fleet.client(0).connections(), [], "{shape:?}");
            request(fleet.client(1).world_mut(), Signal, None);
            fleet.ticks(4);
            assert_eq!(take::<Signal>(fleet.server().world_mut()).len(), 1, "{shape:?}");
        }
    }
}

/// RPC-06: what upstream leaves open is asserted here.
#[test]
fn a_client_that_damages_every_packet_is_thrown_out_and_the_other_one_loses_nothing() {
    for shape in SHAPES {
        let mut fleet = fleet(2, shape);
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

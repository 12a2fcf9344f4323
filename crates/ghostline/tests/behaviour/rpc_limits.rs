//! RPCs in numbers, over bad links and at their bounds, RPC-06, RPC-07, RPC-09, RPC-10 and FIX-06.

use crate::common::*;
use crate::rpc_game::*;
use bevy_app::App;
use bevy_ecs::prelude::*;
use bevy_ecs::system::RunSystemOnce;
use ghostline::prelude::*;
use ghostline::rpc::{FixedList, MAX_RPCS_PER_TICK, RpcValueError, SendRpcError};
use ghostline::wire::BitWriter;
use ghostline_testkit::{Direction, LinkProfile};

#[test]
fn every_rpc_arrives_in_order_under_20_percent_loss() {
    for shape in SHAPES {
        let link = LinkProfile::rtt(60).with_loss_percent(20.0);
        let mut fleet = fleet_with(NUMBERED, 1, shape, link);
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
        let mut fleet = fleet(1, shape);
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
    let block = |seed: u64| Bytes { bytes: (0..500).map(|word| u64::MAX - word * seed).collect() };
    let blocks: Vec<Bytes> = (0..13).map(block).collect();
    let encoded = blocks.iter().map(|block| {
        let mut out = BitWriter::new();
        block.encode(&mut out);
        out.byte_len()
    });
    let bytes: usize = encoded.sum();
    assert!(bytes >= 52_000, "{bytes}");
    for shape in SHAPES {
        for rpcs in [NUMBERED, HASHED] {
            for link in [LinkProfile::perfect(), LinkProfile::rtt(60), LinkProfile::rtt(60).with_periodic_loss(3)] {
                let mut fleet = fleet_with(rpcs, 1, shape, link);
                for block in &blocks {
                    request(fleet.client(0).world_mut(), block.clone(), None);
                }
                let mut received = Vec::new();
                for _ in 0..600 {
                    fleet.tick();
                    received.extend(take::<Bytes>(fleet.server().world_mut()));
                    if received.len() == blocks.len() {
                        break;
                    }
                }
                assert!(received == blocks, "{shape:?}, {link:?}: {} of 13", received.len());
            }
        }
    }
}

#[test]
fn more_than_a_tick_takes_waits_for_the_next_and_keeps_its_order() {
    for shape in SHAPES {
        let mut fleet = fleet(1, shape);
        let count = 3 * MAX_RPCS_PER_TICK as u32;
        for number in 0..count {
            request(fleet.client(0).world_mut(), Number(number), None);
        }
        let mut received = Vec::new();
        for _ in 0..12 {
            fleet.tick();
            let now = numbers(fleet.server().world_mut());
            let most = MAX_RPCS_PER_TICK + ghostline::wire::limits::MAX_RPC_FRAMES_PER_PACKET;
            assert!(now.len() < most, "{shape:?}: {}", now.len());
            received.extend(now);
        }
        assert_eq!(received, (0..count).collect::<Vec<_>>(), "{shape:?}");
    }
}

#[test]
fn a_list_of_1024_elements_travels_and_one_of_1029_is_an_error_of_the_sender() {
    for shape in SHAPES {
        let mut fleet = fleet(1, shape);
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
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(plugin).build();
        fleet.connect_all();
        fleet.ticks(2);
        fleet.logs().expect("its payload of 9500 bytes is above the limit of 8191");
        request(fleet.client(0).world_mut(), Number(1), None);
        request(fleet.client(0).world_mut(), NineKilobytes { words: [u64::MAX; 1000] }, None);
        request(fleet.client(0).world_mut(), Number(2), None);
        fleet.ticks(4);
        let received = numbers(fleet.server().world_mut());
        assert_eq!(received, [1, 2], "{shape:?}: what was queued before and behind it is untouched");
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
        let mut fleet = fleet(2, shape);
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

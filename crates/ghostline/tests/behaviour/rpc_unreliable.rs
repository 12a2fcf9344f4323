//! RPCs without a guarantee: they come once or not at all, and hold nothing back.

use crate::common::*;
use crate::rpc_game::*;
use bevy_ecs::system::RunSystemOnce;
use ghostline::connection::{ConnectionStatus, OutgoingRpcDataStreamBuffer};
use ghostline::prelude::*;
use ghostline::rpc::SendRpcError;
use ghostline::stats::NetworkStats;
use ghostline_testkit::{LinkConditions, LinkProfile, MessageKind, Pipeline, Transport};

fn stats(world: &bevy_ecs::world::World) -> NetworkStats {
    *world.resource::<NetworkStats>()
}

#[test]
fn unreliable_rpcs_arrive_once_or_not_at_all_and_hold_nothing_back() {
    for shape in SHAPES {
        let mut link = LinkProfile::rtt(60).with_loss_percent(20.0);
        link.up.duplicate_percent = 20.0;
        link.down.duplicate_percent = 20.0;
        let mut fleet = fleet_with(NUMBERED, 1, shape, link);
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
    let mut fleet = fleet(1, SHAPES[0]);
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

/// RPC-06 with a link that flips bits below RPCs which nothing protects.
#[test]
fn a_link_that_flips_bits_costs_its_own_client_alone() {
    let mut link = LinkProfile::perfect();
    link.up = LinkConditions { corrupt_percent: 100.0, ..link.up };
    let mut fleet = fleet(2, SHAPES[0]);
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

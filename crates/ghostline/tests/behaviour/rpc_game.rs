//! The RPCs that the tests of RPCs send, and how they send and take them.

use crate::common::*;
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use ghostline::FixedString;
use ghostline::connection::ConnectionStatus;
use ghostline::prelude::*;
use ghostline::rpc::FixedList;
use ghostline::wire::{BitReader, BitWriter, DecodeError};
use ghostline_testkit::LinkProfile;

#[derive(Component, RpcCommand, Clone, Copy, PartialEq, Debug)]
pub(crate) struct Numbers {
    pub(crate) a: i32,
    pub(crate) b: i16,
    pub(crate) c: f32,
}

#[derive(Component, RpcCommand, Clone, Copy, PartialEq, Debug)]
pub(crate) struct Signal;

#[derive(Component, RpcCommand, Clone, Copy, PartialEq, Debug)]
pub(crate) struct Number(pub(crate) u32);

#[derive(Component, RpcCommand, Clone, Copy, PartialEq, Debug)]
pub(crate) struct Point {
    pub(crate) at: GhostRef,
}

#[derive(Component, RpcCommand, Clone, PartialEq, Debug)]
pub(crate) struct Path {
    pub(crate) before: u32,
    pub(crate) steps: FixedList<u8, 2000>,
    pub(crate) after: u32,
}

#[derive(Component, RpcCommand, Clone, PartialEq, Debug)]
pub(crate) struct Bytes {
    pub(crate) bytes: FixedList<u64, 1024>,
}

#[derive(Component, ApprovalRpcCommand, Clone, PartialEq, Debug)]
pub(crate) struct Ticket {
    pub(crate) token: FixedString<512>,
}

/// A place on a map that somebody points at: worthless when it comes late.
#[derive(Component, RpcCommand, Clone, Copy, PartialEq, Debug)]
#[rpc(unreliable)]
pub(crate) struct Spot {
    pub(crate) number: u32,
}

/// Unreliable, and larger than a datagram.
#[derive(Component, RpcCommand, Clone, PartialEq, Debug)]
#[rpc(unreliable)]
pub(crate) struct Map {
    pub(crate) cells: FixedList<u64, 900>,
}

/// Written by hand: 1 bit, three packed differences, 1 bit. `READ` bits of the last one are read: 1 is right.
#[derive(Component, Clone, Copy, PartialEq, Debug)]
pub(crate) struct Packed<const READ: u32>(pub(crate) [i32; 3]);

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
pub(crate) struct Rpcs {
    pub(crate) dynamic: bool,
}

pub(crate) const NUMBERED: Rpcs = Rpcs { dynamic: false };
pub(crate) const HASHED: Rpcs = Rpcs { dynamic: true };

impl Plugin for Rpcs {
    fn build(&self, app: &mut App) {
        app.add_plugins(Game);
        app.set_dynamic_assembly_list(self.dynamic)
            .register_rpc::<Numbers>()
            .register_rpc::<Signal>()
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

/// Connected clients on perfect links.
pub(crate) fn fleet(clients: usize, shape: Shape) -> Fleet {
    fleet_with(NUMBERED, clients, shape, LinkProfile::perfect())
}

pub(crate) fn fleet_with(rpcs: Rpcs, clients: usize, shape: Shape, link: LinkProfile) -> Fleet {
    let mut fleet = shape.fleet().plugin(rpcs).clients(clients).link(link).build();
    fleet.connect_all();
    fleet.ticks(2);
    fleet
}

pub(crate) fn request<T: Component>(world: &mut World, rpc: T, target: Option<Entity>) {
    world.spawn((rpc, SendRpcCommandRequest { target }));
}

/// Takes the received RPCs of one type, in the order of arrival.
pub(crate) fn take<T: Component + Clone>(world: &mut World) -> Vec<T> {
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

pub(crate) fn numbers(world: &mut World) -> Vec<u32> {
    take::<Number>(world).into_iter().map(|number| number.0).collect()
}

/// The state of a client's connection; `None` without one.
pub(crate) fn state(fleet: &mut Fleet, client: usize) -> Option<ConnectionStatus> {
    let world = fleet.client(client).world_mut();
    world.query::<&NetworkStreamConnection>().iter(world).next().map(|connection| connection.state)
}

/// Ticks until the first client is in this state, at most a few times.
pub(crate) fn until(fleet: &mut Fleet, wanted: ConnectionStatus) {
    for _ in 0..16 {
        if state(fleet, 0) == Some(wanted) {
            return;
        }
        fleet.tick();
    }
    panic!("not {wanted:?} but {:?}", state(fleet, 0));
}

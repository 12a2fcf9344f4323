//! Sides that were built from different parts, and say so: C-39 and PROTO-11, with the RPC scenarios 05, 08 and 09 on RPCs that are named by
//! their hashes.

use crate::common::*;
use bevy_app::App;
use bevy_ecs::prelude::*;
use ghostline::command::CommandBuffer;
use ghostline::connection::NetworkProtocolVersion;
use ghostline::prelude::*;
use ghostline::rpc::{RegisterRpcError, RpcCollection};
use ghostline::wire::ProtocolVersion;
use ghostline::world::kind_of;
use ghostline_testkit::{Direction, MessageKind};

#[derive(Component, RpcCommand, Clone, Copy, PartialEq, Debug)]
struct Shared {
    number: u32,
}

#[derive(Component, ApprovalRpcCommand, Clone, Copy)]
struct Ticket;

/// Known to clients alone. Its hash lies before or behind that of `Shared`, so numbers would not mean the same.
#[derive(Component, RpcCommand, Clone, Copy)]
struct OnlyClients;

#[derive(Component, RpcCommand, Clone, Copy)]
struct OnlyServer;

macro_rules! commands {
    ($($name:ident),*) => { $(
        #[derive(CommandData, Clone, Default, PartialEq, Debug)]
        struct $name {
            speed: i8,
        }
    )* };
}
commands!(Drive, Dig, Dance);

/// Both sides share an RPC and a command, and each has its own beside them.
fn game(app: &mut App, server_is_dynamic: bool, client_is_dynamic: bool) {
    app.add_plugins(Game).register_rpc::<Shared>().register_approval_rpc::<Ticket>().register_command::<Drive>();
    if kind_of(app.world()).is_server() {
        app.set_dynamic_assembly_list(server_is_dynamic);
        app.register_rpc::<OnlyServer>().register_command::<Dig>();
    } else {
        app.set_dynamic_assembly_list(client_is_dynamic);
        app.register_rpc::<OnlyClients>().register_command::<Dance>();
        app.add_systems(GhostInput, fill::<Drive>).add_systems(GhostInput, fill::<Dance>);
    }
}

fn fill<T: CommandData + From<i8>>(time: Res<NetworkTime>, mut buffers: Query<&mut CommandBuffer<T>>) {
    for mut buffer in &mut buffers {
        if let Some(tick) = time.input_target_tick() {
            buffer.add(tick, T::from(7));
        }
    }
}

impl From<i8> for Drive {
    fn from(speed: i8) -> Self {
        Self { speed }
    }
}

impl From<i8> for Dance {
    fn from(speed: i8) -> Self {
        Self { speed }
    }
}

fn both_dynamic(app: &mut App) {
    game(app, true, true);
}

fn fleet(shape: Shape, clients: usize) -> Fleet {
    shape.fleet().plugin(both_dynamic).clients(clients).build()
}

fn request<T: Component>(world: &mut World, rpc: T) {
    world.spawn((rpc, SendRpcCommandRequest::default()));
}

fn take(world: &mut World) -> Vec<u32> {
    let mut found: Vec<(u64, Entity, u32)> = world
        .query::<(Entity, &ReceiveRpcCommandRequest, &Shared)>()
        .iter(world)
        .map(|(entity, request, rpc)| (request.sequence(), entity, rpc.number))
        .collect();
    found.sort_unstable();
    for (_, entity, _) in &found {
        world.despawn(*entity);
    }
    found.into_iter().map(|(.., number)| number).collect()
}

#[test]
fn what_one_side_alone_has_is_no_obstacle_until_it_is_used() {
    for shape in SHAPES {
        let mut fleet = fleet(shape, 2);
        fleet.logs().expect("an RPC packet was refused, the connection is closed: RPC [0-9a-f]{16} is unknown here");
        fleet.connect_all();
        let version = |world: &World| world.resource::<NetworkProtocolVersion>().version;
        let versions = [version(fleet.server().world()), version(fleet.client(0).world())];
        fleet.go_in_game_all();
        assert_ne!(versions[0].rpc_collection, versions[1].rpc_collection);
        assert_ne!(versions[0].component_collection, versions[1].component_collection);
        fleet.ticks(60);
        for number in 0..10 {
            request(fleet.client(0).world_mut(), Shared { number });
            request(fleet.server().world_mut(), Shared { number });
        }
        fleet.ticks(4);
        let numbers: Vec<u32> = (0..10).collect();
        assert_eq!(take(fleet.server().world_mut()), numbers);
        assert_eq!(take(fleet.client(0).world_mut()), numbers);
        assert_eq!(take(fleet.client(1).world_mut()), numbers);
        assert_eq!(fleet.server().connections().len(), 2, "nobody has used what the other lacks");
        // The client uses what the server lacks; then the server does, with the other client.
        let entity = fleet.client(0).connections()[0];
        fleet.client(0).world_mut().entity_mut(entity).insert(ConnectionState::default());
        request(fleet.client(0).world_mut(), OnlyClients);
        fleet.ticks(4);
        assert_eq!(fleet.server().connections().len(), 1, "{shape:?}");
        let reason = fleet.client(0).world().get::<ConnectionState>(entity).unwrap().reason;
        assert_eq!(reason, Some(DisconnectReason::InvalidRpc));
        request(fleet.server().world_mut(), OnlyServer);
        let mut reasons = Vec::new();
        for _ in 0..4 {
            fleet.tick();
            reasons.extend(fleet.server().events().iter().filter_map(|event| event.disconnect_reason));
        }
        assert_eq!(reasons, [DisconnectReason::InvalidRpc], "{shape:?}");
    }
}

#[test]
fn commands_reach_their_own_type_whatever_their_number_is_on_the_other_side() {
    for shape in SHAPES {
        let mut fleet = fleet(shape, 1);
        fleet.connect_all();
        fleet.go_in_game_all();
        let (on_server, on_client) = (fleet.server().connections()[0], fleet.client(0).connections()[0]);
        let server = fleet.server().world_mut();
        let commanded = server.spawn((CommandBuffer::<Drive>::default(), CommandBuffer::<Dig>::default())).id();
        server.get_mut::<CommandTarget>(on_server).unwrap().entity = Some(commanded);
        let client = fleet.client(0).world_mut();
        let own = client.spawn((CommandBuffer::<Drive>::default(), CommandBuffer::<Dance>::default())).id();
        client.get_mut::<CommandTarget>(on_client).unwrap().entity = Some(own);
        fleet.ticks(30);
        let world = fleet.server().world();
        let drive = world.get::<CommandBuffer<Drive>>(commanded).unwrap();
        assert!(drive.len() > 10 && drive.iter().all(|(_, command)| command.speed == 7), "{shape:?}");
        assert!(world.get::<CommandBuffer<Dig>>(commanded).unwrap().is_empty(), "{shape:?}");
        assert_eq!(world.resource::<ghostline::stats::NetworkStats>().invalid_messages, 0);
    }
}

#[test]
fn an_approval_rpc_named_by_its_hash_comes_before_the_approval() {
    let mut fleet = fleet(SHAPES[0], 1);
    for server in [true, false] {
        let world = if server { fleet.server() } else { fleet.client(0) };
        world.world_mut().require_connection_approval(true).unwrap();
    }
    fleet.listen();
    fleet.connect(0);
    // Requested while still connecting: it waits behind the handshake's first packet.
    request(fleet.client(0).world_mut(), Ticket);
    fleet.ticks(6);
    let server = fleet.server().world_mut();
    let mut tickets = server.query_filtered::<(Entity, &ReceiveRpcCommandRequest), With<Ticket>>();
    let (ticket, request) = tickets.single(server).map(|(ticket, request)| (ticket, *request)).unwrap();
    server.despawn(ticket);
    server.entity_mut(request.source_connection).insert(ConnectionApproved);
    fleet.ticks(4);
    assert_eq!(fleet.client(0).network_id(), Some(NetworkId(1)));
}

#[test]
fn the_setting_belongs_on_both_sides() {
    for (server, client) in [(true, false), (false, true)] {
        for shape in SHAPES {
            let plugin = move |app: &mut App| game(app, server, client);
            let mut fleet = shape.fleet().plugin(plugin).build();
            fleet.logs().expect(&format!("`dynamic_assembly_list` differs: local {server}, remote {client}"));
            fleet.logs().expect(&format!("`dynamic_assembly_list` differs: local {client}, remote {server}"));
            for side in [true, false] {
                let world = if side { fleet.server() } else { fleet.client(0) };
                world.world_mut().require_connection_approval(true).unwrap();
            }
            fleet.listen();
            let entity = fleet.connect(0);
            fleet.client(0).world_mut().entity_mut(entity).insert(ConnectionState::default());
            // Named as the other side doesn't name it, and queued before that is known.
            request(fleet.client(0).world_mut(), Ticket);
            let mut on_server = Vec::new();
            for _ in 0..12 {
                fleet.tick();
                on_server.extend(fleet.server().events().iter().filter_map(|event| event.disconnect_reason));
            }
            let state = fleet.client(0).world().get::<ConnectionState>(entity).unwrap();
            assert_eq!(
                (on_server, state.reason),
                (vec![DisconnectReason::BadProtocolVersion], Some(DisconnectReason::BadProtocolVersion))
            );
        }
    }
}

#[test]
fn a_name_costs_six_bytes_more_than_a_number() {
    let sizes = [false, true].map(|dynamic| {
        let plugin = move |app: &mut App| {
            app.set_dynamic_assembly_list(dynamic).register_rpc::<Shared>();
        };
        let mut fleet = Fleet::builder().plugin(plugin).build();
        fleet.connect_all();
        fleet.ticks(2);
        fleet.link(0).record();
        for number in 0..50 {
            request(fleet.client(0).world_mut(), Shared { number });
        }
        fleet.ticks(4);
        assert_eq!(take(fleet.server().world_mut()), (0..50).collect::<Vec<_>>());
        let sent = fleet.link(0).recorded();
        let rpcs: Vec<usize> = sent
            .iter()
            .filter(|message| message.direction == Direction::ToServer && message.bytes[0] == MessageKind::Rpc.byte())
            .map(|message| message.bytes.len())
            .collect();
        assert_eq!(rpcs.len(), 1, "they share a packet");
        rpcs[0]
    });
    assert_eq!(sizes[1] - sizes[0], 50 * 6);
}

#[test]
fn the_setting_is_part_of_the_protocol_and_frozen_with_it() {
    let mut fleet = fleet(SHAPES[0], 1);
    let world = fleet.server().world_mut();
    assert!(world.resource::<NetworkProtocolVersion>().version.has_dynamic_collections());
    let mut collection = world.resource_mut::<RpcCollection>();
    assert!(collection.dynamic_assembly_list());
    let late = collection.set_dynamic_assembly_list(false);
    assert_eq!(late, Err(RegisterRpcError::SetTooLate("dynamic_assembly_list")));
    assert!(collection.dynamic_assembly_list());
}

#[test]
fn a_peer_with_the_same_rpcs_and_another_game_version_is_still_refused() {
    let mut fleet = fleet(SHAPES[0], 1);
    fleet.logs().expect("the game version differs");
    fleet.client(0).world_mut().resource_mut::<NetworkProtocolVersion>().version.game = 9000;
    fleet.listen();
    fleet.connect(0);
    fleet.ticks(8);
    assert!(fleet.server().connections().is_empty() && fleet.client(0).connections().is_empty());
    assert_eq!(ProtocolVersion::DYNAMIC_COLLECTIONS, 1 << 31);
}

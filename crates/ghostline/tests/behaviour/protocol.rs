//! Protocol versions: PROTO-01 to PROTO-09, DISC-02, and what is said when two sides differ.

use crate::common::*;
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use ghostline::connection::NetworkProtocolVersion;
use ghostline::prelude::*;
use ghostline::world::kind_of;
use ghostline_testkit::{Direction, FRAME, MessageKind};

#[derive(Component, RpcCommand)]
struct Common;

#[derive(Component, RpcCommand)]
struct OnlyServer {
    a: u8,
}

#[derive(Component, RpcCommand)]
#[rpc(name = "Swapped")]
struct SwappedOnServer {
    a: u8,
    b: u8,
}

#[derive(Component, RpcCommand)]
#[rpc(name = "Swapped")]
struct SwappedOnClient {
    b: u8,
    a: u8,
}

/// The two sides registered different RPCs.
struct Different;

impl Plugin for Different {
    fn build(&self, app: &mut App) {
        app.add_plugins(Game);
        app.register_rpc::<Common>();
        if kind_of(app.world()).is_server() {
            app.register_rpc::<OnlyServer>().register_rpc::<SwappedOnServer>();
        } else {
            app.register_rpc::<SwappedOnClient>();
        }
    }
}

fn watched(fleet: &mut Fleet) -> Entity {
    let entity = fleet.connect(0);
    fleet.client(0).world_mut().entity_mut(entity).insert(ConnectionState::default());
    entity
}

fn reasons(fleet: &mut Fleet, client: Entity, ticks: usize) -> (Vec<DisconnectReason>, Option<DisconnectReason>) {
    let mut on_server = Vec::new();
    for _ in 0..ticks {
        fleet.tick();
        on_server.extend(fleet.server().events().iter().filter_map(|event| event.disconnect_reason));
    }
    (on_server, fleet.client(0).world().get::<ConnectionState>(client).and_then(|state| state.reason))
}

#[test]
fn equal_versions_stay_connected_whatever_they_are() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Game).build();
        for server in [true, false] {
            let world = if server { fleet.server().world_mut() } else { fleet.client(0).world_mut() };
            let mut version = world.resource_mut::<NetworkProtocolVersion>();
            (version.version.rpc_collection, version.version.component_collection) = (1, 1);
        }
        fleet.listen();
        fleet.connect(0);
        fleet.ticks(16);
        assert_eq!(fleet.client(0).connections().len(), 1);
    }
}

#[test]
fn another_game_version_is_refused_on_both_sides_and_both_say_so() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Different).build();
        let same = fleet.server().world().resource::<NetworkProtocolVersion>().clone();
        *fleet.client(0).world_mut().resource_mut::<NetworkProtocolVersion>() = same;
        fleet.client(0).world_mut().resource_mut::<NetworkProtocolVersion>().version.game = 9000;
        fleet.logs().expect("the game version differs: local 0, remote 9000");
        fleet.logs().expect("the game version differs: local 9000, remote 0");
        fleet.logs().expect("this side registered 3 RPCs:\n(.*\n)*this side registered 4 components and commands");
        fleet.listen();
        let client = watched(&mut fleet);
        let reasons = reasons(&mut fleet, client, 7);
        let expected = DisconnectReason::BadProtocolVersion;
        assert_eq!(reasons, (vec![expected], Some(expected)), "{shape:?}");
    }
}

#[test]
fn what_differs_is_named_by_type_field_and_order_on_both_sides() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Different).build();
        fleet.logs().expect("do not speak the same protocol");
        fleet.listen();
        let client = watched(&mut fleet);
        let reasons = reasons(&mut fleet, client, 16);
        let expected = DisconnectReason::BadProtocolVersion;
        assert_eq!(reasons, (vec![expected], Some(expected)), "{shape:?}");
        let mut logs = fleet.logs().lines();
        logs.sort_by_key(|line| line.text.contains("only the other side has"));
        assert_eq!(logs.len(), 2, "{logs:?}");
        assert!(logs[0].text.contains("only this side has rpc `OnlyServer`"), "{}", logs[0].text);
        assert!(logs[1].text.contains("only the other side has rpc `OnlyServer`"), "{}", logs[1].text);
        let hash = "[0-9a-f]{16}";
        let swapped = |first: &str, second: &str| {
            format!(
                r"rpc `Swapped` differs: local rpc {hash} Swapped\({first}\), remote rpc {hash} Swapped\({second}\)"
            )
        };
        assert_eq!(fleet.logs().count(&swapped("a:u8,b:u8", "b:u8,a:u8")), 1);
        assert_eq!(fleet.logs().count(&swapped("b:u8,a:u8", "a:u8,b:u8")), 1);
        assert!(logs.iter().all(|line| !line.text.contains("rpc `Common` differs")));
    }
}

#[test]
fn a_peer_that_never_says_what_it_has_is_closed_all_the_same() {
    // Somebody with another collection speaks before the honest client does, and never says what it has.
    let mut version = vec![0, 0, 192, 0];
    version.extend(ghostline::wire::limits::WIRE_VERSION.to_le_bytes());
    version.extend([0; 4]);
    version.extend([9; 16]);
    let mut fleet = Fleet::builder().plugin(Game).build();
    fleet.logs().expect("do not speak the same protocol");
    fleet.listen();
    fleet.connect(0);
    fleet.tick();
    fleet.tick_server(FRAME);
    fleet.link(0).cut(Direction::ToClient);
    fleet.link(0).inject(Direction::ToServer, MessageKind::Rpc, &version);
    for _ in 0..58 {
        fleet.tick_server(FRAME);
        assert_eq!(fleet.server().connections().len(), 1);
    }
    for _ in 0..6 {
        fleet.tick_server(FRAME);
    }
    assert!(fleet.server().connections().is_empty());
}

#[test]
fn a_crowd_with_an_old_version_is_reported_once_per_second() {
    let mut fleet = Fleet::builder().plugin(Different).clients(8).build();
    fleet.logs().expect("do not speak the same protocol");
    fleet.listen();
    for client in 0..8 {
        fleet.connect(client);
    }
    fleet.ticks(16);
    assert!(fleet.server().connections().is_empty());
    assert_eq!(fleet.logs().count("only this side has rpc `OnlyServer`"), 1);
}

#[test]
fn a_version_that_is_replayed_ends_the_connection() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Game).build();
        fleet.logs().expect("an RPC packet was refused");
        fleet.listen();
        fleet.connect(0);
        fleet.link(0).record();
        fleet.ticks(8);
        let first =
            fleet.link(0).recorded().into_iter().find(|message| message.direction == Direction::ToServer).unwrap();
        fleet.link(0).inject_raw(Direction::ToServer, first.pipeline, first.bytes);
        fleet.ticks(8);
        assert!(fleet.server().connections().is_empty() && fleet.client(0).connections().is_empty());
    }
}

#[test]
fn two_sides_that_register_in_another_order_connect() {
    for shape in SHAPES {
        struct Reordered;
        impl Plugin for Reordered {
            fn build(&self, app: &mut App) {
                app.add_plugins(Game);
                if kind_of(app.world()).is_server() {
                    app.register_rpc::<Common>().register_rpc::<OnlyServer>();
                } else {
                    app.register_rpc::<OnlyServer>().register_rpc::<Common>();
                }
            }
        }
        let mut fleet = shape.fleet().plugin(Reordered).build();
        fleet.connect_all();
        let of_server = fleet.server().world().resource::<NetworkProtocolVersion>().clone();
        assert_eq!(&of_server, fleet.client(0).world().resource::<NetworkProtocolVersion>());
    }
}

#[test]
fn what_differs_is_still_said_when_version_and_end_arrive_in_one_frame() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Game).build();
        fleet.logs().expect("the game version differs: local 0, remote 9000");
        fleet.logs().expect("the game version differs: local 9000, remote 0");
        fleet.client(0).world_mut().resource_mut::<NetworkProtocolVersion>().version.game = 9000;
        fleet.listen();
        fleet.connect(0);
        while fleet.server().connections().is_empty() {
            fleet.tick_client(0, FRAME);
            fleet.tick_server(FRAME);
        }
        // While the server stands still its version reaches the client, which says its own and goes.
        for _ in 0..8 {
            fleet.tick_client(0, FRAME);
        }
        assert!(fleet.client(0).connections().is_empty(), "{shape:?}");
        let mut reasons = Vec::new();
        for _ in 0..3 {
            fleet.tick_server(FRAME);
            reasons.extend(fleet.server().events().iter().filter_map(|event| event.disconnect_reason));
        }
        assert_eq!(reasons, [DisconnectReason::BadProtocolVersion], "{shape:?}");
        assert_eq!(fleet.logs().count("this side registered"), 2, "{shape:?}");
    }
}

#[test]
fn what_differs_is_still_said_by_a_client_that_stood_still_until_the_end_had_come() {
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Game).build();
        fleet.logs().expect("the game version differs: local 0, remote 9000");
        fleet.logs().expect("the game version differs: local 9000, remote 0");
        fleet.client(0).world_mut().resource_mut::<NetworkProtocolVersion>().version.game = 9000;
        fleet.listen();
        let connection = fleet.connect(0);
        let state = |fleet: &mut Fleet| {
            fleet.client(0).world().get::<NetworkStreamConnection>(connection).map(|connection| connection.state)
        };
        while state(&mut fleet) != Some(ConnectionStatus::Handshake) {
            fleet.tick_server(FRAME);
            fleet.tick_client(0, FRAME);
        }
        // While the client stands still the server hears its version, says what differs, and goes.
        let mut on_server = Vec::new();
        for _ in 0..12 {
            fleet.tick_server(FRAME);
            on_server.extend(fleet.server().events().iter().filter_map(|event| event.disconnect_reason));
        }
        assert!(fleet.server().connections().is_empty(), "{shape:?}");
        let mut on_client = Vec::new();
        for _ in 0..3 {
            fleet.tick_client(0, FRAME);
            on_client.extend(fleet.client(0).events().iter().filter_map(|event| event.disconnect_reason));
        }
        let expected = vec![DisconnectReason::BadProtocolVersion];
        assert_eq!((on_server, on_client), (expected.clone(), expected), "{shape:?}");
        assert_eq!(fleet.logs().count("this side registered"), 2, "{shape:?}");
    }
}

#[test]
fn the_order_in_which_ghost_types_are_registered_changes_neither_hash_nor_meaning() {
    struct Ghosts;
    impl Plugin for Ghosts {
        fn build(&self, app: &mut App) {
            let walker = || GhostPrefab::new("walker").component::<Position>().predicted();
            let cart = || GhostPrefab::new("cart").component::<Position>();
            if kind_of(app.world()).is_server() {
                app.register_ghost::<Walker>(walker()).register_ghost::<Crate>(cart());
            } else {
                app.register_ghost::<Crate>(cart()).register_ghost::<Walker>(walker());
            }
        }
    }
    for shape in SHAPES {
        let mut fleet = shape.fleet().plugin(Ghosts).build();
        fleet.connect_all();
        let of_server = fleet.server().world().resource::<NetworkProtocolVersion>().clone();
        assert_eq!(&of_server, fleet.client(0).world().resource::<NetworkProtocolVersion>());
        fleet.go_in_game_all();
        fleet.server().world_mut().spawn_ghost::<Walker>(Position::default());
        fleet.server().world_mut().spawn_ghost::<Crate>(Position::default());
        fleet.ticks(20);
        assert_eq!(fleet.client(0).connections().len(), 1);
        let client = fleet.client(0).world_mut();
        assert_eq!((count::<Walker>(client), count::<Crate>(client)), (1, 1), "{shape:?}");
    }
}

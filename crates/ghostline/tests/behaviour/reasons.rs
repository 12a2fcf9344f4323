//! Why connections end: every reason has its number, can be brought about, and reaches the other side with its text. C-07, C-30, C-33, C-35,
//! C-57, DISC-01 to DISC-06 and NEW-01.

use crate::common::*;
use bevy_app::App;
use bevy_ecs::prelude::*;
use ghostline::connection::{ConnectionStatus, NetworkProtocolVersion, NetworkStreamDriver};
use ghostline::prelude::*;
use ghostline_testkit::{Direction, FRAME, MessageKind, Pipeline, Transport};

/// How a connection ended on one side: reason and text. At most one end per side is expected.
type End = Option<(DisconnectReason, String)>;

fn ends(world: &World) -> Vec<(DisconnectReason, String)> {
    let events = world.resource::<ConnectionEvents>();
    let ended = events.iter().filter_map(|event| {
        assert_eq!(event.disconnect_reason.is_some(), event.state == ConnectionStatus::Disconnected);
        Some((event.disconnect_reason?, events.disconnect_text(event.handle).to_owned()))
    });
    ended.collect()
}

/// Ticks until both sides know of the end (a server may not, of a client that it never accepted), and some more, in which nothing is
/// to happen.
fn play_to_the_end(fleet: &mut Fleet, ticks: usize) -> (End, End) {
    let (mut on_server, mut on_client) = (Vec::new(), Vec::new());
    for _ in 0..ticks {
        fleet.tick();
        on_server.extend(ends(fleet.server().world()));
        on_client.extend(ends(fleet.client(0).world()));
    }
    assert!(on_server.len() <= 1 && on_client.len() <= 1, "an end is told once: {on_server:?}, {on_client:?}");
    assert!(fleet.client(0).connections().is_empty(), "it ended on the client");
    (on_server.pop(), on_client.pop())
}

fn reason(end: &End) -> Option<DisconnectReason> {
    end.as_ref().map(|(reason, _)| *reason)
}

fn text(end: &End) -> &str {
    end.as_ref().map_or("", |(_, text)| text)
}

fn fleet(shape: Shape) -> Fleet {
    shape.fleet().plugin(Game).clients(2).build()
}

/// The first client is connected.
fn connected(shape: Shape) -> Fleet {
    let mut fleet = fleet(shape);
    fleet.connect_all();
    fleet.ticks(2);
    fleet
}

const EVERY_REASON: [(DisconnectReason, u8); 13] = [
    (DisconnectReason::ConnectionClose, 0),
    (DisconnectReason::Timeout, 1),
    (DisconnectReason::MaxConnectionAttempts, 2),
    (DisconnectReason::ClosedByRemote, 3),
    (DisconnectReason::BadProtocolVersion, 4),
    (DisconnectReason::InvalidRpc, 5),
    (DisconnectReason::AuthenticationFailure, 6),
    (DisconnectReason::ProtocolError, 7),
    (DisconnectReason::HandshakeTimeout, 100),
    (DisconnectReason::ApprovalFailure, 101),
    (DisconnectReason::ApprovalTimeout, 102),
    (DisconnectReason::ServerFull, 103),
    (DisconnectReason::NameNotResolved, 104),
];

#[test]
fn a_requested_reason_and_its_text_reach_the_other_side_from_either_side() {
    for shape in SHAPES {
        for (requested, number) in EVERY_REASON {
            assert_eq!(requested.code(), number);
            for by_server in [true, false] {
                let mut fleet = connected(shape);
                let side = if by_server { fleet.server() } else { fleet.client(0) };
                let connection = side.connections()[0];
                side.world_mut().disconnect_with_text(connection, requested, "that was that");
                let (on_server, on_client) = play_to_the_end(&mut fleet, 6);
                let (own, other) = if by_server { (on_server, on_client) } else { (on_client, on_server) };
                assert_eq!(own, Some((requested, "that was that".into())), "{shape:?}, by server: {by_server}");
                let told = match requested {
                    DisconnectReason::ConnectionClose => DisconnectReason::ClosedByRemote,
                    specific => specific,
                };
                assert_eq!(other, Some((told, "that was that".into())), "{shape:?}, by server: {by_server}");
                assert_eq!(fleet.server().connections().len(), 1, "the other client stays");
                assert_eq!(fleet.client(1).connections().len(), 1);
            }
        }
    }
}

#[test]
fn a_connection_ends_by_the_request_component_alone() {
    let mut fleet = connected(SHAPES[0]);
    let connection = fleet.client(0).connections()[0];
    // The facade's call inserts the component, and nothing more.
    fleet.client(0).world_mut().disconnect(connection, DisconnectReason::ApprovalFailure);
    let request = *fleet.client(0).world().get::<NetworkStreamRequestDisconnect>(connection).unwrap();
    assert_eq!(request.reason, DisconnectReason::ApprovalFailure);
    let state = fleet.client(0).world().get::<NetworkStreamConnection>(connection).unwrap().state;
    assert_eq!((state, fleet.client(0).connections().len()), (ConnectionStatus::Connected, 1));
    fleet.tick();
    assert!(fleet.client(0).connections().is_empty(), "in the next tick");
    // Taken away in time, it does nothing.
    let connection = fleet.client(1).connections()[0];
    fleet.client(1).world_mut().disconnect(connection, DisconnectReason::ConnectionClose);
    fleet.client(1).world_mut().entity_mut(connection).remove::<NetworkStreamRequestDisconnect>();
    fleet.ticks(4);
    assert_eq!(fleet.client(1).connections(), [connection]);
}

#[test]
fn a_world_that_is_dropped_is_closed_by_remote_for_its_peers() {
    for shape in SHAPES {
        let mut fleet = connected(shape);
        fleet.drop_client(0);
        let mut on_server = Vec::new();
        for _ in 0..2 {
            fleet.tick();
            on_server.extend(ends(fleet.server().world()));
        }
        assert_eq!(on_server, [(DisconnectReason::ClosedByRemote, String::new())], "{shape:?}");
    }
}

#[test]
fn a_server_that_is_dropped_is_closed_by_remote_for_all_its_clients_and_another_can_take_its_place() {
    for shape in SHAPES {
        let mut fleet = connected(shape);
        fleet.restart_server();
        let mut on_clients = [Vec::new(), Vec::new()];
        for _ in 0..2 {
            fleet.tick();
            for (client, ended) in on_clients.iter_mut().enumerate() {
                ended.extend(ends(fleet.client(client).world()));
            }
        }
        let expected = vec![(DisconnectReason::ClosedByRemote, String::new())];
        assert_eq!(on_clients, [expected.clone(), expected], "{shape:?}");
        fleet.connect_all();
        assert_eq!(fleet.server().connections().len(), 2);
        assert_eq!(count::<NetworkStreamIsReconnected>(fleet.server().world_mut()), 0, "it knows nobody");
    }
}

#[test]
fn nobody_there_ends_with_max_connection_attempts_and_a_new_attempt_works() {
    for shape in SHAPES {
        let mut fleet = fleet(shape);
        fleet.connect(0);
        // Ten attempts, a second each.
        fleet.ticks(599);
        assert_eq!(fleet.client(0).connections().len(), 1, "{shape:?}");
        fleet.tick();
        let on_client = ends(fleet.client(0).world()).pop();
        let (on_server, later) = play_to_the_end(&mut fleet, 10);
        assert_eq!(later, None, "{shape:?}: told once");
        assert_eq!((reason(&on_server), reason(&on_client)), (None, Some(DisconnectReason::MaxConnectionAttempts)));
        assert_eq!(text(&on_client), "all attempts to connect went unanswered");
        fleet.connect_all();
    }
}

#[test]
fn another_version_ends_with_bad_protocol_version_and_says_what_differs() {
    for shape in SHAPES {
        let mut fleet = fleet(shape);
        fleet.logs().expect("the game version differs");
        fleet.client(0).world_mut().resource_mut::<NetworkProtocolVersion>().version.game = 9000;
        fleet.listen();
        fleet.connect(0);
        let (on_server, on_client) = play_to_the_end(&mut fleet, 8);
        let expected = Some((DisconnectReason::BadProtocolVersion, "the two sides differ in: game version".to_owned()));
        assert_eq!((&on_server, &on_client), (&expected, &expected), "{shape:?}");
    }
}

#[test]
fn an_unreadable_rpc_ends_with_invalid_rpc_and_says_why() {
    for shape in SHAPES {
        for direction in [Direction::ToServer, Direction::ToClient] {
            let mut fleet = connected(shape);
            fleet.logs().expect("an RPC packet was refused");
            fleet.link(0).inject(direction, MessageKind::Rpc, &[255, 255, 0, 0]);
            let (on_server, on_client) = play_to_the_end(&mut fleet, 8);
            let expected = Some((DisconnectReason::InvalidRpc, "RPC number 65535 is unknown here".to_owned()));
            assert_eq!((&on_server, &on_client), (&expected, &expected), "{shape:?}, {direction:?}");
        }
    }
}

#[test]
fn what_can_not_be_read_ends_with_protocol_error() {
    for shape in SHAPES {
        let mut fleet = connected(shape);
        fleet.logs().expect("dropped a message");
        fleet.logs().expect("messages could not be read");
        for _ in 0..65 {
            fleet.link(0).inject_raw(Direction::ToServer, Pipeline::Unreliable, vec![77]);
        }
        let (on_server, on_client) = play_to_the_end(&mut fleet, 8);
        assert_eq!(reason(&on_server), Some(DisconnectReason::ProtocolError));
        assert_eq!(on_client, on_server);
        assert!(text(&on_client).starts_with("too many messages could not be read"), "{on_client:?}");
    }
}

#[test]
fn a_full_server_says_so() {
    for shape in SHAPES {
        let mut fleet = fleet(shape);
        fleet.server().world_mut().resource_mut::<NetworkStreamDriver>().set_max_clients(Some(1));
        fleet.listen();
        fleet.connect(1);
        fleet.ticks(8);
        fleet.connect(0);
        let (on_server, on_client) = play_to_the_end(&mut fleet, 8);
        assert_eq!(on_server, None, "it was never accepted");
        assert_eq!(on_client, Some((DisconnectReason::ServerFull, "the server is full: it takes at most 1".into())));
    }
}

#[test]
fn approval_that_is_refused_or_does_not_come_in_time_has_its_own_reasons() {
    for shape in SHAPES {
        for refused in [true, false] {
            let mut fleet = fleet(shape);
            if !refused {
                fleet.logs().expect("Approval was not finished within 5s");
            }
            for server in [true, false] {
                let world = if server { fleet.server() } else { fleet.client(0) };
                world.world_mut().require_connection_approval(true).unwrap();
            }
            fleet.listen();
            fleet.connect(0);
            fleet.ticks(6);
            let expected = if refused {
                let connection = fleet.server().connections()[0];
                let server = fleet.server().world_mut();
                server.disconnect_with_text(connection, DisconnectReason::ApprovalFailure, "no ticket");
                (DisconnectReason::ApprovalFailure, "no ticket")
            } else {
                (DisconnectReason::ApprovalTimeout, "Approval was not finished within 5s")
            };
            let (on_server, on_client) = play_to_the_end(&mut fleet, 310);
            assert_eq!(on_server, Some((expected.0, expected.1.into())), "{shape:?}");
            assert_eq!(on_client, on_server, "{shape:?}");
        }
    }
}

#[test]
fn a_handshake_that_does_not_end_has_its_own_reason() {
    // Over QUIC a client's version comes with the end of the transport's handshake; see `a_stranger_that_only_connects_is_dropped_after_five_seconds_and_told_so`.
    for shape in SHAPES.into_iter().filter(|shape| shape.transport == Transport::InProcess) {
        let mut fleet = fleet(shape);
        fleet.logs().expect("Handshake was not finished within 5s");
        fleet.listen();
        fleet.connect(0);
        while fleet.server().connections().is_empty() {
            fleet.tick_client(0, FRAME);
            fleet.tick_server(FRAME);
        }
        // Half of the link is dead: what the client says reaches nobody any more.
        fleet.link(0).cut(Direction::ToServer);
        let (on_server, on_client) = play_to_the_end(&mut fleet, 310);
        let expected = Some((DisconnectReason::HandshakeTimeout, "Handshake was not finished within 5s".to_owned()));
        assert_eq!((&on_server, &on_client), (&expected, &expected), "{shape:?}");
    }
}

#[test]
fn a_silent_peer_is_a_timeout_on_both_sides() {
    for shape in SHAPES {
        let mut fleet = connected(shape);
        for direction in [Direction::ToServer, Direction::ToClient] {
            fleet.link(0).cut(direction);
        }
        // 10 s of silence; over a socket a sign of life of its own may have given a side another half second.
        fleet.ticks(594);
        assert_eq!((fleet.server().connections().len(), fleet.client(0).connections().len()), (2, 1));
        let (on_server, on_client) = play_to_the_end(&mut fleet, 40);
        let expected = Some((DisconnectReason::Timeout, "timed out".to_owned()));
        assert_eq!((&on_server, &on_client), (&expected, &expected), "{shape:?}");
        assert_eq!((fleet.server().connections().len(), fleet.client(1).connections().len()), (1, 1));
        // Everything is forgotten, and a new connection works.
        for direction in [Direction::ToServer, Direction::ToClient] {
            fleet.link(0).mend(direction);
        }
        fleet.connect_all();
        assert_eq!(fleet.client(0).network_id(), Some(NetworkId(1)));
        assert_eq!(count::<NetworkStreamIsReconnected>(fleet.server().world_mut()), 1);
    }
}

/// C-30: what a client's game sees of its own connection, from its own request, from a time-out and from a kick.
#[test]
fn a_client_sees_each_state_once_and_its_end_with_the_reason() {
    use ConnectionStatus::{Approval, Connected, Connecting, Disconnected, Handshake};
    for (how, expected) in [
        ("own request", DisconnectReason::ConnectionClose),
        ("kick", DisconnectReason::ClosedByRemote),
        ("time-out", DisconnectReason::ApprovalTimeout),
    ] {
        for shape in SHAPES {
            let plugin = |app: &mut App| {
                app.add_plugins(Game);
            };
            let mut fleet = shape.fleet().plugin(plugin).clients(2).build();
            if how == "time-out" {
                fleet.logs().expect("Approval was not finished within 5s");
            }
            for server in [true, false] {
                let world = if server { fleet.server() } else { fleet.client(0) };
                world.world_mut().require_connection_approval(true).unwrap();
            }
            fleet.listen();
            fleet.connect(0);
            let (mut seen, mut ended) = (Vec::new(), None);
            for tick in 0..330 {
                let on_server = fleet.server().connections();
                if tick == 8 && how != "time-out" {
                    fleet.server().world_mut().entity_mut(on_server[0]).insert(ConnectionApproved);
                } else if tick == 20 && how == "kick" {
                    fleet.server().world_mut().disconnect(on_server[0], DisconnectReason::ConnectionClose);
                } else if tick == 20 && how == "own request" {
                    let connection = fleet.client(0).connections()[0];
                    fleet.client(0).world_mut().disconnect(connection, DisconnectReason::ConnectionClose);
                }
                fleet.tick();
                for event in fleet.client(0).events() {
                    seen.push(event.state);
                    ended = ended.or(event.disconnect_reason);
                }
                assert!(fleet.client(1).events().is_empty(), "nobody hears of others");
            }
            let until_approved = [Connecting, Handshake, Approval];
            let rest: &[ConnectionStatus] =
                if how == "time-out" { &[Disconnected] } else { &[Connected, Disconnected] };
            assert_eq!(seen, [&until_approved[..], rest].concat(), "{shape:?}, {how}");
            assert_eq!(ended, Some(expected), "{shape:?}, {how}");
        }
    }
}

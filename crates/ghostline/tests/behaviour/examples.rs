//! The examples do what they say: each is a program of its own, whose plugin is run here in virtual time.

use ghostline_testkit::{Fleet, LinkProfile, Transport};

#[path = "../../examples/connection_monitor.rs"]
#[expect(dead_code, unreachable_pub, reason = "a program of its own, whose plugin is run here")]
mod connection_monitor;
#[path = "../../examples/reconnect.rs"]
#[expect(dead_code, unreachable_pub, reason = "a program of its own, whose plugin is run here")]
mod reconnect;
#[path = "../../examples/rpc_chat.rs"]
#[expect(dead_code, unreachable_pub, reason = "a program of its own, whose plugin is run here")]
mod rpc_chat;

#[test]
fn everybody_reads_what_everybody_said_in_the_order_of_each_speaker() {
    let mut fleet = Fleet::builder().plugin(rpc_chat::Chat).clients(2).build();
    fleet.connect_all();
    fleet.ticks(16);
    for client in 0..2 {
        let transcript = &fleet.client(client).world().resource::<rpc_chat::Transcript>().0;
        for id in 1..=2 {
            let by_one: Vec<&String> = transcript.iter().filter(|line| line.starts_with(&format!("{id}: "))).collect();
            assert_eq!(by_one, [&format!("{id}: I am {id}"), &format!("{id}: hello")], "{transcript:?}");
        }
    }
}

#[test]
fn both_sides_see_a_connection_come_and_go_with_its_reason() {
    let mut fleet = Fleet::builder().plugin(connection_monitor::Monitor).build();
    fleet.connect_all();
    fleet.ticks(70);
    let client = fleet.client(0).world().resource::<connection_monitor::Seen>().0.clone();
    assert_eq!(client, ["Connecting", "Handshake", "Connected", "Disconnected: ClosedByRemote"]);
    let server = fleet.server().world().resource::<connection_monitor::Seen>().0.clone();
    assert_eq!(server, ["Handshake", "Connected", "Disconnected: ConnectionClose"]);
}

#[test]
fn a_client_that_was_cut_off_comes_back_to_what_it_had() {
    for transport in [Transport::InProcess, Transport::Quic] {
        let link = LinkProfile::rtt(80).with_loss_percent(2.0);
        let mut fleet = Fleet::builder().plugin(reconnect::Reconnect).transport(transport).link(link).build();
        fleet.connect_all();
        fleet.ticks(300);
        let diary = &fleet.client(0).world().resource::<reconnect::Diary>().0;
        assert_eq!(
            *diary,
            ["welcome, 0 goals", "Timeout: the line is bad today", "welcome back, 3 goals"],
            "{transport:?}"
        );
    }
}

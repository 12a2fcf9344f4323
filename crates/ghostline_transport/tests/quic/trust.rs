//! Whom a client believes, seen from outside.

use ghostline_transport::{
    CertificateHash, ConnectError, DisconnectCause, Driver, DriverEvent, Identity, QuicSettings, ServerAddress,
    SimulatedNetwork, Trust,
};

use crate::harness::{SimulatedDriver, TICK};

/// A server and a client on two machines, neither of them on loopback.
fn on_a_lan(client: QuicSettings, identity: Option<Identity>) -> (SimulatedDriver, SimulatedDriver) {
    let network = SimulatedNetwork::new(1);
    let host = |text: &str| network.host(text.parse().unwrap());
    let settings = QuicSettings { identity, ..QuicSettings::default() };
    let mut server = SimulatedDriver::new(host("10.0.0.1"), settings).unwrap();
    server.listen("0.0.0.0:7979".parse().unwrap()).unwrap();
    (server, SimulatedDriver::new(host("10.0.0.2"), client).unwrap())
}

fn run(server: &mut SimulatedDriver, client: &mut SimulatedDriver) -> Vec<DriverEvent> {
    let (mut seen, mut ignored) = (Vec::new(), Vec::new());
    for tick in 1..20 {
        client.poll(TICK * tick, &mut seen);
        client.flush(TICK * tick);
        server.poll(TICK * tick, &mut ignored);
        server.flush(TICK * tick);
    }
    seen
}

#[test]
fn a_join_string_is_all_that_a_client_on_another_machine_needs() {
    let (mut server, mut client) = on_a_lan(QuicSettings::default(), None);
    let text = server.join_string().unwrap().to_string();
    assert!(text.starts_with("10.0.0.1:7979#"), "{text}");
    let connection = client.join(&text.parse().unwrap(), TICK).unwrap();
    assert_eq!(run(&mut server, &mut client), [DriverEvent::Connected { connection }]);
}

#[test]
fn without_a_hash_another_machine_is_not_connected_to() {
    let (server, mut client) = on_a_lan(QuicSettings::default(), None);
    let address = server.local_address().unwrap();
    let error = client.connect(address, TICK).unwrap_err();
    assert_eq!(error, ConnectError::NotTrusted { address });
    assert!(error.to_string().contains("ADDRESS#HASH"), "it tells how: {error}");
}

#[test]
fn another_certificate_than_the_pinned_one_is_not_believed() {
    let (mut server, mut client) = on_a_lan(QuicSettings::default(), None);
    let hash = Some(CertificateHash::from_bytes([1; 32]));
    let join = ServerAddress { hash, ..server.local_address().unwrap().into() };
    let connection = client.join(&join, TICK).unwrap();
    let cause = DisconnectCause::Untrusted;
    assert_eq!(run(&mut server, &mut client), [DriverEvent::Disconnected { connection, cause }]);
    assert_eq!(server.stats().accepted, 0);
}

#[test]
fn a_client_can_be_told_beforehand_whom_to_believe() {
    let identity = Identity::self_signed().unwrap();
    let trust = Trust::pinned(identity.hash());
    let (mut server, mut client) = on_a_lan(QuicSettings { trust, ..QuicSettings::default() }, Some(identity));
    let connection = client.connect(server.local_address().unwrap(), TICK).unwrap();
    assert_eq!(run(&mut server, &mut client), [DriverEvent::Connected { connection }]);
}

#[test]
fn a_kept_identity_is_recognised_after_a_restart() {
    let first = Identity::self_signed().unwrap();
    let kept = Identity::from_pem(&first.to_pem()).unwrap();
    let trust = Trust::Pinned(vec![first.hash()]);
    let (mut server, mut client) = on_a_lan(QuicSettings { trust, ..QuicSettings::default() }, Some(kept));
    let connection = client.connect(server.local_address().unwrap(), TICK).unwrap();
    assert_eq!(run(&mut server, &mut client), [DriverEvent::Connected { connection }]);
}

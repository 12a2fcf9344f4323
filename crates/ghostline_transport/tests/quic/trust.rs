//! Whom a client believes, seen from outside.

use ghostline_transport::{
    Answer, Authorities, AuthoritiesError, CertificateHash, ConnectError, DisconnectCause, Driver, DriverEvent,
    Identity, QuicSettings, ServerAddress, SimulatedNetwork, Trust,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

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
    assert_eq!(server.driver_statistics().unwrap().accepted, 0);
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

/// An authority, and a server for which it vouches through another.
struct Vouched {
    authority: Vec<u8>,
    server: Identity,
}

impl Vouched {
    fn new(names: &[&str]) -> Self {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(authority.clone(), KeyPair::generate().unwrap()).unwrap();
        let between_key = KeyPair::generate().unwrap();
        let between_key_der = between_key.serialize_der();
        let between = CertifiedIssuer::signed_by(authority, between_key, &root).unwrap();
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let server = CertificateParams::new(names).unwrap().signed_by(&key, &between).unwrap();
        // The file of a server holds its own certificate, its key, and the certificate between it and the root.
        let own = Identity::from_der(server.der(), &key.serialize_der()).unwrap().to_pem();
        let between = Identity::from_der(between.der(), &between_key_der).unwrap().to_pem();
        let between = between.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
        Self { authority: root.der().to_vec(), server: Identity::from_pem(&(own + between)).unwrap() }
    }

    fn identity(&self) -> Identity {
        self.server.clone()
    }

    fn trust(&self) -> Trust {
        Trust::Authorities(Authorities::from_der([&self.authority[..]]).unwrap())
    }
}

/// Every name leads to the server of these tests.
#[derive(Debug)]
struct LeadsToServer;

impl ghostline_transport::Resolver for LeadsToServer {
    fn resolve(&self, _name: &str, port: u16, answer: Answer) {
        answer.give(Ok(vec![([10, 0, 0, 1], port).into()]));
    }
}

#[test]
fn a_server_is_believed_that_an_authority_vouches_for_under_the_name_it_was_called_by() {
    let vouched = Vouched::new(&["play.example.org", "10.0.0.1"]);
    let other = Vouched::new(&["play.example.org"]);
    for (trust, server, is_believed) in [
        (vouched.trust(), "play.example.org:7979", true),
        (vouched.trust(), "10.0.0.1:7979", true),
        (vouched.trust(), "cheat.example.org:7979", false),
        (other.trust(), "play.example.org:7979", false),
    ] {
        let resolver = std::sync::Arc::new(LeadsToServer);
        let settings = QuicSettings { trust, resolver, ..QuicSettings::default() };
        let (mut server_driver, mut client) = on_a_lan(settings, Some(vouched.identity()));
        let connection = client.join(&server.parse().unwrap(), TICK).unwrap();
        let expected = if is_believed {
            DriverEvent::Connected { connection }
        } else {
            DriverEvent::Disconnected { connection, cause: DisconnectCause::Untrusted }
        };
        assert_eq!(run(&mut server_driver, &mut client), [expected], "{server}");
    }
}

#[test]
fn a_hash_in_the_address_counts_more_than_any_authority() {
    let vouched = Vouched::new(&["10.0.0.1"]);
    let settings = QuicSettings { trust: vouched.trust(), ..QuicSettings::default() };
    let (mut server, mut client) = on_a_lan(settings, Some(vouched.identity()));
    let hash = Some(CertificateHash::from_bytes([1; 32]));
    let join = ServerAddress { hash, ..server.local_address().unwrap().into() };
    let connection = client.join(&join, TICK).unwrap();
    let cause = DisconnectCause::Untrusted;
    assert_eq!(run(&mut server, &mut client), [DriverEvent::Disconnected { connection, cause }]);
}

#[test]
fn authorities_that_are_none_are_an_error() {
    assert!(matches!(Authorities::from_der([]), Err(AuthoritiesError::None { .. })));
    assert!(matches!(Authorities::from_der([&b"no certificate"[..]]), Err(AuthoritiesError::Unusable { .. })));
}

//! A fleet whose worlds talk QUIC over a network in memory: the whole production stack but for the socket.

use crate::common::*;
use ghostline::prelude::*;
use ghostline::transport::{DriverStore, QuicDriver, QuicSettings, SimulatedNetwork, SimulatedSocket};
use std::net::{IpAddr, SocketAddr};

/// The address of the server's host.
const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// The address of a client's host, on loopback, where any certificate is believed.
pub(crate) fn client_ip(client: usize) -> IpAddr {
    IpAddr::from([127, 0, 1, 1 + client as u8])
}

/// A driver on this host.
pub(crate) fn quic_store(network: &SimulatedNetwork, ip: IpAddr, settings: QuicSettings) -> DriverStore {
    let driver = QuicDriver::<SimulatedSocket>::new(network.host(ip), settings).expect("valid settings");
    let mut store = DriverStore::new();
    store.register(Box::new(driver)).expect("the first driver");
    store
}

/// Replaces the drivers of a fleet that neither listens nor connects.
pub(crate) fn over_quic(fleet: &mut Fleet, settings: impl Fn(usize) -> QuicSettings) -> SimulatedNetwork {
    let network = SimulatedNetwork::new(7);
    let server = quic_store(&network, SERVER, QuicSettings { seed: Some(1_000), ..QuicSettings::default() });
    fleet.server().world_mut().reset_driver_store(server).expect("nobody is connected");
    for client in 0..fleet.client_count() {
        let settings = QuicSettings { seed: Some(client as u64), ..settings(client) };
        let store = quic_store(&network, client_ip(client), settings);
        fleet.client(client).world_mut().reset_driver_store(store).expect("nobody is connected");
    }
    network
}

/// Where the server of a fleet listens.
pub(crate) fn server_address() -> SocketAddr {
    SocketAddr::new(SERVER, ghostline_testkit::FLEET_PORT)
}

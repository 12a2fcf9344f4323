//! A server and its clients on one network, stepped the way a runner steps worlds.
//! Tests say what is sent and when a stage runs; they get events back.

use std::net::SocketAddr;
use std::time::Duration;

use ghostline_transport::{
    Driver, DriverConnection, DriverEvent, DriverSettings, InProcessDriver, InProcessNetwork, Pipeline,
};

pub(crate) const PORT: u16 = 7_979;

pub(crate) fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], PORT))
}

/// Settings by which all time counts toward time-outs: here seconds pass between two polls.
pub(crate) fn by_the_clock() -> DriverSettings {
    DriverSettings { max_frame_time_ms: 0, ..DriverSettings::default() }
}

/// Polls into a fresh list.
pub(crate) fn poll(driver: &mut InProcessDriver, now: Duration) -> Vec<DriverEvent> {
    let mut events = Vec::new();
    driver.poll(now, &mut events);
    events
}

pub(crate) fn received(connection: DriverConnection, pipeline: Pipeline, bytes: &[u8]) -> DriverEvent {
    DriverEvent::Received { connection, pipeline, bytes: bytes.to_vec() }
}

/// A listening server and one connected client.
pub(crate) struct Pair {
    pub(crate) network: InProcessNetwork,
    pub(crate) server: InProcessDriver,
    pub(crate) client: InProcessDriver,
    /// The server's handle.
    pub(crate) to_client: DriverConnection,
    /// The client's handle.
    pub(crate) to_server: DriverConnection,
    pub(crate) now: Duration,
}

impl Pair {
    pub(crate) fn connected() -> Self {
        Self::with(by_the_clock())
    }

    pub(crate) fn with(settings: DriverSettings) -> Self {
        let network = InProcessNetwork::new();
        let mut server = network.driver_with(settings).unwrap();
        let mut client = network.driver_with(settings).unwrap();
        server.listen(address()).unwrap();
        let (to_client, to_server) = connect(&network, &mut server, &mut client);
        Self { network, server, client, to_client, to_server, now: Duration::ZERO }
    }

    /// One stage of the server: poll, flush, deliver. Returns what it saw.
    pub(crate) fn server_stage(&mut self) -> Vec<DriverEvent> {
        let events = poll(&mut self.server, self.now);
        self.server.flush(self.now);
        self.network.deliver();
        events
    }

    /// One stage of the client: poll, flush, deliver. Returns what it saw.
    pub(crate) fn client_stage(&mut self) -> Vec<DriverEvent> {
        let events = poll(&mut self.client, self.now);
        self.client.flush(self.now);
        self.network.deliver();
        events
    }

    pub(crate) fn send_to_client(&mut self, pipeline: Pipeline, bytes: &[u8]) {
        self.server.send(self.to_client, pipeline, bytes).unwrap();
    }

    pub(crate) fn send_to_server(&mut self, pipeline: Pipeline, bytes: &[u8]) {
        self.client.send(self.to_server, pipeline, bytes).unwrap();
    }

    /// The client's creation number.
    pub(crate) fn number(&self) -> u64 {
        self.client.number()
    }
}

/// Connects a client, and returns the server's and the client's handle.
pub(crate) fn connect(
    network: &InProcessNetwork,
    server: &mut InProcessDriver,
    client: &mut InProcessDriver,
) -> (DriverConnection, DriverConnection) {
    let now = Duration::ZERO;
    let to_server = client.connect(address(), now).unwrap();
    client.flush(now);
    network.deliver();
    let [DriverEvent::Accepted { connection }] = poll(server, now)[..] else {
        panic!("the server accepts exactly one client");
    };
    server.flush(now);
    network.deliver();
    let connected = DriverEvent::Connected { connection: to_server };
    assert_eq!(poll(client, now), [connected]);
    (connection, to_server)
}

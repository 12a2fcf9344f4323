//! A server and its clients on a network in memory, stepped in virtual time.
//! Tests say what is sent and how many ticks pass; they get events back.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ghostline_transport::{
    Driver, DriverConnection, DriverEvent, LinkProfile, Pipeline, QuicDriver, QuicSettings, SimulatedNetwork,
    SimulatedSocket,
};

pub(crate) type SimulatedDriver = QuicDriver<SimulatedSocket>;

pub(crate) const TICK: Duration = Duration::from_micros(16_667);
pub(crate) const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 1));

pub(crate) fn server_address() -> SocketAddr {
    SocketAddr::new(SERVER, 7_979)
}

/// The host of a client. On loopback, so that any certificate is believed.
pub(crate) fn client_ip(number: usize) -> IpAddr {
    IpAddr::from([127, 0, 1 + (number / 250) as u8, 1 + (number % 250) as u8])
}

/// One side and what it has seen.
pub(crate) struct Side {
    pub(crate) driver: SimulatedDriver,
    pub(crate) events: Vec<DriverEvent>,
}

impl Side {
    pub(crate) fn received(&self) -> Vec<(Pipeline, &[u8])> {
        let messages = self.events.iter().filter_map(|event| match event {
            DriverEvent::Received { pipeline, bytes, .. } => Some((*pipeline, &bytes[..])),
            _ => None,
        });
        messages.collect()
    }

    pub(crate) fn accepted(&self) -> Vec<DriverConnection> {
        let connections = self.events.iter().filter_map(|event| match event {
            DriverEvent::Accepted { connection } => Some(*connection),
            _ => None,
        });
        connections.collect()
    }

    pub(crate) fn take(&mut self) -> Vec<DriverEvent> {
        std::mem::take(&mut self.events)
    }
}

/// A server, clients, and the time.
pub(crate) struct World {
    pub(crate) network: SimulatedNetwork,
    pub(crate) server: Side,
    pub(crate) clients: Vec<Side>,
    pub(crate) now: Duration,
}

impl World {
    pub(crate) fn new(clients: usize) -> Self {
        Self::with(clients, QuicSettings::default())
    }

    /// A listening server and so many clients that have not connected. The settings' seed is spread over them.
    pub(crate) fn with(clients: usize, settings: QuicSettings) -> Self {
        let seed = settings.seed.unwrap_or(1);
        let network = SimulatedNetwork::new(seed);
        let make = |ip, number| {
            let settings = QuicSettings { seed: Some(seed * 10_000 + number), ..settings.clone() };
            Side { driver: SimulatedDriver::new(network.host(ip), settings).unwrap(), events: Vec::new() }
        };
        let mut server = make(SERVER, 0);
        assert_eq!(server.driver.listen(server_address()), Ok(server_address()));
        let clients = (0..clients).map(|number| make(client_ip(number), number as u64 + 1)).collect();
        Self { network, server, clients, now: Duration::ZERO }
    }

    /// One client that is connected; returns the server's and the client's handle, too.
    pub(crate) fn connected() -> (Self, DriverConnection, DriverConnection) {
        Self::connected_with(QuicSettings::default())
    }

    pub(crate) fn connected_with(settings: QuicSettings) -> (Self, DriverConnection, DriverConnection) {
        let mut world = Self::with(1, settings);
        let to_server = world.connect(0);
        world.ticks(10);
        assert_eq!(world.clients[0].take(), [DriverEvent::Connected { connection: to_server }]);
        let [DriverEvent::Accepted { connection: to_client }] = world.server.take()[..] else {
            panic!("the server accepts exactly one client");
        };
        (world, to_client, to_server)
    }

    pub(crate) fn connect(&mut self, client: usize) -> DriverConnection {
        self.clients[client].driver.connect(server_address(), self.now).unwrap()
    }

    pub(crate) fn profile(&self, profile: LinkProfile) {
        for client in 0..self.clients.len() {
            self.network.set_profile(client_ip(client), profile).unwrap();
        }
    }

    /// Everybody polls and flushes, clients first; then time goes on.
    pub(crate) fn tick(&mut self) {
        for side in self.clients.iter_mut().chain([&mut self.server]) {
            side.driver.poll(self.now, &mut side.events);
            side.driver.flush(self.now);
        }
        self.now += TICK;
    }

    pub(crate) fn ticks(&mut self, count: usize) {
        for _ in 0..count {
            self.tick();
        }
    }

    /// Ticks until `is_done`, at most `limit` times. Returns how many it took.
    pub(crate) fn until(&mut self, limit: usize, mut is_done: impl FnMut(&mut Self) -> bool) -> usize {
        for count in 0..limit {
            if is_done(self) {
                return count;
            }
            self.tick();
        }
        panic!("not done after {limit} ticks: {:?}", self.server.events);
    }
}

pub(crate) fn numbered(number: usize, length: usize) -> Vec<u8> {
    let mut bytes = vec![number as u8; length];
    for (to, from) in bytes.iter_mut().zip((number as u32).to_le_bytes()) {
        *to = from;
    }
    bytes
}

pub(crate) fn number_of(bytes: &[u8]) -> usize {
    u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize
}

//! What links the worlds of a fleet: queues in memory, or QUIC over a simulated network. Both with the same instruments.

use ghostline::transport::{
    Direction, DriverSettings, DriverStore, InProcessNetwork, LinkProfile, LinkStats, Pipeline, QuicDriver,
    QuicSettings, Recorded, RecordedPacket, SendError, SimulatedNetwork, SimulatedSocket,
};
use ghostline::world::{DriverConstructionError, DriverConstructor, DriverContext, InProcessDrivers};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::tap::{Tap, TappedDriver};

/// Over what the worlds of a fleet talk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Transport {
    /// The in-process link, with simulated faults if a profile asks for them. Exact to the tick. The default.
    #[default]
    InProcess,
    /// QUIC over a network in memory: everything that a socket has but the socket, in virtual time and from the fleet's seed.
    Quic,
}

/// The links of a fleet. Worlds are told apart by numbers, from 0 for the server; one that is started again on the same machine keeps
/// its number over QUIC, and gets the next one in process.
pub(crate) struct Network {
    in_process: InProcessNetwork,
    quic: Option<QuicLinks>,
}

/// Where a world sits on the simulated network. On loopback, so that its certificate is believed.
fn ip_of(number: u64) -> IpAddr {
    let [.., high, low] = (number + 1).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 0, high, low))
}

impl Network {
    pub(crate) fn new(transport: Transport, seed: u64, settings: DriverSettings) -> Self {
        let quic = (transport == Transport::Quic).then(|| QuicLinks {
            network: SimulatedNetwork::new(seed),
            tap: Tap::default(),
            homes: Arc::default(),
            seed,
            settings,
        });
        Self { in_process: InProcessNetwork::with_seed(seed), quic }
    }

    /// What every world of the fleet is linked by in process, if by nothing else.
    pub(crate) fn in_process(&self) -> &InProcessNetwork {
        &self.in_process
    }

    /// What makes the drivers of the fleet's worlds.
    pub(crate) fn constructor(&self, in_process: InProcessDrivers) -> Drivers {
        Drivers { in_process, quic: self.quic.clone() }
    }

    /// The address of the server's machine.
    pub(crate) fn server_ip(&self) -> IpAddr {
        ip_of(0)
    }

    /// The world that is made as number `made` is to be at home on the machine of the one with the number `home`.
    pub(crate) fn settle(&self, made: u64, home: u64) {
        if let Some(quic) = &self.quic {
            quic.homes().insert(made, home);
        }
    }

    /// The number of the world that was made as number `made`: over QUIC its machine's, in process that of its driver.
    pub(crate) fn number_of(&self, made: u64) -> u64 {
        self.quic.as_ref().map_or(made, |quic| quic.home_of(made))
    }

    /// Gives the socket at an address another one, if that is free. In process nothing has an address, and it always is.
    pub(crate) fn renumber(&self, from: SocketAddr, to: SocketAddr) -> bool {
        self.quic.as_ref().is_none_or(|quic| from == to || quic.network.renumber(from, to))
    }

    /// Hands on what was sent over in-process links. Packets of sockets are on their way by themselves.
    pub(crate) fn deliver(&self) {
        self.in_process.deliver();
    }

    pub(crate) fn set_profile(&self, number: u64, profile: LinkProfile) -> Result<(), String> {
        match &self.quic {
            Some(quic) => quic.network.set_profile(ip_of(number), profile).map_err(|error| error.to_string()),
            None => self.in_process.set_profile(number, profile).map_err(|error| error.to_string()),
        }
    }

    pub(crate) fn stats(&self, number: u64, direction: Direction) -> LinkStats {
        match &self.quic {
            Some(quic) => quic.network.host_stats(ip_of(number), direction),
            None => self.in_process.link_stats(number, direction).unwrap_or_default(),
        }
    }

    pub(crate) fn cut(&self, number: u64, direction: Direction, is_cut: bool) {
        match &self.quic {
            Some(quic) => quic.network.cut(ip_of(number), direction, is_cut),
            None => {
                self.in_process.cut(number, direction, is_cut);
            }
        }
    }

    pub(crate) fn inject(
        &self,
        number: u64,
        direction: Direction,
        pipeline: Pipeline,
        bytes: Vec<u8>,
    ) -> Result<(), SendError> {
        match &self.quic {
            Some(quic) => quic.tap.inject(ip_of(number), direction, pipeline, bytes),
            None => self.in_process.inject(number, direction, pipeline, bytes),
        }
    }

    pub(crate) fn record(&self, number: u64) {
        match &self.quic {
            Some(quic) => quic.tap.record(ip_of(number)),
            None => {
                self.in_process.record(number, true);
            }
        }
    }

    pub(crate) fn take_recorded(&self, number: u64) -> Vec<Recorded> {
        match &self.quic {
            Some(quic) => quic.tap.take_recorded(ip_of(number)),
            None => self.in_process.take_recorded(number),
        }
    }

    /// Begins to keep the packets of all worlds.
    pub(crate) fn record_packets(&self) {
        if let Some(quic) = &self.quic {
            quic.network.record(true);
        }
    }

    pub(crate) fn inject_packet(&self, now: Duration, packet: &RecordedPacket) {
        if let Some(quic) = &self.quic {
            quic.network.inject(now, packet.from, packet.to, &packet.bytes);
        }
    }

    pub(crate) fn take_packets(&self) -> Vec<RecordedPacket> {
        self.quic.as_ref().map(|quic| quic.network.take_recorded()).unwrap_or_default()
    }
}

#[derive(Clone)]
struct QuicLinks {
    network: SimulatedNetwork,
    tap: Tap,
    /// The machines of worlds, by the order in which they were made.
    homes: Arc<Mutex<BTreeMap<u64, u64>>>,
    seed: u64,
    settings: DriverSettings,
}

impl QuicLinks {
    fn homes(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn home_of(&self, made: u64) -> u64 {
        self.homes().get(&made).copied().unwrap_or(made)
    }

    fn store(&self, context: &DriverContext<'_>, direction: Direction) -> Result<DriverStore, DriverConstructionError> {
        let number = context.world.0;
        let ip = ip_of(self.home_of(number));
        // No two drivers of a network may have one seed.
        let seed = self.seed.wrapping_mul(0x1_0000).wrapping_add(number);
        let settings = QuicSettings { driver: self.settings, seed: Some(seed), ..QuicSettings::default() };
        let driver: QuicDriver<SimulatedSocket> = QuicDriver::new(self.network.host(ip), settings)?;
        let mut store = DriverStore::new();
        store.register(Box::new(TappedDriver::new(driver, self.tap.clone(), direction, ip)))?;
        Ok(store)
    }
}

/// Makes the drivers of a fleet's worlds.
pub(crate) struct Drivers {
    in_process: InProcessDrivers,
    quic: Option<QuicLinks>,
}

impl DriverConstructor for Drivers {
    fn create_server_drivers(&self, context: &DriverContext<'_>) -> Result<DriverStore, DriverConstructionError> {
        match &self.quic {
            Some(quic) => quic.store(context, Direction::ToClient),
            None => self.in_process.create_server_drivers(context),
        }
    }

    fn create_client_driver(&self, context: &DriverContext<'_>) -> Result<DriverStore, DriverConstructionError> {
        match &self.quic {
            Some(quic) => quic.store(context, Direction::ToServer),
            None => self.in_process.create_client_driver(context),
        }
    }

    fn validate(&self) -> Vec<String> {
        self.in_process.validate()
    }
}

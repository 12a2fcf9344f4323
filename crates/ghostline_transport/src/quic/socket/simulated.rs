//! A network in memory: hosts with addresses, sockets on them, and a simulated link between each two hosts.
//! Drivers send and receive through their sockets; tests set the links, record packets, and move sockets about.
//!
//! A host stands for a machine, and its profile for the way between it and the rest: what it sends takes `up`, what is
//! sent to it takes `down`. Give profiles to clients and none to the server.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{DatagramSocket, Incoming, Outgoing};
use crate::in_process::Direction;
use crate::limits::{
    DYNAMIC_PORTS, FIRST_DYNAMIC_PORT, MAX_RECORDED_PACKETS, MAX_SIMULATED_INBOX, SIMULATED_HEADER_BYTES,
};
use crate::simulator::{InvalidProfile, LinkConditions, LinkProfile, LinkStats, SimulatedLink};

/// A packet as the recorder saw it leave its sender, before any loss.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordedPacket {
    /// When.
    pub at: Duration,
    /// Sent from there.
    pub from: SocketAddr,
    /// To there.
    pub to: SocketAddr,
    /// Bytes of the datagram. They differ between runs: keys are never the same.
    pub bytes: Vec<u8>,
}

#[derive(Clone)]
struct Packet {
    from: SocketAddr,
    ecn: u8,
    bytes: Vec<u8>,
}

/// Packets from one address to another.
struct Path {
    link: SimulatedLink<Packet>,
    is_cut: bool,
}

/// A socket as the network sees it.
struct Place {
    address: SocketAddr,
    /// What has arrived and was not fetched.
    inbox: VecDeque<Packet>,
}

struct Hub {
    seed: u64,
    sockets: BTreeMap<u64, Place>,
    addresses: BTreeSet<SocketAddr>,
    next_socket: u64,
    next_port: u16,
    profiles: BTreeMap<IpAddr, LinkProfile>,
    cuts: BTreeSet<(IpAddr, bool)>,
    /// By receiver, then sender.
    paths: BTreeMap<(SocketAddr, SocketAddr), Path>,
    recorded: Option<Vec<RecordedPacket>>,
    /// Packets that nobody listened for.
    undelivered: u64,
    /// The newest time that any driver has told. Drivers whose clocks are behind live in it, too.
    now: Duration,
}

/// The network. Cheap to clone; clones are the same network.
#[derive(Clone)]
pub struct SimulatedNetwork {
    hub: Arc<Mutex<Hub>>,
}

impl SimulatedNetwork {
    /// A network without hosts, all links perfect. All chance comes from `seed`.
    pub fn new(seed: u64) -> Self {
        let hub = Hub {
            seed,
            sockets: BTreeMap::new(),
            addresses: BTreeSet::new(),
            next_socket: 0,
            next_port: 0,
            profiles: BTreeMap::new(),
            cuts: BTreeSet::new(),
            paths: BTreeMap::new(),
            recorded: None,
            undelivered: 0,
            now: Duration::ZERO,
        };
        Self { hub: Arc::new(Mutex::new(hub)) }
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The host with this address.
    pub fn host(&self, ip: IpAddr) -> SimulatedHost {
        SimulatedHost { network: self.clone(), ip }
    }

    /// Sets what the way between this host and all others is like, from now on. Default perfect.
    ///
    /// # Errors
    /// [`InvalidProfile`]; then nothing changes.
    pub fn set_profile(&self, ip: IpAddr, profile: LinkProfile) -> Result<(), InvalidProfile> {
        profile.validate()?;
        let mut hub = self.hub();
        hub.profiles.insert(ip, profile);
        hub.apply();
        Ok(())
    }

    /// Cuts the way from (`ToServer`) or to (`ToClient`) this host, or mends it. What is on its way still arrives.
    pub fn cut(&self, ip: IpAddr, direction: Direction, is_cut: bool) {
        let mut hub = self.hub();
        let key = (ip, direction == Direction::ToServer);
        if is_cut {
            hub.cuts.insert(key);
        } else {
            hub.cuts.remove(&key);
        }
        hub.apply();
    }

    /// Gives the socket at `from` another address, as a router does that forgot whom it translates for. Its owner does
    /// not notice. Returns whether there was one.
    pub fn renumber(&self, from: SocketAddr, to: SocketAddr) -> bool {
        let mut hub = self.hub();
        if hub.addresses.contains(&to) {
            return false;
        }
        let Some(place) = hub.sockets.values_mut().find(|place| place.address == from) else {
            return false;
        };
        place.address = to;
        hub.addresses.remove(&from);
        hub.addresses.insert(to);
        true
    }

    /// Puts a datagram on the way from one address to another, as anybody on the path can.
    pub fn inject(&self, now: Duration, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.hub().carry(now, from, to, 0, bytes);
    }

    /// Begins to record packets, or stops and forgets them.
    pub fn record(&self, is_recording: bool) {
        self.hub().recorded = is_recording.then(Vec::new);
    }

    /// What was recorded since the last call. At most [`MAX_RECORDED_PACKETS`] are kept.
    pub fn take_recorded(&self) -> Vec<RecordedPacket> {
        self.hub().recorded.as_mut().map(core::mem::take).unwrap_or_default()
    }

    /// What became of the packets from one address to another; `None` if there were none.
    pub fn stats(&self, from: SocketAddr, to: SocketAddr) -> Option<LinkStats> {
        self.hub().paths.get(&(to, from)).map(|path| path.link.stats())
    }

    /// What became of all packets that a host sent (`ToServer`) or that were sent to it (`ToClient`). Packets that met a cut
    /// are not counted.
    pub fn host_stats(&self, ip: IpAddr, direction: Direction) -> LinkStats {
        let hub = self.hub();
        let mine = hub.paths.iter().filter(|((to, from), _path)| match direction {
            Direction::ToServer => from.ip() == ip,
            Direction::ToClient => to.ip() == ip,
        });
        mine.map(|(_addresses, path)| path.link.stats()).sum()
    }

    /// Packets sent to where no socket was.
    pub fn undelivered(&self) -> u64 {
        self.hub().undelivered
    }
}

impl Hub {
    fn conditions(&self, from: IpAddr, to: IpAddr) -> LinkConditions {
        match (self.profiles.get(&from), self.profiles.get(&to)) {
            (Some(profile), _) => profile.up,
            (None, Some(profile)) => profile.down,
            (None, None) => LinkConditions::PERFECT,
        }
    }

    fn is_cut(&self, from: IpAddr, to: IpAddr) -> bool {
        self.cuts.contains(&(from, true)) || self.cuts.contains(&(to, false))
    }

    /// Brings every path up to date with profiles and cuts.
    fn apply(&mut self) {
        let mut paths = core::mem::take(&mut self.paths);
        for ((to, from), path) in &mut paths {
            // Checked when it was set.
            let _valid = path.link.set_conditions(self.conditions(from.ip(), to.ip()));
            path.is_cut = self.is_cut(from.ip(), to.ip());
        }
        self.paths = paths;
    }

    fn note_time(&mut self, now: Duration) -> Duration {
        self.now = self.now.max(now);
        self.now
    }

    fn carry(&mut self, now: Duration, from: SocketAddr, to: SocketAddr, ecn: u8, bytes: &[u8]) {
        let now = self.note_time(now);
        if let Some(recorded) = &mut self.recorded
            && recorded.len() < MAX_RECORDED_PACKETS
        {
            recorded.push(RecordedPacket { at: now, from, to, bytes: bytes.to_vec() });
        }
        if !self.addresses.contains(&to) {
            self.undelivered = self.undelivered.saturating_add(1);
            return;
        }
        if !self.paths.contains_key(&(to, from)) {
            let conditions = self.conditions(from.ip(), to.ip());
            let seed = path_seed(self.seed, from, to);
            if let Ok(link) = SimulatedLink::new(conditions, seed) {
                let is_cut = self.is_cut(from.ip(), to.ip());
                self.paths.insert((to, from), Path { link, is_cut });
            }
        }
        if let Some(path) = self.paths.get_mut(&(to, from))
            && !path.is_cut
            && path.link.len() < MAX_SIMULATED_INBOX
        {
            let size = bytes.len().saturating_add(SIMULATED_HEADER_BYTES);
            let packet = Packet { from, ecn, bytes: bytes.to_vec() };
            // What the link drops is dropped.
            let _dropped = path.link.push(now, packet, size);
        }
    }

    /// Moves what has arrived at a socket into its inbox: by time of arrival, at the same time by sender.
    fn deliver(&mut self, now: Duration, number: u64) {
        let now = self.note_time(now);
        let Some(place) = self.sockets.get_mut(&number) else {
            return;
        };
        let lowest = SocketAddr::from(([0, 0, 0, 0], 0));
        let mine = self.paths.range_mut((place.address, lowest)..);
        let mut arrived = Vec::new();
        for (_key, path) in mine.take_while(|((to, _from), _path)| *to == place.address) {
            while let Some(mut delivery) = path.link.pop_due(now) {
                if let Some(corruption) = delivery.corruption {
                    corruption.apply(&mut delivery.item.bytes);
                }
                arrived.push((delivery.at, delivery.item));
            }
        }
        arrived.sort_by_key(|(at, _packet)| *at);
        let room = MAX_SIMULATED_INBOX.saturating_sub(place.inbox.len());
        place.inbox.extend(arrived.into_iter().take(room).map(|(_at, packet)| packet));
    }

    fn free_port(&mut self, ip: IpAddr) -> Option<u16> {
        (0..DYNAMIC_PORTS).find_map(|_| {
            let port = FIRST_DYNAMIC_PORT.saturating_add(self.next_port % DYNAMIC_PORTS);
            self.next_port = self.next_port.wrapping_add(1);
            let address = SocketAddr::new(ip, port);
            (!self.addresses.contains(&address)).then_some(port)
        })
    }
}

/// A seed of its own for each path, from the addresses alone, so that the order of sending does not matter.
fn path_seed(seed: u64, from: SocketAddr, to: SocketAddr) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325 ^ seed;
    let mut mix = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    for address in [from, to] {
        match address.ip() {
            IpAddr::V4(ip) => ip.octets().into_iter().for_each(&mut mix),
            IpAddr::V6(ip) => ip.octets().into_iter().for_each(&mut mix),
        }
        address.port().to_le_bytes().into_iter().for_each(&mut mix);
    }
    hash
}

/// A machine on a [`SimulatedNetwork`]; sockets are bound on it.
#[derive(Clone)]
pub struct SimulatedHost {
    network: SimulatedNetwork,
    ip: IpAddr,
}

impl SimulatedHost {
    /// Its address.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }
}

/// A socket on a [`SimulatedHost`].
pub struct SimulatedSocket {
    network: SimulatedNetwork,
    number: u64,
    bound: SocketAddr,
}

impl DatagramSocket for SimulatedSocket {
    type Network = SimulatedHost;

    fn bind(host: &SimulatedHost, address: SocketAddr) -> io::Result<Self> {
        let network = host.network.clone();
        let mut hub = network.hub();
        let ip = if address.ip().is_unspecified() { host.ip } else { address.ip() };
        if ip != host.ip {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let port = match address.port() {
            0 => hub.free_port(ip).ok_or(io::ErrorKind::AddrInUse)?,
            port => port,
        };
        let bound = SocketAddr::new(ip, port);
        if !hub.addresses.insert(bound) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let number = hub.next_socket;
        hub.next_socket = hub.next_socket.wrapping_add(1);
        hub.sockets.insert(number, Place { address: bound, inbox: VecDeque::new() });
        drop(hub);
        Ok(Self { network, number, bound })
    }

    fn local_address(&self) -> SocketAddr {
        self.bound
    }

    fn send(&mut self, now: Duration, outgoing: Outgoing<'_>) -> io::Result<()> {
        let mut hub = self.network.hub();
        let from = hub.sockets.get(&self.number).ok_or(io::ErrorKind::NotConnected)?.address;
        for datagram in outgoing.datagrams() {
            hub.carry(now, from, outgoing.to, outgoing.ecn, datagram);
        }
        Ok(())
    }

    fn receive(&mut self, now: Duration, limit: usize, take: &mut dyn FnMut(Incoming<'_>)) -> usize {
        let mut hub = self.network.hub();
        hub.deliver(now, self.number);
        let Some(place) = hub.sockets.get_mut(&self.number) else {
            return 0;
        };
        let count = limit.min(place.inbox.len());
        let packets: Vec<Packet> = place.inbox.drain(..count).collect();
        drop(hub);
        for Packet { from, ecn, bytes } in &packets {
            take(Incoming { from: *from, to_ip: None, ecn: *ecn, bytes });
        }
        count
    }
}

impl Drop for SimulatedSocket {
    fn drop(&mut self) {
        let mut hub = self.network.hub();
        if let Some(place) = hub.sockets.remove(&self.number) {
            hub.addresses.remove(&place.address);
            // What it has sent still arrives.
            let is_over = |from: SocketAddr, path: &Path| from == place.address && path.link.is_empty();
            hub.paths.retain(|(to, from), path| *to != place.address && !is_over(*from, path));
        }
    }
}

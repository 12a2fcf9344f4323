//! What the QUIC driver asks of a socket: datagrams out, datagrams in, never waiting.
//! Implemented over UDP, over a simulated network, and over any socket with a simulated link below it.

mod impaired;
mod simulated;
mod udp;

use core::time::Duration;
use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::error::SimulatorError;
use crate::simulator::LinkProfile;

pub use impaired::{ImpairedNetwork, ImpairedSocket};
pub use simulated::{RecordedPacket, SimulatedHost, SimulatedNetwork, SimulatedSocket};
pub use udp::{UdpNetwork, UdpSocket, lan_ip};

/// One or more datagrams to one address.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Where to.
    pub to: SocketAddr,
    /// From which of this machine's addresses; `None` leaves it to the system.
    pub from_ip: Option<IpAddr>,
    /// The two bits of explicit congestion notification; 0 for none.
    pub ecn: u8,
    /// The datagrams, one behind the other.
    pub bytes: &'a [u8],
    /// Bytes of each datagram; the last may have fewer. Never 0.
    pub segment_bytes: usize,
}

impl<'a> Outgoing<'a> {
    /// Each datagram by itself.
    pub fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> {
        self.bytes.chunks(self.segment_bytes.max(1))
    }
}

/// A datagram that arrived.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Where from.
    pub from: SocketAddr,
    /// At which of this machine's addresses, if the system says so.
    pub to_ip: Option<IpAddr>,
    /// The two bits of explicit congestion notification; 0 for none.
    pub ecn: u8,
    /// The datagram.
    pub bytes: &'a [u8],
}

/// Datagrams in and out, without waiting. `now` is the driver's time; only simulated sockets look at it.
pub trait DatagramSocket: Send + Sync + Sized + 'static {
    /// Where sockets of this kind come from.
    type Network: Send + Sync + 'static;

    /// A socket at `address`; port 0 asks for any free one.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::AddrInUse`] for a taken port.
    fn bind(network: &Self::Network, address: SocketAddr) -> io::Result<Self>;

    /// What the simulated link below sockets of this network is like; `None` if there is none.
    fn link_profile(_network: &Self::Network) -> Option<LinkProfile> {
        None
    }

    /// Changes the simulated link below sockets of this network.
    ///
    /// # Errors
    /// [`SimulatorError`]; then nothing changes.
    fn set_link_profile(_network: &Self::Network, _profile: LinkProfile) -> Result<(), SimulatorError> {
        Err(SimulatorError::NotSupported)
    }

    /// Its address, with the real port.
    fn local_address(&self) -> SocketAddr;

    /// How many datagrams [`Outgoing`] may hold. At least 1.
    fn max_segments(&self) -> usize {
        1
    }

    /// Whether the path may break datagrams into smaller ones. Then larger ones are not probed for.
    fn may_fragment(&self) -> bool {
        false
    }

    /// Sends, or loses what can't be sent now.
    ///
    /// # Errors
    /// The system's. Nothing is repeated: to the driver it is a lost packet.
    fn send(&mut self, now: Duration, outgoing: Outgoing<'_>) -> io::Result<()>;

    /// Hands what has arrived to `take`, at most about `limit` datagrams, and returns how many they were.
    fn receive(&mut self, now: Duration, limit: usize, take: &mut dyn FnMut(Incoming<'_>)) -> usize;
}

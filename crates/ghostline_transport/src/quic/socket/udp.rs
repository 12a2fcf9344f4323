//! A UDP socket of the operating system, non-blocking, with segmentation offload where the system has it.
//! Driven by the QUIC driver's poll and flush.

use core::time::Duration;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

use super::{DatagramSocket, Incoming, Outgoing};
use crate::limits::{MAX_SEGMENTS, MAX_UDP_PAYLOAD_BYTES, RECEIVE_BATCH, SOCKET_BUFFER_BYTES};

/// The network of the operating system.
#[derive(Clone, Copy, Default, Debug)]
pub struct UdpNetwork;

/// The address by which the machine is reached on the network that leads to the rest of the world; `None` if it has
/// none. Nothing is sent to find out.
pub fn lan_ip() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address kept for documentation: the system only chooses a way.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified())
}

/// A UDP socket.
pub struct UdpSocket {
    socket: std::net::UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    /// [`RECEIVE_BATCH`] pieces of `piece_bytes`.
    buffer: Vec<u8>,
    piece_bytes: usize,
}

impl DatagramSocket for UdpSocket {
    type Network = UdpNetwork;

    fn bind(_network: &UdpNetwork, address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            // A wildcard takes both families where the system can.
            let _both_or_one = socket.set_only_v6(!address.ip().is_unspecified());
        }
        // The system may give less; a burst is then lost sooner.
        let _less = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        let _less = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
        socket.bind(&address.into())?;
        let socket = std::net::UdpSocket::from(socket);
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        let piece_bytes = usize::from(MAX_UDP_PAYLOAD_BYTES).saturating_mul(state.gro_segments().max(1));
        let buffer = vec![0; piece_bytes.saturating_mul(RECEIVE_BATCH)];
        Ok(Self { socket, state, local, buffer, piece_bytes })
    }

    fn local_address(&self) -> SocketAddr {
        self.local
    }

    fn max_segments(&self) -> usize {
        self.state.max_gso_segments().clamp(1, MAX_SEGMENTS)
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    fn send(&mut self, _now: Duration, outgoing: Outgoing<'_>) -> io::Result<()> {
        let is_one = outgoing.bytes.len() <= outgoing.segment_bytes;
        let transmit = Transmit {
            destination: outgoing.to,
            ecn: EcnCodepoint::from_bits(outgoing.ecn),
            contents: outgoing.bytes,
            segment_size: (!is_one).then_some(outgoing.segment_bytes),
            src_ip: outgoing.from_ip,
        };
        self.state.try_send(UdpSockRef::from(&self.socket), &transmit)
    }

    fn receive(&mut self, _now: Duration, limit: usize, take: &mut dyn FnMut(Incoming<'_>)) -> usize {
        let mut count = 0_usize;
        while count < limit {
            let mut meta = [RecvMeta::default(); RECEIVE_BATCH];
            let mut pieces: [IoSliceMut<'_>; RECEIVE_BATCH] = core::array::from_fn(|_| IoSliceMut::new(&mut []));
            for (piece, bytes) in pieces.iter_mut().zip(self.buffer.chunks_mut(self.piece_bytes)) {
                *piece = IoSliceMut::new(bytes);
            }
            let filled = match self.state.recv(UdpSockRef::from(&self.socket), &mut pieces, &mut meta) {
                Ok(filled) => filled,
                // Some systems report that an earlier packet reached nobody; that is no reason to stop.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    count = count.saturating_add(1);
                    continue;
                }
                Err(_nothing_there) => break,
            };
            for (piece, meta) in pieces.iter().zip(&meta).take(filled) {
                let bytes = piece.get(..meta.len).unwrap_or(&[]);
                for datagram in bytes.chunks(meta.stride.max(1)) {
                    count = count.saturating_add(1);
                    let ecn = meta.ecn.map_or(0, |ecn| ecn as u8);
                    take(Incoming { from: meta.addr, to_ip: meta.dst_ip, ecn, bytes: datagram });
                }
            }
        }
        count
    }
}

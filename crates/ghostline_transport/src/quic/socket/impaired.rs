//! A simulated link below any socket: the real network, made worse on purpose.
//! Datagrams wait here until they are due, on the way out and on the way in.

use core::time::Duration;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use super::{DatagramSocket, Incoming, Outgoing};
use crate::error::SimulatorError;
use crate::limits::SIMULATED_HEADER_BYTES;
use crate::simulator::{InvalidConditions, InvalidProfile, LinkProfile, SimulatedLink};

/// A network whose sockets all have a bad link, seen from this side: what leaves goes `up`, what arrives comes `down`.
///
/// Changes apply to what is sent and received from then on. Cheap to clone; clones share the profile.
#[derive(Clone, Debug)]
pub struct ImpairedNetwork<N> {
    inner: N,
    profile: Arc<Mutex<LinkProfile>>,
    seed: u64,
}

impl<N> ImpairedNetwork<N> {
    /// Makes `inner` as bad as `profile`. All chance comes from `seed`.
    ///
    /// # Errors
    /// [`InvalidProfile`] lists everything that is wrong with it.
    pub fn new(inner: N, profile: LinkProfile, seed: u64) -> Result<Self, InvalidProfile> {
        profile.validate()?;
        Ok(Self { inner, profile: Arc::new(Mutex::new(profile)), seed })
    }

    /// What it is like at present.
    pub fn profile(&self) -> LinkProfile {
        *self.profile.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the profile.
    ///
    /// # Errors
    /// [`InvalidProfile`]; then nothing changes.
    pub fn set_profile(&self, profile: LinkProfile) -> Result<(), InvalidProfile> {
        profile.validate()?;
        *self.profile.lock().unwrap_or_else(PoisonError::into_inner) = profile;
        Ok(())
    }
}

#[derive(Clone)]
struct Packet {
    /// The other side.
    remote: SocketAddr,
    /// This side.
    local_ip: Option<IpAddr>,
    ecn: u8,
    bytes: Vec<u8>,
}

/// A socket of an [`ImpairedNetwork`].
pub struct ImpairedSocket<S: DatagramSocket> {
    inner: S,
    profile: Arc<Mutex<LinkProfile>>,
    applied: LinkProfile,
    up: SimulatedLink<Packet>,
    down: SimulatedLink<Packet>,
}

/// Whether what comes now passes as if there were no link: it is perfect, and nobody would be overtaken.
fn is_open(link: &SimulatedLink<Packet>) -> bool {
    link.conditions().is_perfect() && link.is_empty()
}

impl<S: DatagramSocket> ImpairedSocket<S> {
    fn new(inner: S, network: &ImpairedNetwork<S::Network>) -> Result<Self, InvalidConditions> {
        let applied = network.profile();
        let up = SimulatedLink::new(applied.up, network.seed)?;
        let down = SimulatedLink::new(applied.down, !network.seed)?;
        Ok(Self { inner, profile: Arc::clone(&network.profile), applied, up, down })
    }

    fn follow_profile(&mut self) {
        let profile = *self.profile.lock().unwrap_or_else(PoisonError::into_inner);
        if profile != self.applied {
            // Checked when it was set.
            let _valid = self.up.set_conditions(profile.up);
            let _valid = self.down.set_conditions(profile.down);
            self.applied = profile;
        }
    }

    fn release(&mut self, now: Duration) -> io::Result<()> {
        let mut outcome = Ok(());
        while let Some(mut delivery) = self.up.pop_due(now) {
            if let Some(corruption) = delivery.corruption {
                corruption.apply(&mut delivery.item.bytes);
            }
            let Packet { remote: to, local_ip: from_ip, ecn, bytes } = &delivery.item;
            let (to, from_ip, ecn) = (*to, *from_ip, *ecn);
            let sent = self.inner.send(now, Outgoing { to, from_ip, ecn, bytes, segment_bytes: bytes.len().max(1) });
            outcome = outcome.and(sent);
        }
        outcome
    }
}

impl<S: DatagramSocket> DatagramSocket for ImpairedSocket<S> {
    type Network = ImpairedNetwork<S::Network>;

    fn bind(network: &Self::Network, address: SocketAddr) -> io::Result<Self> {
        let inner = S::bind(&network.inner, address)?;
        // Checked when it was set.
        Self::new(inner, network).map_err(|invalid| io::Error::new(io::ErrorKind::InvalidInput, invalid.to_string()))
    }

    fn link_profile(network: &Self::Network) -> Option<LinkProfile> {
        Some(network.profile())
    }

    fn set_link_profile(network: &Self::Network, profile: LinkProfile) -> Result<(), SimulatorError> {
        Ok(network.set_profile(profile)?)
    }

    fn local_address(&self) -> SocketAddr {
        self.inner.local_address()
    }

    fn max_segments(&self) -> usize {
        self.inner.max_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }

    fn send(&mut self, now: Duration, outgoing: Outgoing<'_>) -> io::Result<()> {
        self.follow_profile();
        if is_open(&self.up) {
            return self.inner.send(now, outgoing);
        }
        for datagram in outgoing.datagrams() {
            let packet =
                Packet { remote: outgoing.to, local_ip: outgoing.from_ip, ecn: outgoing.ecn, bytes: datagram.to_vec() };
            let bytes = datagram.len().saturating_add(SIMULATED_HEADER_BYTES);
            // What the link drops is dropped.
            let _dropped = self.up.push(now, packet, bytes);
        }
        self.release(now)
    }

    fn receive(&mut self, now: Duration, limit: usize, take: &mut dyn FnMut(Incoming<'_>)) -> usize {
        self.follow_profile();
        let _lost = self.release(now);
        if is_open(&self.down) {
            return self.inner.receive(now, limit, take);
        }
        let down = &mut self.down;
        self.inner.receive(now, limit, &mut |incoming| {
            let Incoming { from: remote, to_ip: local_ip, ecn, bytes } = incoming;
            let packet = Packet { remote, local_ip, ecn, bytes: bytes.to_vec() };
            let _dropped = down.push(now, packet, bytes.len().saturating_add(SIMULATED_HEADER_BYTES));
        });
        let mut count = 0_usize;
        while count < limit {
            let Some(mut delivery) = self.down.pop_due(now) else {
                break;
            };
            if let Some(corruption) = delivery.corruption {
                corruption.apply(&mut delivery.item.bytes);
            }
            let Packet { remote: from, local_ip: to_ip, ecn, bytes } = &delivery.item;
            take(Incoming { from: *from, to_ip: *to_ip, ecn: *ecn, bytes });
            count = count.saturating_add(1);
        }
        count
    }
}

impl<S: DatagramSocket> Drop for ImpairedSocket<S> {
    /// What was sent is on its way: it arrives although its sender is gone. Only its delay is cut short.
    fn drop(&mut self) {
        let _lost = self.release(Duration::MAX);
    }
}

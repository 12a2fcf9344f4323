//! The in-process network: makes drivers that can reach each other, and delivers what they sent when told to.
//! The runner calls `deliver` at the borders between stages; tests also cut, inject and record through it.

use core::fmt;
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use super::driver::InProcessDriver;
use super::hub::Hub;
use super::pool::PoolStats;
use super::queue::Direction;
use crate::driver::Pipeline;
use crate::error::SendError;
use crate::settings::{DriverSettings, InvalidSettings};
use crate::simulator::{InvalidProfile, LinkProfile, LinkStats};

/// The way to the shared state, which cares for poisoning.
#[derive(Clone, Default)]
pub(super) struct SharedHub(Arc<Mutex<Hub>>);

impl SharedHub {
    /// A lock poisoned by a panic elsewhere is taken over: no method of the hub leaves it half changed in a way that
    /// could do worse than lose parcels of the world that panicked.
    pub(super) fn lock(&self) -> MutexGuard<'_, Hub> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A network inside this process. Clones are the same network.
///
/// What drivers send and [flush](crate::Driver::flush) becomes visible to the other side only after
/// [`deliver`](Self::deliver), in an order that depends on nothing but what each driver did: per connection in the
/// order of sending, connection requests in the order of the client drivers' creation numbers.
///
/// # Simulated links
///
/// Every client driver has a link of its own, on which all connections that it makes run. Until
/// [`set_profile`](Self::set_profile) says otherwise it is perfect: what is delivered is there. On any other link:
///
/// - Unreliable messages are delayed, lost, copied, reordered and corrupted as the profile says. A fragmented one is as
///   many packets as it takes, and lost if one of them is. One that overtakes the news of its own connection is lost.
/// - Reliable messages, requests to connect, and the news of accepting, refusing and closing are never lost, changed or
///   reordered. A lost (or corrupted) packet is sent again after a round trip at its worst (delay and jitter of both
///   directions) and [`RETRANSMIT_MARGIN_MS`](crate::limits::RETRANSMIT_MARGIN_MS), as often as it takes, at the first
///   delivery from then on; everything behind it waits. All connections of one client share that one stream.
/// - A connection over a link that counts as a socket is given up by the side that has heard nothing for
///   [`disconnect_timeout_ms`](DriverSettings::disconnect_timeout_ms). Each flush of the other side is a sign of life,
///   unless the link is cut or loses everything.
/// - What comes back to a reliable sender to make room in its queue is not delayed. An unreliable message leaves its
///   sender's queue when it gets on the link.
///
/// The network needs to know the time: it takes the newest that it was told, by [`deliver_at`](Self::deliver_at) or by
/// any driver's poll or flush. A message put on the link by a delivery at time *t* is there for the first poll at or
/// after *t* and its delay, without a further delivery. So all drivers of a network have to count their time from the
/// same moment. A driver whose clock is behind reads as if it had the network's.
///
/// Chance is seeded by the network's seed, the client driver's creation number and the direction, so runs repeat
/// exactly, and what happens on one link changes nothing on another.
#[derive(Clone, Default)]
pub struct InProcessNetwork {
    hub: SharedHub,
}

impl fmt::Debug for InProcessNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcessNetwork").finish_non_exhaustive()
    }
}

impl InProcessNetwork {
    /// A network without drivers, with seed 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// A network without drivers, whose simulated links take all chance from this seed.
    pub fn with_seed(seed: u64) -> Self {
        Self { hub: SharedHub(Arc::new(Mutex::new(Hub::with_seed(seed)))) }
    }

    /// A driver with default settings. Its [number](InProcessDriver::number) is its place in the order of creation.
    pub fn driver(&self) -> InProcessDriver {
        InProcessDriver::new(self.hub.clone(), DriverSettings::default())
    }

    /// A driver with settings of its own.
    ///
    /// # Errors
    /// [`InvalidSettings`] lists everything that is wrong with them.
    pub fn driver_with(&self, settings: DriverSettings) -> Result<InProcessDriver, InvalidSettings> {
        settings.validate()?;
        Ok(InProcessDriver::new(self.hub.clone(), settings))
    }

    /// Hands everything on perfect links to its receivers, who see it at their next poll, and sends everything else on
    /// its way. The runner calls this after each stage, while no world runs.
    ///
    /// The time is the newest that the network was told, by a driver's poll or flush or by
    /// [`deliver_at`](Self::deliver_at).
    pub fn deliver(&self) {
        self.hub.lock().deliver();
    }

    /// Tells the network the time, then does what [`deliver`](Self::deliver) does. A time before the newest one counts
    /// as the newest.
    pub fn deliver_at(&self, now: Duration) {
        let mut hub = self.hub.lock();
        hub.note_time(now);
        hub.deliver();
    }

    /// Changes the link of the client driver with this creation number, from the next delivery on. What is on its way
    /// arrives as was decided. See [the network](Self#simulated-links) for what a profile does.
    ///
    /// # Errors
    /// [`ProfileError`]; then nothing changes.
    pub fn set_profile(&self, client: u64, profile: LinkProfile) -> Result<(), ProfileError> {
        profile.validate()?;
        let is_known = self.hub.lock().set_profile(client, profile);
        if is_known { Ok(()) } else { Err(ProfileError::NoSuchDriver { client }) }
    }

    /// The profile of a client driver's link; `None` without such a driver.
    pub fn profile(&self, client: u64) -> Option<LinkProfile> {
        self.hub.lock().profile(client)
    }

    /// What became of the packets of one direction of a client driver's link, for as long as its profile was not
    /// perfect; `None` without such a driver. Parts of larger messages and retransmissions count singly.
    pub fn link_stats(&self, client: u64, direction: Direction) -> Option<LinkStats> {
        self.hub.lock().link_stats(client, direction)
    }

    /// What the message buffers have been through.
    pub fn pool_stats(&self) -> PoolStats {
        self.hub.lock().pool.stats
    }

    /// A test instrument: cuts, or mends, one direction of all connections that the driver with this creation number
    /// makes. Returns whether there is such a driver.
    ///
    /// From the next [`deliver`](Self::deliver) on, unreliable messages are lost without a word, and reliable ones
    /// (and the news of accepting, refusing and closing) are held back until the cut ends, then delivered in order;
    /// they fill the sender's queue meanwhile. Either side gives an open connection up when it has heard nothing for
    /// [`disconnect_timeout_ms`](DriverSettings::disconnect_timeout_ms). Requests to connect are lost and repeated. What is on its way over a
    /// simulated link is behind the cut, and arrives.
    pub fn cut(&self, client: u64, direction: Direction, cut: bool) -> bool {
        self.hub.lock().set_cut(client, direction, cut)
    }

    /// A test instrument: puts raw bytes on the newest open connection of the client driver with this creation number,
    /// as if the side that sends in this direction had sent them now. The size limits of the pipelines don't apply.
    ///
    /// # Errors
    /// [`SendError::NotConnected`] without an open connection, [`SendError::TooLarge`] above
    /// [`MAX_RELIABLE_BYTES`](crate::limits::MAX_RELIABLE_BYTES), [`SendError::QueueFull`] if
    /// [`MAX_INJECTED_MESSAGES`](crate::limits::MAX_INJECTED_MESSAGES) wait already.
    pub fn inject(
        &self,
        client: u64,
        direction: Direction,
        pipeline: Pipeline,
        bytes: Vec<u8>,
    ) -> Result<(), SendError> {
        self.hub.lock().inject(client, direction, pipeline, bytes)
    }

    /// A test instrument: begins, or ends, to record the messages of all connections that the driver with this
    /// creation number makes. Returns whether there is such a driver.
    ///
    /// At most [`MAX_RECORDED_MESSAGES`](crate::limits::MAX_RECORDED_MESSAGES) are kept until they are taken; a gap
    /// in the sequence numbers tells of those that were not.
    pub fn record(&self, client: u64, recording: bool) -> bool {
        self.hub.lock().set_recording(client, recording)
    }

    /// A test instrument: takes what was recorded so far, in the order in which it left the link, or, on a simulated
    /// link, in which it was decided that and how it will. Works also after the client driver is dropped, as long as
    /// recording was not ended.
    pub fn take_recorded(&self, client: u64) -> Vec<Recorded> {
        self.hub.lock().take_recorded(client)
    }
}

/// Why a link has no new profile.
#[derive(Clone, PartialEq, Debug, Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The network has no driver with this creation number (any more).
    #[error("the network has no driver with creation number {client}")]
    NoSuchDriver {
        /// The creation number that was asked for.
        client: u64,
    },
    /// The profile makes no sense.
    #[error(transparent)]
    Invalid(#[from] InvalidProfile),
}

/// A message that left the link while its client was recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// Which way it went.
    pub direction: Direction,
    /// Through which pipeline.
    pub pipeline: Pipeline,
    /// The message, as it arrives.
    pub bytes: Vec<u8>,
    /// Its place, from 0, among all messages of this client and direction that left the link, recorded or not.
    pub sequence: u64,
    /// Lost to a cut, to the conditions of the link, or to a receiver that is gone.
    pub lost: bool,
    /// Put there by [`InProcessNetwork::inject`].
    pub injected: bool,
}

#[cfg(test)]
mod tests {
    use core::time::Duration;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::driver::Driver;

    #[test]
    fn a_lock_poisoned_by_a_panic_elsewhere_stops_nobody() {
        let network = InProcessNetwork::new();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _guard = network.hub.lock();
            std::panic::resume_unwind(Box::new("a world panics"));
        }));
        assert!(panicked.is_err());
        assert!(network.hub.0.is_poisoned());
        let (mut server, mut client) = (network.driver(), network.driver());
        let address = server.listen(([127, 0, 0, 1], 1).into()).unwrap();
        client.connect(address, Duration::ZERO).unwrap();
        client.flush(Duration::ZERO);
        network.deliver();
        let mut events = Vec::new();
        server.poll(Duration::ZERO, &mut events);
        assert_eq!(events.len(), 1);
    }
}

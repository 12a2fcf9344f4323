//! One direction of a simulated link with the packets on it: the whole simulator for whoever sends raw datagrams.
//! Packets come in with the time; they leave when they are due, in order of arrival.

use core::fmt;
use core::time::Duration;

use super::conditions::{InvalidConditions, LinkConditions};
use super::corruption::Corruption;
use super::model::{Arrival, DropCause, Fate, LinkModel, LinkStats};
use super::queue::DueQueue;

/// A link in one direction. The same calls with the same seed give the same result.
///
/// ```
/// use std::time::Duration;
/// use ghostline_transport::{LinkConditions, SimulatedLink};
///
/// let mut link = SimulatedLink::new(LinkConditions::delayed(30), 1)?;
/// let sent = Duration::from_secs(5);
/// link.push(sent, b"packet".to_vec(), 6).unwrap();
/// assert!(link.pop_due(sent + Duration::from_millis(29)).is_none());
/// let delivery = link.pop_due(sent + Duration::from_millis(30)).unwrap();
/// assert_eq!(delivery.item, b"packet");
/// # Ok::<(), ghostline_transport::InvalidConditions>(())
/// ```
pub struct SimulatedLink<T> {
    model: LinkModel,
    in_flight: DueQueue<Delivery<T>>,
}

/// A packet that has arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery<T> {
    /// The packet as it was sent.
    pub item: T,
    /// When it arrived, which may be before the call that fetched it.
    pub at: Duration,
    /// The damage that it took on the way. Whoever owns the bytes [applies](Corruption::apply) it.
    pub corruption: Option<Corruption>,
}

/// A packet that will not arrive, given back so that its buffer can be used again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dropped<T> {
    /// The packet.
    pub item: T,
    /// Why it does not arrive.
    pub cause: DropCause,
}

impl<T> fmt::Debug for SimulatedLink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedLink")
            .field("conditions", self.conditions())
            .field("in_flight", &self.len())
            .field("stats", &self.stats())
            .finish()
    }
}

impl<T> SimulatedLink<T> {
    /// An empty link. All chance comes from `seed`.
    ///
    /// # Errors
    /// [`InvalidConditions`] lists everything that is wrong with them.
    pub fn new(conditions: LinkConditions, seed: u64) -> Result<Self, InvalidConditions> {
        conditions.validate()?;
        Ok(Self { model: LinkModel::new(conditions, seed), in_flight: DueQueue::default() })
    }

    /// The present conditions.
    pub fn conditions(&self) -> &LinkConditions {
        self.model.conditions()
    }

    /// Changes the conditions for packets sent from now on; those on their way arrive as decided. A pattern of loss
    /// begins anew if it is another one.
    ///
    /// # Errors
    /// [`InvalidConditions`]; then nothing changes.
    pub fn set_conditions(&mut self, conditions: LinkConditions) -> Result<(), InvalidConditions> {
        conditions.validate()?;
        self.model.set_conditions(conditions);
        Ok(())
    }

    /// Sends a packet of so many bytes, headers included if the bandwidth is to count them.
    ///
    /// # Errors
    /// [`Dropped`] gives a packet back that will not arrive.
    pub fn push(&mut self, now: Duration, item: T, bytes: usize) -> Result<(), Dropped<T>>
    where
        T: Clone,
    {
        self.push_with(now, item, bytes, T::clone)
    }

    /// Like [`push`](Self::push), with `copy` to make the copy of a packet that arrives twice, so that it can come from
    /// a pool.
    ///
    /// # Errors
    /// [`Dropped`] gives a packet back that will not arrive.
    pub fn push_with(
        &mut self,
        now: Duration,
        item: T,
        bytes: usize,
        copy: impl FnOnce(&T) -> T,
    ) -> Result<(), Dropped<T>> {
        match self.model.judge(now, bytes, self.in_flight.len()) {
            Fate::Dropped(cause) => Err(Dropped { item, cause }),
            Fate::Arrives { first, copy: second } => {
                let second = second.map(|arrival| (copy(&item), arrival));
                self.deliver(item, first);
                if let Some((item, arrival)) = second {
                    self.deliver(item, arrival);
                }
                Ok(())
            }
        }
    }

    fn deliver(&mut self, item: T, arrival: Arrival) {
        let Arrival { at, corruption } = arrival;
        self.in_flight.push(at, Delivery { item, at, corruption });
    }

    /// The next packet that has arrived at `now`: in order of arrival, and of sending among those that arrive at the
    /// same time.
    pub fn pop_due(&mut self, now: Duration) -> Option<Delivery<T>> {
        self.in_flight.pop_due(now)
    }

    /// When the next packet arrives; `None` if none is on its way.
    pub fn next_due(&self) -> Option<Duration> {
        self.in_flight.next_due()
    }

    /// Packets on their way, and those that have arrived and were not fetched.
    pub fn len(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether no packet is on its way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What became of the packets so far.
    pub fn stats(&self) -> LinkStats {
        self.model.stats(self.len())
    }
}

//! One direction of a client's simulated link: unreliable messages as datagrams, everything else as a reliable stream
//! over datagrams. The hub puts parcels on it, asks it when they arrive, and keeps those that are on their way.

use core::time::Duration;
use std::collections::VecDeque;

use super::queue::Parcel;
use crate::limits::{MAX_RETRANSMISSIONS_PER_DELIVERY, SIMULATED_HEADER_BYTES};
use crate::simulator::{Arrival, Fate, LinkConditions, LinkModel, LinkStats};

/// What becomes of an unreliable message.
pub(super) enum Crossing {
    /// At least one of its datagrams does not arrive.
    Lost,
    Arrives {
        /// Of the last one of its datagrams.
        first: Arrival,
        /// Of its copy; only single datagrams are copied, because whoever joins several notices a copy.
        copy: Option<Arrival>,
        datagrams: usize,
    },
}

/// A parcel in the reliable stream that was sent and has not arrived, or waits for an earlier one that has not.
struct Waiting {
    parcel: Parcel,
    /// Datagrams that have to be sent again.
    missing: usize,
    /// Size of the largest of its datagrams.
    datagram_bytes: usize,
    /// When the last one arrives of those that do.
    arrives: Duration,
    /// When the missing ones are sent again.
    again_at: Duration,
}

pub(super) struct Link {
    model: LinkModel,
    stream: VecDeque<Waiting>,
    /// What the stream has passed on arrives no later than this, and what it will pass on no earlier.
    stream_until: Duration,
    /// Parcels that the stream has passed on and that are on their way.
    stream_flights: usize,
    /// Datagrams of unreliable messages on their way.
    datagram_flights: usize,
}

impl Link {
    /// A perfect link.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            model: LinkModel::new(LinkConditions::PERFECT, seed),
            stream: VecDeque::new(),
            stream_until: Duration::ZERO,
            stream_flights: 0,
            datagram_flights: 0,
        }
    }

    pub(super) fn set_conditions(&mut self, conditions: LinkConditions) {
        self.model.set_conditions(conditions);
    }

    pub(super) fn stats(&self) -> LinkStats {
        self.model.stats(self.datagram_flights)
    }

    /// Whether datagrams pass as if there were no simulator.
    pub(super) fn is_open(&self) -> bool {
        self.model.conditions().is_perfect()
    }

    /// Whether the reliable stream passes as if there were no simulator: nothing may overtake what is still under way
    /// from a time when the link was worse.
    pub(super) fn is_open_in_order(&self) -> bool {
        self.is_open() && self.stream.is_empty() && self.stream_flights == 0
    }

    /// Parcels in the reliable stream that have not arrived.
    pub(super) fn waiting(&self) -> usize {
        self.stream.len()
    }

    pub(super) fn waiting_parcels(&self) -> impl Iterator<Item = &Parcel> {
        self.stream.iter().map(|waiting| &waiting.parcel)
    }

    /// Sends an unreliable message in datagrams of these sizes. If it arrives, its datagrams are on their way until
    /// [`land`](Self::land) is told of them.
    pub(super) fn send(&mut self, now: Duration, sizes: impl Iterator<Item = usize>) -> Crossing {
        let mut last = Arrival { at: now, corruption: None };
        let mut single_copy = None;
        let (mut sent, mut arriving) = (0_usize, 0_usize);
        for bytes in sizes {
            sent = sent.saturating_add(1);
            let in_flight = self.datagram_flights.saturating_add(arriving);
            let Fate::Arrives { first, copy } = self.judge(now, bytes, in_flight) else {
                continue;
            };
            arriving = arriving.saturating_add(1);
            last.at = last.at.max(first.at);
            last.corruption = last.corruption.or(first.corruption);
            single_copy = copy;
        }
        if arriving < sent {
            return Crossing::Lost;
        }
        let copy = single_copy.filter(|_| sent == 1);
        let flights = arriving.saturating_add(usize::from(copy.is_some()));
        self.datagram_flights = self.datagram_flights.saturating_add(flights);
        Crossing::Arrives { first: last, copy, datagrams: arriving }
    }

    /// Sends a parcel, in datagrams of these sizes, through the reliable stream.
    pub(super) fn send_in_order(
        &mut self,
        now: Duration,
        parcel: Parcel,
        sizes: impl Iterator<Item = usize>,
        retransmit_after: Duration,
    ) {
        let mut waiting = Waiting {
            parcel,
            missing: 0,
            datagram_bytes: 0,
            arrives: now,
            again_at: now.saturating_add(retransmit_after),
        };
        for bytes in sizes {
            waiting.datagram_bytes = waiting.datagram_bytes.max(bytes);
            match self.arrival_in_order(now, bytes) {
                Some(at) => waiting.arrives = waiting.arrives.max(at),
                None => waiting.missing = waiting.missing.saturating_add(1),
            }
        }
        self.stream.push_back(waiting);
    }

    /// Sends again what was lost and is due by `now`. A cut link loses all of it.
    pub(super) fn retransmit(&mut self, now: Duration, retransmit_after: Duration, is_cut: bool) {
        for index in 0..self.stream.len() {
            for _ in 0..MAX_RETRANSMISSIONS_PER_DELIVERY {
                let Some(waiting) = self.stream.get(index).filter(|waiting| waiting.missing > 0) else {
                    break;
                };
                let (at, bytes, missing) = (waiting.again_at, waiting.datagram_bytes, waiting.missing);
                if at > now {
                    break;
                }
                let mut still_missing = 0_usize;
                let mut arrives = Duration::ZERO;
                for _ in 0..missing {
                    let arrival = if is_cut { None } else { self.arrival_in_order(at, bytes) };
                    match arrival {
                        Some(at) => arrives = arrives.max(at),
                        None => still_missing = still_missing.saturating_add(1),
                    }
                }
                if let Some(waiting) = self.stream.get_mut(index) {
                    waiting.missing = still_missing;
                    waiting.arrives = waiting.arrives.max(arrives);
                    waiting.again_at = at.saturating_add(retransmit_after);
                }
            }
            // After a long pause, or a time that jumps, the rest of the attempts is left out.
            if let Some(waiting) = self.stream.get_mut(index)
                && waiting.missing > 0
            {
                waiting.again_at = waiting.again_at.max(now);
            }
        }
    }

    /// The next parcel of the stream if all of it arrives, with the time at which it may be read: it has arrived, and
    /// all before it have. It is on its way until [`land`](Self::land) is told of it.
    pub(super) fn next_in_order(&mut self) -> Option<(Duration, Parcel)> {
        let waiting = self.stream.pop_front_if(|waiting| waiting.missing == 0)?;
        self.stream_until = self.stream_until.max(waiting.arrives);
        self.stream_flights = self.stream_flights.saturating_add(1);
        Some((self.stream_until, waiting.parcel))
    }

    /// An unreliable message in so many datagrams, or (0) a parcel of the stream, is no longer on its way.
    pub(super) fn land(&mut self, datagrams: usize) {
        if datagrams == 0 {
            self.stream_flights = self.stream_flights.saturating_sub(1);
        } else {
            self.datagram_flights = self.datagram_flights.saturating_sub(datagrams);
        }
    }

    /// When a datagram of the stream arrives. One that arrives changed is thrown away by the receiver, as if it were
    /// lost; so is a copy, which therefore changes nothing.
    fn arrival_in_order(&mut self, now: Duration, bytes: usize) -> Option<Duration> {
        // Reliable parcels are bounded by their sender's queue, not by `max_packets`.
        match self.judge(now, bytes, 0) {
            Fate::Arrives { first: Arrival { at, corruption: None }, .. } => Some(at),
            Fate::Arrives { .. } | Fate::Dropped(_) => None,
        }
    }

    fn judge(&mut self, now: Duration, bytes: usize, in_flight: usize) -> Fate {
        self.model.judge(now, bytes.saturating_add(SIMULATED_HEADER_BYTES), in_flight)
    }
}

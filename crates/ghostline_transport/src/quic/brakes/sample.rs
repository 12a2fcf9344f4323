//! What happened on a connection within short whiles, and over the last few of them together.
//! Made from QUIC's totals; looked at by the brakes.

use core::time::Duration;

/// Samples that are remembered.
const SAMPLES: usize = 8;
const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// What QUIC has measured on a connection, as totals since it began.
#[derive(Clone, Copy, Default, Debug)]
pub(in crate::quic) struct Feedback {
    pub(in crate::quic) sent_bytes: u64,
    pub(in crate::quic) sent_packets: u64,
    pub(in crate::quic) acked_bytes: u64,
    pub(in crate::quic) lost_bytes: u64,
    pub(in crate::quic) lost_packets: u64,
    pub(in crate::quic) rtt: Duration,
}

/// What happened within a short while, in bytes.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Sample {
    pub(super) sent: u64,
    acked: u64,
    lost: u64,
    elapsed: Duration,
}

impl Sample {
    fn plus(self, other: Self) -> Self {
        Self {
            sent: self.sent.saturating_add(other.sent),
            acked: self.acked.saturating_add(other.acked),
            lost: self.lost.saturating_add(other.lost),
            elapsed: self.elapsed.saturating_add(other.elapsed),
        }
    }

    /// What is no longer on its way: it has arrived, or is lost.
    pub(super) fn left(self) -> u64 {
        self.acked.saturating_add(self.lost)
    }

    /// What arrived, per second.
    pub(super) fn arrives(self) -> u64 {
        self.per_second(self.acked)
    }

    /// What was sent, per second.
    pub(super) fn sends(self) -> u64 {
        self.per_second(self.sent)
    }

    fn per_second(self, bytes: u64) -> u64 {
        let nanos = self.elapsed.as_nanos().max(1);
        let rate = u128::from(bytes).saturating_mul(NANOS_PER_SECOND).checked_div(nanos).unwrap_or(0);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

/// The last few samples, and the totals at the end of the newest.
#[derive(Clone, Debug)]
pub(super) struct Samples {
    ring: [Sample; SAMPLES],
    next: usize,
    at: Duration,
    totals: Feedback,
}

impl Samples {
    pub(super) fn new(now: Duration) -> Self {
        Self { ring: [Sample::default(); SAMPLES], next: 0, at: now, totals: Feedback::default() }
    }

    /// How old the newest is.
    pub(super) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.at)
    }

    /// Ends the present sample.
    pub(super) fn take(&mut self, now: Duration, totals: Feedback) {
        let before = core::mem::replace(&mut self.totals, totals);
        let elapsed = now.saturating_sub(core::mem::replace(&mut self.at, now));
        // A path that begins anew counts from zero.
        let sample = Sample {
            sent: totals.sent_bytes.saturating_sub(before.sent_bytes),
            acked: totals.acked_bytes.saturating_sub(before.acked_bytes),
            lost: totals.lost_bytes.saturating_sub(before.lost_bytes),
            elapsed,
        };
        if let Some(slot) = self.ring.get_mut(self.next) {
            *slot = sample;
        }
        self.next = self.next.saturating_add(1) % SAMPLES;
    }

    /// The newest ones together.
    pub(super) fn newest(&self, count: usize) -> Sample {
        let newest = (1..=count.min(SAMPLES)).filter_map(|back| {
            let place = self.next.saturating_add(SAMPLES).saturating_sub(back) % SAMPLES;
            self.ring.get(place)
        });
        newest.fold(Sample::default(), |sum, sample| sum.plus(*sample))
    }

    /// The most that arrived in any of them, per second.
    pub(super) fn best_arrival(&self) -> u64 {
        self.ring.iter().map(|sample| sample.arrives()).max().unwrap_or(0)
    }
}

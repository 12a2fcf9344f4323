//! How many bytes a connection may send: one token bucket for datagrams and reliable bytes, filled at a rate that the
//! brakes set. Told the time and what QUIC measured; asked before each message.
//!
//! QUIC's own congestion control is off, because it holds packets back where a game must drop them. So this is the only
//! limit. The bucket fills with the rate, three quarters for datagrams and one for reliable bytes. What one of them does
//! not use goes to the other, so neither starves and nothing is wasted. A message may leave as long as its share is above
//! zero, and may take it below: large messages are not impossible, only paid for afterwards.

use core::time::Duration;

use super::brakes::{BrakeNumbers, Brakes, Feedback};
use crate::limits::{MAX_BURST_BYTES, MIN_BURST_BYTES};

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// A budget's numbers, in bytes with headers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) burst: i64,
    pub(super) datagram_tokens: i64,
    pub(super) reliable_tokens: i64,
    pub(super) brakes: BrakeNumbers,
}

#[derive(Clone, Debug)]
pub(super) struct Budget {
    brakes: Brakes,
    /// Bytes that may be sent at once; negative after a large message.
    datagram_tokens: i64,
    reliable_tokens: i64,
    refilled_at: Duration,
    /// What the last refill left over, in billionths of a byte.
    remainder: u128,
    /// Something had to wait or was dropped since the brakes judged last: growing would be of use.
    is_limiting: bool,
}

impl Budget {
    pub(super) fn new(now: Duration) -> Self {
        let mut budget = Self {
            brakes: Brakes::new(now),
            datagram_tokens: 0,
            reliable_tokens: 0,
            refilled_at: now,
            remainder: 0,
            is_limiting: false,
        };
        (budget.datagram_tokens, budget.reliable_tokens) = budget.capacities();
        budget
    }

    /// Everything that it knows, for tools.
    pub(super) fn numbers(&self) -> Numbers {
        Numbers {
            burst: self.burst(),
            datagram_tokens: self.datagram_tokens,
            reliable_tokens: self.reliable_tokens,
            brakes: self.brakes.numbers(),
        }
    }

    /// The most bytes that leave at once.
    pub(super) fn burst(&self) -> i64 {
        let tenth = i64::try_from(self.brakes.rate() / 10).unwrap_or(i64::MAX);
        tenth.clamp(MIN_BURST_BYTES, MAX_BURST_BYTES)
    }

    /// The largest savings for datagrams and for reliable bytes.
    fn capacities(&self) -> (i64, i64) {
        let burst = self.burst();
        let reliable = burst / 4;
        (burst.saturating_sub(reliable), reliable)
    }

    /// Fills the bucket for the time that has passed, and sets the rate by what was measured since.
    pub(super) fn advance(&mut self, now: Duration, feedback: Feedback) {
        self.refill(now);
        if self.brakes.advance(now, feedback, self.is_limiting) {
            self.is_limiting = false;
        }
    }

    fn refill(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.refilled_at);
        self.refilled_at = self.refilled_at.max(now);
        let earned = u128::from(self.brakes.rate()).saturating_mul(elapsed.as_nanos()).saturating_add(self.remainder);
        self.remainder = earned % NANOS_PER_SECOND;
        let bytes = i64::try_from(earned / NANOS_PER_SECOND).unwrap_or(i64::MAX);
        let reliable = bytes / 4;
        let (datagram_max, reliable_max) = self.capacities();
        self.reliable_tokens = self.reliable_tokens.saturating_add(reliable);
        self.datagram_tokens = self.datagram_tokens.saturating_add(bytes.saturating_sub(reliable));
        // What one of them can't save any more goes to the other.
        let spare = self.reliable_tokens.saturating_sub(reliable_max).max(0);
        self.reliable_tokens = self.reliable_tokens.min(reliable_max);
        self.datagram_tokens = self.datagram_tokens.saturating_add(spare);
        let spare = self.datagram_tokens.saturating_sub(datagram_max).max(0);
        self.datagram_tokens = self.datagram_tokens.min(datagram_max);
        self.reliable_tokens = self.reliable_tokens.saturating_add(spare).min(reliable_max);
    }

    /// Whether a datagram may leave now. `reliable_waits`: reliable bytes wait too, and their share is not to be taken.
    pub(super) fn admits_datagram(&mut self, reliable_waits: bool) -> bool {
        let admits = self.datagram_tokens > 0 || (!reliable_waits && self.reliable_tokens > 0);
        self.is_limiting |= !admits;
        admits
    }

    /// Pays for datagrams that leave.
    pub(super) fn spend_datagram(&mut self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        if self.datagram_tokens > 0 {
            self.datagram_tokens = self.datagram_tokens.saturating_sub(bytes);
        } else {
            self.reliable_tokens = self.reliable_tokens.saturating_sub(bytes);
        }
    }

    /// Reliable bytes that may leave now, after the datagrams had their turn.
    pub(super) fn reliable_allowance(&self) -> usize {
        let allowance = self.reliable_tokens.max(0).saturating_add(self.datagram_tokens.max(0));
        usize::try_from(allowance).unwrap_or(0)
    }

    /// Pays for reliable bytes that leave; `all_sent` unless more would wait.
    pub(super) fn spend_reliable(&mut self, bytes: usize, all_sent: bool) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let own = bytes.min(self.reliable_tokens.max(0));
        self.reliable_tokens = self.reliable_tokens.saturating_sub(own);
        self.datagram_tokens = self.datagram_tokens.saturating_sub(bytes.saturating_sub(own));
        self.is_limiting |= !all_sent;
    }

    /// Pays for what left beyond what was paid: repeated packets, and acknowledgements.
    pub(super) fn settle(&mut self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let floor = self.burst().saturating_neg();
        self.reliable_tokens = self.reliable_tokens.saturating_sub(bytes).max(floor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::INITIAL_RATE;

    const TICK: Duration = Duration::from_millis(16);

    /// A second of flushes in which so many datagrams of 1,000 bytes and so many reliable bytes want to leave in each, over a path
    /// that gives no reason to brake. Returns how many of each left.
    fn flush(budget: &mut Budget, now: Duration, datagrams: usize, reliable: usize) -> (usize, usize) {
        let rtt = Duration::from_millis(30);
        budget.advance(now, Feedback { rtt, ..Feedback::default() });
        let mut sent = 0;
        for _ in 0..datagrams {
            if budget.admits_datagram(reliable > 0) {
                budget.spend_datagram(1_000);
                sent += 1;
            }
        }
        let bytes = budget.reliable_allowance().min(reliable);
        budget.spend_reliable(bytes, bytes == reliable);
        (sent, bytes)
    }

    #[test]
    fn what_fits_is_never_held_back() {
        let mut budget = Budget::new(Duration::ZERO);
        for tick in 1..500 {
            assert_eq!(flush(&mut budget, TICK * tick, 2, 100), (2, 100));
        }
        assert_eq!(budget.numbers().brakes.rate, INITIAL_RATE, "nobody asked for more");
    }

    #[test]
    fn a_flood_of_reliable_bytes_leaves_the_datagrams_their_rate() {
        let mut budget = Budget::new(Duration::ZERO);
        let (mut left, mut ticks) = (500_000, 0);
        while left > 0 {
            ticks += 1;
            let (datagrams, reliable) = flush(&mut budget, TICK * ticks, 2, left);
            assert_eq!(datagrams, 2, "tick {ticks}");
            left -= reliable;
        }
        assert!((10..120).contains(&ticks), "500 kB leave within two seconds, but not at once: {ticks} ticks");
    }

    #[test]
    fn datagrams_without_end_leave_the_reliable_bytes_their_share() {
        let mut budget = Budget::new(Duration::ZERO);
        let (mut datagrams, mut reliable) = (0, 0);
        for tick in 1..500 {
            let (sent, bytes) = flush(&mut budget, TICK * tick, 1_000, 100_000);
            datagrams += sent * 1_000;
            reliable += bytes;
        }
        assert!(reliable * 5 > datagrams, "{reliable} beside {datagrams}");
        assert!(datagrams > reliable, "{datagrams} beside {reliable}");
    }

    #[test]
    fn the_rate_is_never_exceeded_by_more_than_a_burst_and_a_message() {
        let mut budget = Budget::new(Duration::ZERO);
        let feedback = Feedback { rtt: TICK, ..Feedback::default() };
        let mut spent = 0;
        for tick in 1..=60_u32 {
            budget.advance(TICK * tick, Feedback { acked_bytes: spent, ..feedback });
            while budget.admits_datagram(false) {
                budget.spend_datagram(16_384);
                spent += 16_384;
            }
            let earned = budget.numbers().brakes.rate.max(INITIAL_RATE) * u64::from(16 * tick) / 1_000;
            assert!(spent <= earned + MAX_BURST_BYTES as u64 + 2 * 16_384, "{spent} of {earned}");
        }
    }

    #[test]
    fn time_in_pieces_earns_as_much_as_time_at_once() {
        let feedback = Feedback { rtt: TICK, ..Feedback::default() };
        let mut pieces = Budget::new(Duration::ZERO);
        let mut once = pieces.clone();
        for budget in [&mut pieces, &mut once] {
            budget.spend_datagram(100_000);
        }
        for step in 1..=7_000_u64 {
            pieces.advance(Duration::from_nanos(step * 1_001), feedback);
        }
        once.advance(Duration::from_nanos(7_000 * 1_001), feedback);
        // The quarter for reliable bytes is rounded at each step.
        let available = |budget: &Budget| budget.datagram_tokens + budget.reliable_tokens;
        assert!((available(&pieces) - available(&once)).abs() <= 1, "{pieces:?} {once:?}");
    }
}

//! How many bytes a connection may send: one token bucket for datagrams and reliable bytes, and a rate that gives way
//! when packets get lost or the round trip grows. Told the time and what QUIC measured; asked before each message.
//!
//! QUIC's own congestion control is off, because it holds packets back where a game must drop them. So this is the only
//! brake, and it works in three ways:
//!
//! * The bucket fills with the rate, three quarters for datagrams and one for reliable bytes. What one of them does not
//!   use goes to the other, so neither starves and nothing is wasted. A message may leave as long as its share is above
//!   zero, and may take it below: large messages are not impossible, only paid for afterwards.
//! * Lost packets halve the rate, but not below one and a half times what demonstrably arrives: braking further helps
//!   nobody on a link that loses packets whatever it is given.
//! * A growing round trip halves what arrives, so that the queue on the way can empty. If the round trip does not fall
//!   within the next two, the queue is not ours (or the path has become longer): the rate is restored, and the longer
//!   round trip is the new normal.

use core::time::Duration;

use crate::limits::{INITIAL_RATE, MAX_BURST_BYTES, MAX_RATE, MIN_BURST_BYTES, MIN_RATE};

/// Shortest time over which loss and arrival are judged.
const MIN_SAMPLE: Duration = Duration::from_millis(100);
/// Longest such time: a queue must not put off the judgement of itself.
const MAX_SAMPLE: Duration = Duration::from_millis(300);
/// A round trip this far above the usual one is no queue yet: frames of both sides and delayed acknowledgements.
const RTT_MARGIN: Duration = Duration::from_millis(40);
/// One in so many bytes may be lost before it counts as congestion.
const TOLERATED_LOSS_DIVISOR: u64 = 50;
/// Samples of the rate of arrival of which the best counts.
const SAMPLES: usize = 8;
const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// What QUIC has measured on a connection, as totals since it began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Feedback {
    pub(super) acked_bytes: u64,
    pub(super) lost_bytes: u64,
    pub(super) rtt: Duration,
}

/// A brake for a growing round trip, until it is known whether it helped.
#[derive(Clone, Copy, Debug)]
struct Brake {
    rate_before: u64,
    /// The longest round trip since.
    peak_rtt: Duration,
    until: Duration,
}

/// A budget's numbers, in bytes and bytes per second with headers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) rate: u64,
    pub(super) burst: i64,
    pub(super) datagram_tokens: i64,
    pub(super) reliable_tokens: i64,
    pub(super) arriving: u64,
    pub(super) usual_rtt: Duration,
    pub(super) is_braking: bool,
    pub(super) brakes_for_loss: u64,
    pub(super) brakes_for_delay: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Budget {
    rate: u64,
    /// Bytes that may be sent at once; negative after a large message.
    datagram_tokens: i64,
    reliable_tokens: i64,
    refilled_at: Duration,
    /// What the last refill left over, in billionths of a byte.
    remainder: u128,
    sample_since: Duration,
    acked_bytes: u64,
    lost_bytes: u64,
    /// Something had to wait or was dropped since the sample began: growing would be of use.
    is_limiting: bool,
    arrivals: [u64; SAMPLES],
    next_arrival: usize,
    usual_rtt: Option<Duration>,
    brake: Option<Brake>,
    brakes_for_loss: u64,
    brakes_for_delay: u64,
}

impl Budget {
    pub(super) fn new(now: Duration) -> Self {
        let mut budget = Self {
            rate: INITIAL_RATE,
            datagram_tokens: 0,
            reliable_tokens: 0,
            refilled_at: now,
            remainder: 0,
            sample_since: now,
            acked_bytes: 0,
            lost_bytes: 0,
            is_limiting: false,
            arrivals: [0; SAMPLES],
            next_arrival: 0,
            usual_rtt: None,
            brake: None,
            brakes_for_loss: 0,
            brakes_for_delay: 0,
        };
        (budget.datagram_tokens, budget.reliable_tokens) = budget.capacities();
        budget
    }

    /// Everything that it knows, for tools.
    pub(super) fn numbers(&self) -> Numbers {
        Numbers {
            rate: self.rate,
            burst: self.burst(),
            datagram_tokens: self.datagram_tokens,
            reliable_tokens: self.reliable_tokens,
            arriving: self.arriving(),
            usual_rtt: self.usual_rtt.unwrap_or_default(),
            is_braking: self.brake.is_some(),
            brakes_for_loss: self.brakes_for_loss,
            brakes_for_delay: self.brakes_for_delay,
        }
    }

    /// The most bytes that leave at once.
    pub(super) fn burst(&self) -> i64 {
        let tenth = i64::try_from(self.rate / 10).unwrap_or(i64::MAX);
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
        self.sample(now, feedback);
    }

    fn refill(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.refilled_at);
        self.refilled_at = self.refilled_at.max(now);
        let earned = u128::from(self.rate).saturating_mul(elapsed.as_nanos()).saturating_add(self.remainder);
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

    fn sample(&mut self, now: Duration, feedback: Feedback) {
        let Feedback { acked_bytes, lost_bytes, rtt } = feedback;
        let usual_rtt = *self.usual_rtt.get_or_insert(rtt);
        self.usual_rtt = Some(usual_rtt.min(rtt));
        if let Some(brake) = &mut self.brake {
            brake.peak_rtt = brake.peak_rtt.max(rtt);
        }
        let elapsed = now.saturating_sub(self.sample_since);
        if elapsed < rtt.clamp(MIN_SAMPLE, MAX_SAMPLE) {
            return;
        }
        // A path that begins anew counts from zero.
        let acked = acked_bytes.saturating_sub(self.acked_bytes);
        let lost = lost_bytes.saturating_sub(self.lost_bytes);
        (self.acked_bytes, self.lost_bytes) = (acked_bytes, lost_bytes);
        self.sample_since = now;
        let is_limiting = core::mem::take(&mut self.is_limiting);
        let arrives = self.note_arrival(acked, elapsed);

        if let Some(brake) = self.brake {
            if now < brake.until {
                return;
            }
            self.brake = None;
            if rtt >= brake.peak_rtt.saturating_sub(part(brake.peak_rtt, 10)) {
                self.rate = self.rate.max(brake.rate_before);
                self.usual_rtt = Some(rtt);
                return;
            }
        }
        let sustained = arrives.saturating_add(arrives / 2);
        if rtt > usual_rtt.saturating_add(RTT_MARGIN.max(part(usual_rtt, 2))) {
            let rate = (self.rate.min(arrives) / 2).max(MIN_RATE);
            if rate < self.rate {
                let until = now.saturating_add(rtt.saturating_mul(2)).saturating_add(MAX_SAMPLE);
                self.brake = Some(Brake { rate_before: self.rate, peak_rtt: rtt, until });
                self.rate = rate;
                self.brakes_for_delay = self.brakes_for_delay.saturating_add(1);
            }
        } else if lost.saturating_mul(TOLERATED_LOSS_DIVISOR) > acked.saturating_add(lost) {
            let rate = (self.rate / 2).max(sustained).max(MIN_RATE);
            if rate < self.rate {
                self.rate = rate;
                self.brakes_for_loss = self.brakes_for_loss.saturating_add(1);
            }
        } else if is_limiting {
            self.rate = self.rate.saturating_add((self.rate / 8).max(MIN_RATE / 4)).min(MAX_RATE);
        }
    }

    /// Notes how much arrived, and returns the best of the last samples in bytes per second.
    fn note_arrival(&mut self, acked: u64, elapsed: Duration) -> u64 {
        let nanos = elapsed.as_nanos().max(1);
        let rate = u128::from(acked).saturating_mul(NANOS_PER_SECOND).checked_div(nanos).unwrap_or(0);
        if let Some(slot) = self.arrivals.get_mut(self.next_arrival) {
            *slot = u64::try_from(rate).unwrap_or(u64::MAX);
        }
        self.next_arrival = self.next_arrival.saturating_add(1) % SAMPLES;
        self.arriving()
    }

    fn arriving(&self) -> u64 {
        self.arrivals.iter().copied().max().unwrap_or(0)
    }
}

fn part(whole: Duration, of: u32) -> Duration {
    whole.checked_div(of).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(16);

    /// A sender with a budget and a link that it can't see: a queue that empties at a fixed rate, and random loss.
    struct Path {
        budget: Budget,
        now: Duration,
        bandwidth: u64,
        base_rtt: Duration,
        queued: u64,
        acked: u64,
        lost: u64,
        loss_percent: u64,
        count: u64,
    }

    impl Path {
        fn new(bandwidth: u64, base_rtt_ms: u64) -> Self {
            Self {
                budget: Budget::new(Duration::ZERO),
                now: Duration::ZERO,
                bandwidth,
                base_rtt: Duration::from_millis(base_rtt_ms),
                queued: 0,
                acked: 0,
                lost: 0,
                loss_percent: 0,
                count: 0,
            }
        }

        /// Offers `datagrams` messages of 1,000 bytes and any number of reliable bytes; returns what left.
        fn tick(&mut self, datagrams: usize, reliable: usize) -> (usize, usize) {
            self.now += TICK;
            let drained = self.bandwidth * 16 / 1_000;
            let arrived = self.queued.min(drained);
            self.queued -= arrived;
            self.acked += arrived;
            let rtt = self.base_rtt + Duration::from_micros(self.queued * 1_000_000 / self.bandwidth);
            self.budget.advance(self.now, Feedback { acked_bytes: self.acked, lost_bytes: self.lost, rtt });
            let mut sent = 0;
            for _ in 0..datagrams {
                if self.budget.admits_datagram(reliable > 0) {
                    self.budget.spend_datagram(1_000);
                    sent += 1;
                    self.carry(1_000);
                }
            }
            let bytes = self.budget.reliable_allowance().min(reliable);
            self.budget.spend_reliable(bytes, bytes == reliable);
            self.carry(bytes as u64);
            (sent, bytes)
        }

        fn carry(&mut self, bytes: u64) {
            for _ in 0..bytes.div_ceil(1_000) {
                self.count += 1;
                let size = bytes.min(1_000);
                // Evenly spread loss: 33 of 100 by the golden ratio.
                if self.count * 61 % 100 < self.loss_percent {
                    self.lost += size;
                } else {
                    self.queued += size;
                }
            }
        }
    }

    #[test]
    fn what_fits_is_never_held_back() {
        let mut path = Path::new(1_000_000, 30);
        for _ in 0..1_000 {
            assert_eq!(path.tick(2, 100), (2, 100));
        }
        assert_eq!(path.budget.numbers().rate, INITIAL_RATE, "nobody asked for more");
        assert_eq!((path.budget.numbers().brakes_for_loss, path.budget.numbers().brakes_for_delay), (0, 0));
    }

    #[test]
    fn a_flood_of_reliable_bytes_leaves_the_datagrams_their_rate() {
        let mut path = Path::new(10_000_000, 30);
        let mut left = 500_000;
        let mut ticks = 0;
        while left > 0 {
            let (datagrams, reliable) = path.tick(2, left);
            assert_eq!(datagrams, 2, "tick {ticks}");
            left -= reliable;
            ticks += 1;
        }
        assert!((10..120).contains(&ticks), "500 kB leave within two seconds, but not at once: {ticks} ticks");
    }

    #[test]
    fn datagrams_without_end_leave_the_reliable_bytes_their_share() {
        let mut path = Path::new(10_000_000, 30);
        let (mut datagrams, mut reliable) = (0, 0);
        for _ in 0..500 {
            let (sent, bytes) = path.tick(1_000, 100_000);
            datagrams += sent * 1_000;
            reliable += bytes;
        }
        assert!(reliable * 5 > datagrams, "{reliable} beside {datagrams}");
        assert!(datagrams > reliable, "{datagrams} beside {reliable}");
    }

    #[test]
    fn the_rate_is_never_exceeded_by_more_than_a_burst_and_a_message() {
        let mut budget = Budget::new(Duration::ZERO);
        let feedback = Feedback { acked_bytes: 0, lost_bytes: 0, rtt: TICK };
        let mut spent = 0;
        for tick in 1..=60_u32 {
            budget.advance(TICK * tick, Feedback { acked_bytes: spent, ..feedback });
            while budget.admits_datagram(false) {
                budget.spend_datagram(16_384);
                spent += 16_384;
            }
            let earned = budget.numbers().rate.max(INITIAL_RATE) * u64::from(16 * tick) / 1_000;
            assert!(spent <= earned + MAX_BURST_BYTES as u64 + 2 * 16_384, "{spent} of {earned}");
        }
    }

    #[test]
    fn a_narrow_link_makes_the_rate_settle_near_what_it_carries() {
        let mut path = Path::new(100_000, 30);
        for _ in 0..2_000 {
            path.tick(5, 0);
        }
        let worst = path.queued;
        assert!(path.budget.numbers().brakes_for_delay > 2, "{:?}", path.budget);
        assert!(path.budget.numbers().rate < 250_000, "{}", path.budget.numbers().rate);
        assert!(worst < 100_000, "at most a second waits on the way: {worst}");
        assert!(path.acked > 32 * 100_000 / 2, "and the link is used: {}", path.acked);
    }

    #[test]
    fn random_loss_does_not_stop_a_game_that_the_link_carries() {
        let mut path = Path::new(1_000_000, 100);
        path.loss_percent = 33;
        let mut sent = 0;
        for _ in 0..2_000 {
            sent += path.tick(1, 0).0;
        }
        assert!(path.lost > 0);
        assert!(sent > 1_900, "{sent} of 2,000 datagrams left: {:?}", path.budget);
    }

    #[test]
    fn a_path_that_becomes_longer_is_braked_once_and_then_taken_as_it_is() {
        let mut path = Path::new(1_000_000, 20);
        for _ in 0..100 {
            path.tick(1, 0);
        }
        path.base_rtt = Duration::from_millis(220);
        for _ in 0..200 {
            path.tick(1, 0);
        }
        let brakes = path.budget.numbers().brakes_for_delay;
        assert!((1..=2).contains(&brakes), "{brakes}");
        let mut sent = 0;
        for _ in 0..500 {
            sent += path.tick(1, 0).0;
        }
        assert_eq!(sent, 500);
        assert_eq!(path.budget.numbers().brakes_for_delay, brakes);
    }

    #[test]
    fn the_rate_stays_within_its_bounds() {
        let mut budget = Budget::new(Duration::ZERO);
        let mut feedback = Feedback { acked_bytes: 0, lost_bytes: 0, rtt: TICK };
        for second in 1..200 {
            feedback.lost_bytes += 1_000;
            budget.advance(Duration::from_secs(second), feedback);
        }
        assert_eq!(budget.numbers().rate, MIN_RATE);
        for second in 200..2_000 {
            feedback.acked_bytes += 10_000_000;
            budget.spend_reliable(1, false);
            budget.advance(Duration::from_secs(second), feedback);
        }
        assert_eq!(budget.numbers().rate, MAX_RATE);
    }

    #[test]
    fn time_in_pieces_earns_as_much_as_time_at_once() {
        let feedback = Feedback { acked_bytes: 0, lost_bytes: 0, rtt: TICK };
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

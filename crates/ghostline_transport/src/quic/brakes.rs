//! How fast a connection may send: a rate that gives way when its packets fill a queue on the way, or get lost.
//! Told the time and what QUIC measured; asked for the rate by the budget.
//!
//! * **A growing round trip.** The rate is halved, so that the queue on the way empties, and the usual round trip comes
//!   back. While it empties more comes out of the path than is put into it, and what comes out is what the path
//!   carries: the rate goes on at nine tenths of that. If nothing empties, the queue is not ours, or the path has
//!   become longer: the rate is restored, and the longer round trip is the usual one from then on.
//! * **Lost packets** halve the rate, but not below one and a half times what demonstrably arrives: braking further
//!   helps nobody on a link that loses packets whatever it is given.
//! * **When something had to wait** the rate grows again: fast far below what the path was last seen to carry, slowly
//!   near it.
//!
//! The other direction's queue makes the round trip grow, too, and braking does not help against it. So nothing brakes
//! below [`MIN_RATE`], with which the commands of a player get through; unless a queue goes on growing even then, for
//! longer than the other side would let its own grow.

use core::time::Duration;

use crate::limits::{INITIAL_RATE, LOWEST_RATE, MAX_RATE, MIN_RATE};

/// Shortest time over which loss and arrival are judged.
const MIN_SAMPLE: Duration = Duration::from_millis(100);
/// Longest such time: a queue must not put off the judgement of itself.
const MAX_SAMPLE: Duration = Duration::from_millis(300);
/// A round trip this far above the usual one is no queue yet: frames of both sides and delayed acknowledgements.
const RTT_MARGIN: Duration = Duration::from_millis(40);
/// One in so many bytes may be lost before it counts as congestion.
const TOLERATED_LOSS_DIVISOR: u64 = 50;
/// Samples that are remembered.
const SAMPLES: usize = 8;
/// Samples over which what comes out of the path is compared with what is put into it.
const COMPARED: usize = 4;
/// A queue that grows for so long, and a round trip, although the rate is at its floor, is ours for sure.
const GROWING: Duration = Duration::from_secs(1);
/// For so long it is remembered what the path carried when it was full.
const CAPACITY_LIFE: Duration = Duration::from_secs(20);
const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// What QUIC has measured on a connection, as totals since it began.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Feedback {
    pub(super) sent_bytes: u64,
    pub(super) acked_bytes: u64,
    pub(super) lost_bytes: u64,
    pub(super) rtt: Duration,
}

/// What happened within a short while.
#[derive(Clone, Copy, Default, Debug)]
struct Sample {
    sent: u64,
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
    fn left(self) -> u64 {
        self.acked.saturating_add(self.lost)
    }

    /// Bytes that arrived, per second.
    fn arrives(self) -> u64 {
        self.per_second(self.acked)
    }

    /// Bytes that were sent, per second.
    fn sends(self) -> u64 {
        self.per_second(self.sent)
    }

    fn per_second(self, bytes: u64) -> u64 {
        let nanos = self.elapsed.as_nanos().max(1);
        let rate = u128::from(bytes).saturating_mul(NANOS_PER_SECOND).checked_div(nanos).unwrap_or(0);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

/// A brake for a growing round trip, until it is known whether it helps.
#[derive(Clone, Copy, Debug)]
struct Drain {
    /// What the rate is again if the queue turns out not to be ours.
    rate_before: u64,
    /// So little is sent that the rate was left alone.
    is_light: bool,
    /// Samples since it began.
    samples: usize,
    /// The most that was seen to arrive since.
    capacity: u64,
    /// Since when as much comes out of the path as is put into it.
    even_since: Option<Duration>,
    /// Since when less comes out.
    growing_since: Option<Duration>,
}

/// The brakes' numbers, in bytes per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct BrakeNumbers {
    pub(super) rate: u64,
    pub(super) arriving: u64,
    pub(super) usual_rtt: Duration,
    pub(super) is_braking: bool,
    pub(super) for_loss: u64,
    pub(super) for_delay: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Brakes {
    rate: u64,
    /// The least that the rate may be.
    floor: u64,
    sampled_at: Duration,
    /// The totals then.
    sampled: Feedback,
    samples: [Sample; SAMPLES],
    next_sample: usize,
    usual_rtt: Option<Duration>,
    drain: Option<Drain>,
    /// What the path carried when it was full, and when that was.
    capacity: Option<(u64, Duration)>,
    for_loss: u64,
    for_delay: u64,
}

impl Brakes {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            rate: INITIAL_RATE,
            floor: MIN_RATE,
            sampled_at: now,
            sampled: Feedback::default(),
            samples: [Sample::default(); SAMPLES],
            next_sample: 0,
            usual_rtt: None,
            drain: None,
            capacity: None,
            for_loss: 0,
            for_delay: 0,
        }
    }

    /// Bytes per second, headers included.
    pub(super) fn rate(&self) -> u64 {
        self.rate
    }

    /// Everything that they know, for tools.
    pub(super) fn numbers(&self) -> BrakeNumbers {
        BrakeNumbers {
            rate: self.rate,
            arriving: self.best_arrival(),
            usual_rtt: self.usual_rtt.unwrap_or_default(),
            is_braking: self.drain.is_some_and(|drain| !drain.is_light),
            for_loss: self.for_loss,
            for_delay: self.for_delay,
        }
    }

    /// Sets the rate by what was measured since the last call. `is_limiting`: something had to wait or was dropped since
    /// the present sample began. Returns whether the sample is over and a new one begins.
    pub(super) fn advance(&mut self, now: Duration, feedback: Feedback, is_limiting: bool) -> bool {
        let rtt = feedback.rtt;
        let usual_rtt = self.usual_rtt.unwrap_or(rtt).min(rtt);
        self.usual_rtt = Some(usual_rtt);
        let elapsed = now.saturating_sub(self.sampled_at);
        if elapsed < rtt.clamp(MIN_SAMPLE, MAX_SAMPLE) {
            return false;
        }
        let sample = self.take_sample(now, feedback);
        let is_queueing = rtt > usual_rtt.saturating_add(RTT_MARGIN.max(part(usual_rtt, 2)));
        match self.drain {
            Some(drain) => self.go_on_draining(now, rtt, drain, is_queueing),
            None if is_queueing => self.begin_to_drain(),
            None if sample.lost.saturating_mul(TOLERATED_LOSS_DIVISOR) > sample.left() => self.brake_for_loss(),
            None if is_limiting => self.grow(now),
            None => {}
        }
        true
    }

    fn take_sample(&mut self, now: Duration, feedback: Feedback) -> Sample {
        let before = core::mem::replace(&mut self.sampled, feedback);
        let elapsed = now.saturating_sub(core::mem::replace(&mut self.sampled_at, now));
        // A path that begins anew counts from zero.
        let sample = Sample {
            sent: feedback.sent_bytes.saturating_sub(before.sent_bytes),
            acked: feedback.acked_bytes.saturating_sub(before.acked_bytes),
            lost: feedback.lost_bytes.saturating_sub(before.lost_bytes),
            elapsed,
        };
        if let Some(slot) = self.samples.get_mut(self.next_sample) {
            *slot = sample;
        }
        self.next_sample = self.next_sample.saturating_add(1) % SAMPLES;
        sample
    }

    /// The last few samples together.
    fn recent(&self, samples: usize) -> Sample {
        let newest = (1..=samples.min(COMPARED)).filter_map(|back| {
            let place = self.next_sample.saturating_add(SAMPLES).saturating_sub(back) % SAMPLES;
            self.samples.get(place)
        });
        newest.fold(Sample::default(), |sum, sample| sum.plus(*sample))
    }

    fn best_arrival(&self) -> u64 {
        self.samples.iter().map(|sample| sample.arrives()).max().unwrap_or(0)
    }

    fn begin_to_drain(&mut self) {
        let recent = self.recent(COMPARED);
        let arrives = recent.arrives();
        let is_light = recent.sends() <= self.floor;
        let rate_before =
            if is_light { self.rate } else { self.rate.min(self.best_arrival().saturating_mul(2)).max(self.floor) };
        self.drain =
            Some(Drain { rate_before, is_light, samples: 0, capacity: 0, even_since: None, growing_since: None });
        if !is_light {
            self.rate = (self.rate.min(arrives) / 2).max(self.floor);
            self.for_delay = self.for_delay.saturating_add(1);
        }
    }

    fn go_on_draining(&mut self, now: Duration, rtt: Duration, mut drain: Drain, is_queueing: bool) {
        drain.samples = drain.samples.saturating_add(1);
        let recent = self.recent(drain.samples);
        drain.capacity = drain.capacity.max(recent.arrives());
        // A few packets more or less are chance.
        let tolerance = recent.sent / 4;
        let empties = recent.left() > recent.sent.saturating_add(tolerance);
        let is_even = !empties && recent.left() >= recent.sent.saturating_sub(tolerance);
        if empties && !drain.is_light {
            self.rate = (drain.capacity / 2).max(self.floor);
        }
        let is_growing = !empties && !is_even;
        // Not the present round trip, which grows as fast as time goes by.
        let patience = self.usual_rtt.unwrap_or_default().saturating_add(GROWING);
        drain.even_since = is_even.then(|| drain.even_since.unwrap_or(now));
        drain.growing_since = is_growing.then(|| drain.growing_since.unwrap_or(now));
        if drain.growing_since.is_some_and(|since| now.saturating_sub(since) > patience) {
            self.floor = (self.floor / 2).max(LOWEST_RATE);
            self.rate = self.rate.min(self.floor);
            self.for_delay = self.for_delay.saturating_add(1);
            drain.growing_since = Some(now);
            drain.is_light = false;
        }
        self.drain = Some(drain);
        if !is_queueing {
            self.drain = None;
            if !drain.is_light {
                self.capacity = Some((drain.capacity, now));
                self.rate = drain.capacity.saturating_sub(drain.capacity / 10).max(self.floor);
            }
        } else if drain.even_since.is_some_and(|since| now.saturating_sub(since) > rtt.saturating_add(MAX_SAMPLE)) {
            // What comes out is what is put in, and the round trip stays long: the queue is not ours.
            self.drain = None;
            self.rate = drain.rate_before;
            self.usual_rtt = Some(rtt);
        }
    }

    fn brake_for_loss(&mut self) {
        let arrives = self.best_arrival();
        let sustained = arrives.saturating_add(arrives / 2);
        let rate = (self.rate / 2).max(sustained).max(self.floor);
        if rate < self.rate {
            self.rate = rate;
            self.for_loss = self.for_loss.saturating_add(1);
        }
    }

    fn grow(&mut self, now: Duration) {
        self.capacity = self.capacity.filter(|(_, at)| now.saturating_sub(*at) < CAPACITY_LIFE);
        let known = self.capacity.map(|(capacity, _)| capacity);
        if known.is_none() {
            self.floor = MIN_RATE;
        }
        let near = known.filter(|capacity| self.rate >= capacity.saturating_sub(capacity / 5));
        let step = near.map_or(self.rate / 8, |capacity| capacity / 64);
        self.rate = self.rate.max(self.floor).saturating_add(step.max(LOWEST_RATE / 4)).min(MAX_RATE);
        if near.is_some_and(|capacity| self.rate > capacity.saturating_add(capacity / 3)) {
            // It was more than that all the time, or is by now.
            self.capacity = None;
        }
    }
}

fn part(whole: Duration, of: u32) -> Duration {
    whole.checked_div(of).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const TICK: Duration = Duration::from_millis(16);

    /// A sender with brakes, and a path that it can't see: a queue that empties at a fixed rate, a delay on both sides of it,
    /// loss. What arrives is known a round trip later.
    struct Path {
        brakes: Brakes,
        now: Duration,
        bandwidth: u64,
        packet_bytes: u64,
        base_rtt: Duration,
        /// When the queue is empty again.
        busy_until: Duration,
        /// Most bytes that wait in the queue.
        queue_bytes: u64,
        loss_percent: u64,
        packets: u64,
        /// When it is known, how many bytes, and when they were sent; `None` for a loss.
        news: VecDeque<(Duration, u64, Option<Duration>)>,
        feedback: Feedback,
        tokens: f64,
        is_limiting: bool,
        longest_queue: Duration,
    }

    impl Path {
        fn new(bandwidth: u64, base_rtt_ms: u64) -> Self {
            Self {
                brakes: Brakes::new(Duration::ZERO),
                now: Duration::ZERO,
                bandwidth,
                packet_bytes: 1_000,
                base_rtt: Duration::from_millis(base_rtt_ms),
                busy_until: Duration::ZERO,
                queue_bytes: 64 * 1024,
                loss_percent: 0,
                packets: 0,
                news: VecDeque::new(),
                feedback: Feedback { rtt: Duration::from_millis(base_rtt_ms), ..Feedback::default() },
                tokens: 0.0,
                is_limiting: false,
                longest_queue: Duration::ZERO,
            }
        }

        /// Wants to send so many packets; returns how many left.
        fn tick(&mut self, wanted: usize) -> usize {
            self.now += TICK;
            while let Some(&(at, bytes, sent_at)) = self.news.front()
                && at <= self.now
            {
                self.news.pop_front();
                match sent_at {
                    Some(sent_at) => {
                        self.feedback.acked_bytes += bytes;
                        let rtt = (at - sent_at).as_secs_f64();
                        self.feedback.rtt = self.feedback.rtt.mul_f64(7.0 / 8.0) + Duration::from_secs_f64(rtt / 8.0);
                    }
                    None => self.feedback.lost_bytes += bytes,
                }
            }
            let rate = self.brakes.rate() as f64;
            self.tokens = (self.tokens + rate * TICK.as_secs_f64()).min(rate / 10.0 + 1_000.0);
            let left = (0..wanted).take_while(|_| self.tokens > 0.0 && self.send()).count();
            self.is_limiting |= left < wanted;
            if self.brakes.advance(self.now, self.feedback, self.is_limiting) {
                self.is_limiting = false;
            }
            left
        }

        fn send(&mut self) -> bool {
            let bytes = self.packet_bytes;
            self.tokens -= bytes as f64;
            self.packets += 1;
            self.feedback.sent_bytes += bytes;
            let waits = self.busy_until.saturating_sub(self.now);
            let waiting = (waits.as_secs_f64() * self.bandwidth as f64) as u64;
            let is_full = waiting + bytes > self.queue_bytes;
            // Evenly spread loss: 33 of 100 by the golden ratio.
            let is_lost = self.packets * 61 % 100 < self.loss_percent;
            if !is_full {
                let time = Duration::from_secs_f64(bytes as f64 / self.bandwidth as f64);
                self.busy_until = self.busy_until.max(self.now) + time;
                self.longest_queue = self.longest_queue.max(waits);
            }
            let known = self.busy_until.max(self.now) + self.base_rtt;
            self.news.push_back((known, bytes, (!is_full && !is_lost).then_some(self.now)));
            true
        }

        /// So many seconds in which so many packets per tick are wanted. Returns how many left.
        fn seconds(&mut self, seconds: u32, wanted: usize) -> usize {
            let ticks = seconds * 1_000 / 16;
            (0..ticks).map(|_| self.tick(wanted)).sum()
        }

        fn brakes_for_delay(&self) -> u64 {
            self.brakes.numbers().for_delay
        }
    }

    #[test]
    fn a_path_that_carries_everything_is_never_braked() {
        let mut path = Path::new(1_000_000, 30);
        assert_eq!(path.seconds(10, 2), 625 * 2);
        assert_eq!(path.brakes.rate(), INITIAL_RATE, "nobody asked for more");
        assert_eq!((path.brakes.numbers().for_loss, path.brakes_for_delay()), (0, 0));
    }

    #[test]
    fn a_narrow_path_is_used_without_a_standing_queue() {
        for (bandwidth, base_rtt_ms) in [(40_000, 60), (100_000, 30), (100_000, 200), (1_000_000, 60)] {
            let mut path = Path::new(bandwidth, base_rtt_ms);
            // Five times of what it carries.
            let wanted = (bandwidth as usize * 16 / 1_000_000).max(1) * 5;
            path.seconds(5, wanted);
            path.longest_queue = Duration::ZERO;
            let acked = path.feedback.acked_bytes;
            path.seconds(20, wanted);
            let used = (path.feedback.acked_bytes - acked) * 100 / (20 * bandwidth);
            let queue = path.longest_queue;
            assert!(used >= 75, "{bandwidth} B/s, {base_rtt_ms} ms: {used} % used, {queue:?}");
            assert!(queue < Duration::from_millis(500), "{bandwidth} B/s, {base_rtt_ms} ms: {used} % used, {queue:?}");
            assert!(path.brakes_for_delay() > 2);
        }
    }

    #[test]
    fn a_path_that_becomes_narrow_is_found_out_soon_and_one_that_becomes_wide_too() {
        let mut path = Path::new(1_000_000, 60);
        path.seconds(5, 1);
        path.bandwidth = 31_000;
        path.seconds(4, 1);
        path.longest_queue = Duration::ZERO;
        path.seconds(10, 1);
        assert!(path.longest_queue < Duration::from_millis(500), "{:?}", path.longest_queue);
        path.bandwidth = 1_000_000;
        path.seconds(10, 1);
        let left = path.seconds(5, 1);
        assert!(left > 300, "{left} of 312 packets");
    }

    #[test]
    fn random_loss_does_not_stop_a_game_that_the_link_carries() {
        let mut path = Path::new(1_000_000, 100);
        path.loss_percent = 33;
        let sent = path.seconds(32, 1);
        assert!(path.feedback.lost_bytes > 0);
        assert!(sent > 1_900, "{sent} of 2,000 packets left: {:?}", path.brakes);
    }

    #[test]
    fn a_path_that_becomes_longer_is_braked_once_and_then_taken_as_it_is() {
        let mut path = Path::new(1_000_000, 20);
        path.seconds(2, 1);
        path.base_rtt = Duration::from_millis(220);
        path.seconds(4, 1);
        let brakes = path.brakes_for_delay();
        assert!((1..=2).contains(&brakes), "{brakes}");
        assert_eq!(path.seconds(8, 1), 500);
        assert_eq!(path.brakes_for_delay(), brakes);
    }

    #[test]
    fn a_sender_that_is_quiet_is_not_held_to_that_when_the_path_becomes_longer() {
        let mut path = Path::new(1_000_000, 20);
        path.seconds(2, 0);
        path.packet_bytes = 50;
        path.base_rtt = Duration::from_millis(120);
        path.seconds(2, 1);
        path.packet_bytes = 1_000;
        assert_eq!(path.seconds(2, 2), 250);
        assert_eq!((path.brakes_for_delay(), path.brakes.rate()), (0, INITIAL_RATE));
    }

    #[test]
    fn a_queue_of_somebody_else_costs_a_short_while_and_no_more() {
        let mut path = Path::new(1_000_000, 40);
        path.seconds(2, 1);
        // The others keep their queue, whatever this sender does.
        path.base_rtt = Duration::from_millis(400);
        path.seconds(5, 1);
        assert_eq!(path.seconds(5, 1), 312);
        path.base_rtt = Duration::from_millis(40);
        assert_eq!(path.seconds(5, 1), 312, "and it going away costs nothing");
    }

    #[test]
    fn on_the_thinnest_path_commands_are_thinned_and_do_not_wait_for_ever() {
        let mut path = Path::new(3_000, 60);
        path.packet_bytes = 100;
        path.seconds(30, 1);
        path.longest_queue = Duration::ZERO;
        let acked = path.feedback.acked_bytes;
        path.seconds(60, 1);
        let used = (path.feedback.acked_bytes - acked) * 100 / (60 * 3_000);
        assert!(used > 60 && path.longest_queue < Duration::from_secs(4), "{used} % {:?}", path.longest_queue);
    }

    #[test]
    fn the_queue_of_the_other_direction_does_not_starve_commands() {
        let mut path = Path::new(1_000_000, 60);
        path.packet_bytes = 100;
        path.seconds(5, 1);
        for _ in 0..10 {
            // It grows for a while, until the other side brakes, and empties again.
            for step in (0..40).chain((0..40).rev()) {
                path.base_rtt = Duration::from_millis(60 + step * 10);
                assert_eq!(path.tick(1), 1, "{:?}", path.brakes);
            }
            assert_eq!(path.seconds(1, 1), 62);
        }
    }

    #[test]
    fn the_rate_stays_within_its_bounds() {
        let mut brakes = Brakes::new(Duration::ZERO);
        let mut feedback = Feedback { rtt: TICK, ..Feedback::default() };
        for second in 1..200 {
            feedback.lost_bytes += 1_000;
            brakes.advance(Duration::from_secs(second), feedback, false);
        }
        assert_eq!(brakes.rate(), MIN_RATE);
        for second in 200..2_000 {
            feedback.acked_bytes += 10_000_000;
            brakes.advance(Duration::from_secs(second), feedback, true);
        }
        assert_eq!(brakes.rate(), MAX_RATE);
    }
}

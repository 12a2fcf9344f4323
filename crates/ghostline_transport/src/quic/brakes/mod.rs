//! How fast a connection may send: a rate that gives way when its packets fill a queue on the way, or get lost.
//! Told the time and what QUIC measured; asked for the rate by the budget.
//!
//! * **A growing round trip.** The rate is halved, so that the queue on the way empties, and the usual round trip comes
//!   back. While it empties more comes out of the path than is put into it, and what comes out is what the path
//!   carries: the rate goes on at nine tenths of that. If nothing empties, the queue is not ours, or the path has
//!   become longer: the rate is restored, and the longer round trip is the usual one from then on.
//! * **More loss than usual.** The rate goes down to nine tenths of what arrives (`loss.rs`). If less is lost then, it
//!   stays there; if not, the path loses packets whatever it is given: the rate is restored, and the loss is usual.
//! * **When something had to wait** the rate grows again: fast far below what the path was last seen to carry, slowly
//!   near it.
//!
//! The other direction's queue makes the round trip grow, too, and braking does not help against it. So nothing brakes
//! below [`MIN_RATE`], with which the commands of a player get through; unless a queue goes on growing even then, for
//! longer than the other side would let its own grow.

mod loss;
mod sample;
#[cfg(test)]
mod tests;

use core::time::Duration;

use self::loss::{LossWatch, Verdict};
use self::sample::Samples;
use crate::limits::{INITIAL_RATE, LOWEST_RATE, MAX_RATE, MIN_RATE};

pub(super) use self::sample::Feedback;

/// Shortest time over which loss and arrival are judged.
const MIN_SAMPLE: Duration = Duration::from_millis(100);
/// Longest such time: a queue must not put off the judgement of itself.
const MAX_SAMPLE: Duration = Duration::from_millis(300);
/// A round trip this far above the usual one is no queue yet: frames of both sides and delayed acknowledgements.
const RTT_MARGIN: Duration = Duration::from_millis(40);
/// What a full packet takes at a byte per second.
const FULL_PACKET_NANOS: u64 = 1_500 * 1_000_000_000;
/// Samples over which what comes out of the path is compared with what is put into it.
const COMPARED: usize = 4;
/// A queue that grows for so long, and a round trip, although the rate is at its floor, is ours for sure.
const GROWING: Duration = Duration::from_secs(1);
/// For so long it is remembered what the path carried when it was full.
const CAPACITY_LIFE: Duration = Duration::from_secs(20);

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
    samples: Samples,
    usual_rtt: Option<Duration>,
    drain: Option<Drain>,
    loss: LossWatch,
    /// What the rate was before the trial that is on.
    rate_before_trial: Option<u64>,
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
            samples: Samples::new(now),
            usual_rtt: None,
            drain: None,
            loss: LossWatch::new(),
            rate_before_trial: None,
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
        let is_draining = self.drain.is_some_and(|drain| !drain.is_light);
        BrakeNumbers {
            rate: self.rate,
            arriving: self.samples.best_arrival(),
            usual_rtt: self.usual_rtt.unwrap_or_default(),
            is_braking: is_draining || self.rate_before_trial.is_some(),
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
        if self.samples.age(now) < rtt.clamp(MIN_SAMPLE, MAX_SAMPLE) {
            return false;
        }
        self.samples.take(now, feedback);
        let margin = RTT_MARGIN.max(part(usual_rtt, 2)).saturating_add(self.time_of_a_packet());
        let is_queueing = rtt > usual_rtt.saturating_add(margin);
        if let Some(drain) = self.drain {
            self.go_on_draining(now, rtt, drain, is_queueing);
        } else if is_queueing {
            self.begin_to_drain();
        } else {
            let may_try = self.samples.newest(COMPARED).sends() > self.floor;
            match self.loss.advance(now, &feedback, may_try) {
                Verdict::Fine if is_limiting => self.grow(now),
                Verdict::Fine | Verdict::Trying => {}
                Verdict::Try => self.try_with_less(),
                Verdict::TooMuch => self.settle_below_loss(now),
                Verdict::NotOurs => self.rate = self.rate_before_trial.take().unwrap_or(self.rate).max(self.rate),
            }
        }
        true
    }

    /// How long a packet of ours takes on a path that is known to be slow. It is in every round trip, and no queue.
    fn time_of_a_packet(&self) -> Duration {
        let nanos = self.capacity.and_then(|(capacity, _)| FULL_PACKET_NANOS.checked_div(capacity)).unwrap_or(0);
        Duration::from_nanos(nanos).min(MIN_SAMPLE)
    }

    fn begin_to_drain(&mut self) {
        let recent = self.samples.newest(COMPARED);
        let is_light = recent.sends() <= self.floor;
        let usual = self.rate_before_trial.take().unwrap_or(self.rate);
        let rate_before =
            if is_light { usual } else { usual.min(self.samples.best_arrival().saturating_mul(2)).max(self.floor) };
        self.drain =
            Some(Drain { rate_before, is_light, samples: 0, capacity: 0, even_since: None, growing_since: None });
        self.loss.disturb();
        if !is_light {
            self.rate = (self.rate.min(recent.arrives()) / 2).max(self.floor);
            self.for_delay = self.for_delay.saturating_add(1);
        }
    }

    fn go_on_draining(&mut self, now: Duration, rtt: Duration, mut drain: Drain, is_queueing: bool) {
        drain.samples = drain.samples.saturating_add(1);
        let recent = self.samples.newest(drain.samples.min(COMPARED));
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

    /// What the path would carry if the usual share of it got lost, less a tenth.
    fn below_loss(&self) -> u64 {
        let arrives = self.samples.newest(COMPARED).arrives();
        let sent = arrives.saturating_mul(1_000).checked_div(self.loss.usual_arrival()).unwrap_or(arrives);
        sent.saturating_sub(sent / 10).max(self.floor)
    }

    fn try_with_less(&mut self) {
        let rate = self.below_loss();
        if rate < self.rate {
            self.rate_before_trial = Some(self.rate);
            self.rate = rate;
            self.for_loss = self.for_loss.saturating_add(1);
        } else {
            self.loss.disturb();
        }
    }

    fn settle_below_loss(&mut self, now: Duration) {
        self.rate_before_trial = None;
        self.capacity = Some((self.rate, now));
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

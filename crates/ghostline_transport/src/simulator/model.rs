//! The fate of each packet on one direction of a link: lost, dropped, or arriving when, how often and with what damage.
//! Told the time and the size of a packet; keeps no packets. Its owner keeps them until they arrive.

use core::time::Duration;

use super::conditions::{LinkConditions, Loss};
use super::corruption::Corruption;
use super::random::{SplitMix64, below, chance};
use crate::limits;

/// What became of the packets of one direction of a link, since it was made.
///
/// At any time `sent` + `duplicated` = `delivered` + `lost` + `dropped_by_queue` + those on their way.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct LinkStats {
    /// Packets put on the link.
    pub sent: u64,
    /// Packets that have arrived, copies included.
    pub delivered: u64,
    /// Packets lost on the way.
    pub lost: u64,
    /// Copies that the link made.
    pub duplicated: u64,
    /// Packets that arrive, or arrived, before one that was sent earlier.
    pub reordered: u64,
    /// Packets that arrive, or arrived, with flipped bits.
    pub corrupted: u64,
    /// Packets and copies dropped because the queue for the bandwidth was full, or `max_packets` were on their way.
    pub dropped_by_queue: u64,
}

impl core::iter::Sum for LinkStats {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |total, one| Self {
            sent: total.sent.saturating_add(one.sent),
            delivered: total.delivered.saturating_add(one.delivered),
            lost: total.lost.saturating_add(one.lost),
            duplicated: total.duplicated.saturating_add(one.duplicated),
            reordered: total.reordered.saturating_add(one.reordered),
            corrupted: total.corrupted.saturating_add(one.corrupted),
            dropped_by_queue: total.dropped_by_queue.saturating_add(one.dropped_by_queue),
        })
    }
}

/// Why a packet does not arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DropCause {
    /// Lost on the way.
    Lost,
    /// The queue for the bandwidth was full.
    QueueFull,
    /// As many packets were on their way as may be.
    TooManyPackets,
}

/// One packet's arrival.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Arrival {
    pub(crate) at: Duration,
    pub(crate) corruption: Option<Corruption>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    Dropped(DropCause),
    Arrives { first: Arrival, copy: Option<Arrival> },
}

/// The chance of one packet. A fixed number of draws per packet, whatever the conditions, so that a change of one of
/// them does not change what the others do.
struct Draws {
    loss: u64,
    copy: u64,
    arrivals: [ArrivalDraws; 2],
}

struct ArrivalDraws {
    jitter: u64,
    reorder: u64,
    corrupt: u64,
    damage: u64,
}

impl Draws {
    fn take(random: &mut SplitMix64) -> Self {
        let (loss, copy) = (random.next(), random.next());
        let arrivals = [(); 2].map(|()| ArrivalDraws {
            jitter: random.next(),
            reorder: random.next(),
            corrupt: random.next(),
            damage: random.next(),
        });
        Self { loss, copy, arrivals }
    }
}

/// One direction of a link, without the packets on it.
#[derive(Clone, Debug)]
pub(crate) struct LinkModel {
    conditions: LinkConditions,
    random: SplitMix64,
    /// Packets since the pattern of loss was set.
    packets: u64,
    is_in_burst: bool,
    /// When the last packet that waits for bandwidth has left.
    busy_until: Duration,
    latest_arrival: Duration,
    /// `delivered` counts what is on its way as well.
    stats: LinkStats,
}

impl LinkModel {
    pub(crate) fn new(conditions: LinkConditions, seed: u64) -> Self {
        Self {
            conditions,
            random: SplitMix64::new(seed),
            packets: 0,
            is_in_burst: false,
            busy_until: Duration::ZERO,
            latest_arrival: Duration::ZERO,
            stats: LinkStats::default(),
        }
    }

    pub(crate) fn conditions(&self) -> &LinkConditions {
        &self.conditions
    }

    /// Applies to packets sent from now on. A pattern of loss that does not change goes on.
    pub(crate) fn set_conditions(&mut self, conditions: LinkConditions) {
        if conditions.loss != self.conditions.loss {
            self.packets = 0;
            self.is_in_burst = false;
        }
        self.conditions = conditions;
    }

    /// The counters, given how many packets are on their way.
    pub(crate) fn stats(&self, in_flight: usize) -> LinkStats {
        let delivered = self.stats.delivered.saturating_sub(in_flight as u64);
        LinkStats { delivered, ..self.stats }
    }

    /// Decides about a packet sent at `now` while `in_flight` others are on their way.
    pub(crate) fn judge(&mut self, now: Duration, bytes: usize, in_flight: usize) -> Fate {
        count(&mut self.stats.sent);
        self.packets = self.packets.saturating_add(1);
        let draws = Draws::take(&mut self.random);
        let is_lost = self.is_lost(draws.loss);
        let [first, copy] = draws.arrivals;
        // What is lost on the way has taken its share of the bandwidth before.
        let leaves = match self.leave(now, bytes, in_flight) {
            Ok(leaves) => leaves,
            Err(cause) => return Fate::Dropped(cause),
        };
        if is_lost {
            count(&mut self.stats.lost);
            return Fate::Dropped(DropCause::Lost);
        }
        let first = self.arrive(leaves, &first);
        let is_copied = chance(draws.copy, percent(self.conditions.duplicate_percent));
        let copy = if is_copied { self.copy(now, bytes, in_flight.saturating_add(1), &copy) } else { None };
        Fate::Arrives { first, copy }
    }

    fn copy(&mut self, now: Duration, bytes: usize, in_flight: usize, draws: &ArrivalDraws) -> Option<Arrival> {
        count(&mut self.stats.duplicated);
        let leaves = self.leave(now, bytes, in_flight).ok()?;
        Some(self.arrive(leaves, draws))
    }

    fn is_lost(&mut self, draw: u64) -> bool {
        match self.conditions.loss {
            Loss::None => false,
            Loss::Random { percent: lost } => chance(draw, percent(lost)),
            Loss::Periodic { every } => self.packets.checked_rem(every.into()) == Some(0),
            Loss::Bursts { percent: lost, mean_length } => {
                let ends = 1.0 / f64::from(mean_length);
                let lost = percent(lost);
                // In the long run as many bursts begin as end: lost × ends = (1 - lost) × begins.
                let begins = ends * lost / (1.0 - lost);
                self.is_in_burst = chance(draw, if self.is_in_burst { 1.0 - ends } else { begins });
                self.is_in_burst
            }
        }
    }

    /// When a packet has passed the queue for the bandwidth; why it did not even get into it.
    fn leave(&mut self, now: Duration, bytes: usize, in_flight: usize) -> Result<Duration, DropCause> {
        let max_packets = usize::try_from(self.conditions.max_packets).unwrap_or(usize::MAX);
        if in_flight >= max_packets {
            count(&mut self.stats.dropped_by_queue);
            return Err(DropCause::TooManyPackets);
        }
        let Some(bandwidth) = self.conditions.bandwidth_bytes_per_second else {
            return Ok(now);
        };
        let starts = self.busy_until.max(now);
        let waiting = bytes_in(starts.saturating_sub(now), bandwidth);
        if waiting.saturating_add(bytes as u64) > limits::SIMULATED_QUEUE_BYTES.into() {
            count(&mut self.stats.dropped_by_queue);
            return Err(DropCause::QueueFull);
        }
        self.busy_until = starts.saturating_add(time_for(bytes as u64, bandwidth));
        Ok(self.busy_until)
    }

    fn arrive(&mut self, leaves: Duration, draws: &ArrivalDraws) -> Arrival {
        let conditions = &self.conditions;
        let jitter = nanoseconds(conditions.jitter_ms);
        let spread = below(draws.jitter, jitter.saturating_mul(2).saturating_add(1));
        let delay = nanoseconds(conditions.delay_ms).saturating_add(spread).saturating_sub(jitter);
        let mut at = leaves.saturating_add(Duration::from_nanos(delay));
        if chance(draws.reorder, percent(conditions.reorder_percent)) {
            at = at.saturating_add(Duration::from_millis(limits::REORDER_DELAY_MS.into()));
        }
        let is_corrupt = chance(draws.corrupt, percent(conditions.corrupt_percent));
        let corruption = is_corrupt.then(|| Corruption::new(draws.damage));
        count(&mut self.stats.delivered);
        if is_corrupt {
            count(&mut self.stats.corrupted);
        }
        if at < self.latest_arrival {
            count(&mut self.stats.reordered);
        }
        self.latest_arrival = self.latest_arrival.max(at);
        Arrival { at, corruption }
    }
}

fn count(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}

fn percent(percent: f32) -> f64 {
    f64::from(percent) / 100.0
}

fn nanoseconds(ms: u32) -> u64 {
    u64::from(ms).saturating_mul(1_000_000)
}

const NANOSECONDS_PER_SECOND: u128 = 1_000_000_000;

/// How long so many bytes take, rounded up so that the bandwidth is never exceeded.
fn time_for(bytes: u64, bytes_per_second: u32) -> Duration {
    let work = u128::from(bytes).saturating_mul(NANOSECONDS_PER_SECOND);
    let time = work.div_ceil(u128::from(bytes_per_second).max(1));
    Duration::from_nanos(u64::try_from(time).unwrap_or(u64::MAX))
}

/// How many bytes pass in a time, rounded up.
fn bytes_in(time: Duration, bytes_per_second: u32) -> u64 {
    let work = time.as_nanos().saturating_mul(bytes_per_second.into());
    u64::try_from(work.div_ceil(NANOSECONDS_PER_SECOND)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 7;

    fn model(conditions: LinkConditions) -> LinkModel {
        LinkModel::new(conditions, SEED)
    }

    /// The fates of so many packets of 100 bytes, one per millisecond.
    fn fates(conditions: LinkConditions, count: u32) -> Vec<Fate> {
        let mut model = model(conditions);
        (0..count).map(|ms| model.judge(Duration::from_millis(ms.into()), 100, 0)).collect()
    }

    fn is_lost(fate: &Fate) -> bool {
        matches!(fate, Fate::Dropped(DropCause::Lost))
    }

    #[test]
    fn a_fault_does_not_change_which_packets_another_one_hits() {
        let lossy = LinkConditions { loss: Loss::Random { percent: 20.0 }, ..LinkConditions::PERFECT };
        let worse = LinkConditions {
            delay_ms: 20,
            jitter_ms: 20,
            duplicate_percent: 30.0,
            reorder_percent: 10.0,
            corrupt_percent: 50.0,
            ..lossy
        };
        let lost = |conditions| fates(conditions, 2_000).iter().map(is_lost).collect::<Vec<_>>();
        assert_eq!(lost(lossy), lost(worse));
        assert!(lost(lossy).contains(&true));
    }

    #[test]
    fn jitter_is_spread_evenly_around_the_delay_and_reaches_both_ends() {
        let conditions = LinkConditions { delay_ms: 100, jitter_ms: 10, ..LinkConditions::PERFECT };
        let mut model = model(conditions);
        let mut tenths = [0_u32; 10];
        for _ in 0..10_000 {
            let Fate::Arrives { first, copy: None } = model.judge(Duration::ZERO, 1, 0) else {
                panic!("nothing is lost or copied");
            };
            let early = first.at.checked_sub(Duration::from_millis(90)).expect("never before delay - jitter");
            assert!(early <= Duration::from_millis(20), "never after delay + jitter");
            tenths[(early.as_micros() / 2_000).min(9) as usize] += 1;
        }
        // 1,000 in each, give or take five standard deviations.
        assert!(tenths.iter().all(|count| (850..1_150).contains(count)), "{tenths:?}");
    }

    #[test]
    fn jitter_above_the_delay_never_lets_a_packet_arrive_before_it_was_sent() {
        let conditions = LinkConditions { delay_ms: 10, jitter_ms: 400, ..LinkConditions::PERFECT };
        for (fate, ms) in fates(conditions, 1_000).iter().zip(0..) {
            let Fate::Arrives { first, .. } = fate else { panic!("{fate:?}") };
            assert!(first.at >= Duration::from_millis(ms));
        }
    }

    #[test]
    fn bandwidth_makes_packets_wait_their_turn_and_a_full_queue_drops() {
        let conditions = LinkConditions {
            delay_ms: 5,
            bandwidth_bytes_per_second: Some(100_000), // 1,000 bytes take 10 ms
            ..LinkConditions::PERFECT
        };
        let mut model = model(conditions);
        let mut judge = |now_ms| model.judge(Duration::from_millis(now_ms), 1_000, 0);
        for packet in 1..=65 {
            let at = Duration::from_millis(10 * packet + 5);
            assert_eq!(judge(0), Fate::Arrives { first: Arrival { at, corruption: None }, copy: None });
        }
        assert_eq!(judge(0), Fate::Dropped(DropCause::QueueFull), "65,000 of 65,536 bytes wait");
        assert_eq!(judge(4), Fate::Dropped(DropCause::QueueFull), "64,600 wait");
        assert!(matches!(judge(5), Fate::Arrives { .. }), "64,500 wait");
        let at = Duration::from_secs(10);
        let Fate::Arrives { first, .. } = judge(10_000) else { panic!("the queue is long empty") };
        assert_eq!(first.at, at + Duration::from_millis(15));
        assert_eq!(model.stats(0).dropped_by_queue, 2);
    }

    #[test]
    fn lost_packets_and_copies_take_their_share_of_the_bandwidth() {
        let bandwidth = LinkConditions { bandwidth_bytes_per_second: Some(100_000), ..LinkConditions::PERFECT };
        let arrival = |conditions: LinkConditions, packets: u32| {
            let mut model = model(conditions);
            let fates: Vec<Fate> = (0..packets).map(|_| model.judge(Duration::ZERO, 1_000, 0)).collect();
            fates.last().copied()
        };
        let lossy = LinkConditions { loss: Loss::Periodic { every: 2 }, ..bandwidth };
        let Some(Fate::Arrives { first, .. }) = arrival(lossy, 3) else { panic!("the third arrives") };
        assert_eq!(first.at, Duration::from_millis(30));
        let copying = LinkConditions { duplicate_percent: 100.0, ..bandwidth };
        let Some(Fate::Arrives { first, copy: Some(copy) }) = arrival(copying, 2) else { panic!("copied") };
        assert_eq!((first.at, copy.at), (Duration::from_millis(30), Duration::from_millis(40)));
    }

    #[test]
    fn only_so_many_packets_may_be_on_their_way() {
        let conditions = LinkConditions { max_packets: 3, duplicate_percent: 100.0, ..LinkConditions::delayed(10) };
        let mut model = model(conditions);
        assert!(matches!(model.judge(Duration::ZERO, 1, 0), Fate::Arrives { copy: Some(_), .. }));
        assert!(matches!(model.judge(Duration::ZERO, 1, 2), Fate::Arrives { copy: None, .. }), "no room for the copy");
        assert_eq!(model.judge(Duration::ZERO, 1, 3), Fate::Dropped(DropCause::TooManyPackets));
        let stats = model.stats(3);
        assert_eq!((stats.sent, stats.duplicated, stats.dropped_by_queue), (3, 2, 2));
        assert_eq!(stats.delivered, 0, "three are on their way");
    }

    #[test]
    fn a_pattern_of_loss_begins_anew_when_it_is_set_and_goes_on_when_something_else_is() {
        let third = LinkConditions { loss: Loss::Periodic { every: 3 }, ..LinkConditions::PERFECT };
        let mut model = model(third);
        let losses = |model: &mut LinkModel, count: usize| -> Vec<bool> {
            (0..count).map(|_| is_lost(&model.judge(Duration::ZERO, 1, 0))).collect()
        };
        assert_eq!(losses(&mut model, 5), [false, false, true, false, false]);
        model.set_conditions(LinkConditions { delay_ms: 5, ..third });
        assert_eq!(losses(&mut model, 2), [true, false]);
        model.set_conditions(LinkConditions { loss: Loss::Periodic { every: 2 }, ..third });
        assert_eq!(losses(&mut model, 4), [false, true, false, true]);
    }

    #[test]
    fn times_and_bytes_of_a_bandwidth_are_rounded_up_and_never_overflow() {
        assert_eq!(time_for(1, 3), Duration::from_nanos(333_333_334));
        assert_eq!(time_for(0, 3), Duration::ZERO);
        assert_eq!(time_for(u64::MAX, 1), Duration::from_nanos(u64::MAX));
        assert_eq!(bytes_in(Duration::from_nanos(1), 1), 1);
        assert_eq!(bytes_in(Duration::from_secs(2), 500), 1_000);
        assert_eq!(bytes_in(Duration::MAX, u32::MAX), u64::MAX);
    }
}

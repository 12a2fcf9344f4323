//! The brakes on paths that they can't see: narrow, long, lossy, and changing.

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
    /// The state of a random sequence that decides what is lost; without one loss is spread evenly.
    chance: Option<u64>,
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
            chance: None,
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
                None => {
                    self.feedback.lost_bytes += bytes;
                    self.feedback.lost_packets += 1;
                }
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
        self.feedback.sent_packets += 1;
        let waits = self.busy_until.saturating_sub(self.now);
        let waiting = (waits.as_secs_f64() * self.bandwidth as f64) as u64;
        let is_full = waiting + bytes > self.queue_bytes;
        // Evenly spread loss: 33 of 100 by the golden ratio.
        let is_lost = match &mut self.chance {
            None => self.packets * 61 % 100 < self.loss_percent,
            Some(state) => {
                // Knuth's generator; its upper bits are good enough here.
                *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (*state >> 33) % 100 < self.loss_percent
            }
        };
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
fn a_path_without_a_queue_is_not_overrun_for_ever() {
    for (bandwidth, base_rtt_ms) in [(100_000, 60), (1_000_000, 200)] {
        let mut path = Path::new(bandwidth, base_rtt_ms);
        // 20 ms of it: too short to be seen in the round trip.
        path.queue_bytes = bandwidth / 50;
        let wanted = (bandwidth as usize * 16 / 1_000_000).max(1) * 3;
        path.seconds(5, wanted);
        let before = path.feedback;
        path.seconds(30, wanted);
        let used = (path.feedback.acked_bytes - before.acked_bytes) * 100 / (30 * bandwidth);
        let sent = path.feedback.sent_packets - before.sent_packets;
        let lost = (path.feedback.lost_packets - before.lost_packets) * 100 / sent;
        assert!(used > 75 && lost < 10, "{bandwidth} B/s: {used} % used, {lost} % lost, {:?}", path.brakes);
    }
}

#[test]
fn a_lossy_path_lets_the_rate_grow_to_what_is_wanted() {
    for loss_percent in [5, 33] {
        let mut path = Path::new(1_000_000, 60);
        path.loss_percent = loss_percent;
        path.brakes.rate = MIN_RATE;
        path.seconds(10, 6);
        let left = path.seconds(5, 6);
        assert!(left > 1_700, "{loss_percent} %: {left} of 1,875 packets, {:?}", path.brakes);
    }
}

#[test]
fn loss_that_begins_later_costs_a_short_while_and_no_more() {
    let mut path = Path::new(1_000_000, 60);
    path.seconds(10, 1);
    path.loss_percent = 33;
    let left = path.seconds(5, 1);
    assert!(left > 250, "{left} of 312 packets");
    assert!(path.seconds(10, 1) > 600, "{:?}", path.brakes);
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
fn a_path_that_loses_a_little_by_chance_is_hardly_ever_tried_with_less() {
    let mut trials = 0;
    for seed in 1..=200 {
        let mut path = Path::new(1_000_000, 100);
        // A sequence of its own for each, of which two in a hundred are lost.
        path.chance = Some(seed);
        path.loss_percent = 2;
        path.seconds(15, 1);
        trials += path.brakes.numbers().for_loss;
    }
    assert!(trials <= 4, "{trials} trials in the first quarter of a minute of two hundred connections");
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
    // Loss that goes away as less is sent, again and again.
    for second in 1..400 {
        let lost = if second % 4 < 2 { 50 } else { 0 };
        feedback.sent_packets += 100;
        feedback.sent_bytes += 100_000;
        feedback.lost_packets += lost;
        feedback.lost_bytes += lost * 1_000;
        brakes.advance(Duration::from_secs(second), feedback, false);
        assert!(brakes.rate() >= MIN_RATE);
    }
    assert_eq!(brakes.rate(), MIN_RATE, "nothing arrived");
    for second in 400..2_000 {
        feedback.sent_packets += 10_000;
        feedback.sent_bytes += 10_000_000;
        feedback.acked_bytes += 10_000_000;
        brakes.advance(Duration::from_secs(second), feedback, true);
    }
    assert_eq!(brakes.rate(), MAX_RATE);
}

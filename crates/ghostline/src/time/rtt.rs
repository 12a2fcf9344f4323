//! The round-trip estimator of a connection.
//! Every packet's header brings the sender's clock and an echo of ours; what comes out is the round trip and its deviation for time
//! synchronisation, and the echo for our own next packet.

/// The remote clock value that our echo is made from.
#[derive(Clone, Copy, Debug)]
struct NewestRemote {
    remote_time_ms: u16,
    /// Our clock when it arrived.
    received_at_ms: u16,
}

/// Running averages, in ms.
#[derive(Clone, Copy, Debug, Default)]
struct Averages {
    estimate: Option<f64>,
    deviation: f64,
}

impl Averages {
    /// Weight of a new sample in the estimate.
    const ESTIMATE_WEIGHT: f64 = 1.0 / 8.0;
    /// Weight of a new sample in the deviation.
    const DEVIATION_WEIGHT: f64 = 1.0 / 4.0;

    fn with(self, sample_ms: f64) -> Self {
        let estimate = match self.estimate {
            Some(estimate) => estimate + (sample_ms - estimate) * Self::ESTIMATE_WEIGHT,
            None => sample_ms,
        };
        let distance = (sample_ms - estimate).abs();
        Self {
            estimate: Some(estimate),
            deviation: self.deviation + (distance - self.deviation) * Self::DEVIATION_WEIGHT,
        }
    }
}

/// Smoothed round trip and deviation from 16-bit millisecond clocks that wrap.
///
/// The first sample is taken as it is, each further one counts 1/8; the deviation moves by 1/4 of each sample's distance from the
/// estimate. Packets that were overtaken (their remote time is older than the newest seen) change nothing. Of packets that are read in
/// the same millisecond only the newest counts: the others had to wait for the frame that read them, after a stall for seconds.
#[derive(Clone, Debug, Default)]
pub struct RttEstimator {
    newest: Option<NewestRemote>,
    averages: Averages,
    /// The averages without the samples of the newest packet's millisecond.
    averages_before: Averages,
}

impl RttEstimator {
    /// Differences of wrapping clocks from here on are negative ones.
    const TOP_BIT: u16 = 0x8000;
    /// After a silence this long (16.4 s) a wrapping comparison of remote times may be wrong, so the next packet counts in any case.
    const COMPARABLE_FOR_MS: u16 = 0x4000;

    /// An estimator that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a packet's header.
    ///
    /// `local_now_ms` is our clock now, `remote_time_ms` the sender's clock when it sent, `return_time_ms` its echo of our clock with
    /// the time that it held it already added. Returns the round trip of this packet in ms if it gave one.
    pub fn on_packet(&mut self, local_now_ms: u16, remote_time_ms: u16, return_time_ms: Option<u16>) -> Option<u16> {
        if let Some(newest) = self.newest {
            let is_overtaken = remote_time_ms.wrapping_sub(newest.remote_time_ms) >= Self::TOP_BIT;
            let silence_ms = local_now_ms.wrapping_sub(newest.received_at_ms);
            if is_overtaken && silence_ms < Self::COMPARABLE_FOR_MS {
                return None;
            }
        }
        let is_another_of_this_read = self.newest.is_some_and(|newest| newest.received_at_ms == local_now_ms);
        if !is_another_of_this_read {
            self.averages_before = self.averages;
        }
        self.newest = Some(NewestRemote { remote_time_ms, received_at_ms: local_now_ms });

        let sample = local_now_ms.wrapping_sub(return_time_ms?);
        if sample >= Self::TOP_BIT {
            // An echo from our future: a clock that was reset, or a lie.
            return None;
        }
        self.averages = self.averages_before.with(f64::from(sample));
        Some(sample)
    }

    /// What our next packet says: the newest remote time plus the milliseconds since it arrived. `None` before the first packet.
    pub fn return_time(&self, now_ms: u16) -> Option<u16> {
        let newest = self.newest?;
        let held_ms = now_ms.wrapping_sub(newest.received_at_ms);
        Some(newest.remote_time_ms.wrapping_add(held_ms))
    }

    /// Smoothed round trip in ms, `0.0..=32767.0`; `None` before the first sample.
    pub fn estimated_ms(&self) -> Option<f32> {
        self.averages.estimate.map(|estimate| estimate as f32)
    }

    /// Smoothed distance of the samples from the estimate, in ms; 0 before the second sample.
    pub fn deviation_ms(&self) -> f32 {
        self.averages.deviation as f32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_sample_is_taken_as_it_is_and_later_ones_count_an_eighth() {
        let mut rtt = RttEstimator::new();
        assert_eq!(rtt.estimated_ms(), None);
        assert_eq!(rtt.on_packet(100, 5000, Some(20)), Some(80));
        assert_eq!((rtt.estimated_ms(), rtt.deviation_ms()), (Some(80.0), 0.0));
        assert_eq!(rtt.on_packet(260, 5016, Some(100)), Some(160));
        assert_eq!(rtt.estimated_ms(), Some(90.0));
        // A quarter of |160 - 90|.
        assert_eq!(rtt.deviation_ms(), 17.5);
    }

    #[test]
    fn the_echo_is_the_newest_remote_time_plus_the_time_it_was_held() {
        let mut rtt = RttEstimator::new();
        assert_eq!(rtt.return_time(1), None);
        rtt.on_packet(65_530, 65_000, None);
        assert_eq!(rtt.return_time(65_530), Some(65_000));
        assert_eq!(rtt.return_time(4), Some(65_010));
        assert_eq!(rtt.return_time(1_000), Some(65_000_u16.wrapping_add(1_006)));
    }

    #[test]
    fn a_packet_that_was_overtaken_changes_nothing() {
        let mut rtt = RttEstimator::new();
        rtt.on_packet(100, 50, Some(60));
        assert_eq!(rtt.on_packet(120, 49, Some(10)), None);
        assert_eq!(rtt.estimated_ms(), Some(40.0));
        assert_eq!(rtt.return_time(120), Some(70));
        // The same millisecond again is not older.
        assert_eq!(rtt.on_packet(120, 50, Some(80)), Some(40));
        // Newer across the wrap of the remote clock.
        rtt.on_packet(130, 65_535_u16.wrapping_add(51), None);
        assert_eq!(rtt.on_packet(140, 55, Some(100)), Some(40));
    }

    #[test]
    fn an_echo_from_the_future_gives_no_sample() {
        let mut rtt = RttEstimator::new();
        assert_eq!(rtt.on_packet(100, 1, Some(101)), None);
        assert_eq!(rtt.estimated_ms(), None);
        assert_eq!(rtt.on_packet(100, 2, Some(100_u16.wrapping_sub(0x8000))), None);
        assert_eq!(rtt.on_packet(100, 3, Some(100_u16.wrapping_sub(0x7FFF))), Some(0x7FFF));
    }

    #[test]
    fn after_a_long_silence_the_next_packet_counts() {
        let mut rtt = RttEstimator::new();
        rtt.on_packet(0, 0, Some(0));
        // 40 s later on both clocks: the remote time seems older to a 16-bit comparison.
        assert_eq!(rtt.on_packet(40_000, 40_000, Some(39_950)), Some(50));
    }

    #[test]
    fn of_packets_that_waited_for_the_same_read_only_the_newest_counts() {
        let mut rtt = RttEstimator::new();
        rtt.on_packet(100, 50, Some(60));
        // A stall of a second: 60 packets are read at once.
        for packet in 0..60 {
            let sent = 66 + packet * 16;
            rtt.on_packet(1_140, sent, Some(76 + packet * 16));
        }
        let last_sample = f64::from(1_140 - 76 - 59 * 16);
        assert_eq!(f64::from(rtt.estimated_ms().unwrap()), 40.0 + (last_sample - 40.0) / 8.0);
    }

    #[test]
    fn a_steady_round_trip_is_met_exactly_and_its_deviation_goes_to_nothing() {
        let mut rtt = RttEstimator::new();
        let mut now = 60_000_u16;
        rtt.on_packet(now, now, Some(now.wrapping_sub(300)));
        for _ in 0..200 {
            now = now.wrapping_add(16);
            rtt.on_packet(now, now, Some(now.wrapping_sub(100)));
        }
        assert!((rtt.estimated_ms().unwrap() - 100.0).abs() < 0.001);
        assert!(rtt.deviation_ms() < 0.01);
    }

    proptest! {
        #[test]
        fn any_header_leaves_the_estimates_in_range(headers in prop::collection::vec(any::<(u16, u16, Option<u16>)>(), 0..200)) {
            let mut rtt = RttEstimator::new();
            for (now, remote, echo) in headers {
                rtt.on_packet(now, remote, echo);
                prop_assert!((0.0..=32_767.0).contains(&rtt.estimated_ms().unwrap_or(0.0)));
                prop_assert!((0.0..=32_767.0).contains(&rtt.deviation_ms()));
            }
        }
    }
}

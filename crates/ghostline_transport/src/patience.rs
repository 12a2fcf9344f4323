//! The time by which a driver loses patience with the other side: the caller's, of which no single step counts for more
//! than a bound. Advanced with every poll; what waits for an answer notes when it began by this clock.

use core::time::Duration;

use crate::settings::DriverSettings;

/// Time that counts toward time-outs. It begins with the first step's own time, and never goes backwards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// What one step counts for at most.
    max_step: Duration,
    last: Option<Duration>,
    waited: Duration,
}

impl Patience {
    pub(crate) fn new(settings: &DriverSettings) -> Self {
        let max_step = match settings.max_frame_time_ms {
            0 => Duration::MAX,
            ms => Duration::from_millis(ms.into()),
        };
        Self { max_step, last: None, waited: Duration::ZERO }
    }

    /// Goes on to the caller's `now`, and returns what that is by this clock.
    pub(crate) fn advance(&mut self, now: Duration) -> Duration {
        let last = self.last.unwrap_or(now);
        self.waited = match self.last {
            None => now,
            Some(last) => self.waited.saturating_add(now.saturating_sub(last).min(self.max_step)),
        };
        self.last = Some(last.max(now));
        self.waited
    }

    /// The time of the last step.
    #[cfg(feature = "quic")]
    pub(crate) fn now(&self) -> Duration {
        self.waited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience(max_frame_time_ms: u32) -> Patience {
        Patience::new(&DriverSettings { max_frame_time_ms, ..DriverSettings::default() })
    }

    #[test]
    fn a_long_step_counts_for_no_more_than_the_bound() {
        let mut patience = patience(100);
        let waited: Vec<u128> = [5_000, 5_016, 5_116, 65_116, 65_000, 65_120]
            .into_iter()
            .map(|ms| patience.advance(Duration::from_millis(ms)).as_millis())
            .collect();
        assert_eq!(waited, [5_000, 5_016, 5_116, 5_216, 5_216, 5_220]);
    }

    #[test]
    fn without_a_bound_all_of_it_counts() {
        let mut patience = patience(0);
        patience.advance(Duration::ZERO);
        assert_eq!(patience.advance(Duration::from_secs(3_600)), Duration::from_secs(3_600));
    }
}

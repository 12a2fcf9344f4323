//! The driver's time: the caller's `now`, as the kinds of time that quinn-proto asks for.
//! One moment is taken when a driver is made; everything else is that moment plus `now`, so runs repeat.

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use quinn_proto::TimeSource;

use crate::patience::Patience;
use crate::settings::DriverSettings;

/// The caller's time, which never goes backwards.
pub(super) struct Clock {
    epoch: Instant,
    now: Duration,
    patience: Patience,
    shared: SharedTime,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "quinn-proto counts in `Instant`s, and there is no other way to one")]
    pub(super) fn new(settings: &DriverSettings) -> Self {
        let patience = Patience::new(settings);
        Self { epoch: Instant::now(), now: Duration::ZERO, patience, shared: SharedTime::default() }
    }

    /// Goes on to `now`.
    pub(super) fn advance(&mut self, now: Duration) {
        self.now = self.now.max(now);
        self.patience.advance(now);
        self.shared.0.store(u64::try_from(self.now.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Duration {
        self.now
    }

    /// The time that counts toward time-outs.
    pub(super) fn patience(&self) -> Duration {
        self.patience.now()
    }

    pub(super) fn instant(&self) -> Instant {
        self.epoch.checked_add(self.now).unwrap_or(self.epoch)
    }

    /// For the life of Retry tokens.
    pub(super) fn shared(&self) -> SharedTime {
        self.shared.clone()
    }
}

/// The same time in whole milliseconds, for where quinn-proto wants the time of day.
#[derive(Clone, Default)]
pub(super) struct SharedTime(Arc<AtomicU64>);

impl TimeSource for SharedTime {
    fn now(&self) -> SystemTime {
        let since = Duration::from_millis(self.0.load(Ordering::Relaxed));
        SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

//! How time passes in a run: as on the clock on the wall, or as fast as the machine goes.

use std::time::{Duration, Instant};

use crate::args::Args;

/// How time passes.
pub struct Pace {
    tick: Duration,
    /// When the last frame began; `None` in virtual time.
    last: Option<Instant>,
}

impl Pace {
    /// In real or virtual time, as the arguments say.
    pub fn new(args: &Args) -> Self {
        let last = (!args.virtual_time).then(Instant::now);
        Self { tick: args.tick_length(), last }
    }

    /// Waits for the next frame; returns its length.
    pub fn next(&mut self) -> Duration {
        let Some(last) = self.last else { return self.tick };
        std::thread::sleep(self.tick.saturating_sub(last.elapsed()));
        let now = Instant::now();
        self.last = Some(now);
        now - last
    }
}

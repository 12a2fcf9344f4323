//! Lines of the log that somebody else can bring about, or a game that is wrong in every tick: some per second, the rest is counted.

use bevy_ecs::prelude::Resource;
use std::fmt;
use std::time::Duration;

/// At most so many lines per second.
#[derive(Debug)]
pub(crate) struct LogLimit {
    lines_per_second: u32,
    since: Option<Duration>,
    logged: u32,
    unlogged: u32,
}

impl LogLimit {
    pub(crate) const fn new(lines_per_second: u32) -> Self {
        Self { lines_per_second, since: None, logged: 0, unlogged: 0 }
    }

    /// Whether a line may be logged now, and how many were not since the last one.
    pub(crate) fn take_turn(&mut self, now: Duration) -> Option<Unlogged> {
        if self.since.is_none_or(|since| now.saturating_sub(since) >= Duration::from_secs(1)) {
            self.since = Some(now);
            self.logged = 0;
        }
        if self.logged >= self.lines_per_second {
            self.unlogged = self.unlogged.saturating_add(1);
            return None;
        }
        self.logged += 1;
        Some(Unlogged(std::mem::take(&mut self.unlogged)))
    }
}

/// How many lines were not logged; prints behind a line as nothing, or as ` (and 7 more like it)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unlogged(u32);

impl fmt::Display for Unlogged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            more => write!(f, " (and {more} more like it)"),
        }
    }
}

/// The limits of a network world, one for each kind of line.
#[derive(Resource, Debug)]
pub(crate) struct LogLimits {
    /// Peers that speak another protocol; a whole report each.
    pub mismatches: LogLimit,
    /// Connections that are closed for what they sent.
    pub refusals: LogLimit,
    /// Messages that could not be read, beside the limit of each connection.
    pub unreadable: LogLimit,
    /// Handshakes and approvals that took too long.
    pub timeouts: LogLimit,
    /// RPCs of the game that could not be sent.
    pub unsent: LogLimit,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            mismatches: LogLimit::new(1),
            refusals: LogLimit::new(4),
            unreadable: LogLimit::new(8),
            timeouts: LogLimit::new(4),
            unsent: LogLimit::new(8),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_are_logged_per_second_and_the_rest_is_counted() {
        let mut limit = LogLimit::new(2);
        let turns: Vec<Unlogged> = (0..3_000).filter_map(|ms| limit.take_turn(Duration::from_millis(ms))).collect();
        assert_eq!(turns, [0, 0, 998, 0, 998, 0].map(Unlogged));
        assert_eq!(Unlogged(0).to_string() + &Unlogged(7).to_string(), " (and 7 more like it)");
    }
}

//! The last seconds of a few figures, for the plots.

use std::collections::VecDeque;
use std::time::Duration;

use crate::report::traffic;
use crate::session::Session;

/// A point of a plot stands for so much time.
const STEP: Duration = Duration::from_millis(200);
/// So many points are kept: 20 seconds.
const POINTS: usize = 100;

/// One figure over time, the newest last.
#[derive(Default, Clone, Debug)]
pub struct Plot(VecDeque<f64>);

impl Plot {
    /// Adds a value; the oldest goes.
    pub fn push(&mut self, value: f64) {
        if self.0.len() == POINTS {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    /// The newest value; 0 if there is none.
    pub fn newest(&self) -> f64 {
        self.0.back().copied().unwrap_or_default()
    }

    /// The largest value; 0 if there is none.
    pub fn max(&self) -> f64 {
        self.0.iter().copied().fold(0.0, f64::max)
    }

    /// Points with their seconds before now (negative).
    pub fn points(&self) -> Vec<(f64, f64)> {
        let count = self.0.len();
        self.0
            .iter()
            .enumerate()
            .map(|(index, &value)| (-((count - 1 - index) as f64) * STEP.as_secs_f64(), value))
            .collect()
    }

    /// How far back a plot reaches, in seconds.
    pub fn reach() -> f64 {
        (POINTS - 1) as f64 * STEP.as_secs_f64()
    }
}

/// All plots.
#[derive(Default, Debug)]
pub struct History {
    /// The client's round trip in milliseconds.
    pub round_trip_ms: Plot,
    /// How far the client's prediction was off where it was corrected since the point before, in centimetres; 0 if it never was.
    pub prediction_error_cm: Plot,
    /// Bytes that the server sends to each client, headers included, in kB/s; of a client alone, what its server sends to it.
    pub kb_s_per_client: Plot,
    /// Players in the game, on the server.
    pub players: Plot,
    /// CPU time of the server, in milliseconds per tick.
    pub server_ms: Plot,
    next: Duration,
    wire_bytes: u64,
    corrections: usize,
}

impl History {
    /// Looks at the session after a frame.
    pub fn note(&mut self, session: &mut Session) {
        let now = session.worlds.now();
        if now < self.next {
            return;
        }
        self.next = now + STEP;
        let bytes = traffic::bytes_down(session);
        let new_bytes = bytes.saturating_sub(std::mem::replace(&mut self.wire_bytes, bytes));
        let served = if session.worlds.server_world().is_some() { session.served() } else { 1 };
        self.kb_s_per_client.push(new_bytes as f64 / 1e3 / STEP.as_secs_f64() / served.max(1) as f64);
        self.players.push(served as f64);
        self.server_ms.push(session.samples.server_tick_ms.last().into());
        self.round_trip_ms.push(session.samples.rtt_ms.last().into());
        let corrections = session.samples.prediction_error_m.count();
        let is_new = corrections > std::mem::replace(&mut self.corrections, corrections);
        let error = if is_new { session.samples.prediction_error_m.last() } else { 0.0 };
        self.prediction_error_cm.push(f64::from(error) * 100.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_keeps_its_newest_points_and_ends_now() {
        let mut plot = Plot::default();
        assert_eq!((plot.newest(), plot.max(), plot.points().len()), (0.0, 0.0, 0));
        for value in 0..POINTS + 5 {
            plot.push(value as f64);
        }
        let points = plot.points();
        assert_eq!(points.len(), POINTS);
        assert_eq!((points[0].1, points[POINTS - 1]), (5.0, (0.0, (POINTS + 4) as f64)));
        assert_eq!(points[0].0, -Plot::reach());
    }
}

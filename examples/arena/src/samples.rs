//! What is measured frame by frame, and the figures that are made of it. Plain numbers; nothing here knows a world.

use ghostline::prelude::NetworkTime;
use ghostline::stats::PredictionStats;
use std::time::Duration;

/// Numbers of which a report wants the middle and the far end; the newest [`Distribution::CAPACITY`] of them.
#[derive(Default, Clone, Debug)]
pub struct Distribution {
    values: Vec<f32>,
    /// All that were ever added.
    count: usize,
}

impl Distribution {
    /// An hour at 60 values per second, and some more.
    pub const CAPACITY: usize = 1 << 18;

    /// Adds one.
    pub fn add(&mut self, value: f32) {
        match self.values.get_mut(self.count % Self::CAPACITY) {
            Some(oldest) => *oldest = value,
            None => self.values.push(value),
        }
        self.count += 1;
    }

    /// How many were ever added.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The newest; 0 if there is none.
    pub fn last(&self) -> f32 {
        let newest = self.count.checked_sub(1).and_then(|newest| self.values.get(newest % Self::CAPACITY));
        newest.copied().unwrap_or_default()
    }

    /// The value below which `share` (0 to 1) of all lie; 0 if there are none.
    pub fn quantile(&self, share: f32) -> f32 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f32::total_cmp);
        let place = (share * sorted.len().saturating_sub(1) as f32).round() as usize;
        sorted.get(place).copied().unwrap_or_default()
    }
}

/// The measurements of a run.
#[derive(Default, Clone, Debug)]
pub struct Samples {
    /// Milliseconds of CPU time that the server world took for a tick, snapshots to all clients included.
    pub server_tick_ms: Distribution,
    /// Milliseconds of CPU time that all clients together took for a frame.
    pub clients_frame_ms: Distribution,
    /// The client's smoothed round trip in milliseconds.
    pub rtt_ms: Distribution,
    /// How far the client's interpolation lies behind its prediction, in ticks.
    pub interpolation_delay_ticks: Distribution,
    /// How far the client's own player was from where the server says, in metres, whenever a prediction was corrected.
    pub prediction_error_m: Distribution,
    corrections: u64,
    /// Frames in which the server ran more than one tick.
    pub frames_with_several_ticks: u64,
    /// All frames.
    pub frames: u64,
    /// Ticks of the server, and those times the clients that were in the game.
    pub ticks: u64,
    served_ticks: u64,
    /// CPU time of the server's world.
    pub server_cpu: Duration,
    /// CPU time of all clients' worlds.
    pub clients_cpu: Duration,
}

impl Samples {
    /// As at the beginning, but for what has been taken in already.
    pub fn begun_anew(&self) -> Self {
        Self { corrections: self.corrections, ..Self::default() }
    }

    /// How many clients were in the game on average; at least 1.
    pub fn served(&self) -> f64 {
        (self.served_ticks as f64 / self.ticks.max(1) as f64).max(1.0)
    }

    /// The CPU times that a frame took, the ticks that the server simulated in it, and for how many clients in the game.
    pub fn add_frame(&mut self, clients: Duration, server: Duration, ticks: u32, served: usize) {
        self.ticks += u64::from(ticks);
        self.served_ticks += u64::from(ticks) * served as u64;
        self.frames += 1;
        self.clients_cpu += clients;
        self.server_cpu += server;
        self.clients_frame_ms.add(clients.as_secs_f32() * 1e3);
        if ticks > 0 {
            self.server_tick_ms.add(server.as_secs_f32() * 1e3 / ticks as f32);
        }
        self.frames_with_several_ticks += u64::from(ticks > 1);
    }

    /// What the client's prediction has come to after a frame.
    pub fn add_prediction(&mut self, stats: &PredictionStats) {
        let position =
            stats.errors.iter().find(|error| error.ghost_type == "player" && error.field == "Position.value");
        // Of several corrections in one frame the last one stands for all.
        if let Some(position) = position.filter(|position| position.count > self.corrections) {
            self.corrections = position.count;
            self.prediction_error_m.add(position.last);
        }
    }

    /// What the client knows of time after a frame.
    pub fn add_client(&mut self, rtt_ms: Option<f32>, time: &NetworkTime) {
        if let Some(rtt_ms) = rtt_ms {
            self.rtt_ms.add(rtt_ms);
        }
        if let (Some(predicted), Some(interpolated)) = (time.server_tick, time.interpolation_tick) {
            let fractions = time.server_tick_fraction - time.interpolation_tick_fraction;
            self.interpolation_delay_ticks.add(predicted.ticks_since(interpolated) as f32 + fractions);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_there() {
        let mut numbers = Distribution::default();
        assert_eq!(numbers.quantile(0.5), 0.0);
        for value in (1..=101).rev() {
            numbers.add(value as f32);
        }
        assert_eq!(
            (numbers.quantile(0.0), numbers.quantile(0.5), numbers.quantile(0.99), numbers.quantile(1.0)),
            (1.0, 51.0, 100.0, 101.0)
        );
    }

    #[test]
    fn of_many_values_the_newest_are_kept() {
        let mut numbers = Distribution::default();
        for value in 0..Distribution::CAPACITY + 10 {
            numbers.add(value as f32);
        }
        assert_eq!((numbers.quantile(0.0), numbers.last()), (10.0, (Distribution::CAPACITY + 9) as f32));
    }

    #[test]
    fn a_frame_without_a_tick_says_nothing_about_ticks() {
        let mut samples = Samples::default();
        samples.add_frame(Duration::from_millis(1), Duration::from_millis(1), 0, 5);
        assert_eq!(samples.server_tick_ms.quantile(0.5), 0.0);
        samples.add_frame(Duration::from_millis(1), Duration::from_millis(4), 2, 5);
        assert_eq!((samples.server_tick_ms.quantile(0.5), samples.frames_with_several_ticks), (2.0, 1));
        assert_eq!(samples.served(), 5.0);
    }
}

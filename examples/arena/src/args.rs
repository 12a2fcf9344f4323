//! What the command line can say. Parsed once in `main`; everything else takes these values as they are.

use clap::Parser;
use std::time::Duration;

/// A small arena on ghostline: one process with a server, a client and thin clients, and a report at the end.
///
/// Exit status: 0 if every invariant of the report held, 1 if one failed, 2 for a mistake in the arguments.
#[derive(Parser, Clone, Debug, PartialEq)]
#[command(version, about)]
pub struct Args {
    /// Plays without drawing: progress lines, then the report.
    #[arg(long)]
    pub headless: bool,

    /// How long to play, in seconds of game time; a still moment at the end comes on top [default: 10 without drawing, else until q].
    #[arg(long, value_parser = seconds, value_name = "SECONDS")]
    pub seconds: Option<f64>,

    /// Seed of the bots and of the wandering ghosts. With --virtual, equal seeds play equal games.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// How many thin clients play beside the client.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(..=1000), value_name = "N")]
    pub thin_clients: u32,

    /// How many ghosts wander about.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(..=100_000), value_name = "N")]
    pub wanderers: u32,

    /// Ticks per second.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1000), value_name = "HZ")]
    pub tick_rate: u32,

    /// Round trip of every link, in milliseconds.
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u32).range(..=2000), value_name = "MS")]
    pub rtt: u32,

    /// Jitter in each direction of every link, in milliseconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(..=1000), value_name = "MS")]
    pub jitter: u32,

    /// How many packets are lost in each direction of every link, in percent.
    #[arg(long, default_value_t = 2.0, value_parser = percent, value_name = "PERCENT")]
    pub loss: f32,

    /// Virtual time: no sleeping, one tick per frame, as fast as the machine goes.
    #[arg(long = "virtual")]
    pub virtual_time: bool,
}

impl Args {
    const DEFAULT_DURATION: Duration = Duration::from_secs(10);

    /// How long to play without drawing.
    pub fn duration(&self) -> Duration {
        self.wanted_duration().unwrap_or(Self::DEFAULT_DURATION)
    }

    /// How long to play, if that was said.
    pub fn wanted_duration(&self) -> Option<Duration> {
        self.seconds.map(Duration::from_secs_f64)
    }

    /// The length of one tick.
    pub fn tick_length(&self) -> Duration {
        Duration::from_secs(1) / self.tick_rate
    }
}

/// Up to a day, so that every sum of durations fits.
fn seconds(text: &str) -> Result<f64, String> {
    const LONGEST: f64 = 86_400.0;
    let value: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if value > 0.0 && value <= LONGEST {
        Ok(value)
    } else {
        Err(format!("{value} is not above 0 and at most {LONGEST}"))
    }
}

/// Not all packets can be lost, or nobody ever connects.
fn percent(text: &str) -> Result<f32, String> {
    const MOST: f32 = 50.0;
    let value: f32 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if (0.0..=MOST).contains(&value) { Ok(value) } else { Err(format!("{value} is not from 0 to {MOST}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_that_the_readme_promises() {
        let args = Args::parse_from(["arena"]);
        assert_eq!((args.duration().as_secs(), args.seed, args.thin_clients, args.tick_rate), (10, 1, 8, 60));
        assert_eq!((args.rtt, args.jitter, args.loss), (80, 10, 2.0));
        assert!(!args.headless && !args.virtual_time);
    }

    #[test]
    fn durations_that_make_no_sense_are_refused() {
        for text in ["0", "-1", "NaN", "inf", "1e9", "soon"] {
            assert!(Args::try_parse_from(["arena", &format!("--seconds={text}")]).is_err(), "{text}");
        }
    }
}

//! The commands `common`, `cubes`, `asteroids`, `keys`, `prediction` and `thin`: one line of JSON each, `keys` several. What can't be run is said on the
//! error output, with status 2.

use clap::{Parser, Subcommand, ValueEnum};
use ghostline_bench::asteroids;
use ghostline_bench::common::{self, Setup};
use ghostline_bench::cubes::{self, Options};
use ghostline_bench::keys::{self, Figures};
use ghostline_bench::prediction::{self, Wrong};
use ghostline_bench::thin;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "Measures ghostline: one line of JSON per run")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Whole worlds: a server, clients, agents that walk.
    Common {
        /// Agents.
        #[arg(long, default_value_t = 1000)]
        n: usize,
        /// Clients.
        #[arg(long, default_value_t = 16)]
        c: usize,
        /// Share of agents that moves.
        #[arg(long, default_value_t = 1.0)]
        p: f64,
        /// Age of the newest acknowledged baseline, in ticks: the round trip.
        #[arg(long, default_value_t = 6)]
        lag: u64,
        /// Ticks that are measured.
        #[arg(long, default_value_t = 300)]
        ticks: usize,
        /// Ticks of motion before.
        #[arg(long, default_value_t = 60)]
        warm: usize,
        /// Share of packets that is lost, each way.
        #[arg(long, default_value_t = 0.0)]
        loss: f32,
        /// Seed of the losses.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Ticks without motion after the agents have appeared.
        #[arg(long, default_value_t = 0)]
        idle: usize,
        /// Print what the bits of packets are spent on, to the error output. Times are longer then.
        #[arg(long)]
        bits: bool,
    },
    /// Cube traces through the codec.
    Cubes {
        /// Unpacked frames of 901 × 8 little-endian i32.
        file: PathBuf,
        /// Age of the newest acknowledged baseline, in frames.
        #[arg(long, default_value_t = 6)]
        lag: u32,
        /// Which tier of the codec.
        #[arg(long, value_enum, default_value_t = Tier::Fast)]
        tier: Tier,
        /// Share of packets that is lost, each way.
        #[arg(long, default_value_t = 0.0)]
        loss: f32,
        /// Seed of the losses.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Trained tables.
        #[arg(long)]
        tables: Option<PathBuf>,
        /// Print what the bits of packets are spent on, to the error output. Times are longer then.
        #[arg(long)]
        bits: bool,
    },
    /// What prediction costs beside the simulation that it repeats.
    Prediction {
        /// Ghosts that are predicted.
        #[arg(long, default_value_t = 1000)]
        n: usize,
        /// Interpolated ghosts beside them.
        #[arg(long, default_value_t = 0)]
        crowd: usize,
        /// Ticks that a rollback repeats.
        #[arg(long, default_value_t = 8)]
        replay: u64,
        /// How many ghosts are put back in each tick: a number, or all if it is left out.
        #[arg(long)]
        wrong: Option<usize>,
        /// Rounds of arithmetic per ghost and tick, about three nanoseconds each.
        #[arg(long, default_value_t = 10)]
        work: u32,
        /// Frames that are measured.
        #[arg(long, default_value_t = 100)]
        frames: usize,
    },
    /// A server and many thin clients in one process, in real time.
    Thin {
        /// Thin clients.
        #[arg(long, default_value_t = 500)]
        thin: u32,
        /// Full clients beside them.
        #[arg(long, default_value_t = 1)]
        full: u32,
        /// Ghosts that walk, besides a player for each client.
        #[arg(long, default_value_t = 100)]
        ghosts: usize,
        /// Seconds that are measured.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Threads that the worlds of a stage share.
        #[arg(long, default_value_t = 1)]
        threads: usize,
        /// Over UDP on this machine instead of in memory.
        #[arg(long)]
        udp: bool,
    },
    /// What each kind of baseline key costs and saves, over links that differ.
    Keys {
        /// Agents.
        #[arg(long, default_value_t = 1000)]
        n: usize,
        /// Clients.
        #[arg(long, default_value_t = 64)]
        c: usize,
        /// Share of agents that moves.
        #[arg(long, default_value_t = 1.0)]
        p: f64,
        /// Ticks that are measured.
        #[arg(long, default_value_t = 600)]
        ticks: usize,
        /// Ticks of motion before.
        #[arg(long, default_value_t = 240)]
        warm: usize,
        /// Any packet takes up to so much longer, in ms.
        #[arg(long, default_value_t = 8.0)]
        jitter: f32,
        /// Seed of everything that the links do.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Drifting asteroids through the codec.
    Asteroids {
        /// Age of the newest acknowledged baseline, in frames.
        #[arg(long, default_value_t = 3)]
        lag: u32,
        /// Print what the bits of packets are spent on, to the error output. Times are longer then.
        #[arg(long)]
        bits: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Tier {
    Fast,
    Dense,
}

fn main() -> ExitCode {
    let report = match Arguments::parse().command {
        Command::Common { n, c, p, lag, ticks, warm, loss, seed, idle, bits } => {
            let setup = Setup { agents: n, clients: c, moving: p, lag, ticks, warm, idle, loss, seed, bits };
            Ok(common::run(setup))
        }
        Command::Cubes { file, lag, tier, loss, seed, tables, bits } => {
            let tier = match tier {
                Tier::Fast => cubes::Tier::Fast,
                Tier::Dense => cubes::Tier::Dense,
            };
            cubes::run(&Options { file: &file, lag, tier, loss, seed, tables: tables.as_deref(), bits })
        }
        Command::Prediction { n, crowd, replay, wrong, work, frames } => {
            let wrong = match wrong {
                None => Wrong::Everybody,
                Some(0) => Wrong::Nobody,
                Some(count) => Wrong::Some(count),
            };
            Ok(prediction::run(prediction::Setup { ghosts: n, crowd, replayed: replay, wrong, work, frames }))
        }
        Command::Thin { thin, full, ghosts, seconds, threads, udp } => {
            thin::run(thin::Setup { thin, full, ghosts, seconds, threads, udp })
        }
        Command::Keys { n, c, p, ticks, warm, jitter, seed } => {
            let setup = keys::Setup { agents: n, clients: c, moving: p, ticks, warm, jitter_ms: jitter, seed };
            tell(Figures::TABLE_HEAD);
            keys::run(&setup, |figures| {
                figures.report().print();
                tell(&figures.table_row());
            });
            return ExitCode::SUCCESS;
        }
        Command::Asteroids { lag, bits } => Ok(asteroids::run(lag, bits)),
    };
    match report {
        Ok(report) => {
            report.print();
            ExitCode::SUCCESS
        }
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &str) -> ExitCode {
    tell(error);
    ExitCode::from(2)
}

#[expect(clippy::print_stderr, reason = "the standard output is for lines of JSON")]
fn tell(line: &str) {
    eprintln!("{line}");
}

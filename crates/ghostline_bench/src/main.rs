//! The commands: `common`, one line of JSON each. A run that gives wrong rows, or none, ends with a status that says so.

use clap::{Parser, Subcommand};
use ghostline_bench::common::{self, Setup};
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
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Common { n, c, p, lag, ticks, warm, loss, seed, idle } => {
            let setup = Setup { agents: n, clients: c, moving: p, lag, ticks, warm, idle, loss, seed };
            common::run(setup).print();
        }
    }
    ExitCode::SUCCESS
}

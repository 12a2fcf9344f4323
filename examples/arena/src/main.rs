//! arena: a server, a client and thin clients in one process. Players move, jump and fire at ghosts that wander about.
//! From the command line (`args`) to a run (`session`, driven by `headless`) to its report, whose invariants decide about the exit status.

#![expect(unreachable_pub, reason = "a program has no public interface; `pub` means shared between its files")]

mod args;
mod bots;
mod game;
mod headless;
mod link;
mod movement;
mod random;
mod report;
mod rules;
mod samples;
mod session;
#[cfg(test)]
mod tests;

use clap::Parser;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::args::Args;
use crate::session::Session;

fn main() -> ExitCode {
    let args = Args::parse();
    log_to_stderr();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Plays, and prints the report; true if every invariant held.
fn run(args: &Args) -> Result<bool, Box<dyn std::error::Error>> {
    let mut session = Session::new(args)?;
    let mut out = io::stdout().lock();
    let report = headless::play(args, &mut session, &mut out)?;
    write!(out, "{report}")?;
    Ok(report.is_good())
}

/// Warnings and errors; `RUST_LOG` asks for more.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
}

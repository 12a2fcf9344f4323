//! arena: a server, a client and thin clients in one process. Players move, jump and fire at ghosts that wander about.
//! From the command line (`args`) to a run (`session`, driven by `headless` or `view`) to its report, whose invariants decide about the exit status.

#![expect(unreachable_pub, reason = "a program has no public interface; `pub` means shared between its files")]

mod args;
mod bots;
mod game;
mod headless;
mod keys;
mod link;
mod logs;
mod movement;
mod pace;
mod random;
mod report;
mod rules;
mod samples;
mod session;
#[cfg(test)]
mod tests;
mod view;

use clap::Parser;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use crate::args::Args;
use crate::report::Report;
use crate::session::Session;

fn main() -> ExitCode {
    let args = Args::parse();
    let is_drawn = !args.headless && !args.virtual_time && io::stdout().is_terminal() && io::stdin().is_terminal();
    match if is_drawn { play_on_screen(&args) } else { play_headless(&args) } {
        Ok(report) if report.is_good() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

type Played = Result<Report, Box<dyn std::error::Error>>;

fn play_headless(args: &Args) -> Played {
    logs::to_stderr();
    let mut session = Session::new(args)?;
    let mut out = io::stdout().lock();
    let report = headless::play(args, &mut session, &mut out)?;
    write!(out, "{report}")?;
    Ok(report)
}

fn play_on_screen(args: &Args) -> Played {
    let logs = logs::to_memory();
    let mut session = Session::new(args)?;
    let played = view::play(args, &mut session, &logs);
    // What was logged while the screen was in use is still worth reading.
    for line in logs.take() {
        writeln!(io::stderr(), "{line}")?;
    }
    let report = played?;
    write!(io::stdout(), "{report}")?;
    Ok(report)
}

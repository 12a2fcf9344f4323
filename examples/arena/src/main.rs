//! arena: a server, a client and thin clients, in one process or each on its own machine. Players move, jump and fire at ghosts that
//! wander about. From the command line (`args`) to a run (`session`, driven by `headless` or `view`) to its report, whose invariants decide
//! about the exit status; what goes wrong on the way is one line (`trouble`).

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
mod trouble;
mod view;

use clap::Parser;
use ghostline::world::ExitSignal;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use crate::args::Args;
use crate::report::Report;
use crate::session::Session;
use crate::trouble::Trouble;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            // Whoever closed stderr doesn't want to know.
            let _closed = writeln!(io::stderr(), "arena: {trouble}");
            ExitCode::from(trouble.status())
        }
    }
}

fn run(args: &Args) -> Result<(), Trouble> {
    if args.link.list_links {
        write!(io::stdout(), "{}", link::list())?;
        return Ok(());
    }
    raise_the_limit_of_sockets();
    let exit = ExitSignal::watch();
    let is_drawn = !args.headless && !args.virtual_time && io::stdout().is_terminal() && io::stdin().is_terminal();
    let report = if is_drawn { play_on_screen(args, &exit)? } else { play_headless(args, &exit)? };
    write!(io::stdout(), "{report}")?;
    if let Some(path) = &args.report {
        let written = std::fs::write(path, report.to_string().trim_start());
        written.map_err(|error| Trouble::File { path: path.clone(), reason: error.to_string() })?;
    }
    if report.is_good() { Ok(()) } else { Err(Trouble::BrokenPromise) }
}

fn play_headless(args: &Args, exit: &ExitSignal) -> Result<Report, Trouble> {
    logs::to_stderr();
    let mut session = Session::new(args)?;
    headless::play(args, &mut session, exit, &mut io::stdout())
}

fn play_on_screen(args: &Args, exit: &ExitSignal) -> Result<Report, Trouble> {
    let logs = logs::to_memory();
    let mut session = Session::new(args)?;
    let played = view::play(args, &mut session, exit, &logs);
    // What was logged while the screen was in use is still worth reading.
    for line in logs.take() {
        writeln!(io::stderr(), "{line}")?;
    }
    played
}

/// Every thin client has a socket of its own, and some systems allow a process few of them.
fn raise_the_limit_of_sockets() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::debug!("the limit of open sockets stays: {error}");
    }
}

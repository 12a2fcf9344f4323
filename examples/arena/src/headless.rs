//! A run without drawing: time passes as on the clock or as fast as the machine goes, with a line per second, and the report.

use ghostline::stats::NetworkStats;
use ghostline::world::ExitSignal;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::args::Args;
use crate::link::Described;
use crate::pace::Pace;
use crate::report::Report;
use crate::session::Session;
use crate::trouble::Trouble;

/// Who has not joined after so long won't.
const JOIN_PATIENCE: Duration = Duration::from_secs(60);

/// Plays for as long as the arguments say or until somebody ends it, and the still moment. The lines go to `out`.
///
/// # Errors
/// The server was lost, or `out` can't be written to.
pub fn play(args: &Args, session: &mut Session, exit: &ExitSignal, out: &mut impl Write) -> Result<Report, Trouble> {
    introduce(args, session, out)?;
    let mut pace = Pace::new(args);
    let mut progress = Progress::default();
    wait_for_everybody(session, exit, &mut pace, &mut progress, out)?;
    session.begin();
    let began = Instant::now();
    let end = args.duration().map(|duration| session.worlds.now() + duration);
    while !exit.is_set() && end.is_none_or(|end| session.worlds.now() < end) {
        session.frame(pace.next())?;
        progress.tell(session, out)?;
    }
    // Whoever asks for the end doesn't want to wait for it.
    if session.is_whole() && !exit.is_set() {
        session.come_to_rest(&mut pace)?;
    }
    Ok(Report::of(session, began.elapsed()))
}

fn introduce(args: &Args, session: &Session, out: &mut impl Write) -> io::Result<()> {
    let thin = match args.thin_clients() {
        0 => String::new(),
        count => format!(", {count} thin clients"),
    };
    let game = format!("{} ticks per second; seed {}", args.tick_rate, args.seed);
    if args.is_whole() {
        writeln!(out, "arena: a server, a client{thin}; {} wanderers; {game}", args.wanderers)?;
    } else if args.is_server() {
        writeln!(out, "arena: a server{thin}; {} wanderers; {game}", args.wanderers)?;
        if let Some(join) = &session.join_string {
            writeln!(out, "join it from this machine:  arena client {}", session.server_place())?;
            writeln!(out, "join it from elsewhere:     arena client {join}")?;
        }
    } else {
        writeln!(out, "arena: a client{thin} of {}; seed {}", session.server_place(), args.seed)?;
    }
    writeln!(out, "every link: {}", Described(&session.links.profile()))?;
    out.flush()
}

/// Until the clients of this process are in the game; a server alone waits for nobody.
fn wait_for_everybody(
    session: &mut Session,
    exit: &ExitSignal,
    pace: &mut Pace,
    progress: &mut Progress,
    out: &mut impl Write,
) -> Result<(), Trouble> {
    let patience = session.worlds.now() + JOIN_PATIENCE;
    while session.joined().0 < session.joined().1 && !exit.is_set() && session.worlds.now() < patience {
        session.frame(pace.next())?;
        progress.tell_joining(session, out)?;
    }
    Ok(())
}

/// One line per second of the game.
#[derive(Default)]
struct Progress {
    seconds: u64,
    snapshot_bytes: u64,
}

impl Progress {
    /// Whether a second has passed since the line before, and how many seconds.
    fn is_due(&mut self, session: &Session) -> Option<f64> {
        let seconds = session.worlds.now().as_secs();
        let since = seconds - std::mem::replace(&mut self.seconds, seconds);
        (since > 0).then_some(since as f64)
    }

    fn tell_joining(&mut self, session: &Session, out: &mut impl Write) -> io::Result<()> {
        let (joined, all) = session.joined();
        if self.is_due(session).is_some() {
            const WIDTH: usize = 40;
            let done = joined * WIDTH / all.max(1);
            writeln!(out, "  joining  [{}{}] {joined} of {all}", "#".repeat(done), ".".repeat(WIDTH - done))?;
            out.flush()?;
        }
        Ok(())
    }

    fn tell(&mut self, session: &mut Session, out: &mut impl Write) -> io::Result<()> {
        let Some(since) = self.is_due(session) else { return Ok(()) };
        let rtt_ms = session.samples.rtt_ms.last();
        write!(out, "  {:>4} s", self.seconds)?;
        if let Some(server) = session.worlds.server_world() {
            let stats = *server.world().resource::<NetworkStats>();
            let bytes =
                stats.sent_snapshot_bytes - std::mem::replace(&mut self.snapshot_bytes, stats.sent_snapshot_bytes);
            write!(
                out,
                "  tick {:>6}  in game {:>4}  snapshots {:>7.1} kB/s  late commands {}",
                session.server_ticks(),
                session.served(),
                bytes as f64 / 1e3 / since,
                stats.late_commands
            )?;
        } else {
            let (joined, all) = session.joined();
            write!(out, "  in game {joined} of {all}")?;
        }
        if session.worlds.client_world().is_some() {
            write!(out, "  round trip {rtt_ms:>5.1} ms")?;
        }
        writeln!(out)?;
        out.flush()
    }
}

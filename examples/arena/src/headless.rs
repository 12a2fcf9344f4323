//! A run without drawing: time passes as on the clock or as fast as the machine goes, with a line per second, and the report.

use bevy_ecs::prelude::World;
use ghostline::connection::NetworkStreamInGame;
use ghostline::stats::NetworkStats;
use std::io::{self, Write};
use std::time::Instant;

use crate::args::Args;
use crate::pace::Pace;
use crate::report::Report;
use crate::session::{STILL, Session};

/// Plays for as long as the arguments say, and the still moment. The lines go to `out`.
///
/// # Errors
/// `out` can't be written to.
pub fn play(args: &Args, session: &mut Session, out: &mut impl Write) -> io::Result<Report> {
    let began = Instant::now();
    writeln!(
        out,
        "arena: a server, a client and {} thin clients; {} wanderers; {} ticks per second; seed {}\n\
         every link: {} ms round trip, {} ms jitter and {} % loss in each direction",
        args.thin_clients, args.wanderers, args.tick_rate, args.seed, args.rtt, args.jitter, args.loss
    )?;
    let mut pace = Pace::new(args);
    let mut progress = Progress::default();
    while session.worlds.now() < args.duration() {
        session.frame(pace.next());
        progress.tell(session, out)?;
    }
    session.be_still();
    let end = session.worlds.now() + STILL;
    while session.worlds.now() < end {
        session.frame(pace.next());
    }
    Ok(Report::of(session, began.elapsed()))
}

/// One line per second of the game.
#[derive(Default)]
struct Progress {
    seconds: u64,
    snapshot_bytes: u64,
}

impl Progress {
    fn tell(&mut self, session: &mut Session, out: &mut impl Write) -> io::Result<()> {
        let seconds = session.worlds.now().as_secs();
        if seconds == self.seconds {
            return Ok(());
        }
        let since = (seconds - self.seconds) as f64;
        self.seconds = seconds;
        let ticks = session.server_ticks();
        let rtt_ms = session.samples.rtt_ms.last();
        let Some(server) = session.worlds.iter_mut().find(|world| world.kind().is_server()) else { return Ok(()) };
        let stats = *server.world().resource::<NetworkStats>();
        let bytes = stats.sent_snapshot_bytes - self.snapshot_bytes;
        self.snapshot_bytes = stats.sent_snapshot_bytes;
        writeln!(
            out,
            "  {seconds:>4} s  tick {ticks:>6}  in game {:>4}  round trip {rtt_ms:>5.1} ms  snapshots {:>7.1} kB/s  late commands {}",
            in_game(server.world_mut()),
            bytes as f64 / 1e3 / since,
            stats.late_commands
        )?;
        out.flush()
    }
}

fn in_game(world: &mut World) -> usize {
    world.query::<&NetworkStreamInGame>().iter(world).count()
}

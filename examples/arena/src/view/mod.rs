//! The arena in a terminal: what the client sees beside the server's truth, and how the network fares. Keys go to the client's player
//! (`keys`), frames to the screen (`draw`); when the player leaves, the still moment and the report follow as in a run without drawing.

mod draw;
mod history;
mod scene;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event;
use std::io;
use std::time::{Duration, Instant};

use self::draw::Picture;
use self::history::History;
use self::scene::Scene;
use crate::args::Args;
use crate::keys::Keys;
use crate::logs::LogLines;
use crate::pace::Pace;
use crate::report::Report;
use crate::session::{STILL, Session};

/// The screen is drawn so often; terminals are slow.
const DRAW_EVERY: Duration = Duration::from_millis(40);

/// Plays until the player leaves, or for as long as the arguments say.
///
/// # Errors
/// The terminal can't be read or written.
pub fn play(args: &Args, session: &mut Session, logs: &LogLines) -> io::Result<Report> {
    let began = Instant::now();
    // This also gives the terminal back if the program panics.
    let mut terminal = ratatui::try_init()?;
    let played = run(args, session, logs, &mut terminal);
    ratatui::restore();
    played?;
    session.be_still();
    let end = session.worlds.now() + STILL;
    while session.worlds.now() < end {
        // Nobody watches any more, so nobody waits.
        session.frame(args.tick_length());
    }
    Ok(Report::of(session, began.elapsed()))
}

fn run(args: &Args, session: &mut Session, logs: &LogLines, terminal: &mut DefaultTerminal) -> io::Result<()> {
    let mut pace = Pace::new(args);
    let mut keys = Keys::default();
    let mut history = History::default();
    let mut drawn: Option<Instant> = None;
    while !keys.quit && args.wanted_duration().is_none_or(|end| session.worlds.now() < end) {
        let now = session.worlds.now();
        while event::poll(Duration::ZERO)? {
            keys.take(&event::read()?, now);
        }
        session.set_hands(keys.hands(now));
        session.frame(pace.next());
        history.note(session);
        if drawn.is_none_or(|at| at.elapsed() >= DRAW_EVERY) {
            drawn = Some(Instant::now());
            let picture = Picture {
                client: Scene::of(session, ghostline::prelude::WorldKind::Client),
                server: Scene::of(session, ghostline::prelude::WorldKind::Server),
                history: &history,
                status: status(args, session),
                log: logs.newest(),
            };
            terminal.draw(|frame| draw::draw(frame, &picture))?;
        }
    }
    Ok(())
}

fn status(args: &Args, session: &Session) -> String {
    format!(
        "tick {}  ·  {} thin clients  ·  links: {} ms round trip, {} ms jitter, {} % loss  ·  seed {}",
        session.server_ticks(),
        args.thin_clients,
        args.rtt,
        args.jitter,
        args.loss,
        args.seed
    )
}

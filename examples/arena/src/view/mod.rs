//! The arena in a terminal: what the client sees beside the server's truth, and how the network fares. Keys go to the client's player
//! and to the simulated link (`keys`), frames to the screen (`draw`); when the player leaves, the still moment and the report follow as
//! in a run without drawing.

mod draw;
mod history;
mod scene;

use ghostline::prelude::WorldKind;
use ghostline::world::ExitSignal;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event;
use std::time::{Duration, Instant};

use self::draw::{Head, Picture};
use self::history::History;
use self::scene::Scene;
use crate::args::Args;
use crate::keys::Keys;
use crate::logs::LogLines;
use crate::pace::Pace;
use crate::report::Report;
use crate::session::Session;
use crate::trouble::Trouble;

/// The screen is drawn so often; terminals are slow.
const DRAW_EVERY: Duration = Duration::from_millis(40);

/// Plays until the player leaves, or for as long as the arguments say.
///
/// # Errors
/// The server was lost, or the terminal can't be read or written.
pub fn play(args: &Args, session: &mut Session, exit: &ExitSignal, logs: &LogLines) -> Result<Report, Trouble> {
    // This also gives the terminal back if the program panics.
    let mut terminal = ratatui::try_init()?;
    let played = run(args, session, exit, logs, &mut terminal);
    ratatui::restore();
    let began = played?;
    if session.is_whole() && !exit.is_set() {
        session.come_to_rest(&mut Pace::new(args))?;
    }
    Ok(Report::of(session, began.elapsed()))
}

/// Returns when the game began.
fn run(
    args: &Args,
    session: &mut Session,
    exit: &ExitSignal,
    logs: &LogLines,
    terminal: &mut DefaultTerminal,
) -> Result<Instant, Trouble> {
    let mut pace = Pace::new(args);
    let mut keys = Keys::default();
    let mut history = History::default();
    let mut drawn: Option<Instant> = None;
    // When everybody was in the game, on the wall's clock and on the game's.
    let mut began: Option<(Instant, Duration)> = None;
    let is_over = |session: &Session, began: Option<(Instant, Duration)>| {
        let (Some(wanted), Some((_, began))) = (args.wanted_duration(), began) else { return false };
        session.worlds.now() >= began + wanted
    };
    while !keys.quit && !exit.is_set() && !is_over(session, began) {
        let now = session.worlds.now();
        while event::poll(Duration::ZERO)? {
            keys.take(&event::read()?, now);
        }
        session.links.step(keys.take_link_steps());
        session.set_hands(keys.hands(now));
        session.frame(pace.next())?;
        let (joined, all) = session.joined();
        if began.is_none() && joined == all {
            session.begin();
            began = Some((Instant::now(), session.worlds.now()));
        }
        history.note(session);
        if drawn.is_none_or(|at| at.elapsed() >= DRAW_EVERY) {
            drawn = Some(Instant::now());
            let picture = Picture {
                head: head(args, session),
                client: session.worlds.client_world().is_some().then(|| Scene::of(session, WorldKind::Client)),
                server: session.worlds.server_world().is_some().then(|| Scene::of(session, WorldKind::Server)),
                history: &history,
                log: logs.newest(),
            };
            terminal.draw(|frame| draw::draw(frame, &picture))?;
        }
    }
    Ok(began.map_or_else(Instant::now, |(at, _)| at))
}

fn head(args: &Args, session: &Session) -> Head {
    let mut words = Vec::new();
    if session.worlds.server_world().is_some() {
        words.push(format!("tick {}", session.server_ticks()));
        words.push(format!("{} Hz", args.tick_rate));
        words.push(format!("{} in game", session.served()));
    } else {
        words.push(format!("playing at {}", session.server_place()));
    }
    words.push(format!("seed {}", args.seed));
    let join = if args.is_server() { session.join_string.as_ref() } else { None };
    Head {
        status: words.join("  ·  "),
        join: join.map(|join| format!("arena client {join}")),
        joining: session.joined(),
        link: session.links.to_string(),
    }
}

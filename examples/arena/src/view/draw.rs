//! A picture of the arena, drawn with ratatui: a head that says what is going on, one or two scenes side by side, three plots below,
//! what the keys do at the bottom.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::canvas::Canvas;
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, LineGauge, Paragraph};

use super::history::{History, Plot};
use super::scene::{Mark, Scene, Shape};
use crate::game::HALF_EXTENT;

/// What the first lines say.
#[derive(Clone, Default, Debug)]
pub struct Head {
    pub status: String,
    /// The command with which others join, for a server.
    pub join: Option<String>,
    /// How many clients are in the game, and how many are to be.
    pub joining: (usize, usize),
    /// The simulated link.
    pub link: String,
}

/// Everything on the screen.
pub struct Picture<'a> {
    pub head: Head,
    /// What the client sees, if there is one.
    pub client: Option<Scene>,
    /// The truth, if the server is here.
    pub server: Option<Scene>,
    pub history: &'a History,
    /// The newest warning or error; empty if there was none.
    pub log: String,
}

/// Draws it.
pub fn draw(frame: &mut Frame<'_>, picture: &Picture<'_>) {
    let [status, below, arenas, plots, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(8),
        Constraint::Length(9),
        Constraint::Length(2),
    ])
    .areas(frame.area());
    draw_head(frame, status, below, &picture.head);
    draw_scenes(frame, arenas, picture);
    let [first, second, third] = Layout::horizontal([Constraint::Fill(1); 3]).areas(plots);
    let history = picture.history;
    if picture.client.is_some() {
        draw_plot(frame, first, "round trip", "ms", &history.round_trip_ms, Color::Cyan);
        draw_plot(frame, second, "prediction error", "cm", &history.prediction_error_cm, Color::Magenta);
    } else {
        draw_plot(frame, first, "players", "", &history.players, Color::Cyan);
        draw_plot(frame, second, "server", "ms per tick", &history.server_ms, Color::Magenta);
    }
    let (title, unit) = ("on the wire, per client", "kB/s down");
    draw_plot(frame, third, title, unit, &history.kb_s_per_client, Color::Yellow);
    draw_keys(frame, keys, picture);
}

fn draw_head(frame: &mut Frame<'_>, status: Rect, below: Rect, head: &Head) {
    let title = Span::from(" arena  ").bold();
    frame.render_widget(Line::from(vec![title, Span::from(head.status.as_str())]), status);
    let (joined, all) = head.joining;
    if joined < all {
        let ratio = joined as f64 / all as f64;
        let gauge = LineGauge::default()
            .label(format!(" joining: {joined} of {all} "))
            .filled_style(Style::new().fg(Color::Green))
            .ratio(ratio);
        frame.render_widget(gauge, below);
    } else if let Some(join) = &head.join {
        frame.render_widget(Line::from(vec![Span::from(" join with  "), Span::from(join.as_str()).green()]), below);
    } else {
        frame.render_widget(Line::from(vec![Span::from(" link  "), Span::from(head.link.as_str()).yellow()]), below);
    }
}

fn draw_scenes(frame: &mut Frame<'_>, area: Rect, picture: &Picture<'_>) {
    let scenes = [(&picture.client, "what the client sees"), (&picture.server, "the server's truth")];
    let scenes: Vec<(&Scene, &str)> =
        scenes.into_iter().filter_map(|(scene, title)| Some((scene.as_ref()?, title))).collect();
    let areas = Layout::horizontal(vec![Constraint::Fill(1); scenes.len()]).split(area);
    // Where the server has the player already: the way between the two is what prediction hides.
    let behind = picture.server.as_ref().and_then(Scene::own).filter(|_| picture.client.is_some());
    for (place, ((scene, title), area)) in scenes.into_iter().zip(areas.iter()).enumerate() {
        draw_scene(frame, *area, title, scene, behind.filter(|_| place == 0));
    }
}

fn draw_keys(frame: &mut Frame<'_>, area: Rect, picture: &Picture<'_>) {
    let mut words = Vec::new();
    let mut key = |key: &'static str, does: &'static str| {
        words.push(Span::from(format!(" {key}")).bold());
        words.push(Span::from(format!(" {does} ")));
    };
    if picture.client.is_some() {
        key("arrows", "move");
        key("space", "jump");
        key("f", "fire");
    }
    key(", .", "another link");
    key("q", "quit");
    words.push(Span::from("    "));
    if picture.client.is_some() {
        words.extend([Span::from("@").green().bold(), Span::from(" you  ")]);
    }
    if picture.client.is_some() && picture.server.is_some() {
        words.extend([Span::from("@").green().dim(), Span::from(" you, on the server  ")]);
    }
    words.extend([
        Span::from("o").cyan(),
        Span::from(" players, ^ in the air  "),
        Span::from("*").yellow(),
        Span::from(" wanderers  "),
        Span::from("·").red(),
        Span::from(" bolts"),
    ]);
    let below = match picture.log.as_str() {
        "" if picture.client.is_some() => Line::from(" a bot plays your part while you press no keys").dim(),
        log => Line::from(format!(" {log}")).red(),
    };
    frame.render_widget(Paragraph::new(vec![Line::from(words), below]), area);
}

fn draw_scene(frame: &mut Frame<'_>, area: Rect, title: &str, scene: &Scene, behind: Option<&Mark>) {
    let place = scene.own().map_or_else(String::new, |own| format!(" you: {:.2}, {:.2} ", own.x, own.z));
    let block = Block::bordered().title(format!(" {title} ")).title_bottom(format!(" {} hits {place}", scene.hits));
    let (width, depth) = (f64::from(HALF_EXTENT.x) + 0.5, f64::from(HALF_EXTENT.y) + 0.5);
    let canvas = Canvas::default().block(block).x_bounds([-width, width]).y_bounds([-depth, depth]).paint(|context| {
        if let Some(behind) = behind {
            context.print(f64::from(behind.x), f64::from(behind.z), Span::from("@").green().dim());
        }
        for mark in &scene.marks {
            context.print(f64::from(mark.x), f64::from(mark.z), symbol(mark));
        }
    });
    frame.render_widget(canvas, area);
}

fn symbol(mark: &Mark) -> Span<'static> {
    match (mark.shape, mark.in_the_air) {
        (Shape::Own, false) => Span::from("@").green().bold(),
        (Shape::Own, true) => Span::from("^").green().bold(),
        (Shape::Player, false) => Span::from("o").cyan(),
        (Shape::Player, true) => Span::from("^").cyan(),
        (Shape::Wanderer, _) => Span::from("*").yellow(),
        (Shape::Bolt, _) => Span::from("·").red(),
    }
}

fn draw_plot(frame: &mut Frame<'_>, area: Rect, title: &str, unit: &str, plot: &Plot, color: Color) {
    let points = plot.points();
    let line = Dataset::default()
        .marker(Marker::Braille)
        .graph_type(GraphType::Line)
        .style(Style::new().fg(color))
        .data(&points);
    let top = nice_bound(plot.max().max(1.0));
    let chart = Chart::new(vec![line])
        .block(Block::bordered().title(format!(" {title}: {:.1} {unit} ", plot.newest())))
        .x_axis(
            Axis::default()
                .bounds([-Plot::reach(), 0.0])
                .labels([format!("-{:.0} s", Plot::reach()), "now".to_owned()]),
        )
        .y_axis(Axis::default().bounds([0.0, top]).labels(["0".to_owned(), format!("{top}")]));
    frame.render_widget(chart, area);
}

/// The smallest of 1, 2, 5, 10, … that is not below `value`.
fn nice_bound(value: f64) -> f64 {
    let mut power = 1.0;
    loop {
        for step in [1.0, 2.0, 5.0] {
            // Not a number, or beyond all plots: any bound is as good.
            if step * power >= value || power > 1e12 {
                return step * power;
            }
        }
        power *= 10.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn screen(picture: &Picture<'_>, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal in memory");
        terminal.draw(|frame| draw(frame, picture)).expect("it can be drawn on");
        terminal.backend().to_string()
    }

    fn mark(shape: Shape, x: f32, in_the_air: bool) -> Mark {
        Mark { shape, x, z: 0.0, in_the_air }
    }

    #[test]
    fn a_picture_shows_both_scenes_the_plots_and_the_keys() {
        let mut history = History::default();
        history.round_trip_ms.push(81.5);
        let marks = vec![mark(Shape::Wanderer, -10.0, false), mark(Shape::Own, 5.0, false)];
        let head = Head {
            status: "tick 7".to_owned(),
            join: None,
            joining: (9, 9),
            link: "80 ms round trip, 2 % loss".to_owned(),
        };
        let picture = Picture {
            head,
            client: Some(Scene { marks, hits: 3 }),
            server: Some(Scene { marks: vec![mark(Shape::Own, 2.0, true)], hits: 4 }),
            history: &history,
            log: "something is wrong".to_owned(),
        };
        let screen = screen(&picture, 120, 40);
        for text in [
            "what the client sees",
            "the server's truth",
            "tick 7",
            "80 ms round trip, 2 % loss",
            "3 hits  you: 5.00, 0.00",
            "4 hits  you: 2.00, 0.00",
            "round trip: 81.5 ms",
            "something is wrong",
            "another link",
            "quit",
        ] {
            assert!(screen.contains(text), "{text} is missing:\n{screen}");
        }
        let arenas: String = screen.lines().skip(2).take(27).collect();
        for symbol in ["@", "*", "^"] {
            assert!(arenas.contains(symbol), "{symbol} is missing:\n{screen}");
        }
    }

    fn picture(history: &History, client: bool, server: bool, joining: (usize, usize)) -> Picture<'_> {
        Picture {
            head: Head { joining, join: server.then(|| "arena client 1.2.3.4:5#hash".to_owned()), ..Head::default() },
            client: client.then(Scene::default),
            server: server.then(Scene::default),
            history,
            log: String::new(),
        }
    }

    #[test]
    fn each_role_shows_what_it_knows_and_who_is_still_joining() {
        let history = History::default();
        let client = screen(&picture(&history, true, false, (1, 1)), 100, 30);
        assert!(client.contains("what the client sees") && !client.contains("truth"), "{client}");
        let server = screen(&picture(&history, false, true, (0, 0)), 100, 30);
        assert!(server.contains("truth") && server.contains("arena client 1.2.3.4:5#hash"), "{server}");
        assert!(!server.contains("you") && !server.contains("fire"), "{server}");
        let joining = screen(&picture(&history, true, true, (120, 501)), 100, 30);
        assert!(joining.contains("joining: 120 of 501"), "{joining}");
    }

    #[test]
    fn a_tiny_terminal_is_no_reason_to_panic() {
        let history = History::default();
        for (width, height) in [(1, 1), (10, 5), (40, 12), (300, 3)] {
            for (client, server) in [(true, true), (true, false), (false, true)] {
                screen(&picture(&history, client, server, (0, 1)), width, height);
            }
        }
    }

    #[test]
    fn bounds_are_round_numbers() {
        for (value, bound) in
            [(0.0, 1.0), (0.3, 1.0), (1.5, 2.0), (2.1, 5.0), (99.0, 100.0), (101.0, 200.0), (f64::INFINITY, 1e13)]
        {
            assert_eq!(nice_bound(value), bound);
        }
    }
}

//! A picture of the arena, drawn with ratatui: two scenes side by side, three plots below, what the keys do at the bottom.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::canvas::Canvas;
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, Paragraph};

use super::history::{History, Plot};
use super::scene::{Mark, Scene, Shape};
use crate::game::HALF_EXTENT;

/// Everything on the screen.
pub struct Picture<'a> {
    pub client: Scene,
    pub server: Scene,
    pub history: &'a History,
    pub status: String,
    /// The newest warning or error; empty if there was none.
    pub log: String,
}

/// Draws it.
pub fn draw(frame: &mut Frame<'_>, picture: &Picture<'_>) {
    let [head, arenas, plots, keys] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(8), Constraint::Length(9), Constraint::Length(2)])
            .areas(frame.area());
    frame.render_widget(Line::from(vec![Span::from("arena  ").bold(), Span::from(picture.status.as_str())]), head);
    let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(arenas);
    draw_scene(frame, left, "what the client sees", &picture.client);
    draw_scene(frame, right, "the server's truth", &picture.server);
    let [first, second, third] = Layout::horizontal([Constraint::Fill(1); 3]).areas(plots);
    let history = picture.history;
    draw_plot(frame, first, "round trip", "ms", &history.round_trip_ms, Color::Cyan);
    draw_plot(frame, second, "snapshots to all clients", "kB/s", &history.snapshots_kb_s, Color::Yellow);
    draw_plot(frame, third, "prediction error", "m", &history.prediction_error_m, Color::Magenta);
    let help = Line::from(vec![
        Span::from(" arrows").bold(),
        Span::from(" move  "),
        Span::from("space").bold(),
        Span::from(" jump  "),
        Span::from("f").bold(),
        Span::from(" fire  "),
        Span::from("q").bold(),
        Span::from(" quit      "),
        Span::from("@").green().bold(),
        Span::from(" you  "),
        Span::from("o").cyan(),
        Span::from(" others  "),
        Span::from("*").yellow(),
        Span::from(" wanderers  "),
        Span::from("·").red(),
        Span::from(" bolts; a bot plays while you don't"),
    ]);
    frame.render_widget(Paragraph::new(vec![help, Line::from(picture.log.as_str()).red()]), keys);
}

fn draw_scene(frame: &mut Frame<'_>, area: Rect, title: &str, scene: &Scene) {
    let place = scene.own().map_or_else(String::new, |own| format!(" you: {:.2}, {:.2} ", own.x, own.z));
    let block = Block::bordered().title(format!(" {title} ")).title_bottom(format!(" {} hits {place}", scene.hits));
    let (width, depth) = (f64::from(HALF_EXTENT.x) + 0.5, f64::from(HALF_EXTENT.y) + 0.5);
    let canvas = Canvas::default().block(block).x_bounds([-width, width]).y_bounds([-depth, depth]).paint(|context| {
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
    let top = nice_bound(plot.max());
    let chart = Chart::new(vec![line])
        .block(Block::bordered().title(format!(" {title}: {:.2} {unit} ", plot.newest())))
        .x_axis(
            Axis::default()
                .bounds([-Plot::reach(), 0.0])
                .labels([format!("-{:.0} s", Plot::reach()), "now".to_owned()]),
        )
        .y_axis(Axis::default().bounds([0.0, top]).labels(["0".to_owned(), format!("{top}")]));
    frame.render_widget(chart, area);
}

/// The smallest of 0.01, 0.02, 0.05, 0.1, … that is not below `value`.
fn nice_bound(value: f64) -> f64 {
    let mut power = 0.01;
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
        let picture = Picture {
            client: Scene { marks, hits: 3 },
            server: Scene { marks: vec![mark(Shape::Own, 2.0, true)], hits: 4 },
            history: &history,
            status: "tick 7".to_owned(),
            log: "something is wrong".to_owned(),
        };
        let screen = screen(&picture, 120, 40);
        for text in [
            "what the client sees",
            "the server's truth",
            "tick 7",
            "3 hits  you: 5.00, 0.00",
            "4 hits  you: 2.00, 0.00",
            "round trip: 81.50 ms",
            "something is wrong",
            "quit",
        ] {
            assert!(screen.contains(text), "{text} is missing:\n{screen}");
        }
        let arenas: String = screen.lines().skip(1).take(28).collect();
        for symbol in ["@", "*", "^"] {
            assert!(arenas.contains(symbol), "{symbol} is missing:\n{screen}");
        }
    }

    #[test]
    fn a_tiny_terminal_is_no_reason_to_panic() {
        let history = History::default();
        for (width, height) in [(1, 1), (10, 5), (40, 12), (300, 3)] {
            let picture = Picture {
                client: Scene::default(),
                server: Scene::default(),
                history: &history,
                status: String::new(),
                log: String::new(),
            };
            screen(&picture, width, height);
        }
    }

    #[test]
    fn bounds_are_round_numbers() {
        for (value, bound) in
            [(0.0, 0.01), (0.3, 0.5), (1.5, 2.0), (2.1, 5.0), (99.0, 100.0), (101.0, 200.0), (f64::INFINITY, 1e13)]
        {
            assert_eq!(nice_bound(value), bound);
        }
    }
}

//! Logs as an oracle: every warning and error of a test is captured; what was not expected fails the test, and so does what was expected
//! and did not come.

use regex::Regex;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

/// One warning or error that was logged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogLine {
    /// `WARN` or `ERROR`.
    pub level: Level,
    /// The text with its fields.
    pub text: String,
}

#[derive(Default)]
struct Captured {
    lines: Vec<LogLine>,
}

/// Captures the warnings and errors of this thread for as long as it lives.
pub struct Logs {
    captured: Arc<Mutex<Captured>>,
    expected: Vec<Regex>,
    tolerated: Vec<Regex>,
    _guard: DefaultGuard,
}

impl Logs {
    pub(crate) fn capture() -> Self {
        let captured = Arc::new(Mutex::new(Captured::default()));
        let subscriber = Registry::default().with(CaptureLayer { captured: Arc::clone(&captured) });
        Self {
            captured,
            expected: Vec::new(),
            tolerated: Vec::new(),
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    /// Lines that match `pattern` are expected from now on; at least one must come before the fleet is dropped.
    ///
    /// # Panics
    /// `pattern` is not a regular expression.
    pub fn expect(&mut self, pattern: &str) {
        match Regex::new(pattern) {
            Ok(regex) => self.expected.push(regex),
            Err(error) => panic!("`{pattern}` is not a regular expression: {error}"),
        }
    }

    /// Lines that match `pattern` may come, or not: for tests in which chance decides.
    ///
    /// # Panics
    /// `pattern` is not a regular expression.
    pub fn tolerate(&mut self, pattern: &str) {
        match Regex::new(pattern) {
            Ok(regex) => self.tolerated.push(regex),
            Err(error) => panic!("`{pattern}` is not a regular expression: {error}"),
        }
    }

    /// The warnings and errors so far.
    pub fn lines(&self) -> Vec<LogLine> {
        self.captured.lock().unwrap_or_else(PoisonError::into_inner).lines.clone()
    }

    /// How many there are so far.
    pub fn line_count(&self) -> usize {
        self.captured.lock().unwrap_or_else(PoisonError::into_inner).lines.len()
    }

    /// Those that came after the first `count`.
    pub fn lines_after(&self, count: usize) -> Vec<LogLine> {
        let captured = self.captured.lock().unwrap_or_else(PoisonError::into_inner);
        captured.lines.get(count..).unwrap_or_default().to_vec()
    }

    /// How many of them match `pattern`.
    ///
    /// # Panics
    /// `pattern` is not a regular expression.
    pub fn count(&self, pattern: &str) -> usize {
        match Regex::new(pattern) {
            Ok(regex) => self.lines().iter().filter(|line| regex.is_match(&line.text)).count(),
            Err(error) => panic!("`{pattern}` is not a regular expression: {error}"),
        }
    }

    /// What is wrong with the logs: unexpected lines, and expectations that were not met.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let lines = self.lines();
        let unexpected = lines
            .iter()
            .filter(|line| !self.expected.iter().chain(&self.tolerated).any(|regex| regex.is_match(&line.text)))
            .map(|line| format!("unexpected {}: {}", line.level, line.text));
        let unmet = self
            .expected
            .iter()
            .filter(|regex| !lines.iter().any(|line| regex.is_match(&line.text)))
            .map(|regex| format!("expected a line like `{regex}`, none came"));
        unexpected.chain(unmet).collect()
    }
}

struct CaptureLayer {
    captured: Arc<Mutex<Captured>>,
}

impl<S: Subscriber> Layer<S> for CaptureLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let level = *event.metadata().level();
        if level > Level::WARN {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        self.captured.lock().unwrap_or_else(PoisonError::into_inner).lines.push(LogLine { level, text: text.0 });
    }
}

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        let result = if field.name() == "message" {
            write!(self.0, "{value:?}")
        } else {
            write!(self.0, "{}={value:?}", field.name())
        };
        debug_assert!(result.is_ok(), "writing to a string succeeds");
    }
}

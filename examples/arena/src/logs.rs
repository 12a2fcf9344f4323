//! Where warnings and errors go: to stderr, or, while the terminal is drawn on, into memory, from where the picture takes the newest.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use tracing_subscriber::EnvFilter;

/// So many lines are kept.
const LINES: usize = 50;

/// The newest log lines. Clones are the same lines.
#[derive(Clone, Default, Debug)]
pub struct LogLines(Arc<Mutex<VecDeque<String>>>);

impl LogLines {
    /// The newest; empty if there is none.
    pub fn newest(&self) -> String {
        self.lines().back().cloned().unwrap_or_default()
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that are kept, oldest first, for after the picture.
    pub fn take(&self) -> Vec<String> {
        self.lines().drain(..).collect()
    }
}

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = self.lines();
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(String::from_utf8_lossy(bytes).trim_end().to_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Warnings and errors; `RUST_LOG` asks for more. What two versions of the game differ in is told at length by the library, and in one
/// line by this program.
fn filter() -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn,ghostline::connection::mismatch=off".into())
}

/// Logs to stderr.
pub fn to_stderr() {
    tracing_subscriber::fmt().with_env_filter(filter()).with_writer(io::stderr).init();
}

/// Logs into memory.
pub fn to_memory() -> LogLines {
    let lines = LogLines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt().with_env_filter(filter()).with_ansi(false).with_writer(move || writer.clone()).init();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept() {
        let mut lines = LogLines::default();
        assert_eq!(lines.newest(), "");
        for number in 0..LINES + 3 {
            lines.write_all(format!("line {number}\n").as_bytes()).expect("memory can be written to");
        }
        assert_eq!(lines.newest(), format!("line {}", LINES + 2));
        assert_eq!(lines.take().len(), LINES);
    }
}

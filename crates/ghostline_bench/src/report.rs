//! One line of JSON per run: the figures that every command gives, then its own.

use ghostline::stats::SnapshotBits;
use std::fmt::Write;

/// A line of JSON in the making.
pub struct Report {
    line: String,
    bits: Option<SnapshotBits>,
}

impl Report {
    /// A line that begins with the command's name.
    pub fn new(command: &str) -> Self {
        Self { line: format!("{{\"command\":\"{command}\""), bits: None }
    }

    /// Adds a number, with three decimals if it has any.
    pub fn number(mut self, name: &str, value: f64) -> Self {
        let rounded = (value * 1000.0).round() / 1000.0;
        let _ = write!(self.line, ",\"{name}\":{rounded}");
        self
    }

    /// Adds a count.
    pub fn count(self, name: &str, value: u64) -> Self {
        self.number(name, value as f64)
    }

    /// Adds a text; it must need no escapes.
    pub fn text(mut self, name: &str, value: &str) -> Self {
        let _ = write!(self.line, ",\"{name}\":\"{value}\"");
        self
    }

    /// Adds what the bits of packets were spent on: a table beside the line, if it was counted.
    pub fn bits(mut self, bits: Option<SnapshotBits>) -> Self {
        self.bits = bits;
        self
    }

    /// Prints the line, and the table to the error output.
    #[expect(clippy::print_stdout, clippy::print_stderr, reason = "the line is what the command is for")]
    pub fn print(mut self) {
        let bits = self.bits.take();
        println!("{}", self.line());
        if let Some(bits) = bits {
            eprintln!("{bits}");
        }
    }

    /// The line.
    pub fn line(self) -> String {
        self.line + "}"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_object_with_its_fields_in_order() {
        let report = Report::new("x").number("a", 1.23456).count("b", 7).text("c", "d");
        assert_eq!(report.line(), r#"{"command":"x","a":1.235,"b":7,"c":"d"}"#);
    }
}

//! The one place that writes to the terminal.
//!
//! Results go to stdout, everything else to stderr. With `--json` stdout holds JSON alone, one value a
//! line, and failures are JSON as well. Colour is for terminals, and only without `NO_COLOR`.

use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::exit::Failure;

/// Writes for a person or, with `--json`, for a script.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    json: bool,
    colour: bool,
}

impl Printer {
    /// For this process's terminal.
    #[must_use]
    pub fn new(json: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { json, colour: wanted && !json && io::stderr().is_terminal() && io::stdout().is_terminal() }
    }

    /// Whether a script reads.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// The result: `value` for a script, what `text` gives for a person.
    pub fn result(&self, value: &impl Serialize, text: impl FnOnce() -> String) {
        if self.json { self.value(value) } else { self.text(&text()) }
    }

    /// One JSON value on a line of stdout.
    pub fn value(&self, value: &impl Serialize) {
        if let Ok(line) = serde_json::to_string(value) {
            write_line(&mut io::stdout().lock(), &line);
        }
    }

    /// A line, or several, on stdout.
    pub fn text(&self, text: &str) {
        write_line(&mut io::stdout().lock(), text);
    }

    /// How far something is, for a person alone; on stderr, so that a pipe sees the result only.
    pub fn progress(&self, text: &str) {
        if !self.json {
            write_line(&mut io::stderr().lock(), text);
        }
    }

    /// A step of several that has been taken.
    pub fn step(&self, text: &str) {
        self.progress(&format!("{} {}", self.paint("32", "ok"), clean(text)));
    }

    /// Something that the user should know and that stops nothing.
    pub fn warning(&self, text: &str) {
        if self.json {
            #[derive(Serialize)]
            struct Warning<'a> {
                warning: &'a str,
            }
            if let Ok(line) = serde_json::to_string(&Warning { warning: text }) {
                write_line(&mut io::stderr().lock(), &line);
            }
        } else {
            write_line(&mut io::stderr().lock(), &format!("{} {}", self.paint("33", "warning:"), clean(text)));
        }
    }

    /// Why the command did not succeed.
    pub fn failure(&self, failure: &Failure) {
        if self.json {
            if let Ok(line) = serde_json::to_string(failure) {
                write_line(&mut io::stderr().lock(), &line);
            }
            return;
        }
        let mut text = format!("{} {}", self.paint("31", "error:"), clean(&failure.message));
        if let Some(next) = &failure.next {
            text.push_str("\n  ");
            text.push_str(&clean(next));
        }
        write_line(&mut io::stderr().lock(), &text);
    }

    /// Asks on stderr, without a line end.
    pub fn question(&self, text: &str) {
        let mut stderr = io::stderr().lock();
        // A terminal that is gone answers nothing either.
        let _ = write!(stderr, "{text} ").and_then(|()| stderr.flush());
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A table for a person.
#[must_use]
pub fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(head.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|cell| clean(cell)).collect::<Vec<_>>());
    }
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 2));
    });
    table.trim_fmt()
}

/// Without what could steer a terminal: names that strangers announce get here.
#[must_use]
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '?' } else { c }).collect()
}

fn write_line(out: &mut impl Write, text: &str) {
    // `sect list | head -1` closes the pipe: that is no failure.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_the_network_cannot_steer_the_terminal() {
        assert_eq!(clean("a\x1b[31mb\u{85}c"), "a?[31mb?c");
    }

    #[test]
    fn a_table_has_a_head_and_its_rows() {
        let text = table(&["NAME", "STATE"], [vec!["Kitchen".to_owned(), "on".to_owned()]]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines, [["NAME", "STATE"], ["Kitchen", "on"]]);
    }
}

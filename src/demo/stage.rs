//! How the demo speaks.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the demo is a program that tells a story")]

use std::process::ExitCode;
use std::time::Instant;

/// Tells what happens and counts what was seen.
pub(super) struct Stage {
    started: Instant,
    seen: u32,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), seen: 0 }
    }

    /// A part of the story.
    pub(super) fn chapter(&self, title: &str) {
        println!("\n{title}\n{}", "=".repeat(title.chars().count()));
    }

    /// What is about to happen.
    pub(super) fn tell(&self, text: &str) {
        println!("{text}");
    }

    /// A value that a reader may want to look at.
    pub(super) fn value(&self, name: &str, value: impl std::fmt::Display) {
        println!("    {name:<14} {value}");
    }

    /// A command that is run, with what it printed.
    pub(super) fn command(&self, line: &str, output: &str) {
        println!("  $ {line}");
        for line in output.lines() {
            println!("    {line}");
        }
    }

    /// Something that had to happen was seen.
    pub(super) fn seen(&mut self, text: &str) {
        self.seen += 1;
        println!("  \u{2713} {text}");
    }

    /// The display, as it stands now.
    pub(super) fn draw(&self, lines: &[String]) {
        for line in lines {
            println!("    {line}");
        }
    }

    /// The end of a story that went well.
    pub(super) fn close(&self) {
        println!("\nAll {} checks held, in {:.1} s.", self.seen, self.started.elapsed().as_secs_f64());
    }
}

/// The end of a story that did not.
pub(super) fn give_up(error: &anyhow::Error) -> ExitCode {
    eprintln!("\nThe demo failed: {error:#}");
    ExitCode::FAILURE
}

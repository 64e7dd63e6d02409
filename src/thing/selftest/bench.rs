//! The conversation at the bench: what is about to happen, what was seen, and how it ended.

use std::future::Future;
use std::io::BufRead as _;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::SelftestArgs;
use super::report::{PartReport, Step, in_json};
use crate::thing::stop::StopSignals;

/// Why the test was not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Halt {
    /// Somebody pressed Ctrl-C, or closed the terminal.
    #[error("interrupted")]
    Interrupted,
    /// A question was asked and standard input has ended.
    #[error("nobody answers: run it in a terminal, or ask nobody with --yes")]
    NobodyAnswers,
}

/// Who asks and notes.
pub(super) struct Bench {
    asks: bool,
    json: bool,
    keyboard: Option<mpsc::UnboundedReceiver<String>>,
    stop: StopSignals,
    parts: Vec<PartReport>,
}

impl Bench {
    /// Begins, inside a tokio runtime. From here on Ctrl-C ends a test in good order.
    pub(super) fn new(args: &SelftestArgs) -> anyhow::Result<Self> {
        Ok(Self {
            asks: !args.yes && !args.json,
            json: args.json,
            keyboard: None,
            stop: StopSignals::listen()?,
            parts: Vec::new(),
        })
    }

    /// The next part of the board: what it is by the settings.
    pub(super) fn begin(&mut self, part: &'static str, what: &str) {
        self.say(&format!("{part}: {what}"));
        self.parts.push(PartReport { part, passed: true, steps: Vec::new() });
    }

    /// Says what is about to happen, and lets a person get ready for it.
    pub(super) async fn announce(&mut self, what: &str) -> Result<(), Halt> {
        self.say(&format!("  {what}"));
        if self.asks {
            self.say("  Press Enter to begin, Ctrl-C to leave it.");
            self.read_line().await?;
        }
        Ok(())
    }

    /// Says something on the way.
    pub(super) fn tell(&self, what: &str) {
        self.say(&format!("        {what}"));
    }

    /// It held.
    pub(super) fn pass(&mut self, step: &'static str, detail: impl Into<String>) {
        self.note(Step { step, passed: true, detail: detail.into(), seen: None, todo: None });
    }

    /// It did not.
    pub(super) fn fail(&mut self, step: &'static str, detail: impl Into<String>, todo: impl Into<String>) {
        self.note(Step { step, passed: false, detail: detail.into(), seen: None, todo: Some(todo.into()) });
    }

    /// It held as far as a program can tell; what a person sees decides.
    pub(super) async fn look(
        &mut self,
        step: &'static str,
        detail: impl Into<String>,
        question: &str,
        todo: &str,
    ) -> Result<bool, Halt> {
        let seen = if self.asks { Some(self.ask(question).await?) } else { None };
        let passed = seen != Some(false);
        let todo = (!passed).then(|| todo.to_owned());
        self.note(Step { step, passed, detail: detail.into(), seen, todo });
        Ok(passed)
    }

    async fn ask(&mut self, question: &str) -> Result<bool, Halt> {
        loop {
            self.say(&format!("     ?  {question} [y/n]"));
            match self.read_line().await?.trim().to_ascii_lowercase().as_str() {
                "y" | "yes" => return Ok(true),
                "n" | "no" => return Ok(false),
                _ => {}
            }
        }
    }

    /// Waits so long.
    pub(super) async fn pause(&mut self, pause: Duration) -> Result<(), Halt> {
        self.unless_stopped(sleep(pause)).await
    }

    /// Waits for something, for so long at most.
    pub(super) async fn wait<T>(&mut self, limit: Duration, event: impl Future<Output = T>) -> Result<Option<T>, Halt> {
        self.unless_stopped(timeout(limit, event)).await.map(Result::ok)
    }

    async fn unless_stopped<T>(&mut self, event: impl Future<Output = T>) -> Result<T, Halt> {
        tokio::select! {
            biased;
            () = self.stop.recv() => Err(Halt::Interrupted),
            happened = event => Ok(happened),
        }
    }

    async fn read_line(&mut self) -> Result<String, Halt> {
        let mut keyboard = self.keyboard.take().unwrap_or_else(listen);
        let line = self.unless_stopped(keyboard.recv()).await;
        self.keyboard = Some(keyboard);
        line?.ok_or(Halt::NobodyAnswers)
    }

    fn note(&mut self, step: Step) {
        self.say(&step.in_words());
        if let Some(part) = self.parts.last_mut() {
            part.passed &= step.passed;
            part.steps.push(step);
        }
    }

    /// Whether nothing failed.
    pub(super) fn has_passed(&self) -> bool {
        self.parts.iter().all(|part| part.passed)
    }

    /// The last line.
    #[expect(clippy::print_stdout, reason = "this is the answer to the command")]
    pub(super) fn finish(&self) {
        if self.json {
            println!("{}", in_json(&self.parts));
            return;
        }
        let failed: Vec<_> = self.parts.iter().filter(|part| !part.passed).map(|part| part.part).collect();
        if failed.is_empty() {
            println!("passed");
        } else {
            println!("failed: {}", failed.join(", "));
        }
    }

    #[expect(clippy::print_stdout, reason = "this is the answer to the command")]
    fn say(&self, line: &str) {
        if !self.json {
            println!("{line}");
        }
    }
}

/// A line that nobody waits for any more must not keep the process from ending, so a thread of its own reads.
fn listen() -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

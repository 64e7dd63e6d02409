//! What the self-test found: in words as it goes, or in JSON at the end.

use serde::Serialize;

/// One part of the board.
#[derive(Debug, Serialize)]
pub(super) struct PartReport {
    /// Its name, as on the command line.
    pub(super) part: &'static str,
    /// Whether none of its steps failed.
    pub(super) passed: bool,
    /// What was tried.
    pub(super) steps: Vec<Step>,
}

/// Something that was tried.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    /// A name that stays the same.
    pub(super) step: &'static str,
    /// Whether it held.
    pub(super) passed: bool,
    /// What was found.
    pub(super) detail: String,
    /// Whether a person saw it; none where nobody was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seen: Option<bool>,
    /// What to do where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) todo: Option<String>,
}

impl Step {
    /// Two lines at most, for a person.
    pub(super) fn in_words(&self) -> String {
        let verdict = if self.passed { "pass" } else { "FAIL" };
        let seen = match self.seen {
            Some(true) => " (seen)",
            Some(false) => " (not seen)",
            None => "",
        };
        let line = format!("  {verdict}  {}: {}{seen}", self.step, self.detail);
        match &self.todo {
            Some(todo) => format!("{line}\n        do: {todo}"),
            None => line,
        }
    }
}

/// The whole report as one line.
pub(super) fn in_json(parts: &[PartReport]) -> serde_json::Value {
    serde_json::json!({ "passed": parts.iter().all(|part| part.passed), "parts": parts })
}

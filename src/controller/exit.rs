//! How `sect` ends: exit codes that scripts may rely on, and failures in a householder's words.

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;

/// The exit codes. They never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Anything that has no code of its own.
    Other = 1,
    /// The command line or an answer to a prompt cannot be understood.
    Usage = 2,
    /// No such plug in the keyring, or it is not on the network.
    NotFound = 3,
    /// The plug, or the user, said no.
    Denied = 4,
    /// The plug did not answer in time; the message says whether it may have switched.
    Timeout = 5,
    /// A key, a code or a certificate did not fit.
    Crypto = 6,
}

impl Exit {
    /// All of them, in order.
    pub const ALL: [Self; 7] =
        [Self::Ok, Self::Other, Self::Usage, Self::NotFound, Self::Denied, Self::Timeout, Self::Crypto];

    /// The word for it in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Other => "failed",
            Self::Usage => "usage",
            Self::NotFound => "not-found",
            Self::Denied => "denied",
            Self::Timeout => "timeout",
            Self::Crypto => "crypto",
        }
    }
}

/// The table that `--help` ends with.
pub const HELP: &str = "\
Exit codes:
  0  done
  1  anything that has no code of its own
  2  the command line cannot be understood
  3  no such plug in the keyring, or it is not on the network
  4  denied: the plug, or you, said no
  5  the plug did not answer in time; the message says whether it may have switched
  6  a key, a code or a certificate did not fit";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not succeed: what happened, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What happened.
    pub message: String,
    /// What to do next.
    pub next: Option<String>,
}

impl Failure {
    /// A failure that says what happened.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), next: None }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// `{"error":{"exit":3,"kind":"not-found","message":"...","next":"..."}}`.
#[derive(Serialize)]
struct Envelope<'a> {
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    exit: u8,
    kind: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'a str>,
}

impl Serialize for Failure {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Envelope {
            error: Body {
                exit: self.exit as u8,
                kind: self.exit.word(),
                message: &self.message,
                next: self.next.as_deref(),
            },
        }
        .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_that_scripts_rely_on() {
        let codes = Exit::ALL.map(|exit| (exit as u8, exit.word()));
        assert_eq!(
            codes,
            [(0, "ok"), (1, "failed"), (2, "usage"), (3, "not-found"), (4, "denied"), (5, "timeout"), (6, "crypto")]
        );
    }

    #[test]
    fn the_help_names_every_code() {
        let listed: Vec<&str> =
            HELP.lines().skip(1).map(|line| line.trim_start().split("  ").next().unwrap()).collect();
        assert_eq!(listed, ["0", "1", "2", "3", "4", "5", "6"]);
    }

    #[test]
    fn a_failure_in_json_says_code_kind_message_and_next() {
        let failure = Failure::new(Exit::NotFound, "there is no plug yet").next("run `sect pair`");
        assert_eq!(
            serde_json::to_string(&failure).unwrap(),
            r#"{"error":{"exit":3,"kind":"not-found","message":"there is no plug yet","next":"run `sect pair`"}}"#
        );
    }
}

//! What the operator does with the registrations while the server is stopped: list them, forget one, take
//! the mark of a clone away (protocol section 10.4).
//!
//! The server holds its store alone, and so does this: it says so where the server runs, and changes
//! nothing behind its back.

use std::io::{self, Write as _};

use serde::Serialize;
use thiserror::Error;

use super::args::Things;
use super::config::Config;
use super::store::{Store, StoreError};
use crate::proto::cloud::{Change, ThingRecord};
use crate::proto::id::ThingId;

/// Why nothing was done.
#[derive(Debug, Error)]
pub(super) enum OperatorError {
    /// Another process holds the store.
    #[error("the server has its registrations open; stop it first, as in `systemctl stop sect-cloud`")]
    Running,
    /// The store does not open.
    #[error(transparent)]
    Store(StoreError),
    /// The database refused.
    #[error("nothing was changed: {0}")]
    Database(#[from] rusqlite::Error),
    /// No such thing.
    #[error("no thing {0} has registered here; `sect-cloud list` shows those that have")]
    Unknown(ThingId),
    /// Nobody reads the answer.
    #[error("could not print: {0}")]
    Print(#[from] io::Error),
}

impl From<StoreError> for OperatorError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::InUse => Self::Running,
            error => Self::Store(error),
        }
    }
}

/// One registration, as the operator may know it: no topic and no user.
#[derive(Debug, Serialize)]
struct Shown {
    thing: String,
    generation: u64,
    /// Controllers that may use this server.
    accounts: usize,
    /// Entries of its list whose topic or user another thing has.
    refused: usize,
    /// Topics that it has given up and that nobody else gets yet.
    reserved: usize,
    /// An older list, or another one of the same generation, was seen.
    cloned: bool,
}

impl Shown {
    fn of(Change { thing, record }: &Change) -> Self {
        let accounts = record.entries.iter().filter(|listed| listed.in_force).count();
        Self {
            thing: thing.to_string(),
            generation: record.generation,
            accounts,
            refused: record.entries.len() - accounts,
            reserved: record.reserved_topics.len(),
            cloned: record.cloned,
        }
    }

    fn line(&self) -> String {
        let Self { thing, generation, accounts, refused, reserved, cloned } = self;
        let mark = if *cloned { ", cloned" } else { "" };
        format!("{thing}  generation {generation}, accounts {accounts}, refused {refused}, reserved {reserved}{mark}")
    }
}

/// Does what was asked, and says so.
///
/// # Errors
///
/// [`OperatorError`]; nothing has changed then.
pub(super) fn run(config: &Config, asked: Things) -> Result<(), OperatorError> {
    let (mut store, records) = Store::open_existing(&config.state_dir)?;
    let record_of = |thing: &ThingId| {
        let found = records.iter().find(|record| record.thing == *thing);
        found.map(|found| found.record.clone()).ok_or(OperatorError::Unknown(*thing))
    };
    let mut out = io::stdout().lock();
    match asked {
        Things::List { json } => {
            for shown in records.iter().map(Shown::of) {
                if json {
                    serde_json::to_writer(&mut out, &shown).map_err(io::Error::from)?;
                    writeln!(out)?;
                } else {
                    writeln!(out, "{}", shown.line())?;
                }
            }
        }
        Things::Forget { thing } => {
            record_of(&thing)?;
            store.forget(&thing)?;
            writeln!(out, "{thing} is forgotten: the next list under its name is taken, whatever its generation")?;
        }
        Things::Unmark { thing } => {
            let record = record_of(&thing)?;
            let was = record.cloned;
            store.write(&[Change { thing, record: ThingRecord { cloned: false, ..record } }])?;
            writeln!(out, "{thing} {}", if was { "is not marked as cloned any more" } else { "was not marked" })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::cloud::{Listed, Reserved};
    use crate::proto::registration::{Entry, Verifier};

    #[test]
    fn what_is_shown_names_no_topic_and_no_user() {
        let entry = |n: u8, in_force| Listed {
            entry: Entry {
                topic: format!("{n:025}").parse().expect("digits"),
                user: format!("{n:016}").parse().expect("digits"),
                verifier: Verifier::of(&[n]),
            },
            in_force,
        };
        let record = ThingRecord {
            generation: 7,
            cloned: true,
            entries: vec![entry(1, true), entry(2, false), entry(3, true)],
            reserved_topics: vec![Reserved { what: entry(4, true).entry.topic, until: 1 }],
            reserved_users: vec![],
        };
        let shown = Shown::of(&Change { thing: ThingId::new([0xab; 8]), record });
        assert_eq!(shown.line(), "abababababababab  generation 7, accounts 2, refused 1, reserved 1, cloned");
        assert_eq!(
            serde_json::to_string(&shown).expect("JSON"),
            r#"{"thing":"abababababababab","generation":7,"accounts":2,"refused":1,"reserved":1,"cloned":true}"#
        );
    }
}

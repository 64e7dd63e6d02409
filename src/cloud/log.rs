//! The log: one line an event on standard error, plain or as JSON.
//!
//! Strangers leave numbers in the metrics and, above DEBUG, no line. No line holds a topic, a user
//! name or a password; a thing is named by its id.

use std::env;
use std::io::{self, IsTerminal};

use thiserror::Error;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use super::config::LogConfig;

/// The target of what the operator may want to look up later: registrations and clones.
pub const AUDIT: &str = "audit";
/// The environment variable that goes before the configuration.
pub const VARIABLE: &str = "SECT_LOG";

/// Why there is no log.
#[derive(Debug, Error)]
pub enum LogError {
    /// The filter is no filter.
    #[error("{0} is no log filter; write a level, as in `info`, or `warn,sect::cloud=debug`")]
    Filter(&'static str),
    /// A log is there already.
    #[error("the log was started twice")]
    Twice(#[from] TryInitError),
}

/// Starts the log of the process.
///
/// # Errors
///
/// [`LogError`].
pub fn start(config: &LogConfig) -> Result<(), LogError> {
    let (text, origin) = match env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => (text, VARIABLE),
        _ => (config.filter.clone(), "log.filter"),
    };
    let filter: Targets = text.parse().map_err(|_| LogError::Filter(origin))?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    if config.json { Ok(registry.with(layer.json()).try_init()?) } else { Ok(registry.with(layer).try_init()?) }
}

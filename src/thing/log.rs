//! Where the log goes: to the journal when the service manager listens there, else to standard error.
//!
//! `SECT_LOG` chooses what is logged, a level, or levels by target: `info`, `warn,sect::thing=debug`. Pairing,
//! users and keys are logged under the target [`AUDIT`].

use std::env;
use std::io;
use std::io::IsTerminal;

use thiserror::Error;
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use super::config::LogConfig;
use crate::mqtt::client::may_be_logged;

/// The target of what the owner may want to look up later: pairing, users, keys.
pub const AUDIT: &str = "audit";
/// The environment variable that goes before the configuration.
pub const VARIABLE: &str = "SECT_LOG";

/// Why there is no log.
#[derive(Debug, Error)]
pub enum LogError {
    /// The filter is no filter.
    #[error("{origin} is no log filter; write a level, as in `info`, or `warn,sect::thing=debug`")]
    Filter {
        /// Where it stands.
        origin: &'static str,
    },
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
    let filter = filter(env::var(VARIABLE).ok().as_deref(), config)?;
    let registry = tracing_subscriber::registry().with(filter).with(filter_fn(may_be_logged));
    if stderr_is_journal()
        && let Ok(journal) = tracing_journald::layer()
    {
        return Ok(registry.with(journal.with_syslog_identifier("sectd".to_owned())).try_init()?);
    }
    let stderr = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    Ok(registry.with(stderr).try_init()?)
}

/// Whether standard error ends in the journal: systemd says so by device and inode
/// (systemd.exec(5), `$JOURNAL_STREAM`).
#[must_use]
pub fn stderr_is_journal() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(io::stderr()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

fn filter(variable: Option<&str>, config: &LogConfig) -> Result<Targets, LogError> {
    let (text, origin) = match variable {
        Some(text) if !text.is_empty() => (text, VARIABLE),
        _ => (config.filter.as_str(), "log.filter"),
    };
    text.parse().map_err(|_| LogError::Filter { origin })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_goes_before_the_configuration() {
        let config = LogConfig { filter: "warn".into() };
        assert_eq!(filter(Some("debug"), &config).expect("valid").to_string(), "debug");
        assert_eq!(filter(Some(""), &config).expect("valid").to_string(), "warn");
        assert_eq!(filter(None, &config).expect("valid").to_string(), "warn");
    }

    #[test]
    fn a_wrong_filter_is_refused_and_says_where_it_stands() {
        let wrong = LogConfig { filter: "sect=loud".into() };
        let message = filter(None, &wrong).expect_err("no level").to_string();
        assert!(message.starts_with("log.filter is no log filter"), "{message}");
        assert!(filter(Some("sect=loud"), &LogConfig::default()).is_err());
    }
}

//! Where the log goes: to standard error, in lines for the journal when it is the service manager that reads them.
//!
//! `SECT_LOG` chooses what is logged, a level, or levels by target: `info`, `warn,sect::thing=debug`. Pairing,
//! users and keys are logged under the target [`AUDIT`].

use std::env;
use std::fmt;
use std::io;
use std::io::IsTerminal;

use thiserror::Error;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, layer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
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
    if stderr_is_journal() {
        return Ok(registry
            .with(layer().with_writer(io::stderr).with_ansi(false).event_format(JournalLine))
            .try_init()?);
    }
    Ok(registry.with(layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal())).try_init()?)
}

/// A line as the journal takes it from standard error: its priority first (sd-daemon(3)), no time and no colour.
/// All that there is to say is in the line: `journalctl` shows no other field unless it is asked.
#[derive(Debug)]
struct JournalLine;

impl<S, N> FormatEvent<S, N> for JournalLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        write!(line, "<{}>{}: ", priority(*event.metadata().level()), event.metadata().target())?;
        context.field_format().format_fields(line.by_ref(), event)?;
        writeln!(line)
    }
}

/// The priority of syslog(3) that a level has.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
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
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is logged, for a test to read.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panicked").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_for_the_journal_says_all_and_how_bad_it_is() {
        let paper = Paper::default();
        let writer = paper.clone();
        let lines = layer().with_writer(move || writer.clone()).with_ansi(false).event_format(JournalLine);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            tracing::info!(target: AUDIT, user = "Ben", "joined");
            tracing::warn!(error = %io::Error::from_raw_os_error(5), "the display shows nothing");
        });
        let text = String::from_utf8(paper.0.lock().expect("nobody panicked").clone()).expect("text");
        let [first, second] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        assert_eq!(first, "<6>audit: joined user=\"Ben\"");
        let start = "<4>sect::thing::log::tests: the display shows nothing error=Input/output error";
        assert!(second.starts_with(start), "{second}");
    }

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

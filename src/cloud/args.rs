//! The command line of `sect-cloud`.

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

use super::provision;
use crate::proto::id::ThingId;

/// The cloud server of SecT: carries sealed messages between plugs and their owners, and reads none.
#[derive(Debug, Parser)]
#[command(name = "sect-cloud", version, after_help = EXAMPLES)]
pub struct Args {
    /// Read the settings from FILE [default: /etc/sect/sect-cloud.toml, which may be missing]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// What to do; without it, run.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What `sect-cloud` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server until SIGTERM (what happens without a command); SIGHUP reads certificates and key again
    Run,
    /// Check settings, certificates and key, and say what is wrong with them, or `ok`
    CheckConfig {
        /// Which file [default: that of --config]
        file: Option<PathBuf>,
    },
    /// Make authorities, server certificates and device certificates
    Provision(provision::Args),
    /// The registrations of a server that is stopped.
    #[command(flatten)]
    Things(Things),
}

/// What can be done with the registrations while the server is stopped.
#[derive(Debug, Subcommand)]
pub enum Things {
    /// List the plugs that have registered, and which are marked as cloned; the server must be stopped
    List {
        /// Answer in JSON, one object a line
        #[arg(long)]
        json: bool,
    },
    /// Forget a plug's registration, its generation and its mark: it can register anew; the server must be stopped
    Forget {
        /// The plug's id
        #[arg(value_name = "THING_ID")]
        thing: ThingId,
    },
    /// Take the mark of a clone from a plug; the server must be stopped
    Unmark {
        /// The plug's id
        #[arg(value_name = "THING_ID")]
        thing: ThingId,
    },
}

const EXAMPLES: &str = "\
Examples:
  sect-cloud                                         run with /etc/sect/sect-cloud.toml
  sect-cloud run --config ./sect-cloud.toml          run with other settings
  sect-cloud check-config ./sect-cloud.toml          look for mistakes in them
  SECT_LOG=debug sect-cloud run                      log more
  sect-cloud list                                    the plugs of a server that is stopped
  curl http://127.0.0.1:9464/metrics                 what it counts, for Prometheus

Plugs come to port 8883 with the certificate of their manufacturer, controllers to port 8884.";

impl Args {
    /// The file that was named, if any.
    #[must_use]
    pub fn config_file(&self) -> Option<&Path> {
        match &self.command {
            Some(Command::CheckConfig { file: Some(file) }) => Some(file),
            _ => self.config.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn help_has_examples() {
        assert!(Args::command().render_help().to_string().contains("sect-cloud check-config ./sect-cloud.toml"));
    }

    #[test]
    fn the_file_is_found_wherever_it_is_named() {
        for line in ["sect-cloud --config x run", "sect-cloud run --config x", "sect-cloud check-config x"] {
            let args = Args::try_parse_from(line.split(' ')).expect("valid");
            assert_eq!(args.config_file(), Some(Path::new("x")), "{line}");
        }
    }
}

//! The command line of `sectd`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::selftest::{self, SelftestArgs};

/// The daemon of a SecT plug: switches its outlet for its owner and for nobody else.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "sectd", version, after_help = EXAMPLES)]
pub struct Args {
    /// Read the settings from FILE [default: /etc/sect/sectd.toml, which may be missing]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// What to do; without it, run.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What `sectd` can do.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run the daemon until SIGTERM, Ctrl-C or the end of its terminal (what happens without a command)
    Run,
    /// Check the settings and say what is wrong with them, or `ok`
    CheckConfig {
        /// Which file [default: that of --config]
        file: Option<PathBuf>,
    },
    /// Print the plug's id, which certificates for cloud servers name; draw it if this is the first start
    Identity {
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
    /// Test one part of the board by itself, while the daemon does not run
    #[command(after_help = selftest::EXAMPLES)]
    Selftest(SelftestArgs),
}

const EXAMPLES: &str = "\
Examples:
  sectd                                  run with /etc/sect/sectd.toml
  sectd --config ./sectd.toml            run with other settings
  sectd check-config ./sectd.toml        look for mistakes in them
  sectd identity                         what the factory certifies
  sectd selftest all                     look whether each part of the board works
  SECT_LOG=debug sectd                   log more

At the factory setting the display shows a network name and a passcode; `sect pair` asks for both.
A complete file for a simulated plug, and all settings: docs/guide/simulated-plug.md";

impl Args {
    /// The file that was named, if any.
    #[must_use]
    pub fn config_file(&self) -> Option<&std::path::Path> {
        match &self.command {
            Some(Command::CheckConfig { file: Some(file) }) => Some(file),
            Some(
                Command::CheckConfig { file: None } | Command::Identity { .. } | Command::Selftest(_) | Command::Run,
            )
            | None => self.config.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_file_is_found_wherever_it_is_named() {
        let file = |line: &str| {
            let args = Args::try_parse_from(line.split(' ')).expect("valid");
            args.config_file().map(Path::to_owned)
        };
        assert_eq!(file("sectd"), None);
        assert_eq!(file("sectd run"), None);
        for line in [
            "sectd --config x",
            "sectd --config x run",
            "sectd run --config x",
            "sectd check-config x",
            "sectd check-config --config x",
            "sectd --config y check-config x",
            "sectd identity --json --config x",
            "sectd selftest outlet --yes --config x",
            "sectd --config x selftest all --json --times 1",
        ] {
            assert_eq!(file(line).as_deref(), Some(Path::new("x")), "{line}");
        }
    }

    #[test]
    fn help_has_examples() {
        assert!(Args::command().render_help().to_string().contains("sectd check-config ./sectd.toml"));
    }
}

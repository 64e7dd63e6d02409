//! What `sectd` does with its command line.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use super::args::{Args, Command};
use super::config::Config;
use super::{daemon, log};

/// Reads the command line, does what it says and gives the exit status: 0, or 1 after an error, or 2
/// for a wrong command line or configuration.
#[must_use]
pub fn main() -> ExitCode {
    run(&Args::parse())
}

/// Runs the daemon with the settings in a file; gives the exit status of [`main`].
#[must_use]
pub fn run_with(config: &Path) -> ExitCode {
    run(&Args { config: Some(config.to_owned()), command: None })
}

fn run(args: &Args) -> ExitCode {
    let config = match Config::load(args.config_file()) {
        Ok(config) => config,
        Err(error) => return fail(&error, 2),
    };
    match &args.command {
        Some(Command::CheckConfig { .. }) => {
            say("ok");
            ExitCode::SUCCESS
        }
        Some(Command::Run) | None => match serve(&config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format_args!("{error:#}"), 1),
        },
    }
}

fn serve(config: &Config) -> anyhow::Result<()> {
    log::start(&config.log)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(daemon::run(config))
}

#[expect(clippy::print_stdout, reason = "this is the answer to the command")]
fn say(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "there is no log yet, or it goes elsewhere")]
fn fail(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    eprintln!("sectd: {error}");
    ExitCode::from(code)
}

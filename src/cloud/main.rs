//! What `sect-cloud` does with its command line.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use super::args::{Args, Command};
use super::config::{Config, ConfigError};
use super::{daemon, log, operator, provision, tls};
use crate::core_dump;

/// Reads the command line, does what it says and gives the exit status: 0, or 1 after an error, or 2
/// for a wrong command line or configuration.
#[must_use]
pub fn main() -> ExitCode {
    core_dump::forbid();
    let args = Args::parse();
    let named = args.config_file().map(Path::to_owned);
    let load = || Config::load(named.as_deref());
    match args.command {
        Some(Command::Provision(args)) => {
            provision::run(args).map_or_else(|error| fail(&format_args!("{error:#}"), 1), |()| ExitCode::SUCCESS)
        }
        Some(Command::CheckConfig { .. }) => match load().map(|config| tls::Tls::load(&config)) {
            Ok(Ok(tls)) if tls.out_of_date => {
                fail(&"the server's certificate does not hold now; renew it with `sect-cloud provision`", 2)
            }
            Ok(Ok(_)) => {
                say("ok");
                ExitCode::SUCCESS
            }
            Ok(Err(error)) => fail(&error, 2),
            Err(error) => fail(&error, 2),
        },
        Some(Command::Things(asked)) => match load() {
            Ok(config) => operator::run(&config, asked).map_or_else(|error| fail(&error, 1), |()| ExitCode::SUCCESS),
            Err(error) => fail(&error, 2),
        },
        Some(Command::Run) | None => run(load()),
    }
}

/// Runs the server with the settings in a file; gives the exit status of [`main`].
#[must_use]
pub fn run_with(config: &Path) -> ExitCode {
    run(Config::load(Some(config)))
}

fn run(config: Result<Config, ConfigError>) -> ExitCode {
    match config {
        Ok(config) => serve(&config).map_or_else(|error| fail(&format_args!("{error:#}"), 1), |()| ExitCode::SUCCESS),
        Err(error) => fail(&error, 2),
    }
}

fn serve(config: &Config) -> anyhow::Result<()> {
    log::start(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(daemon::run(config))
}

#[expect(clippy::print_stdout, reason = "this is the answer to the command")]
fn say(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "there is no log yet, or it goes elsewhere")]
fn fail(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    eprintln!("sect-cloud: {error}");
    ExitCode::from(code)
}

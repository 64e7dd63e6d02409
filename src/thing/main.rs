//! What `sectd` does with its command line.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use super::args::{Args, Command};
use super::config::Config;
use super::store::Store;
use super::{clock, daemon, log, selftest};
use crate::core_dump;
use crate::proto::certificate::ThingIdentity;
use crate::proto::id::ThingId;

/// Reads the command line, does what it says and gives the exit status: 0, or 1 after an error, or 2
/// for a wrong command line or configuration.
#[must_use]
pub fn main() -> ExitCode {
    core_dump::forbid();
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
        Some(Command::Identity { json }) => match identity(&config) {
            Ok(id) if *json => {
                say(&serde_json::json!({ "id": id }).to_string());
                ExitCode::SUCCESS
            }
            Ok(id) => {
                say(&id.to_string());
                ExitCode::SUCCESS
            }
            Err(error) => fail(&format_args!("{error}"), 1),
        },
        Some(Command::Selftest(args)) => selftest::run(&config, args),
        Some(Command::Run) | None => match serve(&config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format_args!("{error:#}"), 1),
        },
    }
}

/// Who this thing is; draws its authority if nobody has started it yet, as the daemon would.
fn identity(config: &Config) -> anyhow::Result<ThingId> {
    let create = || ThingIdentity::create(&mut clock::os_rng()).to_stored();
    let (_store, stored) = Store::open(&config.state_dir, create)?;
    Ok(ThingIdentity::from_stored(&stored.identity)?.id())
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

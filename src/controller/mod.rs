//! The shell of the controller: the command line `sect` around [`crate::proto::controller`] and
//! [`crate::proto::pairing`].
//!
//! Reading order: [`args`] says what can be asked for, [`commands`] does it. [`keyring`] keeps what a
//! pairing gave, [`reach`] finds the thing at home, [`cloud`] goes by its cloud servers, [`session`] drives the pure machine over both.

pub mod addresses;
pub mod args;
pub mod backup;
pub mod clock;
pub mod cloud;
pub mod commands;
pub mod discover;
pub mod exit;
pub mod keyring;
pub mod output;
pub mod picture;
pub mod print;
pub mod qr;
pub mod reach;
pub mod secrets;
pub mod session;
pub mod zone;

use std::process::ExitCode;

use clap::error::ErrorKind;

use exit::{Exit, Failure};
use print::Printer;

use crate::core_dump;
use crate::mqtt::client::may_be_logged;

/// Runs `sect` with the process's arguments; see `sect --help`.
#[must_use]
pub fn main() -> ExitCode {
    // `sect demo` is a plug as well, and inherits it.
    core_dump::forbid();
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let json = arguments.iter().skip(1).take_while(|word| *word != "--").any(|word| word == "--json");
    let cli = match args::parse(&arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, json),
    };
    #[cfg(all(feature = "thing", feature = "cloud"))]
    if let args::Command::Demo(options) = &cli.command {
        if cli.global.json {
            let failure = Failure::new(Exit::Usage, "`sect demo` tells a story, and has none in JSON");
            Printer::new(true).failure(&failure.next("leave --json out"));
            return Exit::Usage.into();
        }
        return crate::demo::main(options);
    }
    let printer = Printer::new(cli.global.json);
    log_to_stderr(cli.global.verbose);

    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = Failure::new(Exit::Other, format!("could not start: {error}"));
            printer.failure(&failure);
            return failure.exit.into();
        }
    };
    let exit = match runtime.block_on(commands::run(cli, &printer)) {
        Ok(()) => Exit::Ok,
        Err(failure) => {
            printer.failure(&failure);
            failure.exit
        }
    };
    // A prompt or a resolver may still block a thread: nobody waits for it.
    runtime.shutdown_background();
    exit.into()
}

/// Help, version, or a word on what cannot be understood.
fn usage(error: &clap::Error, json: bool) -> ExitCode {
    let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if json && !asked_for {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Printer::new(true).failure(&Failure::new(Exit::Usage, first).next("see `sect --help`"));
    } else {
        // Nobody is left to tell when the terminal is gone.
        let _ = error.print();
    }
    if asked_for { Exit::Ok.into() } else { Exit::Usage.into() }
}

/// Log lines go to stderr; `SECT_LOG` takes filters like `sect=trace`.
fn log_to_stderr(verbose: u8) {
    use tracing_subscriber::filter::{EnvFilter, filter_fn};
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    let level = match verbose {
        0 => "warn",
        1 => "sect=debug,warn",
        _ => "sect=trace,mdns_sd=debug,info",
    };
    let filter = EnvFilter::try_from_env("SECT_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    // A second subscriber exists only where another program runs this one inside itself.
    let stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false).without_time();
    let _ = tracing_subscriber::registry().with(filter).with(filter_fn(may_be_logged)).with(stderr).try_init();
}

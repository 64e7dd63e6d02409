//! The shell of the cloud server, which will carry messages that it cannot read (SecT STEP 8, 9, 14, 15).
//!
//! It is specified in `docs/protocol.md`, section 10. What is here is what comes before it: the
//! authorities and certificates that it and its things need.

pub mod provision;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The cloud server of SecT plugs, which sees nothing.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "sect-cloud", version)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
enum Command {
    /// Make authorities, server certificates and device certificates
    Provision(provision::Args),
}

/// Reads the command line, does what it says and gives the exit status: 0, or 1 after an error, or 2
/// for a wrong command line.
#[must_use]
pub fn main() -> ExitCode {
    match Args::parse().command {
        Some(Command::Provision(args)) => {
            provision::run(args).map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
        }
        None => {
            fail(&anyhow::anyhow!("the server is not part of this version; plugs are controlled on the home network"))
        }
    }
}

#[expect(clippy::print_stderr, reason = "the answer to a person who typed a command")]
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("sect-cloud: {error:#}");
    ExitCode::FAILURE
}

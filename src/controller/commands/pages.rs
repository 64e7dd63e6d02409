//! `sect completions` and `sect man`: what packages install beside the binary.

use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;

use super::Context;
use crate::controller::args::Cli;
use crate::controller::exit::{Exit, Failure};

/// Writes a completion script to stdout.
pub(super) fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sect", &mut script);
    io::stdout().lock().write_all(&script).map_err(|error| Failure::new(Exit::Other, error.to_string()))
}

/// Writes `sect.1` and one page a command into a folder.
pub(super) fn man(context: &Context<'_>, folder: &Path) -> Result<(), Failure> {
    clap_mangen::generate_to(Cli::command(), folder)
        .map_err(|error| Failure::new(Exit::Other, format!("could not write into {}: {error}", folder.display())))?;
    context.printer.progress(&format!("The man pages are in {}.", folder.display()));
    Ok(())
}

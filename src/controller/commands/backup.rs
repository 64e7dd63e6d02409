//! `sect backup`: the keyring in one file, encrypted.

use std::io::Write as _;
use std::path::Path;

use serde::Serialize;

use super::Context;
use crate::controller::args::backup::Backup;
use crate::controller::backup::{Cost, HEAD, Passphrase, seal};
use crate::controller::clock;
use crate::controller::exit::{Exit, Failure};
use crate::controller::output::Output;
use crate::controller::secrets::{Prompt, Secrets};

#[derive(Serialize)]
struct Done<'a> {
    backup: &'a Path,
    plugs: Vec<&'a str>,
}

/// Asks for a passphrase, then writes.
pub(super) fn run(context: &Context<'_>, wanted: &Backup) -> Result<(), Failure> {
    let keyring = context.keyring()?;
    let entries = match &context.global.device {
        Some(_) => vec![context.device(&keyring)?],
        None => context.contents(&keyring)?.entries,
    };
    if entries.is_empty() {
        return Err(Failure::new(Exit::NotFound, "there is no plug in your keyring yet").next("`sect pair` adds one"));
    }
    let stdout = wanted.file == Path::new("-");
    let output = if stdout { None } else { Some(Output::prepare(&wanted.file, Some(HEAD))?) };
    let passphrase = new_passphrase(context, wanted.secrets.as_deref())?;
    let file = seal(&entries, &passphrase, Cost::RECOMMENDED, &mut clock::rng());
    let Some(output) = output else {
        return std::io::stdout()
            .lock()
            .write_all(&file)
            .map_err(|error| Failure::new(Exit::Other, format!("could not write the backup: {error}")));
    };
    let path = output.write(&file)?;
    let plugs: Vec<&str> = entries.iter().map(|entry| entry.alias.as_str()).collect();
    let text = format!(
        "{} holds your keys for {}.\n\
         It opens them until they are next renewed, after seven days of use: make a new one then. \
         Without the passphrase nobody can read it.",
        path.display(),
        plugs.join(", ")
    );
    context.printer.result(&Done { backup: &path, plugs }, || text);
    Ok(())
}

fn new_passphrase(context: &Context<'_>, secrets: Option<&Path>) -> Result<Passphrase, Failure> {
    let given = secrets.map(Secrets::read).transpose()?.and_then(|secrets| secrets.passphrase);
    match given {
        Some(passphrase) => Ok(passphrase),
        None => Prompt::new(context.printer).ask_hidden_twice(
            "Passphrase for the backup (not shown):",
            "The same again:",
            "passphrase= in --secrets",
        ),
    }
}

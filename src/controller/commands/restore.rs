//! `sect restore`: keys come back from a backup, and never in the place of newer ones.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use serde::Serialize;

use super::{Context, LOCK_PATIENCE, choose};
use crate::controller::args::backup::Restore;
use crate::controller::backup::{self, BackupError, MAX_BYTES, Passphrase};
use crate::controller::exit::{Exit, Failure};
use crate::controller::keyring::{Entry, Keyring, KeyringError};
use crate::controller::print::table;
use crate::controller::secrets::{Prompt, Secrets};

/// What became of one plug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Fate {
    /// It is in the keyring now.
    Restored,
    /// The keyring has the same keys.
    Same,
    /// The keyring has newer ones.
    NewerHere,
    /// The keyring has those of another user of the same plug.
    OtherUser,
    /// Another plug has its name.
    NameTaken,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    id: String,
    outcome: Fate,
}

#[derive(Serialize)]
struct Outcome<'a> {
    plugs: Vec<Row<'a>>,
}

/// Asks for the passphrase, then restores.
pub(super) async fn run(context: &Context<'_>, wanted: &Restore) -> Result<(), Failure> {
    let stdin = Path::new("-");
    if wanted.file == stdin && wanted.secrets.as_deref() == Some(stdin) {
        return Err(Failure::new(Exit::Usage, "backup and passphrase cannot both come from standard input"));
    }
    let keyring = context.keyring()?;
    let file = read(&wanted.file)?;
    let passphrase = passphrase(context, wanted.secrets.as_deref())?;
    let mut entries = backup::open(&file, &passphrase).map_err(refused)?;
    if let Some(device) = context.global.device.as_deref() {
        entries = vec![choose(entries, Some(device))?];
    }
    let mut rows = Vec::new();
    for entry in &entries {
        let outcome = restore(&keyring, entry).await?;
        rows.push(Row { name: entry.alias.as_str(), id: entry.binding.thing.to_string(), outcome });
    }
    let count = |wanted: &[Fate]| rows.iter().filter(|row| wanted.contains(&row.outcome)).count();
    let (restored, left_out) = (count(&[Fate::Restored]), count(&[Fate::OtherUser, Fate::NameTaken]));
    let text = table(
        &["NAME", "ID", ""],
        rows.iter().map(|row| vec![row.name.to_owned(), row.id.clone(), row.outcome.spoken().to_owned()]),
    );
    context.printer.result(&Outcome { plugs: rows }, || text);
    if restored > 0 {
        context.printer.warning(
            "from now on use these keys here alone: where they were used before, `sect forget` them. \
             The plug takes both for one user, and each would lock the other out",
        );
    }
    match left_out {
        0 => Ok(()),
        1 => Err(Failure::new(Exit::Other, "one plug was not restored").next(LEFT_OUT)),
        n => Err(Failure::new(Exit::Other, format!("{n} plugs were not restored")).next(LEFT_OUT)),
    }
}

const LEFT_OUT: &str = "`sect forget` what is in its place, if you do not need that, and restore again";

impl Fate {
    const fn spoken(self) -> &'static str {
        match self {
            Self::Restored => "restored",
            Self::Same => "is here already",
            Self::NewerHere => "not restored: the keys here are newer",
            Self::OtherUser => "not restored: you are another user of it here",
            Self::NameTaken => "not restored: another plug has this name here",
        }
    }
}

/// What is to become of a plug, given what the keyring has of it.
fn judge(here: Option<&Entry>, from: &Entry) -> Fate {
    match here.map(|here| &here.binding) {
        None => Fate::Restored,
        Some(here) if here.cid != from.binding.cid => Fate::OtherUser,
        Some(here) if here.epoch > from.binding.epoch => Fate::NewerHere,
        Some(here) if here.epoch == from.binding.epoch => Fate::Same,
        Some(_) => Fate::Restored,
    }
}

async fn restore(keyring: &Keyring, entry: &Entry) -> Result<Fate, Failure> {
    let place = keyring.lock(&entry.binding.thing, LOCK_PATIENCE).await?;
    let fate = judge(place.read()?.as_ref(), entry);
    if fate != Fate::Restored {
        return Ok(fate);
    }
    match place.save(entry) {
        Ok(()) => Ok(Fate::Restored),
        Err(KeyringError::AliasTaken(_)) => Ok(Fate::NameTaken),
        Err(error) => Err(error.into()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut file = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(MAX_BYTES).read_to_end(&mut file)
    } else {
        File::open(path).and_then(|open| open.take(MAX_BYTES).read_to_end(&mut file))
    };
    read.map_err(|error| Failure::new(Exit::Usage, format!("could not read {}: {error}", path.display())))?;
    Ok(file)
}

fn passphrase(context: &Context<'_>, secrets: Option<&Path>) -> Result<Passphrase, Failure> {
    let given = secrets.map(Secrets::read).transpose()?.and_then(|secrets| secrets.passphrase);
    match given {
        Some(passphrase) => Ok(passphrase),
        None => {
            Prompt::new(context.printer).ask_hidden("Passphrase of the backup (not shown):", "passphrase= in --secrets")
        }
    }
}

fn refused(error: BackupError) -> Failure {
    let (exit, next) = match error {
        BackupError::NoBackup => (Exit::Usage, "give the file that `sect backup` wrote"),
        BackupError::Version | BackupError::Content => (Exit::Other, "update `sect`"),
        BackupError::Damaged => (Exit::Other, "take another copy of it, if there is one"),
        BackupError::TooCostly => (Exit::Other, "whoever gave it to you may not mean well"),
        BackupError::Passphrase => (Exit::Crypto, "type it again; nobody can open it without"),
    };
    Failure::new(exit, error.to_string()).next(next)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::controller::keyring::testing::entry;
    use crate::proto::id::Cid;

    fn at_epoch(of: &Entry, epoch: u32) -> Entry {
        let mut entry = of.clone();
        entry.binding.epoch = epoch;
        entry
    }

    #[test]
    fn newer_keys_and_other_users_stay() {
        let from = at_epoch(&entry("Lamp", 1), 5);
        assert_eq!(judge(None, &from), Fate::Restored);
        for (epoch, fate) in [(4, Fate::Restored), (5, Fate::Same), (6, Fate::NewerHere)] {
            assert_eq!(judge(Some(&at_epoch(&from, epoch)), &from), fate, "{epoch}");
        }
        let mut other = at_epoch(&from, 0);
        other.binding.cid = Cid::new([9; 8]);
        assert_eq!(judge(Some(&other), &from), Fate::OtherUser);
    }

    #[tokio::test]
    async fn what_is_restored_is_in_the_keyring_and_what_is_not_has_changed_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let keyring = Keyring::at(folder.path().join("sect")).expect("made");
        let (lamp, namesake) = (at_epoch(&entry("Lamp", 1), 1), entry("lamp", 2));
        assert_eq!(restore(&keyring, &lamp).await, Ok(Fate::Restored));
        assert_eq!(restore(&keyring, &at_epoch(&lamp, 0)).await, Ok(Fate::NewerHere));
        assert_eq!(restore(&keyring, &namesake).await, Ok(Fate::NameTaken));
        assert_eq!(keyring.contents().expect("read").entries, std::slice::from_ref(&lamp));
        let newer = at_epoch(&lamp, 2);
        assert_eq!(restore(&keyring, &newer).await, Ok(Fate::Restored));
        assert_eq!(keyring.contents().expect("read").entries, [newer]);
        keyring.lock(&namesake.binding.thing, Duration::ZERO).await.expect("free again");
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        assert_eq!(refused(BackupError::Passphrase).exit, Exit::Crypto);
        assert_eq!(refused(BackupError::NoBackup).exit, Exit::Usage);
        assert_eq!(refused(BackupError::Damaged).exit, Exit::Other);
    }
}

//! The keyring: what each pairing gave, one file a thing, in `$XDG_DATA_HOME/sect/`.
//!
//! Folder 0700, files 0600. A file is replaced as a whole or not at all, and is on the disk before
//! [`Locked::save`] returns: whoever sends what depends on it does so afterwards. Writing takes the
//! thing's lock, for one controller id is used by one process at a time (protocol section 2).
//! Files that others can read, or that are not understood, are refused and left as they are.

mod file;
mod lock;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use self::lock::Lock;
use super::addresses::xdg;
use crate::proto::id::ThingId;
use crate::proto::pairing::binding::{Binding, BindingError, StoredBinding};
use crate::proto::user::Name;

/// A thing in the keyring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The user's own name for the thing; unique here, whatever its case.
    pub alias: Name,
    /// Keys, topic and credentials.
    pub binding: Binding,
    /// Those of other runs with the same thing, the newest first, as long as nobody knows which of them the thing
    /// has: a run that was cut off must not cost the keys that worked before it.
    pub others: Vec<Binding>,
}

/// Of the runs that were cut off, those before these few are forgotten; the keys that worked never are.
const MAX_UNCONFIRMED: usize = 3;

impl Entry {
    /// A thing under a name.
    #[must_use]
    pub const fn new(alias: Name, binding: Binding) -> Self {
        Self { alias, binding, others: Vec::new() }
    }

    /// The thing was reached by `binding`: of an unconfirmed run that is the last word (protocol section 7), and
    /// whatever was before it is void. Says whether this is news.
    pub fn confirm(&mut self) -> bool {
        if self.binding.confirmed {
            return false;
        }
        self.binding.confirmed = true;
        self.others.clear();
        true
    }

    /// Puts the keys of a run beside those that were there, which stay until the thing has shown that it took them.
    #[must_use]
    pub fn with_unconfirmed(self, alias: Name, binding: Binding) -> Self {
        let mut others = self.others;
        others.insert(0, self.binding);
        // The same run is saved more than once.
        others.retain(|other| other.cid != binding.cid);
        let mut unconfirmed = 0;
        others.retain(|other| {
            unconfirmed += usize::from(!other.confirmed);
            other.confirmed || unconfirmed <= MAX_UNCONFIRMED
        });
        Self { alias, binding, others }
    }
}

/// An [`Entry`] as it stands in its file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredEntry {
    alias: Name,
    binding: StoredBinding,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<StoredBinding>,
}

impl StoredEntry {
    /// The form that shows its secrets: for its file, and for an encrypted backup.
    pub(super) fn of(entry: &Entry) -> Self {
        let others = entry.others.iter().map(Binding::to_stored).collect();
        Self { alias: entry.alias.clone(), binding: entry.binding.to_stored(), others }
    }

    /// What it stands for.
    pub(super) fn try_into_entry(self) -> Result<Entry, BindingError> {
        let others = self.others.into_iter().map(Binding::try_from).collect::<Result<_, _>>()?;
        Ok(Entry { alias: self.alias, binding: Binding::try_from(self.binding)?, others })
    }
}

/// A file that was not taken, and is still there.
#[derive(Debug)]
pub struct Refused {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub reason: KeyringError,
}

/// All that the keyring holds.
#[derive(Debug, Default)]
pub struct Contents {
    /// The things, by alias.
    pub entries: Vec<Entry>,
    /// The files that were not taken.
    pub refused: Vec<Refused>,
}

/// Why the keyring, or one file of it, does not do.
#[derive(Debug, Error)]
pub enum KeyringError {
    /// Neither `XDG_DATA_HOME` nor `HOME` is set.
    #[error("there is no home folder: set HOME or XDG_DATA_HOME")]
    NoHome,
    /// Others can read or change it.
    #[error("others can read {path} (mode {mode:o}): run `chmod {wanted:o} {path}`")]
    Loose {
        /// Which folder or file.
        path: String,
        /// Its mode.
        mode: u32,
        /// What it has to be.
        wanted: u32,
    },
    /// It belongs to another user.
    #[error("{0} belongs to another user")]
    Foreign(String),
    /// It is no regular file, or no folder.
    #[error("{0} is not what it should be")]
    Kind(String),
    /// It is no entry that this version wrote.
    #[error("{0} is damaged, or was written by another version")]
    Content(String),
    /// Another process uses this thing's keys.
    #[error("another `sect` is using this plug")]
    Busy,
    /// Two things cannot have one name.
    #[error("there is a plug called {0} already")]
    AliasTaken(Name),
    /// The disk.
    #[error("{path}: {source}")]
    Io {
        /// Which folder or file.
        path: String,
        /// What the operating system said.
        source: io::Error,
    },
}

impl KeyringError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.display().to_string(), source }
    }
}

/// The folder.
#[derive(Debug, Clone)]
pub struct Keyring {
    folder: PathBuf,
}

/// One thing's place in the keyring, while no other process uses it.
#[derive(Debug)]
pub struct Locked<'a> {
    keyring: &'a Keyring,
    thing: ThingId,
    lock: Lock,
}

impl Keyring {
    /// The keyring of this user; the folder is made where it is missing.
    ///
    /// # Errors
    ///
    /// [`KeyringError`] when the folder cannot be made or is not the user's alone.
    pub fn of_user() -> Result<Self, KeyringError> {
        Self::at(xdg("XDG_DATA_HOME", ".local/share").ok_or(KeyringError::NoHome)?)
    }

    /// A keyring that stands elsewhere.
    ///
    /// # Errors
    ///
    /// As [`Self::of_user`].
    pub fn at(folder: PathBuf) -> Result<Self, KeyringError> {
        file::private_folder(&folder)?;
        Ok(Self { folder })
    }

    /// Reads everything.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Io`] when the folder cannot be listed.
    pub fn contents(&self) -> Result<Contents, KeyringError> {
        let mut contents = Contents::default();
        for found in std::fs::read_dir(&self.folder).map_err(KeyringError::io(&self.folder))? {
            let path = found.map_err(KeyringError::io(&self.folder))?.path();
            let Some(thing) = thing_of(&path) else { continue };
            match self.read(&thing) {
                Ok(Some(entry)) => contents.entries.push(entry),
                // Forgotten by another process since the folder was listed.
                Ok(None) => {}
                Err(reason) => contents.refused.push(Refused { path, reason }),
            }
        }
        contents.entries.sort_by(|a, b| (&a.alias, a.binding.thing).cmp(&(&b.alias, b.binding.thing)));
        contents.refused.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(contents)
    }

    /// Takes a thing's lock, waiting for another process for at most `patience`.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Busy`], or [`KeyringError::Io`].
    pub async fn lock(&self, thing: &ThingId, patience: Duration) -> Result<Locked<'_>, KeyringError> {
        let lock = Lock::take(&self.folder.join(format!(".{thing}.lock")), patience).await?;
        // What a power cut left half-written is nobody's: no message has depended on it.
        file::discard(&self.new_path(thing))?;
        Ok(Locked { keyring: self, thing: *thing, lock })
    }

    fn read(&self, thing: &ThingId) -> Result<Option<Entry>, KeyringError> {
        let path = self.path(thing);
        let Some(text) = file::read_private(&path)? else { return Ok(None) };
        let stored: StoredEntry = serde_json::from_slice(&text).map_err(|_| content(&path))?;
        let entry = stored.try_into_entry().map_err(|_| content(&path))?;
        // A file under another thing's name would be switched in its stead.
        if [&entry.binding].into_iter().chain(&entry.others).all(|of| of.thing == *thing) {
            Ok(Some(entry))
        } else {
            Err(content(&path))
        }
    }

    fn path(&self, thing: &ThingId) -> PathBuf {
        self.folder.join(format!("{thing}.json"))
    }

    fn new_path(&self, thing: &ThingId) -> PathBuf {
        self.folder.join(format!(".{thing}.json.new"))
    }
}

impl Locked<'_> {
    /// What the keyring holds of this thing now.
    ///
    /// # Errors
    ///
    /// [`KeyringError`] when the file is refused.
    pub fn read(&self) -> Result<Option<Entry>, KeyringError> {
        self.keyring.read(&self.thing)
    }

    /// Makes an entry durable, in place of an earlier one of this thing. When this returns `Ok`, a
    /// power cut loses nothing of it; when it returns `Err`, the earlier one may still be there.
    ///
    /// # Errors
    ///
    /// [`KeyringError`]; an earlier file that is refused stays and nothing is written.
    ///
    /// # Panics
    ///
    /// When the entry is another thing's.
    pub fn save(&self, entry: &Entry) -> Result<(), KeyringError> {
        assert_eq!(entry.binding.thing, self.thing, "an entry is saved under its own thing's lock");
        self.read()?;
        let others = self.keyring.contents()?.entries;
        if others.iter().any(|other| other.binding.thing != self.thing && same_alias(&other.alias, &entry.alias)) {
            return Err(KeyringError::AliasTaken(entry.alias.clone()));
        }
        // Room for the largest entry, so that no copy of a secret is left behind by a growing buffer.
        let mut text = Zeroizing::new(Vec::with_capacity(file::MAX_BYTES));
        serde_json::to_writer(&mut *text, &StoredEntry::of(entry))
            .expect("an entry has string keys and writes into memory");
        file::replace(&self.keyring.folder, &self.keyring.new_path(&self.thing), &self.keyring.path(&self.thing), &text)
    }

    /// Removes the thing for good.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Io`].
    pub fn forget(self) -> Result<(), KeyringError> {
        file::discard(&self.keyring.path(&self.thing))?;
        self.lock.discard()?;
        file::sync_folder(&self.keyring.folder)
    }
}

/// Whether two aliases are one to a person.
#[must_use]
pub fn same_alias(a: &Name, b: &Name) -> bool {
    a.as_str().to_lowercase() == b.as_str().to_lowercase()
}

fn thing_of(path: &Path) -> Option<ThingId> {
    path.file_name()?.to_str()?.strip_suffix(".json")?.parse().ok()
}

fn content(path: &Path) -> KeyringError {
    KeyringError::Content(path.display().to_string())
}

#[cfg(test)]
pub(in crate::controller) mod testing {
    //! Entries for tests.

    use super::Entry;
    use crate::controller::clock;
    use crate::proto::credential::CtlrCredentials;
    use crate::proto::id::{Cid, SpkiHash, ThingId};
    use crate::proto::keys::MasterKey;
    use crate::proto::pairing::binding::Binding;
    use crate::proto::secret::Secret;
    use crate::proto::signature::SigningKey;
    use crate::proto::topic::TToken;

    /// An unconfirmed entry of a thing that `thing` tells from others.
    pub(in crate::controller) fn entry(alias: &str, thing: u8) -> Entry {
        let rng = &mut clock::rng();
        let ca = SpkiHash::new([thing; 32]);
        let binding = Binding {
            thing: ThingId::of(&ca),
            ca,
            cid: Cid::random(rng),
            topic: TToken::random(rng),
            credentials: CtlrCredentials::random(rng),
            epoch: 0,
            master: MasterKey::from_stored(Secret::random(rng)),
            candidate: None,
            since_day: None,
            next: None,
            key: SigningKey::random(rng).scalar(),
            certificate: vec![1, 2, 3],
            ca_certificate: vec![4, 5, 6],
            clouds: Vec::new(),
            name: "Anna".parse().expect("a name"),
            confirmed: false,
        };
        Entry::new(alias.parse().expect("a name"), binding)
    }
}

#[cfg(test)]
mod tests;

//! The durable store: SQLite, where a transaction that has returned outlives a power cut.
//!
//! It guarantees that the thing's own certificate authority is drawn once and never again, that a
//! claim is there whole or not at all, and that a thing that was claimed never looks unclaimed: the
//! claimed mark stands outside the database (protocol section 7). Nothing is written when the load is
//! switched: the audit log waits in memory until [`Store::flush`].

mod history;
mod hold;
mod mark;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod wipe;

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use thiserror::Error;

use self::history::Waiting;
pub use self::hold::{Held, hold};
use crate::crash_point;
use crate::proto::id::Cid;
use crate::proto::message::OutletState;
use crate::proto::port::{Journal, Vault, VaultFault};
use crate::proto::record::{Household, Logged, Note, Stored, StoredIdentity};

/// The database in the state folder.
pub const DATABASE: &str = "thing.db";

/// The open store; while it is open, no other process opens it.
#[derive(Debug)]
pub struct Store {
    database: Connection,
    folder: PathBuf,
    waiting: Waiting,
}

/// Why the store does not open. None of these changes what lies in the folder.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The folder or a file in it cannot be used.
    #[error("cannot use the state folder {}: {source}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("the store is open in another process: is sectd running already?")]
    InUse,
    /// The database is damaged.
    #[error("the store {} is damaged ({what}); it was left as it is: restore it from a backup", path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// A newer version of the daemon has written it.
    #[error("the store was written by a newer sectd; install that version again")]
    Newer,
    /// The claimed mark is there and the household is not. The thing must not become claimable.
    #[error("this thing was claimed and its store is gone; restore it from a backup")]
    ClaimedButLost,
    /// The database refused.
    #[error("the store failed: {0}")]
    Database(#[source] rusqlite::Error),
}

impl Store {
    /// Opens the store in `folder` and gives back all that is in it; at the very first start it
    /// makes the folder and keeps what `create_identity` draws.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; with [`StoreError::ClaimedButLost`] and [`StoreError::Corrupt`] the thing
    /// must show a fault and stay unclaimable.
    pub fn open(folder: &Path, create_identity: impl FnOnce() -> StoredIdentity) -> Result<(Self, Stored), StoreError> {
        let path = folder.join(DATABASE);
        let marked = prepare_files(folder, &path)?;
        let mut database = connect(&path).map_err(|error| refused(&path, error))?;
        schema::check(&database, &path)?;
        let mut marked = marked;
        if marked && !schema::has_household(&database, &path)? && !schema::is_wiping(&database, &path)? {
            // Before anything is written: whoever restores it finds what was there.
            return Err(StoreError::ClaimedButLost);
        }
        make_durable(&database).map_err(|error| refused(&path, error))?;
        schema::migrate(&mut database, &path)?;
        if schema::is_wiping(&database, &path)? {
            // The power was cut after an owner had given the thing up (SecT STEP 20).
            wipe::finish(&mut database, folder)?;
            marked = false;
        }
        let stored = load(&mut database, &path, marked, create_identity)?;
        settle(&database).map_err(|error| refused(&path, error))?;
        let waiting = Waiting::after(history::last_place(&database).map_err(|error| refused(&path, error))?);
        let store = Self { database, folder: folder.to_owned(), waiting };
        if stored.household.is_some() && !marked {
            // The power was cut between the claim and its mark. The household is there, so the thing works
            // without it, and the next start tries again.
            if let Err(error) = mark::write(folder) {
                tracing::error!(%error, "the claimed mark was not written");
            }
        }
        Ok((store, stored))
    }

    /// How many lines of the audit log are not on the disk yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Brings them there. Those that the store refuses go on waiting, as many as there is room for.
    pub fn flush(&mut self) {
        let lines = self.waiting.take();
        if lines.is_empty() {
            return;
        }
        let written = self.write(
            |transaction| history::insert(transaction, &lines),
            || {
                crash_point!("history.before");
            },
        );
        if written.is_err() {
            self.waiting.put_back(lines);
        }
    }

    fn write(
        &mut self,
        change: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<(), rusqlite::Error>,
        before_commit: impl FnOnce(),
    ) -> Result<(), VaultFault> {
        let result = (|| {
            let transaction = self.database.transaction_with_behavior(TransactionBehavior::Immediate)?;
            change(&transaction)?;
            before_commit();
            transaction.commit()
        })();
        result.map_err(|error| {
            tracing::error!(%error, "the store failed");
            VaultFault
        })
    }
}

impl Vault for Store {
    fn claim(&mut self, household: &Household, generation: u64) -> Result<(), VaultFault> {
        crash_point!("claim.begin");
        self.write(
            |transaction| {
                rows::insert_household(transaction, household)?;
                rows::set_generation(transaction, generation)
            },
            || {
                crash_point!("claim.written");
            },
        )?;
        crash_point!("claim.committed");
        if let Err(error) = mark::write(&self.folder) {
            // The claim is durable, so it holds; the next start writes the mark.
            tracing::error!(%error, "the claimed mark was not written");
        }
        crash_point!("claim.marked");
        Ok(())
    }

    fn save(&mut self, household: &Household, generation: u64) -> Result<(), VaultFault> {
        self.write(
            |transaction| {
                rows::delete_household(transaction)?;
                rows::insert_household(transaction, household)?;
                rows::set_generation(transaction, generation)
            },
            || {
                crash_point!("save.before");
            },
        )?;
        crash_point!("save.committed");
        // What was deleted is overwritten in the database only now; until then the journal holds it. A failure
        // loses nothing: the transaction is durable, and the next one tries again.
        if let Err(error) = empty_journal(&self.database) {
            tracing::error!(%error, "the store's journal was not emptied");
        }
        crash_point!("save.after");
        Ok(())
    }

    fn remember(&mut self, outlet: OutletState) -> Result<(), VaultFault> {
        self.write(
            |transaction| rows::set_outlet(transaction, outlet),
            || {
                crash_point!("outlet.before");
            },
        )
    }

    fn begin_wipe(&mut self, generation: u64) -> Result<(), VaultFault> {
        self.write(|transaction| rows::begin_wipe(transaction, generation), || {})?;
        crash_point!("wipe.begin");
        Ok(())
    }

    fn wipe(&mut self) -> Result<(), VaultFault> {
        wipe::finish(&mut self.database, &self.folder).map_err(|error| {
            tracing::error!(%error, "the store failed");
            VaultFault
        })?;
        // What the household did and nobody has written down yet.
        self.waiting = Waiting::after(0);
        Ok(())
    }
}

impl Journal for Store {
    fn note(&mut self, note: Note) {
        self.waiting.note(note);
    }

    fn read(&mut self, from: u64, cid: Option<&Cid>, limit: usize) -> Result<Vec<Logged>, VaultFault> {
        let mut lines = self.waiting.read(from, cid, limit);
        let older = history::read(&self.database, from, cid, limit - lines.len()).map_err(|error| {
            tracing::error!(%error, "the store failed");
            VaultFault
        })?;
        lines.extend(older);
        Ok(lines)
    }
}

/// Makes folder and database file with their modes, whatever the umask says, and tells whether the
/// claimed mark is there.
fn prepare_files(folder: &Path, path: &Path) -> Result<bool, StoreError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::Folder { path, source }
    };
    let parents = parents_to_sync(folder);
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).map_err(at(parent))?;
    }
    let is_new = match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(at(folder)(error)),
    };
    fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(at(folder))?;
    for parent in parents {
        match sync_folder(&parent) {
            // Then somebody else has made the folder, and seen to it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !is_new => {}
            synced => synced.map_err(at(&parent))?,
        }
    }

    let marked = mark::stands(folder).map_err(at(folder))?;
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let file = match opened {
        Ok(_) if marked => {
            // Made just now, so it holds nothing; the next start finds what this one found.
            fs::remove_file(path).map_err(at(path))?;
            return Err(StoreError::ClaimedButLost);
        }
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => File::open(path).map_err(at(path))?,
        Err(error) => return Err(at(path)(error)),
    };
    // SQLite gives a new journal the mode of its database.
    file.set_permissions(Permissions::from_mode(0o600)).map_err(at(path))?;
    tighten_others(folder).map_err(at(folder))?;
    sync_folder(folder).map_err(at(folder))?;
    Ok(marked)
}

/// The folders that hold the names on the way to `folder`, as far as those may be new: all that are
/// missing, and its own, which an earlier start may have made without living to see it on the disk.
fn parents_to_sync(folder: &Path) -> Vec<PathBuf> {
    let missing = folder.ancestors().skip(1).take_while(|path| !path.exists());
    let names = [folder].into_iter().chain(missing);
    let here = |parent: &Path| if parent == Path::new("") { PathBuf::from(".") } else { parent.to_owned() };
    names.filter_map(Path::parent).map(here).collect()
}

/// Whatever else lies in the folder, a journal of an earlier run or the mark, is its owner's alone too.
fn tighten_others(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // A link would lead out of the folder.
        if entry.file_type()?.is_file() {
            fs::set_permissions(entry.path(), Permissions::from_mode(0o600))?;
        }
    }
    Ok(())
}

/// Makes the names in the folder durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Opens the database without changing it.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(path, flags)?;
    // A second daemon is told at once.
    database.busy_timeout(Duration::ZERO)?;
    // Until it has proved sound, closing it leaves the journal as it is.
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // One process, so that the journal needs no shared memory and a second daemon is refused.
    database.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    // Nothing of it leaves the folder, and it stays small in memory.
    database.pragma_update(None, "temp_store", "MEMORY")?;
    database.pragma_update(None, "cache_size", -128)?;
    database.pragma_update(None, "mmap_size", 0)?;
    database.set_prepared_statement_cache_capacity(8);
    Ok(database)
}

/// A transaction that has returned outlives a power cut from here on; what is deleted is overwritten.
fn make_durable(database: &Connection) -> rusqlite::Result<()> {
    database.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    database.pragma_update(None, "synchronous", "FULL")?;
    database.pragma_update(None, "secure_delete", "ON")
}

/// Only a sound store is touched: what the last run left in its journal goes to its place, and the
/// journal is emptied.
fn settle(database: &Connection) -> rusqlite::Result<()> {
    empty_journal(database)?;
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(())
}

/// Moves the journal into the database and cuts it off.
fn empty_journal(database: &Connection) -> rusqlite::Result<()> {
    database.pragma_update_and_check(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()))
}

fn load(
    database: &mut Connection,
    path: &Path,
    marked: bool,
    create_identity: impl FnOnce() -> StoredIdentity,
) -> Result<Stored, StoreError> {
    let household = rows::read_household(database).map_err(|error| refused(path, error))?;
    if marked && household.is_none() {
        return Err(StoreError::ClaimedButLost);
    }
    let identity = match rows::read_identity(database).map_err(|error| refused(path, error))? {
        Some(identity) => identity,
        None if household.is_some() => {
            return Err(StoreError::Corrupt { path: path.to_owned(), what: "the thing's own key is missing".into() });
        }
        None => keep(database, create_identity()).map_err(|error| refused(path, error))?,
    };
    let (generation, wiping) = rows::read_registration(database).map_err(|error| refused(path, error))?;
    let outlet = rows::read_outlet(database).map_err(|error| refused(path, error))?;
    Ok(Stored { identity, generation, household, wiping, outlet })
}

fn keep(database: &mut Connection, identity: StoredIdentity) -> rusqlite::Result<StoredIdentity> {
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    rows::insert_identity(&transaction, &identity)?;
    crash_point!("identity.before");
    transaction.commit()?;
    crash_point!("identity.after");
    Ok(identity)
}

/// Tells damage and a second daemon from other failures.
fn refused(path: &Path, error: rusqlite::Error) -> StoreError {
    let corrupt = |what: String| StoreError::Corrupt { path: path.to_owned(), what };
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::InUse,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => corrupt(error.to_string()),
            _ => StoreError::Database(error),
        },
        rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..) => {
            corrupt(error.to_string())
        }
        error => StoreError::Database(error),
    }
}

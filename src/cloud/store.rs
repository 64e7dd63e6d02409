//! The registrations in SQLite, where a transaction that has returned outlives a power cut.
//!
//! One process has the store open. It holds no password: verifiers, topics and user names, in a folder
//! that only the server reads.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use rusqlite::types::Type;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, Transaction, TransactionBehavior, params};
use rusqlite_migration::{Error as MigrationError, M, MigrationDefinitionError, Migrations, SchemaVersionError};
use thiserror::Error;

use crate::crash_point;
use crate::proto::cloud::{Change, Listed, Reserved, ThingRecord};
use crate::proto::id::ThingId;
use crate::proto::registration::{Entry, Verifier};

/// The database in the state folder.
pub const DATABASE: &str = "cloud.db";

/// The open store.
#[derive(Debug)]
pub struct Store(Connection);

/// Why the store does not open.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The folder or the file in it cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("the store is open in another process: is sect-cloud running already?")]
    InUse,
    /// A newer version of the server has written it.
    #[error("the store was written by a newer sect-cloud; install that version again")]
    Newer,
    /// The database is damaged.
    #[error("the store is damaged ({0}); it was left as it is: restore it from a backup, or move it away")]
    Corrupt(String),
    /// The database refused.
    #[error("the store failed: {0}")]
    Database(#[source] rusqlite::Error),
}

impl Store {
    /// Opens the store in `folder`, which is made if need be, and gives back all that is in it.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn open(folder: &Path) -> Result<(Self, Vec<Change>), StoreError> {
        let path = prepare_files(folder)?;
        let mut database = connect(&path)?;
        let verdict: String = database.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(StoreError::Corrupt(verdict));
        }
        MIGRATIONS.to_latest(&mut database).map_err(|error| match error {
            MigrationError::RusqliteError { err, .. } => err.into(),
            MigrationError::MigrationDefinition(MigrationDefinitionError::DatabaseTooFarAhead)
            | MigrationError::SpecifiedSchemaVersion(SchemaVersionError::TargetVersionOutOfRange { .. }) => {
                StoreError::Newer
            }
            error => StoreError::Corrupt(error.to_string()),
        })?;
        let records = read(&database)?;
        Ok((Self(database), records))
    }

    /// Opens the store of a server that has run in `folder`; makes nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn open_existing(folder: &Path) -> Result<(Self, Vec<Change>), StoreError> {
        let path = folder.join(DATABASE);
        match fs::metadata(&path) {
            Ok(_) => Self::open(folder),
            Err(source) => Err(StoreError::Folder { path, source }),
        }
    }

    /// Forgets a thing: its list, its reservations, its generation and its mark.
    ///
    /// # Errors
    ///
    /// When the database refuses; nothing has changed then.
    pub fn forget(&mut self, thing: &ThingId) -> rusqlite::Result<()> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for table in [
            "DELETE FROM entry WHERE thing = ?1",
            "DELETE FROM reservation WHERE thing = ?1",
            "DELETE FROM thing WHERE id = ?1",
        ] {
            transaction.execute(table, [thing.as_bytes()])?;
        }
        transaction.commit()
    }

    /// As on a disk that is full.
    #[cfg(test)]
    pub(super) fn fail_from_now_on(&mut self) {
        self.0.pragma_update(None, "query_only", "ON").expect("set");
    }

    /// Makes all changes durable, or none of them.
    ///
    /// # Errors
    ///
    /// When the database refuses.
    pub fn write(&mut self, changes: &[Change]) -> rusqlite::Result<()> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for change in changes {
            write_record(&transaction, change)?;
        }
        crash_point!("registration.before");
        transaction.commit()?;
        crash_point!("registration.committed");
        Ok(())
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match &error {
            rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::InUse,
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Corrupt(error.to_string()),
                _ => Self::Database(error),
            },
            rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..) => {
                Self::Corrupt(error.to_string())
            }
            _ => Self::Database(error),
        }
    }
}

/// Makes folder and file with their modes, whatever the umask says.
fn prepare_files(folder: &Path) -> Result<PathBuf, StoreError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::Folder { path, source }
    };
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).map_err(at(parent))?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(at(folder)(error)),
        _ => {}
    }
    fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(at(folder))?;
    let path = folder.join(DATABASE);
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = opened.map_err(at(&path))?;
    // SQLite gives its journal the mode of its database.
    file.set_permissions(Permissions::from_mode(0o600)).map_err(at(&path))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))?;
    Ok(path)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(path, flags)?;
    // A second server is told at once.
    database.busy_timeout(Duration::ZERO)?;
    database.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    database.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // A transaction that has returned outlives a power cut; what is deleted is overwritten.
    database.pragma_update(None, "synchronous", "FULL")?;
    database.pragma_update(None, "secure_delete", "ON")?;
    database.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(database)
}

/// The record of a thing is replaced as a whole: a few dozen rows.
fn write_record(transaction: &Transaction<'_>, change: &Change) -> rusqlite::Result<()> {
    let (thing, record) = (change.thing.as_bytes(), &change.record);
    let mut put = transaction.prepare_cached(
        "INSERT INTO thing (id, generation, cloned) VALUES (?1, ?2, ?3)
         ON CONFLICT (id) DO UPDATE SET generation = ?2, cloned = ?3",
    )?;
    put.execute(params![thing, record.generation as i64, record.cloned])?;
    for table in ["DELETE FROM entry WHERE thing = ?1", "DELETE FROM reservation WHERE thing = ?1"] {
        transaction.prepare_cached(table)?.execute([thing])?;
    }
    let mut put = transaction.prepare_cached(
        "INSERT INTO entry (thing, topic, ctlr_user, verifier, in_force) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for Listed { entry, in_force } in &record.entries {
        put.execute(params![thing, entry.topic.as_str(), entry.user.expose(), entry.verifier.as_bytes(), in_force])?;
    }
    let mut put =
        transaction.prepare_cached("INSERT INTO reservation (thing, kind, name, until) VALUES (?1, ?2, ?3, ?4)")?;
    for Reserved { what, until } in &record.reserved_topics {
        put.execute(params![thing, TOPIC, what.as_str(), *until as i64])?;
    }
    for Reserved { what, until } in &record.reserved_users {
        put.execute(params![thing, USER, what.expose(), *until as i64])?;
    }
    Ok(())
}

fn read(database: &Connection) -> rusqlite::Result<Vec<Change>> {
    let mut things = database.prepare("SELECT id, generation, cloned FROM thing")?;
    let mut entries =
        database.prepare("SELECT topic, ctlr_user, verifier, in_force FROM entry WHERE thing = ?1 ORDER BY topic")?;
    // Newest first, as they were made.
    let mut reserved = database
        .prepare("SELECT name, until FROM reservation WHERE thing = ?1 AND kind = ?2 ORDER BY until DESC, name")?;
    things
        .query_map([], |row| {
            let thing: [u8; 8] = row.get(0)?;
            let entries = entries.query_map([&thing], listed)?.collect::<Result<_, _>>()?;
            let reserved_topics = reserved.query_map(params![thing, TOPIC], reservation)?.collect::<Result<_, _>>()?;
            let reserved_users = reserved.query_map(params![thing, USER], reservation)?.collect::<Result<_, _>>()?;
            let (generation, cloned) = (row.get::<_, i64>(1)? as u64, row.get(2)?);
            let record = ThingRecord { generation, cloned, entries, reserved_topics, reserved_users };
            Ok(Change { thing: ThingId::new(thing), record })
        })?
        .collect()
}

fn listed(row: &Row<'_>) -> rusqlite::Result<Listed> {
    let entry = Entry { topic: parsed(row, 0)?, user: parsed(row, 1)?, verifier: Verifier::from_bytes(row.get(2)?) };
    Ok(Listed { entry, in_force: row.get(3)? })
}

fn reservation<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    row: &Row<'_>,
) -> rusqlite::Result<Reserved<T>> {
    Ok(Reserved { what: parsed(row, 0)?, until: row.get::<_, i64>(1)? as u64 })
}

fn parsed<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(row: &Row<'_>, at: usize) -> rusqlite::Result<T> {
    let text: String = row.get(at)?;
    text.parse().map_err(|error| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, Box::new(error)))
}

/// The kinds of a reservation.
const TOPIC: i64 = 0;
const USER: i64 = 1;

static STEPS: [M<'static>; 1] = [M::up(TABLES)];
static MIGRATIONS: Migrations<'static> = Migrations::from_slice(&STEPS);

/// Strict tables; that a topic has one holder is checked here too.
const TABLES: &str = "
CREATE TABLE thing (
    id BLOB PRIMARY KEY CHECK (length(id) = 8),
    generation INTEGER NOT NULL CHECK (generation >= 0),
    cloned INTEGER NOT NULL CHECK (cloned IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE TABLE entry (
    thing BLOB NOT NULL REFERENCES thing (id),
    topic TEXT NOT NULL,
    ctlr_user TEXT NOT NULL,
    verifier BLOB NOT NULL CHECK (length(verifier) = 32),
    in_force INTEGER NOT NULL CHECK (in_force IN (0, 1)),
    PRIMARY KEY (thing, topic)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX one_holder ON entry (topic) WHERE in_force = 1;

CREATE TABLE reservation (
    thing BLOB NOT NULL REFERENCES thing (id),
    kind INTEGER NOT NULL CHECK (kind IN (0, 1)),
    name TEXT NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (thing, kind, name)
) STRICT, WITHOUT ROWID;
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::cloud::Registry;
    use crate::proto::registration::RegSet;

    fn entry(n: u8) -> Entry {
        Entry {
            topic: format!("{n:025}").parse().expect("digits"),
            user: format!("{n:016}").parse().expect("digits"),
            verifier: Verifier::of(&[n]),
        }
    }

    #[test]
    fn the_migrations_apply_to_an_empty_database() {
        assert_eq!(MIGRATIONS.validate(), Ok(()));
    }

    #[test]
    fn what_was_written_is_read_back_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("state");
        let (mut store, records) = Store::open(&folder).expect("opens");
        assert_eq!(records, []);
        let (a, b) = (ThingId::new([1; 8]), ThingId::new([2; 8]));
        let mut registry = Registry::default();
        for (thing, generation, acl) in
            [(a, 1, vec![entry(1), entry(2)]), (b, 9, vec![entry(1), entry(3)]), (a, 2, vec![entry(2)]), (a, 1, vec![])]
        {
            let change = registry.plan(&thing, RegSet { generation, acl }, 1000).change.expect("new");
            let _ = registry.commit(change.clone());
            store.write(&[change]).expect("written");
        }
        assert!(matches!(Store::open(&folder), Err(StoreError::InUse)));
        drop(store);
        let (_, records) = Store::open(&folder).expect("opens");
        let shown: Vec<_> = records
            .iter()
            .map(|Change { record, .. }| {
                let force = record.entries.iter().map(|listed| listed.in_force).collect::<Vec<_>>();
                let reserved = record.reserved_topics.iter().map(|reserved| reserved.until).collect::<Vec<_>>();
                (record.generation, record.cloned, force, reserved, record.reserved_users.len())
            })
            .collect();
        let until = 1000 + crate::proto::cloud::RESERVED_S;
        assert_eq!(shown, [(2, true, vec![true], vec![until], 1), (9, false, vec![false, true], vec![], 0)]);
        let restored = Registry::from_records(records);
        assert!(restored.authenticate(entry(2).user.expose(), &[2]).is_some());
        assert!(restored.authenticate(entry(1).user.expose(), &[1]).is_none());
    }

    #[test]
    fn a_change_that_cannot_be_stored_leaves_the_others_unstored_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut store, _) = Store::open(folder.path()).expect("opens");
        let change = |thing| Change {
            thing: ThingId::new([thing; 8]),
            record: ThingRecord {
                generation: 1,
                cloned: false,
                entries: vec![Listed { entry: entry(1), in_force: true }],
                reserved_topics: vec![],
                reserved_users: vec![],
            },
        };
        assert!(store.write(&[change(1), change(2)]).is_err(), "two holders of one topic");
        drop(store);
        assert_eq!(Store::open(folder.path()).expect("opens").1, []);
    }
}

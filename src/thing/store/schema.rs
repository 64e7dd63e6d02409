//! The tables, how they came to be, and whether they are sound.

use std::path::Path;

use rusqlite::Connection;
use rusqlite_migration::{Error, M, MigrationDefinitionError, Migrations, SchemaVersionError};

use super::{StoreError, refused};

static STEPS: [M<'static>; 3] = [M::up(TABLES), M::up(REGISTRATION), M::up(LIFE)];
static MIGRATIONS: Migrations<'static> = Migrations::from_slice(&STEPS);

/// Strict tables, and lengths checked where a wrong one would be a wrong key.
const TABLES: &str = "
CREATE TABLE identity (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    ca_key BLOB NOT NULL CHECK (length(ca_key) = 32),
    ca_certificate BLOB NOT NULL
) STRICT;

CREATE TABLE household (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    name TEXT NOT NULL,
    wifi_ssid BLOB NOT NULL,
    wifi_psk TEXT NOT NULL,
    joined_once INTEGER NOT NULL CHECK (joined_once IN (0, 1)),
    recovery_spki BLOB
) STRICT;

CREATE TABLE controller (
    cid BLOB PRIMARY KEY CHECK (length(cid) = 8),
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    spki BLOB NOT NULL,
    topic TEXT NOT NULL UNIQUE,
    ctlr_user TEXT NOT NULL UNIQUE,
    ctlr_password TEXT NOT NULL,
    epoch INTEGER NOT NULL CHECK (epoch BETWEEN 0 AND 4294967295),
    master_key BLOB NOT NULL CHECK (length(master_key) = 64)
) STRICT, WITHOUT ROWID;
";

/// The registration's generation outlives owners, so it stands beside the household (SecT STEP 9).
const REGISTRATION: &str = "
CREATE TABLE registration (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    generation INTEGER NOT NULL CHECK (generation BETWEEN 0 AND 9007199254740991)
) STRICT;

INSERT INTO registration (id, generation) SELECT 1, count(*) FROM household;
";

/// Users, timetables and what happened (SecT STEP 16-20). A household is written as a whole; `place` keeps
/// the order in which its controllers came.
const LIFE: &str = "
CREATE TABLE controller_2 (
    place INTEGER PRIMARY KEY,
    cid BLOB NOT NULL UNIQUE CHECK (length(cid) = 8),
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    spki BLOB NOT NULL,
    topic TEXT NOT NULL UNIQUE,
    ctlr_user TEXT NOT NULL UNIQUE,
    ctlr_password TEXT NOT NULL,
    epoch INTEGER NOT NULL CHECK (epoch BETWEEN 0 AND 4294967295),
    master_key BLOB NOT NULL CHECK (length(master_key) = 64),
    key_uptime_s INTEGER NOT NULL DEFAULT 0 CHECK (key_uptime_s BETWEEN 0 AND 4294967295),
    key_accepted INTEGER NOT NULL DEFAULT 0 CHECK (key_accepted BETWEEN 0 AND 4294967295),
    next_topic TEXT,
    next_password TEXT,
    left_s INTEGER CHECK (left_s BETWEEN 0 AND 4294967295),
    CHECK ((next_topic IS NULL) = (next_password IS NULL))
) STRICT;

INSERT INTO controller_2 (cid, name, role, spki, topic, ctlr_user, ctlr_password, epoch, master_key)
    SELECT cid, name, role, spki, topic, ctlr_user, ctlr_password, epoch, master_key FROM controller;
DROP TABLE controller;
ALTER TABLE controller_2 RENAME TO controller;

ALTER TABLE household ADD COLUMN power_on TEXT NOT NULL DEFAULT 'off';
ALTER TABLE household ADD COLUMN zone TEXT;
ALTER TABLE household ADD COLUMN next_schedule INTEGER NOT NULL DEFAULT 1 CHECK (next_schedule > 0);

CREATE TABLE schedule (
    id INTEGER PRIMARY KEY,
    days INTEGER NOT NULL CHECK (days BETWEEN 1 AND 127),
    minute INTEGER NOT NULL CHECK (minute BETWEEN 0 AND 1439),
    switch_on INTEGER NOT NULL CHECK (switch_on IN (0, 1))
) STRICT;

CREATE TABLE outlet (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    is_on INTEGER NOT NULL CHECK (is_on IN (0, 1))
) STRICT;

CREATE TABLE history (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    unix INTEGER,
    up INTEGER NOT NULL,
    cid BLOB CHECK (cid IS NULL OR length(cid) = 8),
    who TEXT,
    what TEXT NOT NULL,
    CHECK ((cid IS NULL) = (who IS NULL))
) STRICT;
CREATE INDEX history_of_controller ON history (cid, seq);

ALTER TABLE registration ADD COLUMN wiping INTEGER NOT NULL DEFAULT 0 CHECK (wiping IN (0, 1));
";

/// Reads every page and index: the store is a few dozen kilobytes, and a damaged key must be found
/// at the start and not when it is used.
pub(super) fn check(database: &Connection, path: &Path) -> Result<(), StoreError> {
    let verdict: String =
        database.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(|error| refused(path, error))?;
    if verdict == "ok" { Ok(()) } else { Err(StoreError::Corrupt { path: path.to_owned(), what: verdict }) }
}

/// Whether somebody has claimed this store, whatever version of the tables it has.
pub(super) fn has_household(database: &Connection, path: &Path) -> Result<bool, StoreError> {
    let one = |query: &str| -> Result<i64, StoreError> {
        database.query_row(query, [], |row| row.get(0)).map_err(|error| refused(path, error))
    };
    let version = one("PRAGMA user_version")?;
    if usize::try_from(version).is_ok_and(|version| version > STEPS.len()) {
        return Err(StoreError::Newer);
    }
    Ok(one("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'household'")? == 1
        && one("SELECT count(*) FROM household")? == 1)
}

/// Whether a wipe has begun and is not done.
pub(super) fn is_wiping(database: &Connection, path: &Path) -> Result<bool, StoreError> {
    let one = |query: &str| -> Result<i64, StoreError> {
        database.query_row(query, [], |row| row.get(0)).map_err(|error| refused(path, error))
    };
    // Earlier versions of the tables knew no wipe.
    let known = "SELECT count(*) FROM pragma_table_info('registration') WHERE name = 'wiping'";
    Ok(one(known)? == 1 && one("SELECT count(*) FROM registration WHERE wiping = 1")? == 1)
}

/// Brings the tables to this version, in one transaction.
pub(super) fn migrate(database: &mut Connection, path: &Path) -> Result<(), StoreError> {
    MIGRATIONS.to_latest(database).map_err(|error| match error {
        Error::RusqliteError { err, .. } => refused(path, err),
        Error::MigrationDefinition(MigrationDefinitionError::DatabaseTooFarAhead)
        | Error::SpecifiedSchemaVersion(SchemaVersionError::TargetVersionOutOfRange { .. }) => StoreError::Newer,
        error => StoreError::Corrupt { path: path.to_owned(), what: error.to_string() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_migrations_apply_to_an_empty_database() {
        assert_eq!(MIGRATIONS.validate(), Ok(()));
    }
}

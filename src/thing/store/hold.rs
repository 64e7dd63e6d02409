//! Looks at a store without changing it, and keeps the daemon out for as long as that takes.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::{DATABASE, StoreError, connect, mark, refused, schema};

/// A store that is sound and that nobody else opens now. It is left as it was found.
#[derive(Debug)]
pub struct Held {
    database: Option<Connection>,
    /// An empty journal that looking has made.
    journal: Option<PathBuf>,
    is_claimed: bool,
}

/// Checks the store in `folder` page by page; `None` where the daemon has never made one.
///
/// # Errors
///
/// [`StoreError`]; [`StoreError::InUse`] where the daemon runs.
pub fn hold(folder: &Path) -> Result<Option<Held>, StoreError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::Folder { path, source }
    };
    match fs::metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found.map_err(at(folder))?,
    };
    let marked = mark::stands(folder).map_err(at(folder))?;
    let path = folder.join(DATABASE);
    match OpenOptions::new().read(true).write(true).open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && marked => return Err(StoreError::ClaimedButLost),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(at(&path))?,
    };
    let journal = folder.join(format!("{DATABASE}-wal"));
    let journal = (!journal.exists()).then_some(journal);
    let database = connect(&path).map_err(|error| refused(&path, error))?;
    let mut held = Held { database: Some(database), journal, is_claimed: false };
    let database = held.database.as_ref().expect("it was put there just now");
    schema::check(database, &path)?;
    let is_claimed = schema::has_household(database, &path)?;
    if marked && !is_claimed && !schema::is_wiping(database, &path)? {
        return Err(StoreError::ClaimedButLost);
    }
    held.is_claimed = is_claimed;
    Ok(Some(held))
}

impl Held {
    /// Whether the plug has an owner.
    #[must_use]
    pub const fn is_claimed(&self) -> bool {
        self.is_claimed
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.database.take());
        if let Some(journal) = self.journal.take()
            && fs::metadata(&journal).is_ok_and(|found| found.len() == 0)
        {
            // What stays of it is empty, and the daemon does without it as well as with it.
            let _ = fs::remove_file(journal);
        }
    }
}

//! Forgetting a household for good (SecT STEP 20).
//!
//! That it is to be forgotten stands in the database first. Then go its rows, then what the journal held of
//! them, then the claimed mark, and at last the note that there is something to forget. Wherever the power
//! is cut, the next start goes on there: never does the thing look unclaimed while a secret of its household
//! is left, nor claimed and lost once none is.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::{DATABASE, StoreError, empty_journal, mark, refused, rows};
use crate::crash_point;

/// Does what is left of it.
pub(super) fn finish(database: &mut Connection, folder: &Path) -> Result<(), StoreError> {
    let path = folder.join(DATABASE);
    let failed = |error| refused(&path, error);
    change(database, rows::wipe).map_err(failed)?;
    crash_point!("wipe.rows");
    // What was deleted is overwritten in the database only now; until then the journal holds it.
    empty_journal(database).map_err(failed)?;
    crash_point!("wipe.journal");
    mark::remove(folder).map_err(|source| StoreError::Folder { path: folder.to_owned(), source })?;
    crash_point!("wipe.mark");
    change(database, rows::end_wipe).map_err(failed)?;
    crash_point!("wipe.done");
    Ok(())
}

fn change(
    database: &mut Connection,
    change: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    change(&transaction)?;
    transaction.commit()
}

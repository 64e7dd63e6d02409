//! The claimed mark: a file that says, outside the database, that this thing was claimed.
//!
//! Without it a deleted or lost database would make a claimed thing claimable by whoever stands
//! before it (protocol section 7). It is written after the claim is durable, so that a power cut in
//! between leaves a claimed thing without a mark, which the next start repairs, and never a mark
//! without a claim.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::sync_folder;

/// The mark in the state folder.
pub(super) const MARK: &str = "claimed";

const TEXT: &[u8] = b"This thing has an owner. Deleting this file or the database does not change that.\n";

/// Whether the mark is there, whatever it says.
pub(super) fn stands(folder: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(folder.join(MARK)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Sets the mark; when this returns, a power cut does not take it away.
pub(super) fn write(folder: &Path) -> io::Result<()> {
    #[cfg(test)]
    if THE_DISK_IS_FULL.get() {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join(MARK));
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return sync_folder(folder),
        Err(error) => return Err(error),
    };
    // Its being there is the mark; the text is for whoever finds it.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(TEXT)?;
    file.sync_all()?;
    sync_folder(folder)
}

/// Takes the mark away; when this returns, a power cut does not bring it back.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_file(folder.join(MARK)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => sync_folder(folder),
    }
}

#[cfg(test)]
thread_local! {
    /// What a test cannot do to a disk: refuses marks in this thread.
    pub(super) static THE_DISK_IS_FULL: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

//! One process at a time (protocol section 2: a `cid` is used by one process at a time).

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use tokio::time::{Instant, sleep};

use super::{KeyringError, file};

/// How often a busy lock is tried again.
const RETRY: Duration = Duration::from_millis(25);

/// A lock file, held until it is dropped; the kernel lets go of it when the process dies.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the lock.
    pub(super) async fn take(path: &Path, patience: Duration) -> Result<Self, KeyringError> {
        let deadline = Instant::now() + patience;
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
                .open(path)
                .map_err(KeyringError::io(path))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // Whoever forgets a thing removes the lock file: a lock on a removed file locks nothing.
                Ok(()) if file.metadata().map_err(KeyringError::io(path))?.nlink() > 0 => {
                    return Ok(Self { path: path.to_owned(), _file: file });
                }
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => sleep(RETRY).await,
                Err(Errno::WOULDBLOCK) => return Err(KeyringError::Busy),
                Err(error) => return Err(KeyringError::io(path)(error.into())),
            }
        }
    }

    /// Removes the lock file and lets go.
    pub(super) fn discard(self) -> Result<(), KeyringError> {
        file::discard(&self.path)
    }
}

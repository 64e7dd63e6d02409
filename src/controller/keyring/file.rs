//! Private files that a power cut leaves whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::KeyringError;

/// Bytes of an entry at most; real ones have some 3000.
pub(super) const MAX_BYTES: usize = 64 * 1024;
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Makes the folder, or checks that it is the user's alone.
pub(super) fn private_folder(folder: &Path) -> Result<(), KeyringError> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|path| !path.exists()).collect();
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder).map_err(KeyringError::io(folder))?;
    // A file is only as durable as the names on the way to it.
    for parent in missing.into_iter().filter_map(Path::parent) {
        sync_folder(parent)?;
    }
    let found = fs::metadata(folder).map_err(KeyringError::io(folder))?;
    check(folder, &found, FOLDER_MODE)
}

/// Reads a file that is the user's alone; nothing where there is none.
pub(super) fn read_private(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeyringError> {
    // No link is followed, and opening a pipe does not block.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(KeyringError::Kind(path.display().to_string()));
        }
        Err(error) => return Err(KeyringError::io(path)(error)),
    };
    let found = file.metadata().map_err(KeyringError::io(path))?;
    if !found.is_file() {
        return Err(KeyringError::Kind(path.display().to_string()));
    }
    check(path, &found, FILE_MODE)?;
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_BYTES));
    file.take(MAX_BYTES as u64).read_to_end(&mut text).map_err(KeyringError::io(path))?;
    Ok(Some(text))
}

/// Writes `new`, then renames it to `path`; both are durable when this returns.
pub(super) fn replace(folder: &Path, new: &Path, path: &Path, text: &[u8]) -> Result<(), KeyringError> {
    crate::crash_point!("keyring.before");
    let written = create_private(new).and_then(|mut file| {
        file.write_all(text)?;
        file.sync_all()
    });
    if let Err(error) = written {
        discard(new)?;
        return Err(KeyringError::io(new)(error));
    }
    crate::crash_point!("keyring.written");
    fs::rename(new, path).map_err(KeyringError::io(path))?;
    crate::crash_point!("keyring.renamed");
    sync_folder(folder)
}

/// Removes a file; that there is none is no error.
pub(super) fn discard(path: &Path) -> Result<(), KeyringError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(KeyringError::io(path)(error)),
        _ => Ok(()),
    }
}

/// Makes names in the folder durable.
pub(super) fn sync_folder(folder: &Path) -> Result<(), KeyringError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(KeyringError::io(folder))
}

fn create_private(path: &Path) -> io::Result<File> {
    // `create_new` follows no link; the lock keeps other processes away, and taking it removed leftovers.
    match OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)
        }
        opened => opened,
    }
}

fn check(path: &Path, found: &fs::Metadata, wanted: u32) -> Result<(), KeyringError> {
    let shown = || path.display().to_string();
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(KeyringError::Foreign(shown()));
    }
    let mode = found.mode() & 0o777;
    if mode & !wanted == 0 { Ok(()) } else { Err(KeyringError::Loose { path: shown(), mode, wanted }) }
}

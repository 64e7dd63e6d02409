//! A folder of keys and certificates that one process at a time writes, and that a power cut leaves
//! with whole files only.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroize as _;

use crate::proto::secret::SecretString;

/// Bytes of a file at most; real ones have some 1500.
const MAX_BYTES: usize = 64 * 1024;
const FOLDER_MODE: u32 = 0o700;
const SECRET_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;

/// A folder, locked until this is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    handle: File,
}

/// Why a file is not read or written.
#[derive(Debug, Error)]
pub enum FileError {
    /// The system says no.
    #[error("{}: {source}", path.display())]
    System {
        /// Which file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process writes there now.
    #[error("{}: another process is working in it", .0.display())]
    Busy(PathBuf),
    /// It is there already.
    #[error("{}: is there already and is not overwritten", .0.display())]
    Exists(PathBuf),
    /// A key that others than its owner may read.
    #[error("{}: others may read or write this key (mode {mode:o}); chmod 600 it, and ask who had it", path.display())]
    Loose {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Longer than any key or certificate, or no text.
    #[error("{}: not a file in PEM", .0.display())]
    NotText(PathBuf),
}

impl FileError {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { path: path.to_owned(), source }
    }
}

impl Folder {
    /// Opens the folder, or makes it for its owner alone, locks it, and removes what a power cut left
    /// beside the files of these names: it may be a second name of a key.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn open(path: &Path, names: &[&str]) -> Result<Self, FileError> {
        let missing: Vec<&Path> =
            path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path).map_err(FileError::at(path))?;
        // A file is only as durable as the names on the way to it.
        for parent in missing.into_iter().filter_map(Path::parent) {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            File::open(parent).and_then(|folder| folder.sync_all()).map_err(FileError::at(parent))?;
        }
        let handle = File::open(path).map_err(FileError::at(path))?;
        handle.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => FileError::Busy(path.to_owned()),
            TryLockError::Error(error) => FileError::at(path)(error),
        })?;
        let folder = Self { path: path.to_owned(), handle };
        for name in names {
            discard(&folder.unfinished(name))?;
        }
        Ok(folder)
    }

    /// Where a file of this name lies.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads a certificate; nothing where there is none.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn read_public(&self, name: &str) -> Result<Option<String>, FileError> {
        optional(read_public(&self.file(name)))
    }

    /// Reads a key that is its owner's alone; nothing where there is none.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn read_secret(&self, name: &str) -> Result<Option<SecretString>, FileError> {
        optional(read_secret(&self.file(name)))
    }

    /// Writes a key that is not there yet, for its owner alone.
    ///
    /// # Errors
    ///
    /// [`FileError::Exists`] when it is there; what is there stays.
    pub fn create_secret(&self, name: &str, key: &SecretString) -> Result<(), FileError> {
        self.write(name, key.expose(), SECRET_MODE, false)
    }

    /// Writes a key in the place of what is there.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn replace_secret(&self, name: &str, key: &SecretString) -> Result<(), FileError> {
        self.write(name, key.expose(), SECRET_MODE, true)
    }

    /// Writes a certificate that is not there yet.
    ///
    /// # Errors
    ///
    /// [`FileError::Exists`] when it is there; what is there stays.
    pub fn create_public(&self, name: &str, text: &str) -> Result<(), FileError> {
        self.write(name, text, PUBLIC_MODE, false)
    }

    /// Writes a certificate in the place of what is there.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn replace_public(&self, name: &str, text: &str) -> Result<(), FileError> {
        self.write(name, text, PUBLIC_MODE, true)
    }

    /// Where a file lies until it is whole.
    fn unfinished(&self, name: &str) -> PathBuf {
        self.file(&format!(".{name}.new"))
    }

    fn write(&self, name: &str, text: &str, mode: u32, replace: bool) -> Result<(), FileError> {
        let (path, new) = (self.file(name), self.unfinished(name));
        let written = self.write_whole(&new, text, mode).map_err(FileError::at(&new)).and_then(|()| {
            if replace {
                return fs::rename(&new, &path).map_err(FileError::at(&path));
            }
            // Unlike a rename, a link never takes the place of what is there.
            fs::hard_link(&new, &path).map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => FileError::Exists(path.clone()),
                _ => FileError::at(&path)(error),
            })?;
            fs::remove_file(&new).map_err(FileError::at(&new))
        });
        if written.is_err() {
            // The first error is the one to report.
            let _ = discard(&new);
        }
        written?;
        self.handle.sync_all().map_err(FileError::at(&self.path))
    }

    fn write_whole(&self, path: &Path, text: &str, mode: u32) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(SECRET_MODE).open(path)?;
        // Root fills the folder of the daemon's user, who must be able to read it.
        let (folder, own) = (self.handle.metadata()?, file.metadata()?);
        if folder.uid() != own.uid() {
            fchown(&file, Some(folder.uid()), Some(folder.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }
}

/// Reads a certificate.
///
/// # Errors
///
/// [`FileError`].
pub fn read_public(path: &Path) -> Result<String, FileError> {
    read(path, File::open(path).map_err(FileError::at(path))?)
}

/// Reads a key that is its owner's alone.
///
/// # Errors
///
/// [`FileError::Loose`] when others may read it.
pub fn read_secret(path: &Path) -> Result<SecretString, FileError> {
    let file = File::open(path).map_err(FileError::at(path))?;
    let mode = file.metadata().map_err(FileError::at(path))?.mode() & 0o777;
    if mode & !SECRET_MODE != 0 {
        return Err(FileError::Loose { path: path.to_owned(), mode });
    }
    read(path, file).map(SecretString::new)
}

fn read(path: &Path, file: File) -> Result<String, FileError> {
    // Large enough from the start, so that no copy of a key stays behind in the memory.
    let mut bytes = Vec::with_capacity(MAX_BYTES + 1);
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(FileError::at(path))?;
    if bytes.len() > MAX_BYTES {
        bytes.zeroize();
        return Err(FileError::NotText(path.to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        error.into_bytes().zeroize();
        FileError::NotText(path.to_owned())
    })
}

/// Removes a file; that there is none is no error.
fn discard(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(FileError::at(path)(error)),
        _ => Ok(()),
    }
}

fn optional<T>(read: Result<T, FileError>) -> Result<Option<T>, FileError> {
    match read {
        Ok(text) => Ok(Some(text)),
        Err(FileError::System { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

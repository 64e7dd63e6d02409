//! The runtime folder: display, button, outlet and radio of the simulated drivers, empty at each start of
//! the machine.
//!
//! The passcode stands in it and a press comes out of it, so nobody else may put anything there.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use thiserror::Error;

/// Why the runtime folder is not used.
#[derive(Debug, Error)]
pub enum RuntimeDirError {
    /// It cannot be made or looked at.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Something else has its name.
    #[error("it is no folder")]
    NoFolder,
    /// Another user made it, or was given it.
    #[error("it belongs to another user (uid {0}): remove it")]
    Foreign(u32),
    /// Others may put files into it.
    #[error("others can write to it (mode {0:o}): run `chmod go-w` on it")]
    Loose(u32),
}

/// The mark of a daemon that has run since the machine got its power.
const POWERED: &str = "powered";

/// Whether no daemon has run here since the machine got its power: the folder is gone with it.
///
/// Under systemd it stays over restarts only with `RuntimeDirectoryPreserve=yes`.
#[must_use]
pub fn is_power_up(path: &Path) -> bool {
    !path.join(POWERED).exists()
}

/// From now on a daemon that starts here was restarted. Set once the load has what it shall have.
///
/// # Errors
///
/// When the folder takes no file.
pub fn mark_powered(path: &Path) -> io::Result<()> {
    fs::write(path.join(POWERED), "sectd has run since the machine got its power.\n")
}

/// Makes the folder, for nobody else, or takes the one that is there. Under systemd it is there already
/// (`RuntimeDirectory=`), and all may look at what is in it; the folders above it must be there.
///
/// # Errors
///
/// [`RuntimeDirError`]; the folder is left as it is.
pub fn prepare(path: &Path) -> Result<(), RuntimeDirError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check(path),
        made => Ok(made?),
    }
}

/// A folder that is somebody's for as long as he lives.
#[derive(Debug)]
pub struct Occupied {
    _lock: File,
}

/// Takes the folder for this process, so that others can tell that a daemon runs, also one that holds nothing else;
/// `None` where another has it, where there is none, or where it cannot be taken.
#[must_use]
pub fn occupy(path: &Path) -> Option<Occupied> {
    let folder = File::open(path).ok()?;
    folder.try_lock().ok().map(|()| Occupied { _lock: folder })
}

/// Whether another process has taken it.
#[must_use]
pub fn is_occupied(path: &Path) -> bool {
    File::open(path).is_ok_and(|folder| matches!(folder.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn check(path: &Path) -> Result<(), RuntimeDirError> {
    let found = fs::metadata(path)?;
    let (owner, mode) = (found.uid(), found.mode() & 0o7777);
    if !found.is_dir() {
        Err(RuntimeDirError::NoFolder)
    } else if owner != rustix::process::geteuid().as_raw() && owner != ROOT {
        Err(RuntimeDirError::Foreign(owner))
    } else if mode & OTHERS_WRITE != 0 {
        Err(RuntimeDirError::Loose(mode))
    } else {
        Ok(())
    }
}

/// Whom everybody has to trust.
const ROOT: u32 = 0;
const OTHERS_WRITE: u32 = 0o022;

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;

    #[test]
    fn a_folder_that_is_missing_is_made_for_nobody_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("run");
        prepare(&path).expect("made");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o7777, 0o700);
        prepare(&path).expect("its own");
        assert!(prepare(&dir.path().join("not/yet")).is_err());
    }

    #[test]
    fn a_folder_into_which_others_write_is_refused_and_one_of_systemd_is_taken() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("run");
        fs::create_dir(&path).expect("made");
        for (mode, taken) in [(0o755, true), (0o750, true), (0o775, false), (0o757, false), (0o1777, false)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("mine");
            match prepare(&path) {
                Ok(()) => assert!(taken, "{mode:o}"),
                Err(error) => assert!(!taken && matches!(error, RuntimeDirError::Loose(_)), "{mode:o}: {error}"),
            }
            assert_eq!(fs::metadata(&path).expect("there").mode() & 0o7777, mode, "left as it is");
        }
    }

    #[test]
    fn the_first_start_of_a_folder_is_a_power_up_and_no_other_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("run");
        for _ in 0..2 {
            prepare(&path).expect("made");
            assert!(is_power_up(&path));
            mark_powered(&path).expect("marked");
            assert!(!is_power_up(&path));
            // Power is cut: what lies in memory is gone.
            fs::remove_dir_all(&path).expect("mine");
        }
    }

    #[test]
    fn a_folder_is_one_process_s_until_that_ends() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("run");
        assert!(occupy(&path).is_none() && !is_occupied(&path), "there is none");
        prepare(&path).expect("made");
        assert!(!is_occupied(&path) && !is_occupied(&path), "looking takes nothing");
        let occupied = occupy(&path).expect("free");
        assert!(is_occupied(&path));
        assert!(occupy(&path).is_none());
        drop(occupied);
        assert!(!is_occupied(&path));
    }

    #[test]
    fn what_is_no_folder_or_another_users_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("run");
        fs::write(&path, "in the way").expect("written");
        assert!(matches!(prepare(&path), Err(RuntimeDirError::NoFolder)));
        let foreign = dir.path().join("foreign");
        fs::create_dir(&foreign).expect("made");
        // Only root can give a folder away.
        if chown(&foreign, Some(65_534), None).is_ok() {
            assert!(matches!(prepare(&foreign), Err(RuntimeDirError::Foreign(65_534))));
        }
    }
}

//! With whose rights the tests run: the daemon's, whoever starts them.
//!
//! Root sees and may more than the daemon, so what works for root proves little, and what root leaves behind the
//! daemon could not touch. So root goes on as the owner of the state folder, with the one right that the service
//! has besides its groups: to open port 67, by which the access point gives addresses.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, lchown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::thing::config::Config;

/// It takes privileges away; every Debian has it.
const SETPRIV: &str = "setpriv";

/// Starts this program anew as the daemon's user, in the same process, if root started it. Returns where there is
/// nothing to change: whoever is not root, or a state folder that is missing or root's own.
///
/// # Errors
///
/// When root cannot become that user.
pub(super) fn become_daemon(config: &Config) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (uid, gid) = match fs::metadata(&config.state_dir) {
        Ok(folder) if folder.uid() != ROOT => (folder.uid(), folder.gid()),
        _ => return Ok(()),
    };
    give_folder(&config.runtime_dir, uid, gid)?;
    let mut setpriv = Command::new(SETPRIV);
    setpriv.args(arguments(uid, gid)).arg(std::env::current_exe()?).args(std::env::args_os().skip(1));
    // It returns only where it failed.
    Err(setpriv.exec())
}

const ROOT: u32 = 0;

fn arguments(uid: u32, gid: u32) -> Vec<OsString> {
    let only = "=-all,+net_bind_service";
    let user = [format!("--reuid={uid}"), format!("--regid={gid}"), "--init-groups".to_owned()];
    let rights = ["--inh-caps", "--ambient-caps", "--bounding-set"].map(|set| format!("{set}{only}"));
    user.into_iter().chain(rights).chain(["--no-new-privs".to_owned(), "--".to_owned()]).map(OsString::from).collect()
}

/// The service manager makes the runtime folder when it starts the daemon for the first time; who tests before that
/// has none, and could not make it.
fn give_folder(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        // Not through a link that somebody has put there meanwhile.
        Ok(()) => lchown(path, Some(uid), Some(gid)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

//! A display that is a file of two lines: what a script, or another room of the house, reads.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::glass::in_ascii;
use super::{Display, Glass, Health, Picture, render};
use crate::proto::action::Screen;

/// A file of two lines that only its owner reads.
#[derive(Debug)]
pub struct FileDisplay {
    path: PathBuf,
    fresh: PathBuf,
    health: Health,
}

impl FileDisplay {
    /// A display at `path`; the file appears with the first screen.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        let mut fresh = path.clone().into_os_string();
        fresh.push(".new");
        Self { path, fresh: fresh.into(), health: Health::default() }
    }
}

impl Display for FileDisplay {
    fn show(&mut self, screen: &Screen) {
        let lines = render(screen).map(Zeroizing::new);
        let text = Zeroizing::new(format!("{}\n{}\n", *lines[0], *lines[1]));
        let result = replace(&self.fresh, &self.path, text.as_bytes());
        self.health.note(result);
    }
}

impl Glass for FileDisplay {
    fn draw(&mut self, picture: &Picture) -> io::Result<()> {
        let [upper, lower] = in_ascii(picture);
        let text = format!("{upper}\n{lower}\n");
        replace(&self.fresh, &self.path, text.as_bytes())?;
        if fs::read(&self.path)? == text.as_bytes() { Ok(()) } else { Err(io::Error::other("it says something else")) }
    }
}

/// Replaces the file in one step: a reader sees the old screen or the new one, never half of each.
fn replace(fresh: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    // A left-over, or what somebody else put there, is not written through.
    match fs::remove_file(fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(fresh)?;
    // Whatever the umask took away comes back before anything is written.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(text)?;
    fs::rename(fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_the_two_lines_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("display");
        let mut display = FileDisplay::new(path.clone());
        display.show(&Screen::Starting);
        display.show(&Screen::AccessPointOff);
        assert_eq!(fs::read_to_string(&path).expect("written"), "not paired      \npress the button\n");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn a_display_that_fails_stops_nothing_and_recovers() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("later");
        let mut display = FileDisplay::new(folder.join("display"));
        display.show(&Screen::Starting);
        assert!(display.health.failed);
        fs::create_dir(&folder).expect("made");
        display.show(&Screen::Starting);
        assert!(!display.health.failed);
        assert!(folder.join("display").exists());
    }

    #[test]
    fn a_link_laid_in_its_way_is_not_written_through() {
        let dir = tempfile::tempdir().expect("a folder");
        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").expect("written");
        std::os::unix::fs::symlink(&victim, dir.path().join("display.new")).expect("laid");
        FileDisplay::new(dir.path().join("display")).show(&Screen::Starting);
        assert_eq!(fs::read_to_string(&victim).expect("there"), "precious");
        assert!(dir.path().join("display").exists());
    }
}

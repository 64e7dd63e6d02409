//! A file that the user asked for and that holds a secret: his alone, whole or not at all, and never in
//! the place of something that he may miss.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::exit::{Exit, Failure};

/// A place for a file, found writable before anything is asked of a plug.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    file: NamedTempFile,
}

impl Output {
    /// Makes the file under a name of its own, mode 0600. What is at `path` already is replaced only if it
    /// begins with `replaceable`.
    ///
    /// # Errors
    ///
    /// A usage [`Failure`] when the folder cannot be written into or something else is there.
    pub fn prepare(path: &Path, replaceable: Option<&[u8]>) -> Result<Self, Failure> {
        let refuse = |what: String| Failure::new(Exit::Usage, what).next("choose another file");
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Ok(found) if found.is_file() && replaceable.is_some_and(|head| begins_with(path, head)) => {}
            _ => return Err(refuse(format!("there is something at {} already", path.display()))),
        }
        // A bare name is in the current folder.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Made with mode 0600 whatever the umask.
        let file = NamedTempFile::new_in(folder)
            .map_err(|error| refuse(format!("could not write into {}: {error}", folder.display())))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes it, and gives it its name once it is on the disk.
    ///
    /// # Errors
    ///
    /// A [`Failure`]; what was there before is untouched then.
    pub fn write(mut self, content: &[u8]) -> Result<PathBuf, Failure> {
        let written = self.file.write_all(content).and_then(|()| self.file.as_file().sync_all());
        written
            .and_then(|()| self.file.persist(&self.path).map_err(|error| error.error))
            .map_err(|error| Failure::new(Exit::Other, format!("could not write {}: {error}", self.path.display())))?;
        Ok(self.path)
    }
}

fn begins_with(path: &Path, head: &[u8]) -> bool {
    let mut found = vec![0; head.len()];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut found)).is_ok() && found == head
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_file_is_its_owner_s_alone_and_nothing_else_is_left_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("code.png");
        let written = Output::prepare(&path, None).and_then(|output| output.write(b"secret")).expect("written");
        assert_eq!((written, fs::read(&path).expect("read")), (path.clone(), b"secret".to_vec()));
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        drop(Output::prepare(&folder.path().join("other"), None).expect("writable"));
        assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 1);
    }

    #[test]
    fn only_what_is_known_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, "holiday").expect("written");
        for replaceable in [None, Some(&b"backup"[..]), Some(&b"holidays"[..])] {
            assert_eq!(Output::prepare(&path, replaceable).expect_err("refused").exit, Exit::Usage);
        }
        Output::prepare(&path, Some(b"holi")).and_then(|output| output.write(b"new")).expect("written");
        assert_eq!(fs::read(&path).expect("read"), b"new");

        let link = folder.path().join("link");
        symlink(&path, &link).expect("linked");
        for other in [folder.path(), &link, Path::new("/dev/null"), &folder.path().join("no/such")] {
            assert!(Output::prepare(other, Some(b"")).is_err(), "{}", other.display());
        }
    }
}

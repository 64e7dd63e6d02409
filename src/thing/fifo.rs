//! A FIFO that takes lines, as in `echo long > /run/sect/button`: how a person or a test plays the part of
//! the world around a simulated driver.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, chmod, mknodat};
use tokio::net::unix::pipe;

/// Longer lines are passed over.
pub const MAX_LINE: usize = 64;

/// A FIFO that only its owner may write to.
#[derive(Debug)]
pub struct Fifo {
    path: PathBuf,
    pipe: pipe::Receiver,
    /// What of the current line has arrived.
    line: Vec<u8>,
    /// Read and not looked at yet.
    ahead: Vec<u8>,
}

impl Fifo {
    /// Makes the FIFO anew, inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or something that is no FIFO stands in its place.
    pub fn open(path: &Path) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.file_type().is_fifo() => return Err(io::ErrorKind::AlreadyExists.into()),
            Ok(_) => fs::remove_file(path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, path, FileType::Fifo, mode, 0)?;
        // Whatever the umask took away comes back.
        chmod(path, mode)?;
        // Held open for writing too, so that it never ends when a writer leaves.
        let pipe = pipe::OpenOptions::new().read_write(true).open_receiver(path)?;
        Ok(Self { path: path.to_owned(), pipe, line: Vec::with_capacity(MAX_LINE), ahead: Vec::new() })
    }

    /// Waits for the next line, and gives it without what surrounds it. Dropping the wait half-way loses
    /// nothing.
    pub async fn next_line(&mut self) -> Vec<u8> {
        loop {
            while !self.ahead.is_empty() {
                let byte = self.ahead.remove(0);
                if byte != b'\n' {
                    // One too many tells a long line from one that just fits.
                    if self.line.len() <= MAX_LINE {
                        self.line.push(byte);
                    }
                    continue;
                }
                let line = (self.line.len() <= MAX_LINE).then(|| self.line.trim_ascii().to_vec());
                self.line.clear();
                match line {
                    Some(line) => return line,
                    None => tracing::debug!("a line that is too long"),
                }
            }
            self.read().await;
            // Who writes without end has no more than this before the rest of the daemon has its turn.
            tokio::task::yield_now().await;
        }
    }

    async fn read(&mut self) {
        let mut buffer = [0; 64];
        let read = match self.pipe.readable().await {
            Ok(()) => self.pipe.try_read(&mut buffer),
            Err(error) => Err(error),
        };
        match read {
            Ok(count) if count > 0 => self.ahead.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // A FIFO that is held open for writing has no end, and reading it does not fail.
            Ok(_) => self.broken("it ended").await,
            Err(error) => self.broken(error).await,
        }
    }

    async fn broken(&self, error: impl std::fmt::Display) {
        tracing::warn!(fifo = %self.path.display(), %error, "a simulated driver hears nothing any more");
        std::future::pending().await
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        // Left behind, it would hang whoever writes to it.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn lines_come_whole_and_long_ones_not_at_all() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("fifo");
        let mut fifo = Fifo::open(&path).expect("opens");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let mut writer = fs::OpenOptions::new().write(true).open(&path).expect("opens");
        let long_line = "x".repeat(4000);
        write!(writer, "short\n long\r\n{long_line}long\n{}\nlon", &long_line[..MAX_LINE]).expect("written");
        assert_eq!(fifo.next_line().await, b"short");
        assert_eq!(fifo.next_line().await, b"long");
        assert_eq!(fifo.next_line().await, &long_line.as_bytes()[..MAX_LINE]);
        assert!(tokio::time::timeout(Duration::from_millis(20), fifo.next_line()).await.is_err());
        // The half line that was read when the wait was dropped is not lost, nor does a writer's leaving end it.
        drop(writer);
        fs::write(&path, "g\n").expect("written");
        assert_eq!(fifo.next_line().await, b"long");
        drop(fifo);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_no_fifo_is_left_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("fifo");
        fs::write(&path, "precious").expect("written");
        assert!(Fifo::open(&path).is_err());
        assert_eq!(fs::read_to_string(&path).expect("there"), "precious");
    }

    #[tokio::test]
    async fn a_long_line_is_read_bit_by_bit() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("fifo");
        let mut fifo = Fifo::open(&path).expect("opens");
        let mut writer = fs::OpenOptions::new().write(true).open(&path).expect("opens");
        writer.write_all(&[b'x'; 4000]).expect("writes");
        for _ in 0..2 {
            // The runtime finds out that there is something to read.
            tokio::time::sleep(Duration::from_millis(10)).await;
            let mut next = std::pin::pin!(fifo.next_line());
            let look = std::future::poll_fn(|context| std::task::Poll::Ready(next.as_mut().poll(context)));
            assert!(look.await.is_pending());
        }
        assert!(rustix::io::ioctl_fionread(&fifo.pipe).expect("a pipe") >= 4000 - 128, "others had their turn");
    }
}

//! A button that is a FIFO: the line `short` or `long` presses it, as in `echo long > /run/sect/button`.

use std::io;
use std::path::Path;

use crate::proto::action::Press;
use crate::thing::fifo::Fifo;

/// A FIFO that only its owner may press.
#[derive(Debug)]
pub struct SimulatedButton(Fifo);

impl SimulatedButton {
    /// Makes the FIFO anew.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or something that is no FIFO stands in its place.
    pub fn open(path: &Path) -> io::Result<Self> {
        Fifo::open(path).map(Self)
    }

    /// Waits for the next press; lines that are none are passed over.
    pub async fn next(&mut self) -> Press {
        loop {
            match self.0.next_line().await.as_slice() {
                b"short" => return Press::Short,
                b"long" => return Press::Long,
                _ => tracing::debug!("a line that is no press"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn lines_are_presses_and_nothing_else_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("button");
        let mut button = SimulatedButton::open(&path).expect("opens");
        let mut finger = std::fs::OpenOptions::new().write(true).open(&path).expect("opens");
        write!(finger, "short\nlong\r\nSHORT\n\nlong long\nlon").expect("written");
        assert_eq!(button.next().await, Press::Short);
        assert_eq!(button.next().await, Press::Long);
        assert!(tokio::time::timeout(Duration::from_millis(20), button.next()).await.is_err());
        // The half line that was read when the wait was dropped is not lost.
        writeln!(finger, "g").expect("written");
        assert_eq!(button.next().await, Press::Long);
    }
}

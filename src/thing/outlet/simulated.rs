//! An outlet that is a file: `on` or `off`, and the end of a line.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::proto::message::OutletState;
use crate::proto::port::{Outlet, OutletFault};

/// A file that says whether the load has power.
#[derive(Debug)]
pub struct SimulatedOutlet {
    file: File,
}

impl SimulatedOutlet {
    /// Opens the file and reads it; where there is none, the load is off.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened, or says neither `on` nor `off`.
    pub fn open(path: &Path) -> io::Result<(Self, OutletState)> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o644).open(path)?;
        let mut text = Vec::with_capacity(8);
        (&mut file).take(8).read_to_end(&mut text)?;
        let outlet = Self { file };
        match text.trim_ascii() {
            b"on" => Ok((outlet, OutletState::On)),
            b"off" => Ok((outlet, OutletState::Off)),
            b"" => outlet.write(OutletState::Off).map(|()| (outlet, OutletState::Off)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the outlet's file says neither on nor off")),
        }
    }

    /// Writes words of one length in place, so that a reader sees the old one or the new one. Nothing waits for the
    /// disk: a real outlet keeps no record either.
    fn write(&self, state: OutletState) -> io::Result<()> {
        let text = match state {
            OutletState::On => "on \n",
            OutletState::Off => "off\n",
        };
        self.file.write_all_at(text.as_bytes(), 0)
    }
}

impl Outlet for SimulatedOutlet {
    fn set(&mut self, state: OutletState) -> Result<(), OutletFault> {
        self.write(state).map_err(|error| {
            tracing::warn!(%error, "the outlet's file was not written");
            OutletFault
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_file_says_what_was_set() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("outlet");
        let (mut outlet, state) = SimulatedOutlet::open(&path).expect("opens");
        assert_eq!(state, OutletState::Off);
        assert_eq!(fs::read_to_string(&path).expect("written"), "off\n");
        for (state, text) in [
            (OutletState::On, "on \n"),
            (OutletState::On, "on \n"),
            (OutletState::Off, "off\n"),
            (OutletState::On, "on \n"),
        ] {
            assert_eq!(outlet.set(state), Ok(()));
            assert_eq!(fs::read_to_string(&path).expect("written"), text);
        }
    }

    #[test]
    fn opening_it_again_does_not_switch() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("outlet");
        let (mut outlet, _) = SimulatedOutlet::open(&path).expect("opens");
        assert_eq!(outlet.set(OutletState::On), Ok(()));
        drop(outlet);
        let (_, state) = SimulatedOutlet::open(&path).expect("opens");
        assert_eq!(state, OutletState::On);
        assert_eq!(fs::read_to_string(&path).expect("written"), "on \n");
    }

    #[test]
    fn a_file_that_is_no_outlet_is_left_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("outlet");
        fs::write(&path, "precious").expect("written");
        assert!(SimulatedOutlet::open(&path).is_err());
        assert_eq!(fs::read_to_string(&path).expect("there"), "precious");
    }

    #[test]
    fn an_outlet_that_does_not_switch_says_so() {
        let file = File::open("/dev/null").expect("for reading alone");
        assert_eq!(SimulatedOutlet { file }.set(OutletState::On), Err(OutletFault));
    }
}

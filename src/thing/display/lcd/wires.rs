//! The pins of a display on six GPIO lines: RS, enable and the upper half of the data; R/W is wired to ground.

use std::io;

use ::lcd::{Delay, Hardware};

use super::{Pins, sleep_us};
use crate::thing::gpio::{OutputLine, Place};

/// A line that is set.
pub(in crate::thing::display) trait Line {
    /// Opens it; an open one stays as it is.
    ///
    /// # Errors
    ///
    /// When there is none.
    fn open(&mut self) -> io::Result<()>;

    /// Sets it.
    ///
    /// # Errors
    ///
    /// When it cannot be set.
    fn set(&mut self, high: bool) -> io::Result<()>;
}

/// Six lines to a display.
#[derive(Debug)]
pub(in crate::thing::display) struct Wires<L> {
    rs: L,
    enable: L,
    /// D4 to D7.
    data: [L; 4],
    failed: Option<io::Error>,
}

impl<L: Line> Wires<L> {
    /// A display on these lines.
    pub(in crate::thing::display) const fn new(rs: L, enable: L, data: [L; 4]) -> Self {
        Self { rs, enable, data, failed: None }
    }

    fn note(failed: &mut Option<io::Error>, set: io::Result<()>) {
        if let (Err(error), None) = (set, &failed) {
            *failed = Some(error);
        }
    }
}

impl<L: Line> Pins for Wires<L> {
    fn open(&mut self) -> io::Result<()> {
        self.rs.open()?;
        self.enable.open()?;
        self.data.iter_mut().try_for_each(Line::open)
    }

    fn check(&mut self) -> io::Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }
}

impl<L: Line> Hardware for Wires<L> {
    fn rs(&mut self, bit: bool) {
        Self::note(&mut self.failed, self.rs.set(bit));
    }

    fn enable(&mut self, bit: bool) {
        Self::note(&mut self.failed, self.enable.set(bit));
    }

    fn data(&mut self, data: u8) {
        for (place, line) in self.data.iter_mut().enumerate() {
            Self::note(&mut self.failed, line.set(data & 1 << place != 0));
        }
    }
}

impl<L> Delay for Wires<L> {
    fn delay_us(&mut self, us: u32) {
        sleep_us(us);
    }
}

/// A GPIO line of the board.
#[derive(Debug)]
pub(in crate::thing::display) struct GpioLine {
    place: Place,
    line: Option<OutputLine>,
}

impl GpioLine {
    /// A line; nothing is opened yet.
    #[must_use]
    pub(in crate::thing::display) const fn new(place: Place) -> Self {
        Self { place, line: None }
    }
}

impl Line for GpioLine {
    fn open(&mut self) -> io::Result<()> {
        if self.line.is_none() {
            self.line = Some(OutputLine::open(&self.place)?);
        }
        Ok(())
    }

    fn set(&mut self, high: bool) -> io::Result<()> {
        self.line.as_mut().ok_or(io::ErrorKind::NotConnected)?.set(high)
    }
}

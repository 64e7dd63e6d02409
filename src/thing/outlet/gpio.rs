//! An outlet that is a GPIO line behind a relay board.

use std::io;

use crate::proto::message::OutletState;
use crate::proto::port::{Outlet, OutletFault};
use crate::thing::gpio::{OutputLine, Place};

/// A line that holds the relay.
#[derive(Debug)]
pub struct GpioOutlet {
    line: OutputLine,
}

impl GpioOutlet {
    /// Opens the line and reads what the load has; it has the same afterwards.
    ///
    /// # Errors
    ///
    /// When the line does not exist, or another program holds it.
    pub fn open(place: &Place) -> io::Result<(Self, OutletState)> {
        let line = OutputLine::open(place)?;
        let state = OutletState::from_on(line.is_on()?);
        Ok((Self { line }, state))
    }

    /// What was set is read back: a line that another program took, or that is shorted, did not switch.
    fn set_and_check(&mut self, on: bool) -> io::Result<()> {
        self.line.set(on)?;
        if self.line.is_on()? == on { Ok(()) } else { Err(io::Error::other("the line did not follow")) }
    }
}

impl Outlet for GpioOutlet {
    fn set(&mut self, state: OutletState) -> Result<(), OutletFault> {
        self.set_and_check(state.is_on()).map_err(|error| {
            tracing::warn!(%error, "the outlet's line was not set");
            OutletFault
        })
    }
}

//! The power relay: what switches is chosen by the configuration.
//!
//! Opening an outlet never switches it: a restart of the daemon leaves the load as it is.

mod gpio;
mod simulated;

use std::io;

pub use gpio::GpioOutlet;
pub use simulated::SimulatedOutlet;

use super::config::Config;
use super::held::Held;
use crate::proto::message::OutletState;
use crate::proto::port::{Outlet, OutletFault};

/// The outlet that the configuration chose.
#[derive(Debug)]
pub struct OutletDriver {
    back_end: BackEnd,
    was_set: bool,
}

#[derive(Debug)]
enum BackEnd {
    /// A file.
    Simulated(SimulatedOutlet),
    /// A line.
    Gpio(GpioOutlet),
}

impl OutletDriver {
    /// Opens the outlet and reads what the load has now.
    ///
    /// # Errors
    ///
    /// When the hardware, or the file that stands for it, cannot be opened.
    pub fn open(config: &Config) -> io::Result<(Self, OutletState)> {
        Self::take_over(config, Held::default())
    }

    /// The same, where an earlier start may have given its line to the service manager. What is held for another
    /// line is given up.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn take_over(config: &Config, held: Held) -> io::Result<(Self, OutletState)> {
        let (back_end, state) = match config.outlet.place() {
            None => {
                let (outlet, state) = SimulatedOutlet::open(&config.outlet_path())?;
                (BackEnd::Simulated(outlet), state)
            }
            Some(place) => {
                let (outlet, state) = GpioOutlet::open(&place, held)?;
                (BackEnd::Gpio(outlet), state)
            }
        };
        Ok((Self { back_end, was_set: false }, state))
    }

    /// Whether it was set since this was asked last, with success or not: a coil that moves can disturb what
    /// hangs on the same supply.
    pub fn take_was_set(&mut self) -> bool {
        std::mem::take(&mut self.was_set)
    }
}

impl Outlet for OutletDriver {
    fn set(&mut self, state: OutletState) -> Result<(), OutletFault> {
        self.was_set = true;
        match &mut self.back_end {
            BackEnd::Simulated(outlet) => outlet.set(state),
            BackEnd::Gpio(outlet) => outlet.set(state),
        }
    }
}

//! The power relay: what switches is chosen by the configuration.
//!
//! Opening an outlet never switches it: a restart of the daemon leaves the load as it is.

mod gpio;
mod simulated;

use std::io;

pub use gpio::GpioOutlet;
pub use simulated::SimulatedOutlet;

use super::config::Config;
use crate::proto::message::OutletState;
use crate::proto::port::{Outlet, OutletFault};

/// The outlet that the configuration chose.
#[derive(Debug)]
pub enum OutletDriver {
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
        match config.outlet.place() {
            None => {
                SimulatedOutlet::open(&config.outlet_path()).map(|(outlet, state)| (Self::Simulated(outlet), state))
            }
            Some(place) => GpioOutlet::open(&place).map(|(outlet, state)| (Self::Gpio(outlet), state)),
        }
    }
}

impl Outlet for OutletDriver {
    fn set(&mut self, state: OutletState) -> Result<(), OutletFault> {
        match self {
            Self::Simulated(outlet) => outlet.set(state),
            Self::Gpio(outlet) => outlet.set(state),
        }
    }
}

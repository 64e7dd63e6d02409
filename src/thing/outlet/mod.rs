//! The power relay: what switches is chosen by the configuration.
//!
//! Opening an outlet never switches it: a restart of the daemon leaves the load as it is.

mod simulated;

use std::io;

pub use simulated::SimulatedOutlet;

use super::config::{Config, OutletDriverName};
use crate::proto::message::OutletState;
use crate::proto::port::{Outlet, OutletFault};

/// The outlet that the configuration chose.
#[derive(Debug)]
pub enum OutletDriver {
    /// A file.
    Simulated(SimulatedOutlet),
}

impl OutletDriver {
    /// Opens the outlet and reads what the load has now.
    ///
    /// # Errors
    ///
    /// When the hardware, or the file that stands for it, cannot be opened.
    pub fn open(config: &Config) -> io::Result<(Self, OutletState)> {
        match config.outlet.driver {
            OutletDriverName::Simulated => {
                let (outlet, state) = SimulatedOutlet::open(&config.outlet_path())?;
                Ok((Self::Simulated(outlet), state))
            }
        }
    }
}

impl Outlet for OutletDriver {
    fn set(&mut self, state: OutletState) -> Result<(), OutletFault> {
        match self {
            Self::Simulated(outlet) => outlet.set(state),
        }
    }
}

//! The button on the thing.

mod gpio;
mod simulated;

use std::io;

pub use gpio::{GpioButton, LONG};
pub use simulated::SimulatedButton;

use super::config::Config;
use crate::proto::action::Press;

/// The button that the configuration chose.
#[derive(Debug)]
pub enum Button {
    /// A FIFO.
    Simulated(SimulatedButton),
    /// A line.
    Gpio(GpioButton),
}

impl Button {
    /// Opens the button, inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the hardware, or the FIFO that stands for it, cannot be opened.
    pub fn open(config: &Config) -> io::Result<Self> {
        match config.button.place() {
            None => SimulatedButton::open(&config.button_path()).map(Self::Simulated),
            Some(place) => GpioButton::open(&place).map(Self::Gpio),
        }
    }

    /// Waits for the next press. Dropping it half-way loses none.
    pub async fn next(&mut self) -> Press {
        match self {
            Self::Simulated(button) => button.next().await,
            Self::Gpio(button) => button.next().await,
        }
    }
}

//! The display: two lines of 16 characters, which whoever stands before the plug can read.
//!
//! What stands on it while the access point is open claims the thing (SecT STEP 1), so the back ends
//! show it to its owner's eyes alone. A display that fails never stops the plug.

mod examples;
mod file;
mod lcd;
mod render;
mod terminal;

use std::io;

pub use examples::examples;
pub use file::FileDisplay;
use lcd::{Backpack, GpioLine, KernelBus, LcdDisplay, Wires};
pub use render::{COLUMNS, render};
pub use terminal::TerminalDisplay;

use super::config::{Config, DisplayConfig, DisplayDriverName};
use super::log;
use crate::proto::action::Screen;

/// Shows what the machine wants shown.
pub trait Display {
    /// Shows it, if it can; a failure is logged once and stops nothing.
    fn show(&mut self, screen: &Screen);

    /// The load was switched, and the spike may have garbled what stands there: draws it once more.
    fn show_again(&mut self) {}
}

/// Opens the display that the configuration chose.
///
/// # Errors
///
/// When it could show the passcode to others than who stands before it: a terminal display whose
/// standard error goes to the journal.
pub fn open(config: &Config) -> io::Result<Box<dyn Display>> {
    match config.display.driver {
        DisplayDriverName::File => Ok(Box::new(FileDisplay::new(config.display_path()))),
        DisplayDriverName::Terminal if log::stderr_is_journal() => Err(io::Error::other(
            "display.driver = \"terminal\" would write the passcode into the journal; set it to \"file\"",
        )),
        DisplayDriverName::Terminal => Ok(Box::new(TerminalDisplay::new(io::stderr()))),
        DisplayDriverName::LcdI2c => {
            let DisplayConfig { bus, address, .. } = config.display;
            Ok(Box::new(LcdDisplay::start(Backpack::new(KernelBus::new(bus), address))?))
        }
        DisplayDriverName::LcdRppal | DisplayDriverName::LcdGpiocdev => {
            let [rs, enable, data @ ..] =
                config.display.places().expect("these drivers have six lines").map(GpioLine::new);
            Ok(Box::new(LcdDisplay::start(Wires::new(rs, enable, data))?))
        }
    }
}

/// Remembers whether the last attempt failed, so that a broken display is logged once.
#[derive(Debug, Default)]
struct Health {
    failed: bool,
}

impl Health {
    fn note(&mut self, result: io::Result<()>) {
        match result {
            Ok(()) => self.failed = false,
            Err(error) if !self.failed => {
                tracing::warn!(%error, "the display shows nothing");
                self.failed = true;
            }
            Err(_) => {}
        }
    }
}

//! The display: two lines of 16 characters, which whoever stands before the plug can read.
//!
//! What stands on it while the access point is open claims the thing (SecT STEP 1), so the back ends
//! show it to its owner's eyes alone. A display that fails never stops the plug.

mod examples;
mod file;
mod glass;
mod lcd;
mod render;
mod terminal;

use std::io;

pub use examples::examples;
pub use file::FileDisplay;
pub use glass::{Glass, Picture, picture};
pub use lcd::{ADDRESSES, neighbours};
use lcd::{Backpack, GpioLine, KernelBus, LcdDisplay, Panel, Wires};
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
    let DisplayConfig { driver, bus, address, .. } = config.display;
    Ok(match driver {
        DisplayDriverName::File => Box::new(FileDisplay::new(config.display_path())),
        DisplayDriverName::Terminal => Box::new(terminal()?),
        DisplayDriverName::LcdI2c => Box::new(LcdDisplay::start(Backpack::new(KernelBus::new(bus), address))?),
        DisplayDriverName::LcdRppal | DisplayDriverName::LcdGpiocdev => Box::new(LcdDisplay::start(wires(config))?),
    })
}

/// The same display for the bench in the workshop: it says what fails, and each call draws.
///
/// # Errors
///
/// As [`open`].
pub fn open_glass(config: &Config) -> io::Result<Box<dyn Glass>> {
    let DisplayConfig { driver, bus, address, .. } = config.display;
    Ok(match driver {
        DisplayDriverName::File => Box::new(FileDisplay::new(config.display_path())),
        DisplayDriverName::Terminal => Box::new(terminal()?),
        DisplayDriverName::LcdI2c => Box::new(Panel::new(Backpack::new(KernelBus::new(bus), address))),
        DisplayDriverName::LcdRppal | DisplayDriverName::LcdGpiocdev => Box::new(Panel::new(wires(config))),
    })
}

fn terminal() -> io::Result<TerminalDisplay<io::Stderr>> {
    if log::stderr_is_journal() {
        return Err(io::Error::other(
            "display.driver = \"terminal\" would write the passcode into the journal; set it to \"file\"",
        ));
    }
    Ok(TerminalDisplay::new(io::stderr()))
}

fn wires(config: &Config) -> Wires<GpioLine> {
    let places = config.display.places().expect("who asks for wires has chosen one of the two drivers with six lines");
    let [rs, enable, data @ ..] = places.map(GpioLine::new);
    Wires::new(rs, enable, data)
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

//! Lines of general-purpose input and output, by `rppal` on a Raspberry Pi or by the kernel's character
//! device on any Linux board.
//!
//! A line that is an output already keeps its level when it is opened, and keeps it when the daemon ends or
//! is killed: a restart never touches the load.

mod edges;

use std::io;
use std::path::PathBuf;

use gpiocdev::line::{Direction, Value};
use serde::Deserialize;

pub use edges::{DEBOUNCE, Edge, Edges};

/// Who sets the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GpioDriver {
    /// The registers of a Raspberry Pi's processor; it refuses to run elsewhere.
    Rppal,
    /// The kernel's character device, `/dev/gpiochip0`.
    Gpiocdev,
}

/// Which voltage means "on".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Active {
    /// The supply's.
    #[default]
    High,
    /// None: many relay boards switch on when their input is pulled down.
    Low,
}

/// Where a line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Who sets it.
    pub driver: GpioDriver,
    /// The character device; `rppal` needs none.
    pub chip: PathBuf,
    /// The BCM number on a Raspberry Pi, the offset on any other chip.
    pub pin: u8,
    /// Which voltage means "on".
    pub active: Active,
}

/// A line that is set.
#[derive(Debug)]
pub struct OutputLine {
    back_end: BackEnd,
    active: Active,
}

#[derive(Debug)]
enum BackEnd {
    Rppal(rppal::gpio::OutputPin),
    Gpiocdev(gpiocdev::Request),
}

impl OutputLine {
    /// Opens a line as an output. One that is an output already keeps its level; one that was an input, as
    /// after a power cut, is off.
    ///
    /// # Errors
    ///
    /// When the line does not exist, or another program holds it.
    pub fn open(place: &Place) -> io::Result<Self> {
        let back_end = match place.driver {
            GpioDriver::Rppal => BackEnd::Rppal(open_rppal(place)?),
            GpioDriver::Gpiocdev => BackEnd::Gpiocdev(open_gpiocdev(place)?),
        };
        Ok(Self { back_end, active: place.active })
    }

    /// Whether it is on.
    ///
    /// # Errors
    ///
    /// When the line cannot be read.
    pub fn is_on(&self) -> io::Result<bool> {
        match &self.back_end {
            BackEnd::Rppal(pin) => Ok(pin.is_set_high() == (self.active == Active::High)),
            BackEnd::Gpiocdev(request) => Ok(request.lone_value().map_err(io::Error::other)? == Value::Active),
        }
    }

    /// Sets it.
    ///
    /// # Errors
    ///
    /// When the line cannot be set.
    pub fn set(&mut self, on: bool) -> io::Result<()> {
        match &mut self.back_end {
            BackEnd::Rppal(pin) => {
                pin.write((on == (self.active == Active::High)).into());
                Ok(())
            }
            BackEnd::Gpiocdev(request) => {
                request.set_lone_value(if on { Value::Active } else { Value::Inactive }).map_err(io::Error::other)
            }
        }
    }
}

fn open_rppal(place: &Place) -> io::Result<rppal::gpio::OutputPin> {
    let pin = rppal::gpio::Gpio::new().and_then(|gpio| gpio.get(place.pin)).map_err(|error| named(place, &error))?;
    let mut output = match (pin.mode(), place.active) {
        (rppal::gpio::Mode::Output, _) => pin.into_output(),
        (_, Active::High) => pin.into_output_low(),
        (_, Active::Low) => pin.into_output_high(),
    };
    output.set_reset_on_drop(false);
    Ok(output)
}

/// The line is looked at before it is asked for: asking for it as it is would make no output of it, and as an
/// output would set it.
fn open_gpiocdev(place: &Place) -> io::Result<gpiocdev::Request> {
    let mut builder = gpiocdev::Request::builder();
    builder.on_chip(&place.chip).with_consumer("sectd").with_line(place.pin.into());
    match place.active {
        Active::High => builder.as_active_high(),
        Active::Low => builder.as_active_low(),
    };
    let as_it_is = builder.as_is().request().map_err(|error| named(place, &error))?;
    let chip = gpiocdev::Chip::from_path(&place.chip).map_err(|error| named(place, &error))?;
    let direction = chip.line_info(place.pin.into()).map_err(|error| named(place, &error))?.direction;
    let value = match direction {
        Direction::Output => as_it_is.lone_value().map_err(|error| named(place, &error))?,
        Direction::Input => Value::Inactive,
    };
    // Changed and not opened anew: the line is never anybody's in between.
    let mut output = as_it_is.config();
    output.as_output(value);
    as_it_is.reconfigure(&output).map_err(|error| named(place, &error))?;
    Ok(as_it_is)
}

/// What failed, and at which line.
fn named(place: &Place, error: &dyn std::fmt::Display) -> io::Error {
    let at = match place.driver {
        GpioDriver::Rppal => String::new(),
        GpioDriver::Gpiocdev => format!(" of {}", place.chip.display()),
    };
    io::Error::other(format!("GPIO line {}{at}: {error}", place.pin))
}

//! Lines of general-purpose input and output, by `rppal` on a Raspberry Pi or by the kernel's character
//! device on any Linux board.
//!
//! A line that is an output already keeps its level when it is opened. When the daemon ends or is killed, `rppal`
//! leaves it as it is: it sets registers, and the kernel knows nothing of it. A line of the character device is
//! the kernel's again as soon as nobody has it open; what becomes of its level is then up to the chip's driver.
//! So a copy of it can be handed to somebody who outlives the daemon ([`OutputLine::to_hand_over`]).

mod edges;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use gpiocdev::line::{Direction, Value};
use gpiocdev_uapi::Errno;
use gpiocdev_uapi::v2::{LineValues, get_line_values, set_line_values};
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
    /// The open line; it is the only one of its request.
    Gpiocdev(File),
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

    /// The line that an earlier daemon has handed over, at this very place: it was never released.
    ///
    /// # Errors
    ///
    /// When it is no line, or its chip is gone.
    pub fn handed_over(place: &Place, line: OwnedFd) -> io::Result<Self> {
        let line = Self { back_end: BackEnd::Gpiocdev(line.into()), active: place.active };
        line.is_on().map_err(|error| named(place, &error))?;
        Ok(line)
    }

    /// What keeps the line open, if that can be handed over.
    #[must_use]
    pub fn to_hand_over(&self) -> Option<BorrowedFd<'_>> {
        match &self.back_end {
            BackEnd::Rppal(_) => None,
            BackEnd::Gpiocdev(line) => Some(line.as_fd()),
        }
    }

    /// Whether it is on.
    ///
    /// # Errors
    ///
    /// When the line cannot be read.
    pub fn is_on(&self) -> io::Result<bool> {
        match &self.back_end {
            BackEnd::Rppal(pin) => Ok(pin.is_set_high() == (self.active == Active::High)),
            BackEnd::Gpiocdev(line) => {
                let mut values = LineValues { bits: 0, mask: FIRST };
                get_line_values(line, &mut values).map_err(io::Error::other)?;
                Ok(values.bits & FIRST != 0)
            }
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
            BackEnd::Gpiocdev(line) => {
                let values = LineValues { bits: if on { FIRST } else { 0 }, mask: FIRST };
                set_line_values(line, &values).map_err(io::Error::other)
            }
        }
    }
}

/// The first line of a request, and the only one.
const FIRST: u64 = 1;

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
fn open_gpiocdev(place: &Place) -> io::Result<File> {
    let mut builder = gpiocdev::Request::builder();
    builder.on_chip(&place.chip).with_consumer("sectd").with_line(place.pin.into());
    match place.active {
        Active::High => builder.as_active_high(),
        Active::Low => builder.as_active_low(),
    };
    let as_it_is = builder.as_is().request().map_err(|error| refused(place, &error))?;
    let chip = gpiocdev::Chip::from_path(&place.chip).map_err(|error| refused(place, &error))?;
    let direction = chip.line_info(place.pin.into()).map_err(|error| refused(place, &error))?.direction;
    let value = match direction {
        Direction::Output => as_it_is.lone_value().map_err(|error| refused(place, &error))?,
        Direction::Input => Value::Inactive,
    };
    // Changed and not opened anew: the line is never anybody's in between.
    let mut output = as_it_is.config();
    output.as_output(value);
    as_it_is.reconfigure(&output).map_err(|error| refused(place, &error))?;
    as_it_is.as_fd().try_clone_to_owned().map(File::from)
}

/// What failed, and at which line.
fn named(place: &Place, error: &dyn std::fmt::Display) -> io::Error {
    let at = match place.driver {
        GpioDriver::Rppal => String::new(),
        GpioDriver::Gpiocdev => format!(" of {}", place.chip.display()),
    };
    io::Error::other(format!("GPIO line {}{at}: {error}", place.pin))
}

/// The two that a person can do something about are said in his words.
fn refused(place: &Place, error: &gpiocdev::Error) -> io::Error {
    let code = match error {
        gpiocdev::Error::Os(Errno(code)) | gpiocdev::Error::Uapi(_, gpiocdev_uapi::Error::Os(Errno(code))) => *code,
        _ => 0,
    };
    match io::Error::from_raw_os_error(code).kind() {
        io::ErrorKind::ResourceBusy => named(place, &"in use by another program"),
        io::ErrorKind::NotFound => named(place, &"there is no such chip"),
        _ => named(place, error),
    }
}

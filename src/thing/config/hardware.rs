//! What the board has: `[outlet]`, `[button]`, `[display]` and `[led]`.

use std::path::PathBuf;

use serde::Deserialize;

use crate::thing::gpio::{Active, GpioDriver, Place};

/// `[outlet]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct OutletConfig {
    /// What switches.
    pub driver: OutletDriverName,
    /// The simulated outlet's file; `outlet` in the runtime folder without it.
    pub path: Option<PathBuf>,
    /// The relay's line: the BCM number on a Raspberry Pi, the offset elsewhere.
    pub pin: u8,
    /// Which voltage switches it on.
    pub active: Active,
    /// The character device of `gpiocdev`.
    pub chip: PathBuf,
}

/// What switches the load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutletDriverName {
    /// A file that says `on` or `off`.
    #[default]
    Simulated,
    /// A line of a Raspberry Pi.
    Rppal,
    /// A line of any Linux board.
    Gpiocdev,
}

/// `[button]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ButtonConfig {
    /// What is pressed.
    pub driver: ButtonDriverName,
    /// The simulated button's FIFO; `button` in the runtime folder without it.
    pub path: Option<PathBuf>,
    /// The button's line.
    pub pin: u8,
    /// Which voltage means that it is pressed; it is pulled to the other one.
    pub active: Active,
    /// The character device of `gpiocdev`.
    pub chip: PathBuf,
}

/// What is pressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ButtonDriverName {
    /// A FIFO that takes the lines `short` and `long`.
    #[default]
    Simulated,
    /// A line of a Raspberry Pi.
    Rppal,
    /// A line of any Linux board.
    Gpiocdev,
}

/// `[led]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LedConfig {
    /// What lights up.
    pub driver: LedDriverName,
    /// The LED's line.
    pub pin: u8,
    /// Which voltage lights it.
    pub active: Active,
    /// The character device of `gpiocdev`.
    pub chip: PathBuf,
}

/// What lights up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LedDriverName {
    /// Nothing.
    #[default]
    None,
    /// A line of a Raspberry Pi.
    Rppal,
    /// A line of any Linux board.
    Gpiocdev,
}

/// `[display]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DisplayConfig {
    /// What shows.
    pub driver: DisplayDriverName,
    /// The file display's file; `display` in the runtime folder without it.
    pub path: Option<PathBuf>,
    /// `lcd-i2c`: the bus, as in `/dev/i2c-1`.
    pub bus: u8,
    /// `lcd-i2c`: where the backpack is; 0x27 and 0x3f are tried without it.
    pub address: Option<u8>,
    /// `lcd-rppal`, `lcd-gpiocdev`: the line of RS.
    pub rs: u8,
    /// The line of enable.
    pub enable: u8,
    /// The lines of D4 to D7.
    pub data: [u8; 4],
    /// The character device of `lcd-gpiocdev`.
    pub chip: PathBuf,
}

/// What shows the two lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DisplayDriverName {
    /// A file of two lines that only its owner reads.
    #[default]
    File,
    /// A box on the terminal.
    Terminal,
    /// A character display with an I2C backpack.
    LcdI2c,
    /// A character display on six lines of a Raspberry Pi.
    LcdRppal,
    /// A character display on six lines of any Linux board.
    LcdGpiocdev,
}

impl Default for OutletConfig {
    fn default() -> Self {
        Self { driver: OutletDriverName::default(), path: None, pin: 17, active: Active::High, chip: first_chip() }
    }
}

impl Default for ButtonConfig {
    fn default() -> Self {
        Self { driver: ButtonDriverName::default(), path: None, pin: 27, active: Active::Low, chip: first_chip() }
    }
}

impl Default for LedConfig {
    fn default() -> Self {
        Self { driver: LedDriverName::default(), pin: 22, active: Active::High, chip: first_chip() }
    }
}

impl Default for DisplayConfig {
    fn default() -> Self {
        Self {
            driver: DisplayDriverName::default(),
            path: None,
            bus: 1,
            address: None,
            rs: 7,
            enable: 8,
            data: [25, 24, 23, 18],
            chip: first_chip(),
        }
    }
}

fn first_chip() -> PathBuf {
    "/dev/gpiochip0".into()
}

impl OutletConfig {
    /// Where the relay's line is, unless it is a file.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        let driver = match self.driver {
            OutletDriverName::Simulated => return None,
            OutletDriverName::Rppal => GpioDriver::Rppal,
            OutletDriverName::Gpiocdev => GpioDriver::Gpiocdev,
        };
        Some(Place { driver, chip: self.chip.clone(), pin: self.pin, active: self.active })
    }
}

impl ButtonConfig {
    /// Where the button's line is, unless it is a FIFO.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        let driver = match self.driver {
            ButtonDriverName::Simulated => return None,
            ButtonDriverName::Rppal => GpioDriver::Rppal,
            ButtonDriverName::Gpiocdev => GpioDriver::Gpiocdev,
        };
        Some(Place { driver, chip: self.chip.clone(), pin: self.pin, active: self.active })
    }
}

impl LedConfig {
    /// Where the LED's line is, if there is one.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        let driver = match self.driver {
            LedDriverName::None => return None,
            LedDriverName::Rppal => GpioDriver::Rppal,
            LedDriverName::Gpiocdev => GpioDriver::Gpiocdev,
        };
        Some(Place { driver, chip: self.chip.clone(), pin: self.pin, active: self.active })
    }
}

impl DisplayConfig {
    /// Where RS, enable and D4 to D7 are, if the display is wired so.
    #[must_use]
    pub fn places(&self) -> Option<[Place; 6]> {
        let driver = match self.driver {
            DisplayDriverName::LcdRppal => GpioDriver::Rppal,
            DisplayDriverName::LcdGpiocdev => GpioDriver::Gpiocdev,
            DisplayDriverName::File | DisplayDriverName::Terminal | DisplayDriverName::LcdI2c => return None,
        };
        let [d4, d5, d6, d7] = self.data;
        let place = |pin| Place { driver, chip: self.chip.clone(), pin, active: Active::High };
        Some([self.rs, self.enable, d4, d5, d6, d7].map(place))
    }
}

/// What does not fit together: a file for what is no file, or one line for two things.
pub(super) fn problem(
    outlet: &OutletConfig,
    button: &ButtonConfig,
    led: &LedConfig,
    display: &DisplayConfig,
) -> Option<(&'static str, &'static str)> {
    if outlet.path.is_some() && outlet.place().is_some() {
        return Some(("outlet.path", "remove it, or set outlet.driver = \"simulated\""));
    }
    if button.path.is_some() && button.place().is_some() {
        return Some(("button.path", "remove it, or set button.driver = \"simulated\""));
    }
    if display.path.is_some() && display.driver != DisplayDriverName::File {
        return Some(("display.path", "remove it, or set display.driver = \"file\""));
    }
    if display.address.is_some_and(|address| !(0x08..=0x77).contains(&address)) {
        return Some(("display.address", "write an address of the bus, from 0x08 to 0x77"));
    }
    let single = [outlet.place(), button.place(), led.place()];
    let lines = single.into_iter().flatten().chain(display.places().into_iter().flatten());
    let mut taken: Vec<_> = lines.map(|place| (place.chip, place.pin)).collect();
    taken.sort();
    if taken.windows(2).any(|pair| pair[0] == pair[1]) {
        return Some(("outlet.pin", "choose another: two things are on one line"));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("sectd.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_pi_with_its_parts() {
        let config = parse(
            "[outlet]\ndriver = \"rppal\"\nactive = \"low\"\n[button]\ndriver = \"rppal\"\n[display]\ndriver = \"lcd-i2c\"\naddress = 0x3f\n",
        )
        .expect("read");
        let place = |pin, active| Place { driver: GpioDriver::Rppal, chip: first_chip(), pin, active };
        assert_eq!(config.outlet.place(), Some(place(17, Active::Low)));
        assert_eq!(config.button.place(), Some(place(27, Active::Low)));
        assert_eq!((config.display.address, config.display.places()), (Some(0x3f), None));
    }

    #[test]
    fn a_line_is_for_one_thing() {
        let both = "[outlet]\ndriver = \"gpiocdev\"\npin = 27\n[button]\ndriver = \"gpiocdev\"\n";
        assert!(parse(both).is_err_and(|error| error.contains("two things are on one line")));
        let wired = "[outlet]\ndriver = \"rppal\"\npin = 25\n[display]\ndriver = \"lcd-rppal\"\n";
        assert!(parse(wired).is_err_and(|error| error.contains("outlet.pin")));
        let led = "[outlet]\ndriver = \"rppal\"\npin = 22\n[led]\ndriver = \"rppal\"\n";
        assert!(parse(led).is_err_and(|error| error.contains("two things are on one line")));
        // Two chips have a line each with that number.
        let chips =
            "[outlet]\ndriver = \"gpiocdev\"\npin = 27\nchip = \"/dev/gpiochip1\"\n[button]\ndriver = \"gpiocdev\"\n";
        assert!(parse(chips).is_ok());
    }

    #[test]
    fn what_belongs_to_another_driver_is_named() {
        for (text, key) in [
            ("[outlet]\ndriver = \"rppal\"\npath = \"/o\"\n", "outlet.path"),
            ("[button]\ndriver = \"gpiocdev\"\npath = \"/b\"\n", "button.path"),
            ("[display]\ndriver = \"lcd-i2c\"\npath = \"/d\"\n", "display.path"),
            ("[display]\ndriver = \"lcd-i2c\"\naddress = 0x80\n", "display.address"),
        ] {
            assert!(parse(text).is_err_and(|error| error.contains(key)), "{text}");
        }
    }
}

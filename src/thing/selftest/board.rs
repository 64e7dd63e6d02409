//! Where things are on a Raspberry Pi, and what to do when a line does not open.

use std::io;

use crate::thing::gpio::{Active, GpioDriver, Place};

/// The pin of the 40-pin header for each BCM number (Raspberry Pi documentation, GPIO and the 40-pin header).
const HEADER: [(u8, u8); 26] = [
    (2, 3),
    (3, 5),
    (4, 7),
    (14, 8),
    (15, 10),
    (17, 11),
    (18, 12),
    (27, 13),
    (22, 15),
    (23, 16),
    (24, 18),
    (10, 19),
    (9, 21),
    (25, 22),
    (11, 23),
    (8, 24),
    (7, 26),
    (5, 29),
    (6, 31),
    (12, 32),
    (13, 33),
    (19, 35),
    (16, 36),
    (26, 37),
    (20, 38),
    (21, 40),
];

/// A line in words.
pub(super) fn name(place: &Place) -> String {
    match place.driver {
        GpioDriver::Rppal => match HEADER.iter().find(|(bcm, _)| *bcm == place.pin) {
            Some((bcm, pin)) => format!("GPIO {bcm} (header pin {pin}), by rppal"),
            None => format!("GPIO {}, by rppal", place.pin),
        },
        GpioDriver::Gpiocdev => format!("line {} of {}, by gpiocdev", place.pin, place.chip.display()),
    }
}

/// Which voltage counts, in words.
pub(super) const fn level(active: Active) -> &'static str {
    match active {
        Active::High => "high",
        Active::Low => "low",
    }
}

/// What to do about a line that did not open; `section` is its part of the settings.
pub(super) fn trouble(section: &str, place: &Place, error: &io::Error) -> String {
    let chip = place.chip.display();
    let text = error.to_string().to_lowercase();
    if text.contains("permission") || text.contains("not permitted") {
        "run it as root, who goes on as the daemon's user, and that one must be in the group gpio: sudo sectd selftest"
            .to_owned()
    } else if text.contains("busy") || text.contains("in use") {
        format!("another program holds the line: gpioinfo says which; or choose another {section}.pin")
    } else {
        match place.driver {
            GpioDriver::Rppal => format!(
                "rppal needs a Raspberry Pi and /dev/gpiomem; on another board set {section}.driver = \"gpiocdev\""
            ),
            GpioDriver::Gpiocdev if !place.chip.exists() => {
                format!("there is no {chip}: `ls /dev/gpiochip*` shows which there are; set {section}.chip")
            }
            GpioDriver::Gpiocdev => format!("`gpioinfo {chip}` shows the lines that there are; set {section}.pin"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(driver: GpioDriver, chip: &str) -> Place {
        Place { driver, chip: chip.into(), pin: 17, active: Active::High }
    }

    #[test]
    fn no_pin_of_the_header_is_there_twice() {
        for (at, (bcm, pin)) in HEADER.iter().enumerate() {
            assert!(HEADER[..at].iter().all(|(other, physical)| other != bcm && physical != pin), "{bcm}");
        }
        assert_eq!(name(&place(GpioDriver::Rppal, "")), "GPIO 17 (header pin 11), by rppal");
    }

    #[test]
    fn each_trouble_has_its_own_way_out() {
        let missing = place(GpioDriver::Gpiocdev, "/dev/gpiochip99");
        let there = place(GpioDriver::Gpiocdev, "/dev/null");
        for (place, error, expected) in [
            (&missing, "No such file or directory", "ls /dev/gpiochip*"),
            (&there, "offset out of range", "gpioinfo /dev/null"),
            (&there, "Device or resource busy (os error 16)", "another program"),
            (&there, "Permission denied (os error 13)", "sudo sectd"),
            (&place(GpioDriver::Rppal, ""), "Unknown Raspberry Pi model", "outlet.driver = \"gpiocdev\""),
        ] {
            let said = trouble("outlet", place, &io::Error::other(error));
            assert!(said.contains(expected), "{said}");
        }
    }
}

//! The pins of a display behind a PCF8574 on an I2C bus, as on the usual backpack (NXP PCF8574 data sheet):
//! P0 is RS, P1 R/W, P2 enable, P3 the backlight, P4 to P7 the upper half of the data.

use std::io;

use ::lcd::{Delay, Hardware};

use super::{Pins, sleep_us};

/// Where a backpack may be: PCF8574T and PCF8574AT with all three bridges open.
pub const ADDRESSES: [u8; 2] = [0x27, 0x3f];

const RS: u8 = 1;
const ENABLE: u8 = 4;
const BACKLIGHT: u8 = 8;

/// A bus that takes bytes for an address.
pub(in crate::thing::display) trait Bus {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    fn open(&mut self) -> io::Result<()>;

    /// Sends one byte.
    ///
    /// # Errors
    ///
    /// When nobody at that address takes it.
    fn write(&mut self, address: u8, byte: u8) -> io::Result<()>;
}

/// A PCF8574 with a display.
#[derive(Debug)]
pub(in crate::thing::display) struct Backpack<B> {
    bus: B,
    /// Where it may be.
    addresses: Vec<u8>,
    /// Where it is.
    found: Option<u8>,
    byte: u8,
    /// What the pins have.
    sent: u8,
    failed: Option<io::Error>,
}

impl<B: Bus> Backpack<B> {
    /// A backpack at `address`, or at the first of [`ADDRESSES`] that answers.
    pub(in crate::thing::display) fn new(bus: B, address: Option<u8>) -> Self {
        let addresses = address.map_or_else(|| ADDRESSES.to_vec(), |address| vec![address]);
        Self { bus, addresses, found: None, byte: BACKLIGHT, sent: BACKLIGHT, failed: None }
    }
}

impl<B: Bus> Pins for Backpack<B> {
    fn open(&mut self) -> io::Result<()> {
        if self.found.is_some() {
            return Ok(());
        }
        self.bus.open()?;
        // Enable falls before anything else changes: for the display, nothing but what had been begun.
        self.byte = self.sent & !ENABLE;
        let mut nobody = io::Error::new(io::ErrorKind::NotFound, "no address to look at");
        for &address in &self.addresses {
            match self.bus.write(address, self.byte) {
                Ok(()) => {
                    (self.found, self.sent) = (Some(address), self.byte);
                    // That may have been the end of an instruction, and the slowest takes 4.1 ms.
                    sleep_us(5000);
                    return Ok(());
                }
                Err(error) => nobody = io::Error::new(error.kind(), format!("no display at {address:#04x}: {error}")),
            }
        }
        Err(nobody)
    }

    fn check(&mut self) -> io::Result<()> {
        match self.failed.take() {
            None => Ok(()),
            Some(error) => {
                // It may have been pulled off: it is looked for again.
                self.found = None;
                Err(error)
            }
        }
    }

    fn address(&self) -> Option<u8> {
        self.found
    }
}

impl<B: Bus> Hardware for Backpack<B> {
    fn rs(&mut self, bit: bool) {
        self.byte = self.byte & !RS | if bit { RS } else { 0 };
    }

    fn enable(&mut self, bit: bool) {
        self.byte = self.byte & !ENABLE | if bit { ENABLE } else { 0 };
    }

    fn data(&mut self, data: u8) {
        self.byte = self.byte & 0x0f | data << 4;
    }

    fn apply(&mut self) {
        // After the first failure nothing more is sent: half a character would be another one.
        if let (Some(address), None) = (self.found, &self.failed) {
            match self.bus.write(address, self.byte) {
                Ok(()) => self.sent = self.byte,
                Err(error) => self.failed = Some(error),
            }
        }
    }
}

impl<B> Delay for Backpack<B> {
    fn delay_us(&mut self, us: u32) {
        sleep_us(us);
    }
}

/// An I2C bus of the kernel, `/dev/i2c-1`.
#[derive(Debug)]
pub(in crate::thing::display) struct KernelBus {
    number: u8,
    open: Option<rppal::i2c::I2c>,
}

impl KernelBus {
    /// The bus of this number; nothing is opened yet.
    #[must_use]
    pub(in crate::thing::display) const fn new(number: u8) -> Self {
        Self { number, open: None }
    }
}

impl Bus for KernelBus {
    fn open(&mut self) -> io::Result<()> {
        let bus = rppal::i2c::I2c::with_bus(self.number)
            .map_err(|error| io::Error::other(format!("/dev/i2c-{}: {error}", self.number)))?;
        self.open = Some(bus);
        Ok(())
    }

    fn write(&mut self, address: u8, byte: u8) -> io::Result<()> {
        let bus = self.open.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        bus.set_slave_address(address.into()).and_then(|()| bus.write(&[byte])).map(|_| ()).map_err(io::Error::other)
    }
}

/// Which of the addresses that the bridges of a backpack can set (PCF8574 0x20 to 0x27, PCF8574A 0x38 to 0x3f)
/// answer on a bus of the kernel. They are only read from: what answers may be something else.
///
/// # Errors
///
/// When the bus cannot be opened.
pub fn neighbours(bus: u8) -> io::Result<Vec<u8>> {
    let mut kernel = KernelBus::new(bus);
    kernel.open()?;
    Ok((0x20..=0x27).chain(0x38..=0x3f).filter(|&address| kernel.answers(address)).collect())
}

impl KernelBus {
    fn answers(&mut self, address: u8) -> bool {
        self.open
            .as_mut()
            .is_some_and(|bus| bus.set_slave_address(address.into()).and_then(|()| bus.read(&mut [0])).is_ok())
    }
}

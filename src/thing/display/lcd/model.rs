//! An HD44780 that sees nothing but its pins: it puts nibbles together, runs instructions, and notes each time
//! that it was not given the time it needs (Hitachi ADE-207-272, tables 6 and 12).

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::bus::Bus;
use super::wires::Line;

/// The controller, and the glass that it drives.
#[derive(Debug)]
pub(super) struct Model {
    rs: bool,
    enable: bool,
    /// D7 to D4; nothing is wired to the others.
    data: u8,
    enabled_at: Instant,
    busy_until: Instant,
    /// How many function sets have come since it has power, as far as they matter.
    function_sets: u8,
    four_bits: bool,
    two_lines: bool,
    /// The upper half of a byte that waits for its lower one.
    upper: Option<u8>,
    on: bool,
    increments: bool,
    address: usize,
    memory: [u8; 0x80],
    /// By how many places the picture was moved to the left.
    moved: usize,
    /// Whether what is written goes to the character generator, which nobody uses.
    to_generator: bool,
    /// Whatever the data sheet does not allow.
    pub(super) violations: Vec<String>,
    /// How often it was cleared: each time is seen as a flicker.
    pub(super) clears: usize,
}

impl Model {
    /// It gets power now.
    pub(super) fn power_on() -> Arc<Mutex<Self>> {
        let now = Instant::now();
        Arc::new(Mutex::new(Self {
            rs: false,
            enable: false,
            data: 0,
            enabled_at: now,
            busy_until: now,
            function_sets: 0,
            four_bits: false,
            two_lines: false,
            upper: None,
            on: false,
            increments: true,
            address: 0,
            memory: [b' '; 0x80],
            moved: 0,
            to_generator: false,
            violations: Vec::new(),
            clears: 0,
        }))
    }

    /// What a person reads; nothing while it is off.
    pub(super) fn shown(&self) -> Option<[String; 2]> {
        let line = |from: usize| (0..16).map(|at| char::from(self.memory[from + (at + self.moved) % 40])).collect();
        (self.on && self.two_lines).then(|| [line(0), line(0x40)])
    }

    /// A disturbance: half bytes that nobody sent, each with its RS. What it makes the controller do is not held
    /// against whoever drives it.
    pub(super) fn disturb(&mut self, nibbles: &[(bool, u8)]) {
        let known = self.violations.len();
        for &(rs, nibble) in nibbles {
            self.latch(rs, nibble);
        }
        self.violations.truncate(known);
        self.busy_until = Instant::now();
    }

    /// The supply breaks down for a moment: it is as after power-up, and knows it (ADE-207-272, reset function).
    pub(super) fn brown_out(&mut self) {
        (self.four_bits, self.two_lines, self.upper, self.on) = (false, false, None, false);
        (self.function_sets, self.increments, self.address, self.moved) = (0, true, 0, 0);
        (self.to_generator, self.memory) = (false, [b' '; 0x80]);
    }

    fn pins(&mut self, rs: bool, enable: bool, data: u8) {
        let now = Instant::now();
        if self.enable && (rs != self.rs || data != self.data) {
            self.violations.push("RS or data changed while enable was high".to_owned());
        }
        if !self.enable && enable {
            self.enabled_at = now;
        }
        if self.enable && !enable {
            if now - self.enabled_at < Duration::from_nanos(450) {
                self.violations.push("enable was high for less than 450 ns".to_owned());
            }
            if now < self.busy_until {
                self.violations.push(format!("still busy for {:?}", self.busy_until - now));
            }
            self.latch(rs, data);
        }
        (self.rs, self.enable, self.data) = (rs, enable, data);
    }

    fn latch(&mut self, rs: bool, nibble: u8) {
        let byte = match (self.four_bits, self.upper.take()) {
            (false, _) => nibble << 4,
            (true, Some(upper)) => upper << 4 | nibble,
            (true, None) => {
                self.upper = Some(nibble);
                return;
            }
        };
        let takes = if rs { self.write(byte) } else { self.run(byte) };
        self.busy_until = Instant::now() + Duration::from_micros(takes);
    }

    fn write(&mut self, byte: u8) -> u64 {
        if !self.to_generator {
            self.memory[self.address] = byte;
        }
        self.address = if self.increments { (self.address + 1) % 0x80 } else { self.address.saturating_sub(1) };
        41
    }

    fn run(&mut self, byte: u8) -> u64 {
        match byte {
            0x80.. => (self.address, self.to_generator) = (usize::from(byte & 0x7f), false),
            0x40..=0x7f => self.to_generator = true,
            0x20..=0x3f => {
                self.four_bits = byte & 0x10 == 0;
                self.two_lines = byte & 0x08 != 0;
                self.function_sets = self.function_sets.saturating_add(1);
                match self.function_sets {
                    1 => return 4100,
                    2 => return 100,
                    _ => {}
                }
            }
            0x08..=0x0f => self.on = byte & 0x04 != 0,
            0x04..=0x07 => {
                self.increments = byte & 0x02 != 0;
                if byte & 0x01 != 0 {
                    self.violations.push("the picture would move".to_owned());
                }
            }
            0x10..=0x1f => match byte & 0x0c {
                0x08 => self.moved = (self.moved + 1) % 40,
                0x0c => self.moved = (self.moved + 39) % 40,
                _ => {}
            },
            0x02 | 0x03 => {
                (self.address, self.moved, self.to_generator) = (0, 0, false);
                return 1520;
            }
            0x01 => {
                (self.address, self.memory, self.moved, self.increments) = (0, [b' '; 0x80], 0, true);
                self.to_generator = false;
                self.clears += 1;
                return 1520;
            }
            0x00 => {}
        }
        37
    }
}

pub(super) fn look(model: &Mutex<Model>) -> MutexGuard<'_, Model> {
    model.lock().expect("no test panics with it")
}

/// The model behind a PCF8574, at one address.
#[derive(Debug, Clone)]
pub(super) struct ModelBus {
    pub(super) model: Arc<Mutex<Model>>,
    /// Where it answers; `None` when it was pulled off.
    pub(super) address: Arc<Mutex<Option<u8>>>,
    /// After how many bytes one is not taken.
    pub(super) fails_after: Arc<Mutex<Option<usize>>>,
}

impl Bus for ModelBus {
    fn open(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn write(&mut self, address: u8, byte: u8) -> io::Result<()> {
        if *self.address.lock().expect("no test panics with it") != Some(address) {
            return Err(io::Error::other("no acknowledgement"));
        }
        let mut fails_after = self.fails_after.lock().expect("no test panics with it");
        *fails_after = match *fails_after {
            Some(0) => {
                *fails_after = None;
                return Err(io::Error::other("arbitration lost"));
            }
            left => left.map(|left| left - 1),
        };
        drop(fails_after);
        let mut model = look(&self.model);
        if byte & 2 != 0 {
            model.violations.push("it was asked to drive the bus".to_owned());
        }
        if byte & 8 == 0 {
            model.violations.push("the backlight went out".to_owned());
        }
        model.pins(byte & 1 != 0, byte & 4 != 0, byte >> 4);
        Ok(())
    }
}

/// Which pin a wire goes to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pin {
    Rs,
    Enable,
    Data(u8),
}

/// A wire to the model.
#[derive(Debug, Clone)]
pub(super) struct ModelLine {
    pub(super) model: Arc<Mutex<Model>>,
    pub(super) pin: Pin,
}

impl Line for ModelLine {
    fn open(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn set(&mut self, high: bool) -> io::Result<()> {
        let mut model = look(&self.model);
        let (mut rs, mut enable, mut data) = (model.rs, model.enable, model.data);
        match self.pin {
            Pin::Rs => rs = high,
            Pin::Enable => enable = high,
            Pin::Data(place) => data = data & !(1 << place) | u8::from(high) << place,
        }
        model.pins(rs, enable, data);
        Ok(())
    }
}

//! A character display of two lines of 16, with an HD44780 or one of its many copies
//! (Hitachi ADE-207-272).
//!
//! It is slow and it may fail: each character takes several transfers on a bus of 100 kHz, and a relay that
//! switches beside it can garble it. So it is drawn by a thread of its own, which always draws the newest
//! screen, takes nothing of what the controller was left in for granted, and draws once more after each switching.

mod bus;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
mod wires;

use std::io;
use std::mem::{Discriminant, discriminant};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ::lcd::{
    Delay, DisplayBlink, DisplayCursor, DisplayMode, EntryModeDirection, EntryModeShift, FunctionDots, FunctionLine,
    Hardware,
};

pub use bus::{ADDRESSES, neighbours};
pub(super) use bus::{Backpack, KernelBus};
pub(super) use wires::{GpioLine, Wires};

use super::{Display, Glass, Health, Picture, render};
use crate::proto::action::Screen;

/// How the controller's pins are reached; what fails is kept until it is asked for.
pub(super) trait Pins: Hardware + Delay {
    /// Makes the pins ready, where the last error has left them unready.
    ///
    /// # Errors
    ///
    /// When nothing answers.
    fn open(&mut self) -> io::Result<()>;

    /// Whether everything since the last question has reached the pins.
    ///
    /// # Errors
    ///
    /// The first thing that has not.
    fn check(&mut self) -> io::Result<()>;

    /// The address at which something answered, where there are addresses.
    fn address(&self) -> Option<u8> {
        None
    }
}

/// Two lines on glass.
#[derive(Debug)]
pub(super) struct LcdDisplay {
    newest: Arc<Newest>,
    thread: Option<JoinHandle<()>>,
}

/// What shall be drawn next.
#[derive(Debug, Default)]
struct Newest {
    order: Mutex<Order>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Order {
    screen: Option<Screen>,
    /// What stands there may be garbled.
    again: bool,
    over: bool,
}

/// What the thread does next.
#[derive(Debug)]
enum Next {
    Draw(Screen),
    DrawAgain,
    End,
}

impl LcdDisplay {
    /// Starts the thread that draws.
    ///
    /// # Errors
    ///
    /// When there is no thread to be had. A display that does not answer is no error: it is tried again with
    /// each screen.
    pub(super) fn start(pins: impl Pins + Send + 'static) -> io::Result<Self> {
        let newest = Arc::new(Newest::default());
        let orders = newest.clone();
        let thread = std::thread::Builder::new().name("display".to_owned()).stack_size(64 * 1024).spawn(move || {
            let mut panel = Panel::new(pins);
            let mut newest = None;
            loop {
                match orders.next() {
                    Next::Draw(screen) => newest = Some(screen),
                    Next::DrawAgain => {}
                    Next::End => return,
                }
                if let Some(screen) = &newest {
                    panel.show(screen);
                }
            }
        })?;
        Ok(Self { newest, thread: Some(thread) })
    }
}

impl Display for LcdDisplay {
    fn show(&mut self, screen: &Screen) {
        self.newest.order(|order| order.screen = Some(screen.clone()));
    }

    fn show_again(&mut self) {
        self.newest.order(|order| order.again = true);
    }
}

impl Drop for LcdDisplay {
    /// What was ordered last is drawn before the daemon ends.
    fn drop(&mut self) {
        self.newest.order(|order| order.over = true);
        if let Some(thread) = self.thread.take() {
            // It draws and waits; it has no reason to panic, and nobody to tell if it did.
            let _ = thread.join();
        }
    }
}

impl Newest {
    fn order(&self, change: impl FnOnce(&mut Order)) {
        change(&mut self.order.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }

    /// Waits for the next screen; the end comes once everything is drawn.
    fn next(&self) -> Next {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let again = std::mem::take(&mut order.again);
            if let Some(screen) = order.screen.take() {
                return Next::Draw(screen);
            }
            if again {
                return Next::DrawAgain;
            }
            if order.over {
                return Next::End;
            }
            order = self.changed.wait(order).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The panel, with what is known of it.
pub(super) struct Panel<P: Pins> {
    display: Option<::lcd::Display<P>>,
    /// What kind of screen was drawn last, if that has worked.
    drawn: Option<Discriminant<Screen>>,
    /// Where it was found.
    found: Option<u8>,
    health: Health,
}

impl<P: Pins> Panel<P> {
    pub(super) fn new(pins: P) -> Self {
        Self { display: Some(::lcd::Display::new(pins)), drawn: None, found: None, health: Health::default() }
    }

    fn show(&mut self, screen: &Screen) {
        let drawn = self.draw_screen(screen);
        self.drawn = drawn.is_ok().then(|| discriminant(screen));
        self.health.note(drawn);
    }

    fn draw_screen(&mut self, screen: &Screen) -> io::Result<()> {
        let lines = render(screen).map(zeroize::Zeroizing::new);
        // A countdown does not flicker.
        let begin = if self.drawn == Some(discriminant(screen)) { Begin::InStep } else { Begin::Anew };
        self.write(begin, [lines[0].as_bytes(), lines[1].as_bytes()])
    }

    fn write(&mut self, begin: Begin, lines: [&[u8]; 2]) -> io::Result<()> {
        // The crate keeps the pins to itself while it draws.
        let mut pins = self.display.take().expect("it is put back below").unwrap();
        let opened = pins.open();
        if opened.is_ok() && matches!(begin, Begin::InStep) {
            fall_in_step(&mut pins);
        }
        let mut display = ::lcd::Display::new(pins);
        if opened.is_ok() {
            match begin {
                Begin::Anew => display.init(FunctionLine::Line2, FunctionDots::Dots5x8),
                Begin::InStep => {
                    display.entry_mode(EntryModeDirection::EntryRight, EntryModeShift::NoShift);
                    // A picture that has moved comes back.
                    display.home();
                }
            }
            display.display(DisplayMode::DisplayOn, DisplayCursor::CursorOff, DisplayBlink::BlinkOff);
            for (row, line) in (0..).zip(lines) {
                display.position(0, row);
                for &character in line {
                    display.write(character);
                }
            }
        }
        let mut pins = display.unwrap();
        self.found = pins.address();
        let checked = pins.check();
        self.display = Some(::lcd::Display::new(pins));
        opened.and(checked)
    }
}

impl<P: Pins> Glass for Panel<P> {
    fn draw(&mut self, picture: &Picture) -> io::Result<()> {
        self.write(Begin::Anew, [&picture[0], &picture[1]])
    }

    fn address(&self) -> Option<u8> {
        self.found
    }
}

/// How a picture begins. Whatever state the controller was in, half a character included, it is in the right one
/// afterwards.
#[derive(Debug, Clone, Copy)]
enum Begin {
    /// As after power-up; the glass is empty for a moment.
    Anew,
    /// What stands there stays until it is written over.
    InStep,
}

/// The instructions that find a controller in any state and leave it with four bits and two lines
/// (ADE-207-272 figure 24), without those that clear it.
fn fall_in_step(pins: &mut impl Pins) {
    pins.rs(false);
    for (nibble, wait_us) in [(0x3, 4500), (0x3, 150), (0x3, 50), (0x2, 50), (0x2, 1), (0x8, 50)] {
        pins.data(nibble);
        pins.apply();
        pins.enable(true);
        pins.apply();
        pins.delay_us(1);
        pins.enable(false);
        pins.apply();
        pins.delay_us(wait_us);
    }
}

/// Waits at least this long; a thread that sleeps longer disturbs no display.
fn sleep_us(us: u32) {
    std::thread::sleep(Duration::from_micros(us.into()));
}

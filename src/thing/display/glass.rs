//! The two lines themselves, for the bench in the workshop: a picture is any 32 characters, drawn at once, and
//! what fails is said.

use std::io;

use super::{COLUMNS, render};
use crate::proto::action::Screen;

/// Two lines of characters, in the display's own code: ASCII as far as it goes, and 0xff, on an HD44780 a block
/// of all its dots.
pub type Picture = [[u8; COLUMNS]; 2];

/// What can be drawn on.
pub trait Glass {
    /// Draws, and returns once it stands there.
    ///
    /// # Errors
    ///
    /// When something on the way does not answer.
    fn draw(&mut self, picture: &Picture) -> io::Result<()>;

    /// The address on the bus at which it was found.
    fn address(&self) -> Option<u8> {
        None
    }
}

/// A screen as a picture.
#[must_use]
pub fn picture(screen: &Screen) -> Picture {
    render(screen).map(|line| std::array::from_fn(|at| line.as_bytes()[at]))
}

/// A picture for people and files: two lines of ASCII, `#` for a block.
pub(super) fn in_ascii(picture: &Picture) -> [String; 2] {
    picture.map(|line| {
        line.iter().map(|&code| if (b' '..=b'~').contains(&code) { char::from(code) } else { '#' }).collect()
    })
}

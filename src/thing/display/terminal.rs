//! A display that is a box on the terminal.

use std::io::{self, Write};
use std::time::Duration;

use zeroize::Zeroizing;

use super::glass::in_ascii;
use super::{COLUMNS, Display, Glass, Health, Picture, render};
use crate::proto::action::Screen;

/// Draws a box for each new screen; a countdown alone is not drawn again.
#[derive(Debug)]
pub struct TerminalDisplay<W> {
    out: W,
    drawn: Option<Screen>,
    health: Health,
}

impl<W: Write> TerminalDisplay<W> {
    /// Draws on `out`.
    #[must_use]
    pub fn new(out: W) -> Self {
        Self { out, drawn: None, health: Health::default() }
    }

    fn draw_screen(&mut self, screen: &Screen) -> io::Result<()> {
        let [upper, lower] = render(screen).map(Zeroizing::new);
        self.draw_box(&upper, &lower)
    }

    fn draw_box(&mut self, upper: &str, lower: &str) -> io::Result<()> {
        let edge = "─".repeat(COLUMNS);
        let text = Zeroizing::new(format!("┌{edge}┐\n│{upper}│\n│{lower}│\n└{edge}┘\n"));
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

impl<W: Write> Display for TerminalDisplay<W> {
    fn show(&mut self, screen: &Screen) {
        let still = without_countdown(screen);
        if self.drawn.as_ref() != Some(&still) {
            let result = self.draw_screen(screen);
            self.drawn = result.is_ok().then_some(still);
            self.health.note(result);
        }
    }
}

impl<W: Write> Glass for TerminalDisplay<W> {
    fn draw(&mut self, picture: &Picture) -> io::Result<()> {
        let [upper, lower] = in_ascii(picture);
        self.draw_box(&upper, &lower)
    }
}

fn without_countdown(screen: &Screen) -> Screen {
    let mut still = screen.clone();
    if let Screen::AccessPoint { left, .. } | Screen::Maintenance { left, .. } = &mut still {
        *left = Duration::ZERO;
    }
    still
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_is_a_box_and_a_countdown_no_new_one() {
        let screen = |seconds| Screen::AccessPoint {
            ssid: "SecT-4F7K".into(),
            passcode: "0123456789ABCDEF".parse().expect("a passcode"),
            left: Duration::from_secs(seconds),
        };
        let mut display = TerminalDisplay::new(Vec::new());
        display.show(&screen(600));
        display.show(&screen(599));
        display.show(&Screen::Starting);
        let drawn = String::from_utf8(display.out).expect("UTF-8");
        let expected = "\
┌────────────────┐
│SecT-4F7K  10:00│
│0123456789ABCDEF│
└────────────────┘
┌────────────────┐
│SecT            │
│starting        │
└────────────────┘
";
        assert_eq!(drawn, expected);
    }
}

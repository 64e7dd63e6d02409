//! `sect timer`.

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::proto::operation::argument::Bounded;

pub(super) const HELP: &str = "\
Examples:
  sect timer off --in 30min
  sect timer on --in 1h30min --device Kitchen
  sect timer show
  sect timer clear

The plug counts down by itself: it needs neither the time of day, nor this computer, nor a network. There \
is one countdown; a new one replaces it. It ends early when the plug gets the wanted state anyway, by \
whomever: what you switch off and on again by hand is not switched off by an older countdown. A restart of \
the plug forgets it, and after a power cut `sect power-on` decides.";

/// What can be done about the countdown.
#[derive(Debug, Clone, Subcommand)]
pub enum Timer {
    /// Switches the plug on when the time is over
    #[command(after_help = "Examples:\n  sect timer on --in 45min\n  sect timer on --in 8h --json")]
    On(Countdown),

    /// Switches the plug off when the time is over
    #[command(after_help = "Examples:\n  sect timer off --in 30min\n  sect timer off --in 90s --json")]
    Off(Countdown),

    /// Stops the countdown
    #[command(after_help = "Examples:\n  sect timer clear")]
    Clear,

    /// Shows the countdown
    #[command(after_help = "Examples:\n  sect timer show\n  sect timer show --json")]
    Show,
}

/// How long.
#[derive(Debug, Clone, Args)]
pub struct Countdown {
    /// How long from now, up to 24h: a number with s, min or h, or several, as in 1h30min
    #[arg(long = "in", value_name = "DURATION", value_parser = in_seconds)]
    pub in_s: Bounded<1, 86_400>,
}

fn in_seconds(text: &str) -> Result<Bounded<1, 86_400>, String> {
    let seconds = duration(text).ok_or("write a number with s, min or h, as in 90s, 30min or 1h30min")?;
    let seconds = u32::try_from(seconds.as_secs()).ok();
    seconds.and_then(Bounded::new).ok_or_else(|| "a countdown takes 1s to 24h".to_owned())
}

/// `1h30min`.
fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut seconds) = (text.trim(), 0u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let unit = match unit {
            "s" | "sec" => 1,
            "m" | "min" => 60,
            "h" => 3600,
            _ => return None,
        };
        seconds = seconds.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        rest = after.trim_start();
    }
    (!text.trim().is_empty()).then_some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_units() {
        for (text, seconds) in
            [("90s", 90), ("30min", 1800), ("30m", 1800), ("1h30min", 5400), ("1h 30min", 5400), ("24h", 86_400)]
        {
            assert_eq!(in_seconds(text).map(Bounded::get), Ok(seconds), "{text}");
        }
        for text in
            ["", " ", "30", "min", "1.5h", "-5s", "0s", "24h1s", "5d", "99999999999999999999s", "9999999999999999h"]
        {
            assert!(in_seconds(text).is_err(), "{text:?}");
        }
    }
}

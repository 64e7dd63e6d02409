//! The button: at rest, pressed, let go, and how its contact bounces.

use std::io;
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, timeout_at};

use super::bench::{Bench, Halt};
use super::{board, prepare_folder};
use crate::proto::action::Press;
use crate::thing::button::{Button, LONG};
use crate::thing::config::Config;
use crate::thing::gpio::{DEBOUNCE, Edge, Edges, Place};

/// How it is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ButtonArgs {
    /// How long a press is waited for, in seconds
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=3600))]
    timeout_s: u16,
}

/// After so long without a change the contact is at rest.
const AT_REST: Duration = Duration::from_millis(100);

pub(super) async fn test(bench: &mut Bench, config: &Config, args: &ButtonArgs) -> Result<(), Halt> {
    let limit = Duration::from_secs(args.timeout_s.into());
    match config.button.place() {
        None => simulated(bench, config, limit).await,
        Some(place) => wired(bench, &place, limit).await,
    }
}

async fn simulated(bench: &mut Bench, config: &Config, limit: Duration) -> Result<(), Halt> {
    let path = config.button_path();
    bench.begin("button", &format!("simulated, the FIFO {}", path.display()));
    if !prepare_folder(bench, config) {
        return Ok(());
    }
    let mut button = match Button::open(config) {
        Ok(button) => button,
        Err(error) => {
            bench.fail("opens", error.to_string(), "remove what has its name, and see that the folder takes files");
            return Ok(());
        }
    };
    bench.pass("opens", "there");
    bench.tell(&format!("Press it within {} s: echo short > {}", limit.as_secs(), path.display()));
    match bench.wait(limit, button.next()).await? {
        Some(press) => bench.pass("press", format!("{}; a FIFO does not bounce", word(press))),
        None => bench.fail("press", "none came", format!("echo short > {}", path.display())),
    }
    Ok(())
}

async fn wired(bench: &mut Bench, place: &Place, limit: Duration) -> Result<(), Halt> {
    let level = board::level(place.active);
    bench.begin("button", &format!("{}, pressed when it is {level}", board::name(place)));
    let (mut edges, pressed) = match Edges::watch_bouncing(place).and_then(|edges| {
        let pressed = edges.is_pressed()?;
        Ok((edges, pressed))
    }) {
        Ok(opened) => opened,
        Err(error) => {
            bench.fail("opens", error.to_string(), board::trouble("button", place, &error));
            return Ok(());
        }
    };
    bench.pass("opens", "there");
    if pressed {
        let todo =
            "if nobody holds it: a contact that is closed at rest, a short, or button.active the wrong way round";
        bench.fail("at rest", format!("it reads as pressed ({level})"), todo);
        return Ok(());
    }
    bench.pass("at rest", "not pressed");
    let seconds = limit.as_secs();
    bench.tell(&format!("Press it within {seconds} s and let it go; {} s or more are a long press.", LONG.as_secs()));
    match bench.wait(limit + LONG, press(&mut edges, limit)).await? {
        Some(Ok(Some(contact))) => bench.pass("press", contact.in_words()),
        Some(Ok(None)) | None => bench.fail(
            "press",
            "the line did not change",
            format!(
                "the button belongs between {} and ground (with active = \"high\": 3.3 V); is button.pin right?",
                board::name(place)
            ),
        ),
        Some(Err(error)) => bench.fail("press", error.to_string(), board::trouble("button", place, &error)),
    }
    Ok(())
}

/// What the contact did from the first change until it was let go.
#[derive(Debug, Default, PartialEq, Eq)]
struct Contact {
    /// From the first change to the one that ended the press.
    held: Duration,
    /// Changes besides those two.
    bounces: usize,
    /// The longest that it bounced at one end.
    bouncing: Duration,
}

impl Contact {
    /// From all changes of one press.
    fn of(edges: &[Edge]) -> Option<Self> {
        let first = edges.first().filter(|edge| edge.pressed)?;
        // Whatever follows within the time that the daemon passes over is the same press, or the same letting go.
        let released = edges.iter().rfind(|edge| edge.pressed).map_or(first.at, |edge| edge.at);
        let end = edges.iter().find(|edge| !edge.pressed && edge.at >= released).or(edges.last())?;
        let quiet = |pair: &&[Edge]| pair[1].at.saturating_sub(pair[0].at) < DEBOUNCE;
        let bouncing = edges.windows(2).filter(quiet).map(|pair| pair[1].at.saturating_sub(pair[0].at)).sum();
        Some(Self { held: end.at.saturating_sub(first.at), bounces: edges.len().saturating_sub(2), bouncing })
    }

    fn in_words(&self) -> String {
        let press = if self.held >= LONG { Press::Long } else { Press::Short };
        let held = self.held.as_millis();
        match self.bounces {
            0 => format!("{}, held {held} ms, no bounce", word(press)),
            1 => format!("{}, held {held} ms, 1 bounce within {} ms", word(press), self.bouncing.as_millis()),
            n => format!("{}, held {held} ms, {n} bounces within {} ms", word(press), self.bouncing.as_millis()),
        }
    }
}

/// The next press with all its changes, or `None` where none came in time.
async fn press(edges: &mut Edges, limit: Duration) -> io::Result<Option<Contact>> {
    let mut seen = Vec::new();
    let begin = Instant::now() + limit;
    let mut until = begin;
    loop {
        match timeout_at(until, edges.next()).await {
            Ok(edge) => seen.push(edge?),
            Err(_) if seen.is_empty() => return Ok(None),
            // Held: it rests until it is let go.
            Err(_) if edges.is_pressed()? => {
                seen.push(edges.next().await?);
            }
            Err(_) => return Ok(Contact::of(&seen)),
        }
        until = Instant::now() + AT_REST;
    }
}

const fn word(press: Press) -> &'static str {
    match press {
        Press::Short => "a short press",
        Press::Long => "a long press",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(changes: &[(bool, u64)]) -> Vec<Edge> {
        changes.iter().map(|&(pressed, ms)| Edge { pressed, at: Duration::from_millis(ms) }).collect()
    }

    #[test]
    fn a_press_is_measured_with_its_bounces() {
        for (changes, expected) in [
            (vec![(true, 5), (false, 205)], "a short press, held 200 ms, no bounce"),
            (vec![(true, 0), (false, 1), (true, 3), (false, 300)], "a short press, held 300 ms, 2 bounces within 3 ms"),
            (
                vec![(true, 0), (false, 10_000), (true, 10_002), (false, 10_003)],
                "a long press, held 10003 ms, 2 bounces within 3 ms",
            ),
            (vec![(true, 0), (false, 1), (false, 50)], "a short press, held 1 ms, 1 bounce within 1 ms"),
        ] {
            assert_eq!(Contact::of(&edges(&changes)).expect("a press").in_words(), expected);
        }
        assert_eq!(Contact::of(&edges(&[(false, 0), (true, 1)])), None);
        assert_eq!(Contact::of(&[]), None);
    }
}

//! `sect timer`: the countdown in the plug.

use std::time::Duration;

use serde::Serialize;

use super::Context;
use super::report::{countdown, on_or_off, spoken};
use crate::controller::args::Timer;
use crate::controller::exit::Failure;
use crate::controller::session::within;
use crate::proto::operation::{Operation, argument};

/// What scripts read.
#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    id: String,
    /// What the plug will be; without it there is no countdown.
    #[serde(skip_serializing_if = "Option::is_none")]
    timer: Option<&'static str>,
    /// In how many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_s: Option<u64>,
}

/// Sets, clears or shows it.
pub(super) async fn run(context: &Context<'_>, wanted: &Timer) -> Result<(), Failure> {
    let keyring = context.keyring()?;
    let mut bound = context.bound(&keyring).await?;
    let alias = bound.entry.alias.to_string();
    let running = match wanted {
        Timer::On(wait) | Timer::Off(wait) => {
            let on = matches!(wanted, Timer::On(_));
            bound.ask(context, Operation::TimerSet(argument::TimerSet { on, in_s: wait.in_s })).await?;
            Some((on, wait.in_s.seconds()))
        }
        Timer::Clear => {
            bound.ask(context, Operation::TimerClear).await?;
            None
        }
        Timer::Show => {
            let answer = within(&alias, context.global.timeout, bound.session.status()).await?;
            bound.answered()?;
            countdown(&answer)
        }
    };
    let line = Line {
        name: &alias,
        id: bound.entry.binding.thing.to_string(),
        timer: running.map(|(on, _)| on_or_off(on)),
        in_s: running.map(|(_, left)| left.as_secs()),
    };
    context.printer.result(&line, || match running {
        Some((on, left)) => format!("{alias} will be switched {} in {}", on_or_off(on), soon(left)),
        None => format!("{alias} has no countdown"),
    });
    bound.finish(context, None).await;
    Ok(())
}

/// A wait as one says it.
fn soon(left: Duration) -> String {
    spoken(left).unwrap_or_else(|| "less than a second".to_owned())
}

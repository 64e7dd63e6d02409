//! The outlet: on, off, held while nobody holds the line, many times, and as it was.

use std::io;
use std::time::Duration;

use clap::Args;

use super::bench::{Bench, Halt};
use super::{board, prepare_folder};
use crate::proto::message::OutletState;
use crate::proto::port::Outlet as _;
use crate::thing::config::Config;
use crate::thing::outlet::OutletDriver;

/// How it is switched.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct OutletArgs {
    /// How often it is switched on and off in the end
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    times: u16,
    /// How long it stays on, and off, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u16).range(10..))]
    pause_ms: u16,
}

const NO_REACTION: &str = "nothing clicks: is it the right pin (outlet.pin), has the relay board its supply, and \
    one ground with the Pi? It clicks and the lamp stays dark: the lamp's own wires, the contact NO instead of NC";
const WRONG_WAY: &str = "it is on when it should be off: set outlet.active to the other one of \"high\" and \"low\"";

const NOT_KEPT: &str = "a restart of the daemon would switch the load. Some chips' drivers drop a line that nobody holds: on \
    a Raspberry Pi set outlet.driver = \"rppal\". Or something else drives it: another program, an overlay in config.txt";

pub(super) async fn test(bench: &mut Bench, config: &Config, args: &OutletArgs) -> Result<(), Halt> {
    let place = config.outlet.place();
    let what = match &place {
        None => format!("simulated, the file {}", config.outlet_path().display()),
        Some(place) => format!("{}, on when it is {}", board::name(place), board::level(place.active)),
    };
    bench.begin("outlet", &what);
    if place.is_none() && !prepare_folder(bench, config) {
        return Ok(());
    }
    let times = args.times;
    bench
        .announce(&format!(
            "It is switched on, off and {times} times more, and gets back what it has now. Connect a 12 V lamp or \
             nothing; never the mains while the housing is open."
        ))
        .await?;
    let (outlet, before) = match OutletDriver::open(config) {
        Ok(opened) => opened,
        Err(error) => {
            let todo = match &place {
                Some(place) => board::trouble("outlet", place, &error),
                None => "the file must say `on` or `off`, and the folder must take files".to_owned(),
            };
            bench.fail("opens", error.to_string(), todo);
            return Ok(());
        }
    };
    bench.pass("opens", format!("it is {}", word(before)));
    let mut outlet = Some(outlet);
    let tried = switch(bench, config, &mut outlet, args).await;
    drop(outlet);
    // Also after Ctrl-C.
    match restore(config, before) {
        Ok(()) => bench.pass("as it was", format!("it is {} again", word(before))),
        Err(error) => bench.fail("as it was", error.to_string(), "take the power from the load; then try again"),
    }
    tried
}

async fn switch(
    bench: &mut Bench,
    config: &Config,
    outlet: &mut Option<OutletDriver>,
    args: &OutletArgs,
) -> Result<(), Halt> {
    let pause = Duration::from_millis(args.pause_ms.into());
    if !set(bench, "on", outlet, OutletState::On) {
        return Ok(());
    }
    bench.pause(pause).await?;
    if !bench.look("on", "set and read back", "Is the lamp on?", NO_REACTION).await? {
        return Ok(());
    }
    // What a restart of the daemon does.
    *outlet = None;
    bench.pause(pause).await?;
    match OutletDriver::open(config) {
        Ok((again, OutletState::On)) => {
            *outlet = Some(again);
            bench.look("kept", "let go and taken again: still on", "Did it stay on all the time?", NOT_KEPT).await?;
        }
        Ok((again, OutletState::Off)) => {
            *outlet = Some(again);
            bench.fail("kept", "let go and taken again, it is off", NOT_KEPT);
        }
        Err(error) => {
            bench.fail("kept", error.to_string(), "another program took the line; end it and try again");
            return Ok(());
        }
    }
    if !set(bench, "off", outlet, OutletState::Off) {
        return Ok(());
    }
    bench.pause(pause).await?;
    bench.look("off", "set and read back", "Is the lamp off?", WRONG_WAY).await?;
    for _ in 0..args.times {
        for state in [OutletState::On, OutletState::Off] {
            if !set(bench, "many times", outlet, state) {
                return Ok(());
            }
            bench.pause(pause).await?;
        }
    }
    let (detail, question) =
        (format!("{} times on and off", args.times), format!("Did it go on and off {} times?", args.times));
    let todo = "a relay that misses some has a weak supply: give its coil 5 V of its own, and one ground with the Pi";
    bench.look("many times", detail, &question, todo).await?;
    Ok(())
}

fn set(bench: &mut Bench, step: &'static str, outlet: &mut Option<OutletDriver>, state: OutletState) -> bool {
    let set = outlet.as_mut().is_some_and(|outlet| outlet.set(state).is_ok());
    if !set {
        let todo = "the line does not follow: a short to ground or to the supply, or another program on it";
        bench.fail(step, format!("not switched {}", word(state)), todo);
    }
    set
}

fn restore(config: &Config, before: OutletState) -> io::Result<()> {
    let (mut outlet, _) = OutletDriver::open(config)?;
    outlet.set(before).map_err(io::Error::other)?;
    drop(outlet);
    match OutletDriver::open(config)? {
        (_, now) if now == before => Ok(()),
        (_, now) => Err(io::Error::other(format!("it is {}", word(now)))),
    }
}

const fn word(state: OutletState) -> &'static str {
    match state {
        OutletState::On => "on",
        OutletState::Off => "off",
    }
}

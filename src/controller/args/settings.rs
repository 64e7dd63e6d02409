//! `sect power-on`, `sect name` and `sect history`.

use clap::Args;

use crate::proto::operation::argument::PowerOn;
use crate::proto::user::Name;

pub(super) const POWER_ON_HELP: &str = "\
Examples:
  sect power-on off
  sect power-on last --device Kitchen

After a power cut the plug is off, on, or as it was. A plug that nobody has told anything stays off: nothing \
gets hot that nobody has switched on. `last` knows what was so for 2 seconds before the power went. A restart \
of the plug's software switches nothing.";

pub(super) const NAME_HELP: &str = "\
Examples:
  sect name \"Kitchen lamp\"
  sect name Heater --device Kitchen

The plug's own name is on its display and the same for all its users; only an owner gives it another one. \
Your own name for it, as in --device, is another matter: `sect pair --alias` gave it.";

pub(super) const HISTORY_HELP: &str = "\
Examples:
  sect history
  sect history --user Ben --limit 200
  sect history --json | jq -r .[].what

What was switched and changed, by whom, newest first; for owners and supervisors. The plug keeps the last 1000 \
lines of each user, writes them down within a minute, and loses the last minute in a power cut. Where it did \
not know the time of day, the time since its start stands there.";

/// What the plug does when power is back.
#[derive(Debug, Clone, Args)]
pub struct PowerOnState {
    /// off, on, or last: as it was
    #[arg(value_name = "off|on|last")]
    pub state: PowerOn,
}

/// The plug's own name.
#[derive(Debug, Clone, Args)]
pub struct ThingName {
    /// The new name: 1 to 32 bytes
    pub name: Name,
}

/// What of the audit log.
#[derive(Debug, Clone, Args)]
pub struct History {
    /// Of this user alone
    #[arg(long, value_name = "NAME")]
    pub user: Option<Name>,

    /// Lines at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub limit: u32,
}

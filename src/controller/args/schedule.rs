//! `sect schedule`.

use clap::{Args, Subcommand};

use crate::proto::operation::argument;

pub(super) const HELP: &str = "\
Examples:
  sect schedule add mon-fri 07:30 on
  sect schedule add daily 23:00 off --device Kitchen
  sect schedule list
  sect schedule remove 3

A schedule switches each week on its days at the plug's local time. In the night in which clocks are set \
forward it runs when the missing hour is over, and in the one in which they are set back it runs once.

Without the time of day no schedule runs. A plug that finds a time server knows it; any other is told by \
an owner's `sect schedule`, which also tells it this computer's time zone if it has none.";

/// What can be done about schedules.
#[derive(Debug, Clone, Subcommand)]
pub enum Schedule {
    /// Adds a schedule
    #[command(after_help = "\
Examples:
  sect schedule add mon-fri 07:30 on
  sect schedule add sat,sun 9:00 on
  sect schedule add daily 23:00 off --json")]
    Add(ScheduleAdd),

    /// Lists the schedules
    #[command(after_help = "Examples:\n  sect schedule list\n  sect schedule list --json")]
    List,

    /// Removes a schedule
    #[command(after_help = "Examples:\n  sect schedule remove 3")]
    Remove {
        /// Its number in `sect schedule list`
        id: u64,
    },

    /// Gives the plug another time zone, and the time
    #[command(after_help = "\
Examples:
  sect schedule zone
  sect schedule zone Europe/Berlin
  sect schedule zone CET-1CEST,M3.5.0,M10.5.0/3")]
    Zone {
        /// Its name, or a POSIX TZ string; this computer's own zone without it
        zone: Option<String>,
    },
}

/// Which schedule.
#[derive(Debug, Clone, Args)]
pub struct ScheduleAdd {
    /// Days (mon-fri, `sat,sun`, daily), time of day, on or off
    #[arg(required = true, num_args = 1..=3, value_names = ["DAYS", "HH:MM", "on|off"])]
    pub words: Vec<String>,
}

impl ScheduleAdd {
    /// The schedule, from one quoted argument or from three.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn schedule(&self) -> Result<argument::Schedule, crate::proto::operation::timetable::ScheduleError> {
        self.words.join(" ").parse()
    }
}

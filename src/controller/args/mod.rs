//! What `sect` can be asked for.
//!
//! No flag takes a secret: what a command line holds, every user of the machine can read.

pub mod backup;
mod recover;
mod schedule;
mod settings;
mod timer;
pub mod user;
mod wifi;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use self::recover::{Recover, RecoveryCode};
pub use self::schedule::{Schedule, ScheduleAdd};
pub use self::settings::{History, PowerOnState, ThingName};
pub use self::timer::{Countdown, Timer};
pub use self::wifi::{Wifi, WifiSet};

use super::exit;
use crate::proto::user::Name;
use crate::proto::wifi::Ssid;

/// The command line.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "sect",
    version,
    about = "Pairs SecT plugs and switches them, end-to-end encrypted",
    after_help = exit::HELP,
    after_long_help = format!("{EXAMPLES}\n\n{ENVIRONMENT}\n\n{}", exit::HELP),
    subcommand_required = true,
    arg_required_else_help = true,
    propagate_version = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What applies to every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  sect pair                      claim a plug that shows a code on its display
  sect on                        switch it on, when there is only one
  sect off --device Kitchen      switch off the one called Kitchen
  sect status --json             its state, for a script
  sect watch                     every change, until Ctrl-C";

const ENVIRONMENT: &str = "\
Environment:
  SECT_DEVICE       as --device
  SECT_INTERFACE    as --interface
  SECT_LOG          what is logged to stderr, for example sect=debug
  NO_COLOR          no colours
  XDG_DATA_HOME     the keyring is in its folder sect, else in ~/.local/share/sect
  XDG_CACHE_HOME    where plugs were last: its folder sect, else ~/.cache/sect; may be deleted";

/// What applies to every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Prints JSON: one value on stdout, failures on stderr
    #[arg(long, global = true)]
    pub json: bool,

    /// Which plug: your name for it, its id, or at least 4 characters of its id; not needed with one plug
    #[arg(long, short, global = true, value_name = "NAME|ID", env = "SECT_DEVICE")]
    pub device: Option<String>,

    /// Where the plug is, instead of looking for it; port 8883 unless given; for `pair`, where it is in its
    /// own network, 192.168.4.1 unless given
    #[arg(long, global = true, value_name = "HOST[:PORT]")]
    pub address: Option<String>,

    /// Looks for plugs on this network interface alone
    #[arg(long, global = true, value_name = "NAME", env = "SECT_INTERFACE")]
    pub interface: Option<String>,

    /// Goes by the home network alone
    #[arg(long, global = true, conflicts_with = "remote")]
    pub local: bool,

    /// Goes by the plug's cloud servers alone, as from elsewhere
    #[arg(long, global = true, conflicts_with = "address")]
    pub remote: bool,

    /// Seconds to wait for a plug: 10 unless given, but 3 for `discover` and 90 for `pair`
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,

    /// Logs what happens to stderr; twice for more
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The commands.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Lists the plugs that announce themselves on this network
    #[command(after_help = "\
Examples:
  sect discover
  sect discover --interface wlan0 --timeout 10

A plug announces no name of its own. One that is yours is recognised by its key. It looks for 3 seconds, or until \
all of yours are found and no other has answered for a while; with --timeout, for as long as that.")]
    Discover,

    /// Claims a plug that shows a code on its display
    #[command(after_help = PAIR_HELP)]
    Pair(Box<Pair>),

    /// Lists the plugs in your keyring, without asking them
    #[command(after_help = "Examples:\n  sect list\n  sect list --json")]
    List,

    /// Shows whether a plug is on, who switched it last, and since when
    #[command(after_help = STATUS_HELP)]
    Status,

    /// Switches a plug on
    #[command(after_help = SWITCH_HELP)]
    On,

    /// Switches a plug off
    #[command(after_help = SWITCH_HELP)]
    Off,

    /// Switches a plug on if it is off, and off if it is on
    #[command(after_help = SWITCH_HELP)]
    Toggle,

    /// Shows every change of a plug until Ctrl-C
    #[command(after_help = "\
Examples:
  sect watch
  sect watch --device Kitchen --json | jq .state

With --json each line is one JSON object. Other `sect` commands can run meanwhile.")]
    Watch,

    /// Switches a plug later, by a countdown that it keeps itself
    #[command(subcommand, after_help = timer::HELP)]
    Timer(Timer),

    /// Switches a plug each week at the same times
    #[command(subcommand, after_help = schedule::HELP)]
    Schedule(Schedule),

    /// Chooses whether a plug is on or off after a power cut
    #[command(after_help = settings::POWER_ON_HELP)]
    PowerOn(PowerOnState),

    /// Gives a plug another name of its own
    #[command(after_help = settings::NAME_HELP)]
    Name(ThingName),

    /// Shows who switched and changed what
    #[command(after_help = settings::HISTORY_HELP)]
    History(History),

    /// Shows the networks that a plug sees, or gives it another home network
    #[command(subcommand, after_help = wifi::HELP)]
    Wifi(Wifi),

    /// Gives you and a plug a new key, topic and password
    #[command(after_help = "\
Examples:
  sect rekey
  sect rekey --device Kitchen --json

`sect` does this by itself after a command, once a week. What was said under earlier keys cannot be \
read with the new ones, and whoever copied the earlier ones is locked out.")]
    Rekey,

    /// Looks at every step of the way to a plug, and says what to do where one fails
    #[command(after_help = DOCTOR_HELP)]
    Doctor,

    /// Invites, lists and removes the users of a plug
    #[command(after_help = user::USER_HELP)]
    User {
        /// What to do
        #[command(subcommand)]
        what: user::User,
    },

    /// Becomes a user of a plug whose owner has invited you
    #[command(after_help = user::ACCEPT_HELP)]
    Accept(user::Accept),

    /// Writes your keys into an encrypted file
    #[command(after_help = backup::BACKUP_HELP)]
    Backup(backup::Backup),

    /// Brings keys back from a backup
    #[command(after_help = backup::RESTORE_HELP)]
    Restore(backup::Restore),

    /// Replaces a lost phone: makes you the owner by button, display and recovery code
    #[command(after_help = recover::HELP)]
    Recover(Box<Recover>),

    /// Draws a new recovery code for a plug
    #[command(after_help = recover::CODE_HELP)]
    RecoveryCode(RecoveryCode),

    /// Gives a plug up: it forgets everybody and belongs to whoever claims it next
    #[command(after_help = "\
Examples:
  sect unpair --device Kitchen
  sect unpair --device Kitchen --yes

For its owners. Asks for the plug's name. The plug answers, tells its cloud servers, and forgets its \
users, keys, schedules and history; a power cut meanwhile only delays that. Then it shows a code again.")]
    Unpair(Unpair),

    /// Removes a plug from your keyring; the plug itself is not unpaired
    #[command(after_help = "\
Examples:
  sect forget --device Kitchen
  sect forget --device Kitchen --yes

The plug keeps you as its owner, and without your keys nobody can reach it any more. \
Forget it only when it is broken, gone, or was claimed anew.")]
    Forget(Forget),

    /// Plays pairing, control and attackers with a simulated plug, and checks each step
    #[cfg(all(feature = "thing", feature = "cloud"))]
    #[command(after_help = "\
Examples:
  sect demo
  sect demo --stay

Real processes, sockets and keys, in a temporary folder and on loopback alone.")]
    Demo(Demo),

    /// Writes a completion script for a shell
    #[command(after_help = "Examples:\n  sect completions bash > ~/.local/share/bash-completion/completions/sect")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },

    /// Writes the man pages into a folder
    #[command(after_help = "Examples:\n  sect man /usr/local/share/man/man1")]
    Man {
        /// The folder, which must exist
        folder: PathBuf,
    },
}

const STATUS_HELP: &str = "\
Examples:
  sect status
  sect status --device Kitchen --json
  sect status --remote

A plug that has a cloud server is asked by both ways; each is shown with its time, or with \
the reason why no answer came by it.";

const DOCTOR_HELP: &str = "\
Examples:
  sect doctor
  sect doctor --device Kitchen --json

Checks the keyring, the home network, the plug there, and each of its cloud servers step by step. \
Ends with the exit code of the first step that failed; nothing is switched.";

const SWITCH_HELP: &str = "\
Examples:
  sect on
  sect off --device Kitchen
  sect toggle --json

When no answer comes, the plug may have switched or not: exit code 5, and `sect status` tells.";

const PAIR_HELP: &str = "\
Examples:
  sect pair
  sect pair --ssid SecT-7K3Q --home-ssid Home --name Anna --alias Kitchen --secrets codes.txt
  sect pair --secrets - --ssid SecT-7K3Q --home-ssid Home --name Anna --alias Kitchen < codes.txt

The plug shows the name of its own Wi-Fi network and a code. Join that network with the code as its \
password, then run `sect pair`: it asks for what it was not told. The secrets are never flags; they \
are typed, or stand in a file (`-` for standard input) as the lines

  passcode=THE CODE ON THE DISPLAY
  wifi-password=THE PASSWORD OF YOUR HOME NETWORK";

/// What `sect pair` may be told; it asks for the rest.
#[derive(Debug, Clone, Args)]
pub struct Pair {
    /// The plug's own Wi-Fi network, as its display shows it
    #[arg(long, value_name = "SecT-XXXX")]
    pub ssid: Option<Ssid>,

    /// Your home network, which the plug will join
    #[arg(long, value_name = "NETWORK")]
    pub home_ssid: Option<Ssid>,

    /// Your name, which the plug shows when you have switched it
    #[arg(long, value_parser = user::readable)]
    pub name: Option<Name>,

    /// Your name for the plug
    #[arg(long)]
    pub alias: Option<Name>,

    /// Reads the passcode and the Wi-Fi password from a file, or from standard input
    #[arg(long, value_name = "FILE|-")]
    pub secrets: Option<PathBuf>,

    /// Writes the recovery code into this file, which must not exist, instead of showing it
    #[arg(long, value_name = "FILE", conflicts_with = "no_recovery_code")]
    pub recovery_file: Option<PathBuf>,

    /// Makes no recovery code: a lost phone then means a lost plug, unless there is another owner
    #[arg(long)]
    pub no_recovery_code: bool,

    /// Where the plug is once it has joined your home network, instead of looking for it
    #[arg(long, value_name = "HOST[:PORT]")]
    pub home_address: Option<String>,

    /// Joins a simulated plug's network through this socket
    #[arg(long, value_name = "SOCKET")]
    pub simulated_radio: Option<PathBuf>,
}

/// How to play the demo.
#[cfg(all(feature = "thing", feature = "cloud"))]
#[derive(Debug, Clone, Args)]
pub struct Demo {
    /// Leaves the plug running, to be driven from a second terminal
    #[arg(long)]
    pub stay: bool,

    /// Is the plug itself, with these settings
    #[arg(long, hide = true, value_name = "FILE", conflicts_with = "stay")]
    pub plug: Option<PathBuf>,

    /// Is the cloud server, with these settings
    #[arg(long, hide = true, value_name = "FILE", conflicts_with = "stay")]
    pub cloud: Option<PathBuf>,
}

/// How to give a plug up.
#[derive(Debug, Clone, Args)]
pub struct Unpair {
    /// Does not ask; needs --device
    #[arg(long, short)]
    pub yes: bool,
}

/// How to forget.
#[derive(Debug, Clone, Args)]
pub struct Forget {
    /// Does not ask
    #[arg(long, short)]
    pub yes: bool,
}

/// Reads a command line.
///
/// # Errors
///
/// What clap says, help and version included.
pub fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    Cli::from_arg_matches(&Cli::command().try_get_matches_from(arguments)?)
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .filter(|seconds| (0.1..=86_400.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "a number of seconds between 0.1 and 86400".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Cli, clap::Error> {
        parse(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_before_or_after_the_command() {
        for line in ["sect --json --device Kitchen on", "sect on --json --device Kitchen"] {
            let cli = read(line).expect("understood");
            assert!(cli.global.json && matches!(cli.command, Command::On));
            assert_eq!(cli.global.device.as_deref(), Some("Kitchen"));
        }
    }

    #[test]
    fn no_flag_takes_a_secret() {
        for line in
            ["sect pair --passcode 7K3QX9M2B4TVHC8D", "sect pair --password hunter22", "sect pair 7K3QX9M2B4TVHC8D"]
        {
            assert!(read(line).is_err(), "{line}");
        }
    }

    #[test]
    fn values_are_checked_before_anything_happens() {
        for line in [
            "sect --timeout 0 on",
            "sect --timeout nan on",
            "sect pair --home-ssid xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "sect pair --alias a\\b",
            "sect",
            "sect frobnicate",
            "sect completions nosuchshell",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
    }

    #[test]
    fn every_command_has_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Examples:"), "{} has none", command.get_name());
        }
    }

    /// Every command, however deep.
    fn all(command: &clap::Command) -> Vec<clap::Command> {
        command.get_subcommands().flat_map(all).chain([command.clone()]).collect()
    }

    #[test]
    fn no_paragraph_of_a_help_is_broken_twice() {
        for command in all(&Cli::command()) {
            let texts = [command.get_after_help(), command.get_after_long_help()];
            for text in texts.into_iter().flatten().map(ToString::to_string) {
                let lines: Vec<&str> = text.lines().collect();
                assert!(lines.iter().all(|line| !line.starts_with("  ") || line.chars().count() <= 100), "{text}");
                // What is no example is one line, which clap breaks where the terminal ends.
                let prose = |line: &str| !line.is_empty() && !line.starts_with("  ") && !line.ends_with(':');
                let broken = lines.windows(2).find(|pair| prose(pair[0]) && prose(pair[1]));
                assert_eq!(broken, None, "{}", command.get_name());
            }
        }
    }

    #[test]
    fn the_help_lists_commands_examples_environment_and_exit_codes() {
        let help = Cli::command().render_long_help().to_string();
        for part in ["discover", "forget", "Examples:", "SECT_DEVICE", "Exit codes:", "  6  a key, a code"] {
            assert!(help.contains(part), "{part:?} is missing in\n{help}");
        }
    }
}

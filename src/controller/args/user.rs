//! `sect user` and `sect accept`.

use std::convert::Infallible;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use crate::proto::operation::argument::Bounded;
use crate::proto::user::{Name, NameError, NewName, Role};

/// Under the help of `sect user`.
pub(super) const USER_HELP: &str = "\
Examples:
  sect user add --name Ana --role operator
  sect user list
  sect user remove Ana

Roles, each including those below it:
  owner       everything: users, Wi-Fi, name, unpairing
  supervisor  schedules, and who did what when
  operator    switching and timers
  viewer      looking

The plug itself enforces them, at home and through its cloud servers.";

/// Under the help of `sect accept`.
pub(super) const ACCEPT_HELP: &str = "\
Examples:
  sect accept --alias Lamp
  sect accept --image invitation.png --alias Lamp
  sect accept - --alias Lamp < invitation.txt

Without --image and without `-` it asks for the text, and does not show it. The text is not taken as an \
argument: whoever holds it can become a user in your place, and everybody on this computer can read the \
command lines of others. This computer must be in the plug's home network.";

/// What to do with the users of a plug.
#[derive(Debug, Clone, Subcommand)]
pub enum User {
    /// Invites somebody, with a QR code that works once and for ten minutes
    #[command(after_help = ADD_HELP)]
    Add(Add),

    /// Lists the users; whoever is no owner sees himself
    #[command(after_help = "Examples:\n  sect user list\n  sect user list --json | jq .users")]
    List,

    /// Removes a user at once, wherever he is connected
    #[command(after_help = "\
Examples:
  sect user remove Ana
  sect user remove q83vASNFZ4k --yes

Everybody may remove himself.")]
    Remove(Remove),

    /// Gives a user another role
    #[command(after_help = "Examples:\n  sect user set-role Ana supervisor\n  sect user set-role Ben owner --yes")]
    SetRole(SetRole),

    /// Gives a user another name
    #[command(after_help = "Examples:\n  sect user rename Ana \"Ana's phone\"")]
    Rename(Rename),
}

const ADD_HELP: &str = "\
Examples:
  sect user add --name Ana --role operator
  sect user add --name Guest --role viewer --for 2d
  sect user add --name Ana --png invitation.png
  sect user add --for-me

Whoever scans the code, or types its text into `sect accept`, becomes that user: show it to nobody else. \
If it is used a second time, the owners are told.";

/// Whom to invite, and how to show it.
#[derive(Debug, Clone, Args)]
pub struct Add {
    /// The new user's name, which the plug shows when he has switched it
    #[arg(long, required_unless_present = "for_me", value_parser = readable)]
    pub name: Option<Name>,

    /// What the new user may do: operator unless given
    #[arg(long, value_parser = role())]
    pub role: Option<Role>,

    /// Removes the user by itself after this long of the plug's running: 30min, 12h, 2d; a year at most
    #[arg(long = "for", value_name = "TIME", value_parser = lease)]
    pub lease: Option<Bounded<60, 31_536_000>>,

    /// Invites another computer or phone of yours: your name, your role
    #[arg(long, conflicts_with = "name")]
    pub for_me: bool,

    /// Writes the QR code as a picture too, for your eyes alone (mode 600)
    #[arg(long, value_name = "FILE")]
    pub png: Option<PathBuf>,

    /// The same as a drawing
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,

    /// Does not ask whether to invite an owner
    #[arg(long, short)]
    pub yes: bool,
}

/// Whom to remove.
#[derive(Debug, Clone, Args)]
pub struct Remove {
    /// His name, or his id as `sect user list` shows it
    #[arg(value_name = "NAME|ID", allow_hyphen_values = true)]
    pub who: String,

    /// Does not ask
    #[arg(long, short)]
    pub yes: bool,
}

/// Who gets which role.
#[derive(Debug, Clone, Args)]
pub struct SetRole {
    /// His name, or his id as `sect user list` shows it
    #[arg(value_name = "NAME|ID", allow_hyphen_values = true)]
    pub who: String,

    /// The new role
    #[arg(value_parser = role())]
    pub role: Role,

    /// Does not ask, where somebody becomes an owner or stops being one
    #[arg(long, short)]
    pub yes: bool,
}

/// Who gets which name.
#[derive(Debug, Clone, Args)]
pub struct Rename {
    /// His name, or his id as `sect user list` shows it
    #[arg(value_name = "NAME|ID", allow_hyphen_values = true)]
    pub who: String,

    /// The new name
    #[arg(value_name = "NEW", value_parser = readable)]
    pub name: Name,
}

/// Where the invitation is, and what the plug is called here.
#[derive(Debug, Clone, Args)]
pub struct Accept {
    /// Reads the text from standard input
    #[arg(value_name = "-", value_parser = source, conflicts_with = "image")]
    pub source: Option<Source>,

    /// Reads a picture of the QR code: PNG or JPEG
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,

    /// Your name for the plug
    #[arg(long)]
    pub alias: Option<Name>,
}

/// What stands where `-` is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `-`
    Stdin,
    /// Something else, the invitation perhaps: it is not kept, nor shown in a message.
    Argument,
}

/// A name that others will read.
pub(super) fn readable(text: &str) -> Result<Name, NameError> {
    text.parse().map(|NewName(name)| name)
}

fn source(text: &str) -> Result<Source, Infallible> {
    Ok(if text == "-" { Source::Stdin } else { Source::Argument })
}

fn role() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new([
        PossibleValue::new("owner").help("everything: users, Wi-Fi, name, unpairing"),
        PossibleValue::new("supervisor").help("schedules, and who did what when"),
        PossibleValue::new("operator").help("switching and timers"),
        PossibleValue::new("viewer").help("looking"),
    ])
    .try_map(|word| word.parse::<Role>())
}

/// `30min`, `12h`, `2d`.
fn lease(text: &str) -> Result<Bounded<60, 31_536_000>, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("a number with min, h or d, such as 30min, 12h or 2d".to_owned()),
    };
    let seconds = number.parse::<u32>().ok().and_then(|number| number.checked_mul(unit));
    seconds.and_then(Bounded::new).ok_or_else(|| "between 1min and 365d".to_owned())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::controller::args::{Command, parse};

    fn read(line: &str) -> Result<Command, String> {
        let words: Vec<_> = line.split(' ').map(OsString::from).collect();
        parse(&words).map(|cli| cli.command).map_err(|error| error.to_string())
    }

    #[test]
    fn a_lease_has_a_unit_and_a_range() {
        for (text, seconds) in [("1min", 60), ("30min", 1800), ("12h", 43_200), ("2d", 172_800), ("365d", 31_536_000)] {
            assert_eq!(lease(text).map(Bounded::get), Ok(seconds), "{text}");
        }
        for text in ["", "2", "d", "0min", "366d", "2 d", "-2d", "2w", "2.5h", "99999999999d", "4294967295d", "²d"] {
            assert!(lease(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_role_is_one_of_four() {
        let Ok(Command::User { what: User::SetRole(wanted) }) = read("sect user set-role Ana viewer") else {
            panic!("understood")
        };
        assert_eq!((wanted.role, wanted.yes), (Role::Viewer, false));
        let refused = read("sect user set-role Ana king").expect_err("refused");
        assert!(refused.contains("[possible values: owner, supervisor, operator, viewer]"), "{refused}");
    }

    #[test]
    fn an_id_may_begin_with_a_hyphen() {
        let Ok(Command::User { what: User::Remove(wanted) }) = read("sect user remove -y7aBcDeFgHi --yes") else {
            panic!("understood")
        };
        assert_eq!((wanted.who.as_str(), wanted.yes), ("-y7aBcDeFgHi", true));
        let Ok(Command::User { what: User::SetRole(wanted) }) = read("sect user set-role -aBcDeFgHiJ viewer") else {
            panic!("understood")
        };
        assert_eq!((wanted.who.as_str(), wanted.yes), ("-aBcDeFgHiJ", false));
        let Ok(Command::User { what: User::Remove(wanted) }) = read("sect user remove --yes --aBcDeFgHi") else {
            panic!("understood")
        };
        assert_eq!(wanted.who, "--aBcDeFgHi");
    }

    #[test]
    fn somebody_is_invited_by_name_and_oneself_without() {
        assert!(read("sect user add").is_err());
        assert!(read("sect user add --for-me --name Ana").is_err());
        let Ok(Command::User { what: User::Add(wanted) }) = read("sect user add --for-me") else {
            panic!("understood")
        };
        assert_eq!((wanted.name, wanted.role), (None, None));
    }

    #[test]
    fn an_invitation_in_the_arguments_is_not_kept() {
        let text = "SECT1:AEASGRLHRGV433YBENCWPCNLZXXQEAQCAIBAEAQCAAAQEAYEAUDAOEARCIJRIFIWC4MBSGQ3DQOR4HY";
        let Ok(Command::Accept(wanted)) = read(&format!("sect accept {text}")) else { panic!("understood") };
        assert_eq!(wanted.source, Some(Source::Argument));
        assert!(!format!("{wanted:?}").contains("AEASG"));
        let twice = read(&format!("sect accept --image x.png {text}")).expect_err("refused");
        assert!(!twice.contains("AEASG"), "{twice}");
    }

    #[test]
    fn every_command_about_users_has_examples() {
        let command = <crate::controller::args::Cli as clap::CommandFactory>::command();
        let user = command.find_subcommand("user").expect("there");
        for command in user.get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Examples:"), "{} has none", command.get_name());
        }
    }
}

//! The commands, one module each where one fills a page.

mod accept;
mod backup;
mod bind;
mod bound;
mod discover;
mod doctor;
mod forget;
mod history;
mod list;
mod nearby;
mod pages;
mod pair;
mod paper;
mod recover;
mod rekey;
mod report;
mod restore;
mod schedule;
mod settings;
mod switch;
mod timer;
mod unpair;
mod user;
mod watch;
mod wifi;

use std::time::Duration;

use super::addresses::Addresses;
use super::args::{Cli, Command, Global};
use super::discover::interface_exists;
use super::exit::{Exit, Failure};
use super::keyring::{Contents, Entry, Keyring, KeyringError};
use super::print::Printer;
use super::reach::{Search, Ways};
use switch::Wish;

/// How long a plug is looked for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long another `sect` may keep a plug busy.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// What every command needs.
struct Context<'a> {
    global: &'a Global,
    printer: &'a Printer,
    addresses: Addresses,
}

/// Runs a command.
///
/// # Errors
///
/// A [`Failure`] in a householder's words.
pub async fn run(cli: Cli, printer: &Printer) -> Result<(), Failure> {
    let context = Context { global: &cli.global, printer, addresses: Addresses::of_user() };
    if !matches!(
        cli.command,
        Command::List
            | Command::Forget(_)
            | Command::Backup(_)
            | Command::Restore(_)
            | Command::Completions { .. }
            | Command::Man { .. }
    ) {
        context.expect_interface()?;
    }
    match cli.command {
        Command::Discover => discover::run(&context).await,
        Command::Pair(wanted) => pair::run(&context, *wanted).await,
        Command::List => list::run(&context),
        Command::Status => switch::run(&context, Wish::Status).await,
        Command::On => switch::run(&context, Wish::Set(true)).await,
        Command::Off => switch::run(&context, Wish::Set(false)).await,
        Command::Toggle => switch::run(&context, Wish::Toggle).await,
        Command::Watch => watch::run(&context).await,
        Command::Timer(wanted) => timer::run(&context, &wanted).await,
        Command::Schedule(wanted) => schedule::run(&context, &wanted).await,
        Command::PowerOn(wanted) => settings::power_on(&context, &wanted).await,
        Command::Name(wanted) => settings::name(&context, &wanted).await,
        Command::History(wanted) => history::run(&context, &wanted).await,
        Command::Rekey => rekey::run(&context).await,
        Command::Wifi(wanted) => wifi::run(&context, wanted).await,
        Command::Doctor => doctor::run(&context).await,
        Command::User { what } => user::run(&context, &what).await,
        Command::Accept(wanted) => accept::run(&context, &wanted).await,
        Command::Backup(wanted) => backup::run(&context, &wanted),
        Command::Restore(wanted) => restore::run(&context, &wanted).await,
        Command::Recover(wanted) => recover::run(&context, *wanted).await,
        Command::RecoveryCode(wanted) => recover::new_code(&context, &wanted).await,
        Command::Unpair(how) => unpair::run(&context, &how).await,
        Command::Forget(how) => forget::run(&context, &how).await,
        #[cfg(all(feature = "thing", feature = "cloud"))]
        Command::Demo(_) => unreachable!("`controller::main` has played it"),
        Command::Completions { shell } => pages::completions(shell),
        Command::Man { folder } => pages::man(&context, &folder),
    }
}

impl Context<'_> {
    /// A misspelt interface would look like a network without plugs.
    fn expect_interface(&self) -> Result<(), Failure> {
        match self.global.interface.as_deref() {
            Some(name) if !self.global.remote && !interface_exists(name) => {
                Err(Failure::new(Exit::Usage, format!("this computer has no network interface {name}"))
                    .next("`ip link` lists them; it was named by --interface or SECT_INTERFACE"))
            }
            _ => Ok(()),
        }
    }

    fn keyring(&self) -> Result<Keyring, Failure> {
        Keyring::of_user().map_err(Failure::from)
    }

    /// What the keyring holds; a file that is refused is warned about.
    fn contents(&self, keyring: &Keyring) -> Result<Contents, Failure> {
        let contents = keyring.contents()?;
        for refused in &contents.refused {
            let consequence = match refused.reason {
                KeyringError::Loose { .. } => "it is not used until then",
                _ => "it was left as it is",
            };
            self.printer.warning(&format!("{}; {consequence}", refused.reason));
        }
        Ok(contents)
    }

    /// The plug that the user means.
    fn device(&self, keyring: &Keyring) -> Result<Entry, Failure> {
        let contents = self.contents(keyring)?;
        if contents.entries.is_empty() && !contents.refused.is_empty() {
            return Err(Failure::new(Exit::NotFound, "no plug in your keyring can be used")
                .next("the warning says what is wrong with its file"));
        }
        choose(contents.entries, self.global.device.as_deref())
    }

    fn search(&self) -> Search {
        let ways = match (self.global.local, self.global.remote) {
            (true, _) => Ways::Local,
            (false, true) => Ways::Remote,
            (false, false) => Ways::All,
        };
        Search {
            address: self.global.address.clone(),
            interface: self.global.interface.clone(),
            addresses: self.addresses.clone(),
            patience: self.global.timeout.unwrap_or(PATIENCE),
            insist: false,
            ways,
        }
    }
}

impl From<KeyringError> for Failure {
    fn from(error: KeyringError) -> Self {
        let exit = match error {
            KeyringError::AliasTaken(_) => Exit::Usage,
            KeyringError::Busy => Exit::Timeout,
            _ => Exit::Other,
        };
        let failure = Self::new(exit, error.to_string());
        match error {
            KeyringError::AliasTaken(_) => failure
                .next("choose another name with --alias; if it is the same plug, `sect forget` the old one first"),
            KeyringError::Busy => failure.next("wait for it to end, then try again"),
            _ => failure,
        }
    }
}

/// By alias, id or the beginning of an id; without either, the only one.
fn choose(mut entries: Vec<Entry>, wanted: Option<&str>) -> Result<Entry, Failure> {
    if entries.is_empty() {
        return Err(Failure::new(Exit::NotFound, "there is no plug in your keyring yet").next("`sect pair` adds one"));
    }
    let names = entries.iter().map(|entry| entry.alias.as_str()).collect::<Vec<_>>().join(", ");
    let Some(wanted) = wanted else {
        return match entries.len() {
            1 => Ok(entries.remove(0)),
            n => Err(Failure::new(Exit::Usage, format!("there are {n} plugs"))
                .next(format!("say which with --device: {names}"))),
        };
    };
    let alias = wanted.to_lowercase();
    if let Some(place) = entries.iter().position(|entry| entry.alias.as_str().to_lowercase() == alias) {
        return Ok(entries.remove(place));
    }
    // Four digits tell the plugs of a household apart and are no accident.
    let by_id = |entry: &Entry| wanted.len() >= 4 && entry.binding.thing.to_string().starts_with(&alias);
    match entries.iter().filter(|entry| by_id(entry)).count() {
        1 => Ok(entries.remove(entries.iter().position(by_id).unwrap_or(0))),
        0 => Err(Failure::new(Exit::NotFound, format!("there is no plug called {wanted}"))
            .next(format!("there is: {names}"))),
        _ => Err(Failure::new(Exit::Usage, format!("several plugs have an id that begins with {wanted}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::keyring::testing::entry;

    fn chosen(wanted: Option<&str>) -> Result<String, Exit> {
        let entries = vec![entry("Kitchen", 1), entry("Büro", 2)];
        choose(entries, wanted).map(|entry| entry.alias.to_string()).map_err(|failure| failure.exit)
    }

    #[test]
    fn a_plug_is_named_by_alias_or_id() {
        let id = entry("Büro", 2).binding.thing.to_string();
        for (wanted, found) in [("kitchen", "Kitchen"), ("BÜRO", "Büro"), (id.as_str(), "Büro"), (&id[..4], "Büro")]
        {
            assert_eq!(chosen(Some(wanted)), Ok(found.to_owned()), "{wanted}");
        }
        assert_eq!(chosen(Some("Cellar")), Err(Exit::NotFound));
        assert_eq!(chosen(Some(&id[..3])), Err(Exit::NotFound));
    }

    #[test]
    fn the_only_plug_needs_no_name() {
        assert_eq!(chosen(None), Err(Exit::Usage));
        assert_eq!(
            choose(vec![entry("Kitchen", 1)], None).map(|entry| entry.alias.to_string()),
            Ok("Kitchen".to_owned())
        );
        let failure = choose(Vec::new(), None).expect_err("none");
        assert_eq!((failure.exit, failure.next.as_deref()), (Exit::NotFound, Some("`sect pair` adds one")));
    }
}

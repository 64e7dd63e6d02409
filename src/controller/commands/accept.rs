//! `sect accept`: an invited person becomes a user (SecT STEP 16; protocol section 9).

use std::io::Read as _;
use std::path::Path;
use std::str::FromStr;

use serde::Serialize;
use zeroize::Zeroizing;

use super::bind::{Ended, drive};
use super::bound::Bound;
use super::report::{Report, sentence, spoken};
use super::{Context, user};
use crate::controller::args::user::{Accept, Source};
use crate::controller::clock;
use crate::controller::exit::{Exit, Failure};
use crate::controller::keyring::{Entry, Keyring, KeyringError, same_alias};
use crate::controller::picture;
use crate::controller::reach::{Search, Ways, reach_inviter};
use crate::controller::secrets::Prompt;
use crate::controller::session::within;
use crate::mqtt::client::{Delivery, LinkError};
use crate::proto::invitation::{Invitation, InvitationError};
use crate::proto::operation::result::UserItem;
use crate::proto::pairing::controller::{PairingError, Run};
use crate::proto::topic::PAIR_T2C;
use crate::proto::user::{Name, Role};

/// The name until the plug has told it: the owner chose it, and only the plug knows.
const NAMELESS: &str = "invited";
/// What helps against an invitation that does not do.
const ASK_AGAIN: &str = "an invitation works once, for ten minutes: ask for a new one";

#[derive(Serialize)]
struct Accepted<'a> {
    accepted: bool,
    #[serde(flatten)]
    report: Report<'a>,
    /// What the plug calls this user.
    user: &'a str,
    role: Role,
    /// Seconds until the user is removed, if ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_s: Option<u32>,
}

/// Accepts, and asks the plug whether it knows.
pub(super) async fn run(context: &Context<'_>, wanted: &Accept) -> Result<(), Failure> {
    if context.global.remote {
        return Err(Failure::new(Exit::Usage, "an invitation is accepted in the plug's home network")
            .next("leave out --remote; afterwards its cloud servers know you too"));
    }
    let keyring = context.keyring()?;
    let entries = context.contents(&keyring)?.entries;
    let invitation = read(context, wanted)?;
    expect_unknown(&entries, &invitation)?;
    let alias = alias(context, wanted, &entries, &invitation)?;
    // Only now: at a prompt Ctrl-C ends the program, and nothing has begun.
    tokio::select! {
        biased;
        Ok(()) = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Other, "stopped")
            .next("`sect list` tells whether the plug is in your keyring already")),
        accepted = accept(context, &keyring, invitation, alias) => accepted,
    }
}

/// All that needs nobody at the keyboard any more.
async fn accept(context: &Context<'_>, keyring: &Keyring, invitation: Invitation, alias: Name) -> Result<(), Failure> {
    let search = Search { ways: Ways::Local, ..context.search() };
    let reached = reach_inviter(&invitation, &search).await?;
    context.printer.step("The plug knows the invitation (STEP 16).");
    let mut link = reached.link;
    link.subscribe(PAIR_T2C, Delivery::AtLeastOnce, search.patience).await.map_err(|error| of_link(&error))?;
    let name = NAMELESS.parse().expect("a name of seven letters");
    let run = Run::invited(invitation, name, &mut clock::rng());
    let ended = drive(context, keyring, &alias, &mut link, run, failed).await;
    link.close().await;

    let (binding, confirmed) = match ended? {
        Ended::Confirmed(binding) => (binding, true),
        Ended::Unconfirmed(binding) => (binding, false),
    };
    if !confirmed {
        context.printer.warning("the plug did not confirm the last step; it may know you all the same, so it is asked");
    }
    // A plug that has not confirmed may need a moment before it knows the new key.
    let search = Search { address: Some(reached.address.to_string()), insist: true, ..search };
    first_question(context, keyring, Entry::new(alias, binding), &search, confirmed).await
}

/// Asks with the new keys for the state, and for what the plug calls this user.
async fn first_question(
    context: &Context<'_>,
    keyring: &Keyring,
    entry: Entry,
    search: &Search,
    confirmed: bool,
) -> Result<(), Failure> {
    let alias = entry.alias.clone();
    let asked = async {
        let mut bound = Bound::open(keyring, entry, search).await?;
        let answer = within(alias.as_str(), context.global.timeout, bound.session.status()).await?;
        bound.answered()?;
        let own = bound.entry.binding.cid;
        let me = user::users(context, &mut bound).await?.into_iter().find(|user| user.cid == own);
        Ok::<_, Failure>((bound, answer, me))
    };
    let (bound, answer, me) = asked.await.map_err(|failure| not_known(&alias, confirmed, failure))?;
    let Some(UserItem { name, role, left_s, .. }) = me else {
        return Err(Failure::new(Exit::Other, format!("{alias} does not list you")).next("update one of the two"));
    };
    let accepted = Accepted {
        accepted: true,
        report: Report::of_answer(&bound.entry, &answer),
        user: name.as_str(),
        role,
        left_s,
    };
    context.printer.result(&accepted, || {
        let lease = left_s.and_then(|left| spoken(std::time::Duration::from_secs(left.into())));
        let lease = lease.map_or_else(String::new, |time| format!(", for {time}"));
        let next = if role == Role::Viewer { "sect watch" } else { "sect on" };
        format!("{}\nYou are {name}, {role} of {alias}{lease}. Try: {next}", sentence(&bound.entry, &answer))
    });
    bound.session.close().await;
    Ok(())
}

/// The invitation, from where it is.
fn read(context: &Context<'_>, wanted: &Accept) -> Result<Invitation, Failure> {
    match (wanted.source, wanted.image.as_deref()) {
        (Some(Source::Argument), _) => Err(Failure::new(
            Exit::Usage,
            "an invitation is a secret, and everybody on this computer can read what stands in a command line",
        )
        .next("run `sect accept` and paste it there, or `sect accept -` and pipe it; take a new one if others may have seen it")),
        (_, Some(image)) => of_image(image),
        (Some(Source::Stdin), None) => {
            let mut text = Zeroizing::new(String::with_capacity(512));
            let read = std::io::stdin().lock().take(512).read_to_string(&mut text);
            read.map_err(|error| Failure::new(Exit::Usage, format!("could not read the invitation: {error}")))?;
            of_text(&text).map_err(|error| no_invitation(&error))
        }
        (None, None) => {
            Ok(Prompt::new(context.printer).ask_hidden::<Typed>("The invitation's text (not shown):", "--image or -")?.0)
        }
    }
}

/// An invitation as people paste it.
struct Typed(Invitation);

impl FromStr for Typed {
    type Err = InvitationError;

    fn from_str(text: &str) -> Result<Self, InvitationError> {
        of_text(text).map(Self)
    }
}

/// White space comes with copying, and means nothing.
fn of_text(text: &str) -> Result<Invitation, InvitationError> {
    let mut bare = Zeroizing::new(String::with_capacity(text.len()));
    bare.extend(text.chars().filter(|c| !c.is_whitespace()));
    bare.parse()
}

fn of_image(path: &Path) -> Result<Invitation, Failure> {
    let refuse = |what: String| Failure::new(Exit::Usage, format!("{}: {what}", path.display()));
    let mut file = Zeroizing::new(Vec::new());
    std::fs::File::open(path)
        .and_then(|open| open.take(picture::MAX_BYTES + 1).read_to_end(&mut file))
        .map_err(|error| refuse(error.to_string()))?;
    if file.len() as u64 > picture::MAX_BYTES {
        return Err(refuse(picture::PictureError::TooLarge.to_string()));
    }
    let text = picture::read(&file).map_err(|error| {
        refuse(error.to_string()).next("take it again, straight, sharp and close; or type the text with `sect accept`")
    })?;
    of_text(text.expose()).map_err(|error| no_invitation(&error))
}

fn no_invitation(error: &InvitationError) -> Failure {
    Failure::new(Exit::Usage, error.to_string()).next("copy the whole line that begins with SECT1:")
}

/// One keyring holds one user of a plug; keys that work are not given up for others.
fn expect_unknown(entries: &[Entry], invitation: &Invitation) -> Result<(), Failure> {
    let known = |entry: &&Entry| entry.binding.thing == invitation.thing && entry.binding.confirmed;
    match entries.iter().find(known) {
        Some(entry) => Err(Failure::new(
            Exit::Usage,
            format!("{} is in your keyring already: you are {} there", entry.alias, entry.binding.name),
        )
        .next(format!(
            "the invitation is for another computer, or another account on this one; if you were removed, `sect forget --device {}` first",
            entry.alias
        ))),
        None => Ok(()),
    }
}

/// Asks until the name is free.
fn alias(context: &Context<'_>, wanted: &Accept, entries: &[Entry], invitation: &Invitation) -> Result<Name, Failure> {
    let taken = |alias: &Name| {
        entries.iter().any(|entry| entry.binding.thing != invitation.thing && same_alias(&entry.alias, alias))
    };
    if let Some(alias) = &wanted.alias {
        return if taken(alias) { Err(KeyringError::AliasTaken(alias.clone()).into()) } else { Ok(alias.clone()) };
    }
    loop {
        let alias = Prompt::new(context.printer).ask("Your name for the plug:", "--alias")?;
        if !taken(&alias) {
            return Ok(alias);
        }
        context.printer.progress(&format!("  {}", KeyringError::AliasTaken(alias)));
    }
}

fn of_link(error: &LinkError) -> Failure {
    Failure::new(Exit::Timeout, format!("the plug does not go on: {error}")).next("try again in a minute")
}

fn failed(error: PairingError) -> Failure {
    match error {
        PairingError::InvitationOver | PairingError::WrongCode | PairingError::NotRecovered => {
            Failure::new(Exit::Crypto, PairingError::InvitationOver.to_string()).next(ASK_AGAIN)
        }
        PairingError::OtherThing | PairingError::Impostor | PairingError::Certificate(_) => {
            Failure::new(Exit::Crypto, error.to_string())
                .next("nothing was kept; ask for a new invitation, and let nobody else see it")
        }
        PairingError::Silent => Failure::new(Exit::Timeout, "the plug does not answer").next("try again in a minute"),
        PairingError::Interrupted | PairingError::Unconfirmed => {
            Failure::new(Exit::Timeout, error.to_string()).next("the same invitation may still be good: try again")
        }
        PairingError::Incomprehensible => Failure::new(Exit::Other, error.to_string()),
    }
}

/// The run is over, and the plug does not answer its new user.
fn not_known(alias: &Name, confirmed: bool, failure: Failure) -> Failure {
    match (confirmed, failure.exit) {
        (false, Exit::Crypto) => Failure::new(Exit::Crypto, format!("{alias} did not take you in")).next(ASK_AGAIN),
        (false, _) => Failure::new(failure.exit, format!("{alias} may know you, or not: {}", failure.message))
            .next("`sect status` tells, once it answers"),
        (true, _) => {
            Failure::new(failure.exit, format!("{alias} took you in, and does not answer: {}", failure.message))
                .next("try `sect status`")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::keyring::testing::entry;
    use crate::proto::id::SpkiHash;

    #[test]
    fn white_space_in_a_pasted_text_means_nothing() {
        let invitation = Invitation::random(&SpkiHash::new([1; 32]), &mut clock::rng());
        let text = invitation.text();
        let (first, second) = text.expose().split_at(40);
        assert_eq!(of_text(&format!(" {first}\r\n  {second}\n")), Ok(invitation));
        assert_eq!(of_text(first), Err(InvitationError::Length(40)));
    }

    #[test]
    fn keys_that_work_are_not_replaced_and_those_of_a_run_cut_off_are() {
        let mut known = entry("Lamp", 1);
        let invitation = Invitation::random(&SpkiHash::new([1; 32]), &mut clock::rng());
        assert_eq!(expect_unknown(std::slice::from_ref(&known), &invitation), Ok(()));
        known.binding.confirmed = true;
        let refused = expect_unknown(std::slice::from_ref(&known), &invitation).expect_err("known");
        assert_eq!(refused.exit, Exit::Usage);
        assert_eq!(refused.message, "Lamp is in your keyring already: you are Anna there");
        let other = Invitation::random(&SpkiHash::new([2; 32]), &mut clock::rng());
        assert_eq!(expect_unknown(&[known], &other), Ok(()));
    }

    #[test]
    fn each_end_of_a_run_says_what_to_do() {
        for error in [
            PairingError::InvitationOver,
            PairingError::OtherThing,
            PairingError::Impostor,
            PairingError::Silent,
            PairingError::Interrupted,
        ] {
            let failure = failed(error);
            assert!(failure.next.is_some(), "{failure:?}");
            assert!(!failure.message.contains("display") && !failure.message.contains("code"), "{failure:?}");
        }
        let alias: Name = "Lamp".parse().expect("a name");
        let refused = not_known(&alias, false, Failure::new(Exit::Crypto, "x"));
        assert_eq!((refused.message.as_str(), refused.next.as_deref()), ("Lamp did not take you in", Some(ASK_AGAIN)));
    }
}

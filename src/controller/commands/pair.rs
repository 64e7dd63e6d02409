//! `sect pair`: who reads the display becomes the owner (SecT STEP 1-8).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::bind::{Ended, drive};
use super::nearby::{self, Nearby, of_link, wrong_code};
use super::paper::Paper;
use super::report::{Report, sentence};
use super::{Context, bound::Bound};
use crate::controller::args::Pair;
use crate::controller::clock;
use crate::controller::exit::{Exit, Failure};
use crate::controller::keyring::{Entry, Keyring, KeyringError, same_alias};
use crate::controller::reach::Search;
use crate::controller::secrets::{Prompt, Secrets};
use crate::controller::session::within;
use crate::proto::keys::PairingCode;
use crate::proto::pairing::controller::{PairingError, Run};
use crate::proto::passcode::Passcode;
use crate::proto::user::{Name, NewName};
use crate::proto::wifi::{HomeNetwork, Ssid};

/// How long a plug may take to appear at home: it has 60 s to join, then it announces itself.
const HOMECOMING: Duration = Duration::from_secs(90);

/// What helps when a plug has not come home.
const LOOK_AT_THE_DISPLAY: &str = "look at its display: after \"wrong password\" or \"Wi-Fi not found\" it shows a network \
     name and a code again, 90 s after it was paired; then `sect wifi set --maintenance` corrects name and password. \
     Otherwise, is this computer on that network too? Then try `sect status`";

/// All that a pairing needs.
struct Plan {
    ssid: Ssid,
    passcode: Passcode,
    network: HomeNetwork,
    name: Name,
    alias: Name,
    paper: Option<Paper>,
}

#[derive(Serialize)]
struct Paired<'a> {
    paired: bool,
    #[serde(flatten)]
    report: Report<'a>,
    /// From the start of the run to the first answer at home.
    took_s: f64,
}

/// Pairs a plug and waits for it at home.
pub(super) async fn run(context: &Context<'_>, wanted: Pair) -> Result<(), Failure> {
    let keyring = context.keyring()?;
    // A pairing that was cut off half-way may be done again under the same alias.
    let entries = context.contents(&keyring)?.entries.into_iter();
    let taken: Vec<Name> = entries.filter(|entry| entry.binding.confirmed).map(|entry| entry.alias).collect();
    let plan = plan(context, &wanted, &taken)?;
    let nearby = Nearby { ssid: &plan.ssid, passcode: &plan.passcode, radio: wanted.simulated_radio.as_deref() };
    let address = match nearby.join(context).await {
        Ok(address) => address,
        Err(failure) => {
            discard(context, plan.paper);
            return Err(failure);
        }
    };
    // Only now: at a prompt Ctrl-C ends the program, and nothing has begun.
    tokio::select! {
        biased;
        Ok(()) = tokio::signal::ctrl_c() => Err(stopped()),
        claimed = claim(context, &wanted, &keyring, plan, address) => claimed,
    }
}

/// All that needs nobody at the keyboard any more: STEP 2 to 8.
async fn claim(
    context: &Context<'_>,
    wanted: &Pair,
    keyring: &Keyring,
    plan: Plan,
    address: SocketAddr,
) -> Result<(), Failure> {
    let Plan { passcode, network, name, alias, paper, .. } = plan;
    let started = Instant::now();
    let port_was_assumed = wanted.simulated_radio.is_some() && context.global.address.is_none();
    let recovery = paper.as_ref().map(|paper| paper.code.clone());
    let has_no_code = paper.is_none() && !wanted.no_recovery_code;
    let ended = async {
        let mut link = nearby::open(address, &passcode).await.map_err(|error| of_link(&error, port_was_assumed))?;
        context.printer.step("The plug took the code (STEP 2).");
        let code = PairingCode::of_passcode(&passcode);
        let run = Run::new(code, network, name, recovery, &mut clock::rng());
        let ended = drive(context, keyring, &alias, &mut link, run, failed).await;
        // The acknowledgement of M9 goes out with the goodbye: the plug waits for it before it leaves.
        link.close().await;
        ended
    };
    let (binding, confirmed) = match ended.await {
        Ok(Ended::Confirmed(binding)) => (binding, true),
        Ok(Ended::Unconfirmed(binding)) => (binding, false),
        Err(failure) => {
            discard(context, paper);
            return Err(failure);
        }
    };
    let entry = Entry::new(alias, binding);
    if has_no_code {
        context.printer.warning("no recovery code was made: `sect recovery-code` makes one");
    }
    if confirmed {
        context.printer.step(&format!("{} is yours. It joins your home network now (STEP 8).", entry.alias));
    } else {
        context
            .printer
            .warning("the plug did not confirm the last step; it may be ready all the same, so it is looked for");
    }
    let (home_address, simulated) = (wanted.home_address.clone(), wanted.simulated_radio.is_some());
    let bound = Homecoming { home_address, simulated, started, confirmed }.wait(context, keyring, entry).await?;
    bound.session.close().await;
    Ok(())
}

/// A pairing that came to nothing leaves a recovery code that recovers nothing.
fn discard(context: &Context<'_>, paper: Option<Paper>) {
    if let Some(paper) = paper {
        paper.discard(context);
    }
}

/// Asks for what was not given.
fn plan(context: &Context<'_>, wanted: &Pair, taken: &[Name]) -> Result<Plan, Failure> {
    let prompt = Prompt::new(context.printer);
    let secrets = wanted.secrets.as_deref().map(Secrets::read).transpose()?.unwrap_or_default();
    if prompt.is_possible() && (wanted.ssid.is_none() || secrets.passcode.is_none()) {
        context.printer.progress("The plug's display shows the name of its own Wi-Fi network and a code.");
    }
    let ssid = match &wanted.ssid {
        Some(ssid) => ssid.clone(),
        None => prompt.ask("Name of the plug's network (SecT-....):", "--ssid")?,
    };
    let passcode = match secrets.passcode {
        Some(passcode) => passcode,
        // It stands on the display for everybody in the room: showing it while it is typed tells nobody more.
        None => prompt.ask("Code on the display:", "passcode= in --secrets")?,
    };
    let home = match &wanted.home_ssid {
        Some(ssid) => ssid.clone(),
        None => prompt.ask("Name of your home network:", "--home-ssid")?,
    };
    let psk = match secrets.wifi_password {
        Some(psk) => psk,
        None => {
            let question = format!("Password of {home} (not shown):");
            prompt.ask_hidden_twice(&question, "The same again:", "wifi-password= in --secrets")?
        }
    };
    let name = match &wanted.name {
        Some(name) => name.clone(),
        None => prompt.ask::<NewName>("Your name, which the plug will show:", "--name")?.0,
    };
    let alias = loop {
        let alias = match &wanted.alias {
            Some(alias) => alias.clone(),
            None => prompt.ask("Your name for the plug:", "--alias")?,
        };
        if !taken.iter().any(|other| same_alias(other, &alias)) {
            break alias;
        }
        let failure = KeyringError::AliasTaken(alias);
        if wanted.alias.is_some() {
            return Err(failure.into());
        }
        context.printer.progress(&format!("  {failure}"));
    };
    let paper =
        if wanted.no_recovery_code { None } else { Paper::hand_over(context, wanted.recovery_file.as_deref())? };
    Ok(Plan { ssid, passcode, network: HomeNetwork { ssid: home, psk }, name, alias, paper })
}

/// The plug's way home, once it knows its owner.
pub(super) struct Homecoming {
    /// Where it will be, instead of looking for it.
    pub(super) home_address: Option<String>,
    /// Whether this computer stays where it is.
    pub(super) simulated: bool,
    /// When the run began.
    pub(super) started: Instant,
    /// Whether M9 came.
    pub(super) confirmed: bool,
}

impl Homecoming {
    /// Waits for the plug at home and asks its `status` with the new keys.
    pub(super) async fn wait<'k>(
        self,
        context: &Context<'_>,
        keyring: &'k Keyring,
        entry: Entry,
    ) -> Result<Bound<'k>, Failure> {
        if !self.simulated {
            context.printer.progress("Let this computer join your home network again, if it does not by itself.");
        }
        let alias = entry.alias.clone();
        let search = Search {
            address: self.home_address,
            patience: context.global.timeout.unwrap_or(HOMECOMING),
            insist: true,
            ..context.search()
        };
        let arrived = async {
            let mut bound = Bound::open(keyring, entry, &search).await?;
            let answer = within(alias.as_str(), context.global.timeout, bound.session.status()).await?;
            bound.answered()?;
            Ok::<_, Failure>((bound, answer))
        };
        let (bound, answer) = arrived.await.map_err(|failure| match failure.exit {
            Exit::NotFound | Exit::Timeout => {
                tracing::debug!(%failure, "not at home");
                stayed_away(&alias, self.confirmed)
            }
            _ => failure,
        })?;
        let took_s = (self.started.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        let paired = Paired { paired: true, report: Report::of_answer(&bound.entry, &answer), took_s };
        context.printer.result(&paired, || {
            format!("{}\nPaired and at home after {took_s} s. Try: sect on", sentence(&bound.entry, &answer))
        });
        Ok(bound)
    }
}

/// Pairing is over, and the plug is not at home.
fn stayed_away(alias: &Name, confirmed: bool) -> Failure {
    let (state, next) = if confirmed {
        ("is paired", LOOK_AT_THE_DISPLAY)
    } else {
        (
            "may be paired",
            "if its display shows a code again, it is not: pair it once more. Otherwise try `sect status`",
        )
    };
    Failure::new(Exit::Timeout, format!("{alias} {state}, but it has not appeared on your home network")).next(next)
}

/// Ctrl-C came while plug and computer were talking, or the plug was on its way home.
pub(super) fn stopped() -> Failure {
    Failure::new(Exit::Other, "stopped").next("`sect list` tells whether the plug is yours already")
}

pub(super) fn failed(error: PairingError) -> Failure {
    match error {
        PairingError::WrongCode => wrong_code(),
        PairingError::NotRecovered => Failure::new(Exit::Crypto, error.to_string())
            .next("after five attempts the plug shows another code; hold its button again for a new window"),
        PairingError::Interrupted => {
            Failure::new(Exit::Timeout, error.to_string()).next("take the code that the display shows now")
        }
        PairingError::Silent | PairingError::Unconfirmed => Failure::new(Exit::Timeout, error.to_string()),
        PairingError::Impostor
        | PairingError::Certificate(_)
        | PairingError::InvitationOver
        | PairingError::OtherThing => Failure::new(Exit::Crypto, error.to_string()),
        PairingError::Incomprehensible => Failure::new(Exit::Other, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::client::LinkError;

    #[test]
    fn a_plug_that_stays_away_sends_its_owner_to_the_display() {
        let alias: Name = "Lamp".parse().expect("a name");
        let next = stayed_away(&alias, true).next.expect("a next step");
        assert!(next.starts_with("look at its display: after \"wrong password\" or \"Wi-Fi not found\" it"), "{next}");
        assert!(next.contains("`sect wifi set --maintenance`"), "{next}");
    }

    #[test]
    fn a_refused_code_says_what_to_do_next() {
        for failure in [of_link(&LinkError::KeyRefused, false), failed(PairingError::WrongCode)] {
            assert_eq!(failure.exit, Exit::Crypto);
            assert_eq!(failure.message, "the code on the display has changed, or was mistyped");
            assert!(failure.next.expect("a next step").starts_with("read it again"));
        }
    }
}

//! `sect recover` and `sect recovery-code`: a lost phone, and the paper that replaces it (protocol section 9).

use std::net::SocketAddr;
use std::time::Instant;

use serde::Serialize;

use super::Context;
use super::bind::{Ended, drive};
use super::bound::Bound;
use super::nearby::{self, Nearby, of_link};
use super::pair::{Homecoming, failed, stopped};
use super::paper::Paper;
use super::user::users;
use crate::controller::args::{Recover, RecoveryCode as NewCode};
use crate::controller::clock;
use crate::controller::exit::{Exit, Failure};
use crate::controller::keyring::{Entry, Keyring};
use crate::controller::secrets::{Prompt, Secrets};
use crate::proto::keys::PairingCode;
use crate::proto::operation::{Operation, argument};
use crate::proto::pairing::controller::{Recovering, Run};
use crate::proto::passcode::Passcode;
use crate::proto::recovery::RecoveryCode;
use crate::proto::user::{Name, NewName, Role};
use crate::proto::wifi::{HomeNetwork, Ssid};

/// All that a recovery needs.
struct Plan {
    ssid: Ssid,
    passcode: Passcode,
    code: RecoveryCode,
    network: Option<HomeNetwork>,
    name: Name,
    alias: Name,
}

#[derive(Serialize)]
struct Replaced<'a> {
    recovery_code: &'static str,
    name: &'a str,
}

/// Becomes the owner in the place of all earlier ones.
pub(super) async fn run(context: &Context<'_>, wanted: Recover) -> Result<(), Failure> {
    let keyring = context.keyring()?;
    let plan = plan(context, &wanted)?;
    let paper = Paper::hand_over(context, wanted.recovery_file.as_deref())?.ok_or_else(|| {
        Failure::new(Exit::Usage, "--recovery-file is missing, and nobody is there to write a new code down")
    })?;
    let nearby = Nearby { ssid: &plan.ssid, passcode: &plan.passcode, radio: wanted.simulated_radio.as_deref() };
    let address = match nearby.join(context).await {
        Ok(address) => address,
        Err(failure) => {
            paper.discard(context);
            return Err(failure);
        }
    };
    // Only now: at a prompt Ctrl-C ends the program, and nothing has begun.
    tokio::select! {
        biased;
        Ok(()) = tokio::signal::ctrl_c() => Err(stopped()),
        recovered = recover(context, &wanted, &keyring, plan, paper, address) => recovered,
    }
}

async fn recover(
    context: &Context<'_>,
    wanted: &Recover,
    keyring: &Keyring,
    plan: Plan,
    paper: Paper,
    address: SocketAddr,
) -> Result<(), Failure> {
    let Plan { passcode, code, network, name, alias, .. } = plan;
    let started = Instant::now();
    let port_was_assumed = wanted.simulated_radio.is_some() && context.global.address.is_none();
    let recovering = Recovering { code, next: paper.code.clone(), keep: !wanted.remove_everybody, network };
    let ended = async {
        let mut link = nearby::open(address, &passcode).await.map_err(|error| of_link(&error, port_was_assumed))?;
        context.printer.step("The plug took the code on its display (STEP 2).");
        let run = Run::recovering(PairingCode::of_passcode(&passcode), recovering, name, &mut clock::rng());
        let ended = drive(context, keyring, &alias, &mut link, run, failed).await;
        // The acknowledgement of M9 goes out with the goodbye: the plug waits for it before it leaves.
        link.close().await;
        ended
    };
    let (binding, confirmed) = match ended.await {
        Ok(Ended::Confirmed(binding)) => (binding, true),
        Ok(Ended::Unconfirmed(binding)) => (binding, false),
        Err(failure) => {
            paper.discard(context);
            return Err(failure);
        }
    };
    let entry = Entry::new(alias, binding);
    if confirmed {
        context.printer.step(&format!("{} is yours again. The old recovery code is void.", entry.alias));
    } else {
        context.printer.warning("the plug did not confirm the last step: keep both recovery codes until it answers");
    }
    let home = Homecoming {
        home_address: wanted.home_address.clone(),
        simulated: wanted.simulated_radio.is_some(),
        started,
        confirmed,
    };
    let mut bound = home.wait(context, keyring, entry).await?;
    if !wanted.remove_everybody && tell_who_stayed(context, &mut bound).await.is_err() {
        context.printer.progress("Who was no owner has stayed a user: `sect user list` shows them.");
    }
    bound.session.close().await;
    Ok(())
}

/// Asks for what was not given.
fn plan(context: &Context<'_>, wanted: &Recover) -> Result<Plan, Failure> {
    let prompt = Prompt::new(context.printer);
    let secrets = wanted.secrets.as_deref().map(Secrets::read).transpose()?.unwrap_or_default();
    if prompt.is_possible() && (wanted.ssid.is_none() || secrets.passcode.is_none()) {
        context.printer.progress(
            "Hold the plug's button for 10 s: its display shows the name of its own Wi-Fi network, an M, and a code.",
        );
    }
    let ssid = match &wanted.ssid {
        Some(ssid) => ssid.clone(),
        None => prompt.ask("Name of the plug's network (SecT-....):", "--ssid")?,
    };
    let passcode = match secrets.passcode {
        Some(passcode) => passcode,
        None => prompt.ask("Code on the display:", "passcode= in --secrets")?,
    };
    let code = match secrets.recovery_code {
        Some(code) => code,
        None => prompt.ask_hidden("Recovery code on your paper (not shown):", "recovery-code= in --secrets")?,
    };
    let network = match (&wanted.home_ssid, secrets.wifi_password) {
        (None, _) => None,
        (Some(ssid), Some(psk)) => Some(HomeNetwork { ssid: ssid.clone(), psk }),
        (Some(ssid), None) => {
            let question = format!("Password of {ssid} (not shown):");
            Some(HomeNetwork { ssid: ssid.clone(), psk: prompt.ask_hidden(&question, "wifi-password= in --secrets")? })
        }
    };
    let name = match &wanted.name {
        Some(name) => name.clone(),
        None => prompt.ask::<NewName>("Your name, which the plug will show:", "--name")?.0,
    };
    let alias = match &wanted.alias {
        Some(alias) => alias.clone(),
        None => prompt.ask("Your name for the plug:", "--alias")?,
    };
    Ok(Plan { ssid, passcode, code, network, name, alias })
}

/// Only owners have a recovery code.
async fn expect_owner(context: &Context<'_>, bound: &mut Bound<'_>) -> Result<(), Failure> {
    let own = bound.entry.binding.cid;
    if users(context, bound).await?.iter().any(|user| user.cid == own && user.role == Role::Owner) {
        return Ok(());
    }
    let alias = &bound.entry.alias;
    Err(Failure::new(Exit::Denied, format!("only an owner of {alias} may do that"))
        .next("`sect user list` shows your role"))
}

/// Who was kept: whoever found the phone may have been among them.
async fn tell_who_stayed(context: &Context<'_>, bound: &mut Bound<'_>) -> Result<(), Failure> {
    let own = bound.entry.binding.cid;
    let all = users(context, bound).await?;
    let others: Vec<String> =
        all.iter().filter(|user| user.cid != own).map(|user| format!("{} ({})", user.name, user.role)).collect();
    let alias = &bound.entry.alias;
    context.printer.progress(&match &others[..] {
        [] => format!("{alias} has no other users."),
        _ => format!(
            "Who was no owner has stayed a user of {alias}: {}. Remove whom you do not want with `sect user remove NAME`.",
            others.join(", ")
        ),
    });
    Ok(())
}

/// Replaces the recovery code, for an owner who has lost the paper, or whose paper somebody has seen.
pub(super) async fn new_code(context: &Context<'_>, wanted: &NewCode) -> Result<(), Failure> {
    let keyring = context.keyring()?;
    // A code that nobody may set, or that no plug takes, is not worth writing down.
    let mut bound = context.bound(&keyring).await?;
    expect_owner(context, &mut bound).await?;
    bound.session.close().await;
    drop(bound.place);
    let paper = Paper::hand_over(context, wanted.recovery_file.as_deref())?.ok_or_else(|| {
        Failure::new(Exit::Usage, "--recovery-file is missing, and nobody is there to write the code down")
    })?;
    // Writing takes its time, and no connection waits for a pencil.
    let mut bound = match context.bound(&keyring).await {
        Ok(bound) => bound,
        Err(failure) => {
            paper.discard(context);
            return Err(failure);
        }
    };
    let rec = paper.code.key(&bound.entry.binding.thing).spki();
    match bound.ask(context, Operation::RecoverySet(argument::RecoverySet { rec })).await {
        Ok(_) => {}
        Err(failure) if failure.exit == Exit::Timeout => {
            return Err(failure.next("keep both recovery codes, and try again: the last one that it takes counts"));
        }
        Err(failure) => {
            paper.discard(context);
            return Err(failure);
        }
    }
    let alias = bound.entry.alias.as_str();
    context.printer.result(&Replaced { recovery_code: "replaced", name: alias }, || {
        format!("{alias} knows the new recovery code. Every earlier one is void.")
    });
    bound.session.close().await;
    Ok(())
}

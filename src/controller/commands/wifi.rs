//! `sect wifi`: the networks that a plug sees, and another home network for it (SecT STEP 19; protocol
//! sections 7.6 and 9).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::bound::Bound;
use super::nearby::Nearby;
use super::report::{Report, sentence};
use super::{Context, LOCK_PATIENCE};
use crate::controller::args::{Wifi, WifiSet};
use crate::controller::exit::{Exit, Failure};
use crate::controller::keyring::{Entry, Keyring};
use crate::controller::print::table;
use crate::controller::reach::{Search, Ways};
use crate::controller::secrets::{Prompt, Secrets};
use crate::controller::session::{Answer, Session, confirm};
use crate::proto::operation::{Operation, argument, result};
use crate::proto::user::Name;
use crate::proto::wifi::{HomeNetwork, Ssid};

/// How long a plug may take to be heard of again: it tries the network for 60 s, and may have to come
/// back to the old one.
const MOVE: Duration = Duration::from_secs(120);
/// How often it is asked meanwhile.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// The question for one answer of a plug that is about to leave.
const ONE_LOOK: Duration = Duration::from_secs(15);

/// What a plug's `status` says of the last other network.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Told {
    wifi: Trial,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Trial {
    ssid: Ssid,
    state: String,
}

#[derive(Serialize)]
struct Network {
    ssid: String,
    signal: u8,
}

#[derive(Serialize)]
struct Moved<'a> {
    wifi: &'static str,
    home_ssid: String,
    #[serde(flatten)]
    report: Report<'a>,
}

/// Does one of the two.
pub(super) async fn run(context: &Context<'_>, wanted: Wifi) -> Result<(), Failure> {
    match wanted {
        Wifi::Scan => scan(context).await,
        Wifi::Set(wanted) => set(context, &wanted).await,
    }
}

async fn scan(context: &Context<'_>) -> Result<(), Failure> {
    let keyring = context.keyring()?;
    let mut bound = context.bound(&keyring).await?;
    let seen: result::Networks = bound.ask(context, Operation::WifiScan).await?.read()?;
    let row = |item: result::NetworkItem| Network { ssid: item.ssid.to_string(), signal: item.signal };
    let networks: Vec<Network> = seen.items.into_iter().map(row).collect();
    context.printer.result(&networks, || {
        if networks.is_empty() {
            return format!("{} has seen no network", bound.entry.alias);
        }
        let cells = |network: &Network| vec![network.ssid.clone(), format!("{} %", network.signal)];
        table(&["NETWORK", "SIGNAL"], networks.iter().map(cells))
    });
    bound.session.close().await;
    Ok(())
}

async fn set(context: &Context<'_>, wanted: &WifiSet) -> Result<(), Failure> {
    let keyring = context.keyring()?;
    let entry = context.device(&keyring)?;
    let secrets = wanted.secrets.as_deref().map(Secrets::read).transpose()?.unwrap_or_default();
    let here = match wanted.maintenance {
        true => nearby(context, wanted, &secrets).await?,
        false => context.search(),
    };
    let network = network(context, wanted, secrets)?;
    let Bound { place, entry, session, .. } = {
        let alias = entry.alias.clone();
        let mut bound = Bound::open(&keyring, entry, &here).await.map_err(|failure| {
            if wanted.maintenance && failure.exit == Exit::Crypto { not_there(&alias) } else { failure }
        })?;
        let HomeNetwork { ssid, psk: key } = network.clone();
        match bound.ask(context, Operation::WifiSet(argument::WifiSet { ssid, key })).await {
            Ok(_) => {}
            // It may be on its way: what it says there tells.
            Err(failure) if failure.exit == Exit::Timeout => tracing::debug!(%failure, "no answer"),
            Err(failure) => return Err(failure),
        }
        bound
    };
    session.close().await;
    drop(place);
    context.printer.step(&format!("{} tries {}, for up to a minute (STEP 19).", entry.alias, network.ssid));
    context.printer.progress(&format!(
        "If it stays there, let this computer join {} too, unless the plug has a cloud server.",
        network.ssid
    ));
    hear(context, wanted, &keyring, entry, &network.ssid).await
}

/// The code opened the network, and the plug does not know the keys there.
fn not_there(alias: &Name) -> Failure {
    Failure::new(Exit::Crypto, format!("{alias} does not take your keys in its own network")).next(
        "there it takes those of its owners alone: if you are none, ask one. If you are, is this the network of another \
         plug?",
    )
}

/// Joins the plug's own network, where it takes its owners' keys.
async fn nearby(context: &Context<'_>, wanted: &WifiSet, secrets: &Secrets) -> Result<Search, Failure> {
    let prompt = Prompt::new(context.printer);
    if prompt.is_possible() && (wanted.ssid.is_none() || secrets.passcode.is_none()) {
        context.printer.progress(
            "The plug's display shows the name of its own Wi-Fi network and a code. If it does not, hold its button for 10 s.",
        );
    }
    let ssid = match &wanted.ssid {
        Some(ssid) => ssid.clone(),
        None => prompt.ask("Name of the plug's network (SecT-....):", "--ssid")?,
    };
    let passcode = match &secrets.passcode {
        Some(passcode) => passcode.clone(),
        None => prompt.ask("Code on the display:", "passcode= in --secrets")?,
    };
    let nearby = Nearby { ssid: &ssid, passcode: &passcode, radio: wanted.simulated_radio.as_deref() };
    let address = nearby.join(context).await?;
    Ok(Search { address: Some(address.to_string()), ways: Ways::Local, ..context.search() })
}

/// Asks for what was not given.
fn network(context: &Context<'_>, wanted: &WifiSet, secrets: Secrets) -> Result<HomeNetwork, Failure> {
    let prompt = Prompt::new(context.printer);
    let ssid = match &wanted.home_ssid {
        Some(ssid) => ssid.clone(),
        None => prompt.ask("Name of the network that the plug shall join:", "--home-ssid")?,
    };
    let psk = match secrets.wifi_password {
        Some(psk) => psk,
        None => prompt.ask_hidden(&format!("Password of {ssid} (not shown):"), "wifi-password= in --secrets")?,
    };
    Ok(HomeNetwork { ssid, psk })
}

/// Waits until the plug says, from whichever network, what became of it.
async fn hear(
    context: &Context<'_>,
    wanted: &WifiSet,
    keyring: &Keyring,
    mut entry: Entry,
    ssid: &Ssid,
) -> Result<(), Failure> {
    let deadline = Instant::now() + context.global.timeout.unwrap_or(MOVE);
    let mut search = Search { insist: true, ..context.search() };
    // The address that was given is the one before, or the plug's in its own network.
    if wanted.maintenance || wanted.home_address.is_some() {
        search.address = wanted.home_address.clone();
    }
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(unheard(&entry, ssid, wanted.maintenance));
        }
        search.patience = left.min(ONE_LOOK);
        match look(&entry, &search).await {
            Some(answer) => {
                let place = keyring.lock(&entry.binding.thing, LOCK_PATIENCE).await?;
                confirm(&place, &mut entry)?;
                if let Some(ended) = judge(&entry, &answer, ssid, wanted.maintenance) {
                    ended?;
                    return tell(context, &entry, &answer, ssid);
                }
            }
            None => tracing::debug!("not heard of yet"),
        }
        sleep(ASK_AGAIN.min(left)).await;
    }
}

/// What the plug answers now, if it is reached.
async fn look(entry: &Entry, search: &Search) -> Option<Answer> {
    let mut session = Session::open(entry, search).await.ok()?;
    let answer = session.status().await;
    session.close().await;
    answer.ok()
}

/// How it ended, if it has.
fn judge(entry: &Entry, answer: &Answer, ssid: &Ssid, maintenance: bool) -> Option<Result<(), Failure>> {
    let alias = &entry.alias;
    let told = answer.result.as_deref().and_then(|text| serde_json::from_str::<Told>(text).ok());
    let Some(Told { wifi: trial }) = told.filter(|told| told.wifi.ssid == *ssid) else {
        let failure = Failure::new(Exit::Other, format!("{alias} is in the network where it was before"));
        return Some(Err(failure.next("it was started anew meanwhile, or did not get the message: try again")));
    };
    let back = if maintenance {
        "its own network is open again, with another code on its display: try again with that one"
    } else {
        "it is in the old network again, and nothing else has changed"
    };
    Some(match trial.state.as_str() {
        "trying" => return None,
        "kept" => Ok(()),
        "wrong-password" => {
            Err(Failure::new(Exit::Crypto, format!("{ssid} does not take this password from {alias}")).next(back))
        }
        "not-found" => Err(Failure::new(Exit::NotFound, format!("{alias} does not see a network {ssid}")).next(back)),
        _ => Err(Failure::new(Exit::Other, format!("{alias} did not get into {ssid}")).next(back)),
    })
}

fn tell(context: &Context<'_>, entry: &Entry, answer: &Answer, ssid: &Ssid) -> Result<(), Failure> {
    let report = Report::of_answer(entry, answer);
    context.printer.result(&Moved { wifi: "kept", home_ssid: ssid.to_string(), report }, || {
        format!("{} is in {ssid} now, and stays there.\n{}", entry.alias, sentence(entry, answer))
    });
    Ok(())
}

fn unheard(entry: &Entry, ssid: &Ssid, maintenance: bool) -> Failure {
    let alias = &entry.alias;
    let next = if maintenance {
        format!(
            "if its display shows another code, {ssid} did not take it: try again with that code. Otherwise the plug \
             has moved: let this computer join {ssid} too, then try `sect status`"
        )
    } else {
        format!("the plug may have moved: let this computer join {ssid} too, then try `sect status`")
    };
    Failure::new(Exit::Timeout, format!("{alias} was not heard of since it left for {ssid}")).next(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::keyring::testing::entry;
    use crate::proto::controller::Path;
    use crate::proto::message::{ReturnCode, State, SwitchedBy};
    use crate::proto::time::Micros;

    fn judged(result: Option<&str>) -> Option<Result<(), Exit>> {
        let name = "plug".parse().expect("a name");
        let state = State { on: false, by: SwitchedBy::Boot, who: None, since: Micros::ZERO, name };
        let answer = Answer {
            rc: ReturnCode::Ok,
            state,
            round_trip: Duration::ZERO,
            lasting: None,
            path: Path::Local,
            address: None,
            result: result.map(str::to_owned),
            clouds: Vec::new(),
        };
        let ssid = "new".parse().expect("a name");
        judge(&entry("Lamp", 1), &answer, &ssid, false).map(|ended| ended.map_err(|failure| failure.exit))
    }

    #[test]
    fn each_end_of_a_trial_has_its_exit_code() {
        // "bmV3" is "new", "b2xk" is "old".
        let state = |state: &str| format!(r#"{{"clouds":[],"wifi":{{"ssid":"bmV3","state":"{state}"}}}}"#);
        for (said, ended) in [
            ("trying", None),
            ("kept", Some(Ok(()))),
            ("wrong-password", Some(Err(Exit::Crypto))),
            ("not-found", Some(Err(Exit::NotFound))),
            ("failed", Some(Err(Exit::Other))),
            ("of-a-later-version", Some(Err(Exit::Other))),
        ] {
            assert_eq!(judged(Some(&state(said))), ended, "{said}");
        }
    }

    #[test]
    fn a_plug_that_knows_of_no_trial_was_started_anew() {
        assert_eq!(judged(None), Some(Err(Exit::Other)));
        assert_eq!(judged(Some(r#"{"wifi":{"ssid":"b2xk","state":"kept"}}"#)), Some(Err(Exit::Other)));
    }
}

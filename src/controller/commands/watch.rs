//! `sect watch`: every change of a plug, until Ctrl-C.
//!
//! It asks `status` alone, which carries no time of this controller; so it takes no lock, and other
//! commands can run beside it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;
use tokio::time::sleep;

use super::Context;
use super::report::{Report, state_sentence};
use crate::controller::exit::Failure;
use crate::controller::keyring::{Entry, Keyring};
use crate::controller::print::clean;
use crate::controller::session::{Session, SessionError};
use crate::mqtt::client::LinkError;
use crate::proto::controller::ControllerEvent;

/// The first wait after a lost link; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// One line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    /// `state`, `lost`, or what the plug tells beyond its state: `joined`, `left`, `wifi`, `rekey.due`,
    /// `invite.reuse`, `clone`.
    event: &'static str,
    /// When this line was written.
    unix_ms: u64,
    #[serde(flatten)]
    report: Option<Report<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What it says about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<Value>,
}

/// Watches until Ctrl-C, which is how it ends well.
pub(super) async fn run(context: &Context<'_>) -> Result<(), Failure> {
    let keyring = context.keyring()?;
    let entry = context.device(&keyring)?;
    tokio::select! {
        ended = watch(context, &keyring, entry) => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// Ends only when the plug cannot be reached at the very beginning, or was forgotten.
async fn watch(context: &Context<'_>, keyring: &Keyring, mut entry: Entry) -> Result<(), Failure> {
    let mut wait = FIRST_WAIT;
    let mut search = context.search();
    let mut session = lasting_long(keyring, &entry, Session::open(&entry, &search).await?);
    search.insist = true;
    loop {
        let error = follow(context, &entry, &mut session, &mut wait).await;
        lost(context, &error);
        session = loop {
            sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
            // Another process may have changed or forgotten the entry.
            entry = super::choose(keyring.contents()?.entries, Some(&entry.binding.thing.to_string()))?;
            match Session::open(&entry, &search).await {
                Ok(session) => break lasting_long(keyring, &entry, session),
                Err(failure) => tracing::debug!(%failure, "not back yet"),
            }
        };
    }
}

/// Prints the state and each change, until the link is lost.
async fn follow(context: &Context<'_>, entry: &Entry, session: &mut Session, wait: &mut Duration) -> SessionError {
    let mut shown = match session.status().await {
        Ok(answer) => answer.state,
        Err(error) => return error,
    };
    print(context, entry, session, &shown);
    *wait = FIRST_WAIT;
    loop {
        match session.next_event().await {
            Ok(ControllerEvent::StateChanged { state, .. }) => {
                print(context, entry, session, &state);
                shown = state;
            }
            // The machine asks by itself when the thing seems to have started anew.
            Ok(ControllerEvent::Status { state, .. }) if state != shown => {
                print(context, entry, session, &state);
                shown = state;
            }
            Ok(ControllerEvent::Told { k, d }) => tell(context, entry, k, d.as_deref()),
            Ok(_) => {}
            Err(error) => return error.into(),
        }
    }
}

fn lasting_long(keyring: &Keyring, entry: &Entry, session: Session) -> Session {
    let (keyring, entry) = (keyring.clone(), entry.clone());
    session.lasting_long(move || is_outdated(&keyring, &entry))
}

/// Whether another `sect` has updated the key: only the new one opens what the plug says now.
fn is_outdated(keyring: &Keyring, entry: &Entry) -> bool {
    let entries = keyring.contents().map(|contents| contents.entries).unwrap_or_default();
    let known = entries.iter().find(|known| known.binding.thing == entry.binding.thing);
    known.is_some_and(|known| known.binding.keychain() != entry.binding.keychain())
}

fn print(context: &Context<'_>, entry: &Entry, session: &Session, state: &crate::proto::message::State) {
    let lasting = session.lasting(state.since);
    let line = Line {
        event: "state",
        unix_ms: unix_ms(),
        report: Some(Report::of_state(entry, state, lasting)),
        reason: None,
        about: None,
    };
    context.printer.result(&line, || state_sentence(entry, state, lasting));
}

/// What the plug tells beyond its state.
fn tell(context: &Context<'_>, entry: &Entry, k: &'static str, d: Option<&str>) {
    let about: Option<Value> = d.and_then(|d| serde_json::from_str(d).ok());
    let text = words(entry.alias.as_str(), k, about.as_ref());
    let line = Line { event: k, unix_ms: unix_ms(), report: None, reason: None, about };
    context.printer.result(&line, || clean(&text));
}

/// In words, and what to do where something is wrong.
fn words(alias: &str, k: &str, about: Option<&Value>) -> String {
    let text = |member: &str| about.and_then(|about| about[member].as_str());
    match k {
        "joined" => format!("{alias}: {} has joined", text("name").unwrap_or("somebody")),
        "left" => format!("{alias}: {} has left", text("name").or_else(|| text("cid")).unwrap_or("somebody")),
        "wifi" if about.is_some_and(|about| about["ok"] == true) => {
            format!("{alias} has moved to another Wi-Fi network")
        }
        "wifi" => format!("{alias} could not join another Wi-Fi network and came back"),
        "rekey.due" => format!("{alias}: your keys are due for renewal, which `sect` does by itself"),
        "invite.reuse" => format!(
            "{alias}: somebody tried the invitation for {} once more; if nobody did so by mistake, look at `sect user list`",
            text("name").unwrap_or("somebody")
        ),
        "clone" => {
            format!(
                "{alias}: another plug registers under its name: its card was copied, or an old copy restored. Users \
                 removed since may be back: look at `sect user list`"
            )
        }
        other => format!("{alias}: {other}"),
    }
}

fn lost(context: &Context<'_>, error: &SessionError) {
    let reason = match error {
        SessionError::Link(LinkError::Lost(_)) => "the connection was lost".to_owned(),
        other => other.to_string(),
    };
    if context.printer.is_json() {
        context.printer.value(&Line {
            event: "lost",
            unix_ms: unix_ms(),
            report: None,
            reason: Some(reason),
            about: None,
        });
    } else {
        context.printer.warning(&format!("{reason}; looking for the plug again"));
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::proto::message::EVENTS_TOLD;

    #[test]
    fn what_a_plug_tells_stands_there_in_words() {
        let said = |k, about: Value| words("Lamp", k, Some(&about));
        assert_eq!(said("joined", json!({"cid": "AAECAwQFBgc", "name": "Ben"})), "Lamp: Ben has joined");
        assert_eq!(said("left", json!({"cid": "AAECAwQFBgc"})), "Lamp: AAECAwQFBgc has left");
        assert_eq!(said("wifi", json!({"ok": true})), "Lamp has moved to another Wi-Fi network");
        assert_eq!(said("wifi", json!({"ok": false})), "Lamp could not join another Wi-Fi network and came back");
        assert!(said("invite.reuse", json!({"name": "Ben"})).contains("the invitation for Ben"));
        for k in EVENTS_TOLD {
            assert!(!words("Lamp", k, None).ends_with(&format!(": {k}")), "{k} has words of its own");
        }
    }
}

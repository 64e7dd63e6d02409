//! `sect discover` (SecT STEP 10, 11): who announces itself, and which of them is yours.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::Context;
use crate::controller::discover::{Announced, Browse};
use crate::controller::exit::{Exit, Failure};
use crate::controller::keyring::Entry;
use crate::controller::print::{clean, table};
use crate::controller::reach;

/// Answers come within a second; a slow radio gets two more.
const PATIENCE: Duration = Duration::from_secs(3);
/// Nobody waits to the end once all of one's own are there and nothing new was heard for so long,
const QUIET: Duration = Duration::from_millis(500);
/// but everybody until then: the question is asked again after a second, so that one lost packet hides nobody.
const ASKED_AGAIN: Duration = Duration::from_millis(1250);
/// How long one proof of a key may take after that.
const PROOF: Duration = Duration::from_secs(3);

#[derive(Serialize)]
struct Row {
    /// What it announces itself as; random for each start.
    instance: String,
    addresses: Vec<SocketAddr>,
    /// Your name for it, if it proved to be yours.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

/// Browses, tries every key at every answer, prints.
pub(super) async fn run(context: &Context<'_>) -> Result<(), Failure> {
    let entries = context.contents(&context.keyring()?)?.entries;
    let mut browse = Browse::start(context.global.interface.as_deref())
        .map_err(|error| Failure::new(Exit::Other, error.to_string()).next("is a network up?"))?;
    let started = Instant::now();
    let deadline = started + context.global.timeout.unwrap_or(PATIENCE);

    let (mut found, mut heard) = (Vec::new(), started);
    let mut proofs = FuturesUnordered::new();
    loop {
        // Who said how long to look knows of more than his own.
        let is_enough = context.global.timeout.is_none() && proofs.is_empty() && are_all_found(&entries, &found);
        let enough = deadline.min((heard + QUIET).max(started + ASKED_AGAIN));
        let until = if is_enough { enough } else { deadline };
        tokio::select! {
            Some(announced) = browse.next() => {
                heard = Instant::now();
                proofs.push(identify(announced, &entries));
            }
            Some(row) = proofs.next() => found.push(row),
            () = sleep_until(until) => break,
        }
    }
    while let Some(row) = proofs.next().await {
        found.push(row);
    }
    // Who announced itself again with further addresses is one row, the last.
    let mut rows: Vec<Row> = Vec::new();
    for row in found {
        rows.retain(|earlier| earlier.instance != row.instance);
        rows.push(row);
    }
    rows.sort_by(|a, b| (a.name.is_none(), &a.name, &a.instance).cmp(&(b.name.is_none(), &b.name, &b.instance)));

    context.printer.result(&rows, || {
        if rows.is_empty() {
            return "No plug announces itself on this network. A plug that shows a code is not on it yet: \
                    join the plug's own network, then `sect pair`."
                .to_owned();
        }
        table(
            &["YOURS", "ANNOUNCED AS", "AT"],
            rows.iter().map(|row| {
                let at = row.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
                vec![row.name.clone().unwrap_or_else(|| "-".to_owned()), clean(&row.instance), at]
            }),
        )
    });
    Ok(())
}

/// Whether every plug of the keyring, if it holds any, has proved to be there.
fn are_all_found(entries: &[Entry], found: &[Row]) -> bool {
    let is_found = |entry: &Entry| {
        let id = entry.binding.thing.to_string();
        found.iter().any(|row| row.id.as_ref() == Some(&id))
    };
    !entries.is_empty() && entries.iter().all(is_found)
}

/// Only the PSK identifies a thing (protocol section 3).
async fn identify(announced: Announced, entries: &[Entry]) -> Row {
    let mut attempts: FuturesUnordered<_> = announced
        .addresses
        .iter()
        .flat_map(|address| entries.iter().map(move |entry| (entry, *address)))
        .map(async |(entry, address)| {
            let reached = reach::open(&entry.binding, address, PROOF).await.ok()?;
            reached.link.close().await;
            Some((entry, address))
        })
        .collect();
    let mut owner = None;
    while let Some(outcome) = attempts.next().await {
        if let Some((entry, _)) = outcome {
            owner = Some(entry);
            break;
        }
    }
    drop(attempts);
    Row {
        instance: announced.instance,
        addresses: announced.addresses,
        name: owner.map(|entry| entry.alias.to_string()),
        id: owner.map(|entry| entry.binding.thing.to_string()),
    }
}

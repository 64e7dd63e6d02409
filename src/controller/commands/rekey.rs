//! `sect rekey`, and the same unasked when it is due: a new master key, and a new topic and password with it
//! (SecT STEP 6 again; protocol sections 6.6 and 8).

use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;

use super::Context;
use super::bound::Bound;
use crate::controller::clock;
use crate::controller::exit::{Exit, Failure};
use crate::controller::session::{Answer, UpdateError, accepted, failure};
use crate::proto::message::ReturnCode;
use crate::proto::operation::{Operation, argument, result};
use crate::proto::record::NextTopic;

/// A master key is updated after so many days by this computer's calendar.
const DUE_DAYS: u32 = 7;
/// What is due unasked may take so long; what is not done by then is done after the next command.
const UNASKED: Duration = Duration::from_secs(5);

/// What scripts read.
#[derive(Serialize)]
struct Rekeyed<'a> {
    /// The user's own name for the plug.
    name: &'a str,
    /// The plug's id.
    id: String,
    /// How often the master key was updated since the pairing.
    epoch: u32,
    /// Whether topic and password were renewed as well; a plug of an earlier version does not.
    topic_renewed: bool,
}

/// Updates the key, then the topic.
pub(super) async fn run(context: &Context<'_>) -> Result<(), Failure> {
    let keyring = context.keyring()?;
    let mut bound = context.bound(&keyring).await?;
    context.printer.progress("Agreeing on a new key...");
    bound.update_keys().await?;
    context.printer.progress("Agreeing on a new topic and password...");
    let topic_renewed = match bound.renew_topic(context).await {
        Ok(()) => true,
        Err(failure) => {
            context.printer.warning(&format!("the topic stays as it is: {failure}"));
            false
        }
    };
    let entry = &bound.entry;
    let epoch = entry.binding.epoch;
    let report = Rekeyed { name: entry.alias.as_str(), id: entry.binding.thing.to_string(), epoch, topic_renewed };
    context.printer.result(&report, || {
        let topic = if topic_renewed { " and a new topic" } else { "" };
        format!("{} has a new key{topic}; what was said before cannot be read with them", entry.alias)
    });
    bound.session.close().await;
    Ok(())
}

impl Bound<'_> {
    /// Updates the master key; whatever happens on the way, the keyring holds the one that the plug has.
    pub(super) async fn update_keys(&mut self) -> Result<(), Failure> {
        let Self { place, entry, session, .. } = self;
        let updated = session
            .update_keys(|candidate| {
                entry.binding.candidate = Some(candidate.clone());
                place.save(entry)
            })
            .await;
        let alias = self.entry.alias.to_string();
        match updated {
            Ok(()) => self.answered(),
            Err(UpdateError::Session(error)) => Err(failure(&alias, &error)
                .next("try again: nothing is lost, and a key that is half agreed on is settled then")),
            Err(UpdateError::Refused(rc)) => Err(refused(&alias, rc)),
            Err(UpdateError::Keyring(error)) => Err(error.into()),
        }
    }

    /// Renews topic and password: the plug offers them, the keyring keeps them, the plug takes them
    /// (protocol section 6.6).
    pub(super) async fn renew_topic(&mut self, context: &Context<'_>) -> Result<(), Failure> {
        // What an earlier attempt has kept is used before anything else is asked for.
        if self.entry.binding.next.is_some() && self.use_next(context).await? {
            return Ok(());
        }
        let offered: result::Renewed = self.ask(context, Operation::TokenRenew).await?.read()?;
        self.entry.binding.next = Some(NextTopic { topic: offered.topic, password: offered.pass });
        self.place.save(&self.entry)?;
        if self.use_next(context).await? {
            return Ok(());
        }
        Err(Failure::new(Exit::Other, format!("{} takes back the topic that it offered", self.entry.alias)))
    }

    /// Makes the next topic the current one; false when the plug does not know it any more.
    async fn use_next(&mut self, context: &Context<'_>) -> Result<bool, Failure> {
        let Some(next) = self.entry.binding.next.clone() else { return Ok(false) };
        let wanted = argument::TokenUse { topic: next.topic.clone() };
        let answer = self.request(context, Operation::TokenUse(wanted)).await?;
        let used = answer.rc != ReturnCode::NotFound;
        if used {
            accepted(self.entry.alias.as_str(), answer)?;
            self.entry.binding = self.entry.binding.clone().with_topic(next);
        } else {
            self.entry.binding.next = None;
        }
        self.place.save(&self.entry)?;
        Ok(used)
    }

    /// Says goodbye, after what is due unasked: the user has the answer already.
    pub(super) async fn finish(mut self, context: &Context<'_>, answer: Option<&Answer>) {
        // Another user's topic may be the one that a server gives to another plug.
        let told = answer.is_some_and(|answer| answer.clouds.iter().any(|cloud| cloud.state == "topic-refused"));
        let refused = told && self.session.is_refused_from_elsewhere();
        let due = self.is_key_due();
        if due || refused || self.entry.binding.next.is_some() {
            let upkeep = async {
                if due {
                    self.update_keys().await?;
                }
                self.renew_topic(context).await
            };
            match timeout(UNASKED, upkeep).await {
                Ok(Ok(())) => tracing::info!("key and topic are new"),
                Ok(Err(failure)) => tracing::info!(%failure, "key and topic stay for now"),
                Err(_) => tracing::info!("no time for a new key and topic"),
            }
        }
        self.session.close().await;
    }

    fn is_key_due(&self) -> bool {
        let binding = &self.entry.binding;
        let old = binding.since_day.is_some_and(|day| clock::today().saturating_sub(day) >= DUE_DAYS);
        old || binding.candidate.is_some() || self.session.key_is_due()
    }
}

fn refused(alias: &str, rc: ReturnCode) -> Failure {
    match rc {
        ReturnCode::BadRequest | ReturnCode::Unsupported => {
            Failure::new(Exit::Other, format!("{alias} does not know how to update its key")).next("update the plug")
        }
        rc => Failure::new(Exit::Other, format!("{alias} does not update its key now ({rc:?})")).next("try again"),
    }
}

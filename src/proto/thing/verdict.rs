//! What became of a message: a value with a counted reason, never an error.

use crate::proto::envelope::Unopened;
use crate::proto::freshness::Stale;
use crate::proto::message::ReturnCode;
use crate::proto::pairing::thing::Ending;

/// What became of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
pub enum Verdict {
    /// It was acted on or refused with an answer.
    Answered(ReturnCode),
    /// It was authentic but not fresh; the answer says STALE and nothing else happened.
    Stale(Stale),
    /// These very bytes came before; the same answer went out again.
    Repeated,
    /// A step of a pairing run.
    Paired,
    /// What a cloud server said about the registration.
    Registered,
    /// Nothing was sent.
    Dropped(Dropped),
}

/// Why a message got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dropped {
    /// It is no authentic envelope.
    Unopened(Unopened),
    /// Nobody listens on that topic.
    ForeignTopic,
    /// It ended its pairing run.
    Run(Ending),
    /// The store failed in the middle of a claim or a key update.
    Store,
}

impl Verdict {
    /// The name under which it is counted.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Answered(code) => match code {
                ReturnCode::Ok => "ok",
                ReturnCode::Stale => "stale",
                ReturnCode::Forbidden => "forbidden",
                ReturnCode::BadRequest => "bad-request",
                ReturnCode::Busy => "busy",
                ReturnCode::Epoch => "epoch",
                ReturnCode::Conflict => "conflict",
                ReturnCode::Storage => "storage",
                ReturnCode::NotFound => "not-found",
                ReturnCode::Unsupported => "unsupported",
            },
            Self::Stale(stale) => match stale {
                Stale::OtherBoot => "stale-other-boot",
                Stale::NotNewer => "stale-not-newer",
                Stale::TooOld => "stale-too-old",
                Stale::TooEarly => "stale-too-early",
            },
            Self::Repeated => "repeated",
            Self::Paired => "paired",
            Self::Registered => "registered",
            Self::Dropped(dropped) => match dropped {
                Dropped::Unopened(reason) => match reason {
                    Unopened::TooLong => "dropped-too-long",
                    Unopened::Parts => "dropped-parts",
                    Unopened::Header => "dropped-header",
                    Unopened::Encoding => "dropped-encoding",
                    Unopened::Length => "dropped-length",
                    Unopened::UnknownKid => "dropped-unknown-kid",
                    Unopened::NotAuthentic => "dropped-not-authentic",
                },
                Dropped::ForeignTopic => "dropped-foreign-topic",
                Dropped::Run(Ending::Failed) => "pairing-failed",
                Dropped::Run(Ending::Aborted) => "pairing-aborted",
                Dropped::Store => "dropped-store",
            },
        }
    }
}

/// How often each verdict was reached since the daemon's start.
///
/// It holds one number for each name that was reached, so its size is bounded by the code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters(Vec<(&'static str, u64)>);

impl Counters {
    pub(super) fn count(&mut self, verdict: &Verdict) {
        let name = verdict.name();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => self.0.push((name, 1)),
        }
    }

    /// How often the verdict of this name was reached.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.0.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count)
    }

    /// All names that were reached, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().copied()
    }
}

//! What became of a received message: rejected input is a counted verdict, never an error.

use thiserror::Error;

use crate::proto::envelope::Unopened;

/// What [`super::Controller::handle_message`] did with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
pub enum Verdict {
    /// It was the first answer to an outstanding request.
    Answer,
    /// It was another answer to the same request by another path: both paths work.
    SecondPath,
    /// It was an event, and it counts.
    Event,
    /// It was an event of an unknown start of the daemon; a `status` decides about it.
    Held,
    /// It changed nothing.
    Ignored(Ignored),
}

/// Why a message changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Ignored {
    /// It is no authentic message of the thing; an own message thrown back is `UnknownKid`.
    #[error("{0}")]
    Unopened(#[from] Unopened),
    /// The thing sealed what is neither answer nor event.
    #[error("not a message of this protocol")]
    Malformed,
    /// It answers nothing that was asked in the last 10 s.
    #[error("answers no outstanding request")]
    NotOutstanding,
    /// It answers what is answered, by the same path.
    #[error("answered before")]
    AnsweredBefore,
    /// The event was counted before.
    #[error("a repeated event")]
    EventRepeated,
    /// The event lies more than 30 s behind thing time.
    #[error("an event from too long ago")]
    EventTooOld,
    /// The event is of a start of the daemon that is over, or another one is held already.
    #[error("an event of another start")]
    EventOfOtherBoot,
    /// The event is of a kind that this version does not know.
    #[error("an unknown event")]
    EventUnknown,
}

/// How often each verdict was given.
#[derive(Debug, Clone, Default)]
pub struct Counts(Vec<(Verdict, u64)>);

impl Counts {
    pub(super) fn count(&mut self, verdict: Verdict) {
        match self.0.iter_mut().find(|(counted, _)| *counted == verdict) {
            Some((_, count)) => *count = count.saturating_add(1),
            // There are fewer than twenty verdicts.
            None => self.0.push((verdict, 1)),
        }
    }

    /// How often `verdict` was given.
    #[must_use]
    pub fn of(&self, verdict: Verdict) -> u64 {
        self.0.iter().find(|(counted, _)| *counted == verdict).map_or(0, |(_, count)| *count)
    }

    /// All that were given, in the order of their first time.
    pub fn iter(&self) -> impl Iterator<Item = (Verdict, u64)> + '_ {
        self.0.iter().copied()
    }
}

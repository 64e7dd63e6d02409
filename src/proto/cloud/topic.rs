//! The topic rules of both sides: a controller writes `s/T/c` and reads `s/T/t`; a thing the reverse,
//! beside its own registration pair.

use std::sync::Arc;

use super::account::Account;
use super::registry::Registry;
use crate::proto::id::ThingId;
use crate::proto::registration::{down_topic, up_topic};
use crate::proto::topic::TToken;

/// Which half of T_token's pair of subtopics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// `s/<T_token>/c`.
    ToThing,
    /// `s/<T_token>/t`.
    ToController,
}

/// Who has proved to be at the other end of a connection.
#[derive(Debug, Clone)]
pub enum Party {
    /// A thing, by its certificate.
    Thing(ThingId),
    /// A controller, by user name and password.
    Controller(Arc<Account>),
}

impl Party {
    /// Where its messages go.
    #[must_use]
    pub fn publishes(&self) -> Direction {
        match self {
            Self::Thing(_) => Direction::ToController,
            Self::Controller(_) => Direction::ToThing,
        }
    }

    /// Where the messages go that it hears.
    #[must_use]
    pub fn reads(&self) -> Direction {
        match self {
            Self::Thing(_) => Direction::ToThing,
            Self::Controller(_) => Direction::ToController,
        }
    }
}

/// What a party may do with one topic.
#[derive(Debug, Clone)]
pub enum Right {
    /// Its messages go from or to the other side of this account.
    Forward(Arc<Account>, Direction),
    /// They are between the thing and the server: registrations and their answers.
    Registration,
}

/// Reads `s/<T_token>/c` or `s/<T_token>/t`, exactly; nothing with a wildcard is one.
#[must_use]
pub fn parse_topic(topic: &str) -> Option<(TToken, Direction)> {
    let (token, direction) = split_topic(topic)?;
    Some((token.parse().ok()?, direction))
}

/// What stands in the place of T_token, whatever it is, and the direction.
pub(super) fn split_topic(topic: &str) -> Option<(&str, Direction)> {
    let topic = topic.strip_prefix("s/")?;
    if let Some(token) = topic.strip_suffix("/c") {
        Some((token, Direction::ToThing))
    } else {
        Some((topic.strip_suffix("/t")?, Direction::ToController))
    }
}

impl Registry {
    /// What it means when `party` publishes to `topic`; `None` if it may not.
    #[must_use]
    pub fn publish_right(&self, party: &Party, topic: &str) -> Option<Right> {
        match party {
            Party::Thing(thing) if topic == up_topic(thing) => Some(Right::Registration),
            Party::Thing(_) | Party::Controller(_) => self.right(party, topic, party.publishes()),
        }
    }

    /// What it means when `party` receives what is published to `topic`; `None` if it may not.
    #[must_use]
    pub fn read_right(&self, party: &Party, topic: &str) -> Option<Right> {
        match party {
            Party::Thing(thing) if topic == down_topic(thing) => Some(Right::Registration),
            Party::Thing(_) | Party::Controller(_) => self.right(party, topic, party.reads()),
        }
    }

    fn right(&self, party: &Party, topic: &str, allowed: Direction) -> Option<Right> {
        let (token, direction) = parse_topic(topic)?;
        if direction != allowed {
            return None;
        }
        let account = match party {
            Party::Thing(thing) => self.account(thing, &token)?,
            Party::Controller(account) if *account.topic() == token => account,
            Party::Controller(_) => return None,
        };
        account.is_live().then(|| Right::Forward(account.clone(), direction))
    }
}

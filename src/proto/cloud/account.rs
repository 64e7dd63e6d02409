//! The right to one topic, held by sessions until it is revoked.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::topic::Direction;
use crate::proto::id::ThingId;
use crate::proto::registration::Entry;
use crate::proto::topic::TToken;

/// One entry in force. A session keeps it and asks [`Account::is_live`] each time that it uses it.
pub struct Account {
    thing: ThingId,
    entry: Entry,
    revoked: AtomicBool,
    to_thing: Rate,
    to_controller: Rate,
}

impl Account {
    pub(super) fn new(thing: ThingId, entry: Entry) -> Self {
        Self {
            thing,
            entry,
            revoked: AtomicBool::new(false),
            to_thing: Rate::default(),
            to_controller: Rate::default(),
        }
    }

    /// The thing that has registered it.
    #[must_use]
    pub fn thing(&self) -> ThingId {
        self.thing
    }

    /// Its one topic.
    #[must_use]
    pub fn topic(&self) -> &TToken {
        &self.entry.topic
    }

    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Whether the thing still allows it.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !self.revoked.load(Ordering::Acquire)
    }

    pub(super) fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
    }

    /// Whether one more message may go in `direction` now: ten a second, ten at once. `now_us` counts
    /// microseconds on any clock that never steps back.
    #[must_use]
    pub fn may_send(&self, direction: Direction, now_us: u64) -> bool {
        let rate = match direction {
            Direction::ToThing => &self.to_thing,
            Direction::ToController => &self.to_controller,
        };
        rate.take(now_us)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account(of {}, live: {})", self.thing, self.is_live())
    }
}

/// Ten messages a second, thirty at once, in one word that all threads share (the virtual scheduling
/// algorithm of ITU-T I.371).
#[derive(Default)]
pub struct Rate {
    /// When the bucket is full again.
    full_at_us: AtomicU64,
}

impl Rate {
    /// Takes one message out, if there is one left.
    #[must_use]
    pub fn take(&self, now_us: u64) -> bool {
        let step = |full_at: u64| {
            let next = full_at.max(now_us) + INTERVAL_US;
            (next - now_us <= INTERVAL_US * BURST).then_some(next)
        };
        self.full_at_us.fetch_update(Ordering::AcqRel, Ordering::Acquire, step).is_ok()
    }
}

/// Ten messages a second (protocol section 10).
const INTERVAL_US: u64 = 100_000;
/// Messages at once after a quiet time: somebody who switches twice and looks at the state has used ten.
const BURST: u64 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_messages_a_second_pass_and_no_more() {
        let rate = Rate::default();
        let passed = |from: u64, to: u64| (from..to).step_by(1000).filter(|&now| rate.take(now)).count();
        assert_eq!(passed(0, 1000), 1);
        assert_eq!((0..40).filter(|_| rate.take(1000)).count(), 29);
        // A flood of a thousand messages a second for ten seconds.
        assert_eq!(passed(2000, 10_002_000), 100);
        assert_eq!((0..40).filter(|_| rate.take(60_000_000)).count(), 30, "rest gives the burst back, once");
    }
}

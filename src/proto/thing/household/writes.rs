//! How often somebody who is no owner may have something written down.
//!
//! A name, a key and a topic of one's own are changed by everybody, and each change is a transaction. Whoever
//! does nothing else would wear out the card, and keep the household waiting.

use std::time::Duration;

use super::HouseholdState;
use crate::proto::operation::Operation;
use crate::proto::time::Micros;
use crate::proto::user::Role;

/// Changes at once after a quiet time.
const AT_ONCE: u32 = 60;
/// One more in the long run after this long.
const ONE_MORE: Duration = Duration::from_secs(60);

/// What one controller may still have written down.
pub(super) struct Writes {
    left: u32,
    /// Up to when it was given more.
    since: Micros,
}

impl Default for Writes {
    fn default() -> Self {
        Self { left: AT_ONCE, since: Micros::ZERO }
    }
}

impl Writes {
    /// Takes one, if there is one.
    fn take(&mut self, now: Micros) -> bool {
        let more = u32::try_from(now.since(self.since).as_secs() / ONE_MORE.as_secs()).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(more).min(AT_ONCE);
        self.since = if self.left == AT_ONCE { now } else { self.since.after(ONE_MORE * more) };
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

/// Whether an operation that somebody else than an owner may ask for is written down.
pub(super) const fn is_written(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::UserName(_)
            | Operation::TokenRenew
            | Operation::TokenUse(_)
            | Operation::ScheduleSet(_)
            | Operation::ScheduleClear(_)
    )
}

impl HouseholdState {
    /// Whether one more change of this controller is written down. An owner has other ways to do harm.
    pub(super) fn may_write(&mut self, index: usize, now: Micros) -> bool {
        self.household.controllers[index].role == Role::Owner || self.controllers[index].writes.take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_at_once_and_then_one_a_minute() {
        let mut writes = Writes::default();
        let at = |s: u64| Micros::new(s * 1_000_000);
        let mut taken = |s: u64| (0..200).filter(|_| writes.take(at(s))).count();
        assert_eq!([0, 59, 60, 119, 240].map(&mut taken), [60, 0, 1, 0, 3]);
        assert_eq!([240 + 59 * 60, 1_000_000, 1_000_001].map(taken), [59, 60, 0]);
        assert!(!writes.take(at(1_000_059)) && writes.take(at(1_000_060)));
    }
}

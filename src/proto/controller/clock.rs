//! What the controller knows of thing time (protocol section 6).
//!
//! It learns boot nonce and offset from an answer to its own request alone. The offset is taken at
//! receipt, so the estimate lies behind thing time by the way of that answer and is never ahead.

use std::time::Duration;

use crate::proto::id::Boot;
use crate::proto::time::Micros;

/// An offset older than this is not used: two clocks drift apart.
pub(super) const OFFSET_LIFE: Duration = Duration::from_secs(3600);

/// Thing time, as far as answers have taught it.
#[derive(Debug, Default)]
pub(super) struct ThingClock {
    known: Option<Known>,
    /// The boot before the known one: it is over and never comes back.
    left: Option<Boot>,
}

#[derive(Debug)]
struct Known {
    boot: Boot,
    /// Thing time less this controller's own, in microseconds.
    offset: i128,
    learned_at: Micros,
    last_sent: Option<Micros>,
}

impl ThingClock {
    /// Learns from an answer to an own request, received now.
    ///
    /// A late answer of a start that is over teaches nothing; then this is false.
    pub(super) fn learn(&mut self, boot: Boot, ts: Micros, now: Micros) -> bool {
        if self.has_left(boot) {
            return false;
        }
        let offset = i128::from(ts.get()) - i128::from(now.get());
        match &mut self.known {
            Some(known) if known.boot == boot => (known.offset, known.learned_at) = (offset, now),
            // A new boot forgets what was sent before.
            other => {
                let before = other.replace(Known { boot, offset, learned_at: now, last_sent: None });
                self.left = before.map(|known| known.boot).or(self.left);
            }
        }
        true
    }

    /// Whether that start of the daemon is known to be over.
    pub(super) fn has_left(&self, boot: Boot) -> bool {
        self.left == Some(boot)
    }

    /// The boot and the estimate of thing time, unless the offset is too old.
    pub(super) fn estimate(&self, now: Micros) -> Option<(Boot, Micros)> {
        let known = self.known.as_ref()?;
        let time = Micros::new(u64::try_from(i128::from(now.get()) + known.offset).unwrap_or(0));
        (now.since(known.learned_at) <= OFFSET_LIFE).then_some((known.boot, time))
    }

    /// What the next message carries: `max(estimate, last sent in this boot + 1)`.
    pub(super) fn stamp(&mut self, now: Micros) -> Option<(Boot, Micros)> {
        let (boot, estimate) = self.estimate(now)?;
        let known = self.known.as_mut()?;
        let ts = known.last_sent.map_or(estimate, |last| estimate.max(Micros::new(last.get().saturating_add(1))));
        known.last_sent = Some(ts);
        Some((boot, ts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Boot = Boot::new([1; 16]);
    const SECOND: Boot = Boot::new([2; 16]);

    fn at(micros: u64) -> Micros {
        Micros::new(micros)
    }

    #[test]
    fn the_estimate_runs_with_the_controllers_own_clock() {
        let mut clock = ThingClock::default();
        assert_eq!(clock.estimate(at(0)), None);
        assert!(clock.learn(FIRST, at(7), at(1_000_000)));
        assert_eq!(clock.estimate(at(1_000_005)), Some((FIRST, at(12))));
        assert!(clock.learn(FIRST, at(9_000_000), at(2_000_000)));
        assert_eq!(clock.estimate(at(2_000_001)), Some((FIRST, at(9_000_001))));
    }

    #[test]
    fn an_offset_older_than_an_hour_is_not_used() {
        let mut clock = ThingClock::default();
        clock.learn(FIRST, at(5), at(5));
        assert_eq!(clock.estimate(at(3_600_000_005)), Some((FIRST, at(3_600_000_005))));
        assert_eq!(clock.estimate(at(3_600_000_006)), None);
        assert_eq!(clock.stamp(at(3_600_000_006)), None);
    }

    #[test]
    fn stamps_rise_within_a_boot_and_start_again_in_the_next() {
        let mut clock = ThingClock::default();
        clock.learn(FIRST, at(1000), at(0));
        assert_eq!(clock.stamp(at(0)), Some((FIRST, at(1000))));
        assert_eq!(clock.stamp(at(0)), Some((FIRST, at(1001))));
        // A slower answer sets the estimate back; stamps rise all the same.
        clock.learn(FIRST, at(900), at(0));
        assert_eq!(clock.stamp(at(0)), Some((FIRST, at(1002))));
        clock.learn(SECOND, at(3), at(0));
        assert_eq!(clock.stamp(at(0)), Some((SECOND, at(3))));
    }

    #[test]
    fn a_start_that_is_over_teaches_nothing() {
        let mut clock = ThingClock::default();
        clock.learn(FIRST, at(1000), at(0));
        clock.learn(SECOND, at(3), at(0));
        assert!(!clock.learn(FIRST, at(1001), at(0)));
        assert_eq!(clock.estimate(at(0)), Some((SECOND, at(3))));
    }
}

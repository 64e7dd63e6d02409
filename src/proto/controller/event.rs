//! Which events count: each once, of the known start, at most 30 s behind (protocol section 6).

use std::collections::BTreeSet;

use super::verdict::Ignored;
use crate::proto::freshness::BEHIND;
use crate::proto::id::Boot;
use crate::proto::time::Micros;

/// Remembers which events of one start have counted.
#[derive(Debug, Default)]
pub(super) struct EventFilter {
    boot: Option<Boot>,
    counted: BTreeSet<Micros>,
    /// Events up to here do not count any more, whether they were seen or not.
    floor: Option<Micros>,
}

impl EventFilter {
    /// Events remembered at most: far more than a thing makes in 30 s.
    const MAX: usize = 256;

    /// Judges an event of the known start against the estimate of thing time, and remembers it.
    ///
    /// The thing's messages to one controller carry rising times, so the time names the event.
    pub(super) fn judge(&mut self, boot: Boot, ts: Micros, estimate: Micros) -> Result<(), Ignored> {
        if estimate.since(ts) > BEHIND {
            return Err(Ignored::EventTooOld);
        }
        if self.boot != Some(boot) {
            *self = Self { boot: Some(boot), ..Self::default() };
        }
        if self.floor.is_some_and(|floor| ts <= floor) || self.counted.contains(&ts) {
            return Err(Ignored::EventRepeated);
        }
        self.counted.insert(ts);
        // What is too old by now needs no memory. An estimate that falls back must not make it fresh
        // again, so the floor stays.
        while self.counted.len() > Self::MAX
            || self.counted.first().is_some_and(|&oldest| estimate.since(oldest) > BEHIND)
        {
            self.floor = self.counted.pop_first().max(self.floor);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: Boot = Boot::new([1; 16]);
    const OTHER: Boot = Boot::new([2; 16]);

    fn at(seconds: u64) -> Micros {
        Micros::new(seconds * 1_000_000)
    }

    #[test]
    fn an_event_counts_once_in_whatever_order() {
        let mut filter = EventFilter::default();
        for (ts, verdict) in [
            (102, Ok(())),
            (100, Ok(())),
            (102, Err(Ignored::EventRepeated)),
            (101, Ok(())),
            (100, Err(Ignored::EventRepeated)),
        ] {
            assert_eq!(filter.judge(BOOT, at(ts), at(110)), verdict, "{ts}");
        }
    }

    #[test]
    fn an_event_lives_30_s() {
        let mut filter = EventFilter::default();
        assert_eq!(filter.judge(BOOT, at(70), at(100)), Ok(()));
        assert_eq!(filter.judge(BOOT, Micros::new(69_999_999), at(100)), Err(Ignored::EventTooOld));
    }

    #[test]
    fn an_estimate_that_falls_back_makes_no_event_count_twice() {
        let mut filter = EventFilter::default();
        assert_eq!(filter.judge(BOOT, at(70), at(100)), Ok(()));
        assert_eq!(filter.judge(BOOT, at(101), at(101)), Ok(()));
        assert_eq!(filter.judge(BOOT, at(70), at(95)), Err(Ignored::EventRepeated));
    }

    #[test]
    fn memory_has_a_limit_and_forgets_no_verdict() {
        let mut filter = EventFilter::default();
        for ts in 0..1000 {
            assert_eq!(filter.judge(BOOT, Micros::new(ts), at(1)), Ok(()));
        }
        assert_eq!(filter.counted.len(), EventFilter::MAX);
        for ts in 0..1000 {
            assert_eq!(filter.judge(BOOT, Micros::new(ts), at(1)), Err(Ignored::EventRepeated));
        }
    }

    #[test]
    fn a_new_start_counts_from_its_own_beginning() {
        let mut filter = EventFilter::default();
        assert_eq!(filter.judge(BOOT, at(70), at(100)), Ok(()));
        assert_eq!(filter.judge(OTHER, at(1), at(2)), Ok(()));
        assert_eq!(filter.judge(OTHER, at(1), at(2)), Err(Ignored::EventRepeated));
    }
}

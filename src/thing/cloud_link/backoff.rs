//! How long to wait before the next attempt: ever longer, and never as long as the others do, so that a
//! server that comes back is not met by everybody at once.

use std::time::Duration;

use rand_core::CryptoRng;

/// No wait is shorter.
const SHORTEST: Duration = Duration::from_secs(1);
/// No wait is longer.
const LONGEST: Duration = Duration::from_secs(300);

/// The state between attempts.
#[derive(Debug)]
pub(super) struct Backoff {
    /// The next wait is no longer than this.
    most: Duration,
}

impl Backoff {
    pub(super) const fn new() -> Self {
        Self { most: Duration::from_secs(2) }
    }

    /// Draws a wait anywhere between the shortest and what is the most by now, which doubles.
    pub(super) fn draw(&mut self, rng: &mut dyn CryptoRng) -> Duration {
        let span_ms = u64::try_from((self.most - SHORTEST).as_millis()).unwrap_or(u64::MAX);
        self.most = (self.most * 2).min(LONGEST);
        // 2^64 is so much more than the span that no wait is likelier than another.
        SHORTEST + Duration::from_millis(rng.next_u64() % (span_ms + 1))
    }

    /// The link was there for a while: the next loss is a new one.
    pub(super) const fn reset(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thing::clock::os_rng;

    #[test]
    fn waits_grow_within_their_bounds_and_start_anew() {
        let rng = &mut os_rng();
        let mut backoff = Backoff::new();
        for most in [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300] {
            let wait = backoff.draw(rng);
            assert!(wait >= SHORTEST && wait <= Duration::from_secs(most), "{wait:?} of {most} s");
        }
        backoff.reset();
        assert!(backoff.draw(rng) <= Duration::from_secs(2));
    }

    #[test]
    fn a_crowd_spreads_over_the_whole_wait() {
        let rng = &mut os_rng();
        let waits: Vec<_> = (0..1000)
            .map(|_| {
                let mut backoff = Backoff { most: LONGEST };
                backoff.draw(rng).as_secs() / 30
            })
            .collect();
        for tenth in 0..10 {
            // 100 are expected; fewer than 40 come once in 10^11 runs.
            assert!(waits.iter().filter(|wait| **wait == tenth).count() > 40, "tenth {tenth}");
        }
    }
}

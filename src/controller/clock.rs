//! The operating system's clock and random numbers, as the pure machines want them.

use std::time::{SystemTime, UNIX_EPOCH};

use getrandom::SysRng;
use rand_core::UnwrapErr;
use rustix::time::{ClockId, clock_gettime};

use crate::proto::time::Micros;

/// Now, on a clock that never goes back and counts suspend (protocol section 6).
#[must_use]
pub fn now() -> Micros {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Micros::new(seconds.saturating_mul(1_000_000).saturating_add(nanos / 1000))
}

/// The day by this computer's calendar, counted from 1970-01-01.
#[must_use]
pub fn today() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs() / 86_400).unwrap_or(u32::MAX)
}

/// The operating system's random numbers. Without them nothing here is safe: it panics then.
pub type Rng = UnwrapErr<SysRng>;

/// The operating system's random numbers.
#[must_use]
pub fn rng() -> Rng {
    UnwrapErr(SysRng)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_clock_counts_microseconds_forwards() {
        let (before, start) = (now(), std::time::Instant::now());
        while start.elapsed() < Duration::from_micros(200) {}
        let passed = now().since(before);
        assert!(passed >= Duration::from_micros(200) && passed < Duration::from_secs(60), "{passed:?}");
    }
}

//! Thing time: microseconds since the daemon's start on a clock that counts suspend (protocol
//! section 6), and an alarm on that clock.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub use super::random::{OsRng, os_rng};
use crate::proto::time::Micros;

/// Thing time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// When the daemon started, since the boot of the machine.
    start: Duration,
}

impl Clock {
    /// Starts thing time at zero.
    #[must_use]
    pub fn start() -> Self {
        Self { start: since_boot() }
    }

    /// Thing time now.
    #[must_use]
    pub fn now(&self) -> Micros {
        Micros::ZERO.after(since_boot().saturating_sub(self.start))
    }

    /// An alarm on this clock.
    ///
    /// # Errors
    ///
    /// When the kernel gives no timer, or outside a tokio runtime.
    pub fn alarm(&self) -> io::Result<Alarm> {
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "its unsafe successor guards against types whose descriptor changes; an OwnedFd's never does"
        )]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        Ok(Alarm { clock: *self, timer, set_to: None })
    }
}

/// Goes off at a point of thing time; unlike tokio's own timer it counts suspend.
#[derive(Debug)]
pub struct Alarm {
    clock: Clock,
    timer: AsyncFd<OwnedFd>,
    set_to: Option<Micros>,
}

impl Alarm {
    /// Waits until thing time is `deadline` or later; without one, for ever.
    ///
    /// Dropping it half-way loses nothing. Asking again for the same deadline costs no system call.
    pub async fn wait_until(&mut self, deadline: Option<Micros>) {
        let Some(deadline) = deadline else { return std::future::pending().await };
        while self.clock.now() < deadline {
            let waited = match self.set(deadline) {
                Ok(()) => self.timer.readable().await.map(|mut ready| ready.clear_ready()),
                Err(error) => Err(error),
            };
            if let Err(error) = waited {
                // The kernel has no reason to refuse; a daemon that spins would be worse than one that is late.
                tracing::warn!(%error, "the timer failed");
                tokio::time::sleep(deadline.since(self.clock.now()).min(Duration::from_secs(1))).await;
            }
            // It went off: to wait once more it must be set once more.
            self.set_to = None;
        }
    }

    fn set(&mut self, deadline: Micros) -> io::Result<()> {
        if self.set_to != Some(deadline) {
            // A `Timespec` of zero would disarm it; the start of the daemon lies after that of the machine.
            let at = self.clock.start.saturating_add(Duration::from_micros(deadline.get()));
            let it_value = Timespec::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
            let once = Itimerspec { it_interval: Timespec::default(), it_value };
            timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once)?;
            self.set_to = Some(deadline);
        }
        Ok(())
    }
}

fn since_boot() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).expect("the boot clock starts at zero and never goes back")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thing_time_starts_at_zero_and_rises() {
        let clock = Clock::start();
        let (first, second) = (clock.now(), clock.now());
        assert!(first <= second && second < Micros::ZERO.after(Duration::from_secs(60)));
    }

    #[tokio::test]
    async fn an_alarm_is_never_early_and_survives_being_dropped_half_way() {
        let clock = Clock::start();
        let mut alarm = clock.alarm().expect("a timer");
        let deadline = clock.now().after(Duration::from_millis(30));
        tokio::select! {
            biased;
            () = alarm.wait_until(Some(deadline)) => panic!("early"),
            () = tokio::task::yield_now() => {}
        }
        alarm.wait_until(Some(deadline)).await;
        assert!(clock.now() >= deadline);
        // A second deadline, and one that has passed.
        let next = clock.now().after(Duration::from_millis(5));
        alarm.wait_until(Some(next)).await;
        assert!(clock.now() >= next);
        alarm.wait_until(Some(Micros::ZERO)).await;
    }

    #[tokio::test]
    async fn an_earlier_deadline_replaces_a_later_one() {
        let clock = Clock::start();
        let mut alarm = clock.alarm().expect("a timer");
        let late = clock.now().after(Duration::from_secs(3600));
        tokio::select! {
            biased;
            () = alarm.wait_until(Some(late)) => panic!("early"),
            () = tokio::task::yield_now() => {}
        }
        alarm.wait_until(Some(clock.now().after(Duration::from_millis(5)))).await;
        assert!(clock.now() < late);
    }

    #[tokio::test]
    async fn without_a_deadline_it_waits_for_ever() {
        let mut alarm = Clock::start().alarm().expect("a timer");
        let waited = tokio::time::timeout(Duration::from_millis(10), alarm.wait_until(None)).await;
        assert!(waited.is_err());
    }
}

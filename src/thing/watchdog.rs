//! The service manager's watchdog: told, by the loop itself and by nothing else, that the loop still turns.
//!
//! A thread that said so on the loop's behalf would go on saying it while the loop hangs.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::notify;

/// What the loop waits for beside everything else.
#[derive(Debug)]
pub struct Watchdog {
    every: Option<Duration>,
    next: Instant,
}

impl Watchdog {
    /// As often as the service manager asks for; without one, or with a watchdog switched off, never.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::every(sd_notify::watchdog_enabled().map(|limit| limit / 2))
    }

    fn every(every: Option<Duration>) -> Self {
        Self { every, next: Instant::now() }
    }

    /// Waits until it is time, and says that the loop turns. Dropping it half-way loses nothing.
    pub async fn turn(&mut self) {
        let Some(every) = self.every else { return std::future::pending().await };
        sleep_until(self.next).await;
        notify::alive();
        self.next = Instant::now() + every;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_turns_as_often_as_it_was_asked_to_and_no_more() {
        let mut watchdog = Watchdog::every(Some(Duration::from_millis(20)));
        let started = Instant::now();
        for turns in 0..4 {
            watchdog.turn().await;
            assert!(started.elapsed() >= Duration::from_millis(20) * turns);
        }
    }

    #[tokio::test]
    async fn nobody_who_does_not_ask_is_told() {
        let mut watchdog = Watchdog::every(None);
        assert!(tokio::time::timeout(Duration::from_millis(50), watchdog.turn()).await.is_err());
    }
}

//! The one timer.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Instant;

use tokio::time::Sleep;

/// One timer for the nearest deadline of all; none if there is no deadline.
#[derive(Default)]
pub(super) struct Alarm {
    sleep: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Alarm {
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.sleep.as_ref().is_some_and(|(at, _)| *at <= now)
    }

    /// Goes off at `nearest` at the latest; `true` if that has come. A deadline that moves away, as each
    /// packet moves the keep-alive, does not touch the timer.
    pub(super) fn poll(&mut self, nearest: Option<Instant>, now: Instant, context: &mut Context<'_>) -> bool {
        let Some(nearest) = nearest else {
            self.sleep = None;
            return false;
        };
        match &mut self.sleep {
            Some((at, _)) if *at <= nearest && *at > now => {}
            Some((at, sleep)) => {
                *at = nearest;
                sleep.as_mut().reset(nearest.into());
            }
            None => self.sleep = Some((nearest, Box::pin(tokio::time::sleep_until(nearest.into())))),
        }
        self.sleep.as_mut().is_some_and(|(_, sleep)| sleep.as_mut().poll(context).is_ready())
    }
}

/// The tests of the timeouts turn tokio's clock.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

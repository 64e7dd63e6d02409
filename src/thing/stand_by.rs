//! A daemon that cannot do its work stays, says what is wrong, and waits.
//!
//! Were it to end, the service manager would start it again 2 s later, for as long as the fault stands, and each
//! start writes to the card. What can get right by itself, as a chip that the kernel finds late, is tried again,
//! and ever more rarely.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::notify;
use super::watchdog::Watchdog;

/// The first wait before something is tried again; it doubles up to [`MAX_AGAIN`].
const FIRST_AGAIN: Duration = Duration::from_secs(2);
const MAX_AGAIN: Duration = Duration::from_secs(600);

/// Says what is wrong in one line, and waits for an event; nothing hangs meanwhile.
pub(super) async fn wait_for(event: impl Future<Output = ()>, fault: &str) {
    notify::ready();
    notify::status(fault);
    alive_until(event).await;
}

/// Opens a part of the board, however long that takes. Who has started the daemon by hand is told at once that it does
/// not open; under a service manager it is `say`'s turn then, once, and the part is tried again. `None` once it was
/// told to stop.
///
/// # Errors
///
/// By hand, what `open` says.
pub(super) async fn until_open<T>(
    part: &str,
    is_managed: bool,
    mut stopped: Pin<&mut impl Future<Output = ()>>,
    mut open: impl FnMut() -> io::Result<T>,
    mut say: impl FnMut(),
) -> anyhow::Result<Option<T>> {
    let mut again = FIRST_AGAIN;
    loop {
        let error = match open() {
            Ok(opened) => return Ok(Some(opened)),
            Err(error) if !is_managed => return Err(error).with_context(|| format!("could not open the {part}")),
            Err(error) => error,
        };
        if again == FIRST_AGAIN {
            warn!(%error, "could not open the {part}; it is tried again, ever more rarely");
            say();
            notify::ready();
            notify::status(&format!("fault: could not open the {part}: {error}"));
        } else {
            debug!(%error, "could not open the {part}");
        }
        let pause = alive_until(sleep(again));
        tokio::select! {
            () = &mut stopped => return Ok(None),
            () = pause => {}
        }
        again = (again * 2).min(MAX_AGAIN);
    }
}

/// Waits while the service manager is told that nothing hangs.
async fn alive_until(event: impl Future<Output = ()>) {
    let mut watchdog = Watchdog::from_environment();
    let mut event = pin!(event);
    loop {
        tokio::select! {
            () = &mut event => return,
            () = watchdog.turn() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_never_opens_is_tried_ever_more_rarely_until_it_is_told_to_stop() {
        let began = Instant::now();
        let (mut tried, mut said) = (Vec::new(), 0);
        let mut stopped = pin!(sleep(Duration::from_secs(3600)));
        let open = || {
            tried.push(began.elapsed().as_secs());
            Err::<(), _>(io::ErrorKind::NotFound.into())
        };
        let opened = until_open("outlet", true, stopped.as_mut(), open, || said += 1).await;
        assert!(opened.expect("patient").is_none());
        assert_eq!(tried, [0, 2, 6, 14, 30, 62, 126, 254, 510, 1022, 1622, 2222, 2822, 3422]);
        assert_eq!(said, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_opens_late_is_taken() {
        let mut left = 3;
        let open = || {
            left -= 1;
            if left == 0 { Ok("a line") } else { Err(io::ErrorKind::NotFound.into()) }
        };
        let opened = until_open("outlet", true, pin!(pending()), open, || {}).await;
        assert_eq!(opened.expect("patient"), Some("a line"));
    }

    #[tokio::test]
    async fn who_started_it_by_hand_is_told_at_once() {
        let open = || Err::<(), _>(io::Error::other("there is no such chip"));
        let refused = until_open("outlet", false, pin!(pending()), open, || unreachable!("nobody reads it")).await;
        let error = refused.expect_err("by hand");
        assert_eq!(format!("{error:#}"), "could not open the outlet: there is no such chip");
    }
}

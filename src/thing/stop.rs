//! What ends the daemon, or a test at the bench, in good order: SIGTERM, SIGINT, and the SIGHUP of a terminal
//! that is closed. There is nothing to read again on SIGHUP: a restart does that, and leaves the load as it is.

use std::fs;
use std::future::pending;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The three ways to be told to stop.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    /// None where whoever started it wants it to outlive the terminal (`nohup`).
    hangup: Option<Signal>,
}

impl StopSignals {
    /// From here on they end nothing by themselves; inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn listen() -> io::Result<Self> {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let hangup = if ignores_hangup(&status) { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())?, hangup })
    }

    /// Waits for the first of them. Dropping it half-way loses none.
    pub async fn recv(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = hangup => {}
        }
    }
}

/// Whether a process of this status (proc(5)) was started with SIGHUP ignored, which is signal 1.
fn ignores_hangup(status: &str) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_was_started_so_ignores_the_end_of_its_terminal() {
        assert!(ignores_hangup("Name:\tsectd\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n"));
        for status in ["SigIgn:\t0000000000001000\n", "SigBlk:\t0000000000000001\n", "SigIgn:\t?\n", ""] {
            assert!(!ignores_hangup(status), "{status}");
        }
    }
}

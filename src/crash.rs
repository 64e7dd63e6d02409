//! Named points at which a test cuts the power.
//!
//! They exist only with the feature `crash-points`; without it [`crash_point!`](crate::crash_point)
//! expands to nothing, and its names are in no binary.

/// Which point is to kill the process.
#[cfg(feature = "crash-points")]
const VARIABLE: &str = "SECT_CRASH_AT";

/// Kills the process here, as a power cut would, if `SECT_CRASH_AT` names this point: `name` for the
/// first time that it is reached, `name:2` for the second, and so on.
#[macro_export]
#[cfg(feature = "crash-points")]
macro_rules! crash_point {
    ($name:literal) => {
        $crate::crash::reached($name)
    };
}

/// Expands to nothing: this build has no crash points.
#[macro_export]
#[cfg(not(feature = "crash-points"))]
macro_rules! crash_point {
    ($name:literal) => {};
}

/// Kills the process if the environment names this point.
///
/// SIGKILL runs no destructor and flushes nothing. What the kernel has already been given survives
/// it, so that a test sees the order of the writes and not the honesty of the disk.
#[cfg(feature = "crash-points")]
pub fn reached(name: &str) {
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    static TIMES: AtomicU64 = AtomicU64::new(0);
    let Ok(wanted) = std::env::var(VARIABLE) else { return };
    let (point, time) = wanted.split_once(':').unwrap_or((&wanted, "1"));
    if point == name && time.parse() == Ok(TIMES.fetch_add(1, Ordering::Relaxed) + 1) {
        // A process may always signal itself; should it not, the next line ends it as abruptly.
        let _ = kill_process(getpid(), Signal::KILL);
        std::process::abort();
    }
}

//! The time of day, where the machine knows it: its clock counts once a time server has set it.
//!
//! A machine without a battery for its clock starts in the past, and a schedule that ran then would be worse
//! than none. systemd-timesyncd says by a file that it has heard a time server. Until then the file is looked for
//! when something wakes the daemon anyway, and each minute where a schedule waits for it; after that the kernel
//! tells when the clock is set, and nothing wakes up in vain.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

use super::config::{ClockDriverName, Config};
use crate::proto::calendar::UnixMs;

/// An unset clock is looked at this often at most.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// The simulated clock is looked at this often: a test waits for it.
const LOOK_AT_SIMULATED_EVERY: Duration = Duration::from_millis(20);

/// Tells the time of day whenever it becomes known or was set.
#[derive(Debug)]
pub enum WallClockWatch {
    /// The machine's clock.
    System(SystemClock),
    /// A file that says it.
    Simulated(SimulatedClock),
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    /// It is there once a time server has set the clock.
    synchronized: PathBuf,
    state: SystemState,
}

#[derive(Debug)]
enum SystemState {
    Unset {
        look_at: Instant,
    },
    Set {
        watch: AsyncFd<OwnedFd>,
    },
    /// It was set, and the kernel does not tell when it is set again.
    Blind,
}

/// A file with milliseconds since 1970; what it says is the time at which it is read.
#[derive(Debug)]
pub struct SimulatedClock {
    path: PathBuf,
    told: Option<UnixMs>,
    /// Not before: the daemon's loop asks for the time of day with each message.
    look_at: Instant,
}

impl WallClockWatch {
    /// The clock that the configuration chose.
    #[must_use]
    pub fn open(config: &Config) -> Self {
        match config.clock.driver {
            ClockDriverName::System => Self::System(SystemClock {
                synchronized: config.clock.synchronized.clone(),
                state: SystemState::Unset { look_at: Instant::now() },
            }),
            ClockDriverName::Simulated => {
                Self::Simulated(SimulatedClock { path: config.clock_path(), told: None, look_at: Instant::now() })
            }
        }
    }

    /// Waits until the time of day becomes known, or was set. `wanted` says whether something waits for it.
    ///
    /// Dropping it half-way loses nothing.
    pub async fn next(&mut self, wanted: bool) -> UnixMs {
        match self {
            Self::System(clock) => clock.next(wanted).await,
            Self::Simulated(clock) => clock.next().await,
        }
    }
}

impl SystemClock {
    async fn next(&mut self, wanted: bool) -> UnixMs {
        loop {
            match &mut self.state {
                SystemState::Unset { look_at } if Instant::now() >= *look_at => {
                    *look_at = Instant::now() + LOOK_EVERY;
                    if self.synchronized.exists() {
                        self.state = match watch() {
                            Ok(watch) => SystemState::Set { watch },
                            Err(error) => {
                                tracing::warn!(%error, "a clock that is set later will not be noticed");
                                SystemState::Blind
                            }
                        };
                        return now();
                    }
                }
                SystemState::Unset { look_at } if wanted => sleep_until(*look_at).await,
                SystemState::Set { watch } => {
                    if let Ok(mut ready) = watch.readable().await {
                        ready.clear_ready();
                    }
                    // The clock was set: what the timer said is over, and it is armed anew.
                    if arm(watch.get_ref()).is_err() {
                        self.state = SystemState::Blind;
                    }
                    return now();
                }
                SystemState::Unset { .. } | SystemState::Blind => std::future::pending().await,
            }
        }
    }
}

impl SimulatedClock {
    async fn next(&mut self) -> UnixMs {
        loop {
            sleep_until(self.look_at).await;
            self.look_at = Instant::now() + LOOK_AT_SIMULATED_EVERY;
            let says = fs::read_to_string(&self.path).ok().and_then(|text| text.trim().parse().ok());
            if says.is_some() && says != self.told {
                self.told = says;
                return says.unwrap_or_default();
            }
        }
    }
}

/// A timer that never goes off, but becomes readable when the machine's clock is set.
fn watch() -> io::Result<AsyncFd<OwnedFd>> {
    let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    arm(&timer)?;
    #[expect(
        deprecated,
        reason = "its unsafe successor guards against types whose descriptor changes; an OwnedFd's never does"
    )]
    AsyncFd::with_interest(timer, Interest::READABLE)
}

fn arm(timer: &OwnedFd) -> io::Result<()> {
    let never = Timespec { tv_sec: i64::from(u32::MAX), tv_nsec: 0 };
    let once = Itimerspec { it_interval: Timespec::default(), it_value: never };
    // Setting it anew also takes back that it is readable.
    match timerfd_settime(timer, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &once) {
        // It is armed; this says that the clock was set since the last time.
        Ok(_) | Err(Errno::CANCELED) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs::try_from(since.as_millis()).unwrap_or(UnixMs::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const A_MOMENT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn the_machine_s_clock_counts_once_a_time_server_has_set_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let synchronized = dir.path().join("synchronized");
        let mut clock = SystemClock { synchronized, state: SystemState::Unset { look_at: Instant::now() } };
        assert!(timeout(A_MOMENT, clock.next(true)).await.is_err(), "not set");
        fs::write(&clock.synchronized, "").expect("written");
        // It looks again when the minute is over.
        clock.state = SystemState::Unset { look_at: Instant::now() };
        let told = timeout(A_MOMENT, clock.next(false)).await.expect("set");
        assert!(now().abs_diff(told) < 5_000);
        assert!(matches!(clock.state, SystemState::Set { .. }), "the kernel tells when it is set");
        assert!(timeout(A_MOMENT, clock.next(true)).await.is_err(), "it was told, and nobody has set it since");
    }

    #[tokio::test]
    async fn the_simulated_clock_tells_what_its_file_says_and_each_change() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut clock = SimulatedClock { path: dir.path().join("clock"), told: None, look_at: Instant::now() };
        assert!(timeout(A_MOMENT, clock.next()).await.is_err());
        for says in [1_000, 500] {
            fs::write(&clock.path, format!("{says}\n")).expect("written");
            assert_eq!(timeout(A_MOMENT, clock.next()).await, Ok(says));
            assert!(timeout(A_MOMENT, clock.next()).await.is_err());
        }
    }
}

//! What the service manager holds while the daemon restarts: the open descriptor of the outlet's line.
//!
//! The kernel takes a line back when the last descriptor of it is closed, and many chips then let its level go:
//! the load would switch when the daemon dies. systemd holds a copy (`FileDescriptorStoreMax=`) and gives it to
//! the next start, so that the line is never nobody's. Without such a service manager the chip's driver decides.

use std::os::fd::{BorrowedFd, OwnedFd};

use sd_notify::NotifyState;
use tracing::debug;

/// Bytes of a name at most (sd_pid_notify_with_fds(3)).
const MAX_NAME: usize = 255;

/// What an earlier start has given to the service manager. What nobody takes is given up.
#[derive(Debug, Default)]
pub struct Held(Vec<(String, OwnedFd)>);

impl Held {
    /// What came with this start. To be called once: the descriptors are the caller's then.
    #[must_use]
    pub fn from_service_manager() -> Self {
        let received = sd_listen_fds::get().unwrap_or_else(|error| {
            debug!(?error, "the service manager's descriptors are not understood");
            Vec::new()
        });
        Self(received.into_iter().map(|(name, fd)| (name.unwrap_or_default(), fd.into_std())).collect())
    }

    /// Takes what was held by this name, and gives up the rest.
    #[must_use]
    pub fn take(mut self, name: &str) -> Option<OwnedFd> {
        let place = self.0.iter().position(|(held, _)| held == name)?;
        Some(self.0.swap_remove(place).1)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for (name, _) in self.0.drain(..) {
            give_up(&name);
        }
    }
}

/// Gives a copy to the service manager, until it has ended for good or somebody gives it up.
pub fn hold(name: &str, fd: BorrowedFd<'_>) {
    send(&[NotifyState::FdStore, NotifyState::FdName(name)], &[fd]);
}

/// Has the service manager let go of what it holds by this name.
pub fn give_up(name: &str) {
    debug!(name, "no longer held");
    send(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)], &[]);
}

/// A name as the service manager takes it: printable ASCII without a colon.
#[must_use]
pub fn name(parts: &str) -> String {
    let allowed = |c: char| if c.is_ascii_graphic() && c != ':' { c } else { '_' };
    parts.chars().map(allowed).take(MAX_NAME).collect()
}

fn send(state: &[NotifyState<'_>], fds: &[BorrowedFd<'_>]) {
    if let Err(error) = sd_notify::notify_with_fds(state, fds) {
        debug!(%error, "the service manager does not listen");
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn another_name_takes_nothing() {
        let null = File::open("/dev/null").expect("there");
        assert!(Held(vec![("outlet".into(), null.into())]).take("outlet-17").is_none());
        assert!(Held::default().take("outlet").is_none());
    }

    #[test]
    fn what_was_held_is_taken_by_its_name() {
        let (mut here, there) = UnixStream::pair().expect("a pair");
        let null = File::open("/dev/null").expect("there");
        let held = Held(vec![("other".into(), null.into()), ("outlet".into(), there.into())]);
        let mut taken = UnixStream::from(held.take("outlet").expect("held"));
        here.write_all(b"x").expect("sent");
        let mut byte = [0];
        taken.read_exact(&mut byte).expect("the other end of it");
    }

    #[test]
    fn a_name_has_what_the_service_manager_takes() {
        assert_eq!(name("outlet /dev/gpio:chip\n17"), "outlet_/dev/gpio_chip_17");
        assert_eq!(name(&"ä".repeat(300)).len(), 255);
    }
}

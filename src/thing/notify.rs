//! What the service manager is told: ready, stopping, and one line for `systemctl status`.
//!
//! Without a service manager all of it does nothing; with one that does not listen, it is logged
//! and the daemon goes on.

use sd_notify::NotifyState;

/// Whether somebody starts the daemon again when it ends, and reads its status.
#[must_use]
pub fn is_managed() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// The daemon serves.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// The daemon is on its way out.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// The loop turns.
pub fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// One line for `systemctl status`; no secret belongs in it.
pub fn status(line: &str) {
    send(&[NotifyState::Status(line)]);
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager does not listen");
    }
}

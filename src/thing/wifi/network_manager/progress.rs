//! What became of an activation, told from NetworkManager's signals.

use std::fmt;

use crate::proto::action::JoinFailure;

/// `NM_DEVICE_STATE_DISCONNECTED`: from here on a device can be told to do something.
pub(super) const DEVICE_DISCONNECTED: u32 = 30;
/// `NM_DEVICE_STATE_PREPARE`: the first one of an activation.
const DEVICE_PREPARE: u32 = 40;
/// `NM_DEVICE_STATE_FAILED`.
const DEVICE_FAILED: u32 = 120;

/// `NM_ACTIVE_CONNECTION_STATE_ACTIVATED`.
const ACTIVATED: u32 = 2;
/// `NM_ACTIVE_CONNECTION_STATE_DEACTIVATING`; `..._DEACTIVATED` comes next.
const DEACTIVATING: u32 = 3;

/// `NMDeviceStateReason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reason(pub(super) u32);

/// A signal, as far as it concerns our device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Signal {
    /// The device has another state.
    Device {
        /// `NMDeviceState`.
        state: u32,
        /// Why.
        reason: Reason,
    },
    /// A connection has another state.
    Connection {
        /// The object path of the connection.
        path: String,
        /// `NMActiveConnectionState`.
        state: u32,
    },
    /// Some device has another address.
    Address,
    /// The air was looked at.
    Scanned,
    /// NetworkManager has ended, or another one has begun.
    Ended,
}

/// How an activation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Under way.
    Begun,
    /// It has an address.
    Up,
    /// It is over.
    Down(Reason),
}

/// One activation.
#[derive(Debug)]
pub(super) struct Activation {
    path: String,
    /// Why the device failed last: that signal comes before the connection's own, which knows less.
    failed: Reason,
    standing: Standing,
}

impl Activation {
    /// It was begun, and is the connection of this object path.
    pub(super) const fn new(path: String) -> Self {
        Self { path, failed: Reason::NONE, standing: Standing::Begun }
    }

    /// Takes a signal, in the order in which they come, from before it was begun on.
    pub(super) fn handle(&mut self, signal: &Signal) -> Standing {
        match signal {
            Signal::Device { state: DEVICE_PREPARE, .. } => self.failed = Reason::NONE,
            Signal::Device { state: DEVICE_FAILED, reason } => self.failed = *reason,
            Signal::Connection { path, state } if *path == self.path => match *state {
                ACTIVATED => self.standing = Standing::Up,
                DEACTIVATING.. => self.standing = Standing::Down(self.failed),
                _ => {}
            },
            Signal::Device { .. } | Signal::Connection { .. } => {}
            Signal::Address | Signal::Scanned | Signal::Ended => {}
        }
        self.standing
    }
}

impl Reason {
    /// `NM_DEVICE_STATE_REASON_NONE`.
    pub(super) const NONE: Self = Self(0);
    /// `NM_DEVICE_STATE_REASON_NO_SECRETS`: it asked for another password after the handshake failed, and
    /// nobody is there to type one.
    const NO_SECRETS: Self = Self(7);
    /// `NM_DEVICE_STATE_REASON_SSID_NOT_FOUND`.
    const SSID_NOT_FOUND: Self = Self(53);

    /// What the machine is told.
    pub(super) const fn join_failure(self) -> JoinFailure {
        match self {
            Self::NO_SECRETS => JoinFailure::WrongPassword,
            Self::SSID_NOT_FOUND => JoinFailure::NotFound,
            Self(_) => JoinFailure::Other,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NONE => f.write_str("NetworkManager ends, or another program has told it to leave"),
            Self::NO_SECRETS => f.write_str("the network does not take the password"),
            Self::SSID_NOT_FOUND => f.write_str("the network is not on the air"),
            // NM_DEVICE_STATE_REASON_IP_CONFIG_UNAVAILABLE
            Self(5) => f.write_str("the network gives no address"),
            // NM_DEVICE_STATE_REASON_SUPPLICANT_DISCONNECT to ..._SUPPLICANT_TIMEOUT
            Self(reason @ 8..=11) => write!(f, "wpa_supplicant gave up (NetworkManager's reason {reason})"),
            Self(reason) => write!(f, "NetworkManager's reason {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(state: u32, reason: u32) -> Signal {
        Signal::Device { state, reason: Reason(reason) }
    }

    fn connection(path: &str, state: u32) -> Signal {
        Signal::Connection { path: path.to_owned(), state }
    }

    #[test]
    fn an_activation_is_up_when_its_own_connection_is() {
        let mut activation = Activation::new("/2".to_owned());
        for signal in [connection("/1", 2), device(100, 0), connection("/1", 4), connection("/2", 1), Signal::Address] {
            assert_eq!(activation.handle(&signal), Standing::Begun, "{signal:?}");
        }
        assert_eq!(activation.handle(&connection("/2", 2)), Standing::Up);
        assert_eq!(activation.handle(&device(70, 0)), Standing::Up);
    }

    #[test]
    fn the_reason_is_that_of_the_device_in_this_activation() {
        // As they come when the password is wrong; the first failure is that of an earlier network.
        let mut activation = Activation::new("/2".to_owned());
        for signal in [device(120, 53), connection("/1", 4), device(30, 0), device(40, 0), device(60, 8)] {
            assert_eq!(activation.handle(&signal), Standing::Begun, "{signal:?}");
        }
        assert_eq!(activation.handle(&device(120, 7)), Standing::Begun);
        assert_eq!(activation.handle(&connection("/2", 4)), Standing::Down(Reason(7)));

        let mut activation = Activation::new("/3".to_owned());
        activation.handle(&device(120, 53));
        activation.handle(&device(40, 0));
        assert_eq!(activation.handle(&connection("/3", 3)), Standing::Down(Reason(0)), "somebody else ended it");
    }

    #[test]
    fn a_wrong_password_and_a_network_that_is_not_there_are_told_apart() {
        for (reason, failure) in [
            (7, JoinFailure::WrongPassword),
            (53, JoinFailure::NotFound),
            (0, JoinFailure::Other),
            (5, JoinFailure::Other),
            (8, JoinFailure::Other),
            (11, JoinFailure::Other),
        ] {
            assert_eq!(Reason(reason).join_failure(), failure, "{reason}");
        }
    }
}

//! Why the radio does not do what it was told, in words for the journal.

use std::io;

use thiserror::Error;

use super::link::LinkError;
use super::progress::Reason;
use crate::proto::action::JoinFailure;

/// Why the radio does not do what it was told.
#[derive(Debug, Error)]
pub(super) enum Trouble {
    /// No system bus.
    #[error("the system's message bus does not answer: is dbus installed, and does it run? ({0})")]
    NoBus(#[source] LinkError),
    /// The bus is there, NetworkManager is not.
    #[error("NetworkManager does not run: systemctl enable --now NetworkManager")]
    NotRunning,
    /// It was there and is gone.
    #[error("NetworkManager has ended")]
    Ended,
    /// No Wi-Fi device, or none of that name.
    #[error("NetworkManager has no Wi-Fi device{}", of_that_name(.0.as_deref()))]
    NoDevice(Option<String>),
    /// It is blocked by software.
    #[error("the radio is switched off: set wifi.country, or switch it on with nmcli radio wifi on")]
    SwitchedOff,
    /// The radio has no supplicant, or is somebody else's.
    #[error("{interface} is not ready, its state is {state}: see nmcli device, and whether wpa_supplicant runs")]
    NotReady {
        /// Which one.
        interface: String,
        /// `NMDeviceState`.
        state: u32,
    },
    /// polkit says no.
    #[error("NetworkManager does not obey this user: is the polkit rule of sect installed, and does polkit run?")]
    NotAllowed,
    /// The stations of the access point would get no address.
    #[error("no addresses for the access point: has sectd CAP_NET_BIND_SERVICE, is there no other DHCP server? ({0})")]
    NoAddresses(#[source] io::Error),
    /// It was begun, and ended.
    #[error("the radio is not connected: {0}")]
    Down(Reason),
    /// It was begun, and nothing came of it.
    #[error("NetworkManager came to no end")]
    TooLong,
    /// Anything else that it says.
    #[error("NetworkManager says: {0}")]
    Refused(#[source] LinkError),
}

fn of_that_name(interface: Option<&str>) -> String {
    interface.map_or_else(|| ": see nmcli device".to_owned(), |name| format!(" {name}: see wifi.interface"))
}

impl Trouble {
    /// What the machine is told of a network that was not joined.
    pub(super) const fn join_failure(&self) -> JoinFailure {
        match self {
            Self::Down(reason) => reason.join_failure(),
            _ => JoinFailure::Other,
        }
    }
}

/// An answer that is an error.
impl From<LinkError> for Trouble {
    fn from(error: LinkError) -> Self {
        let name = match &error {
            LinkError::NoBus(_) => return Self::NoBus(error),
            LinkError::Ended => return Self::Ended,
            LinkError::Refused { name, .. } => name.as_str(),
            LinkError::NoAnswer | LinkError::Unexpected => return Self::Refused(error),
        };
        match name {
            "org.freedesktop.DBus.Error.NameHasNoOwner" | "org.freedesktop.DBus.Error.ServiceUnknown" => {
                Self::NotRunning
            }
            "org.freedesktop.DBus.Error.AccessDenied" => Self::NotAllowed,
            name if name.ends_with(".PermissionDenied") => Self::NotAllowed,
            _ => Self::Refused(error),
        }
    }
}

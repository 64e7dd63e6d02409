//! One of every screen, as a householder may see it: for the bench in the workshop, and for the tests.

use std::time::Duration;

use crate::proto::action::{Fault, JoinFailure, Screen};
use crate::proto::message::OutletState;
use crate::proto::passcode::Passcode;
use crate::proto::user::Name;
use crate::proto::wifi::Ssid;

/// Every screen that there is, in the order in which a plug's life shows them. Nothing in them is anybody's.
#[must_use]
pub fn examples() -> Vec<Screen> {
    let mut screens = Vec::with_capacity(16);
    let mut next = Some(Screen::Starting);
    while let Some(screen) = next {
        next = after(&screen);
        screens.push(screen);
    }
    screens
}

/// The next one. A screen that is new does not compile until it has its place here.
fn after(screen: &Screen) -> Option<Screen> {
    let ssid = || "SecT-4F7K".to_owned();
    let left = Duration::from_secs(600);
    Some(match screen {
        Screen::Starting => Screen::AccessPoint { ssid: ssid(), passcode: passcode(), left },
        Screen::AccessPoint { .. } => Screen::AccessPointOff,
        Screen::AccessPointOff => Screen::Pairing { ssid: ssid() },
        Screen::Pairing { .. } => Screen::Joining { ssid: home() },
        Screen::Joining { .. } => Screen::JoinFailed { ssid: home(), reason: JoinFailure::WrongPassword },
        Screen::JoinFailed { reason: JoinFailure::WrongPassword, .. } => {
            Screen::JoinFailed { ssid: home(), reason: JoinFailure::NotFound }
        }
        Screen::JoinFailed { reason: JoinFailure::NotFound, .. } => {
            Screen::JoinFailed { ssid: home(), reason: JoinFailure::Other }
        }
        Screen::JoinFailed { reason: JoinFailure::Other, .. } => {
            Screen::Online { name: name(), outlet: OutletState::Off }
        }
        Screen::Online { outlet: OutletState::Off, .. } => Screen::Online { name: name(), outlet: OutletState::On },
        Screen::Online { outlet: OutletState::On, .. } => {
            Screen::Maintenance { ssid: ssid(), passcode: passcode(), left }
        }
        Screen::Maintenance { .. } => Screen::Wiping,
        Screen::Wiping => Screen::Fault(Fault::Store),
        Screen::Fault(Fault::Store) => Screen::Fault(Fault::Outlet),
        Screen::Fault(Fault::Outlet) => Screen::Fault(Fault::Radio),
        Screen::Fault(Fault::Radio) => return None,
    })
}

fn passcode() -> Passcode {
    "0123456789ABCDEF".parse().expect("16 characters of the alphabet")
}

fn home() -> Ssid {
    "Home network".parse().expect("a name of fewer than 32 bytes")
}

fn name() -> Name {
    "Kitchen lamp".parse().expect("a name of fewer than 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_all_different() {
        let screens = examples();
        assert_eq!(screens.len(), 15);
        assert!(screens.iter().enumerate().all(|(at, screen)| !screens[..at].contains(screen)));
    }
}

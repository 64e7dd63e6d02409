//! What a screen looks like on two lines of 16 ASCII characters.

use std::time::Duration;

use crate::proto::action::{Fault, JoinFailure, Screen};
use crate::proto::message::OutletState;

/// Characters in a line.
pub const COLUMNS: usize = 16;

/// The two lines, each exactly [`COLUMNS`] printable ASCII characters.
///
/// # Security
///
/// The second line of [`Screen::AccessPoint`] is the passcode.
#[must_use]
pub fn render(screen: &Screen) -> [String; 2] {
    let (upper, lower) = match screen {
        Screen::Starting => ("SecT".to_owned(), "starting".to_owned()),
        // SecT STEP 1: name and passcode, with the time left (protocol section 7).
        Screen::AccessPoint { ssid, passcode, left } => {
            (spread(ssid, &minutes_seconds(*left)), passcode.expose().to_owned())
        }
        // It looks like another one, for this passcode claims nothing.
        Screen::Maintenance { ssid, passcode, left } => {
            (spread(ssid, &format!("M{}", minutes_seconds(*left))), passcode.expose().to_owned())
        }
        Screen::AccessPointOff => ("not paired".to_owned(), "press the button".to_owned()),
        Screen::Pairing { ssid } => (ssid.clone(), "pairing".to_owned()),
        Screen::Joining { ssid } => ("joining Wi-Fi".to_owned(), ssid.to_string()),
        Screen::JoinFailed { ssid, reason } => (
            ssid.to_string(),
            match reason {
                JoinFailure::WrongPassword => "wrong password",
                JoinFailure::NotFound => "Wi-Fi not found",
                JoinFailure::Other => "no connection",
            }
            .to_owned(),
        ),
        Screen::Online { name, outlet } => (
            name.to_string(),
            match outlet {
                OutletState::On => "on",
                OutletState::Off => "off",
            }
            .to_owned(),
        ),
        Screen::Wiping => ("unpaired".to_owned(), "forgetting all".to_owned()),
        // The number is what docs/guide/raspberry-pi.md explains; the second line says what helps first.
        Screen::Fault(fault) => {
            let (what, first) = match fault {
                Fault::Store => ("FAULT 1 storage", "restore a backup"),
                Fault::Outlet => ("FAULT 2 outlet", "unplug the load"),
                Fault::Radio => ("FAULT 3 Wi-Fi", "restart the plug"),
            };
            (what.to_owned(), first.to_owned())
        }
    };
    [line(&upper), line(&lower)]
}

/// Exactly one line: what is not ASCII shows as `?`, what is too long is cut.
fn line(text: &str) -> String {
    let shown = text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' });
    shown.chain(std::iter::repeat(' ')).take(COLUMNS).collect()
}

/// `left` and `right` at the two ends of a line.
fn spread(left: &str, right: &str) -> String {
    format!("{left:<width$}{right}", width = COLUMNS.saturating_sub(right.len()))
}

/// Minutes and seconds, the seconds rounded up so that it shows 0:00 only at the end.
fn minutes_seconds(left: Duration) -> String {
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    format!("{}:{:02}", (seconds / 60).min(99), seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::passcode::Passcode;

    fn access_point(left: Duration) -> [String; 2] {
        let passcode: Passcode = "0123456789ABCDEF".parse().expect("a passcode");
        render(&Screen::AccessPoint { ssid: "SecT-4F7K".into(), passcode, left })
    }

    #[test]
    fn the_access_point_shows_name_time_and_passcode() {
        assert_eq!(access_point(Duration::from_secs(600)), ["SecT-4F7K  10:00", "0123456789ABCDEF"]);
        assert_eq!(access_point(Duration::from_millis(58_001)), ["SecT-4F7K   0:59", "0123456789ABCDEF"]);
        assert_eq!(access_point(Duration::ZERO), ["SecT-4F7K   0:00", "0123456789ABCDEF"]);
        assert_eq!(access_point(Duration::from_secs(86_400)), ["SecT-4F7K  99:00", "0123456789ABCDEF"]);
    }

    #[test]
    fn the_maintenance_of_an_owned_plug_is_told_from_a_plug_that_nobody_owns() {
        let passcode: Passcode = "0123456789ABCDEF".parse().expect("a passcode");
        let left = Duration::from_secs(600);
        let shown = render(&Screen::Maintenance { ssid: "SecT-4F7K".into(), passcode, left });
        assert_eq!(shown, ["SecT-4F7K M10:00", "0123456789ABCDEF"]);
        assert_ne!(shown, access_point(left));
    }

    #[test]
    fn every_screen_is_two_full_lines_of_ascii() {
        let ssid: crate::proto::wifi::Ssid = "Wohnung Grünwald, 2. Stock".parse().expect("a name");
        let name: crate::proto::user::Name = "Küche".parse().expect("a name");
        let shown = |screen: &Screen| render(screen).map(|line| line.trim_end().to_owned());
        for (screen, expected) in [
            (Screen::Starting, ["SecT", "starting"]),
            (Screen::AccessPointOff, ["not paired", "press the button"]),
            (Screen::Pairing { ssid: "SecT-4F7K".into() }, ["SecT-4F7K", "pairing"]),
            (Screen::Joining { ssid: ssid.clone() }, ["joining Wi-Fi", "Wohnung Gr?nwald"]),
            (
                Screen::JoinFailed { ssid: ssid.clone(), reason: JoinFailure::WrongPassword },
                ["Wohnung Gr?nwald", "wrong password"],
            ),
            (
                Screen::JoinFailed { ssid: ssid.clone(), reason: JoinFailure::NotFound },
                ["Wohnung Gr?nwald", "Wi-Fi not found"],
            ),
            (Screen::JoinFailed { ssid, reason: JoinFailure::Other }, ["Wohnung Gr?nwald", "no connection"]),
            (Screen::Online { name: name.clone(), outlet: OutletState::On }, ["K?che", "on"]),
            (Screen::Online { name, outlet: OutletState::Off }, ["K?che", "off"]),
            (Screen::Wiping, ["unpaired", "forgetting all"]),
            (Screen::Fault(Fault::Store), ["FAULT 1 storage", "restore a backup"]),
            (Screen::Fault(Fault::Outlet), ["FAULT 2 outlet", "unplug the load"]),
            (Screen::Fault(Fault::Radio), ["FAULT 3 Wi-Fi", "restart the plug"]),
        ] {
            assert_eq!(shown(&screen), expected);
            for line in render(&screen) {
                assert_eq!(line.len(), COLUMNS);
                assert!(line.bytes().all(|c| (b' '..=b'~').contains(&c)), "{line:?}");
            }
        }
    }

    #[test]
    fn a_name_cannot_steer_the_display() {
        let screen = Screen::Pairing { ssid: "\u{1b}[2J\n\0".into() };
        assert_eq!(render(&screen)[0], "?[2J??          ");
    }
}

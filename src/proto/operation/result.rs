//! What an operation gives back, `r` (protocol section 6.5). Lists come in pages: `next` says where the
//! following one begins.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::argument::{Bounded, Days};
use crate::proto::credential::CtlrPassword;
use crate::proto::id::Cid;
use crate::proto::pairing::message::Der;
use crate::proto::time::Micros;
use crate::proto::topic::TToken;
use crate::proto::user::{Name, Role};
use crate::proto::wifi::Ssid;

/// Of `timer.set`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerSet {
    /// When the load will be switched, in thing time.
    pub at: Micros,
}

/// The countdown that runs, in an answer to `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Countdown {
    /// What the load will have.
    pub on: bool,
    /// When, in thing time.
    pub at: Micros,
}

/// Of `schedule.set`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleSet {
    /// What the schedule is called from now on.
    pub id: u64,
    /// Whether the thing knows time of day and zone; without them no schedule runs.
    pub clock: bool,
}

/// Of `schedule.list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedules {
    /// Some of them, by id.
    pub items: Vec<ScheduleItem>,
    /// Where the next page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// Whether the thing knows time of day and zone; without them no schedule runs.
    pub clock: bool,
    /// The time zone, a POSIX TZ string, once the thing has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// One schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleItem {
    /// What it is called.
    pub id: u64,
    /// On which days.
    pub days: Days,
    /// At which minute of the day, local time.
    pub at: Bounded<0, 1_439>,
    /// On or off.
    pub on: bool,
}

/// Of `history.list`: newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Some of it.
    pub items: Vec<HistoryItem>,
    /// Where the next page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryItem {
    /// When, in seconds since 1970-01-01T00:00:00Z, if the thing knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unix: Option<u64>,
    /// When, in seconds since the start of the daemon that wrote it, if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up: Option<u64>,
    /// Who, if it was a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<Name>,
    /// What, in one or a few words, for instance `on`, `off by timer`, `user.add Ben`.
    pub what: String,
}

/// Of `user.add`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invited {
    /// The text of the invitation: 85 characters.
    pub inv: String,
    /// The same as a QR code of version 4-M: 33 x 33 bits, row by row, most significant bit first, 1 = dark; 137 bytes.
    pub qr: Der,
}

impl fmt::Debug for Invited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invited").finish_non_exhaustive()
    }
}

/// Of `user.list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Users {
    /// Some of them.
    pub items: Vec<UserItem>,
    /// Where the next page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// One user's controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserItem {
    /// Which.
    pub cid: Cid,
    /// Whose.
    pub name: Name,
    /// What the user may do.
    pub role: Role,
    /// Seconds of uptime that are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_s: Option<u32>,
    /// Whether the invitation by which it came was used once more since the thing's start: somebody else
    /// has seen the QR code, and may even be this user.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reused: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Of `wifi.scan`: the strongest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Networks {
    /// What the radio saw last.
    pub items: Vec<NetworkItem>,
}

/// A network on the air.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkItem {
    /// Its name.
    pub ssid: Ssid,
    /// How strong, 0 to 100.
    pub signal: u8,
}

/// Of `token.renew`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    /// The next topic.
    pub topic: TToken,
    /// The next password.
    pub pass: CtlrPassword,
}

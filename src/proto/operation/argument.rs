//! The arguments of each operation, `a` (protocol section 6.5). Reading one checks its range.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::proto::id::Cid;
use crate::proto::message::OutletState;
use crate::proto::signature::Spki;
use crate::proto::topic::TToken;
use crate::proto::user::{Name, Role};
use crate::proto::wifi::{Ssid, WifiPsk};

/// `{}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// `outlet.set`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutletSet {
    /// On or off.
    pub on: bool,
}

/// `timer.set`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimerSet {
    /// On or off, once it is over.
    pub on: bool,
    /// Seconds from the moment the thing takes it: 1 to 86400.
    pub in_s: Bounded<1, 86_400>,
}

/// `schedule.set`: one switching, each week on these days at this minute of the thing's local time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// On which days.
    pub days: Days,
    /// At which minute of the day, local time: 0 to 1439.
    pub at: Bounded<0, 1_439>,
    /// On or off.
    pub on: bool,
}

/// Days of the week as a set of bits, Monday being 1 and Sunday 64; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Days(pub Bounded<1, 127>);

/// Where a list goes on: 0, or the `next` of the page before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct From {
    /// The place.
    pub from: u64,
}

/// `schedule.clear`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleClear {
    /// What `schedule.set` or `schedule.list` called it.
    pub id: u64,
}

/// `boot.set`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootSet {
    /// What the load has once power is back.
    pub state: PowerOn,
}

/// What the load has once power is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PowerOn {
    /// No power.
    #[default]
    Off,
    /// Power.
    On,
    /// What it had before.
    Last,
}

impl PowerOn {
    /// The word of the wire and of the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Last => "last",
        }
    }
}

/// No word for what the load has once power is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("one of off, on, last")]
pub struct PowerOnError;

impl FromStr for PowerOn {
    type Err = PowerOnError;

    fn from_str(text: &str) -> Result<Self, PowerOnError> {
        [Self::Off, Self::On, Self::Last].into_iter().find(|word| word.as_str() == text).ok_or(PowerOnError)
    }
}

/// `name.set`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameSet {
    /// The thing's new name.
    pub name: Name,
}

/// `history.list`: newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryList {
    /// 0, or the `next` of the page before.
    pub from: u64,
    /// Of this user alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cid: Option<Cid>,
}

/// `user.add`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserAdd {
    /// Who.
    pub name: Name,
    /// What the user may do.
    pub role: Role,
    /// Seconds of the thing's uptime after which the user is removed: 60 to 31 536 000. An owner has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<Bounded<60, 31_536_000>>,
}

/// `user.role`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserRole {
    /// Whose.
    pub cid: Cid,
    /// What the user may do from now on.
    pub role: Role,
}

/// `user.name`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserName {
    /// Whose.
    pub cid: Cid,
    /// The new name.
    pub name: Name,
}

/// `user.del`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserDel {
    /// Whom.
    pub cid: Cid,
}

/// `wifi.set`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WifiSet {
    /// The network's name.
    pub ssid: Ssid,
    /// What opens it.
    pub key: WifiPsk,
}

/// `token.use`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenUse {
    /// The topic that shall be the current one.
    pub topic: TToken,
}

/// `recovery.set`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoverySet {
    /// The public half of the new recovery code.
    pub rec: Spki,
}

/// `time.set`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeSet {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub unix_ms: u64,
    /// The household's time zone as a POSIX TZ string (POSIX.1-2024 section 8.3), for instance
    /// `CET-1CEST,M3.5.0,M10.5.0/3`; without it the one that the thing has stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// `unpair`: the word stands for "yes, I mean it".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unpair {
    /// `UNPAIR`.
    pub confirm: Confirmation,
}

/// The word `UNPAIR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Confirmation {
    /// It.
    #[serde(rename = "UNPAIR")]
    Unpair,
}

/// A number from `MIN` to `MAX`; another one is no argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bounded<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Bounded<MIN, MAX> {
    /// Takes a number that is in range.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if MIN <= number && number <= MAX { Some(Self(number)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// As a number of seconds.
    #[must_use]
    pub const fn seconds(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }
}

impl<const MIN: u32, const MAX: u32> Serialize for Bounded<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Bounded<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u32::deserialize(deserializer).ok().and_then(Self::new).ok_or_else(|| de::Error::custom("out of range"))
    }
}

impl OutletSet {
    /// The state that it asks for.
    #[must_use]
    pub const fn state(&self) -> OutletState {
        OutletState::from_on(self.on)
    }
}

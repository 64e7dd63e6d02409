//! What a controller may ask the thing to do, and who may ask for it (protocol sections 6.5 and 9).
//!
//! On the wire an operation is a name, `op`, and an object of arguments, `a`. Each stands in one row of
//! [`Operation::read`]; its name, its least role and its arguments follow from that row.

pub mod argument;
pub mod result;
pub mod timetable;

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use self::argument as a;
use super::id::Boot;
use super::json::{self, JsonError};
use super::message::Command;
use super::time::Micros;
use super::user::Role;

/// What a command's `op` and `a` name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requested {
    /// An operation of this version.
    Known(Operation),
    /// An operation of another version: answered UNSUPPORTED.
    Unknown,
}

/// One operation with its arguments. All are absolute: doing one twice is doing it once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Switch the load.
    OutletSet(a::OutletSet),
    /// Switch it later, by a countdown that needs no clock; replaces an earlier one.
    TimerSet(a::TimerSet),
    /// Stop the countdown.
    TimerClear,
    /// Add a weekly schedule.
    ScheduleSet(a::Schedule),
    /// List the schedules.
    ScheduleList(a::From),
    /// Remove a schedule.
    ScheduleClear(a::ScheduleClear),
    /// Choose what the load has once power is back.
    BootSet(a::BootSet),
    /// Name the thing.
    NameSet(a::NameSet),
    /// Read the audit log.
    HistoryList(a::HistoryList),
    /// Invite a user (SecT STEP 16).
    UserAdd(a::UserAdd),
    /// List the users.
    UserList(a::From),
    /// Give a user another role.
    UserRole(a::UserRole),
    /// Give a user another name.
    UserName(a::UserName),
    /// Remove a user (SecT STEP 17).
    UserDel(a::UserDel),
    /// What networks the radio has seen.
    WifiScan,
    /// Try another home network, and keep it if it works (SecT STEP 19).
    WifiSet(a::WifiSet),
    /// Draw the next topic and password (SecT STEP 18).
    TokenRenew,
    /// Change to the next topic.
    TokenUse(a::TokenUse),
    /// Replace the public half of the recovery code.
    RecoverySet(a::RecoverySet),
    /// Tell the time of day.
    TimeSet(a::TimeSet),
    /// Give the thing up: wipe it (SecT STEP 20).
    Unpair(a::Unpair),
}

impl Operation {
    /// Switch the load.
    #[must_use]
    pub const fn outlet(on: bool) -> Self {
        Self::OutletSet(a::OutletSet { on })
    }

    /// The name on the wire.
    #[must_use]
    pub const fn op(&self) -> &'static str {
        match self {
            Self::OutletSet(_) => "outlet.set",
            Self::TimerSet(_) => "timer.set",
            Self::TimerClear => "timer.clear",
            Self::ScheduleSet(_) => "schedule.set",
            Self::ScheduleList(_) => "schedule.list",
            Self::ScheduleClear(_) => "schedule.clear",
            Self::BootSet(_) => "boot.set",
            Self::NameSet(_) => "name.set",
            Self::HistoryList(_) => "history.list",
            Self::UserAdd(_) => "user.add",
            Self::UserList(_) => "user.list",
            Self::UserRole(_) => "user.role",
            Self::UserName(_) => "user.name",
            Self::UserDel(_) => "user.del",
            Self::WifiScan => "wifi.scan",
            Self::WifiSet(_) => "wifi.set",
            Self::TokenRenew => "token.renew",
            Self::TokenUse(_) => "token.use",
            Self::RecoverySet(_) => "recovery.set",
            Self::TimeSet(_) => "time.set",
            Self::Unpair(_) => "unpair",
        }
    }

    /// The least role that may ask for it (protocol section 9).
    ///
    /// What everybody may do to himself alone, like `user.del`, is allowed to a viewer here; the
    /// operation itself refuses it for another's `cid`.
    #[must_use]
    pub const fn least_role(&self) -> Role {
        match self {
            Self::UserList(_) | Self::UserName(_) | Self::UserDel(_) | Self::TokenRenew | Self::TokenUse(_) => {
                Role::Viewer
            }
            Self::OutletSet(_) | Self::TimerSet(_) | Self::TimerClear => Role::Operator,
            Self::ScheduleSet(_) | Self::ScheduleList(_) | Self::ScheduleClear(_) | Self::HistoryList(_) => {
                Role::Supervisor
            }
            Self::BootSet(_)
            | Self::NameSet(_)
            | Self::UserAdd(_)
            | Self::UserRole(_)
            | Self::WifiScan
            | Self::WifiSet(_)
            | Self::RecoverySet(_)
            | Self::TimeSet(_)
            | Self::Unpair(_) => Role::Owner,
        }
    }

    /// Reads an operation.
    ///
    /// # Errors
    ///
    /// [`JsonError`] when a known operation's arguments are not its own or are out of range, or those of any are
    /// no object.
    pub fn read(op: &str, arguments: &RawValue) -> Result<Requested, JsonError> {
        let text = arguments.get();
        let operation = match op {
            "outlet.set" => Self::OutletSet(read(text)?),
            "timer.set" => Self::TimerSet(read(text)?),
            "timer.clear" => nothing(text, Self::TimerClear)?,
            "schedule.set" => Self::ScheduleSet(read(text)?),
            "schedule.list" => Self::ScheduleList(read(text)?),
            "schedule.clear" => Self::ScheduleClear(read(text)?),
            "boot.set" => Self::BootSet(read(text)?),
            "name.set" => Self::NameSet(read(text)?),
            "history.list" => Self::HistoryList(read(text)?),
            "user.add" => Self::UserAdd(read(text)?),
            "user.list" => Self::UserList(read(text)?),
            "user.role" => Self::UserRole(read(text)?),
            "user.name" => Self::UserName(read(text)?),
            "user.del" => Self::UserDel(read(text)?),
            "wifi.scan" => nothing(text, Self::WifiScan)?,
            "wifi.set" => Self::WifiSet(read(text)?),
            "token.renew" => nothing(text, Self::TokenRenew)?,
            "token.use" => Self::TokenUse(read(text)?),
            "recovery.set" => Self::RecoverySet(read(text)?),
            "time.set" => Self::TimeSet(read(text)?),
            "unpair" => Self::Unpair(read(text)?),
            _ if text.starts_with('{') => return Ok(Requested::Unknown),
            _ => return Err(JsonError),
        };
        Ok(Requested::Known(operation))
    }

    /// Writes a command that asks for it.
    #[must_use]
    pub fn command(&self, boot: Boot, ts: Micros) -> Vec<u8> {
        let arguments = match self {
            Self::OutletSet(a) => write(a),
            Self::TimerSet(a) => write(a),
            Self::ScheduleSet(a) => write(a),
            Self::ScheduleList(a) | Self::UserList(a) => write(a),
            Self::ScheduleClear(a) => write(a),
            Self::BootSet(a) => write(a),
            Self::NameSet(a) => write(a),
            Self::HistoryList(a) => write(a),
            Self::UserAdd(a) => write(a),
            Self::UserRole(a) => write(a),
            Self::UserName(a) => write(a),
            Self::UserDel(a) => write(a),
            Self::WifiSet(a) => write(a),
            Self::TokenUse(a) => write(a),
            Self::RecoverySet(a) => write(a),
            Self::TimeSet(a) => write(a),
            Self::Unpair(a) => write(a),
            Self::TimerClear | Self::WifiScan | Self::TokenRenew => write(&a::Nothing {}),
        };
        json::encode(&Command { boot, ts, op: Cow::Borrowed(self.op()), a: &arguments })
    }
}

fn read<A: DeserializeOwned>(text: &str) -> Result<A, JsonError> {
    serde_json::from_str(text).map_err(|_| JsonError)
}

fn nothing(text: &str, operation: Operation) -> Result<Operation, JsonError> {
    read(text).map(|a::Nothing {}| operation)
}

fn write<A: serde::Serialize>(arguments: &A) -> Box<RawValue> {
    serde_json::value::to_raw_value(arguments).expect("arguments are maps with string keys")
}

#[cfg(test)]
mod tests;

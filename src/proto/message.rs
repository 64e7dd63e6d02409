//! What goes inside the envelope once thing and controller share keys: status, command, answer,
//! event (SecT STEP 12-15; protocol section 6).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::id::{Boot, Cid, Nonce, RequestId};
use super::json::{self, Body, JsonError};
use super::operation::{Operation, Requested};
use super::rekey;
use super::time::Micros;
use super::user::Name;

/// Asks for the state; the answer teaches the controller boot nonce and thing time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Makes each question another message.
    pub id: Nonce,
}

impl Body for Status {
    const T: &'static str = "status";
}

/// A command as it stands in the envelope.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command<'a> {
    /// The start of the daemon that it is meant for.
    pub boot: Boot,
    /// When it was made, in thing time.
    pub ts: Micros,
    /// The operation's name.
    #[serde(borrow)]
    pub op: Cow<'a, str>,
    /// The operation's arguments; `{}` where it has none.
    #[serde(borrow)]
    pub a: &'a RawValue,
}

impl Body for Command<'_> {
    const T: &'static str = "cmd";
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum ReturnCode {
    /// Done.
    Ok,
    /// Not fresh; nothing was done.
    Stale,
    /// The role does not allow it.
    Forbidden,
    /// Not a message of this protocol.
    BadRequest,
    /// Over a limit; later it may work.
    Busy,
    /// The keys are too old: update them first.
    Epoch,
    /// It contradicts the state.
    Conflict,
    /// The store failed, and nothing was done; or the outlet did not confirm, and may have either state.
    Storage,
    /// What it names is not there.
    NotFound,
    /// An operation that this version does not know.
    Unsupported,
}

impl ReturnCode {
    const ALL: [Self; 10] = [
        Self::Ok,
        Self::Stale,
        Self::Forbidden,
        Self::BadRequest,
        Self::Busy,
        Self::Epoch,
        Self::Conflict,
        Self::Storage,
        Self::NotFound,
        Self::Unsupported,
    ];
}

impl From<ReturnCode> for u8 {
    fn from(code: ReturnCode) -> Self {
        code as u8
    }
}

impl TryFrom<u8> for ReturnCode {
    type Error = JsonError;

    fn try_from(number: u8) -> Result<Self, JsonError> {
        Self::ALL.get(usize::from(number)).copied().ok_or(JsonError)
    }
}

/// Who or what switched the outlet last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SwitchedBy {
    /// A user's controller.
    User,
    /// The button on the thing.
    Button,
    /// A countdown.
    Timer,
    /// A schedule.
    Schedule,
    /// The start of the daemon.
    Boot,
}

/// The state of the outlet: on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutletState {
    /// The load has power.
    On,
    /// The load has none.
    Off,
}

impl OutletState {
    /// From the wire's boolean.
    #[must_use]
    pub const fn from_on(on: bool) -> Self {
        if on { Self::On } else { Self::Off }
    }

    /// To the wire's boolean.
    #[must_use]
    pub const fn is_on(self) -> bool {
        matches!(self, Self::On)
    }

    /// The other one.
    #[must_use]
    pub const fn toggled(self) -> Self {
        match self {
            Self::On => Self::Off,
            Self::Off => Self::On,
        }
    }
}

/// `st`: the state that each answer and event carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Whether the load has power, as the outlet last confirmed it.
    pub on: bool,
    /// What switched it last.
    pub by: SwitchedBy,
    /// Whose controller, where a user did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<Name>,
    /// Since when, in thing time.
    pub since: Micros,
    /// The thing's name.
    pub name: Name,
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response<'a> {
    /// What it answers.
    pub re: RequestId,
    /// How that ended.
    pub rc: ReturnCode,
    /// This start of the daemon.
    pub boot: Boot,
    /// Now, in thing time.
    pub ts: Micros,
    /// The state after it.
    pub st: State,
    /// The result, with rc 0 alone.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub r: Option<&'a RawValue>,
}

impl Body for Response<'_> {
    const T: &'static str = "rsp";
}

/// Something that happened.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event<'a> {
    /// This start of the daemon.
    pub boot: Boot,
    /// When, in thing time.
    pub ts: Micros,
    /// What kind; a controller ignores those that it does not know.
    #[serde(borrow)]
    pub k: Cow<'a, str>,
    /// The state after it.
    pub st: State,
    /// What it says beyond that.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub d: Option<&'a RawValue>,
}

impl Body for Event<'_> {
    const T: &'static str = "evt";
}

/// The kind of the event that tells every controller the new state.
pub const EVENT_STATE: &str = "state";
/// The kind of the event that tells the owners whether another home network was kept.
pub const EVENT_WIFI: &str = "wifi";

/// The kinds of the events that tell a controller something beyond the state (protocol section 6.5).
pub const EVENTS_TOLD: [&str; 6] = [EVENT_JOINED, EVENT_LEFT, "wifi", EVENT_REKEY_DUE, EVENT_INVITE_REUSE, EVENT_CLONE];

/// The kind of the event that tells a controller that its key is to be updated.
pub const EVENT_REKEY_DUE: &str = "rekey.due";

/// The kind of the event that tells owners of a new user: `d` is a [`Joined`].
pub const EVENT_JOINED: &str = "joined";

/// The kind of the event that tells owners that a user is gone: `d` is a [`Left`].
pub const EVENT_LEFT: &str = "left";

/// The kind of the event that tells owners that a used invitation was used again: `d` is an [`InviteReuse`].
pub const EVENT_INVITE_REUSE: &str = "invite.reuse";

/// The kind of the event that tells owners that another thing registers under this one's name: `d` is a
/// [`Cloned`].
pub const EVENT_CLONE: &str = "clone";

/// What the event `clone` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cloned {
    /// The cloud server that has seen both.
    pub host: String,
}

/// What the event `joined` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// Which controller.
    pub cid: Cid,
    /// Whose.
    pub name: Name,
}

/// What the event `left` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Which controller.
    pub cid: Cid,
}

/// What the event `invite.reuse` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteReuse {
    /// For whom the invitation was.
    pub name: Name,
}

/// What a controller may send, as the thing reads it.
#[derive(Debug)]
pub enum Request {
    /// A question for the state.
    Status,
    /// A command with its claim to freshness.
    Command {
        /// The start of the daemon that it is meant for.
        boot: Boot,
        /// When it was made, in thing time.
        ts: Micros,
        /// What is asked for.
        requested: Requested,
    },
    /// The first step of a key update.
    RekeyInit(rekey::Init),
    /// The second one.
    RekeyCommit(rekey::Commit),
}

impl Request {
    /// Reads what an authentic envelope held.
    ///
    /// # Errors
    ///
    /// [`JsonError`] when it is no request.
    pub fn read(text: &[u8]) -> Result<Self, JsonError> {
        match &*json::check(text)? {
            Status::T => json::decode::<Status>(text).map(|_| Self::Status),
            Command::T => {
                let command = json::decode::<Command<'_>>(text)?;
                let requested = Operation::read(&command.op, command.a)?;
                Ok(Self::Command { boot: command.boot, ts: command.ts, requested })
            }
            rekey::Init::T => json::decode(text).map(Self::RekeyInit),
            rekey::Commit::T => json::decode(text).map(Self::RekeyCommit),
            _ => Err(JsonError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::operation::argument::OutletSet;

    const BOOT: Boot = Boot::new([3; 16]);

    #[test]
    fn a_command_has_the_form_of_the_vectors() {
        let text = Operation::OutletSet(OutletSet { on: true }).command(BOOT, Micros::new(1_234_567_890));
        let expected =
            r#"{"v":1,"t":"cmd","boot":"AwMDAwMDAwMDAwMDAwMDAw","ts":1234567890,"op":"outlet.set","a":{"on":true}}"#;
        assert_eq!(String::from_utf8(text).expect("UTF-8"), expected);
    }

    #[test]
    fn a_command_reads_back() {
        let operation = Operation::OutletSet(OutletSet { on: false });
        let text = operation.command(BOOT, Micros::new(5));
        let Ok(Request::Command { boot: BOOT, ts, requested }) = Request::read(&text) else { panic!("not read") };
        assert_eq!((ts, requested), (Micros::new(5), Requested::Known(operation)));
    }

    #[test]
    fn an_unknown_operation_is_told_apart_from_a_bad_one() {
        let read = |op: &str, a: &str| {
            let text = format!(r#"{{"v":1,"t":"cmd","boot":"{BOOT}","ts":5,"op":"{op}","a":{a}}}"#);
            Request::read(text.as_bytes()).map(|request| match request {
                Request::Command { requested, .. } => requested,
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(read("outlet.dim", r#"{"to":5}"#), Ok(Requested::Unknown));
        assert_eq!(read("outlet.dim", "5"), Err(JsonError));
        for arguments in ["{}", r#"{"on":1}"#, r#"{"on":true,"x":1}"#, "true", r#"{"on":"true"}"#] {
            assert_eq!(read("outlet.set", arguments), Err(JsonError), "{arguments}");
        }
    }

    #[test]
    fn what_the_thing_says_is_no_request() {
        let text = format!(r#"{{"v":1,"t":"evt","boot":"{BOOT}","ts":5,"k":"state","st":{{}}}}"#);
        assert_eq!(Request::read(text.as_bytes()).err(), Some(JsonError));
    }

    #[test]
    fn return_codes_are_numbers() {
        for (number, code) in (0..).zip(ReturnCode::ALL) {
            assert_eq!(u8::from(code), number);
            assert_eq!(ReturnCode::try_from(number), Ok(code));
        }
        assert_eq!(ReturnCode::try_from(10), Err(JsonError));
    }
}

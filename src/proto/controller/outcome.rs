//! What the controller gives to its shell: bytes to send, and what the user may want to know.

use std::time::Duration;

use crate::proto::keys::MasterKey;
use crate::proto::message::{ReturnCode, State};
use crate::proto::time::Micros;

/// The way a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Path {
    /// The thing's own server on the home network.
    Local,
    /// A cloud server.
    Cloud,
}

/// Names a request in the events that follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestHandle(pub(super) u64);

/// Bytes for `s/<T_token>/c`, QoS 0, the same on every path that is live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// The request that they carry.
    pub handle: RequestHandle,
    /// What to publish.
    pub payload: Vec<u8>,
    /// 1 for the first time, then one more each time.
    pub attempt: u32,
}

/// What the user may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControllerEvent {
    /// A command was answered; that ends it.
    Answered {
        /// Which.
        handle: RequestHandle,
        /// How it ended.
        rc: ReturnCode,
        /// What to show: the newest state known, which may be newer than the answer.
        state: State,
        /// The result, as JSON text, where the operation has one.
        result: Option<String>,
        /// From its making to its answer.
        round_trip: Duration,
        /// The way of the first answer.
        path: Path,
    },
    /// A `status` was answered; that ends it. The controller also asks by itself, under handles that
    /// the caller has not seen.
    Status {
        /// Which.
        handle: RequestHandle,
        /// How it ended.
        rc: ReturnCode,
        /// What to show: the newest state known.
        state: State,
        /// What else the thing tells, as JSON text, where it does.
        result: Option<String>,
        /// From its making to its answer.
        round_trip: Duration,
        /// The way of the first answer.
        path: Path,
    },
    /// No answer to a `status` came within 10 s; that ends it.
    StatusUnanswered {
        /// Which.
        handle: RequestHandle,
    },
    /// The second path has answered the same request: both work.
    BothPaths {
        /// Which.
        handle: RequestHandle,
        /// The way of the second answer.
        path: Path,
        /// From the request's making to the second answer.
        round_trip: Duration,
    },
    /// Nobody knows whether this command has run or still will; that ends it. The state is asked for:
    /// [`ControllerEvent::Status`] or [`ControllerEvent::StatusUnanswered`] of `question` follows.
    Unknown {
        /// Which.
        handle: RequestHandle,
        /// The `status` that was sent for it.
        question: RequestHandle,
    },
    /// The thing gave no sign of life, so this command was never sent and will never run; that ends it.
    NotSent {
        /// Which.
        handle: RequestHandle,
    },
    /// A newer wish took the place of this one, which has not run and never will; that ends it.
    Replaced {
        /// Which.
        handle: RequestHandle,
    },
    /// The thing says that its state is another now.
    StateChanged {
        /// What to show.
        state: State,
        /// Since when, in thing time.
        ts: Micros,
    },
    /// The shell makes this master key durable beside the present one, in place of an earlier candidate, and
    /// then calls [`super::Controller::persisted`], or [`super::Controller::not_persisted`] if it cannot. Until
    /// then nothing is sent.
    Persist {
        /// The update.
        handle: RequestHandle,
        /// The master key of the epoch that follows.
        candidate: MasterKey,
    },
    /// The thing has the next epoch; the past master key, and every copy of it, is to be forgotten.
    /// [`super::Controller::keychain`] has what stays. That ends an update.
    KeysUpdated {
        /// The update that it ends, if there was one under way.
        handle: Option<RequestHandle>,
        /// The epoch.
        epoch: u32,
    },
    /// The thing does not update its key; that ends the update.
    UpdateRefused {
        /// Which.
        handle: RequestHandle,
        /// Why.
        rc: ReturnCode,
    },
    /// The update got no answer, and the thing has the present epoch as far as it said anything; a candidate
    /// stays until that is certain. That ends the update.
    UpdateUnanswered {
        /// Which.
        handle: RequestHandle,
    },
    /// The thing tells that something happened beyond its state.
    Told {
        /// What kind: one of [`EVENTS_TOLD`](crate::proto::message::EVENTS_TOLD).
        k: &'static str,
        /// What it says about it, as JSON text, where it does.
        d: Option<String>,
    },
}

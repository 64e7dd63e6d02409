//! One request on its way: the same bytes each second until its answer comes, 10 s in all
//! (protocol section 2).

use std::time::Duration;

use super::{Path, RequestHandle, Transmit};
use crate::proto::envelope::request_id;
use crate::proto::id::RequestId;
use crate::proto::time::Micros;

/// The same bytes go out again after this long.
pub const RESEND_AFTER: Duration = Duration::from_secs(1);
/// An answer counts this long.
pub const WAIT: Duration = Duration::from_secs(10);

/// A request without an answer.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) handle: RequestHandle,
    pub(super) re: RequestId,
    payload: Vec<u8>,
    /// When it was made; it leaves at that moment or later, so this is the longest wait.
    pub(super) sent_at: Micros,
    next_send: Micros,
    sent: u32,
}

impl Exchange {
    pub(super) fn new(handle: RequestHandle, payload: Vec<u8>, now: Micros) -> Self {
        Self { handle, re: request_id(&payload), payload, sent_at: now, next_send: now, sent: 0 }
    }

    /// The bytes, when it is time to send them.
    pub(super) fn poll_transmit(&mut self, now: Micros) -> Option<Transmit> {
        if now < self.next_send || self.is_over(now) {
            return None;
        }
        self.next_send = now.after(RESEND_AFTER);
        self.sent = self.sent.saturating_add(1);
        Some(Transmit { handle: self.handle, payload: self.payload.clone(), attempt: self.sent })
    }

    /// What is sent.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// When something is to be done about it.
    pub(super) fn timeout(&self) -> Micros {
        self.next_send.min(self.deadline())
    }

    /// Whether the time for its answer has run out.
    pub(super) fn is_over(&self, now: Micros) -> bool {
        now >= self.deadline()
    }

    fn deadline(&self) -> Micros {
        self.sent_at.after(WAIT)
    }

    /// Remembers it as answered.
    pub(super) fn answered(self, path: Path) -> Answered {
        Answered { handle: self.handle, re: self.re, sent_at: self.sent_at, path, second_path: false }
    }
}

/// A request whose answer has come, kept for the answer by the other path.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) handle: RequestHandle,
    pub(super) re: RequestId,
    pub(super) sent_at: Micros,
    pub(super) path: Path,
    /// Whether the other path has answered too.
    pub(super) second_path: bool,
}

impl Answered {
    /// Whether an answer to it would be too old to count.
    pub(super) fn is_over(&self, now: Micros) -> bool {
        now >= self.sent_at.after(WAIT)
    }
}

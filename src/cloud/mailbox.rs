//! How others reach a session: they put a message through to its client, or leave it for the session's
//! task; and they say that it is to end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Waker};
use std::time::Instant;

use super::line::Line;
use crate::mqtt::server::{CloseReason, Qos};

/// A message on its way, where it lies.
#[derive(Clone, Copy)]
pub(super) struct Letter<'a> {
    pub(super) topic: &'a str,
    pub(super) payload: &'a [u8],
    pub(super) qos: Qos,
}

/// A message that waits, shared by all whom it is for.
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: Qos,
}

impl Message {
    pub(super) fn letter(&self) -> Letter<'_> {
        Letter { topic: &self.topic, payload: &self.payload, qos: self.qos }
    }
}

impl From<Letter<'_>> for Message {
    fn from(letter: Letter<'_>) -> Self {
        Self { topic: letter.topic.to_owned(), payload: letter.payload.to_vec(), qos: letter.qos }
    }
}

/// The mailbox of one session; it takes a bounded number of messages.
///
/// Who holds the line may look into the mailbox, never the other way round, and nobody waits for a line
/// but its own task.
#[derive(Default)]
pub(super) struct Mailbox {
    inner: Mutex<Inner>,
    /// As long as there is a client.
    line: Mutex<Option<Line>>,
}

#[derive(Default)]
struct Inner {
    messages: VecDeque<Arc<Message>>,
    close: Option<CloseReason>,
    waker: Option<Waker>,
}

/// What lies in a mailbox.
pub(super) enum Mail {
    Message(Arc<Message>),
    /// The session is to end; nothing comes after it.
    Close(CloseReason),
}

impl Mailbox {
    pub(super) fn of(line: Line) -> Self {
        Self { inner: Mutex::default(), line: Mutex::new(Some(line)) }
    }

    /// The line, for the session's own task.
    pub(super) fn line(&self) -> MutexGuard<'_, Option<Line>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a message to the client here and now; `false` if it has to be left: somebody is on the
    /// line, the client reads slowly, or others wait already.
    pub(super) fn put_through(&self, letter: Letter<'_>, now: Instant) -> bool {
        let mut line = match self.line.try_lock() {
            Ok(line) => line,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        let Some(line) = &mut *line else { return false };
        let is_next = {
            let inner = self.lock();
            inner.messages.is_empty() && inner.close.is_none()
        };
        is_next && line.put_through(letter, now)
    }

    /// Leaves a message; `false` if there is no room, because the client does not keep up.
    pub(super) fn leave(&self, message: Arc<Message>) -> bool {
        let mut inner = self.lock();
        if inner.messages.len() >= MESSAGES {
            return false;
        }
        inner.messages.push_back(message);
        wake(inner);
        true
    }

    /// Says that the session is to end. The first reason counts.
    pub(super) fn close(&self, reason: CloseReason) {
        let mut inner = self.lock();
        inner.close.get_or_insert(reason);
        wake(inner);
    }

    /// Takes out what lies there; if there is nothing, the task of `context` is woken for the next.
    pub(super) fn poll_mail(&self, context: &Context<'_>) -> Option<Mail> {
        let mut inner = self.lock();
        if let Some(reason) = inner.close {
            return Some(Mail::Close(reason));
        }
        if let Some(message) = inner.messages.pop_front() {
            return Some(Mail::Message(message));
        }
        // An idle session keeps no room for a burst.
        inner.messages.shrink_to(0);
        if !inner.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            inner.waker = Some(context.waker().clone());
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is whole before anything can panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(mut inner: MutexGuard<'_, Inner>) {
    let waker = inner.waker.take();
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Messages that wait for one session at most; each is 8 KiB at most.
const MESSAGES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: &[u8]) -> Arc<Message> {
        Arc::new(Message { topic: "t".into(), payload: payload.into(), qos: Qos::AtMostOnce })
    }

    #[test]
    fn messages_come_in_their_order_and_are_bounded() {
        let mailbox = Mailbox::default();
        assert!((0..64).all(|n| mailbox.leave(message(&[n]))));
        assert!(!mailbox.leave(message(b"one more")));
        let context = Context::from_waker(Waker::noop());
        for n in 0..64 {
            assert!(matches!(mailbox.poll_mail(&context), Some(Mail::Message(message)) if message.payload == [n]));
        }
        assert!(mailbox.poll_mail(&context).is_none());
    }

    #[test]
    fn the_end_goes_before_everything_and_keeps_its_first_reason() {
        let mailbox = Mailbox::default();
        assert!(mailbox.leave(message(b"x")));
        mailbox.close(CloseReason::Ended);
        mailbox.close(CloseReason::TakenOver);
        let context = Context::from_waker(Waker::noop());
        assert!(matches!(mailbox.poll_mail(&context), Some(Mail::Close(CloseReason::Ended))));
    }
}

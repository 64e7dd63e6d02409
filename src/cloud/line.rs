//! The line to one client: TLS, MQTT and its rights.
//!
//! Its task holds it while it is polled. In between lies a line on which nobody is talking: whoever has
//! a message for the client puts it through himself, without waking the task and waiting for its turn.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::io::AsyncWrite as _;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::gate::Gate;
use super::mailbox::Letter;
use crate::mqtt::server::{Delivery, Session};

/// What it takes to write to a client.
pub(super) struct Line {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) mqtt: Session,
    pub(super) gate: Gate,
    /// Something lies in the buffers of TLS.
    unflushed: bool,
    /// The client is gone.
    broken: bool,
    /// Wakes the client's task.
    waker: Option<Waker>,
}

impl Line {
    pub(super) fn new(stream: TlsStream<TcpStream>, mqtt: Session, gate: Gate) -> Self {
        Self { stream, mqtt, gate, unflushed: false, broken: false, waker: None }
    }

    /// The task of `context` is the client's.
    pub(super) fn belongs_to(&mut self, context: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            self.waker = Some(context.waker().clone());
        }
    }

    /// Whether the client reads fast enough for one more message.
    pub(super) fn has_room(&self) -> bool {
        self.mqtt.closing().is_none() && self.mqtt.output().len() < OUTPUT_BYTES
    }

    /// Encodes a message for the client.
    pub(super) fn deliver(&mut self, letter: Letter<'_>, now: Instant) {
        let metrics = &self.gate.shared.metrics;
        match self.mqtt.publish(letter.topic, letter.payload, letter.qos, now, &self.gate) {
            Delivery::Queued => metrics.forwarded.one(),
            Delivery::NotSubscribed => metrics.denials.delivery.one(),
            Delivery::TooLarge | Delivery::Closing => metrics.denials.slow_reader.one(),
        }
    }

    /// Encodes and writes a message in somebody else's task; `false` if it is not taken. What cannot be
    /// written at once is left to the client's task.
    pub(super) fn put_through(&mut self, letter: Letter<'_>, now: Instant) -> bool {
        if !self.has_room() {
            return false;
        }
        let Some(waker) = self.waker.take() else { return false };
        self.deliver(letter, now);
        let written = self.poll_write(&mut Context::from_waker(&waker), now);
        // Its task sets the timer for what is left, or finds out that the client is gone.
        if written != Poll::Ready(Ok(())) || self.mqtt.closing().is_some() {
            waker.wake_by_ref();
        }
        self.waker = Some(waker);
        true
    }

    /// Ready once all is written and on its way.
    pub(super) fn poll_write(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<Result<(), ()>> {
        if self.broken {
            return Poll::Ready(Err(()));
        }
        while !self.mqtt.output().is_empty() {
            match Pin::new(&mut self.stream).poll_write(context, self.mqtt.output()) {
                Poll::Ready(Ok(count)) if count > 0 => self.mqtt.handle_written(count, now),
                Poll::Ready(_) => return self.give_up(),
                Poll::Pending => return Poll::Pending,
            }
            self.unflushed = true;
        }
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(context) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(_)) => return self.give_up(),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn give_up(&mut self) -> Poll<Result<(), ()>> {
        self.broken = true;
        Poll::Ready(Err(()))
    }
}

/// What waits for a slow client before its mailbox has to wait too.
const OUTPUT_BYTES: usize = 16 * 1024;

//! One TCP connection: its handshake, its session, its end.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use openssl::ssl::Ssl;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;
use zeroize::Zeroize;

use super::admission::{Admissions, Entry};
use super::rate::Origin;
use crate::mqtt::server::{CloseReason, ConnectRequest, Policy, Refusal, Session, SessionLimits};

/// What a place of the server holds.
pub(super) enum Place {
    Vacant,
    Handshake(Handshake),
    Live(Box<Live>),
    Lingering(Lingering),
}

impl Place {
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Vacant => None,
            Self::Handshake(handshake) => Some(handshake.until),
            Self::Live(live) => live.close_by.or_else(|| live.mqtt.deadline()),
            Self::Lingering(lingering) => Some(lingering.until),
        }
    }
}

/// A connection whose handshake is under way: a stranger.
pub(super) struct Handshake {
    stream: SslStream<TcpStream>,
    pub(super) peer: IpAddr,
    pub(super) origin: Origin,
    pub(super) since: Instant,
    pub(super) until: Instant,
}

impl Handshake {
    pub(super) fn new(
        ssl: Ssl,
        stream: TcpStream,
        (peer, origin): (IpAddr, Origin),
        now: Instant,
        within: Duration,
    ) -> Result<Self, openssl::error::ErrorStack> {
        Ok(Self { stream: SslStream::new(ssl, stream)?, peer, origin, since: now, until: now + within })
    }

    /// `Some(true)` once the client has proved that it holds the key, `Some(false)` if it has not.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Option<bool> {
        match Pin::new(&mut self.stream).poll_accept(context) {
            Poll::Ready(outcome) => Some(outcome.is_ok()),
            Poll::Pending => None,
        }
    }

    pub(super) fn ssl(&self) -> &openssl::ssl::SslRef {
        self.stream.ssl()
    }

    pub(super) fn into_live(self, claim: Arc<Entry>, limits: SessionLimits, now: Instant) -> Live {
        Live {
            stream: self.stream,
            peer: self.peer,
            mqtt: Session::new(limits, now),
            claim,
            grant: None,
            client_id: String::new(),
            since: now,
            announced: false,
            counted: false,
            close_by: None,
        }
    }
}

/// A connection that holds the key of `claim`.
pub(super) struct Live {
    stream: SslStream<TcpStream>,
    pub(super) peer: IpAddr,
    pub(super) mqtt: Session,
    pub(super) claim: Arc<Entry>,
    /// What its login has opened.
    pub(super) grant: Option<Arc<Entry>>,
    pub(super) client_id: String,
    pub(super) since: Instant,
    /// The daemon knows of it.
    pub(super) announced: bool,
    /// Its end has been counted.
    pub(super) counted: bool,
    /// When it is given up although there is something left to write.
    pub(super) close_by: Option<Instant>,
}

/// What a look at a session has led to.
pub(super) enum Progress {
    /// Nothing more to do before its waker is called.
    Waiting,
    /// Something has come in, and there may be more.
    Again,
    /// All is written and said; the connection may linger.
    Finished,
    /// The client is gone.
    Gone,
}

impl Live {
    /// Writes what is queued, then reads once.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        scratch: &mut [u8],
        now: Instant,
        gate: &mut Gate<'_>,
    ) -> Progress {
        if !self.write(context, now) {
            return Progress::Gone;
        }
        if self.mqtt.closing().is_some() {
            if !self.mqtt.output().is_empty() {
                return Progress::Waiting;
            }
            return match Pin::new(&mut self.stream).poll_shutdown(context) {
                Poll::Ready(Ok(())) => Progress::Finished,
                Poll::Ready(Err(_)) => Progress::Gone,
                Poll::Pending => Progress::Waiting,
            };
        }
        if !self.mqtt.wants_input() {
            return Progress::Waiting;
        }
        let mut buffer = ReadBuf::new(scratch);
        match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
            Poll::Pending => Progress::Waiting,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                gate.grant = self.grant.take();
                let logs_in = !self.mqtt.is_open();
                self.mqtt.handle_bytes(buffer.filled(), now, gate);
                if logs_in {
                    // A password went through here.
                    buffer.filled_mut().zeroize();
                }
                self.grant = gate.grant.take();
                Progress::Again
            }
            Poll::Ready(_) => Progress::Gone,
        }
    }

    /// Writes what the client takes of what is queued; `false` when the client is gone.
    pub(super) fn write(&mut self, context: &mut Context<'_>, now: Instant) -> bool {
        while !self.mqtt.output().is_empty() {
            match Pin::new(&mut self.stream).poll_write(context, self.mqtt.output()) {
                Poll::Ready(Ok(count)) if count > 0 => self.mqtt.handle_written(count, now),
                Poll::Ready(_) => return false,
                Poll::Pending => break,
            }
        }
        true
    }

    /// Whether its client has logged in under the entry with this number and is still there.
    pub(super) fn is_under(&self, serial: u64) -> bool {
        self.mqtt.is_open() && self.grant.as_ref().is_some_and(|grant| grant.serial == serial)
    }

    pub(super) fn into_lingering(self, now: Instant) -> Lingering {
        Lingering { stream: self.stream, until: now + LINGER, left: LINGER_BYTES }
    }

    pub(super) fn close(&mut self, reason: CloseReason, now: Instant) {
        self.mqtt.close(reason);
        self.close_by.get_or_insert(now + CLOSE_WITHIN);
    }
}

/// A connection that has been told good-bye. Closing it while input lies unread would make the kernel
/// reset it, and the client might lose the last words.
pub(super) struct Lingering {
    stream: SslStream<TcpStream>,
    pub(super) until: Instant,
    left: usize,
}

impl Lingering {
    /// Throws input away; `true` when there is no reason to wait any longer.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, scratch: &mut [u8]) -> bool {
        loop {
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(self.stream.get_mut()).poll_read(context, &mut buffer) {
                Poll::Pending => return false,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && self.left > 0 => {
                    self.left = self.left.saturating_sub(buffer.filled().len());
                }
                Poll::Ready(_) => return true,
            }
        }
    }
}

/// The server's policy for one session.
pub(super) struct Gate<'a> {
    pub(super) admissions: &'a Admissions,
    pub(super) claim: Arc<Entry>,
    pub(super) grant: Option<Arc<Entry>>,
    /// Entry and client id of each session that is open.
    pub(super) open: Vec<(u64, String)>,
    pub(super) client_ids: &'a mut u64,
}

impl Policy for Gate<'_> {
    fn connect(&mut self, request: &ConnectRequest<'_>) -> Result<(), Refusal> {
        let mut chosen = None;
        for entry in self.admissions.claimed(&self.claim) {
            if bool::from(entry.admission.allows(request)) {
                chosen = Some(entry.clone());
            }
        }
        let entry = chosen.ok_or(Refusal::BadCredentials)?;
        // A session that this one takes over makes room for it.
        let others = |(serial, client_id): &&(u64, String)| *serial == entry.serial && client_id != request.client_id;
        let full = self.open.iter().filter(others).count() >= entry.admission.max_sessions;
        if full && (entry.admission.when_full == super::WhenFull::Refuse || entry.admission.max_sessions == 0) {
            return Err(Refusal::Busy);
        }
        self.grant = Some(entry);
        Ok(())
    }

    fn assign_client_id(&mut self) -> String {
        *self.client_ids += 1;
        format!("assigned-{}", self.client_ids)
    }

    fn may_publish(&self, topic: &str) -> bool {
        self.grant.as_ref().is_some_and(|grant| grant.admission.publish == topic)
    }

    fn may_subscribe(&self, topic: &str) -> bool {
        self.grant.as_ref().is_some_and(|grant| grant.admission.subscribe == topic)
    }
}

/// For so long a closing session may go on writing.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// For so long, and for so many bytes, the client may go on sending after that.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 * 1024;

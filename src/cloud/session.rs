//! One logged-in or arriving client, as one task that is polled.
//!
//! It holds little while it is idle: the buffer that it reads into belongs to the thread.

use std::cell::RefCell;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroize as _;

use super::mailbox::{Mail, Mailbox, Message};
use super::metrics::Metrics;
use super::registrar::Request;
use super::router::{Identity, Route, Router};
use crate::mqtt::server::{
    CloseReason, ConnectRequest, Delivery, Event, Policy, Publication, Refusal, Rejection, Session, SessionLimits,
};
use crate::proto::cloud::{Party, Rate, Registry, Right, parse_topic};
use crate::proto::id::ThingId;
use crate::proto::json;
use crate::proto::registration::MAX_ENTRIES;

/// What all sessions share.
pub(super) struct Shared {
    pub(super) registry: Arc<RwLock<Registry>>,
    pub(super) router: Arc<Router>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) registrar: mpsc::Sender<Request>,
    pub(super) sessions_per_account: usize,
    pub(super) connect_within: Duration,
    /// What rates are measured from.
    pub(super) started: Instant,
    /// Client ids handed out.
    pub(super) client_ids: AtomicU64,
}

/// Who may come to a port, and who has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visitor {
    /// A thing, which its certificate names.
    Thing(ThingId),
    /// Whoever says that he is a controller.
    Controller,
}

/// One connection after its handshake.
pub(super) struct Conversation {
    stream: TlsStream<TcpStream>,
    mqtt: Session,
    gate: Gate,
    mailbox: Arc<Mailbox>,
    /// Held until the client has logged in.
    arriving: Option<OwnedSemaphorePermit>,
    /// Under which it has joined.
    identity: Option<Identity>,
    routes: Vec<Route>,
    registrations: Rate,
    timer: Pin<Box<Sleep>>,
    /// Something lies in the buffers of TLS.
    unflushed: bool,
    /// When it is given up although there is something left to write.
    close_by: Option<Instant>,
    /// When all that has been read would have come at the permitted pace.
    paced_until: Instant,
}

/// The policy of one session.
struct Gate {
    shared: Arc<Shared>,
    visitor: Visitor,
    party: Option<Party>,
}

impl Conversation {
    pub(super) fn new(
        stream: TlsStream<TcpStream>,
        visitor: Visitor,
        shared: Arc<Shared>,
        arriving: OwnedSemaphorePermit,
    ) -> Self {
        let now = Instant::now();
        let subscriptions = match visitor {
            // Its accounts' topics and the answers to its registrations.
            Visitor::Thing(_) => MAX_ENTRIES + 1,
            Visitor::Controller => 1,
        };
        let limits = SessionLimits { subscriptions, connect_within: shared.connect_within, ..SessionLimits::default() };
        Self {
            stream,
            mqtt: Session::new(limits, now),
            gate: Gate { shared, visitor, party: None },
            mailbox: Arc::default(),
            arriving: Some(arriving),
            identity: None,
            routes: Vec::new(),
            registrations: Rate::default(),
            timer: Box::pin(tokio::time::sleep_until(now.into())),
            unflushed: false,
            close_by: None,
            paced_until: now,
        }
    }

    /// Talks until the client or the server ends it.
    pub(super) async fn run(mut self) {
        let gone = poll_fn(|context| self.poll(context)).await;
        self.part();
        if let (Some(reason), false) = (self.mqtt.closing(), gone)
            && reason != CloseReason::ByClient
        {
            // Closing while input lies unread would make the kernel reset the connection, and the
            // client might lose the last words.
            let (stream, _) = self.stream.into_inner();
            let mut rest = stream.take(LINGER_BYTES);
            let linger = async { tokio::io::copy(&mut rest, &mut tokio::io::sink()).await };
            let _ = tokio::time::timeout(LINGER, linger).await;
        }
    }

    /// Ready when it is over; `true` if the client is gone.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        loop {
            let now = Instant::now();
            let emptied = self.take_mail(context, now);
            self.mqtt.handle_deadline(now);
            match self.poll_write(context, now) {
                Poll::Ready(Err(())) => return Poll::Ready(true),
                // Nobody wakes this task for what still lies in a mailbox that it has not emptied.
                Poll::Ready(Ok(())) if !emptied && self.mqtt.closing().is_none() => continue,
                Poll::Ready(Ok(())) if self.mqtt.closing().is_some() => {
                    match Pin::new(&mut self.stream).poll_shutdown(context) {
                        Poll::Ready(outcome) => return Poll::Ready(outcome.is_err()),
                        Poll::Pending => {}
                    }
                }
                _ => {}
            }
            if self.mqtt.closing().is_some() {
                self.close_by.get_or_insert(now + CLOSE_WITHIN);
            }
            if self.close_by.is_some_and(|until| now >= until) {
                return Poll::Ready(true);
            }
            let paused = self.paced_until > now + PACE_AHEAD;
            if !paused && self.mqtt.wants_input() {
                match self.poll_read(context, now) {
                    Poll::Ready(Ok(())) => {
                        self.take_events(now);
                        continue;
                    }
                    Poll::Ready(Err(())) => return Poll::Ready(true),
                    Poll::Pending => {}
                }
            }
            let resume = paused.then(|| self.paced_until - PACE_AHEAD);
            let Some(due) = [self.mqtt.deadline(), self.close_by, resume].into_iter().flatten().min() else {
                return Poll::Pending;
            };
            // A timer that goes off too early is set anew; moving it at each packet would cost more.
            if self.timer.deadline().into_std() > due || self.timer.is_elapsed() {
                self.timer.as_mut().reset(due.max(now + TICK).into());
            }
            if self.timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Moves messages from the mailbox to the client, as far as it reads them; `true` if none is left
    /// and the next one will wake the task.
    fn take_mail(&mut self, context: &Context<'_>, now: Instant) -> bool {
        while self.mqtt.closing().is_none() && self.mqtt.output().len() < OUTPUT_BYTES {
            match self.mailbox.poll_mail(context) {
                None => return true,
                Some(Mail::Close(reason)) => self.mqtt.close(reason),
                Some(Mail::Message(message)) => {
                    let Message { topic, payload, qos } = &*message;
                    match self.mqtt.publish(topic, payload, *qos, now, &self.gate) {
                        Delivery::Queued => self.gate.shared.metrics.forwarded.one(),
                        Delivery::NotSubscribed => self.gate.shared.metrics.denials.delivery.one(),
                        Delivery::TooLarge | Delivery::Closing => self.gate.shared.metrics.denials.slow_reader.one(),
                    }
                }
            }
        }
        false
    }

    /// Ready once all is written and on its way.
    fn poll_write(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<Result<(), ()>> {
        while !self.mqtt.output().is_empty() {
            match Pin::new(&mut self.stream).poll_write(context, self.mqtt.output()) {
                Poll::Ready(Ok(count)) if count > 0 => self.mqtt.handle_written(count, now),
                Poll::Ready(_) => return Poll::Ready(Err(())),
                Poll::Pending => return Poll::Pending,
            }
            self.unflushed = true;
        }
        if self.unflushed {
            let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(context) else { return Poll::Pending };
            self.unflushed = false;
            return Poll::Ready(flushed.map_err(|_| ()));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<Result<(), ()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    let logs_in = !self.mqtt.is_open();
                    self.mqtt.handle_bytes(buffer.filled(), now, &mut self.gate);
                    let pace = match self.gate.visitor {
                        Visitor::Thing(_) => THING_BYTES_A_SECOND,
                        Visitor::Controller => CONTROLLER_BYTES_A_SECOND,
                    };
                    let took = Duration::from_micros(buffer.filled().len() as u64 * 1_000_000 / pace);
                    self.paced_until = self.paced_until.max(now) + took;
                    if logs_in {
                        // A password went through here.
                        buffer.filled_mut().zeroize();
                    }
                    Poll::Ready(Ok(()))
                }
                Poll::Ready(_) => Poll::Ready(Err(())),
            }
        })
    }

    fn take_events(&mut self, now: Instant) {
        while let Some(event) = self.mqtt.poll_event() {
            match event {
                Event::Connected { client_id } => self.join(client_id),
                Event::Subscribed { topic } => {
                    if let Some(route) = parse_topic(&topic)
                        && !self.routes.contains(&route)
                    {
                        self.gate.shared.router.subscribe(route.clone(), &self.mailbox);
                        self.routes.push(route);
                    }
                }
                Event::Unsubscribed { topic } => {
                    if let Some(route) = parse_topic(&topic) {
                        self.gate.shared.router.unsubscribe(&route, &self.mailbox);
                        self.routes.retain(|other| *other != route);
                    }
                }
                Event::Published(publication) => self.take_publication(&publication, now),
                Event::Acknowledged => {}
                Event::Rejected(Rejection::PublishTopic) => self.gate.shared.metrics.denials.publish_topic.one(),
                Event::Rejected(Rejection::SubscribeTopic) => self.gate.shared.metrics.denials.subscribe_topic.one(),
            }
        }
    }

    fn join(&mut self, client_id: String) {
        self.arriving = None;
        let Some(party) = &self.gate.party else { return };
        let shared = &self.gate.shared;
        let identity = Identity::from(party);
        shared.metrics.logged_in[self.gate.visitor.side()].one();
        shared.router.join(identity.clone(), client_id, self.mailbox.clone(), shared.sessions_per_account);
        self.identity = Some(identity);
        // Whoever was removed after his password was checked was not yet there to be ended.
        if matches!(party, Party::Controller(account) if !account.is_live()) {
            self.mqtt.close(CloseReason::Ended);
        }
    }

    fn take_publication(&mut self, publication: &Publication, now: Instant) {
        let shared = &self.gate.shared;
        let Some(party) = &self.gate.party else { return };
        let right = read(&shared.registry).publish_right(party, publication.topic());
        let now_us = now.saturating_duration_since(shared.started).as_micros() as u64;
        match (right, party) {
            (Some(Right::Forward(account, direction)), _) => {
                if !account.may_send(direction, now_us) {
                    return shared.metrics.denials.rate.one();
                }
                let message = Message {
                    topic: publication.topic().to_owned(),
                    payload: publication.payload().to_vec(),
                    qos: publication.qos(),
                };
                let (taken, full) = shared.router.forward(&(account.topic().clone(), direction), message);
                shared.metrics.denials.slow_reader.add(full);
                if taken + full == 0 {
                    shared.metrics.unheard.one();
                }
            }
            (Some(Right::Registration), Party::Thing(thing)) => {
                if !self.registrations.take(now_us) {
                    return shared.metrics.denials.rate.one();
                }
                let Ok(set) = json::read(publication.payload()) else {
                    tracing::debug!(%thing, "what this thing registered is no list");
                    return shared.metrics.denials.registration.one();
                };
                let request = Request::Register { thing: *thing, set, mailbox: self.mailbox.clone() };
                if shared.registrar.try_send(request).is_err() {
                    shared.metrics.denials.registration.one();
                }
            }
            // It was taken away between two looks.
            (Some(Right::Registration) | None, _) => shared.metrics.denials.publish_topic.one(),
        }
    }

    fn part(&mut self) {
        let shared = &self.gate.shared;
        for route in self.routes.drain(..) {
            shared.router.unsubscribe(&route, &self.mailbox);
        }
        if let Some(identity) = self.identity.take() {
            shared.router.part(&identity, &self.mailbox);
            shared.metrics.logged_out[self.gate.visitor.side()].one();
        }
        let denials = &shared.metrics.denials;
        match self.mqtt.closing() {
            Some(CloseReason::NoConnect | CloseReason::NotConnect) => denials.connect.one(),
            Some(CloseReason::Refused(Refusal::BadCredentials)) => denials.credentials.one(),
            Some(CloseReason::Refused(_)) => denials.login.one(),
            Some(CloseReason::Retained | CloseReason::ExactlyOnce | CloseReason::Protocol) => denials.protocol.one(),
            Some(CloseReason::TooLarge) => denials.too_large.one(),
            Some(CloseReason::SlowReader) => denials.slow_reader.one(),
            Some(CloseReason::ByClient | CloseReason::KeepAlive | CloseReason::TakenOver | CloseReason::Ended)
            | None => {}
        }
        tracing::debug!(visitor = ?self.gate.visitor, reason = ?self.mqtt.closing(), "a connection is over");
    }
}

impl Visitor {
    fn side(self) -> usize {
        match self {
            Self::Thing(_) => 0,
            Self::Controller => 1,
        }
    }
}

impl Policy for Gate {
    fn connect(&mut self, request: &ConnectRequest<'_>) -> Result<(), Refusal> {
        let party = match (self.visitor, request.user, request.password) {
            // Its certificate has said who it is.
            (Visitor::Thing(thing), None, None) => Party::Thing(thing),
            (Visitor::Controller, Some(user), Some(password)) => {
                let account = read(&self.shared.registry).authenticate(user, password);
                Party::Controller(account.ok_or(Refusal::BadCredentials)?)
            }
            (Visitor::Thing(_) | Visitor::Controller, _, _) => return Err(Refusal::BadCredentials),
        };
        self.party = Some(party);
        Ok(())
    }

    fn assign_client_id(&mut self) -> String {
        format!("assigned-{}", self.shared.client_ids.fetch_add(1, Ordering::Relaxed))
    }

    fn may_publish(&self, topic: &str) -> bool {
        self.party.as_ref().is_some_and(|party| read(&self.shared.registry).publish_right(party, topic).is_some())
    }

    fn may_subscribe(&self, topic: &str) -> bool {
        self.party.as_ref().is_some_and(|party| read(&self.shared.registry).read_right(party, topic).is_some())
    }
}

/// The registry, to look something up.
pub(super) fn read(registry: &RwLock<Registry>) -> RwLockReadGuard<'_, Registry> {
    registry.read().unwrap_or_else(PoisonError::into_inner)
}

/// The registry, to put a change in force; only the registrar does.
pub(super) fn write(registry: &RwLock<Registry>) -> RwLockWriteGuard<'_, Registry> {
    registry.write().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    static SCRATCH: RefCell<[u8; SCRATCH_BYTES]> = const { RefCell::new([0; SCRATCH_BYTES]) };
}

const SCRATCH_BYTES: usize = 8192;
/// What waits for a slow client before its mailbox has to wait too.
const OUTPUT_BYTES: usize = 16 * 1024;
/// Ten of the largest messages a second, and one second ahead.
const CONTROLLER_BYTES_A_SECOND: u64 = 32 * 1024;
/// Ten messages a second for each of 32 topics.
const THING_BYTES_A_SECOND: u64 = 512 * 1024;
const PACE_AHEAD: Duration = Duration::from_secs(1);
/// For so long a closing session may go on writing.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// For so long, and for so many bytes, the client may go on sending after that.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 * 1024;
/// The resolution of timers.
const TICK: Duration = Duration::from_millis(1);

//! One logged-in or arriving client, as one task that is polled.
//!
//! It holds little while it is idle: the buffer that it reads into belongs to the thread.

use std::cell::RefCell;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, RwLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroize as _;

use super::gate::Gate;
use super::line::Line;
use super::mailbox::{Letter, Mail, Mailbox};
use super::metrics::Metrics;
use super::registrar::Request;
use super::router::{Identity, Route, Router};
use crate::mqtt::server::{CloseReason, Event, Publication, Refusal, Rejection, Session, SessionLimits};
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
    mailbox: Arc<Mailbox>,
    task: Task,
}

/// What the task alone has to do with.
struct Task {
    /// Held until the client has logged in.
    arriving: Option<OwnedSemaphorePermit>,
    /// Under which it has joined.
    identity: Option<Identity>,
    routes: Vec<Route>,
    registrations: Rate,
    timer: Pin<Box<Sleep>>,
    /// The timer wakes the task when it goes off.
    timer_set: bool,
    /// When it is given up although there is something left to write.
    close_by: Option<Instant>,
    /// When all that has been read would have come at the permitted pace.
    paced_until: Instant,
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
        let line = Line::new(stream, Session::new(limits, now), Gate::new(shared, visitor));
        Self {
            mailbox: Arc::new(Mailbox::of(line)),
            task: Task {
                arriving: Some(arriving),
                identity: None,
                routes: Vec::new(),
                registrations: Rate::default(),
                timer: Box::pin(tokio::time::sleep_until(now.into())),
                timer_set: false,
                close_by: None,
                paced_until: now,
            },
        }
    }

    /// Talks until the client or the server ends it.
    pub(super) async fn run(mut self) {
        let gone = poll_fn(|context| self.poll(context)).await;
        let Some(line) = self.mailbox.line().take() else { return };
        self.task.part(&line, &self.mailbox);
        if let (Some(reason), false) = (line.mqtt.closing(), gone)
            && reason != CloseReason::ByClient
        {
            // Closing while input lies unread would make the kernel reset the connection, and the
            // client might lose the last words.
            let (stream, _) = line.stream.into_inner();
            let mut rest = stream.take(LINGER_BYTES);
            let linger = async { tokio::io::copy(&mut rest, &mut tokio::io::sink()).await };
            let _ = tokio::time::timeout(LINGER, linger).await;
        }
    }

    /// Ready when it is over; `true` if the client is gone.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        match &mut *self.mailbox.line() {
            Some(line) => self.task.poll(line, &self.mailbox, context),
            // Only the end of `run` takes it away.
            None => Poll::Ready(true),
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // Others may still hold the mailbox; the connection ends with its task, however that ends.
        drop(self.mailbox.line().take());
    }
}

impl Task {
    fn poll(&mut self, line: &mut Line, mailbox: &Arc<Mailbox>, context: &mut Context<'_>) -> Poll<bool> {
        line.belongs_to(context);
        // Of one turn: what a turn may read is bounded, and it waits for nothing.
        let now = Instant::now();
        loop {
            let emptied = take_mail(line, mailbox, context, now);
            line.mqtt.handle_deadline(now);
            match line.poll_write(context, now) {
                Poll::Ready(Err(())) => return Poll::Ready(true),
                // Nobody wakes this task for what still lies in a mailbox that it has not emptied.
                Poll::Ready(Ok(())) if !emptied && line.mqtt.closing().is_none() => continue,
                Poll::Ready(Ok(())) if line.mqtt.closing().is_some() => {
                    match Pin::new(&mut line.stream).poll_shutdown(context) {
                        Poll::Ready(outcome) => return Poll::Ready(outcome.is_err()),
                        Poll::Pending => {}
                    }
                }
                _ => {}
            }
            if line.mqtt.closing().is_some() {
                self.close_by.get_or_insert(now + CLOSE_WITHIN);
            }
            if self.close_by.is_some_and(|until| now >= until) {
                return Poll::Ready(true);
            }
            let paused = self.paced_until > now + PACE_AHEAD;
            if !paused && line.mqtt.wants_input() {
                match self.poll_read(line, context, now) {
                    Poll::Ready(Ok(())) => {
                        self.take_events(line, mailbox, now);
                        continue;
                    }
                    Poll::Ready(Err(())) => return Poll::Ready(true),
                    Poll::Pending => {}
                }
            }
            let resume = paused.then(|| self.paced_until - PACE_AHEAD);
            let Some(due) = [line.mqtt.deadline(), self.close_by, resume].into_iter().flatten().min() else {
                return Poll::Pending;
            };
            if self.poll_timer(due, context, now).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Ready if the timer has gone off; otherwise the task is woken at `due` or before.
    fn poll_timer(&mut self, due: Instant, context: &mut Context<'_>, now: Instant) -> Poll<()> {
        // A timer that goes off too early is set anew; moving it at each packet would cost more.
        if self.timer.deadline().into_std() > due || self.timer.is_elapsed() {
            self.timer.as_mut().reset(due.max(now + TICK).into());
            self.timer_set = false;
        }
        if self.timer_set {
            return Poll::Pending;
        }
        let elapsed = self.timer.as_mut().poll(context);
        self.timer_set = elapsed.is_pending();
        elapsed
    }

    fn poll_read(&mut self, line: &mut Line, context: &mut Context<'_>, now: Instant) -> Poll<Result<(), ()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(&mut line.stream).poll_read(context, &mut buffer) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    let logs_in = !line.mqtt.is_open();
                    line.mqtt.handle_bytes(buffer.filled(), now, &mut line.gate);
                    let pace = match line.gate.visitor {
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

    fn take_events(&mut self, line: &mut Line, mailbox: &Arc<Mailbox>, now: Instant) {
        while let Some(event) = line.mqtt.poll_event() {
            let shared = &line.gate.shared;
            match event {
                Event::Connected { client_id } => self.join(line, mailbox, client_id),
                Event::Subscribed { topic } => {
                    if let Some(route) = parse_topic(&topic)
                        && !self.routes.contains(&route)
                    {
                        shared.router.subscribe(route.clone(), mailbox);
                        self.routes.push(route);
                    }
                }
                Event::Unsubscribed { topic } => {
                    if let Some(route) = parse_topic(&topic) {
                        shared.router.unsubscribe(&route, mailbox);
                        self.routes.retain(|other| *other != route);
                    }
                }
                Event::Published(publication) => self.take_publication(&line.gate, mailbox, &publication, now),
                Event::Acknowledged => {}
                Event::Rejected(Rejection::PublishTopic) => shared.metrics.denials.publish_topic.one(),
                Event::Rejected(Rejection::SubscribeTopic) => shared.metrics.denials.subscribe_topic.one(),
            }
        }
    }

    fn join(&mut self, line: &mut Line, mailbox: &Arc<Mailbox>, client_id: String) {
        self.arriving = None;
        let Some(party) = &line.gate.party else { return };
        let shared = &line.gate.shared;
        let identity = Identity::from(party);
        shared.metrics.logged_in[line.gate.visitor.side()].one();
        shared.router.join(identity.clone(), client_id, mailbox.clone(), shared.sessions_per_account);
        self.identity = Some(identity);
        // Whoever was removed after his password was checked was not yet there to be ended.
        if matches!(party, Party::Controller(account) if !account.is_live()) {
            line.mqtt.close(CloseReason::Ended);
        }
    }

    fn take_publication(&mut self, gate: &Gate, mailbox: &Arc<Mailbox>, publication: &Publication, now: Instant) {
        let shared = &gate.shared;
        let Some(party) = &gate.party else { return };
        let now_us = now.saturating_duration_since(shared.started).as_micros() as u64;
        match (gate.publish_right(publication.topic()), party) {
            (Some(Right::Forward(account, direction)), _) => {
                if !account.may_send(direction, now_us) {
                    return shared.metrics.denials.rate.one();
                }
                let letter =
                    Letter { topic: publication.topic(), payload: publication.payload(), qos: publication.qos() };
                let (taken, full) = shared.router.forward(&(account.topic().clone(), direction), letter, now);
                if full > 0 {
                    shared.metrics.denials.slow_reader.add(full);
                }
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
                let request = Request::Register { thing: *thing, set, mailbox: mailbox.clone() };
                if shared.registrar.try_send(request).is_err() {
                    shared.metrics.denials.registration.one();
                }
            }
            // It was taken away between two looks.
            (Some(Right::Registration) | None, _) => shared.metrics.denials.publish_topic.one(),
        }
    }

    fn part(&mut self, line: &Line, mailbox: &Arc<Mailbox>) {
        let shared = &line.gate.shared;
        for route in self.routes.drain(..) {
            shared.router.unsubscribe(&route, mailbox);
        }
        if let Some(identity) = self.identity.take() {
            shared.router.part(&identity, mailbox);
            shared.metrics.logged_out[line.gate.visitor.side()].one();
        }
        let denials = &shared.metrics.denials;
        match line.mqtt.closing() {
            Some(CloseReason::NoConnect | CloseReason::NotConnect) => denials.connect.one(),
            Some(CloseReason::Refused(Refusal::BadCredentials)) => denials.credentials.one(),
            Some(CloseReason::Refused(_)) => denials.login.one(),
            Some(CloseReason::Retained | CloseReason::ExactlyOnce | CloseReason::Protocol) => denials.protocol.one(),
            Some(CloseReason::TooLarge) => denials.too_large.one(),
            Some(CloseReason::SlowReader) => denials.slow_reader.one(),
            Some(CloseReason::ByClient | CloseReason::KeepAlive | CloseReason::TakenOver | CloseReason::Ended)
            | None => {}
        }
        tracing::debug!(visitor = ?line.gate.visitor, reason = ?line.mqtt.closing(), "a connection is over");
    }
}

/// Moves messages from the mailbox to the client, as far as it reads them; `true` if none is left and
/// the next one will wake the task.
fn take_mail(line: &mut Line, mailbox: &Mailbox, context: &Context<'_>, now: Instant) -> bool {
    while line.has_room() {
        match mailbox.poll_mail(context) {
            None => return true,
            Some(Mail::Close(reason)) => line.mqtt.close(reason),
            Some(Mail::Message(message)) => line.deliver(message.letter(), now),
        }
    }
    false
}

impl Visitor {
    pub(super) fn side(self) -> usize {
        match self {
            Self::Thing(_) => 0,
            Self::Controller => 1,
        }
    }
}

thread_local! {
    static SCRATCH: RefCell<[u8; SCRATCH_BYTES]> = const { RefCell::new([0; SCRATCH_BYTES]) };
}

const SCRATCH_BYTES: usize = 8192;
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

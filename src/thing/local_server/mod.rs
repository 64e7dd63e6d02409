//! The local server: MQTT over TLS-PSK (SecT STEP 1, 7, 12, 13; protocol section 3).
//!
//! [`LocalServer`] owns the listener, the handshakes under way and the sessions, and does its work while
//! the daemon awaits [`LocalServer::next`]: no task, no channel and no lock stand between a message that
//! comes in and the daemon's loop. Who may do what is the list given to [`LocalServer::admit`].
//!
//! Strangers get a TLS alert and nothing else. Whatever they send, memory is bounded by [`Limits`], the
//! log stays quiet above DEBUG, and the sessions that are open go on: each connection is looked at in
//! turn, once for each read.

mod admission;
mod alarm;
mod connection;
mod counters;
mod event;
mod limits;
mod rate;
mod room;
mod tls;
mod wake;

pub use admission::{Admission, Login, NewSessions, WhenFull};
pub use counters::Counters;
pub use event::{ServerEvent, SessionId};
pub use limits::Limits;
pub use rate::Rate;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tracing::debug;

use self::admission::{Admissions, Claim, KeyRing};
use self::alarm::{Alarm, now};
use self::connection::{Gate, Handshake, Place, Progress};
use self::limits::{KEEP_IDLE, USER_TIMEOUT_MS};
use self::rate::AcceptRate;
use self::tls::Tls;
use self::wake::WakeSet;
use crate::mqtt::server::{CloseReason, Delivery, Event, Qos};
use crate::proto::secret::Secret;

/// The local server of one thing.
pub struct LocalServer {
    limits: Limits,
    tls: Tls,
    keys: Arc<KeyRing>,
    admissions: Admissions,
    listener: Option<TcpListener>,
    /// No accept before then: there was no file descriptor left.
    accept_after: Option<Instant>,
    rate: AcceptRate,
    places: Vec<(u64, Place)>,
    /// No place from here on is taken: a server with few sessions looks at few places.
    taken: usize,
    next_serial: u64,
    client_ids: u64,
    wake: WakeSet,
    alarm: Alarm,
    events: VecDeque<ServerEvent>,
    scratch: Box<[u8]>,
    counters: Counters,
}

impl LocalServer {
    /// A server that listens nowhere and admits nobody.
    ///
    /// # Errors
    ///
    /// If OpenSSL or the system's random numbers fail.
    pub fn new(limits: Limits) -> anyhow::Result<Self> {
        let mut nobody = Secret::new([0; 32]);
        getrandom::fill(nobody.expose_mut()).context("no random numbers from the system")?;
        let keys = Arc::new(KeyRing::new(nobody));
        let places = limits.sessions + limits.handshakes;
        Ok(Self {
            limits,
            tls: Tls::new(keys.clone()).context("could not set up TLS")?,
            keys,
            admissions: Admissions::default(),
            listener: None,
            accept_after: None,
            rate: AcceptRate::new(limits.each_source, limits.all_sources, now()),
            places: (0..places).map(|_| (0, Place::Vacant)).collect(),
            taken: 0,
            next_serial: 0,
            client_ids: 0,
            wake: WakeSet::new(places),
            alarm: Alarm::default(),
            events: VecDeque::new(),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            counters: Counters::default(),
        })
    }

    /// Listens at `address`, and nowhere else from now on. Returns the address with its real port.
    /// Sessions that are open stay open.
    ///
    /// # Errors
    ///
    /// If the address cannot be listened at; the server then listens nowhere.
    pub async fn listen(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        self.stop_listening();
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        self.rate.listen_at(address.ip());
        self.listener = Some(listener);
        Ok(address)
    }

    /// Takes no more connections. Those that are open go on.
    pub fn stop_listening(&mut self) {
        self.listener = None;
        self.accept_after = None;
    }

    /// The network is gone: takes no more connections, and those that are open end like [`Self::close`].
    pub fn leave_network(&mut self) {
        self.stop_listening();
        for index in 0..self.places.len() {
            match &self.places[index].1 {
                Place::Live(_) => self.close_place(index, CloseReason::Ended),
                Place::Vacant | Place::Handshake(_) | Place::Lingering(_) => self.vacate(index),
            }
        }
    }

    /// Puts another list of admissions in force. Sessions whose admission is not in it any more, with the
    /// same key, login and topics, end: nothing more is taken from them, and what is queued for them is
    /// still written.
    pub fn admit(&mut self, admissions: Vec<Admission>) {
        self.admissions.replace(admissions);
        self.keys.replace(self.admissions.entries().to_vec());
        for index in 0..self.places.len() {
            let Place::Live(live) = &mut self.places[index].1 else { continue };
            let goes_on = match &live.grant {
                Some(grant) => {
                    let current = self.admissions.by_serial(grant.serial).cloned();
                    let goes_on = current.is_some();
                    live.grant = current;
                    goes_on
                }
                None => self.admissions.claimed(&live.claim).next().is_some(),
            };
            if !goes_on {
                self.counters.admissions_ended += 1;
                self.close_place(index, CloseReason::Ended);
            }
        }
    }

    /// The next event. Nothing happens at the server while this is not awaited. It may be dropped and
    /// called again at any time, as `tokio::select!` does.
    pub async fn next(&mut self) -> ServerEvent {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Sends a message to every session that is subscribed to `topic`; returns how many that are.
    pub fn publish(&mut self, topic: &str, payload: &[u8], qos: Qos) -> usize {
        let now = now();
        (0..self.taken).filter(|&index| self.publish_at(index, topic, payload, qos, now)).count()
    }

    /// Sends a message to one session; `false` if it is not subscribed to `topic` or has ended.
    pub fn publish_to(&mut self, session: SessionId, topic: &str, payload: &[u8], qos: Qos) -> bool {
        self.holds(session) && self.publish_at(session.place, topic, payload, qos, now())
    }

    /// Ends a session: nothing more is taken from it, and what is queued for it is still written.
    pub fn close(&mut self, session: SessionId) {
        if self.holds(session) {
            self.close_place(session.place, CloseReason::Ended);
        }
    }

    /// Ends everything: no connection is taken, sessions are told good-bye and get what is queued for
    /// them, for as long as `within`.
    pub async fn shut_down(mut self, within: Duration) {
        self.leave_network();
        let written = async {
            while self.places.iter().any(|(_, place)| matches!(place, Place::Live(_))) {
                self.next_or_idle().await;
            }
        };
        // Who has not read by then will not.
        let _ = tokio::time::timeout(within, written).await;
    }

    /// What has been refused so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The sessions that are logged in.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.places.iter().filter(|(_, place)| matches!(place, Place::Live(live) if live.mqtt.is_open())).count()
    }

    /// Works until something has happened or no session is left.
    async fn next_or_idle(&mut self) {
        poll_fn(|context| {
            let event = self.poll_next(context).map(|_| ());
            let live = self.places.iter().any(|(_, place)| matches!(place, Place::Live(_)));
            if live { event } else { Poll::Ready(()) }
        })
        .await;
    }

    fn holds(&self, session: SessionId) -> bool {
        self.places.get(session.place).is_some_and(|(serial, _)| *serial == session.serial)
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<ServerEvent> {
        self.wake.register(context.waker());
        let now = now();
        if self.alarm.is_due(now) {
            self.handle_deadlines(now);
        }
        self.poll_listener(context, now);
        // Each place at most once on average, so that the daemon's other work has its turn, and because
        // tokio's own budget may answer "not now" again and again until this returns.
        let mut looks = 0..self.places.len();
        loop {
            if let Some(event) = self.pop_event() {
                return Poll::Ready(event);
            }
            let Some(index) = self.wake.take() else { break };
            self.look_at(index, now);
            if looks.next().is_none() {
                context.waker().wake_by_ref();
                break;
            }
        }
        if let Some(event) = self.pop_event() {
            return Poll::Ready(event);
        }
        while let Some((_, Place::Vacant)) = self.places[..self.taken].last() {
            self.taken -= 1;
        }
        let taken = &self.places[..self.taken];
        let nearest = taken.iter().filter_map(|(_, place)| place.deadline()).chain(self.accept_after).min();
        if self.alarm.poll(nearest, now, context) {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// The oldest event that is still true: what came with the acknowledgement may have been answered
    /// since, and that answer is not acknowledged. Its own acknowledgement is another event.
    fn pop_event(&mut self) -> Option<ServerEvent> {
        loop {
            match self.events.pop_front()? {
                ServerEvent::Acknowledged { session } if self.is_unacknowledged(session) => {}
                event => return Some(event),
            }
        }
    }

    fn is_unacknowledged(&self, session: SessionId) -> bool {
        self.holds(session)
            && matches!(&self.places[session.place].1, Place::Live(live) if live.mqtt.is_unacknowledged())
    }

    fn poll_listener(&mut self, context: &mut Context<'_>, now: Instant) {
        if self.accept_after.is_some_and(|after| now < after) {
            return;
        }
        self.accept_after = None;
        for _ in 0..ACCEPTS_AT_ONCE {
            let Some(listener) = &self.listener else { return };
            match listener.poll_accept(context) {
                Poll::Pending => return,
                Poll::Ready(Ok((stream, peer))) => self.take_connection(stream, peer, now),
                Poll::Ready(Err(error)) => {
                    self.counters.accept_errors += 1;
                    debug!(target: TARGET, %error, "accept failed");
                    // The peer may have gone before it was accepted. All else is a lack of something, and
                    // strangers are the first to do without.
                    if error.kind() != io::ErrorKind::ConnectionAborted {
                        self.displace_oldest_handshake();
                        self.accept_after = Some(now + ACCEPT_PAUSE);
                        return;
                    }
                }
            }
        }
        context.waker().wake_by_ref();
    }

    fn take_connection(&mut self, stream: TcpStream, peer: SocketAddr, now: Instant) {
        let Some(origin) = self.rate.take(peer.ip(), now) else {
            self.counters.rate_limited += 1;
            debug!(target: TARGET, total = self.counters.rate_limited, "connection refused: too many");
            return;
        };
        self.counters.accepted += 1;
        let handshakes = self.places.iter().filter(|(_, place)| matches!(place, Place::Handshake(_))).count();
        if handshakes >= self.limits.handshakes {
            self.displace_oldest_handshake();
        }
        let vacant = self.places.iter().position(|(_, place)| matches!(place, Place::Vacant));
        let Some(index) = vacant else {
            self.counters.no_place += 1;
            return;
        };
        // A socket without these options still works.
        let _ = stream.set_nodelay(true);
        let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
        let _ = rustix::net::sockopt::set_tcp_keepidle(&stream, KEEP_IDLE);
        let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, USER_TIMEOUT_MS);
        let within = self.limits.handshake_within;
        let origin = (peer.ip(), origin);
        let handshake = self.tls.accept().and_then(|ssl| Handshake::new(ssl, stream, origin, now, within));
        match handshake {
            Ok(handshake) => {
                self.next_serial += 1;
                self.places[index] = (self.next_serial, Place::Handshake(handshake));
                self.taken = self.taken.max(index + 1);
                self.wake.mark(index);
            }
            Err(error) => {
                self.counters.accept_errors += 1;
                debug!(target: TARGET, %error, "no TLS for a connection");
            }
        }
    }

    fn look_at(&mut self, index: usize, now: Instant) {
        let open = self.open_sessions(index);
        let mut context = Context::from_waker(self.wake.waker(index));
        match &mut self.places[index].1 {
            Place::Vacant => {}
            Place::Handshake(handshake) => match handshake.poll(&mut context) {
                None => {}
                Some(true) => self.finish_handshake(index, now),
                Some(false) => {
                    self.counters.handshakes_failed += 1;
                    debug!(target: TARGET, total = self.counters.handshakes_failed, "handshake failed");
                    self.vacate(index);
                }
            },
            Place::Live(live) => {
                let mut gate = Gate {
                    admissions: &self.admissions,
                    claim: live.claim.clone(),
                    grant: None,
                    open,
                    client_ids: &mut self.client_ids,
                };
                let progress = live.poll(&mut context, &mut self.scratch, now, &mut gate);
                self.collect_events(index, now);
                match progress {
                    Progress::Waiting => {}
                    Progress::Again => self.wake.mark(index),
                    Progress::Finished => self.linger(index, now),
                    Progress::Gone => self.vacate(index),
                }
            }
            Place::Lingering(lingering) => {
                if lingering.poll(&mut context, &mut self.scratch) {
                    self.vacate(index);
                }
            }
        }
    }

    /// Entry and client id of the open sessions, if the one at `index` has yet to log in.
    fn open_sessions(&self, index: usize) -> Vec<(u64, String)> {
        if !matches!(&self.places[index].1, Place::Live(live) if live.grant.is_none()) {
            return Vec::new();
        }
        let open = self.places.iter().filter_map(|(_, place)| match place {
            Place::Live(live) if live.mqtt.is_open() => Some((live.grant.as_ref()?.serial, live.client_id.clone())),
            Place::Vacant | Place::Handshake(_) | Place::Live(_) | Place::Lingering(_) => None,
        });
        open.collect()
    }

    fn finish_handshake(&mut self, index: usize, now: Instant) {
        let Place::Handshake(handshake) = std::mem::replace(&mut self.places[index].1, Place::Vacant) else { return };
        let Claim(Some(claim)) = self.tls.claim(handshake.ssl()) else {
            self.counters.handshakes_failed += 1;
            return;
        };
        if self.admissions.is_watched(&claim) {
            // The client has seen a handshake that is complete: who holds the key may know that it is
            // known. Nothing that it sends is read.
            self.counters.watched += 1;
            self.events.push_back(ServerEvent::Refused { psk_identity: claim.admission.psk_identity.clone() });
            return;
        }
        if self.admissions.claimed(&claim).next().is_none() {
            // Removed between its ClientHello and its Finished.
            self.counters.admissions_ended += 1;
            return;
        }
        self.counters.handshakes += 1;
        let places = self.places.iter().map(|(_, place)| place);
        let sessions = places.filter(|place| matches!(place, Place::Live(_) | Place::Lingering(_))).count();
        if sessions >= self.limits.sessions && !self.vacate_ending() && !self.vacate_greediest(&claim) {
            self.counters.no_place += 1;
            debug!(target: TARGET, total = self.counters.no_place, "session refused: all places taken");
            return;
        }
        self.places[index].1 = Place::Live(Box::new(handshake.into_live(claim, self.limits.session, now)));
        self.wake.mark(index);
    }

    /// Turns what a session reports into events of the server.
    fn collect_events(&mut self, index: usize, now: Instant) {
        let (serial, place) = &mut self.places[index];
        let Place::Live(live) = place else { return };
        let session = SessionId { place: index, serial: *serial };
        let mut opened = None;
        while let Some(event) = live.mqtt.poll_event() {
            match event {
                Event::Connected { client_id } => {
                    let Some(grant) = &live.grant else { continue };
                    live.client_id = client_id;
                    live.announced = true;
                    opened = Some(grant.clone());
                    self.counters.opened += 1;
                    self.rate.prove(live.peer, now);
                    let psk_identity = grant.admission.psk_identity.clone();
                    self.events.push_back(ServerEvent::Opened { session, psk_identity });
                }
                Event::Subscribed { .. } => self.events.push_back(ServerEvent::Subscribed { session }),
                Event::Unsubscribed { .. } => {}
                Event::Published(message) => {
                    self.counters.published += 1;
                    self.events.push_back(ServerEvent::Published { session, message });
                }
                Event::Acknowledged => self.events.push_back(ServerEvent::Acknowledged { session }),
                Event::Rejected(rejection) => {
                    self.counters.count_rejection(rejection);
                    debug!(target: TARGET, ?rejection, "not allowed");
                }
            }
        }
        self.note_close(index, now);
        if let Some(entry) = opened {
            self.displace_sessions(index, entry.serial, entry.admission.max_sessions);
        }
    }

    fn publish_at(&mut self, index: usize, topic: &str, payload: &[u8], qos: Qos, now: Instant) -> bool {
        let Place::Live(live) = &mut self.places[index].1 else { return false };
        if !live.mqtt.is_subscribed(topic) {
            return false;
        }
        let gate = Gate {
            admissions: &self.admissions,
            claim: live.claim.clone(),
            grant: live.grant.clone(),
            open: Vec::new(),
            client_ids: &mut self.client_ids,
        };
        let delivery = live.mqtt.publish(topic, payload, qos, now, &gate);
        // At once: an answer must not wait for what the daemon does next. Whatever is left, and a client
        // that is gone, is seen when the place has its turn.
        let written = live.write(&mut Context::from_waker(self.wake.waker(index)), now);
        if !written || !live.mqtt.output().is_empty() {
            self.wake.mark(index);
        }
        self.note_close(index, now);
        delivery == Delivery::Queued
    }

    fn close_place(&mut self, index: usize, reason: CloseReason) {
        let now = now();
        if let Place::Live(live) = &mut self.places[index].1 {
            live.close(reason, now);
            self.note_close(index, now);
            self.wake.mark(index);
        }
    }

    /// Once for each session that has come to its end, whoever ended it.
    fn note_close(&mut self, index: usize, now: Instant) {
        let (serial, place) = &mut self.places[index];
        let Place::Live(live) = place else { return };
        let Some(reason) = live.mqtt.closing() else { return };
        if live.counted {
            return;
        }
        live.counted = true;
        live.close(reason, now);
        self.wake.mark(index);
        self.counters.count_close(reason);
        debug!(target: TARGET, ?reason, "session ends");
        if reason == CloseReason::Ended || reason == CloseReason::TakenOver {
            // What the daemon has not seen yet comes from somebody who is not welcome any more.
            let ended = SessionId { place: index, serial: *serial };
            self.events.retain(|event| event.session() != Some(ended) || matches!(event, ServerEvent::Opened { .. }));
        }
    }

    fn linger(&mut self, index: usize, now: Instant) {
        self.announce_end(index);
        let (_, place) = &mut self.places[index];
        if let Place::Live(live) = std::mem::replace(place, Place::Vacant) {
            *place = Place::Lingering(live.into_lingering(now));
            self.wake.mark(index);
        }
    }

    fn vacate(&mut self, index: usize) {
        self.announce_end(index);
        self.places[index].1 = Place::Vacant;
    }

    fn announce_end(&mut self, index: usize) {
        let (serial, place) = &mut self.places[index];
        if let Place::Live(live) = place
            && live.announced
        {
            live.announced = false;
            self.events.push_back(ServerEvent::Closed { session: SessionId { place: index, serial: *serial } });
        }
    }

    fn handle_deadlines(&mut self, now: Instant) {
        for index in 0..self.places.len() {
            if self.places[index].1.deadline().is_none_or(|deadline| now < deadline) {
                continue;
            }
            match &mut self.places[index].1 {
                Place::Vacant => {}
                Place::Handshake(_) => {
                    self.counters.handshakes_late += 1;
                    self.vacate(index);
                }
                Place::Live(live) if live.close_by.is_some() => self.vacate(index),
                Place::Live(live) => {
                    live.mqtt.handle_deadline(now);
                    self.note_close(index, now);
                }
                Place::Lingering(_) => self.vacate(index),
            }
        }
    }
}

const TARGET: &str = "sectd::local_server";
/// What one read takes at most: one of the largest SecT messages, with room to spare.
const SCRATCH_BYTES: usize = 4096;
/// Connections that the kernel keeps for us.
const BACKLOG: u32 = 64;
/// Connections taken before the sessions have their turn.
const ACCEPTS_AT_ONCE: usize = 8;
/// How long no connection is taken after accept has failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

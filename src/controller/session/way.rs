//! One way to a thing: on its way, open, or not there and why.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::{SessionError, failure};
use crate::controller::cloud;
use crate::controller::exit::{Exit, Failure};
use crate::controller::keyring::Entry;
use crate::controller::reach::{self, Reached, Search, Ways};
use crate::mqtt::client::{Delivery, Happening, Link, LinkError, Publication};
use crate::proto::controller::{Path, RequestHandle};
use crate::proto::pairing::message::CloudServer;
use crate::proto::time::Micros;

/// How long the subscription on the home network may take.
const SUBSCRIBE: Duration = Duration::from_secs(5);
/// How long one step of the way to a cloud server may take at most.
const CLOUD_STEP: Duration = Duration::from_secs(5);
/// A cloud server that did not do is tried again after this long, where that makes sense.
const CLOUD_RETRY: Duration = Duration::from_secs(2);
/// Requests whose sending is remembered.
const REMEMBERED: usize = 8;

/// So long the home network may answer alone where the thing has an address there: a cloud server need not
/// hear of each command at home, and its handshake is work (protocol section 10.6).
const HEAD_START: Duration = Duration::from_millis(250);
/// A way that was lost while another one is open is tried again after this long.
const REOPEN: Duration = Duration::from_secs(15);

/// A link, where it leads on the home network, and the topic to publish to.
type Opened = (Link, Option<SocketAddr>, String);
type Opening = LocalBoxFuture<'static, Result<Opened, Failure>>;

/// One way.
pub(super) struct Way {
    pub(super) path: Path,
    /// Opens it, as often as that is wanted.
    open: Box<dyn Fn() -> Opening>,
    /// Where it leads: an address, or a host and its port; empty until it is known.
    pub(super) at: String,
    state: State,
    /// Until when it leaves the start to another way.
    held: Option<Pin<Box<Sleep>>>,
    /// When each request left by this way for the first time.
    sent: Vec<(RequestHandle, Micros)>,
    /// How long the answers took that came this way.
    answered: Vec<(RequestHandle, Duration)>,
}

enum State {
    Opening(Opening),
    Open { link: Link, address: Option<SocketAddr>, publish_to: String },
    Closed(Failure),
}

/// What happened on a way.
pub(super) enum News {
    /// It is open.
    Opened,
    /// The thing, or who pretends to be it, said something.
    Message(Publication),
    /// It did not open, which its state tells; or it was lost, for this reason.
    Closed(Option<LinkError>),
}

impl Way {
    /// All ways to a thing, each being opened; those through cloud servers a little later where the home network
    /// may do.
    pub(super) fn all(entry: &Entry, search: &Search) -> Vec<Self> {
        let mut ways = Vec::new();
        let mut start = None;
        if search.ways != Ways::Remote {
            ways.push(Self::local(entry.clone(), search.clone()));
            start = search.has_address(&entry.binding.thing).then(|| Instant::now() + HEAD_START);
        }
        if search.ways != Ways::Local {
            let cloud = |server: &CloudServer| Self {
                held: start.map(|start| Box::pin(sleep_until(start))),
                ..Self::cloud(entry.clone(), server.clone(), search.clone())
            };
            ways.extend(entry.binding.clouds.iter().map(cloud));
        }
        ways
    }

    fn local(entry: Entry, search: Search) -> Self {
        Self::new(Path::Local, String::new(), move || open_local(entry.clone(), search.clone()).boxed_local())
    }

    fn cloud(entry: Entry, server: CloudServer, search: Search) -> Self {
        let at = cloud::place(&server);
        Self::new(Path::Cloud, at, move || open_cloud(entry.clone(), server.clone(), search.clone()).boxed_local())
    }

    fn new(path: Path, at: String, open: impl Fn() -> Opening + 'static) -> Self {
        let state = State::Opening(open());
        Self { path, open: Box::new(open), at, state, held: None, sent: Vec::new(), answered: Vec::new() }
    }

    /// Whoever had the start did not do.
    pub(super) fn release(&mut self) {
        self.held = None;
    }

    /// Tries once more, a little later.
    pub(super) fn reopen(&mut self) {
        let opening = (self.open)();
        self.state = State::Opening(sleep(REOPEN).then(move |()| opening).boxed_local());
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// Whether anything can still come by it.
    pub(super) fn has_hope(&self) -> bool {
        !matches!(self.state, State::Closed(_))
    }

    /// Where the thing is on the home network, if this way leads there.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self.state {
            State::Open { address, .. } => address,
            _ => None,
        }
    }

    /// Why it is closed.
    pub(super) fn closed(&self) -> Option<&Failure> {
        match &self.state {
            State::Closed(failure) => Some(failure),
            _ => None,
        }
    }

    /// Why no answer came by it.
    pub(super) fn problem(&self) -> String {
        match (&self.state, self.path) {
            (State::Closed(failure), _) => failure.message.clone(),
            (State::Open { .. }, _) => "connected, but the plug does not answer there".to_owned(),
            (State::Opening(_), Path::Local) => "not found on this network so far".to_owned(),
            (State::Opening(_), Path::Cloud) => "not connected so far".to_owned(),
        }
    }

    /// Sends if it is open; what does not leave now is sent again a second later.
    pub(super) fn publish(&mut self, handle: RequestHandle, payload: Vec<u8>, now: Micros) {
        let State::Open { link, publish_to, .. } = &self.state else { return };
        if link.try_publish(publish_to, Delivery::AtMostOnce, payload)
            && !self.sent.iter().any(|(sent, _)| *sent == handle)
        {
            remember(&mut self.sent, (handle, now));
        }
    }

    /// An answer to this request came this way.
    pub(super) fn heard(&mut self, handle: RequestHandle, now: Micros) {
        let sent = self.sent.iter().find(|(sent, _)| *sent == handle);
        if let Some((_, at)) = sent
            && self.round_trip(handle).is_none()
        {
            remember(&mut self.answered, (handle, now.since(*at)));
        }
    }

    /// How long this way took for the request and its answer.
    pub(super) fn round_trip(&self, handle: RequestHandle) -> Option<Duration> {
        self.answered.iter().find(|(answered, _)| *answered == handle).map(|(_, time)| *time)
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<News> {
        if let Some(held) = &mut self.held {
            ready!(held.as_mut().poll(context));
            self.held = None;
        }
        match &mut self.state {
            State::Opening(opening) => match ready!(opening.poll_unpin(context)) {
                Ok((link, address, publish_to)) => {
                    if let Some(address) = address {
                        self.at = address.to_string();
                    }
                    self.state = State::Open { link, address, publish_to };
                    Poll::Ready(News::Opened)
                }
                Err(failure) => {
                    tracing::debug!(%failure, "no way");
                    self.state = State::Closed(failure);
                    Poll::Ready(News::Closed(None))
                }
            },
            State::Open { link, .. } => loop {
                match ready!(link.poll_happening(context)) {
                    Ok(Happening::Publication(publication)) => return Poll::Ready(News::Message(publication)),
                    Ok(Happening::Subscribed { .. }) => {}
                    Err(error) => {
                        self.state = State::Closed(Failure::new(Exit::Timeout, error.to_string()));
                        return Poll::Ready(News::Closed(Some(error)));
                    }
                }
            },
            State::Closed(_) => Poll::Pending,
        }
    }

    /// Says goodbye.
    pub(super) async fn close(self) {
        if let State::Open { link, .. } = self.state {
            link.close().await;
        }
    }
}

async fn open_local(entry: Entry, search: Search) -> Result<Opened, Failure> {
    let Reached { mut link, address, publish_to, listen_on } = reach::reach(&entry, &search).await?;
    link.subscribe(&listen_on, Delivery::AtMostOnce, SUBSCRIBE)
        .await
        .map_err(|error| failure(entry.alias.as_str(), &SessionError::Link(error)))?;
    Ok((link, Some(address), publish_to))
}

async fn open_cloud(entry: Entry, server: CloudServer, search: Search) -> Result<Opened, Failure> {
    let deadline = Instant::now() + search.patience;
    let patience = CLOUD_STEP.min(search.patience);
    loop {
        match cloud::open(&entry.binding, &server, patience).await {
            Ok((link, topic)) => return Ok((link, None, topic.c2t())),
            // The thing may be about to register this controller.
            Err(error) if search.insist && Instant::now() + CLOUD_RETRY < deadline => {
                tracing::debug!(server = server.host, %error, "not reached");
                sleep(CLOUD_RETRY).await;
            }
            Err(error) => return Err(cloud::failure(&server, &error)),
        }
    }
}

fn remember<T>(list: &mut Vec<T>, item: T) {
    if list.len() == REMEMBERED {
        list.remove(0);
    }
    list.push(item);
}

//! One bound thing, asked by all ways (SecT STEP 12-15): the machine decides, this moves the bytes and
//! waits.
//!
//! The home network has a short start where the thing has an address there. The same bytes go out on each way as soon as it is open, and the first answer completes a request; the
//! answer by a second way shows that both work (protocol section 6).

mod way;

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use self::way::{News, Way};
use super::clock::{self, Rng};
use super::exit::{Exit, Failure};
use super::keyring::{Entry, KeyringError, Locked};
use super::reach::{Search, Ways};
use crate::mqtt::client::LinkError;
use crate::proto::controller::{Controller, ControllerEvent, Ignored, Keychain, Path, RequestHandle, Verdict, WAIT};
use crate::proto::envelope::Unopened;
use crate::proto::keys::MasterKey;
use crate::proto::message::{EVENT_REKEY_DUE, ReturnCode, State};
use crate::proto::operation::Operation;
use crate::proto::time::Micros;

/// How long the answers by the other ways are waited for after the first one.
const FURTHER_ANSWERS: Duration = Duration::from_millis(1500);
/// Requests whose bytes are kept for a way that opens late.
const REMEMBERED: usize = 8;

/// All ways to a thing, with the machine above them.
pub struct Session {
    ways: Vec<Way>,
    controller: Controller,
    rng: Rng,
    /// What was sent in the last 10 s, and when.
    sent: VecDeque<(RequestHandle, Vec<u8>, Micros)>,
    /// The newest request that was answered.
    answered: Option<RequestHandle>,
    events: VecDeque<ControllerEvent>,
    /// Whether a way that is lost is opened again while another one is open; says whether another process has
    /// updated the keys.
    lasts: Option<Box<dyn Fn() -> bool>>,
    /// Whether the keys of this session are past.
    outdated: bool,
    /// Whether the thing wants its key updated.
    key_is_due: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// What the thing answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// How the request ended.
    pub rc: ReturnCode,
    /// The newest state known.
    pub state: State,
    /// From the request to the answer.
    pub round_trip: Duration,
    /// How long the outlet has been in that state, where thing time is known.
    pub lasting: Option<Duration>,
    /// The way by which the answer came first.
    pub path: Path,
    /// Where the thing is on the home network, where it was reached there.
    pub address: Option<SocketAddr>,
    /// What the operation gave back, or a `status` told beyond the state, as JSON.
    pub result: Option<String>,
    /// Where the thing itself stands with its cloud servers, where it tells.
    pub clouds: Vec<CloudState>,
}

impl Answer {
    /// Reads what the operation gave back.
    ///
    /// # Errors
    ///
    /// A [`Failure`] when the thing gave nothing, or something that this version does not understand.
    pub fn read<R: DeserializeOwned>(&self) -> Result<R, Failure> {
        let read = self.result.as_deref().and_then(|text| serde_json::from_str(text).ok());
        read.ok_or_else(|| Failure::new(Exit::Other, "the plug's answer is not understood").next("update `sect`"))
    }
}

/// Where a thing stands with one of its cloud servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudState {
    /// The server.
    pub host: String,
    /// One word for it; `registered` is as it should be.
    pub state: String,
}

/// What an answer to `status` tells beyond the state; what a newer thing adds is not understood here.
#[derive(Default, Deserialize)]
struct StatusResult {
    #[serde(default)]
    clouds: Vec<CloudState>,
}

impl CloudState {
    /// What it means, for people; nothing when all is well.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        Some(match self.state.as_str() {
            "registered" => return None,
            "connecting" => "it is still connecting",
            "registering" => "it is still registering",
            "topic-refused" => "the server gave one of its topics to another plug",
            "clone" => "another plug registers under its name: its card was copied, or an old copy restored",
            "dns" => "it cannot look the server's name up",
            "unreachable" => "it cannot reach the server",
            "wrong-name" => "the server shows it a certificate for another name",
            "wrong-authority" => "the server shows it a certificate of another authority",
            "tls" => "its TLS handshake with the server fails",
            "refused" => "the server refuses its device certificate, its login or its list",
            "lost" => "it has lost the connection and tries again",
            other => other,
        })
    }
}

/// How one way did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayReport {
    /// Which kind of way.
    pub path: Path,
    /// Where it leads, where that is known.
    pub at: String,
    /// How long the answer took by this way, or why there was none.
    pub outcome: Result<Duration, String>,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The last way has ended.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The thing did not answer; the request has not switched anything and never will.
    #[error("no answer")]
    Silent,
    /// The thing did not say whether it ran; this is what it says now, if it says anything.
    #[error("no answer, and nobody knows whether it ran")]
    Unknown(Option<Box<Answer>>),
}

/// Why there is no new key.
#[derive(Debug, Error)]
pub enum UpdateError {
    /// The thing did not answer; an update that was begun is finished with the next request.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The thing does not update keys.
    #[error("the thing does not update its key")]
    Refused(ReturnCode),
    /// The new key could not be kept, so the thing was not told of it.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
}

impl Session {
    /// Opens the ways that are wanted, and returns when one is open; the others follow by themselves.
    ///
    /// # Errors
    ///
    /// A [`Failure`] in a householder's words when none opens.
    pub async fn open(entry: &Entry, search: &Search) -> Result<Self, Failure> {
        if search.ways == Ways::Remote && entry.binding.clouds.is_empty() {
            return Err(Failure::new(Exit::Usage, format!("{} has no cloud server", entry.alias))
                .next("leave out --remote; a plug names its cloud servers when it is paired"));
        }
        let mut session = Self::over(Way::all(entry, search), entry);
        while !session.ways.iter().any(Way::is_open) {
            if !session.ways.iter().any(Way::has_hope) {
                return Err(session.no_way());
            }
            session.next_news().await;
        }
        Ok(session)
    }

    fn over(ways: Vec<Way>, entry: &Entry) -> Self {
        let binding = &entry.binding;
        Self {
            ways,
            controller: Controller::new(binding.keychain()),
            rng: clock::rng(),
            sent: VecDeque::new(),
            answered: None,
            events: VecDeque::new(),
            lasts: None,
            outdated: false,
            key_is_due: false,
        }
    }

    /// From now on a way that is lost, or was not there, is tried again while another one is open. The session
    /// ends when something comes under an unknown key and `is_outdated` says that the keyring has a newer one.
    #[must_use]
    pub fn lasting_long(mut self, is_outdated: impl Fn() -> bool + 'static) -> Self {
        self.lasts = Some(Box::new(is_outdated));
        self.ways.iter_mut().filter(|way| !way.has_hope()).for_each(Way::reopen);
        self
    }

    /// Asks for the state.
    ///
    /// # Errors
    ///
    /// [`SessionError`].
    pub async fn status(&mut self) -> Result<Answer, SessionError> {
        let asked = self.controller.ask_status(clock::now(), &mut self.rng);
        self.status_answer(asked).await?.ok_or(SessionError::Silent)
    }

    /// Asks the thing to do something.
    ///
    /// # Errors
    ///
    /// [`SessionError`].
    pub async fn request(&mut self, operation: Operation) -> Result<Answer, SessionError> {
        let asked = self.controller.request(operation, clock::now(), &mut self.rng);
        loop {
            match self.next_event().await? {
                ControllerEvent::Answered { handle, rc, state, result, round_trip, path } if handle == asked => {
                    return Ok(Answer { result, ..self.answer(rc, state, round_trip, path) });
                }
                ControllerEvent::NotSent { handle } | ControllerEvent::Replaced { handle } if handle == asked => {
                    return Err(SessionError::Silent);
                }
                ControllerEvent::Unknown { handle, question } if handle == asked => {
                    let now = self.status_answer(question).await?;
                    return Err(SessionError::Unknown(now.map(Box::new)));
                }
                _ => {}
            }
        }
    }

    /// Updates the master key. `keep` makes the candidate durable beside the present one; what the machine
    /// holds afterwards is [`Self::keychain`], whatever this returns.
    ///
    /// # Errors
    ///
    /// [`UpdateError`].
    pub async fn update_keys(
        &mut self,
        mut keep: impl FnMut(&MasterKey) -> Result<(), KeyringError>,
    ) -> Result<(), UpdateError> {
        let asked = self.controller.update_keys(clock::now(), &mut self.rng);
        loop {
            match self.next_event().await.map_err(SessionError::from)? {
                ControllerEvent::Persist { handle, candidate } if handle == asked => {
                    let kept = keep(&candidate);
                    match &kept {
                        Ok(()) => self.controller.persisted(clock::now(), &mut self.rng),
                        Err(_) => self.controller.not_persisted(clock::now(), &mut self.rng),
                    }
                    kept?;
                }
                ControllerEvent::KeysUpdated { handle, .. } if handle == Some(asked) => {
                    self.key_is_due = false;
                    return Ok(());
                }
                ControllerEvent::UpdateRefused { handle, rc } if handle == asked => {
                    return Err(UpdateError::Refused(rc));
                }
                ControllerEvent::UpdateUnanswered { handle } | ControllerEvent::NotSent { handle }
                    if handle == asked =>
                {
                    return Err(SessionError::Silent.into());
                }
                _ => {}
            }
        }
    }

    /// The master keys as the machine holds them.
    #[must_use]
    pub fn keychain(&self) -> &Keychain {
        self.controller.keychain()
    }

    /// Whether the thing has said that its key is to be updated.
    #[must_use]
    pub const fn key_is_due(&self) -> bool {
        self.key_is_due
    }

    /// Whether a cloud server does not know this controller.
    #[must_use]
    pub fn is_refused_from_elsewhere(&self) -> bool {
        let denied = |way: &Way| way.closed().is_some_and(|failure| failure.exit == Exit::Denied);
        self.ways.iter().any(|way| way.path == Path::Cloud && denied(way))
    }

    /// How each way did for the newest answered request; waits a little for those that have not answered
    /// yet (SecT STEP 15: two identical answers mean that both paths work).
    pub async fn ways(&mut self) -> Vec<WayReport> {
        let deadline = Instant::now() + FURTHER_ANSWERS;
        let Some(handle) = self.answered else { return Vec::new() };
        while self.ways.iter().any(|way| way.has_hope() && way.round_trip(handle).is_none()) {
            // What else happens meanwhile is nobody's question. Without any way left there is nothing to wait for.
            if !matches!(timeout_at(deadline, self.next_event()).await, Ok(Ok(_))) {
                break;
            }
        }
        let report = |way: &Way| WayReport {
            path: way.path,
            at: way.at.clone(),
            outcome: way.round_trip(handle).ok_or_else(|| way.problem()),
        };
        self.ways.iter().map(report).collect()
    }

    /// That the thing did not say how it is, and what became of each way.
    #[must_use]
    pub fn unanswered(&self, alias: &str) -> Failure {
        let ways: Vec<_> = self.ways.iter().map(Way::problem).collect();
        Failure::new(Exit::Timeout, format!("{alias} does not answer: {}", ways.join("; and from elsewhere: ")))
            .next("has it power, and is the router that it is joined to on? Its display tells where it stands")
    }

    /// Waits for whatever happens next.
    ///
    /// # Errors
    ///
    /// [`LinkError`] when the last way has ended.
    pub async fn next_event(&mut self) -> Result<ControllerEvent, LinkError> {
        loop {
            if self.outdated {
                return Err(LinkError::Lost("the keys are new".to_owned()));
            }
            self.transmit();
            if let Some(event) = self.events.pop_front().or_else(|| self.controller.poll_event()) {
                return Ok(event);
            }
            let alarm = self.controller.poll_timeout();
            let alarm = async {
                match alarm {
                    Some(at) => sleep(at.since(clock::now())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                news = next_news(&mut self.ways) => self.handle_news(news)?,
                () = alarm => self.controller.handle_timeout(clock::now(), &mut self.rng),
            }
        }
    }

    /// How long a state has lasted that began at `since`, in thing time.
    #[must_use]
    pub fn lasting(&self, since: Micros) -> Option<Duration> {
        self.controller.thing_time(clock::now()).map(|time| time.since(since))
    }

    /// Says goodbye.
    pub async fn close(self) {
        futures_util::future::join_all(self.ways.into_iter().map(Way::close)).await;
    }

    async fn next_news(&mut self) {
        let news = next_news(&mut self.ways).await;
        // Nothing was sent yet, so that nothing can be lost.
        let _ = self.handle_news(news);
    }

    fn handle_news(&mut self, (place, news): (usize, News)) -> Result<(), LinkError> {
        if let News::Closed(_) = news {
            self.ways.iter_mut().for_each(Way::release);
        }
        match news {
            News::Opened => {
                let now = clock::now();
                for (handle, payload, at) in &self.sent {
                    if now.since(*at) < WAIT {
                        self.ways[place].publish(*handle, payload.clone(), now);
                    }
                }
                Ok(())
            }
            News::Message(publication) => {
                self.handle_message(place, &publication.payload);
                Ok(())
            }
            News::Closed(_) if self.lasts.is_some() && self.ways.iter().any(Way::is_open) => {
                self.ways[place].reopen();
                Ok(())
            }
            News::Closed(Some(error)) if self.lasts.is_some() || !self.ways.iter().any(Way::has_hope) => Err(error),
            News::Closed(None) if !self.ways.iter().any(Way::has_hope) => {
                Err(LinkError::Lost("no way is left".to_owned()))
            }
            News::Closed(_) => Ok(()),
        }
    }

    fn handle_message(&mut self, place: usize, payload: &[u8]) {
        let now = clock::now();
        let path = self.ways[place].path;
        let verdict = self.controller.handle_message(path, payload, now, &mut self.rng);
        match verdict {
            Verdict::Ignored(reason) => {
                tracing::debug!(%reason, ?path, "message ignored");
                let unknown = reason == Ignored::Unopened(Unopened::UnknownKid);
                self.outdated |= unknown && self.lasts.as_ref().is_some_and(|is_outdated| is_outdated());
            }
            taken => tracing::trace!(?taken, ?path, "message taken"),
        }
        // A second cloud server is no second path for the machine, but its answer says that it works.
        if let (Verdict::Ignored(Ignored::AnsweredBefore), Some(handle)) = (verdict, self.answered) {
            self.ways[place].heard(handle, now);
        }
        while let Some(event) = self.controller.poll_event() {
            match &event {
                ControllerEvent::Answered { handle, .. } | ControllerEvent::Status { handle, .. } => {
                    self.answered = Some(*handle);
                    self.ways[place].heard(*handle, now);
                }
                ControllerEvent::BothPaths { handle, .. } => self.ways[place].heard(*handle, now),
                ControllerEvent::Told { k: EVENT_REKEY_DUE, .. } => self.key_is_due = true,
                _ => {}
            }
            self.events.push_back(event);
        }
    }

    /// The same bytes on every way that is open; on the others as soon as they are.
    fn transmit(&mut self) {
        let now = clock::now();
        while let Some(transmit) = self.controller.poll_transmit(now) {
            tracing::trace!(attempt = transmit.attempt, "request sent");
            for way in &mut self.ways {
                way.publish(transmit.handle, transmit.payload.clone(), now);
            }
            self.sent.retain(|(_, payload, _)| *payload != transmit.payload);
            if self.sent.len() == REMEMBERED {
                self.sent.pop_front();
            }
            self.sent.push_back((transmit.handle, transmit.payload, now));
        }
    }

    /// Why there is no way at all.
    fn no_way(&self) -> Failure {
        let closed = |path| self.ways.iter().filter(move |way| way.path == path).find_map(Way::closed);
        match (closed(Path::Local), closed(Path::Cloud)) {
            (Some(local), Some(cloud)) => {
                // What a cloud server says of this controller, or of itself, weighs more than that nobody is at home.
                let weighs = matches!(cloud.exit, Exit::Denied | Exit::Crypto);
                let (exit, next) = if weighs { (cloud.exit, &cloud.next) } else { (local.exit, &local.next) };
                let message = format!("{}; and from elsewhere: {}", local.message, cloud.message);
                Failure { exit, message, next: next.clone() }
            }
            (Some(only), None) | (None, Some(only)) => only.clone(),
            (None, None) => Failure::new(Exit::NotFound, "there is no way to it"),
        }
    }

    async fn status_answer(&mut self, asked: RequestHandle) -> Result<Option<Answer>, SessionError> {
        loop {
            match self.next_event().await? {
                ControllerEvent::Status { handle, rc, state, result, round_trip, path } if handle == asked => {
                    let told = result.as_deref().and_then(|text| serde_json::from_str::<StatusResult>(text).ok());
                    let clouds = told.unwrap_or_default().clouds;
                    return Ok(Some(Answer { clouds, result, ..self.answer(rc, state, round_trip, path) }));
                }
                ControllerEvent::StatusUnanswered { handle } if handle == asked => return Ok(None),
                _ => {}
            }
        }
    }

    fn answer(&self, rc: ReturnCode, state: State, round_trip: Duration, path: Path) -> Answer {
        let lasting = self.lasting(state.since);
        let address = self.ways.iter().find_map(Way::address);
        Answer { rc, state, round_trip, lasting, path, address, result: None, clouds: Vec::new() }
    }
}

/// The next thing that happens on any way, and on which.
async fn next_news(ways: &mut [Way]) -> (usize, News) {
    poll_fn(|context| {
        for (place, way) in ways.iter_mut().enumerate() {
            if let Poll::Ready(news) = way.poll(context) {
                return Poll::Ready((place, news));
            }
        }
        Poll::Pending
    })
    .await
}

/// Runs a request for at most `patience`, where the user gave one.
///
/// # Errors
///
/// A [`Failure`] in a householder's words.
pub async fn within<T>(
    alias: &str,
    patience: Option<Duration>,
    request: impl Future<Output = Result<T, SessionError>>,
) -> Result<T, Failure> {
    let outcome = match patience {
        Some(patience) => timeout(patience, request).await.unwrap_or(Err(SessionError::Unknown(None))),
        None => request.await,
    };
    outcome.map_err(|error| failure(alias, &error))
}

/// Any answer shows that the thing kept its side of the pairing (protocol section 7).
///
/// # Errors
///
/// [`KeyringError`].
pub fn confirm(place: &Locked<'_>, entry: &mut Entry) -> Result<(), KeyringError> {
    if entry.confirm() { place.save(entry) } else { Ok(()) }
}

/// Whether the thing did what it was asked.
///
/// # Errors
///
/// A [`Failure`] in a householder's words.
pub fn accepted(alias: &str, answer: Answer) -> Result<Answer, Failure> {
    let failure = match answer.rc {
        ReturnCode::Ok => return Ok(answer),
        ReturnCode::Forbidden => Failure::new(Exit::Denied, format!("{alias} does not let you do that")).next(
            "its owner can give you another role; in its own network, after a long press, it takes another home \
                   network and nothing else",
        ),
        ReturnCode::Stale => {
            Failure::new(Exit::Timeout, format!("{alias} got the command too late and did not run it"))
                .next("try again")
        }
        ReturnCode::Busy => {
            Failure::new(Exit::Other, format!("{alias} has too much to do")).next("try again in a minute")
        }
        ReturnCode::Epoch => {
            Failure::new(Exit::Crypto, format!("{alias} wants its keys renewed first")).next("`sect rekey` renews them")
        }
        ReturnCode::Conflict => Failure::new(Exit::Other, format!("{alias} says that this contradicts its state")),
        ReturnCode::Storage => {
            Failure::new(Exit::Other, format!("{alias} could not switch for sure: it may be on or off now"))
                .next("look at it and try again; if that does not help, its hardware may be worn out")
        }
        ReturnCode::NotFound => Failure::new(Exit::NotFound, format!("{alias} does not have that")),
        ReturnCode::BadRequest | ReturnCode::Unsupported => {
            Failure::new(Exit::Other, format!("{alias} does not understand that")).next("update one of the two")
        }
    };
    Err(failure)
}

/// What an unanswered request means.
#[must_use]
pub fn failure(alias: &str, error: &SessionError) -> Failure {
    match error {
        SessionError::Link(error @ LinkError::SubscriptionRefused) => {
            Failure::new(Exit::Denied, format!("{alias}: {error}"))
        }
        SessionError::Link(error) => {
            Failure::new(Exit::Timeout, format!("{alias}: {error}")).next("`sect status` tells what became of it")
        }
        SessionError::Silent => Failure::new(Exit::Timeout, format!("{alias} did not answer; nothing was switched"))
            .next("try again, closer to the router if it is on Wi-Fi"),
        SessionError::Unknown(None) => {
            Failure::new(Exit::Timeout, format!("{alias} did not answer: it may have switched or not"))
                .next("`sect status` tells, once it answers again")
        }
        SessionError::Unknown(Some(answer)) => {
            let state = if answer.state.on { "on" } else { "off" };
            Failure::new(Exit::Timeout, format!("{alias} did not answer that in time; it is {state} now"))
        }
    }
}

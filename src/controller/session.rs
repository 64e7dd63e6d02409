//! One bound thing, asked over one link (SecT STEP 12-15): the machine decides, this moves the bytes
//! and waits.

use std::time::Duration;

use thiserror::Error;
use tokio::time::{sleep, timeout};

use super::clock::{self, Rng};
use super::exit::{Exit, Failure};
use super::keyring::{Entry, KeyringError, Locked};
use crate::mqtt::client::{Delivery, Link, LinkError};
use crate::proto::controller::{Controller, ControllerEvent, Path, RequestHandle, Verdict};
use crate::proto::message::{Operation, ReturnCode, State};
use crate::proto::pairing::binding::Binding;
use crate::proto::time::Micros;

/// How long the subscription may take.
const SUBSCRIBE: Duration = Duration::from_secs(5);

/// A link with the machine above it.
#[derive(Debug)]
pub struct Session {
    link: Link,
    controller: Controller,
    publish_to: String,
    rng: Rng,
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
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The link did not open, or ended.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The thing did not answer; the request has not switched anything and never will.
    #[error("no answer")]
    Silent,
    /// The thing did not say whether it ran; this is what it says now, if it says anything.
    #[error("no answer, and nobody knows whether it ran")]
    Unknown(Option<Box<Answer>>),
}

impl Session {
    /// Subscribes to what the thing says to this controller.
    ///
    /// # Errors
    ///
    /// [`LinkError`].
    pub async fn open(mut link: Link, binding: &Binding) -> Result<Self, LinkError> {
        link.subscribe(&binding.topic.t2c(), Delivery::AtMostOnce, SUBSCRIBE).await?;
        Ok(Self {
            link,
            controller: Controller::new(binding.keys()),
            publish_to: binding.topic.c2t(),
            rng: clock::rng(),
        })
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
                ControllerEvent::Answered { handle, rc, state, round_trip, .. } if handle == asked => {
                    return Ok(self.answer(rc, state, round_trip));
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

    /// Waits for whatever happens next.
    ///
    /// # Errors
    ///
    /// [`LinkError`] when the link has ended.
    pub async fn next_event(&mut self) -> Result<ControllerEvent, LinkError> {
        loop {
            while let Some(transmit) = self.controller.poll_transmit(clock::now()) {
                tracing::trace!(attempt = transmit.attempt, "request sent");
                self.link.publish(&self.publish_to, Delivery::AtMostOnce, transmit.payload).await?;
            }
            if let Some(event) = self.controller.poll_event() {
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
                received = self.link.receive() => {
                    let payload = received?.payload;
                    let verdict =
                        self.controller.handle_message(Path::Local, &payload, clock::now(), &mut self.rng);
                    match verdict {
                        Verdict::Ignored(reason) => tracing::debug!(%reason, "message ignored"),
                        taken => tracing::trace!(?taken, "message taken"),
                    }
                }
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
        self.link.close().await;
    }

    async fn status_answer(&mut self, asked: RequestHandle) -> Result<Option<Answer>, SessionError> {
        loop {
            match self.next_event().await? {
                ControllerEvent::Status { handle, rc, state, round_trip, .. } if handle == asked => {
                    return Ok(Some(self.answer(rc, state, round_trip)));
                }
                ControllerEvent::StatusUnanswered { handle } if handle == asked => return Ok(None),
                _ => {}
            }
        }
    }

    fn answer(&self, rc: ReturnCode, state: State, round_trip: Duration) -> Answer {
        let lasting = self.lasting(state.since);
        Answer { rc, state, round_trip, lasting }
    }
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
    if !entry.binding.confirmed {
        entry.binding.confirmed = true;
        place.save(entry)?;
    }
    Ok(())
}

/// Whether the thing did what it was asked.
///
/// # Errors
///
/// A [`Failure`] in a householder's words.
pub fn accepted(alias: &str, answer: Answer) -> Result<Answer, Failure> {
    let failure = match answer.rc {
        ReturnCode::Ok => return Ok(answer),
        ReturnCode::Forbidden => Failure::new(Exit::Denied, format!("{alias} does not let you do that"))
            .next("its owner can give you another role"),
        ReturnCode::Stale => {
            Failure::new(Exit::Timeout, format!("{alias} got the command too late and did not run it"))
                .next("try again")
        }
        ReturnCode::Busy => {
            Failure::new(Exit::Other, format!("{alias} has too much to do")).next("try again in a minute")
        }
        ReturnCode::Epoch => Failure::new(Exit::Crypto, format!("{alias} wants its keys renewed first"))
            .next("update `sect`, which then renews them"),
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

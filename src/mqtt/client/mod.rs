//! MQTT 3.1.1 links over TLS 1.3: a controller's to a thing's local server, with an external PSK below
//! (SecT STEP 1, 7, 12, 13; protocol section 3), and both parties' to a cloud server, whose certificate
//! authority is pinned (SecT STEP 8, 14, 15; protocol section 10).
//!
//! Each step fails with its own error, [`LinkError`] or [`CloudError`], so that a person can be told
//! what to do. A link that breaks stays broken: whether to open another one is the caller's decision.

mod authority;
mod cloud;
#[cfg(feature = "controller")]
mod psk;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rumqttc::mqttbytes::v4::{ConnectReturnCode, SubscribeReasonCode};
use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, Incoming, MqttOptions, PublishOptions};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
#[cfg(feature = "controller")]
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use self::authority::{CheckDates, pin_of};
pub use self::cloud::{ClientIdentity, CloudDestination, CloudError, CloudLogin, IdentityError, is_host_name};
#[cfg(feature = "controller")]
use crate::proto::credential::CtlrCredentials;
use crate::proto::envelope::MAX_JWE_BYTES;
#[cfg(feature = "controller")]
use crate::proto::keys::TlsPsk;

/// Whether a log may hold this, whatever its filter asks for.
///
/// # Security
///
/// The library logs topics, which are secret (SecT STEP 3), and packets that it does not expect.
#[must_use]
pub fn may_be_logged(metadata: &tracing::Metadata<'_>) -> bool {
    !metadata.target().starts_with("rumqttc")
}

/// Publications that wait for [`Link::receive`]; beyond that the library stops reading.
const WAITING_PUBLICATIONS: usize = 64;
/// Bytes of an MQTT packet at most: a JWE and its topic, with room.
const MAX_PACKET_BYTES: usize = MAX_JWE_BYTES + 512;
/// Seconds after which an idle link on the home network shows that it is alive.
#[cfg(feature = "controller")]
const KEEP_ALIVE_SECONDS: u16 = 15;
/// How long [`Link::close`] waits for the goodbye to go out.
const GOODBYE: Duration = Duration::from_secs(1);

/// What a link to a local server needs to know before it can be opened.
#[cfg(feature = "controller")]
#[derive(Debug, Clone)]
pub struct Destination {
    /// Where the local server listens.
    pub address: SocketAddr,
    /// The identity of the TLS-PSK (SecT STEP 7).
    pub psk_identity: String,
    /// Its key.
    pub psk: TlsPsk,
    /// Ctlr-U/P (SecT STEP 5); none while pairing.
    pub login: Option<CtlrCredentials>,
    /// The MQTT client id: fresh for each link, so that no link ends another one.
    pub client_id: String,
}

/// How often a publication may be lost or repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// QoS 0: the messages of the steady state.
    AtMostOnce,
    /// QoS 1: the messages of pairing.
    AtLeastOnce,
}

impl From<Delivery> for rumqttc::QoS {
    fn from(delivery: Delivery) -> Self {
        match delivery {
            Delivery::AtMostOnce => Self::AtMostOnce,
            Delivery::AtLeastOnce => Self::AtLeastOnce,
        }
    }
}

/// What was published on a topic that was subscribed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The topic, as bytes of UTF-8.
    pub topic: Vec<u8>,
    /// The message.
    pub payload: Vec<u8>,
}

/// What happens on an open link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// A message came.
    Publication(Publication),
    /// A subscription was answered.
    Subscribed {
        /// Which topic.
        topic: String,
        /// Whether the server took it.
        granted: bool,
    },
}

/// Where on the way a link was when nothing happened any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// The name's lookup.
    Lookup,
    /// The TCP connection.
    Reaching,
    /// The TLS handshake.
    Handshake,
    /// MQTT's CONNECT.
    Login,
    /// MQTT's SUBSCRIBE.
    Subscription,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Lookup => "the lookup of the name",
            Self::Reaching => "connecting",
            Self::Handshake => "the TLS handshake",
            Self::Login => "the MQTT login",
            Self::Subscription => "the MQTT subscription",
        })
    }
}

/// Why there is no link, or none any more.
#[derive(Debug, Error)]
pub enum LinkError {
    /// Nobody listens there, or there is no way to it.
    #[error("could not reach {address}: {source}")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The handshake ended with an alert: the key, or its identity, is none that this thing admits now.
    #[error("the key was refused")]
    KeyRefused,
    /// What answers there does not prove the key: no TLS, another TLS, or another thing.
    #[error("what answers there does not know the key")]
    NotTheThing,
    /// The connection was closed in the middle of the handshake, without a word: too many sessions,
    /// or nobody who wants to talk.
    #[error("the connection was closed during the handshake")]
    Closed,
    /// User name and password are not those of this key's controller.
    #[error("the login was refused: {0}")]
    LoginRefused(&'static str),
    /// The topic is not this controller's.
    #[error("the subscription was refused")]
    SubscriptionRefused,
    /// Nothing came back in time.
    #[error("no answer during {0}")]
    TimedOut(Step),
    /// The link ended after it was open.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// The TLS library does not take the settings, which no peer can cause.
    #[error("TLS could not be set up: {0}")]
    Setup(#[from] openssl::error::ErrorStack),
}

/// An open link. Dropping it closes the connection at once; [`Link::close`] says goodbye first.
pub struct Link {
    client: AsyncClient,
    events: mpsc::Receiver<Result<Heard, End>>,
    /// Topics whose SUBSCRIBE is unanswered. A server answers in the order in which it was asked.
    asked: VecDeque<String>,
    /// What happened while something else was waited for.
    early: VecDeque<Happening>,
    pump: JoinHandle<()>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

/// What the event loop hears that matters here.
enum Heard {
    LoggedIn,
    Subscribed(bool),
    Publication(Publication),
}

/// How a connection ended.
enum End {
    /// CONNACK said no.
    Refused(&'static str),
    /// The server's TLS took offence at this side's certificate (RFC 8446 6.2).
    CertificateRefused(String),
    /// Anything else.
    Lost(String),
}

impl From<End> for LinkError {
    fn from(end: End) -> Self {
        match end {
            End::Refused(reason) => Self::LoginRefused(reason),
            End::CertificateRefused(reason) | End::Lost(reason) => Self::Lost(reason),
        }
    }
}

impl Link {
    /// Reaches the local server, proves the key and logs in; each of the three steps may take `patience`.
    ///
    /// # Errors
    ///
    /// [`LinkError`], by the step that failed.
    ///
    /// # Security
    ///
    /// When this returns `Ok`, the peer has proved that it holds the PSK.
    #[cfg(feature = "controller")]
    pub async fn open(destination: &Destination, patience: Duration) -> Result<Self, LinkError> {
        let address = destination.address;
        let tcp = timeout(patience, TcpStream::connect(address))
            .await
            .map_err(|_| LinkError::TimedOut(Step::Reaching))?
            .map_err(|source| LinkError::Unreachable { address, source })?;
        // A command is one small packet: it must not wait for another one. Failing is harmless.
        let _ = tcp.set_nodelay(true);
        let tls = timeout(patience, psk::handshake(tcp, &destination.psk_identity, &destination.psk))
            .await
            .map_err(|_| LinkError::TimedOut(Step::Handshake))??;

        let mut options = MqttOptions::new(destination.client_id.clone(), (address.ip().to_string(), address.port()));
        options
            .set_clean_session(true)
            .set_keep_alive(KEEP_ALIVE_SECONDS)
            .set_max_packet_size(MAX_PACKET_BYTES, MAX_PACKET_BYTES);
        if let Some(login) = &destination.login {
            options.set_credentials(login.user.expose(), login.password.expose().as_bytes().to_vec());
        }
        let mut link = Self::over(tls, options);
        timeout(patience, link.logged_in()).await.map_err(|_| LinkError::TimedOut(Step::Login))??;
        Ok(link)
    }

    /// Speaks MQTT over a stream that is open and proved.
    fn over(stream: impl AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static, mut options: MqttOptions) -> Self {
        // One stream, one connection: the library has nothing to reconnect with.
        let stream = Mutex::new(Some(stream));
        options.set_socket_connector(move |_, _| {
            let stream = stream.lock().ok().and_then(|mut place| place.take());
            async move { stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
        });
        let (client, event_loop) = AsyncClient::builder(options).capacity(WAITING_PUBLICATIONS).build();
        let (sender, events) = mpsc::channel(WAITING_PUBLICATIONS);
        let pump = tokio::spawn(pump(event_loop, sender));
        Self { client, events, asked: VecDeque::new(), early: VecDeque::new(), pump }
    }

    /// Waits for CONNACK.
    async fn logged_in(&mut self) -> Result<(), End> {
        loop {
            match poll_fn(|context| self.poll_next(context)).await? {
                Heard::LoggedIn => return Ok(()),
                Heard::Subscribed(_) | Heard::Publication(_) => {}
            }
        }
    }

    /// Subscribes to one topic and waits until the server has taken it; one link may have several.
    ///
    /// # Errors
    ///
    /// [`LinkError::SubscriptionRefused`], [`LinkError::TimedOut`], [`LinkError::Lost`].
    pub async fn subscribe(&mut self, topic: &str, delivery: Delivery, patience: Duration) -> Result<(), LinkError> {
        self.client
            .subscribe(topic, delivery.into())
            .await
            .map_err(|_| LinkError::Lost("the link is closed".to_owned()))?;
        self.asked.push_back(topic.to_owned());
        loop {
            match timeout(patience, self.heard()).await.map_err(|_| LinkError::TimedOut(Step::Subscription))?? {
                Happening::Subscribed { granted, .. } if self.asked.is_empty() => {
                    return if granted { Ok(()) } else { Err(LinkError::SubscriptionRefused) };
                }
                other => self.early.push_back(other),
            }
        }
    }

    /// Asks for a subscription and does not wait: [`Happening::Subscribed`] is the answer. False when the
    /// link has ended or is too slow.
    #[must_use]
    pub fn begin_subscribe(&mut self, topic: &str, delivery: Delivery) -> bool {
        let asked = self.client.try_subscribe(topic, delivery.into()).is_ok();
        if asked {
            self.asked.push_back(topic.to_owned());
        }
        asked
    }

    /// Hands a message to the connection.
    ///
    /// # Errors
    ///
    /// [`LinkError::Lost`] when the link has ended.
    pub async fn publish(&self, topic: &str, delivery: Delivery, payload: Vec<u8>) -> Result<(), LinkError> {
        self.client
            .publish(topic, payload, PublishOptions::new(delivery.into()))
            .await
            .map_err(|_| LinkError::Lost("the link is closed".to_owned()))
    }

    /// Hands a message to the connection at once or not at all; false when it was dropped, because the
    /// link has ended or is too slow.
    #[must_use]
    pub fn try_publish(&self, topic: &str, delivery: Delivery, payload: Vec<u8>) -> bool {
        self.client.try_publish(topic, payload, PublishOptions::new(delivery.into())).is_ok()
    }

    /// Waits for the next message. May be cancelled without losing one.
    ///
    /// # Errors
    ///
    /// [`LinkError::Lost`] when the link has ended.
    pub async fn receive(&mut self) -> Result<Publication, LinkError> {
        loop {
            if let Happening::Publication(publication) = self.happening().await? {
                return Ok(publication);
            }
        }
    }

    /// Waits for whatever happens next. May be cancelled without losing anything.
    ///
    /// # Errors
    ///
    /// [`LinkError::Lost`] when the link has ended.
    pub async fn happening(&mut self) -> Result<Happening, LinkError> {
        poll_fn(|context| self.poll_happening(context)).await
    }

    /// As [`Link::happening`], for who looks at several links at once.
    pub fn poll_happening(&mut self, context: &mut Context<'_>) -> Poll<Result<Happening, LinkError>> {
        match self.early.pop_front() {
            Some(happening) => Poll::Ready(Ok(happening)),
            None => self.poll_heard(context),
        }
    }

    /// Acknowledges what is left to acknowledge, says goodbye and closes.
    pub async fn close(mut self) {
        if self.client.disconnect_with_timeout(GOODBYE).await.is_ok() {
            // A full queue must not hold the goodbye back.
            self.events.close();
            while self.events.try_recv().is_ok() {}
            // Whether the goodbye went out or not, the connection ends here.
            let _ = timeout(GOODBYE, &mut self.pump).await;
        }
    }

    async fn heard(&mut self) -> Result<Happening, LinkError> {
        poll_fn(|context| self.poll_heard(context)).await
    }

    fn poll_heard(&mut self, context: &mut Context<'_>) -> Poll<Result<Happening, LinkError>> {
        loop {
            match ready!(self.poll_next(context))? {
                Heard::Publication(publication) => return Poll::Ready(Ok(Happening::Publication(publication))),
                Heard::Subscribed(granted) => {
                    // An answer that nobody waits for says nothing.
                    if let Some(topic) = self.asked.pop_front() {
                        return Poll::Ready(Ok(Happening::Subscribed { topic, granted }));
                    }
                }
                Heard::LoggedIn => {}
            }
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Heard, End>> {
        let next = ready!(self.events.poll_recv(context));
        Poll::Ready(next.unwrap_or_else(|| Err(End::Lost("the link is closed".to_owned()))))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

/// Turns the library's event loop until the connection ends.
async fn pump(mut event_loop: EventLoop, heard: mpsc::Sender<Result<Heard, End>>) {
    let mut listening = true;
    let end = loop {
        match event_loop.poll().await {
            Ok(event) => {
                if let Some(event) = hear(event) {
                    // After `close` nobody listens, but the goodbye still has to go out.
                    listening = listening && heard.send(Ok(event)).await.is_ok();
                }
            }
            Err(error) => break end(&error),
        }
    };
    // What came in one piece with the end, such as the last answer to who removes himself, is with the
    // library still.
    let last: Vec<_> = event_loop.state.events.drain(..).filter_map(hear).collect();
    for event in last.into_iter().map(Ok).chain([Err(end)]) {
        listening = listening && heard.send(event).await.is_ok();
    }
}

fn hear(event: Event) -> Option<Heard> {
    match event {
        Event::Incoming(Incoming::ConnAck(_)) => Some(Heard::LoggedIn),
        Event::Incoming(Incoming::SubAck(ack)) => Some(Heard::Subscribed(
            !ack.return_codes.is_empty()
                && ack.return_codes.iter().all(|code| matches!(code, SubscribeReasonCode::Success(_))),
        )),
        Event::Incoming(Incoming::Publish(publish)) => {
            Some(Heard::Publication(Publication { topic: publish.topic.to_vec(), payload: publish.payload.to_vec() }))
        }
        Event::Incoming(_) | Event::Outgoing(_) => None,
    }
}

fn end(error: &ConnectionError) -> End {
    match error {
        ConnectionError::ConnectionRefused(code) => End::Refused(match code {
            ConnectReturnCode::Success => "no reason given",
            ConnectReturnCode::RefusedProtocolVersion => "another MQTT version is wanted",
            ConnectReturnCode::BadClientId => "client id not accepted",
            ConnectReturnCode::ServiceUnavailable => "no place for another session",
            ConnectReturnCode::BadUserNamePassword => "wrong user name or password",
            ConnectReturnCode::NotAuthorized => "not authorized",
        }),
        other => match cloud::certificate_alert(other) {
            Some(alert) => End::CertificateRefused(alert),
            None => End::Lost(other.to_string()),
        },
    }
}

#[cfg(all(test, feature = "controller"))]
mod tests;

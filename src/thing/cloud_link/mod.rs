//! The thing's links to its cloud servers: opened by the thing, kept, and never waited for
//! (SecT STEP 8, 14, 15; protocol section 10).
//!
//! They live on a thread of their own with a runtime of its own. A TLS handshake is tens of milliseconds
//! of work for a small processor: on the daemon's thread a click at home would have to wait for it.
//! Nothing is retained or queued: what is published while a server is away is dropped, and whoever sent
//! it asks again. An idle link wakes the machine for its keepalive and for nothing else.

mod backoff;
mod keeper;
mod setup;

use std::mem;
use std::thread;
use std::time::Duration;

use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::warn;

pub use self::setup::CloudSetupError;

use self::keeper::{Command, Keeper};
use crate::mqtt::client::{CheckDates, CloudDestination, CloudError, CloudLogin, Delivery, Step};
use crate::proto::action::{CloudFailure, ServerId};
use crate::proto::id::ThingId;
use crate::proto::pairing::message::CloudServer;
use crate::proto::registration::down_topic;
use crate::thing::config::Config;
use crate::thing::config::cloud::CloudConfig;

/// Seconds after which an idle link shows that it is alive: home routers forget a quiet connection
/// after a minute or more.
const KEEP_ALIVE_SECONDS: u16 = 50;
/// Always the same: a connection that died unseen gives way to the one that replaces it.
const CLIENT_ID: &str = "sectd";
/// The thread's name; the kernel keeps 15 characters.
const THREAD: &str = "cloud-links";
/// Messages on their way to one server.
const COMMANDS: usize = 64;
/// Messages on their way from all servers; beyond that their connections are not read.
const EVENTS: usize = 64;

/// What happens at the cloud servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloudEvent {
    /// The link is open, and nothing is subscribed to.
    Up {
        /// Which.
        server: ServerId,
    },
    /// A subscription was answered.
    Subscribed {
        /// Where.
        server: ServerId,
        /// Which topic.
        topic: String,
        /// Whether the server took it. The topic of its own answers was taken: else the link is given up.
        granted: bool,
    },
    /// A message came. Whoever runs the server can have made it up.
    Message {
        /// By which server.
        server: ServerId,
        /// The topic.
        topic: String,
        /// The message.
        payload: Vec<u8>,
    },
    /// The link is lost, or another attempt to open it has failed. The next one follows by itself.
    Down {
        /// Which.
        server: ServerId,
        /// Why.
        reason: CloudFailure,
    },
}

/// What the machine is told of it; the log says more.
fn failure(error: &CloudError) -> CloudFailure {
    match error {
        CloudError::Dns { .. } | CloudError::TimedOut(Step::Lookup) => CloudFailure::Dns,
        CloudError::Unreachable { .. } | CloudError::TimedOut(Step::Reaching | Step::Handshake) => {
            CloudFailure::Unreachable
        }
        CloudError::WrongName(_) => CloudFailure::WrongName,
        CloudError::WrongAuthority => CloudFailure::WrongAuthority,
        CloudError::NotTls
        | CloudError::TlsVersion
        | CloudError::Expired
        | CloudError::NotYetValid
        | CloudError::WrongPurpose
        | CloudError::Handshake(_)
        | CloudError::Setup(_) => CloudFailure::Tls,
        CloudError::CertificateRefused(_) | CloudError::LoginRefused(_) => CloudFailure::Refused,
        CloudError::Closed { .. } | CloudError::TimedOut(Step::Login | Step::Subscription) => CloudFailure::Lost,
    }
}

/// All cloud links of the thing.
#[derive(Debug)]
pub struct CloudLinks {
    servers: Vec<Server>,
    /// The topic on which they answer.
    answers: String,
    at_work: Option<AtWork>,
}

#[derive(Debug)]
struct Server {
    destination: CloudDestination,
    for_controllers: CloudServer,
    is_up: bool,
}

/// The thread, while there is one; it ends when this is dropped.
#[derive(Debug)]
struct AtWork {
    /// One for each server.
    commands: Vec<mpsc::Sender<Command>>,
    events: mpsc::Receiver<CloudEvent>,
    over: oneshot::Receiver<()>,
}

impl CloudLinks {
    /// Reads what the configuration names: the device certificate and the pins. Without a cloud server
    /// nothing is read, and nothing will ever happen.
    ///
    /// # Errors
    ///
    /// [`CloudSetupError`]; the thing works at home all the same, with [`CloudLinks::none`].
    pub fn open(config: &Config, thing: &ThingId) -> Result<Self, CloudSetupError> {
        if config.cloud.is_empty() {
            return Ok(Self::none());
        }
        let identity = setup::identity(config, thing)?;
        let server = |cloud: &CloudConfig| {
            let pin = setup::pin(cloud)?;
            let destination = CloudDestination {
                host: cloud.host.clone(),
                port: cloud.port,
                pin,
                login: CloudLogin::Certificate(identity.clone()),
                client_id: CLIENT_ID.to_owned(),
                // It may have no clock.
                dates: CheckDates::No,
                keep_alive_seconds: KEEP_ALIVE_SECONDS,
            };
            let for_controllers = CloudServer { host: cloud.host.clone(), port: cloud.controller_port, pin };
            Ok(Server { destination, for_controllers, is_up: false })
        };
        let servers = config.cloud.iter().map(server).collect::<Result<_, _>>()?;
        Ok(Self { servers, answers: down_topic(thing), at_work: None })
    }

    /// No cloud server at all.
    #[must_use]
    pub const fn none() -> Self {
        Self { servers: Vec::new(), answers: String::new(), at_work: None }
    }

    /// What controllers are told about the servers when they are bound, by [`ServerId`].
    #[must_use]
    pub fn for_controllers(&self) -> Vec<CloudServer> {
        self.servers.iter().map(|server| server.for_controllers.clone()).collect()
    }

    /// Whether this server's link is open.
    #[must_use]
    pub fn is_up(&self, server: ServerId) -> bool {
        self.servers.get(server.0).is_some_and(|server| server.is_up)
    }

    /// Opens the links and keeps them: the home network is there (SecT STEP 8). Does nothing where they
    /// are kept already.
    ///
    /// # Errors
    ///
    /// [`CloudSetupError::Thread`] when the operating system gives no thread.
    pub fn start(&mut self) -> Result<(), CloudSetupError> {
        self.start_thread(THREAD)
    }

    fn start_thread(&mut self, name: &str) -> Result<(), CloudSetupError> {
        if self.servers.is_empty() || self.at_work.is_some() {
            return Ok(());
        }
        let (events_in, events) = mpsc::channel(EVENTS);
        let (commands, keepers): (Vec<_>, Vec<_>) = self
            .servers
            .iter()
            .enumerate()
            .map(|(place, server)| {
                let (sender, commands) = mpsc::channel(COMMANDS);
                let (destination, events) = (server.destination.clone(), events_in.clone());
                let answers = self.answers.clone();
                (sender, Keeper { server: ServerId(place), destination, answers, commands, events })
            })
            .unzip();
        let (is_over, over) = oneshot::channel();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                work(keepers);
                // Whoever stopped the links may have stopped waiting too.
                let _ = is_over.send(());
            })
            .map_err(CloudSetupError::Thread)?;
        self.at_work = Some(AtWork { commands, events, over });
        Ok(())
    }

    /// Closes the links: the home network is being left. No event of them comes any more. Gives the
    /// servers whose link was open.
    pub fn stop(&mut self) -> Vec<ServerId> {
        self.at_work = None;
        let servers = self.servers.iter_mut().enumerate();
        servers.filter_map(|(place, server)| mem::take(&mut server.is_up).then_some(ServerId(place))).collect()
    }

    /// Closes the links and gives the goodbyes this long.
    pub async fn shut_down(mut self, patience: Duration) {
        if let Some(AtWork { commands, events, over }) = self.at_work.take() {
            drop(commands);
            // Whether they went out or not, the process ends.
            let _ = timeout(patience, over).await;
            drop(events);
        }
    }

    /// Waits for what happens next; for ever while the links are stopped. May be cancelled without
    /// losing anything.
    pub async fn next(&mut self) -> CloudEvent {
        let event = match &mut self.at_work {
            Some(at_work) => at_work.events.recv().await,
            None => None,
        };
        match event {
            Some(event) => {
                if let CloudEvent::Up { server } | CloudEvent::Down { server, .. } = &event
                    && let Some(known) = self.servers.get_mut(server.0)
                {
                    known.is_up = matches!(event, CloudEvent::Up { .. });
                }
                event
            }
            None => std::future::pending().await,
        }
    }

    /// Asks for a topic; [`CloudEvent::Subscribed`] is the answer, unless the link is lost before. False
    /// when the link is not open. What is published before that answer may overtake the question.
    pub fn subscribe(&self, server: ServerId, topic: &str, delivery: Delivery) -> bool {
        self.command(server, || Command::Subscribe { topic: topic.to_owned(), delivery })
    }

    /// Sends a message, never retained. False when it was dropped: the link is not open, or too slow.
    pub fn publish(&self, server: ServerId, topic: &str, payload: Vec<u8>, delivery: Delivery) -> bool {
        self.command(server, || Command::Publish { topic: topic.to_owned(), payload, delivery })
    }

    fn command(&self, server: ServerId, command: impl FnOnce() -> Command) -> bool {
        match &self.at_work {
            Some(at_work) if self.is_up(server) => at_work.commands[server.0].try_send(command()).is_ok(),
            _ => false,
        }
    }
}

/// The thread: keeps all servers until all commands have ended.
fn work(keepers: Vec<Keeper>) {
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            warn!(%error, "no cloud links");
            return;
        }
    };
    runtime.block_on(async {
        let mut tasks: JoinSet<()> = keepers.into_iter().map(Keeper::keep).collect();
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                warn!(%error, "a cloud link ended by itself");
            }
        }
    });
    // A resolver may still block a thread of its own: nobody waits for it.
    runtime.shutdown_background();
}

#[cfg(test)]
mod tests;

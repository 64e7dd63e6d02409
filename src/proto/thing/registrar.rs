//! Registration with the cloud servers: the whole list, declared anew each time a link comes up, until
//! the server says that it holds it (SecT STEP 8, 9, 20; protocol section 10).
//!
//! Nothing waits in a queue that a power cut could lose: what must be registered is what the store says,
//! and its generation is part of the transaction that changes it.

use std::time::Duration;

use crate::proto::action::{Action, CloudFailure, ServerId};
use crate::proto::id::ThingId;
use crate::proto::json;
use crate::proto::message::ReturnCode;
use crate::proto::pairing::message::CloudServer;
use crate::proto::registration::{self, Entry, MAX_ENTRIES, RegErr, RegOk, RegSet};
use crate::proto::time::Micros;
use crate::proto::topic::TToken;

use super::Core;

/// How often a thing that finds its generation taken goes beyond it: one that was cloned would
/// otherwise race its clone.
const RENUMBER: Duration = Duration::from_secs(3600);

/// How long an answer may take; a server whose disk fails gives none.
const PATIENCE: Duration = Duration::from_secs(60);

/// How far beyond its own generation a thing follows a server: a hostile one could otherwise use up
/// the numbers, and no user could be added any more.
const MAX_LEAP: u64 = 1 << 20;

/// The links to the cloud servers, as the machine sees them.
pub(super) struct Registrar {
    pub(super) generation: u64,
    servers: Vec<Server>,
}

struct Server {
    cloud: CloudServer,
    state: CloudState,
    /// Whether a list is in force there since the link came up. It stays so while the next one is
    /// declared: what both lists hold loses nothing.
    in_force: bool,
    /// Whether the list was declared and not answered yet; what comes unasked changes nothing.
    awaits: bool,
    /// The topics that the server gave to others.
    refused: Vec<TToken>,
    /// When the list is declared again.
    again: Option<Micros>,
    /// When this server last made the thing go beyond its generation.
    renumbered: Option<Micros>,
}

/// Where the thing stands with one cloud server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloudState {
    /// On the way, or not tried yet.
    Connecting,
    /// Connected; the server has not confirmed the list yet.
    Registering,
    /// The list is in force.
    Registered,
    /// The list is in force but for topics that the server says another thing holds.
    TopicRefused,
    /// Another thing registers under this one's name: its card was copied, or an old copy restored.
    Clone,
    /// Not connected.
    Down(CloudFailure),
}

impl CloudState {
    /// The word for it on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Registering => "registering",
            Self::Registered => "registered",
            Self::TopicRefused => "topic-refused",
            Self::Clone => "clone",
            Self::Down(failure) => match failure {
                CloudFailure::Dns => "dns",
                CloudFailure::Unreachable => "unreachable",
                CloudFailure::WrongName => "wrong-name",
                CloudFailure::WrongAuthority => "wrong-authority",
                CloudFailure::Tls => "tls",
                CloudFailure::Refused => "refused",
                CloudFailure::Lost => "lost",
            },
        }
    }
}

/// What a message from a cloud server's registration topic asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// The list is in force: listen to the controllers' topics.
    InForce,
    /// The server holds another list under this or a higher generation: go beyond it.
    Renumber {
        /// The generation to take.
        generation: u64,
    },
    /// Nothing to do.
    Nothing,
}

impl Registrar {
    pub(super) fn new(generation: u64, clouds: Vec<CloudServer>) -> Self {
        let servers = clouds
            .into_iter()
            .map(|cloud| Server {
                cloud,
                state: CloudState::Connecting,
                in_force: false,
                awaits: false,
                refused: Vec::new(),
                again: None,
                renumbered: None,
            })
            .collect();
        Self { generation, servers }
    }

    /// The generation of the list with one change more.
    pub(super) fn next_generation(&self) -> u64 {
        self.generation + 1
    }

    pub(super) fn clouds(&self) -> Vec<CloudServer> {
        self.servers.iter().map(|server| server.cloud.clone()).collect()
    }

    /// The servers at which a list is in force.
    pub(super) fn live(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.servers.iter().enumerate().filter(|(_, server)| server.in_force).map(|(place, _)| ServerId(place))
    }

    /// Whether a server has given this topic to another thing.
    pub(super) fn is_refused(&self, topic: &TToken) -> bool {
        self.servers.iter().any(|server| server.refused.contains(topic))
    }

    /// What a server is called.
    pub(super) fn host(&self, server: ServerId) -> Option<&str> {
        self.servers.get(server.0).map(|server| server.cloud.host.as_str())
    }

    /// Where the thing stands with each server.
    pub(super) fn states(&self) -> impl Iterator<Item = (&CloudServer, CloudState)> {
        self.servers.iter().map(|server| (&server.cloud, server.state))
    }

    /// A link is up: the answers must be heard before anything is asked.
    pub(super) fn handle_up(&mut self, core: &mut Core, server: ServerId) {
        if let Some(entry) = self.servers.get_mut(server.0) {
            (entry.state, entry.awaits, entry.again) = (CloudState::Connecting, false, None);
            entry.in_force = false;
            let topic = registration::down_topic(&core.identity.id());
            core.actions.push_back(Action::SubscribeCloud { server, topic });
        }
    }

    /// The list has changed: declares it wherever a link is up.
    pub(super) fn declare_everywhere(
        &mut self,
        core: &mut Core,
        now: Micros,
        list: impl Fn(&CloudServer) -> Vec<Entry>,
    ) {
        for place in 0..self.servers.len() {
            if !matches!(self.servers[place].state, CloudState::Connecting | CloudState::Down(_)) {
                self.declare(core, ServerId(place), now, &list);
            }
        }
    }

    /// Declares the list at one server.
    pub(super) fn declare(
        &mut self,
        core: &mut Core,
        server: ServerId,
        now: Micros,
        list: impl Fn(&CloudServer) -> Vec<Entry>,
    ) {
        let Some(entry) = self.servers.get_mut(server.0) else { return };
        entry.state = CloudState::Registering;
        entry.awaits = true;
        entry.again = Some(now.after(PATIENCE));
        let set = RegSet { generation: self.generation, acl: list(&entry.cloud) };
        let topic = registration::up_topic(&core.identity.id());
        core.actions.push_back(Action::Register { server, topic, payload: json::encode(&set) });
    }

    /// Whether every list that was declared has its answer.
    pub(super) fn awaits_nothing(&self) -> bool {
        self.servers.iter().all(|server| !server.awaits)
    }

    /// When a list that got no answer is declared again.
    pub(super) fn poll_timeout(&self) -> Option<Micros> {
        self.servers.iter().filter_map(|server| server.again).min()
    }

    pub(super) fn handle_timeout(&mut self, core: &mut Core, now: Micros, list: impl Fn(&CloudServer) -> Vec<Entry>) {
        for place in 0..self.servers.len() {
            if self.servers[place].again.is_some_and(|at| now >= at) {
                self.declare(core, ServerId(place), now, &list);
            }
        }
    }

    pub(super) fn handle_down(&mut self, server: ServerId, failure: CloudFailure) {
        if let Some(server) = self.servers.get_mut(server.0) {
            (server.state, server.awaits, server.again) = (CloudState::Down(failure), false, None);
            server.in_force = false;
        }
    }

    /// Whether a topic is the one that the servers answer on.
    pub(super) fn is_answer(thing: &ThingId, topic: &str) -> bool {
        topic == registration::down_topic(thing)
    }

    /// What the server answered.
    pub(super) fn handle_answer(&mut self, server: ServerId, payload: &[u8], now: Micros) -> Answered {
        let Some(entry) = self.servers.get_mut(server.0).filter(|entry| entry.awaits) else {
            return Answered::Nothing;
        };
        if let Ok(ok) = json::read::<RegOk>(payload) {
            // An answer to an earlier list says nothing about this one.
            if ok.generation != self.generation {
                return Answered::Nothing;
            }
            (entry.awaits, entry.again, entry.in_force) = (false, None, true);
            entry.state = if ok.refused.is_empty() { CloudState::Registered } else { CloudState::TopicRefused };
            entry.refused = ok.refused;
            entry.refused.truncate(MAX_ENTRIES);
            return Answered::InForce;
        }
        let Ok(error) = json::read::<RegErr>(payload) else { return Answered::Nothing };
        // QoS 1 repeats old answers.
        if error.of != self.generation {
            return Answered::Nothing;
        }
        (entry.awaits, entry.again, entry.in_force) = (false, None, false);
        // A list that the server calls no list is not another thing's.
        if error.rc != ReturnCode::Stale {
            entry.state = CloudState::Down(CloudFailure::Refused);
            return Answered::Nothing;
        }
        entry.state = CloudState::Clone;
        // Whatever keeps the thing from going beyond it now, the next hour tries again.
        entry.again = Some(now.after(RENUMBER));
        let leap = error.generation.saturating_sub(self.generation);
        if entry.renumbered.is_some_and(|at| now.since(at) < RENUMBER) || leap > MAX_LEAP {
            return Answered::Nothing;
        }
        entry.renumbered = Some(now);
        Answered::Renumber { generation: error.generation.max(self.generation) + 1 }
    }
}

//! One controller of the household, ready to be talked to: what its record gives, and what is known of it
//! since this start.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::MAX_CONTROLLER_SESSIONS;
use super::expiry::Stay;
use super::rekey::{Age, Pending, Retired};
use super::writes::Writes;
use crate::proto::action::{Admission, NewSessions, SessionId};
use crate::proto::credential::{CtlrPassword, CtlrUser};
use crate::proto::freshness::Freshness;
use crate::proto::id::{Cid, ThingId};
use crate::proto::keys::{EpochKeys, TlsPsk};
use crate::proto::record::ControllerRecord;
use crate::proto::secret::SecretString;
use crate::proto::time::Micros;
use crate::proto::topic::TToken;

/// What is derived from one [`ControllerRecord`], and what is not persisted.
pub(super) struct Controller {
    pub(super) cid: Cid,
    epoch: u32,
    pub(super) keys: EpochKeys,
    pub(super) psk_identity: String,
    pub(super) c2t: String,
    pub(super) t2c: Arc<str>,
    /// The topics in waiting, which live beside the current ones (protocol section 6.6).
    pub(super) next: Option<NextTopics>,
    pub(super) freshness: Freshness,
    pub(super) sessions: BTreeSet<SessionId>,
    /// How long it may stay.
    pub(super) stay: Stay,
    /// Whether the invitation by which it came was used once more.
    pub(super) invitation_reused: bool,
    /// The master key that a key update has agreed on and nobody has used yet.
    pub(super) pending: Option<Pending>,
    /// Keys of past epochs under which sessions are open still.
    pub(super) retired: VecDeque<Retired>,
    pub(super) age: Age,
    /// What it may still have written down, where it is no owner's.
    pub(super) writes: Writes,
    /// When the audit log last said that it asked for more than its role allows.
    pub(super) refusal_noted: Option<Micros>,
}

/// Both directions of a topic in waiting.
pub(super) struct NextTopics {
    pub(super) c2t: String,
    pub(super) t2c: Arc<str>,
}

impl Controller {
    pub(super) fn new(thing: &ThingId, record: &ControllerRecord) -> Self {
        let keys = record.master.epoch(thing, &record.cid, record.epoch);
        let mut controller = Self {
            cid: record.cid,
            epoch: record.epoch,
            psk_identity: keys.psk_id.to_string(),
            c2t: String::new(),
            t2c: Arc::from(""),
            next: None,
            freshness: Freshness::default(),
            sessions: BTreeSet::new(),
            stay: Stay::Open,
            invitation_reused: false,
            pending: None,
            retired: VecDeque::new(),
            age: Age::default(),
            writes: Writes::default(),
            refusal_noted: None,
            keys,
        };
        controller.follow_topics(record);
        controller
    }

    /// Its record has changed: keys, topics and identity follow. Sessions and freshness stay; the paper's
    /// replay rule outlives a change of epoch (protocol section 6.2).
    pub(super) fn follow(&mut self, thing: &ThingId, record: &ControllerRecord, now: Micros) {
        if self.epoch != record.epoch {
            let keys = record.master.epoch(thing, &record.cid, record.epoch);
            let identity = std::mem::replace(&mut self.psk_identity, keys.psk_id.to_string());
            let past = std::mem::replace(&mut self.keys, keys);
            self.retire(identity, past.psk, now);
            (self.epoch, self.pending) = (record.epoch, None);
        }
        self.follow_topics(record);
    }

    fn follow_topics(&mut self, record: &ControllerRecord) {
        (self.c2t, self.t2c) = (record.topic.c2t(), record.topic.t2c().into());
        let of = |topic: &TToken| NextTopics { c2t: topic.c2t(), t2c: topic.t2c().into() };
        self.next = record.next.as_ref().map(|next| of(&next.topic));
    }

    /// Whether it may publish to `topic`, and whether that is the one in waiting.
    pub(super) fn hears(&self, topic: &str) -> Option<Waiting> {
        match &self.next {
            _ if self.stay.is_over() => None,
            _ if self.c2t == topic => Some(Waiting(false)),
            Some(next) if next.c2t == topic => Some(Waiting(true)),
            _ => None,
        }
    }

    /// The topic on which somebody is answered.
    pub(super) fn answers_on(&self, Waiting(waiting): Waiting) -> &Arc<str> {
        self.next.as_ref().filter(|_| waiting).map_or(&self.t2c, |next| &next.t2c)
    }

    /// Every topic on which it may listen.
    pub(super) fn listens_on(&self) -> impl Iterator<Item = &Arc<str>> {
        std::iter::once(&self.t2c).chain(self.next.iter().map(|next| &next.t2c))
    }

    /// Whether a session was opened under an identity of its own.
    pub(super) fn is_known_as(&self, psk_identity: &str) -> bool {
        self.psk_identity == psk_identity || self.retired.iter().any(|past| past.psk_identity == psk_identity)
    }

    /// Who may open a session, and whose session goes on: each key with each login. The login chooses the
    /// session's one topic (protocol section 6.6).
    pub(super) fn admissions<'a>(&'a self, record: &'a ControllerRecord) -> impl Iterator<Item = Admission> + 'a {
        let current = (self.psk_identity.as_str(), &self.keys.psk, NewSessions::Open);
        let retired = self.retired.iter().map(|past| (past.psk_identity.as_str(), &past.psk, NewSessions::Closed));
        let keys = std::iter::once(current).chain(retired);
        keys.flat_map(move |key| {
            let next = record.next.as_ref().map(|next| (&next.topic, &next.password));
            let logins = std::iter::once((&record.topic, &record.credentials.password)).chain(next);
            logins.map(move |login| admission(key, &record.credentials.user, login))
        })
    }
}

/// Whether somebody speaks on the topic in waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting(bool);

fn admission(
    (psk_identity, psk, new_sessions): (&str, &TlsPsk, NewSessions),
    user: &CtlrUser,
    (topic, password): (&TToken, &CtlrPassword),
) -> Admission {
    Admission {
        psk_identity: psk_identity.to_owned(),
        psk: psk.clone(),
        login: Some((user.expose().to_owned(), SecretString::new(password.expose().to_owned()))),
        publish: topic.c2t(),
        subscribe: topic.t2c(),
        max_sessions: MAX_CONTROLLER_SESSIONS,
        new_sessions,
    }
}

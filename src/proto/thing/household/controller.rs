//! One controller of the household, ready to be talked to: what its record gives, and what is known of it
//! since this start.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::MAX_CONTROLLER_SESSIONS;
use crate::proto::action::{Admission, SessionId};
use crate::proto::freshness::Freshness;
use crate::proto::id::{Cid, ThingId};
use crate::proto::keys::EpochKeys;
use crate::proto::record::ControllerRecord;
use crate::proto::secret::SecretString;

/// What is derived from one [`ControllerRecord`], and what is not persisted.
pub(super) struct Controller {
    pub(super) cid: Cid,
    pub(super) keys: EpochKeys,
    pub(super) psk_identity: String,
    pub(super) c2t: String,
    pub(super) t2c: Arc<str>,
    pub(super) freshness: Freshness,
    pub(super) sessions: BTreeSet<SessionId>,
}

impl Controller {
    pub(super) fn new(thing: &ThingId, record: &ControllerRecord) -> Self {
        let keys = record.master.epoch(thing, &record.cid, record.epoch);
        Self {
            cid: record.cid,
            psk_identity: keys.psk_id.to_string(),
            c2t: record.topic.c2t(),
            t2c: record.topic.t2c().into(),
            freshness: Freshness::default(),
            sessions: BTreeSet::new(),
            keys,
        }
    }

    /// Its record has changed: keys, topics and identity follow. Sessions and freshness stay; the paper's
    /// replay rule outlives a change of epoch (protocol section 6.2).
    pub(super) fn follow(&mut self, thing: &ThingId, record: &ControllerRecord) {
        let Self { freshness, sessions, .. } = std::mem::replace(self, Self::new(thing, record));
        (self.freshness, self.sessions) = (freshness, sessions);
    }

    pub(super) fn admission(&self, record: &ControllerRecord) -> Admission {
        let credentials = &record.credentials;
        Admission {
            psk_identity: self.psk_identity.clone(),
            psk: self.keys.psk.clone(),
            login: Some((
                credentials.user.expose().to_owned(),
                SecretString::new(credentials.password.expose().to_owned()),
            )),
            publish: self.c2t.clone(),
            subscribe: self.t2c.to_string(),
            max_sessions: MAX_CONTROLLER_SESSIONS,
        }
    }
}

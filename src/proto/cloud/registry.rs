//! Who holds which topic and user, and what a registration changes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::account::Account;
use super::{MAX_RESERVED, RESERVED_S};
use crate::proto::credential::CtlrUser;
use crate::proto::id::ThingId;
use crate::proto::json;
use crate::proto::message::ReturnCode;
use crate::proto::registration::{Entry, MAX_ENTRIES, RegErr, RegOk, RegSet, Verifier};
use crate::proto::topic::TToken;

/// All registrations of one server.
#[derive(Default)]
pub struct Registry {
    things: HashMap<ThingId, Registered>,
    /// Whose a topic is or was last; only the thing's record says whether it still is.
    topics: HashMap<TToken, ThingId>,
    users: HashMap<String, ThingId>,
}

struct Registered {
    record: ThingRecord,
    accounts: Vec<Arc<Account>>,
}

/// All that the server keeps of one thing, and what the store keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThingRecord {
    /// The generation of its list.
    pub generation: u64,
    /// An older list, or another one of the same generation, has been seen: the thing may have a twin.
    pub cloned: bool,
    /// Its list, in the order of the topics.
    pub entries: Vec<Listed>,
    /// Topics that it has dropped.
    pub reserved_topics: Vec<Reserved<TToken>>,
    /// Users that it has dropped.
    pub reserved_users: Vec<Reserved<CtlrUser>>,
}

/// An entry of a thing's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// As the thing sent it.
    pub entry: Entry,
    /// Not so while another thing holds its topic or user.
    pub in_force: bool,
}

/// What no other thing gets for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved<T> {
    /// What.
    pub what: T,
    /// Until when, in Unix seconds.
    pub until: u64,
}

/// What a registration comes to.
#[derive(Debug)]
#[must_use]
pub struct Plan {
    /// What the thing is told once `change` is durable.
    pub answer: Answer,
    /// What is to be stored and committed first, if anything.
    pub change: Option<Change>,
}

/// The server's answer to a `reg.set`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The list is in force.
    Ok(RegOk),
    /// It is not.
    Err(RegErr),
}

impl Answer {
    /// The message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Ok(ok) => json::encode(ok),
            Self::Err(err) => json::encode(err),
        }
    }

    /// Whether it says that there may be two things with one identity.
    #[must_use]
    pub fn is_clone_alarm(&self) -> bool {
        matches!(self, Self::Err(RegErr { rc: ReturnCode::Stale, .. }))
    }
}

/// The new record of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub thing: ThingId,
    /// The whole of it.
    pub record: ThingRecord,
}

/// What a commit has ended.
#[derive(Debug)]
#[must_use]
pub struct Committed {
    /// The record before, for [`Registry::roll_back`].
    pub previous: Option<ThingRecord>,
    /// Accounts that are revoked; their sessions are to be ended.
    pub revoked: Vec<Arc<Account>>,
}

impl Registry {
    /// The registry as the store has it.
    pub fn from_records(records: impl IntoIterator<Item = Change>) -> Self {
        let mut registry = Self::default();
        for change in records {
            let Committed { .. } = registry.commit(change);
        }
        registry
    }

    /// What `set` from `thing` comes to at `now` (Unix seconds), without doing it.
    pub fn plan(&self, thing: &ThingId, set: RegSet, now: u64) -> Plan {
        let old = self.things.get(thing).map(|registered| &registered.record);
        let error = |rc| {
            let generation = old.map_or(0, |old| old.generation);
            Answer::Err(RegErr { generation, of: set.generation, rc })
        };
        if !is_sound(&set.acl) {
            return Plan { answer: error(ReturnCode::BadRequest), change: None };
        }
        let mut acl = set.acl;
        acl.sort_by(|a, b| a.topic.cmp(&b.topic));
        if let Some(old) = old
            && (set.generation < old.generation || (set.generation == old.generation && !old.lists(&acl)))
        {
            let change =
                (!old.cloned).then(|| Change { thing: *thing, record: ThingRecord { cloned: true, ..old.clone() } });
            return Plan { answer: error(ReturnCode::Stale), change };
        }
        let entries: Vec<_> =
            acl.into_iter().map(|entry| Listed { in_force: self.is_free(thing, &entry, now), entry }).collect();
        let refused =
            entries.iter().filter(|listed| !listed.in_force).map(|listed| listed.entry.topic.clone()).collect();
        let record = ThingRecord {
            generation: set.generation,
            cloned: old.is_some_and(|old| old.cloned),
            reserved_topics: reserve(old, &entries, now, |record| &record.reserved_topics, |entry| &entry.topic),
            reserved_users: reserve(old, &entries, now, |record| &record.reserved_users, |entry| &entry.user),
            entries,
        };
        let change = (old != Some(&record)).then_some(Change { thing: *thing, record });
        Plan { answer: Answer::Ok(RegOk { generation: set.generation, refused }), change }
    }

    /// Puts a planned change in force.
    pub fn commit(&mut self, change: Change) -> Committed {
        let Change { thing, record } = change;
        let old = self.things.remove(&thing);
        if let Some(old) = &old {
            self.unlink(&thing, &old.record);
        }
        // A reservation may have run out and be another's by now, so it takes only what is nobody's.
        for Reserved { what, .. } in &record.reserved_topics {
            self.topics.entry(what.clone()).or_insert(thing);
        }
        for Reserved { what, .. } in &record.reserved_users {
            self.users.entry(what.expose().to_owned()).or_insert(thing);
        }
        for entry in record.in_force() {
            self.topics.insert(entry.topic.clone(), thing);
            self.users.insert(entry.user.expose().to_owned(), thing);
        }
        let (previous, mut before) = old.map_or((None, Vec::new()), |old| (Some(old.record), old.accounts));
        let accounts = record
            .entries
            .iter()
            .filter(|listed| listed.in_force)
            .map(|listed| match before.iter().position(|account| *account.entry() == listed.entry) {
                Some(kept) => before.swap_remove(kept),
                None => Arc::new(Account::new(thing, listed.entry.clone())),
            })
            .collect();
        before.iter().for_each(|account| account.revoke());
        self.things.insert(thing, Registered { record, accounts });
        Committed { previous, revoked: before }
    }

    /// Takes a commit back whose change could not be made durable. The accounts that it has revoked
    /// stay so: their sessions log in again.
    pub fn roll_back(&mut self, thing: ThingId, previous: Option<ThingRecord>) -> Vec<Arc<Account>> {
        if let Some(record) = previous {
            return self.commit(Change { thing, record }).revoked;
        }
        let Some(new) = self.things.remove(&thing) else { return Vec::new() };
        self.unlink(&thing, &new.record);
        new.accounts.iter().for_each(|account| account.revoke());
        new.accounts
    }

    /// The account that user name and password open.
    ///
    /// # Security
    ///
    /// An unknown user costs one comparison too, and the comparisons take constant time. A hit or miss
    /// in the map of users remains; it is keyed by random names of 82 bits.
    #[must_use]
    pub fn authenticate(&self, user: &str, password: &[u8]) -> Option<Arc<Account>> {
        let verifier = Verifier::of(password);
        let accounts = self.users.get(user).and_then(|thing| self.things.get(thing)).map(|thing| &thing.accounts);
        let mut found = None;
        for account in accounts.into_iter().flatten() {
            if account.entry().verifier == verifier && account.entry().user.expose() == user {
                found = Some(account.clone());
            }
        }
        found
    }

    /// The account in force that `thing` has registered for a topic.
    #[must_use]
    pub fn account(&self, thing: &ThingId, topic: &TToken) -> Option<&Arc<Account>> {
        self.things.get(thing)?.accounts.iter().find(|account| account.topic() == topic)
    }

    /// Things that have registered.
    #[must_use]
    pub fn things(&self) -> usize {
        self.things.len()
    }

    /// Accounts in force.
    #[must_use]
    pub fn accounts(&self) -> usize {
        self.things.values().map(|thing| thing.accounts.len()).sum()
    }

    /// At most `limit` records that hold reservations that have run out, without them.
    #[must_use]
    pub fn expired(&self, now: u64, limit: usize) -> Vec<Change> {
        let expired = |record: &ThingRecord| {
            record.reserved_topics.iter().any(|reserved| reserved.until <= now)
                || record.reserved_users.iter().any(|reserved| reserved.until <= now)
        };
        let things = self.things.iter().filter(|(_, thing)| expired(&thing.record)).take(limit);
        things
            .map(|(thing, registered)| {
                let mut record = registered.record.clone();
                record.reserved_topics.retain(|reserved| reserved.until > now);
                record.reserved_users.retain(|reserved| reserved.until > now);
                Change { thing: *thing, record }
            })
            .collect()
    }

    /// Whether no other thing holds or has reserved the entry's topic or user.
    fn is_free(&self, thing: &ThingId, entry: &Entry, now: u64) -> bool {
        let other =
            |owner: Option<&ThingId>| owner.filter(|owner| *owner != thing).and_then(|owner| self.things.get(owner));
        let topic =
            other(self.topics.get(&entry.topic)).is_some_and(|other| other.record.claims_topic(&entry.topic, now));
        let user =
            other(self.users.get(entry.user.expose())).is_some_and(|other| other.record.claims_user(&entry.user, now));
        !topic && !user
    }

    /// Forgets that topics and users are `thing`'s; what another has got since stays the other's.
    fn unlink(&mut self, thing: &ThingId, record: &ThingRecord) {
        for topic in record.topics() {
            if self.topics.get(topic) == Some(thing) {
                self.topics.remove(topic);
            }
        }
        for user in record.users() {
            if self.users.get(user.expose()) == Some(thing) {
                self.users.remove(user.expose());
            }
        }
    }
}

impl ThingRecord {
    /// Whether the list is this one; `acl` is in the order of the topics.
    fn lists(&self, acl: &[Entry]) -> bool {
        self.entries.iter().map(|listed| &listed.entry).eq(acl)
    }

    fn in_force(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|listed| listed.in_force).map(|listed| &listed.entry)
    }

    fn topics(&self) -> impl Iterator<Item = &TToken> {
        self.in_force().map(|entry| &entry.topic).chain(self.reserved_topics.iter().map(|reserved| &reserved.what))
    }

    fn users(&self) -> impl Iterator<Item = &CtlrUser> {
        self.in_force().map(|entry| &entry.user).chain(self.reserved_users.iter().map(|reserved| &reserved.what))
    }

    fn claims_topic(&self, topic: &TToken, now: u64) -> bool {
        self.in_force().any(|entry| entry.topic == *topic)
            || self.reserved_topics.iter().any(|reserved| reserved.until > now && reserved.what == *topic)
    }

    fn claims_user(&self, user: &CtlrUser, now: u64) -> bool {
        self.in_force().any(|entry| entry.user == *user)
            || self.reserved_users.iter().any(|reserved| reserved.until > now && reserved.what == *user)
    }
}

/// At most 32 entries, no topic twice, and no user with one password for two topics: it would not be
/// clear which topic a session is for.
fn is_sound(acl: &[Entry]) -> bool {
    let mut topics = HashSet::new();
    let mut logins = HashSet::new();
    acl.len() <= MAX_ENTRIES
        && acl
            .iter()
            .all(|entry| topics.insert(&entry.topic) && logins.insert((entry.user.expose(), entry.verifier.as_bytes())))
}

/// What stays the thing's own although its new list does not have it.
fn reserve<T: Clone + PartialEq>(
    old: Option<&ThingRecord>,
    entries: &[Listed],
    now: u64,
    reserved: impl Fn(&ThingRecord) -> &Vec<Reserved<T>>,
    part: impl Fn(&Entry) -> &T,
) -> Vec<Reserved<T>> {
    let Some(old) = old else { return Vec::new() };
    let dropped =
        old.in_force().map(|entry| Reserved { what: part(entry).clone(), until: now.saturating_add(RESERVED_S) });
    let mut all: Vec<Reserved<T>> = Vec::new();
    for candidate in dropped.chain(reserved(old).iter().filter(|reserved| reserved.until > now).cloned()) {
        let held = entries.iter().any(|listed| listed.in_force && *part(&listed.entry) == candidate.what);
        if !held && !all.iter().any(|reserved| reserved.what == candidate.what) {
            all.push(candidate);
        }
    }
    // The newest come first.
    all.truncate(MAX_RESERVED);
    all
}

//! Who is connected, and who receives what, in memory.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::mailbox::{Letter, Mailbox, Message};
use crate::mqtt::server::CloseReason;
use crate::proto::cloud::{Direction, Party};
use crate::proto::id::ThingId;
use crate::proto::topic::TToken;

/// Subtopic of an account: what messages are routed by.
pub(super) type Route = (TToken, Direction);

/// Whose sessions belong together: client ids are unique under one identity and mean nothing beyond it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Identity {
    Thing(ThingId),
    Controller(TToken),
}

impl From<&Party> for Identity {
    fn from(party: &Party) -> Self {
        match party {
            Party::Thing(thing) => Self::Thing(*thing),
            Party::Controller(account) => Self::Controller(account.topic().clone()),
        }
    }
}

/// All sessions that are logged in, and their subscriptions.
pub(super) struct Router {
    routes: Shards<Route, Vec<Arc<Mailbox>>>,
    sessions: Shards<Identity, Vec<Member>>,
}

struct Member {
    client_id: String,
    mailbox: Arc<Mailbox>,
}

impl Router {
    pub(super) fn new() -> Self {
        Self { routes: Shards::new(), sessions: Shards::new() }
    }

    /// A session has logged in. One of the same name makes way, and the oldest if there are too many.
    pub(super) fn join(&self, identity: Identity, client_id: String, mailbox: Arc<Mailbox>, limit: usize) {
        let mut sessions = self.sessions.of(&identity);
        let members = sessions.entry(identity).or_default();
        if let Some(same) = members.iter().position(|member| member.client_id == client_id) {
            members.remove(same).mailbox.close(CloseReason::TakenOver);
        } else if members.len() >= limit {
            members.remove(0).mailbox.close(CloseReason::TakenOver);
        }
        members.push(Member { client_id, mailbox });
    }

    /// A session is over.
    pub(super) fn part(&self, identity: &Identity, mailbox: &Arc<Mailbox>) {
        let mut sessions = self.sessions.of(identity);
        let Some(members) = sessions.get_mut(identity) else { return };
        members.retain(|member| !Arc::ptr_eq(&member.mailbox, mailbox));
        if members.is_empty() {
            sessions.remove(identity);
        }
    }

    /// Ends all sessions of an identity.
    pub(super) fn end(&self, identity: &Identity) {
        for member in self.sessions.of(identity).remove(identity).into_iter().flatten() {
            member.mailbox.close(CloseReason::Ended);
        }
    }

    /// Ends all sessions.
    pub(super) fn end_all(&self) {
        for shard in &self.sessions.shards {
            for member in lock(shard).drain().flat_map(|(_, members)| members) {
                member.mailbox.close(CloseReason::Ended);
            }
        }
    }

    pub(super) fn subscribe(&self, route: Route, mailbox: &Arc<Mailbox>) {
        let mut routes = self.routes.of(&route);
        let readers = routes.entry(route).or_default();
        if !readers.iter().any(|reader| Arc::ptr_eq(reader, mailbox)) {
            readers.reserve_exact(1);
            readers.push(mailbox.clone());
        }
    }

    pub(super) fn unsubscribe(&self, route: &Route, mailbox: &Arc<Mailbox>) {
        let mut routes = self.routes.of(route);
        let Some(readers) = routes.get_mut(route) else { return };
        readers.retain(|reader| !Arc::ptr_eq(reader, mailbox));
        if readers.is_empty() {
            routes.remove(route);
        }
    }

    /// Puts a message through to all its readers or leaves it with them; how many took it and how many
    /// had no room.
    pub(super) fn forward(&self, route: &Route, letter: Letter<'_>, now: Instant) -> (u64, u64) {
        let (first, others) = {
            let routes = self.routes.of(route);
            let Some((first, others)) = routes.get(route).and_then(|readers| readers.split_first()) else {
                return (0, 0);
            };
            (first.clone(), others.to_vec())
        };
        let mut left: Option<Arc<Message>> = None;
        let (mut taken, mut full) = (0, 0);
        for reader in std::iter::once(&first).chain(&others) {
            let takes = reader.put_through(letter, now)
                || reader.leave(left.get_or_insert_with(|| Arc::new(letter.into())).clone());
            *if takes { &mut taken } else { &mut full } += 1;
        }
        (taken, full)
    }
}

/// A map in so many parts that two threads seldom want the same one.
struct Shards<K, V> {
    shards: Vec<Mutex<HashMap<K, V>>>,
    hasher: RandomState,
}

impl<K: Hash, V> Shards<K, V> {
    fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }

    fn of(&self, key: &K) -> MutexGuard<'_, HashMap<K, V>> {
        lock(&self.shards[self.hasher.hash_one(key) as usize % SHARDS])
    }
}

fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is whole before anything can panic.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

const SHARDS: usize = 64;

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::super::mailbox::Mail;
    use super::*;
    use crate::mqtt::server::Qos;

    fn route(n: u8) -> Route {
        (format!("{n:025}").parse().expect("digits"), Direction::ToThing)
    }

    fn mail(mailbox: &Mailbox) -> Option<String> {
        mailbox.poll_mail(&Context::from_waker(Waker::noop())).map(|mail| match mail {
            Mail::Message(message) => String::from_utf8(message.payload.clone()).expect("text"),
            Mail::Close(reason) => format!("{reason:?}"),
        })
    }

    fn forward(router: &Router, route: &Route) -> (u64, u64) {
        let letter = Letter { topic: "t", payload: b"hello", qos: Qos::AtMostOnce };
        router.forward(route, letter, Instant::now())
    }

    #[test]
    fn a_message_reaches_those_who_subscribed_and_nobody_else() {
        let router = Router::new();
        let [a, b, c] = [(); 3].map(|()| Arc::new(Mailbox::default()));
        router.subscribe(route(1), &a);
        router.subscribe(route(1), &a);
        router.subscribe(route(1), &b);
        router.subscribe(route(2), &c);
        router.subscribe((route(1).0, Direction::ToController), &c);
        assert_eq!(forward(&router, &route(1)), (2, 0));
        assert_eq!((mail(&a), mail(&a)), (Some("hello".into()), None));
        assert_eq!((mail(&b), mail(&c)), (Some("hello".into()), None));
        router.unsubscribe(&route(1), &a);
        router.unsubscribe(&route(1), &b);
        assert_eq!(forward(&router, &route(1)), (0, 0));
        assert!(router.routes.of(&route(1)).get(&route(1)).is_none(), "nothing is left of it");
    }

    #[test]
    fn client_ids_are_taken_over_under_one_identity_only() {
        let router = Router::new();
        let identity = |n| Identity::Controller(route(n).0);
        let [a, b, c, d] = [(); 4].map(|()| Arc::new(Mailbox::default()));
        router.join(identity(1), "me".into(), a.clone(), 2);
        router.join(identity(2), "me".into(), b.clone(), 2);
        assert_eq!(mail(&a), None, "another identity's name is another name");
        router.join(identity(1), "me".into(), c.clone(), 2);
        assert_eq!(mail(&a), Some("TakenOver".into()));
        router.join(identity(1), "second".into(), d.clone(), 2);
        assert_eq!(mail(&c), None);
        router.join(identity(1), "third".into(), Arc::default(), 2);
        assert_eq!((mail(&c), mail(&d)), (Some("TakenOver".into()), None), "the oldest makes way");
        router.end(&identity(1));
        assert_eq!((mail(&d), mail(&b)), (Some("Ended".into()), None));
        router.part(&identity(2), &b);
        assert!(router.sessions.of(&identity(2)).get(&identity(2)).is_none(), "nothing is left of it");
    }
}

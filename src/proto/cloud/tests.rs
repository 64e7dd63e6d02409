//! Registrations of honest and of hostile things, one by one and against a naive model.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::proto::id::ThingId;
use crate::proto::message::ReturnCode;
use crate::proto::registration::{Entry, RegErr, RegOk, RegSet, Verifier, down_topic, up_topic};
use crate::proto::topic::TToken;

const A: ThingId = ThingId::new([0xa; 8]);
const B: ThingId = ThingId::new([0xb; 8]);

fn topic(n: u8) -> TToken {
    format!("{n:025}").parse().expect("digits")
}

fn entry(n_topic: u8, n_user: u8, password: &str) -> Entry {
    Entry {
        topic: topic(n_topic),
        user: format!("{n_user:016}").parse().expect("digits"),
        verifier: Verifier::of(password.as_bytes()),
    }
}

fn user(n: u8) -> String {
    format!("{n:016}")
}

fn set(generation: u64, acl: &[Entry]) -> RegSet {
    RegSet { generation, acl: acl.to_vec() }
}

fn ok(generation: u64, refused: &[u8]) -> Answer {
    Answer::Ok(RegOk { generation, refused: refused.iter().map(|&n| topic(n)).collect() })
}

fn stale(generation: u64, of: u64) -> Answer {
    Answer::Err(RegErr { generation, of, rc: ReturnCode::Stale })
}

/// Plans and commits at once; the topics of the revoked accounts come back beside the answer.
fn register(registry: &mut Registry, thing: ThingId, set: RegSet, now: u64) -> (Answer, Vec<TToken>) {
    let plan = registry.plan(&thing, set, now);
    let revoked = plan.change.map_or(Vec::new(), |change| registry.commit(change).revoked);
    assert!(revoked.iter().all(|account| !account.is_live()));
    let mut topics: Vec<_> = revoked.iter().map(|account| account.topic().clone()).collect();
    topics.sort();
    (plan.answer, topics)
}

fn login(registry: &Registry, n_user: u8, password: &str) -> Option<TToken> {
    registry.authenticate(&user(n_user), password.as_bytes()).map(|account| account.topic().clone())
}

#[test]
fn a_registered_account_opens_its_topic_and_no_other_password_does() {
    let mut registry = Registry::default();
    assert_eq!(register(&mut registry, A, set(1, &[entry(1, 1, "p"), entry(2, 2, "q")]), 0), (ok(1, &[]), vec![]));
    assert_eq!(login(&registry, 1, "p"), Some(topic(1)));
    assert_eq!(login(&registry, 2, "q"), Some(topic(2)));
    for (n, password) in [(1, "q"), (2, "p"), (3, "p"), (1, "")] {
        assert_eq!(login(&registry, n, password), None);
    }
}

#[test]
fn the_password_chooses_between_the_current_and_the_next_topic_of_one_user() {
    let mut registry = Registry::default();
    let both = [entry(1, 1, "current"), entry(2, 1, "next")];
    assert_eq!(register(&mut registry, A, set(1, &both), 0).0, ok(1, &[]));
    assert_eq!(login(&registry, 1, "current"), Some(topic(1)));
    assert_eq!(login(&registry, 1, "next"), Some(topic(2)));
    // `token.use`: the next becomes the current one, whose session stays.
    let next = registry.authenticate(&user(1), b"next").expect("registered");
    assert_eq!(register(&mut registry, A, set(2, &both[1..]), 0), (ok(2, &[]), vec![topic(1)]));
    assert!(next.is_live());
    assert_eq!(login(&registry, 1, "current"), None);
}

#[test]
fn a_higher_generation_replaces_the_whole_list_and_ends_what_it_drops() {
    let mut registry = Registry::default();
    register(&mut registry, A, set(1, &[entry(1, 1, "p"), entry(2, 2, "q")]), 0);
    let kept = registry.authenticate(&user(2), b"q").expect("registered");
    assert_eq!(
        register(&mut registry, A, set(7, &[entry(2, 2, "q"), entry(3, 3, "r")]), 0),
        (ok(7, &[]), vec![topic(1)])
    );
    assert!(kept.is_live());
    assert_eq!(login(&registry, 1, "p"), None);
    assert_eq!(login(&registry, 3, "r"), Some(topic(3)));
    // Another password for the same user and topic is another account.
    assert_eq!(register(&mut registry, A, set(8, &[entry(2, 2, "new")]), 0), (ok(8, &[]), vec![topic(2), topic(3)]));
    assert!(!kept.is_live());
    assert_eq!(register(&mut registry, A, set(9, &[]), 0), (ok(9, &[]), vec![topic(2)]));
    assert_eq!((registry.things(), registry.accounts()), (1, 0));
}

#[test]
fn the_same_list_again_is_acknowledged_and_changes_nothing() {
    let mut registry = Registry::default();
    let list = [entry(1, 1, "p"), entry(2, 2, "q")];
    register(&mut registry, A, set(4, &list), 0);
    let account = registry.authenticate(&user(1), b"p").expect("registered");
    let turned = [list[1].clone(), list[0].clone()];
    for acl in [&list, &turned] {
        let plan = registry.plan(&A, set(4, acl), 99);
        assert_eq!((plan.answer, plan.change), (ok(4, &[]), None));
    }
    assert!(account.is_live());
}

#[test]
fn an_old_generation_is_refused_and_marks_a_clone() {
    let mut registry = Registry::default();
    register(&mut registry, A, set(4, &[entry(1, 1, "p")]), 0);
    let plan = registry.plan(&A, set(3, &[]), 0);
    assert_eq!(plan.answer, stale(4, 3));
    assert!(plan.answer.is_clone_alarm());
    let change = plan.change.expect("the mark");
    assert!(change.record.cloned);
    assert!(registry.commit(change).revoked.is_empty());
    assert_eq!(login(&registry, 1, "p"), Some(topic(1)), "nothing else has changed");
    assert_eq!(registry.plan(&A, set(3, &[]), 0).change, None, "the mark is stored once");
}

#[test]
fn the_same_generation_with_other_content_marks_a_clone() {
    let mut registry = Registry::default();
    register(&mut registry, A, set(4, &[entry(1, 1, "p")]), 0);
    for other in [vec![], vec![entry(1, 1, "q")], vec![entry(1, 1, "p"), entry(2, 2, "q")], vec![entry(2, 1, "p")]] {
        assert_eq!(register(&mut registry, A, set(4, &other), 0), (stale(4, 4), vec![]));
    }
    assert_eq!(login(&registry, 1, "p"), Some(topic(1)));
    // The thing that hears of it takes the server's generation + 1.
    assert_eq!(register(&mut registry, A, set(5, &[entry(2, 1, "p")]), 0).0, ok(5, &[]));
}

#[test]
fn a_thing_neither_squats_nor_deletes_what_is_anothers() {
    let mut registry = Registry::default();
    register(&mut registry, A, set(1, &[entry(1, 1, "p")]), 0);
    // The topic with its own user, the user with its own topic, both; its other entries apply.
    let attack = [entry(1, 9, "b"), entry(8, 1, "b"), entry(7, 7, "b")];
    assert_eq!(register(&mut registry, B, set(1000, &attack), 0), (ok(1000, &[1, 8]), vec![]));
    assert_eq!(register(&mut registry, B, set(1001, &[entry(1, 1, "p")]), 0), (ok(1001, &[1]), vec![topic(7)]));
    assert_eq!(register(&mut registry, B, set(1002, &[]), 0), (ok(1002, &[]), vec![]));
    assert_eq!(login(&registry, 1, "p"), Some(topic(1)));
    assert_eq!(login(&registry, 1, "b"), None);
    assert_eq!(login(&registry, 9, "b"), None);
    // The owner's own list is not disturbed by what the other wished for.
    assert_eq!(register(&mut registry, A, set(2, &[entry(1, 1, "p"), entry(2, 9, "q")]), 0).0, ok(2, &[]));
}

#[test]
fn dropped_topics_and_users_stay_reserved_for_thirty_days() {
    let mut registry = Registry::default();
    register(&mut registry, A, set(1, &[entry(1, 1, "p")]), 1000);
    register(&mut registry, A, set(2, &[]), 2000);
    let wish = [entry(1, 9, "b"), entry(2, 1, "b")];
    let end = 2000 + RESERVED_S;
    assert_eq!(register(&mut registry, B, set(1, &wish), 2001).0, ok(1, &[1, 2]));
    assert_eq!(register(&mut registry, B, set(1, &wish), end - 1).0, ok(1, &[1, 2]));
    assert_eq!(registry.expired(end - 1, 10), vec![]);
    // Its own thing may have them back meanwhile.
    assert_eq!(registry.plan(&A, set(3, &[entry(1, 1, "p")]), end - 1).answer, ok(3, &[]));
    // At the same generation refused entries are tried again.
    assert_eq!(register(&mut registry, B, set(1, &wish), end).0, ok(1, &[]));
    assert_eq!(login(&registry, 9, "b"), Some(topic(1)));
    assert_eq!(register(&mut registry, A, set(3, &[entry(1, 1, "p")]), end).0, ok(3, &[1]), "now it is the other's");
}

#[test]
fn a_reservation_that_has_run_out_is_swept_and_takes_nothing_from_its_successor() {
    let mut registry = Registry::default();
    register(&mut registry, A, set(1, &[entry(1, 1, "p")]), 0);
    register(&mut registry, A, set(2, &[]), 0);
    register(&mut registry, B, set(1, &[entry(1, 1, "b")]), RESERVED_S);
    let expired = registry.expired(RESERVED_S, 10);
    assert_eq!(expired.len(), 1);
    for change in expired {
        assert!(change.record.reserved_topics.is_empty() && change.record.reserved_users.is_empty());
        assert!(registry.commit(change).revoked.is_empty());
    }
    assert_eq!(registry.expired(RESERVED_S, 10), vec![]);
    assert_eq!(login(&registry, 1, "b"), Some(topic(1)));
}

#[test]
fn a_thing_that_registers_ever_new_lists_takes_a_bounded_place() {
    let mut registry = Registry::default();
    for round in 0..40_u64 {
        let acl: Vec<_> = (0..32)
            .map(|n| Entry {
                topic: format!("{:025}", round * 32 + n).parse().expect("digits"),
                user: format!("{:016}", round * 32 + n).parse().expect("digits"),
                verifier: Verifier::of(b"p"),
            })
            .collect();
        assert_eq!(register(&mut registry, A, set(round, &acl), round).0, ok(round, &[]));
    }
    let Some(Change { record, .. }) = registry.plan(&A, set(99, &[]), 99).change else { panic!("a change") };
    assert_eq!((record.reserved_topics.len(), record.reserved_users.len()), (MAX_RESERVED, MAX_RESERVED));
    assert!(record.reserved_topics.iter().all(|reserved| reserved.until > RESERVED_S + 30), "the newest are kept");
}

#[test]
fn a_list_that_is_too_long_or_contradicts_itself_is_a_bad_request() {
    let mut registry = Registry::default();
    let long: Vec<_> = (0..33).map(|n| entry(n, n, "p")).collect();
    let twice = vec![entry(1, 1, "p"), entry(1, 2, "q")];
    let ambiguous = vec![entry(1, 1, "p"), entry(2, 1, "p")];
    for acl in [long, twice, ambiguous] {
        let plan = registry.plan(&A, set(5, &acl), 0);
        assert_eq!(plan.answer, Answer::Err(RegErr { generation: 0, of: 5, rc: ReturnCode::BadRequest }));
        assert!(!plan.answer.is_clone_alarm());
        assert_eq!(plan.change, None);
    }
    assert_eq!(
        register(&mut registry, A, set(5, &(0..32).map(|n| entry(n, n, "p")).collect::<Vec<_>>()), 0).0,
        ok(5, &[])
    );
}

#[test]
fn what_could_not_be_stored_is_taken_back() {
    let mut registry = Registry::default();
    let Committed { previous, .. } =
        registry.commit(registry.plan(&A, set(1, &[entry(1, 1, "p")]), 0).change.expect("new"));
    let account = registry.authenticate(&user(1), b"p").expect("registered");
    assert_eq!(registry.roll_back(A, previous).len(), 1);
    assert!(!account.is_live());
    assert_eq!((login(&registry, 1, "p"), registry.things()), (None, 0));
    assert_eq!(register(&mut registry, B, set(1, &[entry(1, 1, "b")]), 0).0, ok(1, &[]), "no trace is left");

    let Committed { previous, .. } = registry.commit(registry.plan(&B, set(2, &[]), 0).change.expect("new"));
    assert!(registry.roll_back(B, previous).is_empty());
    assert_eq!(login(&registry, 1, "b"), Some(topic(1)));
}

#[test]
fn the_stored_records_make_the_same_registry() {
    let mut registry = Registry::default();
    let mut stored = Vec::new();
    for (thing, set) in [
        (A, set(1, &[entry(1, 1, "p"), entry(2, 2, "q")])),
        (B, set(1, &[entry(1, 9, "b"), entry(3, 3, "b")])),
        (A, set(2, &[entry(2, 2, "q")])),
    ] {
        let change = registry.plan(&thing, set, 50).change.expect("new");
        stored.retain(|old: &Change| old.thing != thing);
        stored.push(change.clone());
        let _ = registry.commit(change);
    }
    stored.reverse();
    let restored = Registry::from_records(stored);
    for (n, password) in [(1, "p"), (2, "q"), (3, "b"), (9, "b")] {
        assert_eq!(login(&restored, n, password), login(&registry, n, password));
    }
    let again = set(1, &[entry(1, 9, "b"), entry(3, 3, "b")]);
    assert_eq!(restored.plan(&B, again, 60).answer, ok(1, &[1]), "the reservation is still there");
}

#[test]
fn a_held_right_ends_with_its_account() {
    let mut registry = Registry::default();
    register(&mut registry, A, set(1, &[entry(1, 1, "p"), entry(2, 2, "p")]), 0);
    let mut held = Held::default();
    assert!(held.account(&topic(1).c2t()).is_none());
    for n in [1, 2] {
        held.keep(registry.account(&A, &topic(n)).expect("registered"));
    }
    let found = |held: &Held, topic: &str| held.account(topic).map(|(account, way)| (account.topic().clone(), way));
    assert_eq!(found(&held, &topic(1).c2t()), Some((topic(1), Direction::ToThing)));
    assert_eq!(found(&held, &topic(2).t2c()), Some((topic(2), Direction::ToController)));
    for other in [topic(3).c2t(), up_topic(&A), String::new(), "s//c".into(), format!("s/{}", topic(1).as_str())] {
        assert_eq!(found(&held, &other), None);
    }
    // Revoked, and registered anew with another password.
    register(&mut registry, A, set(2, &[entry(1, 1, "new"), entry(2, 2, "p")]), 0);
    assert_eq!(found(&held, &topic(1).c2t()), None);
    assert_eq!(found(&held, &topic(2).c2t()), Some((topic(2), Direction::ToThing)));
    held.keep(registry.account(&A, &topic(1)).expect("registered"));
    assert_eq!(found(&held, &topic(1).c2t()), Some((topic(1), Direction::ToThing)));
}

#[test]
fn each_side_has_its_direction_of_its_own_topics_and_nothing_else() {
    let mut registry = Registry::default();
    register(&mut registry, A, set(1, &[entry(1, 1, "p"), entry(2, 2, "q")]), 0);
    register(&mut registry, B, set(1, &[entry(3, 3, "r")]), 0);
    let controller = Party::Controller(registry.authenticate(&user(1), b"p").expect("registered"));
    let (t1, t2, t3) = (topic(1), topic(2), topic(3));
    let parties = [("controller", controller), ("a", Party::Thing(A)), ("b", Party::Thing(B))];
    let mut topics: Vec<String> = [&t1, &t2, &t3, &topic(4)].iter().flat_map(|t| [t.c2t(), t.t2c()]).collect();
    topics.extend([up_topic(&A), down_topic(&A), up_topic(&B), down_topic(&B)]);
    topics.extend(["#", "+", "s/#", "s/+/c", "s/+/t", "$SYS/#", "", "s//c", "sect/cloud/+/up"].map(String::from));
    topics.extend([
        format!("s/{}", t1.as_str()),
        format!("{}/c", t1.c2t()),
        format!("/{}", t1.c2t()),
        format!("{}/#", t1.c2t()),
    ]);
    let mut allowed = Vec::new();
    for (name, party) in &parties {
        for topic in &topics {
            if registry.publish_right(party, topic).is_some() {
                allowed.push(format!("{name} writes {topic}"));
            }
            if registry.read_right(party, topic).is_some() {
                allowed.push(format!("{name} reads {topic}"));
            }
        }
    }
    let expected = [
        format!("controller writes {}", t1.c2t()),
        format!("controller reads {}", t1.t2c()),
        format!("a reads {}", t1.c2t()),
        format!("a writes {}", t1.t2c()),
        format!("a reads {}", t2.c2t()),
        format!("a writes {}", t2.t2c()),
        format!("a writes {}", up_topic(&A)),
        format!("a reads {}", down_topic(&A)),
        format!("b reads {}", t3.c2t()),
        format!("b writes {}", t3.t2c()),
        format!("b writes {}", up_topic(&B)),
        format!("b reads {}", down_topic(&B)),
    ];
    assert_eq!(allowed, expected);
    // And with the registration goes the right, for both sides.
    register(&mut registry, A, set(2, &[]), 0);
    assert!(registry.publish_right(&parties[0].1, &t1.c2t()).is_none());
    assert!(registry.read_right(&parties[0].1, &t1.t2c()).is_none());
    assert!(registry.publish_right(&Party::Thing(A), &t1.t2c()).is_none());
}

/// What the protocol's sentences say, with lists that are searched from end to end.
#[derive(Default)]
struct Naive {
    lists: Vec<(ThingId, u64, Vec<Entry>)>,
    /// Thing, topic, user, password hash, in force since the last registration of that thing.
    force: Vec<(ThingId, Entry)>,
    /// Thing, `t` topic or `u` user, until.
    reserved: Vec<(ThingId, String, u64)>,
}

impl Naive {
    fn register(&mut self, thing: ThingId, set: &RegSet, now: u64) -> Answer {
        let mut acl = set.acl.clone();
        acl.sort_by(|a, b| a.topic.cmp(&b.topic));
        if let Some((_, generation, list)) = self.lists.iter().find(|(owner, ..)| *owner == thing)
            && (set.generation < *generation || (set.generation == *generation && acl != *list))
        {
            return stale(*generation, set.generation);
        }
        let names = |entry: &Entry| [format!("t{}", entry.topic.as_str()), format!("u{}", entry.user.expose())];
        let taken = |entry: &Entry| {
            let held = self
                .force
                .iter()
                .any(|(owner, other)| *owner != thing && (other.topic == entry.topic || other.user == entry.user));
            let kept = self
                .reserved
                .iter()
                .any(|(owner, name, until)| *owner != thing && *until > now && names(entry).contains(name));
            held || kept
        };
        let (refused, applied): (Vec<_>, Vec<_>) = acl.iter().cloned().partition(taken);
        let before: Vec<_> = self.force.iter().filter(|(owner, _)| *owner == thing).cloned().collect();
        self.force.retain(|(owner, _)| *owner != thing);
        self.force.extend(applied.iter().map(|entry| (thing, entry.clone())));
        let held: Vec<_> = applied.iter().flat_map(names).collect();
        for name in before.iter().flat_map(|(_, entry)| names(entry)) {
            self.reserved.retain(|(owner, other, _)| (*owner, other) != (thing, &name));
            if !held.contains(&name) {
                self.reserved.push((thing, name, now + RESERVED_S));
            }
        }
        self.reserved.retain(|(owner, name, _)| *owner != thing || !held.contains(name));
        self.lists.retain(|(owner, ..)| *owner != thing);
        self.lists.push((thing, set.generation, acl));
        Answer::Ok(RegOk {
            generation: set.generation,
            refused: refused.into_iter().map(|entry| entry.topic).collect(),
        })
    }
}

fn list() -> impl Strategy<Value = Vec<Entry>> {
    // Each user has one topic in a list, so that the list does not contradict itself.
    proptest::collection::btree_map(0_u8..6, 0_u8..6, 0..5).prop_map(|pairs| {
        let mut users = std::collections::HashSet::new();
        pairs.into_iter().filter(|(_, user)| users.insert(*user)).map(|(topic, user)| entry(topic, user, "p")).collect()
    })
}

proptest! {
    #[test]
    fn the_registry_does_what_the_naive_model_does(
        steps in proptest::collection::vec((0_u8..3, 0_u64..6, list(), 0_u64..RESERVED_S), 1..40)
    ) {
        let (mut registry, mut naive) = (Registry::default(), Naive::default());
        let mut now = 0;
        let mut sessions: Vec<Arc<Account>> = Vec::new();
        for (thing, generation, acl, passes) in steps {
            now += passes / 2;
            let thing = ThingId::new([thing; 8]);
            let expected = naive.register(thing, &set(generation, &acl), now);
            prop_assert_eq!(register(&mut registry, thing, set(generation, &acl), now).0, expected);
            prop_assert_eq!(registry.accounts(), naive.force.len());
            // Whoever is in force logs in to that topic, and a session lives as long as its entry.
            for n in 0..6 {
                let holder = naive.force.iter().find(|(_, entry)| entry.user.expose() == user(n));
                let account = registry.authenticate(&user(n), b"p");
                prop_assert_eq!(account.as_ref().map(|account| account.topic().clone()), holder.map(|(_, entry)| entry.topic.clone()));
                sessions.extend(account);
            }
            for session in &sessions {
                let there = naive.force.iter().any(|(owner, entry)| *owner == session.thing() && entry.topic == *session.topic());
                prop_assert!(there || !session.is_live());
            }
            for (owner, entry) in &naive.force {
                prop_assert!(registry.account(owner, &entry.topic).is_some());
            }
        }
    }
}

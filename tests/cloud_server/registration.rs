//! Registration: ownership, generations, clones, removal, and a power cut at each point of it.

use std::time::{Duration, Instant};

use super::isolation::{A, B, c, entry, t, token, user};
use super::server::{SOON, Server};

pub fn ok(generation: u64, refused: &[u32]) -> String {
    let refused: Vec<_> = refused.iter().map(|&n| format!("\"{}\"", token(n))).collect();
    format!(r#"{{"v":1,"t":"reg.ok","gen":{generation},"refused":[{}]}}"#, refused.join(","))
}

pub fn stale(generation: u64, of: u64) -> String {
    format!(r#"{{"v":1,"t":"reg.err","gen":{generation},"of":{of},"rc":1}}"#)
}

#[test]
fn a_thing_cannot_squat_delete_or_share_what_is_anothers() {
    let server = Server::new();
    let (mut a, mut b) = (server.thing(A), server.thing(B));
    assert_eq!(a.register(&A, 1, &[entry(0), entry(1)]), ok(1, &[]));
    let mut owner = server.controller("x", &user(0), &token(0));
    assert_eq!(owner.subscribe(&[&t(0)]), [1]);

    let (mut topic_only, mut user_only) = (entry(7), entry(8));
    topic_only.topic = entry(0).topic;
    user_only.user = entry(1).user;
    assert_eq!(b.register(&B, 1, &[topic_only, user_only, entry(2)]), ok(1, &[0, 8]));
    assert_eq!(b.register(&B, 2, &[entry(0)]), ok(2, &[0]));
    assert_eq!(b.register(&B, 3, &[]), ok(3, &[]));
    assert_eq!(b.subscribe(&[&c(0)]), [0x80]);

    // A's things go on, and what it drops is not B's for the next thirty days.
    assert_eq!(a.subscribe(&[&c(0)]), [1]);
    owner.publish(&c(0), b"still here");
    assert_eq!(a.message(SOON), Some((c(0), "still here".to_owned())));
    assert_eq!(a.register(&A, 2, &[entry(1)]), ok(2, &[]));
    assert_eq!(b.register(&B, 4, &[entry(0)]), ok(4, &[0]));
    assert_eq!(server.metric("sect_cloud_refused_entries_total"), 4);
}

#[test]
fn an_old_generation_and_the_same_with_other_content_are_refused_and_marked() {
    let server = Server::new();
    let mut a = server.thing(A);
    assert_eq!(a.register(&A, 5, &[entry(0)]), ok(5, &[]));
    assert_eq!(a.register(&A, 5, &[entry(0)]), ok(5, &[]), "a repetition is none of it");
    assert_eq!(server.metric("sect_cloud_clones_total"), 0);
    assert_eq!(a.register(&A, 4, &[]), stale(5, 4));
    assert_eq!(a.register(&A, 5, &[]), stale(5, 5));
    assert_eq!(server.metric("sect_cloud_clones_total"), 2);
    assert!(server.log().contains("a twin of this thing has registered"));
    let mut controller = server.controller("x", &user(0), &token(0));
    controller.ping();
    // The twin takes the server's generation + 1.
    assert_eq!(a.register(&A, 6, &[entry(1)]), ok(6, &[]));
    assert!(controller.is_ended_within(SOON));
}

#[test]
fn what_is_no_list_is_not_answered_and_changes_nothing() {
    let server = Server::new();
    let mut a = server.thing(A);
    assert_eq!(a.register(&A, 1, &[entry(0)]), ok(1, &[]));
    let up = format!("sect/cloud/{A}/up");
    for text in [
        "",
        "{}",
        r#"{"v":1,"t":"reg.set","gen":2}"#,
        r#"{"v":1,"t":"reg.set","gen":-1,"acl":[]}"#,
        r#"{"v":1,"t":"reg.set","gen":2,"acl":[],"more":1}"#,
        r#"{"v":1,"t":"reg.set","gen":2,"gen":3,"acl":[]}"#,
    ] {
        a.publish(&up, text.as_bytes());
    }
    assert_eq!(a.messages(), [""; 0]);
    assert_eq!(server.denials("registration"), 6);
    assert_eq!(a.register(&A, 1, &[entry(0)]), ok(1, &[]));
}

#[test]
fn a_removed_account_ends_its_session_within_a_second_and_its_topic_for_both_sides() {
    let server = Server::new();
    let mut a = server.thing(A);
    assert_eq!(a.register(&A, 1, &[entry(0), entry(1)]), ok(1, &[]));
    assert_eq!(a.subscribe(&[&c(0), &c(1)]), [1, 1]);
    let mut removed = server.controller("x", &user(0), &token(0));
    let mut kept = server.controller("x", &user(1), &token(1));
    assert_eq!((removed.subscribe(&[&t(0)]), kept.subscribe(&[&t(1)])), (vec![1], vec![1]));

    let start = Instant::now();
    a.ask_to_register(&A, 2, &[entry(1)]);
    assert!(removed.is_ended_within(Duration::from_secs(1)), "after {:?}", start.elapsed());
    assert_eq!(a.message(SOON).expect("an answer").1, ok(2, &[]));
    a.publish(&t(0), b"to nobody");
    kept.publish(&c(1), b"hello");
    assert_eq!(a.message(SOON), Some((c(1), "hello".to_owned())));
    // What others send may overtake what it has sent itself; after this its own has been looked at.
    assert_eq!(a.messages(), [""; 0]);
    assert_eq!(server.denials("publish_topic"), 1);
    let mut again = super::client::Client::controller(&server).expect("TLS");
    assert_eq!(again.connect("x", Some((&user(0), &token(0)))), Some(4));
}

#[test]
fn what_was_acknowledged_outlives_kill_minus_nine() {
    let mut server = Server::new();
    for generation in 1..=5_u64 {
        let mut a = server.thing(A);
        let n = generation as u32;
        assert_eq!(a.register(&A, generation, &[entry(n)]), ok(generation, &[]));
        server.kill();
        server.start(&[]);
        server.controller("x", &user(n), &token(n)).ping();
        // The list before is gone and reserved, and the generation is remembered.
        let refused: &[u32] = if n > 1 { &[n - 1] } else { &[] };
        assert_eq!(server.thing(B).register(&B, generation, &[entry(n - 1)]), ok(generation, refused));
        assert_eq!(server.thing(A).register(&A, generation - 1, &[]), stale(generation, generation - 1));
    }
}

#[test]
fn a_power_cut_leaves_the_old_list_or_the_new_one() {
    for (point, survives) in [("registration.before", false), ("registration.committed", true)] {
        let mut server = Server::new();
        assert_eq!(server.thing(A).register(&A, 1, &[entry(0)]), ok(1, &[]));
        server.kill();
        server.start(&[("SECT_CRASH_AT", point)]);
        let mut a = server.thing(A);
        a.ask_to_register(&A, 2, &[entry(1)]);
        assert_eq!(a.message(SOON), None, "the cut comes before the answer");
        server.wait();
        server.start(&[]);
        let (there, gone) = if survives { (1, 0) } else { (0, 1) };
        server.controller("x", &user(there), &token(there)).ping();
        let mut other = super::client::Client::controller(&server).expect("TLS");
        assert_eq!(other.connect("x", Some((&user(gone), &token(gone)))), Some(4), "{point}");
        // The thing does not know, so it sends its list again.
        assert_eq!(server.thing(A).register(&A, 2, &[entry(1)]), ok(2, &[]));
    }
}

#[test]
fn many_things_register_at_once_and_all_are_there_after_a_power_cut() {
    let mut server = Server::new();
    let ids: Vec<_> = (1..=20_u8).map(|n| sect::proto::id::ThingId::new([n; 8])).collect();
    std::thread::scope(|scope| {
        for (n, id) in ids.iter().enumerate() {
            let server = &server;
            scope.spawn(move || {
                assert_eq!(server.thing(*id).register(id, 1, &[entry(n as u32)]), ok(1, &[]));
            });
        }
    });
    server.kill();
    server.start(&[]);
    assert_eq!(server.metric("sect_cloud_things"), 20);
    for n in 0..20 {
        server.controller("x", &user(n), &token(n)).ping();
    }
}

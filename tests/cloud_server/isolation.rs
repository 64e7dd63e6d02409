//! Two things and four controllers: nobody reads or writes what is another's.

use std::time::Duration;

use sect::proto::id::ThingId;
use sect::proto::registration::{Entry, Verifier};

use super::client::Client;
use super::packets::{packet, string};
use super::server::{SOON, Server};

pub const A: ThingId = ThingId::new([0xa; 8]);
pub const B: ThingId = ThingId::new([0xb; 8]);

/// The account number `n`; its password is its topic.
pub fn entry(n: u32) -> Entry {
    Entry {
        topic: token(n).parse().expect("digits"),
        user: user(n).parse().expect("digits"),
        verifier: Verifier::of(token(n).as_bytes()),
    }
}

pub fn token(n: u32) -> String {
    format!("{n:025}")
}

pub fn user(n: u32) -> String {
    format!("{n:016}")
}

pub fn c(n: u32) -> String {
    format!("s/{}/c", token(n))
}

pub fn t(n: u32) -> String {
    format!("s/{}/t", token(n))
}

struct Household {
    server: Server,
    things: [Client; 2],
    controllers: [Client; 4],
}

/// A has the accounts 0 and 1, B has 2 and 3; all are connected and hear their topics.
fn household() -> Household {
    let server = Server::new();
    let mut things = [server.thing(A), server.thing(B)];
    for (at, id) in [A, B].iter().enumerate() {
        let first = 2 * at as u32;
        let answer = things[at].register(id, 1, &[entry(first), entry(first + 1)]);
        assert_eq!(answer, r#"{"v":1,"t":"reg.ok","gen":1,"refused":[]}"#);
        assert_eq!(things[at].subscribe(&[&c(first), &c(first + 1)]), [1, 1]);
    }
    let controllers = [0, 1, 2, 3].map(|n| {
        let mut controller = server.controller("same name", &user(n), &token(n));
        assert_eq!(controller.subscribe(&[&t(n)]), [1]);
        controller
    });
    Household { server, things, controllers }
}

#[test]
fn each_message_reaches_the_other_side_of_its_account_and_nobody_else() {
    let Household { server: _server, mut things, mut controllers } = household();
    for n in 0..4 {
        controllers[n].publish(&c(n as u32), format!("command {n}").as_bytes());
        let command = things[n / 2].message(SOON).expect("it arrives");
        assert_eq!(command, (c(n as u32), format!("command {n}")));
        things[n / 2].publish(&t(n as u32), format!("answer {n}").as_bytes());
        let answer = controllers[n].message(SOON).expect("it arrives");
        assert_eq!(answer, (t(n as u32), format!("answer {n}")));
    }
    for client in things.iter_mut().chain(&mut controllers) {
        assert_eq!(client.messages(), [""; 0], "nothing more has come");
    }
}

#[test]
fn whatever_is_not_ones_own_is_denied() {
    let Household { server, mut things, mut controllers } = household();
    let foreign = ["#", "+", "+/#", "s/#", "s/+/c", "s/+/t", "$SYS/#", "$SYS/broker/version", "sect/cloud/#", "s"];
    let mut denied: Vec<String> = foreign.map(String::from).to_vec();
    denied.extend([c(9), t(9), format!("sect/cloud/{A}/up"), format!("sect/cloud/{B}/down")]);

    // Controller 0: everything but reading t(0) and writing c(0).
    let mut reads = denied.clone();
    reads.extend([c(0), c(1), t(1), c(2), t(2), format!("sect/cloud/{A}/down")]);
    for topic in &reads {
        assert_eq!(controllers[0].subscribe(&[topic]), [0x80], "{topic}");
    }
    let mut writes = denied.clone();
    writes.extend([t(0), c(1), t(1), c(2), t(2), format!("sect/cloud/{A}/down"), format!("sect/cloud/{B}/up")]);
    for topic in writes.iter().filter(|topic| !topic.contains(['#', '+'])) {
        controllers[0].publish(topic, b"forged");
    }
    controllers[0].ping();

    // Thing B: nothing of A's, and its own only in its own direction.
    let mut reads = denied.clone();
    reads.retain(|topic| *topic != format!("sect/cloud/{B}/down"));
    reads.extend([c(0), t(0), t(2), format!("sect/cloud/{A}/down"), format!("sect/cloud/{B}/up")]);
    for topic in &reads {
        assert_eq!(things[1].subscribe(&[topic]), [0x80], "{topic}");
    }
    let mut writes = denied;
    writes.extend([c(0), t(0), c(2), format!("sect/cloud/{A}/down")]);
    for topic in writes.iter().filter(|topic| !topic.contains(['#', '+'])) {
        things[1].publish(topic, b"forged");
    }
    things[1].ping();

    for client in things.iter_mut().chain(&mut controllers) {
        assert_eq!(client.messages(), [""; 0]);
    }
    assert!(server.denials("publish_topic") >= 20);
    assert!(server.denials("subscribe_topic") >= 30);
}

#[test]
fn a_wildcard_a_will_or_a_retained_message_ends_the_session() {
    let Household { server, mut controllers, .. } = household();
    controllers[0].send(&packet(0x30, &[&string("s/+/c"), b"x".as_slice()].concat())).expect("sent");
    let [_, one, two, _] = &mut controllers;
    one.send(&packet(0x31, &[&string(&c(1)), b"x".as_slice()].concat())).expect("sent");
    assert!(one.is_ended_within(SOON), "retained");
    two.send(&packet(0x34, &[&string(&c(2)), b"\x00\x07x".as_slice()].concat())).expect("sent");
    assert!(two.is_ended_within(SOON), "QoS 2");

    let mut with_will = Client::controller(&server).expect("TLS");
    let fields = [string("x"), string(&t(0)), string("bye"), string(&user(0)), string(&token(0))].concat();
    with_will.send(&packet(0x10, &[b"\x00\x04MQTT\x04\xc6\x00\x3c".as_slice(), &fields].concat())).expect("sent");
    assert!(with_will.is_refused_with(5));
}

#[test]
fn user_name_and_password_must_be_those_of_one_account() {
    let Household { server, .. } = household();
    for login in [
        Some((user(0), token(1))),
        Some((user(9), token(0))),
        Some((user(0), String::new())),
        Some(("#".to_owned(), token(0))),
        None,
    ] {
        let mut stranger = Client::controller(&server).expect("anybody gets that far");
        let login = login.as_ref().map(|(user, password)| (user.as_str(), password.as_str()));
        assert_eq!(stranger.connect("x", login), Some(4), "{login:?}");
        assert!(stranger.is_ended_within(SOON));
    }
    // A thing has no password, so it may not bring one.
    let mut thing = Client::thing(&server, &server.pki.device(&A)).expect("TLS");
    assert_eq!(thing.connect("x", Some((&user(0), &token(0)))), Some(4));
    assert_eq!(server.denials("credentials"), 6);
}

#[test]
fn client_ids_are_taken_over_within_one_account_only() {
    let Household { server, mut controllers, .. } = household();
    let mut again = server.controller("same name", &user(0), &token(0));
    assert!(controllers[0].is_ended_within(SOON), "the older session makes way");
    for other in &mut controllers[1..] {
        other.ping();
    }
    again.ping();
    let mut fifth = Vec::new();
    for n in 0..4 {
        fifth.push(server.controller(&format!("name {n}"), &user(0), &token(0)));
    }
    assert!(again.is_ended_within(SOON), "four sessions of an account, the oldest makes way");
    fifth[3].ping();
}

#[test]
fn no_message_waits_for_somebody_who_is_away() {
    let Household { server, mut things, mut controllers } = household();
    let [zero, ..] = &mut controllers;
    zero.send(b"\xe0\x00").expect("sent");
    assert!(zero.is_ended_within(SOON));
    server.eventually("it has parted", |server| server.metric("sect_cloud_sessions{side=\"controller\"}") == 3);
    things[0].publish(&t(0), b"missed");
    things[0].ping();
    let mut back = server.controller("same name", &user(0), &token(0));
    assert_eq!(back.subscribe(&[&t(0)]), [1]);
    assert_eq!(back.message(Duration::from_millis(300)), None);
    assert_eq!(server.metric("sect_cloud_unheard_total"), 1);
}

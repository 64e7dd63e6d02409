//! Floods, oversized packets, slow readers, too many connections: bounded, and nobody else's trouble.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::client::Client;
use super::isolation::{A, c, entry, t, token, user};
use super::packets::{packet, string};
use super::server::{SOON, Server};

#[test]
fn ten_messages_a_second_pass_and_the_excess_is_dropped() {
    let server = Server::new();
    let mut a = server.thing(A);
    a.register(&A, 1, &[entry(0), entry(1)]);
    assert_eq!(a.subscribe(&[&c(0), &c(1)]), [1, 1]);
    let mut flood = server.controller("x", &user(0), &token(0));
    let mut quiet = server.controller("x", &user(1), &token(1));
    assert_eq!(quiet.subscribe(&[&t(1)]), [1]);
    let start = Instant::now();
    for n in 0..500 {
        flood.publish(&c(0), format!("flood {n}").as_bytes());
    }
    flood.ping();
    let flooded = start.elapsed();
    quiet.publish(&c(1), b"hello");
    let mut passed = 0;
    while let Some((topic, _)) = a.message(Duration::from_millis(500)) {
        passed += usize::from(topic == c(0));
    }
    let allowed = 30 + 10 * (flooded.as_secs() as usize + 1);
    assert!((30..=allowed).contains(&passed), "{passed} of 500 in {flooded:?}");
    assert_eq!(server.denials("rate"), 500 - passed as u64);
    // The other account's message was not among the dropped, and a thing's topics are apart too.
    assert_eq!(server.metric("sect_cloud_forwards_total"), passed as u64 + 2);
    for n in 0..100 {
        a.publish(&t(0), format!("{n}").as_bytes());
    }
    a.publish(&t(1), b"for the quiet one");
    assert_eq!(quiet.message(SOON), Some((t(1), "for the quiet one".to_owned())));
}

#[test]
fn a_full_mailbox_is_emptied_without_the_reader_sending_anything() {
    let server = Server::new();
    let mut a = server.thing(A);
    let entries: Vec<_> = (0..12).map(entry).collect();
    a.register(&A, 1, &entries);
    let topics: Vec<_> = (0..12).map(c).collect();
    a.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>());
    let mut crowd: Vec<_> = (0..12).map(|n| server.controller("x", &user(n), &token(n))).collect();
    let payload = [b'x'; 7000];
    for round in 1..=3 {
        for (n, controller) in (0..).zip(&mut crowd) {
            for _ in 0..4 {
                controller.publish(&c(n), &payload);
            }
        }
        let mut arrived = 0;
        while arrived < 48 && a.message(SOON).is_some() {
            arrived += 1;
        }
        assert_eq!(arrived, 48, "round {round}");
    }
}

#[test]
fn a_packet_beyond_8_kib_ends_its_session() {
    let server = Server::new();
    let mut a = server.thing(A);
    a.register(&A, 1, &[entry(0)]);
    assert_eq!(a.subscribe(&[&c(0)]), [1]);
    let mut controller = server.controller("x", &user(0), &token(0));
    let largest = 8192 - 3 - 2 - c(0).len();
    controller.publish(&c(0), &vec![b'x'; largest]);
    assert_eq!(a.message(SOON).expect("it arrives").1.len(), largest);
    controller.publish(&c(0), &vec![b'x'; largest + 1]);
    assert!(controller.is_ended_within(SOON));
    assert_eq!(a.messages(), [""; 0]);
    assert_eq!(server.denials("too_large"), 1);
    // The length alone is enough.
    let mut controller = server.controller("x", &user(0), &token(0));
    controller.send(b"\x30\xff\xff\xff\x7f").expect("sent");
    assert!(controller.is_ended_within(SOON));
    // Nobody may send that much before he has logged in.
    let mut stranger = Client::controller(&server).expect("TLS");
    let fields = [string("x"), string(&user(0)), string(&"p".repeat(2000))].concat();
    stranger.send(&packet(0x10, &[b"\x00\x04MQTT\x04\xc2\x00\x3c".as_slice(), &fields].concat())).expect("sent");
    assert!(stranger.is_ended_within(SOON));
}

#[test]
fn whoever_does_not_finish_his_handshake_or_login_is_given_up() {
    let server = Server::with_limits("handshake-within-s = 1\nconnect-within-s = 1");
    for address in [server.things, server.controllers] {
        let mut silent = TcpStream::connect(address).expect("connects");
        silent.set_read_timeout(Some(SOON)).expect("set");
        let start = Instant::now();
        assert!(matches!(silent.read(&mut [0; 16]), Ok(0) | Err(_)));
        assert!(start.elapsed() < Duration::from_secs(5));
        let mut garbage = TcpStream::connect(address).expect("connects");
        garbage.write_all(&[0x47; 4096]).expect("sent");
        garbage.set_read_timeout(Some(SOON)).expect("set");
        let mut rest = Vec::new();
        let _ = garbage.read_to_end(&mut rest);
        assert!(rest.len() < 64, "an alert at most");
    }
    let mut without_login = Client::controller(&server).expect("TLS");
    assert!(without_login.is_ended_within(Duration::from_secs(5)));
    assert_eq!((server.denials("handshake_late"), server.denials("connect")), (2, 1));
    let log = server.log();
    let before_them = log.find("ready").expect("it was");
    assert!(!log[before_them..].contains(" WARN "), "strangers do not fill the log");
}

#[test]
fn connections_are_limited_for_each_address_and_come_back() {
    let server = Server::with_limits("connections-per-address = 5");
    let mut a = server.thing(A);
    let others: Vec<_> = (0..4).map(|_| Client::controller(&server).expect("TLS")).collect();
    assert!(Client::controller(&server).is_err(), "one too many");
    assert!(server.denials("address") >= 1);
    a.ping();
    drop(others);
    server.eventually("there are places again", |server| Client::controller(server).is_ok());
}

#[test]
fn a_client_that_does_not_read_costs_a_bounded_amount_and_nobody_else_time() {
    let server = Server::new();
    let mut a = server.thing(A);
    a.register(&A, 1, &[entry(0), entry(1)]);
    let mut deaf = server.controller("x", &user(0), &token(0));
    assert_eq!(deaf.subscribe(&[&t(0)]), [1]);
    let mut other = server.controller("x", &user(1), &token(1));
    assert_eq!(other.subscribe(&[&t(1)]), [1]);
    // What the kernel takes is not the server's; a hundred seconds of the largest messages would be.
    for n in 0..60 {
        a.publish(&t(0), &vec![b'x'; 8000]);
        a.publish(&t(1), format!("{n}").as_bytes());
        let (_, text) = other.message(SOON).expect("not held up");
        assert_eq!(text, format!("{n}"));
        std::thread::sleep(Duration::from_millis(105));
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("Linux");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line").trim();
    let kib: u64 = resident.trim_end_matches(" kB").trim().parse().expect("a number");
    assert!(kib < 100 * 1024, "{kib} KiB");
}

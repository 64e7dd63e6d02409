//! All clients come back at once: everybody gets in, and whoever is connected is served meanwhile.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::isolation::{A, c, entry, t, token, user};
use super::server::{SOON, Server};

const CLIENTS: usize = 400;
const THREADS: usize = 40;

#[test]
fn a_storm_of_reconnects_drains_without_refusing_or_starving_anybody() {
    let server = Server::with_limits("handshakes = 16\nconnections-per-address = 10000\nsessions-per-account = 1000");
    let mut a = server.thing(A);
    a.register(&A, 1, &[entry(0), entry(1)]);
    assert_eq!(a.subscribe(&[&c(0)]), [1]);
    let mut connected = server.controller("x", &user(0), &token(0));
    assert_eq!(connected.subscribe(&[&t(0)]), [1]);

    let (next, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let slowest = std::thread::scope(|scope| {
        let storm: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let mut open = Vec::new();
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= CLIENTS {
                            return open;
                        }
                        let mut client = server.controller(&format!("client {n}"), &user(1), &token(1));
                        client.ping();
                        open.push(client);
                    }
                })
            })
            .collect();
        let served = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            while !done.load(Ordering::Relaxed) {
                let start = Instant::now();
                connected.publish(&c(0), b"command");
                a.message(SOON).expect("it arrives");
                a.publish(&t(0), b"answer");
                connected.message(SOON).expect("it arrives");
                slowest = slowest.max(start.elapsed());
                std::thread::sleep(Duration::from_millis(110));
            }
            slowest
        });
        let open: Vec<_> = storm.into_iter().flat_map(|thread| thread.join().expect("all got in")).collect();
        assert_eq!(server.metric("sect_cloud_sessions{side=\"controller\"}"), CLIENTS as u64 + 1);
        done.store(true, Ordering::Relaxed);
        drop(open);
        served.join().expect("served")
    });
    assert!(slowest < Duration::from_secs(2), "a command and its answer took {slowest:?}");
    for reason in ["connections", "address", "handshake", "handshake_late"] {
        assert_eq!(server.denials(reason), 0, "{reason}");
    }
    server.eventually("all places are free again", |server| server.metric("sect_cloud_connections") == 2);
}

/// All of them in the same moment.
const AT_ONCE: usize = 200;

#[test]
fn two_hundred_clients_come_back_at_once_through_eight_places_for_handshakes() {
    let server = Server::with_limits("handshakes = 8\nconnections-per-address = 10000\nsessions-per-account = 1000");
    let mut a = server.thing(A);
    a.register(&A, 1, &[entry(0), entry(1)]);
    assert_eq!(a.subscribe(&[&c(0)]), [1]);
    let mut connected = server.controller("x", &user(0), &token(0));
    assert_eq!(connected.subscribe(&[&t(0)]), [1]);
    let sessions = "sect_cloud_sessions{side=\"controller\"}";

    let (cut, back) = (Barrier::new(AT_ONCE + 1), AtomicUsize::new(0));
    let (open, meanwhile) = std::thread::scope(|scope| {
        let storm: Vec<_> = (0..AT_ONCE)
            .map(|n| {
                let (server, cut, back) = (&server, &cut, &back);
                scope.spawn(move || {
                    let join = || {
                        let mut client = server.controller(&format!("client {n}"), &user(1), &token(1));
                        client.ping();
                        client
                    };
                    let first = join();
                    cut.wait();
                    // Without a word, as when a router restarts.
                    drop(first);
                    let again = join();
                    back.fetch_add(1, Ordering::Relaxed);
                    again
                })
            })
            .collect();
        cut.wait();
        let mut meanwhile = 0;
        while !storm.iter().all(|client| client.is_finished()) {
            let number = format!("{meanwhile}");
            connected.publish(&c(0), number.as_bytes());
            assert_eq!(a.message(SOON), Some((c(0), number.clone())));
            a.publish(&t(0), number.as_bytes());
            assert_eq!(connected.message(SOON), Some((t(0), number)));
            meanwhile += usize::from(back.load(Ordering::Relaxed) < AT_ONCE);
            std::thread::sleep(Duration::from_millis(110));
        }
        let open: Vec<_> = storm.into_iter().map(|client| client.join().expect("at its first attempt")).collect();
        (open, meanwhile)
    });
    assert!(meanwhile > 0, "nobody was served before all were back");
    server.eventually("nobody else is left", |server| server.metric(sessions) == AT_ONCE as u64 + 1);
    for reason in ["connections", "address", "handshake", "handshake_late", "credentials", "login"] {
        assert_eq!(server.denials(reason), 0, "{reason}");
    }
    drop(open);
    server.eventually("all places are free again", |server| server.metric("sect_cloud_connections") == 2);
}

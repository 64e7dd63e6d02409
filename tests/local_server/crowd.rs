//! Strangers in numbers: what they cost, and that nobody else pays.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Client, publish, tcp};
use crate::{ALICE, BOB, PAIR, World, admission, generous};
use sect::thing::local_server::{Admission, Limits, LocalServer};

#[tokio::test]
async fn garbage_gets_an_alert_or_nothing() {
    let mut world = World::new(generous()).await;
    let address = world.address;
    let mut session = world.run(async { Client::connect(address, &BOB, 4, "bob").await.0 }).await;
    world
        .run(async {
            for garbage in [
                &b"GET / HTTP/1.1\r\n\r\n"[..],
                b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a",
                b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
                b"\x16\x03\x01\xff\xff",
                b"\x00",
                &[0xff; 5000],
            ] {
                let mut stream = tcp(address, 5).await.expect("a connection");
                let _ = stream.write_all(garbage).await;
                let _ = stream.shutdown().await;
                let mut answer = Vec::new();
                let _ = stream.read_to_end(&mut answer).await;
                assert!(answer.is_empty() || answer.len() == 7 && answer[0] == 0x15, "{answer:02x?}");
            }
            assert!(session.ping().await);
        })
        .await;
    assert_eq!(world.server.counters().handshakes_failed, 6);
}

#[tokio::test]
async fn half_open_handshakes_give_way_to_new_ones() {
    let mut world = World::new(generous()).await;
    let address = world.address;
    world
        .run(async {
            let mut bob = Client::connect(address, &BOB, 4, "bob").await.0;
            let mut silent = Vec::new();
            for _ in 0..100 {
                let mut stream = tcp(address, 5).await.expect("a connection");
                stream.write_all(b"\x16\x03\x01").await.expect("written");
                silent.push(stream);
            }
            // Sixteen of them hold all the places, and a controller gets in.
            let mut alice = Client::connect(address, &ALICE, 4, "alice").await.0;
            assert!(alice.ping().await && bob.ping().await);
            // The oldest had to go, the newest are still there.
            assert_eq!(silent[0].read(&mut [0; 8]).await.unwrap_or(0), 0);
        })
        .await;
    let counters = world.server.counters();
    assert_eq!((counters.accepted, counters.handshakes_displaced), (102, 85));
}

#[tokio::test]
async fn a_half_open_handshake_ends_in_time() {
    let mut world = World::new(Limits { handshake_within: Duration::from_millis(200), ..generous() }).await;
    let address = world.address;
    world
        .run(async {
            let mut stream = tcp(address, 5).await.expect("a connection");
            stream.write_all(b"\x16\x03\x01").await.expect("written");
            assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0);
        })
        .await;
    assert_eq!(world.server.counters().handshakes_late, 1);
}

#[tokio::test]
async fn a_flood_of_connections_neither_starves_a_session_nor_another_source() {
    let mut world = World::new(Limits::default()).await;
    let address = world.address;
    world
        .run(async {
            let mut bob = Client::connect(address, &BOB, 4, "bob").await.0;
            assert_eq!(bob.subscribe(4, "s/bob-psk/t", 0).await, 0);
            let flood = async {
                for _ in 0..3000 {
                    if let Ok(mut stream) = tcp(address, 9).await {
                        let _ = stream.write_all(&[0xff; 100]).await;
                    }
                }
            };
            let talk = async {
                for _ in 0..300 {
                    bob.send(&publish(4, "s/bob-psk/c", b"on")).await;
                    assert!(bob.packet().await.is_some());
                }
                assert_eq!(Client::connect(address, &ALICE, 4, "alice").await.1, 0);
            };
            tokio::join!(flood, talk);
        })
        .await;
    let counters = world.server.counters();
    assert!(counters.rate_limited > 1000, "{counters:?}");
    assert_eq!((counters.published, counters.opened), (300, 2));
}

#[tokio::test]
async fn a_listener_that_has_stopped_takes_nobody_and_ends_nobody() {
    let mut world = World::new(generous()).await;
    let address = world.address;
    let mut bob = world.run(async { Client::connect(address, &BOB, 4, "bob").await.0 }).await;
    world.server.stop_listening();
    world
        .run(async {
            assert!(tcp(address, 1).await.is_err());
            assert!(bob.ping().await);
        })
        .await;
    let again = world.server.listen(address).await.expect("the same port");
    assert_eq!(again, address);
    world.run(async { assert_eq!(Client::connect(address, &ALICE, 4, "alice").await.1, 0) }).await;
}

/// How often `next` is polled in `time`.
async fn polls(server: &mut LocalServer, time: Duration) -> usize {
    let mut count = 0;
    let mut next = pin!(server.next());
    let counted = poll_fn(|context| {
        count += 1;
        next.as_mut().poll(context).map(|_| ())
    });
    assert!(tokio::time::timeout(time, counted).await.is_err(), "nothing happens");
    count
}

#[tokio::test]
async fn an_idle_server_sleeps() {
    let mut world = World::new(generous()).await;
    assert_eq!(polls(&mut world.server, Duration::from_millis(500)).await, 2, "at the start and at the end");
    let address = world.address;
    let bob = world.run(async { Client::connect(address, &BOB, 4, "bob").await.0 }).await;
    polls(&mut world.server, Duration::from_millis(100)).await;
    assert_eq!(polls(&mut world.server, Duration::from_millis(500)).await, 2, "and with a quiet session, too");
    drop(bob);
    world.until("closed").await;
    polls(&mut world.server, Duration::from_millis(100)).await;
    assert_eq!(polls(&mut world.server, Duration::from_millis(500)).await, 2);
}

#[tokio::test]
async fn who_has_all_the_places_cannot_keep_the_others_out() {
    let mut world = World::new(Limits { sessions: 4, ..generous() }).await;
    let many = |who| Admission { max_sessions: 4, ..admission(who) };
    world.server.admit(vec![many(&ALICE), many(&BOB), many(&PAIR)]);
    let address = world.address;
    world
        .run(async {
            let mut alice = Vec::new();
            for name in ["a", "b", "c", "d"] {
                alice.push(Client::connect(address, &ALICE, 4, name).await.0);
            }
            // All places are hers; each of the others gets one of them, the oldest first.
            let mut bob = Client::connect(address, &BOB, 4, "bob").await.0;
            assert!(alice[0].ended().await && alice[1].ping().await);
            let mut third = Client::connect(address, &PAIR, 4, "third").await.0;
            assert!(alice[1].ended().await && alice[2].ping().await && alice[3].ping().await);
            // A second one for him would leave her with fewer than he has.
            let mut refused = Client::tls(address, BOB.identity, BOB.key).await.expect("the PSK is right");
            assert_eq!(refused.packet().await, None);
            assert!(bob.ping().await && third.ping().await && alice[2].ping().await && alice[3].ping().await);
        })
        .await;
    assert_eq!((world.server.sessions(), world.server.counters().no_place), (4, 1));
}

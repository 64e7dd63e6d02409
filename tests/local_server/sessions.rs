//! What sessions may do to each other: nothing, unless they are one controller's.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::client::{Client, Who, publish, subscribe};
use crate::{ALICE, BOB, PAIR, World, admission, generous, topics};
use sect::mqtt::server::Qos;
use sect::thing::local_server::{Admission, Limits, NewSessions, ServerEvent};

async fn subscribed(world: &mut World, who: &Who, name: &str, qos: u8) -> Client {
    let address = world.address;
    world
        .run(async {
            let (mut client, code) = Client::connect(address, who, 4, name).await;
            assert_eq!(code, 0);
            assert_eq!(client.subscribe(4, &topics(who).1, qos).await, qos);
            client
        })
        .await
}

#[tokio::test]
async fn nobody_reads_or_writes_anothers_topic() {
    let mut world = World::new(generous()).await;
    let mut bob = subscribed(&mut world, &BOB, "bob", 0).await;
    let address = world.address;
    world
        .run(async {
            for version in [4, 5] {
                let (mut alice, _) = Client::connect(address, &ALICE, version, "alice").await;
                for topic in
                    ["s/bob-psk/t", "s/bob-psk/c", "s/alice-psk/c", "#", "+/+/+", "s/alice-psk/#", "$SYS/#", ""]
                {
                    let code = if version == 4 { 0x80 } else { 0x87 };
                    if !topic.is_empty() {
                        assert_eq!(alice.subscribe(version, topic, 0).await, code, "{topic}");
                    }
                }
                for topic in ["s/bob-psk/c", "s/bob-psk/t", "s/alice-psk/t", "sect/pair/c"] {
                    alice.send(&publish(version, topic, b"not mine")).await;
                }
                assert!(alice.ping().await, "a wrong topic does not end the session");
            }
            assert!(bob.ping().await, "and nothing came through");
        })
        .await;
    assert_eq!(world.server.counters().published, 0);
    assert_eq!((world.server.counters().publish_topic, world.server.counters().subscribe_topic), (8, 14));
}

#[tokio::test]
async fn a_message_for_a_topic_reaches_its_subscribers_alone() {
    let mut world = World::new(generous()).await;
    let mut first = subscribed(&mut world, &ALICE, "first", 0).await;
    let mut second = subscribed(&mut world, &ALICE, "second", 0).await;
    let mut bob = subscribed(&mut world, &BOB, "bob", 0).await;
    assert_eq!(world.server.publish("s/alice-psk/t", b"event", Qos::AtMostOnce), 2);
    assert_eq!(world.server.publish("s/nobody/t", b"event", Qos::AtMostOnce), 0);
    let expected = publish(4, "s/alice-psk/t", b"event");
    world
        .run(async {
            assert_eq!(first.packet().await.expect("the event")[1..], expected[2..]);
            assert_eq!(second.packet().await.expect("the event")[1..], expected[2..]);
            assert!(bob.ping().await);
        })
        .await;
}

#[tokio::test]
async fn qos_1_is_acknowledged_once_all_of_it_is() {
    let mut world = World::new(generous()).await;
    let mut client = subscribed(&mut world, &PAIR, "app", 1).await;
    for payload in [b"M6", b"M7"] {
        assert_eq!(world.server.publish("sect/pair/t", payload, Qos::AtLeastOnce), 1);
    }
    world.take_log();
    world
        .run(async {
            for id in [1, 2] {
                let message = client.packet().await.expect("a message");
                let at = message.len() - 4;
                assert_eq!((message[0], &message[at..at + 2]), (0x32, &[0, id][..]));
                client.send(&[0x40, 2, 0, id]).await;
            }
            assert!(client.ping().await);
        })
        .await;
    assert_eq!(world.take_log(), ["acknowledged"]);
}

#[tokio::test]
async fn an_acknowledgement_that_came_with_a_message_is_not_that_of_its_answer() {
    let mut world = World::new(generous()).await;
    let mut client = subscribed(&mut world, &PAIR, "app", 1).await;
    assert_eq!(world.server.publish("sect/pair/t", b"M7", Qos::AtLeastOnce), 1);
    let m7 = world.run(client.packet()).await.expect("a message");
    assert!(m7.ends_with(b"M7"));
    // One write, one TLS record, one read.
    client.send(&[publish(4, "sect/pair/c", b"M8"), vec![0x40, 2, 0, 1]].concat()).await;

    let mut events = Vec::new();
    let acknowledge = async {
        let m9 = client.packet().await.expect("a message");
        assert!(m9.ends_with(b"M9"));
        let packet_id = m9[m9.len() - 4..m9.len() - 2].to_vec();
        // The server has had every opportunity to take the first one for it.
        assert!(client.ping().await);
        client.send(&[&[0x40, 2][..], &packet_id].concat()).await;
        client.ping().await
    };
    tokio::pin!(acknowledge);
    loop {
        tokio::select! {
            biased;
            event = world.server.next() => match event {
                ServerEvent::Published { session, .. } => {
                    assert!(world.server.publish_to(session, "sect/pair/t", b"M9", Qos::AtLeastOnce));
                    events.push("M8, M9");
                }
                ServerEvent::Acknowledged { .. } => events.push("acknowledged"),
                event => panic!("{event:?}"),
            },
            ponged = &mut acknowledge => {
                assert!(ponged);
                break;
            }
        }
    }
    assert_eq!(events, ["M8, M9", "acknowledged"]);
}

#[tokio::test]
async fn what_is_published_is_on_its_way_before_the_server_has_its_turn_again() {
    let mut world = World::new(generous()).await;
    let mut client = subscribed(&mut world, &ALICE, "phone", 0).await;
    client.stream.get_mut().received.clear();
    for payload in [&b"one"[..], b"two", b"three"] {
        world.server.publish("s/alice-psk/t", payload, Qos::AtMostOnce);
    }
    // Nobody runs the server here.
    for payload in [&b"one"[..], b"two", b"three"] {
        let message = client.packet().await.expect("a message");
        assert!(message.ends_with(payload));
    }
}

#[tokio::test]
async fn sessions_end_with_their_admission_and_others_go_on() {
    let mut world = World::new(generous()).await;
    let mut alice = subscribed(&mut world, &ALICE, "alice", 0).await;
    let mut bob = subscribed(&mut world, &BOB, "bob", 0).await;
    let address = world.address;
    let mut halfway = world.run(Client::tls(address, ALICE.identity, ALICE.key)).await.expect("TLS");
    world.take_log();
    // What is queued when the admission ends still arrives: the answer to `user.del`.
    world.server.publish("s/alice-psk/t", b"bye", Qos::AtMostOnce);
    world.server.admit(vec![admission(&BOB)]);
    assert_eq!(world.server.publish("s/alice-psk/t", b"late", Qos::AtMostOnce), 0);
    world
        .run(async {
            let _ = alice.stream.write_all(&publish(4, "s/alice-psk/c", b"too late")).await;
            assert_eq!(alice.packet().await.expect("the last answer")[1..], publish(4, "s/alice-psk/t", b"bye")[2..]);
            assert!(alice.ended().await);
            assert!(halfway.ended().await, "a key without a login ends, too");
            assert!(bob.ping().await);
            assert!(Client::tls(address, ALICE.identity, ALICE.key).await.is_err());
        })
        .await;
    world.until("closed").await;
    assert_eq!(world.take_log(), ["closed"]);
    assert_eq!(world.server.counters().admissions_ended, 2);
}

#[tokio::test]
async fn a_message_that_was_read_before_the_end_of_an_admission_is_not_reported() {
    let mut world = World::new(generous()).await;
    let mut alice = subscribed(&mut world, &ALICE, "alice", 0).await;
    world.take_log();
    let both = [publish(4, "s/alice-psk/c", b"first"), publish(4, "s/alice-psk/c", b"second")].concat();
    alice.send(&both).await;
    let first = world.server.next().await;
    world.server.close(first.session().expect("a message has its session"));
    world.until("closed").await;
    assert_eq!(world.take_log(), ["closed"], "the second message is gone with its session");
}

#[tokio::test]
async fn a_server_that_shuts_down_says_its_last_words() {
    let mut world = World::new(generous()).await;
    let mut alice = subscribed(&mut world, &ALICE, "alice", 0).await;
    let address = world.address;
    let mut bob = world.run(async { Client::connect(address, &BOB, 5, "bob").await.0 }).await;
    world.server.publish("s/alice-psk/t", b"bye", Qos::AtMostOnce);
    let begun = std::time::Instant::now();
    world.server.shut_down(Duration::from_secs(1)).await;
    assert!(begun.elapsed() < Duration::from_millis(500));
    assert_eq!(alice.packet().await.expect("the last event")[1..], publish(4, "s/alice-psk/t", b"bye")[2..]);
    assert_eq!(alice.packet().await, None);
    assert_eq!(bob.packet().await, Some(vec![0xe0, 0x98]), "administrative action");
}

#[tokio::test]
async fn a_past_key_keeps_its_sessions_and_opens_none() {
    let mut world = World::new(generous()).await;
    let mut alice = subscribed(&mut world, &ALICE, "alice", 0).await;
    let next = Who { identity: "alice-psk-1", key: [0xa2; 32], ..ALICE };
    let past = Admission { new_sessions: NewSessions::Closed, ..admission(&ALICE) };
    let current = Admission { publish: "s/alice-psk/c".into(), subscribe: "s/alice-psk/t".into(), ..admission(&next) };
    world.server.admit(vec![past, current]);
    let address = world.address;
    world
        .run(async {
            assert!(alice.ping().await);
            assert!(Client::tls(address, ALICE.identity, ALICE.key).await.is_err());
            assert_eq!(Client::connect(address, &next, 4, "alice").await.1, 0);
            assert!(alice.ping().await, "the same name under another key takes nothing over");
        })
        .await;
}

#[tokio::test]
async fn a_client_takes_over_its_own_session_and_nobody_elses() {
    let mut world = World::new(generous()).await;
    let mut old = subscribed(&mut world, &ALICE, "phone", 0).await;
    let mut bob = subscribed(&mut world, &BOB, "phone", 0).await;
    let mut other = subscribed(&mut world, &ALICE, "laptop", 0).await;
    let mut new = subscribed(&mut world, &ALICE, "phone", 0).await;
    world
        .run(async {
            assert!(old.ended().await);
            assert!(bob.ping().await && other.ping().await && new.ping().await);
        })
        .await;
    assert_eq!((world.server.counters().taken_over, world.server.sessions()), (1, 3));
}

#[tokio::test]
async fn beyond_its_sessions_an_admission_ends_the_oldest_or_refuses_the_newest() {
    let mut world = World::new(generous()).await;
    let mut first = subscribed(&mut world, &ALICE, "1", 0).await;
    let mut second = subscribed(&mut world, &ALICE, "2", 0).await;
    let mut third = subscribed(&mut world, &ALICE, "3", 0).await;
    let mut one = subscribed(&mut world, &PAIR, "1", 0).await;
    let mut two = subscribed(&mut world, &PAIR, "2", 0).await;
    let address = world.address;
    world
        .run(async {
            assert!(first.ended().await);
            assert!(second.ping().await && third.ping().await);
            assert_eq!(Client::connect(address, &PAIR, 4, "3").await.1, 3);
            assert_eq!(Client::connect(address, &PAIR, 5, "3").await.1, 0x97);
            assert!(one.ping().await && two.ping().await);
            // Its own name again is no session more.
            assert_eq!(Client::connect(address, &PAIR, 4, "1").await.1, 0);
            assert!(one.ended().await);
        })
        .await;
}

#[tokio::test]
async fn all_places_taken_means_no_more_sessions() {
    let mut world = World::new(Limits { sessions: 2, ..generous() }).await;
    let mut alice = subscribed(&mut world, &ALICE, "1", 0).await;
    let mut bob = subscribed(&mut world, &BOB, "1", 0).await;
    let address = world.address;
    world
        .run(async {
            let mut third = Client::tls(address, PAIR.identity, PAIR.key).await.expect("TLS");
            assert!(third.ended().await);
            assert!(alice.ping().await && bob.ping().await);
        })
        .await;
    assert_eq!(world.server.counters().no_place, 1);
    // Places come back: of sessions that end, and of keys that never log in.
    drop(bob);
    world.until("closed").await;
    world
        .run(async {
            let mut lazy = Client::tls(address, PAIR.identity, PAIR.key).await.expect("TLS");
            let (mut bob, code) = Client::connect(address, &BOB, 4, "1").await;
            assert_eq!(code, 0);
            assert!(lazy.ended().await);
            assert!(bob.ping().await && alice.ping().await);
        })
        .await;
}

#[tokio::test]
async fn who_does_not_read_is_given_up_and_holds_nobody_else() {
    let mut world = World::new(generous()).await;
    let mut slow = subscribed(&mut world, &ALICE, "slow", 0).await;
    let mut bob = subscribed(&mut world, &BOB, "bob", 0).await;
    world.take_log();
    let mut sent = 0;
    // The kernel's buffers take some megabytes first.
    while world.server.publish("s/alice-psk/t", &[7; 8000], Qos::AtMostOnce) == 1 {
        sent += 1;
        assert!(sent < 10_000, "never given up");
        if sent % 4 == 0 {
            world.run(async { assert!(bob.ping().await) }).await;
        }
    }
    world.until("closed").await;
    assert_eq!(world.server.counters().slow_readers, 1);
    world
        .run(async {
            assert!(bob.ping().await);
            while slow.packet().await.is_some() {}
        })
        .await;
}

#[tokio::test]
async fn who_talks_without_pause_holds_nobody_else() {
    let mut world = World::new(generous()).await;
    let address = world.address;
    let mut bob = subscribed(&mut world, &BOB, "bob", 0).await;
    world
        .run(async {
            let (mut noisy, _) = Client::connect(address, &ALICE, 4, "noisy").await;
            let burst = subscribe(4, "s/alice-psk/t", 0).repeat(1000);
            let noise = async {
                loop {
                    // Neither read nor waited for.
                    if noisy.stream.write_all(&burst).await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
            };
            let calm = async {
                for _ in 0..200 {
                    assert!(bob.ping().await);
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! { () = noise => unreachable!("the noise has no end"), () = calm => {} }
        })
        .await;
}

#[tokio::test]
async fn a_session_without_a_connect_and_a_silent_one_end_in_time() {
    let mut limits = generous();
    limits.handshake_within = Duration::from_millis(300);
    limits.session.connect_within = Duration::from_millis(300);
    limits.session.keep_alive_s = 1;
    let mut world = World::new(limits).await;
    let address = world.address;
    world
        .run(async {
            let mut lazy = Client::tls(address, ALICE.identity, ALICE.key).await.expect("TLS");
            let (mut silent, code) = Client::connect(address, &BOB, 5, "silent").await;
            assert_eq!(code, 0);
            let begun = std::time::Instant::now();
            assert!(lazy.ended().await);
            assert!(begun.elapsed() < Duration::from_secs(3), "well before the 5 s of the default");
            assert_eq!(silent.packet().await, Some(vec![0xe0, 0x8d]), "keep-alive timeout");
            assert!(begun.elapsed() >= Duration::from_millis(1400));
        })
        .await;
    assert_eq!((world.server.counters().no_connect, world.server.counters().keep_alive), (1, 1));
}

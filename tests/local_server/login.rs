//! Who gets in, and what those who do not get to see.

use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Client, Who, publish, tcp};
use crate::hello::{Offer, client_hello};
use crate::wire::tls12_only;
use crate::{ALICE, BOB, PAIR, World, admission, generous, topics};
use sect::thing::local_server::{Admission, NewSessions};

/// What a fatal alert looks like before keys are there: one record, level fatal.
fn is_alert(bytes: &[u8]) -> bool {
    bytes.len() == 7 && bytes[..5] == [0x15, 3, 3, 0, 2] && bytes[5] == 2
}

#[tokio::test]
async fn a_controller_logs_in_and_is_answered_on_its_own_topic() {
    for version in [4, 5] {
        let mut world = World::new(generous()).await;
        let address = world.address;
        world
            .run(async {
                let (mut client, code) = Client::connect(address, &ALICE, version, "phone").await;
                assert_eq!(code, 0);
                let (to, from) = topics(&ALICE);
                assert_eq!(client.subscribe(version, &from, 0).await, 0);
                client.send(&publish(version, &to, b"hello")).await;
                let answer = client.packet().await.expect("an answer");
                assert_eq!(answer[1..], publish(version, &from, b"hello")[2..]);
                assert_eq!(client.tickets.load(Ordering::Relaxed), 0, "no ticket, no resumption");
                client.send(b"\xe0\x00").await;
                assert!(client.ended().await);
            })
            .await;
        world.until("closed").await;
        assert_eq!(world.take_log(), ["opened alice-psk", "subscribed", "published hello answered true", "closed"]);
        assert_eq!(world.server.sessions(), 0);
    }
}

#[tokio::test]
async fn an_unknown_identity_fails_exactly_like_a_wrong_key() {
    let mut world = World::new(generous()).await;
    let closed = Admission { new_sessions: NewSessions::Closed, ..admission(&BOB) };
    world.server.admit(vec![admission(&ALICE), closed]);
    let address = world.address;
    let failures = world
        .run(async {
            let mut failures = Vec::new();
            for (identity, key) in [
                ("alice-psk", [0; 32]),
                ("nobody", [0; 32]),
                ("bob-psk", BOB.key),
                ("alice-ps", ALICE.key),
                ("pair", PAIR.key),
            ] {
                failures.push(Client::tls(address, identity, key).await.err().expect("refused"));
            }
            failures
        })
        .await;
    assert!(is_alert(&failures[0]), "{:02x?}", failures[0]);
    assert!(failures.iter().all(|failure| *failure == failures[0]), "{failures:02x?}");
    assert_eq!(world.server.counters().handshakes_failed, 5);
    assert!(world.log.is_empty());
}

#[tokio::test]
async fn credentials_are_those_of_the_very_identity() {
    let mut world = World::new(generous()).await;
    let address = world.address;
    world
        .run(async {
            for login in [BOB.login, None, Some(("alice", "builder")), Some(("bob", "wonderland")), Some(("", ""))] {
                let mixed = Who { login, ..ALICE };
                let (mut client, code) = Client::connect(address, &mixed, 4, "phone").await;
                assert_eq!(code, 4, "{login:?}");
                assert!(client.ended().await);
                assert_eq!(Client::connect(address, &mixed, 5, "phone").await.1, 0x86, "{login:?}");
            }
            assert_eq!(Client::connect(address, &PAIR, 4, "phone").await.1, 0);
            let nosy = Who { login: ALICE.login, ..PAIR };
            assert_eq!(Client::connect(address, &nosy, 4, "phone").await.1, 4);
        })
        .await;
    assert_eq!(world.server.counters().bad_credentials, 11);
    world.until("closed").await;
    assert_eq!(world.take_log(), ["opened pair", "closed"]);
}

#[tokio::test]
async fn one_identity_with_two_logins_has_two_pairs_of_topics() {
    let mut world = World::new(generous()).await;
    let next = Who { login: Some(("alice", "looking-glass")), ..ALICE };
    let renewed = Admission { publish: "s/next/c".into(), subscribe: "s/next/t".into(), ..admission(&next) };
    world.server.admit(vec![admission(&ALICE), renewed.clone()]);
    let address = world.address;
    let (mut old, mut new) = world
        .run(async {
            let (mut old, code) = Client::connect(address, &ALICE, 4, "a").await;
            assert_eq!(code, 0);
            let (mut new, code) = Client::connect(address, &next, 4, "b").await;
            assert_eq!(code, 0);
            assert_eq!(old.subscribe(4, "s/alice-psk/t", 0).await, 0);
            assert_eq!(old.subscribe(4, "s/next/t", 0).await, 0x80);
            assert_eq!(new.subscribe(4, "s/next/t", 0).await, 0);
            (old, new)
        })
        .await;
    // `token.use`: the old login ends, the new one goes on.
    world.server.admit(vec![renewed]);
    world
        .run(async {
            assert!(old.ended().await);
            assert!(new.ping().await);
        })
        .await;
}

#[tokio::test]
async fn only_tls_1_3_with_x25519_and_sha_256_is_spoken() {
    let mut world = World::new(generous()).await;
    let address = world.address;
    world
        .run(async {
            let tls = |change: fn(&mut openssl::ssl::SslContextBuilder)| {
                Client::tls_with(address, 1, ALICE.identity, ALICE.key, change)
            };
            assert!(is_alert(&tls(tls12_only).await.err().expect("TLS 1.2 is refused")));
            let groups = |list: &'static str| {
                Client::tls_with(address, 1, ALICE.identity, ALICE.key, move |context| {
                    context.set_groups_list(list).expect("groups");
                })
            };
            assert!(is_alert(&groups("P-256").await.err().expect("P-256 is refused")));
            // A HelloRetryRequest leads to X25519, and the identity is still the right one.
            let mut client = groups("P-256:X25519").await.expect("retried");
            assert_eq!(client.login(ALICE.login, 4, "phone").await, 0);
            let sha384 = |context: &mut openssl::ssl::SslContextBuilder| {
                context.set_ciphersuites("TLS_AES_256_GCM_SHA384").expect("a suite");
            };
            assert!(is_alert(&tls(sha384).await.err().expect("SHA-384 is refused")));
            let chacha = |context: &mut openssl::ssl::SslContextBuilder| {
                context.set_ciphersuites("TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256").expect("suites");
            };
            assert!(tls(chacha).await.is_ok());
            // Without a PSK there is nothing to authenticate the server with.
            let no_psk = |context: &mut openssl::ssl::SslContextBuilder| {
                context.set_psk_client_callback(|_, _, _, _| Ok(0));
            };
            assert!(is_alert(&tls(no_psk).await.err().expect("refused")));
        })
        .await;
}

/// Sends a ClientHello and returns all that comes back until the server is silent or hangs up.
async fn says_hello(world: &mut World, hello: &[u8]) -> Vec<u8> {
    let address = world.address;
    world
        .run(async {
            let mut stream = tcp(address, 1).await.expect("a connection");
            stream.write_all(hello).await.expect("written");
            let mut answer = vec![0; 4096];
            let count = stream.read(&mut answer).await.expect("an answer");
            answer.truncate(count);
            answer
        })
        .await
}

#[tokio::test]
async fn only_the_first_identity_of_a_client_hello_counts() {
    let mut world = World::new(generous()).await;
    let alice = || Offer { identity: b"alice-psk", key: ALICE.key };
    let bob = || Offer { identity: b"bob-psk", key: BOB.key };
    let nobody = || Offer { identity: b"nobody", key: [0; 32] };
    let thief = || Offer { identity: b"alice-psk", key: [0; 32] };
    let psk_dhe_ke = &[1];
    for offers in [vec![alice()], vec![alice(), nobody()], vec![alice(), bob()]] {
        let answer = says_hello(&mut world, &client_hello(&offers, psk_dhe_ke, false)).await;
        assert_eq!(answer[0], 0x16, "a ServerHello: {answer:02x?}");
        // RFC 8446 4.2.11: the server names the identity that it has selected.
        assert!(answer.windows(6).any(|window| window == [0, 41, 0, 2, 0, 0]), "{answer:02x?}");
    }
    let mut refused = Vec::new();
    for offers in
        [vec![thief()], vec![nobody(), alice()], vec![thief(), alice()], vec![thief(), bob()], vec![nobody(), nobody()]]
    {
        refused.push(says_hello(&mut world, &client_hello(&offers, psk_dhe_ke, false)).await);
    }
    assert!(is_alert(&refused[0]), "{:02x?}", refused[0]);
    assert!(refused.iter().all(|answer| *answer == refused[0]), "{refused:02x?}");
    assert!(world.log.is_empty());
}

#[tokio::test]
async fn identities_of_any_bytes_are_refused_alike() {
    let mut world = World::new(generous()).await;
    let wrong =
        says_hello(&mut world, &client_hello(&[Offer { identity: b"alice-psk", key: [0; 32] }], &[1], false)).await;
    for identity in [&b"\x00"[..], b"\xff\xfe", b"alice-psk ", &[b'x'; 256]] {
        let hello = client_hello(&[Offer { identity, key: [0; 32] }], &[1], false);
        assert_eq!(says_hello(&mut world, &hello).await, wrong, "{identity:02x?}");
    }
    // Longer ones OpenSSL does not even ask about; the next identity gets its chance, with its own key.
    let long = || Offer { identity: &[b'x'; 300], key: [0; 32] };
    assert!(is_alert(&says_hello(&mut world, &client_hello(&[long()], &[1], false)).await));
    let alice = Offer { identity: b"alice-psk", key: ALICE.key };
    assert_eq!(says_hello(&mut world, &client_hello(&[long(), alice], &[1], false)).await[0], 0x16);
}

#[tokio::test]
async fn there_is_no_psk_without_diffie_hellman_and_no_early_data() {
    let mut world = World::new(generous()).await;
    let alice = || [Offer { identity: b"alice-psk", key: ALICE.key }];
    assert!(is_alert(&says_hello(&mut world, &client_hello(&alice(), &[0], false)).await));
    let both = says_hello(&mut world, &client_hello(&alice(), &[0, 1], false)).await;
    // A key share in the ServerHello: psk_dhe_ke was chosen.
    assert!(both.windows(6).any(|window| window == [0, 51, 0, 36, 0, 29]), "{both:02x?}");
    let early = says_hello(&mut world, &client_hello(&alice(), &[1], true)).await;
    assert_eq!(early[0], 0x16);
    assert_eq!(world.server.counters().handshakes, 0);
}

#[tokio::test]
async fn a_watched_key_opens_nothing_and_is_reported() {
    let mut world = World::new(generous()).await;
    let address = world.address;
    let mut open = world.run(async { Client::connect(address, &PAIR, 4, "first").await.0 }).await;
    let watched = Admission { new_sessions: NewSessions::Watched, ..admission(&PAIR) };
    world.server.admit(vec![admission(&ALICE), watched]);
    world.take_log();
    world
        .run(async {
            // The handshake is complete for the client, and nothing that it says is heard.
            let mut client = Client::tls(address, PAIR.identity, PAIR.key).await.expect("the PSK is right");
            let _ = client.stream.write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a").await;
            assert_eq!(client.packet().await, None);
            // Who does not hold the key learns nothing, and nobody is told of him.
            let wrong = Client::tls(address, PAIR.identity, [0; 32]).await.err().expect("refused");
            assert_eq!(wrong, Client::tls(address, "nobody", [0; 32]).await.err().expect("refused"));
            assert!(open.ping().await, "the session that it opened goes on");
        })
        .await;
    assert_eq!(world.take_log(), ["refused pair"]);
    assert_eq!((world.server.counters().watched, world.server.sessions()), (1, 1));
}

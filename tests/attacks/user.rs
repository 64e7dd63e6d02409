//! A malicious user: valid keys, and MQTT that no honest controller speaks.

use std::net::SocketAddr;
use std::time::Duration;

use sect::proto::pairing::binding::Binding;

use crate::arena::Arena;
use crate::raw::{self, Raw};
use crate::support::line::Line;

const T_COMMAND: &[u8] = b"not a JWE";

fn login(server: SocketAddr, mallory: &Binding, version: u8) -> Raw {
    Raw::login(server, 50, mallory, version, "mallory")
}

#[tokio::test]
async fn an_oversized_packet_ends_the_session_before_it_is_taken_in() {
    let mut arena = Arena::open().await;
    let (server, mallory) = (arena.server(), arena.mallory.clone());
    arena
        .withstands(move || {
            let topic = mallory.topic.c2t();
            for version in [4, 5] {
                // The largest that is taken, the smallest that is not.
                let room = 8192 - raw::publish(version, &topic, &[0; 1000]).len() + 1000;
                let mut one = login(server, &mallory, version);
                one.send(&raw::publish(version, &topic, &vec![b'x'; room])).expect("written");
                assert!(one.ping());
                let _ = one.send(&raw::publish(version, &topic, &vec![b'x'; room + 1]));
                one.expect_end();

                // 256 MB announced, and as much of it sent as is taken.
                let mut one = login(server, &mallory, version);
                let _ = one.send(&[b"\x30\xff\xff\xff\x7f".as_slice(), &raw::string(&topic)].concat());
                let sent = (0..4096).take_while(|_| one.send(&[0x33; 16_384]).is_ok()).count();
                assert!(sent < 4096, "64 MB were taken");

                // A length that is none.
                let mut one = login(server, &mallory, version);
                let _ = one.send(b"\x30\xff\xff\xff\xff\x7f");
                one.expect_end();
            }
        })
        .await;
}

#[tokio::test]
async fn ten_thousand_subscribes_are_answered_and_leave_nothing() {
    let mut arena = Arena::open().await;
    let (server, mallory, ana) = (arena.server(), arena.mallory.clone(), arena.ana.clone());
    arena
        .withstands(move || {
            let mut one = login(server, &mallory, 4);
            for round in 0..200_u16 {
                let mut many = Vec::new();
                for at in 0..50 {
                    let topic = match at % 4 {
                        0 => mallory.topic.t2c(),
                        1 => ana.topic.t2c(),
                        2 => format!("s/{round}/{at}"),
                        _ => "#".to_owned(),
                    };
                    many.extend(raw::subscribe(4, &[&topic]));
                }
                one.send(&many).expect("written");
                for at in 0..50 {
                    let granted = if at % 4 == 0 { 1 } else { 0x80 };
                    // Ana switches all the while: her events come to Mallory's topic as well.
                    let suback = std::iter::from_fn(|| one.packet()).find(|packet| packet[0] == 0x90);
                    assert_eq!(suback.expect("a SUBACK").last(), Some(&granted));
                }
            }
        })
        .await;
}

#[tokio::test]
async fn ten_thousand_filters_in_one_packet_are_too_many() {
    let mut arena = Arena::open().await;
    let (server, mallory) = (arena.server(), arena.mallory.clone());
    arena
        .withstands(move || {
            for version in [4, 5] {
                let mut one = login(server, &mallory, version);
                let _ = one.send(&raw::subscribe(version, &vec!["a"; 10_000]));
                one.expect_end();
                // As many as fit.
                let mut one = login(server, &mallory, version);
                for _ in 0..20 {
                    one.send(&raw::subscribe(version, &vec!["a"; 2000])).expect("written");
                    let suback = one.packet().expect("a SUBACK");
                    let refused = if version == 5 { 0x87 } else { 0x80 };
                    assert_eq!(suback.iter().filter(|&&code| code == refused).count(), 2000);
                }
            }
        })
        .await;
}

#[tokio::test]
async fn a_hundred_sessions_of_one_user_leave_four_and_nobody_else_pays() {
    let mut arena = Arena::open().await;
    let (server, mallory) = (arena.server(), arena.mallory.clone());
    arena
        .withstands(move || {
            let mut all: Vec<Raw> = (50..150)
                .map(|from| {
                    // As fast as the limit for all sources lets newcomers in.
                    std::thread::sleep(Duration::from_millis(20));
                    Raw::login(server, from, &mallory, 4, &format!("mallory-{from}"))
                })
                .collect();
            let open: Vec<bool> = all.iter_mut().map(Raw::ping).collect();
            assert_eq!(open.iter().filter(|&&open| open).count(), 4);
            assert!(open[96..].iter().all(|&open| open), "the newest");
        })
        .await;
}

#[tokio::test]
async fn handshakes_without_a_login_take_no_place_for_long() {
    let mut arena = Arena::open().await;
    let (server, mallory) = (arena.server(), arena.mallory.clone());
    arena
        .withstands(move || {
            let held: Vec<Raw> = (50..130)
                .map(|from| {
                    std::thread::sleep(Duration::from_millis(20));
                    Raw::of(server, from, &mallory)
                })
                .collect();
            // More than there are places, and one with a login still gets in.
            assert!(login(server, &mallory, 4).ping());
            drop(held);
        })
        .await;
}

#[tokio::test]
async fn a_client_id_takes_over_only_ones_own_session() {
    let mut arena = Arena::open().await;
    let (server, mallory, ana) = (arena.server(), arena.mallory.clone(), arena.ana.clone());
    arena
        .withstands(move || {
            let mut anas = Raw::login(server, 40, &ana, 4, "the-same");
            let mut first = Raw::login(server, 50, &mallory, 4, "the-same");
            let mut second = Raw::login(server, 51, &mallory, 5, "the-same");
            first.expect_end();
            assert!(second.ping() && anas.ping());
            // Her login under his key, his under hers: neither.
            for (key, name) in [(&mallory, &ana), (&ana, &mallory)] {
                let mut crossed = Raw::of(server, 52, key);
                crossed.send(&raw::connect(4, "the-same", Some(name))).expect("written");
                assert_eq!(crossed.packet().expect("a CONNACK")[2], 4);
                crossed.expect_end();
            }
            assert!(second.ping() && anas.ping());
        })
        .await;
}

#[tokio::test]
async fn a_publish_to_any_other_topic_reaches_nobody() {
    let mut arena = Arena::open().await;
    let (server, mallory, ana) = (arena.server(), arena.mallory.clone(), arena.ana.clone());
    arena
        .withstands(move || {
            let mut victim = Raw::login(server, 40, &ana, 4, "victim");
            victim.send(&raw::subscribe(4, &[&ana.topic.t2c()])).expect("written");
            for version in [4, 5] {
                let mut one = login(server, &mallory, version);
                for topic in [
                    mallory.topic.t2c(),
                    ana.topic.c2t(),
                    ana.topic.t2c(),
                    "sect/pair/c".into(),
                    "sect/pair/t".into(),
                    "sect/cloud/0000000000000000/down".into(),
                    "$SYS/broker".into(),
                    format!("{}/", mallory.topic.c2t()),
                    mallory.topic.c2t().to_uppercase(),
                ] {
                    one.send(&raw::publish(version, &topic, b"MALLORY")).expect("written");
                    one.send(&raw::publish_acknowledged(version, &topic, 9, b"MALLORY")).expect("written");
                    let puback = one.packet().expect("a PUBACK");
                    assert_eq!(&puback[..3], &[0x40, 0, 9]);
                    // MQTT 5.0 3.4.2.1: NotAuthorized. 3.1.1 has no word for it.
                    assert_eq!(puback.get(3).copied(), (version == 5).then_some(0x87), "{topic}");
                }
            }
            // Everything that Ana hears is the thing's.
            assert!(victim.send(b"\xc0\x00").is_ok());
            while let Some(packet) = victim.packet() {
                assert!(!packet.windows(7).any(|text| text == b"MALLORY"));
                if packet == [0xd0] {
                    return;
                }
            }
            panic!("the victim's session has ended");
        })
        .await;
}

#[tokio::test]
async fn retained_messages_wills_and_wildcards_are_refused() {
    let mut arena = Arena::open().await;
    let (server, mallory) = (arena.server(), arena.mallory.clone());
    arena
        .withstands(move || {
            let topic = mallory.topic.c2t();
            for version in [4_u8, 5] {
                let mut one = login(server, &mallory, version);
                let _ = one.send(&raw::publish_with(0x31, version, &topic, &[], T_COMMAND));
                one.expect_end();

                let mut one = login(server, &mallory, version);
                let qos2 = [raw::string(&topic), vec![0, 1], if version == 5 { vec![0] } else { vec![] }].concat();
                let _ = one.send(&raw::packet(0x34, &qos2));
                one.expect_end();

                let properties: &[u8] = if version == 5 { &[0] } else { &[] };
                let will = [properties, &raw::string(&topic), &raw::string("off")].concat();
                let mut one = Raw::of(server, 50, &mallory);
                one.send(&raw::connect_with(version, 0x04, &[], "w", &will, Some(&mallory))).expect("written");
                assert_ne!(one.packet().expect("a CONNACK")[2], 0);
                one.expect_end();

                let mut one = login(server, &mallory, version);
                for filter in ["#", "s/#", "s/+/t", "+/+/+", "$share/g/#"] {
                    one.send(&raw::subscribe(version, &[filter])).expect("written");
                    assert!(one.packet().expect("a SUBACK").last().is_some_and(|&code| code >= 0x80), "{filter}");
                }
                // A topic name with a wildcard is no topic name.
                let _ = one.send(&raw::publish(version, "s/+/c", T_COMMAND));
                let _ = one.ping();
            }
        })
        .await;
}

#[tokio::test]
async fn strange_properties_of_mqtt_5_break_nothing() {
    let mut arena = Arena::open().await;
    let (server, mallory) = (arena.server(), arena.mallory.clone());
    arena
        .withstands(move || {
            let user_property = [&b"\x26"[..], &raw::string("k"), &raw::string("v")].concat();
            // In a CONNECT (MQTT 5.0 section 3.1.2.11).
            for (said, properties, expected) in [
                ("Receive Maximum 0", &b"\x21\x00\x00"[..], Fate::Ends),
                ("Receive Maximum 1", b"\x21\x00\x01", Fate::GoesOn),
                ("Topic Alias Maximum 0", b"\x22\x00\x00", Fate::GoesOn),
                ("Topic Alias Maximum 65535", b"\x22\xff\xff", Fate::GoesOn),
                ("Maximum Packet Size 0", b"\x27\x00\x00\x00\x00", Fate::Ends),
                ("Maximum Packet Size 1", b"\x27\x00\x00\x00\x01", Fate::Ends),
                ("a session that never expires", b"\x11\xff\xff\xff\xff", Fate::GoesOn),
                ("a property twice", b"\x21\x00\x01\x21\x00\x01", Fate::Ends),
                ("a property that is none", b"\x7e\x00", Fate::Ends),
                ("an authentication method", b"\x15\x00\x04NONE", Fate::Ends),
                ("Request Response Information 2", b"\x19\x02", Fate::Ends),
                ("900 bytes of user properties", &user_property.repeat(110), Fate::GoesOn),
            ] {
                let mut one = Raw::of(server, 50, &mallory);
                one.send(&raw::connect_with(5, 0, properties, "p", &[], Some(&mallory))).expect("written");
                let _ = one.send(&raw::subscribe(5, &[&mallory.topic.t2c()]));
                let _ = one.send(&raw::publish_acknowledged(5, &mallory.topic.c2t(), 1, T_COMMAND));
                assert_eq!(Fate::of(&mut one), expected, "a CONNECT with {said}");
                std::thread::sleep(Duration::from_millis(20));
            }
            // In a PUBLISH (section 3.3.2.3).
            let topic = mallory.topic.c2t();
            for (said, topic, properties, expected) in [
                ("Topic Alias 65535", topic.as_str(), b"\x23\xff\xff".to_vec(), Fate::Ends),
                ("Topic Alias 1", topic.as_str(), b"\x23\x00\x01".to_vec(), Fate::Ends),
                ("Topic Alias 0", topic.as_str(), b"\x23\x00\x00".to_vec(), Fate::Ends),
                ("Topic Alias 1 and no topic", "", b"\x23\x00\x01".to_vec(), Fate::Ends),
                ("no topic", "", Vec::new(), Fate::Ends),
                ("7 KB of user properties", topic.as_str(), user_property.repeat(1000), Fate::GoesOn),
                ("Subscription Identifier 0", topic.as_str(), b"\x0b\x00".to_vec(), Fate::Ends),
                // A client must not send it (3.3.4); it is passed over.
                ("Subscription Identifier 1", topic.as_str(), b"\x0b\x01".to_vec(), Fate::GoesOn),
                ("a message that expires at once", topic.as_str(), b"\x02\x00\x00\x00\x00".to_vec(), Fate::GoesOn),
                // Nothing is ever sent there.
                ("a wildcard to answer to", topic.as_str(), b"\x08\x00\x01#".to_vec(), Fate::GoesOn),
            ] {
                let mut one = login(server, &mallory, 5);
                let _ = one.send(&raw::publish_with(0x30, 5, topic, &properties, T_COMMAND));
                assert_eq!(Fate::of(&mut one), expected, "a PUBLISH with {said}");
                std::thread::sleep(Duration::from_millis(20));
            }
            // Packets that only a server sends, acknowledgements of nothing, AUTH, a second CONNECT.
            for (said, strange) in [
                ("CONNACK", &b"\x20\x03\x00\x00\x00"[..]),
                ("PUBACK of nothing", b"\x40\x02\x00\x09"),
                ("PUBREC of nothing", b"\x50\x02\x00\x09"),
                ("PUBREL of nothing", b"\x62\x02\x00\x09"),
                ("PUBCOMP of nothing", b"\x70\x02\x00\x09"),
                ("SUBACK", b"\x90\x04\x00\x01\x00\x00"),
                ("PINGRESP", b"\xd0\x00"),
                ("AUTH", b"\xf0\x00"),
                ("a packet of no type", b"\x00\x00"),
                ("UNSUBSCRIBE from nothing", b"\xa2\x02\x00\x01"),
                ("a second CONNECT", &raw::connect(5, "again", Some(&mallory))),
            ] {
                let mut one = login(server, &mallory, 5);
                let _ = one.send(strange);
                assert_eq!(Fate::of(&mut one), Fate::Ends, "{said}");
                std::thread::sleep(Duration::from_millis(20));
            }
        })
        .await;
}

/// What becomes of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    GoesOn,
    Ends,
}

impl Fate {
    /// A session that does neither fails the test.
    fn of(one: &mut Raw) -> Self {
        if one.ping() {
            return Self::GoesOn;
        }
        one.expect_end();
        Self::Ends
    }
}

#[tokio::test]
async fn sessions_that_open_and_vanish_leave_nothing() {
    let mut arena = Arena::open().await;
    let (server, mallory) = (arena.server(), arena.mallory.clone());
    arena
        .withstands(move || {
            for (_, from) in (0..150).zip((50..150_u8).cycle()) {
                let one = Raw::login(server, from, &mallory, 4, "mallory");
                drop(one);
                std::thread::sleep(Duration::from_millis(15));
            }
        })
        .await;
    Line::open(&arena.plug, &arena.mallory).await.expect("even Mallory may come back");
}

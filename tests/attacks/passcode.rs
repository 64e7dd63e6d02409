//! Attackers at an unclaimed plug: some guess the passcode, some have read it.

use std::net::SocketAddr;
use std::time::Duration;

use sect::proto::id::Nonce;
use sect::proto::json;
use sect::proto::keys::{Ephemeral, pairing_psk};
use sect::proto::pairing::message::Hello;
use sect::thing::clock::os_rng;

use crate::arena::{Vitals, loud_lines};
use crate::raw::{self, Raw};
use crate::support::line;
use crate::support::{Plug, wait_for};

const C2T: &str = "sect/pair/c";
const T2C: &str = "sect/pair/t";

fn psk(passcode: &str) -> [u8; 32] {
    *pairing_psk(&passcode.parse().expect("a passcode")).expose()
}

/// A session of somebody who has read the passcode; `None` if it is refused.
fn session(server: SocketAddr, from: u8, passcode: &str) -> Option<Raw> {
    let mut raw = Raw::tls(server, from, "pair", psk(passcode)).ok()?;
    raw.send(&raw::connect(4, &format!("thief-{from}"), None)).ok()?;
    (raw.packet()?[..3] == [0x20, 0, 0]).then_some(raw)
}

fn subscribed(server: SocketAddr, from: u8, passcode: &str) -> Raw {
    let mut raw = session(server, from, passcode).expect("a session");
    raw.send(&raw::subscribe(4, &[T2C])).expect("written");
    assert_eq!(raw.packet().expect("a SUBACK").last(), Some(&1));
    raw
}

fn hello() -> Vec<u8> {
    let mut rng = os_rng();
    json::encode(&Hello { x: Ephemeral::random(&mut rng).public(), nc: Nonce::random(&mut rng) })
}

/// An unclaimed plug that listens, its address, and what its display shows.
fn unclaimed() -> (Plug, SocketAddr, (String, String)) {
    let plug = Plug::unclaimed();
    // The display is a moment ahead of the radio.
    wait_for("the access point", || loud_lines(&plug).iter().any(|line| line.contains("AccessPointUp")).then_some(()));
    let (server, shown) = (plug.access_point(), plug.wait_for_passcode());
    (plug, server, shown)
}

/// The owner can still claim the plug, with what the display shows now.
async fn owner_claims(plug: &Plug) {
    let (ssid, passcode) = plug.wait_for_passcode();
    owner_claims_with(plug, ssid, passcode).await;
}

/// The same with what he has read before.
async fn owner_claims_with(plug: &Plug, ssid: String, passcode: String) {
    let owner = line::claim_with(plug, ssid, passcode).await;
    let mut line = line::Line::open(plug, &owner).await.expect("a session");
    line.switch(true).await;
    assert!(plug.outlet_is_on());
}

#[tokio::test]
async fn guessing_the_passcode_at_tls_uses_up_no_window() {
    let (plug, server, shown) = unclaimed();
    let before = Vitals::of(&plug);
    let refused = tokio::task::spawn_blocking(move || {
        (50..150_u8).filter(|&from| Raw::tls(server, from, "pair", [from; 32]).is_err()).count()
    });
    assert_eq!(refused.await.expect("runs"), 100);
    assert_eq!(plug.wait_for_passcode(), shown, "neither name nor passcode have changed");
    before.hold(&plug, 0);
    owner_claims(&plug).await;
}

#[tokio::test]
async fn five_bad_runs_end_the_window_and_the_old_passcode_is_worth_nothing() {
    let (plug, server, shown) = unclaimed();
    let before = Vitals::of(&plug);
    let old = shown.1.clone();
    tokio::task::spawn_blocking(move || {
        // What comes first is not M1; a JWE of nobody's after M1; M1 twice over, then noise.
        let jwe = b"eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2Q0JDLUhTNTEyIiwia2lkIjoiQUFBQUFBQUFBQUEifQ..AA.AA.AA".to_vec();
        for (at, attack) in [
            vec![jwe.clone()],
            vec![hello(), jwe],
            vec![hello(), hello(), vec![0xff; 3000]],
            vec![Vec::new()],
            vec![br#"{"v":1,"t":"pair.hello","x":"","nc":""}"#.to_vec()],
        ]
        .into_iter()
        .enumerate()
        {
            let mut thief = subscribed(server, 50 + at as u8, &old);
            for payload in attack {
                let _ = thief.send(&raw::publish(4, C2T, &payload));
            }
            thief.expect_end();
        }
        wait_for("the end of the old passcode", || session(server, 60, &old).is_none().then_some(()));
    })
    .await
    .expect("runs");
    let fresh = wait_for("a new window", || Some(plug.wait_for_passcode()).filter(|fresh| *fresh != shown));
    assert!(fresh.0 != shown.0 && fresh.1 != shown.1, "name and passcode are both new");
    // What is shown is not written down: two lines say that the radio has changed.
    before.hold(&plug, 2);
    assert!(!loud_lines(&plug).iter().any(|line| line.contains(&shown.1) || line.contains(&fresh.1)));
    owner_claims(&plug).await;
}

#[tokio::test]
async fn a_third_session_with_the_passcode_is_refused_and_the_first_two_stay() {
    let (plug, server, (_, passcode)) = unclaimed();
    tokio::task::spawn_blocking(move || {
        let mut two = [subscribed(server, 50, &passcode), subscribed(server, 51, &passcode)];
        for from in 52..62 {
            assert!(session(server, from, &passcode).is_none());
        }
        for one in &mut two {
            assert!(one.ping());
        }
    })
    .await
    .expect("runs");
    owner_claims(&plug).await;
}

#[tokio::test]
async fn who_has_the_passcode_subscribes_to_the_pairing_topic_alone() {
    let (plug, server, (_, passcode)) = unclaimed();
    tokio::task::spawn_blocking(move || {
        let mut thief = session(server, 50, &passcode).expect("a session");
        for topic in [
            "#",
            "+/+/+",
            "sect/#",
            "sect/pair/+",
            C2T,
            "s/0000000000000000000000000/t",
            "$SYS/#",
            "$share/a/sect/pair/t",
        ] {
            thief.send(&raw::subscribe(4, &[topic])).expect("written");
            assert_eq!(thief.packet().expect("a SUBACK").last(), Some(&0x80), "{topic}");
        }
        // A login belongs to a controller; `pair` has none.
        let mut with_login = Raw::tls(server, 51, "pair", psk(&passcode)).expect("the key is right");
        let login = raw::packet(
            0x10,
            &[b"\x00\x04MQTT\x04\xc2\x00\x3c".to_vec(), raw::string("a"), raw::string("user"), raw::string("pass")]
                .concat(),
        );
        with_login.send(&login).expect("written");
        assert_eq!(with_login.packet().expect("a CONNACK")[2], 4);
    })
    .await
    .expect("runs");
    owner_claims(&plug).await;
}

#[tokio::test]
async fn a_flood_of_m1_costs_no_memory_and_no_window() {
    let (plug, server, shown) = unclaimed();
    let passcode = shown.1.clone();
    tokio::task::spawn_blocking({
        let passcode = passcode.clone();
        move || drop(subscribed(server, 50, &passcode))
    })
    .await
    .expect("runs");
    let before = Vitals::of(&plug);
    let thief = tokio::task::spawn_blocking(move || {
        let mut thief = subscribed(server, 50, &passcode);
        for _ in 0..500 {
            thief.send(&raw::publish(4, C2T, &hello())).expect("written");
            let accept = thief.packet().expect("M2");
            assert!(accept[0] & 0xf0 == 0x30 && accept.windows(11).any(|text| text == b"pair.accept"));
            // QoS 1, so that more can come.
            let id = &accept[1 + 2 + T2C.len()..][..2];
            thief.send(&raw::packet(0x40, id)).expect("written");
        }
        thief
    });
    let thief = thief.await.expect("runs");
    // While that run hangs, the one of an owner who has read the display goes through, and ends the other.
    before.hold(&plug, 0);
    let claimed = owner_claims_with(&plug, shown.0, shown.1);
    tokio::time::timeout(Duration::from_secs(10), claimed).await.expect("in time");
    tokio::task::spawn_blocking(move || { thief }.expect_end()).await.expect("runs");
}

#[tokio::test]
async fn a_claimed_plug_knows_no_passcode_any_more() {
    let (plug, _, (_, passcode)) = unclaimed();
    let _owner = line::claim(&plug).await;
    assert!(
        std::net::TcpStream::connect(plug.access_point()).is_err(),
        "nothing listens on the access point's address"
    );
    let home = plug.home();
    let admitted = tokio::task::spawn_blocking(move || session(home, 50, &passcode).is_some());
    assert!(!admitted.await.expect("runs"));
}

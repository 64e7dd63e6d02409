//! A malicious user who speaks SecT, too much of it.

use std::io;
use std::time::{Duration, Instant};

use sect::proto::envelope;
use sect::proto::id::Boot;
use sect::proto::message::ReturnCode;
use sect::proto::time::Micros;
use sect::proto::user::Name;

use crate::arena::{Arena, MALLORY};
use crate::raw::{self, Raw};
use crate::support::line::{Line, SILENCE};

/// Commands on their way at the same time.
const BATCH: u64 = 50;

/// The answers of one batch, by their code.
async fn answers(line: &mut Line, code: ReturnCode) {
    for _ in 0..BATCH {
        assert_eq!(line.answer().await.rc, Some(code));
    }
}

#[tokio::test]
async fn a_thousand_stale_commands_get_a_thousand_stale_and_switch_nothing() {
    let mut arena = Arena::open().await;
    let mut mallory = arena.mallorys_line().await;
    let status = mallory.status().await;
    arena
        .withstands_future(async {
            for batch in 0..20 {
                for at in 0..BATCH {
                    let ts = Micros::new(status.ts.get() + batch * BATCH + at);
                    // Ana switches all the while: one of the two would be seen to switch something.
                    let stale = mallory.command(at % 2 == 0, Boot::new([9; 16]), ts);
                    mallory.send(&stale).await;
                }
                let mut answered = 0;
                while answered < BATCH {
                    let said = mallory.hear().await;
                    assert_ne!(said.st.who.as_ref().map(Name::as_str), Some(MALLORY), "{said:?}");
                    if said.rc.is_some() {
                        assert_eq!(said.rc, Some(ReturnCode::Stale));
                        answered += 1;
                    }
                }
            }
            let after = mallory.status().await;
            assert_eq!(after.st.who.as_ref().map(Name::as_str), Some("Ana"));
        })
        .await;
}

#[tokio::test]
async fn a_flood_of_five_thousand_commands_is_answered_and_forgotten() {
    let mut arena = Arena::open().await;
    let mut mallory = arena.mallorys_line().await;
    arena
        .withstands_future(async {
            for batch in 0..100 {
                let status = mallory.status().await;
                for at in 1..=BATCH {
                    let on = (batch + at) % 2 == 0;
                    let command = mallory.command(on, status.boot, Micros::new(status.ts.get() + at));
                    mallory.send(&command).await;
                }
                answers(&mut mallory, ReturnCode::Ok).await;
            }
        })
        .await;
}

#[tokio::test]
async fn one_command_repeated_a_thousand_times_switches_once() {
    let mut arena = Arena::open().await;
    let mut mallory = arena.mallorys_line().await;
    let (command, first) = mallory.switch(true).await;
    assert_eq!(first.rc, Some(ReturnCode::Ok));
    arena
        .withstands_future(async {
            for _ in 0..20 {
                for _ in 0..BATCH {
                    mallory.send(&command).await;
                }
                for _ in 0..BATCH {
                    assert_eq!(mallory.answer().await.jwe, first.jwe);
                }
            }
        })
        .await;
}

#[tokio::test]
async fn who_never_subscribes_is_never_answered_and_costs_nothing() {
    let mut arena = Arena::open().await;
    let (server, mallory) = (arena.server(), arena.mallory.clone());
    let mut teacher = arena.mallorys_line().await;
    let status = teacher.status().await;
    let commands: Vec<_> =
        (1..=1000).map(|at| teacher.command(false, status.boot, Micros::new(status.ts.get() + at))).collect();
    drop(teacher);
    arena
        .withstands(move || {
            let mut mute = Raw::login(server, 50, &mallory, 4, "mute");
            for command in commands {
                mute.send(&raw::publish(4, &mallory.topic.c2t(), &command)).expect("written");
            }
            // The answer to the ping is all that comes.
            mute.send(b"\xc0\x00").expect("written");
            assert_eq!(mute.packet(), Some(vec![0xd0]));
        })
        .await;
}

#[tokio::test]
async fn another_users_sealed_command_is_dropped_in_silence() {
    let mut arena = Arena::open().await;
    let status = arena.line.status().await;
    let hers = arena.line.command(true, status.boot, Micros::new(status.ts.get() + 1));
    let mut mallory = arena.mallorys_line().await;
    arena
        .withstands_future(async {
            for _ in 0..200 {
                mallory.send(&hers).await;
                mallory.send(&status.jwe).await;
            }
            // Ana switches all the while, and Mallory is told of that; an answer would tell the two apart.
            let deadline = tokio::time::Instant::now() + SILENCE;
            let mut events = 0;
            while let Ok(heard) = tokio::time::timeout_at(deadline, mallory.hear()).await {
                assert_eq!(heard.re, None, "{heard:?}");
                events += 1;
            }
            assert!(events > 0, "Mallory hears what there is to hear");
            // The next answer is that of the next request.
            let request = mallory.status_request();
            mallory.send(&request).await;
            assert_eq!(mallory.answer().await.re, Some(envelope::request_id(&request)));
        })
        .await;
}

#[tokio::test]
async fn a_flood_whose_answers_nobody_reads_is_cut_off() {
    let mut arena = Arena::open().await;
    let (server, mallory) = (arena.server(), arena.mallory.clone());
    let lasted = arena
        .withstands(move || {
            let mut one = Raw::login(server, 50, &mallory, 4, "deaf");
            one.socket().set_write_timeout(Some(Duration::from_millis(500))).expect("a socket");
            let many: Vec<u8> =
                (1..400).flat_map(|id| raw::publish_acknowledged(4, &mallory.topic.c2t(), id, b"not a JWE")).collect();
            let started = Instant::now();
            let (mut blocked, mut at) = (0, 0);
            loop {
                // What was not taken goes first the next time: anything else would be no MQTT any more, and the
                // session would end for that.
                match one.send_some(&many[at..]) {
                    Ok(count) => at = (at + count) % many.len(),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => blocked += 1,
                    Err(_) => break,
                }
                assert!(started.elapsed() < Duration::from_secs(60), "neither cut off nor blocked ({blocked})");
            }
            started.elapsed()
        })
        .await;
    println!("cut off after {lasted:?}");
    // For nothing that it has sent: 20 s after the last byte that could be written, or by the kernel, which gives a
    // connection up when the other side has taken nothing for 30 s (tcp(7), TCP_USER_TIMEOUT).
    assert!(lasted >= Duration::from_secs(20), "{lasted:?}");
    let log = arena.plug.log_text();
    let mut ends = log.lines().filter(|line| line.contains("session ends"));
    let first = ends.next().expect("it has ended");
    assert!(first.contains("reason=SlowReader") || first.contains("reason=Ended"), "{first}");
}

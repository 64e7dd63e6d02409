//! Data communication through the local server, message by message, and what must not come through
//! (SecT STEP 12, 13; protocol sections 4 and 6).

mod support;

use std::time::Duration;

use sect::proto::envelope;
use sect::proto::id::Boot;
use sect::proto::message::ReturnCode;
use sect::proto::time::Micros;
use support::Plug;
use support::line::{self, Line};

async fn at_home() -> (Plug, Line) {
    let plug = Plug::unclaimed();
    let binding = line::claim(&plug).await;
    let line = Line::open(&plug, &binding).await.expect("a session");
    (plug, line)
}

#[tokio::test]
async fn a_command_switches_the_outlet_and_the_answer_says_so() {
    let (plug, mut line) = at_home().await;
    assert!(!plug.outlet_is_on());
    let (_, said) = line.switch(true).await;
    assert_eq!((said.rc, said.st.on), (Some(ReturnCode::Ok), true));
    assert!(plug.outlet_is_on());
    let (_, said) = line.switch(false).await;
    assert_eq!((said.rc, said.st.on), (Some(ReturnCode::Ok), false));
    assert!(!plug.outlet_is_on());
}

#[tokio::test]
async fn a_resent_command_gets_the_same_bytes_and_switches_once() {
    let (plug, mut line) = at_home().await;
    let (command, first) = line.switch(true).await;
    plug.press("short");
    assert!(!line.hear().await.st.on, "the button's event");
    for _ in 0..3 {
        line.send(&command).await;
        assert_eq!(line.answer().await.jwe, first.jwe);
    }
    assert!(!plug.outlet_is_on(), "the resent command has not switched again");
}

#[tokio::test]
async fn who_watches_in_another_session_gets_the_event() {
    let plug = Plug::unclaimed();
    let binding = line::claim(&plug).await;
    let mut watching = Line::open(&plug, &binding).await.expect("a session");
    let mut line = Line::open(&plug, &binding).await.expect("a second session");
    watching.status().await;
    let (_, said) = line.switch(true).await;
    assert_eq!(said.rc, Some(ReturnCode::Ok));
    loop {
        let heard = watching.hear().await;
        // The answers of the other session come here too: the topic is one.
        if heard.re.is_none() {
            assert!(heard.st.on);
            break;
        }
    }
}

#[tokio::test]
async fn a_command_held_back_31_s_is_stale() {
    let (plug, mut line) = at_home().await;
    let status = line.status().await;
    let held_back = line.command(true, status.boot, Micros::new(status.ts.get() + 1));
    tokio::time::sleep(Duration::from_secs(31)).await;
    line.send(&held_back).await;
    assert_eq!(line.answer().await.rc, Some(ReturnCode::Stale));
    line.expect_silence().await;
    assert!(!plug.outlet_is_on());
}

#[tokio::test]
async fn a_command_3_s_ahead_or_of_another_start_is_stale() {
    let (plug, mut line) = at_home().await;
    let status = line.status().await;
    let early = line.command(true, status.boot, status.ts.after(Duration::from_secs(3)));
    let foreign = line.command(true, Boot::new([7; 16]), Micros::new(status.ts.get() + 1));
    for command in [early, foreign] {
        line.send(&command).await;
        let said = line.answer().await;
        assert_eq!((said.re, said.rc), (Some(envelope::request_id(&command)), Some(ReturnCode::Stale)));
        line.expect_silence().await;
    }
    assert!(!plug.outlet_is_on());
}

#[tokio::test]
async fn a_command_from_before_a_restart_is_stale_and_a_restart_leaves_the_load_alone() {
    let plug = Plug::unclaimed();
    let binding = line::claim(&plug).await;
    let mut plug = plug;
    let mut line = Line::open(&plug, &binding).await.expect("a session");
    let (recorded, said) = line.switch(true).await;
    assert_eq!(said.rc, Some(ReturnCode::Ok));
    drop(line);

    plug.power_cut();
    assert!(plug.outlet_is_on());
    plug.power_on();
    plug.wait_until_online();
    assert!(plug.outlet_is_on());

    let mut line = Line::open(&plug, &binding).await.expect("a session");
    let (_, said) = line.switch(false).await;
    assert_eq!(said.rc, Some(ReturnCode::Ok));
    line.send(&recorded).await;
    assert_eq!(line.answer().await.rc, Some(ReturnCode::Stale));
    assert!(!plug.outlet_is_on());
}

#[tokio::test]
async fn what_does_not_authenticate_gets_no_answer_at_all() {
    let (plug, mut line) = at_home().await;
    let status = line.status().await;
    let command = line.command(true, status.boot, Micros::new(status.ts.get() + 1));
    let text = String::from_utf8(command.clone()).expect("ASCII");
    let (header, rest) = text.split_once('.').expect("five parts");
    let mut flipped = command.clone();
    flipped[200] ^= 1;
    for attack in [
        // The thing's own words come back to it.
        status.jwe.clone(),
        flipped,
        command[..command.len() - 1].to_vec(),
        [&command[..], b"A"].concat(),
        format!("{header}A.{rest}").into_bytes(),
        format!("eyJhbGciOiJub25lIn0.{rest}").into_bytes(),
        format!("{header}.{header}.{}", &rest[1..]).into_bytes(),
        br#"{"v":1,"t":"cmd","op":"outlet.set","a":{"on":true}}"#.to_vec(),
        vec![b'.'; 2789],
        vec![0xff; 3000],
        Vec::new(),
    ] {
        line.send(&attack).await;
    }
    line.expect_silence().await;
    assert!(!plug.outlet_is_on());
    // The very same command, untouched, is still good.
    line.send(&command).await;
    assert_eq!(line.answer().await.rc, Some(ReturnCode::Ok));
    assert!(plug.outlet_is_on());
    assert!(!plug.log_text().contains(" WARN "), "nothing that a stranger sends is loud");
}

#[tokio::test]
async fn the_button_switches_and_tells() {
    let (plug, mut line) = at_home().await;
    line.status().await;
    plug.press("short");
    let said = line.hear().await;
    assert_eq!((said.re, said.st.on), (None, true));
    assert!(plug.outlet_is_on());
}

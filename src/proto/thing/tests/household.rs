//! At home: commands, answers, events, the button and the way back to the network.

use super::*;
use crate::proto::action::JoinFailure;
use crate::proto::envelope;
use crate::proto::freshness::Stale;
use crate::proto::id::Nonce;
use crate::proto::message::{EVENT_STATE, State, Status};
use crate::proto::topic::PAIR_C2T;

#[test]
fn a_fresh_command_switches_and_is_answered_before_the_event() {
    let (mut bench, mut hand) = one_owner();
    // The owner watches in a second session.
    bench.thing.handle_session_opened(SessionId(2), &hand.psk_identity());
    let command = hand.command(true, bench.now);
    assert_eq!(bench.publish(SESSION, &hand.topic(), &command), Verdict::Answered(ReturnCode::Ok));
    assert_eq!(bench.outlet.switched, [OutletState::On]);
    let published = bench.published();
    assert_eq!(published.len(), 2);
    assert!(published.iter().all(|(topic, _)| *topic == hand.record.topic.t2c()));
    assert_eq!(hand.answer(&published[0].1), (envelope::request_id(&command), ReturnCode::Ok, true));
    assert_eq!(hand.event(&published[1].1), (EVENT_STATE.into(), true, SwitchedBy::User, Some("Ana".into())));
}

#[test]
fn who_has_just_been_answered_in_the_only_session_gets_no_event() {
    let (mut bench, mut hand) = one_owner();
    let command = hand.command(true, bench.now);
    assert_eq!(bench.publish(SESSION, &hand.topic(), &command), Verdict::Answered(ReturnCode::Ok));
    let [(_, answer)] = &bench.published()[..] else { panic!("one message") };
    assert_eq!(hand.answer(answer), (envelope::request_id(&command), ReturnCode::Ok, true));
}

#[test]
fn a_repeated_command_switches_once_and_gets_the_same_bytes() {
    let (mut bench, mut hand) = one_owner();
    let command = hand.command(true, bench.now);
    let _ = bench.publish(SESSION, &hand.topic(), &command);
    let first = bench.published().remove(0);
    for _ in 0..3 {
        bench.wait(1_000_000);
        assert_eq!(bench.publish(SESSION, &hand.topic(), &command), Verdict::Repeated);
        assert_eq!(bench.published(), std::slice::from_ref(&first));
    }
    assert_eq!(bench.outlet.switched, [OutletState::On]);
}

#[test]
fn a_replayed_command_does_not_switch_after_its_answer_is_forgotten() {
    let (mut bench, mut hand) = one_owner();
    let replayed = hand.command(true, bench.now);
    let _ = bench.publish(SESSION, &hand.topic(), &replayed);
    for n in 0..40 {
        bench.wait(1000);
        let command = hand.command(n % 2 == 1, bench.now);
        assert_eq!(bench.publish(SESSION, &hand.topic(), &command), Verdict::Answered(ReturnCode::Ok));
    }
    bench.actions();
    let switched = bench.outlet.switched.len();
    assert_eq!(bench.publish(SESSION, &hand.topic(), &replayed), Verdict::Stale(Stale::NotNewer));
    let published = bench.published();
    assert_eq!(published.len(), 1);
    assert_eq!(hand.answer(&published[0].1).1, ReturnCode::Stale);
    assert_eq!(bench.outlet.switched.len(), switched);
}

#[test]
fn what_is_held_back_early_or_of_another_start_gets_stale_and_nothing_else() {
    let (bench, _) = one_owner();
    let now = bench.now.get();
    for (boot, ts, stale) in [
        (BOOT, now - 31_000_000, Stale::TooOld),
        (BOOT, now + 3_000_000, Stale::TooEarly),
        (Boot::new([4; 16]), now, Stale::OtherBoot),
    ] {
        let (mut bench, mut hand) = one_owner();
        let command = hand.command_at(true, boot, Micros::new(ts));
        assert_eq!(bench.publish(SESSION, &hand.topic(), &command), Verdict::Stale(stale));
        let published = bench.published();
        assert_eq!(published.len(), 1, "{stale:?}");
        assert_eq!(hand.answer(&published[0].1), (envelope::request_id(&command), ReturnCode::Stale, false));
        assert!(bench.outlet.switched.is_empty());
        assert_eq!(bench.thing.counters().get(Verdict::Stale(stale).name()), 1);
    }
}

#[test]
fn the_thing_s_own_answer_does_not_pass_for_a_command() {
    let (mut bench, mut hand) = one_owner();
    let command = hand.command(true, bench.now);
    let _ = bench.publish(SESSION, &hand.topic(), &command);
    for (_, reflected) in bench.published() {
        let verdict = bench.publish(SESSION, &hand.topic(), &reflected);
        assert_eq!(verdict, Verdict::Dropped(Dropped::Unopened(envelope::Unopened::UnknownKid)));
    }
    assert_eq!(bench.published(), []);
    assert_eq!(bench.outlet.switched.len(), 1);
}

#[test]
fn no_flipped_bit_no_truncation_and_no_garbage_is_answered() {
    let (mut bench, mut hand) = one_owner();
    let command = hand.command(true, bench.now);
    let mut attacks: Vec<Vec<u8>> = (0..command.len()).map(|length| command[..length].to_vec()).collect();
    for place in 0..command.len() {
        for bit in 0..8 {
            let mut forged = command.clone();
            forged[place] ^= 1 << bit;
            attacks.push(forged);
        }
    }
    attacks.extend([vec![0; 2789], vec![b'.'; 2789], vec![b'A'; 100_000]]);
    let count = attacks.len();
    for attack in attacks {
        assert!(matches!(bench.publish(SESSION, &hand.topic(), &attack), Verdict::Dropped(Dropped::Unopened(_))));
    }
    assert_eq!(bench.actions(), []);
    assert!(bench.outlet.switched.is_empty());
    let counted: u64 = bench.thing.counters().iter().map(|(_, n)| n).sum();
    assert_eq!(counted, u64::try_from(count).expect("small"));
    // Each by its reason.
    let mut reasons: Vec<_> = bench.thing.counters().iter().map(|(name, _)| name).collect();
    reasons.sort_unstable();
    let expected = ["encoding", "header", "length", "not-authentic", "parts", "too-long", "unknown-kid"];
    assert_eq!(reasons, expected.map(|reason| format!("dropped-{reason}")));
    assert_eq!(bench.thing.counters().get("dropped-too-long"), 1);
}

#[test]
fn another_controller_s_topic_or_key_opens_nothing() {
    let (ana, bo) = (record(7, "Ana", Role::Owner), record(400, "Bo", Role::Operator));
    let mut bench = Bench::at_home(vec![ana.clone(), bo.clone()]);
    let mut hand = Hand::of(&bench, &bo);
    let command = hand.command(true, bench.now);
    assert!(matches!(bench.publish(SESSION, &ana.topic.c2t(), &command), Verdict::Dropped(Dropped::Unopened(_))));
    for topic in ["s/x/c", PAIR_C2T, &bo.topic.t2c(), ""] {
        assert_eq!(bench.publish(SESSION, topic, &command), Verdict::Dropped(Dropped::ForeignTopic), "{topic}");
    }
    assert_eq!(bench.actions(), []);
}

#[test]
fn everybody_with_a_session_hears_what_one_did() {
    let people = [record(7, "Ana", Role::Owner), record(400, "Bo", Role::Operator)];
    let mut bench = Bench::at_home(people.to_vec());
    let (mut ana, bo) = (Hand::of(&bench, &people[0]), Hand::of(&bench, &people[1]));
    let command = ana.command(true, bench.now);
    let _ = bench.publish(SESSION, &ana.topic(), &command);
    let published = bench.published();
    let topics: Vec<_> = published.iter().map(|(topic, _)| topic.as_str()).collect();
    assert_eq!(topics, [people[0].topic.t2c(), people[1].topic.t2c()]);
    assert_eq!(bo.event(&published[1].1).3.as_deref(), Some("Ana"));

    bench.thing.handle_session_closed(SessionId(2), bench.now, ports!(bench));
    bench.wait(10);
    let command = ana.command(false, bench.now);
    let _ = bench.publish(SESSION, &ana.topic(), &command);
    assert_eq!(bench.published().len(), 1, "who is gone is not told");
}

#[test]
fn a_viewer_may_look_and_not_switch() {
    let viewer = record(7, "Kid", Role::Viewer);
    let mut bench = Bench::at_home(vec![viewer.clone()]);
    let mut hand = Hand::of(&bench, &viewer);
    let command = hand.command(true, bench.now);
    assert_eq!(bench.publish(SESSION, &hand.topic(), &command), Verdict::Answered(ReturnCode::Forbidden));
    assert_eq!(hand.answer(&bench.published()[0].1).1, ReturnCode::Forbidden);
    assert!(bench.outlet.switched.is_empty());
    let status = hand.seal(&json::encode(&Status { id: Nonce::new([1; 16]) }));
    assert_eq!(bench.publish(SESSION, &hand.topic(), &status), Verdict::Answered(ReturnCode::Ok));
}

#[test]
fn an_unknown_operation_and_a_bad_one_are_told_apart() {
    let (mut bench, mut hand) = one_owner();
    for (op, a, code) in [
        ("outlet.dim", r#"{"to":5}"#, ReturnCode::Unsupported),
        ("outlet.set", r#"{"on":1}"#, ReturnCode::BadRequest),
        ("outlet.set", "{}", ReturnCode::BadRequest),
    ] {
        bench.wait(10);
        let ts = bench.now.get();
        let text = format!(r#"{{"v":1,"t":"cmd","boot":"{BOOT}","ts":{ts},"op":"{op}","a":{a}}}"#);
        let message = hand.seal(text.as_bytes());
        assert_eq!(bench.publish(SESSION, &hand.topic(), &message), Verdict::Answered(code), "{op} {a}");
        assert_eq!(hand.answer(&bench.published()[0].1).1, code);
    }
    assert!(bench.outlet.switched.is_empty());
}

#[test]
fn an_outlet_that_does_not_switch_is_told_and_shown() {
    let (mut bench, mut hand) = one_owner();
    bench.outlet.broken = true;
    let command = hand.command(true, bench.now);
    assert_eq!(bench.publish(SESSION, &hand.topic(), &command), Verdict::Answered(ReturnCode::Storage));
    let actions = bench.actions();
    assert_eq!(actions.len(), 2);
    assert_eq!(actions[0], Action::Show(Screen::Fault(Fault::Outlet)));
    let Action::Publish { payload, .. } = &actions[1] else { panic!("no answer") };
    assert_eq!(hand.answer(payload), (envelope::request_id(&command), ReturnCode::Storage, false));
}

/// A failed "on" may have reached the load: "off" must not be answered from memory.
#[test]
fn after_a_failed_switch_off_reaches_the_outlet() {
    let (mut bench, mut hand) = one_owner();
    bench.thing.handle_session_opened(SessionId(2), &hand.psk_identity());
    bench.outlet.broken = true;
    let on = hand.command(true, bench.now);
    assert_eq!(bench.publish(SESSION, &hand.topic(), &on), Verdict::Answered(ReturnCode::Storage));
    bench.actions();

    bench.outlet.broken = false;
    bench.wait(10);
    let off = hand.command(false, bench.now);
    assert_eq!(bench.publish(SESSION, &hand.topic(), &off), Verdict::Answered(ReturnCode::Ok));
    assert_eq!(bench.outlet.switched, [OutletState::Off]);
    let actions = bench.actions();
    let [Action::Publish { payload: answer, .. }, Action::Publish { payload: event, .. }, Action::Show(shown)] =
        &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!(hand.answer(answer), (envelope::request_id(&off), ReturnCode::Ok, false));
    assert_eq!(hand.event(event), (EVENT_STATE.into(), false, SwitchedBy::User, Some("Ana".into())));
    assert!(matches!(shown, Screen::Online { outlet: OutletState::Off, .. }), "{shown:?}");
}

#[test]
fn after_a_failed_press_off_reaches_the_outlet_and_the_next_press_tries_again() {
    let (mut bench, mut hand) = one_owner();
    bench.outlet.broken = true;
    bench.press(Press::Short);
    assert_eq!(bench.actions(), [Action::Show(Screen::Fault(Fault::Outlet))]);
    bench.outlet.broken = false;
    let off = hand.command(false, bench.now);
    assert_eq!(bench.publish(SESSION, &hand.topic(), &off), Verdict::Answered(ReturnCode::Ok));
    assert_eq!(bench.outlet.switched, [OutletState::Off]);

    bench.outlet.broken = true;
    bench.wait(10);
    let on = hand.command(true, bench.now);
    assert_eq!(bench.publish(SESSION, &hand.topic(), &on), Verdict::Answered(ReturnCode::Storage));
    bench.actions();
    bench.outlet.broken = false;
    bench.press(Press::Short);
    assert_eq!(bench.outlet.switched, [OutletState::Off, OutletState::On]);
    assert_eq!(hand.event(&bench.published()[0].1), (EVENT_STATE.into(), true, SwitchedBy::Button, None));
}

#[test]
fn the_state_that_the_load_has_is_set_again_and_is_no_news() {
    let (mut bench, mut hand) = one_owner();
    bench.thing.handle_session_opened(SessionId(2), &hand.psk_identity());
    bench.press(Press::Short);
    bench.actions();
    bench.wait(10);
    let on = hand.command(true, bench.now);
    assert_eq!(bench.publish(SESSION, &hand.topic(), &on), Verdict::Answered(ReturnCode::Ok));
    assert_eq!(bench.outlet.switched, [OutletState::On, OutletState::On]);
    let [(_, answer)] = &bench.published()[..] else { panic!("the answer and no event") };
    let opened = Sealed::parse(answer).expect("shape").open(&hand.t2c).expect("authentic");
    let State { by, who, since, .. } = json::read::<Response<'_>>(opened.bytes()).expect("a response").st;
    assert_eq!((by, who, since), (SwitchedBy::Button, None, Micros::new(bench.now.get() - 10)));
}

#[test]
fn the_button_toggles_and_everybody_is_told() {
    let (mut bench, hand) = one_owner();
    bench.press(Press::Short);
    let published = bench.published();
    assert_eq!(published.len(), 1);
    assert_eq!(hand.event(&published[0].1), (EVENT_STATE.into(), true, SwitchedBy::Button, None));
    assert_eq!(bench.outlet.switched, [OutletState::On]);
}

#[test]
fn an_idle_thing_at_home_wants_no_timer() {
    let (bench, _) = one_owner();
    assert_eq!(bench.thing.poll_timeout(), None);
}

#[test]
fn a_home_network_that_is_away_is_tried_again_and_less_often() {
    let (mut bench, _) = one_owner();
    let mut waits = Vec::new();
    for _ in 0..6 {
        bench.wifi(WifiEvent::JoinFailed(JoinFailure::WrongPassword));
        let before = bench.now;
        bench.next_timeout();
        waits.push(bench.now.since(before).as_secs());
        let joins = bench.actions().into_iter().filter(|action| matches!(action, Action::JoinNetwork(_))).count();
        assert_eq!(joins, 1);
    }
    assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
}

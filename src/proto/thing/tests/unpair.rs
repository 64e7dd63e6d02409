//! Giving the thing up (SecT STEP 20).

use super::*;
use crate::proto::keys;
use crate::proto::operation::argument::{self, Confirmation, Unpair};
use crate::proto::pairing::PAIR_IDENTITY;
use crate::proto::registration::{RegOk, RegSet, down_topic};

fn unpair() -> Operation {
    Operation::Unpair(Unpair { confirm: Confirmation::Unpair })
}

fn ask(bench: &mut Bench, hand: &mut Hand) -> (Vec<u8>, Verdict) {
    let command = hand.seal(&unpair().command(BOOT, bench.now));
    let verdict = bench.publish(SESSION, &hand.topic(), &command);
    (command, verdict)
}

/// A household of two, whose list is in force at a cloud server.
fn registered() -> (Bench, Hand, ControllerRecord) {
    let people = [record(7, "Ana", Role::Owner), record(400, "Bo", Role::Operator)];
    let mut bench = Bench::at_home(people.to_vec());
    let topic = down_topic(&bench.thing.id());
    bench.thing.handle_cloud_up(ServerId(0));
    bench.thing.handle_cloud_subscribed(ServerId(0), &topic, bench.now);
    acknowledge(&mut bench, 7);
    bench.actions();
    let hand = Hand::of(&bench, &people[0]);
    let [_, bo] = people;
    (bench, hand, bo)
}

fn acknowledge(bench: &mut Bench, generation: u64) {
    let topic = down_topic(&bench.thing.id());
    let ok = json::encode(&RegOk { generation, refused: Vec::new() });
    let _ = bench.thing.handle_cloud_message(ServerId(0), &topic, &ok, bench.now, ports!(bench));
}

/// The lists that were declared.
fn declared(actions: &[Action]) -> Vec<RegSet> {
    let list = |action: &Action| match action {
        Action::Register { payload, .. } => Some(json::read(payload).expect("a list")),
        _ => None,
    };
    actions.iter().filter_map(list).collect()
}

/// Goes to the next time-out until the thing is unclaimed; the seconds that took, and what it asked for.
fn wiped(bench: &mut Bench) -> (u64, Vec<Action>) {
    let before = bench.now;
    while bench.thing.is_claimed() {
        bench.next_timeout();
        assert!(bench.now.since(before).as_secs() < 60, "never");
    }
    (bench.now.since(before).as_secs(), bench.actions())
}

#[test]
fn an_owner_gives_the_thing_up_and_it_is_anybody_s() {
    let (mut bench, mut ana, _) = registered();
    let (command, verdict) = ask(&mut bench, &mut ana);
    assert_eq!(verdict, Verdict::Answered(ReturnCode::Ok));
    assert_eq!((bench.vault.wiping, bench.vault.wipes), (Some(8), 0), "durable before the answer");
    let actions = bench.actions();
    let [
        Action::Publish { path: Path::Local, payload: answer, .. },
        Action::Admit(welcome),
        Action::EndSession(SessionId(2)),
        Action::Show(Screen::Wiping),
        Action::Register { .. },
    ] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!(ana.answer(answer).1, ReturnCode::Ok);
    assert!(welcome.iter().all(|one| one.publish == ana.topic()) && !welcome.is_empty());
    let [list] = &declared(&actions)[..] else { panic!("one list") };
    assert_eq!((list.generation, list.acl.len()), (8, 0));

    // The answer is given again to who asks again, and to nobody anything else.
    assert_eq!(bench.publish(SESSION, &ana.topic(), &command), Verdict::Repeated);
    assert_eq!(bench.actions().len(), 1);
    let on = ana.command(true, bench.now);
    assert_eq!(bench.publish(SESSION, &ana.topic(), &on), Verdict::Dropped(Dropped::ForeignTopic));
    assert_eq!(bench.actions(), []);
    assert!(bench.outlet.switched.is_empty());

    acknowledge(&mut bench, 8);
    let (after, actions) = wiped(&mut bench);
    assert_eq!((after, bench.vault.wipes), (2, 1));
    let [Action::Admit(admitted), Action::OpenAccessPoint { passphrase, .. }, Action::Show(Screen::Starting)] =
        &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!(admitted.iter().map(|one| one.psk_identity.as_str()).collect::<Vec<_>>(), [PAIR_IDENTITY]);
    assert_eq!(admitted[0].psk, keys::pairing_psk(passphrase));
    bench.wifi(WifiEvent::AccessPointUp);
    assert_eq!(bench.passcode().0, *passphrase);
}

#[test]
fn what_was_said_before_is_not_answered_again() {
    let (mut bench, mut ana, bo) = registered();
    let mut bo = Hand::of(&bench, &bo);
    let (hers, his) = (ana.command(true, bench.now), bo.command(false, bench.now));
    assert_eq!(bench.publish(SESSION, &ana.topic(), &hers), Verdict::Answered(ReturnCode::Ok));
    assert_eq!(bench.publish(SessionId(2), &bo.topic(), &his), Verdict::Answered(ReturnCode::Ok));
    bench.wait(10);
    let (command, verdict) = ask(&mut bench, &mut ana);
    assert_eq!(verdict, Verdict::Answered(ReturnCode::Ok));
    bench.actions();
    for (topic, message, expected) in [
        (bo.topic(), &his, Verdict::Dropped(Dropped::ForeignTopic)),
        (ana.topic(), &hers, Verdict::Dropped(Dropped::ForeignTopic)),
        (ana.topic(), &command, Verdict::Repeated),
    ] {
        let verdict = bench.thing.handle_cloud_message(ServerId(0), &topic, message, bench.now, ports!(bench));
        assert_eq!(verdict, expected);
        assert_eq!(bench.actions().len(), usize::from(expected == Verdict::Repeated));
    }
}

#[test]
fn the_time_that_its_owner_told_goes_with_the_household_and_the_machine_s_own_stays() {
    for by_time_server in [false, true] {
        let (mut bench, mut ana) = one_owner();
        let told = argument::TimeSet { unix_ms: 2_000_000_000_000, zone: None };
        assert_eq!(ana.asks(&mut bench, &Operation::TimeSet(told)).0, 0);
        if by_time_server {
            bench.thing.handle_wall_clock(1_800_000_000_000, bench.now);
        }
        bench.wait(10);
        let _ = ask(&mut bench, &mut ana);
        wiped(&mut bench);
        assert_eq!(bench.thing.core.wall.is_some(), by_time_server);
    }
}

#[test]
fn a_cloud_server_that_says_nothing_is_waited_for_5_s() {
    let (mut bench, mut ana, _) = registered();
    let _ = ask(&mut bench, &mut ana);
    assert_eq!(wiped(&mut bench).0, 5);
    // None at all is not waited for.
    let (mut bench, mut ana) = one_owner();
    let _ = ask(&mut bench, &mut ana);
    assert_eq!(wiped(&mut bench).0, 2);
}

#[test]
fn an_owner_who_hangs_up_has_his_answer_and_is_not_waited_for() {
    let close = |bench: &mut Bench, session| bench.thing.handle_session_closed(session, bench.now, ports!(bench));
    let (mut bench, mut ana) = one_owner();
    bench.thing.handle_session_opened(SessionId(9), &ana.psk_identity());
    let _ = ask(&mut bench, &mut ana);
    for (session, after) in [(SessionId(77), 2_000_000), (SESSION, 1_999_990), (SessionId(9), 0)] {
        bench.wait(10);
        close(&mut bench, session);
        let left = bench.thing.poll_timeout().expect("the wipe").since(bench.now).as_micros();
        assert_eq!(left, if after > 0 { after - 10 } else { 0 }, "{session:?}");
    }
    assert_eq!(wiped(&mut bench).0, 0);

    // A cloud server is waited for all the same.
    let (mut bench, mut ana, _) = registered();
    let _ = ask(&mut bench, &mut ana);
    close(&mut bench, SESSION);
    bench.wait(1_000_000);
    assert_eq!(bench.thing.poll_timeout(), Some(bench.now.after(std::time::Duration::from_secs(4))));
    acknowledge(&mut bench, 8);
    assert_eq!(wiped(&mut bench).0, 0);

    // And who asked by way of a cloud server has shown nothing by hanging up at home.
    let (mut bench, mut ana, _) = registered();
    let command = ana.seal(&unpair().command(BOOT, bench.now));
    let topic = ana.topic();
    let _ = bench.thing.handle_cloud_message(ServerId(0), &topic, &command, bench.now, ports!(bench));
    acknowledge(&mut bench, 8);
    close(&mut bench, SESSION);
    assert_eq!(wiped(&mut bench).0, 2);
}

#[test]
fn a_cloud_server_cannot_bring_the_household_back() {
    let (mut bench, mut ana, _) = registered();
    let _ = ask(&mut bench, &mut ana);
    bench.actions();
    let topic = down_topic(&bench.thing.id());
    let stale = br#"{"v":1,"t":"reg.err","gen":90,"of":8,"rc":1}"#;
    assert_eq!(
        bench.thing.handle_cloud_message(ServerId(0), &topic, stale, bench.now, ports!(bench)),
        Verdict::Registered
    );
    bench.thing.handle_cloud_up(ServerId(0));
    bench.thing.handle_cloud_subscribed(ServerId(0), &topic, bench.now);
    assert_eq!(bench.actions(), []);
    assert!(bench.vault.saves.is_empty());
}

#[test]
fn nobody_else_gives_it_up_and_a_store_that_fails_keeps_everything() {
    for role in [Role::Supervisor, Role::Operator, Role::Viewer] {
        let people = [record(7, "Ana", role), record(400, "Bo", Role::Owner)];
        let mut bench = Bench::at_home(people.to_vec());
        let mut ana = Hand::of(&bench, &people[0]);
        assert_eq!(ask(&mut bench, &mut ana).1, Verdict::Answered(ReturnCode::Forbidden), "{role:?}");
        assert_eq!(bench.vault.wiping, None);
    }
    let (mut bench, mut ana) = one_owner();
    bench.vault.broken = true;
    assert_eq!(ask(&mut bench, &mut ana).1, Verdict::Answered(ReturnCode::Storage));
    bench.vault.broken = false;
    bench.wait(10);
    let on = ana.command(true, bench.now);
    assert_eq!(bench.publish(SESSION, &ana.topic(), &on), Verdict::Answered(ReturnCode::Ok));
    assert!(bench.thing.is_claimed());
}

#[test]
fn a_wipe_that_fails_leaves_the_thing_unclaimable_and_is_tried_again() {
    let (mut bench, mut ana) = one_owner();
    let _ = ask(&mut bench, &mut ana);
    bench.vault.broken = true;
    for _ in 0..3 {
        bench.next_timeout();
        assert!(bench.thing.is_claimed());
        let actions = bench.actions();
        assert!(actions.contains(&Action::Show(Screen::Fault(Fault::Store))));
        assert!(!actions.iter().any(|action| matches!(action, Action::OpenAccessPoint { .. })));
        bench.press(Press::Long);
        assert_eq!(bench.actions(), []);
    }
    bench.vault.broken = false;
    assert_eq!(wiped(&mut bench).0, 10);
    assert_eq!(bench.vault.wipes, 1);
}

#[test]
fn the_next_household_begins_where_the_registration_left_off() {
    let (mut bench, mut ana) = one_owner();
    let _ = ask(&mut bench, &mut ana);
    wiped(&mut bench);
    assert_eq!(bench.thing.registrar.next_generation(), 9);
    assert_eq!((bench.thing.core.outlet.by, &bench.thing.core.outlet.who), (SwitchedBy::Boot, &None));
}

#[test]
fn a_household_that_is_given_up_is_not_written_once_more() {
    let (mut bench, mut ana) = one_owner();
    // The ages of the keys are due to be persisted.
    bench.now = bench.now.after(std::time::Duration::from_secs(2 * 3600));
    let before = bench.vault.saves.len();
    let (_, verdict) = ask(&mut bench, &mut ana);
    assert_eq!(verdict, Verdict::Answered(ReturnCode::Ok));
    assert_eq!((bench.vault.wiping, bench.vault.saves.len()), (Some(8), before), "under a generation that is over");
}

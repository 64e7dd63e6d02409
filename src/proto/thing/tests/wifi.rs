//! The home network: an access point for its owners where it was never joined or the button is held, and
//! another network on trial (protocol sections 7.6 and 9).

use super::*;
use crate::proto::action::{Admission, JoinFailure};
use crate::proto::id::Nonce;
use crate::proto::message::{EVENT_WIFI, Status};
use crate::proto::operation::argument::WifiSet;
use crate::proto::operation::result::Networks;
use crate::proto::pairing::PAIR_IDENTITY;

const SECOND: u64 = 1_000_000;

/// A thing that was claimed a moment ago and has never been home.
fn just_claimed() -> (Bench, Hand) {
    let owner = record(7, "Ana", Role::Owner);
    let mut bench = Bench::new(Some(Household::founded(owner.clone(), network(), None)));
    bench.actions();
    let hand = Hand::of(&bench, &owner);
    (bench, hand)
}

/// The household of [`just_claimed`], with others in it, in maintenance by the button.
fn in_maintenance() -> (Bench, Hand, Hand) {
    let people = [record(7, "Ana", Role::Owner), record(400, "Bo", Role::Supervisor)];
    let mut bench = Bench::at_home(people.to_vec());
    let (ana, bo) = (Hand::of(&bench, &people[0]), Hand::of(&bench, &people[1]));
    bench.press(Press::Long);
    bench.wifi(WifiEvent::AccessPointUp);
    bench.actions();
    bench.thing.handle_session_opened(SessionId(10), &ana.psk_identity());
    (bench, ana, bo)
}

fn elsewhere() -> HomeNetwork {
    HomeNetwork { ssid: "elsewhere".parse().expect("valid"), psk: "battery staple".parse().expect("valid") }
}

fn ask(bench: &mut Bench, hand: &mut Hand, operation: Operation) -> ReturnCode {
    bench.wait(1000);
    let command = hand.seal(&operation.command(BOOT, bench.now));
    let Verdict::Answered(code) = bench.publish(SESSION, &hand.topic(), &command) else { panic!("no answer") };
    code
}

fn wifi_set() -> Operation {
    let HomeNetwork { ssid, psk } = elsewhere();
    Operation::WifiSet(WifiSet { ssid, key: psk })
}

/// What the thing says of the last other network, in the answer to a `status`.
fn told(bench: &mut Bench, hand: &mut Hand) -> serde_json::Value {
    bench.actions();
    let id = Nonce::random(&mut hand.rng);
    let status = hand.seal(&json::encode(&Status { id }));
    assert_eq!(bench.publish(SESSION, &hand.topic(), &status), Verdict::Answered(ReturnCode::Ok));
    let answer = bench.published().remove(0).1;
    let opened = Sealed::parse(&answer).expect("shape").open(&hand.t2c).expect("authentic");
    let response = json::read::<Response<'_>>(opened.bytes()).expect("a response");
    let result: serde_json::Value = serde_json::from_str(response.r.expect("a result").get()).expect("JSON");
    result["wifi"]["state"].clone()
}

fn joins(actions: &[Action]) -> Vec<HomeNetwork> {
    let joined = |action: &Action| if let Action::JoinNetwork(network) = action { Some(network.clone()) } else { None };
    actions.iter().filter_map(joined).collect()
}

fn admitted(actions: &[Action]) -> Vec<Vec<Admission>> {
    let list = |action: &Action| if let Action::Admit(list) = action { Some(list.clone()) } else { None };
    actions.iter().filter_map(list).collect()
}

/// Lets time pass until the thing asks for a network or an access point; gives what it asked for, and when.
fn wait_for_radio(bench: &mut Bench) -> (u64, Action) {
    let before = bench.now;
    loop {
        bench.next_timeout();
        let asked = bench
            .actions()
            .into_iter()
            .find(|action| matches!(action, Action::JoinNetwork(_) | Action::OpenAccessPoint { .. }));
        if let Some(action) = asked {
            return (bench.now.since(before).as_secs(), action);
        }
    }
}

#[test]
fn a_home_network_that_was_never_joined_lets_its_owner_in_after_90_s_and_is_tried_again_after_600() {
    let (mut bench, hand) = just_claimed();
    let mut passcodes = Vec::new();
    for _ in 0..3 {
        let before = bench.now;
        let passphrase = loop {
            bench.wifi(WifiEvent::JoinFailed(JoinFailure::WrongPassword));
            match wait_for_radio(&mut bench).1 {
                Action::JoinNetwork(tried) => assert_eq!(tried, network()),
                Action::OpenAccessPoint { passphrase, .. } => break passphrase,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(bench.now.since(before).as_secs(), 90);
        bench.wifi(WifiEvent::AccessPointUp);
        let shown = bench.actions();
        let [Action::Show(Screen::Maintenance { passcode, left, .. })] = &shown[..] else { panic!("{shown:?}") };
        assert_eq!((passcode, left.as_secs()), (&passphrase, 600));
        passcodes.push(passphrase);
        let (after, next) = wait_for_radio(&mut bench);
        assert_eq!((after, next), (600, Action::JoinNetwork(network())));
    }
    assert!(passcodes[0] != passcodes[1] && passcodes[1] != passcodes[2] && passcodes[0] != passcodes[2]);
    bench.wifi(WifiEvent::Joined);
    assert!(bench.vault.saves.last().expect("saved").0.joined_once);
    assert_eq!(bench.thing.poll_timeout(), None);
    assert!(hand.psk_identity().len() == 22);
}

#[test]
fn an_access_point_opens_for_a_router_that_is_away_only_until_it_was_joined_once() {
    let (mut bench, _) = just_claimed();
    // The store does not take it down: for this start it was joined all the same.
    bench.vault.broken = true;
    bench.wifi(WifiEvent::Joined);
    bench.wifi(WifiEvent::Lost);
    for _ in 0..50 {
        bench.wifi(WifiEvent::JoinFailed(JoinFailure::NotFound));
        bench.next_timeout();
    }
    let actions = bench.actions();
    assert_eq!(joins(&actions).len(), 50);
    assert!(!actions.iter().any(|action| matches!(action, Action::OpenAccessPoint { .. })), "{actions:?}");
}

/// Neither the button nor a power cut makes a claimed thing claimable, wherever its radio is.
#[test]
fn no_button_and_no_time_makes_a_claimed_thing_claimable() {
    let (mut bench, mut hand) = one_owner();
    let mut seen = Vec::new();
    for event in [
        WifiEvent::Lost,
        WifiEvent::JoinFailed(JoinFailure::NotFound),
        WifiEvent::AccessPointFailed,
        WifiEvent::AccessPointUp,
        WifiEvent::Joined,
    ] {
        bench.wifi(event);
        bench.press(Press::Long);
        bench.press(Press::Short);
        bench.press(Press::Long);
        let _ = ask(&mut bench, &mut hand, wifi_set());
        bench.press(Press::Long);
        for _ in 0..200 {
            if bench.thing.poll_timeout().is_some() {
                bench.next_timeout();
                bench.wifi(WifiEvent::JoinFailed(JoinFailure::NotFound));
            }
        }
        seen.extend(bench.actions());
    }
    assert!(bench.thing.is_claimed());
    assert!(seen.iter().any(|action| matches!(action, Action::OpenAccessPoint { .. })), "maintenance is not this");
    for action in seen {
        match action {
            Action::Admit(list) => {
                assert!(list.iter().all(|one| one.psk_identity != PAIR_IDENTITY && one.login.is_some()));
            }
            Action::Show(screen) => {
                assert!(!matches!(
                    screen,
                    Screen::AccessPoint { .. } | Screen::AccessPointOff | Screen::Pairing { .. }
                ));
            }
            _ => {}
        }
    }
}

#[test]
fn the_button_lets_owners_in_and_nobody_else_for_600_s() {
    let people = [record(7, "Ana", Role::Owner), record(400, "Bo", Role::Supervisor)];
    let mut bench = Bench::at_home(people.to_vec());
    bench.press(Press::Long);
    let actions = bench.actions();
    let [
        Action::EndSession(SessionId(1)),
        Action::EndSession(SessionId(2)),
        Action::Admit(list),
        Action::OpenAccessPoint { ssid, passphrase },
        Action::Show(Screen::Starting),
    ] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!(list.iter().map(|one| one.publish.clone()).collect::<Vec<_>>(), [people[0].topic.c2t()]);
    bench.wifi(WifiEvent::AccessPointUp);
    let shown = bench.actions();
    let [Action::Show(Screen::Maintenance { ssid: name, passcode, left })] = &shown[..] else { panic!("{shown:?}") };
    assert_eq!((name, passcode, left.as_secs()), (ssid, passphrase, 600));

    assert_eq!(wait_for_radio(&mut bench), (600, Action::JoinNetwork(network())));
    bench.wifi(WifiEvent::Joined);
    bench.actions();
    // Held again while it is open: another passcode.
    bench.press(Press::Long);
    bench.press(Press::Long);
    let opened: Vec<_> = bench
        .actions()
        .into_iter()
        .filter_map(
            |action| if let Action::OpenAccessPoint { passphrase, .. } = action { Some(passphrase) } else { None },
        )
        .collect();
    assert_eq!(opened.len(), 2);
    assert!(opened[0] != opened[1] && !opened.contains(passphrase));
}

#[test]
fn everybody_is_admitted_again_once_the_window_is_over() {
    let (mut bench, ..) = in_maintenance();
    let before = bench.now;
    while bench.now.since(before).as_secs() < 600 {
        bench.next_timeout();
    }
    let actions = bench.actions();
    assert!(actions.contains(&Action::EndSession(SessionId(10))), "the access point takes its sessions along");
    assert_eq!(admitted(&actions).last().expect("a list").len(), 2);
}

#[test]
fn in_maintenance_the_home_network_is_put_right_and_nothing_else() {
    let (mut bench, mut ana, _) = in_maintenance();
    for operation in [
        Operation::outlet(true),
        Operation::WifiScan,
        Operation::UserList(crate::proto::operation::argument::From { from: 0 }),
    ] {
        assert_eq!(ask(&mut bench, &mut ana, operation.clone()), ReturnCode::Forbidden, "{operation:?}");
    }
    assert!(bench.outlet.switched.is_empty());
    let unknown =
        format!(r#"{{"v":1,"t":"cmd","boot":"{BOOT}","ts":{},"op":"outlet.dim","a":{{}}}}"#, bench.now.get() + 1);
    let unknown = ana.seal(unknown.as_bytes());
    assert_eq!(bench.publish(SESSION, &ana.topic(), &unknown), Verdict::Answered(ReturnCode::Forbidden));
    assert_eq!(ask(&mut bench, &mut ana, wifi_set()), ReturnCode::Ok);
    // The button itself switches as ever.
    bench.press(Press::Short);
    assert_eq!(bench.outlet.switched, [OutletState::On]);
}

#[test]
fn the_radio_s_memory_is_given_strongest_first_and_each_name_once() {
    let (mut bench, mut hand) = one_owner();
    bench.air = TestAir(vec![("home", 40), ("loud", 90), ("home", 70), ("faint", 3)]);
    assert_eq!(ask(&mut bench, &mut hand, Operation::WifiScan), ReturnCode::Ok);
    let answer = bench.published().remove(0).1;
    let opened = Sealed::parse(&answer).expect("shape").open(&hand.t2c).expect("authentic");
    let result = json::read::<Response<'_>>(opened.bytes()).expect("a response").r.expect("a result").get().to_owned();
    let Networks { items } = serde_json::from_str(&result).expect("networks");
    let items: Vec<_> = items.iter().map(|item| (item.ssid.to_string(), item.signal)).collect();
    assert_eq!(items, [("loud".to_owned(), 90), ("home".to_owned(), 70), ("faint".to_owned(), 3)]);
}

#[test]
fn however_many_networks_there_are_the_answer_fits() {
    let (mut bench, mut hand) = one_owner();
    let name: &'static str = "12345678901234567890123456789012";
    let names = (0..32).map(|at| (&name[at..], 100));
    bench.air = TestAir(names.collect());
    assert_eq!(ask(&mut bench, &mut hand, Operation::WifiScan), ReturnCode::Ok);
    assert_eq!(bench.published().len(), 1);
}

#[test]
fn another_network_is_tried_once_the_answer_is_out_and_kept_once_it_was_joined() {
    let (mut bench, mut hand) = one_owner();
    assert_eq!(ask(&mut bench, &mut hand, wifi_set()), ReturnCode::Ok);
    assert_eq!(ask(&mut bench, &mut hand, wifi_set()), ReturnCode::Busy, "one at a time");
    assert_eq!(told(&mut bench, &mut hand), "trying");
    assert_eq!(wait_for_radio(&mut bench), (1, Action::JoinNetwork(elsewhere())), "2 s after the answer");
    assert!(bench.vault.saves.is_empty(), "a power cut now brings the old network back");
    bench.wifi(WifiEvent::Joined);
    let [(saved, generation)] = &bench.vault.saves[..] else { panic!("one transaction") };
    assert_eq!((&saved.network, saved.joined_once, *generation), (&elsewhere(), true, 7));
    assert_eq!(told(&mut bench, &mut hand), "kept");

    // An owner who comes back is told, once; others are not.
    bench.thing.handle_session_opened(SessionId(5), &hand.psk_identity());
    for expected in [1, 0] {
        bench.thing.handle_subscribed(SessionId(5), bench.now, ports!(bench));
        let published = bench.published();
        assert_eq!(published.len(), expected);
        for (_, event) in published {
            assert_eq!(hand.event(&event).0, EVENT_WIFI);
            let opened = Sealed::parse(&event).expect("shape").open(&hand.t2c).expect("authentic");
            let event = json::read::<Event<'_>>(opened.bytes()).expect("an event");
            assert_eq!(event.d.expect("says more").get(), r#"{"ok":true}"#);
        }
    }
    assert_eq!(bench.thing.poll_timeout(), None);
}

#[test]
fn a_network_that_refuses_is_given_up_at_once_and_one_that_is_away_after_60_s() {
    for (reason, seconds, state) in [
        (JoinFailure::WrongPassword, 0, "wrong-password"),
        (JoinFailure::NotFound, 60, "not-found"),
        (JoinFailure::Other, 60, "failed"),
    ] {
        let (mut bench, mut hand) = one_owner();
        assert_eq!(ask(&mut bench, &mut hand, wifi_set()), ReturnCode::Ok);
        assert_eq!(wait_for_radio(&mut bench).1, Action::JoinNetwork(elsewhere()));
        let before = bench.now;
        let last = loop {
            bench.wifi(WifiEvent::JoinFailed(reason));
            match joins(&bench.actions()).pop() {
                Some(last) => break last,
                None => match wait_for_radio(&mut bench).1 {
                    Action::JoinNetwork(tried) if tried == elsewhere() => {}
                    Action::JoinNetwork(tried) => break tried,
                    other => panic!("{other:?}"),
                },
            }
        };
        assert_eq!((last, bench.now.since(before).as_secs()), (network(), seconds));
        bench.wifi(WifiEvent::Joined);
        assert!(bench.vault.saves.is_empty());
        assert_eq!(told(&mut bench, &mut hand), state);
        assert_eq!(ask(&mut bench, &mut hand, Operation::outlet(true)), ReturnCode::Ok, "all is as it was");
    }
}

#[test]
fn a_network_that_the_store_does_not_take_is_not_kept() {
    let (mut bench, mut hand) = one_owner();
    let _ = ask(&mut bench, &mut hand, wifi_set());
    wait_for_radio(&mut bench);
    bench.vault.broken = true;
    bench.wifi(WifiEvent::Joined);
    assert_eq!(joins(&bench.actions()), [network()]);
}

#[test]
fn from_maintenance_a_network_is_kept_or_maintenance_comes_back() {
    let (mut bench, mut ana, _) = in_maintenance();
    assert_eq!(ask(&mut bench, &mut ana, wifi_set()), ReturnCode::Ok);
    assert_eq!(ask(&mut bench, &mut ana, Operation::outlet(true)), ReturnCode::Forbidden, "still the access point");
    bench.actions();
    assert_eq!(wait_for_radio(&mut bench).1, Action::JoinNetwork(elsewhere()));
    bench.wifi(WifiEvent::JoinFailed(JoinFailure::WrongPassword));
    let actions = bench.actions();
    assert!(actions.iter().any(|action| matches!(action, Action::OpenAccessPoint { .. })), "{actions:?}");
    assert!(joins(&actions).is_empty());
    assert_eq!(told(&mut bench, &mut ana), "wrong-password");

    assert_eq!(ask(&mut bench, &mut ana, wifi_set()), ReturnCode::Ok);
    bench.actions();
    assert_eq!(wait_for_radio(&mut bench).1, Action::JoinNetwork(elsewhere()));
    bench.wifi(WifiEvent::Joined);
    let [(saved, _)] = &bench.vault.saves[..] else { panic!("one transaction") };
    assert_eq!(saved.network, elsewhere());
    assert_eq!(admitted(&bench.actions()).last().expect("a list").len(), 2, "everybody is back");
}

#[test]
fn the_button_ends_a_trial() {
    let (mut bench, mut hand) = one_owner();
    let _ = ask(&mut bench, &mut hand, wifi_set());
    wait_for_radio(&mut bench);
    bench.press(Press::Long);
    assert_eq!(told_after_all(&mut bench, &mut hand), "failed");
    bench.wifi(WifiEvent::Joined);
    assert!(bench.vault.saves.is_empty(), "what the radio says of a network that it left");
}

/// As [`told`], whatever was asked of the radio meanwhile.
fn told_after_all(bench: &mut Bench, hand: &mut Hand) -> serde_json::Value {
    bench.wait(SECOND);
    told(bench, hand)
}

//! A lost phone: button, display and recovery code together give the plug a new owner; two of them do
//! nothing (protocol section 9). Both machines of this crate against each other.

use super::*;
use crate::proto::action::JoinFailure;
use crate::proto::keys::PairingCode;
use crate::proto::operation::argument::RecoverySet;
use crate::proto::pairing::PAIR_IDENTITY;
use crate::proto::pairing::binding::Binding;
use crate::proto::pairing::controller::{PairingError, Recovering, Run, Step};
use crate::proto::recovery::RecoveryCode;
use crate::proto::topic::PAIR_C2T;

const NEARBY: SessionId = SessionId(70);

fn paper(seed: u64) -> RecoveryCode {
    RecoveryCode::random(&mut Counter::new(seed))
}

/// A household of three with a recovery code, and the passcode that the button has brought to its display.
fn lost_phone() -> (Bench, Passcode) {
    let mut bench = household();
    bench.press(Press::Long);
    bench.wifi(WifiEvent::AccessPointUp);
    let passcode = shown(&mut bench);
    bench.thing.handle_session_opened(NEARBY, PAIR_IDENTITY);
    (bench, passcode)
}

fn household() -> Bench {
    let people = [record(7, "Ana", Role::Owner), record(400, "Bo", Role::Operator), record(800, "Cy", Role::Owner)];
    let mut household = Household::founded(people[0].clone(), network(), None);
    household.controllers = people.to_vec();
    household.joined_once = true;
    let thing = ThingIdentity::from_stored(&identity()).expect("its own").id();
    household.recovery = Some(paper(1).key(&thing).spki());
    let mut bench = Bench::new(Some(household));
    bench.wifi(WifiEvent::Joined);
    bench.wait(100_000_000);
    bench.actions();
    bench
}

fn shown(bench: &mut Bench) -> Passcode {
    let passcode = |action| match action {
        Action::Show(Screen::Maintenance { passcode, .. }) => Some(passcode),
        _ => None,
    };
    bench.actions().into_iter().rev().find_map(passcode).expect("a passcode on the display")
}

fn recovering(passcode: &Passcode, code: RecoveryCode, keep: bool, network: Option<HomeNetwork>) -> Run {
    let what = Recovering { code, next: paper(2), keep, network };
    let name = "Ana".parse().expect("a name");
    Run::recovering(PairingCode::of_passcode(passcode), what, name, &mut Counter::new(3000))
}

/// Lets a run go on as far as it goes.
fn drive(bench: &mut Bench, mut run: Run) -> Result<Binding, PairingError> {
    let mut rng = Counter::new(4000);
    loop {
        while let Some(step) = run.poll_step() {
            match step {
                Step::TellUser(_) => {}
                Step::Persist(_) => run.persisted(&mut rng),
                Step::Done(binding) => return Ok(*binding),
                Step::Failed(error) => return Err(error),
            }
        }
        let sent: Vec<_> = std::iter::from_fn(|| run.poll_transmit(bench.now)).collect();
        let mut heard = false;
        for payload in sent {
            let _ = bench.publish(NEARBY, PAIR_C2T, &payload);
        }
        for action in bench.actions() {
            match action {
                Action::SendPairing { session: NEARBY, payload } => {
                    heard = true;
                    run.handle_message(&payload, &mut rng);
                }
                Action::EndSession(NEARBY) => run.handle_session_end(),
                _ => {}
            }
        }
        if !heard {
            run.handle_session_end();
        }
    }
}

fn names(bench: &Bench) -> Vec<String> {
    bench.household().controllers.iter().map(|one| format!("{} {}", one.name, one.role.as_str())).collect()
}

#[test]
fn button_display_and_paper_make_an_owner_in_the_place_of_all_earlier_ones() {
    for (keep, left) in [(true, &["Bo operator", "Ana owner"][..]), (false, &["Ana owner"])] {
        let (mut bench, passcode) = lost_phone();
        let run = recovering(&passcode, paper(1), keep, None);
        let binding = drive(&mut bench, run).expect("recovered");
        let [(saved, generation)] = &bench.vault.saves[..] else { panic!("one transaction") };
        assert_eq!((saved, *generation), (bench.household(), 8), "durable, and registered anew");
        assert_eq!(names(&bench), left);
        let household = bench.household();
        assert_eq!((&household.network, household.joined_once), (&network(), true), "the network stays");
        assert_eq!(household.recovery, Some(paper(2).key(&bench.thing.id()).spki()));
        let owner = household.controllers.last().expect("one");
        assert_eq!((owner.cid, &owner.master), (binding.cid, &binding.master));

        // M9 has arrived: home, and everybody who is left gets in.
        bench.thing.handle_acknowledged(NEARBY, bench.now);
        let actions = bench.actions();
        let [Action::Admit(admitted), Action::Show(Screen::Joining { .. }), Action::JoinNetwork(joined)] = &actions[..]
        else {
            panic!("{actions:?}")
        };
        assert_eq!((admitted.len(), joined), (left.len(), &network()));
    }
}

#[test]
fn another_home_network_comes_with_it_where_that_is_wanted() {
    let (mut bench, passcode) = lost_phone();
    let elsewhere =
        HomeNetwork { ssid: "elsewhere".parse().expect("valid"), psk: "battery staple".parse().expect("valid") };
    let run = recovering(&passcode, paper(1), true, Some(elsewhere.clone()));
    drive(&mut bench, run).expect("recovered");
    assert_eq!((&bench.household().network, bench.household().joined_once), (&elsewhere, false));

    // It may be mistyped, and then the plug lets its owner in, although it was at home before.
    bench.thing.handle_acknowledged(NEARBY, bench.now);
    let home = bench.now;
    bench.wifi(WifiEvent::JoinFailed(JoinFailure::NotFound));
    while !bench.actions().iter().any(|action| matches!(action, Action::OpenAccessPoint { .. })) {
        bench.next_timeout();
        bench.wifi(WifiEvent::JoinFailed(JoinFailure::NotFound));
        assert!(bench.now.since(home).as_secs() <= 90, "never");
    }
}

#[test]
fn the_code_on_paper_without_the_button_is_nothing() {
    let mut bench = household();
    // At home nobody is admitted as `pair`, and a session that says so finds nothing.
    bench.thing.handle_session_opened(NEARBY, PAIR_IDENTITY);
    let run = recovering(&"0000000000000000".parse().expect("valid"), paper(1), true, None);
    assert_eq!(drive(&mut bench, run), Err(PairingError::Silent));
    // Nor at the access point that opens because the network was never joined.
    let mut never_home = bench.household().clone();
    never_home.joined_once = false;
    let mut bench = Bench::new(Some(never_home));
    while !bench.actions().iter().any(|action| matches!(action, Action::OpenAccessPoint { .. })) {
        bench.next_timeout();
    }
    bench.wifi(WifiEvent::AccessPointUp);
    let passcode = shown(&mut bench);
    bench.thing.handle_session_opened(NEARBY, PAIR_IDENTITY);
    let run = recovering(&passcode, paper(1), true, None);
    assert_eq!(drive(&mut bench, run), Err(PairingError::Silent));
    assert!(bench.vault.saves.is_empty());
}

#[test]
fn the_button_and_the_display_without_the_code_on_paper_are_nothing() {
    let (mut bench, passcode) = lost_phone();
    let run = recovering(&passcode, paper(99), true, None);
    assert_eq!(drive(&mut bench, run), Err(PairingError::NotRecovered));
    // An ordinary claim is none either, whoever reads the display.
    bench.thing.handle_session_opened(NEARBY, PAIR_IDENTITY);
    let code = PairingCode::of_passcode(&passcode);
    let run = Run::new(code, network(), "Eve".parse().expect("a name"), None, &mut Counter::new(3000));
    assert_eq!(drive(&mut bench, run), Err(PairingError::WrongCode));
    assert!(bench.vault.saves.is_empty());
    assert_eq!(names(&bench).len(), 3);
}

#[test]
fn a_household_without_a_recovery_code_admits_nobody_by_the_display() {
    let (mut bench, _) = one_owner();
    bench.press(Press::Long);
    for action in bench.actions() {
        if let Action::Admit(list) = action {
            assert!(list.iter().all(|one| one.psk_identity != PAIR_IDENTITY));
        }
    }
}

#[test]
fn the_code_on_paper_with_another_passcode_is_nothing() {
    let (mut bench, _) = lost_phone();
    let run = recovering(&"0000000000000000".parse().expect("valid"), paper(1), true, None);
    assert_eq!(drive(&mut bench, run), Err(PairingError::NotRecovered));
    assert!(bench.vault.saves.is_empty());
}

#[test]
fn five_bad_runs_end_the_window_and_the_thing_goes_home() {
    let (mut bench, passcode) = lost_phone();
    for n in 1..=5 {
        bench.thing.handle_session_opened(NEARBY, PAIR_IDENTITY);
        let run = recovering(&passcode, paper(99), true, None);
        let before = bench.thing.poll_timeout();
        assert!(before.is_some());
        let _ = drive(&mut bench, run);
        let in_window = bench.thing.poll_timeout().is_some();
        assert_eq!(in_window, n < 5, "after {n}");
    }
    bench.thing.handle_session_opened(NEARBY, PAIR_IDENTITY);
    let run = recovering(&passcode, paper(1), true, None);
    assert_eq!(drive(&mut bench, run), Err(PairingError::Silent));
}

#[test]
fn a_store_that_fails_keeps_the_earlier_owners() {
    let (mut bench, passcode) = lost_phone();
    bench.vault.broken = true;
    let run = recovering(&passcode, paper(1), true, None);
    assert_eq!(drive(&mut bench, run), Err(PairingError::Unconfirmed));
    assert_eq!(names(&bench).len(), 3);
}

#[test]
fn an_owner_replaces_the_code_and_nobody_else_does() {
    for (role, code) in [(Role::Owner, ReturnCode::Ok), (Role::Supervisor, ReturnCode::Forbidden)] {
        let people = [record(7, "Ana", role), record(400, "Bo", Role::Owner)];
        let mut bench = Bench::at_home(people.to_vec());
        let mut hand = Hand::of(&bench, &people[0]);
        let rec = paper(5).key(&bench.thing.id()).spki();
        let command = hand.seal(&Operation::RecoverySet(RecoverySet { rec }).command(BOOT, bench.now));
        assert_eq!(bench.publish(SESSION, &hand.topic(), &command), Verdict::Answered(code));
        assert_eq!(bench.household().recovery, (code == ReturnCode::Ok).then_some(rec));
    }
}

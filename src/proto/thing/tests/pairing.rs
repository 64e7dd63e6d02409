//! The access point and the runs of those who read the passcode.

use super::*;
use crate::proto::action::{Admission, NewSessions};
use crate::proto::id::Nonce;
use crate::proto::keys::{Ephemeral, PairingCode, PairingKeys};
use crate::proto::pairing::PAIR_IDENTITY;
use crate::proto::pairing::message::*;
use crate::proto::signature::POP;
use crate::proto::topic::{PAIR_C2T, PAIR_T2C};

/// The controller's side of a run, by hand.
pub(super) struct Pairing {
    ephemeral: Ephemeral,
    key: SigningKey,
    pub(super) hello: Vec<u8>,
    keys: Option<PairingKeys>,
    rng: Counter,
}

impl Pairing {
    pub(super) fn new() -> Self {
        Self::drawn_from(9000)
    }

    pub(super) fn drawn_from(seed: u64) -> Self {
        let mut rng = Counter::new(seed);
        let ephemeral = Ephemeral::random(&mut rng);
        let hello = json::encode(&Hello { x: ephemeral.public(), nc: Nonce::random(&mut rng) });
        Self { ephemeral, key: SigningKey::random(&mut rng), hello, keys: None, rng }
    }

    fn accept(&mut self, accept: &[u8], passcode: &Passcode) {
        self.accept_by(accept, &PairingCode::of_passcode(passcode));
    }

    pub(super) fn accept_by(&mut self, accept: &[u8], code: &PairingCode) {
        let parsed: Accept = json::read(accept).expect("M2");
        let shared = self.ephemeral.agree(&parsed.y).expect("contributes");
        self.keys = Some(PairingKeys::derive(&self.hello, accept, &shared, code));
    }

    pub(super) fn keys(&self) -> &PairingKeys {
        self.keys.as_ref().expect("after M2")
    }

    pub(super) fn seal<B: json::Body + serde::Serialize>(&mut self, body: &B) -> Vec<u8> {
        let key = self.keys.as_ref().expect("after M2").c2t.clone();
        key.seal(&json::encode(body), &mut self.rng).expect("short")
    }

    pub(super) fn confirm(&mut self) -> Vec<u8> {
        let pop = self.key.sign(POP, &self.keys().transcript);
        let spki = self.key.spki();
        self.seal(&Confirm { n: Number, spki, pop, name: "Ana".parse().expect("valid") })
    }

    pub(super) fn wifi(&mut self) -> Vec<u8> {
        let HomeNetwork { ssid, psk } = network();
        self.seal(&BindWifi { n: Number, ssid, key: psk })
    }

    pub(super) fn commit(&mut self) -> Vec<u8> {
        self.seal(&BindCommit { n: Number, rec: None })
    }
}

fn unclaimed() -> (Bench, Passcode) {
    let mut bench = Bench::new(None);
    bench.wifi(WifiEvent::AccessPointUp);
    let (passcode, left) = bench.passcode();
    assert_eq!(left.as_secs(), 600);
    bench.thing.handle_session_opened(SESSION, PAIR_IDENTITY);
    bench.actions();
    (bench, passcode)
}

/// Sends one message of a run and gives what came back on the pairing topic.
fn exchange(bench: &mut Bench, message: &[u8]) -> Vec<Vec<u8>> {
    let verdict = bench.publish(SESSION, PAIR_C2T, message);
    assert!(matches!(verdict, Verdict::Paired | Verdict::Repeated), "{verdict:?}");
    bench
        .actions()
        .into_iter()
        .filter_map(|action| match action {
            Action::SendPairing { session, payload } => {
                assert_eq!(session, SESSION);
                Some(payload)
            }
            _ => None,
        })
        .collect()
}

/// A run up to M4.
fn granted(bench: &mut Bench, passcode: &Passcode) -> Pairing {
    let mut pairing = Pairing::new();
    let accept = exchange(bench, &pairing.hello.clone()).remove(0);
    pairing.accept(&accept, passcode);
    let confirm = pairing.confirm();
    assert_eq!(exchange(bench, &confirm).len(), 1);
    pairing
}

#[test]
fn a_factory_fresh_thing_admits_the_passcode_alone() {
    let mut bench = Bench::new(None);
    let actions = bench.actions();
    let [Action::Admit(admitted), Action::OpenAccessPoint { ssid, passphrase }, Action::Show(Screen::Starting)] =
        &actions[..]
    else {
        panic!("{actions:?}")
    };
    bench.wifi(WifiEvent::AccessPointUp);
    let shown = bench.actions();
    let [Action::Show(shown)] = &shown[..] else { panic!("{shown:?}") };
    let [Admission { psk_identity, psk, login: None, publish, subscribe, max_sessions: 2, new_sessions }] =
        &admitted[..]
    else {
        panic!("{admitted:?}")
    };
    assert_eq!(*new_sessions, NewSessions::Open);
    assert_eq!((psk_identity.as_str(), publish.as_str(), subscribe.as_str()), (PAIR_IDENTITY, PAIR_C2T, PAIR_T2C));
    assert_eq!(*psk, crate::proto::keys::pairing_psk(passphrase));
    let Screen::AccessPoint { ssid: shown, passcode, .. } = shown else { panic!("{shown:?}") };
    assert_eq!((shown, passcode), (ssid, passphrase));
    assert!(!bench.thing.is_claimed());
}

#[test]
fn who_knows_the_passcode_becomes_the_owner() {
    let (mut bench, passcode) = unclaimed();
    let mut pairing = granted(&mut bench, &passcode);
    let wifi = pairing.wifi();
    assert_eq!(exchange(&mut bench, &wifi).len(), 2);
    assert!(bench.vault.claims.is_empty(), "nothing is persisted before M8");
    let commit = pairing.commit();
    let done = exchange(&mut bench, &commit);
    assert_eq!(done.len(), 1);
    let opened = Sealed::parse(&done[0]).expect("shape").open(&pairing.keys().t2c).expect("authentic");
    assert_eq!(json::read(opened.bytes()), Ok(BindDone { n: Number }));

    let [claim] = &bench.vault.claims[..] else { panic!("one claim") };
    assert_eq!((claim.controllers[0].role, claim.controllers[0].name.as_str()), (Role::Owner, "Ana"));
    assert_eq!((claim.controllers[0].spki, &claim.network), (pairing.key.spki(), &network()));
    assert_eq!(claim.controllers[0].master, pairing.keys().master);
    assert!(bench.thing.is_claimed());

    // M9 has arrived: the access point closes, and only the owner's keys are admitted.
    bench.thing.handle_acknowledged(SESSION, bench.now);
    let actions = bench.actions();
    let [Action::Admit(admitted), Action::Show(Screen::Joining { .. }), Action::JoinNetwork(joined)] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!(admitted.len(), 1);
    assert_eq!(admitted[0].publish, bench.vault.claims[0].controllers[0].topic.c2t());
    assert_eq!(*joined, network());
}

#[test]
fn a_lost_answer_is_given_again_with_the_same_bytes() {
    let (mut bench, passcode) = unclaimed();
    let mut pairing = Pairing::new();
    let hello = pairing.hello.clone();
    let accept = exchange(&mut bench, &hello);
    assert_eq!(exchange(&mut bench, &hello), accept);
    pairing.accept(&accept[0], &passcode);
    for message in [Pairing::confirm, Pairing::wifi, Pairing::commit] {
        let message = message(&mut pairing);
        let replies = exchange(&mut bench, &message);
        assert_eq!(exchange(&mut bench, &message), replies);
    }
    assert_eq!(bench.vault.claims.len(), 1);
}

#[test]
fn the_access_point_closes_by_itself_when_m9_is_not_acknowledged() {
    let (mut bench, passcode) = unclaimed();
    let mut pairing = granted(&mut bench, &passcode);
    for message in [Pairing::wifi, Pairing::commit] {
        let message = message(&mut pairing);
        exchange(&mut bench, &message);
    }
    let before = bench.now;
    bench.next_timeout();
    assert_eq!(bench.now.since(before).as_secs(), 5);
    assert!(bench.actions().iter().any(|action| matches!(action, Action::JoinNetwork(_))));
}

#[test]
fn m8_is_answered_again_until_m9_is_acknowledged_and_no_longer() {
    let (mut bench, passcode) = unclaimed();
    let mut pairing = granted(&mut bench, &passcode);
    let wifi = pairing.wifi();
    exchange(&mut bench, &wifi);
    let commit = pairing.commit();
    let done = exchange(&mut bench, &commit);
    bench.wait(4_000_000);
    assert_eq!(exchange(&mut bench, &commit), done);
    bench.thing.handle_acknowledged(SESSION, bench.now);
    bench.actions();
    assert_eq!(bench.publish(SESSION, PAIR_C2T, &commit), Verdict::Dropped(Dropped::ForeignTopic));
    assert_eq!(bench.actions(), []);
    assert_eq!(bench.vault.claims.len(), 1);
}

#[test]
fn a_wrong_code_fails_the_run_without_an_answer() {
    let (mut bench, _) = unclaimed();
    let mut pairing = Pairing::new();
    let accept = exchange(&mut bench, &pairing.hello.clone()).remove(0);
    pairing.accept(&accept, &"0000000000000000".parse().expect("valid"));
    let confirm = pairing.confirm();
    let verdict = bench.publish(SESSION, PAIR_C2T, &confirm);
    assert_eq!(verdict, Verdict::Dropped(Dropped::Run(crate::proto::pairing::thing::Ending::Failed)));
    let actions = bench.actions();
    assert!(
        matches!(&actions[..], [Action::EndSession(SESSION), Action::Show(Screen::AccessPoint { .. })]),
        "{actions:?}"
    );
}

#[test]
fn five_bad_runs_end_the_window_with_a_new_passcode() {
    let (mut bench, passcode) = unclaimed();
    for n in 1..=5 {
        let session = SessionId(100 + n);
        bench.thing.handle_session_opened(session, PAIR_IDENTITY);
        let _ = bench.publish(session, PAIR_C2T, &Pairing::new().hello);
        let _ = bench.publish(session, PAIR_C2T, b"garbage");
    }
    bench.wifi(WifiEvent::AccessPointUp);
    let (next, left) = bench.passcode();
    assert_ne!(next, passcode);
    assert_eq!(left.as_secs(), 600);
}

#[test]
fn a_message_out_of_order_aborts_and_wipes_the_run() {
    // M8 in the place of M5.
    let (mut bench, passcode) = unclaimed();
    let mut pairing = granted(&mut bench, &passcode);
    let commit = pairing.commit();
    assert!(matches!(bench.publish(SESSION, PAIR_C2T, &commit), Verdict::Dropped(Dropped::Run(_))));
    // The run is gone: what would have been right is nothing now.
    let wifi = pairing.wifi();
    assert_eq!(bench.publish(SESSION, PAIR_C2T, &wifi), Verdict::Dropped(Dropped::ForeignTopic));
    assert!(bench.vault.claims.is_empty());
}

#[test]
fn a_proof_of_another_run_or_key_is_refused() {
    let (mut bench, passcode) = unclaimed();
    let mut pairing = Pairing::new();
    let accept = exchange(&mut bench, &pairing.hello.clone()).remove(0);
    pairing.accept(&accept, &passcode);
    let spki = pairing.key.spki();
    let pop = pairing.key.sign(POP, &[0; 64]);
    let confirm = pairing.seal(&Confirm { n: Number, spki, pop, name: "Eve".parse().expect("valid") });
    assert!(matches!(bench.publish(SESSION, PAIR_C2T, &confirm), Verdict::Dropped(Dropped::Run(_))));
}

#[test]
fn a_weak_key_is_refused() {
    let (mut bench, _) = unclaimed();
    let hello = json::encode(&Hello { x: crate::proto::id::X25519Public::new([0; 32]), nc: Nonce::new([0; 16]) });
    assert!(matches!(bench.publish(SESSION, PAIR_C2T, &hello), Verdict::Dropped(Dropped::Run(_))));
}

#[test]
fn a_store_that_fails_leaves_the_thing_unclaimed_and_silent() {
    let (mut bench, passcode) = unclaimed();
    let mut pairing = granted(&mut bench, &passcode);
    let wifi = pairing.wifi();
    exchange(&mut bench, &wifi);
    bench.vault.broken = true;
    let commit = pairing.commit();
    assert_eq!(bench.publish(SESSION, PAIR_C2T, &commit), Verdict::Dropped(Dropped::Store));
    assert!(!bench.thing.is_claimed());
    assert!(!bench.actions().iter().any(|action| matches!(action, Action::SendPairing { .. })));
}

#[test]
fn the_second_session_loses_when_the_first_claims() {
    let (mut bench, passcode) = unclaimed();
    bench.thing.handle_session_opened(SessionId(2), PAIR_IDENTITY);
    let _ = bench.publish(SessionId(2), PAIR_C2T, &Pairing::new().hello);
    bench.actions();
    let mut pairing = granted(&mut bench, &passcode);
    let wifi = pairing.wifi();
    exchange(&mut bench, &wifi);
    let commit = pairing.commit();
    let _ = bench.publish(SESSION, PAIR_C2T, &commit);
    assert!(bench.actions().contains(&Action::EndSession(SessionId(2))));
    let verdict = bench.publish(SessionId(2), PAIR_C2T, &Pairing::new().hello);
    assert_eq!(verdict, Verdict::Dropped(Dropped::ForeignTopic));
}

#[test]
fn runs_end_after_60_s_before_and_120_s_after_the_code_was_proved() {
    let (mut bench, _) = unclaimed();
    let _ = bench.publish(SESSION, PAIR_C2T, &Pairing::new().hello);
    let ended = |bench: &mut Bench| {
        let before = bench.now;
        loop {
            bench.next_timeout();
            if bench.actions().contains(&Action::EndSession(SESSION)) {
                return bench.now.since(before).as_secs();
            }
        }
    };
    assert_eq!(ended(&mut bench), 60);
    let (mut bench, passcode) = unclaimed();
    granted(&mut bench, &passcode);
    assert_eq!(ended(&mut bench), 120);
}

#[test]
fn after_six_windows_the_access_point_sleeps_until_the_button() {
    let mut bench = Bench::new(None);
    bench.wifi(WifiEvent::AccessPointUp);
    let mut passcodes = vec![bench.passcode().0];
    while let Some(at) = bench.thing.poll_timeout() {
        bench.now = at;
        bench.thing.handle_timeout(at, ports!(bench));
        for action in bench.actions() {
            if let Action::OpenAccessPoint { passphrase, .. } = action {
                passcodes.push(passphrase);
            }
        }
    }
    assert_eq!(passcodes.len(), 6);
    assert_eq!(bench.now.get(), 6 * 600_000_000);
    assert!((1..6).all(|n| !passcodes[..n].contains(&passcodes[n])), "each window has its own");
    bench.press(Press::Short);
    bench.wifi(WifiEvent::AccessPointUp);
    assert!(!passcodes.contains(&bench.passcode().0));
    assert!(bench.outlet.switched.is_empty(), "the press that wakes the access point does not switch");
}
